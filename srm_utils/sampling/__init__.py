"""How text is drawn: `Completion`, `Cost`, and the batched sampler (`srm_utils.sampling.engine`)."""

from __future__ import annotations

from srm_utils.sampling.completion import Completion, Cost, group_cost

__all__ = ["Completion", "Cost", "group_cost"]
