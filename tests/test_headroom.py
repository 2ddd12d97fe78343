"""Measuring headroom: conditions, records without texts, the grid that is taken up again, mistakes, figures."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from srm_utils.evaluation.mistakes import MISTAKES, mistake
from srm_utils.evaluation.statistics import Estimate
from srm_utils.evaluation.subsampling import majority_at_k
from srm_utils.experiments import headroom
from srm_utils.experiments.headroom import (
    evaluation_of,
    examples_of,
    in_form,
    measure,
    measure_grid,
    problems_of,
    read_records,
    results_of,
)
from srm_utils.experiments.headroom_sets import SETS, Condition, study_grid
from srm_utils.inference.plain_english import PLAIN_ENGLISH, read_text
from srm_utils.models import LanguageModel, load_model
from srm_utils.reporting.dots import dot_map
from srm_utils.tasks.problem import Problem

FEW = Condition("stories-1", shots=3, form="plain", tokens=12, n=3)


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return load_model("instruct", device="cpu")


# ---------------------------------------------------------------- conditions


def test_sets_and_conditions_that_mean_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="no set 'gsm9k'; choose one of"):
        Condition("gsm9k")
    with pytest.raises(ValueError, match="all samples are one"):
        Condition("stories-1", samples=4)


def test_the_grid_holds_every_set_once_a_condition_and_measures_a_claim_before_the_map() -> None:
    grid = study_grid()
    assert len(grid) == len({json.dumps(asdict(c), sort_keys=True) for c in grid})
    assert {c.set for c in grid} == set(SETS)
    groups = [s.group for s in SETS.values()]
    assert groups.count("public") >= 12 and groups.count("generated") >= 12
    for name, known in SETS.items():
        ways = {(c.shots, c.style) for c in grid if c.set == name and c.samples == 1 and c.split == "test"}
        assert {(0, "direct"), (3, "cot" if known.chains else "direct")} <= ways, name
        assert ((0, "cot") in ways) == bool(known.chains), name
    assert {c.bits for c in grid} == {32, 8, 4} and {c.samples for c in grid} == {1, 16}
    votes = next(c for c in grid if c.samples > 1)
    assert grid.index(votes) < grid.index(next(c for c in grid if c.set == "gsm8k"))


@pytest.mark.parametrize("name", [k for k, s in SETS.items() if s.group != "public"])
def test_examples_are_none_of_the_problems_and_are_right(name: str) -> None:
    condition = Condition(name, style="cot" if SETS[name].chains else "direct", shots=3, n=8)
    task = SETS[name].load()
    problems, shown = problems_of(condition, task), examples_of(condition)
    assert len(problems) == 8 and len(shown) == 3
    assert {p.canonical for p in problems}.isdisjoint({p.canonical for p, _ in shown})
    assert all(task.grade(text, p).value == "correct" for p, text in shown)
    assert problems == problems_of(condition, task), "the same ones every time"


def test_arithmetic_sets_without_worked_solutions_are_shown_stories() -> None:
    shown = examples_of(Condition("addsub", shots=2))
    assert all(p.task == "stories" and "=" in text for p, text in shown)


def test_two_forms_of_one_prompt(model: LanguageModel) -> None:
    task = SETS["stories-1"].load()
    prompt = task.prompt(problems_of(FEW, task)[0], "cot", examples_of(FEW))
    plain = in_form(model, "plain")
    assert in_form(model, "chat") is model and plain.model is model.model
    assert plain.render(prompt).count("\nAnswer:") == 4 and plain.render(prompt).endswith("Answer:")
    assert plain.stop == ("\nQuestion:",) and plain.end_ids == model.end_ids


# ---------------------------------------------------------------- records


def test_a_record_holds_grades_and_costs_and_no_text(model: LanguageModel) -> None:
    record, problems, groups = measure(FEW, model)
    assert json.loads(json.dumps(record)) == record
    assert record["problems"] == [p.id for p in problems] and len(groups) == 3
    assert record["generated"] == [len(g[0].token_ids) for g in groups]
    assert record["prompt_tokens"] == [g[0].prompt_tokens for g in groups]
    assert [bool(m) for m in record["mistakes"]] == [g != "c" for g in record["grades"]]
    assert set(record["mistakes"]) <= {"", *MISTAKES}
    text = json.dumps(record)
    assert not any(p.question[:25] in text or g[0].text.strip() in text for p, g in zip(problems, groups, strict=True))
    (result,) = results_of(record, "03_real_model", "smoke")
    assert result.metric == "accuracy" and result.n == 3 and result.cost.flops > 0
    assert result.settings["bits"] == 32 and "n" not in result.settings
    assert math.isclose(result.cost.generated_tokens, sum(record["generated"]) / 3)


def test_words_of_a_data_set_are_not_kept(model: LanguageModel) -> None:
    class Words(type(SETS["stories-1"].load())):  # type: ignore[misc]
        kind = "text"

    class Said:
        text, token_ids, finish_reason, prompt_tokens = " The answer is a secret of the set.", (1,), "stop", 4
        cost, asked = headroom.Cost(generated_tokens=1), headroom.Cost(prompt_tokens=4)

    problem = Problem("hf:x-1", "x", "Which secret?", "another", 1, "x|1")
    task = Words()
    task.found = lambda text, p=None: headroom_found("a secret of the set")  # type: ignore[method-assign]
    for name, kept in (("last-letters", {}), ("stories-1", {"a secret of ": 1})):
        record = headroom.record_of(Condition(name, n=1), task, [problem], [[Said()]], model)  # type: ignore[list-item]
        assert record["said"] == kept


def headroom_found(answer: str) -> object:
    from srm_utils.tasks.grading import Found

    return Found(answer, "phrase")


def test_several_samples_give_a_vote_and_coverage() -> None:
    record = {
        "condition": asdict(Condition("stories-1", temperature=0.7, samples=3, n=2)), "model": "m",
        "problems": ["a", "b"], "difficulties": [1, 1], "grades": ["ccw", "wwu"], "answers": [[0, 0, 1], [2, 2, -1]],
        "said": {}, "mistakes": [], "unmarked": 0, "cut": 1, "prompt_tokens": [10, 10], "generated": [6, 9],
        "seconds": 1.0, "flops": 35.0, "peak_bytes": 5, "weights_bytes": 4,
    }  # fmt: skip
    found = {r.metric: r for r in results_of(record, "03_real_model", "study")}
    assert math.isclose(found["accuracy"].value, 2 / 6)
    assert found["majority of 3"].value == 0.5 and found["pass@3"].value == 0.5
    again = evaluation_of(record)
    assert again.unparsable == 1 / 6 and again.cost_at(3).generated_tokens == 7.5
    assert majority_at_k(again.answers[0], again.correct[0], 3) == 1
    assert found["accuracy"].cost.flops < found["pass@3"].cost.flops


# ---------------------------------------------------------------- the grid


def test_the_grid_is_taken_up_where_it_was_cut(model: LanguageModel, tmp_path: Path) -> None:
    file = tmp_path / "deep" / "grid.jsonl"
    grid = [FEW, replace(FEW, style="direct"), replace(FEW, form="chat")]
    loaded: list[int] = []

    def load(bits: int) -> LanguageModel:
        loaded.append(bits)
        return model

    seen: list[Condition] = []
    whole = measure_grid(grid, load, file, seen=lambda c, problems, groups: seen.append(c))
    assert seen == grid and loaded == [32] and read_records(file) == whole
    lines = file.read_text().splitlines()
    file.write_text("\n".join([lines[0], lines[1][:50]]))  # as a full disk or a kill leaves it
    seen.clear()
    again = measure_grid(grid, load, file, seen=lambda c, problems, groups: seen.append(c))
    assert seen == grid[1:] and read_records(file) == again
    assert [r["grades"] for r in again] == [r["grades"] for r in whole]
    assert measure_grid(grid[:1], lambda bits: pytest.fail("measured twice"), file) == again[:1]


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    file = tmp_path / "grid.jsonl"
    file.write_text('{"condition": {}}\n{"con\n{"condition": {}}\n')
    with pytest.raises(ValueError, match="Line 2 of grid.jsonl is damaged"):
        read_records(file)
    assert read_records(tmp_path / "none.jsonl") == []


# ---------------------------------------------------------------- mistakes

TWO = Problem("", "t", "Ann has 6 nuts. Bo has 3 times as many. How many has Bo?", "18", 1, "")
THREE = Problem("", "t", "Ann has 6 nuts, finds 4 and loses 3. How many are left?", "7", 2, "")
CHOICE = Problem("", "t", "Which?\n(A) cat (B) dog", "B", 1, "")


@pytest.mark.parametrize(
    ("problem", "answer", "text", "expected"),
    [
        (TWO, "9", "6 + 3 = 9. The answer is 9.", "wrong operation"),
        (TWO, "2", "Bo has 2.", "wrong operation"),
        (TWO, "19", "6 x 3 = 19", "arithmetic"),
        (TWO, "19", "$6 * $3 = $19.", "arithmetic"),
        (TWO, "6", "Bo has 6 nuts.", "copied number"),
        (TWO, "50", "Bo has 50.", "other"),
        (TWO, None, "Bo is Ann's friend.", "no answer"),
        (TWO, "9", "6 + 3 = 9.\n6 + 3 = 9.\n6 + 3 = 9.", "rambling"),
        (TWO, "1.5", "10 / 4 = 2.50, so 1.5", "other"),
        (TWO, "1.5", "10 / 0 = 5", "arithmetic"),
        (THREE, "10", "6 + 4 = 10 nuts are left.", "lost quantity"),
        (THREE, "1,200", "It is 1,200.", "other"),
        (CHOICE, "A", "The answer is A.", "wrong choice"),
        (CHOICE, "cat", "1 + 1 = 3, so cat", "arithmetic"),
    ],
)
def test_mistakes_are_classed(problem: Problem, answer: str | None, text: str, expected: str) -> None:
    assert mistake(problem, answer, text) == expected


def test_a_running_sum_is_no_false_equation() -> None:
    assert mistake(THREE, "8", "6 + 4 - 3 = 7, and one more is 8") == "other"
    assert mistake(THREE, "8", "6 + 4 = 10 - 3 = 7, and one more is 8") == "other"


# ---------------------------------------------------------------- reading and drawing


def test_a_text_is_read_with_its_perplexity_and_next_tokens(model: LanguageModel) -> None:
    text = "Question: Anna has 5 apples. How many apples has Anna? Answer: 5."
    read = read_text(model, text)
    prefix = model.encode(text)
    scored = model.score([model.tokenizer.decode(prefix[:1])], [prefix[1:]])[0]
    assert math.isclose(read.perplexity.value, math.exp(-scored.logprob / len(scored.token_ids)), rel_tol=0.02)
    assert read.perplexity.low < read.perplexity.value < read.perplexity.high
    assert len(read.likeliest) == len(prefix) - 1 == read.perplexity.n
    assert read.agreement(read).value == 1 and read.cost.flops > 0
    with pytest.raises(ValueError, match="fewer than two tokens"):
        read_text(model, "")


def test_the_fixed_text_is_long_enough_to_tell_bits_apart() -> None:
    assert 400 < len(PLAIN_ENGLISH.split()) < 700 and PLAIN_ENGLISH.isascii()


def test_the_map_draws_every_dot_with_its_interval() -> None:
    low, high = Estimate(0.2, 0.1, 0.35, 40), Estimate(0.6, 0.5, 0.7, 40)
    figure = dot_map(
        {"One": {"a": {"x": low, "y": high}, "b": {"y": low}}, "Two": {"c": {"x": high}}}, chance={"a": 0.25}
    )
    (axes,) = figure.axes
    assert [t.get_text() for t in axes.get_yticklabels()] == ["a", "b", "c"]
    spans = [tuple(line.get_xdata()) for line in axes.lines]
    assert spans.count((0.1, 0.35)) == 2 and spans.count((0.5, 0.7)) == 2 and (0.25, 0.25) in spans
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["x", "y"]
    with pytest.raises(ValueError, match="nothing to draw"):
        dot_map({})
