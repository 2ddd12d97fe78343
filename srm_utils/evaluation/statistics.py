"""Estimates with intervals, as pure functions on numpy arrays.

Rows are problems unless a name says otherwise. Every function that draws takes a seed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Relation = Literal["better", "worse", "not distinguishable"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its confidence interval; `n` counts the units it rests on (problems or seeds).

    >>> str(Estimate(0.7, 0.6041, 0.7811, 100))
    '0.70 [0.60, 0.78]'
    """

    value: float
    low: float
    high: float
    n: int
    level: float = 0.95

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"

    @property
    def has_spread(self) -> bool:
        """Whether the interval says where the truth may lie: it has a width, and that is finite.

        >>> Estimate(0.4, 0.3, 0.5, 5).has_spread, Estimate(0.4, 0.4, 0.4, 5).has_spread
        (True, False)
        """
        return math.isfinite(self.low) and math.isfinite(self.high) and not _agree(np.array([self.low, self.high]))


@dataclass(frozen=True)
class Measurement:
    """A measured effect that can say its interval at any confidence level.

    `interval(level)` must be nested: a higher level never gives a narrower interval.
    """

    interval: Callable[[float], Estimate]
    unit: Literal["problem", "seed"]


# ---- one method ----------------------------------------------------------------------------------


def wilson(successes: float, n: float, level: float = 0.95) -> Estimate:
    """Share of successes with Wilson's score interval. Raises ValueError unless 0 <= successes <= n, n > 0.

    >>> str(wilson(70, 100))
    '0.70 [0.60, 0.78]'
    """
    from statsmodels.stats.proportion import proportion_confint

    if n <= 0 or not 0 <= successes <= n:
        raise ValueError(f"A share needs 0 <= successes <= n and n > 0; it got {successes} of {n}.")
    low, high = proportion_confint(successes, n, alpha=1 - level, method="wilson")
    return Estimate(successes / n, float(low), float(high), round(n), level)


def mean_score(scores: ArrayLike, samples: int = 1, level: float = 0.95) -> Estimate:
    """Mean of per-problem scores in [0, 1], clustered by problem, with an interval inside [0, 1].

    The samples of one problem are not independent, so the variance is that between problems
    (miller2024error, clustered standard errors). It is turned into an effective sample size and given to
    Wilson's interval, which stays honest where all scores agree and a normal interval has no
    width. With one graded sample per problem this is exactly `wilson`.

    `scores` has one mean per problem; `samples` is the number of samples behind each.

    >>> str(mean_score([1, 1, 1, 1, 1, 1, 1, 1, 1, 1]))
    '1.00 [0.72, 1.00]'
    """
    x = vector(scores)
    if x.min() < 0 or x.max() > 1:
        raise ValueError("Scores must lie between 0 and 1; use `mean_interval` for other quantities.")
    n, p = len(x), float(x.mean())
    variance = float(x.var(ddof=1)) / n if n > 1 else math.inf
    spread = p * (1 - p)
    # Samples can only add to what the problems tell (n at least) and never count more than in full.
    effective = n if spread == 0 else n * samples if variance == 0 else min(max(spread / variance, n), n * samples)
    inside = wilson(p * effective, effective, level)
    return Estimate(p, inside.low, inside.high, n, level)


def mean_interval(values: ArrayLike, level: float = 0.95, bounds: tuple[float, float] | None = None) -> Estimate:
    """Mean with Student's t-interval; where all values agree, the whole line, or the exact interval within `bounds`.

    Equal values have no spread to judge by. Where the quantity cannot leave `bounds`, they still say something: had
    their value a chance of p, then n of them agreed with a chance of at most p^(n - 1). Raises ValueError for fewer
    than two values, and for equal values outside `bounds`.

    >>> str(mean_interval([1.0, 2.0, 3.0])), str(mean_interval([0.5] * 20, bounds=(0, 1)))
    ('2.00 [-0.48, 4.48]', '0.50 [0.43, 0.57]')
    """
    x = vector(values)
    if len(x) < 2:
        raise ValueError("A t-interval needs at least two values; measure more problems or seeds.")
    if _agree(x):
        return _equal_values(float(x[0]), len(x), level, bounds)
    half = scipy.stats.t.ppf((1 + level) / 2, len(x) - 1) * x.std(ddof=1) / math.sqrt(len(x))
    return Estimate(float(x.mean()), float(x.mean() - half), float(x.mean() + half), len(x), level)


