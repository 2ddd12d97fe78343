"""Preference optimisation: make the right one of two answers likelier than the wrong one, without a reward model.

Direct preference optimisation (rafailov2023dpo) reads pairs. Here they are made from a model's own graded samples
(`graded_pairs`), or from single steps (`step_pairs`, lai2024stepdpo): then both continue the same right beginning, and
nothing after the step counts. `dpo_loss` may hold up the likelihood of the right answer, and `iterate` draws new pairs
from each round's model (both pang2024iterative).

The loop is ours and not TRL's `DPOTrainer`, whose loss it has: that one closes every continuation with an end token, so
a model trained on steps would learn to stop after one; it writes samples out as text and tokenises them anew; and
it reads each prompt twice.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from srm_utils.models import LanguageModel, load_model
from srm_utils.sampling.completion import Completion, Cost, group_cost
from srm_utils.sampling.text import ContinuationTokenizer
from srm_utils.tasks.problem import Grade, Problem, Prompt, Task
from srm_utils.training.checkpoint import TrainedModel, load_checkpoint, open_run, save_checkpoint
from srm_utils.training.outcome_rewards import batch_indices, rate_share, step_ends
from srm_utils.training.policy_gradient import (
    HELD_LOGITS,
    Answers,
    default_rate,
    read_answers,
    step_tokens,
    take_step,
)
from srm_utils.training.process_rewards import gold_labels
from srm_utils.training.supervised import BITS, Method, merge_adapter

if TYPE_CHECKING:
    import torch

#: What a policy under training is looked at for: names and numbers, which join the log.
Watch = Callable[[LanguageModel], Mapping[str, float]]
#: Pairs that are read at once, where their logits fit.
READ_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class PreferenceConfig:
    """How to train.

    `steps` optimiser steps of `batch_size` pairs each. `beta` is DPO's: how little the policy is to leave its
    start for the preference's sake; `likelihood` weighs the negative log-likelihood of the chosen one (`dpo_loss`).
    `learning_rate` is the peak after `warmup` (a share of the steps), from where it falls linearly to 0; None takes
    that of `policy_gradient.default_rate`. `rank` and `alpha` are LoRA's. A checkpoint is kept every `save_every`
    steps; every `watch_every` steps the policy is looked at, where `train_preferences` is told what for.
    """

    method: Method = "full"
    steps: int = 60
    batch_size: int = 16
    beta: float = 0.1
    likelihood: float = 0.0
    learning_rate: float | None = None
    warmup: float = 0.1
    rank: int = 16
    alpha: int = 32
    save_every: int = 50
    watch_every: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in BITS:
            raise ValueError(f"There is no method {self.method!r}; choose one of {', '.join(BITS)}.")
        if min(self.steps, self.batch_size, self.rank, self.alpha, self.save_every, self.watch_every) < 1:
            raise ValueError(
                "steps, batch_size, rank, alpha, save_every and watch_every must be at least 1; the configuration is "
                f"{self}."
            )
        if not self.beta > 0 or not self.likelihood >= 0 or not 0 <= self.warmup <= 1:
            raise ValueError(
                f"beta must be above 0, likelihood at least 0 and warmup between 0 and 1; the configuration is {self}."
            )
        if self.learning_rate is not None and not self.learning_rate > 0:
            raise ValueError(f"learning_rate must be above 0; it is {self.learning_rate}.")


# ---------------------------------------------------------------- the loss


def dpo_loss(
    chosen: torch.Tensor,
    rejected: torch.Tensor,
    reference_chosen: torch.Tensor,
    reference_rejected: torch.Tensor,
    beta: float = 0.1,
    likelihood: float = 0.0,
    tokens: torch.Tensor | float = 1.0,
) -> torch.Tensor:
    """The loss of each pair, shape (pairs,): -log sigmoid of beta times how much further apart they are than before.

    All four are log-probabilities of whole continuations, shape (pairs,), under the policy and under the reference
    (rafailov2023dpo, equation 7). `likelihood` adds that many times the negative log-likelihood of the chosen one
    per token, of which there are `tokens` (pang2024iterative, equation 1): without it both may become less likely.

    >>> import torch
    >>> start = torch.tensor([-3.0]), torch.tensor([-5.0])
    >>> [round(float(dpo_loss(*start, *start, likelihood=w, tokens=3)), 3) for w in (0.0, 1.0)]  # ln 2, and a nat more
    [0.693, 1.693]
    """
    from torch.nn.functional import logsigmoid

    further = (chosen - reference_chosen) - (rejected - reference_rejected)
    return -logsigmoid(beta * further) - likelihood * chosen / tokens


# ---------------------------------------------------------------- pairs


@dataclass(frozen=True, slots=True)
class Preference:
    """Two continuations of one prompt, token by token as they were drawn: the first is to become the likelier one.

    For a single step the prompt is a text that ends where the step begins.
    """

    prompt: Prompt | str
    chosen: Completion
    rejected: Completion


def graded_pairs(
    task: Task,
    problems: Sequence[Problem],
    groups: Sequence[Sequence[Completion]],
    style: str = "unmarked",
    per_problem: int = 4,
    seed: int = 0,
) -> list[Preference]:
    """Up to `per_problem` pairs of a right and a wrong sample of each problem that has both, drawn at random.

    A problem that is always or never solved gives none. `style` is the one in which the samples were asked for.
    """
    rng, pairs = Random(f"{seed}/pairs"), []
    for problem, group in zip(problems, groups, strict=True):
        distinct = {c.token_ids: c for c in group}.values()
        right = [c for c in distinct if task.grade(c.text, problem) == Grade.CORRECT]
        wrong = [c for c in distinct if task.grade(c.text, problem) != Grade.CORRECT]
        prompt = task.prompt(problem, style)
        both = [Preference(prompt, r, w) for r in right for w in wrong]
        pairs += rng.sample(both, min(per_problem, len(both)))
    return pairs


def step_pairs(
    task: Task,
    model: LanguageModel,
    problems: Sequence[Problem],
    groups: Sequence[Sequence[Completion]],
    style: str = "unmarked",
    n: int = 4,
    per_problem: int = 4,
    max_new_tokens: int = 128,
    seed: int = 0,
) -> tuple[list[Preference], Cost]:
    """Pairs of single steps, and what drawing the right ones cost (lai2024stepdpo, section 3.2).

    Of up to `per_problem` wrong samples of each problem, the first wrong step is found by the task's own checks and
    the text before it continued `n` times by the model. The next step of a continuation that ends right is
    preferred to the wrong one; a sample that no continuation mends gives no pair. `groups` are samples of `model`.
    """
    decode = ContinuationTokenizer(model.tokenizer, model.encode("a")).decode
    failed: list[tuple[Problem, str, Completion]] = []
    for problem, group in zip(problems, groups, strict=True):
        steps = (_wrong_step(task, problem, c, decode) for c in {c.token_ids: c for c in group}.values())
        failed += [(problem, *step) for step in steps if step is not None][:per_problem]
    if not failed:
        return [], Cost()
    prompts = [model.render(task.prompt(problem, style)) + before for problem, before, _ in failed]
    tries = model.sample(prompts, n, max_new_tokens, seed=seed)
    pairs = []
    for prompt, (problem, before, wrong), group in zip(prompts, failed, tries, strict=True):
        number = len(step_ends(before)) if before else 0
        for c in (c for c in group if task.grade(before + c.text, problem) == Grade.CORRECT):
            sound = gold_labels(task, problem, before + c.text)[number : number + 1] == (1.0,)
            step = _step(c, 0, decode)
            if sound and step.token_ids != wrong.token_ids:
                pairs.append(Preference(prompt, step, wrong))
                break
    return pairs, Cost.total(group_cost(group) for group in tries)


def _wrong_step(
    task: Task, problem: Problem, sample: Completion, decode: Callable[[Sequence[int]], str]
) -> tuple[str, Completion] | None:
    """What stands before the first wrong step of a sample, and that step; None where nothing wrong is found."""
    labels = gold_labels(task, problem, sample.text)
    if 0.0 not in labels or not sample.token_ids:
        return None
    first = labels.index(0.0)
    return sample.text[: step_ends(sample.text)[first - 1]] if first else "", _step(sample, first, decode)


def _step(sample: Completion, number: int, decode: Callable[[Sequence[int]], str]) -> Completion:
    """One step of a sample, with its tokens and without an end token."""
    ends, places = step_ends(sample.text), step_tokens(sample, decode)
    text = slice(ends[number - 1] if number else 0, ends[number])
    said = slice(places[number - 1] + 1 if number else 0, places[number] + 1)
    return replace(sample, text=sample.text[text], token_ids=sample.token_ids[said], logprobs=sample.logprobs[said])


# ---------------------------------------------------------------- training


def train_preferences(
    model: LanguageModel | str | os.PathLike[str],
    pairs: Sequence[Preference],
    config: PreferenceConfig,
    out: str | os.PathLike[str],
    device: str = "auto",
    watch: Watch | None = None,
    progress: bool = False,
) -> TrainedModel:
    """Train on pairs and save into `out`; the model given is left as it is, and is the reference.

    Reference log-probabilities are read once, before the first step, with the very weights that training starts
    from. The log has one entry a step, each a mean over the step's pairs before its update: `loss`; log-probability of
    the `chosen` and of the `rejected`, and by how much they have changed since the start (`chosen_change`,
    `rejected_change`, nats); the implicit rewards' `margin`, beta times the difference of the changes; `accuracy`,
    the share of pairs whose margin is above 0; `gradient_norm` before it is cut at 1. What `watch` finds after every
    `watch_every` steps and the last joins the entry, uncounted. Tokens, flops and seconds count from the start, the
    reference's too.

    Called again after an interruption, training goes on from its last checkpoint and ends with the same weights.
    Raises ValueError for no pairs, a pair that cannot be read or an `out` that holds another run, FloatingPointError
    where the loss is not a number; the last good checkpoint is kept.
    """
    import torch
    from tqdm import tqdm

    _check(pairs)
    shown = [
        [p.prompt if isinstance(p.prompt, str) else p.prompt.text(), p.chosen.token_ids, p.rejected.token_ids]
        for p in pairs
    ]
    run = open_run(model, out, config, shown, device)
    if run.finished is not None:
        return run.finished
    policy, network, trained = run.policy, run.policy.model, run.trained
    _check_lengths(policy, pairs)
    clock = time.perf_counter()
    plan = [batch_indices(len(pairs), config.batch_size, step, config.seed) for step in range(config.steps)]
    reference, read = reference_logprobs(policy, pairs, sorted({i for batch in plan for i in batch}))
    # Per token: 2 FLOPs a weight forwards, 2 backwards through it, 2 more where it is trained.
    met = policy.flops_per_token / 2
    passes = 4 * met + 2 * min(met, sum(p.numel() for p in trained))
    spent = {"tokens": read, "flops": 2 * met * read, "seconds": time.perf_counter() - clock}
    rate = config.learning_rate or default_rate(config.method, policy.parameters)
    optimizer = torch.optim.AdamW(trained, lr=rate, betas=(0.9, 0.99), weight_decay=0.0)
    modules, optimizers = {"policy": network}, {"adam": optimizer}
    begun, log = load_checkpoint(run.out, modules, optimizers) or (0, [])
    for step in tqdm(range(begun, config.steps), initial=begun, total=config.steps, disable=not progress):
        clock = time.perf_counter()
        for group in optimizer.param_groups:
            group["lr"] = rate * rate_share(step, config.steps, round(config.warmup * config.steps))
        found, read = gradients(policy, [pairs[i] for i in plan[step]], reference[plan[step]], config)
        found["gradient_norm"] = take_step(optimizer, trained, found["loss"])
        before = log[-1] if log else spent
        found["tokens"], found["flops"] = before["tokens"] + read, before["flops"] + passes * read
        found["seconds"] = before["seconds"] + time.perf_counter() - clock
        last = step + 1 == config.steps
        if watch is not None and (last or (step + 1) % config.watch_every == 0):
            found |= watch(policy)
        log.append({"step": step + 1, **found})
        if (step + 1) % config.save_every == 0 and not last:
            save_checkpoint(run.out, step + 1, modules, optimizers, log)
    end = log[-1]
    return run.finish(int(end["tokens"]), end["flops"], end["seconds"], log, [optimizer])


def reference_logprobs(
    policy: LanguageModel, pairs: Sequence[Preference], chosen: Sequence[int]
) -> tuple[torch.Tensor, int]:
    """Log-probabilities under the present weights, shape (pairs, 2), of those pairs that are `chosen`; tokens read.

    The others' rows are nan.
    """
    import torch

    found, tokens = torch.full((len(pairs), 2), torch.nan, device=policy.model.device), 0
    with torch.no_grad():
        for rows, logprobs, answers in _read(policy, [pairs[i] for i in chosen]):
            found[list(chosen[rows])] = logprobs
            tokens += answers.tokens
    return found, tokens


def gradients(
    policy: LanguageModel, batch: Sequence[Preference], reference: torch.Tensor, config: PreferenceConfig
) -> tuple[dict[str, float], int]:
    """Adds the gradient of the batch's mean loss to the weights; returns the log's means and the tokens read.

    `reference` has shape (pairs, 2): log-probabilities of chosen and rejected under the reference.
    """
    import torch

    tokens, whole, losses = 0, [], []
    for rows, logprobs, answers in _read(policy, batch):
        lengths = answers.mask.sum(1)[::2]
        terms = {"beta": config.beta, "likelihood": config.likelihood, "tokens": lengths}
        loss = dpo_loss(*logprobs.T, *reference[rows].T, **terms)
        (loss.sum() / len(batch)).backward()
        whole.append(logprobs.detach())
        losses.append(loss.detach())
        tokens += answers.tokens
    now = torch.cat(whole)
    chosen_change, rejected_change = (now - reference).T
    margin = config.beta * (chosen_change - rejected_change)
    seen = {
        "loss": torch.cat(losses), "chosen": now[:, 0], "rejected": now[:, 1], "chosen_change": chosen_change,
        "rejected_change": rejected_change, "margin": margin, "accuracy": (margin > 0).float(),
    }  # fmt: skip
    return {k: float(v.mean()) for k, v in seen.items()}, tokens


# ---------------------------------------------------------------- round after round


@dataclass(frozen=True, slots=True)
class Round:
    """One round: what the round's model answered, the pairs made of it, what drawing cost, the model trained on them.

    `accuracy` and mean `length` in tokens are those of the samples, `mixed` is the share of problems with both kinds.
    """

    accuracy: float
    length: float
    mixed: float
    pairs: tuple[Preference, ...]
    sampling: Cost
    trained: TrainedModel


def iterate(
    model: LanguageModel | str | os.PathLike[str],
    task: Task,
    questions: Sequence[Sequence[Problem]],
    config: PreferenceConfig,
    out: str | os.PathLike[str],
    style: str = "unmarked",
    samples: int = 8,
    per_problem: int = 4,
    max_new_tokens: int = 128,
    device: str = "auto",
    watch: Watch | None = None,
) -> list[Round]:
    """Sample, grade, pair, train, and again from the model just trained: one round for each list of `questions`.

    The reference is refreshed with the policy: each round's is the model that drew its samples (pang2024iterative,
    section 2). Each round lies in a folder of `out`; a run that was cut goes on where it was, and ends with the same
    weights. Raises ValueError where a round finds no problem with both a right and a wrong sample.
    """
    done: list[Round] = []
    start: LanguageModel | str | os.PathLike[str] = model
    name = model.name if isinstance(model, LanguageModel) else os.fspath(model)
    for i, problems in enumerate(questions):
        writer = start if isinstance(start, LanguageModel) else load_model(start, BITS[config.method], device)
        seed = 1_000_003 * config.seed + i
        prompts = [task.prompt(p, style) for p in problems]
        groups = writer.sample(prompts, samples, max_new_tokens, seed=seed)
        pairs = graded_pairs(task, problems, groups, style, per_problem, seed)
        folder = Path(out) / f"round-{i + 1}"
        trained = train_preferences(start, pairs, replace(config, seed=seed), folder, device, watch)
        grades = [[task.grade(c.text, p) == Grade.CORRECT for c in g] for p, g in zip(problems, groups, strict=True)]
        lengths = [len(c.token_ids) for g in groups for c in g]
        done.append(
            Round(
                accuracy=sum(map(sum, grades)) / len(lengths),
                length=sum(lengths) / len(lengths),
                mixed=sum(0 < sum(row) < len(row) for row in grades) / len(grades),
                pairs=tuple(pairs),
                sampling=Cost.total(group_cost(g) for g in groups),
                trained=replace(trained, name=f"{name}, {config.method}, round {i + 1}"),
            )
        )
        if i + 1 < len(questions):  # an adapter would hide what the next round is to start from
            start = folder if config.method == "full" else merge_adapter(trained, folder / "merged", device)
    return done


# ---------------------------------------------------------------- inner parts


def _read(policy: LanguageModel, pairs: Sequence[Preference]) -> Iterator[tuple[slice, torch.Tensor, Answers]]:
    """Log-probabilities of whole continuations, shape (pairs, 2), some pairs at a time: which, what, how read."""
    width = max(len(policy.encode(p.prompt)) + len(p.chosen.token_ids) + len(p.rejected.token_ids) for p in pairs)
    held = HELD_LOGITS // (width * policy.model.config.get_text_config().vocab_size)
    count = max(1, min(READ_AT_ONCE, held))
    for start in range(0, len(pairs), count):
        rows = slice(start, start + count)
        answers = Answers.of(policy, [p.prompt for p in pairs[rows]], [(p.chosen, p.rejected) for p in pairs[rows]])
        logprobs = (read_answers(policy, answers).logprobs * answers.mask).sum(1)
        yield rows, logprobs.reshape(-1, 2), answers


def _check(pairs: Sequence[Preference]) -> None:
    if not pairs:
        raise ValueError(
            "There are no pairs to train on; some problem needs both a right and a wrong sample: draw more samples, or "
            "harder or easier problems."
        )
    for p in pairs:
        if not p.chosen.token_ids or not p.rejected.token_ids:
            raise ValueError("A continuation of a pair has no tokens; leave the pair out.")
        if p.chosen.token_ids == p.rejected.token_ids:
            raise ValueError(f"A pair prefers {p.chosen.text.strip()[:40]!r} to itself; leave it out.")


def _check_lengths(policy: LanguageModel, pairs: Sequence[Preference]) -> None:
    longest = max(len(policy.encode(p.prompt)) + max(len(p.chosen.token_ids), len(p.rejected.token_ids)) for p in pairs)
    if longest > policy.positions:
        raise ValueError(f"A pair has {longest} tokens and {policy.name!r} reads {policy.positions}; leave it out.")
