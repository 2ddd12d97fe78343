"""What decides a notebook's outcome, as one hash: its cells, the code and models that it uses, its claims.

Code counts by its syntax tree without docstrings and comments, so that a new sentence reruns nothing. A module
counts for a notebook that imports it, directly or through other modules of the package.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import srm_utils
from srm_utils.collection.catalogue import Notebook, cell_source, parse, read_json, without_magics

ROOT = "srm_utils"
#: Files by which a model computes and reads; cards and training logs beside them change nothing.
MODEL_FILES = re.compile(r".*\.safetensors|.*\.gguf|(adapter_|generation_)?config\.json|.*token.*\.json|.*\.jinja")


@dataclass(frozen=True, slots=True)
class Code:
    """What one source says: the hash of its tree, the modules it names, and the words that may name a file."""

    digest: str
    modules: frozenset[str]
    words: frozenset[str]


def job_key(notebook: Notebook, parameters: Mapping[str, Any]) -> str:
    """A hash of all that decides a notebook's outcome.

    Args:
        notebook: as the catalogue lists it.
        parameters: those that it will run with.

    Its cells with their tags, the parameters, its claims, the modules that it imports (transitively, within the
    package), files of the package that these name, the bundled models where models are used, a model folder that the
    profile names, and the records of its study. A file that cannot be read counts byte by byte.

    >>> from srm_utils.collection.catalogue import find, read_catalogue
    >>> (tour,) = find(["00"], read_catalogue())
    >>> job_key(tour, {"seed": 0}) == job_key(tour, {"seed": 0}) != job_key(tour, {"seed": 1})
    True
    """
    if notebook.problem:
        return _hash([notebook.problem, _bytes(notebook.path)])
    nb = read_json(notebook.path)
    cells = [(c["cell_type"], cell_source(c), c.get("metadata", {}).get("tags", [])) for c in nb["cells"]]
    codes = [_cell_code(source) for kind, source, _ in cells if kind == "code"]
    used = used_modules(set().union(*(code.modules for code in codes)))
    package = [_code(name) for name in sorted(used)]
    words = frozenset().union(*(code.words for code in (*codes, *package)))
    facts = [
        cells,
        dict(parameters),
        _claims(notebook),
        [code.digest for code in package],
        [_bytes(path) for path in _named_files(words)],
        _bundled_models() if f"{ROOT}.models" in used else "",
        _own_model(str(parameters.get("profile") or "")),
        [_bytes(path) for path in _beside(notebook, used, frozenset().union(*(code.words for code in codes)))],
    ]
    return _hash(facts)


def used_modules(names: Iterable[str]) -> set[str]:
    """These modules of the package, the packages they lie in, and all that they import in turn.

    >>> sorted(used_modules(["srm_utils.evaluation.statistics"]))[:2]
    ['srm_utils', 'srm_utils.evaluation']
    """
    sources = _sources()
    # Running any module runs the package's own `__init__`, whose imports are made only when their names are asked for.
    found, waiting = {ROOT}, set(names)
    if ROOT in waiting:
        waiting |= _code(ROOT).modules
    while waiting:
        name = waiting.pop()
        if name in found or name not in sources:
            continue
        found.add(name)
        named = _code(name).modules
        waiting |= {name.rpartition(".")[0]} | named | (_code(ROOT).modules if ROOT in named else set())
    return found


def _package() -> Path:
    return Path(srm_utils.__file__).resolve().parent


@cache
def _sources() -> dict[str, Path]:
    """The source of every module of the package, by its name."""
    package, found = _package(), {}
    for path in package.rglob("*.py"):
        parts = path.relative_to(package.parent).with_suffix("").parts
        found[".".join(parts[:-1] if path.name == "__init__.py" else parts)] = path
    return found


@cache
def _code(name: str) -> Code:
    path = _sources()[name]
    text = path.read_text(encoding="utf-8")
    try:
        return read_code(text, name if path.name == "__init__.py" else name.rpartition(".")[0])
    except SyntaxError:
        # It cannot be imported either, which the notebook will say.
        return Code(_hash(text), frozenset(), frozenset())


@lru_cache(maxsize=512)
def _cell_code(source: str) -> Code:
    try:
        return read_code(without_magics(source))
    except (SyntaxError, ValueError):
        # A cell that fails when it runs: its words tell what it would import.
        return Code(_hash(source), frozenset(re.findall(rf"\b{ROOT}(?:\.\w+)*", source)), frozenset())


def read_code(source: str, package: str = "") -> Code:
    """What a source says; relative imports start in `package`.

    Raises SyntaxError for what is not Python.

    >>> a, b = (read_code(f'def f(x):\\n    "{text}"\\n    return x  # {text}') for text in ("one", "two"))
    >>> a.digest == b.digest != read_code("def f(x):\\n    return 2 * x").digest
    True
    """
    tree = parse(source)
    for node in list(ast.walk(tree)):
        documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
    modules: set[str] = set()
    words: set[str] = set()
    for node in _executed(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parts, *([node.module] if node.module else [])])
            inside = {f"{base}.{alias.name}" for alias in node.names}
            # `from srm_utils import tasks` needs nothing of the package's own `__init__`.
            modules |= inside | ({base} if base != ROOT or not inside <= set(_sources()) else set())
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            words.add(node.value)
    # A module may be named by a text, whole (`python -m`) or by the beginning of its name (`import_module`).
    for word in (w for w in words if re.fullmatch(rf"{ROOT}(\.\w+)*\.?", w) and w != ROOT):
        modules |= {name for name in _sources() if name.startswith(word)} if word.endswith(".") else {word}
    kept = frozenset(name for name in modules if name.split(".")[0] == ROOT)
    return Code(_hash(ast.dump(tree)), kept, frozenset(words))


def _executed(node: ast.AST) -> Iterable[ast.AST]:
    """Every node below this one but what stands under `if TYPE_CHECKING`, which never runs."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING":
            continue
        yield child
        yield from _executed(child)


