"""The small model of a domain: its tokenizer, its start from the family, its training, and the one that ships."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch

from srm_utils.inference.programs import ProgramOfThought
from srm_utils.inference.solver import Budget
from srm_utils.models import bundled_models, load_model
from srm_utils.models.resolve import card_of, locate
from srm_utils.tasks import get_task
from srm_utils.tasks.problem import split_of
from srm_utils.training import domain_member
from srm_utils.training.domain_member import (
    DOMAIN_MEMBERS,
    domain_examples,
    domain_tokenizer,
    train_member,
    with_tokenizer,
)

CLINICAL = DOMAIN_MEMBERS["clinical"]


@pytest.fixture(autouse=True)
def few_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tokenizer from a few problems is quick, and has most words."""
    monkeypatch.setattr(domain_member, "READ_FOR_WORDS", 40)


def test_every_style_is_learnt_and_only_from_the_training_split():
    examples = domain_examples(CLINICAL, 60)
    assert {prompt.instruction for prompt, _ in examples} == {
        "Answer directly.", "Let us think step by step.", "Write a program."
    }  # fmt: skip
    questions = {prompt.question for prompt, _ in examples}
    problems = get_task("clinical").problems(60, split="train", seed=CLINICAL.seed)
    assert questions == {p.question for p in problems} and {split_of(p.canonical) for p in problems} == {"train"}


def test_pieces_that_both_tokenizers_know_keep_their_embedding():
    base = load_model("base", bits=32, device="cpu")
    before = base.model.get_input_embeddings().weight.detach().clone()
    old, tokenizer = base.tokenizer.get_vocab(), domain_tokenizer(get_task("clinical"))
    model = with_tokenizer(base, tokenizer)
    after, new = model.model.get_input_embeddings().weight, tokenizer.get_vocab()
    shared = [piece for piece in new if piece in old]
    assert len(shared) > 500 and "▁creatinine" in set(new) - set(old)
    assert all(torch.equal(after[new[piece]], before[old[piece]]) for piece in shared)
    assert model.chat.dialect == "family" and model.model.get_output_embeddings().weight is after
    text = "creatinine = 124 umol/L / 88.4 = 1.403 mg/dL. The answer is: cannot be computed."
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_training_lowers_the_loss_and_goes_on_where_it_stopped(tmp_path: Path):
    torch.set_num_threads(1)
    trained = train_member("clinical", tmp_path / "run", steps=6)
    losses = [entry["loss"] for entry in trained.log]
    assert losses[-1] < losses[0] and trained.method == "full"
    assert train_member("clinical", tmp_path / "run", steps=6) == trained, "a finished run is not trained again"
    digest = domain_member.ship_member(tmp_path / "run", tmp_path / "shipped")
    assert digest == hashlib.sha256((tmp_path / "shipped" / "model.safetensors").read_bytes()).hexdigest()
    assert len(json.loads((tmp_path / "shipped" / "training.json").read_text())["log"]) == 6
    assert load_model(tmp_path / "shipped", device="cpu").chat.dialect == "family"
    with pytest.raises(ValueError, match="There is no model of a domain 'surgery'; choose one of clinical"):
        train_member("surgery", tmp_path / "other")


@pytest.mark.parametrize("name", list(DOMAIN_MEMBERS))
def test_the_shipped_model_is_the_one_of_its_card_and_solves_notes(name: str):
    folder = locate(name).folder
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest() in card
    assert f"srm models train {name}" in card and "not fit for use" in card
    assert name in bundled_models() and card_of(name)[0].endswith("MB") and card_of(name)[1]
    facts = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    assert len(facts["log"]) == DOMAIN_MEMBERS[name].steps
    task, model = get_task(name), load_model(name, device="cpu")
    problems = task.problems(24, split="validation", seed=1, difficulty=1)
    attempts = ProgramOfThought(task).solve(problems, model, Budget(max_new_tokens=160))
    assert sum(a.grade == "correct" for a in attempts) >= 8
