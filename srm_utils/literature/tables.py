"""The tables of README and docs that are made from files: roadmap, verdicts, headline results, the real model."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

from srm_utils.literature.library import load
from srm_utils.literature.roadmap import load_roadmap, techniques_of
from srm_utils.literature.sources import PACKAGE, notebook_folder, paper_values


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
            measured = _measured(row)
            said = f"{row['sentence']} {load()[row['paper']].citation}, {where}"
            asked_of = asked.get(row["type"], f"above {margin}")
            lines.append(f"| {said} | {measured} | {asked_of} | {row['verdict']} |")
        lines += ["", "</details>"]
    return "\n".join(lines)


def headline_table(notebooks: str = "notebooks/") -> str:
    """The results of `HEADLINES` as a Markdown table, as they stand in `confirmed.json`.

    Raises ValueError when one of them has not been confirmed.
    """
    file = notebook_folder(None) / "confirmed.json"
    rows = {row["claim"]: row for row in json.loads(file.read_text(encoding="utf-8"))["claims"]}
    lines = ["| claim | difference in the bundled world | verdict |", "|---|---|---|"]
    for claim in HEADLINES:
        if claim not in rows:
            raise ValueError(f"{file.name} has no claim {claim!r}; confirm it, or take another into HEADLINES.")
        row = rows[claim]
        number = row["notebook"].rpartition("/")[2].partition("_")[0]
        said = f"{row['sentence']} {load()[row['paper']].citation}, [{number}]({notebooks}{row['notebook']}.ipynb)"
        lines.append(f"| {said} | {_measured(row)} | {row['verdict']} |")
    return "\n".join(lines)


def real_model_table(notebooks: str = "notebooks/") -> str:
    """What the real model and its adapters solve, as `check.jsonl` beside each adapter has it."""
    lines = ["| model | greedy | one sample at temperature 1 |", "|---|---|---|"]
    for about, adapter, model, prompt in REAL_MODELS:
        file = PACKAGE / "models" / "adapters" / adapter / "check.jsonl"
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        found = {row["measure"]: row for row in rows if (row["model"], row["prompt"]) == (model, prompt)}
        cells = [
            f"{row['value']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"
            for row in (found["stories"], found["stories, temperature 1"])
        ]
        lines.append(f"| {about} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines)


def _measured(row: dict[str, Any]) -> str:
    """A verdict's value and interval."""

    def figure(value: Any) -> str:
        # What JSON cannot hold, such as the end of the whole line, is written as {"$float": name}.
        return f"{float(value['$float'] if isinstance(value, dict) else value):+.2f}".replace("-", "−")

    return f"{figure(row['value'])} [{figure(row['low'])}, {figure(row['high'])}]"


#: The claims of the README's first screen.
HEADLINES = (
    "cot-beats-direct",
    "vote-beats-temperature-zero",
    "calculator-beats-own-results",
    "rl-raises-accuracy",
    "a-hole-is-found",
)
#: Rows of the README's table of the real model: what is said, whose `check.jsonl`, and model and prompt in it.
REAL_MODELS = (
    ("`smollm2`, prompted with three worked examples", "smollm2-cot", "smollm2", "3 examples"),
    ("`smollm2-cot`: taught by chains of thought", "smollm2-cot", "smollm2-cot", "no example"),
    ("an early checkpoint of it (50 of 240 steps)", "smollm2-rl", "smollm2-cot, step 50", "no example"),
    ("`smollm2-rl`: that checkpoint after 30 steps of GRPO", "smollm2-rl", "smollm2-rl", "no example"),
    ("`smollm2-dpo`: that checkpoint after 30 steps of DPO", "smollm2-dpo", "smollm2-dpo", "no example"),
)

#: What each generated table is made from, and how; the argument is the way to the notebooks folder.
TABLES: dict[str, tuple[str, Callable[[str], str]]] = {
    "roadmap": ("srm_utils/roadmap.yaml", roadmap_table),
    "verdicts": ("notebooks/confirmed.json", verdict_table),
    "headlines": ("notebooks/confirmed.json", headline_table),
    "real model": ("the adapters' check.jsonl", real_model_table),
}
