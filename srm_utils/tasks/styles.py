"""Which style a text is written in, told from the gold solutions of its own problem."""

from __future__ import annotations

import re
from difflib import SequenceMatcher

from srm_utils.tasks.problem import Problem, Task
from srm_utils.tasks.words import NAMES

_NAMES = frozenset(NAMES)
_WORD = re.compile(r"[A-Za-z]+|\d+|[^\w\s]")


def style_of(task: Task, problem: Problem, text: str) -> str:
    """The style whose gold solution looks most like a text, numbers and names left out.

    A text that looks like none of them (under half alike) is "other".

    >>> from srm_utils.tasks import get_task
    >>> task = get_task("chain"); problem = task.problems(1, difficulty=3)[0]
    >>> style_of(task, problem, task.solution(problem, "verbose"))
    'verbose'
    """
    shape = _shape(text[:4000])
    likeness = {
        style: SequenceMatcher(None, shape, _shape(task.solution(problem, style)), autojunk=False).ratio()
        for style in task.styles
        if style != "retry"  # a retry trace is a chain of thought with slips in it
    }
    if "Wait" in shape:
        return "retry"
    best = max(likeness, key=lambda style: likeness[style])
    return best if likeness[best] >= 0.5 else "other"


def _shape(text: str) -> list[str]:
    return ["0" if w.isdigit() else "Name" if w in _NAMES else w for w in _WORD.findall(text)]
