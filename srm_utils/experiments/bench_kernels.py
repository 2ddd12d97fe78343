"""`srm bench kernels`: the five 4-bit kernels against copying memory and against bitsandbytes, on a GPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from srm_utils.kernels.packed import from_bitsandbytes, why_not

if TYPE_CHECKING:
    import pandas as pd

#: Matrices [outputs, inputs] of models with 0.5 to 4 billion parameters: one of attention and two of the MLP each.
SHAPES = {
    "Qwen2.5-0.5B": ((896, 896), (4864, 896), (896, 4864)),
    "Qwen3-1.7B": ((2048, 2048), (6144, 2048), (2048, 6144)),
    "Qwen3-4B": ((4096, 2560), (9728, 2560), (2560, 9728)),
}
NOT_MEASURED = "not measured: no GPU"


def bench_kernels(
    shapes: Sequence[tuple[int, int]] | None = None,
    texts: int = 512,
    say: Callable[[str], None] = lambda line: None,
) -> tuple[pd.DataFrame | None, str]:
    """Time one row of activations by steps 1 to 4, and `texts` rows by step 5, beside bitsandbytes and bfloat16.

    Args:
        shapes: matrices as (outputs, inputs); None takes those of `SHAPES`.
        texts: rows of activations for step 5.
        say: gets a line of progress for each matrix.

    Returns a table and a text to print. The table has the matrix, the kernel, the rows of activations, microseconds
    (median, with an emptied cache), gigabytes a second of what has to be read, that as a share of the copy
    bandwidth measured in the same run, and how many times as fast as bitsandbytes. Without a GPU the table is None.
    Raises RuntimeError where there is a GPU and no Triton.
    """
    import pandas as pd

    if not torch.cuda.is_available():
        return None, f"{NOT_MEASURED}; run `srm bench kernels` on a machine with an NVIDIA GPU."
    if reason := why_not("cuda:0"):
        raise RuntimeError(reason)
    copied = copy_bandwidth()
    wanted = shapes or [shape for model in SHAPES.values() for shape in model]
    lines = []
    for outputs, inputs in wanted:
        say(f"{outputs} x {inputs}")
        lines += _measure(outputs, inputs, texts)
    table = pd.DataFrame(lines)
    table["share_of_copy"] = table["gigabytes_per_second"] / copied
    theirs = table[table["kernel"] == "bitsandbytes"].set_index(["matrix", "rows"])["microseconds"]
    keys = pd.MultiIndex.from_frame(table[["matrix", "rows"]])
    table["times_bitsandbytes"] = theirs.reindex(keys).to_numpy() / table["microseconds"]
    return table, _text(table, copied)


def copy_bandwidth(size: int = 2**30) -> float:
    """Gigabytes a second that the GPU reads and writes when it copies `size` bytes."""
    source = torch.empty(size, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    return 2 * size / _microseconds(lambda: target.copy_(source)) / 1e3


def _measure(outputs: int, inputs: int, texts: int) -> list[dict[str, Any]]:
    from bitsandbytes import matmul_4bit
    from bitsandbytes.nn import Params4bit

    from srm_utils.kernels import gemm, gemv

    weight = torch.randn(outputs, inputs, dtype=torch.bfloat16, device="cuda") * 0.02
    param: Any = Params4bit(weight.cpu(), quant_type="nf4", requires_grad=False).to("cuda")
    packed = from_bitsandbytes(param)
    lines = []
    for rows in (1, texts):
        x = torch.randn(rows, inputs, dtype=torch.bfloat16, device="cuda")
        run: dict[str, Callable[[], Any]] = {
            "bfloat16": partial(torch.matmul, x, weight.T),
            "bitsandbytes": partial(matmul_4bit, x, param, quant_state=param.quant_state),
        }
        if rows == 1:
            run |= {name: partial(step, x[0], packed) for name, step in gemv.STEPS.items()}
        else:
            run["5 tiles"] = partial(gemm.tiles, x, packed)
        for name, call in run.items():
            moved = (2 * weight.numel() if name == "bfloat16" else packed.bytes) + 2 * rows * (inputs + outputs)
            took = _microseconds(call)
            lines.append(
                {"matrix": f"{outputs} x {inputs}", "kernel": name, "rows": rows, "microseconds": took,
                 "gigabytes_per_second": moved / took / 1e3}
            )  # fmt: skip
    return lines


def _microseconds(call: Callable[[], Any]) -> float:
    """Median time of a call on the GPU; its cache is emptied before each, as the rest of a model would do."""
    from triton.testing import do_bench

    return 1e3 * float(do_bench(call, return_mode="median"))


def _text(table: pd.DataFrame, copied: float) -> str:
    lines = [f"4-bit kernels on {torch.cuda.get_device_name()}; copying moves {copied:,.0f} GB/s."]
    for (matrix, rows), part in table.groupby(["matrix", "rows"], sort=False):
        lines.append(f"\n{matrix}, {rows} row{'s' * (rows > 1)} of activations")
        for _, row in part.iterrows():
            lines.append(
                f"  {row['kernel']:22s} {row['microseconds']:9.1f} us {row['gigabytes_per_second']:8,.0f} GB/s "
                f"{row['share_of_copy']:5.0%} of copying  {row['times_bitsandbytes']:5.2f} x bitsandbytes"
            )
    return "\n".join(lines)
