"""What a paper claims, fixed before the run, and what a measurement says of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from numpy.typing import ArrayLike
from pydantic import BaseModel, ConfigDict, Field, StrictInt, ValidationError, model_validator

from srm_utils.evaluation.planning import detectable_from, holm
from srm_utils.evaluation.statistics import Estimate, Measurement, paired, seed_paired

ClaimType = Literal["superiority", "non-inferiority", "equivalence", "trend"]
Scope = Literal["mechanism", "effect", "transfer"]
World = Literal["bundled", "real"]
Verdict = Literal["supported", "contradicted", "inconclusive"]

#: Fewer training seeds than this carry no verdict, whatever their interval says.
MIN_SEEDS = 5


class Claim(BaseModel):
    """One entry of `notebooks/claims.yaml`.

    The effect is oriented so that positive is what the paper says is better (tokens saved, not
    tokens spent), in the units of `metric`; `margin` is never negative.

    - superiority: the effect is more than `margin`.
    - non-inferiority: the effect is more than -`margin` (nothing of weight is lost).
    - equivalence: the effect lies between -`margin` and `margin`.
    - trend: the slope of the effect along its axis (difficulty, size) is more than `margin`.

    `n` is the number of problems that a power calculation asks for, `seeds` the number of training
    seeds where training varies (the units of the interval are then seeds). `scope` is what the
    evidence can carry: a mechanism in the bundled models' training text, an effect measured in the
    bundled world, or a transfer measured on a real model.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(min_length=1)
    notebook: str = Field(min_length=1)
    paper: str = Field(min_length=1)
    sentence: str = Field(min_length=1)
    type: ClaimType
    margin: float = Field(ge=0, allow_inf_nan=False)
    metric: str = Field(min_length=1)
    n: StrictInt = Field(ge=2)
    scope: Scope
    seeds: StrictInt | None = Field(default=None, ge=MIN_SEEDS)

    @property
    def world(self) -> World:
        """The world that its scope names: only a transfer is about a real model."""
        return "real" if self.scope == "transfer" else "bundled"

    @model_validator(mode="after")
    def _room(self) -> Claim:
        if self.type in ("non-inferiority", "equivalence") and self.margin == 0:
            raise ValueError(f"{self.type} needs a margin above 0")
        return self


@dataclass(frozen=True, slots=True)
class ClaimVerdict:
    """A claim, its estimate with the interval that Holm allows it, and the verdict.

    `verdict` is None where the claim is about another world than the one it was measured in: what was measured is
    then a finding, with a 95 % interval. `p_value` is Holm-adjusted. `detectable` is the smallest distance from the
    margin that a repeat of this size would see with 80 % power at this level; None unless inconclusive, and without a
    spread to judge by. `reason` says what kept a verdict back, "" otherwise.
    """

    claim: Claim
    verdict: Verdict | None
    estimate: Estimate
    p_value: float
    detectable: float | None = None
    reason: str = ""

    def __str__(self) -> str:
        e = self.estimate
        if self.verdict is None:
            text = f"{self.claim.id}: a finding, no verdict (the claim is about the {self.claim.world} world); "
            return text + f"{self.claim.metric} {e.value:+.3g} [{e.low:+.3g}, {e.high:+.3g}], n={e.n}"
        text = f"{self.claim.id}: {self.verdict} ({wording(self.claim.scope, self.verdict)}); "
        text += f"{self.claim.metric} {e.value:+.3g} [{e.low:+.3g}, {e.high:+.3g}], margin {self.claim.margin:g}"
        if self.detectable is not None:
            text += f"; smallest detectable effect {self.detectable:.2g}"
        return f"{text}. {self.reason}".rstrip()


def verdict(claim: Claim, estimate: Estimate) -> Verdict:
    """What an interval says of a claim: the whole interval must lie on one side.

    - superiority, trend: supported when low > margin, contradicted when high < margin.
    - non-inferiority: supported when low > -margin, contradicted when high < -margin.
    - equivalence: supported when -margin < low and high < margin, contradicted when the interval
      lies wholly outside (low > margin or high < -margin).
    - anything else is inconclusive: an undefined interval too, and one without a width.
    """
    return _side(claim, estimate) if estimate.has_spread else "inconclusive"


