"""Every solver at the same budgets, on the same problems: which one is better, and where nobody can tell.

A budget is a mean of FLOPs per problem, so that a judgement, a tool's words and a second model are paid for like
a sample (wang2024token). Each solver has one *size* (samples, beams, turns, agents); the largest size whose cost on
validation problems keeps to the budget is the one that runs, and every solver gets equally many trials to find it.
All answers are kept problem by problem, so that any two solvers can be compared in pairs, all pairs at once.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from tqdm import tqdm

from srm_utils.evaluation import Estimate, Result, evaluate_attempts
from srm_utils.evaluation.results import to_parquet
from srm_utils.evaluation.statistics import PairedMatrix, paired_matrix
from srm_utils.inference.allocation import AdaptiveAllocation, measure_curves
from srm_utils.inference.asking import chat_of
from srm_utils.inference.beam_search import BeamSearch, DiverseVerifierTreeSearch, best_scored, guided
from srm_utils.inference.chain_of_thought import ChainOfThoughtDecoding, LeastToMost, Prompting
from srm_utils.inference.collaboration import Routed
from srm_utils.inference.debate import Debate
from srm_utils.inference.graph_of_thoughts import GraphOfThoughts
from srm_utils.inference.monte_carlo_tree_search import MonteCarloTreeSearch
from srm_utils.inference.mutual_consistency import MutualConsistency
from srm_utils.inference.programs import PAL_EXAMPLES, ProgramAided, ProgramOfThought, pal_examples
from srm_utils.inference.roles import PlannerSolverVerifier, RoundTable
from srm_utils.inference.self_correction import CheckingCritic, Reflexion, SelfCorrection
from srm_utils.inference.solver import Budget, Solver
from srm_utils.inference.split_evidence import Exchange
from srm_utils.inference.thinking_budget import BudgetForcing, EarlyExit, NoThinking, stable
from srm_utils.inference.thoughts import Aggregate, Score, Steps, judged_solution, judged_step, product
from srm_utils.inference.together import Remembered, together
from srm_utils.inference.tools import CalculatorCalls, ReAct
from srm_utils.inference.tree_of_thoughts import BreadthFirst, DepthFirst, countdown_value
from srm_utils.inference.verifiers import GenerativeVerifier, JudgedSteps, VerifiedSamples
from srm_utils.inference.voting import (
    AdaptiveConsistency,
    SelfConsistency,
    confidence_weighted,
    most_likely,
    weighted,
)
from srm_utils.tasks import dialects as skills
from srm_utils.tasks.dialects import DIALECTS, Dialect, Skill
from srm_utils.tasks.problem import Problem, Task
from srm_utils.tasks.registry import nearest

if TYPE_CHECKING:
    from srm_utils.models import LanguageModel

Floats = NDArray[np.float64]

#: Sizes measured on validation problems for each solver and budget.
TRIALS = 6
#: Solvers run side by side while their problems together are at most this many.
SHARED_ROWS = 512

# ---------------------------------------------------------------- the solvers, by name


@dataclass(frozen=True)
class Setting:
    """What all solvers of one comparison share.

    `tuning` are validation problems, on which sizes are chosen. `partner` is a second model, for the solvers that
    need one. `max_new_tokens` is the length of one chain of thought.
    """

    task: Task
    model: LanguageModel
    tuning: Sequence[Problem]
    partner: LanguageModel | None = None
    max_new_tokens: int = 192
    seed: int = 0

    @property
    def required_partner(self) -> LanguageModel:
        """The second model, for a solver that needs one. Raises ValueError where there is none."""
        if self.partner is None:
            raise ValueError("This solver needs a second model; name one as the partner.")
        return self.partner

    @property
    def dialect(self) -> Dialect:
        """In whose words the model is asked."""
        return chat_of(self.model).dialect

    @property
    def style(self) -> str:
        """How the task is thought through: chain of thought.

        The family answers directly where the world has no steps to write; others can be asked to think about anything.
        """
        return "cot" if self.dialect == "instruct" or "cot" in self.task.styles else "direct"

    @property
    def heat(self) -> float:
        """The temperature of several samples. At 1 a small instruct model writes more noise than it writes answers."""
        return 1.0 if self.dialect == "family" else 0.7

    def heat_of(self, samples: int) -> float:
        """One sample is greedy; several need heat to differ."""
        return self.heat if samples > 1 else 0.0

    @property
    def programs(self) -> tuple[tuple[str, str], ...]:
        """Worked programs: the task's own for the family, whose Python is a small one, else Python as people write."""
        if self.dialect == "family":
            return pal_examples(self.task)
        return tuple((question, program) for question, program, _ in PAL_EXAMPLES[:2])

    @property
    def steps(self) -> Steps:
        """A thought ends at the model's step mark; a Countdown move of the family, where it says what is left."""
        end = "Left" if self.task.name == "countdown" and self.dialect == "family" else None
        return Steps(self.task, self.style, end, self.heat, self.seed)

    @property
    def value(self) -> tuple[Score, Aggregate]:
        """How a search values its states: the model's judgement of a step, and how likely it was (xie2023selfeval)."""
        score = product(judged_step, countdown_value) if self.task.name == "countdown" else judged_step
        return guided(score), math.prod


