"""Loading without other libraries' progress bars and notes; everything is as before at the end."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars and no notes of transformers while loading; a notebook shows what its author says.

    >>> with quiet():
    ...     pass
    """
    from transformers.utils import logging as transformers_logging

    # For good: its 8-bit product would repeat one sentence at every layer of every step.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    shown, level = transformers_logging.is_progress_bar_enabled(), transformers_logging.get_verbosity()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            # PEFT asks transformers for something that transformers has renamed; no reader can mend it.
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
            yield
    finally:
        transformers_logging.set_verbosity(level)
        if shown:
            transformers_logging.enable_progress_bar()