def _named_files(words: frozenset[str]) -> list[Path]:
    """Files of the package, and the bibliography, whose names the code spells; models count apart."""
    package = _package()
    models = package / "models" / "family"
    files = [p for p in package.rglob("*") if p.is_file() and models not in p.parents and "_notebooks" not in p.parts]
    files += [package.parent / "papers.bib"]
    names = {word.rpartition("/")[2] for word in words}
    return sorted(p for p in files if p.name in names and p.is_file() and "__pycache__" not in p.parts)


def _beside(notebook: Notebook, used: set[str], words: frozenset[str]) -> list[Path]:
    """The records of the notebook's study, and files of the collection that its own cells name."""
    root = notebook.path.parents[len(Path(notebook.name).parts) - 1]
    found = {root / word for word in words if re.fullmatch(r"[\w./-]+\.\w+", word)} - {root / "claims.yaml"}
    if f"{ROOT}.experiments.study" in used:
        found.add(notebook.path.with_name(f"{notebook.path.name.split('_')[0]}_study.parquet"))
    return sorted(path for path in found if path.is_file())


def _claims(notebook: Notebook) -> Any:
    """The notebook's own claims, or the whole file where it cannot be read."""
    file = notebook.path.parents[len(Path(notebook.name).parts) - 1] / "claims.yaml"
    if not file.is_file():
        return []
    from srm_utils.evaluation.claims import load_claims

    try:
        return [claim.model_dump() for claim in load_claims(file, notebook=notebook.name)]
    except ValueError:
        return _bytes(file)


def _bundled_models() -> list[tuple[str, str]]:
    folder = _package() / "models"
    files = sorted(p for p in folder.rglob("*") if p.is_file() and MODEL_FILES.fullmatch(p.name))
    return [(p.relative_to(folder).as_posix(), _bytes(p)) for p in files]


def _own_model(profile: str) -> list[tuple[str, int, int]]:
    """The files of models that a profile names by their folders; read whole, large weights would take minutes."""
    # cpu:FOLDER, or with a folder for a role of its own: cpu:FOLDER,teacher=FOLDER.
    named = [part.rpartition("=")[2] for part in profile.partition(":")[2].split(",")]
    folders = [Path(name).expanduser() for name in named if name and Path(name).expanduser().is_dir()]
    files = sorted(p for folder in folders for p in folder.iterdir() if p.is_file() and MODEL_FILES.fullmatch(p.name))
    return [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in files]


def _bytes(path: Path) -> str:
    state = path.stat()
    return _file_hash(path, state.st_mtime_ns, state.st_size)


@cache
def _file_hash(path: Path, _mtime: int, _size: int) -> str:
    return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()


def _hash(facts: Any) -> str:
    return hashlib.blake2b(json.dumps(facts, sort_keys=True).encode(), digest_size=16).hexdigest()
