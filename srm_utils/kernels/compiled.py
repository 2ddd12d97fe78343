"""What the compiler made of the kernels: registers, spills, shared memory and instructions, without a GPU.

Triton compiles for any GPU on any Linux machine. Its package brings NVIDIA's tools that read the finished code.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

#: Compute capabilities of the two generations: Ampere (A100) and Hopper (H100, H200).
AMPERE, HOPPER = 80, 90


@dataclass(frozen=True, slots=True)
class Compiled:
    """One kernel for one GPU generation.

    `registers` are those of a thread, `spilled` the bytes of a thread that did not fit into them, `shared` the bytes of
    shared memory of a program. `loop` counts the instructions of the main loop's body by name. One thread treats
    `weights` weights in one pass of it.
    """

    kernel: str
    target: int
    registers: int
    spilled: int
    shared: int
    weights: int
    loop: dict[str, int]

    @property
    def instructions(self) -> float:
        """Instructions of the main loop for each weight."""
        return sum(self.loop.values()) / self.weights

    @property
    def memory_instructions(self) -> float:
        """Loads of the main loop for each weight, from global or shared memory."""
        return sum(n for name, n in self.loop.items() if name.startswith(("LDG", "LDS", "LDL", "LD."))) / self.weights


def compile_steps(
    targets: Sequence[int] = (AMPERE, HOPPER), code: str = "nf4", steps: Sequence[int] = (1, 2, 3, 4, 5)
) -> list[Compiled]:
    """Compile the five steps and read the result, in a process of its own (the interpreter's variable rules one out).

    Args:
        targets: compute capabilities, such as 80 and 90.
        code: "nf4" or "int4"; the first two steps are the same for both.
        steps: which of the five.

    Returns the steps of the first target, then those of the next.

    Raises RuntimeError where Triton is missing or cannot compile, with what to do.
    """
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    # Said outright, for Triton warns otherwise: a product and a sum become one instruction.
    environment["TRITON_DEFAULT_FP_FUSION"] = "1"
    asked = ["".join(map(str, steps)), code, *map(str, targets)]
    command = [sys.executable, "-m", "srm_utils.kernels.compiled", *asked]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["no reason given"]
        missing = "No module named 'triton'" in said[-1]
        raise RuntimeError(
            "The kernels cannot be compiled without Triton; run `pip install 'srm_utils[kernels]'` (Linux)."
            if missing
            else f"Triton could not compile the kernels ({said[-1]}); install the version in constraints.txt."
        )
    return [Compiled(**row) for row in json.loads(done.stdout)]


def _jobs(int4: bool) -> list[tuple[str, Any, str, dict[str, Any], int, int]]:
    """Name, kernel, argument types, constants, warps, and weights of a pass for each of the five steps."""
    from srm_utils.kernels.gemm import tile_kernel
    from srm_utils.kernels.gemv import WIDTH, lookup_kernel, naive_kernel, packed_kernel, split_kernel

    scales = "*u8 *fp32 *fp32 *fp32"
    flags: dict[str, Any] = {"BLOCK": 64, "NESTED": True}
    table, row = flags | {"WIDTH": WIDTH}, flags | {"INT4": int4, "WIDTH": WIDTH}
    tile = flags | {"INT4": int4, "TEXTS": 64, "ROWS": 64, "WIDTH": 64}
    return [
        ("1 naive", naive_kernel, f"*bf16 *u8 *fp32 {scales} *fp32 i32", flags | {"WIDTH": 128}, 1, 128),
        ("2 packed loads", packed_kernel, f"*bf16 *u8 *fp32 {scales} *fp32 i32", table, 1, 2 * WIDTH),
        ("3 table in registers", lookup_kernel, f"*bf16 *u8 {scales} *fp32 i32", row, 1, 2 * WIDTH),
        ("4 split rows", split_kernel, f"*bf16 *u8 {scales} *fp32 i32 i32 i32", row | {"ROWS": 4}, 1, 8 * WIDTH),
        ("5 tiles", tile_kernel, f"*bf16 *bf16 *u8 {scales} *bf16 i32 i32 i32", tile, 4, 2 * 64 * 64),
    ]


def _compile(job: tuple[str, Any, str, dict[str, Any], int, int], target: int, folder: Path) -> Compiled:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    name, kernel, types, constants, warps, weights = job
    signature = dict(zip(kernel.arg_names, [*types.split(), *["constexpr"] * len(constants)], strict=True))
    # Pointers and sizes are multiples of 16, as those of every published model are.
    aligned = {(i,): [["tt.divisibility", 16]] for i, kind in enumerate(types.split())}
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=aligned)
    made = triton.compile(source, target=GPUTarget("cuda", target, 32), options={"num_warps": warps})
    file = folder / f"{target}.cubin"
    file.write_bytes(made.asm["cubin"])
    usage = _tool(triton.knobs.nvidia.cuobjdump.path, "--dump-resource-usage", file)
    found = {key: int(value) for key, value in re.findall(r"\b(REG|STACK|LOCAL):(\d+)", usage)}
    code = _tool(triton.knobs.nvidia.nvdisasm.path, "-c", file)
    return Compiled(
        name, target, found["REG"], found["STACK"] + found["LOCAL"], made.metadata.shared, weights // (32 * warps),
        dict(main_loop(code)),
    )  # fmt: skip


def _tool(path: str, option: str, file: Path) -> str:
    return subprocess.run([path, option, str(file)], check=True, capture_output=True, text=True).stdout


def main_loop(code: str) -> Counter[str]:
    """Instructions by name in the longest loop of a disassembled kernel.

    A loop runs from a label to the last jump back to it.

    >>> main_loop(".L_x_1:\\n /*0000*/ FFMA R1, R2 ;\\n /*0010*/ @P0 BRA `(.L_x_1) ;\\n /*0020*/ EXIT ;")
    Counter({'FFMA': 1, 'BRA': 1})
    """
    names: list[str] = []
    labels: dict[str, int] = {}
    longest: tuple[int, int] = (0, 0)
    for line in code.splitlines():
        if label := re.match(r"\s*(\.L_x_\d+):", line):
            labels[label[1]] = len(names)
        elif step := re.match(r"\s*/\*[0-9a-f]+\*/\s+(?:@!?\w+\s+)?([A-Z][\w.]*)(.*)", line):
            names.append(step[1])
            back = re.search(r"\((\.L_x_\d+)\)", step[2])
            if step[1].startswith("BRA") and back and back[1] in labels:
                begin = labels[back[1]]
                # A jump to itself fills the end of every kernel.
                if len(names) - begin > max(1, longest[1] - longest[0]):
                    longest = (begin, len(names))
    return Counter(names[slice(*longest)])


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        wanted = [job for job in _jobs(sys.argv[2] == "int4") if job[0][0] in sys.argv[1]]
        rows = [_compile(job, int(target), Path(place)) for target in sys.argv[3:] for job in wanted]
    print(json.dumps([asdict(row) for row in rows]))
