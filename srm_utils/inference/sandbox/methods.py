"""The methods and attributes that each type of value has for a program, by type and name.

A method is called with the machine, its value and the program's arguments, and bounds its work before it does it.
"""

from __future__ import annotations

import ast
import calendar
import datetime
import operator
import re
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from functools import cmp_to_key
from typing import TYPE_CHECKING, Any

from srm_utils.inference.sandbox import formats
from srm_utils.inference.sandbox.values import DefaultDict, Instance, Span, Stream

if TYPE_CHECKING:
    from srm_utils.inference.sandbox.machine import Machine

Method = Callable[..., Any]


# ---------------------------------------------------------------- texts


def _text(value: Any) -> str:
    if type(value) is not str:
        raise TypeError(f"expected str instance, {type(value).__name__} found")
    return value


def _simple(name: str) -> Method:
    """A method of texts whose result is no longer than three times the text, and that takes texts and numbers."""
    function = getattr(str, name)

    def method(m: Machine, text: str, *arguments: Any) -> Any:
        m.room(len(text))
        for one in arguments:
            if type(one) not in (str, int, bool, type(None), tuple):
                raise TypeError(f"{name}() takes texts and whole numbers")
        return function(text, *arguments)

    return method


def _padded(name: str) -> Method:
    function = getattr(str, name)

    def method(m: Machine, text: str, width: int, *fill: str) -> str:
        m.room(max(len(text), width if type(width) is int else 0))
        return str(function(text, width, *fill))

    return method


def _join(m: Machine, text: str, values: Any) -> str:
    parts = m.listed(values)
    for i, one in enumerate(parts):
        if type(one) is not str:
            raise TypeError(f"sequence item {i}: expected str instance, {type(one).__name__} found")
    m.room(sum(map(len, parts)) + len(text) * len(parts))
    return text.join(parts)


def _replace(m: Machine, text: str, old: str, new: str, count: int = -1) -> str:
    m.room(len(text))
    m.room(len(text) + text.count(_text(old)) * len(_text(new)))
    return text.replace(old, new, count)


def _split(name: str) -> Method:
    function = getattr(str, name)

    def method(m: Machine, text: str, sep: str | None = None, maxsplit: int = -1) -> list[str]:
        m.room(len(text))
        return list(function(text, sep, maxsplit))

    return method


def _translate(m: Machine, text: str, table: dict[int, Any]) -> str:
    if type(table) is not dict:
        raise TypeError("translate() takes a table of str.maketrans()")
    longest = max([len(v) for v in table.values() if type(v) is str], default=1)
    m.room(len(text) * max(1, longest))
    return text.translate(table)


_TEXT: dict[str, Method] = {
    name: _simple(name)
    for name in (
        "upper lower title capitalize swapcase casefold strip lstrip rstrip find rfind index rindex count startswith "
        "endswith isdigit isalpha isalnum isspace isupper islower isnumeric isdecimal istitle isidentifier isascii "
        "splitlines partition rpartition removeprefix removesuffix"
    ).split()
} | {
    "center": _padded("center"), "ljust": _padded("ljust"), "rjust": _padded("rjust"), "zfill": _padded("zfill"),
    "join": _join, "replace": _replace, "split": _split("split"), "rsplit": _split("rsplit"),
    "translate": _translate, "format": formats.format_method,
}  # fmt: skip


# ---------------------------------------------------------------- lists


def in_order(m: Machine, values: list[Any], key: Any = None, reverse: Any = False) -> list[Any]:
    """The values sorted, as `sorted` does it."""
    weights = values if key is None else [m.apply(key, one) for one in values]
    weight, _ = m.weigh(weights)
    m.charge((weight >> 5) * len(values).bit_length() >> 2)
    if any(type(w) is Instance for w in weights):
        weights = [cmp_to_key(lambda a, b: -1 if _before(m, a, b) else 0)(w) for w in weights]
    if weights is values:
        return sorted(values, reverse=bool(reverse))
    order = sorted(range(len(values)), key=weights.__getitem__, reverse=bool(reverse))
    return [values[i] for i in order]


def _before(m: Machine, a: Any, b: Any) -> bool:
    m.native += 4
    try:
        return bool(m.compare(ast.Lt, a, b))
    finally:
        m.native -= 4


def _sort(m: Machine, held: list[Any], *, key: Any = None, reverse: Any = False) -> None:
    held[:] = in_order(m, list(held), key, reverse)


def _extend(m: Machine, held: Any, values: Any) -> None:
    more = m.listed(values)
    m.room(len(held) + len(more))
    held.extend(more)


def _insert(m: Machine, held: list[Any], at: int, value: Any) -> None:
    m.charge(len(held) >> 6)
    held.insert(at, value)


def _pop(m: Machine, held: list[Any], at: int = -1) -> Any:
    m.charge(len(held) >> 6 if at != -1 else 0)
    return held.pop(at)


