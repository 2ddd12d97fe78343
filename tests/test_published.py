"""Published data sets: reading, splitting, grading, and what is said when something is missing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from srm_utils.tasks import get_task
from srm_utils.tasks.huggingface import published
from srm_utils.tasks.problem import Grade, Prompt
from srm_utils.tasks.published import SOURCES
from srm_utils.tasks.table import TableTask

#: Rows in the schema that each data set really has on the hub.
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


def _all(task: TableTask) -> dict[str, list[Any]]:
    return {split: task.split(split) for split in task.shares}


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
@pytest.mark.parametrize("name", list(ROWS))
def test_a_local_file_is_read_split_and_graded(name, suffix, tmp_path):
    task = get_task(f"hf:{name}:{_write(ROWS[name], tmp_path / f'copy{suffix}')}")
    assert isinstance(task, TableTask) and task.name == f"hf:{name}"
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
        task = published(name, _write(rows[:1], tmp_path / f"{name}.jsonl"))
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
    one = published("medqa", _write(listed, tmp_path / "listed.parquet"))
    other = get_task(f"hf:MedQA:{_write(ROWS['medqa'], tmp_path / 'mapped.jsonl')}")
    assert _all(one) == _all(other)
    capital = [{k.capitalize(): v for k, v in r.items()} | {"Answer": int(r["answer"])} for r in ROWS["aime"]]
    assert _all(published("aime", _write(capital, tmp_path / "a.jsonl"))) == _all(
        published("aime", _write(ROWS["aime"], tmp_path / "b.jsonl"))
    )
    levels = [dict(r, level=f"Level {r['level']}") for r in ROWS["math-500"]]
    task = published("math-500", _write(levels, tmp_path / "levels.jsonl"))
    assert {p.difficulty for problems in _all(task).values() for p in problems} == {1, 2, 3, 4, 5}


def test_gpqa_options_are_shuffled_the_same_way_every_time(tmp_path):
    file = _write(ROWS["gpqa"], tmp_path / "gpqa.jsonl")
    problems = [p for found in _all(published("gpqa", file)).values() for p in found]
    assert {p.answer for p in problems} == set("ABCD")
    reread = [p for found in _all(published("gpqa", file)).values() for p in found]
    assert [p.question for p in problems] == [p.question for p in reread]


def test_choices_are_graded_by_letter_or_words(tmp_path):
    task = published("medqa", _write(ROWS["medqa"], tmp_path / "medqa.jsonl"))
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
    splits = {s: {p.question for p in found} for s, found in _all(get_task(f"hf:openai/gsm8k:{folder}")).items()}
    assert splits["train"] | splits["validation"] == {r["question"] for r in ROWS["gsm8k"][:40]}
    assert splits["test"] | splits["confirm"] == {r["question"] for r in ROWS["gsm8k"][40:]}
    assert all(splits.values()) and sum(map(len, splits.values())) == 60
    lone = published("gsm8k", folder / "main" / "test-00000-of-00001.parquet")
    assert {p.question for p in lone.split("test")} == splits["test"]
    with pytest.raises(ValueError, match="is the 'test' split of GSM8K by its name, and this needs the 'train' split"):
        lone.problems(1, split="train")


def test_a_saved_data_set_is_read(tmp_path):
    import datasets

    parts = {"train": ROWS["gsm8k"][:40], "test": ROWS["gsm8k"][40:]}
    both = datasets.DatasetDict({name: datasets.Dataset.from_list(rows) for name, rows in parts.items()})
    both.save_to_disk(tmp_path / "both")
    task = published("gsm8k", tmp_path / "both")
    assert len(task.split("train")) + len(task.split("validation")) == 40
    both["train"].save_to_disk(tmp_path / "one")
    with pytest.raises(ValueError, match="holds one unnamed split, and GSM8K has test and train"):
        published("gsm8k", tmp_path / "one").problems(1)


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
        ("a.csv", "question,answer", "holds a header and no rows"),
    ],
)
def test_a_bad_file_is_told_of_in_one_sentence(file, content, told, tmp_path):
    (tmp_path / file).write_text(content)
    with pytest.raises(ValueError, match=told) as error:
        published("gsm8k", tmp_path / file).problems(1)
    _one_sentence(error)


@pytest.mark.parametrize("name", list(ROWS))
def test_every_missing_field_is_named(name, tmp_path):
    for field in SOURCES[name].fields:
        row = {k: v for k, v in ROWS[name][0].items() if k.lower() not in field.split("|")}
        task = published(name, _write([row], tmp_path / "rows.jsonl"))
        with pytest.raises(ValueError, match=f"has no field {field.replace('|', ' or ')!r}; ") as error:
            task.problems(1, split="test")
        _one_sentence(error)


def test_hub_mistakes_are_answered_in_a_sentence(tmp_path):
    with pytest.raises(ValueError, match="There is no data set 'gsm8' here; did you mean gsm8k"):
        get_task("hf:gsm8")
    with pytest.raises(FileNotFoundError, match="There is no file or folder .*; give the path of a local copy"):
        get_task(f"hf:gsm8k:{tmp_path / 'nothing.jsonl'}")
    with pytest.raises(ValueError, match="holds no table of GSM8K; put gsm8k_train.jsonl, gsm8k_test.jsonl"):
        published("gsm8k", tmp_path).problems(1)
    _write(ROWS["gsm8k"], tmp_path / "rows.jsonl")
    with pytest.raises(ValueError, match="No file in .* has 'train' in its name"):
        published("gsm8k", tmp_path).problems(1)
    aime = published("aime", _write(ROWS["aime"], tmp_path / "aime.jsonl"))
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
    problems = published("gsm8k").problems(5, split="train")
    assert len(problems) == 5
    ((args, kwargs, err),) = announced
    assert args == ("openai/gsm8k", "main") and kwargs == {"split": "train"}
    assert err == "Loading openai/gsm8k from the Hugging Face hub; what is not cached yet is downloaded.\n"
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    published("gsm8k").problems(5, split="train")
    assert announced[1][2] == ""


# ---------------------------------------------------------------- local files under their own names

#: One row of each set that has local files, in the form of its own repository: file, what wraps the rows, the row.
LOCAL: dict[str, tuple[str, str, dict[str, Any]]] = {
    "svamp": (
        "svamp.json",
        "list",
        {"ID": "chal-7", "Body": "Ann has 8 pens. She lost 3", "Question": "How many are left?", "Answer": 5.0},
    ),
    "multiarith": ("multiarith.json", "list", {"iIndex": 0, "sQuestion": " What are 2 and 3? ", "lSolutions": [5.0]}),
    "addsub": ("addsub.json", "list", {"iIndex": 1, "sQuestion": "What is 1.5 + 2 ?", "lSolutions": ["3.5"]}),
    "singleeq": ("singleeq.json", "list", {"sQuestion": "What is 2 + x = 9 ?", "lSolutions": [7.0]}),
    "aqua": (
        "aqua.json",
        "lines",
        {"question": "2 + 2?", "options": ["A)3", "B)4", "C)5"], "rationale": "2 + 2 = 4", "correct": "B"},
    ),
    "coin-flip": ("coin_flip.json", "examples", {"question": "Heads up. Ann flips it. Heads up?", "answer": "no"}),
    "last-letters": ("last_letters.json", "examples", {"question": 'Last letters of "Ann Bo"?', "answer": "no"}),
    "date": (
        "bigbench_date.json",
        "examples",
        {"input": "It is May 1, 2021. What is tomorrow?", "target_scores": {"05/02/2021": 1, "05/03/2021": 0}},
    ),
    "object-tracking": (
        "bigbench_object_tracking.json",
        "examples",
        {"input": "They swap. Bob has the ", "target_scores": {"red ball.": 0, "blue ball.": 1}},
    ),
    "commonsenseqa": (
        "commonsenseqa.jsonl",
        "lines",
        {
            "answerKey": "B",
            "id": "ab12",
            "question": {
                "stem": "Where do fish live?",
                "choices": [{"label": "A", "text": "tree"}, {"label": "B", "text": "sea"}],
            },
        },
    ),
    "strategyqa": (
        "strategyqa.json",
        "examples",
        {"input": "Can a fish climb?", "target_scores": {"Yes": 0, "No": 1}, "target": "No. It has no legs."},
    ),
    "pubmedqa": (
        "pubmedqa_labelled.json",
        "ids",
        {"QUESTION": "Does it work?", "CONTEXTS": ["We tried.", "It did."], "final_decision": "yes"},
    ),
    "medqa": (
        "medqa_test.jsonl",
        "lines",
        {"question": "A man coughs. What now?", "options": {"A": "Rest", "B": "A scan"}, "answer_idx": "A"},
    ),
    "bbh:navigate": (
        "bbh/navigate.json",
        "examples",
        {"input": "Do you return?\nOptions:\n- Yes\n- No", "target": "No"},
    ),
    "bbh:boolean_expressions": (
        "bbh/boolean_expressions.json",
        "examples",
        {"input": "not True is", "target": "False"},
    ),
    "bbh:word_sorting": ("bbh/word_sorting.json", "examples", {"input": "Sort: oak elm", "target": "elm oak"}),
    "bbh:dyck_languages": ("bbh/dyck_languages.json", "examples", {"input": "Close: < [", "target": "] >"}),
    "bbh:object_counting": (
        "bbh/object_counting.json",
        "examples",
        {"input": "I have two pens. How many?", "target": "2"},
    ),
    "bbh:snarks": (
        "bbh/snarks.json",
        "examples",
        {"input": "Which?\nOptions:\n(A) Oh, great\n(B) Good", "target": "(A)"},
    ),
}
ASKED = {
    "svamp": ("Ann has 8 pens. She lost 3 How many are left?", "5", "hf:svamp-chal-7"),
    "multiarith": ("What are 2 and 3?", "5", "hf:multiarith-test-1"),
    "addsub": ("What is 1.5 + 2 ?", "3.5", "hf:addsub-test-1"),
    "singleeq": ("What is 2 + x = 9 ?", "7", "hf:singleeq-test-1"),
    "aqua": ("2 + 2?\nA. 3\nB. 4\nC. 5", "B", "hf:aqua-test-1"),
    "coin-flip": ("Heads up. Ann flips it. Heads up? Answer yes or no.", "no", "hf:coin-flip-test-1"),
    "last-letters": ('Last letters of "Ann Bo"?', "no", "hf:last-letters-test-1"),
    "object-tracking": ("They swap. Bob has the\nA. red ball.\nB. blue ball.", "B", "hf:object-tracking-test-1"),
    "commonsenseqa": ("Where do fish live?\nA. tree\nB. sea", "B", "hf:commonsenseqa-ab12"),
    "strategyqa": ("Can a fish climb? Answer yes or no.", "no", "hf:strategyqa-test-1"),
    "pubmedqa": ("We tried. It did.\nDoes it work? Answer yes, no or maybe.", "yes", "hf:pubmedqa-77"),
    "medqa": ("A man coughs. What now?\nA. Rest\nB. A scan", "A", "hf:medqa-test-1"),
    "bbh:navigate": ("Do you return?\nOptions:\n- Yes\n- No", "no", "hf:bbh:navigate-test-1"),
    "bbh:boolean_expressions": ("not True is Answer true or false.", "false", "hf:bbh:boolean_expressions-test-1"),
    "bbh:word_sorting": ("Sort: oak elm", "elm oak", "hf:bbh:word_sorting-test-1"),
    "bbh:snarks": ("Which?\nOptions:\n(A) Oh, great\n(B) Good", "A", "hf:bbh:snarks-test-1"),
}


def _local(folder: Path, key: str, rows: list[dict[str, Any]] | None = None) -> Path:
    file, form, row = LOCAL[key]
    rows = rows or [row]
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    whole: Any = {"list": rows, "examples": {"canary": "x", "keywords": ["a"], "examples": rows}}.get(form)
    if form == "ids":
        whole = {str(77 + i): r for i, r in enumerate(rows)}
    path.write_text("\n".join(map(json.dumps, rows)) if form == "lines" else json.dumps(whole, indent=1))
    return path


@pytest.mark.parametrize("key", list(LOCAL))
def test_each_local_file_is_read_in_the_form_of_its_own_repository(key, tmp_path):
    _local(tmp_path, key)
    task = get_task(f"hf:{key}", data=tmp_path)
    (problem,) = [p for split in task.shares if split != "train" for p in task.split(split)] or task.split("train")
    if key in ASKED:
        assert (problem.question, problem.answer, problem.id) == ASKED[key]
    for style in ("direct", "cot"):
        assert task.grade(task.solution(problem, style), problem) is Grade.CORRECT


def test_every_data_set_can_be_asked_to_think_on_a_line_of_its_own(tmp_path):
    for key in SOURCES:
        assert {"direct", "cot"} <= set(get_task(f"hf:{key}").styles)
    _local(tmp_path, "medqa")
    task = get_task("hf:medqa", data=tmp_path)
    (problem,) = [p for split in ("validation", "test", "confirm") for p in task.split(split)]
    text = task.prompt(problem, "cot", [(problem, "I think. The answer is A.")]).text()
    assert text.count("\nB. A scan\nLet us think step by step.\nAnswer:") == 2
    assert Prompt("2 + 2?", "Answer directly.").text() == "Question: 2 + 2? Answer directly.\nAnswer:"


def test_the_first_option_of_the_dates_is_not_always_the_right_one(tmp_path):
    row = LOCAL["date"][2]
    _local(tmp_path, "date", [{**row, "input": f"It is May {i}."} for i in range(1, 31)])
    task = get_task("hf:date", data=tmp_path)
    problems = [p for split in task.shares for p in task.split(split)]
    assert {p.answer for p in problems} == {"A", "B"}
    assert all(p.facts["options"][p.answer] == "05/02/2021" for p in problems)


def test_a_path_comes_before_the_folder_before_the_variable_before_the_hub(tmp_path, monkeypatch):
    def wrote(name: str) -> Path:
        _local(tmp_path / name, "addsub", [{"sQuestion": f"What is {name} + 1 ?", "lSolutions": ["1"]}])
        return tmp_path / name

    def asked(task: Any) -> str:
        (problem,) = [p for split in task.shares for p in task.split(split)]
        return problem.question

    path, folder, variable = wrote("path"), wrote("folder"), wrote("variable")
    monkeypatch.delenv("SRM_DATA", raising=False)
    with pytest.raises(ConnectionError, match="no copy on the hub is known; put addsub.json into a folder") as error:
        get_task("hf:addsub").problems(1)
    _one_sentence(error)
    monkeypatch.setenv("SRM_DATA", str(variable))
    assert asked(get_task("hf:addsub")) == "What is variable + 1 ?"
    assert asked(get_task("hf:addsub", data=folder)) == "What is folder + 1 ?"
    assert asked(get_task(f"hf:addsub:{path}", data=folder)) == "What is path + 1 ?"
    assert asked(get_task(f"hf:addsub:{path / 'addsub.json'}", data=folder)) == "What is path + 1 ?"
    with pytest.raises(FileNotFoundError, match="holds no SVAMP; put svamp.json there, or leave out --data"):
        get_task("hf:svamp", data=folder)
    monkeypatch.setenv("SRM_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match="which SRM_DATA names; check its path"):
        get_task("hf:addsub")


def test_tests_alone_are_cut_so_that_the_test_split_stays_what_it_is(tmp_path):
    rows = [dict(r, question=r["question"]) for r in ROWS["medqa"]]
    _write(rows, tmp_path / "medqa_test.jsonl")
    alone = get_task("hf:medqa", data=tmp_path)
    splits = {s: {p.question for p in alone.split(s)} for s in ("validation", "test", "confirm")}
    _write([dict(r, question=f"{r['question']} Now?") for r in rows], tmp_path / "medqa_train.jsonl")
    both = get_task("hf:medqa", data=tmp_path)
    assert {p.question for p in both.split("test")} == splits["test"]
    assert {p.question for p in both.split("confirm")} == splits["confirm"] | splits["validation"]
    assert sum(map(len, splits.values())) == len(rows) and all(splits.values())
    (tmp_path / "medqa_train.jsonl").unlink()
    with pytest.raises(ValueError, match="No file in .* has 'train' in its name; put medqa_train.jsonl there"):
        get_task("hf:medqa", data=tmp_path).problems(1, split="train")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"answer_idx": 1}, r"Row 2 of .* \(its answer '1' is none of the options A, B, C, D\)"),
        ({"answer_idx": "E"}, "Row 2 of .* 'E' is none of the options"),
        ({"answer_idx": ""}, "Row 2 of .* has no field 'answer_idx'"),
        ({"answer_idx": float("nan")}, "Row 2 of .* has no field 'answer_idx'"),
        ({"options": {"A": "Rest", "B": None}}, r"Row 2 of .* \(it has 1 option and needs two\)"),
        ({"options": {"A": "Rest", "B": "Drug", "D": "Drug"}, "answer_idx": "D"}, "right option 'Drug' twice"),
        ({"question": 12}, r"Row 2 of .* \(its question is '12', not a sentence\)"),
        ({"question": ["a", "b"]}, r"Row 2 of .* \(its question is a list, not text\)"),
        ({"question": None}, "Row 2 of .* has no field 'question'"),
    ],
)
def test_a_faulty_row_is_refused_with_its_number(change, told, tmp_path):
    rows = [ROWS["medqa"][0], {**ROWS["medqa"][1], **change}, *ROWS["medqa"][2:]]
    (tmp_path / "medqa_test.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(ValueError, match=told) as error:
        get_task("hf:medqa", data=tmp_path).problems(1)
    _one_sentence(error)


def test_an_empty_option_is_left_out_and_a_column_in_another_case_is_not_taken(tmp_path):
    row = ROWS["medqa"][0]
    fifth = {**row, "options": {**row["options"], "E": None}, "Question": "Another one?", "ANSWER_IDX": "C"}
    _write([fifth], tmp_path / "medqa_test.parquet")
    task = published("medqa", tmp_path / "medqa_test.parquet")
    (problem,) = [p for split in ("validation", "test", "confirm") for p in task.split(split)]
    assert list(problem.facts["options"]) == ["A", "B", "C", "D"] and problem.answer == "B"
    assert problem.question.startswith(row["question"])
    _write([{"Question": "q?", "QUESTION": "r?", "answer": "#### 1"}], tmp_path / "case.jsonl")
    with pytest.raises(ValueError, match="its columns 'Question' and 'QUESTION' differ by case alone"):
        published("gsm8k", tmp_path / "case.jsonl").problems(1, split="train")


@pytest.mark.parametrize(
    ("answer", "gold", "steps"),
    [
        ("#### 17", "17", ()),
        ("9 + 8 = <<9+8=17>>17\n#### 17", "17", ("9 + 8 = 17",)),
        ("a #### 1\n#### 1,700", "1700", ("a #### 1",)),
    ],
)
def test_gsm8k_answers_are_read_with_and_without_a_worked_solution(answer, gold, steps, tmp_path):
    task = published("gsm8k", _write([{"question": "How many?", "answer": answer}], tmp_path / "rows.jsonl"))
    (problem,) = [p for split in task.shares for p in task.split(split)]
    assert (problem.answer, problem.steps) == (gold, steps)


def test_an_answer_with_nothing_behind_its_mark_is_refused(tmp_path):
    rows = [{"question": "How many?", "answer": "9 + 8 = 17\n#### "}]
    with pytest.raises(ValueError, match=r"Row 1 of .* \(its answer has nothing behind '####'\)"):
        published("gsm8k", _write(rows, tmp_path / "rows.jsonl")).problems(1, split="train")


def test_faults_that_a_set_is_published_with_are_left_out_and_told_of(tmp_path, capsys):
    good = [{"input": f"Which, {i}?\nOptions:\n(A) x{i}\n(B) y", "target": "(A)"} for i in range(60)]
    bad = {"input": "Which?\nOptions:\n(A) Monsters\n(B) Inc", "target": "Monsters, Inc"}
    _local(tmp_path, "bbh:snarks", [*good, bad, {**good[3], "target": "(B)"}])
    task = get_task("bbh:snarks", data=tmp_path)
    problems = [p for split in task.shares for p in task.split(split)]
    told = capsys.readouterr().err
    assert len(problems) == 59 and "2 of 62 rows are left out. Row 61 of" in told
    assert "asks the same as row 4 and has another answer ('B', not 'A')" in told
    _local(tmp_path, "bbh:snarks", [*good[:10], bad])
    with pytest.raises(ValueError, match="Row 11 of .* 'Monsters, Inc' is none of the options A, B"):
        get_task("bbh:snarks", data=tmp_path).problems(1)


def test_equal_questions_are_kept_once_or_refused(tmp_path):
    rows = ROWS["gsm8k"][:8]
    task = published("gsm8k", _write([*rows, rows[2]], tmp_path / "rows.jsonl"))
    assert sum(len(task.split(split)) for split in task.shares) == 8
    other = _write([*rows, {**rows[2], "answer": "#### 3"}], tmp_path / "other.jsonl")
    told = r"Row 9 of .* asks the same as row 3 and has another answer \('3', not '2004'\)"
    with pytest.raises(ValueError, match=told):
        published("gsm8k", other).problems(1)


def test_numbers_of_problems_do_not_change_with_what_else_is_in_the_folder(tmp_path):
    _write(ROWS["gsm8k"], tmp_path / "gsm8k_test.jsonl")
    alone = {p.id for p in get_task("hf:gsm8k", data=tmp_path).split("test")}
    _write([{"question": "Other?", "answer": "#### 1"}], tmp_path / "gsm8k_train.jsonl")
    assert {p.id for p in get_task("hf:gsm8k", data=tmp_path).split("test")} == alone
    assert all(int(name.removeprefix("hf:gsm8k-test-")) in range(1, 61) for name in alone)


# ---------------------------------------------------------------- other data sets of the hub


@pytest.fixture
def hub(monkeypatch):
    """A hub that answers with what a test puts into it, by id and configuration."""
    import datasets

    shelf: dict[tuple[str, str | None], dict[str, list[dict[str, Any]]]] = {}

    def load(name: str, config: str | None = None, **options: Any) -> Any:
        parts = shelf[name, config]
        return datasets.DatasetDict({split: datasets.Dataset.from_list(rows) for split, rows in parts.items()})

    monkeypatch.setattr(datasets, "load_dataset", load)
    return shelf


def _sums(start: int, n: int) -> list[dict[str, Any]]:
    return [{"prompt": f"What is {i} + 1?", "target": i + 1} for i in range(start, start + n)]


@pytest.mark.parametrize(
    ("parts", "kept"),
    [
        ({"train": 300, "test": 300}, {"train": "train", "validation": "train", "test": "test", "confirm": "test"}),
        ({"train": 50, "validation": 50, "test": 50}, {"train": "train", "validation": "validation", "test": "test"}),
        ({"train": 300, "validation": 300}, {"validation": "train", "test": "validation", "confirm": "validation"}),
        ({"validation": 50, "test": 50}, {"validation": "validation", "test": "test", "confirm": "test"}),
    ],
)
def test_official_splits_of_any_other_data_set_are_kept(parts, kept, hub):
    rows = {name: _sums(1000 * i, n) for i, (name, n) in enumerate(parts.items())}
    hub["some/sums", "easy"] = rows
    task = get_task("hf:some/sums:easy")
    assert task.name == "hf:some/sums:easy" and task.kind == "number"
    for split, official in kept.items():
        asked = {p.question for p in task.split(split)}
        assert asked and asked <= {row["prompt"] for row in rows[official]}
    seen = [p.canonical for split in task.shares for p in task.split(split)]
    assert len(seen) == len(set(seen))


def test_a_data_set_of_one_split_is_cut_like_a_file_and_its_columns_can_be_named(hub):
    rows = [{"prompt": f"Is {i} odd?", "query": "x", "label": i % 2 == 1} for i in range(40)]
    hub["some/set", None] = {"train": rows}
    with pytest.raises(ValueError, match="more than one column that could be the question: 'prompt', 'query'"):
        get_task("hf:some/set")
    task = get_task("hf:some/set?question=prompt")
    assert task.kind == "yes-no" and all(task.split(s) for s in ("train", "validation", "test", "confirm"))
    problem = task.split("test")[0]
    assert problem.question.endswith("odd? Answer true or false.") and problem.answer in ("true", "false")
    with pytest.raises(ValueError, match="The columns of GSM8K are known"):
        get_task("hf:gsm8k?question=prompt")


@pytest.mark.parametrize(
    ("key", "row", "question", "answer"),
    [
        ("svamp", {"ID": "chal-1", "Body": "Ann has 2.", "Question": "And?", "Answer": "2"}, "Ann has 2. And?", "2"),
        ("multiarith", {"question": " What is 2 + 3? ", "final_ans": "5"}, "What is 2 + 3?", "5"),
        ("strategyqa", {"qid": "a", "question": "Can it?", "answer": False}, "Can it? Answer yes or no.", "no"),
        (
            "commonsenseqa",
            {"id": "a", "question": "Where?", "choices": {"label": ["A", "B"], "text": ["x", "y"]}, "answerKey": "B"},
            "Where?\nA. x\nB. y",
            "B",
        ),
        (
            "aqua",
            {"question": "How many?", "options": ["A)3", "B)4"], "rationale": "2 + 2 = 4", "correct": "B"},
            "How many?\nA. 3\nB. 4",
            "B",
        ),
        ("bbh:web_of_lies", {"input": "Does Ann lie?", "target": "Yes"}, "Does Ann lie? Answer yes or no.", "yes"),
    ],
)
def test_the_hub_has_the_same_sets_in_forms_of_its_own(key, row, question, answer, monkeypatch):
    import datasets

    asked = []

    def load(name: str, config: str | None, split: str) -> Any:
        asked.append((name, config, split))
        return datasets.Dataset.from_list([row])

    monkeypatch.delenv("SRM_DATA", raising=False)
    monkeypatch.setattr(datasets, "load_dataset", load)
    task = get_task(f"hf:{key}")
    problems = [p for split in ("validation", "test", "confirm") for p in task.split(split)]
    assert {(p.question, p.answer) for p in problems} == {(question, answer)}
    assert set(asked) <= {
        (SOURCES[key].hub, SOURCES[key].config, s) for s in ("train", "test", "validation", "train+test")
    }


def test_the_dates_of_the_hub_are_read_with_their_scores_beside_them(monkeypatch):
    import datasets

    row = {
        "inputs": "Q: It is May 1. What is tomorrow?\nA: ",
        "multiple_choice_targets": ["May 2", "May 3"],
        "multiple_choice_scores": [1, 0],
    }
    monkeypatch.delenv("SRM_DATA", raising=False)
    monkeypatch.setattr(datasets, "load_dataset", lambda *a, **k: datasets.Dataset.from_list([row]))
    task = get_task("hf:date")
    (problem,) = [p for split in task.shares for p in task.split(split)]
    assert problem.question.startswith("It is May 1. What is tomorrow?\nA. May")
    assert problem.facts["options"][problem.answer] == "May 2"
