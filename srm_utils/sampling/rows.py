"""The live batch of the sampler: which sample sits in which row, and the cache that they share.

Every row reads a prompt's keys and values where they stand once, however many samples share them, and
keeps only what it adds itself. Rows are left-aligned and write at their own positions, so a freed row
is filled from the tail of the batch (or by the next sample) by moving one row, never the cache.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers.cache_utils import Cache, CacheLayerMixin

from srm_utils.sampling.cache import PrefixStore
from srm_utils.sampling.samples import Sample

#: Rows that read their shared prefixes in one product, which reads all of these as far as the longest and takes as many
#: rows of each as the largest has. On a GPU, where a product costs its launch, it is one for the whole batch.
RUN_ROWS = {"cpu": 64}
#: What a mask adds to the score of a hidden key; finite, for a row may see none of its prefix.
HIDDEN = torch.finfo(torch.float32).min


@dataclass(slots=True, eq=False)
class Prefix:
    """A prefilled prompt: the samples that still wait for rows, and where its cache and first logits stand."""

    samples: deque[Sample]
    cache: Cache
    logits: torch.Tensor
    row: int
    length: int
    #: its tokens, where they are to be kept
    ids: tuple[int, ...] = ()
    #: its place among the prefixes of the live batch, -1 while it has none
    slot: int = -1


@dataclass(frozen=True, slots=True)
class Run:
    """Neighbouring prefixes that are read in one product, as far as the longest, and the places of their rows in it."""

    prefixes: slice
    places: slice
    longest: int
    mask: torch.Tensor | None


class Block:
    """Keys and values of one layer for many entries: [entries, heads, tokens, head_dim], the live ones in front."""

    keys: torch.Tensor
    values: torch.Tensor

    def __init__(self, like: Any, entries: int, tokens: int) -> None:
        self.keys = _zeros(like.keys, entries, like.keys.shape[1], tokens, like.keys.shape[3])
        self.values = _zeros(like.values, entries, like.values.shape[1], tokens, like.values.shape[3])

    def resize(self, entries: int, tokens: int) -> None:
        old = (self.keys, self.values)
        Block.__init__(self, self, entries, tokens)
        for new, was in zip((self.keys, self.values), old, strict=True):
            new[: was.shape[0], :, : was.shape[2]] = was

    def move(self, source: torch.Tensor, target: torch.Tensor, tokens: int) -> None:
        for x in (self.keys, self.values):
            x[target, :, :tokens] = x[source, :, :tokens]

    @property
    def bytes(self) -> int:
        return sum(x.numel() * x.element_size() for x in (self.keys, self.values))


class RowsLayer(CacheLayerMixin):
    """One layer's cache: `prefixes` are shared, `own` holds what each row added, written at its own position."""

    is_sliding = False

    def __init__(self, rows: Rows, like: Any) -> None:
        super().__init__()
        self.rows = rows
        self.prefixes = Block(like, rows.slots, rows.prefix_tokens)
        self.own = Block(like, rows.capacity, rows.own_tokens)

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Nothing to do: the blocks are made when the batch is."""

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any):
        r, keys, values = self.rows, self.own.keys, self.own.values
        if r.own_mask is None:
            keys[: r.live, :, r.width - 1] = key_states[:, :, 0]
            values[: r.live, :, r.width - 1] = value_states[:, :, 0]
        else:
            keys[r.order, :, r.written] = key_states[:, :, 0]
            values[r.order, :, r.written] = value_states[:, :, 0]
        return keys[: r.live, :, : r.width], values[: r.live, :, : r.width]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.rows.width, 0

    def get_seq_length(self) -> int:
        return self.rows.width - 1

    def get_max_length(self) -> int:
        return -1


class Rows:
    """The live batch: which sample sits in which row, the prefixes they share, and the cache of all layers."""

    def __init__(self, capacity: int, prefix_tokens: int, sharing: int, like: Cache, device: torch.device) -> None:
        self.capacity, self.device = capacity, device
        self.slots, self.prefix_tokens, self.own_tokens = -(-capacity // sharing) + 1, prefix_tokens, 64
        self.samples: list[Sample] = []
        self.prefixes: list[Prefix] = []
        self.slot = np.zeros(capacity, dtype=np.int64)
        self.prompt_length = np.zeros(capacity, dtype=np.int64)
        self.drawn = np.zeros(capacity, dtype=np.int64)
        self.next_token = np.zeros(capacity, dtype=np.int64)
        self.keys = np.zeros(capacity, dtype=np.uint64)
        self.live = self.width = 0
        self.cache = Cache(layers=[RowsLayer(self, layer) for layer in like.layers])

    def admit(self, picked: list[tuple[Sample, Prefix]]) -> None:
        """Append rows for samples of prompts that were prefilled in one pass."""
        fresh = [p for p in dict.fromkeys(p for _, p in picked) if p.slot < 0]
        if fresh:
            first = len(self.prefixes)
            for prefix in fresh:
                prefix.slot = len(self.prefixes)
                self.prefixes.append(prefix)
            if len(self.prefixes) > self.slots:
                self.slots = len(self.prefixes) * 3 // 2
                for layer in self.cache.layers:
                    layer.prefixes.resize(self.slots, self.prefix_tokens)
            which = torch.tensor([p.row for p in fresh], device=self.device)
            for layer, filled in zip(self.cache.layers, fresh[0].cache.layers, strict=True):
                length = min(filled.keys.shape[2], self.prefix_tokens)
                into = slice(first, first + len(fresh))
                layer.prefixes.keys[into, :, :length] = filled.keys[:, :, :length].index_select(0, which)
                layer.prefixes.values[into, :, :length] = filled.values[:, :, :length].index_select(0, which)
        rows = slice(self.live, self.live + len(picked))
        self.samples += [s for s, _ in picked]
        self.slot[rows] = [p.slot for _, p in picked]
        self.prompt_length[rows] = [p.length for _, p in picked]
        self.drawn[rows] = 0
        self.keys[rows] = [s.key for s, _ in picked]
        self.live += len(picked)
        self._group()

    def keep(self, rows: list[int], store: PrefixStore) -> None:
        """Store what these rows have added to their prompts and read."""
        rows = [row for row in rows if self.drawn[row]]
        prefixes = [self.prefixes[self.slot[row]] for row in rows]
        texts = [(*p.ids, *self.samples[row].ids[: self.drawn[row]]) for p, row in zip(prefixes, rows, strict=True)]
        store.keep(texts, rows, [p.length for p in prefixes], [layer.own for layer in self.cache.layers])

    def release(self, dead: list[int]) -> None:
        """Drop rows, and prefixes that no row uses: the last live ones move into the holes."""
        if not dead:
            return
        holes, movers = _holes(dead, self.live)
        if holes:
            source, target = (torch.tensor(x, device=self.device) for x in (movers, holes))
            for layer in self.cache.layers:
                layer.own.move(source, target, int(self.drawn[: self.live].max()))
            for array in (self.slot, self.prompt_length, self.drawn, self.next_token, self.keys):
                array[holes] = array[movers]
            for hole, mover in zip(holes, movers, strict=True):
                self.samples[hole] = self.samples[mover]
        self.live -= len(dead)
        del self.samples[self.live :]
        self._release_prefixes()
        self._group()

    def _release_prefixes(self) -> None:
        used = np.bincount(self.slot[: self.live], minlength=len(self.prefixes))
        unused = np.flatnonzero(used == 0).tolist()
        if not unused:
            return
        for slot in unused:
            self.prefixes[slot].slot = -1
        holes, movers = _holes(unused, len(self.prefixes))
        if holes:
            source, target = (torch.tensor(x, device=self.device) for x in (movers, holes))
            for layer in self.cache.layers:
                layer.prefixes.move(source, target, self.prefix_tokens)
            renamed = np.arange(len(self.prefixes))
            renamed[movers] = holes
            self.slot[: self.live] = renamed[self.slot[: self.live]]
            for hole, mover in zip(holes, movers, strict=True):
                self.prefixes[hole] = self.prefixes[mover]
                self.prefixes[hole].slot = hole
        del self.prefixes[len(self.prefixes) - len(unused) :]

    def _group(self) -> None:
        """Lay the rows out by prefix in runs, each [prefixes, most rows one has], for a product with shared keys."""
        if not self.live:
            return
        slot = self.slot[: self.live]
        counts = np.bincount(slot, minlength=len(self.prefixes))
        lengths = np.array([p.length for p in self.prefixes])
        first, places = np.empty(len(counts), dtype=np.int64), 0
        self.runs = []
        for run in _runs(counts, RUN_ROWS.get(self.device.type, self.live * len(counts))):
            size, most, longest = run.stop - run.start, int(counts[run].max()), int(lengths[run].max())
            first[run] = places + most * np.arange(size)
            self.runs.append(Run(run, slice(places, places + size * most), longest, self._mask(lengths[run], longest)))
            places += size * most
        by_prefix = np.argsort(slot, kind="stable")
        place = np.empty(self.live, dtype=np.int64)
        within = np.arange(self.live) - np.repeat(counts.cumsum() - counts, counts)
        place[by_prefix] = first[slot[by_prefix]] + within
        layout = np.zeros(places, dtype=np.int64)
        layout[place] = np.arange(self.live)
        self.row_of_place = layout
        in_order = places == self.live and bool((layout == np.arange(self.live)).all())
        self.layout = None if in_order else torch.from_numpy(layout).to(self.device)
        self.place = None if in_order else torch.from_numpy(place).to(self.device)
        self.order = torch.arange(self.live, device=self.device)

    def _mask(self, lengths: np.ndarray, width: int) -> torch.Tensor | None:
        """Additive mask [entries, 1, 1, width] that hides what lies beyond each length; None if nothing does."""
        if lengths.min() == width:
            return None
        seen = torch.from_numpy(lengths).to(self.device)[:, None]
        hidden = torch.arange(width, device=self.device)[None] >= seen
        mask = torch.zeros(hidden.shape, device=self.device)
        return mask.masked_fill_(hidden, HIDDEN)[:, None, None, :]

    def masks(self, window: int | None) -> tuple[torch.Tensor | None, list[torch.Tensor | None]]:
        """What hides keys from this step's queries: the mask of the rows' own keys, and one for each run of prefixes.

        A layer with a sliding `window` sees that many tokens, the newest one included. While no text is longer than
        the window, its masks are those of full attention.
        """
        drawn, prompts = self.drawn[: self.live], self.prompt_length[: self.live]
        # The first position that a row's query sees.
        first = prompts + drawn - (window or 0) + 1
        if window is None or first.max() <= 0:
            return self.own_mask, [run.mask for run in self.runs]
        if window not in self._windowed:
            at = np.arange(self.width)
            own = _hiding((at > drawn[:, None]) | (at < (first - prompts)[:, None]), self.device)[:, None, None]
            over: list[torch.Tensor | None] = []
            for run in self.runs:
                # [prefixes, rows of each, tokens]: the rows of one prefix stand at different positions.
                rows = self.row_of_place[run.places].reshape(run.prefixes.stop - run.prefixes.start, -1)
                at = np.arange(run.longest)
                hidden = (at >= prompts[rows][..., None]) | (at < first[rows][..., None])
                over.append(_hiding(hidden, self.device)[:, None] if hidden.any() else None)
            self._windowed[window] = own, over
        return self._windowed[window]

    def prepare(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens [rows, 1] and positions [rows, 1] of the next step."""
        drawn = self.drawn[: self.live]
        self.width = int(drawn.max()) + 1
        if self.width > self.own_tokens:
            self.own_tokens += self.own_tokens // 2
            for layer in self.cache.layers:
                layer.own.resize(self.capacity, self.own_tokens)
        self.own_mask = self._mask(drawn + 1, self.width)
        self._windowed: dict[int, tuple[torch.Tensor, list[torch.Tensor | None]]] = {}
        self.written = torch.from_numpy(drawn.copy()).to(self.device)
        tokens = torch.from_numpy(self.next_token[: self.live, None].copy()).to(self.device)
        positions = torch.from_numpy((self.prompt_length[: self.live] + drawn)[:, None]).to(self.device)
        return tokens, positions

    @property
    def bytes(self) -> int:
        """Memory of the cache."""
        return sum(layer.prefixes.bytes + layer.own.bytes for layer in self.cache.layers)


