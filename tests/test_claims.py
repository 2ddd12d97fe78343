"""Claims and their verdicts, results in notebooks, evaluations of graded samples, the solver's words."""

from __future__ import annotations

import gc
import json
import math
from dataclasses import replace
from pathlib import Path
from random import Random

import nbformat
import numpy as np
import pytest

from srm_utils.evaluation import (
    Claim,
    Estimate,
    Evaluation,
    Result,
    equal_cost,
    evaluate,
    evaluate_attempts,
    judge,
    load_claims,
    paired,
    read_results,
    record,
    seed_paired,
    slope,
    unbounded,
    verdict,
    wording,
)
from srm_utils.evaluation.results import MIME, bundle, read_parquet, to_frame, to_jsonl, to_parquet
from srm_utils.evaluation.statistics import Measurement
from srm_utils.inference.solver import Attempt, Budget, Solver, attempt
from srm_utils.sampling.completion import Completion, Cost, group_cost
from srm_utils.tasks.problem import Grade, Problem, Task

ENTRY = """
- id: cot-gap
  notebook: 2_inference/21_chain_of_thought
  paper: wei2022chain
  sentence: Chain of thought beats direct answers.
  type: superiority
  margin: 0.05
  metric: accuracy difference
  n: 200
  scope: effect
"""


def claim(**changes: object) -> Claim:
    base: dict[str, object] = dict(
        id="c", notebook="nb", paper="p", sentence="s", type="superiority", margin=0.1, metric="m", n=50, scope="effect"
    )
    return Claim(**{**base, **changes})


def grades(up: int, down: int, same: int) -> np.ndarray:
    return np.r_[np.ones(up), -np.ones(down), np.zeros(same)]


# ---- loading ------------------------------------------------------------------------------------------


def write(folder: Path, text: str) -> Path:
    path = folder / "claims.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_load(tmp_path: Path):
    other = ENTRY.replace("cot-gap", "other").replace("21_chain_of_thought", "22")
    path = write(tmp_path, f"{ENTRY}{other}  seeds: 5\n")
    first, second = load_claims(path, papers={"wei2022chain"})
    assert (first.id, first.margin, first.n, first.type, first.seeds) == ("cot-gap", 0.05, 200, "superiority", None)
    assert second.seeds == 5
    assert [c.id for c in load_claims(path, notebook="2_inference/22")] == ["other"]
    assert load_claims(write(tmp_path, "")) == []


@pytest.mark.parametrize(
    "text, words",
    [
        (ENTRY.replace("superiority", "better"), ["cot-gap", "type", "better", "superiority"]),
        (ENTRY.replace("scope: effect", "scope: proof"), ["cot-gap", "scope", "proof"]),
        (ENTRY + ENTRY, ["cot-gap", "twice"]),
        (ENTRY + "  colour: red\n", ["cot-gap", "colour", "margin"]),
        (ENTRY.replace("  paper: wei2022chain\n", ""), ["cot-gap", "paper"]),
        (ENTRY.replace("wei2022chain", "wei1999"), ["cot-gap", "wei1999", "papers.bib"]),
        (ENTRY.replace("0.05", "-0.05"), ["cot-gap", "margin"]),
        (ENTRY.replace("0.05", ".nan"), ["cot-gap", "margin"]),
        (ENTRY.replace("superiority", "equivalence").replace("0.05", "0"), ["cot-gap", "equivalence", "margin"]),
        (ENTRY.replace("n: 200", "n: many"), ["cot-gap", "n", "many"]),
        (ENTRY + "  seeds: 3\n", ["cot-gap", "seeds", "5"]),
        (ENTRY.replace("- id: cot-gap", "- id: [1"), ["line", "YAML"]),
        (ENTRY.replace("  metric", "\tmetric"), ["line", "YAML"]),
        ("cot-gap: {}", ["list"]),
        ("- 3", ["Entry 1"]),
        ("- 3: 4", ["Entry 1"]),
        (ENTRY.replace("id: cot-gap", "name: cot-gap"), ["Entry 1", "id"]),
    ],
)
def test_load_errors_are_one_sentence(tmp_path: Path, text: str, words: list[str]):
    with pytest.raises(ValueError) as error:
        load_claims(write(tmp_path, text), papers={"wei2022chain"})
    said = str(error.value)
    assert all(w in said for w in words), said
    assert said.endswith(".") and "\n" not in said
    assert error.value.__context__ is None or error.value.__suppress_context__


