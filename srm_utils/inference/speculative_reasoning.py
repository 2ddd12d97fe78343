"""Speculation by steps: a small model writes the next step, a judge weighs it, a large one writes it where it fails.

A step need not be the large model's own words, only good enough: the text may differ from what either would have
written, unlike in `speculative_decoding`. The large model can judge by its own likelihood or by being asked
(pan2025specreason), or a reward decides (liao2025rsd). A judge is a function, so that your own can replace it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from srm_utils.inference.asking import ask, chat_of, steps_by
from srm_utils.inference.solver import Attempt, Budget, attempt, keeps_prefixes
from srm_utils.inference.speculative_decoding import decoder_of
from srm_utils.inference.speculative_rule import distribution
from srm_utils.inference.state_scores import says, unjudged
from srm_utils.sampling.choice import inverse_cdf, stream_key, uniforms
from srm_utils.sampling.completion import Cost
from srm_utils.sampling.engine import sampling_mode
from srm_utils.sampling.text import ContinuationTokenizer
from srm_utils.tasks.dialects import JUDGE_SOLUTION, JUDGE_STEP
from srm_utils.tasks.problem import Problem, Prompt, Task

if TYPE_CHECKING:
    from srm_utils.models import LanguageModel
    from srm_utils.training.outcome_rewards import Scorer


@dataclass(frozen=True, slots=True)
class Step:
    """A step as it was written: by whom, in how many tokens, and whether it stayed in the text.

    `score` is the judge's of a small model's step; the large model's own are not judged.
    """

    text: str
    writer: Literal["small", "large"]
    tokens: int
    kept: bool
    score: float | None = None


@dataclass
class Candidates:
    """The steps that the small model proposes, one a problem, and all that a judge may go by.

    `before` are the texts so far and `drafts` what is proposed to follow. `own` are the small model's
    log-probabilities of the drafts' tokens; `weighed()` has the large model read them and returns its own. A judge
    adds what it spends to `costs`.
    """

    problems: Sequence[Problem]
    before: Sequence[str]
    drafts: Sequence[str]
    own: Sequence[Sequence[float]]
    large: LanguageModel
    task: Task
    weighed: Callable[[], list[list[float]]]
    costs: list[Cost]

    @property
    def texts(self) -> list[str]:
        """The texts with the proposed steps at their ends."""
        return [b + d for b, d in zip(self.before, self.drafts, strict=True)]

    def spend(self, costs: Sequence[Cost]) -> None:
        """Charge the judgement of each step."""
        self.costs = [a + b for a, b in zip(self.costs, costs, strict=True)]


#: Scores proposed steps, high is good.
Judge = Callable[[Candidates], Sequence[float]]
#: The probability with which a step of a score is kept: the weighting function of liao2025rsd.
Weight = Callable[[float], float]

# ---------------------------------------------------------------- judges


def by_likelihood(candidates: Candidates) -> list[float]:
    """The large model's probability per token of each step, which costs it one reading of the step.

    It must read the step anyway to go on from it.
    """
    return [per_token(logprobs) for logprobs in candidates.weighed()]


def by_question(candidates: Candidates) -> list[float]:
    """The probability with which the large model says "Yes" when asked if the step is right (pan2025specreason).

    A stated answer is asked about as a whole solution. Each question is read from its start, and charged so. Where
    there is no step to judge yet the score is `thoughts.unjudged`.
    """
    prompts: list[Prompt | None] = []
    large = candidates.large
    for problem, draft, text in zip(candidates.problems, candidates.drafts, candidates.texts, strict=True):
        steps = steps_by(large, text, problem)
        skill = JUDGE_STEP if candidates.task.extract(draft) is None else JUDGE_SOLUTION
        prompts.append(ask(large, skill, problem, steps) if steps else None)
    scores, costs = says(large, candidates.problems, prompts, otherwise=unjudged(large))
    candidates.spend(costs)
    return scores


def by_scorer(scorer: Scorer) -> Judge:
    """A process reward model, or whatever else scores the steps of a text, judges the last one (liao2025rsd)."""

    def judge(candidates: Candidates) -> list[float]:
        found = scorer.score(candidates.problems, candidates.texts)
        candidates.spend([s.cost for s in found])
        return [s.scores[-1] for s in found]

    return judge


def by_checker(candidates: Candidates) -> list[float]:
    """1 for a step in which the task's own checker finds nothing wrong, else 0: a perfect process reward, at no cost.

    A stated answer is checked too. It knows what no judge could: use it as the ceiling.
    """
    scores = []
    for problem, before, draft in zip(candidates.problems, candidates.before, candidates.drafts, strict=True):
        checks = candidates.task.check_steps(before + draft, problem)
        right = all(check.verdict != "wrong" for check in checks if check.end > len(before))
        answer = candidates.task.extract(draft)
        scores.append(float(right and (answer is None or candidates.task.matches(answer, problem))))
    return scores


def per_token(logprobs: Sequence[float]) -> float:
    """Geometric mean of probabilities given as natural logarithms; 0 for none.

    >>> round(per_token([math.log(0.25), math.log(1.0)]), 6)
    0.5
    """
    return math.exp(sum(logprobs) / len(logprobs)) if logprobs else 0.0


# ---------------------------------------------------------------- weights


def above(threshold: float) -> Weight:
    """Keeps steps that score more than the threshold: the binary step of liao2025rsd, and pan2025specreason's rule.

    Scores are probabilities: below 0 every step is kept, at 1 none.

    >>> above(0.5)(0.5), above(0.5)(0.6)
    (0.0, 1.0)
    """
    return lambda score: float(score > threshold)


def clipped(score: float) -> float:
    """Keeps a step with its score as the probability (liao2025rsd, the clipping weight)."""
    return min(1.0, max(0.0, score))


# ---------------------------------------------------------------- the solver


@dataclass(frozen=True)
class SpeculativeReasoning:
    """The small model `drafter` writes each step, and the model given to `solve`, the large one, where it is not kept.

    `judge` scores a proposed step and `weight` turns the score into the probability of keeping it. A step ends with
    `mark`, by default the step mark of its writer's chat. Both models keep their caches, and a rejected step is cut off
    again; all problems of a batch advance together. The attempt's trace is a list of `Step`, rejected ones too.
    `budget.max_new_tokens` holds for the text.
    """

    task: Task
    drafter: LanguageModel
    judge: Judge = by_likelihood
    weight: Weight = above(0.7)
    style: str = "cot"
    mark: str | None = None
    temperature: float = 0.0
    seed: int = 0
    max_batch: int = 256
    name: str = "speculative reasoning"

    def solve(self, problems: Sequence[Problem], model: LanguageModel, budget: Budget) -> list[Attempt]:
        attempts: list[Attempt] = []
        with sampling_mode(self.drafter.model), sampling_mode(model.model):
            for start in range(0, len(problems), self.max_batch):
                attempts += self._batch(problems[start : start + self.max_batch], model, budget.max_new_tokens)
        return attempts

    def _batch(self, problems: Sequence[Problem], model: LanguageModel, budget: int) -> list[Attempt]:
        began, n = time.perf_counter(), len(problems)
        prompts = [self.task.prompt(p, self.style) for p in problems]
        small = Writer(self.drafter, prompts, self.mark, self.temperature, self.seed)
        large = Writer(model, prompts, self.mark, self.temperature, self.seed + 1)
        traces: list[list[Step]] = [[] for _ in problems]
        costs = [Cost() for _ in problems]
        open_ = list(range(n))
        while open_:
            left = [budget - sum(s.tokens for s in traces[r] if s.kept) for r in open_]
            drafts = small.write(open_, left)
            scores = self._scores(problems, open_, drafts, traces, large, costs)
            kept = [self.weight(s) > u for s, u in zip(scores, small.uniforms(open_), strict=True)]
            mended = [r for r, keep in zip(open_, kept, strict=True) if not keep]
            own = dict(zip(mended, large.write(mended, [left[open_.index(r)] for r in mended]), strict=True))
            going = []
            for r, draft, score, keep, room in zip(open_, drafts, scores, kept, left, strict=True):
                traces[r].append(Step(draft.text, "small", len(draft.ids), keep, score))
                if not keep:
                    traces[r].append(Step(own[r].text, "large", len(own[r].ids), True))
                said, writer = (draft, small) if keep else (own[r], large)
                for each in (small, large):
                    each.take(r, said.ids if each is writer else each.tokenise(r, said))
                done = said.ended or len(said.ids) >= room or self.task.extract(text_of(traces[r])) is not None
                going += [] if done else [r]
            open_ = going
        seconds = (time.perf_counter() - began) / n
        out = []
        for r, problem in enumerate(problems):
            cost = costs[r] + small.cost(r) + large.cost(r) + Cost(seconds=seconds - costs[r].seconds)
            out.append(attempt(self.task, problem, self.task.final(text_of(traces[r]), problem), traces[r], cost))
        return out

    def _scores(
        self,
        problems: Sequence[Problem],
        rows: list[int],
        drafts: list[Written],
        traces: list[list[Step]],
        large: Writer,
        costs: list[Cost],
    ) -> list[float]:
        """The judge's scores; a draft without a word is not shown to it and scores minus infinity."""
        shown = [i for i, d in enumerate(drafts) if d.text.strip()]
        if not shown:
            return [-math.inf] * len(rows)
        candidates = Candidates(
            [problems[rows[i]] for i in shown],
            [text_of(traces[rows[i]]) for i in shown],
            [drafts[i].text for i in shown],
            [drafts[i].logprobs for i in shown],
            large.model,
            self.task,
            lambda: large.weigh([rows[i] for i in shown], [large.tokenise(rows[i], drafts[i]) for i in shown]),
            [Cost() for _ in shown],
        )
        scores, judged = [-math.inf] * len(rows), self.judge(candidates)
        for i, score, cost in zip(shown, judged, candidates.costs, strict=True):
            scores[i] = score
            costs[rows[i]] += cost
        return scores


