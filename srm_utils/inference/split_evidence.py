"""Split evidence: two agents who each know half, and what a limited number of messages between them is worth.

Neither can answer "yes" alone. They write to each other in turn until one states an answer or the messages are
used up (the exchange of yin2023exchange, on a task that cannot be done without one).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from srm_utils.inference.asking import ask
from srm_utils.inference.debate import sample_once, spoken
from srm_utils.inference.entry import Setting, made_for, solver
from srm_utils.inference.solver import Attempt, Budget, Solver, attempt, keeps_prefixes
from srm_utils.sampling.completion import Cost, group_cost
from srm_utils.tasks.dialects import MESSAGE
from srm_utils.tasks.problem import Problem
from srm_utils.tasks.worlds.deduction import SplitEvidenceTask

if TYPE_CHECKING:
    from srm_utils.models import LanguageModel

#: Who wrote (agent 0 or 1), and what: a thought and a message, or a thought and the answer.
Turn = tuple[int, str]


@dataclass(frozen=True)
class Exchange:
    """Agents 0 and 1 write in turn, at most `messages` in all; then the one whose turn it is must answer.

    The task's own budget is the number of facts in a message: what goes beyond it is not sent, and neither is what an
    agent thinks before its message; of a turn without a message nothing is sent. With no message at all this is agent 0
    alone with its half. The agents are the model given to `solve`, or agent 1 is `other`. All problems advance
    together. The trace holds each turn as it was written, the last one the answer.
    """

    task: SplitEvidenceTask
    messages: int = 8
    other: LanguageModel | None = None
    temperature: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.messages < 0:
            raise ValueError(f"The agents may send {self.messages} messages; allow 0 or more.")

    @property
    def name(self) -> str:
        return f"exchange, {self.messages} messages"

    def solve(self, problems: Sequence[Problem], model: LanguageModel, budget: Budget) -> list[Attempt]:
        traces: list[list[Turn]] = [[] for _ in problems]
        costs = [Cost() for _ in problems]
        open_ = list(range(len(problems)))
        for turn in range(self.messages + 1):
            agent = turn % 2
            speaker = self.other if agent == 1 and self.other is not None else model
            prompts = [
                ask(speaker, MESSAGE, self.task, problems[i], agent, self._sent(traces[i]), turn == self.messages)
                for i in open_
            ]
            drawn = sample_once(speaker, prompts, budget.max_new_tokens, self.temperature, self.seed + (turn << 32))
            for i, completion in zip(open_, drawn, strict=True):
                traces[i].append((agent, completion.text.strip()))
                costs[i] += group_cost([completion])
            open_ = [i for i in open_ if self.task.extract(traces[i][-1][1]) is None]
            if not open_:
                break
        return [
            attempt(self.task, p, self.task.extract(trace[-1][1]), trace, cost, self._unread(trace))
            for p, trace, cost in zip(problems, traces, costs, strict=True)
        ]

    def _sent(self, trace: Sequence[Turn]) -> list[str]:
        return [self.task.sent(spoken(text)) for _, text in trace]

    def _unread(self, trace: Sequence[Turn]) -> int:
        """Turns that hold neither a message nor an answer: nothing of them is sent."""
        texts = [text for _, text in trace]
        return sum(not m and self.task.extract(t) is None for m, t in zip(self._sent(trace), texts, strict=True))


def facts_sent(task: SplitEvidenceTask, trace: Sequence[Turn]) -> int:
    """Facts that crossed between the agents, the answer not counted.

    >>> told = [(0, "Ida is fair if wise. Message: Ida is fair if wise."), (1, "Ida is not wise. The answer is no.")]
    >>> facts_sent(SplitEvidenceTask(), told)
    1
    """
    sentences = [s for _, text in trace[:-1] for s in task.sent(text).removeprefix("Message:").split(".") if s.strip()]
    return sum("do not know" not in sentence for sentence in sentences)


keeps_prefixes(Exchange)


@solver(
    "exchange",
    "two agents with half of the facts each write N messages (yin2023exchange)",
    notebook="27",
    skills=(MESSAGE,),
    budget=lambda setting, size: Budget(1, setting.max_new_tokens),
    missing=made_for("split-evidence"),
)
def _exchange(setting: Setting, size: int) -> Solver:
    return Exchange(cast(SplitEvidenceTask, setting.task), size)
