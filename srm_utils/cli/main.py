"""The `srm` command. Every heavy import stays inside the command that needs it, so that help comes at once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from srm_utils.cli import train
from srm_utils.cli.compare import compare_command
from srm_utils.cli.models import models_app
from srm_utils.cli.papers import papers_app
from srm_utils.cli.run import Names, NotebooksFolder, Out, confirm, run


class Commands(TyperGroup):
    """All commands, with one place where errors become one sentence and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command. Exit codes: 1 something failed, 2 something was asked wrongly, 130 Ctrl-C."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            _say("Interrupted. What was finished is kept; the same command with --resume goes on from there.")
            raise typer.Exit(130) from None
        except (typer.Exit, typer.Abort, typer.TyperException):
            raise
        except Exception as error:
            if ctx.params.get("debug"):
                raise
            _say(_sentence(error))
            asked_wrongly = isinstance(error, (ValueError, FileNotFoundError, LookupError))
            raise typer.Exit(2 if asked_wrongly else 1) from None


def _sentence(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError):
        return f"The package {error.name!r} is missing; install again with `pip install .` or `make run`."
    if isinstance(error, OSError) and error.errno is not None:
        from srm_utils.collection.execute import disk_sentence

        return disk_sentence(error)
    text = " ".join(str(error).split())
    ours = isinstance(error, (ValueError, OSError, RuntimeError)) or type(error).__module__.startswith("srm_utils")
    if ours and text:
        return text
    return f"Something unexpected went wrong ({type(error).__name__}: {text}); `srm --debug` shows where."


def _say(text: str) -> None:
    typer.echo(text, err=True)


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    help="The survey you can run: list, run and report the notebooks, and train the models they use.\n\n"
    "\b\nFirst steps:\n"
    "  srm list                      what there is\n"
    "  srm run 00 --profile smoke    one notebook, in seconds\n"
    "  srm run                       all of them, in parallel\n"
    "  srm report                    where the results are",
)
check_app = typer.Typer(no_args_is_help=True, help="Check that the bundled models are fit.")
bench_app = typer.Typer(no_args_is_help=True, help="Measure speed on this machine.")
app.add_typer(check_app, name="check")
app.add_typer(bench_app, name="bench")
app.add_typer(papers_app, name="papers")
app.add_typer(models_app, name="models")
train.register(app, bench_app)
app.command("compare")(compare_command)


def _version(wanted: bool) -> None:
    if wanted:
        from srm_utils import __version__

        typer.echo(f"srm {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error comes from.")] = False,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")] = False,
) -> None:
    pass


