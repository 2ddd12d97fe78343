"""Figures, the results table and the trace viewer, read back from what they drew."""

from __future__ import annotations

import io
import math
from html.parser import HTMLParser
from random import Random

import matplotlib
import numpy as np
import pytest
from matplotlib.text import Text

from srm_utils.evaluation import Claim, Estimate, judge, paired
from srm_utils.evaluation.statistics import wilson
from srm_utils.reporting import (
    accuracy_by_difficulty,
    accuracy_vs_cost,
    bills_table,
    claims_figure,
    differences,
    results_table,
)
from srm_utils.reporting import show_trace as show
from srm_utils.reporting.figures import si, spread
from srm_utils.reporting.style import COLOURS, LINES, MARKERS, look, style
from srm_utils.reporting.traces import token_spans
from srm_utils.sampling.completion import Completion, Cost
from srm_utils.tasks.problem import Problem, StepCheck, Task

CURVES = {
    "vote": [(4e6, wilson(60, 100)), (1e6, wilson(40, 100)), (2e6, wilson(50, 100))],
    "best of N": [(1e6, wilson(40, 100)), (4e6, wilson(60, 100))],
}


def texts(fig) -> list[str]:
    return [t.get_text() for ax in fig.axes for t in ax.texts]


def drawn(fig) -> bytes:
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png")
    return buffer.getvalue()


# ---- style --------------------------------------------------------------------------------------------


def luminance(colour: str) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in matplotlib.colors.to_rgb(colour)]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


def test_methods_differ_without_colour():
    looks = [look(i) for i in range(len(COLOURS) * len(LINES))]
    assert len({(x.marker, x.line) for x in looks[: len(MARKERS)]}) == len(MARKERS)
    assert len({(x.marker, x.line) for x in looks}) == len(looks) == 28
    assert all(a.line != b.line and a.marker != b.marker for a, b in zip(looks, looks[1:], strict=False))


def test_every_colour_stands_out_from_white():
    # Graphical objects need a contrast of 3:1 (WCAG 1.4.11); the two lightest are used last and never alone.
    contrast = [1.05 / (luminance(c) + 0.05) for c in COLOURS]
    assert min(contrast[:4]) >= 3 and min(contrast) >= 2


def test_style_leaves_the_readers_settings_alone():
    before = dict(matplotlib.rcParams)
    accuracy_vs_cost(CURVES)
    with style():
        assert matplotlib.rcParams["figure.facecolor"] == "white"
    assert dict(matplotlib.rcParams) == before


# ---- figures ------------------------------------------------------------------------------------------


def test_accuracy_vs_cost_draws_points_and_intervals():
    fig = accuracy_vs_cost(CURVES, title="T", point_labels={"vote": ["k=1", "k=2", "k=4"]})
    (ax,) = fig.axes
    assert ax.get_xscale() == "log" and "FLOPs per problem" in ax.get_xlabel() and ax.get_title("left") == "T"
    line = next(x for x in ax.lines if x.get_label() == "vote")
    assert line.get_xdata().tolist() == [1e6, 2e6, 4e6] and line.get_ydata().tolist() == [0.4, 0.5, 0.6]
    bars = ax.containers[0].lines[2][0].get_segments()
    for (x, e), bar in zip(sorted(CURVES["vote"], key=lambda p: p[0]), bars, strict=True):
        assert bar.tolist() == [[pytest.approx(x), pytest.approx(e.low)], [pytest.approx(x), pytest.approx(e.high)]]
    assert {"vote", "best of N", "k=1", "k=4"} <= set(texts(fig)) and ax.get_legend() is None
    assert fig.get_facecolor() == (1, 1, 1, 1)
    assert drawn(fig).startswith(b"\x89PNG")


def test_labels_do_not_overlap():
    same = [(1e6, wilson(40, 100)), (4e6, wilson(60, 100))]
    fig = accuracy_vs_cost({name: same for name in ("alpha", "beta", "gamma", "delta")})
    drawn(fig)
    boxes = sorted((Text.get_window_extent(t) for t in fig.axes[0].texts), key=lambda b: b.y0)
    assert len(boxes) == 4 and all(low.y1 <= high.y0 + 1 for low, high in zip(boxes, boxes[1:], strict=False))


