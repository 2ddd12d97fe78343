"""What is installed: the wheel from another folder, the pins, the conda environment, the Makefile."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version


@pytest.fixture(scope="module")
def project(root: Path) -> dict:
    """The `project` table of pyproject.toml."""
    return tomllib.loads((root / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def pins(root: Path) -> dict[str, Requirement]:
    """constraints.txt by name."""
    lines = [line for line in (root / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    return {canonicalize_name(Requirement(line).name): Requirement(line) for line in lines}


@pytest.fixture(scope="module")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's wheel, built without the network."""
    out = tmp_path_factory.mktemp("wheel")
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--wheel-dir", str(out)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(root)], check=True, cwd=out)
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which the wheel, and only the wheel, is installed."""
    target = tmp_path_factory.mktemp("installed")
    options = ["--no-deps", "--no-index", "--quiet", "--target", str(target)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(wheel)], check=True, cwd=target)
    return target


def run(installed: Path, cwd: Path, code: str) -> str:
    """What Python prints from another folder, seeing the installed package and not the checkout."""
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run([sys.executable, "-c", code], cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def tracked(folder: Path) -> set[str]:
    """The files of a folder that belong to the project."""
    skip = {"__pycache__", ".ipynb_checkpoints"}
    files = (p.relative_to(folder) for p in folder.rglob("*") if p.is_file())
    return {p.as_posix() for p in files if not skip & set(p.parts)}


def test_the_wheel_holds_code_models_bibliography_and_notebooks(wheel: Path, root: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    expected = {f"srm_utils/{name}" for name in tracked(root / "srm_utils")}
    expected |= {f"srm_utils/_notebooks/{name}" for name in tracked(root / "notebooks")} | {"srm_utils/papers.bib"}
    assert expected - names == set()
    others = {n for n in names - expected if ".dist-info/" not in n}
    assert not others, f"what is not the project's has no place in its wheel: {sorted(others)}"


def test_the_installed_command_works_from_another_folder(installed: Path, tmp_path: Path) -> None:
    script = installed / "bin" / "srm"
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run([str(script), "--help"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "srm" in done.stdout, done.stderr
    where = run(installed, tmp_path, "import srm_utils; print(srm_utils.__file__)")
    assert where.startswith(str(installed))
    papers = subprocess.run(
        [str(script), "papers", "draft"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert "xu2025cod" in papers.stdout, papers.stderr


def test_the_installed_package_finds_its_notebooks(installed: Path, tmp_path: Path, root: Path) -> None:
    code = "from srm_utils.collection.catalogue import read_catalogue; print(*[n.name for n in read_catalogue()])"
    found = run(installed, tmp_path, code).split()
    books = {
        p.relative_to(root / "notebooks").with_suffix("").as_posix() for p in (root / "notebooks").rglob("*.ipynb")
    }
    assert set(found) == {b for b in books if ".ipynb_checkpoints" not in b} and found


def test_the_installed_package_loads_its_bundled_model(installed: Path, tmp_path: Path) -> None:
    code = (
        "from srm_utils import load_model\n"
        "from srm_utils.tasks.problem import Prompt\n"
        "model = load_model('base')\n"
        "print(len(model.sample([Prompt('2 + 2 ?')], n=2, max_new_tokens=4)[0]))"
    )
    assert run(installed, tmp_path, code).split()[-1] == "2"


def test_pins_are_plain_and_cover_every_requirement(root: Path, project: dict, pins: dict[str, Requirement]) -> None:
    text = (root / "constraints.txt").read_text()
    assert not re.search(r"://|--|@|\bfile:", text), "constraints hold names and versions only"
    assert all(re.fullmatch(r"==[0-9][0-9a-z.]*(\.\*)?", str(p.specifier)) and not p.marker for p in pins.values())
    wanted = [Requirement(r) for r in project["dependencies"]]
    wanted += [Requirement(r) for group in project["optional-dependencies"].values() for r in group]
    for requirement in wanted:
        pin = pins.get(canonicalize_name(requirement.name))
        assert pin is not None, f"{requirement.name} has no pin"
        version = str(pin.specifier).removeprefix("==").replace(".*", ".0")
        assert Version(version) in requirement.specifier, f"{requirement} does not allow its pin {pin}"


def test_tests_run_on_the_pins(pins: dict[str, Requirement]) -> None:
    """What the tests say holds for the versions that people install."""
    installed = {canonicalize_name(d.metadata["Name"]): d.version for d in metadata.distributions()}
    off = {n: (installed[n], str(p)) for n, p in pins.items() if n in installed and installed[n] not in p.specifier}
    assert not off
    assert "torch" in installed and "torch" in pins


def test_conda_installs_the_same(root: Path, project: dict) -> None:
    environment = yaml.safe_load((root / "environment.yml").read_text())
    plain = [d for d in environment["dependencies"] if isinstance(d, str)]
    (pip,) = [d["pip"] for d in environment["dependencies"] if isinstance(d, dict)]
    assert f"python{project['requires-python']}" in plain and "pip" in plain
    assert pip[0] == "--constraint constraints.txt"
    # Nothing but this project, with every extra: so versions come from pyproject.toml and constraints.txt alone.
    (extras,) = re.findall(r"--editable \.\[(.+)\]", " ".join(pip[1:]))
    assert len(pip) == 2 and set(extras.split(",")) == set(project["optional-dependencies"])


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run make in a folder, with a stand-in for Python that notes how it was called."""
    return subprocess.run(["make", *arguments], cwd=folder, capture_output=True, text=True)


