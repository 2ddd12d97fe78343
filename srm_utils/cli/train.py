"""`srm train`: any training method on any model and task, within a budget; and `srm bench train`, how fast they are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def register(app: typer.Typer, bench_app: typer.Typer) -> None:
    """Put the two commands where they belong."""
    app.command("train")(train)
    bench_app.command("train")(bench_train)


def train(
    method: Annotated[
        str | None, typer.Argument(metavar="METHOD", help="How to train; without one, the methods are listed.")
    ] = None,
    model: Annotated[str, typer.Option("--model", help="A bundled name, a hub id or a folder.")] = "base",
    task: Annotated[str, typer.Option("--task", help="A world, reasoning-gym:NAME or hf:DATASET.")] = "chain",
    out: Annotated[Path | None, typer.Option("--out", help="The folder of the trained model.")] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="Optimiser steps, or rounds of rollouts.")] = None,
    flops: Annotated[
        float | None, typer.Option("--flops", help="Instead: FLOPs in all, sampling and teacher included (1e12).")
    ] = None,
    teacher: Annotated[str | None, typer.Option("--teacher", help="Whom a distillation learns from.")] = None,
    weights: Annotated[
        Literal["full", "lora", "qlora"],
        typer.Option("--weights", help="All of them, or an adapter, merged at the end."),
    ] = "full",
    batch_size: Annotated[int | None, typer.Option("--batch-size", help="Sequences of a step, all processes.")] = None,
    samples: Annotated[int | None, typer.Option("--samples", help="Answers drawn to each question.")] = None,
    learning_rate: Annotated[float | None, typer.Option("--learning-rate", help="Instead of the method's own.")] = None,
    max_new_tokens: Annotated[int, typer.Option("--max-new-tokens", help="Length of a drawn answer at most.")] = 128,
    style: Annotated[str, typer.Option("--style", help="How questions are asked: unmarked, cot...")] = "unmarked",
    difficulty: Annotated[
        list[int] | None, typer.Option("--difficulty", help="Of the questions; repeat for more (default: the task's).")
    ] = None,
    save_every: Annotated[
        int, typer.Option("--save-every", help="Steps between checkpoints; rollouts end their FLOPs at one.")
    ] = 10,
    seed: Annotated[int, typer.Option("--seed", help="Seed of questions, samples and batches.")] = 0,
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Train a model by a method until its steps or FLOPs are used up, into a folder that every notebook takes.

    Interrupted, the same command goes on. Fine-tuning shares its batches among the processes of `accelerate launch`.

    \b
    Examples:
      srm train
      srm train supervised --model base --task chain --steps 60 --out mine
      srm train grpo --task chain --flops 1e12 --out mine
      srm train on-policy-distillation --teacher instruct --steps 40 --out mine
      srm train supervised --model Qwen/Qwen2.5-0.5B --task hf:gsm8k --weights qlora --steps 300 --out mine
      accelerate launch --multi_gpu --num_processes 2 -m srm_utils.cli.main train supervised --steps 60 --out mine
    """
    from srm_utils.training import methods

    if method is None:
        width = max(map(len, methods.METHODS))
        for name, entry in methods.METHODS.items():
            with_teacher = {"needed": "; needs --teacher", "possible": "; may take --teacher"}.get(entry.teacher, "")
            typer.echo(f"{name:<{width}}  {entry.what} ({entry.paper}){with_teacher}")
        return
    if out is None:
        raise ValueError("Say where the trained model is to go: --out FOLDER.")
    request = methods.Request(
        model, task, out, steps, flops, teacher, weights, batch_size, samples, learning_rate, max_new_tokens, style,
        tuple(difficulty) if difficulty else None, save_every, seed, device,
    )  # fmt: skip
    try:
        done = methods.train(method, request)
    except KeyboardInterrupt:
        typer.echo("Interrupted. The same command goes on from the last checkpoint.", err=True)
        raise typer.Exit(130) from None
    except FloatingPointError as error:
        raise RuntimeError(str(error)) from error
    if methods.is_first():
        data = f", {done.data_flops:.3g} of them for {done.examples} examples beforehand" if done.data_flops else ""
        typer.echo(f"Trained: {done.folder} ({method}, {done.steps} steps, {done.seconds:.0f} s)")
        typer.echo(f"FLOPs: {done.flops:.3g}{data}; memory: {done.bytes / 1e6:.0f} MB")
        if flops is not None and done.flops > 1.05 * flops:
            spent = f"It spent {done.flops / flops:.1f} times the FLOPs asked for"
            typer.echo(f"{spent}: they are looked at every {save_every} steps; --save-every 1 keeps closer.", err=True)
        typer.echo(f"Use it: load_model({str(done.folder)!r}); what was done is in {methods.RECORD}.")


def bench_train(
    model: Annotated[str, typer.Option(help="A bundled name, a hub id or a local folder.")] = "base",
    task: Annotated[str, typer.Option(help="Whose questions are answered.")] = "chain",
    prompts: Annotated[int, typer.Option(min=1, help="Questions of one rollout.")] = 16,
    samples: Annotated[int, typer.Option(min=2, help="Answers to each.")] = 8,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Length of an answer at most.")] = 96,
    repeats: Annotated[int, typer.Option(min=1, help="Runs of each; medians count.")] = 5,
) -> None:
    """Rollouts, whole GRPO steps and fine-tuning against TRL's and transformers' own, on the same work.

    \b
    Examples:
      srm bench train
      srm bench train --model base-small --prompts 4 --repeats 1
    """
    from srm_utils.experiments.bench_training import bench_training

    done = bench_training(
        model, task, prompts=prompts, samples=samples, max_new_tokens=max_new_tokens, repeats=repeats,
        say=lambda line: typer.echo(line, err=True),
    )  # fmt: skip
    typer.echo(str(done))
