r"""Answers: what stands around expressions, such as names, units, brackets, lists and relations.

>>> parsed("x = 2"), parsed("5 million dollars")
(Named(name='x', value=Leaf(expr=Fraction(2, 1), unit='')), Leaf(expr=Fraction(5000000, 1), unit='dollar'))
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

from srm_utils.tasks.grading.expressions import (
    CLOSER,
    FUNCTIONS,
    GREEK,
    MAX_DEPTH,
    PRODUCT_LETTERS,
    Expr,
    Reader,
    has_symbols,
    infinite,
    power_of,
    product_of,
)
from srm_utils.tasks.grading.number_words import FACTORS
from srm_utils.tasks.grading.tokens import CURRENCY, MATRIX, Refused, Token, cleaned, tokenised
from srm_utils.tasks.grading.units import UNFORGIVEN, UNIT_NAMES, is_unit, named_unit

WORDS = re.compile(r"[^\W\d_]+(?:[ '.,-]+[^\W\d_]+)*\.?")


@dataclass(frozen=True, slots=True)
class Text:
    words: str


@dataclass(frozen=True, slots=True)
class Leaf:
    expr: Expr
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Seq:
    """Tuple, interval, ratio or union, by its brackets: "(", "[", ":" or "u" (parts of a union have no order)."""

    opening: str
    closing: str
    items: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Unordered:
    """A set in braces, or a bare list, which may also be meant as a tuple."""

    items: tuple[Any, ...]
    is_set: bool


@dataclass(frozen=True, slots=True)
class Matrix:
    rows: tuple[tuple[Any, ...], ...]


@dataclass(frozen=True, slots=True)
class Named:
    """`x = 2`, `P(A) = 1/2`, or the range of a variable, `x > 2`."""

    name: str
    value: Any


@dataclass(frozen=True, slots=True)
class Relation:
    operator: str
    left: Expr
    right: Expr


@dataclass(frozen=True, slots=True)
class Rounded:
    """An exact value and what it was rounded to: `1/3 \\approx 0.333`."""

    exact: Any
    rounded: Any


_RELATIONS = {"=": "=", "<": "<", ">": ">", r"\le": "<=", r"\ge": ">=", r"\ne": "!=", r"\in": "in"}
_CONJUNCTIONS = {",", ";", "and", "or", "&"}
_NAME = re.compile(r"[A-Za-z](?:_\{?[A-Za-z0-9]+\}?)?'{0,3}(?:\([a-z]\))?(?:\^\{-1\}\([a-z]\))?|\\[a-z]+")
#: P(A), f(3), f'(2), \gcd(12, 18): the letters or the word of a function with its argument.
_CALL = re.compile(
    r"(?:[A-Za-z]'{0,3}(?:_\{?[A-Za-z0-9]+\}?)?|\\?(?:gcd|lcm|max|min|det|deg|dim|Pr|Var|Cov|rank|tr))"
    r"[\[(](?:[0-9.]+|[A-Za-z]'?|-?[0-9]+(?:,-?[0-9]+)*|[A-Z][^()]{0,40})[\])]"
)
#: AB, ABC, |AB|, [ABC], m\angle ABC: what geometry names by its corners.
_CORNERS = re.compile(
    r"(?:m?\\(?:angle|triangle|overline|overrightarrow|widehat|vec|bar|measuredangle|hat|square))?"
    r"(?:\{?[A-Z]'?(?:_\{?[0-9]\}?)?(?:[A-Z]'?){1,4}\}?|\|\{?[A-Z]{2}\}?\||\[[A-Z]{3,6}\])"
    r"|m?\\(?:angle|measuredangle|overline|overrightarrow|vec|hat|bar)\{?[A-Za-z]{1,4}\}?"
)
_TUPLE_OF_NAMES = re.compile(r"\((?:[A-Za-z](?:_\{?[A-Za-z0-9]+\}?)?,)+[A-Za-z](?:_\{?[A-Za-z0-9]+\}?)?\)")


def _split(tokens: Sequence[Token], separators: set[str]) -> tuple[list[list[Token]], list[str]]:
    """Parts and separators at depth 0. Raises `Refused` where brackets do not balance."""
    parts: list[list[Token]] = [[]]
    found: list[str] = []
    stack: list[str] = []
    for token in tokens:
        if token.text in CLOSER:
            stack.append(token.text)
            if len(stack) > MAX_DEPTH:
                raise Refused("nested too deeply")
        elif token.text in (")", "]", "}", r"\}"):
            if not stack or token.text not in CLOSER[stack.pop()]:
                raise Refused("unbalanced brackets")
        elif not stack and token.text in separators:
            parts.append([])
            found.append(token.text)
            continue
        parts[-1].append(token)
    if stack:
        raise Refused("unbalanced brackets")
    return parts, found


def _encloses(tokens: Sequence[Token]) -> bool:
    """Whether the first token is a bracket that the last one closes."""
    if len(tokens) < 2 or tokens[0].text not in CLOSER:
        return False
    depth = 0
    for i, token in enumerate(tokens):
        depth += (token.text in CLOSER) - (token.text in (")", "]", "}", r"\}"))
        if depth == 0:
            return i == len(tokens) - 1
    return False


def _answer(tokens: Sequence[Token], depth: int = 0) -> Any:
    if not tokens or depth > MAX_DEPTH:
        raise Refused("empty, or nested too deeply")
    parts, found = _split(tokens, _CONJUNCTIONS)
    if found:
        return _listed([_answer(p, depth + 1) for p in parts if p], found)
    parts, found = _split(tokens, {r"\approx"})
    if found:
        return _rounded(parts, depth)
    parts, found = _split(tokens, {r"\cup"})
    if found:
        return Seq("u", "u", tuple(_answer(p, depth + 1) for p in parts))
    parts, found = _split(tokens, set(_RELATIONS))
    if found:
        return _related(parts, [_RELATIONS[f] for f in found], depth)
    parts, found = _split(tokens, {":"})
    if found:
        return _after_colon(parts, depth)
    if _encloses(tokens):
        opening, inner, closing = tokens[0].text, tokens[1:-1], tokens[-1].text
        if opening == r"\{" and not inner:
            return Unordered((), True)
        parts, found = _split(inner, {",", ";"})
        if found or opening == r"\{":
            items = tuple(_answer(p, depth + 1) for p in parts)
            if opening in (r"\{", "{"):
                return Unordered(items, True)
            if opening == "[" and all(isinstance(i, Seq) and i.opening == "[" for i in items):
                return Matrix(tuple(i.items for i in items))
            return Seq(opening, closing, items)
        if not (opening == "[" and closing == ")") and not (opening == "(" and closing == "]"):
            return _answer(inner, depth + 1)
        raise Refused("an interval with one end")
    return _quantity(tokens)


def _after_colon(parts: list[list[Token]], depth: int) -> Any:
    """A ratio, or what a label in words introduces ("Area: 12")."""
    if len(parts) == 2 and parts[0] and _is_words(parts[0]):
        return Named(_spelt(parts[0]), _answer(parts[1], depth + 1))
    return Seq(":", ":", tuple(_answer(p, depth + 1) for p in parts))


def _rounded(parts: list[list[Token]], depth: int) -> Any:
    last = _answer(parts[-1], depth + 1)
    if not parts[0]:
        return last
    if _is_name(parts[0]):
        return Named(_spelt(parts[0]), last)
    try:
        first = _answer(parts[0], depth + 1)
    except Refused:  # a calculation that we do not read, and what it comes to
        return last
    if isinstance(first, Named):
        return Named(first.name, Rounded(first.value, last))
    return Rounded(first, last)


def _spelt(tokens: Sequence[Token]) -> str:
    words = all(t.kind == "word" for t in tokens)
    return " ".join(t.text for t in tokens).casefold() if words and len(tokens) > 1 else "".join(t.text for t in tokens)


def _is_words(tokens: Sequence[Token]) -> bool:
    """Whether these are words of a language, no product of letters: `Area`, `the perimeter of the square`."""
    if not tokens or any(t.kind != "word" for t in tokens):
        return False
    long = [t.text for t in tokens if len(t.text) > 2 and not set(t.text) <= PRODUCT_LETTERS]
    return any(word not in FUNCTIONS | GREEK for word in long)


def _is_name(tokens: Sequence[Token]) -> bool:
    """Whether this names a quantity rather than being one: `x`, `P(A)`, `AB`, `\\angle A`, `(x, y)`, `Area`."""
    spelt = "".join(t.text for t in tokens)
    if spelt in ("e", "i", r"\pi", r"\infty"):
        return False
    named = any(pattern.fullmatch(spelt) for pattern in (_NAME, _CALL, _CORNERS, _TUPLE_OF_NAMES))
    return named or _is_words(tokens)


def _listed(items: list[Any], separators: list[str]) -> Any:
    if len(items) == 1:
        return items[0]
    if not items:
        raise Refused("empty")
    if all(isinstance(i, Named) for i in items):
        names = [i.name for i in items]
        if len(set(names)) == len(names):  # x = 1, y = 2 is the point (1, 2)
            return Seq("(", ")", tuple(i.value for i in sorted(items, key=lambda i: i.name)))
        ranges = all(isinstance(i.value, Seq) for i in items)
        if len(set(names)) == 1 and (not ranges or "or" in separators):
            values = tuple(i.value for i in items)
            return Named(names[0], Seq("u", "u", values) if ranges else Unordered(values, False))
        if ranges and len(items) == 2 and set(separators) & {"and"}:  # x >= 2 and x < 5
            first, second = sorted((i.value for i in items), key=lambda v: infinite(v.items[0].expr))
            if [infinite(i.expr) for i in (*first.items, *second.items)][::3] == [-1, 1]:
                return Named(names[0], Seq(second.opening, first.closing, (second.items[0], first.items[1])))
    if set(separators) & {"or"} and all(_value(i) is not None and _value(i) == _value(items[0]) for i in items):
        return items[0]  # one value said in several ways: "1/2, or 50%"
    flat: list[Any] = []
    for item in items:
        flat.extend(item.items if isinstance(item, Unordered) and not item.is_set else [item])
    return Unordered(tuple(flat), False)


def _value(answer: Any) -> Fraction | None:
    """The exact number that an answer is, of a percentage the share."""
    if isinstance(answer, Named):
        return _value(answer.value)
    if not isinstance(answer, Leaf) or not isinstance(answer.expr, Fraction):
        return None
    return answer.expr / 100 if answer.unit == "%" else answer.expr


def _related(parts: list[list[Token]], operators: list[str], depth: int) -> Any:
    names = [_spelt(p) for p in parts]
    named = [_is_name(p) for p in parts]
    if operators == ["in"] and named[0]:
        return Named(names[0], _answer(parts[1], depth + 1))
    if set(operators) == {"="}:
        if named[0]:
            return Named(names[0], _answer(parts[-1], depth + 1))
        if named[-1] and len(parts) == 2:
            return Named(names[-1], _answer(parts[0], depth + 1))
        value = _calculated(parts, depth)
        if value is not None:
            return value
    sides = [Reader(p).whole() for p in parts]
    directions = {o[0] for o in operators}
    if directions <= {"<"} or directions <= {">"}:
        if directions == {">"}:
            parts, sides = parts[::-1], sides[::-1]
            operators = [o.replace(">", "<") for o in reversed(operators)]
            names, named = names[::-1], named[::-1]
        infinity = ("const", "infty")
        opening = "(" if operators[0] == "<" else "["
        closing = ")" if operators[-1] == "<" else "]"
        if len(parts) == 2 and named[0] and not has_symbols(sides[1]):
            low = Leaf(("mul", Fraction(-1), infinity))
            return Named(names[0], Seq("(", closing, (low, Leaf(sides[1]))))
        if len(parts) == 2 and named[1] and not has_symbols(sides[0]):
            return Named(names[1], Seq(opening, ")", (Leaf(sides[0]), Leaf(infinity))))
        if len(parts) == 3 and named[1] and not has_symbols(sides[0]) and not has_symbols(sides[2]):
            return Named(names[1], Seq(opening, closing, (Leaf(sides[0]), Leaf(sides[2]))))
    if len(parts) != 2 or "in" in operators:
        raise Refused("a chain of relations we do not read")
    return Relation(operators[0], sides[0], sides[1])


def _calculated(parts: list[list[Token]], depth: int) -> Any:
    """What a calculation comes to ("5 \\cdot 3 = 15 cm"); None where a side before the last one holds unknowns."""
    try:
        last = _answer(parts[-1], depth + 1)
    except Refused:
        return None
    if not isinstance(last, Leaf) or has_symbols(last.expr):
        return None
    for part in parts[:-1]:
        try:
            side = _quantity(part)
        except Refused:
            continue  # "12 eggs - 3 eggs": whatever it is, the last side is its value
        if not isinstance(side, Leaf) or has_symbols(side.expr):
            return None
    return last


def _tail_start(tokens: Sequence[Token]) -> int:
    """Where the words behind a value begin ("5 cm^2", "60 miles per hour", "12 apples"); len(tokens) without any."""
    start = len(tokens)
    while start > 1:
        i = start
        if i > 4 and [t.text for t in tokens[i - 4 : i]] in (["^", "{", "2", "}"], ["^", "{", "3", "}"]):
            i -= 4
        elif i > 2 and tokens[i - 2].text == "^" and tokens[i - 1].text in ("2", "3"):
            i -= 2
        word, before = tokens[i - 1], tokens[i - 2]
        if word.text in ("-", "'") and start < len(tokens) and before.kind == "word" and not word.spaced:
            start = i - 1  # light-years, worker's
            continue
        if word.kind != "word" or word.text in FUNCTIONS | GREEK | {"pi", "sqrt"}:
            break
        known = is_unit(word.text)
        if len(word.text) == 1:  # a letter is a unit only behind a number and a space (5 m), or in a quotient of units
            top = start < len(tokens) and tokens[start].text == "/"
            quotient = before.text == "/" and i > 3 and tokens[i - 3].text in UNIT_NAMES
            article = word.text == "a" and start < len(tokens) and before.kind in ("word", "number")
            if not article and not (known and (word.spaced and (before.kind == "number" or top) or quotient)):
                break
        elif word.text.lower() in _SHORT_WORDS:
            if i == len(tokens) and not known:
                break
        elif not known and word.text not in FACTORS and (
            len(word.text) < 3 or (len(word.text) == 3 and set(word.text) <= PRODUCT_LETTERS)
        ):  # fmt: skip
            break
        start = i - 1
        if before.text == "/" and start > 2 and tokens[start - 2].kind == "word":
            start -= 1
        elif before.text in ("-", "'") and start > 2 and tokens[start - 2].kind == "word":
            continue
        elif before.kind not in ("word", "number") and before.text not in (")", "}", "]", "!", *CURRENCY, "%"):
            return len(tokens) if start == i - 1 and before.kind == "sign" else start
    return start


#: Words of up to two letters that may stand inside the words behind a value ("18 of the eggs").
_SHORT_WORDS = {"of", "in", "an", "to", "at", "on", "by", "is", "as", "it", "my", "up", "he", "so", "we", "or", "no"}
_MONEY_SCALES = {"k": 10**3, "K": 10**3, "m": 10**6, "M": 10**6, "B": 10**9, "b": 10**9}


def _scaled(tokens: Sequence[Token]) -> tuple[Fraction, int, str]:
    """What the words behind a value make of it: a factor, an exponent, and the unit."""
    words = [t.text for t in tokens]
    factor, exponent = Fraction(1), 1
    while words and words[0].lower() in FACTORS:
        factor *= FACTORS[words.pop(0).lower()]
    if factor != 1 and words[:1] == ["of"]:
        del words[:1]
        if words[:1] in (["a"], ["an"]):
            del words[:1]
    if words[:1] in (["squared"], ["cubed"]):
        exponent = 2 if words.pop(0) == "squared" else 3
    return factor, exponent, named_unit(words) if words else ""


def _is_angle(tokens: Sequence[Token], start: int) -> bool:
    """Whether the degrees at the end belong to the argument of a sine, not to the value."""
    degrees = [t.text for t in tokens[start:]] in (["degrees"], ["degree"])
    return degrees and any(t.text.lstrip("\\") in _TRIGONOMETRIC for t in tokens[:start])


_TRIGONOMETRIC = {"sin", "cos", "tan", "cot", "sec", "csc"}


def _quantity(tokens: Sequence[Token]) -> Any:
    """An expression with its unit, a plus-minus pair, or words."""
    unit, factor, exponent = "", Fraction(1), 1
    signs = [t.text for t in tokens[:2]]
    money = next((i for i, s in enumerate(signs) if s in CURRENCY and (i == 0 or signs[0] in "+-")), None)
    if money is not None:
        unit = CURRENCY[signs[money]]
        tokens = [*tokens[:money], *tokens[money + 1 :]]
        if len(tokens) > 1 and tokens[-1].text in _MONEY_SCALES and tokens[-2].kind == "number":
            factor, tokens = Fraction(_MONEY_SCALES[tokens[-1].text]), tokens[:-1]
    elif len(tokens) > 1 and tokens[-1].text in CURRENCY:
        unit, tokens = CURRENCY[tokens[-1].text], tokens[:-1]
    modulus = next((i for i, t in enumerate(tokens) if t.text == r"\pmod"), 0)
    if modulus:
        unit, tokens = f"mod {_spelt(tokens[modulus + 1 :]).strip('{}')}", tokens[:modulus]
    elif tokens and tokens[-1].text == "%" and not unit:
        unit, tokens = "%", tokens[:-1]
    elif any(t.kind != "word" for t in tokens):
        start = _tail_start(tokens)
        if 0 < start < len(tokens) and not _is_angle(tokens, start):
            scale, exponent, tail = _scaled(tokens[start:])
            factor *= scale
            if tokens[start - 1].text == "%":  # "20% discount"
                unit, tail, start = "%", "" if not tail.startswith(UNFORGIVEN) else tail, start - 1
            elif tokens[start - 1].text in CURRENCY and start > 1:
                unit, start = CURRENCY[tokens[start - 1].text], start - 1
            unit = tail if tail.startswith(UNFORGIVEN) or not unit else unit
            tokens = tokens[:start]
    if any(t.text in (r"\pm", r"\mp") for t in tokens):
        return Unordered(tuple(Leaf(Reader(tokens, sign).whole(), unit) for sign in (1, -1)), False)
    if all(t.kind == "word" for t in tokens):
        try:
            return Leaf(Reader(tokens).whole(), unit)
        except Refused:
            return Text(" ".join(t.text for t in tokens).casefold())
    value = Reader(tokens).whole()
    return Leaf(product_of(factor, power_of(value, Fraction(exponent)) if exponent != 1 else value), unit)


_AFTERTHOUGHT = re.compile(r"(.*[\w})%¤€£¥$\]])\s*\((?:or |i\.e\.,? |which is |that is,? |about )?([^()]+)\)")


@lru_cache(maxsize=4096)
def parsed(text: str) -> Any:
    """The answer that a text states. Raises `Refused` for what is not one."""
    s = cleaned(text)
    matrix = MATRIX.fullmatch(s)
    if matrix:
        rows = [r for r in matrix.group(2).split(r"\cr") if r.strip()]
        return Matrix(tuple(tuple(_quantity(tokenised(cell)) for cell in row.split("&")) for row in rows))
    if (found := _AFTERTHOUGHT.fullmatch(s)) and (main := _with_afterthought(found[1], found[2])) is not None:
        return main
    try:
        return _answer(tokenised(s))
    except Refused:
        if WORDS.fullmatch(s):
            return Text(" ".join(re.findall(r"[^\W\d_]+", s)).casefold())
        raise


def _with_afterthought(main: str, said: str) -> Any:
    """The value before a bracket that says it again ("7 (seven)", "0.5 (50%)") or names its unit; None for others."""
    try:
        value, again = _answer(tokenised(main)), _answer(tokenised(cleaned(said)))
    except Refused:
        return None
    if _value(value) is None:
        return None
    if isinstance(again, Text) and named_unit(again.words.split()).startswith(UNFORGIVEN):
        return None
    same = isinstance(again, Text) or (_value(again) == _value(value) and said.strip() != main.strip())
    return value if same else None
