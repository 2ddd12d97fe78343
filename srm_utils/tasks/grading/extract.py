r"""From what a model wrote to the answer that it gives, read as a person would.

What counts, in the order of a text: `\boxed{}`, `<answer>` tags, `#### x`, and a phrase such as "the answer is x".
The last of these that can be read is the answer; a phrase behind a box counts only where it takes the box back. A text
that was cut off inside its last statement, or that never ends to think, gives none. Where nothing is marked, `final`
reads what stands at the end of the text: a number in bold, the right side of an equation, a line that is a number, a
concluding sentence with one number in it. Such answers are told apart by their `how`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from srm_utils.tasks.grading.number_words import FACTORS
from srm_utils.tasks.grading.read import Named, Relation, Text, Unordered, parsed
from srm_utils.tasks.grading.tokens import ANSWER_CHARACTERS, BOLD_PART, Refused
from srm_utils.tasks.grading.units import UNFORGIVEN

TAIL_CHARACTERS = 20_000  #: how far from its end a text is searched for its final answer
MAX_STATEMENTS = 25  #: how many of the last statements are tried
MAX_BOX = 4_000  #: characters after which a box counts as unclosed
MAX_SENTENCE = 600  #: characters of a sentence that are read
MAX_READINGS = 6  #: how many verbs and commas of a sentence are tried

How = Literal["boxed", "tagged", "hashes", "phrase", "bare", "bold", "equation", "line", "sentence"]


@dataclass(frozen=True, slots=True)
class Found:
    """An answer and how it was found; `stated` where it was marked, `unmarked` where the end of the text was read."""

    answer: str
    how: How

    @property
    def stated(self) -> bool:
        return self.how in ("boxed", "tagged", "hashes", "phrase")

    @property
    def unmarked(self) -> bool:
        return self.how in ("bold", "equation", "line", "sentence")


#: Reads the words of a statement: the answer in them, or None where they hold none.
Read = Callable[[str, How], str | None]

# ---------------------------------------------------------------- what was said aloud

_THINKING = ("think", "thinking", "thought", "reasoning", "analysis")
_CLOSED = re.compile(rf"(?:</(?:{'|'.join(_THINKING)})>|\[/THINK\]|<\|end_of_thought\|>|◁/think▷)", re.IGNORECASE)
_OPENED = re.compile(rf"(?:<(?:{'|'.join(_THINKING)})>|\[THINK\]|<\|begin_of_thought\|>|◁think▷)", re.IGNORECASE)
_FINAL_CHANNEL = "<|channel|>final<|message|>"
_TURN_END = re.compile(
    r"<\|(?:im_end|eot_id|eom_id|end_of_text|endoftext|end|return|eos|user|end_of_turn|END_OF_TURN_TOKEN)\|>"
    r"|</s>|<end_of_turn>|<eos>|<EOS>|<｜end▁of▁sentence｜>|<｜User｜>|\[/?INST\]"
)
_NEXT_QUESTION = re.compile(r"\n\s*(?:\*\*|#+ )?(?:Question|Problem|User|Human|Q)\s*\d*\s*:")
_ANSWERED = re.compile(r"\banswer\b[*_ ]*(?:is\b|:)[ *_]*\S|\\boxed\{|####[ \t]*\S", re.IGNORECASE)
_SPECIAL = re.compile(r"<\|[^<>|\n]{1,40}\|>|<｜[^<>｜\n]{1,40}｜>|<s>|<bos>|<pad>|<unk>|<start_of_turn>(?:model)?")


def spoken(text: str) -> str | None:
    """A text without its thinking, its special tokens and any turn invented behind its own; None if it never ends
    to think.

    >>> spoken("<think>5?</think> It is 7.<|im_end|>\\n<|im_start|>user"), spoken("<think> It is 7.")
    (' It is 7.', None)
    """
    tail = text[-TAIL_CHARACTERS:]
    if _FINAL_CHANNEL in tail:
        tail = tail.rpartition(_FINAL_CHANNEL)[2]
    closed = list(_CLOSED.finditer(tail))
    if closed:
        tail = tail[closed[-1].end() :]
    if _OPENED.search(tail) or (not closed and len(text) > len(tail) and _OPENED.search(text)):
        return None
    for found in _TURN_END.finditer(tail):
        if tail[: found.start()].strip():
            tail = tail[: found.start()]
            break
    tail = _SPECIAL.sub("", _TURN_END.sub("", tail))
    # A base model that goes on asks itself the next question.
    for found in _NEXT_QUESTION.finditer(tail):
        if _ANSWERED.search(tail, 0, found.start()):
            return tail[: found.start()]
    return tail


# ---------------------------------------------------------------- statements

_BOX = re.compile(r"\\(?:boxed|fbox|framebox)(?![A-Za-z])\s*")
_TAG = re.compile(r"<answer>(.*?)(?:</answer>|\Z)", re.DOTALL | re.IGNORECASE)
_HASHES = re.compile(r"####[ \t]*([^\n]+)")
_BE = r"(?:(?:is|are|was|were|would be|should be|must be|will be|comes out to|becomes)\b(?:[ \t]*:)?|[=:]|：|\bis\s*=)"
_PHRASE = re.compile(
    rf"\banswers?\b(?:\s*\([^()\n]{{0,40}}\))?(?:[*_ \t]*\s(?:to|for|of|in)\b[^.\n:=?!]{{1,80}}?)?[*_ \t]*{_BE}[\s*_:]*"
    r"|^[#*_> \t]*(?:the |your |my )?(?:final |correct )?answer[*_:： \t]*\n[\s*_]*"
    # "A: 12" in the manner of questions and answers, where no list of options goes on with B.
    r"|^[ \t]*A:[ \t]+(?=\S)(?![\s\S]{0,400}?^[ \t]*[B-E][:.)])"
    r"|(?:最终|正确|最后)?答案\s*(?:应该|应)?(?:是|为|為|选|：|:)[\s：:*]*|答え\s*[はは：:][\s：:*]*|정답은?\s*[:：]?\s*"
    r"|\b(?:respuesta|réponse|antwort|risposta|resposta)\b(?:\s+\w+)?\s*(?:[:：]|\b(?:es|est|ist|è|é)\b)[\s*_:]*",
    re.IGNORECASE | re.MULTILINE,
)
_DOUBTED = re.compile(
    r"\b(?:if|whether|suppose|assume|assuming|verify that|check that|confirm that|unless|(?:this|your|an?|any|each) )"
    r"[^.\n?!]{0,25}$",
    re.IGNORECASE,
)
_OWN = re.compile(r"\b(?:final|correct|corrected|right|actual|new|real)\s+\W*$", re.IGNORECASE)
_TAKEN_BACK = re.compile(
    r"\b(?:wait|wrong|mistake|incorrect|actually|sorry|correction|corrected|oops|instead|error|"
    r"let me (?:re|correct|fix)|apologi[sz]e|i made|should (?:have been|be))",
    re.IGNORECASE,
)
_JOINED = re.compile(
    r"[\s$,;.]*(?:\\(?:quad|qquad|text\{\s*(?:and|or)\s*\}|[,;: ()\[\]])|and|or|&|或|和|[a-z]\s*(?:_\{?\w\}?)?\s*="
    r"|[\s$,;])*",
    re.IGNORECASE,
)
_ESCAPED_PAIR = re.compile(r"\\.", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Statement:
    """One marked place of a text: how it is marked, where it stands, and what it says (None where it was cut off)."""

    how: How
    start: int
    end: int
    said: str | None


def statements(text: str) -> list[Statement]:
    """The marked places of a text in their order, boxes that are one list joined by commas."""
    found: list[Statement] = []
    for box in list(_BOX.finditer(text))[-2 * MAX_STATEMENTS :]:
        said, end = box_content(text, box.end())
        if said == "":
            continue  # the instruction quoted: "in \boxed{}"
        last = found[-1] if found else None
        if last and last.said is not None and said is not None and last.end < box.start():
            if _is_joint(text[last.end : box.start()]):
                found[-1] = Statement("boxed", last.start, end, f"{last.said}, {said}")
                continue
        found.append(Statement("boxed", box.start(), end, said))
    for tag in _TAG.finditer(text):
        if tag[1].strip():
            found.append(Statement("tagged", tag.start(), tag.end(), tag[1].strip()))
    for line in _HASHES.finditer(text):
        if any(c.isdigit() for c in line[1]) or not text[line.end() :].strip():
            found.append(Statement("hashes", line.start(), line.end(), line[1]))
    for phrase in _PHRASE.finditer(text):
        found.append(Statement("phrase", phrase.start(), phrase.end(), text[phrase.end() :]))
    return sorted(found, key=lambda s: (s.start, s.end))


def _is_joint(between: str) -> bool:
    return len(between) < 60 and _JOINED.fullmatch(between) is not None and re.search(r"[.?!]\s", between) is None


def box_content(text: str, at: int) -> tuple[str | None, int]:
    """What stands in the box whose command ends at `at`, and where it ends; None for a box that never closes."""
    if at >= len(text):
        return None, at
    if text[at] != "{":
        found = re.compile(r"\\[A-Za-z]+|\S").match(text, at)
        return (found.group(), found.end()) if found else (None, at)
    depth, i, end = 0, at, min(len(text), at + MAX_BOX)
    while i < end:
        if text[i] == "\\":
            i += 2
            continue
        depth += (text[i] == "{") - (text[i] == "}")
        if depth == 0:
            return text[at + 1 : i].strip(), i + 1
        i += 1
    return None, len(text)


def stated(text: str, read: Read, more: Callable[[str], Iterator[Statement]] = lambda _: iter(())) -> Found | None:
    """The last marked statement of a text that can be read, or None: what counts while a model is still writing.

    `more` yields the statements that only one kind of answer knows ("Option B is correct").
    """
    said = spoken(text)
    return None if said is None else _last_statement(said, read, more)[0]


def final(
    text: str,
    read: Read,
    closing: Callable[[str], Found | None],
    more: Callable[[str], Iterator[Statement]] = lambda _: iter(()),
) -> Found | None:
    """The answer of a finished text: as `stated`, else a text that is an answer, else what `closing` finds."""
    said = spoken(text)
    if said is None:
        return None
    found, cut = _last_statement(said, read, more)
    if found or cut:
        return found
    bare = said.strip()
    if bare and len(bare) <= ANSWER_CHARACTERS and "\n" not in bare:
        answer = read(bare, "bare")
        if answer is not None:
            return Found(answer, "bare")
    return closing(said)


def _last_statement(text: str, read: Read, more: Callable[[str], Iterator[Statement]]) -> tuple[Found | None, bool]:
    """The last statement that can be read, and whether the text was cut off inside its last one."""
    places = sorted([*statements(text), *more(text)], key=lambda s: (s.start, s.end))
    last = len(places) - 1
    for i in range(last, max(-1, last - MAX_STATEMENTS), -1):
        place = places[i]
        if place.said is None or (i == last and place.how == "phrase" and is_cut_off(place.said)):
            if i and place.said is not None and not first_line(place.said) and not _doubts(text, places[i - 1], place):
                continue  # a model that repeats itself until its tokens end; what it has said before stands
            return None, True
        marked = next((p for p in reversed(places[:i]) if p.how in ("boxed", "tagged", "hashes")), None)
        if place.how == "phrase" and marked and not _takes_back(text, marked, place):
            continue
        answer = read(place.said, place.how)
        if answer is None:
            continue
        if place.how == "phrase" and _DOUBTED.search(text[max(0, place.start - 60) : place.start]):
            continue
        return Found(answer, place.how), False
    return None, False


def _doubts(text: str, before: Statement, after: Statement) -> bool:
    """Whether the text between two statements takes the first one back."""
    return _TAKEN_BACK.search(text[before.end : after.start]) is not None


def _takes_back(text: str, marked: Statement, phrase: Statement) -> bool:
    """Whether a phrase behind a box replaces it, rather than only speaking of it."""
    if phrase.start < marked.end:
        return True
    between = text[marked.end : phrase.start]
    return _TAKEN_BACK.search(between) is not None or _OWN.search(between) is not None


def is_cut_off(rest: str) -> bool:
    """Whether a statement has nothing behind it, or ends inside a bracket or a formula."""
    line = first_line(rest)
    if not line.strip("*_`\"' "):
        return True
    for opening, closing in ((r"\[", r"\]"), ("$$", "$$"), (r"\(", r"\)")):
        if line.startswith(opening) and closing not in rest.lstrip()[len(opening) :]:
            return True
    bare = _ESCAPED_PAIR.sub("", line)
    alone = "\n" not in rest.strip()
    formula = line.count("$") == 1 and _OPEN_FORMULA.search(line) is not None
    return alone and (bare.count("{") > bare.count("}") or formula)


_OPEN_FORMULA = re.compile(r"\$[^$0-9]*(?:\\[A-Za-z]+|[\^_=+*/-])[^$]*$|(?:^|\s)\$$")


def first_line(rest: str) -> str:
    return rest.lstrip().partition("\n")[0][: 2 * MAX_SENTENCE].strip()


# ---------------------------------------------------------------- mathematics

_SENTENCE_END = re.compile(
    r"(?<!\bRs)(?<!\bapprox)(?<!\bvs)[.!?][\"'”’)*_]*(?=\s|$)|。"
    r"|,?\s+(?:because|since|so|which|I hope|given that|assuming|based on|meaning|that is|i\.e\.|equivalently|making|"
    r"leaving|after|whereas|while|but|let me|as (?:the|we|it|he|she|they|there|this|that|shown|required|per|a|you))\b"
    r"|,\s+(?:as|where|when|and (?:she|he|it|they|we|this|that))\b|\s[—–]\s|\s-\s(?=[A-Za-z]{3,})"
)
_DISPLAY = ((r"\[", r"\]"), ("$$", "$$"))
_VERB = re.compile(
    r"\b(?:is|are|was|were|equals?|be|becomes|has|have|had|makes?|earns?|costs?|needs?|gets?|pays?|totals?|of)\b\s*:?",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"(?<![\w.,])[-+−]?\s?[$€£¥₹]?\s?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:\s?/\s?\d+)?")
#: Words before a number that make it another one, or no answer at all.
_FEWER = re.compile(
    r"\b(?:not|no|never|less than|more than|fewer than|greater than|at least|at most|up to|between|or|maybe|perhaps|if|"
    r"cannot|can't|isn't|aren't|over|under|below|above|than)\b|n't\b",
    re.IGNORECASE,
)
_COMMENT = {
    "correct", "right", "wrong", "incorrect", "helpful", "clear", "given", "found", "obtained", "verified",
    "reasonable", "consistent", "below", "above", "not", "that", "here", "ready", "unclear", "valid", "invalid",
    "confirmed", "the same", "as follows", "in", "also", "simple", "obvious", "needed", "required", "easy", "sure",
    "now", "complete", "good", "x", "a number", "a", "an", "your answer", "answer", "one", "this", "it", "there",
    "done", "important", "accurate", "the final answer", "final answer", "rounded", "ok", "provided", "written",
    "true", "false",
}  # fmt: skip


def extract_final_answer(text: str) -> str | None:
    r"""The final answer that a text states or consists of, or None where there is none.

    >>> extract_final_answer(r"First \boxed{1}. No: \boxed{\frac{1}{2}}."), extract_final_answer("It is 4, then 5")
    ('\\frac{1}{2}', None)
    """
    found = final(text, read_math, lambda _: None)
    return found.answer if found else None


def read_math(said: str, how: How) -> str | None:
    """The mathematical answer in a statement, as it is written; None where there is none."""
    if how == "boxed":
        return said.strip() or None
    if how == "bare":
        return said if _is_bare(said) else None
    if how in ("tagged", "hashes"):
        answer = tidied(said)
        return answer if answer is None or readable(answer) else (_in_statement(said) or answer)
    return _in_statement(said)


def _is_bare(said: str) -> bool:
    """Whether a whole text is nothing but an answer."""
    try:
        answer = parsed(said)
    except Refused:
        return False
    if "=" in said and not (isinstance(answer, (Named, Relation)) and " " not in getattr(answer, "name", "")):
        return False  # a calculation, whose last side is read as such
    parts = answer.items if isinstance(answer, Unordered) else (answer,)
    return " " not in said or not any(isinstance(part, Text) for part in parts)


def _in_statement(rest: str) -> str | None:
    """The answer at the beginning of what follows "the answer is"."""
    rest = rest.lstrip()
    for opening, closing in _DISPLAY:
        if rest.startswith(opening):
            body, closed, _ = rest[len(opening) :].partition(closing)
            return tidied(" ".join(body.split())) if closed else None
    line = first_line(rest)
    end = _SENTENCE_END.search(line)
    sentence = (line[: end.start()] if end else line)[:MAX_SENTENCE]
    for candidate in _readings(sentence):
        answer = tidied(candidate)
        if answer is not None and readable(answer):
            return answer
    return None


def _readings(sentence: str) -> Iterator[str]:
    """A sentence, then what follows its last verb, then shorter beginnings of it, then its one number."""
    yield sentence
    for verb in list(_VERB.finditer(sentence))[: -MAX_READINGS - 1 : -1]:
        yield sentence[verb.end() :]
    for cut in [m.start() for m in re.finditer(r",\s|;\s|\s\(|:\s", sentence)][: -MAX_READINGS - 1 : -1]:
        yield sentence[:cut]
    number = sole_number(sentence)
    if number is not None:
        yield number


def sole_number(sentence: str) -> str | None:
    """The one number of a sentence with the words behind it; None where it has none or several."""
    numbers = list(_NUMBER.finditer(sentence))
    if len(numbers) != 1 or _FEWER.search(sentence[: numbers[0].start()]):
        return None
    return sentence[numbers[0].start() :].strip()


def readable(answer: str) -> bool:
    """Whether we read this as an answer: mathematics, or a few words that do not merely comment on an answer."""
    try:
        read = parsed(answer)
    except Refused:
        return False
    read = read.value if isinstance(read, Named) else read
    if isinstance(read, Text):
        words = read.words.split()
        return len(words) <= 5 and read.words not in _COMMENT and words[0] not in _COMMENT
    return True


def tidied(said: str) -> str | None:
    """A stated answer without emphasis and closing dots; None when empty or cut off inside a bracket."""
    said = BOLD_PART.sub(r"\1", said)
    said = said.strip().strip("*_`").strip().rstrip(".,;:。").strip()
    bare = _ESCAPED_PAIR.sub("", said)
    if not said or bare.count("{") != bare.count("}") or said in (r"\[", "$", "$$", r"\("):
        return None
    return said


# ---------------------------------------------------------------- where nothing is marked

_CHATTER = re.compile(
    r"^\W*(?:let me know|i hope|hope|feel free|is there anything|if you|please|do you|would you|note|thank|great|"
    r"good luck|happy|any (?:other|more|further)|this (?:solution|shows|confirms)|step \d)",
    re.IGNORECASE,
)
_CONCLUDING = re.compile(
    r"^\W*(?:so|therefore|thus|hence|in total|altogether|finally|in conclusion|in all|in the end|overall|consequently|"
    r"that means|this means|that is|that makes|∴|因此|所以)\b",
    re.IGNORECASE,
)
_BEING = re.compile(
    r"\b(?:is|are|was|were|equals?|be|total(?:s|ling|ing)?|makes?|has|have|earns?|costs?|needs?|pays?|gets?|left with|"
    r"gives?|result|sum|takes?|spends?|saves?|owes?|left|remain(?:s|ing)?|had|becomes?)\b[^0-9]*$",
    re.IGNORECASE,
)
_SENTENCES = re.compile(r"(?<=[.!?。])(?<!Rs\.)(?<!\d\.)[\"'”)*]*\s+|(?<=\d\.)\s+(?=[A-Z*\"])|(?<=;)\s")
_BOLD = re.compile(r"\*\*([^*\n]+?)\*\*|__([^_\n]+?)__")
_GOES_ON = re.compile(r"\band so (?:on|forth)\b|\betc\b|(?:\.\.\.|…)\s*$", re.IGNORECASE)
_LISTED = re.compile(r"\d{1,2}[.)](?:\s|$)")
_UNFINISHED = re.compile(r"(?<![*\w])[-+*/=×÷(,]\s*$")
MAX_LINES = 3


def closing_math(text: str, concluding: bool = False) -> Found | None:
    """What the end of an unmarked text comes to, read as mathematics.

    Only the last sentence that holds a number is read. With `concluding` it must begin like a conclusion ("So ..."),
    for texts whose every step is an equation, so that a chain that was cut short is not taken for a finished one.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    looked = 0
    if lines and _is_fragment(_SENTENCES.split(lines[-1])[-1]):
        return None  # the text was cut off
    for line in reversed(lines):
        sentences = [s for s in _SENTENCES.split(line) if any(c.isdigit() for c in s) and not _CHATTER.match(s)]
        if not sentences:
            looked += any(c.isalpha() for c in line)
            if looked >= MAX_LINES:
                return None
            continue
        sentence = sentences[-1].strip()
        return _closing_sentence(sentence, concluding, line == sentence, text[: text.rfind(sentence)])
    return None


