"""The sampler: equal to `generate`, independent of batching, drawn from the right distribution."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from srm_utils.experiments.bench_sampler import bench_sampler
from srm_utils.sampling import Cost, engine, group_cost
from srm_utils.sampling import rows as rows_module
from srm_utils.sampling.choice import choose, inverse_cdf, stream_key, truncate, uniforms
from srm_utils.sampling.engine import Timings, sample_tokens, sampling_mode, why_unsupported
from srm_utils.sampling.ledger import prices
from srm_utils.sampling.rows import Rows

VOCABULARY = 60
SIZES = dict(
    vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
    intermediate_size=48, max_position_embeddings=128, bos_token_id=None, eos_token_id=None, pad_token_id=0,
    # Far from uniform, so that contexts matter and the best token is not a matter of rounding.
    initializer_range=0.4,
)  # fmt: skip


def qwen3(**changes):
    torch.manual_seed(0)
    return Qwen3ForCausalLM(Qwen3Config(**(SIZES | {"head_dim": 8} | changes))).eval()


def llama():
    torch.manual_seed(1)
    return LlamaForCausalLM(LlamaConfig(**SIZES)).eval()


def gpt2():
    torch.manual_seed(2)
    config = GPT2Config(
        vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, n_positions=128, bos_token_id=None, eos_token_id=None,
        pad_token_id=0, initializer_range=0.4,
    )  # fmt: skip
    return GPT2LMHeadModel(config).eval()


MODELS = {"qwen3": qwen3, "llama": llama, "gpt2": gpt2}


@pytest.fixture(scope="module", params=MODELS)
def model(request):
    return MODELS[request.param]()


@pytest.fixture(scope="module")
def small():
    return qwen3()


def prompts_of(lengths, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(1, VOCABULARY, size=k).tolist() for k in lengths]


def generated(model, prompt, new_tokens, end_ids=()):
    """Greedy continuation by `model.generate`, one prompt alone."""
    ids = torch.tensor([prompt])
    out = model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=new_tokens,
        eos_token_id=list(end_ids) or None, pad_token_id=0,
    )  # fmt: skip
    return tuple(out[0, len(prompt) :].tolist())


# ---------------------------------------------------------------- equal to generate


@pytest.fixture(params=["cpu", "cuda"])
def filled_up_as_on(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch is filled up with further samples when it would be on this kind of device."""
    monkeypatch.setitem(engine.REFILL, "cpu", engine.REFILL[request.param])


@pytest.mark.usefixtures("filled_up_as_on")
@pytest.mark.parametrize("max_batch", [1, 3, 64])
def test_greedy_equals_generate(model, max_batch):
    prompts = prompts_of([5, 17, 2, 9, 30, 9, 1])
    budgets = [12, 3, 20, 7, 1, 16, 9]
    ours = sample_tokens(model, None, prompts, 2, budgets, temperature=0, max_batch=max_batch)
    for prompt, budget, group in zip(prompts, budgets, ours, strict=True):
        expected = generated(model, prompt, budget)
        assert [c.token_ids for c in group] == [expected, expected]
        assert {c.finish_reason for c in group} == {"length"}


