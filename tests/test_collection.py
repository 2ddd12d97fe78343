"""The collection: profiles, catalogue, and runs in which kernels, workers, memory, time, disk and people fail.

Runs go through the real command line in processes of their own, on tiny notebooks, from a copy of the package, so
that its code can be changed too.
"""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import nbformat
import psutil
import pytest
from typer.testing import CliRunner

from srm_utils.cli.main import app
from srm_utils.collection import dispatch, runner
from srm_utils.collection import execute as execution
from srm_utils.collection.catalogue import Notebook, find, parameters_of, read_catalogue
from srm_utils.collection.profiles import PROFILES, get_profile
from srm_utils.collection.report import Agreement, agreement, write_report
from srm_utils.collection.run_folder import read_statuses
from srm_utils.collection.seeds import over_seeds
from srm_utils.evaluation import Claim, Result, judge, seed_paired
from srm_utils.evaluation.results import bundle, to_jsonl, to_parquet
from srm_utils.experiments.study import load_study

Make = Callable[..., Path]

# Many processes start here, which a busy machine makes slow.
pytestmark = pytest.mark.timeout(600)

RECORD = """
from srm_utils.evaluation.results import Result, record
from srm_utils.sampling.completion import Cost
def result(**more):
    about = dict(notebook="00_ok", technique="vote", metric="accuracy", value=0.75, low=0.6, high=0.9, n=40)
    about |= dict(model="base", profile=profile, seed=seed, cost=Cost(generated_tokens=120.0, flops=2.5e9, seconds=0.5))
    record(Result(**about | more))
result()
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    """A folder that holds a copy of the package, without the bundled weights."""
    folder = tmp_path_factory.mktemp("package")
    skip = shutil.ignore_patterns("family", "__pycache__")
    shutil.copytree(root / "srm_utils", folder / "srm_utils", ignore=skip)
    return folder


@pytest.fixture(scope="module")
def environment(package: Path) -> dict[str, str]:
    """The environment of every process here: the copied package first."""
    return {**os.environ, "PYTHONPATH": str(package), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}


def srm(environment: dict[str, str], cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line."""
    command = [sys.executable, "-m", "srm_utils.cli.main", *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=280)


def statuses(folder: Path) -> dict[str, dict[str, Any]]:
    """The runner's own record of each notebook, by label."""
    return {s.label: {**json.loads(s.to_json())} for s in read_statuses(folder)}


def outputs(path: Path) -> str:
    """All text a notebook printed."""
    cells = json.loads(path.read_text())["cells"]
    return "".join("".join(o.get("text", [])) for c in cells for o in c.get("outputs", []))


