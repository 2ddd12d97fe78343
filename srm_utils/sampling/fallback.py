"""Sampling through `model.generate`, for architectures that the engine cannot drive, under the engine's contract.

`generate` keeps the model's cache and prepares its inputs, and that is all it does here. Every token is chosen by
`choice.choose` from the row's own random stream, inside a logits processor. So a sample does not depend on the
number of samples or on its neighbours, no logits are kept, and nothing in the model's own generation config applies.
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
from srm_utils.sampling.samples import Pause, Sample, append
from srm_utils.sampling.text import StopStrings

if TYPE_CHECKING:
    from transformers import PreTrainedModel

#: Tokens that a reply to a pause may add to a text beyond its budget.
PAUSED_TOKENS = 2**16


class _Draw(LogitsProcessor):
    """Chooses each row's token, adds it to the row's sample, and leaves `generate` no other."""

    def __init__(self, samples: Sequence[Sample], top_p: float, top_k: int, add: Callable[..., int]) -> None:
        self.samples, self.top_p, self.top_k, self.add = samples, top_p, top_k, add

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        live = [i for i, s in enumerate(self.samples) if not s.finish]
        drawn = [self.samples[i] for i in live]
        keys = np.fromiter((s.key for s in drawn), np.uint64, len(drawn))
        steps = np.fromiter((len(s.ids) for s in drawn), np.uint64, len(drawn))
        heats = np.fromiter((s.temperature for s in drawn), np.float64, len(drawn))
        tokens, logprobs = choose(scores[live], uniforms(keys, steps), heats, self.top_k, self.top_p)
        # A finished row goes on reading token 0 until the batch ends.
        chosen = torch.zeros(len(self.samples), dtype=torch.int64)
        for i, sample, token, logprob in zip(live, drawn, tokens, logprobs, strict=True):
            chosen[i] = self.add(sample, token, logprob)
        return torch.full_like(scores, -torch.inf).scatter_(1, chosen[:, None].to(scores.device), 0.0)


class _Finished(StoppingCriteria):
    def __init__(self, samples: Sequence[Sample]) -> None:
        self.samples = samples

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        return torch.tensor([bool(s.finish) for s in self.samples], device=input_ids.device)


def generate_samples(
    model: PreTrainedModel,
    groups: dict[tuple[int, ...], list[Sample]],
    top_p: float,
    top_k: int,
    end_ids: frozenset[int],
    watch: StopStrings,
    pauses: Sequence[Pause] | None,
    rows: Callable[[int], int],
) -> None:
    """Draw all samples of all distinct prompts. `rows(length)` is how many texts of `length` tokens fit in a batch.

    Prompts of one length are drawn together: without padding no architecture can read them wrongly.
    """
    by_length: dict[int, list[tuple[tuple[int, ...], Sample]]] = defaultdict(list)
    for prompt, samples in groups.items():
        by_length[len(prompt)] += [(prompt, sample) for sample in samples]

    def add(sample: Sample, token: int, logprob: float) -> int:
        return append(sample, token, logprob, end_ids, watch, pauses[sample.prompt] if pauses is not None else None)

    # An encoder-decoder's; None for other models.
    start = getattr(model.config, "decoder_start_token_id", None) or model.generation_config.decoder_start_token_id
    with _blank_generation_config(model):
        for length, waiting in sorted(by_length.items()):
            # A batch lasts as long as its longest sample: like budgets belong together.
            waiting.sort(key=lambda asked: -min(asked[1].budget, asked[1].room))
            while waiting:
                longest = min(waiting[0][1].budget, waiting[0][1].room)
                size = rows(length + longest)
                batch, waiting = waiting[:size], waiting[size:]
                ids = torch.tensor([prompt for prompt, _ in batch], device=model.device)
                samples = [sample for _, sample in batch]
                model.generate(
                    input_ids=ids,
                    attention_mask=torch.ones_like(ids),
                    generation_config=GenerationConfig(
                        max_new_tokens=longest + (PAUSED_TOKENS if pauses is not None else 0),
                        do_sample=False,
                        pad_token_id=0,
                        decoder_start_token_id=start,
                    ),
                    logits_processor=LogitsProcessorList([_Draw(samples, top_p, top_k, add)]),
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
