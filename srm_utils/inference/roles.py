"""Roles and round tables: agents that differ, by what they are asked to do or by what model they are.

A planner, a solver and a verifier share one problem (the roles of motwani2024malt, without its training). At a
round table different models answer, hear one another, and vote with their confidence (chen2023reconcile).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from srm_utils.inference.asking import ask, steps_by
from srm_utils.inference.debate import sample_once, spoken
from srm_utils.inference.entry import Setting, needs_partner, needs_style, solver
from srm_utils.inference.solver import Attempt, Budget, Solver, attempt, keeps_prefixes
from srm_utils.inference.speculative_reasoning import per_token
from srm_utils.inference.verifiers import GenerativeVerifier
from srm_utils.inference.voting import weighted
from srm_utils.sampling.completion import Completion, Cost, group_cost
from srm_utils.tasks.dialects import DEBATE, FOLLOW, PLAN, SOLVE, VERIFY
from srm_utils.tasks.problem import Problem, Prompt, Task

if TYPE_CHECKING:
    from srm_utils.models import LanguageModel

# ---------------------------------------------------------------- planner, solver and verifier


@dataclass(frozen=True, slots=True)
class Turn:
    """One way round: the plan, the solution that follows it, and the share of the verifier's checks that it passed."""

    plan: str
    solution: str
    chance: float


@dataclass(frozen=True)
class PlannerSolverVerifier:
    """A planner plans, a solver carries the plan out, a verifier checks the solution in writing; if it fails, again.

    The first turn is greedy, later ones draw another plan and solution at `temperature`. A problem leaves once more
    than `threshold` of the verifier's `checks` (a `GenerativeVerifier`) say Yes, or after `budget.samples` turns, and
    the answer is that of the turn the verifier liked best, the earliest of equals. A check that cannot be read passes
    nothing. The three are the model given to `solve` unless `planner` or `verifier` name others. The trace is the list
    of `Turn`.
    """

    task: Task
    planner: LanguageModel | None = None
    verifier: LanguageModel | None = None
    checks: int = 1
    threshold: float = 0.5
    temperature: float = 1.0
    seed: int = 0
    name: str = "planner, solver, verifier"

    def solve(self, problems: Sequence[Problem], model: LanguageModel, budget: Budget) -> list[Attempt]:
        planner, verifier = self.planner or model, self.verifier or model
        traces: list[list[Turn]] = [[] for _ in problems]
        costs, unread = [Cost() for _ in problems], [0 for _ in problems]
        open_ = list(range(len(problems)))
        for turn in range(budget.samples):
            asked = [problems[i] for i in open_]
            how = (budget.max_new_tokens, self.temperature if turn else 0.0, self.seed + (turn << 32))
            plans = sample_once(planner, [ask(planner, PLAN, p) for p in asked], *how)
            ordered = [ask(model, FOLLOW, p, spoken(c.text)) for p, c in zip(asked, plans, strict=True)]
            solutions = sample_once(model, ordered, *how)
            # A solution without a step or an answer is none: the verifier is not asked.
            shown = [
                i for i, (p, c) in enumerate(zip(asked, solutions, strict=True))
                if steps_by(model, c.text, p) and self.task.final(c.text, p) is not None
            ]  # fmt: skip
            checker = GenerativeVerifier(verifier, self.checks, seed=how[2])
            scored = checker.score([asked[i] for i in shown], [solutions[i].text for i in shown])
            checked = dict(zip(shown, scored, strict=True))
            chances = [checked[i].scores[-1] if i in checked else 0.0 for i in range(len(asked))]
            judged = [checked[i].cost if i in checked else Cost() for i in range(len(asked))]
            for place, i in enumerate(open_):
                unread[i] += checked[place].unparsed if place in checked else 1
            for i, plan, solution, chance, cost in zip(open_, plans, solutions, chances, judged, strict=True):
                traces[i].append(Turn(plan.text, solution.text, chance))
                costs[i] += group_cost([plan]) + group_cost([solution]) + cost
            open_ = [i for i in open_ if traces[i][-1].chance <= self.threshold]
            if not open_:
                break
        best = [max(trace, key=lambda t: t.chance) for trace in traces]
        return [
            attempt(self.task, p, self.task.final(b.solution, p), trace, cost, failed)
            for p, b, trace, cost, failed in zip(problems, best, traces, costs, unread, strict=True)
        ]


