"""`Evaluation`: graded samples of one method on one set of problems, with what each problem cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from srm_utils.evaluation import statistics, subsampling
from srm_utils.evaluation.statistics import Estimate, Floats
from srm_utils.sampling.completion import Completion, Cost
from srm_utils.tasks.problem import Grade, Problem, Task

#: What a cost is read in: FLOPs without a cache or with a prefix cache, tokens, or seconds.
CostKind = Literal["flops", "cached_flops", "tokens", "generated_tokens", "seconds"]


class GradedAttempt(Protocol):
    """What an evaluation reads of an attempt; `inference.solver.Attempt` is one."""

    @property
    def problem_id(self) -> str: ...
    @property
    def answer(self) -> str | None: ...
    @property
    def grade(self) -> Grade: ...
    @property
    def cost(self) -> Cost: ...


@dataclass(frozen=True)
class Evaluation:
    """Grades and answers of shape (problems, samples), and the cost of each problem in two parts.

    `shared` is paid once a problem however many samples are drawn (the prompt), `drawn` is what all
    its samples took together. `answers` are in canonical form, None where nothing could be parsed. `from_unmarked` says
    which were read from an unmarked end of a text, and is None where that is not known.
    """

    problems: tuple[Problem, ...]
    grades: NDArray[np.object_]
    answers: NDArray[np.object_]
    shared: tuple[Cost, ...]
    drawn: tuple[Cost, ...]
    from_unmarked: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        n = len(self.problems)
        if n == 0 or self.grades.ndim != 2 or self.grades.shape[1] == 0:
            raise ValueError("An evaluation needs at least one problem and one sample of each; it got none.")
        if {len(self.grades), len(self.shared), len(self.drawn)} != {n} or self.answers.shape != self.grades.shape:
            raise ValueError(
                f"There are {n} problems but not as many rows of grades, answers and costs; give one a row."
            )

    # ---- accuracy --------------------------------------------------------------------------------

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Whether each sample is correct, shape (problems, samples); unparsable counts as wrong."""
        return np.asarray(self.grades == Grade.CORRECT, dtype=bool)

    @property
    def samples(self) -> int:
        """Samples drawn for each problem."""
        return int(self.grades.shape[1])

    @property
    def scores(self) -> Floats:
        """Share of correct samples of each problem."""
        return self.correct.mean(1)

    @property
    def unparsable(self) -> float:
        """Share of samples in which no answer could be found."""
        return float(np.mean(self.grades == Grade.UNPARSABLE))

    @property
    def unmarked(self) -> float:
        """Share of samples whose answer was not marked as one (`Found.unmarked`); 0 where that is not known."""
        return 0.0 if self.from_unmarked is None else float(np.mean(self.from_unmarked))

    def accuracy(self, level: float = 0.95) -> Estimate:
        """Accuracy of one sample: Wilson's interval, clustered by problem (`statistics.mean_score`)."""
        return statistics.mean_score(self.scores, self.samples, level)

    def by_difficulty(self, level: float = 0.95) -> dict[int, Estimate]:
        """Accuracy of one sample at each difficulty, rising."""
        difficulty = np.array([p.difficulty for p in self.problems])
        return {
            int(d): statistics.mean_score(self.scores[difficulty == d], self.samples, level)
            for d in np.unique(difficulty)
        }

    # ---- many samples, read at k -------------------------------------------------------------------

    def passk_scores(self, k: int) -> Floats:
        """Unbiased pass@k of each problem (chen2021evaluating, equation 1)."""
        return subsampling.pass_at_k(self.samples, self.correct.sum(1), k)

    def passk(self, k: int, level: float = 0.95) -> Estimate:
        """Coverage: the chance that k samples hold a correct one."""
        return statistics.mean_score(self.passk_scores(k), self.samples, level)

    def majority_scores(self, k: int, weights: ArrayLike | None = None) -> Floats:
        """Expected correctness, problem by problem, of the plurality vote of k samples.

        Exact without weights; with `weights` of shape (problems, samples), by seeded subsets.
        """
        if weights is None:
            rows = [subsampling.majority_at_k(a, c, k) for a, c in zip(self.answers, self.correct, strict=True)]
        else:
            w = self._per_sample(weights, "weights")
            rows = [subsampling.vote_at_k(a, c, v, k) for a, c, v in zip(self.answers, self.correct, w, strict=True)]
        return np.array(rows, dtype=float)

    def majority(self, k: int, weights: ArrayLike | None = None, level: float = 0.95) -> Estimate:
        """Accuracy of the plurality vote of k samples (wang2022selfconsistency)."""
        return statistics.mean_score(self.majority_scores(k, weights), self.samples, level)

    def best_of_scores(self, k: int, scores: ArrayLike) -> Floats:
        """Expected correctness, problem by problem, of the top-scored of k samples; exact."""
        per_sample = self._per_sample(scores, "scores")
        rows = [subsampling.best_of_n_at_k(s, c, k) for s, c in zip(per_sample, self.correct, strict=True)]
        return np.array(rows, dtype=float)

    def best_of(self, k: int, scores: ArrayLike, level: float = 0.95) -> Estimate:
        """Accuracy of the top-scored of k samples, `scores` of shape (problems, samples)."""
        return statistics.mean_score(self.best_of_scores(k, scores), self.samples, level)

    def _per_sample(self, values: ArrayLike, name: str) -> Floats:
        array = np.asarray(values, dtype=float)
        if array.shape != self.grades.shape:
            raise ValueError(f"The {name} must have the shape of the samples, {self.grades.shape}, not {array.shape}.")
        return array

    # ---- cost --------------------------------------------------------------------------------------

    def cost_at(self, k: int) -> Cost:
        """Mean cost per problem of k of its samples: the shared part once, the rest in proportion.

        Exact in expectation over subsets for tokens and FLOPs; seconds are those of the one large
        run, shared out, and peak memory is that of the large run.
        """
        total = Cost.total(self._problem_cost(i, k) for i in range(len(self.problems)))
        return total * (1 / len(self.problems))

    @property
    def cost(self) -> Cost:
        """Mean cost per problem of everything that was drawn."""
        return self.cost_at(self.samples)

    def costs_at(self, k: int, kind: CostKind = "flops") -> Floats:
        """Cost of k samples, problem by problem, of one kind: what `statistics.equal_cost` reads."""
        return np.array([getattr(self._problem_cost(i, k), kind) for i in range(len(self.problems))], dtype=float)

    def _problem_cost(self, i: int, k: int) -> Cost:
        if not 1 <= k <= self.samples:
            raise ValueError(f"k must lie between 1 and the {self.samples} samples drawn, not {k}. Draw more samples.")
        return self.shared[i] + self.drawn[i] * (k / self.samples)

    # ---- two methods -------------------------------------------------------------------------------

    def minus(self, control: Evaluation) -> Floats:
        """Per-problem differences of accuracy, this method minus a control on the same problems.

        Raises ValueError when the two were not measured on the same problems in the same order.
        """
        if [p.id for p in self.problems] != [p.id for p in control.problems]:
            raise ValueError("The two evaluations hold different problems; run both methods on one list of problems.")
        return self.scores - control.scores


