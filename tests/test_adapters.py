"""reasoning-gym: making problems, splitting, grading, and what is said when something is missing."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from srm_utils.tasks import get_task
from srm_utils.tasks.problem import SPLIT_BOUNDS, Grade, split_of
from srm_utils.tasks.reasoning_gym import ReasoningGymTask

# reasoning-gym


@pytest.fixture(scope="module")
def gsm() -> ReasoningGymTask:
    return ReasoningGymTask("gsm_symbolic")


def test_gsm_symbolic_is_split_by_template(gsm):
    templates = {
        split: {p.facts["template"] for seed in (1, 2) for p in gsm.problems(150, split=split, seed=seed)}
        for split in SPLIT_BOUNDS
    }
    for one, other in itertools.combinations(templates.values(), 2):
        assert not one & other
    assert {split: len(found) for split, found in templates.items()} == {
        "train": len(templates["train"]), "validation": 4, "test": 5, "confirm": 6,
    }  # fmt: skip
    assert len(templates["train"]) > 55


def test_gsm_symbolic_has_worked_solutions_that_grade_correct(gsm):
    for split in SPLIT_BOUNDS:
        for problem in gsm.problems(40, split=split, seed=3):
            text = gsm.solution(problem, "cot")
            assert len(problem.steps) >= 1 and "####" not in text and all(s in text for s in problem.steps)
            assert "\n\n" not in text and text.endswith(f"The answer is {problem.answer}.")
            assert gsm.grade(text, problem) is gsm.grade(gsm.solution(problem, "direct"), problem) is Grade.CORRECT


def test_gsm_symbolic_answers_as_people_write_them(gsm):
    whole = (p for p in gsm.problems(100, split="train", seed=1) if p.answer.isdigit())
    problem = next(p for p in whole if int(p.answer) > 1000)
    for said in (f"{int(problem.answer):,}", f"{problem.answer}.0", f"{problem.answer} euros", f"${problem.answer}"):
        assert gsm.grade(f"The answer is {said}.", problem) is Grade.CORRECT, said
    assert gsm.grade(f"<answer>{problem.answer}</answer>", problem) is Grade.CORRECT
    assert gsm.grade(f"The answer is {int(problem.answer) + 1}.", problem) is Grade.WRONG
    assert gsm.grade("I cannot say what it is, sorry", problem) is Grade.UNPARSABLE


def test_a_negative_answer_counts_though_the_scorer_cannot_read_one(gsm):
    negative = [p for p in gsm.problems(2000, split="train", seed=5) if p.answer.startswith("-")]
    assert negative
    for problem in negative:
        assert gsm.grade(f"The answer is {problem.answer}.", problem) is Grade.CORRECT
        assert gsm.grade(f"The answer is {problem.answer[1:]}.", problem) is Grade.WRONG


def test_gsm_symbolic_canonical_forms_hold_no_names(gsm):
    for problem in gsm.problems(60, split="train", seed=2):
        _, template, numbers = problem.canonical.split("|")
        assert template == f"template {problem.facts['template']}"
        assert all(part.split("=")[1].replace(".", "").replace("-", "").isdigit() for part in numbers.split(";"))


@pytest.mark.parametrize("name", ["chain_sum", "mini_sudoku", "gcd", "n_queens"])
def test_other_tasks_are_split_by_question_and_seeded(name):
    task = ReasoningGymTask(name)
    by_split = {}
    for split in SPLIT_BOUNDS:
        problems = task.problems(4, split=split, seed=1)
        assert problems == task.problems(4, split=split, seed=1) != task.problems(4, split=split, seed=2)
        by_split[split] = {p.canonical for p in problems}
        for problem in problems:
            assert split_of(problem.canonical) == split
            assert task.grade(task.solution(problem, "direct"), problem) is Grade.CORRECT
            json.dumps(dict(problem.facts))
    assert len(set().union(*by_split.values())) == 16
    seeds = {s: [p.facts["seed"] for p in task.problems(4, split=s, seed=1)] for s in SPLIT_BOUNDS}
    assert all(max(a) < min(b) for a, b in itertools.pairwise(seeds.values()))


def test_the_scorer_accepts_another_right_answer():
    task = ReasoningGymTask("countdown")
    problem = task.problems(1, seed=1)[0]
    swapped = f"0 + {problem.answer}"
    assert task.grade(f"<answer>({problem.answer})</answer>", problem) is Grade.CORRECT
    assert task.grade(f"<answer>{swapped}</answer>", problem) is Grade.WRONG  # it uses a number it was not given
    integral = ReasoningGymTask("simple_integration")
    for problem in integral.problems(5, seed=1, split="train"):
        reordered = " + ".join(reversed(problem.answer.replace("- ", "+ -1*").split(" + ")))
        assert integral.grade(f"<answer>{reordered}</answer>", problem) is Grade.CORRECT
        assert integral.grade(f"<answer>{reordered} + X</answer>", problem) is Grade.WRONG
        assert integral.grade(f"<answer>{reordered} + x</answer>", problem) is Grade.WRONG
    queens = ReasoningGymTask("n_queens", min_remove=7, max_remove=7)
    many = next(p for p in queens.problems(5, seed=1) if len(_valid(p)) > 1)
    other = next(a for a in _valid(many) if a.strip() != many.answer.strip())
    assert queens.grade(f"<answer>\n{other}\n</answer>", many) is Grade.CORRECT
    assert queens.grade(f"<answer>\n{other[::-1]}x\n</answer>", many) is Grade.WRONG


def _valid(problem: Any) -> list[str]:
    from reasoning_gym.factory import create_dataset

    made = create_dataset("n_queens", seed=problem.facts["seed"], size=1, min_remove=7, max_remove=7)
    return made[0]["metadata"]["valid_answers"]


EVALUATING = (
    "binary_matrix", "n_queens", "spiral_matrix", "string_insertion", "countdown", "puzzle24",
    "polynomial_multiplication", "simple_integration", "intermediate_integration",
)  # fmt: skip


@pytest.mark.parametrize("name", EVALUATING)
def test_no_answer_is_run_as_code(name, tmp_path):
    task = ReasoningGymTask(name)
    problem = task.problems(1, seed=1, split="train")[0]
    target = tmp_path / "written"
    hostile = (
        f"__import__('pathlib').Path({str(target)!r}).write_text('x')",
        f"[open({str(target)!r}, 'w')]",
        f"open({str(target)!r}, chr(119))",
        "().__class__.__base__.__subclasses__()",
        "9**9**9**9", "((9**99)**99)**99", "(9**9)**(9**9)", "9 ** 9 ** 9", "factorial(99999)",
        "exp(exp(exp(exp(99))))" * 9, "a" * 299 + "!", "1+" * 149 + "!",
        "(x+C+1)**9*(x+2)**9", "/".join(f"(x+C+{i})" for i in range(12)),
        "log(sin(exp(cos(x+C)+x)+x)+x)**9/sqrt(x+tan(x))",
        "(" * 5000, "[" * 100_000, "1" * 1_000_000, "lambda: 0", "x.is_zero",
    )  # fmt: skip
    for text in hostile:
        started = time.process_time()
        assert task.grade(f"<answer>{text}</answer>", problem) is Grade.WRONG, text[:60]
        assert time.process_time() - started < 2, text[:60]
    assert not target.exists()


@settings(max_examples=60, deadline=None)
@given(text=st.one_of(st.text(), st.text("0123456789-., $").map(lambda s: f"The answer is {s}")))
def test_gym_grading_never_raises(text):
    for name in ("gsm_symbolic", "number_sorting", "jugs", "n_queens"):
        task = ReasoningGymTask(name)
        problem = task.problems(1, split="train", seed=1)[0]
        assert task.grade(text, problem) in set(Grade)
        assert task.grade(f"<answer>{text}</answer>", problem) in set(Grade)


def test_settings_reach_the_generator_and_bad_ones_are_told_at_once():
    assert all(p.question.count("+") + p.question.count("-") >= 7
               for p in ReasoningGymTask("chain_sum", min_terms=8, max_terms=9).problems(5))  # fmt: skip
    with pytest.raises(ValueError, match="reasoning-gym cannot make 'chain_sum' with the settings"):
        ReasoningGymTask("chain_sum", min_terms=9, max_terms=2)
    with pytest.raises(ValueError, match="cannot make 'chain_sum' .*colour"):
        ReasoningGymTask("chain_sum", colour="blue")
    with pytest.raises(ValueError, match="'seed' is not a setting here"):
        ReasoningGymTask("chain_sum", seed=3)


def test_gym_mistakes_are_answered_in_a_sentence(gsm):
    with pytest.raises(ValueError, match="reasoning-gym has no task 'gsm_symbolc'; did you mean gsm_symbolic"):
        get_task("reasoning-gym:gsm_symbolc")
    with pytest.raises(ValueError, match="has no style 'poem'; choose one of direct, cot"):
        gsm.solution(gsm.problems(1)[0], "poem")
    with pytest.raises(ValueError, match="no held-out sentence templates"):
        gsm.problems(1, templates="held-out")
    with pytest.raises(ValueError, match="There is no split 'dev'"):
        gsm.problems(1, split="dev")
    with pytest.raises(ValueError, match="the one difficulty 1"):
        gsm.problems(1, difficulty=4)
    rush_hour = ReasoningGymTask("rush_hour")
    with pytest.raises(ValueError, match="gives no gold answer"):
        rush_hour.solution(rush_hour.problems(1, split="train")[0], "direct")
    with pytest.raises(ValueError, match="no more distinct train problems; ask for fewer than 50"):
        ReasoningGymTask("coin_flip", min_trials=3, max_trials=3).problems(50, split="train")


@pytest.mark.parametrize("name", ["gsm_symbolic", "syllogism", "letter_counting"])
def test_every_task_can_be_asked_to_think_and_is_told_so_last(name):
    task = ReasoningGymTask(name)
    problem = task.problems(1, seed=2)[0]
    between = "\n" if "\n" in problem.question else " "
    text = task.prompt(problem, "cot").text()
    assert text == f"Question: {problem.question.strip()}{between}Let us think step by step.\nAnswer:"
    assert task.grade(task.solution(problem, "cot"), problem) is Grade.CORRECT


def test_importing_the_registry_loads_neither_library():
    program = (
        "import sys, srm_utils.tasks as t; t.task_names(); t.get_task('chain'); "
        "print({'datasets', 'reasoning_gym', 'sympy'} & set(sys.modules))"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "set()", done.stderr
