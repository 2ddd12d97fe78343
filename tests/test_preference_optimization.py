"""Preference optimisation: the loss against TRL's, pairs of answers and of steps, the reference, kills and mistakes."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from srm_utils.models import LanguageModel, load_model
from srm_utils.sampling.completion import Completion, Cost
from srm_utils.tasks import get_task
from srm_utils.tasks.problem import Grade
from srm_utils.training import preference_optimization as module
from srm_utils.training.outcome_rewards import step_ends
from srm_utils.training.policy_gradient import Answers, read_answers
from srm_utils.training.preference_optimization import (
    Preference,
    PreferenceConfig,
    dpo_loss,
    graded_pairs,
    iterate,
    reference_logprobs,
    step_pairs,
    train_preferences,
)

TASK = get_task("chain")
PROBLEMS = TASK.problems(8, split="train", difficulty=(2, 3))
PROMPTS = [TASK.prompt(p, "unmarked") for p in PROBLEMS]


@pytest.fixture(scope="module")
def checkpoint(tiny_checkpoint):
    return tiny_checkpoint


@pytest.fixture
def model(checkpoint) -> LanguageModel:
    return load_model(checkpoint, device="cpu")


def perturbed(model: LanguageModel, by: float = 0.05, seed: int = 1) -> LanguageModel:
    torch.manual_seed(seed)
    with torch.no_grad():
        for p in model.model.parameters():
            p.add_(by * torch.randn_like(p))
    return model


def said(model: LanguageModel, text: str, end: bool = True) -> Completion:
    ids = model.tokenizer(text, add_special_tokens=False)["input_ids"] + [model.tokenizer.eos_token_id] * end
    return Completion(text, tuple(ids), (0.0,) * len(ids), "stop" if end else "length", 9, Cost())


def answered(model: LanguageModel, n: int = 6) -> list[Preference]:
    """Ragged pairs: a chain of thought preferred to a wrong answer."""
    texts = [
        (" " + TASK.solution(p, "cot"), f" I say {i}. The answer is {i}."[7 * (i % 2) :])
        for i, p in enumerate(PROBLEMS)
    ]
    rows = zip(PROMPTS[:n], texts, strict=False)
    return [Preference(prompt, said(model, right), said(model, wrong)) for prompt, (right, wrong) in rows]


def one_word(model: LanguageModel) -> list[Preference]:
    """Pairs that share all but one number in the middle."""
    return [
        Preference(
            prompt,
            said(model, f" {i} + 3 = {i + 3}. The answer is 4."),
            said(model, f" {i} + 3 = {i + 4}. The answer is 4."),
        )
        for i, prompt in enumerate(PROMPTS)
    ]


SMALL = PreferenceConfig(steps=7, batch_size=4, learning_rate=3e-3, save_every=2, rank=4, alpha=8)


# ---------------------------------------------------------------- the loss


def test_the_loss_and_its_slope_are_those_of_the_paper():
    now = torch.tensor([[-4.0, -9.0], [-6.0, -2.0], [-3.0, -3.0]], requires_grad=True)
    start = torch.tensor([[-5.0, -5.0], [-5.0, -4.0], [-3.0, -3.0]])
    losses = dpo_loss(*now.T, *start.T, beta=0.3)
    margins = [0.3 * (1 + 4), 0.3 * (-1 - 2), 0.0]
    assert losses.tolist() == pytest.approx([math.log(1 + math.exp(-m)) for m in margins])
    losses.sum().backward()
    # Wrongly ordered pairs weigh more: beta times sigmoid(-margin) (rafailov2023dpo, section 4).
    pulls = [0.3 / (1 + math.exp(m)) for m in margins]
    assert now.grad[:, 0].tolist() == pytest.approx([-p for p in pulls])
    assert now.grad[:, 1].tolist() == pytest.approx(pulls)


def test_the_likelihood_term_is_a_mean_over_each_answers_tokens():
    now, start, tokens = torch.tensor([[-4.0, -9.0], [-6.0, -2.0]]), torch.zeros(2, 2), torch.tensor([8.0, 3.0])
    more = dpo_loss(*now.T, *start.T, likelihood=0.5, tokens=tokens) - dpo_loss(*now.T, *start.T)
    assert more.tolist() == pytest.approx([0.5 * 4 / 8, 0.5 * 6 / 3])


@pytest.mark.parametrize("likelihood", [0.0, 0.7])
def test_the_loss_and_its_gradient_are_trls_on_a_ragged_batch(checkpoint, tmp_path, likelihood):
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    fresh = load_model(checkpoint, device="cpu")
    pairs = answered(fresh)
    rows = [{"prompt": p.prompt.text(), "chosen": p.chosen.text, "rejected": p.rejected.text} for p in pairs]
    settings = DPOConfig(
        str(tmp_path), use_cpu=True, bf16=False, gradient_checkpointing=False, report_to=[], disable_tqdm=True,
        per_device_train_batch_size=6, loss_type=["sigmoid", "sft"] if likelihood else ["sigmoid"],
        loss_weights=[1.0, likelihood] if likelihood else [1.0], beta=0.2, max_length=None,
    )  # fmt: skip
    reference = perturbed(load_model(checkpoint, device="cpu"), seed=9)
    trainer = DPOTrainer(
        fresh.model, ref_model=perturbed(load_model(checkpoint, device="cpu"), seed=9).model, args=settings,
        train_dataset=Dataset.from_list(rows), processing_class=fresh.tokenizer,
    )  # fmt: skip
    now = perturbed(load_model(checkpoint, device="cpu"), seed=2)
    trainer.model.load_state_dict(now.model.state_dict())
    trainer.current_gradient_accumulation_steps = 1
    batch = trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
    trainer.model.zero_grad()
    wanted = trainer.compute_loss(trainer.model, batch)
    wanted.backward()
    lengths = torch.tensor([len(p.chosen.token_ids) for p in pairs], dtype=torch.float32)
    assert batch["completion_mask"].sum(1).tolist().count(lengths[0]) < 6, "the batch must be ragged"
    assert sorted(batch["completion_mask"][:6].sum(1).tolist()) == sorted(lengths.tolist())
    then, _ = reference_logprobs(reference, pairs, range(6))
    answers = Answers.of(now, [p.prompt for p in pairs], [(p.chosen, p.rejected) for p in pairs])
    logprobs = (read_answers(now, answers).logprobs * answers.mask).sum(1).reshape(-1, 2)
    # TRL's likelihood is a mean over the batch's tokens, the paper's one over each answer's.
    loss = dpo_loss(*logprobs.T, *then.T, 0.2, likelihood, lengths.mean()).mean()
    loss.backward()
    assert loss.item() == pytest.approx(wanted.item(), abs=1e-5) and abs(wanted.item() - math.log(2)) > 0.05
    for a, b in zip(now.model.parameters(), trainer.model.parameters(), strict=True):
        assert torch.allclose(a.grad, b.grad, atol=2e-5)


def test_what_both_answers_begin_with_cancels(model):
    """Why a pair of steps needs no mask: the same words before the step change neither the loss nor its gradient."""
    before = " 2 + 3 = 5."
    step = [said(model, " 5 + 3 = 8.", end=False), said(model, " 5 + 3 = 9.", end=False)]
    whole = [said(model, before + c.text, end=False) for c in step]
    pairs = [Preference(PROMPTS[0].text() + before, *step), Preference(PROMPTS[0], *whole)]
    now, found = perturbed(load_model_like(model)), []
    for pair in pairs:
        reference, _ = reference_logprobs(model, [pair], [0])
        now.model.zero_grad()
        seen, _ = module.gradients(now, [pair], reference, SMALL)
        found.append((seen["loss"], [p.grad.clone() for p in now.model.parameters()]))
    assert found[0][0] == pytest.approx(found[1][0], abs=1e-6) and abs(found[0][0] - math.log(2)) > 1e-3
    for a, b in zip(found[0][1], found[1][1], strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def load_model_like(model: LanguageModel) -> LanguageModel:
    return load_model(model.name, device="cpu")


def test_a_batch_read_in_parts_has_the_same_gradient(model, monkeypatch):
    pairs, now = answered(model), perturbed(load_model_like(model))
    config = replace(SMALL, likelihood=0.5)

    def found():
        reference, tokens = reference_logprobs(model, pairs, range(6))
        now.model.zero_grad()
        seen, again = module.gradients(now, pairs, reference, config)
        assert again == tokens
        return seen, tokens, [p.grad.clone() for p in now.model.parameters()]

    seen, tokens, whole = found()
    monkeypatch.setattr(module, "HELD_LOGITS", 1)
    assert sum(1 for _ in module._read(model, pairs)) == 6
    parts = found()
    assert parts[0] == pytest.approx(seen, abs=1e-5) and parts[1] == tokens
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(whole, parts[2], strict=True))


# ---------------------------------------------------------------- pairs


def test_pairs_are_right_and_wrong_samples_of_one_problem(model):
    p, q, r = PROBLEMS[:3]
    right, other = (said(model, f" {TASK.solution(p, s)}") for s in ("cot", "direct"))
    wrong, silent = said(model, " The answer is 99."), said(model, " 5 + 3", end=False)
    groups = [[right, wrong, right, silent, other], [wrong] * 5, [said(model, f" The answer is {r.answer}.")] * 5]
    pairs = graded_pairs(TASK, [p, q, r], groups, per_problem=9)
    assert {(x.chosen.text, x.rejected.text) for x in pairs} == {
        (a.text, b.text) for a in (right, other) for b in (wrong, silent)
    }
    assert {x.prompt for x in pairs} == {TASK.prompt(p, "unmarked")} and len(pairs) == 4, "equal samples count once"
    assert len(graded_pairs(TASK, [p], groups[:1], per_problem=3)) == 3
    few = [graded_pairs(TASK, [p], groups[:1], per_problem=1, seed=s)[0] for s in range(12)]
    assert len({(x.chosen.text, x.rejected.text) for x in few}) > 1, "drawn at random"


def scripted(model: LanguageModel, replies):
    """The model, but its samples are what `replies(prompt)` says."""
    asked = []

    def sample(prompts, n=1, max_new_tokens=256, temperature=1.0, seed=0):
        asked.extend(prompts)
        return [[said(model, text) for text in replies(p)] for p in prompts]

    model.sample = sample
    return asked


def test_pairs_of_steps_part_at_the_first_wrong_step(model):
    p = PROBLEMS[1]
    gold, rest = p.steps, f"The answer is {p.answer}."
    left, right = gold[1].split(" = ")
    slip = f"{left} = {int(right) + 1}"
    wrong = [f" {gold[0]}. {slip}. {end}" for end in ("So be it. The answer is 77.", "The answer is 78.")]
    direct = " The answer is 76."
    good = f" {'. '.join(gold[1:])}. {rest}"
    # Ends right, but not by a right step; ends wrong; repeats the slip.
    bad = [f" {slip}. {rest}", f" {gold[1]}. The answer is 75.", f" {slip}. The answer is 77."]

    def replies(prompt):
        return [*bad, good] if gold[0] in prompt else ["", f" {gold[0]}.{good}"] * 2

    asked = scripted(model, replies)
    group = [said(model, t) for t in (*wrong, direct, f" {'. '.join(gold)}. {rest}")]
    pairs, cost = step_pairs(TASK, model, [p], [group])
    text = TASK.prompt(p, "unmarked").text()
    assert asked == [f"{text} {gold[0]}."] * 2 + [text]
    told = [(x.prompt, x.chosen.text, x.rejected.text) for x in pairs]
    first = (f"{text} {gold[0]}.", f" {gold[1]}.", f" {slip}.")
    assert told == [first, first, (text, f" {gold[0]}.", direct)], "what follows the step makes no difference"
    for x in pairs:
        for c in (x.chosen, x.rejected):
            assert list(c.token_ids) == model.tokenizer(c.text, add_special_tokens=False)["input_ids"], (
                "and no end token"
            )
            assert len(c.logprobs) == len(c.token_ids)
    assert cost.prompt_tokens == 3 * 9
    assert len(step_pairs(TASK, model, [p], [group], per_problem=1)[0]) == 1
    scripted(model, lambda prompt: bad)
    assert step_pairs(TASK, model, [p], [group[:2]])[0] == [], "nothing mends it"
    assert step_pairs(TASK, model, [p], [[group[3]]]) == ([], Cost()), "nothing is wrong"


def test_steps_of_the_bundled_model():
    base = load_model("base-small", device="cpu")
    problems = TASK.problems(6, split="train", seed=2, difficulty=(2, 3))
    groups = base.sample([TASK.prompt(p, "unmarked") for p in problems], 4, 48, seed=1)
    pairs, cost = step_pairs(TASK, base, problems, groups, n=4, per_problem=2, max_new_tokens=48)
    assert pairs and cost.flops > 0
    for x in pairs:
        assert base.end_ids[0] not in x.chosen.token_ids and len(step_ends(x.chosen.text)) == 1
        assert base.tokenizer.decode(x.rejected.token_ids).strip() == x.rejected.text.strip()


# ---------------------------------------------------------------- training


def test_the_reference_is_the_model_given_with_the_weights_it_has_now(checkpoint, tmp_path):
    """TRL without a reference of its own reloads the one from before; here that must not happen."""
    changed = perturbed(load_model(checkpoint, device="cpu"), 0.1)
    before = {k: v.clone() for k, v in changed.model.state_dict().items()}
    pairs = answered(changed)
    now, _ = reference_logprobs(changed, pairs, range(6))
    old, _ = reference_logprobs(load_model(checkpoint, device="cpu"), pairs, range(6))
    assert (now - old).abs().min() > 0.1, "a reference from before would be far away"
    config = replace(SMALL, steps=4, batch_size=6)
    log = train_preferences(changed, pairs, config, tmp_path, device="cpu").log
    assert log[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert [log[0][k] for k in ("margin", "chosen_change", "rejected_change")] == pytest.approx([0.0] * 3, abs=1e-4)
    assert (log[0]["chosen"], log[0]["rejected"]) == pytest.approx(tuple(now.mean(0).tolist()), abs=1e-3)
    # Later steps are measured from the same start, however far the policy has gone.
    assert log[-1]["margin"] > 0.1
    for key, column in (("chosen", 0), ("rejected", 1)):
        assert log[-1][f"{key}_change"] == pytest.approx(log[-1][key] - float(now[:, column].mean()), abs=1e-3)
    assert all(torch.equal(v, before[k]) for k, v in changed.model.state_dict().items()), "the one given is left alone"


def test_the_trap_is_there_trl_reloads_the_model_from_before(checkpoint, tmp_path):
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    changed = perturbed(load_model(checkpoint, device="cpu"), 0.1)
    pairs = answered(changed)
    rows = [{"prompt": p.prompt.text(), "chosen": p.chosen.text, "rejected": p.rejected.text} for p in pairs]
    settings = DPOConfig(
        str(tmp_path), use_cpu=True, bf16=False, gradient_checkpointing=False, report_to=[], disable_tqdm=True
    )
    theirs = DPOTrainer(
        changed.model, args=settings, train_dataset=Dataset.from_list(rows), processing_class=changed.tokenizer
    ).ref_model
    saved = load_model(checkpoint, device="cpu").model.state_dict()
    assert all(torch.equal(v, saved[k]) for k, v in theirs.state_dict().items()), "if this fails, TRL has mended it"


def test_the_right_one_becomes_likelier_than_the_wrong_one(checkpoint, model, tmp_path):
    config = replace(SMALL, steps=15, batch_size=8)
    trained = train_preferences(checkpoint, one_word(model), config, tmp_path, device="cpu")
    log = trained.log
    assert log[0]["accuracy"] < 1.0 == log[-1]["accuracy"] and log[-1]["margin"] > 0.5
    assert log[-1]["loss"] < 0.8 * log[0]["loss"]
    after, start = (reference_logprobs(m, one_word(model), range(8))[0] for m in (trained.load("cpu"), model))
    assert ((after - start)[:, 0] > (after - start)[:, 1]).all()


def test_the_likelihood_term_holds_the_chosen_up(checkpoint, model, tmp_path):
    ends = {}
    for weight in (0.0, 1.0):
        config = replace(SMALL, steps=15, batch_size=8, beta=0.5, likelihood=weight)
        ends[weight] = train_preferences(checkpoint, one_word(model), config, tmp_path / str(weight), device="cpu").log[
            -1
        ]
    assert ends[1.0]["chosen_change"] > max(ends[0.0]["chosen_change"], 0.0) + 1.0
    assert min(e["margin"] for e in ends.values()) > 0.5


def test_the_log_counts_what_was_done(checkpoint, model, tmp_path):
    pairs = answered(model)
    seen = []

    def watch(policy):
        seen.append(policy.model)
        return {"length": float(len(seen))}

    config = replace(SMALL, steps=5, batch_size=2, watch_every=2)
    trained = train_preferences(checkpoint, pairs, config, tmp_path, device="cpu", watch=watch)
    sizes = [len(model.encode(p.prompt)) + len(p.chosen.token_ids) + len(p.rejected.token_ids) for p in pairs]
    used = [module.batch_indices(6, 2, step, 0) for step in range(5)]
    assert len({i for batch in used for i in batch}) == 6
    assert [e["tokens"] for e in trained.log] == [
        sum(sizes) + sum(sizes[i] for batch in used[: k + 1] for i in batch) for k in range(5)
    ], "each pair once by the reference, then in each step that has it; a prompt is read once for both"
    n = model.parameters
    assert trained.flops == pytest.approx(n * (2 * sum(sizes) + 6 * (trained.tokens - sum(sizes))))
    assert {e["step"]: e["length"] for e in trained.log if "length" in e} == {2: 1.0, 4: 2.0, 5: 3.0}
    assert [e["gradient_norm"] > 0 for e in trained.log] == [True] * 5
    few = train_preferences(checkpoint, pairs, replace(config, steps=1), tmp_path / "few", device="cpu")
    assert few.tokens == 2 * sum(sizes[i] for i in used[0]), "pairs that no step has are not read"


@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_adapters_are_trained_in_float32_and_the_rest_stays(checkpoint, model, tmp_path, method, capfd):
    config = replace(SMALL, method=method, steps=12, batch_size=8, learning_rate=2e-2)
    trained = train_preferences(checkpoint, one_word(model), config, tmp_path, device="cpu")
    assert capfd.readouterr() == ("", "")
    assert trained.log[0]["margin"] == pytest.approx(0, abs=1e-4) and trained.log[-1]["margin"] > 0.3
    after = trained.load("cpu").model
    moved = {k: p for k, p in after.named_parameters() if "lora_B" in k}
    assert {p.dtype for p in moved.values()} == {torch.float32} and all(p.abs().max() > 0 for p in moved.values())
    assert trained.trainable == sum(p.numel() for k, p in after.named_parameters() if "lora_" in k)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_killed_run_goes_on_and_ends_with_the_same_weights(checkpoint, model, tmp_path, method, monkeypatch):
    config, real, calls = replace(SMALL, method=method, likelihood=0.3), module.dpo_loss, []

    def train(folder, dies_at=-1):
        def counting(*args, **terms):
            calls.append(1)
            if len(calls) == dies_at:
                raise KeyboardInterrupt
            return real(*args, **terms)

        calls.clear()
        monkeypatch.setattr(module, "dpo_loss", counting)
        return train_preferences(checkpoint, answered(model), config, tmp_path / folder, device="cpu")

    whole = train("whole")
    with pytest.raises(KeyboardInterrupt):
        train("cut", dies_at=6)
    resumed = train("cut")
    assert len(calls) == 3, "from the checkpoint after four of seven steps"
    a, b = (dict(t.load("cpu").model.state_dict()) for t in (whole, resumed))
    assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
    for x, y in zip(whole.log, resumed.log, strict=True):
        assert {k: v for k, v in x.items() if k != "seconds"} == {k: v for k, v in y.items() if k != "seconds"}
    again = train("cut")
    assert not calls and again.log == resumed.log, "a finished run is returned, not trained again"
    with pytest.raises(ValueError, match="another folder"):
        train_preferences(checkpoint, answered(model, 5), config, tmp_path / "cut", device="cpu")


# ---------------------------------------------------------------- rounds


class Even(type(TASK)):
    """Texts of an even number of characters are right: about half of what a random model says.

    Half a character, which leaves no text, is wrong.
    """

    def grade(self, text, problem):
        return Grade.CORRECT if text and len(text.strip()) % 2 == 0 else Grade.WRONG


@pytest.mark.parametrize("method", ["full", "lora"])
def test_each_round_learns_from_its_own_samples_and_its_own_reference(checkpoint, model, tmp_path, method):
    questions = [PROBLEMS[:4], PROBLEMS[4:], PROBLEMS[:4]]
    rate = 0.01 if method == "full" else 0.05
    config = replace(SMALL, method=method, steps=12, batch_size=16, learning_rate=rate)
    options = {"samples": 24, "max_new_tokens": 1, "device": "cpu"}
    rounds = iterate(checkpoint, Even(), questions, config, tmp_path / "a", **options)
    if method == "full":  # low ranks in two layers of random weights cannot find what pays
        assert rounds[0].accuracy < 0.7 < 0.8 < rounds[2].accuracy
    for i, r in enumerate(rounds):
        assert r.trained.log[0]["margin"] == pytest.approx(0, abs=1e-4), "the reference is the round's own start"
        assert r.trained.log[-1]["margin"] > 0.01
        drawn_by = load_model(checkpoint, device="cpu") if i == 0 else rounds[i - 1].trained.load("cpu")
        chosen = [r.pairs[k] for k in module.batch_indices(len(r.pairs), 16, 0, r_seed(config, i))]
        found, _ = reference_logprobs(drawn_by, chosen, range(len(chosen)))
        assert r.trained.log[0]["chosen"] == pytest.approx(float(found[:, 0].mean()), abs=1e-3)
        assert r.sampling.generated_tokens == 4 * 24 * r.length
        assert r.trained.name.endswith(f", {method}, round {i + 1}")
        right = [[Even().grade(c.text, None) == Grade.CORRECT for c in (p.chosen, p.rejected)] for p in r.pairs]
        assert all(pair == [True, False] for pair in right)
    again = iterate(checkpoint, Even(), questions, config, tmp_path / "a", **options)
    assert [r.trained.log for r in again] == [r.trained.log for r in rounds], "finished rounds are not trained again"


def r_seed(config: PreferenceConfig, number: int) -> int:
    return 1_000_003 * config.seed + number


# ---------------------------------------------------------------- mistakes


def test_mistakes_are_one_sentence(checkpoint, model, tmp_path):
    pairs = answered(model, 2)

    def train(pairs, config=SMALL):
        train_preferences(checkpoint, pairs, config, tmp_path / "run", device="cpu")

    with pytest.raises(ValueError, match="no pairs to train on; some problem needs both a right and a wrong sample"):
        train([])
    with pytest.raises(ValueError, match="prefers 'The answer is 1.' to itself"):
        train([replace(pairs[0], chosen=said(model, " The answer is 1."), rejected=said(model, " The answer is 1."))])
    with pytest.raises(ValueError, match="has no tokens"):
        train([replace(pairs[0], rejected=said(model, "", end=False))])
    with pytest.raises(ValueError, match=r"A pair has \d+ tokens and .* reads 256"):
        train([replace(pairs[0], rejected=said(model, " 5" * 300))])
    for wrong, why in (
        ({"method": "dora"}, "There is no method 'dora'"),
        ({"steps": 0}, "must be at least 1"),
        ({"beta": 0.0}, "beta must be above 0"),
        ({"likelihood": -1.0}, "likelihood at least 0"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0"),
    ):
        with pytest.raises(ValueError, match=why):
            PreferenceConfig(**wrong)
    with pytest.raises(ValueError, match="no pairs to train on"):
        iterate(model, TASK, [PROBLEMS[:1]], SMALL, tmp_path / "none", samples=2, max_new_tokens=1, device="cpu")


def test_a_loss_that_is_no_number_stops_and_keeps_the_last_checkpoint(checkpoint, model, tmp_path, monkeypatch):
    real, calls = module.dpo_loss, []

    def breaks(*args, **terms):
        calls.append(1)
        return real(*args, **terms) * (math.nan if len(calls) == 4 else 1.0)

    monkeypatch.setattr(module, "dpo_loss", breaks)
    with pytest.raises(FloatingPointError, match="The loss is nan .* lower learning_rate"):
        train_preferences(checkpoint, answered(model), SMALL, tmp_path, device="cpu")
    monkeypatch.setattr(module, "dpo_loss", real)
    assert len(train_preferences(checkpoint, answered(model), SMALL, tmp_path, device="cpu").log) == 7
