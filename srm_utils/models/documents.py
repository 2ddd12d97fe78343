"""The bundled family's pretraining text: documents of several solved problems in one style each.

A document keeps one task and one style, so that few-shot prompts have something to find; half of
them name the style after the question, the other half leave it to be inferred, so that alone on an
unmarked question the base answers directly or thinks first with about equal chance. Besides solving,
the text holds the skills that techniques ask for, in the words of `tasks.prompts`: the next step, judging,
verifying, criticising, revising, notes on earlier trials, plans, budgets, values of search states,
merging partial results, messages between agents. Everything is drawn from the `train` split.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from random import Random

from srm_utils.tasks import get_task, prompts
from srm_utils.tasks.problem import Grade, Problem, Prompt, Task, Templates, split_of
from srm_utils.tasks.words import answer_sentence, slip
from srm_utils.tasks.worlds import countdown, sorting

Item = tuple[Prompt, str]


class Shown(str):
    """An answer that is read and not learnt, since it may be wrong."""


class Solution(str):
    """A worked solution: an answer in which words can be replaced, to learn to see which were."""


#: Share of documents by task.
TASK_SHARES: dict[str, float] = {
    "chain": 0.22,
    "graph": 0.30,
    "countdown": 0.18,
    "deduction": 0.10,
    "split-evidence": 0.04,
    "sudoku": 0.05,
    "sorting": 0.04,
    "large-numbers": 0.07,
}
#: Share of the styles where nothing names them; the open choice that reinforcement learning finds.
UNMARKED_SHARES: dict[str, float] = {"direct": 0.45, "cot": 0.45, "draft": 0.05, "verbose": 0.05}
#: Share of the styles where the question names them; a task takes those it has.
MARKED_SHARES: dict[str, float] = {
    "direct": 0.12,
    "cot": 0.30,
    "draft": 0.12,
    "verbose": 0.06,
    "plan": 0.06,
    "decompose": 0.06,
    "program": 0.06,
    "tool": 0.06,
    "check": 0.06,
    "retry": 0.05,
    "search": 0.25,
}


@dataclass(frozen=True)
class Mixture:
    """What a member reads. `marked` is the share of documents that name their style, `skills` that of
    documents other than solutions, `talk` that of what solvers and critics say to each other and to themselves,
    `drills` that of one hard thing many times, drawn among `drilled`; `spoiled` is the share of numbers, signs
    and names in solutions that are replaced; without `retry` no text ever says "Wait"."""

    marked: float = 0.5
    skills: float = 0.3
    talk: float = 0.0
    drills: float = 0.0
    drilled: tuple[str, ...] = ("numbers", "sums", "sums", "steps", "steps", "own")
    spoiled: float = 0.0
    retry: bool = True
    chat: bool = False


def documents(mixture: Mixture, seed: str) -> Iterator[list[Item]]:
    """An endless, seeded stream of documents, each a list of (prompt, answer).

    >>> items = next(documents(Mixture(), "doctest"))
    >>> items[0][0].text().startswith("Question:")
    True
    """
    rng = Random(seed)
    while True:
        if mixture.drills and rng.random() < mixture.drills:
            drill = DRILLS[rng.choice(mixture.drilled)]
            yield [item for _ in range(rng.randint(1, 2)) for item in drill(rng)]
            continue
        if mixture.talk and rng.random() < mixture.talk:
            task = get_task(_pick(rng, TALK_SHARES))
            spoken = rng.choice(TALK[task.name])
            yield [spoken(task, _draw(task, rng), rng)]
            continue
        name = _pick(rng, TASK_SHARES)
        task = get_task(name)
        skills = [s for s in SKILLS.get(name, ()) if mixture.retry or s is not think_again]
        if mixture.talk:  # who learns to talk thinks first, always
            skills = [think_and_send if s is agent_message else s for s in skills]
        # A chat model is asked one thing at a time; a base reads several items in a row.
        count = rng.choice((1, 1, 1, 2, 3)) if mixture.chat else rng.randint(1, 5)
        if skills and rng.random() < mixture.skills:
            write: Callable[[Task, Problem, Random], Item] = rng.choice(skills)
            yield [write(task, _draw(task, rng), rng) for _ in range(count)]
            continue
        marked = rng.random() < mixture.marked
        if not marked and mixture.chat:
            style = "cot"
        else:
            shares = MARKED_SHARES if marked else UNMARKED_SHARES
            available = {s: w for s, w in shares.items() if s in task.styles and (mixture.retry or s != "retry")}
            style = _pick(rng, available)
        items: list[Item] = []
        for _ in range(count):
            problem = _draw(task, rng)
            text = task.solution(problem, style, rng)
            # The verdicts of a search follow from its numbers, so those are left as they are.
            solution = text if style == "search" else Solution(text)
            items.append((task.prompt(problem, style if marked else "unmarked"), solution))
        yield items


def _pick(rng: Random, shares: dict[str, float]) -> str:
    return rng.choices(list(shares), list(shares.values()))[0]


def _draw(task: Task, rng: Random) -> Problem:
    level = rng.choice(task.difficulties)
    while True:
        problem = task.draw(rng, level)
        if split_of(problem.canonical) == "train":
            return problem


# --- drills: a model sees whether two numbers are equal only after very many comparisons, and solutions hold few

#: Tasks whose steps can be foretold from what stands before them.
STEPWISE = ("chain", "graph", "countdown")


def tell_apart(rng: Random) -> list[Item]:
    """Pairs of numbers, each marked right where both are the same."""
    pairs = []
    for _ in range(rng.randint(6, 12)):
        own = rng.randint(0, 99)
        near = [k for k in (own - 10, own - 2, own - 1, own + 1, own + 2, own + 10) if 0 <= k <= 99]
        other = rng.choice(near) if rng.random() < 0.75 else rng.randint(0, 99)
        pairs.append((own, own if rng.random() < 0.5 else other))
    asked = ", ".join(f"{own} told {shown}" for own, shown in pairs)
    said = [f"{own} told {shown} {'right' if own == shown else 'wrong'}." for own, shown in pairs]
    return [(Prompt(asked, "Check every step."), " ".join(said))]


def check_sums(rng: Random) -> list[Item]:
    """Equations, each marked right or wrong without being worked out a second time.

    The question leaves their results out: what stands there is copied, and nobody computes it. Half of the errors are
    far from the truth; they are seen first, and from them the near ones are learnt, which alone teach nothing.
    """
    from srm_utils.tasks.worlds.countdown import legal_moves

    sums = []
    for _ in range(rng.randint(6, 14)):
        equation = rng.choice(legal_moves((rng.randint(1, 60), rng.randint(1, 20)))).step
        far = f"{equation.rsplit(' ', 1)[0]} {rng.randint(0, 99)}"
        wrong = slip(equation, rng) if rng.random() < 0.5 or far == equation else far
        sums.append((wrong, "wrong") if rng.random() < 0.5 else (equation, "right"))
    asked = ", ".join(equation.split(" =")[0] for equation, _ in sums)
    return [(Prompt(asked, "Check every step."), " ".join(f"{equation} {mark}." for equation, mark in sums))]


def mark_steps(rng: Random) -> list[Item]:
    """The steps of a solution, each marked, up to the first that is wrong."""
    task = get_task(rng.choice(STEPWISE))
    problem = _draw(task, rng)
    steps, at = (list(problem.steps), None) if rng.random() < 0.3 else task.corrupt(problem, rng)  # type: ignore[attr-defined]
    last = len(steps) if at is None else at + 1
    said = [f"{step} {'wrong' if i == at else 'right'}." for i, step in enumerate(steps[:last])]
    return [(Prompt(problem.question, "Check every step."), " ".join(said))]


def judge_own(rng: Random) -> list[Item]:
    """A solution, and then the question whether it is right."""
    task = get_task(rng.choice(STEPWISE))
    problem = _draw(task, rng)
    good = rng.random() < 0.5
    steps = problem.steps if good else task.corrupt(problem, rng)[0]  # type: ignore[attr-defined]
    text = task.solution(problem, "cot")
    quoted = text[: text.index(problem.steps[0])] if rng.random() < 0.5 else ""
    shown = Shown(f"{quoted}{'. '.join(steps)}.")
    return [(task.prompt(problem, "cot"), shown), (Prompt("Is this solution right?"), "Yes." if good else "No.")]


def meet_target(rng: Random) -> list[Item]:
    """Moves that end a Countdown search, each answered by whether it makes the target that stands in the question.

    A search trace is right only if every one of its verdicts is; alone it holds too few for them to be learnt.
    """
    problem = _draw(get_task("countdown"), rng)
    target = problem.facts["target"]
    tried = []
    for _ in range(rng.randint(4, 10)):
        near = [k for k in (target - 10, target - 2, target - 1, target + 1, target + 2, target + 10) if 0 < k <= 99]
        other = rng.choice(near) if rng.random() < 0.75 else rng.randint(1, 99)
        made = target if rng.random() < 0.5 else other
        right = rng.randint(1, 40)
        moves = [f"{made + right} - {right}"] if made + right <= 99 else []
        moves += [f"{made - right} + {right}"] if made > right else []
        moves += [f"{made * right} / {right}"] if made * right <= 99 else []
        moves += [f"{made // right} * {right}"] if made % right == 0 else []
        tried.append(f"Try {rng.choice(moves)} = {made}. {'Yes' if made == target else 'No'}.")
    return [(Prompt(problem.question, "Check every step."), " ".join(tried))]


def write_search(rng: Random) -> list[Item]:
    """A whole Countdown search: every verdict, every return and every guess in it must be right."""
    task = get_task("countdown")
    problem = _draw(task, rng)
    return [(task.prompt(problem, "search"), task.solution(problem, "search", rng))]


# --- skills: (task, problem, rng) -> one item -------------------------------------------------------


def next_step(task: Task, problem: Problem, rng: Random) -> Item:
    """Given the first steps, write only the next one."""
    at = rng.randrange(len(problem.steps))
    return prompts.next_step_prompt(problem, problem.steps[:at]), f"{problem.steps[at]}."


def judge_step(task: Task, problem: Problem, rng: Random) -> Item:
    """Say whether the last of the steps shown is right."""
    steps, good = _attempt(task, problem, rng)
    return prompts.judge_step_prompt(problem, steps), "Yes." if good else "No."


def judge_solution(task: Task, problem: Problem, rng: Random) -> Item:
    """Say whether a whole solution is right."""
    steps, good = _attempt(task, problem, rng, whole=True)
    return prompts.judge_solution_prompt(problem, steps), "Yes." if good else "No."


def verify(task: Task, problem: Problem, rng: Random) -> Item:
    """Work out each step and set its result beside the one shown, up to the first that differs; then Yes or No.

    A small model compares two numbers that stand close together, and not a number with one far above.
    """
    steps = list(problem.steps) if rng.random() < 0.5 else task.corrupt(problem, rng)[0]  # type: ignore[attr-defined]
    return prompts.verify_prompt(problem, steps), _checked(task, problem, steps)[0]


def criticise(task: Task, problem: Problem, rng: Random) -> Item:
    """Name the first wrong step of a solution."""
    if rng.random() < 0.5:
        return prompts.critique_prompt(problem, problem.steps), NO_ERROR
    steps, at = task.corrupt(problem, rng)  # type: ignore[attr-defined]
    return prompts.critique_prompt(problem, steps), _critique(steps, at)


def revise(task: Task, problem: Problem, rng: Random) -> Item:
    """Given a solution and its critique, write it right."""
    right = task.solution(problem, "cot")
    if rng.random() < 0.2:
        return prompts.revise_prompt(problem, problem.steps, NO_ERROR), right
    steps, at = task.corrupt(problem, rng)  # type: ignore[attr-defined]
    return prompts.revise_prompt(problem, steps, _critique(steps, at)), right


def remember(task: Task, problem: Problem, rng: Random) -> Item:
    """Solve with notes on one or two earlier trials that failed."""
    notes = []
    for _ in range(rng.randint(1, 2)):
        steps, at = task.corrupt(problem, rng)  # type: ignore[attr-defined]
        answer = steps[-1].rsplit(" ", 1)[1]
        told = rng.random() < 0.5 and answer.isdigit() and answer != problem.answer
        notes.append(f"The answer {answer} is wrong." if told else _critique(steps, at))
    return prompts.remember_prompt(problem, notes), task.solution(problem, "cot")


def debate(task: Task, problem: Problem, rng: Random) -> Item:
    """Solve after one or two others have spoken, each right or wrong."""
    right = task.solution(problem, "cot")
    others = [
        right if rng.random() < 0.5 else _written(task, problem, _wrong_steps(task, problem, rng))
        for _ in range(rng.randint(1, 2))
    ]
    return prompts.debate_prompt(problem, others), right


def think_again(task: Task, problem: Problem, rng: Random) -> Item:
    """Solve, right or wrong, say "Wait." and solve anew."""
    right = task.solution(problem, "cot")
    first = right if rng.random() < 0.5 else _written(task, problem, _wrong_steps(task, problem, rng))
    return prompts.again_prompt(problem), f"{first} {prompts.AGAIN} {right}"


def compare(task: Task, problem: Problem, rng: Random) -> Item:
    """Say which of two beginnings is right."""
    steps, at = task.corrupt(problem, rng)  # type: ignore[attr-defined]
    good, bad = problem.steps[: at + 1], steps[: at + 1]
    if rng.random() < 0.5:
        return prompts.compare_prompt(problem, good, bad), "A."
    return prompts.compare_prompt(problem, bad, good), "B."


def plan(task: Task, problem: Problem, rng: Random) -> Item:
    """Write a plan, or carry out one that is given."""
    written = task.solution(problem, "plan").split(".")[0] + "."
    if rng.random() < 0.5:
        return prompts.plan_prompt(problem), written
    return prompts.follow_prompt(problem, written), task.solution(problem, "cot")


def keep_to_budget(task: Task, problem: Problem, rng: Random) -> Item:
    """The longest solution within a number of words."""
    texts = [task.solution(problem, s, rng) for s in ("direct", "draft", "cot", "verbose") if s in task.styles]
    words = rng.choice(prompts.WORD_BUDGETS)
    fitting = [t for t in texts if len(t.split()) <= words] or texts[:1]
    return prompts.budget_prompt(problem, words), max(fitting, key=lambda t: len(t.split()))


def explain(task: Task, problem: Problem, rng: Random) -> Item:
    """Given the answer, write the way to it."""
    return prompts.explain_prompt(problem, problem.answer), task.solution(problem, "cot")


def rewrite(task: Task, problem: Problem, rng: Random) -> Item:
    """The same question in other words."""
    return prompts.rewrite_prompt(problem), task.rewrite(problem, rng)  # type: ignore[attr-defined]


def state_value(task: Task, problem: Problem, rng: Random) -> Item:
    """Countdown: can the target still be reached from a state on the way?"""
    from srm_utils.tasks.worlds.countdown import legal_moves, value_prompt
    from srm_utils.tasks.worlds.countdown import state_value as solvable

    numbers, target = tuple(problem.facts["numbers"]), problem.facts["target"]
    for _ in range(rng.randint(0, len(numbers) - 2)):
        numbers = rng.choice(legal_moves(numbers))[1]
    return value_prompt(numbers, target), "Yes." if solvable(numbers, target) else "No."


def compare_moves(task: Task, problem: Problem, rng: Random) -> Item:
    """Countdown: which of two first moves still leads to the target?"""
    from srm_utils.tasks.worlds.countdown import legal_moves
    from srm_utils.tasks.worlds.countdown import state_value as solvable

    target = problem.facts["target"]
    kinds: dict[bool, list[str]] = {True: [], False: []}
    for move in legal_moves(tuple(problem.facts["numbers"])):
        kinds[solvable(move.after, target)].append(move.step)
    if not kinds[False]:
        return state_value(task, problem, rng)
    good, bad = rng.choice(kinds[True]), rng.choice(kinds[False])
    if rng.random() < 0.5:
        return prompts.compare_prompt(problem, [good], [bad]), "A."
    return prompts.compare_prompt(problem, [bad], [good]), "B."


def look_up(task: Task, problem: Problem, rng: Random) -> Item:
    """Graph: ask a tool for every sentence that is needed, then compute."""
    from srm_utils.tasks.worlds.graph import lookup_prompt, lookup_solution

    return lookup_prompt(problem), lookup_solution(problem)


def recall(task: Task, problem: Problem, rng: Random) -> Item:
    """Graph: say again what was told of some names, in the order asked: looking up and nothing else."""
    from srm_utils.tasks.worlds.graph import lookup_table

    table = lookup_table(problem)
    names = rng.sample(list(table), min(len(table), rng.randint(2, 4)))
    asked = f"{', '.join(names[:-1])} and {names[-1]}"
    return Prompt(problem.question, f"What is told of {asked}?"), " ".join(table[x] for x in names)


def told(task: Task, problem: Problem, rng: Random) -> Item:
    """Deduction: which of some facts are told: the judgement on which every proof ends, and nothing else."""
    facts = [(who, word) for kind, who, word in problem.facts["told"] if kind == "fact"]
    persons = sorted({who for who, _ in facts} | {problem.facts["person"]})
    words = sorted({word for _, *pair in problem.facts["told"] for word in pair} - set(persons))
    true = rng.sample(facts, rng.randint(1, len(facts)))
    pairs = [(who, word) for who in persons for word in words if (who, word) not in facts]
    # Half of what is false joins a person and a fact of another's, so that both must be looked at.
    crossed = [(who, word) for who, word in pairs if any(word == told for _, told in facts)]
    asked = [*true, *rng.sample(crossed, min(2, len(crossed))), *rng.sample(pairs, 1)]
    asked = rng.sample(list(dict.fromkeys(asked)), len(set(asked)))
    listed = ", ".join(f"{who} is {word}" for who, word in asked)
    said = " ".join(f"{who} is {'' if (who, word) in facts else 'not '}{word}." for who, word in asked)
    return Prompt(problem.question, f"Which is told: {listed}?"), said


def agent_message(task: Task, problem: Problem, rng: Random) -> Item:
    """Split evidence: one turn of the exchange without its thought, from an agent's own half and what was said."""
    _, prompt, said = rng.choice(task.exchange(problem))  # type: ignore[attr-defined]
    return prompt, task.sent(said) or said  # type: ignore[attr-defined]