def wait_for(condition: Callable[[], Any], seconds: float = 200) -> Any:
    """The condition's value, once it is true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.1)
    raise AssertionError("It did not come to pass in time.")


def started(folder: Path, label: str, cell: int) -> dict[str, Any] | None:
    """The progress of a notebook that has begun code cell `cell`."""
    path = next(iter(folder.glob(f"*/progress/{label}.json")), None)
    seen = json.loads(path.read_text()) if path else {}
    return seen if seen.get("cell", 0) >= cell else None


# ---- profiles and catalogue ------------------------------------------------------------------------------


def test_profiles_differ_in_size_and_device() -> None:
    sizes = [get_profile(name).n_problems for name in ("smoke", "cpu", "study")]
    assert sizes == sorted(set(sizes))
    assert {p.name for p in PROFILES.values()} == {"smoke", "cpu", "study", "real", "gpu"}
    assert get_profile("gpu").device == "cuda" and get_profile("cpu").device == "cpu"
    assert get_profile("gpu:qwen3-1.7b").base == "Qwen/Qwen3-1.7B-Base"
    assert get_profile("gpu:./my-model").instruct == "./my-model"
    # What `srm train` wrote is taken by path, on a laptop too.
    mine = get_profile("cpu:./my-model")
    assert (mine.base, mine.instruct, mine.device, mine.name) == ("./my-model", "./my-model", "cpu", "cpu:./my-model")
    assert get_profile("cpu", n_samples=3, bits=None) == PROFILES["cpu"].__class__("cpu", n_samples=3)


@pytest.mark.parametrize("wrong", ["smok", "cpu:qwen3-0.6b", ""])
def test_unknown_profile_names_the_nearest(wrong: str) -> None:
    with pytest.raises(ValueError, match="There is no profile .* did you mean .*smoke|cpu"):
        get_profile(wrong)


def test_unknown_profile_field_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="no field 'n_problem'; did you mean n_problems"):
        get_profile("cpu", n_problem=3)


def test_setup_sets_seed_and_threads_and_wants_its_gpu() -> None:
    import torch

    profile = get_profile("smoke").setup(seed=7)
    first = torch.rand(3)
    assert profile.setup(seed=7) is profile and torch.equal(torch.rand(3), first)
    assert torch.get_num_threads() == 1
    if not torch.cuda.is_available():
        with pytest.raises(RuntimeError, match="needs an NVIDIA GPU.*profile='cpu'"):
            get_profile("gpu").setup()


@pytest.fixture
def shelf(tmp_path: Path, make_notebook: Make) -> Path:
    """Four notebooks that are only read."""
    make_notebook(tmp_path / "00_tour.ipynb", [], title="Tour", topic="tour", minutes={"cpu": 2})
    make_notebook(tmp_path / "2_inference/21_chain.ipynb", [], topic="inference", techniques=["chain of draft"])
    make_notebook(
        tmp_path / "2_inference/22_voting.ipynb", [], "seed = 0\nrate = 0.5\nname: str = 'a'", topic="inference"
    )
    make_notebook(tmp_path / "1_training/12_tuning.ipynb", [], topic="training")
    make_notebook(tmp_path / ".ipynb_checkpoints/22_voting-checkpoint.ipynb", [])
    return tmp_path


def test_catalogue_reads_metadata_and_finds(shelf: Path) -> None:
    books = read_catalogue(shelf)
    names = ["00_tour", "1_training/12_tuning", "2_inference/21_chain", "2_inference/22_voting"]
    assert [b.name for b in books] == names
    assert books[0].title == "Tour" and books[0].minutes == {"cpu": 2}
    assert books[3].parameters == {"seed": 0, "rate": 0.5, "name": "a"}

    def found(*asked: str) -> list[str]:
        return [b.name for b in find(asked, books)]

    assert found() == names
    assert (
        found("21")
        == found("2_inference/21")
        == found("chain of draft")
        == found("notebooks/2_inference/21_chain.ipynb")
    )
    assert found("2") == found("inference") == names[2:]
    assert found("voting", "00") == ["00_tour", "2_inference/22_voting"]
    with pytest.raises(ValueError, match="No notebook is called 'votin'; the nearest are 2_inference/22_voting"):
        find(["22_votin", "votin"][1:], books)


#: What a person may call a notebook of the collection, and the numbers of those that it picks.
CALLED = {
    "21": "21", "2_inference/21": "21", "./notebooks/2_inference/21_chain_of_thought.ipynb": "21", "17b": "17b",
    "Monte Carlo tree search": "24", "tree search": "23", "tree-search": "23", "Tree_Search": "23",
    "inference": "20 21 22 23 24 25 26 27 28 29", "landscape": "00 01 02 03", "policy gradient": "17 17b",
    "mcts": "24", "MCTS": "24", "cot": "21", "sft": "12", "grpo": "17", "dvts": "23", "prm": "15", "RL": "17b 19",
    "debate": "27", "reward model": "14 15", "budget forcing": "28",
}  # fmt: skip
#: What picks none, and the number of the notebook that is named first.
MISSPELT = {"tuor": "00", "trea serch": "23", "mtcs": "24", "votin": "22", "debat": "27", "distilation": "13"}


def test_notebooks_are_found_by_what_people_call_them() -> None:
    books = read_catalogue()

    def number(name: str) -> str:
        return name.rsplit("/", 1)[-1].split("_", 1)[0]

    assert {name: " ".join(number(b.name) for b in find([name], books)) for name in CALLED} == CALLED
    for name, nearest in MISSPELT.items():
        with pytest.raises(ValueError, match=f"^No notebook is called '{name}'; the nearest are ") as told:
            find([name], books)
        assert number(str(told.value).split("the nearest are ")[1].split(",")[0].rstrip(".")) == nearest, told.value
    for name in ("", "a", "_", "nonsense", "99"):
        with pytest.raises(ValueError, match=f"^No notebook is called '{name}'; `srm list` shows what there is.$"):
            find([name], books)


def test_unreadable_notebooks_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no notebooks in"):
        read_catalogue(tmp_path)
    (tmp_path / "torn.ipynb").write_text('{"cells": [')
    (torn,) = read_catalogue(tmp_path)
    assert torn.name == "torn" and "torn.ipynb is not a readable notebook" in torn.problem


CELL = '{"cell_type": "code", "metadata": {}, "outputs": [], "source": "%s"}'
WHOLE = '{"cells": [%s], "metadata": %s, "nbformat": 4, "nbformat_minor": 5}'
#: Files that are no notebooks of today, and how each is named.
UNREADABLE = {
    "merged": ('{"cells": [\n<<<<<<< HEAD\n1\n=======\n2\n>>>>>>> theirs\n]}', "holds a merge conflict, on line 2"),
    "ours": ("<<<<<<< ours\n{}\n=======\n{}\n>>>>>>> theirs\n", "holds a merge conflict, on line 1"),
    "third": ('{"worksheets": [{"cells": []}], "nbformat": 3}', "is of an old notebook format; convert it with"),
    "second": ('{"worksheets": [], "metadata": {"name": "x"}}', "is of an old notebook format"),
    "marked": ("\ufeff" + WHOLE % ("", "{}"), "begins with a byte-order mark"),
    "list": ("[]", "is not a readable notebook"),
    "empty": ("", "is not a readable notebook"),
    "texts": ('{"cells": ["a"], "metadata": {}}', "is not a readable notebook"),
    "shape": (WHOLE % ("", '{"srm": []}'), "has metadata of another shape"),
    "minutes": (WHOLE % ("", '{"srm": {"minutes": {"cpu": "two"}}}'), "has metadata of another shape"),
    "tags": (WHOLE % ((CELL % "").replace("{}", '{"tags": 3}', 1), "{}"), "has metadata of another shape"),
    "syntax": (WHOLE % ((CELL % "a = = 1").replace("{}", '{"tags": ["parameters"]}', 1), "{}"), "is not valid Python"),
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_an_unreadable_notebook_is_named_and_the_rest_is_listed(kind: str, shelf: Path) -> None:
    text, says = UNREADABLE[kind]
    names = [b.name for b in read_catalogue(shelf)]
    (shelf / "2_inference" / f"{kind}.ipynb").write_text(text, encoding="utf-8")
    books = read_catalogue(shelf)
    (bad,) = [b for b in books if b.problem]
    assert [b.name for b in books if not b.problem] == names and bad.name == f"2_inference/{kind}"
    assert bad.problem.startswith(str(shelf)) and f"{kind}.ipynb" in bad.problem and says in bad.problem
    assert "\n" not in bad.problem and bad.problem.endswith(".")
    listed = CliRunner().invoke(app, ["list", "--notebooks", str(shelf)])
    assert listed.exit_code == 0 and all(name in listed.stdout for name in names) and kind not in listed.stdout
    assert listed.stderr == f"{bad.problem}\n"
    alone = CliRunner().invoke(app, ["list", bad.name, "--notebooks", str(shelf)])
    assert (alone.exit_code, alone.stdout, alone.stderr) == (2, "", f"{bad.problem}\n")


def test_bytes_that_are_no_text_are_named(shelf: Path) -> None:
    (shelf / "latin.ipynb").write_bytes(b'{"cells": [], "metadata": {"srm": {"title": "\xe9"}}}')
    assert ["latin.ipynb is not a readable notebook" in b.problem for b in read_catalogue(shelf)].count(True) == 1


def test_a_title_in_brackets_is_listed_as_it_is(tmp_path: Path, make_notebook: Make) -> None:
    make_notebook(tmp_path / "a[b].ipynb", [], title="[bold]One[/bold] [x]", techniques=["[red]"])
    listed = CliRunner().invoke(app, ["list", "--notebooks", str(tmp_path)])
    assert all(word in listed.stdout for word in ("a[b]", "[bold]One[/bold] [x]", "[red]"))


def test_parameters_are_literals_only() -> None:
    cell = {"metadata": {"tags": ["parameters"]}, "source": ["a = 1\n", "b = a + 1\n", "c, d = 1, 2\n", "e = [1, 'x']"]}
    assert parameters_of({"cells": [{"source": "z = 1"}, cell]}) == {"a": 1, "e": [1, "x"]}


@pytest.mark.parametrize(
    "source",
    [
        "%matplotlib inline\nseed = 0\nname = 'a'",
        "seed = 0\n%load_ext autoreload\n%autoreload 2\nname = 'a'",
        "%%time\nseed = 0\nname = 'a'",
        "!pip list\nseed = 0\nfiles = !ls\nname = 'a'",
        "seed = 0\nseed?\nname = 'a'\nwhen = %timeit 1",
        "seed = 0  # %matplotlib\nname = 'a'\nodd = {[]: 1}",
        "%config InlineBackend.figure_format = 'svg'\nseed: int = 0\nname = 'a';",
    ],
)
def test_magics_among_the_parameters_are_passed_over(source: str) -> None:
    cell = {"metadata": {"tags": ["parameters"]}, "source": source}
    assert parameters_of({"cells": [cell]}) == {"seed": 0, "name": "a"}


def test_a_strange_escape_among_the_parameters_warns_nobody(recwarn: pytest.WarningsRecorder) -> None:
    cell = {"metadata": {"tags": ["parameters"]}, "source": "%matplotlib inline\npattern = '\\d'"}
    assert parameters_of({"cells": [cell]}) == {"pattern": "\\d"} and not recwarn.list


@pytest.mark.parametrize(
    ("name", "value", "parsed"),
    [
        ("seed", "3", 3),
        ("rate", "1", 1.0),
        ("rate", 0.25, 0.25),
        ("name", "12", "12"),
        ("flag", "true", True),
        ("free", "x", "x"),
    ],
)
def test_parameters_take_the_type_of_their_default(name: str, value: Any, parsed: Any) -> None:
    book = Notebook("n", Path("n.ipynb"), parameters={"seed": 0, "rate": 0.5, "name": "a", "flag": False, "free": None})
    got = runner.parse_parameter(book, name, value)
    assert got == parsed and type(got) is type(parsed)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("sed", "1", "no parameter 'sed'; the nearest are seed"),
        ("seed", "many", "takes a value like 0 .int., not 'many'"),
    ],
)
def test_bad_parameters_are_one_sentence(name: str, value: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        runner.parse_parameter(Notebook("n", Path("n.ipynb"), parameters={"seed": 0, "rate": 0.5}), name, value)


# ---- one run in which everything fails -------------------------------------------------------------------


@pytest.fixture(scope="module")
def disaster(
    tmp_path_factory: pytest.TempPathFactory, make_notebook: Make, environment: dict[str, str]
) -> tuple[Path, Any]:
    """A run of good notebooks beside a failing one, a killed kernel, a killed worker, a greedy and a damaged one."""
    home = tmp_path_factory.mktemp("disaster")
    books, before = home / "books", "print('before')"
    make_notebook(books / "00_ok.ipynb", [RECORD, "result(technique='draft', claim_id='gap', verdict='supported')"])
    make_notebook(books / "1_bad/11_fails.ipynb", [before, "1 / 0", "print('after')"])
    make_notebook(books / "1_bad/12_kernel.ipynb", [before, "import os\nos.kill(os.getpid(), 9)"])
    kill_worker = (
        "import os, time\nopen('kernel', 'w').write(str(os.getpid()))\nos.kill(os.getppid(), 9)\ntime.sleep(60)"
    )
    make_notebook(books / "1_bad/13_worker.ipynb", [before, kill_worker])
    greedy = "import time\nheld = []\nwhile True:\n    held.append(b'x' * 20_000_000)\n    time.sleep(0.05)"
    make_notebook(books / "1_bad/15_greedy.ipynb", [before, greedy])
    make_notebook(books / "1_bad/16_damaged.ipynb", [RECORD.replace("result()", "from IPython.display import display"),
                  "display({'application/vnd.srm.result+json': {'value': 1}}, raw=True)"])  # fmt: skip
    make_notebook(books / "2_last.ipynb", ["import os\nprint(profile, os.environ['OMP_NUM_THREADS'], os.getcwd())"])
    options = ["--profile", "smoke", "--timeout", "300", "--memory", "0.5", "--jobs", "2", "--id", "one"]
    done = srm(environment, home, "run", "--notebooks", str(books), *options)
    return home / "runs" / "one", done


FATES = {
    "00_ok": ("completed", None),
    "1_bad/11_fails": ("failed", "ZeroDivisionError: division by zero"),
    "1_bad/12_kernel": ("failed", "Its kernel died"),
    "1_bad/13_worker": ("failed", "Its worker process died"),
    "1_bad/15_greedy": ("failed", "It used more than its share of the memory"),
    "1_bad/16_damaged": ("failed", "The result recorded in cell 4 is damaged"),
    "2_last": ("completed", None),
}


def test_each_failure_costs_only_its_notebook(disaster: tuple[Path, Any]) -> None:
    folder, done = disaster
    assert done.returncode == 1, done.stderr
    seen = statuses(folder)
    assert seen.keys() == FATES.keys()
    for label, (state, error) in FATES.items():
        assert seen[label]["state"] == state, (label, seen[label])
        assert (seen[label]["error"] or "").startswith(error or ""), seen[label]
    # Failing cells are counted as the executed notebook shows them: the parameters given are its second cell.
    assert (seen["1_bad/11_fails"]["cell"], seen["1_bad/11_fails"]["cells"]) == (4, 5)
    assert (seen["00_ok"]["cell"], seen["00_ok"]["cells"]) == (4, 4)
    assert seen["1_bad/15_greedy"]["peak_bytes"] > 0.5e9 > seen["00_ok"]["peak_bytes"] > 1e7


def test_failures_are_named_on_the_terminal(disaster: tuple[Path, Any]) -> None:
    _, done = disaster
    assert "5 of 7 notebooks failed:" in done.stderr
    assert "1_bad/11_fails, cell 4 of 5: ZeroDivisionError: division by zero" in done.stderr
    assert "Traceback" not in done.stderr
    assert "00_ok completed" in done.stderr
    assert "one/index.html" in done.stdout


def test_partial_output_is_kept(disaster: tuple[Path, Any]) -> None:
    folder, _ = disaster
    for label in ("11_fails", "12_kernel", "13_worker", "15_greedy"):
        assert "before" in outputs(folder / "1_bad" / f"{label}.ipynb"), label
        assert "before" in (folder / "1_bad" / f"{label}.html").read_text(), label
    assert "after" not in outputs(folder / "1_bad/11_fails.ipynb")


def test_no_kernel_outlives_its_worker(disaster: tuple[Path, Any]) -> None:
    folder, _ = disaster
    pid = int((folder / "1_bad" / "kernel").read_text())
    gone = wait_for(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE, 10)
    assert gone


def test_kernels_run_one_thread_in_their_output_folder(disaster: tuple[Path, Any]) -> None:
    folder, _ = disaster
    assert outputs(folder / "2_last.ipynb").split() == ["smoke", "1", str(folder)]
    assert not list(folder.rglob("k-*"))


def test_results_are_collected(disaster: tuple[Path, Any], tmp_path: Path) -> None:
    import pandas

    folder, _ = disaster
    records = [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]
    assert [(r["label"], r["technique"], r["claim_id"], r["verdict"]) for r in records] == [
        ("00_ok", "vote", None, None),
        ("00_ok", "draft", "gap", "supported"),
    ]
    table = pandas.read_parquet(folder / "results.parquet")
    assert list(table["value"]) == [0.75, 0.75] and list(table["flops"]) == [2.5e9, 2.5e9]
    header = json.loads((folder / "run.json").read_text())
    assert set(table["run"]) == {"one"} and header["machine"]["cores"] >= 1
    # Shipped beside a notebook as a study's records, they say how they came to be.
    shutil.copy(folder / "results.parquet", tmp_path / "00_study.parquet")
    study = load_study("00_ok", "base", tmp_path)
    assert len(study.results) == len(study.claimed) == 1
    assert f"Run with `{header['command']}` at" in str(study) and str(study).endswith("x86_64.") == (
        header["machine"]["architecture"] == "x86_64"
    )


def test_the_report_shows_scores_failures_and_links(disaster: tuple[Path, Any]) -> None:
    folder, _ = disaster
    page = (folder / "index.html").read_text()
    assert "2 of 7" in page and "ZeroDivisionError: division by zero" in page
    assert "in cell 4 of 5" in page
    for label in FATES:
        assert f'href="{label}.html"' in page and (folder / f"{label}.html").is_file(), label
    for figure in ("0.75", "0.6 … 0.9", "2.5 G", "120", "supported"):
        assert figure in page, figure
    # The page stands alone: it loads nothing, and what a notebook wrote stays text.
    assert "src=" not in page and "http" not in page.replace("http-equiv", "")


def test_the_report_escapes_what_notebooks_say(disaster: tuple[Path, Any], tmp_path: Path) -> None:
    folder, _ = disaster
    copy = shutil.copytree(folder, tmp_path / "copy")
    path = copy / "status" / "1_bad" / "11_fails.json"
    path.write_text(path.read_text().replace("division by zero", "<script>alert(1)</script>"))
    page = write_report(copy, Agreement(3, 2, 0.1, 1)).read_text()
    assert "<b>2 of 3</b><span>figures as shipped" in page and "the largest difference is 0.1" in page
    assert "figures as shipped" not in write_report(copy).read_text()
    assert "&lt;script&gt;alert(1)" in page and "<script>alert" not in page


def test_a_runs_figures_stand_beside_the_shipped_ones(tmp_path: Path) -> None:
    def result(technique: str, value: float, **more: Any) -> Result:
        about = {"notebook": "00_ok", "metric": "accuracy", "low": 0.0, "high": 1.0, "n": 40, "model": "base"}
        return Result(**(about | {"technique": technique, "value": value, "profile": "cpu", "seed": 0} | more))

    vote, odd = result("vote", 0.75), result("draft", math.nan)
    claim = result("vote", 0.2, claim_id="gap", verdict="supported")
    shipped = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("")])
    shipped.cells[0].outputs = [nbformat.v4.new_output("display_data", bundle(r)) for r in (vote, odd, claim)]
    nbformat.write(shipped, tmp_path / "00_ok.ipynb")

    def beside(*found: Result, **parameters: str) -> Agreement | None:
        to_jsonl(found, tmp_path / "records.jsonl")
        (tmp_path / "run.json").write_text(json.dumps({"settings": {"parameters": parameters}}))
        return agreement(tmp_path, tmp_path)

    assert beside(vote, odd, claim) == Agreement(3, 3, 0.0, 0)
    assert str(beside(claim, vote)) == "2 of 2 figures are the shipped ones."
    other = replace(claim, value=0.1, verdict="inconclusive")
    said = "2 of 3 figures are the shipped ones; the largest difference is 0.1, of the verdicts 1 differ."
    assert str(beside(vote, replace(odd), other)) == said
    assert beside(replace(odd, value=0.5)).largest == math.inf
    # Of another size, profile or setting nothing is known.
    strangers: list[dict[str, Any]] = [{"n": 8}, {"profile": "smoke"}, {"settings": {"k": 1}}]
    assert beside(*(replace(vote, **change) for change in strangers)) is None
    assert beside() is None
    assert beside(vote, split="confirm") is None
    for damaged in ("", "{"):
        (tmp_path / "00_ok.ipynb").write_text(damaged)
        assert beside(vote) is None
    (tmp_path / "00_ok.ipynb").unlink()
    assert beside(vote) is None


# ---- files as people and editors leave them ---------------------------------------------------------------


def test_odd_names_run_as_themselves_and_an_unreadable_notebook_costs_only_itself(
    tmp_path: Path, make_notebook: Make, environment: dict[str, str]
) -> None:
    books = tmp_path / "of {profile} 100%"
    odd = ["exp{seed}", "v1.2 [b] {} #1?"]
    for name in odd:
        make_notebook(books / f"{name}.ipynb", ["print('itself')"])
    make_notebook(books / "exp0.ipynb", ["print('another')"])
    (books / "torn.ipynb").write_text("{\n<<<<<<< HEAD\n")
    asked = ("run", "--notebooks", str(books), "--profile", "smoke", "--jobs", "2", "--id", "one", "-p", "seed", "0")
    done = srm(environment, tmp_path, *asked)
    folder = tmp_path / "runs" / "one"
    seen = statuses(folder)
    assert seen.keys() == {*odd, "exp0", "torn"}, done.stderr
    assert [outputs(folder / f"{name}.ipynb") for name in odd] == ["itself\n"] * 2
    assert outputs(folder / "exp0.ipynb") == "another\n"
    assert done.returncode == 1 and "holds a merge conflict, on line 2" in seen["torn"]["error"]
    assert "1 of 4 notebooks failed:" in done.stderr and "torn.ipynb holds a merge conflict" in done.stderr
    page = (folder / "index.html").read_text()
    for name in odd:
        assert f'href="{quote(name)}.html"' in page and (folder / f"{name}.html").is_file()
    assert runner.expected_seconds(read_catalogue(books)[0], "smoke", tmp_path / "runs") is not None
    again = srm(environment, tmp_path, "run", "--resume", "--notebooks", str(books))
    assert "3 notebooks taken over" in again.stderr and again.returncode == 1


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"language_info": {"name": "python", "version": "3.12"}},  # VS Code before a kernel is chosen
        {"kernelspec": {"name": "python3", "display_name": "Python 3"}, "colab": {"provenance": []}},
        {"kernelspec": {"display_name": "Python", "language": "python"}, "accelerator": "GPU"},
    ],
    ids=["bare", "vscode", "colab", "nameless"],
)
def test_a_notebook_without_kernel_or_language_is_python(metadata: dict[str, Any], job: execution.Job) -> None:
    nb = json.loads(Path(job.source).read_text())
    nb["metadata"] = metadata
    Path(job.source).write_text(json.dumps(nb))
    status = execution.execute(job)
    assert (status.state, status.error) == ("completed", None) and outputs(job.output) == "one\ntwo\n"


def test_a_notebook_of_another_language_needs_its_kernel_named(job: execution.Job) -> None:
    nb = json.loads(Path(job.source).read_text())
    nb["metadata"] = {"language_info": {"name": "julia"}}
    Path(job.source).write_text(json.dumps(nb))
    said = execution.execute(job).error or ""
    assert said.endswith("a.ipynb is written in julia and names no kernel; choose one in Jupyter and save it.")


@pytest.mark.parametrize(
    ("cell", "code"),
    [("exit()", 0), ("quit()", 0), ("print('in')\nimport os\nos._exit(0)", 0), ("import os\nos._exit(3)", 3)],
)
def test_a_cell_that_ends_the_kernel_is_told_from_a_full_memory(
    cell: str, code: int, job: execution.Job, make_notebook: Make
) -> None:
    make_notebook(Path(job.source), ["print('before')", cell, "print('after')"])
    status = execution.execute(job)
    assert status.state == "failed" and (status.error or "").startswith("A cell ended the kernel (exit(), quit() or")
    assert f"exit code {code})" in (status.error or "")
    assert "before" in outputs(job.output) and "after" not in outputs(job.output)
    if cell == "exit()":
        make_notebook(Path(job.source), ["print('all')", cell])
        assert execution.execute(job).state == "completed", "at its end a notebook may end its kernel"


def test_sys_exit_and_a_crash_are_named(job: execution.Job, make_notebook: Make) -> None:
    make_notebook(Path(job.source), ["import sys\nsys.exit('enough')", "print('after')"])
    assert execution.execute(job).error == "SystemExit: enough"
    make_notebook(Path(job.source), ["import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)"])
    assert "crashed in compiled code (SIGSEGV)" in (execution.execute(job).error or "")
    assert execution._explain_death(None) == execution._explain_death(-9)
    assert execution._explain_death(-9).startswith("Its kernel died (killed, or the machine ran out of memory)")


# ---- resume ----------------------------------------------------------------------------------------------


def test_resume_reruns_what_is_missing_failed_or_changed(
    tmp_path: Path, make_notebook: Make, environment: dict[str, str]
) -> None:
    books, clock = tmp_path / "books", "import time\nprint(time.time_ns())"
    for name in "abd":
        make_notebook(books / f"{name}.ipynb", [clock])
    make_notebook(books / "c.ipynb", ["raise ValueError('not yet')"])
    folder = tmp_path / "runs" / "one"
    assert srm(environment, tmp_path, "run", "--resume").returncode == 2
    first = srm(environment, tmp_path, "run", "--notebooks", str(books), "--profile", "smoke", "--id", "one")
    assert first.returncode == 1 and statuses(folder)["c"]["error"] == "ValueError: not yet"
    printed = {n: outputs(folder / f"{n}.ipynb") for n in "abcd"}
    # One repaired, one changed, one lost; a stays.
    make_notebook(books / "c.ipynb", [clock])
    make_notebook(books / "b.ipynb", [clock, "print('changed')"])
    (folder / "d.ipynb").unlink()
    again = srm(environment, tmp_path, "run", "--resume", "--notebooks", str(books))
    assert again.returncode == 0 and "1 notebook taken over" in again.stderr, again.stderr
    assert {n for n in "abcd" if outputs(folder / f"{n}.ipynb") != printed[n]} == {"b", "c", "d"}
    assert statuses(folder)["c"]["parameters"] == {"profile": "smoke", "seed": 0}


def test_a_runs_processes_compile_no_grammar(environment: dict[str, str]) -> None:
    code = "import srm_utils.collection.execute, nbformat, papermill, sys; print('lark' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert said.stdout.split() == ["False"], said.stderr


def test_the_package_version_is_its_code(package: Path, environment: dict[str, str]) -> None:
    def version() -> str:
        code = "from srm_utils.collection.dispatch import code_version; print(code_version())"
        return subprocess.run(
            [sys.executable, "-c", code], env=environment, cwd=package, capture_output=True, text=True
        ).stdout

    before = version()
    assert len(before.strip()) == 32 and version() == before
    added = package / "srm_utils" / "tasks" / "new_world.py"
    added.write_text("x = 1\n")
    assert version() != before
    added.unlink()
    assert version() == before


def test_seeds_get_folders_of_their_own(shelf: Path) -> None:
    settings = {"names": [], "profile": "smoke", "seed": 3, "seeds": 2, "parameters": {}}
    jobs = runner.plan(read_catalogue(shelf)[::3], shelf / "runs" / "x", settings)
    assert [j.label for j in jobs][::2] == ["seed-3/00_tour", "seed-4/00_tour"]
    assert {j.parameters["seed"] for j in jobs} == {3, 4} and len({j.key for j in jobs}) == 4
    assert jobs[0].expected is None
    cpu = runner.plan(read_catalogue(shelf)[:1], shelf / "runs" / "x", settings | {"profile": "cpu"})
    assert cpu[0].expected == 120


def test_a_batch_over_seeds_gives_each_claim_one_verdict(
    tmp_path: Path, make_notebook: Make, environment: dict[str, str]
) -> None:
    books = tmp_path / "books"
    measure = (
        "assert seeds == 1, 'a grid of seeds would be trained once a seed'\n"
        "gain = {0: 0.3, 1: 0.35, 2: 0.4, 3: 0.32, 4: 0.38}[seed]\n"
        "about = dict(notebook='a', value=gain, low=-1, high=1, n=1, metric='difference')\n"
        "result(**about, claim_id='gap', verdict='inconclusive')"
    )
    parameters = "profile = 'smoke'\nseed = 0\nsplit = 'test'\nseeds = None"
    # What dask sets for its own workers would have a kernel fault in every tensor anew.
    memory = "import os\nassert 'MALLOC_TRIM_THRESHOLD_' not in os.environ and os.environ['OMP_NUM_THREADS']"
    make_notebook(books / "a.ipynb", [RECORD.replace("\nresult()", ""), memory, measure], parameters)
    (books / "claims.yaml").write_text(CLAIM.format("gap", "a") + "  seeds: 5\n")
    asked = ("run", "--notebooks", str(books), "--profile", "smoke", "--seeds", "0..4", "--jobs", "2", "--id", "five")
    done = srm(environment, tmp_path, *asked)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "runs" / "five"
    *single, whole = [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]
    assert [r["label"] for r in single] == [f"seed-{k}/a" for k in range(5)]
    assert (whole["label"], whole["claim_id"], whole["verdict"], whole["n"]) == ("a", "gap", "supported", 5)
    assert abs(whole["value"] - 0.35) < 1e-9 and whole["low"] > 0.29 and whole["extra"]["seeds"] == [0, 1, 2, 3, 4]
    assert "supported" in (folder / "index.html").read_text()


def test_seeds_that_measured_nothing_give_no_verdict() -> None:
    def result(seed: int, value: float) -> Result:
        return Result("nb", "x", "m", value, -1, 1, 1, "base", "cpu", seed, claim_id="c", verdict="inconclusive")

    claim = Claim(id="c", notebook="nb", paper="p", sentence="s", type="superiority", margin=0.0, metric="m", n=40,
                  scope="effect", seeds=5)  # fmt: skip
    assert over_seeds([result(0, 0.1)], [claim]) == []
    assert over_seeds([result(0, 0.1), result(1, float("nan"))], [claim]) == []
    two = over_seeds([result(0, 0.1), result(1, 0.12)], [claim])
    assert [(r.verdict, r.n) for r in two] == [("inconclusive", 2)], "fewer seeds than a verdict needs"
    (equal,) = over_seeds([result(k, 0.435) for k in range(5)], [claim])
    assert (equal.verdict, equal.value, equal.low, equal.high) == ("inconclusive", 0.435, -math.inf, math.inf)
    assert equal.extra["reason"] == "All 5 seeds agree exactly, so there is no spread to judge by."
    on_problems = claim.model_copy(update={"seeds": None})
    assert over_seeds([result(0, 0.1), result(1, 0.12)], [on_problems]) == []


# ---- Ctrl-C ----------------------------------------------------------------------------------------------


def test_interrupt_keeps_what_is_done_and_resume_goes_on(
    tmp_path: Path, make_notebook: Make, environment: dict[str, str]
) -> None:
    books = tmp_path / "books"
    make_notebook(books / "a.ipynb", ["print('a')"], minutes={"smoke": 9})
    wait = f"import os, time\nwhile not os.path.exists({str(tmp_path / 'go')!r}):\n    time.sleep(0.1)"
    make_notebook(books / "b.ipynb", ["print('half')", wait, "print('whole')"])
    make_notebook(books / "c.ipynb", ["print('c')"])
    command = [sys.executable, "-m", "srm_utils.cli.main", "run", "--notebooks", str(books), "--jobs", "1"]
    command += ["--profile", "smoke", "--id", "one"]
    piped: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}

    def hear_interrupts() -> None:
        # A test run in the background ignores SIGINT and would hand that on; a terminal's command does not.
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment, start_new_session=True, preexec_fn=hear_interrupts, **piped
    )
    try:
        progress = wait_for(lambda: started(tmp_path / "runs", "b", 4))
        # As a terminal does: to the whole process group.
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=200)
    finally:
        process.kill()
    folder = tmp_path / "runs" / "one"
    assert process.returncode == 130, said
    assert "srm run --resume --id one" in said and "Traceback" not in said
    seen = statuses(folder)
    assert {k: v["state"] for k, v in seen.items()} == {"a": "completed", "b": "interrupted"}
    assert "half" in outputs(folder / "b.ipynb")
    assert "It has not run" in (folder / "index.html").read_text()
    wait_for(lambda: not psutil.pid_exists(progress["kernel"]), 10)
    (tmp_path / "go").touch()
    done = srm(environment, tmp_path, "run", "--resume", "--notebooks", str(books))
    assert done.returncode == 0, done.stderr
    assert "1 notebook taken over" in done.stderr and "whole" in outputs(folder / "b.ipynb")
    assert {v["state"] for v in statuses(folder).values()} == {"completed"} and len(statuses(folder)) == 3


# ---- an existing scheduler -------------------------------------------------------------------------------


@pytest.fixture
def scheduler(tmp_path: Path, environment: dict[str, str]) -> Iterator[str]:
    """A dask scheduler and two workers, started by hand on this machine."""
    file = tmp_path / "scheduler.json"
    dask = [sys.executable, "-m", "dask"]
    common = ["--scheduler-file", str(file), "--no-dashboard"]

    def start(*arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*dask, *arguments, *common],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    processes = [start("scheduler", "--host", "127.0.0.1", "--port", "0")]
    try:
        wait_for(file.is_file)
        for i in range(2):
            processes.append(
                start("worker", "--nthreads", "1", "--host", "127.0.0.1", "--local-directory", str(tmp_path / f"w{i}"))
            )
        yield json.loads(file.read_text())["address"]
    finally:
        for process in reversed(processes):
            process.kill()
        for process in processes:
            process.wait(timeout=20)


def test_an_existing_scheduler_runs_them_on_its_workers(
    scheduler: str, tmp_path: Path, make_notebook: Make, environment: dict[str, str]
) -> None:
    books = tmp_path / "books"
    # Each waits until both have begun: they can only finish on two workers at once.
    meet = "import os, time\nopen('{0}', 'w').close()\nwhile not os.path.exists('{1}'):\n    time.sleep(0.05)"
    for me, other in (("a", "b"), ("b", "a")):
        make_notebook(books / f"{me}.ipynb", [meet.format(me, other), "print(os.getppid())"])
    die_once = "import os\nif not os.path.exists('died'):\n    open('died', 'w').close()\n    os.kill(os.getppid(), 9)"
    make_notebook(books / "c.ipynb", [die_once, "print('lived')"])
    done = srm(environment, tmp_path, "run", "--notebooks", str(books), "--profile", "smoke", "--scheduler", scheduler,
               "--id", "one", "--timeout", "300")  # fmt: skip
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "runs" / "one"
    workers = {outputs(folder / f"{n}.ipynb").strip() for n in "ab"}
    assert len(workers) == 2 and all(w.isdigit() for w in workers), done.stderr
    # A worker that died costs the notebook it ran a second start, and none of those it ran before.
    assert "lived" in outputs(folder / "c.ipynb")


def test_no_scheduler_is_one_sentence(tmp_path: Path, make_notebook: Make) -> None:
    make_notebook(tmp_path / "a.ipynb", [])
    with pytest.raises(RuntimeError, match="No dask scheduler answers at nonsense://x; start one"):
        runner.run(["a"], scheduler="nonsense://x", notebooks=tmp_path, out=tmp_path / "runs", profile="smoke")


# ---- in this process -------------------------------------------------------------------------------------


@pytest.fixture
def job(tmp_path: Path, make_notebook: Make) -> execution.Job:
    """A notebook of two cells."""
    source = make_notebook(tmp_path / "a.ipynb", ["print('one')", "print('two')"])
    return execution.Job("a", "part/a", str(source), str(tmp_path / "run"), {"profile": "smoke"}, "key", timeout=120)


def test_a_full_disk_costs_only_its_notebook(job: execution.Job, monkeypatch: pytest.MonkeyPatch) -> None:
    write, calls = execution.write_text, []

    def full(path: Path, text: str) -> None:
        calls.append(path)
        if len(calls) > 5:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        write(path, text)

    monkeypatch.setattr(execution, "write_text", full)
    status = execution.execute(job)
    assert (status.state, status.error) == (
        "failed",
        "The disk is full; free some space, then run again with --resume.",
    )
    # What was on the disk before is whole.
    assert json.loads(job.output.read_text())["cells"]
    monkeypatch.setattr(execution, "write_text", write)
    (Path(job.folder) / "status").mkdir()
    monkeypatch.setattr(dispatch, "write_text", full)
    assert dispatch._record(status, Path(job.folder)).error == status.error


def test_an_unfinished_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.json"
    execution.write_text(path, "old")

    def torn(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", torn)
    with pytest.raises(OSError, match="No space"):
        execution.write_text(path, "new")
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_a_time_out_kills_the_kernel_and_keeps_what_it_said(job: execution.Job, make_notebook: Make) -> None:
    make_notebook(Path(job.source), ["import os\nprint(os.getpid())", "import time\ntime.sleep(600)"])
    status = execution.execute(replace(job, timeout=8))
    assert (status.state, status.cell, status.cells) == ("failed", 4, 4)
    assert (status.error or "").startswith("It ran past its time limit of 8 s")
    pid = int(outputs(job.output))
    wait_for(lambda: not psutil.pid_exists(pid), 10)


def test_a_missing_kernel_is_one_sentence(job: execution.Job) -> None:
    nb = json.loads(Path(job.source).read_text())
    nb["metadata"]["kernelspec"]["name"] = "fortran"
    Path(job.source).write_text(json.dumps(nb))
    assert (execution.execute(job).error or "").startswith(
        "There is no Jupyter kernel 'fortran' here; install ipykernel"
    )


def test_plain_papermill_works_from_any_folder(
    tmp_path: Path, make_notebook: Make, environment: dict[str, str]
) -> None:
    make_notebook(tmp_path / "books" / "a.ipynb", [RECORD], "profile = 'cpu'\nseed = 0")
    (tmp_path / "else").mkdir()
    command: Sequence[str] = ("../books/a.ipynb", "out.ipynb", "-p", "profile", "smoke")
    done = subprocess.run(
        [sys.executable, "-m", "papermill", *command],
        cwd=tmp_path / "else",
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    from srm_utils.evaluation.results import read_results

    assert [r.profile for r in read_results(tmp_path / "else" / "out.ipynb")] == ["smoke"]


# ---- confirm ---------------------------------------------------------------------------------------------

CLAIM = """- id: {0}
  notebook: {1}
  paper: wei2022chain
  sentence: Thinking helps.
  type: superiority
  margin: 0.1
  metric: difference
  n: 40
  scope: effect
