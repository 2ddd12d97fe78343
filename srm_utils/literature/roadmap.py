"""The roadmap from the survey to the code, and the check that it agrees with the repository."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from srm_utils.literature.library import load, unknown_key
from srm_utils.literature.sources import (
    CHECKOUT,
    PACKAGE,
    Finding,
    citing_files,
    markdown_texts,
    named_fields,
    paper_values,
    read_yaml,
)

#: How far a technique is; an exercise is solved in its notebook and checked there, without a claim.
STATUSES = ("planned", "exercise", "built")
#: Stands for the claim of a technique that runs no model, as this room's map: it has nothing to measure.
NO_CLAIM = "none"


@dataclass(frozen=True, slots=True)
class Technique:
    """One technique: who said it, and the five places where the collection keeps its word.

    `notebook` is a name below the notebooks folder without ending, `section` a heading in it, `function`
    "module:name", `test` "tests/file.py::name", `claim` an id of `claims.yaml`, or `NO_CLAIM` for a function of this
    room; "" where there is none yet. An exercise has a notebook, a section and, as `test`, its graded cell's id.
    """

    name: str
    papers: tuple[str, ...]
    status: str
    notebook: str
    section: str = ""
    function: str = ""
    test: str = ""
    claim: str = ""


@dataclass(frozen=True, slots=True)
class Topic:
    """A box of the roadmap."""

    name: str
    techniques: tuple[Technique, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the roadmap; a finished one must have all five of every technique."""

    name: str
    finished: bool
    topics: tuple[Topic, ...]

    @property
    def techniques(self) -> tuple[Technique, ...]:
        """All techniques of the part, in order."""
        return tuple(technique for topic in self.topics for technique in topic.techniques)


def load_roadmap(path: str | Path | None = None) -> tuple[Part, ...]:
    """The roadmap: part -> topic -> technique -> papers, notebook section, function, test, claim.

    Raises FileNotFoundError when the file is missing, ValueError when it is not what this describes.

    >>> [part.name for part in load_roadmap()]
    ['Landscape', 'Training', 'Inference', 'Applications', 'Future directions']
    """
    file = Path(path) if path is not None else PACKAGE / "roadmap.yaml"
    with named_fields(file):
        return tuple(
            Part(part["part"], part["finished"], tuple(_topic(topic) for topic in part["topics"]))
            for part in read_yaml(file, "roadmap")
        )


def _topic(data: Mapping[str, Any]) -> Topic:
    techniques = []
    for entry in data["techniques"]:
        fields = {"notebook": data.get("notebook", ""), **entry, "papers": tuple(entry["papers"])}
        techniques.append(Technique(**fields))
    return Topic(data["topic"], tuple(techniques))


def check_roadmap(roadmap: Sequence[Part] | None = None, root: Path | None = None) -> list[Finding]:
    """Where the roadmap and the repository disagree; an empty list when they agree.

    Every paper is in the library and every name stands once. A technique that is built, or belongs to a finished part,
    has its notebook section, function, test and claim, and each of them exists below `root` (the checkout by default);
    one that is an exercise has its section and graded cell. Every notebook stands in the roadmap.
    """
    root = root or CHECKOUT
    file = PACKAGE / "roadmap.yaml"
    library, seen = load(), set()
    findings: list[Finding] = []
    parts = load_roadmap() if roadmap is None else roadmap
    claims = root / "notebooks" / "claims.yaml"
    claim_ids = {claim for _, _, claim in paper_values(claims)} if claims.is_file() else set()
    places: dict[str, Callable[[Technique], bool]] = {
        "section": lambda t: _has_heading(root / "notebooks" / f"{t.notebook}.ipynb", t.section),
        "function": lambda t: _defined(root, t.function.replace(".", "/").replace(":", ".py:", 1), ":"),
        "test": lambda t: _defined(root, t.test, "::"),
        "claim": lambda t: t.claim in claim_ids or (t.claim == NO_CLAIM and t.function.startswith(f"{__package__}.")),
    }
    exercise_places = {"section": places["section"], "test": lambda t: _graded(root, t.notebook, t.test)}
    for part in parts:
        for technique in part.techniques:
            place = f"{part.name}, {technique.name}"
            if (part.name, technique.name) in seen:
                findings.append(Finding(file, place, "stands twice; keep one"))
            seen.add((part.name, technique.name))
            if technique.status not in STATUSES:
                choice = ", ".join(STATUSES[:-1]) + f" or {STATUSES[-1]}"
                findings.append(Finding(file, place, f"has the status {technique.status!r}; write {choice}"))
            if not technique.papers:
                findings.append(Finding(file, place, "names no paper"))
            findings.extend(Finding(file, place, unknown_key(k, library)) for k in technique.papers if k not in library)
            needed, state = {}, "built"
            if technique.status == "exercise":
                needed, state = exercise_places, "an exercise"
            elif technique.status == "built" or part.finished:
                needed = places
            for name, exists in needed.items():
                value = getattr(technique, name)
                if not value:
                    findings.append(Finding(file, place, f"is {state} but names no {name}"))
                elif not exists(technique):
                    findings.append(Finding(file, place, f"the {name} {value!r} does not exist"))
    mapped = {technique.notebook for part in parts for technique in part.techniques}
    for path in citing_files([root / "notebooks"]) if (root / "notebooks").is_dir() else []:
        name = path.relative_to(root / "notebooks").with_suffix("").as_posix()
        if path.suffix == ".ipynb" and name not in mapped:
            findings.append(Finding(path, "roadmap", "is in no topic of srm_utils/roadmap.yaml"))
    return findings


def techniques_of(roadmap: Sequence[Part]) -> Iterator[tuple[Part, Topic, Technique]]:
    """Every technique with the part and topic it stands in, in order."""
    for part in roadmap:
        for topic in part.topics:
            for technique in topic.techniques:
                yield part, topic, technique


def _graded(root: Path, notebook: str, grade_id: str) -> bool:
    """Whether the notebook has a graded cell of that id."""
    path = root / "notebooks" / f"{notebook}.ipynb"
    if not path.is_file():
        return False
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    marks = [cell.get("metadata", {}).get("nbgrader", {}) for cell in cells]
    return any(mark.get("grade") and mark.get("grade_id") == grade_id for mark in marks)


def _has_heading(notebook: Path, heading: str) -> bool:
    if not notebook.is_file():
        return False
    lines = (line for _, text in markdown_texts(notebook) for line in text.splitlines() if line.startswith("#"))
    return any(line.lstrip("#").strip() == heading for line in lines)


def _defined(root: Path, place: str, mark: str) -> bool:
    """Whether "file<mark>name" below root defines that function, class or method."""
    file, _, name = place.partition(mark)
    path = root / file
    if not name or not path.is_file():
        return False
    nodes: list[ast.stmt] = ast.parse(path.read_text(encoding="utf-8")).body
    for part in re.split(r"[./]|::", name):
        kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
        match = next((node for node in nodes if isinstance(node, kinds) and node.name == part), None)
        if match is None:
            return False
        nodes = match.body
    return True