def think_and_send(task: Task, problem: Problem, rng: Random) -> Item:
    """Split evidence: one turn of the exchange, thought before it is sent.

    One in four is asked for the answer at once, as the last turn of a short exchange is.
    """
    turns = task.exchange(problem)  # type: ignore[attr-defined]
    at = rng.randrange(len(turns))
    agent, prompt, said = turns[at]
    if rng.random() < 0.25:
        so_far = [task.sent(text) for _, _, text in turns[:at]]  # type: ignore[attr-defined]
        prompt, said = (
            ask(problem, agent, so_far, final=True)
            for ask in (task.agent_prompt, task.agent_solution)  # type: ignore[attr-defined]
        )
    return prompt, said


# --- talk: the same skills once more for all tasks that are solved in steps, wrong solutions being such as a model
# writes. The forms above stay as they are: base and instruct have read them.


def _said(task: Task, problem: Problem, rng: Random, good: bool) -> list[str]:
    """The steps that somebody else wrote, right or wrong."""
    if good:
        return countdown.another_solution(problem, rng) if task.name == "countdown" else list(problem.steps)
    wishful = {"countdown": countdown.wishful_solution, "sorting": sorting.wishful_solution}.get(task.name)
    if wishful and rng.random() < 0.75:
        return wishful(problem, rng)
    return _wrong_steps(task, problem, rng)


