"""Names and things that the word-problem worlds share, and how an answer is stated (`answers` says how it is read)."""

from __future__ import annotations

from random import Random

NAMES = (
    "Ada", "Ben", "Cleo", "Dan", "Eva", "Finn", "Gina", "Hugo", "Iris", "Jack", "Kira", "Liam",
    "Mia", "Noah", "Olga", "Paul", "Quinn", "Rosa", "Sam", "Tara", "Uma", "Vera", "Will", "Zoe",
)  # fmt: skip

THINGS = ("apples", "books", "cards", "coins", "eggs", "keys", "marbles", "pens", "shells", "stamps")


def answer_sentence(answer: str | int) -> str:
    """The sentence every gold solution ends with.

    >>> answer_sentence(8)
    'The answer is 8.'
    """
    return f"The answer is {answer}."


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
