"""What reruns under --resume: a notebook whose own code, claims, models or records changed, and no other."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from srm_utils.collection import fingerprint
from srm_utils.collection.catalogue import find, read_catalogue
from srm_utils.collection.fingerprint import job_key, read_code

PACKAGE = {
    "__init__.py": "def __getattr__(name):\n    from srm_utils.models.load import load_model\n    return load_model\n",
    "tasks/__init__.py": "from srm_utils.tasks.registry import get\n",
    "tasks/registry.py": "import importlib\ndef get(n):\n    importlib.import_module(f'srm_utils.tasks.{n}')\n",
    "tasks/chain.py": '"""A world."""\nSIZE = 3  # many\n',
    "models/__init__.py": "",
    "models/load.py": "from ..tasks import chain\ndef load_model():\n    from srm_utils.models import late\n",
    "models/late.py": "RATE = 1\n",
    "models/family/base/model.safetensors": "weights",
    "models/family/base/README.md": "a card",
    "reporting/__init__.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from srm_utils import heavy\n",
    "reporting/page.py": "TEMPLATE = 'templates/page.html'\n",
    "reporting/templates/page.html": "<p>",
    "heavy.py": "x = 1\n",
    "worker.py": "print(1)\n",
    "reporting/spawn.py": "command = ['python', '-m', 'srm_utils.worker']\n",
    "broken.py": "def (\n",
}
CLAIM = """- id: {0}
  notebook: {1}
  paper: p
  sentence: {2}
  type: superiority
  margin: 0.1
  metric: difference
  n: 40
  scope: effect
"""


@pytest.fixture
def home(tmp_path: Path, make_notebook: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small package beside a collection of notebooks, in place of the real ones."""
    for name, text in PACKAGE.items():
        (tmp_path / "srm_utils" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "srm_utils" / name).write_text(text)
    (tmp_path / "papers.bib").write_text("")
    books = tmp_path / "books"
    make_notebook(books / "1_a/10_tasks.ipynb", ["from srm_utils.tasks import get"])
    make_notebook(books / "1_a/11_models.ipynb", ["from srm_utils import load_model"])
    make_notebook(books / "1_a/12_chain.ipynb", ["%matplotlib inline\nimport srm_utils.tasks.chain as chain\n!ls"])
    make_notebook(books / "1_a/13_page.ipynb", ["from srm_utils.reporting import page, spawn\nopen('data.json')"])
    make_notebook(books / "1_a/14_none.ipynb", ["print('papers.bib')", "def ("])
    make_notebook(books / "1_a/15_broken.ipynb", ["import srm_utils.broken"])
    (books / "claims.yaml").write_text(CLAIM.format("one", "1_a/10_tasks", "s") + CLAIM.format("two", "1_a/x", "s"))
    (books / "data.json").write_text("{}")
    monkeypatch.setattr(fingerprint, "_package", lambda: tmp_path / "srm_utils")
    return tmp_path


def keys(home: Path, **parameters: Any) -> dict[str, str]:
    """The key of every notebook, by number, as a new process finds it."""
    for cached in (fingerprint._sources, fingerprint._code, fingerprint._file_hash, fingerprint._cell_code):
        cached.cache_clear()
    books = read_catalogue(home / "books")
    return {book.path.name[:2]: job_key(book, parameters) for book in books}


@pytest.fixture(autouse=True)
def _clean():
    yield
    for cached in (fingerprint._sources, fingerprint._code, fingerprint._file_hash, fingerprint._cell_code):
        cached.cache_clear()


@pytest.mark.parametrize(
    ("file", "old", "new", "rerun"),
    [
        ("tasks/chain.py", "A world.", "A world of sums.", ""),
        ("tasks/chain.py", "# many", "# three", ""),
        ("tasks/chain.py", "SIZE = 3", "SIZE  =  3", ""),
        ("tasks/chain.py", "SIZE = 3", "SIZE = 4", "10 11 12"),
        ("tasks/registry.py", "def get(n)", "def get(n, m=0)", "10 11 12"),
        ("models/load.py", "def load_model()", "def load_model(x=0)", "11"),
        ("models/late.py", "RATE = 1", "RATE = 2", "11"),
        ("models/family/base/model.safetensors", "weights", "retrained", "11"),
        ("models/family/base/README.md", "a card", "another", ""),
        ("reporting/page.py", "'templates", "'./templates", "13"),
        ("reporting/templates/page.html", "<p>", "<div>", "13"),
        ("worker.py", "1", "2", "13"),
        ("heavy.py", "1", "2", ""),
        ("broken.py", "def (", "def [", "15"),
        ("__init__.py", "return load_model", "return load_model or None", "10 11 12 13 14 15"),
        ("../papers.bib", "", "@misc{a,}", "14"),
        ("../books/data.json", "{}", "[]", "13"),
        ("../books/1_a/10_tasks.ipynb", "import get", "import get as g", "10"),
        ("../books/claims.yaml", "sentence: s\n  type: superiority\n  margin: 0.1\n  metric: difference\n  n: 40\n"
         "  scope: effect\n- id: two", "sentence: other\n  type: superiority\n  margin: 0.1\n  metric: difference\n"
         "  n: 40\n  scope: effect\n- id: two", "10"),
    ],
)  # fmt: skip
def test_a_change_reruns_what_uses_it(home: Path, file: str, old: str, new: str, rerun: str) -> None:
    before, path = keys(home), home / "srm_utils" / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1) if old else new)
    after = keys(home)
    assert [number for number in before if before[number] != after[number]] == rerun.split()


