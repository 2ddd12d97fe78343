"""Every skill that a technique asks a model for: its prompt and the reader of its reply, as a pair, in two dialects.

"family" is the language that the bundled models grew up on (`prompts`), "instruct" is plain English
(`plain_prompts`). This module stands in the room `tasks`, below training and inference, which both ask and read.

A reader returns what was said, or None (or a tuple of None) where the reply does not say it. Verdicts of one word
("Yes" or "No", "A" or "B") are not read at all where a model can weigh both words: `inference.thoughts.says`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from srm_utils.tasks import plain_prompts as plain
from srm_utils.tasks import prompts as family
from srm_utils.tasks.problem import Problem, Prompt, Task
from srm_utils.tasks.replies import choice, critique, family_check, family_verdict, plain_check, verdict
from srm_utils.tasks.steps import plain_steps, steps_in
from srm_utils.tasks.worlds.countdown import value_prompt
from srm_utils.tasks.worlds.deduction import SplitEvidenceTask
from srm_utils.tasks.worlds.graph import lookup_prompt
from srm_utils.tasks.worlds.sorting import mend_prompt, merge_prompt, sort_prompt

Dialect = Literal["family", "instruct"]
DIALECTS: tuple[Dialect, ...] = ("family", "instruct")


@dataclass(frozen=True)
class Skill:
    """One thing that a model can be asked for.

    `asks` says in a sentence what it is asked, `reads` what can be read of its reply. `prompts` makes the prompt, and
    `readers` reads the reply, by dialect; a skill without readers ends in an answer, which the task reads.

    >>> from srm_utils.tasks import get_task
    >>> problem = get_task("chain").problems(1, difficulty=1)[0]
    >>> JUDGE_STEP.prompt("instruct", problem, ["2 + 3 = 5"]).plain, JUDGE_STEP.read("instruct", "**No**, it is not.")
    ('Answer Yes or No.', False)
    """

    name: str
    asks: str
    reads: str
    prompts: Mapping[Dialect, Callable[..., Prompt]]
    readers: Mapping[Dialect, Callable[[str], Any]] | None = None

    def prompt(self, dialect: Dialect, *about: Any) -> Prompt:
        """The prompt in a dialect; `about` is what the skill's functions take."""
        return self.prompts[dialect](*about)

    def read(self, dialect: Dialect, reply: str) -> Any:
        """What a written reply says. Raises TypeError for a skill whose reply is an answer."""
        if self.readers is None:
            raise TypeError(f"The reply to {self.name!r} ends in an answer; read it with the task's `extract`.")
        return self.readers[dialect](reply)


def steps_of(dialect: Dialect, text: str, problem: Problem) -> list[str]:
    """The steps of a solution that a model of this dialect wrote.

    >>> from srm_utils.tasks import get_task
    >>> problem = get_task("chain").problems(1, difficulty=1)[0]
    >>> steps_of("instruct", "1. Ann pays 3.5 dollars.\\n2. 5 - 3.5 = 1.5\\nThe answer is 1.5.", problem)
    ['Ann pays 3.5 dollars', '5 - 3.5 = 1.5']
    """
    return steps_in(text, problem) if dialect == "family" else plain_steps(text)


def in_dialect(ask: Callable[..., Prompt], dialect: Dialect) -> Callable[..., Prompt]:
    """A function of `prompts` as it is asked in a dialect; any other function as it is.

    >>> in_dialect(family.judge_step_prompt, "instruct") is plain.judge_step, in_dialect(len, "instruct") is len
    (True, True)
    """
    for skill in SKILLS.values():
        if skill.prompts["family"] is ask:
            return skill.prompts[dialect]
    return ask


# ---------------------------------------------------------------- readers of their own


def _both(read: Callable[[str], Any]) -> dict[Dialect, Callable[[str], Any]]:
    return {"family": read, "instruct": read}


def _something(reply: str) -> str | None:
    """The reply itself, None for an empty one."""
    return reply.strip() or None


def _first_line(reply: str) -> str | None:
    steps = plain_steps(reply)
    return steps[0] if steps else None


def _question(reply: str) -> str | None:
    """A rewritten question: the reply's first lines up to its last question mark; None where it asks nothing."""
    said = reply.strip().split("\n\n")[0].strip()
    return said[: said.rindex("?") + 1] if "?" in said else None


# ---------------------------------------------------------------- the skills

_VERDICTS: dict[Dialect, Callable[[str], Any]] = {"family": family_verdict, "instruct": verdict}
_VERDICT = "P(Yes) against P(No); in writing: yes, no, right, wrong and their kin"

