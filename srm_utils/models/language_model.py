"""`LanguageModel`: tokenizer, weights and sampler in one; `load_model`: from a bundled name, a folder or the hub.

The three ways are one: each is resolved to a local folder, and the folder is loaded.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srm_utils.kernels.packed import why_not
from srm_utils.models.arithmetic import fast_dtype
from srm_utils.models.chat import Chat, find_chat, wanted_chat
from srm_utils.models.checks import check_vocabulary, check_widths, fitting, with_adapter
from srm_utils.models.quiet import quiet
from srm_utils.models.resolve import locate
from srm_utils.sampling.completion import Completion, Cost
from srm_utils.sampling.ledger import Prices, Read, prices, weights
from srm_utils.tasks.problem import Prompt

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from srm_utils.sampling.cache import PrefixStore

#: A folder with none of these has no tokenizer.
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")


@dataclass(frozen=True, slots=True)
class Scored:
    """Log-probabilities (natural, temperature 1) of a given continuation, one per token, and what they cost."""

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    cost: Cost

    @property
    def logprob(self) -> float:
        """Log-probability of the whole continuation."""
        return sum(self.logprobs)


class LanguageModel:
    """A causal language model with its tokenizer: `sample` draws continuations, `score` weighs given ones.

    `chat` says how prompts are written for it, which tokens (`end_ids`) and strings (`stop`) end an answer, and what
    ends a step. `flops_per_token` is twice the parameters a token meets: all but the input embedding, which is looked
    up and not multiplied (kaplan2020scaling, section 2.1); a tied one counts, as the output layer.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        name: str = "model",
        bits: int | None = None,
        chat: Chat | None = None,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.name = name
        self.bits = bits if bits is not None else _bits(model)
        self.chat = chat or find_chat(tokenizer, model.generation_config)
        self._prefixes: PrefixStore | None = None
        self._keepers = 0

    @property
    def prefixes(self) -> PrefixStore | None:
        """What the model has read and keeps, None outside `keeping_prefixes`."""
        return self._prefixes

    @property
    def end_ids(self) -> tuple[int, ...]:
        """The tokens that end an answer."""
        return self.chat.end_ids

    @property
    def stop(self) -> tuple[str, ...]:
        """The strings that end an answer as well."""
        return self.chat.stop or ()

    # Counted when asked, not once: a trainer may add an adapter to the model in between.

    @property
    def parameters(self) -> int:
        """Number of weights, as many as before any quantisation packed them; tied ones once."""
        return sum(weights(p) for p in self.model.parameters())

    @property
    def bytes(self) -> int:
        """Memory of parameters, buffers and quantisation constants as they lie on the device."""
        tensors = [*self.model.parameters(), *self.model.buffers()]
        for p in self.model.parameters():
            tensors += _quantisation_constants(p)
        unique = {(t.data_ptr(), t.numel()): t.numel() * t.element_size() for t in tensors}
        return sum(unique.values())

    @property
    def flops_per_token(self) -> float:
        """FLOPs to read one token and compute its logits, 2 for each weight it meets; attention comes on top."""
        return self.prices.body + self.prices.head

    @property
    def prices(self) -> Prices:
        """What the model spends on a token, on its logits, and on attention (`sampling.ledger`)."""
        return prices(self.model)

    @property
    def positions(self) -> int:
        """How many tokens the model reads at most, prompt and answer together."""
        return getattr(self.model.config.get_text_config(decoder=True), "max_position_embeddings", None) or 2**31

    @property
    def device(self) -> str:
        """Where the weights are, such as "cpu" or "cuda:0"."""
        return str(self.model.device)

    def __repr__(self) -> str:
        return (
            f"LanguageModel({self.name!r}, {self.parameters / 1e6:,.2f} M parameters, {self.bits} bits, "
            f"{self.bytes / 1e6:,.2f} MB, on {self.device})"
        )

    def render(self, prompt: Prompt | str) -> str:
        """The text the model reads: a string as it is, a `Prompt` through the chat template or as plain text.

        In a chat, examples are earlier turns and the prefill opens the answer.
        """
        if isinstance(prompt, str):
            return prompt
        return self.chat.render(prompt, self.tokenizer)

    def encode(self, prompt: Prompt | str) -> list[int]:
        """Token ids of a rendered prompt; special tokens are added unless the text already begins with them."""
        text = self.render(prompt)
        opened = isinstance(prompt, Prompt) and self.chat.template
        opened = opened or bool(self.tokenizer.bos_token and text.startswith(self.tokenizer.bos_token))
        ids = self.tokenizer(text, add_special_tokens=not opened)["input_ids"]
        # Some tokenizers close every text; an answer cannot follow an end token.
        return ids[:-1] if len(ids) > 1 and not opened and ids[-1] == self.tokenizer.eos_token_id else ids

    def sample(
        self,
        prompts: Sequence[Prompt | str],
        n: int | Sequence[int] = 1,
        max_new_tokens: int | Sequence[int] = 256,
        temperature: float | Sequence[float] = 1.0,
        top_p: float = 1.0,
        top_k: int = 0,
        stop: Sequence[str] = (),
        seed: int | Sequence[int] = 0,
        progress: bool = False,
        *,
        pause_strings: Sequence[str] = (),
        pause: Callable[[str], str | None] | Sequence[Callable[[str], str | None]] | None = None,
        max_batch: int | None = None,
    ) -> list[list[Completion]]:
        """Draw `n` completions of each prompt; the same seed gives the same ones however they are batched.

        `stop` strings end a completion beside the model's own `stop`. `n`, `max_new_tokens`, `temperature` and
        `seed` are one number or one a prompt. `temperature=0` takes the likeliest token. When a completion ends in
        one of `pause_strings`, `pause(text so far)` (one function or one a prompt) may return text (a tool's reply)
        to read before going on.
        A prompt that is too long for the model gets empty completions and a warning.
        Raises ValueError for settings that mean nothing, and where every prompt is too long.
        """
        from srm_utils.sampling.engine import sample_tokens

        drawn = sample_tokens(
            self.model,
            self.tokenizer,
            [self.encode(p) for p in _listed(prompts)],
            n,
            max_new_tokens,
            temperature=temperature,
            top_p=top_p,
            top_k=top_k,
            end_ids=self.end_ids,
            stop=(*self.stop, *stop),
            pause_strings=pause_strings,
            pause=pause,
            seed=seed,
            max_batch=max_batch,
            model_bytes=self.bytes,
            progress=progress,
            prefixes=self._prefixes,
        )
        if self.chat.tags is None:
            return drawn
        # A prompt may end inside a thought. The answer then shows its opening tag, so that a reader knows.
        opened = [self.chat.thinks(self.render(p)) for p in prompts]
        tag = self.chat.tags[0]
        return [
            [replace(c, text=f"{tag}\n{c.text}") for c in group] if thinks else group
            for group, thinks in zip(drawn, opened, strict=True)
        ]

    def begun(self, prompt: Prompt | str, text: str) -> str:
        """The prompt as the model reads it, with the beginning of an answer behind it, to be gone on from."""
        return self.chat.begun(self.render(prompt), text)

    def score(self, prompts: Sequence[Prompt | str], completions: Sequence[str | Sequence[int]]) -> list[Scored]:
        """Log-probabilities of one completion a prompt, given as text or as token ids.

        Token ids (`Completion.token_ids`) are weighed exactly as they were drawn; text is tokenised as what
        follows the prompt's tokens. Raises ValueError where the two lists differ in length.
        """
        from srm_utils.sampling.engine import sampling_mode
        from srm_utils.sampling.scoring import score_tokens
        from srm_utils.sampling.text import ContinuationTokenizer

        prompts = _listed(prompts)
        if len(prompts) != len(completions):
            raise ValueError(
                f"There are {len(prompts)} prompts and {len(completions)} completions; score one completion a prompt."
            )
        asked = [self.encode(p) for p in prompts]
        said = [
            ContinuationTokenizer(self.tokenizer, ids).encode(c) if isinstance(c, str) else list(c)
            for ids, c in zip(asked, completions, strict=True)
        ]
        if any(not ids for ids in asked):
            raise ValueError("A prompt has no tokens; give the model at least one to continue from.")
        began = time.perf_counter()
        with sampling_mode(self.model):
            logprobs = score_tokens(self.model, asked, said, self._prefixes)
        seconds = time.perf_counter() - began
        texts = [(*prompt, *ids[:-1]) if ids else () for prompt, ids in zip(asked, said, strict=True)]
        costs = self._reading_costs(texts, [len(ids) for ids in said])
        share = seconds / max(1.0, sum(cost.scored_tokens for cost in costs))
        costs = [replace(cost, seconds=share * cost.scored_tokens, peak_bytes=self.bytes) for cost in costs]
        return [Scored(tuple(c), each, cost) for c, each, cost in zip(said, logprobs, costs, strict=True)]

    def _reading_costs(self, texts: Sequence[tuple[int, ...]], wanted: Sequence[int]) -> list[Cost]:
        charged = self.prices
        return [self.reading_cost(text, n, charged) if n else Cost() for text, n in zip(texts, wanted, strict=True)]

    def read(self, texts: Sequence[Sequence[int]], wanted: Sequence[int]) -> tuple[list[torch.Tensor], list[Cost]]:
        """Logits [tokens asked for, vocabulary] behind the last tokens of texts, and what reading each cost.

        Args:
            texts: token ids, at least one each.
            wanted: how many of each text's last tokens are asked for, at least one.
        """

        from srm_utils.sampling.engine import sampling_mode
        from srm_utils.sampling.scoring import read_logits

        asked = [tuple(text) for text in texts]
        most: dict[tuple[int, ...], int] = {}
        for text, count in zip(asked, wanted, strict=True):
            most[text] = max(most.get(text, 0), count)
        found: dict[tuple[int, ...], torch.Tensor] = {}
        with sampling_mode(self.model):
            for batch, logits in read_logits(self.model, most, self._prefixes):
                found |= dict(zip(batch, logits.split([most[text] for text in batch]), strict=True))
        rows = [found[text][-count:] for text, count in zip(asked, wanted, strict=True)]
        return rows, self._reading_costs(asked, wanted)

    def reading_cost(self, ids: Sequence[int], logits: int = 0, charged: Prices | None = None) -> Cost:
        """What it costs to read a text from its beginning, with the logits of its last `logits` tokens.

        Args:
            ids: token ids.
            logits: how many of the last tokens are asked for their logits.
            charged: the model's `prices`, where they are at hand.
        """
        charged = self.prices if charged is None else charged
        read = Read(id(self.model), charged, (tuple(ids),), logits=logits)
        return Cost(scored_tokens=len(ids), flops=charged.reading(0, len(ids), logits), reads=(read,))

    @contextmanager
    def keeping_prefixes(self, most_bytes: int | None = None) -> Iterator[PrefixStore]:
        """Keep what the model reads and writes within: of a text that begins the same, only what follows is read.

        Results are the same up to rounding, and so are the costs; the store counts what was really `read` and what
        `reused`. An inner context uses the store of the outer one. The store ends with the outermost, and forgets
        everything where the weights change meanwhile. `most_bytes` bounds it.
        """
        from srm_utils.sampling.cache import PrefixStore

        if self._prefixes is None:
            self._prefixes = PrefixStore(most_bytes)
        store, self._keepers = self._prefixes, self._keepers + 1
        try:
            yield store
        finally:
            self._keepers -= 1
            if not self._keepers:
                self._prefixes = None
                store.clear()


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


def _listed(prompts: Sequence[Prompt | str]) -> Sequence[Prompt | str]:
    if isinstance(prompts, str | Prompt):
        raise ValueError("prompts is one prompt; put it in a list: [prompt].")
    return prompts


def _quantisation_constants(parameter: Any) -> list[Any]:
    """Scales that belong to a quantised parameter but are no parameters themselves."""
    import torch

    state = getattr(parameter, "quant_state", None)
    nested = getattr(state, "state2", None)
    found = [getattr(s, key, None) for s in (state, nested) for key in ("absmax", "code", "offset")]
    found.append(getattr(parameter, "SCB", None))
    return [t for t in found if isinstance(t, torch.Tensor)]


def _bits(model: PreTrainedModel) -> int:
    if getattr(model, "is_loaded_in_4bit", False):
        return 4
    if getattr(model, "is_loaded_in_8bit", False):
        return 8
    return 8 * model.dtype.itemsize


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
