"""The plain loop: the loss is that of the full logits, a resumed run ends alike, an adapter goes on being trained."""

from __future__ import annotations

import json

import pytest
import torch

from srm_utils.models import Chat, load_model
from srm_utils.tasks import get_task
from srm_utils.tasks.worlds.stories import StoriesTask
from srm_utils.training import adapters, supervised_loop
from srm_utils.training.supervised import SupervisedConfig, encode_example, sft_loss
from srm_utils.training.supervised_loop import answer_loss, batches_of, train_on_answers


@pytest.fixture(scope="module")
def examples():
    task = get_task("chain")
    problems = task.problems(24, split="train", difficulty=(1, 2, 4))
    return [(task.prompt(p, "cot"), task.solution(p, "cot")) for p in problems]


def config(**changes) -> SupervisedConfig:
    return SupervisedConfig(**{"method": "lora", "steps": 4, "batch_size": 4, "save_every": 2, **changes})


def weights(folder) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(next(folder.glob("*model.safetensors")))


def test_the_loss_is_that_of_the_full_logits_on_a_ragged_batch(examples):
    model = load_model("base-small", device="cpu")
    rows = [encode_example(model, *example) for example in examples[:5]]
    width = max(len(r["input_ids"]) for r in rows)
    assert len({len(r["input_ids"]) for r in rows}) > 1
    ids = torch.tensor([r["input_ids"] + [0] * (width - len(r["input_ids"])) for r in rows])
    labels = torch.tensor([r["labels"] + [-100] * (width - len(r["labels"])) for r in rows])
    with torch.no_grad():
        whole = sft_loss(model.model(input_ids=ids, use_cache=False).logits, labels)
        assert float(answer_loss(model, rows)) == pytest.approx(float(whole), abs=1e-5)


def test_training_lowers_the_loss_and_says_whose_adapter_it_is(examples, tmp_path):
    done = train_on_answers(
        "base-small", examples, config(steps=12, learning_rate=3e-3), tmp_path / "a", keep_at=(3,), device="cpu"
    )
    assert done.log[-1]["loss"] < done.log[0]["loss"] and done.trainable < done.parameters
    saved = json.loads((tmp_path / "a" / "adapter_config.json").read_text())
    assert saved["base_model_name_or_path"] == "base-small", "a name, and no path of this machine"
    assert load_model(tmp_path / "a", device="cpu").chat.dialect == "family"
    early, late = weights(tmp_path / "a" / "step-3"), weights(tmp_path / "a")
    assert set(early) == set(late) and any(not torch.equal(early[k], late[k]) for k in early)
    text = load_model(tmp_path / "a", device="cpu", merge=True).sample([examples[0][0]], 1, 8, temperature=0)[0][0].text
    assert text == load_model(tmp_path / "a", device="cpu").sample([examples[0][0]], 1, 8, temperature=0)[0][0].text


def test_a_resumed_run_ends_with_the_same_weights(examples, tmp_path, monkeypatch):
    whole = train_on_answers("base-small", examples, config(), tmp_path / "whole", device="cpu")
    real, calls = supervised_loop.answer_loss, []

    def broken(policy, batch):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(policy, batch)

    monkeypatch.setattr(supervised_loop, "answer_loss", broken)
    with pytest.raises(KeyboardInterrupt):
        train_on_answers("base-small", examples, config(), tmp_path / "cut", device="cpu")
    monkeypatch.setattr(supervised_loop, "answer_loss", real)
    again = train_on_answers("base-small", examples, config(), tmp_path / "cut", device="cpu")
    a, b = weights(whole.folder), weights(again.folder)
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert [e["loss"] for e in whole.log] == [e["loss"] for e in again.log]


def test_an_adapter_goes_on_being_trained(examples, tmp_path):
    first = train_on_answers("base-small", examples, config(), tmp_path / "first", device="cpu")
    second = train_on_answers(
        str(first.folder), examples, config(learning_rate=1e-3, seed=1), tmp_path / "second", device="cpu"
    )
    assert second.log[0]["loss"] < first.log[0]["loss"] and second.trainable == first.trainable
    saved = json.loads((tmp_path / "second" / "adapter_config.json").read_text())
    assert saved["base_model_name_or_path"] == "base-small"


def test_the_chat_of_training_is_kept_with_the_weights(examples, tmp_path):
    train_on_answers(
        "instruct", examples, config(steps=1), tmp_path / "plain", chat=Chat(template=False, dialect="family"),
        device="cpu",
    )  # fmt: skip
    chat = load_model(tmp_path / "plain", device="cpu").chat
    assert not chat.template and chat.end_ids == load_model("instruct", device="cpu").chat.end_ids


def test_what_cannot_be_trained_is_refused_in_a_sentence(examples, tmp_path):
    with pytest.raises(ValueError, match="no examples to train on"):
        train_on_answers("base-small", [], config(), tmp_path)
    with pytest.raises(ValueError, match="trains on answers only"):
        train_on_answers("base-small", examples, config(answers_only=False), tmp_path)


def test_batches_hold_every_row_once_an_epoch_and_like_lengths_together():
    rows = [{"input_ids": [0] * n, "labels": [0] * n} for n in range(1, 65)]
    source = batches_of(rows, 4, seed=3)
    epoch = [next(source) for _ in range(16)]
    assert sorted(len(r["input_ids"]) for batch in epoch for r in batch) == list(range(1, 65))
    spread = [max(len(r["input_ids"]) for r in b) - min(len(r["input_ids"]) for r in b) for b in epoch]
    assert max(spread) < 16 and next(batches_of(rows, 4, seed=3)) == epoch[0]


def test_the_mixture_of_the_chains_adapter_holds_training_problems_only(tmp_path, monkeypatch):
    file = tmp_path / "gsm8k_train.jsonl"
    rows = [{"question": f"What is {i} + {i}?", "answer": f"{i} + {i} = {2 * i}\n#### {2 * i}"} for i in range(200)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    made = adapters.chain_examples(24, data=tmp_path)
    assert len(made) == 24 and sum("Give only the answer" in prompt.plain for prompt, _ in made) == 2
    told = {prompt.question for prompt, _ in made}
    stories = StoriesTask()
    for split in ("validation", "test", "confirm"):
        assert not told & {p.question for p in stories.problems(100, split=split, difficulty=(1, 2, 3, 4))}
    assert len(told & {row["question"] for row in rows}) == 4
    assert all(answer.rstrip().endswith(".") and "The answer is" in answer for _, answer in made)
