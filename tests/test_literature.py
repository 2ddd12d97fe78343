"""The bibliography is clean, every citation agrees with it, and the roadmap agrees with the repository."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from functools import lru_cache
from pathlib import Path

import nbformat
import numpy as np
import pytest
import typer
from pybtex.bibtex.utils import change_case
from pybtex.database import parse_file, parse_string
from typer.testing import CliRunner

from srm_utils import literature
from srm_utils.cli.papers import MARKS, papers_app
from srm_utils.evaluation import load_claims
from srm_utils.literature import (
    CHECKOUT,
    KEY,
    STATES,
    Part,
    Technique,
    Topic,
    bibtex,
    check_citations,
    check_roadmap,
    cite,
    coverage,
    covered,
    load,
    load_reading_paths,
    load_roadmap,
    reference,
    repair_citations,
    search,
    tables,
    usage,
)
from srm_utils.literature import uses as uses_module
from srm_utils.literature.entries import _text

BIB = CHECKOUT / "papers.bib"
#: Works that are not among the 415 of the first list: from library documentation, and for the kernels.
ADDED = {
    "frantar2024marlin", "guo2024fast", "holtzman2020curious", "jakimovski2025can", "park2022lutgemm", "steele2014fast",
    "wang2024chain",
}  # fmt: skip
SECTIONS = set(
    """application-healthcare application-other application-science backbone-domain backbone-general background-lrm
    benchmark future-distillation future-efficiency future-lowresource future-rl inference-efficient
    inference-multiagent inference-prompting inference-sampling inference-search tool training-data training-distill
    training-reward training-rl training-sft""".split()
)
LIBRARY = load()
PAPERS = list(LIBRARY.values())
#: The same file read by the bibliography library alone.
PARSED = parse_file(str(BIB), "bibtex")

GOOD = """@misc{wei2022chain,
  title     = {Chain},
  author    = {Jason Wei},
  year      = {2022},
  eprint    = {2201.11903},
  keywords  = {inference-prompting},
  technique = {chain of thought}
}
"""


def notebook(path: Path, *cells: str, papers: tuple[str, ...] = ()) -> Path:
    book = nbformat.v4.new_notebook(metadata={"srm": {"papers": list(papers)}})
    for number, text in enumerate(cells):
        cell = nbformat.v4.new_markdown_cell(text)
        cell.id = f"cell-{number}"
        book.cells.append(cell)
    code = nbformat.v4.new_code_cell("print('[Wrong, 1999](https://x.org \"wei2022chain\")')")
    code.id = "code"
    book.cells.append(code)
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(book, path)
    return path


# ---------------------------------------------------------------------------------------------- papers.bib


def test_every_entry_is_read_and_counted() -> None:
    assert len(PARSED.entries) == len(PAPERS) == 415 + len(ADDED)
    assert set(LIBRARY) == set(PARSED.entries) >= ADDED


def test_keys_are_sorted_and_carry_surname_and_year() -> None:
    assert list(LIBRARY) == sorted(LIBRARY)
    assert all(KEY.fullmatch(key) for key in LIBRARY)
    # The survey is known by its preprint; its entry is the journal version.
    later = {p.key for p in PAPERS if re.sub(r"^[a-z]+(\d{4}).*", r"\1", p.key) != str(p.year)}
    assert later == {"wang2025short"}


@pytest.mark.parametrize("field", ["title", "arxiv", "doi", "link"])
def test_no_work_stands_twice(field: str) -> None:
    values = [re.sub(r"\W", "", getattr(p, field)).lower() for p in PAPERS if getattr(p, field)]
    assert [value for value, n in Counter(values).items() if n > 1] == []


def test_identifiers_match_their_patterns_and_every_work_has_an_address() -> None:
    for key, entry in PARSED.entries.items():
        fields = entry.fields
        assert "eprint" not in fields or re.fullmatch(r"\d{2}(0[1-9]|1[0-2])\.\d{4,5}", fields["eprint"]), key
        assert ("eprint" in fields) == (fields.get("archivePrefix") == "arXiv"), key
        assert "doi" not in fields or re.fullmatch(r"10\.\d{4,9}/\S+", fields["doi"]), key
        assert "url" not in fields or re.fullmatch(r"https://[\w.-]+/\S+", fields["url"]), key
        assert re.fullmatch(r"https://\S+", LIBRARY[key].url), key


def test_entry_types_have_their_required_fields() -> None:
    required = {"article": {"journal"}, "inproceedings": {"booktitle"}, "misc": set()}
    for key, entry in PARSED.entries.items():
        assert required[entry.type] | {"title", "year", "keywords", "technique"} <= set(entry.fields.keys()), key
        assert entry.persons["author"], key
        assert entry.type != "misc" or {"eprint", "howpublished"} & set(entry.fields.keys()), key
    assert {p.section for p in PAPERS} == SECTIONS


def test_the_file_is_plain_for_bibtex_and_biber() -> None:
    text = BIB.read_text(encoding="ascii")
    for number, line in enumerate(text.splitlines(), 1):
        assert line.count("{") == line.count("}") or re.match(r"@\w+\{[a-z0-9]+,$", line) or line == "}", number
        # Characters that TeX would read as commands or comments are escaped.
        if line.startswith("  ") and not re.match(r"  (url|doi)\b", line):
            assert not re.search(r"(?<!\\)[%&#_$~^]", line), f"line {number}: {line}"


def test_braces_and_accents_survive_a_round_trip() -> None:
    again = parse_string(PARSED.to_string("bibtex"), "bibtex")
    for key, entry in PARSED.entries.items():
        # The library's writer escapes "%", "&" and the "_" of an address, whether or not they are already.
        fields = {name: re.sub(r"\\(\\[%&])", r"\1", v) for name, v in again.entries[key].fields.items()}
        fields |= {"url": fields["url"].replace(r"\_", "_")} if "url" in fields else {}
        assert fields == dict(entry.fields), key
        assert again.entries[key].persons == entry.persons, key
    accents = {c for p in PAPERS for name in p.authors for c in name if ord(c) > 127}
    assert accents == set("ÖÜáäçèéìíöúüč")
    assert "Sébastien Bubeck" in LIBRARY["abdin2024phi4"].authors
    assert "Alejandro Hernández-Cano" in LIBRARY["chen2023meditron"].authors
    assert "Blaise Agüera y Arcas" in LIBRARY["singhal2023large"].authors
    assert "Ahmet Üstün" in LIBRARY["ahmadian2024back"].authors
    assert LIBRARY["liu2023tinygsm"].title.startswith("TinyGSM: achieving >80% on GSM8k")
    assert LIBRARY["novasky2025skyt1"].title.endswith("within $450")
    assert LIBRARY["rein2023gpqa"].title.endswith("Google-Proof Q&A Benchmark")


def test_no_markup_is_left_in_plain_text() -> None:
    for p in PAPERS:
        for text in (p.title, p.venue, p.technique, *p.authors, *p.surnames, p.note):
            assert not re.search(r"[{}\\]|``|''", text), (p.key, text)


def test_capitals_of_names_survive_sentence_case() -> None:
    """BibTeX's own case changing, as most styles apply it to titles, must not touch LLMs, GPT-4 or QLoRA."""
    for key, entry in PARSED.entries.items():
        styled = _text(change_case(entry.fields["title"], "t"))
        for word in re.findall(r"[\w.+*-]+", LIBRARY[key].title):
            if any(re.search(r"[A-Z]", part[1:]) for part in word.split("-")) or re.search(r"\d[A-Z]|[A-Z]\d", word):
                assert word in styled, (key, word, styled)
    assert "Chinese" in change_case(PARSED.entries["wang2023huatuo"].fields["title"], "t")


