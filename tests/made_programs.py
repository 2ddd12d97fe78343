"""Random programs within the sandbox's language, for comparing it with Python: typed, so that most of them run."""

from __future__ import annotations

import random

NUMBERS = ["a", "b", "c", "n"]
TEXTS = ["s", "t"]
LISTS = ["xs", "ys"]

HEAD = """import math
from collections import Counter, defaultdict, deque
from fractions import Fraction
from datetime import date, timedelta
from itertools import accumulate, chain, combinations, islice, permutations, product
from functools import lru_cache, reduce
a, b, c, n = 7, -3, 2.5, 4
s, t = "banana split", "Äpfel"
xs, ys = [3, 1, 2, 3], [0, 5, -2]
d = {"x": 1, "y": [2, 3]}
z = {1, 2, 3}
def f(p, q=2, *rest, **more):
    return p * q + len(rest) - len(more)
def g(k):
    for i in range(k):
        if i == 5:
            return
        yield i * i
class Pair:
    count = 0
    def __init__(self, left, right=0):
        self.left, self.right = left, right
        Pair.count += 1
    def total(self):
        return self.left + self.right
    def __str__(self):
        return f"<{self.left}|{self.right}>"
@lru_cache(maxsize=None)
def fib(k):
    return k if k < 2 else fib(k - 1) + fib(k - 2)
"""


