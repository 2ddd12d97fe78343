"""How a model's written reply is read: a verdict, a critique, a check of every step, a choice of two.

Every reader says None, or holds None, where the reply does not say. An unread reply is never agreement, consent,
"nothing is wrong" or a right step; whoever asked decides what to do without it.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from srm_utils.tasks.steps import after_thought, step_ends

#: What a critic says of a solution that it leaves as it is.
NOTHING_WRONG = "Nothing is wrong."
#: Characters of a sentence that are read for a verdict.
MAX_SENTENCE = 500

_MARKDOWN = re.compile(r"[*_`#>\"“”]+|\\boxed|\\text|[{}]")
_GOOD = r"right|correct|true|valid|accurate|sound|ok|okay|fine"
_BAD = r"wrong|incorrect|false|invalid|inaccurate|mistaken"
_FAULT = r"(?:errors?|mistakes?|problems?|faults?|issues?)"
#: "No errors", "I see no mistake", "without any error": the solution is left as it is.
_NO_FAULT = re.compile(
    rf"(?:\b(?:no|without(?: any)?|not(?: \w+){{0,2}} any|free (?:of|from)|zero)|n't(?: \w+){{0,2}} any) "
    rf"(?:\w+ ){{0,2}}?{_FAULT}\b"
    r"|\bnothing (?:at all )?(?:(?:is|was|seems|looks|to be) )?(?:wrong|incorrect|to (?:correct|fix|change))\b"
    r"|\bnothing (?:needs|to) (?:to be )?(?:corrected|fixed|changed)\b",
    re.IGNORECASE,
)
_A_FAULT = re.compile(
    rf"\b(?:an?|the|one|two|first|some|this|is|made|there'?s?) (?:\w+ ){{0,3}}?{_FAULT}\b|\bmiscalculat"
    r"|\bshould (?:be|have been)\b",
    re.IGNORECASE,
)
#: A statement about something: "is right", "looks entirely correct", "isn't quite right", "are not wrong".
_STATES = re.compile(
    r"\b(?:is|are|was|were|be|seems?|looks?|appears?|sounds?|it'?s|that'?s|they'?re)(?P<not>n't)?"
    rf"(?P<more>(?: (?:to be|not|never|all|both|also|indeed|actually|quite|entirely|completely|mathematically|"
    rf"logically|perfectly|absolutely|clearly|partly|still|definitely|therefore|in fact|now))*),? "
    rf"(?P<said>{_GOOD}|{_BAD})\b"
    r"(?! (?:answer|step|solution|result|way|number|value|order|side|hand|amount|place"
    r"|next|now|there|here|after|before|away|behind|beside|in|on|at)\b)",
    re.IGNORECASE,
)
#: What may stand before a verdict that is a sentence alone: "Step 2:", "Verdict:", "So,".
_LEAD = re.compile(
    r"(?:(?:step|line) \d{1,3}|\d{1,3}|verdict|answer|judge?ment|result|conclusion|so|therefore|thus|overall|"
    r"absolutely|definitely)\b[ .:,)-]{0,4}",
    re.IGNORECASE,
)
#: A sentence that is a verdict alone: "Correct.", "wrong", "Not right!".
_ALONE = re.compile(rf"(?P<more>not )?(?P<said>yes|no|{_GOOD}|{_BAD})[ .!,:;]{{0,8}}", re.IGNORECASE)
#: A sentence that decides nothing: a question, a condition, a doubt.
_OPEN = re.compile(
    r"\?\s*$|\b(?:whether|unsure|unclear|uncertain)\b|\bnot (?:quite )?(?:sure|certain|clear)\b"
    r"|\b(?:cannot|can't|can not|could not|couldn't|don't) (?:say|tell|know|determine|judge|verify)\b"
    r"|^(?:if|to (?:check|see|determine|find|answer|decide))\b|\bif (?:the|this|it|each|every)\b"
    r"|\b(?:may|might|could) be\b",
    re.IGNORECASE,
)
_CONCLUDES = re.compile(
    r"^(?:therefore|so|thus|hence|overall|in conclusion|in summary|finally)\b"
    r"|\b(?:the|this|whole|entire|your|given) (?:\w+ )?(?:solution|reasoning|proof|answer|work)\b"
    r"|\ball (?:of )?(?:the |these )?steps\b",
    re.IGNORECASE,
)
_STEP = re.compile(r"\b(?:step|line) (\d{1,3})\b", re.IGNORECASE)


def _sentences(text: str) -> list[str]:
    """What a reply says, sentence by sentence, without its thinking and its Markdown."""
    lines = [line for line in _MARKDOWN.sub("", after_thought(text)[:4000]).splitlines() if line.strip()]
    out = []
    for line in lines:
        ends = step_ends(line)
        out += [line[a:b].strip()[:MAX_SENTENCE] for a, b in zip([0, *ends], ends, strict=False)]
    return [s for s in out if s]


def _said(sentence: str) -> bool | None:
    """What one sentence says of what it is about: right, wrong, or nothing."""
    if _OPEN.search(sentence):
        return None
    rest = sentence
    while lead := _LEAD.match(rest):
        rest = rest[lead.end() :]
    alone = _ALONE.fullmatch(rest)
    if alone:
        return (re.fullmatch(f"yes|{_GOOD}", alone["said"], re.IGNORECASE) is not None) != bool(alone["more"])
    if _NO_FAULT.search(sentence):
        return True
    found = [
        (re.fullmatch(_GOOD, m["said"], re.IGNORECASE) is not None)
        != bool(m["not"] or re.search(r"\b(?:not|never)\b", m["more"]))
        for m in _STATES.finditer(sentence)
    ]
    if _A_FAULT.search(sentence):
        found.append(False)
    denied = re.search(r"\b(?:do not|don't|cannot|can't) (?:think|believe|agree)\b", sentence, re.IGNORECASE)
    if not found or len(set(found)) > 1:
        return None
    return found[0] != bool(denied)


def verdict(text: str) -> bool | None:
    """Whether a reply says yes (or "right", "correct") or no; None where it says neither, or both.

    What opens the reply decides if it is a verdict by itself. Else all its sentences must agree, or those that
    conclude.

    >>> [verdict(t) for t in ("Yes, it is.", "**No**", "The step is incorrect.", "I think this is right")]
    [True, False, False, True]
    >>> [verdict(t) for t in ("Let us see.", "Is it right?", "The correct answer is 5.", "12 + 5 = 17")]
    [None, None, None, None]
    """
    sentences = _sentences(text)
    if not sentences:
        return None
    if not _NO_FAULT.match(sentences[0]):
        word = rf"\W*(?:answer\s*:\s*)?(yes|no|{_GOOD}|{_BAD})\b(?=\s*(?:[.,!:;)—–-]|$))"
        opening = re.match(word, sentences[0], re.IGNORECASE)
        if opening and not _OPEN.search(sentences[0]):
            return re.fullmatch(f"yes|{_GOOD}", opening[1], re.IGNORECASE) is not None
    said = [(_said(s), s) for s in sentences]
    ends = [_CONCLUDES.search(s) or re.fullmatch(r"\W*(?:yes|no)\W*", s, re.I) for s in sentences]
    closing = [v for (v, _), end in zip(said, ends, strict=True) if v is not None and end]
    found = set(closing) or {v for v, _ in said if v is not None}
    return found.pop() if len(found) == 1 else None


def family_verdict(text: str) -> bool | None:
    """A verdict in the family's language: its first word where that is yes or no, else the last of these words in it.

    >>> family_verdict("8 + 5 = 13 told 14 wrong. No."), family_verdict("Yes, it is."), family_verdict("8 + 5 = 13.")
    (False, True, None)
    """
    words = re.findall(r"[a-z]+", text.lower())
    said = [w for w in words if w in ("yes", "no")]
    return (said[0] if words[0] == said[0] else said[-1]) == "yes" if said else None


class Critique(NamedTuple):
    """What a critic's reply says: whether the solution may stay (None where it does not say), and the first step that
    it calls wrong (from 1; None where it names none)."""

    content: bool | None
    step: int | None = None


def critique(text: str) -> Critique:
    """Reads an answer to "What is wrong?": "Step 2 is wrong: ...", "Nothing is wrong.", "All steps are correct."

    >>> critique("Step 2 is wrong: 17 - 3 = 14.")
    Critique(content=False, step=2)
    >>> critique("No mistakes were found.").content, critique("Anna has 5 apples.").content
    (True, None)
    """
    sentences = _sentences(text)
    for sentence in sentences:
        named = _STEP.search(sentence)
        if named and _said(sentence) is False:
            return Critique(False, int(named[1]))
    if any(_A_FAULT.search(s) and not _NO_FAULT.search(s) and not _OPEN.search(s) for s in sentences):
        return Critique(False)
    return Critique(verdict(text))


class Check(NamedTuple):
    """What a written check says of each step in order, and of the whole; `whole` is None where it does not say."""

    steps: list[bool]
    whole: bool | None

    @property
    def read(self) -> bool:
        """Whether it says anything at all."""
        return bool(self.steps) or self.whole is not None


_FAMILY_CHECK = re.compile(r"\d,? (right|wrong)\b|\b(Yes|No)\b")


def family_check(text: str) -> Check:
    """Reads a check in the family's language: every step worked out beside the one told, then "Yes." or "No."

    >>> family_check("2 + 3 = 5 told 5 right. 5 + 1 = 6 told 7 wrong. No.")
    Check(steps=[True, False], whole=False)
    """
    steps, whole = [], None
    for step, said in _FAMILY_CHECK.findall(text):
        if step:
            steps.append(step == "right")
        else:
            whole = said == "Yes"
    return Check(steps, whole)


def plain_check(text: str) -> Check:
    """Reads a check in plain English: a line for every step, and a verdict on the whole at the end.

    A step without a verdict of its own ends the list: what follows cannot be told to belong to a later step. The
    whole is right only if it is called so and no step is called wrong.

    >>> plain_check("Step 1: 2 + 3 = 5, right.\\nStep 2: 5 + 1 = 6, not 7. It is wrong.\\nNo.")
    Check(steps=[True, False], whole=False)
    >>> plain_check("Every step adds up, so the solution is correct.")
    Check(steps=[], whole=True)
    """
    parts = re.split(
        r"(?:^|(?<=\s))[*_]{0,3}(?:step|line) (\d{1,3})\b", after_thought(text)[:8000], flags=re.IGNORECASE
    )
    steps: list[bool] = []
    rest = parts[0]
    for number, said in zip(parts[1::2], parts[2::2], strict=True):
        lines = [line for line in said.strip().splitlines() if line.strip()] or [""]
        if int(number) == len(steps) + 1:
            of_step = _of_step(lines[0])
            if of_step is None:
                rest = "\n".join(lines[1:])
                break
            steps.append(of_step)
        rest = "\n".join(lines[1:])
    whole = verdict(rest) if rest.strip() else None
    if False in steps:
        whole = False
    return Check(steps, whole)


def _of_step(line: str) -> bool | None:
    """The verdict in what is said of one step: a statement, or the last word of the line."""
    line = _MARKDOWN.sub("", line).strip()
    found = {v for v in map(_said, _sentences(line.lstrip(" :.-"))) if v is not None}
    if len(found) == 1:
        return found.pop()
    last = re.search(rf"(?P<more>\bnot )?\b(?P<said>{_GOOD}|{_BAD}|yes|no)\W*$", line, re.IGNORECASE)
    if found or last is None:
        return None
    return (re.fullmatch(f"yes|{_GOOD}", last["said"], re.IGNORECASE) is not None) != bool(last["more"])


def choice(text: str) -> str | None:
    """Which of two a reply chooses, "A" or "B"; None where it names neither or both. The article "A" is none.

    >>> [choice(t) for t in ("B.", "**A** is better.", "The better one is (B)", "A good start.", "A or B")]
    ['B', 'A', 'B', None, None]
    """
    said = _MARKDOWN.sub("", after_thought(text)[:2000]).strip()
    first = re.match(r"\(?([AB])\)?(?=\s*(?:[.,:;!)\n—–-]|$)| (?:is|looks|seems|because|since|has)\b)", said)
    if first:
        return first[1]
    before = "answer|choice|option|solution|beginning|better|best|choose|prefer|pick|is|verdict"
    named = re.findall(rf"\b(?:{before})\b[ :]*\(?([AB])\b(?! or\b)", said)
    named += re.findall(r"\b([AB])\b\)? (?:is|looks|seems) (?:the )?better", said)
    return named[0] if len(set(named)) == 1 else None
