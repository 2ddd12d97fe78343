"""What speculation is worth: how many drafts are kept, and how much faster that makes a text (leviathan2023fast)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from srm_utils.inference.speculative_decoding import Speculated, decoder_of
from srm_utils.sampling.engine import sampling_mode

if TYPE_CHECKING:
    from srm_utils.models import LanguageModel


def acceptance(drawn: Sequence[Sequence[Speculated]]) -> float:
    """Share of the tested drafts that were kept: the alpha of leviathan2023fast (definition 3.1), measured."""
    flat = [s for group in drawn for s in group]
    return sum(s.accepted for s in flat) / max(1, sum(s.tested for s in flat))


def tokens_per_pass(drawn: Sequence[Sequence[Speculated]]) -> float:
    """Tokens written for each pass of the target over a text."""
    flat = [s for group in drawn for s in group]
    return sum(len(s.completion.token_ids) for s in flat) / sum(s.passes for s in flat)


def expected_tokens(alpha: float, k: int) -> float:
    """Tokens a pass writes when each of `k` drafts is kept with probability alpha (leviathan2023fast, equation 1).

    >>> expected_tokens(0.5, 2), expected_tokens(1.0, 4), expected_tokens(0.9, 0)
    (1.75, 5.0, 1.0)
    """
    return sum(alpha**i for i in range(k + 1))


def speedup(alpha: float, k: int, draft: float, plain: float, verified: float) -> float:
    """How many times faster drafts of `k` tokens make a text, from the seconds of three passes.

    `draft` is one token by the drafter, `plain` one token by the target, `verified` k + 1 tokens by the target. Where
    a pass over k + 1 tokens takes no longer than one, this is theorem 3.8 of leviathan2023fast with c = draft / plain.

    >>> speedup(0.8, 0, 1.0, 2.0, 2.0), round(speedup(0.8, 4, 0.1, 1.0, 1.0), 2)
    (1.0, 2.4)
    """
    return expected_tokens(alpha, k) * plain / (k * draft + verified)


def clock(model: LanguageModel) -> float:
    """Seconds now, by the clock to time a model with.

    A model that computes on this process's one thread is timed by what the process has had of the processor, so
    that whatever else runs on the machine does not count; any other by the wall.
    """
    alone = model.device == "cpu" and torch.get_num_threads() == 1
    return time.process_time() if alone else time.perf_counter()


def pass_seconds(model: LanguageModel, tokens: int, context: int = 128, rows: int = 1, repeats: int = 15) -> float:
    """Seconds of one pass over `tokens` new tokens in each of `rows` texts that are `context` tokens long.

    The fastest of some repeats, by `clock`: an interruption can only add to it.
    """
    taken = []
    with sampling_mode(model.model):
        decoder = decoder_of(model, rows)
        decoder.read([[0] * context] * rows, logits=False)
        for _ in range(repeats):
            began = clock(model)
            decoder.read([[0] * tokens] * rows)[:, -1, 0].tolist()
            taken.append(clock(model) - began)
            decoder.cut([context] * rows)
    return min(taken)
