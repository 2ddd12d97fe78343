"""reasoning-gym and Hugging Face data sets: reading, splitting, grading, and what is said when something is missing."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from srm_utils.tasks import get_task
from srm_utils.tasks.huggingface import SOURCES, HuggingFaceTask
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


# Hugging Face data sets, each in its true schema

ROWS: dict[str, list[dict[str, Any]]] = {
    "gsm8k": [
        {
            "question": f"Ann has {i} apples and buys {2000 + i} more. How many apples does Ann have?",
            "answer": f"Ann has {i}+{2000 + i}=<<{i}+{2000 + i}={2000 + 2 * i}>>{2000 + 2 * i} apples.\n"
            f"#### {2000 + 2 * i:,}",
        }
        for i in range(60)
    ],
    "math-500": [
        {
            "problem": rf"What is $\frac{{{i}}}{{7}} + 1$?",
            "solution": rf"We add. So the sum is $\boxed{{\frac{{{i + 7}}}{{7}}}}$.",
            "answer": rf"\frac{{{i + 7}}}{{7}}",
            "subject": "Prealgebra",
            "level": 1 + i % 5,
            "unique_id": f"test/prealgebra/{i}.json",
        }
        for i in range(1, 61)
        if i % 7
    ],
    "aime": [
        {
            "id": i,
            "problem": f"Find the remainder of $10^{{{i}}}$ by {900 + i}.",
            "solution": rf"It is $\boxed{{{i:03d}}}$.",
            "answer": f"{i:03d}",
            "url": "",
            "year": "2024",
        }
        for i in range(60, 90)
    ],
    "medqa": [
        {
            "question": f"A {20 + i}-year-old man has a cough. What is the best next step?",
            "answer": f"Drug {i}",
            "options": {"A": "Rest", "B": f"Drug {i}", "C": "A scan", "D": "Surgery"},
            "meta_info": "step1",
            "answer_idx": "B",
            "metamap_phrases": ["cough"],
        }
        for i in range(60)
    ],
    "pubmedqa": [
        {
            "pubid": 1000 + i,
            "question": f"Does drug {i} work?",
            "context": {
                "contexts": [f"We gave drug {i} to 30 people.", "Most were better."],
                "labels": ["METHODS", "RESULTS"],
                "meshes": ["Humans"],
                "reasoning_required_pred": ["y"],
                "reasoning_free_pred": ["y"],
            },
            "long_answer": f"Drug {i} works.",
            "final_decision": ("yes", "no", "maybe")[i % 3],
        }
        for i in range(60)
    ],
    "gpqa": [
        {
            "Question": f"Which particle has spin {i}/2?\n",
            "Correct Answer": f"Particle {i}\n",
            "Incorrect Answer 1": "A quark",
            "Incorrect Answer 2": "None",
            "Incorrect Answer 3": "All of them",
            "Explanation": f"Spin {i}/2 is known.",
            "Subdomain": "Physics (general)",
        }
        for i in range(60)
    ],
}


def _write(rows: list[dict[str, Any]], file: Path) -> Path:
    if file.suffix == ".parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file)
    else:
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def _all(task: HuggingFaceTask) -> dict[str, list[Any]]:
    return {split: task._split(split) for split in task.source.shares}


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
@pytest.mark.parametrize("name", list(ROWS))
def test_a_local_file_is_read_split_and_graded(name, suffix, tmp_path):
    task = get_task(f"hf:{name}:{_write(ROWS[name], tmp_path / f'copy{suffix}')}")
    assert isinstance(task, HuggingFaceTask) and task.name == f"hf:{name}"
    splits = _all(task)
    found = [p for problems in splits.values() for p in problems]
    assert len({p.canonical for p in found}) == len(found) == len(ROWS[name])
    assert all(splits.values()) or len(found) < 40
    for problem in found:
        assert problem.task == task.name and problem.difficulty in task.difficulties
        for style in task.styles:
            text = task.solution(problem, style)
            assert task.grade(text, problem) is Grade.CORRECT, text
            assert task.matches(task.extract(text), problem)
        assert task.grade("I really cannot tell, it depends on many things.", problem) is Grade.UNPARSABLE
    assert task.problems(3, split="test", seed=1) == task.problems(3, split="test", seed=1)


def test_each_mapping_asks_and_answers_what_its_row_says(tmp_path):
    first = {}
    for name, rows in ROWS.items():
        task = HuggingFaceTask(name, _write(rows[:1], tmp_path / f"{name}.jsonl"))
        (first[name],) = [p for problems in _all(task).values() for p in problems]
    assert first["gsm8k"].answer == "2000" and first["gsm8k"].steps == ("Ann has 0+2000=2000 apples.",)
    assert first["math-500"].answer == r"\frac{8}{7}" and first["math-500"].difficulty == 2
    assert first["aime"].answer == "60"
    assert first["medqa"].answer == "B" and "\nB. Drug 0\nC. A scan" in first["medqa"].question
    assert first["pubmedqa"].answer == "yes"
    assert first["pubmedqa"].question.startswith("We gave drug 0 to 30 people. Most were better.\nDoes drug 0 work?")
    gpqa = first["gpqa"]
    assert gpqa.facts["options"][gpqa.answer] == "Particle 0" and len(gpqa.facts["options"]) == 4
    assert f"{gpqa.answer}. Particle 0" in gpqa.question


def test_options_as_a_list_and_other_spellings_of_fields(tmp_path):
    listed = [dict(r, options=[{"key": k, "value": v} for k, v in r["options"].items()]) for r in ROWS["medqa"]]
    one = HuggingFaceTask("medqa", _write(listed, tmp_path / "listed.parquet"))
    other = HuggingFaceTask("MedQA", _write(ROWS["medqa"], tmp_path / "mapped.jsonl"))
    assert _all(one) == _all(other)
    capital = [{k.capitalize(): v for k, v in r.items()} | {"Answer": int(r["answer"])} for r in ROWS["aime"]]
    assert _all(HuggingFaceTask("aime", _write(capital, tmp_path / "a.jsonl"))) == _all(
        HuggingFaceTask("aime", _write(ROWS["aime"], tmp_path / "b.jsonl"))
    )
    levels = [dict(r, level=f"Level {r['level']}") for r in ROWS["math-500"]]
    task = HuggingFaceTask("math-500", _write(levels, tmp_path / "levels.jsonl"))
    assert {p.difficulty for problems in _all(task).values() for p in problems} == {1, 2, 3, 4, 5}


def test_gpqa_options_are_shuffled_the_same_way_every_time(tmp_path):
    file = _write(ROWS["gpqa"], tmp_path / "gpqa.jsonl")
    problems = [p for found in _all(HuggingFaceTask("gpqa", file)).values() for p in found]
    assert {p.answer for p in problems} == set("ABCD")
    reread = [p for found in _all(HuggingFaceTask("gpqa", file)).values() for p in found]
    assert [p.question for p in problems] == [p.question for p in reread]


def test_choices_are_graded_by_letter_or_words(tmp_path):
    task = HuggingFaceTask("medqa", _write(ROWS["medqa"], tmp_path / "medqa.jsonl"))
    problem = task.problems(1, split="train")[0]
    right = problem.facts["options"]["B"]
    said = ("The answer is B.", "The answer is (B).", f"Answer: B. {right}", f"The answer is {right}.", r"\boxed{B}")
    for text in said:
        assert task.grade(text, problem) is Grade.CORRECT, text
    for text in ("The answer is C.", "The answer is A scan.", "The answer is (D) Surgery."):
        assert task.grade(text, problem) is Grade.WRONG, text
    assert task.extract("So the answer is (B) because of it.") == task.extract("The answer is B.") == "B"


def test_official_splits_of_a_folder_stay_apart(tmp_path):
    folder = tmp_path / "gsm8k"
    (folder / "main").mkdir(parents=True)
    (folder / "socratic").mkdir()
    _write(ROWS["gsm8k"][:40], folder / "main" / "train-00000-of-00001.parquet")
    _write(ROWS["gsm8k"][40:], folder / "main" / "test-00000-of-00001.parquet")
    _write([{"question": "x", "answer": "y #### 1"}], folder / "socratic" / "train-00000-of-00001.parquet")
    splits = {s: {p.question for p in found} for s, found in _all(HuggingFaceTask("openai/gsm8k", folder)).items()}
    assert splits["train"] | splits["validation"] == {r["question"] for r in ROWS["gsm8k"][:40]}
    assert splits["test"] | splits["confirm"] == {r["question"] for r in ROWS["gsm8k"][40:]}
    assert all(splits.values()) and sum(map(len, splits.values())) == 60
    lone = HuggingFaceTask("gsm8k", folder / "main" / "test-00000-of-00001.parquet")
    assert {p.question for p in lone._split("test")} == splits["test"]
    with pytest.raises(ValueError, match="is the 'test' split of GSM8K by its name, and this needs the 'train' split"):
        lone.problems(1, split="train")


def test_a_saved_data_set_is_read(tmp_path):
    import datasets

    parts = {"train": ROWS["gsm8k"][:40], "test": ROWS["gsm8k"][40:]}
    both = datasets.DatasetDict({name: datasets.Dataset.from_list(rows) for name, rows in parts.items()})
    both.save_to_disk(tmp_path / "both")
    task = HuggingFaceTask("gsm8k", tmp_path / "both")
    assert len(task._split("train")) + len(task._split("validation")) == 40
    both["train"].save_to_disk(tmp_path / "one")
    with pytest.raises(ValueError, match="holds one unnamed split, and GSM8K has test and train"):
        HuggingFaceTask("gsm8k", tmp_path / "one").problems(1)


def _one_sentence(error: pytest.ExceptionInfo[BaseException]) -> None:
    assert "\n" not in str(error.value) and str(error.value).endswith(".")
    assert error.value.__cause__ is None and (error.value.__context__ is None or error.value.__suppress_context__)


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("a.jsonl", "", "holds no rows"),
        ("a.jsonl", '{"question": "q", "answer": "1 #### 1"}\n{"question": ', "Line 2 of .*a.jsonl is broken JSON"),
        ("a.jsonl", '{"question": "q"}', "Row 1 of .*a.jsonl has no field 'answer'; GSM8K needs the fields question"),
        ("a.jsonl", '{"question": "q", "answer": null}', "has no field 'answer'"),
        ("a.jsonl", '{"question": "q", "answer": "42"}', "Row 1 of .* is not a row of GSM8K"),
        ("a.jsonl", "[1, 2]", "Row 1 of .* is not an object with fields"),
        ("a.json", "[{]", "is broken JSON at line 1"),
        ("a.parquet", "PAR1 no", "is not a readable Parquet file"),
        ("a.csv", "question,answer", "is neither JSON lines nor Parquet"),
    ],
)
def test_a_bad_file_is_told_of_in_one_sentence(file, content, told, tmp_path):
    (tmp_path / file).write_text(content)
    with pytest.raises(ValueError, match=told) as error:
        HuggingFaceTask("gsm8k", tmp_path / file).problems(1)
    _one_sentence(error)


@pytest.mark.parametrize("name", list(ROWS))
def test_every_missing_field_is_named(name, tmp_path):
    for field in SOURCES[name].fields:
        row = {k: v for k, v in ROWS[name][0].items() if k.lower() != field}
        task = HuggingFaceTask(name, _write([row], tmp_path / "rows.jsonl"))
        with pytest.raises(ValueError, match=f"has no field {field!r}; ") as error:
            task.problems(1, split="test")
        _one_sentence(error)


def test_hub_mistakes_are_answered_in_a_sentence(tmp_path):
    with pytest.raises(ValueError, match="There is no data set 'gsm8' here; did you mean gsm8k"):
        get_task("hf:gsm8")
    with pytest.raises(FileNotFoundError, match="There is no file or folder .*; give the path of a local copy"):
        get_task(f"hf:gsm8k:{tmp_path / 'nothing.jsonl'}")
    with pytest.raises(ValueError, match="holds no .jsonl or .parquet file"):
        HuggingFaceTask("gsm8k", tmp_path).problems(1)
    _write(ROWS["gsm8k"], tmp_path / "rows.jsonl")
    with pytest.raises(ValueError, match="No file in .* has 'train' in its name"):
        HuggingFaceTask("gsm8k", tmp_path).problems(1)
    aime = HuggingFaceTask("aime", _write(ROWS["aime"], tmp_path / "aime.jsonl"))
    with pytest.raises(ValueError, match="published for testing only, so it has no 'train' split"):
        aime.problems(1, split="train")
    with pytest.raises(ValueError, match="ask for at most that many, not 500"):
        aime.problems(500, split="test")
    with pytest.raises(ValueError, match="There is no split 'dev'"):
        aime.problems(1, split="dev")


def test_offline_one_sentence_says_what_is_missing_and_what_to_do(tmp_path):
    program = (
        "from srm_utils.tasks import get_task\n"
        "try:\n    get_task('hf:gpqa').problems(1)\n"
        "except ConnectionError as e:\n    print(e)"
    )
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    told = done.stdout.strip()
    assert "\n" not in told and "downloaded" not in done.stderr
    for part in ("GPQA (diamond) is not on this machine", "Idavidrein/gpqa", "HF_HUB_OFFLINE", "hf:gpqa:PATH", "terms"):
        assert part in told


def test_a_download_is_announced_before_it_starts(monkeypatch, capsys):
    import datasets

    announced = []

    def load(*args, **kwargs):
        announced.append((args, kwargs, capsys.readouterr().err))
        return datasets.Dataset.from_list(ROWS["gsm8k"])

    monkeypatch.setattr(datasets, "load_dataset", load)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    problems = HuggingFaceTask("gsm8k").problems(5, split="train")
    assert len(problems) == 5
    ((args, kwargs, err),) = announced
    assert args == ("openai/gsm8k", "main") and kwargs == {"split": "train"}
    assert err == "Loading openai/gsm8k from the Hugging Face hub; what is not cached yet is downloaded.\n"
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    HuggingFaceTask("gsm8k").problems(5, split="train")
    assert announced[1][2] == ""


def test_importing_the_registry_loads_neither_library():
    program = (
        "import sys, srm_utils.tasks as t; t.task_names(); t.get_task('chain'); "
        "print({'datasets', 'reasoning_gym', 'sympy'} & set(sys.modules))"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "set()", done.stderr
