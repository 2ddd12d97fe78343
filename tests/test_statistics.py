"""Oracles for the statistics: closed forms, brute force over all subsets, simulated coverage."""

from __future__ import annotations

import gc
import math
from collections import Counter
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from srm_utils.evaluation import planning, subsampling
from srm_utils.evaluation import statistics as s


def brute_vote(answers: Sequence[str | None], correct: Sequence[bool], k: int, weights: Sequence[float] = ()) -> float:
    weights = weights or [1.0] * len(answers)
    right = {a: c for a, c in zip(answers, correct, strict=True)}
    outcomes = []
    for subset in combinations(range(len(answers)), k):
        votes: Counter[str] = Counter()
        for i in subset:
            if answers[i] is not None:
                votes[answers[i]] += weights[i]
        best = [a for a, v in votes.items() if v == max(votes.values())]
        outcomes.append(sum(right[a] for a in best) / len(best) if best else 0.0)
    return float(np.mean(outcomes))


def test_pass_at_k_closed_form():
    assert subsampling.pass_at_k(5, 1, 2) == pytest.approx(0.4)
    n, c = 9, np.arange(10)
    for k in range(1, 10):
        expected = [1 - math.comb(9 - int(x), k) / math.comb(9, k) for x in c]
        np.testing.assert_allclose(subsampling.pass_at_k(n, c, k), expected, atol=1e-12)
    assert subsampling.pass_at_k(2000, 1, 1000) == pytest.approx(0.5)
    values = subsampling.pass_at_k(64, np.arange(65)[:, None], np.arange(1, 65))
    assert values.min() >= 0 and values.max() <= 1


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["a", "b", "c", "d", None]), min_size=1, max_size=9))
def test_majority_equals_brute_force(answers: list[str | None]):
    correct = [x in ("a", "c") for x in answers]
    ks = range(1, len(answers) + 1)
    expected = [brute_vote(answers, correct, k) for k in ks]
    np.testing.assert_allclose(subsampling.majority_at_k(answers, correct, list(ks)), expected, atol=1e-12)


def test_majority_closed_form_for_two_answers():
    # 30 of 50 right, k odd: a hypergeometric tail, no ties.
    from scipy.stats import hypergeom

    answers = ["r"] * 30 + ["w"] * 20
    for k in (1, 5, 21, 49):
        expected = hypergeom.sf(k // 2, 50, 30, k)
        assert subsampling.majority_at_k(answers, [a == "r" for a in answers], k) == pytest.approx(expected)
    # Ties split in two.
    assert subsampling.majority_at_k(["r"] * 10 + ["w"] * 10, [True] * 10 + [False] * 10, 20) == pytest.approx(0.5)


def test_majority_at_one_is_accuracy_and_large_runs_stay_finite():
    rng = np.random.default_rng(1)
    answers = [str(a) for a in rng.integers(0, 30, 600)]
    correct = [a == "3" for a in answers]
    values = subsampling.majority_at_k(answers, correct, [1, 10, 600])
    assert values[0] == pytest.approx(np.mean(correct))
    assert np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1


def test_majority_beyond_the_exact_limit_subsamples():
    answers = ["r"] * 700 + ["w"] * 400
    assert subsampling.majority_at_k(answers, [a == "r" for a in answers], 1) == pytest.approx(7 / 11, abs=0.03)


def test_nobody_votes():
    assert subsampling.majority_at_k([None, None], [False, False], [1, 2]).tolist() == [0, 0]
    assert subsampling.vote_at_k([None, None], [False, False], [1, 1], [1, 2]).tolist() == [0, 0]


def test_weighted_vote_approaches_brute_force_and_uses_weights():
    answers = ["a", "b", "b", "c", None, "a", "b"]
    correct = [a == "a" for a in answers]
    weights = [5.0, 1.0, 2.0, 1.0, 9.0, 0.5, 1.0]
    for k in (1, 3, 5, 7):
        exact = brute_vote(answers, correct, k, weights)
        assert subsampling.vote_at_k(answers, correct, weights, k, subsets=20_000) == pytest.approx(exact, abs=0.015)
    assert (
        subsampling.vote_at_k(answers, correct, weights, 7) == 1 and subsampling.majority_at_k(answers, correct, 7) == 0
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=8))
def test_best_of_n_equals_brute_force(samples: list[tuple[int, bool]]):
    scores, correct = zip(*samples, strict=True)
    for k in range(1, len(samples) + 1):
        outcomes = []
        for subset in combinations(range(len(samples)), k):
            top = max(scores[i] for i in subset)
            outcomes.append(np.mean([correct[i] for i in subset if scores[i] == top]))
        assert subsampling.best_of_n_at_k(scores, correct, k) == pytest.approx(np.mean(outcomes))


