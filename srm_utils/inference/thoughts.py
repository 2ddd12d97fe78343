"""Thoughts: beginnings of solutions that grow step by step, what scores them, and the tree that a search leaves.

Every tree and graph search stands on three words. A `Branch` is a beginning of a solution. `Steps` draws the next
steps of many branches, of many problems, in one call. A `Score` is a function that says how promising branches
are; `state_scores` has those of the searches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from srm_utils.inference.asking import chat_of, marked, newly, stopped
from srm_utils.inference.solver import Attempt, attempt
from srm_utils.sampling.completion import Completion, Cost, group_cost
from srm_utils.tasks.problem import Problem, Prompt, Task

if TYPE_CHECKING:
    from srm_utils.models import LanguageModel

#: Digits behind the point to which scores are told apart.
SCORE_DIGITS = 5

Status = Literal["kept", "pruned", "answer", "dead", "chosen"]


@dataclass(frozen=True, eq=False)
class Branch:
    """A beginning of a solution: its last step, and the branch it goes on from (None at the root).

    `logprob` and `tokens` are those of the last step. `ended` says that nothing follows: an answer was stated,
    the model ended its text, or the tokens ran out. Two branches are equal only if they are the same one.

    >>> Branch(" 5 + 3 = 8.", Branch("")).text
    ' 5 + 3 = 8.'
    """

    step: str
    parent: Branch | None = None
    logprob: float = 0.0
    tokens: int = 0
    ended: bool = False

    @cached_property
    def path(self) -> tuple[Branch, ...]:
        """The branches from the first step to this one; empty at the root."""
        return () if self.parent is None else (*self.parent.path, self)

    @cached_property
    def text(self) -> str:
        """All that has been written so far, as the model wrote it."""
        return "".join(b.step for b in self.path)

    @property
    def length(self) -> int:
        """Tokens written so far."""
        return sum(b.tokens for b in self.path)


#: A branch and the problem it belongs to.
Beginning = tuple[Problem, Branch]
#: How promising each beginning is, and what it cost to say so: any function of this form can replace the default.
Score = Callable[["LanguageModel", Sequence[Beginning]], tuple[list[float], list[Cost]]]
#: What the scores of the steps of one branch, in order, come to: `last`, `min` or `math.prod` (lightman2024lets).
Aggregate = Callable[[Sequence[float]], float]


def last(scores: Sequence[float]) -> float:
    """The last step's score stands for the whole branch.

    >>> last([0.9, 0.2])
    0.2
    """
    return scores[-1]


# ---------------------------------------------------------------- drawing steps


@dataclass(frozen=True)
class Steps:
    """How thoughts are written: in a style of the task, each ending with the string `end`, at a temperature.

    By default a step ends at the step mark of the model's chat: a full stop in the family's language, a line break
    elsewhere, so that no number is cut at its point. A Countdown move of the family ends where it begins to say what
    is left: `end="Left"`. `examples` are worked (problem, solution) pairs shown first, for models that have not been
    trained on the style.
    """

    task: Task
    style: str = "cot"
    end: str | None = None
    temperature: float = 1.0
    seed: int = 0
    examples: tuple[tuple[Problem, str], ...] = ()

    def prompt(self, problem: Problem) -> Prompt:
        """The question, before any step."""
        return self.task.prompt(problem, self.style, self.examples)

    def mark(self, model: LanguageModel) -> str:
        """What ends a step of this model."""
        return self.end if self.end is not None else chat_of(model).step_mark

    def draw(
        self,
        model: LanguageModel,
        beginnings: Sequence[Beginning],
        n: int,
        max_new_tokens: int,
        turn: int | Sequence[int] = 0,
    ) -> tuple[list[list[Branch]], list[Cost]]:
        """`n` next steps of each beginning, equal ones once, in the order drawn; one call for all.

        `max_new_tokens` is the length of a whole solution. Another `turn` (one, or one a beginning) draws other steps
        of the same beginning.
        A prompt that several branches of a problem share is read, and charged, once. A step of white space alone is
        left out where there is another.
        """
        left = [max_new_tokens - branch.length for _, branch in beginnings]
        groups = self._sample(model, beginnings, n, left, self.temperature, (self.mark(model),), turn)
        branches = []
        for (_, parent), group in zip(beginnings, groups, strict=True):
            distinct: dict[str, Branch] = {}
            for completion in group:
                branch = self._branch(model, parent, completion, max_new_tokens)
                distinct.setdefault(branch.step, branch)
            written = [b for b in distinct.values() if b.step.strip() or b.ended]
            branches.append(written or list(distinct.values()))
        return branches, self._costs(model, beginnings, groups)

    def finish(
        self,
        model: LanguageModel,
        beginnings: Sequence[Beginning],
        max_new_tokens: int,
        greedy: bool = True,
        turn: int | Sequence[int] = 0,
    ) -> tuple[list[Branch], list[Cost]]:
        """Each beginning written to its end in one go, as one long last step."""
        left = [max_new_tokens - branch.length for _, branch in beginnings]
        groups = self._sample(model, beginnings, 1, left, 0.0 if greedy else self.temperature, (), turn)
        branches = [
            Branch(newly(model, parent.text, c), parent, c.logprob, len(c.token_ids), ended=True)
            for (_, parent), (c,) in zip(beginnings, groups, strict=True)
        ]
        return branches, self._costs(model, beginnings, groups)

    def _sample(
        self,
        model: LanguageModel,
        beginnings: Sequence[Beginning],
        n: int,
        left: list[int],
        temperature: float,
        stop: tuple[str, ...],
        turn: int | Sequence[int],
    ) -> list[list[Completion]]:
        # Rendered here and not passed as a prefill, which would lose a newline that ends a step.
        chat = chat_of(model)
        prompts = [chat.begun(model.render(self.prompt(p)), branch.text) for p, branch in beginnings]
        seed = self.seed + (turn << 32) if isinstance(turn, int) else [self.seed + (t << 32) for t in turn]
        return model.sample(prompts, n, left, temperature, stop=stop, seed=seed)

    def _branch(self, model: LanguageModel, parent: Branch, completion: Completion, max_new_tokens: int) -> Branch:
        step, over = newly(model, parent.text, completion), not stopped(model, completion)
        step = step if over else marked(model, step, completion, self.mark(model))
        over = over or parent.length + len(completion.token_ids) >= max_new_tokens
        answered = self.task.extract(parent.text + step) is not None
        return Branch(step, parent, completion.logprob, len(completion.token_ids), over or answered)

    def _costs(
        self, model: LanguageModel, beginnings: Sequence[Beginning], groups: Sequence[Sequence[Completion]]
    ) -> list[Cost]:
        read: set[tuple[str, str]] = set()
        costs = []
        for (problem, branch), group in zip(beginnings, groups, strict=True):
            known = (problem.id, branch.text) in read
            read.add((problem.id, branch.text))
            costs.append(Cost.total(c.cost for c in group) if known else group_cost(group))
        return costs


# ---------------------------------------------------------------- what a search leaves behind


@dataclass(frozen=True)
class Thought:
    """A node of the tree that a search explored: its step, its score, what became of it, and the thoughts after it.

    "kept" was gone on from, "pruned" was not; "answer" and "dead" are ends with and without an answer; "chosen"
    are the steps of the answer given.
    """

    text: str
    score: float | None = None
    status: Status = "kept"
    children: tuple[Thought, ...] = ()

    def walk(self) -> Iterable[Thought]:
        """This thought and all after it, parents first."""
        yield self
        for child in self.children:
            yield from child.walk()


@dataclass
class Search:
    """The notes of one problem's search: every branch in the order drawn, its scores, and what was spent.

    `judged` holds what the score function said of a branch alone, `scores` what it comes to with those before it.
    """

    problem: Problem
    root: Branch = field(default_factory=lambda: Branch(""))
    judged: dict[Branch, float] = field(default_factory=dict)
    scores: dict[Branch, float] = field(default_factory=dict)
    cost: Cost = field(default_factory=Cost)

    def best(self, branches: Iterable[Branch], n: int | None = None) -> list[Branch]:
        """The `n` best of these by score (all of them, best first, without `n`); of equals, the one drawn first.

        Scores that differ by less than rounding does are equal: it depends on what else was in the batch.
        """
        order = {b: i for i, b in enumerate(self.scores)}
        return sorted(branches, key=lambda b: (-round(self.scores[b], SCORE_DIGITS), order[b]))[:n]

    def best_answer(self, task: Task, branches: Iterable[Branch]) -> Branch | None:
        """The best ended branch of these that states an answer, None if there is none."""
        return next((b for b in self.best(b for b in branches if b.ended) if task.final(b.text, self.problem)), None)

    def attempt(self, task: Task, chosen: Branch | None) -> Attempt:
        """The attempt whose answer is the one the chosen branch states, and whose trace is the tree."""
        answer = task.final(chosen.text, self.problem) if chosen else None
        unread = sum(b.ended and task.final(b.text, self.problem) is None for b in self.scores)
        return attempt(task, self.problem, answer, self.tree(task, chosen), self.cost, max(unread, answer is None))

    def tree(self, task: Task, chosen: Branch | None) -> Thought:
        """All branches as a tree of thoughts under the question."""
        children: dict[Branch, list[Branch]] = {}
        for branch in dict.fromkeys(b for scored in self.scores for b in scored.path):
            assert branch.parent is not None
            children.setdefault(branch.parent, []).append(branch)
        on_path = set(chosen.path) if chosen else set()

        def status(branch: Branch) -> Status:
            if branch in on_path:
                return "chosen"
            if branch.ended:
                return "dead" if task.final(branch.text, self.problem) is None else "answer"
            return "kept" if branch in children else "pruned"

        def thought(branch: Branch) -> Thought:
            after = tuple(thought(b) for b in children.get(branch, ()))
            return Thought(branch.step.strip(), self.scores.get(branch), status(branch), after)

        return Thought(self.problem.question, children=tuple(thought(b) for b in children.get(self.root, ())))


def rate(
    model: LanguageModel,
    score: Score,
    searches: Sequence[Search],
    branches: Sequence[Sequence[Branch]],
    aggregate: Aggregate = last,
) -> None:
    """Scores branches that have no score yet, a list for every search, in one call, and notes scores and costs."""
    new = [[b for b in group if b not in s.scores] for s, group in zip(searches, branches, strict=True)]
    owners = [s for s, group in zip(searches, new, strict=True) for _ in group]
    asked = [(s.problem, b) for s, group in zip(searches, new, strict=True) for b in group]
    values, costs = score(model, asked) if asked else ([], [])
    for search, (_, branch), value, cost in zip(owners, asked, values, costs, strict=True):
        search.judged[branch] = value
        search.scores[branch] = aggregate([search.judged[b] for b in branch.path if b in search.judged])
        search.cost += cost


def expand(
    model: LanguageModel,
    steps: Steps,
    searches: Sequence[Search],
    fronts: Sequence[Sequence[Branch]],
    n: int,
    max_new_tokens: int,
) -> list[list[Branch]]:
    """`n` next thoughts after every open branch of every search's front: one call, charged to the searches."""
    owners, asked = _open(searches, fronts)
    groups, costs = steps.draw(model, asked, n, max_new_tokens)
    new: list[list[Branch]] = [[] for _ in searches]
    for i, group, cost in zip(owners, groups, costs, strict=True):
        new[i] += group
        searches[i].cost += cost
    return new


def write_out(
    model: LanguageModel,
    steps: Steps,
    searches: Sequence[Search],
    fronts: Sequence[Sequence[Branch]],
    max_new_tokens: int,
) -> list[list[Branch]]:
    """The fronts with every open branch written to its end greedily: one call, charged to the searches."""
    owners, asked = _open(searches, fronts)
    branches, costs = steps.finish(model, asked, max_new_tokens)
    ends = [[b for b in front if b.ended] for front in fronts]
    for i, branch, cost in zip(owners, branches, costs, strict=True):
        ends[i].append(branch)
        searches[i].cost += cost
    return ends


def _open(searches: Sequence[Search], fronts: Sequence[Sequence[Branch]]) -> tuple[list[int], list[Beginning]]:
    owners = [i for i, front in enumerate(fronts) for b in front if not b.ended]
    return owners, [(searches[i].problem, b) for i, front in enumerate(fronts) for b in front if not b.ended]
