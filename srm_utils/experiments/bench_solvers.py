"""`srm bench solvers`: tokens a second of every solver as a share of the plain sampler's, and where its time goes.

And what it saves to run all of them side by side.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from srm_utils.inference.solver import Budget, Solver
from srm_utils.sampling.completion import Completion

if TYPE_CHECKING:
    import pandas as pd

    from srm_utils.models import LanguageModel
    from srm_utils.sampling.cache import PrefixStore
    from srm_utils.tasks.problem import Problem, Task


@dataclass
class Meter:
    """A model that notes how long its calls take and how many tokens they draw; everything else is the model's."""

    inner: LanguageModel
    sampling: float = 0.0
    scoring: float = 0.0
    calls: int = 0
    tokens: int = 0
    read_tokens: int = 0
    reused_tokens: int = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    @contextmanager
    def keeping_prefixes(self) -> Iterator[PrefixStore]:
        """The model's own, and a note of the tokens that were read and reused within."""
        with self.inner.keeping_prefixes() as store:
            before = store.read, store.reused
            yield store
            self.read_tokens += store.read - before[0]
            self.reused_tokens += store.reused - before[1]

    def sample(self, *args: Any, **kwargs: Any) -> list[list[Completion]]:
        began = time.perf_counter()
        drawn = self.inner.sample(*args, **kwargs)
        self.sampling += time.perf_counter() - began
        self.calls += 1
        self.tokens += sum(len(c.token_ids) for group in drawn for c in group)
        return drawn

    def score(self, *args: Any, **kwargs: Any) -> Any:
        began = time.perf_counter()
        scored = self.inner.score(*args, **kwargs)
        self.scoring += time.perf_counter() - began
        self.calls += 1
        return scored


def standard_solvers() -> dict[str, tuple[Solver, Budget]]:
    """One solver of every family of techniques, as its notebook sets it, with a budget worth timing."""
    from srm_utils.inference.beam_search import BeamSearch
    from srm_utils.inference.chain_of_thought import ChainOfThoughtDecoding, LeastToMost, Prompting
    from srm_utils.inference.debate import Debate
    from srm_utils.inference.graph_of_thoughts import GraphOfThoughts
    from srm_utils.inference.monte_carlo_tree_search import MonteCarloTreeSearch
    from srm_utils.inference.programs import ProgramOfThought
    from srm_utils.inference.self_correction import SelfCorrection
    from srm_utils.inference.state_scores import likelihood
    from srm_utils.inference.thinking_budget import BudgetForcing
    from srm_utils.inference.thoughts import Steps
    from srm_utils.inference.tools import CalculatorCalls
    from srm_utils.inference.tree_of_thoughts import BreadthFirst
    from srm_utils.inference.voting import AdaptiveConsistency, SelfConsistency
    from srm_utils.tasks import get_task
    from srm_utils.tasks.worlds.sorting import SortingTask

    chain, graph, countdown, large = map(get_task, ("chain", "graph", "countdown", "large-numbers"))
    solvers: tuple[tuple[Solver, int], ...] = (
        (Prompting(chain), 1),
        (LeastToMost(chain), 1),
        (ChainOfThoughtDecoding(chain), 1),
        (SelfConsistency(graph), 16),
        (AdaptiveConsistency(graph), 16),
        (BreadthFirst(Steps(countdown), likelihood), 8),
        (BeamSearch(Steps(graph), likelihood), 16),
        (MonteCarloTreeSearch(Steps(graph), likelihood), 8),
        (GraphOfThoughts(SortingTask()), 4),
        (SelfCorrection(chain), 1),
        (Debate(graph), 4),
        (BudgetForcing(graph, waits=1), 1),
        (ProgramOfThought(large), 1),
        (CalculatorCalls(large), 1),
    )
    return {solver.name: (solver, Budget(samples, 128)) for solver, samples in solvers}


