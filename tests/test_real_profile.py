"""The notebooks that are prepared for a real model: they say so, and none rests on what a model does."""

from __future__ import annotations

from pathlib import Path

import nbformat
import papermill
import pytest
from traitlets.config import Config

from srm_utils.collection.catalogue import cell_source, read_catalogue, read_json
from srm_utils.collection.profiles import PROFILES
from srm_utils.evaluation import read_results
from srm_utils.tasks import get_task

ROOT = Path(__file__).resolve().parents[1]
CODE = {
    n.name: "\n".join(cell_source(c) for c in read_json(n.path)["cells"] if c["cell_type"] == "code")
    for n in read_catalogue(ROOT / "notebooks")
}
PREPARED = {name for name, code in CODE.items() if "on_real_model=True" in code}
#: Notebooks whose experiments a person can see on the real model within minutes.
PROMISED = {
    "1_training/12_supervised_finetuning",
    "2_inference/21_chain_of_thought",
    "2_inference/22_sampling_and_voting",
    "2_inference/26_programs_and_tools",
    "2_inference/28_thinking_budget",
}


def test_the_notebooks_that_were_promised_are_prepared() -> None:
    assert PROMISED <= PREPARED


@pytest.mark.parametrize("name", sorted(PREPARED))
def test_a_prepared_notebook_judges_claims_in_the_world_that_it_measured(name: str) -> None:
    assert CODE[name].count("judge(") == CODE[name].count("world=settings.world")


@pytest.mark.parametrize("name", sorted(CODE))
def test_no_notebook_asks_which_profile_it_runs_under(name: str) -> None:
    assert "settings.name" not in CODE[name] and "profile in " not in CODE[name]


def test_the_tasks_of_every_profile_on_this_machine_are_known_and_have_its_difficulties() -> None:
    for profile in (PROFILES["cpu"], PROFILES["real"]):
        for name in (profile.task, profile.plan_task, profile.search_task, profile.check_task, profile.new_domain):
            assert get_task(name).problems(1, split="validation")
        assert set(profile.difficulties or ()) <= set(get_task(profile.task).difficulties)


@pytest.fixture(scope="module")
def strange_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model of a foreign kind: byte-level tokens, a chat template, and no word of the family's language."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("strange")
    core = Tokenizer(models.BPE())
    core.pre_tokenizer, core.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    stories = get_task("stories")
    texts = [f"{p.question}\n{stories.solution(p, 'cot')}" for p in stories.problems(60, split="train")]
    special = ["<pad>", "<s>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    core.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=600, special_tokens=special, initial_alphabet=alphabet)
    )
    words = PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", bos_token="<s>", eos_token="<|im_end|>",
        chat_template="{% for m in messages %}{{ m.role }}: {{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}",
    )  # fmt: skip
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(words), hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=4096, bos_token_id=1, eos_token_id=2, pad_token_id=0,
        tie_word_embeddings=True, initializer_range=0.3,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["2_inference/21_chain_of_thought", "2_inference/26_programs_and_tools"])
def test_a_model_that_knows_nothing_stops_no_notebook(
    name: str, strange_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MPLBACKEND", raising=False)
    config = Config()
    config.KernelManager.transport = "ipc"
    config.KernelManager.ip = str(tmp_path / "k")
    out = tmp_path / "out.ipynb"
    given = {"profile": f"real:{strange_model}", "n_problems": 2}
    path = ROOT / "notebooks" / f"{name}.ipynb"
    papermill.execute_notebook(str(path), str(out), given, config=config, progress_bar=False, log_output=False)
    results = read_results(nbformat.read(out, 4))
    assert {r.model for r in results} == {str(strange_model)}, "every number names the model it was measured on"
    assert not [r for r in results if r.claim_id], "no claim about the bundled models is judged on another"
    assert [r for r in results if "finding" in r.extra]
