"""The batched sampler: prefixes shared, finished rows gone at once, every sample on its own seeded stream.

One decode step costs a forward pass over the live rows and little else:

- Each distinct prompt is prefilled once, and all its samples read the same keys and values (`rows`).
- Rows are left-aligned in a preallocated cache and each writes at its own position, so that a freed
  row is filled from the tail of the batch, or by another sample, without touching the others.
- The random number of a draw is a function of (seed, prompt tokens, sample index, step) alone, so a
  sample does not depend on what else was in the batch (`choice`).
"""

from __future__ import annotations

import math
import time
import warnings
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from srm_utils.sampling.attention import decode, prefill, text_config
from srm_utils.sampling.cache import PrefixStore
from srm_utils.sampling.choice import choose, stream_key, uniforms
from srm_utils.sampling.completion import Completion, Cost
from srm_utils.sampling.fallback import draw_samples
from srm_utils.sampling.ledger import Prices, Read, prices
from srm_utils.sampling.reading import Room, begun_alike, read_shared_beginnings
from srm_utils.sampling.rows import Prefix, Rows
from srm_utils.sampling.samples import Pause, Sample, append
from srm_utils.sampling.support import usable, why_unsupported
from srm_utils.sampling.text import ContinuationTokenizer, StopStrings

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

#: Rows decoded together on a CPU: with more a row is no cheaper.
CPU_ROWS = 512
#: Bytes that the keys and values of live rows may take on a CPU.
CPU_CACHE_BYTES = 2**32
#: Rows decoded together on a GPU where memory allows.
CUDA_ROWS = 1024
#: Share of a batch that must be free before the next samples fill it up. A step reads every row's cache as far as the
#: longest row's. A GPU hides that behind the launching of kernels, where only a handful of rows is not worth the extra
#: calls; a CPU is better off to let the whole batch end.
REFILL = {"cuda": 1 / 16, "cpu": 1.0}
#: Rows drawn together over a model's own cache, which is copied whenever a row leaves it.
FALLBACK_ROWS = 64
#: Share of a GPU's free memory that the keys and values of live rows may take.
CUDA_MEMORY_SHARE = 0.7


@dataclass(slots=True)
class Timings:
    """Where a run's wall seconds went, and how many steps of how many rows it took."""

    prefill: float = 0.0
    forward: float = 0.0
    sampling: float = 0.0
    cache: float = 0.0
    steps: int = 0
    rows: int = 0


# ---------------------------------------------------------------- the model's state while sampling


#: What sampling switches off in a module, if it is on. With gradient checkpointing on, transformers drops
#: the cache in training mode and the text turns to noise without an error, which is how a trainer hands its
#: model over. On some CPUs bitsandbytes repacks 4-bit weights in evaluation mode, after which they pass no
#: gradients on.
_SWITCHED_OFF = ("gradient_checkpointing", "support_avx512bf16_for_cpu")


@contextmanager
def sampling_mode(model: torch.nn.Module) -> Iterator[None]:
    """Evaluation mode, no gradients, no gradient checkpointing; every module's state is restored after.

    `no_grad`, not `inference_mode`: tensors that layers keep (quantised ones do) would otherwise be
    unusable for the next backward pass.
    """
    training = [(module, module.training) for module in model.modules()]
    on = [(module, name) for module, _ in training for name in _SWITCHED_OFF if getattr(module, name, False)]
    try:
        model.eval()
        for module, name in on:
            setattr(module, name, False)
        with torch.no_grad():
            yield
    finally:
        for module, was in training:
            module.training = was
        for module, name in on:
            setattr(module, name, True)


# ---------------------------------------------------------------- the sampler


