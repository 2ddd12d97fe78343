"""The runner: many notebooks, on the cores of this machine or on a dask scheduler. A failure stops one notebook only.

A run is a folder, `runs/<id>/`: `run.json` (settings, command, commit, machine), the executed notebooks and their
HTML, `status/` (how each ended, written here and nowhere else), `records.jsonl` and `results.parquet` (what the
notebooks measured) and `index.html`. What is finished stays finished, whatever happens to the rest.
"""

from __future__ import annotations

import ast
import contextlib
import glob
import json
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import srm_utils
from srm_utils.collection.catalogue import Notebook, find, read_catalogue
from srm_utils.collection.dispatch import dispatch
from srm_utils.collection.execute import Job, Status, write_text
from srm_utils.collection.fingerprint import job_key
from srm_utils.collection.profiles import from_here, get_profile, nearest
from srm_utils.collection.report import Agreement, agreement, write_report
from srm_utils.collection.run_folder import collect, latest_run, read_statuses, run_named


@dataclass(frozen=True, slots=True)
class Run:
    """A run that has ended.

    `folder` is its folder and `statuses` says how each notebook ended. `resumed` counts the notebooks that an earlier
    call had completed. `interrupted` says that Ctrl-C ended it. `agreement` compares its figures with the shipped ones.
    `missing` are the labels of notebooks that were planned and have no status.
    """

    folder: Path
    statuses: tuple[Status, ...]
    resumed: int = 0
    interrupted: bool = False
    agreement: Agreement | None = None
    missing: tuple[str, ...] = ()

    @property
    def failures(self) -> tuple[Status, ...]:
        """The notebooks that did not complete."""
        return tuple(s for s in self.statuses if s.state != "completed")


def parse_parameter(notebook: Notebook, name: str, value: Any) -> Any:
    """A `-p name value` as the notebook's parameters cell wants it.

    Raises ValueError when the notebook has no such parameter, or the value is of another type than the default.

    >>> parse_parameter(Notebook("n", Path("n.ipynb"), parameters={"rate": 0.5}), "rate", "1e-3")
    0.001
    """
    if name not in notebook.parameters:
        close = ", ".join(nearest(name, notebook.parameters))
        have = f"the nearest are {close}" if close else "it has none"
        raise ValueError(f"The notebook {notebook.name} has no parameter {name!r}; {have}.")
    default = notebook.parameters[name]
    if isinstance(value, str) and not isinstance(default, str):
        with contextlib.suppress(ValueError, SyntaxError):
            value = ast.literal_eval(value)
        value = {"true": True, "false": False}.get(value.lower(), value) if isinstance(value, str) else value
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if value is not None and default is not None and type(value) is not type(default):
        raise ValueError(
            f"The parameter {name!r} of {notebook.name} takes a value like {default!r} "
            f"({type(default).__name__}), not {value!r}."
        )
    return value


def machine() -> dict[str, Any]:
    """The class of this machine, without its name."""
    from dask.system import CPU_COUNT
    from distributed.system import MEMORY_LIMIT

    return {
        "system": platform.system(),
        "architecture": platform.machine(),
        "cores": CPU_COUNT,
        "memory_gb": round(MEMORY_LIMIT / 1e9, 1),
        "python": platform.python_version(),
    }


def commit() -> str | None:
    """The commit of the checkout the package runs from, with `+` when files differ from it; None outside one."""
    here = Path(srm_utils.__file__).resolve().parents[1]
    if not (here / ".git").exists():
        return None
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        git = ["git", "-C", str(here)]
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        dirty = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, check=True).stdout
        return head + ("+" if dirty.strip() else "")
    return None


def expected_seconds(notebook: Notebook, profile: str, out: Path) -> float | None:
    """How long a notebook should take: as in the last run with this profile, else as it states itself."""
    past = []
    for path in out.glob(f"*/status/**/{glob.escape(Path(notebook.name).name)}.json"):
        with contextlib.suppress(ValueError, TypeError, OSError):
            status = Status(**json.loads(path.read_text()))
            ran = (status.notebook, status.state, status.parameters.get("profile"))
            if ran == (notebook.name, "completed", profile):
                past.append((path.stat().st_mtime, status.seconds))
    if past:
        return max(past)[1]
    minutes = notebook.minutes.get(profile.partition(":")[0])
    return None if minutes is None else 60.0 * minutes


def plan(
    notebooks: Sequence[Notebook],
    folder: Path,
    settings: dict[str, Any],
    *,
    threads: int = 1,
    timeout: float | None = None,
    memory: float | None = None,
) -> list[Job]:
    """The jobs of a run: every notebook with every seed, parameters checked against its own parameters cell."""
    jobs = []
    for seed in range(settings["seed"], settings["seed"] + settings["seeds"]):
        for notebook in notebooks:
            wanted = {"profile": settings["profile"], "seed": seed}
            # A notebook need not know `profile` and `seed` (a map of the field has neither); all else it must.
            given = {k: v for k, v in wanted.items() if k in notebook.parameters}
            # In a batch over seeds each run trains one of them, or a grid of seeds would be trained once a seed.
            given |= {"seeds": 1} if settings["seeds"] > 1 and "seeds" in notebook.parameters else {}
            if not notebook.problem:
                given |= {k: parse_parameter(notebook, k, v) for k, v in settings["parameters"].items()}
            label = notebook.name if settings["seeds"] == 1 else f"seed-{seed}/{notebook.name}"
            jobs.append(
                Job(
                    notebook=notebook.name,
                    label=label,
                    source=str(notebook.path.resolve()),
                    folder=str(folder.resolve()),
                    parameters=given,
                    key=job_key(notebook, given),
                    threads=threads,
                    expected=expected_seconds(notebook, settings["profile"], folder.parent),
                    timeout=timeout,
                    memory=memory,
                )
            )
    return jobs


