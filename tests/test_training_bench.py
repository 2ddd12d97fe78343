"""`srm bench train`: the same work on both sides, lines that add up, and a comparison of gradients that can fail."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from srm_utils.experiments import bench_training as bench
from srm_utils.experiments.bench_training import GENERATE, MIXED, OURS, Work, bench_training, gradient_gap
from srm_utils.tasks import get_task

TASK = get_task("chain")


@pytest.fixture(scope="module")
def model(tiny_checkpoint) -> str:
    return str(tiny_checkpoint)


@pytest.fixture(scope="module")
def measured(model):
    said: list[str] = []
    sizes = {"prompts": 3, "samples": 2, "max_new_tokens": 5, "repeats": 1, "batch_size": 3}
    return bench_training(model, **sizes, say=said.append), said


def test_every_part_is_measured_and_adds_up(measured) -> None:
    done, said = measured
    assert len(said) == 5 and "3 prompts x 2 samples of chain" in done.setting
    assert list(done.rollouts["sampler"]) == [OURS, GENERATE] and list(done.steps["loop"]) == [GENERATE, MIXED, OURS]
    assert ((done.rollouts["tokens"] >= 6) & (done.rollouts["tokens"] <= 30)).all(), "six answers of 1 to 5 tokens"
    assert (done.steps[["seconds", "sampling", "update"]] > 0).all().all()
    # One run after the one that warms up: the median is that run, and its parts are its whole.
    assert done.steps["seconds"].tolist() == pytest.approx((done.steps["sampling"] + done.steps["update"]).tolist())
    assert len(done.update) == 6 and (done.update["seconds"] > 0).all()
    speed = done.rollouts["tokens"] / done.rollouts["seconds"]
    assert done.rollouts["tokens_per_second"].tolist() == pytest.approx(speed.tolist())
    assert done.rollout_ratio == pytest.approx(speed[0] / speed[1])


def test_both_trainers_see_the_same_tokens(measured) -> None:
    tuned = measured[0].fine_tuning
    assert tuned["steps"].tolist() == [2, 2] and tuned["tokens"].nunique() == 1 and tuned["tokens"][0] > 2 * 3 * 20
    assert measured[0].fine_tuning_ratio == pytest.approx(tuned["tokens_per_second"][0] / tuned["tokens_per_second"][1])


def test_the_text_says_all_of_it(measured) -> None:
    text = str(measured[0])
    assert all(name in text for name in (*measured[0].update["part"], OURS, GENERATE, MIXED, "x its bound"))
    assert f"{measured[0].gradient_gap:.1e}" in text and f"{measured[0].rollout_ratio:.1f} x faster" in text


def test_gradients_are_trls_and_another_loss_would_be_noticed(measured, model, tmp_path, monkeypatch) -> None:
    assert measured[0].gradient_gap < 1e-4
    right = bench.token_weights
    monkeypatch.setattr(bench, "token_weights", lambda mask, weighing, length: right(mask, "sequence", length))
    work = Work(model, TASK, TASK.problems(3, seed=71), 4, 40, 1)
    assert gradient_gap(work, tmp_path) > 0.05


def test_the_command_prints_it(monkeypatch, measured) -> None:
    from srm_utils.cli.main import app

    asked: dict = {}

    def fake(*names, **options):
        asked.update(options, names=names)
        return measured[0]

    monkeypatch.setattr(bench, "bench_training", fake)
    done = CliRunner().invoke(app, ["bench", "train", "--model", "base-small", "--prompts", "4", "--repeats", "1"])
    assert done.exit_code == 0 and str(measured[0]) in done.stdout
    assert asked["names"] == ("base-small", "chain") and asked["prompts"] == 4 and asked["repeats"] == 1
