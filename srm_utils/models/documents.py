"""The bundled family's pretraining text: documents of several solved problems in one style each.

A document keeps one task and one style, so that few-shot prompts have something to find; half of
them name the style after the question, the other half leave it to be inferred, so that alone on an
unmarked question the base answers directly or thinks first with about equal chance. Besides solving,
the text holds the skills that techniques ask for, in the words of `tasks.prompts`: the next step, judging,
verifying, criticising, revising, notes on earlier trials, plans, budgets, values of search states,
merging partial results, messages between agents. Everything is drawn from the `train` split.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice
from random import Random

from srm_utils.models.text.drills import DRILLS
from srm_utils.models.text.items import Item, Solution, draw
from srm_utils.models.text.skills import SKILLS, agent_message, think_again
from srm_utils.models.text.talk import TALK, TALK_SHARES, think_and_send
from srm_utils.tasks import get_task
from srm_utils.tasks.problem import Problem, Task, Templates

#: Share of documents by task.
TASK_SHARES: dict[str, float] = {
    "chain": 0.22,
    "graph": 0.30,
    "countdown": 0.18,
    "deduction": 0.10,
    "split-evidence": 0.04,
    "sudoku": 0.05,
    "sorting": 0.04,
    "large-numbers": 0.07,
}


#: Share of the styles where nothing names them; the open choice that reinforcement learning finds.
UNMARKED_SHARES: dict[str, float] = {"direct": 0.45, "cot": 0.45, "draft": 0.05, "verbose": 0.05}


#: Share of the styles where the question names them; a task takes those it has.
MARKED_SHARES: dict[str, float] = {
    "direct": 0.12,
    "cot": 0.30,
    "draft": 0.12,
    "verbose": 0.06,
    "plan": 0.06,
    "decompose": 0.06,
    "program": 0.06,
    "tool": 0.06,
    "check": 0.06,
    "retry": 0.05,
    "search": 0.25,
}


@dataclass(frozen=True)
class Mixture:
    """What a member reads. `marked` is the share of documents that name their style, `skills` that of
    documents other than solutions, `talk` that of what solvers and critics say to each other and to themselves,
    `drills` that of one hard thing many times, drawn among `drilled`; `spoiled` is the share of numbers, signs
    and names in solutions that are replaced; without `retry` no text ever says "Wait"."""

    marked: float = 0.5
    skills: float = 0.3
    talk: float = 0.0
    drills: float = 0.0
    drilled: tuple[str, ...] = ("numbers", "sums", "sums", "steps", "steps", "own")
    spoiled: float = 0.0
    retry: bool = True
    chat: bool = False


def documents(mixture: Mixture, seed: str) -> Iterator[list[Item]]:
    """An endless, seeded stream of documents, each a list of (prompt, answer).

    >>> items = next(documents(Mixture(), "doctest"))
    >>> items[0][0].text().startswith("Question:")
    True
    """
    rng = Random(seed)
    while True:
        if mixture.drills and rng.random() < mixture.drills:
            drill = DRILLS[rng.choice(mixture.drilled)]
            yield [item for _ in range(rng.randint(1, 2)) for item in drill(rng)]
            continue
        if mixture.talk and rng.random() < mixture.talk:
            task = get_task(_pick(rng, TALK_SHARES))
            spoken = rng.choice(TALK[task.name])
            yield [spoken(task, draw(task, rng), rng)]
            continue
        name = _pick(rng, TASK_SHARES)
        task = get_task(name)
        skills = [s for s in SKILLS.get(name, ()) if mixture.retry or s is not think_again]
        if mixture.talk:  # who learns to talk thinks first, always
            skills = [think_and_send if s is agent_message else s for s in skills]
        # A chat model is asked one thing at a time; a base reads several items in a row.
        count = rng.choice((1, 1, 1, 2, 3)) if mixture.chat else rng.randint(1, 5)
        if skills and rng.random() < mixture.skills:
            write: Callable[[Task, Problem, Random], Item] = rng.choice(skills)
            yield [write(task, draw(task, rng), rng) for _ in range(count)]
            continue
        marked = rng.random() < mixture.marked
        if not marked and mixture.chat:
            style = "cot"
        else:
            shares = MARKED_SHARES if marked else UNMARKED_SHARES
            available = {s: w for s, w in shares.items() if s in task.styles and (mixture.retry or s != "retry")}
            style = _pick(rng, available)
        items: list[Item] = []
        for _ in range(count):
            problem = draw(task, rng)
            text = task.solution(problem, style, rng)
            # The verdicts of a search follow from its numbers, so those are left as they are.
            solution = text if style == "search" else Solution(text)
            items.append((task.prompt(problem, style if marked else "unmarked"), solution))
        yield items


def _pick(rng: Random, shares: dict[str, float]) -> str:
    return rng.choices(list(shares), list(shares.values()))[0]


@cache
def sample_texts(count: int = 6000) -> list[str]:
    """Texts that hold every word of the family, for building its tokenizer: each task, style and skill."""
    texts = []
    for mixture in (Mixture(), Mixture(chat=True), Mixture(skills=1.0)):
        for items in islice(documents(mixture, "vocabulary"), count):
            texts.append("\n\n".join(f"{prompt.text()} {answer}" for prompt, answer in items))
    for name in TASK_SHARES:
        task = get_task(name)
        sentences: tuple[Templates, ...] = ("train", "held-out")
        for templates in sentences:
            for level in (*task.difficulties, *task.unseen_difficulties):
                rng = Random(f"{name}/{level}")
                texts += [task.draw(rng, level, templates).question for _ in range(50)]
    return texts
