"""The first error of a solution, on texts whose error is known."""

from __future__ import annotations

from random import Random

import pytest

from srm_utils.evaluation.errors import ERROR_KINDS, first_error
from srm_utils.tasks import get_task, task_names

WRONG = "The answer is 98."


@pytest.fixture(scope="module")
def chain():
    task = get_task("chain")
    return task, next(p for p in task.problems(40, difficulty=3) if "*" not in p.canonical and p.answer != "98")


def test_gold_solutions_have_no_error():
    for name in task_names():
        task = get_task(name)
        for problem in task.problems(6, seed=3):
            assert first_error(task, problem, task.solution(problem, "cot")) == "", name


def test_each_kind_on_a_chain(chain):
    task, problem = chain
    start, (sign, k), *_ = problem.facts["start"], *problem.facts["changes"]
    value = int(problem.steps[0].rsplit(" ", 1)[1])
    slip = f"{start} {sign} {k} = {value + 1}. {WRONG}"
    flipped = "-" if sign == "+" else "+"
    misread = f"{start} {flipped} {k} = {start - k if flipped == '-' else start + k}. {WRONG}"
    assert first_error(task, problem, "I do not know") == "format"
    assert first_error(task, problem, slip) == "arithmetic"
    assert start < k and flipped == "-" or first_error(task, problem, misread) == "look-up"
    assert first_error(task, problem, f"{problem.steps[0]}. {WRONG}") == "plan"
    assert first_error(task, problem, WRONG) == "no steps"
    assert first_error(task, problem, f"{slip[: -len(WRONG)]} The answer is {problem.answer}.") == ""


def test_the_first_departure_decides(chain):
    task, problem = chain
    slip = problem.steps[1].rsplit(" ", 1)[0] + " 97"
    assert first_error(task, problem, f"{problem.steps[0]}. {slip}. 97 + 1 = 98. {WRONG}") == "arithmetic"
    assert first_error(task, problem, f"{problem.steps[0]}. 97 + 1 = 98. {slip}. {WRONG}") == "look-up"


def test_a_graph_parts_wrong_plans_from_wrong_look_ups():
    task = get_task("graph")
    problem = task.problems(1, seed=2, difficulty=3)[0]
    nodes, needed = problem.facts["nodes"], problem.facts["needed"]
    spare = next(x for x in nodes if x not in needed)
    told = next(s for s in problem.question.split(". ") if s.startswith(f"{spare} has"))
    assert first_error(task, problem, f"{told}. {WRONG}") == "plan"
    target = problem.facts["target"]
    assert first_error(task, problem, f"{target} has 1 more than {target}. {WRONG}") == "look-up"
    assert first_error(task, problem, f"{problem.steps[0].rsplit(' ', 1)[0]} 97. {WRONG}") == "arithmetic"


def test_a_dead_end_in_countdown_is_a_plan_error():
    task = get_task("countdown")
    from srm_utils.tasks.worlds.countdown_states import legal_moves, state_value

    for problem in task.problems(20, difficulty=3):
        numbers, target = problem.facts["numbers"], problem.facts["target"]
        dead = [m.step for m in legal_moves(numbers) if not state_value(m.after, target)]
        if dead:
            assert first_error(task, problem, f"{dead[0]}. The answer is 1 + 1.") == "plan"
            return
    pytest.fail("no problem with a dead end among twenty")


def test_division_counts_as_arithmetic():
    task = get_task("countdown")
    problem = task.problems(1, difficulty=3)[0]
    assert first_error(task, problem, "6 / 0 = 6. The answer is 1 + 1.") == "arithmetic"
    assert first_error(task, problem, "98 / 49 = 2. The answer is 1 + 1.") == "look-up"


def test_corrupted_solutions_have_steps_that_fail():
    task = get_task("chain")
    rng = Random(0)
    kinds = set()
    for problem in task.problems(60, seed=5):
        steps, _ = task.corrupt(problem, rng)
        kinds.add(first_error(task, problem, ". ".join(steps) + f". The answer is {steps[-1].rsplit(' ', 1)[1]}."))
    assert {"arithmetic", "look-up"} <= kinds <= {"arithmetic", "look-up", ""}
    assert set(ERROR_KINDS) >= kinds - {""}
