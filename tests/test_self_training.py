"""Self-training: what survives a round, what the next one starts from, what a judge learns from, and going on."""

from __future__ import annotations

import errno
import itertools
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import Qwen3ForCausalLM

from srm_utils.models import Chat
from srm_utils.sampling.completion import Completion, Cost
from srm_utils.tasks import get_task
from srm_utils.tasks.problem import Grade
from srm_utils.tasks.prompts import explain_prompt
from srm_utils.training import self_training as module
from srm_utils.training.annotation import Annotated, correct, distinct
from srm_utils.training.outcome_rewards import RewardConfig, step_ends
from srm_utils.training.process_rewards import RuleScorer
from srm_utils.training.self_training import (
    METHODS,
    Method,
    SelfTrainingConfig,
    Solution,
    at_most,
    diversity,
    drawn,
    from_tree,
    measure,
    searching,
    self_train,
)
from srm_utils.training.supervised import SupervisedConfig

TASK = get_task("chain")
PROBLEMS = TASK.problems(6, split="train", difficulty=(2, 3))
CHECK = TASK.problems(4, split="validation", difficulty=2)
FEW = SelfTrainingConfig(rounds=3, samples=2, check_samples=4)


def right(problem):
    return TASK.solution(problem, "cot")


def other_way(problem):
    return f"1 + 1 = 2. {right(problem)}"


def wrong(problem):
    return f"5 + 5 = 11. The answer is {int(problem.answer) + 1}."


class Scripted:
    """A model whose reply to a prompt is a function of it and of the sample's number."""

    chat = Chat(dialect="family", step_mark=".")

    def __init__(self, reply):
        self.reply, self.calls = reply, []

    def render(self, prompt):
        return prompt.text()

    def sample(self, prompts, n=1, max_new_tokens=256, temperature=1.0, seed=0):
        self.calls.append(dict(prompts=list(prompts), n=n, temperature=temperature, seed=seed))
        counts = [n] * len(prompts) if isinstance(n, int) else n
        asked = zip(prompts, counts, strict=True)
        return [[self._completion(self.reply(p, i)) for i in range(count)] for p, count in asked]

    def _completion(self, text):
        n = len(text.split())
        return Completion(
            f" {text}", tuple(range(n)), (), "stop", 6, Cost(generated_tokens=n, flops=2.0 * n), Cost(6, flops=12.0)
        )


def solver(*solved, told=right):
    """Solves these problems of `PROBLEMS`, two ways in turn, and of `CHECK` the first; what is told it explains."""
    known = {p.question: i for i, p in enumerate(PROBLEMS)}
    hinted = {explain_prompt(p, p.answer).question: p for p in PROBLEMS}

    def reply(prompt, i):
        if prompt.instruction.startswith("Explain") or prompt.question in hinted:
            return told(hinted[prompt.question])
        if prompt.question not in known:
            at = [p.question for p in CHECK].index(prompt.question)
            return right(CHECK[at]) if at == 0 else wrong(CHECK[at])
        problem = PROBLEMS[known[prompt.question]]
        return (right, other_way)[i % 2](problem) if known[prompt.question] in solved else wrong(problem)

    return Scripted(reply)


@dataclass
class Stub:
    """A trained model that loads as the next writer."""

    writer: Scripted
    flops: float = 1000.0

    def load(self, device):
        return self.writer


