"""`srm bench solvers`: every line adds up, and every family of techniques is there."""

from __future__ import annotations

import pytest

from srm_utils.experiments.bench_solvers import Meter, bench_solvers, bench_together, standard_solvers
from srm_utils.inference.chain_of_thought import Prompting
from srm_utils.inference.solver import Budget
from srm_utils.models import load_model
from srm_utils.tasks import get_task


@pytest.fixture(scope="module")
def model():
    return load_model("base-small")


def test_the_meter_counts_what_the_model_draws(model) -> None:
    meter, task = Meter(model), get_task("chain")
    problems = task.problems(3, seed=1)
    attempts = Prompting(task).solve(problems, meter, Budget(1, 64))
    assert meter.calls == 2 and meter.tokens == sum(a.cost.generated_tokens for a in attempts) > 0
    assert meter.sampling > 0 and meter.scoring == 0 and meter.name == "base-small"


def test_every_solver_runs_and_its_shares_add_up(model) -> None:
    solvers = standard_solvers()
    said: list[str] = []
    table = bench_solvers(model, solvers, problems=2, samples=2, repeats=1, say=said.append)
    assert list(table["solver"]) == list(solvers) and len(said) == len(solvers) > 12
    assert (table["tokens_per_second"] > 0).all() and (table["share"] > 0).all() and (table["calls"] > 0).all()
    assert table[["sampling", "scoring", "own"]].sum(axis=1).tolist() == pytest.approx([1.0] * len(table))
    assert (table[["sampling", "scoring", "own"]] >= 0).all().all()
    reused = dict(zip(table["solver"], table["reused"], strict=True))
    assert reused["beam search"] > 0.5 and reused["MCTS"] > 0.5 and reused["self-consistency"] == 0
    assert all("was reused" in line for line in said)


def test_side_by_side_takes_fewer_calls(model) -> None:
    solvers = {name: standard_solvers()[name] for name in list(standard_solvers())[:4]}
    meter = Meter(model)
    found = bench_together(meter, solvers, problems=2, repeats=1)
    assert found["times"] == pytest.approx(found["in_turn"] / found["side_by_side"])
    alone = Meter(model)
    for solver, budget in solvers.values():
        solver.solve(solver.task.problems(2, seed=71), alone, budget)
    assert 0 < meter.calls < 2 * alone.calls, "in turn as many at most, side by side fewer"
