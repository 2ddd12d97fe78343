"""Drills: one hard thing many times.

A model sees whether two numbers are equal only after very many comparisons, and solutions hold few of them.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from srm_utils.models.text.items import Item, Shown, draw
from srm_utils.tasks import get_task
from srm_utils.tasks.problem import Prompt
from srm_utils.tasks.words import slip

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
    from srm_utils.tasks.worlds.countdown_states import legal_moves

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
    problem = draw(task, rng)
    steps, at = (list(problem.steps), None) if rng.random() < 0.3 else task.corrupt(problem, rng)  # type: ignore[attr-defined]
    last = len(steps) if at is None else at + 1
    said = [f"{step} {'wrong' if i == at else 'right'}." for i, step in enumerate(steps[:last])]
    return [(Prompt(problem.question, "Check every step."), " ".join(said))]


def judge_own(rng: Random) -> list[Item]:
    """A solution, and then the question whether it is right."""
    task = get_task(rng.choice(STEPWISE))
    problem = draw(task, rng)
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
    problem = draw(get_task("countdown"), rng)
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
    problem = draw(task, rng)
    return [(task.prompt(problem, "search"), task.solution(problem, "search", rng))]


#: What `Mixture.drilled` may name.
DRILLS: dict[str, Callable[[Random], list[Item]]] = {
    "numbers": tell_apart,
    "sums": check_sums,
    "steps": mark_steps,
    "own": judge_own,
    "targets": meet_target,
    "searches": write_search,
}
