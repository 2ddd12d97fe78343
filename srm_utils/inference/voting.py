"""Voting: many samples of one prompt, and how one answer is chosen among them.

Self-consistency takes the answer that most samples reach (wang2022selfconsistency), weighted votes let sure
samples count more (taubenfeld2025confidence), best-of-N keeps the likeliest sample, and adaptive consistency
stops drawing once the leader is unlikely to be overtaken (aggarwal2023lets).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from scipy import special

from srm_utils.inference.entry import Setting, needs_style, solver
from srm_utils.inference.solver import Attempt, Budget, Solver, attempt, keeps_prefixes
from srm_utils.sampling.completion import Completion, Cost, group_cost
from srm_utils.tasks.dialects import SOLVE
from srm_utils.tasks.problem import Problem, Prompt, Task

if TYPE_CHECKING:
    from srm_utils.models import LanguageModel

#: The answers of one problem's samples in the order drawn; None where nothing could be parsed.
Answers = Sequence[str | None]
#: Chooses one answer from the samples of one problem: any plain function of this form can replace the default.
Vote = Callable[[Answers, Sequence[Completion]], str | None]

# ---------------------------------------------------------------- votes


def plurality(answers: Answers, completions: Sequence[Completion] = ()) -> str | None:
    """The answer given most often (wang2022selfconsistency); of equals, the one that got there first.

    None casts no vote; without any vote the answer is None.

    >>> plurality(["5", "4", "4", "5", None])
    '4'
    """
    return weighted(answers, [1.0] * len(answers))


def likelihood_weighted(answers: Answers, completions: Sequence[Completion]) -> str | None:
    """A vote in which a sample weighs its probability per token, exp(mean log-probability).

    The "weighted sum (normalized)" of wang2022selfconsistency, section 3.
    """
    return weighted(answers, [math.exp(likelihood(c)) for c in completions])


def confidence_weighted(answers: Answers, completions: Sequence[Completion], temperature: float = 1.0) -> str | None:
    """A vote in which samples weigh the softmax of their mean log-probability over the group.

    Confidence-informed self-consistency (taubenfeld2025confidence), whose confidence here is the model's own
    likelihood. At `temperature` 1 this is `likelihood_weighted`; a low one trusts the likeliest sample alone,
    a high one counts heads.
    """
    if temperature <= 0:
        raise ValueError(f"The temperature of a weighted vote is {temperature}; use a number above 0.")
    return weighted(answers, special.softmax([likelihood(c) / temperature for c in completions]).tolist())


def most_likely(answers: Answers, completions: Sequence[Completion], normalise: bool = True) -> str | None:
    """Best of N by likelihood: the answer of the likeliest sample that states one.

    `normalise` compares log-probability per token; without it every token more counts against a sample.
    """
    stated = [i for i, answer in enumerate(answers) if answer is not None]
    if not stated:
        return None
    return answers[max(stated, key=lambda i: worth(likelihood(completions[i], normalise)))]


def likelihood(completion: Completion, normalise: bool = True) -> float:
    """Log-probability of a completion at temperature 1, per token where `normalise`."""
    return completion.logprob / (max(len(completion.logprobs), 1) if normalise else 1)


def worth(value: float) -> float:
    """A worth to compare by: one that is no number is the least."""
    return value if value == value else -math.inf


def weighted(answers: Answers, weights: Sequence[float]) -> str | None:
    """The answer whose samples weigh most together; of equals, the one that got there first.

    Answers are counted as they are given, so they should come in canonical form, as `Task.final` gives them. A weight
    that is no number (NaN) weighs nothing.

    >>> weighted(["4", "5", "5"], [3.0, 1.0, 1.0])
    '4'
    """
    sums: dict[str, float] = {}
    leader: str | None = None
    for answer, weight in zip(answers, weights, strict=True):
        if answer is None:
            continue
        sums[answer] = sums.get(answer, 0.0) + (weight if weight == weight else 0.0)
        # Whoever last passed all others leads at the end, where no weight is negative. Rounding passes nobody.
        if leader is None or sums[answer] > sums[leader] * (1 + 1e-12):
            leader = answer
    return leader


# ---------------------------------------------------------------- self-consistency


@dataclass(frozen=True)
class SelfConsistency:
    """Draws `budget.samples` samples of each problem and lets them vote (wang2022selfconsistency).

    `vote` is a function `(answers, completions) -> answer`. The attempt's trace is the list of completions, so
    that another vote can be held on the same samples.
    """

    task: Task
    style: str = "cot"
    vote: Vote = plurality
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int = 0
    name: str = "self-consistency"

    def solve(self, problems: Sequence[Problem], model: LanguageModel, budget: Budget) -> list[Attempt]:
        prompts = [self.task.prompt(p, self.style) for p in problems]
        groups = model.sample(
            prompts, budget.samples, budget.max_new_tokens, self.temperature, self.top_p, seed=self.seed
        )
        attempts = []
        for problem, group in zip(problems, groups, strict=True):
            answers = [self.task.final(c.text, problem) for c in group]
            cost, unread = group_cost(group), answers.count(None)
            attempts.append(attempt(self.task, problem, self.vote(answers, group), group, cost, unread))
        return attempts


# ---------------------------------------------------------------- adaptive consistency


def leader_stays(answers: Answers) -> float:
    """Posterior probability that the leading answer is likelier than the runner-up, given the votes so far.

    With v1 and v2 votes and a flat prior, P(p1 > p2) = P(Beta(v1 + 1, v2 + 1) > 1/2): the Beta criterion of
    aggarwal2023lets. None casts no vote.

    >>> [leader_stays(["7"] * v) for v in range(4)]
    [0.5, 0.75, 0.875, 0.9375]
    """
    counts = sorted(Counter(a for a in answers if a is not None).values(), reverse=True)
    first, second = [*counts, 0, 0][:2]
    return float(special.betainc(second + 1, first + 1, 0.5))


@dataclass(frozen=True)
class AdaptiveConsistency:
    """Draws `batch` samples a turn until the leader stays with probability above `threshold` (aggarwal2023lets).

    All problems advance together and the decided ones leave; `budget.samples` is the most that one problem may
    take. Every turn reads the prompt again, and its cost says so: a larger batch reads it less often and
    overshoots more. `posterior` is a function of the answers so far; a threshold of 1 never stops.
    """

    task: Task
    style: str = "cot"
    threshold: float = 0.95
    batch: int = 4
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int = 0
    posterior: Callable[[Answers], float] = leader_stays
    name: str = "adaptive consistency"

    def __post_init__(self) -> None:
        if not 0.5 <= self.threshold <= 1:
            raise ValueError(f"The threshold is {self.threshold}; use a probability from 0.5 to 1.")
        if self.batch < 1:
            raise ValueError(f"The batch is {self.batch}; draw at least 1 sample a turn.")

    def solve(self, problems: Sequence[Problem], model: LanguageModel, budget: Budget) -> list[Attempt]:
        prompts = [self.task.prompt(p, self.style) for p in problems]
        drawn: list[list[Completion]] = [[] for _ in problems]
        answers: list[list[str | None]] = [[] for _ in problems]
        costs = [Cost() for _ in problems]
        undecided = list(range(len(problems)))
        for turn, taken in enumerate(range(0, budget.samples, self.batch)):
            groups = model.sample(
                [prompts[i] for i in undecided],
                min(self.batch, budget.samples - taken),
                budget.max_new_tokens,
                self.temperature,
                self.top_p,
                seed=self.seed + (turn << 32),  # one seed would draw the first turn's samples again
            )
            for i, group in zip(undecided, groups, strict=True):
                drawn[i] += group
                answers[i] += [self.task.final(c.text, problems[i]) for c in group]
                costs[i] += group_cost(group)
            undecided = [i for i in undecided if self.posterior(answers[i]) <= self.threshold]
            if not undecided:
                break
        return [
            attempt(self.task, problem, plurality(answers[i]), drawn[i], costs[i], answers[i].count(None))
            for i, problem in enumerate(problems)
        ]


# ---------------------------------------------------------------- many runs from one


class Replay:
    """Samples already drawn, dealt out again in a seeded order: it takes the model's place in any solver.

    One order is one run the solver could have had; the mean over orders is its expected result, free of the luck
    of one run, at the costs that were measured. Prompts and groups stand in the same order; how a sample
    is drawn was settled when it was, so only `n` counts here. Raises ValueError when a prompt is unknown or its
    samples are used up.
    """

    def __init__(self, prompts: Sequence[Prompt], groups: Sequence[Sequence[Completion]], seed: int = 0) -> None:
        rng = Random(seed)
        self._left = {p: rng.sample(list(group), len(group)) for p, group in zip(prompts, groups, strict=True)}

    def sample(
        self,
        prompts: Sequence[Prompt],
        n: int = 1,
        max_new_tokens: int = 256,
        temperature: float = 1.0,
        top_p: float = 1.0,
        seed: int = 0,
    ) -> list[list[Completion]]:
        """The next `n` samples of each prompt."""
        for prompt in prompts:
            left = len(self._left.get(prompt, ()))
            if left < n:
                raise ValueError(f"{n} samples of a prompt are asked for and {left} are left; draw a larger run.")
        return [[self._left[prompt].pop() for _ in range(n)] for prompt in prompts]


keeps_prefixes(AdaptiveConsistency)


@solver(
    "self-consistency",
    "the most frequent answer of N samples (wang2022selfconsistency)",
    notebook="22",
    skills=(SOLVE,),
)
def _self_consistency(setting: Setting, size: int) -> Solver:
    return SelfConsistency(setting.task, setting.style, temperature=setting.heat, seed=setting.seed)


@solver(
    "weighted-vote",
    "N samples vote with their likelihood (taubenfeld2025confidence)",
    notebook="22",
    skills=(SOLVE,),
)
def _weighted_vote(setting: Setting, size: int) -> Solver:
    heat, seed = setting.heat, setting.seed
    return SelfConsistency(setting.task, setting.style, confidence_weighted, temperature=heat, seed=seed)


@solver("likeliest", "the likeliest of N samples (wang2022selfconsistency)", notebook="22", skills=(SOLVE,))
def _likeliest(setting: Setting, size: int) -> Solver:
    return SelfConsistency(setting.task, setting.style, most_likely, temperature=setting.heat, seed=setting.seed)


@solver(
    "adaptive-consistency",
    "samples until the leader stays, N at most (aggarwal2023lets)",
    notebook="22",
    skills=(SOLVE,),
)
def _adaptive_consistency(setting: Setting, size: int) -> Solver:
    return AdaptiveConsistency(setting.task, setting.style, temperature=setting.heat, seed=setting.seed)


@solver(
    "written-search",
    "the vote of N searches that the model writes out (gandhi2024stream)",
    notebook="23",
    skills=(SOLVE,),
    budget=lambda setting, size: Budget(size, 3 * setting.max_new_tokens),
    missing=needs_style("search"),
)
def _written_search(setting: Setting, size: int) -> Solver:
    return SelfConsistency(setting.task, "search", temperature=setting.heat_of(size), seed=setting.seed)
