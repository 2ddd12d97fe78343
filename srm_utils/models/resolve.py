"""From a model's name to the folder that holds it: bundled, fetched, shipped adapter, local folder, GGUF file, hub."""

from __future__ import annotations

import difflib
import hashlib
import importlib.resources
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from srm_utils.models.fetch import FETCHABLE, cache_folder, fetched, why_not_here

#: What is taken from a hub repository.
HUB_FILES = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")


@dataclass(frozen=True, slots=True)
class Located:
    """Where a model is: the folder of its weights, and the folder of the adapter to put on top, if any."""

    folder: Path
    adapter: Path | None = None


def bundled_models() -> list[str]:
    """Names of the models that ship with the package: the family, and a small model for each domain that has one.

    >>> "gpt-5" in bundled_models()
    False
    """
    return [*_names_in(_shipped("family"), "config.json"), *_names_in(_shipped("domains"), "config.json")]


def bundled_adapters() -> list[str]:
    """Names of the adapters for fetched models that ship with the package.

    >>> all(name not in bundled_models() for name in bundled_adapters())
    True
    """
    return _names_in(_shipped("adapters"), "adapter_config.json")


def model_names() -> list[str]:
    """Every name that needs neither a path nor a hub: bundled models, fetchable ones, shipped adapters.

    >>> "smollm2" in model_names()
    True
    """
    return [*bundled_models(), *FETCHABLE, *bundled_adapters()]


def card_of(name: str) -> tuple[str, str]:
    """Size on disk and first sentence of the card of a bundled model or adapter.

    >>> card_of("base")[0].endswith("MB")
    True
    """
    folder = _folder_of(name) if name in bundled_models() else _shipped("adapters") / name
    size = sum(f.stat().st_size for f in folder.glob("*.safetensors")) / 1e6
    card = folder / "README.md"
    lines = card.read_text(encoding="utf-8").split("# ", 1)[-1].splitlines() if card.is_file() else []
    said = next((line for line in lines[1:] if line.strip()), "")
    return f"{size:.0f} MB", said.partition(". ")[0].rstrip(".") + "." if said else ""


def is_here(name: str) -> bool:
    """Whether a bundled, fetchable or adapter name loads without a download.

    >>> is_here("base"), is_here("no-such-model")
    (True, False)
    """
    if name in FETCHABLE:
        return fetched(name) is not None
    if name not in bundled_adapters():
        return name in bundled_models()
    config = json.loads((_shipped("adapters") / name / "adapter_config.json").read_text(encoding="utf-8"))
    return is_here(str(config["base_model_name_or_path"]))


def locate(name: str) -> Located:
    """The local folder of a name, a path or a hub id; downloads from the hub what is not there yet, saying so.

    A folder that holds an adapter alone leads to the model it was trained on as well. A GGUF file is converted once,
    into the cache. Raises ValueError, FileNotFoundError or ConnectionError with one sentence that says what to do.
    """
    if name in bundled_models():
        return Located(_folder_of(name))
    if name in FETCHABLE:
        folder = fetched(name)
        if folder is None:
            raise FileNotFoundError(why_not_here(name))
        return Located(folder)
    if name in bundled_adapters():
        return _with_base(_shipped("adapters") / name, name)
    path = Path(name).expanduser()
    if path.is_dir():
        return _local(path, name)
    if path.suffix.lower() == ".gguf" and (path.is_file() or path.is_absolute() or os.sep in name):
        return Located(_converted(path))
    looks_local = name.startswith((".", "~", os.sep)) or name.count("/") > 1 or path.is_absolute()
    if looks_local or path.exists():
        raise FileNotFoundError(f"There is no folder {name!r}; give the folder that holds config.json and the weights.")
    if "/" not in name:
        near = difflib.get_close_matches(name, model_names(), n=3, cutoff=0.5) or bundled_models()
        said = f"did you mean {' or '.join(map(repr, near))}?" if near else "this installation bundles none."
        raise ValueError(f"There is no bundled model {name!r}; {said} A hub model is named owner/name.")
    return _local(_from_hub(name), name)


