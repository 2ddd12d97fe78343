"""Where the collection uses a paper, and how far it has come with each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from srm_utils.literature.library import load
from srm_utils.literature.roadmap import Part, load_roadmap, techniques_of
from srm_utils.literature.sources import (
    LINK,
    PACKAGE,
    citing_files,
    docstring_keys,
    markdown_texts,
    notebook_folder,
    paper_values,
)


@dataclass(frozen=True, slots=True)
class Usage:
    """Where the collection uses a paper: notebook names, claim ids, functions, and techniques of the roadmap.

    `functions` are those of the paper's built techniques, then functions, classes and modules whose docstring names it.
    """

    notebooks: tuple[str, ...]
    claims: tuple[str, ...]
    functions: tuple[str, ...]
    techniques: tuple[str, ...] = ()


def covered(notebooks: str | Path | None = None) -> dict[str, list[str]]:
    """Key -> names of the notebooks that cite it, for every paper that at least one notebook cites.

    `notebooks` is the folder of the notebooks, the checkout's by default. One that cannot be read counts for nothing
    here; `srm list` names it. Raises FileNotFoundError without a folder.
    """
    folder = notebook_folder(notebooks)
    found: dict[str, list[str]] = {}
    for path in citing_files([folder]):
        if path.suffix != ".ipynb":
            continue
        name = path.relative_to(folder).with_suffix("").as_posix()
        try:
            texts = [text for _, text in markdown_texts(path)]
        except ValueError:
            continue
        keys = {link["title"] for text in texts for link in LINK.finditer(text) if link["title"]}
        for key in sorted(keys):
            if key in load():
                found.setdefault(key, []).append(name)
    return dict(sorted(found.items()))


def usage(key: str, notebooks: str | Path | None = None) -> Usage:
    """Notebooks, claims and documented functions that use a paper. Raises UnknownPaper for a key we do not hold."""
    load()[key]
    folder = notebook_folder(notebooks)
    claims = folder / "claims.yaml"
    # This room and its command line name papers only as examples.
    examples = {*Path(__file__).resolve().parent.glob("*.py"), PACKAGE / "cli" / "papers.py"}
    sources = [path for path in citing_files([PACKAGE]) if path.suffix == ".py" and path not in examples]
    # Only a file that holds the key is worth parsing.
    naming = (path for path in sources if key in path.read_text(encoding="utf-8"))
    documented = (name for path in naming for name, k in docstring_keys(path) if k == key)
    here = [(part, topic, t) for part, topic, t in techniques_of(load_roadmap()) if key in t.papers]
    running = (t.function.replace(":", ".") for _, _, t in here if t.status == "built")
    return Usage(
        notebooks=tuple(covered(folder).get(key, [])),
        claims=tuple(claim for _, k, claim in paper_values(claims) if k == key) if claims.is_file() else (),
        functions=tuple(dict.fromkeys([*running, *documented])),
        techniques=tuple(f"{part.name} > {topic.name} > {t.name} ({t.status})" for part, topic, t in here),
    )


#: How far the collection has come with a paper, furthest first.
STATES = {
    "run": "a built technique or a claim rests on it",
    "cited": "a notebook names it",
    "planned": "the roadmap names it for a technique to come",
    "open": "nothing yet",
}


def coverage(notebooks: str | Path | None = None, roadmap: Sequence[Part] | None = None) -> dict[str, str]:
    """Key -> how far the collection has come with it, one of `STATES`, for every paper of the library.

    `notebooks` is the folder of notebooks and `claims.yaml`, the checkout's by default; `roadmap` is `load_roadmap()`
    unless given. Raises FileNotFoundError without a folder of notebooks.
    """
    folder = notebook_folder(notebooks)
    claims = folder / "claims.yaml"
    techniques = [t for _, _, t in techniques_of(load_roadmap() if roadmap is None else roadmap)]
    reached = {
        "planned": {key for t in techniques for key in t.papers},
        "cited": set(covered(folder)),
        "run": {key for t in techniques if t.status == "built" for key in t.papers}
        | ({key for _, key, _ in paper_values(claims)} if claims.is_file() else set()),
    }
    return {key: next((state for state in STATES if key in reached.get(state, ())), "open") for key in load()}
