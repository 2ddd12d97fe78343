"""Figures of what limits a product with 4-bit weights: the roofline, and the instructions that a weight may take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from srm_utils.kernels.roofline import GPUS, Gpu, bytes_per_weight, seconds
from srm_utils.reporting.style import COLOURS, look, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from srm_utils.kernels.compiled import Compiled


def roofline_figure(gpu: Gpu, outputs: int = 4096, inputs: int = 4096) -> Figure:
    """Speed on paper of a product with a matrix [outputs, inputs] against rows of activations, in 16 and in 4 bits."""
    import matplotlib.pyplot as plt

    counts = [2**i for i in range(13)]
    with style():
        figure, ax = plt.subplots(layout="constrained")
        for i, (name, per_weight) in enumerate({"4-bit weights": bytes_per_weight(), "16-bit weights": 2.0}.items()):
            taken = [seconds(gpu, n, outputs, inputs, per_weight) for n in counts]
            speed = [2 * n * outputs * inputs / t / 1e12 for n, t in zip(counts, taken, strict=True)]
            kind = look(i)
            ax.plot(counts, speed, kind.line, marker=kind.marker, color=kind.colour, label=name)
        gain = seconds(gpu, 1, outputs, inputs, 2.0) / seconds(gpu, 1, outputs, inputs, bytes_per_weight())
        ax.annotate(f"decoding one text:\n{gain:.1f} times as fast", (1, 40), fontsize=10)
        ax.axhline(gpu.tensor / 1e12, color="0.6", lw=1)
        ax.annotate("tensor cores", (1, gpu.tensor / 1e12), (0, 4), textcoords="offset points", fontsize=10)
        ax.set(xscale="log", yscale="log", xlabel="rows of activations in one product", ylabel="TFLOP/s at most")
        ax.set_title(f"Few bits pay where memory is the limit ({gpu.name}, on paper)")
        ax.set_xticks(counts[::2], [str(n) for n in counts[::2]])
        ax.legend(loc="lower right")
    plt.close(figure)
    return figure


def instructions_figure(compiled: Sequence[Compiled], gpus: Sequence[Gpu] = GPUS) -> Figure:
    """Instructions for each weight, counted in compiled kernels of one target, beside what each GPU has time for."""
    import matplotlib.pyplot as plt

    with style():
        figure, ax = plt.subplots(layout="constrained")
        names = [c.kernel for c in compiled]
        ax.barh(names, [c.instructions for c in compiled], color=COLOURS[5], height=0.6)
        for i, gpu in enumerate(gpus):
            budget = gpu.instructions * bytes_per_weight() / gpu.bandwidth
            kind = look(i + 1)
            ax.axvline(budget, color=kind.colour, ls=kind.line, label=f"{gpu.name}: {budget:.1f}")
        ax.invert_yaxis()
        ax.set(xlabel="instructions for each weight in the main loop")
        ax.set_title("What a weight costs, and what memory leaves time for")
        ax.legend(title="time for, at full bandwidth", loc="upper center", bbox_to_anchor=(0.45, -0.15), ncols=3)
    plt.close(figure)
    return figure
