"""Any table of questions and answers as a task: a person's own file, rows made in code, or a published data set.

A problem's split is decided by a hash of its question, so it is the same on every machine and whatever the order of
the rows. A table of fewer than `SMALL` rows is ordered by that hash and cut instead: a hash alone would leave splits
empty. Published data sets keep their official splits (see `srm_utils.tasks.huggingface`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import unquote

from srm_utils.tasks.answers import FORMATS, AnswerFormat, folded, one_of
from srm_utils.tasks.grading import equal_math
from srm_utils.tasks.grading.choice import words_of
from srm_utils.tasks.problem import SPLIT_BOUNDS, Problem, Split, Task, Templates
from srm_utils.tasks.table_cells import question_hash
from srm_utils.tasks.table_columns import KINDS, Reading, find_columns, is_number, read_table
from srm_utils.tasks.table_files import FORMS, Row, read_rows
from srm_utils.tasks.words import answer_sentence

#: A share is an official split and the hundredths of it that are taken, by split of ours.
Shares = Mapping[str, tuple[str, range]]

SMALL = 200  #: rows; smaller tables are cut by rank
#: What a person's own table is cut into. Most of it is for measuring: few who bring a file train on it.
OWN_SHARES: Shares = {
    "train": ("rows", range(0, 40)),
    "validation": ("rows", range(40, 55)),
    "test": ("rows", range(55, 90)),
    "confirm": ("rows", range(90, 100)),
}
#: What `FORM:PATH?name=value` may name.
SETTINGS = ("question", "answer", "solution", "options", "context", "kind")
_TOLD_OF = 3  #: rows that are left out and told of in full


class TableTask(Task):
    """Questions and answers from rows.

    `load` gives the rows of an official split, each with its reading; `shares` says which official split, and which
    hundredths of it, each split of ours takes. `kind` is one of `KINDS`; `words` are the answers of kind "yes-no".
    `lenient` tables are published with a few faulty rows, which are left out and told of; in any other table the first
    faulty row raises ValueError.

    >>> task = TableTask.from_rows("sums", [{"question": f"{n} + {n}?", "answer": 2 * n} for n in range(20)])
    >>> task.kind, [len(task.split(s)) for s in ("train", "validation", "test", "confirm")]
    ('number', [8, 3, 7, 2])
    """

    styles = ("direct", "cot")

    def __init__(
        self,
        name: str,
        title: str,
        load: Callable[[str], Sequence[tuple[Row, Reading | ValueError]]],
        kind: str,
        shares: Shares = OWN_SHARES,
        *,
        words: tuple[str, ...] = ("yes", "no"),
        levels: tuple[int, ...] = (1,),
        lenient: bool = False,
    ) -> None:
        if kind not in KINDS:
            raise ValueError(f"There is no kind of answer {kind!r}; choose one of {', '.join(KINDS)}.")
        self.name, self.title, self.kind, self.shares = name, title, kind, shares
        self.difficulties, self.lenient = levels, lenient
        self.answers: AnswerFormat = one_of(*words) if kind == "yes-no" else FORMATS[kind]
        self._load = load
        self._official: dict[str, list[Problem]] = {}

    @classmethod
    def from_rows(cls, name: str, rows: Iterable[Mapping[str, Any]], **settings: str | None) -> TableTask:
        """A task of rows that were made in code: mappings with the columns question, answer[, solution, options].

        `settings` name columns, or the kind of answer (see `SETTINGS`).
        """
        return cls._from(name, name, [Row(i, f"Row {i} of {name}", row) for i, row in enumerate(rows, 1)], settings)

    @classmethod
    def from_file(cls, path: str | Path, form: str | None = None, **settings: str | None) -> TableTask:
        """A task of a file (see `read_rows`), named after its form and file. `settings` as in `from_rows`."""
        file = Path(path).expanduser()
        rows = read_rows(file, form)
        return cls._from(f"{form or 'file'}:{file.name}", str(file), rows, settings)

    @classmethod
    def _from(cls, name: str, title: str, rows: list[Row], settings: Mapping[str, str | None]) -> TableTask:
        unknown = settings.keys() - set(SETTINGS)
        if unknown:
            raise ValueError(f"{min(unknown)!r} is no setting of a table; choose from {', '.join(SETTINGS)}.")
        if not rows:
            raise ValueError(f"{title} holds no rows; give a row for each question.")
        names = list(dict.fromkeys(str(key) for row in rows for key in row.fields))
        kind = settings.get("kind")
        columns = find_columns(names, title, **{k: v for k, v in settings.items() if k != "kind"})
        readings, kind = read_table(rows, columns, kind)
        words = tuple(readings[0].options)
        task = cls(name, title, lambda official: list(zip(rows, readings, strict=True)), kind, words=words)
        task.split("train")  # what is wrong with a row is told of at once
        return task

    # ---------------------------------------------------------------- problems

    def split(self, split: str) -> list[Problem]:
        """All problems of a split, in the order of the table. Raises ValueError for a split that is not there."""
        if split not in SPLIT_BOUNDS:
            raise ValueError(f"There is no split {split!r}; choose one of {', '.join(SPLIT_BOUNDS)}.")
        if split not in self.shares:
            raise ValueError(
                f"{self.title} is published for testing only, so it has no {split!r} split; "
                f"choose one of {', '.join(self.shares)}."
            )
        official, bounds = self.shares[split]
        if official not in self._official:
            self._official[official] = self._problems(official)
        problems = self._official[official]
        if self.shares is OWN_SHARES and len(problems) < SMALL:
            ranked = sorted(problems, key=lambda p: p.canonical)
            place = {p.canonical: (i + 0.5) * 100 / len(ranked) for i, p in enumerate(ranked)}
            return [p for p in problems if bounds.start <= place[p.canonical] < bounds.stop]
        return [p for p in problems if int(p.canonical.rsplit("|", 1)[1], 16) % 100 in bounds]

    def draw(self, rng: Random, difficulty: int = 1, templates: Templates = "train") -> Problem:
        split = rng.choice(list(self.shares))
        rows = [p for p in self.split(split) if p.difficulty == difficulty]
        if not rows:
            raise ValueError(f"{self.title} has no {split} problem of difficulty {difficulty}.")
        return rng.choice(rows)

    def problems(
        self,
        n: int,
        *,
        split: Split = "validation",
        seed: int = 0,
        difficulty: int | Sequence[int] | None = None,
        templates: Templates = "train",
    ) -> list[Problem]:
        """`n` distinct problems of a split in an order that the seed picks, of all difficulties or those given."""
        if templates != "train":
            raise ValueError(f"{self.title} has no held-out sentence templates; leave `templates` at 'train'.")
        rows, levels = self._of(split, difficulty)
        if n > len(rows):
            told = ", ".join(map(str, levels))
            raise ValueError(
                f"{self.title} has {len(rows)} {split} problems of difficulty {told}; "
                f"ask for at most that many, not {n}."
            )
        return Random(f"{self.name}/{split}/{seed}").sample(rows, n)

    def available(self, split: str, difficulty: int | Sequence[int] | None = None) -> int:
        """How many problems `problems` can give.

        >>> TableTask.from_rows("sums", [{"q": f"{n} + {n}?", "a": 2 * n} for n in range(20)]).available("test")
        7
        """
        return len(self._of(split, difficulty)[0])

    def _of(self, split: str, difficulty: int | Sequence[int] | None) -> tuple[list[Problem], list[int]]:
        """The problems of a split of all difficulties or those given, and these difficulties."""
        wanted = self.difficulties if difficulty is None else difficulty
        levels = [wanted] if isinstance(wanted, int) else sorted(set(wanted))
        return [p for p in self.split(split) if p.difficulty in levels], levels

    # ---------------------------------------------------------------- answers

    def solution(self, problem: Problem, style: str, rng: Random | None = None) -> str:
        final = answer_sentence(problem.answer)
        if style == "direct":
            return final
        if style == "cot":
            return "\n".join([*problem.steps, final])
        raise ValueError(f"Task {self.name!r} has no style {style!r}; choose one of {', '.join(self.styles)}.")

    def matches(self, answer: str, problem: Problem) -> bool:
        form = self.answers.canonical
        if options := problem.facts["options"]:
            return form(answer) in (form(problem.answer), words_of(options[problem.answer]))
        same = form(answer) == form(problem.answer)
        return same or ((self.kind != "text" or is_number(problem.answer)) and equal_math(answer, problem.answer))

    # ---------------------------------------------------------------- rows

    def _problems(self, official: str) -> list[Problem]:
        """The distinct problems of an official split. Equal questions with unequal answers are refused or left out."""
        rows = self._load(official)
        first: dict[str, tuple[Row, Problem]] = {}
        faults: dict[str, str] = {}
        contradicted = set()
        for row, reading in rows:
            if isinstance(reading, ValueError):
                if not self.lenient:
                    raise reading
                faults[row.place] = str(reading)
                continue
            problem = self._problem(row, reading, official)
            before = first.setdefault(problem.canonical, (row, problem))
            if folded(before[1].answer) != folded(problem.answer):
                told = (
                    f"{row.place} asks the same as row {before[0].number} and has another answer "
                    f"({problem.answer!r}, not {before[1].answer!r}); correct or remove one of them."
                )
                if not self.lenient:
                    raise ValueError(told)
                contradicted.add(problem.canonical)
                faults[row.place] = told
        if len(faults) * 20 > len(rows):  # more than a slip here and there: this is another data set
            raise ValueError(next(iter(faults.values())))
        if faults:
            shown = " ".join(list(faults.values())[:_TOLD_OF])
            print(f"{self.title}: {len(faults)} of {len(rows)} rows are left out. {shown}", file=sys.stderr)
        return [problem for form, (_, problem) in first.items() if form not in contradicted]

    def _problem(self, row: Row, reading: Reading, official: str) -> Problem:
        question = question_hash(reading.question)
        steps = tuple(line.strip() for line in reading.worked.splitlines() if line.strip())
        number = reading.key or (str(row.number) if official == "rows" else f"{official}-{row.number}")
        facts = {"options": dict(reading.options)}
        canonical = f"{self.name}|{question}"
        return Problem(
            f"{self.name}-{number}", self.name, reading.question, reading.answer, reading.level, canonical, steps, facts
        )


def split_settings(rest: str) -> tuple[str, dict[str, str]]:
    """A path and the settings behind its question mark.

    >>> split_settings("mine.csv?question=My%20Q&answer=A")
    ('mine.csv', {'question': 'My Q', 'answer': 'A'})
    """
    path, asked, settings = rest.rpartition("?")
    if not asked or "=" not in settings or Path(rest).exists():
        return rest, {}
    parts = [part.partition("=") for part in settings.split("&")]
    return path, {unquote(name).strip(): unquote(value).strip() for name, _, value in parts}


def table_of(form: str, rest: str) -> TableTask:
    """The task of a name such as `csv:mine.csv?question=Q&answer=A`: its form and what stands behind the colon."""
    assert form in FORMS
    path, settings = split_settings(rest)
    return TableTask.from_file(path, form, **settings)
