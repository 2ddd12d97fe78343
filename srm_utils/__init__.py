"""srm_utils: every technique of *A Short Survey on Small Reasoning Models*, to read, run and measure.

>>> import srm_utils
>>> srm_utils.__version__.count(".")
2
"""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"
__all__ = ["__version__", "get_profile", "load_model"]


def __getattr__(name: str) -> Any:
    # Imported on first use, so that `import srm_utils` and the command line stay quick.
    if name == "load_model":
        from srm_utils.models.loading import load_model

        return load_model
    if name == "get_profile":
        from srm_utils.collection.profiles import get_profile

        return get_profile
    raise AttributeError(f"module 'srm_utils' has no attribute {name!r}")
