"""Takes the outputs of a finished run back into the collection's notebooks, and tells stale outputs from fresh ones."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from srm_utils.collection.catalogue import cell_source, notebooks_dir, read_json
from srm_utils.collection.execute import write_text
from srm_utils.collection.profiles import PUBLISHED
from srm_utils.collection.run_folder import read_statuses


def source_hash(nb: dict[str, Any]) -> str:
    """A hash of all cells' types and sources: outputs belong to a notebook when it has not changed since.

    >>> source_hash({"cells": []}) == source_hash({"cells": [], "metadata": {}})
    True
    """
    cells = [[cell["cell_type"], cell_source(cell)] for cell in nb["cells"]]
    return hashlib.blake2b(json.dumps(cells).encode(), digest_size=16).hexdigest()


def stale(nb: dict[str, Any]) -> str | None:
    """Why a notebook's committed outputs do not belong to its source; None when they do."""
    outputs = nb["metadata"].get("srm_outputs")
    if outputs is None:
        return "it was never published"
    if outputs["source"] != source_hash(nb):
        return "its cells have changed since its outputs were made"
    if outputs["profile"] != PUBLISHED:
        return f"its outputs are of the profile {outputs['profile']!r}"
    if any(c["cell_type"] == "code" and c.get("execution_count") is None for c in nb["cells"]):
        return "some of its cells have not been run"
    return None


def _settled(outputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Outputs with every progress bar as it stood at the end: what a terminal would show."""
    settled: list[dict[str, Any]] = []
    for output in outputs:
        if output["output_type"] == "stream":
            text = output["text"] if isinstance(output["text"], str) else "".join(output["text"])
            if settled and settled[-1].get("name") == output["name"]:
                settled[-1]["text"] += text
                continue
            output = {**output, "text": text}
        settled.append(output)
    for output in settled:
        if output["output_type"] == "stream":
            lines = [line.rstrip("\r").rsplit("\r", 1)[-1] for line in output["text"].split("\n")]
            output["text"] = "\n".join(lines)
    return settled


def publish(run: Path, notebooks: Path | None = None) -> list[str]:
    """Copies outputs of a run's finished notebooks into the collection, and returns their names.

    Raises ValueError when the run is not of the published profile, or when a notebook has changed since.
    """
    root = notebooks or notebooks_dir()
    about = json.loads((run / "run.json").read_text())
    done = []
    for status in read_statuses(run):
        if status.state != "completed":
            continue
        executed, target = read_json(run / f"{status.label}.ipynb"), root / f"{status.label}.ipynb"
        cells = [c for c in executed["cells"] if "injected-parameters" not in c["metadata"].get("tags", [])]
        kept = read_json(target)
        profile = status.parameters.get("profile")
        if profile != PUBLISHED:
            raise ValueError(f"{run.name} ran with profile {profile!r}; publish a run made with `srm run`.")
        if source_hash({"cells": cells}) != source_hash(kept):
            raise ValueError(
                f"{status.label} has changed since {run.name}; run it again with `srm run {status.label}`."
            )
        for cell, ran in zip(kept["cells"], cells, strict=True):
            if cell["cell_type"] == "code":
                cell["outputs"], cell["execution_count"] = _settled(ran["outputs"]), ran["execution_count"]
        kept["metadata"]["srm_outputs"] = {
            "source": source_hash(kept),
            "profile": profile,
            "machine": about.get("machine", {}),
            "seconds": round(status.seconds, 1),
        }
        write_text(target, json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
        done.append(status.label)
    return done
