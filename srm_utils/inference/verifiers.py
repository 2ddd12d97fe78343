"""Verifiers at work: solutions picked or weighed by a scorer, searches led by one, and a model that verifies in words.

A scorer says how good a solution looks after each step (`training.outcome_rewards.Scorer`): a reward model, a
process reward model, a rule, or the model's own written check (zhang2025generative).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from srm_utils.inference.beam_search import Choose, best_scored
from srm_utils.inference.solver import Attempt, Budget, attempt
from srm_utils.inference.thoughts import Beginning, Score, says
from srm_utils.sampling.completion import Cost, group_cost
from srm_utils.tasks.problem import Problem, Prompt, Task
from srm_utils.tasks.prompts import judge_step_prompt, verify_prompt
from srm_utils.tasks.steps import steps_in
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
        rows = zip(problems, groups, scored.values(self.aggregate).tolist(), scored.costs, strict=True)
        for problem, group, values, cost in rows:
            answer = self.choose([self.task.extract(c.text) for c in group], values)
            trace = list(zip([c.text for c in group], values, strict=True))
            whole = group_cost(group, model.flops_per_token) + cost
            attempts.append(attempt(self.task, problem, answer, trace, whole))
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

_VERDICT = re.compile(r"\d,? (right|wrong)\b|\b(Yes|No)\b")


def verdicts(check: str) -> tuple[list[bool], bool | None]:
    """What a written check says of each step, and of the whole; None where it does not say.

    >>> verdicts("2 + 3 = 5 told 5 right. 5 + 1 = 6 told 7 wrong. No.")
    ([True, False], False)
    """
    steps, whole = [], None
    for step, said in _VERDICT.findall(check):
        if step:
            steps.append(step == "right")
        else:
            whole = said == "Yes"
    return steps, whole


@dataclass(frozen=True)
class JudgedSteps:
    """Asks the model after every step whether it is right, and takes the probability of "Yes" (zhang2025generative,
    equation 4, without a chain of thought). A sentence that `steps_in` does not count keeps the score before it.
    """

    model: LanguageModel
    name: str = "judged steps"

    def score(self, problems: Sequence[Problem], texts: Sequence[str]) -> list[StepScores]:
        begun = [(p, t[:end]) for p, t in zip(problems, texts, strict=True) for end in step_ends(t)]
        prompts: list[Prompt | None] = []
        for problem, beginning in begun:
            steps = steps_in(beginning, problem)
            prompts.append(judge_step_prompt(problem, steps) if steps else None)
        values, costs = says(self.model, [p for p, _ in begun], prompts, otherwise=1.0)
        out, at = [], 0
        for text in texts:
            count = len(step_ends(text))
            out.append(StepScores(tuple(values[at : at + count]), Cost.total(costs[at : at + count])))
            at += count
        return out


@dataclass(frozen=True)
class GenerativeVerifier:
    """Lets the model work out each step beside the one shown and end in "Yes." or "No.", `samples` times, and takes
    the share of checks that still stand (zhang2025generative, section 3.3).

    A step scores the share of written checks that have called it and all before it right; the last one, the share
    that call the whole right. One check is greedy, several are drawn at temperature 1.
    """

    model: LanguageModel
    samples: int = 1
    max_new_tokens: int = 256
    seed: int = 0
    name: str = "generative verifier"

    def score(self, problems: Sequence[Problem], texts: Sequence[str]) -> list[StepScores]:
        shown = [steps_in(t, p) for p, t in zip(problems, texts, strict=True)]
        prompts = [verify_prompt(p, steps) for p, steps in zip(problems, shown, strict=True)]
        distinct = list(dict.fromkeys(prompts))
        temperature = 1.0 if self.samples > 1 else 0.0
        drawn = self.model.sample(distinct, self.samples, self.max_new_tokens, temperature, seed=self.seed)
        checks = dict(zip(distinct, drawn, strict=True))
        read: set[Prompt] = set()
        out = []
        for problem, text, prompt in zip(problems, texts, prompts, strict=True):
            standing = [verdicts(c.text) for c in checks[prompt]]
            group, ends = checks[prompt], step_ends(text)
            done = [len(steps_in(text[:end], problem)) for end in ends]
            scores = [
                sum(False not in steps[:n] and (end < ends[-1] or whole is True) for steps, whole in standing)
                / len(group)
                for n, end in zip(done, ends, strict=True)
            ]
            cost = Cost() if prompt in read else group_cost(group, self.model.flops_per_token)
            read.add(prompt)
            out.append(StepScores(tuple(scores), cost))
        return out