def _remove(m: Machine, held: Any, value: Any) -> None:
    m.search(held, value)
    held.remove(value)


def _index(m: Machine, held: Any, value: Any, *ends: int) -> int:
    m.search(held, value)
    return int(held.index(value, *ends))


def _count(m: Machine, held: Any, value: Any) -> int:
    m.search(held, value)
    return int(held.count(value))


def _copy(m: Machine, held: Any) -> Any:
    m.room(len(held))
    if type(held) is DefaultDict:
        made = DefaultDict(held)
        made.factory = held.factory
        return made
    return held.copy()


def _clear(m: Machine, held: Any) -> None:
    held.clear()


def _reverse(m: Machine, held: Any) -> None:
    m.charge(len(held) >> 3)
    held.reverse()


def _append(m: Machine, held: Any, value: Any) -> None:
    held.append(value)


def _rotate(m: Machine, held: deque[Any], n: int = 1) -> None:
    m.charge(len(held) >> 3)
    held.rotate(n)


_SEQUENCE: dict[str, Method] = {"index": _index, "count": _count}
_LIST = _SEQUENCE | {
    "append": _append, "extend": _extend, "insert": _insert, "pop": _pop, "remove": _remove, "sort": _sort,
    "reverse": _reverse, "copy": _copy, "clear": _clear,
}  # fmt: skip
_DEQUE = {k: v for k, v in _LIST.items() if k not in ("sort", "pop")} | {
    "appendleft": lambda m, held, value: held.appendleft(value),
    "popleft": lambda m, held: held.popleft(),
    "pop": lambda m, held: held.pop(),
    "extendleft": lambda m, held, values: held.extendleft(m.listed(values)),
    "rotate": _rotate,
}


# ---------------------------------------------------------------- dictionaries and sets


def _update(m: Machine, held: Any, values: Any = (), **named: Any) -> None:
    if isinstance(values, dict):
        m.room(len(values))
        if type(held) is Counter:
            m.counts(held, values, named)
    else:
        values = m.listed(values)
        if type(held) is Counter:
            m.counts(held, named)
            values = [m.key(one) for one in values]
        else:
            values = pairs(m, values)
    held.update(values, **named)


def pairs(m: Machine, values: list[Any]) -> list[tuple[Any, Any]]:
    """Items that are pairs, as `dict()` takes them."""
    out = []
    for one in values:
        pair = m.listed(one)
        if len(pair) != 2:
            raise ValueError(f"dictionary update sequence element has length {len(pair)}; 2 is required")
        out.append((m.key(pair[0]), pair[1]))
    return out


def _popped(m: Machine, held: Any, key: Any, *default: Any) -> Any:
    return held.pop(m.key(key), *default)


def _most_common(m: Machine, held: Counter[Any], n: int | None = None) -> list[tuple[Any, int]]:
    m.counts(held)
    m.charge(len(held) * len(held).bit_length() >> 3)
    return held.most_common(n)


def _subtract(m: Machine, held: Counter[Any], values: Any = ()) -> None:
    if isinstance(values, dict):
        m.counts(held, values)
    else:
        values = [m.key(v) for v in m.listed(values)]
        m.counts(held)
    held.subtract(values)


_DICT: dict[str, Method] = {
    "get": lambda m, held, key, default=None: held.get(m.key(key), default),
    "keys": lambda m, held: held.keys(),
    "values": lambda m, held: held.values(),
    "items": lambda m, held: held.items(),
    "pop": _popped,
    "popitem": lambda m, held: held.popitem(),
    "setdefault": lambda m, held, key, default=None: held.setdefault(m.key(key), default),
    "update": _update,
    "copy": _copy,
    "clear": _clear,
}
_COUNTER = _DICT | {
    "most_common": _most_common,
    "elements": lambda m, held: [k for k, n in held.items() for _ in _times(m, n)],
    "total": lambda m, held: (m.counts(held), held.total())[1],
    "subtract": _subtract,
}


def _times(m: Machine, n: int) -> range:
    m.room(n)
    return range(n)


def _of_sets(name: str) -> Method:
    function = getattr(set, name)

    def method(m: Machine, held: Any, *others: Any) -> Any:
        m.weigh(held)
        made = [one if type(one) in (set, frozenset) else set(map(m.key, m.listed(one))) for one in others]
        for one in made:
            m.weigh(one)
        return (function if type(held) is set else getattr(frozenset, name))(held, *made)

    return method


_FROZEN: dict[str, Method] = {
    name: _of_sets(name)
    for name in "union intersection difference symmetric_difference issubset issuperset isdisjoint".split()
} | {"copy": _copy}
_SET = _FROZEN | {
    name: _of_sets(name)
    for name in "update intersection_update difference_update symmetric_difference_update".split()
} | {
    "add": lambda m, held, value: held.add(m.key(value)),
    "remove": lambda m, held, value: held.remove(m.key(value)),
    "discard": lambda m, held, value: held.discard(m.key(value)),
    "pop": lambda m, held: held.pop(),
    "clear": _clear,
}  # fmt: skip


