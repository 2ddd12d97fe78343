"""The sandbox: a small part of Python for programs that a model wrote, interpreted in a process of its own."""

from srm_utils.inference.sandbox.client import Sandbox
from srm_utils.inference.sandbox.interpreter import interpret
from srm_utils.inference.sandbox.outcome import Limits, Outcome

__all__ = ["Limits", "Outcome", "Sandbox", "interpret"]
