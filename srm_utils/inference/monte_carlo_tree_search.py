"""Monte Carlo tree search over reasoning steps: UCT as in RAP (hao2023reasoning), by rollouts or a value function.

A turn goes down the tree to the most promising thought, draws steps after it, estimates how good one of them is (by
writing it to its end, or by asking a value function: feng2023alphazero), and tells all thoughts above. All problems
take a turn together: three calls of a model for any number of trees.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from srm_utils.inference.beam_search import Choose, best_scored
from srm_utils.inference.entry import Setting, solver
from srm_utils.inference.solver import Attempt, Budget, Solver, attempt, keeps_prefixes
from srm_utils.inference.state_scores import judged_solution
from srm_utils.inference.thoughts import Branch, Score, Search, Steps, Thought
from srm_utils.inference.tree_of_thoughts import steps_of_setting
from srm_utils.inference.voting import weighted
from srm_utils.sampling.completion import Cost
from srm_utils.tasks.dialects import JUDGE_STEP, SOLVE
from srm_utils.tasks.problem import Problem, Task

if TYPE_CHECKING:
    from srm_utils.models import LanguageModel


@dataclass(eq=False)
class Node:
    """A thought in the tree: how often turns came through it, and the sum of what they were worth.

    `draws` counts how often steps after it have been drawn, `children` are the different ones among them, and
    `rollouts` counts how often it was written to its end.
    """

    branch: Branch
    parent: Node | None = None
    children: list[Node] = field(default_factory=list)
    draws: int = 0
    rollouts: int = 0
    visits: int = 0
    total: float = 0.0

    @property
    def mean(self) -> float:
        """The mean worth of the turns through this thought; 0 before the first."""
        return self.total / self.visits if self.visits else 0.0


#: How much a turn wants to go from a node to its child, given the exploration constant: `uct`, or a student's own.
Select = Callable[[Node, Node, float], float]


def uct(parent: Node, child: Node, exploration: float) -> float:
    """The mean worth of a child and a bonus for what is little known: Q + c sqrt(ln N / n).

    The upper confidence bound of hao2023reasoning, section 3.3, where c is its w. A child that no turn has come
    through is wanted most.

    >>> uct(Node(Branch(""), visits=4), Node(Branch(""), visits=1, total=0.5), 0.0)
    0.5
    """
    if child.visits == 0:
        return math.inf
    return child.mean + exploration * math.sqrt(math.log(parent.visits) / child.visits)


@dataclass
class Tree:
    """One problem's search: its nodes, the solutions met so far with their rewards, and the answer after each turn."""

    search: Search
    root: Node = field(init=False)
    ends: dict[Branch, float] = field(default_factory=dict)
    answers: list[str | None] = field(default_factory=list)
    costs: list[Cost] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.root = Node(self.search.root)


@dataclass(frozen=True)
class Explored:
    """The trace of a Monte Carlo tree search: the tree, the solutions met, the answer and the cost after every turn."""

    tree: Thought
    solutions: tuple[str, ...]
    answers: tuple[str | None, ...]
    costs: tuple[Cost, ...]


