"""Whole replies in the manner of several families of models, graded as a person would (`transcripts.jsonl`).

A row has the fields kind (whose manner), text, gold, want (correct, wrong or unparsable) and, for choices, options.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from srm_utils.tasks.grading import grade_choice, grade_math

ROWS = [json.loads(line) for line in (Path(__file__).parent / "transcripts.jsonl").read_text("utf-8").splitlines()]


@pytest.mark.parametrize("row", ROWS, ids=[f"{i}-{row['kind']}" for i, row in enumerate(ROWS, 1)])
def test_a_transcript_is_graded_as_a_person_would(row: dict):
    options = row.get("options")
    grade = grade_choice(row["text"], row["gold"], options) if options else grade_math(row["text"], row["gold"])
    assert grade.value == row["want"]


def test_there_are_many_and_every_outcome_is_among_them():
    assert len(ROWS) >= 60
    assert {row["want"] for row in ROWS} == {"correct", "wrong", "unparsable"}
    assert len({row["text"] for row in ROWS}) >= 60
