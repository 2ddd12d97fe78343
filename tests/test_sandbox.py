"""The sandbox attacked, each wall by itself; and programs that must work, with Python itself as the oracle."""

from __future__ import annotations

import concurrent.futures
import contextlib
import gc
import io
import json
import os
import subprocess
import sys
import time

import made_programs
import pytest
import sandbox_attacks
from hypothesis import given, settings
from hypothesis import strategies as st

from srm_utils.inference.sandbox import Limits, Outcome, Sandbox, client, interpret

#: Short, so that a program that only the clock can stop does not hold the tests up.
LIMITS = Limits(seconds=5.0, steps=300_000)
#: Seconds an attack may take from end to end on a busy machine: its own limit, and a new worker.
WITHIN = 20.0


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(LIMITS) as made:
        made.run(["1"])  # started
        yield made


# ---------------------------------------------------------------- attacks on the language

ATTACKS = {
    # imports
    "import": ("import os", "language"),
    "import from": ("from os import system\nsystem('true')", "language"),
    "import in a function": ("def f():\n    import subprocess\nprint(1)", "language"),
    "import after output": ("print(1)\nimport socket", "language"),
    "dunder import": ("__import__('os').system('true')", "error"),
    "dunder import, no attribute": ("x = __import__('os')", "error"),
    "builtins by name": ("print(__builtins__)", "error"),
    "loader by name": ("print(__loader__)", "error"),
    # attribute chains
    "class of a number": ("(1).__class__", "language"),
    "subclasses": ("[].__class__.__base__.__subclasses__()", "language"),
    "globals of a function": ("def f():\n    return 1\nprint(f.__globals__)", "language"),
    "code of a lambda": ("(lambda: 1).__code__", "language"),
    "frame of a generator": ("(x for x in [1]).gi_frame", "language"),
    "attribute as a target": ("x = 1\nx.y = 2", "language"),
    "attribute deleted": ("x = 1\ndel x.y", "language"),
    "method that is not served": ("print('a'.encode())", "language"),
    # names that reach further
    "eval": ("eval('1 + 1')", "error"),
    "exec": ("exec('import os')", "error"),
    "compile": ("compile('1', '', 'eval')", "error"),
    "getattr": ("getattr(1, 'real')", "error"),
    "globals": ("globals()", "error"),
    "vars": ("vars()", "error"),
    "type": ("type('X', (), {})", "error"),
    "object": ("object()", "error"),
    "input": ("input()", "error"),
    "breakpoint": ("breakpoint()", "error"),
    "exit": ("exit(3)", "error"),
    "names of the interpreter": ("print(self, machine, limits, _Refused)", "error"),
    # format strings
    "format method": ("'{0.__class__}'.format(1)", "language"),
    "attribute in an f-string": ("print(f'{(1).__class__}')", "language"),
    "wide f-string": ("print(f'{1:>1000000000}')", "limit"),
    "precise f-string": ("print(f'{1:.1000000000f}')", "limit"),
    "nested f-string format": ("w = 10 ** 9\nprint(f'{1:{w}}')", "limit"),
    "percent format": ("print('%1000000000d' % 1)", "limit"),
    # statements outside the language
    "class with a base": ("class A(int):\n    pass", "language"),
    "try": ("while True:\n    try:\n        x = 1\n    except:\n        pass", "limit"),
    "with": ("with open('/etc/passwd') as f:\n    print(f)", "language"),
    "raise": ("raise SystemExit", "error"),
    "decorator": ("@(lambda g: g.__globals__)\ndef f():\n    return 1", "language"),
    "async": ("async def f():\n    await f()", "language"),
    "yield": ("def f():\n    while True:\n        yield 1\nlist(f())", "limit"),
    "yield as a value": ("def f():\n    x = yield 1\nlist(f())", "language"),
    "global": ("def f():\n    global __builtins__\n    return __builtins__\nf()", "error"),
    "walrus": ("while (x := 1):\n    pass", "limit"),
    "star call": ("print(*range(10 ** 9))", "limit"),
    "star target": ("a, *b = range(10 ** 9)", "limit"),
    "match": ("match 1:\n    case int():\n        pass", "language"),
    "matrix product": ("[1] @ [2]", "language"),
    "bytes": ("b'a' * 10", "language"),
    "complex": ("print(1j)", "language"),
    "ellipsis": ("...", "language"),
    # files, network, processes, signals
    "open a file": ("open('/etc/passwd')", "error"),
    "write a file": ("open('owned.txt', 'w')", "error"),
    "socket": ("socket('127.0.0.1', 80)", "error"),
    "fork": ("fork()", "error"),
    "fork bomb": ("def f():\n    fork()\n    f()\nf()", "error"),
    "signal": ("kill(1, 9)", "error"),
    "signal by os": ("import signal, os\nos.kill(os.getppid(), signal.SIGKILL)", "language"),
    # time
    "endless while": ("while True:\n    pass", "limit"),
    "endless with continue": ("while 1:\n    continue", "limit"),
    "long loop": ("x = 0\nfor i in range(100000):\n    for j in range(100000):\n        x = x + 1", "limit"),
    "list that grows under its loop": ("xs = [1]\nfor x in xs:\n    xs += [x]", "limit"),
    "long comprehension": ("[i for i in range(10000) for j in range(10000)]", "limit"),
    "long sum": ("sum(i * j for i in range(9999) for j in range(9999))", "limit"),
    "float in a long range": ("0.5 in range(10 ** 12)", "limit"),
    "hash of a tuple that doubles": ("t = (1,)\nfor i in range(60):\n    t = (t, t)\nd = {t: 1}", "limit"),
    "equality of lists that double": (
        "a = [1]\nb = [1]\nfor i in range(60):\n    a = [a, a]\n    b = [b, b]\nprint(a == b)",
        "limit",
    ),
    # depth
    "endless recursion": ("def f(n):\n    return f(n + 1)\nprint(f(0))", "limit"),
    "endless lambda": ("f = lambda n: f(n + 1)\nf(0)", "limit"),
    "recursion through sorted": ("def f(n):\n    return sorted([1, 2], key=f)\nf(1)", "limit"),
    "deep brackets": ("(" * 3000 + "1" + ")" * 3000, "error"),
    "deep minus": ("-" * 7000 + "1", "limit"),
    "deep lists": ("[" * 199 + "]" * 199, "limit"),
    "deep sum": ("+".join(["1"] * 3000), "limit"),
    "list in itself, printed": ("a = [1]\na[0] = a\nprint(a)", "limit"),
    "lists in themselves, compared": ("a = [1]\na[0] = a\nb = [1]\nb[0] = b\nprint(a == b)", "limit"),
    # size
    "power tower": ("9 ** 9 ** 9", "limit"),
    "power of a negative": ("(-9) ** 9 ** 9", "limit"),
    "pow": ("pow(9, 10 ** 9)", "limit"),
    "long modular power": ("pow(3, 10 ** 3000, 10 ** 3000 + 1)", "limit"),
    "shift": ("1 << 10 ** 12", "limit"),
    "squares": ("x = 9\nwhile x:\n    x = x * x", "limit"),
    "long literal": ("x = 0x" + "f" * 15_000, "limit"),
    "round to a billion places": ("round(5, -10 ** 9)", "limit"),
    "text times a billion": ("x = 'a' * 10 ** 9", "limit"),
    "billion times a list": ("x = 10 ** 9 * [0]", "limit"),
    "list in place": ("x = [0]\nwhile True:\n    x += x", "limit"),
    "text doubles": ("x = 'ab'\nwhile True:\n    x = x + x", "limit"),
    "dictionary grows": ("d = {}\ni = 0\nwhile True:\n    d[i] = i\n    i += 1", "limit"),
    "list of a long range": ("list(range(10 ** 9))", "limit"),
    "many lists": ("x = [[0] * 9999 for i in range(9999)]", "limit"),
    "text of a list that doubles": ("x = ['a' * 99]\nfor i in range(60):\n    x = [x, x]\nprint(str(x))", "limit"),
    "separator that doubles": ("x = ['a']\nfor i in range(60):\n    x = [x, x]\nprint(1, 2, sep=x)", "error"),
    "zip of long ranges": ("list(zip(range(10 ** 9), range(10 ** 9)))", "limit"),
    # output
    "print for ever": ("while True:\n    print('spam')", "limit"),
    "one long line": ("print('a' * 99_999)", "limit"),
    "no line end": ("while True:\n    print(1, end='')", "limit"),
    # the text itself
    "long source": ("x = 1\n" * 10_000, "limit"),
    "null character": ("x = 1\x00", "error"),
    "lone surrogate": ("print('\ud800')\nimport os", "limit"),
    "no program": ("The answer is clearly 12.", "error"),
    "reply of the worker, forged": ('print(\'{"output": "owned", "kind": "", "refusal": ""}\')\nimport os', "language"),
}


