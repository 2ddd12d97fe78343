"""A large and a small model that share the work: the large one plans, takes over in mid-text, or takes hard problems.

The small model is a field, the large one is given to `solve`. Every trace is a list of `Step`, so that
`share_of_large` reads them all: how many of the kept tokens the large model wrote.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from srm_utils.inference.asking import ask
from srm_utils.inference.debate import sample_once, spoken
from srm_utils.inference.entry import Setting, needs_partner, solver
from srm_utils.inference.roles import Confidence
from srm_utils.inference.solver import Attempt, Budget, Solver, attempt, keeps_prefixes
from srm_utils.inference.speculative_reasoning import Candidates, SpeculativeReasoning, Step, above, text_of
from srm_utils.sampling.completion import Completion, group_cost
from srm_utils.tasks.dialects import FOLLOW, PLAN, SOLVE
from srm_utils.tasks.problem import Problem, Task

if TYPE_CHECKING:
    from srm_utils.models import LanguageModel


def share_of_large(attempts: Sequence[Attempt]) -> list[float]:
    """Of the tokens of each attempt's text, those that the large model wrote."""
    shares = []
    for a in attempts:
        kept = [step for step in a.trace if step.kept]  # type: ignore[attr-defined]
        shares.append(sum(s.tokens for s in kept if s.writer == "large") / max(1, sum(s.tokens for s in kept)))
    return shares


# ---------------------------------------------------------------- the large model plans


@dataclass(frozen=True)
class LargePlans:
    """The large model writes a plan and the small one carries it out, both greedily."""

    task: Task
    small: LanguageModel
    name: str = "large plans, small solves"

    def solve(self, problems: Sequence[Problem], model: LanguageModel, budget: Budget) -> list[Attempt]:
        plans = sample_once(model, [ask(model, PLAN, p) for p in problems], budget.max_new_tokens, 0.0, 0)
        asked = [ask(self.small, FOLLOW, p, spoken(c.text)) for p, c in zip(problems, plans, strict=True)]
        solutions = sample_once(self.small, asked, budget.max_new_tokens, 0.0, 0)
        attempts = []
        for problem, plan, solution in zip(problems, plans, solutions, strict=True):
            trace = [_step(plan, "large"), _step(solution, "small")]
            cost = group_cost([plan]) + group_cost([solution])
            attempts.append(attempt(self.task, problem, self.task.final(solution.text, problem), trace, cost))
        return attempts


# ---------------------------------------------------------------- the large model takes over where the small is unsure


def least_sure(completion: Completion) -> float:
    """Confidence as the probability of the least likely token that was written."""
    return math.exp(min(completion.logprobs, default=0.0))


def by_own_certainty(candidates: Candidates) -> list[float]:
    """Judges each step by the small model's own least certain token; the large one is not asked."""
    return [math.exp(min(own)) for own in candidates.own]


@dataclass(frozen=True)
class TakesOver:
    """The small model writes, and the large one writes each step in which the small was unsure (yang2025speculative).

    A step is left to the large model when the small one gave some token of it a probability of `threshold` or
    less: with 0 the small model is alone, with 1 the large one. The paper waits for signal words, such as "wait".
    The large model reads what was written only when it is called, and its cache is kept.
    """

    task: Task
    small: LanguageModel
    threshold: float = 0.5
    style: str = "cot"

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"The threshold is {self.threshold}; use a probability from 0 to 1.")

    @property
    def name(self) -> str:
        return f"takes over below {self.threshold:g}"

    def solve(self, problems: Sequence[Problem], model: LanguageModel, budget: Budget) -> list[Attempt]:
        stepwise = SpeculativeReasoning(self.task, self.small, by_own_certainty, above(self.threshold), self.style)
        return stepwise.solve(problems, model, budget)


# ---------------------------------------------------------------- the large model takes the hard problems


@dataclass(frozen=True)
class Routed:
    """The small model answers every problem, and the large one those where the small was unsure (ong2024routellm).

    The paper learns the router; here it is the small model's `confidence` in its own answer, and `threshold` means
    what it does in `TakesOver`: 0 is the small model alone, 1 the large one (with the small one's vain attempt paid).
    """

    task: Task
    small: LanguageModel
    threshold: float = 0.5
    confidence: Confidence = least_sure
    style: str = "cot"

    @property
    def name(self) -> str:
        return f"routed below {self.threshold:g}"

    def solve(self, problems: Sequence[Problem], model: LanguageModel, budget: Budget) -> list[Attempt]:
        prompts = [self.task.prompt(p, self.style) for p in problems]
        first = sample_once(self.small, prompts, budget.max_new_tokens, 0.0, 0)
        traces = [[_step(c, "small", self.confidence(c) > self.threshold, self.confidence(c))] for c in first]
        costs = [group_cost([c]) for c in first]
        hard = [i for i, trace in enumerate(traces) if not trace[0].kept]
        again = sample_once(model, [prompts[i] for i in hard], budget.max_new_tokens, 0.0, 0)
        for i, completion in zip(hard, again, strict=True):
            traces[i].append(_step(completion, "large"))
            costs[i] += group_cost([completion])
        return [
            attempt(self.task, p, self.task.final(text_of(trace), p), trace, cost)
            for p, trace, cost in zip(problems, traces, costs, strict=True)
        ]


def _step(
    completion: Completion, writer: Literal["small", "large"], kept: bool = True, score: float | None = None
) -> Step:
    return Step(completion.text, writer, len(completion.token_ids), kept, score)


keeps_prefixes(LargePlans, Routed)


@solver(
    "routed",
    "the partner answers, and the model where the partner was unsure (ong2024routellm)",
    notebook="27",
    skills=(SOLVE,),
    most=1,
    missing=needs_partner,
)
def _routed(setting: Setting, size: int) -> Solver:
    return Routed(setting.task, setting.required_partner, style=setting.style)
