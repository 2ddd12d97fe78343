"""Every solver at the same budgets, on the same problems: which one is better, and where nobody can tell.

All answers are kept problem by problem, so that any two solvers can be compared in pairs, all pairs at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from srm_utils.evaluation import Result, evaluate_attempts
from srm_utils.evaluation.bills import BILLS, Bill
from srm_utils.experiments.budgets import flops_of, largest_within
from srm_utils.experiments.store import Comparison, ComparisonFolder, identity_of
from srm_utils.inference.entry import Setting
from srm_utils.inference.registry import choose_solvers, registered_solvers
from srm_utils.inference.together import Remembered, together
from srm_utils.tasks.problem import Problem

#: Solvers run side by side while their problems together are at most this many.
SHARED_ROWS = 512


def compare(
    setting: Setting,
    problems: Sequence[Problem],
    budgets: Sequence[str],
    solvers: Sequence[str] = (),
    folder: str | Path | None = None,
    *,
    bill: Bill = "no cache",
    notebook: str = "",
    profile: str = "",
    sizes: Mapping[tuple[str, str], int] | None = None,
    progress: bool = True,
) -> Comparison:
    """Runs solvers at budgets on the same problems; sizes are chosen on `setting.tuning`.

    Args:
        setting: task, models, tuning problems, seed.
        problems: what all solvers are measured on.
        budgets: FLOPs per problem as `flops_of` reads them.
        solvers: names of registered solvers; all that apply, without.
        folder: every trial and every finished (solver, budget) is written there at once, and a later call of the same
            comparison takes over what is there. None keeps nothing.
        bill: what a budget is spent on: every text that a call reads, or with a prefix cache only what is new.
        notebook, profile: what the results are named by.
        sizes: sizes by (solver, budget) that were chosen earlier; those are not chosen again.
        progress: shows a bar.

    Raises ValueError for an unknown solver or budget, when nothing fits, when problems are tuning problems too, and
    when the folder holds another comparison.
    """
    names, absent = choose_solvers(setting.task, solvers, setting.partner is not None, setting.dialect)
    for budget in budgets:
        flops_of(budget, 1.0)
    if not (problems and setting.tuning and budgets):
        raise ValueError("A comparison needs at least one problem, one tuning problem and one budget.")
    if {p.canonical for p in problems} & {p.canonical for p in setting.tuning}:
        raise ValueError("Sizes are chosen on validation problems; compare on another split, such as test.")
    record = ComparisonFolder(Path(folder)) if folder is not None else ComparisonFolder(None)
    record.open(identity_of(setting, problems))
    remembering: dict[str, Any] = {"model": Remembered(setting.model)}
    if setting.partner is not None:
        remembering["partner"] = Remembered(setting.partner)
    shared = replace(setting, **remembering)
    kind = BILLS[bill]
    trials: dict[tuple[str, int], dict[str, Any]] = {(t["solver"], t["size"]): t for t in record.read("trials.jsonl")}
    measured = [Result.from_record(line) for line in record.read("results.jsonl")]
    done = {(r.technique, r.settings["budget"]): r for r in measured if r.settings["bill"] == bill}

    def cost_of(name: str, size: int) -> float:
        if (name, size) not in trials:
            cost = _measure(shared, name, size, shared.tuning)[1].cost
            trial = {"solver": name, "size": size, "flops": cost.flops, "cached_flops": cost.cached_flops}
            record.append("trials.jsonl", trial)
            trials[name, size] = trial
        return float(trials[name, size][kind])

    relative = any(b.strip().lower().endswith("x") for b in budgets)
    chain = cost_of("greedy", 1) if relative else 1.0
    allowed = {budget: flops_of(budget, chain) for budget in budgets}
    with tqdm(total=len(names) * len(budgets), desc="compare", disable=not progress) as bar:

        def run(name: str) -> None:
            entry = registered_solvers()[name]
            known = {size: float(trial[kind]) for (other, size), trial in trials.items() if other == name}
            fitted: dict[str, int | None] = {}
            for budget in sorted(budgets, key=lambda b: allowed[b]):
                bar.set_description(f"{name} {budget}, sizes")
                if (name, budget) in done:
                    fitted[budget] = done[name, budget].settings["size"]
                elif sizes and (name, budget) in sizes:
                    fitted[budget] = sizes[name, budget]
                else:
                    measure = partial(cost_of, name)
                    fitted[budget] = largest_within(measure, allowed[budget], known, entry.least, entry.most)
            over = [budget for budget, size in fitted.items() if size is None]
            if over:
                absent[name] = (
                    f"At its smallest it costs {known[entry.least]:.3g} FLOPs a problem, which does not fit into "
                    f"{' or '.join(over)}."
                )
            # The largest first: what it draws holds what the smaller ones draw.
            for budget in sorted(budgets, key=lambda b: -allowed[b]):
                bar.set_description(f"{name} {budget}")
                size = fitted[budget]
                if size is not None and (name, budget) not in done:
                    earlier = [r for r in measured if r.technique == name and r.settings["size"] == size]
                    result = earlier[0] if earlier else _result(shared, name, size, problems, notebook, profile)
                    how = {**result.settings, "budget": budget, "bill": bill}
                    spent = {**result.extra, "allowed": allowed[budget]}
                    done[name, budget] = replace(result, settings=how, extra=spent)
                    measured.append(done[name, budget])
                    record.append("results.jsonl", done[name, budget].to_record())
                bar.update()

        # Side by side only as many as fill a batch: what a kill can cost is what has begun and not ended.
        abreast = max(1, SHARED_ROWS // len(problems))
        for first in range(0, len(names), abreast):
            together({name: partial(run, name) for name in names[first : first + abreast]}, progress=False)
    kept = [done[name, budget] for name in names for budget in budgets if (name, budget) in done]
    if not kept:
        raise ValueError(f"No solver fits into {' or '.join(budgets)}; allow a larger budget.")
    record.table(kept)
    return Comparison(tuple(kept), absent, bill)


def sizes_in(results: Iterable[Result]) -> dict[tuple[str, str], int]:
    """The sizes that earlier results were measured with, as `compare` takes them."""
    return {(r.technique, r.settings["budget"]): r.settings["size"] for r in results}


def _measure(setting: Setting, name: str, size: int, problems: Sequence[Problem]) -> tuple[list[Any], Any]:
    entry = registered_solvers()[name]
    attempts = entry.build(setting, size).solve(problems, setting.model, entry.budget(setting, size))
    return attempts, evaluate_attempts(problems, attempts)


def _result(setting: Setting, name: str, size: int, problems: Sequence[Problem], notebook: str, profile: str) -> Result:
    attempts, run = _measure(setting, name, size, problems)
    e = run.accuracy()
    extra = {
        "problems": [p.id for p in problems],
        "correct": run.scores.astype(int).tolist(),
        "flops": run.costs_at(1).tolist(),
        "cached_flops": run.costs_at(1, "cached_flops").tolist(),
        "unparsed": [a.unparsed for a in attempts],
    }
    numbers = ("accuracy", e.value, e.low, e.high, e.n, setting.model.name, profile, setting.seed)
    settings = {"task": setting.task.name, "size": size}
    return Result(notebook, name, *numbers, cost=run.cost, settings=settings, extra=extra)
