"""mypy passes with the project's settings, and these find a value that may be None."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def check(root: Path, settings: Path, *files: str) -> subprocess.CompletedProcess[str]:
    """Run mypy on the package, or on `files`, in its own process, for mypy changes the recursion limit for good."""
    code = "import sys; from mypy.api import run; out, err, rc = run(sys.argv[1:]); print(out, err); sys.exit(rc)"
    arguments = ["--config-file", str(settings), "--cache-dir", ".mypy_cache", "--no-error-summary", *files]
    return subprocess.run([sys.executable, "-c", code, *arguments], cwd=root, capture_output=True, text=True)


def test_types(root: Path) -> None:
    done = check(root, root / "pyproject.toml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_value_that_may_be_none_is_an_error(root: Path, tmp_path: Path) -> None:
    (tmp_path / "careless.py").write_text("def size(text: str | None) -> int:\n    return len(text)\n")
    done = check(root, root / "pyproject.toml", str(tmp_path / "careless.py"))
    assert done.returncode == 1 and 'incompatible type "str | None"' in done.stdout, done.stdout + done.stderr
