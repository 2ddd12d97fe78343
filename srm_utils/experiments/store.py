"""What a comparison measured, and the folder that keeps it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from srm_utils.evaluation import Estimate, Result
from srm_utils.evaluation.results import to_parquet
from srm_utils.evaluation.statistics import PairedMatrix, paired_matrix
from srm_utils.tasks.problem import Problem

if TYPE_CHECKING:
    from srm_utils.models import LanguageModel

from srm_utils.evaluation.bills import BILLS, Bill
from srm_utils.inference.entry import Setting

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Comparison:
    """The results of a comparison, one for each solver and budget, and why the others are not there.

    A result's `settings` name the budget and the size; its `extra` holds, problem by problem, `correct` (0 or 1),
    `flops` and `cached_flops`, and `unparsed`, the replies that could not be read, in the order of `problems`. `bill`
    is what the budgets were spent on.
    """

    results: tuple[Result, ...]
    absent: Mapping[str, str]
    bill: Bill = "no cache"

    @property
    def budgets(self) -> list[str]:
        """The budgets as they were asked for, rising."""
        allowed = {r.settings["budget"]: r.extra["allowed"] for r in self.results}
        return sorted(allowed, key=lambda b: allowed[b])

    @property
    def solvers(self) -> list[str]:
        """The solvers with at least one result, in the order they ran."""
        return list(dict.fromkeys(r.technique for r in self.results))

    def at(self, budget: str) -> dict[str, Result]:
        """The results at one budget, by solver. Raises ValueError for a budget that was not measured."""
        found = {r.technique: r for r in self.results if r.settings["budget"] == budget}
        if not found:
            raise ValueError(f"The budget {budget!r} was not measured; there are {', '.join(self.budgets)}.")
        return found

    def scores(self, budget: str) -> dict[str, Floats]:
        """Correctness at one budget, problem by problem, by solver."""
        return {name: np.array(r.extra["correct"], dtype=float) for name, r in self.at(budget).items()}

    def points(self, solver: str) -> list[Result]:
        """A solver's results at rising cost, each size once."""
        sizes = {r.settings["size"]: r for r in self.results if r.technique == solver}
        return sorted(sizes.values(), key=self.spent)

    def spent(self, result: Result) -> float:
        """The mean FLOPs of a problem, on this comparison's bill."""
        return float(getattr(result.cost, BILLS[self.bill]))

    def curves(self) -> dict[str, list[tuple[float, Estimate]]]:
        """Each solver's accuracy by mean FLOPs per problem."""
        return {name: [(self.spent(r), r.estimate) for r in self.points(name)] for name in self.solvers}

    def matrix(self, budget: str, level: float = 0.95) -> PairedMatrix:
        """All pairs of solvers at one budget, with simultaneous intervals."""
        return paired_matrix(self.scores(budget), level)


def only_solver(scores: Mapping[str, ArrayLike]) -> dict[str, list[int]]:
    """For each solver, the problems (by position) that it alone solves.

    >>> only_solver({"vote": [1, 1, 0], "search": [1, 0, 0]})
    {'vote': [1], 'search': []}
    """
    solved = np.stack([np.asarray(s, dtype=float) for s in scores.values()]) > 0
    alone = solved & (solved.sum(0) == 1)
    return {name: np.flatnonzero(row).tolist() for name, row in zip(scores, alone, strict=True)}


def identity_of(setting: Setting, problems: Sequence[Problem]) -> dict[str, Any]:
    """What makes two comparisons the same, whatever their solvers and budgets."""
    return {
        "task": setting.task.name,
        "model": setting.model.name,
        "partner": setting.partner.name if setting.partner is not None else None,
        "weights": [_weights(m) for m in (setting.model, setting.partner) if m is not None],
        "chat": _digest([repr(getattr(setting.model, "chat", None))]),
        "problems": _digest(p.id + p.question for p in problems),
        "tuning": _digest(p.id + p.question for p in setting.tuning),
        "max_new_tokens": setting.max_new_tokens,
        "seed": setting.seed,
        "costs": "body, output head and attention, by the engine",
    }


def _digest(texts: Iterable[str]) -> str:
    return hashlib.blake2b("\n".join(texts).encode(), digest_size=8).hexdigest()


def _weights(model: LanguageModel) -> str:
    """A short name for a model's weights, from the first values of each: a retrained model has another one."""
    parameters = model.model.named_parameters() if hasattr(model, "model") else ()
    return _digest(f"{name}{tuple(p.shape)}{p.detach().flatten()[:16].float().tolist()}" for name, p in parameters)


class ComparisonFolder:
    """The files of one comparison, lines appended as they are measured; with no path, nothing."""

    def __init__(self, path: Path | None) -> None:
        self.path = path

    def open(self, identity: Mapping[str, Any]) -> None:
        if self.path is None:
            return
        self.path.mkdir(parents=True, exist_ok=True)
        file = self.path / "comparison.json"
        if file.exists():
            held = json.loads(file.read_text(encoding="utf-8"))
            other = [key for key, value in identity.items() if held.get(key) != value]
            if other:
                raise ValueError(
                    f"The folder {self.path} holds a comparison with other {' and '.join(other)}; "
                    "name another folder, or remove that one."
                )
        else:
            beside = file.with_suffix(".tmp")
            beside.write_text(json.dumps(identity, indent=1) + "\n", encoding="utf-8")
            beside.replace(file)

    def read(self, name: str) -> list[dict[str, Any]]:
        """The lines of a file; the last one may have been cut off by a kill, and is then measured again."""
        file = self.path / name if self.path else None
        if file is None or not file.exists():
            return []
        text = file.read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            file.write_text(whole, encoding="utf-8")
        try:
            return [json.loads(line) for line in whole.splitlines()]
        except json.JSONDecodeError:
            raise ValueError(f"{file} is damaged; remove it, and what it held is measured again.") from None

    def append(self, name: str, line: Mapping[str, Any]) -> None:
        if self.path is not None:
            with open(self.path / name, "a", encoding="utf-8") as file:
                file.write(json.dumps(line, allow_nan=False) + "\n")

    def table(self, results: Sequence[Result]) -> None:
        if self.path is not None:
            to_parquet(results, self.path / "results.parquet")
