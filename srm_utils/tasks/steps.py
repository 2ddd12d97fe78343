"""The steps that a model's own text holds, in the form that `prompts` shows them."""

from __future__ import annotations

import re

from srm_utils.tasks.problem import Problem

#: Characters of a text that are read for steps.
MAX_TEXT = 20_000

_SENTENCE = re.compile(r"[^.?!\n]+(?:[.?!](?!\s|$)[^.?!\n]*)*")  # a point inside "3.5" ends nothing


def steps_in(text: str, problem: Problem) -> list[str]:
    """The sentences of a solution that are steps, in order and without their full stops.

    The sentence of the answer is none, and neither is a check at the end. What a text takes back ("Wait, that is
    wrong.") is left out; after a bare "Wait." it begins anew. Where every gold step is an equation, other sentences
    (quotations of the question, numbers left) are no steps.

    >>> from srm_utils.tasks import get_task
    >>> problem = get_task("graph").problems(1, difficulty=3)[0]
    >>> steps_in(get_task("graph").solution(problem, "cot"), problem) == list(problem.steps)
    True
    """
    sentences: list[str] = []
    for found in _SENTENCE.finditer(text[:MAX_TEXT]):
        sentence = found[0].strip()
        if sentence == "Wait":
            sentences = []
        elif sentence.startswith("Wait, "):
            sentences = sentences[:-1]
        elif sentence.startswith("Check:"):
            break
        elif sentence and not sentence.lower().startswith("the answer is"):
            sentences.append(sentence)
    equations = problem.steps and all(" = " in step for step in problem.steps)
    return [s for s in sentences if " = " in s] if equations else sentences
