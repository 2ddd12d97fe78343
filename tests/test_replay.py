"""A replay shows the whole text, in order, and hides nothing from a page without styles."""

from __future__ import annotations

import re

import pytest

from srm_utils.reporting.replay import replay
from srm_utils.sampling.completion import Completion, Cost

WORDS = ["5", " + 3", " = 8", " <b>&", "<|end|>"]
DONE = Completion("5 + 3 = 8 <b>&", tuple(range(5)), (-0.1, -0.2, -6.0, -0.1, 0.0), "stop", 4, Cost())


def shown(**options):
    return replay("What is <i>5 + 3</i>?", DONE, lambda ids: "".join(WORDS[i] for i in ids), **options)


def test_tokens_appear_in_order_with_their_probability():
    page = shown(seconds=0.5)._repr_html_()
    assert re.findall(r"animation-delay: ([\d.]+)s", page) == ["0.00", "0.50", "1.00", "1.50"]
    assert re.findall(r"p = ([\d.e-]+)", page) == ["0.9", "0.82", "0.0025", "0.9"]
    assert "rgba(230, 130, 0, 0.50)" in page  # the unlikely token has the full shade


def test_the_text_is_whole_escaped_and_visible_without_the_style_sheet():
    page = shown()._repr_html_()
    body = re.sub(r"(?s)<style>.*?</style>", "", page)
    assert "opacity: 0;" not in body and "opacity: 0 " not in body and "<i>" not in body and "<b>" not in body
    visible = re.search(r'(?s)<div class="srm-replay">(.*?)</div>', body)[1]
    assert re.sub(r"<[^>]+>", "", visible) == "5 + 3 = 8 &lt;b&gt;&amp;"
    assert "prefers-reduced-motion: no-preference" in page


def test_the_text_form_has_a_line_a_token():
    lines = repr(shown()).splitlines()
    assert len(lines) == 5 and lines[3].split() == ["=", "8", "p", "=", "0.00"]


def test_time_does_not_run_backwards():
    with pytest.raises(ValueError, match="0 or more"):
        shown(seconds=-1)