@pytest.mark.parametrize(
    "call",
    [
        lambda: subsampling.pass_at_k(4, 1, 5),
        lambda: subsampling.majority_at_k(["a"], [True], 2),
        lambda: subsampling.majority_at_k(["a"], [True, False], 1),
        lambda: subsampling.best_of_n_at_k([1.0], [True], 0),
        lambda: subsampling.best_of_n_at_k([math.nan], [True], 1),
        lambda: subsampling.vote_at_k(["a"], [True], [-1.0], 1),
        lambda: s.wilson(3, 2),
        lambda: s.mean_score([0.5, 1.5]),
        lambda: s.mean_score([]),
        lambda: s.mean_interval([1.0]),
        lambda: s.paired([2.0]),
        lambda: s.slope([1, 1, 1], [0, 0, 1]),
        lambda: s.clustered_mean([1.0, 0.0], ["a", "a"]),
        lambda: planning.sample_size(0, 1),
        lambda: planning.paired_sd(0.1, 0.2),
        lambda: s.equal_cost([1.0], [5.0], [[1.0], [1.0]], [[1.0], [2.0]]),
        lambda: s.equal_cost([1.0], [1.5], [[1.0, 0.0]], [[1.0, 2.0]]),
    ],
)
def test_misuse_is_one_sentence(call):
    with pytest.raises(ValueError) as error:
        call()
    assert str(error.value).endswith(".") and "\n" not in str(error.value)


def test_wilson_known_value():
    # Wilson 1927 for 5 of 10.
    e = s.wilson(5, 10)
    assert (e.low, e.high) == (pytest.approx(0.2366, abs=1e-4), pytest.approx(0.7634, abs=1e-4))


def test_mean_score_is_wilson_for_one_sample_each():
    grades = np.r_[np.ones(70), np.zeros(30)]
    a, b = s.mean_score(grades), s.wilson(70, 100)
    assert (a.low, a.high, a.n) == (pytest.approx(b.low), pytest.approx(b.high), 100)


def test_mean_score_never_counts_samples_as_problems():
    # Four identical samples of each problem say no more than one.
    grades = np.r_[np.ones(70), np.zeros(30)]
    same = s.mean_score(grades, samples=4)
    assert same.high - same.low == pytest.approx(s.wilson(70, 100).high - s.wilson(70, 100).low)
    # Four independent samples with nothing between problems count in full.
    half = s.mean_score(np.full(100, 0.5), samples=4)
    assert half.high - half.low == pytest.approx(s.wilson(200, 400).high - s.wilson(200, 400).low)


def test_clustered_mean_equals_statsmodels():
    import statsmodels.api as sm

    rng = np.random.default_rng(0)
    clusters = rng.integers(0, 12, 80)
    y = rng.random(80) + clusters * 0.1
    fit = sm.OLS(y, np.ones(80)).fit(cov_type="cluster", cov_kwds={"groups": clusters}, use_t=True)
    ours = s.clustered_mean(y, clusters.tolist())
    # statsmodels adds (N-1)/(N-k), which is 1 for a mean.
    np.testing.assert_allclose((ours.low, ours.high), fit.conf_int(0.05)[0], rtol=1e-10)


def test_paired_is_bonett_price():
    n12, n21, n = 25, 12, 100
    d = np.r_[np.ones(n12), -np.ones(n21), np.zeros(n - n12 - n21)]
    p, q = (n12 + 1) / (n + 2), (n21 + 1) / (n + 2)
    half = 1.959964 * math.sqrt((p + q - (p - q) ** 2) / (n + 2))
    e = s.paired(d).interval(0.95)
    assert (e.value, e.low, e.high) == (pytest.approx(0.13), pytest.approx(p - q - half), pytest.approx(p - q + half))
    nothing = s.paired(np.zeros(20)).interval(0.95)
    assert nothing.low < -0.1 and nothing.high > 0.1  # no differing problem in 20 does not prove equality


