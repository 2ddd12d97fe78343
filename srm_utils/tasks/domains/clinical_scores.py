"""Published clinical scores: findings and measurements that count points, with their sources."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from srm_utils.tasks.domains.clinical_formulas import (
    AGE,
    ALBUMIN,
    BILIRUBIN,
    INR,
    SEX,
    UREA,
    Formula,
    Input,
    Value,
    Values,
    number,
)

YES_NO = ("yes", "no")


def _finding(name: str, points: int = 1) -> Input:
    """A finding that counts `points` where it is present."""
    return Input(name, words=YES_NO, points=lambda value: points if value == "yes" else 0)


def _graded(name: str, *words: str, start: int = 1) -> Input:
    """A finding in grades: the first counts `start` points, each further one more."""
    return Input(name, words=words, points=lambda value: start + words.index(str(value)))


def _measured(like: Input, points: Callable[[float], int], low: float = 0.0, high: float = 0.0) -> Input:
    """A measurement that counts points, between `low` and `high` in notes (by default as `like` is)."""
    return Input(
        like.name, like.unit, low or like.low, high or like.high, like.decimals, like.others,
        points=lambda value: points(number(value)),
    )  # fmt: skip


def _sum(inputs: Sequence[Input]) -> Callable[[Values], str]:
    """The points of a patient as a sum."""

    def expression(values: Values) -> str:
        found = [i.points(values[i.name]) for i in inputs if i.points is not None]
        return " ".join([str(found[0]), *(f"{'-' if n < 0 else '+'} {abs(n)}" for n in found[1:])])

    return expression


def _score(key: str, title: str, inputs: tuple[Input, ...], source: str, doi: str, applies: str) -> Formula:
    return Formula(key, title, "", 0, inputs, _sum(inputs), source, doi, applies)


def _between(low: float, high: float) -> Callable[[float], int]:
    """1 to 3 points for a value below, between and above two bounds."""
    return lambda value: 1 if value < low else 2 if value <= high else 3


SCORES: tuple[Formula, ...] = (
    _score(
        "cha2ds2_vasc", "CHA2DS2-VASc score",
        (
            _measured(AGE, lambda a: 2 if a >= 75 else 1 if a >= 65 else 0, 40),
            Input("sex", words=SEX.words, points=lambda value: int(value == "female")),
            _finding("heart failure"), _finding("hypertension"), _finding("diabetes"), _finding("stroke", 2),
            _finding("vascular disease"),
        ),
        "Lip et al., Refining clinical risk stratification for predicting stroke and thromboembolism in atrial "
        "fibrillation, Chest 2010;137:263-272", "10.1378/chest.09-1584", "adults with atrial fibrillation",
    ),
    _score(
        "curb65", "CURB-65 score",
        (
            _finding("confusion"), _measured(UREA, lambda v: int(v > 19)),
            Input("respiratory rate", "/min", 14, 42, points=lambda v: int(number(v) >= 30)),
            Input("low blood pressure", words=YES_NO, points=lambda v: int(v == "yes")),
            _measured(AGE, lambda a: int(a >= 65)),
        ),
        "Lim et al., Defining community acquired pneumonia severity on presentation to hospital, "
        "Thorax 2003;58:377-382", "10.1136/thorax.58.5.377",
        "adults with pneumonia; low pressure is systolic below 90 or diastolic of 60 mmHg and less",
    ),
    _score(
        "child_pugh", "Child-Pugh score",
        (
            _measured(BILIRUBIN, _between(2.0, 3.0), high=6.0),
            _measured(ALBUMIN, lambda v: 1 if v > 3.5 else 2 if v >= 2.8 else 3),
            _measured(INR, _between(1.7, 2.3)),
            _graded("ascites", "absent", "slight", "moderate"), _graded("encephalopathy", "absent", "mild", "severe"),
        ),
        "Pugh et al., Transection of the oesophagus for bleeding oesophageal varices, Br J Surg 1973;60:646-649",
        "10.1002/bjs.1800600817", "adults with cirrhosis; INR in place of the prothrombin time",
    ),
    _score(
        "wells_dvt", "Wells score for deep vein thrombosis",
        (
            _finding("cancer"), _finding("leg paralysis"), _finding("bed rest"),
            _finding("vein tenderness"), _finding("leg swelling"), _finding("calf swelling"),
            _finding("pitting oedema"), _finding("collateral circulation"), _finding("earlier thrombosis"),
            _finding("other diagnosis", -2),
        ),
        "Wells et al., Evaluation of D-dimer in the diagnosis of suspected deep-vein thrombosis, "
        "N Engl J Med 2003;349:1227-1235", "10.1056/NEJMoa023153", "outpatients with a suspected thrombosis of the leg",
    ),
    _score(
        "qsofa", "qSOFA score",
        (
            Input("respiratory rate", "/min", 12, 38, points=lambda v: int(number(v) >= 22)),
            Input("systolic pressure", "mmHg", 76, 142, others=("kPa",), points=lambda v: int(number(v) <= 100)),
            _finding("altered mentation"),
        ),
        "Singer et al., The third international consensus definitions for sepsis and septic shock, "
        "JAMA 2016;315:801-810", "10.1001/jama.2016.0287", "adults with a suspected infection",
    ),
    _score(
        "centor", "modified Centor score",
        (
            Input("age", "years", 4, 78, points=lambda v: 1 if number(v) < 15 else -1 if number(v) >= 45 else 0),
            _finding("tonsillar exudate"), _finding("neck tenderness"), _finding("fever"),
            Input("cough", words=YES_NO, points=lambda v: int(v == "no")),
        ),
        "McIsaac et al., A clinical score to reduce unnecessary antibiotic use in patients with sore throat, "
        "CMAJ 1998;158:75-83", "", "sore throat from the age of three",
    ),
    _score(
        "glasgow", "Glasgow coma score",
        (
            _graded("eye opening", "none", "to pressure", "to sound", "spontaneous"),
            _graded("verbal response", "none", "sounds", "words", "confused", "oriented"),
            _graded("motor response", "none", "extension", "abnormal flexion", "normal flexion", "localising",
                    "obeying"),
        ),
        "Teasdale and Jennett, Assessment of coma and impaired consciousness, Lancet 1974;304:81-84",
        "10.1016/S0140-6736(74)91639-0", "patients without sedation",
    ),
)  # fmt: skip


def points(item: Input, value: Value) -> int:
    """The points that a value counts. Raises ValueError for an input that counts none.

    >>> points(SCORES[0].inputs[0], 78.0)
    2
    """
    if item.points is None:
        raise ValueError(f"{item.name} counts no points.")
    return item.points(value)
