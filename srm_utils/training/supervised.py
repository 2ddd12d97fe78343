"""Supervised fine-tuning: raise the likelihood of given answers, by TRL's `SFTTrainer`.

Every weight ("full"), low-rank adapters on frozen weights ("lora", hu2022lora), or the same adapters on
weights frozen in 4-bit NormalFloat ("qlora", dettmers2023qlora). With `answers_only=False` the loss covers
the questions too: continued pretraining on documents of a new domain.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from srm_utils.models import LanguageModel, load_model
from srm_utils.tasks.problem import Prompt

if TYPE_CHECKING:
    import torch
    from trl import SFTTrainer

Method = Literal["full", "lora", "qlora"]
Example = tuple[Prompt, str]

#: A label that the loss leaves out.
IGNORED = -100
#: Weights are trained in float32, those that stay frozen may be smaller.
BITS: dict[str, int] = {"full": 32, "lora": 16, "qlora": 4}
#: Peak learning rates for a model of `RATED_AT` parameters. Three were tried for each on validation (a third, one and
#: three times these): chains were learnt equally well at all, so the middle stands.
RATES: dict[str, float] = {"full": 5e-4, "lora": 3e-3, "qlora": 3e-3}
RATED_AT = 2e6


@dataclass(frozen=True, slots=True)
class SupervisedConfig:
    """How to train.

    `steps` optimiser steps of `batch_size` examples each; `learning_rate` is the peak after `warmup` (a share
    of the steps), from where it falls linearly to 0; None takes `default_rate`. `rank` and `alpha` are
    LoRA's r and alpha (the adapter is scaled by alpha / rank) on every linear layer but the output. The loss
    is a mean over answer tokens, or over all tokens unless `answers_only`. A checkpoint is kept every
    `save_every` steps.
    """

    method: Method = "full"
    steps: int = 60
    batch_size: int = 32
    learning_rate: float | None = None
    warmup: float = 0.1
    rank: int = 16
    alpha: int = 32
    answers_only: bool = True
    save_every: int = 50
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in BITS:
            raise ValueError(f"There is no method {self.method!r}; choose one of {', '.join(BITS)}.")
        if min(self.steps, self.batch_size, self.rank, self.alpha, self.save_every) < 1:
            raise ValueError(
                f"steps, batch_size, rank, alpha and save_every must be at least 1; the configuration is {self}."
            )
        if not 0 <= self.warmup <= 1 or (self.learning_rate is not None and not self.learning_rate > 0):
            raise ValueError(
                f"warmup must lie between 0 and 1 and learning_rate above 0; they are {self.warmup} and "
                f"{self.learning_rate}."
            )


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """A trained model on disk and what the training took.

    `folder` holds whole weights ("full") or an adapter for `base`. `trainable` counts trained weights, of
    `parameters` in all. `bytes` are weights, gradients and optimiser state together, without activations.
    `tokens` leave padding out; `flops` count both passes. `log` has one entry a step: step, loss, tokens, seconds.
    """

    name: str
    folder: Path
    base: str
    method: Method
    parameters: int
    trainable: int
    bytes: int
    tokens: int
    flops: float
    seconds: float
    log: tuple[dict[str, float], ...]

    def load(self, device: str = "auto") -> LanguageModel:
        """The trained model, ready to sample: the folder itself, or the base with the adapter on top."""
        with quiet():
            if self.method == "full":
                model = load_model(self.folder, bits=BITS["lora"], device=device)
            else:
                model = load_model(self.base, bits=BITS[self.method], device=device, adapter=self.folder)
        model.name = self.name
        return model

    @property
    def saved_bytes(self) -> int:
        """Size of the trained weights on disk."""
        return sum(f.stat().st_size for f in self.folder.glob("*.safetensors"))


def sft_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean negative log-likelihood of the labelled tokens, each predicted from those before it.

    `logits` has shape (batch, length, vocabulary); `labels`, shape (batch, length), holds the token ids
    themselves, `IGNORED` on questions and padding. The mean is over the tokens of the whole batch.

    >>> import torch
    >>> round(float(sft_loss(torch.zeros(1, 3, 5), torch.tensor([[-100, 2, 4]]))), 3)  # ln 5
    1.609
    """
    import torch.nn.functional as F

    predictions, targets = logits[:, :-1], labels[:, 1:]
    return F.cross_entropy(predictions.float().flatten(0, 1), targets.flatten(), ignore_index=IGNORED)


