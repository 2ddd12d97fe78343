"""Distillation: a small model learns from a larger one's answers or from its distributions.

Sequence-level distillation is fine-tuning on the teacher's own answers (kim2016sequence, section 3.2): `examples` of
`sampled` records (annotation.py) into `train_supervised` (supervised.py); the first part of this file makes such data
in more ways. Token-level distillation (hinton2015distilling) compares whole distributions at every token, on given
answers or, on-policy, on what the student writes itself (agarwal2024policy); TRL's stable trainer has only the
latter, so the loop is ours and the loss equals both of TRL's.
"""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any

from srm_utils.models import LanguageModel, load_model
from srm_utils.sampling.completion import Cost, group_cost
from srm_utils.sampling.engine import sampling_mode
from srm_utils.tasks.problem import INSTRUCTIONS, Problem, Prompt, Task
from srm_utils.tasks.words import answer_sentence
from srm_utils.training.annotation import Annotated, examples
from srm_utils.training.checkpoint import load_checkpoint, open_run, save_checkpoint
from srm_utils.training.outcome_rewards import batch_indices, rate_share
from srm_utils.training.policy_gradient import take_step
from srm_utils.training.supervised import (
    BITS,
    IGNORED,
    Example,
    Method,
    SupervisedConfig,
    TrainedModel,
    default_rate,
    encode_example,
    run_fingerprint,
)

if TYPE_CHECKING:
    import torch

# ---------------------------------------------------------------- what a student is shown


def with_rationales(records: Sequence[Annotated], task: Task, labels: int = 1) -> list[Example]:
    """Distilling step by step: the rationale is a second task beside the answer (hsieh2023distilling, equation 3).

    Each record is one example asked in the style "cot" with its text, and `labels` equal ones asked in the style
    "direct" with the answer alone; the student answers directly afterwards, at no extra cost. The mean over tokens
    weighs the two tasks by their length, which `labels` evens out. Raises ValueError for a record without an answer.
    """
    direct = []
    for record in records:
        if record.answer is None:
            raise ValueError(f"The record of problem {record.problem.id!r} states no answer; sift the records first.")
        direct.append((task.prompt(record.problem, "direct"), answer_sentence(record.answer)))
    return [*examples(records, task, "cot"), *(example for example in direct for _ in range(labels))]


