"""How an answer is asked for, found in a text, and brought to one form: the only place that knows these three.

A text is read in two ways. While a model is still writing, only a *stated* answer counts (`find`): a box, a tag, "the
answer is x". Of a finished text, what stands unmarked at its end counts too (`final`); `Found.unmarked` tells it apart.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from srm_utils.tasks.grading import Found, find_choice
from srm_utils.tasks.grading.canonical import canonical_math, canonical_number
from srm_utils.tasks.grading.choice import LETTERS, words_of
from srm_utils.tasks.grading.extract import How, closing_math, final, first_line, read_math, stated, tidied
from srm_utils.tasks.grading.tokens import WRAPPER

Options = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class AnswerFormat:
    """One kind of answer.

    `described` says in plain English what X is in "The answer is X.". `canonical` gives the one form in which equal
    answers are counted. `only_stated` and `finished` find an answer in a text that goes on and in one that has ended;
    `options` (texts by letter) are those of a problem, where it has any.
    """

    kind: str
    described: str
    canonical: Callable[[str], str]
    only_stated: Callable[[str, Options | None], Found | None]
    finished: Callable[[str, Options | None], Found | None]

    @property
    def ask(self) -> str:
        """The sentence that tells a model how to state its answer. A number needs no description.

        >>> NUMBER.ask, CHOICE.ask
        ('End with: The answer is X.', 'End with: The answer is X, where X is the letter of the right option.')
        """
        described = "" if self.kind == "number" else f", where X is {self.described}"
        return f"End with: The answer is X{described}."

    def find(self, text: str, options: Options | None = None) -> Found | None:
        """The answer that a text has stated, in canonical form; None where it has stated none yet.

        >>> NUMBER.find("So she has 3 + 4 = 7 eggs.") is None, NUMBER.find("The answer is $7.").answer
        (True, '7')
        """
        found = self.only_stated(text, options)
        return Found(self.canonical(found.answer), found.how) if found else None

    def final(self, text: str, options: Options | None = None) -> Found | None:
        """The answer of a finished text, in canonical form, unmarked ones included.

        >>> NUMBER.final("So she has 3 + 4 = 7 eggs.")
        Found(answer='7', how='equation')
        """
        found = self.finished(text, options)
        return Found(self.canonical(found.answer), found.how) if found else None


# ---------------------------------------------------------------- mathematics

#: What the bundled family writes last, in front of which nothing needs to be searched.
_PLAIN_END = re.compile(r"(?<!\w)[Tt]he answer is (-?\d{1,40})\.?\s*\Z")


def _read_number(said: str, how: How) -> str | None:
    """A statement's number; other mathematics as it is written, which is a wrong answer; None for mere words."""
    answer = read_math(said, how)
    if answer is None or how in ("boxed", "tagged", "hashes"):
        return answer
    if how == "bare" and canonical_number(answer) is None and re.search(r"[A-Za-z]{2}", said):
        return None  # "12 and so on": a text that goes on in words is no answer by itself
    return answer if canonical_number(answer) is not None or any(c.isdigit() for c in answer) else None


def _plainly(text: str) -> Found | None:
    if "<" in text or "\\" in text or "#" in text or "[" in text:
        return None
    found = _PLAIN_END.search(text[-80:])
    return Found(found[1], "phrase") if found else None


def _number_form(answer: str) -> str:
    """A number without its unit; of a percentage the figure."""
    plain = canonical_number(answer)
    return plain if plain is not None else canonical_math(answer)


def _stated_number(text: str, options: Options | None) -> Found | None:
    return _plainly(text) or stated(text, _read_number)


def _finished_number(text: str, options: Options | None) -> Found | None:
    return _plainly(text) or final(text, _read_number, closing_math)


def _finished_step_number(text: str, options: Options | None) -> Found | None:
    return _plainly(text) or final(text, _read_number, lambda rest: closing_math(rest, concluding=True))


NUMBER = AnswerFormat("number", "a number", _number_form, _stated_number, _finished_number)
#: Of worlds whose every step is an equation: an equation counts as an answer only in a sentence that concludes, so
#: that a chain that was cut short is not taken for a finished one.
STEPWISE_NUMBER = AnswerFormat("number", "a number", _number_form, _stated_number, _finished_step_number)
MATH = AnswerFormat(
    "math",
    "a number or an expression",
    canonical_math,
    lambda text, options: stated(text, read_math),
    lambda text, options: final(text, read_math, closing_math),
)

# ---------------------------------------------------------------- choices


def _choice_form(answer: str) -> str:
    letter = re.fullmatch(r"\W*([A-Za-z])\W*", answer)
    return letter[1].upper() if letter else words_of(answer)


def _choice(text: str, options: Options | None, only_stated: bool) -> Found | None:
    if options:
        return find_choice(text, options, only_stated)
    found = find_choice(text, dict.fromkeys(LETTERS, ""), only_stated)
    return found or _words(text, only_stated)


CHOICE = AnswerFormat(
    "choice",
    "the letter of the right option",
    _choice_form,
    lambda text, options: _choice(text, options, True),
    lambda text, options: _choice(text, options, False),
)


def _said(words: tuple[str, ...], only_stated: bool) -> Callable[[str, Options | None], Found | None]:
    known = {word: word for word in words}
    return lambda text, options: find_choice(text, options or known, only_stated)


