"""Every notebook of the collection: its shape, its run by papermill in `smoke`, its records, its committed outputs."""

from __future__ import annotations

import ast
import base64
import json
import pydoc
import re
from importlib.util import find_spec
from pathlib import Path

import nbformat
import papermill
import pytest
from traitlets.config import Config

from srm_utils.collection.catalogue import cell_source, parameters_of, read_catalogue, read_json
from srm_utils.collection.publish import publish, source_hash, stale
from srm_utils.evaluation import load_claims, read_results
from srm_utils.evaluation.results import read_parquet
from srm_utils.literature import NO_CLAIM, load, load_roadmap
from srm_utils.models.fetch import fetched, why_not_here
from srm_utils.reporting import show_source

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = {n.name: n for n in read_catalogue(ROOT / "notebooks")}
CLAIMS = load_claims(ROOT / "notebooks" / "claims.yaml", papers=set(load()))
#: Notebooks that ask no model anything: they have no claim, and what they count costs nothing.
TECHNIQUES = [t for part in load_roadmap() for t in part.techniques if t.status == "built"]
MODEL_FREE = {t.notebook for t in TECHNIQUES} - {t.notebook for t in TECHNIQUES if t.claim != NO_CLAIM}
#: Notebooks whose live part needs a model that may not have been fetched.
NEEDS = {"03_real_model": "smollm2"}
SECTIONS = ["Idea", "Define, then poke", "Predict first", "Experiment", "Results", "Claims", "Exercises", "Where next"]


# The longest first and the tour last, so that of two workers none waits long for the other.
@pytest.fixture(params=sorted(NOTEBOOKS, reverse=True))
def notebook(request: pytest.FixtureRequest) -> tuple[str, dict]:
    return request.param, read_json(NOTEBOOKS[request.param].path)


def code_cells(nb: dict) -> list[dict]:
    return [c for c in nb["cells"] if c["cell_type"] == "code"]


def test_there_are_notebooks_and_each_claim_belongs_to_one() -> None:
    assert len(NOTEBOOKS) >= 3
    assert {c.notebook for c in CLAIMS} <= set(NOTEBOOKS)


def test_metadata_is_whole(notebook: tuple[str, dict]) -> None:
    name, _ = notebook
    listed = NOTEBOOKS[name]
    assert listed.title and listed.topic and listed.techniques
    assert {"cpu", "gpu"} <= set(listed.minutes) and {"cpu", "gpu"} <= set(listed.memory)
    assert set(listed.papers) <= set(load())


def test_sections_stand_in_order(notebook: tuple[str, dict]) -> None:
    _, nb = notebook
    text = "\n".join(cell_source(c) for c in nb["cells"] if c["cell_type"] == "markdown")
    assert text.startswith("# ")
    assert re.findall(r"^## (.+)$", text, re.M) == SECTIONS
    assert "deviates" in text and "You will be able to" in text


def test_parameters_are_literals_one_a_line(notebook: tuple[str, dict]) -> None:
    _, nb = notebook
    tagged = [c for c in code_cells(nb) if "parameters" in c["metadata"].get("tags", [])]
    assert len(tagged) == 1
    found = parameters_of(nb)
    assert found["profile"] == "cpu" and found["seed"] == 0
    for line in cell_source(tagged[0]).splitlines():
        ast.literal_eval(line.split("=", 1)[1].split("#")[0].strip())


def test_cells_are_short_and_clean(notebook: tuple[str, dict]) -> None:
    _, nb = notebook
    sources = [cell_source(c) for c in code_cells(nb)]
    assert sum(s.count("\n") + 1 for s in sources) / len(sources) < 20
    for source in sources:
        assert not re.search(r"sys\.path|^\s*[!%]|pip install|profile\s*==|warnings\.", source, re.M)
        assert not re.search(r"[\"'](?:/|[A-Z]:\\)[\w/]", source), "an absolute path"
    assert sum("assert " in s for s in sources) >= 3


