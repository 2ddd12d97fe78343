"""From the cells of a table to questions, gold answers, worked solutions and options.

Columns are named by whoever has the table, or guessed from their names. A guess that could go two ways is refused.
What kind of answer a table asks for (`KINDS`) is decided from all gold answers together.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from string import ascii_uppercase
from typing import Any

from srm_utils.tasks.answers import folded
from srm_utils.tasks.grading import equal_math
from srm_utils.tasks.grading.canonical import canonical_number
from srm_utils.tasks.table_cells import (
    letter_of,
    listed_options,
    options_of,
    question_of,
    split_solution,
    text_of,
    with_options,
    with_words,
)
from srm_utils.tasks.table_files import Row, is_missing

#: number, mathematics (LaTeX, sets, intervals), a letter of listed options, one of two or three words, exact words.
KINDS = ("number", "math", "choice", "yes-no", "text")

_NAMES: dict[str, tuple[str, ...]] = {
    "question": ("question", "questions", "questiontext", "problem", "prompt", "query", "input", "stem", "q"),
    "answer": (
        "answer", "answers", "gold", "goldanswer", "target", "label", "output", "finalanswer", "finalans", "expected",
        "expectedanswer", "correct", "correctanswer", "correctoption", "answerkey", "answeridx", "answerindex",
        "reference", "a",
    ),
    "solution": (
        "solution", "workedsolution", "worked", "rationale", "explanation", "reasoning", "cot", "chainofthought",
    ),
    "options": ("options", "choices", "candidates", "alternatives"),
    "context": ("context", "contexts", "passage", "body", "background"),
}  # fmt: skip
_KEYS = ("answeridx", "answerindex", "answerkey")
_OPTION_COLUMN = re.compile(r"(?:option|choice|op)?([a-j])|(?:option|choice)(\d{1,2})")
_WORDS = (("yes", "no"), ("yes", "no", "maybe"), ("true", "false"))
_DATE = re.compile(r"\d+[/.-]\d+[/.-]\d+")
_SIGN = re.compile(r"[\\^=<>√π]|[\[({].*[\])}]")
_OPERAND = re.compile(r"\d|\\[A-Za-z]|\b[a-z]\b")


@dataclass(frozen=True, slots=True)
class Reading:
    """One row, read: what is asked, the gold answer, the worked solution, the options by letter.

    `key` is the number that the data set itself gives the problem, where it has one.
    """

    question: str
    answer: str
    worked: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    level: int = 1
    key: str = ""


@dataclass(frozen=True, slots=True)
class Columns:
    """Which column holds what. `options` is one column, or one for each option in order."""

    question: str
    answer: str
    solution: str = ""
    options: tuple[str, ...] = ()
    context: str = ""


def find_columns(names: Sequence[str], title: str, **given: str | None) -> Columns:
    """The columns of a table, those named in `given` first, the others by the names that are usual.

    Raises ValueError when one is not there, or when two could be meant.

    >>> find_columns(["id", "Problem", "Final answer"], "mine.csv")
    Columns(question='Problem', answer='Final answer', solution='', options=(), context='')
    """
    told = ", ".join(map(repr, names))
    found: dict[str, Any] = {}
    listed = _option_columns(names)
    for role, known in _NAMES.items():
        asked = given.get(role)
        if asked:
            parts = [asked] if asked in names or role != "options" else asked.split(",")
            columns = [_named(part.strip(), names, title, role) for part in parts]
            found[role] = tuple(columns) if role == "options" else columns[0]
            continue
        columns = [name for name in names if _plain(name) in known and name not in listed]
        if role == "options" and listed:
            if columns:
                raise ValueError(
                    f"{title} has its options in {columns[0]!r} and in {', '.join(map(repr, listed))}; "
                    f"say which columns count with ?options=COLUMN."
                )
            found[role] = listed
            continue
        if role == "answer" and len(columns) == 2 and (listed or _plain_names(names) & set(_NAMES["options"])):
            # "answer" is an option's text or letter, and the other column tells the same once more (MedQA, MMLU-Pro).
            columns = [name for name in columns if _plain(name) not in _KEYS] or columns
        if len(columns) > 1:
            raise ValueError(
                f"{title} has more than one column that could be the {role}: {', '.join(map(repr, columns))}; "
                f"say which one with ?{role}=COLUMN."
            )
        if not columns and role in ("question", "answer"):
            raise ValueError(f"{title} has no column for the {role} among {told}; name it with ?{role}=COLUMN.")
        if columns:
            found[role] = tuple(columns) if role == "options" else columns[0]
    if found["question"] == found["answer"]:
        raise ValueError(f"{title} has {found['question']!r} for both question and answer; name two columns.")
    return Columns(**found)


def lookup(fields: Mapping[str, Any], name: str) -> Any:
    """A cell by its column's name, as spelt or, where no column is spelt so, without regard to case; else None.

    Raises ValueError when two columns differ by case alone and neither is spelt as asked.

    >>> lookup({"Answer": 4}, "answer"), lookup({"answer": 3, "Answer": 4}, "answer")
    (4, 3)
    """
    if name in fields:
        return fields[name]
    near = [key for key in fields if str(key).casefold() == name.casefold()]
    if len(near) > 1:
        raise ValueError(f"its columns {' and '.join(map(repr, near))} differ by case alone")
    return fields[near[0]] if near else None


def read_table(rows: Sequence[Row], columns: Columns, kind: str | None = None) -> tuple[list[Reading], str]:
    """All rows read, and the kind of answer that the table asks for. Raises ValueError that names the first bad row.

    >>> row = Row(1, "Row 1", {"q": "2 + 2?", "a": 4})
    >>> read_table([row], Columns("q", "a"))
    ([Reading(question='2 + 2?', answer='4', worked='', options={}, level=1, key='')], 'number')
    """
    if kind is not None and kind not in KINDS:
        raise ValueError(f"There is no kind of answer {kind!r}; choose one of {', '.join(KINDS)}.")
    read = [_told(row, _read, row, columns) for row in rows]
    golds = [r.answer for r in read]
    asked = [r.question for r in read]
    options = [r.options for r in read]
    if kind in (None, "choice") and not any(options) and all(re.fullmatch(r"\(?[A-Z]\)?\.?", gold) for gold in golds):
        in_question = [listed_options(question) for question in asked]
        if kind == "choice" or all(in_question):
            options = in_question
    if kind is None:
        kind = "choice" if any(options) else kind_of(golds)
    if kind == "choice":
        letters = _letters(rows, golds, options)
        asked = [q if listed_options(q) else with_options(q, o) for q, o in zip(asked, options, strict=True)]
        made = [Reading(q, a, r.worked, o) for q, a, o, r in zip(asked, letters, options, read, strict=True)]
        return made, kind
    if kind == "yes-no":
        words = _words_of(golds)
        if not words:
            bad = next((i for i, gold in enumerate(golds) if folded(gold) not in _WORDS[1]), 0)
            raise ValueError(f"{rows[bad].place} has the answer {golds[bad]!r}, neither yes nor no; correct it.")
        same = {word: word for word in words}
        return [Reading(with_words(r.question, words), folded(r.answer), r.worked, same) for r in read], kind
    if kind == "number":
        for row, gold in zip(rows, golds, strict=True):
            if not is_number(gold):
                raise ValueError(f"{row.place} has the answer {gold!r}, not a number; correct it, or name ?kind=.")
    return [Reading(r.question, r.answer, r.worked) for r in read], kind


def kind_of(golds: Iterable[str]) -> str:
    """The kind of answer that fits all gold answers, where there are no options.

    >>> kind_of(["18", "$2,000"]), kind_of(["Yes", "no"]), kind_of(["x^2 + 1", "3"]), kind_of(["Paris", "4"])
    ('number', 'yes-no', 'math', 'text')
    """
    golds = list(golds)
    if all(is_number(gold) for gold in golds):
        return "number"
    if _words_of(golds):
        return "yes-no"
    formulas = (is_number(g) or (_SIGN.search(g) and _OPERAND.search(g) and equal_math(g, g)) for g in golds)
    return "math" if all(formulas) else "text"


def is_number(gold: str) -> bool:
    """Whether a gold answer is one number, with or without a unit, and not a date or a time.

    >>> [is_number(gold) for gold in ("$1,200", "3 apples", "1/2", "01/02/2021", "10:30", "12 May", "H2O")]
    [True, True, True, False, False, False, False]
    """
    return not _DATE.search(gold) and canonical_number(gold) is not None


# ---------------------------------------------------------------- inside


def _told(row: Row, read: Any, *arguments: Any) -> Any:
    try:
        return read(*arguments)
    except ValueError as error:
        raise ValueError(f"{row.place} cannot be used: {error}; correct it or remove it.") from None


def _read(row: Row, columns: Columns) -> Reading:
    fields = row.fields
    question = question_of(fields.get(columns.question))
    if columns.context and not is_missing(context := fields.get(columns.context)):
        parts = context if isinstance(context, list) else [context]
        question = f"{' '.join(text_of(part, 'context') for part in parts)}\n{question}"
    answer = text_of(fields.get(columns.answer), "answer")
    worked = ""
    if "####" in answer:
        worked, answer = split_solution(answer)
    if columns.solution and not is_missing(fields.get(columns.solution)):
        worked = text_of(fields[columns.solution], "solution")
        worked = split_solution(worked)[0] if "####" in worked else worked
    options: dict[str, str] = {}
    if len(columns.options) == 1:
        if not is_missing(fields.get(columns.options[0])):
            options = options_of(fields[columns.options[0]])
    elif columns.options:
        options = options_of(dict(zip(ascii_uppercase, (fields.get(name) for name in columns.options), strict=False)))
    return Reading(question, answer, worked, options)


def _letters(rows: Sequence[Row], golds: Sequence[str], options: Sequence[Mapping[str, str]]) -> list[str]:
    """The letters of all gold answers: letters, texts, or numbers that count the options from 0 or from 1."""
    for row, listed in zip(rows, options, strict=True):
        if not listed:
            raise ValueError(f"{row.place} has no options; add them or remove the row.")
    counts = [int(gold) if re.fullmatch(r"\d{1,2}", gold) else -1 for gold in golds]
    if min(counts) < 0:
        return [_told(r, letter_of, gold, o) for r, gold, o in zip(rows, golds, options, strict=True)]
    ways: dict[str, list[str]] = {}
    for name, first in (("counts from 0", 0), ("counts from 1", 1)):
        if all(first <= count < first + len(o) for count, o in zip(counts, options, strict=True)):
            ways[name] = [list(o)[count - first] for count, o in zip(counts, options, strict=True)]
    try:
        ways["is an option's text"] = [letter_of(gold, o) for gold, o in zip(golds, options, strict=True)]
    except ValueError:
        pass
    if not ways:
        bad = next((i for i, (count, o) in enumerate(zip(counts, options, strict=True)) if count > len(o)), 0)
        raise ValueError(f"{rows[bad].place} has the answer {golds[bad]!r}, which is no option; write its letter.")
    if len({tuple(letters) for letters in ways.values()}) > 1:
        raise ValueError(
            f"{rows[0].place} has the answer {golds[0]!r}, and nothing tells whether such a number "
            f"{' or '.join(ways)}; write the options' letters as answers."
        )
    return next(iter(ways.values()))


def _words_of(golds: Iterable[str]) -> tuple[str, ...]:
    """The two or three words that all gold answers are among; empty where they are among none."""
    said = {folded(gold) for gold in golds}
    return next((words for words in _WORDS if said <= set(words)), ())


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).casefold()


def _plain_names(names: Iterable[str]) -> set[str]:
    return {_plain(name) for name in names}


def _named(asked: str, names: Sequence[str], title: str, role: str) -> str:
    near = [asked] if asked in names else [name for name in names if name.casefold() == asked.casefold()]
    if len(near) != 1:
        told = ", ".join(map(repr, names))
        raise ValueError(f"{title} has no column {asked!r} for the {role}; it has {told}.")
    return near[0]


def _option_columns(names: Sequence[str]) -> tuple[str, ...]:
    """Columns that hold one option each (A, B, C, D; option_a; Choice 1), in order; none unless they begin A, B."""
    found = {}
    for name in names:
        if match := _OPTION_COLUMN.fullmatch(_plain(name)):
            found[match[1].upper() if match[1] else ascii_uppercase[(int(match[2]) - 1) % 26]] = name
    listed = tuple(found[letter] for letter in sorted(found))
    return listed if sorted(found)[:2] == ["A", "B"] and sorted(found) == list(ascii_uppercase[: len(found)]) else ()
