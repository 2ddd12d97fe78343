"""Programs as thoughts: the model writes the steps as a program and an interpreter computes them.

Program of thought asks for a program and runs it (chen2022program); PAL shows worked problems whose solutions
are programs (gao2023pal). Either way the model has to reason, but no longer to calculate. Programs run in the
`sandbox`, never in this process.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from srm_utils.inference.chain_of_thought import worked_examples
from srm_utils.inference.entry import Setting, needs_style, solver
from srm_utils.inference.program_text import plain_number, program_in, stated_answer, with_print
from srm_utils.inference.sandbox import Limits, Outcome, Sandbox
from srm_utils.inference.solver import Attempt, Budget, Solver, attempt
from srm_utils.inference.voting import plurality
from srm_utils.sampling.completion import Completion, group_cost
from srm_utils.tasks.dialects import PROGRAM, Dialect
from srm_utils.tasks.problem import Problem, Task

if TYPE_CHECKING:
    from srm_utils.models import LanguageModel

__all__ = [
    "PAL_EXAMPLES", "ProgramAided", "ProgramOfThought", "ProgramRun", "pal_examples", "plain_number", "program_in",
    "stated_answer", "vote_of_programs", "with_print",
]  # fmt: skip

#: Worked problems for models that know Python but not our programs, in PAL's manner: the names say what a
#: number is, comments carry the thought, a function returns the answer.
PAL_EXAMPLES: tuple[tuple[str, str, str], ...] = (
    (
        "A baker has 6 trays of 12 rolls and sells 45 rolls. One roll costs 2 coins. How much are the rest worth?",
        "def solution():\n"
        "    # 6 trays of 12 rolls\n"
        "    rolls_baked = 6 * 12\n"
        "    # 45 are sold\n"
        "    rolls_left = rolls_baked - 45\n"
        "    # each one costs 2 coins\n"
        "    worth = rolls_left * 2\n"
        "    return worth",
        "54",
    ),
    (
        "Nora reads 14 pages a day from Monday to Friday and 20 a day at the weekend. How many pages in 3 weeks?",
        "def solution():\n"
        "    # five working days and two days of weekend\n"
        "    pages_a_week = 5 * 14 + 2 * 20\n"
        "    weeks = 3\n"
        "    return pages_a_week * weeks",
        "330",
    ),
    (
        "A tank holds 90 litres and is a third full. A pump adds 4 litres a minute. After how many minutes is it full?",
        "def solution():\n"
        "    capacity = 90\n"
        "    # a third is there already\n"
        "    missing = capacity - capacity / 3\n"
        "    litres_a_minute = 4\n"
        "    return missing / litres_a_minute",
        "15",
    ),
)


@dataclass(frozen=True, slots=True)
class ProgramRun:
    """A program as the model wrote it, what came of running it, and the answer that it states."""

    program: str
    outcome: Outcome
    answer: str | None


@dataclass(frozen=True)
class ProgramOfThought:
    """Asks for a program, runs it, and answers what it prints (chen2022program).

    With `budget.samples` above 1 the answers of that many programs vote, for which `temperature` should not be 0;
    refused programs cast no vote. The attempt's trace is the list of `ProgramRun`s.
    """

    task: Task
    style: str = "program"
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    limits: Limits = Limits()
    name: str = "program of thought"

    def solve(self, problems: Sequence[Problem], model: LanguageModel, budget: Budget) -> list[Attempt]:
        prompts = [self.task.prompt(p, self.style) for p in problems]
        groups = model.sample(
            prompts, budget.samples, budget.max_new_tokens, self.temperature, self.top_p, seed=self.seed
        )
        return vote_of_programs(self.task, problems, groups, self.limits)


@dataclass(frozen=True)
class ProgramAided:
    """Shows worked problems whose solutions are programs before it asks for one, and runs what is written (gao2023pal).

    `examples` are (question, program) pairs; see `pal_examples`. Votes like `ProgramOfThought`.
    """

    task: Task
    examples: tuple[tuple[str, str], ...]
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    limits: Limits = Limits()

    @property
    def name(self) -> str:
        return f"PAL, {len(self.examples)} examples"

    def solve(self, problems: Sequence[Problem], model: LanguageModel, budget: Budget) -> list[Attempt]:
        prompts = [replace(self.task.prompt(p, "program"), examples=self.examples) for p in problems]
        groups = model.sample(
            prompts, budget.samples, budget.max_new_tokens, self.temperature, self.top_p, seed=self.seed
        )
        return vote_of_programs(self.task, problems, groups, self.limits)


def pal_examples(task: Task, shots: int = 2, difficulty: int = 2, seed: int = 0) -> tuple[tuple[str, str], ...]:
    """Worked (question, program) pairs: the task's own where it writes programs, else `PAL_EXAMPLES`.

    >>> from srm_utils.tasks import get_task
    >>> [program[-11:] for _, program in pal_examples(get_task("chain"), shots=2)]
    ['print ( x )', 'print ( x )']
    """
    if "program" in task.styles:
        return tuple((p.question, program) for p, program in worked_examples(task, "program", shots, difficulty, seed))
    return tuple((question, program) for question, program, _ in PAL_EXAMPLES[:shots])


def vote_of_programs(
    task: Task,
    problems: Sequence[Problem],
    groups: Sequence[Sequence[Completion]],
    limits: Limits | None = None,
) -> list[Attempt]:
    """Runs the programs in completions (one group a problem) and holds a plurality vote among their answers.

    Equal programs are run once. The interpreter's work is not counted: no model takes part in it.
    """
    written = [[program_in(c.text) for c in group] for group in groups]
    with Sandbox(limits) as sandbox:
        distinct = list(dict.fromkeys(program for programs in written for program in programs))
        ran = dict(zip(distinct, sandbox.run([with_print(p) for p in distinct]), strict=True))
    attempts = []
    for problem, group, programs in zip(problems, groups, written, strict=True):
        trace = [ProgramRun(p, ran[p], stated_answer(task, ran[p])) for p in programs]
        answer = plurality([run.answer for run in trace])
        cost, unread = group_cost(group), sum(run.answer is None for run in trace)
        attempts.append(attempt(task, problem, answer, trace, cost, unread, printed=True))
    return attempts


def _has_programs(task: Task, partner: bool, dialect: Dialect) -> str:
    fits = dialect == "instruct" or "program" in task.styles or "gsm" in task.name
    return "" if fits else f"The task {task.name!r} has no worked programs to show."


@solver(
    "program-of-thought",
    "the vote of N programs that are run (chen2022program)",
    notebook="26",
    skills=(PROGRAM,),
    missing=needs_style("program"),
)
def _program_of_thought(setting: Setting, size: int) -> Solver:
    return ProgramOfThought(setting.task, seed=setting.seed, temperature=setting.heat_of(size))


@solver(
    "pal",
    "the vote of N programs after two worked ones (gao2023pal)",
    notebook="26",
    skills=(PROGRAM,),
    missing=_has_programs,
)
def _pal(setting: Setting, size: int) -> Solver:
    # The family's Python is a small one, so that it is shown the task's own programs.
    ours = setting.dialect == "family"
    shown = pal_examples(setting.task) if ours else tuple((asked, program) for asked, program, _ in PAL_EXAMPLES[:2])
    return ProgramAided(setting.task, shown, seed=setting.seed, temperature=setting.heat_of(size))
