"""Any of reasoning-gym's seeded tasks, graded by its own scorer.

`gsm_symbolic` carries worked solutions and is split by template (85 of them: 70 train, 4 validation,
5 test, 6 confirm), so that a test sentence never had its numbers alone changed. Every other task is
split by a hash of its question. Seeds of two splits come from disjoint ranges as well.

Answers are read as they are written (`answers.VERBATIM`): the scorers compare characters. Only those of
`gsm_symbolic` are numbers.
"""

from __future__ import annotations

import ast
import cmath
import hashlib
import json
import math
import operator
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from random import Random
from typing import Any

from srm_utils.tasks.answers import NUMBER, VERBATIM
from srm_utils.tasks.names import nearest
from srm_utils.tasks.problem import SPLIT_BOUNDS, Problem, Split, Task, Templates, split_of
from srm_utils.tasks.words import answer_sentence

GSM = "gsm_symbolic"
MAX_ANSWER = 5_000  #: characters; a longer answer is wrong, since scorers are not bounded in time
_SEEDS = 2**29  #: seeds a split

# These scorers hand the answer to Python's eval, or to sympy's reader, which ends in eval. Nothing a model
# wrote is evaluated as code here: the first kind gives full marks to exact text only, so only that is
# compared; the second kind sees nothing but short arithmetic over known names.
_EVALUATED = {"binary_matrix", "n_queens", "spiral_matrix", "string_insertion"}
_FUNCTIONS = {"sin", "cos", "tan", "asin", "acos", "atan", "exp", "log", "sqrt", "sinh", "cosh", "tanh"}
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzCEXYZ")
_SYMPY_WORDS: dict[str, frozenset[str]] = {
    "countdown": frozenset(),
    "puzzle24": frozenset(),
    "polynomial_multiplication": _LETTERS,
    "simple_integration": _LETTERS,
    "intermediate_integration": _LETTERS | _FUNCTIONS | {"Abs", "pi"},
}
_OPERATORS = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}  # fmt: skip
_ARITHMETIC = re.compile(r"[\dA-Za-z+\-*/(). ]+")
_NO_NUMBER = re.compile(r"\d{10}|\.(?!\d)|(?<!\d)\.|\.\d+\.")
_POWER = re.compile(r"\*\*\s*(?:\d{1,2}|\(\s*-?\d{1,2}\s*(?:/\s*\d{1,2}\s*)?\))(?!\s*\*\*)(?![\d.])")