def one_of(*words: str) -> AnswerFormat:
    """An answer that is one of a few words, such as yes and no.

    >>> one_of("yes", "no").final("No, because Dan is shy.").answer, one_of("yes", "no").ask[-25:]
    ('no', 'where X is "yes" or "no".')
    """
    described = " or ".join(f'"{word}"' for word in words)
    return AnswerFormat("yes-no", described, str.casefold, _said(words, True), _said(words, False))


YES_NO = one_of("yes", "no")
YES_NO_MAYBE = one_of("yes", "no", "maybe")

# ---------------------------------------------------------------- words

_WORD_LINES = 12  #: words of an unmarked last line that may be an answer


def folded(answer: str) -> str:
    """An answer without regard to case, spacing, quotation marks and a closing full stop.

    >>> folded(' "New York". ')
    'new york'
    """
    for _ in range(2):
        answer = WRAPPER.sub(r" \1 ", answer)
    return " ".join(answer.split()).casefold().strip("\"'“”‘’.*_` ")


def _read_words(said: str, how: How) -> str | None:
    line = first_line(said) if how == "phrase" else " ".join(said.split())
    if how == "bare" and len(line.split()) > _WORD_LINES:
        return None
    if how == "phrase":
        line = re.split(r"(?<=[^\W\d])[.!?](?:\s|$)|,?\s+(?:because|since)\s", line)[0]
    # Brackets need no partner: closing ones are what the Dyck words of BIG-Bench Hard ask for.
    return line.strip().strip("*_`").rstrip(".,;:。").strip("\"'“” ") or None


def _words(text: str, only_stated: bool) -> Found | None:
    if only_stated:
        return stated(text, _read_words)
    return final(text, _read_words, _last_words)


def _last_words(text: str) -> Found | None:
    """A short last line, or what stands in bold in it."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return None
    bold = re.findall(r"\*\*([^*\n]+?)\*\*", lines[-1])
    if bold:
        return Found(bold[-1].strip(), "bold")
    short = len(lines[-1].split()) <= _WORD_LINES
    answer = tidied(lines[-1]) if short else None
    return Found(answer, "line") if answer else None


TEXT = AnswerFormat(
    "text",
    "the answer in a few words",
    folded,
    lambda text, options: _words(text, True),
    lambda text, options: _words(text, False),
)


def _read_verbatim(said: str, how: How) -> str | None:
    if how in ("boxed", "tagged", "hashes", "bare"):
        return said.strip() or None
    answer = read_math(said, how)
    sentence = _read_words(said, how)
    return sentence if answer is None or sentence is None or len(sentence) <= len(answer) else answer


def _verbatim(text: str, only_stated: bool) -> Found | None:
    if only_stated:
        return stated(text, _read_verbatim)
    return final(text, _read_verbatim, lambda rest: closing_math(rest) or _last_words(rest))


#: An answer exactly as it is written, for scorers that compare characters.
VERBATIM = AnswerFormat(
    "verbatim",
    "the answer, between <answer> and </answer> if it takes several lines",
    str.strip,
    lambda text, options: _verbatim(text, True),
    lambda text, options: _verbatim(text, False),
)

#: By the kinds of answer that a table may ask for.
FORMATS = {
    "number": NUMBER,
    "math": MATH,
    "choice": CHOICE,
    "yes-no": one_of("yes", "no", "maybe", "true", "false"),
    "text": TEXT,
}

# ---------------------------------------------------------------- a world's own


def own_format(kind: str, described: str, reading: Callable[[str, bool], str | None]) -> AnswerFormat:
    """A world's own kind of answer, such as a grid or a list.

    `reading` takes the words of a statement and gives the canonical answer at their beginning, or None. It is also
    told whether the words must be nothing but the answer, as a whole line at the end of an unmarked text must.
    """

    def read(said: str, how: How) -> str | None:
        return reading(plain_text(said), how == "bare")

    def closing(text: str) -> Found | None:
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        for bold in reversed(re.findall(r"\*\*([^*\n]+?)\*\*", "\n".join(lines[-3:]))):
            if answer := reading(plain_text(bold), True):
                return Found(answer, "bold")
        answer = reading(plain_text(lines[-1]), True) if lines else None
        return Found(answer, "line") if answer else None

    return AnswerFormat(
        kind,
        described,
        str,
        lambda text, options: stated(text, read),
        lambda text, options: final(text, read, closing),
    )


_COMMANDS = {r"\times": "*", r"\cdot": "*", r"\div": "/", "×": "*", "·": "*", "÷": "/", "−": "-", "–": "-"}


def plain_text(said: str) -> str:
    r"""What LaTeX and Markdown write as plain characters.

    >>> plain_text(r"$\left(3 + 5\right) \times 2$.")
    '(3 + 5) * 2.'
    """
    said = re.sub(r"\\(?:left|right|,|;|!|quad)(?![A-Za-z])", "", said)
    for written, plain in _COMMANDS.items():
        said = said.replace(written, plain)
    said = re.sub(r"\\text\s*\{([^{}]*)\}", r"\1", said)
    return re.sub(r"\*\*(?=\S)(.+?)(?<=\S)\*\*", r"\1", said).replace("$", "").replace("`", "").strip()
