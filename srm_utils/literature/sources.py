"""Which files of the collection cite papers, and what stands in them."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parents[1]
CHECKOUT = PACKAGE.parent
#: What a key looks like: surname, year, a word of the title.
KEY = re.compile(r"\b[a-z]+(?:19|20)\d\d[a-z][a-z0-9]*\b")
#: [Wei et al., 2022](https://arxiv.org/abs/2201.11903 "wei2022chain")
LINK = re.compile(r'\[(?P<label>[^\[\]]+)\]\((?P<url>[^()\s]+)(?:\s+"(?P<title>[^"]*)")?\)')


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that does not agree with the bibliography or the roadmap, and whether a repair mends it."""

    path: Path
    place: str
    message: str
    repairable: bool = False

    def __str__(self) -> str:
        return f"{self.path}, {self.place}: {self.message}"


def citing_files(paths: Sequence[str | Path] | None) -> list[Path]:
    """The files among paths and below folders that can cite, sorted, without caches and runs."""
    if paths is None:
        if not (CHECKOUT / "papers.bib").is_file():
            raise FileNotFoundError("This installed copy has no sources to check; run it in a checkout or name files.")
        places = (CHECKOUT / "notebooks", PACKAGE, CHECKOUT / "README.md", CHECKOUT / "docs")
        paths = [p for p in places if p.exists()]
    kinds = (".ipynb", ".md", ".py", ".yaml", ".yml")
    files: list[Path] = []
    for path in map(Path, paths):
        if not path.exists():
            raise FileNotFoundError(f"There is nothing at {path}; name a notebook, a Python file or a folder.")
        inside = sorted(p for kind in kinds for p in path.rglob(f"*{kind}")) if path.is_dir() else [path]
        for file in inside:
            hidden = any(part.startswith(".") or part == "__pycache__" for part in file.relative_to(path).parts)
            if file.suffix in kinds and not hidden and file not in files:
                files.append(file)
    return files


def notebooks_dir() -> Path:
    """The folder of the collection's notebooks: the checkout's, or the copy an installed package carries."""
    if (CHECKOUT / "pyproject.toml").is_file() and (CHECKOUT / "notebooks").is_dir():
        return CHECKOUT / "notebooks"
    return PACKAGE / "_notebooks"


def notebook_folder(folder: str | Path | None) -> Path:
    path = Path(folder) if folder is not None else CHECKOUT / "notebooks"
    if not path.is_dir():
        raise FileNotFoundError(f"There is no notebooks folder at {path}; run this in a checkout of the collection.")
    return path


def notebook_json(path: Path) -> dict[str, Any]:
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        notebook["cells"][:0]
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{path} is not a readable notebook; restore it from version control.") from None
    return dict(notebook)


def markdown_texts(path: Path) -> Iterator[tuple[str, str]]:
    """(place, text) of every Markdown text of a notebook or a Markdown file."""
    if path.suffix != ".ipynb":
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            yield f"line {number}", line
        return
    for number, cell in enumerate(notebook_json(path)["cells"], 1):
        if cell.get("cell_type") == "markdown":
            source = cell.get("source", "")
            yield f"cell {number}", source if isinstance(source, str) else "".join(source)


def docstring_keys(path: Path) -> list[tuple[str, str]]:
    """(dotted name, key) for every paper key in a docstring of a Python file."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except SyntaxError as error:
        raise ValueError(f"{path}, line {error.lineno}: this is not valid Python; mend it first.") from None
    inside = path.is_relative_to(CHECKOUT)
    module = ".".join((path.relative_to(CHECKOUT) if inside else Path(path.name)).with_suffix("").parts)
    found: list[tuple[str, str]] = []

    def visit(node: ast.AST, name: str) -> None:
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found.extend((name, key) for key in KEY.findall(ast.get_docstring(node) or ""))
        for child in ast.iter_child_nodes(node):
            visit(child, f"{name}.{child.name}" if hasattr(child, "name") and child.name else name)

    visit(tree, module)
    return found


def paper_values(path: Path) -> list[tuple[int, str, str]]:
    """(line, key, claim id) for every value of `paper` or `papers` in a YAML file.

    The claim is the nearest mapping: its `id`, else the name under which it stands.
    """
    import yaml

    try:
        root = yaml.compose(path.read_text(encoding="utf-8"))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ValueError(f"{path}, line {line}: this is not valid YAML; mend it first.") from None
    found: list[tuple[int, str, str]] = []

    def visit(node: yaml.Node | None, name: str) -> None:
        if isinstance(node, yaml.SequenceNode):
            for child in node.value:
                visit(child, name)
        elif isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == "id" and isinstance(value, yaml.ScalarNode):
                    name = value.value
            for key, value in node.value:
                if key.value in ("paper", "papers"):
                    scalars = value.value if isinstance(value, yaml.SequenceNode) else [value]
                    found.extend((v.start_mark.line + 1, v.value, name) for v in scalars)
                else:
                    visit(value, key.value)

    visit(root, "")
    return found


def read_yaml(file: Path, what: str) -> Any:
    """The data of one of the package's YAML files."""
    import yaml

    if not file.is_file():
        raise FileNotFoundError(f"There is no {what} at {file}; restore it from version control.")
    try:
        return yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ValueError(f"{file.name}, line {line}: this is not valid YAML; mend it first.") from None


@contextmanager
def named_fields(file: Path) -> Iterator[None]:
    """A field that is missing or misnamed is said in one sentence."""
    try:
        yield
    except (KeyError, TypeError) as error:
        what = f"{file.name} lacks or misnames a field ({error})"
        raise ValueError(f"{what}; compare it with a neighbouring entry.") from None
