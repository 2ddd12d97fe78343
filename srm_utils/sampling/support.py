"""Which models the batched sampler can drive: found from the configuration and by trying."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from transformers.cache_utils import DynamicCache

from srm_utils.sampling.attention import decode, prefill, text_config
from srm_utils.sampling.rows import Prefix, Rows
from srm_utils.sampling.samples import Sample

if TYPE_CHECKING:
    from transformers import PreTrainedModel

#: Kinds of layers that the engine knows; a sliding one sees a window of the text.
KNOWN_LAYERS = {"full_attention", "sliding_attention"}
#: The window of sliding layers during the trial, so that its short texts are longer than the window.
TRIAL_WINDOW = 3

_UNSUPPORTED: WeakKeyDictionary[torch.nn.Module, str] = WeakKeyDictionary()


def why_unsupported(model: PreTrainedModel) -> str:
    """Why the engine cannot drive a model ("" if it can): found from its configuration and by trying.

    The trial decodes two short rows of unequal length and compares with a plain forward pass, so an
    architecture that ignores positions or masks is caught whatever it is called. A model in low precision is compared
    with its own cached decoding instead: rounding alone moves that away from the full pass, and for LLM.int8 a lot.
    """
    if model not in _UNSUPPORTED:
        _UNSUPPORTED[model] = _configuration_problem(model) or _trial_problem(model)
    return _UNSUPPORTED[model]


def _configuration_problem(model: PreTrainedModel) -> str:
    if getattr(model.config, "is_encoder_decoder", False):
        return "it is an encoder-decoder"
    config = text_config(model)
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    if not kinds <= KNOWN_LAYERS:
        return f"it has layers other than full or sliding attention ({', '.join(sorted(kinds - KNOWN_LAYERS))})"
    if getattr(config, "_attn_implementation", None) not in ("sdpa", "eager"):
        return f"its attention runs on {getattr(config, '_attn_implementation', None)!r}, not on sdpa or eager"
    return ""


def _trial_problem(model: PreTrainedModel) -> str:
    vocabulary = model.get_input_embeddings().weight.shape[0]
    generator = torch.Generator().manual_seed(0)
    texts = torch.randint(vocabulary, (2, 9), generator=generator).tolist()
    prompts, tails = [texts[0][:5], texts[1][:3]], [texts[0][5:9], texts[1][3:7]]
    exact = model.dtype == torch.float32 and not getattr(model, "is_quantized", False)
    loose = 1e-3 if exact else 0.25
    try:
        with _short_window(text_config(model)) as sliding:
            steps = 4 if sliding else 2
            cache, logits = prefill(model, prompts)
            rows = Rows(2, 5, 1, cache, model.device)
            rows.admit([(Sample(i, 0.0, 4, 4, 0), Prefix(deque(), cache, logits, i, len(prompts[i]))) for i in (0, 1)])
            ours = [logits]
            for step in range(steps):
                rows.next_token[:2] = [tail[step] for tail in tails]
                ours.append(decode(model, rows))
            for row in range(2):
                wanted = (_plain if exact else _cached)(model, prompts[row], tails[row][:steps])
                found = torch.stack([step[row] for step in ours])
                if (found - wanted).abs().max() > loose * wanted.std().clamp(min=1e-6) + 1e-5:
                    return "decoding it step by step does not give the logits of its full forward pass"
    except torch.cuda.OutOfMemoryError:
        raise
    except Exception as error:  # an architecture we do not know can fail in any way
        return f"decoding it step by step fails ({type(error).__name__})"
    return ""


@contextmanager
def _short_window(config: Any) -> Iterator[bool]:
    """Sliding windows shorter than the trial's texts, for a while; gives whether the model has any."""
    window = getattr(config, "sliding_window", None)
    sliding = window is not None and any(layer.is_sliding for layer in DynamicCache(config=config).layers)
    if not sliding:
        yield False
        return
    config.sliding_window = min(window, TRIAL_WINDOW)
    try:
        yield True
    finally:
        config.sliding_window = window


def _plain(model: PreTrainedModel, prompt: list[int], tail: list[int]) -> torch.Tensor:
    """Logits after the prompt and after each further token, from one full forward pass."""
    ids = torch.tensor([prompt + tail], device=model.device)
    return model(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 :].float()


def _cached(model: PreTrainedModel, prompt: list[int], tail: list[int]) -> torch.Tensor:
    """The same, token by token through the library's own cache."""
    cache, logits = DynamicCache(config=model.config), []
    for ids in (prompt, *([token] for token in tail)):
        out = model(input_ids=torch.tensor([ids], device=model.device), past_key_values=cache, use_cache=True)
        logits.append(out.logits[0, -1].float())
    return torch.stack(logits)