@pytest.fixture
def workshop(root: Path, tmp_path: Path) -> Path:
    """The Makefile with a stand-in Python whose `-m venv` makes an environment that only takes notes."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(root / name, tmp_path)
    note = f'#!/bin/sh\necho "$(basename $0) $@" >> {tmp_path}/calls\n'
    script = (
        note
        + f"""
case "$*" in
  *sys.version_info*) exit $(cat {tmp_path}/old 2>/dev/null || echo 0);;
  "-m venv"*)
    mkdir -p .venv/bin
    for tool in python srm jupyter; do printf '%s' '{note}' > .venv/bin/$tool; chmod +x .venv/bin/$tool; done;;
esac
"""
    )
    (tmp_path / "standin").write_text(script)
    (tmp_path / "standin").chmod(0o755)
    return tmp_path


def test_make_sets_up_once_then_runs(workshop: Path) -> None:
    done = make(workshop, "run", "PYTHON=./standin", "ARGS=21 --profile smoke")
    assert done.returncode == 0, done.stderr
    calls = (workshop / "calls").read_text().splitlines()
    assert calls[-1] == "srm run 21 --profile smoke"
    installs = [c for c in calls if "pip install" in c]
    assert "-c constraints.txt -e .[lab,test]" in installs[0] and "-e .[gym]" in installs[1]
    (workshop / "calls").unlink()
    assert make(workshop, "test", "PYTHON=./standin").returncode == 0
    assert [c for c in (workshop / "calls").read_text().splitlines()] == ["python -m pytest -n 2 --dist loadgroup"]
    (workshop / "constraints.txt").touch()
    assert make(workshop, "lab", "PYTHON=./standin").returncode == 0
    calls = (workshop / "calls").read_text()
    assert "pip install" in calls and "jupyter lab notebooks/00_tour.ipynb" in calls


def test_make_says_what_is_wrong_with_python(workshop: Path) -> None:
    (workshop / "old").write_text("1")
    done = make(workshop, "run", "PYTHON=./standin")
    assert done.returncode != 0 and "This needs Python 3.11 or newer" in done.stderr
    assert not (workshop / ".venv").exists()


def test_make_starts_over_after_a_broken_set_up(workshop: Path) -> None:
    script = (workshop / "standin").read_text().replace("for tool in python", "for tool in")
    (workshop / "standin").write_text(script)
    done = make(workshop, "run", "PYTHON=./standin")
    assert done.returncode != 0 and "The dependencies could not be installed" in done.stderr
    assert not (workshop / ".venv" / ".ready").exists()


def test_continuous_integration_calls_make_test(root: Path) -> None:
    script = root / ".ci" / "run"
    assert os.access(script, os.X_OK) and "make test" in script.read_text()
    assert subprocess.run(["bash", "-n", str(script)]).returncode == 0
