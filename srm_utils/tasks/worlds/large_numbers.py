"""Sums over large numbers: easy to copy, hard to compute, so that programs and tools can win.

The bundled tokenizer splits numbers into two-digit groups, and the gold chain of thought computes
group by group from the right with a carry: every step is a small sum. Difficulty is the number of
groups of each operand. From two groups on there are over 50 000 canonical forms; one-group
problems are for training and carry no claim.
"""

from __future__ import annotations

import re
from random import Random

from srm_utils.tasks.answers import STEPWISE_NUMBER
from srm_utils.tasks.problem import Problem, StepCheck, Task, Templates
from srm_utils.tasks.words import answer_sentence, apply

_ASK = {
    "train": ("What is {e}?", "How much is {e}?"),
    "held-out": ("{e} is what?", "{e} is how much?"),
}
_STEP = re.compile(r"(\d{1,12}) ([-+*/]) (\d{1,12})(?: ([-+]) (\d{1,2}))? = (\d{1,12})(?:, (carry|borrow) (\d{1,2}))?")


class LargeNumbersTask(Task):
    """Additions, subtractions and multiplications by one digit; 1 to 3 groups in training, 4 unseen.

    With `operations=2` a second number is added or subtracted (no multiplication in that tier).

    >>> LargeNumbersTask().problems(1, seed=1, difficulty=2)[0].task
    'large-numbers'
    """

    name = "large-numbers"
    answers = STEPWISE_NUMBER
    styles = ("direct", "cot", "draft", "program", "tool", "check")
    difficulties = (1, 2, 3)
    unseen_difficulties = (4,)

    def __init__(self, operations: int = 1) -> None:
        if operations not in (1, 2):
            raise ValueError(f"Large numbers come with 1 or 2 operations; {operations} was asked for.")
        self.operations = operations

    def draw(self, rng: Random, difficulty: int, templates: Templates = "train") -> Problem:
        while True:
            start = _number(rng, difficulty)
            changes: list[tuple[str, int]] = []
            value = start
            for _ in range(self.operations):
                sign = rng.choices("+-*", (2, 2, 1 if self.operations == 1 else 0))[0]
                k = rng.randint(2, 9) if sign == "*" else _number(rng, difficulty)
                changes.append((sign, k))
                value = apply(value, sign, k)
                if value < 0:
                    break
            if value >= 0:
                break
        expression = " ".join([str(start), *(f"{sign} {k}" for sign, k in changes)])
        # Swapping the two terms of a sum makes no new form.
        first, (sign, k) = start, changes[0]
        if sign == "+":
            first, k = min(first, k), max(first, k)
        canonical = f"large-numbers|{first}{sign}{k}" + "".join(f"{s}{n}" for s, n in changes[1:])
        question = rng.choice(_ASK[templates]).format(e=expression)
        facts = {"start": start, "changes": changes}
        steps = tuple(_steps(start, changes))
        return Problem("", self.name, question, str(value), difficulty, canonical, steps, facts)

    def solution(self, problem: Problem, style: str, rng: Random | None = None) -> str:
        start, changes = problem.facts["start"], [tuple(c) for c in problem.facts["changes"]]
        steps, whole = list(problem.steps), _equations(start, changes)
        final = answer_sentence(problem.answer)
        if style == "direct":
            return final
        if style == "program":
            return f"print ( {' '.join([str(start), *(f'{sign} {k}' for sign, k in changes)])} )"
        if style == "draft":
            results = [m[6] for m in map(_STEP.match, steps) if m]
            body = results[:-1] or results
        elif style == "cot":
            body = steps
        elif style == "tool":
            body = [f"Calculator: {e}" for e in whole]
        elif style == "check":
            undo = [_undo(e) for e in reversed(whole)]
            body = [*steps, f"Check: {undo[0]}", *undo[1:], "It is right"]
        else:
            raise ValueError(f"Task {self.name!r} has no style {style!r}; choose one of {', '.join(self.styles)}.")
        return ". ".join(body) + f". {final}"

    def corrupt(self, problem: Problem, rng: Random) -> tuple[list[str], int]:
        """Steps of a wrong solution, a slip in one column carried on to the end, and its index."""
        start, changes = problem.facts["start"], [tuple(c) for c in problem.facts["changes"]]
        gold = list(problem.steps)
        while True:
            off = rng.choice((-10, -2, -1, 1, 2, 10))
            steps = _steps(start, changes, slip=(rng.randrange(len(gold)), off))
            if steps and steps[-1].rsplit(" ", 1)[1] != problem.answer:
                return steps, next(i for i, (s, g) in enumerate(zip(steps, gold, strict=False)) if s != g)

    def matches(self, answer: str, problem: Problem) -> bool:
        return answer == problem.answer

    def check_steps(self, text: str, problem: Problem) -> list[StepCheck]:
        """Equations found in a text: wrong when they do not hold, useless when the sum has no such column."""
        start, changes = problem.facts["start"], [tuple(c) for c in problem.facts["changes"]]
        gold = {*problem.steps, *map(_undo, _equations(start, changes))}
        checks = []
        for m in _STEP.finditer(text):
            verdict = "right" if m[0] in gold else "useless" if _holds(m) else "wrong"
            checks.append(StepCheck(m[0], m.start(), m.end(), verdict))  # type: ignore[arg-type]
        return checks


