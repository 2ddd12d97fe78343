"""Debate, roles, round table, split evidence, collaboration: on agents whose every word is known."""

from __future__ import annotations

import itertools
import math

import pytest

from srm_utils.inference.collaboration import (
    LargePlans,
    Routed,
    TakesOver,
    by_own_certainty,
    least_sure,
    share_of_large,
)
from srm_utils.inference.debate import Debate, correctness_by_round, heard
from srm_utils.inference.roles import PlannerSolverVerifier, RoundTable, likelihood_of, recalibrated
from srm_utils.inference.solver import Budget
from srm_utils.inference.speculative_reasoning import text_of
from srm_utils.inference.split_evidence import Exchange, facts_sent
from srm_utils.inference.voting import SelfConsistency
from srm_utils.models import load_model
from srm_utils.sampling.completion import Completion, Cost
from srm_utils.sampling.ledger import Prices, Read
from srm_utils.tasks import get_task
from srm_utils.tasks.problem import INSTRUCTIONS, Grade
from srm_utils.tasks.prompts import debate_prompt, follow_prompt, plan_prompt, verify_prompt
from srm_utils.tasks.worlds.deduction import SplitEvidenceTask

TASK = get_task("chain")
PROMPT_TOKENS = 7


class Scripted:
    """Answers a prompt as a function of it and of how often it was asked before; a token a word; keeps the calls."""

    end_ids = (1,)

    def __init__(self, reply, sure=0.9, name="scripted"):
        self.reply, self.sure, self.name = reply, sure, name
        self.calls, self.times = [], {}

    def sample(self, prompts, n=1, max_new_tokens=256, temperature=1.0, top_p=1.0, seed=0):
        prompts = list(prompts)
        self.calls.append((prompts, n, temperature, seed))
        return [[self.write(p) for _ in range(n)] for p in prompts]

    def write(self, prompt):
        times = self.times[prompt] = self.times.get(prompt, -1) + 1
        text = self.reply(prompt, times)
        count = len(text.split())
        logprobs = (math.log(self.sure(prompt) if callable(self.sure) else self.sure),) * count
        cost = Cost(generated_tokens=count, flops=10.0 * count)
        return Completion(
            f" {text}",
            (7,) * count,
            logprobs,
            "stop",
            PROMPT_TOKENS,
            cost,
            self.asked(prompt),
        )

    def asked(self, prompt):
        text = (list(map(hash, prompt.text().split())),)
        return Cost(PROMPT_TOKENS, flops=10.0 * PROMPT_TOKENS, reads=(Read(id(self), Prices(10.0), text),))

    def render(self, prompt):
        return prompt.text()


def answer(value):
    return f"1 + 1 = 2. The answer is {value}."


def right(problems):
    """Solves whatever prompt begins with a problem's question."""
    return lambda prompt, times: answer(next(p.answer for p in problems if prompt.question.startswith(p.question)))


@pytest.fixture(scope="module")
def problems():
    return TASK.problems(3, seed=0, difficulty=3)


# ---------------------------------------------------------------- debate


@pytest.mark.parametrize("agents", [1, 2, 5])
@pytest.mark.parametrize("rounds", [0, 1, 3])
def test_identical_deterministic_agents_are_one_agent(problems, agents, rounds):
    # The second problem is got wrong by all of them, and talk does not change it.
    def same(prompt, times):
        value = next(p.answer for p in problems if prompt.question.startswith(p.question))
        return answer(int(value) + (prompt.question.startswith(problems[1].question)))

    many = Debate(TASK, rounds, temperature=0).solve(problems, Scripted(same), Budget(agents))
    one = Debate(TASK, 0, temperature=0).solve(problems, Scripted(same), Budget(1))
    assert [(a.answer, a.grade) for a in many] == [(a.answer, a.grade) for a in one]
    for a, p in zip(many, problems, strict=True):
        shares = correctness_by_round(TASK, p, a.trace)
        assert shares == [float(a.grade == Grade.CORRECT)] * len(shares) and len(shares) == (
            rounds + 1 if agents > 1 else 1
        )


