"""Group relative policy optimisation in its leanest form: on-policy, no KL, one update a batch.

Several answers to each question are drawn and graded; an answer better than its group's mean becomes
likelier, a worse one less likely (shao2024deepseekmath). The token losses are summed and divided by a
constant, so that long answers are not favoured (liu2025understanding).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from srm_utils.tasks.problem import Problem, Prompt

if TYPE_CHECKING:
    import torch

    from srm_utils.models import LanguageModel
    from srm_utils.sampling.completion import Completion


@dataclass(frozen=True)
class GrpoConfig:
    """Settings of a run; the rates were found by planning on the bundled base (see the notes of each field).

    `learning_rate` is about 5 % of the pretraining peak: three times as much drifts down, ten times dies.
    """

    steps: int = 50
    prompts: int = 8
    samples: int = 8
    learning_rate: float = 1e-4
    warmup: int = 5
    max_new_tokens: int = 96
    seed: int = 0


def group_advantages(rewards: torch.Tensor) -> torch.Tensor:
    """Advantage of each answer over its group, shape (prompts, samples): reward minus the group's mean.

    Without the division by the group's deviation, which weighs easy and hard questions up (liu2025understanding).

    >>> import torch
    >>> group_advantages(torch.tensor([[1.0, 0.0]])).tolist()
    [[0.5, -0.5]]
    """
    return rewards - rewards.mean(dim=1, keepdim=True)


def grpo_loss(logprobs: torch.Tensor, advantages: torch.Tensor, mask: torch.Tensor, length: int) -> torch.Tensor:
    """On-policy loss: minus the advantage-weighted log-probabilities, summed over tokens, over a constant.

    Args:
        logprobs: log-probability of each drawn token, shape (rows, tokens).
        advantages: one number a row, shape (rows,).
        mask: 1 where a token was drawn, 0 on padding, shape (rows, tokens).
        length: the constant that stands in for every answer's length (the longest that was allowed).
    """
    return -(advantages[:, None] * logprobs * mask).sum() / (logprobs.shape[0] * length)


def policy_loss(
    model: LanguageModel,
    prompts: Sequence[Prompt],
    groups: Sequence[Sequence[Completion]],
    rewards: torch.Tensor,
    length: int,
) -> torch.Tensor:
    """`grpo_loss` of drawn groups under the model's present weights, ready for `backward`."""
    import torch

    rows = [
        (model.encode(prompt), list(c.token_ids)) for prompt, group in zip(prompts, groups, strict=True) for c in group
    ]
    width = max(len(asked) + len(said) for asked, said in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.zeros(len(rows), width)
    for i, (asked, said) in enumerate(rows):
        ids[i, : len(asked) + len(said)] = torch.tensor(asked + said)
        mask[i, len(asked) : len(asked) + len(said)] = 1
    ids, mask = ids.to(model.model.device), mask.to(model.model.device)
    logits = model.model(input_ids=ids, use_cache=False).logits[:, :-1]
    logprobs = logits.float().log_softmax(-1).gather(2, ids[:, 1:, None])[:, :, 0]
    return grpo_loss(logprobs, group_advantages(rewards).flatten().to(ids.device), mask[:, 1:], length)


def train_grpo(
    model: LanguageModel,
    draw: Callable[[int], Sequence[tuple[Problem, Prompt]]],
    reward: Callable[[Problem, str], float],
    config: GrpoConfig = GrpoConfig(),
) -> list[dict[str, float]]:
    """Trains a model in place and returns one record a step: reward, tokens, share of groups without signal.

    `draw(step)` gives `config.prompts` problems with their prompts, `reward(problem, text)` a number.
    """
    import torch

    optimizer = torch.optim.AdamW(model.model.parameters(), lr=config.learning_rate, betas=(0.9, 0.99), weight_decay=0)
    log = []
    for step in range(config.steps):
        batch = draw(step)
        prompts = [prompt for _, prompt in batch]
        seed = config.seed * 100_003 + step
        groups = model.sample(prompts, config.samples, config.max_new_tokens, temperature=1.0, seed=seed)
        rewards = torch.tensor([[reward(p, c.text) for c in g] for (p, _), g in zip(batch, groups, strict=True)])
        for parameters in optimizer.param_groups:
            parameters["lr"] = config.learning_rate * min(1.0, (step + 1) / config.warmup)
        policy_loss(model, prompts, groups, rewards, config.max_new_tokens).backward()
        torch.nn.utils.clip_grad_norm_(model.model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        lengths = [len(c.token_ids) for g in groups for c in g]
        silent = float((rewards.std(dim=1) == 0).float().mean())
        log.append({"step": step, "reward": float(rewards.mean()), "tokens": float(np.mean(lengths)), "silent": silent})
    return log


def gradient(
    model: LanguageModel,
    batch: Sequence[tuple[Problem, Prompt]],
    reward: Callable[[Problem, str], float],
    samples: int,
    max_new_tokens: int,
    seed: int,
) -> torch.Tensor:
    """The policy gradient of one batch as a flat vector; two batches that agree mean there is something to learn."""
    import torch

    prompts = [prompt for _, prompt in batch]
    groups = model.sample(prompts, samples, max_new_tokens, temperature=1.0, seed=seed)
    rewards = torch.tensor([[reward(p, c.text) for c in g] for (p, _), g in zip(batch, groups, strict=True)])
    policy_loss(model, prompts, groups, rewards, max_new_tokens).backward()
    flat = torch.cat([p.grad.flatten() for p in model.model.parameters() if p.grad is not None])
    model.model.zero_grad(set_to_none=True)
    return flat
