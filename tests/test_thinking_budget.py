"""Budget forcing, early exit, no thinking and allocation, with scripted chains whose every token is known."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from srm_utils.evaluation.subsampling import majority_at_k
from srm_utils.inference.allocation import AdaptiveAllocation, Curves, allocate, leading_votes, measure_curves
from srm_utils.inference.chain_of_thought import ANSWER_TRIGGER, Prompting
from srm_utils.inference.solver import Budget
from srm_utils.inference.thinking_budget import (
    ANSWER_TOKENS,
    BudgetForcing,
    EarlyExit,
    NamedBudget,
    NoThinking,
    Probe,
    confident,
    exited,
    never,
    outcome_efficiency,
    stable,
)
from srm_utils.inference.voting import SelfConsistency
from srm_utils.sampling.completion import Completion, Cost
from srm_utils.tasks import get_task
from srm_utils.tasks.problem import Grade
from srm_utils.tasks.prompts import AGAIN, again_prompt, budget_prompt

TASK = get_task("chain")
PROBLEMS = TASK.problems(4, seed=3, difficulty=(2, 3, 4, 5))
GOLD = {p.question: TASK.solution(p, "cot") for p in PROBLEMS}
END = 1
WORD = 7


class Chain:
    """Goes on with a fixed text a problem wherever it was cut, one token a word; guesses where an answer is forced.

    `guess(problem, steps so far)` is a pair of the guessed answer and its probability a token. After "Wait." it writes
    `again(problem)`.
    """

    end_ids = (END,)

    def __init__(self, guess=lambda p, steps: ("0", 0.5), again=lambda p: GOLD[p.question], texts=GOLD, positions=1024):
        self.guess, self.again, self.texts, self.positions = guess, again, texts, positions
        self.calls = []

    def encode(self, prompt):
        return prompt.text().split()

    def sample(self, prompts, n=1, max_new_tokens=256, temperature=1.0, top_p=1.0, stop=(), seed=0):
        self.calls.append((list(prompts), n, temperature, seed))
        limits = [max_new_tokens] * len(prompts) if isinstance(max_new_tokens, int) else list(max_new_tokens)
        return [[self.one(p, limit, stop)] * n for p, limit in zip(prompts, limits, strict=True)]

    def one(self, prompt, limit, stop):
        problem = next(p for p in PROBLEMS if prompt.question == p.question)
        said = prompt.prefill.split()
        probability = 0.9
        if prompt.prefill.endswith(ANSWER_TRIGGER):
            answer, probability = self.guess(problem, prompt.prefill.count("."))
            rest = [f"{answer}."]
        elif AGAIN in said:
            since = len(said) - said[::-1].index(AGAIN)
            rest = self.again(problem).split()[len(said) - since :]
        else:
            rest = self.texts[problem.question].split()[len(said) :]
        words, finish, tail = [], "stop", (END,)
        for word in rest:
            if len(words) == limit:
                finish, tail = "length", ()
                break
            words.append(word)
            if "." in stop and word.endswith("."):
                words[-1], tail = word[:-1], ()
                break
        if len(words) == limit and finish == "stop":
            finish, tail = "length", ()  # no room for the end token
        ids = (WORD,) * len(words) + tail
        cost = Cost(generated_tokens=len(ids), flops=10.0 * len(ids))
        text = f" {' '.join(words)}"
        return Completion(
            text,
            ids,
            (math.log(probability),) * len(ids),
            finish,
            len(prompt.text().split()),
            cost,
            Cost(len(prompt.text().split()), flops=10.0 * len(prompt.text().split())),
        )


def length(problem):
    return len(GOLD[problem.question].split()) + 1


# ---------------------------------------------------------------- budget forcing


def test_a_limit_above_the_length_changes_nothing():
    forced = BudgetForcing(TASK).solve(PROBLEMS, Chain(), Budget(max_new_tokens=100))
    plain = Prompting(TASK, "cot").solve(PROBLEMS, Chain(), Budget(max_new_tokens=100))
    assert [(a.answer, a.grade, a.cost) for a in forced] == [(a.answer, a.grade, a.cost) for a in plain]
    assert {a.grade for a in forced} == {Grade.CORRECT}


@pytest.mark.parametrize("limit", [1, 5, 8])
def test_a_limit_cuts_and_forces_an_answer_and_pays_for_both(limit):
    model = Chain(guess=lambda p, steps: ("41", 0.5))
    attempts = BudgetForcing(TASK).solve(PROBLEMS, model, Budget(max_new_tokens=limit))
    for a, p in zip(attempts, PROBLEMS, strict=True):
        kept = " ".join(GOLD[p.question].split()[:limit])
        assert a.trace == f"{kept} {ANSWER_TRIGGER} 41."
        assert a.answer == "41"
        assert a.cost.generated_tokens == limit + 1
        assert a.cost.flops == 10 * a.cost.tokens
    assert len(model.calls) == 2, "all problems in one call each"


def test_wait_goes_on_as_often_as_asked_and_the_last_answer_counts():
    wrong = "1 + 1 = 2. The answer is 2."
    for waits in (0, 1, 3):
        model = Chain(texts=dict.fromkeys(GOLD, wrong))
        attempts = BudgetForcing(TASK, waits).solve(PROBLEMS, model, Budget(max_new_tokens=400))
        for a, p in zip(attempts, PROBLEMS, strict=True):
            assert a.trace == f" {AGAIN} ".join([wrong, *[GOLD[p.question]] * waits])
            assert a.grade == (Grade.CORRECT if waits else Grade.WRONG)
            assert a.cost.generated_tokens == len(wrong.split()) + 1 + waits * length(p)
        assert len(model.calls) == waits + 1
        assert len({seed for *_, seed in model.calls}) == waits + 1


def test_the_limit_holds_over_all_waits_together():
    limit = length(PROBLEMS[0]) + 4
    (a,) = BudgetForcing(TASK, waits=5).solve(PROBLEMS[:1], Chain(), Budget(max_new_tokens=limit))
    assert a.cost.generated_tokens == limit
    assert a.trace == f"{GOLD[PROBLEMS[0].question]} {AGAIN} {' '.join(GOLD[PROBLEMS[0].question].split()[:4])}"
    assert a.grade == Grade.CORRECT, "an answer stated before the cut stands"


def test_a_model_without_room_for_every_wait_stops_thinking_in_time():
    class Narrow(Chain):
        def sample(self, prompts, n=1, max_new_tokens=256, **how):
            limits = [max_new_tokens] * len(prompts) if isinstance(max_new_tokens, int) else max_new_tokens
            assert all(len(self.encode(p)) + k <= self.positions for p, k in zip(prompts, limits, strict=True))
            return super().sample(prompts, n, max_new_tokens, **how)

    model = Narrow(positions=len(PROBLEMS[-1].question.split()) + ANSWER_TOKENS + 60)
    attempts = BudgetForcing(TASK, waits=8).solve(PROBLEMS, model, Budget(max_new_tokens=4000))
    assert len(model.calls) > 1 and all(a.answer is not None for a in attempts)


def test_the_prompt_is_the_callers():
    model = Chain()
    BudgetForcing(TASK, prompt=again_prompt).solve(PROBLEMS[:1], model, Budget(max_new_tokens=100))
    NamedBudget(TASK, 20).solve(PROBLEMS[:1], model, Budget(max_new_tokens=100))
    assert [asked for asked, *_ in model.calls] == [[again_prompt(PROBLEMS[0])], [budget_prompt(PROBLEMS[0], 20)]]


def test_no_problems_no_attempts():
    for solver in (BudgetForcing(TASK, 1), EarlyExit(TASK, never), NoThinking(TASK), NamedBudget(TASK, 5)):
        assert solver.solve([], Chain(), Budget()) == []


# ---------------------------------------------------------------- early exit


def growing(problem, steps):
    """Right from the second step on; surer with every step."""
    return (problem.answer if steps >= 2 else "0"), 0.5 + 0.1 * min(steps, 4)


def test_an_exit_at_confidence_0_stops_at_once_and_is_no_thinking():
    early = EarlyExit(TASK, confident(0.0)).solve(PROBLEMS, Chain(growing), Budget())
    none = NoThinking(TASK).solve(PROBLEMS, Chain(growing), Budget())
    assert [(a.answer, a.grade, a.cost) for a in early] == [(a.answer, a.grade, a.cost) for a in none]
    assert {a.trace[-1].thought for a in early} == {0}


def test_an_exit_above_confidence_1_never_comes():
    attempts = EarlyExit(TASK, confident(1 + 1e-9)).solve(PROBLEMS, Chain(growing), Budget())
    for a, p in zip(attempts, PROBLEMS, strict=True):
        assert a.grade == Grade.CORRECT
        assert f"{a.trace[-1].text.strip()}" == GOLD[p.question]
        # One probe before each step, one for the answer that the chain states.
        assert len(a.trace) == len(p.steps) + 2
        assert a.trace[-1].confidence == 1.0


def test_the_exit_comes_where_the_rule_says():
    attempts = EarlyExit(TASK, confident(0.7)).solve(PROBLEMS, Chain(growing), Budget())
    assert [len(a.trace) for a in attempts] == [3] * 4  # 0.5, 0.6, 0.7
    for a, p in zip(attempts, PROBLEMS, strict=True):
        assert a.answer == p.answer
        assert a.trace[-1].text.strip() == ". ".join(p.steps[:2]) + "."
        assert a.trace[-1].thought == len(" ".join(p.steps[:2]).split())
    same = EarlyExit(TASK, stable(2)).solve(PROBLEMS, Chain(growing), Budget())
    assert [(len(a.trace), a.answer) for a in same] == [(2, "0")] * 4
    three = EarlyExit(TASK, stable(3)).solve(PROBLEMS[1:], Chain(growing), Budget())
    assert [(len(a.trace), a.answer) for a in three] == [(5, p.answer) for p in PROBLEMS[1:]]


def test_confidence_is_the_geometric_mean():
    (a,) = EarlyExit(TASK, confident(0.0)).solve(PROBLEMS[:1], Chain(lambda p, s: ("5", 0.37)), Budget())
    assert a.trace[0].confidence == pytest.approx(0.37)


def test_an_exit_counts_every_reading_and_the_thinking_apart():
    model = Chain(growing)
    (a,) = EarlyExit(TASK, never).solve(PROBLEMS[:1], model, Budget())
    asked = [p for prompts, *_ in model.calls for p in prompts]
    assert a.cost.prompt_tokens == sum(len(p.text().split()) for p in asked)
    assert a.cost.flops == 10 * a.cost.tokens
    probes = sum(p.prefill.endswith(ANSWER_TRIGGER) for p in asked)
    assert a.cost.generated_tokens == a.trace[-1].thought + probes
    assert [p.cost.flops for p in a.trace] == sorted(p.cost.flops for p in a.trace)


def test_a_chain_cut_by_the_limit_or_ended_without_an_answer_gives_its_last_probe():
    (cut,) = EarlyExit(TASK, never).solve(PROBLEMS[3:], Chain(growing), Budget(max_new_tokens=7))
    assert cut.trace[-1].thought == 7 and cut.answer == "0"
    model = Chain(growing, texts=dict.fromkeys(GOLD, "1 + 1 = 2. 2 + 2 = 4. so"))
    (ended,) = EarlyExit(TASK, never).solve(PROBLEMS[:1], model, Budget())
    assert ended.answer == PROBLEMS[0].answer and ended.trace[-1].text.endswith("so")


@pytest.mark.parametrize(
    "exit", [confident(0.0), confident(0.6), confident(0.85), stable(1), stable(2), stable(4), never]
)
def test_one_long_run_holds_every_exit(exit):
    long = EarlyExit(TASK, never).solve(PROBLEMS, Chain(growing), Budget())
    live = EarlyExit(TASK, exit).solve(PROBLEMS, Chain(growing), Budget())
    assert exited(TASK, PROBLEMS, long, exit) == live


def test_stable_needs_answers():
    probes = [Probe("", a, 0.5, 0, Cost()) for a in (None, None, None)]
    assert not stable(2)(probes) and not stable(2)([])


def test_outcome_efficiency_is_the_share_before_the_first_right_answer():
    attempts = EarlyExit(TASK, never).solve(PROBLEMS, Chain(growing), Budget())
    for share, a, p in zip(outcome_efficiency(TASK, PROBLEMS, attempts), attempts, PROBLEMS, strict=True):
        assert share == pytest.approx(len(" ".join(p.steps[:2]).split()) / a.trace[-1].thought)
    at_once = EarlyExit(TASK, never).solve(PROBLEMS, Chain(lambda p, s: (p.answer, 0.5)), Budget())
    assert outcome_efficiency(TASK, PROBLEMS, at_once) == [0.0] * 4
    wrong = EarlyExit(TASK, confident(0.0)).solve(PROBLEMS, Chain(), Budget())
    assert outcome_efficiency(TASK, PROBLEMS, wrong) == [0.0] * 4


# ---------------------------------------------------------------- no thinking


def test_no_thinking_votes_and_reads_the_prompt_once():
    model = Chain(lambda p, s: (p.answer, 0.4))
    attempts = NoThinking(TASK, seed=2).solve(PROBLEMS, model, Budget(samples=5))
    assert {a.grade for a in attempts} == {Grade.CORRECT}
    assert {len(a.trace) for a in attempts} == {5}
    (asked, n, heat, seed) = model.calls[0]
    assert (n, heat, seed) == (5, 1.0, 2) and {p.prefill for p in asked} == {ANSWER_TRIGGER}
    assert [a.cost.prompt_tokens for a in attempts] == [len(p.text().split()) for p in asked]


# ---------------------------------------------------------------- allocation

GRIDS = st.lists(st.lists(st.floats(0, 1), min_size=4, max_size=4), min_size=1, max_size=4)


@settings(max_examples=60, deadline=None)
@given(GRIDS, st.data())
def test_no_division_of_the_total_is_better(curves, data):
    n, most = len(curves), 3
    least = data.draw(st.integers(0, 1))
    total = data.draw(st.integers(n * least, n * most))
    shares = allocate(curves, total, least)
    assert shares.sum() == total and (shares >= least).all() and (shares <= most).all()
    divisions = [d for d in itertools.product(range(least, most + 1), repeat=n) if sum(d) == total]
    best = max(sum(curves[i][b] for i, b in enumerate(d)) for d in divisions)
    assert sum(curves[i][b] for i, b in enumerate(shares)) == pytest.approx(best, abs=1e-7)


@pytest.mark.parametrize("curve", [[0.0, 0.5, 0.7, 0.8, 0.85], [0.3] * 5])
def test_a_homogeneous_set_is_served_evenly(curve):
    assert allocate([curve] * 6, total=12).tolist() == [2] * 6
    assert sorted(allocate([curve] * 6, total=15).tolist()) == [2, 2, 2, 3, 3, 3]


def test_the_hopeless_and_the_solved_get_nothing_more():
    curves = [[0, 0, 0, 0], [1, 1, 1, 1], [0.1, 0.4, 0.6, 0.7]]
    assert allocate(curves, total=3).tolist() == [0, 0, 3]
    assert allocate(curves, total=6, least=1).tolist()[2] == 3


@pytest.mark.parametrize("total", [-1, 2, 13])
def test_a_total_that_cannot_be_shared_out_is_refused(total):
    with pytest.raises(ValueError, match="use a total from 3 to 12"):
        allocate([[0.0] * 5] * 3, total, least=1)


def test_curves_agree_with_the_exact_expectation_where_the_look_says_nothing():
    rng = np.random.default_rng(0)
    answers = [rng.choice(["1", "2", "3", None], size=6, p=[0.4, 0.3, 0.2, 0.1]).tolist() for _ in range(3)]
    correct = [[a == "1" for a in row] for row in answers]
    curves = measure_curves(answers, correct, probes=1, look=lambda probes: 0, orders=4000)
    exact = np.mean([majority_at_k(a, c, range(1, 7)) for a, c in zip(answers, correct, strict=True)], axis=0)
    assert curves.of(["9"]) == pytest.approx([0.0, *exact], abs=0.02)


def test_looks_part_problems_and_unseen_looks_take_the_nearest():
    answers = [["7"] * 4, ["1", "2", "3", "4"]]
    curves = measure_curves(answers, [[True] * 4, [True, False, False, False]], probes=3)
    assert sorted(curves.by_look) == [1, 3]
    assert curves.of(["7", "7", "7"]).tolist() == [0, 0, 0, 1, 1]
    assert curves.of([None, None, None]).tolist() == curves.by_look[1].tolist()
    assert leading_votes([None]) == 0
    with pytest.raises(ValueError, match="use 1 to 4"):
        measure_curves(answers, [[True] * 4] * 2, probes=5)


def scripted_votes():
    """The first two problems' samples agree, the others' differ: only these look open."""

    class Votes(Chain):
        def sample(self, prompts, n=1, max_new_tokens=256, temperature=1.0, top_p=1.0, stop=(), seed=0):
            self.calls.append((list(prompts), n, temperature, seed))
            groups = []
            for p in prompts:
                sure = p.question in {q.question for q in PROBLEMS[:2]}
                said = [f"The answer is {5 if sure else i + len(self.calls)}." for i in range(n)]
                groups.append(
                    [Completion(t, (WORD, END), (-0.1, -0.1), "stop", 9, Cost(generated_tokens=2)) for t in said]
                )
            return groups

    return Votes()


def test_the_total_is_kept_exactly_and_goes_where_the_vote_is_open():
    flat, rising = np.array([0.0, 0, 1, 1, 1, 1, 1]), np.array([0.0, 0, 0.2, 0.5, 0.7, 0.8, 0.85])
    curves = Curves(2, {2: flat, 1: rising})
    model = scripted_votes()
    attempts = AdaptiveAllocation(TASK, curves, seed=5).solve(PROBLEMS, model, Budget(samples=4))
    assert [len(a.trace) for a in attempts] == [2, 2, 6, 6]
    assert sum(len(a.trace) for a in attempts) == 4 * len(PROBLEMS)
    assert [a.cost.prompt_tokens for a in attempts] == [9, 9, 18, 18], "a prompt read twice is paid twice"
    assert [(len(asked), n) for asked, n, *_ in model.calls] == [(4, 2), (2, 4)]
    assert model.calls[0][3] != model.calls[1][3]


def test_equal_curves_make_it_uniform():
    curve = np.array([0.0, 0, 0.2, 0.5, 0.7, 0.8, 0.85])
    attempts = AdaptiveAllocation(TASK, Curves(2, {0: curve})).solve(PROBLEMS, scripted_votes(), Budget(samples=4))
    assert {len(a.trace) for a in attempts} == {4}
    with pytest.raises(ValueError, match="allow more samples"):
        AdaptiveAllocation(TASK, Curves(5, {0: curve})).solve(PROBLEMS, scripted_votes(), Budget(samples=4))


# ---------------------------------------------------------------- a real model


@pytest.fixture(scope="module")
def base():
    from srm_utils.models import load_model

    return load_model("base", device="cpu", threads=1)


def test_with_a_real_model_the_ends_of_every_curve_are_the_plain_solvers(base):
    problems, budget = TASK.problems(3, seed=8, difficulty=(2, 3)), Budget(max_new_tokens=48)
    plain = Prompting(TASK, "cot").solve(problems, base, budget)
    forced = BudgetForcing(TASK).solve(problems, base, budget)
    assert [a.answer for a in forced] == [a.answer for a in plain]
    assert [a.cost.flops for a in forced] == [a.cost.flops for a in plain]
    long = EarlyExit(TASK, never).solve(problems, base, budget)
    assert [a.answer for a in long] == [a.answer for a in plain]
    assert [a.trace[-1].text.strip() for a in long] == [p.trace.strip() for p in plain]
    none = NoThinking(TASK).solve(problems, base, budget)
    assert [a.answer for a in exited(TASK, problems, long, confident(0.0))] == [a.answer for a in none]


def test_probes_alone_are_self_consistency(base):
    problems, budget = TASK.problems(3, seed=9), Budget(samples=3, max_new_tokens=48)
    curves = Curves(3, {0: np.zeros(4)})
    adaptive = AdaptiveAllocation(TASK, curves, style="unmarked", seed=4).solve(problems, base, budget)
    plain = SelfConsistency(TASK, "unmarked", seed=4).solve(problems, base, budget)
    assert [[c.text for c in a.trace] for a in adaptive] == [[c.text for c in a.trace] for a in plain]
    assert [(a.answer, a.cost.flops) for a in adaptive] == [(a.answer, a.cost.flops) for a in plain]
