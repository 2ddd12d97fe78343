"""The sets on which a real model's headroom is measured, the conditions of a measurement, and the grid of the study."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from srm_utils.tasks.problem import Split, Task
from srm_utils.tasks.registry import get_task

Form = Literal["chat", "plain"]


@dataclass(frozen=True, slots=True)
class ProblemSet:
    """A set of problems to measure on.

    Attributes:
        title: its name in tables and figures.
        group: where it comes from.
        task: its name for `get_task`.
        settings: those of a reasoning-gym task.
        difficulty: the one difficulty taken, or None.
        shown: the split that worked examples come from.
        chains: the set whose worked solutions are shown where a chain of thought is asked for; "" where its own
            solutions hold none, so that examples show answers only.
    """

    title: str
    group: Literal["stories", "public", "generated"]
    task: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    difficulty: int | None = None
    shown: Split = "train"
    chains: str = ""

    def load(self, data: str | os.PathLike[str] | None = None) -> Task:
        """The task. Raises what `get_task` raises, such as for a data set that is not on this machine."""
        if not self.settings:
            return get_task(self.task, data)
        from srm_utils.tasks.reasoning_gym import ReasoningGymTask

        return ReasoningGymTask(self.task.partition(":")[2], **self.settings)


def _stories(title: str, steps: int) -> ProblemSet:
    return ProblemSet(title, "stories", "stories", difficulty=steps, chains=f"stories-{steps}")


def _public(title: str, key: str, shown: Split = "validation", chains: str = "") -> ProblemSet:
    return ProblemSet(title, "public", f"hf:{key}", shown=shown, chains=chains)


def _generated(title: str, name: str, chains: str = "", **settings: Any) -> ProblemSet:
    return ProblemSet(title, "generated", f"reasoning-gym:{name}", settings, chains=chains)


#: Every set that the map holds. Arithmetic sets without worked solutions are shown stories with theirs.
SETS: dict[str, ProblemSet] = {
    "stories-1": _stories("stories, 1 step", 1),
    "stories-2": _stories("stories, 2 steps", 2),
    "stories-3": _stories("stories, 3 steps", 3),
    "gsm8k": _public("GSM8K", "gsm8k", "train", "gsm8k"),
    "svamp": _public("SVAMP", "svamp", chains="stories-1"),
    "multiarith": _public("MultiArith", "multiarith", chains="stories-2"),
    "addsub": _public("AddSub", "addsub", chains="stories-1"),
    "singleeq": _public("SingleEq", "singleeq", chains="stories-1"),
    "aqua": _public("AQuA", "aqua", "confirm"),
    "coin-flip": _public("coin flip", "coin-flip"),
    "last-letters": _public("last letters", "last-letters"),
    "date": _public("dates", "date"),
    "object-tracking": _public("object tracking", "object-tracking"),
    "commonsenseqa": _public("CommonsenseQA", "commonsenseqa", "confirm"),
    "strategyqa": _public("StrategyQA", "strategyqa"),
    "boolean": ProblemSet("BBH Boolean", "public", "bbh:boolean_expressions", shown="validation"),
    "object-counting": ProblemSet("BBH object counting", "public", "bbh:object_counting", shown="validation"),
    "sums": _generated("sums", "chain_sum", min_terms=2, max_terms=2, min_digits=1, max_digits=2),
    "products": _generated("products", "products", min_terms=2, max_terms=2, min_digits=1, max_digits=2),
    "gcd": _generated("greatest common divisor", "gcd"),
    "lcm": _generated("least common multiple", "lcm"),
    "legs": _generated("leg counting", "leg_counting"),
    "letters": _generated("letter counting", "letter_counting"),
    "syllogism": _generated("syllogisms", "syllogism"),
    "kinship": _generated("kinship", "family_relationships"),
    "fractions": _generated("fractions", "fraction_simplification"),
    "equations": _generated("equations", "simple_equations"),
    "gsm-symbolic": _generated("GSM-Symbolic", "gsm_symbolic", "gsm-symbolic"),
    "backward": _generated("spelling backward", "spell_backward"),
}


@dataclass(frozen=True, slots=True)
class Condition:
    """What is measured at once.

    Attributes:
        set: a key of `SETS`.
        style: "direct" or "cot".
        shots: worked examples shown.
        form: whether the prompt is plain text or goes through the chat template.
        bits: of the weights, as in `load_model`.
        temperature: 0 takes the likeliest token, and allows one sample only.
        samples: drawn for each problem.
        split, n, seed: which problems.
        tokens: the limit of one sample.

    >>> Condition("addsub", shots=3, form="plain").label
    'AddSub: chain, 3 examples as plain text'
    """

    set: str
    style: str = "cot"
    shots: int = 0
    form: Form = "chat"
    bits: int = 32
    temperature: float = 0.0
    samples: int = 1
    split: Split = "test"
    n: int = 40
    seed: int = 0
    tokens: int = 96

    def __post_init__(self) -> None:
        if self.set not in SETS:
            raise ValueError(f"There is no set {self.set!r}; choose one of {', '.join(SETS)}.")
        if self.samples > 1 and self.temperature == 0:
            raise ValueError("At temperature 0 all samples are one; draw one, or give a temperature above 0.")

    @property
    def label(self) -> str:
        """What it is called in a table."""
        how = f", {self.shots} examples as {'plain text' if self.form == 'plain' else 'chat turns'}"
        how = how if self.shots else f", no example, {'plain text' if self.form == 'plain' else 'chat'}"
        bits = f", {self.bits} bits" if self.bits != 32 else ""
        drawn = f", {self.samples} samples" if self.samples > 1 else ""
        return f"{SETS[self.set].title}: {'chain' if self.style == 'cot' else self.style}{how}{bits}{drawn}"


def study_grid(n: int = 32) -> list[Condition]:
    """The grid of the study with `n` problems a condition: what its claims rest on first, then the map.

    Claims rest on stories of one step, where the model solves some problems and not all. Of these a split holds fewer
    than 48, so two splits are measured. Sets whose answers need no working out are not asked to think step by step.

    >>> {c.set for c in study_grid()} == set(SETS)
    True
    """
    few = Condition("stories-1", shots=3, form="plain", tokens=64, n=n)
    zero = Condition("stories-1", n=n)
    addsub = [
        replace(few, set="addsub", shots=shots, form=form, split="validation", tokens=64 if shots else 96)
        for shots in (0, 3)
        for form in ("plain", "chat")
    ]
    splits: tuple[Split, ...] = ("test", "confirm")
    claimed = [
        replace(condition, split=split)
        for split in splits
        for condition in (
            few,
            replace(few, style="direct", tokens=16),
            replace(few, form="chat"),
            zero,
            replace(zero, style="direct", tokens=24),
            replace(few, bits=4),
        )
    ]
    shown = {name: replace(few, set=name, style="cot" if SETS[name].chains else "direct") for name in SETS}
    drawn = {name: replace(shown[name], temperature=0.7, samples=16) for name in ("stories-1", "gcd", "letters")}
    grid = [
        *addsub,
        *(replace(few, form=form, split="validation") for form in ("plain", "chat")),
        *claimed,
        drawn["stories-1"],
        *shown.values(),
        *(replace(zero, set=name, style="direct", tokens=24) for name in SETS),
        *(replace(shown[name], form="chat") for name in ("commonsenseqa", "gcd", "letters")),
        drawn["gcd"],
        drawn["letters"],
        replace(shown["gcd"], bits=4),
        replace(few, bits=8),
        *(replace(zero, set=name) for name in SETS if SETS[name].chains),
    ]
    return [condition for i, condition in enumerate(grid) if condition not in grid[:i]]
