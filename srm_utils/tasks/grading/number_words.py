"""Numbers written as words, and the words that multiply a number (million, dozen, halves)."""

from __future__ import annotations

import re
from fractions import Fraction

_ONES = dict(
    zip(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
        "seventeen eighteen nineteen".split(),
        range(20),
        strict=True,
    )
)
_TENS = dict(zip("twenty thirty forty fifty sixty seventy eighty ninety".split(), range(20, 100, 10), strict=True))
_SCALES = {"hundred": 100, "thousand": 1_000, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_PARTS = {
    name: Fraction(1, n)
    for n, names in {
        2: "half halve", 3: "third", 4: "quarter fourth", 5: "fifth", 6: "sixth", 7: "seventh", 8: "eighth", 9: "ninth",
        10: "tenth", 12: "twelfth", 20: "twentieth", 100: "hundredth", 1_000: "thousandth", 10**6: "millionth",
    }.items()
    for name in names.split()
}  # fmt: skip
_MULTIPLES: dict[str, Fraction | int] = {
    **_SCALES, **_PARTS, "dozen": 12, "gross": 144, "lakh": 10**5, "crore": 10**7, "quadrillion": 10**15,
    "mn": 10**6, "bn": 10**9, "tn": 10**12, "mil": 10**6,
}  # fmt: skip
#: Words behind a number that multiply it, in the singular and the plural.
FACTORS = {word + ending: Fraction(value) for word, value in _MULTIPLES.items() for ending in ("", "s")}

_WORD = "|".join(sorted([*_ONES, *_TENS, *_SCALES], key=len, reverse=True))
# "two hundred and five" is one number, "two and five" are two.
_AND = "|".join(f"(?<={scale}) and " for scale in _SCALES)
_RUN = re.compile(
    rf"(?:a (?=(?:{'|'.join(_SCALES)})\b))?(?:{_WORD})(?:(?:[ -]|{_AND})(?:{_WORD}))*(?![\w'])"
    r"(?! of (?:the|these|them)\b)",
    re.IGNORECASE,
)
_HALF = re.compile(
    r"(?:(?:a|one)[ -])?(half)(?![\w'])|(?:a|one)[ -](third|quarter|fifth|tenth)(?![\w'])", re.IGNORECASE
)
_SIGN = re.compile(r"(?:negative|minus) ", re.IGNORECASE)


def with_digits(text: str) -> str:
    """A text whose leading number words are written in digits.

    >>> with_digits("seven"), with_digits("two hundred and five apples"), with_digits("a half"), with_digits("Evelyn")
    ('7', '205 apples', '1/2', 'Evelyn')
    """
    sign = _SIGN.match(text)
    start = sign.end() if sign else 0
    minus = "-" if sign else ""
    if found := _HALF.match(text, start):
        return f"{minus}1/{_PARTS[(found[1] or found[2]).lower()].denominator}{text[found.end() :]}"
    found = _RUN.match(text, start)
    value = _value(found.group()) if found else None
    if found is None or value is None:
        return text
    rest = text[found.end() :]
    return f"{minus}{value}{' ' + rest[1:] if re.match('-[A-Za-z]', rest) else rest}"


def _value(words: str) -> int | None:
    """The value of a run of number words, None for a mere row of them ("two three")."""
    total, group, room = 0, 0, 100
    for word in re.findall(r"[a-z]+", words.lower()):
        if word in ("a", "and"):
            continue
        if word == "hundred":
            group, room = max(group, 1) * 100, 100
        elif word in _SCALES:
            total, group, room = total + max(group, 1) * _SCALES[word], 0, 100
        else:
            value = _ONES.get(word, 0) + _TENS.get(word, 0)
            if value >= room:
                return None
            group, room = group + value, 10 if word in _TENS else 0
    return total + group
