"""Where the rows of published data sets come from: a path, a folder of known files, or the Hugging Face hub.

In this order: a path in the task's name, the folder given as `data` (`--data`), the folder that the environment
variable `SRM_DATA` names, the hub. A folder holds the files of `Source.files`, a clone from the hub, or what
`save_to_disk` wrote. A file whose name says "train" or "test" is that official split; any other file of a data set
with both is carved four ways as the procedural worlds are. Where the train rows are not there, `validation` is carved
out of what would be `confirm`.

Any other data set of the hub is read like a person's own table (`srm_utils.tasks.table`), its official splits kept.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from srm_utils.tasks.names import nearest
from srm_utils.tasks.problem import SPLIT_BOUNDS
from srm_utils.tasks.published import SOURCES, Source
from srm_utils.tasks.table import OWN_SHARES, SETTINGS, Shares, TableTask, split_settings
from srm_utils.tasks.table_columns import Reading, find_columns, lookup, read_table
from srm_utils.tasks.table_files import Row, form_of, is_missing, read_rows

#: The environment variable that names the folder of local data.
DATA_VARIABLE = "SRM_DATA"

Read = list[tuple[Row, Reading | ValueError]]


def hub_task(rest: str, data: str | os.PathLike[str] | None = None) -> TableTask:
    """The task of what stands behind `hf:`: KEY[:PATH], or OWNER/NAME[:CONFIG][?question=COLUMN&answer=COLUMN].

    Raises ValueError for an unknown data set, FileNotFoundError for a path that is not there, and, when problems are
    asked for, ValueError for an unreadable file and ConnectionError when the hub's copy cannot be had.

    >>> hub_task("gsm8k").name
    'hf:gsm8k'
    """
    rest, settings = split_settings(rest)
    named = {**{source.hub.lower(): key for key, source in SOURCES.items() if ":" not in key and source.hub},
             **{key: key for key in SOURCES}}  # fmt: skip
    for name in sorted(named, key=len, reverse=True):
        if rest.lower() == name or rest.lower().startswith(f"{name}:"):
            if settings:
                raise ValueError(f"The columns of {SOURCES[named[name]].title} are known; leave out ?{min(settings)}=.")
            return published(named[name], rest[len(name) + 1 :] or None, data)
    hub, _, config = rest.partition(":")
    if "/" in hub:
        return _other(hub, config or None, settings)
    keys = SOURCES if rest.lower().startswith("bbh") else [key for key in SOURCES if not key.startswith("bbh:")]
    raise ValueError(f"There is no data set {rest!r} here; {nearest(rest, keys)}, or OWNER/NAME for one of the hub.")


def published(
    key: str, path: str | os.PathLike[str] | None = None, data: str | os.PathLike[str] | None = None
) -> TableTask:
    """A known data set by its key in `SOURCES`, from `path`, else from the folder `data`, else as the module says.

    >>> published("medqa").kind
    'choice'
    """
    source = SOURCES[key]
    copy = _copy(source, path, data)
    if copy is None:
        return TableTask(
            f"hf:{key}", source.title, lambda official: _read(source, _hub_rows(key, official)), source.kind,
            source.shares, words=source.words, levels=source.levels, lenient=True,
        )  # fmt: skip
    return TableTask(
        f"hf:{key}", source.title, lambda official: _read(source, copy.rows(official)), source.kind,
        copy.shares(), words=source.words, levels=source.levels, lenient=source.lenient,
    )  # fmt: skip


# ---------------------------------------------------------------- local copies


@dataclass(frozen=True)
class _Copy:
    """A local copy: its files by official split; `saved` where `save_to_disk` wrote it; "rows" where no name tells."""

    source: Source
    path: Path
    files: Mapping[str, Sequence[Path]]
    saved: bool = False

    def shares(self) -> Shares:
        source = self.source
        if "rows" in self.files:
            return {split: ("rows", bounds) for split, bounds in SPLIT_BOUNDS.items()}
        tested, _ = source.shares["test"]
        absent = {split for split, (official, _) in source.shares.items() if official not in self.files}
        if self.saved or "validation" not in absent or tested not in self.files:
            return source.shares
        return {**source.shares, "validation": (tested, range(70, 80)), "confirm": (tested, range(80, 100))}

    def rows(self, official: str) -> list[Row]:
        if self.saved:
            return _saved(self.source, self.path, official)
        if official not in self.files:
            raise ValueError(self._missing(official))
        rows: list[Row] = []
        for file in self.files[official]:
            rows += [replace(row, number=row.number + len(rows)) for row in read_rows(file)]
        return rows

    def _missing(self, official: str) -> str:
        title = self.source.title
        if self.path.is_file():
            named = next(iter(self.files))
            return (
                f"{self.path} is the {named!r} split of {title} by its name, and this needs the {official!r} split; "
                f"give a folder that holds both."
            )
        return (
            f"No file in {self.path} has {official!r} in its name; put {self.source.files[official]} there, "
            f"or name {title}'s files by their official split."
        )


def _copy(source: Source, path: str | os.PathLike[str] | None, data: str | os.PathLike[str] | None) -> _Copy | None:
    """The local copy that is meant; None for the hub's."""
    if path:
        path = Path(path).expanduser()
        if not path.exists():
            raise FileNotFoundError(
                f"There is no file or folder {str(path)!r}; give the path of a local copy of {source.title}."
            )
        return _copy_at(source, path)
    told = ", ".join(source.files.values())
    for folder, asked in ((data, "--data"), (os.environ.get(DATA_VARIABLE), DATA_VARIABLE)):
        if not folder:
            continue
        folder = Path(folder).expanduser()
        if not folder.is_dir():
            raise FileNotFoundError(f"There is no folder {str(folder)!r}, which {asked} names; check its path.")
        if known := _known(source, folder):
            return _Copy(source, folder, known)
        if asked == "--data":
            raise FileNotFoundError(
                f"The folder {folder} holds no {source.title}; put {told} there, or leave out --data."
            )
    return None


