"""Jobs side by side draw what each would have drawn alone, in fewer calls, and end cleanly when one fails."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

import pytest

from srm_utils.inference.debate import Debate
from srm_utils.inference.self_correction import CheckingCritic, SelfCorrection
from srm_utils.inference.solver import Budget
from srm_utils.inference.state_scores import judged_step
from srm_utils.inference.thoughts import Steps
from srm_utils.inference.together import Remembered, together
from srm_utils.inference.tree_of_thoughts import BreadthFirst
from srm_utils.inference.voting import SelfConsistency
from srm_utils.models import load_model
from srm_utils.tasks import get_task

TASK = get_task("chain")
PROBLEMS = TASK.problems(3, seed=1)


class Counted:
    """A bundled model that notes how many prompts each call brings; a call of more than `most` is refused."""

    def __init__(self, inner, most: int = 10**6) -> None:
        self.inner, self.most, self.calls = inner, most, []

    def __getattr__(self, name: str):
        return getattr(self.inner, name)

    def sample(self, prompts, *args, **kwargs):
        self.calls.append(len(prompts))
        if len(prompts) > self.most:
            raise ValueError("too many")
        return self.inner.sample(prompts, *args, **kwargs)


@pytest.fixture(scope="module")
def small():
    return load_model("base-small")


def solvers() -> dict[str, Callable]:
    return {
        "vote": partial(SelfConsistency(TASK).solve, PROBLEMS, budget=Budget(4, 24)),
        "smaller vote": partial(SelfConsistency(TASK).solve, PROBLEMS, budget=Budget(2, 24)),
        "debate": partial(Debate(TASK).solve, PROBLEMS, budget=Budget(3, 24)),
        "correction": partial(SelfCorrection(TASK, CheckingCritic()).solve, PROBLEMS, budget=Budget(1, 24)),
        "tree": partial(BreadthFirst(Steps(TASK), judged_step).solve, PROBLEMS, budget=Budget(4, 24)),
    }


def stripped(attempts) -> list[tuple]:
    """What must not depend on the company: everything but seconds and peak memory."""
    return [(a.problem_id, a.answer, a.cost.flops, a.cost.tokens) for a in attempts]


def test_side_by_side_is_what_each_would_be_alone_in_fewer_calls(small) -> None:
    alone, calls = {}, 0
    for name, solve in solvers().items():
        model = Counted(small)
        alone[name] = stripped(solve(model=Remembered(model)))
        calls += len(model.calls)
    model = Counted(small)
    memory = Remembered(model)
    both = together({name: partial(solve, model=memory) for name, solve in solvers().items()}, progress=False)
    assert list(both) == list(alone) and {name: stripped(found) for name, found in both.items()} == alone
    assert len(model.calls) < calls
    before = len(model.calls)
    together({name: partial(solve, model=memory) for name, solve in solvers().items()}, progress=False)
    assert len(model.calls) == before, "the second time all is remembered"


def test_jobs_are_served_all_at_once_and_each_model_by_itself(small) -> None:
    one, two = Counted(small), Counted(small)
    a, b = Remembered(one), Remembered(two)

    def job(model: Remembered, prompt: str, turns: int) -> list[str]:
        return [model.sample([f"{prompt} {turn}"], 1, 4, seed=turn)[0][0].text for turn in range(turns)]

    jobs = {"x": partial(job, a, "x", 3), "y": partial(job, a, "y", 1), "z": partial(job, b, "z", 2)}
    found = together(jobs, progress=False)
    assert one.calls == [2, 1, 1] and two.calls == [1, 1]
    assert found == {name: work() for name, work in jobs.items()}
    assert found["x"] == job(Remembered(small), "x", 3)


def test_a_prompt_that_two_jobs_ask_for_is_drawn_as_often_as_the_greedier_asks(small) -> None:
    model = Counted(small)
    memory = Remembered(model)
    jobs = {n: partial(memory.sample, ["Question: 3 + 4"], n, 6, seed=2) for n in (2, 5, 3)}
    found = together(jobs, progress=False)
    (all_five,) = small.sample(["Question: 3 + 4"], 5, 6, seed=2)
    assert {n: [c.token_ids for c in group] for n, (group,) in found.items()} == {
        n: [c.token_ids for c in all_five[:n]] for n in (2, 5, 3)
    }
    assert model.calls == [1]


def test_no_two_jobs_run_at_once_and_none_is_left_behind(small) -> None:
    memory, inside = Remembered(small), []

    def job(name: str) -> str:
        for turn in range(3):
            inside.append(name)
            assert inside == [name]
            inside.remove(name)
            memory.sample([f"{name}{turn}"], 1, 2)
        return name

    before = threading.active_count()
    assert together({n: partial(job, n) for n in "abc"}, progress=False) == {"a": "a", "b": "b", "c": "c"}
    assert together({}, progress=False) == {}
    assert threading.active_count() == before


@pytest.mark.parametrize("error", [ValueError("the job's own"), KeyboardInterrupt()])
def test_an_error_in_one_job_ends_all_and_is_raised(small, error: BaseException) -> None:
    memory, went_on, cleaned = Remembered(small), [], []

    def waits() -> None:
        try:
            memory.sample(["a"], 1, 2)
            went_on.append(True)
        except Exception:
            went_on.append(True)
        finally:
            cleaned.append(True)

    def fails() -> None:
        raise error

    before = threading.active_count()
    with pytest.raises(type(error)) as raised:
        together({"waits": waits, "fails": fails, "never begins": waits}, progress=False)
    assert raised.value is error and not went_on and cleaned == [True]
    assert threading.active_count() == before


def test_an_error_of_the_model_ends_all_and_memory_stays_usable(small) -> None:
    memory = Remembered(Counted(small, most=1))
    with pytest.raises(ValueError, match="too many"):
        together({p: partial(memory.sample, [p], 1, 2) for p in ("a", "b")}, progress=False)
    assert memory.sample(["a"], 1, 2)[0][0].token_ids == small.sample(["a"], 1, 2)[0][0].token_ids