def sample_tokens(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase | None,
    prompts: Sequence[Sequence[int]],
    n: int | Sequence[int] = 1,
    max_new_tokens: int | Sequence[int] = 256,
    *,
    temperature: float | Sequence[float] = 1.0,
    top_p: float = 1.0,
    top_k: int = 0,
    end_ids: Sequence[int] = (),
    stop: Sequence[str] = (),
    pause_strings: Sequence[str] = (),
    pause: Pause | Sequence[Pause] | None = None,
    seed: int | Sequence[int] = 0,
    max_batch: int | None = None,
    model_bytes: float = 0.0,
    progress: bool = False,
    timings: Timings | None = None,
    prefixes: PrefixStore | None = None,
) -> list[list[Completion]]:
    """Draw `n` continuations of each prompt (token ids) from a transformers decoder.

    `n`, `max_new_tokens`, `temperature` and `seed` are one number or one a prompt; generation also ends where the
    model's positions do, and a prompt that leaves no room for an answer gets empty completions and a warning.
    `temperature=0` takes the likeliest token. `end_ids` end a continuation and are its last token; a `stop` string
    ends it too and is cut from the text. When a continuation completes one of `pause_strings`, `pause(text so far)`
    is asked (one function or one a prompt): the text it returns is appended and read, not drawn (counted in the
    completion's prompt tokens, log-probability 0), and generation goes on; None changes nothing. Equal prompts are
    prefilled once; those of one seed and one temperature still get different samples. At most `max_batch` rows are
    decoded together. `prefixes` holds what the model has read before and is not read again; without it, what many
    prompts begin with is still read once. Penalties in the model's own generation config do not apply. Architectures
    without attention, or with an unknown kind of it, are drawn over their own cache, which is slower, under the same
    contract.

    Raises ValueError for settings that mean nothing and where no prompt leaves the model room.

    >>> sample_tokens(None, None, [], n=4)
    []
    """
    counts = [n] * len(prompts) if isinstance(n, int) else list(n)
    budgets = [max_new_tokens] * len(prompts) if isinstance(max_new_tokens, int) else list(max_new_tokens)
    seeds = [seed] * len(prompts) if isinstance(seed, int) else list(seed)
    heats = list(temperature) if isinstance(temperature, Sequence) else [temperature] * len(prompts)
    pauses = list(pause) if isinstance(pause, Sequence) else [pause] * len(prompts) if pause is not None else None
    _check(prompts, counts, budgets, seeds, heats, top_p, top_k, pause_strings, pauses, max_batch)
    if not any(counts):
        return [[] for _ in prompts]
    watch = StopStrings(tokenizer, stop, pause_strings)
    began = time.perf_counter()
    clock = timings if timings is not None else Timings()
    positions = getattr(text_config(model), "max_position_embeddings", None) or 2**31
    check_lengths([len(prompt) for prompt in prompts], positions)
    groups: dict[tuple[int, ...], list[Sample]] = {}
    drawn: list[list[Sample]] = []
    numbered: Counter[tuple[Any, ...]] = Counter()
    for p, (prompt, count, budget, heat, own) in enumerate(zip(prompts, counts, budgets, heats, seeds, strict=True)):
        # A repeated prompt goes on numbering where its twin stopped: same cache, other random numbers.
        twins = (*prompt, own, heat)
        keys = [stream_key(own, prompt, numbered[twins] + i) for i in range(count)]
        numbered[twins] += count
        reader, room = ContinuationTokenizer(tokenizer, prompt), positions - len(prompt)
        drawn.append([Sample(p, heat, budget, room, key, reader, finish="" if room > 0 else "length") for key in keys])
        if count and room > 0:
            groups.setdefault(tuple(prompt), []).extend(drawn[-1])

    with sampling_mode(model):
        reason = why_unsupported(model)
        if reason:
            warnings.warn(
                f"Sampling falls back to the model's own cache, which is slower than the engine's, because {reason}.",
                stacklevel=2,
            )
            cache_bytes = 0

            def fitting(length: int) -> int:
                return min(max_batch or FALLBACK_ROWS, _default_rows(model, length))

            draw_samples(model, groups, top_p, top_k, frozenset(end_ids), watch, pauses, fitting)
        else:
            cache_bytes = _run(
                model, groups, top_p, top_k, frozenset(end_ids), watch, pauses, max_batch, progress, clock, prefixes
            )
    seconds = time.perf_counter() - began
    return _completions(model, prompts, drawn, model_bytes + cache_bytes, seconds)


