"""The modules that a program can import: a few functions of each, bounded as everything else is.

`members` gives what a module has for one machine. A module that is known but not served has no members; its
import does nothing, as it mostly stands unused, and its first use is refused.
"""

from __future__ import annotations

import ast
import bisect
import calendar
import datetime
import decimal
import heapq
import itertools
import math
import random
import statistics
import string
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Any

from srm_utils.inference.sandbox.functions import Functions, decimal_, fraction
from srm_utils.inference.sandbox.machine import ARITHMETIC, COMPARISONS, DICTS, NUMBERS, NUMERIC, Machine
from srm_utils.inference.sandbox.methods import moved
from srm_utils.inference.sandbox.patterns import patterns
from srm_utils.inference.sandbox.values import (
    REQUIRED,
    Builtin,
    Class,
    DefaultDict,
    Instance,
    Module,
    Span,
    Type,
    Wrapped,
    kind_of,
)  # fmt: skip

#: Modules that models import by habit and seldom use: their import does nothing.
KNOWN = frozenset(
    """__future__ sympy sympy.abc sympy.solvers scipy scipy.stats scipy.optimize scipy.special pandas matplotlib
    matplotlib.pyplot time json numbers types abc enum pprint textwrap timeit doctest unittest logging warnings
    traceback cmath array collections.abc typing_extensions dateutil numpy.random tqdm pytest networkx pulp
    seaborn""".split()
)


def _numbers(m: Machine, name: str, function: Callable[..., Any]) -> Builtin:
    """A function of numbers that takes constant time."""

    def call(*arguments: Any) -> Any:
        for one in arguments:
            if type(one) not in NUMBERS:
                raise TypeError(f"must be real number, not {kind_of(one)}")
        return m.number(function(*arguments))

    return Builtin(name, call)


def _of(m: Machine, source: Any, names: str) -> dict[str, Any]:
    return {name: _numbers(m, name, getattr(source, name)) for name in names.split() if hasattr(source, name)}


def _named(functions: dict[str, Callable[..., Any]]) -> dict[str, Any]:
    return {name: Builtin(name, call) for name, call in functions.items()}


def _math(m: Machine, f: Functions) -> dict[str, Any]:
    def bounded(bits: float) -> None:
        if bits > m.limits.bits:
            m.too_long()
        m.charge(int(bits * bits) >> 20)

    def chosen(n: Any, k: Any) -> float:
        if type(n) not in (int, bool) or type(k) not in (int, bool):
            raise TypeError("a number of choices is counted of whole numbers only")
        if min(n, k) < 0:
            raise ValueError("a number of choices is counted of whole numbers from 0 on only")
        return k * math.log2(max(n, 2)) if k <= n else 0

    def factorial(n: Any) -> int:
        if type(n) not in (int, bool):
            raise TypeError(f"'{kind_of(n)}' object cannot be interpreted as an integer")
        bounded(n * math.log2(n) if n > 1 else 0)
        return math.factorial(n)

    def comb(n: Any, k: Any) -> int:
        bounded(min(chosen(n, k), chosen(n, max(n - k, 0)) if k <= n else 0))
        return math.comb(n, k)

    def perm(n: Any, k: Any = None) -> int:
        if k is None:
            return factorial(n)
        bounded(chosen(n, k))
        return math.perm(n, k)

    def whole(name: str) -> Callable[..., int]:
        def call(*values: Any) -> int:
            if not all(type(v) in (int, bool) for v in values):
                raise TypeError("a divisor or multiple is common to whole numbers only")
            bounded(sum(v.bit_length() for v in values) if name == "lcm" else 0)
            m.charge(sum(v.bit_length() for v in values) ** 2 >> 17)
            return int(m.number(getattr(math, name)(*values)))

        return call

    def prod(values: Any, *, start: Any = 1) -> Any:
        for one in m.listed(values):
            start = m.combine(ast.Mult, start, one)
        return start

    def isqrt(n: Any) -> int:
        m.charge(m.bits(n) ** 2 >> 17)
        return math.isqrt(n)

    def isclose(a: Any, b: Any, *, rel_tol: float = 1e-09, abs_tol: float = 0.0) -> bool:
        return math.isclose(a, b, rel_tol=rel_tol, abs_tol=abs_tol)

    return _of(
        m,
        math,
        "sqrt floor ceil pow exp exp2 expm1 log log2 log10 log1p sin cos tan asin acos atan atan2 sinh cosh tanh asinh "
        "acosh atanh hypot degrees radians fabs fmod trunc isnan isinf isfinite copysign cbrt modf remainder gamma "
        "lgamma erf erfc ldexp frexp",
    ) | _named(
        {
            "factorial": factorial, "comb": comb, "perm": perm, "gcd": whole("gcd"), "lcm": whole("lcm"), "prod": prod,
            "isqrt": isqrt, "isclose": isclose, "fsum": lambda values: math.fsum(_numeric(m, values)),
            "dist": lambda p, q: math.dist(_numeric(m, p), _numeric(m, q)),
        }
    ) | {"pi": math.pi, "e": math.e, "tau": math.tau, "inf": math.inf, "nan": math.nan}  # fmt: skip