def _written(task: Task, problem: Problem, steps: Sequence[str]) -> str:
    """A whole chain of thought from its steps, right or wrong."""
    if task.name == "countdown":
        return countdown.chain_of_thought(problem, steps)
    gold = task.solution(problem, "cot")
    quoted = gold[: gold.index(problem.steps[0])]
    answer = steps[-1].split(": ")[-1] if task.name == "sorting" else steps[-1].rsplit(" ", 1)[1]
    return f"{quoted}{'. '.join(steps)}. {answer_sentence(answer)}"


def _checked(task: Task, problem: Problem, steps: Sequence[str]) -> tuple[str, int | None]:
    """A written check of these steps, and the place of the first that does not hold."""
    if task.name == "countdown":
        return countdown.written_check(problem, steps)
    if task.name == "sorting":
        return sorting.written_check(problem, steps)
    at = next((i for i, (own, shown) in enumerate(zip(problem.steps, steps, strict=True)) if own != shown), None)
    last = len(steps) if at is None else at + 1
    said = [
        f"{_BEHIND_RESULT.sub('', own)} told {_RESULT.findall(shown)[-1]} {'wrong' if i == at else 'right'}"
        for i, (own, shown) in enumerate(zip(problem.steps[:last], steps, strict=False))
    ]
    return f"{'. '.join(said)}. {'Yes' if at is None else 'No'}.", at


