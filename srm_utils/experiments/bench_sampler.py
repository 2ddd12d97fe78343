"""`srm bench sampler`: the batched sampler against `model.generate`, and where its time goes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch

from srm_utils.sampling.engine import Timings, sample_tokens

if TYPE_CHECKING:
    import pandas as pd
    from transformers import PreTrainedModel

#: In the skewed case every token ends a continuation with about this chance, so lengths are geometric.
END_CHANCE = 1 / 16
#: `generate` is also given its prompts in calls of about this many rows, which suits a CPU better than all at once.
ROWS_A_CALL = 256


def random_model(seed: int = 0) -> PreTrainedModel:
    """A Qwen3 of the bundled family's size with random weights (0.9 M parameters, vocabulary 1024)."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    config = Qwen3Config(
        hidden_size=128,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        intermediate_size=384,
        vocab_size=1024,
        max_position_embeddings=2048,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Qwen3ForCausalLM(config).eval()


def bench_sampler(
    model: PreTrainedModel | None = None,
    *,
    prompts: int = 64,
    n: int = 16,
    new_tokens: int = 64,
    repeats: int = 3,
    batches: Sequence[int] = (1, 4, 16, 64, 256, 1024),
    threads: int | None = 1,
    say: Callable[[str], None] = lambda line: None,
) -> tuple[pd.DataFrame, str]:
    """Time the sampler and `model.generate` on the same prompts, then the sampler alone at each batch size.

    Two cases: *even*, all continuations run to `new_tokens`; *skewed*, they end at random (mean 16
    tokens) and at the latest after 4 x `new_tokens`. Runs alternate and their medians count, in wall
    seconds and in this process's own CPU seconds, which a busy machine disturbs less. Returns a table
    (one line a measurement) and a text to print; `say` gets a line of progress now and then.
    """
    import pandas as pd

    model = model if model is not None else random_model()
    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        lines = _compare(model, prompts, n, new_tokens, repeats, say) + _throughput(model, n, new_tokens, batches, say)
        text_threads = torch.get_num_threads()
    finally:
        torch.set_num_threads(before)
    table = pd.DataFrame(lines)
    return table, _text(table, f"{prompts} prompts x {n} samples, {text_threads} torch thread(s), {model.device}")


def _prompts(model: PreTrainedModel, count: int) -> list[list[int]]:
    """Random prompts of 50 to 70 tokens."""
    generator = torch.Generator().manual_seed(1)
    lengths = torch.randint(50, 71, (count,), generator=generator).tolist()
    size = model.config.get_text_config().vocab_size
    return [torch.randint(1, size, (k,), generator=generator).tolist() for k in lengths]


