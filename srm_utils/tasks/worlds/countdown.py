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
from collections.abc import Iterable, Sequence
from functools import lru_cache
from random import Random
from typing import NamedTuple

from srm_utils.tasks.answers import own_format
from srm_utils.tasks.problem import Problem, Prompt, StepCheck, Task, Templates
from srm_utils.tasks.words import answer_sentence

MAX_RESULT = 99
MIN_TARGET = 10
#: The largest number drawn, by how many numbers there are (the difficulty).
MAX_NUMBER = {3: 40, 4: 20}
#: A search trace: the chance that it begins one try further from the move that leads on, the most tries in a state that
#: leads nowhere, and the words and signs that it may have.
ANOTHER_TRY, TRIES_IF_CLOSED, MAX_TRACE = 0.55, 3, 250
#: Characters of a text that are read for steps, and of an answer that is read at all.
MAX_TEXT, MAX_ANSWER = 20_000, 120
_WORD = re.compile(r"\w+|[^\s\w]")

#: A whole number, or (sign, left, right).
Expression = int | tuple[str, "Expression", "Expression"]
#: The numbers left, largest first.
State = tuple[int, ...]

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
# Nothing that an expression is made of may follow: too long an answer is no answer, and neither is a decimal.
_ANSWER = re.compile(rf"([-+*/()0-9 ]{{1,{MAX_ANSWER}}})(?![-+*/()0-9 ]|\.[0-9])")


def read_expression(said: str, whole: bool) -> str | None:
    """The expression that a statement begins with, every inner part in brackets, larger operands of + and * first.

    >>> read_expression("3*8 - 2 = 22", whole=False), read_expression("so 3 * 8", whole=False)
    ('( 8 * 3 ) - 2', None)
    """
    found = _ANSWER.match(said)
    if not found or (whole and said[found.end() :].strip(" .")) or not re.search(r"[-+*/]", found[1]) and whole:
        return None
    expression = _parse(found[1])
    return None if expression is None else _show(_canonical(expression))


class Move(NamedTuple):
    """One legal step as a trace writes it, "8 * 3 = 24", and the numbers left after it."""

    step: str
    after: State

    @property
    def parts(self) -> tuple[int, str, int, int]:
        """Left operand, sign, right operand, result."""
        left, sign, right, _, result = self.step.split()
        return int(left), sign, int(right), int(result)


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
        moves = _solve(_state(numbers), target)
        told = f"{', '.join(map(str, numbers[:-1]))} and {numbers[-1]}"
        question = rng.choice(_ASK[templates]).format(ns=told, t=target, rule=_RULE)
        canonical = f"countdown|{','.join(map(str, sorted(numbers)))}={target}"
        facts = {"numbers": numbers, "target": target}
        steps = tuple(move.step for move in moves)
        return Problem("", self.name, question, _show(_expression(moves)), difficulty, canonical, steps, facts)

    def solution(self, problem: Problem, style: str, rng: Random | None = None) -> str:
        state, target = _state(problem.facts["numbers"]), problem.facts["target"]
        moves = _solve(state, target)
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
                final = answer_sentence(_show(_expression(moves)))
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
                expression = _expression(moves)
                forms = [_show(expression)]
                for move in moves:
                    expression = _reduce(expression, move)
                    forms.append(_show(expression))
                body += [f"Check: {' = '.join(forms)}", "It is right"]
        else:
            raise ValueError(f"Task {self.name!r} has no style {style!r}; choose one of {', '.join(self.styles)}.")
        return ". ".join(body) + f". {final}"

    def corrupt(self, problem: Problem, rng: Random) -> tuple[list[str], int]:
        """Steps of a wrong solution, its error carried on to the end, and the index of the first error."""
        state, target = _state(problem.facts["numbers"]), problem.facts["target"]
        moves = _solve(state, target)
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
                if k not in state and (result := _result(left, sign, k)) is not None
            ]
            wrong = rng.choice(absent) if absent else _slip(moves[at].step, rng)
        steps.append(wrong)
        state = _state([*_without(state, (left, right)), int(wrong.rsplit(" ", 1)[1])])
        while len(state) > 1:
            move = _ordered(state, target)[0]
            steps.append(move.step)
            state = move.after
        return steps, at

    def matches(self, answer: str, problem: Problem) -> bool:
        """Whether the expression uses every number exactly once and is worth the target."""
        expression = _parse(answer)
        if expression is None or sorted(_leaves(expression)) != sorted(problem.facts["numbers"]):
            return False
        return _value(expression) == problem.facts["target"]

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
    return Prompt(f"Left {_list(_state(numbers))}. Can they make {target}?")