def _known(source: Source, folder: Path) -> dict[str, list[Path]]:
    return {name: [folder / file] for name, file in source.files.items() if (folder / file).is_file()}


def _copy_at(source: Source, path: Path) -> _Copy:
    if path.is_file():
        known = next((name for name, file in source.files.items() if Path(file).name == path.name), None)
        return _Copy(source, path, {known or _named(path, source) or "rows": [path]})
    if known_files := _known(source, path):
        return _Copy(source, path, known_files)
    if (path / "dataset_dict.json").exists() or (path / "state.json").exists():
        return _Copy(source, path, {}, saved=True)
    if source.config and (path / source.config).is_dir():
        path = path / source.config
    files = sorted(f for f in path.rglob("*") if f.is_file() and form_of(f) and f.suffix != ".txt")
    if not files:
        raise ValueError(
            f"The folder {path} holds no table of {source.title}; put {', '.join(source.files.values())} there."
        )
    parts: dict[str, list[Path]] = {}
    for file in files:
        if named := _named(file, source):
            parts.setdefault(named, []).append(file)
    if not parts and len(source.official) == 1:
        parts = {name: files for name in source.official}
    return _Copy(source, path, parts)


def _named(file: Path, source: Source) -> str | None:
    """The official split that a file's name says it is; a data set with one split has no other."""
    words = re.split(r"[^a-z]+", file.stem.lower())
    if len(source.official) == 1:
        return next(iter(source.official))
    return next((name for name in sorted(source.official) if name in words), None)


def _saved(source: Source, path: Path, official: str) -> list[Row]:
    import datasets

    try:
        saved = datasets.load_from_disk(str(path))
    except Exception as error:  # Arrow and `datasets` each raise their own kinds
        raise ValueError(
            f"The saved data set in {path} cannot be read [{type(error).__name__}]; save it again with `save_to_disk`."
        ) from None
    if isinstance(saved, Mapping):
        if official not in saved:
            raise ValueError(f"The saved data set in {path} has no {official!r} split; {source.title} needs it.")
        saved = saved[official]
    elif len(source.official) > 1:
        raise ValueError(
            f"The folder {path} holds one unnamed split, and {source.title} has "
            f"{' and '.join(sorted(source.official))}; save the whole `DatasetDict`."
        )
    return _numbered(saved, str(path))


# ---------------------------------------------------------------- the hub


def _load(hub: str, title: str, config: str | None, remedy: str, gated: bool = False, **options: Any) -> Any:
    """What `datasets` loads from the hub, said beforehand. Raises ConnectionError when it cannot be had."""
    try:
        import datasets
    except ImportError:
        raise ImportError("The package `datasets` is not installed; run `pip install datasets`.") from None
    if not datasets.config.HF_HUB_OFFLINE:
        print(f"Loading {hub} from the Hugging Face hub; what is not cached yet is downloaded.", file=sys.stderr)
    try:
        return datasets.load_dataset(hub, config, **options)
    except Exception as error:  # the hub, the network and the cache each raise their own kinds
        offline = ", which HF_HUB_OFFLINE forbids to fetch" if datasets.config.HF_HUB_OFFLINE else ""
        terms = " (its terms must be accepted on the hub first, with `hf auth login`)" if gated else ""
        raise ConnectionError(
            f"{title} is not on this machine and could not be had from the hub as {hub}{offline}{terms} "
            f"[{type(error).__name__}]; {remedy}, or run once with a network and HF_HUB_OFFLINE unset."
        ) from None


