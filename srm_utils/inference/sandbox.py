"""Runs programs that a model wrote: an interpreter for a small part of Python, in a process of its own.

Two walls. The boundary is the language: a program's syntax tree is checked against an allow-list and walked
here, value by value; nothing is handed to Python's `exec`. There are no attributes, no imports and no names
but the program's own and a dozen functions, and every number, sequence, call depth and step is bounded before
it is made. The second wall is the process: a worker that may open no file or socket, start no process and
use little memory, and that is killed and replaced when it does not answer in time.

The worker runs this file by itself (`python -I -S`), so only the standard library is imported here.
"""

from __future__ import annotations

import ast
import contextlib
import json
import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NoReturn

Kind = Literal["", "language", "error", "limit"]

#: Wall seconds that a worker may take to start, on however busy a machine.
START_SECONDS = 60.0
#: User and group that a worker becomes when it was started by root: "nobody".
NOBODY = 65534


@dataclass(frozen=True, slots=True)
class Limits:
    """What one program may use.

    `seconds` of wall time and `memory` (bytes of address space) hold for the process; `steps` (nodes of the
    syntax tree evaluated, big operands counted more), `output` and `source` (characters), `calls` (functions
    within functions), `nesting` (of the source), `bits` of a whole number and `size` of a list, text or
    dictionary for the interpreter, which gives the same answer on slow machines and fast ones.
    """

    seconds: float = 5.0
    memory: int = 256 * 2**20
    steps: int = 200_000
    output: int = 4_000
    source: int = 8_000
    calls: int = 100
    nesting: int = 100
    bits: int = 10_000
    size: int = 10_000


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a program printed, or why it was refused, in one sentence.

    `kind` says whose limit it met: "language" (it asks for something outside the language), "error" (the
    program itself is wrong), "limit" (too long, too large, too deep), or "" for a program that ran to its end.
    Of a refused program, `output` holds what it had printed until then; nothing if its process was killed.
    """

    output: str = ""
    kind: Kind = ""
    refusal: str = ""

    @property
    def ok(self) -> bool:
        """Whether the program ran to its end."""
        return not self.kind

    @property
    def answer(self) -> str | None:
        """The last line printed; None when the program was refused or printed nothing."""
        lines = self.output.split("\n")
        stated = [line.strip() for line in lines if line.strip()]
        return stated[-1] if self.ok and stated else None


# ---------------------------------------------------------------- the second wall: a process


class Sandbox:
    """A worker process that runs programs one after another; replaced when one of them kills it or takes too long.

    Use it as a context manager. It starts at the first program and takes a fraction of a millisecond for each,
    so one sandbox should run a whole batch. Nothing is carried from one program to the next.

    >>> with Sandbox() as sandbox:
    ...     [o.answer or o.kind for o in sandbox.run(["x = 24; x = x + 13; print ( x )", "import os", "9 ** 9 ** 9"])]
    ['37', 'language', 'limit']
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, programs: Sequence[str]) -> list[Outcome]:
        """The outcome of each program, in order. A program is refused, never raised."""
        if isinstance(programs, str):
            raise ValueError("programs is one text; put it in a list: [program].")
        return [self._run(program) for program in programs]

    def close(self) -> None:
        """Ends the worker. The next `run` starts another."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                # What a dead worker never read cannot be flushed to it.
                with contextlib.suppress(OSError):
                    if pipe:
                        pipe.close()

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
            [sys.executable, "-I", "-S", os.path.abspath(__file__), json.dumps(asdict(self.limits))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env={},
            start_new_session=True,  # an interrupt of the notebook is not the worker's
        )
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


def _serve(limits: Limits) -> None:
    """The worker's life: one program a line, one outcome a line."""
    confine(limits)
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(asdict(interpret(json.loads(line), limits))), flush=True)


# ---------------------------------------------------------------- the boundary: a language

