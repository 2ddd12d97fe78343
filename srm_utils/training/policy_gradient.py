"""Policy gradient from the ground up: REINFORCE, RLOO, GRPO, Dr. GRPO and DAPO as sums of named terms.

Answers to a batch of questions are drawn and rewarded; what did better than it was expected to becomes likelier.
The variants differ in four places only, each a function here: what an answer's *advantage* is (from `raw_rewards` to
`return_to_go`), what is done about answers drawn by earlier weights (`reinforce_term`, `clipped_term`), how much each
token *weighs* (`token_weights`), and whether the policy is held to its start (`kl_term`). DAPO also draws questions
anew whose answers are all as good as each other (`with_signal`). `VARIANTS` says which papers chose what.

`ppo` has a critic beside the policy and so a loop of its own.
"""

from __future__ import annotations

import math
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from srm_utils.models import LanguageModel
from srm_utils.models.arithmetic import mixed_precision, plain_attention
from srm_utils.sampling.completion import Completion, Cost, group_cost
from srm_utils.sampling.text import ContinuationTokenizer
from srm_utils.tasks.problem import Problem, Prompt, Task
from srm_utils.training.checkpoint import TrainedModel, load_checkpoint, open_run, save_checkpoint
from srm_utils.training.outcome_rewards import step_ends
from srm_utils.training.supervised import BITS, Method

if TYPE_CHECKING:
    import os

    import torch

#: Questions of the i-th batch, with the prompts that ask them. Dynamic sampling asks for more batches than steps.
Draw = Callable[[int], Sequence[tuple[Problem, Prompt]]]
#: What a text is worth: one number (outcome, `outcome_rewards.Reward`), or one for each of its `step_ends` (process).
#: A run that is killed ends as if it had not been only if this depends on the problem and the text alone.
Reward = Callable[[Problem, str], float] | Callable[[Problem, str], Sequence[float]]
#: Rewards, shape (prompts, samples), to advantages of that shape; with process rewards (prompts, samples, tokens).
Advantage = Callable[["torch.Tensor"], "torch.Tensor"]
Weighing = Literal["sequence", "token", "constant"]

#: Rates for a model of `RATED_AT` parameters; three times as much drifted down while planning, ten times died.
RATES: dict[str, float] = {"full": 1e-4, "lora": 1e-3, "qlora": 1e-3}
RATED_AT = 2e6
#: Logits held at once in a training pass, in numbers; larger batches are taken in parts.
HELD_LOGITS = 2**27
#: Added to a deviation before dividing by it; what TRL adds.
EPSILON = 1e-4


@dataclass(frozen=True, slots=True)
class PolicyGradientConfig:
    """How to train; the values given learn on the bundled base (see the notebook for how they were found).

    Each of `steps` draws `samples` answers to each of `prompts` questions and takes `updates` optimiser steps on
    them. `learning_rate` rises over `warmup` steps and then stays; None takes `default_rate`. `clip` bounds the
    ratio of new to old probability, from 1 - clip[0] to 1 + clip[1]; None is plain REINFORCE. It acts from the
    second update on. `weighing` is that of `token_weights`, `kl` the weight of `kl_term`. `redraws` is how many
    batches more may be drawn in place of questions without signal. `rank` and `alpha` are LoRA's. A checkpoint is
    kept every `save_every` steps.
    """

    method: Method = "full"
    steps: int = 50
    prompts: int = 8
    samples: int = 8
    updates: int = 1
    learning_rate: float | None = None
    warmup: int = 5
    clip: tuple[float, float] | None = None
    weighing: Weighing = "constant"
    kl: float = 0.0
    redraws: int = 0
    max_new_tokens: int = 96
    rank: int = 16
    alpha: int = 32
    save_every: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in BITS:
            raise ValueError(f"There is no method {self.method!r}; choose one of {', '.join(BITS)}.")
        if self.weighing not in ("sequence", "token", "constant"):
            raise ValueError(f"There is no weighing {self.weighing!r}; choose 'sequence', 'token' or 'constant'.")
        counts = (self.steps, self.prompts, self.samples, self.updates, self.max_new_tokens, self.rank, self.alpha)
        if min(*counts, self.save_every) < 1 or min(self.warmup, self.redraws, self.kl) < 0:
            raise ValueError(f"Counts must be at least 1, warmup, redraws and kl at least 0; given was {self}.")
        if self.learning_rate is not None and not self.learning_rate > 0:
            raise ValueError(f"learning_rate must be above 0; it is {self.learning_rate}.")
        if self.clip is not None and not (0 < self.clip[0] <= 1 and self.clip[1] > 0):
            raise ValueError(f"clip must be two positive numbers, the first at most 1; it is {self.clip}.")


