"""What kind of mistake a wrong answer is, told by rules from the text: for models that write plain English."""

from __future__ import annotations

import re
from collections import Counter
from itertools import permutations

from srm_utils.tasks.problem import Problem
from srm_utils.tasks.table_columns import is_number

#: The classes, in the order in which they are tried. The first that fits is the mistake's class.
MISTAKES = (
    "rambling",
    "no answer",
    "arithmetic",
    "copied number",
    "wrong operation",
    "lost quantity",
    "wrong choice",
    "other",
)
#: A line that stands this often in a text is a loop.
_REPEATED = 3
_NUMBER = r"\d+(?:,\d{3})*(?:\.\d+)?"
# What follows a sign is the end of a longer sum, such as "4 - 3 = 3" in "2 + 4 - 3 = 3".
_EQUATION = re.compile(
    rf"(?<![\d.*/+x×÷-])(?<![*/+x×÷-] )\$?({_NUMBER}) ?([-+*/x×÷]) ?\$?({_NUMBER}) ?= ?\$?({_NUMBER})(?![\d.]*\d)"
)
_NUMBERS = re.compile(_NUMBER)
_ROUNDING = 0.01  #: two decimals are how a model writes a quotient


def mistake(problem: Problem, answer: str | None, text: str) -> str:
    """The class of a wrong answer, one of `MISTAKES`.

    Args:
        problem: what was asked.
        answer: the wrong answer that was read, in canonical form; None where none was found.
        text: everything that the model wrote.

    - rambling: one line is written three times or more.
    - arithmetic: an equation in the text is false.
    - copied number: the answer is a number of the question.
    - wrong operation: the question has two numbers, and another operation on them gives the answer.
    - lost quantity: the question has more numbers, and one operation on two of them gives the answer.
    - wrong choice: another option of the question, or another word where the answer is a word.

    >>> problem = Problem("", "sums", "Ann has 4 nuts and finds 3. How many?", "7", 1, "")
    >>> mistake(problem, "12", "4 * 3 = 12. The answer is 12."), mistake(problem, "8", "4 + 3 = 8.")
    ('wrong operation', 'arithmetic')
    """
    if _repeats(text):
        return "rambling"
    if answer is None:
        return "no answer"
    if any(not _holds(*match.groups()) for match in _EQUATION.finditer(text)):
        return "arithmetic"
    if not is_number(problem.answer):
        return "wrong choice"
    given = [_value(n) for n in _NUMBERS.findall(problem.question)]
    said = _value(answer) if _NUMBERS.fullmatch(answer) else None
    if said is None:
        return "other"
    if said in given:
        return "copied number"
    if any(_near(said, result) for a, b in permutations(given, 2) for result in _results(a, b)):
        return "wrong operation" if len(given) == 2 else "lost quantity"
    return "other"


def _repeats(text: str) -> bool:
    lines = Counter(line.strip() for line in re.split(r"\n|(?<=[.!?]) ", text) if len(line.strip()) > 3)
    return max(lines.values(), default=0) >= _REPEATED


def _holds(left: str, sign: str, right: str, result: str) -> bool:
    a, b = _value(left), _value(right)
    if sign == "/" or sign == "÷":
        return b != 0 and _near(a / b, _value(result))
    value = {"+": a + b, "-": a - b}.get(sign, a * b)
    return _near(value, _value(result))


def _results(a: float, b: float) -> list[float]:
    return [a + b, a - b, a * b, *([a / b] if b else [])]


def _near(a: float, b: float) -> bool:
    return abs(a - b) <= _ROUNDING


def _value(number: str) -> float:
    return float(number.replace(",", ""))