def _numeric(m: Machine, values: Any) -> list[Any]:
    """The items of a value, all of them numbers."""
    out = m.listed(values)
    for one in out:
        if type(one) not in NUMBERS:
            raise TypeError(f"must be real number, not {kind_of(one)}")
        m.charge()
    return out


def _statistics(m: Machine, f: Functions) -> dict[str, Any]:
    def on(name: str, any_kind: bool = False) -> Callable[..., Any]:
        function = getattr(statistics, name)

        def call(values: Any) -> Any:
            data = [m.key(v) for v in m.listed(values)] if any_kind else _numeric(m, values)
            m.charge(8 * len(data))
            out = function(data)
            return out if any_kind else m.number(out)

        return call

    names = "mean fmean median median_low median_high stdev pstdev variance pvariance geometric_mean harmonic_mean"
    return _named({name: on(name) for name in names.split()} | {n: on(n, True) for n in ("mode", "multimode")}) | {
        "StatisticsError": Type("StatisticsError", f.error(ValueError), (statistics.StatisticsError,))
    }


def _fractions(m: Machine, f: Functions) -> dict[str, Any]:
    made = f.types.setdefault(Fraction, Type("Fraction", lambda *a: fraction(m, *a), (Fraction,)))
    return {"Fraction": made, "gcd": _math(m, f)["gcd"]}


def _decimal(m: Machine, f: Functions) -> dict[str, Any]:
    made = f.types.setdefault(Decimal, Type("Decimal", lambda *a: decimal_(m, *a), (Decimal,)))
    rounding = {name: getattr(decimal, name) for name in dir(decimal) if name.startswith("ROUND_")}
    context = Class("Context", {})

    def getcontext() -> Any:
        return Instance(context, {"prec": decimal.getcontext().prec})

    def changed(_: Any, name: str, value: Any) -> None:
        if name != "prec" or type(value) is not int or not 1 <= value <= 1000:
            m.outside("This setting of decimal numbers")
        decimal.getcontext().prec = value

    context.members["__setattr__"] = Builtin("__setattr__", changed)
    return {"Decimal": made, "getcontext": Builtin("getcontext", getcontext)} | rounding


