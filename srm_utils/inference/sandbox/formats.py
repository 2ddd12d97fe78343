"""Texts made by a format: `f"{x:,.2f}"`, `"{} and {}".format(a, b)` and `"%d of %s" % (a, b)`.

A format may ask for places and for padding, each up to 500 characters, never for an attribute of a value.
"""

from __future__ import annotations

import datetime
import re
import string
from collections.abc import Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from srm_utils.inference.sandbox.values import kind_of

if TYPE_CHECKING:
    from srm_utils.inference.sandbox.machine import Machine

WIDEST = 500
_FIELD = re.compile(r"(\d+|[^\W\d]\w*)?((?:\[[^][]+\])*)")
_PERCENT = re.compile(r"%(?:\((?P<key>[^()]*)\))?(?P<how>[-#0 +]*\d*(?:\.\d*)?)[lhL]?(?P<type>.)", re.DOTALL)
#: What a date may be asked for; the C library's own widths ("%99999d") are not among them.
_DATE = re.compile(r"%-?[aAbBcdHIjmMpSUwWxXyYZzfGuVFDTRe%]")


def bounded(machine: Machine, spec: str) -> str:
    """A format whose numbers are small; raises Refused for others."""
    if any(len(digits) > 4 or int(digits) > WIDEST for digits in re.findall(r"\d+", spec)):
        machine.refuse(f"a format asks for more than {WIDEST} characters")
    return spec


def formatted(machine: Machine, value: Any, spec: str = "", conversion: str | None = None) -> str:
    """`value` written by `spec`, as in an f-string."""
    if conversion in ("r", "a"):
        value = machine.show(value, True)
        value = ascii(value)[1:-1] if conversion == "a" else value
    elif conversion == "s":
        value = machine.show(value)
    if not spec:
        return machine.show(value)
    if isinstance(value, datetime.date | datetime.time):
        return dated(machine, value, spec)
    bounded(machine, spec)
    if type(value) is Fraction:
        # Python 3.11 has no formats for fractions; 3.12 writes the same as for the quotient in all but the last place.
        value = Decimal(value.numerator) / Decimal(value.denominator) if spec[-1:] in "fFeEgG%" else str(value)
    if type(value) not in (int, float, bool, str, Decimal):
        raise TypeError(f"unsupported format string passed to {kind_of(value)}.__format__")
    if type(value) is int:
        machine.charge(value.bit_length() ** 2 >> 20)
    elif type(value) is str:
        machine.room(len(value))
    return format(value, spec)


def dated(machine: Machine, value: Any, spec: str) -> str:
    """A date written by strftime's letters."""
    machine.room(40 * len(spec))
    if "%" in _DATE.sub("", spec):
        machine.outside("This format of a date")
    return str(value.strftime(spec))


def format_method(machine: Machine, text: str, *values: Any, **named: Any) -> str:
    """`text.format(...)`."""
    return _filled(machine, text, values, named, [0], 2)


def _filled(
    machine: Machine, text: str, values: Sequence[Any], named: Mapping[str, Any], count: list[int], left: int
) -> str:
    machine.room(len(text))
    if left == 0:
        raise ValueError("Max string recursion exceeded")
    out: list[str] = []
    length = 0
    for literal, field, spec, conversion in string.Formatter().parse(text):
        part = literal
        if field is not None:
            found = _FIELD.fullmatch(field)
            if not found:
                machine.outside("An attribute in a format")
            value = _looked_up(machine, found[1], found[2], values, named, count)
            inner = _filled(machine, spec, values, named, count, left - 1) if spec else ""
            part += formatted(machine, value, inner, conversion)
        length += len(part)
        machine.room(length)
        out.append(part)
    return "".join(out)


def _looked_up(
    machine: Machine, name: str | None, keys: str, values: Sequence[Any], named: Mapping[str, Any], count: list[int]
) -> Any:
    if not name:
        count[0] += 1
        name = str(count[0] - 1)
    if name.isdecimal():
        if len(name) > 4 or int(name) >= len(values):
            raise IndexError(f"Replacement index {name[:20]} out of range for positional args tuple")
        value = values[int(name)]
    else:
        value = named[name]
    for key in re.findall(r"\[([^][]+)\]", keys):
        value = machine.item(value, int(key) if key.isdecimal() and len(key) < 10 else key)
    return value


def percent(machine: Machine, text: str, values: Any) -> str:
    """`text % values`."""
    machine.room(len(text))
    given = values if type(values) is tuple else (values,)
    used = 0
    length = 0

    def written(found: re.Match[str]) -> str:
        nonlocal used, length
        how, kind = bounded(machine, found["how"]), found["type"]
        if kind == "%":
            return "%"
        if found["key"] is not None:
            if type(values) is not dict:
                raise TypeError("format requires a mapping")
            value = values[found["key"]]
            used = len(given)
        else:
            if used >= len(given):
                raise TypeError("not enough arguments for format string")
            value = given[used]
            used += 1
        if kind in "sra":
            shown = machine.show(value, kind != "s")
            out = f"%{how}s" % (ascii(shown)[1:-1] if kind == "a" else shown)
        elif kind in "diouxXeEfFgGc":
            if type(value) not in (int, float, bool, str, Decimal, Fraction):
                raise TypeError(f"%{kind} format: a real number is required, not {kind_of(value)}")
            if type(value) is int:
                machine.charge(value.bit_length() ** 2 >> 20)
            out = f"%{how}{kind}" % value
        else:
            raise ValueError(f"unsupported format character '{kind}'")
        length += len(out)
        machine.room(length)
        return out

    out = _PERCENT.sub(written, text)
    if "%" in _PERCENT.sub("", text):
        raise ValueError("incomplete format")
    if used < len(given) and type(values) is not dict:
        raise TypeError("not all arguments converted during string formatting")
    return out
