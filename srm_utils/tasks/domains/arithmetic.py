"""Arithmetic that is written down: an expression evaluated exactly, or cut into steps of one operation each.

Expressions hold numbers, names, + - * / **, brackets and the functions `log`, `max` and `min`. They are read as a
syntax tree and walked here; nothing is ever executed.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping

#: Digits to which the result of a written step is rounded.
STEP_DIGITS = 4

_SIGNS: dict[type[ast.operator], tuple[str, Callable[[float, float], float]]] = {
    ast.Add: ("+", operator.add),
    ast.Sub: ("-", operator.sub),
    ast.Mult: ("*", operator.mul),
    ast.Div: ("/", operator.truediv),
    ast.Pow: ("**", operator.pow),
}
_FUNCTIONS: dict[str, Callable[..., float]] = {"log": math.log, "max": max, "min": min}


def written(value: float, digits: int = STEP_DIGITS) -> str:
    """A number rounded to so many significant digits, as a person writes it; whole numbers of them keep their zeros.

    >>> written(101.016), written(13304), written(0.33647), written(-2.0)
    ('101', '13300', '0.3365', '-2')
    """
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else str(value)
    places = digits - 1 - math.floor(math.log10(abs(value)))
    rounded = round(value, places)
    text = f"{rounded:.{max(places, 0)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def evaluate(expression: str, values: Mapping[str, float] | None = None) -> float:
    """The value of an expression.

    Raises ValueError in one sentence where it is none, has a name without a value, or has no real value.

    >>> evaluate("( 140 - age ) * 2", {"age": 60})
    160.0
    """
    return _walk(_tree(expression), values or {}, None)


def steps_of(expression: str, values: Mapping[str, float] | None = None) -> list[str]:
    """The steps of an expression, one operation each, every result rounded to `STEP_DIGITS` and used as it is written.

    >>> steps_of("( 140 - age ) * weight / 72", {"age": 67, "weight": 58})
    ['140 - 67 = 73', '73 * 58 = 4234', '4234 / 72 = 58.81']
    """
    steps: list[str] = []
    _walk(_tree(expression), values or {}, steps)
    return steps


def holds(equation: str) -> bool:
    """Whether "LEFT = RIGHT" is true, its right side rounded to `STEP_DIGITS` or to more.

    >>> holds("4234 / 72 = 58.81"), holds("4234 / 72 = 58.8"), holds("72 * = 3")
    (True, False, False)
    """
    left, _, right = equation.rpartition("=")
    try:
        value, said = evaluate(left), float(right)
    except (ValueError, OverflowError):
        return False
    # Half a unit of the last digit kept, and a hair for the decimal that binary fractions miss.
    return abs(said - float(written(value))) <= 1e-9 * max(1.0, abs(value)) or math.isclose(said, value, rel_tol=1e-9)


def _tree(expression: str) -> ast.expr:
    if len(expression) > 500:
        raise ValueError("The expression is longer than 500 characters; give a shorter one.")
    try:
        return ast.parse(expression.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ValueError(
            f"{expression.strip()[:60]!r} is no expression; write numbers, names and + - * / **."
        ) from None


def _walk(node: ast.expr, values: Mapping[str, float], steps: list[str] | None) -> float:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        return float(node.value)
    if isinstance(node, ast.Name):
        if node.id not in values:
            raise ValueError(f"{node.id} has no value; give one.")
        return float(values[node.id])
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_walk(node.operand, values, steps)
    try:
        if isinstance(node, ast.BinOp) and type(node.op) in _SIGNS:
            left, right = _walk(node.left, values, steps), _walk(node.right, values, steps)
            sign, act = _SIGNS[type(node.op)]
            if sign == "**" and abs(right) > 100:
                raise ValueError("A power above 100 is not computed; give a smaller one.")
            value = act(left, right)
            said = f"{written(left, 6)} {sign} {written(right, 6)}"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _FUNCTIONS:
            inner = [_walk(argument, values, steps) for argument in node.args]
            value = _FUNCTIONS[node.func.id](*inner)
            said = f"{node.func.id} ( {' , '.join(written(v, 6) for v in inner)} )"
        else:
            raise ValueError(f"{ast.unparse(node)[:60]!r} is no arithmetic; write numbers, names and + - * / **.")
    except (ZeroDivisionError, OverflowError, TypeError, RecursionError):
        raise ValueError(f"{ast.unparse(node)[:60]!r} has no value; check its numbers.") from None
    if isinstance(value, complex):
        raise ValueError(f"{ast.unparse(node)[:60]!r} has no real value; check its numbers.")
    if steps is None:
        return float(value)
    steps.append(f"{said} = {written(value)}")
    return float(written(value))
