"""Graph of Thoughts on a scripted sorter whose every slip is known, and once on a bundled model."""

from __future__ import annotations

import re

import pytest

from srm_utils.inference.graph_of_thoughts import GraphOfThoughts, cut, fewest_errors
from srm_utils.inference.solver import Budget
from srm_utils.sampling.completion import Completion, Cost
from srm_utils.tasks.worlds.sorting import SortingTask

TASK = SortingTask()
PROBLEMS = TASK.problems(3, seed=1, difficulty=8)


class Sorter:
    """Sorts, merges and mends; the i-th try of a kind named in `slips` loses its last number unless `right(i)`."""

    def __init__(self, slips=(), right=lambda i: False) -> None:
        self.slips, self.right = slips, right
        self.calls: list[list] = []
        self.tries: list[int] = []

    def sample(self, prompts, n=1, max_new_tokens=256, temperature=1.0, seed=0):
        self.calls.append(list(prompts))
        self.tries.append(n)
        return [[self._one(p, i) for i in range(n)] for p in prompts]

    def _one(self, prompt, i: int) -> Completion:
        kind = "mend" if prompt.instruction == "Mend it." else prompt.question.split()[0].lower()
        asked = prompt.question.split(":")[0]
        numbers = sorted(map(int, re.findall(r"\d+", asked)))
        if kind in self.slips and not self.right(i):
            numbers = numbers[:-1]
        text = f" The answer is {' '.join(map(str, numbers))}."
        cost = Cost(generated_tokens=len(numbers), flops=10.0 * len(numbers))
        return Completion(text, tuple(numbers), (0.0,) * len(numbers), "stop", 5, cost, Cost(5, flops=10.0 * 5))


def kinds(model):
    return [{("mend" if p.instruction == "Mend it." else p.question.split()[0]) for p in call} for call in model.calls]


def test_a_sorter_without_slips_sorts_in_one_call_a_layer() -> None:
    model = Sorter()
    solved = GraphOfThoughts(TASK, part=2).solve(PROBLEMS, model, Budget(1))
    assert [a.grade for a in solved] == ["correct"] * 3
    # 8 numbers: four parts, two merges, one merge; nothing is left to mend (an empty call asks for nothing).
    assert [len(call) for call in model.calls if call] == [4 * 3, 2 * 3, 1 * 3]
    # Per problem: each of the 8 numbers is written once a layer, and each prompt has 5 tokens.
    assert {(a.cost.generated_tokens, a.cost.prompt_tokens) for a in solved} == {(24, 5 * 7)}
    assert solved[0].cost.flops == 10 * (24 + 35)


def test_the_best_try_is_kept_at_every_vertex() -> None:
    """Only the third try of a part or a merge is right: three tries sort, two do not."""
    slips = {"sort", "merge"}
    right = Sorter(slips, lambda i: i == 2)
    assert [a.grade for a in GraphOfThoughts(TASK, 2, 0).solve(PROBLEMS, right, Budget(3))] == ["correct"] * 3
    wrong = Sorter(slips, lambda i: i == 2)
    assert [a.grade for a in GraphOfThoughts(TASK, 2, 0).solve(PROBLEMS, wrong, Budget(2))] == ["wrong"] * 3
    assert right.tries[0] == 3


def test_a_faulty_merge_is_mended_and_a_right_one_is_not() -> None:
    mended = Sorter({"merge"})
    solved = GraphOfThoughts(TASK, 4, 1).solve(PROBLEMS, mended, Budget(1))
    assert [a.grade for a in solved] == ["correct"] * 3 and kinds(mended) == [{"Sort"}, {"Merge"}, {"mend"}]
    assert GraphOfThoughts(TASK, 4, 0).solve(PROBLEMS, Sorter({"merge"}), Budget(1))[0].grade == "wrong"
    # One of two tries is right at once: nothing is mended.
    fine = Sorter({"merge"}, lambda i: i == 1)
    GraphOfThoughts(TASK, 4, 1).solve(PROBLEMS, fine, Budget(2))
    assert [k for k in kinds(fine) if k] == [{"Sort"}, {"Merge"}]


def test_mending_goes_on_as_often_as_asked_and_never_makes_worse() -> None:
    model = Sorter({"merge", "mend"})
    solved = GraphOfThoughts(TASK, 4, 3).solve(PROBLEMS, model, Budget(2))
    assert [k for k in kinds(model) if k] == [{"Sort"}, {"Merge"}, {"mend"}, {"mend"}, {"mend"}]
    for problem, a in zip(PROBLEMS, solved, strict=True):
        assert a.grade == "wrong" and a.answer == " ".join(problem.answer.split()[:-1])


def test_a_students_rank_replaces_ours() -> None:
    """One that likes short lists keeps the try that lost a number."""
    model = Sorter({"merge"}, lambda i: i == 0)
    short = GraphOfThoughts(TASK, 4, 0, rank=lambda values, numbers: -len(values))
    assert short.solve(PROBLEMS[:1], model, Budget(2))[0].answer == " ".join(PROBLEMS[0].answer.split()[:-1])


def test_the_trace_shows_what_flowed_into_what() -> None:
    model = Sorter({"merge"}, lambda i: i == 1)
    (a,) = GraphOfThoughts(TASK, 4, 0).solve(PROBLEMS[:1], model, Budget(2))
    whole, pruned = a.trace.children
    assert (whole.text, whole.status, whole.score) == (PROBLEMS[0].answer, "chosen", 0.0)
    assert pruned.status == "pruned" and pruned.score == -1.0
    numbers = PROBLEMS[0].facts["numbers"]
    assert [t.text for t in whole.children] == [" ".join(map(str, sorted(half))) for half in (numbers[:4], numbers[4:])]


def test_every_number_of_parts_and_nothing_at_all() -> None:
    odd = TASK.problems(2, seed=3, difficulty=12)
    for part in (1, 3, 5, 12, 99):
        assert [a.grade for a in GraphOfThoughts(TASK, part).solve(odd, Sorter(), Budget(1))] == ["correct"] * 2
    assert GraphOfThoughts(TASK).solve([], Sorter(), Budget(1)) == []
    assert [len(part) for part in cut(range(13), 3)] == [3, 3, 3, 3, 1]
    assert fewest_errors([], [3, 1]) == -2
    with pytest.raises(ValueError, match="use 1 and 0 up"):
        GraphOfThoughts(TASK, part=0)


def test_on_a_bundled_model_batching_changes_nothing() -> None:
    from srm_utils.models import load_model

    base = load_model("base", device="cpu")
    solver = GraphOfThoughts(TASK)
    together = solver.solve(PROBLEMS[:2], base, Budget(2, 48))
    alone = [solver.solve([p], base, Budget(2, 48))[0] for p in PROBLEMS[:2]]
    assert [(a.answer, a.trace, a.cost.flops) for a in together] == [(a.answer, a.trace, a.cost.flops) for a in alone]
