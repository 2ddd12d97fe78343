"""Real models from a package: downloading, checking, converting, and what goes wrong on the way."""

from __future__ import annotations

import hashlib
import shutil
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM
from typer.testing import CliRunner

from srm_utils.cli.main import app
from srm_utils.models import fetch as module
from srm_utils.models import load_model
from srm_utils.models.convert import convert_gguf, cut_digits
from srm_utils.models.fetch import FETCHABLE, Package, cache_folder, fetch, fetched, why_not_here
from srm_utils.models.resolve import model_names

TEMPLATE = "{% for m in messages %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}"


@pytest.fixture(scope="module")
def network() -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=260, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=64, tie_word_embeddings=True, bos_token_id=0, eos_token_id=1,
        )
    ).eval()  # fmt: skip


@pytest.fixture(scope="module")
def gguf_file(network: LlamaForCausalLM, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama in llama.cpp's own form: query and key rows interleaved, byte-level tokens."""
    from gguf import GGUFWriter
    from tokenizers.pre_tokenizers import ByteLevel

    file = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    writer, config = GGUFWriter(file, "llama"), network.config
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    tokens = ["<|endoftext|>", "<|end|>", *sorted(ByteLevel.alphabet()), "12", "Ġ1"]
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3] + [1] * (len(tokens) - 2))
    writer.add_token_merges(["1 2", "Ġ 1"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_chat_template(TEMPLATE)
    names = {
        "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.o_proj": "attn_output",
        "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
        "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
        "model.layers": "blk", "model.embed_tokens": "token_embd", "model.norm": "output_norm",
    }  # fmt: skip
    for name, weight in network.state_dict().items():
        array = weight.numpy().astype(np.float32)
        for ours, theirs in names.items():
            name = name.replace(ours, theirs)
        if "attn_q" in name or "attn_k" in name:
            heads = config.num_attention_heads if "attn_q" in name else config.num_key_value_heads
            array = array.reshape(heads, 2, -1, array.shape[1]).swapaxes(1, 2).reshape(array.shape)
        if name != "lm_head.weight":
            writer.add_tensor(name, np.ascontiguousarray(array))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


@pytest.fixture
def package(gguf_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wheel that holds the tiny model, in the place of the real one; returns the wheel."""
    monkeypatch.setenv("SRM_CACHE", str(tmp_path / "cache"))
    digest = hashlib.sha256(gguf_file.read_bytes()).hexdigest()
    made = Package("Tiny", "tiny==1", "tiny/tiny.gguf", digest, 1, 1, "Apache-2.0", "allal2025smollm2", "a test.")
    monkeypatch.setitem(FETCHABLE, "tiny", made)
    wheel = tmp_path / "tiny-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(gguf_file, "tiny/tiny.gguf")
    return wheel


def copying(wheel: Path, calls: list[str]):
    def download(requirement: str, folder: Path) -> Path:
        calls.append(requirement)
        return Path(shutil.copy(wheel, folder))

    return download


def test_a_converted_file_computes_and_tokenises_as_the_model_it_was_made_of(gguf_file, network, tmp_path):
    folder = convert_gguf(gguf_file, tmp_path / "out")
    again = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ids = torch.tensor([[5, 9, 200, 3, 77]])
    with torch.no_grad():
        assert torch.allclose(again(ids).logits, network(ids).logits, atol=1e-5)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    pieces = tokenizer.convert_ids_to_tokens(tokenizer("a 12")["input_ids"])
    assert pieces == ["a", "Ġ", "1", "2"], "each digit stands alone, though the merges would join them"
    assert tokenizer.chat_template == TEMPLATE and tokenizer.decode(tokenizer("x = 12\n")["input_ids"]) == "x = 12\n"
    assert not list(tmp_path.glob(".out-*")), "nothing half-written is left"


def test_another_way_of_cutting_is_refused_and_the_common_one_left(gguf_file, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(convert_gguf(gguf_file, tmp_path / "out"))
    before = tokenizer.backend_tokenizer.to_str()
    cut_digits(tokenizer, "gpt-2", "x.gguf")
    assert tokenizer.backend_tokenizer.to_str() == before
    with pytest.raises(ValueError, match="x.gguf cuts text in the way 'tekken', which is not known here"):
        cut_digits(tokenizer, "tekken", "x.gguf")


@pytest.mark.parametrize("kept", [0, 3, 40, 2000, 20_000])
def test_a_cut_file_is_one_sentence_and_leaves_nothing(gguf_file, tmp_path, kept):
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(gguf_file.read_bytes()[:kept])
    with pytest.raises(ValueError, match="cut.gguf .*(no whole GGUF file|cannot be read)"):
        convert_gguf(cut, tmp_path / "out")
    assert {p.name for p in tmp_path.iterdir()} == {"cut.gguf"}


def test_a_gguf_file_and_a_folder_with_one_load_like_any_model(gguf_file, tmp_path, monkeypatch):
    monkeypatch.setenv("SRM_CACHE", str(tmp_path / "cache"))
    model = load_model(gguf_file, device="cpu")
    (said,) = model.sample(["a 12"], 1, 4, temperature=0)[0]
    assert len(said.token_ids) <= 4 and model.chat.template
    (tmp_path / "folder").mkdir()
    shutil.copy(gguf_file, tmp_path / "folder" / "one.gguf")
    assert load_model(tmp_path / "folder", device="cpu").parameters == model.parameters
    shutil.copy(gguf_file, tmp_path / "folder" / "two.gguf")
    with pytest.raises(ValueError, match="holds 2 GGUF files; give the path of one"):
        load_model(tmp_path / "folder")


def test_fetching_downloads_once_and_the_name_then_loads(package):
    calls: list[str] = []
    assert fetched("tiny") is None
    with pytest.raises(FileNotFoundError, match="'tiny' is not on this machine; `srm models fetch tiny` downloads it"):
        load_model("tiny")
    folder = fetch("tiny", copying(package, calls))
    assert folder == fetch("tiny", copying(package, calls)) == fetched("tiny") and calls == ["tiny==1"]
    assert folder.is_relative_to(cache_folder()) and load_model("tiny", device="cpu").parameters > 0
    assert {p.name for p in folder.parent.iterdir()} == {"tiny", "tiny.lock"}


def test_several_at_once_do_no_harm(package):
    calls: list[str] = []
    with ThreadPoolExecutor(3) as pool:
        folders = list(pool.map(lambda _: fetch("tiny", copying(package, calls)), range(3)))
    assert len(set(folders)) == 1 and len(calls) == 1


def test_a_download_that_breaks_off_is_begun_again(package, tmp_path):
    def broken(requirement: str, folder: Path) -> Path:
        (folder / "half.whl").write_bytes(package.read_bytes()[:500])
        return folder / "half.whl"

    def absent(requirement: str, folder: Path) -> Path:
        raise ConnectionError("no network.")

    with pytest.raises(ValueError, match="download of Tiny is damaged or another package .*; fetch it again"):
        fetch("tiny", broken)
    with pytest.raises(ConnectionError, match="no network"):
        fetch("tiny", absent)
    assert fetched("tiny") is None
    assert fetch("tiny", copying(package, [])) == fetched("tiny")


def test_weights_with_another_digest_are_refused(package, monkeypatch):
    monkeypatch.setitem(FETCHABLE, "tiny", module.Package(**{**vars_of(FETCHABLE["tiny"]), "sha256": "0" * 64}))
    with pytest.raises(ValueError, match="weights of Tiny are not those .*digest differs"):
        fetch("tiny", copying(package, []))
    assert fetched("tiny") is None


def vars_of(package: Package) -> dict:
    return {name: getattr(package, name) for name in Package.__slots__}


def test_pip_says_no_in_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(module.sys, "executable", shutil.which("false") or "/bin/false")
    with pytest.raises(ConnectionError, match="could not be downloaded from your package index"):
        module.pip_download("x==1", tmp_path)


def test_names_and_the_command(package, monkeypatch):
    assert "smollm2" in model_names() and "93 MB, Apache-2.0" in why_not_here("smollm2")
    with pytest.raises(ValueError, match="no model 'smol' to fetch; choose one of smollm2"):
        fetch("smol")
    monkeypatch.setattr(module, "pip_download", copying(package, []))
    shown = CliRunner().invoke(app, ["models"])
    assert shown.exit_code == 0 and "srm models fetch tiny" in shown.output and "instruct" in shown.output
    done = CliRunner().invoke(app, ["models", "fetch", "tiny"])
    assert done.exit_code == 0 and fetched("tiny") is not None
    assert "fetched" in CliRunner().invoke(app, ["models"]).output


def test_set_up_goes_on_without_it(package, monkeypatch):
    def absent(requirement: str, folder: Path) -> Path:
        raise ConnectionError("It could not be downloaded.")

    monkeypatch.setattr(module, "pip_download", absent)
    left_out = CliRunner().invoke(app, ["models", "fetch", "tiny", "--optional"])
    assert left_out.exit_code == 0 and "tiny was left out. It could not be downloaded." in left_out.output
    assert CliRunner().invoke(app, ["models", "fetch", "tiny"]).exit_code == 1