def test_greedy_equals_left_padded_batch_of_generate(model):
    prompts = prompts_of([4, 11, 7])
    width = max(map(len, prompts))
    ids = torch.tensor([[0] * (width - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
    out = model.generate(input_ids=ids, attention_mask=mask, do_sample=False, max_new_tokens=15, pad_token_id=0)
    ours = sample_tokens(model, None, prompts, 1, 15, temperature=0)
    assert [group[0].token_ids for group in ours] == [tuple(row[width:].tolist()) for row in out]


@pytest.mark.usefixtures("filled_up_as_on")
def test_early_finishes_equal_generate(model):
    prompts = prompts_of([5, 17, 2, 9, 30, 8, 1, 12])
    free = [generated(model, p, 24) for p in prompts]
    end = [free[0][3], free[1][10]]
    expected = [generated(model, p, 24, end) for p in prompts]
    assert len({len(e) for e in expected}) > 1, "the case must hold early and late finishes"
    for max_batch in (2, 5, 64):
        ours = sample_tokens(model, None, prompts, 1, 24, temperature=0, end_ids=end, max_batch=max_batch)
        assert [g[0].token_ids for g in ours] == expected
        assert all((g[0].finish_reason == "stop") == (g[0].token_ids[-1] in end) for g in ours)


def test_long_generation_outgrows_the_first_allocation(small):
    prompt = prompts_of([6])[0]
    (group,) = sample_tokens(small, None, [prompt], 1, 110, temperature=0)
    assert group[0].token_ids == generated(small, prompt, 110)


def test_logprobs_equal_full_forward(model):
    prompts = prompts_of([3, 14, 8])
    for prompt, group in zip(prompts, sample_tokens(model, None, prompts, 5, [9, 4, 17], top_p=0.8), strict=True):
        for c in group:
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([prompt + list(c.token_ids)])).logits[0]
            wanted = logits.log_softmax(-1)[len(prompt) - 1 : -1].gather(1, torch.tensor(c.token_ids)[:, None])[:, 0]
            assert np.allclose(c.logprobs, wanted.numpy(), atol=1e-4)


# ---------------------------------------------------------------- independent of batching


@pytest.mark.usefixtures("filled_up_as_on")
def test_samples_do_not_depend_on_batching_or_order(model):
    prompts = prompts_of([5, 17, 2, 9, 30, 8, 1, 12])
    budgets = [12, 3, 20, 7, 1, 16, 9, 14]
    whole = sample_tokens(model, None, prompts, 4, budgets, seed=3, end_ids=[7, 11])
    for order, max_batch in ((range(8), 5), (range(7, -1, -1), 9), ([3, 1, 6, 0, 7, 2, 5, 4], 2)):
        again = sample_tokens(
            model, None, [prompts[i] for i in order], 4, [budgets[i] for i in order], seed=3, end_ids=[7, 11],
            max_batch=max_batch,
        )  # fmt: skip
        for i, group in zip(order, again, strict=True):
            assert [c.token_ids for c in group] == [c.token_ids for c in whole[i]]
    alone = sample_tokens(model, None, [prompts[1]], 2, budgets[1], seed=3, end_ids=[7, 11])[0]
    assert [c.token_ids for c in alone] == [c.token_ids for c in whole[1][:2]], "fewer samples are the first ones"


def test_how_prefixes_are_read_in_runs_changes_nothing(model, monkeypatch):
    prompts, counts = prompts_of([5, 17, 2, 9, 30, 8, 1, 12]), [1, 9, 1, 2, 1, 5, 1, 1]
    whole, places = [], []
    group = Rows._group
    monkeypatch.setattr(Rows, "_group", lambda rows: (group(rows), places.append((rows.live, rows.runs))))
    for size in (10**6, 4, 1):
        monkeypatch.setitem(rows_module.RUN_ROWS, "cpu", size)
        whole.append(sample_tokens(model, None, prompts, counts, 12, seed=3, end_ids=[7, 11]))
        live, runs = max(places, key=lambda seen: seen[0])
        assert live == sum(counts) and [r.prefixes.start for r in runs[1:]] == [r.prefixes.stop for r in runs[:-1]]
        assert all(len(range(21)[r.places]) <= size or len(range(8)[r.prefixes]) == 1 for r in runs)
        places.clear()
    for other in whole[1:]:
        for ours, theirs in zip(whole[0], other, strict=True):
            assert [c.token_ids for c in ours] == [c.token_ids for c in theirs]
            assert np.allclose([c.logprob for c in ours], [c.logprob for c in theirs], atol=1e-4)


def test_seeds_samples_and_twins_differ(small):
    prompt = prompts_of([6])[0]
    first = sample_tokens(small, None, [prompt], 8, 12, seed=0)[0]
    other = sample_tokens(small, None, [prompt], 8, 12, seed=1)[0]
    texts = [c.token_ids for c in first + other]
    assert len(set(texts)) == 16
    twins = sample_tokens(small, None, [prompt] * 8, 1, 12, seed=0)
    assert [g[0].token_ids for g in twins] == texts[:8], "a repeated prompt numbers its samples on"


def test_each_prompt_may_have_a_seed_of_its_own(small):
    prompts, seeds = prompts_of([6, 4, 9]), [5, 0, 2**40 + 5]
    together = sample_tokens(small, None, prompts, 3, 12, seed=seeds)
    for prompt, seed, group in zip(prompts, seeds, together, strict=True):
        alone = sample_tokens(small, None, [prompt], 3, 12, seed=seed)[0]
        assert [c.token_ids for c in group] == [c.token_ids for c in alone]
    same = sample_tokens(small, None, prompts[:1], 3, 12, seed=5)[0]
    other = sample_tokens(small, None, prompts[:1], 3, 12, seed=2**40 + 5)[0]
    assert [c.token_ids for c in same] != [c.token_ids for c in other], "high bits of a seed count"


def test_memory_bounds_the_rows_drawn_together(small, monkeypatch):
    prompts = prompts_of([6, 4, 9])
    clock, narrow = Timings(), Timings()
    whole = sample_tokens(small, None, prompts, 2, 12, timings=clock)
    monkeypatch.setattr(engine, "CPU_CACHE_BYTES", 1)
    same = sample_tokens(small, None, prompts, 2, 12, timings=narrow)
    assert clock.rows == 6 * clock.steps and narrow.rows == narrow.steps, "six together, then each alone"
    assert [[c.token_ids for c in group] for group in same] == [[c.token_ids for c in group] for group in whole]


def test_each_prompt_may_have_a_number_of_samples_of_its_own(small):
    prompts, counts = prompts_of([6, 4, 9, 5]), [3, 0, 1, 7]
    mixed = sample_tokens(small, None, prompts, counts, 12, seed=2, max_batch=4)
    for prompt, count, group in zip(prompts, counts, mixed, strict=True):
        alone = sample_tokens(small, None, [prompt], count, 12, seed=2)[0]
        assert [c.token_ids for c in group] == [c.token_ids for c in alone] and len(group) == count
    assert sample_tokens(small, None, prompts, [0] * 4) == [[]] * 4


def test_each_prompt_may_have_a_temperature_of_its_own(small):
    prompts, heats = prompts_of([6, 4, 9, 6]), [0.0, 1.0, 0.6, 0.6]
    prompts[3] = prompts[0]
    mixed = sample_tokens(small, None, prompts, 3, 12, temperature=heats, seed=2, max_batch=5)
    for prompt, heat, group in zip(prompts, heats, mixed, strict=True):
        alone = sample_tokens(small, None, [prompt], 3, 12, temperature=heat, seed=2)[0]
        assert [c.token_ids for c in group] == [c.token_ids for c in alone]
        for one, other in zip(group, alone, strict=True):
            assert np.allclose(one.logprobs, other.logprobs, atol=1e-4)


def test_a_prompt_is_prefilled_once(small):
    prompts = prompts_of([6, 9])
    seen = []
    hook = small.model.embed_tokens.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape))
    why_unsupported(small)
    seen.clear()
    sample_tokens(small, None, prompts, 16, 2)
    hook.remove()
    assert seen[0] == (2, 9), "both prompts together, whatever the number of samples"
    assert all(shape[1] == 1 for shape in seen[1:])


