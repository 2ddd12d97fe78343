"""Profiles: one parameter of every notebook that sets models, sizes, steps and device.

A notebook asks `get_profile(profile)` once and reads the fields it needs; it never branches on
the profile's name. Its own knobs override a field: `get_profile(profile, n_problems=n_problems)`,
where None leaves the profile's value. A notebook whose experiment is prepared for the profile `real` says so with
`get_profile(profile, on_real_model=True)`.
"""

from __future__ import annotations

import difflib
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from srm_utils.models.fetch import FETCHABLE, fetched, why_not_here
from srm_utils.models.resolve import bundled_models, model_names

#: The fields of a profile that name a model.
ROLES = ("base", "instruct", "dialogue", "teacher", "small", "large")

#: The profile whose outputs are committed.
PUBLISHED = "cpu"
#: The roles that a model given as `PROFILE:MODEL` takes.
REPLACED = ("base", "instruct", "dialogue")


@dataclass(frozen=True, slots=True)
class Profile:
    """What one profile sets.

    `base`, `instruct`, `dialogue`, `teacher`, `small` and `large` are model names (bundled, a hub id or a local
    folder); `dialogue` is who criticises and talks where a model needs to have learnt that.
    `task` is the task a notebook measures on when it has no reason for another; `plan_task` asks for a plan,
    `search_task` for an answer that is hard to find, and `check_task` for one that is easy to check. `new_domain` is
    the task whose held-out sentences a model goes on to read, `method` which weights are trained. `difficulties` are
    those at which `base` solves some problems and not all, None for all that the task has. `n_examples` is the number
    of worked examples where a technique is told what to do by a prompt. `n_problems` is a test set's size, `n_samples`
    the draws for each problem, `max_new_tokens` the limit of one draw. `n_train` is the number of training problems,
    `train_steps` the optimiser steps, `batch_size` the sequences in a step, `seeds` the number of training seeds; with
    `grid` a notebook runs every arm that it has, else a slice. `bits` is that of `load_model`: 32, 16 (float32 on a
    CPU), 8 or 4. `notes` are sentences that `setup` prints: which roles keep another model than the one named, or that
    a notebook is not prepared for this profile.
    """

    name: str
    base: str = "base"
    instruct: str = "instruct"
    dialogue: str = "dialogue"
    teacher: str = "teacher"
    small: str = "base-small"
    large: str = "base-large"
    task: str = "chain"
    plan_task: str = "graph"
    search_task: str = "countdown"
    check_task: str = "sudoku"
    new_domain: str = "chain"
    method: Literal["full", "lora"] = "full"
    difficulties: tuple[int, ...] | None = None
    n_examples: int = 0
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
    notes: tuple[str, ...] = ()

    @property
    def world(self) -> Literal["bundled", "real"]:
        """Where a measurement with this profile is made: on the bundled family alone, or on other models.

        >>> get_profile("cpu").world, get_profile("cpu:smollm2").world
        ('bundled', 'real')
        """
        return "bundled" if {getattr(self, role) for role in ROLES} <= set(bundled_models()) else "real"

    def setup(self, seed: int = 0) -> Profile:
        """Make this process ready: seeds and torch threads; prints the notes and returns the profile itself.

        Raises RuntimeError when the profile needs a GPU and there is none, and FileNotFoundError when it names a model
        that has not been fetched.
        """
        import numpy
        import torch

        for name in dict.fromkeys(getattr(self, role) for role in ROLES):
            if name in FETCHABLE and fetched(name) is None:
                raise FileNotFoundError(why_not_here(name))

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
        for note in self.notes:
            print(note)
        return self


