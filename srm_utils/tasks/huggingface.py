"""Published data sets through Hugging Face `datasets`, or from a local copy.

Each data set is one entry of `SOURCES`: where it is, which fields it has, how a row is read, and which
of its official splits feeds which of ours. `validation` and `confirm` are carved out of official splits
by a hash of the question, so they are the same on every machine. Data sets published as one split have
no `train`, except PubMedQA, whose labelled thousand is carved four ways.

A local path is a file (JSON lines or Parquet) or a folder of them, such as a clone from the hub or what
`save_to_disk` wrote. A file whose name says "train" or "test" is that official split; any other file of a
data set with both is carved four ways as the procedural worlds are.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from srm_utils.tasks.grading import equal_math, extract_final_answer, grade_choice, grade_math
from srm_utils.tasks.problem import SPLIT_BOUNDS, Grade, Problem, Split, Task, Templates
from srm_utils.tasks.registry import nearest
from srm_utils.tasks.words import answer_sentence

Row = Mapping[str, Any]
_LABEL = re.compile(r"\(?([A-J])\)?(?:[.:,)].*)?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Reading:
    """One row, read: what is asked, the gold answer, the worked solution, the options by letter."""

    question: str
    answer: str
    worked: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    level: int = 1


@dataclass(frozen=True, slots=True)
class Source:
    """A data set: hub id and configuration, the fields a row must have, and its splits.

    `shares` maps a split of ours to an official split and the hundredths of it that it takes.
    """

    title: str
    hub: str
    config: str | None
    fields: tuple[str, ...]
    read: Callable[[Row], Reading]
    shares: Mapping[str, tuple[str, range]]
    levels: tuple[int, ...] = (1,)
    gated: bool = False

    @property
    def official(self) -> set[str]:
        return {name for name, _ in self.shares.values()}


def _read_gsm8k(row: Row) -> Reading:
    worked, _, final = str(row["answer"]).rpartition("####")
    if not worked:
        raise ValueError("its answer has no '#### ' line")
    return Reading(row["question"], final.strip().replace(",", ""), re.sub(r"<<.*?>>", "", worked).strip())


def _read_math(row: Row) -> Reading:
    level = re.search(r"\d", str(row.get("level", 1)))
    return Reading(row["problem"], str(row["answer"]), row["solution"], level=int(level[0]) if level else 1)


def _read_aime(row: Row) -> Reading:
    answer = str(row["answer"]).strip()
    return Reading(row["problem"], str(int(answer)) if answer.isdigit() else answer, row.get("solution") or "")


def _read_medqa(row: Row) -> Reading:
    options = row["options"]
    if not isinstance(options, Mapping):
        options = {o["key"]: o["value"] for o in options}
    return Reading(_with_options(row["question"], options), str(row["answer_idx"]), options=options)


def _read_pubmedqa(row: Row) -> Reading:
    context = " ".join(row["context"]["contexts"])
    options = {word: word for word in ("yes", "no", "maybe")}
    question = f"{context}\n{row['question']} Answer yes, no or maybe."
    return Reading(question, row["final_decision"], row.get("long_answer") or "", options)


def _read_gpqa(row: Row) -> Reading:
    texts = [str(row["correct answer"]), *(str(row[f"incorrect answer {i}"]) for i in (1, 2, 3))]
    # The order depends on the question alone, so that everyone is asked the same problem.
    order = Random(_hash(row["question"])).sample(range(4), 4)
    options = {letter: texts[i].strip() for letter, i in zip("ABCD", order, strict=True)}
    question = _with_options(row["question"].strip(), options)
    return Reading(question, "ABCD"[order.index(0)], row.get("explanation") or "", options)


def _with_options(question: str, options: Mapping[str, str]) -> str:
    return "\n".join([question, *(f"{letter}. {text}" for letter, text in options.items())])


_BOTH = {
    "train": ("train", range(0, 90)),
    "validation": ("train", range(90, 100)),
    "test": ("test", range(0, 70)),
    "confirm": ("test", range(70, 100)),
}


def _only(official: str) -> dict[str, tuple[str, range]]:
    return {
        "validation": (official, range(0, 20)),
        "test": (official, range(20, 60)),
        "confirm": (official, range(60, 100)),
    }


_FOUR = {
    "train": ("train", range(0, 50)),
    "validation": ("train", range(50, 60)),
    "test": ("train", range(60, 80)),
    "confirm": ("train", range(80, 100)),
}

#: Field names are compared without regard to case. Sources: cobbe2021training (GSM8K), lightman2024lets (MATH-500),
#: jin2020disease (MedQA), jin2019pubmedqa (PubMedQA), rein2023gpqa (GPQA).
SOURCES: dict[str, Source] = {
    "gsm8k": Source("GSM8K", "openai/gsm8k", "main", ("question", "answer"), _read_gsm8k, _BOTH),
    "math-500": Source(
        "MATH-500", "HuggingFaceH4/MATH-500", None, ("problem", "solution", "answer", "level"), _read_math,
        _only("test"), (1, 2, 3, 4, 5),
    ),
    "aime": Source("AIME 2024", "HuggingFaceH4/aime_2024", None, ("problem", "answer"), _read_aime, _only("train")),
    "medqa": Source(
        "MedQA (USMLE, 4 options)", "GBaker/MedQA-USMLE-4-options", None, ("question", "options", "answer_idx"),
        _read_medqa, _BOTH,
    ),
    "pubmedqa": Source(
        "PubMedQA", "qiaojin/PubMedQA", "pqa_labeled", ("question", "context", "final_decision"), _read_pubmedqa, _FOUR
    ),
    "gpqa": Source(
        "GPQA (diamond)", "Idavidrein/gpqa", "gpqa_diamond",
        ("question", "correct answer", "incorrect answer 1", "incorrect answer 2", "incorrect answer 3"), _read_gpqa,
        _only("train"), gated=True,
    ),
}  # fmt: skip


class HuggingFaceTask(Task):
    """A published data set: gsm8k, math-500, aime, medqa, pubmedqa or gpqa.

    `path` is a local file or folder; without it the hub's copy is used. Raises ValueError for an
    unknown data set or an unreadable file, FileNotFoundError for a path that is not there, and
    ConnectionError when the hub's copy cannot be had, each with one sentence.

    >>> HuggingFaceTask("gsm8k").name
    'hf:gsm8k'
    """

    def __init__(self, dataset: str, path: str | Path | None = None) -> None:
        by_hub = {source.hub.lower(): key for key, source in SOURCES.items()}
        key = by_hub.get(dataset.lower(), dataset.lower())
        if key not in SOURCES:
            raise ValueError(f"There is no data set {dataset!r} here; {nearest(dataset, SOURCES)}.")
        self.source = SOURCES[key]
        self.path = Path(path).expanduser() if path else None
        if self.path and not self.path.exists():
            raise FileNotFoundError(
                f"There is no file or folder {str(self.path)!r}; give the path of a local copy of {self.source.title}."
            )
        self.name = f"hf:{key}"
        self.styles = ("direct",) if key == "medqa" else ("direct", "cot")
        self.difficulties = self.source.levels
        self._loaded: dict[str, list[Problem]] = {}

    def draw(self, rng: Random, difficulty: int = 1, templates: Templates = "train") -> Problem:
        split = rng.choice(list(self.source.shares))
        rows = [p for p in self._split(split) if p.difficulty == difficulty]
        if not rows:
            raise ValueError(f"{self.source.title} has no {split} problem of difficulty {difficulty}.")
        return rng.choice(rows)

    def problems(
        self,
        n: int,
        *,
        split: Split = "validation",
        seed: int = 0,
        difficulty: int | Sequence[int] | None = None,
        templates: Templates = "train",
    ) -> list[Problem]:
        """`n` distinct problems of a split in an order that the seed picks, of all difficulties or those given."""
        if templates != "train":
            raise ValueError(f"{self.source.title} has no held-out sentence templates; leave `templates` at 'train'.")
        wanted = self.difficulties if difficulty is None else difficulty
        levels = {wanted} if isinstance(wanted, int) else set(wanted)
        rows = [p for p in self._split(split) if p.difficulty in levels]
        if n > len(rows):
            told = ", ".join(map(str, sorted(levels)))
            raise ValueError(
                f"{self.source.title} has {len(rows)} {split} problems of difficulty {told}; "
                f"ask for at most that many, not {n}."
            )
        return Random(f"{self.name}/{split}/{seed}").sample(rows, n)

    def solution(self, problem: Problem, style: str, rng: Random | None = None) -> str:
        final = answer_sentence(problem.answer)
        if style == "direct":
            return final
        if style == "cot" and style in self.styles:
            return "\n".join([*problem.steps, final])
        raise ValueError(f"Task {self.name!r} has no style {style!r}; choose one of {', '.join(self.styles)}.")

    def extract(self, text: str) -> str | None:
        said = extract_final_answer(text)
        label = _LABEL.fullmatch(said) if said and self.name in ("hf:medqa", "hf:gpqa") else None
        return label[1] if label else said

    def matches(self, answer: str, problem: Problem) -> bool:
        options = problem.facts["options"]
        if options:
            return grade_choice(f"The answer is {answer}.", problem.answer, options) is Grade.CORRECT
        return equal_math(answer, problem.answer)

    def grade(self, text: str, problem: Problem) -> Grade:
        options = problem.facts["options"]
        return grade_choice(text, problem.answer, options) if options else grade_math(text, problem.answer)

    def _split(self, split: str) -> list[Problem]:
        if split not in SPLIT_BOUNDS:
            raise ValueError(f"There is no split {split!r}; choose one of {', '.join(SPLIT_BOUNDS)}.")
        if split not in self.source.shares:
            raise ValueError(
                f"{self.source.title} is published for testing only, so it has no {split!r} split; "
                f"choose one of {', '.join(self.source.shares)}."
            )
        if split not in self._loaded:
            official, bounds = self.source.shares[split]
            if self.path is None:
                rows, where = _from_hub(self.source, official), self.source.hub
            else:
                rows, where = _from_path(self.source, self.path, official), str(self.path)
                if self.path.is_file() and len(self.source.official) > 1 and _named(self.path, self.source) is None:
                    bounds = SPLIT_BOUNDS[split]
            if not rows:
                raise ValueError(f"{where} holds no rows; give a copy of {self.source.title} with its {official} rows.")
            read = [self._problem(row, i, where) for i, row in enumerate(rows)]
            distinct = {p.canonical: p for p in read}.values()
            self._loaded[split] = [p for p in distinct if int(p.canonical.rsplit("|", 1)[1], 16) % 100 in bounds]
        return self._loaded[split]

    def _problem(self, row: Any, index: int, where: str) -> Problem:
        source = self.source
        if not isinstance(row, Mapping):
            raise ValueError(f"Row {index + 1} of {where} is not an object with fields; {_schema(source)}.")
        row = {str(k).lower(): v for k, v in row.items()}
        missing = [f for f in source.fields if row.get(f) is None]
        if missing:
            raise ValueError(f"Row {index + 1} of {where} has no field {missing[0]!r}; {_schema(source)}.")
        try:
            r = source.read(row)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(
                f"Row {index + 1} of {where} is not a row of {source.title} ({error}); {_schema(source)}."
            ) from None
        question = _hash(r.question)
        steps = tuple(line.strip() for line in r.worked.splitlines() if line.strip())
        facts = {"options": dict(r.options)}
        canonical = f"{self.name}|{question}"
        return Problem(f"{self.name}-{question}", self.name, r.question, r.answer, r.level, canonical, steps, facts)


def _hash(text: str) -> str:
    """Of a question without regard to case and spacing, in 16 hexadecimal digits."""
    return hashlib.blake2b(" ".join(text.split()).casefold().encode(), digest_size=8).hexdigest()


def _schema(source: Source) -> str:
    return f"{source.title} needs the fields {', '.join(source.fields)}"


def _named(file: Path, source: Source) -> str | None:
    """The official split that a file's name says it is."""
    words = re.split(r"[^a-z]+", file.stem.lower())
    return next((name for name in sorted(source.official) if name in words), None)


