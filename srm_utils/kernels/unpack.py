"""From bytes to weights inside a kernel: the scale of a block, and the value of four bits in two ways.

The second way decides the speed of steps 3 to 5. A multiprocessor starts about four instructions a clock, and at full
memory bandwidth that leaves four to five for each 4-bit weight, so the value must be found in two or three.
"""

from __future__ import annotations

import triton
import triton.language as tl

from srm_utils.kernels.packed import NF4

#: Triton's interpreter runs kernels in numpy and knows no machine code.
INTERPRETED = tl.constexpr(bool(triton.knobs.runtime.interpret))
V = tl.constexpr(NF4)


def _planes() -> list[str]:
    """The 16 values in half precision as eight 32-bit words: four of low bytes, then four of high bytes."""
    import numpy as np

    pairs = np.array(NF4, dtype="<f2").view(np.uint8).reshape(16, 2)
    words = [pairs[i : i + 4, part].tobytes() for part in (0, 1) for i in (0, 4, 8, 12)]
    return [f"0x{int.from_bytes(word, 'little'):08x}" for word in words]


_HALF = """
prmt.b32 a, {l0}, {l1}, s;
prmt.b32 b, {l2}, {l3}, s;
lop3.b32 l, a, b, m, 0xd8;
prmt.b32 a, {h0}, {h1}, s;
prmt.b32 b, {h2}, {h3}, s;
lop3.b32 h, a, b, m, 0xd8;
"""
#: Four bytes in $4 become eight half-precision values: $0 and $1 hold those of the high bits, $2 and $3 of the low.
#: `prmt` picks four bytes out of eight by four 3-bit numbers, so it looks four weights up at once. The fourth bit
#: chooses between the lower and the upper half of the table (`lop3` with 0xd8 is: m ? b : a).
LOOK_UP = tl.constexpr(
    (
        "{{\n.reg .b32 s, t, m, a, b, l, h;\n"
        "and.b32 s, $4, 0x77777777;\nshl.b32 t, $4, 4;\n"
        "prmt.b32 m, $4, t, 0x9d8c;" + _HALF + "prmt.b32 $0, l, h, 0x7351;\nprmt.b32 $2, l, h, 0x6240;\n"
        "shr.b32 s, s, 16;\n"
        "prmt.b32 m, $4, t, 0xbfae;" + _HALF + "prmt.b32 $1, l, h, 0x7351;\nprmt.b32 $3, l, h, 0x6240;\n}}"
    ).format(**dict(zip(("l0", "l1", "l2", "l3", "h0", "h1", "h2", "h3"), _planes(), strict=True)))
)


@triton.jit
def scale_of(block, scales, table, outer, offset, inside, NESTED: tl.constexpr):
    """The float32 scale of each block number; `table`, `outer` and `offset` undo the double quantisation."""
    if NESTED:
        level = tl.load(scales + block, mask=inside, other=0).to(tl.int32)
        scale = tl.load(table + level) * tl.load(outer + block // 256, mask=inside, other=0.0) + tl.load(offset)
    else:
        scale = tl.load(scales + block, mask=inside, other=0.0)
    return scale


@triton.jit
def look_up(byte, values):
    """Both weights of each byte, float32, from a table of 16 float32 values in memory."""
    level = byte.to(tl.int32)
    return tl.load(values + (level >> 4)), tl.load(values + (level & 15))


@triton.jit
def compute(byte, INT4: tl.constexpr):
    """Both weights of each byte, half precision, without touching memory."""
    if INT4:
        # 0x6400 is 1024 in half precision, whose last bits count in ones: no slow conversion (frantar2024marlin).
        level = byte.to(tl.int16)
        first = ((level >> 4) | 0x6400).to(tl.float16, bitcast=True)
        second = ((level & 15) | 0x6400).to(tl.float16, bitcast=True)
        first, second = first - 1032.0, second - 1032.0
    elif INTERPRETED:
        level = byte.to(tl.int32)
        first, second = _choose(level >> 4).to(tl.float16), _choose(level & 15).to(tl.float16)
    else:
        first, second = tl.inline_asm_elementwise(
            LOOK_UP, "=&r,=&r,=&r,=&r,r", [byte], dtype=(tl.float16, tl.float16), is_pure=True, pack=4
        )
    return first, second


@triton.jit
def _choose(level):
    """The NF4 value of each level by a tree of 15 choices, the same table for the interpreter."""
    a, b, c = (level & 1) != 0, (level & 2) != 0, (level & 4) != 0
    v0 = tl.where(b, tl.where(a, V[3], V[2]), tl.where(a, V[1], V[0]))
    v1 = tl.where(b, tl.where(a, V[7], V[6]), tl.where(a, V[5], V[4]))
    v2 = tl.where(b, tl.where(a, V[11], V[10]), tl.where(a, V[9], V[8]))
    v3 = tl.where(b, tl.where(a, V[15], V[14]), tl.where(a, V[13], V[12]))
    return tl.where((level & 8) != 0, tl.where(c, v3, v2), tl.where(c, v1, v0))
