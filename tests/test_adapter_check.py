"""`srm models check`: rows that are kept, gains over the same problems, and what is weighed by likelihood."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from srm_utils.evaluation.statistics import Estimate
from srm_utils.experiments import adapter_check
from srm_utils.experiments.adapter_check import KEPT, TAUGHT, Row, check, gains, likeliest_is_right, look_ups, read


@pytest.fixture
def measured(monkeypatch):
    """Replaces the model and its measurement; lists what was measured."""
    seen = []

    def record(model, shots, measure, n, data):
        seen.append((model, shots, measure))
        return Estimate(0.5, 0.1, 0.9, n), (1.0, 0.0), 7.0

    monkeypatch.setattr(adapter_check, "load_model", lambda name, **options: name)
    monkeypatch.setattr(adapter_check, "_measured", record)
    return seen


def test_rows_are_kept_and_a_second_run_measures_only_what_is_missing(tmp_path, measured):
    out = tmp_path / "rows.jsonl"
    first = next(check("smollm2-cot", out, 2))
    assert read(out) == [first] and first.scores == (1.0, 0.0)
    with open(out, "a", encoding="utf-8") as file:
        file.write('{"model": "smollm2-c')  # killed while writing
    assert read(out) == [first]
    rest = list(check("smollm2-cot", out, 2))
    assert [r.measure for r in [first, *rest]] == [*TAUGHT, *KEPT] == [m for _, _, m in measured]
    assert list(check("smollm2-cot", out, 2)) == [] and read(out) == [first, *rest]


def test_the_model_without_an_adapter_is_asked_with_examples_too(tmp_path, measured):
    list(check("smollm2", tmp_path / "rows.jsonl", 2))
    assert [shots for _, shots, m in measured if m == "stories"] == [3, 0]
    assert {shots for _, shots, m in measured if m in KEPT} == {0}


def test_gains_compare_equal_problems_only():
    def row(model, measure, scores, asked="no example"):
        return Row(model, asked, measure, sum(scores) / len(scores), 0, 1, len(scores), 5.0, tuple(scores))

    rows = [
        row("a", "stories", [1, 0, 0, 0]), row("b", "stories", [1, 1, 1, 0]),
        row("a", "hf:svamp", [1, 0]), row("b", "hf:svamp", [1, 0, 1]),
        row("b", "look-ups", [1, 1]), Row("a", "no example", "perplexity of plain English", 9, 8, 10, 3, 0.0),
        row("a", "stories", [1, 1, 1, 1], asked="3 examples"),
    ]  # fmt: skip
    found = gains(rows, "a", "b")
    assert set(found) == {"stories"} and found["stories"].value == 0.5
    assert found["stories"].low < 0.5 < found["stories"].high
    assert gains(rows, "b", "a")["stories"].value == -0.5


def test_look_ups_can_be_answered_from_the_text():
    choices = look_ups(40)
    for text, options, right in choices:
        owner = text.splitlines()[-1].removeprefix("Answer: ").removesuffix(" has")
        assert f"{owner} has {options[right]}." in text and text.count(f"{owner} has") == 2
        assert len(set(options)) == 5 and all(f"has {o}." in text for o in options)
    assert {right for *_, right in choices} == set(range(5))
    assert look_ups(40) == choices


def test_the_likeliest_option_is_weighed_by_the_character():
    class Weighs:
        def score(self, prompts, completions):
            assert completions == [" ab", " abcd", " no", " yes"] and prompts == ["t", "t", "u", "u"]
            return [SimpleNamespace(logprob=v) for v in (-4.0, -6.0, -1.0, -3.0)]

    # -2 against -1.5 a character: the second, though its sum is smaller.
    assert likeliest_is_right(Weighs(), [("t", ("ab", "abcd"), 1), ("u", ("no", "yes"), 1)]) == (1.0, 0.0)
