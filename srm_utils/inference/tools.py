"""Tools inside generation: the model writes a call, the engine pauses, the tool answers, generation goes on.

A calculator finishes the sums that the model writes (cobbe2021training, schick2023toolformer); a look-up tool
answers one question at a time, so that the model thinks and acts in turn (yao2023react). A tool's words are read
and not drawn: they cost FLOPs like a prompt's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from srm_utils.inference.asking import ask, chat_of
from srm_utils.inference.entry import Setting, made_for, needs_style, solver
from srm_utils.inference.programs import plain_number
from srm_utils.inference.sandbox import Sandbox
from srm_utils.inference.solver import Attempt, Budget, Solver, attempt
from srm_utils.inference.voting import plurality
from srm_utils.sampling.completion import group_cost
from srm_utils.tasks import dialects
from srm_utils.tasks.dialects import CALCULATOR, Dialect, in_dialect
from srm_utils.tasks.problem import Problem, Prompt, Task
from srm_utils.tasks.worlds.graph import lookup_prompt, lookup_solution, lookup_table

if TYPE_CHECKING:
    from srm_utils.models import LanguageModel

#: What a call of the calculator begins with; it ends in "=".
CALL = "Calculator:"
#: What a call of the look-up tool begins with; it ends in ":".
LOOK_UP = "Look up"

# Digits and signs alone, at least one sign between two numbers: nothing that a program could be made of.
_SUM = re.compile(r"[\d\s()+\-*/.]{1,200}")
_OPERATION = re.compile(r"[\d)]\s*[+\-*/]")
#: A sum in plain English: numbers with signs between them, behind which "=" was written.
_NUMBER = r"(?:\( ?)*\$?\d[\d,]*(?:\.\d+)?(?: ?\))*"
_WRITTEN = re.compile(rf"(?<![\d.,])(?:{_NUMBER} ?[-+*/×÷x] ?)+{_NUMBER}$")
_QUERY = re.compile(rf"{LOOK_UP}\s+([^:.?\n]{{1,80}}):$")


@dataclass
class Calculator:
    """Answers the sum that a text ends in: "Calculator: 12 + 5 =" with " 17". Sums run in the sandbox.

    The family calls it by its name; of other models every sum before "=" is taken. `asked` counts the sums, `refused`
    those that have no result, which the model must finish by itself.
    """

    sandbox: Sandbox
    dialect: Dialect = "family"
    asked: int = 0
    refused: int = 0
    _known: dict[str, str | None] = field(default_factory=dict)

    def __call__(self, text: str) -> str | None:
        """The tool's words after a text that has just written "="; None where it hands over no sum."""
        sum_ = handed_over(text) if self.dialect == "family" else written_sum(text)
        if sum_ is None:
            return None
        self.asked += 1
        if sum_ not in self._known:
            printed = self.sandbox.run([f"print({sum_})"])[0].answer
            self._known[sum_] = None if printed is None else f" {plain_number(printed)}"
        self.refused += self._known[sum_] is None
        return self._known[sum_]


def handed_over(text: str) -> str | None:
    """The sum that a text hands to the calculator with its last "="; None where there is none.

    >>> handed_over("Calculator: Mary = Leo + 4 = 5 + 4 ="), handed_over("Calculator: Mary ="), handed_over("5 + 4 =")
    ('5 + 4', None, None)
    """
    before, call, said = text.rpartition(CALL)
    said = said.rstrip()
    if not call or not said.endswith("=") or re.search(r"\.\s", said):
        return None
    last = said[:-1].rpartition("=")[2].strip()
    return last if _SUM.fullmatch(last) and _OPERATION.search(last) else None


def written_sum(text: str) -> str | None:
    """The sum before the "=" that a text in plain English ends in, as a program writes it; None where there is none.

    >>> written_sum("1. She pays $3.50 × 2 ="), written_sum("x + 2 ="), written_sum("So 1,200 / (3 + 1) =")
    ('3.50 * 2', None, '1200 / (3 + 1)')
    """
    ends = " ".join(text[-200:].split())
    found = _WRITTEN.search(ends.removesuffix("=").rstrip())
    if not ends.endswith("=") or found is None:
        return None
    plain = found[0].strip().translate(str.maketrans("×÷x", "*/*", "$,"))
    return re.sub(r"\b0+(?=\d)", "", plain)