def bench_solvers(
    model: LanguageModel,
    solvers: Mapping[str, tuple[Solver, Budget]],
    *,
    problems: int = 64,
    samples: int = 16,
    repeats: int = 3,
    say: Callable[[str], None] = lambda line: None,
) -> pd.DataFrame:
    """Time each solver and, beside it in the same run, the plain sampler on the same problems.

    Args:
        model: what all of them draw from.
        solvers: by name, a solver (with its `task` or `steps`) and its budget, such as `standard_solvers()`.
        problems: problems of the solver's task, validation split.
        samples: samples a problem of the plain sampler.
        repeats: runs of each, alternating; medians count.
        say: gets a line for each solver as it ends.

    Returns:
        One line a solver: `tokens_per_second`, `share` of the plain sampler's, `calls` of the model, the shares of
        wall time in `sampling`, in `scoring` and in the solver's `own` code, and the share of all tokens asked to be
        read that were `reused` (0 for a solver that keeps nothing between its calls).
    """
    import pandas as pd

    lines = []
    for name, (solver, budget) in solvers.items():
        task, asked = _asked(solver, problems)
        prompts = [task.prompt(p, "cot") for p in asked]
        plain, runs = [], []
        for _ in range(repeats):
            began = time.perf_counter()
            drawn = model.sample(prompts, samples, budget.max_new_tokens)
            plain.append(sum(len(c.token_ids) for g in drawn for c in g) / (time.perf_counter() - began))
            meter = Meter(model)
            began = time.perf_counter()
            solver.solve(asked, meter, budget)
            runs.append((time.perf_counter() - began, meter))
        wall, meter = sorted(runs, key=lambda run: run[0])[len(runs) // 2]
        line = {
            "solver": name, "task": task.name, "tokens_per_second": meter.tokens / wall,
            "share": meter.tokens / wall / statistics.median(plain), "calls": meter.calls,
            "sampling": meter.sampling / wall, "scoring": meter.scoring / wall,
            "own": 1 - (meter.sampling + meter.scoring) / wall,
            "reused": meter.reused_tokens / max(1, meter.read_tokens + meter.reused_tokens),
        }  # fmt: skip
        lines.append(line)
        say(
            f"{name}: {line['tokens_per_second']:,.0f} tokens/s, {line['share']:.2f} of the plain sampler's; "
            f"time {line['sampling']:.0%} sampling, {line['scoring']:.0%} scoring, {line['own']:.0%} own code; "
            f"{line['reused']:.0%} of what was to be read was reused"
        )
    return pd.DataFrame(lines)


def bench_together(
    model: LanguageModel, solvers: Mapping[str, tuple[Solver, Budget]], *, problems: int = 64, repeats: int = 3
) -> dict[str, float]:
    """Seconds that all solvers take in turn and side by side (`together`); in either way nothing is drawn twice.

    Args:
        model, solvers: as for `bench_solvers`.
        problems: problems of each solver's task, validation split.
        repeats: runs of each way, alternating; medians count.

    Returns:
        `in_turn` and `side_by_side`, in seconds, and `times`, the first over the second.
    """
    from srm_utils.inference.together import Remembered, together

    def jobs() -> dict[str, Callable[[], Any]]:
        memory: Any = Remembered(model)
        return {name: partial(s.solve, _asked(s, problems)[1], memory, budget) for name, (s, budget) in solvers.items()}

    seconds: dict[str, list[float]] = {"in_turn": [], "side_by_side": []}
    for _ in range(repeats):
        todo, began = jobs(), time.perf_counter()
        for solve in todo.values():
            solve()
        seconds["in_turn"].append(time.perf_counter() - began)
        todo, began = jobs(), time.perf_counter()
        together(todo, progress=False)
        seconds["side_by_side"].append(time.perf_counter() - began)
    found = {way: statistics.median(taken) for way, taken in seconds.items()}
    return found | {"times": found["in_turn"] / found["side_by_side"]}


def _asked(solver: Any, problems: int) -> tuple[Task, list[Problem]]:
    task = solver.steps.task if hasattr(solver, "steps") else solver.task
    return task, task.problems(problems, seed=71)
