"""Every training method by one name, from one request, with one bill: what `srm train` runs and notebook 10 compares.

A `Request` says what to train, on which task, for how long and into which folder; `train` fulfils it by the method
named. A budget in FLOPs covers everything: the samples and the teacher's answers that are made beforehand, the
samples drawn while training, a teacher's reading, and all passes. The folder ends as an ordinary checkpoint for
`load_model`, with `method.json` beside the weights. The same request again goes on where it was interrupted.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srm_utils.models import LanguageModel, load_model
from srm_utils.sampling.completion import Completion, Cost, group_cost
from srm_utils.tasks import get_task
from srm_utils.tasks.names import nearest
from srm_utils.tasks.problem import INSTRUCTIONS, Problem, Prompt, Task
from srm_utils.training.annotation import Annotated, Filter, correct, examples, gold, sampled, sift
from srm_utils.training.supervised import (
    BITS,
    Example,
    Method,
    SupervisedConfig,
    TrainedModel,
    default_rate,
    encode_example,
    merge_adapter,
    newest_checkpoint,
    quiet,
    sft_trainer,
    train_supervised,
    write_json,
)

if TYPE_CHECKING:
    from srm_utils.training.policy_gradient import Draw, PolicyGradientConfig
    from srm_utils.training.ppo import PPOConfig

#: Beside the weights: what was asked and, once it is done, what it took.
RECORD = "method.json"
#: The examples that were made before training, so that an interrupted run does not pay for them twice.
DATA = "data.json"
#: Questions asked in one batch while the number that will be needed is still unknown.
MOST_QUESTIONS = 256
#: Training data is given up after so many questions without one usable answer.
HOPELESS = 256
#: Steps of a run that its FLOPs end.
ENDLESS = 1_000_000


@dataclass(frozen=True, slots=True)
class Request:
    """What to train, on what, for how long, into which folder.

    `model` and `teacher` are bundled names, hub ids or folders, `task` a task's name. One of `steps` (optimiser steps,
    or rounds of rollouts) and `flops` is given. `weights` is full, lora or qlora; adapters are merged at the end.
    `batch_size` counts the sequences of one step over all processes and `samples` the answers drawn to a question;
    None takes the method's own, as for `learning_rate`. Questions are asked in `style`, of `difficulty` (the task's
    own where None), with at most `max_new_tokens` to an answer. A checkpoint is kept every `save_every` steps; with
    rollouts, a budget in FLOPs is looked at then.

    Raises ValueError for values that mean nothing.
    """

    model: str
    task: str
    out: Path
    steps: int | None = None
    flops: float | None = None
    teacher: str | None = None
    weights: Method = "full"
    batch_size: int | None = None
    samples: int | None = None
    learning_rate: float | None = None
    max_new_tokens: int = 128
    style: str = "unmarked"
    difficulty: tuple[int, ...] | None = None
    save_every: int = 10
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.flops is None):
            raise ValueError("Say for how long to train: either steps, such as 60, or flops, such as 1e12.")
        if self.flops is not None and not 0 < self.flops < math.inf:
            raise ValueError(f"flops is {self.flops:g}; give a number above 0, such as 1e12.")
        counts = (self.steps, self.batch_size, self.samples, self.max_new_tokens, self.save_every)
        if min(count for count in counts if count is not None) < 1:
            raise ValueError("steps, batch_size, samples, max_new_tokens and save_every must be at least 1.")
        if self.weights not in BITS:
            raise ValueError(f"There is no way to train weights called {self.weights!r}; choose {', '.join(BITS)}.")
        if self.style not in INSTRUCTIONS:
            raise ValueError(f"There is no style {self.style!r}; {nearest(self.style, INSTRUCTIONS)}.")
        if self.learning_rate is not None and not self.learning_rate > 0:
            raise ValueError(f"learning_rate must be above 0; it is {self.learning_rate}.")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a request came to; `folder` loads with `load_model`.

    `flops` and `seconds` cover everything, `data_flops` is the part spent on making examples beforehand. `questions`
    were asked for them, and `examples` were kept (both 0 where training draws its own). `tokens` are those trained
    on or drawn in training. `bytes` are weights, gradients and optimiser state, with a teacher that is read along,
    or what sampling the examples took where that was more. `last` is the last entry of the training log.
    """

    method: str
    folder: Path
    steps: int
    flops: float
    data_flops: float
    questions: int
    examples: int
    tokens: int
    seconds: float
    bytes: int
    trainable: int
    parameters: int
    last: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Data:
    """What was made before training, in rows of JSON values: enough for `steps`, from `questions`, at a cost."""

    rows: list[Any]
    steps: int
    questions: int
    cost: Cost


