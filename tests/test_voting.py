"""Votes, self-consistency and adaptive consistency, on a model whose every answer is known."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from srm_utils.evaluation.subsampling import best_of_n_at_k, majority_at_k, vote_at_k
from srm_utils.inference.solver import Budget
from srm_utils.inference.voting import (
    AdaptiveConsistency,
    Replay,
    SelfConsistency,
    confidence_weighted,
    leader_stays,
    likelihood,
    likelihood_weighted,
    most_likely,
    plurality,
    weighted,
)
from srm_utils.sampling.completion import Completion, Cost
from srm_utils.tasks import get_task
from srm_utils.tasks.problem import Grade

TASK = get_task("chain")
PROMPT_TOKENS = 5


def completion(answer: str | None, logprobs: tuple[float, ...] = (-0.1, -0.1)) -> Completion:
    text = "No idea." if answer is None else f"The answer is {answer}."
    n = len(logprobs)
    cost, asked = Cost(generated_tokens=n, flops=2.0 * n), Cost(PROMPT_TOKENS, flops=2.0 * PROMPT_TOKENS)
    return Completion(text, tuple(range(n)), logprobs, "stop", PROMPT_TOKENS, cost, asked)


class Scripted:
    """Gives each question its scripted answers in turn, over and over, and remembers how it was asked."""

    def __init__(self, scripts):
        self.scripts = {question: itertools.cycle(script) for question, script in scripts.items()}
        self.calls = []

    def sample(self, prompts, n, max_new_tokens, temperature, top_p, seed):
        asked = [p.question for p in prompts]
        self.calls.append(dict(questions=asked, n=n, tokens=max_new_tokens, how=(temperature, top_p), seed=seed))
        return [[completion(next(self.scripts[q])) for _ in range(n)] for q in asked]


def scripted(problems, *scripts):
    return Scripted({p.question: s for p, s in zip(problems, scripts, strict=True)})


@pytest.fixture(scope="module")
def problems():
    return TASK.problems(3, seed=0)


def other(problem, by=1):
    return str(int(problem.answer) + by)


# ---------------------------------------------------------------- votes


@pytest.mark.parametrize(
    ("answers", "winner"),
    [
        (["4"], "4"),
        (["4", "5", "5"], "5"),
        (["4", "5"], "4"),
        (["4", "5", "5", "4"], "5"),  # 5 had two votes before 4 had
        ([None, None, None, "9"], "9"),
        ([None, None], None),
        ([], None),
    ],
)
def test_plurality_takes_the_most_and_of_equals_the_first_there(answers, winner):
    assert plurality(answers, [completion(a) for a in answers]) == winner


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(["1", "2", "3", None]), min_size=1, max_size=6), st.data())
def test_plurality_over_all_orders_is_the_exact_expectation(answers, data):
    k = data.draw(st.integers(1, len(answers)))
    correct = [a == "1" for a in answers]
    orders = list(itertools.permutations(answers, k))
    share = sum(plurality(order) == "1" for order in orders) / len(orders)
    assert share == pytest.approx(float(majority_at_k(answers, correct, k)))


GROUPS = st.lists(
    st.tuples(
        st.sampled_from(["1", "2", "3", None]), st.lists(st.floats(-4, -0.001), min_size=1, max_size=4).map(tuple)
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=60, deadline=None)
@given(GROUPS, st.floats(0.2, 5))
def test_weighted_votes_agree_with_the_evaluation(group, temperature):
    """The notebook's curves weigh samples by exp(mean log-probability / temperature), not normalised over the group."""
    answers, drawn = [a for a, _ in group], [completion(*g) for g in group]
    weights = [math.exp(sum(lp) / len(lp) / temperature) for _, lp in group]
    chosen = confidence_weighted(answers, drawn, temperature)
    wins = float(vote_at_k(answers, [a == chosen and a is not None for a in answers], weights, len(group)))
    assert (wins > 0) == (chosen is not None)
    sums = Counter()
    for a, w in zip(answers, weights, strict=True):
        if a is not None:
            sums[a] += w
    assert chosen is None if not sums else sums[chosen] == pytest.approx(max(sums.values()))
    assert confidence_weighted(answers, drawn, 1.0) == likelihood_weighted(answers, drawn)


def test_confidence_goes_from_the_likeliest_sample_to_a_head_count():
    answers = ["4", "4", "4", "7"]
    drawn = [completion("4", (-1.0,)), completion("4", (-1.2,)), completion("4", (-1.1,)), completion("7", (-0.2,))]
    assert most_likely(answers, drawn) == confidence_weighted(answers, drawn, 0.05) == "7"
    assert plurality(answers) == confidence_weighted(answers, drawn, 50) == likelihood_weighted(answers, drawn) == "4"
    with pytest.raises(ValueError, match="use a number above 0"):
        confidence_weighted(answers, drawn, 0.0)


