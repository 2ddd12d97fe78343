"""Equal cost under both bills: what a curve gives beyond its ends, and which comparisons turn."""

from __future__ import annotations

import numpy as np
import pytest

from srm_utils.evaluation.bills import at_equal_cost, on_both_bills, turned
from srm_utils.evaluation.evaluate import Evaluation
from srm_utils.sampling.completion import Cost
from srm_utils.tasks.problem import Grade, Problem

PROBLEMS = tuple(Problem(f"p{i}", "echo", "q", "4", 1, f"f{i}") for i in range(40))


def run(right: int, flops: float, reread: float = 0.0) -> Evaluation:
    """One attempt at each problem, the first `right` of them correct."""
    grades = [[Grade.CORRECT if i < right else Grade.WRONG] for i in range(len(PROBLEMS))]
    return Evaluation(
        PROBLEMS,
        np.array(grades, dtype=object),
        np.array([["4"]] * len(PROBLEMS), dtype=object),
        (Cost(),) * len(PROBLEMS),
        (Cost(flops=flops, reread_flops=reread),) * len(PROBLEMS),
    )


def curve(kind):
    """A control that solves half of the problems at 10 FLOPs and all but two at 20, whatever the bill."""
    return [(run(20, 10.0).scores, np.full(40, 10.0)), (run(38, 20.0).scores, np.full(40, 20.0))]


@pytest.mark.parametrize(("spent", "control"), [(5.0, 0.25), (10.0, 0.5), (15.0, 0.725), (20.0, 0.95), (80.0, 0.95)])
def test_the_control_is_read_off_wherever_the_treatment_is(spent: float, control: float) -> None:
    gap = at_equal_cost(run(24, spent), curve).interval(0.95)
    assert gap.value == pytest.approx(0.6 - control)


def test_a_treatment_that_reads_again_turns_under_a_prefix_cache() -> None:
    search, sampler = run(36, 20.0, reread=10.0), run(4, 20.0)
    found = {"search": on_both_bills(search, curve), "sampler": on_both_bills(sampler, curve)}
    assert found["search"]["no cache"].interval(0.95).high < 0.05
    assert found["search"]["prefix cache"].interval(0.95).value == pytest.approx(0.4)
    assert turned(found) == ["search"]
