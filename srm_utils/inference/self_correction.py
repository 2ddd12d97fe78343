"""Self-correction: write a solution, find what is wrong with it, write it again.

Two solvers. `SelfCorrection` shows the last version and what was found wrong, and asks for a new one; `Reflexion`
starts every trial afresh and shows only the notes on earlier trials (shinn2023reflexion). Both take their eyes as an
argument, and that is what parts the methods:

- intrinsic self-correction (huang2023cannot): `ModelCritic()`, one round, `stop=False`: no feedback from outside;
- Self-Refine (madaan2023selfrefine): `ModelCritic()`, several rounds, until the model finds nothing wrong;
- a critic model: `ModelCritic(model=another)`;
- verifier-guided revision (zhang2024smallverif, stechly2024self): `Verified(verifier, ModelCritic())`, where the
  verifier is the model itself (`ModelVerifier`) or an exact check from outside (`ExactVerifier`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from srm_utils.inference.chain_of_thought import one_cost
from srm_utils.inference.solver import Attempt, Budget, attempt
from srm_utils.inference.verifiers import verdicts
from srm_utils.sampling.completion import Cost, group_cost
from srm_utils.tasks.problem import Problem, Prompt, Task
from srm_utils.tasks.prompts import (
    critique_prompt,
    judge_solution_prompt,
    remember_prompt,
    revise_prompt,
    verify_prompt,
)
from srm_utils.tasks.steps import steps_in

if TYPE_CHECKING:
    from srm_utils.models import LanguageModel

#: What a critic says of a solution that it leaves as it is.
NOTHING_WRONG = "Nothing is wrong."
#: The same in other models' words.
_NOTHING = re.compile(r"\bnothing (?:is |seems )?wrong\b|\bno (?:errors?|mistakes?)\b", re.IGNORECASE)

# ---------------------------------------------------------------- what is wrong with it?


@dataclass(frozen=True, slots=True)
class Review:
    """What was found of one solution: whether it may stay, what its author is told, and what finding it took."""

    content: bool
    text: str
    cost: Cost = Cost()


#: Reviews one solution text a problem, in a batch; the model is the one that wrote them. Any plain function of this
#: form takes ours' place.
Critic = Callable[[Sequence[Problem], Sequence[str], "LanguageModel"], list[Review]]


@dataclass(frozen=True)
class ModelCritic:
    """Asks for the first wrong step, the author itself or another `model`, and believes what it says."""

    model: LanguageModel | None = None
    max_new_tokens: int = 48

    def __call__(self, problems: Sequence[Problem], texts: Sequence[str], model: LanguageModel) -> list[Review]:
        critic = self.model or model
        prompts = [critique_prompt(p, steps_in(text, p)) for p, text in zip(problems, texts, strict=True)]
        said = [group[0] for group in critic.sample(prompts, 1, self.max_new_tokens, temperature=0)]
        return [Review(_NOTHING.search(c.text) is not None, c.text.strip(), one_cost(c, critic)) for c in said]


@dataclass(frozen=True)
class CheckingCritic:
    """Has every step worked out beside the one shown, and names the first that differs (zhang2025generative).

    A small model that is asked at once what is wrong guesses; with the check written down it only has to read.
    """

    model: LanguageModel | None = None
    max_new_tokens: int = 200

    def __call__(self, problems: Sequence[Problem], texts: Sequence[str], model: LanguageModel) -> list[Review]:
        critic = self.model or model
        shown = [steps_in(text, p) for p, text in zip(problems, texts, strict=True)]
        prompts = [verify_prompt(p, steps) for p, steps in zip(problems, shown, strict=True)]
        said = [group[0] for group in critic.sample(prompts, 1, self.max_new_tokens, temperature=0)]
        reviews = []
        for steps, c in zip(shown, said, strict=True):
            judged, whole = verdicts(c.text)
            # A check that breaks off has found nothing, and vouches for nothing it did not reach.
            at = next((i for i, right in enumerate(judged[: len(steps)]) if not right), None)
            text = NOTHING_WRONG if at is None else f"Step {at + 1} is wrong: {steps[at]}."
            reviews.append(Review(at is None and whole is not False, text, one_cost(c, critic)))
        return reviews


def says_yes(text: str) -> bool:
    """Whether a verdict is yes: its first word where that is yes or no, else the last of these words in it.

    >>> says_yes("Yes, it is."), says_yes("8 + 5 = 13, right. Yes."), says_yes("8 + 5 = 13 told 14 wrong. No.")
    (True, True, False)
    """
    words = re.findall(r"[a-z]+", text.lower())
    said = [w for w in words if w in ("yes", "no")]
    return bool(said) and (said[0] if words[0] == said[0] else said[-1]) == "yes"


@dataclass(frozen=True)
class ModelVerifier:
    """Asks for a verdict on the whole solution, the author itself or another `model`; content at a share of "Yes".

    `ask` is `judge_solution_prompt`, or `verify_prompt` for a verdict after working out every step
    (zhang2025generative). One sample is greedy; more are drawn at temperature 1 and counted.
    """

    task: Task
    model: LanguageModel | None = None
    ask: Callable[[Problem, Sequence[str]], Prompt] = judge_solution_prompt
    samples: int = 1
    threshold: float = 0.5
    max_new_tokens: int = 160
    seed: int = 0

    def __call__(self, problems: Sequence[Problem], texts: Sequence[str], model: LanguageModel) -> list[Review]:
        judge = self.model or model
        prompts = [self.ask(p, steps_in(text, p)) for p, text in zip(problems, texts, strict=True)]
        heat = 0.0 if self.samples == 1 else 1.0
        groups = judge.sample(prompts, self.samples, self.max_new_tokens, temperature=heat, seed=self.seed)
        reviews = []
        for group, text in zip(groups, texts, strict=True):
            share = sum(says_yes(c.text) for c in group) / len(group)
            reviews.append(_verdict(self.task, text, share >= self.threshold, group_cost(group, judge.flops_per_token)))
        return reviews


@dataclass(frozen=True)
class ExactVerifier:
    """A check from outside that costs no tokens: `check(answer, problem)`, by default the gold answer (an oracle).

    No answer is never right.
    """

    task: Task
    check: Callable[[str, Problem], bool] | None = None

    def __call__(self, problems: Sequence[Problem], texts: Sequence[str], model: LanguageModel) -> list[Review]:
        check, answers = self.check or self.task.matches, [self.task.extract(text) for text in texts]
        return [
            _verdict(self.task, text, answer is not None and check(answer, problem), Cost())
            for problem, text, answer in zip(problems, texts, answers, strict=True)
        ]


def _verdict(task: Task, text: str, right: bool, cost: Cost) -> Review:
    answer = task.extract(text)
    said = "There is no answer." if answer is None else f"The answer {answer} is wrong."
    return Review(right, NOTHING_WRONG if right else said, cost)


@dataclass(frozen=True)
class Verified:
    """A verifier decides what stays, a critic says of the rest what is wrong (zhang2024smallverif).

    Where the critic finds nothing, the verifier's own words stand.
    """

    verifier: Critic
    critic: Critic

    def __call__(self, problems: Sequence[Problem], texts: Sequence[str], model: LanguageModel) -> list[Review]:
        reviews = self.verifier(problems, texts, model)
        wrong = [i for i, review in enumerate(reviews) if not review.content]
        found = self.critic([problems[i] for i in wrong], [texts[i] for i in wrong], model) if wrong else []
        for i, review in zip(wrong, found, strict=True):
            text = reviews[i].text if review.content else review.text
            reviews[i] = Review(False, text, reviews[i].cost + review.cost)
        return reviews


# ---------------------------------------------------------------- write it again


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a solution, what writing it took, and the review it got; None when it was not reviewed."""

    text: str
    cost: Cost = Cost()
    review: Review | None = None