def test_without_rounds_it_is_self_consistency_on_the_same_samples():
    base, problems = load_model("base", device="cpu"), TASK.problems(5, seed=2)
    debate = Debate(TASK, 0, style="unmarked", seed=4).solve(problems, base, Budget(5, 40))
    vote = SelfConsistency(TASK, "unmarked", seed=4).solve(problems, base, Budget(5, 40))
    assert [[c.token_ids for c in a.trace[0]] for a in debate] == [[c.token_ids for c in a.trace] for a in vote]
    for a, b in zip(debate, vote, strict=True):
        assert (a.answer, a.grade, a.cost.flops, a.cost.tokens) == (b.answer, b.grade, b.cost.flops, b.cost.tokens)


def test_agents_hear_the_next_ones_around_the_table_and_every_round_is_paid(problems):
    # First each says its own number; then each repeats the first number that it hears.
    def reply(prompt, times):
        if " One says: " not in prompt.question:
            return answer(90 + times)
        return prompt.question.split(" One says: ")[1]

    model = Scripted(reply)
    (a,) = Debate(TASK, 2, hears=2, seed=5).solve(problems[:1], model, Budget(4, 60))
    said = [[TASK.extract(c.text) for c in r] for r in a.trace]
    assert said == [["90", "91", "92", "93"], ["91", "92", "93", "90"], ["92", "93", "90", "91"]]
    (_, n, _, first), (second, m, _, _), (third, _, _, _) = model.calls
    assert (n, m, len(second), len(third)) == (4, 1, 4, 4) and len({call[3] for call in model.calls}) == 3
    assert second[3] == debate_prompt(problems[0], [f" {answer(90)}", f" {answer(91)}"])
    words = len(answer(90).split())
    assert a.cost.prompt_tokens == PROMPT_TOKENS * (1 + 4 + 4) and a.cost.generated_tokens == 12 * words
    assert a.cost.flops == 10.0 * (9 * PROMPT_TOKENS + 12 * words)
    assert heard(["a", "b"], 0, hears=5) == ["b"] and heard(["a"], 0, hears=2) == []
    with pytest.raises(ValueError, match="use at least 0 and 1"):
        Debate(TASK, rounds=-1)


def test_all_problems_and_agents_advance_together(problems):
    model = Scripted(right(problems))
    solved = Debate(TASK, 2).solve(problems, model, Budget(3))
    assert [a.grade for a in solved] == [Grade.CORRECT] * 3
    assert [len(prompts) for prompts, *_ in model.calls] == [3, 9, 9]
    assert Debate(TASK).solve([], model, Budget(3)) == []


def test_correctness_by_round_is_a_share(problems):
    (p, *_) = problems
    model = Scripted(lambda prompt, times: answer(p.answer) if times % 3 else answer("No idea"))
    (group,) = model.sample([TASK.prompt(p)], 4)
    assert correctness_by_round(TASK, p, [group, group[1:3]]) == [0.5, 1.0]


# ---------------------------------------------------------------- roles


def test_the_verifier_sends_a_problem_round_again_until_it_is_content(problems):
    a, b, c = problems
    plans = {p.question: f"Plan {i}." for i, p in enumerate(problems)}

    def planner(prompt, times):
        return plans[prompt.question] + f" Try {times}."

    def solve(prompt, times):
        (p,) = [p for p in problems if prompt.question.startswith(p.question)]
        # The first plan of b and all plans of c lead astray.
        good = p is a or (p is b and "Try 1" in prompt.question)
        return answer(p.answer if good else int(p.answer) + 1)

    def check(prompt, times):
        (p,) = [p for p in problems if prompt.question.startswith(p.question)]
        return "1 + 1 = 2 told 2 right. Yes." if p is a or (p is b and times == 1) else "1 + 1 = 2 told 3 wrong. No."

    plan_model, solver, verifier = Scripted(planner), Scripted(solve), Scripted(check)
    solved = PlannerSolverVerifier(TASK, plan_model, verifier).solve(problems, solver, Budget(3))
    assert [len(x.trace) for x in solved] == [1, 2, 3]
    assert [x.grade for x in solved] == [Grade.CORRECT, Grade.CORRECT, Grade.WRONG]
    assert [t.chance for t in solved[1].trace] == [0.0, 1.0]
    assert plan_model.calls[0][0] == [plan_prompt(p) for p in problems]
    assert solver.calls[0][0][1] == follow_prompt(b, " Plan 1. Try 0.")
    assert verifier.calls[0][0][0] == verify_prompt(a, ["1 + 1 = 2"])
    assert [call[2] for call in solver.calls] == [0.0, 1.0, 1.0], "the first turn is greedy"
    assert len({call[3] for call in solver.calls}) == 3
    # A plan, a solution and a check for each turn.
    written = ("Plan 0. Try 0.", answer(1), check(verify_prompt(a, []), 0))
    tokens = 3 * PROMPT_TOKENS + sum(len(t.split()) for t in written)
    assert solved[0].cost.tokens == tokens and solved[0].cost.flops == 10 * tokens
    assert solved[2].cost.tokens == 3 * tokens


