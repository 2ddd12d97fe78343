"""Countdown, sudoku and sorting: what they say is true, and nothing a model writes can break them."""

from __future__ import annotations

import re
import time
from fractions import Fraction
from itertools import combinations, combinations_with_replacement, permutations, product
from math import comb
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from srm_utils.tasks.problem import SPLIT_BOUNDS, Grade, Problem, Task, split_of
from srm_utils.tasks.worlds.countdown import MAX_NUMBER, MIN_TARGET, CountdownTask, parse_state
from srm_utils.tasks.worlds.countdown_expressions import MAX_RESULT, evaluate
from srm_utils.tasks.worlds.countdown_states import legal_moves, random_play_value, state_value
from srm_utils.tasks.worlds.sorting import SortingTask, merge_prompt, merge_solution, score, sort_prompt, split_prompt
from srm_utils.tasks.worlds.sudoku import GRIDS, SudokuTask, show, violations

TASKS: list[Task] = [CountdownTask(), SudokuTask(), SortingTask(), SortingTask("merge"), SortingTask("split")]
STEPPED = [CountdownTask(), SudokuTask(), SortingTask()]


def _id(task: Task) -> str:
    return task.name


def _words(text: str) -> list[str]:
    return re.findall(r"[0-9]+|[A-Za-z]+|[^\s\w]", text)


# ---- every task


@pytest.mark.parametrize("task", TASKS, ids=_id)
def test_gold_solutions_are_correct_in_every_style(task: Task) -> None:
    levels = [*task.difficulties, *task.unseen_difficulties]
    for seed in range(8):
        for templates in ("train", "held-out"):
            for problem in task.problems(4 * len(levels), seed=seed, difficulty=levels, templates=templates):
                for style in task.styles:
                    text = task.solution(problem, style, Random(seed))
                    assert task.grade(text, problem) is Grade.CORRECT, text
                    # A written search ends in the expression that it found.
                    stated = task.extract(text) if style == "search" else problem.answer
                    assert text.endswith(f"The answer is {stated}.")
                    assert "\n" not in text + problem.question


@pytest.mark.parametrize("task", TASKS, ids=_id)
def test_another_problems_solution_is_wrong_and_chatter_is_unparsable(task: Task) -> None:
    one, other = task.problems(2, seed=5, difficulty=task.difficulties[-1])
    assert task.grade(task.solution(other, "direct"), one) is Grade.WRONG
    for text in ("", "I do not know.", "The answer is", "The answer is apples.", "the answer is ."):
        assert task.grade(text, one) is Grade.UNPARSABLE


@pytest.mark.parametrize("task", TASKS, ids=_id)
def test_no_canonical_form_is_in_two_splits(task: Task) -> None:
    forms = {split: set() for split in SPLIT_BOUNDS}
    for split, seed in product(SPLIT_BOUNDS, range(5)):
        forms[split] |= {p.canonical for p in task.problems(60, split=split, seed=seed)}
    assert all(len(found) > 150 for found in forms.values())
    for a, b in combinations(forms, 2):
        assert not forms[a] & forms[b]


@pytest.mark.parametrize("task", TASKS, ids=_id)
def test_a_seed_decides_everything(task: Task) -> None:
    def told(seed: int) -> list[tuple[Problem, list[str]]]:
        made = task.problems(6, seed=seed)
        return [(p, [task.solution(p, style) for style in task.styles]) for p in made]

    assert told(3) == told(3)
    assert [p.canonical for p, _ in told(3)] != [p.canonical for p, _ in told(4)]


@pytest.mark.parametrize("task", TASKS, ids=_id)
def test_held_out_sentences_are_new_and_use_only_known_words(task: Task) -> None:
    # The three sorting skills are learnt together and share their words.
    family = [other for other in TASKS if type(other) is type(task)]
    asked = " ".join(p.question for other in family for p in other.problems(40, seed=1))
    known = {w for w in _words(asked) if not w.isdigit()}
    for problem in task.problems(20, seed=1, templates="held-out"):
        assert {w for w in _words(problem.question) if not w.isdigit()} <= known
    shapes = [
        {re.sub(r"[0-9]+", "#", p.question) for p in task.problems(40, seed=1, templates=t, difficulty=4)}
        for t in ("train", "held-out")
    ]
    assert not shapes[0] & shapes[1]


