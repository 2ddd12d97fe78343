"""`srm compare`: solvers at equal budgets on one task, for any model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def compare_command(
    solvers: Annotated[list[str] | None, typer.Argument(help="Solvers by name; all that apply by default.")] = None,
    task: Annotated[str, typer.Option(help="A world, reasoning-gym:NAME, or hf:DATASET.")] = "graph",
    model: Annotated[str, typer.Option(help="A bundled name, a hub id or a local folder.")] = "dialogue",
    budget: Annotated[
        list[str] | None,
        typer.Option(help="FLOPs a problem (500M, 2G), or 8x: eight greedy chains; repeat. Default 4x and 16x."),
    ] = None,
    partner: Annotated[str | None, typer.Option(help="A second model, for solvers that need one.")] = None,
    problems: Annotated[int, typer.Option(min=1, help="Problems that all solvers answer.")] = 100,
    tuning: Annotated[int, typer.Option(min=1, help="Validation problems on which sizes are chosen.")] = 16,
    split: Annotated[str, typer.Option(help="Where the problems come from.")] = "test",
    difficulty: Annotated[list[int] | None, typer.Option(help="Difficulties; repeat. All that were trained.")] = None,
    tokens: Annotated[int, typer.Option(min=1, help="Tokens of one chain of thought, at most.")] = 192,
    seed: Annotated[int, typer.Option(help="Seed of problems and samples.")] = 0,
    bits: Annotated[int, typer.Option(help="32, 16, 8 or 4 (NF4).")] = 16,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    out: Annotated[Path | None, typer.Option(help="Folder (default runs/compare/TASK-MODEL).")] = None,
    names: Annotated[bool, typer.Option("--list", help="List the solvers and whether they apply; run none.")] = False,
) -> None:
    """Compare solvers at equal budgets: a table, a figure, and which differences are real.

    What is finished is kept in the folder; the same command again goes on from there, and may name more solvers
    and budgets.

    \b
    Examples:
      srm compare --task countdown --budget 8x
      srm compare greedy self-consistency debate --budget 500M --budget 2G
      srm compare --task hf:gsm8k --model Qwen/Qwen3-0.6B --bits 4 --budget 8x
      srm compare --list --task sorting
    """
    from srm_utils.inference.compare import METHODS, Setting, choose_methods, compare, flops_of
    from srm_utils.models import load_model
    from srm_utils.tasks import get_task

    budgets = budget or ["4x", "16x"]
    for text in budgets:
        flops_of(text, 1.0)
    world = get_task(task)
    # Names are looked at before a model is loaded, which may take minutes.
    _, absent = choose_methods(world, solvers or (), partner is not None)
    if names:
        for name in solvers or METHODS:
            typer.echo(f"{name:<22} {METHODS[name].about}" + (f". NOT HERE: {absent[name]}" if name in absent else ""))
        return
    asked = world.problems(problems, split=split, seed=seed, difficulty=difficulty or None)  # type: ignore[arg-type]
    rehearsal = world.problems(tuning, split="validation", seed=seed, difficulty=difficulty or None)
    loaded = load_model(model, bits=bits, device=device)
    second = load_model(partner, bits=bits, device=device) if partner else None
    setting = Setting(world, loaded, rehearsal, second, tokens, seed)
    folder = out or Path("runs") / "compare" / f"{task}-{model}".replace("/", "_").replace(":", "_")
    try:
        found = compare(setting, asked, budgets, solvers or (), folder, notebook="srm compare")
    except KeyboardInterrupt:
        typer.echo(f"Interrupted. What was finished is in {folder}; the same command goes on from there.", err=True)
        raise typer.Exit(130) from None

    from srm_utils.reporting.comparison import comparison_table, frontier_figure

    table = comparison_table(found).to_string()
    (folder / "table.txt").write_text(table + "\n", encoding="utf-8")
    typer.echo(table)
    for name, why in found.absent.items():
        typer.echo(f"{name}: {why}", err=True)
    figure = frontier_figure(found.curves(), always=("greedy", "self-consistency"), title=f"{task}, {model}")
    figure.savefig(folder / "frontier.png")
    typer.echo(f"Table: {folder / 'table.txt'}\nFigure: {folder / 'frontier.png'}")
