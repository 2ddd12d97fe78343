"""The bundled family: its text, its tokenizer, its training loop, and the files that ship."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from srm_utils.experiments import family_check
from srm_utils.experiments.family_check import _talk
from srm_utils.models import load_model
from srm_utils.models import pretrain as training
from srm_utils.models.arithmetic import fast_dtype
from srm_utils.models.documents import TASK_SHARES, Mixture, documents, sample_texts
from srm_utils.models.initial_weights import grown, new_model
from srm_utils.models.members import FAMILY, Member, family_folder
from srm_utils.models.muon import Muon
from srm_utils.models.pretrain import batch, encode, pretrain, spoil
from srm_utils.models.text.drills import check_sums, judge_own, mark_steps, meet_target, tell_apart
from srm_utils.models.text.items import Shown, written
from srm_utils.models.text.skills import SKILLS, verify
from srm_utils.models.text.talk import (
    TALK,
    TALK_SHARES,
    _said,
    check_all,
    talk_it_over,
    think_and_send,
    think_longer,
    try_again,
    write_again,
)
from srm_utils.models.tokenizer import build_tokenizer
from srm_utils.tasks import get_task
from srm_utils.tasks.problem import Prompt, split_of
from srm_utils.tasks.prompts import AGAIN
from srm_utils.tasks.replies import family_check as verdicts
from srm_utils.tasks.words import NAMES
from srm_utils.tasks.worlds import countdown, sorting

MINI = Member("mini", 3, 64, 2, 110, peak=8e-3)


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer(sample_texts(800), chat=False)


@pytest.fixture
def mini(monkeypatch: pytest.MonkeyPatch) -> Member:
    monkeypatch.setitem(FAMILY, "mini", MINI)
    monkeypatch.setattr(training, "sample_texts", lambda: sample_texts(800))
    monkeypatch.setattr(training, "BATCH_TOKENS", 1024)
    return MINI


# ---- tokenizer -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["Héllo  wörld! 4512 + 7 = 4519", "x_y\n\n\nb 😀 \t", "<|assistant|> no", "00123 1005", "", " ", "naïve\x00"],
)
def test_any_text_survives_a_round_trip(tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_numbers_are_one_token_and_large_ones_pairs_from_the_right(tokenizer) -> None:
    assert [len(tokenizer.encode(f" {i}")) for i in range(100)] == [1] * 100
    assert tokenizer.tokenize(" 4512 + 100") == ["▁45", "12", "▁+", "▁1", "00"]


def test_every_word_of_the_family_is_one_token() -> None:
    tokenizer = build_tokenizer(sample_texts(), chat=False)
    texts = [f"{p.text()} {a}" for items in islice(documents(Mixture(), "fresh"), 800) for p, a in items]
    words = {w.strip(".,?:;") for text in texts for w in text.split()} - {"Question", "Answer"}  # these open lines
    assert not {w for w in words if w.isalpha() and len(tokenizer.encode(f" {w}")) > 1}


def test_members_share_the_tokens_of_base(mini: Member, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shared = AutoTokenizer.from_pretrained(family_folder() / "base")
    assert training._tokenizer(FAMILY["base-large"], None).get_vocab() == shared.get_vocab()
    fresh = build_tokenizer(sample_texts(800), chat=False).get_vocab()
    assert fresh != shared.get_vocab()
    monkeypatch.setattr(training, "family_folder", lambda: tmp_path)
    assert training._tokenizer(mini, None).get_vocab() == fresh, "before there is a base"


# ---- documents -----------------------------------------------------------------------------------


def test_documents_hold_only_train_problems(monkeypatch: pytest.MonkeyPatch) -> None:
    from srm_utils.models import documents as mixed
    from srm_utils.models.text import drills, items, skills

    drawn, draw = [], items.draw
    for module in (mixed, drills, skills):
        monkeypatch.setattr(module, "draw", lambda task, rng: drawn.append(draw(task, rng)) or drawn[-1])
    list(islice(documents(Mixture(), "splits"), 300))
    assert len(drawn) > 300 and {split_of(p.canonical) for p in drawn} == {"train"}


def test_documents_are_a_function_of_their_seed() -> None:
    a, b, c = (list(islice(documents(Mixture(), seed), 40)) for seed in ("1", "1", "2"))
    assert a == b != c


def test_a_document_keeps_one_instruction_and_half_name_none() -> None:
    items = [d for d in islice(documents(Mixture(skills=0), "styles"), 1500)]
    assert all(len({p.instruction for p, _ in d}) == 1 for d in items)
    unmarked = sum(d[0][0].instruction == "" for d in items if d[0][0].question.startswith(("Some friends",)))
    graphs = sum(d[0][0].question.startswith("Some friends") for d in items)
    assert 0.4 < unmarked / graphs < 0.6


def test_retry_documents_can_be_left_out() -> None:
    wait = [
        sum("Wait" in a for d in islice(documents(m, "w"), 1500) for _, a in d)
        for m in (Mixture(), Mixture(retry=False))
    ]
    assert wait[0] > 0 and wait[1] == 0


@pytest.mark.parametrize("name", sorted(SKILLS))
def test_every_skill_writes_a_question_and_an_answer(name: str) -> None:
    task, rng = get_task(name), Random(3)
    for skill in SKILLS[name]:
        for problem in task.problems(12, split="train", seed=5):
            prompt, answer = skill(task, problem, rng)
            assert isinstance(prompt, Prompt) and prompt.question and answer.strip()
            assert "\n" not in prompt.text().split("Answer:")[1] + answer


def test_judgements_are_balanced() -> None:
    from srm_utils.models.text.skills import judge_solution, judge_step

    task, rng = get_task("chain"), Random(4)
    problems = task.problems(200, split="train", seed=6)
    for skill in (judge_step, judge_solution):
        yes = sum(skill(task, p, rng)[1] == "Yes." for p in problems)
        assert 70 < yes < 130


def test_shares_are_shares() -> None:
    assert sum(TASK_SHARES.values()) == pytest.approx(1)
    assert sum(TALK_SHARES.values()) == pytest.approx(1)
    assert set(TALK) == set(TALK_SHARES)


# ---- batches and the loop --------------------------------------------------------------------------


def test_answers_carry_the_loss_and_questions_little(tokenizer) -> None:
    ids, answers = encode([(Prompt("What is 2 + 3?"), "The answer is 5.")], tokenizer, chat=False)
    said = tokenizer.decode([i for i, a in zip(ids, answers, strict=True) if a])
    assert said == " The answer is 5.\n\n<|endoftext|>"


def test_batches_depend_on_seed_and_step_alone(tokenizer) -> None:
    a, b = batch(MINI, tokenizer, 3), batch(MINI, tokenizer, 3)
    assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
    assert not torch.equal(a[0], batch(MINI, tokenizer, 4)[0])
    question = tokenizer.encode("Question")[0]
    assert (a[0][:, 0] == question).all(), "every row starts with a document"
    assert a[0].shape == a[1].shape and a[1].max() == 1 and (a[1] == training.QUESTION_WEIGHT).any()


def test_a_miniature_learns(mini: Member, tmp_path: Path) -> None:
    folder = pretrain("mini", tmp_path / "mini", progress=False, device="cpu")
    facts = json.loads((folder / "training.json").read_text())
    losses = [r["loss"] for r in facts["log"]]
    assert losses[-1] < 0.55 * losses[0]
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    ids, weights, _ = batch(MINI, tokenizer, 10_000)  # text it has not read
    with torch.no_grad():
        guess = model(input_ids=ids[:4]).logits[:, :-1].argmax(-1)
    counted = weights[:4, 1:] == 1
    right = (guess == ids[:4, 1:])[counted].float().mean()
    commonest = ids[:4, 1:][counted].bincount().max() / counted.sum()
    assert right > 2 * commonest, "no better than always saying the commonest token"


def test_an_interrupted_run_ends_with_the_same_weights(
    mini: Member, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = pretrain("mini", tmp_path / "a" / "mini", steps=8, progress=False, device="cpu")
    real = training.batch

    def interrupted(member, tokenizer, step):
        if step == 5:
            raise KeyboardInterrupt
        return real(member, tokenizer, step)

    monkeypatch.setattr(training, "batch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pretrain("mini", tmp_path / "b" / "mini", steps=8, progress=False, device="cpu")
    monkeypatch.setattr(training, "batch", real)
    resumed = pretrain("mini", tmp_path / "b" / "mini", steps=8, progress=False, device="cpu")
    assert (whole / "model.safetensors").read_bytes() == (resumed / "model.safetensors").read_bytes()
    assert not (resumed / "training-state.pt").exists()


@pytest.mark.parametrize(
    ("seconds", "dtype"),
    [((1.0, 10.0), torch.float32), ((1.0, 0.9), torch.float32), ((1.0, 0.3), torch.bfloat16)],
)
def test_a_cpu_computes_in_what_is_faster_there(seconds: tuple[float, float], dtype: torch.dtype) -> None:
    assert fast_dtype("cpu", lambda: seconds) == dtype


@pytest.mark.parametrize(("native", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_a_gpu_says_whether_it_has_bfloat16(native: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native)
    assert fast_dtype.__wrapped__("cuda:0") == dtype and fast_dtype.__wrapped__("mps") == torch.float32


def test_this_processor_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    count = lambda: asked.append(1) or (1.0, 0.1)  # noqa: E731
    assert {fast_dtype("cpu", count) for _ in range(3)} == {torch.bfloat16} and len(asked) == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_run_computes_and_resumes_in_the_dtype_it_began_in(
    dtype: torch.dtype, mini: Member, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    products, real, other = [], training.batch, {torch.float32: torch.bfloat16, torch.bfloat16: torch.float32}
    step = Muon.step

    def noted(self, closure=None):
        products.append(self.dtype)
        return step(self, closure)

    def interrupted(member, tokenizer, number):
        if number == 1:
            raise KeyboardInterrupt
        return real(member, tokenizer, number)

    monkeypatch.setattr(Muon, "step", noted)
    monkeypatch.setattr(training, "fast_dtype", lambda device: dtype)
    monkeypatch.setattr(training, "batch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pretrain("mini", tmp_path / "mini", steps=2, progress=False, device="cpu")
    # It goes on where the other arithmetic would have been chosen.
    monkeypatch.setattr(training, "fast_dtype", lambda device: other[dtype])
    monkeypatch.setattr(training, "batch", real)
    folder = pretrain("mini", tmp_path / "mini", steps=2, progress=False, device="cpu")
    assert products == [dtype, dtype]
    assert json.loads((folder / "training.json").read_text())["dtype"] == str(dtype)


def test_muon_is_torchs_in_bfloat16_and_close_to_it_in_float32() -> None:
    def trained(make) -> list[torch.Tensor]:
        generator = torch.Generator().manual_seed(0)
        weights = [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in ((12, 30), (30, 12))]
        optimizer = make(weights)
        for _ in range(3):
            for weight in weights:
                weight.grad = torch.randn(weight.shape, generator=generator)
            optimizer.step()
        return [weight.detach() for weight in weights]

    options = {"lr": 0.1, "weight_decay": 0.1, "momentum": 0.9}
    theirs = trained(lambda w: torch.optim.Muon(w, adjust_lr_fn="match_rms_adamw", **options))
    half, single, double = (
        trained(lambda w, dtype=dtype: Muon(w, dtype, **options))
        for dtype in (torch.bfloat16, torch.float32, torch.float64)
    )
    for a, b, c, d in zip(theirs, half, single, double, strict=True):
        assert torch.equal(a, b)
        assert 0 < (a - c).abs().max() < 0.03, "bfloat16 rounds, and no more"
        assert (c - d).abs().max() < 1e-5


def test_growing_keeps_the_function(mini: Member, tokenizer) -> None:
    model = new_model(MINI, tokenizer)
    deeper = grown(model, 5)
    ids = torch.randint(0, 500, (2, 20))
    with torch.no_grad():
        assert torch.allclose(model(input_ids=ids).logits, deeper(input_ids=ids).logits, atol=1e-6)
    assert deeper.config.num_hidden_layers == 5


@pytest.mark.parametrize("name", ["base", "base-small", "base-large"])
def test_a_fresh_model_looks_for_what_followed_a_name_and_a_filler(name: str, tokenizer) -> None:
    torch.manual_seed(0)
    model = new_model(FAMILY[name], tokenizer)
    model.set_attn_implementation("eager")
    weights = []
    for problem in get_task("graph").problems(30, split="train", seed=2):
        ids = tokenizer.encode(f"{problem.question} {problem.facts['target']} has", add_special_tokens=False)
        with torch.no_grad():
            attention = model(input_ids=torch.tensor([ids]), output_attentions=True).attentions[1][0, 0, -1]
        told = next(i for i in range(len(ids) - 2) if ids[i : i + 2] == ids[-2:]) + 2
        weights.append(float(attention[told]) * len(ids))
    assert sum(weights) / len(weights) > 8, "no better than looking everywhere alike"


def test_unknown_members_and_missing_parents_are_sentences(mini: Member, tmp_path: Path, monkeypatch) -> None:
    with pytest.raises(ValueError, match="no family member 'bsae'"):
        pretrain("bsae", tmp_path)
    monkeypatch.setitem(FAMILY, "orphan", Member("orphan", 2, 64, 2, 5, parent="nobody"))
    with pytest.raises(ValueError, match="srm pretrain nobody"):
        pretrain("orphan", tmp_path / "orphan")


@pytest.mark.parametrize(
    ("out", "steps", "says"),
    [
        (None, 10, "The bundled 'base' takes 3400 steps, not 10; name the folder of another one with --out"),
        (None, None, "The bundled 'base' is trained already; name the folder of another one with --out"),
        ("base", 10, "belongs to the bundled models; name a folder of your own with --out"),
        ("base/../base", 10, "belongs to the bundled models"),
        ("instruct", None, "belongs to the bundled models"),
        ("base/inside", None, "belongs to the bundled models"),
        ("elsewhere", 0, "--steps is how many optimiser steps to take, at least 1, not 0"),
    ],
)
def test_a_shipped_model_is_not_written_over(
    out: str | None, steps: int | None, says: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    family = tmp_path / "family"
    for name in ("base", "instruct"):
        (family / name).mkdir(parents=True)
        (family / name / "model.safetensors").write_bytes(b"weights")
    monkeypatch.setattr(training, "family_folder", lambda: family)
    before = sorted(family.rglob("*"))
    with pytest.raises(ValueError, match=re.escape(says)):
        pretrain("base", None if out is None else family / out, steps=steps, progress=False)
    assert sorted(family.rglob("*")) == before
    # The family itself is trained by naming a member's own folder, or where there is none yet.
    assert training._checked_folder("base", family / "base", None) == family / "base"
    assert training._checked_folder("base-small", None, None) == family / "base-small"
    assert training._checked_folder("base", tmp_path / "mine", 10) == tmp_path / "mine"


# ---- the files that ship ----------------------------------------------------------------------------


def test_shipped_weights_are_the_frozen_ones() -> None:
    frozen = json.loads((family_folder() / "hashes.json").read_text())
    assert {"base", "instruct"} <= set(frozen)
    for name, sha in frozen.items():
        weights = family_folder() / name / "model.safetensors"
        assert hashlib.sha256(weights.read_bytes()).hexdigest() == sha, f"{name}: run `srm check family --freeze`"
        card = (family_folder() / name / "README.md").read_text()
        assert sha in card and "training.json" not in card
        measured = re.search(r"^\| .+ \| [01]\.\d{3} \| [01]\.\d{3} to [01]\.\d{3} \|", card, re.MULTILINE)
        assert measured, f"{name} has no figure: run `srm check family`"
    assert sum(p.stat().st_size for p in family_folder().rglob("*") if p.is_file()) < 40e6


def test_a_check_holds_the_weights_to_their_hashes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("base", "instruct"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(name.encode())
    monkeypatch.setattr(family_check, "family_folder", lambda: tmp_path)
    assert family_check.changed() == ["base", "instruct"], "never frozen"
    family_check.freeze()
    assert family_check.changed() == []
    (tmp_path / "base" / "model.safetensors").write_bytes(b"retrained")
    (tmp_path / "instruct" / "model.safetensors").unlink()
    frozen = (tmp_path / "hashes.json").read_bytes()
    said = []
    assert family_check.check_family(say=said.append) is False
    assert said == [
        "FAIL The weights of base, instruct are not those of hashes.json; restore them from version control, "
        "or freeze retrained ones with `srm check family --freeze`."
    ]
    assert (tmp_path / "hashes.json").read_bytes() == frozen and not (tmp_path / "check.json").exists()


def test_drills_mark_right_exactly_what_is_right():
    rng, marks = Random(0), Counter()
    for _ in range(60):
        ((asked, said),) = tell_apart(rng)
        pairs = re.findall(r"(\d+) told (\d+) (right|wrong)\.", said)
        assert asked.question == ", ".join(f"{own} told {shown}" for own, shown, _ in pairs)
        assert all((own == shown) == (mark == "right") for own, shown, mark in pairs)
        ((asked, said),) = check_sums(rng)
        sums = re.findall(r"(\d+ . \d+) = (\d+) (right|wrong)\.", said)
        assert asked.question == ", ".join(left for left, *_ in sums), "a result shown would be copied"
        assert all((eval(left) == int(made)) == (mark == "right") for left, made, mark in sums)
        marks.update(
            "far" if abs(eval(left) - int(made)) > 3 else "near" for left, made, mark in sums if mark == "wrong"
        )
        marks.update(f"sum {mark}" for *_, mark in sums)
        ((puzzle, said),) = meet_target(rng)
        target = re.search(r"make (\d+)|Make (\d+)", puzzle.question)
        tried = re.findall(r"Try (\d+ . \d+) = (\d+)\. (Yes|No)\.", said)
        assert ". ".join(f"Try {move} = {made}. {mark}" for move, made, mark in tried) + "." == said
        assert all(eval(move) == int(made) for move, made, _ in tried)
        assert all((made in target.groups()) == (mark == "Yes") for _, made, mark in tried)
        marks.update(mark for *_, mark in tried)
        marks.update(["pair"] * len(pairs))
        marks.update(mark for *_, mark in pairs)
    assert 0.4 < marks["Yes"] / (marks["Yes"] + marks["No"]) < 0.7
    assert marks["pair"] > 200 and 0.4 < marks["right"] / marks["pair"] < 0.6
    assert 0.7 < marks["sum right"] / marks["sum wrong"] < 1.4 and min(marks["near"], marks["far"]) > 80


def test_a_drill_marks_the_steps_of_a_solution_and_asks_for_a_verdict_on_it():
    rng, seen = Random(1), Counter()
    for _ in range(60):
        ((asked, said),) = mark_steps(rng)
        marks = re.findall(r"(right|wrong)\.", said)
        assert set(marks[:-1]) <= {"right"}, "nothing stands after the first error"
        seen[marks[-1]] += 1
        (prompt, shown), (_, verdict) = judge_own(rng)
        assert isinstance(shown, Shown) and not isinstance(verdict, Shown)
        words = {"countdown": " with + - ", "graph": "Some friends", "chain": ""}
        name = next(task for task, word in words.items() if word in prompt.question)
        equations = re.findall(r"(\d+ [-+*/] \d+) = (\d+)", shown)
        false = [left for left, made in equations if eval(left) != int(made)]
        assert not (false and verdict == "Yes."), "a false equation is never called right"
        seen[f"{name} {verdict}"] += 1
    assert min(seen["right"], seen["wrong"]) > 10 and len(seen) == 8


def test_what_may_be_wrong_is_read_and_not_learnt():
    tokenizer = build_tokenizer(["a ? b"], chat=True)
    ids, learnt = encode([(Prompt("a ?"), Shown("b")), (Prompt("b ?"), "a")], tokenizer, chat=True)
    second = len(ids) - 1 - ids[::-1].index(tokenizer.convert_tokens_to_ids("<|assistant|>"))
    assert learnt == [at > second for at in range(len(ids))]


def test_only_members_that_are_meant_to_read_drills():
    def drilled(mixture):
        drawn = list(islice(documents(mixture, "drills"), 300))
        marked = [i[0][0] for i in drawn if i[0][0].instruction == "Check every step."]
        bare = [p for p in marked if " Steps: " not in p.question and "No steps yet" not in p.question]
        return len(bare) + sum(isinstance(items[0][1], Shown) for items in drawn)

    assert drilled(Mixture()) == 0 and 40 < drilled(Mixture(drills=0.25)) < 110


def test_a_check_ends_at_the_first_step_that_differs():
    rng = Random(1)
    for name in ("chain", "graph", "sudoku"):
        task = get_task(name)
        for problem in task.problems(20, split="train"):
            prompt, said = verify(task, problem, rng)
            marks = re.findall(r"(\d+)(?: by \w+)? told (\d+) (right|wrong)", said)
            assert all((own == shown) == (mark == "right") for own, shown, mark in marks)
            assert [mark for *_, mark in marks[:-1]] == ["right"] * (len(marks) - 1)
            assert said.endswith("Yes." if marks[-1][2] == "right" else "No.") and len(marks) <= len(problem.steps)


@pytest.mark.parametrize("name", ["chain", "countdown", "graph", "sorting"])
def test_talk_ends_in_right_solutions_and_its_checks_find_what_is_wrong(name: str) -> None:
    task, rng = get_task(name), Random(2)
    solving = (write_again, try_again, talk_it_over, think_longer)
    ends = Counter()
    for problem in task.problems(40, split="train", seed=3):
        for write in solving:
            prompt, said = write(task, problem, rng)
            assert task.grade(said, problem) == "correct", (write.__name__, prompt, said)
        prompt, said = check_all(task, problem, rng)
        judged, whole = verdicts(said)
        # A step is called wrong at the end of the check or nowhere, and then the whole is wrong.
        assert whole is all(judged) and all(judged[:-1])
        ends[whole] += 1
    assert min(ends[True], ends[False]) >= 8
    assert set(solving) < set(TALK[name])


@pytest.mark.parametrize("name", ["countdown", "sorting"])
def test_a_written_check_says_yes_to_right_solutions_alone(name: str) -> None:
    world = {"countdown": countdown, "sorting": sorting}[name]
    task, rng, found = get_task(name), Random(5), Counter()
    for problem in task.problems(150, split="train", seed=4):
        for good in (True, False):
            steps = _said(task, problem, rng, good)
            text, at = world.written_check(problem, steps)
            whole = written(task, problem, steps)
            assert (task.grade(whole, problem) == "correct") is good, whole
            assert text.endswith("Yes." if good else "No.") and (at is None) is good
            if at is not None:
                # All before it is true of what stands before it.
                marks = {c.text: c.verdict for c in task.check_steps(". ".join(steps[: at + 1]) + ".", problem)}
                assert all(marks.get(step) != "wrong" for step in steps[:at])
                found[marks.get(steps[at]) == "wrong" or at == len(steps) - 1] += 1
    assert found == {True: 150}


def test_gold_steps_are_written_as_the_gold_solution() -> None:
    for name in ("chain", "countdown", "graph", "sorting"):
        task = get_task(name)
        for problem in task.problems(20, split="train", seed=6):
            assert written(task, problem, problem.steps) == task.solution(problem, "cot")


def test_what_stands_before_a_second_thought_is_read_and_not_learnt() -> None:
    task, tokenizer = get_task("countdown"), AutoTokenizer.from_pretrained(family_folder() / "instruct")
    prompt, said = think_longer(task, task.problems(1, split="train")[0], Random(1))
    assert prompt.prefill.endswith(AGAIN) and prompt.instruction == task.prompt(task.problems(1)[0], "cot").instruction
    ids, learnt = encode([(prompt, said)], tokenizer, chat=True)
    first = learnt.index(True)
    assert all(learnt[first:]) and tokenizer.decode(ids[first:]).removesuffix("<|endoftext|>").strip() == said
    # As a model is asked at its use.
    assert load_model("instruct").encode(prompt) == ids[:first]


def test_only_a_member_that_is_meant_to_reads_talk() -> None:
    def waits(mixture: Mixture) -> int:
        return sum(bool(p.prefill) for items in islice(documents(mixture, "talk"), 400) for p, _ in items)

    assert waits(Mixture(chat=True)) == 0 < waits(FAMILY["dialogue"].mixture)


def test_who_learns_to_talk_thinks_before_every_message_and_the_others_only_send() -> None:
    def turns(mixture: Mixture) -> list[str]:
        items = (item for items in islice(documents(mixture, "send"), 1500) for item in items)
        return [said for prompt, said in items if prompt.instruction == "Share what we know." and "Message:" in said]

    plain, thought = turns(Mixture(chat=True)), turns(FAMILY["dialogue"].mixture)
    assert len(plain) > 5 and all(said.startswith("Message:") for said in plain)
    assert len(thought) > 20 and all(re.search(r"\w+ is not \w+ yet\. Message: ", said) for said in thought)


def test_a_turn_that_must_answer_does_and_every_word_of_a_turn_is_known() -> None:
    task, rng, tokenizer = get_task("split-evidence"), Random(3), load_model("instruct").tokenizer
    turns = [think_and_send(task, p, rng) for p in task.problems(120, split="train")]
    ends = [task.extract(said) for prompt, said in turns if prompt.instruction != "Share what we know."]
    assert len(ends) > 15 and set(ends) == {"yes", "no"}
    assert all(tokenizer.decode(tokenizer(said)["input_ids"]).strip() == said for _, said in turns)


def test_a_card_sets_what_talk_taught_beside_its_parent() -> None:
    checks = list(_talk(6))
    said = Counter(c.what.split(", ")[0] for c in checks)
    assert said["dialogue"] == said["instruct"] == len(checks) / 2 and len({c.what for c in checks}) == len(checks)
    assert all(0 <= c.interval[0] <= c.value <= c.interval[1] <= 1 and c.passed for c in checks)
    together = {c.what.split(", ")[0]: c.value for c in checks if "two with half of it" in c.what}
    assert together["dialogue"] > 0.5


def test_grown_layers_look_back_and_change_nothing():
    small = new_model(FAMILY["base-small"], build_tokenizer(["a b c d"], chat=False)).eval()
    deeper = grown(small, 6).eval()
    ids = torch.tensor([[3, 4, 5, 6, 4, 3]])
    with torch.no_grad():
        assert torch.allclose(small(ids).logits, deeper(ids).logits, atol=1e-5)
    looking = [layer.self_attn.k_proj.bias.max().item() == 4.0 for layer in deeper.model.layers]
    assert looking == [True, True, False, True, False, True], "the first of old ones, and every new one"


def test_spoiling_replaces_words_of_answers_by_others_of_their_kind_and_says_where():
    task, tokenizer = get_task("graph"), AutoTokenizer.from_pretrained(family_folder() / "instruct")
    kinds, rng, spoiled, judged = training.interchangeable(tokenizer), Random(0), 0, 0
    assert {len(kind) for kind in kinds.values()} == {100, 4, len(NAMES)}
    for problem in task.problems(40, split="train"):
        ids, answers = encode([(task.prompt(problem, "cot"), task.solution(problem, "cot"))], tokenizer, chat=True)
        shown, verdicts = spoil(ids, answers, kinds, 0.2, rng)
        assert len(shown) == len(ids) == len(verdicts)
        for old, new, answer, verdict in zip(ids, shown, answers, verdicts, strict=True):
            assert (verdict >= 0) == (answer and old in kinds)
            assert (new != old) == (verdict == 1) and (verdict < 1 or new in kinds[old])
        judged, spoiled = judged + sum(v >= 0 for v in verdicts), spoiled + verdicts.count(1)
    assert 0.17 < spoiled / judged < 0.23
    assert spoil(ids, answers, kinds, 0.0, rng)[0] == ids


def test_a_batch_never_teaches_what_was_put_in():
    member = replace(FAMILY["instruct"], mixture=Mixture(spoiled=0.3, chat=True))
    tokenizer = AutoTokenizer.from_pretrained(family_folder() / "instruct")
    ids, weights, verdicts = batch(member, tokenizer, 0)
    assert (verdicts == 1).sum() > 100 and (weights[verdicts == 1] == 0).all() and (weights[verdicts == 0] == 1).all()
    plain = batch(replace(member, mixture=Mixture(chat=True)), tokenizer, 0)
    assert torch.equal(ids[verdicts < 1], plain[0][verdicts < 1]), "all else stays"
    assert (plain[2] == -1).all()


def test_the_verdict_loss_compares_two_words():
    tokenizer = AutoTokenizer.from_pretrained(family_folder() / "instruct")
    wrong, right = (tokenizer.convert_tokens_to_ids(f"▁{word}") for word in ("wrong", "right"))
    logits, verdicts = torch.zeros(1, 3, len(tokenizer)), torch.tensor([[1, 0, -1]])
    assert training._verdict_loss(logits, verdicts, tokenizer) == pytest.approx(np.log(2))
    logits[0, 0, wrong], logits[0, 1, right], logits[0, 2, wrong] = 3.0, 1.0, 50.0
    expected = (np.log1p(np.exp(-3)) + np.log1p(np.exp(-1))) / 2
    assert training._verdict_loss(logits, verdicts, tokenizer) == pytest.approx(expected)
