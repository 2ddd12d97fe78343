"""How the adapters that ship for the real model were trained: `smollm2-cot`, `smollm2-rl`, `smollm2-dpo`.

`srm models train NAME` runs a recipe, resumably. Each recipe trains LoRA weights on `smollm2` (hu2022lora):

- `smollm2-cot` learns short chains of thought from examples (chung2022scaling): stories told in many phrasings,
  GSM8K's training questions (cobbe2021training) and GSM-Symbolic's worked solutions (mirzadeh2024gsmsymbolic);
- `smollm2-rl` goes on from an early checkpoint of it by GRPO on verifiable rewards (shao2024deepseekmath);
- `smollm2-dpo` goes on from the same checkpoint by preferences among its own right and wrong chains (rafailov2023dpo).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from random import Random

from srm_utils.models import Chat, load_model
from srm_utils.models.arithmetic import fast_dtype
from srm_utils.tasks import get_task
from srm_utils.tasks.problem import Grade, Problem, Task
from srm_utils.tasks.worlds.stories import StoriesTask
from srm_utils.training.policy_gradient import PolicyGradientConfig, batches, group_normalised, train_policy_gradient
from srm_utils.training.preference_optimization import PreferenceConfig, graded_pairs, train_preferences
from srm_utils.training.supervised import Example, Method, SupervisedConfig, TrainedModel, write_json
from srm_utils.training.supervised_loop import train_on_answers

BASE = "smollm2"
#: Plain text. With worked examples the untrained model does as well in this form as in its chat template, within 14
#: points (notebook 03), and the prompt is shorter.
CHAT = Chat(template=False)
#: Optimiser steps after which the chains' adapter is kept: where reinforcement learning and preferences start from.
EARLY = 50
#: Steps of the stories on which rates are tuned, and of those that are learnt by reward and by preference: of longer
#: ones the early checkpoint solves none, so they would teach nothing.
DEPTHS, LEARNT_DEPTHS = (1, 2, 3), (1, 2)
#: Peak learning rates tried for each way of training, equally many.
RATES_TRIED: dict[Method, tuple[float, ...]] = {"lora": (3e-4, 1e-3, 3e-3), "full": (3e-5, 1e-4, 3e-4)}


@dataclass(frozen=True, slots=True)
class ChainRecipe:
    """Settings of `smollm2-cot`. `rate_trials` compares its rate with others; the model card says what came out."""

    method: Method = "lora"
    examples: int = 1920
    batch_size: int = 8
    learning_rate: float = 1e-3
    seed: int = 0

    @property
    def steps(self) -> int:
        """One pass over the examples."""
        return self.examples // self.batch_size


def chain_examples(n: int, seed: int = 0, data: str | os.PathLike[str] | None = None) -> list[Example]:
    """Prompts and answers of `n` training problems: three quarters stories, the rest GSM8K and GSM-Symbolic.

    Of twelve examples eight are stories solved by chain of thought, one is a story answered at once, two come from
    GSM8K's training questions and one from GSM-Symbolic. Only `train` splits are used. `data` is the folder with
    GSM8K; without it the hub's copy is asked for.
    """
    stories, symbolic = StoriesTask(), get_task("reasoning-gym:gsm_symbolic")
    gsm8k = get_task("hf:gsm8k", data)
    share = n // 12
    told = stories.problems(9 * share, split="train", seed=seed)
    chains, direct = told[: 8 * share], told[8 * share :]
    examples = [_example(stories, p, "cot") for p in chains] + [_example(stories, p, "direct") for p in direct]
    examples += [_example(gsm8k, p, "cot") for p in gsm8k.problems(2 * share, split="train", seed=seed)]
    examples += [_example(symbolic, p, "cot") for p in symbolic.problems(share, split="train", seed=seed)]
    Random(seed).shuffle(examples)
    return examples


def _example(task: Task, problem: Problem, style: str) -> Example:
    return task.prompt(problem, style), task.solution(problem, style)


def train_chains(
    out: Path,
    recipe: ChainRecipe,
    data: str | os.PathLike[str] | None = None,
    keep_early: bool = True,
    progress: bool = False,
) -> TrainedModel:
    """`smollm2-cot`; the weights after `EARLY` steps are kept beside it."""
    config = SupervisedConfig(
        recipe.method, recipe.steps, recipe.batch_size, recipe.learning_rate, warmup=0.05, save_every=25,
        seed=recipe.seed,
    )  # fmt: skip
    examples = chain_examples(recipe.examples, recipe.seed, data)
    return train_on_answers(BASE, examples, config, out, keep_at=(EARLY,) * keep_early, chat=CHAT, progress=progress)


def train_by_rewards(
    out: Path, start: str | os.PathLike[str], steps: int = 30, seed: int = 0, progress: bool = False
) -> TrainedModel:
    """`smollm2-rl`: GRPO on stories of one and two steps; a right answer is worth 1, all others 0.

    `start` is the early checkpoint: a later one solves its groups wholly or not at all, and nothing is left to compare.
    """
    task = StoriesTask()
    config = PolicyGradientConfig(
        "lora", steps, prompts=8, samples=8, learning_rate=2e-4, warmup=3, max_new_tokens=64, save_every=5, seed=seed
    )

    def right(problem: Problem, text: str) -> float:
        return float(task.grade(text, problem) == Grade.CORRECT)

    draw = batches(task, config.prompts, "cot", seed, difficulty=LEARNT_DEPTHS)
    return train_policy_gradient(os.fspath(start), draw, right, config, out, group_normalised, progress=progress)


def train_by_preferences(
    out: Path, start: str | os.PathLike[str], problems: int = 360, steps: int = 30, seed: int = 0,
    progress: bool = False,
) -> TrainedModel:  # fmt: skip
    """`smollm2-dpo`: a right and a wrong chain of its own for each story that it solves now and then.

    The likelihood term keeps the right chains from becoming less likely too (pang2024iterative). Stories that begin
    with a sum, a difference and a product give equally many pairs. Without that most pairs prefer a sum, for the early
    checkpoint solves sums, and the model learns to add whatever the story says.
    """
    task, model = StoriesTask(), load_model(start)
    asked = task.problems(problems, split="train", seed=seed + 1, difficulty=LEARNT_DEPTHS)
    groups = model.sample([task.prompt(p, "cot") for p in asked], 8, 64, 1.0, seed=seed, progress=progress)
    of_sign: dict[str, list[int]] = defaultdict(list)
    for i, problem in enumerate(asked):
        of_sign[problem.facts["steps"][0][3]].append(i)
    found = [
        graded_pairs(task, [asked[i] for i in rows], [groups[i] for i in rows], "cot", per_problem=2, seed=seed)
        for rows in of_sign.values()
    ]
    pairs = [pair for pairs_of_sign in found for pair in pairs_of_sign[: min(map(len, found))]]
    config = PreferenceConfig("lora", steps, batch_size=8, likelihood=0.2, learning_rate=1e-4, save_every=10, seed=seed)
    return train_preferences(os.fspath(start), pairs, config, out, progress=progress)


def rate_trials(
    folder: Path, examples: int = 256, problems: int = 64, data: str | os.PathLike[str] | None = None
) -> list[dict[str, float | str]]:
    """Three rates each for LoRA and for full weights, trained alike and measured on validation stories.

    Accuracy is greedy, on stories of one to three steps in sentences never trained on. Each trial is kept in
    `folder/trials.json` as soon as it is done.
    """
    file = folder / "trials.json"
    trials: list[dict[str, float | str]] = json.loads(file.read_text())["trials"] if file.is_file() else []
    task = StoriesTask()
    asked = task.problems(problems, split="validation", difficulty=DEPTHS, templates="held-out")
    for method, rates in RATES_TRIED.items():
        for rate in rates:
            if any(t["method"] == method and t["rate"] == rate for t in trials):
                continue
            out = folder / f"{method}-{rate:g}"
            trained = train_chains(out, ChainRecipe(method, examples, learning_rate=rate), data, keep_early=False)
            model = load_model(out, device="cpu")
            drawn = model.sample([task.prompt(p, "cot") for p in asked], 1, 96, temperature=0)
            right = sum(task.grade(c.text, p) == Grade.CORRECT for p, (c,) in zip(asked, drawn, strict=True))
            trials.append({"method": method, "rate": rate, "accuracy": right / len(asked), "n": len(asked),
                           "loss": trained.log[-1]["loss"], "seconds": trained.seconds})  # fmt: skip
            write_json(file, {"trials": trials})
    return trials


def ship(trained: Path, out: Path, about: str, command: str) -> str:
    """Write a trained adapter as it ships: in half precision, with chat, log and card; returns its hash.

    `about` is the card's first paragraph, `command` what trained it. The figures of the card are added by whoever has
    measured the shipped weights (`srm models check`).
    """
    from safetensors.torch import load_file, save_file

    out.mkdir(parents=True, exist_ok=True)
    weights = {name: weight.half() for name, weight in load_file(trained / "adapter_model.safetensors").items()}
    save_file(weights, out / "adapter_model.safetensors", metadata={"format": "pt"})
    for name in ("adapter_config.json", "chat.json"):
        shutil.copy(trained / name, out / name)
    facts = json.loads((trained / "trained.json").read_text(encoding="utf-8"))
    kept = {k: facts[k] for k in ("method", "trainable", "tokens", "flops", "seconds", "log")}
    write_json(out / "training.json", {**kept, "machine": machine()})
    digest = hashlib.sha256((out / "adapter_model.safetensors").read_bytes()).hexdigest()
    spent = f"{len(facts['log'])} steps, {facts['tokens']:,} tokens, {facts['seconds'] / 60:.0f} minutes"
    card = f"""---
base_model: HuggingFaceTB/SmolLM2-135M-Instruct
license: apache-2.0
library_name: peft
---

# {out.name}

{about}

**Training.** `{command}`: {spent} ({machine()}).

**Weights.** LoRA of rank 16 on every linear layer but the output, in half precision. sha256 `{digest}`.

**Limits.** It repeats what it was taught: short chains on word problems with small numbers. It is no assistant.
"""
    (out / "README.md").write_text(card, encoding="utf-8")
    return digest


def machine() -> str:
    """The class of machine that a figure comes from: architecture, arithmetic of its products, torch."""
    import platform

    import torch

    dtype = str(fast_dtype("cpu")).removeprefix("torch.")
    return f"{platform.system()} {platform.machine()}, products in {dtype}, torch {torch.__version__}"