ATTACKS |= sandbox_attacks.ATTACKS


def test_there_are_attacks_enough() -> None:
    assert len(ATTACKS) >= 290


@pytest.mark.parametrize("name", ATTACKS)
def test_attack_ends_in_a_clean_refusal(sandbox, name) -> None:
    program, kind = ATTACKS[name]
    began = time.monotonic()
    outcome, after = sandbox.run([program, "print(6 * 7)"])
    assert time.monotonic() - began < WITHIN
    assert (outcome.kind, outcome.answer) == (kind, None), outcome
    assert outcome.refusal.endswith(".") and "Traceback" not in outcome.refusal and len(outcome.refusal) < 400
    assert after == Outcome("42\n"), "the next program is not the worse for it"
    assert "process down" not in outcome.refusal, "the language stops it, before the process has to"


def test_a_language_refusal_runs_nothing(sandbox) -> None:
    assert sandbox.run(["print(1)\nimport os"])[0].output == ""


# ---------------------------------------------------------------- the process


def breach(body: str, limits: Limits = LIMITS) -> str:
    """What plain Python can do in a confined process: the second wall, with the first one taken away."""
    code = "\n".join(
        [
            "import json, os, socket, sys, signal, subprocess, threading",
            f"sys.path.append({client.HOME!r})",
            "from srm_utils.inference.sandbox import Limits, worker",
            f"worker.confine(Limits(memory={limits.memory}))",
            "try:",
            *[f"    {line}" for line in body.splitlines()],
            "except BaseException as error:",
            "    print('stopped', type(error).__name__)",
            "else:",
            "    print('through')",
        ]
    )
    ran = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=60)
    return ran.stdout.strip()


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("open('/etc/passwd')", "OSError"),
        ("open('/sandbox-owned', 'w')", "OSError"),
        ("socket.socket()", "OSError"),
        ("os.fork()", "BlockingIOError"),
        ("subprocess.run(['true'])", "OSError"),
        ("threading.Thread(target=print).start()", "RuntimeError"),
        ("x = bytearray(10**9)", "MemoryError"),
        ("x = [0] * 10**9", "MemoryError"),
    ],
)
def test_the_process_itself_can_do_nothing(body, error) -> None:
    assert breach(body) == f"stopped {error}"