def test_finished_rows_leave_at_once(small):
    clock = Timings()
    sample_tokens(small, None, prompts_of([4] * 6), 1, [2, 2, 2, 2, 2, 20], timings=clock)
    # The first token comes from the prefill; five rows need one step more, the sixth nineteen.
    assert (clock.steps, clock.rows) == (19, 5 + 19)


# ---------------------------------------------------------------- the right distribution


def test_first_token_follows_the_softmax(small):
    prompt = prompts_of([6])[0]
    draws = 4000
    group = sample_tokens(small, None, [prompt], draws, 1, temperature=1.3, seed=5)[0]
    with torch.no_grad():
        probs = (small(input_ids=torch.tensor([prompt])).logits[0, -1].double() / 1.3).softmax(-1).numpy()
    counts = np.bincount([c.token_ids[0] for c in group], minlength=VOCABULARY)
    common = probs * draws >= 5
    observed = np.append(counts[common], counts[~common].sum())
    expected = np.append(probs[common], probs[~common].sum()) * draws
    assert common.sum() > 5
    assert stats.chisquare(observed, expected * observed.sum() / expected.sum()).pvalue > 1e-3


def test_second_token_is_independent_of_the_first_draw():
    # A stream that reused its number at the next step would tie the two together.
    keys = np.array([stream_key(0, [1, 2, 3], i) for i in range(20000)], dtype=np.uint64)
    u = np.stack([uniforms(keys, np.full(len(keys), step, dtype=np.uint64)) for step in range(3)])
    assert abs(np.corrcoef(u)[np.triu_indices(3, 1)]).max() < 0.03
    for row in u:
        assert stats.kstest(row, "uniform").pvalue > 1e-3


