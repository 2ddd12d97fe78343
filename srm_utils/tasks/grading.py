r"""Grading of real mathematics and of multiple choice: is this answer the gold answer?

A model's text is hostile until proven otherwise, so it passes three gates, each bounded:

1. A tokeniser with an allow-list and a small parser of ours (lengths, nesting, digits, exponents bounded) turn the
   text into numbers and a tree. Plain numbers are compared here, exactly, with `fractions.Fraction`.
2. Sets, tuples, intervals, unions, relations and matrices are compared by structure, piece by piece.
3. Only what is left, two expressions such as ``\frac{1+\sqrt5}{2}`` and ``(1+sqrt(5))/2``, goes to math-verify's
   `verify`, as a tree of allowed operations and never as text: math-verify's reader of plain expressions ends in
   Python's `eval` (sympy's `parse_expr`) and its LaTeX reader misreads (``d\cdot x`` becomes a product with "dcdot").
   This judge runs in a helper process that cannot compile strings and is ended when it has used `JUDGE_CPU_SECONDS`:
   no signals, so it works alike in threads, in worker processes and on a busy machine. What it cannot show equal in
   that time is not equal.

Conventions
-----------
- Exactness: 0.5 is 1/2 and ``0.\overline{3}`` is 1/3; 0.333 is not 1/3 and 3.14 is not pi. Nothing is rounded.
- Percent: ``50%``, ``50\%`` and ``50 percent`` are the same, and equal 0.5 and 1/2. Against a bare number the sign
  may also have been meant as the unit the question asked for, so 50% matches 50 too; 50% never matches 0.5%.
- Units: one missing unit is forgiven (5 cm for 5, $5 for 5, 90 degrees for 90). Two units must agree by name, spelling
  variants and plurals aside; nothing is converted (500 cm is not 5 m). Degrees also equal their radians (180 degrees
  is pi).
- Thousands: ``1,000``, ``1{,}000``, ``1\,000`` and ``1 000`` are 1000. Inside brackets a comma separates, unless
  another comma followed by a space shows that it groups digits: ``(1,234)`` is a pair, ``(1,000, 2,000)`` is one too.
- Names: ``x = 2`` is 2, but not ``y = 2``; ``x = 1, y = 2`` is (1, 2). Letters are case-sensitive, words are not.
- Lists: ``1, 2``, ``1 and 2``, ``{1, 2}`` and ``\pm`` are unordered. Tuples are ordered. A bare list matches a tuple in
  the same order; a set never matches a tuple. A set of one element matches the element.
- Intervals: brackets must agree. ``(0,9)`` may be an interval or a pair. ``x > 2`` is ``(2,\infty)``; other relations
  are judged as relations. Adjacent parts of a union are not merged.
- Number bases: ``101_2`` matches ``101_2`` and bare ``101`` (the question named the base), not 5. Ratios go term by
  term.
- Final answer: the last ``\boxed{}``; else the last ``#### x``; else the last "answer is x" or "answer: x"; else a text
  that is nothing but a one-line answer. There is no fall-back to the last number. An unclosed box or bracket, or
  thinking that never ended, was truncated and is unparsable; after ``</think>`` only what follows counts.

>>> equal_math(r"\frac12", "0.5"), equal_math("[0,9)", "(0,9)"), equal_math("0.333", "1/3")
(True, False, False)
"""

from __future__ import annotations

import atexit
import json
import math
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from string import ascii_uppercase
from typing import Any, Literal, NamedTuple

from srm_utils.tasks.problem import Grade

TAIL_CHARACTERS = 20_000  #: how far from its end a text is searched for its final answer
ANSWER_CHARACTERS = 1_000  #: longer answers are compared as text only
MAX_TOKENS = 400
MAX_DEPTH = 25
MAX_DIGITS = 1_000  #: of one written number
MAX_BITS = 40_000  #: of one exact value: 2^{10000} is compared, 2^{2^{49}} refused
MAX_FACTORIAL = 500
JUDGE_CPU_SECONDS = 0.3  #: CPU time for one grading's calls of the judge, all together
JUDGE_CALLS = 100  #: of one grading
JUDGE_WALL_SECONDS = 3.0  #: one call, for what CPU accounting misses
START_SECONDS = 60.0


class _Refused(ValueError):
    """Not an answer that we read: outside the allow-list, unbalanced, or too large."""


# --------------------------------------------------------------------------------------------------------------------
# From a trace to its final answer

_THINK_END, _THINK_START = "</think>", "<think>"
_BOX = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z])\s*")
_HASHES = re.compile(r"####[ \t]*([^\n]+)")
_PHRASE = re.compile(
    r"\banswer\b[*_ \t]*(?:(?:is|are|was|would be|should be|must be)\b|=|:)[\s*_:]*|\bfinal answer\b[*_: \t]*\n[\s*_]*",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)|,?\s+(?:because|since|so|which|as|I hope)\b|,\s+(?:where|when)\b")
_ESCAPED_PAIR = re.compile(r"\\.", re.DOTALL)
_DISPLAY = ((r"\[", r"\]"), ("$$", "$$"))


def extract_final_answer(text: str) -> str | None:
    r"""The final answer stated in a text, or None where there is none (see the module's conventions).

    >>> extract_final_answer(r"First \boxed{1}. No: \boxed{\frac{1}{2}}."), extract_final_answer("It is 4, then 5")
    ('\\frac{1}{2}', None)
    """
    how, said = _stated(text, _PHRASE)
    if how == "box" or said is None:
        return said
    if how != "bare":
        return _tidied(_first_statement(said) if how == "phrase" else said)
    bare = said.strip()
    if len(text) <= ANSWER_CHARACTERS and "\n" not in bare:
        try:
            answer = _parsed(bare)
        except _Refused:
            return None
        parts = answer.items if isinstance(answer, _Unordered) else (answer,)
        if " " not in bare or not any(isinstance(part, _Text) for part in parts):
            return bare
    return None


def _stated(text: str, phrase: re.Pattern[str]) -> tuple[Literal["box", "hashes", "phrase", "bare"], str | None]:
    """How a text states its last answer, and what follows; ("bare", all that comes after thinking) where it does not.

    None stands for a box that never closes, and for a text that never ends to think.
    """
    tail = text[-TAIL_CHARACTERS:]
    _, ended, rest = tail.rpartition(_THINK_END)
    if ended:
        tail = rest
    elif _THINK_START in text:
        return "bare", None
    boxes = list(_BOX.finditer(tail))
    if boxes:
        return "box", _box_content(tail, boxes[-1].end())
    hashes = list(_HASHES.finditer(tail))
    if hashes:
        return "hashes", hashes[-1].group(1)
    phrases = list(phrase.finditer(tail))
    return ("phrase", tail[phrases[-1].end() :]) if phrases else ("bare", tail)


def _box_content(text: str, at: int) -> str | None:
    if at >= len(text):
        return None
    if text[at] != "{":
        found = re.compile(r"\\[A-Za-z]+|\S").match(text, at)
        return found.group() if found else None
    depth, i = 0, at
    while i < len(text):
        if text[i] == "\\":
            i += 2
            continue
        depth += (text[i] == "{") - (text[i] == "}")
        if depth == 0:
            return text[at + 1 : i].strip() or None
        i += 1
    return None


def _first_statement(rest: str) -> str:
    """What follows "the answer is", to the end of the sentence or of the displayed formula."""
    rest = rest.lstrip()
    for opening, closing in _DISPLAY:
        if rest.startswith(opening):
            body, closed, _ = rest[len(opening) :].partition(closing)
            return body if closed else opening
    line = rest.partition("\n")[0]
    end = _SENTENCE_END.search(line)
    return line[: end.start()] if end else line