def test_best_of_n_with_and_without_length():
    """A short bad sample beats a long good one in total log-probability, not per token."""
    answers = ["3", "8", None]
    drawn = [completion("3", (-0.9,)), completion("8", (-0.2,) * 6), completion(None, (-0.01,))]
    assert most_likely(answers, drawn) == "8"
    assert most_likely(answers, drawn, normalise=False) == "3"
    assert most_likely([None], [completion(None)]) is None
    scores = [-math.inf if a is None else likelihood(c) for a, c in zip(answers, drawn, strict=True)]
    assert float(best_of_n_at_k(scores, [a == "8" for a in answers], 3)) == 1.0


def test_a_vote_needs_a_weight_for_every_answer():
    with pytest.raises(ValueError):
        weighted(["4", "5"], [1.0])


# ---------------------------------------------------------------- self-consistency


def test_self_consistency_votes_grades_and_counts_the_prompt_once(problems):
    a, b, c = problems
    model = scripted(problems, [other(a), a.answer, a.answer], [other(b), other(b), b.answer], [None, None, None])
    solved = SelfConsistency(TASK, temperature=0.7, top_p=0.9, seed=3).solve(problems, model, Budget(3, 17))
    assert [s.problem_id for s in solved] == [p.id for p in problems]
    assert [s.answer for s in solved] == [a.answer, other(b), None]
    assert [s.grade for s in solved] == [Grade.CORRECT, Grade.WRONG, Grade.UNPARSABLE]
    assert solved[0].cost == Cost(PROMPT_TOKENS, generated_tokens=6, flops=2.0 * (PROMPT_TOKENS + 6))
    (call,) = model.calls
    assert (call["n"], call["tokens"], call["how"], call["seed"]) == (3, 17, (0.7, 0.9), 3)
    assert SelfConsistency(TASK).solve([], scripted([]), Budget()) == []


def test_a_students_vote_replaces_ours_and_sees_the_samples(problems):
    seen = []

    def last(answers, completions):
        seen.append([c.text for c in completions])
        return answers[-1]

    (p, *_), script = problems, [other(problems[0]), other(problems[0]), problems[0].answer]
    (solved,) = SelfConsistency(TASK, vote=last).solve([p], scripted([p], script), Budget(3))
    assert solved.grade == Grade.CORRECT
    assert seen == [[f"The answer is {a}." for a in script]] == [[c.text for c in solved.trace]]
    # Another vote, and one with its setting bound, can be held on the same samples.
    assert plurality(script, solved.trace) == partial(confidence_weighted, temperature=2.0)(script, solved.trace)


# ---------------------------------------------------------------- adaptive consistency


@pytest.mark.parametrize("votes", [(1, 0), (3, 1), (5, 5), (40, 2), (7, 3, 3, 1)])
def test_posterior_is_that_of_the_two_leaders(votes):
    answers = [str(i) for i, v in enumerate(votes) for _ in range(v)] + [None]
    first, second = sorted(votes, reverse=True)[:2]
    assert leader_stays(answers) == pytest.approx(stats.beta(first + 1, second + 1).sf(0.5))
    draws = np.random.default_rng(0).beta(first + 1, second + 1, 200_000)
    assert leader_stays(answers) == pytest.approx((draws > 0.5).mean(), abs=0.005)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(["1", "2", "3", None]), min_size=24, max_size=24),
    st.integers(1, 4),
    st.sampled_from([0.7, 0.9, 0.95, 0.99]),
)
def test_it_stops_exactly_when_the_posterior_says(script, batch, threshold):
    (problem,) = TASK.problems(1, seed=5)
    (solved,) = AdaptiveConsistency(TASK, threshold=threshold, batch=batch).solve(
        [problem], scripted([problem], script), Budget(24)
    )
    taken = len(solved.trace)

    def sure(n):
        first, second = [*sorted(Counter(a for a in script[:n] if a).values(), reverse=True), 0, 0][:2]
        return stats.beta(first + 1, second + 1).sf(0.5) > threshold

    checks = [n for n in range(batch, 25, batch) if sure(n)]
    assert taken == (checks[0] if checks else 24)
    assert solved.answer == plurality(script[:taken])


def test_decided_problems_leave_and_every_turn_reads_the_prompt_again(problems):
    a, b, c = problems
    split = [b.answer, other(b)]
    model = scripted(problems, [a.answer], split, [c.answer, None, None, None, None])
    solved = AdaptiveConsistency(TASK, batch=1).solve(problems, model, Budget(9, 30))
    # Agreement has posteriors 0.75, 0.875, 0.94, 0.97: four votes are the fewest that decide.
    assert [len(s.trace) for s in solved] == [4, 9, 9]
    assert [call["questions"] == [p.question for p in problems] for call in model.calls] == [True] * 4 + [False] * 5
    assert model.calls[4]["questions"] == [b.question, c.question]
    assert {call["tokens"] for call in model.calls} == {30}
    assert len({call["seed"] for call in model.calls}) == 9
    assert solved[0].cost == Cost(4 * PROMPT_TOKENS, generated_tokens=8, flops=2.0 * (4 * PROMPT_TOKENS + 8))
    assert [s.answer for s in solved] == [a.answer, b.answer, c.answer]


