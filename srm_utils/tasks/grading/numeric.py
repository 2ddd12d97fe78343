"""Refutation at sample points: most wrong expressions are told apart by their values, long before a judge is asked.

Each value comes with a bound on its rounding error, so that only differences that rounding cannot explain refute.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from types import MappingProxyType

from srm_utils.tasks.grading.expressions import Expr, symbols_in

_EPS = 2.0**-50
_DOUBT = 1e4  #: how many times its error bound a difference must exceed
_LARGEST = 1e200

Value = tuple[complex, float]  # a value and a bound on its rounding error

#: Each function with the size of its slope, which says how an error in the argument grows.
_SLOPES: dict[str, tuple[Callable[[complex], complex], Callable[[complex], complex]]] = {
    "sin": (cmath.sin, cmath.cos),
    "cos": (cmath.cos, cmath.sin),
    "tan": (cmath.tan, lambda x: 1 + cmath.tan(x) ** 2),
    "sinh": (cmath.sinh, cmath.cosh),
    "cosh": (cmath.cosh, cmath.sinh),
    "exp": (cmath.exp, cmath.exp),
    "ln": (cmath.log, lambda x: 1 / x),
    "arctan": (cmath.atan, lambda x: 1 / (1 + x * x)),
    "arcsin": (cmath.asin, lambda x: 1 / cmath.sqrt(1 - x * x)),
    "arccos": (cmath.acos, lambda x: 1 / cmath.sqrt(1 - x * x)),
    "cot": (lambda x: 1 / cmath.tan(x), lambda x: 1 / cmath.sin(x) ** 2),
    "sec": (lambda x: 1 / cmath.cos(x), lambda x: cmath.sin(x) / cmath.cos(x) ** 2),
    "csc": (lambda x: 1 / cmath.sin(x), lambda x: cmath.cos(x) / cmath.sin(x) ** 2),
}
_CONSTANTS = {"pi": math.pi, "e": math.e, "i": 1j}
_POINTS = ((0.71, 0.37), (2.39, 0.83))  # start and step of the positive values given to the unknowns


class _Unknown(ValueError):
    """A value that floating point cannot give with a bound."""


def refuted(a: Expr, b: Expr) -> bool:
    """Whether some values of the unknowns tell two expressions apart for certain.

    >>> refuted(("sym", "x"), ("pow", ("sym", "x"), Fraction(2))), refuted(("sym", "x"), ("sym", "x"))
    (True, False)
    """
    names = sorted(symbols_in(a) | symbols_in(b))
    for start, step in _POINTS if names else _POINTS[:1]:
        try:
            x, y = (value_of(e, {n: start + step * i for i, n in enumerate(names)}) for e in (a, b))
        except (_Unknown, ArithmeticError, ValueError):
            continue
        if _apart(x, y):
            return True
    return False


def refuted_equations(a: Expr, b: Expr) -> bool:
    """Whether a point on the curve a = 0 certainly does not lie on b = 0, or the other way round."""
    names = sorted(symbols_in(a) | symbols_in(b))
    if not names or _has_branches(a) or _has_branches(b):
        return False
    return any(_leaves(one, other, names) for one, other in ((a, b), (b, a)))


def _leaves(curve: Expr, other: Expr, names: list[str]) -> bool:
    unknowns = symbols_in(curve)
    for name in (n for n in names if n in unknowns):
        for start, step in _POINTS:
            point: dict[str, complex] = {n: start + step * i for i, n in enumerate(names)}
            root = _root(curve, point, name)
            if root is None:
                continue
            point[name] = root
            try:
                value, error = value_of(other, point)
                again, slack = value_of(curve, point)
                moved, _ = value_of(other, {**point, name: root * (1 + 1e-9)})
            except (_Unknown, ArithmeticError, ValueError):
                continue
            # What the root's own inexactness may do to the other side counts as error, too.
            if abs(again) <= 1e6 * slack and abs(value) > _DOUBT * (error + abs(moved - value)):
                return True
    return False


def _has_branches(e: Expr) -> bool:
    """Whether absolute values or roots of unknowns make a curve's complex points differ from what its real ones say."""
    if isinstance(e, Fraction) or e[0] in ("sym", "const", "base"):
        return False
    if e[0] == "fn":
        return e[1] not in ("sin", "cos", "tan", "exp", "sinh", "cosh") or any(map(_has_branches, e[2:]))
    whole = not isinstance(e[2], tuple) and e[2].denominator == 1 if e[0] == "pow" else True
    return (not whole and bool(symbols_in(e))) or any(map(_has_branches, e[1:]))