def test_a_line_that_ends_early_is_named_where_it_ends():
    fig = accuracy_vs_cost({**CURVES, "greedy": [(1.1e6, wilson(45, 100))]})
    drawn(fig)
    axes = fig.axes[0].get_window_extent()
    box = {t.get_text(): Text.get_window_extent(t) for t in fig.axes[0].texts}
    assert box["greedy"].x1 < axes.x1 < box["vote"].x0
    assert box["greedy"].y0 > fig.axes[0].transData.transform((1e6, wilson(45, 100).high))[1]


def test_spread():
    assert spread([0.1, 0.5, 0.9], 0.1, 0, 1) == [0.1, 0.5, 0.9]
    assert spread([0.0, 0.0, 0.05], 0.1, 0, 1) == pytest.approx([0.0, 0.1, 0.2])
    assert spread([1.0, 1.0], 0.2, 0, 1) == pytest.approx([0.8, 1.0])
    assert spread([], 0.2, 0, 1) == []


def test_accuracy_by_difficulty():
    lines = {"cot": {8: wilson(10, 100), 1: wilson(99, 100)}, "direct": {1: wilson(50, 100), 8: wilson(9, 100)}}
    fig = accuracy_by_difficulty(lines, unseen=[8])
    (ax,) = fig.axes
    assert ax.get_xticks().tolist() == [1, 8] and "unseen\nin training" in texts(fig)
    first, second = (next(x for x in ax.lines if x.get_label() == name) for name in lines)
    assert first.get_ydata().tolist() == [0.99, 0.1]
    assert (first.get_xdata() < second.get_xdata()).all()  # side by side, so that both intervals are seen
    assert np.abs(first.get_xdata() - [1, 8]).max() < 0.3


def test_differences_show_margin_seeds_and_verdict():
    rows = {"a − b": Estimate(0.10, 0.02, 0.18, 5), "c − d": Estimate(-0.03, -0.05, -0.01, 100)}
    fig = differences(
        rows, margins={"a − b": [0.05]}, seeds={"a − b": [0.1, 0.2]}, verdicts={"c − d": "contradicted"}, title="T"
    )
    (ax,) = fig.axes
    drawn_x = [tuple(np.round(x.get_xdata(), 6)) for x in ax.lines]
    assert (2.0, 18.0) in drawn_x and (-5.0, -1.0) in drawn_x  # intervals, in points
    assert (5.0, 5.0) in drawn_x and (10.0, 20.0) in drawn_x  # the margin, the seeds
    assert "+10.0 [+2.0, +18.0]" in texts(fig) and "−3.0 [−5.0, −1.0]  contradicted" in texts(fig)
    assert [t.get_text() for t in ax.get_yticklabels()] == list(rows)
    low, high = ax.get_xlim()
    assert low < -5 and high > 20


@pytest.mark.parametrize(
    "kind, lines",
    [("superiority", {10.0}), ("trend", {10.0}), ("non-inferiority", {-10.0}), ("equivalence", {-10.0, 10.0})],
)
def test_claims_figure_draws_each_types_own_margin(kind: str, lines: set[float]):
    claim = Claim(
        id="x", notebook="n", paper="p", sentence="s", type=kind, margin=0.1, metric="m", n=10, scope="effect"
    )
    from srm_utils.evaluation import slope

    data = (
        slope([1, 1, 2, 2, 3, 3], [0, 0.1, 0.3, 0.4, 0.6, 0.7]) if kind == "trend" else np.r_[np.ones(9), np.zeros(9)]
    )
    fig = claims_figure(judge([claim], {"x": data}))
    dashed = {round(float(x.get_xdata()[0]), 6) for x in fig.axes[0].lines if x.get_linestyle() == "--"}
    assert dashed == lines
    assert any(word in texts(fig)[0] for word in ("supported", "contradicted", "inconclusive"))


def test_an_interval_without_ends_is_drawn_across_and_says_so():
    from srm_utils.evaluation import seed_paired

    equal = seed_paired([0.4] * 5).interval(0.95)
    fig = differences({"equal": equal, "other": Estimate(0.1, 0.0, 0.2, 9)}, verdicts={"equal": "inconclusive"})
    assert "+40.0 [no spread]  inconclusive" in texts(fig) and np.isfinite(fig.axes[0].get_xlim()).all()
    assert fig.axes[0].get_xlim()[1] > 40


