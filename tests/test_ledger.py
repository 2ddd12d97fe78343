"""The bills are what the model really computes: counted by hooks on its modules, for every solver, with and without."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import torch
from flop_hooks import counting
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import Qwen3Config, Qwen3ForCausalLM

from srm_utils.inference.entry import Setting
from srm_utils.inference.registry import choose_solvers, registered_solvers
from srm_utils.models import LanguageModel, load_model
from srm_utils.sampling import engine, reading, scoring
from srm_utils.sampling.completion import Completion, Cost, group_cost
from srm_utils.sampling.ledger import Prices, Read, prices, saved, seen_before
from srm_utils.tasks import get_task

SOLVERS = registered_solvers()

PRICES = Prices(body=100.0, head=10.0, attention=((1.0, None), (2.0, 3)))


@pytest.fixture(scope="module")
def small() -> LanguageModel:
    model = load_model("base-small")
    # The engine tries a model before its first draw, which no one pays for.
    with model.keeping_prefixes():
        model.sample(["Ada"], max_new_tokens=2)
    return model


# ---------------------------------------------------------------- prices


@given(st.integers(0, 40), st.one_of(st.none(), st.integers(1, 12)))
def test_pairs_are_those_of_a_causal_mask(count: int, window: int | None) -> None:
    pairs = sum(1 for t in range(count) for s in range(t + 1) if window is None or s > t - window)
    assert seen_before(count, window) == pairs


@given(st.lists(st.integers(0, 30), min_size=3, max_size=3).map(sorted))
def test_reading_in_two_parts_costs_as_much_as_in_one(cuts: list[int]) -> None:
    a, b, c = cuts
    assert PRICES.reading(a, b) + PRICES.reading(b, c, logits=2) == pytest.approx(PRICES.reading(a, c, logits=2))


def test_prices_are_what_torch_counts_in_a_model_with_windows() -> None:
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=50, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, head_dim=8,
        intermediate_size=48, layer_types=["full_attention", "sliding_attention", "sliding_attention"],
        sliding_window=4, use_sliding_window=True, tie_word_embeddings=False,
    )  # fmt: skip
    found = prices(Qwen3ForCausalLM(config).eval())
    assert found.attention == ((4.0 * 32, None), (2 * 4.0 * 32, 4))
    assert found.head == 2 * 50 * 32
    layer = 32 * 32 * 2 + 32 * 16 * 2 + 3 * 32 * 48
    assert found.body == pytest.approx(2 * 3 * layer, rel=0.02), "norms come on top"


# ---------------------------------------------------------------- what a prefix cache saves


def brute_force(reads: list[Read]) -> int:
    """Tokens saved, by looking at every earlier text."""
    tokens = 0
    for i, read in enumerate(reads):
        if read.start:
            continue
        text = read.tokens
        shared = [0]
        for other in reads[:i]:
            if other.reader == read.reader:
                same = [a == b for a, b in zip(text, other.tokens, strict=False)]
                shared.append(same.index(False) if False in same else len(same))
        tokens += max(0, min(max(shared), len(text) - max(1, read.logits)))
    return tokens


TEXTS = st.lists(st.integers(0, 2), min_size=1, max_size=6)
READS = st.builds(
    lambda reader, text, start, logits: Read(reader, Prices(body=1.0), (text,), min(start, len(text) - 1), logits),
    st.integers(0, 1), TEXTS, st.sampled_from([0, 0, 2]), st.integers(0, 3),
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.lists(READS, max_size=8))
def test_what_is_saved_is_the_longest_beginning_known(reads: list[Read]) -> None:
    assert saved(reads) == (brute_force(reads), float(brute_force(reads)))


def test_costs_add_up_in_any_grouping_and_settle_once() -> None:
    price = Prices(body=1.0)
    parts = [
        Cost(prompt_tokens=2, flops=2.0, reads=(Read(0, price, ([1, 2],)),)),
        Cost(generated_tokens=1, flops=1.0, reads=(Read(0, price, ([1, 2], [3]), 2),)),
        Cost(prompt_tokens=4, flops=4.0, reads=(Read(0, price, ([1, 2, 3, 4],)),)),
    ]
    whole = Cost.total(parts).settled()
    assert whole == (parts[0] + (parts[1] + parts[2])).settled() == whole.settled()
    assert (whole.flops, whole.cached_flops, whole.reread_tokens, whole.reads) == (7.0, 4.0, 3, ())
    half = whole * 0.5
    assert (half.flops, half.cached_flops, half.tokens) == (3.5, 2.0, 3.5)


def test_a_completion_without_a_bill_is_charged_its_tokens_alone() -> None:
    said = Completion("x", (1, 2), (0.0, 0.0), "stop", 5, Cost(generated_tokens=2))
    assert group_cost([said, said]) == Cost(prompt_tokens=5, generated_tokens=4) and group_cost([]) == Cost()


# ---------------------------------------------------------------- against the modules themselves


@contextmanager
def one_row_a_pass(monkeypatch: pytest.MonkeyPatch, stores: bool):
    """No padding, for that would be counted too; and every call reads anew where there are no stores."""
    with monkeypatch.context() as patched:
        patched.setattr(engine, "_default_rows", lambda *_: 1)
        patched.setitem(reading.READ_TOKENS, "cpu", 1)
        if not stores:
            patched.setattr(engine, "usable", lambda *_: None)
            patched.setattr(scoring, "usable", lambda *_: None)
        yield


def solve_one(name: str, model: LanguageModel):
    world = {"graph-of-thoughts": "sorting", "written-search": "countdown", "exchange": "split-evidence"}
    task = get_task(world.get(name, "graph"))
    tuning = task.problems(2, split="validation", difficulty=task.difficulties[0])
    problems = task.problems(1, split="test", difficulty=task.difficulties[0])
    method, shared = SOLVERS[name], Setting(task, model, tuning, model, 24)
    assert name in choose_solvers(task, partner=True)[0]
    size = min(method.most, max(method.least, 3))
    solver = method.build(shared, size)
    with counting(model.model) as counted:
        (attempt,) = solver.solve(problems, model, method.budget(shared, size))
    return counted, attempt


@pytest.mark.parametrize("name", SOLVERS)
def test_every_solvers_bills_are_what_its_model_computes(name, small, monkeypatch) -> None:
    with one_row_a_pass(monkeypatch, stores=False):
        counted, attempt = solve_one(name, small)
    assert attempt.cost.flops == pytest.approx(counted.flops, rel=0.01)
    with one_row_a_pass(monkeypatch, stores=True):
        counted, again = solve_one(name, small)
    assert (again.answer, again.cost.flops) == (attempt.answer, pytest.approx(attempt.cost.flops))
    assert again.cost.cached_flops == pytest.approx(counted.flops, rel=0.01)


def test_what_many_prompts_begin_with_is_read_once(small, monkeypatch) -> None:
    shown = " ".join(f"Ada has {i} coins." for i in range(9))
    prompts = [f"{shown} Ben has {i} coins." for i in range(6)]
    shared, rest = len(small.encode(shown)), len(small.encode(prompts[0])) - len(small.encode(shown))
    with counting(small.model) as counted:
        drawn = small.sample(prompts, max_new_tokens=3, temperature=0)
    with monkeypatch.context() as patched, counting(small.model) as apart:
        patched.setattr(engine, "begun_alike", lambda *_: [])
        assert [c.token_ids for (c,) in small.sample(prompts, max_new_tokens=3, temperature=0)] == [
            c.token_ids for (c,) in drawn
        ]
    steps = sum(len(c.token_ids) - 1 for (c,) in drawn)
    assert counted.body / apart.body < (shared + 6 * (rest + 3) + steps) / (6 * (shared + rest) + steps) < 0.5
