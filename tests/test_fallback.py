"""Architectures that the engine cannot drive are sampled over their own cache, under the engine's contract."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from test_sampling import SIZES, VOCABULARY, Letters, generated, prompts_of, qwen3
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    GenerationConfig,
    JambaConfig,
    JambaForCausalLM,
    Lfm2Config,
    Lfm2ForCausalLM,
    Mamba2Config,
    Mamba2ForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

from srm_utils.sampling import engine, fallback, own_cache
from srm_utils.sampling.engine import sample_tokens, why_unsupported
from srm_utils.sampling.own_cache import OwnCache, side_by_side
from srm_utils.sampling.reading import READ_TOKENS


def mamba():
    sizes = dict(vocab_size=VOCABULARY, hidden_size=16, num_hidden_layers=2, state_size=4)
    return MambaForCausalLM(MambaConfig(**sizes, eos_token_id=None, pad_token_id=0, initializer_range=0.4))


def bloom():
    sizes = dict(vocab_size=VOCABULARY, hidden_size=16, n_layer=2, n_head=2, initializer_range=0.4)
    return BloomForCausalLM(BloomConfig(**sizes, bos_token_id=None, eos_token_id=None, pad_token_id=0))


def t5():
    sizes = dict(vocab_size=VOCABULARY, d_model=16, d_kv=4, d_ff=16, num_layers=1, num_heads=2)
    return T5ForConditionalGeneration(T5Config(**sizes, decoder_start_token_id=0, eos_token_id=None))


def lfm2():
    """Convolutions, which keep a state, and attention, which keeps keys, in turn."""
    sizes = dict(SIZES, num_hidden_layers=3, layer_types=["conv", "full_attention", "conv"])
    return Lfm2ForCausalLM(Lfm2Config(**sizes))


OTHERS = [
    ("layers other than full or sliding attention .linear_attention", mamba),
    ("layers other than full or sliding attention .conv", lfm2),
    ("decoding it step by step", bloom),
    ("it is an encoder-decoder", t5),
]


@pytest.mark.parametrize(("reason", "make"), OTHERS, ids=["mamba", "lfm2", "bloom", "t5"])
def test_other_architectures_fall_back_to_their_own_cache(reason, make):
    torch.manual_seed(0)
    other, prompts = make(), prompts_of([5, 3])
    with pytest.warns(UserWarning, match=f"falls back .* because .*{reason}"):
        ours = sample_tokens(other.eval(), None, prompts, 2, 6, seed=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        again = sample_tokens(other, None, prompts[::-1], 2, 6, seed=1)[::-1]
        greedy = sample_tokens(other, None, prompts, 1, 6, temperature=0)
    assert [[c.token_ids for c in g] for g in ours] == [[c.token_ids for c in g] for g in again]
    assert all(len(c.token_ids) == len(c.logprobs) == 6 for g in ours for c in g)
    out = other.generate(input_ids=torch.tensor([prompts[0]]), do_sample=False, max_new_tokens=6, pad_token_id=0)
    assert greedy[0][0].token_ids == tuple(out[0, -6:].tolist())


@pytest.fixture(params=["mamba", "bloom", "lfm2", "mamba by generate"])
def other(request, monkeypatch):
    torch.manual_seed(0)
    if request.param.endswith("by generate"):
        monkeypatch.setattr(fallback, "side_by_side", lambda model: False)
    return {"mamba": mamba, "bloom": bloom, "lfm2": lfm2}[request.param.split()[0]]().eval()


@pytest.mark.filterwarnings("ignore:Sampling falls back")
def test_the_fallback_keeps_the_contract(other):
    prompts, budgets, heats = prompts_of([5, 3, 5, 8]), [9, 4, 12, 6], [1.0, 0.0, 0.7, 1.0]
    settings = dict(seed=[3, 1, 4, 1], end_ids=[7, 11])
    whole = sample_tokens(other, None, prompts, 4, budgets, temperature=heats, **settings)
    for i, (prompt, budget, heat, seed) in enumerate(zip(prompts, budgets, heats, settings["seed"], strict=True)):
        for n, max_batch in ((1, 1), (3, 2)):
            (alone,) = sample_tokens(
                other, None, [prompt], n, budget, temperature=heat, seed=seed, end_ids=[7, 11], max_batch=max_batch
            )
            assert [c.token_ids for c in alone] == [c.token_ids for c in whole[i][:n]], "whatever n and its neighbours"
        for c in whole[i]:
            ended = c.token_ids[-1] in (7, 11)
            assert (c.finish_reason == "stop") == ended and (ended or len(c.token_ids) == budget)
            with torch.no_grad():
                logits = other(input_ids=torch.tensor([prompt + list(c.token_ids)])).logits[0]
            wanted = logits.log_softmax(-1)[len(prompt) - 1 : -1].gather(1, torch.tensor(c.token_ids)[:, None])[:, 0]
            assert np.allclose(c.logprobs, wanted.numpy(), atol=1e-3)
    assert len({c.token_ids for c in whole[0]}) > 1
    texts = sample_tokens(other, Letters(), prompts[:1], 4, 12, seed=2)[0]
    stop = texts[0].text[4:6]
    stopped = sample_tokens(other, Letters(), prompts[:1], 4, 12, seed=2, stop=[stop])[0]
    for plain, cut in zip(texts, stopped, strict=True):
        assert cut.text == plain.text.split(stop)[0]


@pytest.mark.filterwarnings("ignore:Sampling falls back")
def test_the_fallback_reads_the_reply_of_a_pause(other):
    prompt = prompts_of([5])[0]
    plain = sample_tokens(other, Letters(), [prompt], 1, 6, temperature=0)[0][0]
    replied = iter(["tool"])
    done = sample_tokens(
        other, Letters(), [prompt], 1, 6, temperature=0, pause_strings=[plain.text[2]],
        pause=lambda _: next(replied, None),
    )[0][0]  # fmt: skip
    cut = plain.text.find(plain.text[2]) + 1
    said = [*prompt, *plain.token_ids[:cut], *Letters()("tool")["input_ids"]]
    assert done.token_ids[cut + 4 :] == generated(other, said, 6 - cut)
    assert done.cost.generated_tokens == 6


@pytest.mark.parametrize("make", [mamba, qwen3], ids=["fallback", "engine"])
@pytest.mark.filterwarnings("ignore:Sampling falls back")
def test_a_models_own_generation_config_does_not_leak(make):
    torch.manual_seed(0)
    model, prompts = make().eval(), prompts_of([5, 3])
    heats = (0.0, 1.0)
    usual = [sample_tokens(model, None, prompts, 3, 12, temperature=heat) for heat in heats]
    often = usual[0][0][0].token_ids[0]
    model.generation_config = GenerationConfig(
        repetition_penalty=5.0, no_repeat_ngram_size=1, min_p=0.9, top_k=2, top_p=0.2, temperature=0.1, do_sample=True,
        bad_words_ids=[[often]], suppress_tokens=[often], begin_suppress_tokens=[often], forced_bos_token_id=3,
        forced_eos_token_id=3, min_new_tokens=5, max_length=4, eos_token_id=often, num_return_sequences=1, num_beams=1,
        typical_p=0.5, epsilon_cutoff=0.1, exponential_decay_length_penalty=(2, 3.0), guidance_scale=3.0,
    )  # fmt: skip
    own = model.generation_config
    leaky = [sample_tokens(model, None, prompts, 3, 12, temperature=heat) for heat in heats]
    assert model.generation_config is own
    for before, after in zip(usual, leaky, strict=True):
        assert [[c.token_ids for c in g] for g in after] == [[c.token_ids for c in g] for g in before]


@pytest.mark.parametrize("make", [mamba, lfm2])
@pytest.mark.filterwarnings("ignore:Sampling falls back")
def test_the_fallback_is_batched_and_bounded(make, monkeypatch):
    model, prompts = make().eval(), prompts_of([5, 5, 3])
    passes, weighed = [], []
    model.get_input_embeddings().register_forward_hook(lambda *args: passes.append(tuple(args[-1].shape[:2])))
    model.get_output_embeddings().register_forward_hook(lambda *args: weighed.append(args[-1].shape[:2].numel()))
    why_unsupported(model), side_by_side(model)

    def rows(**settings):
        passes.clear()
        weighed.clear()
        sample_tokens(model, None, prompts, 6, [8, 4, 8], **settings)
        return passes

    reading = [(2, 5), (1, 3)]
    assert rows() == reading + [(18, 1)] * 3 + [(12, 1)] * 4, "every prompt once, all lengths in one batch, none idle"
    assert weighed == [2, 1] + [18] * 3 + [12] * 4, "logits of one position at a time"
    assert max(n for n, _ in rows(max_batch=4)) == 4
    monkeypatch.setattr(engine, "FALLBACK_ROWS", 5)
    assert max(n for n, _ in rows()) == 5
    monkeypatch.setattr(engine, "CPU_CACHE_BYTES", 1)
    assert {n for n, _ in rows()} == {1}
    monkeypatch.undo()
    monkeypatch.setitem(READ_TOKENS, "cpu", 5)
    assert rows()[:3] == [(1, 5), (1, 5), (1, 3)], "what one pass reads is bounded too"


@pytest.mark.filterwarnings("ignore:Sampling falls back")
def test_generate_is_batched_and_bounded(monkeypatch):
    monkeypatch.setattr(fallback, "side_by_side", lambda model: False)
    model, prompts = mamba().eval(), prompts_of([5, 5, 3])
    shapes = []
    model.register_forward_hook(lambda *args: shapes.append(args[-1].logits.shape))
    why_unsupported(model)

    def rows(**settings):
        shapes.clear()
        sample_tokens(model, None, prompts, 6, 8, **settings)
        return {shape[0] for shape in shapes}, len(shapes)

    assert rows() == ({6, 12}, 2 * 8), "prompts of one length together, a pass a token"
    assert max(rows(max_batch=4)[0]) == 4
    assert all(shape[1] == 1 for shape in shapes), "logits of one position at a time"
    monkeypatch.setattr(engine, "FALLBACK_ROWS", 5)
    assert max(rows()[0]) == 5
    monkeypatch.setattr(engine, "CPU_CACHE_BYTES", 1)
    assert rows()[0] == {1}


def hybrid(make):
    sizes = dict(vocab_size=VOCABULARY, hidden_size=16, num_hidden_layers=4)
    heads = dict(num_attention_heads=2, num_key_value_heads=1, intermediate_size=32)
    if make == "mamba2":
        return Mamba2ForCausalLM(Mamba2Config(**sizes, num_heads=4, head_dim=8, state_size=8, n_groups=1, chunk_size=4))
    return JambaForCausalLM(
        JambaConfig(
            **sizes, **heads, attn_layer_period=2, attn_layer_offset=1, num_experts=2, mamba_d_state=4, mamba_dt_rank=4,
            use_mamba_kernels=False,
        )
    )  # fmt: skip


@pytest.mark.parametrize("make", ["mamba2", "jamba"])
def test_states_and_keys_stand_side_by_side(make):
    """Texts of unequal lengths give the logits that each gives alone, also after some of them have left."""
    torch.manual_seed(0)
    model, texts = hybrid(make).eval(), [tuple(t) for t in prompts_of([9, 4, 4, 1])]
    with torch.no_grad():
        assert side_by_side(model)
        rows = OwnCache(model, [*texts, texts[1]])
        left = [[*t] for t in (*texts, texts[1])]
        found = [rows.logits]
        for step in range(4):
            if step == 2:
                rows.select([4, 0, 3])
                left = [left[i] for i in (4, 0, 3)]
            tokens = [3 + step + i for i in range(len(left))]
            left = [[*t, token] for t, token in zip(left, tokens, strict=True)]
            found.append(rows.step(tokens))
        for text, logits in zip(left, found[-1], strict=True):
            assert torch.allclose(logits, model(input_ids=torch.tensor([text])).logits[0, -1], atol=1e-4)
        for text, logits in zip([*texts, texts[1]], found[0], strict=True):
            assert torch.allclose(logits, model(input_ids=torch.tensor([text])).logits[0, -1], atol=1e-4)


def test_rows_that_stand_wrongly_are_found(monkeypatch):
    torch.manual_seed(0)
    join, pad = own_cache._side_by_side, own_cache._padded
    with torch.no_grad():
        assert side_by_side(lfm2().eval()) and side_by_side(mamba().eval())
        monkeypatch.setattr(own_cache, "_padded", lambda states, width: pad(states, width).roll(1, 2))
        assert not side_by_side(lfm2().eval()), "the mask hides what is no padding"
        monkeypatch.setattr(own_cache, "_padded", pad)
        monkeypatch.setattr(own_cache, "_side_by_side", lambda parts, rows, width: join(parts, rows.flip(0), width))
        assert not side_by_side(mamba().eval()), "each state belongs to the other text"
