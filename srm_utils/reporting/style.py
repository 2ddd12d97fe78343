"""The one matplotlib style: readable on a slide, in black and white, and by colour-blind readers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

INK = "#1a1a1a"
MUTED = "#6b6b6b"
FAINT = "#d9d9d9"

# Okabe and Ito's colours without the yellow, which is lost on white, ordered so that neighbours differ in
# lightness too: in black and white marker, line and lightness still part them.
COLOURS = ("#0072B2", "#D55E00", "#1a1a1a", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "*", "p")
LINES = ("-", "--", "-.", ":")


@dataclass(frozen=True, slots=True)
class Look:
    """Colour, marker and line of one method, the same in every figure of a notebook."""

    colour: str
    marker: str
    line: str


def look(index: int) -> Look:
    """The look of the `index`-th method; marker and line together part 28 methods where colours repeat.

    >>> look(0).marker != look(1).marker and look(0).line != look(1).line
    True
    """
    return Look(COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)], LINES[index % len(LINES)])


RC: Any = {
    "figure.figsize": (7.2, 4.2),
    "figure.dpi": 110,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "savefig.dpi": 160,
    "savefig.bbox": "tight",
    "axes.facecolor": "white",
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 13,
    "axes.titlepad": 12,
    "axes.titleweight": "bold",
    "axes.labelsize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "text.color": INK,
    "font.size": 11,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "xtick.minor.size": 0,
    "lines.linewidth": 1.8,
    "lines.markersize": 6.5,
    "legend.frameon": False,
}


@contextmanager
def style() -> Iterator[None]:
    """Draw in the collection's style and leave the reader's own settings as they were.

    >>> import matplotlib
    >>> with style():
    ...     matplotlib.rcParams["axes.spines.top"]
    False
    """
    import matplotlib

    with matplotlib.rc_context(RC):
        yield
