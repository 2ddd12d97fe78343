"""Right solutions of a clinical note, step by step and as a program, from what the note states."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

from srm_utils.tasks.domains.arithmetic import evaluate, steps_of, written
from srm_utils.tasks.domains.clinical_formulas import EQUATIONS, Formula, Input, Value, number
from srm_utils.tasks.domains.clinical_scores import SCORES, points
from srm_utils.tasks.domains.clinical_units import taught
from srm_utils.tasks.problem import Problem

FORMULAS: dict[str, Formula] = {f.key: f for f in (*EQUATIONS, *SCORES)}
#: The answer where the note lacks a value.
NOT_COMPUTABLE = "cannot be computed"


@dataclass(frozen=True, slots=True)
class Stated:
    """A value as a note states it: the number or word, and its unit ("" where it has none)."""

    value: Value
    unit: str = ""

    @property
    def text(self) -> str:
        """As notes and steps write it: "124 umol/L", "yes".

        >>> Stated(124.0, "umol/L").text
        '124 umol/L'
        """
        said = self.value if isinstance(self.value, str) else written(self.value, 6)
        return f"{said} {self.unit}".strip()


def standard_values(formula: Formula, stated: Mapping[str, Stated]) -> dict[str, Value]:
    """Stated values in the formula's units, by the conversions as they are taught and written: four digits."""
    values: dict[str, Value] = {}
    for item in formula.inputs:
        found = stated[item.name]
        values[item.name] = found.value if item.words else float(_converted(item, found)[1])
    return values


def stated_values(problem: Problem) -> dict[str, Stated]:
    """What a note states of the formula's inputs, by name."""
    return {name: Stated(value, unit) for name, (value, unit) in problem.facts["stated"].items()}


def gold_steps(problem: Problem) -> tuple[str, ...]:
    """The steps of a chain of thought: each value with its conversion or points, the formula, the arithmetic.

    Where a value is missing, the steps end there.
    """
    formula, stated = FORMULAS[problem.facts["formula"]], stated_values(problem)
    quoted: list[str] = []
    for item in formula.inputs:
        if item.name not in stated:
            return (*quoted, f"{item.name} is missing")
        quoted.append(quoted_step(item, stated[item.name]))
    values = standard_values(formula, stated)
    expression = formula.expression(values)
    if formula.is_score:
        return (*quoted, f"{expression} = {written(evaluate(expression))}")
    numbers = {i.variable: number(values[i.name]) for i in formula.inputs if not i.words}
    return (*quoted, f"Formula: {expression}", *steps_of(expression, numbers))


def gold_program(problem: Problem) -> str:
    """The program: a line for each value, with its conversion or as points, and the printed formula."""
    formula, stated = FORMULAS[problem.facts["formula"]], stated_values(problem)
    lines: list[str] = []
    for item in formula.inputs:
        if item.name not in stated:
            return "; ".join([*lines, f'{item.variable} = "missing"', f'print ( "{NOT_COMPUTABLE}" )'])
        found = stated[item.name]
        value = found.value if item.words else _converted(item, found)[1]
        if item.points is not None:
            lines.append(f"{item.variable} = {points(item, value if item.words else float(value))}")
        else:
            lines.append(f"{item.variable} = " + (f'"{value}"' if item.words else _converted(item, found)[0]))
    expression = formula.expression(standard_values(formula, stated))
    if formula.is_score:
        expression = " + ".join(i.variable for i in formula.inputs)
    log = ["from math import log"] if "log (" in expression else []
    return "; ".join([*lines, *log, f"print ( {expression} )"])


def quoted_step(item: Input, found: Stated) -> str:
    """A value as a step quotes it: "creatinine = 124 umol/L / 88.4 = 1.403 mg/dL", "fever = yes gives 1"."""
    said = f"{item.name} = {found.text}"
    if not item.words:
        sign, result = _converted(item, found)
        if sign != result:
            said += f" {sign.partition(' ')[2]} = {result} {item.unit}"
    if item.points is not None:
        value = found.value if item.words else float(_converted(item, found)[1])
        said += f" gives {points(item, value)}"
    return said


def _converted(item: Input, found: Stated) -> tuple[str, str]:
    """A stated number with its conversion, as an expression and as its result; both alike where there is none."""
    value = written(number(found.value), 6)
    if found.unit == item.unit:
        return value, value
    sign, times = taught(item.name, found.unit, item.unit)
    if times == 1:
        return value, value
    expression = f"{value} {sign} {written(times)}"
    return expression, written(evaluate(expression))


def value_of(formula: Formula, values: Mapping[str, Value]) -> float:
    """The exact value of a formula for values in its own units. Raises ValueError where it has none."""
    numbers = {i.variable: number(values[i.name]) for i in formula.inputs if not i.words}
    return evaluate(formula.expression(values), numbers)


def rounded(value: str, decimals: int) -> str:
    """A written number rounded half up, without zeros at its end.

    >>> rounded("50.55", 1), rounded("17.96", 1), rounded("-0.2", 0)
    ('50.6', '18', '0')
    """
    said = Decimal(value).quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP) + 0
    text = f"{said:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
