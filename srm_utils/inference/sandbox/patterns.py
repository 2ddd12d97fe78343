"""The functions of `re`, on short texts, for patterns without a repetition within a repetition.

How long a pattern searches cannot be told beforehand. What is left of slow patterns ends by the worker's clock.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from srm_utils.inference.sandbox.functions import Functions
from srm_utils.inference.sandbox.machine import Machine
from srm_utils.inference.sandbox.values import Builtin, Module, Stream

#: Characters of a text that is searched.
LONGEST = 10_000
#: A repeated group with a repetition in it, whose search may take exponential time.
_NESTED = re.compile(r"\((?:[^()\\]|\\.)*(?:[+*]|\{\d+,\d*\})(?:[^()\\]|\\.)*\)(?:[+*]|\{\d+,)")
_FLAGS = ("IGNORECASE", "I", "MULTILINE", "M", "DOTALL", "S", "VERBOSE", "X", "ASCII", "A")


def patterns(m: Machine, f: Functions) -> dict[str, Any]:
    """What a program sees of `re`."""

    def made(pattern: Any, flags: Any = 0) -> re.Pattern[str]:
        if type(pattern) is Module and "" in pattern.members:
            return pattern.members[""].call()
        if type(pattern) is not str or type(flags) is not int:
            raise TypeError("first argument must be string or compiled pattern")
        if len(pattern) > 500 or _NESTED.search(pattern):
            m.refuse("a pattern is too long, or repeats what is repeated within it")
        m.charge(100 + 10 * len(pattern))
        try:
            return re.compile(pattern, flags)
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(f"this is no pattern: {error}") from None

    def short(text: Any) -> str:
        if type(text) is not str:
            raise TypeError("expected string or bytes-like object")
        if len(text) > LONGEST:
            m.refuse(f"a text of more than {LONGEST:,} characters is searched")
        m.charge(len(text))
        return text

    def sub(pattern: Any, repl: Any, string: Any, count: int = 0, flags: Any = 0) -> str:
        text = short(string)
        if type(repl) is not str:
            return made(pattern, flags).sub(lambda found: short(m.apply(repl, found)), text, count)
        m.room((len(text) + 1) * (len(repl) + 1) * (len(text) + 1 if "\\" in repl else 1))
        return made(pattern, flags).sub(repl, text, count)

    def found(name: str) -> Callable[..., Any]:
        return lambda pattern, string, flags=0: getattr(made(pattern, flags), name)(short(string))

    def split(pattern: Any, string: Any, maxsplit: int = 0, flags: Any = 0) -> list[Any]:
        return made(pattern, flags).split(short(string), maxsplit)

    def finditer(pattern: Any, string: Any, flags: Any = 0) -> Stream:
        return f.stream(made(pattern, flags).finditer(short(string)))

    functions: dict[str, Callable[..., Any]] = {
        "search": found("search"), "match": found("match"), "fullmatch": found("fullmatch"),
        "findall": found("findall"), "finditer": finditer, "sub": sub, "split": split,
    }  # fmt: skip

    def compile_(pattern: Any, flags: Any = 0) -> Module:
        compiled = made(pattern, flags)
        members = {
            name: Builtin(name, lambda *rest, call=call, **named: call(compiled_module, *rest, **named))
            for name, call in functions.items()
        }
        compiled_module = Module("re.Pattern", members | {"": Builtin("", lambda: compiled)})
        return compiled_module

    return (
        {name: Builtin(name, call) for name, call in functions.items()}
        | {"compile": Builtin("compile", compile_), "escape": Builtin("escape", lambda text: re.escape(short(text)))}
        | {name: int(getattr(re, name)) for name in _FLAGS}
    )
