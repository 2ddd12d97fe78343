"""Countdown: reach a target from a few numbers with + - * /, every number used exactly once.

The rules, the same for moves, state values and the grader: results are whole numbers within 0..99
(one token each), a difference is never negative and a division is exact. Whatever is left can be
solved exhaustively, so the value of every state is exact, and a legal step into a dead end is told
apart from a promising one.

Three numbers are drawn from 1..40 and four from 1..20, targets from 10..99: 65 957 and 308 122
canonical forms by enumeration, so both tiers can carry a claim.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random

from srm_utils.tasks.answers import own_format
from srm_utils.tasks.problem import Problem, Prompt, StepCheck, Task, Templates
from srm_utils.tasks.words import answer_sentence
from srm_utils.tasks.worlds.countdown_expressions import (
    MAX_RESULT,
    Expression,
    as_text,
    canonical_form,
    computed,
    numbers_in,
    parse_expression,
    read_expression,
    reduced_by,
    value_of,
)
from srm_utils.tasks.worlds.countdown_states import (
    Move,
    State,
    all_moves,
    as_state,
    first_solution,
    nearest_first,
    state_value,
    uses,
    without,
)

#: Characters of a text that are read for steps.
MAX_TEXT = 20_000
MIN_TARGET = 10


#: The largest number drawn, by how many numbers there are (the difficulty).
MAX_NUMBER = {3: 40, 4: 20}


#: A search trace: the chance that it begins one try further from the move that leads on, the most tries in a state that
#: leads nowhere, and the words and signs that it may have.
ANOTHER_TRY, TRIES_IF_CLOSED, MAX_TRACE = 0.55, 3, 250


_WORD = re.compile(r"\w+|[^\s\w]")


_RULE = "Use each number once and stay within 0 to 99."


_ASK = {
    "train": ("Use {ns} with + - * / to make {t}. {rule}", "Make {t} from {ns} with + - * /. {rule}"),
    # Known words in orders never seen in training.
    "held-out": ("Make {t} with + - * / from {ns}. {rule}", "Use + - * / to make {t} from {ns}. {rule}"),
}


# One pass over a trace: an equation, a step taken back, or a return to an earlier state. An equation
# right after "= " is the rewriting of an expression in a check and not a step.
_EVENT = re.compile(
    r"(?<!= )\b([0-9]{1,6}) ([-+*/]) ([0-9]{1,6}) = ([0-9]{1,6})\b|\b(No|Wait)\b"
    r"|\bBack to ([0-9]{1,6}(?:, [0-9]{1,6}){0,4})"
)


class CountdownTask(Task):
    """Countdown with 3 numbers, or 4 as the hard tier; search traces as in gandhi2024stream.

    >>> task = CountdownTask()
    >>> problem = task.problems(1, seed=1, difficulty=3)[0]
    >>> str(task.grade(task.solution(problem, "search"), problem))
    'correct'
    """

    name = "countdown"
    answers = own_format("expression", "the expression, such as (3 + 5) * 2", read_expression)
    styles = ("direct", "cot", "draft", "search", "check", "retry")
    difficulties = (3, 4)

    def draw(self, rng: Random, difficulty: int, templates: Templates = "train") -> Problem:
        if difficulty not in MAX_NUMBER:
            raise ValueError(f"Countdown has no difficulty {difficulty}; choose 3 or 4 numbers.")
        targets: list[int] = []
        while not targets:
            numbers = [rng.randint(1, MAX_NUMBER[difficulty]) for _ in range(difficulty)]
            targets = [t for t in range(MIN_TARGET, MAX_RESULT + 1) if state_value(numbers, t)]
        target = rng.choice(targets)
        moves = first_solution(as_state(numbers), target)
        told = f"{', '.join(map(str, numbers[:-1]))} and {numbers[-1]}"
        question = rng.choice(_ASK[templates]).format(ns=told, t=target, rule=_RULE)
        canonical = f"countdown|{','.join(map(str, sorted(numbers)))}={target}"
        facts = {"numbers": numbers, "target": target}
        steps = tuple(move.step for move in moves)
        return Problem("", self.name, question, as_text(expression_of(moves)), difficulty, canonical, steps, facts)

    def solution(self, problem: Problem, style: str, rng: Random | None = None) -> str:
        state, target = as_state(problem.facts["numbers"]), problem.facts["target"]
        moves = first_solution(state, target)
        final = answer_sentence(problem.answer)
        if style == "direct":
            return final
        if style == "draft":
            return f"{' '.join(str(move.parts[3]) for move in moves)}. {final}"
        if style == "search":
            rng = rng or Random(problem.canonical)
            while True:
                body: list[str] = []
                moves = _search(state, target, body, rng)
                final = answer_sentence(as_text(expression_of(moves)))
                if len(_WORD.findall(f"{'. '.join(body)}. {final}")) <= MAX_TRACE:
                    break
        elif style in ("cot", "check", "retry"):
            rng = rng or Random(problem.canonical)
            body = []
            for move in moves:
                if style == "retry" and rng.random() < 0.3:
                    body += [_mistake(state, target, move.step, rng), "Wait, that is wrong"]
                body.append(move.step)
                if len(move.after) > 1:
                    body.append(f"Left {_list(move.after)}")
                state = move.after
            if style == "check":
                # Work the expression out again: its value must be the target.
                expression = expression_of(moves)
                forms = [as_text(expression)]
                for move in moves:
                    expression = reduced_by(expression, move.parts[:3], move.parts[3])
                    forms.append(as_text(expression))
                body += [f"Check: {' = '.join(forms)}", "It is right"]
        else:
            raise ValueError(f"Task {self.name!r} has no style {style!r}; choose one of {', '.join(self.styles)}.")
        return ". ".join(body) + f". {final}"

    def corrupt(self, problem: Problem, rng: Random) -> tuple[list[str], int]:
        """Steps of a wrong solution, its error carried on to the end, and the index of the first error."""
        state, target = as_state(problem.facts["numbers"]), problem.facts["target"]
        moves = first_solution(state, target)
        at = rng.randrange(len(moves))
        steps = [move.step for move in moves[:at]]
        state = moves[at - 1].after if at else state
        # Half are slips of arithmetic, half use a number that is not there.
        left, sign, right, _ = moves[at].parts
        if rng.random() < 0.5:
            wrong = _slip(moves[at].step, rng)
        else:
            absent = [
                f"{left} {sign} {k} = {result}"
                for k in range(1, MAX_NUMBER[3] + 1)
                if k not in state and (result := computed(left, sign, k)) is not None
            ]
            wrong = rng.choice(absent) if absent else _slip(moves[at].step, rng)
        steps.append(wrong)
        state = as_state([*without(state, (left, right)), int(wrong.rsplit(" ", 1)[1])])
        while len(state) > 1:
            move = nearest_first(state, target)[0]
            steps.append(move.step)
            state = move.after
        return steps, at

    def matches(self, answer: str, problem: Problem) -> bool:
        """Whether the expression uses every number exactly once and is worth the target."""
        expression = parse_expression(answer)
        if expression is None or sorted(numbers_in(expression)) != sorted(problem.facts["numbers"]):
            return False
        return value_of(expression) == problem.facts["target"]

    def check_steps(self, text: str, problem: Problem) -> list[StepCheck]:
        """Equations found in a text, judged in the state they are made in.

        Right: legal, and the target can still be reached. Useless: legal and true, but a dead end
        (or built on an earlier error). Wrong: numbers that are not there, or false arithmetic.
        """
        return _walk(text, problem)[0]


def value_prompt(numbers: Sequence[int], target: int) -> Prompt:
    """Asks whether the numbers left can still make the target (yao2023tree's value prompt): "Yes." or "No."

    >>> value_prompt([3, 8], 24).question
    'Left 8, 3. Can they make 24?'
    """
    return Prompt(f"Left {_list(as_state(numbers))}. Can they make {target}?")


def parse_state(text: str, problem: Problem) -> State | None:
    """The numbers left after the steps of a trace, largest first; None once a step is illegal or false.

    "No" and "Wait" take the last step back, "Back to" returns to an earlier state.
    """
    return _walk(text, problem)[1]


def another_solution(problem: Problem, rng: Random) -> list[str]:
    """Steps of a right solution, often another than the gold one.

    >>> problem = CountdownTask().problems(1, seed=1, difficulty=3)[0]
    >>> written_check(problem, another_solution(problem, Random(0)))[0].endswith("Yes.")
    True
    """
    state, target = as_state(problem.facts["numbers"]), problem.facts["target"]
    steps = []
    while len(state) > 1:
        alive = [move for move in nearest_first(state, target) if state_value(move.after, target)]
        move = alive[0] if rng.random() < 0.5 else rng.choice(alive)
        steps.append(move.step)
        state = move.after
    return steps


def wishful_solution(problem: Problem, rng: Random) -> list[str]:
    """Steps of a wrong solution as a small model errs: true moves into a dead end, then one that says what is wanted.

    That last step is false, or uses a number that is not there.

    >>> problem = CountdownTask().problems(1, seed=1, difficulty=3)[0]
    >>> written_check(problem, wishful_solution(problem, Random(0)))[0].endswith("wrong. No.")
    True
    """
    state, target = as_state(problem.facts["numbers"]), problem.facts["target"]
    steps = []
    while len(state) > 2:
        near = nearest_first(state, target)
        dead = [move for move in near if not state_value(move.after, target)] or near
        move = rng.choice(dead[:8])
        steps.append(move.step)
        state = move.after
    high, low = state
    absent = [f"{k} {'+' if k < target else '-'} {abs(target - k)} = {target}" for k in state if k != target]
    # The sign that comes nearest is believed first.
    results = {f"{high} {sign} {low}": computed(high, sign, low) for sign in "+-*/"}
    false = [left for left, result in results.items() if result != target]
    false.sort(key=lambda left: abs(target - (MAX_RESULT if results[left] is None else results[left])))
    believed = [f"{rng.choice(false[:2])} = {target}", *(step for step in absent if not uses(step, state))]
    steps.append(rng.choice(believed) if rng.random() < 0.3 else believed[0])
    return steps


def chain_of_thought(problem: Problem, steps: Sequence[str]) -> str:
    """Steps, right or wrong, written out as a whole solution in the chain-of-thought style.

    >>> problem = CountdownTask().problems(1, seed=1, difficulty=3)[0]
    >>> chain_of_thought(problem, problem.steps) == CountdownTask().solution(problem, "cot")
    True
    """
    moves, state = [], as_state(problem.facts["numbers"])
    for step in steps:
        left, _, right, _, result = step.split()
        state = as_state([*without(state, (int(left), int(right))), int(result)])
        moves.append(Move(step, state))
    body = [part for move in moves[:-1] for part in (move.step, f"Left {_list(move.after)}")]
    return f"{'. '.join([*body, moves[-1].step])}. {answer_sentence(as_text(expression_of(moves)))}"


def written_check(problem: Problem, steps: Sequence[str]) -> tuple[str, int | None]:
    """A check of a solution's steps, written out up to the first that does not hold, and the place of that one.

    Before each step stands what there is to take from; the last one must make the target. Ends in "Yes." or "No."

    >>> problem = CountdownTask().problems(1, seed=1, difficulty=3)[0]
    >>> written_check(problem, problem.steps)[1] is None
    True
    """
    state, target = as_state(problem.facts["numbers"]), problem.facts["target"]
    said: list[str] = []
    for i, step in enumerate(steps):
        left, sign, right, _, told = step.split()
        taken = f"Left {_list(state)}. {left} {sign} {right}"
        own = computed(int(left), sign, int(right))
        if own is None or not uses(step, state):
            return f"{'. '.join([*said, f'{taken} wrong'])}. No.", i
        state = as_state([*without(state, (int(left), int(right))), own])
        wanted = f" to make {target}" if len(state) == 1 else ""
        right_ = own == int(told) and (not wanted or own == target)
        said.append(f"{taken} = {own} told {told}{wanted} {'right' if right_ else 'wrong'}")
        if not right_:
            return f"{'. '.join(said)}. No.", i
    if len(state) > 1:
        said.append(f"Left {_list(state)}")
    return f"{'. '.join(said)}. {'Yes' if len(state) == 1 else 'No'}.", None


def _search(state: State, target: int, body: list[str], rng: Random) -> list[Move]:
    """Writes a depth-first search; the moves that reach the target, none where it gives up.

    Moves are tried in one order, round and round, from where the search guesses: what comes next follows from what was
    tried last alone, and that is named on the way back. A search that had to remember more tried the same again. How
    many tries an open state takes follows from nothing that stands before: were it bounded, "Yes" could be told from
    its place, and no number would be held to the target. A closed one is left after a few.
    """
    moves, near = list(all_moves(state)), nearest_first(state, target)
    alive = [move for move in near if state_value(move.after, target)]
    at = moves.index((alive or near)[0])
    # Of two numbers the move that comes nearest settles it.
    while alive and len(state) > 2 and rng.random() < ANOTHER_TRY:
        at -= 1
    tries = 1 if len(state) == 2 else len(moves) if alive else rng.randint(1, TRIES_IF_CLOSED)
    for k in range(at, at + tries):
        move = moves[k % len(moves)]
        body.append(f"Try {move.step}")
        if len(move.after) == 1:
            body.append("Yes" if move.after == (target,) else "No")
            return [move] if move.after == (target,) else []
        body.append(f"Left {_list(move.after)}")
        if found := _search(move.after, target, body, rng):
            return [move, *found]
        body.append(f"Back to {_list(state)} from {move.step.split(' =')[0]}")
    return []


def _walk(text: str, problem: Problem) -> tuple[list[StepCheck], State | None]:
    """Judges every step of a trace and follows the numbers left; None for a state that an error made."""
    target = problem.facts["target"]
    # States from the start to now, each with whether only legal and true steps led to it.
    path: list[tuple[State, bool]] = [(as_state(problem.facts["numbers"]), True)]
    checks = []
    for m in _EVENT.finditer(text[:MAX_TEXT]):
        state, sound = path[-1]
        if m[5]:
            path = path[:-1] or path
        elif m[6]:
            back = as_state(map(int, m[6].split(", ")))
            known = [i for i, (earlier, _) in enumerate(path) if earlier == back]
            path = path[: known[-1] + 1] if known else [*path[:1], (back, False)]
        else:
            left, right, result = int(m[1]), int(m[3]), int(m[4])
            rest = without(state, (left, right))
            legal = len(rest) == len(state) - 2 and computed(left, m[2], right) == result
            after, sound = as_state([*rest, result]), sound and legal
            verdict = "wrong" if not legal else "right" if sound and state_value(after, target) else "useless"
            checks.append(StepCheck(m[0], m.start(), m.end(), verdict))  # type: ignore[arg-type]
            path.append((after, sound))
    state, sound = path[-1]
    return checks, state if sound else None


def _mistake(state: State, target: int, gold: str, rng: Random) -> str:
    """A step to be taken back: a legal dead end where there is one, else (or as often) a slip."""
    dead = [move.step for move in all_moves(state) if not state_value(move.after, target)]
    return rng.choice(dead) if dead and rng.random() < 0.5 else _slip(gold, rng)


def _slip(step: str, rng: Random) -> str:
    """The same step with a result that is off by one to three, within the bounds."""
    left, result = step.rsplit(" ", 1)
    off = rng.choice([d for d in (-3, -2, -1, 1, 2, 3) if 0 <= int(result) + d <= MAX_RESULT])
    return f"{left} {int(result) + off}"


def _list(state: State) -> str:
    return ", ".join(map(str, state))


def expression_of(moves: Sequence[Move]) -> Expression:
    """The moves as one expression, in canonical order."""
    made: dict[int, list[Expression]] = {}
    whole: Expression = 0
    for move in moves:
        a, sign, b, result = move.parts
        left, right = (made[k].pop() if made.get(k) else k for k in (a, b))
        whole = (sign, left, right)
        made.setdefault(result, []).append(whole)
    return canonical_form(whole)