def _complaint(task: Task, problem: Problem, steps: Sequence[str], rng: Random) -> str:
    """What a critic says of a wrong solution: its first wrong step, or that the answer is not right."""
    at = _checked(task, problem, steps)[1]
    if at is None or rng.random() < 0.3:
        return f"The answer {task.extract(_written(task, problem, steps))} is wrong."
    return _critique(steps, at)


def check_all(task: Task, problem: Problem, rng: Random) -> Item:
    """Check a whole solution in writing, up to the first step that does not hold."""
    steps = _said(task, problem, rng, rng.random() < 0.5)
    return prompts.verify_prompt(problem, steps), _checked(task, problem, steps)[0]


def complain(task: Task, problem: Problem, rng: Random) -> Item:
    """Say at once what is wrong."""
    steps = _said(task, problem, rng, rng.random() < 0.5)
    at = _checked(task, problem, steps)[1]
    return prompts.critique_prompt(problem, steps), NO_ERROR if at is None else _critique(steps, at)


def write_again(task: Task, problem: Problem, rng: Random) -> Item:
    """Given a solution and what is wrong with it, write it right; one that is right is kept."""
    good = rng.random() < 0.2
    steps = _said(task, problem, rng, good)
    told = NO_ERROR if good else _complaint(task, problem, steps, rng)
    right = steps if good else _said(task, problem, rng, True)
    return prompts.revise_prompt(problem, steps, told), _written(task, problem, right)


