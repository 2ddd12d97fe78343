"""One pass of the live batch through a model, and the attention that reads each shared prefix once."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.cache_utils import Cache

from srm_utils.sampling.cache import PrefixStore
from srm_utils.sampling.reading import read
from srm_utils.sampling.rows import Block, Rows, Run

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# ---------------------------------------------------------------- attention of one token over a shared prefix


_DECODING: ContextVar[Rows] = ContextVar("srm_rows")
_ATTENTION = "srm_shared_prefix"


def _shared_prefix_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: int | None,
    scaling: float | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of `query` [rows, heads, 1, head_dim] over each row's shared prefix and its own `key`, `value`.

    All rows of a prefix meet its keys in one matrix product, which reads them once (arXiv 2402.05099);
    the two parts are joined by their log-sum-exp. `attention_mask` is what `_window` gave for this layer. `s_aux` are
    sinks, a score of each head that takes its share of the weights and adds nothing.
    """
    if kwargs.get("position_bias") is not None:
        raise NotImplementedError("attention with a position bias")
    rows = _DECODING.get()
    own_mask, run_masks = rows.masks(attention_mask)
    prefixes = rows.cache.layers[module.layer_idx].prefixes
    n, heads, _, width = query.shape
    shared = key.shape[1]
    q = (query * (width**-0.5 if scaling is None else scaling)).view(n, shared, heads // shared, width)
    own, own_lse = _part(q, key, value, own_mask, softcap)

    grouped = q if rows.layout is None else q.index_select(0, rows.layout)
    parts = [
        _over_prefixes(grouped[run.places], prefixes, run, mask, softcap)
        for run, mask in zip(rows.runs, run_masks, strict=True)
    ]
    prefix, prefix_lse = parts[0] if len(parts) == 1 else (torch.cat(x) for x in zip(*parts, strict=True))
    if rows.place is not None:
        prefix, prefix_lse = prefix.index_select(0, rows.place), prefix_lse.index_select(0, rows.place)
    out = torch.lerp(own, prefix, torch.sigmoid(prefix_lse - own_lse))
    if s_aux is not None:
        out *= torch.sigmoid(torch.logaddexp(own_lse, prefix_lse) - s_aux.float().view(shared, -1, 1))
    return out.to(query.dtype).view(n, 1, heads, -1), None


def _over_prefixes(
    query: torch.Tensor, prefixes: Block, run: Run, mask: torch.Tensor | None, softcap: float | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """`_part` of a run: `query` [places, shared heads, heads that share, head_dim] over the prefix of each place."""
    places, shared, each, width = query.shape
    count = run.prefixes.stop - run.prefixes.start
    keys, values = (x[run.prefixes, :, : run.longest] for x in (prefixes.keys, prefixes.values))
    grouped = query.view(count, -1, shared, each, width).transpose(1, 2).reshape(count, shared, -1, width)
    if mask is not None and mask.shape[2] > 1:
        mask = mask.repeat_interleave(each, 2)
    out, lse = (
        x.view(count, shared, -1, each, x.shape[-1]).transpose(1, 2).reshape(places, shared, each, -1)
        for x in _part(grouped, keys, values, mask, softcap)
    )
    return out, lse


def _part(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None, softcap: float | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention over one part of the keys, in float32, with the log-sum-exp of its scores."""
    scores = torch.matmul(query, key.transpose(2, 3)).float()
    if softcap is not None:
        scores = scores.div_(softcap).tanh_().mul_(softcap)
    if mask is not None:
        scores += mask
    top = scores.amax(-1, keepdim=True)
    weights = scores.sub_(top).exp_()
    total = weights.sum(-1, keepdim=True)
    return torch.matmul(weights.to(value.dtype), value).float().div_(total), total.log_().add_(top)


def _window(*, local_size: int | None = None, use_vmap: bool = False, **kwargs: Any) -> int | None:
    """What a model gives its layers in place of a mask: the size of a sliding window, or None for full attention.

    Models ask for one mask for each kind of layer, and so it is the model that says which layers have a window.
    """
    if use_vmap:
        raise NotImplementedError("a mask of the model's own")
    return local_size


AttentionInterface.register(_ATTENTION, _shared_prefix_attention)
AttentionMaskInterface.register(_ATTENTION, _window)


# ---------------------------------------------------------------- one pass through the model


def prefill(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], store: PrefixStore | None = None
) -> tuple[Cache, torch.Tensor]:
    """Keys and values of prompts, left-aligned, and the logits [prompts, vocabulary] after each one's last token."""
    cache, logits = read(model, [tuple(p) for p in prompts], [1] * len(prompts), store)
    return cache, logits.float()


def decode(model: PreTrainedModel, rows: Rows) -> torch.Tensor:
    """Logits [rows, vocabulary] after feeding every live row its next token."""
    tokens, positions = rows.prepare()
    # The text's alone: an image encoder may run on another implementation.
    config = text_config(model)
    usual = config._attn_implementation
    token = _DECODING.set(rows)
    config._attn_implementation = _ATTENTION
    try:
        out = model(input_ids=tokens, position_ids=positions, past_key_values=rows.cache, use_cache=True)
    finally:
        config._attn_implementation = usual
        _DECODING.reset(token)
    rows.drawn[: rows.live] += 1
    return out.logits[:, -1].float()


def text_config(model: PreTrainedModel) -> Any:
    """The configuration of the part of a model that writes text."""
    return model.config.get_text_config(decoder=True)
