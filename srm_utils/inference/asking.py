"""How a solver talks with its model: in its dialect, step by step, and up to an answer that is asked for at once.

What is asked and how a reply is read stands in `tasks.dialects`; how text is put before a model, in `models.chat`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from srm_utils.models.chat import Chat
from srm_utils.sampling.completion import Completion
from srm_utils.tasks.dialects import Skill, steps_of
from srm_utils.tasks.problem import Problem, Prompt
from srm_utils.tasks.steps import first_sentence

if TYPE_CHECKING:
    from srm_utils.models import LanguageModel

#: Appended where a text ended without an answer (kojima2022large, section 3, second prompt).
ANSWER_TRIGGER = "The answer is"
#: What stands in for a `Chat` that a model does not have: drawn samples that are dealt out again speak the family's.
FAMILY = Chat(dialect="family", step_mark=".")


def chat_of(model: LanguageModel) -> Chat:
    """How the model is spoken to; a stand-in without a chat speaks the family's language.

    >>> chat_of(object()).dialect
    'family'
    """
    return getattr(model, "chat", FAMILY)


def ask(model: LanguageModel, skill: Skill, *about: Any) -> Prompt:
    """The prompt that asks this model for a skill, in its dialect."""
    return skill.prompt(chat_of(model).dialect, *about)


def steps_by(model: LanguageModel, text: str, problem: Problem) -> list[str]:
    """The steps of a text in this model's dialect, as they are shown to it."""
    return steps_of(chat_of(model).dialect, text, problem)


# ---------------------------------------------------------------- going on from a text


def newly(model: LanguageModel, before: str, completion: Completion) -> str:
    """What a completion adds to the text before it.

    A completion shows the opening tag of a thought that its prompt has begun; the text before it holds that tag too.
    """
    tags = chat_of(model).tags
    if tags and before.strip() and completion.text.startswith(f"{tags[0]}\n"):
        return completion.text[len(tags[0]) + 1 :]
    return completion.text


def marked(model: LanguageModel, text: str, completion: Completion, mark: str) -> str:
    """A step with the mark that it stopped at: the string itself, or the line breaks as the model wrote them.

    A token may hold two line breaks. With one of them left out, the model would begin the next step with the other.
    """
    if mark != "\n":
        return text + mark
    written = model.tokenizer.decode(list(completion.token_ids), skip_special_tokens=True) if _decodes(model) else ""
    blank = written[len(written.rstrip()) :]
    return text + (blank[blank.index("\n") :] if "\n" in blank else "\n")


def stopped(model: LanguageModel, completion: Completion) -> bool:
    """Whether a completion ended at a stop string, and not at its limit or with an end token."""
    ids = completion.token_ids
    return completion.finish_reason != "length" and not (ids and ids[-1] in model.end_ids)


def _decodes(model: LanguageModel) -> bool:
    return getattr(model, "tokenizer", None) is not None


# ---------------------------------------------------------------- an answer at once


def thought_out(model: LanguageModel, text: str) -> str:
    """A text with its thought closed by the model's own tag, so that an answer can follow; no text, an empty thought.

    A model without tags, or one that wrote without a thought, goes on from the text as it is.
    """
    chat = chat_of(model)
    if chat.tags is None or chat.thinking is False:
        return text
    opening, closing = chat.tags
    if not text.strip():
        return f"{opening}\n{closing}\n\n"
    return f"{text.rstrip()}\n{closing}\n\n" if text.rfind(opening) > text.rfind(closing) else text


def triggered(model: LanguageModel, text: str) -> str:
    """A text made to go on with "The answer is", its thought closed first.

    >>> triggered(object(), " 5 + 3 = 8.")
    '5 + 3 = 8. The answer is'
    """
    return f"{thought_out(model, text).strip()} {ANSWER_TRIGGER}".strip()


def answer_stop(model: LanguageModel) -> tuple[str, ...]:
    """What ends an answer that was asked for at once: the model's step mark, a line break in plain English."""
    return (chat_of(model).step_mark,)


def at_once(model: LanguageModel, completion: Completion) -> str:
    """An answer that was asked for at once, as a sentence. What a model says after it is left out.

    A point inside a number ends nothing: the answer of " 3.5. So Ann wins" is 3.5.
    """
    said = newly(model, ANSWER_TRIGGER, completion).strip()
    if chat_of(model).dialect == "instruct":
        said = first_sentence(said).rstrip(".")
    return f"{ANSWER_TRIGGER} {said}."


def answer_tokens(model: LanguageModel, completion: Completion) -> int:
    """How many tokens of a completion hold the answer that was asked for at once; the rest is what comes after it."""
    if chat_of(model).dialect == "family" or not _decodes(model):
        return len(completion.token_ids)
    length = len(first_sentence(completion.text.lstrip()))
    for n in range(1, len(completion.token_ids)):
        if len(model.tokenizer.decode(list(completion.token_ids[:n]), skip_special_tokens=True).lstrip()) >= length:
            return n
    return len(completion.token_ids)
