"""What a draw returns and what it costs: `Completion` and `Cost`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Literal

from srm_utils.sampling.ledger import Read, saved


@dataclass(frozen=True, slots=True)
class Cost:
    """What something took: tokens by kind, FLOPs, wall seconds, peak memory in bytes.

    The engine makes costs, from the prices in `sampling.ledger`; everything else only adds them up. Peak memory takes
    the larger of two. `flops` is the bill without a cache, on which every call reads its whole text. `reread_tokens`
    and `reread_flops` are the part of it that a prefix cache saves, and `cached_flops` is the bill that is left.
    They are known once a cost is `settled`; until then `reads` holds what was read.

    >>> (Cost(generated_tokens=3) + Cost(generated_tokens=4)).generated_tokens
    7
    """

    prompt_tokens: float = 0
    generated_tokens: float = 0
    scored_tokens: float = 0
    flops: float = 0
    seconds: float = 0
    peak_bytes: float = 0
    reread_tokens: float = 0
    reread_flops: float = 0
    reads: tuple[Read, ...] = field(default=(), repr=False, compare=False)

    def __add__(self, other: Cost) -> Cost:
        return Cost.total((self, other))

    @property
    def tokens(self) -> float:
        """All tokens a model had to process."""
        return self.prompt_tokens + self.generated_tokens + self.scored_tokens

    @property
    def cached_flops(self) -> float:
        """The bill with a prefix cache."""
        return self.flops - self.reread_flops

    def settled(self) -> Cost:
        """The same cost with what a prefix cache saves among all its reads, which are then forgotten.

        The reads are those of one problem, in the order in which they were added.
        """
        if not self.reads:
            return self
        tokens, flops = saved(self.reads)
        return replace(
            self, reread_tokens=self.reread_tokens + tokens, reread_flops=self.reread_flops + flops, reads=()
        )

    def __mul__(self, factor: float) -> Cost:
        """The cost in proportion, such as the mean of many; peak memory is not shared out."""
        kept = self.settled()
        numbers = {name: getattr(kept, name) * factor for name in _SUMMED}
        return Cost(**numbers, peak_bytes=kept.peak_bytes)

    @staticmethod
    def total(costs: Iterable[Cost]) -> Cost:
        """The sum of many costs."""
        listed = list(costs)
        numbers = {name: sum(getattr(cost, name) for cost in listed) for name in _SUMMED}
        peak = max((cost.peak_bytes for cost in listed), default=0)
        return Cost(**numbers, peak_bytes=peak, reads=tuple(chain.from_iterable(cost.reads for cost in listed)))


#: The fields of a cost that add up.
_SUMMED = (
    "prompt_tokens", "generated_tokens", "scored_tokens", "flops", "seconds", "reread_tokens", "reread_flops",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Completion:
    """One sampled continuation.

    `logprobs` are natural logarithms under the model's own distribution (temperature 1, no
    truncation), one per token of `token_ids`. `finish_reason` is "stop" (end token or stop
    string) or "length". `cost` is what drawing this completion took. `prompt_cost` is what reading its prompt took,
    which all samples of a group share; `group_cost` counts it once.
    """

    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish_reason: Literal["stop", "length"]
    prompt_tokens: int
    cost: Cost
    prompt_cost: Cost | None = None

    @property
    def logprob(self) -> float:
        """Log-probability of the whole completion."""
        return sum(self.logprobs)

    @property
    def asked(self) -> Cost:
        """What reading the prompt took; its tokens alone where the engine that drew this does not say more."""
        return Cost(prompt_tokens=self.prompt_tokens) if self.prompt_cost is None else self.prompt_cost


def group_cost(completions: Sequence[Completion]) -> Cost:
    """Cost of completions that one call drew for one problem: each distinct prompt once, every completion in full."""
    prompts = call_cost(c.asked for c in completions) if completions else Cost()
    return Cost.total([prompts, *(c.cost for c in completions)])


def call_cost(costs: Iterable[Cost]) -> Cost:
    """Cost of texts that one call read for one problem: equal ones are read once."""
    distinct = {tuple((read.reader, read.tokens) for read in cost.reads): cost for cost in costs}
    return Cost.total(distinct.values())
