"""The judge: math-verify's `verify` in a process of its own.

It gets trees of allowed operations, never text, cannot compile strings, and is ended when it has used
`JUDGE_CPU_SECONDS`: no signals, so it works alike in threads, in worker processes and on a busy machine. A spare one
is started beside it, so that a question that ends one judge does not make the next question wait.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

from srm_utils.tasks.grading.expressions import Expr
from srm_utils.tasks.grading.read import parsed

JUDGE_CPU_SECONDS = 0.3  #: CPU time for one grading's calls of the judge, all together
JUDGE_CALLS = 100  #: of one grading
JUDGE_WALL_SECONDS = 3.0  #: one call, for what CPU accounting misses
START_SECONDS = 60.0


def wired(e: Expr) -> Any:
    """A tree as JSON. Numbers go in hexadecimal, which Python reads in linear time and at any length."""
    if isinstance(e, Fraction):
        return ["num", format(e.numerator, "x"), format(e.denominator, "x")]
    return [wired(x) if isinstance(x, (tuple, Fraction)) else x for x in e]


class Helper:
    """One judge process for this process and a spare one, started when first needed, replaced when one was killed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._spare: subprocess.Popen[str] | None = None
        self._announced = False
        self._verdicts: dict[str, tuple[bool, float]] = {}

    def ask(self, request: str) -> tuple[bool, float]:
        """The verdict and the CPU seconds it took. A request that the judge does not survive is not equal."""
        with self._lock:
            if request in self._verdicts:
                return self._verdicts[request]
            for _ in range(2):  # once more, in case an idle helper died for reasons of its own
                process = self._ready()
                if self._spare is None:
                    self._spare = _started()
                try:
                    assert process.stdin and process.stdout
                    process.stdin.write(request + "\n")
                    process.stdin.flush()
                    line, killed = self._read(process, JUDGE_WALL_SECONDS)
                except (BrokenPipeError, OSError):
                    line, killed = "", False
                if line.endswith("\n"):
                    verdict, seconds = json.loads(line)
                    self._remember(request, (verdict, seconds))
                    return verdict, seconds
                spent_out = killed or process.wait() == _SPENT
                _end(process)
                self._process, self._spare, self._announced = self._spare, None, False
                if spent_out:
                    self._spare = _started()  # warm before it is asked again
                    break
            self._remember(request, (False, JUDGE_CPU_SECONDS))
            return False, JUDGE_CPU_SECONDS

    def _remember(self, request: str, answer: tuple[bool, float]) -> None:
        if len(self._verdicts) >= 4096:
            self._verdicts.clear()
        self._verdicts[request] = answer

    @staticmethod
    def _read(process: subprocess.Popen[str], limit: float) -> tuple[str, bool]:
        """One line, or what came before the process was killed for taking longer than `limit` seconds."""
        late = threading.Event()

        def kill() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(limit, kill)
        timer.daemon = True
        timer.start()
        try:
            assert process.stdout
            return process.stdout.readline(), late.is_set()
        finally:
            timer.cancel()

    def _ready(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            if self._process is not None:
                _end(self._process)
            self._process, self._spare, self._announced = self._spare, None, False
        process = self._process
        if process is None or process.poll() is not None:
            process = self._process = _started()
        if not self._announced:
            if self._read(process, START_SECONDS)[0] != "ready\n":
                process.kill()
                complaint = process.communicate()[1].strip().splitlines()
                self.stop()
                reason = complaint[-1] if complaint else "it did not answer"
                raise RuntimeError(
                    f"The judge of mathematics did not start ({reason}); install it with: pip install math-verify"
                )
            self._announced = True
        return process

    def stop(self) -> None:
        both = (self._process, self._spare)
        self._process = self._spare = None
        self._announced = False
        for process in both:
            if process is not None:
                _end(process)

    def forget(self) -> None:
        """In a forked child: leave the parent's helpers alone and start afresh."""
        both, self._lock = (self._process, self._spare), threading.Lock()
        self._process = self._spare = None
        self._announced = False
        for process in both:
            if process is not None:
                process.returncode = 0  # it is the parent's to wait for
                for pipe in (process.stdin, process.stdout, process.stderr):
                    if pipe:
                        os.close(pipe.fileno())


def _started() -> subprocess.Popen[str]:
    """A judge process that will say "ready" once it has read in its libraries."""
    root = str(Path(__file__).resolve().parents[3])
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.Popen(
        [sys.executable, "-P", "-c", "from srm_utils.tasks.grading.judge import _serve; _serve()"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8",
        env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe:
            try:
                pipe.close()
            except OSError:
                pass


HELPER = Helper()
atexit.register(HELPER.stop)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=HELPER.forget)

# sympy imports much of itself when first needed, and some of those modules compile strings of their own while they are
# imported (its physical units do): all that has to happen before the seal.
_WARM_UP = (
    ("(x+1)^2", "x^2+2x+1"), ("3^{x+1}", "3*3^x"), (r"\sin^2 x+\cos^2 x", "1"), ("n!", "n*(n-1)!"),
    ("(x+i)^2", "x^2+2i*x-1"), ("sqrt(x^2)", "|x|"), (r"\binom{n}{2}", "n(n-1)/2"),
    (r"e^{2x}+\ln 8", r"(e^x)^2+3\ln 2"), (r"\sinh x", r"(e^x-e^{-x})/2"),
)  # fmt: skip
_SPENT = 75  # exit status of a judge that used up its time


def _seal() -> None:
    """From here on this process compiles no strings, starts no programs, opens no sockets and writes no files."""
    forbidden = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "socket.connect", "os.remove")

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if (
            event in forbidden
            or (event == "compile" and args[1] == "<string>")
            or (event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+"))
        ):
            raise PermissionError(f"The judge does not allow {event}.")

    sys.addaudithook(hook)


def _serve() -> None:
    """The judge's main loop: one JSON request a line, one JSON verdict a line."""
    judge = _load_judge()
    for answer, gold in _WARM_UP:
        judge("expression", [wired(parsed(text).expr) for text in (answer, gold)])
    deadline: list[float] = []

    def watch() -> None:
        while True:
            time.sleep(0.01)
            if deadline and time.process_time() > deadline[0]:
                os._exit(_SPENT)

    sys.stdin.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    threading.Thread(target=watch, daemon=True).start()
    sys.stderr = open(os.devnull, "w")  # nobody reads it from here on, and a full pipe would block
    _seal()
    print("ready", flush=True)
    for line in sys.stdin:
        kind, pair, limit = json.loads(line)
        start = time.process_time()
        deadline[:] = [start + limit]
        try:
            verdict = judge(kind, pair)
        except Exception:  # whatever sympy trips over: not shown equal
            verdict = False
        deadline.clear()
        print(json.dumps([verdict, time.process_time() - start]), flush=True)


def _load_judge() -> Callable[[str, list[Any]], bool]:
    import logging

    import sympy
    from math_verify import verify

    logging.disable(logging.CRITICAL)  # math-verify warns that its own (signal) time-out is off
    constants = {"pi": sympy.pi, "e": sympy.E, "i": sympy.I, "infty": sympy.oo}
    functions: dict[str, Any] = {
        name: getattr(sympy, name) for name in ("sin", "cos", "tan", "cot", "sec", "csc", "sinh", "cosh", "tanh", "exp")
    }
    functions |= {"arcsin": sympy.asin, "arccos": sympy.acos, "arctan": sympy.atan, "ln": sympy.log, "log": sympy.log}
    functions |= {"abs": sympy.Abs, "factorial": sympy.factorial, "binomial": sympy.binomial}
    flipped = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}

    def built(node: list[Any]) -> Any:
        op, *args = node
        if op == "num":
            return sympy.Rational(int(args[0], 16), int(args[1], 16))
        if op == "sym":
            return sympy.Symbol(args[0], real=True)
        if op == "const":
            return constants[args[0]]
        if op == "fn":
            return functions[args[0]](*map(built, args[1:]))
        return {"add": sympy.Add, "mul": sympy.Mul, "pow": sympy.Pow}[op](*map(built, args))

    def refuted(a: Any, b: Any) -> bool:
        """Whether values at two points already tell a from b: cheap, and spares `simplify` its worst cases."""
        symbols = sorted(a.free_symbols | b.free_symbols, key=str)
        for shift in (3, 11):
            point = {s: sympy.Rational(shift + 7 * i, 5 + 2 * i) for i, s in enumerate(symbols)}
            x, y = (e.subs(point).evalf(30) for e in (a, b))
            if not (x.is_number and y.is_number and x.is_finite and y.is_finite):
                return False
            if abs(x - y) > sympy.Float("1e-20") * max(abs(x), abs(y)):
                return True
        return False

    def same(a: Any, b: Any) -> bool:
        return not refuted(a, b) and bool(verify(b, a, timeout_seconds=None))

    def same_relation(a: list[Any], b: list[Any]) -> bool:
        """Two relations are one when their differences of sides are proportional, by a factor of the right sign."""
        (op, *sides), (other, *others) = a, b
        answer, gold = (built(s[0]) - built(s[1]) for s in (sides, others))
        symbols = sorted(answer.free_symbols | gold.free_symbols, key=str)
        point = {s: sympy.Rational(3 + 7 * i, 5 + 2 * i) for i, s in enumerate(symbols)}
        below = gold.subs(point)
        factor = answer.subs(point) / below if below != 0 else sympy.nan
        if not (factor.is_finite and factor.is_real and factor != 0):
            return False
        if (op if factor > 0 else flipped.get(op, op)) == other and same(answer, factor * gold):
            return True
        # other forms of an equation (xy = 1, y = 1/x) are math-verify's to solve
        equations = (sympy.Eq(d, 0, evaluate=False) for d in (gold, answer))
        return op == other == "=" and bool(verify(*equations, timeout_seconds=None))

    def judge(kind: str, pair: list[Any]) -> bool:
        return same_relation(*pair) if kind == "relation" else same(built(pair[0]), built(pair[1]))

    return judge
