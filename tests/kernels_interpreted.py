"""Run by tests/test_kernels.py in a process with TRITON_INTERPRET=1: every kernel beside bitsandbytes, as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from bitsandbytes.functional import dequantize_4bit
from bitsandbytes.nn import Params4bit

from srm_utils.kernels import gemm, gemv, reference
from srm_utils.kernels.packed import Packed, from_bitsandbytes, quantise_int4


def nf4(weight: torch.Tensor, double: bool) -> tuple[Packed, torch.Tensor]:
    """The packed matrix, and bitsandbytes' own dequantisation of it."""
    made: Any = Params4bit(weight, requires_grad=False, quant_type="nf4", compress_statistics=double).to("cpu")
    # As rows of one block, which bitsandbytes unpacks rightly on every processor.
    state, shape = made.quant_state, weight.shape
    state.shape = torch.Size((weight.numel() // 32, 32))
    full = dequantize_4bit(made.data, state).float().view(shape)
    state.shape = torch.Size(shape)
    return from_bitsandbytes(made), full


def errors(packed: Packed, full: torch.Tensor, dtype: torch.dtype = torch.float32) -> dict[str, float]:
    """Distance of each step's product from the full matrix's, as a share of its length."""
    x = torch.randn(3, packed.inputs, generator=torch.Generator().manual_seed(1)).to(dtype)
    want = x.float() @ full.T
    found = {name: step(x[0], packed) for name, step in gemv.STEPS.items()}
    kinds = {str(out.dtype) for out in found.values()}
    assert kinds == {"torch.float32"}, kinds
    away = {name: float((out - want[0]).norm() / want[0].norm()) for name, out in found.items()}
    many = gemm.multiply(x, packed)
    assert many.dtype == dtype and gemm.multiply(x[0], packed).shape == (packed.outputs,)
    return away | {"5 tiles": float((many.float() - want).norm() / want.norm())}


def main(real: str) -> None:
    """Print the errors on random weights, on the rows of a real matrix, in int4, and how the steps divide the work."""
    draw = torch.Generator().manual_seed(0)
    found: dict[str, Any] = {}
    # Rows that begin inside a block; a row longer than one pass.
    for outputs, inputs in ((3, 96), (2, 1120)):
        for double in (True, False):
            packed, full = nf4(torch.randn(outputs, inputs, generator=draw) * 0.02, double)
            name = f"nf4 {outputs}x{inputs} {'double' if double else 'single'}"
            found[name] = errors(packed, full)
            found[name]["reference"] = float((reference.dequantise(packed) - full).abs().max() / full.abs().max())
    packed, full = nf4(torch.load(real), True)
    found["nf4 real"] = errors(packed, full)
    x = torch.randn(packed.inputs, generator=draw)
    halves = gemv.split(x, packed, rows=4, programs=100), gemv.split(x, packed, rows=8, programs=1)
    found["parts"] = float((halves[0] - halves[1]).norm() / halves[1].norm())
    weight = torch.randn(3, 64, generator=draw)
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        packed = quantise_int4(weight)
        found[f"int4 {dtype}"] = errors(packed, reference.dequantise(packed), dtype)
        packed, full = nf4(weight, False)
        found[f"nf4 {dtype}"] = errors(packed, full, dtype)
    print(json.dumps(found))


if __name__ == "__main__":
    main(str(Path(sys.argv[1])))