def encode_example(
    model: LanguageModel, prompt: Prompt, answer: str, answers_only: bool = True
) -> dict[str, list[int]]:
    """`input_ids` and `labels` of one example: the prompt as the model is asked it, the answer, an end token.

    Prompt and answer are tokenised apart and joined, as they are when the model answers, so what is trained is
    what is sampled. Raises ValueError for an empty answer or a tokenizer without an end token.
    """
    if not answer.strip():
        raise ValueError(f"The answer to {prompt.question[:40]!r} is empty; give every example an answer.")
    end = model.tokenizer.eos_token_id
    if end is None:
        raise ValueError(f"The tokenizer of {model.name!r} has no end token; set `eos_token`, or answers never end.")
    space = "" if model.render(prompt)[-1:].isspace() else " "
    asked = model.encode(prompt)
    said = [*model.tokenizer(space + answer.strip(), add_special_tokens=False)["input_ids"], end]
    return {"input_ids": asked + said, "labels": [IGNORED] * len(asked) + said if answers_only else asked + said}


def default_rate(method: Method, parameters: int) -> float:
    """Peak learning rate for a method and a model size: `RATES`, falling with the square root of the size.

    >>> default_rate("lora", 500_000_000) < default_rate("lora", 2_000_000)
    True
    """
    return RATES[method] * (RATED_AT / parameters) ** 0.5


def train_supervised(
    model: LanguageModel | str | os.PathLike[str],
    examples: Sequence[Example],
    config: SupervisedConfig,
    out: str | os.PathLike[str],
    device: str = "auto",
    progress: bool = False,
) -> TrainedModel:
    """Train on (prompt, answer) examples and save into `out`; the model given is left as it is.

    A name or path is loaded afresh; a `LanguageModel` in memory is saved to `out` with the weights it has now,
    and trained from there. Called again after an interruption, training goes on from its last checkpoint and ends
    with the same weights; called again after the end, the finished run is returned. Raises ValueError for no
    examples, an example the model cannot read in full, or an `out` that holds another run.
    """
    from datasets import Dataset

    if not examples:
        raise ValueError("There are no examples to train on; give at least one (prompt, answer).")
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    base, name = starting_point(model, out)
    policy = load_model(base, bits=BITS[config.method], device=device)
    rate = config.learning_rate or default_rate(config.method, policy.parameters)
    rows = [encode_example(policy, prompt, answer, config.answers_only) for prompt, answer in examples]
    _check_lengths(policy, rows)
    config = replace(config, learning_rate=rate)
    if (finished := claim_folder(out, run_fingerprint(policy, rows, config))) is not None:
        return finished
    trainer = sft_trainer(policy, Dataset.from_list(rows), config, out / "checkpoints", progress)
    network: Any = trainer.model
    with quiet():
        trainer.train(resume_from_checkpoint=newest_checkpoint(out / "checkpoints"))
        if config.method == "full":
            network.save_pretrained(out)
        else:
            # Asked to find out whether the embedding is new, PEFT would look for the base on the hub.
            network.save_pretrained(out, save_embedding_layers=False)
    policy.tokenizer.save_pretrained(out)
    losses = [entry for entry in trainer.state.log_history if "loss" in entry]
    log = tuple({k: entry[k] for k in ("step", "loss", "tokens", "seconds")} for entry in losses)
    trained = [p for p in network.parameters() if p.requires_grad]
    trainable = sum(p.numel() for p in trained)
    after = LanguageModel(network, policy.tokenizer, chat=policy.chat)
    tokens = int(trainer.state.num_input_tokens_seen)
    # Per token: 2 FLOPs a weight forwards, 2 backwards through it, and 2 more where the weight itself is trained.
    met = after.flops_per_token / 2
    result = TrainedModel(
        name=f"{name}, {config.method}",
        folder=out,
        base=base,
        method=config.method,
        parameters=after.parameters,
        trainable=trainable,
        bytes=after.bytes + sum(p.numel() * p.element_size() for p in trained) + _state_bytes(trainer),
        tokens=tokens,
        flops=(4 * met + 2 * min(met, trainable)) * tokens,
        seconds=log[-1]["seconds"],
        log=log,
    )
    write_json(out / "trained.json", {**asdict(result), "folder": "."})
    shutil.rmtree(out / "checkpoints", ignore_errors=True)
    return result