def _side(claim: Claim, estimate: Estimate) -> Verdict:
    """On which side of the claim's margin the interval lies, however narrow it is."""
    low, high, margin = estimate.low, estimate.high, claim.margin
    if claim.type == "equivalence":
        if -margin < low and high < margin:
            return "supported"
        return "contradicted" if low > margin or high < -margin else "inconclusive"
    line = -margin if claim.type == "non-inferiority" else margin
    if low > line:
        return "supported"
    return "contradicted" if high < line else "inconclusive"


def judge(
    claims: Sequence[Claim],
    measurements: Mapping[str, Measurement | ArrayLike],
    alpha: float = 0.05,
    *,
    world: World = "bundled",
) -> list[ClaimVerdict]:
    """Verdicts on the claims of one notebook, together: Holm keeps the chance of any wrong one at `alpha`.

    `measurements` gives each claim id a `Measurement` (see `evaluation.statistics`: paired, unbounded,
    seed_paired, slope, equal_cost) or a plain vector of differences, one per problem, or one per seed
    where the claim has `seeds`. A claim's p-value is the smallest error rate at which its interval
    gives a verdict, so the interval reported leaves the margin exactly when Holm rejects.

    `world` is where the measurements were made. A claim that is about the other world gets no verdict and takes no
    part in Holm's family: what was measured is a finding.

    Raises ValueError when claims and measurements do not match one to one, when claims come from
    several notebooks, and when a trend is given a plain vector.
    """
    ids = [c.id for c in claims]
    if sorted(ids) != sorted(measurements):
        missing, extra = sorted(set(ids) - set(measurements)), sorted(set(measurements) - set(ids))
        raise ValueError(
            f"Each claim needs one measurement: missing {missing or 'none'}, without a claim {extra or 'none'}."
        )
    if len({c.notebook for c in claims}) > 1:
        raise ValueError("Holm's family is one notebook; judge the claims of each notebook on their own.")
    if not claims:
        return []
    measured = {c.id: _measurement(c, measurements[c.id]) for c in claims}
    family = [c for c in claims if c.world == world]
    elsewhere = [c for c in claims if c.world != world]
    found = {c.id: ClaimVerdict(c, None, measured[c.id].interval(1 - alpha), 1.0) for c in elsewhere}
    if family:
        _, adjusted, levels = holm([_p_value(c, measured[c.id]) for c in family], alpha)
        for c, p, level in zip(family, adjusted, levels, strict=True):
            m = measured[c.id]
            found[c.id] = _conclude(c, m, float(p), m.interval(float(level)))
    return [found[c.id] for c in claims]


def _measurement(claim: Claim, value: Measurement | ArrayLike) -> Measurement:
    if isinstance(value, Measurement):
        if (value.unit == "seed") != (claim.seeds is not None):
            wanted = "seeds" if claim.seeds is not None else "problems"
            raise ValueError(f"Claim {claim.id!r} rests on {wanted}, but its measurement is one value a {value.unit}.")
        return value
    if claim.type == "trend":
        raise ValueError(f"Claim {claim.id!r} is a trend; measure it with `slope(x, differences)`.")
    return seed_paired(value) if claim.seeds is not None else paired(value)


def _p_value(claim: Claim, measured: Measurement) -> float:
    """The smallest error rate at which the interval gives a verdict, by bisection on its logarithm."""

    def decides(alpha: float) -> bool:
        return _side(claim, measured.interval(1 - alpha)) != "inconclusive"

    if not measured.interval(0.95).has_spread:
        return 1.0
    small, large = 1e-12, 1.0 - 1e-9
    if not decides(large):
        return 1.0
    if decides(small):
        return small
    while large / small > 1 + 1e-9:
        middle = (small * large) ** 0.5
        small, large = (small, middle) if decides(middle) else (middle, large)
    return large