def _from_hub(source: Source, official: str) -> list[Any]:
    try:
        import datasets
    except ImportError:
        raise ImportError("The package `datasets` is not installed; run `pip install datasets`.") from None
    if not datasets.config.HF_HUB_OFFLINE:
        print(f"Loading {source.hub} from the Hugging Face hub; what is not cached yet is downloaded.", file=sys.stderr)
    try:
        return list(datasets.load_dataset(source.hub, source.config, split=official))
    except Exception as error:  # the hub, the network and the cache each raise their own kinds
        key = next(k for k, s in SOURCES.items() if s is source)
        offline = ", which HF_HUB_OFFLINE forbids to fetch" if datasets.config.HF_HUB_OFFLINE else ""
        gated = " (its terms must be accepted on the hub first, with `hf auth login`)" if source.gated else ""
        raise ConnectionError(
            f"{source.title} is not on this machine and could not be had from the hub as {source.hub}{offline}{gated} "
            f"[{type(error).__name__}]; give a local copy as hf:{key}:PATH (a JSON-lines or Parquet file, or a folder "
            f"of them), or run once with a network and HF_HUB_OFFLINE unset."
        ) from None


def _from_path(source: Source, path: Path, official: str) -> list[Any]:
    if path.is_file():
        named = _named(path, source) if len(source.official) > 1 else None
        if named not in (None, official):
            raise ValueError(
                f"{path} is the {named!r} split of {source.title} by its name, and this needs the {official!r} split; "
                f"give a folder that holds both."
            )
        return _rows(path)
    if (path / "dataset_dict.json").exists() or (path / "state.json").exists():
        return _saved(source, path, official)
    if source.config and (path / source.config).is_dir():
        path = path / source.config
    files = sorted(f for f in path.rglob("*") if f.suffix in (".jsonl", ".json", ".parquet") and f.is_file())
    if not files:
        raise ValueError(f"The folder {path} holds no .jsonl or .parquet file; give a local copy of {source.title}.")
    chosen = [f for f in files if _named(f, source) == official]
    if not chosen and len(source.official) == 1:
        chosen = files
    if not chosen:
        raise ValueError(
            f"No file in {path} has {official!r} in its name; name {source.title}'s files by their official split."
        )
    return [row for f in chosen for row in _rows(f)]


