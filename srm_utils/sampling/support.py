"""Which models the batched sampler can drive: found from the configuration and by trying."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch
from transformers.cache_utils import DynamicCache

from srm_utils.sampling.attention import decode, prefill, text_config
from srm_utils.sampling.cache import PrefixStore
from srm_utils.sampling.reading import read
from srm_utils.sampling.rows import Prefix, Rows
from srm_utils.sampling.samples import Sample

if TYPE_CHECKING:
    from transformers import PreTrainedModel

#: Kinds of layers that the engine knows; a sliding one sees a window of the text.
KNOWN_LAYERS = {"full_attention", "sliding_attention"}
#: The window of sliding layers during the trial, so that its short texts are longer than the window.
TRIAL_WINDOW = 3

_RESUMES: WeakKeyDictionary[torch.nn.Module, bool] = WeakKeyDictionary()
_UNSUPPORTED: WeakKeyDictionary[torch.nn.Module, str] = WeakKeyDictionary()


def why_unsupported(model: PreTrainedModel) -> str:
    """Why the engine cannot drive a model ("" if it can): found from its configuration and by trying.

    The trial decodes two short rows of unequal length and compares with a plain forward pass, so an
    architecture that ignores positions or masks is caught whatever it is called. A model in low precision is compared
    with the library's cached decoding instead: LLM.int8 alone moves that away from the full pass by half a standard
    deviation of the logits.
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
        with _short_window(model) as sliding:
            tails = [tail[:2] for tail in tails] if exact and not sliding else tails
            ours = _decoded(model, prompts, tails, together=exact)
            wanted = _plain(model, prompts, tails) if exact else _cached(model, prompts, tails)
            # [steps, rows], in standard deviations of a step's logits.
            apart = torch.stack(
                [(a - b).abs().amax(1) / b.std(1).clamp(min=1e-6) for a, b in zip(ours, wanted, strict=True)]
            )
            # A wrong position or mask shows at every step. A threshold that rounding crosses shows at a few.
            worst = apart.max() if exact else apart.median(0).values.max()
            if not worst <= loose:
                return "decoding it step by step does not give the logits of its full forward pass"
    except torch.cuda.OutOfMemoryError:
        raise
    except Exception as error:  # an architecture we do not know can fail in any way
        return f"decoding it step by step fails ({type(error).__name__})"
    return ""


def usable(model: PreTrainedModel, store: PrefixStore | None) -> PrefixStore | None:
    """A store that is up to date with the model's weights; None where there is none or the model cannot use it."""
    if store is None or not resumes(model):
        return None
    store.refresh(model)
    return store


def resumes(model: PreTrainedModel) -> bool:
    """Whether the model can go on from stored keys and values: found from its configuration and by trying.

    Keys whose rotation depends on the length of the text are true for that length only.
    """
    if model not in _RESUMES:
        _RESUMES[model] = not why_unsupported(model) and not _rotates_by_length(model) and _resumes_truly(model)
    return _RESUMES[model]


def _rotates_by_length(model: PreTrainedModel) -> bool:
    rope = getattr(text_config(model), "rope_parameters", None) or {}
    kinds = [rope, *(kind for kind in rope.values() if isinstance(kind, dict))]
    return any(kind.get("rope_type") in ("dynamic", "longrope") for kind in kinds)


def _resumes_truly(model: PreTrainedModel) -> bool:
    """Two texts read in two parts over a store give the logits that they give without it.

    In low precision the library's own cache reads the same parts, for a layer that quantises what it reads chooses by
    all of a pass which features to keep exact.
    """
    vocabulary = model.get_input_embeddings().weight.shape[0]
    generator = torch.Generator().manual_seed(1)
    first, second = torch.randint(vocabulary, (2, 9), generator=generator).tolist()
    texts, begun, wanted = [tuple(first), tuple(second[:7])], [6, 2], [2, 3]
    store = PrefixStore(2**30)
    exact = model.dtype == torch.float32 and not getattr(model, "is_quantized", False)
    try:
        with _short_window(model):
            if exact:
                read(model, [text[:start] for text, start in zip(texts, begun, strict=True)], [1, 1], store)
                (_, ours), (_, truly) = (read(model, texts, wanted, kept) for kept in (store, None))
            else:
                for text, start in zip(texts, begun, strict=True):
                    read(model, [text[:start]], [1], store)
                ours = torch.cat([read(model, [text], [n], store)[1] for text, n in zip(texts, wanted, strict=True)])
                truly = torch.cat(
                    [_in_parts(model, text, start)[-n:] for text, start, n in zip(texts, begun, wanted, strict=True)]
                )
        apart = (ours - truly).float().abs().amax(1) / truly.float().std(1).clamp(min=1e-6)
        return bool(apart.max() <= 1e-3 if exact else apart.median() <= 0.25)
    except torch.cuda.OutOfMemoryError:
        raise
    except Exception:  # an architecture we do not know can fail in any way
        return False


