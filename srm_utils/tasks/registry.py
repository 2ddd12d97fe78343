"""The names tasks are asked for by, and the one function that turns a name into a task."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from os import PathLike
from pathlib import Path

from srm_utils.tasks.names import nearest
from srm_utils.tasks.problem import Task

#: name -> (module of `worlds`, class). Imported on use, so that listing names stays quick.
_WORLDS = {
    "chain": ("chain", "ChainTask"),
    "graph": ("graph", "GraphTask"),
    "countdown": ("countdown", "CountdownTask"),
    "sudoku": ("sudoku", "SudokuTask"),
    "sorting": ("sorting", "SortingTask"),
    "deduction": ("deduction", "DeductionTask"),
    "split-evidence": ("deduction", "SplitEvidenceTask"),
    "large-numbers": ("large_numbers", "LargeNumbersTask"),
    "stories": ("stories", "StoriesTask"),
}
#: The same of `domains`.
_DOMAINS = {"clinical": ("clinical", "ClinicalTask")}


#: Tasks made in code, by the name they were registered under.
_REGISTERED: dict[str, Callable[[], Task]] = {}


def task_names() -> tuple[str, ...]:
    """The procedural worlds, the domains and what was registered, by name.

    The names with a colon (see `get_task`) come on top.

    >>> task_names()[:2]
    ('chain', 'graph')
    """
    return (*_WORLDS, *_DOMAINS, *_REGISTERED)


def register_task(name: str, factory: Callable[[], Task]) -> None:
    """Makes a task that was made in code known by a name, for this process.

    `factory` is called whenever the task is asked for. Raises ValueError for a name that is taken or holds a colon.

    >>> from srm_utils.tasks.table import TableTask
    >>> register_task("capitals", lambda: TableTask.from_rows("capitals", [{"q": "Capital of Peru?", "a": "Lima"}]))
    >>> get_task("capitals").kind, _REGISTERED.pop("capitals") is not None
    ('text', True)
    """
    if not name or ":" in name:
        raise ValueError(f"{name!r} is no name for a task; give one without a colon.")
    if name in task_names():
        raise ValueError(f"There is a task {name!r} already; register yours under another name.")
    _REGISTERED[name] = factory


def get_task(name: str, data: str | PathLike[str] | None = None) -> Task:
    """The task of a name.

    A name is a world, a registered task, `reasoning-gym:NAME`, a table of one's own (`csv:PATH`, `jsonl:PATH`,
    `json:PATH`, `parquet:PATH`, with `?question=COLUMN&answer=COLUMN` where columns must be named), or a data set:
    `hf:KEY[:PATH]` and `bbh:NAME` for those known here, `hf:OWNER/NAME[:CONFIG]` for any other of the hub.
    `data` is the folder with local copies of data sets; without it the environment variable SRM_DATA names one.

    Raises ValueError with the nearest names when there is none of that name.

    >>> get_task("chain").name
    'chain'
    """
    if name in _REGISTERED:
        return _REGISTERED[name]()
    kind, _, rest = name.partition(":")
    if kind == "reasoning-gym" and rest:
        from srm_utils.tasks.reasoning_gym import ReasoningGymTask

        return ReasoningGymTask(rest)
    if kind in ("hf", "bbh") and rest:
        from srm_utils.tasks.huggingface import hub_task

        return hub_task(rest if kind == "hf" else name, data)
    if kind in ("csv", "json", "jsonl", "parquet") and rest:
        from srm_utils.tasks.table import table_of

        return table_of(kind, rest)
    if name in _DOMAINS:
        module, cls = _DOMAINS[name]
        return getattr(import_module(f"srm_utils.tasks.domains.{module}"), cls)()
    if name not in _WORLDS:
        if meant := _meant(name):
            raise ValueError(f"There is no task {name!r}; did you mean {meant}.")
        raise ValueError(
            f"There is no task {name!r}; {nearest(name, task_names())}, or reasoning-gym:NAME, hf:DATASET, csv:PATH, "
            f"jsonl:PATH, json:PATH or parquet:PATH."
        )
    module, cls = _WORLDS[name]
    return getattr(import_module(f"srm_utils.tasks.worlds.{module}"), cls)()


def _meant(name: str) -> str:
    """The name of a data set or of a file with the part before the colon that it lacks; "" for any other name."""
    from srm_utils.tasks.published import SOURCES
    from srm_utils.tasks.table_files import form_of

    if name.lower() in SOURCES:
        return f"hf:{name.lower()}"
    form = form_of(Path(name.partition("?")[0]))
    return f"{form}:{name}" if form else ""