def mixed(rare: Sequence[Annotated], usual: Sequence[Annotated], share: float, seed: int = 0) -> list[Annotated]:
    """Mix distillation: a `share` of the problems from one list, the others from a second one (li2025small, section 4).

    Long chains among short ones, or a large teacher's answers among a small one's. Every problem that both lists have
    comes once, as its first record there, in the order of the second list. Raises ValueError where they have none in
    common.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"A share lies between 0 and 1; it is {share}.")
    first: dict[str, Annotated] = {r.problem.id: r for r in reversed(rare)}
    second: dict[str, Annotated] = {r.problem.id: r for r in reversed(usual)}
    common = [name for name in dict.fromkeys(r.problem.id for r in usual) if name in first]
    if not common:
        raise ValueError("The two lists hold no problem in common; annotate the same problems in both ways.")
    chosen = set(Random(f"mixed/{seed}").sample(common, round(share * len(common))))
    return [(first if name in chosen else second)[name] for name in common]


def decomposition(text: str) -> tuple[str, list[tuple[str, str]]]:
    """A text's plan and its sub-questions with their answers; the plan is what stands before the first question.

    >>> decomposition("First: what is 2 + 3? 2 + 3 = 5. The answer is 5.")
    ('', [('First: what is 2 + 3?', '2 + 3 = 5. The answer is 5.')])
    """
    parts = [part.strip() for part in re.split(r"([^.?]+\?)", text)]
    return parts[0], list(zip(parts[1::2], parts[2::2], strict=True))


def socratic(records: Sequence[Annotated], task: Task) -> tuple[list[Example], list[Example]]:
    """Examples for two students: one that asks the sub-questions, one that answers (shridhar2023distilling, section 3).

    The texts are those of the style "decompose". The questioner writes the plan and all questions at once; the
    answerer reads the problem, the plan, what was asked and answered so far and the next question. Raises ValueError
    where no text holds a question.
    """
    asking, answering = [], []
    for r in records:
        plan, pairs = decomposition(r.text)
        if not pairs:
            continue
        asking.append((task.prompt(r.problem, "decompose"), " ".join([plan, *(q for q, _ in pairs)]).strip()))
        told = plan
        for question, answer in pairs:
            told = f"{told} {question}".strip()
            answering.append((_answer_prompt(r.problem, told), answer))
            told = f"{told} {answer}"
    if not asking:
        raise ValueError("No record asks a sub-question; have them written in the style 'decompose'.")
    return asking, answering


def answer_questions(
    questioner: LanguageModel,
    answerer: LanguageModel,
    task: Task,
    problems: Sequence[Problem],
    max_new_tokens: int = 128,
) -> tuple[list[str], list[Cost]]:
    """What two `socratic` students write together, greedily: plan, questions, and an answer after each; with its cost.

    All problems' first questions are answered in one call, then all second ones. The answerer does not know which
    question is the last; where it has not drawn the conclusion, the number it came to last is the answer. Questions
    that would not fit what the answerer reads stay open.
    """
    groups = questioner.sample([task.prompt(p, "decompose") for p in problems], 1, max_new_tokens, 0.0)
    costs = [group_cost(g) for g in groups]
    texts, open_questions = [], []
    for (asked,) in groups:
        plan, pairs = decomposition(asked.text.strip())
        texts.append(plan)
        open_questions.append([q for q, _ in pairs])
    for turn in range(max(map(len, open_questions), default=0)):
        asked_now = {i: f"{texts[i]} {qs[turn]}".strip() for i, qs in enumerate(open_questions) if turn < len(qs)}
        prompts = {i: _answer_prompt(problems[i], text) for i, text in asked_now.items()}
        prompts = {i: p for i, p in prompts.items() if len(answerer.encode(p)) < answerer.positions}
        if not prompts:
            break
        answers = answerer.sample(list(prompts.values()), 1, max_new_tokens, 0.0)
        for i, (answer,) in zip(prompts, answers, strict=True):
            texts[i] = f"{asked_now[i]} {answer.text.strip()}"
            costs[i] += group_cost([answer])
    for i, text in enumerate(texts):
        numbers = re.findall(r"\d+", text)
        if task.extract(text) is None and open_questions[i] and numbers:
            texts[i] = f"{text} {answer_sentence(numbers[-1])}"
    return texts, costs


# ---------------------------------------------------------------- token by token


@dataclass(frozen=True, slots=True)
class DistillationConfig:
    """How to distil token by token.

    `beta` chooses the divergence: 0 the forward KL, which covers all that the teacher would say; 1 the reverse KL,
    which seeks what it says most (gu2024minillm); between them the generalised Jensen-Shannon divergence. `on_policy`
    is the share of steps on the student's own samples (lambda in agarwal2024policy), of at most `max_new_tokens`;
    the others read the answers given. `temperature` softens both distributions in the loss (hinton2015distilling).
    The rest is as in `SupervisedConfig`.
    """

    beta: float = 0.0
    on_policy: float = 0.0
    temperature: float = 1.0
    max_new_tokens: int = 128
    method: Method = "full"
    steps: int = 60
    batch_size: int = 32
    learning_rate: float | None = None
    warmup: float = 0.1
    rank: int = 16
    alpha: int = 32
    save_every: int = 50
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in BITS:
            raise ValueError(f"There is no method {self.method!r}; choose one of {', '.join(BITS)}.")
        if min(self.steps, self.batch_size, self.rank, self.alpha, self.save_every, self.max_new_tokens) < 1:
            raise ValueError(
                "steps, batch_size, rank, alpha, save_every and max_new_tokens must be at least 1; the configuration "
                f"is {self}."
            )
        if not (0 <= self.beta <= 1 and 0 <= self.on_policy <= 1 and 0 <= self.warmup <= 1):
            raise ValueError(f"beta, on_policy and warmup must lie between 0 and 1; the configuration is {self}.")
        if not self.temperature > 0 or (self.learning_rate is not None and not self.learning_rate > 0):
            raise ValueError(f"temperature and learning_rate must be above 0; the configuration is {self}.")


def distillation_loss(
    student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor, beta: float = 0.0, temperature: float = 1.0
) -> torch.Tensor:
    """Generalised Jensen-Shannon divergence between teacher and student, mean over tokens (agarwal2024policy, eq. 1).

    `student` and `teacher` are logits of shape (rows, tokens, vocabulary) that predict the same tokens; `mask`, shape
    (rows, tokens), is true where there is one. beta KL(teacher | m) + (1 - beta) KL(student | m), where m is the
    mixture of beta parts teacher and 1 - beta parts student. It vanishes at both ends; what stands there is its limit
    over beta, the forward KL(teacher | student), and over 1 - beta, the reverse KL(student | teacher).

    >>> import torch
    >>> float(distillation_loss(torch.ones(1, 1, 4), torch.ones(1, 1, 4), torch.ones(1, 1), 0.5))
    0.0
    """
    seen = mask.bool()
    p = (teacher[seen].float() / temperature).log_softmax(-1)
    q = (student[seen].float() / temperature).log_softmax(-1)
    if beta == 0:
        return _kl(p, q).mean()
    if beta == 1:
        return _kl(q, p).mean()
    mixture = (p + math.log(beta)).logaddexp(q + math.log1p(-beta))
    return (beta * _kl(p, mixture) + (1 - beta) * _kl(q, mixture)).mean()


def _kl(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """Kullback-Leibler divergence of log-probabilities along the last axis."""
    return (p.exp() * (p - q)).sum(-1)


def completion_logits(
    network: Any, asked: Sequence[Sequence[int]], said: Sequence[Sequence[int]]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits that predict the tokens `said` after the prompts `asked`, and the mask of those that there are.

    Both have a row for each prompt, as many tokens as the longest completion has, and the first token first, so that
    two models that read different prompts can be compared.
    """
    import torch

    before, after = max(map(len, asked)), max(map(len, said))
    # Prompts are padded to the left, so that all completions begin in one column.
    rows = [[0] * (before - len(a)) + [*a, *s] + [0] * (after - len(s)) for a, s in zip(asked, said, strict=True)]
    real = [
        [0] * (before - len(a)) + [1] * (len(a) + len(s)) + [0] * (after - len(s))
        for a, s in zip(asked, said, strict=True)
    ]
    ids, mask = (torch.tensor(x, device=network.device) for x in (rows, real))
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    logits = network(
        input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False, logits_to_keep=after + 1
    ).logits
    return logits[:, :-1], mask[:, before:].bool()


