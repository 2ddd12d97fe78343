"""A run's report: one page, `index.html`, with no outside assets, drawn from what the run left in its folder."""

from __future__ import annotations

import contextlib
import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from srm_utils.collection.catalogue import notebooks_dir
from srm_utils.collection.display import clock
from srm_utils.collection.execute import Status, write_text
from srm_utils.collection.profiles import PUBLISHED
from srm_utils.collection.run_folder import read_statuses


@dataclass(frozen=True, slots=True)
class Agreement:
    """How a run's figures agree with those of the shipped notebooks.

    Of `compared` figures `same` are equal but for rounding; `largest` is the largest difference, in the figure's own
    units, and `verdicts` the number of claims that got another verdict.
    """

    compared: int
    same: int
    largest: float
    verdicts: int

    def __str__(self) -> str:
        said = f"{self.same} of {self.compared} figures are the shipped ones"
        if self.same < self.compared:
            said += f"; the largest difference is {self.largest:.2g}, of the verdicts {self.verdicts} differ"
        return f"{said}."


def agreement(folder: Path, notebooks: Path | None = None) -> Agreement | None:
    """The figures of the run in `folder` beside those in `notebooks` (the collection's); None where none can be.

    Compared are figures of the same technique, model, size, seed and settings, in runs that were given no parameters:
    another split asks other problems.
    """
    from srm_utils.evaluation.results import read_results

    if json.loads((folder / "run.json").read_text())["settings"]["parameters"]:
        return None
    shelf, records = notebooks or notebooks_dir(), [json.loads(line) for line in _lines(folder / "records.jsonl")]
    records = [r for r in records if r["profile"] == PUBLISHED]
    shipped: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for name in sorted({r["notebook"] for r in records}):
        # A shipped notebook that is missing or damaged must not cost a finished run its report.
        with contextlib.suppress(ValueError, OSError):
            for result in read_results(shelf / f"{name}.ipynb"):
                record = result.to_record()
                shipped.setdefault(_identity(record), []).append(record)
    pairs = [(r, shipped[_identity(r)].pop(0)) for r in records if shipped.get(_identity(r))]
    if not pairs:
        return None
    gaps = [_gap(_number(a["value"]), _number(b["value"])) for a, b in pairs]
    same = sum(gap <= 1e-9 * max(1.0, abs(_number(a["value"]))) for gap, (a, _) in zip(gaps, pairs, strict=True))
    return Agreement(len(pairs), same, max(gaps), sum(a["verdict"] != b["verdict"] for a, b in pairs))


def _gap(a: float, b: float) -> float:
    """The distance of two figures; between a number and none there is no end of it."""
    if a == b or (math.isnan(a) and math.isnan(b)):
        return 0.0
    return math.inf if math.isnan(a - b) else abs(a - b)


def _identity(record: Mapping[str, Any]) -> tuple[str, ...]:
    """What two records have in common that measure the same thing."""
    named = ("notebook", "technique", "metric", "model", "n", "seed", "claim_id")
    return (*(str(record[k]) for k in named), json.dumps(record["settings"], sort_keys=True))


def write_report(folder: Path, beside: Agreement | None = None) -> Path:
    """Write `index.html` for the run in `folder` and return its path; `beside` is its `agreement`.

    The scoreboard has a row for each measurement (technique, value and interval, mean cost of a problem), the
    claims a row for each verdict, the notebooks a link to each one's HTML, and the failures their cell and error.
    Raises FileNotFoundError when `folder` holds no run.
    """
    from jinja2 import Environment

    if not (folder / "run.json").is_file():
        raise FileNotFoundError(f"{folder} is not a run; start one with `srm run`.")
    header = json.loads((folder / "run.json").read_text())
    statuses = {s.label: s for s in read_statuses(folder)}
    records = [json.loads(line) for line in _lines(folder / "records.jsonl")]
    notebooks = [_notebook_row(folder, label, statuses.get(label)) for label in header["planned"]]
    claims = [_claim_row(folder, r) for r in records if r["claim_id"]]
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    page = environment.from_string((Path(__file__).parent / "report.html").read_text(encoding="utf-8"))
    text = page.render(
        run=header,
        settings=header["settings"],
        notebooks=notebooks,
        failures=[n for n in notebooks if n["state"] != "completed"],
        scoreboard=[_score_row(folder, r, records) for r in records if not r["claim_id"]],
        claims=claims,
        agreement=beside,
        verdicts=sorted(Counter(c["verdict"] for c in claims).items()),
        seconds=clock(sum(s.seconds for s in statuses.values())),
    )
    write_text(folder / "index.html", text)
    return folder / "index.html"


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []


