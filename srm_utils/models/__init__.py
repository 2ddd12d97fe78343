"""Who solves it: `load_model` and the `LanguageModel` it returns."""

from __future__ import annotations

from srm_utils.models.language_model import LanguageModel, Scored, bundled_models, load_model

__all__ = ["LanguageModel", "Scored", "bundled_models", "load_model"]