# ---------------------------------------------------------------- advantages: how much better than expected?


def raw_rewards(rewards: torch.Tensor) -> torch.Tensor:
    """REINFORCE: the reward itself. Right in the mean, but where every reward is 1 it pushes all the same.

    >>> import torch
    >>> raw_rewards(torch.tensor([[1.0, 0.0]])).tolist()
    [[1.0, 0.0]]
    """
    return rewards


def batch_baseline(rewards: torch.Tensor) -> torch.Tensor:
    """REINFORCE with a baseline: less the mean reward of the batch, whatever the question.

    >>> import torch
    >>> batch_baseline(torch.tensor([[1.0, 0.0], [1.0, 1.0]])).tolist()
    [[0.25, -0.75], [0.25, 0.25]]
    """
    return rewards - rewards.mean()


def leave_one_out(rewards: torch.Tensor) -> torch.Tensor:
    """RLOO: less the mean reward of the *other* answers to the same question, which keeps it unbiased.

    Source: ahmadian2024back. Raises ValueError for a single sample.

    >>> import torch
    >>> leave_one_out(torch.tensor([[1.0, 0.0, 0.5]])).tolist()
    [[0.75, -0.75, 0.0]]
    """
    samples = rewards.shape[1]
    if samples < 2:
        raise ValueError("Leave-one-out needs at least 2 samples a question; raise `samples`.")
    return rewards - (rewards.sum(1, keepdim=True) - rewards) / (samples - 1)


def group_mean(rewards: torch.Tensor) -> torch.Tensor:
    """Dr. GRPO: less the group's mean. RLOO times (samples - 1) / samples, so the same direction.

    Source: liu2025understanding, section 3.

    >>> import torch
    >>> group_mean(torch.tensor([[1.0, 0.0]])).tolist()
    [[0.5, -0.5]]
    """
    return rewards - rewards.mean(1, keepdim=True)


def group_normalised(rewards: torch.Tensor) -> torch.Tensor:
    """GRPO: less the group's mean, by its deviation; rare successes and rare failures weigh more.

    Source: shao2024deepseekmath, section 4.1.2. Raises ValueError for a single sample.

    >>> import torch
    >>> group_normalised(torch.tensor([[1.0, 0.0], [1.0, 1.0]]))
    tensor([[ 0.7070, -0.7070],
            [ 0.0000,  0.0000]])
    """
    if rewards.shape[1] < 2:
        raise ValueError("A group's deviation needs at least 2 samples a question; raise `samples`.")
    return group_mean(rewards) / (rewards.std(1, keepdim=True) + EPSILON)


def return_to_go(rewards: torch.Tensor) -> torch.Tensor:
    """Process rewards as advantages: what a token and those after it earn, less what other answers still earn there.

    `rewards` has shape (prompts, samples, tokens), nan after each answer's end. A token is not credited with what
    came before it, and the baseline knows nothing of its own answer, so the gradient stays unbiased (after
    cui2025prime, whose baseline is the others' mean reward a token). An answer that has ended stands by its last
    reward: with a single one, at the end, this is `leave_one_out` at every token.

    >>> import torch
    >>> return_to_go(torch.tensor([[[1.0, 0.0, 1.0], [0.0, 1.0, torch.nan]]])).tolist()
    [[[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]]]
    """
    import torch

    there = ~rewards.isnan()
    earned = rewards.nan_to_num().flip(2).cumsum(2).flip(2)
    last = there.sum(2, keepdim=True) - 1
    return leave_one_out(earned.gather(2, torch.arange(rewards.shape[2]).expand_as(earned).minimum(last)))


# ---------------------------------------------------------------- terms of the loss, token by token


def reinforce_term(logprobs: torch.Tensor, old: torch.Tensor, advantages: torch.Tensor) -> torch.Tensor:
    """Minus advantage times log-probability, whose gradient is the policy gradient; `old` is not looked at.

    All of shape (answers, tokens), or that broadcasts to it.
    """
    return -advantages * logprobs


def clipped_term(
    logprobs: torch.Tensor, old: torch.Tensor, advantages: torch.Tensor, low: float = 0.2, high: float = 0.2
) -> torch.Tensor:
    """Minus advantage times the ratio of new to old probability, worth no more once it leaves [1 - low, 1 + high].

    `old` are log-probabilities under the weights that drew the tokens. `low` = `high` is PPO's clip
    (schulman2017ppo, equation 7); a higher `high` lets unlikely tokens rise (yu2025dapo, section 3.1).

    >>> import torch
    >>> clipped_term(torch.tensor([[0.5]]), torch.tensor([[0.0]]), torch.tensor([[1.0]]), high=0.28)
    tensor([[-1.2800]])
    """
    ratio = (logprobs - old).exp()
    return -(ratio * advantages).minimum(ratio.clamp(1 - low, 1 + high) * advantages)