@pytest.fixture
def loop(monkeypatch, tmp_path):
    """Run a method with scripted policies, one a round and one after; what was trained on what is returned."""

    def run(method, *writers, config=FEW, check=()):
        trained, judged = [], []

        def train(base, data, options, out, device):
            trained.append((base, list(data), options, Path(out)))
            return Stub(writers[len(trained)])

        def train_judge(task, base, shown, options, out, style, device, name):
            judged.append((base, list(shown), options, Path(out)))
            Path(out).mkdir(parents=True)
            (Path(out) / "trained.json").write_text('{"flops": 500.0}')
            return f"judge {len(judged)}"

        monkeypatch.setattr(module, "load_model", lambda *a, **k: writers[0])
        monkeypatch.setattr(module, "run_fingerprint", lambda *a: "one run")
        monkeypatch.setattr(module, "train_supervised", train)
        monkeypatch.setattr(module, "train_reward_model", train_judge)
        config = replace(config, rounds=len(writers) - 1)
        rounds = self_train("first", TASK, PROBLEMS, method, config, tmp_path / method.name, check, "cpu")
        return rounds, trained, judged

    return run


# ---------------------------------------------------------------- which solutions survive


def test_a_round_draws_keeps_right_and_different_ones_and_trains_the_first_weights(loop):
    writers = [solver(0, 1), solver(1, 2, 3), solver()]
    rounds, trained, judged = loop(METHODS["ReST-EM"], *writers, config=replace(FEW, samples=4, seed=3))
    assert [base for base, *_ in trained] == ["first"] * 2, "every round starts from the first weights"
    assert [w.calls[0]["n"] for w in writers[:2]] == [4, 4] and not writers[2].calls
    assert writers[0].calls[0]["seed"] != writers[1].calls[0]["seed"], "new samples in every round"
    for (_, data, options, _), solved in zip(trained, ((0, 1), (1, 2, 3)), strict=True):
        assert data == [(TASK.prompt(PROBLEMS[i], "cot"), f(PROBLEMS[i])) for i in solved for f in (right, other_way)]
        assert options.seed == 3
    assert [r.solved for r in rounds] == [2 / 6, 3 / 6] and [r.examples for r in rounds] == [4, 6]
    assert [r.samples for r in rounds] == [24, 48] and not judged
    spent = [2.0 * sum(6 + sum(len(w.reply(p, i).split()) for i in range(4)) for p in w.calls[0]["prompts"])
             for w in writers[:2]]  # fmt: skip
    assert [r.flops for r in rounds] == pytest.approx([spent[0] + 1000, sum(spent) + 2000])
    _, trained, _ = loop(replace(METHODS["ReST-EM"], name="one"), *writers[:2], config=replace(FEW, samples=4, most=1))
    assert trained[0][1] == [(TASK.prompt(p, "cot"), right(p)) for p in PROBLEMS[:2]], "at most one of a problem"


def test_rationalised_examples_drop_the_hint(loop):
    told = []
    writers = [solver(0, 2, told=lambda p: told.append(p.id) or (wrong(p) if p is PROBLEMS[5] else right(p)))] * 2
    rounds, trained, _ = loop(METHODS["STaR"], *writers)
    first, second = writers[0].calls
    assert first["temperature"] == second["temperature"] == 0 and first["n"] == 1
    assert told == [PROBLEMS[i].id for i in (1, 3, 4, 5)], "told only where it failed"
    data = trained[0][1]
    assert data == [(TASK.prompt(PROBLEMS[i], "cot"), right(PROBLEMS[i])) for i in (0, 2, 1, 3, 4)]
    for (prompt, _), i in zip(data, (0, 2, 1, 3, 4), strict=True):
        assert f"The answer is {PROBLEMS[i].answer}" not in prompt.text()
        assert prompt != explain_prompt(PROBLEMS[i], PROBLEMS[i].answer)
    assert rounds[0].samples == 6 + 4 and rounds[0].solved == 5 / 6


def test_the_verifier_learns_from_right_and_wrong_ones_of_all_rounds(loop):
    rounds, trained, judged = loop(METHODS["V-STaR"], solver(0), solver(1), solver())
    assert [len(data) for _, data, *_ in trained] == [2, 4], "the data of earlier rounds stay"
    assert {p.question for p, _ in trained[1][1]} == {PROBLEMS[0].question, PROBLEMS[1].question}
    ((base, shown, _, out),) = judged
    assert base == "first" and out.parent.name == "round-2", "one verifier, after the last round"
    assert len(shown) == 2 * 2 * 6 and all(e.text.startswith(" ") for e in shown)
    for e in shown:
        assert e.labels[-1] == (TASK.grade(e.text, e.problem) == Grade.CORRECT) and set(e.labels[:-1]) <= {None}
    assert sum(e.labels[-1] for e in shown) == 4
    assert [r.judge for r in rounds] == [None, out] and rounds[1].flops - rounds[0].flops > 1500