def test_no_file(tmp_path: Path):
    with pytest.raises(ValueError, match="no claims at"):
        load_claims(tmp_path / "none.yaml")


# ---- verdicts -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind, low, high, expected",
    [
        ("superiority", 0.11, 0.30, "supported"),
        ("superiority", 0.10, 0.30, "inconclusive"),  # touching the margin is not beyond it
        ("superiority", 0.01, 0.09, "contradicted"),  # better, but surely by less than the margin
        ("superiority", -0.3, -0.2, "contradicted"),
        ("superiority", -0.3, 0.30, "inconclusive"),
        ("trend", 0.11, 0.30, "supported"),
        ("trend", -0.1, 0.09, "contradicted"),
        ("trend", 0.05, 0.20, "inconclusive"),
        ("non-inferiority", -0.09, 0.05, "supported"),
        ("non-inferiority", 0.20, 0.30, "supported"),
        ("non-inferiority", -0.30, -0.11, "contradicted"),
        ("non-inferiority", -0.10, 0.30, "inconclusive"),
        ("equivalence", -0.09, 0.09, "supported"),
        ("equivalence", 0.02, 0.05, "supported"),
        ("equivalence", 0.11, 0.30, "contradicted"),
        ("equivalence", -0.30, -0.11, "contradicted"),
        ("equivalence", 0.05, 0.15, "inconclusive"),
        ("equivalence", -0.30, 0.30, "inconclusive"),
        ("superiority", math.nan, math.nan, "inconclusive"),
        ("equivalence", math.nan, math.nan, "inconclusive"),
    ],
)
def test_verdict(kind: str, low: float, high: float, expected: str):
    assert verdict(claim(type=kind), Estimate((low + high) / 2, low, high, 100)) == expected


