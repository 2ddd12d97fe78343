"""Who said it: `papers.bib`, the citations drawn from it, and the map from the survey to the code.

>>> from srm_utils import literature
>>> literature.cite("wei2022chain")
'[Wei et al., 2022](https://arxiv.org/abs/2201.11903 "wei2022chain")'
"""

from __future__ import annotations

from srm_utils.literature.citations import TABLE_MARKS, check_citations, repair_citations
from srm_utils.literature.entries import Paper
from srm_utils.literature.library import Library, UnknownPaper, bibtex, cite, load, reference, search
from srm_utils.literature.reading_paths import ReadingPath, Stop, load_reading_paths
from srm_utils.literature.roadmap import NO_CLAIM, STATUSES, Part, Technique, Topic, check_roadmap, load_roadmap
from srm_utils.literature.sources import CHECKOUT, KEY, Finding
from srm_utils.literature.tables import roadmap_table, verdict_table
from srm_utils.literature.uses import STATES, Usage, coverage, covered, usage

__all__ = [
    "CHECKOUT", "KEY", "NO_CLAIM", "STATES", "STATUSES", "TABLE_MARKS", "Finding", "Library", "Paper", "Part",
    "ReadingPath", "Stop", "Technique", "Topic", "UnknownPaper", "Usage", "bibtex", "check_citations",
    "check_roadmap", "cite", "coverage", "covered", "load", "load_reading_paths", "load_roadmap", "reference",
    "repair_citations", "roadmap_table", "search", "usage", "verdict_table",
]  # fmt: skip