def try_again(task: Task, problem: Problem, rng: Random) -> Item:
    """Solve with notes on one to three earlier trials that failed."""
    wrong = [_said(task, problem, rng, False) for _ in range(rng.randint(1, 3))]
    notes = [_complaint(task, problem, steps, rng) for steps in wrong]
    return prompts.remember_prompt(problem, notes), _written(task, problem, _said(task, problem, rng, True))


def talk_it_over(task: Task, problem: Problem, rng: Random) -> Item:
    """Solve after one to three others have spoken; one of them that was right is joined."""
    good = [rng.random() < 0.5 for _ in range(rng.randint(1, 3))]
    others = [_said(task, problem, rng, g) for g in good]
    right = next((steps for steps, g in zip(others, good, strict=True) if g), None) or _said(task, problem, rng, True)
    texts = [_written(task, problem, steps) for steps in others]
    return prompts.debate_prompt(problem, texts), _written(task, problem, right)


def think_longer(task: Task, problem: Problem, rng: Random) -> Item:
    """After one to three solutions, each ended by "Wait.", one more: the last one again where that was right.

    What stands before is read and not learnt, so nobody is taught to wait, or to err.
    """
    good = [rng.random() < 0.5 for _ in range(rng.randint(1, 3))]
    before = [_said(task, problem, rng, g) for g in good]
    thought = " ".join(f"{_written(task, problem, steps)} {prompts.AGAIN}" for steps in before)
    right = before[-1] if good[-1] else _said(task, problem, rng, True)
    return replace(task.prompt(problem, "cot"), prefill=thought), _written(task, problem, right)


