"""Jobs on the cores of this machine or on a dask scheduler, the longest first. A failure stops one job only."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import srm_utils
from srm_utils.collection.execute import Job, Status, disk_sentence, execute, export_html, write_text


@cache
def code_version() -> str:
    """A hash of the installed package, byte by byte, by which workers on other machines are held to the same one.

    >>> len(code_version())
    32
    """
    digest = hashlib.blake2b(digest_size=16)
    package = Path(srm_utils.__file__).resolve().parent
    for path in sorted(package.rglob("*")):
        parts = path.relative_to(package).parts
        if path.is_file() and "__pycache__" not in parts and parts[0] != "_notebooks":
            digest.update("/".join(parts).encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


@contextlib.contextmanager
def connect(jobs: int, scheduler: str | None) -> Iterator[Any]:
    """A dask client: on the scheduler at an address, else on `jobs` worker processes of our own."""
    import logging

    import dask
    from distributed import Client, LocalCluster

    if scheduler is not None:
        try:
            client = Client(scheduler, timeout="15s", set_as_default=False)
        except (OSError, ValueError):
            raise RuntimeError(
                f"No dask scheduler answers at {scheduler}; "
                "start one with `dask scheduler` and give the address it prints."
            ) from None
        with client:
            yield client
        return
    quiet = {
        # A notebook that took its worker down once is not given another: it failed, and only it.
        "distributed.scheduler.allowed-failures": 0,
        "distributed.worker.memory.terminate": False,
        # It would look a hundred times a second at what the worker does, on the core that the kernel computes on.
        "distributed.worker.profile.enabled": False,
        "distributed.comm.timeouts.connect": "60s",
    }
    with tempfile.TemporaryDirectory(prefix="srm", ignore_cleanup_errors=True) as scratch, dask.config.set(quiet):
        cluster = LocalCluster(
            n_workers=jobs,
            threads_per_worker=1,
            memory_limit=0,
            # Any free port, seen from this machine only: without an address it takes 8787, or warns.
            dashboard_address="127.0.0.1:0",
            local_directory=scratch,
            silence_logs=logging.CRITICAL,
        )
        with cluster, Client(cluster, set_as_default=False) as client:
            client.register_plugin(_deaf_to_interrupts())
            yield client


def _deaf_to_interrupts() -> Any:
    from distributed import WorkerPlugin

    class DeafToInterrupts(WorkerPlugin):
        """Ctrl-C reaches every process of the terminal; the runner alone answers it and stops the workers in order."""

        def setup(self, worker: Any) -> None:
            import signal

            with contextlib.suppress(ValueError):
                signal.signal(signal.SIGINT, signal.SIG_IGN)

    return DeafToInterrupts()


def dispatch(jobs: Sequence[Job], at_once: int, scheduler: str | None) -> tuple[list[Status], bool]:
    """Run jobs, longest first; returns how each ended and whether Ctrl-C ended them."""
    from srm_utils.collection.display import Display

    folder = Path(jobs[0].folder)
    for job in jobs:
        # What ran from other sources says nothing any more; its output stays until the job begins again.
        (folder / "status" / f"{job.label}.json").unlink(missing_ok=True)
    jobs[0].stop.unlink(missing_ok=True)
    waiting = sorted(jobs, key=lambda j: -(j.expected or 0.0))
    running: dict[Any, Job] = {}
    done: list[Status] = []
    interrupted = False
    at_once = min(at_once, len(jobs))
    with Display(jobs, at_once) as display, connect(at_once, scheduler) as client:
        if scheduler is not None:
            _check_workers(client, jobs[0])
        give_up = float("inf")
        while running or (waiting and not interrupted):
            try:
                # Workers of a scheduler that this run did not start may come and go.
                slots = sum(client.nthreads().values()) if scheduler is not None else at_once
                display.at_once = max(1, slots)
                while waiting and not interrupted and len(running) < slots:
                    job = waiting.pop(0)
                    for stale in (job.output, job.html, job.progress):
                        stale.unlink(missing_ok=True)
                    running[client.submit(execute, job, key=f"srm-{job.key}-{time.time_ns()}", pure=False)] = job
                    display.begin(job)
                for future in [f for f in running if f.done()]:
                    status = _outcome(future, running.pop(future))
                    # A result that dask still holds is computed again when the worker that holds it dies.
                    future.release()
                    done.append(_record(status, folder))
                    display.end(status)
                display.update(running.values())
                if time.monotonic() > give_up:
                    raise KeyboardInterrupt
                time.sleep(0.25)
            except KeyboardInterrupt:
                if interrupted:
                    # The second Ctrl-C, or a kernel that would not stop: leave it, and say so.
                    why = "It was interrupted; run again with --resume."
                    done += [_record(_lost(j, "interrupted", why), folder) for j in running.values()]
                    break
                interrupted = True
                give_up = time.monotonic() + 20
                jobs[0].stop.parent.mkdir(parents=True, exist_ok=True)
                jobs[0].stop.touch()
                display.say("Stopping: keeping what is finished and the partial outputs …")
    jobs[0].stop.unlink(missing_ok=True)
    return done, interrupted


def _check_workers(client: Any, job: Job) -> None:
    """Raise RuntimeError when a scheduler has no worker, or workers without our package or our folders."""
    try:
        client.wait_for_workers(1, timeout=30)
        seen = client.run(os.path.isfile, str(Path(job.folder) / "run.json"))
        versions = set(client.run(code_version).values())
    except TimeoutError:
        raise RuntimeError("The scheduler has no workers; start some with `dask worker ADDRESS`.") from None
    except ImportError as error:
        raise RuntimeError(f"A worker cannot import {error.name}; start it where this package is installed.") from None
    if not all(seen.values()):
        blind = next(w for w, ok in seen.items() if not ok)
        raise RuntimeError(f"The worker {blind} cannot see {job.folder}; give a shared folder with --out.")
    if versions != {code_version()}:
        raise RuntimeError("A worker has another version of this package; install the same one on every machine.")


def _lost(job: Job, state: Any, error: str) -> Status:
    """The status of a job whose worker can no longer tell: as far as its last progress report says."""
    cell, cells = 0, 0
    with contextlib.suppress(OSError, ValueError):
        progress = json.loads(job.progress.read_text())
        cell, cells = progress["cell"], progress["cells"]
    if job.output.is_file():
        with contextlib.suppress(OSError):
            export_html(job.output, job.html)
    return Status(job.notebook, job.label, state, job.key, job.parameters, cell, cells, error=error)


def _outcome(future: Any, job: Job) -> Status:
    """What a finished future says of its job."""
    if future.status == "finished":
        return future.result()
    from distributed import KilledWorker

    error = future.exception() if future.status == "error" else None
    if error is None or isinstance(error, KilledWorker):
        return _lost(job, "failed", "Its worker process died, as it does when it is killed; run again with --resume.")
    return _lost(job, "failed", f"Its worker could not run it: {type(error).__name__}: {str(error).splitlines()[0]}")


def _record(status: Status, folder: Path) -> Status:
    """Write how a job ended. On a full disk the status itself says so, and the run goes on."""
    try:
        write_text(folder / "status" / f"{status.label}.json", status.to_json())
    except OSError as error:
        return Status(status.notebook, status.label, "failed", status.key, error=disk_sentence(error))
    return status