def test_the_breach_test_can_fail() -> None:
    assert breach("x = bytearray(10**6)") == "through"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's worker changes its user")
def test_a_worker_started_by_root_is_nobody() -> None:
    assert breach("assert os.geteuid() == os.getuid() == 65534\nos.kill(1, 0)") == "stopped PermissionError"


def test_a_worker_that_died_between_programs_is_replaced_and_blames_none() -> None:
    with Sandbox(LIMITS) as made:
        made.run(["1"])
        made._process.kill()
        made._process.wait()
        assert [o.answer for o in made.run(["print(1)", "print(2)"])] == ["1", "2"]


def test_a_program_that_takes_its_worker_down_is_refused_and_the_next_one_runs(monkeypatch) -> None:
    with Sandbox(LIMITS) as made:
        made.run(["1"])
        real = client.select.poll

        def dies_first():
            made._process.kill()
            made._process.wait()
            monkeypatch.setattr(client.select, "poll", real)
            return real()

        monkeypatch.setattr(client.select, "poll", dies_first)
        # The worker may still have answered before it died; a long program has not.
        gone, next_ = made.run(["while True:\n    pass", "print(2)"])
        assert gone.kind == "limit" and "process down" in gone.refusal
        assert next_.answer == "2"


def test_a_reply_that_is_no_outcome_or_too_long_is_a_refusal(monkeypatch) -> None:
    for code in ("print('{}x', flush=True)", "print('a' * 10**6, flush=True)", "print('[1]', flush=True)"):
        worker = f"import sys\nprint('ready', flush=True)\nfor line in sys.stdin: {code}"
        real = subprocess.Popen
        monkeypatch.setattr(
            client.subprocess, "Popen", lambda args, w=worker, r=real, **k: r([sys.executable, "-c", w], **k)
        )
        with Sandbox(LIMITS) as made:
            assert made.run(["print(1)"])[0].kind == "limit"
        monkeypatch.undo()