def test_the_share_of_several_checks_is_the_verifiers_chance(problems):
    solver = Scripted(lambda prompt, times: answer(problems[0].answer))
    verifier = Scripted(lambda prompt, times: "Yes." if times < 3 else "No.")
    (a,) = PlannerSolverVerifier(TASK, solver, verifier, checks=4).solve(problems[:1], solver, Budget(3))
    assert [t.chance for t in a.trace] == [0.75] and verifier.calls[0][1:3] == (4, 1.0)


def test_one_model_can_play_all_roles_and_a_solution_without_an_answer_is_not_shown(problems):
    def reply(prompt, times):
        if prompt == plan_prompt(problems[0]):
            return "Plan: go."
        if prompt.instruction == verify_prompt(problems[0], []).instruction:
            return "1 + 1 = 2 told 2 right. Yes."
        return "1 + 1 = 2." if times == 0 else answer(3)

    model = Scripted(reply)
    (a,) = PlannerSolverVerifier(TASK).solve(problems[:1], model, Budget(2))
    asked = [p for prompts, *_ in model.calls for p in prompts if p == verify_prompt(problems[0], ["1 + 1 = 2"])]
    assert [t.chance for t in a.trace] == [0.0, 1.0] and len(asked) == 1 and a.answer == "3"


# ---------------------------------------------------------------- round table


def test_a_round_table_of_one_is_that_agent(problems):
    model = Scripted(right(problems))
    table = RoundTable(TASK, rounds=4).solve(problems, model, Budget())
    assert [a.grade for a in table] == [Grade.CORRECT] * 3 and [len(a.trace) for a in table] == [1] * 3
    assert len(model.calls) == 1 and model.calls[0][2] == 0.0
    assert [a.cost.prompt_tokens for a in table] == [PROMPT_TOKENS] * 3


def test_the_table_talks_until_it_agrees_and_votes_with_confidence(problems):
    a, b, _ = problems

    def reply_of(own):
        def reply(prompt, times):
            if prompt.question.startswith(b.question):
                return answer(own)  # never to be moved
            heard_now = prompt.question.split(" One says: ")[1:]
            return answer(a.answer if heard_now or own == 11 else own)

        return reply

    table = [Scripted(reply_of(own), sure=sure, name=str(own)) for own, sure in ((11, 0.95), (12, 0.85), (12, 0.7))]
    solved = RoundTable(TASK, table[1:], rounds=2).solve([a, b], table[0], Budget())
    assert [len(x.trace) for x in solved] == [2, 3], "the first problem is agreed upon after one round"
    assert solved[0].grade == Grade.CORRECT
    # 0.8 for 11 against 0.5 + 0.3 for 12: equal weights, and 11 spoke first.
    assert solved[1].answer == "11"
    heads = RoundTable(TASK, table[1:], rounds=0, weight=lambda confidence: 1.0).solve([b], table[0], Budget())
    assert heads[0].answer == "12"
    assert [s.agent for s in solved[1].trace[0]] == ["11", "12", "12"]
    assert [s.confidence for s in solved[1].trace[0]] == pytest.approx([0.95, 0.85, 0.7])
    # The second agent hears the first and the third, not itself.
    second_round = table[1].calls[1][0][0]
    assert second_round == debate_prompt(a, [s.text for i, s in enumerate(solved[0].trace[0]) if i != 1])