def _link(folder: Path, label: str) -> str | None:
    # A label may hold signs that mean something in an address.
    return quote(f"{label}.html") if (folder / f"{label}.html").is_file() else None


def _notebook_row(folder: Path, label: str, status: Status | None) -> dict[str, Any]:
    row: dict[str, Any] = {"label": label, "link": _link(folder, label), "state": "not run", "cell": 0, "cells": 0}
    if status is None:
        return row | {"error": "It has not run; go on with --resume.", "seconds": 0, "time": "", "memory": ""}
    return row | {
        "state": status.state,
        "cell": status.cell,
        "cells": status.cells,
        "error": status.error,
        "seconds": status.seconds,
        "time": clock(status.seconds),
        "bytes": status.peak_bytes,
        "memory": amount(status.peak_bytes, "B"),
    }


def _number(value: Any) -> float:
    """A record's number; what JSON cannot hold was written as {"$float": name}."""
    return float(value["$float"] if isinstance(value, dict) else value)


def _estimate(record: dict[str, Any]) -> dict[str, Any]:
    value, low, high = (_number(record[k]) for k in ("value", "low", "high"))
    # The bar shows an interval within [0, 1]; other metrics have none.
    bar = (100 * low, 100 * max(high - low, 0.005), 100 * value) if 0 <= low <= value <= high <= 1 else None
    return {
        "metric": record["metric"],
        "value": value if math.isfinite(value) else "",
        "estimate": f"{value:.3g}",
        "interval": f"{low:.3g} … {high:.3g}",
        "n": record["n"],
        "bar": bar,
    }


def _score_row(folder: Path, record: dict[str, Any], records: list[dict[str, Any]]) -> dict[str, Any]:
    same = ("label", "technique", "model")
    verdicts = [r["verdict"] for r in records if r["claim_id"] and all(r[k] == record[k] for k in same)]
    costs = {k: _number(record[k]) for k in ("flops", "seconds", "peak_bytes")}
    tokens = sum(_number(record[k]) for k in ("prompt_tokens", "generated_tokens", "scored_tokens"))
    return _estimate(record) | {
        "technique": record["technique"],
        "model": record["model"],
        "label": record["label"],
        "link": _link(folder, record["label"]),
        "seed": record["seed"],
        "verdicts": verdicts,
        "costs": [
            (costs["flops"], amount(costs["flops"])),
            (tokens, f"{tokens:,.0f}" if tokens else "–"),
            (costs["seconds"], f"{costs['seconds']:.2g}" if costs["seconds"] else "–"),
            (costs["peak_bytes"], amount(costs["peak_bytes"], "B")),
        ],
    }


def _claim_row(folder: Path, record: dict[str, Any]) -> dict[str, Any]:
    extra = record.get("extra") or {}
    detectable = extra.get("detectable")
    return _estimate(record) | {
        "claim": record["claim_id"],
        "technique": record["technique"],
        "model": record["model"],
        "label": record["label"],
        "link": _link(folder, record["label"]),
        "verdict": record["verdict"] or "not judged",
        "detectable": "" if detectable is None else f"smallest detectable effect {_number(detectable):.2g}",
    }


def amount(value: float, unit: str = "") -> str:
    """A large number with its SI prefix; a dash for nothing.

    >>> amount(1_530_000_000.0), amount(2.5e6, "B"), amount(0)
    ('1.53 G', '2.5 MB', '–')
    """
    if not value or not math.isfinite(value):
        return "–"
    step = min(int(math.log10(abs(value)) // 3), 6) if abs(value) >= 1 else 0
    return f"{value / 1000**step:.3g} {['', 'k', 'M', 'G', 'T', 'P', 'E'][step]}{unit}".strip()