def _saved(source: Source, path: Path, official: str) -> list[Any]:
    import datasets

    try:
        saved = datasets.load_from_disk(str(path))
    except Exception as error:  # Arrow and `datasets` each raise their own kinds
        raise ValueError(
            f"The saved data set in {path} cannot be read [{type(error).__name__}]; save it again with `save_to_disk`."
        ) from None
    if isinstance(saved, Mapping):
        if official not in saved:
            raise ValueError(f"The saved data set in {path} has no {official!r} split; {source.title} needs it.")
        saved = saved[official]
    elif len(source.official) > 1:
        raise ValueError(
            f"The folder {path} holds one unnamed split, and {source.title} has "
            f"{' and '.join(sorted(source.official))}; save the whole `DatasetDict`."
        )
    return list(saved)


def _rows(file: Path) -> list[Any]:
    if file.suffix == ".parquet":
        import pyarrow.parquet as parquet

        try:
            return parquet.ParquetFile(file).read().to_pylist()
        except Exception as error:
            raise ValueError(f"{file} is not a readable Parquet file [{type(error).__name__}]; get it again.") from None
    if file.suffix not in (".jsonl", ".json"):
        raise ValueError(f"{file} is neither JSON lines nor Parquet; give a .jsonl or .parquet file.")
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"{file} is not UTF-8 text; give a .jsonl or .parquet file.") from None
    if file.suffix == ".json" and text.lstrip().startswith("["):
        try:
            return json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"{file} is broken JSON at line {error.lineno}; repair it or get it again.") from None
    rows = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError:
                raise ValueError(f"Line {number} of {file} is broken JSON; repair it or get the file again.") from None
    return rows
