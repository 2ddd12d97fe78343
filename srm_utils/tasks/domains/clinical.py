"""Clinical calculation: a patient note, a formula or score that is asked for, and the way to its value in steps.

After MedCalc-Bench (khandekar2024medcalcbench), whose notes come from case reports. These notes are made from seeds.
A solution recalls the formula, takes the values out of the note, converts units, and calculates. Each step is checked
by itself (wang2025scores), so a wrong answer has a first error of a known kind. A note may lack a value that the
formula needs; the right answer is then that it cannot be computed.

It tests methods of reasoning. It does not show that a model is fit for use on patients: `clinical_card.md` says what a
professional would object to.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from random import Random

from srm_utils.tasks.answers import STEPWISE_NUMBER
from srm_utils.tasks.domains.arithmetic import written
from srm_utils.tasks.domains.clinical_formulas import Formula, Input, Value, number
from srm_utils.tasks.domains.clinical_notes import misleading, note, other_lab, person, statement
from srm_utils.tasks.domains.clinical_solutions import (
    FORMULAS,
    NOT_COMPUTABLE,
    Stated,
    gold_program,
    gold_steps,
    rounded,
    value_of,
)
from srm_utils.tasks.domains.clinical_steps import checked
from srm_utils.tasks.domains.clinical_units import factor
from srm_utils.tasks.grading import Found
from srm_utils.tasks.names import nearest
from srm_utils.tasks.problem import Problem, StepCheck, Task, Templates
from srm_utils.tasks.words import answer_sentence

#: Share of the right value by which a computed quantity may be off; MedCalc-Bench allows as much. Scores are exact.
TOLERANCE = 0.05
#: What a problem of each difficulty holds; each has what the one before has, too.
DIFFICULTIES = {
    1: "every value once, in the formula's units",
    2: "and values that mislead",
    3: "and a value in another unit, where the formula has one",
    4: "and one value is missing",
}
_REFUSAL = re.compile(r"\b(?:cannot|can not|can't|could not) be (?:computed|calculated|determined)\b", re.I)


def compute(key: str, given: Mapping[str, str]) -> float:
    """The value of a formula for values as texts, each with its unit: "124 umol/L", "67 years", "female".

    Raises ValueError in one sentence for an unknown formula, a value that is missing, is no number, is impossible or
    lies outside what the formula is valid for, and for a unit that does not exist or is of another kind.

    >>> round(compute("cockcroft_gault", {"age": "67 years", "sex": "male", "weight": "58 kg",
    ...                                   "creatinine": "1.4 mg/dL"}), 1)
    42.0
    """
    formula = formula_of(key)
    values = {i.name: in_range(formula, i, read_value(i, given.get(i.name))) for i in formula.inputs}
    return value_of(formula, values)


def formula_of(key: str) -> Formula:
    """The formula of a key. Raises ValueError with the nearest keys."""
    if key not in FORMULAS:
        raise ValueError(f"There is no formula {key!r}; {nearest(key, FORMULAS)}.")
    return FORMULAS[key]


def read_value(item: Input, text: str | None) -> Value:
    """A stated value in the formula's unit. Raises ValueError as `compute` does."""
    if text is None:
        raise ValueError(f"The note does not state {item.name}; without it the formula cannot be computed.")
    if item.words:
        if text not in item.words:
            raise ValueError(f"{item.name} is {text!r}, which is none of {', '.join(item.words)}.")
        return text
    found = re.fullmatch(r"\s*(-?\d+(?:\.\d+)?)\s*(.*?)\s*", text)
    if found is None:
        raise ValueError(f"{item.name} is {text!r}, which is no number with a unit.")
    if not item.unit:
        if found[2]:
            raise ValueError(f"{item.name} has no unit; it was given in {found[2]!r}.")
        return float(found[1])
    if not found[2]:
        raise ValueError(f"{item.name} is given without a unit; give it in {item.unit}.")
    return float(found[1]) * factor(item.name, found[2], item.unit)