@pytest.mark.parametrize("task", STEPPED, ids=_id)
def test_gold_steps_are_right_and_the_first_error_of_a_corrupt_solution_is_found(task: Task) -> None:
    places = set()
    for seed in range(30):
        for problem in task.problems(3, seed=seed):
            checks = task.check_steps(task.solution(problem, "cot"), problem)
            assert [c.verdict for c in checks] == ["right"] * len(problem.steps)
            assert tuple(c.text for c in checks) == problem.steps or task.name == "sudoku"
            steps, at = task.corrupt(problem, Random(seed))
            assert len(steps) == len(problem.steps)
            text = ". ".join(steps) + "."
            checks = task.check_steps(text, problem)
            assert len(checks) == len(steps)
            assert all(text[c.start : c.end] == c.text for c in checks)
            assert [c.verdict for c in checks].index("wrong") == at
            assert all(c.verdict == "right" for c in checks[:at])
            places.add(at)
    assert len(places) > 1


@pytest.mark.parametrize("task", STEPPED, ids=_id)
def test_retry_takes_back_what_is_not_right(task: Task) -> None:
    slips = 0
    for problem in task.problems(40, seed=2):
        text = task.solution(problem, "retry", Random(7))
        checks = task.check_steps(text, problem)
        back = [c for c in checks if text[c.end :].lstrip("abcdeghilmnorwuxy ").startswith(". Wait, that is wrong")]
        slips += len(back)
        assert [c for c in checks if c.verdict != "right"] == back
        assert len(back) == text.count("Wait, that is wrong")
    assert slips > 20


_PIECES = st.sampled_from(
    [
        "The answer is ",
        "the answer is",
        "( ",
        ") ",
        "8 ",
        "3",
        " * ",
        "-",
        "/ ",
        " + ",
        " = ",
        ". ",
        "; ",
        ", ",
        "No",
        "²",
    ]
    + [
        "Wait",
        "Back to ",
        "Try ",
        "Left ",
        "Row 1 column 2 is ",
        "1 2 is 3",
        "Sort ",
        "Merge ",
        "Split ",
        " and ",
        ": ",
        "١",
    ]
    + ["1 2 3 4; 3 4 1 2; 2 1 4 3; 4 3 2 1", "0", "99999999999999999999", "\n", "[", "]"]
)


@settings(max_examples=150, deadline=None)
@given(text=st.text(max_size=60) | st.lists(_PIECES, max_size=40).map("".join))
def test_graders_never_raise(text: str) -> None:
    for task in TASKS:
        problem = task.problems(1, seed=1)[0]
        for wrapped in (text, f"The answer is {text}."):
            assert task.grade(wrapped, problem) in Grade
            assert all(wrapped[c.start : c.end] == c.text for c in task.check_steps(wrapped, problem))
    violations(text)
    evaluate(text)


