"""How promising the beginning of a solution is: the scores of a search's states.

A score is a function of a model and of beginnings (`thoughts.Score`): the likelihood of the text, the model's own
judgement, a rule, or a mixture of them. `says` weighs one word of a verdict against its opposite.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from srm_utils.inference.asking import ask, chat_of, steps_by, thought_out
from srm_utils.inference.thoughts import Beginning, Score
from srm_utils.sampling.completion import Cost, call_cost
from srm_utils.tasks.dialects import JUDGE_STEP
from srm_utils.tasks.problem import Problem, Prompt

if TYPE_CHECKING:
    from srm_utils.models import LanguageModel


def likelihood(model: LanguageModel, beginnings: Sequence[Beginning]) -> tuple[list[float], list[Cost]]:
    """The mean log-probability of a branch's tokens; free, since drawing them has computed it."""
    scores = [sum(b.logprob for b in branch.path) / max(branch.length, 1) for _, branch in beginnings]
    return scores, [Cost()] * len(beginnings)


def unjudged(model: LanguageModel) -> float:
    """The score of a text in which no step was found to be judged: it is called neither right nor wrong.

    That is 1/2, as much for Yes as for No. In the family's worlds it is 1: a sentence that is no step quotes the
    question there, and the scores of the steps around it stand.
    """
    return 1.0 if chat_of(model).dialect == "family" else 0.5


def judged_step(model: LanguageModel, beginnings: Sequence[Beginning]) -> tuple[list[float], list[Cost]]:
    """The model's own judgement: the probability with which it answers "Yes" when asked whether the last step is right.

    A branch without a step that could be judged scores `unjudged`.
    """
    shown = [steps_by(model, branch.text, problem) for problem, branch in beginnings]
    prompts = [
        ask(model, JUDGE_STEP, p, steps) if steps else None for (p, _), steps in zip(beginnings, shown, strict=True)
    ]
    return says(model, [p for p, _ in beginnings], prompts, otherwise=unjudged(model))


def judged_solution(model: LanguageModel, beginnings: Sequence[Beginning]) -> tuple[list[float], list[Cost]]:
    """The product of the model's judgements of every step so far: for ends that were written in one go.

    An end without a step that could be judged scores `unjudged`.
    """
    shown = [steps_by(model, branch.text, problem) for problem, branch in beginnings]
    owners = [i for i, steps in enumerate(shown) for _ in steps]
    prompts = [
        ask(model, JUDGE_STEP, problem, steps[: at + 1])
        for (problem, _), steps in zip(beginnings, shown, strict=True)
        for at in range(len(steps))
    ]
    judged, costs = says(model, [beginnings[i][0] for i in owners], prompts)
    values = [1.0 if steps else unjudged(model) for steps in shown]
    spent = [Cost()] * len(beginnings)
    for i, value, cost in zip(owners, judged, costs, strict=True):
        values[i] *= value
        spent[i] += cost
    return values, spent


def by_rule(rule: Callable[[Problem, str], float]) -> Score:
    """A score that a plain function `(problem, text so far) -> number` gives, without asking a model."""

    def score(model: LanguageModel, beginnings: Sequence[Beginning]) -> tuple[list[float], list[Cost]]:
        return [float(rule(problem, branch.text)) for problem, branch in beginnings], [Cost()] * len(beginnings)

    return score


def product(*scores: Score) -> Score:
    """The product of several scores, all of them paid for."""

    def score(model: LanguageModel, beginnings: Sequence[Beginning]) -> tuple[list[float], list[Cost]]:
        parts = [one(model, beginnings) for one in scores]
        values = [math.prod(v) for v in zip(*(values for values, _ in parts), strict=True)]
        return values, [Cost.total(c) for c in zip(*(costs for _, costs in parts), strict=True)]

    return score


def guided(score: Score, weight: float = 0.5) -> Score:
    """The likelihood of the last step and its score, P^weight times C^(1 - weight) (xie2023selfeval, section 2).

    With `aggregate=math.prod` a beam has the product over its steps. P is that of the step's tokens, in all.
    """
    if not 0 <= weight <= 1:
        raise ValueError(f"The weight of the likelihood is {weight}; use a number from 0 to 1.")

    def mixed(model: LanguageModel, beginnings: Sequence[Beginning]) -> tuple[list[float], list[Cost]]:
        values, costs = score(model, beginnings)
        return [
            math.exp(weight * branch.logprob) * value ** (1 - weight)
            for (_, branch), value in zip(beginnings, values, strict=True)
        ], costs

    return mixed


#: The word that each word of a verdict is weighed against.
_AGAINST = {"Yes": "No", "No": "Yes", "A": "B", "B": "A"}


def says(
    model: LanguageModel,
    problems: Sequence[Problem],
    prompts: Sequence[Prompt | None],
    word: str = "Yes",
    otherwise: float = 0.0,
) -> tuple[list[float], list[Cost]]:
    """The probability that the model answers each prompt with a word; `otherwise` where the prompt is None.

    The family answers in that word or its opposite, and the word's own probability is taken. Other models may begin in
    many ways, so that the word is weighed against its opposite: P(Yes) / (P(Yes) + P(No)). One reading gives both. A
    prompt asked twice for one problem is read, and charged, once.
    """
    first: dict[tuple[str, Prompt], int] = {}
    for i, (problem, prompt) in enumerate(zip(problems, prompts, strict=True)):
        if prompt is not None:
            first.setdefault((problem.id, prompt), i)
    asked = [prompt for _, prompt in first]
    if chat_of(model).tags is not None:
        # A verdict is weighed behind a thought that is closed.
        asked = [replace(p, prefill=thought_out(model, "")) for p in asked]
    words = [word, _AGAINST[word]] if chat_of(model).dialect == "instruct" else [word]
    # The word follows a space, except where the template already ends in one (or in a newline).
    joints = ["" if model.render(p)[-1:].isspace() else " " for p in asked]
    scored = model.score([p for p in asked for _ in words], [joint + w for joint in joints for w in words])
    weighed = []
    for i in range(len(asked)):
        mine = scored[i * len(words) : (i + 1) * len(words)]
        chance = _share(mine[0].logprob, mine[1].logprob) if len(mine) > 1 else math.exp(mine[0].logprob)
        weighed.append((chance, call_cost(s.cost for s in mine)))
    answers = dict(zip(first, weighed, strict=True))
    values, costs = [], []
    for i, (problem, prompt) in enumerate(zip(problems, prompts, strict=True)):
        value, cost = (otherwise, Cost()) if prompt is None else answers[problem.id, prompt]
        values.append(value)
        costs.append(cost if prompt is not None and first[problem.id, prompt] == i else Cost())
    return values, costs


def _share(a: float, b: float) -> float:
    """e^a / (e^a + e^b).

    >>> _share(-3.0, -3.0)
    0.5
    """
    return 1 / (1 + math.exp(min(b - a, 700.0)))
