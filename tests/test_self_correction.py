"""Self-correction with scripted authors and critics whose every word is known, and once with a bundled model."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from srm_utils.inference.chain_of_thought import Prompting
from srm_utils.inference.self_correction import (
    NOTHING_WRONG,
    CheckingCritic,
    ExactVerifier,
    ModelCritic,
    ModelVerifier,
    Reflexion,
    Review,
    SelfCorrection,
    Verified,
    Version,
    stopped_after,
    transitions,
)
from srm_utils.inference.solver import Budget, attempt
from srm_utils.inference.voting import AdaptiveConsistency, SelfConsistency
from srm_utils.sampling.completion import Completion, Cost
from srm_utils.tasks import get_task, task_names
from srm_utils.tasks.problem import Grade
from srm_utils.tasks.prompts import critique_prompt, remember_prompt, revise_prompt, verify_prompt
from srm_utils.tasks.steps import steps_in
from srm_utils.tasks.worlds.sudoku import show, violations

TASK = get_task("chain")
PROBLEMS = TASK.problems(6, seed=3, difficulty=(2, 3))
RIGHT = {p.id: TASK.solution(p, "cot") for p in PROBLEMS}


def wrong_text(problem, seed=0):
    steps, at = TASK.corrupt(problem, Random(seed))
    return f"{'. '.join(steps)}. The answer is {steps[-1].rsplit(' ', 1)[1]}.", at


WRONG = {p.id: wrong_text(p)[0] for p in PROBLEMS}


class Scripted:
    """Answers each kind of prompt by its script, one token a word; remembers every prompt, its heat and seed."""

    def __init__(self, flops_per_token=2.0, **scripts):
        self.flops_per_token = flops_per_token
        self.scripts = scripts
        self.calls = []

    def sample(self, prompts, n=1, max_new_tokens=256, temperature=1.0, top_p=1.0, seed=0):
        self.calls.append((list(prompts), n, temperature, seed))
        return [[self.complete(p, i) for i in range(n)] for p in prompts]

    def complete(self, prompt, index):
        kind = {
            "Let us think step by step.": "solve",
            "What is wrong?": "critique",
            "Write it again.": "revise",
            "Is this solution right?": "judge",
            "Check every step.": "verify",
        }[prompt.instruction]
        problem = next(p for p in PROBLEMS if prompt.question.startswith(p.question))
        text = self.scripts[kind](problem, prompt, index)
        length = len(text.split())
        cost = Cost(generated_tokens=length, flops=self.flops_per_token * length)
        return Completion(
            f" {text}",
            (7,) * length,
            (-0.1,) * length,
            "stop",
            len(prompt.text().split()),
            cost,
            Cost(len(prompt.text().split()), flops=self.flops_per_token * len(prompt.text().split())),
        )

    def asked(self, instruction):
        return [p for prompts, *_ in self.calls for p in prompts if p.instruction == instruction]


def author(drafts=WRONG, revised=RIGHT, **scripts):
    """Writes the drafts, then their revisions."""
    return Scripted(solve=lambda p, *_: drafts[p.id], revise=lambda p, *_: revised[p.id], **scripts)


def half():
    """Every other draft is wrong."""
    return {p.id: (WRONG if i % 2 else RIGHT)[p.id] for i, p in enumerate(PROBLEMS)}


def content(problems, texts, model):
    return [Review(True, NOTHING_WRONG, Cost(scored_tokens=1)) for _ in problems]


def unhappy(problems, texts, model):
    return [Review(False, "Step 1 is wrong.", Cost(scored_tokens=1)) for _ in problems]


# ---------------------------------------------------------------- steps


# Stories are told in plain English, whose steps `plain_steps` reads (test_dialects.py).
@pytest.mark.parametrize("name", [name for name in task_names() if name != "stories"])
def test_the_steps_of_every_gold_solution_are_found_again(name):
    task = get_task(name)
    for problem in task.problems(5, seed=1):
        for style in ("cot", "retry", "check"):
            if style in task.styles:
                assert steps_in(task.solution(problem, style, Random(1)), problem) == list(problem.steps)


def test_steps_of_unusual_texts():
    problem = PROBLEMS[0]
    assert steps_in("", problem) == [] == steps_in("The answer is 5.", problem)
    assert steps_in("1 + 1 = 3. Wait. 1 + 1 = 2. The answer is 2.", problem) == ["1 + 1 = 2"]
    assert steps_in("1 + 1 = 3. Wait, that is wrong. 1 + 1 = 2. ", problem) == ["1 + 1 = 2"]
    assert steps_in("Some words. 1 + 1 = 2. And then", problem) == ["1 + 1 = 2"]
    assert steps_in("a" * 10**6 + ". 1 + 1 = 2.", problem) == []
    free = replace(problem, task="csv:mine")  # a task whose steps are sentences
    assert steps_in("It costs 3.5 a day. So 7!\nDone", free) == ["It costs 3.5 a day", "So 7", "Done"]


# ---------------------------------------------------------------- the loop


def test_zero_rounds_are_the_plain_solver_exactly():
    model = author(half())
    attempts = SelfCorrection(TASK, unhappy, rounds=0).solve(PROBLEMS, model, Budget())
    plain = Prompting(TASK, "cot").solve(PROBLEMS, author(half()), Budget())
    assert [(a.answer, a.grade, a.cost) for a in attempts] == [(a.answer, a.grade, a.cost) for a in plain]
    assert {len(a.trace) for a in attempts} == {1} and len(model.calls) == 1
    one = Reflexion(TASK, unhappy, trials=1).solve(PROBLEMS, author(half()), Budget())
    assert [(a.answer, a.cost) for a in one] == [(a.answer, a.cost) for a in plain]


def test_a_critic_that_is_always_content_changes_nothing_but_the_cost():
    plain = SelfCorrection(TASK, content, rounds=0).solve(PROBLEMS, author(half()), Budget())
    attempts = SelfCorrection(TASK, content, rounds=4).solve(PROBLEMS, author(half()), Budget())
    assert [a.answer for a in attempts] == [a.answer for a in plain]
    assert all(a.cost == b.cost + Cost(scored_tokens=1) for a, b in zip(attempts, plain, strict=True))
    assert transitions(TASK, PROBLEMS, attempts) == {("right", "right"): 3, ("wrong", "wrong"): 3}


def test_without_stop_even_content_reviews_are_followed_by_a_rewrite():
    model = author(RIGHT, WRONG)
    attempts = SelfCorrection(TASK, content, rounds=2, stop=False).solve(PROBLEMS, model, Budget())
    assert transitions(TASK, PROBLEMS, attempts) == {("right", "wrong"): len(PROBLEMS)}
    assert {len(a.trace) for a in attempts} == {3}
    assert len(model.calls) == 3, "all problems advance together"


def test_an_oracle_and_a_perfect_reviser_mend_everything_and_break_nothing():
    model = author(half())
    attempts = SelfCorrection(TASK, ExactVerifier(TASK), rounds=3).solve(PROBLEMS, model, Budget())
    assert {a.grade for a in attempts} == {Grade.CORRECT}
    assert transitions(TASK, PROBLEMS, attempts) == {("right", "right"): 3, ("wrong", "right"): 3}
    assert len(model.asked("Write it again.")) == 3
    assert [len(a.trace) for a in attempts] == [1, 2] * 3


def test_the_reviser_sees_its_own_steps_and_the_review():
    model = author()
    SelfCorrection(TASK, unhappy).solve(PROBLEMS[:1], model, Budget())
    (problem,) = PROBLEMS[:1]
    steps = WRONG[problem.id].split(". The answer")[0].split(". ")
    assert model.asked("Write it again.") == [revise_prompt(problem, steps, "Step 1 is wrong.")]


def test_the_last_version_is_not_reviewed_and_is_the_answer():
    model = author(WRONG, WRONG)
    attempts = SelfCorrection(TASK, unhappy, rounds=2).solve(PROBLEMS, model, Budget())
    for a, p in zip(attempts, PROBLEMS, strict=True):
        assert [v.review is None for v in a.trace] == [False, False, True]
        assert a.answer == TASK.extract(WRONG[p.id])
        assert a.cost.scored_tokens == 2


def test_every_round_draws_from_its_own_seed_at_the_heat_asked_for():
    model = author(WRONG, WRONG)
    SelfCorrection(TASK, unhappy, rounds=3, temperature=0.7, seed=5).solve(PROBLEMS, model, Budget())
    assert {heat for _, _, heat, _ in model.calls} == {0.7}
    assert len({seed for *_, seed in model.calls}) == 4 and model.calls[0][-1] == 5


def test_no_problems_no_attempts():
    solver = SelfCorrection(TASK, Verified(ExactVerifier(TASK), ModelCritic()))
    assert solver.solve([], author(), Budget()) == []


# ---------------------------------------------------------------- critics and verifiers


def test_cost_counts_drafts_reviews_and_revisions():
    model = author(critique=lambda *_: "Step 1 is wrong: 1 + 1 = 2.")
    (a,) = SelfCorrection(TASK, ModelCritic()).solve(PROBLEMS[:1], model, Budget())
    prompts = [p for asked, *_ in model.calls for p in asked]
    assert [p.instruction for p in prompts] == ["Let us think step by step.", "What is wrong?", "Write it again."]
    assert a.cost.prompt_tokens == sum(len(p.text().split()) for p in prompts)
    words = sum(len(t.split()) for t in (WRONG[a.problem_id], "Step 1 is wrong: 1 + 1 = 2.", RIGHT[a.problem_id]))
    assert a.cost.generated_tokens == words
    assert a.cost.flops == 2 * a.cost.tokens


def test_another_model_criticises_at_its_own_price():
    critic = Scripted(flops_per_token=100.0, critique=lambda *_: NOTHING_WRONG)
    model = author(half())
    attempts = SelfCorrection(TASK, ModelCritic(critic), rounds=2).solve(PROBLEMS, model, Budget())
    assert len(model.calls) == len(critic.calls) == 1
    assert critic.asked("What is wrong?")[0] == critique_prompt(PROBLEMS[0], list(PROBLEMS[0].steps))
    plain = SelfCorrection(TASK, content, rounds=0).solve(PROBLEMS, author(half()), Budget())
    for a, b, p in zip(attempts, plain, critic.asked("What is wrong?"), strict=True):
        assert a.cost.flops == b.cost.flops + 100 * (len(p.text().split()) + 3)


def test_a_verifier_decides_and_the_critic_only_explains():
    model = author(half(), critique=lambda *_: "Step 2 is wrong.")
    reviews = Verified(ExactVerifier(TASK), ModelCritic())(PROBLEMS, list(half().values()), model)
    assert [r.content for r in reviews] == [True, False] * 3
    assert [r.text for r in reviews] == [NOTHING_WRONG, "Step 2 is wrong."] * 3
    assert len(model.asked("What is wrong?")) == 3
    assert [r.cost.tokens > 0 for r in reviews] == [False, True] * 3


def test_where_the_critic_sees_nothing_the_verifiers_words_stand():
    model = author(critique=lambda *_: NOTHING_WRONG)
    texts = [WRONG[PROBLEMS[0].id], "I do not know."]
    reviews = Verified(ExactVerifier(TASK), ModelCritic())(PROBLEMS[:2], texts, model)
    assert [r.content for r in reviews] == [False, False]
    assert reviews[0].text == f"The answer {TASK.extract(texts[0])} is wrong."
    assert reviews[1].text == "There is no answer."


def test_a_model_verifier_believes_what_is_said():
    model = author(judge=lambda p, *_: "Yes." if p is PROBLEMS[0] else "No.")
    reviews = ModelVerifier(TASK)(PROBLEMS[:3], list(RIGHT.values())[:3], model)
    assert [r.content for r in reviews] == [True, False, False]
    assert all(r.cost.generated_tokens == 1 and r.cost.prompt_tokens > 5 for r in reviews)
    assert model.calls[0][1:3] == (1, 0.0)


@pytest.mark.parametrize(
    ("said", "yes"),
    [
        ("Yes.", True),
        ("No.", False),
        ("3 + 4 = 7, right. 7 - 2 = 5, right. Yes.", True),
        ("3 + 4 = 8, wrong. No.", False),
        ("Yes, there is no error in it.", True),
        ("No, yes would be wrong.", False),
        ("I am not sure.", False),
        ("", False),
    ],
)
def test_verdicts_are_read(said, yes):
    (review,) = ModelVerifier(TASK)(PROBLEMS[:1], [RIGHT[PROBLEMS[0].id]], author(judge=lambda *_: said))
    assert review.content is yes


def test_a_critic_that_checks_names_the_first_step_that_differs():
    problem = PROBLEMS[0]
    text, at = wrong_text(problem)
    shown = steps_in(text, problem)
    marks = [f"{own} told 1 {'wrong' if i == at else 'right'}" for i, own in enumerate(problem.steps[: at + 1])]
    model = author(verify=lambda *_: f"{'. '.join(marks)}. No.")
    (review,) = CheckingCritic()([problem], [text], model)
    assert (review.content, review.text) == (False, f"Step {at + 1} is wrong: {shown[at]}.")
    assert review.cost.generated_tokens > 0
    content = author(verify=lambda *_: "1 + 1 = 2 told 2 right. Yes.")
    assert CheckingCritic()([problem], [RIGHT[problem.id]], content)[0].text == NOTHING_WRONG
    # A "No" without a step rejects; a check of more steps than there are names none.
    unsure = CheckingCritic()([problem], [RIGHT[problem.id]], author(verify=lambda *_: "No."))[0]
    assert (unsure.content, unsure.text) == (False, NOTHING_WRONG)


@pytest.mark.parametrize(
    ("said", "content"),
    [
        (NOTHING_WRONG, True),
        ("There is nothing wrong with it.", True),
        ("I see no mistakes.", True),
        ("Step 1 is wrong: 1 + 1 = 3.", False),
        ("", False),
    ],
)
def test_critiques_are_read(said, content):
    (review,) = ModelCritic()(PROBLEMS[:1], [RIGHT[PROBLEMS[0].id]], author(critique=lambda *_: said))
    assert (review.content, review.text) == (content, said)


def test_a_sampling_verifier_counts_its_votes_and_reads_the_prompt_once():
    model = author(verify=lambda p, prompt, i: f"{p.steps[0]}, right. {'Yes' if i < 3 else 'No'}.")
    for threshold, kept in ((0.75, True), (0.76, False)):
        verifier = ModelVerifier(TASK, ask=verify_prompt, samples=4, threshold=threshold)
        (review,) = verifier(PROBLEMS[:1], [RIGHT[PROBLEMS[0].id]], model)
        assert review.content is kept
    asked = verify_prompt(PROBLEMS[0], PROBLEMS[0].steps)
    assert model.calls[0][:3] == ([asked], 4, 1.0)
    assert review.cost.prompt_tokens == len(asked.text().split())
    assert review.cost.generated_tokens == 4 * len(f"{PROBLEMS[0].steps[0]}, right. Yes.".split())


def test_sudoku_can_be_checked_without_knowing_the_answer():
    task = get_task("sudoku")
    problems = task.problems(20, seed=0)

    def fits(answer, problem):
        given = show(problem.facts["puzzle"])
        return violations(answer) == 0 and all(g in ("0", a) for g, a in zip(given, answer, strict=True))

    texts = [task.solution(p, "cot") for p in problems]
    shifted = texts[1:] + texts[:1]
    known, checked = ExactVerifier(task), ExactVerifier(task, fits)
    for said in (texts, shifted, ["The answer is 1."] * len(problems)):
        assert [r.content for r in checked(problems, said, None)] == [r.content for r in known(problems, said, None)]
    assert all(r.content for r in checked(problems, texts, None))


# ---------------------------------------------------------------- Reflexion


def test_notes_are_remembered_up_to_the_memory_and_every_trial_starts_afresh():
    count = {"n": 0}

    def counting(problems, texts, model):
        count["n"] += 1
        return [Review(False, f"Note {count['n']}.") for _ in problems]

    model = author()
    (a,) = Reflexion(TASK, counting, trials=4, memory=2).solve(PROBLEMS[:1], model, Budget())
    notes = [[], ["Note 1."], ["Note 1.", "Note 2."], ["Note 2.", "Note 3."]]
    assert [p for asked, *_ in model.calls for p in asked] == [remember_prompt(PROBLEMS[0], n) for n in notes]
    assert len(a.trace) == 4 and a.trace[-1].review is None


def test_reflexion_stops_at_the_first_success():
    texts = {PROBLEMS[0].id: RIGHT, PROBLEMS[1].id: WRONG}
    second = Scripted(solve=lambda p, prompt, i: (RIGHT if "Earlier:" in prompt.question else texts[p.id])[p.id])
    attempts = Reflexion(TASK, ExactVerifier(TASK), trials=4).solve(PROBLEMS[:2], second, Budget())
    assert [len(a.trace) for a in attempts] == [1, 2]
    assert {a.grade for a in attempts} == {Grade.CORRECT}
    said = TASK.extract(WRONG[PROBLEMS[1].id])
    assert second.calls[1][0] == [remember_prompt(PROBLEMS[1], [f"The answer {said} is wrong."])]


@pytest.mark.parametrize(("trials", "memory"), [(0, 1), (2, -1)])
def test_reflexion_says_what_it_needs(trials, memory):
    with pytest.raises(ValueError, match="use 1 and 0 or more"):
        Reflexion(TASK, unhappy, trials=trials, memory=memory)


# ---------------------------------------------------------------- one run for every length, transitions, a real model


def test_a_long_run_cut_short_is_the_short_run():
    """A problem that is right at once, one mended by a second try, one never mended."""
    texts = {PROBLEMS[0].id: [RIGHT], PROBLEMS[1].id: [WRONG, RIGHT], PROBLEMS[2].id: [WRONG]}

    def write(problem, prompt, index):
        script = texts[problem.id]
        return script[min("Step 9" in prompt.question, len(script) - 1)][problem.id]

    def run(versions, make):
        model = Scripted(solve=write, revise=write, critique=lambda *_: "Step 9 is wrong.")
        return make(versions).solve(PROBLEMS[:3], model, Budget())

    eyes = Verified(ExactVerifier(TASK), ModelCritic())
    for make in (lambda n: SelfCorrection(TASK, eyes, rounds=n - 1), lambda n: Reflexion(TASK, eyes, trials=n)):
        long = run(5, make)
        assert [len(a.trace) for a in long] == [1, 2, 5]
        for n in (1, 2, 3, 5, 9):
            assert stopped_after(TASK, PROBLEMS[:3], long, n) == run(min(n, 5), make)
    with pytest.raises(ValueError, match="keep at least 1"):
        stopped_after(TASK, PROBLEMS[:3], long, 0)


def test_transitions_count_first_against_last():
    one, two = PROBLEMS[:2]
    attempts = [
        attempt(TASK, one, one.answer, [Version(WRONG[one.id]), Version("?"), Version(RIGHT[one.id])], Cost()),
        attempt(TASK, two, None, [Version(RIGHT[two.id]), Version("I give up.")], Cost()),
    ]
    assert transitions(TASK, [one, two], attempts) == {("wrong", "right"): 1, ("right", "wrong"): 1}


@pytest.fixture(scope="module")
def base():
    from srm_utils.models import load_model

    return load_model("base", device="cpu", threads=1)


def test_without_memory_it_is_sampling_again_until_verified(base):
    """The same draws, answers and costs as a vote of one that stops at the first right answer."""
    problems = TASK.problems(6, seed=8, difficulty=(4, 6))
    budget = Budget(samples=4, max_new_tokens=48)
    again = Reflexion(TASK, ExactVerifier(TASK), trials=4, memory=0, temperature=1.5, seed=3)
    attempts = again.solve(problems, base, budget)
    tried = {len(a.trace) for a in attempts}
    assert len(tried) > 1, "some stop early and some do not, else nothing is compared"
    for problem, a in zip(problems, attempts, strict=True):
        stop = AdaptiveConsistency(
            TASK,
            batch=1,
            threshold=0.5,
            temperature=1.5,
            seed=3,
            posterior=lambda answers, gold=problem.answer: float(answers[-1] == gold),
        )
        (b,) = stop.solve([problem], base, budget)
        assert [v.text for v in a.trace] == [c.text for c in b.trace]
        assert a.cost.generated_tokens == b.cost.generated_tokens and a.cost.prompt_tokens == b.cost.prompt_tokens


def test_zero_rounds_at_a_heat_are_one_sample(base):
    problems = TASK.problems(4, seed=9)
    attempts = SelfCorrection(TASK, unhappy, rounds=0, temperature=1.0, seed=4).solve(problems, base, Budget(1, 48))
    plain = SelfConsistency(TASK, seed=4).solve(problems, base, Budget(1, 48))
    assert [a.trace[0].text for a in attempts] == [a.trace[0].text for a in plain]
    assert [a.cost.flops for a in attempts] == [a.cost.flops for a in plain]
