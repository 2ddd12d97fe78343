"""Skills: one item each of what techniques ask for beside solutions, in the words of `tasks.prompts`."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from srm_utils.models.text.items import NO_ERROR, Item, checked, critique, draw, written, wrong_steps
from srm_utils.tasks import prompts
from srm_utils.tasks.problem import Problem, Prompt, Task


def next_step(task: Task, problem: Problem, rng: Random) -> Item:
    """Given the first steps, write only the next one."""
    at = rng.randrange(len(problem.steps))
    return prompts.next_step_prompt(problem, problem.steps[:at]), f"{problem.steps[at]}."


def judge_step(task: Task, problem: Problem, rng: Random) -> Item:
    """Say whether the last of the steps shown is right."""
    steps, good = attempted(task, problem, rng)
    return prompts.judge_step_prompt(problem, steps), "Yes." if good else "No."


def judge_solution(task: Task, problem: Problem, rng: Random) -> Item:
    """Say whether a whole solution is right."""
    steps, good = attempted(task, problem, rng, whole=True)
    return prompts.judge_solution_prompt(problem, steps), "Yes." if good else "No."


def verify(task: Task, problem: Problem, rng: Random) -> Item:
    """Work out each step and set its result beside the one shown, up to the first that differs; then Yes or No.

    A small model compares two numbers that stand close together, and not a number with one far above.
    """
    steps = list(problem.steps) if rng.random() < 0.5 else task.corrupt(problem, rng)[0]  # type: ignore[attr-defined]
    return prompts.verify_prompt(problem, steps), checked(task, problem, steps)[0]


def criticise(task: Task, problem: Problem, rng: Random) -> Item:
    """Name the first wrong step of a solution."""
    if rng.random() < 0.5:
        return prompts.critique_prompt(problem, problem.steps), NO_ERROR
    steps, at = task.corrupt(problem, rng)  # type: ignore[attr-defined]
    return prompts.critique_prompt(problem, steps), critique(steps, at)


def revise(task: Task, problem: Problem, rng: Random) -> Item:
    """Given a solution and its critique, write it right."""
    right = task.solution(problem, "cot")
    if rng.random() < 0.2:
        return prompts.revise_prompt(problem, problem.steps, NO_ERROR), right
    steps, at = task.corrupt(problem, rng)  # type: ignore[attr-defined]
    return prompts.revise_prompt(problem, steps, critique(steps, at)), right


def remember(task: Task, problem: Problem, rng: Random) -> Item:
    """Solve with notes on one or two earlier trials that failed."""
    notes = []
    for _ in range(rng.randint(1, 2)):
        steps, at = task.corrupt(problem, rng)  # type: ignore[attr-defined]
        answer = steps[-1].rsplit(" ", 1)[1]
        told = rng.random() < 0.5 and answer.isdigit() and answer != problem.answer
        notes.append(f"The answer {answer} is wrong." if told else critique(steps, at))
    return prompts.remember_prompt(problem, notes), task.solution(problem, "cot")


def debate(task: Task, problem: Problem, rng: Random) -> Item:
    """Solve after one or two others have spoken, each right or wrong."""
    right = task.solution(problem, "cot")
    others = [
        right if rng.random() < 0.5 else written(task, problem, wrong_steps(task, problem, rng))
        for _ in range(rng.randint(1, 2))
    ]
    return prompts.debate_prompt(problem, others), right


def think_again(task: Task, problem: Problem, rng: Random) -> Item:
    """Solve, right or wrong, say "Wait." and solve anew."""
    right = task.solution(problem, "cot")
    first = right if rng.random() < 0.5 else written(task, problem, wrong_steps(task, problem, rng))
    return prompts.again_prompt(problem), f"{first} {prompts.AGAIN} {right}"


def compare(task: Task, problem: Problem, rng: Random) -> Item:
    """Say which of two beginnings is right."""
    steps, at = task.corrupt(problem, rng)  # type: ignore[attr-defined]
    good, bad = problem.steps[: at + 1], steps[: at + 1]
    if rng.random() < 0.5:
        return prompts.compare_prompt(problem, good, bad), "A."
    return prompts.compare_prompt(problem, bad, good), "B."


def plan(task: Task, problem: Problem, rng: Random) -> Item:
    """Write a plan, or carry out one that is given."""
    written = task.solution(problem, "plan").split(".")[0] + "."
    if rng.random() < 0.5:
        return prompts.plan_prompt(problem), written
    return prompts.follow_prompt(problem, written), task.solution(problem, "cot")


def keep_to_budget(task: Task, problem: Problem, rng: Random) -> Item:
    """The longest solution within a number of words."""
    texts = [task.solution(problem, s, rng) for s in ("direct", "draft", "cot", "verbose") if s in task.styles]
    words = rng.choice(prompts.WORD_BUDGETS)
    fitting = [t for t in texts if len(t.split()) <= words] or texts[:1]
    return prompts.budget_prompt(problem, words), max(fitting, key=lambda t: len(t.split()))


def explain(task: Task, problem: Problem, rng: Random) -> Item:
    """Given the answer, write the way to it."""
    return prompts.explain_prompt(problem, problem.answer), task.solution(problem, "cot")


def rewrite(task: Task, problem: Problem, rng: Random) -> Item:
    """The same question in other words."""
    return prompts.rewrite_prompt(problem), task.rewrite(problem, rng)  # type: ignore[attr-defined]


def state_value(task: Task, problem: Problem, rng: Random) -> Item:
    """Countdown: can the target still be reached from a state on the way?"""
    from srm_utils.tasks.worlds.countdown import value_prompt
    from srm_utils.tasks.worlds.countdown_states import legal_moves
    from srm_utils.tasks.worlds.countdown_states import state_value as solvable

    numbers, target = tuple(problem.facts["numbers"]), problem.facts["target"]
    for _ in range(rng.randint(0, len(numbers) - 2)):
        numbers = rng.choice(legal_moves(numbers))[1]
    return value_prompt(numbers, target), "Yes." if solvable(numbers, target) else "No."


def compare_moves(task: Task, problem: Problem, rng: Random) -> Item:
    """Countdown: which of two first moves still leads to the target?"""
    from srm_utils.tasks.worlds.countdown_states import legal_moves
    from srm_utils.tasks.worlds.countdown_states import state_value as solvable

    target = problem.facts["target"]
    kinds: dict[bool, list[str]] = {True: [], False: []}
    for move in legal_moves(tuple(problem.facts["numbers"])):
        kinds[solvable(move.after, target)].append(move.step)
    if not kinds[False]:
        return state_value(task, problem, rng)
    good, bad = rng.choice(kinds[True]), rng.choice(kinds[False])
    if rng.random() < 0.5:
        return prompts.compare_prompt(problem, [good], [bad]), "A."
    return prompts.compare_prompt(problem, [bad], [good]), "B."


def look_up(task: Task, problem: Problem, rng: Random) -> Item:
    """Graph: ask a tool for every sentence that is needed, then compute."""
    from srm_utils.tasks.worlds.graph import lookup_prompt, lookup_solution

    return lookup_prompt(problem), lookup_solution(problem)


def recall(task: Task, problem: Problem, rng: Random) -> Item:
    """Graph: say again what was told of some names, in the order asked: looking up and nothing else."""
    from srm_utils.tasks.worlds.graph import lookup_table

    table = lookup_table(problem)
    names = rng.sample(list(table), min(len(table), rng.randint(2, 4)))
    asked = f"{', '.join(names[:-1])} and {names[-1]}"
    return Prompt(problem.question, f"What is told of {asked}?"), " ".join(table[x] for x in names)


def told(task: Task, problem: Problem, rng: Random) -> Item:
    """Deduction: which of some facts are told: the judgement on which every proof ends, and nothing else."""
    facts = [(who, word) for kind, who, word in problem.facts["told"] if kind == "fact"]
    persons = sorted({who for who, _ in facts} | {problem.facts["person"]})
    words = sorted({word for _, *pair in problem.facts["told"] for word in pair} - set(persons))
    true = rng.sample(facts, rng.randint(1, len(facts)))
    pairs = [(who, word) for who in persons for word in words if (who, word) not in facts]
    # Half of what is false joins a person and a fact of another's, so that both must be looked at.
    crossed = [(who, word) for who, word in pairs if any(word == told for _, told in facts)]
    asked = [*true, *rng.sample(crossed, min(2, len(crossed))), *rng.sample(pairs, 1)]
    asked = rng.sample(list(dict.fromkeys(asked)), len(set(asked)))
    listed = ", ".join(f"{who} is {word}" for who, word in asked)
    said = " ".join(f"{who} is {'' if (who, word) in facts else 'not '}{word}." for who, word in asked)
    return Prompt(problem.question, f"Which is told: {listed}?"), said


def agent_message(task: Task, problem: Problem, rng: Random) -> Item:
    """Split evidence: one turn of the exchange without its thought, from an agent's own half and what was said."""
    _, prompt, said = rng.choice(task.exchange(problem))  # type: ignore[attr-defined]
    return prompt, task.sent(said) or said  # type: ignore[attr-defined]


