"""Texts of unequal lengths side by side in a model's own kind of cache, for models that the engine cannot drive.

A state-space layer keeps one state a text, whatever the text's length. Padding would enter that state, so no text is
ever padded while it is read: prompts are read in batches of equal length, and then their states are put side by side.
Only the keys of attention layers are padded on the left, and a mask hides the padding.
"""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from transformers.cache_utils import (
    Cache,
    DynamicCache,
    DynamicLayer,
    DynamicSlidingWindowLayer,
    LinearAttentionAndFullAttentionLayer,
    LinearAttentionAndSlidingWindowAttentionLayer,
    LinearAttentionLayer,
)

from srm_utils.sampling.reading import READ_TOKENS, logits_at

if TYPE_CHECKING:
    from transformers import PreTrainedModel

#: Kinds of layers whose caches can be put side by side.
KNOWN_CACHES = (
    DynamicLayer,
    DynamicSlidingWindowLayer,
    LinearAttentionLayer,
    LinearAttentionAndFullAttentionLayer,
    LinearAttentionAndSlidingWindowAttentionLayer,
)

_SIDE_BY_SIDE: WeakKeyDictionary[torch.nn.Module, bool] = WeakKeyDictionary()


class OwnCache:
    """Rows of a batch over the model's own cache, one a text. Equal texts are read once.

    `logits` [texts, vocabulary] are those after each text's last token, in the texts' order.
    """

    def __init__(self, model: PreTrainedModel, texts: Sequence[tuple[int, ...]]) -> None:
        self.model = model
        inner: Any = model.get_base_model() if hasattr(model, "get_base_model") else model
        self._takes = set(inspect.signature(inner.forward).parameters)
        parts, order, logits = [], [], []
        for batch in _of_one_length(texts, READ_TOKENS.get(model.device.type, 2048)):
            cache, after = self._read(batch)
            parts.append(cache)
            order += batch
            logits.append(after)
        place = {ids: i for i, ids in enumerate(order)}
        self.lengths = np.array([len(ids) for ids in texts])
        self.width = int(self.lengths.max())
        rows = torch.tensor([place[ids] for ids in texts], device=model.device)
        self.logits = torch.cat(logits).index_select(0, rows)
        self.cache = _side_by_side(parts, rows, self.width)
        self._keys = any(getattr(layer, "keys", None) is not None for layer in self.cache.layers)

    def step(self, tokens: Sequence[int]) -> torch.Tensor:
        """Logits [rows, vocabulary] after one more token of every row."""
        device = self.model.device
        self.lengths, self.width = self.lengths + 1, self.width + 1
        inputs = self._inputs(torch.tensor(tokens, device=device)[:, None], self.cache)
        if "position_ids" in self._takes:
            inputs["position_ids"] = torch.from_numpy(self.lengths - 1).to(device)[:, None]
        if self._keys:
            padding = torch.from_numpy(self.width - self.lengths).to(device)[:, None]
            inputs["attention_mask"] = (torch.arange(self.width, device=device) >= padding).long()
        return self.model(**inputs).logits[:, -1].float()

    def select(self, rows: Sequence[int]) -> None:
        """Go on with these rows alone, in this order."""
        self.lengths = self.lengths[rows]
        self.cache = _side_by_side([self.cache], torch.tensor(rows, device=self.model.device), self.width)

    def _read(self, batch: Sequence[tuple[int, ...]]) -> tuple[Cache, torch.Tensor]:
        """The cache of texts of one length, and the logits [texts, vocabulary] after them."""
        cache = DynamicCache(config=self.model.config.get_text_config(decoder=True))
        ids = torch.tensor(batch, device=self.model.device)
        last = torch.arange(1, len(batch) + 1, device=ids.device) * ids.shape[1] - 1
        with logits_at(self.model, last) as pick:
            return cache, pick(self.model(**self._inputs(ids, cache)).logits).float()

    def _inputs(self, ids: torch.Tensor, cache: Cache) -> dict[str, Any]:
        # State-space models have their own word for the cache.
        name = "past_key_values" if "past_key_values" in self._takes else "cache_params"
        return {"input_ids": ids, name: cache, "use_cache": True}


