"""Chain-of-thought solvers against scripted models whose answers are known, and once against the bundled base."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from srm_utils.inference.chain_of_thought import (
    ChainOfThoughtDecoding,
    LeastToMost,
    Prompting,
    likeliest_first_tokens,
    worked_examples,
)
from srm_utils.inference.solver import Budget
from srm_utils.models import load_model
from srm_utils.sampling.completion import Completion, Cost
from srm_utils.tasks import get_task
from srm_utils.tasks.problem import Prompt, split_of
from srm_utils.tasks.styles import style_of

TASK = get_task("chain")
PROBLEMS = TASK.problems(4, seed=3, difficulty=2)
END = 1


class Scripted:
    """Says what a script says for a prompt, one token a word; remembers what it was asked."""

    end_ids = (END,)

    def __init__(self, script) -> None:
        self.script = script
        self.asked: list[Prompt] = []

    def sample(self, prompts: Sequence[Prompt], n=1, max_new_tokens=256, temperature=1.0, stop=(), **_):
        limits = [max_new_tokens] * len(prompts) if isinstance(max_new_tokens, int) else list(max_new_tokens)
        return [[self._one(p, limit, stop)] for p, limit in zip(prompts, limits, strict=True)]

    def _one(self, prompt: Prompt, limit: int, stop: Sequence[str]) -> Completion:
        self.asked.append(prompt)
        text = self.script(prompt)
        cut = min((text.index(s) for s in stop if s in text), default=None)
        words = (text if cut is None else text[: cut + 1]).split()[:limit]
        ids = tuple([7] * len(words)) + ((END,) if cut is None else ())
        said = text if cut is None else text[:cut]
        cost = Cost(generated_tokens=len(ids), flops=10.0 * len(ids))
        return Completion(
            said,
            ids,
            (0.0,) * len(ids),
            "stop",
            len(prompt.text().split()),
            cost,
            Cost(len(prompt.text().split()), flops=10.0 * len(prompt.text().split())),
        )


def gold(style: str):
    by_question = {p.question: p for p in PROBLEMS}
    return lambda prompt: " " + TASK.solution(by_question[prompt.question], style)


def test_prompting_returns_graded_attempts_in_order_with_their_cost() -> None:
    attempts = Prompting(TASK, "cot").solve(PROBLEMS, Scripted(gold("cot")), Budget())
    assert [a.problem_id for a in attempts] == [p.id for p in PROBLEMS]
    assert {a.grade for a in attempts} == {"correct"}
    for a, p in zip(attempts, PROBLEMS, strict=True):
        words = len(TASK.solution(p, "cot").split()) + 1
        assert a.cost.generated_tokens == words
        assert a.cost.flops == 10 * (words + a.cost.prompt_tokens)


def test_a_silent_text_is_asked_for_its_answer_and_both_calls_are_paid() -> None:
    problem = PROBLEMS[0]
    model = Scripted(lambda p: f" {problem.answer}." if p.prefill else " I think and think.")
    (a,) = Prompting(TASK, "cot").solve([problem], model, Budget())
    assert a.grade == "correct" and len(model.asked) == 2
    assert model.asked[1].prefill == "I think and think. The answer is"
    assert a.cost.prompt_tokens > len(model.asked[0].text().split())


def test_examples_are_of_the_train_split_and_come_first() -> None:
    shots = worked_examples(TASK, "draft", 2, difficulty=3, seed=1)
    assert len(shots) == 2 and all(split_of(p.canonical) == "train" for p, _ in shots)
    assert all(style_of(TASK, p, text) == "draft" for p, text in shots)
    model = Scripted(gold("draft"))
    Prompting(TASK, "unmarked", shots).solve(PROBLEMS[:1], model, Budget())
    assert model.asked[0].text().count("Question:") == 3 and model.asked[0].instruction == ""


def test_nothing_to_solve_costs_nothing() -> None:
    model = Scripted(gold("cot"))
    for solver in (Prompting(TASK), LeastToMost(TASK)):
        assert solver.solve([], model, Budget()) == [] and not model.asked


def test_least_to_most_asks_question_by_question_until_the_answer() -> None:
    problem = PROBLEMS[0]
    whole = TASK.solution(problem, "decompose")

    def go_on(prompt: Prompt) -> str:
        return whole[len(prompt.prefill) :]

    model = Scripted(go_on)
    (a,) = LeastToMost(TASK).solve([problem], model, Budget())
    assert a.grade == "correct" and a.trace.startswith("First: what do we have")
    # Two smaller questions with their answers, and the sentence that ends it.
    assert len(model.asked) == 5 or len(model.asked) == 6
    assert a.cost.prompt_tokens > 3 * len(model.asked[0].text().split())


def test_least_to_most_stops_at_its_limits() -> None:
    endless = Scripted(lambda p: " And then? It goes on. ")
    (a,) = LeastToMost(TASK, max_questions=3).solve(PROBLEMS[:1], endless, Budget())
    assert a.grade == "unparsable" and len(endless.asked) == 6
    endless = Scripted(lambda p: " And then? It goes on. ")
    LeastToMost(TASK, max_questions=50).solve(PROBLEMS[:1], endless, Budget(max_new_tokens=10))
    assert len(endless.asked) <= 5, "the budget holds over all calls together"


def test_styles_are_told_apart() -> None:
    for name in ("chain", "graph", "countdown"):
        task = get_task(name)
        for problem in task.problems(4, seed=5, difficulty=task.difficulties[1]):
            for style in ("direct", "cot", "draft"):
                assert style_of(task, problem, task.solution(problem, style)) == style
    assert style_of(TASK, PROBLEMS[0], "zzz zzz zzz zzz zzz zzz zzz") == "other"


def test_decoding_branches_over_the_likeliest_first_tokens() -> None:
    import torch

    model = load_model("base")
    prompt = TASK.prompt(PROBLEMS[0], "unmarked")
    (first,), (reading,) = likeliest_first_tokens(model, [prompt], 5)
    assert reading.flops == model.prices.reading(0, len(model.encode(prompt)), logits=1), "the first pass is paid for"
    logits = model.model(input_ids=torch.tensor([model.encode(prompt)])).logits[0, -1]
    ranked = logits.argsort(descending=True)[:5].tolist()
    assert first == [model.tokenizer.decode([t]) for t in ranked]
    attempts = ChainOfThoughtDecoding(TASK, k=5).solve(PROBLEMS, model, Budget(max_new_tokens=64))
    for attempt in attempts:
        assert len(attempt.trace) == 5 and all(0 <= gap <= 1 for _, gap in attempt.trace)
        answers = {TASK.extract(text) for text, _ in attempt.trace}
        assert attempt.answer in answers and attempt.cost.scored_tokens > 0


def test_one_branch_is_greedy_decoding() -> None:
    model = load_model("base")
    greedy = Prompting(TASK, "unmarked").solve(PROBLEMS, model, Budget(max_new_tokens=96))
    one = ChainOfThoughtDecoding(TASK, k=1).solve(PROBLEMS, model, Budget(max_new_tokens=96))
    assert [a.answer for a in one] == [a.answer for a in greedy]


def test_the_surest_answer_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    from srm_utils.inference import chain_of_thought as module

    problem = PROBLEMS[0]
    answers = [str(int(problem.answer) + 1), problem.answer, str(int(problem.answer) + 1)]
    monkeypatch.setattr(module, "likeliest_first_tokens", lambda *_: ([["a", "b", "c"]], [Cost()]))
    monkeypatch.setattr(module, "answer_gaps", lambda *_: ([0.3, 0.9, 0.3], [Cost()] * 3))
    model = Scripted(lambda p: f" The answer is {answers['abc'.index(p.prefill)]}.")
    (summed,) = ChainOfThoughtDecoding(TASK, k=3).solve([problem], model, Budget())
    assert summed.answer == problem.answer, "0.9 outweighs 0.3 + 0.3"
    monkeypatch.setattr(module, "answer_gaps", lambda *_: ([0.5, 0.9, 0.5], [Cost()] * 3))
    (summed,) = ChainOfThoughtDecoding(TASK, k=3).solve([problem], model, Budget())
    (single,) = ChainOfThoughtDecoding(TASK, k=3, aggregate=False).solve([problem], model, Budget())
    assert summed.answer != problem.answer and single.answer == problem.answer