def _zeros(like: torch.Tensor, *shape: int) -> torch.Tensor:
    """Zeros, not uninitialised memory: a masked NaN would still poison the weighted sum of the values.

    On a CPU the operating system hands out zeroed pages as they are first touched, and most rows end early.
    """
    if like.device.type != "cpu":
        return like.new_zeros(shape)
    return torch.from_numpy(np.zeros(math.prod(shape) * like.element_size(), np.uint8)).view(like.dtype).view(shape)


def _hiding(hidden: np.ndarray, device: torch.device) -> torch.Tensor:
    """Additive mask of the shape of `hidden`."""
    return torch.zeros(hidden.shape, device=device).masked_fill_(torch.from_numpy(hidden).to(device), HIDDEN)


def _runs(counts: np.ndarray, places: int) -> list[slice]:
    """Split prefixes of `counts` rows into runs that take at most `places`, unless one prefix alone takes more.

    >>> _runs(np.array([1, 1, 1, 2, 9]), places=4)
    [slice(0, 3, None), slice(3, 4, None), slice(4, 5, None)]
    """
    runs, start, most = [], 0, 0
    for i, count in enumerate(counts.tolist()):
        most = max(most, count)
        if i > start and most * (i + 1 - start) > places:
            runs.append(slice(start, i))
            start, most = i, count
    return [*runs, slice(start, len(counts))]


def _holes(dead: list[int], size: int) -> tuple[list[int], list[int]]:
    """Where entries must move from (second) and to (first), so that what is left of `size` entries is in front."""
    gone, left = set(dead), size - len(dead)
    return sorted(d for d in dead if d < left), [i for i in range(left, size) if i not in gone]
