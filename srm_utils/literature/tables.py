"""The tables of the README that are made from files: the roadmap, and the verdicts on the claims."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

from srm_utils.literature.library import load
from srm_utils.literature.roadmap import load_roadmap, techniques_of
from srm_utils.literature.sources import notebook_folder, paper_values


def roadmap_table(notebooks: str = "notebooks/") -> str:
    """The roadmap as one Markdown table; `notebooks` is the way from the reader's file to the notebooks folder.

    A notebook is linked where its technique is built or is an exercise.
    """
    rows = ["| part | topic | technique | papers | notebook |", "|---|---|---|---|---|"]
    for part, topic, technique in techniques_of(load_roadmap()):
        name = technique.notebook.rpartition("/")[2]
        link, note = f"[{name}]({notebooks}{technique.notebook}.ipynb)", f"({technique.status})"
        where = {"built": link, "exercise": f"{link} {note}"}.get(technique.status, f"{name} {note}".strip())
        papers = "; ".join(load()[key].citation for key in technique.papers)
        rows.append(f"| {part.name} | {topic.name} | {technique.name} | {papers} | {where} |")
    return "\n".join(rows)


def verdict_table(notebooks: str = "notebooks/") -> str:
    """What came of the claims on the reserved split: a folded Markdown table for each part.

    `notebooks` is the way from the reader's file to the notebooks folder; its `confirmed.json` has the numbers.

    Raises ValueError when a claim's notebook stands nowhere on the roadmap.
    """
    root = notebook_folder(None)
    file = root / "confirmed.json"
    verdicts = json.loads(file.read_text(encoding="utf-8"))["claims"] if file.is_file() else []
    claimed = len(paper_values(root / "claims.yaml"))
    parts = {t.notebook: part.name for part, _, t in techniques_of(load_roadmap())}
    for row in verdicts:
        if row["notebook"] not in parts:
            raise ValueError(
                f"{file.name} judges claims of {row['notebook']}; give that notebook a place in roadmap.yaml."
            )

    def figure(value: Any) -> str:
        # What JSON cannot hold, such as the end of the whole line, is written as {"$float": name}.
        return f"{float(value['$float'] if isinstance(value, dict) else value):+.2f}".replace("-", "−")

    def counts(rows: list[dict[str, Any]]) -> str:
        tally = Counter(row["verdict"] for row in rows)
        return ", ".join(f"{tally[v]} {v}" for v in ("supported", "inconclusive", "contradicted"))

    lines = [f"{len(verdicts)} of {claimed} claims have been measured on the reserved split: {counts(verdicts)}."]
    for part in dict.fromkeys(parts.values()):
        rows = [row for row in verdicts if parts[row["notebook"]] == part]
        if not rows:
            continue
        lines += ["", "<details>", f"<summary><b>{part}</b>: {counts(rows)}</summary>", ""]
        lines += ["| claim | measured | asked | verdict |", "|---|---|---|---|"]
        for row in rows:
            margin = f"{row['margin']:g}"
            asked = {"non-inferiority": f"above −{margin}", "equivalence": f"within ±{margin}"}
            number = row["notebook"].rpartition("/")[2].partition("_")[0]
            where = f"[{number}]({notebooks}{row['notebook']}.ipynb)"
            measured = f"{figure(row['value'])} [{figure(row['low'])}, {figure(row['high'])}]"
            said = f"{row['sentence']} {load()[row['paper']].citation}, {where}"
            asked_of = asked.get(row["type"], f"above {margin}")
            lines.append(f"| {said} | {measured} | {asked_of} | {row['verdict']} |")
        lines += ["", "</details>"]
    return "\n".join(lines)


#: What each generated table is made from, and how.
TABLES: dict[str, tuple[str, Callable[[], str]]] = {
    "roadmap": ("srm_utils/roadmap.yaml", roadmap_table),
    "verdicts": ("notebooks/confirmed.json", verdict_table),
}
