"""Verifiers at work: solutions picked or weighed by a scorer, searches led by one, and a model that verifies in words.

A scorer says how good a solution looks after each step (`training.outcome_rewards.Scorer`): a reward model, a
process reward model, a rule, or the model's own written check (zhang2025generative).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from srm_utils.inference.asking import ask, chat_of, steps_by
from srm_utils.inference.beam_search import Choose, best_scored
from srm_utils.inference.entry import Setting, solver
from srm_utils.inference.solver import Attempt, Budget, Solver, attempt, keeps_prefixes
from srm_utils.inference.state_scores import says, unjudged
from srm_utils.inference.thoughts import Beginning, Score
from srm_utils.inference.voting import weighted
from srm_utils.sampling.completion import Cost, group_cost
from srm_utils.tasks.dialects import JUDGE_STEP, SOLVE, VERIFY
from srm_utils.tasks.problem import Problem, Prompt, Task
from srm_utils.tasks.replies import Check
from srm_utils.tasks.steps import step_ends as plain_step_ends
from srm_utils.training.outcome_rewards import Scorer, StepScores, score_samples, step_ends

if TYPE_CHECKING:
    from srm_utils.models import LanguageModel


@dataclass(frozen=True)
class VerifiedSamples:
    """Draws `budget.samples` solutions, scores each, and picks the best (cobbe2021training) or lets them vote.

    `aggregate` says what a solution's step scores come to (`AGGREGATES`). `choose=voting.weighted` is the
    verifier-weighted vote (li2022making), `best_scored` best-of-N. The trace is the list of (text, score). Scoring is
    paid for.
    """

    task: Task
    scorer: Scorer
    aggregate: str = "last"
    choose: Choose = best_scored
    style: str = "cot"
    temperature: float = 1.0
    seed: int = 0
    name: str = "best of N, verifier"

    def solve(self, problems: Sequence[Problem], model: LanguageModel, budget: Budget) -> list[Attempt]:
        prompts = [self.task.prompt(p, self.style) for p in problems]
        groups = model.sample(prompts, budget.samples, budget.max_new_tokens, self.temperature, seed=self.seed)
        scored = score_samples(self.scorer, problems, groups)
        attempts = []
        rows = zip(problems, groups, scored.values(self.aggregate).tolist(), scored.costs, scored.unparsed, strict=True)
        for problem, group, values, cost, unread in rows:
            answers = [self.task.final(c.text, problem) for c in group]
            trace = list(zip([c.text for c in group], values, strict=True))
            whole = group_cost(group) + cost
            unread += answers.count(None)
            attempts.append(attempt(self.task, problem, self.choose(answers, values), trace, whole, unread))
        return attempts


def as_score(scorer: Scorer) -> Score:
    """A scorer as what a search asks for: the score after the last step of each beginning (`beam_search.BeamSearch`).

    Each beginning is read from its start, and charged so.
    """

    def score(model: LanguageModel, beginnings: Sequence[Beginning]) -> tuple[list[float], list[Cost]]:
        found = scorer.score([p for p, _ in beginnings], [branch.text for _, branch in beginnings])
        return [s.scores[-1] for s in found], [s.cost for s in found]

    return score


# ---------------------------------------------------------------- a model that verifies in words


def ends_of(model: LanguageModel, text: str) -> list[int]:
    """The offsets where the steps of a text in this model's dialect end; an empty text is one empty step."""
    return step_ends(text) if chat_of(model).dialect == "family" else plain_step_ends(text)


@dataclass(frozen=True)
class JudgedSteps:
    """Asks the model after every step whether it is right, and takes the probability of "Yes" (zhang2025generative,
    equation 4, without a chain of thought). A sentence that is no step keeps the score before it; before the first
    step the score is `thoughts.unjudged`.
    """

    model: LanguageModel
    name: str = "judged steps"

    def score(self, problems: Sequence[Problem], texts: Sequence[str]) -> list[StepScores]:
        ends = [ends_of(self.model, t) for t in texts]
        begun = [(p, t[:end]) for p, t, row in zip(problems, texts, ends, strict=True) for end in row]
        prompts: list[Prompt | None] = []
        for problem, beginning in begun:
            steps = steps_by(self.model, beginning, problem)
            prompts.append(ask(self.model, JUDGE_STEP, problem, steps) if steps else None)
        values, costs = says(self.model, [p for p, _ in begun], prompts, otherwise=unjudged(self.model))
        out, at = [], 0
        for count in map(len, ends):
            out.append(StepScores(tuple(values[at : at + count]), Cost.total(costs[at : at + count])))
            at += count
        return out


