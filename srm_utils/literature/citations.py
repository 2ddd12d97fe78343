"""The check that every citation in notebooks, docstrings and claims agrees with the library, and its repair."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from srm_utils.literature.entries import Paper
from srm_utils.literature.library import Library, load, unknown_key
from srm_utils.literature.sources import (
    KEY,
    LINK,
    Finding,
    citing_files,
    docstring_keys,
    markdown_texts,
    notebook_json,
    paper_values,
)
from srm_utils.literature.tables import TABLES

_ARXIV_URL = re.compile(r"https?://(?:www\.)?arxiv\.org/(?:abs|pdf)/(\d{4}\.\d{4,5})")
#: Begin and end of what stands in a page and is made from a file.
TABLE_MARKS = ("<!-- {}: begin -->", "<!-- {}: end -->")


def check_citations(paths: Sequence[str | Path] | None = None, library: Library | None = None) -> list[Finding]:
    """Every citation that does not agree with the library; an empty list when all do.

    `paths` are files or folders (the checkout's notebooks, package, README and docs by default). Notebooks (`.ipynb`)
    and Markdown (`.md`): the link form, keys in the notebook's `srm` metadata, and a notebook that cites nothing.
    Python: keys in docstrings. YAML: values of `paper` and `papers`.

    Raises FileNotFoundError for a path that does not exist.
    """
    library = library or load()
    findings: list[Finding] = []
    for path in citing_files(paths):
        if path.suffix == ".py":
            for name, key in docstring_keys(path):
                if key not in library:
                    findings.append(Finding(path, f"docstring of {name}", unknown_key(key, library)))
        elif path.suffix in (".yaml", ".yml"):
            for line, key, _ in paper_values(path):
                if key not in library:
                    findings.append(Finding(path, f"line {line}", unknown_key(key, library)))
        else:
            findings.extend(_check_document(path, library))
    return findings


def repair_citations(paths: Sequence[str | Path] | None = None, library: Library | None = None) -> list[Path]:
    """Rewrites name, year and address of every link whose key is known, and returns the files that changed.

    In a notebook, a link to an arXiv paper of the library without a key gets it; text after the year (", section 2")
    stays. In Markdown the tables of `TABLES` are renewed between `TABLE_MARKS`. An unknown key
    is left for a person.
    """
    library = library or load()
    changed = []
    for path in citing_files(paths):
        if path.suffix == ".ipynb":
            import nbformat

            notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
            cells = [cell for cell in notebook.cells if cell.cell_type == "markdown"]
            sources = [_repaired(cell.source, library, bare=False) for cell in cells]
            if sources == [cell.source for cell in cells]:
                continue  # another writer's layout of the JSON is nothing to mend
            for cell, source in zip(cells, sources, strict=True):
                cell.source = source
            new = nbformat.writes(notebook) + "\n"
        elif path.suffix == ".md":
            new = path.read_text(encoding="utf-8")
            for name in TABLES:
                new = _with_table(path, new, name)
            new = _repaired(new, library, bare=True)
        else:
            continue
        if new.strip() != path.read_text(encoding="utf-8").strip():
            path.write_text(new, encoding="utf-8")
            changed.append(path)
    return changed


def _check_document(path: Path, library: Library) -> Iterator[Finding]:
    cites = False
    for place, text in markdown_texts(path):
        for link in LINK.finditer(text):
            problem, key = _judged(link, library, bare=path.suffix != ".ipynb")
            cites = cites or key in library
            if problem:
                yield Finding(path, place, problem, repairable=key in library)
    if path.suffix == ".ipynb":
        for key in notebook_json(path).get("metadata", {}).get("srm", {}).get("papers", []):
            if key not in library:
                yield Finding(path, "metadata", unknown_key(key, library))
        if not cites:
            yield Finding(path, "whole notebook", "cites no paper; name those it runs as links titled with their key")
    else:
        text = path.read_text(encoding="utf-8")
        for name, (source, _) in TABLES.items():
            if _with_table(path, text, name) != text:
                yield Finding(path, f"{name} table", f"differs from {source}", repairable=True)


def _judged(link: re.Match[str], library: Library, bare: bool) -> tuple[str, str]:
    """What is wrong with a Markdown link ("" when nothing is), and the key it cites ("" when it is no citation).

    `bare` allows a link to a preprint without a key, as running text outside notebooks may have it.
    """
    key = link["title"] or ""
    preprint = _ARXIV_URL.match(link["url"])
    if not KEY.fullmatch(key):
        if bare or not preprint:
            return "", ""
        key = next((p.key for p in library.values() if p.arxiv == preprint[1]), "")
        if not key:
            return f"links to arXiv {preprint[1]}, which {library.path.name} does not hold; add its entry", ""
        return f"the link to {preprint[1]} has no key; write {library[key].citation}", key
    if key not in library:
        return unknown_key(key, library), key
    paper = library[key]
    if _relabelled(link, paper) == link[0]:
        return "", key
    return f"{link[0]} does not agree with its entry; write {_relabelled(link, paper)}", key


def _relabelled(link: re.Match[str], paper: Paper) -> str:
    """The link as it should stand; words after the year (", section 2") stay."""
    tail = re.fullmatch(r".*?\d{4}(,\s.+)?", link["label"], re.DOTALL)
    return f'[{paper.label}{(tail and tail[1]) or ""}]({paper.url} "{paper.key}")'


def _repaired(text: str, library: Library, bare: bool) -> str:
    def mend(link: re.Match[str]) -> str:
        problem, key = _judged(link, library, bare)
        return _relabelled(link, library[key]) if problem and key in library else link[0]

    return LINK.sub(mend, text)


def _with_table(path: Path, text: str, name: str) -> str:
    """A page's text with a table renewed between its marks; unchanged where there are none."""
    begin, end = (mark.format(name) for mark in TABLE_MARKS)
    if begin not in text:
        return text
    _, table = TABLES[name]
    between = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    notebooks = "../notebooks/" if path.resolve().parent.name == "docs" else "notebooks/"
    return between.sub(lambda _: f"{begin}\n{table(notebooks)}\n{end}", text)
