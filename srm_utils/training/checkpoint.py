"""A run's folder: taken once, its last whole checkpoint, its result.

What our own loops share. (TRL's trainers keep their checkpoints themselves; see `supervised`.) A loop whose every
random draw is a function of (seed, step) and whose state stands in its checkpoint ends with the same weights,
however often it was killed.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from srm_utils.models import Chat, LanguageModel, load_model
from srm_utils.training.supervised import (
    BITS,
    Method,
    TrainedModel,
    claim_folder,
    newest_checkpoint,
    quiet,
    run_fingerprint,
    starting_point,
    write_json,
)

if TYPE_CHECKING:
    import torch

__all__ = ["Run", "TrainedModel", "load_checkpoint", "newest_checkpoint", "open_run", "save_checkpoint"]

CHECKPOINT = "checkpoint.pt"
#: The newest whole checkpoint of a TRL trainer's folder, to hand to `trainer.train(resume_from_checkpoint=...)`.
newest_checkpoint = newest_checkpoint


def save_checkpoint(
    folder: str | os.PathLike[str],
    step: int,
    modules: Mapping[str, torch.nn.Module],
    optimizers: Mapping[str, torch.optim.Optimizer],
    facts: Any = None,
) -> Path:
    """Write everything that a loop needs to go on after `step` steps, in one file, written beside and renamed.

    Of each module the trained weights are kept (frozen ones come from the model it was built on); with them the
    optimisers' state, the random states of Python, NumPy and torch, and `facts` (a log, counters: numbers, texts,
    lists and dictionaries of them). Raises OSError in one sentence when it cannot be written; the last good
    checkpoint is then still there.
    """
    import torch

    numpy_state: Any = np.random.get_state(legacy=False)
    state = {
        "step": step,
        "modules": {k: {n: p.detach() for n, p in m.named_parameters() if p.requires_grad} for k, m in modules.items()},
        "optimizers": {k: o.state_dict() for k, o in optimizers.items()},
        "random": {
            "python": random.getstate(),
            "numpy": {**numpy_state, "state": {k: _plain(v) for k, v in numpy_state["state"].items()}},
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        },
        "facts": facts,
    }
    file = Path(folder) / CHECKPOINT
    beside = file.with_suffix(".tmp")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.save(state, beside)
        os.replace(beside, file)
    except (OSError, RuntimeError) as error:  # torch's own writer turns a full disk into a RuntimeError
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise OSError(
            f"The checkpoint after step {step} could not be written to {str(folder)!r} ({_why(error)}); free some "
            "space and run it again: it goes on from the last checkpoint."
        ) from error
    return file


def load_checkpoint(
    folder: str | os.PathLike[str],
    modules: Mapping[str, torch.nn.Module],
    optimizers: Mapping[str, torch.optim.Optimizer],
) -> tuple[int, Any] | None:
    """Put the last checkpoint back into modules, optimisers and random states: (step, facts), None without one.

    Raises ValueError for a damaged file and for one of another model.
    """
    import torch

    file = Path(folder) / CHECKPOINT
    if not file.is_file():
        return None
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged archive fails in many ways
        raise ValueError(f"The checkpoint {str(file)!r} is damaged; delete it to begin anew.") from error
    for key, module in modules.items():
        own = {n: p for n, p in module.named_parameters() if p.requires_grad}
        kept = state["modules"].get(key, {})
        if {n: p.shape for n, p in own.items()} != {n: p.shape for n, p in kept.items()}:
            raise ValueError(f"The checkpoint {str(file)!r} is of another model; choose another folder.")
        with torch.no_grad():
            for name, parameter in own.items():
                parameter.copy_(kept[name])
    for key, optimizer in optimizers.items():
        optimizer.load_state_dict(state["optimizers"][key])
    held = state["random"]
    random.setstate(held["python"])
    inner = {k: np.array(v, dtype=np.uint32) if isinstance(v, list) else v for k, v in held["numpy"]["state"].items()}
    np.random.set_state({**held["numpy"], "state": inner})
    torch.set_rng_state(held["torch"])
    if held["cuda"] and len(held["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(held["cuda"])
    return state["step"], state["facts"]


@dataclass(frozen=True, slots=True)
class Run:
    """A run under way: the policy to train (an adapter on it already), where it came from, where it goes.

    `finished` is the result where the folder holds it already.
    """

    policy: LanguageModel
    method: Method
    name: str
    base: str
    out: Path
    finished: TrainedModel | None = None

    @property
    def trained(self) -> list[torch.nn.Parameter]:
        """The weights that are trained."""
        return [p for p in self.policy.model.parameters() if p.requires_grad]

    def save_weights(self, folder: Path) -> None:
        """Write the policy as it is now, whole weights or its adapter, with tokenizer and chat."""
        network: Any = self.policy.model
        with quiet():
            if self.method == "full":
                network.save_pretrained(folder)
            else:
                # The name and not the place: an adapter is used on other machines too.
                network.peft_config["default"].base_model_name_or_path = self.base
                network.save_pretrained(folder, save_embedding_layers=False)
        self.policy.tokenizer.save_pretrained(folder)
        self.policy.chat.save(folder)

    def finish(
        self,
        tokens: int,
        flops: float,
        seconds: float,
        log: Sequence[dict[str, float]],
        optimizers: Sequence[torch.optim.Optimizer] = (),
    ) -> TrainedModel:
        """Save the policy (whole weights or its adapter), note what training took, and drop the checkpoint."""
        import torch

        self.save_weights(self.out)
        held = [t for o in optimizers for s in o.state.values() for t in s.values() if isinstance(t, torch.Tensor)]
        held += self.trained  # as large as their gradients
        result = TrainedModel(
            name=f"{self.name}, {self.method}", folder=self.out, base=self.base, method=self.method,
            parameters=self.policy.parameters, trainable=sum(p.numel() for p in self.trained),
            bytes=self.policy.bytes + sum(t.numel() * t.element_size() for t in held),
            tokens=tokens, flops=flops, seconds=seconds, log=tuple(log),
        )  # fmt: skip
        write_json(self.out / "trained.json", {**asdict(result), "folder": "."})
        (self.out / CHECKPOINT).unlink(missing_ok=True)
        shutil.rmtree(self.out / "checkpoints", ignore_errors=True)
        return result


def open_run(
    model: LanguageModel | str | os.PathLike[str],
    out: str | os.PathLike[str],
    config: Any,
    facts: Sequence[Any] = (),
    device: str = "auto",
    chat: Chat | None = None,
) -> Run:
    """Take a folder for a run and load what it trains; `config` has `method`, `rank`, `alpha` and `seed`.

    A model in memory is saved with the weights it has now and trained from there. `facts` (JSON values) say what
    else makes the run what it is, such as its first questions. `chat` is how the model is spoken to in training, and
    is saved with it; None leaves its own. Raises ValueError where the folder holds another run.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    base, name = starting_point(model, out)
    policy = load_model(base, bits=BITS[config.method], device=device, chat=chat)
    finished = claim_folder(out, run_fingerprint(policy, list(facts), config))
    if config.method != "full" and finished is None:
        if hasattr(policy.model, "peft_config"):
            # An adapter goes on being trained; it belongs to the model under it.
            base = policy.model.peft_config["default"].base_model_name_or_path
            for key, parameter in policy.model.named_parameters():
                parameter.requires_grad_("lora_" in key)
        else:
            policy = _with_new_adapter(policy, config.rank, config.alpha, config.seed)
    return Run(policy, config.method, name, base, out, finished)


def _with_new_adapter(policy: LanguageModel, rank: int, alpha: int, seed: int) -> LanguageModel:
    """LoRA on every linear layer but the output, in float32 (in bfloat16 most small steps would be lost)."""
    import torch
    from peft import LoraConfig, get_peft_model

    settings = LoraConfig(
        r=rank, lora_alpha=alpha, lora_dropout=0.0, bias="none", target_modules="all-linear", use_rslora=False,
        use_dora=False, init_lora_weights=True, task_type="CAUSAL_LM",
    )  # fmt: skip
    with quiet(), torch.random.fork_rng():
        torch.manual_seed(seed)
        network: Any = get_peft_model(policy.model, settings)
    for parameter in network.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return LanguageModel(network.eval(), policy.tokenizer, policy.name, policy.bits, policy.chat)


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value


def _why(error: BaseException) -> str:
    cause: BaseException = error
    while not isinstance(cause, OSError) and (behind := cause.__cause__ or cause.__context__):
        cause = behind
    return (getattr(cause, "strerror", None) or str(error).strip().splitlines()[0]).rstrip(".")
