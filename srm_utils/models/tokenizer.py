"""The bundled family's tokenizer: whole words and numbers, with bytes for whatever else a person types.

A word with the space before it is one token, as is each number 0 to 99; larger numbers are split
from the right into two-digit tokens, so they are easy to copy and hard to compute. Everything else
falls back to single characters and then to bytes, so that any text survives a round trip.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

EOS, PAD, USER, ASSISTANT = "<|endoftext|>", "<|pad|>", "<|user|>", "<|assistant|>"
#: A blank line ends an answer inside a document of several problems.
BLANK_LINE = "\n\n"
#: Tokens kept free for skills that do not exist yet (latent thoughts, pauses, budgets, roles).
RESERVED = tuple(f"<|reserved_{i}|>" for i in range(32))

#: One user turn after another, the answers between them; an open assistant turn asks for an answer.
CHAT_TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}"
    "{{ '<|assistant|> ' + m.content + '<|endoftext|>' }}{% endgeneration %}"
    "{% else %}{{ '<|user|> ' + m.content }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def build_tokenizer(texts: Iterable[str], chat: bool) -> PreTrainedTokenizerFast:
    """A tokenizer whose vocabulary is every word of `texts`, all numbers to 99, letters and bytes.

    `chat` adds the template that the instruct models are tuned with.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    pre = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="never", split=True),
            pre_tokenizers.Split(Regex(r"\n+"), "isolated"),
            # Pairs of digits from the right; then words; then each other character alone.
            pre_tokenizers.Split(Regex(r"▁?\d{1,2}(?=(?:\d{2})*(?!\d))|▁?[^\W\d_]+|▁?[^\w\s]|▁?_|▁"), "isolated"),
        ]
    )
    words = {piece for text in texts for piece, _ in pre.pre_tokenize_str(text)}
    numbers = [f"▁{i}" for i in range(100)] + [f"{i:02d}" for i in range(100)] + [str(i) for i in range(10)]
    characters = [chr(i) for i in range(33, 127)] + ["▁", "\n", BLANK_LINE]
    specials = [EOS, PAD, USER, ASSISTANT, *RESERVED]
    pieces = [*specials, *(f"<0x{b:02X}>" for b in range(256))]
    pieces += [p for p in dict.fromkeys([*characters, *numbers, *sorted(words)]) if p not in specials]
    vocab = {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}
    # ignore_merges takes a whole pre-token when the vocabulary has it; there are no merges to fall back on.
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[], ignore_merges=True, byte_fallback=True))
    tokenizer.pre_tokenizer = pre
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in specials])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=EOS,
        pad_token=PAD,
        padding_side="left",
        clean_up_tokenization_spaces=False,
        model_max_length=1024,
    )
    if chat:
        fast.chat_template = CHAT_TEMPLATE
    return fast
