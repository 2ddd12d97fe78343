"""Profiles: one parameter of every notebook that sets models, sizes, steps and device.

A notebook asks `get_profile(profile)` once and reads the fields it needs; it never branches on
the profile's name. Its own knobs override a field: `get_profile(profile, n_problems=n_problems)`,
where None leaves the profile's value.
"""

from __future__ import annotations

import difflib
import random
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Profile:
    """What one profile sets.

    `base`, `instruct`, `dialogue`, `teacher`, `small` and `large` are model names (bundled, a hub id or a local
    folder); `dialogue` is who criticises and talks where a model needs to have learnt that.
    `task` is the task a notebook measures on when it has no reason for another. `n_problems` is a test set's
    size, `n_samples` the draws for each problem, `max_new_tokens` the limit of one draw. `n_train` is the
    number of training problems, `train_steps` the optimiser steps, `batch_size` the sequences in a step,
    `seeds` the number of training seeds; with `grid` a notebook runs every arm that it has, else a slice. `bits` is
    that of `load_model`: 32, 16 (float32 on a CPU), 8 or 4.
    """

    name: str
    base: str = "base"
    instruct: str = "instruct"
    dialogue: str = "dialogue"
    teacher: str = "teacher"
    small: str = "base-small"
    large: str = "base-large"
    task: str = "chain"
    n_problems: int = 100
    n_samples: int = 16
    max_new_tokens: int = 96
    n_train: int = 2000
    train_steps: int = 60
    batch_size: int = 32
    seeds: int = 1
    grid: bool = False
    bits: Literal[4, 8, 16, 32] = 16
    device: Literal["auto", "cpu", "cuda"] = "cpu"
    threads: int = 1

    def setup(self, seed: int = 0) -> Profile:
        """Make this process ready: seeds and torch threads; returns the profile itself.

        Raises RuntimeError when the profile needs a GPU and there is none.
        """
        import numpy
        import torch

        if self.device == "cuda" and not torch.cuda.is_available():
            raise RuntimeError(
                f"The profile {self.name!r} needs an NVIDIA GPU and none was found here; "
                "use profile='cpu', which runs the same notebook on the bundled models."
            )
        # A batch fills the cores with notebooks, so each keeps to its own threads.
        torch.set_num_threads(self.threads)
        random.seed(seed)
        numpy.random.seed(seed)
        torch.manual_seed(seed)
        return self


PROFILES: dict[str, Profile] = {
    "smoke": Profile("smoke", n_problems=8, n_samples=4, max_new_tokens=64, n_train=64, train_steps=3, batch_size=8),
    "cpu": Profile("cpu"),
    "study": Profile("study", n_problems=500, n_samples=64, n_train=20_000, train_steps=300, seeds=5, grid=True),
    "gpu": Profile(
        "gpu",
        base="Qwen/Qwen2.5-0.5B",
        instruct="Qwen/Qwen2.5-0.5B-Instruct",
        dialogue="Qwen/Qwen2.5-0.5B-Instruct",
        teacher="Qwen/Qwen3-4B",
        small="Qwen/Qwen3-0.6B",
        large="Qwen/Qwen3-1.7B-Base",
        task="hf:gsm8k",
        n_problems=500,
        n_samples=16,
        max_new_tokens=512,
        n_train=7000,
        train_steps=300,
        device="cuda",
        threads=8,
    ),
}

#: Short names for the models the `gpu` profile is tried on: (base, instruct).
GPU_PRESETS: dict[str, tuple[str, str]] = {
    "qwen2.5-0.5b": ("Qwen/Qwen2.5-0.5B", "Qwen/Qwen2.5-0.5B-Instruct"),
    "qwen3-0.6b": ("Qwen/Qwen3-0.6B-Base", "Qwen/Qwen3-0.6B"),
    "qwen3-1.7b": ("Qwen/Qwen3-1.7B-Base", "Qwen/Qwen3-1.7B"),
    "qwen3-4b": ("Qwen/Qwen3-4B-Base", "Qwen/Qwen3-4B"),
}


def nearest(name: str, names: Iterable[str], n: int = 3) -> list[str]:
    """The names most like `name`, best first; all of them when none is close.

    >>> nearest("smok", ["cpu", "smoke"])
    ['smoke']
    """
    known = list(names)
    lowered = {k.lower(): k for k in known}
    return [lowered[m] for m in difflib.get_close_matches(name.lower(), lowered, n, 0.5)] or known


def get_profile(name: str, **overrides: Any) -> Profile:
    """The profile called `name`, with the fields in `overrides` replaced where they are not None.

    `PROFILE:MODEL` is a profile on another model: a hub id, a local folder (`cpu:mine`), or for `gpu` one of the
    presets (`gpu:qwen3-1.7b`).
    Raises ValueError for an unknown profile or field, naming the nearest.

    >>> get_profile("smoke", n_problems=5, n_samples=None).n_problems
    5
    """
    head, _, model = str(name).partition(":")
    # The presets' models are too large for a laptop's sizes and times.
    if head not in PROFILES or (head != "gpu" and model.lower() in GPU_PRESETS):
        raise ValueError(f"There is no profile {name!r}; did you mean {' or '.join(nearest(head, PROFILES))}?")
    profile = PROFILES[head]
    if model:
        base, instruct = GPU_PRESETS.get(model.lower(), (model, model))
        profile = replace(profile, name=name, base=base, instruct=instruct, dialogue=instruct)
    known = [f.name for f in fields(Profile) if f.name != "name"]
    for field in overrides:
        if field not in known:
            raise ValueError(f"A profile has no field {field!r}; did you mean {' or '.join(nearest(field, known))}?")
    return replace(profile, **{k: v for k, v in overrides.items() if v is not None})
