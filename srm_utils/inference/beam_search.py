"""Search under a step scorer: beams of steps, and several small trees that keep apart.

Step-level beam search (snell2024scaling, section 5.2; with the model's likelihood mixed in, xie2023selfeval) and
diverse verifier tree search (beeching2024scaling). The scorer is a function: a process reward model, the model's own
judgement of a step, or a rule. All problems' beams advance together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from srm_utils.inference.entry import Setting, solver
from srm_utils.inference.solver import Attempt, Budget, Solver, keeps_prefixes
from srm_utils.inference.thoughts import Aggregate, Branch, Score, Search, Steps, expand, last, rate
from srm_utils.inference.tree_of_thoughts import steps_of_setting, value_of_setting
from srm_utils.inference.voting import Answers, worth
from srm_utils.sampling.completion import Completion, group_cost
from srm_utils.tasks.dialects import JUDGE_STEP, SOLVE, STATE_VALUE
from srm_utils.tasks.problem import Problem
from srm_utils.tasks.steps import pieces

if TYPE_CHECKING:
    from srm_utils.models import LanguageModel

#: Chooses among the answers of the final beams by their scores: `best_scored`, or `voting.weighted`.
Choose = Callable[[Answers, Sequence[float]], str | None]


def best_scored(answers: Answers, scores: Sequence[float]) -> str | None:
    """The answer with the highest score; of equals, the first. A score that is no number (NaN) never wins.

    >>> best_scored(["4", None, "5"], [0.2, 0.9, 0.3])
    '5'
    """
    stated = [i for i, answer in enumerate(answers) if answer is not None]
    return answers[max(stated, key=lambda i: worth(scores[i]))] if stated else None


@dataclass(frozen=True)
class BeamSearch:
    """Draws N first steps, keeps the best N / `width`, and draws `width` next steps of each, until all have ended.

    N is `budget.samples` (the N and M of snell2024scaling, section 5.2). `aggregate` says what the scores of the steps
    of one beam come to; `choose` picks among the answers of the final beams.
    """

    steps: Steps
    score: Score
    width: int = 4
    aggregate: Aggregate = last
    choose: Choose = best_scored
    name: str = "beam search"

    def __post_init__(self) -> None:
        _check_width(self.width)

    def solve(self, problems: Sequence[Problem], model: LanguageModel, budget: Budget) -> list[Attempt]:
        searches = [Search(p) for p in problems]
        beams = max(1, budget.samples // self.width)
        kept = self.descend(model, searches, budget.samples, beams, budget.max_new_tokens)
        return [self.settle(search, ends) for search, ends in zip(searches, kept, strict=True)]

    def descend(
        self, model: LanguageModel, searches: Sequence[Search], first: int, beams: int, max_new_tokens: int
    ) -> list[list[Branch]]:
        """The ends of the `beams` beams of every search that is left after `first` first steps of each."""
        kept, n = [[s.root] for s in searches], first
        while not all(b.ended for group in kept for b in group):
            drawn = expand(model, self.steps, searches, kept, n, max_new_tokens)
            rate(model, self.score, searches, drawn, self.aggregate)
            kept = [
                search.best([b for b in old if b.ended] + new, beams)
                for search, old, new in zip(searches, kept, drawn, strict=True)
            ]
            n = min(self.width, first)
        return kept

    def settle(self, search: Search, ends: Sequence[Branch]) -> Attempt:
        """The attempt with the answer that `choose` takes of these ends; its tree marks the best way to it."""
        ends, task = search.best(ends), self.steps.task
        answers = [task.final(b.text, search.problem) for b in ends]
        answer = self.choose(answers, [search.scores[b] for b in ends])
        return search.attempt(task, ends[answers.index(answer)] if answer is not None else None)


@dataclass(frozen=True)
class DiverseVerifierTreeSearch:
    """N / `width` separate trees, each of which keeps its single best step of `width` (beeching2024scaling).

    Beams crowd into one subtree when the scorer prefers its first step; separate trees cannot. N is
    `budget.samples`.
    """

    steps: Steps
    score: Score
    width: int = 4
    aggregate: Aggregate = last
    choose: Choose = best_scored
    name: str = "diverse verifier tree search"

    def __post_init__(self) -> None:
        _check_width(self.width)

    def solve(self, problems: Sequence[Problem], model: LanguageModel, budget: Budget) -> list[Attempt]:
        trees = max(1, budget.samples // self.width)
        wholes = [Search(p) for p in problems]
        parts = [Search(whole.problem, whole.root) for whole in wholes for _ in range(trees)]
        greedy = BeamSearch(self.steps, self.score, self.width, self.aggregate, self.choose)
        kept = greedy.descend(model, parts, min(self.width, budget.samples), 1, budget.max_new_tokens)
        attempts = []
        for i, whole in enumerate(wholes):
            mine = range(i * trees, (i + 1) * trees)
            for part in (parts[j] for j in mine):
                whole.scores |= part.scores
                whole.cost += part.cost
            attempts.append(greedy.settle(whole, [b for j in mine for b in kept[j]]))
        return attempts


@dataclass(frozen=True)
class RankedSamples:
    """Best of N under the same scorer: N whole solutions, every step of which is scored, and `choose` among them.

    The baseline that a search under a scorer has to beat: what the scorer can pick without steering (lightman2024lets).
    """

    steps: Steps
    score: Score
    aggregate: Aggregate = last
    choose: Choose = best_scored
    name: str = "best of N, same scorer"

    def solve(self, problems: Sequence[Problem], model: LanguageModel, budget: Budget) -> list[Attempt]:
        searches = [Search(p) for p in problems]
        prompts = [self.steps.prompt(p) for p in problems]
        groups = model.sample(
            prompts, budget.samples, budget.max_new_tokens, self.steps.temperature, seed=self.steps.seed
        )
        kept = []
        for search, group in zip(searches, groups, strict=True):
            search.cost += group_cost(group)
            known: dict[str, Branch] = {}
            kept.append([_in_steps(search.root, c, self.steps.mark(model), known) for c in group])
        # Where the last step's score stands for all, the others are not asked for.
        prefixes = kept if self.aggregate is last else [[b for end in ends for b in end.path] for ends in kept]
        rate(model, self.score, searches, prefixes, self.aggregate)
        settle = BeamSearch(self.steps, self.score, choose=self.choose).settle
        return [settle(search, ends) for search, ends in zip(searches, kept, strict=True)]


def _in_steps(root: Branch, completion: Completion, mark: str, known: dict[str, Branch]) -> Branch:
    """A whole solution as a branch with its steps; its log-probability and tokens stand at the last one.

    `known` holds the branches of the problem by their text, so that solutions share their common beginning.
    """
    *inner, rest = pieces(completion.text, mark)
    branch = root
    for step in inner:
        branch = known.setdefault(branch.text + step, Branch(step, branch))
    whole = Branch(rest, branch, completion.logprob, len(completion.token_ids), ended=True)
    return known.setdefault(whole.text, whole)


def _check_width(width: int) -> None:
    if width < 1:
        raise ValueError(f"The width is {width}; draw at least 1 next step of a beam.")


# ---------------------------------------------------------------- a score with the likelihood mixed in


keeps_prefixes(BeamSearch, DiverseVerifierTreeSearch, RankedSamples)


def _two_each(setting: Setting, size: int) -> Budget:
    return Budget(2 * size, setting.max_new_tokens)


@solver(
    "beam-search",
    "N beams of two next steps each under the model's judgement (snell2024scaling)",
    notebook="23",
    skills=(SOLVE, JUDGE_STEP, STATE_VALUE),
    most=32,
    budget=_two_each,
)
def _beam_search(setting: Setting, size: int) -> Solver:
    score, aggregate = value_of_setting(setting)
    return BeamSearch(steps_of_setting(setting), score, 2, aggregate)


@solver(
    "diverse-trees",
    "N separate trees that keep the better of two steps (beeching2024scaling)",
    notebook="23",
    skills=(SOLVE, JUDGE_STEP, STATE_VALUE),
    most=32,
    budget=_two_each,
)
def _diverse_trees(setting: Setting, size: int) -> Solver:
    score, aggregate = value_of_setting(setting)
    return DiverseVerifierTreeSearch(steps_of_setting(setting), score, 2, aggregate)