# ---------------------------------------------------------------- the round table


@dataclass(frozen=True, slots=True)
class Speech:
    """What one agent said in a round, the answer it states, and how sure it was."""

    agent: str
    text: str
    answer: str | None
    confidence: float


#: How sure a completion is of itself, from 0 to 1.
Confidence = Callable[[Completion], float]


def likelihood_of(completion: Completion) -> float:
    """Confidence as the probability per token of what was written; nothing need be asked for it."""
    return per_token(completion.logprobs)


def recalibrated(confidence: float) -> float:
    """The weight of a vote cast with some confidence: models are surer than they are right (chen2023reconcile).

    >>> [recalibrated(c) for c in (1.0, 0.95, 0.85, 0.7, 0.2)]
    [1.0, 0.8, 0.5, 0.3, 0.1]
    """
    for least, weight in ((1.0, 1.0), (0.9, 0.8), (0.8, 0.5), (0.6, 0.3)):
        if confidence >= least:
            return weight
    return 0.1


@dataclass(frozen=True)
class RoundTable:
    """Different models answer greedily, then hear one another until they agree, at most `rounds` times.

    At the table sit the model given to `solve` and the `others`. The answer is the one with the most weight, each
    speech weighing `weight` of its confidence (chen2023reconcile). Its confidence is asked of the models in
    words; ours is any function of what was written. The trace is a list of rounds, each a list of `Speech`.
    `budget.samples` plays no part: the table has its seats.
    """

    task: Task
    others: Sequence[LanguageModel] = ()
    rounds: int = 2
    style: str = "cot"
    confidence: Confidence = likelihood_of
    weight: Callable[[float], float] = recalibrated
    name: str = "round table"

    def solve(self, problems: Sequence[Problem], model: LanguageModel, budget: Budget) -> list[Attempt]:
        table = [model, *self.others]
        traces: list[list[list[Speech]]] = [[] for _ in problems]
        costs = [Cost() for _ in problems]
        open_ = list(range(len(problems)))
        for turn in range(self.rounds + 1):
            said: dict[int, list[Speech]] = {i: [] for i in open_}
            for seat, agent in enumerate(table):
                prompts = [self._prompt(agent, problems[i], traces[i], seat) for i in open_]
                for i, c in zip(open_, sample_once(agent, prompts, budget.max_new_tokens, 0.0, turn), strict=True):
                    said[i].append(Speech(agent.name, c.text, self.task.final(c.text, problems[i]), self.confidence(c)))
                    costs[i] += group_cost([c])
            for i in open_:
                traces[i].append(said[i])
            # Two that state no answer have not agreed on one.
            open_ = [i for i in open_ if len({s.answer for s in said[i]}) > 1 or said[i][0].answer is None]
            if not open_:
                break
        return [
            attempt(self.task, p, self._verdict(trace[-1]), trace, cost, _unread(trace))
            for p, trace, cost in zip(problems, traces, costs, strict=True)
        ]

    def _prompt(self, agent: LanguageModel, problem: Problem, trace: list[list[Speech]], seat: int) -> Prompt:
        if not trace:
            return self.task.prompt(problem, self.style)
        return ask(agent, DEBATE, problem, [spoken(s.text) for i, s in enumerate(trace[-1]) if i != seat])

    def _verdict(self, said: Sequence[Speech]) -> str | None:
        return weighted([s.answer for s in said], [self.weight(s.confidence) for s in said])


def _unread(trace: Sequence[Sequence[Speech]]) -> int:
    """Speeches of all rounds that state no answer."""
    return sum(speech.answer is None for said in trace for speech in said)


keeps_prefixes(PlannerSolverVerifier, RoundTable)


@solver(
    "roles",
    "planner, solver and verifier, N turns at most (motwani2024malt)",
    notebook="27",
    skills=(PLAN, FOLLOW, VERIFY),
    most=16,
    missing=needs_style("plan"),
)
def _roles(setting: Setting, size: int) -> Solver:
    return PlannerSolverVerifier(setting.task, temperature=setting.heat, seed=setting.seed)


@solver(
    "round-table",
    "two models hear each other until they agree (chen2023reconcile)",
    notebook="27",
    skills=(SOLVE, DEBATE),
    most=1,
    missing=needs_partner,
)
def _round_table(setting: Setting, size: int) -> Solver:
    return RoundTable(setting.task, [setting.required_partner], style=setting.style)
