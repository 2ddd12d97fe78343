"""`srm bench train`: rollouts, whole GRPO steps and fine-tuning beside TRL's and transformers' own, on the same work.

Three questions. How much faster is a rollout by our sampler than by `model.generate`, called as TRL's GRPOTrainer calls
it? What does that make of a whole step, which can never be faster than its update (a bound: free sampling), and
where does the rest of the update go? And does fine-tuning through our settings cost anything beside a plain `Trainer`?
A faster step counts only if it is the same one: the gradients on the same completions are compared too.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srm_utils.models import LanguageModel, load_model
from srm_utils.tasks import get_task
from srm_utils.tasks.problem import Problem, Prompt, Task
from srm_utils.training.outcome_rewards import correctness
from srm_utils.training.policy_gradient import (
    VARIANTS,
    Answers,
    PolicyGradientConfig,
    policy_loss,
    read_answers,
    roll_out,
    take_step,
    token_weights,
    update,
    weights_of_start,
)
from srm_utils.training.supervised import SupervisedConfig, encode_example, quiet, sft_trainer

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from srm_utils.sampling.completion import Completion

OURS, GENERATE, MIXED = "ours", "TRL, model.generate", "TRL, our sampler"


@dataclass(frozen=True)
class TrainingBench:
    """What was measured; all times are medians, in seconds of `now`.

    `rollouts`: sampler, seconds, tokens, tokens_per_second. `steps`: loop, seconds of the whole step, of its
    sampling and of its update. `update`: part of our update, seconds. `gradient_gap`: the largest difference between
    our gradient and TRL's on the same completions, as a share of the largest entry. `fine_tuning`: trainer,
    tokens_per_second. `setting` says on what.
    """

    setting: str
    rollouts: pd.DataFrame
    steps: pd.DataFrame
    update: pd.DataFrame
    gradient_gap: float
    fine_tuning: pd.DataFrame

    @property
    def rollout_ratio(self) -> float:
        """How many times faster our sampler draws a token than TRL's generate does."""
        speed = self.rollouts.set_index("sampler")["tokens_per_second"]
        return float(speed[OURS] / speed[GENERATE])

    @property
    def fine_tuning_ratio(self) -> float:
        """Our tokens a second in fine-tuning by those of the plain trainer."""
        speed = self.fine_tuning.set_index("trainer")["tokens_per_second"]
        return float(speed.iloc[0] / speed.iloc[1])

    def __str__(self) -> str:
        lines = [f"Training: {self.setting}; medians.", "\nRollouts"]
        for _, row in self.rollouts.iterrows():
            lines.append(f"  {row['sampler']:22s} {row['seconds']:8.2f} s {row['tokens_per_second']:9,.0f} tokens/s")
        lines.append(f"  ours is {self.rollout_ratio:.1f} x faster")
        lines.append("\nThe whole GRPO step, and its bound: the update alone, as if sampling were free")
        for _, row in self.steps.iterrows():
            lines.append(
                f"  {row['loop']:22s} {row['seconds']:8.2f} s = sampling {row['sampling']:.2f} + update "
                f"{row['update']:.2f}; {row['seconds'] / row['update']:.2f} x its bound"
            )
        whole = self.steps.set_index("loop")["seconds"]
        lines.append(f"  ours takes {whole[OURS] / whole[GENERATE]:.2f} of TRL's time")
        lines.append("\nWhat remains in our update")
        for _, row in self.update.iterrows():
            lines.append(f"  {row['part']:50s} {row['seconds']:8.3f} s")
        lines.append(f"\nGradients on the same completions: at most {self.gradient_gap:.1e} of the largest entry apart")
        lines.append("\nFine-tuning")
        for _, row in self.fine_tuning.iterrows():
            lines.append(f"  {row['trainer']:40s} {row['tokens_per_second']:9,.0f} tokens/s")
        return "\n".join([*lines, f"  the first is {self.fine_tuning_ratio:.2f} x as fast as the second"])


