"""A batch over seeds: what each seed's run measured alone becomes one verdict with a seed-paired interval."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from srm_utils.evaluation.claims import Claim, judge
from srm_utils.evaluation.results import Result
from srm_utils.evaluation.statistics import seed_paired


def over_seeds(results: Iterable[Result], claims: Sequence[Claim]) -> list[Result]:
    """One result for each claim on seeds that several runs measured, judged by notebook as `judge` does.

    `results` are those of all runs, which differ in their seed; each has one value for a claim. Claims that rest on
    problems keep the verdict that each run gave them, and are left out here, as are those that fewer than two seeds
    measured.
    """
    effects: dict[str, dict[int, Result]] = {}
    for result in results:
        if result.claim_id is not None and math.isfinite(result.value):
            effects.setdefault(result.claim_id, {})[result.seed] = result
    pooled = []
    for notebook in dict.fromkeys(claim.notebook for claim in claims):
        told = [c for c in claims if c.notebook == notebook and c.seeds and len(effects.get(c.id, ())) > 1]
        for verdict in judge(told, {c.id: seed_paired([r.value for r in effects[c.id].values()]) for c in told}):
            seeds = effects[verdict.claim.id]
            first = replace(seeds[min(seeds)], extra={"seeds": sorted(seeds)})
            pooled.append(first.with_verdict(verdict))
    return pooled