def test_judge_one_claim_of_each_type():
    claims = [
        claim(id="up"),
        claim(id="same", type="equivalence"),
        claim(id="kept", type="non-inferiority", margin=0.05),
        claim(id="lost", type="superiority", margin=0.0),
        claim(id="grows", type="trend", margin=0.0),
        claim(id="trained", margin=0.02, seeds=5),
        claim(id="cheaper", margin=5.0),
    ]
    n = 400
    depth = np.repeat([1, 2, 3, 4], n // 4)
    found = judge(
        claims,
        {
            "up": grades(160, 20, n - 180),
            "same": grades(20, 20, n - 40),
            "kept": paired(grades(60, 20, n - 80)),
            "lost": grades(20, 100, n - 120),
            "grows": slope(depth, np.where(np.arange(n) % 4 < depth - 1, 1.0, 0.0)),
            "trained": seed_paired([0.10, 0.11, 0.09, 0.12, 0.10]),
            "cheaper": unbounded(np.linspace(10, 30, n)),
        },
    )
    assert [v.verdict for v in found] == ["supported"] * 3 + ["contradicted"] + ["supported"] * 3
    assert [v.claim.id for v in found] == [c.id for c in claims]
    assert all(v.detectable is None and v.p_value < 0.05 for v in found)


def test_inconclusive_says_what_could_have_been_seen():
    (found,) = judge([claim(margin=0.0)], {"c": grades(20, 15, 65)})
    assert found.verdict == "inconclusive" and found.p_value > 0.05
    # sd of the differences 0.59, n = 100: 2.8 standard errors.
    assert found.detectable == pytest.approx(2.8 * 0.59 / 10, rel=0.05)
    assert "smallest detectable effect 0.1" in str(found) and "undecided in the bundled world" in str(found)


def test_holm_widens_what_is_not_rejected_and_can_overturn_a_lone_verdict():
    lone = grades(14, 4, 82)  # 95 %: just above zero
    (alone,) = judge([claim(id="a", margin=0.0)], {"a": lone})
    assert alone.verdict == "supported" and 0.01 < alone.p_value < 0.05
    family = [claim(id=i, margin=0.0) for i in "abcd"]
    nothing = {i: grades(10, 10, 80) for i in "bcd"}
    together = judge(family, {"a": lone, **nothing})
    assert [v.verdict for v in together] == ["inconclusive"] * 4
    assert together[0].estimate.level == pytest.approx(1 - 0.05 / 4)
    assert together[0].estimate.low < 0 < alone.estimate.low
    assert together[0].p_value == pytest.approx(4 * alone.p_value, rel=1e-3)
    # With the others certain, step-down leaves it the full 95 %.
    certain = {i: grades(60, 0, 40) for i in "bcd"}
    assert judge(family, {"a": lone, **certain})[0] == alone


def test_family_error_of_judge_is_kept(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gc, "collect", lambda: 0)  # statsmodels calls it in every adjustment
    rng = np.random.default_rng(0)
    kinds = [("superiority", 0.0, 0.0), ("non-inferiority", 0.1, -0.1), ("equivalence", 0.1, 0.1)]
    claims = [claim(id=kind, type=kind, margin=margin) for kind, margin, _ in kinds]
    wrong = 0
    for _ in range(300):
        # Every truth stands on its margin: a verdict of either kind is wrong.
        data = {}
        for kind, _, truth in kinds:
            p = [0.2 + truth / 2, 0.2 - truth / 2, 0.6]
            data[kind] = rng.choice([1.0, -1.0, 0.0], p=p, size=200)
        wrong += any(v.verdict != "inconclusive" for v in judge(claims, data))
    assert 0.01 < wrong / 300 < 0.08  # 5 % of 300 runs, within three standard errors


def test_seeds():
    trained = claim(margin=0.0, seeds=5)
    (few,) = judge([trained], {"c": [0.30, 0.31, 0.30]})
    assert few.verdict == "inconclusive" and "at least 5" in few.reason
    assert judge([trained], {"c": [0.30, 0.31, 0.30, 0.29, 0.3]})[0].verdict == "supported"
    with pytest.raises(ValueError, match="rests on seeds"):
        judge([trained], {"c": paired(grades(20, 0, 80))})
    with pytest.raises(ValueError, match="rests on problems"):
        judge([claim()], {"c": seed_paired([0.1, 0.2, 0.1, 0.2, 0.1])})


@pytest.mark.parametrize("kind", ["superiority", "non-inferiority", "equivalence", "trend"])
@pytest.mark.parametrize("value", [-0.4, 0.0, 0.05, 0.435])
def test_no_verdict_rests_on_an_interval_without_a_width(kind: str, value: float):
    narrow = Estimate(value, value, value + 1e-15, 5)
    assert verdict(claim(type=kind), narrow) == "inconclusive"
    made_by_hand = Measurement(lambda level: narrow, "problem")
    (found,) = judge([claim(type=kind)], {"c": made_by_hand})
    assert (found.verdict, found.p_value, found.detectable) == ("inconclusive", 1.0, None)
    assert "there is no spread to judge by" in found.reason


@pytest.mark.parametrize("n", [2, 5, 8])
def test_equal_seeds_are_inconclusive_and_say_why(n: int):
    trained, other = claim(margin=0.2, seeds=5), claim(id="other", margin=0.0, seeds=5)
    found, beside = judge([trained, other], {"c": [0.435] * n, "other": [0.30, 0.31, 0.30, 0.29, 0.3]})
    assert (found.verdict, found.p_value, found.detectable) == ("inconclusive", 1.0, None)
    assert found.reason == f"All {n} seeds agree exactly, so there is no spread to judge by."
    assert beside.verdict == "supported", "what has no spread does not weigh on the others"
    result = PLAIN.with_verdict(found)
    assert result.extra["reason"] == found.reason and result.extra["detectable"] is None
    assert same(Result.from_record(json.loads(json.dumps(result.to_record(), allow_nan=False))), result)
    # Within bounds many equal seeds tell something, a few do not.
    bounded = [judge([trained], {"c": seed_paired([0.435] * k, bounds=(-1, 1))})[0].verdict for k in (5, 40)]
    assert bounded == ["inconclusive", "supported"]


def test_three_saturated_problems_prove_nothing_and_three_hundred_do():
    def measured(n: int) -> Measurement:
        ones, cost = np.ones(n), np.linspace(1, 2, n)
        return equal_cost(ones, cost, np.array([ones, ones]), np.array([cost / 2, cost * 2]), resamples=200)

    for kind in ("non-inferiority", "equivalence"):
        few, many = (judge([claim(type=kind, margin=0.05)], {"c": measured(n)})[0] for n in (3, 300))
        assert (few.verdict, many.verdict) == ("inconclusive", "supported")
    (flat,) = judge([claim(type="trend", margin=0.0)], {"c": slope([1, 2, 3], [0.1, 0.2, 0.3])})
    assert flat.verdict == "inconclusive" and "All 3 problems agree exactly" in flat.reason


def test_judge_equal_cost():
    rng = np.random.default_rng(0)
    n = 300
    skill = rng.random(n)
    control = np.stack([skill * 0.5, skill * 0.7])
    cost = np.stack([np.full(n, 1.0), np.full(n, 4.0)])
    treatment = (rng.random(n) < 0.8).astype(float)
    (found,) = judge([claim(margin=0.1)], {"c": equal_cost(treatment, np.full(n, 2.5), control, cost, resamples=2000)})
    assert found.verdict == "supported" and found.estimate.value == pytest.approx(treatment.mean() - 0.6 * skill.mean())


def test_judge_says_what_is_missing():
    with pytest.raises(ValueError, match="missing.*'a'.*without a claim.*'b'"):
        judge([claim(id="a")], {"b": grades(1, 1, 1)})
    with pytest.raises(ValueError, match="one notebook"):
        judge([claim(id="a"), claim(id="b", notebook="x")], {"a": grades(1, 1, 1), "b": grades(1, 1, 1)})
    with pytest.raises(ValueError, match="slope"):
        judge([claim(type="trend")], {"c": grades(1, 1, 1)})
    assert judge([], {}) == []


def test_fewer_problems_than_planned_is_said():
    (found,) = judge([claim(n=500, margin=0.0)], {"c": grades(50, 0, 50)})
    assert found.reason == "100 problems of the 500 planned."


def test_only_transfer_is_reproduced():
    for scope in ("mechanism", "effect", "transfer"):
        for found in ("supported", "contradicted", "inconclusive"):
            words = wording(scope, found)
            assert ("reproduced" in words) == (scope == "transfer" and found != "inconclusive")
            assert ("bundled world" in words) == (scope != "transfer")


# ---- results ------------------------------------------------------------------------------------------

ODD = Result(
    notebook="2_inference/21",
    technique="chain of thought <b>",
    metric="accuracy",
    value=0.5,
    low=float("-inf"),
    high=float("nan"),
    n=40,
    model="srm-middle",
    profile="smoke",
    seed=0,
    claim_id="cot-gap",
    verdict="inconclusive",
    cost=Cost(3, 4.5, 0, 1e12, 0.25, float("inf")),
    settings={"k": [1, (3, np.int64(4))], "temperature": np.float32(0.5), "limit": math.inf, "deep": {"x": math.nan}},
    extra={"curve": np.array([0.5, np.nan]), "note": "é \u2028", "none": None, "yes": np.bool_(True)},
)
PLAIN = replace(ODD, technique="direct", low=0.4, high=0.6, cost=Cost(), settings={}, extra={})
PLAIN = replace(PLAIN, claim_id=None, verdict=None)


def same(a: Result, b: Result) -> bool:
    # Text tells NaN from numbers and agrees with itself, which == does not.
    return json.dumps(a.to_row(), sort_keys=True) == json.dumps(b.to_row(), sort_keys=True)


def executed(*results: Result) -> nbformat.NotebookNode:
    outputs = [nbformat.v4.new_output("display_data", data=bundle(r)) for r in results]
    noise = nbformat.v4.new_output("display_data", data={"text/plain": "a figure", "application/json": {"a": 1}})
    stream = nbformat.v4.new_output("stream", text="hello")
    cells = [nbformat.v4.new_markdown_cell("# t"), nbformat.v4.new_code_cell("x", outputs=[stream, noise, *outputs])]
    return nbformat.v4.new_notebook(cells=cells)


def test_round_trip_through_a_notebook_file(tmp_path: Path):
    notebook = executed(ODD, PLAIN)
    nbformat.validate(notebook)
    path = tmp_path / "nb.ipynb"
    nbformat.write(notebook, path)
    json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    odd, plain = read_results(path)
    assert same(odd, ODD) and same(plain, PLAIN) and plain == PLAIN
    assert odd.low == -math.inf and math.isnan(odd.high) and odd.cost.peak_bytes == math.inf
    assert odd.settings["k"] == [1, [3, 4]] and odd.settings["limit"] == math.inf
    assert math.isnan(odd.settings["deep"]["x"])
    assert odd.extra["note"] == "é \u2028" and odd.extra["yes"] is True and math.isnan(odd.extra["curve"][1])
    assert [r.technique for r in read_results(str(path))] == [r.technique for r in read_results(notebook)]


def test_fallbacks_are_readable_and_escaped():
    data = bundle(ODD)
    assert set(data) == {MIME, "text/plain", "text/html"}
    assert "accuracy 0.5" in data["text/plain"] and "cot-gap: inconclusive" in data["text/plain"]
    assert "<b>" not in data["text/html"] and "&lt;b&gt;" in data["text/html"]


def test_record_prints_outside_a_notebook(capsys: pytest.CaptureFixture[str]):
    record(PLAIN)
    assert "direct on srm-middle: accuracy 0.5 [0.4, 0.6], n=40" in capsys.readouterr().out


def test_record_displays_inside_ipython():
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.utils.capture import capture_output

    InteractiveShell.instance()
    try:
        with capture_output() as caught:
            record(ODD)
    finally:
        InteractiveShell.clear_instance()
    (shown,) = caught.outputs
    assert same(Result.from_record(shown.data[MIME]), ODD)


def test_jsonl_and_parquet(tmp_path: Path):
    to_jsonl([ODD, PLAIN], tmp_path / "r.jsonl")
    lines = (tmp_path / "r.jsonl").read_text(encoding="utf-8").split("\n")
    assert lines[-1] == "" and len(lines) == 3
    read = [json.loads(x, parse_constant=lambda name: pytest.fail(name)) for x in lines[:-1]]
    assert all(same(Result.from_record(r), w) for r, w in zip(read, [ODD, PLAIN], strict=True))

    to_parquet([ODD, PLAIN], tmp_path / "r.parquet")
    assert all(same(a, b) for a, b in zip(read_parquet(tmp_path / "r.parquet"), [ODD, PLAIN], strict=True))
    frame = to_frame([ODD, PLAIN])
    assert frame["low"].dtype == float and frame["low"].tolist() == [-math.inf, 0.4] and frame["flops"][0] == 1e12
    assert len(to_frame([])) == 0 and "value" in to_frame([]).columns


def test_damaged_records_and_notebooks(tmp_path: Path):
    damaged = executed(PLAIN)
    del damaged.cells[1].outputs[-1]["data"][MIME]["technique"]
    with pytest.raises(ValueError, match="cell 2 is damaged"):
        read_results(damaged)
    (tmp_path / "x.ipynb").write_text("{")
    for path in (tmp_path / "x.ipynb", tmp_path / "absent.ipynb"):
        with pytest.raises(ValueError, match="not a readable notebook"):
            read_results(path)
    with pytest.raises(ValueError, match="no JSON form"):
        replace(PLAIN, extra={"model": object()}).to_record()


def test_what_was_measured_in_another_world_is_a_finding_and_no_verdict():
    bundled, real = claim(id="toy", margin=0.0), claim(id="real", margin=0.0, scope="transfer")
    data = {"toy": grades(50, 0, 50), "real": grades(50, 0, 50)}
    (found, judged) = judge([bundled, real], data, world="real")
    assert found.verdict is None and judged.verdict == "supported"
    assert judged == judge([real], {"real": data["real"]}, world="real")[0], "a finding takes no part in Holm's family"
    assert "no verdict" in str(found) and "bundled world" in str(found) and "seen in" not in str(found)
    result = PLAIN.with_verdict(found)
    assert (result.claim_id, result.verdict, result.extra["finding"], result.value) == (None, None, "toy", 0.5)
    assert "p_holm" not in result.extra and same(Result.from_record(result.to_record()), result)
    assert [v.verdict for v in judge([bundled, real], data)] == ["supported", None]


def test_with_verdict():
    (judged,) = judge([claim(id="gap", margin=0.0)], {"gap": grades(50, 0, 50)})
    result = PLAIN.with_verdict(judged)
    assert (result.claim_id, result.verdict, result.metric) == ("gap", "supported", "m")
    assert (result.value, result.n) == (0.5, 100)
    assert result.extra["level"] == 0.95 and same(Result.from_record(result.to_record()), result)


# ---- evaluation ---------------------------------------------------------------------------------------


class Echo(Task):
    """Completions are their own answers; "?" cannot be parsed."""

    name, styles, difficulties = "echo", ("direct",), (1, 2)

    def draw(self, rng: Random, difficulty: int, templates: str = "train") -> Problem:
        raise NotImplementedError

    def solution(self, problem: Problem, style: str, rng: Random | None = None) -> str:
        return problem.answer

    def extract(self, text: str) -> str | None:
        return None if text == "?" else text

    def matches(self, answer: str, problem: Problem) -> bool:
        return answer == problem.answer


PROBLEMS = [Problem(f"p{i}", "echo", "q", "4", 1 + i // 2, f"f{i}") for i in range(4)]


def completion(text: str, tokens: int = 2) -> Completion:
    return Completion(
        text, (0,) * tokens, (-0.1,) * tokens, "stop", 5, Cost(0, tokens, 0, 10 * tokens, 0.5, 100), Cost(5, flops=50)
    )


def drawn(*texts: str) -> Evaluation:
    return evaluate(Echo(), PROBLEMS, [[completion(x) for x in t] for t in texts])


EVALUATION = drawn("444", "45?", "556", "?44")


def test_evaluate_grades_and_difficulty():
    assert EVALUATION.correct.tolist() == [[1, 1, 1], [1, 0, 0], [0, 0, 0], [0, 1, 1]]
    assert EVALUATION.unparsable == pytest.approx(2 / 12)
    accuracy = EVALUATION.accuracy()
    assert accuracy.value == pytest.approx(0.5) and accuracy.n == 4 and accuracy.low < 0.25
    levels = EVALUATION.by_difficulty()
    assert list(levels) == [1, 2]
    assert [e.value for e in levels.values()] == [pytest.approx(2 / 3), pytest.approx(1 / 3)]


def test_evaluate_at_k():
    assert EVALUATION.passk(1).value == pytest.approx(0.5) == EVALUATION.majority(1).value
    assert EVALUATION.passk(3).value == pytest.approx(0.75)
    # Votes of all three: 4; a tie of 4 and 5 (half); 5; 4, the unparsable one not voting.
    assert EVALUATION.majority_scores(3).tolist() == pytest.approx([1, 0.5, 0, 1])
    weights = np.array([[1, 1, 1], [1, 9, 1], [1, 1, 1], [1, 1, 1]])
    assert EVALUATION.majority_scores(3, weights).tolist() == pytest.approx([1, 0, 0, 1])
    scores = np.array([[0, 0, 1], [1, 0, 0], [1, 1, 1], [0, 1, 2]])
    assert EVALUATION.best_of_scores(3, scores).tolist() == pytest.approx([1, 1, 0, 1])
    assert EVALUATION.best_of(3, scores).value == pytest.approx(0.75)
    for call in (lambda: EVALUATION.passk(4), lambda: EVALUATION.cost_at(4), lambda: EVALUATION.best_of(1, [[1.0]])):
        with pytest.raises(ValueError):
            call()


def test_cost_counts_the_prompt_once():
    whole = EVALUATION.cost
    expected = group_cost([completion("4")] * 3)
    assert whole == expected == Cost(5, 6, 0, 110, 1.5, 100)
    one = EVALUATION.cost_at(1)
    assert (one.prompt_tokens, one.generated_tokens, one.flops, one.seconds, one.peak_bytes) == (5, 2, 70, 0.5, 100)
    assert EVALUATION.costs_at(2).tolist() == pytest.approx([90] * 4)
    assert EVALUATION.costs_at(2, "tokens").tolist() == pytest.approx([9] * 4)


def test_differences_need_the_same_problems():
    assert EVALUATION.minus(drawn("4", "4", "4", "5")).tolist() == pytest.approx([0, -2 / 3, -1, 2 / 3])
    other = evaluate(Echo(), PROBLEMS[::-1], [[completion("4")]] * 4)
    with pytest.raises(ValueError, match="different problems"):
        EVALUATION.minus(other)


def test_evaluate_refuses_ragged_groups():
    for groups in ([[completion("4")]] * 3, [[completion("4")] * (1 + i % 2) for i in range(4)], [[]] * 4):
        with pytest.raises(ValueError):
            evaluate(Echo(), PROBLEMS, groups)


def test_attempts_in_any_order():
    class Constant:
        name = "constant"

        def solve(self, problems: list[Problem], model: object, budget: Budget) -> list[Attempt]:
            answers = ["4", "5", None, "4"]
            return [attempt(Echo(), p, a, None, Cost(flops=8)) for p, a in zip(problems, answers, strict=True)]

    solver: Solver = Constant()
    attempts = solver.solve(PROBLEMS, None, Budget())
    assert [a.grade for a in attempts] == [Grade.CORRECT, Grade.WRONG, Grade.UNPARSABLE, Grade.CORRECT]
    found = evaluate_attempts(PROBLEMS, attempts[::-1])
    assert found.scores.tolist() == [1, 0, 0, 1] and found.unparsable == 0.25 and found.cost.flops == 8
    with pytest.raises(ValueError, match="fewer attempts"):
        evaluate_attempts(PROBLEMS, attempts[:3])
    with pytest.raises(ValueError, match="not among the problems"):
        evaluate_attempts(PROBLEMS[:3], attempts)
    with pytest.raises(ValueError, match="at least 1 sample"):
        Budget(samples=0)


def test_every_published_verdict_is_what_the_rule_says_of_its_interval() -> None:
    notebooks = Path(__file__).resolve().parents[1] / "notebooks"
    claims = {claim.id: claim for claim in load_claims(notebooks / "claims.yaml")}
    published = json.loads((notebooks / "confirmed.json").read_text(encoding="utf-8"))["claims"]
    assert len(published) >= 163
    for row in published:
        ends = [float(v["$float"]) if isinstance(v, dict) else v for v in (row["low"], row["high"])]
        assert ends[0] < ends[1], f"{row['claim']} has an interval without a width"
        assert row["verdict"] == verdict(claims[row["claim"]], Estimate(row["value"], *ends, row["n"])), row["claim"]