def bench_training(
    model: str = "base",
    task_name: str = "chain",
    *,
    prompts: int = 16,
    samples: int = 8,
    max_new_tokens: int = 96,
    repeats: int = 5,
    batch_size: int = 32,
    threads: int | None = 1,
    say: Callable[[str], None] = lambda line: None,
) -> TrainingBench:
    """Measure rollouts, steps, updates, gradients and fine-tuning, all in this run.

    Args:
        model: a name or folder for `load_model`; every trainer gets a copy of its own.
        task_name: whose questions are asked, unmarked, and whose gold solutions are fine-tuned on.
        prompts, samples: questions of a rollout and answers to each, of at most `max_new_tokens`.
        repeats: runs of each after one that warms up; samplers alternate.
        batch_size: examples of a fine-tuning step.
        threads: torch's, None leaves them.
        say: gets a line of progress now and then.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        task = get_task(task_name)
        work = Work(model, task, task.problems(prompts, seed=71), samples, max_new_tokens, repeats)
        with tempfile.TemporaryDirectory(prefix="srm-bench-") as folder:
            say("rollouts")
            rollouts = time_rollouts(work, Path(folder))
            say("whole steps")
            steps = time_steps(work, Path(folder))
            say("the update, part by part")
            parts = time_update(work)
            say("gradients on the same completions")
            gap = gradient_gap(work, Path(folder))
            say("fine-tuning")
            tuned = time_fine_tuning(work, batch_size, Path(folder))
        setting = f"{model}, {prompts} prompts x {samples} samples of {task_name}, {torch.get_num_threads()} thread(s)"
        setting += ", this process's own seconds" if _alone() else ", wall seconds"
        return TrainingBench(setting, rollouts, steps, parts, gap, tuned)
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True)
class Work:
    """The same work for everyone: which model answers which questions how often, and how many runs are timed."""

    model: str
    task: Task
    problems: list[Problem]
    samples: int
    max_new_tokens: int
    repeats: int

    @property
    def prompts(self) -> list[Prompt]:
        return [self.task.prompt(p, "unmarked") for p in self.problems]

    def load(self) -> LanguageModel:
        """A fresh copy: a model that a TRL trainer has touched is not used for anything else."""
        return load_model(self.model, bits=32)

    def draw(self, policy: LanguageModel, seed: int) -> list[list[Completion]]:
        return policy.sample(self.prompts, self.samples, self.max_new_tokens, seed=seed)


def now() -> float:
    """The clock: this process's own seconds where it has one thread of a CPU, whatever else the machine does; else the
    wall's, once a GPU has done what it was told.
    """
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.process_time() if _alone() else time.perf_counter()


def _alone() -> bool:
    import torch

    return torch.get_num_threads() == 1 and not torch.cuda.is_available()


# ---------------------------------------------------------------- rollouts


def time_rollouts(work: Work, folder: Path) -> pd.DataFrame:
    """Seconds for the same rollout by our sampler and by TRL's own call of `model.generate`."""
    import pandas as pd
    import torch

    policy, trainer = work.load(), grpo_trainer(work, folder / "rollouts")
    asked = [policy.encode(p) for p in work.prompts for _ in range(work.samples)]

    def ours(seed: int) -> int:
        return sum(len(c.token_ids) for group in work.draw(policy, seed) for c in group)

    def theirs(seed: int) -> int:
        torch.manual_seed(seed)
        with quiet():
            drawn, _ = trainer._generate_single_turn(asked, None, {}, work.samples)
        return sum(map(len, drawn))

    runs: dict[str, list[tuple[float, int]]] = {OURS: [], GENERATE: []}
    for seed in range(work.repeats + 1):
        for name, draw in ((OURS, ours), (GENERATE, theirs)):
            began = now()
            tokens = draw(seed)
            runs[name].append((now() - began, tokens))
    rows = []
    for name, measured in runs.items():
        median = statistics.median(t for _, t in measured[1:])
        # Seconds a token: both draw from one distribution, but not the same answers.
        seconds = statistics.median(s / t for s, t in measured[1:]) * median
        rows.append({"sampler": name, "seconds": seconds, "tokens": median, "tokens_per_second": median / seconds})
    return pd.DataFrame(rows)


