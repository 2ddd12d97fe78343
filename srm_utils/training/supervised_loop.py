"""Supervised fine-tuning in a plain loop: the output head runs on the answers' tokens only.

A small model with a large vocabulary spends half of its time in the head. `supervised` hands the same loss to TRL's
trainer, which computes every logit. This loop computes those that the loss needs, and batches texts of like length.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from srm_utils.models import Chat, LanguageModel
from srm_utils.models.arithmetic import mixed_precision, plain_attention
from srm_utils.training.checkpoint import Run, load_checkpoint, open_run, save_checkpoint
from srm_utils.training.supervised import (
    IGNORED,
    Example,
    SupervisedConfig,
    TrainedModel,
    default_rate,
    encode_example,
)

if TYPE_CHECKING:
    import torch

#: Examples that are sorted by length and cut into batches together, in batches.
SORTED_BATCHES = 8


def train_on_answers(
    model: LanguageModel | str | os.PathLike[str],
    examples: Sequence[Example],
    config: SupervisedConfig,
    out: str | os.PathLike[str],
    keep_at: Sequence[int] = (),
    chat: Chat | None = None,
    device: str = "auto",
    progress: bool = False,
) -> TrainedModel:
    """Train on (prompt, answer) examples and save into `out`; a model in memory is left as it is.

    Args:
        model: a name, a path, or a model in memory. An adapter goes on being trained.
        examples: prompts with the answers to learn; the loss is the mean over the answers' tokens.
        config: settings, as of `train_supervised`; `answers_only` must be True.
        out: the folder of the result, with checkpoints meanwhile.
        keep_at: steps after which the weights of that moment are kept as well, in `out/step-N`.
        chat: how the model is spoken to, in place of its own way; saved with the weights.
        device, progress: where to train, and whether to show a bar.

    Called again after an interruption, training goes on from its last checkpoint and ends with the same weights.
    Products run in bfloat16 where the processor is faster in it; weights and optimiser stay in float32. Raises
    ValueError for no examples, for `answers_only=False`, and for an `out` that holds another run, FloatingPointError
    where the loss is not a number.
    """
    import torch
    from tqdm import tqdm

    from srm_utils.training.policy_gradient import take_step

    if not examples:
        raise ValueError("There are no examples to train on; give at least one (prompt, answer).")
    if not config.answers_only:
        raise ValueError("This loop trains on answers only; use train_supervised for a loss on the questions too.")
    run = open_run(model, out, config, [[p.text(), p.plain, a] for p, a in examples], device, chat)
    if run.finished is not None:
        return run.finished
    policy = run.policy
    rate = config.learning_rate or default_rate(config.method, policy.parameters)
    rows = [encode_example(policy, prompt, answer) for prompt, answer in examples]
    optimizer = torch.optim.AdamW(run.trained, lr=rate, betas=(0.9, 0.99), weight_decay=0.0)
    modules, optimizers = {"policy": policy.model}, {"adam": optimizer}
    begun, state = load_checkpoint(run.out, modules, optimizers) or (0, {"log": [], "tokens": 0})
    log, tokens = state["log"], state["tokens"]
    batches = batches_of(rows, config.batch_size, config.seed)
    for _ in range(begun):
        next(batches)
    warmup = max(1, round(config.warmup * config.steps))
    policy.model.train()
    for step in tqdm(range(begun, config.steps), initial=begun, total=config.steps, disable=not progress):
        clock = time.perf_counter()
        for group in optimizer.param_groups:
            group["lr"] = rate * min((step + 1) / warmup, (config.steps - step) / max(1, config.steps - warmup))
        batch = next(batches)
        width = max(len(row["input_ids"]) for row in batch)
        with (
            plain_attention(policy.model, policy.device, policy.parameters, len(batch), width),
            mixed_precision(policy.device, policy.parameters),
        ):
            loss = answer_loss(policy, batch)
        loss.backward()
        norm = take_step(optimizer, run.trained, float(loss.detach()))
        tokens += sum(len(row["input_ids"]) for row in batch)
        seconds = time.perf_counter() - clock
        log.append({"step": step + 1, "loss": float(loss.detach()), "gradient_norm": norm, "tokens": tokens,
                    "seconds": (log[-1]["seconds"] if log else 0.0) + seconds})  # fmt: skip
        if step + 1 in keep_at:
            _keep(run, step + 1)
        if (step + 1) % config.save_every == 0 and step + 1 < config.steps:
            save_checkpoint(run.out, step + 1, modules, optimizers, {"log": log, "tokens": tokens})
    policy.model.eval()
    met, trained = policy.flops_per_token / 2, sum(p.numel() for p in run.trained)
    flops = (4 * met + 2 * min(met, trained)) * tokens
    return run.finish(tokens, flops, log[-1]["seconds"], log, [optimizer])


def answer_loss(policy: LanguageModel, batch: Sequence[dict[str, list[int]]]) -> torch.Tensor:
    """Mean negative log-likelihood (nats) of the labelled tokens of a batch of encoded examples.

    Logits are computed at the labelled tokens alone, shape (labelled tokens, vocabulary).
    """
    import torch
    from torch.nn.functional import cross_entropy

    width, device = max(len(row["input_ids"]) for row in batch), policy.model.device
    # Padding stands to the right, where causal attention never looks.
    ids = torch.tensor([r["input_ids"] + [0] * (width - len(r["input_ids"])) for r in batch], device=device)
    labels = torch.tensor([r["labels"] + [IGNORED] * (width - len(r["labels"])) for r in batch], device=device)
    network: Any = policy.model
    body = network.get_base_model() if hasattr(network, "peft_config") else network
    positions = torch.arange(width, device=device).expand(len(batch), -1)
    states = body.base_model(input_ids=ids, position_ids=positions, use_cache=False).last_hidden_state
    wanted = labels[:, 1:] != IGNORED
    logits = network.get_output_embeddings()(states[:, :-1][wanted])
    return cross_entropy(logits.float(), labels[:, 1:][wanted])


def batches_of(rows: Sequence[dict[str, list[int]]], size: int, seed: int) -> Iterator[list[dict[str, list[int]]]]:
    """Batches without end, epoch after epoch in a new order, rows of like length together.

    >>> row = {"input_ids": [1, 2], "labels": [1, 2]}
    >>> [len(batch) for batch, _ in zip(batches_of([row] * 3, 2, seed=0), range(3))]
    [2, 2, 2]
    """
    random = Random(seed)
    waiting: list[int] = []
    while True:
        while len(waiting) < SORTED_BATCHES * size:
            waiting += random.sample(range(len(rows)), len(rows))
        chosen, waiting = waiting[: SORTED_BATCHES * size], waiting[SORTED_BATCHES * size :]
        chosen.sort(key=lambda i: len(rows[i]["input_ids"]))
        cut = [chosen[i : i + size] for i in range(0, len(chosen), size)]
        random.shuffle(cut)
        for batch in cut:
            yield [rows[i] for i in batch]


def _keep(run: Run, step: int) -> None:
    folder = Path(run.out) / f"step-{step}"
    run.save_weights(folder)