def sft_trainer(
    policy: LanguageModel, rows: Any, config: SupervisedConfig, folder: Path, progress: bool = False
) -> SFTTrainer:
    """TRL's trainer with every option that shapes the loss or the step said; `rows` is a `Dataset` of encoded examples.

    `policy` is trained in place (with adapters, wrapped): give it a model of its own.
    """
    with quiet():
        from peft import LoraConfig
        from transformers import PrinterCallback
        from trl import SFTConfig, SFTTrainer

        on_gpu = policy.device.startswith("cuda")
        adapter = LoraConfig(
            r=config.rank, lora_alpha=config.alpha, lora_dropout=0.0, bias="none", target_modules="all-linear",
            use_rslora=False, use_dora=False, init_lora_weights=True, task_type="CAUSAL_LM",
        )  # fmt: skip
        settings = SFTConfig(
            output_dir=str(folder),
            # the loss
            loss_type="nll", completion_only_loss=config.answers_only, assistant_only_loss=False,
            label_smoothing_factor=0.0, neftune_noise_alpha=None, average_tokens_across_devices=True,
            max_length=None, packing=False, padding_free=False, pad_to_multiple_of=None, shuffle_dataset=False,
            # the step
            max_steps=config.steps, per_device_train_batch_size=config.batch_size, gradient_accumulation_steps=1,
            learning_rate=config.learning_rate or default_rate(config.method, policy.parameters),
            lr_scheduler_type="linear", warmup_steps=round(config.warmup * config.steps),
            optim="adamw_torch", adam_beta1=0.9, adam_beta2=0.99, adam_epsilon=1e-8, weight_decay=0.0,
            max_grad_norm=1.0,
            # the machine: half precision and recomputed activations where memory is short, on a GPU
            use_cpu=not on_gpu, bf16=on_gpu, fp16=False, gradient_checkpointing=on_gpu, dataloader_num_workers=0,
            dataloader_pin_memory=on_gpu, torch_compile=False, use_liger_kernel=False, activation_offloading=False,
            # the record
            seed=config.seed, data_seed=config.seed, logging_steps=1, logging_first_step=True,
            disable_tqdm=not progress, report_to=[], save_strategy="steps", save_steps=config.save_every,
            save_total_limit=2, include_num_input_tokens_seen="non_padding",
        )  # fmt: skip
        trainer = SFTTrainer(
            model=policy.model,
            args=settings,
            train_dataset=rows,
            processing_class=policy.tokenizer,
            peft_config=None if config.method == "full" else adapter,
            callbacks=[step_clock()],
        )
        trainer.remove_callback(PrinterCallback)
    network: Any = trainer.model
    for parameter in network.parameters():
        # On 4-bit weights TRL makes adapters bfloat16, whose spacing swallows most small steps.
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return trainer


def merge_adapter(trained: TrainedModel, out: str | os.PathLike[str], device: str = "auto") -> Path:
    """Write base and adapter as one ordinary checkpoint, to train on or to sample from without PEFT.

    An adapter trained on 4-bit weights is added to those weights decoded, which is the model it was trained in;
    adding it to the codes themselves would round it away. Raises ValueError where there is no adapter.
    """
    if trained.method == "full":
        raise ValueError(f"{trained.name!r} has no adapter to merge; its folder already holds whole weights.")
    from peft import PeftModel

    base = load_model(trained.base, bits=BITS[trained.method], device=device)
    with quiet():
        plain = base.model.dequantize() if trained.method == "qlora" else base.model
        PeftModel.from_pretrained(plain, trained.folder).merge_and_unload().save_pretrained(out)
    base.tokenizer.save_pretrained(out)
    return Path(out)


