"""Which solvers can be run on a task with a model, and what each of them asks and reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from srm_utils.inference.registry import registered_solvers
from srm_utils.tasks import dialects as skills
from srm_utils.tasks.dialects import Dialect
from srm_utils.tasks.names import nearest
from srm_utils.tasks.problem import Task


@dataclass(frozen=True, slots=True)
class Listed:
    """What a solver is with one task and one model: what it asks, what it can read, and why it does not work ("")."""

    solver: str
    about: str
    dialect: Dialect
    asks: str
    reads: str
    why_not: str

    def __str__(self) -> str:
        said = f"{self.solver:<22} {self.about}"
        if self.why_not:
            return f"{said}. NOT HERE: {self.why_not}"
        return f"{said}. In the dialect {self.dialect!r} it asks for {self.asks}, and reads {self.reads}."


def listed(task: Task, dialect: Dialect, names: Sequence[str] = (), partner: bool = False) -> list[Listed]:
    """A row for each solver asked for (all, without names): what it would ask a model of this dialect, and read.

    Raises ValueError for a name that there is not.

    >>> from srm_utils.tasks import get_task
    >>> [row.why_not for row in listed(get_task("sorting"), "family", ["program-of-thought"])]
    ["The task 'sorting' has no style 'program'."]
    """
    entries = registered_solvers()
    for name in names:
        if name not in entries:
            raise ValueError(f"There is no solver {name!r}; {nearest(name, entries)}.")
    rows = []
    for name in dict.fromkeys(names or entries):
        entry = entries[name]
        used = [k for k in entry.skills if k is not skills.STATE_VALUE or task.name == "countdown"]
        asks, reads = (", ".join(dict.fromkeys(said)) for said in ([k.asks for k in used], [k.reads for k in used]))
        rows.append(Listed(name, entry.about, dialect, asks, reads, entry.missing(task, partner, dialect)))
    return rows
