"""The published data sets that are known by name: where each one is, and how its rows are read.

A reader gets `cell`, which looks a field up by name; "a|b" is the field `a` of one copy and `b` of another. Field names
are compared without regard to case.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from random import Random
from string import ascii_uppercase
from typing import Any

from srm_utils.tasks.table import Shares
from srm_utils.tasks.table_cells import (
    letter_of,
    listed_options,
    options_of,
    question_hash,
    question_of,
    split_solution,
    text_of,
    with_options,
    with_words,
)
from srm_utils.tasks.table_columns import Reading

Cell = Callable[[str], Any]


@dataclass(frozen=True, slots=True)
class Source:
    """A data set: hub id ("" where no copy of it is known there) and configuration, fields, reader, splits, files.

    `fields` are those that a row must have. `shares` says which official split feeds which split of ours. `files` are
    the names of local files by official split. `hub_splits` names an official split as the hub has it, where that
    differs. `words` are the answers of kind "yes-no". `lenient` sets are published with a few faulty rows.
    """

    title: str
    hub: str
    config: str | None
    fields: tuple[str, ...]
    read: Callable[[Cell], Reading]
    kind: str
    shares: Shares
    files: Mapping[str, str]
    words: tuple[str, ...] = ("yes", "no")
    levels: tuple[int, ...] = (1,)
    gated: bool = False
    lenient: bool = False
    hub_splits: Mapping[str, str] = field(default_factory=dict)

    @property
    def official(self) -> set[str]:
        return {name for name, _ in self.shares.values()}


# ---------------------------------------------------------------- splits

_BOTH: Shares = {
    "train": ("train", range(0, 90)),
    "validation": ("train", range(90, 100)),
    "test": ("test", range(0, 70)),
    "confirm": ("test", range(70, 100)),
}
_THREE: Shares = {**_BOTH, "train": ("train", range(0, 100)), "validation": ("validation", range(0, 100))}
#: Published with hidden test answers, so that the official validation rows are what is measured on.
_HIDDEN: Shares = {**_BOTH, "test": ("validation", range(0, 70)), "confirm": ("validation", range(70, 100))}
_FOUR: Shares = {
    "train": ("train", range(0, 50)),
    "validation": ("train", range(50, 60)),
    "test": ("train", range(60, 80)),
    "confirm": ("train", range(80, 100)),
}


def _only(official: str) -> Shares:
    return {
        "validation": (official, range(0, 20)),
        "test": (official, range(20, 60)),
        "confirm": (official, range(60, 100)),
    }


# ---------------------------------------------------------------- readers


def _gsm8k(cell: Cell) -> Reading:
    worked, final = split_solution(text_of(cell("answer"), "answer"))
    return Reading(question_of(cell("question")), final, worked)


def _math(cell: Cell) -> Reading:
    level = re.search(r"\d", str(cell("level") or 1))
    answer, worked = text_of(cell("answer"), "answer"), text_of(cell("solution"), "solution")
    return Reading(question_of(cell("problem")), answer, worked, level=int(level[0]) if level else 1)


def _aime(cell: Cell) -> Reading:
    answer = text_of(cell("answer"), "answer")
    answer = str(int(answer)) if answer.isdigit() else answer
    return Reading(question_of(cell("problem")), answer, cell("solution") or "")


def _medqa(cell: Cell) -> Reading:
    return _choice(cell("question"), options_of(cell("options")), cell("answer_idx"))


def _pubmedqa(cell: Cell) -> Reading:
    context = cell("context|contexts")
    context = context["contexts"] if isinstance(context, Mapping) else context
    words = ("yes", "no", "maybe")
    question = f"{' '.join(context)}\n{question_of(cell('question'))} Answer yes, no or maybe."
    key = str(cell("pubid|id") or "")
    return Reading(question, _word(cell("final_decision"), words), cell("long_answer") or "", _same(words), key=key)


def _gpqa(cell: Cell) -> Reading:
    wrong = (text_of(cell(f"incorrect answer {i}"), "wrong answer") for i in (1, 2, 3))
    texts = [text_of(cell("correct answer"), "answer"), *wrong]
    question = question_of(cell("question"))
    options, letter = _shuffled(question, texts)
    return Reading(with_options(question, options), letter, cell("explanation") or "", options)


def _svamp(cell: Cell) -> Reading:
    question = f"{text_of(cell('body'), 'body')} {question_of(cell('question'))}"
    return Reading(question, text_of(cell("answer"), "answer"), key=str(cell("id") or ""))


def _mawps(cell: Cell) -> Reading:
    answer = cell("final_ans|lSolutions")
    if isinstance(answer, list):
        if len(answer) != 1:
            raise ValueError(f"it has {len(answer)} answers")
        answer = answer[0]
    answer = text_of(answer, "answer")
    return Reading(question_of(cell("question|sQuestion")), answer.removesuffix(".0"))


def _aqua(cell: Cell) -> Reading:
    return _choice(cell("question"), options_of(cell("options")), cell("correct"), cell("rationale") or "")


def _coin_flip(cell: Cell) -> Reading:
    words = ("yes", "no")
    return Reading(with_words(question_of(cell("question")), words), _word(cell("answer"), words), "", _same(words))


def _last_letters(cell: Cell) -> Reading:
    return Reading(question_of(cell("question")), text_of(cell("answer"), "answer"))


def _big_bench(cell: Cell, shuffle: bool) -> Reading:
    """BIG-bench's own form, or the hub's, with scores beside the options."""
    scores = cell("target_scores|multiple_choice_scores")
    if not isinstance(scores, Mapping):
        scores = dict(zip(cell("multiple_choice_targets"), scores, strict=True))
    right = [text for text, score in scores.items() if score]
    if len(right) != 1:
        raise ValueError(f"it has {len(right)} right options")
    question = re.sub(r"\s*\bA:\s*$", "", text_of(cell("input|inputs"), "question").removeprefix("Q: ")).strip()
    if shuffle:  # the first one is the right one as published
        options, letter = _shuffled(question, [*right, *(t for t in scores if t != right[0])])
    else:
        options = dict(zip(ascii_uppercase, scores, strict=False))
        letter = letter_of(right[0], options)
    return Reading(with_options(question, options), letter, "", options)


def _commonsenseqa(cell: Cell) -> Reading:
    question, choices = cell("question"), cell("choices")
    if isinstance(question, Mapping):
        question, choices = question["stem"], question["choices"]
    reading = _choice(question, options_of(choices), cell("answerkey"))
    return Reading(reading.question, reading.answer, "", reading.options, key=str(cell("id") or ""))


def _strategyqa(cell: Cell) -> Reading:
    words = ("yes", "no")
    said, worked = cell("answer|target_scores"), ""
    if isinstance(said, Mapping):
        said = max(said, key=lambda word: said[word])
        worked = re.sub(r"^(?:yes|no)\.\s*", "", str(cell("target") or ""), flags=re.IGNORECASE)
    elif isinstance(said, bool):
        said = "yes" if said else "no"
    return Reading(with_words(question_of(cell("question|input")), words), _word(said, words), worked, _same(words))


def _bbh(cell: Cell, how: str | tuple[str, ...]) -> Reading:
    question, answer = text_of(cell("input"), "question"), text_of(cell("target"), "answer")
    if isinstance(how, tuple):
        question = question if "Options:" in question else f"{question} Answer {' or '.join(how)}."
        return Reading(question, _word(answer, how), "", _same(how))
    if how == "choice":
        options = listed_options(question)
        return Reading(question, letter_of(answer, options), "", options)
    return Reading(question, answer)


def _choice(question: Any, options: Mapping[str, str], answer: Any, worked: str = "") -> Reading:
    letter = letter_of(text_of(answer, "answer"), options)
    return Reading(with_options(question_of(question), options), letter, worked, options)


def _shuffled(question: str, texts: list[str]) -> tuple[dict[str, str], str]:
    """Options in an order that the question alone decides, the same for everyone, and the letter of the first text."""
    order = Random(question_hash(question)).sample(range(len(texts)), len(texts))
    options = {letter: texts[i] for letter, i in zip(ascii_uppercase, order, strict=False)}
    return options, ascii_uppercase[order.index(0)]


def _word(answer: Any, words: tuple[str, ...]) -> str:
    word = text_of(answer, "answer").casefold()
    if word not in words:
        raise ValueError(f"its answer {word!r} is none of {', '.join(words)}")
    return word


def _same(words: tuple[str, ...]) -> dict[str, str]:
    return {word: word for word in words}


# ---------------------------------------------------------------- the entries

#: How the 27 tasks of BIG-Bench Hard are answered: by a letter of listed options, by one of two words, or freely.
_BBH: dict[str, str | tuple[str, ...]] = {
    "boolean_expressions": ("true", "false"),
    "causal_judgement": ("yes", "no"),
    "date_understanding": "choice",
    "disambiguation_qa": "choice",
    "dyck_languages": "text",
    "formal_fallacies": ("valid", "invalid"),
    "geometric_shapes": "choice",
    "hyperbaton": "choice",
    "logical_deduction_five_objects": "choice",
    "logical_deduction_seven_objects": "choice",
    "logical_deduction_three_objects": "choice",
    "movie_recommendation": "choice",
    "multistep_arithmetic_two": "number",
    "navigate": ("yes", "no"),
    "object_counting": "number",
    "penguins_in_a_table": "choice",
    "reasoning_about_colored_objects": "choice",
    "ruin_names": "choice",
    "salient_translation_error_detection": "choice",
    "snarks": "choice",
    "sports_understanding": ("yes", "no"),
    "temporal_sequences": "choice",
    "tracking_shuffled_objects_five_objects": "choice",
    "tracking_shuffled_objects_seven_objects": "choice",
    "tracking_shuffled_objects_three_objects": "choice",
    "web_of_lies": ("yes", "no"),
    "word_sorting": "text",
}

_ALL = {"test": "train+test"}
_MAWPS = ("question|sQuestion", "final_ans|lSolutions")
_SCORED = ("input|inputs", "target_scores|multiple_choice_scores")

#: Sources: cobbe2021training (GSM8K), lightman2024lets (MATH-500), jin2020disease (MedQA), jin2019pubmedqa (PubMedQA),
#: rein2023gpqa (GPQA), patel2021svamp (SVAMP), ling2017program (AQuA-RAT), talmor2019commonsenseqa (CommonsenseQA),
#: geva2021did (StrategyQA), suzgun2023bbh (BBH), kojima2022large (the files of the arithmetic and symbolic sets).
SOURCES: dict[str, Source] = {
    "gsm8k": Source(
        "GSM8K", "openai/gsm8k", "main", ("question", "answer"), _gsm8k, "number", _BOTH,
        {"train": "gsm8k_train.jsonl", "test": "gsm8k_test.jsonl"},
    ),
    "math-500": Source(
        "MATH-500", "HuggingFaceH4/MATH-500", None, ("problem", "solution", "answer", "level"), _math, "math",
        _only("test"), {"test": "math_500.jsonl"}, levels=(1, 2, 3, 4, 5),
    ),
    "aime": Source(
        "AIME 2024", "HuggingFaceH4/aime_2024", None, ("problem", "answer"), _aime, "math", _only("train"),
        {"train": "aime_2024.jsonl"},
    ),
    "medqa": Source(
        "MedQA (USMLE, 4 options)", "GBaker/MedQA-USMLE-4-options", None, ("question", "options", "answer_idx"), _medqa,
        "choice", _BOTH, {"train": "medqa_train.jsonl", "test": "medqa_test.jsonl"},
    ),
    "pubmedqa": Source(
        "PubMedQA", "qiaojin/PubMedQA", "pqa_labeled", ("question", "context|contexts", "final_decision"), _pubmedqa,
        "yes-no", _FOUR, {"train": "pubmedqa_labelled.json"}, words=("yes", "no", "maybe"),
    ),
    "gpqa": Source(
        "GPQA (diamond)", "Idavidrein/gpqa", "gpqa_diamond",
        ("question", "correct answer", "incorrect answer 1", "incorrect answer 2", "incorrect answer 3"), _gpqa,
        "choice", _only("train"), {"train": "gpqa_diamond.jsonl"}, gated=True,
    ),
    "svamp": Source(
        "SVAMP", "ChilleD/SVAMP", None, ("body", "question", "answer"), _svamp, "number", _only("test"),
        {"test": "svamp.json"}, hub_splits=_ALL,
    ),
    "multiarith": Source(
        "MultiArith", "ChilleD/MultiArith", None, _MAWPS, _mawps, "number", _only("test"), {"test": "multiarith.json"},
        hub_splits=_ALL,
    ),
    "addsub": Source("AddSub", "", None, _MAWPS, _mawps, "number", _only("test"), {"test": "addsub.json"}),
    "singleeq": Source("SingleEq", "", None, _MAWPS, _mawps, "number", _only("test"), {"test": "singleeq.json"}),
    "aqua": Source(
        "AQuA-RAT", "deepmind/aqua_rat", "raw", ("question", "options", "correct"), _aqua, "choice", _THREE,
        {"train": "aqua_train.json", "validation": "aqua_validation.json", "test": "aqua.json"}, lenient=True,
    ),
    "coin-flip": Source(
        "Coin flip", "", None, ("question", "answer"), _coin_flip, "yes-no", _only("test"), {"test": "coin_flip.json"}
    ),
    "last-letters": Source(
        "Last letters", "ChilleD/LastLetterConcat", None, ("question", "answer"), _last_letters, "text", _only("test"),
        {"test": "last_letters.json"}, hub_splits=_ALL,
    ),
    "date": Source(
        "Date understanding", "tasksource/bigbench", "date_understanding", _SCORED, partial(_big_bench, shuffle=True),
        "choice", _only("test"), {"test": "bigbench_date.json"}, hub_splits={"test": "train+validation"},
    ),
    "object-tracking": Source(
        "Object tracking (three objects)", "", None, _SCORED, partial(_big_bench, shuffle=False), "choice",
        _only("test"), {"test": "bigbench_object_tracking.json"},
    ),
    "commonsenseqa": Source(
        "CommonsenseQA", "tau/commonsense_qa", None, ("question", "answerkey"), _commonsenseqa, "choice", _HIDDEN,
        {"train": "commonsenseqa_train.jsonl", "validation": "commonsenseqa.jsonl"}, lenient=True,
    ),
    "strategyqa": Source(
        "StrategyQA", "ChilleD/StrategyQA", None, ("question|input", "answer|target_scores"), _strategyqa, "yes-no",
        _only("test"), {"test": "strategyqa.json"}, hub_splits=_ALL,
    ),
    **{
        f"bbh:{name}": Source(
            f"BIG-Bench Hard {name}", "lukaemon/bbh", name, ("input", "target"), partial(_bbh, how=how),
            how if isinstance(how, str) else "yes-no", _only("test"), {"test": f"bbh/{name}.json"},
            words=how if isinstance(how, tuple) else ("yes", "no"), lenient=True,
        )
        for name, how in _BBH.items()
    },
}  # fmt: skip