@dataclass(frozen=True)
class Method:
    """A solver by name: how it is built at a size, what a size counts, what it asks, and which tasks it applies to.

    `skills` are all that it asks a model for. `missing` says in a sentence why it does not apply to a task, with a
    partner or none, in a dialect ("" where it does). A method with `least` equal to `most` has one size only, and the
    same cost at every budget.
    """

    about: str
    build: Callable[[Setting, int], Solver]
    budget: Callable[[Setting, int], Budget] = lambda s, size: Budget(size, s.max_new_tokens)
    least: int = 1
    most: int = 64
    missing: Callable[[Task, bool, Dialect], str] = lambda task, partner, dialect: ""
    skills: tuple[Skill, ...] = ()


def _style(style: str) -> Callable[[Task, bool, Dialect], str]:
    """The family knows the styles of its own worlds; an instruct model can be asked for any style."""

    def missing(task: Task, partner: bool, dialect: Dialect) -> str:
        fits = dialect == "instruct" or style in task.styles
        return "" if fits else f"The task {task.name!r} has no style {style!r}."

    return missing


def _partner(task: Task, partner: bool, dialect: Dialect) -> str:
    return "" if partner else "It needs a second model; name one as the partner."


def _only(name: str) -> Callable[[Task, bool, Dialect], str]:
    return lambda task, partner, dialect: "" if task.name == name else f"It is made for the task {name!r} alone."


def _arithmetic(task: Task, partner: bool, dialect: Dialect) -> str:
    fits = dialect == "instruct" or "program" in task.styles or "gsm" in task.name
    return "" if fits else f"The task {task.name!r} has no worked programs to show."