def train_distilled(
    student: LanguageModel | str | os.PathLike[str],
    teacher: LanguageModel,
    data: Sequence[Example],
    config: DistillationConfig,
    out: str | os.PathLike[str],
    device: str = "auto",
    progress: bool = False,
) -> TrainedModel:
    """Train a student on a teacher's distributions and save it into `out`; the models given are left as they are.

    `data` are (prompt, answer); answers are read only in steps that are not on-policy. Each model reads the prompt in
    its own form. The log has one entry a step: loss, `gradient_norm` before it is cut at 1, whether the step was
    `on_policy`, mean `length` of the texts; tokens, flops and seconds count from the start, and flops the teacher's
    and those of the student's samples too. Goes on after an interruption as `train_supervised` does.

    Raises ValueError for no data, tokenizers that differ or an `out` that holds another run, ArithmeticError for a
    loss that is not a number.
    """
    import torch
    from tqdm import tqdm

    if not data:
        raise ValueError("There is nothing to distil on; give at least one (prompt, answer).")
    _check_tokenizers(student, teacher)
    shown = [[prompt.text(), answer] for prompt, answer in data]
    run = open_run(student, out, config, [*shown, run_fingerprint(teacher, [], SupervisedConfig())], device)
    if run.finished is not None:
        return run.finished
    learner, network, trained = run.policy, run.policy.model, run.trained
    rate = config.learning_rate or default_rate(config.method, learner.parameters)
    optimizer = torch.optim.AdamW(trained, lr=rate, betas=(0.9, 0.99), weight_decay=0.0)
    modules, optimizers = {"student": network}, {"adam": optimizer}
    begun, log = load_checkpoint(run.out, modules, optimizers) or (0, [])
    # Per token: 2 FLOPs a weight forwards, 2 backwards through it, 2 more where it is trained.
    met = learner.flops_per_token / 2
    passes = 4 * met + 2 * min(met, sum(p.numel() for p in trained))
    for step in tqdm(range(begun, config.steps), initial=begun, total=config.steps, disable=not progress):
        clock = time.perf_counter()
        prompts, said, drawn = completions(learner, data, config, step)
        read = [[m.encode(p) for p in prompts] for m in (learner, teacher)]
        student_logits, mask = completion_logits(network, read[0], said)
        with sampling_mode(teacher.model):
            teacher_logits, _ = completion_logits(teacher.model, read[1], said)
        # Large models of one family pad the same vocabulary to different sizes.
        shared = min(student_logits.shape[-1], teacher_logits.shape[-1])
        both = student_logits[..., :shared], teacher_logits[..., :shared].to(student_logits.device)
        loss = distillation_loss(*both, mask, config.beta, config.temperature)
        loss.backward()
        for group in optimizer.param_groups:
            group["lr"] = rate * rate_share(step, config.steps, round(config.warmup * config.steps))
        norm = take_step(optimizer, trained, float(loss.detach()))
        own, theirs = (sum(map(len, asked)) + sum(map(len, said)) for asked in read)
        before = log[-1] if log else {"tokens": 0, "flops": 0.0, "seconds": 0.0}
        log.append(
            {
                "step": step + 1,
                "loss": float(loss.detach()),
                "gradient_norm": norm,
                "on_policy": float(drawn is not None),
                "length": sum(map(len, said)) / len(said),
                "tokens": before["tokens"] + own,
                "flops": before["flops"] + passes * own + teacher.flops_per_token * theirs + (drawn or Cost()).flops,
                "seconds": before["seconds"] + time.perf_counter() - clock,
            }
        )
        if (step + 1) % config.save_every == 0 and step + 1 < config.steps:
            save_checkpoint(run.out, step + 1, modules, optimizers, log)
    last = log[-1]
    return run.finish(int(last["tokens"]), last["flops"], last["seconds"], log, [optimizer])


