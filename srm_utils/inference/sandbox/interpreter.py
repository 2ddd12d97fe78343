"""The interpreter: a program's syntax tree becomes functions of ours, one a node, and these are called.

Nothing is handed to Python's `exec`. A name is looked up in dictionaries of the program's own; an attribute in
the lists of `methods` and `modules`; and whatever could be large or long goes through the `machine`.

Each block of statements charges the nodes of its own statements when it begins, each turn of a loop or of a
comprehension again; so a step is about one node evaluated.
"""

from __future__ import annotations

import ast
import decimal
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

from srm_utils.inference.sandbox import formats
from srm_utils.inference.sandbox.functions import Functions
from srm_utils.inference.sandbox.language import parsed
from srm_utils.inference.sandbox.machine import ARITHMETIC, COMPARISONS, NATIVE, NUMERIC, WIDE, Machine
from srm_utils.inference.sandbox.modules import module
from srm_utils.inference.sandbox.names import Scope, cost, names_of, yields
from srm_utils.inference.sandbox.outcome import Limits, Outcome, Refused
from srm_utils.inference.sandbox.values import (
    REQUIRED,
    Class,
    Code,
    Frame,
    Function,
    Instance,
    Module,
    Stream,
    Type,
    kind_of,
)  # fmt: skip

#: What a block hands back when it was left early; a `return` hands back its value in a tuple.
BREAK, CONTINUE = object(), object()
#: A block of a generator: it yields the program's values and returns what a block hands back.
Steps = Generator[Any, None, Any]


def interpret(program: str, limits: Limits | None = None) -> Outcome:
    """The outcome of a program in this process: the language without the second wall. Use `Sandbox` for models' texts.

    >>> interpret("print(sum(k * k for k in range(4)))").output
    '14\\n'
    """
    machine = Machine(limits or Limits())
    before = sys.getrecursionlimit()
    try:
        with decimal.localcontext(decimal.Context(prec=28)):
            tree = parsed(program, machine.limits)
            # About one of Python's frames a level of the source and a few a call; calls and levels are bounded.
            sys.setrecursionlimit(machine.limits.calls * (machine.limits.nesting + 20) + 10_000)
            _run(machine, tree)
    except Refused as refused:
        return Outcome("".join(machine.printed), refused.kind, _sentence(refused.line or machine.line, str(refused)))
    except MemoryError:
        return Outcome(kind="limit", refusal="The program needs more memory than it may have.")
    except RecursionError:
        return Outcome("".join(machine.printed), "limit", "The program's values are nested too deeply.")
    except Exception as error:
        return Outcome("".join(machine.printed), "error", _sentence(machine.line, _said(machine, error)))
    finally:
        sys.setrecursionlimit(before)
    return Outcome("".join(machine.printed))


def _run(machine: Machine, tree: ast.Module) -> None:
    Compiler(machine, tree).program()


def _sentence(line: int | None, what: str) -> str:
    what = what.split("\n")[0][:200].rstrip(". ")
    return f"Line {line}: {what}." if line else f"{what[:1].upper()}{what[1:]}."


def _said(machine: Machine, error: Exception) -> str:
    """An error that a program did not catch, in words."""
    if isinstance(error, KeyError):
        key = machine.show(error.args[0])[:40] if error.args else ""
        return f"there is no key {key}"
    if isinstance(error, ZeroDivisionError):
        return "something is divided by zero"
    said = str(error) if all(isinstance(a, str) for a in error.args) else ""
    return said or f"{type(error).__name__} is raised"


# ---------------------------------------------------------------- the tree made into functions


