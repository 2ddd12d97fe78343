"""Recipes: training methods one after another, each on the model that the one before left, for one budget of FLOPs.

Which of fine-tuning, distillation and reinforcement learning make most of a small model, and in which order, is the
question of zhuang2025technical. Each stage is a method of `methods`, with its bill.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from srm_utils.tasks.names import nearest
from srm_utils.training.methods import METHODS, Outcome, Request, train

#: Names of `METHODS`, in the order in which they train.
Recipe = tuple[str, ...]

#: How far the seeds of two stages lie apart, so that each stage asks questions of its own.
STAGE_SEEDS = 10_007


def train_recipe(recipe: Recipe, request: Request, own: Mapping[str, Mapping[str, Any]] | None = None) -> list[Outcome]:
    """Train by the methods of `recipe` in turn, on one budget; the outcomes, the last one's folder being the result.

    `request.flops` pays for everything: each stage may spend an equal share of what is left, so what a stage cannot
    use is the next one's. The teacher is handed to the stages that need it, and `own` says which fields of the request
    a method has otherwise, such as `{"dr-grpo": {"batch_size": 64}}`. Adapters are merged before the next stage.

    `request.out` holds a folder for each stage and may serve many recipes: a stage that was trained there already, on
    the same model and after the same stages, is taken from there, and an interrupted one goes on.

    Raises ValueError in one sentence for a recipe without stages, an unknown stage, a teacher that is missing and a
    budget that is not in FLOPs, all before anything is trained; and whatever `train` raises.

    >>> train_recipe(("supervised", "grpo"), Request("base", "chain", Path("runs"), steps=60))
    Traceback (most recent call last):
    ValueError: A recipe shares out FLOPs among its stages; give flops, such as 1e12, in place of steps.
    """
    _check(recipe, request)
    done: list[Outcome] = []
    for stage, method in enumerate(recipe):
        left = (request.flops or 0.0) - sum(outcome.flops for outcome in done)
        asked = replace(
            request,
            model=str(done[-1].folder) if done else request.model,
            flops=left / (len(recipe) - stage),
            teacher=request.teacher if METHODS[method].teacher == "needed" else None,
            seed=request.seed + STAGE_SEEDS * stage,
            **(own or {}).get(method, {}),
        )
        start = done[-1].folder.name if done else request.model
        name = "+".join(recipe[: stage + 1])
        done.append(train(method, replace(asked, out=Path(request.out) / f"{name}-{_mark(start, asked)}")))
    return done


def _mark(start: str, asked: Request) -> str:
    """What tells a stage from others of the same methods; a start that is a stage carries its own mark in its name."""
    facts = json.dumps({**asdict(asked), "model": start, "out": ""}, sort_keys=True)
    return hashlib.blake2b(facts.encode(), digest_size=5).hexdigest()


def _check(recipe: Recipe, request: Request) -> None:
    if not recipe:
        raise ValueError("A recipe needs at least one stage, such as ('supervised', 'grpo').")
    if request.flops is None:
        raise ValueError("A recipe shares out FLOPs among its stages; give flops, such as 1e12, in place of steps.")
    for method in recipe:
        if method not in METHODS:
            raise ValueError(f"There is no training method {method!r}; {nearest(method, METHODS)}.")
        if METHODS[method].teacher == "needed" and not request.teacher:
            raise ValueError(f"{method} learns from a teacher; name one in the request, such as teacher='instruct'.")