@dataclass(frozen=True)
class CalculatorCalls:
    """Asks to use a calculator, and answers every sum the model writes with its exact result.

    Without the tool's answers it would be `Prompting(task, "tool")`, where the model fills in results of its own.
    `examples` are worked (problem, solution) pairs for models that do not know the form. With `budget.samples`
    above 1 the answers vote; the attempt's trace is the list of completions.
    """

    task: Task
    style: str = "tool"
    examples: tuple[tuple[Problem, str], ...] = ()
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    name: str = "calculator calls"

    def solve(self, problems: Sequence[Problem], model: LanguageModel, budget: Budget) -> list[Attempt]:
        prompts = [self.task.prompt(p, self.style, self.examples) for p in problems]
        if self.style == "tool" and not self.examples:
            prompts = [ask(model, CALCULATOR, self.task, p) for p in problems]
        with Sandbox() as sandbox:
            groups = model.sample(
                prompts,
                budget.samples,
                budget.max_new_tokens,
                self.temperature,
                self.top_p,
                seed=self.seed,
                pause_strings=("=",),
                pause=Calculator(sandbox, chat_of(model).dialect),
            )
        attempts = []
        for problem, group in zip(problems, groups, strict=True):
            answers = [self.task.final(c.text, problem) for c in group]
            cost = group_cost(group)
            attempts.append(attempt(self.task, problem, plurality(answers), group, cost, answers.count(None)))
        return attempts


@dataclass(frozen=True)
class LookUp:
    """A tool that knows one thing about each name: answers "Look up Mary:" with " Mary has 4 more than Leo."."""

    table: Mapping[str, str]

    def __call__(self, text: str) -> str | None:
        """The tool's words after a text that has just written ":"; None where nothing is looked up.

        >>> LookUp({"Mary": "Mary has 5."})("Look up Mary:"), LookUp({})("Look up Leo:"), LookUp({})("So:")
        (' Mary has 5.', ' Nothing is known.', None)
        """
        asked = _QUERY.search(text)
        if asked is None:
            return None
        query = asked[1].strip()
        # "Look up Ann's pens:" asks for Ann, if the table knows nobody else in it.
        names = [query] if query in self.table else [n for n in self.table if re.search(rf"\b{re.escape(n)}\b", query)]
        return f" {self.table[names[0]] if len(names) == 1 else 'Nothing is known.'}"


@dataclass(frozen=True)
class ReAct:
    """Thinks and acts in turn: the facts are behind a look-up tool and come one at a time as asked (yao2023react).

    `prompt` is what the model is asked, without the facts, in the model's dialect, and `table` what the tool knows of a
    problem. `examples` are worked problems for models that do not know the form. With `budget.samples` above 1 the
    answers vote; the attempt's trace is the list of completions.
    """

    task: Task
    prompt: Callable[[Problem], Prompt] = lookup_prompt
    table: Callable[[Problem], Mapping[str, str]] = lookup_table
    examples: tuple[Problem, ...] = ()
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    name: str = "ReAct"

    def solve(self, problems: Sequence[Problem], model: LanguageModel, budget: Budget) -> list[Attempt]:
        make = in_dialect(self.prompt, chat_of(model).dialect)
        prompts = [make(p) for p in problems]
        if self.examples:
            shown = tuple((make(p).question, lookup_solution(p)) for p in self.examples)
            prompts = [replace(prompt, examples=shown) for prompt in prompts]
        groups = model.sample(
            prompts,
            budget.samples,
            budget.max_new_tokens,
            self.temperature,
            self.top_p,
            seed=self.seed,
            pause_strings=(":",),
            pause=[LookUp(self.table(p)) for p in problems],
        )
        attempts = []
        for problem, group in zip(problems, groups, strict=True):
            answers = [self.task.final(c.text, problem) for c in group]
            cost = group_cost(group)
            attempts.append(attempt(self.task, problem, plurality(answers), group, cost, answers.count(None)))
        return attempts


@solver(
    "calculator",
    "the vote of N chains whose sums a calculator does (cobbe2021training)",
    notebook="26",
    skills=(CALCULATOR,),
    missing=needs_style("tool"),
)
def _calculator(setting: Setting, size: int) -> Solver:
    return CalculatorCalls(setting.task, seed=setting.seed, temperature=setting.heat_of(size))


@solver(
    "react",
    "the vote of N chains that look every fact up (yao2023react)",
    notebook="26",
    skills=(dialects.LOOK_UP,),
    missing=made_for("graph"),
)
def _react(setting: Setting, size: int) -> Solver:
    return ReAct(setting.task, seed=setting.seed, temperature=setting.heat_of(size))
