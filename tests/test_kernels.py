"""The 4-bit kernels: equal to bitsandbytes in Triton's interpreter, compiled for two GPU generations, and on a GPU."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from srm_utils.experiments.bench_kernels import bench_kernels
from srm_utils.kernels import packed, reference
from srm_utils.kernels.compiled import AMPERE, HOPPER, Compiled, compile_steps, main_loop
from srm_utils.kernels.packed import GROUP, NF4, Packed, from_bitsandbytes, quantise_int4, why_not
from srm_utils.kernels.roofline import GPUS, bytes_moved, bytes_per_weight, reach, seconds
from srm_utils.models import is_here, load_model
from srm_utils.models.resolve import locate
from srm_utils.reporting.roofline import instructions_figure, roofline_figure

needs_triton = pytest.mark.skipif(find_spec("triton") is None, reason=why_not("cuda:0") or "Triton is here")
#: The table of steps 3 to 5 is in half precision: its rounding moves a value by at most one part in 4096.
HALF = 2**-12
EXACT = ("1 naive", "2 packed loads")


def real_weight() -> torch.Tensor:
    """Eight rows of the key projection of SmolLM2 where it has been fetched, else of the bundled base."""
    from safetensors import safe_open

    name = "smollm2" if is_here("smollm2") else "base"
    key = "model.layers.0.self_attn.k_proj.weight"
    for file in sorted(locate(name).folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as weights:
            if key in weights.keys():
                return weights.get_tensor(key)[:8].float().contiguous()
    raise AssertionError(f"{name} has no {key}")


@pytest.fixture(scope="module")
def interpreted(root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What tests/kernels_interpreted.py prints: errors by case and step."""
    file = tmp_path_factory.mktemp("kernels") / "real.pt"
    torch.save(real_weight(), file)
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(root)}
    command = [sys.executable, str(root / "tests" / "kernels_interpreted.py"), str(file)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# ---------------------------------------------------------------- against bitsandbytes, in the interpreter


@needs_triton
@pytest.mark.parametrize(
    "case", ["nf4 3x96 double", "nf4 3x96 single", "nf4 2x1120 double", "nf4 2x1120 single", "nf4 real"]
)
def test_every_step_multiplies_as_bitsandbytes_dequantises(interpreted, case):
    found = interpreted[case]
    assert found.get("reference", 0) < 1e-6
    for step in EXACT:
        assert found[step] < 1e-6, step
    for step in set(found) - {*EXACT, "reference"}:
        assert found[step] < 2 * HALF, step


@needs_triton
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("code", ["nf4", "int4"])
def test_activations_of_any_type_meet_the_right_weights(interpreted, dtype, code):
    found = dict(interpreted[f"{code} {dtype}"])
    # Step 5 hands weights and products on in the type of x, as bitsandbytes does.
    assert found.pop("5 tiles") < {torch.float32: 2 * HALF}.get(dtype, 2 * torch.finfo(dtype).eps)
    # Whole numbers up to 8 are exact in half precision.
    assert all(error < (1e-6 if code == "int4" or step in EXACT else 2 * HALF) for step, error in found.items())


@needs_triton
def test_rows_cut_into_parts_give_the_same_sum(interpreted):
    assert interpreted["parts"] < 1e-6


# ---------------------------------------------------------------- in a model

GREEDY = """
import sys, torch
from srm_utils import load_model
name = sys.argv[1]
ids = None
for kernels in (None, "triton"):
    lm = load_model(name, bits=4, device="cpu", kernels=kernels)
    ids = torch.tensor([lm.encode("Hugo has 3 apples . He buys 4 more .")])
    with torch.inference_mode():
        made = lm.model.generate(ids, max_new_tokens=4, do_sample=False, eos_token_id=None, pad_token_id=0)
    print(*made[0, ids.shape[1]:].tolist())
layer = next(m for m in lm.model.modules() if hasattr(m, "packed"))
x = torch.randn(1, layer.in_features, requires_grad=True)
layer(x).sum().backward()
print(type(layer).__name__, x.grad.abs().sum() > 0, lm.bits, lm.bytes == load_model(name, bits=4, device="cpu").bytes)
"""


@needs_triton
@pytest.mark.slow
def test_a_model_writes_the_same_greedy_tokens(root):
    name = "base-small"
    try:
        load_model(name, bits=4, device="cpu")
    except ValueError:
        name = "base"  # bitsandbytes unpacks a width of 96 wrongly on some processors
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(root)}
    done = subprocess.run([sys.executable, "-c", GREEDY, name], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    theirs, ours, layer = done.stdout.strip().splitlines()
    assert theirs == ours and len(ours.split()) == 4
    # Gradients still pass, by bitsandbytes' own way, and the layer holds no second copy of its weights.
    assert layer == "TritonLinear4bit tensor(True) 4 True"


def test_kernels_are_refused_in_one_sentence_where_they_cannot_run(monkeypatch):
    with pytest.raises(ValueError, match="no kernels 'cuda'; choose 'triton'"):
        load_model("base", bits=4, kernels="cuda")
    with pytest.raises(ValueError, match="of 4 bits, and bits is 16; use bits=4"):
        load_model("base", kernels="triton")
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(RuntimeError, match="Triton"):
        load_model("base", bits=4, device="cpu", kernels="triton")


# ---------------------------------------------------------------- the table in registers


def run_ptx(code: str, word: np.ndarray) -> list[np.ndarray]:
    """Outputs $0 to $3 of a piece of PTX with input $4; it knows the five instructions that the table uses."""
    registers: dict[str, np.ndarray] = {"$4": word.astype(np.uint64)}

    def value(name: str) -> np.ndarray:
        return registers[name] if name in registers else np.full(len(word), int(name, 0), np.uint64)

    for line in code.replace("\n", " ").strip("{} ").split(";"):
        if not line.strip() or ".reg" in line:
            continue
        name, *rest = re.split(r"[\s,]+", line.strip())
        target, given = rest[0], [value(r) for r in rest[1:]]
        if name == "and.b32":
            out = given[0] & given[1]
        elif name == "shl.b32":
            out = given[0] << given[1]
        elif name == "shr.b32":
            out = given[0] >> given[1]
        elif name == "prmt.b32":
            both, out = given[0] | given[1] << np.uint64(32), np.zeros(len(word), np.uint64)
            for place in range(4):
                pick = given[2] >> np.uint64(4 * place) & np.uint64(15)
                byte = both >> np.uint64(8) * (pick & np.uint64(7)) & np.uint64(255)
                sign = (byte >> np.uint64(7)) * np.uint64(255)
                out |= np.where(pick & np.uint64(8), sign, byte) << np.uint64(8 * place)
        elif name == "lop3.b32":
            out = np.zeros(len(word), np.uint64)
            for index in range(8):
                term = [g if index >> (2 - i) & 1 else ~g for i, g in enumerate(given[:3])]
                if int(rest[4], 0) >> index & 1:
                    out |= term[0] & term[1] & term[2]
        else:
            raise AssertionError(f"unknown instruction {name}")
        registers[target] = out & np.uint64(0xFFFFFFFF)
    return [registers[f"${i}"].astype(np.uint32) for i in range(4)]


@needs_triton
def test_the_machine_code_of_the_table_finds_every_value():
    """Where the interpreter uses another form, the machine code is run here, on all pairs of neighbouring bytes."""
    from srm_utils.kernels.unpack import LOOK_UP

    pairs = np.arange(65536, dtype=np.uint64)
    table = np.array(NF4, np.float16)
    for word in (pairs | pairs[::-1] << np.uint64(16), pairs << np.uint64(16) | pairs[::-1]):
        found = run_ptx(LOOK_UP.value, word)
        seen = np.stack([r.astype("<u4").view("<f2").reshape(-1, 2) for r in found], 1).reshape(-1, 8)
        bytes_ = word.astype("<u4").view(np.uint8).reshape(-1, 4)
        assert np.array_equal(seen, np.concatenate([table[bytes_ >> 4], table[bytes_ & 15]], 1))


# ---------------------------------------------------------------- compiled for two generations


@pytest.fixture(scope="module")
def compiled() -> dict[tuple[str, int], Compiled]:
    """The five steps for both generations."""
    return {(c.kernel, c.target): c for c in compile_steps()}


@needs_triton
@pytest.mark.slow
def test_both_generations_get_kernels_without_spills(compiled):
    assert len(compiled) == 10
    for found in compiled.values():
        assert found.spilled == 0 and 0 < found.registers <= 255, found
        # What a program may have on the smaller of the two.
        assert found.shared <= 163 * 1024, found


@needs_triton
@pytest.mark.slow
@pytest.mark.parametrize("target", [AMPERE, HOPPER])
def test_each_step_takes_what_it_says_out_of_the_loop(compiled, target):
    steps = [compiled[name, target] for name in sorted(name for name, t in compiled if t == target)]
    naive, wide, table, rows, tiles = steps
    assert naive.loop["LDG.E.U8"] and not any(n.startswith("LDG") and "128" in n for n in naive.loop)
    assert wide.loop["LDG.E.128"] and wide.memory_instructions < naive.memory_instructions / 2
    assert table.memory_instructions < wide.memory_instructions / 4
    assert rows.memory_instructions < table.memory_instructions and rows.instructions < table.instructions
    tensor_cores = ("HMMA", "HGMMA")
    assert any(n.startswith(tensor_cores) for n in tiles.loop)
    assert not any(n.startswith(tensor_cores) for step in steps[:4] for n in step.loop)


@needs_triton
@pytest.mark.slow
def test_whole_numbers_need_no_table():
    by_code = {code: compile_steps([HOPPER], code, steps=[4])[0] for code in ("nf4", "int4")}
    assert by_code["int4"].instructions < by_code["nf4"].instructions and by_code["int4"].spilled == 0


def test_the_longest_loop_is_the_main_one():
    code = ".L_x_1:\n /*00*/ LDG.E R1, [R2] ;\n /*10*/ FFMA R1 ;\n /*20*/ @!P1 BRA `(.L_x_1) ;\n"
    tail = "\n".join(f" /*{i:02x}*/ NOP ;" for i in range(9)) + "\n.L_x_2:\n /*ff*/ BRA `(.L_x_2) ;\n"
    assert main_loop(code + tail) == {"LDG.E": 1, "FFMA": 1, "BRA": 1}


# ---------------------------------------------------------------- what is read, and what is refused


def test_a_packed_matrix_is_as_small_as_the_paper_says():
    """Half a byte a weight, a byte for 64 of them, four for 64 x 256 (dettmers2023qlora, section 3), and the table."""
    from bitsandbytes.nn import Params4bit

    weight = torch.randn(512, 512, generator=torch.Generator().manual_seed(0))
    made = from_bitsandbytes(Params4bit(weight, quant_type="nf4", requires_grad=False).to("cpu"))
    per_weight = 0.5 + 1 / 64 + 4 / (64 * 256)
    assert made.bytes == per_weight * weight.numel() + 4 * 256 + 4
    single = Params4bit(weight, quant_type="nf4", requires_grad=False, compress_statistics=False).to("cpu")
    assert from_bitsandbytes(single).bytes == (0.5 + 4 / 64) * weight.numel()


def test_the_reference_is_bitsandbytes_own(interpreted_free_weight):
    from bitsandbytes.functional import dequantize_4bit

    made = from_bitsandbytes(interpreted_free_weight)
    full = dequantize_4bit(interpreted_free_weight.data, interpreted_free_weight.quant_state)
    assert torch.allclose(reference.dequantise(made), full, rtol=1e-6, atol=1e-8)
    x = torch.randn(2, 3, 128)
    assert torch.allclose(reference.multiply(x, made), x @ full.T, atol=1e-5)


@pytest.fixture
def interpreted_free_weight() -> Any:
    """Random weights of 96 x 128 in NF4."""
    from bitsandbytes.nn import Params4bit

    weight = torch.randn(96, 128, generator=torch.Generator().manual_seed(0))
    return Params4bit(weight, quant_type="nf4", requires_grad=False).to("cpu")


def test_what_the_kernels_cannot_read_is_refused():
    from bitsandbytes.nn import Params4bit

    weight = torch.randn(64, 48)
    with pytest.raises(ValueError, match="not quantised yet"):
        from_bitsandbytes(Params4bit(weight, quant_type="nf4", requires_grad=False))
    with pytest.raises(ValueError, match="in fp4; load it with"):
        from_bitsandbytes(Params4bit(weight, quant_type="fp4", requires_grad=False).to("cpu"))
    with pytest.raises(ValueError, match="48 wide; these kernels need a width that 32 divides"):
        from_bitsandbytes(Params4bit(weight, quant_type="nf4", requires_grad=False).to("cpu"))
    with pytest.raises(ValueError, match="does not divide into blocks of 64"):
        quantise_int4(torch.randn(3, GROUP))


def test_int4_keeps_the_largest_weight_and_rounds_to_half_a_step():
    weight = torch.randn(8, 64, generator=torch.Generator().manual_seed(0))
    found = reference.dequantise(quantise_int4(weight))
    assert torch.allclose(found.abs().amax(1), weight.abs().amax(1))
    assert ((found - weight).abs() <= weight.abs().amax(1, keepdim=True) / 14 * 1.0001).all()


def test_without_triton_one_sentence_says_what_to_do(monkeypatch):
    monkeypatch.setattr(packed.importlib.util, "find_spec", lambda name: None)
    assert "Triton, which is not installed; run `pip install 'srm_utils[kernels]'`" in why_not("cpu")


@needs_triton
def test_a_cpu_needs_the_interpreter(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert "need an NVIDIA GPU" in why_not("cpu") and why_not("cuda:0") == ""
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert why_not("cpu") == ""


def test_importing_the_package_leaves_triton_alone(root):
    code = "import sys, srm_utils, srm_utils.kernels.packed, srm_utils.kernels.compiled; print('triton' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr


# ---------------------------------------------------------------- the limits on paper


def test_few_bits_pay_until_the_tensor_cores_are_the_limit():
    four = bytes_per_weight()
    for gpu in GPUS:
        gains = [seconds(gpu, n, 4096, 4096, 2.0) / seconds(gpu, n, 4096, 4096, four) for n in (1, 16, 64, 4096)]
        assert 3.8 < gains[0] < 2 / four and gains == sorted(gains, reverse=True) and gains[-1] == 1
        # The limit of the instructions is that of the bandwidth where a kernel reaches exactly all of it.
        most = gpu.instructions * four / gpu.bandwidth
        assert reach(gpu, most, four) == pytest.approx(1) and reach(gpu, 2 * most, four) == pytest.approx(0.5)
        read = bytes_moved(1, 4096, 4096, four) / gpu.bandwidth
        assert seconds(gpu, 1, 4096, 4096, four, 2 * most) == pytest.approx(2 * read, rel=0.01)


def test_the_figures_draw_what_they_are_given():
    four, sixteen = roofline_figure(GPUS[0]).axes[0].lines[:2]
    assert (four.get_ydata() >= sixteen.get_ydata()).all() and four.get_ydata()[-1] == sixteen.get_ydata()[-1]
    made = [Compiled("a", 90, 32, 0, 0, 4, {"FFMA": 8}), Compiled("b", 90, 32, 0, 0, 8, {"FFMA": 8})]
    assert [bar.get_width() for bar in instructions_figure(made).axes[0].patches] == [2.0, 1.0]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_the_bench_measures_nothing_without_a_gpu():
    table, text = bench_kernels()
    assert table is None and text.startswith("not measured: no GPU; run `srm bench kernels`")


# ---------------------------------------------------------------- on a GPU

STEPS = ("1 naive", "2 packed loads", "3 table in registers", "4 split rows")


@needs_triton
@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("shape", [(896, 896), (4864, 896), (2560, 9728)])
def test_compiled_kernels_multiply_as_bitsandbytes(shape, dtype):
    from bitsandbytes.functional import dequantize_4bit
    from bitsandbytes.nn import Params4bit

    from srm_utils.kernels import gemm, gemv

    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 0.02
    param = Params4bit(weight.to(dtype), quant_type="nf4", requires_grad=False).to("cuda")
    made, full = from_bitsandbytes(param), dequantize_4bit(param.data, param.quant_state).float()
    x = torch.randn(70, shape[1], device="cuda", dtype=dtype)
    want = x.float() @ full.T
    for name, step in gemv.STEPS.items():
        assert (step(x[0], made) - want[0]).norm() / want[0].norm() < 2 * torch.finfo(dtype).eps, name
    for rows in (1, 5, 70):
        found = gemm.multiply(x[:rows], made).float()
        assert (found - want[:rows]).norm() / want[:rows].norm() < 2 * torch.finfo(dtype).eps, rows
    whole: Packed = quantise_int4(weight.to("cuda"))
    want = x.float() @ reference.dequantise(whole).T
    assert (gemm.multiply(x, whole).float() - want).norm() / want.norm() < 2 * torch.finfo(dtype).eps


@needs_triton
@pytest.mark.gpu
def test_the_bench_sets_each_kernel_beside_copying_and_bitsandbytes():
    table, text = bench_kernels([(896, 896), (2560, 9728)])
    print(text)
    assert table is not None and set(table["kernel"]) == {"bfloat16", "bitsandbytes", *STEPS, "5 tiles"}
    assert (table["gigabytes_per_second"] > 0).all() and (table["times_bitsandbytes"] > 0).all()


@needs_triton
@pytest.mark.gpu
def test_a_model_on_a_gpu_writes_the_same_greedy_tokens():
    texts = []
    for kernels in (None, "triton"):
        lm = load_model("base", bits=4, device="cuda", kernels=kernels)
        drawn = lm.sample(["Hugo has 3 apples . He buys 4 more ."], max_new_tokens=16, temperature=0)
        texts.append(drawn[0][0].token_ids)
    assert texts[0] == texts[1]
