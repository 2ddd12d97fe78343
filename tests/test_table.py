"""A person's own table: reading its file, finding columns, cutting splits, grading, and every fault by number."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from srm_utils.cli import compare as compare_cli
from srm_utils.cli.main import app
from srm_utils.tasks import get_task, registry
from srm_utils.tasks.problem import Grade
from srm_utils.tasks.table import OWN_SHARES, SMALL, TableTask
from srm_utils.tasks.table_cells import letter_of, listed_options, options_of
from srm_utils.tasks.table_columns import find_columns, kind_of
from srm_utils.tasks.table_files import read_rows

SUMS = [{"question": f"What is {n} + {n + 1}?", "answer": 2 * n + 1} for n in range(30)]
CSV = "question,answer\n" + "".join(f"{row['question']},{row['answer']}\n" for row in SUMS)


def _file(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def _all(task: TableTask) -> list[Any]:
    return [p for split in task.shares for p in task.split(split)]


def assert_refused(told: str, make: Any) -> None:
    """Refused in one sentence that holds `told`, without another error behind it."""
    with pytest.raises((ValueError, FileNotFoundError), match=told) as error:
        make()
    said = str(error.value)
    assert "\n" not in said and said.endswith(".")
    assert error.value.__cause__ is None and (error.value.__context__ is None or error.value.__suppress_context__)


# ---------------------------------------------------------------- files


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", CSV),
        ("a.csv", "\ufeff" + CSV),
        ("a.csv", CSV.encode("utf-16")),
        ("a.csv", CSV.replace(",", ";")),
        ("a.csv", "sep=;\n" + CSV.replace(",", ";")),
        ("a.tsv", CSV.replace(",", "\t")),
        ("a.csv", CSV.replace(",", " | ")),
        ("a.csv", CSV.replace("\n", "\r\n")),
        ("a.csv", CSV.replace("\n", "\n\n,\n")),
        ("a.csv", CSV.replace("question,answer", "Question ,ANSWER")),
        ("a.jsonl", "\n".join(map(json.dumps, SUMS))),
        ("a.jsonl", "\ufeff" + "\r\n\n".join(map(json.dumps, SUMS))),
        ("a.jsonl", json.dumps(SUMS)),
        ("a.json", json.dumps(SUMS, indent=2)),
        ("a.json", "\n".join(map(json.dumps, SUMS))),
        ("a.json", json.dumps({"version": 1, "data": SUMS})),
        ("a.json", json.dumps({str(i): row for i, row in enumerate(SUMS)})),
        ("a.json", json.dumps({key: [row[key] for row in SUMS] for key in SUMS[0]})),
    ],
)
def test_the_same_table_in_many_forms_is_the_same_task(name, content, tmp_path):
    form = "json" if name.endswith("json") else "jsonl" if name.endswith("jsonl") else "csv"
    task = get_task(f"{form}:{_file(tmp_path, name, content)}")
    plain = TableTask.from_rows("plain", SUMS)
    assert {(p.question, p.answer) for p in _all(task)} == {(p.question, p.answer) for p in _all(plain)}
    assert task.kind == "number" and task.name == f"{form}:{name}"


def test_parquet_numbers_and_empty_cells_are_read(tmp_path):
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.table(
        {"question": ["What is 2 + 2?", "What is 1 / 2?"], "answer": [4.0, 0.5], "solution": [None, "Half."]}
    )
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    task = get_task(f"parquet:{tmp_path / 'a.parquet'}")
    assert {p.question: (p.answer, p.steps) for p in _all(task)} == {
        "What is 2 + 2?": ("4", ()),
        "What is 1 / 2?": ("0.5", ("Half.",)),
    }


def test_quoted_line_breaks_and_separators_stay_inside_their_cells(tmp_path):
    text = 'question,answer\n"Add 1,\n2 and ""3"".\nWhat is it?",6\n"And 1, 1?",2\n'
    rows = read_rows(_file(tmp_path, "a.csv", text))
    assert rows[0].fields["question"] == 'Add 1,\n2 and "3".\nWhat is it?'
    assert [row.place.partition(" of ")[0] for row in rows] == ["Row 1 (line 2)", "Row 2 (line 5)"]


def test_lone_surrogates_are_replaced(tmp_path):
    file = _file(tmp_path, "a.jsonl", '{"question": "A \\ud800 b \\ud83d\\ude00?", "answer": "x\\udfff"}')
    (problem,) = _all(get_task(f"jsonl:{file}"))
    assert problem.question == "A \ufffd b \U0001f600?" and problem.answer == "x\ufffd"
    problem.question.encode(), problem.id.encode()


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.csv", "", "holds no rows: it is empty"),
        ("a.csv", " \n\n", "it is empty"),
        ("a.csv", "question,answer\n", "holds a header and no rows"),
        ("a.csv", "question,answer\n,\n", "holds a header and no rows"),
        ("a.csv", CSV.encode() + b"caf\xe9?,1\n", "Line 32 of .*a.csv is not UTF-8 text; save the file as UTF-8"),
        ("a.csv", b"question,answer\nq\0?,1\n", "is not a text file"),
        ("a.csv", 'question,answer\nWhat?,1\n"What now?,2\nAnd?,3\n', r"Row 2 \(line 3\) of .* quotation mark"),
        ("a.csv", 'question,answer\n"a"b,1\n', r"Row 1 \(line 2\) of .* put the whole text in quotation marks"),
        ("a.csv", "question,answer\nAdd 1, 2 and 3?,6\n", r"Row 1 \(line 2\) of .* has 3 fields and the header has 2"),
        ("a.csv", "question,answer,answer\nq?,1,2\n", "has two columns named 'answer'"),
        ("a.jsonl", '{"question": "q?", "answer": 1}\n\n{"question": ', "Line 3 of .* is broken JSON"),
        ("a.jsonl", '{"question": "q?", "answer": 1}\n7', r"Row 2 of .*a.jsonl is not an object"),
        ("a.jsonl", "[" * 100_000, "is broken JSON"),
        ("a.jsonl", '{"question": "q?", "answer": ' + "1" * 5000 + "}", "Line 1 of .* is broken JSON"),
        ("a.json", '[{"question": "q?",\n "answer": }]', "is broken JSON at line 2"),
        ("a.json", "[]", "holds no rows"),
        ("a.json", '{"data": []}', "holds no rows"),
        ("a.json", "[1, 2]", "Row 1 of .* is not an object with fields"),
        ("a.json", '"text"', "holds no list of rows"),
        ("a.json", '{"a": [{"question": "q?"}], "b": [{"question": "r?"}]}', "holds no list of rows"),
        ("a.parquet", "PAR1 no", "is not a readable Parquet file"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_with_the_line(name, content, told, tmp_path):
    file = _file(tmp_path, name, content)
    form = {"jsonl": "jsonl", "json": "json", "parquet": "parquet"}.get(name.partition(".")[2], "csv")
    assert_refused(told, lambda: get_task(f"{form}:{file}"))


def test_a_path_that_is_no_file_is_refused(tmp_path):
    assert_refused("There is no file", lambda: get_task(f"csv:{tmp_path / 'nothing.csv'}"))
    assert_refused("is a folder; name a file in it", lambda: get_task(f"csv:{tmp_path}"))
    assert_refused("ends in none of .csv", lambda: TableTask.from_file(_file(tmp_path, "a.doc", "x")))


# ---------------------------------------------------------------- columns


@pytest.mark.parametrize(
    ("names", "question", "answer"),
    [
        (["id", "Problem", "Final answer"], "Problem", "Final answer"),
        (["prompt", "label"], "prompt", "label"),
        (["Q", "A"], "Q", "A"),
        (["question_text", "gold", "rationale"], "question_text", "gold"),
        (["input", "target"], "input", "target"),
        (["stem", "answerKey", "choices"], "stem", "answerKey"),
        (["question", "options", "answer_idx", "answer"], "question", "answer"),
        (["question", "A", "B", "answer_index", "answer"], "question", "answer"),
    ],
)
def test_usual_names_of_columns_are_found(names, question, answer):
    columns = find_columns(names, "t")
    assert (columns.question, columns.answer) == (question, answer)


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["question", "problem", "answer"], "more than one column that could be the question: 'question', 'problem'"),
        (["question", "answer", "Answer"], "more than one column that could be the answer: 'answer', 'Answer'"),
        (["question", "answer", "answer_idx"], "could be the answer: 'answer', 'answer_idx'"),
        (["question", "options", "answer", "target"], "could be the answer: 'answer', 'target'"),
        (["question", "answer", "solution", "rationale"], "could be the solution: 'solution', 'rationale'"),
        (["question", "answer", "options", "A", "B"], "has its options in 'options' and in 'A', 'B'"),
        (["question", "points"], "no column for the answer among 'question', 'points'; name it with \\?answer="),
        (["text", "answer"], "no column for the question"),
    ],
)
def test_columns_that_are_missing_or_could_be_two_are_named(names, told):
    assert_refused(told, lambda: find_columns(names, "mine.csv"))


def test_columns_can_be_named(tmp_path):
    text = "text,worth,A note,question\nWhat is 2 + 2?,4,two twos,1\nWhat is 3 + 3?,6,two threes,2\n"
    file = _file(tmp_path, "mine.csv", text)
    assert_refused("no column for the answer", lambda: get_task(f"csv:{file}"))
    assert_refused(
        "has no column 'wert' for the answer; it has 'text'", lambda: get_task(f"csv:{file}?question=text&answer=wert")
    )
    assert_refused("'colour' is no setting of a table", lambda: get_task(f"csv:{file}?colour=red"))
    task = get_task(f"csv:{file}?question=text&answer=Worth&solution=A%20note")
    assert {(p.question, p.answer, p.steps) for p in _all(task)} == {
        ("What is 2 + 2?", "4", ("two twos",)),
        ("What is 3 + 3?", "6", ("two threes",)),
    }
    same = TableTask.from_file(file, question="text", answer="worth", kind="text")
    assert same.kind == "text"
    assert_refused(
        "no kind of answer 'poem'", lambda: TableTask.from_file(file, question="text", answer="worth", kind="poem")
    )


def test_a_passage_stands_before_its_question():
    row = {"passage": "Ann is at sea.", "question": "Where is Ann?", "answer": "at sea"}
    (problem,) = _all(TableTask.from_rows("t", [row]))
    assert problem.question == "Ann is at sea.\nWhere is Ann?"


# ---------------------------------------------------------------- rows


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"question": "q?", "answer": ""}, "it has no answer"),
        ({"question": "q?", "answer": "  "}, "it has no answer"),
        ({"question": "q?", "answer": None}, "it has no answer"),
        ({"question": "q?", "answer": float("nan")}, "it has no answer"),
        ({"question": "q?", "answer": "NaN"}, "it has no answer"),
        ({"question": "q?"}, "it has no answer"),
        ({"question": "q?", "answer": ["a", "b"]}, "its answer is a list, not text"),
        ({"question": "q?", "answer": {"text": "a"}}, "its answer is a dict, not text"),
        ({"question": "q?", "answer": "so 4\n#### "}, "its answer has nothing behind '####'"),
        ({"question": "", "answer": 1}, "it has no question"),
        ({"question": 12, "answer": 1}, "its question is '12', not a sentence"),
        ({"question": "17", "answer": 1}, "its question is '17', not a sentence"),
        ({"question": ["q?"], "answer": 1}, "its question is a list, not text"),
    ],
)
def test_a_faulty_row_of_a_table_is_refused_with_its_number(row, told, tmp_path):
    assert_refused(
        f"Row 3 of mine cannot be used: {told}; correct it", lambda: TableTask.from_rows("mine", [*SUMS[:2], row])
    )
    file = _file(tmp_path, "a.jsonl", "\n\n".join(map(json.dumps, [*SUMS[:2], row])))
    assert_refused(rf"Row 3 \(line 5\) of .*a.jsonl cannot be used: {told}", lambda: get_task(f"jsonl:{file}"))


def test_equal_questions_are_kept_once_and_refused_with_unequal_answers():
    again = {"question": " what is 3 +  4? ", "answer": "7"}
    assert len(_all(TableTask.from_rows("t", [*SUMS, again]))) == len(SUMS)
    rows = [*SUMS, {**again, "answer": 8}]
    assert_refused(
        r"Row 31 of t asks the same as row 4 and has another answer \('8', not '7'\)",
        lambda: TableTask.from_rows("t", rows),
    )
    twice = [{"q": "Capital of Peru?", "a": "Lima"}, {"q": "Capital of  Peru?", "a": "lima."}]
    assert len(_all(TableTask.from_rows("t", twice))) == 1


# ---------------------------------------------------------------- options

THREE = {"A": "cat", "B": "dog", "C": "cow"}


@pytest.mark.parametrize(
    "written",
    [
        THREE,
        ["cat", "dog", "cow"],
        ["A) cat", "B) dog", "C) cow"],
        ["(a) cat", "(b) dog", "(c) cow"],
        "['cat', 'dog', 'cow']",
        '["cat", "dog", "cow"]',
        "{'A': 'cat', 'B': 'dog', 'C': 'cow'}",
        "A. cat\nB. dog\nC. cow",
        "cat | dog | cow",
        "cat; dog; cow",
        [{"key": "A", "value": "cat"}, {"key": "B", "value": "dog"}, {"key": "C", "value": "cow"}],
        [{"label": "1", "text": "cat"}, {"label": "2", "text": "dog"}, {"label": "3", "text": "cow"}],
        {"label": ["A", "B", "C"], "text": ["cat", "dog", "cow"]},
        {**THREE, "D": None, "E": float("nan")},
    ],
)
@pytest.mark.parametrize("answer", ["B", "b", "(B)", "B.", "B) dog", "dog", "Dog "])
def test_options_and_letters_are_read_however_they_are_written(written, answer):
    (problem,) = _all(TableTask.from_rows("t", [{"question": "Which barks?", "options": written, "answer": answer}]))
    assert problem.question == "Which barks?\nA. cat\nB. dog\nC. cow"
    assert problem.answer == "B" and problem.facts["options"] == THREE


@pytest.mark.parametrize(
    "names", ["ABCD", "abcd", ("Option A", "Option B", "Option C", "Option D"), ("opa", "opb", "opc", "opd")]
)
def test_a_column_for_each_option_is_read(names, tmp_path):
    header = ",".join(["question", *names, "correct"])
    file = _file(tmp_path, "a.csv", f"{header}\nWhich barks?,cat,dog,cow,,B\nWhich moos?,cat,dog,cow,hen,C\n")
    task = get_task(f"csv:{file}")
    assert task.kind == "choice" and {p.answer: len(p.facts["options"]) for p in _all(task)} == {"B": 3, "C": 4}
    chosen = get_task(f"csv:{file}?options={','.join(names).replace(' ', '%20')}")
    assert [p.question for p in _all(chosen)] == [p.question for p in _all(task)]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"options": ["cat", "dog"], "answer": "C"}, "its answer 'C' is none of the options A, B"),
        ({"options": ["cat", "dog"], "answer": "horse"}, "'horse' is none of the options"),
        ({"options": {"A": "cat", "B": "dog", "C": None}, "answer": "C"}, "'C' is none of the options A, B"),
        ({"options": ["cat"], "answer": "A"}, "it has 1 option and needs two"),
        ({"options": "cat", "answer": "A"}, "it has 1 option and needs two"),
        ({"options": ["dog", "dog"], "answer": "A"}, "it has the right option 'dog' twice"),
        ({"options": {"A": "B", "B": "A"}, "answer": "A"}, "one option's letter and another one's text"),
        ({"options": {"left": "cat", "right": "dog"}, "answer": "cat"}, "its options are called LEFT, RIGHT"),
        ({"options": 7, "answer": "A"}, "its options are no list"),
        ({"options": None, "answer": "A"}, "has no options"),
    ],
)
def test_faulty_options_are_refused_with_the_row(row, told):
    good = {"question": "Which barks?", "options": ["cat", "dog"], "answer": "B"}
    assert_refused(
        rf"Row 2 of t .*{told}", lambda: TableTask.from_rows("t", [good, {"question": "Which moos?", **row}])
    )


def test_numbers_that_count_options_are_read_where_all_rows_tell_how():
    def letters(*answers: Any, options: Any = ("cat", "dog", "cow")) -> list[str]:
        rows = [{"question": f"Which, {i}?", "options": list(options), "answer": a} for i, a in enumerate(answers)]
        task = TableTask.from_rows("t", rows)
        return [p.answer for p in sorted(_all(task), key=lambda p: p.question)]

    assert letters(0, 2, 1) == ["A", "C", "B"]
    assert letters("1", "3", "2") == ["A", "C", "B"]
    assert letters(5, 7, options=("5", "6", "7")) == ["A", "C"]
    assert_refused(
        "Row 1 of t has the answer '1', and nothing tells whether .* counts from 0 or counts from 1",
        lambda: letters(1, 2),
    )
    assert_refused("Row 2 of t has the answer '9', which is no option", lambda: letters(1, 9))
    assert_refused(
        "nothing tells whether .* counts from 1 or is an option's text", lambda: letters(2, 3, options=("3", "2", "1"))
    )


def test_options_that_stand_in_the_question_are_not_shown_twice():
    question = "Which barks?\n(A) cat\n(B) dog"
    (problem,) = _all(TableTask.from_rows("t", [{"question": question, "answer": "(B)"}]))
    assert problem.question == question and problem.facts["options"] == {"A": "cat", "B": "dog"}
    assert listed_options("A. Smith met\nC. Brown") == {}
    assert TableTask.from_rows("t", [{"question": "Which letter follows C?", "answer": "D"}]).kind == "text"


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.text("abc xyz", min_size=1).filter(str.strip), min_size=2, max_size=9, unique_by=str.strip), st.data()
)
def test_every_option_can_be_the_right_one_by_letter_and_by_text(texts, data):
    options = options_of(texts)
    at = data.draw(st.integers(0, len(texts) - 1))
    letter = "ABCDEFGHI"[at]
    assert options[letter] == texts[at].strip()
    if len(texts[at].strip()) > 1 and " " not in texts[at].strip():
        assert letter_of(texts[at], options) == letter
    if letter.casefold() not in {text.strip().casefold() for text in texts}:
        assert letter_of(f"({letter})", options) == letter


# ---------------------------------------------------------------- answers


@pytest.mark.parametrize(
    ("golds", "kind"),
    [
        (["3", "-4", "1,200", "$18", "0.5", "40%"], "number"),
        (["3 apples", "18 dollars", "1/2"], "number"),
        (["yes", "No."], "yes-no"),
        (["Yes", "no", "maybe"], "yes-no"),
        ([True, False], "yes-no"),
        ([r"\frac{1}{2}", "[0, 3)", "x^2 + 1"], "math"),
        (["Paris", "the sea"], "text"),
        (["4", "Paris"], "text"),
        (["05/02/2021", "1/2/2021"], "text"),
        (["10:30", "12 May"], "text"),
        (["H2O", "B"], "text"),
    ],
)
def test_the_kind_of_answer_is_told_from_all_gold_answers(golds, kind):
    rows = [{"question": f"What, {i}?", "answer": gold} for i, gold in enumerate(golds)]
    task = TableTask.from_rows("t", rows)
    assert task.kind == kind
    for problem in _all(task):
        for style in task.styles:
            text = task.solution(problem, style)
            assert task.grade(text, problem) is Grade.CORRECT, text
            assert task.matches(task.extract(text), problem)
        assert task.grade("I really cannot tell, it depends on many things.", problem) is not Grade.CORRECT


def test_free_text_is_compared_without_regard_to_case_and_quotation_marks():
    (problem,) = _all(task := TableTask.from_rows("t", [{"question": "Who wrote it?", "answer": "Jane Austen"}]))
    for said in ("The answer is Jane Austen.", 'The answer is "jane  austen".', r"\boxed{Jane Austen}"):
        assert task.grade(said, problem) is Grade.CORRECT, said
    assert task.grade("The answer is Jane.", problem) is Grade.WRONG
    assert (
        task.grade("Well, let me see about that one, which is a question that nobody answers", problem)
        is Grade.UNPARSABLE
    )


def test_a_number_counts_however_it_is_written():
    rows = [{"question": "How many?", "answer": "18 dollars"}, {"question": "Who?", "answer": "Ann"}]
    for task in (TableTask.from_rows("t", rows[:1]), TableTask.from_rows("t", rows)):
        problem = next(p for p in _all(task) if p.question == "How many?")
        for said in ("The answer is 18.", "The answer is $18.00.", r"So it is \boxed{18}", "The answer is 18 dollars."):
            assert task.grade(said, problem) is Grade.CORRECT, (task.kind, said)
        assert task.grade("The answer is 19 dollars.", problem) is Grade.WRONG


def test_the_kind_can_be_overridden_and_must_then_fit():
    rows = [{"question": "How many?", "answer": "7"}]
    assert TableTask.from_rows("t", rows, kind="text").kind == "text"
    assert_refused(
        "Row 1 of t has the answer '7', neither yes nor no", lambda: TableTask.from_rows("t", rows, kind="yes-no")
    )
    words = [{"question": "Where?", "answer": "at home"}]
    assert_refused("has the answer 'at home', not a number", lambda: TableTask.from_rows("t", words, kind="number"))
    assert_refused("Row 1 of t has no options", lambda: TableTask.from_rows("t", words, kind="choice"))
    assert kind_of(["at home"]) == "text"


# ---------------------------------------------------------------- splits


def _numbers(n: int) -> list[dict[str, Any]]:
    return [{"question": f"What comes after {i}?", "answer": i + 1} for i in range(n)]


@pytest.mark.parametrize("n", [8, 30, SMALL - 1, SMALL, 1000])
def test_splits_are_disjoint_cover_all_and_do_not_depend_on_the_order_of_rows(n):
    rows = _numbers(n)
    task = TableTask.from_rows("t", rows)
    parts = {split: {p.question for p in task.split(split)} for split in OWN_SHARES}
    assert all(parts.values()) and set().union(*parts.values()) == {row["question"] for row in rows}
    assert all(not one & other for one, other in itertools.combinations(parts.values(), 2))
    Random(1).shuffle(rows)
    shuffled = TableTask.from_rows("t", rows)
    assert parts == {split: {p.question for p in shuffled.split(split)} for split in OWN_SHARES}


def test_a_large_table_keeps_its_splits_when_it_grows():
    few, many = TableTask.from_rows("t", _numbers(SMALL)), TableTask.from_rows("t", _numbers(4 * SMALL))
    for split in OWN_SHARES:
        assert {p.question for p in few.split(split)} <= {p.question for p in many.split(split)}


def test_problems_carry_the_number_of_their_row_and_are_drawn_by_seed():
    task = TableTask.from_rows("t", SUMS)
    assert {p.id: p.question for p in _all(task)} == {f"t-{i}": row["question"] for i, row in enumerate(SUMS, 1)}
    assert task.problems(5, split="test", seed=1) == task.problems(5, split="test", seed=1)
    assert task.problems(9, split="test", seed=1) != task.problems(9, split="test", seed=2)
    assert task.draw(Random(1)).task == "t"
    n = task.available("test")
    told = f"t has {n} test problems of difficulty 1; ask for at most that many, not {n + 1}"
    assert_refused(told, lambda: task.problems(n + 1, split="test"))
    assert_refused("There is no split 'dev'", lambda: task.problems(1, split="dev"))
    assert_refused("no held-out sentence templates", lambda: task.problems(1, templates="held-out"))
    assert_refused("has no style 'draft'", lambda: task.solution(task.problems(1)[0], "draft"))


# ---------------------------------------------------------------- anything at all

_CELLS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(["A", "(B)", "yes"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("ABCx"), inner, max_size=4),
    max_leaves=6,
)
_NAMED = st.sampled_from(["question", "answer", "options", "A", "B", "solution", "context", "Answer", ""])


def assert_read_or_refused(make: Any) -> None:
    """A task whose gold answers grade as right, or one sentence."""
    try:
        task = make()
    except ValueError as error:
        said = str(error)
        assert said.endswith(".") and "\n" not in said, said
        return
    for problem in _all(task):
        assert problem.question and problem.answer


@settings(max_examples=100, deadline=None)
@given(rows=st.lists(st.dictionaries(_NAMED, _CELLS, min_size=1), min_size=1, max_size=4))
def test_any_rows_are_read_or_refused_in_one_sentence(rows):
    assert_read_or_refused(lambda: TableTask.from_rows("t", rows))
    full = [{"question": f"What is it, {i}?", "answer": "A", **row} for i, row in enumerate(rows)]
    assert_read_or_refused(lambda: TableTask.from_rows("t", full))


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_any_text_is_read_as_a_table_or_refused_in_one_sentence(tmp_path_factory, data):
    head = data.draw(
        st.sampled_from(["", "question,answer\n", "question;answer\n", "[", '{"question": "q?",', "\ufeff"])
    )
    body = data.draw(st.text(st.sampled_from('ab1,;"\n\r\t{}[]:\\|\0é '), max_size=40) | st.binary(max_size=30))
    form = data.draw(st.sampled_from(["csv", "json", "jsonl", "parquet"]))
    content = head.encode() + (body if isinstance(body, bytes) else body.encode())
    file = _file(tmp_path_factory.getbasetemp(), "any.txt", content)
    assert_read_or_refused(lambda: get_task(f"{form}:{file}"))


# ---------------------------------------------------------------- tasks made in code


def test_a_task_made_in_code_is_known_by_its_name(monkeypatch):
    monkeypatch.setattr(registry, "_REGISTERED", {})
    registry.register_task(
        "capitals", lambda: TableTask.from_rows("capitals", [{"q": "Capital of Peru?", "a": "Lima"}])
    )
    assert get_task("capitals").kind == "text" and registry.task_names()[-1] == "capitals"
    assert_refused("There is a task 'capitals' already", lambda: registry.register_task("capitals", TableTask))
    assert_refused("There is a task 'chain' already", lambda: registry.register_task("chain", TableTask))
    assert_refused("'csv:mine' is no name for a task", lambda: registry.register_task("csv:mine", TableTask))
    assert_refused("There is no task 'capital'; did you mean capitals", lambda: get_task("capital"))
    assert_refused("There is no task 'csv:'", lambda: get_task("csv:"))


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("gsm8k", "hf:gsm8k"),
        ("SVAMP", "hf:svamp"),
        ("my/set.csv", "csv:my/set.csv"),
        ("a.jsonl?answer=x", "jsonl:a.jsonl"),
    ],
)
def test_a_name_without_its_first_part_is_answered_with_the_whole_one(name, meant):
    assert_refused(f"There is no task .*; did you mean {meant}", lambda: get_task(name))


# ---------------------------------------------------------------- srm compare


def test_a_wrong_task_is_told_of_before_torch_is_imported():
    program = "import sys\nsys.modules['torch'] = None\nfrom srm_utils.cli.main import app\napp()"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", program, "compare", "--task", "nosuch"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and done.stderr.startswith("There is no task 'nosuch'"), done.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--task", "csv:nothing.csv"), "There is no file 'nothing.csv'"),
        (("--task", "csv:bad.csv"), "Row 2 (line 3) of bad.csv cannot be used: it has no answer"),
        (("--task", "csv:few.csv"), "few.csv has too few test problems to compare on (0, at least 2 needed)"),
        (("--task", "csv:ten.csv", "--split", "dev"), "There is no split 'dev'"),
        (("--task", "hf:svamp", "--data", "nowhere"), "There is no folder 'nowhere', which --data names"),
        (("--task", "hf:svamp", "--data", "."), "holds no SVAMP; put svamp.json there"),
        (("--task", "hf:addsub"), "no copy on the hub is known; put addsub.json into a folder"),
    ],
)
def test_a_wrong_table_is_told_of_before_solvers_are_loaded(arguments, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SRM_DATA", raising=False)
    monkeypatch.setitem(sys.modules, "srm_utils.experiments.compare", None)
    for name, n in (("few.csv", 1), ("ten.csv", 10)):
        _file(tmp_path, name, "question,answer\n" + "".join(f"{r['question']},{r['answer']}\n" for r in SUMS[:n]))
    _file(tmp_path, "bad.csv", "question,answer\nWhat?,1\nAnd now?,\n")
    done = CliRunner().invoke(app, ["compare", *arguments], prog_name="srm")
    assert done.exit_code in (1, 2) and told in done.output and done.output.count("\n") == 1, done.output


def test_a_small_table_is_compared_on_what_it_has(capsys):
    task = TableTask.from_rows("mine", _numbers(12))
    asked, tuned = compare_cli._problems(task, 100, 16, "test", 0, None)
    assert {p.id for p in asked} == {p.id for p in task.split("test")} and len(asked) == 4
    assert {p.id for p in tuned} == {p.id for p in task.split("validation")} and len(tuned) == 2
    assert capsys.readouterr().err.splitlines() == [
        "mine has 4 test problems, fewer than the 100 wanted; all of them are asked.",
        "mine has 2 validation problems, fewer than the 16 wanted; all of them are used for tuning.",
    ]
    compare_cli._problems(get_task("chain"), 5, 2, "test", 0, None)
    assert capsys.readouterr().err == ""
