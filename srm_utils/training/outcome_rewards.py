"""Outcome rewards: what a finished solution is worth, by a rule or by a model that has learnt to tell.

Rules grade the answer, the form or the length (deepseekai2025r1). A reward model is a scalar head on a language
model's states, trained on the model's own graded samples (cobbe2021training): from labels, or from pairs by TRL's
`RewardTrainer`. It ranks samples, so how well it ranks and how honest its probabilities are is measured here too.
"""

from __future__ import annotations

import math
import operator
import os
import re
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from random import Random
from statistics import fmean
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from srm_utils.models import LanguageModel
from srm_utils.sampling.completion import Completion, Cost
from srm_utils.tasks.problem import Grade, Problem, Task
from srm_utils.training.checkpoint import Run, load_checkpoint, newest_checkpoint, open_run, save_checkpoint
from srm_utils.training.supervised import BITS, Method, TrainedModel, default_rate, quiet, step_clock

if TYPE_CHECKING:
    import torch
    from trl import RewardTrainer

# ---------------------------------------------------------------- rules

#: What a text is worth for a problem: the form in which reinforcement learning asks for it.
Reward = Callable[[Problem, str], float]


def correctness(task: Task) -> Reward:
    """1 for a correct answer, 0 for a wrong one or none (the accuracy reward of deepseekai2025r1, section 2.2.2).

    >>> from srm_utils.tasks import get_task
    >>> task = get_task("chain"); problem = task.problems(1)[0]
    >>> correctness(task)(problem, f"The answer is {problem.answer}.")
    1.0
    """
    return lambda problem, text: float(task.grade(text, problem) == Grade.CORRECT)


def states_answer(task: Task) -> Reward:
    """1 for a text that states an answer, once and as its last sentence, whatever it is (a format reward)."""

    def reward(problem: Problem, text: str) -> float:
        ends = [0, *step_ends(text)]
        return float(task.extract(text[: ends[-2]]) is None and task.extract(text) is not None)

    return reward


def brevity(words: int) -> Reward:
    """1 for no words, falling linearly to 0 at `words` and staying there.

    >>> brevity(10)(None, "The answer is 4 .")
    0.5
    """
    if words < 1:
        raise ValueError(f"brevity needs a length of at least 1 word; it got {words}.")
    return lambda problem, text: max(0.0, 1 - len(text.split()) / words)


def overlong(words: int, buffer: int) -> Reward:
    """0 up to `words` - `buffer` words, from there down to -1 at `words` (yu2025dapo, equation 13).

    >>> [overlong(8, 4)(None, "so " * n) for n in (4, 6, 9)]
    [0.0, -0.5, -1.0]
    """
    if not 0 < buffer <= words:
        raise ValueError(f"overlong needs a buffer above 0 and at most {words} words; it got {buffer}.")
    return lambda problem, text: min(0.0, max(-1.0, (words - buffer - len(text.split())) / buffer))


def mixed(*parts: tuple[float, Reward]) -> Reward:
    """The weighted sum of several rewards.

    >>> mixed((1.0, brevity(4)), (0.5, brevity(8)))(None, "a b")
    0.875
    """
    return lambda problem, text: sum(weight * reward(problem, text) for weight, reward in parts)


def only_if(gate: Reward, reward: Reward) -> Reward:
    """A reward paid only in proportion to another: a bonus for a correct answer's form, none for a wrong one's."""
    return lambda problem, text: gate(problem, text) * reward(problem, text)


def coin(share: float = 0.5, seed: int = 0) -> Reward:
    """1 with probability `share` and else 0, whatever the text: the random control of shao2025spurious.

    Every call is a new toss, equal texts included.
    """
    rng = Random(seed)
    return lambda problem, text: float(rng.random() < share)


# ---------------------------------------------------------------- steps and scores

#: A sentence or a line, its full stop included; a point inside "3.5" ends nothing.
_STEP = re.compile(r"[^.?!\n]+(?:[.?!](?!\s|$)[^.?!\n]*)*[.?!]?")


def step_ends(text: str) -> list[int]:
    """The character offsets where the steps (sentences or lines) of a text end; an empty text is one empty step.

    >>> step_ends(" 5 + 3 = 8. The answer is 8.")
    [11, 28]
    """
    return [m.start() + len(m[0].rstrip()) for m in _STEP.finditer(text) if m[0].strip()] or [0]


