"""mypy passes with the project's settings, which can fail, and lets errors pass only in source that notebooks show."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def check(root: Path, settings: Path, *files: str) -> subprocess.CompletedProcess[str]:
    """Run mypy on the package, or on `files`, in its own process, for mypy changes the recursion limit for good."""
    code = "import sys; from mypy.api import run; out, err, rc = run(sys.argv[1:]); print(out, err); sys.exit(rc)"
    arguments = ["--config-file", str(settings), "--cache-dir", ".mypy_cache", "--no-error-summary", *files]
    return subprocess.run([sys.executable, "-c", code, *arguments], cwd=root, capture_output=True, text=True)


def shown(root: Path) -> set[str]:
    """Functions and classes whose source stands in a committed notebook, such as "srm_utils.tasks.problem.Task"."""
    found = set()
    for path in (root / "notebooks").rglob("*.ipynb"):
        cells = json.loads(path.read_text())["cells"]
        for output in (o for cell in cells for o in cell.get("outputs", ())):
            text = "".join(output.get("data", {}).get("text/plain", ""))
            found |= set(re.findall(r"\A# (srm_utils[\w.]+)", text))
    return found


def definitions(tree: ast.AST, name: str) -> Iterator[tuple[str, range]]:
    """All functions and classes in a module, by dotted name, with the lines they fill."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield f"{name}.{node.name}", range(node.lineno, (node.end_lineno or node.lineno) + 1)
            yield from definitions(node, f"{name}.{node.name}")


def as_ini(settings: dict[str, Any], overrides: list[dict[str, Any]]) -> str:
    """Settings of mypy in the form of its own file."""
    sections = [("mypy", settings), *((f"mypy-{','.join(o['module'])}", o) for o in overrides)]
    lines = []
    for name, values in sections:
        lines.append(f"[{name}]")
        lines += [f"{k} = {','.join(v) if isinstance(v, list) else v}" for k, v in values.items() if k != "module"]
    return "\n".join(lines)


def test_types(root: Path) -> None:
    done = check(root, root / "pyproject.toml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_value_that_may_be_none_is_an_error(root: Path, tmp_path: Path) -> None:
    (tmp_path / "careless.py").write_text("def size(text: str | None) -> int:\n    return len(text)\n")
    done = check(root, root / "pyproject.toml", str(tmp_path / "careless.py"))
    assert done.returncode == 1 and 'incompatible type "str | None"' in done.stdout, done.stdout + done.stderr


def test_errors_are_let_pass_only_in_source_that_notebooks_show(root: Path, tmp_path: Path) -> None:
    settings = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["mypy"]
    assert settings["strict_optional"]
    shown_here = shown(root)
    overrides = settings.pop("overrides")
    lenient = [o for o in overrides if "disable_error_code" in o]
    (tmp_path / "mypy.ini").write_text(as_ini(settings, [o for o in overrides if o not in lenient]))
    done = check(root, tmp_path / "mypy.ini")
    errors = re.findall(r"^(srm_utils/.*?)\.py:(\d+): error: (.*)$", done.stdout, re.MULTILINE)
    modules = {path.replace("/", ".") for path, _, _ in errors}
    assert modules == {m for o in lenient for m in o["module"]}, done.stdout + done.stderr
    for path, line, message in errors:
        found = definitions(ast.parse((root / f"{path}.py").read_text()), path.replace("/", "."))
        assert any(int(line) in lines for name, lines in found if name in shown_here), f"{path}.py:{line}: {message}"
