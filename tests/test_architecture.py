"""The rooms' order, and the style, hold for the whole package; and the contract that says so can fail."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from grimp import build_graph


def lint(folder: Path, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter with `folder`'s own settings on `folder`'s own package."""
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    arguments = ["--cache-dir", str(tmp_path / "cache")]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )


def test_rooms_import_downwards_only(root: Path, tmp_path: Path) -> None:
    done = lint(root, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_upward_import_breaks_the_contract(root: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(root / "srm_utils", copy / "srm_utils", ignore=shutil.ignore_patterns("family", "__pycache__"))
    shutil.copy(root / "pyproject.toml", copy)
    upward = "def f():\n    from srm_utils.collection import runner\n    return runner\n"
    (copy / "srm_utils" / "tasks" / "upward.py").write_text(upward)
    done = lint(copy, tmp_path)
    assert done.returncode == 1
    assert "srm_utils.tasks is not allowed to import srm_utils.collection" in done.stdout


def imports() -> dict[str, set[str]]:
    """Module -> the modules it imports, those inside functions included; imports for type checks alone never run."""
    graph = build_graph("srm_utils", exclude_type_checking_imports=True, cache_dir=None)
    return {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}


def test_no_module_imports_itself_through_others() -> None:
    found = imports()
    TopologicalSorter(found).prepare()
    # The registry imports it inside a function.
    assert "srm_utils.tasks.huggingface" in found["srm_utils.tasks.registry"]
    with pytest.raises(CycleError):
        TopologicalSorter(found | {"srm_utils.tasks.huggingface": {"srm_utils.tasks.registry"}}).prepare()


def test_every_room_stands_in_the_contract(root: Path) -> None:
    contract = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]
    rooms = {p.parent.name for p in (root / "srm_utils").glob("*/__init__.py")}
    assert rooms == set(contract["layers"])


def test_style(root: Path) -> None:
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "srm_utils", "tests"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
