"""What a model call costs: FLOPs from a model's shape, and what a prefix cache would have saved.

A decoder spends FLOPs in three places (kaplan2020scaling, section 2.1):

- the body: two for each weight that a token is multiplied with, of experts only the active ones;
- the output head: two for each of its weights, at the places whose logits are needed;
- attention: each layer multiplies a token's query with the keys of all tokens that it sees, and their weights with the
  values. A token that stands at place t sees t + 1 of them, or as many as a sliding window holds.

There are two bills. Without a cache, every call reads its whole text. With a prefix cache, as serving stacks have one,
a call reads what no earlier call for the same problem has read or written.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedModel

#: How configurations name a layer in which tokens attend to all tokens before them, or to a window of them.
_ATTENDS = ("full_attention", "sliding_attention", "chunked_attention", "attention")


@dataclass(frozen=True, slots=True)
class Prices:
    """What a decoder spends, in FLOPs.

    Attributes:
        body: for each token read.
        head: for each place whose logits are computed.
        attention: for each pair of a token and one that it sees, summed over the layers with the same window: pairs of
            (FLOPs, window in tokens; None where a token sees all before it).

    >>> Prices(body=10.0, head=5.0, attention=((1.0, None),)).reading(0, 3, logits=1)
    41.0
    """

    body: float = 0.0
    head: float = 0.0
    attention: tuple[tuple[float, int | None], ...] = ()

    def reading(self, start: int, stop: int, logits: int = 0) -> float:
        """FLOPs to read the tokens from place `start` up to `stop` of a text, with so many logits computed."""
        pairs = sum(each * (seen_before(stop, window) - seen_before(start, window)) for each, window in self.attention)
        return self.body * (stop - start) + pairs + self.head * logits


def seen_before(count: int, window: int | None = None) -> int:
    """How many pairs of a token and one that it sees (itself included) the first `count` tokens of a text form.

    >>> seen_before(4), seen_before(4, window=2)
    (10, 7)
    """
    whole = count if window is None else min(count, window)
    return whole * (whole + 1) // 2 + (count - whole) * (window or 0)


def prices(model: PreTrainedModel) -> Prices:
    """The prices of a model as it is now, adapters included, from its weights and its configuration."""
    import torch

    config = model.config.get_text_config(decoder=True)
    decoder, output = model.get_decoder(), model.get_output_embeddings()
    tables = [module for module in decoder.modules() if isinstance(module, torch.nn.Embedding)]
    # A table of embeddings is looked up and not multiplied; a tied one is the output head as well.
    apart = {id(p) for module in [*tables, *([] if output is None else [output])] for p in module.parameters()}
    body = sum(weights(p) for p in decoder.parameters() if id(p) not in apart) - idle_weights(model)
    head = 0 if output is None else sum(map(weights, output.parameters()))
    return Prices(2.0 * body, 2.0 * head, _attention(config))


def _attention(config: Any) -> tuple[tuple[float, int | None], ...]:
    """FLOPs for each pair of tokens by the layers' windows: two for each number of a query, and of a value."""
    from transformers.cache_utils import DynamicCache

    count = config.num_hidden_layers
    # Layers may differ in their heads.
    layers = getattr(config, "per_layer_config", None) or [config] * count
    kinds = getattr(config, "layer_types", None) or getattr(config, "layers_block_type", None) or ["attention"] * count
    window = getattr(config, "sliding_window", None)
    cached = DynamicCache(config=config).layers if window is not None else []
    slides = [layer.is_sliding for layer in cached] if len(cached) == count else [False] * count
    found: dict[int | None, float] = {}
    for layer, kind, sliding in zip(layers, kinds, slides, strict=False):
        heads = getattr(layer, "num_attention_heads", None)
        if heads and kind in _ATTENDS:
            width = getattr(layer, "head_dim", None) or layer.hidden_size // heads
            sizes = [getattr(layer, name, None) or width for name in ("qk_head_dim", "v_head_dim")]
            seen = window if sliding else None
            found[seen] = found.get(seen, 0.0) + 2.0 * heads * sum(sizes)
    return tuple((each, seen) for seen, each in found.items())


# ---------------------------------------------------------------- what was read, and what a cache would have saved


@dataclass(frozen=True, slots=True)
class Read:
    """One text that a model read, or wrote and read: enough to say what a prefix cache would have saved.

    Attributes:
        reader: which model, a number that no other model has at the same time.
        prices: the model's.
        text: its tokens, in parts that follow each other.
        start: from where on the call read it; 0 for a prompt, its length for what was drawn behind it.
        logits: how many of the last tokens were asked for their logits, and so are read in any case.
    """

    reader: int
    prices: Prices
    text: tuple[Sequence[int], ...]
    start: int = 0
    logits: int = 1

    @property
    def tokens(self) -> tuple[int, ...]:
        """All token ids."""
        return tuple(token for part in self.text for token in part)


def saved(reads: Iterable[Read]) -> tuple[int, float]:
    """Tokens and FLOPs that a prefix cache saves where these texts are read in turn.

    A text that is read from its beginning goes on from the longest beginning that was read or written before. What a
    model draws is always new: rows that draw the same tokens are computed each by itself.

    >>> price = Prices(body=1.0)
    >>> prompt, drawn = Read(0, price, ([1, 2],)), Read(0, price, ([1, 2], [3]), start=2)
    >>> saved([prompt, drawn, Read(0, price, ([1, 2, 3, 4],))])
    (3, 3.0)
    """
    known: dict[int, list[tuple[int, ...]]] = {}
    tokens, flops = 0, 0.0
    for read in reads:
        text = read.tokens
        before = known.setdefault(read.reader, [])
        if read.start == 0:
            at = bisect_left(before, text)
            # In sorted order, the text that shares the longest beginning is a neighbour.
            longest = max((_common(text, other) for other in before[max(0, at - 1) : at + 1]), default=0)
            reused = max(0, min(longest, len(text) - max(1, read.logits)))
            tokens += reused
            flops += read.prices.reading(0, reused)
        insort(before, text)
    return tokens, flops


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two texts begin with in common."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


# ---------------------------------------------------------------- weights

#: How configurations name the number of experts that a token is sent to, and the number of all experts.
_ACTIVE = ("num_experts_per_tok", "num_experts_per_token", "top_k_experts", "moe_top_k", "moe_topk", "moe_k")
_ALL = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")


def idle_weights(model: PreTrainedModel) -> float:
    """Weights of the experts that a token is not sent to; 0 for a model without experts.

    The routed experts of a layer lie in three-dimensional parameters, one expert an entry, with their biases beside
    them. The router and shared experts meet every token and count in full.
    """
    config = model.config.get_text_config(decoder=True)
    active = next((n for name in _ACTIVE if isinstance(n := getattr(config, name, None), int)), None)
    counts = {n for name in _ALL if isinstance(n := getattr(config, name, None), int)}
    if active is None:
        return 0.0
    idle = 0.0
    for module in model.modules():
        own = list(module.parameters(recurse=False))
        for count in {p.shape[0] for p in own if p.ndim == 3} & counts:
            idle += sum(p.numel() for p in own if p.shape[0] == count) * max(0.0, 1 - active / count)
    return idle


def weights(parameter: Any) -> int:
    """Weights in a parameter; a 4-bit one packs two in a byte and keeps its true shape aside."""
    state = getattr(parameter, "quant_state", None)
    return state.shape.numel() if state is not None else parameter.numel()
