"""Shared by all tests: one thread each, no network, and small notebooks to run."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import srm_utils.collection.execute  # noqa: F401  (before nbformat, which then compiles no grammar)

if TYPE_CHECKING:
    from srm_utils.models import LanguageModel

# Before any numerical library is imported: tests run side by side.
for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MPLBACKEND", "agg")

ROOT = Path(__file__).resolve().parents[1]


#: The modules that import Triton, which is optional, at their top.
NEED_TRITON = ("unpack", "gemv", "gemm", "linear")


def pytest_configure(config: pytest.Config) -> None:
    """Where Triton is missing, its modules' doctests cannot be collected; any other import error stays an error."""
    if find_spec("triton") is None:
        kernels = [str(ROOT / "srm_utils" / "kernels" / f"{name}.py") for name in NEED_TRITON]
        config.option.ignore = [*(config.option.ignore or []), *kernels]


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the groups in the same hook
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out, by name, what needs a GPU where there is none; torch is imported only if something does.

    Workers side by side take whole files, for their fixtures, but slow tests one by one: whoever is free runs the next.
    """
    for item in items:
        alone = item.get_closest_marker("slow") is not None
        item.add_marker(pytest.mark.xdist_group(item.nodeid if alone else item.nodeid.split("::")[0]))
    wanted = [item for item in items if item.get_closest_marker("gpu")]
    if not wanted:
        return
    import torch

    if not torch.cuda.is_available():
        for item in wanted:
            item.add_marker(pytest.mark.skip(reason="needs an NVIDIA GPU, and there is none here"))


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model that has learnt nothing, with the words of chain problems; some of many words end its answers."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    from srm_utils.models.tokenizer import build_tokenizer
    from srm_utils.tasks import get_task

    folder, task = tmp_path_factory.mktemp("tiny"), get_task("chain")
    texts = [f"{p.question} {task.solution(p, 'cot')}" for p in task.problems(40, split="train")]
    words = build_tokenizer(texts, chat=False)
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=len(words), hidden_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        head_dim=16, intermediate_size=64, max_position_embeddings=256, tie_word_embeddings=True, bos_token_id=None,
        eos_token_id=words.eos_token_id, pad_token_id=words.pad_token_id, initializer_range=0.1,
    )  # fmt: skip
    Qwen3ForCausalLM(config).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def make_notebook() -> Callable[..., Path]:
    """Write a notebook: a parameters cell, then code cells."""
    import nbformat

    def make(path: Path, cells: Sequence[str], parameters: str = "profile = 'smoke'\nseed = 0", **srm: object) -> Path:
        nb = nbformat.v4.new_notebook()
        nb.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nb.metadata["srm"] = {"title": path.stem, **srm}
        nb.cells = [nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})]
        nb.cells += [nbformat.v4.new_code_cell(source) for source in cells]
        path.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(nb, path)
        return path

    return make


@pytest.fixture(scope="session")
def untrained() -> Callable[..., LanguageModel]:
    """Makes tiny models of a seed that have learnt nothing and know every word of chain problems."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    from srm_utils.models import LanguageModel
    from srm_utils.models.tokenizer import build_tokenizer
    from srm_utils.tasks import get_task

    task = get_task("chain")
    texts = [f"{p.question} {task.solution(p, 'verbose')}" for p in task.problems(60, split="train")]

    def make(seed: int = 0) -> LanguageModel:
        words = build_tokenizer(texts, chat=False)
        torch.manual_seed(seed)
        config = Qwen3Config(
            vocab_size=len(words), hidden_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
            head_dim=16, intermediate_size=128, max_position_embeddings=256, tie_word_embeddings=True,
            bos_token_id=None, eos_token_id=words.eos_token_id, pad_token_id=words.pad_token_id, initializer_range=0.1,
        )  # fmt: skip
        return LanguageModel(Qwen3ForCausalLM(config).eval(), words, "tiny")

    return make


@pytest.fixture(scope="session")
def untrained_checkpoint(untrained: Callable[..., LanguageModel], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The untrained model of seed 0, saved."""
    folder, model = tmp_path_factory.mktemp("untrained"), untrained()
    model.model.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    return folder