def _conclude(claim: Claim, measured: Measurement, p_value: float, estimate: Estimate) -> ClaimVerdict:
    found, reason = verdict(claim, estimate), ""
    if not estimate.has_spread and estimate.low <= estimate.high:
        reason = f"All {estimate.n} {measured.unit}s agree exactly, so there is no spread to judge by."
    elif measured.unit == "seed" and estimate.n < MIN_SEEDS:
        found, reason = "inconclusive", f"{estimate.n} of the at least {MIN_SEEDS} seeds that a verdict needs."
    elif measured.unit == "problem" and estimate.n < claim.n:
        reason = f"{estimate.n} problems of the {claim.n} planned."
    detectable = detectable_from(estimate) if found == "inconclusive" and estimate.has_spread else None
    return ClaimVerdict(claim, found, estimate, p_value, detectable, reason)


def wording(scope: Scope, found: Verdict) -> str:
    """How a verdict may be put into words: only a transfer can have been reproduced.

    >>> wording("effect", "supported"), wording("transfer", "supported")
    ('seen in the bundled world', 'reproduced')
    """
    if scope == "transfer":
        return {"supported": "reproduced", "contradicted": "not reproduced", "inconclusive": "undecided"}[found]
    return {"supported": "seen", "contradicted": "not seen", "inconclusive": "undecided"}[
        found
    ] + " in the bundled world"


def load_claims(path: str | Path, *, notebook: str | None = None, papers: Collection[str] | None = None) -> list[Claim]:
    """The claims of a YAML file (a list of entries), or those of one notebook.

    `papers` are the known bib keys, when the caller has them. Raises ValueError with one sentence that
    names the entry for malformed YAML, a missing, unknown or impossible field, an id used twice, or
    a paper key that `papers` does not hold.
    """
    path = Path(path)
    try:
        # libyaml's loader, where it is there, takes a tenth of the time; every notebook begins here.
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        entries = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)
    except OSError:
        raise ValueError(f"There are no claims at {path}; give the path of the collection's claims.yaml.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise ValueError(f"{path.name}{where} is not valid YAML; mend it there.") from None
    entries = [] if entries is None else entries
    if not isinstance(entries, list):
        raise ValueError(f"{path.name} must be a list of claims, each beginning with '- id: ...'.")
    claims = [_claim(entry, i, path.name) for i, entry in enumerate(entries)]
    seen: set[str] = set()
    for claim in claims:
        if claim.id in seen:
            raise ValueError(f"Claim {claim.id!r} stands twice in {path.name}; give each claim its own id.")
        if papers is not None and claim.paper not in papers:
            raise ValueError(f"Claim {claim.id!r} cites {claim.paper!r}, which papers.bib does not hold; add it there.")
        seen.add(claim.id)
    return [c for c in claims if notebook is None or c.notebook == notebook]


def _claim(entry: Any, position: int, name: str) -> Claim:
    if not isinstance(entry, dict):
        raise ValueError(f"Entry {position + 1} of {name} is not a claim; begin it with '- id: ...'.")
    who = f"Claim {entry['id']!r}" if isinstance(entry.get("id"), str) else f"Entry {position + 1} of {name}"
    if not all(isinstance(key, str) for key in entry):
        raise ValueError(f"{who} has a field name that is not text; use those of the other claims.")
    try:
        return Claim(**entry)
    except ValidationError as error:
        problem = error.errors()[0]
        field = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            known = ", ".join(Claim.model_fields)
            raise ValueError(f"{who} has an unknown field {field!r}; fields are {known}.") from None
        if problem["type"] == "missing":
            raise ValueError(f"{who} has no {field!r}; add it.") from None
        said = problem["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
        if not field:
            raise ValueError(f"{who} is not possible: {said}.") from None
        raise ValueError(f"{who} has {field} {problem['input']!r}, which should be {said}.") from None