def test_nothing_to_draw_is_one_sentence():
    for call in (
        lambda: accuracy_vs_cost({}),
        lambda: accuracy_vs_cost({"a": []}),
        lambda: accuracy_vs_cost({"a": [(0.0, wilson(1, 2))]}),
        lambda: accuracy_by_difficulty({"a": {}}),
        lambda: differences({}),
        lambda: results_table({}),
    ):
        with pytest.raises(ValueError) as error:
            call()
        assert str(error.value).endswith(".") and "\n" not in str(error.value)


def test_si():
    assert [si(x) for x in (0, 0.004, 12, 999.4, 999.6, 1e6, 2.345e9, 7e15)] == [
        "0", "0.004", "12", "999", "1 k", "1 M", "2.35 G", "7 P",
    ]  # fmt: skip
    assert si(0, "B") == "0 B" and si(1.5e9, "B") == "1.5 GB"


# ---- table --------------------------------------------------------------------------------------------

ROWS = {
    "direct": (Estimate(0.3, 0.241, 0.367, 200), Cost(40, 3, 0, 7.5e7, 0.004, 3.5e6)),
    "<script>x</script>": (Estimate(0.995, 0.972, 0.999, 200), Cost(40, 450, 10, 8.6e8, 0.34, 1.2e9)),
}


def test_table_cells():
    table = results_table(ROWS)
    assert table.frame.loc["direct"].tolist() == ["30.0%", "24.1–36.7%", "75 M", "75 M", "43", "0.004", "3.5 MB"]
    assert all(cell in repr(table) for cell in ("99.5%", "97.2–99.9%", "860 M", "500", "0.34", "1.2 GB"))


def test_the_table_of_both_bills_says_what_turns():
    gap = {"no cache": paired([0.0, 0.0, 0.0, 0.1]), "prefix cache": paired([1.0] * 40 + [0.9])}
    table = bills_table({"search": gap, "vote": {bill: gap["no cache"] for bill in gap}})
    assert table["turns"].tolist() == ["yes", "no"] and list(table)[0] == "at equal FLOPs, no cache"
    assert table.loc["vote", "at equal FLOPs, prefix cache"] == str(gap["no cache"].interval(0.95))
    with pytest.raises(ValueError, match="nothing to tabulate"):
        bills_table({})


def test_table_html_is_escaped():
    shown = results_table(ROWS)._repr_html_()
    assert "&lt;script&gt;" in shown and "<script" not in shown and "24.1–36.7%" in shown


# ---- trace --------------------------------------------------------------------------------------------


class Sums(Task):
    name, styles, difficulties = "sums", ("cot",), (1,)

    def draw(self, rng: Random, difficulty: int, templates: str = "train") -> Problem:
        raise NotImplementedError

    def solution(self, problem: Problem, style: str, rng: Random | None = None) -> str:
        raise NotImplementedError

    def extract(self, text: str) -> str | None:
        return text.split()[-1]

    def matches(self, answer: str, problem: Problem) -> bool:
        return answer == problem.answer

    def check_steps(self, text: str, problem: Problem) -> list[StepCheck]:
        spans = [("1 + 1 = 2", "right"), ("1 < 2", "useless"), ("2 + 2 = 5", "wrong"), ("2 = 5", "wrong")]
        return [StepCheck(s, text.index(s), text.index(s) + len(s), v) for s, v in spans]  # type: ignore[arg-type]


TEXT = "1 + 1 = 2 . 1 < 2 . 2 + 2 = 5 . <b>so & 4"
WORDS = TEXT.split() + ["<|end|>"]
LOGPROBS = tuple(-0.01 if w != "5" else -5.0 for w in WORDS)
PROBLEM = Problem("p", "sums", "What is <i>2 + 2</i>?", "4", 1, "f")


def trace():
    completion = Completion(TEXT, tuple(range(len(WORDS))), LOGPROBS, "stop", 3, Cost())
    return show(Sums(), PROBLEM, completion, lambda ids: " ".join(WORDS[i] for i in ids))