@dataclass(frozen=True)
class MonteCarloTreeSearch:
    """UCT with `budget.samples` turns a problem; `branching` steps are drawn after a thought at its second visit.

    A thought with n visits may be drawn after again, up to `widening` sqrt(n) times in all, so that a tree never
    runs out of ways; with `widening` 0 its first draw is its only one.
    Without `value`, a new thought is written to its end once and worth the `reward` of that end. With `value`, a
    score function says what an unfinished thought is worth, and nothing is written to its end. Worths should lie
    between 0 and 1, which the exploration constant is measured by. `choose` picks among the answers of all ends met
    by their rewards. Of equally wanted thoughts the one drawn first is taken.
    """

    steps: Steps
    reward: Score
    value: Score | None = None
    branching: int = 4
    exploration: float = 1.0
    widening: float = 1.0
    select: Select = uct
    choose: Choose = best_scored
    name: str = "MCTS"

    def __post_init__(self) -> None:
        if self.branching < 1 or self.exploration < 0 or self.widening < 0:
            raise ValueError(
                f"A branching of {self.branching}, an exploration of {self.exploration} and a widening of "
                f"{self.widening} cannot be; use at least 1, 0 and 0."
            )

    def solve(self, problems: Sequence[Problem], model: LanguageModel, budget: Budget) -> list[Attempt]:
        trees = [Tree(Search(p)) for p in problems]
        for _ in range(budget.samples):
            leaves = [self.descend(tree.root) for tree in trees]
            leaves = self.expand(model, trees, leaves, budget)
            worths = self.estimate(model, trees, leaves, budget)
            for tree, leaf, worth in zip(trees, leaves, worths, strict=True):
                node: Node | None = leaf
                while node is not None:
                    node.visits, node.total = node.visits + 1, node.total + worth
                    node = node.parent
                tree.answers.append(self._answer(tree))
                tree.costs.append(tree.search.cost)
        self._write_out(model, [tree for tree in trees if tree.answers[-1] is None], budget)
        return [self._attempt(tree) for tree in trees]

    def descend(self, node: Node) -> Node:
        """Selection: down the most wanted children, to a thought that may be drawn after or has nothing below it."""
        while node.children and node.draws >= self.widening * math.sqrt(node.visits):
            node = self.most_wanted(node)
        return node

    def expand(self, model: LanguageModel, trees: Sequence[Tree], leaves: Sequence[Node], budget: Budget) -> list[Node]:
        """Expansion: steps after every leaf that was visited before; the first new one is the leaf of this turn.

        Where none is new the turn goes to the most wanted of the old ones.
        """
        fresh = [i for i, n in enumerate(leaves) if not n.branch.ended and (n.visits or n.parent is None)]
        asked = [(trees[i].search.problem, leaves[i].branch) for i in fresh]
        # What follows a thought depends on how often it was drawn after, not on the turn: searches that differ in
        # another way meet the same steps. Even numbers here, odd ones for what is written to its end.
        turns = [2 * leaves[i].draws for i in fresh]
        groups, costs = self.steps.draw(model, asked, self.branching, budget.max_new_tokens, turns)
        out = list(leaves)
        for i, group, cost in zip(fresh, groups, costs, strict=True):
            trees[i].search.cost += cost
            node = leaves[i]
            known = {child.branch.step for child in node.children}
            new = [Node(branch, node) for branch in group if branch.step not in known]
            node.children += new
            node.draws += 1
            out[i] = new[0] if new else self.most_wanted(node)
        return out

    def most_wanted(self, node: Node) -> Node:
        """The child that a turn goes to; of equals the one drawn first."""
        return max(node.children, key=lambda child: self.select(node, child, self.exploration))

    def estimate(
        self, model: LanguageModel, trees: Sequence[Tree], leaves: Sequence[Node], budget: Budget
    ) -> list[float]:
        """Simulation: what each leaf is worth, by the reward of an end or by the value of a beginning."""
        ends = [leaf.branch for leaf in leaves]
        open_ = [i for i, branch in enumerate(ends) if not branch.ended]
        if self.value is None:
            asked = [(trees[i].search.problem, ends[i]) for i in open_]
            turns = [2 * leaves[i].rollouts + 1 for i in open_]
            written, costs = self.steps.finish(model, asked, budget.max_new_tokens, greedy=False, turn=turns)
            for i, branch, cost in zip(open_, written, costs, strict=True):
                ends[i] = branch
                leaves[i].rollouts += 1
                trees[i].search.cost += cost
            open_ = []
        new = [i for i, branch in enumerate(ends) if branch.ended and branch not in trees[i].ends]
        for i, worth in zip(new, self._scored(model, self.reward, trees, ends, new), strict=True):
            trees[i].ends[ends[i]] = worth
        worths = [trees[i].ends.get(branch, 0.0) for i, branch in enumerate(ends)]
        if self.value is not None:
            for i, worth in zip(open_, self._scored(model, self.value, trees, ends, open_), strict=True):
                worths[i] = worth
        return worths

    def _scored(
        self, model: LanguageModel, score: Score, trees: Sequence[Tree], branches: Sequence[Branch], at: Sequence[int]
    ) -> list[float]:
        values, costs = score(model, [(trees[i].search.problem, branches[i]) for i in at]) if at else ([], [])
        for i, cost in zip(at, costs, strict=True):
            trees[i].search.cost += cost
        return values

    def _write_out(self, model: LanguageModel, trees: Sequence[Tree], budget: Budget) -> None:
        """Trees that met no answer have their most visited path written to its end, greedily."""
        paths = []
        for tree in trees:
            node = tree.root
            while node.children:
                node = max(node.children, key=lambda child: child.visits)
            paths.append(node.branch)
        open_ = [i for i, branch in enumerate(paths) if not branch.ended]
        asked = [(trees[i].search.problem, paths[i]) for i in open_]
        written, costs = self.steps.finish(model, asked, budget.max_new_tokens)
        for i, branch, cost in zip(open_, written, costs, strict=True):
            trees[i].ends[branch] = 0.0
            trees[i].search.cost += cost
            trees[i].answers[-1], trees[i].costs[-1] = self._answer(trees[i]), trees[i].search.cost

    def _answer(self, tree: Tree) -> str | None:
        answers = [self.steps.task.final(branch.text, tree.search.problem) for branch in tree.ends]
        return self.choose(answers, list(tree.ends.values()))

    def _attempt(self, tree: Tree) -> Attempt:
        task, search = self.steps.task, tree.search
        nodes = [tree.root]
        for node in nodes:
            nodes += node.children or []
        search.scores |= {node.branch: node.mean for node in nodes[1:]} | tree.ends
        given = tree.answers[-1]
        stating = [b for b in tree.ends if task.final(b.text, search.problem) == given] if given is not None else []
        chosen = max(stating, key=lambda b: tree.ends[b], default=None)
        met = tuple(branch.text for branch in tree.ends)
        trace = Explored(
            search.tree(task, chosen), met, tuple(tree.answers), tuple(cost.settled() for cost in tree.costs)
        )
        unread = sum(task.final(b.text, search.problem) is None for b in tree.ends)
        return attempt(task, search.problem, given, trace, search.cost, max(unread, given is None))


def after(task: Task, problems: Sequence[Problem], attempts: Sequence[Attempt], turns: int) -> list[Attempt]:
    """The attempts of a Monte Carlo tree search as they stood after so many turns: one run gives the whole curve.

    Where no solution had been met by then there is no answer. Raises ValueError when the run had fewer turns.
    """
    out = []
    for problem, whole in zip(problems, attempts, strict=True):
        trace = whole.trace
        if not isinstance(trace, Explored) or not 1 <= turns <= len(trace.answers):
            raise ValueError(f"The run does not hold {turns} turns; search with a larger budget.")
        out.append(attempt(task, problem, trace.answers[turns - 1], trace, trace.costs[turns - 1]))
    return out


keeps_prefixes(MonteCarloTreeSearch)


@solver(
    "mcts",
    "N turns of UCT, rollouts weighed by the model's judgement (hao2023reasoning)",
    notebook="24",
    skills=(SOLVE, JUDGE_STEP),
)
def _mcts(setting: Setting, size: int) -> Solver:
    steps = steps_of_setting(setting)
    return MonteCarloTreeSearch(steps, judged_solution, branching=2, exploration=0.5, choose=weighted)
