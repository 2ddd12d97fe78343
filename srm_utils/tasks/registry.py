"""The names tasks are asked for by, and the one function that turns a name into a task."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from importlib import import_module

from srm_utils.tasks.problem import Task

#: name -> (module of this room, class). Imported on use, so that listing names stays quick.
_WORLDS = {
    "chain": ("chain", "ChainTask"),
    "graph": ("graph", "GraphTask"),
    "countdown": ("countdown", "CountdownTask"),
    "sudoku": ("sudoku", "SudokuTask"),
    "sorting": ("sorting", "SortingTask"),
    "deduction": ("deduction", "DeductionTask"),
    "split-evidence": ("deduction", "SplitEvidenceTask"),
    "large-numbers": ("large_numbers", "LargeNumbersTask"),
}


def task_names() -> tuple[str, ...]:
    """The procedural worlds, by name; `reasoning-gym:<name>` and `hf:<dataset>[:path]` come on top.

    >>> task_names()[:2]
    ('chain', 'graph')
    """
    return tuple(_WORLDS)


def get_task(name: str) -> Task:
    """The task of a name: a world, `reasoning-gym:<name>`, or `hf:<dataset>[:path]` (a local file or folder).

    Raises ValueError with the nearest names when there is none of that name.

    >>> get_task("chain").name
    'chain'
    """
    kind, _, rest = name.partition(":")
    if kind == "reasoning-gym" and rest:
        from srm_utils.tasks.reasoning_gym import ReasoningGymTask

        return ReasoningGymTask(rest)
    if kind == "hf" and rest:
        from srm_utils.tasks.huggingface import HuggingFaceTask

        dataset, _, path = rest.partition(":")
        return HuggingFaceTask(dataset, path or None)
    if name not in _WORLDS:
        raise ValueError(
            f"There is no task {name!r}; {nearest(name, _WORLDS)}, or reasoning-gym:<name>, or hf:<dataset>[:path]."
        )
    module, cls = _WORLDS[name]
    return getattr(import_module(f"srm_utils.tasks.{module}"), cls)()


def nearest(name: str, names: Iterable[str]) -> str:
    """The names most like a mistaken one, as the half sentence an error ends with.

    >>> nearest("chian", ["chain", "graph"])
    'did you mean chain'
    """
    known = list(names)
    near = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.5)
    if near:
        return f"did you mean {' or '.join(near)}"
    return f"choose one of {', '.join(known)}"
