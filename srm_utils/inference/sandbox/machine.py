"""The state of one running program, and every operation on its values, bounded before it is done.

Work is charged in steps. What Python does in constant time costs its share of the syntax tree; copying,
comparing, hashing and writing a value costs by its size; arithmetic on long whole numbers costs by their length.
"""

from __future__ import annotations

import ast
import datetime
import operator
import re
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from functools import partial
from typing import Any, NoReturn

from srm_utils.inference.sandbox import formats
from srm_utils.inference.sandbox.methods import ATTRIBUTES, METHODS, moved
from srm_utils.inference.sandbox.outcome import Limits, Refused
from srm_utils.inference.sandbox.values import (
    REQUIRED,
    Bound,
    Builtin,
    Class,
    DefaultDict,
    Frame,
    Function,
    Instance,
    Module,
    Span,
    Stream,
    Type,
    Wrapped,
    kind_of,
)  # fmt: skip

NUMERIC = frozenset({int, float, bool})
NUMBERS = NUMERIC | {Fraction, Decimal}
ATOMS = NUMERIC | {str, type(None)}
DATES = frozenset({datetime.date, datetime.datetime, datetime.timedelta, datetime.time})
_KEYED: tuple[dict[Any, Any], ...] = ({}, OrderedDict())
VIEWS = frozenset({type(view) for one in _KEYED for view in (one.keys(), one.values(), one.items())})
DICTS = frozenset({dict, DefaultDict, Counter, OrderedDict})
SETS = frozenset({set, frozenset})
CONTAINERS = frozenset({list, tuple, deque}) | DICTS | SETS | VIEWS
CALLABLE = (Function, Builtin, Type, Class, Bound)
#: Whole numbers within this are added, multiplied and compared without a look at their length.
WIDE = 1 << 256
#: Levels of lists within lists that are compared, hashed and written.
DEEP = 90
#: Passages through Python's own machine code that may be open at once; they use its stack.
NATIVE = 2_000

ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Pow: operator.pow, ast.LShift: operator.lshift,
    ast.RShift: operator.rshift, ast.BitAnd: operator.and_, ast.BitOr: operator.or_, ast.BitXor: operator.xor,
}  # fmt: skip
#: Operators that change a set, a counter or a dictionary in place.
CHANGES: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.iadd, ast.Sub: operator.isub, ast.BitAnd: operator.iand, ast.BitOr: operator.ior,
    ast.BitXor: operator.ixor,
}  # fmt: skip
SIGNS: dict[type[ast.operator], str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "%", ast.Pow: "**",
    ast.LShift: "<<", ast.RShift: ">>", ast.BitAnd: "&", ast.BitOr: "|", ast.BitXor: "^",
}  # fmt: skip
COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}  # fmt: skip
#: How Python says that a function does not have the arguments it was given.
SIGNATURE = re.compile(r"\b(missing|takes|got|expected|requires)\b.*\bargument|expected at (least|most)")
#: The methods by which a program's own class takes part in an operation.
OPERATORS: dict[type[ast.AST], str] = {
    ast.Add: "__add__", ast.Sub: "__sub__", ast.Mult: "__mul__", ast.Eq: "__eq__", ast.Lt: "__lt__",
}  # fmt: skip


