"""`srm papers`: search the bibliography, show where a paper is used, check and repair the citations."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup


class _ListByDefault(TyperGroup):
    """A group whose first word may be a query: `srm papers debate` means `srm papers list debate`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] not in ctx.help_option_names):
            args = ["list", *args]
        return super().parse_args(ctx, args)


papers_app = typer.Typer(
    cls=_ListByDefault,
    help="Search the bibliography: `srm papers [QUERY]` lists papers, `show` tells where one is used, `check` holds "
    "every citation against it.\n\n\b\nExamples:\n  srm papers draft\n  srm papers --section training-rl --uncovered\n"
    "  srm papers show wei2022chain",
)


#: How far the collection has come with a paper, as the list marks it.
MARKS = {"run": "*", "cited": "+", "planned": ".", "open": " "}


@contextmanager
def _one_sentence() -> Iterator[None]:
    """What a person can mend is said in one sentence, with exit code 2."""
    from srm_utils.literature import UnknownPaper

    try:
        yield
    except (UnknownPaper, ValueError, FileNotFoundError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None


@papers_app.command("list")
def list_papers(
    query: Annotated[list[str] | None, typer.Argument(help="Words that must all occur somewhere.")] = None,
    section: Annotated[str, typer.Option(help="A roadmap section or its beginning, such as training-rl.")] = "",
    covered: Annotated[
        bool | None,
        typer.Option("--covered/--uncovered", help="Only papers that a notebook runs or names, or that none does."),
    ] = None,
    bibtex: Annotated[bool, typer.Option("--bibtex", help="Print the BibTeX entries.")] = False,
) -> None:
    """List papers, by section, each with its key, author, year and title.

    The mark before a key says how far the collection has come with it: "*" a built technique or a claim rests on it,
    "+" a notebook names it, "." it is planned, " " nothing yet.

    \b
    Examples:
      srm papers
      srm papers graph thoughts
      srm papers --section training-rl --uncovered
      srm papers draft --bibtex
    """
    from srm_utils import literature

    with _one_sentence():
        found = literature.search(" ".join(query or []), section)
        folder = _notebooks()
        states = literature.coverage(folder) if covered is not None or folder.is_dir() else {}
    if covered is not None:
        found = [paper for paper in found if (states[paper.key] in ("run", "cited")) == covered]
    if not found:
        typer.echo("No paper matches; try fewer words, or `srm papers` for all of them.", err=True)
        raise typer.Exit(1)
    if bibtex:
        typer.echo("\n\n".join(paper.entry for paper in found))
        return
    for name in sorted({paper.section for paper in found}):
        papers = [paper for paper in found if paper.section == name]
        typer.echo(f"{name} ({len(papers)})")
        for paper in papers:
            mark = MARKS[states.get(paper.key, "open")]
            typer.echo(f"  {mark} {paper.key:<28} {paper.label}: {paper.title}")
    counts = {state: sum(states.get(paper.key) == state for paper in found) for state in MARKS}
    tally = ", ".join(f"{n} {state} ({MARKS[state]})".removesuffix(" ( )") for state, n in counts.items())
    typer.echo(f"{len(found)} of {len(literature.load())} papers" + (f": {tally}" if states else ""))


@papers_app.command()
def show(key: Annotated[str, typer.Argument(help="A key of papers.bib, such as wei2022chain.")]) -> None:
    """Show one paper: full reference, address, technique, and the notebooks, claims and functions that use it.

    \b
    Examples:
      srm papers show wei2022chain
    """
    from srm_utils import literature

    with _one_sentence():
        paper = literature.load()[key]
        folder = _notebooks()
        use = literature.usage(key, folder) if folder.is_dir() else None
    typer.echo(f"{paper.reference}\n{paper.url}\n")
    typer.echo(f"cite       {paper.citation}\nsection    {paper.section}\ntechnique  {paper.technique}")
    for name in ("techniques", "notebooks", "claims", "functions") if use else ():
        typer.echo(f"{name:<10} {', '.join(getattr(use, name)) or 'none yet'}")


@papers_app.command()
def check(
    paths: Annotated[list[Path] | None, typer.Argument(help="Files or folders; the whole checkout by default.")] = None,
    repair: Annotated[bool, typer.Option("--repair", help="Rewrite what the key alone can mend, then check.")] = False,
) -> None:
    """Check that every citation agrees with papers.bib and the roadmap with the repository; exit code 1 if not.

    \b
    Examples:
      srm papers check
      srm papers check notebooks/00_tour.ipynb --repair
    """
    from srm_utils import literature

    with _one_sentence():
        for path in literature.repair_citations(paths) if repair else ():
            typer.echo(f"repaired {path}")
        findings = literature.check_citations(paths)
        if not paths:
            findings += literature.check_roadmap()
    for finding in findings:
        typer.echo(str(finding))
    mendable = sum(finding.repairable for finding in findings)
    if findings:
        typer.echo(f"{len(findings)} to mend" + (f", {mendable} by `srm papers check --repair`" if mendable else ""))
        raise typer.Exit(1)
    typer.echo("Every citation agrees with papers.bib.")


def _notebooks() -> Path:
    from srm_utils.collection.catalogue import notebooks_dir

    return notebooks_dir()
