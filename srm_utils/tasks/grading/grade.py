"""The three outcomes of grading."""

from __future__ import annotations

from enum import StrEnum


class Grade(StrEnum):
    """What a grader says of an answer: three outcomes, never an exception."""

    CORRECT = "correct"
    WRONG = "wrong"
    UNPARSABLE = "unparsable"