class ReasoningGymTask(Task):
    """A task of reasoning-gym by name, with any settings of its configuration.

    Raises ValueError with the nearest names for an unknown task, or for settings it refuses.

    >>> task = ReasoningGymTask("chain_sum", max_terms=3)
    >>> task.grade(task.solution(problem := task.problems(1)[0], "direct"), problem).value
    'correct'
    """

    #: every task can be asked to think; only `gsm_symbolic` has worked solutions to show
    styles = ("direct", "cot")
    difficulties = (1,)

    def __init__(self, dataset: str, **settings: Any) -> None:
        names = _dataset_names()
        if dataset not in names:
            raise ValueError(f"reasoning-gym has no task {dataset!r}; {nearest(dataset, names)}.")
        if clash := {"seed", "size"} & settings.keys():
            raise ValueError(f"{clash.pop()!r} is not a setting here: seeds and sizes are given to `problems`.")
        self.answers = NUMBER if dataset == GSM else VERBATIM
        self.dataset, self._settings = dataset, json.dumps(settings, sort_keys=True)
        self.name = f"reasoning-gym:{dataset}"
        _generator(dataset, self._settings, 0)  # bad settings should be told of here, not at the first problem

    def draw(self, rng: Random, difficulty: int = 1, templates: Templates = "train") -> Problem:
        return self._problem(rng.randrange(len(SPLIT_BOUNDS) * _SEEDS))

    def problems(
        self,
        n: int,
        *,
        split: Split = "validation",
        seed: int = 0,
        difficulty: int | Sequence[int] | None = None,
        templates: Templates = "train",
    ) -> list[Problem]:
        """As `Task.problems`; difficulty is a matter of settings here, and there is one wording only."""
        if split not in SPLIT_BOUNDS:
            raise ValueError(f"There is no split {split!r}; choose one of {', '.join(SPLIT_BOUNDS)}.")
        if templates != "train":
            raise ValueError(f"{self.name} has no held-out sentence templates; leave `templates` at 'train'.")
        if difficulty not in (None, 1, (1,), [1]):
            raise ValueError(f"{self.name} has the one difficulty 1; make it harder through its settings.")
        rng = Random(f"{self.name}/{split}/{seed}")
        first = list(SPLIT_BOUNDS).index(split) * _SEEDS
        seen: set[str] = set()
        made: list[Problem] = []
        tries = 0
        while len(made) < n:
            tries += 1
            if tries > 2_000 * (len(made) + 1):
                raise ValueError(f"{self.name} has no more distinct {split} problems; ask for fewer than {n}.")
            number = first + rng.randrange(_SEEDS)
            if self.dataset == GSM and split_of(f"{GSM}|template {self._template(number)}") != split:
                continue
            problem = self._problem(number)
            if problem.canonical in seen or (self.dataset != GSM and split_of(problem.canonical) != split):
                continue
            seen.add(problem.canonical)
            object.__setattr__(problem, "id", f"{self.name}-{split}-{seed}-{len(made)}")
            made.append(problem)
        return made

    def solution(self, problem: Problem, style: str, rng: Random | None = None) -> str:
        if style not in self.styles:
            raise ValueError(f"Task {self.name!r} has no style {style!r}; choose one of {', '.join(self.styles)}.")
        if not problem.answer:
            raise ValueError(f"reasoning-gym grades {self.dataset!r} by its rules and gives no gold answer to show.")
        final = answer_sentence(problem.answer)
        if self.extract(final) != problem.answer.strip():
            # A grid or a sentence does not read back from one line.
            final = answer_sentence(f"<answer>{problem.answer}</answer>")
        return "\n".join([*problem.steps, final]) if style == "cot" else final

    def matches(self, answer: str, problem: Problem) -> bool:
        """Whether reasoning-gym's scorer gives full marks."""
        entry = _entry(self.dataset, self._settings, problem.facts["seed"])
        accepted = entry["metadata"].get("valid_answers") if self.dataset == "n_queens" else None
        if answer.strip() in {a.strip() for a in accepted or [problem.answer] if a.strip()}:
            return True
        if len(answer) > MAX_ANSWER or self.dataset in _EVALUATED or not self._harmless(answer):
            return False
        if "integrand" in entry["metadata"] and not _integrates(answer, entry["metadata"]):
            return False
        if self.dataset == GSM:
            answer = re.sub(r"(?<=\d),(?=\d{3}\b)", "", answer)
        try:
            return _generator(self.dataset, self._settings, 0).score_answer(answer, entry) >= 1.0
        except Exception:  # a scorer of another library may raise anything on what a model wrote
            return False

    def _harmless(self, answer: str) -> bool:
        """Whether a scorer that evaluates may see the answer: short, of known names only, without towers of powers."""
        words = _SYMPY_WORDS.get(self.dataset)
        if words is None:
            return True
        used = set(re.findall(r"[A-Za-z]+", answer))
        outer = [int(n) for n in re.findall(r"\)\s*\*\*[\s(-]*(\d{1,2})", answer)]
        powers = answer.count("**")
        return (
            len(answer) <= 300
            and _ARITHMETIC.fullmatch(answer) is not None
            and _NO_NUMBER.search(answer) is None
            and used <= words
            and (bool(words) or powers == 0)
            and powers == len(_POWER.findall(answer))
            and math.prod(outer) <= 20
        )

    def _template(self, seed: int) -> int:
        return _generator(self.dataset, self._settings, seed).task_indices[0]

    def _problem(self, seed: int) -> Problem:
        entry = _entry(self.dataset, self._settings, seed)
        answer = entry["answer"]
        if answer is None:
            # Many right answers: some tasks keep one as an example.
            examples = (entry["metadata"].get(f"{kind}_answer") for kind in ("example_correct", "example", "possible"))
            answer = next((e for e in examples if e is not None), "")
        steps: tuple[str, ...] = ()
        facts: dict[str, Any] = {"seed": seed}
        if self.dataset == GSM:
            facts["template"] = self._template(seed)
            worked = entry["metadata"]["answer_cot"].rsplit("####", 1)[0]
            steps = tuple(line.strip() for line in worked.splitlines() if line.strip())
            numbers = _numbers(entry["metadata"]["variables"])
            canonical = f"{GSM}|template {facts['template']}|{numbers}"
        else:
            told = " ".join(str(entry["question"]).split()).casefold()
            canonical = f"{self.name}|{hashlib.blake2b(told.encode(), digest_size=12).hexdigest()}"
        return Problem("", self.name, str(entry["question"]), str(answer), 1, canonical, steps, facts)


