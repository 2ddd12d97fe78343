"""The command line: quick, self-explaining, and one sentence for what goes wrong."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from srm_utils.cli.main import app, join_parameters

COMMANDS = ("list", "run", "confirm", "report", "pretrain", "models", "check", "bench", "papers", "compare", "train")


def every_command() -> list[tuple[tuple[str, ...], str]]:
    """The words behind `srm` that name a command or a group of commands, each with its help text."""
    found: list[tuple[tuple[str, ...], str]] = []
    left: list[tuple[tuple[str, ...], Any]] = [((), get_command(app))]
    while left:
        path, command = left.pop(0)
        found.append((path, command.help or ""))
        left += [((*path, name), inner) for name, inner in getattr(command, "commands", {}).items()]
    return found


def srm(*arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command, in this process."""
    done = CliRunner().invoke(app, join_parameters(list(arguments)), prog_name="srm")
    return done.exit_code, done.stdout, done.stderr


def test_help_costs_little_more_than_the_command_line_library(root: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(root)}

    def seconds(*arguments: str) -> float:
        """Processor time of a Python process, the best of three: what it does, not what else the machine does."""
        times = []
        for _ in range(3):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run([sys.executable, *arguments], env=environment, cwd=root, check=True, capture_output=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        return min(times)

    library = seconds("-c", "import typer.testing, typing, json, re, pathlib")
    help_page = seconds("-m", "srm_utils.cli.main", "--help")
    # As a ratio it holds on a fast machine and on a slow one; one of the heavy libraries would cost ten times as much.
    assert 0 < help_page < 3 * library, (help_page, library)


@pytest.mark.parametrize("arguments", [path for path, _ in every_command()], ids=" ".join)
def test_h_is_help_at_every_level(arguments: tuple[str, ...]) -> None:
    assert srm(*arguments, "-h") == srm(*arguments, "--help") and srm(*arguments, "-h")[0] == 0


def test_python_m_srm_utils_is_srm(root: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(root)}
    for arguments in (["--help"], ["report"], ["nonsense"]):
        spoken, named = (
            subprocess.run(
                [sys.executable, "-m", module, *arguments],
                env=environment, cwd=root / "tests", capture_output=True, text=True,
            )
            for module in ("srm_utils", "srm_utils.cli.main")
        )  # fmt: skip
        assert (spoken.returncode, spoken.stdout, spoken.stderr) == (named.returncode, named.stdout, named.stderr)
    assert "Usage: srm " in spoken.stderr


def test_help_imports_nothing_heavy(root: Path) -> None:
    code = (
        "import sys\nfrom srm_utils.cli.main import app\n"
        "try:\n    app(['run', '--help'], prog_name='srm')\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'transformers', 'trl', 'numpy', 'pandas', 'distributed', 'papermill', 'matplotlib'}\n"
        "print('HEAVY', sorted(heavy & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=root, capture_output=True, text=True)
    assert "HEAVY []" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example(command: str) -> None:
    code, text, _ = srm(command, "--help")
    assert code == 0
    shown = (
        text
        if command not in ("check", "bench")
        else srm(command, {"check": "family", "bench": "sampler"}[command], "--help")[1]
    )
    assert "Example" in shown and f"srm {command}" in shown.split("Example", 1)[1]


def test_help_lists_every_command() -> None:
    code, text, _ = srm("--help")
    assert code == 0 and all(f"\n  {command} " in text for command in COMMANDS)


def test_list_shows_titles_and_minutes(tmp_path: Path, make_notebook: Callable[..., Path]) -> None:
    make_notebook(tmp_path / "2_part/21_x.ipynb", [], title="On x", techniques=["x-ing"], minutes={"cpu": 2.5})
    code, text, _ = srm("list", "--notebooks", str(tmp_path))
    assert code == 0
    line = next(line for line in text.splitlines() if "21_x" in line)
    assert all(word in line for word in ("2_part/21_x", "On x", "x-ing", "2.5"))


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["run", "tuor"], 2, "No notebook is called 'tuor'; the nearest are 00_tour."),
        (["run", "nonsense"], 2, "No notebook is called 'nonsense'; `srm list` shows what there is."),
        (["run", "--profile", "smok"], 2, "There is no profile 'smok'; did you mean smoke?"),
        (["run", "-p", "sed", "3"], 2, "The notebook 00_tour has no parameter 'sed'; the nearest are seed."),
        (["run", "-p", "seed", "x"], 2, "The parameter 'seed' of 00_tour takes a value like 0 (int), not 'x'."),
        (["run", "--jobs", "0"], 2, "--jobs is how many notebooks run at once, at least 1, not 0."),
        (["run", "--seeds", "0"], 2, "--seeds is how many seeds to run, at least 1, not 0."),
        (["run", "--seeds", "4..2"], 2, "--seeds is how many seeds to run, at least 1, not -1."),
        (["run", "--seeds", "a..b"], 2, "--seeds a..b is not how many seeds (5) or which (0..4, without --seed)"),
        (
            ["run", "--seeds", "0..4", "--seed", "1"],
            2,
            "--seeds 0..4 is not how many seeds (5) or which (0..4, without",
        ),
        (["run", "--id", "../../x"], 2, "A run cannot be called '../../x': a name has letters, digits, '.', '+',"),
        (["run", "--id", ""], 2, "A run cannot be called '': a name has letters"),
        (["run", "--resume", "--id", "../books"], 2, "A run cannot be called '../books': a name has"),
        (["run", "--resume", "--id", "gone"], 2, "There is no run 'gone' in runs; `srm run` starts a new one."),
        (["confirm"], 2, "There are no claims at"),
    ],
)
def test_mistakes_are_one_sentence(
    arguments: list[str],
    code: int,
    sentence: str,
    tmp_path: Path,
    make_notebook: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    make_notebook(tmp_path / "books" / "00_tour.ipynb", [])
    got, _, error = srm(*arguments, "--notebooks", str(tmp_path / "books"))
    assert got == code, error
    assert error.startswith(sentence) and error.count("\n") == 1
    assert not (tmp_path / "runs").exists(), "a mistake leaves nothing behind"


def test_report_without_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert srm("report") == (2, "", "There is no run in runs; start one with `srm run`.\n")
    for command in ("report", "publish"):
        code, said, error = srm(command, "../../x")
        assert (
            (code, said) == (2, "") and error.startswith("A run cannot be called '../../x'") and error.count("\n") == 1
        )
    assert srm("report", "gone") == (2, "", "There is no run 'gone' in runs; start one with `srm run`.\n")


def test_unknown_options_and_lonely_parameters() -> None:
    assert srm("run", "--jbs", "2")[0] == 2
    with pytest.raises(ValueError, match="-p takes a name and a value"):
        join_parameters(["run", "-p", "seed"])
    assert join_parameters(["-p", "a", "b=c", "--parameter", "d=-1", "x"]) == [
        "-p",
        "a=b=c",
        "--parameter",
        "d=-1",
        "x",
    ]


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (ValueError("Say it so."), 2, "Say it so."),
        (RuntimeError("It broke; mend it."), 1, "It broke; mend it."),
        (OSError(28, "No space left on device"), 1, "The disk is full; free some space, then run again with --resume."),
        (ModuleNotFoundError("No module named 'trl'", name="trl"), 1, "The package 'trl' is missing; install again"),
        (
            TypeError("len() of None"),
            1,
            "Something unexpected went wrong (TypeError: len() of None); `srm --debug` shows",
        ),
        (KeyboardInterrupt(), 130, "Interrupted. What was finished is kept; the same command with --resume goes on"),
    ],
)
def test_errors_become_a_sentence_and_a_code(
    error: BaseException, code: int, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from srm_utils.collection import runner

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(runner, "run", fail)
    got, _, said = srm("run")
    assert got == code and said.startswith(sentence) and "Traceback" not in said
    if isinstance(error, Exception):
        assert CliRunner().invoke(app, ["--debug", "run"]).exception is error


def test_a_profile_comes_from_the_option_then_the_variable_then_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    from srm_utils.collection import confirm, runner

    asked: list[str | None] = []

    def stop(*_: object, profile: str | None, **__: object) -> None:
        asked.append(profile)
        raise RuntimeError("Enough.")

    monkeypatch.setattr(runner, "run", stop)
    monkeypatch.setattr(confirm, "confirm", stop)
    monkeypatch.delenv("SRM_PROFILE", raising=False)
    for command in ("run", "confirm"):
        srm(command)
        for value in ("smoke", " ", "cpu:smollm2"):
            # It is read when the command runs: the module has long been imported.
            monkeypatch.setenv("SRM_PROFILE", value)
            srm(command)
        srm(command, "--profile", "study")
        # What a run began with it goes on with.
        srm(command, "--resume")
        assert asked == [None, "smoke", None, "cpu:smollm2", "study", None]
        asked.clear()
        monkeypatch.setenv("SRM_PROFILE", "smok")
        code, _, error = srm(command)
        assert (code, asked) == (2, [])
        assert error == "The variable SRM_PROFILE is 'smok'. There is no profile 'smok'; did you mean smoke?\n"
        monkeypatch.delenv("SRM_PROFILE")


@pytest.mark.parametrize(
    ("states", "missing", "code", "told"),
    [
        (["completed", "completed"], [], 0, ""),
        (["completed", "failed"], [], 1, "1 of 2 notebooks failed:"),
        # Another run's Ctrl-C, or a scheduler that stopped, left this one without an end.
        (["completed", "interrupted"], [], 1, "1 of 2 notebooks did not complete (n1); go on with: srm run --resume"),
        (["completed"], ["n1", "n2"], 1, "2 of 3 notebooks did not complete (n1, n2); go on with: srm run --resume"),
        (["failed", "interrupted"], [], 1, "1 of 2 notebooks did not complete (n1); go on with: srm run --resume"),
    ],
)
def test_the_exit_code_says_whether_all_that_was_planned_completed(
    states: list[Any], missing: list[str], code: int, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from srm_utils.collection import runner
    from srm_utils.collection.execute import Status

    statuses = tuple(Status(f"n{i}", f"n{i}", state, "key") for i, state in enumerate(states))
    ended = runner.Run(Path("runs/one"), statuses, missing=tuple(missing))
    monkeypatch.setattr(runner, "run", lambda *_, **__: ended)
    got, _, error = srm("run")
    assert got == code and told in error and bool(error) == bool(told)


def test_papers_finds_a_paper() -> None:
    code, text, _ = srm("papers", "self-consistency")
    assert code == 0 and "wang2022selfconsistency" in text


#: A child process imports the package that these tests import.
WITH_PATH = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
HEAVY = {"torch", "transformers", "trl", "numpy", "pandas", "scipy", "datasets", "matplotlib", "distributed"}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--task", "nosuch"), "There is no task 'nosuch'"),
        (("--task", "chain", "--budget", "many"), "The budget 'many' cannot be read"),
    ],
)
def test_a_wrong_task_or_budget_is_told_of_before_torch_is_imported(arguments: tuple[str, ...], told: str) -> None:
    code = (
        "import sys\nfrom srm_utils.cli.main import app\n"
        f"try:\n    app(['compare', *{arguments!r}], prog_name='srm')\nexcept SystemExit:\n    pass\n"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], env=WITH_PATH, capture_output=True, text=True)
    imported = set(done.stdout.split())
    assert done.stderr.startswith(told), done.stderr
    assert "srm_utils.tasks.registry" in imported and not HEAVY & imported