"""


def test_confirm_runs_claims_on_the_reserved_split(
    tmp_path: Path, make_notebook: Make, environment: dict[str, str]
) -> None:
    books = tmp_path / "books"
    cells = [
        RECORD.replace("\nresult()", ""),
        "result(claim_id='gap', metric='difference', verdict='supported' if split == 'confirm' else None)",
    ]
    cells += ["import pathlib\npathlib.Path(folder).mkdir()"]
    make_notebook(books / "a.ipynb", cells, "profile = 'smoke'\nseed = 0\nsplit = 'test'\nfolder = None")
    make_notebook(books / "b.ipynb", ["1 / 0"])
    make_notebook(books / "c.ipynb", ["1 / 0"])
    (books / "claims.yaml").write_text(CLAIM.format("gap", "a") + CLAIM.format("other", "c"))
    old = {"claim": "gone", "verdict": "supported"}
    (books / "confirmed.json").write_text(json.dumps({"claims": [old, {"claim": "gap", "verdict": "contradicted"}]}))
    asked = ("confirm", "--notebooks", str(books), "--profile", "smoke")
    done = srm(environment, tmp_path, *asked, "-p", "folder", "kept", "--id", "one")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "kept").is_dir(), "a folder is meant from where the person stands, not from the kernel's"
    (verdict,) = json.loads((books / "confirmed.json").read_text())["claims"]
    # The notebook gives a verdict on the reserved split only, so this shows where it ran. Neither b, which has no
    # claim, nor c, which has no reserved split, ran.
    assert (verdict["claim"], verdict["verdict"], verdict["run"]) == ("gap", "supported", "one")
    assert list(statuses(tmp_path / "runs" / "one")) == ["a"]
    assert json.loads((tmp_path / "runs" / "one" / "confirmed.json").read_text())["claims"] == [verdict]
    named = srm(environment, tmp_path, *asked, "c")
    assert named.returncode == 2 and named.stderr.startswith("The notebook c has no parameter 'split'")
    refused = srm(environment, tmp_path, *asked, "-p", "split", "test")
    assert refused.returncode != 0 and "leave the parameter `split` out" in refused.stderr


def test_a_profile_on_a_folder_means_it_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("mine", "base"):
        (tmp_path / name).mkdir()
    found = {p: runner._from_here(p, {})["profile"] for p in ("cpu", "cpu:mine", "cpu:base", "gpu:qwen3-4b")}
    assert found == {p: p for p in found} | {"cpu:mine": f"cpu:{tmp_path / 'mine'}"}


# ---- shipped records of a study --------------------------------------------------------------------------


def test_a_study_speaks_for_its_own_model_settings_and_claims(tmp_path: Path) -> None:
    def result(technique: str, value: float, **more: Any) -> Result:
        about: dict[str, Any] = {"settings": {"steps": 3}} | more
        return Result(
            "p/17b_rl", technique, "accuracy", value, value - 0.1, value + 0.1, 40, "base", "study", 0, **about
        )

    claims = [
        Claim(id=i, notebook="p/17b_rl", paper="x", sentence="s", type="superiority", margin=0.0, metric="gain", n=40,
              scope="effect", seeds=5)
        for i in ("one", "two", "three")
    ]  # fmt: skip
    now = judge(claims[:2], {"one": seed_paired([0.1, -0.1, 0.2, -0.2, 0.0]), "two": seed_paired([0.1, 0.2])})
    then = judge(claims[:1], {"one": seed_paired([0.2, 0.21, 0.19, 0.2, 0.2])})
    (tmp_path / "p").mkdir()
    rows = [result("vote", 0.5), result("vote", 0.6), result("one", 0.0).with_verdict(then[0])]
    to_parquet(rows, tmp_path / "p" / "17b_study.parquet")
    study = load_study("p/17b_rl", "base", tmp_path)
    assert [r.value for r in study.results] == [0.5, 0.6]
    assert str(study) == "The study: 2 results, 1 seeds."
    told = study.verdicts(claims, now)
    assert [(v.claim.id, v.verdict) for v in told] == [("one", "supported"), ("two", "inconclusive")]
    assert told[0].estimate == then[0].estimate and told[0].p_value == then[0].p_value
    equal = replace(rows[2], value=0.435, low=0.435, high=0.435)
    to_parquet([*rows[:2], equal], tmp_path / "p" / "17b_study.parquet")
    (doubted, _) = load_study("p/17b_rl", "base", tmp_path).verdicts(claims, now)
    assert (doubted.claim.id, doubted.verdict) == ("one", "inconclusive"), "an interval without a width says nothing"
    study.check(result("vote", 0.75))
    study.check(result("vote", 0.95, settings={"steps": 4}))
    with pytest.raises(AssertionError, match="vote, accuracy: 0.85 here, 0.4 to 0.7 in the study"):
        study.check(result("vote", 0.85))
    assert not load_study("p/17b_rl", "another", tmp_path) and not load_study("p/18_x", "base", tmp_path)
    (tmp_path / "p" / "17b_study.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match="17b_study.parquet is damaged"):
        load_study("p/17b_rl", "base", tmp_path)