def text_of(trace: Sequence[Step]) -> str:
    """The text that was kept.

    >>> text_of([Step(" 1 + 1 = 3.", "small", 6, False, 0.1), Step(" 1 + 1 = 2.", "large", 6, True)])
    ' 1 + 1 = 2.'
    """
    return "".join(step.text for step in trace if step.kept)


# ---------------------------------------------------------------- one model's side of it


@dataclass(frozen=True, slots=True)
class Written:
    """A step that a model wrote: its text, tokens and log-probabilities, and whether an end token closed it."""

    text: str
    ids: list[int]
    logprobs: list[float]
    ended: bool


class Writer:
    """A model and its cache over many growing texts: it writes a step, weighs one, or takes one over."""

    def __init__(
        self, model: LanguageModel, prompts: Sequence[Prompt], mark: str | None, temperature: float, seed: int
    ) -> None:
        self.model, self.temperature = model, temperature
        self.mark = mark if mark is not None else chat_of(model).step_mark
        self.ids = [model.encode(p) for p in prompts]
        self.prompt_tokens = [len(ids) for ids in self.ids]
        self.keys = [stream_key(seed, ids, i) for i, ids in enumerate(self.ids)]
        self.decoder = decoder_of(model, len(prompts))
        self.written = np.zeros(len(prompts), dtype=np.int64)

    def write(self, rows: Sequence[int], limits: Sequence[int]) -> list[Written]:
        """The next step of each row's text, at most `limits` tokens; the texts themselves stay as they are."""
        if not rows:
            return []
        new: dict[int, list[int]] = {r: [] for r in rows}
        logprobs: dict[int, list[float]] = {r: [] for r in rows}
        limit, open_ = dict(zip(rows, limits, strict=True)), list(rows)
        readers = {r: self._reader(r) for r in rows}
        self._cut()
        unread = [self.ids[r][self.decoder.lengths[r] :] for r in rows]
        if not self.decoder.layers and any(len(u) > 1 for u in unread):
            # Of a prompt, only the logits behind its last token are asked for.
            self.decoder.read([u[:-1] for u in unread], rows, logits=False)
            unread = [u[-1:] for u in unread]
        last = torch.tensor([len(u) - 1 for u in unread], device=self.model.model.device)
        logits = self.decoder.read(unread, rows)[torch.arange(len(rows), device=last.device), last]
        while True:
            u = self.uniforms(open_, [len(new[r]) for r in open_])
            probabilities = distribution(logits, self.temperature)
            tokens = inverse_cdf(probabilities, torch.from_numpy(u).to(logits.device)).tolist()
            logs = logits.float().log_softmax(-1)
            going = []
            for i, (r, token) in enumerate(zip(open_, tokens, strict=True)):
                new[r].append(token)
                logprobs[r].append(float(logs[i, token]))
                whole = token in self.model.end_ids or self._complete(readers[r], new[r])
                if not whole and len(new[r]) < limit[r]:
                    going.append(r)
            if not going:
                break
            logits = self.decoder.read([new[r][-1:] for r in going], going)[:, -1]
            open_ = going
        for r in rows:
            self.written[r] += len(new[r])
        return [self._written(readers[r], new[r], logprobs[r]) for r in rows]

    def weigh(self, rows: Sequence[int], steps: Sequence[Sequence[int]]) -> list[list[float]]:
        """Log-probabilities of the tokens of a given step, if it came next in each row's text."""
        self._cut()
        unread = [self.ids[r][self.decoder.lengths[r] :] for r in rows]
        given = [[*u, *step[:-1]] for u, step in zip(unread, steps, strict=True)]
        logs = self.decoder.read(given, rows).float().log_softmax(-1)
        return [
            [float(logs[i, len(u) - 1 + j, token]) for j, token in enumerate(step)]
            for i, (u, step) in enumerate(zip(unread, steps, strict=True))
        ]

    def take(self, row: int, ids: Sequence[int]) -> None:
        """Go on from this step, whoever wrote it."""
        self.ids[row] += ids

    def tokenise(self, row: int, written: Written) -> list[int]:
        """Another model's step as it continues a row's text in this model's tokens, its end token left out."""
        return self._reader(row).encode(written.text)

    def uniforms(self, rows: Sequence[int], ahead: Sequence[int] | None = None) -> np.ndarray:
        """A random number a row, fixed by seed, row and length: for a token so far `ahead`, or for a verdict."""
        keys = np.array([self.keys[r] for r in rows], dtype=np.uint64)
        at = [2 * len(self.ids[r]) + 1 for r in rows]
        if ahead is not None:
            at = [2 * (len(self.ids[r]) + a) for r, a in zip(rows, ahead, strict=True)]
        return uniforms(keys, np.array(at, dtype=np.uint64))

    def cost(self, row: int) -> Cost:
        """All tokens that this model processed for a row: the prompt, what it wrote, what it read of the other's."""
        read, prompt = int(self.decoder.tokens[row]), self.prompt_tokens[row]
        prompt = min(prompt, read)
        written = int(self.written[row])
        return Cost(
            prompt_tokens=prompt,
            generated_tokens=written,
            scored_tokens=max(0, read - prompt - written),
            flops=float(self.decoder.flops[row]),
            peak_bytes=self.model.bytes + self.decoder.bytes,
        )

    def _cut(self) -> None:
        """Forget what was proposed and not taken; the last token is left to read, for its logits."""
        self.decoder.cut([len(ids) - 1 for ids in self.ids])

    def _reader(self, row: int) -> ContinuationTokenizer:
        return ContinuationTokenizer(self.model.tokenizer, self.ids[row])

    def _complete(self, reader: ContinuationTokenizer, ids: list[int]) -> bool:
        return self.mark in reader.decode(ids).lstrip()

    def _written(self, reader: ContinuationTokenizer, ids: list[int], logprobs: list[float]) -> Written:
        ended = ids[-1] in self.model.end_ids
        text = reader.decode_whole(ids[:-1] if ended else ids)
        return Written(text, ids, logprobs, ended)


keeps_prefixes(SpeculativeReasoning)