def _tidied(said: str) -> str | None:
    """A stated answer without emphasis and closing dots; None when empty or cut off inside a bracket."""
    said = said.strip().strip("*_`").strip().rstrip(".,;").strip()
    bare = _ESCAPED_PAIR.sub("", said)
    if not said or bare.count("{") != bare.count("}") or said in (r"\[", "$", "$$", r"\("):
        return None
    return said


# --------------------------------------------------------------------------------------------------------------------
# From an answer to tokens

_UNICODE = str.maketrans(
    {
        "−": "-", "–": "-", "—": "-", "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "∙": r"\cdot ", "÷": "/",
        "⁄": "/", "√": r"\sqrt ", "π": r"\pi ", "∞": r"\infty ", "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ",
        "∪": r"\cup ", "∈": r"\in ", "±": r"\pm ", "∓": r"\mp ", "°": " degrees ", "∅": r"\emptyset ",
        "ℝ": r"\mathbb{R}",
        "θ": r"\theta ", "α": r"\alpha ", "β": r"\beta ", "λ": r"\lambda ", "≈": r"\approx ", "’": "'",
        "\u00a0": " ", "\u2009": " ",
        "\u202f": " ", "½": " 1/2", "⅓": " 1/3", "⅔": " 2/3", "¼": " 1/4", "¾": " 3/4", "⟨": "(", "⟩": ")",
        **{c: f"^{{{i}}}" for i, c in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")},
    }
)  # fmt: skip
_SPACED_THOUSANDS = re.compile(
    r"(?<![0-9.,])([0-9]{1,3})((?:(?:\{,\}|,\\! ?|,\\,|\\,|\\ |~| )[0-9]{3})+)(?![0-9])(?! */)"
)
_THOUSANDS = re.compile(r"(?<![0-9.,])[1-9][0-9]{0,2}(?:,[0-9]{3})+(?![0-9])(?!,[0-9])")
_SIZING = re.compile(r"\\(?:left|right|[bB]igg?[lr]?|displaystyle|textstyle|limits)(?![A-Za-z])")
_SPACING = re.compile(r"\\[!,;: ]|\\q?quad(?![A-Za-z])|\\thinspace(?![A-Za-z])|~|\\\(|\\\)|\\\[|\\\]|\s")
_WRAPPER = re.compile(
    r"\\(?:text(?:bf|it|rm|normal|tt)?|math(?:rm|bf|it|sf|normal)|mbox|operatorname\*?|boxed|fbox|bm|boldsymbol)"
    r"\s*\{([^{}]*)\}"
)
_SYNONYMS = (
    (re.compile(r"\^\s*\{?\s*\\circ(?![A-Za-z])\s*\}?|\\degree(?![A-Za-z])"), " degrees "),
    (re.compile(r"\\[dtc]frac(?![A-Za-z])"), r"\\frac"),
    (re.compile(r"\\[dt]binom(?![A-Za-z])"), r"\\binom"),
    (re.compile(r"\\%|\bper ?cent(?:age)?\b", re.IGNORECASE), "%"),
    (re.compile(r"\\(?:leq|leqslant)(?![A-Za-z])|<="), r"\\le "),
    (re.compile(r"\\(?:geq|geqslant)(?![A-Za-z])|>="), r"\\ge "),
    (re.compile(r"\\neq(?![A-Za-z])|!="), r"\\ne "),
    (re.compile(r"\\lt(?![A-Za-z])"), "<"),
    (re.compile(r"\\gt(?![A-Za-z])"), ">"),
    (re.compile(r"\\lbrace(?![A-Za-z])"), r"\\{"),
    (re.compile(r"\\rbrace(?![A-Za-z])"), r"\\}"),
    (re.compile(r"\\langle(?![A-Za-z])"), "("),
    (re.compile(r"\\rangle(?![A-Za-z])"), ")"),
    (re.compile(r"\\[lr]?[vV]ert(?![A-Za-z])"), "|"),
    (re.compile(r"\\(?:varnothing|emptyset)(?![A-Za-z])"), r"\\{\\}"),
    (re.compile(r"\\mathbb\s*\{?\s*R\s*\}?|\\R(?![A-Za-z])"), r"(-\\infty,\\infty)"),
    (re.compile(r"\*\*"), "^"),
)
_MATRIX = re.compile(r"\\begin\{([bp]matrix|array)\}(?:\{[lcr| ]*\})?(.*)\\end\{\1\}")
_CURRENCY = {"¤": "dollar", "€": "euro", "£": "pound", "¥": "yen", "₹": "rupee"}
_TOKEN = re.compile(
    r"(?P<number>(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,6}(?![0-9A-Za-z.]))?)"
    r"|(?P<command>\\[A-Za-z]+|\\[{}])|(?P<word>[^\W\d_]+)|(?P<sign>[-+*/^_=<>()\[\]{},;:|!%'¤€£¥₹])"
)
_WORDS = re.compile(r"[^\W\d_]+(?:[ '.,-]+[^\W\d_]+)*\.?")


class _Token(NamedTuple):
    kind: str
    text: str
    spaced: bool


def _cleaned(text: str) -> str:
    r"""Spelling variants of LaTeX, Unicode and Markdown brought to one form.

    >>> _cleaned(r"$\dfrac{1{,}000}{2}$")
    '\\frac{1000}{2}'
    """
    if len(text) > ANSWER_CHARACTERS:
        raise _Refused("too long")
    if any(ord(c) < 32 and c not in "\t\n\r" for c in text) or "..." in text or r"\ldots" in text:
        raise _Refused("control characters or an ellipsis")
    s = text.strip()
    if len(s) > 4 and s.startswith("**") and s.endswith("**"):
        s = s[2:-2]
    s = s.strip("` ").translate(_UNICODE).replace(r"\$", "¤")
    # One lone dollar sign is money; a pair of them encloses mathematics.
    s = s.replace("$", "¤") if s.count("$") == 1 else s.replace("$", " ")
    s = _SIZING.sub("", s)
    s = _SPACED_THOUSANDS.sub(lambda m: m.group(1) + re.sub(r"[^0-9]", "", m.group(2)), s)
    s = _SPACING.sub(" ", s.replace("\\\\", r"\cr "))
    for _ in range(4):
        s = _WRAPPER.sub(r" \1 ", s)
    for pattern, replacement in _SYNONYMS:
        s = pattern.sub(replacement, s)
    if not re.search(r"[(\[]|\\\{|^\{", s) or re.search(r", |;", s):
        s = _THOUSANDS.sub(lambda m: m.group().replace(",", ""), s)
    return " ".join(s.split()).rstrip(".,;: ").lstrip(",;: ")


def _tokens(s: str) -> list[_Token]:
    out: list[_Token] = []
    at = 0
    while at < len(s):
        if s[at] == " ":
            at += 1
            continue
        found = _TOKEN.match(s, at)
        if not found or len(out) >= MAX_TOKENS:
            raise _Refused("a character we do not read, or too many tokens")
        out.append(_Token(str(found.lastgroup), found.group(), at > 0 and s[at - 1] == " "))
        at = found.end()
    return out


# --------------------------------------------------------------------------------------------------------------------
# Expressions: an exact Fraction, or a tree of allowed operations, e.g. ("add", ("sym", "x"), Fraction(1))

Expr = Any  # Fraction | tuple[str, ...]
_FUNCTIONS = {
    "sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh", "ln", "log", "exp",
}  # fmt: skip
_GREEK = {
    "alpha", "beta", "gamma", "delta", "epsilon", "varepsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu",
    "nu", "xi", "rho", "sigma", "tau", "phi", "varphi", "chi", "psi", "omega", "Gamma", "Delta", "Theta", "Lambda",
    "Sigma", "Phi", "Psi", "Omega",
}  # fmt: skip
_PRODUCT_LETTERS = set("abcdkmnpqrstxyz")  # words of these are products (xyz); other long words are words
_TEXT_WORDS = {"no", "ok", "am", "pm"}
_CLOSER = {"(": ")]", "[": ")]", "{": "}", "\\{": ("\\}",)}


def _bounded(value: Fraction) -> Fraction:
    if value.numerator.bit_length() + value.denominator.bit_length() > MAX_BITS:
        raise _Refused("too large")
    return value


def _add(a: Expr, b: Expr) -> Expr:
    if isinstance(a, Fraction) and isinstance(b, Fraction):
        return _bounded(a + b)
    return ("add", a, b)


def _mul(a: Expr, b: Expr) -> Expr:
    if isinstance(a, Fraction) and isinstance(b, Fraction):
        return _bounded(a * b)
    return b if a == 1 else a if b == 1 else ("mul", a, b)


def _divide(a: Expr, b: Expr) -> Expr:
    if b == 0:
        raise _Refused("division by zero")
    return _mul(a, 1 / b if isinstance(b, Fraction) else ("pow", b, Fraction(-1)))


def _tower(e: Expr) -> int:
    """How high exponents are stacked."""
    if isinstance(e, Fraction) or e[0] in ("sym", "const", "base"):
        return 0
    if e[0] == "pow":
        return max(_tower(e[1]), 1 + _tower(e[2]))
    if e[0] == "fn":
        return max(map(_tower, e[2:])) + (e[1] in ("exp", "sinh", "cosh", "tanh", "factorial", "binomial"))
    return max(map(_tower, e[1:]))


def _degree(e: Expr) -> Fraction:
    """How large a power gets when multiplied out: of a polynomial its degree, of a number its bits."""
    if isinstance(e, Fraction):
        return Fraction(e.numerator.bit_length() + e.denominator.bit_length())
    if e[0] == "pow":
        return _degree(e[1]) * (abs(e[2]) if isinstance(e[2], Fraction) else _degree(e[2]))
    if e[0] in ("add", "mul"):
        return _degree(e[1]) + _degree(e[2])
    return Fraction(1)


def _has_symbols(e: Expr) -> bool:
    if isinstance(e, Fraction) or e[0] in ("const", "base"):
        return False
    return e[0] == "sym" or any(_has_symbols(x) for x in (e[1:] if e[0] != "fn" else e[2:]))


def _power(base: Expr, exponent: Expr) -> Expr:
    if isinstance(exponent, Fraction):
        size = abs(exponent)
        if isinstance(base, Fraction) and exponent.denominator == 1:
            bits = max(base.numerator.bit_length(), base.denominator.bit_length())
            if size * bits > MAX_BITS or (base == 0 and exponent < 0):
                raise _Refused("too large")
            return base ** int(exponent)
        plain = not isinstance(base, Fraction) and base[0] in ("sym", "const")
        if size > (10_000 if plain else 60) or exponent.denominator > 1_000:
            raise _Refused("too large")
    power = ("pow", base, exponent)
    if _tower(power) > 2 or _degree(power) > MAX_BITS:
        raise _Refused("too large")
    return power


def _function(name: str, *arguments: Expr) -> Expr:
    call = ("fn", name, *arguments)
    if _tower(call) > 2:
        raise _Refused("too large")
    return call


def _factorial(e: Expr) -> Expr:
    if _has_symbols(e):
        return _function("factorial", e)
    if not isinstance(e, Fraction) or e.denominator != 1 or not 0 <= e <= MAX_FACTORIAL:
        raise _Refused("a factorial that is too large or undefined")
    return Fraction(math.factorial(int(e)))


def _binomial(n: Expr, k: Expr) -> Expr:
    for e in (n, k):
        if not _has_symbols(e) and not (isinstance(e, Fraction) and e.denominator == 1 and 0 <= e <= MAX_FACTORIAL):
            raise _Refused("a binomial that is too large or undefined")
    if isinstance(n, Fraction) and isinstance(k, Fraction):
        return Fraction(math.comb(int(n), int(k)))
    return _function("binomial", n, k)


def _number(text: str) -> Fraction:
    """The exact value of a written decimal, scientific notation included."""
    mantissa, _, exponent = text.lower().partition("e")
    if len(mantissa) > MAX_DIGITS or abs(int(exponent or 0)) > MAX_DIGITS:
        raise _Refused("too many digits")
    whole, _, decimals = mantissa.partition(".")
    return Fraction(int(whole + decimals or "0")) * Fraction(10) ** (int(exponent or 0) - len(decimals))


class _Reader:
    """Recursive descent over tokens, with bounded depth; `sign` is what plus-minus stands for."""

    def __init__(self, tokens: Sequence[_Token], sign: int = 1) -> None:
        self.tokens, self.at, self.depth, self.sign = list(tokens), 0, 0, sign

    def peek(self, ahead: int = 0) -> str:
        return self.tokens[self.at + ahead].text if self.at + ahead < len(self.tokens) else ""

    def kind(self, ahead: int = 0) -> str:
        return self.tokens[self.at + ahead].kind if self.at + ahead < len(self.tokens) else ""

    def take(self, text: str) -> bool:
        hit = self.peek() == text
        self.at += hit
        return hit

    def need(self, *texts: str) -> None:
        if self.peek() not in texts:
            raise _Refused("unbalanced brackets")
        self.at += 1

    def whole(self) -> Expr:
        value = self.sum()
        if self.at != len(self.tokens):
            raise _Refused("more than one expression")
        return value

    def sum(self) -> Expr:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise _Refused("nested too deeply")
        total: Expr = None
        while True:
            sign, signed = 1, False
            while self.peek() in ("+", "-", r"\pm", r"\mp"):
                step = {"+": 1, "-": -1, r"\pm": self.sign, r"\mp": -self.sign}[self.peek()]
                sign, signed = sign * step, True
                self.at += 1
            if total is not None and not signed:
                break
            term = _mul(Fraction(sign), self.product())
            total = term if total is None else _add(total, term)
        self.depth -= 1
        return total

    def starts_factor(self) -> bool:
        return self.kind() in ("number", "word") or self.peek() in ("(", "[", "{") or (
            self.kind() == "command" and self.peek() not in (r"\cdot", r"\times", r"\div", r"\pm", r"\mp", r"\}")
        )  # fmt: skip

    def product(self) -> Expr:
        value = self.factor()
        while True:
            if self.peek() in ("*", r"\cdot", r"\times"):
                self.at += 1
                value = _mul(value, self.signed_factor())
            elif self.peek() in ("/", r"\div"):
                self.at += 1
                value = _divide(value, self.signed_factor())
            elif self.kind() == "number":
                raise _Refused("two numbers side by side")
            elif self.starts_factor():
                value = _mul(value, self.factor())
            else:
                return value

    def signed_factor(self) -> Expr:
        negative = self.take("-")
        value = self.factor()
        return _mul(Fraction(-1), value) if negative else value

    def factor(self) -> Expr:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise _Refused("nested too deeply")
        value = self.base()
        if self.take("^"):
            value = _power(value, self.script())
        if self.take("!"):
            value = _factorial(value)
        if self.peek() in ("^", "!"):
            raise _Refused("two exponents, or a double factorial")
        self.depth -= 1
        return value

    def script(self) -> Expr:
        """An exponent: braced, or a signed factor that may itself carry one."""
        return self.signed_factor()

    def argument(self) -> Expr:
        """One TeX argument: a braced group, or a single token (of a number, its first digit)."""
        if self.take("{"):
            value = self.sum()
            self.need("}")
            return value
        if self.kind() == "number":
            token = self.tokens[self.at]
            self.tokens[self.at : self.at + 1] = [
                _Token("number", part, False) for part in (token.text[0], token.text[1:]) if part
            ]
            if not token.text[0].isdigit():
                raise _Refused("an argument we do not read")
            self.at += 1
            return Fraction(int(token.text[0]))
        return self.base()

    def base(self) -> Expr:
        kind, text = self.kind(), self.peek()
        if kind == "number":
            return self.number()
        if kind == "word":
            self.at += 1
            return self.word(text)
        if text in ("(", "["):
            self.at += 1
            value = self.sum()
            self.need(")" if text == "(" else "]")
            return value
        if text == "{":
            return self.argument()
        if text == "|":
            self.at += 1
            value = self.sum()
            self.need("|")
            return _function("abs", value)
        if kind == "command":
            self.at += 1
            return self.command(text[1:])
        raise _Refused("an expression that ends too early")

    def number(self) -> Expr:
        text = self.peek()
        self.at += 1
        if self.peek() == "_":
            if not text.isdigit():
                raise _Refused("a base for a decimal")
            self.at += 1
            braced = self.take("{")
            base = self.peek()
            self.at += 1
            if braced:
                self.need("}")
            if not base.isdigit() or not 2 <= int(base[:4]) <= 36:
                raise _Refused("a base we do not read")
            return ("base", text.lstrip("0") or "0", int(base))
        value = _number(text)
        if self.peek() == r"\overline":
            self.at += 1
            self.need("{")
            digits = self.peek()
            if "." not in text or not digits.isdigit() or len(digits) > 50:
                raise _Refused("a repeating decimal we do not read")
            self.at += 1
            self.need("}")
            shift = len(text.partition(".")[2])
            return value + Fraction(int(digits), (10 ** len(digits) - 1) * 10**shift)
        return self.mixed(value) if text.isdigit() else value

    def mixed(self, whole: Fraction) -> Fraction:
        r"""``1 1/2`` and ``1\frac{1}{2}``: a whole number followed by a proper fraction of whole numbers."""
        start = self.at
        if self.peek() == r"\frac":
            self.at += 1
            top = self.argument()
            bottom = self.argument()
        elif self.kind() == "number" and self.peek(1) == "/" and self.kind(2) == "number":
            top, bottom = _number(self.peek()), _number(self.peek(2))
            self.at += 3
        else:
            return whole
        if (
            isinstance(top, Fraction)
            and isinstance(bottom, Fraction)
            and top.denominator == bottom.denominator == 1
            and 0 <= top < bottom
        ):
            return whole + top / bottom
        del self.tokens[start : self.at]
        return _mul(whole, _divide(top, bottom))

    def word(self, word: str) -> Expr:
        if word in _FUNCTIONS:
            return self.function(word)
        if word == "sqrt":
            return ("pow", self.factor() if self.peek() != "(" else self.base(), Fraction(1, 2))
        if word == "pi":
            return ("const", "pi")
        if word in ("infinity", "inf", "oo", "Infinity"):
            return ("const", "infty")
        if word in _GREEK:
            return self.subscripted(word)
        if not word.isascii() or word.lower() in _TEXT_WORDS or (len(word) > 2 and not set(word) <= _PRODUCT_LETTERS):
            raise _Refused("a word")
        letters: list[Expr] = [self.letter(c) for c in word[:-1]]
        if self.peek() == "^" and len(word) > 1:  # the exponent belongs to the last letter alone
            self.at += 1
            letters.append(_power(self.letter(word[-1]), self.script()))
        else:
            letters.append(self.subscripted(word[-1]) if self.peek() == "_" else self.letter(word[-1]))
        product = letters[0]
        for letter in letters[1:]:
            product = _mul(product, letter)
        return product

    @staticmethod
    def letter(c: str) -> Expr:
        return ("const", c) if c in "ei" else ("sym", c)

    def subscripted(self, name: str) -> Expr:
        if not self.take("_"):
            return ("sym", name)
        braced = self.take("{")
        inner = self.peek()
        if self.kind() not in ("number", "word") or len(inner) > 10:
            raise _Refused("a subscript we do not read")
        self.at += 1
        if braced:
            self.need("}")
        return ("sym", f"{name}_{inner}")

    def command(self, name: str) -> Expr:
        if name == "frac":
            top = self.argument()
            return _divide(top, self.argument())
        if name == "binom":
            top = self.argument()
            return _binomial(top, self.argument())
        if name == "sqrt":
            root: Expr = Fraction(2)
            if self.take("["):
                root = self.sum()
                self.need("]")
            return _power(self.argument(), _divide(Fraction(1), root))
        if name == "pi":
            return ("const", "pi")
        if name == "infty":
            return ("const", "infty")
        if name in _FUNCTIONS:
            return self.function(name)
        if name in _GREEK:
            return self.subscripted(name)
        raise _Refused("a command we do not read")

    def function(self, name: str) -> Expr:
        base: Expr = None
        power: Expr = None
        while self.peek() in ("_", "^"):
            if self.take("_") and name == "log" and base is None:
                base = self.argument()
            elif self.take("^") and power is None:
                power = self.argument() if self.peek() == "{" else self.base()
            else:
                raise _Refused("a script we do not read")
        if self.peek() in ("(", "[", "{"):
            inner = self.base()
        else:  # sin 2x: what stands side by side, up to the next sign or function
            inner = self.factor()
            while self.starts_factor() and self.peek().lstrip("\\") not in _FUNCTIONS:
                inner = _mul(inner, self.factor())
        if power == -1:  # sin^{-1} is the inverse function, not the reciprocal
            if name not in ("sin", "cos", "tan"):
                raise _Refused("an inverse we do not read")
            return _function(f"arc{name}", inner)
        value = _function("log", inner, base) if base is not None else _function(name, inner)
        return _power(value, power) if power is not None else value


# --------------------------------------------------------------------------------------------------------------------
# Answers: what stands around expressions


@dataclass(frozen=True, slots=True)
class _Text:
    words: str


@dataclass(frozen=True, slots=True)
class _Leaf:
    expr: Expr
    unit: str = ""


@dataclass(frozen=True, slots=True)
class _Seq:
    """Tuple, interval, ratio or union, by its brackets: "(", "[", ":" or "u" (parts of a union have no order)."""

    opening: str
    closing: str
    items: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class _Unordered:
    """A set in braces, or a bare list, which may also be meant as a tuple."""

    items: tuple[Any, ...]
    is_set: bool


@dataclass(frozen=True, slots=True)
class _Matrix:
    rows: tuple[tuple[Any, ...], ...]


@dataclass(frozen=True, slots=True)
class _Named:
    """`x = 2`, or the range of a variable, `x > 2`."""

    name: str
    value: Any


@dataclass(frozen=True, slots=True)
class _Relation:
    operator: str
    left: Expr
    right: Expr


_RELATIONS = {"=": "=", r"\approx": "=", "<": "<", ">": ">", r"\le": "<=", r"\ge": ">=", r"\ne": "!=", r"\in": "in"}
_CONJUNCTIONS = {",", ";", "and", "or"}
_NAME = re.compile(r"[A-Za-z](?:_\{?[A-Za-z0-9]+\}?)?'?(?:\([a-z]\))?(?:\^\{-1\}\([a-z]\))?|\\[a-z]+")
_UNIT_NAMES: dict[str, str] = {
    spelling: names.split()[0]
    for names in (
        "m meter metre", "cm centimeter centimetre", "mm millimeter millimetre", "km kilometer kilometre",
        "in inch inche", "ft foot feet", "yd yard", "mi mile", "g gram", "kg kilogram", "mg milligram", "lb pound lbs",
        "oz ounce", "s second sec", "min minute", "h hour hr", "d day", "l L liter litre",
        "ml mL milliliter millilitre", "dollar USD usd buck", "euro EUR", "cent", "degree deg", "mph", "unit",
        "square sq", "cubic cu", "per",
        "radian rad",
    )
    for spelling in names.split()
}  # fmt: skip


def _split(tokens: Sequence[_Token], separators: set[str]) -> tuple[list[list[_Token]], list[str]]:
    """Parts and separators at depth 0. Raises `_Refused` where brackets do not balance."""
    parts: list[list[_Token]] = [[]]
    found: list[str] = []
    stack: list[str] = []
    for token in tokens:
        if token.text in _CLOSER:
            stack.append(token.text)
            if len(stack) > MAX_DEPTH:
                raise _Refused("nested too deeply")
        elif token.text in (")", "]", "}", r"\}"):
            if not stack or token.text not in _CLOSER[stack.pop()]:
                raise _Refused("unbalanced brackets")
        elif not stack and token.text in separators:
            parts.append([])
            found.append(token.text)
            continue
        parts[-1].append(token)
    if stack:
        raise _Refused("unbalanced brackets")
    return parts, found


def _encloses(tokens: Sequence[_Token]) -> bool:
    """Whether the first token is a bracket that the last one closes."""
    if len(tokens) < 2 or tokens[0].text not in _CLOSER:
        return False
    depth = 0
    for i, token in enumerate(tokens):
        depth += (token.text in _CLOSER) - (token.text in (")", "]", "}", r"\}"))
        if depth == 0:
            return i == len(tokens) - 1
    return False


def _answer(tokens: Sequence[_Token], depth: int = 0) -> Any:
    if not tokens or depth > MAX_DEPTH:
        raise _Refused("empty, or nested too deeply")
    while tokens and tokens[0].text == r"\approx":
        tokens = tokens[1:]
    parts, found = _split(tokens, _CONJUNCTIONS)
    if found:
        return _listed([_answer(p, depth + 1) for p in parts if p], found)
    parts, found = _split(tokens, {r"\cup"})
    if found:
        return _Seq("u", "u", tuple(_answer(p, depth + 1) for p in parts))
    parts, found = _split(tokens, set(_RELATIONS))
    if found:
        return _related(parts, [_RELATIONS[f] for f in found], depth)
    parts, found = _split(tokens, {":"})
    if found:
        return _Seq(":", ":", tuple(_answer(p, depth + 1) for p in parts))
    if _encloses(tokens):
        opening, inner, closing = tokens[0].text, tokens[1:-1], tokens[-1].text
        if opening == r"\{" and not inner:
            return _Unordered((), True)
        parts, found = _split(inner, {",", ";"})
        if found or opening == r"\{":
            items = tuple(_answer(p, depth + 1) for p in parts)
            if opening in (r"\{", "{"):
                return _Unordered(items, True)
            if opening == "[" and all(isinstance(i, _Seq) and i.opening == "[" for i in items):
                return _Matrix(tuple(i.items for i in items))
            return _Seq(opening, closing, items)
        if not (opening == "[" and closing == ")") and not (opening == "(" and closing == "]"):
            return _answer(inner, depth + 1)
        raise _Refused("an interval with one end")
    return _quantity(tokens)


def _listed(items: list[Any], separators: list[str]) -> Any:
    if len(items) == 1:
        return items[0]
    if not items:
        raise _Refused("empty")
    if all(isinstance(i, _Named) for i in items):
        names = [i.name for i in items]
        if len(set(names)) == len(names):  # x = 1, y = 2 is the point (1, 2)
            return _Seq("(", ")", tuple(i.value for i in sorted(items, key=lambda i: i.name)))
        ranges = all(isinstance(i.value, _Seq) for i in items)
        if len(set(names)) == 1 and (not ranges or "or" in separators):
            values = tuple(i.value for i in items)
            return _Named(names[0], _Seq("u", "u", values) if ranges else _Unordered(values, False))
        if ranges and len(items) == 2 and set(separators) & {"and"}:  # x >= 2 and x < 5
            first, second = sorted((i.value for i in items), key=lambda v: _infinite(v.items[0].expr))
            if [_infinite(i.expr) for i in (*first.items, *second.items)][::3] == [-1, 1]:
                return _Named(names[0], _Seq(second.opening, first.closing, (second.items[0], first.items[1])))
    flat: list[Any] = []
    for item in items:
        flat.extend(item.items if isinstance(item, _Unordered) and not item.is_set else [item])
    return _Unordered(tuple(flat), False)


def _related(parts: list[list[_Token]], operators: list[str], depth: int) -> Any:
    names = ["".join(t.text for t in p) for p in parts]
    named = [bool(_NAME.fullmatch(n)) and n not in ("e", "i", r"\pi", r"\infty") for n in names]
    if operators == ["in"] and named[0]:
        return _Named(names[0], _answer(parts[1], depth + 1))
    if set(operators) == {"="}:
        if named[0]:
            return _Named(names[0], _answer(parts[-1], depth + 1))
        if named[-1] and len(parts) == 2:
            return _Named(names[-1], _answer(parts[0], depth + 1))
    sides = [_Reader(p).whole() for p in parts]
    if set(operators) == {"="} and not any(map(_has_symbols, sides)):
        return _Leaf(sides[-1])
    directions = {o[0] for o in operators}
    if directions <= {"<"} or directions <= {">"}:
        if directions == {">"}:
            parts, sides = parts[::-1], sides[::-1]
            operators = [o.replace(">", "<") for o in reversed(operators)]
            names, named = names[::-1], named[::-1]
        infinity = ("const", "infty")
        opening = "(" if operators[0] == "<" else "["
        closing = ")" if operators[-1] == "<" else "]"
        if len(parts) == 2 and named[0] and not _has_symbols(sides[1]):
            low = _Leaf(("mul", Fraction(-1), infinity))
            return _Named(names[0], _Seq("(", closing, (low, _Leaf(sides[1]))))
        if len(parts) == 2 and named[1] and not _has_symbols(sides[0]):
            return _Named(names[1], _Seq(opening, ")", (_Leaf(sides[0]), _Leaf(infinity))))
        if len(parts) == 3 and named[1] and not _has_symbols(sides[0]) and not _has_symbols(sides[2]):
            return _Named(names[1], _Seq(opening, closing, (_Leaf(sides[0]), _Leaf(sides[2]))))
    if len(parts) != 2 or "in" in operators:
        raise _Refused("a chain of relations we do not read")
    return _Relation(operators[0], sides[0], sides[1])


def _singular(word: str) -> str:
    known = _UNIT_NAMES.get(word) or _UNIT_NAMES.get(word.lower())
    if known:
        return known
    word = word.lower()
    shorter = word[:-1] if word.endswith("s") and len(word) > 3 else word
    return _UNIT_NAMES.get(shorter, shorter)


def _unit_start(tokens: Sequence[_Token]) -> int:
    """Where a trailing unit begins ("5 cm^2", "60 miles per hour", "12 apples"); len(tokens) where there is none."""
    start = len(tokens)
    while start > 1:
        i = start
        if i > 4 and [t.text for t in tokens[i - 4 : i]] in (["^", "{", "2", "}"], ["^", "{", "3", "}"]):
            i -= 4
        elif i > 2 and tokens[i - 2].text == "^" and tokens[i - 1].text in ("2", "3"):
            i -= 2
        word, before = tokens[i - 1], tokens[i - 2]
        if word.kind != "word" or word.text in _FUNCTIONS | _GREEK | {"pi", "sqrt"}:
            break
        known = word.text in _UNIT_NAMES
        if len(word.text) == 1:  # a letter is a unit only behind a number and a space (5 m), or in a quotient of units
            top = start < len(tokens) and tokens[start].text == "/"
            quotient = before.text == "/" and i > 3 and tokens[i - 3].text in _UNIT_NAMES
            if not (known and (word.spaced and (before.kind == "number" or top) or quotient)):
                break
        elif not known and (len(word.text) < 3 or (len(word.text) == 3 and set(word.text) <= _PRODUCT_LETTERS)):
            break
        start = i - 1
        if before.text == "/" and start > 2 and tokens[start - 2].kind == "word":
            start -= 1
        elif before.kind not in ("word", "number") and before.text not in (")", "}", "]", "!", "2", "3"):
            return len(tokens) if start == i - 1 and before.kind == "sign" else start
    return start


def _unit_name(tokens: Sequence[_Token]) -> str:
    words = [_singular(t.text) if t.kind == "word" else t.text for t in tokens if t.text not in "{}"]
    name = " ".join("per" if w == "/" else w for w in words)
    name = re.sub(r"\bsquare (\S+)", r"\1 ^ 2", name)
    name = re.sub(r"\bcubic (\S+)", r"\1 ^ 3", name)
    return {"mi per h": "mph"}.get(name, re.sub(r"^unit \^ [23]$", "unit", name))


def _quantity(tokens: Sequence[_Token]) -> Any:
    """An expression with its unit, a plus-minus pair, or words."""
    unit = ""
    signs = [t.text for t in tokens[:2]]
    money = next((i for i, s in enumerate(signs) if s in _CURRENCY and (i == 0 or signs[0] == "-")), None)
    if money is not None:
        unit = _CURRENCY[signs[money]]
        tokens = [*tokens[:money], *tokens[money + 1 :]]
    if tokens and tokens[-1].text == "%" and not unit:
        unit, tokens = "%", tokens[:-1]
    elif any(t.kind != "word" for t in tokens):
        start = _unit_start(tokens)
        if 0 < start < len(tokens):
            tail = _unit_name(tokens[start:])
            unit, tokens = unit or tail, tokens[:start]
    if any(t.text in (r"\pm", r"\mp") for t in tokens):
        return _Unordered(tuple(_Leaf(_Reader(tokens, sign).whole(), unit) for sign in (1, -1)), False)
    if all(t.kind == "word" for t in tokens):
        try:
            return _Leaf(_Reader(tokens).whole(), unit)
        except _Refused:
            return _Text(" ".join(t.text for t in tokens).casefold())
    return _Leaf(_Reader(tokens).whole(), unit)


@lru_cache(maxsize=4096)
def _parsed(text: str) -> Any:
    """The answer that a text states. Raises `_Refused` for what is not one."""
    s = _cleaned(text)
    matrix = _MATRIX.fullmatch(s)
    if matrix:
        rows = [r for r in matrix.group(2).split(r"\cr") if r.strip()]
        return _Matrix(tuple(tuple(_quantity(_tokens(cell)) for cell in row.split("&")) for row in rows))
    try:
        return _answer(_tokens(s))
    except _Refused:
        if _WORDS.fullmatch(s):
            return _Text(" ".join(re.findall(r"[^\W\d_]+", s)).casefold())
        raise


# --------------------------------------------------------------------------------------------------------------------
# Comparison

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
    if _infinite(a) or _infinite(b):
        return _infinite(a) == _infinite(b)
    return judge("expression", [_wire(a), _wire(b)])


def _infinite(e: Expr) -> int:
    if isinstance(e, Fraction):
        return 0
    if e == ("const", "infty"):
        return 1
    return -1 if e[0] == "mul" and e[1] == -1 and e[2] == ("const", "infty") else 0


def _equal_leaf(a: _Leaf, b: _Leaf, judge: Judge) -> bool:
    if a.unit == b.unit or not (a.unit and b.unit):
        if _equal_expr(a.expr, b.expr, judge):
            return True
        if a.unit == b.unit:
            return False
        scales = {"%": Fraction(1, 100), "degree": _mul(("const", "pi"), Fraction(1, 180))}
        scale_a, scale_b = scales.get(a.unit, Fraction(1)), scales.get(b.unit, Fraction(1))
        if scale_a == scale_b == 1:
            return False
        return _equal_expr(_mul(a.expr, scale_a), _mul(b.expr, scale_b), judge)
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
    if isinstance(a, _Named) or isinstance(b, _Named):
        if isinstance(a, _Named) and isinstance(b, _Named):
            return (a.name == b.name and _equal(a.value, b.value, judge)) or (
                # two equations solved for different letters, y = 2x and x = y/2
                a.name != b.name
                and all(isinstance(n.value, _Leaf) and _has_symbols(n.value.expr) for n in (a, b))
                and _equal(_relation(a), _relation(b), judge)
            )
        named, other = (a, b) if isinstance(a, _Named) else (b, a)
        if isinstance(other, _Relation):
            relation = _relation(named)
            return relation is not None and _equal(relation, other, judge)
        return _equal(named.value, other, judge)
    if isinstance(a, _Leaf) and isinstance(b, _Leaf):
        return _equal_leaf(a, b, judge)
    if isinstance(a, _Unordered) and isinstance(b, _Unordered):
        if a.is_set or b.is_set:
            return _same_items(_without_repeats(a.items, judge), _without_repeats(b.items, judge), judge)
        return _same_items(a.items, b.items, judge)
    if isinstance(a, _Unordered) or isinstance(b, _Unordered):
        group, other = (a, b) if isinstance(a, _Unordered) else (b, a)
        if isinstance(other, _Seq):
            return not group.is_set and other.opening in "([" and _pairs(group.items, other.items, judge)
        return len(group.items) == 1 and group.is_set and _equal(group.items[0], other, judge)
    if isinstance(a, _Seq) and isinstance(b, _Seq):
        if a.opening == b.opening == "u":
            return _same_items(a.items, b.items, judge)
        interval = len(a.items) == 2 or {a.opening, b.opening} & {"u", ":"}
        if interval and (a.opening, a.closing) != (b.opening, b.closing):
            return False
        return _pairs(a.items, b.items, judge)
    if isinstance(a, _Matrix) and isinstance(b, _Matrix):
        return len(a.rows) == len(b.rows) and all(_pairs(x, y, judge) for x, y in zip(a.rows, b.rows, strict=True))
    if isinstance(a, _Relation) and isinstance(b, _Relation):
        return judge("relation", [[r.operator, _wire(r.left), _wire(r.right)] for r in (a, b)])
    return isinstance(a, _Text) and a == b


def _relation(named: _Named) -> _Relation | None:
    """The relation that a named value or a one-sided range stands for."""
    letter = _Reader(_tokens(named.name)).whole()
    value = named.value
    if isinstance(value, _Leaf):
        return _Relation("=", letter, value.expr)
    if isinstance(value, _Seq) and len(value.items) == 2 and all(isinstance(i, _Leaf) for i in value.items):
        low, high = (i.expr for i in value.items)
        if _infinite(low):
            return _Relation("<" if value.closing == ")" else "<=", letter, high)
        if _infinite(high):
            return _Relation(">" if value.opening == "(" else ">=", letter, low)
    return None


def equal_math(answer: str, gold: str) -> bool:
    r"""Whether two answers are the same as a mathematician would say (see the module's conventions).

    Never raises on what a model wrote, never evaluates it. Raises RuntimeError when math-verify cannot be started.

    >>> equal_math(r"x = 2\sqrt{3}", "sqrt(12)"), equal_math(r"\{1, 2\}", "2, 1"), equal_math("2^{2^{2^{49}}}", "3")
    (True, True, False)
    """
    if answer.strip() == gold.strip():
        return bool(gold.strip())
    spent, calls = 0.0, 0

    def judge(kind: str, pair: list[Any]) -> bool:
        nonlocal spent, calls
        calls += 1
        if spent >= JUDGE_CPU_SECONDS or calls > JUDGE_CALLS:
            return False
        verdict, seconds = _HELPER.ask(json.dumps([kind, pair, JUDGE_CPU_SECONDS - spent]))
        spent += seconds
        return verdict

    try:
        plain, plain_gold = _cleaned(answer), _cleaned(gold)
    except _Refused:
        return False
    if plain == plain_gold != "":
        return True
    try:
        return _equal(_parsed(answer), _parsed(gold), judge)
    except _Refused:  # not mathematics that we read ("6:00 PM"): compared as words
        return plain.casefold() == plain_gold.casefold() != ""


def grade_math(text: str, gold: str) -> Grade:
    r"""Grades the final answer of a text: correct, wrong, or unparsable (none stated, truncated, or unreadable).

    >>> grade_math(r"So we get \boxed{50\%}.", "1/2").value, grade_math("I would say", "1/2").value
    ('correct', 'unparsable')
    """
    answer = extract_final_answer(text)
    if answer is None:
        return Grade.UNPARSABLE
    if equal_math(answer, gold):
        return Grade.CORRECT
    try:
        _parsed(answer)
    except _Refused:
        return Grade.UNPARSABLE
    return Grade.WRONG


# --------------------------------------------------------------------------------------------------------------------
# Multiple choice

_YES_NO = ("yes", "no", "maybe")
_CHOICE_PHRASE = re.compile(
    r"\b(?:answer|option|choice)\b[*_ \t]*(?:(?:is|would be|should be|must be)\b|=|:)[\s*_:]*(?:(?:option|choice)\s+)?",
    re.IGNORECASE,
)
_LABEL = re.compile(
    r"\W*(?:(?:option|choice)\s+)?(\(\s*)?([A-Za-z])(?(1)\s*\))(?![A-Za-z'])\s*([.:,)\-]?)(.*)", re.DOTALL
)
_ALSO = re.compile(r"\W*(?:and|or|/|&)?\W*\(?([A-Z])\)?\W*")


def _words(text: str) -> str:
    for _ in range(4):
        text = _WRAPPER.sub(r" \1 ", text)
    return " ".join(re.findall(r"[\w.%+/^-]+", text.casefold())).strip(" .")


def grade_choice(text: str, gold_letter: str, options: Mapping[str, str] | Sequence[str] | None = None) -> Grade:
    """Grades a multiple-choice answer: a letter ("B", "(B)", "Answer: B. Paris") or an option's own words.

    `options` are the option texts, by letter or in order from A; `("yes", "no", "maybe")`, also assumed when the gold
    answer is one of these words, is PubMedQA. `gold_letter` is a letter or an option's text. Where letter and words
    disagree the letter counts; two letters ("B or C") are unparsable. Raises ValueError when the gold answer is not an
    option.

    >>> grade_choice("So the answer is (B) Paris.", "B", ["Rome", "Paris"]).value, grade_choice("No", "yes").value
    ('correct', 'wrong')
    """
    gold = gold_letter.strip()
    if options is None:
        options = _YES_NO if gold.lower() in _YES_NO else dict.fromkeys("ABCDEFGHIJ", "")
    by_letter = dict(options) if isinstance(options, Mapping) else dict(zip(ascii_uppercase, options, strict=False))
    by_words = {_words(words): letter for letter, words in by_letter.items() if _words(words)}
    wanted = gold.upper().strip("().") if gold.upper().strip("().") in by_letter else by_words.get(_words(gold))
    if wanted is None:
        raise ValueError(
            f"The gold answer {gold!r} is none of the options {', '.join(by_letter)}; pass its letter or text."
        )
    said = _stated_choice(text)
    chosen = None if said is None else _chosen(said, by_letter, by_words)
    if chosen is None:
        return Grade.UNPARSABLE
    return Grade.CORRECT if chosen == wanted else Grade.WRONG


def _stated_choice(text: str) -> str | None:
    how, said = _stated(text, _CHOICE_PHRASE)
    if how == "box" or said is None:
        return said
    if how != "bare":
        return (said.partition("\n")[0] if how == "phrase" else said).strip() or None
    bare = said.strip()
    return bare if bare and len(bare) <= ANSWER_CHARACTERS and "\n" not in bare else None


def _chosen(said: str, by_letter: Mapping[str, str], by_words: Mapping[str, str]) -> str | None:
    for _ in range(4):
        said = _WRAPPER.sub(r" \1 ", said)
    said = said.strip().strip("$*_` ")
    words = _words(said)
    if words in by_words:
        return by_words[words]
    found = _LABEL.match(said)
    if found:
        bracket, letter, mark, rest = found.groups()
        rest = rest.strip(" *_$`")
        also = _ALSO.fullmatch(rest) or _ALSO.match(rest) if re.match(r"\W*(?:and|or|/|&)", rest) else None
        if also and also.group(1) in by_letter and also.group(1) != letter.upper():
            return None
        if mark == "," and (listed := _ALSO.fullmatch(rest)) and listed.group(1) in by_letter:
            return None
        # A letter alone, in brackets or with a mark is a label; "A man" needs the option's words behind it.
        sure = bracket or mark or not rest or re.match(r"[^\w]", rest)
        label = letter.upper() if (letter.isupper() or bracket or not rest) else ""
        if label in by_letter:
            named = _words(by_letter[label])
            if sure or label not in "AI" or (named and _words(rest).startswith(named)):
                return label
    starts = [w for w in by_words if words.startswith(w + " ")]
    return by_words[max(starts, key=len)] if starts else None


# --------------------------------------------------------------------------------------------------------------------
# The judge: math-verify's `verify` in a process of its own


def _wire(e: Expr) -> Any:
    """A tree as JSON. Numbers go in hexadecimal, which Python reads in linear time and at any length."""
    if isinstance(e, Fraction):
        return ["num", format(e.numerator, "x"), format(e.denominator, "x")]
    return [_wire(x) if isinstance(x, (tuple, Fraction)) else x for x in e]


class _Helper:
    """One judge process for this process, started when first needed and replaced when it had to be killed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._announced = False
        self._verdicts: dict[str, tuple[bool, float]] = {}

    def ask(self, request: str) -> tuple[bool, float]:
        """The verdict and the CPU seconds it took. A request that the judge does not survive is not equal."""
        with self._lock:
            if request in self._verdicts:
                return self._verdicts[request]
            for _ in range(2):  # once more, in case an idle helper died for reasons of its own
                process = self._ready()
                try:
                    assert process.stdin and process.stdout
                    process.stdin.write(request + "\n")
                    process.stdin.flush()
                    line, killed = self._read(process, JUDGE_WALL_SECONDS)
                except (BrokenPipeError, OSError):
                    line, killed = "", False
                if line.endswith("\n"):
                    verdict, seconds = json.loads(line)
                    self._remember(request, (verdict, seconds))
                    return verdict, seconds
                spent_out = killed or process.wait() == _SPENT
                self.stop()
                if spent_out:
                    self._start()  # warm before it is asked again
                    break
            self._remember(request, (False, JUDGE_CPU_SECONDS))
            return False, JUDGE_CPU_SECONDS

    def _remember(self, request: str, answer: tuple[bool, float]) -> None:
        if len(self._verdicts) >= 4096:
            self._verdicts.clear()
        self._verdicts[request] = answer

    @staticmethod
    def _read(process: subprocess.Popen[str], limit: float) -> tuple[str, bool]:
        """One line, or what came before the process was killed for taking longer than `limit` seconds."""
        late = threading.Event()

        def kill() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(limit, kill)
        timer.daemon = True
        timer.start()
        try:
            assert process.stdout
            return process.stdout.readline(), late.is_set()
        finally:
            timer.cancel()

    def _start(self) -> subprocess.Popen[str]:
        root = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
        self._announced = False
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", "from srm_utils.tasks.grading import _serve; _serve()"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8",
            env={**os.environ, "PYTHONPATH": path},
        )  # fmt: skip
        return self._process

    def _ready(self) -> subprocess.Popen[str]:
        process = self._process
        if process is None or (self._announced and process.poll() is not None):
            self.stop()
            process = self._start()
        if not self._announced:
            if self._read(process, START_SECONDS)[0] != "ready\n":
                process.kill()
                complaint = process.communicate()[1].strip().splitlines()
                self.stop()
                reason = complaint[-1] if complaint else "it did not answer"
                raise RuntimeError(
                    f"The judge of mathematics did not start ({reason}); install it with: pip install math-verify"
                )
            self._announced = True
        return process

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe:
                    try:
                        pipe.close()
                    except OSError:
                        pass

    def forget(self) -> None:
        """In a forked child: leave the parent's helper alone and start afresh."""
        process, self._process, self._lock = self._process, None, threading.Lock()
        if process is not None:
            process.returncode = 0  # it is the parent's to wait for
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe:
                    os.close(pipe.fileno())


_HELPER = _Helper()
atexit.register(_HELPER.stop)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_HELPER.forget)