def test_the_two_seed_works_are_complete() -> None:
    survey, study = LIBRARY["wang2025short"], LIBRARY["zhuang2025technical"]
    assert (survey.doi, survey.arxiv, survey.year) == ("10.1007/s11704-025-50990-0", "2504.09100", 2026)
    assert survey.venue == "Frontiers of Computer Science 20(11):2011366"
    assert study.arxiv == "2506.13404" and "328:855–869" in study.note and "CPAL 2026" in reference(study.key)


def test_the_guessed_column_is_not_published() -> None:
    """Which works the survey cites is known for a few only; a guess is not printed as a fact."""
    assert not re.search(r"likely|cited_by", BIB.read_text(encoding="ascii"))


# ------------------------------------------------------------------------------------------------ formatting


@pytest.mark.parametrize(
    ("key", "label"),
    [
        ("wei2022chain", "Wei et al., 2022"),
        ("xu2025cod", "Xu et al., 2025"),
        ("wang2024chain", "Wang and Zhou, 2024"),
        ("miller2024error", "Miller, 2024"),
        ("qwen2025qwq", "Qwen Team, 2025"),
        ("vonwerra2020trl", "von Werra et al., 2020"),
        ("vannguyen2024survey", "Van Nguyen et al., 2024"),
    ],
)
def test_label(key: str, label: str) -> None:
    assert LIBRARY[key].label == label


def test_cite_prefers_the_preprint_then_doi_then_address() -> None:
    assert cite("wei2022chain") == '[Wei et al., 2022](https://arxiv.org/abs/2201.11903 "wei2022chain")'
    assert cite("gao2024lmeval") == '[Gao et al., 2024](https://doi.org/10.5281/zenodo.12608602 "gao2024lmeval")'
    assert cite("pan2025tinyzero").startswith("[Pan et al., 2025](https://github.com/Jiayi-Pan/TinyZero ")


def test_reference_names_everything() -> None:
    assert reference("miller2024error") == (
        "Evan Miller. Adding Error Bars to Evals: A Statistical Approach to Language Model Evaluations. "
        "arXiv:2411.00640, 2024."
    )
    assert reference("hu2022lora").endswith(
        "LoRA: Low-Rank Adaptation of Large Language Models. "
        "International Conference on Learning Representations (ICLR), 2022. arXiv:2106.09685."
    )
    assert ", et al. Phi-4 Technical Report." in reference("abdin2024phi4")


def test_bibtex_is_the_entry_of_the_file() -> None:
    for key in ("wei2022chain", "abdin2024phi3", PAPERS[-1].key):
        assert list(parse_string(bibtex(key), "bibtex").entries) == [key]
    lines = BIB.read_text(encoding="ascii").splitlines()
    assert all(lines[p.line - 1] == p.entry.splitlines()[0] for p in PAPERS)


def test_search_by_word_section_and_technique() -> None:
    assert [p.key for p in search("ustun")] == ["ahmadian2024back"]
    assert "li2023symbolic" in {p.key for p in search("small think")}
    assert {p.section for p in search(section="training")} == {s for s in SECTIONS if s.startswith("training")}
    assert [p.key for p in search(technique="graph-structured")] == ["besta2024graph"]
    assert [p.key for p in search("chain draft", section="inference-efficient")] == ["xu2025cod"]
    assert search("no such word") == [] and len(search()) == len(PAPERS)
    with pytest.raises(ValueError, match="no section 'trainig'; choose one of application-healthcare"):
        search(section="trainig")


# ------------------------------------------------------------------------------------------------- bad input


def test_unknown_key_names_the_nearest() -> None:
    with pytest.raises(KeyError) as error:
        cite("wei2022chian")
    assert str(error.value).startswith("There is no paper 'wei2022chian' in papers.bib; the nearest are wei2022chain")
    with pytest.raises(KeyError, match="srm papers"):
        reference("zzzzzzzz")


