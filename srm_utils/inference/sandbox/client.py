"""Runs programs that a model wrote in a process of its own.

Two walls. The boundary is the language (`interpreter`): a program's syntax tree is checked against a list and
walked, value by value; nothing is handed to Python's `exec`, and every number, text, list, call and step is
bounded before it is made. The second wall is the process (`worker`): it may open no file or socket, start no
process and use little memory, and it is killed and replaced when it does not answer in time.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from srm_utils.inference.sandbox.outcome import Limits, Outcome

#: Wall seconds that a worker may take to start, on however busy a machine.
START_SECONDS = 60.0
#: The folder that holds this package, from which a worker imports it.
HOME = str(Path(__file__).resolve().parents[3])
#: A worker imports nothing but the standard library and this package, which is looked for last.
START = f"import sys; sys.path.append({HOME!r}); from srm_utils.inference.sandbox.worker import main; main()"


class Sandbox:
    """A worker process that runs programs one after another; replaced when one of them kills it or takes too long.

    Use it as a context manager. It starts at the first program and takes a fraction of a millisecond for each,
    so one sandbox should run a whole batch. Nothing is carried from one program to the next. Threads may share
    one; they take turns.

    >>> with Sandbox() as sandbox:
    ...     [o.answer or o.kind for o in sandbox.run(["x = 24; x = x + 13; print ( x )", "import os", "9 ** 9 ** 9"])]
    ['37', 'language', 'limit']
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._process: subprocess.Popen[bytes] | None = None
        self._end: weakref.finalize | None = None
        self._turn = threading.Lock()
        self._owner = os.getpid()

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, programs: Sequence[str]) -> list[Outcome]:
        """The outcome of each program, in order. A program is refused, never raised."""
        if isinstance(programs, str):
            raise ValueError("programs is one text; put it in a list: [program].")
        if self._owner != os.getpid():
            # A fork shares its parent's pipes, and replies would cross.
            self._owner, self._turn, self._process, self._end = os.getpid(), threading.Lock(), None, None
        out = []
        for program in programs:
            with self._turn:
                out.append(self._run(program))
        return out

    def close(self) -> None:
        """Ends the worker. The next `run` starts another."""
        end, self._end, self._process = self._end, None, None
        if end is not None:
            end()

    def _run(self, program: str) -> Outcome:
        if len(program) > self.limits.source:
            return Outcome(kind="limit", refusal=f"The program is longer than {self.limits.source:,} characters.")
        if self._process is None or self._process.poll() is not None:
            self._start()
        try:
            reply = self._ask(json.dumps(program), self.limits.seconds)
        except BaseException:
            # An interrupted exchange would hand this program's reply to the next one.
            self.close()
            raise
        if reply is None:
            self.close()
            seconds = f"{self.limits.seconds:g} second{'' if self.limits.seconds == 1 else 's'}"
            return Outcome(kind="limit", refusal=f"The program ran longer than {seconds} and was stopped.")
        try:
            return Outcome(**json.loads(reply))
        except (ValueError, TypeError):
            self.close()
            return Outcome(kind="limit", refusal="The program brought its process down and was stopped with it.")

    def _start(self) -> None:
        self.close()
        self._process = subprocess.Popen(
            # Not -I: it would ignore the hash seed, without which a set of texts prints in a new order each time.
            [sys.executable, "-P", "-s", "-S", "-B", "-c", START, json.dumps(asdict(self.limits)), str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env={"PYTHONHASHSEED": "0"},
            start_new_session=True,  # an interrupt of the notebook is not the worker's
        )
        # A sandbox that is dropped ends its worker, too.
        self._end = weakref.finalize(self, _ended, self._process, os.getpid())
        if self._ask("", START_SECONDS) != b"ready":
            self.close()
            raise RuntimeError("The sandbox's process does not start; check that this Python can start processes.")

    def _ask(self, line: str, seconds: float) -> bytes | None:
        """Sends a line and waits for one: None when time is up, b"" when the worker is gone or talks too much."""
        assert self._process is not None and self._process.stdin is not None and self._process.stdout is not None
        try:
            if line:
                self._process.stdin.write(line.encode() + b"\n")
                self._process.stdin.flush()
        except OSError:
            return b""
        pipe, reply, deadline = self._process.stdout.fileno(), b"", time.monotonic() + seconds
        # Not select(): a busy kernel may hold more files than it can count.
        waiting = select.poll()
        waiting.register(pipe, select.POLLIN | select.POLLHUP)
        while not reply.endswith(b"\n"):
            if not waiting.poll(1000 * max(0.0, deadline - time.monotonic())):
                return None
            part = os.read(pipe, 65536)
            reply += part
            if not part or len(reply) > 16 * self.limits.output + 4096:
                return b""
        return reply[:-1]


def _ended(process: subprocess.Popen[bytes], owner: int) -> None:
    """Kills a worker and closes its pipes, if it is this process's own."""
    if os.getpid() != owner:
        return
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        # What a dead worker never read cannot be flushed to it.
        with contextlib.suppress(OSError):
            if pipe:
                pipe.close()