#: Fulfils a request in a folder; data where some were made.
Trainer = Callable[[Request, Path], tuple[TrainedModel, Data | None]]


@dataclass(frozen=True, slots=True)
class TrainingMethod:
    """One entry of `METHODS`: what it is, who said it, how to run it and what it needs.

    `teacher` is "needed", "possible" or "none"; `together` says that several processes can share its training.
    """

    what: str
    paper: str
    run: Trainer
    teacher: str = "none"
    together: bool = False
    batch_size: int = 32
    samples: int = 1


def train(method: str, request: Request) -> Outcome:
    """Train by a method of `METHODS`; the same request again resumes, or returns what is already there.

    Raises ValueError in one sentence for an unknown method, task, model or style, a teacher that is missing or of no
    use, data that hold nothing to learn, a budget too small for one step, a folder that cannot be written or holds
    another run; FloatingPointError for a loss that is no number.
    """
    if method not in METHODS:
        raise ValueError(f"There is no training method {method!r}; {nearest(method, METHODS)}.")
    chosen = METHODS[method]
    request = replace(
        request,
        out=Path(request.out),
        batch_size=request.batch_size or chosen.batch_size,
        samples=request.samples or chosen.samples,
    )
    _check(method, chosen, request)
    done = _open(method, request)
    if done is not None:
        return done
    # An adapter is no model of its own: it lies one folder deeper, and the merged weights take its place.
    folder = request.out if request.weights == "full" else request.out / "adapter"
    trained, data = chosen.run(request, folder)
    if is_first():
        if request.weights != "full":
            merge_adapter(trained, request.out, request.device)
        elif trained.folder != request.out:
            for file in trained.folder.iterdir():
                if file.name not in ("run.json", "trained.json"):
                    shutil.copy2(file, request.out)
        _close(method, request, trained, data or Data([], 0, 0, Cost()))
    _wait()
    return _read(request.out)


# ---------------------------------------------------------------- imitation: gold, own and a teacher's answers


def _supervised(request: Request, folder: Path) -> tuple[TrainedModel, Data]:
    def write(task: Task, questions: Sequence[Problem], seed: int) -> tuple[list[Row], Cost]:
        return _told(request, task, gold(task, questions, "cot" if "cot" in task.styles else task.styles[0]))

    data = _kept(request, lambda: _make(request, write, _example_price(request, _own(request))))
    return _imitate(request, folder, data), data


def _rejection(request: Request, folder: Path) -> tuple[TrainedModel, Data]:
    def make() -> Data:
        own = _own(request)
        author = load_model(request.teacher, device=_device(request)) if request.teacher else own
        write = _answers_of(author, request, request.samples or 1, 1.0, correct)
        return _make(request, write, _example_price(request, own))

    data = _kept(request, make)
    return _imitate(request, folder, data), data


def _sequence_distillation(request: Request, folder: Path) -> tuple[TrainedModel, Data]:
    def make() -> Data:
        return _make(request, _answers_of(_teacher(request), request), _example_price(request, _own(request)))

    data = _kept(request, make)
    return _imitate(request, folder, data), data