_STATEMENTS = (
    ast.Module, ast.Expr, ast.Assign, ast.AugAssign, ast.AnnAssign, ast.If, ast.For, ast.While, ast.Break,
    ast.Continue, ast.Pass, ast.FunctionDef, ast.Return, ast.arguments, ast.arg, ast.keyword, ast.comprehension,
)  # fmt: skip
_EXPRESSIONS = (
    ast.Constant, ast.Name, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.IfExp, ast.Call, ast.List, ast.Tuple,
    ast.Dict, ast.Subscript, ast.Slice, ast.ListComp, ast.GeneratorExp, ast.DictComp, ast.Lambda, ast.JoinedStr,
    ast.FormattedValue,
)  # fmt: skip
_CALLED = {
    ast.Import: "`import`",
    ast.ImportFrom: "`import`",
    ast.Attribute: "an attribute, such as `a.b`,",
    ast.Try: "`try`",
    ast.With: "`with`",
    ast.ClassDef: "`class`",
    ast.Starred: "`*` before a value",
    ast.NamedExpr: "`:=`",
    ast.MatMult: "`@`",
    ast.Set: "a set",
    ast.SetComp: "a set",
}
_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
    ast.FloorDiv: lambda a, b: a // b,
    ast.Mod: lambda a, b: a % b,
    ast.Pow: lambda a, b: a**b,
    ast.LShift: lambda a, b: a << b,
    ast.RShift: lambda a, b: a >> b,
    ast.BitAnd: lambda a, b: a & b,
    ast.BitOr: lambda a, b: a | b,
    ast.BitXor: lambda a, b: a ^ b,
}
_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: lambda a, b: a == b,
    ast.NotEq: lambda a, b: a != b,
    ast.Lt: lambda a, b: a < b,
    ast.LtE: lambda a, b: a <= b,
    ast.Gt: lambda a, b: a > b,
    ast.GtE: lambda a, b: a >= b,
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
    ast.Is: lambda a, b: a is b,
    ast.IsNot: lambda a, b: a is not b,
}
#: Every node a program may be made of; all else is refused before anything is run.
LANGUAGE: tuple[type[ast.AST], ...] = (
    *_STATEMENTS, *_EXPRESSIONS, *_ARITHMETIC, *_COMPARISONS, ast.unaryop, ast.boolop, ast.expr_context,
)  # fmt: skip
#: How a number may be written in an f-string: few places, no padding.
_FORMAT = re.compile(r",?(\.\d{1,2})?[dfeg%]?")


class _Refused(Exception):
    """Ends a program: the kind of refusal and its sentence."""

    def __init__(self, kind: Kind, sentence: str) -> None:
        super().__init__(sentence)
        self.kind = kind


class _Return(Exception):
    def __init__(self, value: Any) -> None:
        self.value = value


class _Break(Exception):
    pass


class _Continue(Exception):
    pass


@dataclass(slots=True)
class _Scope:
    """Names of the program, a function or a comprehension; `own` are those that it assigns somewhere."""

    own: frozenset[str]
    parent: _Scope | None = None
    values: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class _Function:
    """A function of the program; its body is a block or, of a lambda, one expression."""

    name: str
    arguments: tuple[str, ...]
    defaults: tuple[Any, ...]
    body: list[ast.stmt] | ast.expr
    own: frozenset[str]
    scope: _Scope


@dataclass(frozen=True, slots=True, eq=False)
class _Builtin:
    name: str
    call: Callable[..., Any]


def interpret(program: str, limits: Limits | None = None) -> Outcome:
    """The outcome of a program in this process: the language without the second wall. Use `Sandbox` for models' texts.

    >>> interpret("print(sum(k * k for k in range(4)))").output
    '14\\n'
    """
    machine = _Machine(limits or Limits())
    before = sys.getrecursionlimit()
    try:
        tree = _parsed(program, machine.limits)
        # Two of our frames a node and a few a call; the program's own depth is bounded well below.
        sys.setrecursionlimit(4 * machine.limits.calls * machine.limits.nesting + 1000)
        machine.run(tree)
    except _Refused as refused:
        return Outcome("".join(machine.printed), refused.kind, str(refused))
    except MemoryError:
        return Outcome(kind="limit", refusal="The program needs more memory than it may have.")
    except RecursionError:
        return Outcome("".join(machine.printed), "limit", "The program's values are nested too deeply.")
    finally:
        sys.setrecursionlimit(before)
    return Outcome("".join(machine.printed))