def run(
    names: Sequence[str] | None = None,
    *,
    profile: str | None = None,
    seed: int | None = None,
    seeds: int | None = None,
    parameters: dict[str, Any] | None = None,
    jobs: int | None = None,
    resume: bool = False,
    run_id: str | None = None,
    timeout: float | None = None,
    memory: float | None = None,
    scheduler: str | None = None,
    out: Path = Path("runs"),
    notebooks: Path | None = None,
) -> Run:
    """Run notebooks and report on them.

    `names` pick notebooks (all by default, see `catalogue.find`); `profile` is "cpu" by default; `seeds` runs each
    with `seed`, `seed + 1`, …; `jobs` is how many run at once (default: the cores); `timeout` is seconds for a
    notebook; `memory` is GB for a notebook (default: its share of nine tenths of the machine's); `scheduler` is the
    address of a dask scheduler whose workers see the same folders; `out` holds the runs. With `resume` the run
    `run_id` (default: the newest) goes on, with the settings it had where none are given, and only what is missing,
    failed or changed runs again.

    A notebook that fails costs only itself. Raises ValueError for unknown names, profiles or parameters,
    FileNotFoundError when there is nothing to run or resume, RuntimeError when no scheduler answers.
    """
    out = Path(out)
    asked = {"names": names or None, "profile": profile, "seed": seed, "seeds": seeds, "parameters": parameters or None}
    settings: dict[str, Any] = {"names": [], "profile": "cpu", "seed": 0, "seeds": 1, "parameters": {}}
    folder: Path | None = None
    if resume:
        folder = run_named(run_id, out) if run_id is not None else latest_run(out)
        if not (folder / "run.json").is_file():
            raise FileNotFoundError(f"There is no run {run_id!r} in {out}; `srm run` starts a new one.")
        settings = json.loads((folder / "run.json").read_text())["settings"]
    settings |= {k: v for k, v in asked.items() if v is not None}
    settings["names"] = list(settings["names"])
    settings |= _from_here(settings["profile"], settings["parameters"])
    if settings["seeds"] < 1:
        raise ValueError(f"--seeds is how many seeds to run, at least 1, not {settings['seeds']}.")
    if jobs is not None and jobs < 1:
        raise ValueError(f"--jobs is how many notebooks run at once, at least 1, not {jobs}.")
    chosen = get_profile(settings["profile"])
    if chosen.device == "cuda" and scheduler is None:
        chosen.setup()
    picked = find(settings["names"], read_catalogue(notebooks))
    facts = machine()
    at_once = min(jobs or facts["cores"], len(picked) * settings["seeds"])
    if folder is None:
        now = f"{datetime.now():%Y-%m-%d-%H%M%S}-{settings['profile'].partition(':')[0]}"
        folder = run_named(run_id if run_id is not None else now, out)
        if (folder / "run.json").exists():
            raise ValueError(f"The run {folder} exists; add --resume to go on with it, or choose another --id.")
    limit = memory * 1e9 if memory is not None else 0.9 * facts["memory_gb"] * 1e9 / at_once
    planned = plan(picked, folder, settings, threads=chosen.threads, timeout=timeout, memory=limit)
    header = {
        "id": folder.name,
        "created": datetime.now().astimezone().isoformat(),
        "command": " ".join(["srm", *sys.argv[1:]]),
        "settings": settings,
        "version": srm_utils.__version__,
        "commit": commit(),
        "machine": facts,
        "planned": [j.label for j in planned],
        "claims": _claims(picked),
    }
    write_text(folder / "run.json", json.dumps(header, indent=1))
    before = {s.label: s for s in read_statuses(folder)}
    kept = [before[j.label] for j in planned if _finished(j, before.get(j.label))]
    labels = {s.label for s in kept}
    todo = [j for j in planned if j.label not in labels]
    done, interrupted = dispatch(todo, at_once, scheduler) if todo else ([], False)
    statuses = {s.label: s for s in (*kept, *done)}
    ended = Run(
        folder,
        tuple(statuses[j.label] for j in planned if j.label in statuses),
        len(kept),
        interrupted,
        missing=tuple(j.label for j in planned if j.label not in statuses),
    )
    collect(folder, ended.statuses)
    beside = agreement(folder)
    write_report(folder, beside)
    return replace(ended, agreement=beside)


def _claims(picked: Sequence[Notebook]) -> list[dict[str, Any]]:
    """The claims of these notebooks, as they stood when the run began."""
    from srm_utils.evaluation.claims import load_claims

    files = dict.fromkeys(book.path.parents[len(Path(book.name).parts) - 1] / "claims.yaml" for book in picked)
    names = {book.name for book in picked}
    known = [claim for file in files if file.is_file() for claim in load_claims(file)]
    return [claim.model_dump() for claim in known if claim.notebook in names]


def _from_here(profile: str, parameters: dict[str, Any]) -> dict[str, Any]:
    """The profile and parameters with paths as the person means them, since a kernel works in another folder."""
    profile = from_here(profile)
    if parameters.get("folder"):
        parameters = {**parameters, "folder": str(Path(parameters["folder"]).expanduser().absolute())}
    return {"profile": profile, "parameters": parameters}


def _finished(job: Job, status: Status | None) -> bool:
    """Whether a job need not run again: it completed, from the same source, parameters and package."""
    return status is not None and status.state == "completed" and status.key == job.key and job.output.is_file()
