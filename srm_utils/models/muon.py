"""Muon, with its products in a chosen dtype.

torch's Muon works in bfloat16 alone, which a processor without bfloat16 units emulates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class Muon(torch.optim.Muon):
    """torch's Muon whose Newton-Schulz steps run in `dtype`; in bfloat16 it is torch's own, bit for bit.

    Args:
        parameters: matrices.
        dtype: of the products.
        options: those of torch.optim.Muon; the rate is always scaled to the usual size of AdamW's updates.

    >>> weight = torch.nn.Parameter(torch.eye(2))
    >>> weight.sum().backward()
    >>> Muon([weight], torch.float32, lr=0.1).step()
    """

    def __init__(self, parameters: Iterable[Tensor], dtype: torch.dtype, **options: Any) -> None:
        super().__init__(parameters, adjust_lr_fn="match_rms_adamw", **options)
        self.dtype = dtype

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:
        """Update every matrix that has a gradient."""
        if self.dtype == torch.bfloat16:
            super().step()
            return
        for group in self.param_groups:
            for weight in (p for p in group["params"] if p.grad is not None):
                state = self.state[weight]
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(weight.grad)
                mean = state["momentum_buffer"].lerp_(weight.grad, 1 - group["momentum"])
                update = weight.grad.lerp(mean, group["momentum"])
                polynomial = group["ns_coefficients"], group["ns_steps"], group["eps"]
                update = orthogonalised(update.to(self.dtype), *polynomial)
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.add_(update, alpha=-group["lr"] * 0.2 * max(weight.shape) ** 0.5)


def orthogonalised(matrix: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float) -> Tensor:
    """The matrix with its singular values brought near 1 by Newton-Schulz steps in its own dtype, (rows, columns).

    Args:
        matrix: of shape (rows, columns).
        coefficients: of the quintic polynomial, applied to the singular values.
        steps: how often.
        eps: smallest norm that is divided by.

    >>> orthogonalised(3 * torch.eye(2), (1.5, -0.5, 0.0), 20, 1e-7).round(decimals=3).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    a, b, c = coefficients
    # The smaller side first, so that the products are small.
    x = matrix.T if matrix.size(0) > matrix.size(1) else matrix
    x = x / x.norm().clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if matrix.size(0) > matrix.size(1) else x
