"""Chain-of-thought annotation: worked answers to train on, where they come from and which are kept.

Every source (the task's own solutions, a model's samples, explanations of a given answer, the path of a search,
questions put anew) returns `Annotated` records, graded and priced and not yet selected. Every filter takes records
and returns some of them. `sift` applies filters and keeps the whole bill; `examples` makes the data of
`train_supervised`.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import TYPE_CHECKING, Any, Protocol

from srm_utils.evaluation.evaluate import GradedAttempt
from srm_utils.sampling.completion import Cost, group_cost
from srm_utils.tasks.dialects import EXPLAIN, REWRITE
from srm_utils.tasks.problem import Grade, Problem, Task, split_of
from srm_utils.tasks.steps import steps_in
from srm_utils.training.supervised import Example

if TYPE_CHECKING:
    from srm_utils.models import LanguageModel
    from srm_utils.sampling.completion import Completion


@dataclass(frozen=True, slots=True)
class Annotated:
    """A problem with a worked answer, and what it took to get it.

    `source` names the function that made it. `answer` is what the text states, `grade` its grade. `solved` is the
    share of samples at this problem that were right, where samples were drawn. `cost` is this record's part of all
    that was spent; once sifted, with a part of what was thrown away.
    """

    problem: Problem
    text: str
    source: str
    answer: str | None
    grade: Grade
    solved: float | None = None
    cost: Cost = Cost()

    @property
    def words(self) -> int:
        """Length of the text in words, the same for every author."""
        return len(self.text.split())


Filter = Callable[[Sequence[Annotated]], list[Annotated]]


def examples(records: Sequence[Annotated], task: Task, style: str = "unmarked") -> list[Example]:
    """The data of `train_supervised`: each problem asked in a style, with the record's text as the answer.

    A record without a text (a model may say nothing) makes no example.

    >>> from srm_utils.tasks import get_task
    >>> task = get_task("chain")
    >>> examples(gold(task, task.problems(1, difficulty=1), "direct"), task)[0][1].startswith("The answer is")
    True
    """
    return [(task.prompt(r.problem, style), r.text) for r in records if r.text]


# ---------------------------------------------------------------- sources


def gold(task: Task, problems: Sequence[Problem], style: str = "cot") -> list[Annotated]:
    """The task's own solutions; nobody's work is priced."""
    made = [(p, task.solution(p, style)) for p in problems]
    return [Annotated(p, text, "gold", task.final(text, p), task.grade(text, p)) for p, text in made]


def sampled(
    model: LanguageModel,
    task: Task,
    problems: Sequence[Problem],
    n: int = 4,
    style: str = "cot",
    max_new_tokens: int = 256,
    temperature: float = 1.0,
    seed: int = 0,
) -> list[Annotated]:
    """`n` answers of a model to each problem; `sift` them by `correct` for rejection sampling (yuan2023scaling)."""
    prompts = [task.prompt(p, style) for p in problems]
    groups = model.sample(prompts, n, max_new_tokens, temperature, seed=seed)
    return _records(task, problems, groups, model, "sampled", task.grade)


def rationalised(
    model: LanguageModel,
    task: Task,
    problems: Sequence[Problem],
    n: int = 1,
    max_new_tokens: int = 256,
    temperature: float = 0.0,
    seed: int = 0,
) -> list[Annotated]:
    """Ways to an answer that the model was told (zelikman2022star, section 3.2); the records do not tell it."""
    dialect = model.chat.dialect
    prompts = [EXPLAIN.prompt(dialect, p, p.answer) for p in problems]
    groups = model.sample(prompts, n, max_new_tokens, temperature, seed=seed)
    return _records(task, problems, groups, model, "rationalised", task.grade)


class Tried(GradedAttempt, Protocol):
    """What `searched` reads of an attempt at a problem; `trace` is a tree of thoughts."""

    @property
    def trace(self) -> Any: ...


def searched(problems: Sequence[Problem], attempts: Sequence[Tried]) -> list[Annotated]:
    """The way to the answer that a tree search gave, without what it tried beside it (zhang2024restmcts).

    `attempts` are a search's, in the order of the problems; their traces are trees of nodes with `text`, `status`
    ("chosen" on the path) and `children`. What the search cost is the price of the one path. Raises ValueError for
    attempts at other problems and for one without a tree.
    """
    if [p.id for p in problems] != [a.problem_id for a in attempts]:
        raise ValueError("The attempts are not one at each of the problems in their order; give those of one `solve`.")
    return [
        Annotated(p, " ".join(_path(a)), "searched", a.answer, a.grade, None, a.cost)
        for p, a in zip(problems, attempts, strict=True)
    ]


def rewritten(
    model: LanguageModel,
    task: Task,
    problems: Sequence[Problem],
    n: int = 1,
    samples: int = 4,
    style: str = "cot",
    max_new_tokens: int = 256,
    temperature: float = 1.0,
    seed: int = 0,
) -> list[Annotated]:
    """The same problems in the model's other words, each new question answered `samples` times (yu2024metamath).

    A question that comes out as it was, or twice, is dropped. Whether a new question still means the same is for
    the filters to say: `correct` and `agreeing` keep it where its answers are the old one.
    """
    dialect = model.chat.dialect
    prompts = [REWRITE.prompt(dialect, p) for p in problems]
    groups = model.sample(prompts, n, max_new_tokens, temperature, seed=seed)
    new = []
    for problem, group in zip(problems, groups, strict=True):
        # A reply that asks nothing is no question.
        questions = dict.fromkeys(REWRITE.read(dialect, c.text) for c in group)
        told = [q for q in questions if q and q != problem.question]
        new += [replace(problem, id=f"{problem.id}-rewritten-{i}", question=q) for i, q in enumerate(told)]
    if not new:
        return []
    records = sampled(model, task, new, samples, style, max_new_tokens, temperature, seed + 1)
    spent = Cost.total(group_cost(group) for group in groups)
    return [replace(r, source="rewritten") for r in charged(records, spent)]


def renumbered(
    model: LanguageModel,
    task: Task,
    problems: Sequence[Problem],
    n: int = 1,
    samples: int = 8,
    style: str = "cot",
    max_new_tokens: int = 256,
    temperature: float = 1.0,
    seed: int = 0,
) -> list[Annotated]:
    """New problems with another number in the old sentences, answered `samples` times (li2023mugglemath).

    Nobody knows their answers: the most frequent one of the samples is taken for it, and `agreeing` keeps the
    problems where enough samples say so.
    """
    rng = Random(f"renumbered/{seed}")
    new = [p for problem in problems for p in _with_other_numbers(problem, n, rng)]
    if not new:
        return []

    def as_voted(text: str, problem: Problem) -> Grade:
        # The task's own grader may read facts that only the old numbers had.
        stated = task.final(text, problem)
        return Grade.UNPARSABLE if stated is None else Grade.CORRECT if stated == problem.answer else Grade.WRONG

    groups = model.sample([task.prompt(p, style) for p in new], samples, max_new_tokens, temperature, seed=seed)
    labelled = [
        replace(p, answer=_plurality(task.final(c.text, p) for c in group)[0] or "")
        for p, group in zip(new, groups, strict=True)
    ]
    return _records(task, labelled, groups, model, "renumbered", as_voted)


# ---------------------------------------------------------------- filters


def sift(records: Sequence[Annotated], *filters: Filter) -> list[Annotated]:
    """The records that pass every filter, in turn; the cost of the others is shared out among them.

    Raises ValueError, naming the filter, where nothing is left.
    """
    kept = list(records)
    for one in filters:
        left = one(kept)
        if not left:
            name = getattr(getattr(one, "func", one), "__name__", "the filter")
            raise ValueError(
                f"None of {len(kept)} records passes {name!r}; draw more samples, ask a stronger model, or filter less."
            )
        whole = {id(r) for r in left}
        kept = charged(left, Cost.total(r.cost for r in kept if id(r) not in whole))
    return kept


def correct(records: Sequence[Annotated]) -> list[Annotated]:
    """Those whose answer is right."""
    return [r for r in records if r.grade == Grade.CORRECT]


def sound(records: Sequence[Annotated], task: Task) -> list[Annotated]:
    """Those in which the task finds no wrong step; a right answer may stand on wrong ones."""
    return [r for r in records if all(c.verdict != "wrong" for c in task.check_steps(r.text, r.problem))]


def agreeing(records: Sequence[Annotated], share: float = 0.5) -> list[Annotated]:
    """Those that give their problem's most frequent answer, where at least `share` of its records do.

    The vote of wang2022selfconsistency: it needs no known answer. Of equally frequent ones, the one that came first.
    """
    kept = []
    for group in _by_problem(records):
        answer, votes = _plurality(r.answer for r in group)
        if answer is not None and votes >= share * len(group):
            kept += [r for r in group if r.answer == answer]
    return kept


def of_difficulty(records: Sequence[Annotated], low: float = 0.0, high: float = 1.0) -> list[Annotated]:
    """Those at problems of which a share of samples between `low` and `high` was right (ye2025limo).

    The samples are the author's own unless `rated` by another model. Raises ValueError for a record without any.
    """
    unknown = next((r for r in records if r.solved is None), None)
    if unknown is not None:
        raise ValueError(
            f"A record made by {unknown.source!r} does not say how often its problem is solved; have a model rate it "
            "with `rated`."
        )
    return [r for r in records if r.solved is not None and low <= r.solved <= high]


def of_length(records: Sequence[Annotated], low: float = 0, high: float = math.inf) -> list[Annotated]:
    """Those of at least `low` and at most `high` words."""
    return [r for r in records if low <= r.words <= high]


def distinct(records: Sequence[Annotated]) -> list[Annotated]:
    """The first record of each way to solve a problem; ways differ in their steps (yuan2023scaling, section 3.3)."""
    ways: dict[tuple[str, tuple[str, ...]], Annotated] = {}
    for r in records:
        ways.setdefault((r.problem.id, tuple(steps_in(r.text, r.problem)) or (r.text,)), r)
    return list(ways.values())


def spread(records: Sequence[Annotated], n: int) -> list[Annotated]:
    """`n` records that cover as much as they can: difficulties in turn, in each every problem before one comes twice.

    The diversity that muennighoff2025s1 (section 2.2) draws over topics.
    """
    # A record's rank is how many came before it at its problem, then how many of its rank at its difficulty.
    seen: Counter[str] = Counter()
    ranked: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for i, r in enumerate(records):
        ranked[r.problem.difficulty].append((seen[r.problem.id], i))
        seen[r.problem.id] += 1
    lines = [[i for _, i in sorted(line)] for _, line in sorted(ranked.items())]
    turns = (line[turn] for turn in range(max(map(len, lines), default=0)) for line in lines if turn < len(line))
    return [records[i] for i, _ in zip(turns, range(n), strict=False)]


def rated(
    records: Sequence[Annotated],
    model: LanguageModel,
    task: Task,
    n: int = 8,
    style: str = "unmarked",
    max_new_tokens: int = 256,
    seed: int = 0,
) -> list[Annotated]:
    """The same records with `solved` from `n` samples of another model, such as the one to be trained, which pay."""
    problems = list({r.problem.id: r.problem for r in records}.values())
    trials = sampled(model, task, problems, n, style, max_new_tokens, seed=seed)
    solved = {r.problem.id: r.solved for r in trials}
    told = charged(records, Cost.total(r.cost for r in trials))
    return [replace(r, solved=solved[r.problem.id]) for r in told]


# ---------------------------------------------------------------- STaR


def star_round(
    model: LanguageModel,
    task: Task,
    problems: Sequence[Problem],
    style: str = "cot",
    max_new_tokens: int = 256,
    rationalise: bool = True,
) -> list[Annotated]:
    """One greedy try at each problem, and a rationalisation where it failed (zelikman2022star, algorithm 1)."""
    tried = sampled(model, task, problems, 1, style, max_new_tokens, temperature=0.0)
    failed = [r.problem for r in tried if r.grade != Grade.CORRECT]
    return tried + (rationalised(model, task, failed, 1, max_new_tokens) if rationalise and failed else [])


# ---------------------------------------------------------------- what the above share


def _records(
    task: Task,
    problems: Sequence[Problem],
    groups: Sequence[Sequence[Completion]],
    model: LanguageModel,
    source: str,
    grade: Callable[[str, Problem], Grade],
) -> list[Annotated]:
    """Graded records of samples; the prompt is paid once, in equal parts."""
    records = []
    for problem, group in zip(problems, groups, strict=True):
        grades = [grade(c.text, problem) for c in group]
        solved = sum(g == Grade.CORRECT for g in grades) / len(group)
        asked = group[0].asked * (1 / len(group))
        records += [
            Annotated(
                problem, c.text.strip(), source, task.final(c.text, problem), graded, solved, asked + c.cost.settled()
            )
            for c, graded in zip(group, grades, strict=True)
        ]
    return records


def charged(records: Sequence[Annotated], spent: Cost) -> list[Annotated]:
    """The records, each with an equal part of what was spent beside them."""
    part = spent * (1 / len(records))
    return [replace(r, cost=r.cost + part) for r in records]


def _by_problem(records: Sequence[Annotated]) -> list[list[Annotated]]:
    groups: dict[str, list[Annotated]] = defaultdict(list)
    for r in records:
        groups[r.problem.id].append(r)
    return list(groups.values())


def _plurality(answers: Iterable[str | None]) -> tuple[str | None, int]:
    """The most frequent answer and its votes; None where none is stated."""
    votes = Counter(a for a in answers if a is not None)
    return votes.most_common(1)[0] if votes else (None, 0)


def _with_other_numbers(problem: Problem, n: int, rng: Random) -> list[Problem]:
    """Up to `n` problems that differ in one number, with no answer yet; only forms of the `train` split.

    The number must stand once in the question and once in the canonical form, so that both change together.
    """
    found = Counter(re.findall(r"\d+", problem.question))
    known = Counter(re.findall(r"\d+", problem.canonical))
    free = sorted(k for k in found if found[k] == known[k] == 1)
    made: dict[str, Problem] = {}
    for _ in range(10 * n if free else 0):
        old = rng.choice(free)
        new = str(rng.randint(1, max(2 * int(old), 2)))
        question, canonical = (re.sub(rf"\b{old}\b", new, s) for s in (problem.question, problem.canonical))
        if canonical != problem.canonical and split_of(canonical) == "train" and len(made) < n:
            name = f"{problem.id}-renumbered-{len(made)}"
            other = replace(problem, id=name, question=question, canonical=canonical, answer="", steps=(), facts={})
            made.setdefault(canonical, other)
    return list(made.values())


def _path(attempt: Tried) -> Iterator[str]:
    """The texts of the chosen nodes, from the first step to the answer."""
    node = attempt.trace
    if not hasattr(node, "children"):
        raise ValueError(
            f"The attempt at {attempt.problem_id!r} left no tree of thoughts; give the attempts of a tree search."
        )
    while node is not None:
        node = next((child for child in node.children if child.status == "chosen"), None)
        if node is not None:
            yield node.text
