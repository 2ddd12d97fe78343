"""The live batch of the sampler: its cache, the attention that shares prefixes, and one step through a model.

Every row reads a prompt's keys and values where they stand once, however many samples share them, and
keeps only what it adds itself. Rows are left-aligned and write at their own positions, so a freed row
is filled from the tail of the batch (or by the next sample) by moving one row, never the cache.
"""

from __future__ import annotations

import inspect
from collections import deque
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import AttentionInterface
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicCache

if TYPE_CHECKING:
    from transformers import PreTrainedModel

#: Rows that read their shared prefixes in one product, which reads all of these as far as the longest and takes as many
#: rows of each as the largest has. On a GPU, where a product costs its launch, it is one for the whole batch.
RUN_ROWS = {"cpu": 64}


@dataclass(slots=True, eq=False)
class Sample:
    """One continuation being drawn."""

    prompt: int
    temperature: float
    budget: int
    room: int
    key: int
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    forced: deque[int] = field(default_factory=deque)
    forced_count: int = 0
    searched: int = 0
    text: str | None = None
    finish: str = ""


@dataclass(slots=True, eq=False)
class Prefix:
    """A prefilled prompt: the samples that still wait for rows, and where its cache and first logits stand."""

    samples: deque[Sample]
    cache: DynamicCache | None
    logits: torch.Tensor | None
    row: int
    length: int
    #: its place among the prefixes of the live batch, -1 while it has none
    slot: int = -1


@dataclass(frozen=True, slots=True)
class Run:
    """Neighbouring prefixes that are read in one product, as far as the longest, and the places of their rows in it."""

    prefixes: slice
    places: slice
    longest: int
    mask: torch.Tensor | None