def test_policy_and_process_model_raise_each_other(loop):
    asked = []

    def search(policy, judge, problems, seed):
        asked.append((policy, judge, seed))
        return [Tried(p.id, tree(p)) for p in problems]

    writers = [solver(), solver(), solver()]
    rounds, trained, judged = loop(Method("rStar", searching(search), judge="each"), *writers)
    assert [(w, j) for w, j, _ in asked] == [(writers[0], None), (writers[1], "judge 1")]
    assert asked[0][2] != asked[1][2] and [out.parent.name for *_, out in judged] == ["round-1", "round-2"]
    assert [base for base, *_ in judged] == ["first"] * 2 and len(judged[1][1]) == 2 * len(judged[0][1])
    assert trained[0][1] == [(TASK.prompt(p, "cot"), right(p)) for p in PROBLEMS]
    assert {e.labels[0] for e in judged[0][1] if "11" not in e.text} == {0.5}


def test_a_students_filter_takes_the_place_of_ours(loop):
    def short(records):
        return [r for r in records if r.words <= 8]

    with pytest.raises(ValueError, match="None of 12 records passes 'short'"):
        loop(Method("strict", drawn, keep=(short,)), solver(0), solver())
    *_, (_, data, *_) = loop(Method("all", drawn, keep=()), solver(0), solver())[1]
    assert len(data) == 12, "without a filter the wrong ones are learnt too"
    records = [Annotated(p, str(i), "hand", None, Grade.CORRECT) for p in PROBLEMS[:2] for i in range(3)]
    assert [r.text for r in at_most(records, 2)] == ["0", "1", "0", "1"]


# ---------------------------------------------------------------- trees


@dataclass
class Node:
    text: str
    status: str = "kept"
    children: tuple = ()


@dataclass
class Tried:
    problem_id: str
    trace: object
    answer: str | None = None
    grade: Grade = Grade.WRONG
    cost: Cost = Cost(flops=12.0)


def tree(p):
    """A good first step, after which one end is right and one wrong, and a bad one that was not gone on from."""
    first, rest = right(p).split(". ", 1)
    good = Node(f"{first}.", "chosen", (Node(wrong(p), "answer"), Node(rest, "chosen")))
    return Node(p.question, "kept", (Node("9 + 9 = 3.", "pruned"), good))


def test_a_tree_gives_its_ends_and_each_step_its_share_of_right_ones():
    p = PROBLEMS[0]
    first = right(p).split(". ", 1)[0]
    good, bad = from_tree(TASK, p, Tried(p.id, tree(p)))
    assert good.record.text == right(p) and bad.record.text == f"{first}. {wrong(p)}"
    assert good.labels == (0.5, *[1.0] * (len(step_ends(right(p))) - 1)) and bad.labels == (0.5, 0.0, 0.0)
    assert [s.record.grade for s in (good, bad)] == [Grade.CORRECT, Grade.WRONG] and good.record.solved == 0.5
    assert good.record.answer == p.answer and good.record.cost.flops + bad.record.cost.flops == 12
    (none,) = from_tree(TASK, p, Tried(p.id, Node(p.question, "kept", (Node("9 + 9 = 3.", "pruned"),))))
    assert none.record.cost.flops == 12 and none.labels == (None,) and not none.record.text