def _datetime(m: Machine, f: Functions) -> dict[str, Any]:
    def made(kind: Any) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            if any(type(one) not in (int, float, bool) for one in (*arguments, *named.values())):
                raise TypeError(f"{kind.__name__}() takes numbers")
            return kind(*arguments, **named)

        return call

    def parsed(text: Any, form: Any) -> datetime.datetime:
        if type(text) is not str or type(form) is not str or max(len(text), len(form)) > 200:
            raise TypeError("strptime() takes a short text and its format")
        return datetime.datetime.strptime(text, form)

    def today(*_: Any) -> Any:
        m.outside("Today's date")

    kinds = (datetime.date, datetime.datetime, datetime.timedelta, datetime.time)
    types = {kind.__name__: Type(kind.__name__, made(kind), (kind,)) for kind in kinds}
    for name, kind in types.items():
        kind = types[name] = f.types.setdefault(kind.python[0], kind)
        if name in ("date", "datetime"):
            python: Any = kind.python[0]
            kind.members |= _named({
                "today": today, "now": today, "utcnow": today,
                "fromisoformat": lambda text, p=python: p.fromisoformat(text),
                "fromordinal": lambda n, p=python: p.fromordinal(n),
                "strptime": parsed,
                "combine": lambda day, at: datetime.datetime.combine(day, at),
            }) | {"min": python.min, "max": python.max}  # fmt: skip
    return {**types, "MINYEAR": 1, "MAXYEAR": 9999}


def _relativedelta(m: Machine, f: Functions) -> dict[str, Any]:
    def call(*dates: Any, **named: Any) -> Span:
        if dates:
            return _between(*dates)
        plural = {"years": 0, "months": 0, "weeks": 0, "days": 0}
        fixed = []
        for name, value in named.items():
            if type(value) is not int or abs(value) > 10**7 or name not in (*plural, "year", "month", "day"):
                raise TypeError("relativedelta() takes whole years, months, weeks and days")
            if name in plural:
                plural[name] = value
            else:
                fixed.append((name, value))
        return Span(12 * plural["years"] + plural["months"], 7 * plural["weeks"] + plural["days"], tuple(fixed))

    return {"relativedelta": f.types.setdefault(Span, Type("relativedelta", call, (Span,)))}


def _between(later: Any, earlier: Any) -> Span:
    """The whole months and the days from one date to another."""
    if not (isinstance(later, datetime.date) and isinstance(earlier, datetime.date)):
        raise TypeError("relativedelta() takes two dates")
    months = (later.year - earlier.year) * 12 + later.month - earlier.month
    step = 1 if later < earlier else -1
    while (moved(earlier, Span(months)) > later) if step < 0 else (moved(earlier, Span(months)) < later):
        months += step
    return Span(months, (later - moved(earlier, Span(months))).days)


def _calendar(m: Machine, f: Functions) -> dict[str, Any]:
    names = {name: list(getattr(calendar, name)) for name in ("month_name", "month_abbr", "day_name", "day_abbr")}
    return _of(m, calendar, "isleap leapdays monthrange weekday") | names


def _collections(m: Machine, f: Functions) -> dict[str, Any]:
    def counter(values: Any = (), /, **named: Any) -> Counter[Any]:
        if type(values) in DICTS:
            m.room(len(values))
            return Counter(values, **named)
        return Counter([m.key(one) for one in m.listed(values)], **named)

    def default(factory: Any = None, /, *rest: Any, **named: Any) -> DefaultDict:
        made = DefaultDict(f._dict(*rest, **named))
        made.factory = factory
        return made

    def deck(values: Any = (), maxlen: int | None = None) -> deque[Any]:
        return deque(m.listed(values), maxlen)

    def namedtuple(name: Any, fields: Any, *_: Any) -> Class:
        names = fields.replace(",", " ").split() if type(fields) is str else m.listed(fields)
        if not all(type(one) is str and one.isidentifier() and not one.startswith("_") for one in names):
            raise ValueError("Type names and field names must be valid identifiers")
        return Class(name if type(name) is str else "tuple", {}, dict.fromkeys(names, REQUIRED))

    made = {
        Counter: Type("Counter", counter, (Counter,)), DefaultDict: Type("defaultdict", default, (DefaultDict,)),
        deque: Type("deque", deck, (deque,)),
        OrderedDict: Type("OrderedDict", lambda *a, **k: OrderedDict(f._dict(*a, **k)), (OrderedDict,)),
    }  # fmt: skip
    types = {kind.name: f.types.setdefault(python, kind) for python, kind in made.items()}
    return types | {"namedtuple": Builtin("namedtuple", namedtuple)}


