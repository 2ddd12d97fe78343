"""Tiny random models of many architectures, from a saved folder through the sampler, scores and an adapter."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from srm_utils.inference.chain_of_thought import likeliest_first_tokens
from srm_utils.models import load_model
from srm_utils.sampling.cache import PrefixStore
from srm_utils.sampling.completion import Completion, Cost
from srm_utils.sampling.engine import why_unsupported
from srm_utils.sampling.reading import Reading
from srm_utils.sampling.support import resumes
from srm_utils.sampling.text import ContinuationTokenizer
from srm_utils.tasks.problem import Prompt
from srm_utils.training.policy_gradient import step_tokens

LINES = [
    "Ann has 27.27 - 16 apples. How many apples does Ann have?",
    "The answer is 11.27, so \\boxed{11.27}.",
    "Zoë zahlt 5 €, dann 日本 und 🙂.",
    "def f(x):\n    return x + 1\n",
]
PROMPTS = ["Ann has 27.27 -", "The answer is", "Zoë", "How many apples does Ann have?\n"]
SPECIAL = ["<pad>", "<s>", "</s>"]


def byte_level():
    """Bytes as letters, a space as Ġ: Qwen, SmolLM, GPT-2."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet, special = pre_tokenizers.ByteLevel.alphabet(), [*SPECIAL, "<|endoftext|>"]
    settings = dict(special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    core.train_from_iterator(LINES * 4, trainers.BpeTrainer(vocab_size=320, **settings))
    return PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", bos_token="<s>", eos_token="</s>")


def sentencepiece():
    """A space as ▁ and one in front of every text, which the decoder strips; unknown characters as bytes: Llama 2."""
    core = Tokenizer(models.BPE())
    core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    core.train_from_iterator(LINES[:2] * 4, trainers.BpeTrainer(vocab_size=90, show_progress=False))
    learnt = json.loads(core.to_str())["model"]
    words = dict.fromkeys([*SPECIAL, "<unk>", *(f"<0x{i:02X}>" for i in range(256)), *learnt["vocab"]])
    vocabulary = {word: i for i, word in enumerate(words)}
    merges = [tuple(pair) for pair in learnt["merges"]]
    core.model = models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    core.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    core.add_special_tokens([AddedToken(word, special=True) for word in SPECIAL])
    return PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


TOKENIZERS = {"byte level": byte_level, "sentencepiece": sentencepiece}
SIZES = dict(
    hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, intermediate_size=48,
    max_position_embeddings=128, pad_token_id=0, bos_token_id=1, eos_token_id=2, tie_word_embeddings=True,
    initializer_range=0.4,
)  # fmt: skip
VISION = dict(
    hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14
)


@dataclass(frozen=True)
class Architecture:
    """A configuration class with its own settings; `engine` says whether the batched sampler drives it."""

    config: str
    settings: dict[str, Any]
    tokenizer: str = "byte level"
    engine: bool = True
    adapted: tuple[str, ...] = ("q_proj", "o_proj")

    def make(self, words):
        sizes = SIZES | {"vocab_size": words}
        kind = getattr(transformers, self.config)
        if self.config == "Gemma3Config":
            text = sizes | self.settings
            text = {k: v for k, v in text.items() if k != "tie_word_embeddings"}
            config = kind(text_config=text, vision_config=VISION, mm_tokens_per_image=4, image_token_index=words - 1)
        elif self.config == "MambaConfig":
            keep = ("vocab_size", "hidden_size", "num_hidden_layers", "pad_token_id", "bos_token_id", "eos_token_id")
            config = kind(**{k: sizes[k] for k in keep}, **self.settings)
        else:
            config = kind(**(sizes | self.settings))
        torch.manual_seed(0)
        return transformers.AutoModelForCausalLM.from_config(config).eval()


LOCAL = dict(layer_types=["sliding_attention", "full_attention"], sliding_window=6, head_dim=8)
ARCHITECTURES = {
    "llama": Architecture("LlamaConfig", {}, "sentencepiece"),
    "qwen2": Architecture("Qwen2Config", {}),
    "qwen3": Architecture("Qwen3Config", {"head_dim": 8}),
    "gemma2": Architecture("Gemma2Config", {**LOCAL, "query_pre_attn_scalar": 5}, "sentencepiece"),
    "gemma3 text": Architecture("Gemma3TextConfig", {**LOCAL, "query_pre_attn_scalar": 5}, "sentencepiece"),
    "gemma3 multimodal": Architecture("Gemma3Config", {**LOCAL, "query_pre_attn_scalar": 5}, "sentencepiece"),
    "mistral with a window": Architecture("MistralConfig", {"sliding_window": 6, "head_dim": 8}, "sentencepiece"),
    "phi3": Architecture("Phi3Config", {"sliding_window": 40}, "sentencepiece", adapted=("qkv_proj", "o_proj")),
    "smollm3": Architecture("SmolLM3Config", {"no_rope_layers": [1, 0]}),
    "mixtral": Architecture("MixtralConfig", {"num_local_experts": 4, "num_experts_per_tok": 2}, "sentencepiece"),
    "qwen3 moe": Architecture(
        "Qwen3MoeConfig",
        {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "head_dim": 8},
    ),
    "gpt-oss": Architecture("GptOssConfig", {**LOCAL, "num_local_experts": 4, "num_experts_per_tok": 2}),
    "mamba": Architecture(
        "MambaConfig", {"state_size": 4, "initializer_range": 0.4}, engine=False, adapted=("in_proj", "x_proj")
    ),
}  # fmt: skip


@pytest.fixture(scope="module", params=ARCHITECTURES)
def saved(request, tmp_path_factory):
    """An architecture, and a folder with a model of it as its maker would save it."""
    architecture = ARCHITECTURES[request.param]
    folder = tmp_path_factory.mktemp("model")
    tokenizer = TOKENIZERS[architecture.tokenizer]()
    model = architecture.make(len(tokenizer))
    # Norms away from one and biases away from zero, as training leaves them.
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim == 1:
                p += 0.3 * torch.randn(p.shape)
    model.generation_config.repetition_penalty = 1.3
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return architecture, folder


@pytest.fixture
def lm(saved):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sampling falls back")
        yield load_model(saved[1])


def generated(lm, prompt, new_tokens):
    """Greedy continuation by the library, one prompt alone, its own cache and nothing of its generation config."""
    ids = torch.tensor([lm.encode(prompt)])
    lm.model.generation_config = transformers.GenerationConfig()
    out = lm.model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=new_tokens,
        eos_token_id=list(lm.end_ids), pad_token_id=0,
    )  # fmt: skip
    return tuple(out[0, ids.shape[1] :].tolist())


