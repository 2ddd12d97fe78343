"""Self-training by rounds: a model writes, what is right is kept, and the first weights are trained on it.

In each round the policy of the round before writes solutions to the same problems, filters keep the right ones, and
the weights of the *start* are trained on those. The methods differ in three places only, each a field of `Method`:
how solutions are written (`told_when_failed`, `drawn`, `searching`), whether those of earlier rounds stay in the data,
and whether a judge learns from the right and the wrong ones, at the end or in every round.
"""

from __future__ import annotations

import json
import math
import os
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from hashlib import sha256
from itertools import accumulate
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from srm_utils.evaluation.evaluate import Evaluation, evaluate
from srm_utils.models import LanguageModel, load_model
from srm_utils.sampling.completion import Completion, Cost
from srm_utils.tasks.problem import Grade, Problem, Task
from srm_utils.tasks.steps import steps_in
from srm_utils.training.annotation import (
    Annotated,
    Filter,
    Tried,
    charged,
    correct,
    distinct,
    examples,
    sampled,
    sift,
    star_round,
)
from srm_utils.training.outcome_rewards import (
    Labelled,
    RewardConfig,
    RewardModel,
    Scorer,
    score_samples,
    step_ends,
    train_reward_model,
)
from srm_utils.training.supervised import (
    BITS,
    SupervisedConfig,
    TrainedModel,
    claim_folder,
    run_fingerprint,
    starting_point,
    train_supervised,
    write_json,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Problems whose solutions are written and saved together: what a kill can cost.
PART = 256


@dataclass(frozen=True, slots=True)
class SelfTrainingConfig:
    """How to train; equal for all methods, so that they can be compared.

    Each of `rounds` writes `samples` solutions to each problem (methods that draw), in a style of the task, and lets a
    problem give at most `most` examples (singh2024beyond, section 5, takes ten). After each round `check_samples`
    solutions of each held-out problem are drawn. `policy` and `judge` say how those are trained; their seeds are this
    one.
    """

    rounds: int = 3
    samples: int = 8
    most: int = 10
    style: str = "cot"
    max_new_tokens: int = 128
    temperature: float = 1.0
    check_samples: int = 8
    policy: SupervisedConfig = SupervisedConfig()
    judge: RewardConfig = RewardConfig()
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.rounds, self.samples, self.most, self.max_new_tokens, self.check_samples) < 1:
            raise ValueError(
                f"rounds, samples, most, max_new_tokens and check_samples must be at least 1; given was {self}."
            )


@dataclass(frozen=True, slots=True)
class Solution:
    """A written solution, and what it tells a judge: a label after each of its steps (`outcome_rewards.Labelled`)."""

    record: Annotated
    labels: tuple[float | None, ...]


#: Writes solutions, right and wrong ones: (policy, judge or None, task, problems, config, seed of the round).
Writer = Callable[[LanguageModel, Scorer | None, Task, Sequence[Problem], SelfTrainingConfig, int], Sequence[Solution]]


@dataclass(frozen=True, slots=True)
class Method:
    """What a way of self-training is made of.

    `keep` filters what is trained on; with `accumulate` that is what all rounds wrote, else the last. A judge is
    trained on what all rounds wrote: after the last one, or after each, for the next round's writer to ask.

    >>> METHODS["V-STaR"].accumulate, METHODS["V-STaR"].judge
    (True, 'last')
    """

    name: str
    write: Writer
    keep: tuple[Filter, ...] = (correct, distinct)
    accumulate: bool = False
    judge: Literal["none", "last", "each"] = "none"


# ---------------------------------------------------------------- writers


def told_when_failed(
    model: LanguageModel, judge: Scorer | None, task: Task, problems: Sequence[Problem], config: SelfTrainingConfig,
    seed: int,
) -> list[Solution]:  # fmt: skip
    """STaR's: one greedy try at each problem; where it failed, another with the answer told (zelikman2022star)."""
    return [_graded(r) for r in star_round(model, task, problems, config.style, config.max_new_tokens)]


def drawn(
    model: LanguageModel, judge: Scorer | None, task: Task, problems: Sequence[Problem], config: SelfTrainingConfig,
    seed: int,
) -> list[Solution]:  # fmt: skip
    """ReST-EM's: independent samples of each problem (singh2024beyond, algorithm 1)."""
    options = (config.samples, config.style, config.max_new_tokens, config.temperature, seed)
    return [_graded(r) for r in sampled(model, task, problems, *options)]


#: A tree search: (policy, judge or None, problems, seed) to one attempt at each problem, in their order.
Search = Callable[[LanguageModel, Scorer | None, Sequence[Problem], int], Sequence[Tried]]


