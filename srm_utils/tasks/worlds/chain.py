"""Chain word problems: one quantity changes sentence by sentence (the easy tier).

A chain is a start value and a list of changes. Values stay within 0..50, so every number is one
token of the bundled tokenizer. From two steps on there are over 50 000 canonical forms; one-step
problems are for training and carry no claim.
"""

from __future__ import annotations

import re
from random import Random

from srm_utils.tasks.answers import STEPWISE_NUMBER
from srm_utils.tasks.problem import Problem, StepCheck, Task, Templates
from srm_utils.tasks.words import NAMES, THINGS, answer_sentence, apply, slip

MAX_VALUE = 50
MAX_CHANGE = 20

# {n} is the name, {k} the amount, {t} the thing.
_START = ("{n} has {k} {t}.", "{n} starts with {k} {t}.")
_CHANGES = {
    "train": {
        "+": ("{n} buys {k} {t}.", "{n} finds {k} more {t}.", "A friend gives {n} {k} {t}."),
        "-": ("{n} loses {k} {t}.", "{n} sells {k} {t}.", "{n} gives away {k} {t}."),
        "*": ("{n} now has twice as many {t}.",),
    },
    # The same words in sentences never seen in training; "gives" changes its direction.
    "held-out": {
        "+": ("A friend buys {n} {k} more {t}.", "A friend finds {k} {t} and gives {n} all {k}."),
        "-": ("{n} gives a friend {k} {t}.", "{n} sells a friend {k} {t}."),
        "*": ("{n} finds as many {t} as {n} has now.",),
    },
}
_EQUATION = re.compile(r"(\d{1,6}) ([-+*]) (\d{1,6}) = (\d{1,6})")


