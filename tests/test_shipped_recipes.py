"""The recipes of the adapters that ship: equal trials that survive an interruption, and what ships with one."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from srm_utils.evaluation import paired
from srm_utils.experiments.adapter_check import read
from srm_utils.models.members import family_folder
from srm_utils.models.resolve import bundled_adapters
from srm_utils.sampling.completion import Completion, Cost
from srm_utils.tasks.worlds.stories import StoriesTask
from srm_utils.training import adapters


class Knows:
    """Solves every story as its own solution does, but those of three steps."""

    def sample(self, prompts, n, max_new_tokens, temperature):
        assert temperature == 0 and n == 1
        task = StoriesTask()
        asked = task.problems(len(prompts), split="validation", difficulty=adapters.DEPTHS, templates="held-out")
        told = ["" if p.difficulty == 3 else task.solution(p, "cot") for p in asked]
        return [(SimpleNamespace(text=text),) for text in told]


def test_trials_are_equally_many_and_each_is_kept_as_soon_as_it_is_done(monkeypatch, tmp_path):
    recipes = []

    def train(out, recipe, data, keep_early):
        if len(recipes) == 3:
            recipes.append(None)
            raise KeyboardInterrupt
        recipes.append(recipe)
        return SimpleNamespace(log=[{"loss": 0.5}], seconds=1.0)

    monkeypatch.setattr(adapters, "train_chains", train)
    monkeypatch.setattr(adapters, "load_model", lambda folder, device: Knows())
    with pytest.raises(KeyboardInterrupt):
        adapters.rate_trials(tmp_path, examples=24, problems=12)
    assert len(json.loads((tmp_path / "trials.json").read_text())["trials"]) == 3
    trials = adapters.rate_trials(tmp_path, examples=24, problems=12)
    assert [(t["method"], t["rate"]) for t in trials] == [(m, r) for m, rs in adapters.RATES_TRIED.items() for r in rs]
    assert len({len(rates) for rates in adapters.RATES_TRIED.values()}) == 1, "equal trials for both ways of training"
    assert {r.examples for r in recipes if r} == {24} and len(recipes) == 7, "finished trials are not run again"
    assert all(0 < t["accuracy"] < 1 and t["n"] == 12 for t in trials)


def test_each_operation_gives_equally_many_pairs(monkeypatch, tmp_path):
    task = StoriesTask()

    class SolvesSums:
        """Right and wrong on every story that begins with a sum, always wrong on four of five others."""

        def sample(self, prompts, n, max_new_tokens, temperature, seed, progress):
            groups = []
            for i, p in enumerate(task.problems(len(prompts), split="train", seed=1, difficulty=(1, 2))):
                solves = p.facts["steps"][0][3] == "+" or i % 5 == 0
                texts = [task.solution(p, "cot") if solves else "The answer is -1.", "The answer is -2."]
                made = [Completion(t, (i, k), (0.0, 0.0), "stop", 1, Cost()) for k, t in enumerate(texts)]
                groups.append(made)
            return groups

    seen = []
    monkeypatch.setattr(adapters, "load_model", lambda folder: SolvesSums())
    monkeypatch.setattr(adapters, "train_preferences", lambda start, pairs, *rest, **options: seen.extend(pairs))
    adapters.train_by_preferences(tmp_path, "start", problems=120)
    signs = {p.question: p.facts["steps"][0][3] for p in task.problems(120, split="train", seed=1, difficulty=(1, 2))}
    count = Counter(signs[pair.prompt.question] for pair in seen)
    assert len(count) == 3 and len(set(count.values())) == 1, count
    assert all("-" in pair.rejected.text for pair in seen)


def test_an_adapter_ships_in_half_precision_with_its_digest(tmp_path):
    trained, out = tmp_path / "trained", tmp_path / "smollm2-mine"
    trained.mkdir()
    save_file({"lora": torch.tensor([1.5, -0.25])}, trained / "adapter_model.safetensors")
    log = [{"loss": 1.0}] * 2
    facts = {"method": "lora", "trainable": 2, "tokens": 1234, "flops": 1e9, "seconds": 120.0, "log": log}
    (trained / "trained.json").write_text(json.dumps({**facts, "name": "a folder of mine"}))
    for name in ("adapter_config.json", "chat.json"):
        (trained / name).write_text("{}")
    digest = adapters.ship(trained, out, "It was taught.", "srm models train smollm2-mine")
    weights = out / "adapter_model.safetensors"
    assert load_file(weights)["lora"].dtype == torch.float16 and load_file(weights)["lora"].tolist() == [1.5, -0.25]
    card = (out / "README.md").read_text()
    assert digest == hashlib.sha256(weights.read_bytes()).hexdigest() and digest in card
    assert "2 steps, 1,234 tokens, 2 minutes" in card and "# smollm2-mine" in card
    assert "a folder of mine" not in (out / "training.json").read_text(), "no path of the machine it was trained on"


@pytest.mark.parametrize("name", bundled_adapters())
def test_every_adapter_that_ships_is_what_its_card_says(name):
    folder = family_folder().parent / "adapters" / name
    card = (folder / "README.md").read_text()
    assert hashlib.sha256((folder / "adapter_model.safetensors").read_bytes()).hexdigest() in card
    rows = [json.loads(line) for line in (folder / "check.jsonl").read_text().splitlines()]
    mine = {r["measure"]: r for r in rows if r["model"] == name}
    assert {"stories", "stories, temperature 1"} <= set(mine), "measured at temperature 0 and at 1"
    for measure in ("stories", "stories, temperature 1"):
        r = mine[measure]
        assert f"{r['value']:.2f} [{r['low']:.2f}, {r['high']:.2f}]" in card
    log = json.loads((folder / "training.json").read_text())["log"]
    assert f"{len(log)} steps" in card


def test_the_taught_model_is_thirty_points_better_than_the_prompted_one():
    rows = read(family_folder().parent / "adapters" / "smollm2-cot" / "check.jsonl")
    scores = {(r.model, r.prompt): r.scores for r in rows if r.measure == "stories"}
    before, after = scores["smollm2", "3 examples"], scores["smollm2-cot", "no example"]
    gain = paired([b - a for a, b in zip(before, after, strict=True)]).interval(0.95)
    assert gain.n == 100 and gain.low > 0.3
