"""Countdown's states: the numbers left, the legal moves from them, and the targets that they can still make.

Every state is solved exhaustively, so its value is exact.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

from srm_utils.tasks.worlds.countdown_expressions import MAX_RESULT, computed

#: The numbers left, largest first.
State = tuple[int, ...]


class Move(NamedTuple):
    """One legal step as a trace writes it, "8 * 3 = 24", and the numbers left after it."""

    step: str
    after: State

    @property
    def parts(self) -> tuple[int, str, int, int]:
        """Left operand, sign, right operand, result."""
        left, sign, right, _, result = self.step.split()
        return int(left), sign, int(right), int(result)


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
    return all_moves(_checked(numbers))


def as_state(numbers: Iterable[int]) -> State:
    return tuple(sorted(numbers, reverse=True))


def _checked(numbers: Iterable[int]) -> State:
    state = as_state(numbers)
    if not 1 <= len(state) <= 5 or state[0] > MAX_RESULT or state[-1] < 0:
        raise ValueError(f"A Countdown state has 1 to 5 numbers within 0 to {MAX_RESULT}, not {list(state)}.")
    return state


def without(numbers: Sequence[int], taken: Iterable[int]) -> list[int]:
    rest = list(numbers)
    for number in taken:
        if number in rest:
            rest.remove(number)
    return rest


def uses(step: str, state: State) -> bool:
    """Whether both numbers that a step takes are there."""
    left, _, right, *_ = step.split()
    return len(without(state, (int(left), int(right)))) == len(state) - 2


@lru_cache(maxsize=50_000)
def all_moves(state: State) -> tuple[Move, ...]:
    moves = []
    for high, low in dict.fromkeys((a, b) for i, a in enumerate(state) for b in state[i + 1 :]):
        rest = without(state, (high, low))
        for left, sign, right in (*((high, sign, low) for sign in "+-*/"), (low, "/", high)):
            result = computed(left, sign, right)
            if result is not None:
                moves.append(Move(f"{left} {sign} {right} = {result}", as_state([*rest, result])))
    # Equal numbers give one division, not two.
    return tuple(dict.fromkeys(moves))


@lru_cache(maxsize=500_000)
def _reachable(state: State) -> int:
    """The targets that can be reached, as a bit mask: bit t is set when t can."""
    if len(state) == 1:
        return 1 << state[0]
    mask = 0
    for after in {move.after for move in all_moves(state)}:
        mask |= _reachable(after)
    return mask


@lru_cache(maxsize=500_000)
def _random_play(state: State, target: int) -> float:
    if len(state) == 1:
        return float(state[0] == target)
    moves = all_moves(state)
    return sum(_random_play(move.after, target) for move in moves) / len(moves)


def nearest_first(state: State, target: int) -> list[Move]:
    """Legal moves, those first whose numbers lie closest to the target (the sum heuristic of gandhi2024stream)."""
    return sorted(all_moves(state), key=lambda move: sum(abs(target - k) for k in move.after))


def first_solution(state: State, target: int) -> list[Move]:
    """The moves of the gold solution: from each state the first promising one."""
    moves: list[Move] = []
    while len(state) > 1:
        moves.append(next(move for move in nearest_first(state, target) if state_value(move.after, target)))
        state = moves[-1].after
    return moves