# ---- equal cost -------------------------------------------------------------------------------------


def test_equal_cost_interpolates_the_control():
    n = 50
    control = np.array([np.full(n, 0.2), np.full(n, 0.4), np.full(n, 0.8)])
    cost = np.array([np.full(n, 1.0), np.full(n, 2.0), np.full(n, 6.0)])
    for spent, expected in [(1.0, 0.2), (1.5, 0.3), (2.0, 0.4), (4.0, 0.6), (6.0, 0.8)]:
        e = s.equal_cost(np.full(n, 0.9), np.full(n, spent), control, cost, resamples=50).interval(0.95)
        assert e.value == pytest.approx(0.9 - expected)
        # Nothing varies between problems: the interval is that of fifty equal paired differences.
        equal = s.paired(np.full(n, 0.9 - expected)).interval(0.95)
        assert (e.low, e.high) == (pytest.approx(equal.low), pytest.approx(equal.high)) and e.low < e.value < e.high
    shuffled = [2, 0, 1]
    e = s.equal_cost(np.full(n, 0.9), np.full(n, 4.0), control[shuffled], cost[shuffled], resamples=50).interval(0.95)
    assert e.value == pytest.approx(0.3)


def test_equal_cost_carries_the_uncertainty_of_cost():
    rng = np.random.default_rng(0)
    n = 100
    spent = rng.exponential(2.0, n)
    control, cost = np.array([np.zeros(n), np.ones(n)]), np.array([np.zeros(n), np.full(n, 8.0)])
    e = s.equal_cost(np.full(n, 0.5), spent, control, cost, resamples=4000).interval(0.95)
    # The control's value is mean cost / 8, so the interval is that of the mean cost, and nothing else.
    assert e.value == pytest.approx(0.5 - spent.mean() / 8)
    assert (e.high - e.low) / 2 == pytest.approx(1.96 * spent.std() / math.sqrt(n) / 8, rel=0.06)


def test_equal_cost_keeps_problems_paired_and_is_seeded():
    rng = np.random.default_rng(0)
    score = (rng.random(200) < 0.5).astype(float)
    flat = np.ones(200)
    same = s.equal_cost(score, flat, [score], [flat], resamples=500).interval(0.95)
    # The very same grades differ in no resample, which 200 problems do not prove for all others.
    assert same == s.paired(np.zeros(200)).interval(0.95) and -0.02 < same.low < same.value == 0 < same.high < 0.02
    other = (rng.random(200) < 0.5).astype(float)
    a, b, c = (
        s.equal_cost(score, flat, [other], [flat], resamples=500, seed=seed).interval(0.95) for seed in (0, 0, 1)
    )
    assert a == b != c
    # Percentile bootstrap of a plain paired mean agrees with the normal interval.
    d = score - other
    assert (a.high - a.low) / 2 == pytest.approx(1.96 * d.std() / math.sqrt(200), rel=0.1)


# ---- no interval without a width ----------------------------------------------------------------------


def is_wide(e: s.Estimate, level: float = 0.95) -> bool:
    return e.low < e.value < e.high and e.level == level


@pytest.mark.parametrize(
    "measured",
    [
        s.seed_paired([0.435] * 5),
        s.seed_paired([0.0, 0.0]),
        s.seed_paired([0.1 + 0.2, 0.3, 0.3]),  # equal but for rounding
        s.seed_paired([1e9, 1e9 + 1e-3]),
        s.unbounded([12.0] * 100),
        s.unbounded([0.3 - 0.2 - 0.1, 0.0]),
        s.slope([1, 2, 3], [0.1, 0.2, 0.3]),  # on one line
        s.slope([1, 2, 4, 4], [0.0] * 4),  # saturated
        s.slope([1, 2, 3, 4], [1.0] * 4),
        s.equal_cost([2.0] * 3, [1.0] * 3, [[1.0] * 3], [[1.0] * 3], resamples=50),
    ],
)
def test_equal_values_of_any_size_leave_the_whole_line(measured: s.Measurement):
    for level in (0.5, 0.95, 0.999):
        e = measured.interval(level)
        assert is_wide(e, level) and (e.low, e.high) == (-math.inf, math.inf) and not e.has_spread


