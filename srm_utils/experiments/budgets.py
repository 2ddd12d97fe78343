"""What a comparison may cost a problem, under which bill, and the largest size of a solver within it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

#: Sizes measured on validation problems for each solver and budget.
TRIALS = 6
_BUDGET = re.compile(r"(\d+(?:\.\d+)?(?:e\d+)?)\s*([kMGTP]?|x)", re.IGNORECASE)
_PREFIX = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12, "p": 1e15}


def flops_of(budget: str, chain: float) -> float:
    """A budget in FLOPs per problem: "2G", "5e8", or "8x", eight times what one greedy chain costs.

    Raises ValueError for anything else.

    >>> flops_of("2G", 1.0), flops_of("8x", 3e6)
    (2000000000.0, 24000000.0)
    """
    found = _BUDGET.fullmatch(budget.strip())
    if not found or float(found[1]) <= 0:
        raise ValueError(
            f"The budget {budget!r} cannot be read; give FLOPs per problem such as 500M or 2G, or 8x for eight chains."
        )
    unit = found[2].lower()
    return float(found[1]) * (chain if unit == "x" else _PREFIX[unit])


def largest_within(
    measure: Callable[[int], float], allowed: float, known: dict[int, float], least: int = 1, most: int = 64
) -> int | None:
    """The largest size found whose measured cost is at most `allowed`; None where even `least` costs more.

    At most `TRIALS` sizes are measured, each where a straight line through those before leads. `known` holds what was
    measured earlier, and takes what is measured here.

    >>> largest_within(lambda size: 10.0 + 5 * size, 31.0, {})
    4
    """
    for _ in range(TRIALS):
        size = _next_size(known, allowed, least, most)
        if size is None:
            break
        known[size] = measure(size)
    return max((size for size, cost in known.items() if cost <= allowed), default=None)


def _next_size(known: Mapping[int, float], allowed: float, least: int, most: int) -> int | None:
    below = max((size for size, cost in known.items() if cost <= allowed), default=None)
    if below is None:
        return None if least in known else least
    above = min((size for size in known if size > below), default=None)
    if below >= most or above == below + 1:
        return None
    if above is not None:
        share = (allowed - known[below]) / (known[above] - known[below])
        return min(above - 1, max(below + 1, int(below + share * (above - below))))
    smaller = max((size for size in known if size < below), default=0)
    slope = (known[below] - known.get(smaller, 0.0)) / (below - smaller)
    guess = below + (allowed - known[below]) / slope if slope > 0 else most
    return int(min(most, max(below + 1, guess)))