@dataclass(frozen=True)
class GenerativeVerifier:
    """Lets the model work out each step beside the one shown and end in "Yes." or "No.", `samples` times, and takes
    the share of checks that still stand (zhang2025generative, section 3.3).

    A step scores the share of written checks that have called it and all before it right; the last one, the share
    that call the whole right. A check that cannot be read approves of nothing, and is counted. One check is greedy,
    several are drawn at temperature 1.
    """

    model: LanguageModel
    samples: int = 1
    max_new_tokens: int = 256
    seed: int = 0
    name: str = "generative verifier"

    def score(self, problems: Sequence[Problem], texts: Sequence[str]) -> list[StepScores]:
        model, dialect = self.model, chat_of(self.model).dialect
        shown = [steps_by(model, t, p) for p, t in zip(problems, texts, strict=True)]
        prompts = [ask(model, VERIFY, p, steps) for p, steps in zip(problems, shown, strict=True)]
        distinct = list(dict.fromkeys(prompts))
        temperature = 1.0 if self.samples > 1 else 0.0
        drawn = self.model.sample(distinct, self.samples, self.max_new_tokens, temperature, seed=self.seed)
        checks = dict(zip(distinct, drawn, strict=True))
        read: set[Prompt] = set()
        out = []
        for problem, text, prompt in zip(problems, texts, prompts, strict=True):
            checks_read: list[Check] = [VERIFY.read(dialect, c.text) for c in checks[prompt]]
            group, ends = checks[prompt], ends_of(model, text)
            done = [len(steps_by(model, text[:end], problem)) for end in ends]
            scores = [
                sum(_stands(check, n, end == ends[-1]) for check in checks_read) / len(group)
                for n, end in zip(done, ends, strict=True)
            ]
            first = prompt not in read
            read.add(prompt)
            cost = group_cost(group) if first else Cost()
            unread = sum(not check.read for check in checks_read) if first else 0
            out.append(StepScores(tuple(scores), cost, unread))
        return out


def _stands(check: Check, steps: int, at_the_end: bool) -> bool:
    """Whether a check has found nothing wrong in the first `steps` steps, and at the end calls the whole right."""
    return check.read and False not in check.steps[:steps] and (not at_the_end or check.whole is True)


keeps_prefixes(VerifiedSamples)


@solver(
    "best-of-n",
    "the best of N samples by the model's judgement of every step (lightman2024lets)",
    notebook="15",
    skills=(SOLVE, JUDGE_STEP),
)
def _best_of_n(setting: Setting, size: int) -> Solver:
    judge = JudgedSteps(setting.model)
    return VerifiedSamples(setting.task, judge, "product", best_scored, setting.style, setting.heat, setting.seed)


@solver(
    "verifier-vote",
    "N samples vote with the model's judgement of their steps (li2022making)",
    notebook="15",
    skills=(SOLVE, JUDGE_STEP),
)
def _verifier_vote(setting: Setting, size: int) -> Solver:
    judge = JudgedSteps(setting.model)
    return VerifiedSamples(setting.task, judge, "product", weighted, setting.style, setting.heat, setting.seed)


@solver(
    "written-checks",
    "the best of N samples by a check that the model writes (zhang2025generative)",
    notebook="15",
    skills=(SOLVE, VERIFY),
)
def _written_checks(setting: Setting, size: int) -> Solver:
    judge = GenerativeVerifier(setting.model)
    return VerifiedSamples(setting.task, judge, "last", best_scored, setting.style, setting.heat, setting.seed)
