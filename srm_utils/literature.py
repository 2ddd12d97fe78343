"""Who said it: `papers.bib`, the citations drawn from it, and the map from the survey to the code.

Four parts, read in this order: the library of papers (`load`, `cite`, `reference`, `search`), the check that every
citation in notebooks, docstrings and claims agrees with it (`check_citations`, `repair_citations`, `covered`), the
roadmap (`load_roadmap`, `check_roadmap`, `coverage`), the one list from which README and notebooks draw, and the
reading paths (`load_reading_paths`).
"""

from __future__ import annotations

import ast
import difflib
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parent
CHECKOUT = PACKAGE.parent

# ---------------------------------------------------------------------------------------------- the library


@dataclass(frozen=True, slots=True)
class Paper:
    """One work of `papers.bib`, in plain text (accents as characters, braces gone).

    `authors` are full names, "others" for those the entry leaves out; `surnames` belong to them one by one. `arxiv` is
    "" where there is no preprint. `section` is the roadmap section (the entry's `keywords`), `technique` what we take
    from the work. `entry` is the BibTeX text, which begins on line `line` of the file.
    """

    key: str
    title: str
    authors: tuple[str, ...]
    year: int
    arxiv: str
    venue: str
    section: str
    technique: str
    surnames: tuple[str, ...] = ()
    doi: str = ""
    link: str = ""
    note: str = ""
    entry: str = field(default="", repr=False)
    line: int = 0

    @property
    def label(self) -> str:
        """Author and year as a text names them: one name, two with "and", else the first "et al."."""
        first = self.surnames[0]
        if len(self.surnames) == 1:
            return f"{first}, {self.year}"
        if len(self.surnames) == 2 and self.surnames[1] != "others":
            return f"{first} and {self.surnames[1]}, {self.year}"
        return f"{first} et al., {self.year}"

    @property
    def url(self) -> str:
        """Where to read it: the preprint, else the DOI, else the entry's own address."""
        if self.arxiv:
            return f"https://arxiv.org/abs/{self.arxiv}"
        return f"https://doi.org/{self.doi}" if self.doi else self.link

    @property
    def citation(self) -> str:
        """The Markdown link that notebooks use."""
        return f'[{self.label}]({self.url} "{self.key}")'

    @property
    def reference(self) -> str:
        """The full reference in plain text."""
        names = [name for name in self.authors if name != "others"]
        if len(names) < len(self.authors):
            who = ", ".join(names) + ", et al"
        else:
            who = names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]
        where = self.venue if self.arxiv and self.venue == "arXiv" else f"{self.venue}, {self.year}"
        end = f"arXiv:{self.arxiv}, {self.year}" if where == "arXiv" else where
        also = f" arXiv:{self.arxiv}." if self.arxiv and where != "arXiv" else ""
        doi = f" doi:{self.doi}." if self.doi else ""
        address = f" {self.link}" if self.link else ""
        title = self.title if self.title[-1] in "?!." else f"{self.title}."
        note = f" {self.note}." if self.note else ""
        return f"{who}. {title} {end}.{also}{doi}{address}{note}"


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


#: What a key looks like: surname, year, a word of the title.
KEY = re.compile(r"\b[a-z]+(?:19|20)\d\d[a-z][a-z0-9]*\b")
ARXIV_ID = re.compile(r"\d{4}\.\d{4,5}")
#: Before April 2007.
OLD_ARXIV_ID = re.compile(r"[a-z-]+(\.[A-Z]{2})?/\d{7}")
#: What may stand around an identifier.
_ARXIV_AROUND = re.compile(r"^(https?://(www\.)?arxiv\.org/(abs|pdf)/|arxiv:\s*)|(v\d+)?(\.pdf)?$", re.IGNORECASE)
_DOI_BEFORE = re.compile(r"^(https?://)?((dx|www)\.)?doi\.org/|^doi[:\s]\s*", re.IGNORECASE)
REQUIRED = ("title", "author", "year", "keywords", "technique")


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
    raw, told = _entries(text, path.name)
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
            papers.append(_paper(key, entry, line, source))
        except ValueError as error:
            raise ValueError(f"{path.name}, line {line}: entry {key!r} {error}.") from None
    return Library(papers, path)