def test_exercises_have_solutions_and_hidden_tests(notebook: tuple[str, dict]) -> None:
    _, nb = notebook
    graded = [c for c in code_cells(nb) if "nbgrader" in c["metadata"]]
    solutions = [c for c in graded if c["metadata"]["nbgrader"]["solution"]]
    tests = [c for c in graded if c["metadata"]["nbgrader"]["grade"]]
    assert len(solutions) >= 3 and len(tests) >= 3
    for cell in solutions:
        assert "### BEGIN SOLUTION" in cell_source(cell) and "### END SOLUTION" in cell_source(cell)
    for cell in tests:
        assert "### BEGIN HIDDEN TESTS" in cell_source(cell) and "assert" in cell_source(cell)
    ids = [c["metadata"]["nbgrader"]["grade_id"] for c in graded]
    assert len(ids) == len(set(ids))


def test_committed_outputs_belong_to_the_source(notebook: tuple[str, dict]) -> None:
    name, nb = notebook
    assert stale(nb) is None, f"{stale(nb)}: run `srm run {name}` and `srm publish`"
    outputs = [o for c in code_cells(nb) for o in c["outputs"]]
    assert not [o for o in outputs if o["output_type"] == "error"]
    assert any("image/png" in o.get("data", {}) for o in outputs)
    said = ["".join(o["text"]).strip() for o in outputs if o.get("name") == "stderr"]
    noise = [text for text in said if text and "%|" not in text]
    assert not noise, f"warnings left in the outputs: {noise}"
    assert read_results(nbformat.from_dict(nb))


def test_the_source_shown_is_todays(notebook: tuple[str, dict]) -> None:
    name, nb = notebook
    for output in (o for c in code_cells(nb) for o in c["outputs"]):
        text = "".join(output.get("data", {}).get("text/plain", ""))
        if not text.startswith("# srm_utils."):
            continue
        where = text.splitlines()[0].removeprefix("# ")
        if where.startswith("srm_utils.kernels.") and find_spec("triton") is None:
            continue  # kernels cannot be imported without it
        thing = pydoc.locate(where)
        assert thing is not None, f"{name} shows {where}, which is gone: run it and publish it again"
        thing = thing.fget if isinstance(thing, property) else thing
        now = {repr(show_source(thing, docstring)) for docstring in (False, True)}
        assert text in now, f"{name} shows an older {where}: run it and publish it again"


