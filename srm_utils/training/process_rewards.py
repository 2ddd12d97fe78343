"""Process rewards: what each step of a solution is worth, and where its first error stands.

A process reward model is the reward model of `outcome_rewards` with a label after every step (lightman2024lets).
Labels come from the task's own step checks, from rollouts (wang2023mathshepherd) or, in Countdown, from exact values
of the states (setlur2024rewarding); or there are none, and the log-ratio of a policy trained on outcomes alone is
read as one (yuan2024free).
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from random import Random
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from srm_utils.sampling.completion import Cost, group_cost
from srm_utils.tasks.problem import Grade, Problem, Prompt, Task
from srm_utils.tasks.worlds.countdown import parse_state
from srm_utils.tasks.worlds.countdown_states import state_value
from srm_utils.training.checkpoint import TrainedModel, open_run
from srm_utils.training.outcome_rewards import (
    Labelled,
    RewardConfig,
    StepScores,
    check_labels,
    label_loss,
    new_reward_model,
    optimise,
    step_ends,
)

if TYPE_CHECKING:
    import torch

    from srm_utils.models import LanguageModel

# ---------------------------------------------------------------- labels from rules


def gold_labels(task: Task, problem: Problem, text: str, useless: float = 1.0) -> tuple[float, ...]:
    """1 after each step up to which nothing is wrong, 0 from the first wrong one on, by `Task.check_steps`.

    `useless` is the label of a step that is true but that the answer does not need (a dead end, in Countdown): 1
    labels what is correct, 0 what is promising. A sentence without anything to check is right; that of the answer
    is as right as the answer. (lightman2024lets stops labelling at the first error; what follows it is labelled
    here, so that the last step's score means something.)

    >>> from srm_utils.tasks import get_task
    >>> task = get_task("chain"); problem = task.problems(1, difficulty=2)[0]
    >>> gold_labels(task, problem, task.solution(problem, "cot"))
    (1.0, 1.0, 1.0)
    """
    checks, answer = task.check_steps(text, problem), task.extract(text)
    labels, sound = [], True
    for start, end in pairwise([0, *step_ends(text)]):
        verdicts = {c.verdict for c in checks if start <= c.start < end}
        if answer is not None and task.extract(text[start:end]) is not None:
            sound = sound and task.matches(answer, problem)
        sound = sound and "wrong" not in verdicts
        labels.append(0.0 if not sound else useless if "useless" in verdicts else 1.0)
    return tuple(labels)


def state_labels(
    task: Task, problem: Problem, text: str, value: Callable[[Iterable[int], int], float] = state_value
) -> tuple[float, ...]:
    """The exact value of the Countdown state after each step: a prover's chance to reach the target from there.

    With `countdown.state_value` the prover is perfect and the label says "promising"; with `random_play_value` it
    plays at random, and is likelier to succeed from one solvable state than from another (setlur2024rewarding).
    A state that an error made has the value 0, a stated answer that of its grade.
    """
    labels = []
    for end in step_ends(text):
        state = parse_state(text[:end], problem)
        if task.extract(text[:end]) is not None:
            labels.append(float(task.grade(text[:end], problem) == Grade.CORRECT))
        else:
            labels.append(0.0 if state is None else float(value(state, problem.facts["target"])))
    return tuple(labels)


def progress(values: Sequence[float], start: float) -> tuple[float, ...]:
    """How much each step has raised the chance of success (setlur2024rewarding, section 3); `start` is the chance
    before the first.

    >>> progress([0.5, 0.25, 1.0], start=0.25)
    (0.25, -0.25, 0.75)
    """
    return tuple(after - before for before, after in pairwise([start, *values]))


def with_noise(examples: Sequence[Labelled], share: float, seed: int = 0) -> list[Labelled]:
    """The examples with each label turned round (1 - label) with probability `share`.

    Raises ValueError for a share outside 0..1.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"The share of wrong labels is {share}; use a number from 0 to 1.")
    rng = Random(seed)
    return [
        replace(e, labels=tuple(y if y is None or rng.random() >= share else 1 - y for y in e.labels)) for e in examples
    ]


# ---------------------------------------------------------------- labels from rollouts


class Rollouts(NamedTuple):
    """For each solution, after each of its steps, the share of rollouts that were correct; and what they cost."""

    shares: list[tuple[float, ...]]
    cost: Cost

    @property
    def hard(self) -> list[tuple[float, ...]]:
        """1 where any rollout was correct: the hard estimation of wang2023mathshepherd (section 3.3)."""
        return [tuple(float(share > 0) for share in row) for row in self.shares]