def _imitate(request: Request, folder: Path, data: Data) -> TrainedModel:
    """Fine-tune on the examples, alone or with the other processes of `accelerate launch`."""
    config = SupervisedConfig(
        method=request.weights, steps=data.steps, batch_size=(request.batch_size or 1) // processes(),
        learning_rate=request.learning_rate, save_every=request.save_every, seed=request.seed,
    )  # fmt: skip
    if processes() == 1:
        return train_supervised(request.model, _examples(data), config, folder, request.device)
    from datasets import Dataset

    from srm_utils.training.checkpoint import Run

    policy = load_model(request.model, bits=BITS[config.method], device=_device(request))
    config = replace(config, learning_rate=config.learning_rate or default_rate(config.method, policy.parameters))
    rows = Dataset.from_list([encode_example(policy, *example) for example in _examples(data)])
    trainer: Any = sft_trainer(policy, rows, config, folder / "checkpoints")
    with quiet():
        trainer.train(resume_from_checkpoint=newest_checkpoint(folder / "checkpoints"))
    losses = [entry for entry in trainer.state.log_history if "loss" in entry]
    log = [{k: entry[k] for k in ("step", "loss", "tokens", "seconds")} for entry in losses]
    _wait()
    if is_first():
        after = LanguageModel(trainer.model, policy.tokenizer, policy.name, chat=policy.chat)
        tokens = int(trainer.state.num_input_tokens_seen)
        run = Run(after, config.method, request.model, request.model, folder)
        run.finish(tokens, _passes(after, request.weights) * tokens, log[-1]["seconds"], log, [trainer.optimizer])
    _wait()
    saved = json.loads((folder / "trained.json").read_text())
    return TrainedModel(**{**saved, "folder": folder, "log": tuple(saved["log"])})


# ---------------------------------------------------------------- a teacher's distributions


def _distillation(beta: float, request: Request, folder: Path) -> tuple[TrainedModel, Data]:
    """Token by token on the teacher's answers."""
    teacher = _teacher(request)

    def make() -> Data:
        return _make(request, _answers_of(teacher, request), _example_price(request, _own(request), teacher))

    data = _kept(request, make)
    return _distil(request, folder, data, teacher, beta, 0.0), data


def _on_policy_distillation(request: Request, folder: Path) -> tuple[TrainedModel, Data]:
    """Token by token on the student's own samples; how long they will be is guessed from a few of the teacher's."""
    teacher = _teacher(request)

    def make() -> Data:
        own, price = _own(request), _example_price(request, _own(request), teacher)
        guide = _make(replace(request, steps=1, flops=None), _answers_of(teacher, request), price)
        step = sum(price(row) + own.flops_per_token * _length(own, *_example(row)) for row in guide.rows)
        steps = request.steps or int(((request.flops or 0.0) - guide.cost.flops) / step)
        _check_steps(steps, guide.cost.flops + step)
        task, questions = get_task(request.task), _questions(request, steps * (request.batch_size or 1), 1)
        asked = [[asdict(task.prompt(p, request.style)), ""] for p in questions]
        return Data(asked, steps, len(asked), guide.cost)

    data = _kept(request, make)
    return _distil(request, folder, data, teacher, 1.0, 1.0), data


def _distil(
    request: Request, folder: Path, data: Data, teacher: LanguageModel, beta: float, on_policy: float
) -> TrainedModel:
    from srm_utils.training.distillation import DistillationConfig, train_distilled

    config = DistillationConfig(
        beta=beta, on_policy=on_policy, max_new_tokens=request.max_new_tokens, method=request.weights,
        steps=data.steps, batch_size=request.batch_size or 1, learning_rate=request.learning_rate,
        save_every=request.save_every, seed=request.seed,
    )  # fmt: skip
    trained = train_distilled(request.model, teacher, _examples(data), config, folder, request.device)
    return replace(trained, bytes=trained.bytes + teacher.bytes)  # the teacher stays in memory


# ---------------------------------------------------------------- pairs, and rounds