def state_value(numbers: Iterable[int], target: int) -> bool:
    """Whether the target can be reached from these numbers, by exhaustive search.

    >>> state_value((3, 8, 2), 22), state_value((5, 2), 22)
    (True, False)
    """
    return 0 <= target <= MAX_RESULT and bool(_reachable(_checked(numbers)) >> target & 1)


def random_play_value(numbers: Iterable[int], target: int) -> float:
    """The probability that play uniform over `legal_moves`, down to one number, ends in the target.

    >>> random_play_value((5, 2), 7)
    0.3333333333333333
    """
    return _random_play(_checked(numbers), target)


def legal_moves(numbers: Iterable[int]) -> tuple[Move, ...]:
    """All distinct legal steps from these numbers; for + and * the larger operand stands first.

    >>> [step for step, after in legal_moves((6, 3))]
    ['6 + 3 = 9', '6 - 3 = 3', '6 * 3 = 18', '6 / 3 = 2']
    """
    return _moves(_checked(numbers))


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
    state, target = _state(problem.facts["numbers"]), problem.facts["target"]
    steps = []
    while len(state) > 1:
        alive = [move for move in _ordered(state, target) if state_value(move.after, target)]
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
    state, target = _state(problem.facts["numbers"]), problem.facts["target"]
    steps = []
    while len(state) > 2:
        near = _ordered(state, target)
        dead = [move for move in near if not state_value(move.after, target)] or near
        move = rng.choice(dead[:8])
        steps.append(move.step)
        state = move.after
    high, low = state
    absent = [f"{k} {'+' if k < target else '-'} {abs(target - k)} = {target}" for k in state if k != target]
    # The sign that comes nearest is believed first.
    results = {f"{high} {sign} {low}": _result(high, sign, low) for sign in "+-*/"}
    false = [left for left, result in results.items() if result != target]
    false.sort(key=lambda left: abs(target - (MAX_RESULT if results[left] is None else results[left])))
    believed = [f"{rng.choice(false[:2])} = {target}", *(step for step in absent if not _uses(step, state))]
    steps.append(rng.choice(believed) if rng.random() < 0.3 else believed[0])
    return steps


def chain_of_thought(problem: Problem, steps: Sequence[str]) -> str:
    """Steps, right or wrong, written out as a whole solution in the chain-of-thought style.

    >>> problem = CountdownTask().problems(1, seed=1, difficulty=3)[0]
    >>> chain_of_thought(problem, problem.steps) == CountdownTask().solution(problem, "cot")
    True
    """
    moves, state = [], _state(problem.facts["numbers"])
    for step in steps:
        left, _, right, _, result = step.split()
        state = _state([*_without(state, (int(left), int(right))), int(result)])
        moves.append(Move(step, state))
    body = [part for move in moves[:-1] for part in (move.step, f"Left {_list(move.after)}")]
    return f"{'. '.join([*body, moves[-1].step])}. {answer_sentence(_show(_expression(moves)))}"


def written_check(problem: Problem, steps: Sequence[str]) -> tuple[str, int | None]:
    """A check of a solution's steps, written out up to the first that does not hold, and the place of that one.

    Before each step stands what there is to take from; the last one must make the target. Ends in "Yes." or "No."

    >>> problem = CountdownTask().problems(1, seed=1, difficulty=3)[0]
    >>> written_check(problem, problem.steps)[1] is None
    True
    """
    state, target = _state(problem.facts["numbers"]), problem.facts["target"]
    said: list[str] = []
    for i, step in enumerate(steps):
        left, sign, right, _, told = step.split()
        taken = f"Left {_list(state)}. {left} {sign} {right}"
        own = _result(int(left), sign, int(right))
        if own is None or not _uses(step, state):
            return f"{'. '.join([*said, f'{taken} wrong'])}. No.", i
        state = _state([*_without(state, (int(left), int(right))), own])
        wanted = f" to make {target}" if len(state) == 1 else ""
        right_ = own == int(told) and (not wanted or own == target)
        said.append(f"{taken} = {own} told {told}{wanted} {'right' if right_ else 'wrong'}")
        if not right_:
            return f"{'. '.join(said)}. No.", i
    if len(state) > 1:
        said.append(f"Left {_list(state)}")
    return f"{'. '.join(said)}. {'Yes' if len(state) == 1 else 'No'}.", None


