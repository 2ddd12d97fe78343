"""Chain of thought: one prompt, one answer, and how the prompt decides what is written in between.

Direct answers, the zero-shot trigger (kojima2022large), worked examples (wei2022chain), plan-and-solve
(wang2023plan), drafts (xu2025cod), least-to-most (zhou2022least), and chain-of-thought decoding, which
needs no prompt at all (wang2024chain).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import TYPE_CHECKING

from srm_utils.inference.asking import ANSWER_TRIGGER, ask, chat_of, marked, newly, stopped, triggered
from srm_utils.inference.entry import Setting, needs_style, solver
from srm_utils.inference.solver import Attempt, Budget, Solver, attempt, keeps_prefixes
from srm_utils.sampling.completion import Completion, Cost, group_cost
from srm_utils.sampling.text import ContinuationTokenizer
from srm_utils.tasks.dialects import DECOMPOSE, SOLVE
from srm_utils.tasks.problem import Problem, Prompt, Task

if TYPE_CHECKING:
    from srm_utils.models import LanguageModel


@dataclass(frozen=True)
class Prompting:
    """Asks in one style, greedily, and extracts the answer with a second short prompt where none was stated.

    `style` is a key of `tasks.problem.INSTRUCTIONS` ("unmarked" leaves the choice to the model),
    `examples` are worked (problem, solution) pairs shown first.
    """

    task: Task
    style: str = "cot"
    examples: tuple[tuple[Problem, str], ...] = ()

    @property
    def name(self) -> str:
        return f"{self.style}, {len(self.examples)} examples" if self.examples else self.style

    def solve(self, problems: Sequence[Problem], model: LanguageModel, budget: Budget) -> list[Attempt]:
        prompts = [self.task.prompt(p, self.style, self.examples) for p in problems]
        first = [group[0] for group in model.sample(prompts, 1, budget.max_new_tokens, temperature=0)]
        texts, costs = [c.text for c in first], [group_cost([c]) for c in first]
        silent = [i for i, text in enumerate(texts) if self.task.extract(text) is None]
        asked = [replace(prompts[i], prefill=triggered(model, texts[i])) for i in silent]
        for i, prompt, group in zip(silent, asked, model.sample(asked, 1, 16, temperature=0), strict=True):
            texts[i] = prompt.prefill + newly(model, prompt.prefill, group[0])
            costs[i] += group_cost([group[0]])
        return [
            attempt(self.task, p, self.task.final(text, p), text, cost)
            for p, text, cost in zip(problems, texts, costs, strict=True)
        ]


def worked_examples(
    task: Task, style: str, shots: int, difficulty: int, seed: int = 0
) -> tuple[tuple[Problem, str], ...]:
    """Problems of the train split with their gold solutions in a style, for few-shot prompts."""
    rng = Random(seed)
    return tuple(
        (p, task.solution(p, style, rng)) for p in task.problems(shots, split="train", seed=seed, difficulty=difficulty)
    )


@dataclass(frozen=True)
class LeastToMost:
    """Asks for the next smaller question and then for its answer, one call each, until an answer is stated.

    All problems advance together (zhou2022least, with both stages in one growing text).
    """

    task: Task
    max_questions: int = 12
    name: str = "least-to-most"

    def solve(self, problems: Sequence[Problem], model: LanguageModel, budget: Budget) -> list[Attempt]:
        texts = ["" for _ in problems]
        costs = [Cost() for _ in problems]
        left = [budget.max_new_tokens] * len(problems)
        open_ = list(range(len(problems)))
        for turn in range(2 * self.max_questions):
            # Even turns end where the smaller question does, odd ones where its answer does.
            mark = "?" if turn % 2 == 0 else chat_of(model).step_mark
            prompts = [replace(ask(model, DECOMPOSE, self.task, problems[i]), prefill=texts[i]) for i in open_]
            drawn = model.sample(prompts, 1, [left[i] for i in open_], temperature=0, stop=(mark,))
            going = []
            for i, (completion,) in zip(open_, drawn, strict=True):
                ended = not stopped(model, completion)
                said = newly(model, texts[i], completion)
                texts[i] += said if ended else marked(model, said, completion, mark)
                costs[i] += group_cost([completion])
                left[i] -= len(completion.token_ids)
                if not ended and left[i] > 0 and self.task.extract(texts[i]) is None:
                    going.append(i)
            open_ = going
            if not open_:
                break
        return [
            attempt(self.task, p, self.task.final(t, p), t, c) for p, t, c in zip(problems, texts, costs, strict=True)
        ]


@dataclass(frozen=True)
class ChainOfThoughtDecoding:
    """Branches over the k likeliest first tokens, goes on greedily, and keeps the most certain answer.

    A path's certainty is the mean gap between the two likeliest tokens over the tokens of its answer
    (wang2024chain, equation 1). Paths with one answer add up their certainty, as the paper's aggregation does.
    """

    task: Task
    k: int = 8
    aggregate: bool = True

    @property
    def name(self) -> str:
        return f"CoT decoding, k={self.k}"

    def solve(self, problems: Sequence[Problem], model: LanguageModel, budget: Budget) -> list[Attempt]:
        prompts = [self.task.prompt(p, "unmarked") for p in problems]
        first, reading = likeliest_first_tokens(model, prompts, self.k)
        branches = [
            replace(prompt, prefill=token) for prompt, tokens in zip(prompts, first, strict=True) for token in tokens
        ]
        drawn = [g[0] for g in model.sample(branches, 1, budget.max_new_tokens, temperature=0)]
        gaps, scored = answer_gaps(model, self.task, branches, drawn)
        attempts = []
        for i, problem in enumerate(problems):
            mine = range(i * self.k, (i + 1) * self.k)
            paths = [(f"{branches[j].prefill}{drawn[j].text}".strip(), gaps[j]) for j in mine]
            votes: dict[str, float] = {}
            for text, gap in paths:
                answer = self.task.final(text, problem)
                if answer is not None:
                    votes[answer] = votes.get(answer, 0.0) + gap if self.aggregate else max(votes.get(answer, 0.0), gap)
            answer = max(votes, key=lambda a: votes[a]) if votes else None
            # The first words, the branches, and the certainty of each are read one after the other.
            whole = Cost.total([reading[i], *(group_cost([drawn[j]]) for j in mine), *(scored[j] for j in mine)])
            unread = sum(self.task.final(text, problem) is None for text, _ in paths)
            attempts.append(attempt(self.task, problem, answer, paths, whole, unread))
        return attempts


def likeliest_first_tokens(
    model: LanguageModel, prompts: Sequence[Prompt], k: int
) -> tuple[list[list[str]], list[Cost]]:
    """The k likeliest first words of an answer to each prompt, likeliest first, and what reading each prompt cost."""
    asked = [model.encode(prompt) for prompt in prompts]
    logits, costs = model.read(asked, [1] * len(asked))
    words = []
    for ids, row in zip(asked, logits, strict=True):
        reader = ContinuationTokenizer(model.tokenizer, ids)
        words.append([reader.decode([t], special=True) for t in row[0].topk(k).indices.tolist()])
    return words, costs


def answer_gaps(
    model: LanguageModel, task: Task, prompts: Sequence[Prompt], completions: Sequence[Completion]
) -> tuple[list[float], list[Cost]]:
    """For each completion, the mean gap p1 - p2 over the tokens of its stated answer, and what reading it cost."""
    starts = [_answer_start(model, task, p, c) for p, c in zip(prompts, completions, strict=True)]
    # Where no answer is stated there is nothing to read. The last token says nothing about those before it.
    stated = [i for i, start in enumerate(starts) if start is not None and start < len(completions[i].token_ids)]
    texts = [[*model.encode(prompts[i]), *completions[i].token_ids[:-1]] for i in stated]
    logits, spent = model.read(texts, [len(completions[i].token_ids) - (starts[i] or 0) for i in stated])
    gaps, costs = [0.0] * len(starts), [Cost()] * len(starts)
    for i, rows, cost in zip(stated, logits, spent, strict=True):
        top = rows.float().softmax(-1).topk(2).values
        gaps[i], costs[i] = float((top[:, 0] - top[:, 1]).mean()), cost
    return gaps, costs


def _answer_start(model: LanguageModel, task: Task, prompt: Prompt, completion: Completion) -> int | None:
    """Index of the first completion token of the stated answer; None when no answer was stated.

    It follows the last "The answer is", or else it is where the answer was last written.
    """
    whole = f"{prompt.prefill}{completion.text}"
    answer = task.extract(whole)
    if answer is None:
        return None
    ids = list(completion.token_ids)
    reader = ContinuationTokenizer(model.tokenizer, model.encode(prompt))
    for start in range(len(ids) - 1, -1, -1):
        if f"{prompt.prefill}{reader.decode(ids[:start])}".endswith(ANSWER_TRIGGER):
            return start
    at = whole.rfind(answer)
    lengths = (len(f"{prompt.prefill}{reader.decode(ids[: n + 1])}") for n in range(len(ids)))
    return next((n for n, length in enumerate(lengths) if length > at), None) if at >= 0 else None


keeps_prefixes(Prompting, LeastToMost, ChainOfThoughtDecoding)


@solver("direct", "answers at once, greedily", notebook="21", skills=(SOLVE,), most=1)
def _direct(setting: Setting, size: int) -> Solver:
    return Prompting(setting.task, "direct")


@solver("greedy", "one chain of thought, greedily (wei2022chain)", notebook="21", skills=(SOLVE,), most=1)
def _greedy(setting: Setting, size: int) -> Solver:
    return Prompting(setting.task, setting.style)


@solver(
    "least-to-most",
    "one smaller question after another (zhou2022least)",
    notebook="21",
    skills=(DECOMPOSE,),
    most=1,
    missing=needs_style("decompose"),
)
def _least_to_most(setting: Setting, size: int) -> Solver:
    return LeastToMost(setting.task)


@solver(
    "cot-decoding",
    "the surest of the chains behind the N likeliest first tokens (wang2024chain)",
    notebook="21",
    skills=(SOLVE,),
    least=2,
    most=16,
)
def _cot_decoding(setting: Setting, size: int) -> Solver:
    return ChainOfThoughtDecoding(setting.task, size)
