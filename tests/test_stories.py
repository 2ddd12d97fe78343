"""The stories: what the English says, worked out by a reader of this test's own, against what the task says."""

from __future__ import annotations

import itertools
import re
from random import Random

import pytest

from srm_utils.tasks import get_task, split_of
from srm_utils.tasks.problem import SPLIT_BOUNDS, Grade
from srm_utils.tasks.worlds.stories import _TEMPLATES, CONTAINERS, FIRST_NAMES, MAX_NUMBER, MAX_VALUE, THINGS

TASK = get_task("stories")
LEVELS = (*TASK.difficulties, *TASK.unseen_difficulties)
each_wording = pytest.mark.parametrize("templates", ["train", "held-out"])

_BLANKS = {
    "a": rf"(?P<a>{'|'.join(FIRST_NAMES)})",
    "b": rf"(?P<b>{'|'.join(FIRST_NAMES)})",
    "t": rf"(?:{'|'.join(THINGS)})",
    "c": rf"(?:{'|'.join(CONTAINERS)})",
    "k": r"(?P<k>\d+)",
    "m": r"(?P<m>\d+)",
}


def _some(n: int = 120, seed: int = 5, templates: str = "train"):
    return TASK.problems(n, seed=seed, difficulty=LEVELS, templates=templates)


def _patterns(templates: str) -> list[tuple[str, re.Pattern[str]]]:
    """A pattern for each sentence: the relation that it tells, and where its names and numbers stand."""
    patterns = []
    for relation, sentences in _TEMPLATES[templates].items():
        for sentence in sentences:
            parts = re.split(r"\{(\w)\}", sentence)
            seen: set[str] = set()
            pattern = ""
            for i, part in enumerate(parts):
                blank = _BLANKS.get(part, "") if i % 2 else re.escape(part)
                pattern += re.sub(r"\(\?P<\w>.*\)", rf"(?P={part})", blank) if part in seen and i % 2 else blank
                seen |= {part} if i % 2 and "?P<" in blank else set()
            patterns.append((relation, re.compile(pattern)))
    return patterns


def _worked_out(question: str, patterns: list[tuple[str, re.Pattern[str]]]) -> int:
    """What is asked for, by reading sentence after sentence and keeping what everybody has."""
    has: dict[str, int] = {}
    at = 0
    while at < len(question):
        fits = {(r, m.end()): m for r, p in patterns if (m := p.match(question, at))}
        longest = max(end for _, end in fits)
        ((relation, end),) = [key for key in fits if key[1] == longest]
        said = fits[relation, end].groupdict()
        a, b, k = said.get("a"), said.get("b"), int(said["k"]) if said.get("k") else 0
        match relation:
            case "open":
                has[a] = k
            case "packed":
                has[a] = k * int(said["m"])
            case "+":
                has[a] += k
            case "-":
                has[a] -= k
            case "*":
                has[a] *= k
            case "more":
                has[b] = has[a] + k
            case "fewer":
                has[b] = has[a] - k
            case "times":
                has[b] = has[a] * k
            case "ask":
                return has[a]
            case "ask-together":
                return has[a] + has[b] if a else sum(has.values())
        at = end + 1
    raise AssertionError("nothing is asked")


@each_wording
def test_the_english_says_what_the_answer_is(templates):
    patterns = _patterns(templates)
    for problem in _some(300, templates=templates):
        assert _worked_out(problem.question, patterns) == int(problem.answer), problem.question


@each_wording
def test_gold_solutions_grade_correct_and_their_equations_are_true(templates):
    for problem in _some(templates=templates):
        assert len(problem.steps) == problem.difficulty
        for step in problem.steps:
            left, sign, right, _, result = step.split()
            assert {"+": int(left) + int(right), "-": int(left) - int(right), "*": int(left) * int(right)}[sign] == int(
                result
            )
        assert problem.steps[-1].endswith(f"= {problem.answer}")
        for style in ("direct", "cot", "tool"):
            text = TASK.solution(problem, style)
            assert TASK.grade(text, problem) is Grade.CORRECT and text.endswith(f"The answer is {problem.answer}.")
        for style in ("cot", "tool"):
            checks = TASK.check_steps(TASK.solution(problem, style), problem)
            assert [c.verdict for c in checks] == ["right"] * problem.difficulty
        printed: list[int] = []
        exec(TASK.solution(problem, "program"), {"print": printed.append, "__builtins__": {}})  # gold text of our own
        assert printed == [int(problem.answer)]