def brute_force(logits, temperature, top_k, top_p):
    """Probabilities after temperature, then top-k, then nucleus, by plain Python."""
    scaled = [x / temperature for x in logits]
    if top_k:
        kth = sorted(scaled, reverse=True)[min(top_k, len(scaled)) - 1]
        scaled = [x if x >= kth else -math.inf for x in scaled]
    weights = [math.exp(x - max(scaled)) for x in scaled]
    probs = [w / sum(weights) for w in weights]
    if top_p < 1:
        kept, mass = set(), 0.0
        for i in sorted(range(len(probs)), key=lambda i: -probs[i]):
            kept.add(i)
            mass += probs[i]
            if mass >= top_p:
                break
        probs = [p if i in kept else 0.0 for i, p in enumerate(probs)]
        probs = [p / sum(probs) for p in probs]
    return probs


@pytest.mark.parametrize(("top_k", "top_p"), [(0, 1.0), (1, 1.0), (5, 1.0), (0, 0.5), (7, 0.7), (0, 1e-6), (500, 0.95)])
def test_truncation_equals_brute_force(top_k, top_p):
    logits = torch.randn(20, 37, generator=torch.Generator().manual_seed(0)) * 2
    ours = truncate(logits / 0.7, top_k, top_p).softmax(-1)
    for row, probs in zip(logits.tolist(), ours.tolist(), strict=True):
        assert np.allclose(probs, brute_force(row, 0.7, top_k, top_p), atol=1e-5)


def test_choose_inverts_the_truncated_distribution():
    logits = torch.randn(1, 37, generator=torch.Generator().manual_seed(0)) * 2
    probs = brute_force(logits[0].tolist(), 0.7, 7, 0.8)
    grid = (np.arange(2000) + 0.5) / 2000
    tokens, logprobs = choose(logits.expand(2000, -1), grid, 0.7, 7, 0.8)
    assert np.abs(np.bincount(tokens, minlength=37) / 2000 - probs).max() < 1e-3
    natural = logits[0].log_softmax(-1)
    assert np.allclose(logprobs, natural[tokens].numpy(), atol=1e-5), "log-probabilities are of the whole distribution"