def merge_lists(task: Task, problem: Problem, rng: Random) -> Item:
    """Sorting: merge two sorted lists (the aggregation of Graph of Thoughts)."""
    from srm_utils.tasks.worlds.sorting import merge_prompt, merge_solution

    left, right = _halves(problem, rng)
    return merge_prompt(left, right), merge_solution(left, right)


def mend_lists(task: Task, problem: Problem, rng: Random) -> Item:
    """Sorting: mend a merge that went wrong (the refinement of Graph of Thoughts)."""
    from srm_utils.tasks.worlds.sorting import mend_prompt, merge_solution, wrong_merge

    left, right = _halves(problem, rng)
    return mend_prompt(left, right, wrong_merge(left, right, rng)), merge_solution(left, right)


def split_list(task: Task, problem: Problem, rng: Random) -> Item:
    """Sorting: cut a list in two (the generation step of Graph of Thoughts)."""
    from srm_utils.tasks.worlds.sorting import SortingTask

    split = SortingTask("split")
    drawn = draw(split, rng)
    return split.prompt(drawn, "unmarked"), split.solution(drawn, "direct")


def attempted(task: Task, problem: Problem, rng: Random, whole: bool = False) -> tuple[list[str], bool]:
    """Steps that end right or wrong, half each; a wrong one ends at its first error unless `whole`."""
    good = rng.random() < 0.5
    if good:
        steps = list(problem.steps)
        return (steps if whole else steps[: rng.randint(1, len(steps))]), True
    steps, at = task.corrupt(problem, rng)  # type: ignore[attr-defined]
    return (steps if whole else steps[: at + 1]), False


def _halves(problem: Problem, rng: Random) -> tuple[list[int], list[int]]:
    numbers = list(problem.facts["numbers"])
    cut = rng.randint(1, len(numbers) - 1)
    return sorted(numbers[:cut]), sorted(numbers[cut:])


_ON_STEPS = (
    next_step,
    judge_step,
    judge_solution,
    verify,
    verify,
    verify,
    criticise,
    revise,
    remember,
    debate,
    think_again,
    compare,
)


_WORDS = (plan, keep_to_budget, explain)


SKILLS: dict[str, tuple[Callable[[Task, Problem, Random], Item], ...]] = {
    "chain": (*_ON_STEPS, *_WORDS, rewrite),
    # Looking things up is what takes longest to learn, and pays in every other document.
    "graph": (*_ON_STEPS, *_WORDS, look_up, look_up, recall, recall, recall, recall, recall, recall),
    "countdown": (next_step, judge_step, keep_to_budget, compare_moves, state_value, state_value, state_value),
    "sudoku": (judge_solution, verify, criticise, revise, remember),
    "deduction": (told,),
    "split-evidence": (agent_message,),
    "sorting": (merge_lists, mend_lists, split_list),
}