def _integrates(answer: str, metadata: Mapping[str, Any]) -> bool:
    """Whether the slope of an integral is the integrand's value at two points, so that `simplify` is worth its time.

    The scorer's `simplify` runs for minutes on some wrong answers; none of those passes this.
    """
    agreeing, step = 0, 1e-5
    for at in (-2.3, -0.6, 0.45, 1.7, 3.1):
        names = {metadata["variable"]: at, "C": 0.0}
        try:
            up, down = (_value(answer, {**names, metadata["variable"]: at + d}) for d in (step, -step))
            slope, wanted = (up - down) / (2 * step), _value(metadata["integrand"], names)
        except (ArithmeticError, ValueError, TypeError, KeyError, SyntaxError, RecursionError, MemoryError):
            continue
        agreeing += abs(slope - wanted) <= 1e-4 * (1 + abs(wanted))
    return agreeing >= 2


def _value(expression: str, names: Mapping[str, complex]) -> complex:
    """A formula's value by walking its syntax tree; raises on anything but arithmetic over `names` and cmath."""

    def walk(node: ast.AST) -> complex:
        match node:
            case ast.Constant(value=int() | float() as number):
                return complex(number)
            case ast.Name(id=name):
                return {"pi": cmath.pi, "E": cmath.e, **names}[name]
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -walk(operand)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
                return _OPERATORS[type(op)](walk(left), walk(right))
            case ast.Call(func=ast.Name(id="Abs"), args=[inner]):
                return abs(walk(inner))
            case ast.Call(func=ast.Name(id=name), args=[inner], keywords=[]) if name in _FUNCTIONS:
                return getattr(cmath, name)(walk(inner))
        raise ValueError("not arithmetic")

    return walk(ast.parse(expression.strip(), mode="eval").body)


def _numbers(variables: Mapping[str, Any]) -> str:
    """The numbers of a GSM-Symbolic problem without its names."""
    return ";".join(f"{k}={v}" for k, v in sorted(variables.items()) if isinstance(v, int | float))


def _dataset_names() -> list[str]:
    try:
        import reasoning_gym  # noqa: F401  (importing it fills the registry)
        from reasoning_gym.factory import DATASETS
    except ImportError:
        raise ImportError("reasoning-gym is not installed; run `pip install reasoning-gym`.") from None
    return sorted(DATASETS)


@lru_cache(maxsize=16)  # some generators hold megabytes of data
def _generator(dataset: str, settings: str, seed: int) -> Any:
    from reasoning_gym.factory import create_dataset

    try:
        return create_dataset(dataset, seed=seed, size=1, **json.loads(settings))
    except (AssertionError, TypeError, ValueError) as error:
        told = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"reasoning-gym cannot make {dataset!r} with the settings {settings}: {told}.") from None


@lru_cache(maxsize=4096)
def _entry(dataset: str, settings: str, seed: int) -> Any:
    return _generator(dataset, settings, seed)[0]
