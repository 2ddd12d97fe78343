"""What is installed, and what a stranger finds: wheel, pins, conda, Makefile, licence, citation, guides, workflow."""

from __future__ import annotations

import email
import os
import re
import shlex
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
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from srm_utils.literature.citations import TABLE_MARKS
from srm_utils.literature.sources import citing_files
from srm_utils.literature.tables import TABLES


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


def test_the_wheel_carries_licence_and_type_information(wheel: Path, root: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (folder,) = {name.split("/")[0] for name in archive.namelist() if ".dist-info/" in name}
        assert "srm_utils/py.typed" in archive.namelist()
        assert archive.read(f"{folder}/licenses/LICENSE").decode() == (root / "LICENSE").read_text()
        told = email.message_from_bytes(archive.read(f"{folder}/METADATA"))
    assert told["License-Expression"] == "Apache-2.0" and told["Author"] == "The survey you can run contributors"
    assert told["Description-Content-Type"] == "text/markdown" and told["Keywords"]


def test_classifiers_are_known_and_agree_with_the_python_asked_for(project: dict) -> None:
    from trove_classifiers import classifiers

    assert set(project["classifiers"]) <= set(classifiers)
    named = re.findall(r"^Programming Language :: Python :: (3\.\d+)$", "\n".join(project["classifiers"]), re.M)
    asked = SpecifierSet(project["requires-python"])
    assert named and all(version in asked for version in named)


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
    assert "-c constraints.txt -e .[domains,lab,test]" in installs[0] and "-e .[gym]" in installs[1]
    assert "-e .[kernels]" in installs[2]
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


# ---------------------------------------------------------------- what a stranger finds


def test_the_licence_is_whole(root: Path) -> None:
    text = (root / "LICENSE").read_text()
    assert text.split()[:4] == ["Apache", "License", "Version", "2.0,"]
    numbers = re.findall(r"^   (\d)\. [A-Z]", text, re.M)
    assert numbers == list("123456789") and "END OF TERMS AND CONDITIONS" in text


def test_the_citation_names_this_version_and_the_survey(root: Path, project: dict) -> None:
    import srm_utils
    from srm_utils.literature import load

    cited = yaml.safe_load((root / "CITATION.cff").read_text())
    assert cited["cff-version"] == "1.2.0" and cited["message"] and cited["title"]
    assert cited["version"] == srm_utils.__version__
    assert cited["license"] == project["license"] and cited["authors"] == project["authors"]
    (survey,) = cited["references"]
    known = load()["wang2025short"]
    assert (survey["title"], survey["doi"]) == (known.title, known.doi) and known.arxiv in survey["url"]
    assert tuple(f"{a['given-names']} {a['family-names']}" for a in survey["authors"]) == known.authors


def test_the_changelog_speaks_of_this_version(root: Path) -> None:
    import srm_utils

    text = (root / "CHANGELOG.md").read_text()
    versions = re.findall(r"^## \[(.+?)\]", text, re.M)
    assert versions[0] == "Unreleased" and srm_utils.__version__ in text
    kinds = set(re.findall(r"^### (.+)$", text, re.M))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def commands_in(text: str) -> list[list[str]]:
    """The command lines of a guide: those of its shell blocks, and what stands in backticks and begins like one."""
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S)
    lines = [line for block in blocks for line in block.splitlines()]
    lines += re.findall(r"`((?:srm|make) [^`]+)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def wrong_command(words: list[str], targets: set[str]) -> str | None:
    """What is wrong with a command line: a name or an option that `srm`, or make, does not have; None if nothing is."""
    from typer.main import get_command

    from srm_utils.cli.main import app

    if words[0] == "make":
        rest = [word for word in words[1:] if not re.match(r"[A-Z]+=", word)]
        return None if len(rest) == 1 and rest[0] in targets else f"make has no target {rest}"
    if words[0] != "srm":
        return f"{words[0]} is neither srm nor make"
    command, rest = get_command(app), words[1:]
    while rest and not rest[0].startswith("-") and hasattr(command, "commands"):
        if rest[0] not in command.commands:
            return f"srm has no command {rest[0]!r}"
        command, rest = command.commands[rest[0]], rest[1:]
    options = {name for p in command.params for name in (*p.opts, *p.secondary_opts)} | {"-h", "--help"}
    unknown = [word for word in rest if word.startswith("-") and word not in options]
    return f"{command.name} has no option {unknown}" if unknown else None


def targets_of(makefile: Path) -> set[str]:
    """The targets that a Makefile declares as phony."""
    (names,) = re.findall(r"^\.PHONY: (.+)$", makefile.read_text(), re.M)
    return set(names.split())


#: The pages that say what to type, and how many commands each names at least.
GUIDES = {"CONTRIBUTING.md": 20, "README.md": 14, "docs/running.md": 13}


@pytest.mark.parametrize("guide", GUIDES)
def test_every_command_of_a_guide_exists(root: Path, guide: str) -> None:
    commands = commands_in((root / guide).read_text())
    assert len(commands) >= GUIDES[guide]
    # The README also shows how to run one notebook with papermill alone.
    assert {words[0] for words in commands} - {"srm", "make"} <= ({"papermill"} if guide == "README.md" else set())
    ours = [words for words in commands if words[0] != "papermill"]
    wrong = {" ".join(words): wrong_command(words, targets_of(root / "Makefile")) for words in ours}
    assert not {line: why for line, why in wrong.items() if why}


def test_the_readme_is_short(root: Path) -> None:
    assert len((root / "README.md").read_bytes()) < 12_000


def pages(root: Path) -> list[Path]:
    return sorted([*root.glob("*.md"), *root.glob("docs/*.md")])


def test_every_link_of_a_page_leads_somewhere(root: Path) -> None:
    links = [(page, link) for page in pages(root) for link in re.findall(r"\]\(([^)\s]+)", page.read_text())]
    own = [(page, link.partition("#")[0]) for page, link in links if not re.match(r"[a-z]+:|#", link)]
    assert len(own) > 250
    assert not {(page.name, link) for page, link in own if not (page.parent / link).exists()}


def test_the_long_tables_stand_in_the_docs_and_are_drawn_from_files(root: Path) -> None:
    begin = TABLE_MARKS[0]
    where = {"roadmap": "docs/roadmap.md", "verdicts": "docs/results.md"}
    where |= dict.fromkeys(("headlines", "real model"), "README.md")
    assert set(where) == set(TABLES)
    for name, page in where.items():
        assert begin.format(name) in (root / page).read_text()
    # That each is as its file says is part of the check of citations.
    assert {root / page for page in where.values()} <= set(citing_files(None))


def test_the_python_that_the_guides_and_the_makefile_ask_for_is_the_packages(root: Path, project: dict) -> None:
    least = project["requires-python"].removeprefix(">=")
    for file in ("README.md", "CONTRIBUTING.md", "Makefile"):
        found = re.findall(r"Python (3\.\d+) or newer", (root / file).read_text())
        assert found and set(found) == {least}, file


def test_the_help_of_make_names_every_target(root: Path) -> None:
    told = make(root, "help").stdout
    assert set(re.findall(r"^make (\w+)", told, re.M)) == targets_of(root / "Makefile") - {"help"}


@pytest.mark.parametrize(
    "line", ["make tests", "srm modles", "srm run 21 --profil smoke", "srm models chek x", "pip install x"]
)
def test_a_wrong_command_would_be_found(root: Path, line: str) -> None:
    (words,) = commands_in(f"```sh\n{line}\n```\n")
    assert wrong_command(words, targets_of(root / "Makefile"))


@pytest.mark.parametrize("guide", ["CONTRIBUTING.md", "SECURITY.md"])
def test_every_path_of_a_guide_exists(root: Path, guide: str) -> None:
    named = re.findall(r"`([\w./-]+/[\w./-]*|\.?[\w-]+\.(?:md|toml|yaml|bib|txt))`", (root / guide).read_text())
    # Words in capitals stand for a name of the reader's own.
    paths = {path for path in named if not re.search(r"_[A-Z]+\.py$", path)}
    assert len(paths) >= 5
    assert not [path for path in paths if not (root / path).exists()]


def test_the_security_page_states_todays_limits_and_modules(root: Path) -> None:
    from srm_utils.inference.sandbox import Limits
    from srm_utils.inference.sandbox.language import METHOD_NAMES
    from srm_utils.inference.sandbox.modules import KNOWN, MODULES

    text = (root / "SECURITY.md").read_text()
    limits = Limits()
    rows = re.findall(r"^\| ([\w, ]+?)(?: \(.*?\))? \| ([\d,]+)", text, re.M)
    assert {what: int(number.replace(",", "")) for what, number in rows} == {
        "length of the program": limits.source,
        "steps": limits.steps,
        "function calls within one another": limits.calls,
        "nesting of the program text": limits.nesting,
        "a whole number": limits.bits,
        "a list, text or dictionary": limits.size,
        "printed text": limits.output,
    }
    assert f"more than {limits.seconds:g} seconds" in text and f"{limits.memory >> 20} MiB" in text
    listed = text.split("under the names of these modules:")[1].split("Each has")[0]
    assert set(re.findall(r"`([\w.]+)`", listed)) == MODULES - KNOWN
    assert len(METHOD_NAMES) == 10 and "ten such methods" in text


def test_the_workflow_runs_the_quick_tests_on_two_systems(workshop: Path, root: Path, project: dict) -> None:
    workflow = yaml.safe_load((root / ".github" / "workflows" / "tests.yml").read_text())
    (job,) = workflow["jobs"].values()
    matrix = job["strategy"]["matrix"]
    assert matrix["os"] == ["ubuntu-latest", "macos-latest"] and matrix["python"] == ["3.11", "3.13"]
    assert all(f"Programming Language :: Python :: {version}" in project["classifiers"] for version in matrix["python"])
    commands = [shlex.split(step["run"]) for step in job["steps"] if "run" in step]
    (tests,) = [words for words in commands if words[:2] == ["make", "test"]]
    assert all(wrong_command(words, targets_of(root / "Makefile")) is None for words in commands)
    done = make(workshop, *[w if w != "PYTHON=python" else "PYTHON=./standin" for w in tests[1:]])
    assert done.returncode == 0, done.stderr
    last = (workshop / "calls").read_text().splitlines()[-1]
    assert last == "python -m pytest -n 2 --dist loadgroup -m not slow"


def test_the_hooks_call_what_is_there(root: Path, project: dict) -> None:
    (repo,) = yaml.safe_load((root / ".pre-commit-config.yaml").read_text())["repos"]
    assert repo["repo"] == "local" and {hook["language"] for hook in repo["hooks"]} == {"system"}
    entries = {hook["id"]: shlex.split(hook["entry"]) for hook in repo["hooks"]}
    tools = {canonicalize_name(Requirement(r).name) for r in project["optional-dependencies"]["test"]}
    called = {words[2] if words[:2] == ["python", "-m"] else words[0] for words in entries.values()}
    assert called == {"ruff", "mypy", "pytest"} <= tools
    file, name = entries["notebook-outputs"][-3], entries["notebook-outputs"][-1]
    assert f"def {name}(" in (root / file).read_text()


def test_every_card_is_written_from_todays_records_and_states_licence_and_limits(project: dict) -> None:
    from srm_utils.experiments.family_cards import card_texts
    from srm_utils.models.members import FAMILY, family_folder
    from srm_utils.models.resolve import bundled_adapters

    cards = card_texts()
    assert {file.parent.name for file in cards} == set(FAMILY)
    assert not [file for file, text in cards.items() if file.read_text(encoding="utf-8") != text]
    assert all("**Look-back heads.**" in text and "induction head" in text for text in cards.values())
    adapters = [family_folder().parent / "adapters" / name / "README.md" for name in bundled_adapters()]
    for file in [*cards, *adapters]:
        text = file.read_text(encoding="utf-8")
        assert yaml.safe_load(text.split("---")[1])["license"] == project["license"].lower()
        assert "**Limits.**" in text
