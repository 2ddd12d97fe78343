"""The papers of `papers.bib` by key: loading, citing and searching them."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path

from srm_utils.literature.entries import Paper, paper_of, split_entries
from srm_utils.literature.sources import CHECKOUT, PACKAGE


class UnknownPaper(KeyError):
    """A key that `papers.bib` does not hold; the message names the nearest ones."""

    def __str__(self) -> str:
        return str(self.args[0])


class Library(Mapping[str, Paper]):
    """The papers by key, in the order of the file."""

    def __init__(self, papers: Iterable[Paper], path: Path) -> None:
        self._papers = {paper.key: paper for paper in papers}
        self.path = path

    def __getitem__(self, key: str) -> Paper:
        """Raises UnknownPaper, which names the nearest keys."""
        try:
            return self._papers[key]
        except KeyError:
            raise UnknownPaper(f"There is no paper {key!r} in {self.path.name}{_nearest(key, self._papers)}.") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._papers)

    def __len__(self) -> int:
        return len(self._papers)

    @property
    def sections(self) -> tuple[str, ...]:
        """The roadmap sections that occur, sorted."""
        return tuple(sorted({paper.section for paper in self._papers.values()}))

    def search(self, word: str | None = None, section: str | None = None, technique: str | None = None) -> list[Paper]:
        """Papers that match everything asked for, in the order of the file.

        `word`: each of its words must occur in key, title, authors, venue or technique; `technique`: likewise, in the
        technique alone; `section`: a section, or a beginning such as "training". Case and accents do not count.
        Raises ValueError for a section that does not occur.
        """
        if section and not any(name.startswith(section) for name in self.sections):
            raise ValueError(f"There is no section {section!r}; choose one of {', '.join(self.sections)}.")

        def holds(asked: str | None, text: str) -> bool:
            return all(part in _plain(text) for part in _plain(asked or "").split())

        return [
            p
            for p in self._papers.values()
            if p.section.startswith(section or "")
            and holds(technique, p.technique)
            and holds(word, " ".join((p.key, p.title, *p.authors, p.venue, p.technique)))
        ]


def load(path: str | Path | None = None) -> Library:
    """The library, from the checkout's `papers.bib`, or from the copy that the installed package carries.

    Raises FileNotFoundError when there is none, ValueError with the line number for a malformed entry.

    >>> load()["wei2022chain"].label
    'Wei et al., 2022'
    """
    if path is not None:
        file = Path(path)
    else:
        copies = (CHECKOUT / "papers.bib", PACKAGE / "papers.bib")
        file = next((copy for copy in copies if copy.is_file()), copies[0])
    if not file.is_file():
        raise FileNotFoundError(f"There is no bibliography at {file}; restore papers.bib or name another file.")
    return _load(file, file.stat().st_mtime_ns)


def cite(key: str) -> str:
    """The Markdown link that notebooks use.

    >>> cite("wei2022chain")
    '[Wei et al., 2022](https://arxiv.org/abs/2201.11903 "wei2022chain")'
    """
    return load()[key].citation


def reference(key: str) -> str:
    """The full reference in plain text.

    >>> reference("schulman2017ppo").split(". ")[1]
    'Proximal Policy Optimization Algorithms'
    """
    return load()[key].reference


def bibtex(key: str) -> str:
    """The entry as `papers.bib` writes it.

    >>> bibtex("hu2022lora").splitlines()[0]
    '@inproceedings{hu2022lora,'
    """
    return load()[key].entry


def search(word: str | None = None, section: str | None = None, technique: str | None = None) -> list[Paper]:
    """Papers of the default library that match everything asked for; see `Library.search`.

    >>> [paper.key for paper in search("draft", section="inference", technique="minimal")]
    ['xu2025cod']
    """
    return load().search(word, section, technique)


@lru_cache(maxsize=8)
def _load(path: Path, _mtime_ns: int) -> Library:
    # pybtex is imported here, so that a command line that cites nothing does not pay for it.
    from pybtex.database.input.bibtex import Parser
    from pybtex.exceptions import PybtexError

    try:
        # Some editors put a byte-order mark before the first entry.
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        before = path.read_bytes()[: error.start].count(b"\n")
        where = f"{path.name}, line {before + 1}"
        raise ValueError(f"{where}: this is not UTF-8; save the file in that encoding.") from None
    raw, told = split_entries(text, path.name)
    parser = Parser()
    try:
        parser.parse_string(told)
    except PybtexError as error:
        at = getattr(error, "lineno", None)
        where = f", line {at}" if at else ""
        raise ValueError(f"{path.name}{where}: {str(error).splitlines()[0]}; mend that entry.") from None
    papers = []
    for key, entry in parser.data.entries.items():
        line, source = raw[key]
        try:
            papers.append(paper_of(key, entry, line, source))
        except ValueError as error:
            raise ValueError(f"{path.name}, line {line}: entry {key!r} {error}.") from None
    return Library(papers, path)


def _plain(text: str) -> str:
    """Lower case without accents, for searching."""
    decomposed = unicodedata.normalize("NFKD", text.replace("’", "'"))
    return "".join(c for c in decomposed if not unicodedata.combining(c)).lower()


def _nearest(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=3, cutoff=0.6)
    return f"; the nearest are {', '.join(close)}" if close else "; `srm papers` lists all of them"


def unknown_key(key: str, library: Library) -> str:
    return f"there is no paper {key!r} in {library.path.name}{_nearest(key, library)}"
