"""GGUF to safetensors: one file of llama.cpp's format becomes an ordinary transformers folder, once.

transformers reads a GGUF file by itself, but slowly and with a tokenizer that ignores how the file says that text
is cut before the byte-pair merges. A converted folder loads in a second and tokenises as the model was trained.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

#: Ways of cutting text before the merges (`tokenizer.ggml.pre`) that a byte-level tokenizer of transformers gets right.
KNOWN_CUTS = ("default", "gpt-2", "llama-bpe", "qwen2")
#: Ways in which each digit stands alone before the byte level.
SINGLE_DIGITS = ("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone")


def convert_gguf(file: str | os.PathLike[str], folder: str | os.PathLike[str]) -> Path:
    """Write the model of a GGUF file as `folder`: safetensors in float32, configuration, tokenizer, chat template.

    The folder appears whole or not at all. Quantised weights are unpacked exactly; they keep the precision that the
    file had. Raises FileNotFoundError where there is no such file and ValueError for a file that is damaged, or of an
    architecture that transformers cannot read.

    >>> convert_gguf("no-such-file.gguf", "out")
    Traceback (most recent call last):
    FileNotFoundError: There is no file 'no-such-file.gguf'; give the path of a GGUF file.
    """
    file, folder = Path(file), Path(folder)
    if not file.is_file():
        raise FileNotFoundError(f"There is no file {str(file)!r}; give the path of a GGUF file.")
    metadata = gguf_metadata(file)
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Beside its place, on the same file system, so that the last rename is atomic.
    beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        _write(file, beside, metadata)
        try:
            os.rename(beside, folder)
        except OSError:
            # Another process was first. Its folder is as good as ours.
            if not (folder / "config.json").is_file():
                raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return folder


def gguf_metadata(file: Path) -> dict[str, Any]:
    """The metadata of a GGUF file that conversion needs, by key. Raises ValueError for a damaged file."""
    from gguf import GGUFReader

    wanted = ("general.", "tokenizer.chat_template", "tokenizer.ggml.pre", "tokenizer.ggml.model")
    ids = ("bos_token_id", "eos_token_id", "unknown_token_id", "padding_token_id")
    try:
        fields = GGUFReader(file).fields
        chosen = [k for k in fields if k.startswith(wanted) or k.rpartition(".")[2] in ids]
        return {key: fields[key].contents() for key in chosen}
    except (ValueError, IndexError, KeyError, OSError, UnicodeDecodeError, OverflowError, MemoryError) as error:
        raise ValueError(
            f"{file.name} is no whole GGUF file ({_first_line(error)}); download it again, or give another file."
        ) from error


def _write(file: Path, folder: Path, metadata: dict[str, Any]) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    from srm_utils.models.quiet import quiet

    try:
        # Its bars ignore what transformers is told about bars.
        with quiet(), contextlib.redirect_stderr(io.StringIO()):
            model = AutoModelForCausalLM.from_pretrained(
                file.parent,
                gguf_file=file.name,
                trust_remote_code=False,
                dtype=torch.float32,
                # Without it the weights stay packed and cannot be saved.
                quantization_config=GgufConfig(dequantize=True),
            )
            tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name, trust_remote_code=False)
    except (ValueError, KeyError, OSError, NotImplementedError, RuntimeError, IndexError) as error:
        kind = metadata.get("general.architecture", "unknown")
        raise ValueError(
            f"{file.name} (architecture {kind}) cannot be read by this transformers ({_first_line(error)}); "
            "give the model's safetensors instead."
        ) from error
    if metadata.get("tokenizer.ggml.model") == "gpt2":
        cut_digits(tokenizer, str(metadata.get("tokenizer.ggml.pre", "default")), file.name)
    if template := metadata.get("tokenizer.chat_template"):
        tokenizer.chat_template = template
    model.config._name_or_path = ""
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    ends = metadata.get("tokenizer.ggml.eos_token_id")
    if ends is not None:
        model.generation_config.eos_token_id = int(ends)
    with quiet(), contextlib.redirect_stderr(io.StringIO()):
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    origin = {"file": file.name, **{k: v for k, v in metadata.items() if k.startswith("general.")}}
    (folder / "gguf.json").write_text(json.dumps(origin, indent=1, default=str) + "\n", encoding="utf-8")


def cut_digits(tokenizer: PreTrainedTokenizerFast, cut: str, name: str) -> None:
    """Make a byte-level tokenizer cut text before the merges as its GGUF file says: single digits where it says so.

    Raises ValueError for a way of cutting that is not known here: the tokens would be others than in training.
    """
    from tokenizers import pre_tokenizers

    if cut in SINGLE_DIGITS:
        backend = tokenizer.backend_tokenizer
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), backend.pre_tokenizer]
        )
    elif cut not in KNOWN_CUTS:
        raise ValueError(
            f"{name} cuts text in the way {cut!r}, which is not known here and would give other tokens than in "
            "training; give the model's safetensors with its own tokenizer."
        )


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