def _itertools(m: Machine, f: Functions) -> dict[str, Any]:
    def lists(values: tuple[Any, ...]) -> list[list[Any]]:
        return [m.listed(v) for v in values]

    def small(n: Any) -> int:
        if type(n) not in (int, bool):
            raise TypeError(f"'{kind_of(n)}' object cannot be interpreted as an integer")
        m.room(n)
        return n

    def product(*values: Any, repeat: int = 1) -> Iterator[Any]:
        # Python would copy its sources so many times at once.
        if small(repeat) * len(values) > 1000:
            m.refuse("a product is taken of too many lists")
        return itertools.product(*lists(values), repeat=repeat)

    def chosen(name: str) -> Callable[..., Iterator[Any]]:
        def call(values: Any, r: Any = None) -> Iterator[Any]:
            found = m.listed(values)
            if r is None and name != "permutations":
                raise TypeError(f"{name}() cannot be called with these arguments")
            return getattr(itertools, name)(found, *([] if r is None else [small(r)]))

        return call

    def accumulate(values: Any, func: Any = None, *, initial: Any = None) -> Iterator[Any]:
        def add(a: Any, b: Any) -> Any:
            return m.combine(ast.Add, a, b) if func is None else m.apply(func, a, b)

        return itertools.accumulate(m.iterate(values), add, initial=initial)

    def groupby(values: Any, key: Any = None) -> Iterator[Any]:
        groups: list[tuple[Any, Any]] = []
        for one in m.listed(values):
            name = one if key is None else m.apply(key, one)
            if not groups or not m.compare(ast.Eq, groups[-1][0], name):
                groups.append((name, []))
            groups[-1][1].append(one)
        return iter([(name, f._f_iter(group)) for name, group in groups])

    def chained(sources: Iterator[Any]) -> Iterator[Any]:
        for source in sources:
            m.charge()
            yield from m.iterate(source)

    def cycle(values: Any) -> Iterator[Any]:
        return itertools.cycle(m.listed(values))

    def test(function: Any) -> Callable[[Any], bool]:
        return lambda value: bool(m.apply(function, value))

    def sliced(values: Any, *ends: Any) -> Iterator[Any]:
        # What is skipped is charged as what is taken.
        return itertools.islice(f.stream(m.iterate(values)).items, *ends)

    makers: dict[str, Callable[..., Iterator[Any]]] = {
        "product": product, "permutations": chosen("permutations"), "combinations": chosen("combinations"),
        "combinations_with_replacement": chosen("combinations_with_replacement"), "accumulate": accumulate,
        "groupby": groupby, "cycle": cycle, "islice": sliced,
        "chain": lambda *values: chained(iter(values)),
        "count": lambda start=0, step=1: _counted(m, start, step),
        "repeat": lambda value, times=None: itertools.repeat(value, *([] if times is None else [times])),
        "zip_longest": lambda *values, fillvalue=None: itertools.zip_longest(
            *[m.iterate(v) for v in values], fillvalue=fillvalue
        ),
        "takewhile": lambda function, values: itertools.takewhile(test(function), m.iterate(values)),
        "dropwhile": lambda function, values: itertools.dropwhile(test(function), f.stream(m.iterate(values)).items),
        "filterfalse": lambda function, values: itertools.filterfalse(
            test(function) if function is not None else None, f.stream(m.iterate(values)).items
        ),
        "starmap": lambda function, values: (m.apply(function, *m.listed(v)) for v in m.iterate(values)),
        "pairwise": lambda values: itertools.pairwise(m.iterate(values)),
        "compress": lambda values, kept: itertools.compress(f.stream(m.iterate(values)).items, m.iterate(kept)),
    }  # fmt: skip

    def streamed(make: Callable[..., Iterator[Any]]) -> Callable[..., Any]:
        return lambda *arguments, **named: f.stream(make(*arguments, **named))

    made = {name: Type(name, streamed(make), ()) for name, make in makers.items()}
    made["chain"].members["from_iterable"] = Builtin(
        "from_iterable", lambda values: f.stream(chained(m.iterate(values)))
    )
    return dict(made)


