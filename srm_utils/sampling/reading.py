"""One pass that reads texts, each from where it is new, and computes logits only where they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicCache

from srm_utils.sampling.cache import PrefixStore, shared_beginnings

if TYPE_CHECKING:
    from transformers import PreTrainedModel

#: Tokens (padding included) read in one pass: on a CPU as many as leave what a layer makes of them in its cache.
READ_TOKENS = {"cuda": 8192, "cpu": 2048}
#: How many times as many tokens may stand in the buffers of one pass, where most of them are stored.
BUFFERED = 16
#: Tokens that must be saved by reading shared beginnings first, for that is a pass of its own.
WORTH_A_PASS = 128


# ---------------------------------------------------------------- attention over stored and new tokens


class Reading:
    """Which tokens of right-padded texts one pass reads, each row from its own start on, and what they may see.

    The texts stand in a buffer of `capacity` tokens a row, by default as many as the longest has, in these `rows` of
    it, by default in all.
    """

    def __init__(
        self,
        starts: Sequence[int] | np.ndarray,
        lengths: Sequence[int] | np.ndarray,
        device: torch.device,
        rows: np.ndarray | None = None,
        capacity: int | None = None,
    ) -> None:
        begin, length = np.array(starts)[:, None], np.array(lengths)[:, None]
        self.total, self.width = int(length.max()), int((length - begin).max())
        at = begin + np.arange(self.width)
        real = (at < length).ravel()
        # Where the new tokens stand in the buffer, and which of [rows, width] are no padding.
        of_row = np.arange(len(begin)) if rows is None else rows
        into = (of_row[:, None] * (capacity or self.total) + at).ravel()[real]
        self.rows = None if rows is None else torch.from_numpy(rows).to(device)
        self.into = torch.from_numpy(into).to(device)
        self.real = None if real.all() else torch.from_numpy(np.flatnonzero(real)).to(device)
        # Padding reads at the last position, so that it always sees a key.
        self.positions = torch.from_numpy(np.minimum(at, length - 1)).to(device)
        self._masks: dict[int | None, torch.Tensor] = {}

    def mask(self, window: int | None) -> torch.Tensor:
        """Which keys [rows, 1, width, total] each new token sees: those before it, at most `window`, and its own."""
        if window not in self._masks:
            keys, own = torch.arange(self.total, device=self.positions.device), self.positions[:, None, :, None]
            seen = keys <= own
            self._masks[window] = seen if window is None else seen & (keys > own - window)
        return self._masks[window]


class ReadLayer(CacheLayerMixin):
    """One layer's buffer [rows, heads, tokens, head_dim]: what was read stands in front, what is new is written behind.

    It lies in memory a token after the other. `reading` says what the next pass reads.
    """

    keys: torch.Tensor
    values: torch.Tensor
    reading: Reading
    is_sliding = False

    def __init__(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        super().__init__()
        self.keys, self.values = keys, values

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Nothing to do: the buffer is made from what is stored."""

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any):
        r = self.reading
        for whole, new in ((self.keys, key_states), (self.values, value_states)):
            fresh = new.transpose(1, 2).reshape(-1, new.shape[1], new.shape[3])
            fresh = fresh if r.real is None else fresh.index_select(0, r.real)
            whole.transpose(1, 2).view(-1, *fresh.shape[1:]).index_copy_(0, r.into, fresh)
        keys, values = self.keys[:, :, : r.total], self.values[:, :, : r.total]
        return (keys, values) if r.rows is None else (keys[r.rows], values[r.rows])

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.reading.total, 0

    def get_seq_length(self) -> int:
        return self.reading.total - self.reading.width

    def get_max_length(self) -> int:
        return -1


_READING: ContextVar[Reading] = ContextVar("srm_reading")
_ATTENTION = "srm_stored_prefix"