_OPENING = re.compile(r"@\s*(?P<kind>\w+)\s*[{(]")
_ENTRY_KEY = re.compile(r"\s*(?P<key>[^\s,{}]+)\s*,")
#: Delimiters, and the beginning of an entry at the start of a line.
_DELIMITER = re.compile(r"[{}()]|^@\w+\s*[{(]\s*[^\s,{}]+\s*,", re.MULTILINE)


def _entries(text: str, name: str) -> tuple[dict[str, tuple[int, str]], str]:
    """Key -> (first line, source) of every entry; and the text with its comments blanked out, line for line.

    `@string` and `@preamble` stay in the text, and are no entries. A library's parser passes over text that is not an
    entry, so that a lost "@" would silently lose a paper; here everything between entries must be blank or a comment.
    """
    found: dict[str, tuple[int, str]] = {}
    lines: dict[str, int] = {}
    told, at = list(text), 0
    while begins := re.compile(r"\S").search(text, at):
        at = begins.start()
        line, rest_ends = text.count("\n", 0, at) + 1, (text + "\n").index("\n", at)
        said, where = text[at:rest_ends].strip(), f"{name}, line {line}:"
        opening = _OPENING.match(text, at)
        kind = "comment" if said.startswith("%") or said.lower().startswith("@comment") else ""
        kind = kind or (opening["kind"].lower() if opening else "text")
        end = _closing(text, opening.end() - 1) if opening else None
        if kind == "comment":
            # What a comment holds need not be balanced.
            end = end or rest_ends
            told[at:end] = ["\n" if c == "\n" else " " for c in told[at:end]]
        elif opening is None:
            raise ValueError(f"{where} {said[:40]!r} is no entry; begin it with @type{{key, .")
        elif kind not in ("string", "preamble"):
            named = _ENTRY_KEY.match(text, opening.end())
            if named is None:
                raise ValueError(f"{where} {said[:40]!r} has no key; begin it with @type{{key, .")
            key = named["key"]
            if key.lower() in lines:
                raise ValueError(f"{where} key {key!r} stands on line {lines[key.lower()]} already; rename one.")
            if end is None:
                raise ValueError(f"{where} entry {key!r} is not closed (a brace is missing); mend that entry.")
            lines[key.lower()], found[key] = line, (line, text[at:end])
        elif end is None:
            raise ValueError(f"{where} @{kind} is not closed (a brace is missing); mend that entry.")
        at = end
    return found, "".join(told)


def _closing(text: str, start: int) -> int | None:
    """Where the entry whose brace or parenthesis stands at `start` ends; None where it is not closed.

    An entry that begins at the start of a line ends the search: the one before it was left open.
    """
    depth = 0
    for match in _DELIMITER.finditer(text, start):
        sign = match[0]
        if sign.startswith("@"):
            return None
        if sign == "{" or (sign == "(" and match.start() == start):
            depth += 1
        elif sign == "}" or (sign == ")" and depth == 1 and text[start] == "("):
            depth -= 1
        if depth == 0:
            return match.end()
    return None


def _paper(key: str, entry: Any, line: int, source: str) -> Paper:
    fields = {name.lower(): _text(value) for name, value in entry.fields.items()}
    people = entry.persons.get("author", [])
    missing = [name for name in REQUIRED if not fields.get(name) and not (name == "author" and people)]
    if missing:
        raise ValueError(f"has no {missing[0]}; add one")
    if not re.fullmatch(r"\d{4}", fields["year"]):
        raise ValueError(f"has the year {fields['year']!r}; write four digits")
    # Exports of catalogues give identifiers as addresses, or with their scheme and version.
    arxiv = re.sub(_ARXIV_AROUND, "", fields.get("eprint", "").strip())
    if fields.get("archiveprefix", fields.get("eprinttype", "arXiv")).lower() != "arxiv":
        arxiv = ""
    if arxiv and not (ARXIV_ID.fullmatch(arxiv) or OLD_ARXIV_ID.fullmatch(arxiv)):
        raise ValueError(f"has the arXiv identifier {fields['eprint']!r}; write it as 2201.11903")
    doi = re.sub(_DOI_BEFORE, "", fields.get("doi", "").strip())
    if doi and not re.fullmatch(r"10\.\d{4,9}(\.\d+)*/\S+", doi):
        raise ValueError(f"has the DOI {fields['doi']!r}; write it as 10.1000/182")
    if not (arxiv or doi or fields.get("url")):
        raise ValueError("has no address; add eprint, doi or url")
    surnames = [_text(" ".join([*p.prelast_names, *p.last_names])) for p in people]
    lineage = [_text(" ".join(p.lineage_names)) for p in people]
    given = [_text(" ".join([*p.first_names, *p.middle_names])) for p in people]
    venue = next((fields[n] for n in ("booktitle", "journal", "howpublished") if fields.get(n)), "arXiv")
    if fields.get("volume"):
        venue += f" {fields['volume']}({fields.get('number', '')}):{fields.get('pages', '')}"
    return Paper(
        key=key,
        title=fields["title"],
        authors=tuple(" ".join(filter(None, name)) for name in zip(given, surnames, lineage, strict=True)),
        year=int(fields["year"]),
        arxiv=arxiv,
        venue=venue,
        section=fields["keywords"],
        technique=fields["technique"],
        surnames=tuple(surnames),
        doi=doi,
        link=fields.get("url", ""),
        note=fields.get("note", ""),
        entry=source,
        line=line,
    )


