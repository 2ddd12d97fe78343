"""Mutual consistency: one model proposes solutions, another completes them with their ends masked (qi2024mutual).

A solution counts when the second model, given its beginning, comes to the same answer: two models seldom make the
same mistake. The second model needs no judgement skill; it only has to go on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from srm_utils.inference.asking import chat_of, newly
from srm_utils.inference.entry import Setting, needs_partner, solver
from srm_utils.inference.monte_carlo_tree_search import MonteCarloTreeSearch
from srm_utils.inference.solver import Attempt, Budget, Solver, attempt, keeps_prefixes
from srm_utils.inference.voting import plurality, weighted
from srm_utils.sampling.completion import Cost, group_cost
from srm_utils.tasks.dialects import SOLVE
from srm_utils.tasks.problem import Problem, Task
from srm_utils.tasks.steps import pieces

if TYPE_CHECKING:
    from srm_utils.models import LanguageModel

#: Whole solutions of each problem, as often as they were found, and what finding them cost.
Propose = Callable[["LanguageModel", Sequence[Problem], Budget], tuple[list[list[str]], list[Cost]]]


@dataclass(frozen=True)
class Candidate:
    """One distinct solution: how often it was proposed, and the share of masked copies that came to its answer."""

    text: str
    answer: str
    proposed: int
    agreement: float


@dataclass(frozen=True)
class MutualConsistency:
    """Solutions of one model, each completed `masks` times by a `partner` from a part of its sentences.

    How many sentences the partner sees is drawn between 20 % and 80 % (qi2024mutual, section 3.3), at least one and
    never the last. Answers are voted for by the solutions that state them, weighed by agreement; where the partner
    agrees with none, by plain plurality. `propose` draws `budget.samples` samples, or takes the solutions that a
    tree search meets (`met_by`).
    """

    task: Task
    partner: LanguageModel
    style: str = "cot"
    masks: int = 1
    temperature: float = 1.0
    seed: int = 0
    propose: Propose | None = None
    name: str = "mutual consistency"

    def __post_init__(self) -> None:
        if self.masks < 1:
            raise ValueError(f"Every solution is completed {self.masks} times; use at least 1 mask.")

    def solve(self, problems: Sequence[Problem], model: LanguageModel, budget: Budget) -> list[Attempt]:
        texts, costs = (self.propose or self.sample)(model, problems, budget)
        asked = [
            (i, text, beginning)
            for i, solutions in enumerate(texts)
            for text in dict.fromkeys(solutions)
            if self.task.final(text, problems[i]) is not None
            for beginning in self.masked(problems[i], text, chat_of(model).step_mark)
        ]
        # The beginnings differ in length; equal ones are completed, and paid for, once.
        places = list(dict.fromkeys((i, beginning) for i, _, beginning in asked))
        chat = chat_of(self.partner)
        prompts = [chat.begun(self.partner.render(self.task.prompt(problems[i], self.style)), b) for i, b in places]
        groups = self.partner.sample(prompts, 1, budget.max_new_tokens, temperature=0)
        reached: dict[tuple[int, str], str | None] = {}
        for (i, beginning), group in zip(places, groups, strict=True):
            reached[i, beginning] = self.task.final(beginning + newly(self.partner, beginning, group[0]), problems[i])
            costs[i] += group_cost(group)
        agreed: Counter[tuple[int, str]] = Counter()
        for i, text, beginning in asked:
            agreed[i, text] += reached[i, beginning] == self.task.final(text, problems[i])
        return [self._vote(i, p, texts[i], agreed, costs[i]) for i, p in enumerate(problems)]

    def sample(
        self, model: LanguageModel, problems: Sequence[Problem], budget: Budget
    ) -> tuple[list[list[str]], list[Cost]]:
        """Plain samples as proposals."""
        prompts = [self.task.prompt(p, self.style) for p in problems]
        groups = model.sample(prompts, budget.samples, budget.max_new_tokens, self.temperature, seed=self.seed)
        costs = [group_cost(group) for group in groups]
        return [[c.text for c in group] for group in groups], costs

    def masked(self, problem: Problem, text: str, mark: str = ".") -> list[str]:
        """The beginnings of a solution that the partner is shown; none of a solution of one step, which ends in `mark`.

        The draw depends on the problem, the text and the seed alone.
        """
        sentences = pieces(text.rstrip(), mark)
        rng = Random(f"{self.seed}/{problem.id}/{text}")
        if len(sentences) < 2:
            return []
        shares = [rng.uniform(0.2, 0.8) for _ in range(self.masks)]
        return ["".join(sentences[: min(max(1, round(s * len(sentences))), len(sentences) - 1)]) for s in shares]

    def _vote(
        self, i: int, problem: Problem, texts: list[str], agreed: Counter[tuple[int, str]], cost: Cost
    ) -> Attempt:
        candidates = [
            Candidate(text, answer, proposed, agreed[i, text] / self.masks)
            for text, proposed in Counter(texts).items()
            if (answer := self.task.final(text, problem)) is not None
        ]
        answers = [c.answer for c in candidates]
        weights = [c.proposed * c.agreement for c in candidates]
        if any(weights):
            chosen = weighted(answers, weights)
        else:
            chosen = plurality([self.task.final(text, problem) for text in texts])
        unread = sum(self.task.final(text, problem) is None for text in texts)
        return attempt(self.task, problem, chosen, candidates, cost, unread)


def met_by(search: MonteCarloTreeSearch) -> Propose:
    """Proposals that a tree search meets on its way, as in rStar itself; the search's cost is counted."""

    def propose(
        model: LanguageModel, problems: Sequence[Problem], budget: Budget
    ) -> tuple[list[list[str]], list[Cost]]:
        attempts = search.solve(problems, model, budget)
        return [list(a.trace.solutions) for a in attempts], [a.cost for a in attempts]  # type: ignore[attr-defined]

    return propose


keeps_prefixes(MutualConsistency)


@solver(
    "mutual-consistency",
    "N samples vote with a second model's agreement (qi2024mutual)",
    notebook="24",
    skills=(SOLVE,),
    missing=needs_partner,
)
def _mutual_consistency(setting: Setting, size: int) -> Solver:
    partner, heat, seed = setting.required_partner, setting.heat, setting.seed
    return MutualConsistency(setting.task, partner, setting.style, temperature=heat, seed=seed)