def _dpo(request: Request, folder: Path) -> tuple[TrainedModel, Data]:
    from srm_utils.training.preference_optimization import (
        Preference,
        PreferenceConfig,
        graded_pairs,
        train_preferences,
    )

    def make() -> Data:
        own = _own(request)
        # Both passes, and the reference's one before them; a pair shares its prompt.
        read = _passes(own, request.weights) + own.flops_per_token

        def write(task: Task, questions: Sequence[Problem], seed: int) -> tuple[list[Row], Cost]:
            prompts = [task.prompt(p, request.style) for p in questions]
            groups = own.sample(prompts, request.samples or 1, request.max_new_tokens, seed=seed)
            pairs = graded_pairs(task, questions, groups, request.style, seed=seed)
            cost = Cost.total(group_cost(group) for group in groups)
            said = [[[c.text, c.token_ids] for c in (p.chosen, p.rejected)] for p in pairs]
            asked = [asdict(p.prompt) for p in pairs if isinstance(p.prompt, Prompt)]
            return [[prompt, *both] for prompt, both in zip(asked, said, strict=True)], cost

        def price(row: Row) -> float:
            return read * (len(own.encode(_prompt(row[0]))) + sum(len(ids) for _, ids in row[1:]))

        return _make(request, write, price)

    def completion(text: str, ids: Sequence[int]) -> Completion:
        return Completion(text, tuple(ids), (), "stop", 0, Cost())

    data = _kept(request, make)
    pairs = [Preference(_prompt(row[0]), *(completion(*said) for said in row[1:])) for row in data.rows]
    config = PreferenceConfig(
        method=request.weights, steps=data.steps, batch_size=request.batch_size or 1,
        learning_rate=request.learning_rate, save_every=request.save_every, seed=request.seed,
    )  # fmt: skip
    return train_preferences(request.model, pairs, config, folder, request.device), data


def _self_training(name: str, request: Request, folder: Path) -> tuple[TrainedModel, Data]:
    """Rounds of equal size; how many questions and steps they have is planned from one batch of questions."""
    from srm_utils.training import self_training

    method, task, size = self_training.METHODS[name], get_task(request.task), request.batch_size or 1
    config = self_training.SelfTrainingConfig(
        samples=request.samples or 1, style=request.style, max_new_tokens=request.max_new_tokens, seed=request.seed
    )

    def make() -> Data:
        own, tried = _own(request), _questions(request, size, 1)
        price = _example_price(request, own)
        records = [s.record for s in method.write(own, None, task, tried, config, request.seed)]
        cost = Cost.total(r.cost for r in records)
        kept, _ = _told(request, task, self_training.at_most(sift(records, *method.keep), config.most))
        paid = cost.flops + sum(map(price, kept))
        if request.steps:
            steps = math.ceil(request.steps / config.rounds)
            return Data([], steps, math.ceil(steps * size * len(tried) / len(kept)), cost)
        share = ((request.flops or 0.0) - cost.flops) / (config.rounds * paid)
        steps = int(share * len(kept) / size)
        _check_steps(steps, cost.flops + config.rounds * paid * size / len(kept))
        return Data([], steps, int(share * len(tried)), cost)

    plan = _kept(request, make)
    policy = SupervisedConfig(
        method=request.weights, steps=plan.steps, batch_size=size, learning_rate=request.learning_rate,
        save_every=request.save_every,
    )  # fmt: skip
    questions = _questions(request, plan.questions, 0)
    rounds = self_training.self_train(
        request.model, task, questions, method, replace(config, policy=policy), folder, device=request.device
    )
    cost = Cost.total(s.record.cost for r in rounds for s in r.solutions)
    whole = replace(
        rounds[-1].trained, flops=rounds[-1].flops - cost.flops, tokens=sum(r.trained.tokens for r in rounds),
        seconds=sum(r.trained.seconds for r in rounds), log=tuple(e for r in rounds for e in r.trained.log),
    )  # fmt: skip
    return whole, replace(plan, cost=plan.cost + cost)


