"""The functions and types that every program has."""

from __future__ import annotations

import ast
import decimal
import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Any, NoReturn

from srm_utils.inference.sandbox import formats
from srm_utils.inference.sandbox.machine import CALLABLE, CONTAINERS, DICTS, NATIVE, NUMBERS, NUMERIC, WIDE, Machine
from srm_utils.inference.sandbox.methods import in_order, pairs
from srm_utils.inference.sandbox.values import Builtin, Class, Instance, Stream, Type, Wrapped, kind_of

#: The errors that a program may raise and catch.
ERRORS: dict[str, type[Exception]] = {
    one.__name__: one
    for one in (
        Exception, ArithmeticError, ZeroDivisionError, OverflowError, FloatingPointError, ValueError, TypeError,
        LookupError, IndexError, KeyError, NameError, UnboundLocalError, AttributeError, AssertionError, RuntimeError,
        NotImplementedError, StopIteration, EOFError, ImportError, ModuleNotFoundError, OSError, FileNotFoundError,
        UnicodeError,
    )
}  # fmt: skip
#: An error's name and what it stands for where no program can raise it.
RENAMED = {"BaseException": Exception, "IOError": OSError, "RecursionError": RuntimeError, "MemoryError": RuntimeError}


class Functions:
    """The functions of one machine, by name."""

    def __init__(self, machine: Machine) -> None:
        self.m = machine
        self.types: dict[type, Type] = {}
        functions = {
            name.removeprefix("_f_"): Builtin(name.removeprefix("_f_"), getattr(self, name))
            for name in dir(Functions)
            if name.startswith("_f_")
        }
        types = {
            "int": (self._int, (int, bool)), "float": (self._float, (float,)), "str": (self._str, (str,)),
            "bool": (self._bool, (bool,)), "list": (self._list, (list,)), "tuple": (self._tuple, (tuple,)),
            "dict": (self._dict, tuple(DICTS)), "set": (self._set, (set,)), "frozenset": (self._frozen, (frozenset,)),
            "range": (self._range, (range,)),
        }  # fmt: skip
        self.names: dict[str, Any] = dict(functions)
        for name, (call, python) in types.items():
            made = self.names[name] = Type(name, call, python)
            self.types[{"dict": dict, "int": int}.get(name, python[0])] = made
        self.names["dict"].members["fromkeys"] = Builtin("fromkeys", self._fromkeys)
        self.names["str"].members["maketrans"] = Builtin("maketrans", self._maketrans)
        for name, error in (ERRORS | RENAMED).items():
            self.names[name] = Type(name, self.error(error), (error,))
            self.types.setdefault(error, self.names[name])
        self.names["object"] = Type("object", self._object, ())
        self.none = Type("NoneType", self._object, (type(None),))
        for how in ("staticmethod", "classmethod", "property"):
            self.names[how] = Builtin(how, lambda function, how=how: Wrapped(how, function))

    # ---- printing and asking

    def _f_print(self, *values: Any, sep: Any = " ", end: Any = "\n", flush: Any = False) -> None:
        sep = " " if sep is None else sep
        end = "\n" if end is None else end
        if not (isinstance(sep, str) and isinstance(end, str)):
            raise TypeError("print() takes texts for sep and end")
        for i, value in enumerate(values):
            self.m.write((sep if i else "") + self.m.show(value))
        self.m.write(end)

    def _f_input(self, *_: Any) -> NoReturn:
        raise OSError("a program has nobody to ask with input(); its numbers have to stand in it")

    # ---- numbers

    def _f_abs(self, value: Any) -> Any:
        return self.m.number(abs(value)) if type(value) in NUMBERS else abs(value)

    def _f_round(self, number: Any, ndigits: Any = None) -> Any:
        # round(5, -10**9) would build ten to the billionth.
        if type(ndigits) is int and abs(ndigits) > 1000:
            self.m.refuse("a number is rounded to at most 1,000 places")
        if type(number) not in NUMBERS:
            raise TypeError(f"type {kind_of(number)} doesn't define __round__ method")
        return self.m.number(round(number) if ndigits is None else round(number, ndigits))

    def _f_divmod(self, a: Any, b: Any) -> tuple[Any, Any]:
        return self.m.combine(ast.FloorDiv, a, b), self.m.combine(ast.Mod, a, b)

    def _f_pow(self, base: Any, exp: Any, mod: Any = None) -> Any:
        if mod is None:
            return self.m.combine(ast.Pow, base, exp)
        if not all(isinstance(n, int) for n in (base, exp, mod)):
            raise TypeError("pow() with a modulus takes three whole numbers")
        self.m.charge(exp.bit_length() * (mod.bit_length() ** 2 + (1 << 10)) >> 14)
        return pow(base, exp, mod)

    def _f_sum(self, iterable: Any, /, start: Any = 0) -> Any:
        if type(iterable) is range and type(start) in NUMERIC:
            self.m.charge(len(iterable))
            return self.m.number(sum(iterable, start))
        values = self.m.listed(iterable)
        if type(start) in NUMERIC and NUMERIC.issuperset(map(type, values)):
            if values and not (-WIDE < min(values) and max(values) < WIDE):
                self.m.charge(sum([self.m.bits(one) for one in values]) >> 7)
            return self.m.number(sum(values, start))
        if type(start) is str:
            raise TypeError("sum() can't sum strings [use ''.join(seq) instead]")
        for one in values:
            start = self.m.combine(ast.Add, start, one)
        return start

    def _f_min(self, *values: Any, **how: Any) -> Any:
        return self._extreme("min", values, **how)

    def _f_max(self, *values: Any, **how: Any) -> Any:
        return self._extreme("max", values, **how)

    def _extreme(self, name: str, values: tuple[Any, ...], key: Any = None, **default: Any) -> Any:
        if not values:
            raise TypeError(f"{name} expected at least 1 argument, got 0")
        candidates = self.m.listed(values[0]) if len(values) == 1 else list(values)
        if not candidates:
            if "default" in default:
                return default["default"]
            raise ValueError(f"{name}() arg is an empty sequence")
        weights = candidates if key is None else [self.m.apply(key, one) for one in candidates]
        if NUMBERS.issuperset(map(type, weights)):
            best = (min if name == "min" else max)(range(len(weights)), key=weights.__getitem__)
            return candidates[best]
        best = 0
        for i in range(1, len(weights)):
            if self.m.compare(ast.Lt if name == "min" else ast.Gt, weights[i], weights[best]):
                best = i
        return candidates[best]

    # ---- items

    def _f_len(self, obj: Any, /) -> int:
        kind = type(obj)
        if kind in CONTAINERS or kind in (str, range):
            return len(obj)
        if kind is Instance and "__len__" in obj.kind.members:
            return int(self.m.apply(obj.kind.members["__len__"], obj))
        raise TypeError(f"object of type '{kind_of(obj)}' has no len()")

    def _f_sorted(self, iterable: Any, /, *, key: Any = None, reverse: Any = False) -> list[Any]:
        return in_order(self.m, self.m.listed(iterable), key, reverse)

    def _f_reversed(self, sequence: Any, /) -> Stream:
        if type(sequence) not in (list, tuple, str, range) and type(sequence) not in CONTAINERS:
            raise TypeError(f"'{kind_of(sequence)}' object is not reversible")
        return Stream(reversed(sequence if type(sequence) in (list, range) else self.m.listed(sequence)))

    def _f_enumerate(self, iterable: Any, start: int = 0) -> Stream:
        if type(start) not in (int, bool):
            raise TypeError(f"'{kind_of(start)}' object cannot be interpreted as an integer")
        return self.stream(enumerate(self.m.iterate(iterable), start))

    def _f_zip(self, *iterables: Any, strict: Any = False) -> Stream:
        return self.stream(zip(*[self.m.iterate(v) for v in iterables], strict=bool(strict)))

    def _f_map(self, function: Any, /, *iterables: Any) -> Stream:
        if not iterables:
            raise TypeError("map() must have at least two arguments.")
        sources = zip(*[self.m.iterate(v) for v in iterables], strict=False)
        return self.stream(self.m.apply(function, *values) for values in sources)

    def _f_filter(self, function: Any, iterable: Any, /) -> Stream:
        source = self.m.iterate(iterable)
        return self.stream(one for one in source if self._kept(function, one))

    def _kept(self, function: Any, value: Any) -> bool:
        self.m.charge()
        return bool(value) if function is None else bool(self.m.apply(function, value))

    def stream(self, items: Iterator[Any]) -> Stream:
        """Items that are made as they are asked for; Python's stack is charged while one is made."""
        machine = self.m

        def counted() -> Iterator[Any]:
            while True:
                machine.left -= 2
                if machine.left < 0:
                    machine.over()
                machine.native += 4
                try:
                    if machine.native > NATIVE:
                        machine.refuse("generators are nested too deeply")
                    one = next(items, counted)
                finally:
                    machine.native -= 4
                if one is counted:
                    return
                if type(one) is tuple:
                    machine.left -= len(one) >> 3
                yield one

        return Stream(counted())

    def _f_iter(self, iterable: Any, /) -> Stream:
        return Stream(self.m.iterate(iterable))

    def _f_next(self, iterator: Any, /, *default: Any) -> Any:
        if type(iterator) is not Stream:
            raise TypeError(f"'{kind_of(iterator)}' object is not an iterator")
        for one in iterator.items:
            return one
        if default:
            return default[0]
        raise StopIteration

    def _f_any(self, iterable: Any, /) -> bool:
        for one in self.m.iterate(iterable):
            self.m.charge()
            if one:
                return True
        return False

    def _f_all(self, iterable: Any, /) -> bool:
        for one in self.m.iterate(iterable):
            self.m.charge()
            if not one:
                return False
        return True

    # ---- texts

    def _f_chr(self, i: Any, /) -> str:
        return chr(i)

    def _f_ord(self, c: Any, /) -> int:
        if type(c) is not str:
            raise TypeError(f"ord() expected string of length 1, but {kind_of(c)} found")
        return ord(c)

    def _f_bin(self, number: Any, /) -> str:
        return bin(number) if type(number) in (int, bool) else self._no_whole(number)

    def _f_hex(self, number: Any, /) -> str:
        return hex(number) if type(number) in (int, bool) else self._no_whole(number)

    def _f_oct(self, number: Any, /) -> str:
        return oct(number) if type(number) in (int, bool) else self._no_whole(number)

    def _no_whole(self, value: Any) -> NoReturn:
        raise TypeError(f"'{kind_of(value)}' object cannot be interpreted as an integer")

    def _f_repr(self, obj: Any, /) -> str:
        return self.m.show(obj, True)

    def _f_format(self, value: Any, format_spec: str = "", /) -> str:
        if type(format_spec) is not str:
            raise TypeError(f"format() argument 2 must be str, not {kind_of(format_spec)}")
        return formats.formatted(self.m, value, format_spec)

    # ---- types

    def _f_isinstance(self, obj: Any, kinds: Any, /) -> bool:
        for kind in kinds if type(kinds) is tuple else (kinds,):
            if type(kind) is Class:
                if type(obj) is Instance and obj.kind is kind:
                    return True
            elif type(kind) is Type:
                if kind.name == "object" or isinstance(obj, kind.python):
                    return True
            else:
                raise TypeError("isinstance() arg 2 must be a type, a tuple of types, or a union")
        return False

    def _f_type(self, obj: Any, /) -> Any:
        if type(obj) is Instance:
            return obj.kind
        if obj is None:
            return self.none
        made = self.types.get(type(obj))
        if made is None:
            made = self.types[type(obj)] = Type(kind_of(obj), self._object, ())
        return made

    def _f_callable(self, obj: Any, /) -> bool:
        return isinstance(obj, CALLABLE)

    def _object(self, *_: Any) -> NoReturn:
        raise TypeError("cannot create instances of this type")

    def error(self, kind: type[Exception]) -> Callable[..., Exception]:
        return lambda *arguments: kind(*arguments)

    def _int(self, value: Any = 0, /, base: Any = None) -> int:
        if type(value) is str:
            self.m.room(len(value))
            if len(value) > self.m.limits.bits:
                self.m.too_long()
            self.m.charge(len(value) ** 2 >> 12)
            return int(self.m.number(int(value) if base is None else int(value, base)))
        if base is not None:
            raise TypeError("int() can't convert non-string with explicit base")
        if type(value) not in NUMBERS:
            raise TypeError(
                f"int() argument must be a string, a bytes-like object or a real number, not '{kind_of(value)}'"
            )
        return int(self.m.number(int(self.m.number(value))))

    def _float(self, value: Any = 0.0, /) -> float:
        if type(value) is str:
            self.m.room(len(value))
        elif type(value) not in NUMBERS:
            raise TypeError(f"float() argument must be a string or a real number, not '{kind_of(value)}'")
        return float(value)

    def _str(self, value: Any = "", /) -> str:
        return self.m.show(value)

    def _bool(self, value: Any = False, /) -> bool:
        return bool(value)

    def _list(self, values: Any = (), /) -> list[Any]:
        return self.m.listed(values)

    def _tuple(self, values: Any = (), /) -> tuple[Any, ...]:
        return tuple(self.m.listed(values))

    def _set(self, values: Any = (), /) -> set[Any]:
        if type(values) in (set, frozenset):
            self.m.room(len(values))
            return set(values)
        return {self.m.key(one) for one in self.m.listed(values)}

    def _frozen(self, values: Any = (), /) -> frozenset[Any]:
        return frozenset(self._set(values))

    def _dict(self, values: Any = (), /, **named: Any) -> dict[Any, Any]:
        if type(values) in DICTS:
            self.m.room(len(values))
            return dict(values) | named
        return dict(pairs(self.m, self.m.listed(values))) | named

    def _fromkeys(self, values: Any, value: Any = None, /) -> dict[Any, Any]:
        return dict.fromkeys([self.m.key(one) for one in self.m.listed(values)], value)

    def _maketrans(self, first: Any, *more: Any) -> dict[int, Any]:
        for one in (first, *more):
            if type(one) is dict:
                self.m.weigh(one)
            elif type(one) is str:
                self.m.room(len(one))
            else:
                raise TypeError("maketrans() takes texts, or one dictionary")
        return str.maketrans(first, *more)

    def _range(self, *ends: Any) -> range:
        out = range(*ends)
        for end in ends:
            self.m.number(end)
        return out


def fraction(machine: Machine, value: Any = 0, denominator: Any = None) -> Fraction:
    """`Fraction(...)`; a text has to be short, for 1e999999 is a long one."""
    if type(value) is str:
        if len(value) > 1000 or re.search(r"[eE][-+]?\d{4}", value):
            machine.too_long()
    elif type(value) not in NUMBERS or (denominator is not None and type(denominator) not in NUMBERS):
        raise TypeError("both arguments should be Rational instances")
    machine.number(value)
    made = Fraction(value) if denominator is None else Fraction(value, denominator)
    return machine.number(made)


def decimal_(machine: Machine, value: Any = 0) -> Decimal:
    """`Decimal(...)`, of at most 1,000 digits before and after its point."""
    if type(value) is str:
        machine.room(len(value))
    elif type(value) not in NUMBERS or type(value) is Fraction:
        raise TypeError(f"conversion from {kind_of(value)} to Decimal is not supported")
    try:
        return machine.number(Decimal(value))
    except decimal.InvalidOperation:
        raise ValueError(f"{str(value)[:40]!r} is no decimal number") from None