def merge_lists(task: Task, problem: Problem, rng: Random) -> Item:
    """Sorting: merge two sorted lists (the aggregation of Graph of Thoughts)."""
    from srm_utils.tasks.worlds.sorting import merge_prompt, merge_solution

    left, right = _halves(problem, rng)
    return merge_prompt(left, right), merge_solution(left, right)


def mend_lists(task: Task, problem: Problem, rng: Random) -> Item:
    """Sorting: mend a merge that went wrong (the refinement of Graph of Thoughts)."""
    from srm_utils.tasks.worlds.sorting import mend_prompt, merge_solution, wrong_merge

    left, right = _halves(problem, rng)
    return mend_prompt(left, right, wrong_merge(left, right, rng)), merge_solution(left, right)


def split_list(task: Task, problem: Problem, rng: Random) -> Item:
    """Sorting: cut a list in two (the generation step of Graph of Thoughts)."""
    from srm_utils.tasks.worlds.sorting import SortingTask

    split = SortingTask("split")
    drawn = _draw(split, rng)
    return split.prompt(drawn, "unmarked"), split.solution(drawn, "direct")


def _attempt(task: Task, problem: Problem, rng: Random, whole: bool = False) -> tuple[list[str], bool]:
    """Steps that end right or wrong, half each; a wrong one ends at its first error unless `whole`."""
    good = rng.random() < 0.5
    if good:
        steps = list(problem.steps)
        return (steps if whole else steps[: rng.randint(1, len(steps))]), True
    steps, at = task.corrupt(problem, rng)  # type: ignore[attr-defined]
    return (steps if whole else steps[: at + 1]), False


