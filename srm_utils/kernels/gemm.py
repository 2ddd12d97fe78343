"""Step 5: the product of many rows of activations with a 4-bit matrix on tensor cores, as reading a prompt needs it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import triton
import triton.language as tl

from srm_utils.kernels.gemv import _scales, columns, split
from srm_utils.kernels.unpack import INTERPRETED, compute, scale_of

if TYPE_CHECKING:
    import torch

    from srm_utils.kernels.packed import Packed


@triton.jit
def tile_kernel(
    even, odd, weight, scales, table, outer, offset, out, texts, outputs, half,
    BLOCK: tl.constexpr, NESTED: tl.constexpr, INT4: tl.constexpr,
    TEXTS: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """Step 5, tiles: a weight is unpacked once for `TEXTS` rows of x and goes to the tensor cores in the type of x.

    A byte's two weights are never interleaved. The first ones meet the even columns of x and the second ones the odd,
    and the two products are added.
    """
    text = tl.program_id(0) * TEXTS + tl.arange(0, TEXTS)[:, None]
    row = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    begin = row.to(tl.int64) * half
    total = tl.zeros((TEXTS, ROWS), tl.float32)
    for start in range(0, half, WIDTH):
        group, column = columns(start, WIDTH)
        inside = (row < outputs)[:, None] & (group < half)[None, :]
        place = begin[:, None, None] + column[None, :, :]
        first, second = compute(tl.load(weight + place, mask=inside[:, :, None], other=0), INT4)
        block = (begin[:, None] + group[None, :]) // (BLOCK // 2)
        scale = scale_of(block, scales, table, outer, offset, inside, NESTED)[:, :, None]
        flat = start + tl.arange(0, WIDTH)[None, :]
        there = (text < texts) & (flat < half)
        x = tl.load(even + text * half + flat, mask=there, other=0.0)
        weights = tl.reshape((first.to(tl.float32) * scale).to(x.dtype), (ROWS, WIDTH))
        total = tl.dot(x, tl.trans(weights), total, input_precision="ieee")
        x = tl.load(odd + text * half + flat, mask=there, other=0.0)
        weights = tl.reshape((second.to(tl.float32) * scale).to(x.dtype), (ROWS, WIDTH))
        total = tl.dot(x, tl.trans(weights), total, input_precision="ieee")
    tl.store(out + text * outputs + row[None, :], total, mask=(text < texts) & (row < outputs)[None, :])


def tiles(x: torch.Tensor, packed: Packed) -> torch.Tensor:
    """Step 5: x [texts, inputs] times a 4-bit matrix, [texts, outputs] in the type of x."""
    texts = len(x)
    # The interpreter multiplies tiles of bfloat16 as if they were whole numbers.
    tile = x.float() if INTERPRETED and x.element_size() == 2 else x
    # Apart beforehand: x is small beside the weights, and each half is then read in one piece.
    even, odd = tile.view(texts, -1, 2).movedim(-1, 0).contiguous()
    out = x.new_empty(texts, packed.outputs)
    # Rows of x, rows of the matrix and bytes of a row in a tile; the interpreter is slow by the tile.
    sizes = (16 if texts <= 16 else 64, 64, 64) if x.is_cuda else (min(256, triton.next_power_of_2(texts)), 512, 128)
    grid = (triton.cdiv(texts, sizes[0]), triton.cdiv(packed.outputs, sizes[1]))
    flags = (packed.block, packed.nested is not None, packed.code == "int4")
    arguments = (even, odd, packed.weight, *_scales(packed), out, texts, packed.outputs, packed.inputs // 2)
    tile_kernel[grid](*arguments, *flags, *sizes, num_warps=4)
    return out


def multiply(x: torch.Tensor, packed: Packed) -> torch.Tensor:
    """The product x W^T in the type of `x`: by step 4 for one row of activations, by step 5 for more.

    Args:
        x: [..., inputs], on the matrix's device.
        packed: the matrix [outputs, inputs].

    Returns [..., outputs].
    """
    flat = x.reshape(-1, packed.inputs).contiguous()
    out = split(flat[0], packed).to(x.dtype) if len(flat) == 1 else tiles(flat, packed)
    return out.view(*x.shape[:-1], packed.outputs)
