"""The trace viewer: what a model wrote, how sure it was of each token, and which steps hold."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from srm_utils.sampling.completion import Completion
from srm_utils.tasks.problem import Grade, Problem, StepCheck, Task

#: A token this improbable (e^-4, 2 %) has the full shade.
FULL_SHADE = 4.0

#: How far ahead a token's text is looked for when the text before it could not be placed.
_AHEAD = 8

# A sign and a line besides the colour, so that no verdict rests on colour alone. The colours have
# contrast enough on white and on black for lines and signs; the text keeps the page's own colour.
SIGNS = {"right": "✓", "wrong": "✗", "useless": "○"}
LINES = {"right": "solid #2a8a5c", "wrong": "double #d9541e", "useless": "dotted #808080"}
GRADES = {Grade.CORRECT: "right", Grade.WRONG: "wrong", Grade.UNPARSABLE: "useless"}


@dataclass(frozen=True, slots=True)
class TokenSpan:
    """Characters [start, end) of the text that one token wrote, and its natural log-probability."""

    start: int
    end: int
    logprob: float


@dataclass(frozen=True)
class Trace:
    """A completion ready to be shown: HTML in a notebook (light or dark), plain text elsewhere."""

    question: str
    text: str
    gold: str
    grade: Grade
    tokens: tuple[TokenSpan, ...]
    steps: tuple[StepCheck, ...]

    def _repr_html_(self) -> str:
        sign = SIGNS[GRADES[self.grade]]
        answer = f"{sign} {self.grade.value}, the answer is {self.gold}"
        return (
            '<div style="font-family: ui-monospace, monospace; line-height: 1.9; max-width: 60em; '
            'white-space: pre-wrap">'
            f'<div style="opacity: 0.8">{html.escape(self.question)}</div>'
            f"<div>{self._body()}</div>"
            f'<div style="opacity: 0.8"><small>{html.escape(answer)} · shade: improbable token · '
            "underlined: step ✓ right, ✗ wrong, ○ true but useless</small></div></div>"
        )

    def _body(self) -> str:
        out = []
        position = 0
        for step in self.steps:
            out.append(self._shaded(position, step.start))
            sign = f'<sup aria-label="{step.verdict}">{SIGNS[step.verdict]}</sup>'
            out.append(
                f'<span title="step: {step.verdict}" style="border-bottom: 3px {LINES[step.verdict]}">'
                f"{self._shaded(step.start, step.end)}{sign}</span>"
            )
            position = step.end
        return "".join(out) + self._shaded(position, len(self.text))

    def _shaded(self, start: int, end: int) -> str:
        """The text between two characters, each token with a background as strong as it was improbable."""
        out = []
        position = start
        for token in self.tokens:
            low, high = max(token.start, start), min(token.end, end)
            if low >= high:
                continue
            out.append(html.escape(self.text[position:low]))
            # Half transparent at most: the page's own text colour stays readable on it, light or dark.
            alpha = 0.5 * min(-token.logprob / FULL_SHADE, 1.0)
            out.append(
                f'<span title="p = {math.exp(token.logprob):.2g}" style="background: rgba(230, 130, 0, {alpha:.2f})">'
                f"{html.escape(self.text[low:high])}</span>"
            )
            position = high
        return "".join(out) + html.escape(self.text[position:end])

    def __repr__(self) -> str:
        marked, position = [], 0
        for step in self.steps:
            marked += [self.text[position : step.end], f" [{SIGNS[step.verdict]} {step.verdict}]"]
            position = step.end
        lines = [
            self.question,
            "".join(marked) + self.text[position:],
            f"{self.grade.value}, the answer is {self.gold}",
        ]
        unsure = sorted((t for t in self.tokens if t.logprob < math.log(0.5)), key=lambda t: t.logprob)[:5]
        if unsure:
            said = ", ".join(f"{self.text[t.start : t.end].strip()!r} p={math.exp(t.logprob):.2g}" for t in unsure)
            lines.append(f"least sure of: {said}")
        return "\n".join(lines)


def show_trace(task: Task, problem: Problem, completion: Completion, decode: Callable[[Sequence[int]], str]) -> Trace:
    """A completion as a `Trace`, its answer graded and its steps checked by the task itself.

    `decode` is the tokenizer's, from token ids to text. Tokens that left no trace in the text (the end token,
    what a stop string cut off) are not shown.
    """
    text = completion.text
    steps: list[StepCheck] = []
    for step in sorted(task.check_steps(text, problem), key=lambda s: s.start):
        if not steps or step.start >= steps[-1].end:  # a step inside another is shown by the outer one
            steps.append(step)
    spans = token_spans(text, completion.token_ids, completion.logprobs, decode)
    return Trace(problem.question, text, problem.answer, task.grade(text, problem), spans, tuple(steps))


def token_spans(
    text: str, token_ids: Sequence[int], logprobs: Sequence[float], decode: Callable[[Sequence[int]], str]
) -> tuple[TokenSpan, ...]:
    """Where each token stands in the text, in order; a character split over several tokens is one span.

    A tokenizer may drop or add the space before a word when it decodes a token alone, so each piece is looked
    for without its outer spaces, a few characters ahead at most; a piece that is not there is left out.

    >>> [s.start for s in token_spans("a + b", [0, 1, 2, 3], [-0.1] * 4, lambda ids: ["a", "+", "b", "<end>"][ids[0]])]
    [0, 1, 3]
    """
    found: list[TokenSpan] = []
    position, logprob = 0, 0.0
    pending: list[int] = []
    for i, (token, value) in enumerate(zip(token_ids, logprobs, strict=True)):
        pending, logprob = [*pending, token], logprob + value
        piece = decode(pending)
        if piece.endswith("\ufffd") and len(pending) < 4 and i + 1 < len(token_ids):
            continue  # UTF-8 takes up to four bytes: the character is not whole yet
        core = piece.strip() or piece
        start = text.find(core, position, position + len(core) + _AHEAD) if core else -1
        if start >= 0:
            # The space before a word belongs to it; anything else skipped belongs to no token.
            start = position if text[position:start].isspace() else start
            end = text.index(core, start) + len(core)
            found.append(TokenSpan(start, end, logprob))
            position = end
        pending, logprob = [], 0.0
    return tuple(found)
