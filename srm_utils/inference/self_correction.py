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

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from srm_utils.inference.asking import ask, chat_of, steps_by
from srm_utils.inference.entry import Setting, solver
from srm_utils.inference.solver import Attempt, Budget, Solver, attempt, keeps_prefixes
from srm_utils.inference.state_scores import says
from srm_utils.sampling.completion import Cost, group_cost
from srm_utils.tasks.dialects import CRITICISE, JUDGE_SOLUTION, REMEMBER, REVISE, SOLVE, VERIFY, in_dialect
from srm_utils.tasks.problem import Problem, Prompt, Task
from srm_utils.tasks.prompts import judge_solution_prompt
from srm_utils.tasks.replies import NOTHING_WRONG, Check, family_verdict, plain_check, verdict

if TYPE_CHECKING:
    from srm_utils.models import LanguageModel

#: What the author is told where a check could not be read: neither that it is right nor that it is wrong.
UNREAD = "Check every step again."

# ---------------------------------------------------------------- what is wrong with it?


@dataclass(frozen=True, slots=True)
class Review:
    """What was found of one solution: whether it may stay, what its author is told, and what finding it took.

    `unparsed` counts the replies that could not be read. A review that rests on none that could be read is not
    content, and names no error either: it tells the author to check, or what the critic said.
    """

    content: bool
    text: str
    cost: Cost = Cost()
    unparsed: int = 0


#: Reviews one solution text a problem, in a batch; the model is the one that wrote them. Any plain function of this
#: form can replace the default.
Critic = Callable[[Sequence[Problem], Sequence[str], "LanguageModel"], list[Review]]


@dataclass(frozen=True)
class ModelCritic:
    """Asks for the first wrong step, the author itself or another `model`, and believes what it says.

    The author is told what the critic said, in its own words. A reply that neither names an error nor says that nothing
    is wrong does not approve; it is passed on, and counted.
    """

    model: LanguageModel | None = None
    max_new_tokens: int = 48

    def __call__(self, problems: Sequence[Problem], texts: Sequence[str], model: LanguageModel) -> list[Review]:
        critic = self.model or model
        prompts = [ask(critic, CRITICISE, p, steps_by(critic, t, p)) for p, t in zip(problems, texts, strict=True)]
        reviews = []
        for (c,) in critic.sample(prompts, 1, self.max_new_tokens, temperature=0):
            content = CRITICISE.read(chat_of(critic).dialect, c.text).content
            reviews.append(Review(content is True, c.text.strip(), group_cost([c]), int(content is None)))
        return reviews


@dataclass(frozen=True)
class CheckingCritic:
    """Has every step worked out beside the one shown, and names the first that differs (zhang2025generative).

    A small model that is asked at once what is wrong guesses; with the check written down it only has to read. A check
    that cannot be read approves of nothing and names no step: the author is told to check again.
    """

    model: LanguageModel | None = None
    max_new_tokens: int = 200

    def __call__(self, problems: Sequence[Problem], texts: Sequence[str], model: LanguageModel) -> list[Review]:
        critic = self.model or model
        dialect = chat_of(critic).dialect
        shown = [steps_by(critic, text, p) for p, text in zip(problems, texts, strict=True)]
        prompts = [ask(critic, VERIFY, p, steps) for p, steps in zip(problems, shown, strict=True)]
        reviews = []
        for steps, (c,) in zip(shown, critic.sample(prompts, 1, self.max_new_tokens, temperature=0), strict=True):
            check: Check = VERIFY.read(dialect, c.text)
            at = next((i for i, right in enumerate(check.steps[: len(steps)]) if not right), None)
            # A check of the family's that breaks off has found nothing in what it reached, and lets it stand. In plain
            # English only the verdict on the whole approves.
            content = check.whole is True or (dialect == "family" and check.whole is None and check.read)
            if at is not None:
                text = f"Step {at + 1} is wrong: {steps[at]}."
            else:
                text = NOTHING_WRONG if check.read and (content or dialect == "family") else UNREAD
            reviews.append(Review(content and at is None, text, group_cost([c]), int(not check.read)))
        return reviews