def test_clusters_that_agree_leave_the_whole_line():
    for values in ([0.5] * 4, [1.0, 0.0, 1.0, 0.0]):
        e = s.clustered_mean(values, ["a", "a", "b", "b"])
        assert is_wide(e) and not e.has_spread


@pytest.mark.parametrize("n", [1, 2, 3, 200])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_saturated_curve_has_a_score_interval(n: int, value: float):
    saturated, cost = np.full(n, value), np.linspace(1, 2, n)
    control = np.array([saturated, saturated])
    e = s.equal_cost(saturated, cost, control, np.array([cost / 2, cost * 2]), resamples=200).interval(0.95)
    assert is_wide(e) and e.has_spread and e.value == pytest.approx(0, abs=1e-12)
    assert e.high == pytest.approx(min(1.0, 1.96 * math.sqrt(2) / (n + 2)), rel=1e-3), "as Bonett and Price have it"


def test_equal_values_within_bounds_have_the_exact_interval():
    for n, low in [(2, -0.9), (5, 2 * 0.05**0.25 - 1), (20, 2 * 0.05 ** (1 / 19) - 1)]:
        e = s.seed_paired([1.0] * n, bounds=(-1, 1)).interval(0.95)
        assert (e.low, e.high) == (pytest.approx(low), 1) and e.has_spread
    wide = [s.mean_interval([0.5] * 5, level, bounds=(0, 1)) for level in (0.5, 0.9, 0.99)]
    assert [e.high for e in wide] == sorted(e.high for e in wide), "a higher level is never narrower"
    with pytest.raises(ValueError, match="does not lie between its bounds 0 and 0.5"):
        s.mean_interval([0.6, 0.6], bounds=(0, 0.5))
    assert s.mean_interval([0.1, 0.2], bounds=(0, 1)) == s.mean_interval([0.1, 0.2]), "with a spread, Student's t"


def test_equal_values_within_bounds_cover():
    # Draws that are nearly always 0.5 and rarely 0: of the samples that agree, at most 5 % may miss the mean.
    rng = np.random.default_rng(10)
    for chance in (0.3, 0.55, 0.8, 0.98):
        draws = np.where(rng.random((RUNS, 5)) < chance, 0.5, 0.0)
        agree = [row for row in draws if np.ptp(row) == 0]
        missed = [not e.low <= 0.5 * chance <= e.high for e in (s.mean_interval(row, bounds=(0, 1)) for row in agree)]
        assert sum(missed) / RUNS < 0.05


def test_shares_and_pairs_have_a_width_where_all_agree():
    for n in (1, 2, 5, 300):
        assert s.wilson(0, n).high > 0 and s.wilson(n, n).low < 1
        for value in (0.0, 0.5, 1.0):
            scored = s.mean_score(np.full(n, value), samples=4)
            assert scored.low < scored.high and scored.has_spread
        for value in (-1.0, 0.0, 0.5, 1.0):
            e = s.paired(np.full(n, value)).interval(0.95)
            assert e.low < e.high and e.low <= e.value <= e.high
    matrix = s.paired_matrix({"a": [1.0] * 3, "b": [1.0] * 3})
    assert matrix.low[0, 1] < 0 < matrix.high[0, 1]


# ---- families and planning --------------------------------------------------------------------------


@pytest.fixture
def no_gc(monkeypatch: pytest.MonkeyPatch) -> None:
    """statsmodels collects garbage in every `multipletests`, which thousands of calls would pay for."""
    monkeypatch.setattr(gc, "collect", lambda: 0)


@pytest.mark.usefixtures("no_gc")
def test_holm_levels_agree_with_rejection():
    rng = np.random.default_rng(0)
    for _ in range(200):
        p = rng.random(6) ** 4
        rejected, adjusted, levels = planning.holm(p)
        # The interval of a two-sided test at level L leaves the margin iff p < 1 - L.
        assert ((p <= 1 - levels) == rejected).all()
        assert ((adjusted <= 0.05) == rejected).all()
        assert (levels >= 0.95 - 1e-12).all()
    assert planning.holm([0.2])[2].tolist() == pytest.approx([0.95])


def test_power_round_trip_and_reference():
    # Normal approximation (1.96 + 0.8416)^2 sd^2 / effect^2 plus the t correction of about z^2/2.
    n = planning.sample_size(0.1, sd=0.5)
    assert n == pytest.approx((1.959964 + 0.841621) ** 2 * 25 + 1.96**2 / 2, abs=1)
    assert planning.smallest_detectable(0.5, n) == pytest.approx(0.1, rel=0.01)
    assert planning.paired_sd(0.26, 0.1) == pytest.approx(0.5)