def _number(rng: Random, groups: int) -> int:
    return rng.randint(10 if groups == 1 else 100 ** (groups - 1), 100**groups - 1)


def _groups(value: int) -> list[int]:
    """Two-digit groups from the right, at least one."""
    out = [value % 100]
    while value := value // 100:
        out.append(value % 100)
    return out


def _columns(left: int, sign: str, right: int, slip: tuple[int, int] | None) -> tuple[list[str], int] | None:
    """One line a group and the result they spell; None when a slip leads below zero."""
    a = _groups(left)
    b = [right] * len(a) if sign == "*" else _groups(right)
    a += [0] * (len(b) - len(a))
    b += [0] * (len(a) - len(b))
    lines, digits, carry = [], [], 0
    for i, (x, y) in enumerate(zip(a, b, strict=True)):
        last = i == len(a) - 1
        extra = "" if i == 0 else f" {'-' if sign == '-' else '+'} {carry}"
        if sign == "-":
            borrow = int(not last and x < y + carry)
            value = 100 * borrow + x - y - carry
            left_text = str(100 * borrow + x)
        else:
            borrow = 0
            value = apply(x, sign, y) + carry
            left_text = str(x)
        if slip and slip[0] == i:
            value += slip[1]
        if value < 0 or (sign == "-" and value > 99):
            return None
        carry = borrow if sign == "-" else value // 100
        note = "" if last else f", {'borrow' if sign == '-' else 'carry'} {carry}"
        lines.append(f"{left_text} {sign} {y}{extra} = {value}{note}")
        digits.append(value if last else value % 100)
    return lines, sum(d * 100**i for i, d in enumerate(digits))


def _steps(start: int, changes: list[tuple[str, int]], slip: tuple[int, int] | None = None) -> list[str]:
    """Columns, then the whole equation, for each operation; `slip` is (index of a line, how far it is off).

    Only columns slip: on a whole equation's index it does nothing. Empty when a slip leads below zero.
    """
    out: list[str] = []
    value = start
    for sign, k in changes:
        here = (slip[0] - len(out), slip[1]) if slip else None
        made = _columns(value, sign, k, here)
        if made is None:
            return []
        lines, result = made
        out += lines
        if len(lines) > 1:  # with one group, the column is the equation
            out.append(f"{value} {sign} {k} = {result}")
        value = result
    return out


def _equations(start: int, changes: list[tuple[str, int]]) -> list[str]:
    out, value = [], start
    for sign, k in changes:
        out.append(f"{value} {sign} {k} = {apply(value, sign, k)}")
        value = apply(value, sign, k)
    return out


def _undo(equation: str) -> str:
    left, sign, right, _, result = equation.split()
    return f"{result} {({'+': '-', '-': '+', '*': '/'})[sign]} {right} = {left}"


def _holds(m: re.Match[str]) -> bool:
    left, right, result = int(m[1]), int(m[3]), int(m[6])
    if m[2] == "/":
        value = left // right if right and left % right == 0 else None
    else:
        value = apply(left, m[2], right)
    if value is not None and m[4]:
        value = apply(value, m[4], int(m[5]))
    if value != result:
        return False
    # A borrow shows in the left side, a carry in the result.
    return m[7] is None or int(m[8]) == (result // 100 if m[7] == "carry" else left // 100)