class Machine:
    """Holds what one program has used and printed, and operates on its values."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.left = limits.steps
        self.depth = self.native = self.length = 0
        self.line: int | None = None
        self.printed: list[str] = []

    # ---- limits

    def refuse(self, sentence: str) -> NoReturn:
        """Ends a program that meets a limit."""
        raise Refused("limit", sentence, self.line)

    def outside(self, what: str) -> NoReturn:
        """Ends a program that asks for something outside the language."""
        raise Refused("language", f"{what} is not in the language", self.line)

    def over(self) -> NoReturn:
        self.refuse(f"the program takes more than {self.limits.steps:,} steps; does a loop never end?")

    def charge(self, steps: int = 1) -> None:
        self.left -= steps
        if self.left < 0:
            self.over()

    def too_long(self) -> NoReturn:
        self.refuse(f"a whole number grows longer than {self.limits.bits:,} bits")

    def room(self, size: int) -> None:
        """Refuses a text, list or dictionary of so many items before it is made."""
        if size > self.limits.size:
            self.refuse(f"a list or text grows longer than {self.limits.size:,} items")
        self.charge(size >> 3)

    def number(self, value: Any) -> Any:
        """A number that was just made, if the language has it."""
        kind = type(value)
        if kind is int:
            if not -WIDE < value < WIDE:
                bits = value.bit_length()
                self.charge(bits >> 8)
                if bits > self.limits.bits:
                    self.too_long()
        elif kind is Fraction:
            self.number(value.numerator)
            self.number(value.denominator)
        elif kind is Decimal:
            if value.is_finite() and abs(value.adjusted()) > 1000:
                self.refuse("a decimal number grows longer than 1,000 digits")
        elif kind is complex:
            raise ValueError("the result is not a real number")
        return value

    def weigh(self, value: Any) -> tuple[int, bool]:
        """Charges for everything within a value; gives its length as a text, about, and whether it is all Python's own.

        What was weighed can be compared, hashed or written at once: it is neither large nor deep.
        """
        total, plain = 0, True
        todo = [(value, 0)]
        while todo:
            one, depth = todo.pop()
            kind = type(one)
            self.left -= 2
            if kind is str:
                total += len(one) + 4
                self.left -= len(one) >> 6
            elif kind is int:
                total += (one.bit_length() >> 1) + 4
                self.left -= one.bit_length() >> 8
            elif kind in CONTAINERS:
                total += 16
                if depth == DEEP:
                    self.refuse(f"lists are nested more than {DEEP} levels deep")
                if self.left < len(one):
                    self.over()
                if kind is DefaultDict:
                    plain = False
                if kind in DICTS:
                    todo += [(part, depth + 1) for pair in one.items() for part in pair]
                else:
                    todo += [(part, depth + 1) for part in one]
            else:
                total += 32
                plain = plain and (kind in ATOMS or kind in NUMBERS or kind in DATES or kind is range)
            if self.left < 0:
                self.over()
        return total, plain

    def search(self, held: Any, value: Any) -> None:
        """Charges for comparing a value with every item of a list."""
        weight, _ = self.weigh(value)
        self.charge(len(held) * (1 + (weight >> 6)) >> 3)

    def counts(self, *held: Mapping[Any, Any]) -> None:
        """Charges for counters, whose counts have to be numbers: others would be added unbounded."""
        for one in held:
            self.weigh(one)
            if not NUMERIC.issuperset(map(type, one.values())):
                raise TypeError("a Counter's counts have to be numbers here")

    # ---- operations

    def combine(self, op: type[ast.operator], a: Any, b: Any) -> Any:
        """`a op b`, its size known before it is computed."""
        kind_a, kind_b = type(a), type(b)
        if kind_a in NUMBERS and kind_b in NUMBERS:
            return self.calculate(op, a, b)
        if op is ast.Mod and kind_a is str:
            return formats.percent(self, a, b)
        if op is ast.Add and kind_a is kind_b and kind_a in (str, list, tuple):
            self.room(len(a) + len(b))
            return a + b
        if op is ast.Mult and (kind_a in (str, list, tuple) or kind_b in (str, list, tuple)):
            items, many = (a, b) if kind_a in (str, list, tuple) else (b, a)
            if type(many) is int or type(many) is bool:
                self.room(len(items) * max(many, 0))
                return items * many
        if kind_a is Span or kind_b is Span:
            return self.move(op, a, b)
        if kind_a in DATES and (kind_b in DATES or kind_b in NUMERIC) or kind_b in DATES and kind_a in NUMERIC:
            return ARITHMETIC[op](a, b)
        if kind_a is Instance or kind_b is Instance:
            if kind_a is Instance and OPERATORS.get(op) in a.kind.members:
                return self.call(a.kind.members[OPERATORS[op]], [a, b])
        elif (kind_a in SETS or kind_a in DICTS or kind_a in VIEWS) and (kind_b in CONTAINERS):
            if kind_a is Counter and kind_b in DICTS:
                self.counts(a, b)
            self.weigh(a)
            self.weigh(b)
            return ARITHMETIC[op](a, b)
        if op is ast.Add and (kind_a in (str, list, tuple) or kind_b in (str, list, tuple)):
            raise TypeError("texts and lists can be joined with their like and repeated, nothing else")
        raise TypeError(f"unsupported operand type(s) for {SIGNS[op]}: '{kind_of(a)}' and '{kind_of(b)}'")

    def calculate(self, op: type[ast.operator], a: Any, b: Any) -> Any:
        """`a op b` of two numbers."""
        bits_a, bits_b = self.bits(a), self.bits(b)
        self.charge(bits_a * bits_b >> 17)
        if op is ast.Mult:
            grown = bits_a + bits_b
        elif op is ast.LShift:
            grown = bits_a + (max(b, 0) if isinstance(b, int) else 0)
        elif op is ast.Pow and isinstance(a, int | Fraction) and isinstance(b, int | Fraction):
            # A power takes at least |a| ** b; |a| of 0 and 1 stay what they are.
            exponent: Any = abs(b) if isinstance(a, Fraction) or b > 0 else 0
            grown = int((bits_a - 1) * exponent)
            if isinstance(b, Fraction) and b.denominator != 1:
                grown = 0
            self.charge(grown * grown >> 20 if grown <= self.limits.bits else 0)
        else:
            grown = 0
        if grown > self.limits.bits + 64:
            self.too_long()
        return self.number(ARITHMETIC[op](a, b))

    def bits(self, value: Any) -> int:
        if isinstance(value, int):
            return value.bit_length()
        if isinstance(value, Fraction):
            return max(value.numerator.bit_length(), value.denominator.bit_length())
        return 1

    def move(self, op: type[ast.operator], a: Any, b: Any) -> Any:
        """Dates and the spans of `relativedelta`."""
        if op is ast.Mult and type(a) is int:
            a, b = b, a
        if op is ast.Mult and type(a) is Span and type(b) is int:
            return Span(a.months * b, a.days * b, a.fixed)
        if op is ast.Add and type(a) is Span and type(b) is not Span:
            a, b = b, a
        if type(b) is Span and op in (ast.Add, ast.Sub):
            sign = 1 if op is ast.Add else -1
            if type(a) is Span:
                return Span(a.months + sign * b.months, a.days + sign * b.days, a.fixed + b.fixed)
            if type(a) in (datetime.date, datetime.datetime):
                return moved(a, b, sign)
        raise TypeError(f"unsupported operand type(s) for {SIGNS[op]}: '{kind_of(a)}' and '{kind_of(b)}'")

    def extend(self, op: type[ast.operator], held: Any, value: Any) -> Any:
        """`held op= value`: lists, sets and dictionaries change in place, everything else is made anew."""
        kind = type(held)
        if kind is list and op is ast.Add:
            more = self.listed(value)
            self.room(len(held) + len(more))
            held += more
            return held
        if kind in (set, deque) or kind in DICTS:
            if type(value) not in CONTAINERS:
                raise TypeError(
                    f"unsupported operand type(s) for {SIGNS[op]}=: '{kind.__name__}' and '{kind_of(value)}'"
                )
            if kind is Counter and type(value) in DICTS:
                self.counts(held, value)
            self.weigh(held)
            self.weigh(value)
            return CHANGES[op](held, value) if op in CHANGES else self.combine(op, held, value)
        out = self.combine(op, held, value)
        if kind is list and type(out) is list:
            held[:] = out
            return held
        return out

    def compare(self, op: type[ast.cmpop], a: Any, b: Any) -> Any:
        """`a op b` for the six comparisons."""
        kind_a, kind_b = type(a), type(b)
        if kind_a is Instance or kind_b is Instance:
            return self._compare_objects(op, a, b)
        if kind_a is str and kind_b is str:
            self.charge(min(len(a), len(b)) >> 6)
        elif kind_a in CONTAINERS and kind_b in CONTAINERS:
            self.weigh(a)
            self.weigh(b)
        elif op not in (ast.Eq, ast.NotEq) and (kind_a in NAMED or kind_b in NAMED):
            raise TypeError(f"'{kind_of(a)}' and '{kind_of(b)}' cannot be put in order")
        return COMPARISONS[op](a, b)

    def _compare_objects(self, op: type[ast.cmpop], a: Any, b: Any) -> Any:
        if op in (ast.Gt, ast.GtE):
            op, a, b = {ast.Gt: ast.Lt, ast.GtE: ast.LtE}[op], b, a
        if type(a) is Instance:
            special = a.kind.members.get(OPERATORS.get(ast.Eq if op is ast.NotEq else op, ""))
            if special is not None:
                same = self.call(special, [a, b])
                return not same if op is ast.NotEq else same
            if op in (ast.Eq, ast.NotEq):
                same = a is b
                if a.kind.fields is not None and type(b) is Instance and a.kind is b.kind:
                    self.weigh(list(a.values.values()))
                    same = a.values == b.values
                return same == (op is ast.Eq)
        elif op in (ast.Eq, ast.NotEq):
            return op is ast.NotEq
        raise TypeError(f"'{kind_of(a)}' and '{kind_of(b)}' cannot be put in order")

    def contains(self, item: Any, held: Any) -> bool:
        """`item in held`."""
        kind = type(held)
        if kind is str:
            if type(item) is not str:
                raise TypeError(f"'in <string>' requires string as left operand, not {kind_of(item)}")
            self.charge(len(held) >> 6)
        elif kind in DICTS or kind in SETS:
            self.key(item)
        elif kind is range:
            self.charge(0 if type(item) is int else len(held))
        elif kind in CONTAINERS:
            if type(item) is Instance:
                return any([one is item or self.compare(ast.Eq, item, one) for one in held])
            self.search(held, item)
        else:
            for one in self.iterate(held):
                self.charge()
                if one is item or self.compare(ast.Eq, one, item):
                    return True
            return False
        return item in held

    def key(self, value: Any) -> Any:
        """A value that may stand in a dictionary or a set; charged for its hash."""
        kind = type(value)
        if kind in ATOMS:
            return value
        if kind in CONTAINERS:
            self.weigh(value)
        hash(value)
        return value

    # ---- items

    def iterate(self, value: Any) -> Iterator[Any]:
        """Python's own iterator over a value. Whoever takes from it charges for what it takes."""
        kind = type(value)
        if kind is Stream:
            return value.items
        if kind in CONTAINERS or kind is str or kind is range:
            return iter(value)
        raise TypeError(f"'{kind_of(value)}' object is not iterable")

    def listed(self, value: Any) -> list[Any]:
        """A new list of the items of a value."""
        kind = type(value)
        if kind in CONTAINERS or kind is str or kind is range:
            self.room(len(value))
            return list(value)
        out: list[Any] = []
        for one in self.iterate(value):
            out.append(one)
            self.left -= 1
            if self.left < 0:
                self.over()
        return out

    def item(self, held: Any, key: Any) -> Any:
        """`held[key]`."""
        kind = type(held)
        if kind in (list, tuple, str, range, deque):
            if type(key) is slice and kind is not deque:
                out = held[key]
                self.charge(len(out) >> 3)
                return out
            if type(key) not in (int, bool):
                raise TypeError(f"{kind.__name__} indices must be integers or slices, not {kind_of(key)}")
            return held[key]
        if kind in DICTS:
            self.key(key)
            if kind is DefaultDict and key not in held and held.factory is not None:
                held[key] = self.call(held.factory, [])
            return held[key]
        if kind in (Type, Module):
            self.outside("A type in brackets, as a value,")
        raise TypeError(f"'{kind_of(held)}' object is not subscriptable")

    def set_item(self, held: Any, key: Any, value: Any) -> None:
        """`held[key] = value`."""
        kind = type(held)
        if kind in DICTS:
            held[self.key(key)] = value
        elif kind is list and type(key) is slice:
            more = self.listed(value)
            self.room(len(held) + len(more))
            held[key] = more
        elif kind in (list, deque):
            held[key] = value
        else:
            raise TypeError(f"'{kind_of(held)}' object does not support item assignment")

    def delete_item(self, held: Any, key: Any) -> None:
        """`del held[key]`."""
        if type(held) in DICTS:
            del held[self.key(key)]
        elif type(held) in (list, deque):
            self.charge(len(held) >> 6)
            del held[key]
        else:
            raise TypeError(f"'{kind_of(held)}' object doesn't support item deletion")

    # ---- attributes

    def attribute(self, value: Any, name: str) -> Any:
        """`value.name`, from the lists of what each type has."""
        kind = type(value)
        if kind is Instance:
            if name in value.values:
                return value.values[name]
            if name in value.kind.members:
                return self._member(value.kind.members[name], value, value.kind)
            raise AttributeError(f"'{value.kind.name}' object has no attribute '{name}'")
        if kind is Class and name in value.members:
            return self._member(value.members[name], None, value)
        if kind is Module or kind is Type:
            if name in value.members:
                return value.members[name]
            if kind is Module:
                self.outside(f"{value.name}.{name}" if value.members else f"Using the module {value.name}")
        if name == "__name__" and kind in (Function, Builtin, Type, Class):
            return value.name
        if kind is Type:
            for python in value.python:
                if name in METHODS.get(python, {}):
                    return Builtin(name, partial(self._unbound, name, value.python))
        if kind in ATTRIBUTES and name in ATTRIBUTES[kind]:
            return ATTRIBUTES[kind][name](value)
        method = METHODS.get(kind, {}).get(name)
        if method is not None:
            return Builtin(name, partial(method, self, value))
        if isinstance(value, BaseException) and name == "args":
            return tuple(value.args)
        if isinstance(value, StopIteration) and name == "value":
            return value.value
        if kind not in NAMED and kind is not Span and not hasattr(kind, name):
            raise AttributeError(f"'{kind.__name__}' object has no attribute '{name}'")
        self.outside(f"The attribute .{name} of a value of type {kind_of(value)}")

    def _member(self, member: Any, owner: Instance | None, kind: Class) -> Any:
        if type(member) is Wrapped:
            if member.how == "property":
                return member if owner is None else self.call(member.function, [owner])
            return Bound(member.function, kind) if member.how == "classmethod" else member.function
        return Bound(member, owner) if type(member) is Function and owner is not None else member

    def _unbound(self, name: str, kinds: tuple[type, ...], *arguments: Any, **named: Any) -> Any:
        """A method called as `str.upper(text)`."""
        if not arguments or type(arguments[0]) not in kinds:
            raise TypeError(f"{name}() needs a value of its own type first")
        return METHODS[type(arguments[0])][name](self, *arguments, **named)

    def set_attribute(self, held: Any, name: str, value: Any) -> None:
        """`held.name = value`, on objects and classes of the program only."""
        if type(held) is Instance and type(held.kind.members.get("__setattr__")) is Builtin:
            held.kind.members["__setattr__"].call(held, name, value)
        elif type(held) is Instance:
            held.values[name] = value
        elif type(held) is Class:
            held.members[name] = value
        else:
            self.outside(f"Setting an attribute of {kind_of(held)}")

    # ---- calls

    def call(self, function: Any, arguments: Sequence[Any], named: Mapping[str, Any] | None = None) -> Any:
        """Calls whatever a program can call."""
        kind = type(function)
        if kind is Function:
            if named or len(arguments) != function.positional or function.rest or function.others or function.keywords:
                frame = self.bind(function, arguments, named or {})
            else:
                frame = dict(zip(function.names, arguments, strict=True))
            frame[None] = function.parent
            if function.form == "generator":
                return Stream(function.body(frame))
            self.depth += 1
            if self.depth > self.limits.calls:
                self.depth -= 1
                self.refuse(f"functions call one another more than {self.limits.calls:,} deep")
            try:
                out = function.body(frame)
            finally:
                self.depth -= 1
            if function.form == "expression":
                return out
            return None if out is None else out[0]
        if kind is Builtin or kind is Type:
            self.left -= 1
            if self.left < 0:
                self.over()
            try:
                return function.call(*arguments, **named) if named else function.call(*arguments)
            except TypeError as error:
                # Python's sentence would name a function of ours.
                if not SIGNATURE.search(str(error)):
                    raise
                raise TypeError(f"{function.name}() cannot be called with these arguments") from None
        if kind is Bound:
            return self.call(function.function, [function.first, *arguments], named)
        if kind is Class:
            return self.create(function, arguments, named or {})
        if kind is Wrapped:
            return self.call(function.function, arguments, named)
        if kind is Module:
            self.outside(f"Using {function.name}")
        raise TypeError(f"{self.called(function)} cannot be called as a function")

    def apply(self, function: Any, *arguments: Any) -> Any:
        """Calls a function on behalf of a builtin; such calls use Python's stack."""
        self.native += 2
        if self.native > NATIVE:
            self.native -= 2
            self.refuse(f"functions call one another more than {self.limits.calls:,} deep")
        try:
            return self.call(function, arguments)
        finally:
            self.native -= 2

    def called(self, value: Any) -> str:
        names = {bool: "a truth value", int: "a number", float: "a number", str: "a text", type(None): "nothing (None)"}
        return names.get(type(value), f"a value of type {kind_of(value)}")

    def bind(self, function: Function, arguments: Sequence[Any], named: Mapping[str, Any]) -> Frame:
        """The frame of a call whose arguments are not simply one a parameter."""
        names = function.names
        frame: Frame = dict(zip(names[len(names) - len(function.defaults) :], function.defaults, strict=True))
        given = dict(zip(names, arguments, strict=False))
        rest = tuple(arguments[len(names) :])
        if rest and function.rest is None:
            raise TypeError(f"{function.name}() is called with arguments that it does not have")
        others = {}
        for name, value in named.items():
            if name in given or (name not in names and name not in function.keywords and function.others is None):
                raise TypeError(f"{function.name}() is called with arguments that it does not have")
            if name in names or name in function.keywords:
                given[name] = value
            else:
                others[name] = value
        frame |= {k: v for k, v in function.keywords.items() if v is not REQUIRED}
        frame |= given
        if not all(name in frame for name in (*names, *function.keywords)):
            raise TypeError(f"{function.name}() is called with too few arguments")
        if function.rest is not None:
            frame[function.rest] = rest
        if function.others is not None:
            frame[function.others] = others
        return frame

    def create(self, kind: Class, arguments: Sequence[Any], named: Mapping[str, Any]) -> Instance:
        """A new object of a program's class."""
        made = Instance(kind, {})
        if "__init__" in kind.members:
            self.call(kind.members["__init__"], [made, *arguments], named)
            return made
        fields = kind.fields or {}
        given = dict(zip(fields, arguments, strict=False)) | dict(named)
        if len(arguments) > len(fields) or set(given) - set(fields):
            raise TypeError(f"{kind.name}() is called with arguments that it does not have")
        for name, default in fields.items():
            if name in given:
                made.values[name] = given[name]
            elif default is REQUIRED:
                raise TypeError(f"{kind.name}() is called with too few arguments")
            else:
                made.values[name] = self.call(default.function, []) if type(default) is Wrapped else default
        if "__post_init__" in kind.members:
            self.call(kind.members["__post_init__"], [made])
        return made

    # ---- texts

    def show(self, value: Any, quoted: bool = False) -> str:
        """A value as text, as Python writes it, as long as it stays within the size of a text."""
        kind = type(value)
        if kind is str:
            if quoted:
                self.room(len(value))
            return repr(value) if quoted else value
        if kind is int:
            bits = value.bit_length()
            self.charge(bits * bits >> 20)
            return str(value)
        if kind in ATOMS:
            return str(value)
        if kind in CONTAINERS:
            length, plain = self.weigh(value)
            self.room(length)
            return repr(value) if plain else self._shown(value)
        if kind in NUMBERS or kind in DATES or kind is range:
            return repr(value) if quoted else str(value)
        if isinstance(value, BaseException):
            return self._error(value, quoted)
        if kind is Instance:
            return self._object(value, quoted)
        if kind in (Type, Class):
            return f"<class '{'__main__.' if kind is Class else ''}{value.name}'>"
        return f"<{kind_of(value)} {getattr(value, 'name', 'object')}>"

    def _error(self, value: BaseException, quoted: bool) -> str:
        self.native += NATIVE // DEEP
        try:
            if self.native > NATIVE:
                self.refuse("an error is nested too deeply to be written")
            if len(value.args) == 1 and not quoted and not isinstance(value, KeyError):
                return self.show(value.args[0])
            inner = ", ".join([self.show(one, True) for one in value.args])
        finally:
            self.native -= NATIVE // DEEP
        if quoted:
            return f"{type(value).__name__}({inner})"
        return f"({inner})" if len(value.args) > 1 else inner

    def _object(self, value: Instance, quoted: bool) -> str:
        members = value.kind.members
        for name in ("__repr__",) if quoted else ("__str__", "__repr__"):
            if name in members:
                text = self.apply(members[name], value)
                if type(text) is not str:
                    raise TypeError(f"{name} returned non-string (type {kind_of(text)})")
                return text
        if value.kind.fields is not None:
            # An object may hold itself.
            self.native += NATIVE // DEEP
            try:
                if self.native > NATIVE:
                    self.refuse("an object is nested too deeply to be written")
                shown = [f"{k}={self.show(v, True)}" for k, v in value.values.items() if k in value.kind.fields]
            finally:
                self.native -= NATIVE // DEEP
            return f"{value.kind.name}({', '.join(shown)})"
        return f"<{value.kind.name} object>"

    def _shown(self, value: Any, left: int = DEEP) -> str:
        """A container that holds functions, objects and their like."""
        kind = type(value)
        if kind not in CONTAINERS:
            return self.show(value, True)
        if left == 0:
            self.refuse(f"lists are nested more than {DEEP} levels deep")
        pairs = kind in DICTS
        items = value.items() if pairs else value
        parts: list[str] = []
        total = 0
        for one in list(items):
            text = (
                f"{self._shown(one[0], left - 1)}: {self._shown(one[1], left - 1)}"
                if pairs
                else self._shown(one, left - 1)
            )
            total += len(text) + 2
            self.room(total)
            parts.append(text)
        body = ", ".join(parts)
        if kind is DefaultDict:
            return f"defaultdict({self.show(value.factory, True)}, {{{body}}})"
        if kind is tuple:
            return f"({body}{',' if len(parts) == 1 else ''})"
        if kind in (dict, set) and parts:
            return f"{{{body}}}"
        return f"[{body}]" if kind is list else f"{kind.__name__}([{body}])"

    def write(self, text: str) -> None:
        """Prints."""
        self.length += len(text)
        if self.length > self.limits.output:
            self.refuse(f"the program prints more than {self.limits.output:,} characters")
        self.printed.append(text)


NAMED = frozenset({Function, Builtin, Type, Class, Module, Bound, Stream, Wrapped})
