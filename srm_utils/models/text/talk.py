"""Talk: the skills once more, for all tasks that are solved in steps, with wrong solutions such as a model writes.

The forms in `skills` stay as they are: base and instruct have read them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random

from srm_utils.models.text.items import NO_ERROR, Item, checked, critique, written, wrong_steps
from srm_utils.tasks import prompts
from srm_utils.tasks.problem import Problem, Task
from srm_utils.tasks.worlds import countdown, sorting


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


def _said(task: Task, problem: Problem, rng: Random, good: bool) -> list[str]:
    """The steps that somebody else wrote, right or wrong."""
    if good:
        return countdown.another_solution(problem, rng) if task.name == "countdown" else list(problem.steps)
    wishful = {"countdown": countdown.wishful_solution, "sorting": sorting.wishful_solution}.get(task.name)
    if wishful and rng.random() < 0.75:
        return wishful(problem, rng)
    return wrong_steps(task, problem, rng)


def _complaint(task: Task, problem: Problem, steps: Sequence[str], rng: Random) -> str:
    """What a critic says of a wrong solution: its first wrong step, or that the answer is not right."""
    at = checked(task, problem, steps)[1]
    if at is None or rng.random() < 0.3:
        return f"The answer {task.extract(written(task, problem, steps))} is wrong."
    return critique(steps, at)


def check_all(task: Task, problem: Problem, rng: Random) -> Item:
    """Check a whole solution in writing, up to the first step that does not hold."""
    steps = _said(task, problem, rng, rng.random() < 0.5)
    return prompts.verify_prompt(problem, steps), checked(task, problem, steps)[0]


def complain(task: Task, problem: Problem, rng: Random) -> Item:
    """Say at once what is wrong."""
    steps = _said(task, problem, rng, rng.random() < 0.5)
    at = checked(task, problem, steps)[1]
    return prompts.critique_prompt(problem, steps), NO_ERROR if at is None else critique(steps, at)


def write_again(task: Task, problem: Problem, rng: Random) -> Item:
    """Given a solution and what is wrong with it, write it right; one that is right is kept."""
    good = rng.random() < 0.2
    steps = _said(task, problem, rng, good)
    told = NO_ERROR if good else _complaint(task, problem, steps, rng)
    right = steps if good else _said(task, problem, rng, True)
    return prompts.revise_prompt(problem, steps, told), written(task, problem, right)


def try_again(task: Task, problem: Problem, rng: Random) -> Item:
    """Solve with notes on one to three earlier trials that failed."""
    wrong = [_said(task, problem, rng, False) for _ in range(rng.randint(1, 3))]
    notes = [_complaint(task, problem, steps, rng) for steps in wrong]
    return prompts.remember_prompt(problem, notes), written(task, problem, _said(task, problem, rng, True))


def talk_it_over(task: Task, problem: Problem, rng: Random) -> Item:
    """Solve after one to three others have spoken; one of them that was right is joined."""
    good = [rng.random() < 0.5 for _ in range(rng.randint(1, 3))]
    others = [_said(task, problem, rng, g) for g in good]
    right = next((steps for steps, g in zip(others, good, strict=True) if g), None) or _said(task, problem, rng, True)
    texts = [written(task, problem, steps) for steps in others]
    return prompts.debate_prompt(problem, texts), written(task, problem, right)


def think_longer(task: Task, problem: Problem, rng: Random) -> Item:
    """After one to three solutions, each ended by "Wait.", one more: the last one again where that was right.

    What stands before is read and not learnt, so nobody is taught to wait, or to err.
    """
    good = [rng.random() < 0.5 for _ in range(rng.randint(1, 3))]
    before = [_said(task, problem, rng, g) for g in good]
    thought = " ".join(f"{written(task, problem, steps)} {prompts.AGAIN}" for steps in before)
    right = before[-1] if good[-1] else _said(task, problem, rng, True)
    return replace(task.prompt(problem, "cot"), prefill=thought), written(task, problem, right)


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