def test_closing_ends_the_process_and_run_starts_another() -> None:
    made = Sandbox(LIMITS)
    assert made.run(["print(1)"])[0].answer == "1"
    first = made._process
    made.close()
    made.close()
    assert first.poll() is not None
    assert made.run(["print(2)"])[0].answer == "2"
    assert made._process.pid != first.pid
    made.close()


def test_an_interrupt_does_not_shift_the_replies(sandbox, monkeypatch) -> None:
    sandbox.run(["1"])
    real = client.os.read

    def interrupted(*args):
        monkeypatch.setattr(client.os, "read", real)
        raise KeyboardInterrupt

    monkeypatch.setattr(client.os, "read", interrupted)
    with pytest.raises(KeyboardInterrupt):
        sandbox.run(["print('interrupted')"])
    assert sandbox.run(["print('mine')"])[0].answer == "mine"


def test_nothing_is_carried_from_one_program_to_the_next(sandbox) -> None:
    first, second = sandbox.run(["x = 5\nsum = 3\nprint(x)", "print(sum([1, 2]), x)"])
    assert first.answer == "5"
    assert second.kind == "error" and "'x'" in second.refusal


def test_one_worker_runs_many_programs_quickly(sandbox) -> None:
    sandbox.run(["1"])
    process = sandbox._process
    began = time.process_time()
    outcomes = sandbox.run([f"x = {i}; x = x + 1; print ( x )" for i in range(300)])
    assert [o.answer for o in outcomes] == [str(i + 1) for i in range(300)]
    assert sandbox._process is process
    assert time.process_time() - began < 300 * 0.003


def test_it_runs_in_a_daemon_process_as_on_a_dask_worker() -> None:
    code = (
        "import multiprocessing, sys\n"
        "from srm_utils.inference.sandbox import Sandbox\n"
        "def work(q):\n"
        "    with Sandbox() as s: q.put(s.run(['print(6 * 7)'])[0].answer)\n"
        "if __name__ == '__main__':\n"
        "    c = multiprocessing.get_context('fork'); q = c.Queue()\n"
        "    p = c.Process(target=work, args=(q,), daemon=True); p.start(); print(q.get(timeout=60)); p.join()\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert ran.stdout.strip() == "42", ran.stderr


def test_threads_that_share_a_sandbox_get_their_own_replies() -> None:
    with Sandbox(LIMITS) as shared, concurrent.futures.ThreadPoolExecutor(8) as threads:
        outcomes = list(threads.map(lambda i: shared.run([f"print({i})"])[0], range(200)))
    assert [o.answer for o in outcomes] == [str(i) for i in range(200)]


def alive(pid: int) -> bool:
    """Whether a process still runs; one that ended and was not yet asked after does not."""
    try:
        with open(f"/proc/{pid}/stat") as status:
            return status.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="processes are looked up in /proc")
