"""Deduction chains with distractors, and split evidence: the same problems dealt to two agents.

A world holds two rule chains of equal length. One person is told the root of the first chain; the
root of the second is told of somebody else, or of nobody. Asking for the end of the first chain
gives "yes", for the end of the second "no" (what is not told and does not follow is false). The
same sentences serve either question, so nothing short of walking the chain tells the answers apart.

The canonical form is the answer and the path of attributes, without persons, wording, order or
distractors. From two steps on there are over 50 000; one-step problems carry no claim.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from random import Random

from srm_utils.tasks.answers import YES_NO
from srm_utils.tasks.problem import INSTRUCTIONS, Problem, Prompt, StepCheck, Task, Templates
from srm_utils.tasks.words import NAMES, answer_sentence

ATTRIBUTES = (
    "brave", "bright", "calm", "careful", "cheerful", "clever", "curious", "eager", "fair", "fast", "funny",
    "gentle", "happy", "honest", "jolly", "kind", "lively", "loud", "loyal", "lucky", "neat", "patient", "polite",
    "proud", "quick", "quiet", "shy", "strong", "tall", "warm", "wise", "young",
)  # fmt: skip

#: A sentence is ("fact", person, attribute) or ("rule", premise, conclusion).
Sentence = tuple[str, str, str]

_RULES = {
    # The conclusion first, so that a walk back from the question finds its next word by looking ahead.
    "train": ("Everyone is {q} if {p}.", "{x} is {q} if {p}."),
    # Known words, unseen order: the premise now comes first.
    "held-out": ("If {p}, everyone is {q}.", "If {p}, {x} is {q}."),
}
_FACTS = {"train": "{x} is {p}.", "held-out": "We know {x} is {p}."}
_CLAIM = re.compile(r"(?<!know if )\b([A-Z][a-z]+) is (not )?([a-z]+)(?: if ([a-z]+))?(?=[.,;]|$)")
_UNKNOWN = re.compile(r"we do not know if ([A-Z][a-z]+) is ([a-z]+)")


class DeductionTask(Task):
    """Yes-or-no questions over rule chains, proof depth 1 to 4 in training and 5 or 6 unseen.

    >>> task = DeductionTask()
    >>> problem = task.problems(1, seed=1, difficulty=3)[0]
    >>> str(task.grade(task.solution(problem, "cot"), problem))
    'correct'
    """

    name = "deduction"
    answers = YES_NO
    styles = ("direct", "cot", "draft", "verbose", "check", "retry")
    difficulties: tuple[int, ...] = (1, 2, 3, 4)
    unseen_difficulties = (5, 6)

    def draw(self, rng: Random, difficulty: int, templates: Templates = "train") -> Problem:
        x, y = rng.sample(NAMES, 2)
        words = rng.sample(ATTRIBUTES, 2 * difficulty + 4)
        true, false = words[: difficulty + 1], words[difficulty + 1 : -2]
        spare, end = words[-2:]
        rules = [("rule", p, q) for chain in (true, false) for p, q in zip(chain, chain[1:], strict=False)]
        told: list[Sentence] = [("fact", x, true[0]), *rules, ("rule", spare, end)]
        # The broken chain's root: told of the other person, or of nobody (who is then told the spare).
        if rng.random() < 0.7:
            told += [("fact", y, false[0]), ("fact", x, spare)]
        else:
            told += [("fact", y, spare), ("fact", x, end)]
        rng.shuffle(told)
        answer = rng.choice(("yes", "no"))
        path = true if answer == "yes" else false
        sentences = [_tell(s, x, templates, rng) for s in told]
        facts = {
            "person": x,
            "told": [list(s) for s in told],
            "sentences": sentences,
            "path": path[::-1],  # from what is asked back to the root
        }
        question = f"{' '.join(sentences)} Is {x} {path[-1]}?"
        steps = tuple(_proof(x, path[::-1], answer == "yes"))
        canonical = f"deduction|{answer}|{'>'.join(path)}"
        return Problem("", self.name, question, answer, difficulty, canonical, steps, facts)

    def solution(self, problem: Problem, style: str, rng: Random | None = None) -> str:
        x, path = problem.facts["person"], list(problem.facts["path"])
        holds = problem.answer == "yes"
        quotes, root, derived = _parts(x, path, holds)
        final = answer_sentence(problem.answer)
        if style == "direct":
            return final
        if style == "draft":
            return f"{', '.join(path)}. {final}"
        if style == "cot":
            body = [*quotes, root, *derived]
        elif style == "verbose":
            body = list(quotes)
            known = root
            for quote, now in zip(reversed(quotes), derived, strict=True):
                body.append(f"We know {known}, and {quote}, so {now}")
                known = now
        elif style == "check":
            body = [*quotes, root, *derived, f"Check: {root}", *reversed(quotes), "It is right"]
        elif style == "retry":
            rng = rng or Random(problem.canonical)
            body = []
            others = sorted({w for kind, *pair in problem.facts["told"] for w in pair[kind == "fact" :]} - set(path))
            for quote in quotes:
                if rng.random() < 0.3:
                    body += [f"{quote.rsplit(' ', 1)[0]} {rng.choice(others)}", "Wait, that is wrong"]
                body.append(quote)
            if rng.random() < 0.2:
                body += [_state(x, path[-1], not holds), "Wait, that is wrong"]
            body += [root, *derived]
        else:
            raise ValueError(f"Task {self.name!r} has no style {style!r}; choose one of {', '.join(self.styles)}.")
        return ". ".join(body) + f". {final}"

    def corrupt(self, problem: Problem, rng: Random) -> tuple[list[str], int]:
        """Steps of a solution that ends in the wrong answer, and the index of the first error.

        Half misread a rule and walk on from there; half misjudge the root. The wrong answer is
        "no" when the last step says "not", else "yes".
        """
        x, path = problem.facts["person"], list(problem.facts["path"])
        premise = {q: p for kind, p, q in problem.facts["told"] if kind == "rule"}
        facts = {p for kind, who, p in problem.facts["told"] if kind == "fact" and who == x}
        holds = problem.answer == "yes"
        if rng.random() < 0.5:
            wrong_turns = []
            for at in range(len(path) - 1):
                for word in sorted({*premise, *premise.values()} - set(path)):
                    walk = [*path[: at + 1], word]
                    while walk[-1] not in facts and walk[-1] in premise:
                        walk.append(premise[walk[-1]])
                    if (walk[-1] in facts) != holds:
                        wrong_turns.append((walk, at))
            if wrong_turns:
                walk, at = rng.choice(wrong_turns)
                return _proof(x, walk, not holds), at
        return _proof(x, path, not holds), len(path) - 1

    def matches(self, answer: str, problem: Problem) -> bool:
        return answer == problem.answer

    def check_steps(self, text: str, problem: Problem) -> list[StepCheck]:
        """Quoted rules and stated facts: right, wrong, or true of something nobody asked for."""
        x, path = problem.facts["person"], problem.facts["path"]
        true, rules = _closure(problem)
        persons = {who for who, _, _ in rules} | {who for who, _ in true}
        checks = []
        for m in _CLAIM.finditer(text):
            who, negated, word, premise = m.groups()
            if who not in persons:
                continue
            if premise is None:
                holds = ((who, word) in true) != bool(negated)
            else:
                holds = not negated and (who, premise, word) in rules
            verdict = "wrong" if not holds else "right" if who == x and word in path else "useless"
            checks.append(StepCheck(m[0], m.start(), m.end(), verdict))  # type: ignore[arg-type]
        return checks


class SplitEvidenceTask(DeductionTask):
    """Deduction with the sentences dealt to two agents, who send messages in turn, agent 0 first.

    `problem.facts["views"]` holds each agent's sentences; whoever gets `problem.question` sees
    all. A "yes" never follows from one view. `budget` is the number of facts a message may hold. A turn is a thought,
    which stays with its agent, and a message, or a thought and the answer.

    >>> task = SplitEvidenceTask()
    >>> problem = task.problems(1, seed=1)[0]
    >>> task.grade(task.exchange(problem)[-1][2], problem).value
    'correct'
    """

    name = "split-evidence"

    def __init__(self, budget: int = 2) -> None:
        if budget < 1:
            raise ValueError(f"A message must be able to hold a fact; give a budget of at least 1, not {budget}.")
        self.budget = budget

    def draw(self, rng: Random, difficulty: int, templates: Templates = "train") -> Problem:
        problem = super().draw(rng, difficulty, templates)
        told = [tuple(s) for s in problem.facts["told"]]
        path = problem.facts["path"]
        # What the walk touches: the path's rules, and the sentence on its root (if there is one).
        needed = [i for i, (kind, a, b) in enumerate(told) if b in path and (kind == "rule" or b == path[-1])]
        others = [i for i in range(len(told)) if i not in needed]
        rng.shuffle(needed)
        rng.shuffle(others)
        # Both agents hold some of it; the others even out the two views.
        first = set(needed[: rng.randint(1, len(needed) - 1)] if len(needed) > 1 else needed)
        first |= set(others[: max(0, len(told) // 2 - len(first))])
        views: list[list[str]] = [[], []]
        for i, sentence in enumerate(problem.facts["sentences"]):
            views[i not in first].append(sentence)
        if rng.random() < 0.5:
            views.reverse()
        facts = {**problem.facts, "views": views}
        return replace(problem, facts=facts)

    def agent_prompt(self, problem: Problem, agent: int, messages: Sequence[str], final: bool = False) -> Prompt:
        """What agent 0 or 1 is asked: its own sentences, the question, and the messages so far.

        The `final` turn asks for the solution; no message follows it.
        """
        x, goal = problem.facts["person"], problem.facts["path"][0]
        told = " ".join([*problem.facts["views"][agent], f"Is {x} {goal}?", *filter(None, messages)])
        return Prompt(told, INSTRUCTIONS["cot"] if final else "Share what we know.")

    def agent_solution(self, problem: Problem, agent: int, messages: Sequence[str], final: bool = False) -> str:
        """The gold turn of an agent: a thought, then "Message: ..." or, when the question is settled, the answer.

        The agent walks back from the question over its own sentences and the quoted ones and looks whether it has come
        to a fact: that is its thought, which it keeps to itself. It answers "yes" at a told fact, sends the steps the
        other has not seen (at most `budget`), or asks about the point where it is stuck; if both are stuck there, or
        the turn is `final`, the answer is "no".
        """
        x, path = problem.facts["person"], list(problem.facts["path"])
        own, told = set(problem.facts["views"][agent]), [tuple(s) for s in problem.facts["told"]]
        known = {s for s, text in zip(told, problem.facts["sentences"], strict=True) if text in own}
        quoted = {m[0] for message in messages for m in _CLAIM.finditer(message)}
        known |= {s for s in told if s[0] == "fact" and f"{s[1]} is {s[2]}" in quoted}
        walk, thought = [path[0]], []
        for q, p in zip(path, path[1:], strict=False):
            quote = _quote(x, p, q)
            if quote not in quoted and ("rule", p, q) not in known:
                break
            thought.append(quote)
            walk.append(p)
        stuck = walk[-1]
        holds = ("fact", x, stuck) in known
        new = [quote for quote in thought if quote not in quoted]
        asked = _UNKNOWN.findall(messages[-1]) if messages else []
        if holds or final or (not new and (x, stuck) in asked):
            return f"{'. '.join(_proof(x, walk, holds))}. {answer_sentence('yes' if holds else 'no')}"
        said = ". ".join(new[: self.budget]) or f"we do not know if {x} is {stuck}"
        return f"{'. '.join([*thought, f'{x} is not {stuck} yet', f'Message: {said}'])}."

    def sent(self, text: str) -> str:
        """What the other agent gets of a turn: its message, cut to `budget` facts; nothing where there is none.

        >>> SplitEvidenceTask(1).sent("Ida is fair if wise. Message: Ida is fair if wise. Ida is wise if shy.")
        'Message: Ida is fair if wise.'
        """
        _, mark, message = text.rpartition("Message:")
        facts = [s.strip() for s in message.split(".") if s.strip()][: self.budget]
        return f"Message: {'. '.join(facts)}." if mark and facts else ""

    def exchange(self, problem: Problem) -> list[tuple[int, Prompt, str]]:
        """The gold exchange: (agent, what it was asked, what it wrote), the last one an answer."""
        turns: list[tuple[int, Prompt, str]] = []
        messages: list[str] = []
        while not turns or self.extract(turns[-1][2]) is None:
            agent = len(turns) % 2
            text = self.agent_solution(problem, agent, messages)
            turns.append((agent, self.agent_prompt(problem, agent, messages), text))
            messages.append(self.sent(text))
        return turns


def _tell(sentence: Sentence, x: str, templates: Templates, rng: Random) -> str:
    kind, a, b = sentence
    if kind == "fact":
        return _FACTS[templates].format(x=a, p=b)
    return rng.choice(_RULES[templates]).format(x=x, p=a, q=b)


def _quote(x: str, p: str, q: str) -> str:
    return f"{x} is {q} if {p}"


def _state(x: str, word: str, holds: bool) -> str:
    return f"{x} is {word}" if holds else f"{x} is not {word}"


def _parts(x: str, path: list[str], holds: bool) -> tuple[list[str], str, list[str]]:
    """Rules quoted from the question back to the root, the root's truth, what follows forwards."""
    quotes = [_quote(x, p, q) for q, p in zip(path, path[1:], strict=False)]
    return quotes, _state(x, path[-1], holds), [_state(x, q, holds) for q in path[-2::-1]]


def _proof(x: str, path: list[str], holds: bool) -> list[str]:
    quotes, root, derived = _parts(x, path, holds)
    return [*quotes, root, *derived]


def _closure(problem: Problem) -> tuple[set[tuple[str, str]], set[tuple[str, str, str]]]:
    """Every (person, attribute) that is told or follows, and every (person, premise, conclusion) that holds."""
    told, x = problem.facts["told"], problem.facts["person"]
    true = {(who, p) for kind, who, p in told if kind == "fact"}
    persons = {x} | {who for who, _ in true}
    rules = {
        (who, p, q)
        for (kind, p, q), text in zip(told, problem.facts["sentences"], strict=True)
        for who in persons
        if kind == "rule" and (who == x or "veryone" in text)
    }
    while more := {(who, q) for who, p, q in rules if (who, p) in true} - true:
        true |= more
    return true, rules
