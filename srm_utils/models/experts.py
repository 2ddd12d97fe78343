"""Mixtures of experts: how many of a model's weights a token does not meet."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedModel

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
