"""A solver's entry: its name, how it is built at a size, what it asks a model for, and which tasks it applies to.

A technique registers itself with `@solver` in its own file, below its class. A budget is a mean of FLOPs per problem,
so that a judgement, a tool's words and a second model are paid for like a sample (wang2024token). Each solver has one
*size* (samples, beams, turns, agents). The largest size whose cost on validation problems keeps to the budget is the
one that runs, and every solver gets equally many trials to find it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from srm_utils.inference.asking import chat_of
from srm_utils.inference.solver import Budget, Solver
from srm_utils.tasks.dialects import Dialect, Skill
from srm_utils.tasks.problem import Problem, Task

if TYPE_CHECKING:
    from srm_utils.models import LanguageModel


@dataclass(frozen=True)
class Setting:
    """What all solvers of one comparison share.

    `tuning` are validation problems, on which sizes are chosen. `partner` is a second model, for the solvers that
    need one. `max_new_tokens` is the length of one chain of thought.
    """

    task: Task
    model: LanguageModel
    tuning: Sequence[Problem]
    partner: LanguageModel | None = None
    max_new_tokens: int = 192
    seed: int = 0

    @property
    def required_partner(self) -> LanguageModel:
        """The second model, for a solver that needs one. Raises ValueError where there is none."""
        if self.partner is None:
            raise ValueError("This solver needs a second model; name one as the partner.")
        return self.partner

    @property
    def dialect(self) -> Dialect:
        """In whose words the model is asked."""
        return chat_of(self.model).dialect

    @property
    def style(self) -> str:
        """How the task is thought through: chain of thought.

        The family answers directly where the world has no steps to write; others can be asked to think about anything.
        """
        return "cot" if self.dialect == "instruct" or "cot" in self.task.styles else "direct"

    @property
    def heat(self) -> float:
        """The temperature of several samples. At 1 a small instruct model writes more noise than it writes answers."""
        return 1.0 if self.dialect == "family" else 0.7

    def heat_of(self, samples: int) -> float:
        """One sample is greedy; several need heat to differ."""
        return self.heat if samples > 1 else 0.0


#: Builds a solver for what a comparison shares, at a size.
Build = Callable[[Setting, int], Solver]
#: Says in a sentence why a solver does not apply to a task, with a partner or none, in a dialect ("" where it does).
Missing = Callable[[Task, bool, Dialect], str]


def _chains(setting: Setting, size: int) -> Budget:
    return Budget(size, setting.max_new_tokens)


def _applies(task: Task, partner: bool, dialect: Dialect) -> str:
    return ""


@dataclass(frozen=True)
class Entry:
    """A solver by name: what it does, how it is built at a size, what it asks, and which tasks it applies to.

    `notebook` is the number of the notebook that explains it. `skills` are all that it asks a model for. An entry with
    `least` equal to `most` has one size only, and the same cost at every budget.
    """

    about: str
    build: Build
    notebook: str = ""
    skills: tuple[Skill, ...] = ()
    least: int = 1
    most: int = 64
    budget: Callable[[Setting, int], Budget] = _chains
    missing: Missing = _applies


#: The entries so far, by name: those of the modules that have been imported. `registry` has them all.
REGISTERED: dict[str, Entry] = {}


def solver(
    name: str,
    about: str,
    *,
    notebook: str = "",
    skills: tuple[Skill, ...] = (),
    least: int = 1,
    most: int = 64,
    budget: Callable[[Setting, int], Budget] = _chains,
    missing: Missing = _applies,
) -> Callable[[Build], Build]:
    """Register the function below as the solver `name`; the arguments are those of `Entry`.

    Raises ValueError where another function has the name.

    >>> @solver("draft-vote", "the most frequent answer of N drafts")
    ... def draft_vote(setting, size): ...
    >>> REGISTERED["draft-vote"].about, forget("draft-vote")
    ('the most frequent answer of N drafts', None)
    """

    def register(build: Build) -> Build:
        before = REGISTERED.get(name)
        if before is not None and (before.build.__module__, before.build.__qualname__) != (
            build.__module__,
            build.__qualname__,
        ):
            raise ValueError(f"Another solver is called {name!r}; choose another name, or forget({name!r}) first.")
        REGISTERED[name] = Entry(about, build, notebook, skills, least, most, budget, missing)
        return build

    return register


def forget(name: str) -> None:
    """Take a solver out of the list again. Raises KeyError where there is none of this name."""
    del REGISTERED[name]


def needs_style(style: str) -> Missing:
    """For solvers that ask in a style. The family knows those of its worlds; an instruct model is asked for any."""

    def missing(task: Task, partner: bool, dialect: Dialect) -> str:
        fits = dialect == "instruct" or style in task.styles
        return "" if fits else f"The task {task.name!r} has no style {style!r}."

    return missing


def needs_partner(task: Task, partner: bool, dialect: Dialect) -> str:
    """For solvers that ask two models."""
    return "" if partner else "It needs a second model; name one as the partner."


def made_for(name: str) -> Missing:
    """For solvers that fit one task."""
    return lambda task, partner, dialect: "" if task.name == name else f"It is made for the task {name!r} alone."