def evaluate(
    task: Task,
    problems: Sequence[Problem],
    completions: Sequence[Sequence[Completion]],
) -> Evaluation:
    """Grade samples with the task's own grader: one group of equally many completions per problem.

    The prompt of a group is counted once. Raises ValueError when groups do not match the problems or differ in size.
    """
    sizes = {len(group) for group in completions}
    if len(completions) != len(problems) or len(sizes) != 1 or 0 in sizes:
        raise ValueError(
            f"There are {len(problems)} problems and {len(completions)} groups of {sorted(sizes)} completions; "
            "draw the same number, at least one, for every problem."
        )
    rows = list(zip(problems, completions, strict=True))
    grades = [[task.grade(c.text, p) for c in group] for p, group in rows]
    found = [[task.found(c.text, p) for c in group] for p, group in rows]
    return Evaluation(
        problems=tuple(problems),
        grades=np.array(grades, dtype=object),
        answers=_objects([[f.answer if f else None for f in row] for row in found]),
        shared=tuple(group[0].asked.settled() for group in completions),
        drawn=tuple(Cost.total(c.cost for c in group).settled() for group in completions),
        from_unmarked=np.array([[f is not None and f.unmarked for f in row] for row in found], dtype=bool),
    )


def evaluate_attempts(problems: Sequence[Problem], attempts: Sequence[GradedAttempt]) -> Evaluation:
    """An evaluation of a solver's attempts, one or equally many per problem, in any order.

    Raises ValueError for an attempt at an unknown problem and for a problem without its attempts.
    """
    groups: dict[str, list[GradedAttempt]] = {p.id: [] for p in problems}
    for attempt in attempts:
        if attempt.problem_id not in groups:
            raise ValueError(f"There is an attempt at {attempt.problem_id!r}, which is not among the problems given.")
        groups[attempt.problem_id].append(attempt)
    if len({len(g) for g in groups.values()}) > 1:
        missing = min(groups, key=lambda name: len(groups[name]))
        raise ValueError(f"Problem {missing!r} has fewer attempts than others; solve every problem equally often.")
    rows = list(groups.values())
    return Evaluation(
        problems=tuple(problems),
        grades=np.array([[a.grade for a in row] for row in rows], dtype=object).reshape(len(rows), -1),
        answers=_objects([[a.answer for a in row] for row in rows]),
        shared=tuple(Cost() for _ in rows),
        drawn=tuple(Cost.total(a.cost for a in row) for row in rows),
    )


def _objects(rows: Sequence[Sequence[str | None]]) -> NDArray[np.object_]:
    out = np.empty((len(rows), len(rows[0]) if rows else 0), dtype=object)
    for i, row in enumerate(rows):
        out[i, :] = row
    return out