def _text(latex: str) -> str:
    """LaTeX of a field as plain text: accents as characters, braces gone."""
    if not re.search(r"[\\{}`]|--", latex):
        return latex
    from pybtex.richtext import Text

    text = str(Text.from_latex(_accented(latex)))
    # Two commands the codec leaves as they are.
    return re.sub(r"\\textgreater\s*", ">", text).replace(r"\$", "$")


#: The combining character of each of LaTeX's accents.
ACCENTS = dict(zip("`'^~=u.\"hrHvdbck", "\u0300\u0301\u0302\u0303\u0304\u0306\u0307\u0308\u0309\u030a\u030b\u030c"
                   "\u0323\u0331\u0327\u0328", strict=True))  # fmt: skip
_LETTER = r"(?:\\[ij](?![A-Za-z])|[^\W\d_][\u0300-\u036f]*)"
#: An accent on one letter, which may stand in braces: after a sign at once, after a letter behind a space or in braces.
_ACCENT = re.compile(
    r"\\(?:(?P<sign>[`'^~=.\"])|(?P<word>[uhrHvdbck])(?=[\s{]))\s*"
    rf"(?P<open>\{{*)\s*(?P<on>{_LETTER})(?:\s*(?P<close>\}}+))?"
)


def _accented(latex: str) -> str:
    r"""LaTeX with its accents as characters, the innermost first, so that one may stand on another.

    >>> _accented(r"Nguy{\~{\^e}}n, H\^{o}\`ng, {\'\i}")
    'Nguy{ễ}n, Hôǹg, {í}'
    """

    def put(match: re.Match[str]) -> str:
        opened, closing = len(match["open"]), match["close"] or ""
        if opened > len(closing):
            return match[0]
        letter = match["on"].lstrip("\\")
        mark = ACCENTS[match["sign"] or match["word"]]
        # Braces that the accent did not open belong to the text around it.
        return unicodedata.normalize("NFC", letter + mark) + closing[opened:]

    while (changed := _ACCENT.sub(put, latex)) != latex:
        latex = changed
    return latex


def _plain(text: str) -> str:
    """Lower case without accents, for searching."""
    decomposed = unicodedata.normalize("NFKD", text.replace("’", "'"))
    return "".join(c for c in decomposed if not unicodedata.combining(c)).lower()


def _nearest(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=3, cutoff=0.6)
    return f"; the nearest are {', '.join(close)}" if close else "; `srm papers` lists all of them"


# ---------------------------------------------------------------------------------- citations in the collection

