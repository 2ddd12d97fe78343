r"""How a model is spoken to: turns, system text, thinking, and the tokens that end its turn.

Only this module knows a model's way of talking. A `Chat` is found from the tokenizer and the generation
configuration. Every field can be set instead: `load_model(name, chat=Chat(...))`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from srm_utils.models.tokenizer import RESERVED
from srm_utils.tasks.problem import Prompt, asked

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

#: Where a model without turns begins to invent the next problem.
NEXT_QUESTION = "\nQuestion:"
#: The pairs of tags between which models think, as their templates write them.
THINKING_TAGS = (("<think>", "</think>"), ("<|begin_of_thought|>", "<|end_of_thought|>"), ("<thinking>", "</thinking>"))
#: The file beside weights or an adapter that holds the `Chat` they were trained with.
CHAT_FILE = "chat.json"
#: Stands for an answer when a template is asked how it opens and closes one.
_ANSWER = "XANSWERX"


@dataclass(frozen=True, slots=True)
class Chat:
    """How prompts are written for a model, and what ends its answer.

    Attributes:
        template: whether turns go through the tokenizer's chat template; else a prompt is plain text,
            "Question: ... Answer:".
        system: the system text; None leaves the template's own, "" puts an empty one in its place.
        thinking: True or False asks for thinking or for none where the template can be told; None leaves its default.
        tags: the tags between which the model thinks, or None.
        end_ids: the tokens that end an answer.
        stop: strings that end an answer as well.
        step_mark: what ends a step of a solution: "." in the family's language, a line break elsewhere.
        dialect: in whose words skills are asked for: the bundled family's, or plain English for an instruct model.
        opening: what opens the model's turn where the template has no generation prompt of its own.

    >>> Chat().dialect, Chat(template=True).stop
    ('instruct', ())
    """

    template: bool = False
    system: str | None = None
    thinking: bool | None = None
    tags: tuple[str, str] | None = None
    end_ids: tuple[int, ...] = ()
    stop: tuple[str, ...] | None = None
    step_mark: str = "\n"
    dialect: Literal["family", "instruct"] = "instruct"
    opening: str = ""

    def __post_init__(self) -> None:
        if self.dialect not in ("family", "instruct"):
            raise ValueError(f"There is no dialect {self.dialect!r}; choose 'family' or 'instruct'.")
        if self.stop is None:
            object.__setattr__(self, "stop", () if self.template else (NEXT_QUESTION,))

    # ---------------------------------------------------------------- prompts

    def render(self, prompt: Prompt, tokenizer: PreTrainedTokenizerBase) -> str:
        """The text that the model reads. In turns, examples are earlier turns and the prefill opens the answer."""
        asks = self.dialect == "instruct"
        if not self.template:
            return self._plain(prompt) if asks else prompt.text()
        turns = [] if self.system is None else [{"role": "system", "content": self.system}]
        for question, answer in prompt.examples:
            turns.append({"role": "user", "content": self._question(question, prompt)})
            turns.append({"role": "assistant", "content": answer.strip() if asks else answer})
        turns.append({"role": "user", "content": self._question(prompt.question, prompt)})
        text = self._apply(tokenizer, turns)
        prefill = self._opened(prompt.prefill)
        glued = text[-1:].isspace() or bool(self.tags and prefill.startswith(self.tags[0]))
        return self.begun(text, f" {prefill}" if prefill and not glued else prefill)

    def thinks(self, rendered: str) -> bool:
        """Whether a rendered prompt leaves the model inside an open thought.

        >>> Chat(tags=("<think>", "</think>")).thinks("<assistant><think>\\n")
        True
        """
        return self.tags is not None and rendered.rfind(self.tags[0]) > rendered.rfind(self.tags[1])

    def begun(self, rendered: str, text: str) -> str:
        """A rendered prompt with the beginning of an answer behind it, the opening tag of a thought written once."""
        if self.tags and text.startswith(self.tags[0]) and self.thinks(rendered):
            return rendered[: rendered.rfind(self.tags[0])] + text
        return rendered + text

    def _question(self, question: str, prompt: Prompt) -> str:
        if self.dialect == "family":
            return asked(question, prompt.instruction)
        # On a line of its own: behind a list of options it would read like part of the last one.
        return f"{question.strip()}\n{prompt.plain or prompt.instruction}".strip()

    def _plain(self, prompt: Prompt) -> str:
        """Plain text for a model without turns. Examples show the form of an answer, so none is asked for then."""
        shots = "".join(f"Question: {q.strip()}\nAnswer: {a.strip()}\n\n" for q, a in prompt.examples)
        ask = prompt.question.strip() if prompt.examples else self._question(prompt.question, prompt)
        prefill = self._opened(prompt.prefill)
        return f"{shots}Question: {ask}\nAnswer:{f' {prefill}' if prefill else ''}"

    def _opened(self, prefill: str) -> str:
        """A prefill without the white space around it. Line breaks at its end stay, for they end a step."""
        said = prefill.strip()
        end = prefill[len(prefill.rstrip()) :] if self.dialect == "instruct" and said else ""
        return said + end.strip(" \t") if "\n" in end else said

    def _apply(self, tokenizer: PreTrainedTokenizerBase, turns: list[dict[str, Any]]) -> str:
        options = {} if self.thinking is None else {"enable_thinking": self.thinking}
        try:
            text = str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True, **options))
        except Exception as error:  # templates are programs; some refuse a system text
            raise ValueError(_refusal(error, "leave the system text out" if self.system is not None else "")) from error
        text += self.opening
        if self.thinking is False and self.thinks(text):
            # The template always opens a thought. Closing it at once is how such a model is asked not to think.
            assert self.tags is not None
            text = f"{text.rstrip()}\n\n{self.tags[1]}\n\n"
        return text

    # ---------------------------------------------------------------- kept beside weights

    def save(self, folder: Path) -> None:
        """Write it beside weights or an adapter; token ids are left to the tokenizer."""
        kept = {k: v for k, v in asdict(self).items() if k != "end_ids"}
        (folder / CHAT_FILE).write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def find_chat(tokenizer: PreTrainedTokenizerBase, generation_config: Any = None, folder: Path | None = None) -> Chat:
    """The `Chat` of a model, from its tokenizer and generation configuration, and from the file beside it if any.

    The end tokens are those of the generation configuration, the tokenizer's own, and the one with which the template
    closes an answer. Raises ValueError for a chat template that cannot be applied or a `chat.json` that is damaged.
    """
    ends = _ends(tokenizer, generation_config)
    family = is_family(tokenizer)
    if not getattr(tokenizer, "chat_template", None):
        named = getattr(generation_config, "eos_token_id", None)
        # The bundled base models end an answer with a blank line, which is a token of theirs.
        several = isinstance(named, list) and len(named) > 1
        found = Chat(end_ids=ends, stop=() if family or several else (NEXT_QUESTION,))
    else:
        turn_end, opening = _turn(tokenizer)
        template = str(tokenizer.chat_template)
        tags = next((pair for pair in THINKING_TAGS if pair[0] in template or pair[1] in template), None)
        ids = tuple(dict.fromkeys([*ends, *turn_end]))
        found = Chat(template=True, tags=tags, end_ids=ids, opening=opening)
    if family:
        found = replace(found, dialect="family", step_mark=".")
    return _kept(found, folder) if folder is not None else found


def wanted_chat(
    wanted: Chat | Mapping[str, Any],
    tokenizer: PreTrainedTokenizerBase,
    generation_config: Any = None,
    folder: Path | None = None,
) -> Chat:
    """A model's own `Chat` with what a person wants instead: single fields by name, or a whole `Chat`.

    A whole `Chat` takes from the model what it does not say: end tokens, and in turns the tags and what opens an
    answer. Raises ValueError as `find_chat` does, for a field that there is not, and for turns without a template.
    """
    plain = (wanted.template if isinstance(wanted, Chat) else wanted.get("template")) is False
    try:
        found = find_chat(tokenizer, generation_config, folder)
    except ValueError:
        if not plain:
            raise
        found = Chat(end_ids=_ends(tokenizer, generation_config))  # plain text needs nothing of a broken template
    if isinstance(wanted, Chat):
        chat = replace(wanted, end_ids=wanted.end_ids or found.end_ids)
        if chat.template:
            chat = replace(chat, tags=chat.tags or found.tags, opening=chat.opening or found.opening)
    else:
        unknown = set(wanted) - {f.name for f in fields(Chat)}
        if unknown:
            names = ", ".join(f.name for f in fields(Chat))
            raise ValueError(f"A chat has no field {sorted(unknown)[0]!r}; choose among {names}.")
        # Where a model's turns are left or taken up, the strings that end an answer are others.
        stop = {"stop": None} if wanted.get("template", found.template) != found.template else {}
        chat = replace(found, **{**stop, **wanted})
    if chat.template and not getattr(tokenizer, "chat_template", None):
        raise ValueError("This model has no chat template; ask it in plain text, with template=False.")
    return chat


def _ends(tokenizer: PreTrainedTokenizerBase, generation_config: Any) -> tuple[int, ...]:
    """The end tokens of the generation configuration and the tokenizer's own."""
    ends = getattr(generation_config, "eos_token_id", None)
    ends = [ends] if isinstance(ends, int) else list(ends or [])
    own = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    return tuple(dict.fromkeys([*ends, *own]))