def rollout_labels(
    task: Task,
    model: LanguageModel,
    problems: Sequence[Problem],
    texts: Sequence[str],
    rollouts: int = 8,
    style: str = "cot",
    max_new_tokens: int = 128,
    temperature: float = 1.0,
    seed: int = 0,
) -> Rollouts:
    """The chance of a correct end after each step, by completing every beginning `rollouts` times.

    The soft estimation of wang2023mathshepherd (section 3.3); `.hard` is the other one. All beginnings of all
    solutions are completed in one call, shared ones once; where an answer stands already, its grade is the label.
    Raises ValueError for no rollouts.
    """
    if rollouts < 1:
        raise ValueError(f"A label needs at least 1 rollout; {rollouts} are asked for.")
    begun = [[(p, t[:end]) for end in step_ends(t)] for p, t in zip(problems, texts, strict=True)]
    known: dict[tuple[Problem, str], float] = {}
    open_: dict[tuple[Problem, str], str] = {}
    for problem, beginning in (b for row in begun for b in row):
        if task.extract(beginning) is not None:
            known[problem, beginning] = float(task.grade(beginning, problem) == Grade.CORRECT)
        else:
            open_[problem, beginning] = model.render(task.prompt(problem, style)) + beginning
    cost = Cost()
    groups = model.sample(list(open_.values()), rollouts, max_new_tokens, temperature, seed=seed) if open_ else []
    for (problem, beginning), group in zip(open_, groups, strict=True):
        right = [task.grade(beginning + c.text, problem) == Grade.CORRECT for c in group]
        known[problem, beginning] = sum(right) / rollouts
        cost += group_cost(group)
    return Rollouts([tuple(known[b] for b in row) for row in begun], cost)


# ---------------------------------------------------------------- no labels: implicit rewards


def implicit_loss(logprobs: torch.Tensor, reference: torch.Tensor, labels: torch.Tensor, beta: float) -> torch.Tensor:
    """Cross-entropy of beta times a solution's log-ratio with its outcome (yuan2024free, section 3).

    `logprobs` and `reference` are the solutions' whole log-probabilities under the policy that is trained and the
    one it started from, shape (solutions,); `labels` their grades.

    >>> import torch
    >>> round(float(implicit_loss(torch.tensor([-3.0]), torch.tensor([-3.0]), torch.tensor([1.0]), 0.05)), 4)
    0.6931
    """
    return label_loss(beta * (logprobs - reference), labels)


@dataclass(frozen=True, eq=False)
class ImplicitRewards:
    """Scores from the log-ratio of two policies: sigmoid(beta log pi / pi_ref) of all that stands up to each step.

    A step's own reward is what it adds to the log-ratio (yuan2024free, proposition 3.1); the running sum, squashed,
    is the chance of success that the ratio implies, and so comparable with the other scorers'.
    """

    task: Task
    policy: LanguageModel
    reference: LanguageModel
    beta: float = 0.05
    style: str = "cot"
    name: str = "implicit rewards"

    def rewards(self, problems: Sequence[Problem], texts: Sequence[str]) -> tuple[list[tuple[float, ...]], list[Cost]]:
        """beta times the log-ratio that each step adds, and the cost of reading with both models."""
        reader = new_reward_model(self.task, self.policy, self.style)
        prompts = [self.task.prompt(p, self.style) for p in problems]
        new, old = self.policy.score(prompts, list(texts)), self.reference.score(prompts, list(texts))
        rewards = []
        for problem, text, a, b in zip(problems, texts, new, old, strict=True):
            ids, ends = reader.encode(problem, text)
            begin = len(ids) - len(a.logprobs)
            ratio = np.concatenate([[0.0], np.cumsum(np.subtract(a.logprobs, b.logprobs))])
            at = [0, *(end + 1 - begin for end in ends)]
            rewards.append(tuple(self.beta * float(ratio[j] - ratio[i]) for i, j in pairwise(at)))
        return rewards, [a.cost + b.cost for a, b in zip(new, old, strict=True)]

    def score(self, problems: Sequence[Problem], texts: Sequence[str]) -> list[StepScores]:
        """The chance that each beginning of each solution implies."""
        rewards, costs = self.rewards(problems, texts)
        return [
            StepScores(tuple(1 / (1 + math.exp(-q)) for q in accumulate(row)), cost)
            for row, cost in zip(rewards, costs, strict=True)
        ]