def in_range(formula: Formula, item: Input, value: Value) -> Value:
    """The value itself, where it is possible and the formula applies to it. Raises ValueError as `compute` does."""
    if item.words:
        return value
    amount = number(value)
    # A tenth of the lowest and ten times the highest value of the notes: beyond that a digit or a unit is wrong.
    if not item.low / 10 <= amount <= item.high * 10 or (item.name == "age" and amount > 125):
        raise ValueError(f"{item.name} of {Stated(amount, item.unit).text} is not possible; check the note.")
    low, high = formula.valid.get(item.name, (amount, amount))
    if not low <= amount <= high:
        raise ValueError(
            f"{_capital(formula.title)} is not valid for {item.name} of {Stated(amount, item.unit).text}; its source "
            f"covers {written(low)} to {written(high)}."
        )
    return value


class ClinicalTask(Task):
    """Notes for 26 formulas and scores, in the four difficulties of `DIFFICULTIES`.

    >>> task = ClinicalTask()
    >>> problem = task.problems(1, seed=1, difficulty=2)[0]
    >>> str(task.grade(task.solution(problem, "cot"), problem))
    'correct'
    """

    name = "clinical"
    answers = STEPWISE_NUMBER
    styles = ("direct", "cot", "program")
    difficulties = tuple(DIFFICULTIES)

    # ---------------------------------------------------------------- problems

    def draw(self, rng: Random, difficulty: int, templates: Templates = "train") -> Problem:
        formula = rng.choice(list(FORMULAS.values()))
        values = {i.name: _drawn(i, rng) for i in formula.inputs}
        return self.problem(formula, values, difficulty, templates, rng)

    def problem(
        self, formula: Formula, values: Mapping[str, Value], difficulty: int, templates: Templates, rng: Random
    ) -> Problem:
        """A note on these values (in the formula's units), told anew.

        The canonical form is the formula with its values, so that one patient never stands in two splits, however
        often and with whatever in between the note is told.
        """
        stated = {i.name: Stated(values[i.name], i.unit) for i in formula.inputs}
        if difficulty >= 3:
            stated |= _in_other_unit(formula, stated, rng)
        missing = rng.choice([i.name for i in formula.inputs]) if difficulty >= 4 else None
        told = {name: value for name, value in stated.items() if name != missing}
        question = _told(formula, told, missing, difficulty, templates, rng)
        canonical = f"clinical|{formula.key}" + "".join(f"|{Stated(values[i.name]).text}" for i in formula.inputs)
        facts = {
            "formula": formula.key,
            "stated": {name: [s.value, s.unit] for name, s in told.items()},
            "missing": missing,
        }
        problem = Problem("", self.name, question, NOT_COMPUTABLE, difficulty, canonical, (), facts)
        steps = gold_steps(problem)
        answer = NOT_COMPUTABLE if missing else rounded(steps[-1].rpartition(" ")[2], formula.decimals)
        return replace(problem, answer=answer, steps=steps)

    def retold(self, problem: Problem, difficulty: int, rng: Random, templates: Templates = "train") -> Problem:
        """The same patient and formula in a note of another difficulty or in other sentences, from a complete note.

        Raises ValueError for a problem that lacks a value.
        """
        if problem.facts["missing"] is not None:
            raise ValueError("This note lacks a value, so the patient cannot be told anew; use a complete note.")
        formula, words = FORMULAS[problem.facts["formula"]], problem.canonical.split("|")[2:]
        values = {i.name: w if i.words else float(w) for i, w in zip(formula.inputs, words, strict=True)}
        return replace(self.problem(formula, values, difficulty, templates, rng), id=problem.id)

    # ---------------------------------------------------------------- solutions

    def solution(self, problem: Problem, style: str, rng: Random | None = None) -> str:
        if style == "program":
            return gold_program(problem)
        if style not in self.styles:
            raise ValueError(f"Task {self.name!r} has no style {style!r}; choose one of {', '.join(self.styles)}.")
        # A colon, because the words are no number.
        final = answer_sentence(problem.answer).replace(f"is {NOT_COMPUTABLE}", f"is: {NOT_COMPUTABLE}")
        return final if style == "direct" else f"{'. '.join(problem.steps)}. {final}"

    # ---------------------------------------------------------------- grading

    def extract(self, text: str) -> str | None:
        return NOT_COMPUTABLE if _REFUSAL.search(text) else super().extract(text)

    def found(self, text: str, problem: Problem | None = None) -> Found | None:
        return Found(NOT_COMPUTABLE, "phrase") if _REFUSAL.search(text) else super().found(text, problem)

    def matches(self, answer: str, problem: Problem) -> bool:
        if NOT_COMPUTABLE in (answer, problem.answer):
            return answer == problem.answer
        return within(answer, problem, TOLERANCE)

    def check_steps(self, text: str, problem: Problem) -> list[StepCheck]:
        """The sentences of a solution that are steps, each right or wrong; `clinical_steps` tells the kind of error."""
        return [step.as_check() for step in checked(text, problem)]


