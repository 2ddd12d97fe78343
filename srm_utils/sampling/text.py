"""Text and tokens of a continuation: decoded and encoded behind its prompt, and searched for stop strings."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from srm_utils.sampling.samples import Sample

#: Tokens of a prompt's end that a continuation is decoded with. A decoder looks no further back than one character.
CONTEXT_TOKENS = 16
#: What a decoder writes for bytes that are no whole character (yet).
INCOMPLETE = "\ufffd"
#: Texts put in front of a text so that a tokenizer does not take it for the beginning of a document.
_ANCHORS = ("\n", "a", ".")


class ContinuationTokenizer:
    """A tokenizer that reads and writes text as the continuation of one prompt.

    Some decoders change the beginning of a text: those of the Llama type strip its first space. A continuation
    decoded on its own then loses that space. So its text is the difference of two decodings, that of the prompt's
    end with the continuation and that of the prompt's end alone. `tokenizer` may be None where no text is asked for.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase | None, prompt_ids: Sequence[int]) -> None:
        self.tokenizer = tokenizer
        self.context = list(prompt_ids[-CONTEXT_TOKENS:])
        self._context_text: dict[bool, str] = {}

    def decode(self, ids: Sequence[int], special: bool = False) -> str:
        """The text that token `ids` add to the prompt; `special` keeps special tokens in it."""
        if self.tokenizer is None or not len(ids):
            return ""
        if special not in self._context_text:
            self._context_text[special] = self._decode(self.context, special)
        before = self._context_text[special]
        whole = self._decode([*self.context, *ids], special)
        if whole.startswith(before):
            return whole[len(before) :]
        if before.endswith(INCOMPLETE):
            # The prompt ends within a character, which the new bytes complete.
            return whole[len(os.path.commonprefix((before, whole))) :]
        # The prompt ends in a character written as bytes, and some decoders give up a whole run of bytes for one that
        # is no character: a letter keeps the two apart.
        letter = self._encode("a")
        return self._decode([*letter, *ids], special)[len(self._decode(letter, special)) :]

    def decode_whole(self, ids: Sequence[int]) -> str:
        """The text that `ids` add to the prompt, without a last character that is incomplete, or special tokens.

        A token may hold whole characters and the beginning of one more, or the beginning alone. So either the mark
        of the incomplete character is dropped or the last tokens are, whichever keeps more.
        """
        text = self.decode(ids)
        if not text.endswith(INCOMPLETE):
            return text
        shorter = [self.decode(ids[: len(ids) - dropped]) for dropped in (1, 2, 3)]
        return max([text.rstrip(INCOMPLETE), *(t for t in shorter if not t.endswith(INCOMPLETE))], key=len)

    def encode(self, text: str, before: Sequence[int] = ()) -> list[int]:
        """Token ids that add `text` to the prompt and the ids `before`.

        Some tokenizers put a space in front of every text. Where that changes what is read, the text is tokenised
        behind another one, whose tokens are taken off again.
        """
        if not text or self.tokenizer is None:
            return []
        plain = self._encode(text)
        wanted = self.decode(before, special=True) + text
        if self.decode([*before, *plain], special=True) == wanted:
            return plain
        for anchor in _ANCHORS:
            head, whole = self._encode(anchor), self._encode(anchor + text)
            behind = whole[len(head) :]
            if whole[: len(head)] == head and self.decode([*before, *behind], special=True) == wanted:
                return behind
        return plain

    def _decode(self, ids: Sequence[int], special: bool) -> str:
        if self.tokenizer is None:
            return ""
        return self.tokenizer.decode(list(ids), skip_special_tokens=not special)

    def _encode(self, text: str) -> list[int]:
        if self.tokenizer is None:
            return []
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])


class StopStrings:
    """Stop and pause strings, and which tokens may complete one: text is decoded only when one of those comes."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase | None, stop: Sequence[str], pause: Sequence[str] = ()
    ) -> None:
        strings = (*stop, *pause)
        if "" in strings:
            raise ValueError("A stop string is empty and would stop everything; leave it out.")
        if strings and tokenizer is None:
            raise ValueError("Stop strings need the tokenizer to be found in the text; pass tokenizer=.")
        self.stop, self.pause = tuple(stop), tuple(pause)
        self.special = set(getattr(tokenizer, "all_special_ids", ()))
        self.candidates: set[int] | None = set()
        endings = {s[-1] for s in strings}
        # The spelling of a token shows printable ASCII and (as itself, or as Ċ) a newline. Any other
        # ending, such as a space that the next word carries, means looking after every token.
        if all(c == "\n" or (c.isascii() and c.isprintable() and not c.isspace()) for c in endings):
            marks = (*endings, *({"Ċ"} if "\n" in endings else ()), "<0x")
            if strings and tokenizer is not None:
                size = len(tokenizer)
                spelling = tokenizer.convert_ids_to_tokens(list(range(size)))
                self.candidates = {i for i, t in enumerate(spelling) if t and any(m in t for m in marks)}
        else:
            self.candidates = None

    def may_complete(self, token: int) -> bool:
        """Whether a stop or pause string can end in this token."""
        return self.candidates is None or token in self.candidates

    def find(self, sample: Sample) -> tuple[str, str]:
        """The first stop or pause string in the text drawn since the last search: its kind, and the text before it.

        The kind is "stop", "pause" or "" where there is none. A token may carry more than the string: the text ends
        at the string's first occurrence.
        """
        text = sample.reader.decode(sample.ids, special=True)
        found = [
            (at, kind)
            for kind, strings in (("stop", self.stop), ("pause", self.pause))
            for s in strings
            if (at := text.find(s, sample.searched)) >= 0
        ]
        if not found:
            return "", ""
        at, kind = min(found, key=lambda place: (place[0], place[1] == "pause"))
        before = text[:at]
        for token in self.special.intersection(sample.ids):
            before = before.replace(sample.reader.decode([token], special=True), "")
        return kind, before
