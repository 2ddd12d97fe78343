"""Allocation: one number of samples for a whole set of problems, and who gets how many of them.

A few probes of every problem say how hard it looks; on a validation set it was measured what further samples do to
problems that look so; the rest of the samples goes where it gains most (snell2024scaling, section 3: difficulty is
estimated by the model itself, and the best use of compute is chosen for each level of it).

`allocate` is exact: no other division of the same total has a higher expected score by the curves it is given. With
each problem's own measured curve it is the oracle, the upper bound of every allocation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from srm_utils.inference.entry import Setting, solver
from srm_utils.inference.solver import Attempt, Budget, Solver, attempt, keeps_prefixes
from srm_utils.inference.voting import Answers, plurality
from srm_utils.sampling.completion import Completion, group_cost
from srm_utils.tasks.dialects import SOLVE
from srm_utils.tasks.problem import Problem, Task

if TYPE_CHECKING:
    from srm_utils.models import LanguageModel

#: What a problem's probes look like: problems that look alike share a curve.
Look = Callable[[Answers], int]


def leading_votes(answers: Answers) -> int:
    """How many of the probes gave the most frequent answer; 0 where none gave any.

    >>> leading_votes(["7", "8", "7", None])
    2
    """
    return max(Counter(a for a in answers if a is not None).values(), default=0)


def allocate(curves: ArrayLike, total: int, least: int = 0) -> NDArray[np.int64]:
    """Samples for each problem, `total` in all and at least `least` each, with the highest sum of expected scores.

    `curves` has shape (problems, most + 1): the expected score of a problem with 0, 1, ... samples. It need not be
    concave: every division is considered (the knapsack's dynamic programme). Of equal divisions the most even one
    counts, by a penalty too small to matter otherwise. Raises ValueError where no division has that total.

    >>> allocate([[0, 0.5, 0.6], [0, 0.2, 0.9]], total=3).tolist()
    [1, 2]
    """
    score = np.atleast_2d(np.asarray(curves, dtype=float))
    n, most = score.shape[0], score.shape[1] - 1
    if not n * least <= total <= n * most:
        raise ValueError(
            f"{total} samples cannot be shared out among {n} problems with {least} to {most} each; "
            f"use a total from {n * least} to {n * most}."
        )
    # Even divisions have the smallest sum of squares.
    score = score - 1e-9 * np.arange(most + 1) ** 2 / max(most, 1) ** 2
    room = total - n * least
    best = np.full(room + 1, -np.inf)
    best[0] = 0.0
    taken = np.zeros((n, room + 1), dtype=np.int64)
    for i in range(n):
        grown = np.full(room + 1, -np.inf)
        for extra in range(min(most - least, room) + 1):
            candidate = np.full(room + 1, -np.inf)
            candidate[extra:] = best[: room + 1 - extra] + score[i, least + extra]
            better = candidate > grown
            grown[better], taken[i, better] = candidate[better], extra
        best = grown
    shares = np.zeros(n, dtype=np.int64)
    for i in range(n - 1, -1, -1):
        shares[i] = taken[i, room]
        room -= shares[i]
    return shares + least


@dataclass(frozen=True)
class Curves:
    """Expected vote accuracy by what a problem's first `probes` samples look like, for every number of samples.

    `by_look` maps a look to an array of length most + 1 whose entry b is for b samples, probes included (below
    `probes` it is 0).
    """

    probes: int
    by_look: dict[int, NDArray[np.float64]]
    look: Look = leading_votes

    def of(self, answers: Answers) -> NDArray[np.float64]:
        """The curve of a problem with these probes; of a look never seen, that of the nearest one."""
        seen = self.look(answers)
        return self.by_look[min(self.by_look, key=lambda known: (abs(known - seen), known))]


def measure_curves(
    answers: Sequence[Answers],
    correct: Sequence[Sequence[bool]],
    probes: int,
    look: Look = leading_votes,
    orders: int = 50,
    seed: int = 0,
) -> Curves:
    """Curves from many samples of validation problems, `answers` and `correct` of shape (problems, samples).

    Every problem's samples are dealt in `orders` seeded orders; the first `probes` are what it looks like, and the
    vote over the first b is right or not. Raises ValueError unless 1 <= probes <= samples.
    """
    samples = len(answers[0])
    if not 1 <= probes <= samples:
        raise ValueError(f"{probes} probes cannot be taken from {samples} samples; use 1 to {samples}.")
    rng = np.random.default_rng(seed)
    sums: dict[int, NDArray[np.float64]] = {}
    counts: Counter[int] = Counter()
    for said, right in zip(answers, correct, strict=True):
        truth = {a: bool(r) for a, r in zip(said, right, strict=True)}
        for _ in range(orders):
            dealt = [said[i] for i in rng.permutation(samples)]
            seen = look(dealt[:probes])
            wins = [0.0] * probes + [float(truth.get(plurality(dealt[:b]), False)) for b in range(probes, samples + 1)]
            sums[seen] = sums.get(seen, np.zeros(samples + 1)) + wins
            counts[seen] += 1
    return Curves(probes, {seen: sums[seen] / counts[seen] for seen in sorted(sums)}, look)


@dataclass(frozen=True)
class AdaptiveAllocation:
    """Probes every problem, then shares out the rest of the samples by the curves; a plurality votes.

    `budget.samples` is the mean per problem and the total is kept exactly. All probes are drawn in one call, and all
    problems with equally many further samples in one; a prompt read twice is paid twice. The trace is the list of
    completions.
    """

    task: Task
    curves: Curves
    style: str = "cot"
    temperature: float = 1.0
    seed: int = 0
    name: str = "adaptive allocation"

    def solve(self, problems: Sequence[Problem], model: LanguageModel, budget: Budget) -> list[Attempt]:
        if budget.samples < self.curves.probes:
            raise ValueError(
                f"{budget.samples} samples a problem do not pay for {self.curves.probes} probes; allow more samples."
            )
        prompts = [self.task.prompt(p, self.style) for p in problems]

        def draw(which: Sequence[int], n: int, seed: int) -> list[list[Completion]]:
            asked = [prompts[i] for i in which]
            return model.sample(asked, n, budget.max_new_tokens, temperature=self.temperature, seed=seed)

        drawn = draw(range(len(problems)), self.curves.probes, self.seed)
        costs = [group_cost(group) for group in drawn]
        answers = [[self.task.final(c.text, p) for c in group] for p, group in zip(problems, drawn, strict=True)]
        looks = [self.curves.of(given) for given in answers]
        if problems:
            shares = allocate(looks, budget.samples * len(problems), least=self.curves.probes) - self.curves.probes
            for n in sorted(set(shares.tolist()) - {0}):
                which = [i for i, share in enumerate(shares) if share == n]
                for i, group in zip(which, draw(which, n, self.seed + (1 << 32)), strict=True):
                    drawn[i] = drawn[i] + group
                    costs[i] += group_cost(group)
        attempts = []
        for problem, group, cost in zip(problems, drawn, costs, strict=True):
            given = [self.task.final(c.text, problem) for c in group]
            attempts.append(attempt(self.task, problem, plurality(given), group, cost, given.count(None)))
        return attempts


keeps_prefixes(AdaptiveAllocation)


@solver(
    "adaptive-allocation",
    "N samples in the mean, more where they help more (snell2024scaling)",
    notebook="28",
    skills=(SOLVE,),
    least=2,
)
def _adaptive_allocation(setting: Setting, size: int) -> Solver:
    """Its curves are measured on twice as many samples of the tuning problems."""
    task, problems = setting.task, setting.tuning
    prompts = [task.prompt(p, setting.style) for p in problems]
    groups = setting.model.sample(prompts, 2 * size, setting.max_new_tokens, setting.heat, seed=setting.seed)
    answers = [[task.final(c.text, p) for c in group] for p, group in zip(problems, groups, strict=True)]
    right = [[a is not None and task.matches(a, p) for a in row] for p, row in zip(problems, answers, strict=True)]
    curves = measure_curves(answers, right, max(1, size // 4))
    return AdaptiveAllocation(task, curves, setting.style, setting.heat, setting.seed)
