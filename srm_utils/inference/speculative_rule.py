"""The rule of speculative decoding: which drafts are kept, so that the text is distributed as the model's own."""

from __future__ import annotations

import torch

from srm_utils.sampling.choice import inverse_cdf, truncate


def distribution(logits: torch.Tensor, temperature: float, top_k: int = 0, top_p: float = 1.0) -> torch.Tensor:
    """Probabilities [..., vocabulary] that a token is drawn from; at temperature 0 all on the likeliest one.

    Greedy, truncated and plain sampling are all sampling from some distribution (leviathan2023fast, section 2.2),
    so that one rule verifies them all.

    >>> distribution(torch.tensor([[0.0, 2.0, 1.0]]), temperature=0).tolist()
    [[0.0, 1.0, 0.0]]
    """
    if temperature == 0:
        return torch.zeros_like(logits, dtype=torch.float32).scatter_(-1, logits.argmax(-1, keepdim=True), 1.0)
    flat = logits.float().reshape(-1, logits.shape[-1]) / temperature
    return truncate(flat, top_k, top_p).softmax(-1).view(logits.shape)


def verify(
    drafts: torch.Tensor,
    counts: torch.Tensor,
    p: torch.Tensor,
    q: torch.Tensor,
    u_accept: torch.Tensor,
    u_draw: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """How many drafts each row keeps, and the token that follows them (leviathan2023fast, algorithm 1).

    `drafts` [rows, k] hold `counts` [rows] tokens each, drawn from `q` [rows, k, vocabulary]; the model's own
    probabilities `p` [rows, k + 1, vocabulary] go one further. A draft x is kept with probability
    min(1, p(x) / q(x)). The next token is drawn from max(0, p - q), normalised, after a rejection, and from p after
    the last draft. `u_accept` [rows, k] and `u_draw` [rows, k + 1] are uniform random numbers.

    >>> p, q = torch.tensor([[[0.0, 1.0], [0.5, 0.5]]]), torch.tensor([[[1.0, 0.0]]])
    >>> kept, token = verify(torch.tensor([[0]]), torch.tensor([1]), p, q, torch.rand(1, 1), torch.rand(1, 2))
    >>> kept.tolist(), token.tolist()
    ([0], [1])
    """
    p_drafts = p[:, :-1].gather(2, drafts[:, :, None])[:, :, 0]
    q_drafts = q.gather(2, drafts[:, :, None])[:, :, 0]
    there = torch.arange(drafts.shape[1], device=drafts.device) < counts[:, None]
    kept = ((u_accept * q_drafts < p_drafts) & there).long().cumprod(1).sum(1)
    row = torch.arange(len(drafts), device=drafts.device)
    # Where nothing was drafted q is zero and the rest is p itself.
    drafted = torch.nn.functional.pad(q * there[:, :, None], (0, 0, 0, 1))[row, kept]
    rest = (p[row, kept] - drafted).clamp(min=0)
    # Rounding can reject a draft where p and q are one and leave nothing over.
    rest = torch.where(rest.sum(-1, keepdim=True) > 0, rest, p[row, kept])
    return kept, inverse_cdf(rest, u_draw[row, kept])
