"""Which arithmetic is fast here: bfloat16 or float32, decided at run time for each device.

A processor without bfloat16 units emulates it, some ten times slower than float32.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

#: Parameters from which on products are large enough to gain by half precision.
LARGE = 50_000_000
#: Pairs of tokens (rows times width squared) up to which a CPU computes attention by plain products in training.
PLAIN_PAIRS = 2**20


def product_seconds() -> tuple[float, float]:
    """Seconds of one product of two 256 x 256 matrices on the CPU, in float32 and in bfloat16.

    The best of fifteen, taken in turn: what else the machine does meanwhile hits both alike.

    >>> all(seconds > 0 for seconds in product_seconds())
    True
    """
    import torch

    def once(matrix: torch.Tensor) -> float:
        began = time.perf_counter()
        _ = matrix @ matrix
        return time.perf_counter() - began

    single, half = torch.ones(256, 256), torch.ones(256, 256, dtype=torch.bfloat16)
    rounds = [(once(single), once(half)) for _ in range(15)]
    return min(a for a, _ in rounds), min(b for _, b in rounds)


@cache
def fast_dtype(device: str, seconds: Callable[[], tuple[float, float]] = product_seconds) -> torch.dtype:
    """bfloat16 where the device multiplies clearly faster in it than in float32, else float32.

    Args:
        device: a torch device's name, such as "cpu" or "cuda:0".
        seconds: how long a product takes on the CPU in float32 and in bfloat16.

    A GPU is asked whether it has bfloat16 units. A CPU is timed, once a process: torch knows of such units on some
    processors only.

    >>> fast_dtype("cpu", lambda: (1.0, 10.0))
    torch.float32
    """
    import torch

    if device.startswith("cuda"):
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    if device != "cpu":
        return torch.float32
    single, half = seconds()
    # A small lead may be noise, and float32 is exact to more digits.
    return torch.bfloat16 if half < 0.8 * single else torch.float32


def mixed_precision(device: str, parameters: int) -> AbstractContextManager[Any]:
    """Products in bfloat16 within, where `device` is faster in it and the model has at least 50 million `parameters`.

    Products of smaller models are too small to gain by it, and their results stay the same on every processor. Weights
    stay in float32.

    >>> with mixed_precision("cpu", parameters=1_000_000):
    ...     pass
    """
    import torch

    halved = parameters >= LARGE and fast_dtype(device) == torch.bfloat16
    return torch.autocast(device.partition(":")[0], dtype=torch.bfloat16, enabled=halved)


@contextmanager
def plain_attention(network: Any, device: str, parameters: int, rows: int, width: int) -> Iterator[None]:
    """Attention by plain products within, where a step of training is faster so: on a CPU, for batches that are small.

    The backward pass of the fused kernel is the slowest part of a step there. Plain products take memory that grows
    with `rows` times the square of `width` (tokens). Models under 50 million `parameters` keep their kernel.

    >>> with plain_attention(None, "cuda:0", parameters=10**9, rows=8, width=64):
    ...     pass
    """
    if device != "cpu" or parameters < LARGE or rows * width**2 > PLAIN_PAIRS:
        yield
        return
    before = network.config._attn_implementation
    network.set_attn_implementation("eager")
    try:
        yield
    finally:
        network.set_attn_implementation(before)
