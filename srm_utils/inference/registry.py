"""All solvers by name: every module of the room is imported, so that its entries are there."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pkgutil import iter_modules

import srm_utils.inference
from srm_utils.inference.entry import REGISTERED, Entry
from srm_utils.tasks.dialects import DIALECTS, Dialect
from srm_utils.tasks.names import nearest
from srm_utils.tasks.problem import Task


def registered_solvers() -> dict[str, Entry]:
    """Every solver by the name it is asked for, in the order of the notebooks that explain them; a person's own last.

    Solvers of one notebook are in the order of their modules, whatever was imported first.

    >>> registered_solvers()["greedy"].about
    'one chain of thought, greedily (wei2022chain)'
    """
    for module in iter_modules(srm_utils.inference.__path__):
        import_module(f"srm_utils.inference.{module.name}")
    return dict(sorted(REGISTERED.items(), key=lambda named: (named[1].notebook or "~", named[1].build.__module__)))


def choose_solvers(
    task: Task, names: Sequence[str] = (), partner: bool = False, dialect: Dialect | None = "family"
) -> tuple[list[str], dict[str, str]]:
    """The solvers asked for (all, without names) that apply to a task, and why each other one does not, in a sentence.

    `partner` says that there is a second model, `dialect` in whose words the model is asked; None looks whether a
    solver applies in any.

    Raises ValueError for a name that there is not, and when none of those asked for applies.
    """
    entries = registered_solvers()
    for name in names:
        if name not in entries:
            raise ValueError(f"There is no solver {name!r}; {nearest(name, entries)}.")
    asked = list(dict.fromkeys(names or entries))
    absent = {}
    for name in asked:
        reasons = [entries[name].missing(task, partner, d) for d in (DIALECTS if dialect is None else (dialect,))]
        if all(reasons):
            absent[name] = reasons[0]
    if len(absent) == len(asked):
        raise ValueError(f"None of these solvers can be run: {' '.join(f'{n}: {why}' for n, why in absent.items())}")
    return [name for name in asked if name not in absent], absent
