"""Which frame a name lives in, and what a piece of the syntax tree costs."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(eq=False)
class Scope:
    """The names that a module, function, class or comprehension assigns itself, and the scope around it."""

    kind: str  # "module", "function", "class" or "comprehension"
    own: set[str] = field(default_factory=set)
    outer: set[str] = field(default_factory=set)  # declared `global`
    parent: Scope | None = None

    def where(self, name: str) -> int | None:
        """How many frames up a name lives; None for a name of the module."""
        scope: Scope | None = self
        up = 0
        while scope is not None and scope.kind != "module":
            if name in scope.outer:
                return None
            if name in scope.own and (scope.kind != "class" or scope is self):
                return up
            # A method's frame hangs on the frame around its class.
            up += 1 if scope.kind != "class" or scope is self else 0
            scope = scope.parent
        return None


INNER = (ast.FunctionDef, ast.ClassDef, ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def names_of(body: Sequence[ast.AST]) -> tuple[set[str], set[str]]:
    """The names that a block assigns itself, and those that it declares `global`."""
    own: set[str] = set()
    outer: set[str] = set()
    free: set[str] = set()
    todo = [(node, False) for node in body]
    while todo:
        node, inside = todo.pop()
        if isinstance(node, ast.NamedExpr):
            own.add(node.target.id)
        elif inside:
            if isinstance(node, ast.Lambda | ast.FunctionDef):
                continue
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            own.add(node.name)
            continue
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store | ast.Del):
            own.add(node.id)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            own.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            own |= {alias.asname or alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.Global):
            outer |= set(node.names)
        elif isinstance(node, ast.Nonlocal):
            free |= set(node.names)
        elif isinstance(node, ast.Lambda):
            continue
        # Of a comprehension, only what `:=` assigns is a name of the block.
        within = inside or isinstance(node, INNER)
        todo += [(child, within) for child in ast.iter_child_nodes(node)]
    return own - outer - free, outer


def cost(*nodes: ast.AST | None) -> int:
    """The nodes that are evaluated with these: what stands in a function or comprehension within is left out."""
    count = 0
    todo = [node for node in nodes if node is not None]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.expr_context | ast.operator | ast.cmpop | ast.boolop | ast.unaryop):
            continue
        count += 1
        if not isinstance(node, INNER):
            todo += ast.iter_child_nodes(node)
    return count


def yields(body: Sequence[ast.AST]) -> bool:
    """Whether a block yields, functions within it left out."""
    todo = list(body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Yield | ast.YieldFrom):
            return True
        if not isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Lambda):
            todo += ast.iter_child_nodes(node)
    return False