def test_power_is_reached_in_simulation():
    n = planning.sample_size(0.12, sd=planning.paired_sd(0.3, 0.12))
    d = np.random.default_rng(0).choice([1, -1, 0], p=[0.21, 0.09, 0.7], size=(2000, n))
    seen = np.mean([s.paired(row).interval(0.95).low > 0 for row in d])
    assert 0.77 < seen < 0.83


def test_detectable_from_interval_matches_the_power_formula():
    sd, n = 0.5, 400
    half = 1.959964 * sd / math.sqrt(n)
    assert planning.detectable_from(s.Estimate(0, -half, half, n)) == pytest.approx(
        planning.smallest_detectable(sd, n), rel=0.01
    )


# ---- coverage: every interval, nominal 95 % ---------------------------------------------------------

RUNS = 2000


def covered(estimates: Sequence[s.Estimate], truth: float) -> float:
    return float(np.mean([e.low <= truth <= e.high for e in estimates]))


def nominal(share: float) -> bool:
    return 0.93 <= share <= 0.97


def test_coverage_wilson():
    hits = np.random.default_rng(0).binomial(100, 0.7, RUNS)
    assert nominal(covered([s.wilson(int(h), 100) for h in hits], 0.7))


@pytest.mark.parametrize("a, b", [(2.0, 2.0), (0.5, 0.2), (8.0, 1.0)])
def test_coverage_mean_score_with_clusters(a: float, b: float):
    rng = np.random.default_rng(1)
    difficulty = rng.beta(a, b, (RUNS, 80))
    scores = rng.binomial(8, difficulty) / 8
    assert nominal(covered([s.mean_score(row, samples=8) for row in scores], a / (a + b)))
    # Taking the 640 samples for independent would not cover: the clusters matter.
    naive = [s.wilson(float(row.sum() * 8), 640) for row in scores]
    assert covered(naive, a / (a + b)) < 0.93


def test_coverage_mean_score_of_pass_at_k():
    rng = np.random.default_rng(2)
    chance = rng.beta(1, 2, (RUNS, 100))
    scores = subsampling.pass_at_k(16, rng.binomial(16, chance), 4)
    x = (np.arange(20000) + 0.5) / 20000
    truth = float(np.mean(2 * (1 - x) * (1 - (1 - x) ** 4)))  # E[1 - (1 - p)^4] under Beta(1, 2)
    assert nominal(covered([s.mean_score(row, samples=16) for row in scores], truth))


def test_coverage_clustered_mean():
    rng = np.random.default_rng(3)
    clusters = np.repeat(np.arange(40), rng.integers(1, 8, 40))
    shift = rng.normal(0, 1, (RUNS, 40))[:, clusters]
    values = 0.3 + shift + rng.normal(0, 1, (RUNS, len(clusters)))
    assert nominal(covered([s.clustered_mean(row, clusters.tolist()) for row in values], 0.3))


@pytest.mark.parametrize("win, lose, n", [(0.25, 0.10, 100), (0.10, 0.10, 200), (0.4, 0.2, 50)])
def test_coverage_paired(win: float, lose: float, n: int):
    d = np.random.default_rng(4).choice([1, -1, 0], p=[win, lose, 1 - win - lose], size=(RUNS, n))
    assert nominal(covered([s.paired(row).interval(0.95) for row in d], win - lose))


def test_coverage_seed_paired_and_unbounded():
    d = np.random.default_rng(5).normal(0.04, 0.02, (RUNS, 5))
    assert nominal(covered([s.seed_paired(row).interval(0.95) for row in d], 0.04))
    d = np.random.default_rng(6).normal(3.0, 20.0, (RUNS, 60))
    assert nominal(covered([s.unbounded(row).interval(0.95) for row in d], 3.0))