def test_a_thought_may_end_within_a_sentence():
    task = get_task("countdown")
    (p,) = task.problems(1, split="train", difficulty=3)
    text = task.solution(p, "cot")
    cut = text.index("Left") + len("Left")
    lost = Node("2, 2. The answer is 2 + 2.", "answer")
    start = Node(text[:cut], "kept", (Node(text[cut:].strip(), "chosen"), lost, replace_text(lost, "2.")))
    (good, *_) = from_tree(task, p, Tried(p.id, Node("", "kept", (start,))))
    assert good.record.text == text and good.labels == (pytest.approx(1 / 3), 1.0, 1.0, 1.0)


def replace_text(node, text):
    return Node(f"{text} {node.text}", node.status)


def test_a_real_monte_carlo_search_becomes_solutions_and_labels():
    from srm_utils.inference.monte_carlo_tree_search import MonteCarloTreeSearch
    from srm_utils.inference.solver import Budget
    from srm_utils.inference.state_scores import by_rule
    from srm_utils.inference.thoughts import Steps
    from srm_utils.models import load_model
    from srm_utils.training.outcome_rewards import correctness

    model = load_model("base-small", device="cpu")
    problems = PROBLEMS[:2]
    mcts = MonteCarloTreeSearch(Steps(TASK, seed=1), by_rule(correctness(TASK)), branching=2)
    attempts = mcts.solve(problems, model, Budget(5, 48))
    for p, a in zip(problems, attempts, strict=True):
        solutions = from_tree(TASK, p, a)
        met = {" ".join(t.split()) for t in a.trace.solutions}
        assert {" ".join(s.record.text.split()) for s in solutions} >= met, "every end that was met"
        assert sum(s.record.cost.flops for s in solutions) == pytest.approx(a.cost.flops)
        for s in solutions:
            assert s.labels[-1] == (s.record.grade == Grade.CORRECT) and len(s.labels) == len(step_ends(s.record.text))
            first = s.record.text[: step_ends(s.record.text)[0]]
            alike = [t for t in solutions if t.record.text.startswith(first)]
            if s.labels[0] not in (0.0, 1.0):
                assert s.labels[0] == pytest.approx(np.mean([t.record.grade == Grade.CORRECT for t in alike]))


# ---------------------------------------------------------------- what a round reached


def test_a_policy_is_measured_greedily_by_samples_and_by_a_judge():
    replies = {
        CHECK[0].question: [right(CHECK[0])] * 4,
        CHECK[1].question: [wrong(CHECK[1]), right(CHECK[1]), other_way(CHECK[1]), wrong(CHECK[1])],
        CHECK[2].question: [wrong(CHECK[2])] * 4,
        CHECK[3].question: ["No idea."] * 4,
    }
    model = Scripted(lambda prompt, i: replies[prompt.question][i])
    ideal = RuleScorer(lambda p, t: [float(TASK.grade(t, p) == Grade.CORRECT)])
    found = measure(model, TASK, CHECK, FEW, ideal)
    assert found.record["greedy"] == 0.25 and found.record["accuracy"] == 6 / 16 and found.record["coverage"] == 0.5
    assert found.record["verified"] == 0.5, "an ideal judge takes all that is covered"
    assert found.record["diversity"] == 0.5 and found.sampled.passk(2).value == pytest.approx((1 + 5 / 6) / 4)
    worst = RuleScorer(lambda p, t: [float(TASK.grade(t, p) != Grade.CORRECT)])
    assert measure(model, TASK, CHECK, FEW, worst).record["verified"] == 0.25
    assert math.isnan(measure(model, TASK, CHECK, FEW).record["verified"])
    assert model.calls[0]["temperature"] == [0.0] * 4 + [1.0] * 4
    assert model.calls[0]["n"] == [1] * 4 + [FEW.check_samples] * 4


