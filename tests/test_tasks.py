"""The task contract on the chain and graph worlds, and the registry."""

from __future__ import annotations

import itertools
import re
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from srm_utils.tasks import get_task, task_names
from srm_utils.tasks import words as shared_words
from srm_utils.tasks.problem import INSTRUCTIONS, SPLIT_BOUNDS, Grade, Prompt, split_of
from srm_utils.tasks.worlds.chain import MAX_CHANGE, MAX_VALUE, ChainTask
from srm_utils.tasks.worlds.graph import GraphTask, lookup_prompt, lookup_solution, lookup_table
from srm_utils.tasks.worlds.sorting import score, wrong_merge

WORLDS = (ChainTask(), GraphTask())
each_world = pytest.mark.parametrize("task", WORLDS, ids=lambda task: task.name)


def _some(task, n=60, seed=3, templates="train"):
    return task.problems(n, seed=seed, difficulty=(*task.difficulties, *task.unseen_difficulties), templates=templates)


def _run(program: str) -> int:
    """What a program in the worlds' style prints, by an interpreter of this test's own."""
    values: dict[str, int] = {}
    *lines, last = program.split("; ")
    for line in lines:
        if line.startswith('"'):
            continue
        name, expression = line.split(" = ")
        parts = [int(p) if p.isdigit() else values.get(p, p) for p in expression.split()]
        if len(parts) == 1:
            values[name] = parts[0]
        else:
            left, sign, right = parts
            values[name] = {"+": left + right, "-": left - right, "*": left * right}[sign]
    return values[re.fullmatch(r"print \( (\w+) \)", last)[1]]


@each_world
@pytest.mark.parametrize("templates", ["train", "held-out"])
def test_gold_solutions_grade_correct_in_every_style(task, templates):
    for problem in _some(task, templates=templates):
        for style in task.styles:
            text = task.solution(problem, style, Random(7))
            if style == "program":
                assert str(_run(text)) == problem.answer
            else:
                assert task.grade(text, problem) is Grade.CORRECT
                assert text.endswith(f"The answer is {problem.answer}.")
            assert "\n" not in text and "\n" not in problem.question


@each_world
def test_grade_tells_wrong_from_unparsable(task):
    problem = _some(task, 1)[0]
    assert task.grade(f"The answer is {int(problem.answer) + 1}.", problem) is Grade.WRONG
    assert task.grade("I do not know.", problem) is Grade.UNPARSABLE
    # The last statement counts, and a number that goes on is another number.
    assert task.grade(f"The answer is 99. The answer is {problem.answer}.", problem) is Grade.CORRECT
    assert task.grade(f"The answer is {problem.answer}7.", problem) is Grade.WRONG
    assert task.grade(f"The answer is {problem.answer}.5", problem) is not Grade.CORRECT


@each_world
@settings(max_examples=150, deadline=None)
@given(text=st.one_of(st.text(), st.text("The answer is 0123456789-,.").map(lambda s: "The answer is " + s)))
def test_grading_never_raises(task, text):
    problem = task.problems(1, seed=1)[0]
    assert task.grade(text, problem) in set(Grade)
    assert all(text[c.start : c.end] == c.text for c in task.check_steps(text, problem))


@each_world
def test_huge_numbers_are_graded(task):
    problem = task.problems(1, seed=1)[0]
    assert task.grade(f"The answer is {'9' * 100_000}.", problem) is not Grade.CORRECT


@each_world
def test_steps_of_gold_solutions_are_right(task):
    for problem in _some(task):
        for style in ("cot", "verbose", "plan", "decompose", "tool", "check"):
            text = task.solution(problem, style)
            checks = task.check_steps(text, problem)
            assert checks and all(c.verdict == "right" for c in checks), (style, checks)
            assert {s for s in problem.steps if any(s in c.text for c in checks)} == set(problem.steps)


@each_world
def test_retries_show_an_error_and_then_the_right_step(task):
    slips = 0
    for seed, problem in enumerate(_some(task)):
        text = task.solution(problem, "retry", Random(seed))
        checks = task.check_steps(text, problem)
        assert sum(c.verdict != "right" for c in checks) == text.count("Wait, that is wrong")
        slips += text.count("Wait, that is wrong")
    assert slips > 20


@each_world
def test_corrupted_steps_have_their_first_error_where_it_is_said_to_be(task):
    places = set()
    for seed, problem in enumerate(_some(task, 80)):
        steps, at = task.corrupt(problem, Random(seed))
        assert len(steps) == len(problem.steps)
        assert list(problem.steps[:at]) == steps[:at] and steps[at] != problem.steps[at]
        verdicts = [c.verdict for s in steps for c in task.check_steps(s, problem)]
        assert len(verdicts) == len(steps) and verdicts[at] != "right" and set(verdicts[:at]) <= {"right"}
        places.add(at)
    assert len(places) > 2


