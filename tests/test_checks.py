"""What is checked on loading: vocabularies, configurations and adapters that do not fit; which experts are billed."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from test_architectures import SIZES, byte_level
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    DeepseekV3Config,
    DeepseekV3ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    Qwen2MoeConfig,
    Qwen2MoeForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

from srm_utils.models import LanguageModel, load_model
from srm_utils.models.checks import check_widths


def llama(words):
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**SIZES, vocab_size=words))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder, tokenizer = tmp_path_factory.mktemp("checkpoint"), byte_level()
    llama(len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def spoilt(checkpoint, folder, change):
    shutil.copytree(checkpoint, folder)
    change(folder)
    return folder


def refused(sentence, folder, **settings):
    with pytest.raises((ValueError, FileNotFoundError), match=sentence) as caught:
        load_model(folder, **settings)
    text = str(caught.value)
    assert "\n" not in text and text.endswith(".") and ";" in text, "one sentence that says what to do next"


# ---------------------------------------------------------------- vocabularies


@pytest.mark.parametrize("special", [False, True])
def test_a_tokenizer_longer_than_the_embedding_is_refused(checkpoint, tmp_path, special):
    def lengthen(folder):
        tokenizer = byte_level()
        tokenizer.add_tokens(["<|tool|>", "<|reply|>"], special_tokens=special)
        tokenizer.save_pretrained(folder)

    rows = len(byte_level())
    refused(
        rf"has 2 tokens more than the model's {rows} embeddings \(the first is '<\|tool\|>', number {rows}\)",
        spoilt(checkpoint, tmp_path / "m", lengthen),
    )


def test_a_padding_token_without_an_embedding_is_refused(checkpoint, tmp_path):
    def pad(folder):
        tokenizer = byte_level()
        tokenizer.add_special_tokens({"pad_token": "[PAD]"})
        tokenizer.save_pretrained(folder)

    refused("has 1 token more than", spoilt(checkpoint, tmp_path / "m", pad))


def test_placeholders_that_occur_in_no_text_are_let_pass(checkpoint, tmp_path):
    """Gemma 3's text models have one token more than embeddings, which stands for an image."""

    def show(folder):
        tokenizer = byte_level()
        tokenizer.add_special_tokens({"additional_special_tokens": ["<image_soft_token>"]})
        tokenizer.save_pretrained(folder)

    lm = load_model(spoilt(checkpoint, tmp_path / "m", show))
    assert len(lm.tokenizer) == lm.model.get_input_embeddings().weight.shape[0] + 1
    assert len(lm.sample(["Ann has"], max_new_tokens=3)[0][0].token_ids) <= 3


def test_an_embedding_longer_than_the_tokenizer_is_in_order(tmp_path):
    tokenizer = byte_level()
    llama(len(tokenizer) + 24).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert load_model(tmp_path).sample(["Ann has"], n=8, max_new_tokens=6)


@pytest.mark.parametrize("more", [8, -8])
def test_a_vocabulary_of_another_size_than_the_weights_is_refused(checkpoint, tmp_path, more):
    def rewrite(folder):
        config = json.loads((folder / "config.json").read_text())
        config["vocab_size"] += more
        (folder / "config.json").write_text(json.dumps(config))

    rows = len(byte_level())
    refused(
        rf"other sizes than its config.json says \(vocab_size is {rows + more}, and the embedding has {rows} rows\)",
        spoilt(checkpoint, tmp_path / "m", rewrite),
    )


def test_other_sizes_that_do_not_fit_are_refused_too(checkpoint, tmp_path):
    def rewrite(folder):
        config = json.loads((folder / "config.json").read_text())
        config["intermediate_size"] = 64
        (folder / "config.json").write_text(json.dumps(config))

    refused("other sizes than its config.json says; copy both", spoilt(checkpoint, tmp_path / "m", rewrite))


# ---------------------------------------------------------------- adapters