def _parsed(program: str, limits: Limits) -> ast.Module:
    """The checked syntax tree of a program; raises _Refused for whatever the language does not have."""
    try:
        tree = ast.parse(program.strip())
    except SyntaxError as error:
        raise _Refused("error", f"Line {error.lineno or 1} cannot be read as a program: {error.msg}.") from None
    except (ValueError, RecursionError, MemoryError):
        raise _Refused("limit", "The program is nested too deeply, or has characters that no program has.") from None
    level: list[ast.AST] = [tree]
    for _ in range(limits.nesting + 1):
        for node in level:
            _check(node)
        level = [child for node in level for child in ast.iter_child_nodes(node)]
        if not level:
            return tree
    raise _Refused("limit", f"The program is nested more than {limits.nesting} levels deep.")


def _check(node: ast.AST) -> None:
    """Refuses a node that is not of the language."""
    if not isinstance(node, LANGUAGE):
        name = type(node).__name__
        _outside(node, _CALLED.get(type(node), f"`{name.removeprefix('Async').lower()}`"))
    if isinstance(node, ast.Constant) and not isinstance(node.value, int | float | str | None):
        _outside(node, f"the constant {type(node.value).__name__}")
    if isinstance(node, ast.FunctionDef) and node.decorator_list:
        _outside(node, "a decorator")
    if isinstance(node, ast.arguments) and (node.vararg or node.kwarg or node.kwonlyargs or node.posonlyargs):
        _outside(node.vararg or node.kwarg or [*node.kwonlyargs, *node.posonlyargs][0], "a `*`, `**` or `/` argument")
    if isinstance(node, ast.keyword) and node.arg is None:
        _outside(node, "`**` before a value")
    if isinstance(node, ast.FormattedValue):
        spec = "" if node.format_spec is None else ast.unparse(node.format_spec).removeprefix("f")[1:-1]
        if node.conversion != -1 or not _FORMAT.fullmatch(spec):
            _outside(node, "this format in an f-string")


def _outside(node: ast.AST, what: str) -> NoReturn:
    hint = "; write xs = xs + [x] for xs.append(x)" if isinstance(node, ast.Attribute) and node.attr == "append" else ""
    raise _Refused(
        "language",
        f"Line {getattr(node, 'lineno', 1)}: {what} is not in the language, which has arithmetic, lists, "
        f"dictionaries, loops and functions{hint}.",
    )


