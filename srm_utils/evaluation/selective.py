"""Answering only when confident: accuracy among the answers that are given, against the share that is given.

A model that may abstain is read at every threshold at once: its answers are ordered by confidence, and the accuracy of
the first k is drawn against k. Confidence is any number that a solver has for an answer: a vote's share, a likelihood.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from srm_utils.evaluation.statistics import Floats, vector


def risk_coverage(confidence: ArrayLike, correct: ArrayLike) -> tuple[Floats, Floats]:
    """Coverage and accuracy of the k most confident answers, for k from 1 to all; both of shape (answers,).

    Among answers of equal confidence the order is chance, so each counts as the mean of them. Raises ValueError where
    the two differ in length or are empty.

    >>> coverage, accuracy = risk_coverage([0.9, 0.5, 0.5], [1, 1, 0])
    >>> coverage.round(2).tolist(), accuracy.round(2).tolist()
    ([0.33, 0.67, 1.0], [1.0, 0.75, 0.67])
    """
    sure, right = vector(confidence), vector(correct)
    if len(sure) != len(right):
        raise ValueError(f"There are {len(sure)} confidences for {len(right)} answers; give one for each.")
    values, group = np.unique(-sure, return_inverse=True)
    means = np.bincount(group, right) / np.bincount(group)
    ordered = np.repeat(means, np.bincount(group, minlength=len(values)))
    count = np.arange(1, len(sure) + 1)
    return count / len(sure), np.cumsum(ordered) / count


def selective_accuracy(confidence: ArrayLike, correct: ArrayLike, coverage: float) -> float:
    """Accuracy of the most confident answers, a share `coverage` of all (rounded up to whole answers).

    Raises ValueError for a coverage outside (0, 1].

    >>> selective_accuracy([0.9, 0.8, 0.2, 0.1], [1, 1, 0, 1], coverage=0.5)
    1.0
    """
    if not 0 < coverage <= 1:
        raise ValueError(f"The coverage is {coverage}; give a share above 0 and at most 1.")
    _, accuracy = risk_coverage(confidence, correct)
    return float(accuracy[math.ceil(coverage * len(accuracy)) - 1])


def confident_half(confidence: ArrayLike) -> Floats:
    """1.0 for each answer of the more confident half, else 0.0; of equals the earlier ones come first.

    >>> confident_half([0.1, 0.9, 0.4, 0.8]).tolist()
    [0.0, 1.0, 0.0, 1.0]
    """
    sure = vector(confidence)
    half = np.zeros(len(sure))
    half[np.argsort(-sure, kind="stable")[: len(sure) // 2]] = 1.0
    return half
