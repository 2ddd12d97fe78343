"""PPO: a critic learns what an answer begun is worth, and each token is credited with what it changed.

The group methods of `policy_gradient` compare an answer with others to the same question; PPO compares it with the
critic's guess, token by token, and so can do with one answer a question. The critic is a linear head that reads the
policy's last hidden states without moving them (where schulman2017ppo shares the network, and trains it on both
losses); advantages are generalised advantage estimates; several clipped updates are taken on a batch. As in
ouyang2022training, the distance from the start is charged to the reward.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from srm_utils.models import LanguageModel
from srm_utils.training.checkpoint import TrainedModel, load_checkpoint, open_run, save_checkpoint
from srm_utils.training.policy_gradient import (
    Answers,
    Draw,
    Reward,
    Rollout,
    clipped_term,
    default_rate,
    is_clipped,
    kl_estimate,
    known_by,
    read_answers,
    roll_out,
    step_record,
    take_step,
    token_weights,
    weights_of_start,
)
from srm_utils.training.supervised import BITS, Method

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    import torch


@dataclass(frozen=True, slots=True)
class PPOConfig:
    """How to train.

    Each of `steps` draws `samples` answers to each of `prompts` questions and takes `updates` optimiser steps on
    them, with the ratio of new to old probability cut to [1 - clip, 1 + clip]. `decay` is lambda of `gae`: 1 trusts
    the rewards alone, 0 the critic alone. The critic takes `value_updates` steps of rate `value_rate` on each batch
    (on the bundled base, four at this rate foresaw fresh rewards as well as sixteen; one was too few at any rate);
    `learning_rate` is the policy's (None takes `default_rate`), reached after `warmup` steps. `kl` is what a nat of
    distance from the start costs. The rest is as in `PolicyGradientConfig`.
    """

    method: Method = "full"
    steps: int = 50
    prompts: int = 64
    samples: int = 1
    updates: int = 2
    learning_rate: float | None = None
    warmup: int = 5
    clip: float = 0.2
    decay: float = 0.95
    value_updates: int = 8
    value_rate: float = 0.03
    kl: float = 0.0
    max_new_tokens: int = 96
    rank: int = 16
    alpha: int = 32
    save_every: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in BITS:
            raise ValueError(f"There is no method {self.method!r}; choose one of {', '.join(BITS)}.")
        counts = (self.steps, self.prompts, self.samples, self.updates, self.max_new_tokens, self.rank, self.alpha)
        if min(*counts, self.value_updates, self.save_every) < 1 or min(self.warmup, self.kl) < 0:
            raise ValueError(f"Counts must be at least 1, warmup and kl at least 0; given was {self}.")
        if not (0 < self.clip <= 1 and 0 <= self.decay <= 1 and self.value_rate > 0):
            raise ValueError(f"clip and decay lie between 0 and 1, value_rate above 0; given was {self}.")
        if self.learning_rate is not None and not self.learning_rate > 0:
            raise ValueError(f"learning_rate must be above 0; it is {self.learning_rate}.")


def gae(
    rewards: torch.Tensor, values: torch.Tensor, mask: torch.Tensor, decay: float = 0.95, discount: float = 1.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Generalised advantage estimates, and the returns that the critic is to learn, both of shape (answers, tokens).

    The surprise at a token is its reward plus the worth of what comes after it less the worth before it; its
    advantage is its own surprise and, fading by discount x decay, those that follow (schulman2017ppo, equation 11).

    Args:
        rewards, values: of each token and of the state before it, shape (answers, tokens).
        mask: 1 where a token was drawn, 0 after each answer's end, where nothing is worth anything.

    >>> import torch
    >>> one = torch.ones(1, 2)
    >>> gae(torch.tensor([[0.0, 1.0]]), torch.tensor([[0.5, 0.75]]), one, decay=1.0)[0]
    tensor([[0.5000, 0.2500]])
    """
    import torch

    values, rewards = values * mask, rewards * mask
    advantages = torch.zeros_like(values)
    after = value_after = torch.zeros_like(values[:, 0])
    for t in reversed(range(values.shape[1])):
        surprise = rewards[:, t] + discount * value_after - values[:, t]
        after = (surprise + discount * decay * after) * mask[:, t]
        advantages[:, t], value_after = after, values[:, t]
    return advantages, advantages + values