#: [Wei et al., 2022](https://arxiv.org/abs/2201.11903 "wei2022chain")
_LINK = re.compile(r'\[(?P<label>[^\[\]]+)\]\((?P<url>[^()\s]+)(?:\s+"(?P<title>[^"]*)")?\)')
_ARXIV_URL = re.compile(r"https?://(?:www\.)?arxiv\.org/(?:abs|pdf)/(\d{4}\.\d{4,5})")
#: Begin and end of what stands in the README and is made from a file.
TABLE_MARKS = ("<!-- {}: begin -->", "<!-- {}: end -->")


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that does not agree with the bibliography or the roadmap, and whether a repair mends it."""

    path: Path
    place: str
    message: str
    repairable: bool = False

    def __str__(self) -> str:
        return f"{self.path}, {self.place}: {self.message}"


@dataclass(frozen=True, slots=True)
class Usage:
    """Where the collection uses a paper: notebook names, claim ids, functions, and techniques of the roadmap.

    `functions` are those of the paper's built techniques, then functions, classes and modules whose docstring names it.
    """

    notebooks: tuple[str, ...]
    claims: tuple[str, ...]
    functions: tuple[str, ...]
    techniques: tuple[str, ...] = ()


def check_citations(paths: Sequence[str | Path] | None = None, library: Library | None = None) -> list[Finding]:
    """Every citation that does not agree with the library; an empty list when all do.

    `paths` are files or folders (the checkout's notebooks, package and README by default). Notebooks (`.ipynb`) and
    Markdown (`.md`): the link form, keys in the notebook's `srm` metadata, and a notebook that cites nothing. Python:
    keys in docstrings. YAML: values of `paper` and `papers`. Raises FileNotFoundError for a path that does not exist.
    """
    library = library or load()
    findings: list[Finding] = []
    for path in _files(paths):
        if path.suffix == ".py":
            for name, key in _docstring_keys(path):
                if key not in library:
                    findings.append(Finding(path, f"docstring of {name}", _unknown(key, library)))
        elif path.suffix in (".yaml", ".yml"):
            for line, key, _ in _paper_values(path):
                if key not in library:
                    findings.append(Finding(path, f"line {line}", _unknown(key, library)))
        else:
            findings.extend(_check_document(path, library))
    return findings


def repair_citations(paths: Sequence[str | Path] | None = None, library: Library | None = None) -> list[Path]:
    """Rewrites name, year and address of every link whose key is known, and returns the files that changed.

    In a notebook, a link to an arXiv paper of the library without a key gets it; text after the year (", section 2")
    stays. In Markdown the tables of the roadmap and of the verdicts are renewed between `TABLE_MARKS`. An unknown key
    is left for a person.
    """
    library = library or load()
    changed = []
    for path in _files(paths):
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
                new = _with_table(new, name)
            new = _repaired(new, library, bare=True)
        else:
            continue
        if new.strip() != path.read_text(encoding="utf-8").strip():
            path.write_text(new, encoding="utf-8")
            changed.append(path)
    return changed


def covered(notebooks: str | Path | None = None) -> dict[str, list[str]]:
    """Key -> names of the notebooks that cite it, for every paper that at least one notebook cites.

    `notebooks` is the folder of the notebooks, the checkout's by default. One that cannot be read counts for nothing
    here; `srm list` names it. Raises FileNotFoundError without a folder.
    """
    folder = _notebook_folder(notebooks)
    found: dict[str, list[str]] = {}
    for path in _files([folder]):
        if path.suffix != ".ipynb":
            continue
        name = path.relative_to(folder).with_suffix("").as_posix()
        try:
            texts = [text for _, text in _markdown(path)]
        except ValueError:
            continue
        keys = {link["title"] for text in texts for link in _LINK.finditer(text) if link["title"]}
        for key in sorted(keys):
            if key in load():
                found.setdefault(key, []).append(name)
    return dict(sorted(found.items()))


def usage(key: str, notebooks: str | Path | None = None) -> Usage:
    """Notebooks, claims and documented functions that use a paper. Raises UnknownPaper for a key we do not hold."""
    load()[key]
    folder = _notebook_folder(notebooks)
    claims = folder / "claims.yaml"
    # This file and its command line name papers only as examples.
    examples = (Path(__file__).resolve(), PACKAGE / "collection" / "papers_cli.py")
    sources = [path for path in _files([PACKAGE]) if path.suffix == ".py" and path not in examples]
    # Only a file that holds the key is worth parsing.
    naming = (path for path in sources if key in path.read_text(encoding="utf-8"))
    documented = (name for path in naming for name, k in _docstring_keys(path) if k == key)
    here = [(part, topic, t) for part, topic, t in _techniques(load_roadmap()) if key in t.papers]
    running = (t.function.replace(":", ".") for _, _, t in here if t.status == "built")
    return Usage(
        notebooks=tuple(covered(folder).get(key, [])),
        claims=tuple(claim for _, k, claim in _paper_values(claims) if k == key) if claims.is_file() else (),
        functions=tuple(dict.fromkeys([*running, *documented])),
        techniques=tuple(f"{part.name} > {topic.name} > {t.name} ({t.status})" for part, topic, t in here),
    )


def _files(paths: Sequence[str | Path] | None) -> list[Path]:
    """The files among paths and below folders that can cite, sorted, without caches and runs."""
    if paths is None:
        if not (CHECKOUT / "papers.bib").is_file():
            raise FileNotFoundError("This installed copy has no sources to check; run it in a checkout or name files.")
        paths = [p for p in (CHECKOUT / "notebooks", PACKAGE, CHECKOUT / "README.md") if p.exists()]
    kinds = (".ipynb", ".md", ".py", ".yaml", ".yml")
    files: list[Path] = []
    for path in map(Path, paths):
        if not path.exists():
            raise FileNotFoundError(f"There is nothing at {path}; name a notebook, a Python file or a folder.")
        inside = sorted(p for kind in kinds for p in path.rglob(f"*{kind}")) if path.is_dir() else [path]
        for file in inside:
            hidden = any(part.startswith(".") or part == "__pycache__" for part in file.relative_to(path).parts)
            if file.suffix in kinds and not hidden and file not in files:
                files.append(file)
    return files


def _notebook_folder(folder: str | Path | None) -> Path:
    path = Path(folder) if folder is not None else CHECKOUT / "notebooks"
    if not path.is_dir():
        raise FileNotFoundError(f"There is no notebooks folder at {path}; run this in a checkout of the collection.")
    return path


def _notebook_json(path: Path) -> dict[str, Any]:
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        notebook["cells"][:0]
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{path} is not a readable notebook; restore it from version control.") from None
    return dict(notebook)


def _markdown(path: Path) -> Iterator[tuple[str, str]]:
    """(place, text) of every Markdown text of a notebook or a Markdown file."""
    if path.suffix != ".ipynb":
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            yield f"line {number}", line
        return
    for number, cell in enumerate(_notebook_json(path)["cells"], 1):
        if cell.get("cell_type") == "markdown":
            source = cell.get("source", "")
            yield f"cell {number}", source if isinstance(source, str) else "".join(source)


def _check_document(path: Path, library: Library) -> Iterator[Finding]:
    cites = False
    for place, text in _markdown(path):
        for link in _LINK.finditer(text):
            problem, key = _judged(link, library, bare=path.suffix != ".ipynb")
            cites = cites or key in library
            if problem:
                yield Finding(path, place, problem, repairable=key in library)
    if path.suffix == ".ipynb":
        for key in _notebook_json(path).get("metadata", {}).get("srm", {}).get("papers", []):
            if key not in library:
                yield Finding(path, "metadata", _unknown(key, library))
        if not cites:
            yield Finding(path, "whole notebook", "cites no paper; name those it runs as links titled with their key")
    else:
        text = path.read_text(encoding="utf-8")
        for name, (source, _) in TABLES.items():
            if _with_table(text, name) != text:
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
        return _unknown(key, library), key
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

    return _LINK.sub(mend, text)


def _with_table(text: str, name: str) -> str:
    """The text with a table renewed between its marks; unchanged where there are none."""
    begin, end = (mark.format(name) for mark in TABLE_MARKS)
    _, table = TABLES[name]
    between = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    return between.sub(lambda _: f"{begin}\n{table()}\n{end}", text)


def _unknown(key: str, library: Library) -> str:
    return f"there is no paper {key!r} in {library.path.name}{_nearest(key, library)}"


def _docstring_keys(path: Path) -> list[tuple[str, str]]:
    """(dotted name, key) for every paper key in a docstring of a Python file."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except SyntaxError as error:
        raise ValueError(f"{path}, line {error.lineno}: this is not valid Python; mend it first.") from None
    inside = path.is_relative_to(CHECKOUT)
    module = ".".join((path.relative_to(CHECKOUT) if inside else Path(path.name)).with_suffix("").parts)
    found: list[tuple[str, str]] = []

    def visit(node: ast.AST, name: str) -> None:
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found.extend((name, key) for key in KEY.findall(ast.get_docstring(node) or ""))
        for child in ast.iter_child_nodes(node):
            visit(child, f"{name}.{child.name}" if hasattr(child, "name") and child.name else name)

    visit(tree, module)
    return found


def _paper_values(path: Path) -> list[tuple[int, str, str]]:
    """(line, key, claim id) for every value of `paper` or `papers` in a YAML file.

    The claim is the nearest mapping: its `id`, else the name under which it stands.
    """
    import yaml

    try:
        root = yaml.compose(path.read_text(encoding="utf-8"))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ValueError(f"{path}, line {line}: this is not valid YAML; mend it first.") from None
    found: list[tuple[int, str, str]] = []

    def visit(node: yaml.Node | None, name: str) -> None:
        if isinstance(node, yaml.SequenceNode):
            for child in node.value:
                visit(child, name)
        elif isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == "id" and isinstance(value, yaml.ScalarNode):
                    name = value.value
            for key, value in node.value:
                if key.value in ("paper", "papers"):
                    scalars = value.value if isinstance(value, yaml.SequenceNode) else [value]
                    found.extend((v.start_mark.line + 1, v.value, name) for v in scalars)
                else:
                    visit(value, key.value)

    visit(root, "")
    return found


# ------------------------------------------------------------------------------------------------ the roadmap

#: How far a technique is; an exercise is solved in its notebook and checked there, without a claim.
STATUSES = ("planned", "exercise", "built")
#: Stands for the claim of a technique that runs no model, as this module's map: it has nothing to measure.
NO_CLAIM = "none"


@dataclass(frozen=True, slots=True)
class Technique:
    """One technique: who said it, and the five places where the collection keeps its word.

    `notebook` is a name below the notebooks folder without ending, `section` a heading in it, `function`
    "module:name", `test` "tests/file.py::name", `claim` an id of `claims.yaml`, or `NO_CLAIM` for a function of this
    module; "" where there is none yet. An exercise has a notebook, a section and, as `test`, its graded cell's id.
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
    with _named_fields(file):
        return tuple(
            Part(part["part"], part["finished"], tuple(_topic(topic) for topic in part["topics"]))
            for part in _yaml(file, "roadmap")
        )


def _yaml(file: Path, what: str) -> Any:
    """The data of one of the package's YAML files."""
    import yaml

    if not file.is_file():
        raise FileNotFoundError(f"There is no {what} at {file}; restore it from version control.")
    try:
        return yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ValueError(f"{file.name}, line {line}: this is not valid YAML; mend it first.") from None


@contextmanager
def _named_fields(file: Path) -> Iterator[None]:
    """A field that is missing or misnamed is said in one sentence."""
    try:
        yield
    except (KeyError, TypeError) as error:
        what = f"{file.name} lacks or misnames a field ({error})"
        raise ValueError(f"{what}; compare it with a neighbouring entry.") from None


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
    claim_ids = {claim for _, _, claim in _paper_values(claims)} if claims.is_file() else set()
    places: dict[str, Callable[[Technique], bool]] = {
        "section": lambda t: _has_heading(root / "notebooks" / f"{t.notebook}.ipynb", t.section),
        "function": lambda t: _defined(root, t.function.replace(".", "/").replace(":", ".py:", 1), ":"),
        "test": lambda t: _defined(root, t.test, "::"),
        "claim": lambda t: t.claim in claim_ids or (t.claim == NO_CLAIM and t.function.startswith(f"{__name__}:")),
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
            findings.extend(Finding(file, place, _unknown(k, library)) for k in technique.papers if k not in library)
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
    for path in _files([root / "notebooks"]) if (root / "notebooks").is_dir() else []:
        name = path.relative_to(root / "notebooks").with_suffix("").as_posix()
        if path.suffix == ".ipynb" and name not in mapped:
            findings.append(Finding(path, "roadmap", "is in no topic of srm_utils/roadmap.yaml"))
    return findings


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
    folder = _notebook_folder(notebooks)
    claims = folder / "claims.yaml"
    techniques = [t for _, _, t in _techniques(load_roadmap() if roadmap is None else roadmap)]
    reached = {
        "planned": {key for t in techniques for key in t.papers},
        "cited": set(covered(folder)),
        "run": {key for t in techniques if t.status == "built" for key in t.papers}
        | ({key for _, key, _ in _paper_values(claims)} if claims.is_file() else set()),
    }
    return {key: next((state for state in STATES if key in reached.get(state, ())), "open") for key in load()}


def _techniques(roadmap: Sequence[Part]) -> Iterator[tuple[Part, Topic, Technique]]:
    """Every technique with the part and topic it stands in, in order."""
    for part in roadmap:
        for topic in part.topics:
            for technique in topic.techniques:
                yield part, topic, technique


def roadmap_table(notebooks: str = "notebooks/") -> str:
    """The roadmap as one Markdown table; `notebooks` is the way from the reader's file to the notebooks folder.

    A notebook is linked where its technique is built or is an exercise.
    """
    rows = ["| part | topic | technique | papers | notebook |", "|---|---|---|---|---|"]
    for part, topic, technique in _techniques(load_roadmap()):
        name = technique.notebook.rpartition("/")[2]
        link, note = f"[{name}]({notebooks}{technique.notebook}.ipynb)", f"({technique.status})"
        where = {"built": link, "exercise": f"{link} {note}"}.get(technique.status, f"{name} {note}".strip())
        papers = "; ".join(load()[key].citation for key in technique.papers)
        rows.append(f"| {part.name} | {topic.name} | {technique.name} | {papers} | {where} |")
    return "\n".join(rows)


def verdict_table(notebooks: str = "notebooks/") -> str:
    """What came of the claims on the reserved split: a folded Markdown table for each part.

    `notebooks` is the way from the reader's file to the notebooks folder; its `confirmed.json` has the numbers.

    Raises ValueError when a claim's notebook stands nowhere on the roadmap.
    """
    root = _notebook_folder(None)
    file = root / "confirmed.json"
    verdicts = json.loads(file.read_text(encoding="utf-8"))["claims"] if file.is_file() else []
    claimed = len(_paper_values(root / "claims.yaml"))
    parts = {t.notebook: part.name for part, _, t in _techniques(load_roadmap())}
    for row in verdicts:
        if row["notebook"] not in parts:
            raise ValueError(
                f"{file.name} judges claims of {row['notebook']}; give that notebook a place in roadmap.yaml."
            )

    def figure(value: Any) -> str:
        # What JSON cannot hold, such as the end of the whole line, is written as {"$float": name}.
        return f"{float(value['$float'] if isinstance(value, dict) else value):+.2f}".replace("-", "−")

    def counts(rows: list[dict[str, Any]]) -> str:
        tally = Counter(row["verdict"] for row in rows)
        return ", ".join(f"{tally[v]} {v}" for v in ("supported", "inconclusive", "contradicted"))

    lines = [f"{len(verdicts)} of {claimed} claims have been measured on the reserved split: {counts(verdicts)}."]
    for part in dict.fromkeys(parts.values()):
        rows = [row for row in verdicts if parts[row["notebook"]] == part]
        if not rows:
            continue
        lines += ["", "<details>", f"<summary><b>{part}</b>: {counts(rows)}</summary>", ""]
        lines += ["| claim | measured | asked | verdict |", "|---|---|---|---|"]
        for row in rows:
            margin = f"{row['margin']:g}"
            asked = {"non-inferiority": f"above −{margin}", "equivalence": f"within ±{margin}"}
            number = row["notebook"].rpartition("/")[2].partition("_")[0]
            where = f"[{number}]({notebooks}{row['notebook']}.ipynb)"
            measured = f"{figure(row['value'])} [{figure(row['low'])}, {figure(row['high'])}]"
            said = f"{row['sentence']} {load()[row['paper']].citation}, {where}"
            asked_of = asked.get(row["type"], f"above {margin}")
            lines.append(f"| {said} | {measured} | {asked_of} | {row['verdict']} |")
        lines += ["", "</details>"]
    return "\n".join(lines)


#: What each generated table is made from, and how.
TABLES: dict[str, tuple[str, Callable[[], str]]] = {
    "roadmap": ("srm_utils/roadmap.yaml", roadmap_table),
    "verdicts": ("notebooks/confirmed.json", verdict_table),
}


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
    lines = (line for _, text in _markdown(notebook) for line in text.splitlines() if line.startswith("#"))
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


# ------------------------------------------------------------------------------------------- the reading paths


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
    with _named_fields(file):
        paths = tuple(
            ReadingPath(entry["path"], entry["reader"], tuple(Stop(**stop) for stop in entry["stops"]))
            for entry in _yaml(file, "list of reading paths")
        )
    for reading in paths:
        seen: set[str] = set()
        for stop in reading.stops:
            place = f"{file.name}, path {reading.name!r}"
            if stop.paper not in load():
                raise ValueError(f"{place}: {_unknown(stop.paper, load())}.")
            if stop.paper in seen:
                raise ValueError(f"{place}: {stop.paper!r} stands twice; keep one.")
            seen.add(stop.paper)
    return paths