@pytest.mark.parametrize(
    ("damage", "line", "says"),
    [
        (("@misc{wei2022chain,", "misc{wei2022chain,"), 3, "is no entry"),
        (("  year      = {2022},\n", ""), 3, "has no year"),
        (("{2022}", "{22}"), 3, "the year '22'"),
        (("{2201.11903}", "{arXiv:2201}"), 3, "the arXiv identifier 'arXiv:2201'"),
        (("  eprint    = {2201.11903},\n", ""), 3, "no address"),
        (("{Chain},", "{Chain,"), None, "mend that entry"),
        (("{Jason Wei},", "{Jason Wei}"), 6, "mend that entry"),
        (("thought}\n}", "thought}"), 3, "is not closed"),
        ((GOOD, GOOD + GOOD), 11, "stands on line 3 already"),
    ],
)
def test_malformed_entry_is_named_with_its_line(
    tmp_path: Path, damage: tuple[str, str], line: int | None, says: str
) -> None:
    file = tmp_path / "bad.bib"
    file.write_text("% a comment\n\n" + GOOD)
    assert list(load(file)) == ["wei2022chain"]
    file.write_text("% a comment\n\n" + GOOD.replace(*damage))
    with pytest.raises(ValueError, match=re.escape(says)) as error:
        load(file)
    where = re.match(r"bad\.bib, line (\d+)", str(error.value))
    assert where and (line is None or int(where[1]) == line), str(error.value)


#: The one paper of GOOD, written as reference managers and people write it.
WAYS = {
    "comment": "@comment{ @misc{old, title = {Not {this}}} }\n" + GOOD,
    "JabRef": GOOD + "\n@Comment{jabref-meta: databaseType:bibtex;}\n@Comment jabref-entrytype: x {\n",
    "string": '@string{me = "Jason Wei"}\n@STRING(you = {Yu})\n' + GOOD.replace("{Jason Wei}", "me"),
    "joined": "@string{who = {Jason}}\n" + GOOD.replace("{Jason Wei}", 'who # " Wei"'),
    "preamble": '@preamble{ "\\newcommand{\\x}{y}" # {z} }\n' + GOOD,
    "month": GOOD.replace("  year ", "  month = jan,\n  year "),
    "spaced": GOOD.replace("@misc{", "@misc {  "),
    "capitals": GOOD.replace("@misc{", "@MISC{").replace("title ", "TITLE ").replace("keywords ", "Keywords "),
    "parentheses": GOOD.replace("@misc{", "@misc(").replace("\n}\n", "\n)\n").replace("{Chain}", "{Chain)}"),
    "mark": "\ufeff" + GOOD,
    "mark and comment": "\ufeff% by hand\n\n" + GOOD,
    "windows": GOOD.replace("\n", "\r\n"),
    "one line": " ".join(GOOD.split()),
    "closed early": GOOD.replace("\n}\n", "}\n"),
    "own line": GOOD.replace("@misc{", "@misc{\n  "),
    "indented": GOOD.replace("@misc", "   @misc").replace("\n}", "\n   }"),
    "quoted": GOOD.replace("{Chain}", '"Chain"').replace("{2022}", "2022"),
    "trailing comma": GOOD.replace("thought}\n", "thought},\n"),
    "percent": GOOD + "% the end } {",
    "at sign inside": GOOD.replace("  year", "  note = {\n@home},\n  year"),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_bibliography_is_read_as_people_write_it(way: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.bib"
    file.write_bytes(WAYS[way].encode())
    library = load(file)
    assert list(library) == ["wei2022chain"]
    paper = library["wei2022chain"]
    assert paper.title in ("Chain", "Chain)") and (paper.label, paper.year) == ("Wei, 2022", 2022)
    begins = paper.entry.lower().startswith("@misc")
    assert begins and paper.entry.count("{") == paper.entry.count("}")
    assert file.read_bytes().decode("utf-8-sig").splitlines()[paper.line - 1].strip().lower().startswith("@misc")


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        (GOOD.replace("\n}", "") + "\n" + GOOD.replace("wei2022chain", "b"), 1, "'wei2022chain' is not closed"),
        (GOOD + "\n@string{a = {b}\n", 10, "@string is not closed"),
        (GOOD + GOOD.replace("wei2022chain", "Wei2022Chain"), 9, "stands on line 1 already"),
        (GOOD + "@misc{title = {x}}", 9, "has no key"),
        (GOOD + "}\n", 9, "'}' is no entry"),
        (GOOD.replace("{Jason Wei}", "nobody"), 3, "mend that entry"),
        (GOOD.replace("Chain}", "Ch\udce9in}"), 2, "this is not UTF-8; save the file in that encoding"),
    ],
)
def test_a_mistake_in_a_bibliography_is_named_with_its_line(text: str, line: int, says: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.bib"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError, match=re.escape(says)) as error:
        load(file)
    assert str(error.value).startswith(f"mine.bib, line {line}:") and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("latex", "plain"),
    [
        (r"Nguy{\~{\^e}}n", "Nguyễn"),
        (r"Nguy\~{\^{e}}n", "Nguyễn"),
        (r"Nguy\~\^en", "Nguyễn"),
        (r"Tu\d{\^a}n", "Tuận"),
        (r"{\d{\u{a}}}", "ặ"),
        (r"\h{\^o}", "ổ"),
        (r"\'{\i} {\'\i} \'\i", "í í í"),
        (r"\c{c}\'e \c c \v{S} \H o \k{a} \r{u} \.I", "çé ç Š ő ą ů İ"),
        (r"{\'E}cole {{\"O}}st", "École Öst"),
        (r"\aa{} \ss{} \o{} \L{}", "å ß ø Ł"),
        ("Nguyễn", "Nguyễn"),
    ],
)
def test_accents_stand_on_letters_and_on_one_another(latex: str, plain: str, tmp_path: Path) -> None:
    assert re.sub(r"\s+", " ", _text(latex)) == plain
    file = tmp_path / "mine.bib"
    file.write_text(GOOD.replace("Jason Wei", f"Ann {{{latex}}}").replace("Chain", latex), encoding="utf-8")
    paper = load(file)["wei2022chain"]
    assert re.sub(r"\s+", " ", paper.surnames[0]) == plain == re.sub(r"\s+", " ", paper.title)


