"""GRPO: the advantage, the loss against a hand-written sum, and a step that really moves the policy."""

from __future__ import annotations

import pytest
import torch

from srm_utils.models import load_model
from srm_utils.tasks import get_task
from srm_utils.training.grpo import GrpoConfig, group_advantages, grpo_loss, policy_loss, train_grpo


def test_advantages_sum_to_zero_in_each_group() -> None:
    rewards = torch.tensor([[1.0, 0.0, 0.0, 1.0], [1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 1.0]])
    advantages = group_advantages(rewards)
    assert torch.allclose(advantages.sum(1), torch.zeros(3))
    assert torch.equal(advantages[1], torch.zeros(4)), "a group that agrees teaches nothing"
    assert advantages[2, 3] == pytest.approx(0.75)


def test_loss_is_the_sum_over_tokens_by_a_constant() -> None:
    logprobs = torch.tensor([[-0.1, -0.2, -9.0], [-0.5, -9.0, -9.0]])
    mask = torch.tensor([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    advantages = torch.tensor([0.5, -0.5])
    by_hand = -(0.5 * (-0.1 - 0.2) - 0.5 * -0.5) / (2 * 10)
    assert grpo_loss(logprobs, advantages, mask, 10).item() == pytest.approx(by_hand)


def test_policy_loss_reads_the_tokens_as_they_were_drawn() -> None:
    model, task = load_model("base"), get_task("chain")
    prompts = [task.prompt(p, "unmarked") for p in task.problems(3, split="train", seed=1)]
    groups = model.sample(prompts, 2, 12, seed=1)
    rewards = torch.tensor([[1.0, 0.0]] * 3)
    expected = sum(-(0.5 if i == 0 else -0.5) * sum(c.logprobs) for group in groups for i, c in enumerate(group)) / (
        6 * 12
    )
    assert policy_loss(model, prompts, groups, rewards, 12).item() == pytest.approx(expected, abs=1e-4)


def test_rewarding_direct_answers_makes_answers_shorter() -> None:
    model, task = load_model("base"), get_task("chain")

    def draw(step: int):
        problems = task.problems(8, split="train", seed=100 + step, difficulty=2)
        return [(p, task.prompt(p, "unmarked")) for p in problems]

    reward = lambda problem, text: float(text.strip().startswith("The answer"))  # noqa: E731
    log = train_grpo(model, draw, reward, GrpoConfig(steps=8, learning_rate=3e-4, max_new_tokens=24))
    first, last = log[:2], log[-2:]
    assert sum(r["reward"] for r in last) > sum(r["reward"] for r in first) + 0.3
    assert sum(r["tokens"] for r in last) < sum(r["tokens"] for r in first)