def grpo_trainer(work: Work, folder: Path, rollout: Callable[..., dict[str, Any]] | None = None, steps: int = 1) -> Any:
    """TRL's trainer, set to what "Dr. GRPO" is in `VARIANTS`, on a copy of the model; `rollout` replaces generate."""
    with quiet():
        from datasets import Dataset
        from transformers import PrinterCallback
        from trl import GRPOConfig, GRPOTrainer

        policy, reward, rows = work.load(), correctness(work.task), len(work.problems) * work.samples
        settings = GRPOConfig(
            output_dir=str(folder),
            # the loss
            loss_type="dr_grpo", scale_rewards="none", beta=0.0, epsilon=0.2, epsilon_high=0.2, num_iterations=1,
            importance_sampling_level="token", mask_truncated_completions=False,
            # the rollout
            num_generations=work.samples, max_completion_length=work.max_new_tokens, temperature=1.0, top_p=1.0,
            top_k=0, steps_per_generation=1,
            # the step
            max_steps=steps, per_device_train_batch_size=rows, gradient_accumulation_steps=1, learning_rate=1e-5,
            lr_scheduler_type="constant", optim="adamw_torch", weight_decay=0.0, max_grad_norm=1.0,
            # the machine
            use_cpu=not policy.device.startswith("cuda"), bf16=False, fp16=False, gradient_checkpointing=False,
            dataloader_num_workers=0, torch_compile=False, use_liger_kernel=False,
            # the record
            seed=0, shuffle_dataset=False, report_to=[], disable_tqdm=True, save_strategy="no", logging_steps=1,
        )  # fmt: skip
        asked = [{"prompt": policy.render(p), "index": i} for i, p in enumerate(work.prompts)]

        def pay(completions: list[str], index: list[int], **_: Any) -> list[float]:
            return [reward(work.problems[i], text) for i, text in zip(index, completions, strict=True)]

        trainer = GRPOTrainer(
            policy.model, pay, settings, Dataset.from_list(asked), processing_class=policy.tokenizer,
            rollout_func=rollout,
        )  # fmt: skip
        trainer.remove_callback(PrinterCallback)
    return trainer


# ---------------------------------------------------------------- whole steps


def time_steps(work: Work, folder: Path) -> pd.DataFrame:
    """Seconds of a whole step, its sampling and its update: TRL's loop with either sampler, and ours."""
    import pandas as pd
    import torch

    rows = []
    for name in (GENERATE, MIXED):
        spent: list[float] = []
        rollout = _timed(_rollout(work), spent) if name == MIXED else None
        trainer = grpo_trainer(work, folder / "steps", rollout, work.repeats + 1)
        if name == GENERATE:
            trainer._generate_single_turn = _timed(trainer._generate_single_turn, spent)
        rows.append((name, _step_seconds(trainer)[1:], spent[1:]))
    advantage, terms = VARIANTS["Dr. GRPO"]
    config = PolicyGradientConfig(
        prompts=len(work.problems), samples=work.samples, max_new_tokens=work.max_new_tokens, **terms
    )
    policy, reward = work.load(), correctness(work.task)
    parameters = list(policy.model.parameters())
    start, optimizer = [p.detach().clone() for p in parameters], torch.optim.AdamW(parameters, lr=1e-5)
    asked = list(zip(work.problems, work.prompts, strict=True))
    marks: list[tuple[float, float, float]] = []
    for seed in range(work.repeats + 1):
        began = now()
        rollout_of = roll_out(policy, asked, reward, work.samples, work.max_new_tokens, seed)
        drawn = now()
        update(policy, parameters, start, optimizer, rollout_of, advantage, config)
        marks.append((began, drawn, now()))
    rows.append((OURS, [c - a for a, _, c in marks[1:]], [b - a for a, b, _ in marks[1:]]))
    median = statistics.median
    return pd.DataFrame(
        {"loop": name, "seconds": median(whole), "sampling": median(spent),
         "update": median(w - s for w, s in zip(whole, spent, strict=True))}
        for name, whole, spent in rows
    )  # fmt: skip