def test_inverse_cdf_at_the_edges():
    below_one = 1 - 2.0**-53
    for size in (1, 2, 3, 32, 33, 1000):
        for hot in {0, size // 2, size - 1}:
            probs = torch.zeros(2, size)
            probs[:, hot] = 1.0
            assert inverse_cdf(probs, torch.tensor([0.0, below_one], dtype=torch.float64)).tolist() == [hot, hot]
    # Never a token of probability zero, however unlike the masses are.
    probs = torch.zeros(5000, 300)
    probs[:, 3], probs[:, 150], probs[:, 299] = 1e-7, 1.0, 1e-7
    u = torch.linspace(0, below_one, 5000, dtype=torch.float64)
    assert set(inverse_cdf(probs, u).tolist()) <= {3, 150, 299}


# ---------------------------------------------------------------- stop strings, pauses, budgets


class Letters:
    """A tokenizer of one letter a token: ids 1..26 are a..z, 27 a space, 28 a full stop, others '#'."""

    alphabet = "#abcdefghijklmnopqrstuvwxyz ." + "#" * (VOCABULARY - 29)

    def __len__(self):
        return VOCABULARY

    def __call__(self, text, add_special_tokens=True):
        return {"input_ids": [self.alphabet.index(c) for c in text]}

    def convert_ids_to_tokens(self, ids):
        return [self.alphabet[i] for i in ids]

    def decode(self, ids, skip_special_tokens=False):
        return "".join(self.alphabet[i] for i in ids)

    def batch_decode(self, rows, skip_special_tokens=False):
        return [self.decode(row) for row in rows]


class Script(torch.nn.Module):
    """Makes a model write a given text whatever it reads, by replacing the logits at each position."""

    def __init__(self, model, text, start):
        super().__init__()
        self.handle = model.register_forward_hook(self.write, with_kwargs=True)
        self.text, self.start = Letters()(text)["input_ids"], start

    def write(self, module, args, kwargs, out):
        for row, position in enumerate(kwargs["position_ids"][:, -1].tolist()):
            step = position + 1 - self.start
            out.logits[row, -1] = -50.0
            out.logits[row, -1, self.text[step] if step < len(self.text) else 0] = 50.0


@pytest.fixture
def scripted():
    model = qwen3()
    assert why_unsupported(model) == ""
    scripts = []

    def write(text, start):
        scripts.append(Script(model, text, start))
        return model

    yield write
    for script in scripts:
        script.handle.remove()


@pytest.mark.parametrize(
    ("stop", "text", "drawn"),
    [
        (["end"], "say the ", 11),
        (["he ", "zz"], "say t", 8),
        (["e e"], "say th", 9),
        (["zzz"], "say the end of it", 17),
    ],
)
def test_stop_strings_span_tokens(scripted, stop, text, drawn):
    model = scripted("say the end of it", start=4)
    (group,) = sample_tokens(model, Letters(), [[1, 2, 3, 4]], 3, 17, stop=stop)
    assert {c.text for c in group} == {text}
    assert {len(c.token_ids) for c in group} == {drawn}
    assert {c.finish_reason for c in group} == {"length" if stop == ["zzz"] else "stop"}


def test_stop_string_in_the_prompt_does_not_count(scripted):
    model = scripted("abc", start=4)
    (group,) = sample_tokens(model, Letters(), [Letters()("q a.")["input_ids"]], 1, 3, stop=["a.", "."])
    assert (group[0].text, group[0].finish_reason) == ("abc", "length")


def test_end_token_is_counted_but_not_shown(scripted):
    model = scripted("abcd", start=2)
    (group,) = sample_tokens(model, Letters(), [[1, 2]], 1, 9, end_ids=[3])
    assert (group[0].text, group[0].token_ids, group[0].finish_reason) == ("ab", (1, 2, 3), "stop")


def test_pause_reads_a_reply_and_goes_on(scripted):
    asked = []

    def tool(text):
        asked.append(text)
        return "xyz" if len(asked) == 1 else None

    #        drawn    reply     drawn; the second question gets no reply
    model = scripted("ask. " + "xyz" + "so. it", start=2)
    # "." pauses after four letters; the reply then takes three positions in place of " xy".
    (group,) = sample_tokens(model, Letters(), [[1, 2]], 1, 9, pause_strings=["."], pause=tool)
    done = group[0]
    assert asked == ["ask.", "ask.xyzzso."]
    assert done.text == "ask.xyzzso. "
    assert done.logprobs[4:7] == (0.0, 0.0, 0.0)
    assert (done.cost.prompt_tokens, done.cost.generated_tokens) == (3, 9)


@pytest.mark.usefixtures("filled_up_as_on")
def test_pause_in_a_batch_leaves_the_others_alone(small):
    prompts = prompts_of([5, 9, 7])
    plain = sample_tokens(small, Letters(), prompts, 2, 12, seed=2)
    target = Letters().decode(plain[1][0].token_ids)[2]
    replies = []

    def tool(text):
        replies.append(text)
        return "tool"

    paused = sample_tokens(small, Letters(), prompts, 2, 12, seed=2, pause_strings=[target], pause=tool)
    assert replies
    for before, after in zip(itertools.chain(*plain), itertools.chain(*paused), strict=True):
        assert after.cost.generated_tokens == 12
        cut = before.text.find(target)
        if cut < 0:
            assert after.token_ids == before.token_ids
        else:
            assert after.text.startswith(before.text[: cut + 1] + "tool" * (cut < 11))


def test_reply_is_read_by_the_model(small):
    """After a forced reply the model's distribution is that of the whole text."""
    prompt = prompts_of([5])[0]
    plain = sample_tokens(small, Letters(), [prompt], 1, 6, temperature=0)[0][0]
    mark = plain.text[2]
    replied = iter(["tool"])
    done = sample_tokens(
        small, Letters(), [prompt], 1, 6, temperature=0, pause_strings=[mark], pause=lambda _: next(replied, None)
    )[0][0]
    cut = plain.text.find(mark) + 1
    said = [*prompt, *plain.token_ids[:cut], *Letters()("tool")["input_ids"]]
    assert done.token_ids[cut + 4 :] == generated(small, said, 6 - cut)


def test_positions_end_a_sample(small):
    prompt = prompts_of([120])[0]
    (group,) = sample_tokens(small, None, [prompt], 2, 50)
    assert [(len(c.token_ids), c.finish_reason) for c in group] == [(8, "length")] * 2
    with pytest.raises(ValueError, match="at most 128; shorten the prompt"):
        sample_tokens(small, None, prompts_of([128]), 1, 1)


def test_prompts_that_are_too_long_leave_the_others_alone(small):
    prompts = prompts_of([9, 128, 4, 300, 127])
    with pytest.warns(UserWarning, match="2 of 5 prompts are too long .* at most 128 tokens .* has 300") as caught:
        groups = sample_tokens(small, Letters(), prompts, 2, 6, seed=4)
    assert len(caught) == 1
    alone = sample_tokens(small, Letters(), [prompts[0], prompts[2], prompts[4]], 2, 6, seed=4)
    for group, same in zip([groups[0], groups[2], groups[4]], alone, strict=True):
        assert [c.token_ids for c in group] == [c.token_ids for c in same]
    for group in (groups[1], groups[3]):
        for c in group:
            assert (c.text, c.token_ids, c.logprobs, c.finish_reason) == ("", (), (), "length")
        assert group_cost(group).tokens == group_cost(group).flops == 0, "nothing was read"
    with pytest.raises(ValueError, match="300 tokens but the model reads at most 128"):
        sample_tokens(small, None, [prompts[1], prompts[3]])


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"max_new_tokens": 0}, "at least 1 token"),
        ({"max_new_tokens": [3]}, "1 entries for 2 prompts"),
        ({"seed": [3]}, "seed has 1 entries for 2 prompts"),
        ({"temperature": -1.0}, "temperature is -1.0"),
        ({"temperature": math.nan}, "temperature is nan"),
        ({"temperature": [1.0, -2.0]}, "temperature is -2.0"),
        ({"temperature": [1.0]}, "temperature has 1 entries for 2 prompts"),
        ({"top_p": 0.0}, "top_p is 0.0"),
        ({"top_k": -2}, "top_k is -2"),
        ({"n": -1}, "n is -1"),
        ({"n": [3, -1]}, "n is -1"),
        ({"n": [3]}, "n has 1 entries for 2 prompts"),
        ({"max_batch": 0}, "max_batch is 0"),
        ({"stop": [""]}, "stop string is empty"),
        ({"stop": ["x"]}, "pass tokenizer="),
        ({"pause_strings": ["x"]}, "go together"),
        ({"prompts": [[1], []]}, "Prompt 1 has no tokens"),
    ],
)
def test_settings_that_mean_nothing(small, settings, sentence):
    arguments = {"prompts": [[1], [2]], "n": 1, "max_new_tokens": 2} | settings
    with pytest.raises(ValueError, match=sentence):
        sample_tokens(small, None, **arguments)


