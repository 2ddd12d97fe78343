"""One notebook, run in a worker: papermill under a guard, with every way it can fail told apart.

papermill's own metadata is not believed: after a killed kernel it calls cells `completed` that never ran. What
happened is the `Status` that `execute` returns.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast

from srm_utils.collection.catalogue import read_json, read_notebook

# nbformat's validator would compile a grammar of web addresses, which no notebook has checked, in every process: 1.5 s.
cast("dict[str, Any]", sys.modules).setdefault("rfc3987_syntax", None)

State = Literal["completed", "failed", "interrupted"]

#: Environment variables by which numerical libraries choose their number of threads.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@dataclass(frozen=True, slots=True)
class Job:
    """One notebook to run with one set of parameters.

    `label` is its path below the run's folder, without an ending; `key` is a hash of all that decides its
    outcome; `expected` and `timeout` are seconds; `memory` is the kernel's limit in bytes, children included.
    """

    notebook: str
    label: str
    source: str
    folder: str
    parameters: dict[str, Any]
    key: str
    threads: int = 1
    expected: float | None = None
    timeout: float | None = None
    memory: float | None = None

    @property
    def output(self) -> Path:
        """Where the executed notebook goes."""
        return Path(self.folder) / f"{self.label}.ipynb"

    @property
    def html(self) -> Path:
        """Where its HTML export goes."""
        return Path(self.folder) / f"{self.label}.html"

    @property
    def progress(self) -> Path:
        """Where the worker says how far it is."""
        return Path(self.folder) / "progress" / f"{self.label}.json"

    @property
    def stop(self) -> Path:
        """The file whose existence asks all workers of the run to stop."""
        return Path(self.folder) / "stop"


@dataclass(frozen=True, slots=True)
class Status:
    """How a job ended. `cell` of `cells` code cells is the last one that began; `error` is one sentence."""

    notebook: str
    label: str
    state: State
    key: str
    parameters: dict[str, Any] = field(default_factory=dict)
    cell: int = 0
    cells: int = 0
    seconds: float = 0.0
    peak_bytes: float = 0.0
    error: str | None = None

    def to_json(self) -> str:
        """The status as a JSON object."""
        return json.dumps(asdict(self), indent=1)


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all: a reader, a crash or a full disk never leaves half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(text, encoding="utf-8")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def disk_sentence(error: OSError) -> str:
    """What an operating-system error on writing means, and what to do.

    >>> disk_sentence(OSError(errno.ENOSPC, "No space left on device"))
    'The disk is full; free some space, then run again with --resume.'
    """
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "The disk is full; free some space, then run again with --resume."
    return f"{error.strerror or error}{f' ({error.filename})' if error.filename else ''}."


def first_line(text: str, width: int = 300) -> str:
    """The first line of a message that says something.

    >>> first_line("\\n  no such model: x\\nTraceback")
    'no such model: x'
    """
    return next((line.strip()[:width] for line in text.splitlines() if line.strip()), "")


class _Refused(Exception):
    """A notebook that cannot be run, or not to its end, in one sentence."""


class Watch(threading.Thread):
    """Follows one kernel: reports its cell, and kills it past its time, past its memory, or when asked to stop."""

    def __init__(self, job: Job) -> None:
        super().__init__(daemon=True)
        self.job = job
        self.client: Any = None
        self.nb: Any = None
        self.cell = 0
        self.cells = 0
        self.peak_bytes = 0.0
        self.started = time.monotonic()
        # The time limit is the notebook's own: a busy machine may take long to start a kernel.
        self.first_cell = float("inf")
        self.reason: str | None = None
        self.process: Any = None
        self.interrupted = False
        self.ended = threading.Event()

    @property
    def seconds(self) -> float:
        """Seconds since the job began."""
        return time.monotonic() - self.started

    def begin_cell(self, index: int) -> None:
        """Note that the cell at `index` of the notebook begins, keeping all outputs so far on disk."""
        if self.nb.cells[index].cell_type == "code":
            self.cell += 1
            # Kept here, because the kernel's manager forgets a process that has ended.
            self.process = getattr(self._provisioner, "process", None) or self.process
            self.first_cell = min(self.first_cell, time.monotonic())
            self.save()
            self.report()

    def end_cell(self, cell: Any, cell_index: int, execute_reply: Any) -> None:
        """Note that a cell has ended. Raises _Refused where it asked the kernel to end, and others wait.

        The kernel obeys some time later, perhaps after the cells that follow.
        """
        asked = any(part.get("source") == "ask_exit" for part in execute_reply["content"].get("payload", []))
        if asked and self.cell < self.cells:
            raise _Refused(_explain_death(0))

    def save(self) -> None:
        """Save the executed notebook as it stands."""
        import nbformat

        write_text(self.job.output, nbformat.writes(self.nb))

    def report(self) -> None:
        """Write how far the job is, for the display of `srm run`."""
        state = {"cell": self.cell, "cells": self.cells, "pid": os.getpid(), "host": socket.gethostname()}
        write_text(self.job.progress, json.dumps({**state, "kernel": self.kernel_pid, "key": self.job.key}))

    @property
    def kernel_pid(self) -> int | None:
        """The kernel's process id, once it is there."""
        return getattr(self._provisioner, "pid", None)

    @property
    def exit_code(self) -> int | None:
        """How the kernel's process ended, a negative number for a signal; None while it runs, or if nobody knows."""
        return None if self.process is None else self.process.poll()

    @property
    def _provisioner(self) -> Any:
        return getattr(getattr(self.client, "km", None), "provisioner", None)

    def run(self) -> None:
        """Look three times a second until the job ends or the kernel had to be killed."""
        import psutil

        family: list[Any] = []
        looks = 0
        while not self.ended.wait(0.3):
            used, looks = 0.0, looks + 1
            with contextlib.suppress(psutil.Error):
                # Finding children means reading all processes of the machine, on the core that the kernel computes on.
                if self.kernel_pid is not None and (not family or looks % 10 == 0):
                    kernel = psutil.Process(self.kernel_pid)
                    family = [kernel, *kernel.children(recursive=True)]
            for process in family:
                with contextlib.suppress(psutil.Error):
                    used += process.memory_info().rss
            self.peak_bytes = max(self.peak_bytes, used)
            job = self.job
            if job.stop.exists():
                self.interrupted = True
                self.reason = "It was interrupted; run again with --resume."
            elif job.timeout is not None and time.monotonic() - self.first_cell > job.timeout:
                self.reason = f"It ran past its time limit of {job.timeout:g} s; give more with --timeout."
            elif job.memory is not None and used > job.memory:
                self.reason = (
                    f"It used more than its share of the memory ({job.memory / 1e9:.1f} GB); "
                    "run fewer at once with --jobs, or give more with --memory."
                )
            if self.reason is not None and family:
                for process in family:
                    with contextlib.suppress(psutil.Error):
                        process.kill()
                return


