"""Rules, the head on planted signals, the losses against TRL, calibration and over-optimisation by enumeration."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from srm_utils.evaluation.subsampling import best_of_n_at_k
from srm_utils.models import LanguageModel, load_model
from srm_utils.sampling.completion import Completion, Cost
from srm_utils.tasks import get_task
from srm_utils.training import outcome_rewards as module
from srm_utils.training.outcome_rewards import (
    Labelled,
    Pair,
    RewardConfig,
    StepScores,
    brevity,
    calibration_error,
    coin,
    correctness,
    fit_head,
    load_reward_model,
    mixed,
    new_reward_model,
    only_if,
    outcome_labels,
    outcome_pairs,
    pair_loss,
    pair_trainer,
    reliability,
    score_samples,
    states_answer,
    step_ends,
    top_score,
    train_on_pairs,
    train_reward_model,
)

TASK = get_task("chain")
PROBLEMS = TASK.problems(12, split="train", difficulty=(1, 3))
RATES = {"full": 5e-3, "lora": 2e-2, "qlora": 2e-2}
SOLUTIONS = [" " + TASK.solution(p, "cot") for p in PROBLEMS]


@pytest.fixture(scope="module")
def model(untrained) -> LanguageModel:
    return untrained()


def by_answer(labels=(1.0, 0.0), problems=PROBLEMS[:6]) -> list[Labelled]:
    """Two texts a problem, of which the words alone tell which is good."""
    texts = (" The answer is 1.", " The answer is 2.")
    return [Labelled(p, t, (y,)) for p in problems for t, y in zip(texts, labels, strict=True)]


def sample(text: str) -> Completion:
    return Completion(text, (0,), (-0.1,), "stop", 5, Cost(generated_tokens=1))


# ---------------------------------------------------------------- rules


def test_rules_on_known_texts():
    problem = PROBLEMS[0]
    right, wrong = f"The answer is {problem.answer}.", f"The answer is {int(problem.answer) + 1}."
    assert [correctness(TASK)(problem, t) for t in (right, wrong, "No idea.")] == [1.0, 0.0, 0.0]
    assert [states_answer(TASK)(problem, t) for t in (right, f"5 + 3 = 8. {wrong}", "No idea.")] == [1.0, 1.0, 0.0]
    assert states_answer(TASK)(problem, f"{right} {wrong}") == 0.0, "two answers are none"
    assert states_answer(TASK)(problem, f"{right} So it is.") == 0.0, "the answer comes last"


def test_a_bonus_for_brevity_has_a_hole_that_a_gate_closes():
    problem = PROBLEMS[1]
    long, guess = TASK.solution(problem, "cot"), f"The answer is {int(problem.answer) + 1}."
    right = correctness(TASK)
    bonus = only_if(right, brevity(20))
    holed, mended = mixed((1.0, right), (3.0, brevity(20))), mixed((1.0, right), (3.0, bonus))
    assert holed(problem, guess) > holed(problem, long), "a wrong guess pays more than a right chain"
    assert mended(problem, guess) == 0.0 < mended(problem, long)


def test_a_coin_knows_nothing_of_the_text():
    reward = coin(0.25, seed=1)
    tosses = [reward(PROBLEMS[0], SOLUTIONS[0]) for _ in range(2000)]
    assert set(tosses) == {0.0, 1.0}
    assert np.mean(tosses) == pytest.approx(0.25, abs=0.03)


def test_rules_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="at least 1 word"):
        brevity(0)
    with pytest.raises(ValueError, match="buffer above 0"):
        module.overlong(10, 11)


# ---------------------------------------------------------------- steps and states


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        (" 5 + 3 = 8. The answer is 8.", [" 5 + 3 = 8.", " The answer is 8."]),
        ("It is 3.5 now. Yes", ["It is 3.5 now.", " Yes"]),
        ("One line\nand\n\nanother. ", ["One line", "\nand", "\n\nanother."]),
        ("cut off in", ["cut off in"]),
        ("", [""]),
    ],
)
def test_steps_are_sentences_and_lines(text, steps):
    ends = step_ends(text)
    assert [text[a:b] for a, b in itertools.pairwise([0, *ends])] == steps


def test_a_step_is_read_at_its_last_token(model):
    reward = new_reward_model(TASK, model)
    ids, ends = reward.encode(PROBLEMS[1], SOLUTIONS[1])
    asked = len(model.encode(TASK.prompt(PROBLEMS[1], "cot")))
    assert [model.tokenizer.decode([ids[at]]).strip() for at in ends] == ["."] * 4
    assert ends[-1] == len(ids) - 1
    decoded = [model.tokenizer.decode(ids[asked : at + 1]) for at in ends]
    assert decoded == [SOLUTIONS[1][:end] for end in step_ends(SOLUTIONS[1])]
    assert reward.encode(PROBLEMS[1], "")[1] == [asked - 1], "an empty text is read at the prompt's end"


def test_scores_are_the_head_on_plain_states_however_they_are_batched(model):
    reward = new_reward_model(TASK, model)
    torch.manual_seed(1)
    torch.nn.init.normal_(reward.head.weight)
    together = reward.score(PROBLEMS, SOLUTIONS)
    for problem, text, scored in zip(PROBLEMS[:4], SOLUTIONS, together, strict=False):
        ids, ends = reward.encode(problem, text)
        with torch.no_grad():
            hidden = model.model(torch.tensor([ids]), output_hidden_states=True).hidden_states[-1][0]
            logits = hidden[ends] @ reward.head.weight[0] + reward.head.bias
        assert scored.scores == pytest.approx(logits.sigmoid().tolist(), abs=1e-5)
        assert scored.cost.scored_tokens == len(ids)
        assert scored.cost.flops == model.prices.reading(0, len(ids)), "no logits are computed"


def test_equal_samples_are_read_and_charged_once():
    class Counting:
        name = "counting"
        read: list[str] = []

        def score(self, problems, texts):
            self.read += texts
            return [StepScores((0.5, len(t) / 10), Cost(scored_tokens=1)) for t in texts]

    scorer = Counting()
    scored = score_samples(scorer, PROBLEMS[:2], [[sample("a"), sample("a"), sample("abc")], [sample("a")] * 3])
    assert scorer.read == ["a", "abc", "a"]
    assert [c.scored_tokens for c in scored.costs] == [2, 1]
    assert scored.values("last").tolist() == [[0.1, 0.1, 0.3], [0.1, 0.1, 0.1]]


def test_aggregates_in_closed_form():
    scored = module.SampleScores((((0.5, 0.8, 0.9),),), (Cost(),))
    found = {how: float(scored.values(how)[0, 0]) for how in module.AGGREGATES}
    assert found == pytest.approx({"min": 0.5, "product": 0.36, "last": 0.9, "mean": 2.2 / 3})
    with pytest.raises(ValueError, match="no aggregate 'median'"):
        scored.values("median")


# ---------------------------------------------------------------- a linear head


def test_the_head_finds_a_planted_direction(model):
    from sklearn.metrics import roc_auc_score

    problems = TASK.problems(150, split="train", seed=3, difficulty=(1, 3))
    texts = [" " + TASK.solution(p, "cot") for p in problems]
    planted = new_reward_model(TASK, model)
    torch.manual_seed(2)
    torch.nn.init.normal_(planted.head.weight)
    values = [s.scores for s in planted.score(problems, texts)]
    middle = float(np.median(np.concatenate(values)))
    examples = [
        Labelled(p, t, tuple(float(v > middle) for v in row)) for p, t, row in zip(problems, texts, values, strict=True)
    ]
    found = fit_head(TASK, model, examples[:110], penalty=1e-4)
    truth = np.concatenate([e.labels for e in examples[110:]])
    scores = np.concatenate([s.scores for s in found.score(problems[110:], texts[110:])])
    assert roc_auc_score(truth, scores) > 0.95


def test_soft_labels_are_met_in_the_mean(model):
    examples = [Labelled(p, " The answer is 1.", (y,)) for p, y in zip(PROBLEMS[:4], (0.1, 0.2, 0.6, 0.7), strict=True)]
    head = fit_head(TASK, model, examples, penalty=0.0)
    found = [s.scores[0] for s in head.score(PROBLEMS[:4], [" The answer is 1."] * 4)]
    assert found == pytest.approx([0.1, 0.2, 0.6, 0.7], abs=0.01), "four states, sixty-four directions: exact"


# ---------------------------------------------------------------- training


@pytest.mark.parametrize("method", ["full", "lora", "qlora"])
def test_training_tells_good_from_bad_and_comes_back_from_disk(method, model, tmp_path):
    before = {k: v.clone() for k, v in model.model.state_dict().items()}
    rate = RATES[method] / 2
    config = RewardConfig(method, steps=20, batch_size=12, learning_rate=rate, rank=4, alpha=8, save_every=50)
    examples = by_answer(problems=TASK.problems(60, split="train", seed=3))
    reward = train_reward_model(TASK, model, examples, config, tmp_path / "rm")
    texts = [" The answer is 1.", " The answer is 2."] * 2
    problems = [p for p in PROBLEMS[6:8] for _ in range(2)]
    scores = [s.scores[0] for s in reward.score(problems, texts)]
    assert min(scores[::2]) > 0.7 and max(scores[1::2]) < 0.3
    trained = [p for p in reward.model.model.parameters() if p.requires_grad]
    assert {p.dtype for p in trained} == {torch.float32}, "bfloat16 would swallow small steps"
    again = load_reward_model(TASK, tmp_path / "rm")
    loaded = [s.scores[0] for s in again.score(problems, texts)]
    assert loaded == pytest.approx(scores, abs=1e-4)
    assert all(torch.equal(v, before[k]) for k, v in model.model.state_dict().items()), "the model given is left alone"


def test_a_killed_run_ends_with_the_same_weights(model, tmp_path, monkeypatch):
    config = RewardConfig(steps=8, batch_size=4, learning_rate=1e-3, save_every=3)
    whole = train_reward_model(TASK, model, by_answer(), config, tmp_path / "whole")
    calls = itertools.count()
    real = module.rate_share

    def dies(*args):
        if next(calls) == 5:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(module, "rate_share", dies)
    with pytest.raises(KeyboardInterrupt):
        train_reward_model(TASK, model, by_answer(), config, tmp_path / "cut")
    monkeypatch.setattr(module, "rate_share", real)
    resumed = train_reward_model(TASK, model, by_answer(), config, tmp_path / "cut")
    assert torch.equal(resumed.head.weight, whole.head.weight)
    theirs = whole.model.model.state_dict()
    assert all(torch.equal(v, theirs[k]) for k, v in resumed.model.model.state_dict().items())


def test_the_pair_loss_is_trls_on_a_ragged_batch(untrained, tmp_path):
    pairs = [Pair(p, s, " The answer is 1.") for p, s in zip(PROBLEMS[:5], SOLUTIONS, strict=False)]
    reward = new_reward_model(TASK, untrained(seed=5))
    torch.manual_seed(3)
    torch.nn.init.normal_(reward.head.weight)  # on a head of zeros every loss is ln 2
    trainer = pair_trainer(reward, pairs, RewardConfig(steps=1, batch_size=5), tmp_path)
    batch = trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
    theirs = trainer.compute_loss(trainer.model, batch).item()
    logits = []
    for texts in ([p.chosen for p in pairs], [p.rejected for p in pairs]):
        rows = [reward.encode(p.problem, t)[0] for p, t in zip(pairs, texts, strict=True)]
        states = reward.states(rows)
        logits.append(reward.head(states[range(5), [len(r) - 1 for r in rows]])[:, 0])
    assert len({len(reward.encode(p.problem, p.chosen)[0]) for p in pairs}) > 1
    assert pair_loss(*logits).item() == pytest.approx(theirs, abs=1e-5)
    assert abs(theirs - math.log(2)) > 0.01


@pytest.mark.parametrize("method", ["full", "lora"])
def test_pairs_teach_a_ranking(method, model, tmp_path):
    pairs = [Pair(p, " The answer is 1.", " The answer is 2.") for p in PROBLEMS[:6]]
    config = RewardConfig(method, steps=10, batch_size=6, learning_rate=RATES[method], rank=4, alpha=8)
    reward = train_on_pairs(TASK, model, pairs, config, tmp_path / "pairs")
    good, bad = reward.score([PROBLEMS[8]] * 2, [" The answer is 1.", " The answer is 2."])
    gap = math.log(good.scores[0] / (1 - good.scores[0])) - math.log(bad.scores[0] / (1 - bad.scores[0]))
    assert gap > 0.5, "on a problem that no pair was of"
    again = load_reward_model(TASK, tmp_path / "pairs").score([PROBLEMS[8]], [" The answer is 1."])
    assert again[0].scores == pytest.approx(good.scores, abs=1e-5)


def test_samples_become_labels_and_pairs():
    p = PROBLEMS[1]
    right, wrong = SOLUTIONS[1], " The answer is 99."
    groups = [[sample(right), sample(wrong), sample(right)]]
    assert [e.labels for e in outcome_labels(TASK, [p], groups)] == [(None, None, None, 1.0), (0.0,)]
    assert outcome_pairs(TASK, [p], groups) == [Pair(p, right, wrong)]
    assert outcome_pairs(TASK, [p], [[sample(right)] * 3]) == []


def test_errors_are_one_sentence(model, tmp_path, monkeypatch):
    config = RewardConfig(steps=2, batch_size=2)
    for examples, said in (
        ([], "There are no labelled solutions"),
        (by_answer((1.0, 1.0)), "Every solution to train on is right"),
        (by_answer((0.0, 0.0)), "Every solution to train on is wrong"),
    ):
        with pytest.raises(ValueError, match=said):
            train_reward_model(TASK, model, examples, config, tmp_path / "none")
        with pytest.raises(ValueError, match=said):
            fit_head(TASK, model, examples)
    with pytest.raises(ValueError, match="no pairs"):
        train_on_pairs(TASK, model, [], config, tmp_path / "none")
    with pytest.raises(ValueError, match="2 steps and 1 labels"):
        Labelled(PROBLEMS[0], "One. Two.", (1.0,))
    with pytest.raises(ValueError, match="between 0 and 1"):
        Labelled(PROBLEMS[0], "One.", (2.0,))
    with pytest.raises(FileNotFoundError, match="no trained reward model"):
        load_reward_model(TASK, tmp_path)
    long = Labelled(PROBLEMS[0], " 1 + 1 = 2." * 60, (1.0,) * 59 + (0.0,))
    with pytest.raises(ValueError, match="reads 256"):
        train_reward_model(TASK, model, [long], config, tmp_path / "long")
    monkeypatch.setattr(module, "rate_share", lambda *_: math.nan)
    with pytest.raises(FloatingPointError, match="lower the learning rate"):
        train_reward_model(TASK, model, by_answer(), config, tmp_path / "nan")


# ---------------------------------------------------------------- calibration and over-optimisation


def test_calibration_of_known_forecasters():
    rng = np.random.default_rng(0)
    p = rng.uniform(size=20_000)
    honest = rng.uniform(size=20_000) < p
    assert calibration_error(p, honest) < 0.02
    assert calibration_error(np.where(p > 0.5, 1.0, 0.0), honest) == pytest.approx(0.25, abs=0.02)
    assert calibration_error(np.full(100, 0.5), [1] * 50 + [0] * 50) == 0
    curve = reliability(p, honest, bins=5)
    assert [b.confidence for b in curve] == pytest.approx([0.1, 0.3, 0.5, 0.7, 0.9], abs=0.02)
    assert sum(b.count for b in curve) == 20_000
    with pytest.raises(ValueError, match="probabilities between 0 and 1"):
        reliability([1.2], [1])


def test_over_optimisation_is_exact():
    # The best-scored sample is wrong, the next two right: a verifier that is fooled by one text in six.
    scores, correct = [0.1, 0.2, 0.3, 0.7, 0.8, 0.95], [0, 1, 0, 1, 1, 0]
    for k in range(1, 7):
        subsets = list(itertools.combinations(range(6), k))
        winners = [max(s, key=lambda i: scores[i]) for s in subsets]
        assert top_score([scores], k)[0] == pytest.approx(np.mean([scores[i] for i in winners]))
        assert best_of_n_at_k(scores, correct, k) == pytest.approx(np.mean([correct[i] for i in winners]))
    true = [float(best_of_n_at_k(scores, correct, k)) for k in range(1, 7)]
    assert max(true) > true[0] and true[-1] == 0, "accuracy rises, then falls to that of the text that fools"
    proxy = [top_score([scores], k)[0] for k in range(1, 7)]
    assert proxy == sorted(proxy)
    with pytest.raises(ValueError, match="Draw more samples"):
        top_score([scores], 7)


def test_reads_the_bundled_model_as_it_was_sampled():
    bundled = load_model("base-small")
    reward = new_reward_model(TASK, bundled)
    prompts = [TASK.prompt(p, "cot") for p in PROBLEMS[:4]]
    for problem, (drawn,) in zip(PROBLEMS, bundled.sample(prompts, 1, 48, seed=1), strict=False):
        ids, _ = reward.encode(problem, drawn.text)
        said = [t for t in drawn.token_ids if t not in bundled.end_ids]
        assert ids == bundled.encode(TASK.prompt(problem, "cot")) + said