@dataclass(frozen=True)
class ModelVerifier:
    """Asks for a verdict on the whole solution, the author itself or another `model`; content at a share of "Yes".

    `ask` is `judge_solution_prompt`, or `verify_prompt` for a verdict after working out every step
    (zhang2025generative), each in the model's dialect. One sample is greedy; more are drawn at temperature 1 and
    counted. An instruct model asked once to judge is not sampled: P(Yes) is weighed against P(No). A verdict that
    cannot be read is no Yes; where none can be read, the author is not told that the answer is wrong.
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
        dialect = chat_of(judge).dialect
        make = in_dialect(self.ask, dialect)
        prompts = [make(p, steps_by(judge, text, p)) for p, text in zip(problems, texts, strict=True)]
        if dialect == "instruct" and self.samples == 1 and make is JUDGE_SOLUTION.prompts["instruct"]:
            chances, costs = says(judge, problems, prompts)
            rows = zip(texts, chances, costs, strict=True)
            return [_verdict(self.task, text, chance >= self.threshold, cost) for text, chance, cost in rows]
        heat = 0.0 if self.samples == 1 else 1.0
        groups = judge.sample(prompts, self.samples, self.max_new_tokens, temperature=heat, seed=self.seed)
        reviews = []
        for group, text in zip(groups, texts, strict=True):
            said = [_whole(c.text, dialect) for c in group]
            share, unread = said.count(True) / len(group), said.count(None)
            cost = group_cost(group)
            review = _verdict(self.task, text, share >= self.threshold, cost)
            if unread == len(group) and not review.content and self.task.extract(text) is not None:
                review = replace(review, text=UNREAD)
            reviews.append(replace(review, unparsed=unread))
        return reviews


def _whole(text: str, dialect: str) -> bool | None:
    """The verdict on the whole solution in a reply, with or without a check of every step before it."""
    if dialect == "family":
        return family_verdict(text)
    check = plain_check(text)
    return check.whole if check.steps else verdict(text)


@dataclass(frozen=True)
class ExactVerifier:
    """A check from outside that costs no tokens: `check(answer, problem)`, by default the gold answer (an oracle).

    No answer is never right.
    """

    task: Task
    check: Callable[[str, Problem], bool] | None = None

    def __call__(self, problems: Sequence[Problem], texts: Sequence[str], model: LanguageModel) -> list[Review]:
        check = self.check or self.task.matches
        answers = [self.task.final(text, problem) for problem, text in zip(problems, texts, strict=True)]
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
            unread = reviews[i].unparsed + review.unparsed
            reviews[i] = Review(False, text, reviews[i].cost + review.cost, unread)
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

    With `stop` a version that the critic is content with is final; a review that could not be read is not content, and
    the problem is written again. Without `stop` every round rewrites every problem. Only
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
            if not versions or (review := versions[-1].review) is None:
                return self.task.prompt(problem, self.style)
            return ask(model, REVISE, problem, steps_by(model, versions[-1].text, problem), review.text)

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
            notes = [v.review.text for v in versions if v.review]
            return ask(model, REMEMBER, problem, notes[len(notes) - min(self.memory, len(notes)) :])

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
            versions[i].append(Version(completion.text, group_cost([completion])))
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
    answer = task.final(versions[-1].text, problem)
    unread = sum(v.review.unparsed for v in versions if v.review) + (answer is None)
    return attempt(task, problem, answer, versions, spent, unread)


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


keeps_prefixes(SelfCorrection, Reflexion)


@solver(
    "self-refine",
    "rewrites until its own check finds nothing wrong, N rounds at most (madaan2023selfrefine)",
    notebook="25",
    skills=(SOLVE, VERIFY, REVISE),
    most=16,
)
def _self_refine(setting: Setting, size: int) -> Solver:
    return SelfCorrection(setting.task, CheckingCritic(), rounds=size, style=setting.style)


@solver(
    "reflexion",
    "starts afresh with notes until its own check passes, N trials at most (shinn2023reflexion)",
    notebook="25",
    skills=(REMEMBER, VERIFY),
    least=2,
    most=16,
)
def _reflexion(setting: Setting, size: int) -> Solver:
    return Reflexion(setting.task, CheckingCritic(), trials=size, temperature=setting.heat, seed=setting.seed)