# ---------------------------------------------------------------- before and after


def starting_point(model: LanguageModel | str | os.PathLike[str], out: Path) -> tuple[str, str]:
    """What to load: the name or path given, or the weights in memory once saved; and what to call it."""
    if not isinstance(model, LanguageModel):
        return os.fspath(model), os.fspath(model)
    if hasattr(model.model, "peft_config"):
        raise ValueError(f"{model.name!r} carries an adapter; write it with `merge_adapter` and train on that folder.")
    with quiet():
        model.model.save_pretrained(out / "start")
    model.tokenizer.save_pretrained(out / "start")
    return str(out / "start"), model.name


def _check_lengths(model: LanguageModel, rows: list[dict[str, list[int]]]) -> None:
    longest = max(len(row["input_ids"]) for row in rows)
    if longest > model.positions:
        raise ValueError(
            f"An example has {longest} tokens and {model.name!r} reads {model.positions}; leave it out, or its answer "
            "would be cut."
        )


def run_fingerprint(model: LanguageModel, rows: list[dict[str, list[int]]], config: SupervisedConfig) -> str:
    """What a run is: the weights it starts from, the data, the settings."""
    import torch

    made = hashlib.sha256(json.dumps([rows, asdict(config)]).encode())
    for key, weight in sorted(model.model.named_parameters()):
        made.update(key.encode())
        made.update(weight.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return made.hexdigest()


def claim_folder(out: Path, fingerprint: str) -> TrainedModel | None:
    """Take `out` for this run; the result where it is already there. Raises ValueError where another run is."""
    mark, record = out / "run.json", out / "trained.json"
    if mark.exists() and json.loads(mark.read_text())["fingerprint"] != fingerprint:
        raise ValueError(
            f"{str(out)!r} holds a run with other weights, data or settings; choose another folder or delete that one."
        )
    if record.exists():
        saved = json.loads(record.read_text())
        return TrainedModel(**{**saved, "folder": out, "log": tuple(saved["log"])})
    write_json(mark, {"fingerprint": fingerprint})
    return None


def newest_checkpoint(folder: Path) -> str | None:
    """The newest whole checkpoint: its state is written last, so one that a kill cut short has none."""
    whole = [f.parent for f in folder.glob("checkpoint-*/trainer_state.json")]
    return str(max(whole, key=lambda f: int(f.name.rsplit("-", 1)[1]))) if whole else None


def step_clock() -> Any:
    """A callback that notes tokens and seconds beside each loss; both go on counting after a resume."""
    from transformers import TrainerCallback

    class Clock(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            spent = [entry["seconds"] for entry in state.log_history if "seconds" in entry]
            self.began = time.monotonic() - (spent[-1] if spent else 0.0)

        def on_log(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            state.log_history[-1]["seconds"] = time.monotonic() - self.began
            state.log_history[-1]["tokens"] = state.num_input_tokens_seen

    return Clock()


def _state_bytes(trainer: SFTTrainer) -> int:
    """Bytes of the optimiser's tensors."""
    import torch

    optimizer: Any = trainer.optimizer
    held = [t for state in optimizer.state.values() for t in state.values() if isinstance(t, torch.Tensor)]
    return sum(t.numel() * t.element_size() for t in held)


def write_json(file: Path, content: dict[str, Any]) -> None:
    """Written beside and renamed: a kill leaves the old file or the new one."""
    file.with_suffix(".tmp").write_text(json.dumps(content, indent=1))
    os.replace(file.with_suffix(".tmp"), file)


@contextmanager
def quiet() -> Iterator[None]:
    """No remarks of three libraries on settings that are meant as they are."""
    from transformers.utils import logging

    shown, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()
