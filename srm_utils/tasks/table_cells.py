"""One cell of a table: text, a question, a worked solution, options and the letter of the right one.

Whatever is wrong with a cell is a ValueError whose text goes on from the row's place: "it has no answer".
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from string import ascii_uppercase
from typing import Any

from srm_utils.tasks.table_files import is_missing

_LABELLED = re.compile(r"\(?([A-Za-z])[).:]\s*(.*)", re.DOTALL)
_LISTED = re.compile(r"^[ \t]*\(?([A-Z])[).:][ \t]*(\S.*?)[ \t]*$", re.MULTILINE)
_BLANKS = {"nan", "null", "#n/a"}
_LONGEST_LIST = 100_000  #: characters of a cell that is read as a list


def text_of(value: Any, what: str) -> str:
    """A cell as text. Raises ValueError for an empty cell and for what is no text, saying `what` it should be.

    >>> text_of(17.0, "answer"), text_of(True, "answer")
    ('17', 'true')
    """
    if is_missing(value) or (isinstance(value, str) and value.strip().casefold() in _BLANKS):
        raise ValueError(f"it has no {what}")
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, list | tuple | dict | set | bytes):
        raise ValueError(f"its {what} is a {type(value).__name__}, not text")
    return str(value)


def question_of(value: Any) -> str:
    """A cell as a question: text with more in it than a number.

    >>> question_of(" What is 2 + 2? ")
    'What is 2 + 2?'
    """
    text = text_of(value, "question")
    if not isinstance(value, str) or re.fullmatch(r"[-+]?[\d.,]+", text):
        raise ValueError(f"its question is {text!r}, not a sentence")
    return text


def split_solution(answer: str) -> tuple[str, str]:
    """A worked solution and what stands behind its last "####" (the form of GSM8K, cobbe2021training).

    >>> split_solution("2 + 2 = <<2+2=4>>4\\n#### 4"), split_solution("#### 17")
    (('2 + 2 = 4', '4'), ('', '17'))
    """
    worked, marked, final = answer.rpartition("####")
    if not marked:
        raise ValueError("its answer has no '#### ' line")
    if not final.strip():
        raise ValueError("its answer has nothing behind '####'")
    return re.sub(r"<<.*?>>", "", worked).strip(), final.strip().replace(",", "")


def options_of(value: Any) -> dict[str, str]:
    """Options by letter, from a mapping, a list (with or without labels), or either of them written as text.

    An empty option is left out. Raises ValueError when there are fewer than two.

    >>> options_of("['cat', 'dog']"), options_of(["A) 5", "B) 6"]), options_of({"A": "x", "B": "y", "E": None})
    ({'A': 'cat', 'B': 'dog'}, {'A': '5', 'B': '6'}, {'A': 'x', 'B': 'y'})
    """
    if isinstance(value, str):
        value = _list_in(value)
    pairs: list[tuple[str, Any]]
    if isinstance(value, Mapping) and set(value) == {"label", "text"}:
        pairs = list(zip(map(str, value["label"]), value["text"], strict=True))
    elif isinstance(value, Mapping):
        pairs = [(str(letter).strip().strip("().:"), text) for letter, text in value.items()]
    elif isinstance(value, list | tuple):
        pairs = _labelled(value)
    else:
        raise ValueError("its options are no list")
    if [label for label, _ in pairs] == [str(i + 1) for i in range(len(pairs))]:
        pairs = [(ascii_uppercase[i], text) for i, (_, text) in enumerate(pairs)]
    options = {label.upper(): text_of(text, "option") for label, text in pairs if not is_missing(text)}
    if len(options) < 2:
        raise ValueError(f"it has {len(options)} option{'s' if len(options) != 1 else ''} and needs two")
    if any(not re.fullmatch("[A-Z]", letter) for letter in options):
        raise ValueError(f"its options are called {', '.join(options)} instead of A, B, …")
    return options


def letter_of(gold: str, options: Mapping[str, str]) -> str:
    """The letter of a gold answer that is a letter or an option's own text.

    Raises ValueError when it is neither, and when another option says the same.

    >>> letter_of("(b)", {"A": "cat", "B": "dog"}), letter_of("cat", {"A": "cat", "B": "dog"})
    ('B', 'A')
    """
    label = gold.strip().strip("().: ").upper()
    texts = [text.casefold() for text in options.values()]
    by_text = dict(zip(texts, options, strict=True))
    worded = by_text.get(gold.strip().casefold())
    labelled = _LABELLED.fullmatch(gold.strip())
    if label in options and worded not in (None, label):
        raise ValueError(f"its answer {gold!r} is one option's letter and another one's text")
    if label not in options and worded:
        label = worded
    elif label not in options and labelled and options.get(labelled[1].upper(), "").strip() == labelled[2].strip():
        label = labelled[1].upper()
    if label not in options:
        raise ValueError(f"its answer {gold!r} is none of the options {', '.join(options)}")
    if texts.count(options[label].casefold()) > 1:
        raise ValueError(f"it has the right option {options[label]!r} twice")
    return label


def listed_options(question: str) -> dict[str, str]:
    """Options that stand in the question itself, one a line: "(A) cat" or "B. dog"; none where it has no such list.

    >>> listed_options("Which one barks?\\n(A) cat\\n(B) dog")
    {'A': 'cat', 'B': 'dog'}
    """
    found = _LISTED.findall(question)
    in_order = len(found) > 1 and [letter for letter, _ in found] == list(ascii_uppercase[: len(found)])
    return dict(found) if in_order else {}


def with_options(question: str, options: Mapping[str, str]) -> str:
    """A question with its options below it, one a line.

    >>> with_options("Which one barks?", {"A": "cat", "B": "dog"})
    'Which one barks?\\nA. cat\\nB. dog'
    """
    return "\n".join([question, *(f"{letter}. {text}" for letter, text in options.items())])


def with_words(question: str, words: Sequence[str]) -> str:
    """A question with the words to choose from behind it, unless it names them all.

    >>> with_words("Is it still heads up?", ("yes", "no")), with_words("Heads up? Answer Yes or No.", ("yes", "no"))
    ('Is it still heads up? Answer yes or no.', 'Heads up? Answer Yes or No.')
    """
    if set(words) <= set(re.findall(r"\w+", question.casefold())):
        return question
    return f"{question} Answer {', '.join(words[:-1])} or {words[-1]}."


def question_hash(question: str) -> str:
    """A hash of a question without regard to case and spacing, in 16 hexadecimal digits.

    >>> question_hash("What is  2 + 2?") == question_hash("what is 2 + 2?")
    True
    """
    return hashlib.blake2b(" ".join(question.split()).casefold().encode(), digest_size=8).hexdigest()


def _labelled(values: Sequence[Any]) -> list[tuple[str, Any]]:
    if values and all(isinstance(v, Mapping) for v in values):
        keys = next((k for k in (("key", "value"), ("label", "text")) if all(set(k) <= set(v) for v in values)), None)
        if keys is None:
            raise ValueError("its options are objects without key and value")
        return [(str(v[keys[0]]), v[keys[1]]) for v in values]
    marks = [_LABELLED.fullmatch(v.strip()) if isinstance(v, str) else None for v in values]
    if all(marks) and [m[1].upper() for m in marks if m] == list(ascii_uppercase[: len(marks)]):
        return [(m[1].upper(), m[2]) for m in marks if m]
    if len(values) > len(ascii_uppercase):
        raise ValueError(f"it has {len(values)} options")
    return list(zip(ascii_uppercase, values, strict=False))


def _list_in(text: str) -> Any:
    """The list or mapping that a cell holds as text: JSON, Python, lines, or parts between bars."""
    text = text.strip()
    if text[:1] in "[{" and len(text) <= _LONGEST_LIST:
        for reader in (json.loads, ast.literal_eval):
            try:
                return reader(text)
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                continue
    for separator in ("\n", "|", ";"):
        parts = [part.strip() for part in text.split(separator) if part.strip()]
        if len(parts) > 1:
            return parts
    return [text]
