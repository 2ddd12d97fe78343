"""Thinking budget: how long one chain of thought goes on, and who decides when it is enough.

- `BudgetForcing` cuts a chain at a limit and forces its answer, or says "Wait." and lets it go on (muennighoff2025s1);
- `EarlyExit` asks for the answer after every step and stops when the model is sure of it (yang2026deer) or keeps
  giving the same one (fu2025dynasor);
- `NoThinking` begins the answer at once and spends the budget on votes instead (ma2025nothinking);
- `NamedBudget` writes the number of words into the prompt (han2025tale).

`outcome_efficiency` says how much of a chain came before its answer was first right (chen2025overthinking).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from srm_utils.inference.asking import (
    ANSWER_TRIGGER,
    answer_stop,
    answer_tokens,
    ask,
    at_once,
    chat_of,
    marked,
    newly,
    stopped,
    thought_out,
    triggered,
)
from srm_utils.inference.entry import Setting, needs_style, solver
from srm_utils.inference.solver import Attempt, Budget, Solver, attempt, keeps_prefixes
from srm_utils.inference.voting import Vote, plurality
from srm_utils.sampling.completion import Completion, Cost, group_cost
from srm_utils.tasks.dialects import BUDGET, SOLVE, in_dialect
from srm_utils.tasks.problem import Problem, Prompt, Task
from srm_utils.tasks.prompts import AGAIN

if TYPE_CHECKING:
    from srm_utils.models import LanguageModel

#: What other models than the family's go on after; the paper's own word.
WAIT = "Wait,"
#: Tokens that a forced answer may take.
ANSWER_TOKENS = 48


def forced_answers(
    prompts: Sequence[Prompt], texts: Sequence[str], model: LanguageModel, tokens: int = ANSWER_TOKENS
) -> list[Completion]:
    """What the model gives, greedily, when each text is made to go on with "The answer is"; read it with `at_once`."""
    asked = [replace(p, prefill=triggered(model, t)) for p, t in zip(prompts, texts, strict=True)]
    return [group[0] for group in model.sample(asked, 1, tokens, temperature=0, stop=answer_stop(model))]


# ---------------------------------------------------------------- cut, or "Wait."


@dataclass(frozen=True)
class BudgetForcing:
    """Thinks for at most `budget.max_new_tokens`, and again after "Wait." each time it would stop, `waits` times.

    A model that thinks between tags would stop at its closing tag: the tag is withheld until the thinking is over, then
    written for it. Other models would stop at the end of their text.
    Where the limit falls before an answer, one is forced (muennighoff2025s1, section 3.1). The limit holds for all the
    thinking of a problem; a forced answer comes on top. `prompt` makes the prompt, by default the chain-of-thought
    style's; a model that learnt to go on after "Wait." under another instruction needs that one. The trace is the text.
    """

    task: Task
    waits: int = 0
    prompt: Callable[[Problem], Prompt] | None = None
    temperature: float = 0.0
    seed: int = 0

    @property
    def name(self) -> str:
        return f"budget forcing, {self.waits} waits" if self.waits else "budget forcing"

    def solve(self, problems: Sequence[Problem], model: LanguageModel, budget: Budget) -> list[Attempt]:
        chat = chat_of(model)
        make = in_dialect(self.prompt or self.task.prompt, chat.dialect)
        prompts = [make(p) for p in problems]
        tags = chat.tags if chat.thinking is not False else None
        texts, costs = ["" for _ in problems], [Cost() for _ in problems]
        left = [min(budget.max_new_tokens, self._room(model, prompt)) for prompt in prompts]
        open_ = list(range(len(problems)))
        for turn in range(self.waits + 1):
            asked = [replace(prompts[i], prefill=texts[i]) if turn else prompts[i] for i in open_]
            limits = [left[i] for i in open_]
            seed = self.seed + (turn << 32)
            closing = (tags[1],) if tags else ()
            drawn = model.sample(asked, 1, limits, temperature=self.temperature, stop=closing, seed=seed)
            for i, (c,) in zip(open_, drawn, strict=True):
                texts[i] = self._joined(model, texts[i], c)
                costs[i] += group_cost([c])
                left[i] = 0 if c.finish_reason == "length" else left[i] - len(c.token_ids)
            open_ = [i for i in open_ if left[i] > 0]
            if turn == self.waits or not open_:
                break
            for i in open_:
                texts[i] = f"{texts[i]} {AGAIN}" if chat.dialect == "family" else f"{texts[i].rstrip()}\n{WAIT}"
        if tags:
            self._answer_after_thought(model, prompts, texts, costs)
        silent = [i for i, text in enumerate(texts) if self.task.extract(text) is None]
        forced = forced_answers([prompts[i] for i in silent], [texts[i] for i in silent], model) if silent else []
        for i, c in zip(silent, forced, strict=True):
            texts[i] = f"{thought_out(model, texts[i])} {at_once(model, c)}".strip()
            costs[i] += group_cost([c])
        return [
            attempt(self.task, p, self.task.final(t, p), t, c) for p, t, c in zip(problems, texts, costs, strict=True)
        ]

    def _joined(self, model: LanguageModel, text: str, completion: Completion) -> str:
        if chat_of(model).dialect == "family":
            return f"{text} {completion.text.strip()}".strip()
        return text + newly(model, text, completion)

    def _answer_after_thought(
        self, model: LanguageModel, prompts: Sequence[Prompt], texts: list[str], costs: list[Cost]
    ) -> None:
        """Closes every thought that is still open, and lets the model write what it says after it."""
        closed = [thought_out(model, text) for text in texts]
        due = [i for i, text in enumerate(texts) if closed[i] != text]
        asked = [replace(prompts[i], prefill=closed[i]) for i in due]
        for i, (c,) in zip(due, model.sample(asked, 1, 2 * ANSWER_TOKENS, temperature=0) if due else [], strict=True):
            texts[i] = closed[i] + newly(model, closed[i], c)
            costs[i] += group_cost([c])

    def _room(self, model: LanguageModel, prompt: Prompt) -> int:
        """How many tokens can be thought before the model is full: "Wait." and a forced answer take some too."""
        said = replace(prompt, prefill=f"{prompt.prefill} {f'{AGAIN} ' * self.waits}{ANSWER_TRIGGER}")
        return max(1, model.positions - len(model.encode(said)) - ANSWER_TOKENS)


# ---------------------------------------------------------------- early exit


@dataclass(frozen=True, slots=True)
class Probe:
    """What the model would answer after some thinking, and how sure it is of it.

    `text` is the thinking so far, of `thought` tokens; `answer` is None where the probe states none. `confidence` is
    the geometric mean of the probabilities of the probe's tokens (yang2026deer, section 3); an answer that the chain
    states itself has 1. `cost` is all that was spent up to here, probes included.
    """

    text: str
    answer: str | None
    confidence: float
    thought: int
    cost: Cost


#: Whether to stop thinking, from the probes so far: any plain function of this form can replace the default.
Exit = Callable[[Sequence[Probe]], bool]


def confident(threshold: float) -> Exit:
    """Stop when the last probe's confidence reaches the threshold (yang2026deer).

    >>> probe = Probe("", "7", 0.9, 0, Cost())
    >>> confident(0.9)([probe]), confident(0.95)([probe])
    (True, False)
    """
    return lambda probes: probes[-1].confidence >= threshold


def stable(times: int) -> Exit:
    """Stop when the last `times` probes gave one and the same answer (fu2025dynasor).

    >>> stable(2)([Probe("", a, 0.5, 0, Cost()) for a in ("7", "8", "8")])
    True
    """

    def exit(probes: Sequence[Probe]) -> bool:
        last = {p.answer for p in probes[-times:]}
        return len(probes) >= times and len(last) == 1 and None not in last

    return exit


@dataclass(frozen=True)
class EarlyExit:
    """Thinks step by step, greedily, and asks for the answer before the first step and after every one.

    It stops when `exit` says so, with the probe's answer, or when the chain states its own. A step ends at `boundary`,
    by default the step mark of the model's chat.
    Every step and every probe reads the text again, and the cost says so; `Probe.thought` counts the thinking alone.
    All problems advance together. The trace is the list of `Probe`s; the last one holds the answer given.
    """

    task: Task
    exit: Exit
    style: str = "cot"
    boundary: str | None = None
    name: str = "early exit"

    def solve(self, problems: Sequence[Problem], model: LanguageModel, budget: Budget) -> list[Attempt]:
        prompts = [self.task.prompt(p, self.style) for p in problems]
        texts, costs, thought = ["" for _ in problems], [Cost() for _ in problems], [0 for _ in problems]
        probes: list[list[Probe]] = [[] for _ in problems]
        ended: set[int] = set()
        open_ = list(range(len(problems)))
        mark = self.boundary if self.boundary is not None else chat_of(model).step_mark
        while open_:
            guesses = forced_answers([prompts[i] for i in open_], [texts[i] for i in open_], model)
            for i, c in zip(open_, guesses, strict=True):
                costs[i] += group_cost([c])
                answer = self.task.extract(at_once(model, c))
                held = c.logprobs[: answer_tokens(model, c)]
                sure = math.exp(sum(held) / max(len(held), 1))
                probes[i].append(Probe(texts[i], answer, sure, thought[i], costs[i].settled()))
            open_ = [i for i in open_ if i not in ended and not self.exit(probes[i])]
            asked = [replace(prompts[i], prefill=texts[i]) for i in open_]
            limits = [budget.max_new_tokens - thought[i] for i in open_]
            drawn = model.sample(asked, 1, limits, temperature=0, stop=(mark,)) if open_ else []
            for i, (c,) in zip(open_, drawn, strict=True):
                going, said = stopped(model, c), newly(model, texts[i], c)
                texts[i] += marked(model, said, c, mark) if going else said
                costs[i] += group_cost([c])
                thought[i] += len(c.token_ids)
                if not going or thought[i] >= budget.max_new_tokens:
                    ended.add(i)
                stated = self.task.extract(texts[i])
                if stated is not None:
                    probes[i].append(Probe(texts[i], stated, 1.0, thought[i], costs[i].settled()))
            open_ = [i for i in open_ if probes[i][-1].text != texts[i]]  # what stated its answer needs no probe
        return [_at(self.task, p, found) for p, found in zip(problems, probes, strict=True)]


def exited(task: Task, problems: Sequence[Problem], attempts: Sequence[Attempt], exit: Exit) -> list[Attempt]:
    """The attempts that an early exit would have made, from those of an `EarlyExit` that exits later or never.

    One run of `EarlyExit(task, never)` so serves every threshold, at the costs each would have had.
    """
    out = []
    for problem, a in zip(problems, attempts, strict=True):
        probes: list[Probe] = a.trace  # type: ignore[assignment]
        stop = next((k for k in range(1, len(probes)) if exit(probes[:k])), len(probes))
        out.append(_at(task, problem, probes[:stop]))
    return out


def never(probes: Sequence[Probe]) -> bool:
    """Thinks to the end, and is probed all the way."""
    return False


def _at(task: Task, problem: Problem, probes: list[Probe]) -> Attempt:
    unread = sum(p.answer is None for p in probes)
    return attempt(task, problem, probes[-1].answer, probes, probes[-1].cost, unread)


def outcome_efficiency(task: Task, problems: Sequence[Problem], attempts: Sequence[Attempt]) -> list[float]:
    """Of each problem's thinking, the share that came before its answer was first right; 0 for a wrong final answer.

    Equation 1 of chen2025overthinking, read off the probes of `EarlyExit` runs. A model that could have answered
    without thinking has an efficiency near 0, one that needed all of it near 1.
    """
    shares = []
    for problem, a in zip(problems, attempts, strict=True):
        probes: list[Probe] = a.trace  # type: ignore[assignment]
        right = [p.thought for p in probes if p.answer is not None and task.matches(p.answer, problem)]
        share = right[0] / max(probes[-1].thought, 1) if right else 0.0
        shares.append(share if a.grade == "correct" else 0.0)
    return shares


# ---------------------------------------------------------------- no thinking, a named budget


@dataclass(frozen=True)
class NoThinking:
    """Begins the answer at once, `budget.samples` times, and lets the answers vote (ma2025nothinking).

    One sample is greedy. `budget.max_new_tokens` does not count: an answer has its own limit. The trace is the list of
    completions.
    """

    task: Task
    style: str = "cot"
    vote: Vote = plurality
    temperature: float = 1.0
    seed: int = 0
    name: str = "no thinking"

    def solve(self, problems: Sequence[Problem], model: LanguageModel, budget: Budget) -> list[Attempt]:
        prompts = [replace(self.task.prompt(p, self.style), prefill=triggered(model, "")) for p in problems]
        heat = 0.0 if budget.samples == 1 else self.temperature
        stop = answer_stop(model)
        groups = model.sample(prompts, budget.samples, ANSWER_TOKENS, temperature=heat, stop=stop, seed=self.seed)
        attempts = []
        for problem, group in zip(problems, groups, strict=True):
            answers = [self.task.extract(at_once(model, c)) for c in group]
            cost = group_cost(group)
            unread = answers.count(None)
            attempts.append(attempt(self.task, problem, self.vote(answers, group), group, cost, unread))
        return attempts


@dataclass(frozen=True)
class NamedBudget:
    """Asks, greedily, for a solution of at most `words` words (han2025tale); nothing is cut at that number.

    `WORD_BUDGETS` of `tasks.prompts` are those that the bundled family knows. The trace is the text.
    """

    task: Task
    words: int

    @property
    def name(self) -> str:
        return f"at most {self.words} words"

    def solve(self, problems: Sequence[Problem], model: LanguageModel, budget: Budget) -> list[Attempt]:
        named = BudgetForcing(self.task, prompt=lambda problem: ask(model, BUDGET, problem, self.words))
        return named.solve(problems, model, budget)


keeps_prefixes(BudgetForcing, EarlyExit, NoThinking)


@solver(
    "early-exit",
    "stops thinking when two probes in a row agree (fu2025dynasor)",
    notebook="28",
    skills=(SOLVE,),
    most=1,
    missing=needs_style("cot"),
)
def _early_exit(setting: Setting, size: int) -> Solver:
    return EarlyExit(setting.task, stable(2), setting.style)


@solver(
    "budget-forcing",
    'goes on after N times "Wait." (muennighoff2025s1)',
    notebook="28",
    skills=(SOLVE,),
    most=8,
    budget=lambda setting, size: Budget(1, (size + 1) * setting.max_new_tokens),
    missing=needs_style("cot"),
)
def _budget_forcing(setting: Setting, size: int) -> Solver:
    return BudgetForcing(setting.task, size)


@solver("no-thinking", "the vote of N answers without a chain (ma2025nothinking)", notebook="28", skills=(SOLVE,))
def _no_thinking(setting: Setting, size: int) -> Solver:
    return NoThinking(setting.task, setting.style, temperature=setting.heat, seed=setting.seed)