def train_implicit(
    task: Task,
    model: LanguageModel | str | os.PathLike[str],
    examples: Sequence[Labelled],
    config: RewardConfig,
    out: str | os.PathLike[str],
    beta: float = 0.05,
    style: str = "cot",
    device: str = "auto",
) -> TrainedModel:
    """Trains the policy of `ImplicitRewards` on the outcome (the last label) of each solution, by `implicit_loss`.

    The reference is the model as it is given. Resumes, and raises, as `train_reward_model` does, and raises
    ValueError for a solution without a last label.
    """
    import torch

    examples = [replace(e, labels=(*[None] * (len(e.labels) - 1), e.labels[-1])) for e in examples]
    check_labels(examples)
    labels = [float(label) for e in examples if (label := e.labels[-1]) is not None]
    if len(labels) < len(examples):
        raise ValueError(
            f"{len(examples) - len(labels)} of {len(examples)} solutions have no label at their end; grade them, or "
            "leave them out."
        )
    data = [[e.problem.question, e.text, e.labels[-1]] for e in examples]
    run = open_run(model, out, config, [style, beta, data], device)
    if run.finished is not None:
        return run.finished
    prompts = [task.prompt(e.problem, style) for e in examples]
    reader = new_reward_model(task, run.policy, style)
    rows = [reader.encode(e.problem, e.text)[0] for e in examples]
    begins = [len(run.policy.encode(prompt)) for prompt in prompts]
    reference = _reference(run.policy, prompts, rows, begins)

    def loss(batch: Sequence[int]) -> torch.Tensor:
        width = max(len(rows[i]) for i in batch)
        target = run.policy.model.device
        ids = torch.tensor([[*rows[i], *[0] * (width - len(rows[i]))] for i in batch], device=target)
        said = torch.tensor([[begins[i] <= at < len(rows[i]) for at in range(1, width)] for i in batch], device=target)
        mask = torch.tensor([[1] * len(rows[i]) + [0] * (width - len(rows[i])) for i in batch], device=target)
        logits = run.policy.model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1]
        logprobs = logits.float().log_softmax(-1).gather(2, ids[:, 1:, None])[:, :, 0]
        whole = (logprobs * said).sum(1)
        before = torch.tensor([reference[i] for i in batch], device=target)
        return implicit_loss(whole, before, torch.tensor([labels[i] for i in batch], device=target), beta)

    return optimise(run, {}, loss, [len(row) for row in rows], config)


def _reference(
    model: LanguageModel, prompts: Sequence[Prompt], rows: list[list[int]], begins: list[int]
) -> list[float]:
    return [s.logprob for s in model.score(prompts, [row[b:] for row, b in zip(rows, begins, strict=True)])]


# ---------------------------------------------------------------- rules as scorers


@dataclass(frozen=True)
class RuleScorer:
    """A scorer that labels solutions by a plain function `(problem, text) -> labels`, at no cost: the task's own
    checks as a ceiling, or a rule with a hole."""

    label: Callable[[Problem, str], Sequence[float]]
    name: str = "rule"

    def score(self, problems: Sequence[Problem], texts: Sequence[str]) -> list[StepScores]:
        return [StepScores(tuple(self.label(p, t)), Cost()) for p, t in zip(problems, texts, strict=True)]


# ---------------------------------------------------------------- where the first error stands


def first_error(scores: Sequence[float], threshold: float = 0.5) -> int:
    """Index of the first step that scores below the threshold; -1 where none does.

    >>> first_error([0.9, 0.2, 0.1]), first_error([0.9, 0.8])
    (1, -1)
    """
    return next((i for i, score in enumerate(scores) if score < threshold), -1)


class FirstErrors(NamedTuple):
    """Accuracy on solutions with an error (the exact step has to be found), on those without, and their F1."""

    erroneous: float
    correct: float
    f1: float


def first_error_f1(found: Sequence[int], true: Sequence[int]) -> FirstErrors:
    """ProcessBench's score: the harmonic mean of both accuracies (zheng2025processbench, section 3.5).

    `found` and `true` are indices of first errors, -1 for none. Raises ValueError unless both kinds of solution
    are there.

    >>> first_error_f1([1, 0, -1, -1], [1, 2, -1, -1])
    FirstErrors(erroneous=0.5, correct=1.0, f1=0.6666666666666666)
    """
    hits: dict[bool, list[bool]] = {True: [], False: []}
    for a, b in zip(found, true, strict=True):
        hits[b >= 0].append(a == b)
    if not hits[True] or not hits[False]:
        missing = "with" if not hits[True] else "without"
        raise ValueError(f"There is no solution {missing} an error here, so there is no F1; take more solutions.")
    erroneous, correct = (float(np.mean(hits[kind])) for kind in (True, False))
    both = erroneous + correct
    return FirstErrors(erroneous, correct, 2 * erroneous * correct / both if both else 0.0)


def tune_threshold(scores: Sequence[Sequence[float]], true: Sequence[int], candidates: int = 100) -> float:
    """The threshold with the best F1 on solutions whose first errors are known; tune on validation, not on test."""
    flat = np.unique(np.concatenate([np.asarray(row, dtype=float) for row in scores]))
    # Between neighbouring scores, so that none stands exactly on it.
    between = (flat[1:] + flat[:-1]) / 2
    quantiles = np.quantile(between, np.linspace(0, 1, candidates)) if len(between) > candidates else between
    f1 = {float(t): first_error_f1([first_error(row, t) for row in scores], true).f1 for t in [*quantiles, 0.5]}
    return max(f1, key=lambda t: f1[t])