class ChainTask(Task):
    """Chain word problems with 1 to 6 steps in training and 8 or 10 unseen.

    >>> task = ChainTask()
    >>> problem = task.problems(1, seed=1, difficulty=2)[0]
    >>> str(task.grade(task.solution(problem, "cot"), problem))
    'correct'
    """

    name = "chain"
    answers = STEPWISE_NUMBER
    styles = ("direct", "cot", "draft", "verbose", "plan", "decompose", "program", "tool", "check", "retry")
    difficulties = (1, 2, 3, 4, 5, 6)
    unseen_difficulties = (8, 10)

    def draw(self, rng: Random, difficulty: int, templates: Templates = "train") -> Problem:
        value = start = rng.randint(1, MAX_VALUE)
        changes: list[tuple[str, int]] = []
        while len(changes) < difficulty:
            sign = rng.choices("+-*", (5, 5, 1))[0]
            amount = 2 if sign == "*" else rng.randint(1, MAX_CHANGE)
            if 0 <= apply(value, sign, amount) <= MAX_VALUE:
                changes.append((sign, amount))
                value = apply(value, sign, amount)
        name, thing = rng.choice(NAMES), rng.choice(THINGS)
        question = _question(start, changes, name, thing, templates, rng)
        canonical = f"chain|{start}" + "".join(f"{sign}{k}" for sign, k in changes)
        facts = {"start": start, "changes": changes, "name": name, "thing": thing}
        steps = tuple(_equations(start, changes))
        return Problem("", self.name, question, str(value), difficulty, canonical, steps, facts)

    def solution(self, problem: Problem, style: str, rng: Random | None = None) -> str:
        start, changes = problem.facts["start"], problem.facts["changes"]
        name, thing = problem.facts["name"], problem.facts["thing"]
        equations = list(problem.steps)
        final = answer_sentence(problem.answer)
        if style == "direct":
            return final
        if style == "draft":
            return f"{' '.join(e.rsplit(' ', 1)[1] for e in equations)}. {final}"
        if style == "program":
            return "; ".join([f"x = {start}", *(f"x = x {sign} {k}" for sign, k in changes), "print ( x )"])
        if style == "cot":
            body = equations
        elif style == "verbose":
            body = [f"{name} has {start} {thing}"]
            body += [
                f"Then {_say(sign, k)}, so {name} has {e} {thing}"
                for (sign, k), e in zip(changes, equations, strict=True)
            ]
        elif style == "plan":
            body = [f"Plan: start with {start}, {', '.join(_say(sign, k) for sign, k in changes)}", *equations]
        elif style == "decompose":
            body = []
            for i, ((sign, k), e) in enumerate(zip(changes, equations, strict=True)):
                body.append(f"{'First' if i == 0 else 'Next'}: what do we have if we {_say(sign, k)}? {e}")
        elif style == "tool":
            body = [f"Calculator: {e}" for e in equations]
        elif style == "check":
            # Undo every change: the start value must come out again.
            undo = [_undo(e) for e in reversed(equations)]
            body = [*equations, f"Check: {undo[0]}", *undo[1:], "It is right"]
        elif style == "retry":
            rng = rng or Random(problem.canonical)
            body = []
            for e in equations:
                if rng.random() < 0.3:
                    body += [slip(e, rng), "Wait, that is wrong"]
                body.append(e)
        else:
            raise ValueError(f"Task {self.name!r} has no style {style!r}; choose one of {', '.join(self.styles)}.")
        return ". ".join(body) + f". {final}"

    def corrupt(self, problem: Problem, rng: Random) -> tuple[list[str], int]:
        """Steps of a wrong solution, its error carried on to the end, and the index of the first error."""
        changes = problem.facts["changes"]
        at = rng.randrange(len(changes))
        value = problem.facts["start"]
        steps: list[str] = []
        for i, (sign, k) in enumerate(changes):
            equation = f"{value} {sign} {k} = {apply(value, sign, k)}"
            if i == at:
                # Half are slips of arithmetic, half misread the sentence: a checker needs both eyes.
                flip = {"+": "-", "-": "+", "*": "+"}[sign]
                if rng.random() < 0.5 and apply(value, flip, k) >= 0:
                    equation = f"{value} {flip} {k} = {apply(value, flip, k)}"
                else:
                    equation = slip(equation, rng)
            steps.append(equation)
            value = int(equation.rsplit(" ", 1)[1])
            if not 0 <= value <= 99 or (i == at and equation in problem.steps):
                return self.corrupt(problem, rng)
        return steps, at

    def rewrite(self, problem: Problem, rng: Random) -> str:
        """The same question with every sentence drawn anew."""
        facts = problem.facts
        return _question(facts["start"], facts["changes"], facts["name"], facts["thing"], "train", rng)

    def matches(self, answer: str, problem: Problem) -> bool:
        return answer == problem.answer

    def check_steps(self, text: str, problem: Problem) -> list[StepCheck]:
        """Equations found in a text: right when the chain really holds them (or undoes one), else wrong."""
        true = {*problem.steps, *map(_undo, problem.steps)}
        return [
            StepCheck(m[0], m.start(), m.end(), "right" if m[0] in true else "wrong") for m in _EQUATION.finditer(text)
        ]


def _question(
    start: int, changes: list[tuple[str, int]], name: str, thing: str, templates: Templates, rng: Random
) -> str:
    told = [rng.choice(_START).format(n=name, k=start, t=thing)]
    told += [rng.choice(_CHANGES[templates][sign]).format(n=name, k=k, t=thing) for sign, k in changes]
    return f"{' '.join(told)} How many {thing} does {name} have now?"


def _equations(start: int, changes: list[tuple[str, int]]) -> list[str]:
    out, value = [], start
    for sign, k in changes:
        out.append(f"{value} {sign} {k} = {apply(value, sign, k)}")
        value = apply(value, sign, k)
    return out


def _say(sign: str, k: int) -> str:
    return "double it" if sign == "*" else f"{'add' if sign == '+' else 'subtract'} {k}"


def _undo(equation: str) -> str:
    """The equation that takes a change back; a doubling is checked by adding."""
    left, sign, right, _, result = equation.split()
    if sign == "*":
        return f"{left} + {left} = {result}"
    return f"{result} {'-' if sign == '+' else '+'} {right} = {left}"