def evaluate(text: str) -> int | None:
    """The value of an expression under the rules, by our own parser; None where there is none.

    >>> evaluate("( 8 * 3 ) - 2"), evaluate("5 / 2"), evaluate("print ( 5 )")
    (22, None, None)
    """
    expression = _parse(text)
    return None if expression is None else _value(expression)


def _state(numbers: Iterable[int]) -> State:
    return tuple(sorted(numbers, reverse=True))


def _checked(numbers: Iterable[int]) -> State:
    state = _state(numbers)
    if not 1 <= len(state) <= 5 or state[0] > MAX_RESULT or state[-1] < 0:
        raise ValueError(f"A Countdown state has 1 to 5 numbers within 0 to {MAX_RESULT}, not {list(state)}.")
    return state


def _result(left: int, sign: str, right: int) -> int | None:
    """What a step gives under the rules, None where it is illegal."""
    if sign == "/":
        value = left // right if right and left % right == 0 else -1
    else:
        value = {"+": left + right, "-": left - right, "*": left * right}[sign]
    return value if 0 <= value <= MAX_RESULT else None


def _without(numbers: Sequence[int], taken: Iterable[int]) -> list[int]:
    rest = list(numbers)
    for number in taken:
        if number in rest:
            rest.remove(number)
    return rest


def _uses(step: str, state: State) -> bool:
    """Whether both numbers that a step takes are there."""
    left, _, right, *_ = step.split()
    return len(_without(state, (int(left), int(right)))) == len(state) - 2


@lru_cache(maxsize=50_000)
def _moves(state: State) -> tuple[Move, ...]:
    moves = []
    for high, low in dict.fromkeys((a, b) for i, a in enumerate(state) for b in state[i + 1 :]):
        rest = _without(state, (high, low))
        for left, sign, right in (*((high, sign, low) for sign in "+-*/"), (low, "/", high)):
            result = _result(left, sign, right)
            if result is not None:
                moves.append(Move(f"{left} {sign} {right} = {result}", _state([*rest, result])))
    # Equal numbers give one division, not two.
    return tuple(dict.fromkeys(moves))


@lru_cache(maxsize=500_000)
def _reachable(state: State) -> int:
    """The targets that can be reached, as a bit mask: bit t is set when t can."""
    if len(state) == 1:
        return 1 << state[0]
    mask = 0
    for after in {move.after for move in _moves(state)}:
        mask |= _reachable(after)
    return mask


@lru_cache(maxsize=500_000)
def _random_play(state: State, target: int) -> float:
    if len(state) == 1:
        return float(state[0] == target)
    moves = _moves(state)
    return sum(_random_play(move.after, target) for move in moves) / len(moves)


def _ordered(state: State, target: int) -> list[Move]:
    """Legal moves, those first whose numbers lie closest to the target (the sum heuristic of gandhi2024stream)."""
    return sorted(_moves(state), key=lambda move: sum(abs(target - k) for k in move.after))


def _solve(state: State, target: int) -> list[Move]:
    """The moves of the gold solution: from each state the first promising one."""
    moves: list[Move] = []
    while len(state) > 1:
        moves.append(next(move for move in _ordered(state, target) if state_value(move.after, target)))
        state = moves[-1].after
    return moves


def _search(state: State, target: int, body: list[str], rng: Random) -> list[Move]:
    """Writes a depth-first search; the moves that reach the target, none where it gives up.

    Moves are tried in one order, round and round, from where the search guesses: what comes next follows from what was
    tried last alone, and that is named on the way back. A search that had to remember more tried the same again. How
    many tries an open state takes follows from nothing that stands before: were it bounded, "Yes" could be told from
    its place, and no number would be held to the target. A closed one is left after a few.
    """
    moves, near = list(_moves(state)), _ordered(state, target)
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
    path: list[tuple[State, bool]] = [(_state(problem.facts["numbers"]), True)]
    checks = []
    for m in _EVENT.finditer(text[:MAX_TEXT]):
        state, sound = path[-1]
        if m[5]:
            path = path[:-1] or path
        elif m[6]:
            back = _state(map(int, m[6].split(", ")))
            known = [i for i, (earlier, _) in enumerate(path) if earlier == back]
            path = path[: known[-1] + 1] if known else [*path[:1], (back, False)]
        else:
            left, right, result = int(m[1]), int(m[3]), int(m[4])
            rest = _without(state, (left, right))
            legal = len(rest) == len(state) - 2 and _result(left, m[2], right) == result
            after, sound = _state([*rest, result]), sound and legal
            verdict = "wrong" if not legal else "right" if sound and state_value(after, target) else "useless"
            checks.append(StepCheck(m[0], m.start(), m.end(), verdict))  # type: ignore[arg-type]
            path.append((after, sound))
    state, sound = path[-1]
    return checks, state if sound else None


