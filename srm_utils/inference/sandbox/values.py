"""The values that a program holds beside Python's own numbers, texts and containers.

A program never holds a Python function, class, module or generator: it holds one of these, whose fields it
cannot reach. Only the machine reads them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

#: The names of a call, by name; under None stands the frame that encloses it.
Frame = dict[Any, Any]
Code = Callable[[Frame], Any]


@dataclass(slots=True, eq=False)
class Function:
    """A function of the program: its parameters, its compiled body and the frame that it was defined in."""

    name: str
    names: tuple[str, ...]
    defaults: tuple[Any, ...]
    keywords: dict[str, Any]  # keyword-only parameters; REQUIRED where there is no default
    rest: str | None  # *args
    others: str | None  # **kwargs
    positional: int  # how many parameters can be given by position only
    body: Code
    form: str  # "block", "expression" or "generator"
    parent: Frame | None


REQUIRED = object()


@dataclass(slots=True, eq=False)
class Builtin:
    """A function of the language, or a method with the value that it belongs to."""

    name: str
    call: Callable[..., Any]


@dataclass(slots=True, eq=False)
class Type:
    """A type that a program can call, compare and ask `isinstance` about; `members` are reached with a dot."""

    name: str
    call: Callable[..., Any]
    python: tuple[type, ...]
    members: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Module:
    """A module that a program can import: its members, and nothing else. An empty one is known but not served."""

    name: str
    members: dict[str, Any]


@dataclass(slots=True, eq=False)
class Class:
    """A class of the program. `fields` are a data class's, each with its default or REQUIRED."""

    name: str
    members: dict[str, Any]
    fields: dict[str, Any] | None = None


@dataclass(slots=True, eq=False)
class Instance:
    """An object of a program's class."""

    kind: Class
    values: dict[str, Any]


@dataclass(slots=True, eq=False)
class Bound:
    """A function of the program with its first argument."""

    function: Any
    first: Any


@dataclass(slots=True, eq=False)
class Wrapped:
    """A method marked by `staticmethod`, `classmethod` or `property`; or the default factory of a field."""

    how: str
    function: Any


@dataclass(slots=True, eq=False)
class Stream:
    """Items that are made as they are asked for: a generator, `map`, `zip` and their like."""

    items: Iterator[Any]


@dataclass(frozen=True, slots=True)
class Span:
    """Months and days between two dates, as `relativedelta` of dateutil counts them."""

    months: int = 0
    days: int = 0
    fixed: tuple[tuple[str, int], ...] = ()  # year, month or day set outright


class DefaultDict(dict[Any, Any]):
    """A dictionary with the program's function for keys that are not there."""

    __slots__ = ("factory",)
    factory: Any


#: How an error names the type of a value, as Python does.
NAMES: dict[type, str] = {
    Function: "function", Builtin: "function", Bound: "method", Type: "type", Class: "type", Module: "module",
    Stream: "generator", Span: "relativedelta", DefaultDict: "defaultdict", Wrapped: "function",
}  # fmt: skip
# Python's own errors name the types of their values; a program reads there what it knows.
for _kind, _name in (NAMES | {Instance: "object"}).items():
    _kind.__name__ = _name


def kind_of(value: Any) -> str:
    """The name of a value's type, as Python would say it."""
    if isinstance(value, Instance):
        return value.kind.name
    return NAMES.get(type(value), type(value).__name__)
