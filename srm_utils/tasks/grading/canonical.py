r"""One written form for equal answers, so that votes count `$18`, `18 dollars` and `\boxed{18}` as one candidate.

The form is exact and reads back as the same answer: finite decimals for numbers, fractions for the rest, sums and
products sorted. Expressions that only a judge could show equal keep their own forms.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from srm_utils.tasks.grading.expressions import Expr
from srm_utils.tasks.grading.read import Leaf, Matrix, Named, Relation, Rounded, Seq, Text, Unordered, parsed
from srm_utils.tasks.grading.tokens import Refused, cleaned
from srm_utils.tasks.grading.units import UNFORGIVEN, is_forgiven, is_unit

_MAX_DECIMALS = 30
_MONEY = ("dollar", "euro", "sterling", "yen", "rupee", "cent", "lb")


def canonical_number(text: str) -> str | None:
    r"""The number that an answer is, without its unit; None where it is no number.

    >>> [canonical_number(t) for t in ("$18.00", r"\boxed{\$18}", "18 dollars", r"\frac12", "2 dozen", "5 wrong")]
    ['18', '18', '18', '0.5', '24', None]
    """
    try:
        read = parsed(text)
    except Refused:
        return None
    while isinstance(read, (Named, Rounded)):
        read = read.value if isinstance(read, Named) else read.exact
    if isinstance(read, Unordered) and read.is_set is False and len(read.items) == 1:
        read = read.items[0]
    if not isinstance(read, Leaf) or not isinstance(read.expr, Fraction) or read.unit.startswith(UNFORGIVEN):
        return None
    return shown(read.expr)


def canonical_math(text: str) -> str:
    r"""One form for answers that are written differently and are plainly the same; others keep their cleaned text.

    >>> canonical_math("x = 0.50"), canonical_math(r"\{2, 1\}"), canonical_math(r"b + \sqrt{2}a")
    ('0.5', '\\{1, 2\\}', '(2)^{0.5}*a + b')
    """
    try:
        read = parsed(text)
        form = _written(read)
        if _written(parsed(form)) == form:
            return form
    except (Refused, RecursionError):
        pass
    try:
        return cleaned(text)
    except Refused:
        return " ".join(text.split())


def shown(value: Fraction) -> str:
    """An exact number as a person writes it: 0.25 rather than 1/4, but 1/3.

    >>> shown(Fraction(1, 4)), shown(Fraction(-1, 3)), shown(Fraction(18))
    ('0.25', '-1/3', '18')
    """
    rest, twos, fives = value.denominator, 0, 0
    while rest % 2 == 0:
        rest, twos = rest // 2, twos + 1
    while rest % 5 == 0:
        rest, fives = rest // 5, fives + 1
    places = max(twos, fives)
    if rest != 1 or places > _MAX_DECIMALS:
        return f"{value.numerator}/{value.denominator}"
    if places == 0:
        return str(value.numerator)
    digits = str(abs(value.numerator) * 10**places // value.denominator).rjust(places + 1, "0")
    return f"{'-' if value < 0 else ''}{digits[:-places]}.{digits[-places:]}"


def _written(read: Any) -> str:
    match read:
        case Named(value=value):
            return _written(value)
        case Rounded(exact=exact):
            return _written(exact)
        case Leaf(expr=expr, unit=unit):
            return f"{_expression(expr)}{_unit(unit)}"
        case Text(words=words):
            return words
        case Unordered(items=items, is_set=is_set):
            forms = sorted({_written(i) for i in items} if is_set else [_written(i) for i in items])
            return rf"\{{{', '.join(forms)}\}}" if is_set else ", ".join(forms)
        case Seq(opening="u", items=items):
            return r" \cup ".join(sorted(_written(i) for i in items))
        case Seq(opening=":", items=items):
            return ":".join(_written(i) for i in items)
        case Seq(opening=opening, closing=closing, items=items):
            return f"{opening}{', '.join(_written(i) for i in items)}{closing}"
        case Matrix(rows=rows):
            return f"[{', '.join('[' + ', '.join(_written(c) for c in row) + ']' for row in rows)}]"
        case Relation(operator=operator, left=left, right=right):
            return f"{_expression(left)} {operator} {_expression(right)}"
    raise Refused("no form")


def _unit(unit: str) -> str:
    """Money, degrees and counted things are left away; other units are part of the answer."""
    if unit in (*_MONEY[:1], "degree", "unit", "") or (is_forgiven(unit.split()) and not is_unit(unit.split()[0])):
        return ""
    if unit == "%":
        return "%"
    if unit.startswith(UNFORGIVEN):
        return f" {unit[1:]}"
    return f" {unit}"


def _expression(e: Expr) -> str:
    if isinstance(e, Fraction):
        return shown(e)
    op = e[0]
    if op == "sym":
        name, _, below = e[1].partition("_")
        letter = name if len(name) == 1 else f"\\{name}"
        return f"{letter}_{{{below}}}" if below else letter
    if op == "const":
        return e[1] if e[1] in ("e", "i") else f"\\{e[1]}"
    if op == "base":
        return f"{e[1]}_{{{e[2]}}}"
    if op == "add":
        return " + ".join(sorted(_sum(e)))
    if op == "mul":
        return _product(e)
    if op == "pow":
        return f"({_expression(e[1])})^{{{_expression(e[2])}}}"
    arguments = [_expression(x) for x in e[2:]]
    if e[1] == "abs":
        return f"|{arguments[0]}|"
    if e[1] == "factorial":
        return f"({arguments[0]})!"
    if e[1] == "binomial":
        return rf"\binom{{{arguments[0]}}}{{{arguments[1]}}}"
    if e[1] == "log" and len(arguments) == 2:
        return rf"\log_{{{arguments[1]}}}({arguments[0]})"
    return rf"\{e[1]}({arguments[0]})"


def _sum(e: Expr) -> list[str]:
    if isinstance(e, tuple) and e[0] == "add":
        number = Fraction(0)
        terms: list[str] = []
        for part in _flat(e, "add"):
            if isinstance(part, Fraction):
                number += part
            else:
                terms.append(_expression(part))
        return [*terms, *([shown(number)] if number else [])] or ["0"]
    return [_expression(e)]


def _product(e: Expr) -> str:
    number = Fraction(1)
    factors: list[str] = []
    for part in _flat(e, "mul"):
        if isinstance(part, Fraction):
            number *= part
        elif part[0] == "add":
            factors.append(f"({_expression(part)})")
        else:
            factors.append(_expression(part))
    sign = "-" if number < 0 else ""
    size = [] if abs(number) == 1 and factors else [_factor(abs(number))]
    return sign + "*".join([*size, *sorted(factors)])


def _factor(number: Fraction) -> str:
    text = shown(number)
    return f"({text})" if "/" in text else text


def _flat(e: Expr, op: str) -> list[Expr]:
    if isinstance(e, tuple) and e[0] == op:
        return [*_flat(e[1], op), *_flat(e[2], op)]
    return [e]
