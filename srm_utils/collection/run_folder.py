"""A run's folder: the newest one, how its notebooks ended, and what they measured."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from srm_utils.collection.execute import Status, write_text


def run_named(run_id: str, out: Path) -> Path:
    """The folder in `out` of the run called `run_id`, whether it is there or not.

    Raises ValueError for a name that is not that of one folder, such as a path to another place.

    >>> run_named("first", Path("runs")).as_posix()
    'runs/first'
    """
    if not re.fullmatch(r"\w[\w.+-]*", run_id):
        raise ValueError(
            f"A run cannot be called {run_id!r}: a name has letters, digits, '.', '+', '_' and '-' and begins with one "
            "of the first two; --out names another folder for the runs."
        )
    return out / run_id


def latest_run(out: Path) -> Path:
    """The newest run's folder in `out`. Raises FileNotFoundError when there is none."""
    runs = [p.parent for p in out.glob("*/run.json")]
    if not runs:
        raise FileNotFoundError(f"There is no run in {out}; start one with `srm run`.")
    return max(runs, key=lambda folder: json.loads((folder / "run.json").read_text())["created"])


def read_statuses(folder: Path) -> list[Status]:
    """How the notebooks of a run ended, by label."""
    found = [Status(**json.loads(p.read_text())) for p in (folder / "status").rglob("*.json")]
    return sorted(found, key=lambda s: (s.label.count("/"), s.label))


def collect(folder: Path, statuses: Sequence[Status]) -> list[dict[str, Any]]:
    """Gather what the completed notebooks measured into `records.jsonl` and `results.parquet`; returns the records.

    A batch over seeds adds one verdict over them for each claim on seeds (`over_seeds`), under the notebook's name.
    """
    from srm_utils.collection.seeds import over_seeds
    from srm_utils.evaluation.claims import Claim
    from srm_utils.evaluation.results import Result, read_results

    header = json.loads((folder / "run.json").read_text())
    origin = {"run": header["id"], "version": header["version"], "commit": header["commit"]}
    origin |= {"command": header["command"], "machine": json.dumps(header["machine"])}
    measured: list[tuple[str, Result]] = []
    for status in statuses:
        if status.state != "completed":
            continue
        measured += [(status.label, result) for result in read_results(folder / f"{status.label}.ipynb")]
    if header["settings"]["seeds"] > 1:
        pooled = over_seeds((result for _, result in measured), [Claim(**claim) for claim in header.get("claims", [])])
        measured += [(result.notebook, result) for result in pooled]
    records = [origin | {"label": label} | result.to_record() for label, result in measured]
    write_text(folder / "records.jsonl", "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records))
    table = folder / "results.parquet"
    table.unlink(missing_ok=True)
    if measured:
        import pandas

        part = folder / ".results.parquet.part"
        rows = [origin | {"label": label} | result.to_row() for label, result in measured]
        pandas.DataFrame(rows).to_parquet(part, index=False)
        os.replace(part, table)
    return records
