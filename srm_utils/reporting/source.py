"""Shows the package's own source in a notebook, so that a lesson never holds a second copy of the code."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Source:
    """Source text that shows itself highlighted in a notebook and plain elsewhere."""

    text: str
    where: str

    def _repr_html_(self) -> str:
        from pygments import highlight
        from pygments.formatters import HtmlFormatter
        from pygments.lexers import PythonLexer

        code = highlight(self.text, PythonLexer(), HtmlFormatter(noclasses=True, style="default", nobackground=True))
        return f"<small><code>{self.where}</code></small>{code}"

    def __repr__(self) -> str:
        return f"# {self.where}\n{self.text}"


def show_source(thing: Any, docstring: bool = False) -> Source:
    """The source of a function or class of the package, without its docstring unless asked for.

    Of a GPU kernel it is the function under its decorator. Raises TypeError for things that were not written in Python.

    >>> "def show_source" in show_source(show_source).text
    True
    """
    # Triton's decorator leaves the function in `fn`.
    thing = thing.fn if type(thing).__module__.startswith("triton.") else thing
    text = inspect.getsource(thing)
    if not docstring:
        text = re.sub(r'(?s)\n +"""(?!\n).*?"""\n', "\n", text)
    return Source(text.rstrip(), f"{thing.__module__}.{thing.__qualname__}")