class Reader(HTMLParser):
    """Visible text, and the tags open at each character of it; fails on tags that do not close in order."""

    def __init__(self, source: str):
        super().__init__()
        self.open: list[dict[str, str | None]] = []
        self.tags: list[str] = []
        self.seen: list[tuple[str, list[dict[str, str | None]]]] = []
        self.feed(source)
        assert not self.tags

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.open.append(dict(attrs))

    def handle_endtag(self, tag):
        assert self.tags.pop() == tag
        self.open.pop()

    def handle_data(self, data):
        self.seen += [(c, list(self.open)) for c in data]

    @property
    def text(self) -> str:
        return "".join(c for c, _ in self.seen)

    def around(self, words: str) -> list[dict[str, str | None]]:
        return self.seen[self.text.index(words)][1]


def test_trace_html_shows_the_text_itself_escaped():
    shown = trace()._repr_html_()
    assert "<b>" not in shown and "<i>" not in shown and "&lt;b&gt;so" in shown and "&amp;" in shown
    text = Reader(shown).text
    assert PROBLEM.question in text
    body = text[text.index("1 + 1") :]
    for sign in "✓○✗":
        body = body.replace(sign, "", 1)
    assert body.startswith(TEXT) and "✓ correct, the answer is 4" in text


def test_trace_html_marks_steps_and_shades_tokens():
    reader = Reader(trace()._repr_html_())

    def titles(words: str) -> list[str]:
        return [str(a["title"]) for a in reader.around(words) if "title" in a]

    assert titles("1 + 1 = 2") == ["step: right", "p = 0.99"]
    assert titles("1 < 2")[0] == "step: useless" and titles("2 + 2 = 5")[0] == "step: wrong"
    assert titles("5✗") == ["step: wrong", "p = 0.0067"]
    assert titles("<b>so") == ["p = 0.99"]
    shade = reader.around("5✗")[-1]["style"]
    assert "0.50)" in str(shade) and "0.00)" in str(reader.around("1 + 1 = 2")[-1]["style"])
    # Light and dark: the viewer sets neither the colour of the text nor an opaque ground.
    styles = " ".join(str(a.get("style", "")) for _, opened in reader.seen for a in opened)
    assert " color:" not in styles and "background: #" not in styles


def test_trace_plain_text():
    said = repr(trace())
    assert "1 + 1 = 2 [✓ right]" in said and "2 + 2 = 5 [✗ wrong] . <b>so & 4" in said
    assert "correct, the answer is 4" in said and "least sure of: '5' p=0.0067" in said


def test_token_spans_cover_bpe_bytes_and_stops():
    # Pieces with their own spaces, an accent split over two tokens, a tail that a stop string cut off.
    whole = "un café noir".encode()
    cuts = [0, 2, 6, 7, 8, 13]
    assert whole[6:8] == "é".encode()
    pieces = [whole[a:b] for a, b in zip(cuts, cuts[1:], strict=False)] + [b"\nQuestion"]

    def decode(ids):
        return b"".join(pieces[i] for i in ids).decode(errors="replace")

    spans = token_spans("un café noir", range(6), [-1.0, -2.0, -3.0, -4.0, -5.0, -6.0], decode)
    assert [("un café noir"[s.start : s.end], s.logprob) for s in spans] == [
        ("un", -1.0), (" caf", -2.0), ("é", -7.0), (" noir", -5.0),
    ]  # fmt: skip
    assert math.isclose(sum(s.logprob for s in spans), -15.0)


def test_figures_show_once_in_a_notebook(monkeypatch: pytest.MonkeyPatch):
    """A figure returned by a cell appears as one image there, and nowhere else."""
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.delenv("MPLBACKEND", raising=False)  # the kernel must find its own

    source = (
        "from srm_utils.reporting import differences\nfrom srm_utils.evaluation import Estimate\n"
        "fig = differences({'a': Estimate(0.1, 0.0, 0.2, 9)})"
    )
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source), nbformat.v4.new_code_cell("fig")])
    NotebookClient(nb, timeout=120, kernel_name="python3").execute()
    assert nb.cells[0].outputs == []
    (output,) = nb.cells[1].outputs
    assert "image/png" in output.data
