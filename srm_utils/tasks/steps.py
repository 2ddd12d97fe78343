"""Where the steps of a text end, and which of its sentences are steps, in the family's language and in plain English.

Nothing here looks at a problem's gold steps: what a model wrote is read by its own marks.
"""

from __future__ import annotations

import re

from srm_utils.tasks.problem import Problem

#: Characters of a text that are read for steps.
MAX_TEXT = 20_000
#: Worlds whose steps are equations. Other sentences in their solutions quote the question or keep notes.
EQUATION_WORLDS = ("chain", "graph", "countdown", "large-numbers")

# ---------------------------------------------------------------- where a step ends

#: Titles and short words whose full stop ends no sentence, without that stop.
_ABBREVIATIONS = frozenset(
    "dr mr mrs ms prof st rev gen col capt lt sgt hon mt vs viz cf e.g i.e approx fig figs eq eqs vol".split()
)
#: Abbreviations only before a number: "No. 5", "p. 12", "Jan. 3".
_BEFORE_NUMBER = frozenset("no nos nr p pp ch art jan feb mar apr jun jul aug sep sept oct nov dec".split())
#: Abbreviations that may end a sentence as well: a capital letter then follows.
_MAY_END = frozenset("etc a.m p.m sec min max hr hrs lb lbs oz in ft yd".split())
#: Words that begin a sentence more often than they follow "U.S." or "Inc." inside one.
_OPENERS = frozenset(
    "a after all an and as at but each first for he her his however if in it its next no now on she since so some that "
    "the their then there therefore these they this those thus to we what when which yes you".split()
)
#: Abbreviations inside names, which end a sentence where one of those words follows.
_IN_NAMES = frozenset("jr sr inc ltd co corp ave blvd dept".split())
#: Line breaks, or a mark that white space follows, with the quotation marks, brackets and stars that close behind it.
_END = re.compile(r"\n+|[.?!]{1,6}[\"'”’)\]*_]{0,4}(?=\s|$)")
#: The mark of an item of a list, which belongs to what follows it: "1.", "(2)", "b)", "-", "Step 3:".
_ITEM = re.compile(r"[*_#>\s]*(?:\(?\d{1,3}[.):]|\(?[a-zA-Z]\)|[-*•+–](?=\s)|[Ss]tep\s+\d{1,3}\s*[.:)-])[*_]*(?=\s|$)")
_WORD = re.compile(r"[A-Za-z][A-Za-z.]*$")
_TAGS = re.compile(r"<(/?)(?:think|thinking|thought)>|<\|(begin|end)_of_thought\|>")


def step_ends(text: str) -> list[int]:
    """The character offsets where the steps of a text end; an empty text is one empty step.

    A step ends at a line break, or at a full stop, question or exclamation mark that white space follows. The points
    in a number, of an abbreviation and of a list item's number end nothing.

    >>> text = "1. Dr. Lee pays 3.5 dollars. 2. That is No. 5."
    >>> [text[:end] for end in step_ends(text)]
    ['1. Dr. Lee pays 3.5 dollars.', '1. Dr. Lee pays 3.5 dollars. 2. That is No. 5.']
    """
    ends, start = [], 0
    for found in _END.finditer(text):
        piece = text[start : found.end()]
        if found[0][0] == "." and not _ends_sentence(text, start, found):
            continue
        if piece.strip() and not _ITEM.fullmatch(piece):
            ends.append(start + len(piece.rstrip()))
        if piece.strip() == "" or not _ITEM.fullmatch(piece) or found[0][0] == "\n":
            start = found.end()
    if text[start:].strip():
        ends.append(start + len(text[start:].rstrip()))
    return ends or [0]


def pieces(text: str, mark: str = "\n") -> list[str]:
    """A text cut behind each of its steps; joined, the pieces are the text again.

    `mark` is what ends a step for the model that wrote it: "." is the family's, whose sentences are all plain.

    >>> pieces("So 3.5 + 1 = 4.5. Good.\\nThe end"), pieces(" 2 + 3 = 5. 5 + 1 = 6.", ".")
    (['So 3.5 + 1 = 4.5.', ' Good.', '\\nThe end'], [' 2 + 3 = 5.', ' 5 + 1 = 6.'])
    """
    if mark == "\n":
        cuts = step_ends(text)
    else:
        point = re.escape(mark) + (r"(?!\d)" if mark == "." else "")
        cuts = [found.end() for found in re.finditer(point, text)]
    out = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    if len(out) > 1 and not out[-1].strip():
        out[-2:] = [out[-2] + out[-1]]
    return out


