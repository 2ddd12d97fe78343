"""Sampling for architectures that the engine cannot drive, under the engine's contract.

Rows stand side by side over the model's own cache (`own_cache`), whatever the lengths of their prompts, and leave when
they are finished. Where that fails, as for encoder-decoders, `model.generate` keeps the cache and prepares the inputs
of prompts of one length at a time. In both, every token is chosen by `choice.choose` from the row's own random stream.
So a sample does not depend on the number of samples or on its neighbours, no logits are kept, and nothing in the
model's own generation config applies.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList

from srm_utils.sampling.choice import choose, uniforms
from srm_utils.sampling.own_cache import OwnCache, side_by_side
from srm_utils.sampling.samples import Pause, Sample, append
from srm_utils.sampling.text import StopStrings

if TYPE_CHECKING:
    from transformers import PreTrainedModel

#: Tokens that a reply to a pause may add to a text beyond its budget.
PAUSED_TOKENS = 2**16

#: A sample that is to be drawn, behind its prompt.
_Asked = tuple[tuple[int, ...], Sample]


def draw_samples(
    model: PreTrainedModel,
    groups: dict[tuple[int, ...], list[Sample]],
    top_p: float,
    top_k: int,
    end_ids: frozenset[int],
    watch: StopStrings,
    pauses: Sequence[Pause] | None,
    rows: Callable[[int], int],
) -> None:
    """Draw all samples of all distinct prompts. `rows(length)` is how many texts of `length` tokens fit in a batch."""

    def add(samples: Sequence[Sample], logits: torch.Tensor) -> list[int]:
        """Choose a token for each unfinished sample from its `logits` and add it; returns what was added."""
        keys = np.fromiter((s.key for s in samples), np.uint64, len(samples))
        steps = np.fromiter((len(s.ids) for s in samples), np.uint64, len(samples))
        heats = np.fromiter((s.temperature for s in samples), np.float64, len(samples))
        chosen = zip(samples, *choose(logits, uniforms(keys, steps), heats, top_k, top_p), strict=True)
        return [
            append(s, token, logprob, end_ids, watch, pauses[s.prompt] if pauses is not None else None)
            for s, token, logprob in chosen
        ]

    asked = [(prompt, sample) for prompt, samples in groups.items() for sample in samples]
    if side_by_side(model):
        _over_own_cache(model, asked, add, rows)
    else:
        _by_generate(model, asked, add, rows, PAUSED_TOKENS if pauses is not None else 0)


def _over_own_cache(
    model: PreTrainedModel,
    waiting: list[_Asked],
    add: Callable[[Sequence[Sample], torch.Tensor], list[int]],
    rows: Callable[[int], int],
) -> None:
    """Batches of prompts of any lengths; equal prompts are read once in each, and a finished row leaves at once."""
    # Like budgets belong together, for a batch lasts as long as its longest sample.
    waiting.sort(key=lambda asked: (-_most(asked[1]), -len(asked[0])))
    while waiting:
        size = rows(max(len(prompt) + _most(sample) for prompt, sample in waiting))
        batch, waiting = waiting[:size], waiting[size:]
        cache, samples = OwnCache(model, [prompt for prompt, _ in batch]), [sample for _, sample in batch]
        tokens = add(samples, cache.logits)
        while not all(sample.finish for sample in samples):
            left = [i for i, sample in enumerate(samples) if not sample.finish]
            if len(left) < len(samples):
                cache.select(left)
                samples, tokens = [samples[i] for i in left], [tokens[i] for i in left]
            tokens = add(samples, cache.step(tokens))


def _most(sample: Sample) -> int:
    """How many tokens may be drawn for a sample."""
    return min(sample.budget, sample.room)


# ---------------------------------------------------------------- by `model.generate`


class _Draw(LogitsProcessor):
    """Chooses each row's token, adds it to the row's sample, and leaves `generate` no other."""

    def __init__(self, samples: Sequence[Sample], add: Callable[[Sequence[Sample], torch.Tensor], list[int]]) -> None:
        self.samples, self.add = samples, add

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        live = [i for i, s in enumerate(self.samples) if not s.finish]
        # A finished row goes on reading token 0 until the batch ends.
        chosen = torch.zeros(len(self.samples), dtype=torch.int64)
        chosen[live] = torch.tensor(self.add([self.samples[i] for i in live], scores[live]))
        return torch.full_like(scores, -torch.inf).scatter_(1, chosen[:, None].to(scores.device), 0.0)


class _Finished(StoppingCriteria):
    def __init__(self, samples: Sequence[Sample]) -> None:
        self.samples = samples

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        return torch.tensor([bool(s.finish) for s in self.samples], device=input_ids.device)


def _by_generate(
    model: PreTrainedModel,
    asked: list[_Asked],
    add: Callable[[Sequence[Sample], torch.Tensor], list[int]],
    rows: Callable[[int], int],
    paused: int,
) -> None:
    """Prompts of one length together: without padding no architecture can read them wrongly."""
    by_length: dict[int, list[_Asked]] = defaultdict(list)
    for prompt, sample in asked:
        by_length[len(prompt)].append((prompt, sample))
    # An encoder-decoder's; None for other models.
    start = getattr(model.config, "decoder_start_token_id", None) or model.generation_config.decoder_start_token_id
    with _blank_generation_config(model):
        for length, waiting in sorted(by_length.items()):
            # A batch lasts as long as its longest sample: like budgets belong together.
            waiting.sort(key=lambda one: -_most(one[1]))
            while waiting:
                longest = _most(waiting[0][1])
                size = rows(length + longest)
                batch, waiting = waiting[:size], waiting[size:]
                ids = torch.tensor([prompt for prompt, _ in batch], device=model.device)
                samples = [sample for _, sample in batch]
                model.generate(
                    input_ids=ids,
                    attention_mask=torch.ones_like(ids),
                    generation_config=GenerationConfig(
                        max_new_tokens=longest + paused,
                        do_sample=False,
                        pad_token_id=0,
                        decoder_start_token_id=start,
                    ),
                    logits_processor=LogitsProcessorList([_Draw(samples, add)]),
                    stopping_criteria=StoppingCriteriaList([_Finished(samples)]),
                )
                for sample in samples:
                    sample.finish = sample.finish or "length"


@contextmanager
def _blank_generation_config(model: PreTrainedModel) -> Iterator[None]:
    """No generation config of the model's own for a while: `generate` would fill in its penalties and bans."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    own = inner.generation_config
    inner.generation_config = GenerationConfig()
    try:
        yield
    finally:
        inner.generation_config = own
