"""What a model is asked besides solving: one prompt for each skill that techniques call on.

The bundled family has read every one of these forms (`srm_utils.models.documents` writes their
answers); other models are asked in the same words. Steps and solutions are passed as they were
written, so that a technique can put a model's own text back before it.
"""

from __future__ import annotations

from collections.abc import Sequence

from srm_utils.tasks.problem import INSTRUCTIONS, Problem, Prompt

#: What a chain says when it goes on after an answer (muennighoff2025s1's "Wait").
AGAIN = "Wait."
#: The words that `budget_prompt` was trained with.
WORD_BUDGETS = (5, 10, 20, 40, 80)


def steps_question(problem: Problem, steps: Sequence[str]) -> str:
    """A problem with steps already written under it.

    >>> from srm_utils.tasks import get_task
    >>> steps_question(get_task("chain").problems(1, difficulty=1)[0], []).endswith("No steps yet.")
    True
    """
    return f"{problem.question} Steps: {'. '.join(steps)}." if steps else f"{problem.question} No steps yet."


def next_step_prompt(problem: Problem, steps: Sequence[str]) -> Prompt:
    """Asks for the step after these: "12 + 5 = 17." """
    return Prompt(steps_question(problem, steps), "What is the next step?")


def judge_step_prompt(problem: Problem, steps: Sequence[str]) -> Prompt:
    """Asks whether the last of these steps is right: "Yes." or "No." """
    return Prompt(steps_question(problem, steps), "Is the last step right?")


def judge_solution_prompt(problem: Problem, steps: Sequence[str]) -> Prompt:
    """Asks whether these steps solve the problem: "Yes." or "No." """
    return Prompt(steps_question(problem, steps), "Is this solution right?")


def verify_prompt(problem: Problem, steps: Sequence[str]) -> Prompt:
    """Asks to work out each step beside the one shown (zhang2025generative): "12 + 5 = 17 told 17 right. ... Yes."

    The text ends in "Yes." or, at the first step that differs, in "No."
    """
    return Prompt(steps_question(problem, steps), "Check every step.")


def critique_prompt(problem: Problem, steps: Sequence[str]) -> Prompt:
    """Asks for the first wrong step: "Step 2 is wrong: 17 - 3 = 13." or "Nothing is wrong." """
    return Prompt(steps_question(problem, steps), "What is wrong?")


def revise_prompt(problem: Problem, steps: Sequence[str], critique: str) -> Prompt:
    """Asks for a new solution in the light of a critique: a chain of thought with its answer."""
    return Prompt(f"{steps_question(problem, steps)} {critique}", "Write it again.")


def remember_prompt(problem: Problem, notes: Sequence[str]) -> Prompt:
    """Asks for a solution with notes on earlier trials before it (shinn2023reflexion).

    A note is a critique as `critique_prompt` gets it, or "The answer 13 is wrong."
    """
    told = f" Earlier: {' '.join(notes)}" if notes else ""
    return Prompt(f"{problem.question}{told}", INSTRUCTIONS["cot"])


def compare_prompt(problem: Problem, first: Sequence[str], second: Sequence[str]) -> Prompt:
    """Asks which of two beginnings is the better one: "A." or "B." (the vote of yao2023tree)."""
    shown = f"A: {'. '.join(first)}. B: {'. '.join(second)}."
    return Prompt(f"{problem.question} {shown}", "Which is better, A or B?")


def debate_prompt(problem: Problem, others: Sequence[str]) -> Prompt:
    """Asks for a solution after what others wrote (du2023improving): a chain of thought with its answer."""
    told = "".join(f" One says: {text.strip()}" for text in others)
    return Prompt(f"{problem.question}{told}", INSTRUCTIONS["cot"])


def plan_prompt(problem: Problem) -> Prompt:
    """Asks for the plan alone: "Plan: start with 12, add 5." """
    return Prompt(problem.question, "Make a plan.")


def follow_prompt(problem: Problem, plan: str) -> Prompt:
    """Asks to carry out a plan that somebody made: a chain of thought with its answer."""
    return Prompt(f"{problem.question} {plan.strip()}", "Follow the plan.")


def budget_prompt(problem: Problem, words: int) -> Prompt:
    """Asks for a solution of at most so many words; `WORD_BUDGETS` are those the bundled family knows."""
    return Prompt(problem.question, f"Use at most {words} words.")


def again_prompt(problem: Problem) -> Prompt:
    """Asks to solve, say "Wait.", and solve anew: two solutions, of which the last one counts."""
    return Prompt(problem.question, "Solve it, then think again.")


def explain_prompt(problem: Problem, answer: str) -> Prompt:
    """Gives the answer away and asks for the way to it (the rationalisation of zelikman2022star)."""
    return Prompt(f"{problem.question} The answer is {answer}.", "Explain it.")


def rewrite_prompt(problem: Problem) -> Prompt:
    """Asks for the same question in other words (the rephrasing of yu2024metamath)."""
    return Prompt(problem.question, "Write the question in other words.")
