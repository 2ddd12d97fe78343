"""The figures a reader would put on a slide. Each draws estimates with their intervals and returns its Figure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from srm_utils.evaluation.statistics import Estimate
from srm_utils.reporting.style import FAINT, INK, MUTED, Look, look, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from srm_utils.evaluation.claims import ClaimVerdict

Points = Sequence[tuple[float, Estimate]]


@dataclass(frozen=True, slots=True)
class End:
    """Where a drawn line ends: what its label needs."""

    name: str
    x: float
    y: float
    high: float
    kind: Look


def accuracy_vs_cost(
    curves: Mapping[str, Points],
    *,
    cost_label: str = "FLOPs per problem",
    title: str = "",
    point_labels: Mapping[str, Sequence[str]] | None = None,
) -> Figure:
    """Accuracy against mean cost per problem (logarithmic), one line a method, 95 % intervals as bars.

    `curves` maps a method to its (cost, accuracy) points: a curve, or one point for a method of fixed
    cost. `point_labels` may name the points of a method (the k of a vote).
    Raises ValueError for no curves, an empty one, or a cost that is not above 0.
    """
    _need(curves)
    if any(cost <= 0 for points in curves.values() for cost, _ in points):
        raise ValueError("A cost is zero or less and has no place on a logarithmic axis; measure its cost first.")
    from matplotlib.ticker import LogLocator, NullFormatter

    with style():
        fig, ax = _axes()
        ax.set_xscale("log")
        ends = _lines(ax, {name: sorted(points, key=lambda p: p[0]) for name, points in curves.items()})
        names = list(curves)
        for row, (name, labels) in enumerate((point_labels or {}).items()):
            kind = look(names.index(name))
            for (x, _), text in zip(sorted(curves[name], key=lambda p: p[0]), labels, strict=True):
                # At the foot of the axes, below the point: among the bars it would be unreadable.
                place: dict[str, Any] = {
                    "xycoords": ax.get_xaxis_transform(),
                    "textcoords": "offset points",
                    "ha": "center",
                }
                ax.annotate(text, (x, 0), (0, 4 + 12 * row), fontsize=9, color=kind.colour, **place)
        _accuracy_axis(ax, curves.values())
        costs = [cost for points in curves.values() for cost, _ in points]
        ax.set_xlim(min(costs) / 1.3, max(costs) * 1.3)
        wide = max(costs) / min(costs) > 30
        ax.xaxis.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0)))
        ax.xaxis.set_major_formatter(lambda value, _: si(value))
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.set_xlabel(f"{cost_label} (log scale)")
        return _finish(fig, ax, ends, title)


def accuracy_by_difficulty(
    lines: Mapping[str, Mapping[int, Estimate]],
    *,
    xlabel: str = "steps a problem needs",
    unseen: Sequence[int] = (),
    title: str = "",
) -> Figure:
    """Accuracy at each difficulty, one line a method, 95 % intervals as bars.

    Difficulties in `unseen`, beyond training, stand on a grey ground. Raises ValueError for no lines.
    """
    points = {name: [(float(d), e) for d, e in sorted(line.items())] for name, line in lines.items()}
    _need(points)
    with style():
        fig, ax = _axes()
        ticks = sorted({d for line in lines.values() for d in line})
        if unseen:
            before = [d for d in ticks if d < min(unseen)]
            left = (max(before) + min(unseen)) / 2 if before else min(unseen) - 0.5
            ax.axvspan(left, max(ticks) + 0.5, color="#f0f0f0", lw=0, zorder=0)
            ax.annotate(
                "unseen\nin training", (left, 1), (4, -4), xycoords=("data", "axes fraction"),
                textcoords="offset points", ha="left", va="top", **_small(),
            )  # fmt: skip
        ends = _lines(ax, points, dodge=0.035 * (ticks[-1] - ticks[0] or 1) / max(len(lines), 1))
        _accuracy_axis(ax, points.values())
        ax.set_xticks(ticks)
        ax.set_xlim(ticks[0] - 0.4, ticks[-1] + 0.5)
        ax.set_xlabel(xlabel)
        return _finish(fig, ax, ends, title)


def differences(
    estimates: Mapping[str, Estimate],
    *,
    margins: Mapping[str, Sequence[float]] | None = None,
    seeds: Mapping[str, Sequence[float]] | None = None,
    verdicts: Mapping[str, str] | None = None,
    xlabel: str = "difference in accuracy (percentage points)",
    scale: float = 100,
    title: str = "",
) -> Figure:
    """Forest plot: one row a comparison, its interval, its margins as ticks, every seed as an open dot.

    Values are multiplied by `scale` (100 shows accuracy in points). Where `verdicts` gives a row one, it is
    written at the right and said by the marker too: filled supported, crossed contradicted, open inconclusive, a
    pale diamond for a finding that no claim asks about.
    """
    _need(estimates)
    margins, seeds, verdicts = margins or {}, seeds or {}, verdicts or {}
    with style():
        fig, ax = _axes((7.2, 1.3 + 0.55 * len(estimates)))
        values = [0.0]
        for row, (name, e) in enumerate(estimates.items()):
            low, value, high = e.low * scale, e.value * scale, e.high * scale
            said = verdicts.get(name, "")
            marker = {"contradicted": "X", "finding": "D"}.get(said, "o")
            face = {"inconclusive": "white", "finding": FAINT}.get(said, INK)
            dots = [x * scale for x in seeds.get(name, ())]
            ax.plot(dots, [row + 0.22] * len(dots), "o", ms=4, mfc="none", mec=MUTED, mew=1, zorder=2)
            bounded = math.isfinite(low) and math.isfinite(high)
            if bounded:
                ax.plot([low, high], [row, row], color=INK, lw=2, solid_capstyle="butt", zorder=3)
            else:
                # Equal values have no spread to judge by: the truth may lie anywhere.
                ax.axhline(row, color=INK, lw=2, ls=":", zorder=3)
            ax.plot([value], [row], marker, ms=9, mfc=face, mec=INK, mew=1.6, zorder=4)
            for margin in margins.get(name, ()):
                ax.plot([margin * scale] * 2, [row - 0.34, row + 0.34], color="#D55E00", lw=2, ls=(0, (2, 1)), zorder=1)
            interval = f"[{low:+.1f}, {high:+.1f}]" if bounded else "[no spread]"
            text = f"{value:+.1f} {interval}".replace("-", "−")
            ax.annotate(
                f"{text}  {said}".rstrip(), (1, row), (8, 0), xycoords=("axes fraction", "data"),
                textcoords="offset points", va="center", fontsize=10,
            )  # fmt: skip
            values += [x for x in (low, value, high) if math.isfinite(x)]
            values += [*dots, *(m * scale for m in margins.get(name, ()))]
        ax.axvline(0, color=MUTED, lw=1, zorder=0)
        pad = 0.06 * (max(values) - min(values) or 1)
        ax.set_xlim(min(values) - pad, max(values) + pad)
        ax.set_ylim(len(estimates) - 0.4, -0.6)
        ax.set_yticks(range(len(estimates)), list(estimates))
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
        ax.xaxis.grid(True, color=FAINT, lw=0.6)
        ax.set_xlabel(xlabel)
        if margins:
            key = "bar: interval; dashed: margin" + ("; small dots: training seeds" if seeds else "")
            ax.annotate(key, (0, 1), (0, 2), xycoords="axes fraction", textcoords="offset points", **_small())
        return _finish(fig, ax, [], title)


def claims_figure(judged: Sequence[ClaimVerdict], *, title: str = "", **options: Any) -> Figure:
    """`differences` of a notebook's claims: simultaneous intervals, margins and verdicts as the claims say.

    Other options go to `differences`.
    """
    margins: dict[str, tuple[float, ...]] = {}
    for v in judged:
        if v.verdict is None:  # a finding in another world, where the claim asks for nothing
            continue
        m = v.claim.margin
        margins[v.claim.id] = {"equivalence": (-m, m), "non-inferiority": (-m,)}.get(v.claim.type, (m,))
    return differences(
        {v.claim.id: v.estimate for v in judged},
        margins=margins,
        verdicts={v.claim.id: v.verdict or "finding" for v in judged},
        title=title,
        **options,
    )


def si(value: float, unit: str = "") -> str:
    """A number with three digits at most, an SI prefix and a unit.

    >>> si(1_234_000_000), si(0.25), si(999.6), si(2e6, "B")
    ('1.23 G', '0.25', '1 k', '2 MB')
    """
    for power, prefix in ((15, "P"), (12, "T"), (9, "G"), (6, "M"), (3, "k"), (0, "")):
        if float(f"{abs(value):.3g}") >= 10**power:
            return f"{float(f'{value / 10**power:.3g}'):g} {prefix}{unit}".strip()
    return f"{value:.3g} {unit}".strip()


# ---- shared -----------------------------------------------------------------------------------------


def _need(groups: Mapping[str, Any]) -> None:
    if not groups or any(hasattr(g, "__len__") and not len(g) for g in groups.values()):
        raise ValueError("There is nothing to draw; give at least one method with at least one point.")


def _axes(size: tuple[float, float] = (7.2, 4.2)) -> tuple[Figure, Axes]:
    # pyplot tells a notebook how to show figures; closed at once, a figure is shown by the cell that returns it only.
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=size, layout="constrained")
    plt.close(fig)
    return fig, ax


def _small() -> dict[str, Any]:
    return {"fontsize": 9, "color": MUTED}


def _lines(ax: Axes, curves: Mapping[str, Points], dodge: float = 0.0) -> list[End]:
    """Draw each curve with its bars, side by side by `dodge`; returns where each ends, for its label."""
    ends = []
    for i, (name, points) in enumerate(curves.items()):
        kind = look(i)
        shift = (i - (len(curves) - 1) / 2) * dodge
        x = np.array([p for p, _ in points]) + shift
        y = np.array([e.value for _, e in points])
        bars = [y - [e.low for _, e in points], [e.high for _, e in points] - y]
        ax.errorbar(
            x, y, yerr=np.maximum(bars, 0), fmt="none", ecolor=kind.colour, elinewidth=1.2, capsize=2.5, alpha=0.75
        )
        ax.plot(x, y, marker=kind.marker, ls=kind.line, color=kind.colour, mec="white", mew=0.8, label=name, zorder=3)
        ends.append(End(name, float(x[-1]), float(y[-1]), points[-1][1].high, kind))
    return ends


def _accuracy_axis(ax: Axes, curves: Any) -> None:
    """Accuracy in per cent from 0, to 100 only where the intervals come near it."""
    top = max(e.high for points in curves for _, e in points)
    ax.set_ylim(0, 1.02 if top > 0.7 else top * 1.15 + 0.02)
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    ax.yaxis.grid(True, color=FAINT, lw=0.6)
    ax.set_ylabel("accuracy, 95% interval")


def _finish(fig: Figure, ax: Axes, ends: Sequence[End], title: str) -> Figure:
    if ends:
        _direct_labels(fig, ax, ends)
    if title:
        ax.set_title(title, pad=20 if ends == [] else None)
    fig.draw_without_rendering()  # ticks are made when first drawn: while the style still holds
    return fig


def _direct_labels(fig: Figure, ax: Axes, ends: Sequence[End]) -> None:
    """Name each line right of the axes at the height of its end, pushed apart where they would overlap."""
    bottom, top = ax.get_ylim()
    gap = (top - bottom) * 15 / (fig.get_figheight() * 72 * 0.75)  # a line of text, in units of the axis
    right = ax.transData.inverted().transform(ax.transAxes.transform((0.6, 0)))[0]
    edge = [end for end in sorted(ends, key=lambda end: end.y) if end.x >= right]
    heights = spread([end.y for end in edge], gap, bottom, top)
    text: dict[str, Any] = {"fontsize": 10.5, "fontweight": "bold", "annotation_clip": False}
    for end, height in zip(edge, heights, strict=True):
        line = {"arrowstyle": "-", "color": end.kind.colour, "lw": 0.7, "alpha": 0.5, "shrinkA": 1, "shrinkB": 5}
        place: dict[str, Any] = {"textcoords": ax.get_yaxis_transform(), "va": "center", "arrowprops": line}
        ax.annotate(end.name, (end.x, end.y), (1.03, height), color=end.kind.colour, **place, **text)
    taken: list[Any] = []
    for end in sorted(ends, key=lambda end: end.high):
        if end.x < right:  # a line from here to the edge would cross the others: name it above its interval
            place = {"textcoords": "offset points", "color": end.kind.colour}
            name = ax.annotate(end.name, (end.x, end.high), (-3, 4), **place, **text)
            while any(name.get_window_extent().overlaps(other) for other in taken):
                name.xyann = (-3, name.xyann[1] + 3)
            taken.append(name.get_window_extent())


def spread(heights: Sequence[float], gap: float, bottom: float, top: float) -> list[float]:
    """Rising heights moved as little as needed to stand `gap` apart, kept inside where there is room.

    >>> spread([0.5, 0.5], 0.2, 0.0, 1.0)
    [0.4, 0.6]
    """
    # Blocks of touching labels, each centred on the mean of the heights it wants (pool adjacent violators).
    blocks: list[tuple[float, int]] = []
    for height in heights:
        centre, size = float(height), 1
        while blocks and blocks[-1][0] + gap * (blocks[-1][1] + size) / 2 > centre:
            other, others = blocks.pop()
            centre = (other * others + centre * size) / (others + size)
            size += others
        blocks.append((centre, size))
    placed = [c + gap * (i - (n - 1) / 2) for c, n in blocks for i in range(n)]
    placed = [min(h, top - gap * (len(placed) - 1 - i)) for i, h in enumerate(placed)]
    return [round(max(h, bottom + gap * i), 9) for i, h in enumerate(placed)]
