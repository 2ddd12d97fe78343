"""What an adapter has changed: `srm models check` measures the real model and its adapters on the same problems.

Greedy accuracy on stories in sentences never trained on, and on published word problems; one sample at temperature 1
beside it, for training may only have sharpened what was there; and what was known before: questions of common sense,
and how likely ordinary text is. Every finished row is kept at once, and the same command goes on from there.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from srm_utils.evaluation import evaluate
from srm_utils.inference.chain_of_thought import worked_examples
from srm_utils.models import Chat, LanguageModel, load_model
from srm_utils.tasks import get_task
from srm_utils.tasks.problem import Problem, Prompt, Task
from srm_utils.tasks.stories import StoriesTask

#: Sets of word problems: how many problems, and how many tokens a solution may take.
SETS = {"hf:multiarith": 128, "hf:addsub": 128, "hf:singleeq": 128, "hf:svamp": 128, "hf:gsm8k": 192}


@dataclass(frozen=True, slots=True)
class Row:
    """One figure: which model, how it was asked, on what, and its 95 % interval (Wilson's for shares)."""

    model: str
    prompt: str
    measure: str
    value: float
    low: float
    high: float
    n: int
    tokens: float


def check(model: str, out: Path, problems: int, data: str | os.PathLike[str] | None = None) -> Iterator[Row]:
    """Measure one model, row by row; `out` is the JSON-lines file that keeps them.

    The model without an adapter is asked in its better form, plain text with three worked examples, and without
    examples as the adapters are. Raises what `load_model` and `get_task` raise.
    """
    done = {(r.model, r.prompt, r.measure) for r in read(out)}
    shots = (0,) if model != "smollm2" else (3, 0)
    conditions = [(k, name) for k in shots for name in ("stories", "stories, temperature 1", *SETS)]
    conditions += [(0, "hf:commonsenseqa"), (0, "perplexity")]
    loaded: LanguageModel | None = None
    for k, name in conditions:
        asked = f"{k} examples" if k else "no example"
        if (model, asked, name) in done:
            continue
        loaded = loaded or _load(model)
        row = _row(loaded, model, asked, k, name, problems, data)
        with open(out, "a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(row)) + "\n")
        yield row


def read(out: Path) -> list[Row]:
    """The rows that a file holds; a last line that was cut off is left out."""
    if not out.is_file():
        return []
    whole = out.read_text(encoding="utf-8")
    return [Row(**json.loads(line)) for line in whole[: whole.rfind("\n") + 1].splitlines()]


def _load(model: str) -> LanguageModel:
    chat = Chat(template=False) if model == "smollm2" else None
    return load_model(model, device="cpu", chat=chat)


def _row(
    model: LanguageModel, name: str, asked: str, shots: int, measure: str, n: int, data: str | os.PathLike[str] | None
) -> Row:
    if measure == "perplexity":
        return _perplexity(model, name, asked, n, data)
    if measure.startswith("stories"):
        task: Task = StoriesTask()
        problems = task.problems(n, split="test", difficulty=(1, 2, 3), templates="held-out")
        length = 96
    else:
        task = get_task(measure, data)
        problems, length = task.problems(n, split="test"), SETS.get(measure, 24)
    style = "direct" if measure == "hf:commonsenseqa" else "cot"
    shown = worked_examples(StoriesTask(), "cot", shots, difficulty=2) if shots else ()
    prompts = [task.prompt(p, style, shown) for p in problems]
    heat = 1.0 if measure.endswith("temperature 1") else 0.0
    samples = 4 if heat else 1
    found = evaluate(task, problems, model.sample(prompts, samples, length, temperature=heat), model)
    e = found.accuracy()
    tokens = found.cost_at(1).generated_tokens
    return Row(name, asked, measure, e.value, e.low, e.high, e.n, tokens)


def _perplexity(model: LanguageModel, name: str, asked: str, n: int, data: str | os.PathLike[str] | None) -> Row:
    """exp of the mean negative log-likelihood (nats) of a token of questions that no training text held."""
    problems: list[Problem] = get_task("hf:gsm8k", data).problems(n, split="test")
    start: list[Prompt | str] = ["Question:"] * n
    scored = model.score(start, [f" {p.question}" for p in problems])
    means = [-s.logprob / len(s.token_ids) for s in scored]
    mean = sum(means) / n
    spread = math.sqrt(sum((m - mean) ** 2 for m in means) / (n - 1) / n)
    low, high = math.exp(mean - 1.96 * spread), math.exp(mean + 1.96 * spread)
    return Row(name, asked, "perplexity", math.exp(mean), low, high, n, sum(len(s.token_ids) for s in scored) / n)