# ---------------------------------------------------------------- cost, state, other architectures


def test_costs_add_up(small):
    prompts = prompts_of([5, 11])
    charged = prices(small)
    groups = sample_tokens(small, None, prompts, 3, [4, 6], model_bytes=1000)
    for prompt, group in zip(prompts, groups, strict=True):
        cost = group_cost(group)
        drawn = sum(len(c.token_ids) for c in group)
        assert (cost.prompt_tokens, cost.generated_tokens) == (len(prompt), drawn)
        # The last token of each is drawn and not read; the logits of the first come with the prompt.
        places = [len(prompt) + i for c in group for i in range(len(c.token_ids) - 1)]
        read = charged.reading(0, len(prompt), logits=1) + sum(charged.reading(at, at + 1, logits=1) for at in places)
        assert cost.flops == pytest.approx(read, rel=1e-12)
        assert cost.peak_bytes > 1000
    total = Cost.total(c.cost for g in groups for c in g)
    assert total.generated_tokens == 3 * 4 + 3 * 6
    assert total.seconds > 0


def test_a_trainers_model_samples_as_usual_and_gets_its_state_back():
    model = qwen3(attention_dropout=0.5)
    prompts = prompts_of([5, 9])
    usual = sample_tokens(model, None, prompts, 2, 10)
    model.train()
    model.lm_head.eval()
    model.gradient_checkpointing_enable()
    model.enable_input_require_grads()
    model.config.use_cache = False
    before = [(m.training, getattr(m, "gradient_checkpointing", None)) for m in model.modules()]
    assert any(checkpointing for _, checkpointing in before)
    again = sample_tokens(model, None, prompts, 2, 10)
    assert [[c.token_ids for c in g] for g in again] == [[c.token_ids for c in g] for g in usual]
    assert [(m.training, getattr(m, "gradient_checkpointing", None)) for m in model.modules()] == before
    assert model.config._attn_implementation == "sdpa"
    loss = model(input_ids=torch.tensor([prompts[0]]), labels=torch.tensor([prompts[0]])).loss
    loss.backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())


