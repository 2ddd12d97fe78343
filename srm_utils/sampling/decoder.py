"""Texts of one model side by side that are read on and cut back, each at its own length: what speculation stands on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from transformers.cache_utils import Cache

from srm_utils.sampling.cache import PrefixStore
from srm_utils.sampling.ledger import prices
from srm_utils.sampling.reading import Reading, ReadLayer, Room, batches, read, resumed
from srm_utils.sampling.support import usable

if TYPE_CHECKING:
    from transformers import PreTrainedModel

#: Tokens that the buffers hold at first; they grow by half.
FIRST_TOKENS = 64


class Decoder:
    """A model, in sampling mode, over several texts at once: row r has read `lengths[r]` tokens.

    Cutting back forgets a row's last tokens: their keys are hidden from attention and written over by the next ones.
    `tokens[r]` counts all that was read for row r, and `flops[r]` what that took. What a `store` holds of the texts is
    not read again, and `keep` puts what was read into it.
    """

    def __init__(self, model: PreTrainedModel, rows: int, store: PrefixStore | None = None) -> None:
        self.model, self.store = model, usable(model, store)
        self.lengths = np.zeros(rows, dtype=np.int64)
        self.tokens = np.zeros(rows, dtype=np.int64)
        self.prices, self.flops = prices(model), np.zeros(rows)
        self.layers: list[ReadLayer] = []

    @property
    def bytes(self) -> int:
        """Memory of the cache."""
        return sum(x.numel() * x.element_size() for layer in self.layers for x in (layer.keys, layer.values))

    def read(
        self, tokens: Sequence[Sequence[int]], rows: Sequence[int] | None = None, logits: bool = True
    ) -> torch.Tensor:
        """Logits [rows, longest, vocabulary] after each of the new `tokens` of each row; shorter rows are padded.

        `rows` names the rows that the tokens are for, all by default. Without `logits` only the cache is filled, and
        nothing is returned but an empty tensor.
        """
        which = np.arange(len(self.lengths)) if rows is None else np.asarray(rows, dtype=np.int64)
        counts = np.array([len(t) for t in tokens])
        everywhere = logits or bool(self.layers)
        for row, start, count in zip(which, self.lengths[which].tolist(), counts.tolist(), strict=True):
            self.flops[row] += self.prices.reading(start, start + count, count if everywhere else 0)
        out = self._read_on(tokens, which, counts) if self.layers else self._begin(tokens, which, logits)
        self.lengths[which] += counts
        self.tokens[which] += counts
        return out

    def cut(self, lengths: Sequence[int]) -> None:
        """Forget all that a row has read beyond its length given here."""
        self.lengths = np.minimum(self.lengths, lengths)

    def keep(self, rows: Sequence[int], texts: Sequence[Sequence[int]]) -> None:
        """Put the texts of these rows into the store, as far as they were read."""
        if self.store is not None and self.layers:
            read_ = [tuple(text[: self.lengths[row]]) for row, text in zip(rows, texts, strict=True)]
            self.store.keep(read_, rows, [0] * len(rows), self.layers)

    def select(self, rows: Sequence[int]) -> None:
        """Go on with these rows alone, in this order; a row may come more than once."""
        self.lengths, self.tokens, self.flops = self.lengths[rows], self.tokens[rows], self.flops[rows]
        index = torch.tensor(rows, device=self.model.device, dtype=torch.int64)
        for layer in self.layers:
            layer.keys, layer.values = (x.transpose(1, 2)[index].transpose(1, 2) for x in (layer.keys, layer.values))

    def _read_on(self, tokens: Sequence[Sequence[int]], which: np.ndarray, counts: np.ndarray) -> torch.Tensor:
        """One pass over the new tokens of the rows `which`."""
        device, starts = self.model.device, self.lengths[which]
        total = int((starts + counts).max())
        if total > (have := self.layers[0].keys.shape[2]):
            more = max(total, have * 3 // 2) - have
            for layer in self.layers:
                layer.keys, layer.values = (_longer(x, more) for x in (layer.keys, layer.values))
            have += more
        everyone = np.array_equal(which, np.arange(len(self.lengths)))
        reading = Reading(starts, starts + counts, device, None if everyone else which, have)
        for layer in self.layers:
            layer.reading = reading
        ids = torch.tensor([[*t, *[0] * (reading.width - len(t))] for t in tokens], device=device)
        return resumed(self.model, reading, ids, Cache(layers=self.layers)).logits

    def _begin(self, tokens: Sequence[Sequence[int]], which: np.ndarray, logits: bool) -> torch.Tensor:
        """The first pass, over the beginnings of texts; equal ones are read once."""
        texts = [tuple(t) for t in tokens]
        wanted = {text: len(text) if logits else 0 for text in texts if text}
        after: dict[tuple[int, ...], torch.Tensor] = {}
        longest = max(map(len, texts))
        for batch in list(batches(list(wanted), self.store, Room(self.model), wanted)):
            counts = [wanted[text] for text in batch]
            cache, flat = read(self.model, batch, counts, self.store)
            after |= dict(zip(batch, flat.split(counts), strict=True))
            if not self.layers:
                size = (len(self.lengths), max(FIRST_TOKENS, longest * 3 // 2))
                self.layers = [
                    ReadLayer(_room(layer.keys, *size), _room(layer.values, *size)) for layer in cache.layers
                ]
            place = {text: i for i, text in enumerate(batch)}
            here = [i for i, text in enumerate(texts) if text in place]
            source = torch.tensor([place[texts[i]] for i in here], device=self.model.device)
            rows = torch.from_numpy(which[here]).to(self.model.device)
            for layer, filled in zip(self.layers, cache.layers, strict=True):
                width = filled.keys.shape[2]
                layer.keys[rows, :, :width] = filled.keys[source]
                layer.values[rows, :, :width] = filled.values[source]
        if not logits or not after:
            return torch.empty(0, device=self.model.device)
        out = next(iter(after.values())).new_zeros(len(texts), longest, flat.shape[-1])
        for row, text in zip(out, texts, strict=True):
            if text:
                row[: len(text)] = after[text]
        return out


def _room(like: torch.Tensor, rows: int, tokens: int) -> torch.Tensor:
    """Zeros [rows, heads, tokens, head_dim], laid out a token after the other."""
    return like.new_zeros(rows, tokens, like.shape[1], like.shape[3]).transpose(1, 2)


def _longer(states: torch.Tensor, more: int) -> torch.Tensor:
    """The same buffer with room for `more` tokens behind."""
    return torch.nn.functional.pad(states.transpose(1, 2), (0, 0, 0, 0, 0, more)).transpose(1, 2)