@dataclass(frozen=True, slots=True)
class StepScores:
    """How good a solution looks after each of its steps (`step_ends`), 0 to 1, and what it took to say so.

    `unparsed` counts the written judgements that could not be read.
    """

    scores: tuple[float, ...]
    cost: Cost
    unparsed: int = 0


class Scorer(Protocol):
    """Whatever can look at solutions: a reward model, a process reward model, a generative verifier, a rule."""

    @property
    def name(self) -> str: ...

    def score(self, problems: Sequence[Problem], texts: Sequence[str]) -> list[StepScores]: ...


#: What the scores of the steps of one solution come to. `last` is the outcome reward of the whole.
AGGREGATES: dict[str, Callable[[Sequence[float]], float]] = {
    "min": min,
    "product": math.prod,
    "last": operator.itemgetter(-1),
    "mean": fmean,
}


@dataclass(frozen=True)
class SampleScores:
    """The step scores of every sample of every problem, and what each problem's scoring cost.

    `unparsed` counts, problem by problem, the written judgements that could not be read.
    """

    steps: tuple[tuple[tuple[float, ...], ...], ...]
    costs: tuple[Cost, ...]
    unparsed: tuple[int, ...] = ()

    def values(self, aggregate: str = "last") -> np.ndarray:
        """One number a sample, shape (problems, samples): what `Evaluation.best_of_scores(k, values)` and
        `majority_scores(k, weights=values)` read. Raises ValueError for an unknown aggregate.
        """
        if aggregate not in AGGREGATES:
            raise ValueError(f"There is no aggregate {aggregate!r}; choose one of {', '.join(AGGREGATES)}.")
        return np.array([[AGGREGATES[aggregate](s) for s in group] for group in self.steps], dtype=float)


def score_samples(scorer: Scorer, problems: Sequence[Problem], groups: Sequence[Sequence[Completion]]) -> SampleScores:
    """Scores every sample of every problem; equal texts of one problem are read, and charged, once."""
    pairs = list(dict.fromkeys((i, c.text) for i, group in enumerate(groups) for c in group))
    found = dict(zip(pairs, scorer.score([problems[i] for i, _ in pairs], [text for _, text in pairs]), strict=True))
    steps = tuple(tuple(found[i, c.text].scores for c in group) for i, group in enumerate(groups))
    costs, unparsed = [Cost() for _ in problems], [0 for _ in problems]
    for (i, _), scored in found.items():
        costs[i] += scored.cost
        unparsed[i] += scored.unparsed
    return SampleScores(steps, tuple(costs), tuple(unparsed))


# ---------------------------------------------------------------- the reward model

#: The trained head, beside the trained weights.
HEAD = "head.safetensors"
#: Tokens, padding included, that are read in one forward pass.
SCORED_TOKENS = 8192