def test_diversity_is_the_share_of_pairs_that_differ():
    p = PROBLEMS[0]
    texts = [right(p), right(p), other_way(p), f"2 + 2 = 4. {right(p)}", wrong(p), f"The answer is {p.answer}."]
    group = [Completion(f" {t}", (1,), (), "stop", 1, Cost()) for t in texts]
    ways = ["a", "a", "b", "c", "d"]
    pairs = list(itertools.combinations(ways, 2))
    assert diversity(TASK, [p], [group]) == pytest.approx(sum(x != y for x, y in pairs) / len(pairs))
    assert math.isnan(diversity(TASK, [p], [group[:1]])), "one right sample says nothing"


# ---------------------------------------------------------------- real training, kills


@pytest.fixture
def checkpoint(untrained_checkpoint):
    return untrained_checkpoint


TINY = SelfTrainingConfig(
    rounds=2, check_samples=2, max_new_tokens=8,
    policy=SupervisedConfig(steps=3, batch_size=4, learning_rate=0.01, save_every=1),
    judge=RewardConfig(steps=2, batch_size=4, learning_rate=0.01),
)  # fmt: skip


class Writer:
    """Every other problem right; `fresh` solves others in each round. Its calls are noted."""

    def __init__(self, fresh=True, dies_at=None):
        self.fresh, self.dies_at, self.calls = fresh, dies_at, 0

    def __call__(self, policy, judge, task, problems, config, seed):
        self.calls += 1
        if self.calls == self.dies_at:
            raise KeyboardInterrupt
        out = []
        for p in problems:
            good = (PROBLEMS.index(p) + self.fresh * seed) % 2 == 0
            text, grade = (right(p), Grade.CORRECT) if good else (wrong(p), Grade.WRONG)
            labels = (*[None] * (len(step_ends(text)) - 1), float(good))
            out.append(Solution(Annotated(p, text, "hand", task.extract(text), grade, 0.5, Cost(flops=0.1)), labels))
        return out


def run(checkpoint, out, writer, judge="each", config=TINY, check=CHECK[:2]):
    method = Method("hand", writer, (correct, distinct), judge=judge)
    return self_train(checkpoint, TASK, PROBLEMS, method, config, out, check, "cpu")


def weights(round_):
    return {k: v.clone() for k, v in round_.trained.load("cpu").model.state_dict().items()}


def test_equal_data_give_equal_weights_in_every_round_since_all_start_from_the_base(checkpoint, tmp_path):
    one, two = run(checkpoint, tmp_path, Writer(fresh=False), "none", check=())
    a, b = weights(one), weights(two)
    assert all(torch.equal(a[k], b[k]) for k in a)
    start = Qwen3ForCausalLM.from_pretrained(checkpoint).state_dict()
    assert any(not torch.equal(a[k], start[k]) for k in a), "it did train"
    assert one.measured is None and "greedy" not in one.record


