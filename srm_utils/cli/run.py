"""`srm run` and `srm confirm`: notebooks in parallel, and the claims on the reserved split."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Annotated, Any

import typer

Names = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="NAMES",
        help="Notebooks by number (21), path (2_inference/21), part (inference), title, technique or initials (mcts).",
    ),
]
NotebooksFolder = Annotated[Path | None, typer.Option("--notebooks", help="Another folder of notebooks.")]
Out = Annotated[Path, typer.Option("--out", help="The folder that holds the runs.")]
ProfileName = Annotated[
    str | None,
    typer.Option(
        "--profile",
        help="smoke, cpu, study, real, gpu; PROFILE:MODEL[,ROLE=MODEL] names models. Default: SRM_PROFILE, else cpu.",
    ),
]
Seed = Annotated[int | None, typer.Option("--seed", help="Seed of every notebook (default 0).")]
Parameters = Annotated[
    list[str] | None,
    typer.Option("-p", "--parameter", metavar="NAME VALUE", help="A notebook parameter; repeat for more."),
]
JobsAtOnce = Annotated[int | None, typer.Option("--jobs", "-j", help="Notebooks at once (default: the cores).")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with a run: only what is missing, failed or changed.")]
RunId = Annotated[str | None, typer.Option("--id", help="The run's name (default: the time; to --resume, the newest).")]
Timeout = Annotated[float | None, typer.Option("--timeout", help="Seconds a notebook may take (default: no limit).")]
Memory = Annotated[float | None, typer.Option("--memory", help="GB a notebook may use (default: its share).")]
Scheduler = Annotated[
    str | None,
    typer.Option("--scheduler", metavar="ADDRESS", help="A running dask scheduler, such as tcp://host:8786."),
]


def _finish(ended: Any) -> None:
    """Say what a run came to, and leave with the code that says so."""
    typer.echo(f"Report: {ended.folder / 'index.html'}")
    if ended.agreement:
        typer.echo(f"{ended.agreement}")
    if ended.resumed:
        typer.echo(f"{ended.resumed} notebook{'s' * (ended.resumed > 1)} taken over from before.", err=True)
    failed = [status for status in ended.failures if status.state == "failed"]
    if failed:
        typer.echo(f"{len(failed)} of {len(ended.statuses)} notebooks failed:", err=True)
        for status in failed:
            typer.echo(f"  {status.label}, cell {status.cell} of {status.cells}: {status.error}", err=True)
    if ended.interrupted:
        typer.echo(f"Interrupted; go on with: srm run --resume --id {ended.folder.name}", err=True)
        raise typer.Exit(130)
    undone = [s.label for s in ended.failures if s.state != "failed"] + list(ended.missing)
    if undone:
        typer.echo(
            f"{len(undone)} of {len(ended.statuses) + len(ended.missing)} notebooks did not complete "
            f"({', '.join(undone)}); go on with: srm run --resume --id {ended.folder.name}",
            err=True,
        )
    if failed or undone:
        raise typer.Exit(1)


def _profile(asked: str | None, resume: bool) -> str | None:
    """The profile that was asked for, else that of the variable SRM_PROFILE; a run that is resumed keeps its own.

    Raises ValueError where the variable names no profile.
    """
    named = os.environ.get("SRM_PROFILE", "").strip()
    if asked is not None or resume or not named:
        return asked
    from srm_utils.collection.profiles import get_profile

    try:
        get_profile(named)
    except ValueError as error:
        raise ValueError(f"The variable SRM_PROFILE is {named!r}. {error}") from None
    return named


def _pairs(parameters: list[str] | None) -> dict[str, str]:
    """`name=value` options as a dictionary."""
    return dict(p.split("=", 1) for p in parameters or [])


def _seeds(seed: int | None, seeds: str | None) -> tuple[int | None, int | None]:
    """The first seed and how many, of `--seed 3 --seeds 5` or `--seeds 3..7`."""
    if seeds is None:
        return seed, None
    asked = re.fullmatch(r"(-?\d+)(?:\.\.(\d+))?", seeds)
    if asked is None or (asked[2] is not None and seed is not None):
        raise ValueError(
            f"--seeds {seeds} is not how many seeds (5) or which (0..4, without --seed); write one of them."
        )
    if asked[2] is None:
        return seed, int(asked[1])
    return int(asked[1]), int(asked[2]) - int(asked[1]) + 1


def run(
    names: Names = None,
    profile: ProfileName = None,
    seed: Seed = None,
    seeds: Annotated[
        str | None, typer.Option("--seeds", help="How many seeds, from --seed on (default 1), or which: 0..4.")
    ] = None,
    jobs: JobsAtOnce = None,
    resume: Resume = False,
    parameters: Parameters = None,
    timeout: Timeout = None,
    memory: Memory = None,
    scheduler: Scheduler = None,
    run_id: RunId = None,
    out: Out = Path("runs"),
    notebooks: NotebooksFolder = None,
) -> None:
    """Run notebooks in parallel and write runs/<id>/index.html.

    \b
    Examples:
      srm run
      srm run 21 22 --profile smoke
      srm run 22 -p n_samples 32 --seeds 3
      srm run 17_policy --profile study --seeds 0..4
      srm run --resume
      srm run --profile gpu:qwen3-1.7b
      srm run --scheduler tcp://10.0.0.5:8786
    """
    from srm_utils.collection import runner

    first, count = _seeds(seed, seeds)
    _finish(
        runner.run(
            names,
            profile=_profile(profile, resume),
            seed=first,
            seeds=count,
            parameters=_pairs(parameters),
            jobs=jobs,
            resume=resume,
            run_id=run_id,
            timeout=timeout,
            memory=memory,
            scheduler=scheduler,
            out=out,
            notebooks=notebooks,
        )
    )


def confirm(
    names: Names = None,
    profile: ProfileName = None,
    seed: Seed = None,
    jobs: JobsAtOnce = None,
    resume: Resume = False,
    parameters: Parameters = None,
    timeout: Timeout = None,
    memory: Memory = None,
    scheduler: Scheduler = None,
    run_id: RunId = None,
    out: Out = Path("runs"),
    notebooks: NotebooksFolder = None,
) -> None:
    """Run every claim on the reserved split.

    Every notebook with claims and a parameter `split` runs once, with split=confirm. These are the published verdicts;
    they go to runs/<id>/confirmed.json and notebooks/confirmed.json.

    \b
    Examples:
      srm confirm
      srm confirm 21
      srm confirm 17 --profile study -p folder runs/17
    """
    from srm_utils.collection.confirm import confirm as confirm_claims

    ended = confirm_claims(
        names,
        parameters=_pairs(parameters),
        profile=_profile(profile, resume),
        seed=seed,
        jobs=jobs,
        resume=resume,
        run_id=run_id,
        timeout=timeout,
        memory=memory,
        scheduler=scheduler,
        out=out,
        notebooks=notebooks,
    )
    verdicts = json.loads((ended.folder / "confirmed.json").read_text())["claims"]
    for claim in verdicts:
        typer.echo(f"{claim['verdict']:<13} {claim['claim']}")
    _finish(ended)
