"""The words every room shares: `Problem`, `Prompt`, `Grade`, `StepCheck`, and the `Task` contract."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, Literal

from srm_utils.tasks.answers import AnswerFormat
from srm_utils.tasks.grading import Found
from srm_utils.tasks.grading.compare import agrees_to
from srm_utils.tasks.grading.grade import Grade

Split = Literal["train", "validation", "test", "confirm"]
Templates = Literal["train", "held-out"]

#: Digits to which a decimal that a program printed has to agree with the gold answer.
PRINTED_DIGITS = 10

#: Share of canonical forms in each split, in hundredths. A form's hash picks its split, so the
#: splits are disjoint for every seed by construction.
SPLIT_BOUNDS: dict[str, range] = {
    "train": range(0, 79),
    "validation": range(79, 86),
    "test": range(86, 93),
    "confirm": range(93, 100),
}


@dataclass(frozen=True, slots=True)
class StepCheck:
    """One step found in a model's text, judged by the task itself.

    `verdict` is "right", "wrong" (false in itself) or "useless" (true, but the answer does not
    need it). `start` and `end` are character offsets in the text that was checked.
    """

    text: str
    start: int
    end: int
    verdict: Literal["right", "wrong", "useless"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem with its gold answer; immutable.

    `canonical` is the structure and the numbers without names or wording: two problems with the
    same canonical form are the same problem. `facts` holds what the task needs to check steps
    (JSON values only); `steps` are the gold steps as the chain-of-thought style writes them.
    """

    id: str
    task: str
    question: str
    answer: str
    difficulty: int
    canonical: str
    steps: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict, hash=False, compare=False)


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a model is asked, before its own template is applied.

    `instruction` asks in the words of the bundled family ("" leaves the choice to the model), `plain` asks for the
    same in plain English and says how to state the answer; a model is shown one of the two. `examples` are
    (question, answer) pairs shown first, `prefill` is text the answer must begin with.
    """

    question: str
    instruction: str = ""
    examples: tuple[tuple[str, str], ...] = ()
    prefill: str = ""
    plain: str = ""

    def text(self) -> str:
        """The plain question-and-answer form that base models read.

        >>> Prompt("What is 2 + 3?", "Answer directly.").text()
        'Question: What is 2 + 3? Answer directly.\\nAnswer:'
        """
        ask = asked(self.question, self.instruction)
        shots = "".join(f"Question: {asked(q, self.instruction)}\nAnswer: {a}\n\n" for q, a in self.examples)
        answer = f" {self.prefill.strip()}" if self.prefill.strip() else ""
        return f"{shots}Question: {ask}\nAnswer:{answer}"


def asked(question: str, instruction: str) -> str:
    """A question and its instruction: behind it, or on a line of its own where the question has several lines.

    Behind a list of options an instruction would read like part of the last one.

    >>> asked("2 + 3?", "Answer directly."), asked("Which?\\nA. cat\\nB. dog", "Answer directly.")
    ('2 + 3? Answer directly.', 'Which?\\nA. cat\\nB. dog\\nAnswer directly.')
    """
    question = question.strip()
    between = "\n" if "\n" in question else " "
    return f"{question}{between}{instruction}".strip()


def split_of(canonical: str) -> Split:
    """The split that a canonical form belongs to, the same on every machine and seed.

    >>> split_of("chain|5+3-2") in {"train", "validation", "test", "confirm"}
    True
    """
    bucket = int.from_bytes(hashlib.blake2b(canonical.encode(), digest_size=8).digest()) % 100
    for name, bounds in SPLIT_BOUNDS.items():
        if bucket in bounds:
            return name  # type: ignore[return-value]
    raise AssertionError("SPLIT_BOUNDS must cover 0..99")


#: The sentence that asks for a style, said after the question. "" leaves the choice to the model.
INSTRUCTIONS: dict[str, str] = {
    "unmarked": "",
    "direct": "Answer directly.",
    "cot": "Let us think step by step.",
    "draft": "Think in short drafts.",
    "verbose": "Explain every step in full.",
    "plan": "First make a plan, then solve it.",
    "decompose": "Break it into smaller questions.",
    "program": "Write a program.",
    "tool": "Use the calculator.",
    "check": "Solve it, then check it.",
    "retry": "Correct yourself when you are wrong.",
    "search": "Search for a solution.",
}

#: The same styles asked for in plain English, of models that have never read the family's words.
PLAIN_INSTRUCTIONS: dict[str, str] = {
    "unmarked": "",
    "direct": "Give only the answer, without any explanation.",
    "cot": "Think step by step. Write each step on a line of its own.",
    "draft": "Think step by step, but keep only a short draft of each step, five words at most.",
    "verbose": "Think step by step and explain every step in full sentences.",
    "plan": "First write a short plan. Then follow the plan step by step.",
    "decompose": "Break the problem into smaller questions. Answer them one after the other.",
    "program": "Write a short Python program that prints the answer. Write the program only.",
    "tool": "Think step by step. Write each calculation as an equation, such as 12 + 5 = 17.",
    "check": "Think step by step. Then check your result.",
    "retry": "Think step by step. When you notice a mistake, say so and correct it.",
    "search": "Try different ways one after the other until one of them works.",
}
#: How a model is told to state its answer where the kind of answer is not known.
ASK_FOR_ANSWER = "End with: The answer is X."
#: Styles whose text is not read for a stated answer.
_NO_ANSWER_ASKED = ("program",)


class Task(ABC):
    """Makes problems from a seed and a split, asks them in a style, and grades what comes back.

    A task draws candidates with `draw` and keeps those whose canonical form hashes into the
    split asked for, so that no seed can leak a form from one split into another.
    """

    name: str
    #: styles that `solution` can write, a subset of `INSTRUCTIONS`
    styles: tuple[str, ...]
    #: difficulties the bundled family has seen in training, in rising order
    difficulties: tuple[int, ...]
    #: a difficulty beyond training, for the unseen-depth test; None where there is none
    unseen_difficulties: tuple[int, ...] = ()
    #: how an answer is asked for, found and counted; None where a task reads texts by an `extract` of its own
    answers: AnswerFormat | None = None

    @abstractmethod
    def draw(self, rng: Random, difficulty: int, templates: Templates = "train") -> Problem:
        """One candidate problem of any split. Its `id` may be empty: `problems` sets it."""

    @abstractmethod
    def solution(self, problem: Problem, style: str, rng: Random | None = None) -> str:
        """A gold solution text in a style, ending in "The answer is X."."""

    def extract(self, text: str) -> str | None:
        """The answer that a text has stated, in canonical form; None when it has stated none.

        This is for a text that may go on: what stands unmarked at its end is no answer yet (see `final`).
        """
        if self.answers is None:
            raise NotImplementedError(f"Task {self.name!r} needs an answer format or an `extract` of its own.")
        found = self.answers.find(text)
        return found.answer if found else None

    def found(self, text: str, problem: Problem | None = None) -> Found | None:
        """The final answer of a finished text, in canonical form, and how it was found; None when there is none.

        A problem tells what its options are.
        """
        if self.answers is None:
            answer = self.extract(text)
            return None if answer is None else Found(answer, "phrase")
        return self.answers.final(text, problem.facts.get("options") if problem else None)

    def final(self, text: str, problem: Problem | None = None) -> str | None:
        """The final answer of a finished text, in canonical form: stated, or else standing unmarked at its end."""
        found = self.found(text, problem)
        return found.answer if found else None

    @abstractmethod
    def matches(self, answer: str, problem: Problem) -> bool:
        """Whether an extracted answer is right for this problem."""

    def matches_printed(self, answer: str, problem: Problem) -> bool:
        """Whether a number that a program printed is right: it may be rounded after `PRINTED_DIGITS` digits."""
        return self.matches(answer, problem) or agrees_to(answer, problem.answer, PRINTED_DIGITS)

    def check_steps(self, text: str, problem: Problem) -> list[StepCheck]:
        """The steps found in a text, each judged by the world's own rules (none by default)."""
        return []

    def grade(self, text: str, problem: Problem) -> Grade:
        """Correct, wrong or unparsable; never raises on what a model wrote."""
        answer = self.final(text, problem)
        if answer is None:
            return Grade.UNPARSABLE
        return Grade.CORRECT if self.matches(answer, problem) else Grade.WRONG

    def prompt(self, problem: Problem, style: str = "cot", examples: Sequence[tuple[Problem, str]] = ()) -> Prompt:
        """The prompt for a problem in a style, with worked examples (problem, solution text)."""
        if style not in INSTRUCTIONS:
            raise ValueError(f"There is no style {style!r}; choose one of {', '.join(INSTRUCTIONS)}.")
        shown = tuple((p.question, s) for p, s in examples)
        ask = self.answers.ask if self.answers else ASK_FOR_ANSWER
        asked = "" if style in _NO_ANSWER_ASKED else ask
        plain = f"{PLAIN_INSTRUCTIONS[style]} {asked}".strip()
        return Prompt(problem.question, INSTRUCTIONS[style], shown, plain=plain)

    def problems(
        self,
        n: int,
        *,
        split: Split = "validation",
        seed: int = 0,
        difficulty: int | Sequence[int] | None = None,
        templates: Templates = "train",
    ) -> list[Problem]:
        """`n` problems of a split, distinct by canonical form, difficulties taken in turn.

        Raises ValueError for an unknown split or when the split holds too few forms.
        """
        if split not in SPLIT_BOUNDS:
            raise ValueError(f"There is no split {split!r}; choose one of {', '.join(SPLIT_BOUNDS)}.")
        wanted = self.difficulties if difficulty is None else difficulty
        levels = [wanted] if isinstance(wanted, int) else list(wanted)
        # The split is part of the seed: equal seeds in two splits share no random stream.
        rng = Random(f"{self.name}/{split}/{seed}/{templates}")
        seen: set[str] = set()
        made: list[Problem] = []
        for i in range(n):
            level = levels[i % len(levels)]
            for _ in range(10_000):
                problem = self.draw(rng, level, templates)
                if problem.canonical not in seen and split_of(problem.canonical) == split:
                    break
            else:
                raise ValueError(
                    f"Task {self.name!r} has no more distinct {split} problems of difficulty {level}; "
                    f"ask for fewer than {n}."
                )
            seen.add(problem.canonical)
            made.append(replace(problem, id=f"{self.name}-{split}-{seed}-{i}"))
        return made