def _counted(m: Machine, start: Any, step: Any) -> Iterator[Any]:
    if type(start) is int and type(step) is int:
        # One addition an item: the numbers stay short for as long as the steps last.
        yield from itertools.count(m.number(start), m.number(step))
    while True:
        yield start
        start = m.combine(ast.Add, start, step)


def _functools(m: Machine, f: Functions) -> dict[str, Any]:
    def reduce(function: Any, values: Any, *initial: Any) -> Any:
        items = [*initial, *m.listed(values)]
        if not items:
            raise TypeError("reduce() of empty iterable with no initial value")
        total = items[0]
        for one in items[1:]:
            total = m.apply(function, total, one)
        return total

    def cached(function: Any) -> Builtin:
        known: dict[Any, Any] = {}

        def call(*arguments: Any, **named: Any) -> Any:
            key = m.key((arguments, tuple(named.items())))
            if key not in known:
                # A function that calls itself goes through Python's own stack here.
                m.native += 1
                try:
                    if m.native > 4 * m.limits.calls:
                        m.refuse(f"functions call one another more than {m.limits.calls:,} deep")
                    known[key] = m.call(function, arguments, named)
                finally:
                    m.native -= 1
            return known[key]

        return Builtin(getattr(function, "name", "function"), call)

    def lru_cache(maxsize: Any = 128, typed: Any = False) -> Builtin:
        return cached(maxsize) if not isinstance(maxsize, int | None) else Builtin("lru_cache", cached)

    def partial(function: Any, /, *first: Any, **preset: Any) -> Builtin:
        return Builtin("partial", lambda *rest, **named: m.call(function, [*first, *rest], preset | named))

    def cmp_to_key(function: Any) -> Builtin:
        kind = Class("K", {})

        def before(a: Any, b: Any) -> Any:
            return m.apply(function, a.values["obj"], b.values["obj"]) < 0

        kind.members["__lt__"] = Builtin("__lt__", before)

        def made(value: Any) -> Any:
            return Instance(kind, {"obj": value})

        return Builtin("K", made)

    return _named(
        {
            "reduce": reduce, "cache": cached, "lru_cache": lru_cache, "partial": partial, "cmp_to_key": cmp_to_key,
            "wraps": lambda _: Builtin("wraps", lambda function: function),
        }
    )  # fmt: skip


def _operator(m: Machine, f: Functions) -> dict[str, Any]:
    def getter(*keys: Any) -> Builtin:
        def call(value: Any) -> Any:
            found = tuple([m.item(value, key) for key in keys])
            return found[0] if len(keys) == 1 else found

        return Builtin("itemgetter", call)

    def attribute(name: Any) -> Builtin:
        if type(name) is not str or not name.isidentifier() or name.startswith("_"):
            m.outside("This attribute")
        return Builtin("attrgetter", lambda value: m.attribute(value, name))

    names = {"add": ast.Add, "sub": ast.Sub, "mul": ast.Mult, "truediv": ast.Div, "floordiv": ast.FloorDiv,
             "mod": ast.Mod, "pow": ast.Pow, "and_": ast.BitAnd, "or_": ast.BitOr, "xor": ast.BitXor}  # fmt: skip
    orders = {"eq": ast.Eq, "ne": ast.NotEq, "lt": ast.Lt, "le": ast.LtE, "gt": ast.Gt, "ge": ast.GtE}
    assert set(names.values()) <= set(ARITHMETIC) and set(orders.values()) == set(COMPARISONS)
    return _named(
        {name: (lambda a, b, op=op: m.combine(op, a, b)) for name, op in names.items()}
        | {name: (lambda a, b, op=op: m.compare(op, a, b)) for name, op in orders.items()}
        | {"itemgetter": getter, "attrgetter": attribute, "neg": lambda a: m.combine(ast.Mult, a, -1)}
    )


