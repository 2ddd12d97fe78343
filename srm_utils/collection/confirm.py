"""`srm confirm`: every claim once, on the reserved split; those verdicts are the published ones."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from srm_utils.collection.catalogue import find, notebooks_dir, read_catalogue
from srm_utils.collection.execute import write_text
from srm_utils.collection.runner import Run, run


def confirm(
    names: Sequence[str] | None = None,
    *,
    parameters: Mapping[str, str] | None = None,
    notebooks: Path | None = None,
    **options: Any,
) -> Run:
    """Run the notebooks that have claims with `split="confirm"` and write their verdicts.

    `names` pick among them; without names those run that have a parameter `split`. `options` are those of `runner.run`,
    and so are `parameters`, which may not hold another split. Models that a `study` kept in its `folder` are not
    trained again. The verdicts go to `confirmed.json` in the run's folder and beside the notebooks, where the claims of
    notebooks that did not run keep their entries.
    Raises ValueError when none of the notebooks has a claim, one that is named has no parameter `split`, or another
    split is asked for.
    """
    from srm_utils.evaluation.claims import load_claims, wording

    if (parameters or {}).get("split", "confirm") != "confirm":
        raise ValueError("`srm confirm` measures on the split `confirm` alone; leave the parameter `split` out.")
    root = Path(notebooks) if notebooks is not None else notebooks_dir()
    catalogue = read_catalogue(root)
    claims = {claim.id: claim for claim in load_claims(root / "claims.yaml")}
    claiming = {book.name for claim in claims.values() for book in find([claim.notebook], catalogue)}
    # One without the parameter `split` has no reserved split. Named, it is refused in a sentence by `run`.
    fit = {book.name for book in catalogue if names or book.problem or "split" in book.parameters}
    picked = [book.name for book in find(names or [], catalogue) if book.name in claiming & fit]
    if not picked:
        raise ValueError("None of these notebooks has a claim; `notebooks/claims.yaml` lists the claims.")
    ended = run(picked, parameters={**(parameters or {}), "split": "confirm"}, notebooks=root, **options)
    header = json.loads((ended.folder / "run.json").read_text())
    about = {"run": header["id"], "profile": header["settings"]["profile"], "seed": header["settings"]["seed"]}
    about |= {k: header[k] for k in ("version", "commit", "machine")}
    verdicts = []
    for line in (ended.folder / "records.jsonl").read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        claim = claims.get(record["claim_id"])
        if claim is None or record["verdict"] is None:
            continue
        measured = {k: record[k] for k in ("verdict", "value", "low", "high", "n", "model")}
        stated = claim.model_dump(include={"paper", "sentence", "type", "scope", "metric", "margin"})
        words = {"wording": wording(claim.scope, record["verdict"])}
        verdicts.append({"claim": claim.id, "notebook": record["label"], **stated, **measured, **words, **about})
    write_text(ended.folder / "confirmed.json", json.dumps({"claims": verdicts}, indent=1) + "\n")
    published = root / "confirmed.json"
    before = json.loads(published.read_text(encoding="utf-8"))["claims"] if published.is_file() else []
    merged = {c["claim"]: c for c in before if c["claim"] in claims} | {c["claim"]: c for c in verdicts}
    ordered = [merged[i] for i in claims if i in merged]
    write_text(published, json.dumps({"claims": ordered}, indent=1) + "\n")
    return ended