def test_a_wrong_step_is_told_from_a_right_one_and_sums_may_be_turned_round():
    wrong = 0
    for problem in _some(60):
        left, sign, right, _, result = problem.steps[0].split()
        turned = f"{right} {sign} {left} = {result}" if sign in "+*" else problem.steps[0]
        assert [c.verdict for c in TASK.check_steps(f"So {turned} in all.", problem)] == ["right"]
        slipped = f"{left} {sign} {right} = {int(result) + 1}"
        (check,) = TASK.check_steps(slipped, problem)
        assert check.verdict == "wrong" and slipped[check.start : check.end] == check.text
        other = f"{int(left) + 37} {sign} {right} = {result}"
        wrong += [c.verdict for c in TASK.check_steps(other, problem)] == ["wrong"]
    assert wrong == 60


@each_wording
def test_numbers_stay_small_and_never_below_zero(templates):
    for problem in _some(300, templates=templates):
        said = [int(n) for n in re.findall(r"\d+", problem.question)]
        largest = 15 if problem.difficulty == 1 else MAX_NUMBER
        assert 0 < min(said) and max(said) <= largest
        assert all(0 <= int(step.rsplit(" ", 1)[1]) <= MAX_VALUE for step in problem.steps)


def test_held_out_wordings_share_no_sentence_with_training():
    train = {re.sub(r"\{\w\}", "_", s) for group in _TEMPLATES["train"].values() for s in group}
    held_out = {re.sub(r"\{\w\}", "_", s) for group in _TEMPLATES["held-out"].values() for s in group}
    assert not train & held_out and len(train) >= 24 and len(held_out) >= 6
    assert set(_TEMPLATES["train"]) == set(_TEMPLATES["held-out"])
    assert len(set(FIRST_NAMES)) == len(FIRST_NAMES) >= 100 and len(set(THINGS)) == len(THINGS) >= 50


def test_every_wording_is_used():
    for templates in ("train", "held-out"):
        text = " ".join(p.question for p in TASK.problems(500, seed=5, difficulty=(2, 3, 4), templates=templates))
        for relation, pattern in _patterns(templates):
            assert pattern.search(text), (relation, pattern.pattern[:80])


def test_splits_are_disjoint_and_forms_hold_no_names():
    forms = {s: {p.canonical for p in TASK.problems(200, split=s, difficulty=(2, 3))} for s in SPLIT_BOUNDS}
    for one, other in itertools.combinations(forms.values(), 2):
        assert not one & other
    for split, found in forms.items():
        assert len(found) == 200 and all(split_of(form) == split for form in found)
        assert not any(name in form for form in found for name in FIRST_NAMES if len(name) > 3)


def _forms_of_two_steps() -> set[str]:
    change = {"+": 1, "more": 1, "-": -1, "fewer": -1}
    numbers = range(2, MAX_NUMBER + 1)
    steps = [(kind, k) for kind in change for k in numbers] + [(kind, k) for kind in ("*", "times") for k in (2, 3, 4)]

    def after(value: int, kind: str, k: int) -> int:
        return value * k if kind in ("*", "times", "packed") else value + change[kind] * k

    forms = set()
    for start in numbers:
        for kind, k in [*steps, *(("packed", k) for k in (2, 3, 4))]:
            middle = after(start, kind, k)
            if not 2 <= middle <= MAX_VALUE:
                continue
            forms |= {
                f"stories|{start}|{kind}{k}|{second}{n}"
                for second, n in steps
                if 2 <= after(middle, second, n) <= MAX_VALUE
            }
            if kind in ("more", "fewer", "times") and middle + start <= MAX_VALUE:
                forms.add(f"stories|{start}|{kind}{k}|together{start}")
    return forms


def test_stories_of_two_steps_have_fifty_thousand_forms():
    listed = _forms_of_two_steps()
    assert len(listed) >= 50_000
    assert all(TASK.draw(Random(seed), 2).canonical in listed for seed in range(300))
