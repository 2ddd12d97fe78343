"""`srm compare`: solvers at equal budgets on one task, for any model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from srm_utils.tasks.problem import Problem, Task

#: The fewest problems of a split that a comparison is made on.
FEWEST = 2


def compare_command(
    solvers: Annotated[list[str] | None, typer.Argument(help="Solvers by name; all that apply by default.")] = None,
    task: Annotated[
        str, typer.Option(help="A world, reasoning-gym:NAME, hf:DATASET, or your own csv:PATH, jsonl:PATH, json:PATH.")
    ] = "graph",
    model: Annotated[str, typer.Option(help="A bundled name, a hub id or a local folder.")] = "dialogue",
    budget: Annotated[
        list[str] | None,
        typer.Option(help="FLOPs a problem (500M, 2G), or 8x: eight greedy chains; repeat. Default 4x and 16x."),
    ] = None,
    cache: Annotated[
        bool, typer.Option("--cache", help="Budgets are FLOPs with a prefix cache: each beginning is paid for once.")
    ] = False,
    partner: Annotated[str | None, typer.Option(help="A second model, for solvers that need one.")] = None,
    problems: Annotated[int, typer.Option(min=1, help="Problems that all solvers answer.")] = 100,
    tuning: Annotated[int, typer.Option(min=1, help="Validation problems on which sizes are chosen.")] = 16,
    split: Annotated[str, typer.Option(help="Where the problems come from.")] = "test",
    difficulty: Annotated[list[int] | None, typer.Option(help="Difficulties; repeat. All that were trained.")] = None,
    tokens: Annotated[int, typer.Option(min=1, help="Tokens of one chain of thought, at most.")] = 192,
    seed: Annotated[int, typer.Option(help="Seed of problems and samples.")] = 0,
    bits: Annotated[int, typer.Option(help="32, 16, 8 or 4 (NF4).")] = 16,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    data: Annotated[
        Path | None, typer.Option(help="Folder with local copies of data sets; by default SRM_DATA names it.")
    ] = None,
    system: Annotated[str | None, typer.Option(help="The model's system text, instead of its own.")] = None,
    thinking: Annotated[
        bool | None, typer.Option(help="Ask a thinking model to think, or not to; its default without.")
    ] = None,
    template: Annotated[
        bool | None, typer.Option(help="Ask in the model's chat template, or in plain text; as found without.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder (default runs/compare/TASK-MODEL).")] = None,
    names: Annotated[bool, typer.Option("--list", help="List the solvers: what they ask and read.")] = False,
) -> None:
    """Compare solvers at equal budgets: a table, a figure, and which differences are real.

    What is finished is kept in the folder; the same command again goes on from there, and may name more solvers
    and budgets.

    \b
    Examples:
      srm compare --task countdown --budget 8x
      srm compare greedy self-consistency debate --budget 500M --budget 2G
      srm compare --task hf:gsm8k --model Qwen/Qwen3-0.6B --bits 4 --budget 8x
      srm compare --task csv:mine.csv --model smollm2 --budget 4x
      srm compare --task stories --model smollm2 --no-template --budget 4x
      srm compare --task "csv:mine.csv?question=Text&answer=Key" --list
      srm compare --list --task sorting
    """
    from srm_utils.experiments.budgets import flops_of
    from srm_utils.tasks import get_task

    # Task and budgets are looked at before torch is imported: what is wrong with them is told at once.
    world = get_task(task, data)
    asked, rehearsal = ([], []) if names else _problems(world, problems, tuning, split, seed, difficulty or None)

    budgets = budget or ["4x", "16x"]
    for text in budgets:
        flops_of(text, 1.0)

    from srm_utils.evaluation.bills import Bill
    from srm_utils.experiments.compare import compare
    from srm_utils.experiments.listing import listed
    from srm_utils.inference.entry import Setting
    from srm_utils.inference.registry import choose_solvers
    from srm_utils.models import load_model

    # Names are looked at before a model is loaded, which may take minutes.
    choose_solvers(world, solvers or (), partner is not None, dialect=None)
    asked_for = {"system": system, "thinking": thinking, "template": template}
    chat = {name: value for name, value in asked_for.items() if value is not None}
    loaded = load_model(model, bits=bits, device=device, chat=chat or None)
    if names:
        for row in listed(world, loaded.chat.dialect, solvers or (), partner is not None):
            typer.echo(str(row))
        return
    second = load_model(partner, bits=bits, device=device) if partner else None
    setting = Setting(world, loaded, rehearsal, second, tokens, seed)
    folder = out or Path("runs") / "compare" / re.sub(r"[^\w.+-]+", "_", f"{task}-{model}")
    try:
        bill: Bill = "prefix cache" if cache else "no cache"
        found = compare(setting, asked, budgets, solvers or (), folder, bill=bill, notebook="srm compare")
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


def _problems(
    world: Task, n: int, tuning: int, split: str, seed: int, difficulty: Sequence[int] | None
) -> tuple[list[Problem], list[Problem]]:
    """The problems to compare on and those to tune on. A table that holds fewer gives all it has, and says so."""
    from srm_utils.tasks.table import TableTask

    if isinstance(world, TableTask):
        there = {name: world.available(name, difficulty) for name in (split, "validation")}
        fewest = {"validation": 1, split: FEWEST}
        for name, least in fewest.items():
            if there[name] < least:
                raise ValueError(
                    f"{world.title} has too few {name} problems to compare on ({there[name]}, at least {least} needed)"
                    f"; give a table of ten rows or more."
                )
        for name, wanted, use in ((split, n, "asked"), ("validation", tuning, "used for tuning")):
            if there[name] < wanted:
                typer.echo(
                    f"{world.title} has {there[name]} {name} problems, fewer than the {wanted} wanted; "
                    f"all of them are {use}.",
                    err=True,
                )
        n, tuning = min(n, there[split]), min(tuning, there["validation"])
    return (
        world.problems(n, split=split, seed=seed, difficulty=difficulty),  # type: ignore[arg-type]
        world.problems(tuning, split="validation", seed=seed, difficulty=difficulty),
    )
