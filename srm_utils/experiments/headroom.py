"""What a real model can do: one condition measured at a time, and a grid of them that can be taken up again.

A condition is a set of problems, the form of the prompt, the style asked for, the number of worked examples, the bits
of the weights, the temperature and the number of samples (`headroom_sets`). What is kept of it are problem ids, grades,
tokens and costs, and never the text of a problem.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from srm_utils.evaluation.evaluate import Evaluation, evaluate
from srm_utils.evaluation.mistakes import mistake
from srm_utils.evaluation.results import Result
from srm_utils.evaluation.statistics import Estimate
from srm_utils.experiments.headroom_sets import SETS, Condition, Form
from srm_utils.models.chat import Chat
from srm_utils.models.language_model import LanguageModel
from srm_utils.sampling.completion import Completion, Cost
from srm_utils.tasks.problem import Grade, Problem, Task

_LETTERS = {Grade.CORRECT: "c", Grade.WRONG: "w", Grade.UNPARSABLE: "u"}
_GRADES = {letter: grade for grade, letter in _LETTERS.items()}
_SAID = 8  #: answers whose counts are kept
_CHARACTERS = 12  #: of an answer


def problems_of(condition: Condition, task: Task) -> list[Problem]:
    """The problems of a condition, the same ones on every machine."""
    level = SETS[condition.set].difficulty
    return task.problems(condition.n, split=condition.split, seed=condition.seed, difficulty=level)


def examples_of(condition: Condition, data: str | os.PathLike[str] | None = None) -> tuple[tuple[Problem, str], ...]:
    """The worked examples of a condition, from a split that is not measured on."""
    if not condition.shots:
        return ()
    chains = SETS[condition.set].chains if condition.style == "cot" else ""
    source = SETS[chains or condition.set]
    task = source.load(data)
    shown = task.problems(condition.shots, split=source.shown, seed=condition.seed, difficulty=source.difficulty)
    return tuple((p, task.solution(p, condition.style)) for p in shown)


def in_form(model: LanguageModel, form: Form) -> LanguageModel:
    """The model, spoken to in plain text or through its chat template."""
    if form == "chat":
        return model
    return LanguageModel(model.model, model.tokenizer, model.name, model.bits, Chat(end_ids=model.end_ids))


def measure(
    condition: Condition, model: LanguageModel, data: str | os.PathLike[str] | None = None
) -> tuple[dict[str, Any], list[Problem], list[list[Completion]]]:
    """Measure one condition: its record, the problems, and what the model wrote for each.

    The record is made of JSON values: `condition`, `model`, `problems` (ids), `difficulties`, `grades` (a letter a
    sample: c, w or u), `answers` (equal numbers are equal answers, -1 is none), `said` (counts of the commonest
    answers, where they are numbers or options), `mistakes` (a class a wrong sample, of one sample a problem),
    `unmarked` and `cut` (samples), `prompt_tokens` and `generated` (a problem), `seconds` and `flops` (in all),
    `peak_bytes` and `weights_bytes`.
    """
    task = SETS[condition.set].load(data)
    problems, shown = problems_of(condition, task), examples_of(condition, data)
    prompts = [task.prompt(p, condition.style, shown) for p in problems]
    speaker = in_form(model, condition.form)
    groups = speaker.sample(
        prompts, condition.samples, condition.tokens, temperature=condition.temperature, seed=condition.seed
    )
    return record_of(condition, task, problems, groups, speaker), problems, groups


def record_of(
    condition: Condition,
    task: Task,
    problems: Sequence[Problem],
    groups: Sequence[Sequence[Completion]],
    model: LanguageModel,
) -> dict[str, Any]:
    """The record of a condition (see `measure`)."""
    graded = evaluate(task, problems, groups)
    tally = Counter(answer for row in graded.answers for answer in row if answer is not None)
    code = {answer: i for i, (answer, _) in enumerate(tally.most_common())}
    # A longer answer may be words of the question, which belong to the data set.
    short = SETS[condition.set].group != "public" or getattr(task, "kind", "") in ("number", "choice", "yes-no")
    first = zip(problems, groups, graded.correct[:, 0], graded.answers[:, 0], strict=True)
    mistakes = ["" if right else mistake(p, answer, group[0].text) for p, group, right, answer in first]
    cost = Cost.total([*graded.shared, *graded.drawn])
    return {
        "condition": asdict(condition),
        "model": model.name,
        "problems": [p.id for p in problems],
        "difficulties": [p.difficulty for p in problems],
        "grades": ["".join(_LETTERS[g] for g in row) for row in graded.grades],
        "answers": [[-1 if a is None else code[a] for a in row] for row in graded.answers],
        "said": {a[:_CHARACTERS]: n for a, n in tally.most_common(_SAID)} if short else {},
        "mistakes": mistakes if condition.samples == 1 else [],
        "unmarked": round(graded.unmarked * graded.grades.size),
        "cut": sum(c.finish_reason == "length" for group in groups for c in group),
        "prompt_tokens": [c.prompt_tokens for c in graded.shared],
        "generated": [c.generated_tokens for c in graded.drawn],
        "seconds": round(cost.seconds, 3),
        "flops": cost.flops,
        "peak_bytes": cost.peak_bytes,
        "weights_bytes": model.bytes,
    }


def evaluation_of(record: Mapping[str, Any]) -> Evaluation:
    """An `Evaluation` made anew from a record; its problems hold ids and difficulties only."""
    condition = Condition(**record["condition"])
    stubs = zip(record["problems"], record["difficulties"], strict=True)
    problems = tuple(Problem(name, condition.set, "", "", level, name) for name, level in stubs)
    n = len(problems)
    read, written = record["prompt_tokens"], record["generated"]
    per_token = record["flops"] / max(sum(read) + sum(written), 1)
    share = record["seconds"] / n
    answers = np.empty((n, condition.samples), dtype=object)
    for i, row in enumerate(record["answers"]):
        answers[i, :] = [None if a < 0 else str(a) for a in row]
    return Evaluation(
        problems=problems,
        grades=np.array([[_GRADES[letter] for letter in row] for row in record["grades"]], dtype=object),
        answers=answers,
        shared=tuple(Cost(prompt_tokens=t, flops=per_token * t) for t in read),
        drawn=tuple(
            Cost(generated_tokens=t, flops=per_token * t, seconds=share, peak_bytes=record["peak_bytes"])
            for t in written
        ),
    )


def results_of(record: Mapping[str, Any], notebook: str, profile: str) -> list[Result]:
    """The results of a record: accuracy of one sample; of several samples also majority and coverage of all."""
    condition, graded = Condition(**record["condition"]), evaluation_of(record)
    k = condition.samples
    found: dict[str, tuple[Estimate, Cost]] = {"accuracy": (graded.accuracy(), graded.cost_at(1))}
    if k > 1:
        found |= {f"majority of {k}": (graded.majority(k), graded.cost), f"pass@{k}": (graded.passk(k), graded.cost)}
    kept = ("problems", "grades", "said", "unmarked", "cut", "weights_bytes")
    extra = {name: record[name] for name in kept} | {"mistakes": dict(Counter(m for m in record["mistakes"] if m))}
    settings = {k: v for k, v in record["condition"].items() if k not in ("n", "seed")}
    return [
        Result(
            notebook, condition.label, metric, e.value, e.low, e.high, e.n, record["model"], profile, condition.seed,
            cost=cost, settings=settings, extra=extra if metric == "accuracy" else {},
        )
        for metric, (e, cost) in found.items()
    ]  # fmt: skip


# ---------------------------------------------------------------- a grid, resumable


def read_records(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The records of a JSON-lines file; a last line that was cut by an interruption is left out.

    Raises ValueError, naming the line, for any other line that is no record.
    """
    file = Path(path)
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    records = []
    for number, line in enumerate(lines, 1):
        try:
            records.append(json.loads(line))
        except ValueError:
            if number < len(lines):
                told = f"Line {number} of {file.name} is damaged; delete it and run the grid again."
                raise ValueError(told) from None
    return records


