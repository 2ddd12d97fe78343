"""The skills that techniques ask for, in plain English: what instruct models are asked, beside `prompts`.

A step is shown on a line of its own, with its number. Short worked examples stand where a model of 135 million
parameters does not find the form without them. The question itself ends with what is asked, for a prompt without a
chat template shows the instruction (`Prompt.plain`) only where it has no examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from srm_utils.tasks.problem import ASK_FOR_ANSWER, PLAIN_INSTRUCTIONS, Problem, Prompt, Task
from srm_utils.tasks.worlds.deduction import SplitEvidenceTask
from srm_utils.tasks.worlds.graph import lookup_prompt
from srm_utils.tasks.worlds.sorting import mend_prompt, merge_prompt, sort_prompt

_STEP_BY_STEP = f"{PLAIN_INSTRUCTIONS['cot']} {ASK_FOR_ANSWER}"
_YES_OR_NO = "Answer Yes or No."

# ---------------------------------------------------------------- what is shown

_PENS = "Ann has 12 pens. She buys 5 more and gives 3 away. How many pens does she have?"
_EGGS = "A box holds 6 eggs. Tom has 4 boxes and eats 2 eggs. How many eggs are left?"


def shown(question: str, steps: Sequence[str]) -> str:
    """A question with steps already written under it, a line each.

    >>> shown("What is 2 + 3 + 4?", ["2 + 3 = 5"])
    'What is 2 + 3 + 4?\\nStep 1: 2 + 3 = 5.'
    """
    lines = [f"Step {i}: {s.strip().rstrip('.')}." for i, s in enumerate(steps, 1)] or ["No steps yet."]
    return "\n".join([question.strip(), *lines])


def _asked(question: str, steps: Sequence[str], what: str) -> str:
    return f"{shown(question, steps)}\n{what}"


# ---------------------------------------------------------------- steps and verdicts


def next_step(problem: Problem, steps: Sequence[str]) -> Prompt:
    """Asks for the step after these, in one line."""
    what = "What is the next step?"
    examples = (
        (_asked(_PENS, ["12 + 5 = 17"], what), "17 - 3 = 14."),
        (_asked(_EGGS, [], what), "4 * 6 = 24."),
    )
    return Prompt(_asked(problem.question, steps, what), examples=examples, plain="Write one short line.")


def judge_step(problem: Problem, steps: Sequence[str]) -> Prompt:
    """Asks whether the last of these steps is right: Yes or No."""
    examples = (
        (_asked(_PENS, ["12 + 5 = 17"], "Is step 1 right?"), "Yes"),
        (_asked(_EGGS, ["4 * 6 = 24", "24 - 2 = 21"], "Is step 2 right?"), "No"),
    )
    what = f"Is step {len(steps)} right?"
    return Prompt(_asked(problem.question, steps, what), examples=examples, plain=_YES_OR_NO)


def judge_solution(problem: Problem, steps: Sequence[str]) -> Prompt:
    """Asks whether these steps solve the problem: Yes or No."""
    what = "Is this solution right?"
    examples = (
        (_asked(_PENS, ["12 + 5 = 17", "17 - 3 = 14"], what), "Yes"),
        (_asked(_EGGS, ["4 + 6 = 10", "10 - 2 = 8"], what), "No"),
    )
    return Prompt(_asked(problem.question, steps, what), examples=examples, plain=_YES_OR_NO)


def verify(problem: Problem, steps: Sequence[str]) -> Prompt:
    """Asks to work every step out again and to call it right or wrong, and the whole at the end: Yes or No."""
    what = "Check every step. Is the solution right?"
    examples = (
        (
            _asked(_EGGS, ["4 * 6 = 24", "24 - 2 = 21"], what),
            "Step 1: 4 * 6 is 24, right.\nStep 2: 24 - 2 is 22 and not 21, wrong.\nNo.",
        ),
        (
            _asked(_PENS, ["12 + 5 = 17", "17 - 3 = 14"], what),
            "Step 1: 12 + 5 is 17, right.\nStep 2: 17 - 3 is 14, right.\nYes.",
        ),
    )
    plain = "Work out each step again and write right or wrong behind it. End with Yes or No."
    return Prompt(_asked(problem.question, steps, what), examples=examples, plain=plain)


def criticise(problem: Problem, steps: Sequence[str]) -> Prompt:
    """Asks for the first wrong step: "Step 2 is wrong: ...", or "Nothing is wrong." """
    what = "Which step is wrong?"
    examples = (
        (_asked(_EGGS, ["4 * 6 = 24", "24 - 2 = 21"], what), "Step 2 is wrong: 24 - 2 = 22."),
        (_asked(_PENS, ["12 + 5 = 17", "17 - 3 = 14"], what), "Nothing is wrong."),
    )
    plain = "Name the first wrong step and write it rightly, or write: Nothing is wrong."
    return Prompt(_asked(problem.question, steps, what), examples=examples, plain=plain)


def compare(problem: Problem, first: Sequence[str], second: Sequence[str]) -> Prompt:
    """Asks which of two beginnings is the better one: A or B."""

    def two(question: str, a: Sequence[str], b: Sequence[str]) -> str:
        rows = [f"{letter}: {'. '.join(s.rstrip('.') for s in said)}." for letter, said in (("A", a), ("B", b))]
        return "\n".join([question.strip(), *rows, "Which is better, A or B?"])

    examples = (
        (two(_PENS, ["12 + 5 = 18"], ["12 + 5 = 17"]), "B"),
        (two(_EGGS, ["4 * 6 = 24"], ["4 + 6 = 10"]), "A"),
    )
    return Prompt(two(problem.question, first, second), examples=examples, plain="Answer A or B.")


def state_value(numbers: Sequence[int], target: int) -> Prompt:
    """Asks whether numbers can make a target, as a value of a Countdown state: Yes or No."""

    def can(left: Sequence[int], goal: int) -> str:
        return f"Can {', '.join(map(str, left))} make {goal}? Each number may be used once, with +, -, * and /."

    examples = ((can([8, 3], 24), "Yes"), (can([5, 2], 22), "No"))
    return Prompt(can(numbers, target), examples=examples, plain=_YES_OR_NO)


# ---------------------------------------------------------------- solutions in the light of something


def revise(problem: Problem, steps: Sequence[str], critique: str) -> Prompt:
    """Asks for a new solution in the light of a critique."""
    told = f"\nA reader says: {critique.strip()}" if critique.strip() else ""
    plain = f"Solve the problem again, without mistakes. {_STEP_BY_STEP}"
    return Prompt(f"{shown(problem.question, steps)}{told}", plain=plain)


def remember(problem: Problem, notes: Sequence[str]) -> Prompt:
    """Asks for a solution with notes on earlier trials before it."""
    told = "".join(f"\n- {note.strip()}" for note in notes if note.strip())
    told = f"\nNotes on earlier trials:{told}" if told else ""
    return Prompt(f"{problem.question.strip()}{told}", plain=_STEP_BY_STEP)


def debate(problem: Problem, others: Sequence[str]) -> Prompt:
    """Asks for a solution after what others wrote."""
    told = "".join(f"\nPerson {i} says: {' '.join(text.split())}" for i, text in enumerate(others, 1))
    plain = f"They may be wrong. Solve the problem yourself. {_STEP_BY_STEP}"
    return Prompt(f"{problem.question.strip()}{told}", plain=plain)


def plan(problem: Problem) -> Prompt:
    """Asks for the plan alone: "Plan: start with 12, add 5, subtract 3." """
    examples = (
        (f"{_PENS}\nMake a plan.", "Plan: start with 12, add 5, subtract 3."),
        (f"{_EGGS}\nMake a plan.", "Plan: multiply 4 by 6, subtract 2."),
    )
    plain = "Write the plan in one line. Do not solve the problem."
    return Prompt(f"{problem.question.strip()}\nMake a plan.", examples=examples, plain=plain)


def follow(problem: Problem, how: str) -> Prompt:
    """Asks to carry out a plan that somebody made."""
    return Prompt(f"{problem.question.strip()}\n{how.strip()}", plain=f"Follow the plan. {_STEP_BY_STEP}")


def explain(problem: Problem, answer: str) -> Prompt:
    """Gives the answer away and asks for the way to it."""
    return Prompt(
        f"{problem.question.strip()}\nThe right answer is {answer}.",
        plain=f"Explain how to get this answer. {_STEP_BY_STEP}",
    )


def budget(problem: Problem, words: int) -> Prompt:
    """Asks for a solution of at most so many words."""
    return Prompt(problem.question, plain=f"Use at most {words} words. {_STEP_BY_STEP}")


def again(problem: Problem) -> Prompt:
    """Asks to solve, say "Wait", check and solve anew."""
    plain = f"Solve the problem. Then write Wait, look for mistakes, and solve it again. {ASK_FOR_ANSWER}"
    return Prompt(problem.question, plain=plain)


def rewrite(problem: Problem) -> Prompt:
    """Asks for the same question in other words."""
    examples = ((_PENS, "Ann had 12 pens. After buying 5 pens she gave away 3. How many pens has she now?"),)
    plain = "Write this question in other words. Keep all names and numbers. Do not answer it."
    return Prompt(problem.question, examples=examples, plain=plain)


# ---------------------------------------------------------------- styles with a form of their own


def decompose(task: Task, problem: Problem) -> Prompt:
    """Asks for smaller questions, each answered on its own line behind it."""
    worked = (
        "Question 1: How many pens are there after buying? Answer: 12 + 5 = 17.\n"
        "Question 2: How many pens are there after giving 3 away? Answer: 17 - 3 = 14.\n"
        "The answer is 14."
    )
    return replace(task.prompt(problem, "decompose"), examples=((_PENS, worked),))


def program(task: Task, problem: Problem) -> Prompt:
    """Asks for a Python program that prints the answer."""
    return task.prompt(problem, "program")


def calculator(task: Task, problem: Problem) -> Prompt:
    """Asks for a chain of thought whose sums a calculator finishes behind each "="."""
    # The numbers of an example in the instruction itself are copied by a small model, so that none stands there.
    example = (_EGGS, "4 * 6 = 24\n24 - 2 = 22\nThe answer is 22.")
    plain = f"Think step by step. Write each calculation as an equation. {ASK_FOR_ANSWER}"
    return replace(task.prompt(problem, "tool"), examples=(example,), plain=plain)


def look_up(problem: Problem) -> Prompt:
    """Asks for a chain of thought that looks every fact up: "Look up Ann:"."""
    asked = lookup_prompt(problem)
    worked = (
        "Look up Ann: Ann has 3 more than Bob.\nLook up Bob: Bob has 4.\n"
        "Ann has 3 + 4 = 7.\nThe answer is 7."
    )  # fmt: skip
    example = ("Some friends collect pens. How many pens does Ann have?", worked)
    plain = f'To learn about a person, write "Look up NAME:" on a line of its own. {_STEP_BY_STEP}'
    return replace(asked, instruction="", examples=(example,), plain=plain)


def message(task: SplitEvidenceTask, problem: Problem, agent: int, said: Sequence[str], final: bool) -> Prompt:
    """Asks an agent that knows half of the facts for a message to the other, or at last for the answer."""
    asked = task.agent_prompt(problem, agent, said, final)
    if final:
        return replace(asked, plain=f"{PLAIN_INSTRUCTIONS['cot']} End with: The answer is yes. Or: The answer is no.")
    examples = (
        ("Sam is kind if tall. Is Sam kind?", "Message: Sam is kind if tall."),
        ("Everyone is calm if old. Is Eve calm? Message: Eve is old.", "Eve is calm if old. The answer is yes."),
    )
    plain = "Your partner knows other facts. Send a message with a fact that helps, or state the answer."
    return replace(asked, examples=examples, plain=plain)


# ---------------------------------------------------------------- sorting, in parts

_LIST = "Write all these numbers from small to large. Begin with: The answer is"


def sort_part(numbers: Sequence[int]) -> Prompt:
    """Asks for a list from small to large."""
    example = ("Sort 7 2 5 from small to large.", "The answer is 2 5 7.")
    return replace(sort_prompt(numbers), examples=(example,), plain=_LIST)


def merge_parts(left: Sequence[int], right: Sequence[int]) -> Prompt:
    """Asks to make one sorted list of two."""
    example = ("Merge 2 7 and 3 5.", "The answer is 2 3 5 7.")
    return replace(merge_prompt(left, right), examples=(example,), plain=_LIST)


def mend_merge(left: Sequence[int], right: Sequence[int], merged: Sequence[int]) -> Prompt:
    """Asks to mend a merged list that is not right."""
    example = ("Merge 2 7 and 3 5: 2 3 7.\nThis is wrong. Mend it.", "The answer is 2 3 5 7.")
    asked = mend_prompt(left, right, merged)
    return replace(
        asked, question=f"{asked.question}\nThis is wrong. Mend it.", examples=(example,), plain=_LIST, instruction=""
    )
