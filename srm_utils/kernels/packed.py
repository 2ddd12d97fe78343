"""`Packed`: a matrix in 4 bits with one scale a block, as bitsandbytes stores it and as the kernels read it."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

#: The 16 values of NF4: quantiles of a normal distribution, scaled to [-1, 1] (dettmers2023qlora, appendix E).
NF4 = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453,
    -0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0,
    0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
)  # fmt: skip
#: The 16 values of int4: whole numbers around zero.
INT4 = tuple(float(q - 8) for q in range(16))
CODES = {"nf4": NF4, "int4": INT4}
#: Neighbouring weights that a lane reads at once, 16 bytes.
GROUP = 32
#: How many scales share one scale of their own in double quantisation (dettmers2023qlora, section 3).
NESTED_BLOCK = 256


@dataclass(frozen=True, slots=True)
class Nested:
    """The second quantisation of the scales: scale = table[byte] * scales[block / 256] + offset.

    `table` is float32 [256], `scales` float32 [blocks / 256, rounded up], `offset` a float32 number.
    """

    table: torch.Tensor
    scales: torch.Tensor
    offset: torch.Tensor


@dataclass(frozen=True, slots=True)
class Packed:
    """A weight matrix [outputs, inputs] in 4 bits.

    `weight` is uint8 [outputs * inputs / 2], row after row; the first of a byte's two weights lies in its high four
    bits. `code` is "nf4" or "int4". `scales` has one entry for each `block` weights, counted through the whole matrix:
    float32, or a byte where `nested` says how it is to be read.
    """

    weight: torch.Tensor
    outputs: int
    inputs: int
    scales: torch.Tensor
    code: str = "nf4"
    block: int = 64
    nested: Nested | None = None

    @property
    def bytes(self) -> int:
        """Bytes of weights and scales, all that a product has to read of the matrix."""
        tensors = [self.weight, self.scales]
        if self.nested is not None:
            tensors += [self.nested.table, self.nested.scales, self.nested.offset]
        return sum(t.numel() * t.element_size() for t in tensors)


def from_bitsandbytes(weight: Any) -> Packed:
    """The matrix in a bitsandbytes `Params4bit`, sharing its memory.

    Args:
        weight: a `Params4bit` that has been quantised (moved to its device), of any shape in storage.

    Raises ValueError for a matrix that these kernels do not read: fp4, a width that
    32 does not divide, or a layout of bitsandbytes' own for one kind of processor.
    """
    state = getattr(weight, "quant_state", None)
    if state is None:
        raise ValueError("The weight is not quantised yet; move the layer to its device first, for example to('cpu').")
    if state.quant_type != "nf4":
        raise ValueError(f"The weight is in {state.quant_type}; load it with bnb_4bit_quant_type='nf4'.")
    if getattr(state, "packing_format_for_cpu", False):
        raise ValueError("The weight is repacked for AVX512; set the layer's support_avx512bf16_for_cpu to False.")
    outputs, inputs = state.shape
    if inputs % GROUP:
        raise ValueError(f"The matrix is {inputs} wide; these kernels need a width that {GROUP} divides.")
    nested = None
    if state.nested:
        if state.state2.blocksize != NESTED_BLOCK:
            raise ValueError(f"Its scales are in blocks of {state.state2.blocksize}; quantise them in blocks of 256.")
        nested = Nested(state.state2.code.float(), state.state2.absmax.float(), state.offset.float().reshape(1))
    data = weight.data.contiguous().view(-1).view(dtype=_uint8())
    return Packed(data, outputs, inputs, state.absmax, "nf4", state.blocksize, nested)


def quantise_int4(weight: torch.Tensor, block: int = 64) -> Packed:
    """A matrix in symmetric int4: in each block the largest weight becomes 7 or -7, and the rest is rounded.

    Args:
        weight: [outputs, inputs].
        block: weights with one scale.

    Raises ValueError where the matrix does not divide into blocks, or a block or row into 32 weights.

    >>> import torch
    >>> packed = quantise_int4(torch.tensor([[7.0, -7.0, 3.2, 0.0] * 8]), block=32)
    >>> [hex(byte) for byte in packed.weight[:2].tolist()], packed.scales.tolist()
    (['0xf1', '0xb8'], [1.0])
    """
    import torch

    outputs, inputs = weight.shape
    if inputs % GROUP or block % GROUP or weight.numel() % block:
        raise ValueError(
            f"A matrix of {outputs} x {inputs} does not divide into blocks of {block} and groups of {GROUP}; choose "
            f"another block, and a width that {GROUP} divides."
        )
    blocks = weight.float().view(-1, block)
    scales = (blocks.abs().amax(1) / 7).clamp_min(1e-12)
    levels = (blocks / scales[:, None]).round().clamp(-8, 7).to(torch.int32).view(-1, 2) + 8
    return Packed((levels[:, 0] << 4 | levels[:, 1]).to(torch.uint8), outputs, inputs, scales, "int4", block)


def why_not(device: str) -> str:
    """One sentence on why the kernels cannot run on a device ("cpu", "cuda:0"), "" where they can.

    >>> why_not("cpu").endswith((".", "")), "Triton" in (why_not("cpu") or "Triton")
    (True, True)
    """
    import os

    if importlib.util.find_spec("triton") is None:
        return "The 4-bit kernels need Triton, which is not installed; run `pip install 'srm_utils[kernels]'` (Linux)."
    if device.startswith("cuda") or os.environ.get("TRITON_INTERPRET") == "1":
        return ""
    return (
        "The 4-bit kernels of Triton need an NVIDIA GPU, and the model is on a CPU; leave kernels out, or set the "
        "variable TRITON_INTERPRET=1 before Python starts to try them slowly in Triton's interpreter."
    )


def _uint8() -> Any:
    import torch

    return torch.uint8