def side_by_side(model: PreTrainedModel) -> bool:
    """Whether texts of unequal lengths can stand in one batch over the model's own cache: found by trying.

    The trial compares two rows of unequal lengths with full forward passes, and in low precision with each row alone.
    """
    if model not in _SIDE_BY_SIDE:
        _SIDE_BY_SIDE[model] = not getattr(model.config, "is_encoder_decoder", False) and _stand_truly(model)
    return _SIDE_BY_SIDE[model]


def _stand_truly(model: PreTrainedModel) -> bool:
    vocabulary = model.get_input_embeddings().weight.shape[0]
    texts = torch.randint(vocabulary, (2, 9), generator=torch.Generator().manual_seed(0)).tolist()
    prompts, tails = [tuple(texts[0][:5]), tuple(texts[1][:2])], [texts[0][5:], texts[1][2:6]]
    exact = model.dtype == torch.float32 and not getattr(model, "is_quantized", False)
    try:
        ours = _decoded(model, prompts, tails)
        if exact:
            rows = [[[*prompt, *tail]] for prompt, tail in zip(prompts, tails, strict=True)]
            whole = [model(input_ids=torch.tensor(row, device=model.device)).logits[0, -5:].float() for row in rows]
            wanted = torch.stack(whole, 1)
        else:
            alone = [_decoded(model, [prompt], [tail]) for prompt, tail in zip(prompts, tails, strict=True)]
            wanted = torch.cat(alone, 1)
        # [steps, rows], in standard deviations of a step's logits.
        apart = (ours - wanted).abs().amax(-1) / wanted.std(-1).clamp(min=1e-6)
        return bool(apart.max() <= 1e-3 if exact else apart.median() <= 0.25)
    except torch.cuda.OutOfMemoryError:
        raise
    except Exception:  # an architecture we do not know can fail in any way
        return False


def _decoded(model: PreTrainedModel, prompts: list[tuple[int, ...]], tails: list[list[int]]) -> torch.Tensor:
    """Logits [steps, rows, vocabulary] after the prompts and after each further token."""
    rows = OwnCache(model, prompts)
    return torch.stack([rows.logits, *(rows.step(tokens) for tokens in zip(*tails, strict=True))])


def _of_one_length(texts: Sequence[tuple[int, ...]], most: int) -> list[list[tuple[int, ...]]]:
    """Distinct texts in batches of one length, each of at most `most` tokens unless one text alone has more.

    >>> _of_one_length([(1, 2), (3,), (4, 5), (1, 2), (6, 7)], most=4)
    [[(1, 2), (4, 5)], [(6, 7)], [(3,)]]
    """
    by_length: dict[int, list[tuple[int, ...]]] = defaultdict(list)
    for ids in dict.fromkeys(texts):
        by_length[len(ids)].append(ids)
    batches = []
    for length, alike in by_length.items():
        size = max(1, most // length)
        batches += [alike[start : start + size] for start in range(0, len(alike), size)]
    return batches


def _side_by_side(parts: Sequence[Cache], rows: torch.Tensor, width: int) -> Cache:
    """The `rows` of several caches, counted through, as one cache whose longest text has `width` tokens.

    The first part is written over.
    """
    for layers in zip(*(part.layers for part in parts), strict=True):
        joined: Any = layers[0]
        if type(joined) not in KNOWN_CACHES:
            raise NotImplementedError(f"rows of a {type(joined).__name__}")
        if isinstance(joined, LinearAttentionLayer):
            for name in ("conv_states", "recurrent_states"):
                states = getattr(joined, name)
                for i, state in states.items():
                    if state is not None:
                        states[i] = torch.cat([getattr(layer, name)[i] for layer in layers]).index_select(0, rows)
        if isinstance(joined, DynamicLayer) and joined.keys is not None:
            longest = max(layer.keys.shape[2] for layer in layers)
            for name in ("keys", "values"):
                padded = [_padded(getattr(layer, name), longest) for layer in layers]
                setattr(joined, name, torch.cat(padded).index_select(0, rows))
            if isinstance(joined, DynamicSlidingWindowLayer):
                joined.cumulative_length = width
    return parts[0]


def _padded(states: torch.Tensor, width: int) -> torch.Tensor:
    """Keys or values [rows, heads, tokens, head_dim] with zeros on the left, up to `width` tokens."""
    return torch.nn.functional.pad(states, (0, 0, width - states.shape[2], 0))