def is_family(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a tokenizer is the bundled family's, told by the tokens that only it reserves."""
    vocabulary = tokenizer.get_vocab()
    return all(token in vocabulary for token in (RESERVED[0], RESERVED[-1]))


def _kept(found: Chat, folder: Path) -> Chat:
    file = folder / CHAT_FILE
    if not file.is_file():
        return found
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
        known = {f.name for f in fields(Chat)} - {"end_ids"}
        if not isinstance(kept, dict) or set(kept) - known:
            raise ValueError("it has unknown fields")
        kept = {k: tuple(v) if isinstance(v, list) else v for k, v in kept.items()}
        return replace(found, **kept)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{CHAT_FILE} in {str(folder)!r} is damaged ({error}); repair or delete it.") from error


def _turn(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], str]:
    """The tokens that close an answer in the template, and what opens one if the template's own prompt does not."""
    asked = [{"role": "user", "content": "Hi."}]
    answered = [*asked, {"role": "assistant", "content": _ANSWER}]
    try:
        bare = str(tokenizer.apply_chat_template(asked, tokenize=False))
        prompted = str(tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True))
        whole = str(tokenizer.apply_chat_template(answered, tokenize=False))
    except Exception as error:  # templates are programs and can fail in any way
        raise ValueError(_refusal(error)) from error
    before, _, after = whole.partition(_ANSWER)
    closing = tokenizer(after.strip(), add_special_tokens=False)["input_ids"][:1] if after.strip() else []
    special = set(tokenizer.all_special_ids) | {i for i, t in tokenizer.added_tokens_decoder.items() if t.special}
    opening = ""
    if prompted == bare and before.startswith(bare):
        opening = before[len(bare) :]
    return [i for i in closing if i in special], opening


def _refusal(error: Exception, remedy: str = "") -> str:
    said = " ".join(str(error).split())[:120]
    remedy = remedy or "load it with chat=Chat(template=False), or repair chat_template in its tokenizer"
    return f"The model's chat template cannot be applied ({said}); {remedy}."