def _heapq(m: Machine, f: Functions) -> dict[str, Any]:
    def heap(held: Any) -> list[Any]:
        if type(held) is not list:
            raise TypeError("heap argument must be a list")
        if not NUMERIC.issuperset(map(type, held)):
            m.weigh(held)
        m.charge(len(held) >> 3)
        return held

    def on(name: str, values: int) -> Callable[..., Any]:
        function = getattr(heapq, name)

        def call(held: Any, *more: Any) -> Any:
            if len(more) != values:
                raise TypeError(f"{name}() cannot be called with these arguments")
            for one in more:
                m.weigh(one)
            return function(heap(held), *more)

        return call

    def most(reverse: bool) -> Callable[..., list[Any]]:
        def call(n: Any, values: Any, key: Any = None) -> list[Any]:
            return f._f_sorted(values, key=key, reverse=reverse)[: max(n, 0)]

        return call

    takes = {"heappush": 1, "heappop": 0, "heapify": 0, "heapreplace": 1, "heappushpop": 1}
    return _named(
        {name: on(name, n) for name, n in takes.items()}
        | {
            "nlargest": most(True), "nsmallest": most(False),
            "merge": lambda *values: f._f_iter(f._f_sorted([x for v in values for x in m.listed(v)])),
        }
    )  # fmt: skip


def _bisect(m: Machine, f: Functions) -> dict[str, Any]:
    def on(name: str) -> Callable[..., Any]:
        function = getattr(bisect, name)

        def call(held: Any, value: Any, *ends: Any) -> Any:
            if type(held) not in (list, tuple) or (type(held) is tuple and name.startswith("insort")):
                raise TypeError(f"{name}() takes a list")
            m.weigh(value)
            m.charge(len(held) >> 6)
            return function(held, value, *ends)

        return call

    return _named(
        {n: on(n) for n in ("bisect", "bisect_left", "bisect_right", "insort", "insort_left", "insort_right")}
    )


def _random(m: Machine, f: Functions) -> dict[str, Any]:
    # Seeded, so that a program prints the same whenever it is run.
    source = random.Random(0)

    def seed(value: Any = None) -> None:
        if type(value) not in (*NUMERIC, str, type(None)):
            raise TypeError("seed() takes a number or a text")
        m.room(len(value) if type(value) is str else 0)
        source.seed(0 if value is None else value)

    def choices(values: Any, weights: Any = None, *, k: int = 1) -> list[Any]:
        m.room(k)
        return source.choices(m.listed(values), None if weights is None else _numeric(m, weights), k=k)

    def shuffle(held: Any) -> None:
        if type(held) is not list:
            raise TypeError("shuffle() takes a list")
        m.charge(len(held))
        source.shuffle(held)

    def sample(values: Any, k: int) -> list[Any]:
        return source.sample(m.listed(values), k)

    return _of(m, source, "random randint uniform randrange gauss normalvariate expovariate") | _named(
        {"seed": seed, "choices": choices, "shuffle": shuffle, "sample": sample,
         "choice": lambda values: m.item(values, source.randrange(f._f_len(values)))}
    )  # fmt: skip


def _numpy(m: Machine, f: Functions) -> dict[str, Any]:
    """The functions of numpy that programs use on plain numbers and lists; there are no arrays."""

    def scalar(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*values: Any) -> Any:
            if any(type(v) not in NUMERIC for v in values):
                m.outside("An array of numpy")
            return m.number(function(*values))

        return call

    def over(function: Callable[[list[Any]], Any]) -> Callable[..., Any]:
        def call(values: Any) -> Any:
            data = m.listed(values)
            if not NUMERIC.issuperset(map(type, data)):
                m.outside("An array of numpy")
            m.charge(8 * len(data))
            return m.number(function(data))

        return call

    def root(x: Any) -> float:
        return math.sqrt(x) if x >= 0 else math.nan

    one: dict[str, Callable[..., Any]] = {
        "sqrt": root, "exp": math.exp, "sin": math.sin, "cos": math.cos, "tan": math.tan, "abs": abs, "absolute": abs,
        "floor": lambda x: float(math.floor(x)), "ceil": lambda x: float(math.ceil(x)), "gcd": math.gcd,
        "lcm": math.lcm, "log": math.log, "log2": math.log2, "log10": math.log10, "radians": math.radians,
        "degrees": math.degrees, "arctan": math.atan, "sign": lambda x: (x > 0) - (x < 0),
        "round": lambda x, n=0: round(float(x), n) if type(x) is float else x,
    }  # fmt: skip
    many: dict[str, Callable[..., Any]] = {
        "sum": sum, "mean": lambda v: math.fsum(v) / len(v), "median": lambda v: float(statistics.median(v)),
        "std": lambda v: statistics.pstdev(map(float, v)), "var": lambda v: statistics.pvariance(map(float, v)),
        "max": max, "min": min,
    }  # fmt: skip
    return (
        _named({name: scalar(call) for name, call in one.items()} | {name: over(call) for name, call in many.items()})
        | {"prod": _math(m, f)["prod"], "pi": math.pi, "e": math.e, "inf": math.inf, "nan": math.nan}
        | {"int64": f.names["int"], "float64": f.names["float"]}
    )