class Maker:
    """Makes programs from one seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def pick(self, *choices: str) -> str:
        return self.random.choice(choices)

    def number(self, depth: int = 3) -> str:
        """An expression that is a number, mostly."""
        r = self.random
        if depth == 0 or r.random() < 0.2:
            return r.choice([*NUMBERS, str(r.randint(-9, 30)), str(r.randint(0, 9) / 4), "True"])
        deeper = depth - 1
        x, y = self.number(deeper), self.number(deeper)
        text, items = self.text(deeper), self.items(deeper)
        return r.choice(
            [
                f"({x} {r.choice(['+', '-', '*', '+', '-', '//', '%', '/'])} {y})",
                f"({x} if {x} {r.choice(['<', '>=', '==', '!='])} {y} else {y})",
                f"abs({x})",
                f"-{x}",
                f"round({x}, {r.randint(0, 3)})",
                f"int({x})",
                f"max({x}, {y})",
                f"divmod(int({x}), 7)[1]",
                f"min({items} or [0])",
                f"len({text})",
                f"len({items})",
                f"sum({items})",
                f"{text}.count('a')",
                f"{text}.find({text})",
                f"math.floor({x})",
                f"math.gcd(int({x}), 12)",
                f"math.sqrt(abs({x}))",
                f"f({x}, {y})",
                f"f({x}, *[1, 2, 3], z={y})",
                f"(lambda u, v=2: u - v)({x})",
                f"fib(abs(int({x})) % 12)",
                f"sum(k * {x} for k in range(4) if k != {y})",
                f"next((k for k in {items} if k > {x}), 0)",
                f"reduce(lambda u, v: u + v, {items}, 0)",
                f"Counter({text})['a']",
                f"d.get({text}, {x})",
                f"({x} and {y})",
                f"({x} or {y})",
                f"int(bool({x}))",
                f"[{x}, {y}][{x} > {y}]",
                f"{x} ** 2",
                f"Pair({x}, {y}).total()",
                f"int({x}) & 6 | 1",
                f"int(str(int({x})))",
                f"ord({text}[0])",
                f"Fraction(int({x}), 6).numerator",
                f"(date(2024, 2, 28) + timedelta(days=int({x}))).day",
                "sum(1 for _ in permutations(z))",
                f"len(list(g(abs(int({x})) % 9)))",
            ]
        )

    def text(self, depth: int = 2) -> str:
        r = self.random
        if depth <= 0 or r.random() < 0.25:
            return r.choice([*TEXTS, "'a'", "'x-y'", "''", "'Zoë'"])
        deeper = depth - 1
        x, y, number, items = self.text(deeper), self.text(deeper), self.number(deeper), self.items(deeper)
        return r.choice(
            [
                f"({x} + {y})",
                f"{x}.upper()",
                f"{x}.title()",
                f"{x}[::-1]",
                f"{x}[1:3]",
                f"str({number})",
                f"str({items})",
                f"{x}.replace('a', {y})",
                f"f'{{{number}:.2f}}|{{{x.replace(chr(39), chr(34))}}}'",
                f"'{{:>8}}'.format({x})",
                f"'{{0}}-{{1!r}}'.format({number}, {y})",
                f"'%s:%5.1f' % ({x}, {number})",
                f"', '.join(map(str, {items}))",
                f"{x}.center(9, '*')",
                f"({x} * 2)",
                f"{x}.strip('a')",
                f"repr({x})",
                f"''.join(sorted({x}))",
                f"str(Pair({number}))",
                f"'{{v:05}}'.format(v=int({number}))",
                f"chr(97 + abs(int({number})) % 26)",
                f"str(Counter({x}).most_common(1))",
                f"str(date(2024, 1, 1) + timedelta({number}))",
                f"str(Fraction(int({number}), 4))",
                f"max({x}, {y})",
                f"bin(int({number}))",
                f"{x}.zfill(6)",
                f"str({x}.split())",
            ]
        )

    def items(self, depth: int = 2) -> str:
        """An expression that is a list of numbers, mostly."""
        r = self.random
        if depth <= 0 or r.random() < 0.25:
            return r.choice([*LISTS, "[1, 2]", "[]"])
        deeper = depth - 1
        x, y, number = self.items(deeper), self.items(deeper), self.number(deeper)
        return r.choice(
            [
                f"({x} + {y})",
                f"sorted({x})",
                f"sorted({x}, key=lambda v: -v)",
                f"{x}[::-1]",
                f"{x}[1:]",
                f"[v * 2 for v in {x} if v != {number}]",
                f"[u + v for u in {x} for v in {y}][:9]",
                f"list(map(abs, {x}))",
                f"list(filter(None, {x}))",
                f"[*{x}, {number}]",
                f"list(range({r.randint(-3, 3)}, {r.randint(0, 9)}))",
                f"list(accumulate({x}))",
                f"sorted(set({x}))",
                f"[v for v, w in zip({x}, {y})]",
                f"list(dict.fromkeys({x}))",
                f"[i for i, v in enumerate({x}) if v]",
                f"list(chain({x}, {y}))",
                f"sorted({{v % 3 for v in {x}}})",
                "list(islice(g(9), 3))",
                f"[sum(p) for p in combinations({x}, 2)]",
                f"list(deque({x}, maxlen=3))",
                f"list({{v: v for v in {x}}}.values())",
                f"[len(p) for p in product({x}[:3], repeat=2)]",
                f"list(reversed({x}))",
            ]
        )

    def statements(self, depth: int, loop: bool = False) -> list[str]:
        out = []
        for _ in range(self.random.randint(1, 3)):
            out += self.statement(depth, loop)
        return out

    def block(self, depth: int, loop: bool = False) -> list[str]:
        return [f"    {line}" for line in self.statements(depth - 1, loop)]

    def statement(self, depth: int, loop: bool) -> list[str]:
        r = self.random
        number, text, items = self.number(2), self.text(2), self.items(2)
        simple = [
            [f"{self.pick(*NUMBERS)} = {number}"],
            [f"{self.pick(*NUMBERS)} {r.choice(['+=', '-=', '*='])} {self.number(1)}"],
            [f"{self.pick(*TEXTS)} = ({text})[:20]"],
            [f"{self.pick(*LISTS)} = ({items})[:12]"],
            [f"print({number})"],
            [f"print({text}, {items}, sep='; ')"],
            [f"print(f'{{{number}!r:>6}}', end=' ')"],
            [f"{self.pick(*LISTS)}.append({number})"],
            [f"{self.pick(*LISTS)}.sort(reverse={r.choice(['True', 'False'])})"],
            [f"d[{text}] = {number}"],
            [f"z.add(int({number}))", "print(sorted(z), len(z))"],
            [f"a, *ys = [{number}, *{items}]"],
            [f"b, c = c, {number}"],
            ["print(sorted(d, key=str)[:3], Pair.count)"],
            [f"if (n := {number}) > 3:", f"    print('n', n, {text})"],
            [f"assert {number} != 11, {text}"],
            [f"xs[{r.randint(-4, 4)}] = {number}"],
        ]
        if loop and r.random() < 0.15:
            return [f"if {number} > {r.randint(0, 9)}:", f"    {r.choice(['break', 'continue'])}"]
        if depth == 0 or r.random() < 0.6:
            return list(r.choice(simple))
        kind = r.randrange(6)
        if kind == 0:
            return [f"if {number} > {r.randint(-3, 9)}:", *self.block(depth, loop), "else:", *self.block(depth, loop)]
        if kind == 1:
            return [
                f"for v in list({items}):",
                *self.block(depth, True),
                *(["else:", "    print('all')"] if r.random() < 0.3 else []),
            ]
        if kind == 2:
            name = f"w{depth}"
            return [f"{name} = 0", f"while {name} < {r.randint(1, 4)}:", f"    {name} += 1", *self.block(depth, True)]
        if kind == 3:
            return [
                "try:",
                *self.block(depth, loop),
                "except (ZeroDivisionError, IndexError) as e:",
                "    print('caught', e)",
                "except (TypeError, ValueError, KeyError):",
                "    print('other')",
                "finally:",
                "    print('finally')",
            ]
        if kind == 4:
            name = f"h{r.randrange(1000)}"
            body = self.block(depth)
            return [
                f"def {name}(a, b=1, *ys):",
                "    c, n, s, t, xs = 1, 2, 'u', 'v', [a]",
                *body,
                f"    return {number}",
                f"print({name}({self.number(1)}))",
            ]
        return [
            f"for i, (u, v) in enumerate(zip(list({items}), {items}[:])):",
            "    print(i, u, v, end=',')",
            *self.block(depth, True),
        ]

    def program(self) -> str:
        return HEAD + "\n".join([*self.statements(3), *self.statements(3), "print(a, b, c, n, s, t, xs, ys)"])