# ---------------------------------------------------------------- rewards


def _policy_gradient(variant: str, request: Request, folder: Path) -> tuple[TrainedModel, None]:
    from srm_utils.training.outcome_rewards import correctness
    from srm_utils.training.policy_gradient import VARIANTS, PolicyGradientConfig, train_policy_gradient

    advantage, terms = VARIANTS[variant]
    reward = correctness(get_task(request.task))
    config = PolicyGradientConfig(**_rollouts(request), **terms)

    def run(draw: Draw) -> TrainedModel:
        return train_policy_gradient(request.model, draw, reward, config, folder, advantage, request.device)

    return _until_spent(request, folder, config, run, reward, advantage), None


def _ppo(request: Request, folder: Path) -> tuple[TrainedModel, None]:
    from srm_utils.training.outcome_rewards import correctness
    from srm_utils.training.ppo import PPOConfig, train_ppo

    reward = correctness(get_task(request.task))
    config = PPOConfig(**_rollouts(request))

    def run(draw: Draw) -> TrainedModel:
        return train_ppo(request.model, draw, reward, config, folder, request.device)

    return _until_spent(request, folder, config, run, reward), None


def _rollouts(request: Request) -> dict[str, Any]:
    """What the two loops of policy gradients have in common."""
    sequences, samples = request.batch_size or 1, request.samples or 1
    if sequences % samples:
        raise ValueError(f"A batch of {sequences} cannot hold {samples} samples of each question; give a multiple.")
    return {
        "method": request.weights, "steps": request.steps or ENDLESS, "prompts": sequences // samples,
        "samples": samples, "learning_rate": request.learning_rate, "max_new_tokens": request.max_new_tokens,
        "save_every": request.save_every, "seed": request.seed,
    }  # fmt: skip


class _Spent(Exception):
    """The budget does not reach to the next checkpoint."""


def _until_spent(
    request: Request,
    folder: Path,
    config: PolicyGradientConfig | PPOConfig,
    run: Callable[[Draw], TrainedModel],
    *functions: Any,
) -> TrainedModel:
    """A loop on rollouts, ended at the last checkpoint that the FLOPs pay for.

    How long answers will be is known only when they are drawn, so the loop is begun without an end, asks for
    questions, and gets none any more once the next steps would cost too much; its last checkpoint is the result.
    """
    import torch

    from srm_utils.training.checkpoint import CHECKPOINT, load_checkpoint, open_run
    from srm_utils.training.policy_gradient import batches, known_by

    draw = batches(get_task(request.task), config.prompts, request.style, request.seed, request.difficulty)
    if request.flops is None:
        return run(draw)
    budget, file, seen = request.flops, folder / CHECKPOINT, 0

    def within(index: int) -> Sequence[tuple[Problem, Prompt]]:
        nonlocal seen
        stamp = file.stat().st_mtime_ns if file.is_file() else 0
        if stamp != seen:
            seen = stamp
            # Mapped, not read: the log is a few kilobytes beside all the weights.
            log = _log(torch.load(file, map_location="cpu", weights_only=True, mmap=True)["facts"])
            paid = [0.0, *(entry["flops"] for entry in log)]
            # Steps differ with the length of their answers; the most expensive one so far stands for those to come.
            most = max(after - before for before, after in zip(paid, paid[1:], strict=False))
            if paid[-1] + config.save_every * most > budget:
                raise _Spent
        return draw(index)

    try:
        return run(within)
    except _Spent:
        ended = open_run(request.model, folder, config, known_by(draw, *functions), request.device)
        optimizer = torch.optim.AdamW(ended.trained)
        state = load_checkpoint(folder, {"policy": ended.policy.model}, {"adam": optimizer})
        assert state is not None
        log = _log(state[1])
        seconds = sum(entry["sampling"] + entry["update"] for entry in log)
        return ended.finish(int(log[-1]["processed"]), log[-1]["flops"], seconds, log, [optimizer])