def clustered_mean(values: ArrayLike, clusters: Sequence[object], level: float = 0.95) -> Estimate:
    """Mean of samples whose clusters (problems) may differ in size, with a cluster-robust t-interval.

    The clustered standard error of miller2024error (section on clustered questions), with the
    G/(G-1) correction for few clusters. `n` is the number of clusters. Without any spread between clusters the
    interval is the whole line.

    >>> clustered_mean([1, 0, 1, 1], ["a", "a", "b", "b"]).n
    2
    """
    x = vector(values)
    names, member = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    groups = len(names)
    if len(member) != len(x):
        raise ValueError(f"There are {len(x)} values but {len(member)} cluster names; give one per value.")
    if groups < 2:
        raise ValueError("A clustered interval needs at least two clusters; measure more problems.")
    sums = np.bincount(member, weights=x - x.mean(), minlength=groups)
    if np.abs(sums).max() <= _rounding(x):
        return _equal_values(float(x.mean()), groups, level, None)
    error = math.sqrt(groups / (groups - 1) * float(sums @ sums)) / len(x)
    half = float(scipy.stats.t.ppf((1 + level) / 2, groups - 1)) * error
    return Estimate(float(x.mean()), float(x.mean()) - half, float(x.mean()) + half, groups, level)


# ---- two methods on the same problems -------------------------------------------------------------


def paired(differences: ArrayLike) -> Measurement:
    """Effect from per-problem differences in [-1, 1] (treatment minus control, of scores or grades).

    Wald's interval after adding one problem that went +1 and one that went -1: Bonett and Price's
    adjustment for paired proportions, which keeps a width when no problem differs.

    >>> str(paired([1, 0, 0, 1, 0, 0, 1, -1, 0, 1]).interval(0.95))
    '0.30 [-0.16, 0.66]'
    """
    x = vector(differences)
    if np.abs(x).max() > 1:
        raise ValueError("Per-problem differences of scores must lie in [-1, 1]; use `unbounded` for others.")
    n, value = len(x), float(x.mean())
    padded = np.concatenate([x, [1.0, -1.0]])
    centre, error = float(padded.mean()), float(padded.std()) / math.sqrt(n + 2)

    def interval(level: float) -> Estimate:
        half = float(scipy.stats.norm.ppf((1 + level) / 2)) * error
        return Estimate(value, max(-1.0, centre - half), min(1.0, centre + half), n, level)

    return Measurement(interval, "problem")


def unbounded(differences: ArrayLike) -> Measurement:
    """Effect from per-problem differences of any size (tokens saved, say), by Student's t.

    Where all agree, the interval is the whole line: there is no spread to judge by.

    >>> str(unbounded([10.0, 12.0, 14.0, 12.0]).interval(0.95))
    '12.00 [9.40, 14.60]'
    """
    return Measurement(partial(mean_interval, vector(differences)), "problem")


def seed_paired(differences: ArrayLike, bounds: tuple[float, float] | None = None) -> Measurement:
    """Effect from one difference per training seed (treatment minus control of that seed), by Student's t.

    Where all seeds agree, the interval is the whole line, or the exact one within `bounds`; see `mean_interval`.

    >>> str(seed_paired([0.10, 0.12, 0.08, 0.11, 0.09]).interval(0.95))
    '0.10 [0.08, 0.12]'
    """
    return Measurement(partial(mean_interval, vector(differences), bounds=bounds), "seed")


def slope(x: ArrayLike, differences: ArrayLike) -> Measurement:
    """Trend: least-squares slope of per-problem differences on x (difficulty), HC3 errors, t-interval.

    Where all problems lie on one line, the interval is the whole line: there is no spread to judge by.

    >>> slope([1, 1, 2, 2, 3, 3], [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]).interval(0.95).value.__round__(3)
    0.2
    """
    import statsmodels.api as sm

    level_of, y = vector(x), vector(differences)
    if len(level_of) != len(y) or len(y) < 3 or np.ptp(level_of) == 0:
        raise ValueError("A trend needs one x per difference, three of them or more, and x at two values at least.")
    fit = sm.OLS(y, sm.add_constant(level_of)).fit(cov_type="HC3", use_t=True)

    exact = np.abs(fit.resid).max() <= _rounding(y)

    def interval(level: float) -> Estimate:
        low, high = (-math.inf, math.inf) if exact else fit.conf_int(1 - level)[1]
        return Estimate(float(fit.params[1]), float(low), float(high), len(y), level)

    return Measurement(interval, "problem")


