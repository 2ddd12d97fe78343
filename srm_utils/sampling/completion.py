"""What a draw returns and what it costs: `Completion` and `Cost`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Cost:
    """What something took: tokens by kind, FLOPs, wall seconds, peak memory in bytes.

    FLOPs are counted as 2 x parameters x tokens processed, over every model used (kaplan2020scaling,
    section 2.1). Costs add; peak memory takes the larger.

    >>> (Cost(generated_tokens=3) + Cost(generated_tokens=4)).generated_tokens
    7
    """

    prompt_tokens: float = 0
    generated_tokens: float = 0
    scored_tokens: float = 0
    flops: float = 0
    seconds: float = 0
    peak_bytes: float = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.prompt_tokens + other.prompt_tokens,
            self.generated_tokens + other.generated_tokens,
            self.scored_tokens + other.scored_tokens,
            self.flops + other.flops,
            self.seconds + other.seconds,
            max(self.peak_bytes, other.peak_bytes),
        )

    @property
    def tokens(self) -> float:
        """All tokens a model had to process."""
        return self.prompt_tokens + self.generated_tokens + self.scored_tokens

    @staticmethod
    def total(costs: Iterable[Cost]) -> Cost:
        """The sum of many costs."""
        out = Cost()
        for cost in costs:
            out = out + cost
        return out


@dataclass(frozen=True, slots=True)
class Completion:
    """One sampled continuation.

    `logprobs` are natural logarithms under the model's own distribution (temperature 1, no
    truncation), one per token of `token_ids`. `finish_reason` is "stop" (end token or stop
    string) or "length". `cost` holds this completion's generated tokens; the prompt, which all
    samples of a group share, is in `prompt_tokens` and is counted once by `group_cost`.
    """

    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish_reason: Literal["stop", "length"]
    prompt_tokens: int
    cost: Cost

    @property
    def logprob(self) -> float:
        """Log-probability of the whole completion."""
        return sum(self.logprobs)


def group_cost(completions: Sequence[Completion], flops_per_token: float) -> Cost:
    """Cost of samples drawn from one prompt: the prompt once, every completion in full."""
    if not completions:
        return Cost()
    prompt = completions[0].prompt_tokens
    return Cost(prompt_tokens=prompt, flops=flops_per_token * prompt) + Cost.total(c.cost for c in completions)
