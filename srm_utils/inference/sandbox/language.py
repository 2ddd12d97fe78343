"""What a program may be written in: its syntax tree is checked against a list before anything is run."""

from __future__ import annotations

import ast
import textwrap
import warnings
from typing import NoReturn

from srm_utils.inference.sandbox.modules import MODULES
from srm_utils.inference.sandbox.outcome import Limits, Refused

_STATEMENTS = (
    ast.Module, ast.Expr, ast.Assign, ast.AugAssign, ast.AnnAssign, ast.If, ast.For, ast.While, ast.Break,
    ast.Continue, ast.Pass, ast.FunctionDef, ast.ClassDef, ast.Return, ast.arguments, ast.arg, ast.keyword,
    ast.comprehension, ast.Import, ast.ImportFrom, ast.alias, ast.Global, ast.Nonlocal, ast.Try, ast.ExceptHandler,
    ast.Raise, ast.Assert, ast.Delete,
)  # fmt: skip
_EXPRESSIONS = (
    ast.Constant, ast.Name, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.IfExp, ast.Call, ast.List, ast.Tuple,
    ast.Dict, ast.Set, ast.Subscript, ast.Slice, ast.ListComp, ast.GeneratorExp, ast.DictComp, ast.SetComp, ast.Lambda,
    ast.JoinedStr, ast.FormattedValue, ast.Attribute, ast.Starred, ast.NamedExpr, ast.Yield, ast.YieldFrom,
)  # fmt: skip
_OPERATORS = (
    ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow, ast.LShift, ast.RShift, ast.BitAnd, ast.BitOr,
    ast.BitXor, ast.cmpop, ast.unaryop, ast.boolop, ast.expr_context,
)  # fmt: skip
#: Every node a program may be made of; all else is refused before anything is run.
LANGUAGE: tuple[type[ast.AST], ...] = (*_STATEMENTS, *_EXPRESSIONS, *_OPERATORS)
_CALLED = {ast.With: "`with`", ast.MatMult: "`@`", ast.Match: "`match`"}
#: Names with two underscores that a program may write: its own name, and what its classes define.
_NAMES = frozenset({"__name__"})
METHOD_NAMES = frozenset(
    {"__init__", "__post_init__", "__str__", "__repr__", "__eq__", "__lt__", "__add__", "__sub__", "__mul__", "__len__"}
)


def parsed(program: str, limits: Limits) -> ast.Module:
    """The checked syntax tree of a program; raises Refused for whatever the language does not have.

    >>> ast.unparse(parsed("    x = 1\\n    print(x)", Limits()))
    'x = 1\\nprint(x)'
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(textwrap.dedent(program.strip("\n").rstrip()).lstrip(" \t"))
    except SyntaxError as error:
        raise Refused("error", f"line {error.lineno or 1} cannot be read as a program: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError):
        raise Refused("limit", "the program is nested too deeply, or has characters that no program has") from None
    level: list[ast.AST] = [tree]
    for _ in range(limits.nesting + 1):
        for node in level:
            _check(node)
        level = [child for node in level for child in ast.iter_child_nodes(node)]
        if not level:
            return tree
    raise Refused("limit", f"the program is nested more than {limits.nesting} levels deep")


def _check(node: ast.AST) -> None:
    """Refuses a node that is not of the language."""
    if not isinstance(node, LANGUAGE):
        name = type(node).__name__
        _outside(node, _CALLED.get(type(node), f"`{name.removeprefix('Async').lower()}`"))
    if isinstance(node, ast.Constant) and not isinstance(node.value, int | float | str | None):
        _outside(node, f"A constant of type {type(node.value).__name__}")
    elif isinstance(node, ast.Attribute) and node.attr.startswith("_") and node.attr not in _NAMES:
        if node.attr.startswith("__") or isinstance(node.ctx, ast.Del):
            _outside(node, f"The attribute .{node.attr}")
    elif isinstance(node, ast.Import):
        for alias in node.names:
            _known(node, alias.name)
    elif isinstance(node, ast.ImportFrom):
        _known(node, node.module or ".")
    elif isinstance(node, ast.comprehension) and node.is_async:
        _outside(node, "`async`")
    elif isinstance(node, ast.ClassDef):
        _check_class(node)
    elif isinstance(node, ast.Delete):
        for target in node.targets:
            if not isinstance(target, ast.Name | ast.Subscript):
                _outside(node, "Deleting this")


def _check_class(node: ast.ClassDef) -> None:
    """A class may define functions and values, and stand on nothing but `object` or an error."""
    if node.keywords:
        _outside(node, "A keyword in the head of a class")
    for one in node.body:
        if not isinstance(one, ast.FunctionDef | ast.Assign | ast.AnnAssign | ast.Expr | ast.Pass):
            _outside(one, "This in a class")
        if isinstance(one, ast.FunctionDef) and one.name.startswith("__") and one.name not in METHOD_NAMES:
            _outside(one, f"The method {one.name}")
        targets = one.targets if isinstance(one, ast.Assign) else [one.target] if isinstance(one, ast.AnnAssign) else []
        for target in targets:
            if not isinstance(target, ast.Name) or target.id.startswith("__"):
                _outside(one, "This assignment in a class")


def _known(node: ast.AST, name: str) -> None:
    if name not in MODULES and name.split(".")[0] not in ("sympy", "scipy", "numpy", "matplotlib"):
        _outside(node, f"The module {name[:40]}")


def _outside(node: ast.AST, what: str) -> NoReturn:
    raise Refused("language", f"{what[0].upper()}{what[1:]} is not in the language", getattr(node, "lineno", None))
