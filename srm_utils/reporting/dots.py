"""A map of many sets under several conditions: one row a set, one dot with its interval a condition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from srm_utils.evaluation.statistics import Estimate
from srm_utils.reporting.style import FAINT, MUTED, look, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def dot_map(
    groups: Mapping[str, Mapping[str, Mapping[str, Estimate]]],
    *,
    order: Sequence[str] | None = None,
    xlabel: str = "accuracy, 95% interval",
    title: str = "",
    chance: Mapping[str, float] | None = None,
) -> Figure:
    """Dots with their intervals: `groups` maps a heading to rows, a row to its conditions, a condition to its estimate.

    Args:
        groups: the rows under each heading, from top to bottom. A row may lack a condition.
        order: the conditions in the order of the legend; as they come by default.
        xlabel, title: what the axis and the figure say.
        chance: for a row, what guessing would reach; drawn as a grey tick.

    Raises ValueError where there is no row.

    >>> figure = dot_map({"sums": {"one digit": {"direct": Estimate(0.5, 0.4, 0.6, 100)}}})
    >>> [text.get_text() for text in figure.axes[0].get_yticklabels()]
    ['one digit']
    """
    import matplotlib.pyplot as plt

    rows = [(heading, name, found) for heading, held in groups.items() for name, found in held.items()]
    if not rows:
        raise ValueError("There is nothing to draw; give at least one row.")
    names = list(order or dict.fromkeys(condition for *_, found in rows for condition in found))
    places = _places(groups)
    with style():
        height = 1.5 + 0.33 * (places[-1][1] + 1)
        fig, ax = plt.subplots(figsize=(7.6, height), layout="constrained")
        plt.close(fig)
        for i, condition in enumerate(names):
            kind = look(i)
            shift = (i - (len(names) - 1) / 2) * 0.6 / max(len(names), 2)
            drawn = [(y + shift, found[condition]) for (_, y), (*_, found) in zip(places, rows, strict=True)
                     if condition in found]  # fmt: skip
            for y, e in drawn:
                ax.plot([e.low, e.high], [y, y], color=kind.colour, lw=1.3, alpha=0.7, solid_capstyle="butt", zorder=2)
            xs, ys = [e.value for _, e in drawn], [y for y, _ in drawn]
            ax.plot(xs, ys, kind.marker, color=kind.colour, ms=6, mec="white", mew=0.7, label=condition, zorder=3)
        for (_, y), (_, name, _) in zip(places, rows, strict=True):
            if chance and name in chance:
                ax.plot([chance[name]] * 2, [y - 0.38, y + 0.38], color=MUTED, lw=1.4, zorder=1)
        top = -0.6
        for heading, first in _headings(groups, places):
            place: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
            look_of: dict[str, Any] = {"ha": "right", "va": "center", "fontsize": 10.5, "fontweight": "bold"}
            ax.annotate(heading, (0, first - 0.62), (-8, 0), annotation_clip=False, **place, **look_of)
            top = min(top, first - 0.9)
        ax.set_yticks([y for _, y in places], [name for _, name, _ in rows])
        ax.set_ylim(places[-1][1] + 0.6, top)
        ax.set_xlim(-0.02, 1.02)
        ax.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
        ax.xaxis.grid(True, color=FAINT, lw=0.6)
        ax.set_xlabel(xlabel + ("; grey line: guessing" if chance else ""))
        fig.legend(loc="outside lower center", ncols=min(len(names), 3), fontsize=10)
        if title:
            ax.set_title(title)
        fig.draw_without_rendering()
    return fig


def _places(groups: Mapping[str, Mapping[str, object]]) -> list[tuple[str, float]]:
    """The heights of all rows, downwards, with room above each group for its heading."""
    places: list[tuple[str, float]] = []
    at = 0.0
    for heading, held in groups.items():
        at += 0.6 if heading else 0.0
        for name in held:
            places.append((name, at))
            at += 1.0
    return places


def _headings(
    groups: Mapping[str, Mapping[str, object]], places: Sequence[tuple[str, float]]
) -> list[tuple[str, float]]:
    """Each heading with the height of its first row."""
    found, i = [], 0
    for heading, held in groups.items():
        if heading and held:
            found.append((heading, places[i][1]))
        i += len(held)
    return found