def _log(facts: Any) -> list[dict[str, float]]:
    return facts["log"] if isinstance(facts, dict) else facts


# ---------------------------------------------------------------- the methods

METHODS: dict[str, TrainingMethod] = {
    "supervised": TrainingMethod("fine-tuning on gold solutions", "chung2022scaling", _supervised, together=True),
    "rejection": TrainingMethod(
        "fine-tuning on the right ones of the model's own samples, or of a teacher's",
        "yuan2023scaling", _rejection, "possible", True, samples=4,
    ),
    "sequence-distillation": TrainingMethod(
        "fine-tuning on a teacher's answers", "kim2016sequence", _sequence_distillation, "needed", True
    ),
    "forward-kl": TrainingMethod(
        "forward KL to a teacher's distributions, on its answers",
        "hinton2015distilling", partial(_distillation, 0.0), "needed",
    ),
    "reverse-kl": TrainingMethod(
        "reverse KL to a teacher's distributions, on its answers",
        "gu2024minillm", partial(_distillation, 1.0), "needed",
    ),
    "on-policy-distillation": TrainingMethod(
        "reverse KL to a teacher's distributions, on the model's own samples",
        "agarwal2024policy", _on_policy_distillation, "needed",
    ),
    "dpo": TrainingMethod(
        "preference optimisation on right and wrong ones of the model's own samples",
        "rafailov2023dpo", _dpo, batch_size=16, samples=8,
    ),
    "star": TrainingMethod(
        "rounds of tries, explanations of the answer where they fail, and fine-tuning",
        "zelikman2022star", partial(_self_training, "STaR"),
    ),
    "rest-em": TrainingMethod(
        "rounds of samples and fine-tuning on the right ones",
        "singh2024beyond", partial(_self_training, "ReST-EM"), samples=4,
    ),
    "reinforce": TrainingMethod(
        "policy gradient, the bare reward as advantage",
        "ahmadian2024back", partial(_policy_gradient, "REINFORCE"), batch_size=64, samples=8,
    ),
    "rloo": TrainingMethod(
        "policy gradient, less the mean of the other samples",
        "ahmadian2024back", partial(_policy_gradient, "RLOO"), batch_size=64, samples=8,
    ),
    "grpo": TrainingMethod(
        "policy gradient, less the group's mean, by its deviation",
        "shao2024deepseekmath", partial(_policy_gradient, "GRPO"), batch_size=64, samples=8,
    ),
    "dr-grpo": TrainingMethod(
        "policy gradient, less the group's mean, length left alone",
        "liu2025understanding", partial(_policy_gradient, "Dr. GRPO"), batch_size=64, samples=8,
    ),
    "ppo": TrainingMethod(
        "policy gradient with a critic and clipped updates", "schulman2017ppo", _ppo, batch_size=64, samples=1
    ),
}  # fmt: skip


# ---------------------------------------------------------------- examples within a budget

#: What one example is written down as.
Row = list[Any]
#: Rows made of questions, and what all that was written for them cost: (task, questions, seed).
Write = Callable[[Task, Sequence[Problem], int], tuple[list[Row], Cost]]


def _make(request: Request, write: Write, price: Callable[[Row], float]) -> Data:
    """Rows for the steps asked for, or for as many as the FLOPs pay, the making included; each is read once.

    `price` is what training on a row takes, in FLOPs. Raises ValueError where no row can be made or no step paid.
    """
    task, size, flops = get_task(request.task), request.batch_size or 1, request.flops or math.inf
    rows: list[Row] = []
    prices: list[float] = []
    asked, spent = 0, Cost()
    while True:
        done = len(rows) / (request.steps * size) if request.steps else (spent.flops + sum(prices)) / flops
        if done >= 1:
            break
        if asked >= HOPELESS and not rows:
            raise ValueError(
                f"None of the answers to {asked} questions can be learnt from; take a task that the model sometimes "
                "solves, more samples, or a stronger teacher."
            )
        guess = math.ceil(asked * (1 / done - 1)) if done else asked
        questions = _questions(request, max(size, min(guess, MOST_QUESTIONS)), asked)
        new, cost = write(task, questions, request.seed * 1_000_003 + asked)
        asked += len(questions)
        spent += cost
        rows += new
        prices += map(price, new)
    steps = request.steps or len(rows) // size
    while steps and spent.flops + sum(prices[: steps * size]) > flops:
        steps -= 1
    _check_steps(steps, spent.flops + sum(prices[:size]))
    return Data(rows[: steps * size], steps, asked, spent)


