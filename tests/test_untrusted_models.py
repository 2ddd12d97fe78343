"""A model's files are data: code that lies beside the weights is never run, and pickled weights are not opened."""

from __future__ import annotations

import builtins
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from srm_utils.models import load_model

#: What a folder might bring along: it leaves a mark where it is run.
CODE = """
from pathlib import Path
from transformers import Qwen3Config, Qwen3ForCausalLM

(Path({mark!r})).touch()


class OwnConfig(Qwen3Config):
    model_type = "own"


class OwnModel(Qwen3ForCausalLM):
    config_class = OwnConfig
"""


@pytest.fixture
def own_code(tiny_checkpoint: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A whole model with code of its own beside it, and the file that this code would make."""
    folder, mark = tmp_path / "own", tmp_path / "mark"
    shutil.copytree(tiny_checkpoint, folder)
    (folder / "own.py").write_text(CODE.format(mark=str(mark)))
    return folder, mark


@pytest.fixture
def agreeable(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A person who answers yes to every question on the terminal; the questions asked."""
    asked: list[str] = []

    def answer(question: str = "") -> str:
        asked.append(question)
        return "y"

    monkeypatch.setattr(builtins, "input", answer)
    return asked


def changed(file: Path, **fields: object) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))


def own_architecture(folder: Path) -> None:
    names = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"}
    changed(folder / "config.json", model_type="own", auto_map=names)


def own_class_of_a_known_architecture(folder: Path) -> None:
    changed(folder / "config.json", auto_map={"AutoModelForCausalLM": "own.OwnModel"})


def own_tokenizer(folder: Path) -> None:
    changed(
        folder / "tokenizer_config.json",
        auto_map={"AutoTokenizer": ["own.OwnModel", "own.OwnModel"]},
        tokenizer_class="OwnTokenizer",
    )


def test_an_architecture_that_needs_code_of_its_own_is_refused(
    own_code: tuple[Path, Path], agreeable: list[str]
) -> None:
    folder, mark = own_code
    own_architecture(folder)
    with pytest.raises(ValueError, match="needs Python code of its own, which is never run; choose a model"):
        load_model(folder)
    assert not mark.exists() and not agreeable


@pytest.mark.parametrize("names_code", [own_class_of_a_known_architecture, own_tokenizer])
def test_code_beside_a_model_that_does_not_need_it_is_left_alone(
    own_code: tuple[Path, Path], agreeable: list[str], names_code: Callable[[Path], None]
) -> None:
    folder, mark = own_code
    names_code(folder)
    drawn = load_model(folder).sample(["Mary has"], max_new_tokens=2, temperature=0)
    assert len(drawn[0][0].token_ids) > 0
    assert not mark.exists() and not agreeable


def test_the_code_of_these_tests_would_leave_its_mark(
    own_code: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the tests above can fail: transformers runs it when it is told to."""
    from transformers import AutoConfig, dynamic_module_utils

    folder, mark = own_code
    own_architecture(folder)
    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    AutoConfig.from_pretrained(folder, trust_remote_code=True, local_files_only=True)
    assert mark.exists()


def test_pickled_weights_of_a_model_are_not_opened(tiny_checkpoint: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    folder = tmp_path / "pickled"
    shutil.copytree(tiny_checkpoint, folder)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="has no weights in safetensors; save or convert it"):
        load_model(folder)
