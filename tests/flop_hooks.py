"""Counts the FLOPs that a model really spends, by hooks on its modules, for tests of the bills."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch


@dataclass
class Counted:
    """FLOPs of a model's body, of its output head, and of its attention."""

    body: float = 0.0
    head: float = 0.0
    attention: float = 0.0

    @property
    def flops(self) -> float:
        return self.body + self.head + self.attention


@contextmanager
def counting(model: torch.nn.Module) -> Iterator[Counted]:
    """Count within: each matrix by the rows it multiplies, attention by the places of the tokens that are read.

    Padding is counted like any token, so a caller sees to it that there is none.
    """
    found = Counted()
    head, decoder = model.get_output_embeddings(), model.get_decoder()
    config = model.config.get_text_config(decoder=True)
    width = config.num_attention_heads * (config.head_dim or config.hidden_size // config.num_attention_heads)

    def matrix(module: torch.nn.Linear, args: tuple[torch.Tensor, ...], out: torch.Tensor) -> None:
        spent = 2.0 * (args[0].numel() // args[0].shape[-1]) * module.in_features * module.out_features
        if module is head:
            found.head += spent
        else:
            found.body += spent

    def pairs(module: torch.nn.Module, args: tuple[Any, ...], given: dict[str, Any]) -> None:
        ids = given["input_ids"] if given.get("input_ids") is not None else args[0]
        places = given.get("position_ids")
        if places is None:
            places = torch.arange(ids.shape[1]).expand(ids.shape[0], -1)
        found.attention += 4.0 * width * config.num_hidden_layers * float((places + 1).sum())

    handles = [m.register_forward_hook(matrix) for m in model.modules() if isinstance(m, torch.nn.Linear)]
    handles.append(decoder.register_forward_pre_hook(pairs, with_kwargs=True))
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