# sympy imports much of itself when first needed, and some of those modules compile strings of their own while they are
# imported (its physical units do): all that has to happen before the seal.
_WARM_UP = (
    ("(x+1)^2", "x^2+2x+1"), ("3^{x+1}", "3*3^x"), (r"\sin^2 x+\cos^2 x", "1"), ("n!", "n*(n-1)!"),
    ("(x+i)^2", "x^2+2i*x-1"), ("sqrt(x^2)", "|x|"), (r"\binom{n}{2}", "n(n-1)/2"),
    (r"e^{2x}+\ln 8", r"(e^x)^2+3\ln 2"), (r"\sinh x", r"(e^x-e^{-x})/2"),
)  # fmt: skip
_SPENT = 75  # exit status of a judge that used up its time


def _seal() -> None:
    """From here on this process compiles no strings, starts no programs, opens no sockets and writes no files."""
    forbidden = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "socket.connect", "os.remove")

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if (
            event in forbidden
            or (event == "compile" and args[1] == "<string>")
            or (event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+"))
        ):
            raise PermissionError(f"The judge does not allow {event}.")

    sys.addaudithook(hook)


def _serve() -> None:
    """The judge's main loop: one JSON request a line, one JSON verdict a line."""
    judge = _load_judge()
    for answer, gold in _WARM_UP:
        judge("expression", [_wire(_parsed(text).expr) for text in (answer, gold)])
    deadline: list[float] = []

    def watch() -> None:
        while True:
            time.sleep(0.01)
            if deadline and time.process_time() > deadline[0]:
                os._exit(_SPENT)

    sys.stdin.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    threading.Thread(target=watch, daemon=True).start()
    sys.stderr = open(os.devnull, "w")  # nobody reads it from here on, and a full pipe would block
    _seal()
    print("ready", flush=True)
    for line in sys.stdin:
        kind, pair, limit = json.loads(line)
        start = time.process_time()
        deadline[:] = [start + limit]
        try:
            verdict = judge(kind, pair)
        except Exception:  # whatever sympy trips over: not shown equal
            verdict = False
        deadline.clear()
        print(json.dumps([verdict, time.process_time() - start]), flush=True)


def _load_judge() -> Callable[[str, list[Any]], bool]:
    import logging

    import sympy
    from math_verify import verify

    logging.disable(logging.CRITICAL)  # math-verify warns that its own (signal) time-out is off
    constants = {"pi": sympy.pi, "e": sympy.E, "i": sympy.I, "infty": sympy.oo}
    functions: dict[str, Any] = {
        name: getattr(sympy, name) for name in ("sin", "cos", "tan", "cot", "sec", "csc", "sinh", "cosh", "tanh", "exp")
    }
    functions |= {"arcsin": sympy.asin, "arccos": sympy.acos, "arctan": sympy.atan, "ln": sympy.log, "log": sympy.log}
    functions |= {"abs": sympy.Abs, "factorial": sympy.factorial, "binomial": sympy.binomial}
    flipped = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}

    def built(node: list[Any]) -> Any:
        op, *args = node
        if op == "num":
            return sympy.Rational(int(args[0], 16), int(args[1], 16))
        if op == "sym":
            return sympy.Symbol(args[0], real=True)
        if op == "const":
            return constants[args[0]]
        if op == "fn":
            return functions[args[0]](*map(built, args[1:]))
        return {"add": sympy.Add, "mul": sympy.Mul, "pow": sympy.Pow}[op](*map(built, args))

    def refuted(a: Any, b: Any) -> bool:
        """Whether values at two points already tell a from b: cheap, and spares `simplify` its worst cases."""
        symbols = sorted(a.free_symbols | b.free_symbols, key=str)
        for shift in (3, 11):
            point = {s: sympy.Rational(shift + 7 * i, 5 + 2 * i) for i, s in enumerate(symbols)}
            x, y = (e.subs(point).evalf(30) for e in (a, b))
            if not (x.is_number and y.is_number and x.is_finite and y.is_finite):
                return False
            if abs(x - y) > sympy.Float("1e-20") * max(abs(x), abs(y)):
                return True
        return False

    def same(a: Any, b: Any) -> bool:
        return not refuted(a, b) and bool(verify(b, a, timeout_seconds=None))

    def same_relation(a: list[Any], b: list[Any]) -> bool:
        """Two relations are one when their differences of sides are proportional, by a factor of the right sign."""
        (op, *sides), (other, *others) = a, b
        answer, gold = (built(s[0]) - built(s[1]) for s in (sides, others))
        symbols = sorted(answer.free_symbols | gold.free_symbols, key=str)
        point = {s: sympy.Rational(3 + 7 * i, 5 + 2 * i) for i, s in enumerate(symbols)}
        below = gold.subs(point)
        factor = answer.subs(point) / below if below != 0 else sympy.nan
        if not (factor.is_finite and factor.is_real and factor != 0):
            return False
        if (op if factor > 0 else flipped.get(op, op)) == other and same(answer, factor * gold):
            return True
        # other forms of an equation (xy = 1, y = 1/x) are math-verify's to solve
        equations = (sympy.Eq(d, 0, evaluate=False) for d in (gold, answer))
        return op == other == "=" and bool(verify(*equations, timeout_seconds=None))

    def judge(kind: str, pair: list[Any]) -> bool:
        return same_relation(*pair) if kind == "relation" else same(built(pair[0]), built(pair[1]))

    return judge
