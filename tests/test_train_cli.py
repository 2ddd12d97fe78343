"""`srm train`: every method by name, bills that add up, budgets that hold, going on after a kill, plain errors."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from srm_utils.cli.main import app
from srm_utils.models import load_model
from srm_utils.sampling.completion import Cost, group_cost
from srm_utils.tasks import get_task
from srm_utils.tasks.problem import Grade
from srm_utils.tasks.worlds.chain import ChainTask
from srm_utils.training import methods, supervised
from srm_utils.training.methods import METHODS, Outcome, Request, train

TASK = get_task("chain")


@pytest.fixture(scope="module")
def model(tiny_checkpoint) -> str:
    return str(tiny_checkpoint)


@pytest.fixture
def lenient(monkeypatch) -> None:
    """A grader for a model that knows nothing: right is what has an even number of characters."""

    def grade(self, text, problem):
        return Grade.WRONG if len(text) % 2 else Grade.CORRECT

    monkeypatch.setattr(ChainTask, "grade", grade)


def ask(model: str, out: Path, **options) -> Request:
    common = {"steps": 2, "batch_size": 4, "max_new_tokens": 6, "difficulty": (1,), "device": "cpu", "save_every": 1}
    return Request(model, "chain", out, **{**common, **options})


def weights(folder: str | Path) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in load_model(folder, device="cpu").model.parameters()])


# ---------------------------------------------------------------- every method


@pytest.mark.parametrize("method", METHODS)
def test_every_method_leaves_a_model_that_loads_and_a_bill(method, model, tmp_path, lenient) -> None:
    chosen = METHODS[method]
    teacher = model if chosen.teacher == "needed" else None
    samples = 4 if chosen.samples > 1 else None
    done = train(method, ask(model, tmp_path, teacher=teacher, samples=samples))
    assert done.folder == tmp_path and done.steps >= 2 and done.tokens > 0 and done.seconds > 0
    trained = load_model(tmp_path, device="cpu")
    assert done.parameters == trained.parameters == done.trainable
    assert trained.sample([TASK.prompt(p) for p in TASK.problems(1)], 1, 2)[0][0].token_ids
    if method not in ("forward-kl", "reverse-kl", "on-policy-distillation"):  # a teacher like oneself teaches nothing
        assert not torch.equal(weights(tmp_path), weights(model))
    assert done.flops > done.data_flops >= 0
    assert done.bytes >= 4 * 4 * trained.parameters, "weights, gradients and two moments"
    saved = json.loads((tmp_path / "method.json").read_text())
    assert saved["asked"]["method"] == method and saved["outcome"]["flops"] == done.flops
    assert (done.data_flops > 0) is (method not in ("supervised",) and (tmp_path / "data.json").is_file())
    assert train(method, ask(model, tmp_path, teacher=teacher, samples=samples)) == done, "asked again: already there"


def test_papers_of_the_methods_are_known() -> None:
    from srm_utils.literature import load

    assert {entry.paper for entry in METHODS.values()} <= set(load())


# ---------------------------------------------------------------- the bill


def test_examples_are_paid_for_with_every_sample_that_was_thrown_away(model, tmp_path, lenient) -> None:
    done = train("rejection", ask(model, tmp_path, samples=3))
    own = load_model(model, device="cpu")
    seed = 1_000_003
    first = TASK.problems(4, split="train", seed=seed, difficulty=(1,))
    groups = own.sample([TASK.prompt(p, "unmarked") for p in first], 3, 6, seed=0)
    drawn = Cost.total(map(group_cost, groups)).flops
    kept = [c for p, g in zip(first, groups, strict=True) for c in g if TASK.grade(c.text, p) == Grade.CORRECT]
    rows = json.loads((tmp_path / "data.json").read_text())["rows"]
    assert [answer for _, answer in rows][: len(kept)] == [c.text.strip() for c in kept][: len(rows)]
    assert 0 < len(kept) < 12, "some must be thrown away"
    if done.questions == 4:
        assert done.data_flops == pytest.approx(drawn)
    assert done.data_flops >= drawn * (1 - 1e-9)


def test_a_teachers_answers_and_reading_are_in_the_bill(model, tmp_path) -> None:
    by_text = train("sequence-distillation", ask(model, tmp_path / "text", teacher=model))
    by_logits = train("forward-kl", ask(model, tmp_path / "logits", teacher=model))
    own = load_model(model, device="cpu")
    assert by_text.data_flops == by_logits.data_flops > 0
    # Same examples: the student's passes are six FLOPs a weight and token, the teacher's reading two more.
    student = by_text.flops - by_text.data_flops
    assert student == pytest.approx(3 * own.flops_per_token * by_text.tokens)
    assert by_logits.flops - by_logits.data_flops == pytest.approx(student * 4 / 3)


@pytest.mark.parametrize("method", ["supervised", "sequence-distillation", "reverse-kl"])
def test_a_budget_is_used_up_and_not_exceeded(method, model, tmp_path) -> None:
    teacher = model if METHODS[method].teacher == "needed" else None
    one = train(method, ask(model, tmp_path / "one", teacher=teacher, steps=1))
    budget = 5.5 * one.flops
    done = train(method, ask(model, tmp_path / "budget", teacher=teacher, steps=None, flops=budget))
    assert 0.6 * budget < done.flops <= budget and done.steps >= 4
    assert done.examples == 4 * done.steps, "each example is read once"


@pytest.mark.parametrize("method", ["dr-grpo", "ppo"])
def test_rollouts_end_with_the_budget_and_go_on_after_a_kill(method, model, tmp_path, lenient, monkeypatch) -> None:
    samples = 2 if method == "dr-grpo" else 1
    whole = train(method, ask(model, tmp_path / "steps", samples=samples, steps=4))
    asked = ask(model, tmp_path / "flops", samples=samples, steps=None, flops=whole.flops * 1.1)
    draw, calls = methods.get_task("chain").problems, []

    def killed(self, *args, **options):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return draw(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(ChainTask, "problems", killed)
        with pytest.raises(KeyboardInterrupt):
            train(method, asked)
    assert (tmp_path / "flops/checkpoint.pt").is_file()
    assert "outcome" not in (tmp_path / "flops/method.json").read_text()
    done = train(method, asked)
    # The same four steps as without a budget and without a kill: a fifth would have cost too much.
    assert done.steps == 4 and done.flops == whole.flops <= asked.flops
    assert torch.equal(weights(tmp_path / "flops"), weights(tmp_path / "steps"))
    assert not (tmp_path / "flops/checkpoint.pt").exists()


def test_an_interrupted_run_does_not_pay_for_its_examples_twice(model, tmp_path, monkeypatch) -> None:
    asked = ask(model, tmp_path / "a", teacher=model)
    with monkeypatch.context() as patch:
        patch.setattr(methods, "train_supervised", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            train("sequence-distillation", asked)
    monkeypatch.setattr(methods, "sampled", lambda *_: pytest.fail("sampled again"))
    done = train("sequence-distillation", asked)
    monkeypatch.undo()
    assert done.data_flops > 0
    straight = train("sequence-distillation", replace(asked, out=tmp_path / "b"))
    assert done.flops == straight.flops and torch.equal(weights(tmp_path / "a"), weights(tmp_path / "b"))


@pytest.mark.parametrize("kind", ["lora", "qlora"])
def test_an_adapter_is_merged_into_a_model_of_its_own(kind, model, tmp_path) -> None:
    done = train("supervised", ask(model, tmp_path, weights=kind))
    own, trained = load_model(model, device="cpu"), load_model(tmp_path, device="cpu")
    assert trained.parameters == own.parameters == done.parameters and done.trainable < own.parameters
    assert not torch.equal(weights(tmp_path), weights(model))
    # The plan, made before there was an adapter, counts as the trainer does afterwards.
    price = methods._passes(load_model(model, bits=methods.BITS[kind], device="cpu"), kind)
    assert done.flops == pytest.approx(price * done.tokens)


# ---------------------------------------------------------------- several processes


def test_two_processes_train_what_one_does(model, tmp_path, root) -> None:
    together = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--main_process_port", "0"]
    options = ["--model", model, "--steps", "3", "--batch-size", "4", "--difficulty", "1", "--device", "cpu"]
    options += ["--out", str(tmp_path / "two")]
    command = [sys.executable, *together, "-m", "srm_utils.cli.main", "train", "supervised", *options]
    environment = {**os.environ, "PYTHONPATH": str(root), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("Trained:") == 1, "one process speaks"
    one = train("supervised", ask(model, tmp_path / "one", steps=3, save_every=10, max_new_tokens=128))
    saved = json.loads((tmp_path / "two/method.json").read_text())
    two = Outcome(**saved["outcome"])
    assert saved["asked"]["processes"] == 2
    assert (two.steps, two.tokens, two.flops, two.bytes) == (one.steps, one.tokens, one.flops, one.bytes)
    apart = (weights(tmp_path / "two") - weights(tmp_path / "one")).abs().max()
    moved = (weights(tmp_path / "one") - weights(model)).abs().max()
    assert apart < 1e-3 * moved, (apart, moved)


def test_what_cannot_be_shared_by_processes_is_told(model, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="grpo trains in one process; start it without `accelerate launch`"):
        train("grpo", ask(model, tmp_path))
    with pytest.raises(ValueError, match="A batch of 5 cannot be shared by 2 processes"):
        train("supervised", ask(model, tmp_path, batch_size=5))


# ---------------------------------------------------------------- the command


def srm(*arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, list(arguments), prog_name="srm")
    return done.exit_code, done.stdout, done.stderr


def test_the_command_lists_trains_and_says_what_it_took(model, tmp_path) -> None:
    code, text, _ = srm("train")
    assert code == 0 and [line.split()[0] for line in text.splitlines()] == list(METHODS)
    options = ("--model", model, "--difficulty", "1", "--batch-size", "2", "--steps", "1", "--device", "cpu")
    code, text, error = srm("train", "supervised", *options, "--out", str(tmp_path))
    assert code == 0, error
    assert f"Trained: {tmp_path} (supervised, 1 steps" in text and "FLOPs: " in text
    assert weights(tmp_path).numel() == weights(model).numel()


def test_a_budget_that_was_looked_at_too_late_is_told(model, tmp_path, lenient) -> None:
    options = ("--model", model, "--difficulty", "1", "--batch-size", "2", "--samples", "2", "--device", "cpu")
    options += ("--max-new-tokens", "8", "--flops", "1e7", "--out", str(tmp_path))
    code, text, error = srm("train", "dr-grpo", *options, "--save-every", "3")
    assert code == 0 and "(dr-grpo, 3 steps" in text, error
    spent = json.loads((tmp_path / "method.json").read_text())["outcome"]["flops"] / 1e7
    assert spent > 1.05 and f"It spent {spent:.1f} times the FLOPs asked for: they are looked at every 3 st" in error
    code, _, error = srm("train", "supervised", *options[:-1], str(tmp_path / "well"), "--flops", "1e9")
    assert code == 0 and "times the FLOPs" not in error, error


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["gpro", "--steps", "1"], "There is no training method 'gpro'; did you mean grpo"),
        (["grpo", "--steps", "1", "--task", "chian"], "There is no task 'chian'; did you mean chain"),
        (["supervised", "--steps", "1", "--model", "bas"], "There is no bundled model 'bas'; did you mean 'base'"),
        (["forward-kl", "--steps", "1"], "forward-kl learns from a teacher; name one, such as --teacher instruct."),
        (["grpo", "--steps", "1", "--teacher", "base"], "grpo has no use for a teacher; leave 'base' out."),
        (["grpo"], "Say for how long to train: either steps, such as 60, or flops, such as 1e12."),
        (["grpo", "--steps", "1", "--flops", "1e9"], "either steps, such as 60, or flops, such as 1e12."),
        (["supervised", "--flops", "-1"], "flops is -1; give a number above 0, such as 1e12."),
        (["supervised", "--flops", "10"], "The FLOPs do not pay for a single step, which takes"),
        (["grpo", "--steps", "1", "--style", "cott"], "There is no style 'cott'; did you mean cot"),
        (["grpo", "--steps", "1", "--batch-size", "6"], "A batch of 6 cannot hold 8 samples of each question"),
    ],
)
def test_what_is_asked_wrongly_is_told_in_one_sentence(arguments, sentence, model, tmp_path) -> None:
    named = [] if "--model" in arguments else ["--model", model]
    code, _, error = srm("train", *arguments, *named, "--device", "cpu", "--out", str(tmp_path / "out"))
    assert code == 2 and sentence in error and error.count("\n") == 1 and "Traceback" not in error


@pytest.mark.parametrize(
    ("raised", "code", "sentence"),
    [
        (KeyboardInterrupt(), 130, "Interrupted. The same command goes on from the last checkpoint.\n"),
        (FloatingPointError("The loss is nan; lower it."), 1, "The loss is nan; lower it.\n"),
    ],
)
def test_what_ends_a_training_is_told(raised, code, sentence, monkeypatch, tmp_path) -> None:
    def broken(method, request):
        raise raised

    monkeypatch.setattr(methods, "train", broken)
    assert srm("train", "supervised", "--steps", "1", "--out", str(tmp_path)) == (code, "", sentence)


def test_folders_that_cannot_be_used_are_told(model, tmp_path) -> None:
    code, _, error = srm("train", "supervised", "--steps", "1", "--model", model)
    assert code == 2 and error == "Say where the trained model is to go: --out FOLDER.\n"
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot be written .*; choose another folder"):
        train("supervised", ask(model, tmp_path / "file" / "out"))
    with pytest.raises(ValueError, match="holds a model already; choose another folder"):
        train("supervised", ask(model, Path(model)))
    train("supervised", ask(model, tmp_path / "out", steps=1))
    with pytest.raises(ValueError, match=r"holds another run \(steps 1, now 2\); choose another folder"):
        train("supervised", ask(model, tmp_path / "out", steps=2))


def test_answers_that_are_never_right_end_in_a_sentence(model, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(ChainTask, "grade", lambda self, text, problem: Grade.WRONG)
    monkeypatch.setattr(methods, "HOPELESS", 8)
    with pytest.raises(ValueError, match="None of the answers to 8 questions can be learnt from; take a task"):
        train("rejection", ask(model, tmp_path / "a"))
    with pytest.raises(ValueError, match="None of the answers to 8 questions can be learnt from; take a task"):
        train("dpo", ask(model, tmp_path / "b"))


@pytest.mark.parametrize("done_before", [2, 3])
def test_fine_tuning_goes_on_from_its_last_checkpoint(done_before, model, tmp_path, monkeypatch) -> None:
    clock = supervised.step_clock

    def dying():
        made = clock()

        def on_step_begin(args, state, control, **options):
            if state.global_step == done_before:
                raise KeyboardInterrupt

        made.on_step_begin = on_step_begin
        return made

    asked = ask(model, tmp_path / "killed", steps=4, save_every=2)
    with monkeypatch.context() as patch:
        patch.setattr(supervised, "step_clock", dying)
        with pytest.raises(KeyboardInterrupt):
            train("supervised", asked)
    assert (tmp_path / "killed/checkpoints/checkpoint-2/trainer_state.json").is_file()
    done = train("supervised", asked)
    straight = train("supervised", replace(asked, out=tmp_path / "straight"))
    assert (done.steps, done.tokens, done.flops) == (straight.steps, straight.tokens, straight.flops)
    assert torch.equal(weights(tmp_path / "killed"), weights(tmp_path / "straight"))
