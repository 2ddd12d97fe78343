"""What every inference technique takes and gives: `Budget`, `Attempt`, and the `Solver` contract."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields, is_dataclass
from functools import wraps
from typing import Any, Protocol

from srm_utils.sampling.completion import Cost
from srm_utils.tasks.problem import Grade, Problem, Task


@dataclass(frozen=True, slots=True)
class Budget:
    """What a solver may spend on each problem, in the mean: samples (or nodes expanded), and the
    length of each in tokens. It steers; what is compared is the measured `Cost`.

    >>> Budget(samples=8).max_new_tokens
    256
    """

    samples: int = 1
    max_new_tokens: int = 256

    def __post_init__(self) -> None:
        if self.samples < 1 or self.max_new_tokens < 1:
            raise ValueError(f"A budget needs at least 1 sample of 1 token; it got {self}.")


@dataclass(frozen=True)
class Attempt:
    """A solver's final answer to one problem: its grade, how it was reached, and what it took.

    `answer` is None when the solver found none. `trace` is a list or a tree of thoughts, whatever
    the technique's own viewer draws. `cost` holds every model call, verifiers' and teachers' too, and says what a
    prefix cache saves among them (`Cost.settled`). `unparsed` counts the replies that had to be read and could not be:
    solutions without an answer, verdicts that are neither yes nor no, critiques that name no step, messages without a
    message. Such a reply never counts as agreement.
    """

    problem_id: str
    answer: str | None
    grade: Grade
    trace: object
    cost: Cost
    unparsed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "cost", self.cost.settled())


class Solver(Protocol):
    """An inference technique with its choices made: any object with a name and `solve`.

    `solve` returns one attempt per problem, in the order of the problems.
    """

    @property
    def name(self) -> str: ...

    def solve(self, problems: Sequence[Problem], model: Any, budget: Budget) -> list[Attempt]: ...


def keeps_prefixes(*solvers: type) -> None:
    """Let these solvers read every text once in each `solve`, for they call their models more than once.

    Called below the classes. Their `solve` then runs within `LanguageModel.keeping_prefixes` of the model and of every
    model that the solver holds, in its fields or in theirs. A stand-in without it is called as it is.
    """
    for solver in solvers:
        solver.solve = _keeping(solver.solve)  # type: ignore[attr-defined]


def _keeping(solve: Any) -> Any:
    @wraps(solve)
    def kept(self: Any, problems: Sequence[Problem], model: Any, budget: Budget) -> list[Attempt]:
        with ExitStack() as stack:
            for one in {id(m): m for m in (*_models_in(model), *_models_in(self))}.values():
                stack.enter_context(one.keeping_prefixes())
            return solve(self, problems, model, budget)

    return kept


def _models_in(thing: Any) -> Iterator[Any]:
    """The models among what an object is or holds."""
    if hasattr(thing, "keeping_prefixes"):
        yield thing
    elif isinstance(thing, list | tuple):
        for each in thing:
            yield from _models_in(each)
    elif is_dataclass(thing) and not isinstance(thing, type | Task | Problem):
        for field in fields(thing):
            yield from _models_in(getattr(thing, field.name))


def attempt(
    task: Task,
    problem: Problem,
    answer: str | None,
    trace: object,
    cost: Cost,
    unparsed: int | None = None,
    printed: bool = False,
) -> Attempt:
    """An `Attempt` whose extracted answer the task grades; None is unparsable.

    `unparsed` is the number of replies that could not be read; by default the final reply alone counts. An answer that
    a program `printed` may be a rounded decimal (`Task.matches_printed`).
    """
    unread = int(answer is None) if unparsed is None else unparsed
    if answer is None:
        return Attempt(problem.id, None, Grade.UNPARSABLE, trace, cost, unread)
    right = task.matches_printed(answer, problem) if printed else task.matches(answer, problem)
    grade = Grade.CORRECT if right else Grade.WRONG
    return Attempt(problem.id, answer, grade, trace, cost, unread)
