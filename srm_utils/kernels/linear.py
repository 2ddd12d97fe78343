"""The kernels inside a model: every 4-bit layer of bitsandbytes multiplies by them, and stays that layer otherwise."""

from __future__ import annotations

from typing import Any

import torch
from bitsandbytes.nn import Linear4bit

from srm_utils.kernels.gemm import multiply
from srm_utils.kernels.packed import Packed, from_bitsandbytes


class TritonLinear4bit(Linear4bit):
    """A `Linear4bit` whose product runs in one Triton kernel; with gradients it computes as bitsandbytes does."""

    packed: Packed

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The layer's output [..., outputs] for x [..., inputs], in the type of x."""
        if torch.is_grad_enabled() and x.requires_grad:
            # The kernels have no backward pass.
            return super().forward(x)
        if self.packed.weight.data_ptr() != self.weight.data_ptr():
            # The layer has moved to another device since.
            self.packed = from_bitsandbytes(self.weight)
        out = multiply(x.to(self.compute_dtype or x.dtype), self.packed)
        return (out if self.bias is None else out + self.bias.to(out.dtype)).to(x.dtype)


def use_kernels(model: torch.nn.Module) -> int:
    """Let the 4-bit layers of a model multiply by the kernels, and say how many there are.

    A layer keeps its weights, and changes its class alone. It is still a `Linear4bit`, so PEFT and `save_pretrained`
    treat it as before. Raises ValueError for a layer that the kernels cannot read, before any layer is changed.
    """
    layers: list[Any] = [m for m in model.modules() if isinstance(m, Linear4bit)]
    found = [from_bitsandbytes(layer.weight) for layer in layers]
    for layer, packed in zip(layers, found, strict=True):
        layer.__class__, layer.packed = TritonLinear4bit, packed
    return len(layers)
