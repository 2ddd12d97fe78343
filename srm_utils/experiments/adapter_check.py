"""What an adapter has changed: `srm models check` measures the real model and its adapters on the same problems.

- What was taught: greedy accuracy on stories in sentences never trained on, and on published word problems. One sample
  at temperature 1 stands beside it, for training may only have sharpened what was there.
- What was known before and may be forgotten: questions of common sense and look-ups in a text, both by the likelihood
  of the options (a model of this size is far above guessing there, and near it where it must write a letter), and how
  likely ordinary text is.

Every finished row is kept at once, and the same command goes on from there.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

from srm_utils.evaluation import evaluate, paired
from srm_utils.evaluation.statistics import Estimate, wilson
from srm_utils.inference.chain_of_thought import worked_examples
from srm_utils.inference.plain_english import PLAIN_ENGLISH, read_text
from srm_utils.models import Chat, LanguageModel, load_model
from srm_utils.tasks import get_task
from srm_utils.tasks.problem import Prompt, Task
from srm_utils.tasks.worlds.stories import FIRST_NAMES, THINGS, StoriesTask

#: Sets of word problems, and how many tokens a solution may take.
SETS = {"hf:multiarith": 128, "hf:addsub": 128, "hf:singleeq": 128, "hf:svamp": 128, "hf:gsm8k": 192}
#: What is measured with examples in the prompt and without, and what is read without any.
TAUGHT = ("stories", "stories, temperature 1", *SETS)
KEPT = ("common sense", "look-ups", "perplexity of plain English", "perplexity of GSM8K questions")


@dataclass(frozen=True, slots=True)
class Row:
    """One figure: which model, how it was asked, on what, its 95 % interval, and the score of every problem.

    `scores` are empty for perplexities; `tokens` is the mean number of tokens written a sample.
    """

    model: str
    prompt: str
    measure: str
    value: float
    low: float
    high: float
    n: int
    tokens: float
    scores: tuple[float, ...] = ()


def check(model: str, out: Path, problems: int, data: str | os.PathLike[str] | None = None) -> Iterator[Row]:
    """Measure one model, row by row; `out` is the JSON-lines file that keeps them.

    `model` is a name or a folder. The model without an adapter is asked as plain text with three worked examples, and
    without examples as the adapters are. Raises what `load_model` and `get_task` raise.
    """
    done = {(r.model, r.prompt, r.measure) for r in read(out)}
    if out.is_file():
        _drop_cut_line(out)
    conditions = [(shots, m) for shots in ((3, 0) if model == "smollm2" else (0,)) for m in TAUGHT]
    loaded: LanguageModel | None = None
    for shots, measure in (*conditions, *((0, m) for m in KEPT)):
        asked = f"{shots} examples" if shots else "no example"
        if (model, asked, measure) in done:
            continue
        loaded = loaded or load_model(model, device="cpu", chat=Chat(template=False) if model == "smollm2" else None)
        estimate, scores, tokens = _measured(loaded, shots, measure, problems, data)
        e = estimate
        row = Row(model, asked, measure, e.value, e.low, e.high, e.n, tokens, scores)
        with open(out, "a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(row)) + "\n")
        yield row


def read(out: Path) -> list[Row]:
    """The rows that a file holds; a last line that was cut off is left out."""
    if not out.is_file():
        return []
    whole = out.read_text(encoding="utf-8")
    rows = [json.loads(line) for line in whole[: whole.rfind("\n") + 1].splitlines()]
    return [Row(**{**row, "scores": tuple(row.get("scores", ()))}) for row in rows]


def _drop_cut_line(out: Path) -> None:
    """Take away what a killed run wrote of its last row, so that the next row starts on a line of its own."""
    with open(out, "r+b") as file:
        file.truncate(file.read().rfind(b"\n") + 1)


def gains(rows: Sequence[Row], before: str, after: str) -> dict[str, Estimate]:
    """What `after` solves more than `before`, of the same problems asked alike, with paired 95 % intervals.

    Rows without an example in the prompt are compared. A measure that only one of the two has is left out.

    >>> row = Row("a", "no example", "stories", 0.5, 0.1, 0.9, 2, 10.0, (1.0, 0.0))
    >>> gains([row, Row("b", "no example", "stories", 1.0, 0.3, 1.0, 2, 10.0, (1.0, 1.0))], "a", "b")["stories"].value
    0.5
    """
    at = {(r.model, r.measure): r for r in rows if r.prompt == "no example" and r.scores}
    pairs = {m: (at[before, m], at[name, m]) for name, m in at if name == after and (before, m) in at}
    return {
        m: paired([b - a for a, b in zip(old.scores, new.scores, strict=True)]).interval(0.95)
        for m, (old, new) in pairs.items()
        if old.n == new.n
    }


def _measured(
    model: LanguageModel, shots: int, measure: str, n: int, data: str | os.PathLike[str] | None
) -> tuple[Estimate, tuple[float, ...], float]:
    """Estimate, scores by problem, and tokens written a sample."""
    if measure == "perplexity of plain English":
        return read_text(model, PLAIN_ENGLISH).perplexity, (), 0.0
    if measure == "perplexity of GSM8K questions":
        return _perplexity(model, [p.question for p in get_task("hf:gsm8k", data).problems(n, split="test")]), (), 0.0
    if measure in ("common sense", "look-ups"):
        scores = likeliest_is_right(model, common_sense(n, data) if measure == "common sense" else look_ups(n))
        return wilson(int(sum(scores)), n), scores, 0.0
    task: Task
    if measure in SETS:
        task, length = get_task(measure, data), SETS[measure]
        problems = task.problems(n, split="test")
    else:
        task, length = StoriesTask(), 96
        problems = task.problems(n, split="test", difficulty=(1, 2, 3), templates="held-out")
    shown = worked_examples(StoriesTask(), "cot", shots, difficulty=2) if shots else ()
    prompts = [task.prompt(p, "cot", shown) for p in problems]
    heat = 1.0 if measure.endswith("temperature 1") else 0.0
    found = evaluate(task, problems, model.sample(prompts, 4 if heat else 1, length, temperature=heat))
    scores = tuple(float(s) for s in found.scores)
    return found.accuracy(), scores, found.cost_at(1).generated_tokens


#: A text to go on from, the options that are weighed behind it, and which of them is right.
Choice = tuple[str, tuple[str, ...], int]


def common_sense(n: int, data: str | os.PathLike[str] | None = None) -> list[Choice]:
    """Test questions of CommonsenseQA (talmor2019commonsenseqa), with the texts of their options."""
    choices: list[Choice] = []
    for p in get_task("hf:commonsenseqa", data).problems(n, split="test"):
        options: dict[str, str] = p.facts["options"]
        question = p.question.partition("\nA.")[0]
        choices.append((f"Question: {question}\nAnswer:", tuple(options.values()), list(options).index(p.answer)))
    return choices


def look_ups(n: int, people: int = 5) -> list[Choice]:
    """Texts that say who has what, and a question for one of them: nothing has to be worked out.

    >>> look_ups(1)[0][0].splitlines()[-2:]
    ['Question: What does Sara have?', 'Answer: Sara has']
    """
    rng, choices = Random(0), []
    for _ in range(n):
        owners, things = rng.sample(FIRST_NAMES, people), rng.sample(THINGS, people)
        told = " ".join(f"{owner} has {thing}." for owner, thing in zip(owners, things, strict=True))
        i = rng.randrange(people)
        choices.append((f"{told}\nQuestion: What does {owners[i]} have?\nAnswer: {owners[i]} has", tuple(things), i))
    return choices


def likeliest_is_right(model: LanguageModel, choices: Sequence[Choice]) -> tuple[float, ...]:
    """1.0 for each text whose right option has the largest log-probability (nats) a character, else 0.0."""
    asked: list[Prompt | str] = [text for text, options, _ in choices for _ in options]
    scored = iter(model.score(asked, [f" {o}" for _, options, _ in choices for o in options]))
    scores = []
    for _, options, right in choices:
        weighed = [next(scored).logprob / len(option) for option in options]
        scores.append(float(weighed.index(max(weighed)) == right))
    return tuple(scores)


def _perplexity(model: LanguageModel, texts: Sequence[str]) -> Estimate:
    """exp of the mean negative log-likelihood (nats) of a token, of texts that no training text held."""
    n = len(texts)
    start: list[Prompt | str] = ["Question:"] * n
    means = [-s.logprob / len(s.token_ids) for s in model.score(start, [f" {text}" for text in texts])]
    mean = sum(means) / n
    spread = math.sqrt(sum((m - mean) ** 2 for m in means) / (n - 1) / n)
    return Estimate(math.exp(mean), math.exp(mean - 1.96 * spread), math.exp(mean + 1.96 * spread), n)