@pytest.mark.parametrize(
    ("field", "given", "attribute", "expected"),
    [
        *(
            ("doi", f"{before}10.1000/a_b.1", "doi", "10.1000/a_b.1")
            for before in ("", "https://doi.org/", "http://dx.doi.org/", "doi.org/", "doi:", "DOI: ", "https://DOI.org/")
        ),
        ("doi", "10.1000.10/123", "doi", "10.1000.10/123"),
        *(
            ("eprint", given, "arxiv", "2201.11903")
            for given in ("arXiv:2201.11903", "2201.11903v3", "https://arxiv.org/abs/2201.11903v2",
                          "http://www.arxiv.org/pdf/2201.11903.pdf")
        ),
        ("eprint", "math.GT/0309136", "arxiv", "math.GT/0309136"),
    ],
)  # fmt: skip
def test_an_identifier_may_be_given_as_an_address(
    field: str, given: str, attribute: str, expected: str, tmp_path: Path
) -> None:
    file = tmp_path / "mine.bib"
    rest = GOOD if field == "doi" else GOOD.replace("  eprint    = {2201.11903},\n", "")
    file.write_text(rest.replace("  year", f"  {field} = {{{given}}},\n  year"))
    paper = load(file)["wei2022chain"]
    assert getattr(paper, attribute) == expected and "doi.org/http" not in paper.reference
    assert paper.url.startswith("https://arxiv.org/abs/") and paper.url.count("arxiv") == 1


def test_identifiers_that_are_none_are_named(tmp_path: Path) -> None:
    file = tmp_path / "mine.bib"
    for doi in ("https://example.org/10.1000/1", "unknown", "10.1/x"):
        file.write_text(GOOD.replace("  year", f"  doi = {{{doi}}},\n  year"))
        with pytest.raises(ValueError, match=f"has the DOI '{re.escape(doi)}'; write it as 10.1000/182"):
            load(file)
    # Another archive's number is no arXiv identifier, and no mistake.
    file.write_text(GOOD.replace("{2201.11903}", "{hal-0123}, archiveprefix = {HAL}, url = {https://hal.science/x}"))
    assert (load(file)["wei2022chain"].arxiv, load(file)["wei2022chain"].url) == ("", "https://hal.science/x")


def test_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="There is no bibliography at .*; restore papers.bib"):
        load(tmp_path / "none.bib")
    with pytest.raises(FileNotFoundError, match="There is no roadmap at"):
        load_roadmap(tmp_path / "none.yaml")
    with pytest.raises(FileNotFoundError, match="There is no notebooks folder at"):
        covered(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="There is nothing at"):
        check_citations([tmp_path / "none.ipynb"])


def test_installed_copy_reads_the_packaged_bibliography(tmp_path: Path) -> None:
    """Without a checkout around it, the package reads the copy that the wheel carries inside it."""
    package = tmp_path / "srm_utils"
    package.mkdir()
    (package / "__init__.py").write_text("")
    shutil.copytree(Path(literature.__file__).parent, package / "literature")
    shutil.copy(BIB, package)
    code = "from srm_utils import literature as l; print(len(l.load()), l.load().path)"
    run = subprocess.run([sys.executable, "-B", "-c", code], cwd=tmp_path, env={}, capture_output=True, text=True)
    assert run.stdout.split() == [str(len(PAPERS)), str(package / "papers.bib")], run.stderr


def test_importing_is_cheap() -> None:
    code = "import sys, srm_utils.literature; print([m for m in ('pybtex', 'yaml', 'nbformat') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-B", "-c", code], cwd=CHECKOUT, env={}, capture_output=True, text=True)
    assert run.stdout.strip() == "[]", run.stderr


# -------------------------------------------------------------------------------------- citations and repair


def test_every_citation_of_the_collection_agrees() -> None:
    assert [str(finding) for finding in check_citations()] == []


def test_every_paper_can_be_cited_broken_and_repaired(tmp_path: Path) -> None:
    good = "\n\n".join(f"As {p.citation} show, text stays." for p in PAPERS)
    book = notebook(tmp_path / "all.ipynb", good)
    assert check_citations([book]) == [] and repair_citations([book]) == []
    before = book.read_bytes()
    wrong_name = re.sub(r"\[[^\]]+, (\d{4})\]", r"[Nobody, \1]", good)
    wrong_year = re.sub(r", \d{4}\]", ", 1999]", good)
    wrong_address = re.sub(r"\(https://\S+ ", "(https://example.org/x ", good)
    for damaged in (wrong_name, wrong_year, wrong_address):
        notebook(book, damaged)
        findings = check_citations([book])
        assert len(findings) == len(PAPERS) and all(f.repairable and f.place == "cell 1" for f in findings)
        assert repair_citations([tmp_path]) == [book]
        assert book.read_bytes() == before