def searching(search: Search) -> Writer:
    """rStar's: all whole solutions that a tree search met; it may ask the judge of the round before (guan2025rstar)."""

    def write(
        model: LanguageModel, judge: Scorer | None, task: Task, problems: Sequence[Problem],
        config: SelfTrainingConfig, seed: int,
    ) -> list[Solution]:  # fmt: skip
        attempts = search(model, judge, problems, seed)
        if [p.id for p in problems] != [a.problem_id for a in attempts]:
            raise ValueError("The search did not return one attempt at each of the problems in their order.")
        return [s for p, a in zip(problems, attempts, strict=True) for s in from_tree(task, p, a)]

    return write


def from_tree(task: Task, problem: Problem, attempt: Tried) -> list[Solution]:
    """The whole solutions in the tree that a search left, those with the best steps first.

    A step's label is the share of right ones among the solutions that go through it: the Q-value of
    guan2025rstar (section 3.3), as a chance. What the search cost is shared out. Raises ValueError without a tree.
    """
    tree = getattr(attempt.trace, "tree", attempt.trace)
    if not hasattr(tree, "children"):
        raise ValueError(f"The attempt at {attempt.problem_id!r} left no tree of thoughts; use a tree search.")
    paths = list(_whole(tree, ()))
    if not paths:
        return [Solution(Annotated(problem, "", "searched", None, Grade.UNPARSABLE, 0.0, attempt.cost), (None,))]
    texts = [" ".join(node.text for node in path) for path in paths]
    right = [task.grade(text, problem) == Grade.CORRECT for text in texts]
    through: dict[int, list[bool]] = defaultdict(list)
    for path, success in zip(paths, right, strict=True):
        for node in path:
            through[id(node)].append(success)
    solved = float(np.mean(right))
    records = [Annotated(problem, t, "searched", task.final(t, problem), task.grade(t, problem), solved) for t in texts]
    pairs = zip(paths, texts, strict=True)
    labels = [_labels(path, text, [fmean(through[id(node)]) for node in path]) for path, text in pairs]
    found = zip(charged(records, attempt.cost), labels, strict=True)
    return [Solution(*pair) for pair in sorted(found, key=lambda pair: -fmean(pair[1]))]


