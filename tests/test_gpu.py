"""What only a GPU can show of the engine. Run with `make test ARGS="-m gpu"`; without a GPU it is left out by name."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import pytest
import torch

from srm_utils.models import LanguageModel, load_model
from srm_utils.sampling import engine
from srm_utils.tasks import get_task

pytestmark = pytest.mark.gpu

TASK = get_task("chain")
PROMPTS = [TASK.prompt(p, "cot") for p in TASK.problems(12, split="validation", seed=2, difficulty=3)]
TOKENS = 64


@pytest.fixture(scope="module")
def on_cpu() -> LanguageModel:
    return load_model("base-small", bits=32, device="cpu")


@pytest.fixture(scope="module")
def on_gpu() -> LanguageModel:
    return load_model("base-small", bits=32, device="cuda")


def ids(groups) -> list[list[tuple[int, ...]]]:
    return [[c.token_ids for c in group] for group in groups]


def test_greedy_tokens_are_those_of_a_cpu(on_cpu: LanguageModel, on_gpu: LanguageModel) -> None:
    assert on_gpu.model.device.type == "cuda"
    greedy = [ids(model.sample(PROMPTS, 1, TOKENS, temperature=0)) for model in (on_cpu, on_gpu)]
    assert greedy[0] == greedy[1]


def test_a_sample_depends_neither_on_n_nor_on_its_neighbours(on_gpu: LanguageModel) -> None:
    many = ids(on_gpu.sample(PROMPTS, 8, TOKENS, seed=3))
    few = ids(on_gpu.sample(PROMPTS[4:6], 3, TOKENS, seed=3))
    assert few == [group[:3] for group in many[4:6]]
    assert ids(on_gpu.sample(PROMPTS, 8, TOKENS, seed=4)) != many


def test_scores_are_those_of_a_cpu(on_cpu: LanguageModel, on_gpu: LanguageModel) -> None:
    texts = [group[0].text for group in on_cpu.sample(PROMPTS, 1, TOKENS, temperature=0)]
    found = [[s.logprob for s in model.score(PROMPTS, texts)] for model in (on_cpu, on_gpu)]
    assert found[0] == pytest.approx(found[1], abs=1e-3)


def test_what_was_read_is_kept_and_changes_nothing(on_gpu: LanguageModel) -> None:
    plain = ids(on_gpu.sample(PROMPTS, 4, TOKENS, seed=1))
    with on_gpu.keeping_prefixes():
        on_gpu.sample(PROMPTS, 1, TOKENS, temperature=0)
        kept = ids(on_gpu.sample(PROMPTS, 4, TOKENS, seed=1))
    assert kept == plain


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """A GPU that says it has a few megabytes free; the batches that are admitted are noted."""
    admitted: list[int] = []
    rows = engine._default_rows

    def noted(model, length):
        admitted.append(rows(model, length))
        return admitted[-1]

    torch.cuda.empty_cache()
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device=None: (4 * 2**20, 80 * 2**30))
    monkeypatch.setattr(engine, "_default_rows", noted)
    yield admitted


def test_a_full_gpu_takes_fewer_rows_at_once(on_gpu: LanguageModel, little_memory: list[int]) -> None:
    crowded = ids(on_gpu.sample(PROMPTS, 16, TOKENS, seed=5))
    assert 1 <= little_memory[-1] < 16 * len(PROMPTS), "the batch was cut"
    assert [len(group) for group in crowded] == [16] * len(PROMPTS)


def test_a_decode_step_waits_for_the_gpu_once(on_gpu: LanguageModel) -> None:
    timings = engine.Timings()
    prompts = [on_gpu.encode(p) for p in PROMPTS]
    engine.sample_tokens(on_gpu.model, on_gpu.tokenizer, prompts, 4, TOKENS, seed=6)  # kernels are built
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            engine.sample_tokens(on_gpu.model, on_gpu.tokenizer, prompts, 4, TOKENS, seed=6, timings=timings)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    waits = sum("synchronizing" in str(w.message) for w in caught)
    # Reading the prompts and ending rows wait a few times more, whatever the number of steps.
    assert timings.steps > 20 and waits <= timings.steps + 40, f"{waits} waits in {timings.steps} steps"


def test_sixteen_bits_draw_the_likeliest_token_up_to_rounding(on_cpu: LanguageModel) -> None:
    half = load_model("base-small", bits=16, device="cuda")
    if half.model.dtype != torch.bfloat16:
        pytest.skip("this GPU has no bfloat16")
    texts = [group[0].text for group in half.sample(PROMPTS, 1, TOKENS, temperature=0)]
    best = [group[0].text for group in on_cpu.sample(PROMPTS, 1, TOKENS, temperature=0)]
    assert sum(a == b for a, b in zip(texts, best, strict=True)) >= len(PROMPTS) // 2
    found, likeliest = ([s.logprob for s in on_cpu.score(PROMPTS, said)] for said in (texts, best))
    assert all(a > b - 2 for a, b in zip(found, likeliest, strict=True)), "no text is far less likely"


def test_four_bits_draw_what_generate_draws() -> None:
    nf4 = load_model("base-small", bits=4, device="cuda")
    drawn = nf4.sample(PROMPTS, 1, 24, temperature=0)
    agreed = 0
    for prompt, (completion,) in zip(PROMPTS, drawn, strict=True):
        told = torch.tensor([nf4.encode(prompt)], device="cuda")
        made = nf4.model.generate(told, max_new_tokens=24, do_sample=False, pad_token_id=nf4.tokenizer.pad_token_id)
        agreed += tuple(made[0, told.shape[1] :].tolist())[: len(completion.token_ids)] == completion.token_ids
    # Products of one row and of many round differently, and a near tie may fall either way.
    assert agreed >= len(PROMPTS) - 2