class Compiler:
    """Makes one program's functions. `names` are the program's own, of its module."""

    def __init__(self, machine: Machine, tree: ast.Module) -> None:
        self.m = machine
        self.functions = Functions(machine)
        self.builtins = self.functions.names
        self.tree = tree
        self.names: Frame = {None: None, "__name__": "__main__"}
        self.handled: list[Exception] = []

    def program(self) -> None:
        """Runs the program."""
        own, _ = names_of(self.tree.body)
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Global):
                own |= set(node.names)
            if isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
                own |= set(self.imported(node.module or "").members)
        self.global_names = own | {"__name__"}
        left = self.block(self.tree.body, Scope("module", own))(self.names)
        if left is BREAK or left is CONTINUE:
            raise SyntaxError("`break` or `continue` stands outside a loop")

    def imported(self, name: str) -> Module:
        return module(self.m, self.functions, name)

    # ---- blocks and statements

    def block(self, body: Sequence[ast.stmt], scope: Scope) -> Code:
        """A block: runs its statements until one hands something back."""
        m = self.m
        made = [(self.statement(node, scope), node.lineno) for node in body]
        steps = [(step, line) for step, line in made if step is not None]
        charge = max(1, sum(self.header(node) for node in body))
        if len(steps) == 1:
            only, line = steps[0]

            def run_one(f: Frame) -> Any:
                m.left -= charge
                if m.left < 0:
                    m.over()
                try:
                    return only(f)
                except (Exception, Refused):
                    if m.line is None:
                        m.line = line
                    raise

            return run_one

        codes = [step for step, _ in steps]
        lines = dict(steps)

        def run(f: Frame) -> Any:
            m.left -= charge
            if m.left < 0:
                m.over()
            code = None
            try:
                for code in codes:  # the one that fails is looked up below
                    out = code(f)
                    if out is not None:
                        return out
            except (Exception, Refused):
                if m.line is None and code is not None:
                    m.line = lines[code]
                raise
            return None

        return run

    def header(self, node: ast.stmt) -> int:
        """What a statement costs without the blocks within it."""
        if isinstance(node, ast.If | ast.While):
            return 1 + cost(node.test)
        if isinstance(node, ast.For):
            return 1 + cost(node.iter)
        if isinstance(node, ast.Try | ast.FunctionDef | ast.ClassDef):
            return 2
        return cost(node)

    def statement(self, node: ast.stmt, scope: Scope) -> Code | None:
        made: Code | None = getattr(self, f"do_{type(node).__name__}")(node, scope)
        return made

    def do_Pass(self, node: ast.Pass, scope: Scope) -> None:
        return None

    do_Global = do_Nonlocal = do_Pass

    def do_Expr(self, node: ast.Expr, scope: Scope) -> Code | None:
        if isinstance(node.value, ast.Constant):
            return None
        value = self.value(node.value, scope)

        def run(f: Frame) -> None:
            value(f)

        return run

    def do_Assign(self, node: ast.Assign, scope: Scope) -> Code:
        value = self.value(node.value, scope)
        target = node.targets[0]
        if len(node.targets) == 1 and isinstance(target, ast.Name) and self.is_local(target.id, scope):
            name = target.id

            def run_name(f: Frame) -> None:
                f[name] = value(f)

            return run_name
        if len(node.targets) == 1:
            store = self.target(target, scope)

            def run_one(f: Frame) -> None:
                store(f, value(f))

            return run_one
        stores = [self.target(one, scope) for one in node.targets]

        def run(f: Frame) -> None:
            out = value(f)
            for store in stores:
                store(f, out)

        return run

    def do_AnnAssign(self, node: ast.AnnAssign, scope: Scope) -> Code | None:
        if node.value is None:
            return None
        value, store = self.value(node.value, scope), self.target(node.target, scope)

        def run(f: Frame) -> None:
            store(f, value(f))

        return run

    def do_AugAssign(self, node: ast.AugAssign, scope: Scope) -> Code:
        """`a += b`: lists, sets and dictionaries change in place, everything else is assigned anew."""
        m, op = self.m, type(node.op)
        value = self.value(node.value, scope)
        if isinstance(node.target, ast.Name):
            load = self.name(node.target.id, scope)
            store = self.target(node.target, scope)
            quick = ARITHMETIC[op] if op in (ast.Add, ast.Sub) else None

            def run_name(f: Frame) -> None:
                held = load(f)
                more = value(f)
                if quick is not None and type(held) in NUMERIC and type(more) in NUMERIC:
                    out = quick(held, more)
                    store(f, out if -WIDE < out < WIDE else m.number(out))
                else:
                    store(f, m.extend(op, held, more))

            return run_name
        owner = self.value(node.target.value, scope)
        if isinstance(node.target, ast.Attribute):
            attribute = node.target.attr

            def run_attribute(f: Frame) -> None:
                held = owner(f)
                before = m.attribute(held, attribute)
                m.set_attribute(held, attribute, m.extend(op, before, value(f)))

            return run_attribute
        key = self.value(node.target.slice, scope)

        def run_item(f: Frame) -> None:
            held, at = owner(f), key(f)
            before = m.item(held, at)
            m.set_item(held, at, m.extend(op, before, value(f)))

        return run_item

    def do_If(self, node: ast.If, scope: Scope) -> Code:
        test, body = self.value(node.test, scope), self.block(node.body, scope)
        if not node.orelse:
            return lambda f: body(f) if test(f) else None
        other = self.block(node.orelse, scope)
        return lambda f: body(f) if test(f) else other(f)

    def do_While(self, node: ast.While, scope: Scope) -> Code:
        m = self.m
        test, body, charge = self.value(node.test, scope), self.block(node.body, scope), cost(node.test)
        other = self.block(node.orelse, scope) if node.orelse else None

        def run(f: Frame) -> Any:
            while test(f):
                m.left -= charge
                out = body(f)
                if out is not None:
                    if out is BREAK:
                        return None
                    if out is not CONTINUE:
                        return out
            return None if other is None else other(f)

        return run

    def do_For(self, node: ast.For, scope: Scope) -> Code:
        m = self.m
        source, store, body = (
            self.value(node.iter, scope),
            self.target(node.target, scope),
            self.block(node.body, scope),
        )
        other = self.block(node.orelse, scope) if node.orelse else None
        simple = isinstance(node.target, ast.Name) and self.is_local(node.target.id, scope)
        name = node.target.id if isinstance(node.target, ast.Name) else ""

        def run(f: Frame) -> Any:
            for value in m.iterate(source(f)):
                if simple:
                    f[name] = value
                else:
                    store(f, value)
                out = body(f)
                if out is not None:
                    if out is BREAK:
                        return None
                    if out is not CONTINUE:
                        return out
            return None if other is None else other(f)

        return run

    def do_Break(self, node: ast.Break, scope: Scope) -> Code:
        return lambda f: BREAK

    def do_Continue(self, node: ast.Continue, scope: Scope) -> Code:
        return lambda f: CONTINUE

    def do_Return(self, node: ast.Return, scope: Scope) -> Code:
        if scope.kind != "function":
            raise Refused("error", "`return` stands outside a function", node.lineno)
        if node.value is None:
            return lambda f: (None,)
        value = self.value(node.value, scope)
        return lambda f: (value(f),)

    def do_Delete(self, node: ast.Delete, scope: Scope) -> Code:
        m = self.m
        steps: list[Code] = []
        for target in node.targets:
            if isinstance(target, ast.Name):
                frame, name = self.frame(target.id, scope), target.id
                load = self.name(name, scope)
                steps.append(lambda f, frame=frame, name=name, load=load: (load(f), frame(f).pop(name)))  # type: ignore[misc]
            elif isinstance(target, ast.Subscript):
                held, key = self.value(target.value, scope), self.value(target.slice, scope)
                steps.append(lambda f, held=held, key=key: m.delete_item(held(f), key(f)))  # type: ignore[misc]

        def run(f: Frame) -> None:
            for step in steps:
                step(f)

        return run

    def do_Assert(self, node: ast.Assert, scope: Scope) -> Code:
        test = self.value(node.test, scope)
        message = None if node.msg is None else self.value(node.msg, scope)

        def run(f: Frame) -> None:
            if not test(f):
                raise AssertionError(*([] if message is None else [message(f)]))

        return run

    def do_Raise(self, node: ast.Raise, scope: Scope) -> Code:
        m = self.m
        if node.exc is None:

            def again(f: Frame) -> None:
                if not self.handled:
                    raise RuntimeError("No active exception to reraise")
                raise self.handled[-1]

            return again
        value = self.value(node.exc, scope)

        def run(f: Frame) -> None:
            error = value(f)
            if type(error) is Type and error.python and issubclass(error.python[0], Exception):
                error = m.call(error, [])
            if not isinstance(error, Exception):
                raise TypeError("exceptions must derive from BaseException")
            m.line = None
            raise error from None

        return run

    def caught(self, error: Exception, kinds: Any) -> bool:
        for kind in kinds if type(kinds) is tuple else (kinds,):
            if type(kind) is not Type or not all(issubclass(python, Exception) for python in kind.python):
                raise TypeError("catching classes that do not inherit from BaseException is not allowed")
            if isinstance(error, kind.python):
                return True
        return False

    def do_Try(self, node: ast.Try, scope: Scope) -> Code:
        m = self.m
        body = self.block(node.body, scope)
        handlers = [
            (
                None if handler.type is None else self.value(handler.type, scope),
                self.block(handler.body, scope),
                handler.name,
                self.frame(handler.name or "", scope),
            )
            for handler in node.handlers
        ]
        other = self.block(node.orelse, scope) if node.orelse else None
        last = self.block(node.finalbody, scope) if node.finalbody else None

        def guarded(f: Frame) -> Any:
            try:
                out = body(f)
            except (MemoryError, RecursionError):
                raise
            except Exception as error:
                line, m.line = m.line, None
                for kinds, block, name, frame in handlers:
                    if kinds is None or self.caught(error, kinds(f)):
                        return self.handle(f, error, block, name, frame)
                m.line = line
                raise
            return other(f) if other is not None and out is None else out

        if last is None:
            return guarded

        def run(f: Frame) -> Any:
            try:
                out = guarded(f)
            except (MemoryError, RecursionError):
                raise
            except Exception:
                line, m.line = m.line, None
                left = last(f)
                if left is not None:
                    return left
                m.line = line
                raise
            left = last(f)
            return out if left is None else left

        return run

    def handle(self, f: Frame, error: Exception, block: Code, name: str | None, frame: Any) -> Any:
        """Runs a handler; its error's name is gone after it."""
        if name is not None:
            frame(f)[name] = error
        self.handled.append(error)
        try:
            return block(f)
        finally:
            self.handled.pop()
            if name is not None:
                frame(f).pop(name, None)

    def do_Import(self, node: ast.Import, scope: Scope) -> Code:
        names = [(alias.name, alias.asname) for alias in node.names]

        def run(f: Frame) -> None:
            for name, asname in names:
                made = self.imported(name)
                if asname is None and "." in name:
                    # `import a.b` binds a, which has b.
                    first, *rest = name.split(".")
                    for part in reversed(rest):
                        made = Module(first, {part: made})
                    made.members = {**self.imported(first).members, **made.members}
                    name = first
                self.frame(asname or name, scope)(f)[asname or name] = made

        return run

    def do_ImportFrom(self, node: ast.ImportFrom, scope: Scope) -> Code | None:
        source = node.module or ""
        if source == "__future__":
            return None
        names = [(alias.name, alias.asname or alias.name) for alias in node.names]

        def run(f: Frame) -> None:
            made = self.imported(source)
            if names[0][0] == "*":
                self.names.update(made.members)
                return
            for name, asname in names:
                value = made.members.get(name)
                if value is None:
                    value = self.imported(f"{source}.{name}")
                self.frame(asname, scope)(f)[asname] = value

        return run

    def do_FunctionDef(self, node: ast.FunctionDef, scope: Scope) -> Code:
        make = self.function(node.name, node.args, node.body, scope)
        return self.decorated(node, make, scope)

    def decorated(self, node: ast.FunctionDef | ast.ClassDef, make: Code, scope: Scope) -> Code:
        m, name, frame = self.m, node.name, self.frame(node.name, scope)
        decorators = [self.value(one, scope) for one in node.decorator_list]

        def run(f: Frame) -> None:
            around = [one(f) for one in decorators]
            made = make(f)
            for one in reversed(around):
                made = m.call(one, [made])
            frame(f)[name] = made

        return run

    def do_ClassDef(self, node: ast.ClassDef, scope: Scope) -> Code:
        own, outer = names_of(node.body)
        inner = Scope("class", own, outer, scope)
        body = self.block(node.body, inner)
        bases = [self.value(base, scope) for base in node.bases]
        fields = tuple(
            [n.target.id for n in node.body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)]
        )
        plain = all(isinstance(one, ast.Pass | ast.Expr) for one in node.body)

        def make(f: Frame) -> Any:
            for base in bases:
                kind = base(f)
                if type(kind) is Type and kind.python and issubclass(kind.python[0], Exception) and plain:
                    error = type(node.name, kind.python[:1], {})
                    return Type(node.name, self.functions.error(error), (error,))
                if type(kind) is not Type or kind.name != "object":
                    self.m.outside("A class that stands on another one")
            frame: Frame = {None: f}
            body(frame)
            members = {name: value for name, value in frame.items() if name is not None}
            return Class(node.name, members | {"__annotations__": fields})

        return self.decorated(node, make, scope)

    # ---- targets

    def is_local(self, name: str, scope: Scope) -> bool:
        """Whether a name lives in the frame that runs: the module's own, too."""
        return scope.where(name) == 0 or scope.kind == "module"

    def frame(self, name: str, scope: Scope) -> Callable[[Frame], Frame]:
        """Finds the frame in which a name lives."""
        if self.is_local(name, scope):
            return lambda f: f
        up, names = scope.where(name), self.names
        if up is None:
            return lambda f: names

        def climb(f: Frame) -> Frame:
            for _ in range(up):
                f = f[None]
            return f

        return climb

    def target(self, node: ast.expr, scope: Scope) -> Callable[[Frame, Any], None]:
        """What assigns a value to a name, an item, an attribute or several of them."""
        m = self.m
        if isinstance(node, ast.Name):
            name = node.id
            if self.is_local(name, scope):
                return lambda f, value: f.__setitem__(name, value)
            frame = self.frame(name, scope)
            return lambda f, value: frame(f).__setitem__(name, value)
        if isinstance(node, ast.Subscript):
            held, key = self.value(node.value, scope), self.value(node.slice, scope)

            def store_item(f: Frame, value: Any) -> None:
                owner, at = held(f), key(f)
                if type(owner) is list and type(at) is int:
                    owner[at] = value
                else:
                    m.set_item(owner, at, value)

            return store_item
        if isinstance(node, ast.Attribute):
            owner, attribute = self.value(node.value, scope), node.attr
            return lambda f, value: m.set_attribute(owner(f), attribute, value)
        if isinstance(node, ast.Tuple | ast.List):
            return self.unpacked(node, scope)
        raise Refused("language", "This cannot be assigned to", getattr(node, "lineno", None))

    def unpacked(self, node: ast.Tuple | ast.List, scope: Scope) -> Callable[[Frame, Any], None]:
        m, many = self.m, len(node.elts)
        starred = [i for i, one in enumerate(node.elts) if isinstance(one, ast.Starred)]
        stores = [self.target(one.value if isinstance(one, ast.Starred) else one, scope) for one in node.elts]
        if len(starred) > 1:
            raise Refused("error", "Two starred names cannot stand in one assignment", node.lineno)

        def store(f: Frame, value: Any) -> None:
            values = value if type(value) in (tuple, list) else m.listed(value)
            if len(values) != many:
                raise ValueError(f"{len(values)} values cannot be unpacked into {many} names")
            for one, part in zip(stores, values, strict=True):
                one(f, part)

        def store_starred(f: Frame, value: Any) -> None:
            values = m.listed(value)
            at, after = starred[0], many - starred[0] - 1
            if len(values) < many - 1:
                raise ValueError(f"{len(values)} values cannot be unpacked into {many} names")
            end = len(values) - after
            parts = [*values[:at], values[at:end], *values[end:]]
            for one, part in zip(stores, parts, strict=True):
                one(f, part)

        return store_starred if starred else store

    # ---- functions

    def function(self, name: str, args: ast.arguments, body: list[ast.stmt] | ast.expr, scope: Scope) -> Code:
        """What makes a function when its definition is run: its defaults are values of that moment."""
        names = tuple([a.arg for a in (*args.posonlyargs, *args.args)])
        keywords = [a.arg for a in args.kwonlyargs]
        rest = args.vararg.arg if args.vararg else None
        others = args.kwarg.arg if args.kwarg else None
        own, outer = names_of(body if isinstance(body, list) else [body])
        parameters = {*names, *keywords} | ({rest} if rest else set()) | ({others} if others else set())
        inner = Scope("function", own | parameters, outer, scope)
        if not isinstance(body, list):
            form, code = "expression", self.charged(body, inner)
        elif yields(body):
            form, code = "generator", self.generator(body, inner)
        else:
            form, code = "block", self.block(body, inner)
        defaults = [self.value(one, scope) for one in args.defaults]
        preset = [None if one is None else self.value(one, scope) for one in args.kw_defaults]
        in_class = scope.kind == "class"

        def make(f: Frame) -> Function:
            return Function(
                name,
                names,
                tuple([one(f) for one in defaults]),
                {k: REQUIRED if one is None else one(f) for k, one in zip(keywords, preset, strict=True)},
                rest,
                others,
                len(names),
                code,
                form,
                f[None] if in_class else f,
            )

        return make

    def charged(self, node: ast.expr, scope: Scope) -> Code:
        """An expression that charges for itself, where no block does."""
        m, charge, value = self.m, cost(node), self.value(node, scope)

        def run(f: Frame) -> Any:
            m.left -= charge
            if m.left < 0:
                m.over()
            return value(f)

        return run

    # ---- generators

    def generator(self, body: Sequence[ast.stmt], scope: Scope) -> Callable[[Frame], Steps]:
        """The body of a function that yields, as Python's own generator."""
        m, code = self.m, self.yielding(body, scope, 0)

        def run(f: Frame) -> Steps:
            # Each resumption lies on Python's own stack for as long as it runs.
            source = code(f)
            while True:
                m.native += 12
                try:
                    if m.native > NATIVE:
                        m.refuse("generators are nested too deeply")
                    try:
                        value = next(source)
                    except StopIteration:
                        return
                finally:
                    m.native -= 12
                yield value

        return run

    def yielding(self, body: Sequence[ast.stmt], scope: Scope, level: int) -> Callable[[Frame], Steps]:
        """A block of a generator: yields its values and returns what a block hands back."""
        if level > 10:
            raise Refused("limit", "A `yield` is nested more than 10 levels deep", body[0].lineno)
        m = self.m
        steps: list[tuple[bool, Any, int]] = []
        for node in body:
            if yields([node]):
                steps.append((True, self.yielding_statement(node, scope, level), node.lineno))
            else:
                plain = self.statement(node, scope)
                if plain is not None:
                    steps.append((False, plain, node.lineno))
        charge = max(1, sum(self.header(node) for node in body))

        def run(f: Frame) -> Steps:
            m.left -= charge
            if m.left < 0:
                m.over()
            line = None
            try:
                for inner, code, line in steps:  # noqa: B007 - the line is read below
                    out = (yield from code(f)) if inner else code(f)
                    if out is not None:
                        return out
            except (Exception, Refused):
                if m.line is None:
                    m.line = line
                raise
            return None

        return run

    def yielding_statement(self, node: ast.stmt, scope: Scope, level: int) -> Callable[[Frame], Steps]:
        m = self.m
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Yield):
            value = (lambda f: None) if node.value.value is None else self.value(node.value.value, scope)

            def one(f: Frame) -> Steps:
                yield value(f)

            return one
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.YieldFrom):
            source = self.value(node.value.value, scope)

            def several(f: Frame) -> Steps:
                for one in m.iterate(source(f)):
                    m.charge()
                    yield one

            return several
        if isinstance(node, ast.If) and not yields([node.test]):
            test = self.value(node.test, scope)
            body, other = self.yielding(node.body, scope, level + 1), self.yielding(node.orelse, scope, level + 1)

            def branch(f: Frame) -> Steps:
                return (yield from (body if test(f) else other)(f))

            return branch
        if (
            isinstance(node, ast.While)
            and not yields([node.test])
            or isinstance(node, ast.For)
            and not yields([node.iter])
        ):
            return self.yielding_loop(node, scope, level)
        raise Refused("language", "A `yield` in this place is not in the language", node.lineno)

    def yielding_loop(self, node: ast.While | ast.For, scope: Scope, level: int) -> Callable[[Frame], Steps]:
        m = self.m
        body, other = self.yielding(node.body, scope, level + 1), self.yielding(node.orelse, scope, level + 1)
        turns: Callable[[Frame], Iterator[Any]]
        if isinstance(node, ast.For):
            source, store = self.value(node.iter, scope), self.target(node.target, scope)

            def turns(f: Frame) -> Iterator[Any]:
                return m.iterate(source(f))
        else:
            test, store = self.value(node.test, scope), None

            def turns(f: Frame) -> Iterator[Any]:
                while test(f):
                    yield None

        def run(f: Frame) -> Steps:
            for value in turns(f):
                if store is not None:
                    store(f, value)
                out = yield from body(f)
                if out is BREAK:
                    return None
                if out is not None and out is not CONTINUE:
                    return out
            return (yield from other(f))

        return run

    # ---- expressions

    def value(self, node: ast.expr, scope: Scope) -> Code:
        made: Code = getattr(self, f"of_{type(node).__name__}")(node, scope)
        return made

    def of_Yield(self, node: ast.expr, scope: Scope) -> Code:
        raise Refused("language", "A `yield` in this place is not in the language", node.lineno)

    of_YieldFrom = of_Yield

    def of_Starred(self, node: ast.expr, scope: Scope) -> Code:
        raise Refused("error", "`*` stands before a value where it cannot", node.lineno)

    def of_Constant(self, node: ast.Constant, scope: Scope) -> Code:
        value = self.m.number(node.value)
        return lambda f: value

    def of_Name(self, node: ast.Name, scope: Scope) -> Code:
        return self.name(node.id, scope)

    def name(self, name: str, scope: Scope) -> Code:
        """What looks a name up."""
        up, names, builtins = scope.where(name), self.names, self.builtins
        if scope.kind == "class" and up == 0:
            outside = self.name(name, scope.parent or scope)
            return lambda f: f[name] if name in f else outside(f[None])
        if up == 0:

            def local(f: Frame) -> Any:
                try:
                    return f[name]
                except KeyError:
                    raise UnboundLocalError(f"{name!r} is used before it has a value") from None

            return local
        if up == 1:

            def outer(f: Frame) -> Any:
                try:
                    return f[None][name]
                except KeyError:
                    raise NameError(f"{name!r} is used before it has a value") from None

            return outer
        if up is not None:
            frame = self.frame(name, scope)

            def further(f: Frame) -> Any:
                held = frame(f)
                if name not in held:
                    raise NameError(f"{name!r} is used before it has a value")
                return held[name]

            return further
        if name not in self.global_names and name in builtins:
            value = builtins[name]
            return lambda f: value

        def module_name(f: Frame) -> Any:
            try:
                return names[name]
            except KeyError:
                if name in builtins:
                    return builtins[name]
                if name in self.global_names:
                    raise NameError(f"{name!r} is used before it has a value") from None
                raise NameError(f"there is no {name!r}") from None

        return module_name

    def of_NamedExpr(self, node: ast.NamedExpr, scope: Scope) -> Code:
        value, name = self.value(node.value, scope), node.target.id
        frame = self.frame(name, scope)

        def run(f: Frame) -> Any:
            out = frame(f)[name] = value(f)
            return out

        return run

    def of_BinOp(self, node: ast.BinOp, scope: Scope) -> Code:
        m, op = self.m, type(node.op)
        left, right, operate = self.value(node.left, scope), self.value(node.right, scope), ARITHMETIC[op]
        if op in (ast.Add, ast.Sub):

            def short(f: Frame) -> Any:
                a, b = left(f), right(f)
                if type(a) in NUMERIC and type(b) in NUMERIC:
                    out = operate(a, b)
                    return out if -WIDE < out < WIDE else m.number(out)
                return m.combine(op, a, b)

            return short
        if op in (ast.Mult, ast.Div, ast.FloorDiv, ast.Mod):

            def middle(f: Frame) -> Any:
                a, b = left(f), right(f)
                if type(a) in NUMERIC and type(b) in NUMERIC and -WIDE < a < WIDE and -WIDE < b < WIDE:
                    return operate(a, b)
                return m.combine(op, a, b)

            return middle
        return lambda f: m.combine(op, left(f), right(f))

    def of_UnaryOp(self, node: ast.UnaryOp, scope: Scope) -> Code:
        value = self.value(node.operand, scope)
        if isinstance(node.op, ast.Not):
            return lambda f: not value(f)
        sign = {ast.USub: "-", ast.UAdd: "+", ast.Invert: "~"}[type(node.op)]

        def run(f: Frame) -> Any:
            out = value(f)
            if type(out) in (Instance, Function, Class, Module, Stream):
                raise TypeError(f"bad operand type for unary {sign}: '{kind_of(out)}'")
            return -out if sign == "-" else +out if sign == "+" else ~out

        return run

    def of_BoolOp(self, node: ast.BoolOp, scope: Scope) -> Code:
        values = [self.value(one, scope) for one in node.values]
        first, second = values[0], values[1]
        both = isinstance(node.op, ast.And)
        if len(values) == 2:
            return (lambda f: first(f) and second(f)) if both else (lambda f: first(f) or second(f))

        def run(f: Frame) -> Any:
            out = None
            for value in values:
                out = value(f)
                if bool(out) != both:
                    return out
            return out

        return run

    def of_Compare(self, node: ast.Compare, scope: Scope) -> Code:
        left = self.value(node.left, scope)
        tests = [
            (self.comparison(op), self.value(part, scope)) for op, part in zip(node.ops, node.comparators, strict=True)
        ]
        if len(tests) == 1:
            (test, right) = tests[0]
            return lambda f: test(left(f), right(f))

        def run(f: Frame) -> Any:
            a, out = left(f), True
            for test, right in tests:
                b = right(f)
                out = test(a, b)
                if not out:
                    return out
                a = b
            return out

        return run

    def comparison(self, op: ast.cmpop) -> Callable[[Any, Any], Any]:
        m, kind = self.m, type(op)
        if kind in COMPARISONS:
            compare = COMPARISONS[kind]

            def test(a: Any, b: Any) -> Any:
                if type(a) in NUMERIC and type(b) in NUMERIC:
                    return compare(a, b)
                return m.compare(kind, a, b)

            return test
        if kind is ast.In:
            return m.contains
        if kind is ast.NotIn:
            return lambda a, b: not m.contains(a, b)
        return (lambda a, b: a is b) if kind is ast.Is else (lambda a, b: a is not b)

    def of_IfExp(self, node: ast.IfExp, scope: Scope) -> Code:
        test, body, other = (self.value(one, scope) for one in (node.test, node.body, node.orelse))
        return lambda f: body(f) if test(f) else other(f)

    # ---- lists, dictionaries and their like

    def items(self, nodes: Sequence[ast.expr], scope: Scope) -> Callable[[Frame], list[Any]]:
        """The values of several expressions, `*` before one of them or not."""
        m = self.m
        if not any(isinstance(one, ast.Starred) for one in nodes):
            values = [self.value(one, scope) for one in nodes]
            return lambda f: [value(f) for value in values]
        parts = [
            (isinstance(one, ast.Starred), self.value(one.value if isinstance(one, ast.Starred) else one, scope))
            for one in nodes
        ]

        def run(f: Frame) -> list[Any]:
            out: list[Any] = []
            for starred, value in parts:
                if starred:
                    more = m.listed(value(f))
                    m.room(len(out) + len(more))
                    out += more
                else:
                    out.append(value(f))
            return out

        return run

    def of_List(self, node: ast.List, scope: Scope) -> Code:
        return self.items(node.elts, scope)

    def of_Tuple(self, node: ast.Tuple, scope: Scope) -> Code:
        values = self.items(node.elts, scope)
        return lambda f: tuple(values(f))

    def of_Set(self, node: ast.Set, scope: Scope) -> Code:
        values, key = self.items(node.elts, scope), self.m.key
        return lambda f: {key(one) for one in values(f)}

    def of_Dict(self, node: ast.Dict, scope: Scope) -> Code:
        m = self.m
        pairs = [
            (None if key is None else self.value(key, scope), self.value(value, scope))
            for key, value in zip(node.keys, node.values, strict=True)
        ]

        def run(f: Frame) -> dict[Any, Any]:
            out: dict[Any, Any] = {}
            for key, value in pairs:
                if key is None:
                    out.update(self.functions._dict(value(f)))
                else:
                    known = m.key(key(f))
                    out[known] = value(f)
            return out

        return run

    def of_Slice(self, node: ast.Slice, scope: Scope) -> Code:
        ends = [None if one is None else self.value(one, scope) for one in (node.lower, node.upper, node.step)]

        def run(f: Frame) -> slice:
            values = [None if one is None else one(f) for one in ends]
            if any(type(one) not in (int, bool, type(None)) for one in values):
                raise TypeError("slice indices must be integers or None or have an __index__ method")
            return slice(*values)

        return run

    def of_Subscript(self, node: ast.Subscript, scope: Scope) -> Code:
        m, held, key = self.m, self.value(node.value, scope), self.value(node.slice, scope)

        def run(f: Frame) -> Any:
            owner, at = held(f), key(f)
            if type(at) is int and type(owner) in (list, tuple, str):
                return owner[at]
            return m.item(owner, at)

        return run

    def comprehension(self, node: Any, scope: Scope) -> tuple[Scope, Code, list[Any]]:
        """The scope of a comprehension, its first source, and for each `for` its source, target, tests and price."""
        own, _ = names_of([generator.target for generator in node.generators])
        inner = Scope("comprehension", own, set(), scope)
        # The first source is evaluated outside, as Python does: [x for x in x] reads the outer x.
        first = self.value(node.generators[0].iter, scope)
        parts = []
        for i, generator in enumerate(node.generators):
            source = None if i == 0 else self.value(generator.iter, inner)
            tests = [self.value(one, inner) for one in generator.ifs]
            following = node.generators[i + 1].iter if i + 1 < len(node.generators) else None
            parts.append(
                (
                    source,
                    self.target(generator.target, inner),
                    tests,
                    1 + cost(generator.target, *generator.ifs, following),
                )
            )
        return inner, first, parts

    def eager(self, node: Any, scope: Scope, parts_of: Sequence[ast.expr], make: Callable[[], Any], add: Any) -> Code:
        """A comprehension that is done at once: `add` takes what is made and the values of `parts_of`."""
        m = self.m
        inner, first, parts = self.comprehension(node, scope)
        values = [self.value(one, inner) for one in parts_of]
        price = cost(*parts_of)
        one = values[0]

        def done(f: Frame, out: Any) -> None:
            m.left -= price
            if len(values) == 1:
                add(out, one(f))
            else:
                add(out, one(f), values[1](f))

        step = done
        for i in range(len(parts) - 1, -1, -1):
            step = self.nested(parts[i], step)
        in_class = scope.kind == "class"

        def run(f: Frame) -> Any:
            out = make()
            step({None: f[None] if in_class else f, (): m.iterate(first(f))}, out)
            return out

        return run

    def nested(self, part: Any, step: Any) -> Any:
        """One `for` of a comprehension around the next."""
        m = self.m
        source, store, tests, price = part
        test = tests[0] if len(tests) == 1 else None if not tests else lambda f: _all(tests, f)

        def run(f: Frame, out: Any) -> None:
            for value in f.pop(()) if source is None else m.iterate(source(f)):
                m.left -= price
                if m.left < 0:
                    m.over()
                store(f, value)
                if test is None or test(f):
                    step(f, out)

        return run

    def of_ListComp(self, node: ast.ListComp, scope: Scope) -> Code:
        return self.eager(node, scope, [node.elt], list, list.append)

    def of_SetComp(self, node: ast.SetComp, scope: Scope) -> Code:
        key = self.m.key
        return self.eager(node, scope, [node.elt], set, lambda out, value: out.add(key(value)))

    def of_DictComp(self, node: ast.DictComp, scope: Scope) -> Code:
        key = self.m.key
        return self.eager(node, scope, [node.key, node.value], dict, lambda out, k, v: out.__setitem__(key(k), v))

    def of_GeneratorExp(self, node: ast.GeneratorExp, scope: Scope) -> Code:
        m = self.m
        inner, first, parts = self.comprehension(node, scope)
        step: Any = None
        value, charge = self.value(node.elt, inner), cost(node.elt)
        for part in reversed(parts):
            step = self.nested_lazily(part, step, value, charge, 4 * len(parts))
        in_class = scope.kind == "class"
        return lambda f: Stream(step({None: f[None] if in_class else f, (): m.iterate(first(f))}))

    def nested_lazily(self, part: Any, step: Any, value: Code, charge: int, weight: int) -> Any:
        """One `for` of a generator around the next; the innermost yields."""
        m = self.m
        source, store, tests, price = part
        price += charge

        def run(f: Frame) -> Iterator[Any]:
            items = f.pop(()) if source is None else m.iterate(source(f))
            while True:
                m.left -= price
                if m.left < 0:
                    m.over()
                # Python's own stack holds this generator, and those that it takes from, while an item is made.
                m.native += weight
                try:
                    if m.native > NATIVE:
                        m.refuse("generators are nested too deeply")
                    one = next(items, BREAK)
                    if one is BREAK:
                        return
                    store(f, one)
                    if tests and not _all(tests, f):
                        continue
                    out = None if step is not None else value(f)
                finally:
                    m.native -= weight
                if step is None:
                    yield out
                else:
                    yield from step(f)

        return run

    # ---- texts

    def of_JoinedStr(self, node: ast.JoinedStr, scope: Scope) -> Code:
        m, values = self.m, [self.value(one, scope) for one in node.values]

        def run(f: Frame) -> str:
            parts = [value(f) for value in values]
            m.room(sum(map(len, parts)))
            return "".join(parts)

        return run

    def of_FormattedValue(self, node: ast.FormattedValue, scope: Scope) -> Code:
        m, value = self.m, self.value(node.value, scope)
        conversion = None if node.conversion == -1 else chr(node.conversion)
        spec = None if node.format_spec is None else self.value(node.format_spec, scope)
        if spec is None and conversion is None:
            return lambda f: m.show(value(f))
        return lambda f: formats.formatted(m, value(f), "" if spec is None else spec(f), conversion)

    # ---- calls

    def of_Lambda(self, node: ast.Lambda, scope: Scope) -> Code:
        return self.function("<lambda>", node.args, node.body, scope)

    def of_Attribute(self, node: ast.Attribute, scope: Scope) -> Code:
        m, owner, name = self.m, self.value(node.value, scope), node.attr
        return lambda f: m.attribute(owner(f), name)

    def of_Call(self, node: ast.Call, scope: Scope) -> Code:
        m = self.m
        starred = any(isinstance(one, ast.Starred) for one in node.args)
        if isinstance(node.func, ast.Attribute) and node.func.attr == "append" and len(node.args) == 1:
            if not starred and not node.keywords:
                return self.append(self.value(node.func.value, scope), self.value(node.args[0], scope))
        function = self.value(node.func, scope)
        if node.keywords:
            arguments, named = self.items(node.args, scope), self.keywords(node.keywords, scope)
            return lambda f: m.call(function(f), arguments(f), named(f))
        if len(node.args) == 1 and not starred:
            only = self.value(node.args[0], scope)
            return lambda f: m.call(function(f), (only(f),))
        if len(node.args) == 2 and not starred:
            first, second = self.value(node.args[0], scope), self.value(node.args[1], scope)
            return lambda f: m.call(function(f), (first(f), second(f)))
        arguments = self.items(node.args, scope)
        return lambda f: m.call(function(f), arguments(f))

    def append(self, owner: Code, value: Code) -> Code:
        """`xs.append(x)`, the commonest call of all, without a method made for it."""
        m = self.m

        def run(f: Frame) -> Any:
            held = owner(f)
            if type(held) is list:
                held.append(value(f))
                return None
            return m.call(m.attribute(held, "append"), (value(f),))

        return run

    def keywords(self, nodes: Sequence[ast.keyword], scope: Scope) -> Callable[[Frame], dict[str, Any]]:
        """The arguments given by name, and those of `**`."""
        named = [(keyword.arg, self.value(keyword.value, scope)) for keyword in nodes]

        def run(f: Frame) -> dict[str, Any]:
            out: dict[str, Any] = {}
            for name, value in named:
                if name is not None:
                    out[name] = value(f)
                    continue
                more = self.functions._dict(value(f))
                if not all(type(key) is str for key in more):
                    raise TypeError("keywords must be strings")
                out |= more
            return out

        return run


def _all(tests: Sequence[Code], f: Frame) -> bool:
    for test in tests:  # noqa: SIM110 - `all` would run the tests on Python's own stack
        if not test(f):
            return False
    return True
