"""Many claims at once (Holm), how many problems or seeds one needs, and which effect it can detect."""

from __future__ import annotations

import math

import numpy as np
import scipy
from numpy.typing import ArrayLike

from srm_utils.evaluation.statistics import Bools, Estimate, Floats, vector


def holm(p_values: ArrayLike, alpha: float = 0.05) -> tuple[Bools, Floats, Floats]:
    """Holm's step-down over a family: which are rejected, adjusted p-values, and the confidence
    level of each interval, such that an interval leaves its margin exactly when Holm rejects.

    With m hypotheses, the i-th rejected (from the smallest p) has level 1 - alpha / (m - i + 1),
    all that are not rejected share 1 - alpha / (m - rejected). The chance of any wrong rejection
    in the family is at most alpha; every interval alone has at least level 1 - alpha. (Intervals
    that must all cover at once, wherever the truth lies, need 1 - alpha / m.)

    >>> rejected, adjusted, levels = holm([0.01, 0.04, 0.30])
    >>> rejected.tolist(), adjusted.round(3).tolist(), levels.round(3).tolist()
    ([True, False, False], [0.03, 0.08, 0.3], [0.983, 0.975, 0.975])
    """
    from statsmodels.stats.multitest import multipletests

    p = vector(p_values)
    rejected, adjusted, *_ = multipletests(p, alpha=alpha, method="holm")
    m, done = len(p), int(rejected.sum())
    levels = np.full(m, 1 - alpha / max(m - done, 1))
    order = np.argsort(p, kind="stable")[:done]
    levels[order] = 1 - alpha / (m - np.arange(done))
    return rejected, adjusted, levels


def sample_size(effect: float, sd: float, alpha: float = 0.05, power: float = 0.8) -> int:
    """Problems (or seeds) needed to see a paired difference of `effect` beyond its margin.

    `sd` is the standard deviation of the paired differences; for grades see `paired_sd`. Two-sided paired t-test
    (miller2024error, section on power).

    >>> sample_size(0.10, sd=0.5)
    199
    """
    from statsmodels.stats.power import TTestPower

    if effect <= 0 or sd <= 0:
        raise ValueError(f"A sample size needs effect > 0 and sd > 0; it got {effect} and {sd}.")
    return math.ceil(TTestPower().solve_power(effect / sd, alpha=alpha, power=power))


def smallest_detectable(sd: float, n: int, alpha: float = 0.05, power: float = 0.8) -> float:
    """Smallest paired difference seen with the given power on n problems (or seeds).

    >>> round(smallest_detectable(sd=0.5, n=199), 2)
    0.1
    """
    from statsmodels.stats.power import TTestPower

    if sd <= 0 or n < 2:
        raise ValueError(f"A detectable effect needs sd > 0 and n >= 2; it got {sd} and {n}.")
    return float(TTestPower().solve_power(None, nobs=n, alpha=alpha, power=power)) * sd


def detectable_from(estimate: Estimate, power: float = 0.8) -> float:
    """Smallest effect that a repeat with an interval of this width would see (normal approximation).

    >>> round(detectable_from(Estimate(0.0, -0.098, 0.098, 100)), 2)
    0.14
    """
    critical = float(scipy.stats.norm.ppf((1 + estimate.level) / 2))
    return (estimate.high - estimate.low) / 2 * (1 + float(scipy.stats.norm.ppf(power)) / critical)


def paired_sd(discordant: float, effect: float) -> float:
    """Standard deviation of paired grades' differences when a share `discordant` of problems differ.

    >>> round(paired_sd(discordant=0.26, effect=0.1), 2)
    0.5
    """
    if not abs(effect) <= discordant <= 1:
        raise ValueError(f"The discordant share must lie between |effect| and 1; it got {discordant} and {effect}.")
    return math.sqrt(discordant - effect**2)