@pytest.mark.parametrize("busy", [False, True])
def test_a_worker_whose_parent_dies_ends(busy) -> None:
    """The parent's other child holds the pipe open, so that its end alone tells the worker nothing."""
    limits = "Limits(seconds=2.0, steps=10**12)"
    code = (
        "import os, subprocess, sys, threading, time\n"
        "from srm_utils.inference.sandbox import Limits, Sandbox\n"
        f"s = Sandbox({limits}); s.run(['1'])\n"
        "if os.fork() == 0: os.close(1); time.sleep(30); os._exit(0)\n"
        "busy = threading.Thread(target=s.run, args=(['while True: pass'],), daemon=True)\n"
        f"if {busy}: busy.start(); time.sleep(0.3)\n"
        "print(s._process.pid, flush=True); os.kill(os.getpid(), 9)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, timeout=60)
    worker = int(ran.stdout)
    until = time.monotonic() + WITHIN
    while alive(worker) and time.monotonic() < until:
        time.sleep(0.05)
    assert not alive(worker)


def test_a_dropped_sandbox_ends_its_worker() -> None:
    made = Sandbox(LIMITS)
    made.run(["1"])
    process = made._process
    del made
    gc.collect()
    assert process.poll() is not None


def test_a_fork_has_a_worker_of_its_own(sandbox) -> None:
    sandbox.run(["1"])
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            os.write(writes, str(sandbox.run(["print('child')"])[0].answer).encode())
            sandbox.close()
        os._exit(0)
    assert [o.answer for o in sandbox.run(["print('parent')"] * 20)] == ["parent"] * 20
    os.waitpid(child, 0)
    assert os.read(reads, 100) == b"child"
    os.close(reads)
    os.close(writes)


def test_names_and_texts_of_other_scripts_work(sandbox) -> None:
    programs = [
        "苹果 = 3\nprint(苹果 * 2)",
        "Zoë = 4\nprint('Zoë', Zoë)",
        "π = 3.14\nprint(f'{π:.1f}')",
        "ﬁx = 1\nprint(fix)",
    ]
    assert [o.answer for o in sandbox.run(programs)] == ["6", "Zoë 4", "3.1", "1"]


def test_a_set_of_texts_prints_in_one_order_whatever_the_worker() -> None:
    program = "print({str(n) * 3 for n in range(50)})"
    with Sandbox(LIMITS) as one, Sandbox(LIMITS) as other:
        assert one.run([program]) == other.run([program])


def test_five_million_steps_and_a_thousand_calls_fit() -> None:
    with Sandbox(Limits(seconds=60.0)) as made:
        loop, calls, deeper = made.run(
            [
                "t = 0\nfor i in range(600_000):\n    t = t + i % 7\nprint(t)",
                "def f(n):\n    return 0 if n == 0 else 1 + f(n - 1)\nprint(f(990))",
                "def f(n):\n    return 0 if n == 0 else 1 + f(n - 1)\nprint(f(1010))",
            ]
        )
    assert (loop.answer, calls.answer) == (str(sum(i % 7 for i in range(600_000))), "990")
    assert deeper.kind == "limit" and "1,000 deep" in deeper.refusal


def test_one_text_for_a_list_of_programs_is_a_clear_error(sandbox) -> None:
    with pytest.raises(ValueError, match="put it in a list"):
        sandbox.run("print(1)")


def test_limits_reach_the_worker() -> None:
    with Sandbox(Limits(steps=100, output=10)) as made:
        few, long = made.run(["for i in range(99):\n    x = i", "print('a' * 11)"])
    assert "100 steps" in few.refusal and "10 characters" in long.refusal


# ---------------------------------------------------------------- programs that must work

BENIGN = {
    "chain style": "x = 24; x = x + 13; x = x * 2; print ( x )",
    "graph style": "Leo = 5; Ada = 7; Mary = Leo + 4; Zoe = Mary + Ada; print ( Zoe )",
    "large numbers": "print ( 79748123 + 405364 * 9 - 1000000 )",
    "PAL": '''
def solution():
    """Olivia has 23 coins. She buys five bagels for 3 coins each. How many coins are left?"""
    money_initial = 23
    bagels: int = 5
    bagel_cost = 3
    money_spent = bagels * bagel_cost  # spent
    money_left = money_initial - money_spent
    result = money_left
    return result

print(solution())''',
    "loop with else": (
        "for n in range(2, 30):\n    for d in range(2, n):\n        if n % d == 0:\n            break\n    else:\n"
        "        print(n, end=' ')"
    ),
    "while": "n, k = 27, 0\nwhile n != 1:\n    n = n // 2 if n % 2 == 0 else 3 * n + 1\n    k += 1\nprint(k)",
    "continue": "t = 0\nfor i in range(10):\n    if i % 3:\n        continue\n    t += i\nprint(t)",
    "recursion": "def fib(n):\n    return n if n < 2 else fib(n - 1) + fib(n - 2)\nprint(fib(12))",
    "depth within the limit": "def f(n):\n    if n == 0:\n        return 0\n    return 1 + f(n - 1)\nprint(f(90))",
    "closure": (
        "def add(k):\n    def inner(x, by=1):\n        return x + k * by\n    return inner\n"
        "print(add(3)(4), add(3)(4, by=2))"
    ),
    "shadowing": "def f():\n    sum = 3\n    return sum\nprint(f(), sum([1, 2]))",
    "builtin, then a name": "n = len([1, 2, 3])\nlen = n\nprint(len)",
    "lists": (
        "xs = [3, 1, 2]\nxs[0] = 9\nxs += [7]\nys = xs\nys += (8,)\n"
        "print(xs, xs[-1], xs[1:3], xs[::-1], 7 in xs, xs == ys)"
    ),
    "dictionaries": (
        "d = {'a': 1}\nd['b'] = 2\nd['a'] += 5\nfor k in d:\n    print(k, d[k])\nprint(d, len(d), sum(d[k] for k in d))"
    ),
    "tuples": "a, (b, c) = 1, (2, 3)\na, b = b, a\nprint(a, b, c, (1,), ())",
    "comprehensions": (
        "print([x * y for x in range(4) if x for y in range(x)], {k: k * k for k in range(3)}, "
        "[[i + j for i in range(2)] for j in range(2)], max(x % 5 for x in range(9)))"
    ),
    "comprehension scope": "x = 5\ny = [x for x in range(3)]\nprint(x, y)",
    "functions": (
        "print(min(3, 1), max([1, 5]), abs(-3), round(2.567, 1), round(2.5), int(3.9), float(2), int('12'), "
        "divmod(17, 5), pow(2, 10), pow(3, 4, 5), len('abc'), sum([1, 2], 10), sorted([2, 1], reverse=True), "
        "str(5) + 'x', bool(0))"
    ),
    "keys": "print(sorted([3, -2, 1], key=abs), max([1, -9], key=lambda v: v * v), min(['b', 'a']))",
    "pairs": "for i, x in enumerate([5, 6], 1):\n    print(i, x)\nfor a, b in zip([1, 2], 'xy'):\n    print(a, b)",
    "any and all": (
        "print(any(x > 2 for x in [1, 3]), all([1, 0]), list(range(3)), tuple([1]), dict([(1, 2)]), "
        "list(reversed([1, 2])))"
    ),
    "floats": "print(1 / 3, 2 ** 0.5, 1e3, 7 / 2, 7 // 2, -7 % 3, 2 ** -1, 10.0)",
    "bits": "print(5 & 3, 5 | 3, 5 ^ 3, ~5, 1 << 10, 1024 >> 3, True + True)",
    "logic": "print(1 and 2, 0 or 3, not 1, 1 < 2 < 3, 1 < 2 > 5, None is None, 3 if 0 else 4, 'a' in 'cat')",
    "texts": "name = 'Ada'\nprint(f'{name} has {3 + 4} and {2.5:.2f} or {1234567:,}', 'ab' * 2, name[0], sep=' | ')",
    "big but not too big": "x = 1\nfor i in range(1, 101):\n    x = x * i\nprint(x)",
    "docstring and pass": "'a note'\ndef f():\n    pass\nprint(f())",
    "print nothing": "print()\nprint('', 1)",
}


def by_python(programs: list[str]) -> list[tuple[str, bool]]:
    """What Python prints for each program, in a process of its own, and whether it came to its end."""
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        input=json.dumps(programs),
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONHASHSEED": "0"},
    )
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