def test_recalibration_never_falls():
    values = [recalibrated(c / 100) for c in range(101)]
    assert values == sorted(values) and set(values) == {0.1, 0.3, 0.5, 0.8, 1.0}


def test_confidence_of_a_completion():
    said = Completion("x", (1, 2), (math.log(0.25), math.log(1.0)), "stop", 1, Cost())
    assert likelihood_of(said) == pytest.approx(0.5) and least_sure(said) == pytest.approx(0.25)


# ---------------------------------------------------------------- split evidence

SPLIT = SplitEvidenceTask(budget=2)


@pytest.fixture(scope="module")
def shared():
    return SPLIT.problems(12, seed=1)


def gold(problems):
    """Writes what the task's own agents write, and without more messages what its half says."""

    def reply(prompt, times):
        for p, agent in itertools.product(problems, (0, 1)):
            head = SPLIT.agent_prompt(p, agent, []).question
            if prompt.question.startswith(head):
                told = prompt.question[len(head) :].strip()
                messages = [f"Message:{m}".strip() for m in told.split("Message:")[1:]]
                return SPLIT.agent_solution(p, agent, messages, final=prompt.instruction == INSTRUCTIONS["cot"])
        raise AssertionError(prompt)

    return reply


def test_gold_agents_solve_every_problem_as_their_task_says(shared):
    model = Scripted(gold(shared))
    solved = Exchange(SPLIT, messages=20).solve(shared, model, Budget())
    assert [a.grade for a in solved] == [Grade.CORRECT] * len(shared)
    for a, p in zip(solved, shared, strict=True):
        assert a.trace == [(agent, text) for agent, _, text in SPLIT.exchange(p)]
        assert a.cost.prompt_tokens == PROMPT_TOKENS * len(a.trace)
    assert len(model.calls[0][0]) == len(shared) and len(model.calls[-1][0]) < len(shared), (
        "all together, the done leave"
    )


def test_without_messages_it_is_one_agent_with_its_half(shared):
    model = Scripted(gold(shared))
    solved = Exchange(SPLIT, messages=0).solve(shared, model, Budget())
    assert [len(a.trace) for a in solved] == [1] * len(shared)
    (prompts, n, temperature, _) = model.calls[0]
    for prompt, p in zip(prompts, shared, strict=True):
        seen = " ".join(p.facts["views"][0])
        assert prompt.question == f"{seen} {p.question.split('. ')[-1]}" and prompt.instruction == INSTRUCTIONS["cot"]
    # "Yes" never follows from one half.
    assert [a.grade == Grade.CORRECT for a in solved] == [p.answer == "no" for p in shared]


@pytest.mark.parametrize("messages", [1, 2, 3])
def test_the_message_budget_is_kept_and_the_last_one_must_answer(shared, messages):
    solved = Exchange(SPLIT, messages).solve(shared, Scripted(gold(shared)), Budget())
    for a in solved:
        assert len(a.trace) <= messages + 1 and SPLIT.extract(a.trace[-1][1]) is not None
        assert [agent for agent, _ in a.trace] == [i % 2 for i in range(len(a.trace))]
        assert facts_sent(SPLIT, a.trace) <= 2 * messages
    assert any(len(a.trace) == messages + 1 for a in solved)


def test_only_messages_cross_and_no_more_than_fits(shared):
    secret = "Zoe is wise if shy. Message: Zoe is fair if kind. Zoe is kind if calm. Zoe is calm if shy."
    model = Scripted(lambda prompt, times: "Zoe thinks aloud." if "Message" in prompt.question else secret)
    solved = Exchange(SPLIT, messages=2).solve(shared[:1], model, Budget())
    first, second, last = (call[0][0] for call in model.calls)
    assert "Message" not in first.question and "Zoe is wise" not in second.question + last.question
    for prompt in (second, last):
        assert prompt.question.endswith("? Message: Zoe is fair if kind. Zoe is kind if calm."), "two facts a message"
    assert solved[0].trace[0] == (0, secret) and solved[0].answer is None
    assert facts_sent(SPLIT, solved[0].trace) == 2


