"""What a model has read is kept: a tree of texts by their tokens, with each token's keys and values beside it.

A search reads its path again at every step. With a store it reads only what the last step added. Texts that begin
alike share the slots of their common beginning (the radix tree of SGLang, arXiv 2312.07104).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

#: Bytes that a store may take on a CPU.
CPU_STORE_BYTES = 2**30
#: Share of a GPU's free memory that a store may take.
CUDA_STORE_SHARE = 0.2
#: Slots that a store begins with; it doubles as it fills.
FIRST_SLOTS = 4096
#: Share of all slots that is freed at once, so that a full store does not look for its oldest texts at every call.
FREED_SHARE = 1 / 8


@dataclass(slots=True, eq=False)
class _Node:
    """The tokens on the way from the parent to here, the slot of each, and when a text last went through."""

    ids: tuple[int, ...]
    slots: np.ndarray
    parent: _Node | None = None
    children: dict[int, _Node] = field(default_factory=dict)
    used: int = 0


class PrefixStore:
    """Keys and values of the texts that one model has read, at most `most_bytes`, least recently used out first.

    `read` counts the tokens that the model really read while the store was used, `reused` those that it found here.
    What is stored is true only for the weights that computed it: `refresh` drops everything where they have changed.
    """

    def __init__(self, most_bytes: int | None = None) -> None:
        self.most_bytes = most_bytes
        self.read = self.reused = 0
        self._weights: tuple[object, ...] = ()
        self.clear()

    def clear(self) -> None:
        """Forget everything; the counters stay."""
        self._root = _Node((), np.empty(0, dtype=np.int64))
        self._pools: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._free = np.empty(0, dtype=np.int64)
        self._slots = self._most = self._clock = 0

    def refresh(self, model: PreTrainedModel) -> None:
        """Drop what other weights, another adapter or another type of number has computed."""
        now = weights_state(model)
        if now != self._weights:
            self.clear()
            self._weights = now

    @property
    def bytes(self) -> int:
        """Memory of all slots, used or free."""
        return sum(x.numel() * x.element_size() for pair in self._pools for x in pair)

    @property
    def tokens(self) -> int:
        """How many tokens are stored."""
        return self._slots - len(self._free)

    # ------------------------------------------------------------ looking up

    def find(self, ids: tuple[int, ...]) -> np.ndarray:
        """The slots of the longest stored beginning of a text, never of all of it: its last token gives the logits."""
        self._clock += 1
        found, at, node = [], 0, self._root
        while True:
            node.used = self._clock
            common = _common(node.ids, ids, at)
            found.append(node.slots[:common])
            at += common
            if common < len(node.ids) or at == len(ids) or ids[at] not in node.children:
                break
            node = node.children[ids[at]]
        return np.concatenate(found)[: len(ids) - 1]

    def unread(self, ids: tuple[int, ...]) -> int:
        """How many tokens of a text are to be read."""
        return len(ids) - len(self.find(ids))

    def gather(self, slots: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Of every layer, the keys and values [*slots.shape, heads, head_dim] in these slots."""
        flat = slots.flatten()
        for keys, values in self._pools:
            yield tuple(x.index_select(0, flat).view(*slots.shape, *x.shape[1:]) for x in (keys, values))

    # ------------------------------------------------------------ storing

    def keep(
        self, texts: Sequence[tuple[int, ...]], rows: Sequence[int], starts: Sequence[int], layers: Sequence[Any]
    ) -> None:
        """Store texts whose `keys` and `values` stand in `rows` of every layer, from position `starts` of each text on.

        A text whose beginning before `starts` is not stored (any more) is left out, and so is one without room.
        """
        if not self._most:
            self._open(layers)
        self._clock += 1
        new: list[tuple[int, np.ndarray, np.ndarray]] = []
        for ids, row, start in zip(texts, rows, starts, strict=True):
            at, slots = self._add(ids, start)
            if len(slots):
                new.append((row, np.arange(at - start, at - start + len(slots)), slots))
        if not new:
            return
        device = self._pools[0][0].device
        lengths = [len(slots) for _, _, slots in new]
        of_row, column, into = (
            torch.from_numpy(x).to(device)
            for x in (
                np.repeat([row for row, _, _ in new], lengths),
                np.concatenate([columns for _, columns, _ in new]),
                np.concatenate([slots for _, _, slots in new]),
            )
        )
        for (keys, values), layer in zip(self._pools, layers, strict=True):
            keys.index_copy_(0, into, layer.keys[of_row, :, column])
            values.index_copy_(0, into, layer.values[of_row, :, column])

    def _add(self, ids: tuple[int, ...], start: int) -> tuple[int, np.ndarray]:
        """Put a text into the tree; returns from where on it is new and the slots of its new tokens."""
        at, node = 0, self._root
        nothing = np.empty(0, dtype=np.int64)
        while True:
            node.used = self._clock
            common = _common(node.ids, ids, at)
            at += common
            if common < len(node.ids):
                if at < len(ids) and at >= start:
                    node = self._split(node, common)
                break
            if at == len(ids) or ids[at] not in node.children:
                break
            node = node.children[ids[at]]
        if at == len(ids) or at < start:
            return at, nothing
        slots = self._take(len(ids) - at)
        if len(slots):
            node.children[ids[at]] = _Node(ids[at:], slots, node, used=self._clock)
        return at, slots

    def _split(self, node: _Node, at: int) -> _Node:
        """Cut a node in two; returns the upper one."""
        assert node.parent is not None
        upper = _Node(node.ids[:at], node.slots[:at], node.parent, {node.ids[at]: node}, node.used)
        node.parent.children[node.ids[0]] = upper
        node.ids, node.slots, node.parent = node.ids[at:], node.slots[at:], upper
        return upper

    def _take(self, count: int) -> np.ndarray:
        """Free slots, none where there is not enough room even without older texts."""
        if count > len(self._free) and self._slots < self._most:
            self._grow(min(self._most, max(2 * self._slots, self._slots + count)))
        if count > len(self._free):
            self._evict(max(count, int(FREED_SHARE * self._most)))
        if count > len(self._free):
            return self._free[:0]
        slots, self._free = self._free[-count:], self._free[:-count]
        return slots

    def _evict(self, wanted: int) -> None:
        """Free at least `wanted` slots, where there are so many: the ends of the texts that were used longest ago."""
        leaves: list[tuple[int, int, _Node]] = []
        stack = [self._root]
        while stack:
            node = stack.pop()
            stack += node.children.values()
            if not node.children and node.used < self._clock:
                leaves.append((node.used, id(node), node))
        heapq.heapify(leaves)
        freed = [self._free]
        while leaves and sum(map(len, freed)) < wanted:
            _, _, node = heapq.heappop(leaves)
            parent = node.parent
            if parent is None:
                continue
            freed.append(node.slots)
            del parent.children[node.ids[0]]
            if not parent.children and parent.used < self._clock:
                heapq.heappush(leaves, (parent.used, id(parent), parent))
        self._free = np.concatenate(freed)

    def _open(self, layers: Sequence[Any]) -> None:
        """Make the first slots, shaped like these layers."""
        like = [(layer.keys, layer.values) for layer in layers]
        size = sum(x.shape[1] * x.shape[3] * x.element_size() for pair in like for x in pair)
        device = like[0][0].device
        most = self.most_bytes
        if most is None:
            most = CPU_STORE_BYTES
            if device.type == "cuda":
                most = int(CUDA_STORE_SHARE * torch.cuda.mem_get_info(device)[0])
        self._most = max(1, most // size)
        self._pools = [
            (k.new_empty(0, k.shape[1], k.shape[3]), v.new_empty(0, v.shape[1], v.shape[3])) for k, v in like
        ]
        self._grow(min(self._most, FIRST_SLOTS))

    def _grow(self, slots: int) -> None:
        for i, pair in enumerate(self._pools):
            grown = tuple(x.new_empty(slots, *x.shape[1:]) for x in pair)
            for new, old in zip(grown, pair, strict=True):
                # Slot 0 stands in for padding: what a mask hides must still be a number.
                new[0] = 0
                new[: len(old)] = old
            self._pools[i] = (grown[0], grown[1])
        self._free = np.concatenate([np.arange(slots - 1, self._slots - 1, -1), self._free])
        self._slots = slots


def _common(edge: tuple[int, ...], ids: tuple[int, ...], at: int) -> int:
    """How many tokens an edge has in common with a text from `at` on.

    >>> _common((5, 6, 7), (4, 5, 6, 8), 1)
    2
    """
    there = ids[at : at + len(edge)]
    if there == edge:
        return len(edge)
    return next((i for i, (a, b) in enumerate(zip(edge, there, strict=False)) if a != b), len(there))


def weights_state(model: PreTrainedModel) -> tuple[object, ...]:
    """What changes when a model's weights do: where each tensor lies and how often it was written, and the adapters."""
    tensors = [*model.parameters(), *model.buffers()]
    state: list[object] = [(t.data_ptr(), 0 if t.is_inference() else t._version, t.dtype) for t in tensors]
    if hasattr(model, "peft_config"):
        from peft.tuners.tuners_utils import BaseTunerLayer

        for layer in model.modules():
            if isinstance(layer, BaseTunerLayer):
                scaling = tuple(getattr(layer, "scaling", {}).items())
                state.append((layer.disable_adapters, tuple(layer.active_adapters), layer.merged, scaling))
    return tuple(state)


def shared_beginnings(texts: Sequence[tuple[int, ...]], store: PrefixStore) -> list[tuple[tuple[int, ...], int]]:
    """Beginnings that several texts have in common and that are not stored, and how many tokens each saves.

    Neighbours in sorted order are grouped as long as a group saves more tokens with one more text than without it.
    """
    ordered = sorted(set(texts))
    found: list[tuple[tuple[int, ...], int]] = []
    at = 0
    while at < len(ordered):
        first, known = ordered[at], len(store.find(ordered[at]))
        common, count, saved = len(first), 1, 0
        while at + count < len(ordered):
            shorter = _common(first[:common], ordered[at + count], 0)
            if (shorter - known) * count <= saved:
                break
            common, saved, count = shorter, (shorter - known) * count, count + 1
        if saved:
            found.append((first[:common], saved))
        at += count
    return found