def _is_fragment(sentence: str) -> bool:
    """Whether a sentence without a number breaks off."""
    if any(c.isdigit() for c in sentence) or _CHATTER.match(sentence):
        return False
    return len(sentence.split()) > 2 and re.search(r"[\w,;]$", sentence) is not None


def _closing_sentence(sentence: str, concluding: bool, whole_line: bool, earlier: str) -> Found | None:
    if _UNFINISHED.search(sentence):
        return None
    bold = [b[0] or b[1] for b in _BOLD.findall(sentence)]
    equals = sentence.rfind("=")
    if bold and sentence.rfind(bold[-1]) > equals and not _LISTED.match(bold[-1]):
        answer = _number_in(bold[-1])
        if answer is not None:
            return Found(answer, "bold")
    concludes = _CONCLUDING.match(sentence) is not None
    if equals >= 0:
        if re.search(r"\w$", sentence) and _SENTENCE_END.search(sentence[equals:]):
            return None  # it goes on and breaks off
        answer = _right_side(sentence[equals + 1 :]) if concludes or not concluding else None
        return Found(answer, "equation") if answer is not None else None
    if _LISTED.match(sentence) and not re.fullmatch(r"\d+\.?", sentence):
        return None
    if whole_line and (answer := _number_in(sentence)) is not None:
        return Found(answer, "line")
    number = sole_number(BOLD_PART.sub(r"\1", sentence))
    if number is None or not sentence.endswith((".", "!", "。", "*", "$", ")")) or sentence.endswith(":"):
        return None
    before = BOLD_PART.sub(r"\1", sentence)
    before = before[: len(before) - len(number)]
    cue = concludes if concluding else concludes or _BEING.search(before)
    if cue or (not concluding and _confirms(number, earlier)):
        answer = _number_in(number)
        if answer is not None:
            return Found(answer, "sentence")
    return None


