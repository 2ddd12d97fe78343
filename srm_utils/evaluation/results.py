"""`Result`: one measured number that rides inside the executed notebook, with a readable fallback."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srm_utils.evaluation.claims import ClaimVerdict
from srm_utils.evaluation.statistics import Estimate
from srm_utils.sampling.completion import Cost

if TYPE_CHECKING:
    import pandas as pd
    from nbformat import NotebookNode

MIME = "application/vnd.srm.result+json"
_COST = tuple(f.name for f in fields(Cost) if f.name != "reads")
_FLOATS = ("value", "low", "high", *_COST)
_FLOAT = "$float"


@dataclass(frozen=True)
class Result:
    """One measurement: what, on which model, with which settings, at what cost, with what verdict.

    `value`, `low`, `high` are in the units of `metric`; `n` counts problems (or seeds). `cost` is the mean per
    problem. `settings` and `extra` hold JSON values; not-a-number and infinities are allowed everywhere.
    """

    notebook: str
    technique: str
    metric: str
    value: float
    low: float
    high: float
    n: int
    model: str
    profile: str
    seed: int
    claim_id: str | None = None
    verdict: str | None = None
    cost: Cost = field(default_factory=Cost)
    settings: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def estimate(self) -> Estimate:
        """Value and interval, for figures and tables."""
        return Estimate(self.value, self.low, self.high, self.n)

    def with_verdict(self, judged: ClaimVerdict) -> Result:
        """The same measurement with a claim's own estimate and verdict (and the claim's metric).

        Without a verdict it is a finding about another world than the claim's: it names the claim in `extra` only.
        """
        e = judged.estimate
        if judged.verdict is None:
            extra = {**self.extra, "level": e.level, "finding": judged.claim.id}
        else:
            extra = {**self.extra, "level": e.level, "p_holm": judged.p_value, "detectable": judged.detectable}
        extra |= {"reason": judged.reason} if judged.reason else {}
        return replace(
            self,
            claim_id=judged.claim.id if judged.verdict else None,
            metric=judged.claim.metric,
            value=e.value,
            low=e.low,
            high=e.high,
            n=e.n,
            verdict=judged.verdict,
            extra=extra,
        )

    def to_record(self) -> dict[str, Any]:
        """A flat dictionary of valid JSON values; cost fields stand beside the others."""
        flat = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "cost"}
        return {k: _encode(v) for k, v in (flat | {k: getattr(self.cost, k) for k in _COST}).items()}

    def to_row(self) -> dict[str, Any]:
        """A flat dictionary of table cells: numbers stay numbers, `settings` and `extra` are JSON text."""
        cells = {k: _decode(v) for k, v in self.to_record().items()}
        floats = {k: float(cells[k]) for k in _FLOATS}
        texts = {k: json.dumps(_encode(cells[k]), allow_nan=False, sort_keys=True) for k in ("settings", "extra")}
        return cells | floats | texts

    @staticmethod
    def from_record(record: Mapping[str, Any]) -> Result:
        """The inverse of `to_record` and `to_row`; fields that a result has not are left out.

        Raises ValueError when one is missing.
        """
        cells = {k: _decode(v) for k, v in record.items()}
        # Parquet written through pandas holds null for not-a-number.
        cells |= {k: math.nan for k in _FLOATS if k in cells and cells[k] is None}
        for name in ("settings", "extra"):
            if isinstance(cells.get(name), str):
                cells[name] = _decode(json.loads(cells[name]))
        cost = Cost(**{k: cells[k] for k in _COST if k in cells})
        known = {f.name for f in fields(Result)} - {"cost"}
        try:
            return Result(**{k: v for k, v in cells.items() if k in known}, cost=cost)
        except TypeError:
            raise ValueError("A record is not a complete result; run the notebook again.") from None

    def __str__(self) -> str:
        head = f"{self.technique} on {self.model}: {self.metric} {self.value:.3g}"
        head += f" [{self.low:.3g}, {self.high:.3g}], n={self.n}"
        return f"{head}; claim {self.claim_id}: {self.verdict}" if self.claim_id else head


def record(result: Result) -> None:
    """Put a result into the notebook's outputs: data under `MIME`, and text and HTML to read.

    Outside a notebook the text is printed.
    """
    from IPython.core.getipython import get_ipython
    from IPython.display import display

    if get_ipython() is None:
        print(result)
        return
    display(bundle(result), raw=True)


def bundle(result: Result) -> dict[str, Any]:
    """The notebook output of a result, by MIME type."""
    return {
        MIME: result.to_record(),
        "text/plain": str(result),
        "text/html": f"<p><small>recorded</small> {html.escape(str(result))}</p>",
    }


def read_results(notebook: NotebookNode | str | Path) -> list[Result]:
    """Every result in an executed notebook, in order, from the notebook alone.

    Raises ValueError when the file is no notebook, or naming the cell whose record is damaged.
    """
    import nbformat

    try:
        nb = nbformat.read(notebook, as_version=4) if isinstance(notebook, (str, Path)) else notebook
        cells = nb.cells
    except Exception:  # nbformat lets JSON, schema and I/O errors through, each its own kind
        raise ValueError(f"{notebook} is not a readable notebook; run it again.") from None
    found = []
    for i, cell in enumerate(cells):
        for output in cell.get("outputs", []):
            data = output.get("data", {}).get(MIME)
            if data is None:
                continue
            try:
                found.append(Result.from_record(json.loads(data) if isinstance(data, str) else data))
            except (ValueError, AttributeError):
                raise ValueError(f"The result recorded in cell {i + 1} is damaged; run the notebook again.") from None
    return found


def to_jsonl(results: Iterable[Result], path: str | Path) -> None:
    """Write one JSON object a line."""
    lines = [json.dumps(r.to_record(), allow_nan=False, ensure_ascii=False) + "\n" for r in results]
    Path(path).write_text("".join(lines), encoding="utf-8")


def to_frame(results: Iterable[Result]) -> pd.DataFrame:
    """A table, one row a result; `settings` and `extra` are JSON text."""
    import pandas as pd

    columns = [f.name for f in fields(Result) if f.name != "cost"] + list(_COST)
    return pd.DataFrame([r.to_row() for r in results], columns=columns)


def to_parquet(results: Iterable[Result], path: str | Path) -> None:
    """Write `to_frame` as Parquet."""
    to_frame(results).to_parquet(path, index=False)


def read_parquet(path: str | Path) -> list[Result]:
    """The results of a Parquet file that `to_parquet` wrote."""
    import pyarrow.parquet as pq

    # Through pyarrow, not pandas, which would turn a missing verdict into NaN.
    return [Result.from_record(row) for row in pq.read_table(path).to_pylist()]


def _encode(value: Any) -> Any:
    """A JSON value: numpy scalars become Python's, floats without a JSON form become {"$float": name}."""
    if isinstance(value, Mapping):
        if _FLOAT in value:
            raise ValueError(f"A setting may not be named {_FLOAT!r}; give it another name.")
        return {str(k): _encode(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_encode(v) for v in value]
    if hasattr(value, "tolist"):  # numpy and torch, scalars and arrays
        return _encode(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return {_FLOAT: repr(float(value))}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise ValueError(f"A result holds a {type(value).__name__}, which has no JSON form; turn it into text or numbers.")


def _decode(value: Any) -> Any:
    if isinstance(value, Mapping):
        return float(value[_FLOAT]) if set(value) == {_FLOAT} else {k: _decode(v) for k, v in value.items()}
    return [_decode(v) for v in value] if isinstance(value, list) else value
