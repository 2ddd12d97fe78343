"""What is checked while a model is loaded, so that nothing that does not fit together is run."""

from __future__ import annotations

import copy
import json
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

#: How architectures name the embedding of the text's tokens.
_EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "embed_in.weight", "word_embeddings.weight", "embeddings.weight")
#: Tokens that stand for something else than text. A text model may lack their embedding: they occur in no text.
_NO_TEXT = re.compile("image|audio|video|vision", re.IGNORECASE)


@contextmanager
def fitting(folder: Path, config: Any, name: str) -> Iterator[None]:
    """Turn transformers' complaint about weights of other sizes than the configuration's into one sentence.

    `folder` holds the weights and `config` is what its config.json says. Raises ValueError.

    >>> with fitting(Path("."), None, "some model"):
    ...     pass
    """
    try:
        yield
    except RuntimeError as error:
        if "mismatched_sizes" not in str(error):
            raise
        rows, vocabulary = _embedding_rows(folder), config.get_text_config().vocab_size
        detail = f" (vocab_size is {vocabulary}, and the embedding has {rows} rows)" if rows != vocabulary else ""
        raise ValueError(
            f"The weights of {name!r} are of other sizes than its config.json says{detail}; copy both again from one "
            "source."
        ) from error


def check_vocabulary(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path, name: str) -> None:
    """Raise ValueError if the tokenizer of a folder can give a token that the model's embedding has no row for.

    Placeholders of images, sounds and films are let pass: text models that descend from multimodal ones keep them in
    their tokenizers. So are tokens that no file of the folder names: transformers adds those that its tokenizer
    classes have by default.
    """
    rows = model.get_input_embeddings().weight.shape[0]
    beyond = {i: token for token, i in tokenizer.get_vocab().items() if i >= rows}
    if not beyond:
        return
    special = set(tokenizer.all_special_tokens)
    written = "".join(file.read_text(encoding="utf-8") for file in folder.glob("*.json"))
    missing = {
        i: token
        for i, token in beyond.items()
        if not _NO_TEXT.search(token) and (token not in special or any(s in written for s in _spellings(token)))
    }
    if missing:
        first = min(missing)
        raise ValueError(
            f"The tokenizer of {name!r} has {len(missing)} token{'s' * (len(missing) > 1)} more than the model's "
            f"{rows} embeddings (the first is {missing[first]!r}, number {first}); use the tokenizer that belongs to "
            "the model, or call resize_token_embeddings and save the model again."
        )


def _spellings(token: str) -> set[str]:
    """How a JSON file may write a token."""
    return {json.dumps(token), json.dumps(token, ensure_ascii=False)}


def with_adapter(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """The model with the LoRA adapter of a folder on top.

    Raises FileNotFoundError where there is none, and ValueError if its weights are not exactly those that its
    configuration calls for on this model: PEFT leaves out what it does not know, and what is missing stays untrained.
    """
    from peft import PeftModel
    from safetensors import SafetensorError

    if not (folder / "adapter_config.json").is_file():
        raise FileNotFoundError(f"There is no LoRA adapter in {str(folder)!r}; give one with adapter_config.json.")
    if not any((folder / file).is_file() for file in ("adapter_model.safetensors", "adapter_model.bin")):
        raise FileNotFoundError(
            f"The adapter in {str(folder)!r} has no weights; copy adapter_model.safetensors beside its configuration."
        )
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Found missing adapter keys")
            adapted = PeftModel.from_pretrained(model, folder)
        # A second time, for what was missing and left over: the first call does not say.
        result = adapted.load_adapter(folder, adapted.active_adapter)
    except (RuntimeError, ValueError, TypeError, KeyError, SafetensorError) as error:
        raise ValueError(
            f"The adapter in {str(folder)!r} does not fit this model ({_first_line(error)}); load it on the model that "
            "it was trained on."
        ) from error
    for keys, what in ((result.missing_keys, "lacks"), (result.unexpected_keys, "has weights this model knows no")):
        if keys:
            place = f"{what} {len(keys)} of its weights" if what == "lacks" else f"{what} place for, {len(keys)} in all"
            raise ValueError(
                f"The adapter in {str(folder)!r} {place} (the first is {sorted(keys)[0]}); copy it again, or load it "
                "on the model that it was trained on."
            )
    return adapted


def check_widths(model: PreTrainedModel, name: str, unpacks: Callable[[int], bool] | None = None) -> None:
    """Raise ValueError if this processor unpacks 4-bit layers of one of the model's widths wrongly, without an error.

    `unpacks(width)` says whether a small layer of so many inputs computes what its packed weights say; by default it
    is tried.
    """
    from bitsandbytes.nn import Linear4bit

    widths = sorted({m.in_features for m in model.modules() if isinstance(m, Linear4bit)})
    wrong = [width for width in widths if not (unpacks or unpacks_rightly)(width)]
    if wrong:
        raise ValueError(
            f"{name!r} has layers {wrong[0]} wide, which bitsandbytes unpacks wrongly from 4 bits on this processor; "
            "use bits=8 or bits=16, or a GPU."
        )


def unpacks_rightly(width: int) -> bool:
    """Whether a small 4-bit layer with `width` inputs computes on this CPU what its packed weights say.

    The same packed weights are unpacked as rows of 64, one block of constants each, which is the plain case.

    >>> unpacks_rightly(64)
    True
    """
    import torch
    from bitsandbytes.functional import dequantize_4bit
    from bitsandbytes.nn import Linear4bit

    outputs = 64
    layer = Linear4bit(width, outputs, bias=False, quant_type="nf4", compute_dtype=torch.float32)
    weights = torch.linspace(-1, 1, outputs * width).view(outputs, width).sin_()
    layer.load_state_dict({"weight": weights[torch.randperm(outputs, generator=torch.Generator().manual_seed(0))]})
    layer = layer.to("cpu")
    layer.support_avx512bf16_for_cpu = False
    state = copy.copy(layer.weight.quant_state)
    state.shape = torch.Size((outputs * width // 64, 64))
    plain = dequantize_4bit(layer.weight.data.view(-1, 1), state).float().view(outputs, width)
    with torch.no_grad():
        # One text at a time and many go through different code.
        found = layer(torch.eye(width)).T, torch.stack([layer(row[None])[0] for row in torch.eye(width)[:2]], 1)
    return bool(torch.allclose(found[0], plain, atol=1e-3) and torch.allclose(found[1], plain[:, :2], atol=1e-3))


def _embedding_rows(folder: Path) -> int | None:
    """Rows of the token embedding in a folder's safetensors files, None where none has a known name."""
    from safetensors import safe_open

    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as weights:
            for key in weights.keys():
                if key.endswith(_EMBEDDINGS) and not _NO_TEXT.search(key):
                    return int(weights.get_slice(key).get_shape()[0])
    return None


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
