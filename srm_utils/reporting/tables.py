"""The results table: accuracy with its interval beside what it cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from srm_utils.evaluation.bills import Bill, turned
from srm_utils.evaluation.statistics import Estimate, Measurement
from srm_utils.reporting.figures import si
from srm_utils.sampling.completion import Cost

if TYPE_CHECKING:
    import pandas as pd
    from pandas.io.formats.style import Styler

COLUMNS = ("accuracy", "95% interval", "FLOPs", "with a prefix cache", "tokens", "seconds", "peak memory")


@dataclass(frozen=True)
class ResultsTable:
    """A table that shows itself: HTML in a notebook, aligned text elsewhere; `frame` holds the cells as text.

    Costs are means per problem; peak memory is that of the whole run.
    """

    frame: pd.DataFrame

    def styler(self) -> Styler:
        """The table as a pandas Styler; names are escaped."""
        styler = self.frame.style.format(escape="html").format_index(escape="html", axis=0)
        styler = styler.set_properties(**{"text-align": "right", "font-variant-numeric": "tabular-nums"})
        heads = [
            {"selector": "", "props": "color: inherit"},
            {"selector": "th", "props": "text-align: right; font-weight: 600"},
            {"selector": "th.row_heading", "props": "text-align: left"},
            {"selector": "caption", "props": "caption-side: bottom; text-align: left; opacity: 0.75"},
        ]
        return styler.set_table_styles(heads).set_caption("Costs are means per problem; tokens include the prompt.")

    def _repr_html_(self) -> str:
        return self.styler().to_html()

    def __repr__(self) -> str:
        return self.frame.to_string(justify="right")


def results_table(rows: Mapping[str, tuple[Estimate, Cost]]) -> ResultsTable:
    """One row a method: accuracy [interval], FLOPs without a cache and with one, tokens, seconds and peak memory.

    `rows` maps a method to its accuracy and mean cost per problem, for example
    `(evaluation.accuracy(), evaluation.cost)`. Raises ValueError for no rows.

    >>> table = results_table({"direct": (Estimate(0.5, 0.4, 0.6, 100), Cost(flops=2e6, generated_tokens=3))})
    >>> table.frame.loc["direct", ["accuracy", "95% interval", "FLOPs"]].tolist()
    ['50.0%', '40.0–60.0%', '2 M']
    """
    import pandas as pd

    if not rows:
        raise ValueError("There is nothing to tabulate; give at least one method.")
    cells = [
        (
            f"{e.value:.1%}",
            f"{100 * e.low:.1f}–{e.high:.1%}",
            si(cost.flops),
            si(cost.cached_flops),
            si(cost.tokens),
            f"{cost.seconds:.3g}",
            si(cost.peak_bytes, "B"),
        )
        for e, cost in rows.values()
    ]
    return ResultsTable(pd.DataFrame(cells, index=list(rows), columns=list(COLUMNS)))


def bills_table(gaps: Mapping[str, Mapping[Bill, Measurement]], level: float = 0.95) -> pd.DataFrame:
    """One row a comparison at equal cost: its gap under each bill, and whether it turns from one to the other.

    `gaps` maps the name of a comparison to what `bills.on_both_bills` gave. Raises ValueError for none.
    """
    import pandas as pd

    if not gaps:
        raise ValueError("There is nothing to tabulate; give at least one comparison.")
    other = turned(gaps, level)
    rows = {
        name: {f"at equal FLOPs, {bill}": str(gap.interval(level)) for bill, gap in found.items()}
        | {"turns": "yes" if name in other else "no"}
        for name, found in gaps.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index")
