"""Distillation: divergences against explicit sums and TRL, whose samples are read, what students are shown."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import cycle

import pytest
import torch
import torch.nn.functional as F
from transformers import Qwen3Config, Qwen3ForCausalLM

from srm_utils.models import LanguageModel, load_model
from srm_utils.models.tokenizer import build_tokenizer
from srm_utils.sampling.completion import Completion, Cost, group_cost
from srm_utils.tasks import get_task
from srm_utils.tasks.problem import Prompt
from srm_utils.training import distillation as module
from srm_utils.training.annotation import gold
from srm_utils.training.distillation import (
    DistillationConfig,
    answer_questions,
    completion_logits,
    decomposition,
    distillation_loss,
    mixed,
    socratic,
    train_distilled,
    with_rationales,
)
from srm_utils.training.supervised import encode_example

TASK = get_task("chain")
PROBLEMS = TASK.problems(12, split="train", difficulty=(1, 3))
DATA = [(TASK.prompt(p, "unmarked"), TASK.solution(p, "cot" if i % 2 else "direct")) for i, p in enumerate(PROBLEMS)]
BETAS = (0.0, 0.1, 0.5, 0.9, 1.0)


def tokenizer(chat=False, extra=""):
    problems = TASK.problems(60, split="train")
    return build_tokenizer([f"{p.question} {TASK.solution(p, 'verbose')} {extra}" for p in problems], chat)


def network(seed, layers=2, padding=0, tied=True):
    words = tokenizer()
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=len(words) + padding, hidden_size=64, num_hidden_layers=layers, num_attention_heads=4,
        num_key_value_heads=2, head_dim=16, intermediate_size=128, max_position_embeddings=256,
        tie_word_embeddings=tied, bos_token_id=None, eos_token_id=words.eos_token_id, pad_token_id=words.pad_token_id,
        initializer_range=0.1,
    )  # fmt: skip
    return Qwen3ForCausalLM(config).eval()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("student")
    network(0).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def teacher():
    return LanguageModel(network(1, layers=3, padding=5), tokenizer(chat=True), "teacher")


def weights(model):
    return {k: v.clone() for k, v in model.model.state_dict().items()}


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


# ---------------------------------------------------------------- the divergence


def logits(seed, rows=3, tokens=5, vocabulary=7):
    return 2 * torch.randn(rows, tokens, vocabulary, generator=torch.Generator().manual_seed(seed))


MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 1, 1, 1, 0]])


def by_hand(student, teacher, beta):
    """The definition, summed in Python over an enumerated vocabulary."""
    total = 0.0
    for row, token in MASK.nonzero().tolist():
        q, p = ([math.exp(x) for x in t[row, token].tolist()] for t in (student, teacher))
        q, p = [x / sum(q) for x in q], [x / sum(p) for x in p]
        m = [beta * a + (1 - beta) * b for a, b in zip(p, q, strict=True)]
        if beta == 0:
            total += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
        elif beta == 1:
            total += sum(b * math.log(b / a) for a, b in zip(p, q, strict=True))
        else:
            total += beta * sum(a * math.log(a / c) for a, c in zip(p, m, strict=True))
            total += (1 - beta) * sum(b * math.log(b / c) for b, c in zip(q, m, strict=True))
    return total / int(MASK.sum())


@pytest.mark.parametrize("beta", BETAS)
def test_divergences_are_the_sums_that_define_them(beta):
    student, teacher = logits(1), logits(2)
    assert float(distillation_loss(student, teacher, MASK, beta)) == pytest.approx(
        by_hand(student, teacher, beta), 1e-5
    )
    student[MASK == 0] = math.nan  # what stands under the padding does not matter
    assert math.isfinite(float(distillation_loss(student, teacher, MASK, beta)))


def test_forward_kl_is_cross_entropy_minus_the_teachers_entropy():
    student, teacher = logits(1)[MASK == 1], logits(2)[MASK == 1]
    p = teacher.softmax(-1)
    entropy = -(p * p.log()).sum(-1).mean()
    forward = distillation_loss(logits(1), logits(2), MASK)
    assert float(forward) == pytest.approx(float(F.cross_entropy(student, p) - entropy), rel=1e-5)


def test_the_ends_are_the_limits_and_the_middle_is_symmetric_and_bounded():
    student, teacher = logits(1), logits(2)
    near = 1e-3
    forward, reverse = (float(distillation_loss(student, teacher, MASK, b)) for b in (0.0, 1.0))
    assert abs(forward - reverse) > 0.1
    at = {b: float(distillation_loss(student, teacher, MASK, b)) for b in (near, 0.3, 0.7, 1 - near)}
    assert at[near] / near == pytest.approx(forward, rel=0.02)
    assert at[1 - near] / near == pytest.approx(reverse, rel=0.02)
    assert float(distillation_loss(teacher, student, MASK, 0.7)) == pytest.approx(at[0.3], rel=1e-5)
    apart = torch.tensor([[[60.0, 0.0]]]), torch.tensor([[[0.0, 60.0]]]), torch.ones(1, 1)
    assert float(distillation_loss(*apart, 0.5)) == pytest.approx(math.log(2), rel=1e-5)


def test_at_a_high_temperature_the_gradient_is_the_difference_of_logits():
    """hinton2015distilling, equation 4: for zero-mean logits, 1 / (N T^2) times student's minus teacher's."""
    student, teacher = (x - x.mean(-1, keepdim=True) for x in (logits(1, 1, 1), logits(2, 1, 1)))
    student.requires_grad_()
    hot = 1000.0
    distillation_loss(student, teacher, torch.ones(1, 1), 0.0, hot).backward()
    expected = (student - teacher).detach() / (7 * hot**2)
    assert torch.allclose(student.grad, expected, rtol=0.02, atol=1e-9)


def ragged(model, student_said):
    """A batch as TRL holds it: prompts padded to the left, completions to the right."""
    asked = [model.encode(prompt) for prompt, _ in DATA[:5]]
    before, after = max(map(len, asked)), max(map(len, student_said))
    pad = model.tokenizer.pad_token_id
    prompt_ids = torch.tensor([[pad] * (before - len(a)) + a for a in asked])
    prompt_mask = torch.tensor([[0] * (before - len(a)) + [1] * len(a) for a in asked])
    said_ids = torch.tensor([s + [pad] * (after - len(s)) for s in student_said])
    said_mask = torch.tensor([[1] * len(s) + [0] * (after - len(s)) for s in student_said])
    return asked, prompt_ids, prompt_mask, said_ids, said_mask


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_the_loss_is_trls_on_a_ragged_batch(checkpoint, tmp_path, temperature):
    import warnings

    from datasets import Dataset
    from trl import DistillationConfig as TrlConfig
    from trl import DistillationTrainer

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from trl.experimental.gkd import GKDConfig, GKDTrainer

    model = load_model(checkpoint, device="cpu")
    with torch.no_grad():  # since the samples were drawn
        said = [list(g[0].token_ids) for g in model.sample([p for p, _ in DATA[:5]], 1, 9, seed=3)]
        said = [s[: 4 + i] for i, s in enumerate(said)]
        for i, p in enumerate(model.model.parameters()):
            p.add_(0.02 * torch.randn(p.shape, generator=torch.Generator().manual_seed(i)))
    guide = network(1, layers=3)
    asked, prompt_ids, prompt_mask, said_ids, said_mask = ragged(model, said)
    assert len({len(s) for s in said}) > 2 and len({len(a) for a in asked}) > 1
    own, mask = completion_logits(model.model, asked, said)
    theirs, _ = completion_logits(guide, asked, said)
    common = dict(output_dir=str(tmp_path), use_cpu=True, bf16=False, gradient_checkpointing=False, report_to=[])
    for beta in (0.0, 0.4, 1.0):
        ours = float(distillation_loss(own, theirs, mask, beta, temperature).detach())
        trainer = DistillationTrainer(
            model=model.model, teacher_model=guide, processing_class=model.tokenizer,
            args=TrlConfig(beta=beta, temperature=temperature, max_completion_length=9, **common),
            train_dataset=Dataset.from_list([{"prompt": p.text()} for p, _ in DATA[:5]]),
        )  # fmt: skip
        batch = dict(prompt_ids=prompt_ids, prompt_mask=prompt_mask, completion_ids=said_ids, completion_mask=said_mask)
        assert ours == pytest.approx(float(trainer.compute_loss(trainer.model, batch).detach()), abs=2e-6)
        # GKD's trainer leaves its loss at temperature 1, whatever is configured; its function does not.
        labels = torch.cat([torch.full_like(prompt_ids, -100), said_ids.masked_fill(said_mask == 0, -100)], 1)
        gkd = GKDTrainer.generalized_jsd_loss(
            *(
                F.pad(x, (0, 0, prompt_ids.shape[1] - 1, 0))  # the logits of the prompt, which the labels leave out
                for x in (own, theirs)
            ),
            labels[:, 1:], beta, temperature,
        )  # fmt: skip
        assert ours == pytest.approx(float(gkd.detach()), abs=2e-6)
        if temperature == 1.0:
            trainer = GKDTrainer(
                model=model.model, teacher_model=guide, processing_class=model.tokenizer,
                args=GKDConfig(beta=beta, lmbda=0.0, max_new_tokens=9, **common), data_collator=lambda rows: rows,
                train_dataset=Dataset.from_list([{"prompt": p.text()} for p, _ in DATA[:5]]),
            )  # fmt: skip
            ids, seen = torch.cat([prompt_ids, said_ids], 1), torch.cat([prompt_mask, said_mask], 1)
            batch = dict(input_ids=ids, attention_mask=seen, labels=labels)
            assert ours == pytest.approx(float(trainer.compute_loss(trainer.model, batch).detach()), abs=2e-6)
    # A mean of the rows' own means is another number on a ragged batch.
    rowwise = [distillation_loss(a[None], b[None], c[None], 1.0) for a, b, c in zip(own, theirs, mask, strict=True)]
    assert abs(float((torch.stack(rowwise).mean() - distillation_loss(own, theirs, mask, 1.0)).detach())) > 1e-4


# ---------------------------------------------------------------- two models on one text


def test_logits_are_those_of_every_row_alone(checkpoint):
    model = load_model(checkpoint, device="cpu")
    asked = [model.encode(prompt) for prompt, _ in DATA[:4]]
    said = [list(s.token_ids) for s in model.score([p for p, _ in DATA[:4]], [f" {a}" for _, a in DATA[:4]])]
    with torch.no_grad():
        together, mask = completion_logits(model.model, asked, said)
        for i, (a, s) in enumerate(zip(asked, said, strict=True)):
            alone = model.model(input_ids=torch.tensor([a + s])).logits[0, len(a) - 1 : -1]
            assert mask[i].tolist() == [j < len(s) for j in range(mask.shape[1])]
            assert torch.allclose(together[i, : len(s)], alone, atol=1e-4)


@pytest.mark.parametrize("beta", BETAS)
def test_distilling_a_model_from_itself_moves_nothing(checkpoint, beta):
    student, teacher = (load_model(checkpoint, device="cpu") for _ in range(2))
    rows = [encode_example(student, *e) for e in DATA]
    said = [[t for t in r["labels"] if t != -100] for r in rows]
    asked = [student.encode(p) for p, _ in DATA]
    with torch.no_grad():
        fixed, _ = completion_logits(teacher.model, asked, said)
    own, mask = completion_logits(student.model, asked, said)
    loss = distillation_loss(own, fixed, mask, beta)
    loss.backward()
    assert abs(float(loss.detach())) < 1e-6
    assert max(float(p.grad.abs().max()) for p in student.model.parameters()) < 1e-6
    # The same batch moves another student.
    other = LanguageModel(network(5), student.tokenizer)
    own, mask = completion_logits(other.model, asked, said)
    distillation_loss(own, fixed, mask, beta).backward()
    assert max(float(p.grad.abs().max()) for p in other.model.parameters()) > 1e-3


def test_each_model_reads_the_prompt_in_its_own_form(checkpoint, teacher, tmp_path):
    config = DistillationConfig(steps=1, batch_size=1, beta=0.3, temperature=1.5)
    trained = train_distilled(checkpoint, teacher, DATA[:1], config, tmp_path, device="cpu")
    student, (prompt, answer) = load_model(checkpoint, device="cpu"), DATA[0]
    said = [t for t in encode_example(student, prompt, answer)["labels"] if t != -100]
    assert student.encode(prompt) != teacher.encode(prompt) and "<|user|>" in teacher.render(prompt)
    with torch.no_grad():
        logits = [
            m.model(input_ids=torch.tensor([m.encode(prompt) + said])).logits[:, len(m.encode(prompt)) - 1 : -1]
            for m in (student, teacher)
        ]
    own, theirs = logits[0], logits[1][..., : logits[0].shape[-1]]  # the teacher's vocabulary is padded
    by_hand = distillation_loss(own, theirs, torch.ones(1, len(said)), 0.3, 1.5)
    assert trained.log[0]["loss"] == pytest.approx(float(by_hand), rel=1e-4)
    # A pass over the student, one back, one over the teacher.
    n, read = student.parameters, [len(m.encode(prompt)) + len(said) for m in (student, teacher)]
    assert trained.tokens == read[0]
    assert trained.flops == pytest.approx(6 * n * read[0] + teacher.flops_per_token * read[1])


# ---------------------------------------------------------------- training


@pytest.mark.parametrize("method, on_policy", [("full", 0.0), ("full", 1.0), ("lora", 1.0), ("qlora", 0.0)])
def test_the_student_comes_closer_and_the_teacher_stays(checkpoint, teacher, tmp_path, method, on_policy):
    before = weights(teacher)
    config = DistillationConfig(
        on_policy=on_policy,
        beta=0.5,
        method=method,
        steps=24,
        batch_size=6,
        learning_rate=0.01,
        rank=8,
        max_new_tokens=8,
    )
    trained = train_distilled(checkpoint, teacher, DATA, config, tmp_path, device="cpu")
    losses = [e["loss"] for e in trained.log]
    assert sum(losses[-4:]) < (0.6 if method == "full" else 0.95) * sum(losses[:4])
    assert [e["step"] for e in trained.log] == list(range(1, 25)) and {e["on_policy"] for e in trained.log} == {
        on_policy
    }
    assert equal(before, weights(teacher))
    assert trained.load("cpu").sample([DATA[0][0]], 1, 4)[0][0].token_ids


def test_on_policy_samples_come_from_the_present_student(checkpoint, teacher, tmp_path, monkeypatch):
    draw, seen = LanguageModel.sample, []

    def spy(self, prompts, *args, **kwargs):
        groups = draw(self, prompts, *args, **kwargs)
        seen.append((weights(self), list(prompts), groups))
        return groups

    monkeypatch.setattr(LanguageModel, "sample", spy)
    config = DistillationConfig(on_policy=1.0, beta=1.0, steps=4, batch_size=4, learning_rate=0.01, max_new_tokens=6)
    nothing = [(prompt, "") for prompt, _ in DATA]  # answers are not read
    trained = train_distilled(checkpoint, teacher, nothing, config, tmp_path, device="cpu")
    assert len(seen) == 4
    start = load_model(checkpoint, device="cpu")
    assert equal(seen[0][0], weights(start))
    for (now, prompts, groups), entry, after in zip(seen, trained.log, [*seen[1:], None], strict=True):
        assert after is None or not equal(now, after[0])
        start.model.load_state_dict(now)
        said = [list(c.token_ids) for (c,) in groups]
        for scored, (c,) in zip(start.score(prompts, said), groups, strict=True):
            assert c.logprobs == pytest.approx(scored.logprobs, abs=1e-4), "drawn from the weights of this step"
        with torch.no_grad():
            own, mask = completion_logits(start.model, [start.encode(p) for p in prompts], said)
            theirs, _ = completion_logits(teacher.model, [teacher.encode(p) for p in prompts], said)
        loss = distillation_loss(own, theirs[..., : own.shape[-1]], mask, 1.0)
        assert entry["loss"] == pytest.approx(float(loss), rel=1e-3), "and compared on the very tokens drawn"
    drawn = sum(group_cost(group).flops for _, _, groups in seen for group in groups)
    scored = sum(
        teacher.flops_per_token * (len(teacher.encode(p)) + len(c.token_ids))
        for _, prompts, groups in seen
        for p, (c,) in zip(prompts, groups, strict=True)
    )
    assert trained.flops == pytest.approx(6 * start.parameters * trained.tokens + drawn + scored)


def test_a_share_of_the_steps_is_on_policy(checkpoint, teacher):
    student = load_model(checkpoint, device="cpu")
    config = DistillationConfig(on_policy=0.25, batch_size=1, max_new_tokens=2)
    own = [module.completions(student, DATA, config, step)[2] is not None for step in range(200)]
    assert 30 <= sum(own) <= 70
    given = [module.completions(student, DATA, replace(config, on_policy=0.0), step) for step in range(len(DATA))]
    told = {student.tokenizer.decode(said[0][:-1]).strip() for _, said, _ in given}
    assert told == {answer for _, answer in DATA}, "one pass reads every answer"


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_killed_run_goes_on_and_ends_with_the_same_weights(checkpoint, teacher, tmp_path, method, monkeypatch):
    config = DistillationConfig(
        on_policy=0.5, beta=0.5, method=method, steps=7, batch_size=4, learning_rate=0.01, rank=4, max_new_tokens=6,
        save_every=2,
    )  # fmt: skip
    whole = train_distilled(checkpoint, teacher, DATA, config, tmp_path / "whole", device="cpu")
    assert {e["on_policy"] for e in whole.log} == {0.0, 1.0}
    step, calls = module.take_step, []

    def killed(*args):
        calls.append(1)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return step(*args)

    monkeypatch.setattr(module, "take_step", killed)
    with pytest.raises(KeyboardInterrupt):
        train_distilled(checkpoint, teacher, DATA, config, tmp_path / "cut", device="cpu")
    calls.clear()
    monkeypatch.setattr(module, "take_step", lambda *args: (calls.append(1), step(*args))[1])
    resumed = train_distilled(checkpoint, teacher, DATA, config, tmp_path / "cut", device="cpu")
    assert len(calls) == 3, "steps 5 to 7, after the checkpoint at 4"
    assert equal(weights(whole.load("cpu")), weights(resumed.load("cpu")))
    assert [e["loss"] for e in whole.log] == [e["loss"] for e in resumed.log]
    assert (resumed.tokens, resumed.flops) == (whole.tokens, whole.flops)
    again = train_distilled(checkpoint, teacher, DATA, config, tmp_path / "cut", device="cpu")
    assert len(calls) == 3 and again == resumed


def test_mistakes_are_told_in_one_sentence(checkpoint, teacher, tmp_path):
    config = DistillationConfig(steps=1)
    with pytest.raises(ValueError, match="nothing to distil on"):
        train_distilled(checkpoint, teacher, [], config, tmp_path, device="cpu")
    for wrong in ({"beta": 1.5}, {"on_policy": -0.1}, {"temperature": 0.0}, {"steps": 0}, {"method": "dora"}):
        with pytest.raises(ValueError, match="must|no method"):
            DistillationConfig(**wrong)
    stranger = LanguageModel(network(1), tokenizer(extra="Aardvark"), "stranger")
    with pytest.raises(ValueError, match="different tokenizers") as told:
        train_distilled(checkpoint, stranger, DATA, config, tmp_path / "run", device="cpu")
    assert str(told.value).count(".") == 1 and "Aardvark" in str(told.value)
    assert not (tmp_path / "run").exists(), "the folder is still free"
    train_distilled(checkpoint, teacher, DATA, config, tmp_path / "run", device="cpu")
    other = LanguageModel(network(2, layers=3, padding=5), tokenizer(chat=True), "teacher")
    with pytest.raises(ValueError, match="another folder"):
        train_distilled(checkpoint, other, DATA, config, tmp_path / "run", device="cpu")
    with pytest.raises(ValueError, match="is empty"):
        train_distilled(checkpoint, teacher, [(Prompt("What?"), "")], config, tmp_path / "empty", device="cpu")
    broken = load_model(checkpoint, device="cpu")
    with torch.no_grad():
        broken.model.model.norm.weight.fill_(math.nan)
    with pytest.raises(ArithmeticError, match="learning_rate"):
        train_distilled(broken, teacher, DATA, config, tmp_path / "nan", device="cpu")


# ---------------------------------------------------------------- what a student is shown


def test_a_rationale_is_a_second_task(checkpoint):
    records = gold(TASK, PROBLEMS[:3])
    shown = with_rationales(records, TASK, labels=2)
    assert len(shown) == 9
    for record in records:
        p = record.problem
        assert shown.count((TASK.prompt(p, "cot"), TASK.solution(p, "cot"))) == 1
        assert shown.count((TASK.prompt(p, "direct"), f"The answer is {p.answer}.")) == 2
    with pytest.raises(ValueError, match="states no answer"):
        with_rationales([*records, replace(records[0], answer=None)], TASK)


def test_a_share_of_the_problems_comes_from_the_other_list():
    long, short = gold(TASK, PROBLEMS, "verbose"), gold(TASK, PROBLEMS[:10], "draft")
    for share, rare in ((0.0, 0), (0.2, 2), (0.5, 5), (1.0, 10)):
        both = mixed(long, [*short, *short], share)
        assert [r.problem.id for r in both] == [p.id for p in PROBLEMS[:10]]
        assert sum(r in long for r in both) == rare and sum(r in short for r in both) == 10 - rare
    assert mixed(long, short, 0.5, seed=1) != mixed(long, short, 0.5, seed=2)
    with pytest.raises(ValueError, match="no problem in common"):
        mixed(long[10:], short, 0.5)
    with pytest.raises(ValueError, match="between 0 and 1"):
        mixed(long, short, 20)


@pytest.mark.parametrize("world", ["chain", "graph"])
def test_sub_questions_and_answers_make_up_the_text(world):
    task = get_task(world)
    problems = task.problems(8, split="train", difficulty=(1, 2, 3, 4))
    for r in gold(task, problems, "decompose"):
        plan, pairs = decomposition(r.text)
        assert " ".join([plan, *(f"{q} {a}" for q, a in pairs)]).strip() == r.text
        assert len(pairs) == len(r.problem.steps) and all(q.endswith("?") for q, _ in pairs)
        for step, (_, answer) in zip(r.problem.steps, pairs, strict=True):
            assert step in answer
        asking, answering = socratic([r], task)
        assert asking[0][0] == task.prompt(r.problem, "decompose")
        assert not any(step in asking[0][1] for step in r.problem.steps), "the questions do not tell the answers"
        for i, (prompt, answer) in enumerate(answering):
            told = " ".join([plan, *(f"{q} {a}" for q, a in pairs[:i]), pairs[i][0]]).strip()
            assert prompt.question == f"{r.problem.question} {told}" and answer == pairs[i][1]
    with pytest.raises(ValueError, match="'decompose'"):
        socratic(gold(task, problems, "cot"), task)


class Scripted:
    """Answers each question as told, for one token a word, and remembers the calls."""

    flops_per_token = 2.0
    positions = 10_000

    def __init__(self, script):
        self.script, self.calls = {k: cycle([v]) for k, v in script.items()}, []

    def encode(self, prompt):
        return prompt.text().split()

    def sample(self, prompts, n, max_new_tokens, temperature):
        self.calls.append(len(prompts))
        texts = [next(self.script[p.question]) for p in prompts]
        return [
            [
                Completion(
                    f" {t}",
                    tuple(range(len(t.split()))),
                    (),
                    "stop",
                    5,
                    Cost(generated_tokens=len(t.split()), flops=1.0),
                    Cost(5, flops=self.flops_per_token * 5),
                )
            ]
            for t in texts
        ]


def test_two_students_write_the_solution_together():
    task = get_task("graph")
    problems = task.problems(4, split="train", difficulty=(1, 2, 3))
    asking, answering = socratic(gold(task, problems, "decompose"), task)
    questioner = Scripted({p.question: text for p, text in asking})
    answerer = Scripted({p.question: text for p, text in answering})
    texts, costs = answer_questions(questioner, answerer, task, problems)
    assert texts == [task.solution(p, "decompose") for p in problems]
    # Problem i asks 1, 2, 3, 1 questions: one call a turn, for those that still have one.
    assert questioner.calls == [4] and answerer.calls == [4, 2, 1]
    assert [c.prompt_tokens for c in costs] == [10 + 0, 15, 20, 10]
    assert [c.flops for c in costs] == [2 * 5 * 2 + 2, 3 * 11, 4 * 11, 2 * 11]
    # Who answers does not know which question is the last.
    silent = Scripted({p.question: text.partition(" The answer")[0] for p, text in answering})
    assert answer_questions(questioner, silent, task, problems)[0] == texts
    # A question that would not fit what it reads stays open, and the others are answered.
    answerer.positions = min(len(answerer.encode(module._answer_prompt(p, ""))) for p in problems) + 30
    some, _ = answer_questions(questioner, answerer, task, problems)
    assert 0 < sum(a == b for a, b in zip(some, texts, strict=True)) < len(problems)
