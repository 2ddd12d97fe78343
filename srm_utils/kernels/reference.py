"""The product with a 4-bit matrix in plain torch: what every kernel of this room has to compute."""

from __future__ import annotations

from typing import TYPE_CHECKING

from srm_utils.kernels.packed import CODES, NESTED_BLOCK

if TYPE_CHECKING:
    import torch

    from srm_utils.kernels.packed import Packed


def scales_of(packed: Packed) -> torch.Tensor:
    """The scale of each block, float32 [blocks]; double quantisation is undone (dettmers2023qlora, equation 6)."""
    if packed.nested is None:
        return packed.scales
    outer = packed.nested.scales.repeat_interleave(NESTED_BLOCK)[: len(packed.scales)]
    return packed.nested.table[packed.scales.int()] * outer + packed.nested.offset


def dequantise(packed: Packed) -> torch.Tensor:
    """The matrix in float32 [outputs, inputs]: each weight is the value of its four bits times its block's scale.

    >>> import torch
    >>> from srm_utils.kernels.packed import quantise_int4
    >>> dequantise(quantise_int4(torch.tensor([[7.0, -7.0, 3.2, 0.0] * 8]), block=32))[0, :4]
    tensor([ 7., -7.,  3.,  0.])
    """
    import torch

    values = torch.tensor(CODES[packed.code], device=packed.weight.device)
    levels = torch.stack([packed.weight >> 4, packed.weight & 15], dim=1).flatten()
    scales = scales_of(packed).repeat_interleave(packed.block)[: len(levels)]
    return (values[levels.int()] * scales).view(packed.outputs, packed.inputs)


def multiply(x: torch.Tensor, packed: Packed) -> torch.Tensor:
    """The product x W^T in the type of `x`: x is [..., inputs], the result [..., outputs].

    >>> import torch
    >>> from srm_utils.kernels.packed import quantise_int4
    >>> multiply(torch.ones(2, 32), quantise_int4(torch.tensor([[7.0, -7.0, 3.2, 0.0] * 8]), block=32))
    tensor([[24.],
            [24.]])
    """
    return x @ dequantise(packed).to(x.dtype).T