def _run(
    model: PreTrainedModel,
    groups: dict[tuple[int, ...], list[Sample]],
    top_p: float,
    top_k: int,
    end_ids: frozenset[int],
    watch: StopStrings,
    pauses: Sequence[Pause] | None,
    max_batch: int | None,
    progress: bool,
    clock: Timings,
    store: PrefixStore | None = None,
) -> int:
    """Draw all samples of all distinct prompts; returns the bytes of the cache."""
    from tqdm import tqdm

    total = sum(map(len, groups.values()))
    longest = {ids: len(ids) + min(max(s.budget for s in g), g[0].room) for ids, g in groups.items()}
    capacity = min(total, max_batch or _default_rows(model, max(longest.values())))
    # Long rows first: like lengths meet in a batch, and the short ones fill up the end. Before that by the number of
    # samples, for prefixes of as many rows share a product.
    waiting = deque(sorted(groups, key=lambda ids: (-len(groups[ids]), -longest[ids], -len(ids))))
    kept = store = usable(model, store)
    if store is None and begun_alike(list(groups), PrefixStore()):
        # For this call alone: worked examples, for one, are read once for all prompts that begin with them.
        store = usable(model, PrefixStore())
    if store is not None:
        read_shared_beginnings(model, list(groups), store)
    pool = deque(_prefill_next(model, groups, waiting, capacity, clock, store))
    refill = max(1, int(capacity * REFILL.get(model.device.type, 1)))
    rows = Rows(capacity, max(map(len, groups)), min(map(len, groups.values())), pool[0].cache, model.device)
    bar = tqdm(total=total, desc="sampling", unit="sample", disable=not progress, leave=False)

    def emit(start: int, logits: torch.Tensor) -> None:
        """Draw one token for the rows from `start` on and let finished rows go."""
        t0 = time.perf_counter()
        samples = rows.samples[start : rows.live]
        steps = np.fromiter((len(s.ids) for s in samples), np.uint64, len(samples))
        u = uniforms(rows.keys[start : rows.live], steps)
        heats = np.fromiter((s.temperature for s in samples), np.float64, len(samples))
        tokens, logprobs = choose(logits, u, heats, top_k, top_p)
        done = []
        for i, sample in enumerate(samples):
            pause = pauses[sample.prompt] if pauses is not None else None
            tokens[i] = append(sample, tokens[i], logprobs[i], end_ids, watch, pause)
            if sample.finish:
                done.append(start + i)
        rows.next_token[start : rows.live] = tokens
        t1 = time.perf_counter()
        if kept is not None:
            rows.keep(done, kept)
        rows.release(done)
        bar.update(len(done))
        clock.sampling += t1 - t0
        clock.cache += time.perf_counter() - t1

    while waiting or pool or rows.live:
        filling = capacity - rows.live >= refill
        while filling and (waiting or pool) and (free := capacity - rows.live):
            if not pool:
                pool.extend(_prefill_next(model, groups, waiting, max(free, capacity // 4), clock, store))
            t0 = time.perf_counter()
            start, cache = rows.live, pool[0].cache
            picked: list[tuple[Sample, Prefix]] = []
            while pool and len(picked) < free and pool[0].cache is cache:
                picked.append((pool[0].samples.popleft(), pool[0]))
                if not pool[0].samples:
                    pool.popleft()
            rows.admit(picked)
            clock.cache += time.perf_counter() - t0
            emit(start, picked[0][1].logits[[prefix.row for _, prefix in picked]])
        if rows.live:
            t0 = time.perf_counter()
            logits = decode(model, rows)
            clock.forward += time.perf_counter() - t0
            clock.steps += 1
            clock.rows += rows.live
            emit(0, logits)
    bar.close()
    return rows.bytes


def _prefill_next(
    model: PreTrainedModel,
    groups: dict[tuple[int, ...], list[Sample]],
    waiting: deque[tuple[int, ...]],
    wanted: int,
    clock: Timings,
    store: PrefixStore | None,
) -> list[Prefix]:
    """Prefill the next waiting prompts in one pass: enough for `wanted` samples, as many as a pass has room for."""
    t0 = time.perf_counter()
    prompts: list[tuple[int, ...]] = []
    room, samples = Room(model), 0
    while waiting and samples < wanted:
        unread = len(waiting[0]) if store is None else store.unread(waiting[0])
        if not room.takes(unread, len(waiting[0])):
            break
        prompts.append(waiting.popleft())
        samples += len(groups[prompts[-1]])
    cache, logits = prefill(model, prompts, store)
    clock.prefill += time.perf_counter() - t0
    return [Prefix(deque(groups[p]), cache, logits, i, len(p), p) for i, p in enumerate(prompts)]


def _completions(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    drawn: list[list[Sample]],
    peak_bytes: float,
    seconds: float,
) -> list[list[Completion]]:
    """Samples as completions; wall seconds are shared out by tokens, peak memory is that of weights and cache."""
    charged = prices(model)
    share = seconds / max(1, sum(len(s.ids) for group in drawn for s in group))
    out = []
    for prompt, group in zip(prompts, drawn, strict=True):
        # A prompt that is too long was never read.
        asked = tuple(prompt) if group and group[0].room > 0 else ()
        reading = Cost(
            prompt_tokens=len(asked),
            flops=charged.reading(0, len(asked), logits=1) if asked else 0.0,
            reads=(Read(id(model), charged, (asked,)),) if asked else (),
        )
        out.append([_completion(s, model, charged, asked, reading, share, peak_bytes) for s in group])
    return out


def _completion(
    sample: Sample,
    model: PreTrainedModel,
    charged: Prices,
    prompt: tuple[int, ...],
    reading: Cost,
    share: float,
    peak_bytes: float,
) -> Completion:
    drawn = tuple(sample.ids)
    # The logits of the first token come with the prompt, and the last token is not read.
    steps = max(0, len(drawn) - 1)
    cost = Cost(
        prompt_tokens=sample.forced_count,
        generated_tokens=len(drawn) - sample.forced_count,
        flops=charged.reading(len(prompt), len(prompt) + steps, logits=steps),
        seconds=share * len(drawn),
        peak_bytes=peak_bytes,
        reads=(Read(id(model), charged, (prompt, drawn[:steps]), len(prompt), steps),) if steps else (),
    )
    return Completion(
        text=sample.final_text(),
        token_ids=drawn,
        logprobs=tuple(sample.logprobs),
        finish_reason="length" if sample.finish == "length" else "stop",
        prompt_tokens=len(prompt),
        cost=cost,
        prompt_cost=reading,
    )


def _check(
    prompts: Sequence[Sequence[int]],
    counts: list[int],
    budgets: list[int],
    seeds: list[int],
    heats: list[float],
    top_p: float,
    top_k: int,
    pause_strings: Sequence[str],
    pauses: Sequence[Pause] | None,
    max_batch: int | None,
) -> None:
    if len(counts) != len(prompts):
        raise ValueError(f"n has {len(counts)} entries for {len(prompts)} prompts; give one number or one a prompt.")
    if any(n < 0 for n in counts):
        raise ValueError(f"n is {min(counts)}; ask for 0 or more samples a prompt.")
    if len(budgets) != len(prompts):
        raise ValueError(
            f"max_new_tokens has {len(budgets)} entries for {len(prompts)} prompts; give one number or one a prompt."
        )
    if len(seeds) != len(prompts):
        raise ValueError(f"seed has {len(seeds)} entries for {len(prompts)} prompts; give one number or one a prompt.")
    if any(b < 1 for b in budgets):
        raise ValueError(f"max_new_tokens is {min(budgets)}; ask for at least 1 token.")
    if len(heats) != len(prompts):
        raise ValueError(
            f"temperature has {len(heats)} entries for {len(prompts)} prompts; give one number or one a prompt."
        )
    for heat in heats:
        if not 0 <= heat < math.inf:
            raise ValueError(f"temperature is {heat}; use 0 for the likeliest token or a positive number.")
    if not 0 < top_p <= 1:
        raise ValueError(f"top_p is {top_p}; use a number above 0 and at most 1.")
    if top_k < 0:
        raise ValueError(f"top_k is {top_k}; use 0 for no limit or a positive number.")
    if bool(pause_strings) != (pauses is not None):
        raise ValueError("pause and pause_strings go together: say which strings pause and what to call then.")
    if pauses is not None and len(pauses) != len(prompts):
        raise ValueError(
            f"pause has {len(pauses)} functions for {len(prompts)} prompts; give one function or one a prompt."
        )
    if max_batch is not None and max_batch < 1:
        raise ValueError(f"max_batch is {max_batch}; use at least 1 row.")
    for i, prompt in enumerate(prompts):
        if not len(prompt):
            raise ValueError(f"Prompt {i} has no tokens; give the model at least one to continue from.")


def check_lengths(lengths: Sequence[int], positions: int) -> None:
    """Warn of prompts that leave a model of so many `positions` no room for an answer; raise ValueError if all do."""
    long = sum(length >= positions for length in lengths)
    if long == len(lengths) > 0:
        raise ValueError(
            f"A prompt has {max(lengths)} tokens but the model reads at most {positions}; shorten the prompt."
        )
    if long:
        warnings.warn(
            f"{long} of {len(lengths)} prompts are too long for the model, which reads at most {positions} tokens (the "
            f"longest has {max(lengths)}); their completions are empty. Shorten those prompts to have them answered.",
            stacklevel=3,
        )


def _default_rows(model: PreTrainedModel, length: int) -> int:
    """How many rows of `length` tokens to decode together: as many as pay, and as memory holds."""
    config = text_config(model)
    # Layers may differ in their heads.
    layers = getattr(config, "per_layer_config", None) or [config] * config.num_hidden_layers
    size = torch.finfo(model.dtype).bits // 8
    # Keys and values of a row, twice over while a layer is moved or grown, and a few copies of its logits.
    row = 3 * sum(map(_cache_width, layers)) * length * size + 16 * config.vocab_size
    if model.device.type != "cuda":
        return max(1, min(CPU_ROWS, CPU_CACHE_BYTES // row))
    unused = torch.cuda.memory_reserved(model.device) - torch.cuda.memory_allocated(model.device)
    free = torch.cuda.mem_get_info(model.device)[0] + unused
    return max(1, min(CUDA_ROWS, int(CUDA_MEMORY_SHARE * free / row)))


def _cache_width(layer: Any) -> int:
    """Numbers that a layer keeps as a token's keys, and as many as its values."""
    # Without attention heads (state-space models) a row keeps no more than a token's hidden state for each.
    all_heads = getattr(layer, "num_attention_heads", None) or 1
    heads = getattr(layer, "num_key_value_heads", None) or all_heads
    return heads * (getattr(layer, "head_dim", None) or layer.hidden_size // all_heads)
