"""Profiles: which models and sizes each sets, how a person names models, and what a notebook is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from srm_utils.collection.profiles import PROFILES, ROLES, from_here, get_profile


def roles(name: str) -> dict[str, str]:
    profile = get_profile(name, on_real_model=True)
    return {role: getattr(profile, role) for role in ROLES}


def test_real_is_the_real_model_for_a_notebook_that_is_prepared_for_it() -> None:
    real = get_profile("real", on_real_model=True)
    assert (real.base, real.instruct, real.dialogue) == ("smollm2", "smollm2-cot", "smollm2-cot")
    assert real.task == "stories" and real.device == "cpu" and real.world == "real"
    assert real.n_problems < PROFILES["cpu"].n_problems, "a real model is a hundred times as slow"


def test_real_is_the_bundled_family_for_any_other_notebook_and_says_so() -> None:
    other = get_profile("real", n_problems=5)
    smoke = PROFILES["smoke"]
    assert (other.base, other.task, other.train_steps) == (smoke.base, smoke.task, smoke.train_steps)
    assert other.world == "bundled" and other.name == "real" and other.n_problems == 5
    (said,) = other.notes
    assert "comes later" in said


@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("cpu:smollm2", {"base": "smollm2", "instruct": "smollm2", "dialogue": "smollm2"}),
        ("cpu:teacher=base-large", {"teacher": "base-large"}),
        ("smoke:large=a/b, small=c/d", {"large": "a/b", "small": "c/d"}),
        ("real:o/m,instruct=o/n", {"base": "o/m", "instruct": "o/n", "dialogue": "o/m"}),
        ("cpu:./lr=3", {"base": "./lr=3", "instruct": "./lr=3", "dialogue": "./lr=3"}),
        (
            "gpu:qwen3-0.6b,teacher=o/t",
            {
                "base": "Qwen/Qwen3-0.6B-Base",
                "instruct": "Qwen/Qwen3-0.6B",
                "dialogue": "Qwen/Qwen3-0.6B",
                "teacher": "o/t",
            },
        ),
    ],
)
def test_models_are_named_by_role_and_all_others_stay(name: str, named: dict[str, str]) -> None:
    assert roles(name) == roles(name.partition(":")[0]) | named


def test_one_sentence_says_which_roles_are_set_and_which_stay(capsys: pytest.CaptureFixture[str]) -> None:
    get_profile("cpu:base-seed1,large=instruct").setup()
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    assert "base-seed1 as base, instruct and dialogue, instruct as large" in said
    assert "teacher (teacher) and small (base-small) stay" in said
    get_profile("cpu").setup()
    assert capsys.readouterr().out == "", "nothing is said where nothing is replaced"


def test_a_sentence_about_roles_names_those_that_a_notebook_set_itself() -> None:
    (said,) = get_profile("real", on_real_model=True, small="mine").notes
    assert "mine as small" in said and "teacher (teacher) and large (base-large) stay" in said


@pytest.mark.parametrize("name", ["cpu:smollm2,techer=x", "gpu:instructor=x"])
def test_an_unknown_role_names_the_nearest(name: str) -> None:
    with pytest.raises(ValueError, match="There is no role .* did you mean (teacher|instruct)"):
        get_profile(name)


@pytest.mark.parametrize("name", ["cpu:a,b", "cpu:a,teacher=", "cpu:a,", "cpu:,teacher=a"])
def test_a_model_without_a_role_and_a_role_without_a_model_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="names no model for a role; write PROFILE:MODEL"):
        get_profile(name)


def test_a_model_that_was_not_fetched_is_named_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SRM_CACHE", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="srm models fetch smollm2"):
        get_profile("real", on_real_model=True).setup()
    assert get_profile("real").setup().base == "base", "a notebook on the bundled models does not need it"


def test_folders_are_meant_from_here_in_every_role(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("mine", "smollm2", "lr=3"):
        (tmp_path / name).mkdir()
    assert from_here("cpu:mine,teacher=mine") == f"cpu:{tmp_path / 'mine'},teacher={tmp_path / 'mine'}"
    assert from_here("cpu:./lr=3") == f"cpu:{tmp_path / 'lr=3'}"
    for name in ("real", "cpu:smollm2", "gpu:o/m,small=elsewhere"):
        assert from_here(name) == name


def test_a_run_with_any_other_model_is_not_in_the_bundled_world() -> None:
    worlds = {n: get_profile(n, on_real_model=True).world for n in ("smoke", "cpu:base", "cpu:large=o/m", "gpu")}
    assert worlds == {"smoke": "bundled", "cpu:base": "bundled", "cpu:large=o/m": "real", "gpu": "real"}
    assert get_profile("cpu", instruct="./mine").world == "real", "a notebook's own parameter counts as well"
