"""Step labels against the worlds' own errors, rollouts against an enumerable policy, log-ratios against scores."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from random import Random

import numpy as np
import pytest
import torch

from srm_utils.sampling.completion import Completion, Cost
from srm_utils.tasks import get_task
from srm_utils.tasks.problem import Problem
from srm_utils.tasks.worlds.countdown_states import random_play_value, state_value
from srm_utils.tasks.worlds.graph import lookup_table
from srm_utils.training.outcome_rewards import Labelled, RewardConfig, step_ends
from srm_utils.training.process_rewards import (
    ImplicitRewards,
    RuleScorer,
    first_error,
    first_error_f1,
    gold_labels,
    implicit_loss,
    progress,
    rollout_labels,
    state_labels,
    train_implicit,
    tune_threshold,
    with_noise,
)

TASK = get_task("chain")
PROBLEMS = TASK.problems(8, split="train", difficulty=(1, 3))
COUNTDOWN = get_task("countdown")
#: 3, 8 and 2 make 22 as 8 * 3 - 2.
MAKE_22 = Problem("c", "countdown", "", "", 3, "", (), {"numbers": [3, 8, 2], "target": 22})


# ---------------------------------------------------------------- labels


@pytest.mark.parametrize("name", ["chain", "graph", "countdown"])
def test_the_first_bad_label_is_where_the_error_was_put(name):
    task, rng = get_task(name), Random(4)
    for problem in task.problems(40, split="train", seed=4):
        steps, at = task.corrupt(problem, rng)
        labels = gold_labels(task, problem, f" {'. '.join(steps)}.")
        assert first_error(labels) == at
        assert set(labels[at:]) == {0.0}, "what stands on an error is no better"
        whole = gold_labels(task, problem, task.solution(problem, "cot"))
        assert set(whole) == {1.0}


def test_a_wrong_answer_after_right_steps_is_the_error():
    p = PROBLEMS[1]
    text = f" {'. '.join(p.steps)}. The answer is {int(p.answer) + 1}."
    assert gold_labels(TASK, p, text) == (1.0, 1.0, 1.0, 0.0)


def test_correct_is_not_promising():
    text = " 8 + 3 = 11. Left 11, 2. 11 * 2 = 22. The answer is ( 8 + 3 ) * 2."
    assert gold_labels(COUNTDOWN, MAKE_22, text)[0] == 1.0  # 22 = (8 + 3) * 2 as well
    dead = " 8 - 3 = 5. Left 5, 2. 5 * 2 = 10."
    assert gold_labels(COUNTDOWN, MAKE_22, dead) == (1.0, 1.0, 1.0)
    assert gold_labels(COUNTDOWN, MAKE_22, dead, useless=0.0) == (0.0, 1.0, 0.0)
    graph = get_task("graph")
    for problem in graph.problems(20, split="train", difficulty=2):
        unneeded = [x for x in problem.facts["nodes"] if x not in problem.facts["needed"]]
        table = lookup_table(problem)
        text = f" {table[unneeded[0]]} {graph.solution(problem, 'cot')}"
        assert set(gold_labels(graph, problem, text)) == {1.0}
        assert gold_labels(graph, problem, text, useless=0.0)[:2] == (0.0, 1.0)


def test_states_have_their_exact_values():
    text = " 8 * 3 = 24. Left 24, 2. 24 - 2 = 22. The answer is ( 8 * 3 ) - 2."
    assert state_labels(COUNTDOWN, MAKE_22, text) == (1.0, 1.0, 1.0, 1.0)
    chance = random_play_value((24, 2), 22)
    assert 0 < chance < 1
    assert state_labels(COUNTDOWN, MAKE_22, text, random_play_value) == (chance, chance, 1.0, 1.0)
    dead = " 8 - 3 = 5. 5 * 2 = 10. The answer is ( 8 - 3 ) * 2."
    assert not state_value((5, 2), 22)
    assert state_labels(COUNTDOWN, MAKE_22, dead) == (0.0, 0.0, 0.0)
    assert state_labels(COUNTDOWN, MAKE_22, " 8 * 3 = 25.") == (0.0,), "an error has no state"


def test_progress_adds_up_to_what_was_gained():
    values = (0.3, 0.1, 0.1, 1.0)
    assert sum(progress(values, 0.25)) == pytest.approx(0.75)
    assert progress(values, 0.25)[2] == 0


def test_noise_turns_its_share_round_and_leaves_gaps():
    examples = [Labelled(PROBLEMS[0], "One. Two. Three.", (1.0, None, 0.0))] * 2000
    noisy = with_noise(examples, 0.3, seed=1)
    assert noisy == with_noise(examples, 0.3, seed=1)
    assert {e.labels[1] for e in noisy} == {None}
    assert np.mean([e.labels[0] == 0 for e in noisy]) == pytest.approx(0.3, abs=0.03)
    assert np.mean([e.labels[2] == 1 for e in noisy]) == pytest.approx(0.3, abs=0.03)
    assert with_noise(examples, 0.0) == examples
    with pytest.raises(ValueError, match="number from 0 to 1"):
        with_noise(examples, 1.5)


# ---------------------------------------------------------------- rollouts


class Coins:
    """A policy that goes on with "A." or "B." until three letters stand and then answers: right for two A's or more.

    It deals all its continuations out in turn, each as often as it is likely (every letter 1/2): a number of
    rollouts that the continuations divide gives the exact chance.
    """

    flops_per_token = 2.0

    def __init__(self, answers):
        self.answers, self.asked = answers, []

    def render(self, prompt):
        return prompt.question + "\n"

    def sample(self, prompts, n, max_new_tokens, temperature, seed):
        self.asked += prompts
        groups = []
        for prompt in prompts:
            question, begun = prompt.split("\n")
            letters = [c for c in begun if c in "AB"]
            rests = itertools.cycle(itertools.product("AB", repeat=3 - len(letters)))
            group = []
            for rest in itertools.islice(rests, n):
                good = (letters + list(rest)).count("A") >= 2
                answer = self.answers[question] if good else "no"
                text = "".join(f" {x}." for x in rest) + f" The answer is {answer}."
                group.append(
                    Completion(
                        text, (1, 2), (-0.1, -0.1), "stop", 7, Cost(generated_tokens=2, flops=4.0), Cost(7, flops=14.0)
                    )
                )
            groups.append(group)
        return groups


def test_rollouts_give_the_exact_chance():
    p, q = PROBLEMS[:2]
    policy = Coins({p.question: p.answer, q.question: q.answer})
    right, wrong = f" A. B. A. The answer is {p.answer}.", " B. B. A. The answer is 0."
    labels = rollout_labels(TASK, policy, [p, p, q], [right, wrong, " A. A. B."], rollouts=8)
    # Two of three: 3/4 after A, 1/2 after AB, 1 after ABA; 1/4 after B, 0 after BB.
    assert labels.shares == [(0.75, 0.5, 1.0, 1.0), (0.25, 0.0, 0.0, 0.0), (0.75, 1.0, 1.0)]
    assert labels.hard == [(1.0, 1.0, 1.0, 1.0), (1.0, 0.0, 0.0, 0.0), (1.0, 1.0, 1.0)]
    assert len(policy.asked) == len(set(policy.asked)) == 9, "a stated answer needs no rollouts"
    assert labels.cost.prompt_tokens == 9 * 7 and labels.cost.generated_tokens == 9 * 8 * 2
    twice = rollout_labels(TASK, policy, [p, p], [right, right], rollouts=8)
    assert twice.shares[0] == twice.shares[1] and twice.cost.prompt_tokens == 3 * 7, "shared beginnings once"
    with pytest.raises(ValueError, match="at least 1 rollout"):
        rollout_labels(TASK, policy, [p], [right], rollouts=0)


# ---------------------------------------------------------------- implicit rewards


def test_implicit_rewards_sum_to_the_log_ratio(untrained):
    policy, reference = untrained(seed=1), untrained(seed=2)
    scorer = ImplicitRewards(TASK, policy, reference, beta=0.1)
    texts = [" " + TASK.solution(p, "cot") for p in PROBLEMS]
    rewards, costs = scorer.rewards(PROBLEMS, texts)
    prompts = [TASK.prompt(p, "cot") for p in PROBLEMS]
    for row, text, new, old in zip(
        rewards, texts, policy.score(prompts, texts), reference.score(prompts, texts), strict=True
    ):
        assert len(row) == len(step_ends(text))
        assert sum(row) == pytest.approx(0.1 * (new.logprob - old.logprob), abs=1e-5)
    # A step's reward is the ratio of its own tokens: cut the text behind it and the others stay.
    text = texts[1]
    cut = text[: step_ends(text)[1]]
    assert scorer.rewards([PROBLEMS[1]], [cut])[0][0] == pytest.approx(rewards[1][:2], abs=1e-5)
    scored = scorer.score(PROBLEMS, texts)
    assert scored[1].scores[-1] == pytest.approx(1 / (1 + math.exp(-sum(rewards[1]))))
    both = [m.score(prompts[:1], texts[:1])[0].cost for m in (policy, reference)]
    assert costs[0].flops == both[0].flops + both[1].flops and costs[0].scored_tokens == 2 * both[0].scored_tokens
    same = ImplicitRewards(TASK, policy, policy).score(PROBLEMS, texts)
    assert {s for row in same for s in row.scores} == {0.5}


def test_the_implicit_loss_in_closed_form():
    new, old = torch.tensor([-3.0, -1.0]), torch.tensor([-5.0, -2.0])
    by_hand = -(math.log(1 / (1 + math.exp(-0.5 * 2))) + math.log(1 - 1 / (1 + math.exp(-0.5 * 1)))) / 2
    assert float(implicit_loss(new, old, torch.tensor([1.0, 0.0]), 0.5)) == pytest.approx(by_hand)


def test_outcomes_alone_raise_the_ratio_of_the_right_ones(untrained, tmp_path):
    reference = untrained()
    texts = (" The answer is 1.", " The answer is 2.")
    examples = [Labelled(p, t, (y,)) for p in PROBLEMS[:6] for t, y in zip(texts, (1.0, 0.0), strict=True)]
    config = RewardConfig(steps=15, batch_size=6, learning_rate=3e-3)
    trained = train_implicit(TASK, reference, examples, config, tmp_path / "implicit", beta=0.2)
    assert trained.log[0]["loss"] == pytest.approx(math.log(2), abs=1e-4), "at the start the ratio is 1"
    scorer = ImplicitRewards(TASK, trained.load("cpu"), reference, beta=0.2)
    good, bad = scorer.score([PROBLEMS[7]] * 2, texts)
    assert good.scores[0] > 0.6 > 0.4 > bad.scores[0]
    with pytest.raises(ValueError, match="Every solution to train on is wrong"):
        train_implicit(TASK, reference, examples[1::2], config, tmp_path / "one")
    ungraded = [replace(examples[2], labels=(None,)), *examples[:2]]
    with pytest.raises(ValueError, match="1 of 3 solutions have no label at their end; grade them, or leave them out"):
        train_implicit(TASK, reference, ungraded, config, tmp_path / "ungraded")
    assert not (tmp_path / "ungraded").exists()


# ---------------------------------------------------------------- the first error


def test_first_error_f1_on_hand_cases():
    assert first_error_f1([0, 2, -1, -1], [0, 2, -1, -1]).f1 == 1
    assert first_error_f1([-1, -1, -1], [0, 1, -1]) == (0.0, 1.0, 0.0), "to find no error ever is worth nothing"
    assert first_error_f1([0, 0, 0], [0, 1, -1]) == (0.5, 0.0, 0.0)
    found = first_error_f1([1, 2, 0, -1, -1, 3], [1, 1, 0, -1, -1, -1])
    assert found.erroneous == pytest.approx(2 / 3) and found.correct == pytest.approx(2 / 3)
    assert found.f1 == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="no solution without an error"):
        first_error_f1([0], [0])
    with pytest.raises(ValueError, match="no solution with an error"):
        first_error_f1([-1], [-1])


def test_the_threshold_is_found_where_it_separates():
    rows = [[0.9, 0.31, 0.2], [0.8, 0.7], [0.35, 0.9], [0.4, 0.3, 0.1]]
    true = [1, -1, -1, 1]
    best = tune_threshold(rows, true)
    assert 0.31 < best < 0.35
    assert first_error_f1([first_error(r, best) for r in rows], true).f1 == 1
    assert first_error_f1([first_error(r) for r in rows], true).f1 < 1


def test_the_tasks_own_checks_find_every_error():
    rng = Random(2)
    wrong = [(p, *TASK.corrupt(p, rng)) for p in PROBLEMS]
    oracle = RuleScorer(lambda p, text: gold_labels(TASK, p, text), "gold")
    problems = [p for p, _, _ in wrong] + PROBLEMS
    texts = [f" {'. '.join(steps)}." for _, steps, _ in wrong] + [TASK.solution(p, "cot") for p in PROBLEMS]
    found = [first_error(s.scores) for s in oracle.score(problems, texts)]
    assert first_error_f1(found, [at for _, _, at in wrong] + [-1] * len(PROBLEMS)).f1 == 1
