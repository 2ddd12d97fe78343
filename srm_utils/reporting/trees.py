"""The tree viewer: what a search looked at, what it pruned, and the way to its answer."""

from __future__ import annotations

import html
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from srm_utils.reporting.style import FAINT, INK, MUTED, style

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Node(Protocol):
    """What is drawn: `inference.thoughts.Thought` is one."""

    @property
    def text(self) -> str: ...
    @property
    def score(self) -> float | None: ...
    @property
    def status(self) -> Literal["kept", "pruned", "answer", "dead", "chosen"]: ...
    @property
    def children(self) -> Sequence[Node]: ...


# A sign besides colour and line, so that no status rests on colour alone.
SIGNS = {"kept": "", "pruned": "✂ ", "answer": "", "dead": "✗ ", "chosen": "➤ "}
COLOURS = {"kept": INK, "pruned": MUTED, "answer": "#0072B2", "dead": "#D55E00", "chosen": "#007a55"}
MEANINGS = {
    "kept": "gone on from",
    "pruned": "✂ pruned, not followed",
    "answer": "another answer",
    "dead": "✗ ended without an answer",
    "chosen": "➤ the answer given",
}
#: Characters on a line of a drawn thought.
WRAP = 27
#: Lines of a drawn thought; what is longer ends in an ellipsis.
LINES = 4
#: Where the root stands; thoughts of level 1 stand at 1.
ROOT = 0.7


def tree_figure(root: Node, *, title: str = "", most: int = 40) -> Figure:
    """A tree of thoughts from left to right: scores beside the steps, pruned branches grey and dashed.

    Trees with more than `most` ends are thinned: of the pruned followers of one thought the best is drawn and the
    others are counted. Raises ValueError for a tree without thoughts.
    """
    if not root.children:
        raise ValueError("The tree has no thoughts to draw; give the trace of a search that drew at least one.")
    nodes: list[tuple[int, float, Node, int | None, int]] = []
    thin = _leaves(root) > most
    _place(root, 0, 0.0, None, thin, nodes)
    depth = max(level for level, *_ in nodes)
    bottom = max(y for _, y, *_ in nodes)
    with style():
        from matplotlib import pyplot as plt

        # An inch of the axes is an inch of paper, or labels would overlap; the rest is for the title and the key.
        tall = bottom + 0.8
        fig, ax = plt.subplots(figsize=(2.7 * depth + 0.9, tall + 0.7))
        ax.set_position((0.01, 0.3 / (tall + 0.7), 0.98, tall / (tall + 0.7)))
        for level, y, node, parent, _ in nodes:
            if parent is None:
                continue
            parent_level, parent_y = nodes[parent][:2]
            dashed = node.status in ("pruned", "dead")
            bold = node.status == "chosen"
            ax.plot(
                # From under the parent's box, however wide it is, to the left edge of this one.
                [parent_level + 0.45 if parent_level else ROOT, level - 0.02],
                [parent_y, y],
                color=COLOURS[node.status] if bold or dashed else MUTED,
                lw=2.6 if bold else 1.1,
                ls=(0, (3, 2)) if dashed else "-",
                zorder=1,
            )
        for level, y, node, parent, hidden in nodes:
            if parent is None:
                ax.plot([ROOT], [y], "o", color=INK, ms=9)
            else:
                _label(ax, level, y, node, hidden)
        ax.set_xlim(ROOT - 0.05, depth + 0.9)
        ax.set_ylim(bottom + 0.4, -0.4)
        ax.axis("off")
        if title:
            ax.set_title(title)
        present = [s for s in MEANINGS if any(n.status == s for _, _, n, p, _ in nodes if p is not None)]
        key = ";  ".join(MEANINGS[s] for s in present) + ";  numbers: scores"
        ax.annotate(key, (0, 0), (0, -6), xycoords="axes fraction", textcoords="offset points", va="top",
                    fontsize=9, color=MUTED)  # fmt: skip
        plt.close(fig)
    return fig


def _leaves(node: Node) -> int:
    return sum(map(_leaves, node.children)) if node.children else 1


