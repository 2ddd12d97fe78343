"""Who solves it: `load_model` and the `LanguageModel` it returns."""

from __future__ import annotations

from srm_utils.models.chat import Chat
from srm_utils.models.language_model import LanguageModel, Scored
from srm_utils.models.loading import load_model
from srm_utils.models.resolve import bundled_models, is_here

__all__ = ["Chat", "LanguageModel", "Scored", "bundled_models", "is_here", "load_model"]
