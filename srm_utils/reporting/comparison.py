"""A comparison of solvers shown: one table, the accuracy-cost frontier, the paired matrix, who solves what alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from srm_utils.reporting.figures import Points, accuracy_vs_cost, si, spread
from srm_utils.reporting.style import COLOURS, FAINT, INK, MUTED, style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from srm_utils.evaluation.statistics import PairedMatrix
    from srm_utils.experiments.store import Comparison

#: Lines that a frontier names at its edge; more would not be told apart.
NAMED = 7


def comparison_table(comparison: Comparison) -> pd.DataFrame:
    """One row a solver and budget, the best first: accuracy with its interval, size, what was spent, and a verdict.

    "unparsed" counts the replies of a problem, in the mean, that could not be read. The verdict is that of the paired
    matrix against the most accurate solver at that budget: "best", "not distinguishable" from it, or "worse".
    """
    import pandas as pd

    rows = []
    for budget in comparison.budgets:
        found = comparison.at(budget)
        ranked = sorted(found, key=lambda name: (-found[name].value, comparison.spent(found[name])))
        matrix = comparison.matrix(budget) if len(found) > 1 else None
        for name in ranked:
            r = found[name]
            said = "best" if matrix is None or name == ranked[0] else matrix.verdict(name, ranked[0])
            rows.append(
                {
                    "budget": budget, "solver": name, "accuracy": f"{r.value:.1%}",
                    "95% interval": f"{100 * r.low:.1f}–{r.high:.1%}", "size": r.settings["size"],
                    "FLOPs": si(r.cost.flops), "FLOPs, prefix cache": si(r.cost.cached_flops),
                    "spent": f"{comparison.spent(r) / r.extra['allowed']:.0%}",
                    "tokens": si(r.cost.tokens), "seconds": f"{r.cost.seconds:.3g}",
                    "unparsed": f"{np.mean(r.extra.get('unparsed', 0)):.2g}", "against the best": said,
                }
            )  # fmt: skip
    return pd.DataFrame(rows).set_index(["budget", "solver"])


def on_frontier(curves: Mapping[str, Points]) -> list[str]:
    """The methods with a point that no point of the same or a lower cost matches in accuracy, cheapest point first.

    >>> from srm_utils.evaluation.statistics import Estimate
    >>> at = lambda value: Estimate(value, value, value, 10)
    >>> on_frontier({"a": [(1.0, at(0.5)), (2.0, at(0.6))], "b": [(2.0, at(0.4))], "c": [(3.0, at(0.7))]})
    ['a', 'c']
    """
    best, names = -1.0, []
    for _, value, name in sorted((cost, -e.value, name) for name, points in curves.items() for cost, e in points):
        if -value > best:
            best = -value
            names.append(name)
    return list(dict.fromkeys(names))


def frontier_figure(curves: Mapping[str, Points], *, always: Sequence[str] = (), title: str = "") -> Figure:
    """`accuracy_vs_cost` of the methods on the frontier and those to show `always`; the others grey behind them.

    At most `NAMED` are drawn in full. The grey ones are listed at the far right with the accuracy of their
    most expensive point, in the order of their heights.
    """
    ahead = [name for name in dict.fromkeys([*always, *on_frontier(curves)]) if name in curves][:NAMED]
    fig = accuracy_vs_cost({name: curves[name] for name in ahead}, title=title)
    fig.set_size_inches(9.6, 4.6)
    ax = fig.axes[0]
    last: list[tuple[float, str]] = []
    with style():
        for name in curves.keys() - set(ahead):
            x, y = zip(*sorted((cost, e.value) for cost, e in curves[name]), strict=True)
            ax.plot(x, y, color="#b0b0b0", lw=1, marker=".", ms=5, zorder=1)
            last.append((y[-1], name))
        bottom, top = ax.get_ylim()
        gap = (top - bottom) * 10.5 / (fig.get_figheight() * 72 * 0.8)  # a small line of text, in units of the axis
        heights = spread([y for y, _ in sorted(last)], gap, bottom, top)
        for (end, name), height in zip(sorted(last), heights, strict=True):
            ax.annotate(
                f"{name} {end:.0%}", (1.36, height), xycoords=ax.get_yaxis_transform(), annotation_clip=False,
                va="center", fontsize=8, color=MUTED,
            )  # fmt: skip
        costs = [cost for points in curves.values() for cost, _ in points]
        ax.set_xlim(min(costs) / 1.3, max(costs) * 1.3)
        fig.draw_without_rendering()
    return fig


def matrix_figure(matrix: PairedMatrix, *, title: str = "") -> Figure:
    """Row minus column in percentage points, the best solver first: blue better, orange worse, white undecided.

    Without colour, bold says it: it stands where the simultaneous interval leaves 0.
    """
    import matplotlib.pyplot as plt
    from matplotlib.patches import Rectangle

    order = sorted(range(len(matrix.names)), key=lambda i: -float(matrix.difference[i].mean()))
    names = [matrix.names[i] for i in order]
    side = 0.36 * len(names) + 1.8
    with style():
        fig, ax = plt.subplots(figsize=(side + 0.6, side), layout="constrained")
        plt.close(fig)
        for y, i in enumerate(order):
            for x, j in enumerate(order):
                if i == j:
                    face, text, weight = FAINT, "", "normal"
                else:
                    said = matrix.verdict(matrix.names[i], matrix.names[j])
                    face = {"better": "#a9d1ee", "worse": "#f5c49f"}.get(said, "white")
                    text = f"{round(100 * float(matrix.difference[i, j])):+d}".replace("-", "−").replace("+0", "0")
                    weight = "normal" if said == "not distinguishable" else "bold"
                ax.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=face, edgecolor=FAINT, lw=0.6))
                colour = MUTED if weight == "normal" else INK
                ax.text(x, y, text, ha="center", va="center", fontsize=7.5, color=colour, fontweight=weight)
        ax.set(xlim=(-0.5, len(names) - 0.5), ylim=(len(names) - 0.5, -0.5))
        ax.set_xticks(range(len(names)), names, rotation=60, ha="right", rotation_mode="anchor", fontsize=8)
        ax.set_yticks(range(len(names)), names, fontsize=8)
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        ax.set_xlabel(f"row minus column, points of accuracy; bold: interval ({matrix.level:.0%}, all pairs) off 0")
        ax.set_title(title)
        fig.draw_without_rendering()
    return fig


def solved_figure(scores: Mapping[str, ArrayLike], *, title: str = "") -> Figure:
    """Which problems each solver solves: a column a problem, the easiest left; orange where it alone solves it.

    Problems that all solve, and those that none does, are counted in the label and left out.
    """
    import matplotlib.pyplot as plt
    from matplotlib.colors import ListedColormap

    if not scores:
        raise ValueError("There is nothing to draw; give at least one solver.")
    names = sorted(scores, key=lambda name: -float(np.mean(np.asarray(scores[name], dtype=float))))
    solved = np.stack([np.asarray(scores[name], dtype=float) > 0 for name in names])
    by = solved.sum(0)
    all_, none = int((by == len(names)).sum()), int((by == 0).sum())
    parted = np.flatnonzero((by > 0) & ((by < len(names)) | (len(names) == 1)))
    columns = sorted(parted, key=lambda k: (-by[k], tuple(~solved[:, k])))
    cells = solved[:, columns].astype(int) + (solved & (by == 1))[:, columns]
    with style():
        fig, ax = plt.subplots(figsize=(8.4, 0.26 * len(names) + 1.5), layout="constrained")
        plt.close(fig)
        if columns:
            ax.imshow(cells, aspect="auto", interpolation="nearest", vmin=0, vmax=2,
                      cmap=ListedColormap(["white", "#8fb4cf", COLOURS[1]]))  # fmt: skip
        for y, row in enumerate(cells):
            alone = int((row == 2).sum())
            ax.annotate(
                f"{solved[y].mean():.0%}" + (f", {alone} alone" if alone else ""), (1, y), (5, 0),
                xycoords=("axes fraction", "data"), textcoords="offset points", va="center", fontsize=8,
                color=COLOURS[1] if alone else MUTED,
            )  # fmt: skip
        ax.set_ylim(len(names) - 0.5, -0.5)
        ax.set_yticks(range(len(names)), names, fontsize=8)
        ax.set_xticks([])
        ax.tick_params(length=0)
        rest = f"{all_} that all solve, {none} that none does"
        ax.set_xlabel(f"{len(columns)} problems that part them; not shown: {rest}")
        ax.set_title(title)
        fig.draw_without_rendering()
    return fig