def test_a_new_module_reruns_nothing_that_does_not_name_it(home: Path) -> None:
    before = keys(home)
    (home / "srm_utils" / "new.py").write_text("x = 1\n")
    assert keys(home) == before
    (home / "srm_utils" / "tasks" / "new.py").write_text("x = 1\n")
    after = keys(home)
    assert [n for n in before if before[n] != after[n]] == ["10", "11", "12"], "a registry imports any task by its name"


def test_parameters_tags_and_outputs(home: Path) -> None:
    before = keys(home, seed=0)
    assert set(keys(home, seed=1).values()).isdisjoint(before.values()) and keys(home, seed=0) == before
    path = home / "books" / "1_a" / "14_none.ipynb"
    nb = json.loads(path.read_text())
    nb["cells"][1]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "old"}]
    nb["cells"][1]["execution_count"] = 7
    path.write_text(json.dumps(nb))
    assert keys(home, seed=0) == before, "outputs of the source are no part of it"
    nb["cells"][1]["metadata"]["tags"] = ["skip"]
    path.write_text(json.dumps(nb))
    assert keys(home, seed=0)["14"] != before["14"]


def test_claims_that_cannot_be_read_count_as_they_are(home: Path) -> None:
    before = keys(home)
    (home / "books" / "claims.yaml").write_text("- [")
    torn = keys(home)
    (home / "books" / "claims.yaml").write_text("- {")
    assert all(len({before[n], torn[n], keys(home)[n]}) == 3 for n in before)


def test_a_model_of_ones_own_counts_by_its_files(home: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "model.safetensors").write_text("one")
    (mine / "README.md").write_text("one")
    before = keys(home, profile=f"cpu:{mine}")
    (mine / "README.md").write_text("another")
    assert keys(home, profile=f"cpu:{mine}") == before
    as_teacher = keys(home, profile=f"cpu:base,teacher={mine}")
    (mine / "model.safetensors").write_text("another")
    assert keys(home, profile=f"cpu:{mine}")["11"] != before["11"]
    assert keys(home, profile=f"cpu:base,teacher={mine}")["11"] != as_teacher["11"]


def test_an_unreadable_notebook_has_a_key_of_its_bytes(home: Path) -> None:
    torn = home / "books" / "1_a" / "16_torn.ipynb"
    torn.write_text("{")
    first = keys(home)["16"]
    assert keys(home)["16"] == first
    torn.write_text("{{")
    assert keys(home)["16"] != first


def test_code_counts_without_docstrings_and_comments() -> None:
    plain = read_code("class A:\n    def f(self):\n        return 'text'\n")
    told = read_code('"""Top."""\nclass A:\n    "It."\n    def f(self):\n        """Do."""\n        return "text"  # x')
    assert plain.digest == told.digest and plain.words == told.words == {"text"}
    assert read_code("class A:\n    def f(self):\n        return 'other'\n").digest != plain.digest
    assert read_code("def f():\n    'only this'").digest == read_code("def f():\n    'or that'").digest
    with pytest.raises(SyntaxError):
        read_code("def (")


def test_relative_imports_are_followed() -> None:
    found = read_code("from . import tables\nfrom ..models import language_model\nimport numpy", "srm_utils.reporting")
    assert {"srm_utils.reporting.tables", "srm_utils.models.language_model", "srm_utils.models"} <= found.modules
    assert not any(name.startswith("numpy") for name in found.modules)


def test_real_notebooks_use_less_than_the_package() -> None:
    books = find(["02", "21"], read_catalogue())
    assert len({job_key(book, {}) for book in books}) == 2
    used = fingerprint.used_modules(["srm_utils.evaluation", "srm_utils.inference.chain_of_thought"])
    assert {"srm_utils.evaluation.claims", "srm_utils.inference.solver"} <= used
    assert not [name for name in used if name.startswith(("srm_utils.training", "srm_utils.collection.runner"))]
