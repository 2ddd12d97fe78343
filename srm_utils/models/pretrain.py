"""Trains a member of the bundled family on procedural text: resumable, on CPU or GPU.

Every batch is a function of (seed, step), so that a run killed and resumed sees the same text. The
learning rate warms up, stays, and falls linearly over the last part: while it stays, a resumed run may
still be given more or fewer steps, and ends as if it had been planned so.
Hidden matrices are updated by Muon, the rest by AdamW, both from torch. A few attention heads start as a
circuit that looks up and copies.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, replace
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np

from srm_utils.models.arithmetic import fast_dtype
from srm_utils.models.documents import documents, sample_texts
from srm_utils.models.initial_weights import grown, new_model
from srm_utils.models.members import FAMILY, Member, family_folder
from srm_utils.models.text.items import Item, Shown, Solution
from srm_utils.models.tokenizer import BLANK_LINE, CHAT_TEMPLATE, EOS, build_tokenizer
from srm_utils.tasks.words import NAMES

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

#: Tokens a batch, and the row length on the plateau and in the final fall: attention over short rows
#: costs half as much, and the last third stretches it to prompts with examples.
BATCH_TOKENS = 8192
CONTEXT, FINAL_CONTEXT = 256, 512
DECAY = 0.35
#: Weight of the loss on question tokens: mostly random, they would drown the answers.
QUESTION_WEIGHT = 0.1
#: Weight of the verdicts on spoiled solutions, beside the loss on tokens.
VERDICT_WEIGHT = 0.5


def encode(items: list[Item], tokenizer: PreTrainedTokenizerFast, chat: bool) -> tuple[list[int], list[bool]]:
    """Token ids of one document and, for each, whether it belongs to an answer.

    >>> from srm_utils.models.tokenizer import build_tokenizer
    >>> from srm_utils.tasks.problem import Prompt
    >>> ids, answer = encode([(Prompt("a ?"), "b")], build_tokenizer(["a ? b"], chat=False), chat=False)
    >>> answer.count(True)
    3
    """
    ids: list[int] = []
    answers: list[bool] = []

    def add(text: str, answer: bool) -> None:
        new = tokenizer.encode(text, add_special_tokens=False)
        ids.extend(new)
        answers.extend([answer] * len(new))

    for i, (prompt, solution) in enumerate(items):
        if chat:
            add(f"<|user|> {prompt.question} {prompt.instruction}".rstrip() + "<|assistant|>", False)
            if prompt.prefill:
                add(f" {prompt.prefill}", False)
            add(f" {solution}{EOS}", not isinstance(solution, Shown))
        else:
            add(prompt.text(), False)
            add(f" {solution}{BLANK_LINE}", not isinstance(solution, Shown))
            if i == len(items) - 1:
                add(EOS, True)
    return ids, answers


def spoil(
    ids: list[int], answers: list[bool], kinds: dict[int, tuple[int, ...]], share: float, rng: Random
) -> tuple[list[int], list[int]]:
    """A document with some of its answers' numbers, signs and names replaced, and a verdict on each token.

    A verdict is 1 where a token was replaced, 0 where it might have been, -1 elsewhere. What takes a token's place is
    of its kind: any, one that stands earlier in the document (somebody else's number), or the next but few.

    >>> numbers = (7, 8, 9)
    >>> spoil([5, 7, 5, 8], [False, True, True, True], dict.fromkeys(numbers, numbers), 0.0, Random(0))
    ([5, 7, 5, 8], [-1, 0, -1, 0])
    """
    shown, verdicts = list(ids), [-1] * len(ids)
    for i, (token, answer) in enumerate(zip(ids, answers, strict=True)):
        kind = kinds.get(token, ())
        if not (answer and kind):
            continue
        verdicts[i] = int(rng.random() < share)
        if verdicts[i]:
            at = kind.index(token)
            earlier = {t for t in ids[:i] if t in kind} - {token}
            near = {*kind[max(at - 3, 0) : at + 4]} - {token}
            pool = rng.choice([sorted(p) for p in (earlier, near, {*kind} - {token}) if p])
            shown[i] = rng.choice(pool)
    return shown, verdicts


def interchangeable(tokenizer: PreTrainedTokenizerFast) -> dict[int, tuple[int, ...]]:
    """For each token of a number to 99, a sign or a name, the tokens of its kind; numbers in order."""
    vocabulary = tokenizer.get_vocab()
    found: dict[int, tuple[int, ...]] = {}
    for words in (map(str, range(100)), "+-*/", NAMES):
        kind = tuple(vocabulary[f"▁{word}"] for word in words if f"▁{word}" in vocabulary)
        found |= dict.fromkeys(kind, kind)
    return found


def batch(
    member: Member, tokenizer: PreTrainedTokenizerFast, step: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """One batch, (rows, context) each: token ids, float loss weights, and verdicts as `spoil` gives them.

    Every row starts with a document.
    """
    import torch

    context = CONTEXT if step < (1 - DECAY) * member.steps else FINAL_CONTEXT
    rows = BATCH_TOKENS // context
    ids = np.full((rows, context), tokenizer.pad_token_id, dtype=np.int64)
    weights = np.zeros((rows, context), dtype=np.float32)
    verdicts = np.full((rows, context), -1, dtype=np.int64)
    stream = documents(member.mixture, f"{member.seed}/{step}")
    spoiled, rng, kinds = member.mixture.spoiled, Random(f"spoiled/{member.seed}/{step}"), interchangeable(tokenizer)
    row, at = 0, 0
    while row < rows:
        items = next(stream)
        new, answers = encode(items, tokenizer, member.mixture.chat)
        new, answers = new[: context - at], answers[: context - at]
        here = slice(at, at + len(new))
        weights[row, here] = np.where(answers, 1.0, QUESTION_WEIGHT)
        if spoiled and isinstance(items[0][1], Solution):
            new, verdicts[row, here] = spoil(new, answers, kinds, spoiled, rng)
            # What was put in is judged, never written.
            weights[row, here][verdicts[row, here] == 1] = 0.0
        ids[row, here] = new
        at += len(new)
        if at >= context - 16:
            row, at = row + 1, 0
    return torch.from_numpy(ids), torch.from_numpy(weights), torch.from_numpy(verdicts)


def pretrain(
    name: str,
    out: Path | None = None,
    *,
    steps: int | None = None,
    device: str = "auto",
    resume: bool = True,
    progress: bool = True,
) -> Path:
    """Trains one member and saves it as an ordinary checkpoint; returns its folder.

    Args:
        name: a name of `FAMILY`.
        out: folder to write; by default the bundled one, where that holds no weights yet.
        steps: optimiser steps instead of the member's own.
        device: "cpu", "cuda" or "auto".
        resume: go on from the state in `out` when there is one.
        progress: show a bar with an estimate.

    Raises:
        ValueError: for an unknown member, a parent that has not been trained yet, and a run that would write over
            a shipped model, or put a run of other `steps` in its place.
    """
    import torch
    from tqdm import tqdm

    if name not in FAMILY:
        raise ValueError(f"There is no family member {name!r}; choose one of {', '.join(FAMILY)}.")
    member = FAMILY[name] if steps is None else replace(FAMILY[name], steps=steps)
    out = _checked_folder(name, out, steps)
    out.mkdir(parents=True, exist_ok=True)
    device = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    torch.manual_seed(member.seed)
    parent = _parent_folder(member, out)
    tokenizer = _tokenizer(member, parent)
    model = (_inherited(member, parent) if parent else new_model(member, tokenizer)).to(device)
    model.train()
    dtype = fast_dtype(device)
    state_file = out / "training-state.pt"
    state = None
    if resume and state_file.exists():
        state = torch.load(state_file, map_location=device, weights_only=True)
        # A run goes on in the arithmetic that it began in, on another machine too.
        dtype = state.get("dtype", torch.bfloat16)
    optimizers = _optimizers(model, member.peak, dtype)
    log: list[dict[str, float]] = []
    start, spent = 0, 0.0
    if state is not None:
        model.load_state_dict(state["model"])
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        start, spent, log = state["step"], state["seconds"], state["log"]
    began = time.monotonic() - spent
    saved_at = time.monotonic()
    bar = tqdm(
        range(start, member.steps), initial=start, total=member.steps, desc=name, disable=not progress, mininterval=2
    )
    step = start
    try:
        for step in bar:
            loss = _update(member, model, tokenizer, optimizers, step, device, dtype)
            if step % 20 == 0:
                log.append({"step": step, "loss": loss, "tokens": (step + 1) * BATCH_TOKENS})
                bar.set_postfix(loss=f"{loss:.3f}")
            if time.monotonic() - saved_at > 120:
                _save_state(state_file, model, optimizers, dtype, step + 1, time.monotonic() - began, log)
                saved_at = time.monotonic()
    except KeyboardInterrupt:
        # The batch that was cut short is drawn again on resuming.
        _save_state(state_file, model, optimizers, dtype, step, time.monotonic() - began, log)
        raise
    save_checkpoint(model, tokenizer, out)
    facts = {
        "member": asdict(member), "tokens": member.steps * BATCH_TOKENS,
        "seconds": round(time.monotonic() - began, 1), "device": device, "threads": torch.get_num_threads(),
        "torch": torch.__version__, "dtype": str(dtype), "log": log,
    }  # fmt: skip
    (out / "training.json").write_text(json.dumps(facts, indent=1))
    state_file.unlink(missing_ok=True)
    return out


def _checked_folder(name: str, out: Path | None, steps: int | None) -> Path:
    """Where a training may write: not over a shipped model unless its own folder is named, and then whole."""
    shipped = family_folder() / name
    if steps is not None and steps < 1:
        raise ValueError(f"--steps is how many optimiser steps to take, at least 1, not {steps}.")
    if out is None and steps is None and not (shipped / "model.safetensors").is_file():
        return shipped
    if out is None:
        why = "is trained already" if steps is None else f"takes {FAMILY[name].steps} steps, not {steps}"
        raise ValueError(f"The bundled {name!r} {why}; name the folder of another one with --out.")
    inside = family_folder().resolve() in Path(out).resolve().parents
    if inside and (steps is not None or Path(out).resolve() != shipped.resolve()):
        raise ValueError(f"{out} belongs to the bundled models; name a folder of your own with --out.")
    return Path(out)


def _update(
    member: Member,
    model: Qwen3ForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    optimizers: list[torch.optim.Optimizer],
    step: int,
    device: str,
    dtype: torch.dtype,
) -> float:
    """One optimiser step with products in `dtype`; returns the mean loss on answer tokens."""
    import torch

    ids, weights, verdicts = (t.to(device) for t in batch(member, tokenizer, step))
    scale = _schedule(step, member.steps)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * scale
    # On processors with bfloat16 units it is 1.6 times as fast; weights and optimiser stay float32.
    with torch.autocast(device, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
        logits = model(input_ids=ids, use_cache=False).logits
    losses = torch.nn.functional.cross_entropy(
        logits[:, :-1].float().flatten(0, 1), ids[:, 1:].flatten(), reduction="none"
    )
    target = weights[:, 1:].flatten()
    loss = (losses * target).sum() / target.sum()
    if member.mixture.spoiled:
        loss = loss + VERDICT_WEIGHT * _verdict_loss(logits, verdicts, tokenizer)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return float(losses.detach()[target == 1].mean())


def _verdict_loss(logits: torch.Tensor, verdicts: torch.Tensor, tokenizer: PreTrainedTokenizerFast) -> torch.Tensor:
    """At every word that could have been replaced: would the model rather go on with "wrong" or with "right"?

    A small model learns to judge without writing from very many verdicts only, and text holds few.
    """
    import torch

    wrong, right = (tokenizer.convert_tokens_to_ids(f"▁{word}") for word in ("wrong", "right"))
    judged = verdicts >= 0
    rather = (logits[..., wrong] - logits[..., right])[judged].float()
    return torch.nn.functional.binary_cross_entropy_with_logits(rather, verdicts[judged].float())


def save_checkpoint(model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """Writes an ordinary transformers checkpoint, weights in bfloat16 so that the family stays small."""
    import torch

    ends = [tokenizer.convert_tokens_to_ids(EOS), tokenizer.convert_tokens_to_ids(BLANK_LINE)]
    model.generation_config.update(
        eos_token_id=ends, pad_token_id=tokenizer.pad_token_id, do_sample=True, temperature=1.0
    )
    weights = {k: v.detach().to("cpu", torch.bfloat16) for k, v in model.state_dict().items()}
    model.save_pretrained(out, state_dict=weights)
    tokenizer.save_pretrained(out)


def _parent_folder(member: Member, out: Path) -> Path | None:
    """The checkpoint a member is tuned from: beside `out`, or the bundled one."""
    if member.parent is None:
        return None
    for folder in (out.parent / member.parent, family_folder() / member.parent):
        if (folder / "model.safetensors").is_file():
            return folder
    raise ValueError(f"{member.name!r} is tuned from {member.parent!r}: run `srm pretrain {member.parent}` first.")


def _tokenizer(member: Member, parent: Path | None) -> PreTrainedTokenizerFast:
    from transformers import AutoTokenizer

    # Models that shall draft for one another or learn from one another's distributions need the same tokens.
    shared = parent or family_folder() / "base"
    if member.name == "base" or not (shared / "tokenizer.json").is_file():
        return build_tokenizer(sample_texts(), chat=member.mixture.chat)
    tokenizer = AutoTokenizer.from_pretrained(shared)
    tokenizer.chat_template = CHAT_TEMPLATE if member.mixture.chat else None
    return tokenizer


def _inherited(member: Member, parent: Path) -> Qwen3ForCausalLM:
    import torch
    from transformers import Qwen3ForCausalLM

    model = Qwen3ForCausalLM.from_pretrained(parent, dtype=torch.float32)
    return model if model.config.num_hidden_layers == member.layers else grown(model, member.layers)


def _optimizers(model: torch.nn.Module, peak: float, dtype: torch.dtype) -> list[torch.optim.Optimizer]:
    """Muon on hidden matrices, with products in `dtype`; AdamW on the rest. `peak` is the highest rate of both."""
    import torch

    from srm_utils.models.muon import Muon

    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if p.ndim != 2 or "embed" in n]
    muon = Muon(matrices, dtype, lr=peak, weight_decay=0.01, momentum=0.95)
    adamw = torch.optim.AdamW(others, lr=peak, betas=(0.9, 0.98), weight_decay=0.0, fused=True)
    for optimizer in (muon, adamw):
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
    return [muon, adamw]


def _schedule(step: int, total: int, warmup: int = 50) -> float:
    """Share of the peak rate: linear warm-up, plateau, linear fall over the last `DECAY` of the run."""
    fall = max(1, int(DECAY * total))
    return min((step + 1) / warmup, 1.0, max(total - step, 1) / fall)


def _save_state(
    file: Path,
    model: Any,
    optimizers: list[Any],
    dtype: torch.dtype,
    step: int,
    seconds: float,
    log: list[dict[str, float]],
) -> None:
    import torch

    state = {"model": model.state_dict(), "optimizers": [o.state_dict() for o in optimizers], "dtype": dtype}
    state |= {"step": step, "seconds": seconds, "log": log}
    # Written beside and renamed: a kill or a full disk leaves the last whole state.
    torch.save(state, file.with_suffix(".tmp"))
    os.replace(file.with_suffix(".tmp"), file)