def _check_steps(steps: int, least: float) -> None:
    if steps < 1:
        raise ValueError(f"The FLOPs do not pay for a single step, which takes {least:.2g}; raise them.")


def _questions(request: Request, n: int, number: int) -> list[Problem]:
    """Training questions; another `number`, others."""
    seed = 1_000_003 * (request.seed + 1) + number
    return get_task(request.task).problems(n, split="train", seed=seed, difficulty=request.difficulty)


def _answers_of(
    author: LanguageModel, request: Request, samples: int = 1, temperature: float = 0.0, keep: Filter = list
) -> Write:
    def write(task: Task, questions: Sequence[Problem], seed: int) -> tuple[list[Row], Cost]:
        made = sampled(author, task, questions, samples, request.style, request.max_new_tokens, temperature, seed)
        return _told(request, task, keep(made))[0], Cost.total(r.cost for r in made)

    return write


def _told(request: Request, task: Task, records: Sequence[Annotated]) -> tuple[list[Row], Cost]:
    """Records as rows, and what they cost."""
    rows = [[asdict(prompt), answer] for prompt, answer in examples(records, task, request.style)]
    return rows, Cost.total(r.cost for r in records)


def _prompt(saved: Mapping[str, Any]) -> Prompt:
    return Prompt(**{**saved, "examples": tuple(map(tuple, saved["examples"]))})


def _example(row: Row) -> Example:
    return _prompt(row[0]), row[1]


def _examples(data: Data) -> list[Example]:
    return [_example(row) for row in data.rows]


def _example_price(
    request: Request, own: LanguageModel, teacher: LanguageModel | None = None
) -> Callable[[Row], float]:
    """FLOPs to train on an example, with those of a teacher that reads along."""
    passes = _passes(own, request.weights)

    def price(row: Row) -> float:
        prompt, answer = _example(row)
        tokens = _length(own, prompt, answer)
        if teacher is None:
            return passes * tokens
        along = tokens - len(own.encode(prompt)) + len(teacher.encode(prompt))
        return passes * tokens + teacher.flops_per_token * along

    return price


def _length(model: LanguageModel, prompt: Prompt, answer: str) -> int:
    return len(encode_example(model, prompt, answer)["input_ids"])


def _passes(model: LanguageModel, weights: Method) -> float:
    """FLOPs to train on one token: 2 a weight forwards, 2 backwards, and 2 more for each that is trained."""
    met, trained = model.flops_per_token / 2, float(model.parameters)
    if weights != "full" and not hasattr(model.model, "peft_config"):
        output = model.model.get_output_embeddings()
        layers = [m for m in model.model.modules() if hasattr(m, "in_features") and m is not output]
        trained = SupervisedConfig().rank * sum(m.in_features + m.out_features for m in layers)
        met += trained
    elif weights != "full":
        trained = sum(p.numel() for p in model.model.parameters() if p.requires_grad)
    return 4 * met + 2 * min(met, trained)


def _own(request: Request) -> LanguageModel:
    return load_model(request.model, bits=BITS[request.weights], device=_device(request))


def _teacher(request: Request) -> LanguageModel:
    assert request.teacher is not None
    return load_model(request.teacher, device=_device(request))


