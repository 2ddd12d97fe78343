"""Every example of a help text: it is run as it stands, up to the work that would take minutes."""

from __future__ import annotations

import inspect
import json
import shlex
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from srm_utils.cli.main import app, join_parameters

#: Where a command hands over to the work that takes long, and how that is said in the table of examples below.
WORK = {
    "notebooks": "srm_utils.collection.runner:dispatch",
    "publishing": "srm_utils.collection.publish:publish",
    "a model": "srm_utils.models:load_model",
    "training": "srm_utils.training.methods:train",
    "chains": "srm_utils.training.adapters:train_chains",
    "rewards": "srm_utils.training.adapters:train_by_rewards",
    "pretraining": "srm_utils.models.pretrain:pretrain",
    "fetching": "srm_utils.models.fetch:fetch",
    "freezing": "srm_utils.experiments.family_check:freeze",
    "the family": "srm_utils.experiments.family_check:check_family",
    "an adapter": "srm_utils.experiments.adapter_check:check",
    "the sampler": "srm_utils.experiments.bench_sampler:bench_sampler",
    "the trainers": "srm_utils.experiments.bench_training:bench_training",
    "the kernels": "srm_utils.experiments.bench_kernels:bench_kernels",
    "repairing": "srm_utils.literature:repair_citations",
    "citations": "srm_utils.literature:check_citations",
}

#: What an example leads to: its work, or "" for what is quick and ends with exit code 0.
LEADS_TO = {
    "run": "notebooks", "confirm": "notebooks", "publish": "publishing", "compare": "a model", "list": "", "report": "",
    "pretrain": "pretraining", "train": "training", "train ": "", "models": "", "models fetch": "fetching",
    "models train smollm2-cot": "chains", "models train smollm2-rl": "rewards", "models check": "an adapter",
    "check family": "the family", "check family --freeze": "freezing", "bench sampler": "the sampler",
    "bench solvers": "a model", "bench train": "the trainers", "bench kernels": "the kernels", "papers": "",
    "papers check": "citations",
    "papers check notebooks/00_tour.ipynb --repair": "repairing",
}  # fmt: skip


class Reached(BaseException):
    """The long work would begin now."""


def examples() -> Iterator[str]:
    """The command lines behind "Examples:" and "First steps:" of every help text, each once."""
    left: list[Any] = [get_command(app)]
    seen: dict[str, None] = {}
    while left:
        command = left.pop(0)
        left += getattr(command, "commands", {}).values()
        _, _, shown = (command.help or "").replace("First steps:", "Examples:").partition("Examples:")
        for line in shown.splitlines():
            # The first steps say in a second column what a command is for.
            seen |= dict.fromkeys(line.strip().split("   ")[0].split(" && ")) if line.strip() else {}
    yield from seen


def work_of(words: list[str]) -> str:
    """What the longest entry of `LEADS_TO` that a command line begins with leads to."""
    line = " ".join(words) + " "
    entries = [entry for entry in LEADS_TO if entry.endswith(" ") and line == entry]
    entries += [entry for entry in LEADS_TO if not entry.endswith(" ") and line.startswith(entry + " ")]
    return LEADS_TO[max(entries, key=len)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a person who has a table, a copy of a data set, and runs."""
    here = tmp_path_factory.mktemp("person")
    rows = "".join(f"What is {i} and {i + 1}?,{2 * i + 1}\n" for i in range(40))
    (here / "mine.csv").write_text("question,answer\n" + rows)
    (here / "other.csv").write_text("Text,Key\n" + rows)
    for part, start in (("train", 0), ("test", 40)):
        lines = [
            {"question": f"Ann has {i} apples and buys 2. How many?", "answer": f"<<{i}+2={i + 2}>>\n#### {i + 2}"}
            for i in range(start, start + 40)
        ]
        (here / f"gsm8k_{part}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return here


@pytest.fixture
def at_work(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Runs a command line in that folder and returns the work it led to, "" where it ended well."""
    from srm_utils.collection.profiles import Profile

    def stop(name: str, real: Callable[..., Any]) -> Callable[..., NoReturn]:
        def reached(*arguments: Any, **options: Any) -> NoReturn:
            inspect.signature(real).bind(*arguments, **options)
            raise Reached(name)

        return reached

    for name, place in WORK.items():
        module, function = place.split(":")
        monkeypatch.setattr(
            import_module(module), function, stop(name, getattr(import_module(module), function)), raising=True
        )
    # The fingerprint of all notebooks takes seconds, and whether an example works does not hang on it.
    monkeypatch.setattr("srm_utils.collection.runner.job_key", lambda notebook, given: "key")
    # An example may name a GPU that this machine has not.
    monkeypatch.setattr(Profile, "setup", lambda self, seed=0: self)
    monkeypatch.setenv("SRM_DATA", str(folder))
    monkeypatch.chdir(folder)

    def invoke(words: list[str]) -> str:
        try:
            done = CliRunner().invoke(app, join_parameters(words), prog_name="srm")
        except Reached as reached:
            return str(reached)
        assert done.exit_code == 0, done.output
        return ""

    return invoke


@pytest.mark.parametrize("line", list(examples()))
def test_an_example_of_the_help_works(line: str, at_work: Callable[..., str], folder: Path) -> None:
    words = shlex.split(line)
    if words[0] == "accelerate":
        assert words[words.index("-m") + 1] == "srm_utils.cli.main"
        words = ["srm", *words[words.index("-m") + 2 :]]
    assert words[0] == "srm"
    if "report" in words or "--resume" in words:
        if not (folder / "runs" / "2026-01-31-120000-cpu").exists():
            assert at_work(["run", "00", "--id", "2026-01-31-120000-cpu"]) == "notebooks"
    if "Text" in line:
        words = [word.replace("mine.csv", "other.csv") for word in words]
    assert at_work(words[1:]) == work_of(words[1:])


def test_there_is_an_example_of_every_command() -> None:
    shown = [shlex.split(line)[1:] for line in examples() if line.startswith("srm ")]
    assert len(shown) >= 50
    assert {words[0] for words in shown} == set(get_command(app).commands)  # type: ignore[attr-defined]


def test_an_example_that_does_not_work_is_found(at_work: Callable[..., str]) -> None:
    for wrong in (["list", "nonsense"], ["run", "21", "--profil", "smoke"], ["compare", "--task", "csv:none.csv"]):
        with pytest.raises(AssertionError):
            at_work(wrong)