def first_sentence(text: str) -> str:
    """A text up to the end of its first step.

    >>> first_sentence(" 3.5. So Ann wins."), first_sentence("\\nSt. Paul.\\nIt is in the north.")
    (' 3.5.', '\\nSt. Paul.')
    """
    return text[: step_ends(text)[0]]


def _ends_sentence(text: str, start: int, found: re.Match[str]) -> bool:
    """Whether a full stop ends the sentence that began at `start`."""
    before, after = text[start : found.start()], text[found.end() :].lstrip(" \t")
    if _ITEM.fullmatch(before + "."):
        return False
    word = _WORD.search(before[-24:])
    if word is None or len(found[0]) > 1 and found[0][1] == ".":
        return True
    said, opener = word[0].lower(), re.match(r"[A-Z]\w*", after)
    if not after or after[0] == "\n":
        return True
    if said in _BEFORE_NUMBER:
        return not after[0].isdigit()
    if said in _MAY_END:
        return after[0].isupper()
    if said in _ABBREVIATIONS:
        return False
    if said in _IN_NAMES or re.fullmatch(r"(?:[a-z]\.)+[a-z]{1,2}", said):
        return opener is not None and opener[0].lower() in _OPENERS
    # A lone capital is an initial where a name stands before it or another initial behind it: "John F. Kennedy".
    initial = len(word[0]) == 1 and word[0].isupper() and word[0] != "I"
    others = before[-40:].split()[:-1]
    named = not others or others[-1][0].isupper() or bool(re.match(r"[A-Z]\.", after))
    return not (initial and named and opener is not None and opener[0].lower() not in _OPENERS)


# ---------------------------------------------------------------- which sentences are steps

_SENTENCE = re.compile(r"[^.?!\n]+(?:[.?!](?!\s|$)[^.?!\n]*)*")  # a point inside "3.5" ends nothing
_ANSWER = re.compile(
    r"(?:(?:so|thus|hence|therefore|finally)\W+)?(?:the |my )?(?:final |correct )?answer(?: is|\s*:|\s*$)|\\boxed", re.I
)
_DECORATION = re.compile(r"^[\s>#]+|\*\*|__|(?<!\w)`+|`+(?!\w)")


def steps_in(text: str, problem: Problem) -> list[str]:
    """The sentences of a solution in the family's language that are steps, in order and without their full stops.

    The sentence of the answer is none, and neither is a check at the end. What a text takes back ("Wait, that is
    wrong.") is left out; after a bare "Wait." it begins anew. In a world whose steps are equations, other sentences
    (quotations of the question, numbers left) are no steps.

    >>> from srm_utils.tasks import get_task
    >>> problem = get_task("graph").problems(1, difficulty=3)[0]
    >>> steps_in(get_task("graph").solution(problem, "cot"), problem) == list(problem.steps)
    True
    """
    sentences: list[str] = []
    for found in _SENTENCE.finditer(text[:MAX_TEXT]):
        sentence = found[0].strip()
        if sentence == "Wait":
            sentences = []
        elif sentence.startswith("Wait, "):
            sentences = sentences[:-1]
        elif sentence.startswith("Check:"):
            break
        elif sentence and not sentence.lower().startswith("the answer is"):
            sentences.append(sentence)
    return [s for s in sentences if " = " in s] if problem.task in EQUATION_WORLDS else sentences


def plain_steps(text: str) -> list[str]:
    """The steps of a solution in plain English, in order, without list marks, Markdown and their full stops.

    The sentence of the answer is none, and neither are headings, questions and lines without a letter or digit. Of a
    text with a thought between tags only what follows the thought is read; of a thought still open, the thought.

    >>> plain_steps("**Steps:**\\n1. 3 + 4.5 = 7.5 dollars.\\n2. Dr. Lee pays 2, so 5.5 are left.\\nThe answer is 5.5.")
    ['3 + 4.5 = 7.5 dollars', 'Dr. Lee pays 2, so 5.5 are left']
    """
    text = after_thought(text)[:MAX_TEXT]
    steps = []
    for piece in pieces(text):
        said = _DECORATION.sub("", piece.strip())
        item = _ITEM.match(said)
        said = said[item.end() if item else 0 :].strip()
        if not re.search(r"\w", said) or said.endswith((":", "?")) or _ANSWER.match(said):
            continue
        steps.append(re.sub(r"[.!]+$", "", said).strip())
    return steps


def after_thought(text: str) -> str:
    """What a text says after its thinking: what follows the last closing tag, or the inside of a thought still open.

    >>> after_thought("<think>Is it 5?</think>\\nIt is 8."), after_thought("<think>3 + 5 = 8.")
    ('\\nIt is 8.', '3 + 5 = 8.')
    """
    tags = list(_TAGS.finditer(text))
    return text[tags[-1].end() :] if tags else text