def _attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor,
    scaling: float | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of `query` [rows, heads, width, head_dim] over stored and new `key` and `value`.

    Heads that share keys are laid side by side, so that keys are not copied for each. `s_aux` are sinks, a score of
    each head that takes its share of the weights and adds nothing.
    """
    if kwargs.get("position_bias") is not None:
        raise NotImplementedError("attention with a position bias")
    n, heads, width, size = query.shape
    shared = key.shape[1]
    each = heads // shared
    scale = size**-0.5 if scaling is None else scaling
    q = query.reshape(n, shared, each * width, size)
    mask = attention_mask.repeat(1, 1, each, 1) if each > 1 else attention_mask
    if softcap is None and s_aux is None:
        out = torch.nn.functional.scaled_dot_product_attention(q, key, value, attn_mask=mask, scale=scale)
    else:
        scores = torch.matmul(q * scale, key.transpose(2, 3)).float()
        if softcap is not None:
            scores = scores.div_(softcap).tanh_().mul_(softcap)
        scores = scores.masked_fill_(~mask, torch.finfo(torch.float32).min)
        if s_aux is not None:
            sinks = s_aux.float().view(1, shared, each, 1).expand(n, -1, -1, width).reshape(n, shared, -1, 1)
            scores = torch.cat([scores, sinks], -1)
        weights = scores.softmax(-1)[..., : key.shape[2]]
        out = torch.matmul(weights.to(value.dtype), value)
    return out.view(n, heads, width, -1).transpose(1, 2), None


def _seen(*, local_size: int | None = None, use_vmap: bool = False, **kwargs: Any) -> torch.Tensor:
    """The mask of one kind of layers: `local_size` is their sliding window, None for full attention."""
    if use_vmap:
        raise NotImplementedError("a mask of the model's own")
    return _READING.get().mask(local_size)


AttentionInterface.register(_ATTENTION, _attention)
AttentionMaskInterface.register(_ATTENTION, _seen)


# ---------------------------------------------------------------- one pass


def read(
    model: PreTrainedModel,
    texts: Sequence[tuple[int, ...]],
    wanted: Sequence[int],
    store: PrefixStore | None = None,
) -> tuple[Cache, torch.Tensor]:
    """Read texts: keys and values of every layer, and the logits behind the last `wanted` tokens of each.

    Args:
        model: in sampling mode (`engine.sampling_mode`), one that `support.why_unsupported` finds nothing against.
        texts: token ids of each.
        wanted: how many of each text's last tokens are asked for their logits.
        store: finds what was read before, and keeps what is read now. At least the last token, and all `wanted`
            ones, are read in any case.

    Returns:
        A cache with one row a text, left-aligned, and logits [sum of `wanted`, vocabulary], in the texts' order.
    """
    if store is None:
        found = [np.empty(0, dtype=np.int64)] * len(texts)
    else:
        found = [store.find(ids)[: len(ids) - max(1, count)] for ids, count in zip(texts, wanted, strict=True)]
    starts, lengths = [len(slots) for slots in found], [len(ids) for ids in texts]
    device = model.device
    width = max(length - start for length, start in zip(lengths, starts, strict=True))
    ids = torch.tensor(
        [[*text[start:], *[0] * (width - len(text) + start)] for text, start in zip(texts, starts, strict=True)],
        device=device,
    )
    asked = torch.tensor(
        [
            row * width + length - start - count + i
            for row, (start, length, count) in enumerate(zip(starts, lengths, wanted, strict=True))
            for i in range(count)
        ],
        dtype=torch.int64,
        device=device,
    )
    with logits_at(model, asked) as pick:
        if store is None or not any(starts):
            # Padding stands to the right, where causal attention never looks, so no mask is needed. Layers with a
            # sliding window keep all keys: in a batch of unequal lengths the last of a short text are not the newest.
            cache: Cache = DynamicCache()
            positions = torch.arange(width, device=device).expand(len(texts), -1)
            out = model(input_ids=ids, position_ids=positions, past_key_values=cache, use_cache=True)
        else:
            reading = Reading(starts, lengths, device)
            slots = np.zeros((len(texts), reading.total), dtype=np.int64)
            for row, of_row in zip(slots, found, strict=True):
                row[: len(of_row)] = of_row
            stored = store.gather(torch.from_numpy(slots).to(device))
            layers = [ReadLayer(keys.transpose(1, 2), values.transpose(1, 2)) for keys, values in stored]
            for layer in layers:
                layer.reading = reading
            cache = Cache(layers=layers)
            out = resumed(model, reading, ids, cache)
    if store is not None:
        store.read += sum(lengths) - sum(starts)
        store.reused += sum(starts)
        store.keep(texts, range(len(texts)), [0] * len(texts), cache.layers)
    return cache, pick(out.logits)


def resumed(model: PreTrainedModel, reading: Reading, ids: torch.Tensor, cache: Cache) -> Any:
    """The model's output where attention goes over what is stored as well."""
    # The text's alone: an image encoder may run on another implementation.
    config = model.config.get_text_config(decoder=True)
    usual = config._attn_implementation
    token = _READING.set(reading)
    config._attn_implementation = _ATTENTION
    try:
        return model(input_ids=ids, position_ids=reading.positions, past_key_values=cache, use_cache=True)
    finally:
        config._attn_implementation = usual
        _READING.reset(token)