def _compare(
    model: PreTrainedModel, count: int, n: int, new_tokens: int, repeats: int, say: Callable[[str], None]
) -> list[dict]:
    asked = _prompts(model, count)
    size = model.config.get_text_config().vocab_size
    shuffled = torch.randperm(size, generator=torch.Generator().manual_seed(2)).tolist()
    some_ids = shuffled[: max(1, int(size * END_CHANCE))]
    lines = []
    for case, end_ids, limit in (("even", [], new_tokens), ("skewed", some_ids, 4 * new_tokens)):
        samplers: dict[str, Callable[[int], int]] = {
            "ours": partial(_ours, model, asked, n, limit, end_ids),
            "generate, one call": partial(_generate, model, asked, n, limit, end_ids, prompts_a_call=count),
            f"generate, {ROWS_A_CALL} rows a call": partial(
                _generate, model, asked, n, limit, end_ids, prompts_a_call=max(1, ROWS_A_CALL // n)
            ),
        }
        measured: dict[str, list[tuple[float, float, int]]] = {name: [] for name in samplers}
        _ours(model, asked[:2], n, 4, [], 0)
        for repeat in range(repeats):
            order = list(samplers) if repeat % 2 == 0 else list(samplers)[::-1]
            for name in order:
                say(f"{case}, run {repeat + 1} of {repeats}: {name}")
                measured[name].append(_timed(model, partial(samplers[name], repeat)))
        for name, runs in measured.items():
            # Seconds a token: in the skewed case two samplers draw slightly different lengths.
            tokens = statistics.median(t for _, _, t in runs)
            wall = statistics.median(w / t for w, _, t in runs) * tokens
            cpu = statistics.median(c / t for _, c, t in runs) * tokens
            lines.append(
                {"case": case, "sampler": name, "rows": count * n, "tokens": tokens, "seconds": wall,
                 "cpu_seconds": cpu, "tokens_per_second": tokens / wall}
            )  # fmt: skip
    return lines


def _throughput(
    model: PreTrainedModel, n: int, new_tokens: int, batches: Sequence[int], say: Callable[[str], None]
) -> list[dict]:
    lines = []
    for rows in batches:
        say(f"batch of {rows}")
        asked = _prompts(model, max(1, rows // n))
        clock = Timings()
        began = time.perf_counter()
        samples = sample_tokens(model, None, asked, min(n, rows), new_tokens, max_batch=rows, timings=clock)
        wall = time.perf_counter() - began
        tokens = sum(len(c.token_ids) for g in samples for c in g)
        parts = {part: getattr(clock, part) / wall for part in ("prefill", "forward", "sampling", "cache")}
        lines.append(
            {"case": "batch", "sampler": "ours", "rows": rows, "tokens": tokens, "seconds": wall,
             "tokens_per_second": tokens / wall, **parts}
        )  # fmt: skip
    return lines


def _timed(model: PreTrainedModel, run: Callable[[], int]) -> tuple[float, float, int]:
    """Wall seconds, CPU seconds and the tokens that `run` says it drew."""
    if model.device.type == "cuda":
        torch.cuda.synchronize()
    wall, cpu = time.perf_counter(), time.process_time()
    tokens = run()
    if model.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - wall, time.process_time() - cpu, tokens


def _ours(model: PreTrainedModel, asked: list[list[int]], n: int, limit: int, end_ids: Sequence[int], seed: int) -> int:
    groups = sample_tokens(model, None, asked, n, limit, end_ids=end_ids, seed=seed)
    return sum(len(c.token_ids) for group in groups for c in group)


def _generate(
    model: PreTrainedModel,
    asked: list[list[int]],
    n: int,
    limit: int,
    end_ids: Sequence[int],
    seed: int,
    prompts_a_call: int,
) -> int:
    """The same work by `model.generate`: left-padded prompts, no truncation; returns the tokens drawn."""
    from transformers import GenerationConfig

    config = GenerationConfig(
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        num_return_sequences=n,
        max_new_tokens=limit,
        eos_token_id=list(end_ids) or None,
        pad_token_id=0,
    )
    torch.manual_seed(seed)
    drawn = 0
    for start in range(0, len(asked), prompts_a_call):
        some = asked[start : start + prompts_a_call]
        width = max(map(len, some))
        ids = torch.tensor([[0] * (width - len(p)) + p for p in some], device=model.device)
        mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in some], device=model.device)
        with torch.inference_mode():
            out = model.generate(input_ids=ids, attention_mask=mask, generation_config=config)[:, width:]
        ended = torch.isin(out, torch.tensor(list(end_ids), device=out.device, dtype=out.dtype))
        lengths = torch.where(ended.any(1), ended.int().argmax(1) + 1, out.shape[1])
        drawn += int(lengths.sum())
    return drawn


def _text(table: pd.DataFrame, setting: str) -> str:
    lines = [f"Sampler against model.generate: {setting}; medians, lower is better."]
    for case, rows in table[table["case"] != "batch"].groupby("case", sort=False):
        ours = rows[rows["sampler"] == "ours"].iloc[0]
        lines.append(f"\n{case} lengths ({ours['tokens'] / ours['rows']:.0f} tokens a sample)")
        for _, row in rows.iterrows():
            line = f"  {row['sampler']:28s} {row['seconds']:8.2f} s {row['tokens_per_second']:9,.0f} tokens/s"
            if row["sampler"] != "ours":
                wall, cpu = (
                    row[key] / row["tokens"] / (ours[key] / ours["tokens"]) for key in ("seconds", "cpu_seconds")
                )
                line += f"   ours is {wall:.1f} x faster ({cpu:.1f} x by CPU time)"
            lines.append(line)
    lines.append("\nOurs by batch size, and where the time goes\n")
    lines.append(f"  {'rows':>6s} {'tokens/s':>10s} {'prefill':>8s} {'forward':>8s} {'sampling':>9s} {'cache':>6s}")
    for _, row in table[table["case"] == "batch"].iterrows():
        lines.append(
            f"  {row['rows']:6.0f} {row['tokens_per_second']:10,.0f} {row['prefill']:8.0%} {row['forward']:8.0%} "
            f"{row['sampling']:9.0%} {row['cache']:6.0%}"
        )
    return "\n".join(lines)
