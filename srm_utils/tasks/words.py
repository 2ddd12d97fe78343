"""Names and things that the word-problem worlds share, and how an answer is stated and read."""

from __future__ import annotations

import re
from random import Random

NAMES = (
    "Ada", "Ben", "Cleo", "Dan", "Eva", "Finn", "Gina", "Hugo", "Iris", "Jack", "Kira", "Liam",
    "Mia", "Noah", "Olga", "Paul", "Quinn", "Rosa", "Sam", "Tara", "Uma", "Vera", "Will", "Zoe",
)  # fmt: skip

THINGS = ("apples", "books", "cards", "coins", "eggs", "keys", "marbles", "pens", "shells", "stamps")

# At most 40 digits and one look behind the number: linear in the text, whatever a model wrote.
_NUMBER = re.compile(r"[Tt]he answer is (-?\d{1,40}(?:,\d{3}){0,12})(?!,?\d|\.\d)")


def answer_sentence(answer: str | int) -> str:
    """The sentence every gold solution ends with.

    >>> answer_sentence(8)
    'The answer is 8.'
    """
    return f"The answer is {answer}."


def extract_number(text: str) -> str | None:
    """The last whole number stated as "The answer is N", without separators; None if none is.

    >>> extract_number("5 + 3 = 8. The answer is 8.")
    '8'
    """
    found = _NUMBER.findall(text)
    return str(int(found[-1].replace(",", ""))) if found else None


def apply(left: int, sign: str, right: int) -> int:
    """The value of one `+`, `-` or `*`.

    >>> apply(7, "-", 2)
    5
    """
    return {"+": left + right, "-": left - right, "*": left * right}[sign]


def slip(equation: str, rng: Random) -> str:
    """The same equation with a result that is off by one to three, never below zero.

    >>> slip("2 + 3 = 5", Random(0)) != "2 + 3 = 5"
    True
    """
    left, result = equation.rsplit(" ", 1)
    off = rng.choice([d for d in (-3, -2, -1, 1, 2, 3) if int(result) + d >= 0])
    return f"{left} {int(result) + off}"
