"""Debate: several agents answer, read one another, and answer again, round after round, before they vote.

du2023improving found that it helps; choi2025debate that the vote is what helps, because the talk of clones moves
their expected correctness neither up nor down. `correctness_by_round` measures which.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from srm_utils.inference.asking import ask
from srm_utils.inference.entry import Setting, solver
from srm_utils.inference.solver import Attempt, Budget, Solver, attempt, keeps_prefixes
from srm_utils.inference.voting import Vote, plurality
from srm_utils.sampling.completion import Completion, group_cost
from srm_utils.tasks.dialects import DEBATE, SOLVE
from srm_utils.tasks.problem import Problem, Prompt, Task
from srm_utils.tasks.steps import after_thought

if TYPE_CHECKING:
    from srm_utils.models import LanguageModel

#: What every agent wrote in each round, the first round before anybody was heard.
Rounds = list[list[Completion]]


@dataclass(frozen=True)
class Debate:
    """`budget.samples` agents answer by themselves, then `rounds` times in the light of others, then vote.

    Each agent hears what the next `hears` around the table wrote last (in du2023improving, all others). The agents
    are one model: only chance tells them apart, as clones. All problems and agents advance together. The trace is
    `Rounds`; without rounds this is self-consistency.
    """

    task: Task
    rounds: int = 1
    hears: int = 2
    style: str = "cot"
    vote: Vote = plurality
    temperature: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.rounds < 0 or self.hears < 1:
            raise ValueError(
                f"A debate of {self.rounds} rounds in which {self.hears} are heard is none; use at least 0 and 1."
            )

    @property
    def name(self) -> str:
        return f"debate, {self.rounds} rounds"

    def solve(self, problems: Sequence[Problem], model: LanguageModel, budget: Budget) -> list[Attempt]:
        agents = budget.samples
        prompts = [self.task.prompt(p, self.style) for p in problems]
        drawn = model.sample(prompts, agents, budget.max_new_tokens, self.temperature, seed=self.seed)
        traces: list[Rounds] = [[group] for group in drawn]
        costs = [group_cost(group) for group in drawn]
        for turn in range(1, self.rounds + 1 if agents > 1 else 1):
            asked = [
                ask(model, DEBATE, problem, heard([spoken(c.text) for c in trace[-1]], agent, self.hears))
                for problem, trace in zip(problems, traces, strict=True)
                for agent in range(agents)
            ]
            groups = sample_once(model, asked, budget.max_new_tokens, self.temperature, self.seed + (turn << 32))
            for i, trace in enumerate(traces):
                trace.append(groups[i * agents : (i + 1) * agents])
                costs[i] += group_cost(trace[-1])
        attempts = []
        for problem, trace, cost in zip(problems, traces, costs, strict=True):
            answers = [[self.task.final(c.text, problem) for c in said] for said in trace]
            unread = sum(row.count(None) for row in answers)
            attempts.append(attempt(self.task, problem, self.vote(answers[-1], trace[-1]), trace, cost, unread))
        return attempts


def spoken(text: str) -> str:
    """What others hear of a text: all of it but its thinking, which stays with the agent.

    >>> spoken("<think>Is it 5?</think> It is 8."), spoken(" 5 + 3 = 8.")
    (' It is 8.', ' 5 + 3 = 8.')
    """
    return after_thought(text)


def heard(texts: Sequence[str], agent: int, hears: int) -> list[str]:
    """What the next `hears` agents around the table wrote, as `agent` hears it; never more than all others.

    >>> heard(["a", "b", "c", "d"], agent=2, hears=2)
    ['d', 'a']
    """
    others = [texts[(agent + i) % len(texts)] for i in range(1, len(texts))]
    return others[:hears]


def sample_once(
    model: LanguageModel, prompts: Sequence[Prompt], max_new_tokens: int, temperature: float, seed: int
) -> list[Completion]:
    """One completion of each prompt, all in one call."""
    return [group[0] for group in model.sample(prompts, 1, max_new_tokens, temperature, seed=seed)]


def correctness_by_round(task: Task, problem: Problem, rounds: Rounds) -> list[float]:
    """Share of the agents that are right after each round: what a martingale leaves where it was (choi2025debate).

    The vote is another matter: it can be right more often than the agents are.
    """
    return [sum(task.grade(c.text, problem) == "correct" for c in said) / len(said) for said in rounds]


keeps_prefixes(Debate)


@solver(
    "debate",
    "N agents hear one another once, then vote (du2023improving)",
    notebook="27",
    skills=(SOLVE, DEBATE),
    least=2,
    most=32,
)
def _debate(setting: Setting, size: int) -> Solver:
    return Debate(setting.task, 1, style=setting.style, temperature=setting.heat, seed=setting.seed)
