"""`load_model` and `LanguageModel`: three ways in, four precisions, and one sentence for every failure."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from srm_utils.models import LanguageModel, bundled_models, checks, load_model, resolve
from srm_utils.sampling import group_cost, scoring
from srm_utils.tasks.problem import Prompt

WORDS = ["<eos>", "<pad>", "\n\n", "\n", "Question", ":", "Answer", "?", ".", "what", "is", "plus", "then", "add", "so"]
WORDS += [str(i) for i in range(30)]
CHAT = (
    "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)


def word_tokenizer(chat=False):
    vocabulary = {w: i for i, w in enumerate(dict.fromkeys([*WORDS, "▁", *(f"▁{w}" for w in WORDS), "<unk>"]))}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Metaspace("▁", "never", split=False),
            pre_tokenizers.Split(Regex(r"\n+|▁?\w+|▁?[^\w\s▁]|▁"), "isolated"),
        ]
    )
    core.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse()])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<eos>", pad_token="<pad>", unk_token="<unk>")
    if chat:
        tokenizer.chat_template = CHAT
    return tokenizer


def tiny_model(tokenizer, tied=True):
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=len(tokenizer), hidden_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        head_dim=16, intermediate_size=192, max_position_embeddings=128, tie_word_embeddings=tied,
        bos_token_id=None, eos_token_id=0, pad_token_id=1, initializer_range=0.3,
    )  # fmt: skip
    return Qwen3ForCausalLM(config)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    tokenizer = word_tokenizer()
    model = tiny_model(tokenizer)
    model.generation_config.eos_token_id = [0, 2]
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def lm(checkpoint):
    return load_model(checkpoint)


PROMPTS = [Prompt("what is 3 plus 4 ?"), Prompt("what is 2 ?", "then add", prefill="so 5"), "Question: what\nAnswer:"]


# ---------------------------------------------------------------- loading


def test_a_folder_loads_with_its_true_size(lm, checkpoint):
    again = Qwen3ForCausalLM.from_pretrained(checkpoint)
    count = sum(p.numel() for p in again.parameters())
    assert lm.parameters == count
    assert lm.flops_per_token == 2 * count, "the tied embedding is the output layer"
    buffers = {b.data_ptr(): b.numel() * b.element_size() for b in again.buffers()}
    assert lm.bytes == 4 * count + sum(buffers.values())
    assert (lm.bits, lm.device) == (32, "cpu")
    assert not lm.model.training
    text = repr(lm)
    assert "\n" not in text and f"{count / 1e6:.2f} M parameters" in text and "MB, on cpu" in text
    assert all(torch.equal(a, b) for a, b in zip(lm.model.parameters(), again.parameters(), strict=True))


def test_untied_input_embedding_costs_no_flops():
    tokenizer = word_tokenizer()
    lm = LanguageModel(tiny_model(tokenizer, tied=False), tokenizer)
    assert lm.flops_per_token == 2 * (lm.parameters - len(tokenizer) * 64)


@pytest.mark.parametrize("bits", [4, 8])
def test_quantised_on_cpu(lm, checkpoint, bits):
    small = load_model(checkpoint, bits=bits)
    assert small.bits == bits
    assert small.parameters == lm.parameters
    linear = sum(m.weight.numel() for n, m in lm.model.named_modules() if n.startswith("model.layers") and "proj" in n)
    saved = (lm.bytes - small.bytes) / linear
    # Constants come on top of half a byte (or one byte) a weight.
    assert 4 - bits / 8 - 0.3 < saved < 4 - bits / 8
    drawn = small.sample(PROMPTS, n=2, max_new_tokens=8, seed=1)
    flat = [c for g in drawn for c in g]
    scored = small.score([p for p in PROMPTS for _ in range(2)], [c.token_ids for c in flat])
    # Rows of a quantised product are rounded alike whatever stands beside them, up to the layer's own rounding.
    for c, s in zip(flat, scored, strict=True):
        assert s.logprobs == pytest.approx(c.logprobs, abs=1e-4 if bits == 4 else 0.1)


def test_widths_that_a_processor_unpacks_wrongly_are_refused(checkpoint, monkeypatch):
    tried = []
    monkeypatch.setattr(checks, "unpacks_rightly", lambda width: tried.append(width) or width != 192)
    with pytest.raises(ValueError, match="layers 192 wide, which bitsandbytes unpacks wrongly .*bits=8"):
        load_model(checkpoint, bits=4)
    assert sorted(tried) == [64, 192], "every width of the model's layers, once"
    monkeypatch.setattr(checks, "unpacks_rightly", lambda width: True)
    assert load_model(checkpoint, bits=4).bits == 4


@pytest.mark.parametrize("width", [64, 96, 100, 192])
def test_the_try_of_a_width_says_what_a_layer_of_that_width_computes(width):
    """On whatever processor: the verdict agrees with the distance between a layer's outputs and its full weights'."""
    from bitsandbytes.nn import Linear4bit

    weights = torch.randn(128, width, generator=torch.Generator().manual_seed(0))
    layer = Linear4bit(width, 128, bias=False, quant_type="nf4", compute_dtype=torch.float32)
    layer.load_state_dict({"weight": weights})
    layer = layer.to("cpu")
    layer.support_avx512bf16_for_cpu = False
    with torch.no_grad():
        error = float((layer(torch.eye(width)).T - weights).norm() / weights.norm())
    # Rounding to 4 bits moves normal weights by 9 %.
    assert checks.unpacks_rightly(width) == (error < 0.15)


def test_four_bits_still_pass_gradients_after_sampling(checkpoint):
    from peft import LoraConfig, get_peft_model

    small = load_model(checkpoint, bits=4)
    small.sample(PROMPTS, max_new_tokens=4)
    model = get_peft_model(small.model, LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)).train()
    ids = torch.tensor([[5, 6, 7, 8]])
    model(input_ids=ids, labels=ids).loss.backward()
    first = [p for n, p in model.named_parameters() if "layers.0" in n and "lora" in n]
    assert first and all(p.grad is not None and p.grad.abs().sum() > 0 for p in first)


def test_adapter_is_put_on_top(lm, checkpoint, tmp_path):
    from peft import LoraConfig, get_peft_model

    adapted = get_peft_model(
        load_model(checkpoint).model, LoraConfig(r=2, target_modules=["q_proj", "up_proj"], init_lora_weights=False)
    )
    adapted.save_pretrained(tmp_path)
    loaded = load_model(checkpoint, adapter=tmp_path)
    assert loaded.parameters > lm.parameters
    text = "Question: what is 3"
    ids = torch.tensor([loaded.encode(text)])
    with torch.no_grad():
        wanted = adapted.eval()(input_ids=ids).logits[0, -1].log_softmax(-1)
    first = loaded.sample([text], max_new_tokens=1)[0][0]
    assert first.logprobs[0] == pytest.approx(wanted[first.token_ids[0]].item(), abs=1e-4)
    assert first.logprobs[0] != pytest.approx(lm.score([text], [first.token_ids])[0].logprob, abs=1e-3)
    with pytest.raises(FileNotFoundError, match="no LoRA adapter"):
        load_model(checkpoint, adapter=tmp_path / "nowhere")


def test_a_bundled_name_goes_the_same_way(checkpoint, tmp_path, monkeypatch, lm):
    shutil.copytree(checkpoint, tmp_path / "base")
    monkeypatch.setattr(resolve, "_shipped", lambda kind: tmp_path if kind == "family" else tmp_path / kind)
    assert bundled_models() == ["base"]
    assert load_model("base").sample(PROMPTS, seed=4)[0][0].token_ids == lm.sample(PROMPTS, seed=4)[0][0].token_ids
    with pytest.raises(ValueError, match="no bundled model 'bse'; did you mean 'base'\\?"):
        load_model("bse")


def test_a_cached_hub_id_goes_the_same_way(checkpoint, tmp_path, monkeypatch, capsys):
    from huggingface_hub import constants

    repository = tmp_path / "models--someone--tiny"
    shutil.copytree(checkpoint, repository / "snapshots" / ("0" * 40))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub._snapshot_download.constants.HF_HUB_CACHE", str(tmp_path))
    assert load_model("someone/tiny").name == "someone/tiny"
    assert "Downloading" not in capsys.readouterr().err
    with pytest.raises(ConnectionError, match="HF_HUB_OFFLINE forbids"):
        load_model("someone/absent")


# ---------------------------------------------------------------- failures


def hub_failure(monkeypatch, error):
    import huggingface_hub
    from huggingface_hub import constants
    from huggingface_hub.errors import LocalEntryNotFoundError

    def snapshot_download(*args, local_files_only=False, **kwargs):
        raise LocalEntryNotFoundError("not cached") if local_files_only else error

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)


def hub_error(kind):
    import httpx

    request = httpx.Request("GET", "https://example.org")
    return kind("refused", response=httpx.Response(403, request=request))


def test_hub_failures_are_one_sentence(monkeypatch, capsys):
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    hub_failure(monkeypatch, hub_error(GatedRepoError))
    with pytest.raises(ValueError, match="is gated; accept its terms"):
        load_model("someone/gated")
    assert capsys.readouterr().err.startswith("Downloading someone/gated")
    hub_failure(monkeypatch, hub_error(RepositoryNotFoundError))
    with pytest.raises(ValueError, match="no model 'someone/wrong' that you may read"):
        load_model("someone/wrong")
    hub_failure(monkeypatch, OSError("no route to host"))
    with pytest.raises(ConnectionError, match="could not be downloaded .no route to host.; check the network"):
        load_model("someone/far")


def test_failures_of_a_folder_are_one_sentence(checkpoint, tmp_path):
    def spoilt(name, change):
        folder = tmp_path / name
        shutil.copytree(checkpoint, folder)
        change(folder)
        return folder

    def cut_short(folder):
        file = folder / "model.safetensors"
        file.write_bytes(file.read_bytes()[:-500])

    def lose_a_layer(folder):
        config = json.loads((folder / "config.json").read_text())
        config["num_hidden_layers"] = 3
        config["layer_types"] = ["full_attention"] * 3
        (folder / "config.json").write_text(json.dumps(config))

    def no_tokenizer(folder):
        for file in folder.glob("tokenizer*"):
            file.unlink()

    cases = [
        (tmp_path / "nowhere", FileNotFoundError, "There is no folder"),
        (spoilt("empty", lambda f: (f / "config.json").unlink()), FileNotFoundError, "has no config.json"),
        (spoilt("bare", lambda f: (f / "model.safetensors").unlink()), FileNotFoundError, "has no weights"),
        (spoilt("cut", cut_short), ValueError, "damaged or cut short; copy or download it again"),
        (spoilt("junk", lambda f: (f / "model.safetensors").write_bytes(b"{}")), ValueError, "damaged"),
        (spoilt("json", lambda f: (f / "config.json").write_text("{")), ValueError, "no configuration"),
        (spoilt("layer", lose_a_layer), ValueError, "lacks 11 of its weights"),
        (spoilt("dumb", no_tokenizer), FileNotFoundError, "has no tokenizer; save it"),
        (spoilt("odd", lambda f: (f / "tokenizer.json").write_text("{")), ValueError, "The tokenizer of .* be read"),
    ]
    for folder, kind, sentence in cases:
        with pytest.raises(kind, match=sentence) as caught:
            load_model(folder)
        assert "\n" not in str(caught.value)


def test_other_kinds_of_model_are_refused(tmp_path):
    sizes = dict(vocab_size=20, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    BertForSequenceClassification(BertConfig(**sizes)).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="is a BertForSequenceClassification and not a causal language model"):
        load_model(tmp_path)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_no_gpu(checkpoint):
    with pytest.raises(RuntimeError, match="torch sees none; use device='cpu'"):
        load_model(checkpoint, device="cuda")


@pytest.mark.parametrize(("settings", "sentence"), [({"bits": 5}, "bits is 5"), ({"device": "tpu"}, "no device 'tpu'")])
def test_settings_that_mean_nothing(checkpoint, settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        load_model(checkpoint, **settings)


# ---------------------------------------------------------------- prompts, ends, scores


def test_rendering(lm):
    assert lm.render("as it is") == "as it is"
    assert lm.render(PROMPTS[1]) == "Question: what is 2 ?\nthen add\nAnswer: so 5"
    tokenizer = word_tokenizer(chat=True)
    chat = LanguageModel(tiny_model(tokenizer), tokenizer)
    prompt = Prompt("what is 2 ?", "then add", (("what is 1 ?", "so 1"),), "so")
    assert chat.render(prompt) == (
        "[user] what is 1 ?\nthen add\n[assistant] so 1\n[user] what is 2 ?\nthen add\n[assistant] so"
    )
    tokenizer.chat_template = CHAT.replace("[assistant]{% endif", "[assistant]\n{% endif")
    assert chat.render(prompt).endswith("[assistant]\nso"), "a template that ends in white space needs no more"


def test_ends_of_an_answer(lm):
    assert (lm.end_ids, lm.stop) == ((0, 2), ()), "several end tokens: the model knows where answers end"
    tokenizer = word_tokenizer()
    assert LanguageModel(tiny_model(tokenizer), tokenizer).stop == ("\nQuestion:",)
    tokenizer = word_tokenizer(chat=True)
    assert LanguageModel(tiny_model(tokenizer), tokenizer).stop == ()


def test_base_models_stop_before_the_next_question():
    tokenizer = word_tokenizer()
    base = LanguageModel(tiny_model(tokenizer), tokenizer)
    texts = [c.text for g in base.sample(["Question: what"], n=3, max_new_tokens=9, seed=2) for c in g]
    # Let the model write the stop string itself: the last token of a text becomes a newline and "Question:".
    written = tokenizer("\nQuestion:")["input_ids"]
    assert len(written) > 1 and texts

    def write(_, args, kwargs, out):
        for row, position in enumerate(kwargs["position_ids"][:, -1].tolist()):
            step = position - 4
            if 0 <= step < len(written):
                out.logits[row, -1] = -50.0
                out.logits[row, -1, written[step]] = 50.0

    handle = base.model.register_forward_hook(write, with_kwargs=True)
    prompt = "Question: what"
    assert len(base.encode(prompt)) == 3
    (group,) = base.sample([prompt], n=3, max_new_tokens=20, seed=2)
    handle.remove()
    for c in group:
        assert c.finish_reason == "stop" and "Question" not in c.text and c.token_ids[-len(written) :] == tuple(written)


def test_scores_equal_the_samplers_logprobs(lm):
    drawn = lm.sample(PROMPTS, n=4, max_new_tokens=20, temperature=0.8, top_k=20, seed=3)
    asked = [p for p, g in zip(PROMPTS, drawn, strict=True) for _ in g]
    flat = [c for g in drawn for c in g]
    assert len({len(c.token_ids) for c in flat}) > 1
    scored = lm.score(asked, [c.token_ids for c in flat])
    for prompt, c, s in zip(asked, flat, scored, strict=True):
        assert s.token_ids == c.token_ids
        assert s.logprobs == pytest.approx(c.logprobs, abs=1e-4)
        tokens, logits = len(lm.encode(prompt)) + len(c.token_ids) - 1, len(c.token_ids)
        assert (s.cost.scored_tokens, s.cost.flops) == (tokens, lm.prices.reading(0, tokens, logits))


def test_scores_of_text_and_in_small_batches(lm, monkeypatch):
    asked, said = ["Question: what", "Answer:", "so"], [" is 3 plus 4", " 7", ""]
    scored = lm.score(asked, said)
    assert [len(s.logprobs) for s in scored] == [4, 1, 0]
    assert scored[0].token_ids == tuple(lm.tokenizer(" is 3 plus 4")["input_ids"])
    monkeypatch.setattr(scoring, "SCORED_LOGITS", 1)
    for one, other in zip(lm.score(asked, said), scored, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-5)
    with pytest.raises(ValueError, match="2 prompts and 1 completions"):
        lm.score(["a", "b"], ["c"])


def test_one_prompt_must_be_in_a_list(lm):
    with pytest.raises(ValueError, match="put it in a list"):
        lm.sample("Question: what")
    with pytest.raises(ValueError, match="put it in a list"):
        lm.sample(PROMPTS[0])


def test_costs_of_a_group(lm):
    (group,) = lm.sample([PROMPTS[0]], n=5, max_new_tokens=6)
    cost = group_cost(group)
    drawn = sum(len(c.token_ids) for c in group)
    prompt = len(lm.encode(PROMPTS[0]))
    assert (cost.prompt_tokens, cost.generated_tokens) == (prompt, drawn)
    parts = [lm.prices.reading(prompt, prompt + len(c.token_ids) - 1, len(c.token_ids) - 1) for c in group]
    assert cost.flops == pytest.approx(lm.prices.reading(0, prompt, 1) + sum(parts))
    assert cost.peak_bytes > lm.bytes
