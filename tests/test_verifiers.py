"""Verified samples, searches under a scorer, and written checks, on models whose every word is known."""

from __future__ import annotations

import math

import pytest

from srm_utils.inference.beam_search import BeamSearch, RankedSamples
from srm_utils.inference.solver import Budget
from srm_utils.inference.thoughts import Steps
from srm_utils.inference.verifiers import GenerativeVerifier, JudgedSteps, VerifiedSamples, as_score
from srm_utils.inference.voting import weighted
from srm_utils.models import load_model
from srm_utils.models.language_model import Scored
from srm_utils.sampling.completion import Completion, Cost
from srm_utils.tasks import get_task
from srm_utils.tasks.prompts import judge_step_prompt, verify_prompt
from srm_utils.tasks.replies import family_check as verdicts
from srm_utils.training.outcome_rewards import StepScores
from srm_utils.training.process_rewards import RuleScorer, gold_labels

TASK = get_task("chain")
PROBLEMS = TASK.problems(6, seed=5, difficulty=(2, 3))


class Scripted:
    """Draws given texts in turn for every prompt, and says "Yes" with given probabilities."""

    def __init__(self, texts=(), yes=None):
        self.texts, self.yes, self.asked = list(texts), yes or {}, []

    def render(self, prompt):
        return prompt.text()

    def sample(self, prompts, n, max_new_tokens, temperature=1.0, seed=0):
        self.asked += prompts
        return [
            [
                Completion(
                    self.texts[i % len(self.texts)],
                    (1,),
                    (-0.1,),
                    "stop",
                    9,
                    Cost(generated_tokens=3, flops=6),
                    Cost(9, flops=18),
                )
                for i in range(n)
            ]
            for _ in prompts
        ]

    def score(self, prompts, words):
        assert set(words) <= {" Yes"}
        self.asked += prompts
        return [Scored((1,), (math.log(self.yes[p]),), Cost(scored_tokens=4)) for p in prompts]


class ByLength:
    """Scores every step by the characters up to it; one token a text."""

    name = "by length"

    def score(self, problems, texts):
        return [StepScores((0.1, 1 - 1 / len(t)), Cost(scored_tokens=1)) for t in texts]


def test_the_best_scored_sample_answers_and_scoring_is_paid_for():
    texts = ["The answer is 4.", "So the answer is 7.", "The answer is 4."]
    budget = Budget(samples=3, max_new_tokens=20)
    best = VerifiedSamples(TASK, ByLength()).solve(PROBLEMS[:1], Scripted(texts), budget)[0]
    assert best.answer == "7"
    assert best.cost.scored_tokens == 2, "two distinct texts are read"
    assert best.cost.generated_tokens == 9 and best.cost.prompt_tokens == 9
    voted = VerifiedSamples(TASK, ByLength(), choose=weighted).solve(PROBLEMS[:1], Scripted(texts), budget)[0]
    assert voted.answer == "4", "two good samples outweigh a better one"
    assert VerifiedSamples(TASK, ByLength()).solve(PROBLEMS[:1], Scripted(["Hm."]), budget)[0].answer is None


def test_a_perfect_verifier_reaches_coverage_and_agrees_with_ranked_samples():
    model, budget = load_model("base-small"), Budget(samples=6, max_new_tokens=60)
    oracle = RuleScorer(lambda p, text: gold_labels(TASK, p, text), "gold")
    ours = VerifiedSamples(TASK, oracle).solve(PROBLEMS, model, budget)
    groups = model.sample([TASK.prompt(p, "cot") for p in PROBLEMS], 6, 60)
    solvable = [any(min(gold_labels(TASK, p, c.text)) == 1 for c in g) for p, g in zip(PROBLEMS, groups, strict=True)]
    assert [a.grade == "correct" for a, s in zip(ours, solvable, strict=True) if s] == [True] * sum(solvable)
    theirs = RankedSamples(Steps(TASK), as_score(oracle)).solve(PROBLEMS, model, budget)
    assert [a.answer for a in ours] == [a.answer for a in theirs]


def test_a_beam_under_the_tasks_own_checks_keeps_no_wrong_step():
    model = load_model("base-small")
    oracle = RuleScorer(lambda p, text: gold_labels(TASK, p, text), "gold")
    search = BeamSearch(Steps(TASK), as_score(oracle), width=4)
    for problem, found in zip(PROBLEMS, search.solve(PROBLEMS, model, Budget(8, 60)), strict=True):
        chosen = [t for t in found.trace.walk() if t.status == "chosen"]
        if chosen and found.grade == "correct":
            assert all(t.score == 1.0 for t in chosen), problem


# ---------------------------------------------------------------- checks in words


def test_verdicts_are_read_as_written():
    assert verdicts("12 + 5 = 17, right. 17 - 3 = 14, right. Yes.") == ([True, True], True)
    assert verdicts("12 + 5 = 17, right. 17 - 3 = 14, wrong. No.") == ([True, False], False)
    assert verdicts("12 + 5 = 17, right. 17") == ([True], None)


def test_a_written_check_scores_the_steps_it_names():
    problem = PROBLEMS[1]
    text = f" {TASK.solution(problem, 'cot')}"
    right = " ".join(f"{s}, right." for s in problem.steps)
    wrong = f"{problem.steps[0]}, right. {problem.steps[1]}, wrong. No."
    model = Scripted([f"{right} Yes.", wrong, f"{right} Yes.", right])
    scored = GenerativeVerifier(model, samples=4).score([problem], [text])[0]
    assert scored.scores == (1.0, 0.75, 0.75, 0.5), "an unfinished check is no Yes"
    assert model.asked == [verify_prompt(problem, problem.steps)]
    assert scored.cost.generated_tokens == 12 and scored.cost.prompt_tokens == 9
    again = GenerativeVerifier(model, samples=4).score([problem] * 2, [text] * 2)
    assert again[0].scores == again[1].scores and again[1].cost == Cost()


def test_judged_steps_are_the_probability_of_yes():
    problem = PROBLEMS[1]
    steps = problem.steps
    yes = {judge_step_prompt(problem, steps[:k]): p for k, p in ((1, 0.9), (2, 0.4), (3, 0.7))}
    text = f" {'. '.join(steps)}. The answer is {problem.answer}."
    scored = JudgedSteps(Scripted(yes=yes)).score([problem], [text])[0]
    assert scored.scores == pytest.approx((0.9, 0.4, 0.7, 0.7)), "the answer stands on the last step"
    assert scored.cost.scored_tokens == 12, "the answer's prompt is the last step's, read once"