def _allocation(s: Setting, size: int) -> Solver:
    """Adaptive allocation, its curves measured on twice as many samples of the tuning problems."""
    prompts = [s.task.prompt(p, s.style) for p in s.tuning]
    groups = s.model.sample(prompts, 2 * size, s.max_new_tokens, s.heat, seed=s.seed)
    answers = [[s.task.final(c.text, p) for c in group] for p, group in zip(s.tuning, groups, strict=True)]
    right = [[a is not None and s.task.matches(a, p) for a in row] for p, row in zip(s.tuning, answers, strict=True)]
    curves = measure_curves(answers, right, max(1, size // 4))
    return AdaptiveAllocation(s.task, curves, s.style, s.heat, s.seed)


def _tree(s: Setting, size: int) -> Budget:
    return Budget(2 * size, s.max_new_tokens)


#: Every solver of the room by the name it is asked for. A size is what its own technique counts.
METHODS: dict[str, Method] = {
    "direct": Method(
        "answers at once, greedily",
        lambda s, n: Prompting(s.task, "direct"),
        most=1,
        skills=(skills.SOLVE,),
    ),
    "greedy": Method(
        "one chain of thought, greedily (wei2022chain)",
        lambda s, n: Prompting(s.task, s.style),
        most=1,
        skills=(skills.SOLVE,),
    ),
    "least-to-most": Method(
        "one smaller question after another (zhou2022least)",
        lambda s, n: LeastToMost(s.task),
        most=1,
        missing=_style("decompose"),
        skills=(skills.DECOMPOSE,),
    ),
    "cot-decoding": Method(
        "the surest of the chains behind the N likeliest first tokens (wang2024chain)",
        lambda s, n: ChainOfThoughtDecoding(s.task, n),
        least=2,
        most=16,
        skills=(skills.SOLVE,),
    ),
    "early-exit": Method(
        "stops thinking when two probes in a row agree (fu2025dynasor)",
        lambda s, n: EarlyExit(s.task, stable(2), s.style),
        most=1,
        missing=_style("cot"),
        skills=(skills.SOLVE,),
    ),
    "budget-forcing": Method(
        'goes on after N times "Wait." (muennighoff2025s1)',
        lambda s, n: BudgetForcing(s.task, n),
        lambda s, n: Budget(1, (n + 1) * s.max_new_tokens),
        most=8,
        missing=_style("cot"),
        skills=(skills.SOLVE,),
    ),
    "no-thinking": Method(
        "the vote of N answers without a chain (ma2025nothinking)",
        lambda s, n: NoThinking(s.task, s.style, temperature=s.heat, seed=s.seed),
        skills=(skills.SOLVE,),
    ),
    "self-consistency": Method(
        "the most frequent answer of N samples (wang2022selfconsistency)",
        lambda s, n: SelfConsistency(s.task, s.style, temperature=s.heat, seed=s.seed),
        skills=(skills.SOLVE,),
    ),
    "weighted-vote": Method(
        "N samples vote with their likelihood (taubenfeld2025confidence)",
        lambda s, n: SelfConsistency(s.task, s.style, confidence_weighted, temperature=s.heat, seed=s.seed),
        skills=(skills.SOLVE,),
    ),
    "likeliest": Method(
        "the likeliest of N samples (wang2022selfconsistency)",
        lambda s, n: SelfConsistency(s.task, s.style, most_likely, temperature=s.heat, seed=s.seed),
        skills=(skills.SOLVE,),
    ),
    "adaptive-consistency": Method(
        "samples until the leader stays, N at most (aggarwal2023lets)",
        lambda s, n: AdaptiveConsistency(s.task, s.style, temperature=s.heat, seed=s.seed),
        skills=(skills.SOLVE,),
    ),
    "adaptive-allocation": Method(
        "N samples in the mean, more where they help more (snell2024scaling)",
        _allocation,
        least=2,
        skills=(skills.SOLVE,),
    ),
    "best-of-n": Method(
        "the best of N samples by the model's judgement of every step (lightman2024lets)",
        lambda s, n: VerifiedSamples(s.task, JudgedSteps(s.model), "product", best_scored, s.style, s.heat, s.seed),
        skills=(skills.SOLVE, skills.JUDGE_STEP),
    ),
    "verifier-vote": Method(
        "N samples vote with the model's judgement of their steps (li2022making)",
        lambda s, n: VerifiedSamples(s.task, JudgedSteps(s.model), "product", weighted, s.style, s.heat, s.seed),
        skills=(skills.SOLVE, skills.JUDGE_STEP),
    ),
    "written-checks": Method(
        "the best of N samples by a check that the model writes (zhang2025generative)",
        lambda s, n: VerifiedSamples(s.task, GenerativeVerifier(s.model), "last", best_scored, s.style, s.heat, s.seed),
        skills=(skills.SOLVE, skills.VERIFY),
    ),
    "tree-of-thoughts": Method(
        "breadth first, N thoughts a level: keeps the best, from six on the best two (yao2023tree)",
        lambda s, n: BreadthFirst(s.steps, s.value[0], 1 if n < 6 else 2, aggregate=s.value[1]),
        least=2,
        skills=(skills.SOLVE, skills.JUDGE_STEP, skills.STATE_VALUE),
    ),
    "depth-first": Method(
        "depth first with a way back, N thoughts gone on from (yao2023tree)",
        lambda s, n: DepthFirst(s.steps, s.value[0], 2, 0.5, s.value[1]),
        most=96,
        skills=(skills.SOLVE, skills.JUDGE_STEP, skills.STATE_VALUE),
    ),
    "beam-search": Method(
        "N beams of two next steps each under the model's judgement (snell2024scaling)",
        lambda s, n: BeamSearch(s.steps, s.value[0], 2, s.value[1]),
        _tree,
        most=32,
        skills=(skills.SOLVE, skills.JUDGE_STEP, skills.STATE_VALUE),
    ),
    "diverse-trees": Method(
        "N separate trees that keep the better of two steps (beeching2024scaling)",
        lambda s, n: DiverseVerifierTreeSearch(s.steps, s.value[0], 2, s.value[1]),
        _tree,
        most=32,
        skills=(skills.SOLVE, skills.JUDGE_STEP, skills.STATE_VALUE),
    ),
    "mcts": Method(
        "N turns of UCT, rollouts weighed by the model's judgement (hao2023reasoning)",
        lambda s, n: MonteCarloTreeSearch(s.steps, judged_solution, branching=2, exploration=0.5, choose=weighted),
        skills=(skills.SOLVE, skills.JUDGE_STEP),
    ),
    "written-search": Method(
        "the vote of N searches that the model writes out (gandhi2024stream)",
        lambda s, n: SelfConsistency(s.task, "search", temperature=s.heat_of(n), seed=s.seed),
        lambda s, n: Budget(n, 3 * s.max_new_tokens),
        missing=_style("search"),
        skills=(skills.SOLVE,),
    ),
    "graph-of-thoughts": Method(
        "parts sorted and merged, the best of N tries at each place (besta2024graph)",
        lambda s, n: GraphOfThoughts(s.task, temperature=s.heat, seed=s.seed),  # type: ignore[arg-type]
        missing=_only("sorting"),
        skills=(skills.SORT, skills.MERGE, skills.MEND),
    ),
    "self-refine": Method(
        "rewrites until its own check finds nothing wrong, N rounds at most (madaan2023selfrefine)",
        lambda s, n: SelfCorrection(s.task, CheckingCritic(), rounds=n, style=s.style),
        most=16,
        skills=(skills.SOLVE, skills.VERIFY, skills.REVISE),
    ),
    "reflexion": Method(
        "starts afresh with notes until its own check passes, N trials at most (shinn2023reflexion)",
        lambda s, n: Reflexion(s.task, CheckingCritic(), trials=n, temperature=s.heat, seed=s.seed),
        least=2,
        most=16,
        skills=(skills.REMEMBER, skills.VERIFY),
    ),
    "debate": Method(
        "N agents hear one another once, then vote (du2023improving)",
        lambda s, n: Debate(s.task, 1, style=s.style, temperature=s.heat, seed=s.seed),
        least=2,
        most=32,
        skills=(skills.SOLVE, skills.DEBATE),
    ),
    "roles": Method(
        "planner, solver and verifier, N turns at most (motwani2024malt)",
        lambda s, n: PlannerSolverVerifier(s.task, temperature=s.heat, seed=s.seed),
        most=16,
        missing=_style("plan"),
        skills=(skills.PLAN, skills.FOLLOW, skills.VERIFY),
    ),
    "exchange": Method(
        "two agents with half of the facts each write N messages (yin2023exchange)",
        lambda s, n: Exchange(s.task, n),  # type: ignore[arg-type]
        lambda s, n: Budget(1, s.max_new_tokens),
        missing=_only("split-evidence"),
        skills=(skills.MESSAGE,),
    ),
    "round-table": Method(
        "two models hear each other until they agree (chen2023reconcile)",
        lambda s, n: RoundTable(s.task, [s.required_partner], style=s.style),
        most=1,
        missing=_partner,
        skills=(skills.SOLVE, skills.DEBATE),
    ),
    "mutual-consistency": Method(
        "N samples vote with a second model's agreement (qi2024mutual)",
        lambda s, n: MutualConsistency(s.task, s.required_partner, s.style, temperature=s.heat, seed=s.seed),
        missing=_partner,
        skills=(skills.SOLVE,),
    ),
    "routed": Method(
        "the partner answers, and the model where the partner was unsure (ong2024routellm)",
        lambda s, n: Routed(s.task, s.required_partner, style=s.style),
        most=1,
        missing=_partner,
        skills=(skills.SOLVE,),
    ),
    "program-of-thought": Method(
        "the vote of N programs that are run (chen2022program)",
        lambda s, n: ProgramOfThought(s.task, seed=s.seed, temperature=s.heat_of(n)),
        missing=_style("program"),
        skills=(skills.PROGRAM,),
    ),
    "pal": Method(
        "the vote of N programs after two worked ones (gao2023pal)",
        lambda s, n: ProgramAided(s.task, s.programs, seed=s.seed, temperature=s.heat_of(n)),
        missing=_arithmetic,
        skills=(skills.PROGRAM,),
    ),
    "calculator": Method(
        "the vote of N chains whose sums a calculator does (cobbe2021training)",
        lambda s, n: CalculatorCalls(s.task, seed=s.seed, temperature=s.heat_of(n)),
        missing=_style("tool"),
        skills=(skills.CALCULATOR,),
    ),
    "react": Method(
        "the vote of N chains that look every fact up (yao2023react)",
        lambda s, n: ReAct(s.task, seed=s.seed, temperature=s.heat_of(n)),
        missing=_only("graph"),
        skills=(skills.LOOK_UP,),
    ),
}


def choose_methods(
    task: Task, names: Sequence[str] = (), partner: bool = False, dialect: Dialect | None = "family"
) -> tuple[list[str], dict[str, str]]:
    """The methods asked for (all, without names) that apply to a task, and why each other one does not, in a sentence.

    `partner` says that there is a second model, `dialect` in whose words the model is asked; None looks whether a
    method applies in any.

    Raises ValueError for a name that there is not, and when none of those asked for applies.
    """
    for name in names:
        if name not in METHODS:
            raise ValueError(f"There is no solver {name!r}; {nearest(name, METHODS)}.")
    asked = list(dict.fromkeys(names or METHODS))
    absent = {}
    for name in asked:
        reasons = [METHODS[name].missing(task, partner, d) for d in (DIALECTS if dialect is None else (dialect,))]
        if all(reasons):
            absent[name] = reasons[0]
    if len(absent) == len(asked):
        raise ValueError(f"None of these solvers can be run: {' '.join(f'{n}: {why}' for n, why in absent.items())}")
    return [name for name in asked if name not in absent], absent


@dataclass(frozen=True, slots=True)
class Listed:
    """What a solver is with one task and one model: what it asks, what it can read, and why it does not work ("")."""

    solver: str
    about: str
    dialect: Dialect
    asks: str
    reads: str
    why_not: str

    def __str__(self) -> str:
        said = f"{self.solver:<22} {self.about}"
        if self.why_not:
            return f"{said}. NOT HERE: {self.why_not}"
        return f"{said}. In the dialect {self.dialect!r} it asks for {self.asks}, and reads {self.reads}."


def listed(task: Task, dialect: Dialect, names: Sequence[str] = (), partner: bool = False) -> list[Listed]:
    """A row for each solver asked for (all, without names): what it would ask a model of this dialect, and read.

    Raises ValueError for a name that there is not.

    >>> from srm_utils.tasks import get_task
    >>> [row.why_not for row in listed(get_task("sorting"), "family", ["program-of-thought"])]
    ["The task 'sorting' has no style 'program'."]
    """
    for name in names:
        if name not in METHODS:
            raise ValueError(f"There is no solver {name!r}; {nearest(name, METHODS)}.")
    rows = []
    for name in dict.fromkeys(names or METHODS):
        method = METHODS[name]
        used = [k for k in method.skills if k is not skills.STATE_VALUE or task.name == "countdown"]
        asks, reads = (", ".join(dict.fromkeys(said)) for said in ([k.asks for k in used], [k.reads for k in used]))
        rows.append(Listed(name, method.about, dialect, asks, reads, method.missing(task, partner, dialect)))
    return rows


# ---------------------------------------------------------------- budgets and sizes

_BUDGET = re.compile(r"(\d+(?:\.\d+)?(?:e\d+)?)\s*([kMGTP]?|x)", re.IGNORECASE)
_PREFIX = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12, "p": 1e15}


def flops_of(budget: str, chain: float) -> float:
    """A budget in FLOPs per problem: "2G", "5e8", or "8x", eight times what one greedy chain costs.

    Raises ValueError for anything else.

    >>> flops_of("2G", 1.0), flops_of("8x", 3e6)
    (2000000000.0, 24000000.0)
    """
    found = _BUDGET.fullmatch(budget.strip())
    if not found or float(found[1]) <= 0:
        raise ValueError(
            f"The budget {budget!r} cannot be read; give FLOPs per problem such as 500M or 2G, or 8x for eight chains."
        )
    unit = found[2].lower()
    return float(found[1]) * (chain if unit == "x" else _PREFIX[unit])


def largest_within(
    measure: Callable[[int], float], allowed: float, known: dict[int, float], least: int = 1, most: int = 64
) -> int | None:
    """The largest size found whose measured cost is at most `allowed`; None where even `least` costs more.

    At most `TRIALS` sizes are measured, each where a straight line through those before leads. `known` holds what was
    measured earlier, and takes what is measured here.

    >>> largest_within(lambda size: 10.0 + 5 * size, 31.0, {})
    4
    """
    for _ in range(TRIALS):
        size = _next_size(known, allowed, least, most)
        if size is None:
            break
        known[size] = measure(size)
    return max((size for size, cost in known.items() if cost <= allowed), default=None)


def _next_size(known: Mapping[int, float], allowed: float, least: int, most: int) -> int | None:
    below = max((size for size, cost in known.items() if cost <= allowed), default=None)
    if below is None:
        return None if least in known else least
    above = min((size for size in known if size > below), default=None)
    if below >= most or above == below + 1:
        return None
    if above is not None:
        share = (allowed - known[below]) / (known[above] - known[below])
        return min(above - 1, max(below + 1, int(below + share * (above - below))))
    smaller = max((size for size in known if size < below), default=0)
    slope = (known[below] - known.get(smaller, 0.0)) / (below - smaller)
    guess = below + (allowed - known[below]) / slope if slope > 0 else most
    return int(min(most, max(below + 1, guess)))


# ---------------------------------------------------------------- what was measured


@dataclass(frozen=True)
class Comparison:
    """The results of a comparison, one for each solver and budget, and why the others are not there.

    A result's `settings` name the budget and the size; its `extra` holds, problem by problem, `correct` (0 or 1),
    `flops`, and `unparsed`, the replies that could not be read, in the order of `problems`.
    """

    results: tuple[Result, ...]
    absent: Mapping[str, str]

    @property
    def budgets(self) -> list[str]:
        """The budgets as they were asked for, rising."""
        allowed = {r.settings["budget"]: r.extra["allowed"] for r in self.results}
        return sorted(allowed, key=lambda b: allowed[b])

    @property
    def solvers(self) -> list[str]:
        """The solvers with at least one result, in the order they ran."""
        return list(dict.fromkeys(r.technique for r in self.results))

    def at(self, budget: str) -> dict[str, Result]:
        """The results at one budget, by solver. Raises ValueError for a budget that was not measured."""
        found = {r.technique: r for r in self.results if r.settings["budget"] == budget}
        if not found:
            raise ValueError(f"The budget {budget!r} was not measured; there are {', '.join(self.budgets)}.")
        return found

    def scores(self, budget: str) -> dict[str, Floats]:
        """Correctness at one budget, problem by problem, by solver."""
        return {name: np.array(r.extra["correct"], dtype=float) for name, r in self.at(budget).items()}

    def points(self, solver: str) -> list[Result]:
        """A solver's results at rising cost, each size once."""
        sizes = {r.settings["size"]: r for r in self.results if r.technique == solver}
        return sorted(sizes.values(), key=lambda r: r.cost.flops)

    def curves(self) -> dict[str, list[tuple[float, Estimate]]]:
        """Each solver's accuracy by mean FLOPs per problem."""
        return {name: [(r.cost.flops, r.estimate) for r in self.points(name)] for name in self.solvers}

    def matrix(self, budget: str, level: float = 0.95) -> PairedMatrix:
        """All pairs of solvers at one budget, with simultaneous intervals."""
        return paired_matrix(self.scores(budget), level)


def only_solver(scores: Mapping[str, ArrayLike]) -> dict[str, list[int]]:
    """For each solver, the problems (by position) that it alone solves.

    >>> only_solver({"vote": [1, 1, 0], "search": [1, 0, 0]})
    {'vote': [1], 'search': []}
    """
    solved = np.stack([np.asarray(s, dtype=float) for s in scores.values()]) > 0
    alone = solved & (solved.sum(0) == 1)
    return {name: np.flatnonzero(row).tolist() for name, row in zip(scores, alone, strict=True)}


# ---------------------------------------------------------------- running it


def compare(
    setting: Setting,
    problems: Sequence[Problem],
    budgets: Sequence[str],
    solvers: Sequence[str] = (),
    folder: str | Path | None = None,
    *,
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
        solvers: names in `METHODS`; all that apply, without.
        folder: every trial and every finished (solver, budget) is written there at once, and a later call of the same
            comparison takes over what is there. None keeps nothing.
        notebook, profile: what the results are named by.
        sizes: sizes by (solver, budget) that were chosen earlier; those are not chosen again.
        progress: shows a bar.

    Raises ValueError for an unknown solver or budget, when nothing fits, when problems are tuning problems too, and
    when the folder holds another comparison.
    """
    names, absent = choose_methods(setting.task, solvers, setting.partner is not None, setting.dialect)
    for budget in budgets:
        flops_of(budget, 1.0)
    if not (problems and setting.tuning and budgets):
        raise ValueError("A comparison needs at least one problem, one tuning problem and one budget.")
    if {p.canonical for p in problems} & {p.canonical for p in setting.tuning}:
        raise ValueError("Sizes are chosen on validation problems; compare on another split, such as test.")
    record = _Folder(Path(folder)) if folder is not None else _Folder(None)
    record.open(_identity(setting, problems))
    remembering: dict[str, Any] = {"model": Remembered(setting.model)}
    if setting.partner is not None:
        remembering["partner"] = Remembered(setting.partner)
    shared = replace(setting, **remembering)
    trials = {(t["solver"], t["size"]): t["flops"] for t in record.read("trials.jsonl")}
    done = {(r.technique, r.settings["budget"]): r for r in map(Result.from_record, record.read("results.jsonl"))}

    def cost_of(name: str, size: int) -> float:
        if (name, size) not in trials:
            trials[name, size] = _measure(shared, name, size, shared.tuning)[1].cost.flops
            record.append("trials.jsonl", {"solver": name, "size": size, "flops": trials[name, size]})
        return trials[name, size]

    relative = any(b.strip().lower().endswith("x") for b in budgets)
    chain = cost_of("greedy", 1) if relative else 1.0
    allowed = {budget: flops_of(budget, chain) for budget in budgets}
    with tqdm(total=len(names) * len(budgets), desc="compare", disable=not progress) as bar:

        def run(name: str) -> None:
            method = METHODS[name]
            known = {size: flops for (other, size), flops in trials.items() if other == name}
            fitted: dict[str, int | None] = {}
            for budget in sorted(budgets, key=lambda b: allowed[b]):
                bar.set_description(f"{name} {budget}, sizes")
                if (name, budget) in done:
                    fitted[budget] = done[name, budget].settings["size"]
                elif sizes and (name, budget) in sizes:
                    fitted[budget] = sizes[name, budget]
                else:
                    measure = partial(cost_of, name)
                    fitted[budget] = largest_within(measure, allowed[budget], known, method.least, method.most)
            over = [budget for budget, size in fitted.items() if size is None]
            if over:
                absent[name] = (
                    f"At its smallest it costs {known[method.least]:.3g} FLOPs a problem, which does not fit into "
                    f"{' or '.join(over)}."
                )
            # The largest first: what it draws holds what the smaller ones draw.
            for budget in sorted(budgets, key=lambda b: -allowed[b]):
                bar.set_description(f"{name} {budget}")
                size = fitted[budget]
                if size is not None and (name, budget) not in done:
                    earlier = [r for (other, _), r in done.items() if other == name and r.settings["size"] == size]
                    result = earlier[0] if earlier else _result(shared, name, size, problems, notebook, profile)
                    how = {**result.settings, "budget": budget}
                    spent = {**result.extra, "allowed": allowed[budget]}
                    done[name, budget] = replace(result, settings=how, extra=spent)
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
    return Comparison(tuple(kept), absent)


def sizes_in(results: Iterable[Result]) -> dict[tuple[str, str], int]:
    """The sizes that earlier results were measured with, as `compare` takes them."""
    return {(r.technique, r.settings["budget"]): r.settings["size"] for r in results}


def _measure(setting: Setting, name: str, size: int, problems: Sequence[Problem]) -> tuple[list[Any], Any]:
    method = METHODS[name]
    solver = method.build(setting, size)
    attempts = solver.solve(problems, setting.model, method.budget(setting, size))
    return attempts, evaluate_attempts(problems, attempts)


def _result(setting: Setting, name: str, size: int, problems: Sequence[Problem], notebook: str, profile: str) -> Result:
    attempts, run = _measure(setting, name, size, problems)
    e = run.accuracy()
    extra = {
        "problems": [p.id for p in problems],
        "correct": run.scores.astype(int).tolist(),
        "flops": run.costs_at(1).tolist(),
        "unparsed": [a.unparsed for a in attempts],
    }
    numbers = ("accuracy", e.value, e.low, e.high, e.n, setting.model.name, profile, setting.seed)
    settings = {"task": setting.task.name, "size": size}
    return Result(notebook, name, *numbers, cost=run.cost, settings=settings, extra=extra)


# ---------------------------------------------------------------- what is kept on disk


def _identity(setting: Setting, problems: Sequence[Problem]) -> dict[str, Any]:
    """What makes two comparisons the same, whatever their solvers and budgets."""
    return {
        "task": setting.task.name,
        "model": setting.model.name,
        "partner": setting.partner.name if setting.partner is not None else None,
        "weights": [_weights(m) for m in (setting.model, setting.partner) if m is not None],
        "chat": _digest([repr(getattr(setting.model, "chat", None))]),
        "problems": _digest(p.id + p.question for p in problems),
        "tuning": _digest(p.id + p.question for p in setting.tuning),
        "max_new_tokens": setting.max_new_tokens,
        "seed": setting.seed,
    }


def _digest(texts: Iterable[str]) -> str:
    return hashlib.blake2b("\n".join(texts).encode(), digest_size=8).hexdigest()


def _weights(model: LanguageModel) -> str:
    """A short name for a model's weights, from the first values of each: a retrained model has another one."""
    parameters = model.model.named_parameters() if hasattr(model, "model") else ()
    return _digest(f"{name}{tuple(p.shape)}{p.detach().flatten()[:16].float().tolist()}" for name, p in parameters)


class _Folder:
    """The files of one comparison, lines appended as they are measured; with no path, nothing."""

    def __init__(self, path: Path | None) -> None:
        self.path = path

    def open(self, identity: Mapping[str, Any]) -> None:
        if self.path is None:
            return
        self.path.mkdir(parents=True, exist_ok=True)
        file = self.path / "comparison.json"
        if file.exists():
            held = json.loads(file.read_text(encoding="utf-8"))
            other = [key for key, value in identity.items() if held.get(key) != value]
            if other:
                raise ValueError(
                    f"The folder {self.path} holds a comparison with other {' and '.join(other)}; "
                    "name another folder, or remove that one."
                )
        else:
            beside = file.with_suffix(".tmp")
            beside.write_text(json.dumps(identity, indent=1) + "\n", encoding="utf-8")
            beside.replace(file)

    def read(self, name: str) -> list[dict[str, Any]]:
        """The lines of a file; the last one may have been cut off by a kill, and is then measured again."""
        file = self.path / name if self.path else None
        if file is None or not file.exists():
            return []
        text = file.read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            file.write_text(whole, encoding="utf-8")
        try:
            return [json.loads(line) for line in whole.splitlines()]
        except json.JSONDecodeError:
            raise ValueError(f"{file} is damaged; remove it, and what it held is measured again.") from None

    def append(self, name: str, line: Mapping[str, Any]) -> None:
        if self.path is not None:
            with open(self.path / name, "a", encoding="utf-8") as file:
                file.write(json.dumps(line, allow_nan=False) + "\n")

    def table(self, results: Sequence[Result]) -> None:
        if self.path is not None:
            to_parquet(results, self.path / "results.parquet")
