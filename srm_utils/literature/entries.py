"""One entry of `papers.bib` as a paper: BibTeX is split into entries, LaTeX becomes plain text."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from typing import Any


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


ARXIV_ID = re.compile(r"\d{4}\.\d{4,5}")
#: Before April 2007.
OLD_ARXIV_ID = re.compile(r"[a-z-]+(\.[A-Z]{2})?/\d{7}")
#: What may stand around an identifier.
_ARXIV_AROUND = re.compile(r"^(https?://(www\.)?arxiv\.org/(abs|pdf)/|arxiv:\s*)|(v\d+)?(\.pdf)?$", re.IGNORECASE)
_DOI_BEFORE = re.compile(r"^(https?://)?((dx|www)\.)?doi\.org/|^doi[:\s]\s*", re.IGNORECASE)
REQUIRED = ("title", "author", "year", "keywords", "technique")
_OPENING = re.compile(r"@\s*(?P<kind>\w+)\s*[{(]")
_ENTRY_KEY = re.compile(r"\s*(?P<key>[^\s,{}]+)\s*,")
#: Delimiters, and the beginning of an entry at the start of a line.
_DELIMITER = re.compile(r"[{}()]|^@\w+\s*[{(]\s*[^\s,{}]+\s*,", re.MULTILINE)


def split_entries(text: str, name: str) -> tuple[dict[str, tuple[int, str]], str]:
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


def paper_of(key: str, entry: Any, line: int, source: str) -> Paper:
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
