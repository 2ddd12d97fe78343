"""Equal cost under both bills: without a cache, where every call reads its whole text, and with a prefix cache."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np

from srm_utils.evaluation.evaluate import CostKind, Evaluation
from srm_utils.evaluation.statistics import Floats, Measurement, equal_cost

#: Whether texts that were read before are paid for again. Serving stacks keep them, and read each beginning once.
Bill = Literal["no cache", "prefix cache"]
#: The field of a `Cost` that holds a bill.
BILLS: dict[Bill, Literal["flops", "cached_flops"]] = {"no cache": "flops", "prefix cache": "cached_flops"}
#: Gives a control's scores and costs of one kind, problem by problem, one pair a point of its curve.
Curve = Callable[[CostKind], Sequence[tuple[Floats, Floats]]]


def at_equal_cost(treated: Evaluation, curve: Curve, kind: CostKind = "flops") -> Measurement:
    """A treatment minus a control at equal mean cost (`statistics.equal_cost`), wherever on its curve that is.

    Below its first point the control is a line from no cost and no score. Beyond its last point it stays flat.
    """
    points = list(curve(kind))
    spent = treated.costs_at(1, kind)
    first, last = points[0], points[-1]
    points = [(0 * first[0], 0 * first[1]), *points]
    beyond = spent.mean() / last[1].mean()
    if beyond > 1:
        points.append((last[0], last[1] * beyond))
    scores, costs = (np.array(part) for part in zip(*points, strict=True))
    return equal_cost(treated.scores, spent, scores, costs)


def on_both_bills(treated: Evaluation, curve: Curve) -> dict[Bill, Measurement]:
    """`at_equal_cost` under each bill."""
    return {bill: at_equal_cost(treated, curve, kind) for bill, kind in BILLS.items()}


def turned(gaps: Mapping[str, Mapping[Bill, Measurement]], level: float = 0.95) -> list[str]:
    """The comparisons, by name, that come out otherwise under the other bill: better, worse, or undecided.

    Args:
        gaps: for each comparison its gap under each bill, as `on_both_bills` gives it.
        level: of the intervals.
    """
    return [name for name, found in gaps.items() if len({_sign(m, level) for m in found.values()}) > 1]


def _sign(gap: Measurement, level: float) -> int:
    interval = gap.interval(level)
    return int(interval.low > 0) - int(interval.high < 0)