def completions(
    student: LanguageModel, data: Sequence[Example], config: DistillationConfig, step: int
) -> tuple[list[Prompt], list[list[int]], Cost | None]:
    """A step's prompts and the tokens to compare on: the student's samples and what they cost, or the answers given.

    A function of (seed, step) and, on-policy, of the student's present weights; a pass goes through all the data.
    """
    batch = [data[i] for i in batch_indices(len(data), config.batch_size, step, config.seed)]
    prompts = [prompt for prompt, _ in batch]
    if Random(f"{config.seed}/{step}/whose").random() >= config.on_policy:
        rows = [encode_example(student, prompt, answer) for prompt, answer in batch]
        return prompts, [[t for t in row["labels"] if t != IGNORED] for row in rows], None
    groups = student.sample(prompts, 1, config.max_new_tokens, seed=config.seed * 100_003 + step)
    spent = Cost.total(group_cost(g) for g in groups)
    return prompts, [list(c.token_ids) for (c,) in groups], spent


# ---------------------------------------------------------------- what the above share


def _answer_prompt(problem: Problem, told: str) -> Prompt:
    return Prompt(f"{problem.question} {told}", INSTRUCTIONS["direct"])


def _check_tokenizers(student: LanguageModel | str | os.PathLike[str], teacher: LanguageModel) -> None:
    """Raises ValueError where a token id means one thing to the student and another to the teacher."""
    if not isinstance(student, LanguageModel):
        student = load_model(student, device="cpu")
    own, theirs = ({i: t for t, i in m.tokenizer.get_vocab().items()} for m in (student, teacher))
    clash = min((i for i, token in own.items() if theirs.get(i, token) != token), default=None)
    if clash is not None:
        raise ValueError(
            f"Student and teacher have different tokenizers (token {clash} is {own[clash]!r} to one and "
            f"{theirs[clash]!r} to the other); take a teacher of the student's family, or fine-tune on its texts."
        )
