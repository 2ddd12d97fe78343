"""How does it learn? One file a technique, each with its loss and a `train_*` that returns a `TrainedModel`."""

from __future__ import annotations

from srm_utils.training.supervised import SupervisedConfig, TrainedModel, merge_adapter, sft_loss, train_supervised

__all__ = ["SupervisedConfig", "TrainedModel", "merge_adapter", "sft_loss", "train_supervised"]
