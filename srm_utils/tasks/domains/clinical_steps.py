"""Where a clinical solution went wrong: each step checked by itself, and the kind of its first error (wang2025scores).

- formula: the recalled formula is another one, a finding counts other points, or the calculation does not follow it.
- extraction: a value is not the patient's of today, or one is left out or invented.
- unit: the value is the right one, and its conversion is wrong, missing or not needed.
- arithmetic: an equation does not hold.
- format: no answer can be read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from srm_utils.tasks.domains.arithmetic import holds, written
from srm_utils.tasks.domains.clinical_formulas import Formula, Input
from srm_utils.tasks.domains.clinical_solutions import (
    FORMULAS,
    NOT_COMPUTABLE,
    gold_program,
    quoted_step,
    stated_values,
)
from srm_utils.tasks.problem import Problem, StepCheck

Kind = Literal["", "formula", "extraction", "unit", "arithmetic", "format"]
#: In the order of figures and tables.
KINDS: tuple[Kind, ...] = ("formula", "extraction", "unit", "arithmetic", "format")

_SENTENCE = re.compile(r"[^.;\n]+(?:\.(?=\d)[^.;\n]*)*")
_LINE = re.compile(r"\s*([A-Za-z_]\w*)\s*=\s*(.+?)\s*")


@dataclass(frozen=True, slots=True)
class Step:
    """A step found in a text: where it stands (character offsets), and its error ("" where it is right)."""

    text: str
    start: int
    end: int
    error: Kind

    def as_check(self) -> StepCheck:
        """The step as every task reports one."""
        return StepCheck(self.text, self.start, self.end, "wrong" if self.error else "right")


def checked(text: str, problem: Problem) -> list[Step]:
    """The steps of a chain of thought, each checked against the note and the formula, and by its own arithmetic.

    A step is right when it is a step of the gold solution. A step that follows from an earlier error is wrong as well,
    so the first error is the one that tells the kind.
    """
    formula = FORMULAS[problem.facts["formula"]]
    body = text.partition("The answer")[0][:20_000]
    found = []
    for match in _SENTENCE.finditer(body):
        said = match[0].strip()
        if said:
            start = match.start() + len(match[0]) - len(match[0].lstrip())
            found.append(Step(said, start, start + len(said), _error_of(said, formula, problem)))
    return found


def first_error(text: str, problem: Problem) -> Kind:
    """The kind of the first error of a chain of thought; "" where every step is right and the answer follows.

    >>> from srm_utils.tasks import get_task
    >>> problem = get_task("clinical").problems(1, seed=1)[0]
    >>> first_error(get_task("clinical").solution(problem, "cot"), problem)
    ''
    """
    steps = checked(text, problem)
    for step in steps:
        if step.error:
            return step.error
    said = {step.text for step in steps}
    if "The answer" not in text:
        return "format"
    left_out = [step for step in problem.steps if step not in said]
    if left_out:
        return _kind_of_gold(left_out[0], FORMULAS[problem.facts["formula"]])
    return ""


def program_error(program: str, problem: Problem) -> Kind:
    """The kind of the first error in the text of a program; "" where it computes what it should.

    An interpreter makes no error of arithmetic, so none is found here. The names of values are those of the formula's
    inputs, as in the programs of the training text; a program in other names is compared by its result alone.

    >>> from srm_utils.tasks import get_task
    >>> problem = get_task("clinical").problems(1, seed=1)[0]
    >>> program_error(gold_program(problem), problem)
    ''
    """
    right, said = gold_program(problem), program.strip()
    if problem.facts["missing"] is not None:
        return "" if NOT_COMPUTABLE in said else "extraction"
    if NOT_COMPUTABLE in said:
        return "extraction"
    formula = FORMULAS[problem.facts["formula"]]
    mine, theirs = _lines(said), _lines(right)
    for name, expression in theirs.items():
        if mine.get(name) != expression:
            return _error_of_line(name, mine.get(name), formula, problem)
    printed = re.search(r"print \( (.*) \)\s*$", said)
    if printed is None:
        return "format"
    wanted = re.search(r"print \( (.*) \)\s*$", right)
    return "" if wanted is not None and printed[1] == wanted[1] else "formula"


def _lines(program: str) -> dict[str, str]:
    return {m[1]: m[2] for part in program.split(";") if (m := _LINE.fullmatch(part))}


def _error_of_line(name: str, expression: str | None, formula: Formula, problem: Problem) -> Kind:
    item = next(i for i in formula.inputs if i.variable == name)
    if expression is None:
        return "extraction"
    if formula.is_score:
        return "formula"
    value = stated_values(problem)[item.name].text.split(" ")[0]
    return "unit" if expression.split(" ")[0] == value else "extraction"


def _error_of(said: str, formula: Formula, problem: Problem) -> Kind:
    if said in problem.steps:
        return ""
    if said.startswith("Formula"):
        return "formula"
    if said.endswith(" is missing"):
        return "extraction"
    name, _, rest = said.partition(" = ")
    item = next((i for i in formula.inputs if i.name == name), None)
    if item is not None:
        return _error_of_quote(rest, item, problem)
    if re.search(r"[A-Za-z]", said.replace("log", "")):
        return "extraction" if " = " in said else "formula"
    if not holds(said):
        return "arithmetic"
    # It holds, and the formula has another calculation at this place.
    return "formula"


def _error_of_quote(rest: str, item: Input, problem: Problem) -> Kind:
    """The error of "NAME = REST", which is not the gold step: another value, another unit or other points."""
    stated = stated_values(problem).get(item.name)
    if stated is None:
        return "extraction"
    quoted, _, gives = rest.partition(" gives ")
    right = quoted_step(item, stated).partition(" = ")[2]
    right_quoted, _, right_gives = right.partition(" gives ")
    if quoted == right_quoted:
        return "formula" if gives != right_gives else ""
    value = stated.value if isinstance(stated.value, str) else written(stated.value, 6)
    if quoted.split(" ")[0] != value.split(" ")[0]:
        return "extraction"
    ours, theirs = right_quoted.split(" = ")[0], quoted.split(" = ")[0]
    return "arithmetic" if ours == theirs and " = " in right_quoted else "unit"


def _kind_of_gold(step: str, formula: Formula) -> Kind:
    """Which kind of error it is to leave a gold step out."""
    if step.startswith("Formula"):
        return "formula"
    of_value = any(step.startswith((f"{i.name} = ", f"{i.name} is missing")) for i in formula.inputs)
    return "extraction" if of_value else "formula"
