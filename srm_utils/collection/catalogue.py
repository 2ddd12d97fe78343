"""The catalogue: which notebooks there are, read from the notebooks' own metadata."""

from __future__ import annotations

import ast
import difflib
import json
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from srm_utils.literature.sources import notebooks_dir


@dataclass(frozen=True, slots=True)
class Notebook:
    """One notebook of the collection, as its own metadata (`metadata.srm`) and parameters cell describe it.

    `name` is the path below the notebooks folder without its ending; `minutes` and `memory` (GB) are what the
    notebook states for each kind of profile; `parameters` are the names and defaults of its parameters cell.
    `problem` says in one sentence why the file cannot be read, and is "" where it can.
    """

    name: str
    path: Path
    title: str = ""
    topic: str = ""
    techniques: tuple[str, ...] = ()
    papers: tuple[str, ...] = ()
    prerequisites: tuple[str, ...] = ()
    minutes: dict[str, float] = field(default_factory=dict)
    memory: dict[str, float] = field(default_factory=dict)
    parameters: dict[str, Any] = field(default_factory=dict)
    problem: str = ""


def read_json(path: Path) -> dict[str, Any]:
    """A notebook's JSON. Raises ValueError with one sentence when the file is missing, damaged or of an old format."""
    damaged = f"{path} is not a readable notebook; restore it from version control."
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ValueError(f"There is no notebook at {path}; `srm list` shows the collection's.") from None
    except (OSError, ValueError):
        raise ValueError(damaged) from None
    if text.startswith("\ufeff"):
        raise ValueError(f"{path} begins with a byte-order mark; save it as UTF-8 without one.")
    try:
        nb = json.loads(text)
    except ValueError:
        conflict = re.search(r"^<{7}( |$)", text, re.MULTILINE)
        if conflict is None:
            raise ValueError(damaged) from None
        line = text.count("\n", 0, conflict.start()) + 1
        raise ValueError(f"{path} holds a merge conflict, on line {line}; choose a side and save it again.") from None
    if isinstance(nb, dict) and "cells" not in nb and ("worksheets" in nb or nb.get("nbformat", 4) < 4):
        raise ValueError(
            f"{path} is of an old notebook format; convert it with `jupyter nbconvert --to notebook --inplace`."
        )
    cells = nb.get("cells") if isinstance(nb, dict) else None
    if not isinstance(cells, list) or not all(isinstance(cell, dict) and "cell_type" in cell for cell in cells):
        raise ValueError(damaged)
    return nb


def cell_source(cell: dict[str, Any]) -> str:
    """A cell's source as one string (the file format allows a list of lines)."""
    source = cell.get("source", "")
    return source if isinstance(source, str) else "".join(source)


def parameters_of(nb: dict[str, Any]) -> dict[str, Any]:
    """Names and default values of the cell tagged `parameters`; only literals count.

    >>> cell = {"metadata": {"tags": ["parameters"]}, "source": "seed = 0\\nsplit: str = 'test'"}
    >>> parameters_of({"cells": [cell]})
    {'seed': 0, 'split': 'test'}
    """
    found: dict[str, Any] = {}
    for cell in nb["cells"]:
        if "parameters" not in cell.get("metadata", {}).get("tags", []):
            continue
        try:
            statements = parse(without_magics(cell_source(cell))).body
        except (SyntaxError, ValueError):
            raise ValueError("The notebook's parameters cell is not valid Python; give it literals only.") from None
        for statement in statements:
            if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
                target: ast.expr = statement.targets[0]
            elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
                target = statement.target
            else:
                continue
            if isinstance(target, ast.Name) and statement.value is not None:
                try:
                    found[target.id] = ast.literal_eval(statement.value)
                except (ValueError, TypeError):
                    continue
    return found