def test_links_without_a_known_key(tmp_path: Path) -> None:
    book = notebook(
        tmp_path / "a.ipynb",
        'Good: [Wei et al., 2022, section 2](https://arxiv.org/abs/2201.11903 "wei2022chain") and [a page](https://x.org).',
        "No key: [Wei 2022](https://arxiv.org/abs/2201.11903).",
        'Typing error: [Wei et al., 2022](https://arxiv.org/abs/2201.11903 "wei2022chian").',
        "Unknown: [Someone, 2026](https://arxiv.org/abs/2601.99999).",
        papers=("wei2022chain", "nobody2020nothing"),
    )
    messages = {f.place: (f.message, f.repairable) for f in check_citations([book])}
    assert set(messages) == {"cell 2", "cell 3", "cell 4", "metadata"}
    assert messages["cell 2"] == (f"the link to 2201.11903 has no key; write {cite('wei2022chain')}", True)
    assert "no paper 'wei2022chian' in papers.bib; the nearest are wei2022chain" in messages["cell 3"][0]
    assert "2601.99999, which papers.bib does not hold" in messages["cell 4"][0] and not messages["cell 4"][1]
    assert repair_citations([book]) == [book]
    assert {f.place for f in check_citations([book])} == {"cell 3", "cell 4", "metadata"}
    text = "\n".join(cell.source for cell in nbformat.read(book, as_version=4).cells)
    assert f"No key: {cite('wei2022chain')}." in text and ", section 2](" in text and "chian" in text
    assert "[Wrong, 1999]" in text, "code is never rewritten"


def test_a_repair_keeps_the_words_after_the_year(tmp_path: Path) -> None:
    note = tmp_path / "note.md"
    note.write_text(
        'See [Wie, 2021, equation 3](https://x.org "wei2022chain") and [x](https://arxiv.org/abs/2201.11903).\n'
    )
    assert repair_citations([note]) == [note]
    link = '[Wei et al., 2022, equation 3](https://arxiv.org/abs/2201.11903 "wei2022chain")'
    assert note.read_text() == f"See {link} and [x](https://arxiv.org/abs/2201.11903).\n"


def test_a_notebook_that_cites_nothing_is_named(tmp_path: Path) -> None:
    book = notebook(tmp_path / "silent.ipynb", "# No source")
    assert [f.message for f in check_citations([book])] == [
        "cites no paper; name those it runs as links titled with their key"
    ]