def equal_cost(
    treatment: ArrayLike,
    treatment_cost: ArrayLike,
    control: ArrayLike,
    control_cost: ArrayLike,
    resamples: int = 10_000,
    seed: int = 0,
) -> Measurement:
    """Treatment minus control at equal mean cost per problem; percentile bootstrap over problems.

    `treatment` and `treatment_cost` have shape (problems,); `control` and `control_cost` have shape
    (points, problems), one row per point of the control's own accuracy-cost curve (majority at
    k = 1, 2, 4..., from one large run). The control is read off by linear interpolation in mean cost,
    which a reader could realise by giving some problems the smaller and some the larger budget.
    Each resample takes problems together with their costs. Where no resample differs (all problems agree exactly), the
    interval is that of `paired` for as many equal differences; scores outside [0, 1] then have the whole line.

    Raises ValueError when the curve does not reach the treatment's cost.

    >>> equal_cost([1, 1, 0, 1], [2.0] * 4, [[0, 1, 0, 0], [1, 1, 0, 0]], [[1.0] * 4, [3.0] * 4]).interval(0.95).value
    0.375
    """
    score, cost = vector(treatment), vector(treatment_cost)
    curve, curve_cost = np.atleast_2d(np.asarray(control, float)), np.atleast_2d(np.asarray(control_cost, float))
    n = len(score)
    if len(cost) != n or curve.shape != curve_cost.shape or curve.shape[1] != n:
        raise ValueError("Treatment and control must be measured, with their costs, on the same problems.")
    spent, reach = cost.mean(), curve_cost.mean(1)
    slack = 1e-9 * max(float(reach.max()), 1.0)
    if not reach.min() - slack <= spent <= reach.max() + slack:
        raise ValueError(
            f"The treatment costs {spent:.4g} a problem but the control was measured from {reach.min():.4g} to "
            f"{reach.max():.4g}; measure the control at a budget on the other side too."
        )

    def effect(weights: Floats) -> Floats:
        total, at = weights @ score, weights @ cost
        xs, ys = weights @ curve_cost.T, weights @ curve.T
        order = xs.argsort(1, kind="stable")
        xs, ys = np.take_along_axis(xs, order, 1), np.take_along_axis(ys, order, 1)
        # np.interp row by row, vectorised; a resample that leaves the curve reads its end point.
        right = np.clip((xs < at[:, None]).sum(1), 1, max(xs.shape[1] - 1, 1))[:, None]
        left = right - 1
        right = np.minimum(right, xs.shape[1] - 1)
        x0, x1 = np.take_along_axis(xs, left, 1)[:, 0], np.take_along_axis(xs, right, 1)[:, 0]
        y0, y1 = np.take_along_axis(ys, left, 1)[:, 0], np.take_along_axis(ys, right, 1)[:, 0]
        gap = x1 - x0
        share = np.clip(np.divide(at - x0, gap, out=np.zeros_like(gap), where=gap > 0), 0, 1)
        return np.asarray(total - (y0 + share * (y1 - y0)))

    draws = np.sort(_bootstrap(effect, n, resamples, seed))
    value = float(effect(np.full((1, n), 1 / n))[0])
    if _agree(draws):
        if min(score.min(), curve.min()) < 0 or max(score.max(), curve.max()) > 1:
            return Measurement(partial(_whole_line, value, n), "problem")
        return paired(np.full(n, np.clip(value, -1, 1)))

    def interval(level: float) -> Estimate:
        low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
        return Estimate(value, float(low), float(high), n, level)

    return Measurement(interval, "problem")


def _bootstrap(effect: Callable[[Floats], Floats], n: int, resamples: int, seed: int) -> Floats:
    """`effect` of (batch, n) resampling weights (each row sums to 1), in batches that fit a cache."""
    rng = np.random.default_rng(seed)
    batches = [min(1000, resamples - done) for done in range(0, resamples, 1000)]
    return np.concatenate([effect(rng.multinomial(n, np.full(n, 1 / n), size=b) / n) for b in batches])


# ---- all pairs of many methods ---------------------------------------------------------------------