def test_a_graph_sentence_nobody_needs_is_useless():
    task = GraphTask()
    for problem in _some(task, 30):
        spare = next(x for x in problem.facts["nodes"] if x not in problem.facts["needed"])
        sentence = next(s for s in re.findall(r"[^.?]+[.?]", problem.question) if s.split()[0] == spare)
        assert [c.verdict for c in task.check_steps(sentence.strip(), problem)] == ["useless"]


@each_world
def test_splits_are_disjoint_over_many_seeds(task):
    forms = {split: set() for split in SPLIT_BOUNDS}
    for split in SPLIT_BOUNDS:
        for seed in range(8):
            batch = task.problems(40, split=split, seed=seed)
            assert len({p.canonical for p in batch}) == 40
            forms[split] |= {p.canonical for p in batch}
            assert all(split_of(p.canonical) == split for p in batch)
    for one, other in itertools.combinations(forms.values(), 2):
        assert not one & other
    assert all(len(found) > 200 for found in forms.values())


@each_world
def test_problems_are_deterministic_and_differ_by_seed(task):
    first, again, other = task.problems(20, seed=1), task.problems(20, seed=1), task.problems(20, seed=2)
    assert first == again and [p.facts for p in first] == [p.facts for p in again]
    assert {p.question for p in first}.isdisjoint(p.question for p in other)
    assert task.solution(first[0], "retry") == task.solution(again[0], "retry")
    # A longer draw begins with the shorter one.
    assert task.problems(5, seed=1) == first[:5]


@each_world
def test_held_out_templates_share_no_sentence_form_and_no_unknown_word(task):
    def shapes(templates):
        found, words = set(), set()
        for problem in _some(task, 150, templates=templates):
            *told, _ = re.findall(r"[^.?]+[.?]", problem.question)
            words |= set(re.findall(r"[A-Za-z]+", problem.question))
            fills = "|".join((*shared_words.NAMES, *shared_words.THINGS, r"\d+"))
            found |= {re.sub(rf"\b(?:{fills})\b", "_", s.strip()) for s in told}
        return found, words

    train, train_words = shapes("train")
    held_out, held_words = shapes("held-out")
    start = {s for s in train if " has _ _." in s or "starts with" in s or s.startswith("Some friends")}
    assert (held_out & train) <= start
    assert len(held_out - train) >= 5
    known = train_words | {w for p in _some(task) for w in re.findall(r"[A-Za-z]+", task.solution(p, "verbose"))}
    assert {w.lower() for w in held_words} - {w.lower() for w in known} <= {"a", "all", "as", "and", "many", "now"}


@each_world
def test_depth_is_what_it_says(task):
    for difficulty in (*task.difficulties, *task.unseen_difficulties):
        for problem in task.problems(10, seed=2, difficulty=difficulty):
            assert problem.difficulty == difficulty == len(problem.steps)
    assert min(task.unseen_difficulties) > max(task.difficulties)


@pytest.mark.parametrize("name", ["chain", "graph"])
def test_canonical_forms_do_not_change_with_names_and_things(name, monkeypatch):
    task = get_task(name)
    before = [task.draw(Random(seed), task.difficulties[-1]) for seed in range(30)]
    module = f"srm_utils.tasks.worlds.{name}"
    monkeypatch.setattr(f"{module}.NAMES", shared_words.NAMES[::-1])
    monkeypatch.setattr(f"{module}.THINGS", shared_words.THINGS[::-1])
    after = [task.draw(Random(seed), task.difficulties[-1]) for seed in range(30)]
    assert [p.canonical for p in before] == [p.canonical for p in after]
    assert all(a.question != b.question for a, b in zip(before, after, strict=True))
    assert len({p.canonical for p in before}) == 30


def _chain_forms() -> set[str]:
    changes = [*((s, k) for s in "+-" for k in range(1, MAX_CHANGE + 1)), ("*", 2)]
    forms = set()
    for start in range(1, MAX_VALUE + 1):
        for (s1, k1), (s2, k2) in itertools.product(changes, repeat=2):
            middle = shared_words.apply(start, s1, k1)
            if 0 <= middle <= MAX_VALUE and 0 <= shared_words.apply(middle, s2, k2) <= MAX_VALUE:
                forms.add(f"chain|{start}{s1}{k1}{s2}{k2}")
    return forms


