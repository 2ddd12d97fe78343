"""A small model for a domain: a member of the bundled family that goes on to read the domain's text.

It starts as `base`, which can copy, count and write programs but has not read a word of the domain. Its tokenizer is
made anew from the domain's words; pieces that both know keep their embeddings, and a new piece starts as the mean of
all. Then every weight is trained on the domain's training split, by the loss on the answers.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from srm_utils.models import LanguageModel, load_model
from srm_utils.models.pretrain import save_checkpoint
from srm_utils.models.tokenizer import build_tokenizer
from srm_utils.tasks import get_task
from srm_utils.tasks.problem import Task
from srm_utils.training.adapters import machine
from srm_utils.training.supervised import Example, SupervisedConfig, TrainedModel, write_json
from srm_utils.training.supervised_loop import train_on_answers

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

#: Problems whose words make the tokenizer.
READ_FOR_WORDS = 1500


@dataclass(frozen=True, slots=True)
class DomainMember:
    """One shipped model of a domain: its task, how often it answers in each style, and how long it learns."""

    task: str
    styles: tuple[tuple[str, int], ...]
    start: str = "base"
    steps: int = 560
    batch_size: int = 16
    learning_rate: float = 2e-3
    seed: int = 0


#: The shipped models of domains, by name.
DOMAIN_MEMBERS = {"clinical": DomainMember("clinical", (("cot", 11), ("program", 7), ("direct", 2)))}


def domain_examples(member: DomainMember, n: int) -> list[Example]:
    """Prompts and gold answers of `n` training problems, all difficulties and training sentences.

    >>> len(domain_examples(DOMAIN_MEMBERS["clinical"], 3))
    3
    """
    task, rng = get_task(member.task), Random(f"styles/{member.seed}")
    styles, weights = zip(*member.styles, strict=True)
    problems = task.problems(n, split="train", seed=member.seed)
    chosen = rng.choices(styles, weights, k=n)
    return [(task.prompt(p, s), task.solution(p, s)) for p, s in zip(problems, chosen, strict=True)]


def domain_tokenizer(task: Task, seed: int = 0) -> PreTrainedTokenizerFast:
    """The family's kind of tokenizer with the words of a domain, held-out sentences too: only their order is new."""
    texts = []
    for templates in ("train", "held-out"):
        for problem in task.problems(READ_FOR_WORDS, split="train", seed=seed, templates=templates):
            for style in task.styles:
                texts.append(f"{task.prompt(problem, style).text()} {task.solution(problem, style)}")
    return build_tokenizer(texts, chat=False)


def with_tokenizer(model: LanguageModel, tokenizer: PreTrainedTokenizerFast) -> LanguageModel:
    """A model of the family that reads by another tokenizer; what both know keeps its embedding.

    The weights of `model` are used on and changed.
    """
    import torch

    network: Any = model.model
    old, new = model.tokenizer.get_vocab(), tokenizer.get_vocab()
    before = network.get_input_embeddings().weight.detach().clone()
    network.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    with torch.no_grad():
        embedding = network.get_input_embeddings().weight
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(embedding.shape, generator=generator) * before.std()
        embedding.copy_(before.mean(0) + noise)
        for piece, i in new.items():
            if piece in old:
                embedding[i] = before[old[piece]]
    network.tie_weights()
    network.config.eos_token_id, network.config.pad_token_id = tokenizer.eos_token_id, tokenizer.pad_token_id
    network.generation_config.eos_token_id = tokenizer.eos_token_id
    network.generation_config.pad_token_id = tokenizer.pad_token_id
    return LanguageModel(network, tokenizer, model.name)


def train_member(
    name: str, out: str | os.PathLike[str], steps: int | None = None, progress: bool = False
) -> TrainedModel:
    """Train the shipped model of a domain into `out`; an interrupted run goes on.

    Raises ValueError for an unknown name, and for an `out` that holds another run.
    """
    if name not in DOMAIN_MEMBERS:
        raise ValueError(f"There is no model of a domain {name!r}; choose one of {', '.join(DOMAIN_MEMBERS)}.")
    member = DOMAIN_MEMBERS[name]
    steps = steps or member.steps
    start = with_tokenizer(load_model(member.start, bits=32, device="cpu"), domain_tokenizer(get_task(member.task)))
    config = SupervisedConfig(
        "full", steps, member.batch_size, member.learning_rate, warmup=0.05, save_every=50, seed=member.seed
    )
    return train_on_answers(
        start, domain_examples(member, steps * member.batch_size), config, out, device="cpu", progress=progress
    )


def ship_member(trained: str | os.PathLike[str], out: str | os.PathLike[str]) -> str:
    """Write a trained model as it ships, weights in bfloat16, with its log; returns the sha256 of its weights."""
    trained, out = Path(trained), Path(out)
    model = load_model(trained, bits=32, device="cpu")
    tokenizer: Any = model.tokenizer
    save_checkpoint(model.model, tokenizer, out)
    facts = json.loads((trained / "trained.json").read_text(encoding="utf-8"))
    kept = {k: facts[k] for k in ("method", "trainable", "tokens", "flops", "seconds", "log")}
    write_json(out / "training.json", {**kept, "machine": machine()})
    return hashlib.sha256((out / "model.safetensors").read_bytes()).hexdigest()
