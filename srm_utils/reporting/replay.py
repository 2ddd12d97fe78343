"""Watch a model think: a completion played back one token after another, in the order it was written."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from srm_utils.reporting.traces import FULL_SHADE, TokenSpan, token_spans
from srm_utils.sampling.completion import Completion

# A token is hidden only while the animation waits for its turn: a page that drops the style sheet, or a reader who
# asked for less motion, sees the whole text at once.
_SHEET = (
    "@media (prefers-reduced-motion: no-preference) {"
    ".srm-replay span { animation: srm-appear 0.12s both; }"
    "@keyframes srm-appear { from { opacity: 0 } to { opacity: 1 } } }"
)


@dataclass(frozen=True)
class Replay:
    """A completion that writes itself in a notebook; elsewhere one token a line with its probability."""

    question: str
    text: str
    tokens: tuple[TokenSpan, ...]
    seconds: float

    def _repr_html_(self) -> str:
        out, position = [], 0
        for turn, token in enumerate(self.tokens):
            # What no token could be placed in appears with the token after it.
            piece = html.escape(self.text[position : token.end])
            alpha = 0.5 * min(-token.logprob / FULL_SHADE, 1.0)
            out.append(
                f'<span title="token {turn + 1}, p = {math.exp(token.logprob):.2g}" '
                f'style="animation-delay: {turn * self.seconds:.2f}s; background: rgba(230, 130, 0, {alpha:.2f})">'
                f"{piece}</span>"
            )
            position = token.end
        return (
            f"<style>{_SHEET}</style>"
            '<div style="font-family: ui-monospace, monospace; line-height: 1.9; max-width: 60em; '
            'white-space: pre-wrap">'
            f'<div style="opacity: 0.8">{html.escape(self.question)}</div>'
            f'<div class="srm-replay">{"".join(out)}{html.escape(self.text[position:])}</div>'
            f'<div style="opacity: 0.8"><small>{len(self.tokens)} tokens, one after another · shade: the model was '
            "unsure of this token</small></div></div>"
        )

    def __repr__(self) -> str:
        lines = [f"{self.text[t.start : t.end].strip():>12s}  p = {math.exp(t.logprob):.2f}" for t in self.tokens]
        return "\n".join([self.question, *lines])


def replay(
    question: str, completion: Completion, decode: Callable[[Sequence[int]], str], seconds: float = 0.15
) -> Replay:
    """Plays a completion back, one token every `seconds`; each token's probability is under the pointer.

    `decode` is the tokenizer's, from token ids to text. Raises ValueError when `seconds` is below 0.

    >>> from srm_utils.sampling.completion import Cost
    >>> done = Completion("a b", (0, 1), (-0.1, -0.7), "stop", 1, Cost())
    >>> [t.end for t in replay("q", done, lambda ids: "ab"[ids[0]]).tokens]
    [1, 3]
    """
    if seconds < 0:
        raise ValueError(f"A replay cannot take {seconds} seconds a token; give 0 or more.")
    spans = token_spans(completion.text, completion.token_ids, completion.logprobs, decode)
    return Replay(question, completion.text, spans, seconds)