def within(answer: str, problem: Problem, tolerance: float) -> bool:
    """Whether a number is right up to a share of the right value; a score, and a last digit, are exact."""
    try:
        said = float(answer)
    except ValueError:
        return False
    formula, right = FORMULAS[problem.facts["formula"]], float(problem.answer)
    last_digit = 0.0 if formula.is_score else 10.0**-formula.decimals
    allowed = 0.0 if formula.is_score else max(tolerance * abs(right), last_digit)
    return abs(said - right) <= allowed * (1 + 1e-9)


# ---------------------------------------------------------------- notes


def _drawn(item: Input, rng: Random) -> Value:
    if item.words:
        return rng.choice(item.words)
    return round(rng.uniform(item.low, item.high), item.decimals) if item.decimals else float(
        rng.randint(int(item.low), int(item.high))
    )  # fmt: skip


def _in_other_unit(formula: Formula, stated: Mapping[str, Stated], rng: Random) -> dict[str, Stated]:
    """One of the values in another unit, rounded to three digits as a laboratory would; {} where none has another."""
    able = [(i, unit) for i in formula.inputs for unit in i.others]
    if not able:
        return {}
    item, unit = rng.choice(able)
    value = number(stated[item.name].value) / factor(item.name, unit, item.unit)
    return {item.name: Stated(float(written(value, 3)), unit)}


def _told(
    formula: Formula, stated: Mapping[str, Stated], missing: str | None, difficulty: int, templates: Templates,
    rng: Random,
) -> str:  # fmt: skip
    """The note. A missing value may stand in it as an old one or as a relative's."""
    who = {k: str(stated[k].value) if k in stated else None for k in ("sex", "age")}
    # Age and sex are told of everybody, unless they are what is missing.
    if who["sex"] is None and missing != "sex":
        who["sex"] = rng.choice(("female", "male"))
    if who["age"] is None and missing != "age":
        who["age"] = str(rng.randint(*formula.ages))
    age = None if who["age"] is None else written(float(who["age"]))
    first = person(who["sex"], age, templates, rng)
    rest = [i for i in formula.inputs if i.name not in ("age", "sex")]
    told = [statement(i.name, stated[i.name].text, not i.words, templates, rng) for i in rest if i.name in stated]
    if difficulty >= 2:
        told.append(other_lab(templates, rng))
        astray = [i for i in rest if not i.words or (i.words == ("yes", "no") and _absent(i, stated))]
        # Where a value is missing, a wrong one may be at hand.
        chosen = [i for i in astray if i.name == missing] or astray
        if chosen:
            item = rng.choice(chosen)
            wrong = "" if item.words else Stated(number(_drawn(item, rng)), item.unit).text
            if item.words or item.name not in stated or wrong != stated[item.name].text:
                told.append(misleading(item.name, wrong, not item.words, who["sex"], templates, rng))
    return note(first, told, formula.title, templates, rng)


def _absent(item: Input, stated: Mapping[str, Stated]) -> bool:
    return item.name not in stated or stated[item.name].value == "no"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