def smoke(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, **parameters: str) -> nbformat.NotebookNode:
    """The notebook as papermill runs it in `smoke`, from another folder."""
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MPLBACKEND", raising=False)  # the kernel draws for the notebook, not for this process
    config = Config()
    config.KernelManager.transport = "ipc"
    config.KernelManager.ip = str(folder / "k")
    out, given = folder / "out.ipynb", {"profile": "smoke", **parameters}
    papermill.execute_notebook(
        str(NOTEBOOKS[name].path), str(out), given, config=config, progress_bar=False, log_output=False
    )
    return nbformat.read(out, 4)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_smoke_run_from_another_folder(
    notebook: tuple[str, dict], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, nb = notebook
    if name in NEEDS and fetched(NEEDS[name]) is None:
        pytest.skip(f"the live part of {name} is left out: {why_not_here(NEEDS[name])}")
    executed = smoke(name, tmp_path, monkeypatch)
    results = read_results(executed)
    assert {r.profile for r in results} == {"smoke"} and {r.notebook for r in results} == {name}
    for r in results:
        assert r.n > 0 and r.model and r.technique
        if r.value == r.value:  # a slope over too few problems may be undefined, and says so
            assert r.low - 1e-9 <= r.value <= r.high + 1e-9 or r.claim_id
    claimed = {c.id for c in CLAIMS if c.notebook == name}
    judged = {r.claim_id for r in results if r.claim_id}
    said = "".join(o.get("text", "") for c in executed.cells if c.cell_type == "code" for o in c.outputs)
    assert judged <= claimed and bool(judged) == (name not in MODEL_FREE)
    # A profile may leave an arm out (a grid, a size that is not there); then the notebook says so, or gives the
    # verdict of the study whose records lie beside it.
    part, _, book = name.rpartition("/")
    shipped = ROOT / "notebooks" / part / f"{book.split('_')[0]}_study.parquet"
    studied = [r for r in read_parquet(shipped) if r.claim_id] if shipped.is_file() else []
    known = {r.claim_id: r.verdict if r.estimate.has_spread else "inconclusive" for r in studied}
    assert all(f"{claim}: not measured" in said for claim in claimed - judged - set(known))
    assert all(f"{claim}: {known[claim]} (" in said for claim in set(known) & claimed - judged)
    measured = [r for r in results if not r.claim_id]
    costs = [r.cost.flops > 0 for r in measured]
    assert costs and set(costs) == {name not in MODEL_FREE}, "a measured number without its cost"
    assert any("image/png" in o.get("data", {}) for c in executed.cells if c.cell_type == "code" for o in c.outputs)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_self_training_also_trains_by_reinforcement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = read_results(smoke("1_training/18_self_training", tmp_path, monkeypatch, live="GRPO"))
    assert {"base", "GRPO"} <= {r.technique for r in results} and "ReST-EM" not in {r.technique for r in results}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("name", "model"), NEEDS.items())
def test_a_notebook_without_its_model_says_so_and_draws_the_study(
    name: str, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SRM_CACHE", str(tmp_path / "empty"))
    executed = smoke(name, tmp_path, monkeypatch)
    said = "".join(o.get("text", "") for c in executed.cells if c.cell_type == "code" for o in c.outputs)
    assert why_not_here(model) in said and not read_results(executed)
    assert all(f"{claim.id}: " in said for claim in CLAIMS if claim.notebook == name)
    drawn = [o for c in executed.cells if c.cell_type == "code" for o in c.outputs if "image/png" in o.get("data", {})]
    assert len(drawn) >= 4


def test_the_readmes_figure_is_that_of_the_committed_run() -> None:
    nb = read_json(NOTEBOOKS["2_inference/21_chain_of_thought"].path)
    shown = [o["data"]["image/png"] for c in code_cells(nb) for o in c["outputs"] if "image/png" in o.get("data", {})]
    figure = ROOT / "notebooks" / "accuracy_by_steps.png"
    assert f"](notebooks/{figure.name})" in (ROOT / "README.md").read_text()
    assert base64.b64decode(shown[0]) == figure.read_bytes(), "take the figure from the newly published notebook"


def test_changed_cells_make_outputs_stale(tmp_path: Path) -> None:
    nb = read_json(next(iter(NOTEBOOKS.values())).path)
    nb["metadata"]["srm_outputs"] = {"source": source_hash(nb), "profile": "cpu"}
    for cell in code_cells(nb):
        cell["execution_count"] = 1
    assert stale(nb) is None
    nb["cells"][1]["source"] = "profile = 'cpu'  # edited"
    assert "changed" in (stale(nb) or "")


def test_publishing_another_profile_is_refused(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "status").mkdir(parents=True)
    (run / "run.json").write_text("{}")
    cell = {"cell_type": "code", "source": "1", "metadata": {}, "outputs": [], "execution_count": 1}
    for folder in (run, tmp_path / "books"):
        folder.mkdir(exist_ok=True)
        (folder / "a.ipynb").write_text(json.dumps({"cells": [cell], "metadata": {}}))
    status = '{"notebook": "a", "label": "a", "state": "completed", "key": "", "parameters": {"profile": "smoke"}}'
    (run / "status" / "a.json").write_text(status)
    with pytest.raises(ValueError, match="profile 'smoke'"):
        publish(run, tmp_path / "books")