def _hub_rows(key: str, official: str) -> list[Row]:
    source = SOURCES[key]
    local = f"put {' and '.join(source.files.values())} into a folder and name it with --data or {DATA_VARIABLE}"
    if not source.hub:
        raise ConnectionError(f"{source.title} is not on this machine, and no copy on the hub is known; {local}.")
    split = source.hub_splits.get(official, official)
    remedy = f"{local}, or give a local copy as hf:{key}:PATH (JSON lines, Parquet, or a folder of them)"
    return _numbered(_load(source.hub, source.title, source.config, remedy, source.gated, split=split), source.hub)


def _other(hub: str, config: str | None, settings: Mapping[str, str]) -> TableTask:
    """A data set of the hub that has no entry here."""
    if unknown := settings.keys() - set(SETTINGS):
        raise ValueError(f"{min(unknown)!r} is no setting of a table; choose from {', '.join(SETTINGS)}.")
    remedy = "save it as a file and give that as csv:PATH, jsonl:PATH or parquet:PATH"
    loaded = _load(hub, hub, config, remedy)
    parts = {name: _numbered(rows, f"{hub} ({name})") for name, rows in loaded.items()}
    shares = _official_shares(parts)
    used = list(dict.fromkeys(official for official, _ in shares.values()))
    if used == ["rows"]:
        parts["rows"] = next(iter(parts.values()))
    rows = [row for official in used for row in parts[official]]
    if not rows:
        raise ValueError(f"{hub} holds no rows; check its name and configuration on the hub.")
    names = list(dict.fromkeys(name for row in rows for name in row.fields))
    columns = find_columns(names, hub, **{k: v for k, v in settings.items() if k != "kind"})
    readings, kind = read_table(rows, columns, settings.get("kind"))
    read = iter(zip(rows, readings, strict=True))
    by_official = {official: [next(read) for _ in parts[official]] for official in used}
    name = f"hf:{hub}" + (f":{config}" if config else "")
    words = tuple(readings[0].options)
    return TableTask(name, hub, by_official.__getitem__, kind, shares, words=words, lenient=True)


def _official_shares(names: Iterable[str]) -> Shares:
    """Splits of ours from official ones: what is official stays apart; a single split is cut like a person's file."""
    names = list(names)
    validation = next((name for name in ("validation", "valid", "dev") if name in names), None)
    tested = "test" if "test" in names else validation
    rest = [name for name in ("train", validation) if name in names and name != tested]
    if tested is None or not rest:
        return OWN_SHARES
    apart = validation if validation in rest else "train"
    shares = {"train": ("train", range(0, 90 if apart == "train" else 100))} if "train" in names else {}
    return {
        **shares,
        "validation": (str(apart), range(90, 100) if apart == "train" else range(0, 100)),
        "test": (tested, range(0, 70)),
        "confirm": (tested, range(70, 100)),
    }


# ---------------------------------------------------------------- rows


def _numbered(rows: Iterable[Any], where: str) -> list[Row]:
    return [Row(i, f"Row {i} of {where}", row) for i, row in enumerate(rows, 1)]


def _read(source: Source, rows: Sequence[Row]) -> Read:
    """Every row with its reading, or with the sentence that says why it has none."""
    if not rows:
        raise ValueError(f"There are no rows of {source.title} in the copy that was found; get it again.")
    return [(row, _reading(source, row)) for row in rows]


def _reading(source: Source, row: Row) -> Reading | ValueError:
    def cell(names: str) -> Any:
        return next((value for name in names.split("|") if not is_missing(value := lookup(row.fields, name))), None)

    needs = f"{source.title} needs the fields {', '.join(name.replace('|', ' or ') for name in source.fields)}"
    try:
        for name in source.fields:
            if cell(name) is None:
                return ValueError(f"{row.place} has no field {name.replace('|', ' or ')!r}; {needs}.")
        return source.read(cell)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        return ValueError(f"{row.place} is not a row of {source.title} ({error}); {needs}.")