@dataclass(frozen=True)
class SelfCorrection:
    """Writes, has it reviewed, and writes again in the light of the review, up to `rounds` times.

    With `stop` a version that the critic is content with is final; without, every round rewrites every problem. Only
    the last version and its review are shown, not the whole history of madaan2023selfrefine's equation 4. With 0
    rounds it is one sample. All problems advance together; `budget.max_new_tokens` limits each version. The
    attempt's trace is its list of `Version`s.
    """

    task: Task
    critic: Critic = ModelCritic()
    rounds: int = 1
    stop: bool = True
    style: str = "cot"
    temperature: float = 0.0
    seed: int = 0
    name: str = "self-correction"

    def solve(self, problems: Sequence[Problem], model: LanguageModel, budget: Budget) -> list[Attempt]:
        def prompt(problem: Problem, versions: Sequence[Version]) -> Prompt:
            if not versions:
                return self.task.prompt(problem, self.style)
            last = versions[-1]
            return revise_prompt(problem, steps_in(last.text, problem), last.review.text)

        return _versions(self, self.rounds, prompt, self.stop, problems, model, budget)


@dataclass(frozen=True)
class Reflexion:
    """Tries again from the start with notes on what was wrong before, up to `trials` times (shinn2023reflexion).

    The critic's reviews are the notes, of which the last `memory` are shown. The paper's evaluator is part of the
    critic: `Verified(evaluator, ModelCritic())`. With no memory it is sampling again until the critic is content.
    """

    task: Task
    critic: Critic
    trials: int = 4
    memory: int = 3
    temperature: float = 0.0
    seed: int = 0
    name: str = "Reflexion"

    def __post_init__(self) -> None:
        if self.trials < 1 or self.memory < 0:
            raise ValueError(f"Reflexion has {self.trials} trials and a memory of {self.memory}; use 1 and 0 or more.")

    def solve(self, problems: Sequence[Problem], model: LanguageModel, budget: Budget) -> list[Attempt]:
        def prompt(problem: Problem, versions: Sequence[Version]) -> Prompt:
            notes = [v.review.text for v in versions]
            return remember_prompt(problem, notes[len(notes) - min(self.memory, len(notes)) :])

        return _versions(self, self.trials - 1, prompt, True, problems, model, budget)


