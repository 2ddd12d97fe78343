"""What a run shows while it goes on: live bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterable, Sequence
from typing import Any

from srm_utils.collection.execute import Job, Status


def clock(seconds: float) -> str:
    """Seconds as a person reads them.

    >>> clock(75), clock(3700)
    ('1:15', '1:01:40')
    """
    minutes, s = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{s:02}" if hours else f"{minutes}:{s:02}"


class Display:
    """Shows each running notebook's cell, elapsed time and estimate, and the run's own."""

    def __init__(self, jobs: Sequence[Job], at_once: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        self.console = Console(stderr=True, highlight=False, soft_wrap=True)
        self.at_once = at_once
        self.left = {j.label: j for j in jobs}
        self.total = len(jobs)
        self.started = time.monotonic()
        self.begun: dict[str, float] = {}
        columns = [
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[cells]:>12}", markup=False),
            TextColumn("{task.fields[times]}", markup=False),
        ]
        self.live = self.console.is_terminal
        self.progress = Progress(*columns, console=self.console, disable=not self.live, transient=True)
        self.overall = self.progress.add_task("all notebooks", total=self.total, cells="", times="")
        self.bars: dict[str, Any] = {}

    def __enter__(self) -> Display:
        self.progress.start()
        notebooks = f"{self.total} notebook{'s' * (self.total > 1)}"
        self.say(f"Running {notebooks}{self._estimate(', about {}')}.")
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def say(self, text: str) -> None:
        """A line of its own."""
        self.console.print(text, markup=False)

    def begin(self, job: Job) -> None:
        """A notebook was handed to a worker."""
        self.begun[job.label] = time.monotonic()
        self.bars[job.label] = self.progress.add_task(job.label, total=None, cells="starting", times="")
        if not self.live:
            self.say(f"{job.label} begins")

    def end(self, status: Status) -> None:
        """A notebook ended."""
        self.left.pop(status.label, None)
        self.progress.remove_task(self.bars.pop(status.label))
        done = f"[{self.total - len(self.left)}/{self.total}]"
        if status.state == "completed":
            self.say(f"{done} {status.label} completed: {status.cells} cells, {clock(status.seconds)}")
        else:
            self.say(f"{done} {status.label} {status.state} in cell {status.cell} of {status.cells}: {status.error}")

    def update(self, running: Iterable[Job]) -> None:
        """Show how far the running notebooks are."""
        if not self.live:
            return
        for job in running:
            with contextlib.suppress(OSError, ValueError):
                seen = json.loads(job.progress.read_text())
                elapsed = time.monotonic() - self.begun[job.label]
                times = clock(elapsed) + (f" of about {clock(job.expected)}" if job.expected else "")
                self.progress.update(
                    self.bars[job.label],
                    total=max(1, seen["cells"]),
                    # The cell that is running is not done yet.
                    completed=max(0, seen["cell"] - 1),
                    cells=f"cell {seen['cell']}/{seen['cells']}",
                    times=times,
                )
        self.progress.update(
            self.overall,
            completed=self.total - len(self.left),
            cells=f"{self.total - len(self.left)}/{self.total}",
            times=clock(time.monotonic() - self.started) + self._estimate(", about {} to go"),
        )

    def _estimate(self, form: str) -> str:
        """Time to go when every notebook left has an estimate: the longest one left, or all of them shared out."""
        rest = []
        for label, job in self.left.items():
            if job.expected is None:
                return ""
            begun = self.begun.get(label)
            rest.append(max(0.0, job.expected - (time.monotonic() - begun if begun is not None else 0.0)))
        return form.format(clock(max(max(rest), sum(rest) / self.at_once))) if rest else ""
