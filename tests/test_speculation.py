"""Speculation: by tokens it changes nothing but the price, by steps it does what its judge says."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from dataclasses import dataclass, replace
from string import ascii_letters

import numpy as np
import pytest
import torch
from flop_hooks import counting
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from srm_utils.inference.chain_of_thought import Prompting
from srm_utils.inference.solver import Budget
from srm_utils.inference.speculative_decoding import (
    SpeculativeDecoding,
    SpeculativeModel,
    prompt_lookup,
    speculate,
)
from srm_utils.inference.speculative_reasoning import (
    SpeculativeReasoning,
    above,
    by_checker,
    by_likelihood,
    by_question,
    by_scorer,
    clipped,
    per_token,
    text_of,
)
from srm_utils.inference.speculative_rule import distribution, verify
from srm_utils.inference.speculative_speed import acceptance, expected_tokens, pass_seconds, speedup, tokens_per_pass
from srm_utils.inference.voting import SelfConsistency
from srm_utils.models import LanguageModel, load_model
from srm_utils.sampling.completion import Cost, group_cost
from srm_utils.sampling.decoder import Decoder
from srm_utils.tasks import get_task
from srm_utils.tasks.prompts import judge_solution_prompt, judge_step_prompt
from srm_utils.tasks.steps import steps_in
from srm_utils.training.outcome_rewards import StepScores

CHAIN = get_task("chain")
WORDS = 24
SIZES = dict(
    vocab_size=WORDS, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
    intermediate_size=48, max_position_embeddings=128, bos_token_id=None, eos_token_id=0, pad_token_id=0,
    # Far from uniform, so that contexts matter and the best token is not a matter of rounding.
    initializer_range=0.4,
)  # fmt: skip


def tokenizer(words=WORDS):
    raw = Tokenizer(WordLevel({letter: i for i, letter in enumerate(ascii_letters[:words])}, unk_token="a"))
    raw.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="a")


def qwen3(seed=0, **changes):
    torch.manual_seed(seed)
    config = Qwen3Config(**(SIZES | {"head_dim": 8} | changes))
    return LanguageModel(Qwen3ForCausalLM(config).eval(), tokenizer(config.vocab_size), f"qwen3-{seed}")


def llama():
    torch.manual_seed(1)
    return LanguageModel(LlamaForCausalLM(LlamaConfig(**SIZES)).eval(), tokenizer(), "llama")


def gpt2():
    torch.manual_seed(2)
    config = GPT2Config(
        vocab_size=WORDS, n_embd=32, n_layer=2, n_head=4, n_positions=128, bos_token_id=None, eos_token_id=0,
        initializer_range=0.4,
    )  # fmt: skip
    return LanguageModel(GPT2LMHeadModel(config).eval(), tokenizer(), "gpt2")


TARGETS = {"qwen3": qwen3, "llama": llama, "gpt2": gpt2}


def prompts_of(lengths, seed=0):
    rng = np.random.default_rng(seed)
    return [" ".join(ascii_letters[i] for i in rng.integers(1, WORDS, size=n)) for n in lengths]


def ids(groups):
    return [[c.token_ids for c in group] for group in groups]


def completions(drawn):
    return [[s.completion for s in group] for group in drawn]


# ---------------------------------------------------------------- greedy: token for token


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("k", [1, 5])
def test_greedy_is_token_identical_to_the_target_alone(name, k):
    target = TARGETS[name]()
    prompts = prompts_of([1, 2, 5, 9, 17, 30, 5])
    budgets = [20, 1, 40, 7, 33, 2, 40]
    alone = target.sample(prompts, 1, budgets, temperature=0)
    assert len({len(g[0].token_ids) for g in alone}) >= 3, "texts of many lengths, so that rows drift apart"
    for drafter in (qwen3(7), target, prompt_lookup):
        ours = completions(speculate(target, drafter, prompts, 1, budgets, temperature=0, k=k))
        assert ids(ours) == ids(alone)
        for a, b in zip(itertools.chain(*ours), itertools.chain(*alone), strict=True):
            assert (a.text, a.finish_reason, a.prompt_tokens) == (b.text, b.finish_reason, b.prompt_tokens)
            assert a.logprobs == pytest.approx(b.logprobs, abs=1e-4)


def test_the_batch_and_the_drafts_do_not_change_a_greedy_text():
    target, drafter, prompts = qwen3(3), qwen3(4, hidden_size=16), prompts_of([4] * 3 + [11] * 3 + [2], seed=5)
    one = [speculate(target, drafter, [p], 1, 30, temperature=0, k=2)[0] for p in prompts]
    for batch, k in ((3, 5), (64, 1)):
        drawn = speculate(target, drafter, prompts, 1, 30, temperature=0, k=k, max_batch=batch)
        assert ids(completions(drawn)) == ids(completions(one))


def test_on_the_bundled_family_and_in_its_solvers():
    target, drafter = load_model("instruct", device="cpu"), load_model("base-small", device="cpu")
    task, problems = CHAIN, CHAIN.problems(6, seed=1)
    plain = Prompting(task).solve(problems, target, Budget())
    for cheap in (drafter, prompt_lookup):
        ours = SpeculativeDecoding(Prompting(task), cheap).solve(problems, target, Budget())
        assert [(a.answer, a.trace) for a in ours] == [(a.answer, a.trace) for a in plain]
        assert all(a.cost.scored_tokens > 0 and a.cost.flops > b.cost.flops for a, b in zip(ours, plain, strict=True))
    drawn = speculate(target, drafter, [task.prompt(p) for p in problems], 1, 96, temperature=0)
    assert 0.3 < acceptance(drawn) <= 1 and tokens_per_pass(drawn) > 1.5


# ---------------------------------------------------------------- sampling: the same distribution

TINY, LENGTH, DRAWS = 6, 3, 6_000


def exact(target, prompt, temperature=1.0, top_k=0, top_p=1.0):
    """Probability of every text of LENGTH tokens, by enumeration; token 0 ends a text."""
    out, open_ = {}, {(): 1.0}
    for _ in range(LENGTH):
        texts = list(open_)
        read = torch.tensor([[*target.encode(prompt), *t] for t in texts])
        with torch.no_grad():
            p = distribution(target.model(input_ids=read).logits[:, -1], temperature, top_k, top_p).double().tolist()
        grown = {(*t, v): open_[t] * p[i][v] for i, t in enumerate(texts) for v in range(TINY)}
        out |= {t: w for t, w in grown.items() if t[-1] == 0}
        open_ = {t: w for t, w in grown.items() if t[-1] != 0}
    return {t: w for t, w in (out | open_).items() if w > 0}


def chi_square(counts, p, draws):
    """p-value of observed counts under exact probabilities; cells that expect under 5 are one cell."""
    large = [t for t in p if p[t] * draws >= 5]
    expected = np.array([p[t] for t in large])
    seen = np.array([counts[t] for t in large], dtype=float)
    if 1 - expected.sum() > 1e-9:
        expected, seen = np.append(expected, 1 - expected.sum()), np.append(seen, draws - seen.sum())
    return stats.chisquare(seen, expected / expected.sum() * seen.sum()).pvalue


def tiny(seed, **changes):
    return qwen3(seed, vocab_size=TINY, **changes)


def nudged(target, by=0.02):
    """A copy whose weights are a little off: a good drafter."""
    copy = tiny(0)
    torch.manual_seed(9)
    with torch.no_grad():
        for mine, theirs in zip(copy.model.parameters(), target.model.parameters(), strict=True):
            mine.copy_(theirs + by * torch.randn_like(theirs))
    return copy


@pytest.mark.parametrize(
    ("drafter", "how"),
    [
        ("bad", {}),
        ("good", {}),
        ("lookup", {}),
        ("bad", {"temperature": 0.6}),
        ("good", {"top_p": 0.8}),
        ("bad", {"top_k": 3}),
    ],
)
def test_the_distribution_is_the_targets(drafter, how):
    """Chi-square over whole texts, fixed seed; alpha 1e-3 for each of six cases."""
    target = tiny(3)
    cheap = {"bad": tiny(5), "good": nudged(target), "lookup": prompt_lookup}[drafter]
    prompt = "b c d b c"
    drawn = speculate(target, cheap, [prompt], DRAWS, LENGTH, **how, k=2, seed=11, max_batch=4096)
    rate = acceptance(drawn)
    # The two drafters of the name, and neither so good or so bad that one branch of the rule is never taken.
    assert {"bad": 0.1 < rate < 0.7, "good": 0.7 < rate < 0.98, "lookup": 0 < rate < 0.7}[drafter]
    p = exact(target, prompt, **how)
    counts = Counter(s.completion.token_ids for s in drawn[0])
    assert sum(p.values()) == pytest.approx(1) and set(counts) <= set(p)
    assert chi_square(counts, p, DRAWS) > 1e-3


def test_the_chi_square_test_has_power():
    """The classic mistake, drawing from p (and not from p - q) after a rejection, would be seen with power > 0.999."""
    target, bad, prompt = tiny(3), tiny(5), "b c d b c"
    read = torch.tensor([target.encode(prompt)])
    with torch.no_grad():
        p, q = (distribution(m.model(input_ids=read).logits[0, -1], 1.0).double() for m in (target, bad))
    kept = torch.minimum(p, q)
    wrong = kept + (1 - kept.sum()) * p
    assert float(wrong.sum()) == pytest.approx(1)
    noncentrality = DRAWS * float(((wrong - p) ** 2 / p).sum())
    # The first token alone says so; whole texts have more cells, so that the power is stated for all of them.
    cells = len(exact(target, prompt))
    power = stats.ncx2.sf(stats.chi2.isf(1e-3, cells - 1), cells - 1, noncentrality)
    assert power > 0.999
    # And the test as it is run rejects such draws.
    rng = np.random.default_rng(0)
    texts = exact(target, prompt)
    first = Counter({v: sum(w for t, w in texts.items() if t[0] == v) for v in range(TINY)})
    biased = {t: w * float(wrong[t[0]]) / first[t[0]] for t, w in texts.items()}
    weights = np.array(list(biased.values()))
    drawn = Counter(dict(zip(biased, rng.multinomial(DRAWS, weights / weights.sum()), strict=True)))
    assert chi_square(drawn, texts, DRAWS) < 1e-6


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 3), st.booleans())
def test_one_verified_token_has_the_targets_distribution_exactly(seed, drafted, certain):
    """The rule itself, integrated over its random numbers: the first token comes out with probability p."""
    rng = np.random.default_rng(seed)
    vocabulary, k = 5, 3
    p = torch.from_numpy(rng.dirichlet(np.full(vocabulary, 0.5), size=k + 1)).float()
    q = torch.from_numpy(rng.dirichlet(np.full(vocabulary, 0.5), size=k)).float()
    if certain:
        q = torch.eye(vocabulary)[rng.integers(0, vocabulary, size=k)]
    grid = 400
    u = (torch.arange(grid, dtype=torch.float64) + 0.5) / grid
    total = torch.zeros(vocabulary, dtype=torch.float64)
    for x in range(vocabulary):
        drafts = torch.full((grid, k), x)
        weight = float(q[0, x]) if drafted else 1 / vocabulary
        # Acceptance and drawing each run over the whole grid, the one while the other is mixed.
        mixed = torch.from_numpy(rng.permutation(grid))
        kept, token = verify(
            drafts, torch.full((grid,), drafted), p.expand(grid, -1, -1), q.expand(grid, -1, -1),
            u[:, None].expand(-1, k), u[mixed][:, None].expand(-1, k + 1),
        )  # fmt: skip
        assert int(kept.max()) <= drafted
        first = torch.where(kept > 0, x, token)
        total += weight * torch.bincount(first, minlength=vocabulary).double() / grid
    assert total.numpy() == pytest.approx(p[0].numpy(), abs=0.06)


@pytest.mark.parametrize("how", [{}, {"temperature": 0.7}, {"top_p": 0.8}, {"top_k": 4}])
def test_without_drafts_it_is_the_plain_sampler(how):
    target, prompts = qwen3(0), prompts_of([3, 8, 3, 20], seed=2)
    prompts.append(prompts[0])  # a repeated prompt gets other samples
    plain = target.sample(prompts, 3, 25, **how, seed=4)
    ours = completions(speculate(target, prompt_lookup, prompts, 3, 25, **how, seed=4, k=0))
    assert ids(ours) == ids(plain)
    for one, other in zip(itertools.chain(*ours), itertools.chain(*plain), strict=True):
        assert one.asked.flops + one.cost.flops == pytest.approx(other.asked.flops + other.cost.flops)


def test_samples_do_not_depend_on_the_batch_and_differ_by_seed():
    target, drafter, prompts = qwen3(0), qwen3(1), prompts_of([6, 9, 12])
    runs = [completions(speculate(target, drafter, prompts, 4, 20, k=3, seed=8, max_batch=b)) for b in (1, 5, 64)]
    assert ids(runs[0]) == ids(runs[1]) == ids(runs[2])
    assert len(set(itertools.chain(*ids(runs[0])))) == 12
    assert ids(completions(speculate(target, drafter, prompts, 4, 20, k=3, seed=9))) != ids(runs[0])


# ---------------------------------------------------------------- acceptance, ends, and cost


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_drafter_that_is_the_target_is_always_accepted(temperature):
    target, prompts = qwen3(0), prompts_of([5, 9])
    drawn = speculate(target, target, prompts, 3, 21, temperature=temperature, k=4, seed=1)
    assert acceptance(drawn) == 1
    for s in itertools.chain(*drawn):
        # Every pass writes its four drafts and one more, the last one what is left.
        assert s.passes == math.ceil(len(s.completion.token_ids) / 5) and s.tested == s.accepted


def test_a_drafter_that_is_never_right_costs_a_pass_a_token():
    target, (prompt,) = qwen3(0), prompts_of([7])
    (alone,) = target.sample([prompt], 1, 12, temperature=0)
    right = alone[0].token_ids

    def wrong(text, k):
        at = len(text) - 7
        return [(right[at] + 1) % WORDS] * k

    ((s,),) = speculate(target, wrong, [prompt], 1, 12, temperature=0, k=3)
    assert s.completion.token_ids == right
    assert len(right) < 12, "ended by its end token, so that every pass had room for drafts"
    assert (s.passes, s.accepted, s.tested) == (len(right), 0, len(right))


def test_a_perfect_guess_needs_the_fewest_passes():
    target, (prompt,) = qwen3(0), prompts_of([7])
    right = target.sample([prompt], 1, 12, temperature=0)[0][0].token_ids
    ((s,),) = speculate(target, lambda text, k: right[len(text) - 7 :][:k], [prompt], 1, 12, temperature=0, k=3)
    assert (s.completion.token_ids, s.passes, acceptance([[s]])) == (right, math.ceil(len(right) / 4), 1)


def test_cost_counts_both_models():
    target, drafter, prompts = qwen3(0), qwen3(1, num_hidden_layers=1), prompts_of([5, 5], seed=3)
    drawn = speculate(target, drafter, prompts, 2, 15, k=3, seed=2)
    for group in drawn:
        for s in group:
            cost = s.completion.cost
            assert cost.generated_tokens == s.passes + s.drafted and cost.scored_tokens == s.drafted
            assert cost.seconds > 0 and cost.peak_bytes > target.bytes + drafter.bytes
        whole = group_cost([s.completion for s in group])
        assert whole.prompt_tokens == 2 * group[0].completion.prompt_tokens, "each model reads the prompt once"
    for prompt in prompts:
        with counting(target.model) as ours, counting(drafter.model) as theirs:
            ((alone,),) = speculate(target, drafter, [prompt], 1, 15, k=3, seed=2)
        # In models so small the weights of norms, which no matrix holds, are over 1 % of all.
        assert group_cost([alone.completion]).flops == pytest.approx(ours.flops + theirs.flops, rel=0.02)
    with counting(target.model) as ours:
        ((looked,),) = speculate(target, prompt_lookup, prompts[:1], 1, 15, k=3, seed=2)
    assert looked.completion.cost.generated_tokens == looked.passes
    assert group_cost([looked.completion]).flops == pytest.approx(ours.flops, rel=0.02)


def test_stop_strings_end_a_text_where_the_plain_sampler_ends_it():
    target, prompts = qwen3(0), prompts_of([3, 8, 20], seed=2)
    for stop in (("h",), ("f ", "j b")):
        plain = target.sample(prompts, 4, 25, stop=stop, seed=6)
        ours = completions(speculate(target, prompt_lookup, prompts, 4, 25, stop=stop, seed=6, k=0))
        assert [[(c.text, c.token_ids) for c in g] for g in ours] == [[(c.text, c.token_ids) for c in g] for g in plain]
    drafted = completions(speculate(target, target, prompts, 4, 25, stop=("h",), temperature=0, k=5))
    assert ids(drafted) == ids(target.sample(prompts, 4, 25, stop=("h",), temperature=0))


def test_a_text_that_fills_the_models_positions():
    target, (prompt,) = gpt2(), prompts_of([120])
    ((s,),) = speculate(target, target, [prompt], 1, 50, temperature=0, k=6)
    assert s.completion.token_ids == target.sample([prompt], 1, 50, temperature=0)[0][0].token_ids
    assert s.completion.finish_reason == "length" or s.completion.token_ids[-1] == 0


def test_in_a_models_place():
    target, drafter, task = load_model("base", device="cpu"), load_model("base-small", device="cpu"), CHAIN
    fast = SpeculativeModel(target, drafter, k=3)
    assert fast.flops_per_token == target.flops_per_token and fast.end_ids == target.end_ids
    problems = task.problems(4, seed=2)
    solved = SelfConsistency(task, "cot", seed=3).solve(problems, fast, Budget(3, 64))
    again = SpeculativeDecoding(SelfConsistency(task, "cot", seed=3), drafter, k=3).solve(
        problems, target, Budget(3, 64)
    )
    assert [a.answer for a in solved] == [a.answer for a in again] and [len(a.trace) for a in solved] == [3] * 4
    assert sum(a.grade == "correct" for a in solved) >= 3


def test_what_cannot_be_done_is_said():
    target, (prompt,) = qwen3(0), prompts_of([5])
    with pytest.raises(ValueError, match="tokenizers differ"):
        speculate(target, qwen3(0, vocab_size=WORDS + 1), [prompt])
    with pytest.raises(ValueError, match="draft 0 or more"):
        speculate(target, prompt_lookup, [prompt], k=-1)
    with pytest.raises(ValueError, match="at most 128; shorten the prompt"):
        speculate(target, prompt_lookup, [" ".join("b" * 128)])
    with pytest.raises(ValueError, match="none are to follow"):
        speculate(target, prompt_lookup, [prompt], max_new_tokens=0)
    bloom = BloomForCausalLM(BloomConfig(vocab_size=WORDS, hidden_size=32, n_layer=1, n_head=2)).eval()
    with pytest.raises(ValueError, match="choose another model"):
        speculate(LanguageModel(bloom, tokenizer(), "bloom"), prompt_lookup, [prompt])
    assert speculate(target, prompt_lookup, []) == [] and speculate(target, prompt_lookup, [prompt], n=0) == [[]]


def test_a_prompt_that_is_too_long_leaves_the_others_alone():
    target, (prompt,) = qwen3(0), prompts_of([5])
    with pytest.warns(UserWarning, match="1 of 2 prompts are too long"):
        (empty,), (done,) = speculate(target, prompt_lookup, [" ".join("b" * 128), prompt], max_new_tokens=6)
    alone = speculate(target, prompt_lookup, [prompt], max_new_tokens=6)[0][0]
    assert done.completion.token_ids == alone.completion.token_ids
    assert (empty.completion.text, empty.completion.token_ids, empty.completion.finish_reason) == ("", (), "length")
    assert empty.completion.prompt_tokens == empty.completion.cost.flops == empty.passes == 0


@pytest.mark.parametrize("kinds", [("sliding_attention",) * 2, ("sliding_attention", "full_attention")])
def test_sliding_windows_are_honoured(kinds):
    """Drafts are verified within the window; `sample` itself is compared with the library elsewhere."""
    settings = dict(sliding_window=4, use_sliding_window=True, layer_types=list(kinds))
    target, drafter, prompts = qwen3(0, **settings), qwen3(1, **settings), prompts_of([9, 3, 14])
    assert target.model.config.sliding_window == 4
    plain = target.sample(prompts, max_new_tokens=20, temperature=0)
    for drafts in (drafter, target, prompt_lookup):
        drawn = speculate(target, drafts, prompts, max_new_tokens=20, temperature=0, k=3)
        assert [g[0].completion.token_ids for g in drawn] == [g[0].token_ids for g in plain]
        assert drafts is not target or acceptance(drawn) == 1
    wide = qwen3(0).sample(prompts, max_new_tokens=20, temperature=0)
    assert [g[0].token_ids for g in wide] != [g[0].token_ids for g in plain], "the window matters here"


# ---------------------------------------------------------------- the pieces


@given(st.lists(st.integers(0, 3), max_size=12), st.integers(0, 4), st.integers(1, 3))
def test_lookup_copies_what_followed_the_longest_ending(text, k, ngram):
    found = prompt_lookup(text, k, ngram)
    # Brute force: all earlier places, the longest match first, then the latest.
    places = [
        (size, start)
        for size in range(1, min(ngram, len(text) - 1) + 1)
        for start in range(len(text) - size)
        if text[start : start + size] == text[-size:]
    ]
    if not places:
        assert found == []
    else:
        size, start = max(places)
        assert found == text[start + size : start + size + k]


def test_a_decoder_cut_back_reads_as_if_nothing_had_been_there():
    model = llama()
    texts = [[1, 2, 3, 4, 5], [6, 7, 8], [9, 3]]
    decoder = Decoder(model.model, 3)
    with torch.no_grad():
        decoder.read(texts)
        decoder.read([[11, 12, 13], [14], [15, 16]])
        decoder.cut([4, 3, 99])
        decoder.read([[21], [22, 23]], rows=[2, 0])
        decoder.select([2, 0, 0])
        logits = decoder.read([[17, 18], [17], [19]])
        assert decoder.lengths.tolist() == [7, 7, 7]
        for row, (text, at) in enumerate(
            [([9, 3, 15, 16, 21, 17, 18], 1), ([1, 2, 3, 4, 22, 23, 17], 0), ([1, 2, 3, 4, 22, 23, 19], 0)]
        ):
            whole = model.model(input_ids=torch.tensor([text])).logits[0, -1]
            assert torch.allclose(logits[row, at], whole, atol=1e-4)


def test_a_decoder_begins_with_texts_of_any_length_and_equal_ones_are_read_once():
    model, passes = llama(), []
    texts = [[1, 2, 3], [], [4], [1, 2, 3]]
    model.model.get_input_embeddings().register_forward_hook(lambda *args: passes.append(tuple(args[-1].shape[:2])))
    with torch.no_grad():
        decoder = Decoder(model.model, 4)
        first = decoder.read(texts)
        assert passes == [(2, 3)] and decoder.tokens.tolist() == [3, 0, 1, 3]
        second = decoder.read([[5], [6, 7], [8], [9]])
        for row, text in enumerate([[1, 2, 3], [], [4], [1, 2, 3]]):
            if text:
                wanted = model.model(input_ids=torch.tensor([text])).logits[0]
                assert torch.allclose(first[row, : len(text)], wanted, atol=1e-4)
        for row, (text, at) in enumerate([([1, 2, 3, 5], 0), ([6, 7], 1), ([4, 8], 0), ([1, 2, 3, 9], 0)]):
            whole = model.model(input_ids=torch.tensor([text])).logits[0, -1]
            assert torch.allclose(second[row, at], whole, atol=1e-4)
        decoder = Decoder(model.model, 2)
        decoder.read([[2] * 5], rows=[1])
        whole = model.model(input_ids=torch.tensor([[2] * 5 + [3] * 90])).logits[0, -1]
        assert torch.allclose(decoder.read([[3] * 90], rows=[1])[0, -1], whole, atol=1e-4), "the buffers have grown"


def test_what_was_read_is_not_read_again_and_what_is_written_is_kept():
    target, drafter, (prompt,) = qwen3(0), qwen3(1), prompts_of([20])
    plain = ids(completions(speculate(target, drafter, [prompt], 3, 15, k=3, seed=2)))
    with target.keeping_prefixes() as store, drafter.keeping_prefixes():
        assert ids(completions(speculate(target, drafter, [prompt], 3, 15, k=3, seed=2))) == plain
        assert (store.read, store.reused) == (19, 0), "the last token is read with the drafts"
        assert ids(completions(speculate(target, drafter, [prompt], 3, 15, k=3, seed=2))) == plain
        assert (store.read, store.reused) == (20, 18)
        longer = " ".join([prompt, *(ascii_letters[i] for i in plain[0][0])])
        before = store.reused
        target.sample([longer], max_new_tokens=1)
        assert store.reused >= before + 20 + len(plain[0][0]) - 2, "the sampler finds what speculation has written"


@pytest.mark.parametrize(("alpha", "k"), [(0.0, 4), (0.3, 1), (0.8, 4), (1.0, 3)])
def test_expected_tokens_and_speed(alpha, k):
    chances = [alpha**i * (1 - alpha) for i in range(k)] + [alpha**k]
    assert expected_tokens(alpha, k) == pytest.approx(sum((i + 1) * c for i, c in enumerate(chances)))
    c = 0.2
    assert speedup(alpha, k, c, 1.0, 1.0) == pytest.approx(expected_tokens(alpha, k) / (k * c + 1))
    assert speedup(alpha, 0, c, 3.0, 3.0) == 1


def test_a_pass_takes_time():
    assert 0 < pass_seconds(qwen3(0), 3, context=10, rows=2, repeats=3) < 5


# ---------------------------------------------------------------- step by step


@pytest.fixture(scope="module")
def pair():
    """The large and the small model of the bundled family."""
    return load_model("instruct", device="cpu"), load_model("base-small", device="cpu")


@pytest.fixture(scope="module")
def hard():
    """Problems deeper than any in training, on which every model slips."""
    return CHAIN.problems(10, seed=3, difficulty=CHAIN.unseen_difficulties)


def alone(model, problems):
    """What a model writes by itself, greedily, until it states an answer."""
    prompts = [CHAIN.prompt(p) for p in problems]
    texts = [g[0].text for g in model.sample(prompts, 1, 80, temperature=0)]
    return [t[: t.index(".", t.index("The answer is")) + 1] if "The answer is" in t else t for t in texts]


def solved(problems, pair, judge, weight, **how):
    return SpeculativeReasoning(CHAIN, pair[1], judge, weight, **how).solve(problems, pair[0], Budget(1, 80))


def always(score):
    return lambda candidates: [score] * len(candidates.drafts)


def test_no_step_kept_is_the_large_model_alone_and_every_step_kept_the_small_one(pair, hard):
    problems = [*hard[:4], *CHAIN.problems(4, seed=4)]
    for judge in (by_likelihood, always(0.5)):
        large = solved(problems, pair, judge, above(1.0), max_batch=5)
        assert [text_of(a.trace) for a in large] == alone(pair[0], problems)
        assert {(s.writer, s.kept) for a in large for s in a.trace} == {("small", False), ("large", True)}
        small = solved(problems, pair, judge, above(-1.0))
        assert [text_of(a.trace) for a in small] == alone(pair[1], problems)
        assert {(s.writer, s.kept) for a in small for s in a.trace} == {("small", True)}


def test_a_perfect_checker_keeps_right_steps_and_only_those(pair, hard):
    problems = [*hard, *CHAIN.problems(6, seed=4)]
    attempts = solved(problems, pair, by_checker, above(0.5))
    drafts = [(p, s) for p, a in zip(problems, attempts, strict=True) for s in a.trace if s.writer == "small"]
    assert {s.kept for _, s in drafts} == {True, False}
    assert not any(s.kept for _, s in drafts if not s.text), "a text that ends without a word is no step"
    for problem, step in ((p, s) for p, s in drafts if s.text):
        answer = CHAIN.extract(step.text)
        right = all(c.verdict == "right" for c in CHAIN.check_steps(step.text, problem))
        assert step.kept == (right and answer in (None, problem.answer)) == (step.score == 1.0)
    for attempt, problem in zip(attempts, problems, strict=True):
        # A rejected draft is followed by the large model's own step.
        for step, following in itertools.pairwise(attempt.trace):
            assert step.kept or following.writer == "large"
        assert attempt.grade == CHAIN.grade(text_of(attempt.trace), problem)


def test_the_judges_scores_are_what_they_say(pair, hard):
    large, _ = pair
    seen = []

    def both(candidates):
        seen.append((by_likelihood(candidates), by_question(candidates), candidates))
        return seen[-1][0]

    attempts = solved(hard[:4], pair, both, above(0.9))
    assert len(seen) > 3 and {s.kept for a in attempts for s in a.trace} == {True, False}
    for likelihoods, chances, c in seen[:4]:
        rows = zip(c.problems, c.before, c.drafts, c.own, likelihoods, chances, c.costs, strict=True)
        for problem, before, draft, own, likelihood, chance, cost in rows:
            begun = replace(CHAIN.prompt(problem), prefill=before)
            (scored,) = large.score([begun], [draft])
            assert likelihood == pytest.approx(per_token(scored.logprobs), rel=1e-3) and 0 < per_token(own) <= 1
            steps = steps_in(before + draft, problem)
            ask = judge_step_prompt if CHAIN.extract(draft) is None else judge_solution_prompt
            (yes,) = large.score([ask(problem, steps)], [" Yes"])
            assert chance == pytest.approx(math.exp(yes.logprob), rel=1e-3)
            assert cost.flops == yes.cost.flops > 0


@dataclass
class Constant:
    """Scores every step of a text alike, for a token a text."""

    value: float

    def score(self, problems, texts):
        return [StepScores((0.0,) * t.count(".") + (self.value,), Cost(scored_tokens=1)) for t in texts]


def test_a_scorer_judges_the_last_step_and_is_paid(pair):
    problems = CHAIN.problems(3, seed=5, difficulty=3)
    for a in solved(problems, pair, by_scorer(Constant(0.7)), above(0.5)):
        assert {(s.kept, s.score) for s in a.trace} == {(True, 0.7)} and a.cost.scored_tokens == len(a.trace)
    for a in solved(problems, pair, by_scorer(Constant(0.4)), above(0.5)):
        assert [s.kept for s in a.trace] == [False, True] * (len(a.trace) // 2)


def test_cost_counts_what_either_model_read_and_wrote(pair):
    problems = CHAIN.problems(4, seed=5, difficulty=3)
    large, small = pair
    solved(problems[:1], pair, by_likelihood, above(0.5))  # the engine tries each model once, which no one pays for
    for judge, bar in ((always(0.5), 0.0), (by_likelihood, 0.0), (always(0.5), 1.0)):
        for p in problems:
            with counting(large.model) as by_large, counting(small.model) as by_small:
                (a,) = solved([p], pair, judge, above(bar))
            assert a.cost.flops == pytest.approx(by_large.flops + by_small.flops, rel=0.01)
            tokens = sum(s.tokens for s in a.trace)
            assert a.cost.generated_tokens == tokens
            if judge is not by_likelihood and bar == 0.0:
                assert by_large.flops == a.cost.scored_tokens == 0, "nothing was rejected or weighed"
            if judge is by_likelihood:
                # The large model reads every step but needs no logits after the last token.
                assert tokens - 1 <= a.cost.scored_tokens <= tokens


def test_a_weight_is_a_probability(pair):
    problems = CHAIN.problems(30, seed=6, difficulty=4)
    for reward, low, high in ((0.3, 0.2, 0.4), (1.5, 1.0, 1.0), (-0.2, 0.0, 0.0)):
        attempts = solved(problems, pair, always(reward), clipped, seed=1)
        kept = [s.kept for a in attempts for s in a.trace if s.writer == "small"]
        assert low <= np.mean(kept) <= high and len(kept) > 100
    assert above(0.2)(0.3) == 1.0 and above(0.3)(0.3) == 0.0


def test_sampled_steps_differ_by_seed_and_keep_their_budget(pair, hard):
    texts = [
        [text_of(a.trace) for a in solved(hard, pair, by_likelihood, above(0.3), temperature=1.0, seed=s)]
        for s in (0, 0, 1)
    ]
    assert texts[0] == texts[1] != texts[2]
    short = SpeculativeReasoning(CHAIN, pair[1]).solve(hard, pair[0], Budget(1, 9))
    assert all(sum(s.tokens for s in a.trace if s.kept) == 9 and a.grade == "unparsable" for a in short)
    assert SpeculativeReasoning(CHAIN, pair[1]).solve([], pair[0], Budget()) == []
