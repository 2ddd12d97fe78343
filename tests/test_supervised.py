"""Supervised fine-tuning: the loss, what is trained on, three methods, and going on after a kill."""

from __future__ import annotations

import subprocess
import sys
import warnings

import pytest
import torch

from srm_utils.models import LanguageModel, load_model
from srm_utils.models.tokenizer import build_tokenizer
from srm_utils.tasks import get_task
from srm_utils.tasks.problem import Prompt
from srm_utils.training import SupervisedConfig, TrainedModel, merge_adapter, sft_loss, train_supervised
from srm_utils.training import supervised as module

METHODS = ("full", "lora", "qlora")
TASK = get_task("chain")
PROBLEMS = TASK.problems(12, split="train", difficulty=(1, 3))
EXAMPLES = [
    (TASK.prompt(p, "unmarked"), TASK.solution(p, "cot" if i % 2 else "direct")) for i, p in enumerate(PROBLEMS)
]


def tokenizer(chat=False):
    problems = TASK.problems(60, split="train")
    return build_tokenizer([f"{p.question} {TASK.solution(p, 'verbose')}" for p in problems], chat)


@pytest.fixture
def checkpoint(untrained_checkpoint):
    return untrained_checkpoint


def state(trained: TrainedModel) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in trained.load("cpu").model.state_dict().items()}


# ---------------------------------------------------------------- the loss