RUN = """
import contextlib, io, json, sys
for program in json.load(sys.stdin):
    printed, ok = io.StringIO(), True
    try:
        with contextlib.redirect_stdout(printed):
            exec(compile(program, "program", "exec"), {"__name__": "__main__"})
    except Exception:
        ok = False
    print(json.dumps([printed.getvalue(), ok]))
"""


def python(program: str) -> str:
    """What Python prints: the oracle. Only for the programs of this file."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(program, "benign", "exec"), {})
    return printed.getvalue()


@pytest.mark.parametrize("name", BENIGN)
def test_benign_programs_print_what_python_prints(sandbox, name) -> None:
    outcome = sandbox.run([BENIGN[name]])[0]
    assert outcome == Outcome(python(BENIGN[name]))


def test_made_programs_print_what_python_prints(sandbox) -> None:
    """Programs of every statement and most functions; where one fails, both fail at the same place."""
    programs = [made_programs.Maker(seed).program() for seed in range(120)]
    wanted = by_python(programs)
    outcomes = sandbox.run(programs)
    assert sum(ok for _, ok in wanted) > 60
    for program, (output, ok), outcome in zip(programs, wanted, outcomes, strict=True):
        assert outcome.kind in ("", "error") and (outcome.output, outcome.ok) == (output, ok), f"{outcome}\n{program}"


_NUMBERS = st.integers(-60, 60).map(str) | st.sampled_from(["x", "y", "2.5", "x"])
_EXPRESSIONS = st.recursive(
    _NUMBERS,
    lambda e: (
        st.tuples(e, st.sampled_from(["+", "-", "*", "//", "%", "/", "**", "<", "==", "and", "or"]), e).map(
            lambda t: f"({t[0]}) {t[1]} ({t[2]})"
        )
        | st.tuples(st.sampled_from(["abs", "int", "-", "not "]), e).map(lambda t: f"{t[0]}({t[1]})")
        | st.tuples(e, e, e).map(lambda t: f"[{t[0]}, {t[1]}, {t[2]}][({t[1]}) > ({t[2]})]")
        | st.tuples(e, e).map(lambda t: f"sum([k * ({t[0]}) for k in range(3) if k != ({t[1]})])")
    ),
    max_leaves=5,
)


@settings(max_examples=150, deadline=None)
@given(_EXPRESSIONS, _EXPRESSIONS, st.integers(0, 6))
def test_random_programs_agree_with_python(first, second, turns) -> None:
    program = (
        f"x, y = 3, 7\ny = {first}\nfor i in range({turns}):\n    x = {second}\n"
        "    if x == y:\n        break\n    y = y + i\nprint(x, y)"
    )
    outcome = interpret(program)
    if outcome.kind == "limit":
        return  # Python would grow a number that ours refuses
    try:
        wanted = python(program)
    except (ZeroDivisionError, OverflowError, TypeError, ValueError):
        assert outcome.kind == "error"
    else:
        # Python has complex numbers, ours has none.
        assert outcome == Outcome(wanted) or "real number" in outcome.refusal


@settings(max_examples=150, deadline=None)
@given(
    st.text(st.characters(exclude_categories=()), max_size=60)
    | st.text("print(x=1)[]{}:,;+-*/'\"\n fordef", max_size=40)
)
def test_no_text_raises(text) -> None:
    outcome = interpret(text)
    assert outcome.ok or outcome.refusal.endswith(".")
    json.dumps([outcome.output, outcome.refusal])


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("x = 1\ny = x / 0", "Line 2: something is divided by zero."),
        ("print(total)", "Line 1: there is no 'total'"),
        ("def f():\n    y = y + 1\nf()", "Line 2: 'y' is used before it has a value."),
        ("x = [1]\nx.frob(2)", "Line 2: 'list' object has no attribute 'frob'."),
        ("x = 'a'\nx.encode()", "Line 2: The attribute .encode of a value of type str is not in the language."),
        ("x = 3\nx(2)", "Line 2: a number cannot be called as a function."),
        ("d = {'a': 1}\nprint(d['b'])", "Line 2: there is no key b."),
        ("xs = [1]\nprint(xs[4])", "Line 2: list index out of range."),
        ("x = 'a' + 1", "Line 1: texts and lists can be joined"),
        ("return 3", "Line 1: `return` stands outside a function."),
        ("x = (1", "Line 1 cannot be read as a program"),
        ("a, b = 1, 2, 3", "3 values cannot be unpacked into 2 names"),
        ("def f(a):\n    return a\nf()", "f() is called with too few arguments"),
        ("def f(a):\n    return a\nf(1, 2)", "f() is called with arguments that it does not have"),
        ("round()", "round() cannot be called with these arguments"),
        ("print((-8) ** 0.5)", "not a real number"),
    ],
)
def test_refusals_say_what_is_wrong_and_where(program, said) -> None:
    outcome = interpret(program)
    assert outcome.kind in ("error", "language") and said in outcome.refusal


def test_output_until_the_refusal_is_kept_and_is_no_answer() -> None:
    outcome = interpret("print(12)\nprint(1 / 0)")
    assert outcome.output == "12\n" and outcome.answer is None


def test_answer_is_the_last_line_printed() -> None:
    assert interpret("print(1)\nprint(2)\nprint()").answer == "2"
    assert interpret("x = 1").answer is None
