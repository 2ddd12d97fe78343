"""Where a wrong solution left the way: the kind of its first error, told by the task's own step checks."""

from __future__ import annotations

import re
from typing import Literal

from srm_utils.tasks.problem import Grade, Problem, Task

ErrorKind = Literal["", "format", "arithmetic", "look-up", "plan", "no steps"]

#: What can be wrong with a solution, in the order of figures and tables.
ERROR_KINDS: tuple[ErrorKind, ...] = ("format", "arithmetic", "look-up", "plan", "no steps")

_EQUATION = re.compile(r"(?<![\d.])(\d{1,6}) ([-+*/]) (\d{1,6}) = (\d{1,6})(?![\d.])")


def first_error(task: Task, problem: Problem, text: str) -> ErrorKind:
    """The kind of error that a solution's text made first; "" when its answer is correct.

    - format: no answer can be read.
    - arithmetic: the first step that fails is an equation that does not hold.
    - look-up: the first step that fails holds in itself, or quotes, but not what the problem says.
    - plan: the first departure is a step that is true and leads nowhere, or all steps are right and too few.
    - no steps: a wrong answer without any step that the task could check.

    >>> from srm_utils.tasks import get_task
    >>> task = get_task("chain"); problem = task.problems(1, difficulty=2)[0]
    >>> first_error(task, problem, "1 + 1 = 3. The answer is 99."), first_error(task, problem, "The answer is 99.")
    ('arithmetic', 'no steps')
    """
    grade = task.grade(text, problem)
    if grade == Grade.CORRECT:
        return ""
    if grade == Grade.UNPARSABLE:
        return "format"
    steps = task.check_steps(text, problem)
    if not steps:
        return "no steps"
    departure = next((step for step in steps if step.verdict != "right"), None)
    if departure is None or departure.verdict == "useless":
        return "plan"
    return "look-up" if all(_holds(m) for m in _EQUATION.finditer(departure.text)) else "arithmetic"


def _holds(equation: re.Match[str]) -> bool:
    left, right, result = int(equation[1]), int(equation[3]), int(equation[4])
    if equation[2] == "/":
        return right != 0 and left == result * right
    return result == {"+": left + right, "-": left - right, "*": left * right}[equation[2]]
