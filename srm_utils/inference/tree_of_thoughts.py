"""Tree of Thoughts: steps are proposed, valued and pruned, breadth first or depth first (yao2023tree).

The value of a state is the model's own judgement: asked of one state alone (`countdown_value`, or `judged_step` of
`thoughts`), or by a vote between states (`votes`). All problems' trees advance together.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from srm_utils.inference.asking import ask, chat_of, steps_by
from srm_utils.inference.entry import Setting, solver
from srm_utils.inference.solver import Attempt, Budget, Solver, keeps_prefixes
from srm_utils.inference.state_scores import guided, judged_step, product, says
from srm_utils.inference.thoughts import Aggregate, Beginning, Score, Search, Steps, expand, last, rate, write_out
from srm_utils.sampling.completion import Cost
from srm_utils.tasks.dialects import COMPARE, JUDGE_STEP, SOLVE, STATE_VALUE, Dialect, steps_of
from srm_utils.tasks.problem import Problem
from srm_utils.tasks.worlds.countdown import parse_state
from srm_utils.tasks.worlds.countdown_states import state_value

if TYPE_CHECKING:
    from srm_utils.models import LanguageModel


@dataclass(frozen=True)
class BreadthFirst:
    """Keeps the `breadth` best thoughts of every level (yao2023tree, algorithm 1).

    After each of those kept, `budget.samples` / `breadth` thoughts are drawn, so that a level has `budget.samples`
    at most. After `depth` levels the kept ones are written to their end greedily. The best end that states an answer
    is chosen; of equals, the one drawn first.
    """

    steps: Steps
    score: Score
    breadth: int = 2
    depth: int = 64
    aggregate: Aggregate = last
    name: str = "ToT, breadth first"

    def __post_init__(self) -> None:
        if self.breadth < 1 or self.depth < 0:
            raise ValueError(f"A tree of breadth {self.breadth} and depth {self.depth} holds nothing; use at least 1.")

    def solve(self, problems: Sequence[Problem], model: LanguageModel, budget: Budget) -> list[Attempt]:
        searches = [Search(p) for p in problems]
        kept = [[s.root] for s in searches]
        branching = max(1, budget.samples // self.breadth)
        for _ in range(self.depth):
            if all(b.ended for group in kept for b in group):
                break
            drawn = expand(model, self.steps, searches, kept, branching, budget.max_new_tokens)
            rate(model, self.score, searches, drawn, self.aggregate)
            kept = [
                search.best([b for b in old if b.ended] + new, self.breadth)
                for search, old, new in zip(searches, kept, drawn, strict=True)
            ]
        ends = write_out(model, self.steps, searches, kept, budget.max_new_tokens)
        rate(model, self.score, searches, ends, self.aggregate)
        task = self.steps.task
        return [s.attempt(task, s.best_answer(task, end)) for s, end in zip(searches, ends, strict=True)]


@dataclass(frozen=True)
class DepthFirst:
    """Follows the best thought, and goes back when nothing after it is promising (yao2023tree, algorithm 2).

    A turn draws `branching` thoughts after one. Those that score below `threshold` are pruned with all that would
    follow. The first answer that scores `threshold` or more is given; when `budget.samples` thoughts have been gone
    on from without one, the best answer seen, or else the best open thought written out greedily.
    """

    steps: Steps
    score: Score
    branching: int = 4
    threshold: float = 0.5
    aggregate: Aggregate = last
    name: str = "ToT, depth first"

    def solve(self, problems: Sequence[Problem], model: LanguageModel, budget: Budget) -> list[Attempt]:
        searches = [Search(p) for p in problems]
        stacks = [[s.root] for s in searches]
        for _ in range(budget.samples):
            # What each problem goes on from: the top of its stack, or nothing once its answer is good enough.
            tops = [
                [stack.pop()] if stack and not self._found(s) else [] for s, stack in zip(searches, stacks, strict=True)
            ]
            if not any(tops):
                break
            drawn = expand(model, self.steps, searches, tops, self.branching, budget.max_new_tokens)
            rate(model, self.score, searches, drawn, self.aggregate)
            for search, stack, new in zip(searches, stacks, drawn, strict=True):
                promising = [b for b in search.best(new) if not b.ended and search.scores[b] >= self.threshold]
                stack += reversed(promising)
        task = self.steps.task
        fronts = [
            s.best([b for b in s.scores if not b.ended], 1) if s.best_answer(task, s.scores) is None else []
            for s in searches
        ]
        rate(model, self.score, searches, write_out(model, self.steps, searches, fronts, budget.max_new_tokens))
        return [s.attempt(task, s.best_answer(task, s.scores)) for s in searches]

    def _found(self, search: Search) -> bool:
        answer = search.best_answer(self.steps.task, search.scores)
        return answer is not None and search.scores[answer] >= self.threshold


# ---------------------------------------------------------------- self-evaluation


def votes(model: LanguageModel, beginnings: Sequence[Beginning], opponents: int = 2) -> tuple[list[float], list[Cost]]:
    """The mean probability that the model prefers a thought to others of its problem (the vote of yao2023tree).

    Two are compared at a time (`compare_prompt`). The thoughts of a problem stand in a ring, and each meets the next
    `opponents` as A and those before it as B, so that a liking for one letter cancels out. A thought alone scores 1.
    """
    rings: dict[str, list[int]] = {}
    for i, (problem, _) in enumerate(beginnings):
        rings.setdefault(problem.id, []).append(i)
    pairs = [
        (ring[at], ring[(at + away) % len(ring)])
        for ring in rings.values()
        for at in range(len(ring))
        for away in range(1, min(opponents, len(ring) - 1) + 1)
    ]
    written = [steps_by(model, branch.text, problem) for problem, branch in beginnings]
    problems = [beginnings[a][0] for a, _ in pairs]
    prompts = [ask(model, COMPARE, p, written[a], written[b]) for p, (a, b) in zip(problems, pairs, strict=True)]
    preferred, costs = says(model, problems, prompts, word="A")
    won: list[list[float]] = [[] for _ in beginnings]
    spent = [Cost()] * len(beginnings)
    for (a, b), p, cost in zip(pairs, preferred, costs, strict=True):
        won[a].append(p)
        won[b].append(1 - p)
        spent[a] += cost
    return [sum(w) / len(w) if w else 1.0 for w in won], spent


def countdown_value(model: LanguageModel, beginnings: Sequence[Beginning]) -> tuple[list[float], list[Cost]]:
    """Countdown: P("Yes") that the numbers left can still make the target (yao2023tree, section 4.1).

    Which numbers are left follows from the moves as they were written; whether their arithmetic holds is not
    looked at. A move with a number that is not there scores 0; a last number is compared with the target.
    """
    dialect = chat_of(model).dialect
    states = [numbers_left(problem, branch.text, dialect) for problem, branch in beginnings]
    targets = [problem.facts["target"] for problem, _ in beginnings]
    prompts = [
        ask(model, STATE_VALUE, state, target) if state and len(state) > 1 and not branch.ended else None
        for (_, branch), state, target in zip(beginnings, states, targets, strict=True)
    ]
    values, costs = says(model, [p for p, _ in beginnings], prompts)
    reached = [float(state == [target]) for state, target in zip(states, targets, strict=True)]
    return [v if p else r for v, p, r in zip(values, prompts, reached, strict=True)], costs


def numbers_left(problem: Problem, text: str, dialect: Dialect = "family") -> list[int] | None:
    """The numbers left after the moves of a Countdown text, results taken on trust; None where a number is missing.

    In the family's language a step is a move and nothing else; in plain English words may stand around it.
    """
    left = list(problem.facts["numbers"])
    find = re.fullmatch if dialect == "family" else re.search
    for step in steps_of(dialect, text, problem):
        move = find(r"(\d{1,6}) [-+*/] (\d{1,6}) = (\d{1,6})", step)
        for used in map(int, move.groups()[:2] if move else ()):
            if used not in left:
                return None
            left.remove(used)
        left += [int(move[3])] if move else []
    return left


def exact_value(problem: Problem, text: str) -> float:
    """Countdown: 1 where the steps so far are legal and true and the target can still be reached, by exhaustive search.

    The oracle that self-evaluation is measured against, as `by_rule(exact_value)`.
    """
    state = parse_state(text, problem)
    return float(state is not None and state_value(state, problem.facts["target"]))


keeps_prefixes(BreadthFirst, DepthFirst)


def steps_of_setting(setting: Setting) -> Steps:
    """The thoughts of a comparison's searches: a sentence of the model, or in the family's Countdown one move."""
    end = "Left" if setting.task.name == "countdown" and setting.dialect == "family" else None
    return Steps(setting.task, setting.style, end, setting.heat, setting.seed)


def value_of_setting(setting: Setting) -> tuple[Score, Aggregate]:
    """How a comparison's searches value a state: the judgement of a step, and how likely it was (xie2023selfeval)."""
    score = product(judged_step, countdown_value) if setting.task.name == "countdown" else judged_step
    return guided(score), math.prod


@solver(
    "tree-of-thoughts",
    "breadth first, N thoughts a level: keeps the best, from six on the best two (yao2023tree)",
    notebook="23",
    skills=(SOLVE, JUDGE_STEP, STATE_VALUE),
    least=2,
)
def _tree_of_thoughts(setting: Setting, size: int) -> Solver:
    score, aggregate = value_of_setting(setting)
    return BreadthFirst(steps_of_setting(setting), score, 1 if size < 6 else 2, aggregate=aggregate)


@solver(
    "depth-first",
    "depth first with a way back, N thoughts gone on from (yao2023tree)",
    notebook="23",
    skills=(SOLVE, JUDGE_STEP, STATE_VALUE),
    most=96,
)
def _depth_first(setting: Setting, size: int) -> Solver:
    score, aggregate = value_of_setting(setting)
    return DepthFirst(steps_of_setting(setting), score, 2, 0.5, aggregate)