def test_state_comes_back_after_an_error():
    model = qwen3().train()
    with pytest.raises(KeyboardInterrupt), sampling_mode(model):
        assert not model.training
        raise KeyboardInterrupt
    assert model.training and torch.is_grad_enabled()


def test_bfloat16_and_eager_attention_are_driven():
    prompts = prompts_of([5, 12])
    half = qwen3().to(torch.bfloat16)
    assert why_unsupported(half) == ""
    assert len(sample_tokens(half, None, prompts, 2, 5)[1][1].token_ids) == 5
    eager = qwen3(attn_implementation="eager")
    assert why_unsupported(eager) == ""
    ours = sample_tokens(eager, None, prompts, 1, 9, temperature=0)
    assert [g[0].token_ids for g in ours] == [generated(eager, p, 9) for p in prompts]


def mistral(window=4):
    torch.manual_seed(4)
    return MistralForCausalLM(MistralConfig(**SIZES, head_dim=8, sliding_window=window)).eval()


def gemma2(window=4):
    """Window and full attention in turn, scores capped, and queries scaled by a number of its own."""
    torch.manual_seed(5)
    config = Gemma2Config(
        **SIZES, head_dim=8, sliding_window=window, attn_logit_softcapping=2.0, query_pre_attn_scalar=3,
        final_logit_softcapping=None,
    )  # fmt: skip
    return Gemma2ForCausalLM(config).eval()


