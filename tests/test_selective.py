"""Accuracy against coverage: by hand, against brute force over random orders, and bad input."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from srm_utils.evaluation.selective import confident_half, risk_coverage, selective_accuracy


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.sampled_from([0.1, 0.5, 0.9]), st.booleans()), min_size=1, max_size=6))
def test_ties_count_as_the_mean_over_every_order(rows):
    coverage, accuracy = risk_coverage([c for c, _ in rows], [float(r) for _, r in rows])
    curves = []
    for order in permutations(range(len(rows))):
        taken = sorted(order, key=lambda i: -rows[i][0])
        right = [float(rows[i][1]) for i in taken]
        curves.append(np.cumsum(right) / np.arange(1, len(rows) + 1))
    assert np.allclose(accuracy, np.mean(curves, axis=0))
    assert coverage[-1] == 1 and accuracy[-1] == pytest.approx(np.mean([r for _, r in rows]))


def test_a_perfect_order_answers_rightly_up_to_the_accuracy_and_a_useless_one_is_flat():
    right = np.array([1.0] * 6 + [0.0] * 4)
    assert selective_accuracy(right, right, 0.6) == 1.0 and selective_accuracy(right, right, 0.7) == pytest.approx(
        6 / 7
    )
    assert np.allclose(risk_coverage(np.zeros(10), right)[1], 0.6)


def test_the_confident_half_holds_half_of_all():
    assert confident_half([3, 1, 2, 4, 0]).tolist() == [1.0, 0.0, 0.0, 1.0, 0.0]
    assert confident_half(np.zeros(8)).sum() == 4


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (lambda: risk_coverage([0.5], [1, 0]), "There are 1 confidences for 2 answers"),
        (lambda: risk_coverage([], []), "One value per problem"),
        (lambda: selective_accuracy([0.5], [1], 0.0), "The coverage is 0.0; give a share above 0"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(act, said):
    with pytest.raises(ValueError, match=said):
        act()
