"""`load_model`: from a name, a folder, a GGUF file or a hub id to a model with its tokenizer and its chat."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srm_utils.kernels.packed import why_not
from srm_utils.models.arithmetic import fast_dtype
from srm_utils.models.chat import Chat, find_chat, wanted_chat
from srm_utils.models.checks import check_vocabulary, check_widths, fitting, with_adapter
from srm_utils.models.language_model import LanguageModel
from srm_utils.models.quiet import quiet
from srm_utils.models.resolve import locate

if TYPE_CHECKING:
    from transformers import PreTrainedModel


#: A folder with none of these has no tokenizer.
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")


def load_model(
    name_or_path: str | os.PathLike[str],
    bits: int = 16,
    device: str = "auto",
    adapter: str | os.PathLike[str] | None = None,
    threads: int | None = None,
    chat: Chat | Mapping[str, Any] | None = None,
    merge: bool = False,
    kernels: str | None = None,
) -> LanguageModel:
    """Load a model by name (`srm models` lists them), a local folder, a GGUF file, or a hub id, with its tokenizer.

    `bits` 32 is float32; 16 is bfloat16 on a GPU that has it and float32 on a CPU, where bfloat16 is slower; 8 is
    LLM.int8 (dettmers2022llmint8); 4 is NF4 with double quantisation (dettmers2023qlora). `device` is
    "auto" (a GPU if there is one), "cpu" or "cuda". `adapter` is a folder with a LoRA adapter to put on
    top; a name or folder that is an adapter brings its own model. `merge` adds the adapter to the weights.
    `threads` sets torch's threads for the whole process. `chat` says how the model is spoken to, in place of
    what is found: a whole `Chat`, or single fields of it such as {"system": "Be brief."}. A download is
    announced first and never tried when HF_HUB_OFFLINE is set. `kernels` "triton" multiplies by 4-bit weights with
    the kernels of `srm_utils.kernels` in place of bitsandbytes' own; the weights are the same. Every failure is a
    ValueError, FileNotFoundError, RuntimeError or ConnectionError of one sentence that says what to do.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

    if bits not in (4, 8, 16, 32):
        raise ValueError(f"bits is {bits}; choose 4, 8, 16 or 32.")
    if threads is not None:
        torch.set_num_threads(threads)
    where = _device(device)
    _check_kernels(kernels, bits, where)
    name = os.fspath(name_or_path)
    located = locate(name)
    folder = located.folder
    if adapter is not None and located.adapter is not None:
        raise ValueError(f"{name!r} is an adapter itself; name the model under it, or leave adapter out.")
    on_top = Path(os.fspath(adapter)) if adapter is not None else located.adapter
    if merge and bits < 16:
        raise ValueError(f"An adapter cannot be merged into weights of {bits} bits; use bits=16 or leave merge out.")
    _check_weights(folder, name)
    try:
        # False, not left out: transformers would ask on the terminal whether to run code from the folder.
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (ValueError, OSError, KeyError) as error:
        if "custom code" in str(error):
            raise ValueError(
                f"{name!r} needs Python code of its own, which is never run; choose a model whose architecture is part "
                "of transformers."
            ) from error
        raise ValueError(
            f"{name!r} has no configuration that this transformers can read ({_first_line(error)}); "
            "check config.json or upgrade transformers."
        ) from error
    _check_causal(config, name)
    half = fast_dtype(where) if where.startswith("cuda") else torch.float32
    dtype = half if bits == 16 else torch.float32
    if bits == 4:
        quantisation = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=half,
        )
        dtype = half
    else:
        quantisation = BitsAndBytesConfig(load_in_8bit=True) if bits == 8 else None
    with quiet(), fitting(folder, config, name):
        model, info = AutoModelForCausalLM.from_pretrained(
            folder,
            config=config,
            dtype=dtype,
            quantization_config=quantisation,
            device_map={"": where},
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
        if bits == 4 and where == "cpu":
            check_widths(model, name)
        if info["missing_keys"]:
            missing = sorted(info["missing_keys"])
            raise ValueError(
                f"{name!r} lacks {len(missing)} of its weights (the first is {missing[0]}) and is no whole causal "
                "language model; copy or download it again, or choose another."
            )
        # Without its files, transformers would make an empty tokenizer and say nothing.
        if not any((folder / f).is_file() for f in TOKENIZER_FILES):
            raise FileNotFoundError(f"{name!r} has no tokenizer; save it beside the weights with save_pretrained.")
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        except (ValueError, OSError, KeyError) as error:
            raise ValueError(
                f"The tokenizer of {name!r} cannot be read ({_first_line(error)}); save it again beside the weights."
            ) from error
        check_vocabulary(model, tokenizer, folder, name)
        _keep_packing(model)
        if kernels is not None:
            from srm_utils.kernels.linear import use_kernels

            use_kernels(model)
        if on_top is not None:
            if (on_top / "chat_template.jinja").is_file():
                tokenizer.chat_template = (on_top / "chat_template.jinja").read_text(encoding="utf-8")
            model = with_adapter(model, on_top)
            if merge:
                model = model.merge_and_unload()
    about = (tokenizer, model.generation_config, on_top or folder)
    spoken = find_chat(*about) if chat is None else wanted_chat(chat, *about)
    shown = 32 if bits == 16 and dtype == torch.float32 else bits
    return LanguageModel(model.eval(), tokenizer, name, shown, spoken)


# ---------------------------------------------------------------- what is checked on loading


def _check_weights(folder: Path, name: str) -> None:
    """Raise unless the folder holds whole safetensors files."""
    from safetensors import SafetensorError, safe_open

    if not (folder / "config.json").is_file():
        raise FileNotFoundError(f"{name!r} has no config.json; give a folder saved with save_pretrained.")
    files = sorted(folder.glob("model*.safetensors"))
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        files = sorted({folder / f for f in json.loads(index.read_text())["weight_map"].values()})
    if not files:
        raise FileNotFoundError(f"{name!r} has no weights in safetensors; save or convert it with save_pretrained.")
    for file in files:
        if not file.is_file():
            raise FileNotFoundError(f"{name!r} lacks its weight file {file.name}; copy or download it again.")
        try:
            with safe_open(file, framework="pt") as opened:
                opened.keys()
        except (SafetensorError, OSError) as error:
            raise ValueError(
                f"The weight file {file.name} of {name!r} is damaged or cut short; copy or download it again."
            ) from error


def _check_causal(config: Any, name: str) -> None:
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    made_for = getattr(config, "architectures", None) or []
    endings = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
    causal = not made_for or any(a.endswith(endings) for a in made_for)
    if not causal or type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise ValueError(
            f"{name!r} is a {made_for[0] if made_for else config.model_type} and not a causal language model; "
            "choose one whose architecture ends in ForCausalLM."
        )


def _device(device: str) -> str:
    import torch

    if device == "auto":
        return "cuda:0" if torch.cuda.is_available() else "cpu"
    if device == "cuda":
        device = "cuda:0"
    if device.startswith("cuda:"):
        if not torch.cuda.is_available():
            raise RuntimeError("You asked for a GPU but torch sees none; use device='cpu' or device='auto'.")
        if not device[5:].isdigit() or int(device[5:]) >= torch.cuda.device_count():
            raise ValueError(f"There is no device {device!r}; this machine has {torch.cuda.device_count()} GPU(s).")
    elif device != "cpu":
        raise ValueError(f"There is no device {device!r}; choose 'auto', 'cpu' or 'cuda'.")
    return device


def _check_kernels(kernels: str | None, bits: int, device: str) -> None:
    """Raise unless the kernels that were asked for are known and run on the device."""
    if kernels is None:
        return
    if kernels != "triton":
        raise ValueError(f"There are no kernels {kernels!r}; choose 'triton' or leave kernels out.")
    if bits != 4:
        raise ValueError(f"The kernels multiply by weights of 4 bits, and bits is {bits}; use bits=4.")
    if reason := why_not(device):
        raise RuntimeError(reason)


def _keep_packing(model: PreTrainedModel) -> None:
    """Forbid bitsandbytes to repack 4-bit weights for AVX512-BF16 at the first evaluation on a CPU.

    Repacked layers no longer pass gradients on (a QLoRA run that samples would learn nothing below them,
    without an error), lose the double quantisation, and give other numbers on other processors.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


# ---------------------------------------------------------------- small helpers


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