def _versions(
    solver: SelfCorrection | Reflexion,
    rounds: int,
    prompt: Callable[[Problem, Sequence[Version]], Prompt],
    stop: bool,
    problems: Sequence[Problem],
    model: LanguageModel,
    budget: Budget,
) -> list[Attempt]:
    """A first version and up to `rounds` more of each problem still open; the last one is not reviewed."""
    versions: list[list[Version]] = [[] for _ in problems]
    open_ = list(range(len(problems)))
    for turn in range(rounds + 1):
        prompts = [prompt(problems[i], versions[i]) for i in open_]
        # One seed would give an unchanged prompt the same sample again.
        seed = solver.seed + (turn << 32)
        drawn = model.sample(prompts, 1, budget.max_new_tokens, temperature=solver.temperature, seed=seed)
        for i, (completion,) in zip(open_, drawn, strict=True):
            versions[i].append(Version(completion.text, one_cost(completion, model)))
        if turn == rounds:
            break
        reviews = solver.critic([problems[i] for i in open_], [versions[i][-1].text for i in open_], model)
        for i, review in zip(open_, reviews, strict=True):
            versions[i][-1] = replace(versions[i][-1], review=review)
        open_ = [i for i, review in zip(open_, reviews, strict=True) if not (stop and review.content)]
        if not open_:
            break
    return [_attempt(solver.task, p, v) for p, v in zip(problems, versions, strict=True)]


def _attempt(task: Task, problem: Problem, versions: list[Version]) -> Attempt:
    spent = Cost.total([v.cost for v in versions] + [v.review.cost for v in versions if v.review])
    return attempt(task, problem, task.extract(versions[-1].text), versions, spent)


def stopped_after(task: Task, problems: Sequence[Problem], attempts: Sequence[Attempt], versions: int) -> list[Attempt]:
    """The attempts that the same run would have made with at most so many versions of each problem, at their costs.

    One long run so gives the whole curve. Raises ValueError for no versions.
    """
    if versions < 1:
        raise ValueError(f"A run of {versions} versions has no answer; keep at least 1.")
    cut = [list(a.trace[:versions]) for a in attempts]  # type: ignore[index]
    for kept in cut:
        if len(kept) == versions:
            kept[-1] = replace(kept[-1], review=None)  # the last one of a run is not reviewed
    return [_attempt(task, p, kept) for p, kept in zip(problems, cut, strict=True)]


# ---------------------------------------------------------------- what it mended and what it broke


def transitions(task: Task, problems: Sequence[Problem], attempts: Sequence[Attempt]) -> Counter[tuple[str, str]]:
    """How many problems went from "right" or "wrong" in the first version to which of them in the last.

    >>> from srm_utils.tasks import get_task
    >>> task = get_task("chain"); problem = task.problems(1)[0]
    >>> mended = [Version("The answer is -1."), Version(task.solution(problem, "cot"))]
    >>> transitions(task, [problem], [attempt(task, problem, problem.answer, mended, Cost())])
    Counter({('wrong', 'right'): 1})
    """

    def right(version: Version, problem: Problem) -> str:
        return "right" if task.grade(version.text, problem) == "correct" else "wrong"

    return Counter(
        (right(a.trace[0], p), right(a.trace[-1], p))  # type: ignore[index]
        for p, a in zip(problems, attempts, strict=True)
    )