def _rollout(work: Work) -> Callable[..., dict[str, Any]]:
    """Our sampler as TRL asks for it: prompts come already repeated, one completion is given back for each."""

    def rollout(prompts: list[str], trainer: Any) -> dict[str, Any]:
        policy = LanguageModel(trainer.accelerator.unwrap_model(trainer.model), trainer.processing_class)
        distinct = list(dict.fromkeys(prompts))
        assert prompts == [p for p in distinct for _ in range(work.samples)]
        groups = policy.sample(distinct, work.samples, work.max_new_tokens, seed=trainer.state.global_step)
        return {
            "prompt_ids": [policy.encode(p) for p in prompts],
            "completion_ids": [list(c.token_ids) for group in groups for c in group],
            "logprobs": None,
        }

    return rollout


def _timed(function: Callable[..., Any], spent: list[float]) -> Callable[..., Any]:
    """The same function, which notes how long each call takes."""

    def timed(*args: Any, **options: Any) -> Any:
        began = now()
        made = function(*args, **options)
        spent.append(now() - began)
        return made

    return timed


def _step_seconds(trainer: Any) -> list[float]:
    """Train, and say how long each step took."""
    from transformers import TrainerCallback

    seconds: list[float] = []

    class Clock(TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.began = now()

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            seconds.append(now() - self.began)

    trainer.add_callback(Clock())
    with quiet():
        trainer.train()
    return seconds


# ---------------------------------------------------------------- the update


def time_update(work: Work) -> pd.DataFrame:
    """Seconds of each part of our update on one rollout; the last line is what a row for every answer would take."""
    import pandas as pd
    import torch

    policy = work.load()
    parameters = list(policy.model.parameters())
    start = [p.detach().clone() for p in parameters]
    optimizer = torch.optim.AdamW(parameters, lr=0.0)
    groups = work.draw(policy, 0)
    advantages = torch.randn(sum(map(len, groups)), 1, generator=torch.Generator().manual_seed(0))
    alone = [p for p, group in zip(work.prompts, groups, strict=True) for _ in group], [[c] for g in groups for c in g]
    spent: dict[str, list[float]] = {}

    def part(name: str, run: Callable[[], Any]) -> Any:
        began = now()
        made = run()
        spent.setdefault(name, []).append(now() - began)
        return made

    def loss(answers: Answers) -> torch.Tensor:
        logprobs = read_answers(policy, answers).logprobs
        weights = token_weights(answers.mask, "constant", work.max_new_tokens)
        return policy_loss(logprobs, logprobs.detach(), advantages.to(logprobs.device), weights, (0.2, 0.2))

    def reference(answers: Answers) -> Any:
        with torch.no_grad(), weights_of_start(parameters, start):
            return read_answers(policy, answers)

    def unshared() -> None:
        loss(Answers.of(policy, *alone)).backward()
        optimizer.zero_grad()

    for _ in range(work.repeats + 1):
        answers = part("put the answers into rows", lambda: Answers.of(policy, work.prompts, groups))
        part("read under the first weights (for the KL)", partial(reference, answers))
        value = part("forward", partial(loss, answers))
        part("backward", value.backward)
        part("cut the gradient and step", lambda: take_step(optimizer, parameters, 0.0))
        part(f"(forward and backward, each prompt read {work.samples} times)", unshared)
    return pd.DataFrame({"part": k, "seconds": statistics.median(v[1:])} for k, v in spent.items())


def gradient_gap(work: Work, folder: Path) -> float:
    """The largest difference between our gradient and TRL's, as a share of the largest entry of TRL's.

    Both read the same ragged completions, drawn before the weights were moved a little, with the same advantages.
    """
    import torch

    policy, trainer = work.load(), grpo_trainer(work, folder / "gradients")
    groups = work.draw(policy, 0)
    answers = Answers.of(policy, work.prompts, groups)
    noise = torch.Generator().manual_seed(0)
    advantages = torch.randn(len(answers.targets), generator=noise).to(answers.mask.device)
    with torch.no_grad():
        old = read_answers(policy, answers).logprobs
        for ours, theirs in zip(policy.model.parameters(), trainer.model.parameters(), strict=True):
            moved = ours + 0.02 * ours.std() * torch.randn(ours.shape, generator=noise).to(ours.device)
            ours.copy_(moved)
            theirs.copy_(moved)
    weights = token_weights(answers.mask, "constant", work.max_new_tokens)
    policy_loss(read_answers(policy, answers).logprobs, old, advantages[:, None], weights, (0.2, 0.2)).backward()
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.train()
    trainer.compute_loss(trainer.model, _batch(policy, work, groups, old, advantages)).backward()
    found = [torch.cat([p.grad.flatten() for p in m.parameters()]) for m in (policy.model, trainer.model)]
    return float((found[0] - found[1]).abs().max() / found[1].abs().max())


def _batch(
    policy: LanguageModel,
    work: Work,
    groups: Sequence[Sequence[Completion]],
    old: torch.Tensor,
    advantages: torch.Tensor,
) -> dict[str, Any]:
    """Drawn completions as TRL's loss takes them: prompts padded to the left, completions to the right."""
    import torch

    asked = [policy.encode(p) for p, group in zip(work.prompts, groups, strict=True) for _ in group]
    said = [list(c.token_ids) for group in groups for c in group]
    before, after = max(map(len, asked)), max(map(len, said))
    tables = {
        "prompt_ids": [[0] * (before - len(a)) + a for a in asked],
        "prompt_mask": [[0] * (before - len(a)) + [1] * len(a) for a in asked],
        "completion_ids": [s + [0] * (after - len(s)) for s in said],
        "completion_mask": [[1] * len(s) + [0] * (after - len(s)) for s in said],
    }
    batch = {k: torch.tensor(v, device=old.device) for k, v in tables.items()}
    total = torch.tensor(sum(map(len, said)), device=old.device)
    return {**batch, "advantages": advantages, "old_per_token_logps": old, "num_items_in_batch": total}


# ---------------------------------------------------------------- fine-tuning


def time_fine_tuning(work: Work, batch_size: int, folder: Path) -> pd.DataFrame:
    """Tokens a second of our fine-tuning and of the plain `transformers.Trainer`, on the same batches."""
    import pandas as pd
    from datasets import Dataset
    from transformers import DataCollatorForSeq2Seq, PrinterCallback, Trainer, TrainingArguments

    steps, first = work.repeats + 1, work.load()
    style = "cot" if "cot" in work.task.styles else work.task.styles[0]
    shown = work.task.problems(steps * batch_size, split="train", seed=71)
    rows = [encode_example(first, work.task.prompt(p, "unmarked"), work.task.solution(p, style)) for p in shown]
    config = SupervisedConfig(steps=steps, batch_size=batch_size, save_every=steps)
    ours = sft_trainer(work.load(), Dataset.from_list(rows), config, folder / "ours-tuned")
    with quiet():
        plain = Trainer(
            first.model,
            TrainingArguments(
                output_dir=str(folder / "plain"), max_steps=steps, per_device_train_batch_size=batch_size,
                learning_rate=ours.args.learning_rate, optim="adamw_torch", max_grad_norm=1.0, seed=0, data_seed=0,
                use_cpu=not first.device.startswith("cuda"), bf16=ours.args.bf16, report_to=[],
                disable_tqdm=True, save_strategy="no", logging_steps=1, include_num_input_tokens_seen="non_padding",
            ),
            DataCollatorForSeq2Seq(first.tokenizer, label_pad_token_id=-100),
            Dataset.from_list([{**row, "attention_mask": [1] * len(row["input_ids"])} for row in rows]),
        )  # fmt: skip
        plain.remove_callback(PrinterCallback)
    ours.args.save_strategy = "no"
    found = []
    for name, trainer in (("ours (TRL's SFTTrainer, our settings)", ours), ("transformers.Trainer", plain)):
        seconds = _step_seconds(trainer)
        tokens = int(trainer.state.num_input_tokens_seen)
        speed = tokens / steps / statistics.median(seconds[1:])
        found.append({"trainer": name, "steps": len(seconds), "tokens": tokens, "tokens_per_second": speed})
    return pd.DataFrame(found)