@pytest.mark.parametrize(("batch", "turns"), [(4, [4, 4, 2]), (3, [3, 3, 3, 1]), (16, [10])])
def test_the_budget_is_never_exceeded(problems, batch, turns):
    model = scripted(problems, *([p.answer, other(p)] for p in problems))
    solved = AdaptiveConsistency(TASK, batch=batch).solve(problems, model, Budget(10))
    assert [call["n"] for call in model.calls] == turns
    assert [len(s.trace) for s in solved] == [10] * 3


@pytest.mark.parametrize("batch", [1, 4, 64])
def test_a_threshold_of_one_is_self_consistency(problems, batch):
    # Unanimous too: with 64 votes the posterior is 1 - 2^-65, which a float64 rounds to 1.
    scripts = [[problems[0].answer], [other(problems[1]), problems[1].answer, None], [None]]
    adaptive = AdaptiveConsistency(TASK, threshold=1.0, batch=batch)
    ours = adaptive.solve(problems, scripted(problems, *scripts), Budget(64))
    fixed = SelfConsistency(TASK).solve(problems, scripted(problems, *scripts), Budget(64))
    assert [(s.answer, s.grade, s.trace) for s in ours] == [(s.answer, s.grade, s.trace) for s in fixed]
    extra = (64 // batch - 1) * PROMPT_TOKENS
    assert [s.cost.prompt_tokens for s in ours] == [s.cost.prompt_tokens + extra for s in fixed]


def test_all_unparsable_takes_the_budget_and_answers_nothing(problems):
    solved = AdaptiveConsistency(TASK).solve(problems, scripted(problems, [None], [None], [None]), Budget(6))
    assert [(s.answer, s.grade, len(s.trace)) for s in solved] == [(None, Grade.UNPARSABLE, 6)] * 3


def test_a_students_posterior_replaces_ours(problems):
    solver = AdaptiveConsistency(TASK, batch=1, posterior=lambda answers: float(len(answers) >= 2))
    solved = solver.solve(problems, scripted(problems, *([p.answer] for p in problems)), Budget(8))
    assert [len(s.trace) for s in solved] == [2] * 3


@pytest.mark.parametrize("wrong", [dict(threshold=0.3), dict(threshold=1.1), dict(batch=0)])
def test_settings_that_mean_nothing_are_refused(wrong):
    with pytest.raises(ValueError, match="use a probability|at least 1"):
        AdaptiveConsistency(TASK, **wrong)


# ---------------------------------------------------------------- replay, and a real model


def test_replay_deals_every_sample_once_in_another_order_for_another_seed(problems):
    prompts = [TASK.prompt(p, "cot") for p in problems]
    groups = [[completion(str(i)) for i in range(12)] for _ in problems]
    dealt = []
    for seed in (0, 1):
        replay = Replay(prompts, groups, seed)
        rounds = [replay.sample(prompts, 5), replay.sample(prompts, 7)]
        dealt.append([[c.text for r in rounds for c in r[i]] for i in range(3)])
        with pytest.raises(ValueError, match="1 samples of a prompt are asked for and 0 are left"):
            replay.sample(prompts)
    assert all(sorted(texts) == sorted(c.text for c in groups[0]) for run in dealt for texts in run)
    assert dealt[0] != dealt[1] and dealt[0][0] != dealt[0][1]


def test_replayed_votes_have_the_exact_expectation(problems):
    problem = problems[0]
    answers = [problem.answer] * 5 + [other(problem)] * 4 + [other(problem, 2)] * 2 + [None]
    prompt, group = TASK.prompt(problem, "cot"), [completion(a) for a in answers]
    right = [
        SelfConsistency(TASK).solve([problem], Replay([prompt], [group], seed), Budget(5))[0].grade == "correct"
        for seed in range(1500)
    ]
    exact = float(majority_at_k(answers, [a == problem.answer for a in answers], 5))
    assert np.mean(right) == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 1500))


def test_on_a_bundled_model(problems):
    from srm_utils.models import load_model

    model = load_model("base", device="cpu")
    budget = Budget(6, 40)
    fixed = SelfConsistency(TASK, "unmarked").solve(problems, model, budget)
    whole = AdaptiveConsistency(TASK, "unmarked", threshold=1.0, batch=6).solve(problems, model, budget)
    assert [[c.token_ids for c in s.trace] for s in fixed] == [[c.token_ids for c in s.trace] for s in whole]
    assert [s.answer for s in fixed] == [s.answer for s in whole]
    turns = AdaptiveConsistency(TASK, "unmarked", threshold=1.0, batch=3).solve(problems, model, budget)
    halves = [([c.token_ids for c in s.trace[:3]], [c.token_ids for c in s.trace[3:]]) for s in turns]
    assert any(first != second for first, second in halves), "a second turn must not draw the first one's samples"
    assert turns[0].cost.prompt_tokens == 2 * fixed[0].cost.prompt_tokens