#: What a critic says of a right solution.
NO_ERROR = "Nothing is wrong."
#: The number a step comes to, and what stands behind it at the step's end.
_RESULT, _BEHIND_RESULT = re.compile(r"\d+"), re.compile(r"\D+$")


def _critique(steps: Sequence[str], at: int) -> str:
    return f"Step {at + 1} is wrong: {steps[at]}."


def _wrong_steps(task: Task, problem: Problem, rng: Random) -> list[str]:
    """Steps with an error that is carried on into the answer."""
    while True:
        steps, _ = task.corrupt(problem, rng)  # type: ignore[attr-defined]
        if task.grade(_written(task, problem, steps), problem) == Grade.WRONG:
            return steps


def _halves(problem: Problem, rng: Random) -> tuple[list[int], list[int]]:
    numbers = list(problem.facts["numbers"])
    cut = rng.randint(1, len(numbers) - 1)
    return sorted(numbers[:cut]), sorted(numbers[cut:])


#: What `Mixture.drilled` may name.
DRILLS: dict[str, Callable[[Random], list[Item]]] = {
    "numbers": tell_apart,
    "sums": check_sums,
    "steps": mark_steps,
    "own": judge_own,
    "targets": meet_target,
    "searches": write_search,
}

_ON_STEPS = (
    next_step,
    judge_step,
    judge_solution,
    verify,
    verify,
    verify,
    criticise,
    revise,
    remember,
    debate,
    think_again,
    compare,
)
_WORDS = (plan, keep_to_budget, explain)
SKILLS: dict[str, tuple[Callable[[Task, Problem, Random], Item], ...]] = {
    "chain": (*_ON_STEPS, *_WORDS, rewrite),
    # Looking things up is what takes longest to learn, and pays in every other document.
    "graph": (*_ON_STEPS, *_WORDS, look_up, look_up, recall, recall, recall, recall, recall, recall),
    "countdown": (next_step, judge_step, keep_to_budget, compare_moves, state_value, state_value, state_value),
    "sudoku": (judge_solution, verify, criticise, revise, remember),
    "deduction": (told,),
    "split-evidence": (agent_message,),
    "sorting": (merge_lists, mend_lists, split_list),
}

#: Share of the tasks that are talked about, and what is said on each.
TALK_SHARES: dict[str, float] = {
    "countdown": 0.35,
    "sorting": 0.15,
    "graph": 0.15,
    "chain": 0.10,
    "split-evidence": 0.25,
}
_TALK = (check_all, check_all, complain, write_again, write_again, try_again, try_again, talk_it_over, talk_it_over)
TALK: dict[str, tuple[Callable[[Task, Problem, Random], Item], ...]] = {
    **dict.fromkeys(("countdown", "sorting", "graph", "chain"), (*_TALK, think_longer, think_longer)),
    "split-evidence": (think_and_send,),
}


@cache
def sample_texts(count: int = 6000) -> list[str]:
    """Texts that hold every word of the family, for building its tokenizer: each task, style and skill."""
    from itertools import islice

    texts = []
    for mixture in (Mixture(), Mixture(chat=True), Mixture(skills=1.0)):
        for items in islice(documents(mixture, "vocabulary"), count):
            texts.append("\n\n".join(f"{prompt.text()} {answer}" for prompt, answer in items))
    for name in TASK_SHARES:
        task = get_task(name)
        sentences: tuple[Templates, ...] = ("train", "held-out")
        for templates in sentences:
            for level in (*task.difficulties, *task.unseen_difficulties):
                rng = Random(f"{name}/{level}")
                texts += [task.draw(rng, level, templates).question for _ in range(50)]
    return texts
