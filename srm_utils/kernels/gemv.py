"""Steps 1 to 4: the product of one row of activations with a 4-bit matrix, as decoding one token needs it.

Such a product reads every weight once and uses it once. Its time is the time to read the matrix, so each step removes
something that stands between the kernel and the memory's bandwidth.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import triton
import triton.language as tl

from srm_utils.kernels.packed import CODES
from srm_utils.kernels.unpack import compute, look_up, scale_of

if TYPE_CHECKING:
    import torch

    from srm_utils.kernels.packed import Packed


# ---------------------------------------------------------------- the kernels


@triton.jit
def naive_kernel(
    x, weight, values, scales, table, outer, offset, out, inputs,
    BLOCK: tl.constexpr, NESTED: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """Step 1, the plain way: one program a row, one weight a lane. Every byte is asked for twice."""
    row = tl.program_id(0).to(tl.int64)
    total = tl.zeros((WIDTH,), tl.float32)
    for start in range(0, inputs, WIDTH):
        column = start + tl.arange(0, WIDTH)
        inside = column < inputs
        place = row * inputs + column
        byte = tl.load(weight + place // 2, mask=inside, other=0).to(tl.int32)
        level = tl.where(place % 2 == 0, byte >> 4, byte & 15)
        scale = scale_of(place // BLOCK, scales, table, outer, offset, inside, NESTED)
        total += tl.load(values + level) * scale * tl.load(x + column, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + row, tl.sum(total))


@triton.jit
def packed_kernel(
    x, weight, values, scales, table, outer, offset, out, half,
    BLOCK: tl.constexpr, NESTED: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """Step 2, wide loads: every byte is asked for once, in groups of 16 neighbours that share one scale."""
    row = tl.program_id(0).to(tl.int64)
    total = tl.zeros((WIDTH // 16,), tl.float32)
    for start in range(0, half, WIDTH):
        group, column = columns(start, WIDTH)
        inside = group < half
        first, second = look_up(tl.load(weight + row * half + column, mask=inside[:, None], other=0), values)
        even, odd = activations(x, column, inside[:, None])
        scale = scale_of((row * half + group) // (BLOCK // 2), scales, table, outer, offset, inside, NESTED)
        total += scale * tl.sum(first * even + second * odd, 1)
    tl.store(out + row, tl.sum(total))


@triton.jit
def lookup_kernel(
    x, weight, scales, table, outer, offset, out, half,
    BLOCK: tl.constexpr, NESTED: tl.constexpr, INT4: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """Step 3, the table in registers: the value of four bits is computed and no longer asked of the memory."""
    row = tl.program_id(0).to(tl.int64)
    total = tl.zeros((WIDTH // 16,), tl.float32)
    for start in range(0, half, WIDTH):
        group, column = columns(start, WIDTH)
        inside = group < half
        first, second = compute(tl.load(weight + row * half + column, mask=inside[:, None], other=0), INT4)
        even, odd = activations(x, column, inside[:, None])
        scale = scale_of((row * half + group) // (BLOCK // 2), scales, table, outer, offset, inside, NESTED)
        total += scale * tl.sum(first.to(tl.float32) * even + second.to(tl.float32) * odd, 1)
    tl.store(out + row, tl.sum(total))


@triton.jit
def split_kernel(
    x, weight, scales, table, outer, offset, out, outputs, half, part,
    BLOCK: tl.constexpr, NESTED: tl.constexpr, INT4: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """Step 4, more bytes in flight: a program has several rows for one load of x, and a row has several programs.

    Program (i, j) adds up the columns of part j, `part` bytes long. The parts are added afterwards, always in the
    same order, so that the same call gives the same bits.
    """
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    begin = row.to(tl.int64) * half
    end = tl.minimum((tl.program_id(1) + 1) * part, half)
    total = tl.zeros((ROWS, WIDTH // 16), tl.float32)
    for start in range(tl.program_id(1) * part, end, WIDTH):
        group, column = columns(start, WIDTH)
        inside = (row < outputs)[:, None] & (group < end)[None, :]
        place = begin[:, None, None] + column[None, :, :]
        first, second = compute(tl.load(weight + place, mask=inside[:, :, None], other=0), INT4)
        even, odd = activations(x, column, (group < end)[:, None])
        block = (begin[:, None] + group[None, :]) // (BLOCK // 2)
        scale = scale_of(block, scales, table, outer, offset, inside, NESTED)
        total += scale * tl.sum(first.to(tl.float32) * even[None, :, :] + second.to(tl.float32) * odd[None, :, :], 2)
    tl.store(out + tl.program_id(1) * outputs + row, tl.sum(total, 1), mask=row < outputs)


@triton.jit
def columns(start, WIDTH: tl.constexpr):
    """The bytes of a row from `start` on, in groups of 16: the first of each group, and all of them."""
    group = start + 16 * tl.arange(0, WIDTH // 16)
    return group, group[:, None] + tl.arange(0, 16)[None, :]


@triton.jit
def activations(x, column, inside):
    """The two activations that meet the two weights of each byte, float32, read as one number of twice the size."""
    if x.dtype.element_ty == tl.bfloat16:
        both = tl.load(x.to(tl.pointer_type(tl.int32)) + column, mask=inside, other=0)
        # A bfloat16 is the first half of a float32.
        even, odd = (both << 16).to(tl.float32, bitcast=True), (both & -65536).to(tl.float32, bitcast=True)
    elif x.dtype.element_ty == tl.float16:
        both = tl.load(x.to(tl.pointer_type(tl.int32)) + column, mask=inside, other=0)
        even = both.to(tl.int16).to(tl.float16, bitcast=True).to(tl.float32)
        odd = (both >> 16).to(tl.int16).to(tl.float16, bitcast=True).to(tl.float32)
    else:
        both = tl.load(x.to(tl.pointer_type(tl.int64)) + column, mask=inside, other=0)
        even = both.to(tl.int32).to(tl.float32, bitcast=True)
        odd = (both >> 32).to(tl.int32).to(tl.float32, bitcast=True)
    return even, odd


# ---------------------------------------------------------------- their calls

#: Bytes of a row that one program reads at a time; 512 are 16 for each lane of a warp, the widest load there is.
WIDTH = 512


def naive(x: torch.Tensor, packed: Packed) -> torch.Tensor:
    """Step 1: x [inputs] times a 4-bit matrix, float32 [outputs]."""
    out = x.new_empty(packed.outputs, dtype=_float32())
    arguments = (x, packed.weight, _table(packed.code, x.device), *_scales(packed), out, packed.inputs)
    naive_kernel[(packed.outputs,)](*arguments, packed.block, packed.nested is not None, 128, num_warps=1)
    return out


def packed_loads(x: torch.Tensor, packed: Packed) -> torch.Tensor:
    """Step 2: x [inputs] times a 4-bit matrix, float32 [outputs]."""
    out = x.new_empty(packed.outputs, dtype=_float32())
    arguments = (x, packed.weight, _table(packed.code, x.device), *_scales(packed), out, packed.inputs // 2)
    packed_kernel[(packed.outputs,)](*arguments, packed.block, packed.nested is not None, WIDTH, num_warps=1)
    return out


def lookup(x: torch.Tensor, packed: Packed) -> torch.Tensor:
    """Step 3: x [inputs] times a 4-bit matrix, float32 [outputs]."""
    out = x.new_empty(packed.outputs, dtype=_float32())
    flags = (packed.block, packed.nested is not None, packed.code == "int4")
    arguments = (x, packed.weight, *_scales(packed), out, packed.inputs // 2)
    lookup_kernel[(packed.outputs,)](*arguments, *flags, WIDTH, num_warps=1)
    return out


def split(x: torch.Tensor, packed: Packed, rows: int | None = None, programs: int = 1024) -> torch.Tensor:
    """Step 4: x [inputs] times a 4-bit matrix, float32 [outputs].

    Args:
        x: the activations, contiguous.
        packed: the matrix.
        rows: rows of one program, a power of two. None takes 4; the interpreter, slow by the program, gets up to 512.
        programs: rows are cut into parts until there are about so many programs, enough for every multiprocessor.
    """
    rows = rows or (4 if x.is_cuda else min(512, triton.next_power_of_2(packed.outputs)))
    groups = triton.cdiv(packed.outputs, rows)
    pieces = triton.cdiv(packed.inputs // 2, WIDTH)
    parts = max(1, min(pieces, programs // groups))
    part = triton.cdiv(pieces, parts) * WIDTH
    parts = triton.cdiv(packed.inputs // 2, part)
    out = x.new_empty(parts, packed.outputs, dtype=_float32())
    flags = (packed.block, packed.nested is not None, packed.code == "int4")
    arguments = (x, packed.weight, *_scales(packed), out, packed.outputs, packed.inputs // 2, part)
    split_kernel[(groups, parts)](*arguments, *flags, rows, WIDTH, num_warps=1)
    return out[0] if parts == 1 else out.sum(0)


#: The four steps by name, in order.
STEPS = {"1 naive": naive, "2 packed loads": packed_loads, "3 table in registers": lookup, "4 split rows": split}


@functools.cache
def _table(code: str, device: torch.device) -> torch.Tensor:
    import torch

    return torch.tensor(CODES[code], device=device)


def _scales(packed: Packed) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    nested = packed.nested
    if nested is None:
        # A kernel without double quantisation reads the first alone.
        return packed.scales, packed.scales, packed.scales, packed.scales
    return packed.scales, nested.table, nested.scales, nested.offset


def _float32() -> torch.dtype:
    import torch

    return torch.float32
