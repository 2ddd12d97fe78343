"""How is a result shown? Figures in one style, the results table, the trace viewer."""

from __future__ import annotations

from srm_utils.reporting.figures import accuracy_by_difficulty, accuracy_vs_cost, claims_figure, differences
from srm_utils.reporting.source import show_source
from srm_utils.reporting.style import style
from srm_utils.reporting.tables import bills_table, results_table
from srm_utils.reporting.traces import show_trace

__all__ = [
    "accuracy_by_difficulty",
    "accuracy_vs_cost",
    "bills_table",
    "claims_figure",
    "differences",
    "results_table",
    "show_source",
    "show_trace",
    "style",
]