def _copy(m: Machine, f: Functions) -> dict[str, Any]:
    def deep(value: Any) -> Any:
        kind = type(value)
        if kind in (list, tuple, set):
            return kind([deep(one) for one in m.listed(value)])
        if kind is dict:
            m.room(len(value))
            return {k: deep(v) for k, v in value.items()}
        return value

    def deepcopy(value: Any) -> Any:
        m.weigh(value)
        return deep(value)

    def copy(value: Any) -> Any:
        m.weigh(value)
        return value.copy() if type(value) in (list, dict, set) else value

    return _named({"deepcopy": deepcopy, "copy": copy})


def _dataclasses(m: Machine, f: Functions) -> dict[str, Any]:
    def dataclass(kind: Any = None, **_: Any) -> Any:
        if kind is None:
            return Builtin("dataclass", dataclass)
        if type(kind) is not Class:
            raise TypeError("dataclass() takes a class")
        kind.fields = {name: kind.members.get(name, REQUIRED) for name in kind.members.get("__annotations__", ())}
        return kind

    def field(*, default: Any = REQUIRED, default_factory: Any = None, **_: Any) -> Any:
        return default if default_factory is None else Wrapped("factory", default_factory)

    return _named({"dataclass": dataclass, "field": field})


def _string(m: Machine, f: Functions) -> dict[str, Any]:
    names = "ascii_lowercase ascii_uppercase ascii_letters digits punctuation hexdigits whitespace"
    return {name: getattr(string, name) for name in names.split()}


def _sys(m: Machine, f: Functions) -> dict[str, Any]:
    return {"maxsize": 2**63 - 1, "setrecursionlimit": Builtin("setrecursionlimit", lambda depth: None)}


def _typing(m: Machine, f: Functions) -> dict[str, Any]:
    names = "List Dict Set Tuple Optional Union Any Callable Iterable Iterator Sequence Generator NamedTuple TypeVar"
    return {name: Module(f"typing.{name}", {}) for name in names.split()}


_SERVED: dict[str, Callable[[Machine, Functions], dict[str, Any]]] = {
    "math": _math, "statistics": _statistics, "fractions": _fractions, "decimal": _decimal, "datetime": _datetime,
    "dateutil.relativedelta": _relativedelta, "calendar": _calendar, "collections": _collections,
    "itertools": _itertools, "functools": _functools, "operator": _operator, "heapq": _heapq, "bisect": _bisect,
    "random": _random, "numpy": _numpy, "copy": _copy, "dataclasses": _dataclasses, "string": _string, "sys": _sys,
    "re": patterns,
    "typing": _typing,
}  # fmt: skip
MODULES = KNOWN | set(_SERVED)


def module(machine: Machine, functions: Functions, name: str) -> Module:
    """A module of the list, for one machine.

    >>> from srm_utils.inference.sandbox.outcome import Limits
    >>> machine = Machine(Limits())
    >>> module(machine, Functions(machine), "math").members["pi"]
    3.141592653589793
    """
    make = _SERVED.get(name)
    return Module(name, {} if make is None else make(machine, functions))