# ---------------------------------------------------------------- numbers and dates


def _plain(kind: type, names: str) -> dict[str, Method]:
    """Methods of numbers and dates, which take numbers, texts and dates and are quick on all of them."""

    def method(name: str) -> Method:
        function = getattr(kind, name)

        def run(m: Machine, held: Any, *arguments: Any, **named: Any) -> Any:
            for one in (*arguments, *named.values()):
                if type(one) not in _PLAIN:
                    raise TypeError(f"{name}() takes numbers, texts and dates")
            return m.number(function(held, *arguments, **named))

        return run

    return {name: method(name) for name in names.split()}


_PLAIN = frozenset(
    {int, float, bool, str, Fraction, Decimal, datetime.date, datetime.datetime, datetime.time, datetime.timedelta}
)


def _quantize(m: Machine, held: Decimal, places: Decimal, rounding: str | None = None) -> Decimal:
    return held.quantize(places, rounding=rounding)


_DATE = _plain(datetime.date, "weekday isoweekday isoformat replace toordinal ctime") | {
    "strftime": lambda m, held, spec: formats.dated(m, held, _text(spec)),
    "isocalendar": lambda m, held: tuple(held.isocalendar()),
}
_DATETIME = _DATE | _plain(datetime.datetime, "date time replace timestamp isoformat ctime")


def moved(day: datetime.date, span: Span, sign: int = 1) -> datetime.date:
    """A date so many months and days on; the last day of a month that is too short for it.

    >>> moved(datetime.date(2024, 1, 31), Span(months=1))
    datetime.date(2024, 2, 29)
    """
    for name, value in span.fixed:
        day = day.replace(**{name: value}) if name != "day" else day.replace(day=min(value, _days(day.year, day.month)))
    month = day.year * 12 + day.month - 1 + sign * span.months
    year, month = month // 12, month % 12 + 1
    if not 1 <= year <= 9999:
        raise OverflowError("date value out of range")
    day = day.replace(year=year, month=month, day=min(day.day, _days(year, month)))
    return day + datetime.timedelta(days=sign * span.days)


def _days(year: int, month: int) -> int:
    return calendar.monthrange(year, month)[1]


# ---------------------------------------------------------------- patterns


def _found(m: Machine, held: re.Match[str], *which: Any) -> Any:
    return held.group(*which)


_MATCH: dict[str, Method] = {
    "group": _found,
    "groups": lambda m, held, default=None: held.groups(default),
    "groupdict": lambda m, held: held.groupdict(),
    "start": lambda m, held, which=0: held.start(which),
    "end": lambda m, held, which=0: held.end(which),
    "span": lambda m, held, which=0: held.span(which),
}


METHODS: dict[type, dict[str, Method]] = {
    str: _TEXT,
    list: _LIST,
    tuple: _SEQUENCE,
    range: _SEQUENCE,
    deque: _DEQUE,
    dict: _DICT,
    DefaultDict: _DICT,
    OrderedDict: _DICT | {"move_to_end": lambda m, held, key, last=True: held.move_to_end(m.key(key), bool(last))},
    Counter: _COUNTER,
    set: _SET,
    frozenset: _FROZEN,
    int: _plain(int, "bit_length bit_count as_integer_ratio conjugate"),
    float: _plain(float, "is_integer as_integer_ratio"),
    Fraction: _plain(Fraction, "limit_denominator as_integer_ratio"),
    Decimal: _plain(Decimal, "sqrt to_integral_value normalize ln log10 exp is_nan copy_abs") | {"quantize": _quantize},
    datetime.date: _DATE,
    datetime.datetime: _DATETIME,
    datetime.time: _plain(datetime.time, "isoformat replace")
    | {"strftime": lambda m, held, spec: formats.dated(m, held, _text(spec))},
    datetime.timedelta: _plain(datetime.timedelta, "total_seconds"),
    re.Match: _MATCH,
    Stream: {},
}


def _fields(names: str) -> dict[str, Callable[[Any], Any]]:
    return {name: operator.attrgetter(name) for name in names.split()}


ATTRIBUTES: dict[type, dict[str, Callable[[Any], Any]]] = {
    datetime.date: _fields("year month day"),
    datetime.datetime: _fields("year month day hour minute second microsecond"),
    datetime.time: _fields("hour minute second microsecond"),
    datetime.timedelta: _fields("days seconds microseconds"),
    Fraction: _fields("numerator denominator"),
    int: _fields("numerator denominator real imag"),
    float: _fields("real imag"),
    range: _fields("start stop step"),
    Span: {
        "years": lambda s: int(s.months / 12),
        "months": lambda s: s.months - 12 * int(s.months / 12),
        "days": lambda s: s.days,
    },
}
