"""The bundled family's pretraining text: documents of several solved problems in one style each.

A document keeps one task and one style, so that few-shot prompts have something to find; half of
them name the style after the question, the other half leave it to be inferred, so that alone on an
unmarked question the base answers directly or thinks first with about equal chance. Besides solving,
the text holds the skills that later techniques ask for: the next step, judging a step and a whole
solution, criticising, revising, values of search states, merging partial results, messages between
agents. Everything is drawn from the `train` split.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from random import Random

from srm_utils.tasks import get_task
from srm_utils.tasks.problem import Problem, Prompt, Task, Templates, split_of

Item = tuple[Prompt, str]

#: Share of documents by task.
TASK_SHARES: dict[str, float] = {
    "chain": 0.25,
    "graph": 0.33,
    "countdown": 0.16,
    "deduction": 0.08,
    "split-evidence": 0.03,
    "sudoku": 0.04,
    "sorting": 0.04,
    "large-numbers": 0.07,
}
#: What chat models read: more of the worlds where looking things up is what takes longest to learn.
CHAT_SHARES: dict[str, float] = TASK_SHARES | {"chain": 0.12, "graph": 0.45, "deduction": 0.14}
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
    """What a member reads. `marked` is the share of documents that name their style."""

    marked: float = 0.5
    skills: float = 0.12
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
        name = _pick(rng, CHAT_SHARES if mixture.chat else TASK_SHARES)
        task = get_task(name)
        skills = SKILLS.get(name, ())
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
        items = []
        for _ in range(count):
            problem = _draw(task, rng)
            items.append((task.prompt(problem, style if marked else "unmarked"), task.solution(problem, style, rng)))
        yield items


def _pick(rng: Random, shares: dict[str, float]) -> str:
    return rng.choices(list(shares), list(shares.values()))[0]


def _draw(task: Task, rng: Random) -> Problem:
    level = rng.choice(task.difficulties)
    while True:
        problem = task.draw(rng, level)
        if split_of(problem.canonical) == "train":
            return problem


# --- skills: (task, problem, rng) -> one item -------------------------------------------------------


def next_step(task: Task, problem: Problem, rng: Random) -> Item:
    """Given the first steps, write only the next one."""
    at = rng.randrange(len(problem.steps))
    return Prompt(steps_question(problem, problem.steps[:at]), "What is the next step?"), f"{problem.steps[at]}."


def judge_step(task: Task, problem: Problem, rng: Random) -> Item:
    """Say whether the last of the steps shown is right."""
    steps, good = _attempt(task, problem, rng)
    return Prompt(steps_question(problem, steps), "Is the last step right?"), "Yes." if good else "No."


def judge_solution(task: Task, problem: Problem, rng: Random) -> Item:
    """Say whether a whole solution is right."""
    steps, good = _attempt(task, problem, rng, whole=True)
    return Prompt(steps_question(problem, steps), "Is this solution right?"), "Yes." if good else "No."


def criticise(task: Task, problem: Problem, rng: Random) -> Item:
    """Name the first wrong step of a solution and mend it."""
    if rng.random() < 0.5:
        return Prompt(steps_question(problem, problem.steps), "What is wrong?"), "Nothing is wrong."
    steps, at = task.corrupt(problem, rng)  # type: ignore[attr-defined]
    return Prompt(steps_question(problem, steps), "What is wrong?"), f"Step {at + 1} is wrong: {steps[at]}."


def revise(task: Task, problem: Problem, rng: Random) -> Item:
    """Given a solution with an error and the critique, write it right."""
    steps, at = task.corrupt(problem, rng)  # type: ignore[attr-defined]
    shown = f"{steps_question(problem, steps)} Step {at + 1} is wrong."
    return Prompt(shown, "Write it again."), task.solution(problem, "cot")


def steps_question(problem: Problem, steps: tuple[str, ...] | list[str]) -> str:
    """A problem with steps already written under it, as every skill shows them.

    >>> steps_question(get_task("chain").problems(1, difficulty=1)[0], []).endswith("No steps yet.")
    True
    """
    return f"{problem.question} Steps: {'. '.join(steps)}." if steps else f"{problem.question} No steps yet."


def _attempt(task: Task, problem: Problem, rng: Random, whole: bool = False) -> tuple[list[str], bool]:
    """Steps that end right or wrong, half each; a wrong one ends at its first error unless `whole`."""
    good = rng.random() < 0.5
    if good:
        steps = list(problem.steps)
        return (steps if whole else steps[: rng.randint(1, len(steps))]), True
    steps, at = task.corrupt(problem, rng)  # type: ignore[attr-defined]
    return (steps if whole else steps[: at + 1]), False


def state_value(task: Task, problem: Problem, rng: Random) -> Item:
    """Countdown: can the target still be reached from a state on the way?"""
    from srm_utils.tasks.countdown import legal_moves
    from srm_utils.tasks.countdown import state_value as solvable

    numbers, target = tuple(problem.facts["numbers"]), problem.facts["target"]
    for _ in range(rng.randint(0, len(numbers) - 2)):
        numbers = rng.choice(legal_moves(numbers))[1]
    shown = ", ".join(map(str, numbers))
    return Prompt(f"Left {shown}. Can they make {target}?"), "Yes." if solvable(numbers, target) else "No."


def agent_message(task: Task, problem: Problem, rng: Random) -> Item:
    """Split evidence: what an agent says, or answers, from its own half and what it was told."""
    agent = rng.randrange(2)
    told: list[str] = []
    if rng.random() < 0.6:
        told = [task.agent_solution(problem, 1 - agent, [])]  # type: ignore[attr-defined]
    prompt = task.agent_prompt(problem, agent, told)  # type: ignore[attr-defined]
    return prompt, task.agent_solution(problem, agent, told)  # type: ignore[attr-defined]


def merge_lists(task: Task, problem: Problem, rng: Random) -> Item:
    """Sorting: merge two sorted lists (the aggregation of Graph of Thoughts)."""
    from srm_utils.tasks.sorting import merge_prompt, merge_solution

    numbers = list(problem.facts["numbers"])
    cut = rng.randint(1, len(numbers) - 1)
    left, right = sorted(numbers[:cut]), sorted(numbers[cut:])
    return merge_prompt(left, right), merge_solution(left, right)


def split_list(task: Task, problem: Problem, rng: Random) -> Item:
    """Sorting: cut a list in two (the generation step of Graph of Thoughts)."""
    from srm_utils.tasks.sorting import SortingTask

    split = SortingTask("split")
    drawn = _draw(split, rng)
    return split.prompt(drawn, "unmarked"), split.solution(drawn, "direct")


_ON_STEPS = (next_step, judge_step, judge_solution, criticise, revise)
SKILLS: dict[str, tuple[Callable[[Task, Problem, Random], Item], ...]] = {
    "chain": _ON_STEPS,
    "graph": _ON_STEPS,
    "countdown": (next_step, judge_step, state_value, state_value),
    "split-evidence": (agent_message,),
    "sorting": (merge_lists, split_list),
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
