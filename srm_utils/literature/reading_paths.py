"""A dozen papers for each kind of reader, in the order to read them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from srm_utils.literature.library import load, unknown_key
from srm_utils.literature.sources import PACKAGE, named_fields, read_yaml


@dataclass(frozen=True, slots=True)
class Stop:
    """One paper of a reading path, and in one sentence why to read it there."""

    paper: str
    why: str


@dataclass(frozen=True, slots=True)
class ReadingPath:
    """A dozen papers for one kind of reader, in the order to read them; our choice, not the survey's."""

    name: str
    reader: str
    stops: tuple[Stop, ...]


def load_reading_paths(path: str | Path | None = None) -> tuple[ReadingPath, ...]:
    """The reading paths, from the package's `reading_paths.yaml`.

    Raises FileNotFoundError when the file is missing, ValueError when it is not what this describes, when a paper is
    not in the library, and when it stands twice in a path.

    >>> [(path.name, len(path.stops)) for path in load_reading_paths()]
    [('student', 12), ('trainer', 12), ('deployer', 12)]
    """
    file = Path(path) if path is not None else PACKAGE / "reading_paths.yaml"
    with named_fields(file):
        paths = tuple(
            ReadingPath(entry["path"], entry["reader"], tuple(Stop(**stop) for stop in entry["stops"]))
            for entry in read_yaml(file, "list of reading paths")
        )
    for reading in paths:
        seen: set[str] = set()
        for stop in reading.stops:
            place = f"{file.name}, path {reading.name!r}"
            if stop.paper not in load():
                raise ValueError(f"{place}: {unknown_key(stop.paper, load())}.")
            if stop.paper in seen:
                raise ValueError(f"{place}: {stop.paper!r} stands twice; keep one.")
            seen.add(stop.paper)
    return paths
