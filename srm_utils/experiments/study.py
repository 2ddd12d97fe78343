"""The shipped records of `study`: a notebook's whole grid, measured once, beside which `cpu` reruns a slice."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from srm_utils.evaluation.claims import Claim, ClaimVerdict, Verdict
from srm_utils.evaluation.results import Result, read_parquet
from srm_utils.evaluation.statistics import Estimate
from srm_utils.literature.sources import notebooks_dir


@dataclass(frozen=True, slots=True)
class Study:
    """What a `study` run recorded: `results` without claims, the `claimed` ones, and how they came to be.

    All are empty where none is shipped.
    """

    results: list[Result]
    claimed: list[Result]
    origin: str = ""

    def __str__(self) -> str:
        if not self:
            return "No records of a study are shipped for this model: its whole grid has not been measured."
        seeds = len({r.seed for r in self.results})
        return f"The study: {len(self.results)} results, {seeds} seeds. {self.origin}".rstrip()

    def __bool__(self) -> bool:
        return bool(self.results)

    def check(self, result: Result) -> None:
        """Hold a result measured now against the study's of the same technique, metric and settings, over its seeds.

        Raises AssertionError where the intervals do not meet; says nothing where the study has no such result.
        """
        key = (result.technique, result.metric, result.settings)
        same = [r for r in self.results if (r.technique, r.metric, r.settings) == key]
        if same:
            low, high = min(r.low for r in same), max(r.high for r in same)
            told = f"{result.technique}, {result.metric}: {result.value:.3g} here, {low:.3g} to {high:.3g} in the study"
            assert result.low <= high and result.high >= low, told

    def verdicts(self, claims: Sequence[Claim], judged: Sequence[ClaimVerdict] = ()) -> list[ClaimVerdict]:
        """Its verdicts on these claims, in their order; where it has none, or the claim changed, those `judged` now.

        A verdict that rests on an interval without a width is inconclusive, whatever was recorded.
        """
        now, known = {v.claim.id: v for v in judged}, []
        for claim in claims:
            found = [r for r in self.claimed if r.claim_id == claim.id and r.metric == claim.metric]
            for r in found:
                estimate = Estimate(r.value, r.low, r.high, r.n, r.extra["level"])
                found_then: Verdict = r.verdict if estimate.has_spread else "inconclusive"  # type: ignore[assignment]
                about = (r.extra["p_holm"], r.extra["detectable"], r.extra.get("reason", ""))
                known.append(ClaimVerdict(claim, found_then, estimate, *about))
            known += [now[claim.id]] if claim.id in now and not found else []
        return known


def load_study(notebook: str, model: str, folder: Path | None = None) -> Study:
    """The records shipped beside a notebook (`1_training/17_policy_gradient` has `1_training/17_study.parquet`).

    Args:
        notebook: its label, as in claims.yaml.
        model: the name of the model that the notebook starts from; a study that never measured it says nothing.
        folder: the notebooks' folder (default: the collection's).

    Raises ValueError, naming the file, for records that cannot be read.

    >>> bool(load_study("1_training/99_nothing", "base"))
    False
    """
    part, _, name = notebook.rpartition("/")
    path = (folder or notebooks_dir()) / part / f"{name.split('_')[0]}_study.parquet"
    if not path.is_file():
        return Study([], [])
    try:
        records, origin = read_parquet(path), _origin(path)
    except Exception as error:
        raise ValueError(
            f"{path.name} is damaged ({type(error).__name__}); restore it, or run the study again."
        ) from None
    if model not in {r.model for r in records}:
        return Study([], [])
    return Study([r for r in records if r.claim_id is None], [r for r in records if r.claim_id is not None], origin)


def _origin(path: Path) -> str:
    """The command, commit and class of machine that a run noted beside its records."""
    import pyarrow.parquet as pq

    columns = {"command", "commit", "machine"}
    if not columns <= set(pq.read_schema(path).names):
        return ""
    (row,) = pq.read_table(path, columns=sorted(columns)).slice(0, 1).to_pylist()
    machine = json.loads(row["machine"])
    where = f"{machine['cores']} core{'s' * (machine['cores'] != 1)}, {machine['architecture']}"
    # A `+` at the end says that files differed from the commit.
    commit = row["commit"] or "no commit"
    return f"Run with `{row['command']}` at {commit[:8]}{'+' * commit.endswith('+')} on {where}."
