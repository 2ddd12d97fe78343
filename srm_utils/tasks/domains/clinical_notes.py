"""Patient notes in words: what a note states, and the values in it that mislead.

Each thing is told in one sentence. `held-out` has sentences of the same words that no training text holds; some of them
name the value before the quantity. A distractor is a value of the same quantity that is not the patient's value of
today (an old value, a relative's), or a value that no formula needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from srm_utils.tasks.problem import Templates

# {N} and {n} are the name with and without a capital, {v} the value with its unit, {p} is "her" or "his".
_PERSON = {
    "train": {
        "both": ("A {a}-year-old {w}.", "The patient is a {w} of {a} years.", "{W}, age {a} years."),
        "age": ("The patient is {a} years old.", "Age {a} years."),
        "sex": ("The patient is a {w}.", "A {w} is seen today."),
        "none": ("A patient is seen today.", "The patient feels well."),
    },
    "held-out": {
        "both": ("A {w} is seen today, age {a} years.", "Age {a} years, a {w}."),
        "age": ("A patient of {a} years is seen today.",),
        "sex": ("Today the patient is a {w}.",),
        "none": ("Today the patient feels well.",),
    },
}
_NUMBER = {
    "train": ("{N} is {v}.", "{N}: {v}.", "{N} {v}.", "Today {n} is {v}.", "We find {n} of {v}."),
    "held-out": ("We find {v} of {n} today.", "{v} is the {n} of today.", "The {n} today is {v}."),
}
_PRESENT = {
    "train": ("There is {n}.", "{N}: yes.", "{N} present."),
    "held-out": ("We find {n}.", "Today {n} is present."),
}
_ABSENT = {
    "train": ("There is no {n}.", "No {n}.", "{N}: no."),
    "held-out": ("We find no {n}.", "There is today no {n}."),
}
_GRADE = {
    "train": ("{N} is {v}.", "{N}: {v}.", "Today {n} is {v}."),
    "held-out": ("We find {v} {n}.", "{N} of today: {v}."),
}
_OLD = {
    "train": ("Last year {n} was {v}.", "Earlier {n} was {v}.", "{N} had been {v} in May."),
    "held-out": ("In May we had {n} of {v}.", "The {n} had been {v} last year."),
}
_RELATIVE = {
    "train": ("{P} brother has {n} of {v}.", "In {p} mother {n} is {v}."),
    "held-out": ("We find {n} of {v} in {p} brother.",),
}
_RELATIVE_FINDING = {
    "train": ("{P} brother has {n}.", "{P} mother had {n}."),
    "held-out": ("We find {n} in {p} brother.",),
}
_ASK = {
    "train": ("What is the {t}?", "Compute the {t}.", "Give the {t}."),
    "held-out": ("The {t} is what?", "What is the {t} today?"),
}
#: Laboratory values that no formula needs: name, unit, low, high.
_OTHER_LABS = (
    ("ferritin", "ng/mL", 20, 320), ("potassium", "mEq/L", 3, 5), ("platelet count", "G/L", 90, 410),
    ("lipase", "U/L", 14, 88), ("temperature", "C", 36, 39), ("zinc", "ug/dL", 62, 118),
)  # fmt: skip


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _say(forms: Sequence[str], rng: Random, name: str = "", value: str = "", **more: str) -> str:
    return rng.choice(forms).format(N=_capital(name), n=name, v=value, **more)


def person(sex: str | None, age: str | None, templates: Templates, rng: Random) -> str:
    """The sentence that says who the patient is; None is left unsaid.

    >>> person(None, "70", "train", Random(1))
    'The patient is 70 years old.'
    """
    forms = _PERSON["train" if templates == "train" else "held-out"]
    key = "both" if sex and age else "sex" if sex else "age" if age else "none"
    child = age is not None and float(age) < 18
    word = {"female": "girl" if child else "woman", "male": "boy" if child else "man"}.get(sex or "", "")
    return _say(forms[key], rng, a=age or "", w=word, W=_capital(word))


def statement(name: str, value: str, is_number: bool, templates: Templates, rng: Random) -> str:
    """The sentence that states a value of today: a number with its unit, "yes" or "no", or a grade.

    >>> statement("fever", "no", False, "train", Random(0))
    'No fever.'
    """
    forms = _NUMBER if is_number else {"yes": _PRESENT, "no": _ABSENT}.get(value, _GRADE)
    return _say(forms[templates], rng, name, value)


def misleading(name: str, value: str, is_number: bool, sex: str | None, templates: Templates, rng: Random) -> str:
    """A sentence with a value of this quantity that is not the patient's of today.

    >>> misleading("creatinine", "2.1 mg/dL", True, "male", "train", Random(3))
    'Creatinine had been 2.1 mg/dL in May.'
    """
    possessive = {"female": "her", "male": "his"}.get(sex or "", "the")
    related = {"p": possessive, "P": _capital(possessive)}
    if not is_number:
        return _say(_RELATIVE_FINDING[templates], rng, name, **related)
    return _say((_OLD if rng.random() < 0.5 else _RELATIVE)[templates], rng, name, value, **related)


def other_lab(templates: Templates, rng: Random) -> str:
    """A sentence with a value that no formula needs.

    >>> other_lab("train", Random(1))
    'Potassium is 5 mEq/L.'
    """
    name, unit, low, high = rng.choice(_OTHER_LABS)
    return _say(_NUMBER[templates], rng, name, f"{rng.randint(low, high)} {unit}")


def note(first: str, told: Sequence[str], title: str, templates: Templates, rng: Random) -> str:
    """The whole note: who it is, everything else in a random order, and what is asked for."""
    shuffled = rng.sample(list(told), len(told))
    return " ".join([first, *shuffled, _say(_ASK[templates], rng, t=title)])