@app.command("list")
def list_notebooks(names: Names = None, notebooks: NotebooksFolder = None) -> None:
    """List the notebooks and what they teach.

    \b
    Examples:
      srm list
      srm list inference
      srm list mcts "tree search"
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from srm_utils.collection.catalogue import find, read_catalogue

    picked = find(names or [], read_catalogue(notebooks))
    found = [notebook for notebook in picked if not notebook.problem]
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("notebook", no_wrap=True, min_width=max((len(n.name) for n in found), default=0))
    for heading in ("title", "min (cpu)", "techniques"):
        table.add_column(heading)
    for notebook in found:
        minutes = f"{notebook.minutes['cpu']:g}" if "cpu" in notebook.minutes else ""
        # A title may hold brackets, which are no markup.
        table.add_row(*map(escape, (notebook.name, notebook.title, minutes, ", ".join(notebook.techniques))))
    if found:
        # Piped, a line is as long as it needs.
        Console(width=None if sys.stdout.isatty() else 400).print(table)
    for notebook in picked:
        if notebook.problem:
            _say(notebook.problem)
    if not found:
        raise typer.Exit(2)


app.command("run")(run)
app.command("confirm")(confirm)


@app.command()
def report(
    run_id: Annotated[str | None, typer.Argument(metavar="RUN", help="The run (default: the newest).")] = None,
    out: Out = Path("runs"),
) -> None:
    """Write a run's report again, and say where it is.

    \b
    Examples:
      srm report
      srm report 2026-01-31-120000-cpu
    """
    from srm_utils.collection.report import agreement, write_report
    from srm_utils.collection.run_folder import collect, latest_run, read_statuses, run_named

    folder = run_named(run_id, out) if run_id is not None else latest_run(out)
    if not (folder / "run.json").is_file():
        have = ", ".join(sorted(p.parent.name for p in out.glob("*/run.json"))[-5:])
        hint = f"there are {have}" if have else "start one with `srm run`"
        raise FileNotFoundError(f"There is no run {run_id!r} in {out}; {hint}.")
    collect(folder, read_statuses(folder))
    typer.echo(f"Report: {write_report(folder, agreement(folder))}")


@app.command()
def pretrain(
    member: Annotated[str, typer.Argument(help="A member of the family, as `srm models` lists them.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder to write (default: the bundled one, if it is empty).")
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="Optimiser steps instead of the member's own.")] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "auto",
    resume: Annotated[bool, typer.Option(help="Go on from an interrupted training in the same folder.")] = True,
) -> None:
    """Train a member of the bundled family.

    \b
    Examples:
      srm pretrain base --out mine/base
      srm pretrain base --out mine/base --steps 200
    """
    from srm_utils.models.pretrain import pretrain as train_member

    folder = train_member(member, out, steps=steps, device=device, resume=resume)
    typer.echo(f"Trained: {folder}")


@check_app.command("family")
def check_family_command(
    freeze: Annotated[bool, typer.Option("--freeze", help="First take today's weights for the right ones.")] = False,
) -> None:
    """Check the weights' hashes and the five conditions that make the family fit to learn on, each with its figure.

    \b
    Examples:
      srm check family
      srm check family --freeze
    """
    from srm_utils.experiments import family_check

    if freeze:
        family_check.freeze()
    if not family_check.check_family():
        raise typer.Exit(1)


@bench_app.command("sampler")
def bench_sampler_command() -> None:
    """The sampler against `model.generate` on the same prompts, then tokens a second against batch size.

    \b
    Examples:
      srm bench sampler
    """
    from srm_utils.experiments.bench_sampler import bench_sampler

    _, text = bench_sampler(say=lambda line: typer.echo(line, err=True))
    typer.echo(text)


@bench_app.command("solvers")
def bench_solvers_command(
    model: Annotated[str, typer.Option(help="A bundled name, a hub id or a local folder.")] = "instruct",
    problems: Annotated[int, typer.Option(min=1, help="Problems for each solver.")] = 64,
    repeats: Annotated[int, typer.Option(min=1, help="Runs of each; medians count.")] = 3,
) -> None:
    """Tokens a second of every solver as a share of the plain sampler's in the same run, and where its time goes.

    \b
    Examples:
      srm bench solvers
      srm bench solvers --model base-small --problems 16 --repeats 1
    """
    from srm_utils.experiments.bench_solvers import bench_solvers, bench_together, standard_solvers
    from srm_utils.models import load_model

    loaded, solvers = load_model(model), standard_solvers()
    bench_solvers(loaded, solvers, problems=problems, repeats=repeats, say=typer.echo)
    found = bench_together(loaded, solvers, problems=problems, repeats=repeats)
    typer.echo(
        f"all side by side: {found['side_by_side']:.1f} s; one after the other: {found['in_turn']:.1f} s, "
        f"{found['times']:.2f} times as long"
    )


@bench_app.command("kernels")
def bench_kernels_command() -> None:
    """The 4-bit kernels against the copy bandwidth and bitsandbytes, at the shapes of 0.5 to 4 billion parameters.

    \b
    Examples:
      srm bench kernels
    """
    from srm_utils.experiments.bench_kernels import bench_kernels

    _, text = bench_kernels(say=lambda line: typer.echo(line, err=True))
    typer.echo(text)


@app.command()
def publish(
    run_id: Annotated[str | None, typer.Argument(metavar="RUN", help="The run (default: the newest).")] = None,
    out: Out = Path("runs"),
) -> None:
    """Put a run's outputs into the collection's notebooks, for committing.

    \b
    Examples:
      srm run && srm publish
    """
    from srm_utils.collection.publish import publish as put
    from srm_utils.collection.run_folder import latest_run, run_named

    for name in put(run_named(run_id, out) if run_id is not None else latest_run(out)):
        typer.echo(f"Published: {name}")


def join_parameters(arguments: list[str]) -> list[str]:
    """`-p name value`, as papermill has it, in the one-word form `-p name=value` that is also accepted.

    Raises ValueError for a name without a value.

    >>> join_parameters(["run", "-p", "n", "3", "-p", "style=cot"])
    ['run', '-p', 'n=3', '-p', 'style=cot']
    """
    joined: list[str] = []
    rest = list(arguments)
    while rest:
        joined.append(rest.pop(0))
        if joined[-1] in ("-p", "--parameter"):
            if not rest or ("=" not in rest[0] and len(rest) == 1):
                raise ValueError("-p takes a name and a value, such as `-p n_samples 32`.")
            name = rest.pop(0)
            joined.append(name if "=" in name else f"{name}={rest.pop(0)}")
    return joined


def main() -> None:
    """The command line's entry point."""
    try:
        arguments = join_parameters(sys.argv[1:])
    except ValueError as error:
        _say(str(error))
        raise SystemExit(2) from None
    app(args=arguments, prog_name="srm")


if __name__ == "__main__":
    main()
