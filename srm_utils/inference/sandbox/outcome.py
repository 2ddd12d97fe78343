"""What a program may use, and what came of running it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["", "language", "error", "limit"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What one program may use.

    `seconds` of wall time and `memory` (bytes of address space) hold for the process; `steps` (nodes of the
    syntax tree evaluated, large operands counted more), `output` and `source` (characters), `calls` (functions
    within functions), `nesting` (of the source), `bits` of a whole number and `size` of a list, text or
    dictionary hold for the interpreter, which gives the same answer on slow machines and fast ones.

    >>> Limits(steps=100).calls
    1000
    """

    seconds: float = 10.0
    memory: int = 512 * 2**20
    steps: int = 5_000_000
    output: int = 20_000
    source: int = 20_000
    calls: int = 1_000
    nesting: int = 200
    bits: int = 50_000
    size: int = 1_000_000


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a program printed, or why it was refused, in one sentence.

    `kind` says whose limit it met: "language" (it asks for something outside the language), "error" (the
    program itself is wrong), "limit" (too long, too large, too deep), or "" for a program that ran to its end.
    Of a refused program, `output` holds what it had printed until then; nothing if its process was killed.

    >>> Outcome("1\\n42\\n").answer
    '42'
    """

    output: str = ""
    kind: Kind = ""
    refusal: str = ""

    @property
    def ok(self) -> bool:
        """Whether the program ran to its end."""
        return not self.kind

    @property
    def answer(self) -> str | None:
        """The last line printed; None when the program was refused or printed nothing."""
        lines = self.output.split("\n")
        stated = [line.strip() for line in lines if line.strip()]
        return stated[-1] if self.ok and stated else None


class Refused(BaseException):
    """Ends a program: the kind of refusal and its sentence.

    No `except` of a program catches it, because a program's handlers see `Exception` only.
    """

    def __init__(self, kind: Kind, sentence: str, line: int | None = None) -> None:
        super().__init__(sentence)
        self.kind: Kind = kind
        self.line = line
