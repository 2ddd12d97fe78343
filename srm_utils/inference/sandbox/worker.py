"""The worker: a process that has given its rights away and runs one program a line."""

from __future__ import annotations

import _strptime  # noqa: F401 - what Python imports late has to be there before no file can be opened
import contextlib
import gc
import json
import os
import select
import signal
import sys
import unicodedata  # noqa: F401
from dataclasses import asdict

from srm_utils.inference.sandbox.interpreter import interpret
from srm_utils.inference.sandbox.outcome import Limits

#: User and group that a worker becomes when it was started by root: "nobody".
NOBODY = 65534
#: How often an idle worker looks whether its parent is still there, in seconds.
WATCH = 1.0


def confine(limits: Limits) -> None:
    """Takes this process's rights away, for good: files, sockets, processes, memory. A limit the system lacks is left.

    Raises nothing: where a limit cannot be set, the language is still the boundary.
    """
    import resource

    # Nothing new can be opened, but the pipes that are open stay.
    wanted = {"RLIMIT_AS": limits.memory, "RLIMIT_NPROC": 0, "RLIMIT_NOFILE": 0, "RLIMIT_FSIZE": 0, "RLIMIT_CORE": 0}
    for name, most in wanted.items():
        with contextlib.suppress(AttributeError, ValueError, OSError):
            resource.setrlimit(getattr(resource, name), (most, most))
    # Root may start processes whatever its limit says.
    if os.geteuid() == 0:
        with contextlib.suppress(OSError):
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)


def serve(limits: Limits, parent: int) -> None:
    """The worker's life: one program a line, one outcome a line. It ends with its parent.

    A pipe's end does not tell that the parent is gone: the parent's other children may hold it open.
    """
    interpret("é = f'{1.5:.1f}'\nprint(é)", limits)  # whatever is made at the first use is made before the walls stand
    confine(limits)
    gc.freeze()
    os.write(1, b"ready\n")
    rest = b""
    while True:
        while b"\n" not in rest:
            # Not poll(): a process that may open no file may not call it.
            if select.select([0], [], [], WATCH)[0]:
                part = os.read(0, 65536)
                if not part:
                    return
                rest += part
            elif os.getppid() != parent:
                return
        line, _, rest = rest.partition(b"\n")
        # A parent that is gone stops no program; the clock does.
        signal.setitimer(signal.ITIMER_REAL, limits.seconds + 1)
        outcome = interpret(json.loads(line), limits)
        signal.setitimer(signal.ITIMER_REAL, 0)
        reply = json.dumps(asdict(outcome)).encode() + b"\n"
        while reply:
            reply = reply[os.write(1, reply) :]


def main() -> None:
    """Serves with the limits and the parent's number of the command line."""
    serve(Limits(**json.loads(sys.argv[1])), int(sys.argv[2]))
