"""The solvers of a comparison by name: how each is built at a size, and which tasks it applies to.

A budget is a mean of FLOPs per problem, so that a judgement, a tool's words and a second model are paid for like
a sample (wang2024token). Each solver has one *size* (samples, beams, turns, agents); the largest size whose cost on
validation problems keeps to the budget is the one that runs, and every solver gets equally many trials to find it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

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
from srm_utils.inference.tools import CalculatorCalls, ReAct
from srm_utils.inference.tree_of_thoughts import BreadthFirst, DepthFirst, countdown_value
from srm_utils.inference.verifiers import GenerativeVerifier, JudgedSteps, VerifiedSamples
from srm_utils.inference.voting import AdaptiveConsistency, SelfConsistency, confidence_weighted, most_likely, weighted
from srm_utils.tasks import dialects as skills
from srm_utils.tasks.dialects import DIALECTS, Dialect, Skill
from srm_utils.tasks.names import nearest
from srm_utils.tasks.problem import Problem, Task

if TYPE_CHECKING:
    from srm_utils.models import LanguageModel


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