def _papermill(job: Job, watch: Watch, sockets: str) -> None:
    """Run the notebook through papermill, over IPC, in the folder of its output."""
    import logging

    from papermill.clientwrap import PapermillNotebookClient
    from papermill.engines import Engine, papermill_engines
    from papermill.execute import execute_notebook
    from papermill.log import logger
    from traitlets.config import Config

    class WatchedEngine(Engine):
        """papermill's engine, telling `watch` of each cell; it saves through `watch` (atomically)."""

        @classmethod
        def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, **options: Any) -> None:
            watch: Watch = options["watch"]
            watch.nb = nb_man.nb
            watch.cells = sum(c.cell_type == "code" for c in nb_man.nb.cells)
            began = nb_man.cell_start

            def cell_start(cell: Any, cell_index: int, **kwargs: Any) -> None:
                began(cell, cell_index, **kwargs)
                watch.begin_cell(cell_index)

            nb_man.cell_start = cell_start
            # Editors leave out what the file format asks for, and the export would refuse.
            spec = nb_man.nb.metadata.setdefault("kernelspec", {})
            spec.setdefault("name", kernel_name)
            spec.setdefault("display_name", spec["name"])
            # Each kernel has its own short socket path: with the default one, parallel kernels share sockets and die.
            config = Config()
            config.KernelManager.transport = "ipc"
            config.KernelManager.ip = f"{options['sockets']}/k"
            watch.client = PapermillNotebookClient(
                nb_man,
                kernel_name=kernel_name,
                startup_timeout=options["start_timeout"],
                config=config,
                # A kernel is interrupted when its notebook has ended, and would report that as an error.
                extra_arguments=["--IPKernelApp.log_level=CRITICAL"],
                # The kernel's folder, not the worker's: a worker's own folder never changes.
                resources={"metadata": {"path": str(watch.job.output.parent)}},
                log=logger,
                on_cell_executed=watch.end_cell,
            )
            threads = {name: str(watch.job.threads) for name in THREAD_VARIABLES}
            # Dask has its workers give memory back at once; a kernel that did so would fault in every tensor anew.
            kept = {name: value for name, value in os.environ.items() if name != "MALLOC_TRIM_THRESHOLD_"}
            # What a cell prints comes by messages. The kernel's own stderr holds only what its libraries log when
            # they lose their sockets, and a stack trace from there would stand between the runner's lines.
            watch.client.execute(env={**kept, **threads, "TOKENIZERS_PARALLELISM": "false"}, stderr=subprocess.DEVNULL)

    logger.setLevel(logging.CRITICAL)
    papermill_engines.register("srm", WatchedEngine)
    kernel, language = _kernel(job)
    execute_notebook(
        # papermill would fill braces in a path with parameters.
        job.source.replace("{", "{{").replace("}", "}}"),
        None,
        parameters=job.parameters,
        engine_name="srm",
        kernel_name=kernel,
        language=language,
        progress_bar=False,
        start_timeout=180,
        watch=watch,
        sockets=sockets,
    )


