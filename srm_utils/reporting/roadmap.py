"""The collection's roadmap as a figure whose boxes link to notebooks, drawn from `srm_utils/roadmap.yaml` alone."""

from __future__ import annotations

import html
import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from srm_utils.literature import Part, load_roadmap
from srm_utils.reporting.style import COLOURS, INK, MUTED, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Boxes in a row of the drawn figure, and the sizes of its parts in inches.
COLUMNS = 5
BOX, GAP, LABEL = (1.78, 0.62), 0.12, 1.45
#: One colour a part; without ink, which a dark page would swallow.
PARTS = tuple(colour for colour in COLOURS if colour != INK)


@dataclass(frozen=True, slots=True)
class Box:
    """One topic of the roadmap and the notebook that holds it ("" where that is still open)."""

    topic: str
    notebook: str
    techniques: tuple[str, ...]
    built: bool

    @property
    def number(self) -> str:
        """The number that the notebook's name begins with, "" without one."""
        return self.notebook.rpartition("/")[2].partition("_")[0]


@dataclass(frozen=True)
class Roadmap:
    """The roadmap, ready to be shown: linked boxes in a notebook, text elsewhere.

    `parts` are (name, boxes); `notebooks` is the way from the reader's page to the notebooks folder. A box is a link,
    and drawn full, once one of its techniques is built. In HTML the boxes stand in a plain table of links, so that
    a page that drops styles (as code hosts do) still shows the map; `svg` and `figure` are for pages without HTML.
    """

    parts: tuple[tuple[str, tuple[Box, ...]], ...]
    notebooks: str = ""

    def address(self, box: Box) -> str:
        """Where the box leads, "" when its notebook is not built."""
        return f"{self.notebooks}{box.notebook}.ipynb" if box.built and box.notebook else ""

    def _repr_html_(self) -> str:
        rows = []
        for i, (name, boxes) in enumerate(self.parts):
            colour = PARTS[i % len(PARTS)]
            cells = " ".join(self._html_box(box, colour) for box in boxes)
            place = "text-align: left; vertical-align: top; padding: 8px 12px 8px 0"
            head = f'<th style="{place}">{html.escape(name)}</th>'
            rows.append(f'<tr style="background: none">{head}<td style="text-align: left">{cells}</td></tr>')
        note = "Full boxes lead to their notebook, dashed ones are planned; under the pointer: the techniques."
        caption = f'<caption style="caption-side: bottom; text-align: left; opacity: 0.75">{note}</caption>'
        return f'<table style="border-collapse: collapse; max-width: 64em">{caption}{"".join(rows)}</table>'

    def _html_box(self, box: Box, colour: str) -> str:
        line = "solid" if box.built else "dashed"
        look = (
            f"display: inline-block; margin: 3px; padding: 5px 9px; border: 2px {line} {colour}; border-radius: 7px; "
            f"color: inherit; text-decoration: none; opacity: {1 if box.built else 0.7}"
        )
        tip = html.escape(", ".join(box.techniques), quote=True)
        number = f"<b>{html.escape(box.number)}</b> " if box.number else ""
        body = f"{number}{html.escape(box.topic)}{'' if box.built else ' <small>(planned)</small>'}"
        address = self.address(box)
        if address:
            return f'<a href="{html.escape(address, quote=True)}" title="{tip}" style="{look}">{body}</a>'
        return f'<span title="{tip}" style="{look}">{body}</span>'

    def __repr__(self) -> str:
        lines = []
        for name, boxes in self.parts:
            lines.append(name)
            for box in boxes:
                where = box.notebook or "no notebook yet"
                lines.append(f"  {box.topic:28s} {where}{'' if box.built else ' (planned)'}")
        return "\n".join(lines)

    def figure(self) -> Figure:
        """The roadmap drawn by matplotlib: for slides, and for pages that show images only."""
        import matplotlib.pyplot as plt
        from matplotlib.patches import FancyBboxPatch

        (width, height), columns = BOX, COLUMNS
        heights = [max(1, -(-len(boxes) // columns)) * (height + GAP) + GAP for _, boxes in self.parts]
        size = (LABEL + columns * (width + GAP), sum(heights) + 0.3)
        with style():
            fig, ax = plt.subplots(figsize=size)
            plt.close(fig)
            ax.set_position((0, 0, 1, 1))
            ax.set_xlim(0, size[0])
            ax.set_ylim(size[1], 0)
            ax.axis("off")
            top = GAP
            for i, (name, boxes) in enumerate(self.parts):
                colour = PARTS[i % len(PARTS)]
                label = textwrap.fill(name, 12)
                ax.text(0.1, top + height / 2, label, fontsize=12, fontweight="bold", color=colour, va="center")
                for j, box in enumerate(boxes):
                    x, y = LABEL + j % columns * (width + GAP), top + j // columns * (height + GAP)
                    line: Any = {"lw": 1.8, "ls": "-"} if box.built else {"lw": 1.2, "ls": (0, (4, 2))}
                    patch = FancyBboxPatch(
                        (x, y), width, height, boxstyle="round,pad=0,rounding_size=0.08",
                        fc="white", ec=colour, url=self.address(box) or None, **line,
                    )  # fmt: skip
                    ax.add_patch(patch)
                    text = textwrap.fill(f"{box.number} {box.topic}".strip(), 20, break_on_hyphens=False)
                    ink = INK if box.built else MUTED
                    ax.text(
                        x + width / 2, y + height / 2, text, ha="center", va="center", fontsize=10, color=ink,
                        url=self.address(box) or None,
                    )  # fmt: skip
                top += heights[i]
            note = "full line: a notebook of this collection · dashed: planned"
            ax.text(LABEL, size[1] - 0.14, note, fontsize=9, color=MUTED, va="center")
            return fig

    def svg(self) -> str:
        """The figure as SVG text with a link in every built box; the same roadmap gives the same text."""
        import matplotlib

        buffer = io.StringIO()
        with matplotlib.rc_context({"svg.hashsalt": "roadmap", "svg.fonttype": "path"}):
            self.figure().savefig(buffer, format="svg", metadata={"Date": None}, bbox_inches=None)
        return buffer.getvalue()


def roadmap_figure(notebooks: str = "", roadmap: Sequence[Part] | None = None) -> Roadmap:
    """The map of the collection: one row a part, one box a topic, each built box a link to its notebook.

    `notebooks` is the way from the page that shows the figure to the notebooks folder ("" inside it, "notebooks/"
    beside it); `roadmap` is `load_roadmap()` unless given. A topic in several notebooks has a box for each.

    >>> [name for name, boxes in roadmap_figure().parts][:2]
    ['Landscape', 'Training']
    """
    parts = load_roadmap() if roadmap is None else roadmap
    return Roadmap(tuple((part.name, tuple(_boxes(part))) for part in parts), notebooks)


def _boxes(part: Part) -> list[Box]:
    found = []
    for topic in part.topics:
        for notebook in dict.fromkeys(t.notebook for t in topic.techniques):
            here = [t for t in topic.techniques if t.notebook == notebook]
            built = any(t.status == "built" for t in here)
            found.append(Box(topic.name, notebook, tuple(t.name for t in here), built))
    # In the order of the notebooks' numbers, topics without a notebook last.
    return sorted(found, key=lambda box: (not box.notebook, box.notebook))
