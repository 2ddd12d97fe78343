"""The limits on paper of a product with a 4-bit matrix: bytes to read, multiplications, and instructions to start.

A kernel is at best as fast as the slowest of the three allows (the roofline). None of these figures is a measurement:
`srm bench kernels` measures.
"""

from __future__ import annotations

from dataclasses import dataclass

from srm_utils.kernels.packed import NESTED_BLOCK


@dataclass(frozen=True, slots=True)
class Gpu:
    """What the maker states: `bandwidth` in bytes a second, `tensor` in 16-bit FLOPs a second of the tensor cores.

    `processors` multiprocessors run at `clock` hertz. Each starts four instructions a clock, each for 32 threads.
    """

    name: str
    bandwidth: float
    tensor: float
    processors: int
    clock: float

    @property
    def instructions(self) -> float:
        """Instructions of single threads that can be started in a second."""
        return self.processors * 4 * 32 * self.clock


#: A card of 24 GB for a desk, and one of each of the two generations for which the kernels are compiled in the tests.
GPUS = (
    Gpu("RTX 4090", 1.008e12, 165e12, 128, 2.52e9),
    Gpu("A100 40 GB", 1.555e12, 312e12, 108, 1.41e9),
    Gpu("H100 SXM", 3.35e12, 989e12, 132, 1.83e9),
)


def bytes_per_weight(block: int = 64, double: bool = True) -> float:
    """Bytes that a 4-bit weight takes with its share of the scales (dettmers2023qlora, section 3).

    >>> bytes_per_weight(double=False), round(bytes_per_weight(), 4)
    (0.5625, 0.5159)
    """
    return 0.5 + (1 / block + 4 / (block * NESTED_BLOCK) if double else 4 / block)


def bytes_moved(rows: int, outputs: int, inputs: int, per_weight: float) -> float:
    """Bytes that a product must read and write at least, activations and results in 16 bits.

    >>> bytes_moved(1, 4, 8, 0.5)
    40.0
    """
    return outputs * inputs * per_weight + 2 * rows * (inputs + outputs)


def seconds(gpu: Gpu, rows: int, outputs: int, inputs: int, per_weight: float, instructions: float = 0.0) -> float:
    """The least time of a product of `rows` rows of activations with a matrix [outputs, inputs].

    Args:
        gpu: whose limits.
        rows: rows of activations, 1 in decoding one text.
        outputs, inputs: the matrix.
        per_weight: bytes of a weight, 2 for 16 bits.
        instructions: those of the kernel for each weight; 0 leaves this limit out.

    >>> h100 = GPUS[-1]
    >>> one = seconds(h100, 1, 4096, 4096, 2.0)
    >>> round(one / seconds(h100, 1, 4096, 4096, bytes_per_weight()), 1)
    3.9
    """
    weights = outputs * inputs
    return max(
        bytes_moved(rows, outputs, inputs, per_weight) / gpu.bandwidth,
        2 * rows * weights / gpu.tensor,
        weights * instructions / gpu.instructions,
    )


def reach(gpu: Gpu, instructions: float, per_weight: float) -> float:
    """The share of the memory's bandwidth that a kernel for one row can reach, as its instructions allow.

    >>> reach(GPUS[0], 1.0, 0.5)
    1.0
    """
    return min(1.0, gpu.instructions * per_weight / (instructions * gpu.bandwidth))