PROFILES: dict[str, Profile] = {
    "smoke": Profile("smoke", n_problems=8, n_samples=4, max_new_tokens=64, n_train=64, train_steps=3, batch_size=8),
    "cpu": Profile("cpu"),
    "study": Profile("study", n_problems=500, n_samples=64, n_train=20_000, train_steps=300, seeds=5, grid=True),
    "real": Profile(
        "real",
        base="smollm2",
        instruct="smollm2-cot",
        dialogue="smollm2-cot",
        task="stories",
        plan_task="stories",
        search_task="reasoning-gym:gcd",
        check_task="stories",
        new_domain="stories",
        method="lora",
        difficulties=(1,),
        n_examples=2,
        n_problems=10,
        n_samples=4,
        max_new_tokens=48,
        n_train=256,
        train_steps=12,
        batch_size=8,
    ),
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


def get_profile(name: str, *, on_real_model: bool = False, **overrides: Any) -> Profile:
    """The profile called `name`, with the fields in `overrides` replaced where they are not None.

    `PROFILE:MODEL` puts a model in place of `base`, `instruct` and `dialogue`: a bundled or fetched name, a hub id, a
    local folder (`cpu:mine`), or for `gpu` one of the presets (`gpu:qwen3-1.7b`). Any role can be named as well,
    behind a comma: `cpu:smollm2,teacher=MODEL`, or alone: `cpu:large=MODEL`. Roles that are not named keep their
    models, and `setup` says so.

    `on_real_model` says that the notebook's experiment is prepared for the profile `real`. Without it, `real` gives the
    bundled family at small sizes. Raises ValueError for an unknown profile, field or role, naming the nearest.

    >>> get_profile("smoke", n_problems=5, n_samples=None).n_problems
    5
    >>> get_profile("cpu:smollm2,teacher=base-large").teacher
    'base-large'
    """
    head, _, models = str(name).partition(":")
    # The presets' models are too large for a laptop's sizes and times.
    if head not in PROFILES or (head != "gpu" and models.lower() in GPU_PRESETS):
        raise ValueError(f"There is no profile {name!r}; did you mean {' or '.join(nearest(head, PROFILES))}?")
    known = [f.name for f in fields(Profile) if f.name not in ("name", "notes")]
    for field in overrides:
        if field not in known:
            raise ValueError(f"A profile has no field {field!r}; did you mean {' or '.join(nearest(field, known))}?")
    given, named = {k: v for k, v in overrides.items() if v is not None}, _named(models)
    if head == "real" and not on_real_model:
        note = "This notebook's study on the real model comes later; it runs on the bundled models at small sizes here."
        return replace(PROFILES["smoke"], name=name, notes=(note,), **given)
    profile = replace(PROFILES[head], **{"name": name, **named, **given})
    if head == "real" or named:
        changed = {role for role in ROLES if getattr(profile, role) != getattr(PROFILES["cpu"], role)}
        profile = replace(profile, notes=(_who(profile, changed if head == "real" else set(named)),))
    return profile


def from_here(name: str) -> str:
    """The name of a profile with every model that is a folder here as an absolute path, for use from another folder.

    >>> from_here("cpu:smollm2,teacher=base")
    'cpu:smollm2,teacher=base'
    """
    head, colon, models = name.partition(":")
    parts = [_split(part) for part in models.split(",")]
    absolute = [role + str(Path(m).expanduser().absolute()) if _is_folder(m) else role + m for role, m in parts]
    return head + colon + ",".join(absolute)


def _is_folder(model: str) -> bool:
    return bool(model) and model not in model_names() and Path(model).expanduser().is_dir()


def _split(part: str) -> tuple[str, str]:
    """The role with its sign, "teacher=", and the model behind it; a path may hold such a sign itself."""
    role, sign, model = part.partition("=")
    return (f"{role.strip()}=", model.strip()) if sign and role.strip().isidentifier() else ("", part.strip())


def _named(models: str) -> dict[str, str]:
    """The roles that "MODEL", "MODEL,ROLE=MODEL" or "ROLE=MODEL" names, each with its model."""
    named: dict[str, str] = {}
    for place, part in enumerate(models.split(",") if models else ()):
        role, model = _split(part)
        if not model or (place and not role):
            raise ValueError(
                f"{part!r} names no model for a role; write PROFILE:MODEL, and other roles as ROLE=MODEL behind commas."
            )
        if not role:
            base, instruct = GPU_PRESETS.get(model.lower(), (model, model))
            named |= {"base": base, "instruct": instruct, "dialogue": instruct}
        elif role[:-1] in ROLES:
            named[role[:-1]] = model
        else:
            raise ValueError(f"There is no role {role[:-1]!r}; did you mean {' or '.join(nearest(role[:-1], ROLES))}?")
    return named


def _who(profile: Profile, changed: set[str]) -> str:
    """Which models a profile uses, and which roles keep theirs, in one sentence."""
    models: dict[str, list[str]] = {}
    for role in (role for role in ROLES if role in changed):
        models.setdefault(getattr(profile, role), []).append(role)
    uses = ", ".join(f"{model} as {_listed(roles)}" for model, roles in models.items())
    kept = [f"{role} ({getattr(profile, role)})" for role in ROLES if role not in changed]
    joined = profile.name + ("," if ":" in profile.name else ":")
    stay = f"; {_listed(kept)} stay as they are ({joined}ROLE=MODEL names another)" if kept else ""
    return f"Models of this run: {uses}{stay}."


def _listed(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