def plain_logprobs(lm, ids, start):
    """Log-probabilities of `ids` from position `start` on, by one full forward pass."""
    with torch.no_grad():
        logits = lm.model(input_ids=torch.tensor([ids])).logits[0].float()
    return logits.log_softmax(-1)[start - 1 : -1].gather(1, torch.tensor(ids[start:])[:, None])[:, 0].numpy()


def test_greedy_equals_generate_and_samples_do_not_depend_on_batching(saved, lm):
    assert (why_unsupported(lm.model) == "") == saved[0].engine
    greedy = lm.sample(PROMPTS, n=2, max_new_tokens=14, temperature=0)
    samples = lm.sample(PROMPTS, n=4, max_new_tokens=[14, 9, 5, 11], seed=3)
    alone = lm.sample(PROMPTS[2:3], n=2, max_new_tokens=5, seed=3)[0]
    backwards = lm.sample(PROMPTS[::-1], n=3, max_new_tokens=[11, 5, 9, 14], seed=3, max_batch=2)[::-1]
    assert [c.token_ids for c in alone] == [c.token_ids for c in samples[2][:2]]
    for prompt, best, group, again in zip(PROMPTS, greedy, samples, backwards, strict=True):
        assert {c.token_ids for c in best} == {generated(lm, prompt, 14)}
        assert [c.token_ids for c in again] == [c.token_ids for c in group[:3]]
        asked = lm.encode(prompt)
        for c in (best[0], *group):
            wanted = plain_logprobs(lm, [*asked, *c.token_ids], len(asked))
            assert np.allclose(c.logprobs, wanted, atol=2e-3)
    assert len({c.token_ids for group in samples for c in group}) > 8


def test_scores_equal_a_plain_forward_pass(lm):
    said = [" 16 apples.", " 11.27, so \\boxed{11.27}.", " zahlt 5 €", "def f"]
    for prompt, text, scored in zip(PROMPTS, said, lm.score(PROMPTS, said), strict=True):
        asked = lm.encode(prompt)
        read = lm.tokenizer.decode([*asked, *scored.token_ids], skip_special_tokens=True)
        assert read == prompt + text, "the tokens that are weighed read as the text behind the prompt"
        wanted = plain_logprobs(lm, [*asked, *scored.token_ids], len(asked))
        assert np.allclose(scored.logprobs, wanted, atol=2e-3)


def test_texts_are_what_the_tokens_add_to_the_prompt(lm):
    spelling = [lm.tokenizer.decode([i]) for i in range(len(lm.tokenizer))]
    bytes_alone = [i for i, text in enumerate(spelling) if "\ufffd" in text]
    spaces = [i for i in range(len(lm.tokenizer)) if lm.tokenizer.decode([*lm.encode("a"), i])[1:2] == " "]

    def write_words(module, args, out):
        out.logits[..., bytes_alone] -= 100.0
        out.logits[..., spaces] += 20.0

    lm.model.register_forward_hook(write_words)
    groups = lm.sample(PROMPTS, n=5, max_new_tokens=7, seed=1)
    for prompt, group in zip(PROMPTS, groups, strict=True):
        asked = lm.encode(prompt)
        for c in group:
            ids = c.token_ids[:-1] if c.token_ids[-1] in lm.end_ids else c.token_ids
            assert prompt + c.text == lm.tokenizer.decode([*asked, *ids], skip_special_tokens=True)
    assert sum(c.text.startswith(" ") for group in groups for c in group) > 2