def _kept(request: Request, make: Callable[[], Data]) -> Data:
    """The examples of this run, made once, by the first process, and read from the folder ever after."""
    file = request.out / DATA
    if is_first() and not file.is_file():
        made = make()
        write_json(file, asdict(made))
    _wait()
    saved = json.loads(file.read_text())
    return Data(**{**saved, "cost": Cost(**saved["cost"])})


# ---------------------------------------------------------------- the folder and its record


def _check(method: str, chosen: TrainingMethod, request: Request) -> None:
    """What can be said before anything is loaded."""
    get_task(request.task)
    if chosen.teacher == "needed" and not request.teacher:
        raise ValueError(f"{method} learns from a teacher; name one, such as --teacher instruct.")
    if chosen.teacher == "none" and request.teacher:
        raise ValueError(f"{method} has no use for a teacher; leave {request.teacher!r} out.")
    if processes() > 1 and not chosen.together:
        raise ValueError(f"{method} trains in one process; start it without `accelerate launch`.")
    if (request.batch_size or 1) % processes():
        raise ValueError(
            f"A batch of {request.batch_size} cannot be shared by {processes()} processes; give a multiple of them."
        )


def _open(method: str, request: Request) -> Outcome | None:
    """Take the folder for this request; the outcome where it is there already."""
    asked = json.loads(json.dumps({"method": method, **asdict(request), "out": "."}))
    asked["processes"] = processes()
    file = request.out / RECORD
    if is_first():
        try:
            request.out.mkdir(parents=True, exist_ok=True)
            held = json.loads(file.read_text())["asked"] if file.is_file() else None
            if held is None:
                if (request.out / "config.json").is_file():
                    raise ValueError(f"{str(request.out)!r} holds a model already; choose another folder.")
                write_json(file, {"asked": asked})
        except OSError as error:
            why = error.strerror or error
            raise ValueError(f"{str(request.out)!r} cannot be written ({why}); choose another folder.") from error
        if held is not None and held != asked:
            other = ", ".join(f"{k} {held.get(k)!r}, now {v!r}" for k, v in asked.items() if held.get(k) != v)
            raise ValueError(f"{str(request.out)!r} holds another run ({other}); choose another folder.")
    _wait()
    return _read(request.out) if "outcome" in json.loads(file.read_text()) else None


def _close(method: str, request: Request, trained: TrainedModel, data: Data) -> None:
    """Write what it took; done last, so that a folder without it is an unfinished run."""
    outcome = Outcome(
        method=method, folder=request.out, steps=len(trained.log), flops=trained.flops + data.cost.flops,
        data_flops=data.cost.flops, questions=data.questions, examples=len(data.rows), tokens=trained.tokens,
        seconds=trained.seconds + data.cost.seconds, bytes=int(max(trained.bytes, data.cost.peak_bytes)),
        trainable=trained.trainable,
        parameters=trained.parameters - (trained.trainable if request.weights != "full" else 0),
        last=dict(trained.log[-1]),
    )  # fmt: skip
    asked = json.loads((request.out / RECORD).read_text())["asked"]
    write_json(request.out / RECORD, {"asked": asked, "outcome": {**asdict(outcome), "folder": "."}})


def _read(folder: Path) -> Outcome:
    return Outcome(**{**json.loads((folder / RECORD).read_text())["outcome"], "folder": folder})


# ---------------------------------------------------------------- several processes


def processes() -> int:
    """How many processes train together; `accelerate launch` says so in the environment.

    >>> processes()
    1
    """
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this is the process that writes."""
    return int(os.environ.get("RANK", "0")) == 0


def _wait() -> None:
    """Until all processes are here."""
    if processes() > 1:
        import torch
        from accelerate import PartialState

        PartialState(cpu=not torch.cuda.is_available()).wait_for_everyone()


def _device(request: Request) -> str:
    """Where this process computes: each has a GPU of its own."""
    if processes() == 1:
        return request.device
    import torch

    return f"cuda:{os.environ['LOCAL_RANK']}" if torch.cuda.is_available() else "cpu"
