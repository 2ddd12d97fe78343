"""The rooms' order, and the style, hold for the whole package; and the contract that says so can fail."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path


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


def test_every_room_stands_in_the_contract(root: Path) -> None:
    contract = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]
    rooms = {p.parent.name for p in (root / "srm_utils").glob("*/__init__.py")}
    assert rooms | {"literature"} == {layer.strip("()") for layer in contract["layers"]}


def test_style(root: Path) -> None:
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "srm_utils", "tests"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