def test_two_different_agents_and_settings_that_mean_nothing(shared):
    first, second = Scripted(gold(shared)), Scripted(gold(shared))
    Exchange(SPLIT, 4, other=second).solve(shared, first, Budget())
    heads = [{SPLIT.agent_prompt(p, agent, []).question for p in shared} for agent in (0, 1)]
    for model, mine in ((first, heads[0]), (second, heads[1])):
        assert model.calls and all(any(q.question.startswith(h) for h in mine) for call in model.calls for q in call[0])
    with pytest.raises(ValueError, match="allow 0 or more"):
        Exchange(SPLIT, -1)


# ---------------------------------------------------------------- large and small


@pytest.fixture(scope="module")
def pair():
    return load_model("instruct", device="cpu"), load_model("base-small", device="cpu")


def test_take_over_at_0_is_the_small_model_and_at_1_the_large_one(pair):
    large, small = pair
    problems = [*TASK.problems(3, seed=4), *TASK.problems(3, seed=4, difficulty=8)]
    for threshold, model, share in ((0.0, small, 0.0), (1.0, large, 1.0)):
        attempts = TakesOver(TASK, small, threshold).solve(problems, large, Budget(1, 70))
        alone = [g[0].text for g in model.sample([TASK.prompt(p) for p in problems], 1, 70, temperature=0)]
        # The take-over stops where the answer is stated.
        assert all(text.startswith(text_of(a.trace)) for a, text in zip(attempts, alone, strict=True))
        assert [a.answer for a in attempts] == [TASK.extract(t) for t in alone]
        assert share_of_large(attempts) == [share] * len(problems)
    middle = TakesOver(TASK, small, 0.6).solve(problems, large, Budget(1, 70))
    for step in (s for a in middle for s in a.trace if s.writer == "small"):
        assert step.kept == (step.score > 0.6)
    assert 0 < sum(share_of_large(middle)) < len(problems)
    with pytest.raises(ValueError, match="from 0 to 1"):
        TakesOver(TASK, small, 1.5)


def test_certainty_is_the_least_sure_tokens(pair):
    class Seen:
        own = [[math.log(0.9), math.log(0.2)], [math.log(0.5)]]

    assert by_own_certainty(Seen()) == pytest.approx([0.2, 0.5])


def test_routing_sends_what_the_small_model_is_unsure_of(problems):
    a, b, c = problems
    unsure = {a.question: 0.95, b.question: 0.4, c.question: 0.6}
    small = Scripted(lambda prompt, times: answer(1), sure=lambda prompt: unsure[prompt.question])
    large = Scripted(right(problems))
    solved = Routed(TASK, small, 0.6).solve(problems, large, Budget())
    assert [x.answer for x in solved] == ["1", b.answer, c.answer]
    assert large.calls[0][0] == [TASK.prompt(b), TASK.prompt(c)]
    assert share_of_large(solved) == [0.0, 1.0, 1.0]
    words = len(answer(1).split())
    assert [x.cost.tokens for x in solved] == [PROMPT_TOKENS + words] + [2 * (PROMPT_TOKENS + words)] * 2
    for threshold, model in ((0.0, small), (1.0, large)):
        alone = [TASK.extract(g[0].text) for g in model.sample([TASK.prompt(p) for p in problems])]
        assert [x.answer for x in Routed(TASK, small, threshold).solve(problems, large, Budget())] == alone


def test_the_large_model_plans_and_the_small_one_solves(problems):
    large = Scripted(lambda prompt, times: "Plan: add.")
    small = Scripted(right(problems))
    solved = LargePlans(TASK, small).solve(problems, large, Budget())
    assert [a.grade for a in solved] == [Grade.CORRECT] * 3
    assert large.calls[0][0] == [plan_prompt(p) for p in problems]
    assert small.calls[0][0] == [follow_prompt(p, "Plan: add.") for p in problems]
    words = len(answer(1).split())
    assert share_of_large(solved) == pytest.approx([2 / (2 + words)] * 3)
    assert [a.cost.tokens for a in solved] == [2 * PROMPT_TOKENS + 2 + words] * 3
