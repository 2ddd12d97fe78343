"""Policy gradient: every term against a closed form or TRL's value, the loop on a bandit, and going on after a kill."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from transformers import MistralConfig, MistralForCausalLM, Qwen3Config, Qwen3ForCausalLM

from srm_utils.models import LanguageModel, load_model
from srm_utils.models.tokenizer import build_tokenizer
from srm_utils.sampling.completion import Completion, Cost, group_cost
from srm_utils.tasks import get_task
from srm_utils.tasks.problem import Prompt
from srm_utils.training import policy_gradient as module
from srm_utils.training.checkpoint import load_checkpoint, save_checkpoint
from srm_utils.training.outcome_rewards import step_ends
from srm_utils.training.policy_gradient import (
    VARIANTS,
    Answers,
    PolicyGradientConfig,
    Rollout,
    batch_baseline,
    clipped_term,
    group_mean,
    group_normalised,
    has_signal,
    kl_estimate,
    kl_term,
    leave_one_out,
    policy_loss,
    raw_rewards,
    read_answers,
    return_to_go,
    rewards_of,
    token_weights,
    train_policy_gradient,
    weights_of_start,
    with_signal,
)
from srm_utils.training.ppo import PPOConfig, gae, train_ppo

TASK = get_task("chain")
PROBLEMS = TASK.problems(8, split="train", difficulty=(1, 3))
PROMPTS = [TASK.prompt(p, "unmarked") for p in PROBLEMS]


def build(seed: int = 0) -> tuple[Qwen3ForCausalLM, object]:
    texts = [f"{p.question} {TASK.solution(p, 'cot')}" for p in TASK.problems(40, split="train")]
    words = build_tokenizer(texts, chat=False)
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=len(words), hidden_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        head_dim=16, intermediate_size=64, max_position_embeddings=256, tie_word_embeddings=True, bos_token_id=None,
        eos_token_id=words.eos_token_id, pad_token_id=words.pad_token_id, initializer_range=0.1,
    )  # fmt: skip
    return Qwen3ForCausalLM(config), words


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    model, words = build()
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


@pytest.fixture
def model(checkpoint) -> LanguageModel:
    return load_model(checkpoint, device="cpu")


def perturbed(model: LanguageModel, by: float = 0.02, seed: int = 1) -> LanguageModel:
    torch.manual_seed(seed)
    with torch.no_grad():
        for p in model.model.parameters():
            p.add_(by * torch.randn_like(p))
    return model


def ragged(model: LanguageModel, samples: int = 4) -> list[list[Completion]]:
    """Two questions of unlike length, answers of 1 to 9 tokens, as drawn."""
    lengths = iter((9, 1, 4, 6, 2, 7, 3, 5))
    groups = model.sample(PROMPTS[:2], samples, 9, seed=3)
    return [[replace(c, token_ids=c.token_ids[:n]) for c in g for n in (next(lengths),)] for g in groups]


def completion(tokens: int = 3, text: str = "7.") -> Completion:
    return Completion(text, tuple(range(tokens)), (0.0,) * tokens, "stop", 5, Cost())


# ---------------------------------------------------------------- advantages


def test_a_baseline_takes_away_what_was_expected():
    rewards = torch.tensor([[1.0, 0.0, 0.0, 1.0], [1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 1.0]])
    assert torch.equal(raw_rewards(rewards), rewards)
    assert batch_baseline(rewards).mean() == pytest.approx(0, abs=1e-7)
    for advantage in (group_mean, leave_one_out, group_normalised):
        found = advantage(rewards)
        assert torch.allclose(found.sum(1), torch.zeros(3), atol=1e-6)
        assert torch.equal(found[1], torch.zeros(4)), "a group that agrees teaches nothing"
    assert leave_one_out(rewards)[2].tolist() == pytest.approx([-1 / 3, -1 / 3, -1 / 3, 1.0])
    assert torch.allclose(leave_one_out(rewards), group_mean(rewards) * 4 / 3)
    by_hand = (1 - 0.25) / (np.std([0, 0, 0, 1], ddof=1) + 1e-4)
    assert group_normalised(rewards)[2, 3].item() == pytest.approx(by_hand)
    for advantage in (leave_one_out, group_normalised):
        with pytest.raises(ValueError, match="at least 2 samples"):
            advantage(torch.ones(3, 1))


def test_a_token_is_credited_with_what_it_and_later_ones_earn():
    torch.manual_seed(0)
    lengths = [5, 3, 1]
    rewards = torch.randn(2, 3, 5)
    for i, n in enumerate(lengths):
        rewards[:, i, n:] = torch.nan
    found = return_to_go(rewards)
    for p in range(2):
        for i in range(3):
            for t in range(lengths[i]):
                still = [float(rewards[p, j, min(t, lengths[j] - 1) : lengths[j]].sum()) for j in range(3)]
                others = sum(still[j] for j in range(3) if j != i) / 2
                assert found[p, i, t].item() == pytest.approx(still[i] - others, abs=1e-5)
    # One reward, at each answer's last token: leave-one-out, at every token.
    outcome = torch.tensor([[1.0, 0.0, 1.0]])
    ends = torch.zeros(1, 3, 5).masked_fill(rewards[:1].isnan(), torch.nan)
    for i, n in enumerate(lengths):
        ends[0, i, n - 1] = outcome[0, i]
    for i, n in enumerate(lengths):
        assert torch.allclose(return_to_go(ends)[0, i, :n], leave_one_out(outcome)[0, i])
    # Changes of a state's worth on the way add up to the outcome less that worth (1 - 0.5, ...), as with a critic.
    worth = torch.tensor([[[0.5, 0.75, 0.25, 1.0], [0.5, 0.5, 0.5, 0.0]]])
    found = return_to_go(worth.diff(dim=2))[0, 0]
    assert found.tolist() == pytest.approx([0.5 + 0.5, 0.25 + 0.5, 0.75 + 0.5])


# ---------------------------------------------------------------- terms


@pytest.fixture(scope="module")
def trainer(checkpoint, tmp_path_factory):
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    settings = GRPOConfig(
        str(tmp_path_factory.mktemp("trl")), use_cpu=True, bf16=False, gradient_checkpointing=False, report_to=[],
        per_device_train_batch_size=8, num_generations=4, steps_per_generation=1, gradient_accumulation_steps=1,
        max_completion_length=32, epsilon=0.1, epsilon_high=0.15, beta=0.0, temperature=1.0,
    )  # fmt: skip
    fresh = load_model(checkpoint, device="cpu")
    rows = Dataset.from_list([{"prompt": p.text()} for p in PROMPTS])
    trainer = GRPOTrainer(
        fresh.model, lambda completions, **_: [0.0] * len(completions), settings, rows, processing_class=fresh.tokenizer
    )
    trainer.current_gradient_accumulation_steps = 1
    return trainer


@pytest.mark.parametrize("kl", [0.0, 0.3])
@pytest.mark.parametrize(
    "theirs, ours", [("grpo", "sequence"), ("bnpo", "token"), ("dapo", "token"), ("dr_grpo", "constant")]
)
def test_the_loss_and_its_gradient_are_trls_on_a_ragged_batch(trainer, checkpoint, theirs, ours, kl):
    drawn_by, reference = load_model(checkpoint, device="cpu"), perturbed(load_model(checkpoint, device="cpu"), seed=9)
    groups = ragged(drawn_by)
    answers = Answers.of(drawn_by, PROMPTS[:2], groups)
    advantages = group_normalised(torch.tensor([[1.0, 0.0, 0.0, 1.0], [0.0, 1.0, 0.0, 0.0]])).flatten()
    with torch.no_grad():
        old, far = read_answers(drawn_by, answers).logprobs, read_answers(reference, answers).logprobs
    now = perturbed(load_model(checkpoint, device="cpu"), 0.05)
    trainer.model.load_state_dict(now.model.state_dict())
    trainer.model.train()
    trainer.loss_type, trainer.beta = theirs, kl
    asked = [drawn_by.encode(p) for p in PROMPTS[:2] for _ in range(4)]
    wide, said = max(map(len, asked)), [list(c.token_ids) for g in groups for c in g]
    batch = {
        "prompt_ids": torch.tensor([[0] * (wide - len(a)) + a for a in asked]),
        "prompt_mask": torch.tensor([[0] * (wide - len(a)) + [1] * len(a) for a in asked]),
        "completion_ids": torch.tensor([s + [0] * (9 - len(s)) for s in said]),
        "completion_mask": torch.tensor([[1] * len(s) + [0] * (9 - len(s)) for s in said]),
        "advantages": advantages, "old_per_token_logps": old, "ref_per_token_logps": far,
        "num_items_in_batch": torch.tensor(sum(map(len, said))),
    }  # fmt: skip
    trainer.model.zero_grad()
    wanted = trainer.compute_loss(trainer.model, batch)
    wanted.backward()
    logprobs = read_answers(now, answers).logprobs
    weights = token_weights(answers.mask, ours, 32)
    loss = policy_loss(logprobs, old, advantages[:, None], weights, (0.1, 0.15), far, kl)
    loss.backward()
    assert loss.item() == pytest.approx(wanted.item(), abs=2e-6) and abs(wanted.item()) > 1e-4
    ratio = (logprobs - old).exp()
    assert ((ratio > 1.15) | (ratio < 0.9))[answers.mask.bool()].any(), "some ratios must be beyond the clip"
    for a, b in zip(now.model.parameters(), trainer.model.parameters(), strict=True):
        assert torch.allclose(a.grad, b.grad, atol=2e-6)


def test_rloo_is_reinforce_with_the_others_mean_as_baseline(model):
    groups = ragged(model)
    rewards = torch.tensor([[1.0, 0.0, 0.5, 1.0], [0.0, 1.0, 0.25, 0.0]])
    answers = Answers.of(model, PROMPTS[:2], groups)
    weights = token_weights(answers.mask, "constant", 9)
    logprobs = read_answers(model, answers).logprobs
    policy_loss(logprobs, logprobs.detach(), leave_one_out(rewards).flatten()[:, None], weights).backward()
    ours = [p.grad.clone() for p in model.model.parameters()]
    model.model.zero_grad()
    by_hand = 0.0
    for q in range(2):
        for i, c in enumerate(groups[q]):
            baseline = sum(float(rewards[q, j]) for j in range(4) if j != i) / 3
            alone = Answers.of(model, [PROMPTS[q]], [[c]])
            by_hand -= (float(rewards[q, i]) - baseline) * read_answers(model, alone).logprobs.sum() / (8 * 9)
    by_hand.backward()
    for a, p in zip(ours, model.model.parameters(), strict=True):
        assert torch.allclose(a, p.grad, atol=1e-6)


def test_on_policy_the_clip_changes_no_gradient_and_beyond_it_there_is_none():
    logprobs = torch.tensor([[-1.0, -2.0]], requires_grad=True)
    for term in (clipped_term, module.reinforce_term):
        logprobs.grad = None
        term(logprobs, logprobs.detach(), torch.tensor([[2.0, -3.0]])).sum().backward()
        assert logprobs.grad.tolist() == [[-2.0, 3.0]]
    # Ratios 1.5 and 0.5, each with an advantage of either sign: held back only where it would go further away.
    now = torch.tensor([1.5, 1.5, 0.5, 0.5]).log().requires_grad_()
    advantages = torch.tensor([1.0, -1.0, 1.0, -1.0])
    clipped_term(now, torch.zeros(4), advantages, 0.2, 0.28).sum().backward()
    assert now.grad.tolist() == pytest.approx([0.0, 1.5, -0.5, 0.0])
    assert module.is_clipped(now, torch.zeros(4), advantages, 0.2, 0.28).tolist() == [True, False, False, True]


def test_the_kl_estimate_is_unbiased_and_never_negative():
    logits = torch.tensor([1.0, 0.3, -0.2, -1.0, -2.0], requires_grad=True)
    p, q = logits.softmax(0), torch.tensor([0.1, 0.3, 0.3, 0.2, 0.1])
    estimates = kl_estimate(p.log(), q.log())
    kl = (p * (p / q).log()).sum()
    assert float((p * estimates).sum()) == pytest.approx(float(kl), rel=1e-5) and float(kl) > 0.1
    assert (estimates >= 0).all()

    def slope(value):
        return torch.autograd.grad(value, logits, retain_graph=True)[0]

    old, other = p.detach(), (q * (q / p).log()).sum()
    assert torch.allclose(slope((old * kl_term(p.log(), old.log(), q.log())).sum()), slope(kl), atol=1e-6)
    assert torch.allclose(slope((old * estimates).sum()), slope(other), atol=1e-6), "without the ratio: the other KL"
    assert not torch.allclose(slope(kl), slope(other), atol=1e-2)


def test_each_weighing_counts_tokens_in_its_own_way():
    mask = torch.tensor([[1.0, 1.0, 1.0, 1.0], [1.0, 0.0, 0.0, 0.0]])
    terms = torch.tensor([[1.0, 1.0, 1.0, 1.0], [6.0, 99.0, 99.0, 99.0]])
    sums = {w: float((terms * token_weights(mask, w, 10)).sum()) for w in ("sequence", "token", "constant")}
    assert sums == pytest.approx({"sequence": (1 + 6) / 2, "token": 10 / 5, "constant": 10 / 20})


def test_gradients_of_groups_without_signal_are_zero(model):
    groups = ragged(model)
    answers = Answers.of(model, PROMPTS[:2], groups)
    rewards = torch.ones(2, 4)
    assert not has_signal(rewards).any()

    def norm(advantage, clip):
        model.model.zero_grad()
        logprobs = read_answers(model, answers).logprobs
        advantages = module.advantages_of(advantage, rewards)
        policy_loss(logprobs, logprobs.detach(), advantages, token_weights(answers.mask, "token", 9), clip).backward()
        return max(float(p.grad.abs().max()) for p in model.model.parameters())

    for advantage in (group_mean, group_normalised, leave_one_out):
        assert norm(advantage, None) == norm(advantage, (0.2, 0.2)) == 0
    assert norm(raw_rewards, None) > 1e-3, "without a baseline even these push"


# ---------------------------------------------------------------- reading what was drawn


def test_answers_are_read_as_they_were_drawn(model, monkeypatch):
    groups = model.sample(PROMPTS[:3], 2, 9, seed=1)
    answers = Answers.of(model, PROMPTS[:3], groups)
    whole = read_answers(model, answers, states=True)
    for i, c in enumerate(c for g in groups for c in g):
        assert whole.logprobs[i, : len(c.token_ids)].tolist() == pytest.approx(list(c.logprobs), abs=1e-4)
        assert answers.mask[i].sum() == len(c.token_ids)
    ids = torch.tensor([[*model.encode(PROMPTS[1]), *groups[1][0].token_ids]])
    plain = model.model(ids, output_hidden_states=True)
    before = slice(len(model.encode(PROMPTS[1])) - 1, -1)
    n = len(groups[1][0].token_ids)
    assert torch.allclose(whole.states[2, :n], plain.hidden_states[-1][0, before], atol=1e-5)
    entropy = torch.distributions.Categorical(logits=plain.logits[0, before]).entropy()
    assert torch.allclose(whole.entropies[2, :n], entropy, atol=1e-4)
    monkeypatch.setattr(module, "HELD_LOGITS", 1)
    parts = list(answers.parts(100))
    assert [len(part.row) for _, part in parts] == [2, 2, 2]
    alone = torch.cat([read_answers(model, part).logprobs for _, part in parts])
    assert torch.allclose(alone * answers.mask, whole.logprobs * answers.mask, atol=1e-5)
    assert torch.equal(torch.cat([answers.mask[rows] for rows, _ in parts]), answers.mask)
    asked = [len(model.encode(p)) for p in PROMPTS[:3]]
    assert answers.tokens == sum(asked) + sum(len(c.token_ids) for g in groups for c in g), "a question is read once"


def test_a_model_with_a_sliding_window_reads_each_answer_alone(model):
    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=len(model.tokenizer), hidden_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, intermediate_size=64, sliding_window=6, max_position_embeddings=256,
    )  # fmt: skip
    network = MistralForCausalLM(config).eval()
    with torch.no_grad():
        network.lm_head.weight.mul_(20)
    sliding = LanguageModel(network, model.tokenizer)
    groups = ragged(model)
    read = read_answers(sliding, Answers.of(sliding, PROMPTS[:2], groups))
    for i, (prompt, c) in enumerate((p, c) for p, g in zip(PROMPTS[:2], groups, strict=True) for c in g):
        asked = sliding.encode(prompt)
        with torch.no_grad():
            logits = network(torch.tensor([asked + list(c.token_ids)])).logits[0, len(asked) - 1 : -1]
        alone = logits.log_softmax(-1)[range(len(c.token_ids)), list(c.token_ids)]
        assert torch.allclose(read.logprobs[i, : len(c.token_ids)], alone, atol=1e-4)


def test_the_reference_is_the_weights_at_the_start_and_nothing_is_reloaded(checkpoint, tmp_path):
    changed = perturbed(load_model(checkpoint, device="cpu"), 0.3)
    before = {k: v.clone() for k, v in changed.model.state_dict().items()}
    config = PolicyGradientConfig(steps=3, prompts=2, samples=4, learning_rate=0.01, warmup=0, kl=0.1, max_new_tokens=4)
    trained = train_policy_gradient(changed, draw, even, config, tmp_path, device="cpu")
    assert trained.log[0]["kl"] == pytest.approx(0, abs=1e-6), "a reference from before would be far away"
    assert trained.log[-1]["kl"] > 1e-4
    assert all(torch.equal(v, before[k]) for k, v in changed.model.state_dict().items()), "the one given is left alone"
    parameters = list(changed.model.parameters())
    start = [p.detach().clone() for p in parameters]
    answers = Answers.of(changed, PROMPTS[:2], ragged(changed))
    with torch.no_grad():
        then = read_answers(changed, answers).logprobs
        perturbed(changed, 0.1)
        now = read_answers(changed, answers).logprobs
        with pytest.raises(KeyError), weights_of_start(parameters, start):
            assert torch.equal(read_answers(changed, answers).logprobs, then)
            raise KeyError
        assert torch.equal(read_answers(changed, answers).logprobs, now) and not torch.allclose(now, then)


# ---------------------------------------------------------------- the loop


def draw(index: int) -> list:
    """Two questions a batch, over and over."""
    return [(PROBLEMS[(2 * index + i) % 8], PROMPTS[(2 * index + i) % 8]) for i in range(2)]


def even(problem, text) -> float:
    """The bandit: about half of all tokens pay. Half a character, which leaves no text, does not."""
    return float(bool(text) and len(text.strip()) % 2 == 0)


def always(problem, text) -> float:
    return 1.0


SMALL = {"prompts": 2, "samples": 8, "learning_rate": 0.01, "warmup": 2, "max_new_tokens": 1}


@pytest.mark.parametrize("name", list(VARIANTS))
def test_every_variant_climbs_on_a_bandit(checkpoint, tmp_path, name):
    advantage, terms = VARIANTS[name]
    config = PolicyGradientConfig(**(SMALL | {"steps": 20, "updates": 2} | terms))
    log = train_policy_gradient(checkpoint, draw, even, config, tmp_path, advantage, device="cpu").log
    assert np.mean([e["reward"] for e in log[:2]]) < 0.8 < 0.9 < np.mean([e["reward"] for e in log[-3:]])


def test_ppo_climbs_on_a_bandit_with_one_answer_a_question(checkpoint, tmp_path):
    config = PPOConfig(
        steps=15, prompts=16, samples=1, updates=3, learning_rate=0.01, warmup=2, max_new_tokens=1, kl=0.01
    )
    many = lambda index: [(PROBLEMS[i % 8], PROMPTS[i % 8]) for i in range(16)]  # noqa: E731
    log = train_ppo(checkpoint, many, even, config, tmp_path, device="cpu").log
    assert np.mean([e["reward"] for e in log[:2]]) < 0.8 < 0.9 < np.mean([e["reward"] for e in log[-3:]])


def test_a_higher_clip_and_more_updates_are_seen_in_the_log(checkpoint, tmp_path):
    config = PolicyGradientConfig(**(SMALL | {"steps": 2, "updates": 4, "clip": (0.01, 0.01), "warmup": 0}))
    log = train_policy_gradient(checkpoint, draw, even, config, tmp_path / "a", device="cpu").log
    wide = replace(config, clip=(1.0, 1e9))
    assert log[0]["clipped"] > 0.2
    assert train_policy_gradient(checkpoint, draw, even, wide, tmp_path / "b", device="cpu").log[0]["clipped"] == 0


def test_the_log_counts_what_was_done(checkpoint, tmp_path):
    config = PolicyGradientConfig(steps=2, prompts=2, samples=4, max_new_tokens=5, warmup=0)
    trained = train_policy_gradient(checkpoint, draw, always, config, tmp_path, device="cpu")
    model = load_model(checkpoint, device="cpu")
    assert [e["rollouts"] for e in trained.log] == [8, 16]
    seen = [(e["reward"], e["silent"], e["gradient_norm"], e["loss"]) for e in trained.log]
    assert seen == [(1.0, 1.0, 0.0, 0.0)] * 2
    groups = model.sample(PROMPTS[:2], 4, 5, temperature=1.0, seed=0)
    assert trained.log[0]["tokens"] == np.mean([len(c.token_ids) for g in groups for c in g])
    asked = [len(model.encode(p)) for p in PROMPTS[:2]]
    said = [sum(len(c.token_ids) for c in g) for g in groups]
    n, tokens = model.parameters, sum(asked) + sum(said)
    assert trained.log[0]["processed"] == tokens * (1 + 2), "drawn, read by the reference, trained on"
    drawn = Cost.total(map(group_cost, groups)).flops
    assert trained.log[0]["flops"] == pytest.approx(drawn + tokens * n * (2 + 6))
    assert trained.tokens == trained.log[-1]["processed"] and trained.flops == trained.log[-1]["flops"]
    assert trained.seconds == pytest.approx(sum(e["sampling"] + e["update"] for e in trained.log))
    start = model.model.state_dict()
    assert all(torch.equal(v, start[k]) for k, v in trained.load("cpu").model.state_dict().items()), "nothing to learn"


def test_dynamic_sampling_leaves_no_group_without_signal():
    def rollout(*rewards: float, drawn: int = 4) -> Rollout:
        groups = tuple((completion(), completion()) for _ in rewards)
        made = torch.tensor([[r, 0.0] for r in rewards])
        n = len(rewards)
        return Rollout(tuple(PROBLEMS[:n]), tuple(PROMPTS[:n]), groups, made, drawn, 0.0, Cost(3))

    queue = [rollout(0.0, 0.0), rollout(1.0, 0.0, 2.0), rollout(3.0)]
    kept = with_signal(rollout(5.0, 0.0, 0.0), lambda: queue.pop(0), redraws=5)
    assert kept.rewards[:, 0].tolist() == [5.0, 1.0, 2.0] and has_signal(kept.rewards).all()
    assert kept.problems == (PROBLEMS[0], PROBLEMS[0], PROBLEMS[2]) and len(queue) == 1
    assert kept.drawn == 12 and kept.cost.prompt_tokens == 9, "what is thrown away is counted"
    hopeless = with_signal(rollout(0.0), lambda: rollout(0.0), redraws=3)
    assert hopeless.problems == () and hopeless.drawn == 16


def test_dynamic_sampling_in_the_loop(checkpoint, tmp_path):
    config = PolicyGradientConfig(**(SMALL | {"steps": 3, "samples": 2, "redraws": 6}))
    log = train_policy_gradient(checkpoint, draw, even, config, tmp_path / "a", device="cpu").log
    assert log[-1]["rollouts"] > 3 * 4 and (log[-1]["rollouts"] % 4) == 0
    assert all(e["gradient_norm"] > 0 for e in log)
    none = train_policy_gradient(checkpoint, draw, always, config, tmp_path / "b", device="cpu").log
    assert [e["rollouts"] for e in none] == [28, 56, 84] and [e["gradient_norm"] for e in none] == [0, 0, 0]


def test_a_steps_reward_stands_at_the_token_that_ends_it(model):
    decode = lambda ids: model.tokenizer.decode(ids, skip_special_tokens=True)  # noqa: E731
    texts = [TASK.solution(p, style) for p, style in zip(PROBLEMS, ("cot", "direct") * 4, strict=True)]
    groups = [[replace(completion(), text=t, token_ids=tuple(model.tokenizer(t)["input_ids"]))] for t in texts]
    earned = rewards_of(lambda problem, text: np.arange(1.0, len(step_ends(text)) + 1), PROBLEMS, groups, decode)
    for text, row, (c,) in zip(texts, earned[:, 0], groups, strict=True):
        assert row.isnan().tolist() == [t >= len(c.token_ids) for t in range(len(row))]
        places = row.nan_to_num().nonzero().flatten().tolist()
        assert [float(row[t]) for t in places] == list(range(1, len(step_ends(text)) + 1))
        assert [len(decode(c.token_ids[: t + 1])) for t in places] == step_ends(text)
    assert module.whole_rewards(earned)[1].item() == 1.0 and earned.shape[:2] == (8, 1)


@pytest.mark.parametrize("train", [train_policy_gradient, train_ppo])
def test_process_rewards_teach_what_they_pay_for(checkpoint, tmp_path, train):
    # Steps of an even number of characters pay.
    pay = lambda problem, text: [even(problem, text[a:b]) for a, b in pairwise([0, *step_ends(text)])]  # noqa: E731
    shared = SMALL | {"steps": 32, "max_new_tokens": 2, "samples": 16}
    if train is train_ppo:
        log = train_ppo(checkpoint, draw, pay, PPOConfig(**shared), tmp_path, device="cpu").log
    else:
        config = PolicyGradientConfig(**shared, redraws=1)
        log = train_policy_gradient(checkpoint, draw, pay, config, tmp_path, return_to_go, device="cpu").log
    assert np.mean([e["reward"] for e in log[:2]]) < 0.75 < 0.85 < np.mean([e["reward"] for e in log[-3:]])


@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_adapters_are_trained_in_float32_and_the_rest_stays(checkpoint, tmp_path, method, capfd):
    # Tokens on one side of the embedding pay: something that hidden states can turn to while embeddings stay.
    embedding = load_model(checkpoint, device="cpu").model.get_input_embeddings().weight.detach()
    side = (embedding @ torch.ones(64) > 0).float().tolist()
    words = load_model(checkpoint, device="cpu").tokenizer
    # Half a character leaves no text behind.
    texts = [words.decode([i], skip_special_tokens=True).replace("\ufffd", "") for i in range(len(side))]
    worth = dict(zip(texts, side, strict=True))
    pays = torch.tensor([worth[t] for t in texts])
    reward = lambda problem, text: worth.get(text, 0.0)  # noqa: E731

    @torch.no_grad()
    def expected(model: LanguageModel) -> float:
        last = [model.model(torch.tensor([model.encode(p)])).logits[0, -1].softmax(-1) for p in PROMPTS]
        return float(torch.stack(last).mean(0) @ pays)

    config = PolicyGradientConfig(**(SMALL | {"method": method, "steps": 12, "samples": 16, "rank": 8}))
    trained = train_policy_gradient(checkpoint, draw, reward, config, tmp_path, device="cpu")
    assert capfd.readouterr() == ("", "")
    model, start = trained.load("cpu"), load_model(checkpoint, bits=4 if method == "qlora" else 16, device="cpu")
    assert expected(model) > expected(start) + 0.1
    moved = {k: p for k, p in model.model.named_parameters() if "lora_B" in k}
    assert {p.dtype for p in moved.values()} == {torch.float32} and all(p.abs().max() > 0 for p in moved.values())
    assert trained.trainable == sum(p.numel() for k, p in model.model.named_parameters() if "lora_" in k)
    assert torch.equal(model.model.get_input_embeddings().weight, embedding)
    assert trained.log[0]["kl"] == pytest.approx(0, abs=1e-6) and trained.log[-1]["kl"] > 1e-3


# ---------------------------------------------------------------- the critic


def test_gae_is_the_double_sum_of_its_definition():
    torch.manual_seed(0)
    lengths, decay, discount = [5, 1, 3], 0.9, 0.97
    mask = torch.tensor([[1.0] * n + [0.0] * (5 - n) for n in lengths])
    rewards, values = torch.randn(3, 5), torch.randn(3, 5)
    advantages, returns = gae(rewards, values, mask, decay, discount)
    for i, n in enumerate(lengths):
        worth = [*values[i, :n].tolist(), 0.0]
        for t in range(n):
            surprises = [float(rewards[i, s]) + discount * worth[s + 1] - worth[s] for s in range(n)]
            by_hand = sum((discount * decay) ** (s - t) * surprises[s] for s in range(t, n))
            assert advantages[i, t].item() == pytest.approx(by_hand, abs=1e-5)
            assert returns[i, t].item() == pytest.approx(by_hand + worth[t], abs=1e-5)
        assert (advantages[i, n:] == 0).all() and (returns[i, n:] == 0).all()


def test_the_critic_learns_a_known_return(checkpoint, tmp_path):
    # What a question pays is known from its text; nothing that the policy does changes it.
    worth = {p.id: float(i % 2) for i, p in enumerate(PROBLEMS)}
    known = lambda problem, text: worth[problem.id]  # noqa: E731
    eight = lambda index: list(zip(PROBLEMS, PROMPTS, strict=True))  # noqa: E731
    config = PPOConfig(
        steps=6, prompts=8, samples=1, updates=1, learning_rate=1e-6, max_new_tokens=1, warmup=0, value_rate=0.1,
        value_updates=150,
    )  # fmt: skip
    log = train_ppo(checkpoint, eight, known, config, tmp_path, device="cpu").log
    assert log[0]["value_error"] == pytest.approx(0.5, abs=0.2), "it begins at 0 everywhere"
    assert log[-1]["value_error"] < 0.05 and log[-1]["explained"] > 0.8


# ---------------------------------------------------------------- kills, full disks, mistakes


def killed_at(call: int):
    calls = []

    def reward(problem, text):
        calls.append(1)
        if len(calls) == call:
            raise KeyboardInterrupt
        return even(problem, text)

    return reward, calls


@pytest.mark.parametrize("method", ["full", "lora", "ppo"])
def test_a_killed_run_goes_on_and_ends_with_the_same_weights(checkpoint, tmp_path, method):
    shared = SMALL | {"steps": 7, "save_every": 2, "kl": 0.05, "max_new_tokens": 3}
    if method == "ppo":
        config, train = PPOConfig(**shared), train_ppo
    else:
        config, train = PolicyGradientConfig(method=method, redraws=2, **shared), train_policy_gradient
    reward, all_calls = killed_at(-1)
    whole = train(checkpoint, draw, reward, config, tmp_path / "whole", device="cpu")
    reward, calls = killed_at(5 * 16 + 3)
    with pytest.raises(KeyboardInterrupt):
        train(checkpoint, draw, reward, config, tmp_path / "cut", device="cpu")
    # A newer checkpoint that the kill cut short must not be taken.
    (tmp_path / "cut" / "checkpoint.tmp").write_bytes(b"half")
    reward, calls = killed_at(-1)
    resumed = train(checkpoint, draw, reward, config, tmp_path / "cut", device="cpu")
    assert 0 < len(calls) < len(all_calls) - 16 and len(resumed.log) == 7
    a, b = (dict(t.load("cpu").model.state_dict()) for t in (whole, resumed))
    assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
    clock = ("sampling", "update")
    assert [{k: v for k, v in e.items() if k not in clock} for e in whole.log] == [
        {k: v for k, v in e.items() if k not in clock} for e in resumed.log
    ]
    assert not (tmp_path / "cut" / "checkpoint.pt").exists()
    calls.clear()
    again = train(checkpoint, draw, reward, config, tmp_path / "cut", device="cpu")
    assert not calls and again.folder == resumed.folder, "a finished run is returned, not trained again"
    for other, pay in ((replace(config, seed=1), reward), (config, always)):
        with pytest.raises(ValueError, match="another folder"):
            train(checkpoint, draw, pay, other, tmp_path / "cut", device="cpu")


def test_a_full_disk_leaves_the_last_good_checkpoint(tmp_path):
    layer = torch.nn.Linear(200, 200)
    adam = torch.optim.AdamW(layer.parameters())
    save_checkpoint(tmp_path, 3, {"layer": layer}, {"adam": adam}, {"log": [1.5]})
    kept = layer.weight.detach().clone()
    torch.nn.init.zeros_(layer.weight)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(OSError, match="checkpoint after step 6 could not be written .* free some space"):
            save_checkpoint(tmp_path, 6, {"layer": layer}, {"adam": adam})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert load_checkpoint(tmp_path, {"layer": layer}, {"adam": adam}) == (3, {"log": [1.5]})
    assert torch.equal(layer.weight, kept) and [f.name for f in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_a_checkpoint_that_does_not_fit_is_told(tmp_path):
    layer = torch.nn.Linear(3, 2)
    save_checkpoint(tmp_path, 3, {"layer": layer}, {})
    with pytest.raises(ValueError, match="of another model"):
        load_checkpoint(tmp_path, {"layer": torch.nn.Linear(4, 2)}, {})
    whole = (tmp_path / "checkpoint.pt").read_bytes()
    (tmp_path / "checkpoint.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="is damaged"):
        load_checkpoint(tmp_path, {"layer": layer}, {})
    assert load_checkpoint(tmp_path / "empty", {"layer": layer}, {}) is None


def test_random_states_come_back(tmp_path):
    import random

    save_checkpoint(tmp_path, 1, {}, {})
    drawn = [torch.rand(1).item(), random.random(), np.random.rand()]
    load_checkpoint(tmp_path, {}, {})
    assert [torch.rand(1).item(), random.random(), np.random.rand()] == drawn


def broken(problem, text):
    raise KeyError("gold")


@pytest.mark.parametrize(
    "reward, said",
    [
        (broken, r"The reward function failed \(KeyError: 'gold'\) on the answer"),
        (lambda texts: 1.0, r"The reward function failed \(TypeError"),
        (lambda p, t: float("nan"), "gave nan for"),
        (lambda p, t: float("inf"), "gave inf for"),
        (lambda p, t: None, "gave None for"),
        (lambda p, t: "good", "gave 'good' for"),
        (lambda p, t: [0.5] * (len(step_ends(t)) + 1), "gave 2 rewards for the 1 steps of"),
        (lambda p, t: [0.5] if p == PROBLEMS[0] else 1.0, "some answers one number and others several"),
    ],
)
def test_a_reward_function_that_fails_is_told_in_one_sentence(checkpoint, tmp_path, reward, said):
    config = PolicyGradientConfig(steps=1, prompts=2, samples=2, max_new_tokens=2)
    with pytest.raises(ValueError, match=said):
        train_policy_gradient(checkpoint, draw, reward, config, tmp_path, device="cpu")


def test_mistakes_are_told_in_one_sentence(checkpoint, tmp_path):
    config = PolicyGradientConfig(steps=1, prompts=2, samples=2, max_new_tokens=2)

    def train(draw=draw, advantage=group_mean):
        out = tmp_path / str(len(list(tmp_path.iterdir())))
        return train_policy_gradient(checkpoint, draw, even, config, out, advantage, device="cpu")

    with pytest.raises(ValueError, match="no questions"):
        train(draw=lambda index: [])
    with pytest.raises(ValueError, match=r"rewards of shape \(2, 2\) into advantages of shape \(2, 1\)"):
        train(advantage=lambda rewards: rewards.mean(1, keepdim=True))
    with pytest.raises(ValueError, match="a spread of 0"):
        train(advantage=lambda rewards: rewards / 0.0)
    for wrong in ({"method": "dora"}, {"weighing": "length"}, {"steps": 0}, {"redraws": -1}, {"clip": (0.2, 0.0)}):
        with pytest.raises(ValueError):
            PolicyGradientConfig(**wrong)
    with pytest.raises(ValueError, match="learning_rate must be above 0"):
        PolicyGradientConfig(learning_rate=0.0)
    for wrong in ({"decay": 1.5}, {"clip": 0.0}, {"value_updates": 0}, {"learning_rate": -1.0}, {"method": "dora"}):
        with pytest.raises(ValueError):
            PPOConfig(**wrong)


def test_a_loss_that_is_no_number_takes_no_step():
    layer = torch.nn.Linear(2, 1)
    before = layer.weight.detach().clone()
    adam = torch.optim.AdamW(layer.parameters(), lr=0.5)
    loss = layer(torch.tensor([[float("inf"), 1.0]])).sum()
    loss.backward()
    with pytest.raises(FloatingPointError, match=r"lower learning_rate \(it is 0.5\)"):
        module.take_step(adam, list(layer.parameters()), float(loss.detach()))
    assert torch.equal(layer.weight, before) and layer.weight.grad is None


def test_importing_the_module_does_not_import_torch():
    code = "import sys, srm_utils.training.ppo; assert not {'trl', 'peft', 'datasets', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_run_is_readable_beside_its_weights(checkpoint, tmp_path):
    config = PolicyGradientConfig(steps=1, prompts=2, samples=2, max_new_tokens=2)
    trained = train_policy_gradient(checkpoint, draw, even, config, tmp_path, device="cpu")
    kept = json.loads((tmp_path / "trained.json").read_text())
    assert kept["log"] == list(trained.log) and kept["method"] == "full"
    assert load_model(tmp_path, device="cpu").sample([Prompt("What?")], 1, 2)[0][0].token_ids