def _right_side(rest: str) -> str | None:
    """The value behind the last equals sign of a sentence, whatever the sentence says of it ("= 26 of them broke")."""
    if re.search(r"\d\s*[-+*×]\s*\$?\d", rest):
        return None  # a calculation that was not carried out
    answer = _number_in(rest)
    if answer is not None:
        return answer
    number = _NUMBER.match(rest.lstrip(" $*\\()[]"))
    if not number:
        return None
    value, tail = number.group(), rest.lstrip(" $*\\()[]")[number.end() :]
    percent = re.match(r"\s*\\?%", tail)
    word = re.match(r"\W{0,3}([A-Za-z]+)", tail)
    if percent:
        return f"{value}%"
    if not word or word[1].lower() in FACTORS or word[1].lower() in ("and", "or", "squared", "cubed", "x"):
        return None
    if re.match(r"\W*to\W*\d", tail):
        return None
    return value if re.match(r"[*$)\s\\]*[A-Za-z]", tail) else None


def _confirms(number: str, earlier: str) -> bool:
    """Whether a number is what the last equation before it came to."""
    found = _NUMBER.match(earlier[earlier.rfind("=") + 1 :].lstrip(" $")) if "=" in earlier else None
    here = _NUMBER.match(number)
    digits = [re.sub(r"[^0-9.]", "", m.group()).rstrip(".") for m in (found, here) if m]
    return len(digits) == 2 and digits[0] == digits[1] != ""


def _number_in(said: str) -> str | None:
    """The value that a few words state, with its unit; None where they are more than that, or go on."""
    if _GOES_ON.search(said):
        return None
    end = _SENTENCE_END.search(said)
    answer = tidied(said[: end.start()] if end else said)
    if answer is None:
        return None
    answer = answer.removesuffix(r"\]").removesuffix("$$").removesuffix(r"\)").strip()
    if answer.count("$") == 1 and answer.endswith("$"):
        answer = answer[:-1]  # the end of a formula that began before the equals sign
    try:
        read = parsed(answer)
    except Refused:
        return None
    value = read.value if isinstance(read, Named) else read
    if isinstance(value, Text) or getattr(value, "unit", "").startswith(UNFORGIVEN):
        return None
    return answer if any(c.isdigit() for c in answer) else None