def test_an_adapter_is_put_on_top_and_gone_without_it(saved, lm, tmp_path):
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=2, target_modules=list(saved[0].adapted), init_lora_weights=False, task_type="CAUSAL_LM")
    adapted = get_peft_model(load_model(saved[1]).model, config).eval()
    adapted.save_pretrained(tmp_path)
    loaded = load_model(saved[1], adapter=tmp_path)
    said = loaded.sample(PROMPTS, n=2, max_new_tokens=9, seed=5)
    changed = 0.0
    for prompt, group in zip(PROMPTS, said, strict=True):
        asked = loaded.encode(prompt)
        for c in group:
            ids = torch.tensor([[*asked, *c.token_ids]])
            with torch.no_grad():
                logits = adapted(input_ids=ids).logits[0].float().log_softmax(-1)[len(asked) - 1 : -1]
            wanted = logits.gather(1, torch.tensor(c.token_ids)[:, None])[:, 0].numpy()
            assert np.allclose(c.logprobs, wanted, atol=2e-3)
            changed += float(np.abs(plain_logprobs(lm, ids[0].tolist(), len(asked)) - wanted).max())
    assert changed > 1
    assert (why_unsupported(loaded.model) == "") == saved[0].engine


# ---------------------------------------------------------------- low precision


@pytest.fixture(scope="module")
def with_outliers(tmp_path_factory):
    """A model some of whose features are far larger than the others, as training makes them: LLM.int8 keeps those."""
    folder, tokenizer = tmp_path_factory.mktemp("outliers"), byte_level()
    sizes = SIZES | {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 4, "initializer_range": 0.1}
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes, vocab_size=len(tokenizer)))
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "norm" in name:
                p[::9] *= 8.0
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("bits", [4, 8])
def test_low_precision_runs_in_the_engine(with_outliers, bits):
    lm = load_model(with_outliers, bits=bits)
    assert why_unsupported(lm.model) == "" and resumes(lm.model)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Sampling falls back")
        assert len(lm.sample(PROMPTS, n=2, max_new_tokens=5)) == len(PROMPTS)
    with lm.keeping_prefixes() as store:
        lm.sample(PROMPTS, max_new_tokens=3)
        lm.sample(PROMPTS, max_new_tokens=3)
        assert store.reused > 0, "what was read in low precision is kept too"


@pytest.mark.parametrize("bits", [8, 32])
@pytest.mark.parametrize("fault", ["positions", "neighbours"])
def test_a_wrong_engine_is_caught_in_low_precision_too(with_outliers, bits, fault, monkeypatch):
    from srm_utils.sampling.rows import Rows

    prepare, group = Rows.prepare, Rows._group

    def shifted(rows):
        tokens, positions = prepare(rows)
        return tokens, positions + 1

    def swapped(rows):
        # Each row reads its neighbour's prompt.
        if rows.live == 2:
            rows.slot[:2] = rows.slot[:2][::-1].copy()
        group(rows)

    monkeypatch.setattr(Rows, *(("prepare", shifted) if fault == "positions" else ("_group", swapped)))
    assert "does not give the logits" in why_unsupported(load_model(with_outliers, bits=bits).model)


@pytest.mark.parametrize("bits", [4, 8, 32])
@pytest.mark.parametrize("fault", ["positions", "neighbours"])
def test_a_wrong_store_is_caught_in_low_precision_too(with_outliers, bits, fault, monkeypatch):
    lm, begin, gather = load_model(with_outliers, bits=bits), Reading.__init__, PrefixStore.gather

    def shifted(reading, *args):
        begin(reading, *args)
        reading.positions += 1

    if fault == "positions":
        monkeypatch.setattr(Reading, "__init__", shifted)
    else:
        # Every token is given the keys of another one.
        monkeypatch.setattr(PrefixStore, "gather", lambda store, slots: gather(store, slots.roll(1, 1)))
    assert not resumes(lm.model) and why_unsupported(lm.model) == ""


def test_steps_and_first_words_are_placed_by_what_tokens_add_to_the_prompt(lm):
    reader = ContinuationTokenizer(lm.tokenizer, lm.encode("a"))
    text = " Ann has 5 apples. Bob has 6 apples."
    ids = tuple(reader.encode(text))
    completion = Completion(text, ids, tuple(0.0 for _ in ids), "stop", 1, Cost())
    ends = step_tokens(completion, reader.decode)
    assert [reader.decode(ids[: end + 1]).rstrip() for end in ends] == [" Ann has 5 apples.", text]
    prompts = [Prompt(PROMPTS[0], ""), Prompt(PROMPTS[3].strip(), "")]
    for prompt, words in zip(prompts, likeliest_first_tokens(lm, prompts, 3)[0], strict=True):
        (first,) = lm.sample([prompt], 1, 1, temperature=0)[0]
        if first.text:
            assert words[0] == first.text, "the likeliest word, with the space in front of it"