def _in_parts(model: PreTrainedModel, text: tuple[int, ...], start: int) -> torch.Tensor:
    """Logits [tokens from `start` on, vocabulary] by the library's own cache, which has read what stands before."""
    cache, device = DynamicCache(), model.device
    model(input_ids=torch.tensor([text[:start]], device=device), past_key_values=cache, use_cache=True)
    return model(input_ids=torch.tensor([text[start:]], device=device), past_key_values=cache, use_cache=True).logits[0]


def has_windows(model: PreTrainedModel) -> bool:
    """Whether some layers of a model see a sliding window of the text."""
    config = text_config(model)
    layers = DynamicCache(config=config).layers
    return getattr(config, "sliding_window", None) is not None and any(layer.is_sliding for layer in layers)


@contextmanager
def _short_window(model: PreTrainedModel) -> Iterator[bool]:
    """Sliding windows shorter than the trial's texts, for a while; gives whether the model has any."""
    if not has_windows(model):
        yield False
        return
    config = text_config(model)
    window = config.sliding_window
    config.sliding_window = min(window, TRIAL_WINDOW)
    try:
        yield True
    finally:
        config.sliding_window = window


def _decoded(
    model: PreTrainedModel, prompts: list[list[int]], tails: list[list[int]], together: bool
) -> list[torch.Tensor]:
    """Logits [2, vocabulary] after the prompts and after each further token, by the engine.

    The prompts are prefilled `together` or each alone. Layers that quantise what they read may choose by the whole
    batch which features to keep exact, and padding is part of that batch.
    """
    rows = Rows(2, max(map(len, prompts)), 1, prefill(model, prompts)[0], model.device)
    first = []
    for batch in [[0, 1]] if together else [[0], [1]]:
        cache, logits = prefill(model, [prompts[i] for i in batch])
        samples = [Sample(i, 0.0, len(tails[i]), len(tails[i]), 0) for i in batch]
        rows.admit([(s, Prefix(deque(), cache, logits, r, len(prompts[s.prompt]))) for r, s in enumerate(samples)])
        first.append(logits)
    found = [torch.cat(first)]
    for tokens in zip(*tails, strict=True):
        rows.next_token[:2] = tokens
        found.append(decode(model, rows))
    return found


def _plain(model: PreTrainedModel, prompts: list[list[int]], tails: list[list[int]]) -> list[torch.Tensor]:
    """The same by full forward passes, each row alone."""
    rows = []
    for prompt, tail in zip(prompts, tails, strict=True):
        ids = torch.tensor([prompt + tail], device=model.device)
        rows.append(model(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 :].float())
    return list(torch.stack(rows, 1))


def _cached(model: PreTrainedModel, prompts: list[list[int]], tails: list[list[int]]) -> list[torch.Tensor]:
    """The same by the library's own cache: the prompts each alone, then both rows together, padded on the left."""
    width, device = max(map(len, prompts)), model.device
    caches, first = [], []
    for prompt in prompts:
        caches.append(DynamicCache())
        out = model(input_ids=torch.tensor([prompt], device=device), past_key_values=caches[-1], use_cache=True)
        first.append(out.logits[:, -1])
    pads = [width - len(prompt) for prompt in prompts]
    layers = [
        tuple(
            torch.cat([torch.nn.functional.pad(x, (0, 0, pad, 0)) for x, pad in zip(both, pads, strict=True)])
            for both in zip(*((layer.keys, layer.values) for layer in of_rows), strict=True)
        )
        for of_rows in zip(*(cache.layers for cache in caches), strict=True)
    ]
    cache, found = DynamicCache(layers), [torch.cat(first).float()]
    mask = torch.tensor([[0] * pad + [1] * (width - pad) for pad in pads], device=device)
    for step, tokens in enumerate(zip(*tails, strict=True)):
        mask = torch.nn.functional.pad(mask, (0, 1), value=1)
        out = model(
            input_ids=torch.tensor(tokens, device=device)[:, None],
            attention_mask=mask,
            position_ids=torch.tensor([[len(prompt) + step] for prompt in prompts], device=device),
            past_key_values=cache,
            use_cache=True,
        )
        found.append(out.logits[:, -1].float())
    return found