@dataclass(frozen=True, eq=False)
class RewardModel:
    """A language model whose states a linear `head` reads: score = sigmoid(w h + b) after each step.

    h is the last hidden state (width of the model) at the step's last token, the solution standing after the
    prompt it answers, `task.prompt(problem, style)`.
    """

    task: Task
    model: LanguageModel
    head: torch.nn.Linear
    style: str = "cot"
    name: str = "reward model"

    def encode(self, problem: Problem, text: str) -> tuple[list[int], list[int]]:
        """Token ids of prompt and solution, and the position of the last token of each step."""
        asked = self.model.encode(self.task.prompt(problem, self.style))
        said = self.model.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        starts = [start for start, _ in said["offset_mapping"]]
        # The token that holds a step's last character; of an empty text, the prompt's last one.
        return asked + said["input_ids"], [len(asked) + bisect_left(starts, end) - 1 for end in step_ends(text)]

    def states(self, rows: Sequence[Sequence[int]]) -> torch.Tensor:
        """Last hidden states of token ids, shape (rows, longest, width); what is padded stands to the right."""
        import torch

        width = max(map(len, rows))
        device = self.model.model.device
        ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows], device=device)
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=device)
        return self.model.model.get_decoder()(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state

    def score(self, problems: Sequence[Problem], texts: Sequence[str]) -> list[StepScores]:
        """The score after each step of each solution, in one pass over each."""
        rows = [self.encode(p, t) for p, t in zip(problems, texts, strict=True)]
        charged = self.model.prices
        scored: dict[int, StepScores] = {}
        for batch, states, seconds in self._read([ids for ids, _ in rows]):
            for i, state in zip(batch, states, strict=True):
                ids, ends = rows[i]
                scores = self.head(state[ends].to(self.head.weight.dtype))[:, 0].double().sigmoid().tolist()
                # The whole text is read each time, and without the output head.
                spent = charged.reading(0, len(ids))
                cost = Cost(scored_tokens=len(ids), flops=spent, seconds=seconds * len(ids))
                scored[i] = StepScores(tuple(scores), cost)
        return [scored[i] for i in range(len(rows))]

    def _read(self, rows: Sequence[Sequence[int]]) -> Iterator[tuple[list[int], torch.Tensor, float]]:
        """Batches of rows of like length: their indices, their states, seconds a token."""
        from srm_utils.sampling.engine import sampling_mode

        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        with sampling_mode(self.model.model):
            while order:
                count = max(1, SCORED_TOKENS // len(rows[order[-1]]))
                batch, order = order[-count:], order[:-count]
                began = time.perf_counter()
                states = self.states([rows[i] for i in batch])
                yield batch, states, (time.perf_counter() - began) / sum(len(rows[i]) for i in batch)


def new_reward_model(task: Task, model: LanguageModel, style: str = "cot", name: str = "reward model") -> RewardModel:
    """A reward model with a head of zeros: every score is 1/2. It reads the states of `model` itself, not of a copy."""
    import torch

    head = torch.nn.Linear(model.model.config.get_text_config().hidden_size, 1)
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.zeros_(head.bias)
    return RewardModel(task, model, head.to(model.model.device), style, name)


# ---------------------------------------------------------------- losses


def label_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of the head's logits with labels in 0..1, both of shape (places,); the mean over places.

    Hard labels make the verifier of cobbe2021training, soft ones the soft estimation of
    wang2023mathshepherd (section 3.3).

    >>> import torch
    >>> round(float(label_loss(torch.zeros(2), torch.tensor([1.0, 0.0]))), 4)  # ln 2
    0.6931
    """
    import torch.nn.functional as F

    return F.binary_cross_entropy_with_logits(logits.float(), labels.float())


def pair_loss(chosen: torch.Tensor, rejected: torch.Tensor) -> torch.Tensor:
    """-log sigmoid(chosen - rejected), the Bradley-Terry likelihood of the preferred one (ouyang2022training, eq. 1).

    Both have shape (pairs,) and hold the head's logits of a right and a wrong solution of one problem.

    >>> import torch
    >>> round(float(pair_loss(torch.tensor([2.0]), torch.tensor([2.0]))), 4)
    0.6931
    """
    import torch.nn.functional as F

    return -F.logsigmoid(chosen - rejected).mean()


# ---------------------------------------------------------------- training


@dataclass(frozen=True, slots=True)
class Labelled:
    """A solution with a label after each of its steps (`step_ends`): 1 good, 0 bad, between them a chance; None is
    not trained on."""

    problem: Problem
    text: str
    labels: tuple[float | None, ...]

    def __post_init__(self) -> None:
        if len(self.labels) != len(step_ends(self.text)):
            raise ValueError(
                f"A solution has {len(step_ends(self.text))} steps and {len(self.labels)} labels; give one a step."
            )
        if not all(label is None or 0 <= label <= 1 for label in self.labels):
            raise ValueError(f"Labels lie between 0 and 1, or are None; these are {self.labels}.")


def outcome_labels(task: Task, problems: Sequence[Problem], groups: Sequence[Sequence[Completion]]) -> list[Labelled]:
    """Distinct samples with their grade as label, at the end alone: the solution-level verifier of
    cobbe2021training (section 4.3)."""
    out = []
    for problem, group in zip(problems, groups, strict=True):
        for text in dict.fromkeys(c.text for c in group):
            grade = float(task.grade(text, problem) == Grade.CORRECT)
            out.append(Labelled(problem, text, (*[None] * (len(step_ends(text)) - 1), grade)))
    return out


@dataclass(frozen=True, slots=True)
class Pair:
    """A right and a wrong solution of one problem."""

    problem: Problem
    chosen: str
    rejected: str


def outcome_pairs(
    task: Task, problems: Sequence[Problem], groups: Sequence[Sequence[Completion]], per_problem: int = 4, seed: int = 0
) -> list[Pair]:
    """Up to `per_problem` pairs of a correct and a wrong sample of each problem that has both."""
    rng, pairs = Random(seed), []
    for problem, group in zip(problems, groups, strict=True):
        texts = list(dict.fromkeys(c.text for c in group))
        right = [t for t in texts if task.grade(t, problem) == Grade.CORRECT]
        wrong = [t for t in texts if task.grade(t, problem) != Grade.CORRECT]
        both = [Pair(problem, r, w) for r in right for w in wrong]
        pairs += rng.sample(both, min(per_problem, len(both)))
    return pairs


@dataclass(frozen=True, slots=True)
class RewardConfig:
    """How a reward model is trained: `steps` of `batch_size` solutions (or pairs), by AdamW.

    The rate rises over the first `warmup` (a share of the steps) and falls linearly to 0; None takes that of
    fine-tuning. `rank` and `alpha` are LoRA's. A checkpoint is kept every `save_every` steps.
    """

    method: Method = "full"
    steps: int = 150
    batch_size: int = 32
    learning_rate: float | None = None
    warmup: float = 0.1
    rank: int = 16
    alpha: int = 32
    save_every: int = 50
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in BITS:
            raise ValueError(f"There is no method {self.method!r}; choose one of {', '.join(BITS)}.")
        if min(self.steps, self.batch_size, self.rank, self.alpha, self.save_every) < 1:
            raise ValueError(
                f"steps, batch_size, rank, alpha and save_every must be at least 1; the configuration is {self}."
            )


def fit_head(
    task: Task,
    model: LanguageModel,
    examples: Sequence[Labelled],
    penalty: float = 1e-3,
    style: str = "cot",
    name: str = "linear head",
) -> RewardModel:
    """The best linear head on a model's states as they are: logistic regression, to its optimum.

    Quick, because every solution is read once; `penalty` times the squared weights (of standardised states) is
    added to `label_loss`. Raises ValueError without labels of both kinds.
    """
    import torch

    reward = new_reward_model(task, model, style, name)
    check_labels(examples)
    rows = [_places(reward, e) for e in examples]
    _check_lengths(reward, [ids for ids, _, _ in rows])
    kept: list[torch.Tensor] = []
    labels: list[float] = []
    for batch, states, _ in reward._read([ids for ids, _, _ in rows]):
        for i, state in zip(batch, states, strict=True):
            kept.append(state[rows[i][1]].float())
            labels += rows[i][2]
    x, y = torch.cat(kept), torch.tensor(labels, device=kept[0].device)
    mean, spread = x.mean(0), x.std(0) + 1e-6
    x = (x - mean) / spread
    weight = torch.zeros(x.shape[1], device=x.device, requires_grad=True)
    bias = torch.zeros(1, device=x.device, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=300, tolerance_grad=1e-6, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = label_loss(x @ weight + bias, y) + penalty * weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    with torch.no_grad():
        reward.head.weight[0] = weight / spread
        reward.head.bias[0] = bias[0] - (weight / spread) @ mean
    return reward


def train_reward_model(
    task: Task,
    model: LanguageModel | str | os.PathLike[str],
    examples: Sequence[Labelled],
    config: RewardConfig,
    out: str | os.PathLike[str],
    style: str = "cot",
    device: str = "auto",
    name: str = "reward model",
) -> RewardModel:
    """Trains model and head together on labelled solutions and saves both into `out`; `model` itself is left alone.

    The head begins as `fit_head` leaves it: one that begins at zero pulls the states about before it knows what to
    read in them, and of judging little is left (validation, Countdown: AUC within a problem 0.66, this way 0.80).
    Called again after an interruption it goes on from its last checkpoint and ends with the same weights; called
    again after the end, the finished model is returned. Raises ValueError for no examples, labels of one kind, a
    solution too long to read, or an `out` that holds another run; FloatingPointError for a loss that is no number.
    """
    check_labels(examples)
    run = open_run(model, out, config, [style, [[e.problem.question, e.text, e.labels] for e in examples]], device)
    if run.finished is not None:
        return load_reward_model(task, out, style, device, name)
    reward = fit_head(task, run.policy, examples, 1e-2, style, name)
    rows = [_places(reward, e) for e in examples]

    def loss(batch: Sequence[int]) -> torch.Tensor:
        import torch

        states = reward.states([rows[i][0] for i in batch])
        at = [(r, place) for r, i in enumerate(batch) for place in rows[i][1]]
        labels = torch.tensor([label for i in batch for label in rows[i][2]], device=states.device)
        picked = states[[r for r, _ in at], [place for _, place in at]]
        return label_loss(reward.head(picked.to(reward.head.weight.dtype))[:, 0], labels)

    optimise(run, {"head": reward.head}, loss, [len(ids) for ids, _, _ in rows], config)
    return reward


def optimise(
    run: Run,
    heads: dict[str, torch.nn.Module],
    loss: Callable[[Sequence[int]], torch.Tensor],
    lengths: Sequence[int],
    config: RewardConfig,
) -> TrainedModel:
    """The loop: `loss` of the batches' examples, given by index, lowered over the policy's and the heads' weights.

    `lengths` are the examples' tokens. Every batch is a function of (seed, step), so a resumed run sees the same ones.
    """
    import torch

    modules = {"policy": run.policy.model, **heads}
    weights = [*run.trained, *chain.from_iterable(h.parameters() for h in heads.values())]
    rate = config.learning_rate or default_rate(config.method, run.policy.parameters)
    optimizer = torch.optim.AdamW(weights, lr=rate, betas=(0.9, 0.99), weight_decay=0.0)
    loaded = load_checkpoint(run.out, modules, {"optimizer": optimizer})
    start, log = loaded or (0, [])
    spent, began = (log[-1]["seconds"] if log else 0.0), time.monotonic()
    run.policy.model.train()
    for step in range(start, config.steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * rate_share(step, config.steps, round(config.warmup * config.steps))
        batch = batch_indices(len(lengths), config.batch_size, step, config.seed)
        value = loss(batch)
        if not math.isfinite(value.item()):
            raise FloatingPointError(
                f"The loss at step {step} is {value.item()}; lower the learning rate ({rate:.1e}) and run it again."
            )
        value.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        tokens = sum(lengths[i] for i in batch) + (log[-1]["tokens"] if log else 0)
        seconds = spent + time.monotonic() - began
        log.append({"step": step, "loss": value.item(), "tokens": tokens, "seconds": seconds})
        if (step + 1) % config.save_every == 0 and step + 1 < config.steps:
            save_checkpoint(run.out, step + 1, modules, {"optimizer": optimizer}, log)
    run.policy.model.eval()
    return _finish(run, heads, log, [optimizer])


def load_reward_model(
    task: Task, folder: str | os.PathLike[str], style: str = "cot", device: str = "auto", name: str = "reward model"
) -> RewardModel:
    """A reward model that `train_reward_model` or `train_on_pairs` saved. Raises FileNotFoundError where none is."""
    import json

    from safetensors.torch import load_file

    folder = Path(folder)
    if not (folder / HEAD).is_file():
        raise FileNotFoundError(f"There is no trained reward model in {str(folder)!r}; train one there first.")
    saved = json.loads((folder / "trained.json").read_text())
    trained = TrainedModel(**{**saved, "folder": folder, "log": tuple(saved["log"])})
    reward = new_reward_model(task, trained.load(device), style, name)
    reward.head.load_state_dict(load_file(folder / HEAD))
    return reward


def check_labels(examples: Sequence[Labelled]) -> None:
    """Raises ValueError where there is nothing to learn: no label, or all of them equal."""
    labels = {label for e in examples for label in e.labels if label is not None}
    if not labels:
        raise ValueError("There are no labelled solutions to train on; draw and grade some samples first.")
    if len(labels) == 1:
        kind = {0.0: "wrong", 1.0: "right"}.get(float(*labels), f"labelled {next(iter(labels))}")
        raise ValueError(
            f"Every solution to train on is {kind}; draw more samples, or harder or easier problems, until both "
            "kinds are there."
        )


# ---------------------------------------------------------------- from pairs, by TRL


def train_on_pairs(
    task: Task,
    model: LanguageModel | str | os.PathLike[str],
    pairs: Sequence[Pair],
    config: RewardConfig,
    out: str | os.PathLike[str],
    style: str = "cot",
    device: str = "auto",
    name: str = "pairwise reward model",
) -> RewardModel:
    """As `train_reward_model`, but from pairs: the loss is `pair_loss` at the last token, the trainer TRL's.

    Only differences are trained, so its scores rank and are no probabilities.
    """
    if not pairs:
        raise ValueError("There are no pairs to train on; some problem needs both a right and a wrong sample.")
    run = open_run(model, out, config, [style, [[p.problem.question, p.chosen, p.rejected] for p in pairs]], device)
    if run.finished is not None:
        return load_reward_model(task, out, style, device, name)
    reward = new_reward_model(task, run.policy, style, name)
    trainer = pair_trainer(reward, pairs, config, Path(out) / "checkpoints")
    with quiet():
        trainer.train(resume_from_checkpoint=newest_checkpoint(Path(out) / "checkpoints"))
    tokens, log = 0, []
    for step, entry in enumerate(e for e in trainer.state.log_history if "loss" in e):
        tokens = int(entry["num_tokens"])
        log.append({"step": step, "loss": entry["loss"], "tokens": tokens, "seconds": entry["seconds"]})
    run.policy.model.eval()
    _finish(run, {"head": reward.head}, log, [trainer.optimizer])
    return reward


def pair_trainer(reward: RewardModel, pairs: Sequence[Pair], config: RewardConfig, folder: Path) -> RewardTrainer:
    """TRL's trainer of pairs with every option that shapes the loss or the step said; trains `reward` in place."""
    with quiet():
        from datasets import Dataset
        from transformers import PrinterCallback
        from trl import RewardConfig as TrlConfig
        from trl import RewardTrainer

        rows = [{f"{k}_ids": reward.encode(p.problem, getattr(p, k))[0] for k in ("chosen", "rejected")} for p in pairs]
        _check_lengths(reward, [ids for row in rows for ids in row.values()])
        on_gpu = reward.model.device.startswith("cuda")
        settings = TrlConfig(
            output_dir=str(folder),
            # the loss
            center_rewards_coefficient=None, disable_dropout=True, max_length=None, pad_to_multiple_of=None,
            # the step
            max_steps=config.steps, per_device_train_batch_size=config.batch_size, gradient_accumulation_steps=1,
            learning_rate=config.learning_rate or default_rate(config.method, reward.model.parameters),
            lr_scheduler_type="linear", warmup_steps=round(config.warmup * config.steps),
            optim="adamw_torch", adam_beta1=0.9, adam_beta2=0.99, adam_epsilon=1e-8, weight_decay=0.0,
            max_grad_norm=1.0,
            # the machine
            use_cpu=not on_gpu, bf16=False, fp16=False, gradient_checkpointing=False, dataloader_num_workers=0,
            dataloader_pin_memory=on_gpu, torch_compile=False, activation_offloading=False,
            # the record
            seed=config.seed, data_seed=config.seed, logging_steps=1, logging_first_step=True, disable_tqdm=True,
            report_to=[], save_strategy="steps", save_steps=config.save_every, save_total_limit=2,
        )  # fmt: skip
        trainer = RewardTrainer(
            model=classifier(reward), args=settings, train_dataset=Dataset.from_list(rows),
            processing_class=reward.model.tokenizer, callbacks=[step_clock()],
        )  # fmt: skip
        trainer.remove_callback(PrinterCallback)
    return trainer


def classifier(reward: RewardModel) -> Any:
    """The same weights as a transformers sequence classifier, whose logit at the last token is w h (the bias cancels
    in a pair)."""
    import torch
    from transformers import AutoModelForSequenceClassification

    backbone = reward.model.model.get_decoder()
    config = type(backbone.config).from_dict({**backbone.config.to_dict(), "num_labels": 1})
    config.pad_token_id = reward.model.tokenizer.pad_token_id or reward.model.tokenizer.eos_token_id
    with torch.device("meta"):
        network = AutoModelForSequenceClassification.from_config(config)
    setattr(network, network.base_model_prefix, backbone)
    network.score = torch.nn.Linear(reward.head.in_features, 1, bias=False, device="meta")
    network.score.weight = reward.head.weight
    return network


# ---------------------------------------------------------------- how good a verifier is


@dataclass(frozen=True, slots=True)
class Bin:
    """Samples of like probability: their mean probability, the share that is correct, how many they are."""

    confidence: float
    accuracy: float
    count: int


def reliability(probabilities: ArrayLike, correct: ArrayLike, bins: int = 10) -> list[Bin]:
    """The reliability curve: probabilities in `bins` bins of equal width over 0..1, empty bins left out.

    >>> reliability([0.1, 0.2, 0.9], [0, 1, 1], bins=2)
    [Bin(confidence=0.15, accuracy=0.5, count=2), Bin(confidence=0.9, accuracy=1.0, count=1)]
    """
    p, y = np.asarray(probabilities, dtype=float).ravel(), np.asarray(correct, dtype=float).ravel()
    if len(p) == 0 or len(p) != len(y) or p.min() < 0 or p.max() > 1:
        raise ValueError("reliability needs as many probabilities between 0 and 1 as grades, at least one.")
    slot = np.minimum((p * bins).astype(int), bins - 1)
    found = [slot == b for b in range(bins)]
    return [
        Bin(round(float(p[mine].mean()), 12), round(float(y[mine].mean()), 12), int(mine.sum()))
        for mine in found
        if mine.any()
    ]


def calibration_error(probabilities: ArrayLike, correct: ArrayLike, bins: int = 10) -> float:
    """Expected calibration error: the gap between confidence and accuracy, averaged over the samples' bins.

    >>> round(calibration_error([0.1, 0.2, 0.9], [0, 1, 1], bins=2), 4)
    0.2667
    """
    curve = reliability(probabilities, correct, bins)
    return sum(b.count * abs(b.confidence - b.accuracy) for b in curve) / sum(b.count for b in curve)


def top_score(scores: ArrayLike, k: int) -> np.ndarray:
    """The expected highest score of k of the n samples of each problem, exact over all subsets; shape (problems,).

    `scores` has shape (problems, samples). Against the accuracy of the samples that win
    (`Evaluation.best_of_scores`) it shows over-optimisation: a weak verifier's score climbs on while accuracy falls.

    >>> top_score([[0.0, 0.5, 1.0]], 2).round(4).tolist()
    [0.8333]
    """
    from scipy import stats

    ranked = np.sort(np.asarray(scores, dtype=float), axis=1)
    n = ranked.shape[1]
    if not 1 <= k <= n:
        raise ValueError(f"k must lie between 1 and the {n} samples drawn, not {k}. Draw more samples.")
    # P(the highest has rank r) = C(r - 1, k - 1) / C(n, k).
    reached = stats.hypergeom.pmf(k, n, np.arange(1, n + 1), k)
    return ranked @ np.diff(reached, prepend=0.0)


# ---------------------------------------------------------------- inner parts


def _places(reward: RewardModel, example: Labelled) -> tuple[list[int], list[int], list[float]]:
    """Token ids, the positions where labels stand, and the labels."""
    ids, ends = reward.encode(example.problem, example.text)
    at = [(end, float(label)) for end, label in zip(ends, example.labels, strict=True) if label is not None]
    return ids, [end for end, _ in at], [label for _, label in at]


def _check_lengths(reward: RewardModel, rows: Sequence[Sequence[int]]) -> None:
    limit = reward.model.positions
    longest = max(map(len, rows))
    if longest > limit:
        raise ValueError(
            f"A solution with its problem has {longest} tokens and {reward.model.name!r} reads {limit}; leave it out."
        )


def rate_share(step: int, steps: int, warmup: int) -> float:
    """Share of the peak rate: up over `warmup` steps, then down to 0."""
    return (step + 1) / warmup if step < warmup else (steps - step) / max(1, steps - warmup)


def batch_indices(n: int, size: int, step: int, seed: int) -> list[int]:
    """Indices of a step's examples: one shuffled pass over all after another."""
    shuffled: dict[int, list[int]] = {}
    out = []
    for position in range(step * size, (step + 1) * size):
        lap = position // n
        if lap not in shuffled:
            shuffled[lap] = Random(f"{seed}/{lap}").sample(range(n), n)
        out.append(shuffled[lap][position % n])
    return out


def _finish(
    run: Run, heads: dict[str, torch.nn.Module], log: list[dict[str, float]], optimizers: Sequence[Any]
) -> TrainedModel:
    """Save heads and policy; the record that says that the run is over is written last."""
    from safetensors.torch import save_file

    for head in heads.values():
        save_file({k: v.detach().cpu().contiguous() for k, v in head.state_dict().items()}, run.out / HEAD)
    met = run.policy.flops_per_token / 2
    tokens = int(log[-1]["tokens"]) if log else 0
    # Per token: 2 FLOPs a weight forwards, 2 backwards through it, 2 more where the weight itself is trained.
    flops = (4 * met + 2 * min(met, sum(p.numel() for p in run.trained))) * tokens
    return run.finish(tokens, flops, log[-1]["seconds"] if log else 0.0, log, optimizers)