def _assigned(body: Sequence[ast.AST]) -> frozenset[str]:
    """Names that a block assigns, those of functions and comprehensions inside it left out."""
    names: set[str] = set()
    todo = list(body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif not isinstance(node, ast.ListComp | ast.GeneratorExp | ast.DictComp | ast.Lambda):
            todo += ast.iter_child_nodes(node)
    return frozenset(names)


class _Machine:
    """Walks one program's tree. Values are plain numbers, texts, lists, tuples, dictionaries and ranges."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.steps = self.depth = self.length = 0
        self.line = 1
        self.printed: list[str] = []
        functions: dict[str, Callable[..., Any]] = {
            "print": self._print, "range": self._range, "len": self._len, "sum": self._sum, "min": self._min,
            "max": self._max, "abs": self._abs, "round": self._round, "int": self._int, "float": self._float,
            "str": self._str, "bool": self._bool, "sorted": self._sorted, "reversed": self._reversed,
            "enumerate": self._enumerate, "zip": self._zip, "any": self._any, "all": self._all, "list": self._list,
            "tuple": self._tuple, "dict": self._dict, "divmod": self._divmod, "pow": self._pow,
        }  # fmt: skip
        builtins = {name: _Builtin(name, function) for name, function in functions.items()}
        self.builtins = _Scope(frozenset(builtins), None, builtins)

    def run(self, tree: ast.Module) -> None:
        """Runs a checked program; raises _Refused."""
        try:
            self.block(tree.body, _Scope(_assigned(tree.body), self.builtins))
        except _Return:
            self.fail("`return` stands outside a function")
        except (_Break, _Continue):
            self.fail("`break` or `continue` stands outside a loop")
        except ZeroDivisionError:
            self.fail("something is divided by zero")
        except KeyError as error:
            self.fail(f"there is no key {self._show(error.args[0] if error.args else '')[:40]}")
        except (TypeError, ValueError, IndexError, OverflowError, ArithmeticError) as error:
            self.fail(str(error).split("\n")[0][:200] or type(error).__name__)

    def fail(self, what: str, kind: Kind = "error") -> NoReturn:
        raise _Refused(kind, f"Line {self.line}: {what.rstrip('.')}.")

    def charge(self, steps: int = 1) -> None:
        self.steps += steps
        if self.steps > self.limits.steps:
            self.fail(f"the program takes more than {self.limits.steps:,} steps; does a loop never end?", "limit")

    def bounded(self, value: Any) -> Any:
        """A value that was just made, if it is of a kind and size that the language has."""
        if isinstance(value, bool) or value is None:
            return value
        if isinstance(value, int):
            if value.bit_length() > self.limits.bits:
                self.too_long()
        elif isinstance(value, list | tuple | str | dict):
            self.room(len(value))
        elif isinstance(value, complex):
            self.fail("the result is not a real number")
        return value

    def too_long(self) -> NoReturn:
        self.fail(f"a whole number grows longer than {self.limits.bits:,} bits", "limit")

    def room(self, size: int) -> None:
        """Refuses a text, list or dictionary of so many items before it is made."""
        if size > self.limits.size:
            self.fail(f"a list or text grows longer than {self.limits.size:,} items", "limit")
        self.charge(size >> 4)

    # ---- statements

    def block(self, body: Sequence[ast.stmt], scope: _Scope) -> None:
        for node in body:
            self.line = node.lineno
            self.charge()
            if isinstance(node, ast.Expr):
                self.value(node.value, scope)
            elif isinstance(node, ast.Assign):
                value = self.value(node.value, scope)
                for target in node.targets:
                    self.assign(target, value, scope)
            elif isinstance(node, ast.AugAssign):
                self.change(node, scope)
            elif isinstance(node, ast.AnnAssign):
                if node.value is not None:
                    self.assign(node.target, self.value(node.value, scope), scope)
            elif isinstance(node, ast.If):
                self.block(node.body if self.value(node.test, scope) else node.orelse, scope)
            elif isinstance(node, ast.While):
                self.loop(node, self.endless(node.test, scope), scope)
            elif isinstance(node, ast.For):
                self.loop(node, self.items(self.value(node.iter, scope)), scope)
            elif isinstance(node, ast.FunctionDef):
                scope.values[node.name] = self.function(node.name, node.args, node.body, scope)
            elif isinstance(node, ast.Return):
                raise _Return(None if node.value is None else self.value(node.value, scope))
            elif isinstance(node, ast.Break):
                raise _Break
            elif isinstance(node, ast.Continue):
                raise _Continue

    def endless(self, test: ast.expr, scope: _Scope) -> Iterator[None]:
        while self.value(test, scope):
            yield None

    def loop(self, node: ast.For | ast.While, turns: Iterator[Any], scope: _Scope) -> None:
        for value in turns:
            self.charge()
            if isinstance(node, ast.For):
                self.assign(node.target, value, scope)
            try:
                self.block(node.body, scope)
            except _Continue:
                continue
            except _Break:
                return
        self.block(node.orelse, scope)

    def assign(self, target: ast.expr, value: Any, scope: _Scope) -> None:
        if isinstance(target, ast.Name):
            scope.values[target.id] = value
        elif isinstance(target, ast.Tuple | ast.List):
            values = list(self.items(value))
            if len(values) != len(target.elts):
                self.fail(f"{len(values)} values cannot be unpacked into {len(target.elts)} names")
            for part, one in zip(target.elts, values, strict=True):
                self.assign(part, one, scope)
        elif isinstance(target, ast.Subscript) and not isinstance(target.slice, ast.Slice):
            held = self.value(target.value, scope)
            if not isinstance(held, list | dict):
                self.fail("only the items of lists and dictionaries can be assigned")
            held[self.value(target.slice, scope)] = value
            self.room(len(held))
        else:
            self.fail("this cannot be assigned to", "language")

    def change(self, node: ast.AugAssign, scope: _Scope) -> None:
        """`a += b`: a list grows in place, everything else is assigned anew."""
        if isinstance(node.target, ast.Name):
            held = self.name(node.target.id, scope)
        else:
            held = self.value(ast.Subscript(node.target.value, node.target.slice), scope)  # type: ignore[union-attr]
        value = self.value(node.value, scope)
        if isinstance(held, list) and isinstance(node.op, ast.Add):
            more = list(self.items(value))
            self.room(len(held) + len(more))
            held += more
        else:
            held = self.combine(type(node.op), held, value)
        self.assign(node.target, held, scope)

    def function(self, name: str, args: ast.arguments, body: list[ast.stmt] | ast.expr, scope: _Scope) -> _Function:
        defaults = tuple([self.value(d, scope) for d in args.defaults])
        arguments = tuple([a.arg for a in args.args])
        own = frozenset(arguments) | (_assigned(body) if isinstance(body, list) else frozenset())
        return _Function(name, arguments, defaults, body, own, scope)

    # ---- expressions

    def value(self, node: ast.expr, scope: _Scope) -> Any:
        self.charge()
        return _VALUES[type(node)](self, node, scope)

    def constant(self, node: ast.Constant, scope: _Scope) -> Any:
        return self.bounded(node.value)

    def variable(self, node: ast.Name, scope: _Scope) -> Any:
        return self.name(node.id, scope)

    def name(self, name: str, scope: _Scope | None) -> Any:
        while scope is not None:
            if name in scope.own:
                if name in scope.values:
                    return scope.values[name]
                if scope.parent is self.builtins and name in self.builtins.values:
                    return self.builtins.values[name]
                self.fail(f"{name!r} is used before it has a value")
            scope = scope.parent
        self.fail(f"there is no {name!r}; a program knows its own names and {', '.join(self.builtins.values)}")

    def binary(self, node: ast.BinOp, scope: _Scope) -> Any:
        left = self.value(node.left, scope)
        return self.combine(type(node.op), left, self.value(node.right, scope))

    def combine(self, op: type[ast.operator], a: Any, b: Any) -> Any:
        """`a op b`, its size known before it is computed."""
        if isinstance(a, int) and isinstance(b, int):
            bits_a, bits_b = a.bit_length(), b.bit_length()
            self.charge(bits_a * bits_b >> 14)
            # A power takes at least |a| ** b; |a| of 0 and 1 stay what they are.
            grown = {ast.Mult: bits_a + bits_b, ast.LShift: bits_a + max(b, 0), ast.Pow: (bits_a - 1) * max(b, 0)}
            if grown.get(op, 0) > self.limits.bits:
                self.too_long()
        elif isinstance(a, str | list | tuple) or isinstance(b, str | list | tuple):
            if op is ast.Add and type(a) is type(b):
                self.room(len(a) + len(b))
            elif op is ast.Mult and isinstance(a, int) != isinstance(b, int):
                many, items = (a, b) if isinstance(a, int) else (b, a)
                self.room(len(items) * max(many, 0))
            else:
                self.fail("texts and lists can be joined with their like and repeated, nothing else")
        elif not (isinstance(a, int | float) and isinstance(b, int | float)):
            self.fail(f"{self._kind(a)} and {self._kind(b)} cannot be combined")
        return self.bounded(_ARITHMETIC[op](a, b))

    def unary(self, node: ast.UnaryOp, scope: _Scope) -> Any:
        value = self.value(node.operand, scope)
        if isinstance(node.op, ast.Not):
            return not value
        if isinstance(node.op, ast.Invert):
            return ~value
        return -value if isinstance(node.op, ast.USub) else +value

    def boolean(self, node: ast.BoolOp, scope: _Scope) -> Any:
        value = None
        for part in node.values:
            value = self.value(part, scope)
            if bool(value) != isinstance(node.op, ast.And):
                return value
        return value

    def compare(self, node: ast.Compare, scope: _Scope) -> bool:
        left = self.value(node.left, scope)
        for op, part in zip(node.ops, node.comparators, strict=True):
            right = self.value(part, scope)
            self.charge(len(right) >> 4 if isinstance(right, str | list | tuple | range) else 0)
            if not _COMPARISONS[type(op)](left, right):
                return False
            left = right
        return True

    def choice(self, node: ast.IfExp, scope: _Scope) -> Any:
        return self.value(node.body if self.value(node.test, scope) else node.orelse, scope)

    def list_(self, node: ast.List, scope: _Scope) -> list[Any]:
        return self.bounded([self.value(part, scope) for part in node.elts])

    def tuple_(self, node: ast.Tuple, scope: _Scope) -> tuple[Any, ...]:
        return self.bounded(tuple([self.value(part, scope) for part in node.elts]))

    def dict_(self, node: ast.Dict, scope: _Scope) -> dict[Any, Any]:
        out: dict[Any, Any] = {}
        for key, part in zip(node.keys, node.values, strict=True):
            if key is None:
                self.fail("`**` before a value is not in the language", "language")
            known = self.value(key, scope)
            out[known] = self.value(part, scope)
        return out

    def item(self, node: ast.Subscript, scope: _Scope) -> Any:
        held = self.value(node.value, scope)
        if not isinstance(held, str | list | tuple | dict | range):
            self.fail(f"{self._kind(held)} has no items")
        if isinstance(node.slice, ast.Slice):
            parts = (node.slice.lower, node.slice.upper, node.slice.step)
            return self.bounded(held[slice(*[None if p is None else self.value(p, scope) for p in parts])])
        return held[self.value(node.slice, scope)]

    def comprehension(self, node: ast.ListComp | ast.GeneratorExp | ast.DictComp, scope: _Scope) -> Any:
        out: list[Any] = []
        targets = [generator.target for generator in node.generators]
        self.generate(node, 0, _Scope(_assigned(targets), scope), out)
        return dict(out) if isinstance(node, ast.DictComp) else out

    def generate(self, node: Any, at: int, scope: _Scope, out: list[Any]) -> None:
        """Fills `out` from the generators of a comprehension, from the `at`-th on."""
        if at == len(node.generators):
            if isinstance(node, ast.DictComp):
                key = self.value(node.key, scope)
                out.append((key, self.value(node.value, scope)))
            else:
                out.append(self.value(node.elt, scope))
            if len(out) > self.limits.size:
                self.room(len(out))
            return
        generator = node.generators[at]
        # The first source is evaluated outside, as Python does: [x for x in x] reads the outer x.
        source = self.value(generator.iter, scope if at else scope.parent)
        for one in self.items(source):
            self.charge()
            self.assign(generator.target, one, scope)
            kept = True
            for test in generator.ifs:
                kept = kept and bool(self.value(test, scope))
            if kept:
                self.generate(node, at + 1, scope, out)

    def lambda_(self, node: ast.Lambda, scope: _Scope) -> _Function:
        return self.function("lambda", node.args, node.body, scope)

    def joined(self, node: ast.JoinedStr, scope: _Scope) -> str:
        parts = [self.value(part, scope) for part in node.values]
        self.room(sum(map(len, parts)))
        return "".join(parts)

    def formatted(self, node: ast.FormattedValue, scope: _Scope) -> str:
        value = self.value(node.value, scope)
        if node.format_spec is None:
            return self._show(value)
        spec = "".join([part.value for part in node.format_spec.values])  # type: ignore[attr-defined]
        if not isinstance(value, int | float):
            self.fail("only a number can be written in a format")
        return self.bounded(format(value, spec))

    # ---- calls

    def called(self, node: ast.Call, scope: _Scope) -> Any:
        function = self.value(node.func, scope)
        arguments = [self.value(a, scope) for a in node.args]
        named = {k.arg: self.value(k.value, scope) for k in node.keywords}
        line = self.line
        result = self.call(function, arguments, named)
        self.line = line
        return result

    def call(self, function: Any, arguments: Sequence[Any], named: dict[Any, Any] | None = None) -> Any:
        named = named or {}
        if isinstance(function, _Builtin):
            try:
                return self.bounded(function.call(*arguments, **named))
            except TypeError as error:
                if "argument" not in str(error):
                    raise
                self.fail(f"{function.name}() cannot be called with these arguments")
        if not isinstance(function, _Function):
            self.fail(f"{self._kind(function)} cannot be called as a function")
        self.charge()
        scope = _Scope(function.own, function.scope)
        free = len(function.arguments) - len(function.defaults)
        scope.values.update(zip(function.arguments[free:], function.defaults, strict=True))
        given = dict(zip(function.arguments, arguments, strict=False))
        if len(arguments) > len(function.arguments) or any(k in given or k not in function.arguments for k in named):
            self.fail(f"{function.name}() is called with arguments that it does not have")
        scope.values.update(given | named)
        if any(a not in scope.values for a in function.arguments):
            self.fail(f"{function.name}() is called with too few arguments")
        self.depth += 1
        if self.depth > self.limits.calls:
            self.fail(f"functions call one another more than {self.limits.calls} deep", "limit")
        try:
            if isinstance(function.body, list):
                self.block(function.body, scope)
                return None
            return self.value(function.body, scope)
        except _Return as returned:
            return returned.value
        finally:
            self.depth -= 1

    # ---- the functions that every program has

    def items(self, value: Any) -> Iterator[Any]:
        """The items of a value, one at a time, each a step."""
        if not isinstance(value, str | list | tuple | dict | range):
            self.fail(f"{self._kind(value)} has no items to go through")
        if isinstance(value, dict):
            value = list(value)
        for one in value:
            self.charge()
            yield one

    def _kind(self, value: Any) -> str:
        if isinstance(value, _Function | _Builtin):
            return "a function"
        names = {bool: "a truth value", int: "a number", float: "a number", str: "a text", range: "a range"}
        names |= {list: "a list", tuple: "a tuple", dict: "a dictionary"}
        return names.get(type(value), "nothing (None)")

    def _show(self, value: Any, inside: bool = False, left: int = 20) -> str:
        """A value as text, as Python writes it, as long as it stays within the size of a text."""
        self.charge()
        if isinstance(value, str):
            return repr(value) if inside else value
        if isinstance(value, _Function | _Builtin):
            return f"<function {value.name}>"
        if not isinstance(value, list | tuple | dict):
            return repr(value)
        if left == 0:
            self.fail("a list is nested too deeply to be written", "limit")
        parts: list[str] = []
        total = 0
        for one in list(value):
            part = self._show(one, True, left - 1)
            if isinstance(value, dict):
                part = f"{part}: {self._show(value[one], True, left - 1)}"
            parts.append(part)
            total += len(part) + 2
            if total > self.limits.size:
                self.room(total)
        body = ", ".join(parts)
        if isinstance(value, list):
            return f"[{body}]"
        return f"{{{body}}}" if isinstance(value, dict) else f"({body}{',' if len(value) == 1 else ''})"

    def _print(self, *values: Any, sep: str = " ", end: str = "\n") -> None:
        if not (isinstance(sep, str) and isinstance(end, str)):
            self.fail("print() takes texts for sep and end")
        for i, value in enumerate(values):
            self._write((sep if i else "") + self._show(value))
        self._write(end)

    def _write(self, text: str) -> None:
        self.length += len(text)
        if self.length > self.limits.output:
            self.fail(f"the program prints more than {self.limits.output:,} characters", "limit")
        self.printed.append(text)

    def _str(self, value: Any = "") -> str:
        return self._show(value)

    def _bool(self, value: Any = False) -> bool:
        return bool(value)

    def _range(self, *ends: Any) -> range:
        out = range(*ends)
        first, last, step = (0, ends[0], 1) if len(ends) == 1 else (*ends, 1)[:3]
        if abs(last - first) // abs(step) > self.limits.steps:
            self.fail(f"a range is longer than {self.limits.steps:,} steps", "limit")
        return out

    def _len(self, value: Any) -> int:
        return len(value)

    def _sum(self, values: Any, start: Any = 0) -> Any:
        total = start
        for one in self.items(values):
            total = self.combine(ast.Add, total, one)
        return total

    def _min(self, *values: Any, key: Any = None, default: Any = None) -> Any:
        return self._extreme(False, values, key, default)

    def _max(self, *values: Any, key: Any = None, default: Any = None) -> Any:
        return self._extreme(True, values, key, default)

    def _extreme(self, most: bool, values: tuple[Any, ...], key: Any, default: Any) -> Any:
        candidates = list(self.items(values[0] if len(values) == 1 else list(values)))
        if not candidates:
            return default if default is not None else self.fail("nothing has no smallest and no largest item")
        weights = [one if key is None else self.call(key, [one]) for one in candidates]
        best = 0
        for i in range(1, len(weights)):
            if weights[i] > weights[best] if most else weights[i] < weights[best]:
                best = i
        return candidates[best]

    def _abs(self, value: Any) -> Any:
        return abs(value)

    def _round(self, value: Any, ndigits: int | None = None) -> Any:
        # round(5, -10**9) would build ten to the billionth.
        if ndigits is not None and abs(ndigits) > 1000:
            self.fail("a number is rounded to at most 1,000 places", "limit")
        return round(value) if ndigits is None else round(value, ndigits)

    def _int(self, value: Any = 0) -> int:
        return int(value)

    def _float(self, value: Any = 0) -> float:
        return float(value)

    def _sorted(self, values: Any, key: Any = None, reverse: Any = False) -> list[Any]:
        items = self._list(values)
        weights = [one if key is None else self.call(key, [one]) for one in items]
        order = sorted(range(len(items)), key=weights.__getitem__, reverse=bool(reverse))
        return [items[i] for i in order]

    def _reversed(self, values: Any) -> list[Any]:
        return self._list(values)[::-1]

    def _enumerate(self, values: Any, start: int = 0) -> list[tuple[int, Any]]:
        return [(start + i, one) for i, one in enumerate(self._list(values))]

    def _zip(self, *values: Any) -> list[tuple[Any, ...]]:
        return list(zip(*[self._list(v) for v in values], strict=False))

    def _any(self, values: Any) -> bool:
        return any(self._list(values))

    def _all(self, values: Any) -> bool:
        return all(self._list(values))

    def _list(self, values: Any = ()) -> list[Any]:
        if isinstance(values, range | str | list | tuple | dict):
            self.room(len(values))
        return list(self.items(values))

    def _tuple(self, values: Any = ()) -> tuple[Any, ...]:
        return tuple(self._list(values))

    def _dict(self, values: Any = (), **named: Any) -> dict[Any, Any]:
        pairs = [(k, values[k]) for k in values] if isinstance(values, dict) else self._list(values)
        return dict(pairs) | named

    def _divmod(self, a: Any, b: Any) -> tuple[Any, Any]:
        return self.combine(ast.FloorDiv, a, b), self.combine(ast.Mod, a, b)

    def _pow(self, base: Any, exponent: Any, modulus: Any = None) -> Any:
        if modulus is None:
            return self.combine(ast.Pow, base, exponent)
        if not all(isinstance(n, int) for n in (base, exponent, modulus)):
            self.fail("pow() with a modulus takes three whole numbers")
        self.charge(exponent.bit_length() * (modulus.bit_length() ** 2 + (1 << 10)) >> 10)
        return pow(base, exponent, modulus)


_VALUES: dict[type[ast.expr], Callable[[_Machine, Any, _Scope], Any]] = {
    ast.Constant: _Machine.constant,
    ast.Name: _Machine.variable,
    ast.BinOp: _Machine.binary,
    ast.UnaryOp: _Machine.unary,
    ast.BoolOp: _Machine.boolean,
    ast.Compare: _Machine.compare,
    ast.IfExp: _Machine.choice,
    ast.Call: _Machine.called,
    ast.List: _Machine.list_,
    ast.Tuple: _Machine.tuple_,
    ast.Dict: _Machine.dict_,
    ast.Subscript: _Machine.item,
    ast.ListComp: _Machine.comprehension,
    ast.GeneratorExp: _Machine.comprehension,
    ast.DictComp: _Machine.comprehension,
    ast.Lambda: _Machine.lambda_,
    ast.JoinedStr: _Machine.joined,
    ast.FormattedValue: _Machine.formatted,
}


if __name__ == "__main__":
    _serve(Limits(**json.loads(sys.argv[1])))