def test_a_damaged_notebook_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.ipynb").write_text("{")
    with pytest.raises(ValueError, match="a.ipynb is not a readable notebook; restore it from version control"):
        check_citations([tmp_path])


def test_a_damaged_notebook_hides_no_other(tmp_path: Path) -> None:
    notebook(tmp_path / "good.ipynb", "# A\n\n" + cite("wei2022chain"))
    (tmp_path / "torn.ipynb").write_text("{\n<<<<<<< HEAD\n")
    (tmp_path / "old.ipynb").write_text('{"worksheets": [], "nbformat": 3}')
    assert covered(tmp_path) == {"wei2022chain": ["good"]}
    assert coverage(tmp_path, ())["wei2022chain"] == "cited" and usage("wei2022chain", tmp_path).notebooks == ("good",)


def test_keys_in_docstrings_and_claims(tmp_path: Path) -> None:
    source = tmp_path / "solver.py"
    source.write_text(
        '"""Module after wei2022chain."""\n\n\nclass Solver:\n'
        '    def solve(self):\n        """Equation 2 of yao2023trea."""\n        return "nobody2020code"\n'
    )
    claims = tmp_path / "claims.yaml"
    claims.write_text("21_cot:\n  - id: gap\n    paper: wei2022chain\n  - id: draft\n    paper: xu2025codd\n")
    findings = check_citations([tmp_path])
    assert [(f.path.name, f.place) for f in findings] == [
        ("claims.yaml", "line 5"),
        ("solver.py", "docstring of solver.Solver.solve"),
    ]
    assert "xu2025cod" in findings[0].message and "yao2023tree" in findings[1].message


def test_covered_and_usage(tmp_path: Path) -> None:
    notebook(tmp_path / "2_inference" / "21_a.ipynb", cite("wei2022chain"), cite("xu2025cod"))
    notebook(tmp_path / "00_b.ipynb", cite("wei2022chain"))
    (tmp_path / "claims.yaml").write_text("gap_grows:\n  paper: wei2022chain\n")
    assert covered(tmp_path) == {"wei2022chain": ["00_b", "2_inference/21_a"], "xu2025cod": ["2_inference/21_a"]}
    used = usage("wei2022chain", tmp_path)
    assert used.notebooks == ("00_b", "2_inference/21_a") and used.claims == ("gap_grows",)
    assert "srm_utils.sampling.ledger" in usage("kaplan2020scaling", tmp_path).functions


def test_usage_leads_from_a_paper_to_its_techniques_and_their_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    # Every paper asks the same files, which do not change meanwhile: each is read once.
    for reader in ("covered", "load_roadmap", "docstring_keys", "paper_values"):
        monkeypatch.setattr(uses_module, reader, lru_cache(getattr(uses_module, reader)))
    built = {t.name: t for part in load_roadmap() for t in part.techniques if t.status == "built"}
    assert built
    uses = {key: usage(key) for key in sorted({key for technique in built.values() for key in technique.papers})}
    for name, technique in built.items():
        for used in (uses[key] for key in technique.papers):
            assert any(f" > {name} (built)" in line for line in used.techniques), used
            assert technique.function.replace(":", ".") in used.functions, used
    named = [name for key in ("wei2022chain", "xu2025cod") for name in usage(key).functions]
    assert not any(name.startswith(("srm_utils.cli", "srm_utils.literature")) for name in named)
    alone = next(key for key, state in coverage().items() if state == "open")
    assert usage(alone).techniques == usage(alone).notebooks == usage(alone).claims == ()


def test_every_paper_has_the_furthest_state_it_has_reached(tmp_path: Path) -> None:
    notebook(tmp_path / "21_a.ipynb", cite("wei2022chain"), cite("kojima2022large"), cite("xu2025cod"))
    (tmp_path / "claims.yaml").write_text("- id: gap\n  paper: kojima2022large\n")
    papers = ("wei2022chain", "yao2023tree", "xu2025cod")
    planned = Technique("to come", papers, "planned", "")
    there = Technique("there", ("wei2022chain", "zhou2022least"), "built", "21_a")
    roadmap = [Part("Inference", False, (Topic("Chains", (planned, there)),))]
    states = coverage(tmp_path, roadmap)
    assert list(states) == list(LIBRARY) and set(states.values()) == set(STATES)
    assert {key: state for key, state in states.items() if state != "open"} == {
        "wei2022chain": "run",
        "zhou2022least": "run",
        "kojima2022large": "run",
        "xu2025cod": "cited",
        "yao2023tree": "planned",
    }
    with pytest.raises(FileNotFoundError, match="There is no notebooks folder at"):
        coverage(tmp_path / "none")


# ----------------------------------------------------------------------------------------------- the roadmap


def test_roadmap_agrees_with_the_repository() -> None:
    assert [str(finding) for finding in check_roadmap()] == []


def test_roadmap_has_the_parts_of_the_survey_and_a_paper_for_every_technique() -> None:
    parts = {part.name: part for part in load_roadmap()}
    assert list(parts) == ["Landscape", "Training", "Inference", "Applications", "Future directions"]
    assert all(technique.papers for part in parts.values() for technique in part.techniques)
    planned = {t.notebook for name in ("Training", "Inference") for t in parts[name].techniques}
    assert len(planned) == 21 and all(re.fullmatch(r"[12]_(training|inference)/[12]\d[a-z]?_\w+", n) for n in planned)
    later = {t.notebook for name in ("Applications", "Future directions") for t in parts[name].techniques}
    assert later and all(re.fullmatch(r"3_applications/3\d_\w+|4_future/4\d_\w+", n) for n in later)
    named = [n.rpartition("/")[2] for n in sorted({t.notebook for part in parts.values() for t in part.techniques})]
    assert len({n.partition("_")[0] for n in named}) == len(named), "one number, one notebook"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A small checkout with one technique that is there in full."""
    path = notebook(tmp_path / "notebooks" / "21_cot.ipynb", "# Title", "## Idea\n\ntext")
    book = nbformat.read(path, 4)
    for grade_id, grade in (("few", False), ("few-test", True)):
        mark = {"nbgrader": {"grade": grade, "grade_id": grade_id}}
        book.cells.append(nbformat.v4.new_code_cell("assert True", metadata=mark))
    nbformat.write(book, path)
    (tmp_path / "notebooks" / "claims.yaml").write_text("gap_grows:\n  paper: wei2022chain\n")
    (tmp_path / "srm_utils" / "inference").mkdir(parents=True)
    (tmp_path / "srm_utils" / "inference" / "cot.py").write_text("class ChainOfThought:\n    def solve(self): ...\n")
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_cot.py").write_text("def test_gap(): ...\n")
    return tmp_path


def mapped(finished: bool = False, **changes: object) -> list[Part]:
    fields = {
        "name": "few-shot",
        "papers": ("wei2022chain",),
        "status": "built",
        "notebook": "21_cot",
        "section": "Idea",
        "function": "srm_utils.inference.cot:ChainOfThought.solve",
        "test": "tests/test_cot.py::test_gap",
        "claim": "gap_grows",
    }
    technique = Technique(**{**fields, **changes})  # type: ignore[arg-type]
    return [Part("Inference", finished, (Topic("Chain of thought", (technique,)),))]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, None),
        ({"section": ""}, "is built but names no section"),
        ({"section": "Ide"}, "the section 'Ide' does not exist"),
        ({"notebook": "22_other"}, "the section 'Idea' does not exist"),
        ({"function": ""}, "is built but names no function"),
        ({"function": "srm_utils.inference.cot:Direct"}, "does not exist"),
        ({"function": "srm_utils.inference.tree:ChainOfThought"}, "does not exist"),
        ({"test": "tests/test_cot.py::test_other"}, "does not exist"),
        ({"test": "tests/test_cot.py"}, "does not exist"),
        ({"claim": "gap_shrinks"}, "the claim 'gap_shrinks' does not exist"),
        ({"claim": "none"}, "the claim 'none' does not exist"),
        ({"papers": ()}, "names no paper"),
        ({"papers": ("wei2022chian",)}, "there is no paper 'wei2022chian'"),
        ({"status": "done"}, "has the status 'done'; write planned, exercise or built"),
        ({"status": "exercise", "claim": "", "function": "", "test": "few-test"}, None),
        ({"status": "exercise", "test": "few"}, "the test 'few' does not exist"),
        ({"status": "exercise", "test": ""}, "is an exercise but names no test"),
        ({"status": "exercise", "test": "few-test", "notebook": "22_other"}, "the test 'few-test' does not exist"),
        ({"status": "planned", "claim": ""}, None),
        ({"status": "planned", "claim": "", "finished": True}, "is built but names no claim"),
    ],
)
def test_roadmap_check_finds_each_gap(checkout: Path, changes: dict[str, object], says: str | None) -> None:
    findings = check_roadmap(mapped(**changes), checkout)  # type: ignore[arg-type]
    if says is None:
        assert findings == []
    else:
        assert any(says in f.message for f in findings), findings


def test_only_a_function_of_the_map_needs_no_claim(checkout: Path) -> None:
    (checkout / "srm_utils" / "literature").mkdir()
    (checkout / "srm_utils" / "literature" / "uses.py").write_text("def coverage(): ...\n")
    changes = {"function": "srm_utils.literature.uses:coverage", "claim": "none"}
    assert check_roadmap(mapped(**changes), checkout) == []
    findings = check_roadmap(mapped(**{**changes, "claim": ""}), checkout)
    assert [f.message for f in findings] == ["is built but names no claim"]


def test_roadmap_check_finds_an_unmapped_notebook_and_a_repeated_name(checkout: Path) -> None:
    notebook(checkout / "notebooks" / "99_new.ipynb", cite("wei2022chain"))
    assert [f.path.name for f in check_roadmap(mapped(), checkout)] == ["99_new.ipynb"]
    topic = mapped()[0].topics[0]
    findings = check_roadmap([Part("Inference", False, (topic, topic))], checkout)
    assert [f.message for f in findings] == ["stands twice; keep one", "is in no topic of srm_utils/roadmap.yaml"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("- part: [", "line 1: this is not valid YAML"),
        ("- part: A\n  topics: []\n", "'finished'"),
        (
            "- {part: A, finished: false, topics: [{topic: B, techniques: [{name: C, papers: [], state: x}]}]}",
            "unexpected keyword argument 'state'",
        ),
    ],
)
def test_malformed_roadmap_is_named(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "roadmap.yaml"
    file.write_text(text)
    with pytest.raises(ValueError, match=re.escape(says)):
        load_roadmap(file)


def test_readme_table_is_drawn_from_the_roadmap(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    begin, end = (mark.format("roadmap") for mark in literature.TABLE_MARKS)
    readme.write_text(f"# Title\n\n{begin}\nold\n{end}\n\nEnd.\n")
    assert [(f.place, f.repairable) for f in check_citations([readme])] == [("roadmap table", True)]
    assert repair_citations([readme]) == [readme] and check_citations([readme]) == []
    rows = [line for line in readme.read_text().splitlines() if line.startswith("| ")][1:]
    assert len(rows) == sum(len(part.techniques) for part in load_roadmap())
    assert readme.read_text().endswith(f"{end}\n\nEnd.\n")


def test_readme_tells_what_came_of_every_confirmed_claim(tmp_path: Path) -> None:
    verdicts = json.loads((CHECKOUT / "notebooks" / "confirmed.json").read_text())["claims"]
    readme = tmp_path / "README.md"
    readme.write_text("\n".join(mark.format("verdicts") for mark in literature.TABLE_MARKS))
    assert repair_citations([readme]) == [readme] and check_citations([readme]) == []
    rows = [line.strip("| ").split(" | ") for line in readme.read_text().splitlines() if line.startswith("| ")]
    rows = [row for row in rows if row[0] != "claim"]
    assert sorted(row[-1] for row in rows) == sorted(v["verdict"] for v in verdicts)
    for verdict in verdicts:
        # Two notebooks may ask the same of different runs.
        (row,) = (r for r in rows if r[0].startswith(verdict["sentence"]) and f"/{verdict['notebook']}.ipynb" in r[0])
        assert row[1].startswith(f"{verdict['value']:+.2f} [".replace("-", "−")) and row[3] == verdict["verdict"]
    # A row that somebody has edited is found.
    readme.write_text(readme.read_text().replace("| supported |", "| contradicted |", 1))
    assert [f.place for f in check_citations([readme])] == ["verdicts table"]


def test_a_headline_that_was_not_confirmed_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "HEADLINES", ("never-asked",))
    with pytest.raises(ValueError, match="has no claim 'never-asked'; confirm it, or take another into HEADLINES."):
        tables.headline_table()


def test_the_real_models_rows_are_those_of_the_records() -> None:
    rows = [line.strip("| ").split(" | ") for line in tables.real_model_table().splitlines()[2:]]
    file = CHECKOUT / "srm_utils" / "models" / "adapters" / "smollm2-cot" / "check.jsonl"
    records = [json.loads(line) for line in file.read_text().splitlines()]
    (prompted,) = (
        r for r in records if (r["model"], r["prompt"], r["measure"]) == ("smollm2", "3 examples", "stories")
    )
    assert len(rows) == 5 and rows[0][1].startswith(f"{np.mean(prompted['scores']):.2f} [")


def test_a_verdict_of_a_notebook_off_the_roadmap_is_a_sentence(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(tables, "notebook_folder", lambda folder: tmp_path)
    (tmp_path / "claims.yaml").write_text((CHECKOUT / "notebooks" / "claims.yaml").read_text())
    (tmp_path / "confirmed.json").write_text(
        json.dumps({"claims": [{"notebook": "9_elsewhere/90_new", "verdict": "supported"}]})
    )
    with pytest.raises(ValueError, match="judges claims of 9_elsewhere/90_new; give that notebook a place"):
        literature.verdict_table()


def test_the_table_shows_an_interval_without_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "notebook_folder", lambda folder: tmp_path)
    (tmp_path / "claims.yaml").write_text((CHECKOUT / "notebooks" / "claims.yaml").read_text())
    row = json.loads((CHECKOUT / "notebooks" / "confirmed.json").read_text())["claims"][0]
    row |= {"value": 0.435, "low": {"$float": "-inf"}, "high": {"$float": "inf"}, "verdict": "inconclusive"}
    (tmp_path / "confirmed.json").write_text(json.dumps({"claims": [row]}))
    assert "| +0.43 [−inf, +inf] |" in literature.verdict_table()


# ----------------------------------------------------------------------------------------- the reading paths


def test_reading_paths_are_three_dozens_of_known_papers_with_one_sentence_each() -> None:
    paths = load_reading_paths()
    assert [path.name for path in paths] == ["student", "trainer", "deployer"]
    for path in paths:
        keys = [stop.paper for stop in path.stops]
        assert len(keys) == 12 and len(set(keys)) == 12 and set(keys) <= set(LIBRARY), path.name
        for stop in path.stops:
            # A point may stand inside a number only: one sentence, which begins and ends as sentences do.
            assert re.fullmatch(r"[A-Z](?:[^.!?\n]|\.\d)+\.", stop.why), (stop.paper, stop.why)
            assert 40 <= len(stop.why) <= 180, (stop.paper, len(stop.why))


def test_a_path_points_only_to_notebooks_that_use_its_paper() -> None:
    """A sentence that names a notebook is held to it: the paper is cited, claimed or run there."""
    techniques = [t for part in load_roadmap() for t in part.techniques]
    claims = load_claims(CHECKOUT / "notebooks" / "claims.yaml")
    named = 0
    for stop in (stop for path in load_reading_paths() for stop in path.stops):
        numbers = re.findall(r"notebook (\d\d)", stop.why) + ["00"] * ("the tour" in stop.why)
        places = {t.notebook for t in techniques if t.status == "built" and stop.paper in t.papers}
        places |= {c.notebook for c in claims if c.paper == stop.paper} | set(covered().get(stop.paper, []))
        for number in numbers:
            named += 1
            assert any(place.rpartition("/")[2].startswith(f"{number}_") for place in places), (stop, places)
    assert named


def test_a_path_states_no_figure_of_ours() -> None:
    """Verdicts change when a model is trained anew; they are drawn from their files and written down nowhere else."""
    for stop in (stop for path in load_reading_paths() for stop in path.stops):
        assert not re.search(r"\d\s*%|supported|contradicted|inconclusive|per cent", stop.why), stop


@pytest.mark.parametrize(
    ("stops", "says"),
    [
        ("[{paper: wei2022chian, why: A.}]", "path 'me': there is no paper 'wei2022chian' in papers.bib; the nearest"),
        ("[{paper: xu2025cod, why: A.}, {paper: xu2025cod, why: B.}]", "path 'me': 'xu2025cod' stands twice; keep one"),
        ("[{paper: xu2025cod}]", "paths.yaml lacks or misnames a field"),
        ("[{paper: xu2025cod, because: A.}]", "unexpected keyword argument 'because'"),
        ("[xu2025cod]", "paths.yaml lacks or misnames a field"),
        ("[", "line 1: this is not valid YAML"),
    ],
)
def test_malformed_reading_path_is_named(tmp_path: Path, stops: str, says: str) -> None:
    file = tmp_path / "paths.yaml"
    file.write_text(f"- {{path: me, reader: myself, stops: {stops}}}\n")
    with pytest.raises(ValueError, match=re.escape(says)):
        load_reading_paths(file)
    with pytest.raises(FileNotFoundError, match="There is no list of reading paths at"):
        load_reading_paths(tmp_path / "none.yaml")


def test_the_keys_of_reading_paths_are_citations_like_others(tmp_path: Path) -> None:
    file = tmp_path / "reading_paths.yaml"
    file.write_text("- path: me\n  stops:\n    - paper: xu2025codd\n      why: A.\n")
    assert [(f.place, "xu2025cod" in f.message) for f in check_citations([file])] == [("line 3", True)]


# ------------------------------------------------------------------------------------------ the command line

APP = typer.Typer()
APP.add_typer(papers_app, name="papers")


@APP.callback()
def _root() -> None:
    """Stands for `srm`."""


def srm(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(APP, ["papers", *words])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def test_papers_lists_searches_and_prints_bibtex() -> None:
    code, everything = srm()
    assert code == 0 and f"{len(PAPERS)} of {len(PAPERS)} papers" in everything
    states = coverage()
    assert list(MARKS) == list(STATES) and all(f"  {MARKS[states[p.key]]} {p.key} " in everything for p in PAPERS)
    run = sum(state == "run" for state in states.values())
    assert run and f"papers: {run} run (*)," in everything
    code, found = srm("graph", "thoughts", "--section", "inference-search")
    assert code == 0 and "besta2024graph" in found and "1 of" in found
    code, entries = srm("--bibtex", "--section", "training-sft")
    assert code == 0 and set(parse_string(entries, "bibtex").entries) == {p.key for p in search(section="training-sft")}
    assert srm("no", "such", "paper")[0] == 1


def test_papers_splits_into_covered_and_uncovered() -> None:
    there = {key for key, state in coverage().items() if state in ("run", "cited")}
    assert set(covered()) <= there
    for flag, keys in (("--covered", there), ("--uncovered", set(LIBRARY) - there)):
        code, output = srm(flag)
        assert code == (0 if keys else 1)
        assert {word for word in output.split() if word in LIBRARY} == keys


def test_papers_show_names_uses_and_a_wrong_key_is_one_sentence() -> None:
    code, output = srm("show", "kaplan2020scaling")
    assert code == 0 and "srm_utils.sampling.ledger" in output and cite("kaplan2020scaling") in output
    assert "claims     size-pays" in output and "notebooks  01_landscape" in output
    code, output = srm("show", "xu2025cod")
    assert code == 0 and "techniques Inference > Chain of thought > chain of draft (built)" in output
    assert "srm_utils.inference.chain_of_thought.Prompting" in output
    code, output = srm("show", "wei2022chian")
    assert code == 2 and "the nearest are wei2022chain" in output and len(output.splitlines()) == 1
    code, output = srm("--section", "nothing")
    assert code == 2 and "There is no section 'nothing'" in output


def test_papers_check_repairs_and_tells(tmp_path: Path) -> None:
    book = notebook(tmp_path / "a.ipynb", cite("wei2022chain").replace("2022]", "2021]"))
    code, output = srm("check", str(book))
    assert code == 1 and "1 to mend, 1 by `srm papers check --repair`" in output
    code, output = srm("check", "--repair", str(book))
    assert code == 0 and "repaired" in output and "Every citation agrees" in output
    assert srm("check", str(tmp_path / "none"))[0] == 2


def test_a_notebook_with_nothing_to_repair_keeps_its_bytes(tmp_path: Path) -> None:
    file = tmp_path / "a.ipynb"
    cell = '{"cell_type": "markdown", "id": "a", "metadata": {}, "source": "No citation here."}'
    text = f'{{"cells": [{cell}], "metadata": {{}}, "nbformat": 4, "nbformat_minor": 5}}'
    file.write_text(text)
    assert repair_citations([file]) == [] and file.read_text() == text
