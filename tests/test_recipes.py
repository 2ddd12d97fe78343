"""Recipes: one bill over all stages, stages shared and gone on with, plain errors."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from srm_utils.models import load_model
from srm_utils.tasks.problem import Grade
from srm_utils.tasks.worlds.chain import ChainTask
from srm_utils.training import recipes
from srm_utils.training.methods import Request
from srm_utils.training.recipes import train_recipe

#: What five steps of fine-tuning on four examples take on the tiny model, about.
BUDGET = 5e8


@pytest.fixture(autouse=True)
def lenient(monkeypatch) -> None:
    """A grader for a model that knows nothing: right is what has an even number of characters."""

    def grade(self, text, problem):
        return Grade.WRONG if len(text) % 2 else Grade.CORRECT

    monkeypatch.setattr(ChainTask, "grade", grade)


@pytest.fixture
def request_(tiny_checkpoint, tmp_path) -> Request:
    return Request(
        str(tiny_checkpoint), "chain", tmp_path / "runs", flops=BUDGET, batch_size=4, samples=4, max_new_tokens=6,
        difficulty=(1,), save_every=1, device="cpu",
    )  # fmt: skip


def weights(folder: str | Path) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in load_model(folder, device="cpu").model.parameters()])


def asked(folder: Path) -> dict:
    return json.loads((folder / "method.json").read_text())["asked"]


def test_stages_follow_one_another_on_one_budget(request_) -> None:
    first, second = train_recipe(("supervised", "dr-grpo"), request_)
    assert [first.method, second.method] == ["supervised", "dr-grpo"]
    assert asked(first.folder)["flops"] == BUDGET / 2
    assert asked(second.folder)["flops"] == BUDGET - first.flops, "what one stage leaves is the next one's"
    assert 0.75 * BUDGET < first.flops + second.flops <= BUDGET
    assert asked(second.folder)["model"] == str(first.folder)
    assert not torch.equal(weights(first.folder), weights(second.folder))


def test_a_stage_that_two_recipes_share_is_trained_once(request_, tiny_checkpoint) -> None:
    shared = replace(request_, teacher=str(tiny_checkpoint))
    short = train_recipe(("supervised", "dr-grpo"), shared)
    stamp = (short[0].folder / "model.safetensors").stat().st_mtime_ns
    other = train_recipe(("supervised", "supervised"), shared)
    assert short[0] == other[0] and short[1].folder != other[1].folder
    assert (other[0].folder / "model.safetensors").stat().st_mtime_ns == stamp
    assert len(list(shared.out.iterdir())) == 3
    assert train_recipe(("supervised",), shared)[0].folder != short[0].folder, "a whole budget is another run"
    elsewhere = replace(shared, seed=1)
    assert train_recipe(("supervised", "dr-grpo"), elsewhere)[0].folder != short[0].folder


def test_each_stage_asks_questions_of_its_own(request_) -> None:
    first, second = train_recipe(("supervised", "supervised"), request_)
    one, two = (json.loads((o.folder / "data.json").read_text())["rows"] for o in (first, second))
    assert one[:4] != two[:4]


def test_only_those_who_need_a_teacher_get_one_and_methods_keep_their_own_settings(request_, tiny_checkpoint) -> None:
    taught = replace(request_, teacher=str(tiny_checkpoint), flops=2 * BUDGET)
    own = {"sequence-distillation": {"batch_size": 2, "learning_rate": 1e-4}}
    first, second = train_recipe(("supervised", "sequence-distillation"), taught, own)
    assert asked(first.folder)["teacher"] is None and asked(second.folder)["teacher"] == str(tiny_checkpoint)
    assert [asked(o.folder)["batch_size"] for o in (first, second)] == [4, 2]
    assert [asked(o.folder)["learning_rate"] for o in (first, second)] == [None, 1e-4]
    assert second.data_flops > 0


def test_adapters_are_merged_before_the_next_stage(request_) -> None:
    first, second = train_recipe(("supervised", "supervised"), replace(request_, weights="lora"))
    assert asked(second.folder)["weights"] == "lora" and asked(second.folder)["model"] == str(first.folder)
    assert second.trainable < second.parameters == load_model(second.folder, device="cpu").parameters
    assert not torch.equal(weights(first.folder), weights(second.folder))


def test_a_killed_recipe_goes_on_and_ends_with_the_same_weights(request_, monkeypatch) -> None:
    recipe, whole = ("supervised", "dr-grpo"), replace(request_, out=request_.out / "whole")
    expected = train_recipe(recipe, whole)[-1]
    trained = recipes.train

    def killed(method, request):
        if method == "dr-grpo":
            raise KeyboardInterrupt
        return trained(method, request)

    monkeypatch.setattr(recipes, "train", killed)
    with pytest.raises(KeyboardInterrupt):
        train_recipe(recipe, replace(request_, out=request_.out / "killed"))
    begun = []
    monkeypatch.setattr(recipes, "train", lambda method, request: begun.append(method) or trained(method, request))
    first, second = train_recipe(recipe, replace(request_, out=request_.out / "killed"))
    assert begun == list(recipe) and second.folder.name == expected.folder.name
    assert torch.equal(weights(second.folder), weights(expected.folder))


@pytest.mark.parametrize(
    ("recipe", "changes", "said"),
    [
        ((), {}, "at least one stage"),
        (("supervised", "grppo"), {}, "no training method 'grppo'"),
        (("supervised", "forward-kl"), {}, "forward-kl learns from a teacher"),
        (("supervised",), {"flops": None, "steps": 2}, "in place of steps"),
    ],
)
def test_mistakes_are_said_in_one_sentence_before_anything_is_trained(recipe, changes, said, request_) -> None:
    with pytest.raises(ValueError, match=said) as error:
        train_recipe(recipe, replace(request_, **changes))
    assert str(error.value).count(". ") == 0
    assert not request_.out.exists()
