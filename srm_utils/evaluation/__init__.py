"""How good is it, and at what cost? Grades, intervals, paired comparison, claims and results."""

from __future__ import annotations

from srm_utils.evaluation.claims import Claim, ClaimVerdict, judge, load_claims, verdict, wording
from srm_utils.evaluation.evaluate import Evaluation, evaluate, evaluate_attempts
from srm_utils.evaluation.results import Result, read_results, record
from srm_utils.evaluation.statistics import (
    Estimate,
    Measurement,
    equal_cost,
    paired,
    paired_matrix,
    seed_paired,
    slope,
    unbounded,
)

__all__ = [
    "Claim",
    "ClaimVerdict",
    "Estimate",
    "Evaluation",
    "Measurement",
    "Result",
    "equal_cost",
    "evaluate",
    "evaluate_attempts",
    "judge",
    "load_claims",
    "paired",
    "paired_matrix",
    "read_results",
    "record",
    "seed_paired",
    "slope",
    "unbounded",
    "verdict",
    "wording",
]