def is_clipped(
    logprobs: torch.Tensor, old: torch.Tensor, advantages: torch.Tensor, low: float, high: float
) -> torch.Tensor:
    """Where the clip holds a token back: its gradient is zero there."""
    ratio = (logprobs - old).exp()
    return ((ratio > 1 + high) & (advantages > 0)) | ((ratio < 1 - low) & (advantages < 0))


def kl_estimate(logprobs: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """An estimate of KL(policy, reference) at each token that the policy drew: unbiased, never negative ("k3").

    Source: shao2024deepseekmath, equation 4. `reference` are log-probabilities under the weights at the start.

    >>> import torch
    >>> kl_estimate(torch.tensor([0.0]), torch.tensor([0.0]))
    tensor([0.])
    """
    gap = reference - logprobs
    return gap.exp() - gap - 1


def kl_term(logprobs: torch.Tensor, old: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """`kl_estimate` times the ratio of new to old probability, whose gradient is that of KL(policy, reference).

    Published GRPO leaves the ratio out; its gradient is then that of KL(reference, policy). TRL has it by default.
    """
    return (logprobs - old).exp() * kl_estimate(logprobs, reference)


def token_weights(mask: torch.Tensor, weighing: Weighing, length: int) -> torch.Tensor:
    """What each token's term counts in the loss, shape (answers, tokens); the loss is the weighted sum.

    - "sequence": a mean over each answer's tokens, then over answers (shao2024deepseekmath): a token of a long
      answer counts less, so long wrong answers are hardly punished.
    - "token": a mean over all tokens of the batch (yu2025dapo, section 3.3).
    - "constant": a sum over tokens by `length`, the longest that was allowed (liu2025understanding, section 3).

    >>> import torch
    >>> token_weights(torch.tensor([[1.0, 1.0], [1.0, 0.0]]), "sequence", 10).tolist()
    [[0.25, 0.25], [0.5, 0.0]]
    """
    rows = mask.shape[0]
    if weighing == "sequence":
        return mask / (mask.sum(1, keepdim=True).clamp(min=1) * rows)
    if weighing == "token":
        return mask / mask.sum().clamp(min=1)
    return mask / (rows * length)


#: What the papers chose, as (advantage, settings): the table of terms. Rates, batch and updates are not theirs.
VARIANTS: dict[str, tuple[Advantage, dict[str, Any]]] = {
    "REINFORCE": (raw_rewards, {"clip": None, "weighing": "constant"}),
    "REINFORCE with baseline": (batch_baseline, {"clip": None, "weighing": "constant"}),
    "RLOO": (leave_one_out, {"clip": None, "weighing": "constant"}),
    "GRPO": (group_normalised, {"clip": (0.2, 0.2), "weighing": "sequence", "kl": 0.04}),
    "Dr. GRPO": (group_mean, {"clip": (0.2, 0.2), "weighing": "constant"}),
    "DAPO": (group_normalised, {"clip": (0.2, 0.28), "weighing": "token", "redraws": 4}),
}


# ---------------------------------------------------------------- questions and rewards


def batches(
    task: Task, prompts: int, style: str = "unmarked", seed: int = 0, difficulty: Sequence[int] | None = None
) -> Draw:
    """Fresh training questions for every batch, asked in a style."""

    def draw(index: int) -> list[tuple[Problem, Prompt]]:
        drawn = task.problems(prompts, split="train", seed=1_000_003 * (seed + 1) + index, difficulty=difficulty)
        return [(p, task.prompt(p, style)) for p in drawn]

    return draw


def known_by(draw: Draw, *functions: Any) -> list[str]:
    """What a run is known by besides weights and settings: its first questions and the names of its functions.

    Raises ValueError where there are no questions.
    """
    asked = [prompt.text() for _, prompt in draw(0)]
    if not asked:
        raise ValueError("There are no questions to train on; `draw` must return at least one (problem, prompt).")
    return asked + [getattr(f, "__qualname__", type(f).__qualname__) for f in functions]


def rewards_of(
    reward: Reward,
    problems: Sequence[Problem],
    groups: Sequence[Sequence[Completion]],
    decode: Callable[[Sequence[int]], str],
) -> torch.Tensor:
    """Rewards of drawn groups: shape (prompts, samples), or with process rewards (prompts, samples, tokens).

    A step's reward then stands at the token that ends the step; `decode` turns token ids into text. After an
    answer's end stands nan: there is no token. Raises ValueError in one sentence where the function fails, gives
    another number of rewards than there are steps, or something that is no finite number.
    """
    import torch

    pairs = [(p, c) for p, group in zip(problems, groups, strict=True) for c in group]
    given = [_reward(reward, problem, completion.text) for problem, completion in pairs]
    if len({row.ndim for row in given}) > 1:
        raise ValueError("The reward function gave some answers one number and others several; choose one of the two.")
    if given[0].ndim == 0:
        return torch.tensor(np.array(given), dtype=torch.float32).reshape(len(groups), -1)
    rows = torch.full((len(pairs), max(len(c.token_ids) for _, c in pairs)), torch.nan)
    for row, values, (_, completion) in zip(rows, given, pairs, strict=True):
        row[: len(completion.token_ids)] = 0.0
        for token, value in zip(step_tokens(completion, decode), values, strict=True):
            row[token] += float(value)
    return rows.reshape(len(groups), -1, rows.shape[1])


def _reward(reward: Reward, problem: Problem, text: str) -> np.ndarray:
    """One answer's reward, checked: a number, or one for each of its steps."""
    try:
        given = reward(problem, text)
    except Exception as error:
        why = str(error).strip().splitlines()
        raise ValueError(
            f"The reward function failed ({type(error).__name__}: {why[0] if why else 'no message'}) on the answer "
            f"{text.strip()[:60]!r}; it is called with a problem and a text."
        ) from error
    try:
        values = np.asarray(given, dtype=float)
    except (TypeError, ValueError):
        values = np.array(np.nan)
    if not np.isfinite(values).all():
        raise ValueError(f"The reward function gave {given!r} for {text.strip()[:60]!r}; return finite numbers.")
    steps = len(step_ends(text))
    if values.ndim and values.shape != (steps,):
        raise ValueError(
            f"The reward function gave {values.size} rewards for the {steps} steps of {text.strip()[:60]!r}; return "
            "one number, or one for each of `step_ends`."
        )
    return values


def step_tokens(completion: Completion, decode: Callable[[Sequence[int]], str]) -> list[int]:
    """The place, in `token_ids`, of the token that ends each step of an answer."""
    ids = completion.token_ids
    lengths = [len(decode(ids[: t + 1])) for t in range(len(ids))]
    return [min(bisect_left(lengths, end), len(ids) - 1) for end in step_ends(completion.text)]


def whole_rewards(rewards: torch.Tensor) -> torch.Tensor:
    """What each answer earned in all, shape (prompts, samples), of outcome or process rewards.

    >>> import torch
    >>> whole_rewards(torch.tensor([[[0.5, 0.25], [1.0, torch.nan]]])).tolist()
    [[0.75, 1.0]]
    """
    return rewards.nansum(2) if rewards.ndim == 3 else rewards


def has_signal(rewards: torch.Tensor) -> torch.Tensor:
    """Which questions' answers were not all rewarded alike, shape (prompts,); the others teach nothing.

    >>> import torch
    >>> has_signal(torch.tensor([[1.0, 0.0], [1.0, 1.0]])).tolist()
    [True, False]
    """
    whole = whole_rewards(rewards)
    return (whole != whole[:, :1]).any(1)


# ---------------------------------------------------------------- rollouts


@dataclass(frozen=True)
class Rollout:
    """Answers drawn for one step: what was asked, what was said, what it earned.

    `drawn` counts the answers that were sampled for it, those thrown away too; `silent` is the share of questions
    without signal as they were first drawn; `cost` is that of the sampling.
    """

    problems: tuple[Problem, ...]
    prompts: tuple[Prompt, ...]
    groups: tuple[tuple[Completion, ...], ...]
    rewards: torch.Tensor
    drawn: int
    silent: float
    cost: Cost

    def keep(self, chosen: Sequence[int]) -> Rollout:
        """The questions at these places only."""
        return replace(
            self,
            problems=tuple(self.problems[i] for i in chosen),
            prompts=tuple(self.prompts[i] for i in chosen),
            groups=tuple(self.groups[i] for i in chosen),
            rewards=self.rewards[list(chosen)],
        )


def roll_out(
    model: LanguageModel, batch: Sequence[tuple[Problem, Prompt]], reward: Reward, samples: int, length: int, seed: int
) -> Rollout:
    """Draw `samples` answers to each question at temperature 1 and reward them."""
    problems, prompts = zip(*batch, strict=True)
    groups = model.sample(prompts, samples, length, temperature=1.0, seed=seed)
    rewards = rewards_of(reward, problems, groups, ContinuationTokenizer(model.tokenizer, model.encode("a")).decode)
    cost = Cost.total(group_cost(g) for g in groups)
    silent = 1 - float(has_signal(rewards).float().mean())
    drawn = len(groups) * samples
    return Rollout(tuple(problems), tuple(prompts), tuple(map(tuple, groups)), rewards, drawn, silent, cost)


def with_signal(first: Rollout, more: Callable[[], Rollout], redraws: int) -> Rollout:
    """Dynamic sampling (yu2025dapo, section 3.2): questions without signal are replaced by newly drawn ones.

    `more()` draws another batch; it is called at most `redraws` times, and every answer it draws is counted.
    What is still missing then stays out, so that the step may be on fewer questions, or on none.
    """
    import torch

    kept = first.keep(has_signal(first.rewards).nonzero().flatten().tolist())
    for _ in range(redraws):
        missing = len(first.problems) - len(kept.problems)
        if not missing:
            break
        new = more()
        found = new.keep(has_signal(new.rewards).nonzero().flatten().tolist()[:missing])
        kept = replace(
            kept, problems=kept.problems + found.problems, prompts=kept.prompts + found.prompts,
            groups=kept.groups + found.groups, rewards=torch.cat(_same_width(kept.rewards, found.rewards)),
            drawn=kept.drawn + new.drawn, cost=kept.cost + new.cost,
        )  # fmt: skip
    return kept


def _same_width(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    from torch.nn.functional import pad

    if a.ndim == 2:
        return a, b
    width = max(a.shape[2], b.shape[2])
    return pad(a, (0, width - a.shape[2]), value=math.nan), pad(b, (0, width - b.shape[2]), value=math.nan)


# ---------------------------------------------------------------- the model's own probabilities


@dataclass(frozen=True)
class Answers:
    """Drawn answers as token ids, each question once with all its answers behind it, padded on the right.

    Answers do not see each other, so each is read as if it stood alone, but a question shared by eight is not read
    eight times. (Where a model does not attend to everything, each answer has a row of its own.) `ids`, `positions`
    and `owner` (0 the question, then 1, 2, ... its answers) have shape (questions, width). Per answer: `row` is its
    question, `targets` its tokens, `before` where in the row each is predicted from, `mask` 1 on tokens and 0 on
    padding, the last three of shape (answers, tokens).
    """

    ids: torch.Tensor
    positions: torch.Tensor
    owner: torch.Tensor
    row: torch.Tensor
    targets: torch.Tensor
    before: torch.Tensor
    mask: torch.Tensor

    @staticmethod
    def of(model: LanguageModel, prompts: Sequence[Prompt | str], groups: Sequence[Sequence[Completion]]) -> Answers:
        """The answers of drawn groups, in order."""
        import torch

        from srm_utils.sampling.support import has_windows, why_unsupported

        # A mask of ours would take the place of the model's own.
        if has_windows(model.model) or why_unsupported(model.model):
            prompts = [prompt for prompt, group in zip(prompts, groups, strict=True) for _ in group]
            groups = [[completion] for group in groups for completion in group]
        ids: list[torch.Tensor] = []
        positions: list[torch.Tensor] = []
        owner: list[torch.Tensor] = []
        row, targets, before = [], [], []
        for i, (prompt, group) in enumerate(zip(prompts, groups, strict=True)):
            asked = model.encode(prompt)
            line, places, owned = list(asked), list(range(len(asked))), [0] * len(asked)
            for number, completion in enumerate(group, start=1):
                said, start = completion.token_ids, len(line)
                row.append(i)
                targets.append(torch.tensor(said))
                before.append(torch.tensor([len(asked) - 1, *range(start, start + len(said) - 1)]))
                line += said
                places += range(len(asked), len(asked) + len(said))
                owned += [number] * len(said)
            for rows, values in ((ids, line), (positions, places), (owner, owned)):
                rows.append(torch.tensor(values))
        mask = [torch.ones(len(said)) for said in targets]
        filled = [_padded(v) for v in (ids, positions)] + [_padded(owner, -1), torch.tensor(row)]
        filled += [_padded(v) for v in (targets, before, mask)]
        return Answers(*(v.to(model.model.device) for v in filled))

    @property
    def tokens(self) -> int:
        """Tokens that a pass processes, without padding."""
        return int((self.owner >= 0).sum())

    def parts(self, vocabulary: int) -> Iterator[tuple[slice, Answers]]:
        """The same in parts of at most `HELD_LOGITS` logits: which answers, and they alone."""
        rows = max(1, HELD_LOGITS // (vocabulary * self.ids.shape[1]))
        for start in range(0, len(self.ids), rows):
            lines = slice(start, start + rows)
            chosen = slice(int((self.row < start).sum()), int((self.row < start + rows).sum()))
            ours = (self.targets[chosen], self.before[chosen], self.mask[chosen])
            shared = (self.ids[lines], self.positions[lines], self.owner[lines], self.row[chosen] - start)
            yield chosen, Answers(*shared, *ours)


class Read(NamedTuple):
    """What a model makes of drawn answers, shape (answers, tokens); what stands on padding means nothing.

    `logprobs` of each drawn token; `entropies` (nats, without gradient) of what it was drawn from; `states`, with
    a third axis, the last hidden state before it, where it was asked for.
    """

    logprobs: torch.Tensor
    entropies: torch.Tensor
    states: torch.Tensor | None


def read_answers(model: LanguageModel, answers: Answers, states: bool = False) -> Read:
    """One pass over drawn answers under the present weights, with gradients where torch records them."""
    import torch

    network: Any = model.model
    bias = None  # a single answer in each row: padding stands to the right, where causal attention never looks
    first = int(answers.before.masked_fill(answers.mask == 0, answers.ids.shape[1]).min())
    kind = model.device.partition(":")[0]
    with (
        plain_attention(network, model.device, model.parameters, *answers.ids.shape),
        mixed_precision(model.device, model.parameters),
    ):
        if answers.owner.max() > 1:
            reader, read = answers.owner[:, :, None], answers.owner[:, None, :]
            seen = ((read == 0) | (read == reader)).tril()  # the question and oneself, up to here
            dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else network.dtype
            bias = torch.zeros(seen.shape, dtype=dtype, device=seen.device)
            bias = bias.masked_fill(~seen, torch.finfo(bias.dtype).min)[:, None]
        output = network(
            input_ids=answers.ids, attention_mask=bias, position_ids=answers.positions, use_cache=False,
            logits_to_keep=answers.ids.shape[1] - first, output_hidden_states=states,
        )  # fmt: skip
    row, before = answers.row[:, None], (answers.before - first).clamp(min=0)
    logits = output.logits.float()
    totals = logits.logsumexp(-1)
    logprobs = logits[row, before, answers.targets] - totals[row, before]
    with torch.no_grad():
        entropies = (totals - (logits.softmax(-1) * logits).sum(-1))[row, before]
    return Read(logprobs, entropies, output.hidden_states[-1][row, answers.before] if states else None)


def _padded(rows: Sequence[torch.Tensor], value: float = 0) -> torch.Tensor:
    from torch.nn.utils.rnn import pad_sequence

    return pad_sequence(list(rows), batch_first=True, padding_value=value)


@contextmanager
def weights_of_start(parameters: Sequence[torch.nn.Parameter], start: Sequence[torch.Tensor]) -> Iterator[None]:
    """Within, the model computes with its weights at the start: nothing is reloaded or copied, only pointers swap."""
    now = [p.data for p in parameters]
    try:
        for p, s in zip(parameters, start, strict=True):
            p.data = s
        yield
    finally:
        for p, n in zip(parameters, now, strict=True):
            p.data = n


# ---------------------------------------------------------------- the loop


def policy_loss(
    logprobs: torch.Tensor,
    old: torch.Tensor,
    advantages: torch.Tensor,
    weights: torch.Tensor,
    clip: tuple[float, float] | None = None,
    reference: torch.Tensor | None = None,
    kl: float = 0.0,
) -> torch.Tensor:
    """The loss of every variant: its terms, weighed and summed.

    Args:
        logprobs: log-probability of each drawn token under the present weights, shape (answers, tokens).
        old: the same under the weights that drew them; reference: under those at the start.
        advantages: shape (answers, 1), or (answers, tokens).
        weights: `token_weights`.
        clip, kl: as in `PolicyGradientConfig`.
    """
    if clip is None:
        terms = reinforce_term(logprobs, old, advantages)
    else:
        terms = clipped_term(logprobs, old, advantages, *clip)
    if kl:
        terms = terms + kl * kl_term(logprobs, old, reference)
    return (terms * weights).sum()


def default_rate(method: Method, parameters: int) -> float:
    """Learning rate for a method and a model size: `RATES`, falling with the square root of the size.

    >>> default_rate("full", 500_000_000) < default_rate("full", 2_000_000)
    True
    """
    return RATES[method] * (RATED_AT / parameters) ** 0.5


def train_policy_gradient(
    model: LanguageModel | str | os.PathLike[str],
    draw: Draw,
    reward: Reward,
    config: PolicyGradientConfig,
    out: str | os.PathLike[str],
    advantage: Advantage = group_mean,
    device: str = "auto",
    progress: bool = False,
) -> TrainedModel:
    """Train by the rewards of the model's own answers and save into `out`; the model given is left as it is.

    The log has one entry a step: mean `reward`, share of questions `silent` (without signal), mean length in
    `tokens`, `entropy` and `kl` to the start (nats a token), `gradient_norm` before it is cut at 1, share of tokens
    `clipped`, the `loss`, and seconds of `sampling` and `update`; `rollouts` (answers drawn), tokens `processed`
    and `flops` count from the start.

    Called again after an interruption, training goes on from its last checkpoint and ends with the same weights.
    Raises ValueError for rewards or advantages of the wrong shape and for an `out` that holds another run,
    FloatingPointError where the loss is not a number; the last good checkpoint is kept.
    """
    run = open_run(model, out, config, known_by(draw, reward, advantage), device)
    if run.finished is not None:
        return run.finished
    import torch
    from tqdm import tqdm

    policy, parameters = run.policy, run.trained
    rate = config.learning_rate or default_rate(config.method, policy.parameters)
    start = [p.detach().clone() for p in parameters]
    optimizer = torch.optim.AdamW(parameters, lr=rate, betas=(0.9, 0.99), weight_decay=0.0)
    modules, optimizers = {"policy": policy.model}, {"adam": optimizer}
    begun, state = load_checkpoint(run.out, modules, optimizers) or (0, {"log": [], "drawn": 0})
    log, drawn = state["log"], state["drawn"]

    def more() -> Rollout:
        nonlocal drawn
        batch, seed = draw(drawn), config.seed * 1_000_003 + drawn
        drawn += 1
        return roll_out(policy, batch, reward, config.samples, config.max_new_tokens, seed)

    for step in tqdm(range(begun, config.steps), initial=begun, total=config.steps, disable=not progress):
        clock = time.perf_counter()
        first = more()
        rollout = with_signal(first, more, config.redraws) if config.redraws else first
        sampled = time.perf_counter()
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / max(config.warmup, 1))
        found = update(policy, parameters, start, optimizer, rollout, advantage, config)
        seconds = {"sampling": sampled - clock, "update": time.perf_counter() - sampled}
        log.append(step_record(log, policy, parameters, first, rollout, found, config.updates) | seconds)
        if (step + 1) % config.save_every == 0 and step + 1 < config.steps:
            save_checkpoint(run.out, step + 1, modules, optimizers, {"log": log, "drawn": drawn})
    seconds = sum(entry["sampling"] + entry["update"] for entry in log)
    return run.finish(int(log[-1]["processed"]), log[-1]["flops"], seconds, log, [optimizer])


def update(
    policy: LanguageModel,
    parameters: Sequence[torch.nn.Parameter],
    start: Sequence[torch.Tensor],
    optimizer: torch.optim.Optimizer,
    rollout: Rollout,
    advantage: Advantage,
    config: PolicyGradientConfig,
) -> dict[str, float]:
    """The optimiser steps on one rollout, and what was seen on the way. Without an answer nothing moves."""
    import torch

    if not rollout.problems:
        return {"entropy": math.nan, "kl": math.nan, "gradient_norm": 0.0, "clipped": 0.0, "loss": 0.0, "trained": 0}
    answers = Answers.of(policy, rollout.prompts, rollout.groups)
    advantages = advantages_of(advantage, rollout.rewards).to(answers.mask.device)
    weights = token_weights(answers.mask, config.weighing, config.max_new_tokens)
    share = answers.mask / answers.mask.sum()  # what each token counts in a mean over tokens
    parts = list(answers.parts(policy.model.config.get_text_config().vocab_size))
    with torch.no_grad(), weights_of_start(parameters, start):
        references = [read_answers(policy, part).logprobs for _, part in parts]
    seen = dict.fromkeys(("entropy", "kl", "gradient_norm", "clipped", "loss"), 0.0)
    olds: list[torch.Tensor] = []
    for number in range(config.updates):
        whole = 0.0
        for i, (rows, part) in enumerate(parts):
            logprobs, entropies, _ = read_answers(policy, part)
            if number == 0:  # the weights are still those that drew the answers
                olds.append(logprobs.detach())
                seen["entropy"] += float((entropies * share[rows]).sum())
                seen["kl"] += float((kl_estimate(olds[i], references[i]) * share[rows]).sum())
            terms = (logprobs, olds[i], advantages[rows])
            loss = policy_loss(*terms, weights[rows], config.clip, references[i], config.kl)
            loss.backward()
            whole += float(loss.detach())
            if config.clip is not None:
                held = is_clipped(*terms, *config.clip)
                seen["clipped"] += float((held * share[rows]).sum()) / config.updates
        seen["gradient_norm"] += take_step(optimizer, parameters, whole) / config.updates
        seen["loss"] += whole / config.updates
    return seen | {"trained": answers.tokens}


def take_step(
    optimizer: torch.optim.Optimizer, parameters: Sequence[torch.nn.Parameter], loss: float, most: float = 1.0
) -> float:
    """One optimiser step with the gradient cut to the norm `most`; returns the norm it had.

    Raises FloatingPointError, and takes no step, where the loss or the gradient is not finite.
    """
    import torch

    norm = float(torch.nn.utils.clip_grad_norm_(parameters, most))
    if not (math.isfinite(loss) and math.isfinite(norm)):
        optimizer.zero_grad(set_to_none=True)
        raise FloatingPointError(
            f"The loss is {loss:.3g} with a gradient of norm {norm:.3g}; lower learning_rate (it is "
            f"{optimizer.param_groups[0]['lr']:.2g}) or check the starting weights. The last checkpoint is kept."
        )
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return norm


def advantages_of(advantage: Advantage, rewards: torch.Tensor) -> torch.Tensor:
    """Advantages with one row an answer: shape (answers, 1), or (answers, tokens) where each token has its own.

    Raises ValueError where the function returns another shape than it was given, or no finite number for a token.
    """
    import torch

    advantages = torch.as_tensor(advantage(rewards))
    if advantages.shape != rewards.shape:
        shapes = f"rewards of shape {tuple(rewards.shape)} into advantages of shape {tuple(advantages.shape)}"
        raise ValueError(f"The advantage function turned {shapes}; it must keep the shape.")
    advantages = advantages.masked_fill(rewards.isnan(), 0.0)
    if not bool(advantages.isfinite().all()):
        raise ValueError("The advantage function gave numbers that are not finite; does it divide by a spread of 0?")
    return advantages.flatten(0, 1) if rewards.ndim == 3 else advantages.flatten()[:, None]


def step_record(
    log: Sequence[Mapping[str, float]],
    policy: LanguageModel,
    parameters: Sequence[torch.nn.Parameter],
    first: Rollout,
    rollout: Rollout,
    found: Mapping[str, float],
    updates: int,
) -> dict[str, float]:
    """One step's entry of the log. Reward and length are those of the first draw: redrawing would flatter them."""
    met, trained = policy.flops_per_token / 2, sum(p.numel() for p in parameters)
    # A pass takes 2 FLOPs a weight (the reference takes one pass), the way back 2 more and 2 for each trained weight.
    passes = 2 * met + updates * (4 * met + 2 * min(met, trained))
    before = log[-1] if log else {"rollouts": 0, "processed": 0, "flops": 0.0}
    return {
        "step": len(log) + 1,
        "reward": float(whole_rewards(first.rewards).mean()),
        "silent": first.silent,
        "tokens": float(np.mean([len(c.token_ids) for g in first.groups for c in g])),
        **{k: v for k, v in found.items() if k != "trained"},
        "rollouts": before["rollouts"] + rollout.drawn,
        "processed": before["processed"] + rollout.cost.tokens + found["trained"] * (1 + updates),
        "flops": before["flops"] + rollout.cost.flops + passes * found["trained"],
    }


def gradient(
    model: LanguageModel,
    batch: Sequence[tuple[Problem, Prompt]],
    reward: Reward,
    config: PolicyGradientConfig,
    advantage: Advantage = group_mean,
) -> torch.Tensor:
    """The policy gradient of one batch as a flat vector; two batches that agree mean there is something to learn."""
    import torch

    rollout = roll_out(model, batch, reward, config.samples, config.max_new_tokens, config.seed)
    answers = Answers.of(model, rollout.prompts, rollout.groups)
    logprobs = read_answers(model, answers).logprobs
    advantages = advantages_of(advantage, rollout.rewards).to(logprobs.device)
    weights = token_weights(answers.mask, config.weighing, config.max_new_tokens)
    policy_loss(logprobs, logprobs.detach(), advantages, weights, config.clip).backward()
    flat = torch.cat([p.grad.flatten() for p in model.model.parameters() if p.grad is not None])
    model.model.zero_grad(set_to_none=True)
    return flat