def test_a_killed_run_goes_on_and_ends_with_the_same_weights(checkpoint, tmp_path, monkeypatch):
    from safetensors.torch import load_file
    from trl import SFTTrainer

    monkeypatch.setattr(module, "PART", 4)  # two parts a round
    whole = run(checkpoint, tmp_path / "whole", Writer())
    with pytest.raises(KeyboardInterrupt):
        run(checkpoint, tmp_path / "cut", Writer(dies_at=4))  # in the second part of the second round
    first = {f: f.stat().st_mtime_ns for f in (tmp_path / "cut" / "round-1").rglob("*") if f.is_file()}
    step, taken = SFTTrainer.training_step, []

    def killed(self, *args, **kwargs):
        taken.append(1)
        if len(taken) == 2:
            raise KeyboardInterrupt
        return step(self, *args, **kwargs)

    writer = Writer()
    with monkeypatch.context() as patch:
        patch.setattr(SFTTrainer, "training_step", killed)
        with pytest.raises(KeyboardInterrupt):
            run(checkpoint, tmp_path / "cut", writer)
    assert writer.calls == 1, "three of four parts were written"
    writer = Writer()
    monkeypatch.setattr(SFTTrainer, "training_step", lambda *a, **k: (taken.append(1), step(*a, **k))[1])
    taken.clear()
    resumed = run(checkpoint, tmp_path / "cut", writer)
    assert writer.calls == 0 and len(taken) == 2, "nothing is written again, training goes on from its checkpoint"
    assert first == {f: f.stat().st_mtime_ns for f in first}, "a finished round is left alone"
    for a, b in zip(whole, resumed, strict=True):
        assert a.solutions == b.solutions and str(a.record) == str(b.record)
        old, new = weights(a), weights(b)
        assert all(torch.equal(old[k], new[k]) for k in old)
        heads = [load_file(r.judge / "head.safetensors")["weight"] for r in (a, b)]
        assert torch.equal(*heads) and heads[0].abs().sum() > 0
        assert np.array_equal(a.measured.scores, b.measured.scores)
        assert (a.measured.sampled.grades == b.measured.sampled.grades).all()
    taken.clear()
    again = run(checkpoint, tmp_path / "cut", writer)
    assert not taken and writer.calls == 0 and [str(r.record) for r in again] == [str(r.record) for r in resumed]
    assert resumed[0].measured.sampled.answers.shape == (2, 2) and resumed[1].measured.scores.shape == (2, 2)
    # Other problems to be measured on are asked of the same models, and the first ones are still known.
    others = run(checkpoint, tmp_path / "cut", writer, check=CHECK[2:])
    assert not taken and writer.calls == 0
    assert [r.measured.sampled.problems for r in others] == [tuple(CHECK[2:])] * 2
    monkeypatch.setattr(module, "measure", lambda *a: pytest.fail("measured before"))
    back = run(checkpoint, tmp_path / "cut", writer)
    assert [str(r.record) for r in back] == [str(r.record) for r in resumed]


# ---------------------------------------------------------------- what cannot be


def test_mistakes_are_told_in_one_sentence(checkpoint, tmp_path, monkeypatch, loop):
    p = PROBLEMS[0]
    said = []

    def told(kind, match, call, *args, **kwargs):
        with pytest.raises(kind, match=match) as error:
            call(*args, **kwargs)
        said.append(str(error.value))

    told(ValueError, "at least 1", replace, FEW, rounds=0)
    told(ValueError, "no problems", self_train, checkpoint, TASK, [], METHODS["STaR"], TINY, tmp_path / "none")
    told(ValueError, "None of 12 records passes 'correct'", loop, METHODS["ReST-EM"], solver(), solver())
    told(ValueError, "no tree of thoughts", from_tree, TASK, p, Tried(p.id, ["a", "list"]))
    write = searching(lambda *a: [Tried(PROBLEMS[1].id, tree(p))])
    told(ValueError, "in their order", write, None, None, TASK, [p], FEW, 0)
    assert all(text.count(". ") == 0 and text.endswith(".") for text in said)


def test_a_folder_holds_one_run_and_a_full_disk_leaves_what_was_finished(checkpoint, tmp_path, monkeypatch):
    run(checkpoint, tmp_path, Writer(), "none", replace(TINY, rounds=1), ())
    with pytest.raises(ValueError, match="another folder"):
        run(checkpoint, tmp_path, Writer(), "none", replace(TINY, rounds=1, samples=9), ())
    write = module.write_json

    def full(file, content):
        if file.parent.name == "round-2":
            file.with_suffix(".tmp").write_text("ha")
            raise OSError(errno.ENOSPC, "No space left on device")
        write(file, content)

    with monkeypatch.context() as patch:
        patch.setattr(module, "write_json", full)
        with pytest.raises(OSError, match="No space left on device.; free some space and run it again") as error:
            run(checkpoint, tmp_path / "full", Writer(), "none", TINY, ())
    assert str(error.value).count(". ") == 0
    assert not list((tmp_path / "full").rglob("solutions*.tmp"))
    writer = Writer()
    assert len(run(checkpoint, tmp_path / "full", writer, "none", TINY, ())) == 2 and writer.calls == 1