def test_coverage_slope():
    rng = np.random.default_rng(7)
    depth = np.repeat([1, 2, 4, 6], 25)
    p = 0.2 + 0.1 * depth
    d = (rng.random((RUNS // 2, 100)) < p).astype(float)
    assert nominal(covered([s.slope(depth, row).interval(0.95) for row in d], 0.1))


def test_coverage_equal_cost():
    rng = np.random.default_rng(8)
    estimates = []
    for _ in range(800):
        skill = rng.random(120)
        # Harder problems take more tokens: score and cost are correlated, so they must stay together.
        tokens = 10 * (2 - skill) * rng.uniform(0.5, 1.5, 120)
        treatment = (rng.random(120) < 0.3 + 0.6 * skill).astype(float)
        control = np.array([skill * 0.6, skill]) * (rng.random(120) < 0.8)
        cost = np.array([tokens * 0.5, tokens * 2])
        estimates.append(s.equal_cost(treatment, tokens, control, cost, resamples=1000).interval(0.95))
    truth = 0.6 - 0.8 * (0.3 + (0.5 - 0.3) / 3)  # cost 1 lies a third of the way from 0.5 to 2
    assert nominal(covered(estimates, truth))


@pytest.mark.usefixtures("no_gc")
def test_coverage_holm_family_at_its_margins():
    # Four claims whose truth is their margin: any interval off it is an error of the family.
    d = np.random.default_rng(9).choice([1, -1, 0], p=[0.2, 0.2, 0.6], size=(RUNS, 4, 100))
    wrong = 0
    for family in d:
        measured = [s.paired(row) for row in family]
        error = [(m.interval(0.95).high - m.interval(0.95).low) / 2 / 1.959964 for m in measured]
        centre = [(m.interval(0.95).high + m.interval(0.95).low) / 2 for m in measured]
        p = [math.erfc(abs(c) / e / math.sqrt(2)) for c, e in zip(centre, error, strict=True)]
        _, _, levels = planning.holm(p)
        intervals = [m.interval(float(level)) for m, level in zip(measured, levels, strict=True)]
        wrong += any(not e.low <= 0 <= e.high for e in intervals)
    assert nominal(1 - wrong / RUNS)


# ---- all pairs at once


def test_the_matrix_finds_what_was_planted_and_nothing_else() -> None:
    rng = np.random.default_rng(0)
    base = (rng.random(400) < 0.5).astype(float)
    better = np.where(rng.random(400) < 0.3, 1.0, base)
    other = np.where(rng.random(400) < 0.1, rng.random(400) < 0.5, base).astype(float)
    matrix = s.paired_matrix({"base": base, "better": better, "other": other, "twin": base})
    assert matrix.verdict("better", "base") == "better" and matrix.verdict("base", "better") == "worse"
    assert matrix.verdict("base", "other") == matrix.verdict("base", "twin") == "not distinguishable"
    assert np.allclose(matrix.difference, -matrix.difference.T) and np.allclose(matrix.low, -matrix.high.T)
    off = ~np.eye(4, dtype=bool)
    assert (matrix.low[off] < matrix.difference[off]).all() and (matrix.difference[off] < matrix.high[off]).all()
    e = matrix.estimate("better", "base", 400)
    assert e.value == pytest.approx(better.mean() - base.mean()) and e.low > 0


def test_the_intervals_hold_all_at_once_and_are_narrower_than_bonferronis() -> None:
    rng = np.random.default_rng(1)
    missed, k, n = 0, 6, 120
    narrower = []
    for run in range(120):
        easy = rng.random(n)  # problems that are hard for one are hard for all
        scores = {str(i): (easy + rng.normal(0, 0.3, n) < 0.5).astype(float) for i in range(k)}
        matrix = s.paired_matrix(scores, resamples=1000, seed=run)
        missed += bool((matrix.low[~np.eye(k, dtype=bool)] > 0).any())
        d = scores["0"] - scores["1"]
        bonferroni = 2 * stats.norm.ppf(1 - 0.025 / 15) * d.std() / n**0.5
        narrower.append(matrix.high[0, 1] - matrix.low[0, 1] < bonferroni * 1.02)
    assert missed <= 13, f"{missed} of 120 families had a false verdict: more than 0.05 allows"
    assert np.mean(narrower) > 0.9


def test_a_matrix_needs_two_solvers_on_the_same_problems() -> None:
    for scores in ({"a": [1, 0]}, {"a": [1, 0], "b": [1]}, {"a": [], "b": []}):
        with pytest.raises(ValueError, match="at least two solvers, each measured on the same problems"):
            s.paired_matrix(scores)