def _root(curve: Expr, point: Mapping[str, complex], name: str) -> complex | None:
    """A complex root in one unknown, by the secant method."""
    last, here = complex(0.9, 0.45), complex(1.2, 0.55)
    try:
        f_last = value_of(curve, {**point, name: last})[0]
        for _ in range(60):
            f_here = value_of(curve, {**point, name: here})[0]
            if f_here == f_last:
                return here if f_here == 0 else None
            last, here, f_last = here, here - f_here * (here - last) / (f_here - f_last), f_here
            if abs(here - last) <= 1e-14 * (1 + abs(here)):
                return here
    except (_Unknown, ArithmeticError, ValueError):
        pass
    return None


def _apart(x: Value, y: Value) -> bool:
    return abs(x[0] - y[0]) > _DOUBT * (x[1] + y[1])


def value_of(e: Expr, point: Mapping[str, complex] = MappingProxyType({})) -> Value:
    """An expression's value and error bound. Raises `_Unknown` where there is no trustworthy one."""
    if isinstance(e, Fraction):
        try:
            number = e.numerator / e.denominator
        except OverflowError:
            raise _Unknown("too large") from None
        return number, _EPS * abs(number)
    op = e[0]
    if op == "sym":
        if e[1] not in point:
            raise _Unknown(e[1])
        return point[e[1]], 0.0
    if op == "const":
        if e[1] not in _CONSTANTS:
            raise _Unknown(e[1])
        return _CONSTANTS[e[1]], _EPS * 3
    if op == "fn":
        return _call(e[1], [value_of(x, point) for x in e[2:]])
    if op not in ("add", "mul", "pow"):
        raise _Unknown(op)
    (a, da), (b, db) = (value_of(x, point) for x in e[1:])
    if op == "add":
        value, error = a + b, da + db
    elif op == "mul":
        value, error = a * b, abs(a) * db + abs(b) * da
    else:
        if a == 0 or abs(a) < 1e6 * da:
            raise _Unknown("a power of about zero")
        if db or b.imag or b.real != round(b.real):
            a = _off_the_cut(a, da)
        value = a**b
        error = abs(value) * (abs(b) * da / abs(a) + abs(cmath.log(a)) * db + _EPS * (1 + abs(b)))
    if not abs(value) < _LARGEST:
        raise _Unknown("too large")
    return value, error + _EPS * abs(value)


def _off_the_cut(x: complex, error: float) -> complex:
    """A number whose root or logarithm is taken. Raises `_Unknown` where rounding decides on which side of the cut."""
    if x.real > 0 or abs(x.imag) > 1e3 * error + 1e-300:
        return x
    if x.imag != 0:
        raise _Unknown("too near the cut")
    return complex(x.real, 0.0)


def _call(name: str, arguments: list[Value]) -> Value:
    if name == "abs":
        ((x, dx),) = arguments
        return abs(x), dx + _EPS * abs(x)
    if name == "log":
        logs = [_call("ln", [a]) for a in arguments]
        if len(logs) == 1:
            return logs[0]
        (x, dx), (y, dy) = logs
        if abs(y) < 1e6 * dy:
            raise _Unknown("a logarithm to base one")
        value = x / y
        return value, (dx + abs(value) * dy) / abs(y) + _EPS * abs(value)
    if name not in _SLOPES or len(arguments) != 1:
        raise _Unknown(name)
    function, slope = _SLOPES[name]
    x, dx = arguments[0]
    if name == "ln":
        x = _off_the_cut(x, dx)
    if name in ("arcsin", "arccos", "arctan") and not (x.imag == 0 and abs(x) < 0.999):
        raise _Unknown("an inverse off its real branch")
    value = function(x)
    if not abs(value) < _LARGEST:
        raise _Unknown("too large")
    return value, abs(slope(x)) * dx + 4 * _EPS * abs(value) + _EPS