@dataclass(frozen=True)
class PairedMatrix:
    """Row minus column, in accuracy: the difference and its interval, of shape (methods, methods).

    The intervals hold all at once: the chance that any of them misses its true difference is 1 - `level`.
    """

    names: tuple[str, ...]
    difference: Floats
    low: Floats
    high: Floats
    level: float

    def verdict(self, row: str, column: str) -> Relation:
        """Whether the row's method is better than the column's, worse, or not distinguishable from it."""
        i, j = self.names.index(row), self.names.index(column)
        return "better" if self.low[i, j] > 0 else "worse" if self.high[i, j] < 0 else "not distinguishable"

    def estimate(self, row: str, column: str, n: int) -> Estimate:
        """One difference with its simultaneous interval."""
        i, j = self.names.index(row), self.names.index(column)
        return Estimate(float(self.difference[i, j]), float(self.low[i, j]), float(self.high[i, j]), n, self.level)


def paired_matrix(
    scores: Mapping[str, ArrayLike], level: float = 0.95, resamples: int = 4000, seed: int = 0
) -> PairedMatrix:
    """Every method against every other on the same problems, with intervals that hold simultaneously (max-t).

    `scores` maps a method to its scores, one a problem. Each interval is d +/- c s, with s the standard error of the
    paired differences (padded as in `paired`), and one c for all: the `level` quantile of the largest
    |d* - d| / s of any pair over bootstrap resamples of the problems. Methods rise or fall with the same problems, so
    that c is smaller than Bonferroni's. Raises ValueError for fewer than two methods or unequal numbers of problems.
    """
    names, rows = tuple(scores), [np.asarray(s, dtype=float) for s in scores.values()]
    if len(names) < 2 or len({row.shape for row in rows}) != 1 or rows[0].ndim != 1 or not rows[0].size:
        raise ValueError("A matrix compares at least two solvers, each measured on the same problems.")
    x = np.stack(rows)
    n, mean = x.shape[1], x.mean(1)
    upper = np.triu_indices(len(names), 1)
    d = x[upper[0]] - x[upper[1]]
    # One problem more that went +1 and one that went -1 (Bonett and Price), so that no interval has no width.
    squares, centre = (d**2).sum(1) + 2, d.sum(1) / (n + 2)
    error = np.sqrt(squares / (n + 2) - centre**2) / math.sqrt(n + 2)
    rng = np.random.default_rng(seed)
    largest = []
    for _ in range(0, resamples, 500):
        means = rng.multinomial(n, np.full(n, 1 / n), size=500) / n @ x.T - mean
        largest.append((np.abs(means[:, upper[0]] - means[:, upper[1]]) / error).max(1))
    c = max(float(np.quantile(np.concatenate(largest), level)), float(scipy.stats.norm.ppf((1 + level) / 2)))
    difference, low, high = (np.zeros((len(names),) * 2) for _ in range(3))
    difference[upper], low[upper], high[upper] = d.mean(1), centre - c * error, centre + c * error
    difference, low, high = difference - difference.T, low - high.T, high - low.T
    return PairedMatrix(names, difference, np.clip(low, -1, 1), np.clip(high, -1, 1), level)


# ---- values without spread ------------------------------------------------------------------------


def _rounding(x: Floats) -> float:
    """How far apart values like these may lie and still be equal: the rest is rounding."""
    return max(1e-12, 1e-9 * float(np.abs(x).max()))


def _agree(x: Floats) -> bool:
    return bool(np.ptp(x) <= _rounding(x))


def _whole_line(value: float, n: int, level: float) -> Estimate:
    return Estimate(value, -math.inf, math.inf, n, level)


def _equal_values(value: float, n: int, level: float, bounds: tuple[float, float] | None) -> Estimate:
    """The interval of a mean of which n draws gave one value; how others may differ, they do not show."""
    if bounds is None:
        return _whole_line(value, n, level)
    low, high = bounds
    if not low <= value <= high:
        raise ValueError(f"The value {value:g} does not lie between its bounds {low:g} and {high:g}; mend them.")
    # Whatever the commonest value is, if its chance is p, all n agree with a chance of at most p^(n - 1).
    p = (1 - level) ** (1 / (n - 1))
    return Estimate(value, p * value + (1 - p) * low, p * value + (1 - p) * high, n, level)


# ---- shared checks --------------------------------------------------------------------------------


def vector(values: ArrayLike) -> Floats:
    x = np.asarray(values, dtype=float)
    if x.ndim != 1 or not len(x):
        raise ValueError(f"One value per problem or seed is needed; it got an array of shape {x.shape}.")
    if np.isnan(x).any():
        raise ValueError("A value is not a number (NaN); drop that problem from both methods or measure it again.")
    return x