@pytest.mark.parametrize("task", TASKS, ids=_id)
def test_graders_do_not_hang_on_huge_texts(task: Task) -> None:
    problem = task.problems(1, seed=1)[0]
    pieces = (
        "1",
        "1 ",
        "( ",
        "1 + ",
        "1.",
        "The answer is 1",
        "8 * 3 = 24. ",
        "Back to 1, 2, 3. ",
        "Sort 1 ",
        " and 1",
    )
    start = time.process_time()
    for piece in (*pieces, "9" * 5000 + ".", "1 2 3 4; ", "1 1 is 1. "):
        text = "The answer is " + piece * (200_000 // len(piece))
        assert task.grade(text, problem) in (Grade.WRONG, Grade.UNPARSABLE)
        task.check_steps(text, problem)
    assert time.process_time() - start < 10


# ---- Countdown

COUNTDOWN = CountdownTask()


def _brute(numbers: tuple[int, ...]) -> dict[int, Fraction]:
    """Probability of each final number under uniform play over distinct steps, written without the module's code."""
    if len(numbers) == 1:
        return {numbers[0]: Fraction(1)}
    plays = set()
    for i, j in permutations(range(len(numbers)), 2):
        a, b = numbers[i], numbers[j]
        rest = [x for k, x in enumerate(numbers) if k not in (i, j)]
        options = {("+", max(a, b), min(a, b)): a + b, ("*", max(a, b), min(a, b)): a * b, ("-", a, b): a - b}
        if b:
            options["/", a, b] = Fraction(a, b)
        for step, value in options.items():
            if 0 <= value <= 99 and value == int(value):
                plays.add((step, tuple(sorted([*rest, int(value)]))))
    out: dict[int, Fraction] = {}
    for _, after in plays:
        for end, share in _brute(after).items():
            out[end] = out.get(end, Fraction(0)) + share / len(plays)
    return out


def test_state_values_equal_an_independent_brute_force() -> None:
    rng = Random(0)
    states = [tuple(rng.randint(0, 20) for _ in range(n)) for n in (1, 2, 2, 3, 3, 3, 3, 3, 3, 4, 4)]
    for numbers in [*states, (5, 5, 5), (0, 0, 3), (99, 99, 1)]:
        ends = _brute(numbers)
        for target in range(MAX_RESULT + 1):
            assert state_value(numbers, target) == (target in ends)
            assert random_play_value(numbers, target) == pytest.approx(float(ends.get(target, 0)))


def test_random_play_value_is_what_random_play_scores() -> None:
    rng, wins, n = Random(1), 0, 4000
    for _ in range(n):
        state = (8, 3, 2)
        while len(state) > 1:
            state = rng.choice(legal_moves(state)).after
        wins += state[0] == 22
    p = random_play_value((8, 3, 2), 22)
    assert 0 < p < 1 and abs(wins / n - p) < 4 * (p * (1 - p) / n) ** 0.5


def test_any_valid_expression_is_correct_and_nothing_else() -> None:
    facts = {"numbers": [3, 8, 2], "target": 22}
    problem = Problem("x", "countdown", "", "( 8 * 3 ) - 2", 3, "countdown|2,3,8=22", (), facts)
    for text in ("( 8 * 3 ) - 2", "3 * 8 - 2", "((3*8))-2", "( 3 * 8 ) - 2"):
        assert COUNTDOWN.grade(f"The answer is {text}.", problem) is Grade.CORRECT
        assert COUNTDOWN.extract(f"The answer is {text}.") == "( 8 * 3 ) - 2"
    for text in (
        "22",
        "8 * 3",
        "( 8 * 3 ) - 2 + 0",
        "( 8 + 3 ) * 2 + 0",
        "8 * 2 + 3 + 3",
        "2 - ( 8 * 3 )",
        "11 * 2",
        "8 + 3 * 2",
    ):
        assert COUNTDOWN.grade(f"The answer is {text}.", problem) is Grade.WRONG
    for text in ("-2 + 8 * 3", "8 * 3 -", "( 8 * 3 - 2", "8 ** 3", "8 3", "print ( 22 )", "8 * 2.5"):
        assert COUNTDOWN.grade(f"The answer is {text}.", problem) is Grade.UNPARSABLE


def test_expressions_keep_the_rules() -> None:
    assert evaluate("7 / 2") is None and evaluate("4 / 0") is None and evaluate("3 - 5 + 4") is None
    assert evaluate("20 * 5 - 10") is None  # 100 is outside 0..99 although the end is within
    assert evaluate("8 - 3 - 2") == 3 and evaluate("2 + 3 * 4") == 14 and evaluate("8 / 4 * 2") == 4


def test_steps_are_judged_in_their_state() -> None:
    facts = {"numbers": [3, 8, 2], "target": 22}
    problem = Problem("x", "countdown", "", "( 8 * 3 ) - 2", 3, "countdown|2,3,8=22", (), facts)

    def judged(text: str) -> tuple[list[str], tuple[int, ...] | None]:
        return [c.verdict for c in COUNTDOWN.check_steps(text, problem)], parse_state(text, problem)

    assert judged("") == ([], (8, 3, 2))
    assert judged("8 * 3 = 24. Left 24, 2.") == (["right"], (24, 2))
    assert judged("3 * 8 = 24. 24 - 2 = 22.") == (["right", "right"], (22,))
    assert judged("8 - 3 = 5. 5 + 2 = 7.") == (["useless", "useless"], (7,))  # true, but a dead end
    assert judged("8 * 3 = 25. 25 - 2 = 23.") == (["wrong", "useless"], None)
    assert judged("8 * 4 = 32.") == (["wrong"], None)  # there is no 4
    assert judged("8 * 8 = 64.") == (["wrong"], None)  # and only one 8
    assert judged("8 * 3 = 25. Wait, that is wrong. 8 * 3 = 24.") == (["wrong", "right"], (24, 2))
    assert judged("Try 8 - 3 = 5. Left 5, 2. Try 5 + 2 = 7. No. Back to 8, 3, 2.") == (["useless"] * 2, (8, 3, 2))
    assert judged("Back to 24, 2. 24 - 2 = 22.") == (["useless"], None)  # a state that was never reached


def test_search_traces_are_bounded_and_hold_only_legal_steps() -> None:
    dead_ends = 0
    for problem in COUNTDOWN.problems(400, split="train", seed=4):
        text = COUNTDOWN.solution(problem, "search")
        assert len(_words(text)) <= 250
        verdicts = [c.verdict for c in COUNTDOWN.check_steps(text, problem)]
        assert "wrong" not in verdicts and verdicts[-1] == "right"
        assert parse_state(text, problem) == (problem.facts["target"],)
        dead_ends += "useless" in verdicts
        # The answer is made of moves that the search tried.
        parts = re.findall(r"\d+ [-+*/] \d+", text.rsplit("The answer is", 1)[1])
        assert parts and all(f"Try {part} = " in text for part in parts)
        assert len(_words(COUNTDOWN.solution(problem, "cot"))) <= 60
    assert dead_ends > 200


def test_a_search_goes_on_from_what_it_tried_last_and_tries_no_move_twice() -> None:
    returns = again = 0
    for problem in COUNTDOWN.problems(400, split="train", seed=5):
        text = COUNTDOWN.solution(problem, "search")
        for state, tried, then in re.findall(r"Back to ([\d, ]+) from (\d+ . \d+)\. Try (\d+ . \d+)", text):
            steps = [step.split(" =")[0] for step, _ in legal_moves(map(int, state.split(", ")))]
            assert then == steps[(steps.index(tried) + 1) % len(steps)]
            returns += 1
        again += len(re.findall(r"from (\d+ . \d+)\. Back to", text))
    assert returns > 200 and again > 20, "the second: a state is left when a few tries came to nothing"


def test_the_check_style_works_the_expression_out_truly() -> None:
    for problem in COUNTDOWN.problems(60, seed=6):
        forms = re.search(r"Check: (.*?)\.", COUNTDOWN.solution(problem, "check"))[1].split(" = ")
        assert len(forms) == problem.difficulty and forms[0] == problem.answer
        assert {evaluate(form) for form in forms} == {problem.facts["target"]}


@pytest.mark.parametrize("difficulty", [3, 4])
def test_countdown_has_enough_canonical_forms(difficulty: int) -> None:
    forms = 0
    for numbers in combinations_with_replacement(range(1, MAX_NUMBER[difficulty] + 1), difficulty):
        forms += sum(state_value(numbers, target) for target in range(MIN_TARGET, MAX_RESULT + 1))
        if forms > 50_000:
            break
    assert forms > 50_000


# ---- sudoku

SUDOKU = SudokuTask()


def test_there_are_288_grids_and_each_is_sound() -> None:
    assert len(set(GRIDS)) == 288
    assert all(violations(show(grid)) == 0 for grid in GRIDS)


def test_every_puzzle_has_one_solution_and_the_blanks_asked_for() -> None:
    for problem in SUDOKU.problems(60, seed=8, difficulty=[4, 6, 8, 9, 10]):
        puzzle = problem.facts["puzzle"]
        assert puzzle.count(0) == problem.difficulty and show(puzzle) in problem.question
        fitting = [g for g in GRIDS if all(p in (0, d) for p, d in zip(puzzle, g, strict=True))]
        assert [show(g) for g in fitting] == [problem.answer]


def test_the_reasons_named_for_a_fill_hold() -> None:
    for problem in SUDOKU.problems(40, seed=9, difficulty=[6, 8, 10]):
        grid = {(i // 4, i % 4): d for i, d in enumerate(problem.facts["puzzle"])}

        def fits(cell: tuple[int, int], digit: int, grid: dict[tuple[int, int], int] = grid) -> bool:
            r, c = cell
            near = [d for (y, x), d in grid.items() if y == r or x == c or (y // 2, x // 2) == (r // 2, c // 2)]
            return grid[cell] == 0 and digit not in near

        for step in problem.steps:
            r, c, digit, why = re.fullmatch(r"Row (\d) column (\d) is (\d) by (\w+)", step).groups()
            cell, digit = (int(r) - 1, int(c) - 1), int(digit)
            assert fits(cell, digit)
            if why == "all":
                assert not any(fits(cell, d) for d in (1, 2, 3, 4) if d != digit)
            else:
                key = {"row": lambda y, x: y, "column": lambda y, x: x, "box": lambda y, x: (y // 2, x // 2)}[why]
                assert [e for e in grid if key(*e) == key(*cell) and fits(e, digit)] == [cell]
            grid[cell] = digit


def test_renamed_digits_make_the_same_canonical_form() -> None:
    class Fixed(Random):
        def __init__(self, grid: tuple[int, ...]) -> None:
            super().__init__(0)
            self.grid = grid

        def choice(self, seq):  # type: ignore[no-untyped-def]
            return self.grid if len(seq) == 288 else seq[0]

    grid = GRIDS[17]
    renamed = tuple(5 - d for d in grid)
    one, other = (SUDOKU.draw(Fixed(g), 6) for g in (grid, renamed))
    assert one.question != other.question and one.canonical == other.canonical
    assert split_of(one.canonical) == split_of(other.canonical)


def test_fills_are_judged() -> None:
    facts = {"puzzle": [0, 0, 3, 4, *GRIDS[0][4:]], "solution": list(GRIDS[0])}
    problem = Problem("x", "sudoku", "", show(GRIDS[0]), 2, "sudoku|x", (), facts)
    assert GRIDS[0][:4] == (1, 2, 3, 4)
    checks = SUDOKU.check_steps("Row 1 column 1 is 2. 1 1 is 1. Row 1 column 2 is 2. 1 2 is 2. 1 3 is 3.", problem)
    assert [c.verdict for c in checks] == ["wrong", "right", "right", "useless", "useless"]


def test_violations_counts_broken_units() -> None:
    assert violations("1 2 3 4; 3 4 1 2; 2 1 4 3; 4 3 2 1") == 0
    # A swap within row 4 leaves its row whole and breaks two columns; both cells lie in one box.
    assert violations("1 2 3 4; 3 4 1 2; 2 1 4 3; 4 3 1 2") == 2
    assert violations("1 2 3 4") == violations("no grid") == 12


@pytest.mark.parametrize("blanks,enough", [(4, False), (6, True), (8, True), (9, True), (10, False)])
def test_which_sudoku_tiers_have_enough_canonical_forms(blanks: int, enough: bool) -> None:
    # A form is one of 12 grids up to renaming and a choice of blanks that leaves one solution; `draw` takes a random
    # choice and rejects, so the share it keeps times all choices counts the forms.
    rng, kept, n = Random(0), 0, 2000
    for _ in range(n):
        rejected = _Counting(rng.random())
        SUDOKU.draw(rejected, blanks)
        kept += rejected.samples == 1
    forms, error = 12 * comb(16, blanks) * kept / n, 12 * comb(16, blanks) * 3 * 0.5 / n**0.5
    assert (forms - error > 50_000) if enough else (forms - error < 50_000)


class _Counting(Random):
    samples = 0

    def sample(self, *args, **kwargs):  # type: ignore[no-untyped-def]
        self.samples += 1
        return super().sample(*args, **kwargs)


# ---- sorting


def test_sorting_answers_are_sorted_and_solutions_short() -> None:
    task = SortingTask()
    for problem in task.problems(40, seed=3, difficulty=[4, 8, 12, 16]):
        numbers = [int(k) for k in re.findall(r"[0-9]+", problem.question)]
        assert len(numbers) == problem.difficulty
        assert problem.answer == " ".join(map(str, sorted(numbers)))
        assert len(_words(task.solution(problem, "cot"))) <= (130 if problem.difficulty <= 12 else 230)


def test_merge_and_split_answers() -> None:
    for problem in SortingTask("merge").problems(20, seed=3):
        left, right = problem.facts["lists"]
        assert left == sorted(left) and right == sorted(right)
        assert problem.answer == " ".join(map(str, sorted(left + right)))
        assert problem.question in (
            merge_prompt(left, right).question,
            merge_prompt(left, right).question.replace("Merge", "Merge the lists"),
        )
        assert merge_solution(left, right) == f"The answer is {problem.answer}."
    task = SortingTask("split")
    for problem in task.problems(20, seed=3):
        left, right = (
            [int(k) for k in part.split()] for part in task.extract(f"The answer is {problem.answer}.").split(" and ")
        )
        assert left + right == problem.facts["lists"][0] and len(left) == len(right)
    assert split_prompt([1, 2]).question.startswith("Split 1 2") and sort_prompt([2, 1]).question.startswith("Sort 2 1")


def test_sorting_steps_are_judged() -> None:
    problem = Problem("x", "sorting", "", "1 3 5 9", 4, "sorting|9 1 5 3", (), {"numbers": [9, 1, 5, 3]})

    def verdicts(text: str) -> list[str]:
        return [c.verdict for c in SortingTask().check_steps(text, problem)]

    assert verdicts("Split 9 1 and 5 3. Sort 9 1: 1 9. Merge 1 9 and 3 5: 1 3 5 9.") == ["right"] * 3
    assert verdicts("Split 9 1 and 3 5. Sort 9 1: 9 1. Merge 1 9 and 3 5: 1 3 9.") == ["wrong"] * 3
    assert verdicts("Sort 7 2: 2 7. Merge 1 1 and 9: 1 1 9.") == ["useless"] * 2


def test_score_is_the_error_scope_of_graph_of_thoughts() -> None:
    assert score([1, 3, 5], [5, 3, 1]) == 0
    assert score([3, 1, 5], [5, 3, 1]) == 1  # one pair out of order
    assert score([1, 5], [5, 3, 1]) == 1  # one number lost
    assert score([1, 3, 3, 5], [5, 3, 1]) == 1  # one too many
    assert score([1, 4, 5], [5, 3, 1]) == 2  # one lost, one invented
    assert score([], [5, 3, 1]) == 3


def test_what_cannot_be_asked_for_is_said_in_one_sentence() -> None:
    for ask in (
        lambda: COUNTDOWN.problems(1, difficulty=7),
        lambda: SUDOKU.problems(1, difficulty=12),
        lambda: SortingTask().problems(1, difficulty=2),
        lambda: SortingTask("shuffle"),  # type: ignore[arg-type]
        lambda: SortingTask("merge").corrupt(SortingTask("merge").problems(1)[0], Random(0)),
        lambda: state_value((1, 2, 300), 5),
    ):
        with pytest.raises(ValueError, match=r"^[A-Z].*\.$"):
            ask()
    for task in TASKS:
        with pytest.raises(ValueError, match="no style"):
            task.solution(task.problems(1)[0], "program")