SLIDING = {"mistral": mistral, "gemma2": gemma2}


@pytest.mark.parametrize("make", SLIDING.values(), ids=SLIDING)
@pytest.mark.parametrize("window", [2, 12, 500])
def test_sliding_windows_are_driven(make, window, recwarn):
    """Prompts and answers shorter and longer than the window, alone and side by side, read as `generate` reads them."""
    sliding, prompts, budgets = make(window), prompts_of([5, 17, 2, 9, 30, 9, 1]), [12, 3, 30, 7, 1, 16, 25]
    assert why_unsupported(sliding) == "" and sliding.config.sliding_window == window
    for max_batch in (3, 64):
        ours = sample_tokens(sliding, None, prompts, 2, budgets, temperature=0, max_batch=max_batch)
        for prompt, budget, group in zip(prompts, budgets, ours, strict=True):
            assert [c.token_ids for c in group] == [generated(sliding, prompt, budget)] * 2
    whole = sample_tokens(sliding, None, prompts, [1, 9, 2, 5, 3, 1, 1], budgets, seed=3)
    again = sample_tokens(sliding, None, prompts[::-1], 2, budgets[::-1], seed=3, max_batch=4)[::-1]
    for prompt, one, other in zip(prompts, whole, again, strict=True):
        assert all(a.token_ids == b.token_ids for a, b in zip(one, other, strict=False))
        for c in one:
            with torch.no_grad():
                logits = sliding(input_ids=torch.tensor([prompt + list(c.token_ids)])).logits[0]
            wanted = logits.log_softmax(-1)[len(prompt) - 1 : -1].gather(1, torch.tensor(c.token_ids)[:, None])[:, 0]
            assert np.allclose(c.logprobs, wanted.numpy(), atol=1e-3)
    assert not [w for w in recwarn if "falls back" in str(w.message)]


def test_a_window_longer_than_the_text_costs_nothing(monkeypatch):
    hidings = []
    hiding = rows_module._hiding
    monkeypatch.setattr(rows_module, "_hiding", lambda *args: hidings.append(args) or hiding(*args))
    sliding, prompts = mistral(16), prompts_of([5, 9])
    why_unsupported(sliding)
    hidings.clear()
    sample_tokens(sliding, None, prompts, 2, 7)
    assert not hidings, "9 + 7 tokens are no more than the window"
    sample_tokens(sliding, None, prompts, 2, 9)
    assert hidings


def test_an_engine_that_ignored_the_window_would_be_caught(monkeypatch):
    masks = Rows.masks
    monkeypatch.setattr(Rows, "masks", lambda rows, window: masks(rows, None))
    assert "does not give the logits" in why_unsupported(mistral()), "found by texts longer than the window"
    assert "does not give the logits" in why_unsupported(mistral(4096)), "however long the window is"


def test_bench_compares_equal_work(small):
    threads = torch.get_num_threads()
    said = []
    table, text = bench_sampler(
        small, prompts=3, n=2, new_tokens=4, repeats=1, batches=(1, 4), threads=1, say=said.append
    )
    assert torch.get_num_threads() == threads
    names = ["ours", "generate, one call", "generate, 256 rows a call"]
    assert table["sampler"].tolist() == [*names, *names, "ours", "ours"]
    even = table[table["case"] == "even"]
    assert (even["tokens"] == 3 * 2 * 4).all(), "no sampler did less work than another"
    skewed = table[table["case"] == "skewed"]
    assert ((skewed["tokens"] >= 6) & (skewed["tokens"] <= 6 * 16)).all()
    batch = table[table["case"] == "batch"]
    assert batch["tokens"].tolist() == [4, 16]
    shares = batch[["prefill", "forward", "sampling", "cache"]]
    assert (shares >= 0).all(axis=None) and (shares.sum(axis=1) <= 1).all() and (shares["forward"] > 0).all()
    assert "x faster" in text and "tokens/s" in text and said
