"""4x4 Sudoku: a full grid is costly to find and cheap to check, the case where self-correction should pay.

A grid is written by rows, "1 0 3 4; 3 4 0 2; ...", with 0 for a blank. Every puzzle has one solution and can be solved
by singles: each blank in turn is the only place for its digit in a row, column or box, or has one digit left. Puzzles
that differ only by a renaming of the digits share a canonical form. By enumeration 6, 8 and 9 blanks have 91 872,
123 376 and 89 216 forms; 4 blanks (21 776) and 10 blanks (43 392) have too few and carry no claim.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import permutations
from random import Random

from srm_utils.tasks.answers import own_format
from srm_utils.tasks.problem import Problem, StepCheck, Task, Templates
from srm_utils.tasks.words import answer_sentence

#: Sixteen digits by rows, 0 for a blank.
Grid = tuple[int, ...]

#: Characters of a text that are read for steps.
MAX_TEXT = 20_000

_ROWS = [tuple(range(4 * r, 4 * r + 4)) for r in range(4)]
_COLUMNS = [tuple(range(c, 16, 4)) for c in range(4)]
_BOXES = [tuple(4 * r + c for r in (top, top + 1) for c in (left, left + 1)) for top in (0, 2) for left in (0, 2)]
_KINDS = {"row": _ROWS, "column": _COLUMNS, "box": _BOXES}
_UNITS = [*_ROWS, *_COLUMNS, *_BOXES]
#: The cells that share a row, column or box with a cell.
_PEERS = [sorted({p for unit in _UNITS if cell in unit for p in unit} - {cell}) for cell in range(16)]

_ASK = {
    "train": (
        "Fill every 0 in the grid {g}. Each row, column and box needs 1 2 3 4.",
        "Each row, column and box needs 1 2 3 4. Fill every 0 in the grid {g}.",
    ),
    # Known words in an order never seen in training.
    "held-out": ("Each row, column and box in the grid {g} needs 1 2 3 4. Fill every 0.",),
}
_FILL = re.compile(r"\b(?:Row ([1-4]) column|([1-4])) ([1-4]) is ([0-9])\b")
_ROW = r"[0-9](?:[ ,|]{1,3}[0-9]){3}"
_GRID = re.compile(rf"\W{{0,3}}({_ROW}(?:[\s;/,|]{{1,6}}{_ROW}){{3}})(?![ ,]{{0,2}}[0-9]|\.[0-9])")


def read_grid(said: str, whole: bool) -> str | None:
    """The grid that a statement begins with, by rows.

    >>> read_grid("1 2 3 4; 3 4 1 2; 2 1 4 3; 4 3 2 1.", whole=True)
    '1 2 3 4; 3 4 1 2; 2 1 4 3; 4 3 2 1'
    """
    found = _GRID.match(said)
    if not found or (whole and said[found.end() :].strip(" .|]")):
        return None
    return show([int(k) for k in re.findall(r"[0-9]", found[1])])


class SudokuTask(Task):
    """4x4 Sudoku with 4, 6 or 8 blanks in training and 9 or 10 unseen.

    >>> task = SudokuTask()
    >>> problem = task.problems(1, seed=1, difficulty=6)[0]
    >>> str(task.grade(task.solution(problem, "cot"), problem))
    'correct'
    """

    name = "sudoku"
    answers = own_format("grid", "the four rows of the grid, with semicolons between them", read_grid)
    styles = ("direct", "cot", "draft", "check", "retry")
    difficulties = (4, 6, 8)
    unseen_difficulties = (9, 10)

    def draw(self, rng: Random, difficulty: int, templates: Templates = "train") -> Problem:
        if not 1 <= difficulty <= 10:
            raise ValueError(f"A sudoku here has 1 to 10 blanks, not {difficulty}.")
        while True:
            full = rng.choice(GRIDS)
            blanks = set(rng.sample(range(16), difficulty))
            puzzle = tuple(0 if cell in blanks else digit for cell, digit in enumerate(full))
            fills = _fills(puzzle)
            if len(fills) == difficulty:
                break
        question = rng.choice(_ASK[templates]).format(g=show(puzzle))
        steps = tuple(_say(*fill) for fill in fills)
        facts = {"puzzle": list(puzzle), "solution": list(full)}
        return Problem("", self.name, question, show(full), difficulty, f"sudoku|{_canonical(puzzle)}", steps, facts)

    def solution(self, problem: Problem, style: str, rng: Random | None = None) -> str:
        full = problem.facts["solution"]
        fills = _fills(tuple(problem.facts["puzzle"]))
        final = answer_sentence(problem.answer)
        if style == "direct":
            return final
        if style == "draft":
            body = [f"{cell // 4 + 1} {cell % 4 + 1} is {digit}" for cell, digit, _ in fills]
        elif style == "cot":
            body = list(problem.steps)
        elif style == "check":
            columns, boxes = ("; ".join(_digits(full, unit) for unit in units) for units in (_COLUMNS, _BOXES))
            body = [*problem.steps, f"Check: columns {columns}; boxes {boxes}", "It is right"]
        elif style == "retry":
            rng = rng or Random(problem.canonical)
            body = []
            for cell, digit, why in fills:
                if rng.random() < 0.3:
                    body += [_say(cell, _other(digit, rng), why), "Wait, that is wrong"]
                body.append(_say(cell, digit, why))
        else:
            raise ValueError(f"Task {self.name!r} has no style {style!r}; choose one of {', '.join(self.styles)}.")
        return ". ".join(body) + f". {final}"

    def corrupt(self, problem: Problem, rng: Random) -> tuple[list[str], int]:
        """Steps of a wrong solution, its error carried on to the end, and the index of the first error."""
        grid = list(problem.facts["puzzle"])
        fills = _fills(tuple(grid))
        at = rng.randrange(len(fills))
        steps = []
        for i, (cell, digit, why) in enumerate(fills):
            if i == at:
                digit = _other(digit, rng)
            elif i > at:
                # What the wrong grid leaves; where it leaves nothing, the digit stays.
                digit = min(_candidates(grid, cell), default=digit)
            grid[cell] = digit
            steps.append(_say(cell, digit, why))
        return steps, at

    def matches(self, answer: str, problem: Problem) -> bool:
        return answer == problem.answer

    def check_steps(self, text: str, problem: Problem) -> list[StepCheck]:
        """Fills found in a text: right or wrong by the one solution, useless where the cell was given or filled right.

        The digit is judged, not the reason that is named for it.
        """
        full, known = problem.facts["solution"], list(problem.facts["puzzle"])
        checks = []
        for m in _FILL.finditer(text[:MAX_TEXT]):
            cell, digit = 4 * (int(m[1] or m[2]) - 1) + int(m[3]) - 1, int(m[4])
            verdict = "wrong" if full[cell] != digit else "useless" if known[cell] == digit else "right"
            checks.append(StepCheck(m[0], m.start(), m.end(), verdict))  # type: ignore[arg-type]
            known[cell] = digit
        return checks


def show(grid: Sequence[int]) -> str:
    """A grid by rows.

    >>> show([1, 2, 3, 4, 3, 4, 1, 2, 2, 1, 4, 3, 4, 3, 2, 0])
    '1 2 3 4; 3 4 1 2; 2 1 4 3; 4 3 2 0'
    """
    return "; ".join(_digits(grid, row) for row in _ROWS)


def violations(grid_text: str) -> int:
    """How many of the 12 rows, columns and boxes do not hold each digit once; 12 for what is no grid.

    >>> violations("1 2 3 4; 3 4 1 2; 2 1 4 3; 4 3 2 1"), violations("1 2 3 4; 3 4 1 2; 2 1 4 3; 4 3 2 2")
    (0, 3)
    """
    if re.fullmatch(_GRID, grid_text.strip()) is None:
        return len(_UNITS)
    grid = [int(k) for k in re.findall(r"[0-9]", grid_text)]
    return sum({grid[cell] for cell in unit} != {1, 2, 3, 4} for unit in _UNITS)


def _all_grids() -> list[Grid]:
    """The 288 full grids."""
    grids: list[Grid] = [()]
    for _ in range(4):
        grids = [
            grid
            for start in grids
            for row in permutations((1, 2, 3, 4))
            for grid in [start + row]
            if all(len(set(seen)) == len(seen) for seen in ([grid[c] for c in u if c < len(grid)] for u in _UNITS))
        ]
    return grids


GRIDS = _all_grids()


def _digits(grid: Sequence[int], cells: Iterable[int]) -> str:
    return " ".join(str(grid[cell]) for cell in cells)


def _say(cell: int, digit: int, why: str) -> str:
    return f"Row {cell // 4 + 1} column {cell % 4 + 1} is {digit} by {why}"


def _other(digit: int, rng: Random) -> int:
    return rng.choice([k for k in (1, 2, 3, 4) if k != digit])


def _candidates(grid: Sequence[int], cell: int) -> set[int]:
    return {1, 2, 3, 4} - {grid[peer] for peer in _PEERS[cell]}


def _fills(puzzle: Grid) -> list[tuple[int, int, str]]:
    """The blanks in the order that singles fill them, as (cell, digit, reason); it stops where no single is left.

    "by row" says that the cell is the only place in its row for the digit, "by all" that row, column and box
    together leave no other digit.
    """
    grid, fills = list(puzzle), []
    while fill := _single(grid):
        grid[fill[0]] = fill[1]
        fills.append(fill)
    return fills


def _single(grid: list[int]) -> tuple[int, int, str] | None:
    blanks = {cell: _candidates(grid, cell) for cell in range(16) if not grid[cell]}
    # The easiest reasons first: a unit with one blank, then one digit left, then one place left.
    for kind, units in _KINDS.items():
        for unit in units:
            open_cells = [cell for cell in unit if cell in blanks]
            if len(open_cells) == 1 and len(blanks[open_cells[0]]) == 1:
                return open_cells[0], min(blanks[open_cells[0]]), kind
    for cell, digits in blanks.items():
        if len(digits) == 1:
            return cell, min(digits), "all"
    for kind, units in _KINDS.items():
        for unit in units:
            for digit in (1, 2, 3, 4):
                places = [cell for cell in unit if digit in blanks.get(cell, ())]
                if len(places) == 1:
                    return places[0], digit, kind
    return None


def _canonical(puzzle: Grid) -> str:
    """The puzzle with its digits renamed in the order they first appear."""
    names: dict[int, int] = {0: 0}
    return "".join(str(names.setdefault(digit, len(names))) for digit in puzzle)