NEXT_STEP = Skill(
    "next step", "the step after those shown", "the first line that holds a step",
    {"family": family.next_step_prompt, "instruct": plain.next_step}, {"family": _something, "instruct": _first_line},
)  # fmt: skip
JUDGE_STEP = Skill(
    "judge a step", "whether the last step is right", _VERDICT,
    {"family": family.judge_step_prompt, "instruct": plain.judge_step}, _VERDICTS,
)  # fmt: skip
JUDGE_SOLUTION = Skill(
    "judge a solution", "whether the whole solution is right", _VERDICT,
    {"family": family.judge_solution_prompt, "instruct": plain.judge_solution}, _VERDICTS,
)  # fmt: skip
VERIFY = Skill(
    "verify every step", "to work out every step again and to judge the whole",
    "right or wrong behind every step, and a verdict at the end",
    {"family": family.verify_prompt, "instruct": plain.verify}, {"family": family_check, "instruct": plain_check},
)  # fmt: skip
CRITICISE = Skill(
    "criticise", "which step is wrong", "the number of a wrong step, or that nothing is wrong",
    {"family": family.critique_prompt, "instruct": plain.criticise}, _both(critique),
)  # fmt: skip
REVISE = Skill(
    "revise", "a new solution in the light of a critique", "the stated answer",
    {"family": family.revise_prompt, "instruct": plain.revise},
)  # fmt: skip
REMEMBER = Skill(
    "try again", "a solution with notes on earlier trials", "the stated answer",
    {"family": family.remember_prompt, "instruct": plain.remember},
)  # fmt: skip
COMPARE = Skill(
    "compare two", "which of two beginnings is better", "P(A) against P(B); in writing: the letter",
    {"family": family.compare_prompt, "instruct": plain.compare}, _both(choice),
)  # fmt: skip
STATE_VALUE = Skill(
    "value a state", "whether the numbers left can make the target", _VERDICT,
    {"family": value_prompt, "instruct": plain.state_value}, _VERDICTS,
)  # fmt: skip
DEBATE = Skill(
    "hear others", "a solution after what others wrote", "the stated answer",
    {"family": family.debate_prompt, "instruct": plain.debate},
)  # fmt: skip
PLAN = Skill(
    "plan", "a plan and no solution", "any text as the plan",
    {"family": family.plan_prompt, "instruct": plain.plan}, _both(_something),
)  # fmt: skip
FOLLOW = Skill(
    "follow a plan", "a solution that carries out a plan", "the stated answer",
    {"family": family.follow_prompt, "instruct": plain.follow},
)  # fmt: skip
BUDGET = Skill(
    "budget of words", "a solution of at most so many words", "the stated answer",
    {"family": family.budget_prompt, "instruct": plain.budget},
)  # fmt: skip
AGAIN = Skill(
    "think again", 'a solution, "Wait", and a second solution', "the stated answer, the last one",
    {"family": family.again_prompt, "instruct": plain.again},
)  # fmt: skip
EXPLAIN = Skill(
    "explain an answer", "the way to an answer that is given away", "the stated answer",
    {"family": family.explain_prompt, "instruct": plain.explain},
)  # fmt: skip
REWRITE = Skill(
    "rewrite the question", "the same question in other words", "the text up to its question mark",
    {"family": family.rewrite_prompt, "instruct": plain.rewrite}, {"family": _something, "instruct": _question},
)  # fmt: skip
SOLVE = Skill(
    "solve", "a solution, in the style of the solver", "the stated answer",
    {"family": lambda task, problem, style: task.prompt(problem, style),
     "instruct": lambda task, problem, style: task.prompt(problem, style)},
)  # fmt: skip


def _style(style: str) -> Callable[[Task, Problem], Prompt]:
    return lambda task, problem: task.prompt(problem, style)


DECOMPOSE = Skill(
    "decompose", "smaller questions with their answers", "a question up to its mark, an answer up to its end",
    {"family": _style("decompose"), "instruct": plain.decompose},
)  # fmt: skip
PROGRAM = Skill(
    "write a program", "a Python program that prints the answer", "the last fenced program, or the whole text",
    {"family": _style("program"), "instruct": plain.program},
)  # fmt: skip
CALCULATOR = Skill(
    "call a calculator", "a chain of thought whose sums a tool finishes", 'the sum before "=", and the stated answer',
    {"family": _style("tool"), "instruct": plain.calculator},
)  # fmt: skip
LOOK_UP = Skill(
    "look up", "a chain of thought that looks every fact up", '"Look up NAME:", and the stated answer',
    {"family": lookup_prompt, "instruct": plain.look_up},
)  # fmt: skip


def _message(task: SplitEvidenceTask, problem: Problem, agent: int, said: Sequence[str], final: bool) -> Prompt:
    return task.agent_prompt(problem, agent, said, final)


MESSAGE = Skill(
    "send a message", "a message to an agent with other facts, or the answer", '"Message:", or the stated answer',
    {"family": _message, "instruct": plain.message},
)  # fmt: skip
SORT = Skill(
    "sort a list", "a list from small to large", "the stated list",
    {"family": sort_prompt, "instruct": plain.sort_part},
)  # fmt: skip
MERGE = Skill(
    "merge two lists", "one sorted list of two", "the stated list",
    {"family": merge_prompt, "instruct": plain.merge_parts},
)  # fmt: skip
MEND = Skill(
    "mend a list", "a merged list without its error", "the stated list",
    {"family": mend_prompt, "instruct": plain.mend_merge},
)  # fmt: skip

#: Every skill by its name.
SKILLS: dict[str, Skill] = {
    skill.name: skill
    for skill in (
        SOLVE, NEXT_STEP, JUDGE_STEP, JUDGE_SOLUTION, VERIFY, CRITICISE, REVISE, REMEMBER, COMPARE, STATE_VALUE, DEBATE,
        PLAN, FOLLOW, BUDGET, AGAIN, EXPLAIN, REWRITE, DECOMPOSE, PROGRAM, CALCULATOR, LOOK_UP, MESSAGE, SORT, MERGE,
        MEND,
    )
}  # fmt: skip