def _kernel(job: Job) -> tuple[str, str]:
    """The kernel and language of a job's notebook; Python where its metadata, as editors leave it, names none.

    Raises _Refused when the file cannot be read, or names another language and no kernel.
    """
    source = Path(job.source)
    try:
        read_notebook(source, source.parent)
        meta = read_json(source).get("metadata", {})
    except ValueError as error:
        raise _Refused(str(error)) from None
    spec = meta.get("kernelspec") or {}
    name = str(spec.get("name") or "")
    language = str((meta.get("language_info") or {}).get("name") or spec.get("language") or "").lower()
    if not name and language not in ("", "python", "ipython"):
        raise _Refused(f"{source} is written in {language} and names no kernel; choose one in Jupyter and save it.")
    return name or "python3", language or (name if name and not name.startswith("python") else "python")


def export_html(notebook: Path, html: Path) -> None:
    """Write the HTML of an executed notebook beside it."""
    from nbconvert import HTMLExporter

    body, _ = HTMLExporter().from_filename(str(notebook))
    write_text(html, body)


def _explain(error: BaseException, watch: Watch) -> str:
    """One sentence for whatever ended the notebook."""
    from jupyter_client.kernelspec import NoSuchKernel
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    if watch.reason is not None:
        return watch.reason
    if isinstance(error, _Refused):
        return str(error)
    if isinstance(error, PapermillExecutionError):
        return f"{error.ename}: {first_line(str(error.evalue)) or 'no message'}"
    if isinstance(error, DeadKernelError):
        return _explain_death(watch.exit_code)
    if isinstance(error, NoSuchKernel):
        return f"There is no Jupyter kernel {error.name!r} here; install ipykernel, or save the notebook with python3."
    if isinstance(error, OSError):
        return disk_sentence(error)
    return f"{type(error).__name__}: {first_line(str(error)) or 'no message'}"


def _explain_death(code: int | None) -> str:
    """One sentence for a kernel's exit code.

    >>> _explain_death(-11)
    'Its kernel crashed in compiled code (SIGSEGV); run the cell alone to see which library it was.'
    """
    if code is not None and code >= 0:
        return (
            f"A cell ended the kernel (exit(), quit() or os._exit(), exit code {code}); "
            "leave that call out: a notebook ends by itself."
        )
    crashes = (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT)
    if code is not None and -code in crashes:
        name = signal.Signals(-code).name
        return f"Its kernel crashed in compiled code ({name}); run the cell alone to see which library it was."
    return "Its kernel died (killed, or the machine ran out of memory); run again with --resume."


def _damaged(watch: Watch) -> str | None:
    """What is wrong with the results that the notebook recorded; None when all can be read back."""
    from srm_utils.evaluation.results import read_results

    try:
        read_results(watch.nb)
    except ValueError as error:
        return str(error)
    return None


def execute(job: Job) -> Status:
    """Run a job and say how it ended; never raises for what a notebook, its kernel or the disk does.

    The executed notebook is saved before every cell and at the end, whatever happens, and exported to HTML.
    """
    watch = Watch(job)
    error: str | None = None
    sockets = tempfile.mkdtemp(prefix="srm")
    try:
        if len(sockets) > 80:
            raise ValueError("The temporary folder's path is too long for sockets; set TMPDIR to a shorter one.")
        job.output.parent.mkdir(parents=True, exist_ok=True)
        watch.start()
        _papermill(job, watch, sockets)
    except Exception as caught:
        error = _explain(caught, watch)
    finally:
        watch.ended.set()
        shutil.rmtree(sockets, ignore_errors=True)
    if error is None and watch.cell < watch.cells:
        error = f"It ended after {watch.cell} of {watch.cells} cells."
    if error is None:
        error = _damaged(watch)
    ran = (watch.cell, watch.cells, watch.seconds, watch.peak_bytes)
    status = Status(job.notebook, job.label, "completed", job.key, job.parameters, *ran)
    if error is not None:
        status = replace(status, state="interrupted" if watch.interrupted else "failed", error=error)
    try:
        if watch.nb is not None:
            watch.save()
            export_html(job.output, job.html)
    except OSError as caught:
        # An outcome that could not be kept is not an outcome.
        status = replace(status, state="failed", error=status.error or disk_sentence(caught))
    return status
