"""Graph of Thoughts: parts are solved, scored, merged and mended, and several thoughts flow into one (besta2024graph).

The paper's own setting, sorting a list (section 5): the list is cut into parts, each part is sorted in several tries,
the best try is kept, kept lists are merged two by two in several tries, and a merge with errors is mended. A program
scores the tries without knowing the answer. All parts of all problems are asked for in one call a layer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from srm_utils.inference.asking import ask
from srm_utils.inference.entry import Setting, made_for, solver
from srm_utils.inference.solver import Attempt, Budget, Solver, attempt, keeps_prefixes
from srm_utils.inference.thoughts import Thought
from srm_utils.sampling.completion import Cost, group_cost
from srm_utils.tasks.dialects import MEND, MERGE, SORT
from srm_utils.tasks.problem import Problem, Prompt
from srm_utils.tasks.worlds.sorting import SortingTask, score

if TYPE_CHECKING:
    from srm_utils.models import LanguageModel


def fewest_errors(values: Sequence[int], numbers: Sequence[int]) -> float:
    """Minus the error scope of a list that should hold these numbers sorted (besta2024graph, section 5); 0 is right.

    >>> fewest_errors([2, 4, 7], [7, 2, 4]), fewest_errors([4, 2], [7, 2, 4])
    (0.0, -2.0)
    """
    return 0.0 - score(values, numbers)


@dataclass(frozen=True)
class Part:
    """A vertex of the graph: the list that a try wrote, the numbers it stands for, and the parts it was made of.

    `tries` are all that were made for this place, the kept one among them; `unread` counts those that state no list.
    """

    values: tuple[int, ...]
    numbers: tuple[int, ...]
    score: float
    sources: tuple[Part, ...] = ()
    tries: tuple[Part, ...] = ()
    unread: int = 0


@dataclass(frozen=True)
class GraphOfThoughts:
    """Sorts parts of at most `part` numbers and merges them, the best of `budget.samples` tries at every vertex.

    `rank(values, numbers)` scores a try, higher is better, 0 is right; of equals the one drawn first is kept. A kept
    merge below 0 is mended up to `refinements` times, with as many tries each, and replaced by a better one.
    """

    task: SortingTask
    part: int = 4
    refinements: int = 1
    rank: Callable[[Sequence[int], Sequence[int]], float] = fewest_errors
    temperature: float = 1.0
    seed: int = 0
    name: str = "graph of thoughts"

    def __post_init__(self) -> None:
        if self.part < 1 or self.refinements < 0:
            raise ValueError(f"Parts of {self.part} numbers mended {self.refinements} times cannot be; use 1 and 0 up.")

    def solve(self, problems: Sequence[Problem], model: LanguageModel, budget: Budget) -> list[Attempt]:
        costs = [Cost() for _ in problems]
        parts = [(i, part) for i, p in enumerate(problems) for part in cut(p.facts["numbers"], self.part)]
        sort = [(i, ask(model, SORT, part), tuple(part), ()) for i, part in parts]
        rows: list[list[Part]] = [[] for _ in problems]
        for (i, _), best in zip(parts, self.generate(model, sort, costs, budget), strict=True):
            rows[i].append(best)
        while any(len(row) > 1 for row in rows):
            pairs = [(i, row[at : at + 2]) for i, row in enumerate(rows) for at in range(0, len(row), 2)]
            joined = iter(
                self.aggregate(model, [(i, pair[0], pair[1]) for i, pair in pairs if len(pair) == 2], costs, budget)
            )
            rows = [[] for _ in problems]
            for i, pair in pairs:
                rows[i].append(next(joined) if len(pair) == 2 else pair[0])
        return [
            attempt(self.task, p, _listed(row[0].values), thought_tree(p, row[0]), cost, _unread(row[0]))
            for p, row, cost in zip(problems, rows, costs, strict=True)
        ]

    def aggregate(
        self, model: LanguageModel, pairs: Sequence[tuple[int, Part, Part]], costs: list[Cost], budget: Budget
    ) -> list[Part]:
        """Two kept parts become one; what is not right yet is mended."""
        merge = [(i, ask(model, MERGE, a.values, b.values), a.numbers + b.numbers, (a, b)) for i, a, b in pairs]
        kept = self.generate(model, merge, costs, budget)
        for turn in range(1, self.refinements + 1):
            faulty = [at for at, part in enumerate(kept) if part.score < 0]
            mend = []
            for at in faulty:
                i, a, b = pairs[at]
                mend.append((i, ask(model, MEND, a.values, b.values, kept[at].values), *merge[at][2:]))
            for at, mended in zip(faulty, self.generate(model, mend, costs, budget, turn), strict=True):
                best = max(kept[at], mended, key=lambda part: part.score)
                tries = kept[at].tries + mended.tries
                unread = kept[at].unread + mended.unread
                kept[at] = Part(best.values, best.numbers, best.score, best.sources, tries, unread)
        return kept

    def generate(
        self,
        model: LanguageModel,
        places: Sequence[tuple[int, Prompt, tuple[int, ...], tuple[Part, ...]]],
        costs: list[Cost],
        budget: Budget,
        turn: int = 0,
    ) -> list[Part]:
        """The best of several tries at each place (problem, prompt, numbers, sources); one call, charged to `costs`."""
        prompts = [prompt for _, prompt, _, _ in places]
        seed = self.seed + (turn << 32)
        groups = model.sample(prompts, budget.samples, budget.max_new_tokens, self.temperature, seed=seed)
        kept = []
        for (i, _, numbers, sources), group in zip(places, groups, strict=True):
            costs[i] += group_cost(group)
            lists = [tuple(map(int, re.findall(r"\d+", self.task.final(c.text) or ""))) for c in group]
            tries = tuple(Part(values, numbers, self.rank(values, numbers), sources) for values in dict.fromkeys(lists))
            best = max(tries, key=lambda part: part.score)
            kept.append(Part(best.values, numbers, best.score, sources, tries, lists.count(())))
        return kept


def _listed(values: Sequence[int]) -> str | None:
    return " ".join(map(str, values)) or None


def _unread(part: Part) -> int:
    """Tries for this part, and for those it was made of, that state no list."""
    return part.unread + sum(map(_unread, part.sources))


def cut(numbers: Sequence[int], part: int) -> list[list[int]]:
    """A list in parts of so many numbers, the last one shorter where they do not go up.

    >>> cut([5, 1, 4, 2, 3], 2)
    [[5, 1], [4, 2], [3]]
    """
    return [list(numbers[at : at + part]) for at in range(0, len(numbers), part)]


def thought_tree(problem: Problem, last: Part) -> Thought:
    """The graph as a tree for the viewer: under each list the two that flowed into it, beside it the tries pruned."""

    def vertex(part: Part) -> tuple[Thought, ...]:
        made_of = tuple(thought for source in part.sources for thought in vertex(source))
        pruned = [t for t in dict.fromkeys(part.tries) if t.values != part.values]
        shown = [Thought(" ".join(map(str, t.values)) or "nothing", t.score, "pruned") for t in pruned]
        return Thought(" ".join(map(str, part.values)) or "nothing", part.score, "chosen", made_of), *shown

    return Thought(problem.question, children=vertex(last))


keeps_prefixes(GraphOfThoughts)


@solver(
    "graph-of-thoughts",
    "parts sorted and merged, the best of N tries at each place (besta2024graph)",
    notebook="23",
    skills=(SORT, MERGE, MEND),
    missing=made_for("sorting"),
)
def _graph_of_thoughts(setting: Setting, size: int) -> Solver:
    return GraphOfThoughts(cast(SortingTask, setting.task), temperature=setting.heat, seed=setting.seed)