def _mistake(state: State, target: int, gold: str, rng: Random) -> str:
    """A step to be taken back: a legal dead end where there is one, else (or as often) a slip."""
    dead = [move.step for move in _moves(state) if not state_value(move.after, target)]
    return rng.choice(dead) if dead and rng.random() < 0.5 else _slip(gold, rng)


def _slip(step: str, rng: Random) -> str:
    """The same step with a result that is off by one to three, within the bounds."""
    left, result = step.rsplit(" ", 1)
    off = rng.choice([d for d in (-3, -2, -1, 1, 2, 3) if 0 <= int(result) + d <= MAX_RESULT])
    return f"{left} {int(result) + off}"


def _list(state: State) -> str:
    return ", ".join(map(str, state))


def _expression(moves: Sequence[Move]) -> Expression:
    """The moves as one expression, in canonical order."""
    made: dict[int, list[Expression]] = {}
    whole: Expression = 0
    for move in moves:
        a, sign, b, result = move.parts
        left, right = (made[k].pop() if made.get(k) else k for k in (a, b))
        whole = (sign, left, right)
        made.setdefault(result, []).append(whole)
    return _canonical(whole)


def _canonical(expression: Expression) -> Expression:
    if isinstance(expression, int):
        return expression
    sign, left, right = expression[0], _canonical(expression[1]), _canonical(expression[2])
    if sign in "+*":
        left, right = sorted((left, right), key=lambda e: (-(_value(e) or 0), _show(e)))
    return sign, left, right


def _reduce(expression: Expression, move: Move) -> Expression:
    """The expression with one part that is the move's left side worked out."""
    if isinstance(expression, int):
        return expression
    sign, left, right = expression
    if isinstance(left, int) and isinstance(right, int):
        return move.parts[3] if (left, sign, right) == move.parts[:3] else expression
    reduced = _reduce(left, move)
    return (sign, reduced, right) if reduced != left else (sign, left, _reduce(right, move))


def _show(expression: Expression, inner: bool = False) -> str:
    if isinstance(expression, int):
        return str(expression)
    sign, left, right = expression
    text = f"{_show(left, True)} {sign} {_show(right, True)}"
    return f"( {text} )" if inner else text


def _leaves(expression: Expression) -> list[int]:
    return [expression] if isinstance(expression, int) else [*_leaves(expression[1]), *_leaves(expression[2])]


def _value(expression: Expression) -> int | None:
    if isinstance(expression, int):
        return expression
    left, right = _value(expression[1]), _value(expression[2])
    return None if left is None or right is None else _result(left, expression[0], right)


def _parse(text: str) -> Expression | None:
    """The expression a text is (usual precedence, brackets, whole numbers), None if it is none or too long."""
    if len(text) > MAX_ANSWER or re.fullmatch(r"(?:[-+*/()]|[0-9]{1,6}(?![0-9])| )*", text) is None:
        return None
    tokens = re.findall(r"[-+*/()]|[0-9]+", text)
    at = 0

    def chain(signs: str) -> Expression | None:
        nonlocal at
        whole = chain("*/") if signs == "+-" else atom()
        while whole is not None and at < len(tokens) and tokens[at] in signs:
            sign = tokens[at]
            at += 1
            right = chain("*/") if signs == "+-" else atom()
            whole = None if right is None else (sign, whole, right)
        return whole

    def atom() -> Expression | None:
        nonlocal at
        token = tokens[at] if at < len(tokens) else ""
        at += 1
        if token == "(":
            inside = chain("+-")
            closed = at < len(tokens) and tokens[at] == ")"
            at += 1
            return inside if closed else None
        return int(token) if token.isdigit() else None

    whole = chain("+-")
    return whole if at == len(tokens) else None
