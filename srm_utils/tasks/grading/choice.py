"""Multiple choice: which option a text chooses, by its letter or its words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from string import ascii_uppercase

from srm_utils.tasks.grading.extract import Found, How, Statement, final, first_line, stated
from srm_utils.tasks.grading.grade import Grade
from srm_utils.tasks.grading.tokens import WRAPPER

YES_NO = ("yes", "no", "maybe")
LETTERS = "ABCDEFGHIJ"
MAX_OPTION = 1_000  #: characters of a statement that are read

_LABEL = r"[(\[]?\s*(?:\\?\(\s*)?([A-J])\s*(?:\\?\))?\s*[)\]]?"
_AFTER = r"(?=[\s.,:;!*_)\]$。，]|\Z)"
_MARKS = r"[*_\"'`$\s]{0,6}"
_SAID = (
    # "Option B is correct", "(B) is the best answer"
    re.compile(
        rf"(?:\b(?:option|choice|answer|statement)\s+)?{_MARKS}(?<![A-Za-z]){_LABEL}{_MARKS}\s+"
        r"(?:is|would be|seems?(?: to be)?)\s+"
        r"(?:clearly |therefore |thus |indeed |most likely |probably |the )*(?:most |single |only )*"
        r"(?:correct|right|true|best|appropriate|accurate|likely|suitable|final)\b(?:\s+(?:answer|option|choice|one))?"
    ),
    # "I choose B", "we select option (C)", "I'd go with D"
    re.compile(
        rf"\b(?:choose|select|pick|go(?:ing)? with|opt(?:ing)? for|chose|selected|choosing|selecting)\s+(?:the\s+)?"
        rf"(?:option|choice|answer|letter)?\s*{_MARKS}{_LABEL}{_AFTER}",
        re.IGNORECASE,
    ),
    re.compile(rf"(?:故选|选择|应选|因此选|所以选|选)\s*[:：]?\s*{_MARKS}{_LABEL}"),
)  # fmt: skip
_PHRASE = re.compile(
    r"\b(?:option|choice)\b[*_ \t]*(?:(?:is|would be|should be|must be)\b|=|:)[\s*_:]*(?:(?:option|choice)\s+)?",
    re.IGNORECASE,
)
_BEFORE_LABEL = re.compile(
    r"[\W_]*(?:(?:therefore|thus|clearly|most likely|likely|probably|definitely|indeed|obviously|simply|just|still|"
    r"going to be|option|choice|letter|answer)\b[\W_]*)*",
    re.IGNORECASE,
)
_AT_START = re.compile(
    r"\W*(?:(?:option|choice)\s+)?(\(\s*|\[\s*)?([A-Za-z])(?(1)\s*[)\]])(?![A-Za-z]|['’][A-Za-z])\s*([.:,)\-\]。：，、]?)(.*)",
    re.DOTALL | re.IGNORECASE,
)
_ALSO = re.compile(
    r"\s*(?:[,/&]|\band\b|\bor\b|[,/]\s*(?:and|or)\b)\s*\(?([A-J])\)?(?=\s*(?:[,/&.;:)]|and\b|or\b|\Z|\n))"
)
_DENIED = re.compile(r"\b(?:not|n't|neither|isn't|incorrect|wrong)\b", re.IGNORECASE)
#: Behind a letter without a mark, these begin a sentence about an option, not a choice.
_VERB = re.compile(
    r"(?:is|are|was|were|isn't|aren't|and(?! not)|or|nor|but|cannot|can't|would|could|may|might|seems|has|have|does|do)"
    r"\b",
    re.IGNORECASE,
)
_CONDITION = re.compile(r"\b(?:if|whether|not|never|why|unless|n't|suppose|neither|nor)\b[^.\n]{0,15}$", re.IGNORECASE)
_CONCLUSION = re.compile(
    r"^\W*(?:so|therefore|thus|hence)\b[, ]*"
    r"(?:the (?:answer|choice) (?:is|must be) |it(?:'s| is| must be) |that(?:'s| is) )?",
    re.IGNORECASE,
)
_BOLD = re.compile(r"\*\*([^*\n]+?)\*\*")


def words_of(text: str) -> str:
    """A text without LaTeX wrappers, case and punctuation, as options are compared."""
    for _ in range(4):
        text = WRAPPER.sub(r" \1 ", text)
    return " ".join(re.findall(r"[\w.%+/^↑↓→←<>=-]+", text.casefold())).strip(" .")


def grade_choice(text: str, gold_letter: str, options: Mapping[str, str] | Sequence[str] | None = None) -> Grade:
    """Grades a multiple-choice answer: a letter ("B", "(B)", "Answer: B. Paris") or an option's own words.

    `options` are the option texts, by letter or in order from A; `("yes", "no", "maybe")`, also assumed when the gold
    answer is one of these words, is PubMedQA. `gold_letter` is a letter or an option's text. Where letter and words
    disagree the letter counts; two letters ("B or C") are unparsable. Raises ValueError when the gold answer is not an
    option.

    >>> grade_choice("So the answer is (B) Paris.", "B", ["Rome", "Paris"]).value, grade_choice("No", "yes").value
    ('correct', 'wrong')
    """
    by_letter = lettered(options, gold_letter)
    gold = gold_letter.strip()
    wanted = gold.upper().strip("().")
    if wanted not in by_letter:
        by_words = {words_of(words): letter for letter, words in by_letter.items() if words_of(words)}
        wanted = by_words.get(words_of(gold), "")
    if not wanted:
        raise ValueError(
            f"The gold answer {gold!r} is none of the options {', '.join(by_letter)}; pass its letter or text."
        )
    found = find_choice(text, by_letter)
    if found is None:
        return Grade.UNPARSABLE
    return Grade.CORRECT if found.answer == wanted else Grade.WRONG


def lettered(options: Mapping[str, str] | Sequence[str] | None, gold: str = "") -> dict[str, str]:
    """Options by letter; without any, yes, no and maybe where the gold answer is one of them, else bare letters."""
    if options is None:
        options = YES_NO if gold.strip().lower() in YES_NO else dict.fromkeys(LETTERS, "")
    return dict(options) if isinstance(options, Mapping) else dict(zip(ascii_uppercase, options, strict=False))


def find_choice(text: str, options: Mapping[str, str], only_stated: bool = False) -> Found | None:
    """The letter of the option that a text chooses, and how it says so; None where it chooses none or several.

    >>> find_choice("B) Paris.\\n\\nRome is in Italy.", {"A": "Rome", "B": "Paris"}).answer
    'B'
    """
    by_words = {words_of(words): letter for letter, words in options.items() if words_of(words)}
    lettered = all(len(letter) == 1 for letter in options)  # yes, no and maybe are said, not lettered

    def read(said: str, how: How) -> str | None:
        if how == "phrase":
            said = first_line(said)
        if not said.strip() or len(said) > MAX_OPTION:
            return None
        if how == "bare" and "\n" in said.strip():
            return None
        return _chosen(said, options, by_words)

    def more(text: str) -> Iterator[Statement]:
        return _said(text) if lettered else iter(())

    if only_stated:
        return stated(text, read, more)
    return final(text, read, lambda rest: _closing(rest, options, by_words), more)


def _said(text: str) -> Iterator[Statement]:
    """Statements that only a choice has: "Option B is correct", "I choose B", "the correct option: B"."""
    for pattern in _SAID:
        for found in pattern.finditer(text):
            if not _CONDITION.search(text[max(0, found.start() - 40) : found.start()]):
                rest = text[found.end(1) : found.end(1) + 40] if pattern is not _SAID[0] else ""
                yield Statement("phrase", found.start(), found.end(), found[1].upper() + rest)
    for found in _PHRASE.finditer(text):
        yield Statement("phrase", found.start(), found.end(), text[found.end() :])


def _chosen(said: str, options: Mapping[str, str], by_words: Mapping[str, str]) -> str | None:
    for _ in range(4):
        said = WRAPPER.sub(r" \1 ", said)
    said = said.replace("**", "").strip().strip("$*_`\"'“” ")
    words = words_of(said)
    if words in by_words:
        return by_words[words]
    for start in (0, _end_of_adverbs(said)):
        letter = _label_at(said[start:], options)
        if letter is not None:
            return letter or None
    sentence = words_of(re.split(r"[.;!?](?:\s|$)|\n", said)[0])
    if sentence in by_words:
        return by_words[sentence]
    starts = [w for w in by_words if words.startswith(w + " ") and not _DENIED.match(words[len(w) :].strip())]
    return by_words[max(starts, key=len)] if starts else None


def _end_of_adverbs(said: str) -> int:
    found = _BEFORE_LABEL.match(said)
    return found.end() if found else 0


def _label_at(said: str, options: Mapping[str, str]) -> str | None:
    """The label that a statement begins with; "" where it begins with several, None where with none."""
    found = _AT_START.match(said)
    if not found:
        return None
    bracket, letter, mark, rest = found.groups()
    after = said[found.end(2) :].lstrip(")]")
    also = _ALSO.match(after)
    if also and also[1] in options and also[1] != letter.upper():
        return ""
    rest = rest.strip(" *_$`\"'")
    # A letter alone, in brackets or with a mark is a label; "A man" needs the option's words behind it.
    sure = bracket or mark or not rest or re.match(r"[^\w]", rest)
    label = letter.upper() if (letter.isupper() or bracket or not rest or (mark and mark in ".):")) else ""
    if label not in options:
        return None
    named = words_of(options[label])
    if not mark and (_DENIED.match(rest) or _VERB.match(rest)) and not (named and words_of(rest).startswith(named)):
        return None
    if sure or label not in "AI" or (named and words_of(rest).startswith(named)):
        return label
    return None


def _closing(text: str, options: Mapping[str, str], by_words: Mapping[str, str]) -> Found | None:
    """What an unmarked text of several lines chooses: its last bold choice, or a first or last line that is one."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return None
    bold = [b for b in _BOLD.findall("\n".join([lines[0], *lines[-3:]])) if _is_whole(b, options, by_words)]
    if bold and len({_chosen(b, options, by_words) for b in bold}) == 1:
        choice = _chosen(bold[-1], options, by_words)
        if choice:
            return Found(choice, "bold")
    ends = {"first": lines[0], "last": lines[-1]}
    said = {}
    for name, line in ends.items():
        bare = _CONCLUSION.sub("", line)
        if _is_whole(bare, options, by_words):
            said[name] = _chosen(bare, options, by_words)
        elif name == "first" and (start := _begins_with_choice(bare, options, by_words)):
            said[name] = start
    chosen = {choice for choice in said.values() if choice}
    if len(chosen) != 1:
        return None
    return Found(chosen.pop(), "line")


def _is_whole(said: str, options: Mapping[str, str], by_words: Mapping[str, str]) -> bool:
    """Whether a line is nothing but a label, an option, or a label with its option."""
    words = words_of(said)
    if words in by_words:
        return True
    found = _AT_START.match(said)
    if not found or found[2].upper() not in options or not (found[2].isupper() or found[1]):
        return False
    rest, option = words_of(found[4]), words_of(options[found[2].upper()])
    return not rest or (bool(option) and rest == option)


def _begins_with_choice(line: str, options: Mapping[str, str], by_words: Mapping[str, str]) -> str | None:
    """The choice of a first line that gives its reason behind it: "B) Beta blocker. It ...", "Yes, because ..."."""
    head = re.match(r"\W*(\w+)[,.:;!]", line)
    if head and all(len(letter) > 1 for letter in options):
        return by_words.get(head[1].casefold())
    sentence = re.split(r"(?<=[^A-J\W])[.;!?](?:\s|$)", line)[0]
    if _is_whole(sentence, options, by_words):
        return _chosen(sentence, options, by_words)
    return None
