"""What a pretraining document is made of: prompts with answers, and solutions right and wrong."""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random

from srm_utils.tasks.problem import Grade, Problem, Prompt, Task, split_of
from srm_utils.tasks.words import answer_sentence
from srm_utils.tasks.worlds import countdown, sorting

Item = tuple[Prompt, str]


class Shown(str):
    """An answer that is read and not learnt, since it may be wrong."""


class Solution(str):
    """A worked solution: an answer in which words can be replaced, to learn to see which were."""


#: What a critic says of a right solution.
NO_ERROR = "Nothing is wrong."


def draw(task: Task, rng: Random) -> Problem:
    level = rng.choice(task.difficulties)
    while True:
        problem = task.draw(rng, level)
        if split_of(problem.canonical) == "train":
            return problem


def written(task: Task, problem: Problem, steps: Sequence[str]) -> str:
    """A whole chain of thought from its steps, right or wrong."""
    if task.name == "countdown":
        return countdown.chain_of_thought(problem, steps)
    gold = task.solution(problem, "cot")
    quoted = gold[: gold.index(problem.steps[0])]
    answer = steps[-1].split(": ")[-1] if task.name == "sorting" else steps[-1].rsplit(" ", 1)[1]
    return f"{quoted}{'. '.join(steps)}. {answer_sentence(answer)}"


def critique(steps: Sequence[str], at: int) -> str:
    return f"Step {at + 1} is wrong: {steps[at]}."


def wrong_steps(task: Task, problem: Problem, rng: Random) -> list[str]:
    """Steps with an error that is carried on into the answer."""
    while True:
        steps, _ = task.corrupt(problem, rng)  # type: ignore[attr-defined]
        if task.grade(written(task, problem, steps), problem) == Grade.WRONG:
            return steps


#: The number a step comes to, and what stands behind it at the step's end.
_RESULT, _BEHIND_RESULT = re.compile(r"\d+"), re.compile(r"\D+$")


def checked(task: Task, problem: Problem, steps: Sequence[str]) -> tuple[str, int | None]:
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
