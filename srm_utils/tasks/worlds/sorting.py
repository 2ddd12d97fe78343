"""Sorting lists of numbers within 0..99 by merge sort: Graph of Thoughts' own setting (besta2024graph, section 5).

Three skills, each a task of its own: sort a list, merge two sorted lists, split a list into two halves. The latter
two are what the graph's operations ask of a model. Four numbers already make about 100 million lists, so every tier
can carry a claim.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from heapq import merge
from itertools import pairwise, zip_longest
from random import Random
from typing import Literal

from srm_utils.tasks.answers import own_format
from srm_utils.tasks.problem import INSTRUCTIONS, Problem, Prompt, StepCheck, Task, Templates
from srm_utils.tasks.words import answer_sentence

Skill = Literal["sort", "merge", "split"]

MAX_VALUE = 99
#: The longest part that is sorted at a glance.
MAX_PART = 3
#: Characters of a text that are read for steps, and of an answer that is read at all.
MAX_TEXT, MAX_ANSWER = 20_000, 1_000

_ASK: dict[str, dict[str, tuple[str, ...]]] = {
    "train": {
        "sort": ("Sort {a} from small to large.", "Sort the list {a} from small to large."),
        "merge": ("Merge {a} and {b}.", "Merge the lists {a} and {b}."),
        "split": ("Split {a} into two.", "Split the list {a} into two."),
    },
    # Known words in orders never seen in training.
    "held-out": {
        "sort": ("Sort from small to large the list {a}.",),
        "merge": ("Merge the list {a} and the list {b}.",),
        "split": ("Split into two the list {a}.",),
    },
}
_NUMBERS = r"[0-9]{1,6}(?: [0-9]{1,6})*"
_STEP = re.compile(rf"\b(Split|Sort|Merge) ({_NUMBERS}(?: and {_NUMBERS})*)(?:: ({_NUMBERS}))?")
# Nothing that a list is made of may follow: too long an answer is no answer, and neither is a decimal.
_ANSWER = re.compile(rf"((?:[0-9 ,\[\]]|and){{1,{MAX_ANSWER}}})(?![0-9 ,\[\]]|and|\.[0-9])")


def read_lists(said: str, whole: bool) -> str | None:
    """The list (or lists joined by "and") that a statement begins with, numbers parted by one space.

    >>> read_lists("[26, 33] and [39, 71].", whole=True), read_lists("Sort 26 33", whole=False)
    ('26 33 and 39 71', None)
    """
    found = _ANSWER.match(said)
    if not found or (whole and said[found.end() :].strip(" .")):
        return None
    lists = [_list(_read(part)) for part in found[1].split("and")]
    return " and ".join(part for part in lists if part) or None


class SortingTask(Task):
    """Lists of 4, 8 or 12 numbers in training and 16 unseen; difficulty is the length (of both lists, for merging).

    >>> task = SortingTask()
    >>> problem = task.problems(1, seed=1, difficulty=4)[0]
    >>> str(task.grade(task.solution(problem, "cot"), problem))
    'correct'
    """

    answers = own_format("list", "the list, its numbers with spaces between them", read_lists)
    difficulties = (4, 8, 12)
    unseen_difficulties = (16,)

    def __init__(self, skill: Skill = "sort") -> None:
        if skill not in _ASK["train"]:
            raise ValueError(f"There is no skill {skill!r} in sorting; choose sort, merge or split.")
        self.skill = skill
        self.name = {"sort": "sorting", "merge": "merging", "split": "splitting"}[skill]
        self.styles = ("direct", "cot", "draft", "retry") if skill == "sort" else ("direct",)

    def draw(self, rng: Random, difficulty: int, templates: Templates = "train") -> Problem:
        if difficulty <= MAX_PART:
            raise ValueError(f"A list to {self.skill} has at least {MAX_PART + 1} numbers, not {difficulty}.")
        values = [rng.randint(0, MAX_VALUE) for _ in range(difficulty)]
        half = difficulty // 2
        lists = [values]
        if self.skill == "merge":
            lists = [sorted(values[:half]), sorted(values[half:])]
        told = [_list(part) for part in lists]
        question = rng.choice(_ASK[templates][self.skill]).format(a=told[0], b=told[-1])
        answer = _list(sorted(values))
        if self.skill == "split":
            answer = f"{_list(values[:half])} and {_list(values[half:])}"
        steps = tuple(_steps(values)) if self.skill == "sort" else ()
        facts = {"numbers": [k for part in lists for k in part], "lists": lists}
        # Which of two lists is named first makes no new problem.
        canonical = f"{self.name}|{'|'.join(sorted(told))}"
        return Problem("", self.name, question, answer, difficulty, canonical, steps, facts)

    def solution(self, problem: Problem, style: str, rng: Random | None = None) -> str:
        final = answer_sentence(problem.answer)
        if style not in self.styles:
            raise ValueError(f"Task {self.name!r} has no style {style!r}; choose one of {', '.join(self.styles)}.")
        if style == "direct":
            return final
        body = list(problem.steps)
        if style == "draft":
            # The last result is the answer itself.
            body = [step.split(": ")[1] for step in body[1:-1]]
        elif style == "retry":
            rng = rng or Random(problem.canonical)
            body = []
            for step in problem.steps:
                if ": " in step and rng.random() < 0.3:
                    left, result = step.split(": ")
                    body += [f"{left}: {_list(_slip(_read(result), rng))}", "Wait, that is wrong"]
                body.append(step)
        return ". ".join(body) + f". {final}" if body else final

    def corrupt(self, problem: Problem, rng: Random) -> tuple[list[str], int]:
        """Steps of a wrong sort, its error carried on to the end, and the index of the first error.

        Raises ValueError for merging and splitting, whose solutions have no steps.
        """
        if not problem.steps:
            raise ValueError(f"Solutions of task {self.name!r} have no steps to corrupt; use the sort skill.")
        # The first step is the split, which nothing computes.
        at = rng.randrange(1, len(problem.steps))
        return _steps(problem.facts["numbers"], at, rng), at

    def matches(self, answer: str, problem: Problem) -> bool:
        return answer == problem.answer

    def check_steps(self, text: str, problem: Problem) -> list[StepCheck]:
        """Split, sort and merge steps: right, wrong in themselves, or true of numbers the problem does not hold."""
        given = problem.facts["numbers"]
        checks = []
        for m in _STEP.finditer(text[:MAX_TEXT]):
            parts = [_read(part) for part in m[2].split(" and ")]
            used = [k for part in parts for k in part]
            if m[1] == "Split":
                verdict = "right" if used == given and len(parts) > 1 else "wrong"
            elif m[3] is None:
                continue  # the question said again
            elif _read(m[3]) != sorted(used) or (len(parts) != (1 if m[1] == "Sort" else 2)):
                verdict = "wrong"
            else:
                verdict = "useless" if Counter(used) - Counter(given) else "right"
            checks.append(StepCheck(m[0], m.start(), m.end(), verdict))  # type: ignore[arg-type]
        return checks


def wishful_solution(problem: Problem, rng: Random) -> list[str]:
    """Steps of a wrong sort: one number lost, changed or out of its place, now and then in the first split already.

    >>> problem = SortingTask().problems(1, seed=1, difficulty=4)[0]
    >>> written_check(problem, wishful_solution(problem, Random(0)))[0].endswith("wrong. No.")
    True
    """
    values = list(problem.facts["numbers"])
    if rng.random() < 0.2:
        while sorted(lost := _slip(values, rng)) == sorted(values):
            pass
        return _steps(lost)
    return _steps(values, rng.randrange(1, len(_steps(values))), rng)


def written_check(problem: Problem, steps: Sequence[str]) -> tuple[str, int | None]:
    """A check of a sort's steps, number by number beside the one shown, up to the first step that does not hold, and
    the place of that one. Ends in "Yes." or "No."

    >>> problem = SortingTask().problems(1, seed=1, difficulty=4)[0]
    >>> written_check(problem, problem.steps)[1] is None
    True
    """
    said: list[str] = []
    for i, step in enumerate(steps):
        kind, rest = step.split(" ", 1)
        asked, _, shown = rest.partition(": ")
        # A split shows the numbers of the question, all other steps those that they name, in order.
        own, told = (sorted(_read(asked)), _read(shown)) if shown else (problem.facts["numbers"], _read(asked))
        begun = f"{kind} {asked}: " if shown else f"{kind} "
        pairs = []
        for beside in zip_longest(own, told):
            pairs.append(" ".join(str(k) for k in beside if k is not None))
            if beside[0] != beside[1]:
                return f"{'. '.join([*said, begun + ', '.join(pairs)])} wrong. No.", i
        said.append(f"{begun}{', '.join(pairs)} right")
    return f"{'. '.join(said)}. Yes.", None


def sort_prompt(numbers: Sequence[int]) -> Prompt:
    """The prompt that asks to sort a list at once (a leaf of the graph of thoughts).

    >>> sort_prompt([9, 4, 7]).question
    'Sort 9 4 7 from small to large.'
    """
    return Prompt(_ASK["train"]["sort"][0].format(a=_list(numbers)), INSTRUCTIONS["direct"])


def merge_prompt(left: Sequence[int], right: Sequence[int]) -> Prompt:
    """The prompt that asks to merge two sorted lists.

    >>> merge_prompt([4, 9], [2, 7]).question
    'Merge 4 9 and 2 7.'
    """
    return Prompt(_ASK["train"]["merge"][0].format(a=_list(left), b=_list(right)), INSTRUCTIONS["direct"])


def merge_solution(left: Sequence[int], right: Sequence[int]) -> str:
    """The answer that a merge prompt asks for.

    >>> merge_solution([4, 9], [2, 7])
    'The answer is 2 4 7 9.'
    """
    return answer_sentence(_list(merge(left, right)))


def mend_prompt(left: Sequence[int], right: Sequence[int], merged: Sequence[int]) -> Prompt:
    """The prompt that shows a merge with its errors and asks for the right one (the graph's refining operation).

    >>> mend_prompt([4, 9], [2, 7], [2, 4, 7]).instruction
    'Mend it.'
    """
    return Prompt(f"Merge {_list(left)} and {_list(right)}: {_list(merged)}.", "Mend it.")


def wrong_merge(left: Sequence[int], right: Sequence[int], rng: Random) -> list[int]:
    """Two sorted lists merged with one error: a number lost, changed, or out of its place.

    >>> wrong_merge([4, 9], [2, 7], Random(0)) != [2, 4, 7, 9]
    True
    """
    return _slip(list(merge(left, right)), rng)


def split_prompt(numbers: Sequence[int]) -> Prompt:
    """The prompt that asks to split a list into two halves.

    >>> split_prompt([4, 9, 2, 7]).question
    'Split 4 9 2 7 into two.'
    """
    return Prompt(_ASK["train"]["split"][0].format(a=_list(numbers)), INSTRUCTIONS["direct"])


def score(values: Sequence[int], gold: Sequence[int]) -> int:
    """The error scope of besta2024graph, section 5: neighbours out of order, plus numbers missing or too many.

    `gold` is the list that was to be sorted, in any order; 0 means that `values` is that list, sorted.

    >>> score([2, 4, 7], [7, 2, 4]), score([4, 2, 8], [7, 2, 4])
    (0, 3)
    """
    unordered = sum(a > b for a, b in pairwise(values))
    have, want = Counter(values), Counter(gold)
    return unordered + (have - want).total() + (want - have).total()


def _list(values: Iterable[int]) -> str:
    return " ".join(map(str, values))


def _read(text: str) -> list[int]:
    return [int(k) for k in re.findall(r"[0-9]{1,6}", text)]


def _parts(values: list[int]) -> list[list[int]]:
    """Halves of halves, none longer than MAX_PART."""
    if len(values) <= MAX_PART:
        return [values]
    half = len(values) // 2
    return [*_parts(values[:half]), *_parts(values[half:])]


def _steps(values: list[int], wrong_at: int = -1, rng: Random | None = None) -> list[str]:
    """Merge sort written out: the parts, each part sorted, then the merges; one result wrong where asked."""
    parts = _parts(values)
    steps = [f"Split {' and '.join(map(_list, parts))}"]

    def add(left: str, result: list[int]) -> list[int]:
        if len(steps) == wrong_at and rng is not None:
            result = _slip(result, rng)
        steps.append(f"{left}: {_list(result)}")
        return result

    def join(count: int) -> list[int]:
        """Merges as the halves were made, taking sorted parts from the front."""
        if count <= MAX_PART:
            return done.pop(0)
        left, right = join(count // 2), join(count - count // 2)
        return add(f"Merge {_list(left)} and {_list(right)}", list(merge(left, right)))

    done = [add(f"Sort {_list(part)}", sorted(part)) for part in parts]
    join(len(values))
    return steps


def _slip(result: list[int], rng: Random) -> list[int]:
    """The list with one number lost, changed, or out of its place."""
    kind = rng.choice(("lost", "changed", "place"))
    spots = [i for i, (a, b) in enumerate(pairwise(result)) if a != b]
    out = list(result)
    if kind == "lost" and len(out) > 1:
        del out[rng.randrange(len(out))]
    elif kind == "place" and spots:
        i = rng.choice(spots)
        out[i], out[i + 1] = out[i + 1], out[i]
    else:
        i = rng.randrange(len(out))
        out[i] = rng.choice([out[i] + d for d in (-3, -2, -1, 1, 2, 3) if 0 <= out[i] + d <= MAX_VALUE])
    return out