@pytest.mark.parametrize("answers_only", [True, False])
def test_the_loss_is_trls_on_a_ragged_batch(checkpoint, tmp_path, answers_only):
    from datasets import Dataset

    policy = load_model(checkpoint, device="cpu")
    rows = [module.encode_example(policy, *e, answers_only=answers_only) for e in EXAMPLES]
    assert len({len(r["input_ids"]) for r in rows}) > 3
    config = SupervisedConfig(batch_size=6, answers_only=answers_only)
    trainer = module.sft_trainer(policy, Dataset.from_list(rows), config, tmp_path)
    batch = trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
    trainer.current_gradient_accumulation_steps = 1
    theirs = float(trainer.compute_loss(trainer.model, dict(batch)).detach())
    fresh = load_model(checkpoint, device="cpu").model
    with torch.no_grad():
        logits = fresh(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    assert float(sft_loss(logits, batch["labels"])) == pytest.approx(theirs, abs=2e-6)
    # A mean of the rows' own means is another number on a ragged batch.
    rowwise = torch.stack([sft_loss(a[None], b[None]) for a, b in zip(logits, batch["labels"], strict=True)]).mean()
    assert abs(float(rowwise) - theirs) > 1e-4


# ---------------------------------------------------------------- what is trained on


@pytest.mark.parametrize("chat", [False, True])
def test_an_example_is_the_rendered_prompt_the_answer_and_an_end(checkpoint, chat):
    words = tokenizer(chat)
    model = LanguageModel(load_model(checkpoint, device="cpu").model, words)
    for task in map(get_task, ("chain", "graph", "countdown", "sorting")):
        for problem in task.problems(4, split="train"):
            for style in task.styles:
                prompt, answer = task.prompt(problem, style), task.solution(problem, style)
                row = module.encode_example(model, prompt, answer)
                whole = f"{model.render(prompt)} {answer}{words.eos_token}"
                assert row["input_ids"] == words(whole, add_special_tokens=False)["input_ids"]
                learnt = [t for t in row["labels"] if t != -100]
                assert words.decode(learnt) == f" {answer}{words.eos_token}"
                assert row["input_ids"][: -len(learnt)] == model.encode(prompt)
                assert row["labels"][: -len(learnt)] == [-100] * (len(row["labels"]) - len(learnt))
                if chat:
                    said = [{"role": "user", "content": f"{prompt.question} {prompt.instruction}".strip()}]
                    said.append({"role": "assistant", "content": answer})
                    assert words.apply_chat_template(said, tokenize=True)["input_ids"] == row["input_ids"]
    row = module.encode_example(model, prompt, answer, answers_only=False)
    assert row["labels"] == row["input_ids"]


def test_an_answer_follows_a_line_break_without_a_space(checkpoint):
    words = tokenizer()
    words.chat_template = "{% for m in messages %}{{ m.content }}\n{% endfor %}"
    model = LanguageModel(load_model(checkpoint, device="cpu").model, words)
    row = module.encode_example(model, Prompt("How many apples?"), "7.")
    assert words.decode(row["input_ids"]) == f"How many apples?\n7.{words.eos_token}"


# ---------------------------------------------------------------- training


@pytest.mark.parametrize("method", METHODS)
def test_training_teaches_the_answers_and_where_they_end(checkpoint, tmp_path, method, capfd):
    few = EXAMPLES[:4]
    config = SupervisedConfig(method, steps=60, batch_size=4, learning_rate=0.01, rank=8, alpha=16)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        trained = train_supervised(checkpoint, few, config, tmp_path, device="cpu")
        model = trained.load("cpu")
    assert [str(w.message) for w in warned] == [] and capfd.readouterr() == ("", "")
    for (_, answer), (drawn,) in zip(few, model.sample([p for p, _ in few], temperature=0), strict=True):
        assert (drawn.text.strip(), drawn.finish_reason) == (answer, "stop")
    assert [e["step"] for e in trained.log] == list(range(1, 61))
    # Adapters leave the random embeddings alone and so keep some loss.
    assert trained.log[-1]["loss"] < 0.3 * trained.log[0]["loss"]
    length = sum(len(module.encode_example(model, *e)["input_ids"]) for e in few)
    assert trained.tokens == 60 * length and [e["tokens"] for e in trained.log] == [length * i for i in range(1, 61)]
    assert trained.seconds == trained.log[-1]["seconds"] > trained.log[0]["seconds"] > 0


def test_what_training_takes_is_counted(checkpoint, tmp_path):
    took = {
        m: train_supervised(checkpoint, EXAMPLES, SupervisedConfig(m, steps=2, rank=4), tmp_path / m, device="cpu")
        for m in METHODS
    }
    n = load_model(checkpoint, device="cpu").parameters
    # q, k, v, o, gate, up, down of two layers: rank x (in + out)
    adapters = 2 * 4 * ((64 + 64) + 2 * (64 + 32) + (64 + 64) + 3 * (64 + 128))
    assert [took[m].trainable for m in METHODS] == [n, adapters, adapters]
    assert [took[m].parameters for m in METHODS] == [n, n + adapters, n + adapters]
    # Weights, gradients and two moments in float32, and what else the model holds (rotary frequencies, step counters).
    assert took["full"].bytes == pytest.approx(16 * n, rel=0.01)
    assert took["lora"].bytes == pytest.approx(4 * n + 16 * adapters, rel=0.01)
    assert took["qlora"].bytes < took["lora"].bytes < took["full"].bytes
    assert took["full"].flops == 6 * n * took["full"].tokens
    assert took["lora"].flops == (4 * (n + adapters) + 2 * adapters) * took["lora"].tokens
    assert took["lora"].saved_bytes == pytest.approx(4 * adapters, rel=0.2)


@pytest.mark.parametrize("method", METHODS)
def test_a_killed_run_goes_on_and_ends_with_the_same_weights(checkpoint, tmp_path, method, monkeypatch):
    from trl import SFTTrainer

    config = SupervisedConfig(method, steps=7, batch_size=5, learning_rate=0.01, rank=4, save_every=2)
    whole = train_supervised(checkpoint, EXAMPLES, config, tmp_path / "whole", device="cpu")
    step, calls = SFTTrainer.training_step, []

    def killed(self, *args, **kwargs):
        calls.append(1)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return step(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(SFTTrainer, "training_step", killed)
        with pytest.raises(KeyboardInterrupt):
            train_supervised(checkpoint, EXAMPLES, config, tmp_path / "cut", device="cpu")
    # A newer checkpoint that the kill cut short must not be taken.
    (tmp_path / "cut" / "checkpoints" / "checkpoint-6").mkdir()
    calls.clear()
    monkeypatch.setattr(SFTTrainer, "training_step", lambda *a, **k: (calls.append(1), step(*a, **k))[1])
    resumed = train_supervised(checkpoint, EXAMPLES, config, tmp_path / "cut", device="cpu")
    assert len(calls) == 3, "steps 5 to 7, after the checkpoint at 4"
    a, b = state(whole), state(resumed)
    assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
    assert [e["loss"] for e in whole.log] == [e["loss"] for e in resumed.log]
    assert resumed.tokens == whole.tokens
    assert not (tmp_path / "cut" / "checkpoints").exists()
    again = train_supervised(checkpoint, EXAMPLES, config, tmp_path / "cut", device="cpu")
    assert len(calls) == 3 and again == resumed, "a finished run is returned, not trained again"


def test_qlora_adapters_stay_float32_and_every_one_moves(checkpoint, tmp_path):
    from datasets import Dataset

    policy = load_model(checkpoint, bits=4, device="cpu")
    rows = Dataset.from_list([module.encode_example(policy, *e) for e in EXAMPLES])
    trainer = module.sft_trainer(policy, rows, SupervisedConfig("qlora", steps=3, learning_rate=1e-5), tmp_path)
    trained = {k: p for k, p in trainer.model.named_parameters() if p.requires_grad}
    assert {p.dtype for p in trained.values()} == {torch.float32} and all("lora_" in k for k in trained)
    before = {k: p.detach().clone() for k, p in trained.items() if "lora_A" in k}
    trainer.train()
    moved = [float((trained[k] != w).float().mean()) for k, w in before.items()]
    assert min(moved) > 0.9, "in bfloat16 almost no entry would move at this rate"


@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_a_merged_adapter_is_the_same_model(checkpoint, tmp_path, method):
    config = SupervisedConfig(method, steps=8, learning_rate=0.01, rank=4)
    trained = train_supervised(checkpoint, EXAMPLES, config, tmp_path / "run", device="cpu")
    merged = load_model(merge_adapter(trained, tmp_path / "merged", device="cpu"), device="cpu")
    adapted, plain = trained.load("cpu"), load_model(checkpoint, bits=module.BITS[method], device="cpu")
    assert merged.bits == 32 and merged.parameters == load_model(checkpoint, device="cpu").parameters
    ids = torch.tensor([merged.encode(EXAMPLES[0][0])])
    with torch.no_grad():
        one, two, base = (m.model(input_ids=ids).logits for m in (adapted, merged, plain))
    assert float((one - two).abs().max()) < 1e-3 < 0.1 < float((one - base).abs().max())


def test_a_model_in_memory_is_trained_from_the_weights_it_has(checkpoint, tmp_path):
    model = load_model(checkpoint, device="cpu")
    with torch.no_grad():
        for p in model.model.parameters():
            p.mul_(0.5)
    before = {k: v.clone() for k, v in model.model.state_dict().items()}
    config = SupervisedConfig("full", steps=1, learning_rate=1e-9)
    trained = train_supervised(model, EXAMPLES, config, tmp_path, device="cpu")
    assert all(torch.equal(v, before[k]) for k, v in model.model.state_dict().items()), "the model given is left alone"
    after = state(trained)
    assert all(torch.allclose(after[k], before[k], atol=1e-7) for k in before)


# ---------------------------------------------------------------- what cannot be


def test_mistakes_are_told_in_one_sentence(checkpoint, tmp_path):
    def train(examples, config):
        return train_supervised(checkpoint, examples, config, tmp_path / "run", device="cpu")

    config = SupervisedConfig(steps=1)
    with pytest.raises(ValueError, match="no examples"):
        train([], config)
    with pytest.raises(ValueError, match="no method 'dora'"):
        SupervisedConfig("dora")
    with pytest.raises(ValueError, match="at least 1"):
        SupervisedConfig(steps=0)
    with pytest.raises(ValueError, match="learning_rate above 0"):
        SupervisedConfig(learning_rate=0)
    with pytest.raises(ValueError, match="is empty"):
        train([(Prompt("What?"), " ")], config)
    with pytest.raises(ValueError, match="reads 256"):
        train([(Prompt("apples " * 300), "7.")], config)
    done = train(EXAMPLES, config)
    with pytest.raises(ValueError, match="another folder"):
        train(EXAMPLES[1:], config)
    with pytest.raises(ValueError, match="another folder"):
        train(EXAMPLES, SupervisedConfig(steps=1, seed=1))
    with pytest.raises(ValueError, match="no adapter to merge"):
        merge_adapter(done, tmp_path / "merged")
    adapted = train_supervised(checkpoint, EXAMPLES, SupervisedConfig("lora", steps=1), tmp_path / "lora", device="cpu")
    with pytest.raises(ValueError, match="carries an adapter"):
        train_supervised(adapted.load("cpu"), EXAMPLES, config, tmp_path / "next", device="cpu")


def test_importing_the_room_does_not_import_trl():
    code = "import sys, srm_utils.training; assert not {'trl', 'peft', 'datasets', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