def _shipped(kind: str) -> Path:
    return Path(str(importlib.resources.files("srm_utils.models"))) / kind


def _folder_of(bundled: str) -> Path:
    """Where a bundled model lies."""
    return next(f for f in (_shipped("family") / bundled, _shipped("domains") / bundled) if f.is_dir())


def _names_in(folder: Path, file: str) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if (p / file).is_file()) if folder.is_dir() else []


def _local(folder: Path, name: str) -> Located:
    if (folder / "config.json").is_file():
        return Located(folder)
    if (folder / "adapter_config.json").is_file():
        return _with_base(folder, name)
    files = sorted(folder.glob("*.gguf"))
    if len(files) > 1:
        raise ValueError(f"The folder {name!r} holds {len(files)} GGUF files; give the path of one of them.")
    return Located(_converted(files[0])) if files else Located(folder)


def _with_base(adapter: Path, name: str) -> Located:
    """An adapter and the model that its configuration names."""
    try:
        base = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))["base_model_name_or_path"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"adapter_config.json of {name!r} is damaged; copy or download the adapter again.") from error
    if not base or str(base) == name:
        raise ValueError(
            f"The adapter {name!r} does not say which model it belongs to; name the model and pass adapter={name!r}."
        )
    found = locate(str(base))
    if found.adapter is not None:
        raise ValueError(f"The adapter {name!r} lies on another adapter, {base!r}; merge that one first.")
    return Located(found.folder, adapter)


def _converted(file: Path) -> Path:
    """The folder in the cache that a GGUF file was converted into; converts it where there is none."""
    from filelock import FileLock

    from srm_utils.models.convert import convert_gguf

    if not file.is_file():
        raise FileNotFoundError(f"There is no file {str(file)!r}; give the path of a GGUF file.")
    held = file.stat()
    key = hashlib.blake2b(f"{file.resolve()}|{held.st_size}|{held.st_mtime_ns}".encode(), digest_size=6).hexdigest()
    folder = cache_folder() / "gguf" / f"{file.stem}-{key}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not (folder / "config.json").is_file():
            print(f"Converting {file.name} (once, about half a minute) ...", file=sys.stderr)
            convert_gguf(file, folder)
    return folder


def _from_hub(name: str) -> Path:
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    patterns = list(HUB_FILES)
    try:
        folder = Path(snapshot_download(name, local_files_only=True, allow_patterns=patterns))
        if _complete(folder):
            return folder
    except LocalEntryNotFoundError:
        pass
    except HFValidationError as error:
        raise ValueError(f"{name!r} is no valid hub id; a hub model is named owner/name.") from error
    if constants.HF_HUB_OFFLINE:
        raise ConnectionError(
            f"{name!r} is not (or not wholly) on this machine and HF_HUB_OFFLINE forbids downloading it; unset that "
            "variable or use a bundled model or a local folder."
        )
    print(f"Downloading {name} from the Hugging Face Hub (HF_HUB_OFFLINE=1 forbids this).", file=sys.stderr)
    try:
        return Path(snapshot_download(name, allow_patterns=patterns))
    except GatedRepoError as error:
        raise ValueError(
            f"{name!r} is gated; accept its terms on its hub page and log in with `hf auth login`, or choose another."
        ) from error
    except RepositoryNotFoundError as error:
        raise ValueError(
            f"The hub has no model {name!r} that you may read; check the spelling, or log in with `hf auth login`."
        ) from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        said = str(error).strip().splitlines()
        raise ConnectionError(
            f"{name!r} could not be downloaded ({said[0].rstrip('.') if said else type(error).__name__}); check the "
            "network, or use a bundled model or a local folder."
        ) from error


def _complete(folder: Path) -> bool:
    """Whether a snapshot is whole: a download that was cut leaves some shards of the index out."""
    if (folder / "adapter_config.json").is_file():
        return any(folder.glob("adapter_model*"))
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (ValueError, KeyError, AttributeError):
            return False
        return all((folder / shard).is_file() for shard in shards)
    return (folder / "config.json").is_file() and any(folder.glob("*.safetensors"))
