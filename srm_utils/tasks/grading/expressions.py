r"""Expressions: an exact Fraction, or a tree of allowed operations such as ("add", ("sym", "x"), Fraction(1)).

>>> from srm_utils.tasks.grading.tokens import tokenised
>>> Reader(tokenised("2^6 3^5")).whole()
Fraction(15552, 1)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from srm_utils.tasks.grading.tokens import Refused, Token

MAX_DEPTH = 25
MAX_DIGITS = 1_000  #: of one written number
MAX_BITS = 40_000  #: of one exact value: 2^{10000} is compared, 2^{2^{49}} refused
MAX_FACTORIAL = 500

Expr = Any  # Fraction | tuple[str, ...]
FUNCTIONS = {
    "sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh", "ln", "log", "exp",
}  # fmt: skip
GREEK = {
    "alpha", "beta", "gamma", "delta", "epsilon", "varepsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu",
    "nu", "xi", "rho", "sigma", "tau", "phi", "varphi", "chi", "psi", "omega", "Gamma", "Delta", "Theta", "Lambda",
    "Sigma", "Phi", "Psi", "Omega",
}  # fmt: skip
PRODUCT_LETTERS = set("abcdkmnpqrstxyz")  # words of these are products (xyz); other long words are words
_TEXT_WORDS = {"no", "ok", "am", "pm"}
CLOSER = {"(": ")]", "[": ")]", "{": "}", "\\{": ("\\}",)}


def _bounded(value: Fraction) -> Fraction:
    if value.numerator.bit_length() + value.denominator.bit_length() > MAX_BITS:
        raise Refused("too large")
    return value


def sum_of(a: Expr, b: Expr) -> Expr:
    if isinstance(a, Fraction) and isinstance(b, Fraction):
        return _bounded(a + b)
    return ("add", a, b)


def product_of(a: Expr, b: Expr) -> Expr:
    if isinstance(a, Fraction) and isinstance(b, Fraction):
        return _bounded(a * b)
    return b if a == 1 else a if b == 1 else ("mul", a, b)


def quotient_of(a: Expr, b: Expr) -> Expr:
    if b == 0:
        raise Refused("division by zero")
    return product_of(a, 1 / b if isinstance(b, Fraction) else ("pow", b, Fraction(-1)))


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


def has_symbols(e: Expr) -> bool:
    if isinstance(e, Fraction) or e[0] in ("const", "base"):
        return False
    return e[0] == "sym" or any(has_symbols(x) for x in (e[1:] if e[0] != "fn" else e[2:]))


def power_of(base: Expr, exponent: Expr) -> Expr:
    if isinstance(exponent, Fraction):
        size = abs(exponent)
        if isinstance(base, Fraction) and exponent.denominator == 1:
            bits = max(base.numerator.bit_length(), base.denominator.bit_length())
            if size * bits > MAX_BITS or (base == 0 and exponent < 0):
                raise Refused("too large")
            return base ** int(exponent)
        plain = not isinstance(base, Fraction) and base[0] in ("sym", "const")
        if size > (10_000 if plain else 60) or exponent.denominator > 1_000:
            raise Refused("too large")
    power = ("pow", base, exponent)
    if _tower(power) > 2 or _degree(power) > MAX_BITS:
        raise Refused("too large")
    return power


def call_of(name: str, *arguments: Expr) -> Expr:
    call = ("fn", name, *arguments)
    if _tower(call) > 2:
        raise Refused("too large")
    return call


def _factorial(e: Expr) -> Expr:
    if has_symbols(e):
        return call_of("factorial", e)
    if not isinstance(e, Fraction) or e.denominator != 1 or not 0 <= e <= MAX_FACTORIAL:
        raise Refused("a factorial that is too large or undefined")
    return Fraction(math.factorial(int(e)))


def _binomial(n: Expr, k: Expr) -> Expr:
    for e in (n, k):
        if not has_symbols(e) and not (isinstance(e, Fraction) and e.denominator == 1 and 0 <= e <= MAX_FACTORIAL):
            raise Refused("a binomial that is too large or undefined")
    if isinstance(n, Fraction) and isinstance(k, Fraction):
        return Fraction(math.comb(int(n), int(k)))
    return call_of("binomial", n, k)


def number_of(text: str) -> Fraction:
    """The exact value of a written decimal, scientific notation included."""
    mantissa, _, exponent = text.lower().partition("e")
    if len(mantissa) > MAX_DIGITS or abs(int(exponent or 0)) > MAX_DIGITS:
        raise Refused("too many digits")
    whole, _, decimals = mantissa.partition(".")
    return Fraction(int(whole + decimals or "0")) * Fraction(10) ** (int(exponent or 0) - len(decimals))


_RADIAN = ("mul", ("const", "pi"), Fraction(1, 180))  #: one degree


_NO_FACTORS = {r"\cdot", r"\times", r"\div", r"\pm", r"\mp", r"\}", r"\rfloor", r"\rceil"}


class Reader:
    """Recursive descent over tokens, with bounded depth; `sign` is what plus-minus stands for."""

    def __init__(self, tokens: Sequence[Token], sign: int = 1) -> None:
        self.tokens, self.at, self.depth, self.sign = list(tokens), 0, 0, sign
        self.in_function = 0  # an angle in degrees is read inside sin, cos, ... only
        self.was_power = False  # the factor just read was a power: 2^6 3^5 is a product, 2 3 is none

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
            raise Refused("unbalanced brackets")
        self.at += 1

    def whole(self) -> Expr:
        value = self.sum()
        if self.at != len(self.tokens):
            raise Refused("more than one expression")
        return value

    def sum(self) -> Expr:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise Refused("nested too deeply")
        total: Expr = None
        while True:
            sign, signed = 1, False
            while self.peek() in ("+", "-", r"\pm", r"\mp"):
                step = {"+": 1, "-": -1, r"\pm": self.sign, r"\mp": -self.sign}[self.peek()]
                sign, signed = sign * step, True
                self.at += 1
            if total is not None and not signed:
                break
            term = product_of(Fraction(sign), self.product())
            total = term if total is None else sum_of(total, term)
        self.depth -= 1
        return total

    def starts_factor(self) -> bool:
        return self.kind() in ("number", "word") or self.peek() in ("(", "[", "{") or (
            self.kind() == "command" and self.peek() not in _NO_FACTORS
        )  # fmt: skip

    def product(self) -> Expr:
        value = self.factor()
        while True:
            if self.peek() in ("*", r"\cdot", r"\times"):
                self.at += 1
                value = product_of(value, self.signed_factor())
            elif self.peek() in ("/", r"\div"):
                self.at += 1
                value = quotient_of(value, self.signed_factor())
            elif self.kind() == "number" and not (
                self.was_power and (self.tokens[self.at].spaced or self.tokens[self.at - 1].text == "}")
            ):
                raise Refused("two numbers side by side")
            elif self.starts_factor():
                value = product_of(value, self.factor())
            else:
                return value

    def signed_factor(self) -> Expr:
        negative = self.take("-")
        value = self.factor()
        return product_of(Fraction(-1), value) if negative else value

    def factor(self) -> Expr:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise Refused("nested too deeply")
        value = self.base()
        powered = self.take("^")
        if powered:
            value = power_of(value, self.script())
        if self.in_function and self.peek() in ("degrees", "degree"):
            self.at += 1
            value = product_of(value, _RADIAN)
        self.was_power = powered
        if self.take("!"):
            value = _factorial(value)
        if self.peek() in ("^", "!"):
            raise Refused("two exponents, or a double factorial")
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
                Token("number", part, False) for part in (token.text[0], token.text[1:]) if part
            ]
            if not token.text[0].isdigit():
                raise Refused("an argument we do not read")
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
            return call_of("abs", value)
        if kind == "command":
            self.at += 1
            return self.command(text[1:])
        raise Refused("an expression that ends too early")

    def number(self) -> Expr:
        text = self.peek()
        self.at += 1
        if self.peek() == "_":
            if not text.isdigit():
                raise Refused("a base for a decimal")
            self.at += 1
            braced = self.take("{")
            base = self.peek()
            self.at += 1
            if braced:
                self.need("}")
            if not base.isdigit() or not 2 <= int(base[:4]) <= 36:
                raise Refused("a base we do not read")
            return ("base", text.lstrip("0") or "0", int(base))
        value = number_of(text)
        if self.peek() == r"\overline":
            self.at += 1
            self.need("{")
            digits = self.peek()
            if "." not in text or not digits.isdigit() or len(digits) > 50:
                raise Refused("a repeating decimal we do not read")
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
            top, bottom = number_of(self.peek()), number_of(self.peek(2))
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
        return product_of(whole, quotient_of(top, bottom))

    def word(self, word: str) -> Expr:
        if word in FUNCTIONS:
            return self.function(word)
        if word == "sqrt":
            return ("pow", self.factor() if self.peek() != "(" else self.base(), Fraction(1, 2))
        if word == "pi":
            return ("const", "pi")
        if word in ("infinity", "inf", "oo", "Infinity"):
            return ("const", "infty")
        if word in GREEK:
            return self.subscripted(word)
        if not word.isascii() or word.lower() in _TEXT_WORDS or (len(word) > 2 and not set(word) <= PRODUCT_LETTERS):
            raise Refused("a word")
        letters: list[Expr] = [self.letter(c) for c in word[:-1]]
        if self.peek() == "^" and len(word) > 1:  # the exponent belongs to the last letter alone
            self.at += 1
            letters.append(power_of(self.letter(word[-1]), self.script()))
        else:
            letters.append(self.subscripted(word[-1]) if self.peek() == "_" else self.letter(word[-1]))
        product = letters[0]
        for letter in letters[1:]:
            product = product_of(product, letter)
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
            raise Refused("a subscript we do not read")
        self.at += 1
        if braced:
            self.need("}")
        return ("sym", f"{name}_{inner}")

    def command(self, name: str) -> Expr:
        if name == "frac":
            top = self.argument()
            return quotient_of(top, self.argument())
        if name == "binom":
            top = self.argument()
            return _binomial(top, self.argument())
        if name == "sqrt":
            root: Expr = Fraction(2)
            if self.take("["):
                root = self.sum()
                self.need("]")
            return power_of(self.argument(), quotient_of(Fraction(1), root))
        if name == "pi":
            return ("const", "pi")
        if name == "infty":
            return ("const", "infty")
        if name in FUNCTIONS:
            return self.function(name)
        if name in ("lfloor", "lceil"):
            value = self.sum()
            self.need(rf"\r{name[1:]}")
            if not isinstance(value, Fraction):
                raise Refused("a rounded expression that is no number")
            return Fraction(math.floor(value) if name == "lfloor" else math.ceil(value))
        if name in GREEK:
            return self.subscripted(name)
        raise Refused("a command we do not read")

    def function(self, name: str) -> Expr:
        base: Expr = None
        power: Expr = None
        self.in_function += 1
        while self.peek() in ("_", "^"):
            if self.take("_") and name == "log" and base is None:
                base = self.argument()
            elif self.take("^") and power is None:
                power = self.argument() if self.peek() == "{" else self.base()
            else:
                raise Refused("a script we do not read")
        if self.peek() in ("(", "[", "{"):
            inner = self.base()
        else:  # sin 2x: what stands side by side, up to the next sign or function
            inner = self.factor()
            while self.starts_factor() and self.peek().lstrip("\\") not in FUNCTIONS:
                inner = product_of(inner, self.factor())
        if self.peek() in ("degrees", "degree"):
            self.at += 1
            inner = product_of(inner, _RADIAN)
        self.in_function -= 1
        if power == -1:  # sin^{-1} is the inverse function, not the reciprocal
            if name not in ("sin", "cos", "tan"):
                raise Refused("an inverse we do not read")
            return call_of(f"arc{name}", inner)
        value = call_of("log", inner, base) if base is not None else call_of(name, inner)
        return power_of(value, power) if power is not None else value


def infinite(e: Expr) -> int:
    """1 for infinity, -1 for minus infinity, else 0."""
    if isinstance(e, Fraction):
        return 0
    if e == ("const", "infty"):
        return 1
    return -1 if e[0] == "mul" and e[1] == -1 and e[2] == ("const", "infty") else 0


def symbols_in(e: Expr) -> set[str]:
    """The names of the unknowns in an expression."""
    if isinstance(e, Fraction) or e[0] in ("const", "base"):
        return set()
    if e[0] == "sym":
        return {e[1]}
    return set().union(*(symbols_in(x) for x in (e[2:] if e[0] == "fn" else e[1:])))