def parse(source: str) -> ast.Module:
    """The syntax tree of a source that somebody else wrote, without the compiler's warnings about it.

    Raises SyntaxError for what is not Python.

    >>> len(parse("a = 1").body)
    1
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(source)


def without_magics(source: str) -> str:
    """A cell as Python alone: what only IPython reads (`%matplotlib inline`, `!ls`, `x?`) becomes calls.

    >>> without_magics("%%time\\nseed = 0").strip()
    'seed = 0'
    """
    try:
        parse(source)
        return source
    except SyntaxError:
        from IPython.core.inputtransformer2 import TransformerManager

    # The cell below `%%time` is Python like any other.
    first, _, rest = source.lstrip().partition("\n")
    return TransformerManager().transform_cell(rest if first.startswith("%%") else source)


def read_notebook(path: Path, root: Path) -> Notebook:
    """The catalogue entry of the notebook at `path`, named relative to `root`.

    Raises ValueError with one sentence that names the file when it cannot be read.
    """
    nb = read_json(path)
    try:
        meta = nb.get("metadata", {}).get("srm", {})
        listed = Notebook(
            name=_name(path, root),
            path=path,
            title=str(meta.get("title", path.stem)),
            topic=str(meta.get("topic", "")),
            techniques=tuple(map(str, meta.get("techniques", ()))),
            papers=tuple(map(str, meta.get("papers", ()))),
            prerequisites=tuple(map(str, meta.get("prerequisites", ()))),
            minutes={name: float(value) for name, value in meta.get("minutes", {}).items()},
            memory={name: float(value) for name, value in meta.get("memory", {}).items()},
        )
        tags = [cell.get("metadata", {}).get("tags", []) for cell in nb["cells"]]
        if not all(isinstance(of_cell, list) for of_cell in tags):
            raise TypeError
    except (AttributeError, TypeError, ValueError):
        raise ValueError(f"{path} has metadata of another shape than the collection's; compare its `srm`.") from None
    try:
        return replace(listed, parameters=parameters_of(nb))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _name(path: Path, root: Path) -> str:
    return path.relative_to(root).with_suffix("").as_posix()


def read_catalogue(root: Path | None = None) -> list[Notebook]:
    """All notebooks below `root` (default: the collection), in the order of their paths.

    One that cannot be read has a `problem` and no more than its name. Raises FileNotFoundError when there is none.
    """
    folder = Path(root) if root is not None else notebooks_dir()
    paths = [p for p in folder.rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts]
    if not paths:
        raise FileNotFoundError(f"There are no notebooks in {folder}; give another folder with --notebooks.")
    found = []
    # 00_tour and 01_landscape open the collection, then the parts in the order of their numbers.
    for path in sorted(paths, key=lambda p: (len(p.relative_to(folder).parts), p)):
        try:
            found.append(read_notebook(path, folder))
        except ValueError as error:
            found.append(Notebook(_name(path, folder), path, title=path.stem, problem=str(error)))
    return found


def find(names: Sequence[str], catalogue: Sequence[Notebook]) -> list[Notebook]:
    """The notebooks that `names` pick, in catalogue order; all of them when `names` is empty.

    A name is a number (`21`), a path or the start of one (`2_inference/21`), a part (`inference`), a title, a topic, a
    technique, or the initials of one of these (`mcts`). Where none is exactly so, words that occur in a title, topic or
    technique count (`debate`, `reward model`). Upper case and the signs between words do not matter.
    Raises ValueError for a name that picks none; it says which are nearest.

    >>> book = Notebook("2_inference/24_search", Path("x.ipynb"), "Monte Carlo tree search", "Inference / search")
    >>> [[n.name for n in find([name], [book])] == [book.name] for name in ("24", "inference", "MCTS", "tree search")]
    [True, True, True, True]
    """
    if not names:
        return list(catalogue)
    picked: set[str] = set()
    for name in names:
        wanted = name.removesuffix(".ipynb").removeprefix("./").removeprefix("notebooks/").strip("/").lower()
        hits = {n.name for n in catalogue if wanted and _is(wanted, n)}
        hits = hits or {n.name for n in catalogue if _spoken(wanted) and _mentions(_spoken(wanted), n)}
        if not hits:
            raise ValueError(f"No notebook is called {name!r}; {_hint(_spoken(wanted), catalogue)}.")
        picked |= hits
    return [n for n in catalogue if n.name in picked]


def _spoken(text: str) -> str:
    """The words of a name, in lower case with single spaces: `Tree_Search` and `tree-search` are the same."""
    return " ".join(re.findall(r"\w+", text.lower().replace("_", " ")))


def _phrases(notebook: Notebook) -> list[str]:
    """What a notebook may be called: its title, the pieces of its topic, its techniques, its parts without numbers."""
    parts = (part.partition("_")[2] for part in notebook.name.split("/"))
    named = (notebook.title, *notebook.topic.split(" / "), *notebook.techniques, *parts)
    return [spoken for spoken in map(_spoken, named) if spoken]


def _initials(phrase: str) -> str:
    return "".join(word[0] for word in phrase.split())


def _is(wanted: str, notebook: Notebook) -> bool:
    """Whether a name is exactly this notebook's: its number, the start of its path, a phrase or a phrase's initials."""
    path = notebook.name.lower()
    if wanted.isdigit():
        # A number is exact: `2` is the part 2_inference, not every notebook that begins with a 2.
        return wanted in {part.split("_", 1)[0] for part in path.split("/")}
    if path.startswith(wanted) or path.rsplit("/", 1)[-1].startswith(wanted):
        return True
    phrases = _phrases(notebook)
    return _spoken(wanted) in phrases or (len(wanted) > 2 and wanted in map(_initials, phrases))


def _mentions(words: str, notebook: Notebook) -> bool:
    """Whether words, or a run of words with these initials, occur in one of the notebook's phrases."""
    if len(words) < 2:
        return False
    phrases = _phrases(notebook)
    return any(f" {words} " in f" {phrase} " for phrase in phrases) or (
        len(words) > 2 and any(words in _initials(phrase) for phrase in phrases)
    )


def _hint(words: str, catalogue: Sequence[Notebook]) -> str:
    """The notebooks whose names are most like these words, the nearest first, as half a sentence."""
    spelt: dict[str, list[str]] = {}
    initials: dict[str, list[str]] = {}
    for n in catalogue:
        for phrase in (_spoken(n.name.rsplit("/", 1)[-1]), *_phrases(n)):
            for word in {phrase, *phrase.split()}:
                spelt.setdefault(word, []).append(n.name)
            initials.setdefault(_initials(phrase), []).append(n.name)
    # Initials are short, so that many of them look alike: they count where no word does.
    for known in (spelt, initials):
        alike = difflib.get_close_matches(words, [key for key in known if len(key) > 2], n=3, cutoff=0.6)
        close = list(dict.fromkeys(name for key in alike for name in known[key]))[:5]
        if close:
            return f"the nearest are {', '.join(close)}"
    return "`srm list` shows what there is"
