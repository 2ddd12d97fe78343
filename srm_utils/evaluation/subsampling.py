"""What fewer of the samples drawn would have given: pass@k, votes and best-of-n of k samples, as pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from srm_utils.evaluation.statistics import Bools, Floats, vector

Objects = NDArray[np.object_]

#: Up to this many samples a binomial coefficient fits a float64, and votes are counted exactly.
EXACT_SAMPLES = 1000


def pass_at_k(n: ArrayLike, c: ArrayLike, k: ArrayLike) -> Floats:
    """Unbiased chance that k of n samples hold a correct one, when c of n are correct.

    chen2021evaluating, equation 1: 1 - C(n-c, k) / C(n, k). Arguments broadcast.

    >>> round(float(pass_at_k(5, 1, 2)), 12)
    0.4
    """
    _check_k(n, k)
    return np.clip(1 - scipy.stats.hypergeom.pmf(0, n, c, k), 0, 1)


def majority_at_k(answers: Sequence[str | None] | Objects, correct: Sequence[bool] | Bools, k: ArrayLike) -> Floats:
    """Expected correctness of the plurality vote of k of the n samples of ONE problem; shape of `k`.

    wang2022selfconsistency's majority vote, averaged over all C(n, k) subsets without replacement.
    Exact up to 1000 samples: subsets are counted by the answers they hold (a multivariate
    hypergeometric sum, done by polynomial products), not drawn. Beyond that, 2000 seeded subsets.
    Ties are broken uniformly; None (unparsable) casts no vote; no vote at all is wrong.

    >>> majority_at_k(["4", "4", "5"], [True, True, False], [1, 2, 3]).round(3).tolist()
    [0.667, 0.667, 1.0]
    """
    n = len(answers)
    _check_k(n, k)
    if n > EXACT_SAMPLES:
        return vote_at_k(answers, correct, np.ones(n), k)
    _, counts, right = _tally(answers, correct)
    top = int(np.max(k))
    total = np.zeros(top + 1)  # total[k]: share of the 2^n subsets that have size k and vote right
    for j in np.flatnonzero(right):
        for votes in range(1, min(int(counts[j]), top) + 1):
            total += right[j] * _winning_subsets(counts, int(j), votes, n, top)
    return np.clip((total / _coins(n)[: top + 1])[np.asarray(k)], 0, 1)


@lru_cache(maxsize=EXACT_SAMPLES + 1)
def _coins(m: int) -> Floats:
    """C(m, s) / 2^m for s = 0..m: the shares of the subsets of m samples by size."""
    return np.asarray(scipy.stats.binom.pmf(np.arange(m + 1), m, 0.5))


def _winning_subsets(counts: NDArray[np.int64], j: int, votes: int, n: int, top: int) -> Floats:
    """Share of subsets, by size, in which answer j has exactly `votes` and wins (ties shared).

    A group of m samples is the polynomial sum_s C(m, s) x^s / 2^m; the power of x counts samples
    taken. Rows of `ways` are the number of rivals tied with j.
    """
    others = np.delete(counts, j)
    rivals = others[others >= votes]
    # Every group too small to reach `votes`, and every abstention, is free: one polynomial for all.
    free = n - int(counts[j]) - int(rivals.sum())
    ways = np.zeros((len(rivals) + 1, top + 1))
    room = min(free, top - votes) + 1
    ways[0, votes : votes + room] = _coins(int(counts[j]))[votes] * _coins(free)[:room]
    for m in rivals:
        shares = _coins(int(m))
        grown = np.zeros_like(ways)
        for s in range(votes):
            grown[:, s:] += shares[s] * ways[:, : top + 1 - s]
        grown[1:, votes:] += shares[votes] * ways[:-1, : top + 1 - votes]
        ways = grown
    return np.asarray((ways / np.arange(1, len(rivals) + 2)[:, None]).sum(0))


def vote_at_k(
    answers: Sequence[str | None] | Objects,
    correct: Sequence[bool] | Bools,
    weights: ArrayLike,
    k: ArrayLike,
    subsets: int = 2000,
    seed: int = 0,
) -> Floats:
    """Expected correctness of a weighted vote of k of the n samples of ONE problem; shape of `k`.

    Sums of weights have no exact count, so `subsets` seeded random subsets stand for all of them;
    the same random orders serve every k. Ties, None and no vote as in `majority_at_k`.

    >>> float(vote_at_k(["4", "5", "5"], [True, False, False], [3.0, 1.0, 1.0], 3))
    1.0
    """
    n = len(answers)
    _check_k(n, k)
    weight = vector(weights)
    if len(weight) != n or (weight < 0).any():
        raise ValueError(f"A weighted vote needs one weight of at least 0 for each of the {n} samples.")
    labels, _, right = _tally(answers, correct)
    if not labels:
        return np.zeros(np.shape(k))
    ballots = np.zeros((n, len(labels)))
    for i, answer in enumerate(answers):
        if answer is not None:
            ballots[i, labels.index(answer)] = weight[i]
    rank = np.random.default_rng(seed).random((subsets, n)).argsort(1).argsort(1)

    def expected(size: int) -> float:
        sums = (rank < size) @ ballots
        best = sums.max(1, keepdims=True)
        winners = (sums >= best * (1 - 1e-12)) & (best > 0)
        return float(np.mean((winners @ right) / np.maximum(winners.sum(1), 1)))

    return np.vectorize(expected, otypes=[float])(np.asarray(k))


def best_of_n_at_k(scores: ArrayLike, correct: ArrayLike, k: ArrayLike) -> Floats:
    """Expected correctness of the top-scored of k of the n samples of ONE problem; shape of `k`.

    Exact over all subsets: P(the top has rank <= r) = C(r, k) / C(n, k). Equal scores share.

    >>> best_of_n_at_k([0.1, 0.9, 0.5], [1, 0, 1], [1, 2]).round(3).tolist()
    [0.667, 0.333]
    """
    score, right = vector(scores), vector(correct)
    n = len(score)
    _check_k(n, k)
    if len(right) != n:
        raise ValueError(f"There are {n} scores but {len(right)} grades; give one of each per sample.")
    _, level, sizes = np.unique(score, return_inverse=True, return_counts=True)
    share = np.bincount(level, weights=right) / sizes
    size = np.asarray(k)[..., None]
    reached = scipy.stats.hypergeom.pmf(size, n, sizes.cumsum(), size)
    return np.clip(np.diff(reached, prepend=0.0, axis=-1) @ share, 0, 1)


def _check_k(n: ArrayLike, k: ArrayLike) -> None:
    if (np.asarray(k) < 1).any() or (np.asarray(k) > np.asarray(n)).any():
        raise ValueError(f"k must lie between 1 and the {np.min(n)} samples drawn, not {np.max(k)}.")


def _tally(
    answers: Sequence[str | None] | Objects, correct: Sequence[bool] | Bools
) -> tuple[list[str], NDArray[np.int64], Floats]:
    """Distinct answers, how many samples gave each, and each one's correctness."""
    if len(answers) != len(correct):
        raise ValueError(f"There are {len(answers)} answers but {len(correct)} grades; give one of each per sample.")
    seen: dict[str, list[bool]] = {}
    for answer, right in zip(answers, correct, strict=True):
        if answer is not None:
            seen.setdefault(answer, []).append(bool(right))
    counts = np.array([len(v) for v in seen.values()], dtype=np.int64)
    return list(seen), counts, np.array([np.mean(v) for v in seen.values()], dtype=float)
