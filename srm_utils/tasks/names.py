"""What an error says of a mistaken name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: str, names: Iterable[str]) -> str:
    """The names most like a mistaken one, as the half sentence an error ends with.

    >>> nearest("chian", ["chain", "graph"])
    'did you mean chain'
    """
    known = list(names)
    near = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.5)
    if near:
        return f"did you mean {' or '.join(near)}"
    return f"choose one of {', '.join(known)}"
