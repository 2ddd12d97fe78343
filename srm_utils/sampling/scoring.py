"""Log-probabilities of given continuations: texts are read once, and logits computed only where they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from srm_utils.sampling.cache import PrefixStore
from srm_utils.sampling.reading import Room, batches, begun_alike, logits_at, read, read_shared_beginnings
from srm_utils.sampling.support import usable, why_unsupported

if TYPE_CHECKING:
    from transformers import PreTrainedModel

#: Logits computed at once, in numbers; bounds the memory of a batch.
SCORED_LOGITS = 2**26


def score_tokens(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    completions: Sequence[Sequence[int]],
    prefixes: PrefixStore | None = None,
) -> list[tuple[float, ...]]:
    """Log-probabilities (natural, temperature 1) of the tokens of one completion a prompt.

    Args:
        model: in sampling mode (`engine.sampling_mode`).
        prompts, completions: token ids; no prompt is empty.
        prefixes: holds what the model has read, and keeps what it reads now. Without one, what many texts of this call
            begin with is still read once.

    >>> score_tokens(None, [[1]], [[]])
    [()]
    """
    asked = [(tuple(p), tuple(c)) for p, c in zip(prompts, completions, strict=True)]
    # The last token of a text says nothing about those before it and is not read: "Yes" and "No" are one text.
    texts: dict[tuple[int, ...], list[tuple[int, ...]]] = {}
    for prompt, said in dict.fromkeys(asked):
        if said:
            texts.setdefault(prompt + said[:-1], []).append(said)
    if not texts:
        return [()] * len(asked)
    found: dict[tuple[tuple[int, ...], tuple[int, ...]], tuple[float, ...]] = {}
    wanted = {text: max(map(len, said)) for text, said in texts.items()}
    for batch, logits in read_logits(model, wanted, prefixes):
        places: list[int] = []
        tokens: list[int] = []
        end = 0
        for text in batch:
            end += wanted[text]
            for said in texts[text]:
                places += range(end - len(said), end)
                tokens += said
        logprobs = iter(logits.float().log_softmax(-1)[places, tokens].tolist())
        for text in batch:
            for said in texts[text]:
                found[text, said] = tuple(next(logprobs) for _ in said)
    return [found[prompt + said[:-1], said] if said else () for prompt, said in asked]


def read_logits(
    model: PreTrainedModel, wanted: Mapping[tuple[int, ...], int], prefixes: PrefixStore | None = None
) -> Iterator[tuple[list[tuple[int, ...]], torch.Tensor]]:
    """Texts in batches, with the logits [tokens asked for, vocabulary] behind the last tokens of each, in their order.

    Args:
        model: in sampling mode (`engine.sampling_mode`).
        wanted: how many of the last tokens of each text, given by its token ids, are asked for.
        prefixes: as for `score_tokens`.
    """
    keeps_nothing = bool(why_unsupported(model))
    store = None if keeps_nothing else usable(model, prefixes)
    if not keeps_nothing and store is None and begun_alike(list(wanted), PrefixStore()):
        store = usable(model, PrefixStore())
    if store is not None:
        read_shared_beginnings(model, list(wanted), store)
    vocabulary = model.config.get_text_config(decoder=True).vocab_size
    for batch in batches(list(wanted), store, Room(model, SCORED_LOGITS // vocabulary), wanted):
        counts = [wanted[text] for text in batch]
        yield batch, _read_whole(model, batch, counts) if keeps_nothing else read(model, batch, counts, store)[1]


def _read_whole(model: PreTrainedModel, texts: Sequence[tuple[int, ...]], counts: Sequence[int]) -> torch.Tensor:
    """`reading.read` for a model that the engine does not drive: the logits alone, and nothing is kept."""
    width, device = max(map(len, texts)), model.device
    # Padding stands to the right, where causal attention never looks.
    ids = torch.tensor([[*t, *[0] * (width - len(t))] for t in texts], device=device)
    mask = torch.tensor([[1] * len(t) + [0] * (width - len(t)) for t in texts], device=device)
    places = [
        row * width + len(t) - n + i for row, (t, n) in enumerate(zip(texts, counts, strict=True)) for i in range(n)
    ]
    with logits_at(model, torch.tensor(places, device=device)) as pick:
        positions = torch.arange(width, device=device).expand(len(texts), -1)
        return pick(model(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False).logits)