def _graph_forms() -> set[str]:
    """Two of the shapes of two operations: one after the other, and a sum of a base and a changed base."""
    changes = [*((s, k) for s in "+-" for k in range(1, 21)), ("*", 2)]
    forms = set()
    for a, (s, k) in itertools.product(range(1, 31), changes):
        middle = shared_words.apply(a, s, k)
        if not 0 <= middle <= MAX_VALUE:
            continue
        for s2, k2 in changes:
            if 0 <= shared_words.apply(middle, s2, k2) <= MAX_VALUE:
                forms.add(f"graph|{s2} q1 {k2};{s} q2 {k};base {a}")
        for b in range(1, 31):
            if middle + b <= MAX_VALUE:
                forms |= {
                    f"graph|sum q1 q2;base {b};{s} q3 {k};base {a}",
                    f"graph|sum q1 q3;{s} q2 {k};base {a};base {b}",
                }
    return forms


@pytest.mark.parametrize(("name", "forms"), [("chain", _chain_forms), ("graph", _graph_forms)])
def test_two_step_tiers_have_fifty_thousand_canonical_forms(name, forms):
    task, listed = get_task(name), forms()
    assert len(listed) >= 50_000
    # The list is of forms that the task really draws, not of this test's invention.
    drawn = [task.draw(Random(seed), 2).canonical for seed in range(300)]
    share = sum(form in listed for form in drawn) / len(drawn)
    assert share == 1 if name == "chain" else share > 0.7


def test_too_many_problems_are_refused_in_a_sentence():
    with pytest.raises(ValueError, match="no more distinct confirm problems of difficulty 1"):
        ChainTask().problems(1_000, split="confirm", difficulty=1)
    with pytest.raises(ValueError, match="There is no split 'dev'; choose one of train"):
        ChainTask().problems(1, split="dev")


@each_world
def test_unknown_styles_are_refused_in_a_sentence(task):
    problem = task.problems(1)[0]
    with pytest.raises(ValueError, match="has no style 'poem'; choose one of direct"):
        task.solution(problem, "poem")
    with pytest.raises(ValueError, match="There is no style 'poem'"):
        task.prompt(problem, "poem")
    assert set(task.styles) <= set(INSTRUCTIONS)


def test_a_prompt_shows_examples_in_its_own_style():
    task = ChainTask()
    shown, asked = task.problems(2)
    prompt = task.prompt(asked, "cot", [(shown, task.solution(shown, "cot"))])
    text = prompt.text()
    assert text.count(INSTRUCTIONS["cot"]) == 2 and text.endswith(f"{INSTRUCTIONS['cot']}\nAnswer:")
    assert text.index(shown.question) < text.index("\n\n") < text.index(asked.question)
    assert Prompt("2 + 2?", prefill=" It is ").text() == "Question: 2 + 2?\nAnswer: It is"


@pytest.mark.parametrize("name", task_names())
def test_every_registered_world_keeps_the_contract(name):
    task = get_task(name)
    assert task.name == name
    problem = task.problems(1, seed=4)[0]
    assert problem.task == name and problem.id
    assert task.grade(task.solution(problem, "cot" if "cot" in task.styles else task.styles[0]), problem) == "correct"


def test_unknown_tasks_are_answered_with_the_nearest_names():
    with pytest.raises(ValueError, match="There is no task 'chian'; did you mean chain"):
        get_task("chian")
    with pytest.raises(ValueError, match="choose one of chain, graph"):
        get_task("xyzzy")
    with pytest.raises(ValueError, match="There is no task 'hf:'"):
        get_task("hf:")


# ---- what is asked besides solving -----------------------------------------------------------------


def test_looking_things_up_gives_each_sentence_of_the_question_and_the_answer() -> None:
    task = get_task("graph")
    for problem in task.problems(40, seed=9):
        table, text = lookup_table(problem), lookup_solution(problem)
        assert all(sentence in problem.question for sentence in table.values())
        assert not any(sentence in lookup_prompt(problem).text() for sentence in table.values())
        assert all(f"Look up {x}: {table[x]}" in text for x in problem.facts["needed"])
        assert task.grade(text, problem) == Grade.CORRECT


def test_a_rewritten_question_is_the_same_problem_in_other_words() -> None:
    task, rng = get_task("chain"), Random(4)
    problems = task.problems(40, seed=9, difficulty=4)
    rewritten = [task.rewrite(problem, rng) for problem in problems]
    assert sum(new != p.question for new, p in zip(rewritten, problems, strict=True)) > 35
    for new, problem in zip(rewritten, problems, strict=True):
        assert re.findall(r"\d+", new) == re.findall(r"\d+", problem.question)


def test_a_wrong_merge_is_near_and_never_right() -> None:
    rng = Random(5)
    for problem in get_task("sorting").problems(60, seed=9):
        numbers = problem.facts["numbers"]
        left, right = sorted(numbers[: len(numbers) // 2]), sorted(numbers[len(numbers) // 2 :])
        assert 1 <= score(wrong_merge(left, right, rng), numbers) <= 3