def value_loss(values: torch.Tensor, returns: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Half the weighted squared distance of the critic's guesses from the returns, shape () (schulman2017ppo, eq. 9).

    >>> import torch
    >>> value_loss(torch.tensor([[1.0]]), torch.tensor([[0.0]]), torch.tensor([[1.0]]))
    tensor(0.5000)
    """
    return 0.5 * ((values - returns).square() * weights).sum()


def whitened(advantages: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Advantages with mean 0 and deviation 1 over the drawn tokens of the batch.

    >>> import torch
    >>> whitened(torch.tensor([[1.0, 3.0, 9.0]]), torch.tensor([[1.0, 1.0, 0.0]]))
    tensor([[-1.,  1.,  0.]])
    """
    count = mask.sum()
    centred = (advantages - (advantages * mask).sum() / count) * mask
    return centred / ((centred.square().sum() / count).sqrt() + 1e-8)


def train_ppo(
    model: LanguageModel | str | os.PathLike[str],
    draw: Draw,
    reward: Reward,
    config: PPOConfig,
    out: str | os.PathLike[str],
    device: str = "auto",
    progress: bool = False,
) -> TrainedModel:
    """Train by PPO and save into `out`; the model given is left as it is, the critic is not kept.

    The log is that of `train_policy_gradient` (`loss` is the policy's) with `value_error`, the critic's squared
    error on fresh answers before it learns from them, and `explained`, the share of the returns' variance that it
    foresaw. Resumes as that one does, and raises as it does.
    """
    run = open_run(model, out, config, known_by(draw, reward), device)
    if run.finished is not None:
        return run.finished
    import torch
    from tqdm import tqdm

    policy, parameters = run.policy, run.trained
    rate = config.learning_rate or default_rate(config.method, policy.parameters)
    start = [p.detach().clone() for p in parameters]
    head = value_head(policy)
    optimizer = torch.optim.AdamW(parameters, lr=rate, betas=(0.9, 0.99), weight_decay=0.0)
    learner = torch.optim.AdamW(head.parameters(), lr=config.value_rate, betas=(0.9, 0.99), weight_decay=0.0)
    modules, optimizers = {"policy": policy.model, "head": head}, {"adam": optimizer, "critic": learner}
    begun, log = load_checkpoint(run.out, modules, optimizers) or (0, [])
    for step in tqdm(range(begun, config.steps), initial=begun, total=config.steps, disable=not progress):
        clock = time.perf_counter()
        seed = config.seed * 1_000_003 + step
        rollout = roll_out(policy, draw(step), reward, config.samples, config.max_new_tokens, seed)
        sampled = time.perf_counter()
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / max(config.warmup, 1))
        found = update(policy, head, parameters, start, optimizer, learner, rollout, config)
        spent = {"sampling": sampled - clock, "update": time.perf_counter() - sampled}
        log.append(step_record(log, policy, parameters, rollout, rollout, found, config.updates) | spent)
        if (step + 1) % config.save_every == 0 and step + 1 < config.steps:
            save_checkpoint(run.out, step + 1, modules, optimizers, log)
    seconds = sum(entry["sampling"] + entry["update"] for entry in log)
    return run.finish(int(log[-1]["processed"]), log[-1]["flops"], seconds, log, [optimizer, learner])


def value_head(policy: LanguageModel) -> torch.nn.Linear:
    """The critic's weights: one number from each hidden state of the policy, 0 to begin with."""
    import torch

    head = torch.nn.Linear(policy.model.config.get_text_config().hidden_size, 1, device=policy.model.device)
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.zeros_(head.bias)
    return head


def guess(head: torch.nn.Linear, states: torch.Tensor) -> torch.Tensor:
    """What the critic expects each answer to earn from here, shape (answers, tokens).

    States are divided by the root of their width, so that the weights and the bias learn equally fast.
    """
    return head(states.float() / states.shape[-1] ** 0.5)[:, :, 0]


def update(
    policy: LanguageModel,
    head: torch.nn.Linear,
    parameters: Sequence[torch.nn.Parameter],
    start: Sequence[torch.Tensor],
    optimizer: torch.optim.Optimizer,
    learner: torch.optim.Optimizer,
    rollout: Rollout,
    config: PPOConfig,
) -> dict[str, float]:
    """The optimiser steps of policy and critic on one rollout, and what was seen on the way."""
    import torch

    answers = Answers.of(policy, rollout.prompts, rollout.groups)
    mask, share = answers.mask, answers.mask / answers.mask.sum()
    weights = token_weights(mask, "token", config.max_new_tokens)
    parts = list(answers.parts(policy.model.config.get_text_config().vocab_size))
    with torch.no_grad():
        with weights_of_start(parameters, start):
            reference = torch.cat([read_answers(policy, part).logprobs for _, part in parts])
        reads = [read_answers(policy, part, states=True) for _, part in parts]
        old, entropies = (torch.cat([getattr(r, k) for r in reads]) for k in ("logprobs", "entropies"))
        states = torch.cat([r.states for r in reads])
        values = guess(head, states)
        rewards = token_rewards(rollout.rewards.to(mask.device), mask) - config.kl * (old - reference) * mask
        advantages, returns = gae(rewards, values, mask, config.decay)
        advantages = whitened(advantages, mask)
        spread = ((returns - (returns * share).sum()).square() * share).sum()
        error = ((values - returns).square() * share).sum()
    seen = {
        "entropy": float((entropies * share).sum()),
        "kl": float((kl_estimate(old, reference) * share).sum()),
        "value_error": float(error),
        "explained": float(1 - error / spread.clamp(min=1e-8)),
    } | dict.fromkeys(("gradient_norm", "clipped", "loss"), 0.0)
    for _ in range(config.updates):
        whole = 0.0
        for rows, part in parts:
            terms = (read_answers(policy, part).logprobs, old[rows], advantages[rows])
            loss = (clipped_term(*terms, config.clip, config.clip) * weights[rows]).sum()
            loss.backward()
            whole += float(loss.detach())
            held = is_clipped(*terms, config.clip, config.clip)
            seen["clipped"] += float((held * share[rows]).sum()) / config.updates
        seen["gradient_norm"] += take_step(optimizer, parameters, whole) / config.updates
        seen["loss"] += whole / config.updates
    for _ in range(config.value_updates):
        missed = value_loss(guess(head, states), returns, share)
        missed.backward()
        take_step(learner, list(head.parameters()), float(missed.detach()))
    return seen | {"trained": answers.tokens}


def token_rewards(rewards: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Rewards as the critic needs them, shape (answers, tokens): an outcome stands at its answer's last token.

    >>> import torch
    >>> token_rewards(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 1.0], [1.0, 0.0]])).tolist()
    [[0.0, 1.0], [2.0, 0.0]]
    """
    import torch

    if rewards.ndim == 3:
        return rewards.flatten(0, 1).nan_to_num()
    last = mask.sum(1).long() - 1
    return torch.zeros_like(mask).scatter(1, last[:, None], rewards.flatten()[:, None].to(mask.dtype))