class _Block:
    """Keys and values of one layer for many entries: [entries, heads, tokens, head_dim], the live ones in front."""

    keys: torch.Tensor
    values: torch.Tensor

    def __init__(self, like: Any, entries: int, tokens: int) -> None:
        # Zeros, not uninitialised memory: a masked NaN would still poison the weighted sum of the values.
        self.keys = like.keys.new_zeros(entries, like.keys.shape[1], tokens, like.keys.shape[3])
        self.values = like.values.new_zeros(entries, like.values.shape[1], tokens, like.values.shape[3])

    def resize(self, entries: int, tokens: int) -> None:
        old = (self.keys, self.values)
        _Block.__init__(self, self, entries, tokens)
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
        self.prefixes = _Block(like, rows.slots, rows.prefix_tokens)
        self.own = _Block(like, rows.capacity, rows.own_tokens)

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

    def __init__(
        self, capacity: int, prefix_tokens: int, sharing: int, like: DynamicCache, device: torch.device
    ) -> None:
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
        return mask.masked_fill_(hidden, torch.finfo(torch.float32).min)[:, None, None, :]

    def prepare(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens [rows, 1] and positions [rows, 1] of the next step."""
        drawn = self.drawn[: self.live]
        self.width = int(drawn.max()) + 1
        if self.width > self.own_tokens:
            self.own_tokens += self.own_tokens // 2
            for layer in self.cache.layers:
                layer.own.resize(self.capacity, self.own_tokens)
        self.own_mask = self._mask(drawn + 1, self.width)
        self.written = torch.from_numpy(drawn.copy()).to(self.device)
        tokens = torch.from_numpy(self.next_token[: self.live, None].copy()).to(self.device)
        positions = torch.from_numpy((self.prompt_length[: self.live] + drawn)[:, None]).to(self.device)
        return tokens, positions

    @property
    def bytes(self) -> int:
        """Memory of the cache."""
        return sum(layer.prefixes.bytes + layer.own.bytes for layer in self.cache.layers)


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


# ---------------------------------------------------------------- attention of one token over a shared prefix


_DECODING: ContextVar[Rows] = ContextVar("srm_rows")
_ATTENTION = "srm_shared_prefix"


def _shared_prefix_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of `query` [rows, heads, 1, head_dim] over each row's shared prefix and its own `key`, `value`.

    All rows of a prefix meet its keys in one matrix product, which reads them once (arXiv 2402.05099);
    the two parts are joined by their log-sum-exp.
    """
    if any(kwargs.get(name) is not None for name in ("softcap", "s_aux", "position_bias")):
        raise NotImplementedError("attention with a soft cap, sinks or a position bias")
    rows = _DECODING.get()
    prefixes = rows.cache.layers[module.layer_idx].prefixes
    n, heads, _, width = query.shape
    shared = key.shape[1]
    q = (query * (width**-0.5 if scaling is None else scaling)).view(n, shared, heads // shared, width)
    own, own_lse = _part(q, key, value, rows.own_mask)

    grouped = q if rows.layout is None else q.index_select(0, rows.layout)
    parts = [_over_prefixes(grouped[run.places], prefixes, run) for run in rows.runs]
    prefix, prefix_lse = parts[0] if len(parts) == 1 else (torch.cat(x) for x in zip(*parts, strict=True))
    if rows.place is not None:
        prefix, prefix_lse = prefix.index_select(0, rows.place), prefix_lse.index_select(0, rows.place)
    out = torch.lerp(own, prefix, torch.sigmoid(prefix_lse - own_lse))
    return out.to(query.dtype).view(n, 1, heads, -1), None


def _over_prefixes(query: torch.Tensor, prefixes: _Block, run: Run) -> tuple[torch.Tensor, torch.Tensor]:
    """`_part` of a run: `query` [places, shared heads, heads that share, head_dim] over the prefix of each place."""
    places, shared, each, width = query.shape
    count = run.prefixes.stop - run.prefixes.start
    keys, values = (x[run.prefixes, :, : run.longest] for x in (prefixes.keys, prefixes.values))
    grouped = query.view(count, -1, shared, each, width).transpose(1, 2).reshape(count, shared, -1, width)
    out, lse = (
        x.view(count, shared, -1, each, x.shape[-1]).transpose(1, 2).reshape(places, shared, each, -1)
        for x in _part(grouped, keys, values, run.mask)
    )
    return out, lse


def _part(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention over one part of the keys, in float32, with the log-sum-exp of its scores."""
    scores = torch.matmul(query, key.transpose(2, 3)).float()
    if mask is not None:
        scores += mask
    top = scores.amax(-1, keepdim=True)
    weights = scores.sub_(top).exp_()
    total = weights.sum(-1, keepdim=True)
    return torch.matmul(weights.to(value.dtype), value).float().div_(total), total.log_().add_(top)


AttentionInterface.register(_ATTENTION, _shared_prefix_attention)


# ---------------------------------------------------------------- one pass through the model


def prefill(model: PreTrainedModel, prompts: list[list[int]]) -> tuple[DynamicCache, torch.Tensor]:
    """Keys and values of right-padded prompts and the logits [prompts, vocabulary] after each one's last token.

    Padding stands to the right, where causal attention never looks, so no mask is needed.
    """
    width = max(map(len, prompts))
    ids = torch.tensor([p + [0] * (width - len(p)) for p in prompts], device=model.device)
    last = torch.tensor([len(p) - 1 for p in prompts], device=model.device)
    cache = DynamicCache(config=model.config)
    keep: dict[str, Any] = {}
    where = last
    if "logits_to_keep" in _forward_parameters(model):
        keep["logits_to_keep"], where = torch.unique(last, return_inverse=True)
    positions = torch.arange(width, device=model.device).expand(len(prompts), -1)
    out = model(input_ids=ids, position_ids=positions, past_key_values=cache, use_cache=True, **keep)
    return cache, out.logits[torch.arange(len(prompts), device=model.device), where].float()


def decode(model: PreTrainedModel, rows: Rows) -> torch.Tensor:
    """Logits [rows, vocabulary] after feeding every live row its next token."""
    tokens, positions = rows.prepare()
    config, usual = model.config, model.config._attn_implementation
    token = _DECODING.set(rows)
    config._attn_implementation = _ATTENTION
    try:
        out = model(input_ids=tokens, position_ids=positions, past_key_values=rows.cache, use_cache=True)
    finally:
        config._attn_implementation = usual
        _DECODING.reset(token)
    rows.drawn[: rows.live] += 1
    return out.logits[:, -1].float()


def _forward_parameters(model: torch.nn.Module) -> set[str]:
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    return set(inspect.signature(inner.forward).parameters)
