"""How a token is chosen: each sample's own random stream, truncation, and the inverse distribution function."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np
import torch


def stream_key(seed: int, prompt_ids: Sequence[int], index: int) -> int:
    """The 64-bit key of one sample's random stream.

    >>> stream_key(0, [1, 2], 0) != stream_key(0, [1, 2], 1)
    True
    """
    digest = hashlib.blake2b(np.asarray(prompt_ids, dtype=np.int64).tobytes(), digest_size=8)
    digest.update(f"/{seed}/{index}".encode())
    return int.from_bytes(digest.digest(), "little")


def uniforms(keys: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Uniform numbers in [0, 1), float64, one per (key, step): SplitMix64 (Steele et al., 2014) as a counter.

    >>> bool((uniforms(np.arange(3, dtype=np.uint64), np.zeros(3, dtype=np.uint64)) < 1).all())
    True
    """
    with np.errstate(over="ignore"):
        z = keys + (steps + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(11)).astype(np.float64) * 2.0**-53


def truncate(logits: torch.Tensor, top_k: int, top_p: float) -> torch.Tensor:
    """Logits [rows, vocabulary] with all but the `top_k` best, then all but the nucleus, at minus infinity.

    The nucleus is the smallest set of best tokens whose probability reaches `top_p` (arXiv 1904.09751).

    >>> truncate(torch.tensor([[0.0, 1.0, 2.0]]), top_k=1, top_p=1.0).tolist()
    [[-inf, -inf, 2.0]]
    """
    if 0 < top_k < logits.shape[-1]:
        kth = logits.topk(top_k, dim=-1).values[:, -1:]
        logits = logits.masked_fill(logits < kth, -math.inf)
    if top_p < 1.0:
        best, order = logits.sort(dim=-1, descending=True)
        probs = best.softmax(-1)
        outside = probs.cumsum(-1) - probs >= top_p
        outside[:, 0] = False
        logits = logits.masked_fill(torch.zeros_like(outside).scatter_(1, order, outside), -math.inf)
    return logits


def inverse_cdf(probs: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    """Token [rows] where the cumulated `probs` [rows, vocabulary] first exceed `u` [rows] times their sum.

    Cumulated in float64 over blocks, then within the block that holds the token: a running sum over
    the whole vocabulary costs several times as much. A token of probability zero is never returned.

    >>> inverse_cdf(torch.tensor([[0.0, 0.5, 0.5]]), torch.tensor([0.75], dtype=torch.float64)).tolist()
    [2]
    """
    rows, size = probs.shape
    block = 1 << max(1, round(math.log2(size) / 2))
    if size % block:
        probs = torch.nn.functional.pad(probs, (0, block - size % block))
    blocks = probs.view(rows, -1, block)
    below_one = 1.0 - 2.0**-53
    upto = blocks.sum(-1).cumsum(-1, dtype=torch.float64)
    target = u[:, None] * upto[:, -1:] * below_one
    which = torch.searchsorted(upto, target, right=True)
    before = torch.nn.functional.pad(upto, (1, 0)).gather(1, which)
    inside = blocks.gather(1, which[:, :, None].expand(-1, 1, block))[:, 0].cumsum(-1, dtype=torch.float64)
    target = torch.minimum(target - before, inside[:, -1:] * below_one)
    return (which * block + torch.searchsorted(inside, target, right=True))[:, 0]


def choose(
    logits: torch.Tensor, u: np.ndarray, temperatures: np.ndarray, top_k: int, top_p: float
) -> tuple[list[int], list[float]]:
    """Draw (or, at temperature 0, take the best) one token a row, with its natural log-probability.

    `logits` are [rows, vocabulary]; `u` and `temperatures` [rows] are each row's uniform number and temperature.
    """
    found = np.unique(temperatures)
    if len(found) == 1:
        return _choose(logits, u, float(found[0]), top_k, top_p)
    tokens, logprobs = [0] * len(u), [0.0] * len(u)
    for temperature in found:
        rows = np.flatnonzero(temperatures == temperature)
        chosen = _choose(logits[torch.from_numpy(rows).to(logits.device)], u[rows], float(temperature), top_k, top_p)
        for row, token, logprob in zip(rows.tolist(), *chosen, strict=True):
            tokens[row], logprobs[row] = token, logprob
    return tokens, logprobs


def _choose(
    logits: torch.Tensor, u: np.ndarray, temperature: float, top_k: int, top_p: float
) -> tuple[list[int], list[float]]:
    """`choose` where all rows have one temperature."""
    logits = logits.float()
    if temperature == 0:
        token = logits.argmax(-1)
        logprob = logits.gather(1, token[:, None])[:, 0] - logits.logsumexp(-1)
        return token.tolist(), logprob.tolist()
    numbers = torch.from_numpy(u).to(logits.device)
    if temperature == 1 and top_p >= 1 and not 0 < top_k < logits.shape[-1]:
        probs = logits.softmax(-1)
        token = inverse_cdf(probs, numbers)
        return token.tolist(), probs.gather(1, token[:, None])[:, 0].log().tolist()
    token = inverse_cdf(truncate(logits / temperature, top_k, top_p).softmax(-1), numbers)
    logprob = logits.gather(1, token[:, None])[:, 0] - logits.logsumexp(-1)
    return token.tolist(), logprob.tolist()
