"""The roadmap figure says what roadmap.yaml says: nothing more, nothing less, and links what is built."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest
from matplotlib.text import Text

from srm_utils.literature import Part, Technique, Topic, load_roadmap
from srm_utils.reporting.roadmap import roadmap_figure

XLINK = "{http://www.w3.org/1999/xlink}href"


def technique(name: str, status: str = "built", notebook: str = "2_inference/21_x") -> Technique:
    return Technique(name, ("wei2022chain",), status, notebook)


SMALL = (
    Part("First", False, (Topic("A & B", (technique("t1"), technique("t2", "planned"))),)),
    Part(
        "Second part",
        False,
        (
            Topic("Open", (technique("t3", "planned", ""),)),
            Topic("Planned", (technique("t4", "planned", "1_training/11_y"),)),
            Topic("Two places", (technique("t5", notebook="3/31_z"), technique("t6", notebook="3/32_z"))),
        ),
    ),
)
LINKS = ["../2_inference/21_x.ipynb", "../3/31_z.ipynb", "../3/32_z.ipynb"]


class Page(HTMLParser):
    """Links, visible text, and a check that tags close in order."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.tips: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(source)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        found = dict(attrs)
        if tag == "a":
            self.links.append(found["href"] or "")
        if found.get("title"):
            self.tips.append(found["title"] or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def labels(fig) -> list[str]:
    return [t.get_text().replace("\n", " ") for t in fig.axes[0].texts]


def test_every_topic_of_the_roadmap_stands_once_in_every_form():
    shown = roadmap_figure()
    topics = [topic.name for part in load_roadmap() for topic in part.topics]
    assert Counter(box.topic for _, boxes in shown.parts for box in boxes) == Counter(topics)
    page, drawn = Page(shown._repr_html_()), labels(shown.figure())
    for part in load_roadmap():
        assert part.name in page.text and part.name in drawn and part.name in repr(shown)
        for topic in part.topics:
            number = topic.techniques[0].notebook.rpartition("/")[2].partition("_")[0]
            assert f"{number} {topic.name}".strip() in page.text
            assert f"{number} {topic.name}".strip() in drawn
    tips = [", ".join(t.name for t in topic.techniques) for p in load_roadmap() for topic in p.topics]
    assert Counter(page.tips) == Counter(tips)


def test_it_links_what_is_built_and_nothing_else():
    built = {t.notebook for part in load_roadmap() for t in part.techniques if t.status == "built"}
    assert {*Page(roadmap_figure()._repr_html_()).links} == {f"{name}.ipynb" for name in built}
    page = Page(roadmap_figure("../", SMALL)._repr_html_())
    assert page.links == LINKS
    assert page.text.count("(planned)") == 2 and "A & B" in page.text


def test_links_to_built_notebooks_exist(root: Path):
    for link in Page(roadmap_figure()._repr_html_()).links:
        assert (root / "notebooks" / link).is_file(), link


def test_svg_is_one_valid_linked_and_repeatable_image():
    text = roadmap_figure("../", SMALL).svg()
    tree = ElementTree.fromstring(text)
    assert tree.tag.endswith("svg")
    assert {node.get(XLINK) for node in tree.iter() if node.tag.endswith("}a")} == set(LINKS)
    assert text == roadmap_figure("../", SMALL).svg()
    assert "script" not in text


def test_a_change_of_status_changes_the_drawing():
    before, after = roadmap_figure(roadmap=SMALL), roadmap_figure(roadmap=SMALL[:1])
    assert before.svg() != after.svg()
    planned = (Part("First", False, (Topic("A & B", (technique("t1", "planned"),)),)),)
    (patch,) = roadmap_figure(roadmap=planned).figure().axes[0].patches
    (full,) = after.figure().axes[0].patches
    assert patch.get_url() is None and full.get_url() == "2_inference/21_x.ipynb"
    assert patch.get_linestyle() != full.get_linestyle()


def test_text_stays_inside_its_box_and_boxes_apart():
    fig = roadmap_figure().figure()
    ax = fig.axes[0]
    fig.draw_without_rendering()
    boxes = [patch.get_window_extent() for patch in ax.patches]
    extents = {t.get_text(): Text.get_window_extent(t) for t in ax.texts}
    for text, extent in extents.items():
        middle = ((extent.x0 + extent.x1) / 2, (extent.y0 + extent.y1) / 2)
        holder = [b for b in boxes if b.contains(*middle)]
        assert len(holder) <= 1
        if holder:
            assert holder[0].x0 <= extent.x0 and extent.x1 <= holder[0].x1, text
            assert holder[0].y0 <= extent.y0 and extent.y1 <= holder[0].y1, text
    assert sum(any(b.contains(e.x0 + 1, e.y0 + 1) for b in boxes) for e in extents.values()) >= len(boxes) - 1
    for i, a in enumerate(boxes):
        assert not any(a.overlaps(b) for b in boxes[i + 1 :])
        assert fig.bbox.contains(a.x0, a.y0) and fig.bbox.contains(a.x1, a.y1)


def test_boxes_stand_in_the_order_of_their_notebooks():
    mixed = (Part("P", False, tuple(Topic(n, (technique("t", notebook=n),)) for n in ("02_b", "", "01_a"))),)
    assert [box.topic for box in roadmap_figure(roadmap=mixed).parts[0][1]] == ["01_a", "02_b", ""]


def test_names_are_escaped():
    sharp = (Part("<p>", False, (Topic('"<b>', (technique('x" onclick="y', notebook='n"o'),)),)),)
    page = roadmap_figure(roadmap=sharp)._repr_html_()
    assert "<p>" not in page and '"<b>' not in page and 'onclick="y' not in page
    assert Page(page).links == ['n"o.ipynb']


def test_the_text_form_names_each_notebook():
    text = repr(roadmap_figure(roadmap=SMALL))
    assert "2_inference/21_x" in text and "no notebook yet (planned)" in text
    assert "21_x (planned)" not in text


@pytest.mark.parametrize("notebooks", ["", "notebooks/"])
def test_the_way_to_the_notebooks_is_the_readers(notebooks: str):
    assert Page(roadmap_figure(notebooks, SMALL)._repr_html_()).links[0] == f"{notebooks}2_inference/21_x.ipynb"