def test_importing_the_package_imports_nothing_heavy_and_changes_no_global_state() -> None:
    """torch comes first, so that its own state can be compared; a second process counts what is imported."""
    code = """
import logging, os, random, sys, warnings
import numpy, torch

def state():
    levels = {name: getattr(logger, "level", None) for name, logger in logging.root.manager.loggerDict.items()}
    drawn = random.getstate(), numpy.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    threads = torch.get_num_threads(), torch.get_num_interop_threads()
    here = os.getcwd(), dict(os.environ), list(sys.path)
    handlers = list(logging.root.handlers)
    return list(warnings.filters), logging.root.level, handlers, levels, drawn, threads, here, torch.get_default_dtype()

before, known = state(), set(sys.modules)
import srm_utils
assert state() == before
print(*(name for name in set(sys.modules) - known if sys.modules[name] is None or name == "srm_utils"))
"""
    done = subprocess.run([sys.executable, "-c", code], env=WITH_PATH, capture_output=True, text=True)
    assert done.stdout.split() == ["srm_utils"], done.stdout + done.stderr
    alone = "import sys, srm_utils; print(*sys.modules)"
    listed = subprocess.run([sys.executable, "-c", alone], env=WITH_PATH, capture_output=True, text=True, check=True)
    imported = set(listed.stdout.split())
    assert "srm_utils" in imported and not HEAVY & imported
    # No room is imported before a name of it is asked for.
    assert not [name for name in imported if name.startswith("srm_utils.")]