def measure_grid(
    conditions: Iterable[Condition],
    load: Callable[[int], LanguageModel],
    path: str | os.PathLike[str],
    data: str | os.PathLike[str] | None = None,
    seen: Callable[[Condition, list[Problem], list[list[Completion]]], None] | None = None,
) -> list[dict[str, Any]]:
    """Measure every condition that the file does not hold yet, and append each record as soon as it is there.

    Args:
        conditions: the grid, in the order in which it is measured.
        load: gives the model with weights of so many bits; called once for each number.
        path: a JSON-lines file, made if it is not there.
        data: the folder of the public sets, as in `get_task`.
        seen: called with what the model wrote, which the records do not keep.

    Returns the records of all conditions, in order.
    """
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    done = {_key(r["condition"]): r for r in read_records(file)}
    _mend_end(file, done.values())
    models: dict[int, LanguageModel] = {}
    grid = list(conditions)
    for condition in grid:
        if _key(asdict(condition)) in done:
            continue
        model = models.get(condition.bits) or models.setdefault(condition.bits, load(condition.bits))
        record, problems, groups = measure(condition, model, data)
        with file.open("a", encoding="utf-8") as opened:
            opened.write(json.dumps(record) + "\n")
            opened.flush()
            os.fsync(opened.fileno())
        done[_key(asdict(condition))] = record
        if seen is not None:
            seen(condition, problems, groups)
    return [done[_key(asdict(c))] for c in grid]


def _key(condition: Mapping[str, Any]) -> str:
    return json.dumps(condition, sort_keys=True)


def _mend_end(file: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Take away a last line that was cut, or the next record would be glued to it."""
    if file.is_file() and not file.read_bytes().endswith(b"\n"):
        file.write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")