@pytest.fixture(scope="module")
def adapter(checkpoint, tmp_path_factory):
    from peft import LoraConfig, get_peft_model

    folder = tmp_path_factory.mktemp("adapter")
    config = LoraConfig(r=2, target_modules=["q_proj", "down_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
    get_peft_model(load_model(checkpoint).model, config).save_pretrained(folder)
    assert load_model(checkpoint, adapter=folder)
    return folder


def rewritten(change):
    def apply(folder):
        file = folder / "adapter_model.safetensors"
        save_file({k: v.clone().contiguous() for k, v in change(load_file(file)).items()}, file)

    return apply


RENAMED = rewritten(lambda weights: {k.replace("self_attn", "attention"): v for k, v in weights.items()})
CHANGES = {
    "renamed": (RENAMED, r"lacks 4 of its weights \(the first is"),
    "prefixed": (rewritten(lambda w: {f"module.{k}": v for k, v in w.items()}), "lacks 8 of its weights"),
    "half": (rewritten(lambda w: {k: v for k, v in w.items() if "layers.0." in k}), "lacks 4 of its weights"),
    "one side": (rewritten(lambda w: {k: v for k, v in w.items() if "lora_A" in k}), "lacks 4 of its weights"),
    "none": (rewritten(lambda w: {"x": torch.zeros(1)}), "lacks 8 of its weights"),
    "more": (
        rewritten(lambda w: w | {k.replace("layers.1", "layers.7"): v for k, v in w.items() if "layers.1" in k}),
        "has weights this model knows no place for, 4 in all",
    ),
    "narrow": (rewritten(lambda w: {k: v[:, :-1] if "lora_A" in k else v for k, v in w.items()}), "does not fit"),
    "cut": (
        lambda folder: (folder / "adapter_model.safetensors").write_bytes(
            (folder / "adapter_model.safetensors").read_bytes()[:-100]
        ),
        "does not fit this model",
    ),
    "no weights": (lambda folder: (folder / "adapter_model.safetensors").unlink(), "has no weights; copy"),
    "no configuration": (lambda folder: (folder / "adapter_config.json").unlink(), "There is no LoRA adapter in"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_an_adapter_that_is_not_whole_is_refused(checkpoint, adapter, tmp_path, change):
    spoil, sentence = CHANGES[change]
    refused(sentence, checkpoint, adapter=spoilt(adapter, tmp_path / "a", spoil))


def test_an_adapter_for_some_layers_alone_is_whole(checkpoint, tmp_path):
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=2, target_modules=["q_proj"], layers_to_transform=[1], init_lora_weights=False)
    get_peft_model(load_model(checkpoint).model, config).save_pretrained(tmp_path)
    lm = load_model(checkpoint, adapter=tmp_path)
    assert sum("lora_A" in name for name, _ in lm.model.named_parameters()) == 1


# ---------------------------------------------------------------- widths of 4-bit layers


def test_only_widths_that_are_unpacked_wrongly_are_refused():
    from bitsandbytes.nn import Linear4bit

    model = torch.nn.ModuleList([Linear4bit(48, 8), torch.nn.Linear(20, 8), Linear4bit(32, 8), Linear4bit(48, 16)])
    asked = []
    check_widths(model, "some model", unpacks=lambda width: asked.append(width) or True)
    assert asked == [32, 48]
    with pytest.raises(ValueError, match="'some model' has layers 48 wide.*on this processor; use bits=8"):
        check_widths(model, "some model", unpacks=lambda width: width != 48)


# ---------------------------------------------------------------- experts


UNTIED = {k: v for k, v in SIZES.items() if k != "tie_word_embeddings"}
MIXTURES = {
    "mixtral": lambda **s: MixtralForCausalLM(MixtralConfig(**s, num_local_experts=8, num_experts_per_tok=2)),
    "qwen3 moe, 2 of 16": lambda **s: Qwen3MoeForCausalLM(
        Qwen3MoeConfig(**s, num_experts=16, num_experts_per_tok=2, moe_intermediate_size=32, head_dim=16)
    ),
    "qwen2 moe, a shared expert": lambda **s: Qwen2MoeForCausalLM(
        Qwen2MoeConfig(
            **s, num_experts=8, num_experts_per_tok=3, moe_intermediate_size=32, shared_expert_intermediate_size=40
        )
    ),
    "deepseek, a dense layer first": lambda **s: DeepseekV3ForCausalLM(
        DeepseekV3Config(
            **s, n_routed_experts=8, num_experts_per_tok=2, moe_intermediate_size=32, n_group=1, topk_group=1,
            first_k_dense_replace=1, q_lora_rank=16, kv_lora_rank=16, qk_rope_head_dim=8, qk_nope_head_dim=8,
            v_head_dim=16, n_shared_experts=1,
        )
    ),
    "llama, none": lambda **s: LlamaForCausalLM(LlamaConfig(**s)),
}  # fmt: skip


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("name", MIXTURES)
def test_flops_are_those_of_the_modules_a_token_meets(name, tied):
    """Counted by torch while the model reads: within 1 %, which is what norms and other vectors come to."""
    tokenizer = byte_level()
    sizes = UNTIED | {"vocab_size": len(tokenizer), "hidden_size": 64, "tie_word_embeddings": tied}
    model = MIXTURES[name](**sizes).eval()
    # Kernels that compute all experts in one call are counted by their sizes, which are not those of the work.
    model.set_experts_implementation("eager") if "none" not in name else None
    ids = torch.arange(3, 19)[None]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(input_ids=ids, use_cache=False)
    counted = sum(n for op, n in counter.get_flop_counts()["Global"].items() if "attention" not in str(op))
    lm = LanguageModel(model, tokenizer)
    assert lm.flops_per_token == pytest.approx(counted / ids.numel(), rel=0.01)
    everything = 2 * (lm.parameters - (0 if tied else len(tokenizer) * 64))
    assert (lm.flops_per_token == everything) == ("none" in name)