def _place(
    node: Node,
    level: int,
    top: float,
    parent: int | None,
    thin: bool,
    nodes: list[tuple[int, float, Node, int | None, int]],
    hidden: int = 0,
) -> float:
    """Notes (level, height in inches, node, parent's index, thoughts not drawn) of a subtree; returns its lower end."""
    at = len(nodes)
    nodes.append((level, top, node, parent, hidden))
    children = [(child, 0) for child in node.children]
    if thin:
        pruned = [c for c in node.children if c.status in ("pruned", "dead")]
        if len(pruned) > 1:
            best = max(pruned, key=lambda c: -float("inf") if c.score is None else c.score)
            children = [(c, len(pruned) - 1 if c is best else 0) for c in node.children if c not in pruned or c is best]
    below = top
    heights = []
    for child, more in children:
        heights.append(len(nodes))
        below = _place(child, level + 1, below, at, thin, nodes, more)
    if heights:
        middle = (nodes[heights[0]][1] + nodes[heights[-1]][1]) / 2
        nodes[at] = (level, middle, node, parent, hidden)
        return max(below, top + _height(node, hidden))
    nodes[at] = (level, top + _height(node, hidden) / 2, node, parent, hidden)
    return top + _height(node, hidden)


def _lines(node: Node, hidden: int) -> list[str]:
    score = "" if node.score is None else f"  {node.score:.2f}".replace("-", "−")
    more = f"  (+{hidden} more)" if hidden else ""
    lines = textwrap.wrap(f"{SIGNS[node.status]}{node.text}{score}{more}", WRAP) or [""]
    return lines if len(lines) <= LINES else [*lines[: LINES - 1], f"…{score}{more}"]


def _height(node: Node, hidden: int) -> float:
    """Inches that a label takes, with room around it."""
    return 0.16 * len(_lines(node, hidden)) + 0.16


def _label(ax: Axes, level: int, y: float, node: Node, hidden: int) -> None:
    colour = COLOURS[node.status]
    ax.annotate(
        "\n".join(_lines(node, hidden)),
        (level, y),
        fontsize=9,
        color=colour,
        va="center",
        fontweight="bold" if node.status == "chosen" else "normal",
        bbox={
            "boxstyle": "round,pad=0.25",
            "fc": "white",
            "ec": colour if node.status != "pruned" else FAINT,
            "lw": 1.6 if node.status in ("chosen", "answer") else 0.8,
            "ls": "--" if node.status in ("pruned", "dead") else "-",
        },
        zorder=2,
    )


@dataclass(frozen=True)
class TreeView:
    """A tree of thoughts to unfold in a notebook (light or dark); an indented list elsewhere."""

    root: Node
    #: Levels that are open at first.
    unfolded: int = 2

    def _repr_html_(self) -> str:
        body = "".join(self._item(child, 1) for child in self.root.children)
        return (
            '<div style="font-family: ui-monospace, monospace; line-height: 1.6">'
            f'<div style="opacity: 0.8">{html.escape(self.root.text)}</div>{body}'
            f'<small style="opacity: 0.8">{";  ".join(MEANINGS.values())}</small></div>'
        )

    def _item(self, node: Node, level: int) -> str:
        look = {"chosen": "font-weight: bold", "pruned": "opacity: 0.6; text-decoration: line-through"}
        score = "" if node.score is None else f" <small>{node.score:.2f}</small>"
        line = f"{SIGNS[node.status]}<span style='{look.get(node.status, '')}'>{html.escape(node.text)}</span>{score}"
        if not node.children:
            return f'<div style="margin-left: 1.4em">{line}</div>'
        opened = " open" if level < self.unfolded or node.status == "chosen" else ""
        inside = "".join(self._item(child, level + 1) for child in node.children)
        return f'<details style="margin-left: 0.6em"{opened}><summary>{line}</summary>{inside}</details>'

    def __repr__(self) -> str:
        lines = [self.root.text]

        def add(node: Node, level: int) -> None:
            score = "" if node.score is None else f"  {node.score:.2f}"
            lines.append(f"{'  ' * level}{SIGNS[node.status]}{node.text}{score}")
            for child in node.children:
                add(child, level + 1)

        for child in self.root.children:
            add(child, 1)
        return "\n".join(lines)