def _whole(node: Any, path: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    """The ways from the first step to every end that a search met; a leaf that it did not go on from is none."""
    for child in node.children:
        if child.children:
            yield from _whole(child, (*path, child))
        elif child.status in ("answer", "dead", "chosen"):
            yield (*path, child)


def _labels(path: Sequence[Any], text: str, values: Sequence[float]) -> tuple[float, ...]:
    """The value of the thought in which each step of the text ends; thoughts stand in it with a space between."""
    ends = [end - 1 for end in accumulate(len(node.text) + 1 for node in path)]
    return tuple(values[bisect_left(ends, end)] for end in step_ends(text))


def _graded(record: Annotated) -> Solution:
    """A solution that tells a judge its grade, at its end."""
    before = [None] * (len(step_ends(record.text)) - 1)
    return Solution(record, (*before, float(record.grade == Grade.CORRECT)))


#: The methods that need no search; rStar is `Method("rStar", searching(...), judge="each")`.
METHODS: dict[str, Method] = {
    "STaR": Method("STaR", told_when_failed),
    "ReST-EM": Method("ReST-EM", drawn),
    "V-STaR": Method("V-STaR", drawn, accumulate=True, judge="last"),
}


# ---------------------------------------------------------------- what a round reached


@dataclass(frozen=True)
class Measured:
    """A policy on held-out problems: greedy answers, samples, and the judge's score of each sample, if there is one.

    `diversity` is that of the samples (`diversity`).
    """

    greedy: Evaluation
    sampled: Evaluation
    diversity: float
    scores: NDArray[np.float64] | None = None

    @property
    def record(self) -> dict[str, float]:
        """Accuracy greedily and of one sample, coverage, accuracy of the judge's choice (nan without), diversity."""
        n = self.sampled.samples
        picked = math.nan if self.scores is None else float(self.sampled.best_of_scores(n, self.scores).mean())
        return {
            "greedy": float(self.greedy.scores.mean()), "accuracy": float(self.sampled.scores.mean()),
            "coverage": float(self.sampled.passk_scores(n).mean()), "verified": picked, "diversity": self.diversity,
        }  # fmt: skip


def measure(
    model: LanguageModel,
    task: Task,
    problems: Sequence[Problem],
    config: SelfTrainingConfig,
    judge: Scorer | None = None,
) -> Measured:
    """A policy on problems it was not trained on; the samples are the same ones for equal weights."""
    n, prompts = len(problems), [task.prompt(p, config.style) for p in problems]
    counts, heats = [1] * n + [config.check_samples] * n, [0.0] * n + [config.temperature] * n
    drawn = model.sample([*prompts, *prompts], counts, config.max_new_tokens, temperature=heats, seed=config.seed)
    greedy, groups = drawn[:n], drawn[n:]
    return Measured(
        evaluate(task, problems, greedy),
        evaluate(task, problems, groups),
        diversity(task, problems, groups),
        score_samples(judge, problems, groups).values() if judge is not None else None,
    )


def diversity(task: Task, problems: Sequence[Problem], groups: Sequence[Sequence[Completion]]) -> float:
    """The chance that two right samples of a problem go different ways, which differ in their steps.

    A mean over problems with two right samples or more, unbiased however many they are; nan where there are none.
    """
    shares = []
    for problem, group in zip(problems, groups, strict=True):
        right = [c.text for c in group if task.grade(c.text, problem) == Grade.CORRECT]
        ways = Counter(tuple(steps_in(text, problem)) or (text,) for text in right)
        if len(right) > 1:
            shares.append(1 - sum(n * (n - 1) for n in ways.values()) / (len(right) * (len(right) - 1)))
    return float(np.mean(shares)) if shares else math.nan


@dataclass(frozen=True)
class Round:
    """One round: what was written, on how many `examples` the policy was trained, and what it then reached.

    `judge` is the folder of its judge (`outcome_rewards.load_reward_model`), if it has one. `samples` (solutions
    written) and `flops` (of writing and of all training) count from the first round on.
    """

    number: int
    solutions: tuple[Solution, ...]
    examples: int
    trained: TrainedModel
    judge: Path | None
    measured: Measured | None
    samples: int
    flops: float

    @property
    def solved(self) -> float:
        """The share of problems to which this round wrote a right solution."""
        right = Counter[str]()
        for s in self.solutions:
            right[s.record.problem.id] += s.record.grade == Grade.CORRECT
        return sum(n > 0 for n in right.values()) / len(right)

    @property
    def record(self) -> dict[str, float]:
        """One row of the table: what was measured, and what it took."""
        row = {"round": self.number, "samples": self.samples, "flops": self.flops, "examples": self.examples}
        return row | {"solved": self.solved} | (self.measured.record if self.measured else {})


# ---------------------------------------------------------------- the rounds


def self_train(
    model: LanguageModel | str | os.PathLike[str],
    task: Task,
    problems: Sequence[Problem],
    method: Method,
    config: SelfTrainingConfig,
    out: str | os.PathLike[str],
    check: Sequence[Problem] = (),
    device: str = "auto",
    progress: bool = False,
) -> list[Round]:
    """Write, keep, train from the first weights, write again; each round is measured on `check`, if there is any.

    A round lies in a folder of `out`. Called again after an interruption, what was written and trained is taken as it
    is and the rest ends with the same weights; called again after the end, the rounds are returned, measured on another
    `check` where one is given. The model given is left as it is. Raises ValueError for no problems, for a round that
    writes nothing to train on and for an `out` that holds another run; OSError where a round cannot be saved.
    """
    from tqdm import tqdm

    if not problems:
        raise ValueError("There are no problems to learn from; give at least one.")
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    base, _ = starting_point(model, out)
    bits = BITS["lora" if config.policy.method == "full" else config.policy.method]
    policy: Callable[[], LanguageModel] = cache(partial(load_model, base, bits=bits, device=device))
    first = policy()
    facts: list[Any] = [asdict(config), method.name, [p.question for p in problems]]
    claim_folder(out, run_fingerprint(first, facts, config.policy))
    rounds: list[Round] = []
    pool: list[Solution] = []
    judge: RewardModel | None = None
    samples, flops = 0, 0.0
    for number in tqdm(range(1, config.rounds + 1), desc=method.name, disable=not progress):
        folder = out / f"round-{number}"
        solutions = _written(method, policy, judge, task, problems, config, number, folder)
        pool = pool + solutions
        records = [s.record for s in (pool if method.accumulate else solutions)]
        data = examples(at_most(sift(records, *method.keep), config.most), task, config.style)
        trained = train_supervised(base, data, replace(config.policy, seed=config.seed), folder / "policy", device)
        policy = cache(partial(trained.load, device))
        samples += len(solutions)
        flops += sum(s.record.cost.flops for s in solutions) + trained.flops
        if method.judge == "each" or (method.judge == "last" and number == config.rounds):
            lead = "" if first.render(task.prompt(problems[0], config.style))[-1:].isspace() else " "
            shown = [Labelled(s.record.problem, f"{lead}{s.record.text}", s.labels) for s in pool if s.record.text]
            options = replace(config.judge, seed=config.seed)
            judge = train_reward_model(task, base, shown, options, folder / "judge", config.style, device, method.name)
            flops += json.loads((folder / "judge" / "trained.json").read_text())["flops"]
        measured = _measured(policy, task, check, config, judge, folder) if check else None
        kept = folder / "judge" if judge is not None else None
        rounds.append(Round(number, tuple(solutions), len(data), trained, kept, measured, samples, flops))
    return rounds


def at_most(records: Sequence[Annotated], most: int) -> list[Annotated]:
    """The first `most` records of each problem, so that easy problems do not drown the hard ones."""
    seen = Counter[str]()
    kept = []
    for record in records:
        seen[record.problem.id] += 1
        if seen[record.problem.id] <= most:
            kept.append(record)
    return kept


def _written(
    method: Method,
    policy: Callable[[], LanguageModel],
    judge: Scorer | None,
    task: Task,
    problems: Sequence[Problem],
    config: SelfTrainingConfig,
    number: int,
    folder: Path,
) -> list[Solution]:
    """A round's solutions, from disk where they lie there; read back in any case, so that a resumed run is the same."""
    solutions = []
    for at in range(0, len(problems), PART):
        file, part = folder / f"solutions-{at}.json", problems[at : at + PART]
        if not file.is_file():
            made = method.write(policy(), judge, task, part, config, config.seed * 1_000_003 + number)
            index = {p.id: i for i, p in enumerate(part)}
            _save(file, [_row(s, index[s.record.problem.id]) for s in made])
        solutions += [_solution(row, part) for row in json.loads(file.read_text())]
    return solutions


def _row(solution: Solution, problem: int) -> dict[str, Any]:
    record = solution.record
    said = {k: getattr(record, k) for k in ("text", "source", "answer", "grade", "solved")}
    return {"problem": problem, **said, "cost": asdict(record.cost), "labels": solution.labels}


def _solution(row: dict[str, Any], problems: Sequence[Problem]) -> Solution:
    made = {"problem": problems[row["problem"]], "grade": Grade(row["grade"]), "cost": Cost(**row["cost"])}
    said = {k: row[k] for k in ("text", "source", "answer", "solved")}
    return Solution(Annotated(**made, **said), tuple(row["labels"]))


def _measured(
    policy: Callable[[], LanguageModel],
    task: Task,
    problems: Sequence[Problem],
    config: SelfTrainingConfig,
    judge: Scorer | None,
    folder: Path,
) -> Measured:
    """What was measured on these problems, from disk where it lies there."""
    asked = sha256("\n".join(p.question for p in problems).encode()).hexdigest()[:12]
    file = folder / f"measured-{asked}.json"
    if not file.is_file():
        made = measure(policy(), task, problems, config, judge)
        scores = None if made.scores is None else made.scores.tolist()
        runs = {k: _packed(getattr(made, k)) for k in ("greedy", "sampled")}
        _save(file, {**runs, "diversity": made.diversity, "scores": scores})
    row = json.loads(file.read_text())
    scored = None if row["scores"] is None else np.array(row["scores"])
    greedy, samples = (_unpacked(row[k], problems) for k in ("greedy", "sampled"))
    return Measured(greedy, samples, row["diversity"], scored)


def _packed(run: Evaluation) -> dict[str, Any]:
    costs = {k: [asdict(c) for c in getattr(run, k)] for k in ("shared", "drawn")}
    return {"grades": run.grades.tolist(), "answers": run.answers.tolist(), **costs}


def _unpacked(row: dict[str, Any], problems: Sequence[Problem]) -> Evaluation:
    grades = np.array([[Grade(g) for g in group] for group in row["grades"]], dtype=object)
    shared, drawn_ = (tuple(Cost(**c) for c in row[k]) for k in ("shared", "drawn"))
    return Evaluation(tuple(problems), grades, np.array(row["answers"], dtype=object), shared, drawn_)


def _save(file: Path, content: Any) -> None:
    """Written beside and renamed; where that fails, what was finished before is still there."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, content)
    except OSError as error:
        file.with_suffix(".tmp").unlink(missing_ok=True)
        raise OSError(
            f"The round could not be saved in {str(file.parent)!r} ({error.strerror or error}); free some space and "
            "run it again: what was finished before is kept."
        ) from error
