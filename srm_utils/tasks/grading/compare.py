r"""Comparison: whether two answers are the same as a mathematician would say.

Plain numbers are compared exactly; sets, tuples, intervals, relations and matrices piece by piece. Of two different
expressions most are refuted at a sample point; only what is left goes to the judge.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

from srm_utils.tasks.grading import judge as judging
from srm_utils.tasks.grading.expressions import (
    MAX_DIGITS,
    Expr,
    Reader,
    has_symbols,
    infinite,
    product_of,
    symbols_in,
)
from srm_utils.tasks.grading.extract import Found, closing_math, final, read_math, stated
from srm_utils.tasks.grading.grade import Grade
from srm_utils.tasks.grading.numeric import refuted, refuted_equations, value_of
from srm_utils.tasks.grading.read import Leaf, Matrix, Named, Relation, Rounded, Seq, Text, Unordered, parsed
from srm_utils.tasks.grading.tokens import Refused, cleaned, tokenised
from srm_utils.tasks.grading.units import UNFORGIVEN

Judge = Callable[[str, list[Any]], bool]


def _equal_expr(a: Expr, b: Expr, judge: Judge) -> bool:
    if a == b:
        return True
    based = [isinstance(e, tuple) and e[0] == "base" for e in (a, b)]
    if any(based):
        plain = b if based[0] else a
        digits = a[1] if based[0] else b[1]
        return not all(based) and isinstance(plain, Fraction) and len(digits) <= MAX_DIGITS and plain == int(digits)
    if isinstance(a, Fraction) and isinstance(b, Fraction):
        return False
    if infinite(a) or infinite(b):
        return infinite(a) == infinite(b)
    return not refuted(a, b) and judge("expression", [judging.wired(a), judging.wired(b)])


def _equal_leaf(a: Leaf, b: Leaf, judge: Judge) -> bool:
    if a.unit != b.unit and UNFORGIVEN in (a.unit[:1], b.unit[:1]):
        return False
    if a.unit == b.unit or not (a.unit and b.unit):
        if _equal_expr(a.expr, b.expr, judge):
            return True
        if a.unit == b.unit:
            return False
        scales = {"%": Fraction(1, 100), "degree": product_of(("const", "pi"), Fraction(1, 180))}
        scale_a, scale_b = scales.get(a.unit, Fraction(1)), scales.get(b.unit, Fraction(1))
        if scale_a == scale_b == 1:
            return False
        return _equal_expr(product_of(a.expr, scale_a), product_of(b.expr, scale_b), judge)
    return False


def _same_items(a: Sequence[Any], b: Sequence[Any], judge: Judge) -> bool:
    """Equal up to order."""
    left = list(b)
    for item in a:
        hit = next((i for i, other in enumerate(left) if _equal(item, other, judge)), None)
        if hit is None:
            return False
        del left[hit]
    return not left


def _without_repeats(items: Sequence[Any], judge: Judge) -> list[Any]:
    kept: list[Any] = []
    for item in items:
        if not any(_equal(item, k, judge) for k in kept):
            kept.append(item)
    return kept


def _pairs(a: Sequence[Any], b: Sequence[Any], judge: Judge) -> bool:
    return len(a) == len(b) and all(_equal(x, y, judge) for x, y in zip(a, b, strict=True))


def _equal(a: Any, b: Any, judge: Judge) -> bool:
    for one, other in ((a, b), (b, a)):
        if isinstance(one, Rounded):
            return _equal(one.exact, other, judge) or _equal(one.rounded, other, judge)
        if isinstance(one, Relation) and isinstance(other, Leaf):
            return _equal(_sought(one), other, judge)
    if isinstance(a, Named) or isinstance(b, Named):
        if isinstance(a, Named) and isinstance(b, Named):
            return (a.name == b.name and _equal(a.value, b.value, judge)) or (
                # two equations solved for different letters, y = 2x and x = y/2
                a.name != b.name
                and all(isinstance(n.value, Leaf) and has_symbols(n.value.expr) for n in (a, b))
                and _equal(_relation(a), _relation(b), judge)
            )
        named, other = (a, b) if isinstance(a, Named) else (b, a)
        if isinstance(other, Relation):
            relation = _relation(named)
            return relation is not None and _equal(relation, other, judge)
        return _equal(named.value, other, judge)
    if isinstance(a, Leaf) and isinstance(b, Leaf):
        return _equal_leaf(a, b, judge)
    if isinstance(a, Unordered) and isinstance(b, Unordered):
        if a.is_set or b.is_set:
            return _same_items(_without_repeats(a.items, judge), _without_repeats(b.items, judge), judge)
        return _same_items(a.items, b.items, judge)
    if isinstance(a, Unordered) or isinstance(b, Unordered):
        group, other = (a, b) if isinstance(a, Unordered) else (b, a)
        if isinstance(other, Seq):
            return not group.is_set and other.opening in "([" and _pairs(group.items, other.items, judge)
        return len(group.items) == 1 and group.is_set and _equal(group.items[0], other, judge)
    if isinstance(a, Seq) and isinstance(b, Seq):
        if a.opening == b.opening == "u":
            return _same_items(a.items, b.items, judge)
        interval = len(a.items) == 2 or {a.opening, b.opening} & {"u", ":"}
        if interval and (a.opening, a.closing) != (b.opening, b.closing):
            return False
        return _pairs(a.items, b.items, judge)
    if isinstance(a, Matrix) and isinstance(b, Matrix):
        return len(a.rows) == len(b.rows) and all(_pairs(x, y, judge) for x, y in zip(a.rows, b.rows, strict=True))
    if isinstance(a, Relation) and isinstance(b, Relation):
        zero = [_difference(r) for r in (a, b)]
        if a.operator == b.operator == "=" and refuted_equations(*zero):
            return False
        return judge("relation", [[r.operator, judging.wired(r.left), judging.wired(r.right)] for r in (a, b)])
    return isinstance(a, Text) and a == b


def _difference(relation: Relation) -> Expr:
    """The difference of the two sides, which an equation sets to zero."""
    return ("add", relation.left, ("mul", Fraction(-1), relation.right))


def _sought(relation: Relation) -> Any:
    """The value that an equation gives to a quantity of several unknowns (m + n = 5); None for any other relation."""
    given = relation.operator == "=" and len(symbols_in(relation.left)) > 1 and not has_symbols(relation.right)
    return Leaf(relation.right) if given else None


def _relation(named: Named) -> Relation | None:
    """The relation that a named value or a one-sided range stands for."""
    try:
        letter = Reader(tokenised(named.name)).whole()
    except Refused:
        return None
    value = named.value
    if isinstance(value, Leaf):
        return Relation("=", letter, value.expr)
    if isinstance(value, Seq) and len(value.items) == 2 and all(isinstance(i, Leaf) for i in value.items):
        low, high = (i.expr for i in value.items)
        if infinite(low):
            return Relation("<" if value.closing == ")" else "<=", letter, high)
        if infinite(high):
            return Relation(">" if value.opening == "(" else ">=", letter, low)
    return None


def equal_math(answer: str, gold: str, digits: int | None = None) -> bool:
    r"""Whether two answers are the same as a mathematician would say (see the package's conventions).

    `digits` is for what a program printed: a decimal then counts when it agrees with the gold value to that many
    significant digits.

    Never raises on what a model wrote, never evaluates it. Raises RuntimeError when math-verify cannot be started.

    >>> equal_math(r"x = 2\sqrt{3}", "sqrt(12)"), equal_math(r"\{1, 2\}", "2, 1"), equal_math("2^{2^{2^{49}}}", "3")
    (True, True, False)
    """
    if answer.strip() == gold.strip():
        return bool(gold.strip())
    if digits is not None and agrees_to(answer, gold, digits):
        return True
    spent, calls = 0.0, 0

    def judge(kind: str, pair: list[Any]) -> bool:
        nonlocal spent, calls
        calls += 1
        if spent >= judging.JUDGE_CPU_SECONDS or calls > judging.JUDGE_CALLS:
            return False
        verdict, seconds = judging.HELPER.ask(json.dumps([kind, pair, judging.JUDGE_CPU_SECONDS - spent]))
        spent += seconds
        return verdict

    try:
        plain, plain_gold = cleaned(answer), cleaned(gold)
    except Refused:
        return False
    if plain == plain_gold != "":
        return True
    try:
        return _equal(parsed(answer), parsed(gold), judge)
    except Refused:  # not mathematics that we read ("6:00 PM"): compared as words
        return plain.casefold() == plain_gold.casefold() != ""


def agrees_to(printed: str, gold: str, digits: int) -> bool:
    """Whether a printed decimal is the gold number, rounded to that many significant digits or more.

    >>> agrees_to("0.3333333333333333", "1/3", 10), agrees_to("0.333", "1/3", 10), agrees_to("18", "18.0", 10)
    (True, False, True)
    """
    try:
        values = [parsed(text) for text in (printed, gold)]
    except Refused:
        return False
    numbers = [v.value if isinstance(v, Named) else v for v in values]
    if not all(isinstance(n, Leaf) for n in numbers) or numbers[0].unit.startswith(UNFORGIVEN):
        return False
    try:
        (x, dx), (y, dy) = (value_of(n.expr) for n in numbers)
    except ValueError:
        return False
    return abs(x - y) <= 0.5 * 10.0**-digits * max(abs(x), abs(y)) + dx + dy


def find_math(text: str, only_stated: bool = False) -> Found | None:
    r"""The final answer of a text and how it was found; with `only_stated`, what a text that goes on has stated.

    >>> find_math(r"So \boxed{12}."), find_math("3 * 6 = 18").how, find_math("3 * 6 = 18", only_stated=True)
    (Found(answer='12', how='boxed'), 'equation', None)
    """
    return stated(text, read_math) if only_stated else final(text, read_math, closing_math)


def grade_math(text: str, gold: str) -> Grade:
    r"""Grades the final answer of a text: correct, wrong, or unparsable (none given, truncated, or unreadable).

    >>> grade_math(r"So we get \boxed{50\%}.", "1/2").value, grade_math("I would say", "1/2").value
    ('correct', 'unparsable')
    """
    found = find_math(text)
    if found is None:
        return Grade.UNPARSABLE
    if equal_math(found.answer, gold):
        return Grade.CORRECT
    try:
        parsed(found.answer)
    except Refused:
        return Grade.UNPARSABLE
    return Grade.WRONG