@contextmanager
def logits_at(model: PreTrainedModel, places: torch.Tensor) -> Iterator[Callable[[torch.Tensor], torch.Tensor]]:
    """The output layer sees only the hidden states at these `places` of [rows x width] within.

    What is given takes the logits that the model returned and makes them [places, vocabulary], also where it did not
    call its output layer.
    """
    picked: list[bool] = []

    def select(module: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        picked.append(True)
        return args[0].reshape(-1, args[0].shape[-1]).index_select(0, places)[None], *args[1:]

    def only(logits: torch.Tensor) -> torch.Tensor:
        flat = logits.reshape(-1, logits.shape[-1])
        return flat if picked else flat.index_select(0, places)

    head = model.get_output_embeddings()
    handle = head.register_forward_pre_hook(select) if head is not None else None
    try:
        yield only
    finally:
        if handle is not None:
            handle.remove()


# ---------------------------------------------------------------- which texts are read together


def begun_alike(texts: Sequence[tuple[int, ...]], store: PrefixStore) -> list[tuple[int, ...]]:
    """What several of these texts begin with and is not stored, where reading it first saves more than a pass costs."""
    found = shared_beginnings(texts, store)
    return [ids for ids, _ in found] if sum(saved for _, saved in found) >= WORTH_A_PASS else []


def read_shared_beginnings(model: PreTrainedModel, texts: Sequence[tuple[int, ...]], store: PrefixStore) -> None:
    """Read into the store what several of these texts begin with (`begun_alike`)."""
    for batch in batches(begun_alike(texts, store), store, Room(model)):
        read(model, batch, [0] * len(batch), store)


def batches(
    texts: Sequence[tuple[int, ...]],
    store: PrefixStore | None,
    room: Room,
    wanted: Mapping[tuple[int, ...], int] | None = None,
) -> Iterator[list[tuple[int, ...]]]:
    """Texts in batches of like numbers of unread tokens, as many as fit in the `room` of one pass.

    `wanted` says of each how many of its last tokens are asked for their logits.
    """
    asked = wanted or {}
    unread = {ids: max(asked.get(ids, 0), len(ids) if store is None else store.unread(ids)) for ids in texts}
    batch: list[tuple[int, ...]] = []
    for ids in sorted(unread, key=lambda ids: (-unread[ids], -len(ids))):
        if not room.takes(unread[ids], len(ids), asked.get(ids, 0)):
            yield batch
            batch = []
            room.empty()
            room.takes(unread[ids], len(ids), asked.get(ids, 0))
        batch.append(ids)
    if batch:
        yield batch


class Room:
    """How much more a pass can read: texts of unequal lengths are padded to the longest."""

    def __init__(self, model: PreTrainedModel, logits: int = 2**31) -> None:
        self.tokens, self.most_logits = READ_TOKENS.get(model.device.type, 2048), logits
        self.empty()

    def empty(self) -> None:
        """Begin another pass."""
        self.count = self.width = self.total = self.logits = 0

    def takes(self, unread: int, length: int, wanted: int = 1) -> bool:
        """Whether a text still finds room, with so many tokens to read; the first always does. If so it is counted."""
        width, total = max(self.width, unread), max(self.total, length)
        count, logits = self.count + 1, self.logits + wanted
        full = width * count > self.tokens or total * count > BUFFERED * self.tokens or logits > self.most_logits
        if count > 1 and full:
            return False
        self.width, self.total, self.count, self.logits = width, total, count, logits
        return True
