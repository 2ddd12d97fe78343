"""Text and tokens of a continuation: spaces, bytes, stop strings, and what a tool's reply is read as."""

from __future__ import annotations

from collections import deque
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_architectures import SPECIAL, TOKENIZERS
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from srm_utils.sampling.samples import Sample, append
from srm_utils.sampling.text import CONTEXT_TOKENS, ContinuationTokenizer, StopStrings

NONE = frozenset[int]()


@pytest.fixture(scope="module", params=TOKENIZERS)
def tokenizer(request):
    return TOKENIZERS[request.param]()


def ids_of(tokenizer, text):
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def drawn(tokenizer, prompt, tokens, stop=(), pause=(), reply=None, end_ids=NONE):
    """A sample to which the tokens were added one by one, until it ended."""
    sample = Sample(0, 1.0, len(tokens), 1000, 0, ContinuationTokenizer(tokenizer, ids_of(tokenizer, prompt)))
    watch = StopStrings(tokenizer, stop, pause)
    waiting = deque(tokens)
    while waiting and not sample.finish:
        token = waiting[0] if sample.forced else waiting.popleft()
        append(sample, token, -1.0, end_ids, watch, reply)
    return sample


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ("Ann has 27.27 -", " 16"),
        ("Ann has 27.27 - ", "16"),
        ("5 + 6 =", " 11.\nSo 11"),
        ("Zoë", " zahlt 5 €"),
        ("日", "本 und 🙂🙂."),
        ("a\n", "  b"),
        ("a\n", "\n\nc"),
        (" ", "x"),
        ("x", " "),
        ("def f(x):\n", "    return x"),
    ],
)
def test_pieces_join_to_the_whole(tokenizer, prompt, text):
    reader = ContinuationTokenizer(tokenizer, ids_of(tokenizer, prompt))
    ids = reader.encode(text)
    assert reader.decode(ids) == reader.decode_whole(ids) == text
    assert tokenizer.decode([*ids_of(tokenizer, prompt), *ids]) == prompt + text
    first = reader.encode(text[:1])
    assert reader.decode([*first, *reader.encode(text[1:], first)]) == text, "and so do pieces of the continuation"


@cache
def made(name):
    return TOKENIZERS[name]()


WRITTEN = st.text(st.sampled_from("ab 1.-\nëé€本🙂"), max_size=8)


@settings(deadline=None, max_examples=80)
@given(prompt=WRITTEN.map(lambda t: f"x{t}"), text=WRITTEN, name=st.sampled_from(sorted(TOKENIZERS)))
def test_any_continuation_reads_as_it_was_written(prompt, text, name):
    tokenizer = made(name)
    reader = ContinuationTokenizer(tokenizer, ids_of(tokenizer, prompt))
    assert reader.decode(reader.encode(text)) == text


def test_a_long_prompt_is_read_by_its_end(tokenizer):
    prompt = "How many apples does Ann have? " * 40 + "Zoë 🙂"
    ids = ids_of(tokenizer, prompt)
    assert len(ids) > 10 * CONTEXT_TOKENS
    reader = ContinuationTokenizer(tokenizer, ids)
    for text in (" 16", "16", "\n", " ë"):
        assert reader.decode(reader.encode(text)) == text


def test_an_incomplete_character_is_left_out_and_a_whole_one_kept(tokenizer):
    reader = ContinuationTokenizer(tokenizer, ids_of(tokenizer, "Ann pays 5"))
    ids = reader.encode(" €🙂ë")
    texts = [reader.decode_whole(ids[:length]) for length in range(len(ids) + 1)]
    assert set(texts) == {"", " ", " €", " €🙂", " €🙂ë"} - ({" "} if " " not in texts else set())
    assert texts == sorted(texts, key=len), "a character appears once, when its last byte is there"
    for length in range(len(ids)):
        assert drawn(tokenizer, "Ann pays 5", ids[:length] or [ids[0]]).final_text() == (texts[length or 1])


def test_bytes_that_make_no_character_do_not_spoil_the_prompts_last_one(tokenizer):
    prompt = ids_of(tokenizer, "Zoë")
    wrong = ids_of(tokenizer, "🙂")[-1]
    assert ContinuationTokenizer(tokenizer, prompt).decode([wrong, *ids_of(tokenizer, "Ann")[-1:]])[:1] == "\ufffd"


def test_a_prompt_that_ends_within_a_character_is_gone_on_from(tokenizer):
    ids = ids_of(tokenizer, "Ann 🙂")
    reader = ContinuationTokenizer(tokenizer, ids[:-2])
    assert reader.decode([*ids[-2:], *reader.encode("ok", ids[-2:])]) == "🙂ok"


# ---------------------------------------------------------------- stop strings


class Pieces:
    """A tokenizer whose tokens are given pieces of text, so that one token may carry more than a stop string."""

    def __init__(self, *pieces):
        self.pieces = pieces
        self.all_special_ids = [i for i, piece in enumerate(pieces) if piece.startswith("<|")]

    def __len__(self):
        return len(self.pieces)

    def __call__(self, text, add_special_tokens=True):
        return {"input_ids": [self.pieces.index(text)]}

    def convert_ids_to_tokens(self, ids):
        return [self.pieces[i] for i in ids]

    def decode(self, ids, skip_special_tokens=False):
        return "".join(self.pieces[i] for i in ids if not (skip_special_tokens and i in self.all_special_ids))


@pytest.mark.parametrize(
    ("pieces", "stop", "text"),
    [
        (["so ", "7END", "END more END"], ["END"], "so 7"),
        (["so 7 ", "\n\nQuestion: a\n\nQuestion: b"], ["\n\nQuestion:"], "so 7 "),
        (["a", "b;c;d"], [";", "c"], "ab"),
        (["a", "b;c;d"], ["c", ";"], "ab"),
        (["a", "b;c;d"], ["c;", ";"], "ab"),
        (["one ;", " two;"], [" two"], "one ;"),
        (["a<", "/x", "> b </x>"], ["</x>"], "a"),
        (["<|turn|>", "a", "<|turn|>", "b.", "c"], ["."], "ab"),
        (["a", "<|turn|>", "b"], ["<|turn|>"], "a"),
        (["END", "x"], ["END"], ""),
    ],
)
def test_a_text_ends_at_the_first_occurrence(pieces, stop, text):
    words = list(dict.fromkeys(["?", *pieces]))
    sample = drawn(Pieces(*words), "?", [words.index(p) for p in pieces], stop=stop)
    assert (sample.finish, sample.text) == ("stop", text)


def test_a_stop_string_in_the_prompt_does_not_count_and_one_across_its_end_does_not_either():
    words = ["a.", "b", ".", "c."]
    assert drawn(Pieces(*words), "a.", [1, 1], stop=["."]).finish == "length"
    assert drawn(Pieces(*words), "a.", [1, 3], stop=[".b"]).finish == "length"


@pytest.mark.parametrize("stop", ["16", " 16", "\n", "ë", "€.", "s. H"])
def test_stop_strings_are_found_in_what_real_tokenizers_write(tokenizer, stop):
    prompt, text = "Ann has 27.27 -", " 16 apples. Her €.\nZoë 16"
    reader = ContinuationTokenizer(tokenizer, ids_of(tokenizer, prompt))
    sample = drawn(tokenizer, prompt, reader.encode(text), stop=[stop])
    assert (sample.finish, sample.final_text()) == ("stop", text[: text.index(stop)])


def test_a_reply_is_read_as_it_was_written(tokenizer):
    """A tokenizer that puts a space in front of every text must not put one in front of a tool's reply."""
    prompt, asked = "Ann has", []
    reader = ContinuationTokenizer(tokenizer, ids_of(tokenizer, prompt))
    ids = [*reader.encode(" 27.27 - 16 ="), *reader.encode(" So", reader.encode(" 27.27 - 16 ="))]

    def tool(text):
        asked.append(text)
        return "11.27."

    sample = drawn(tokenizer, prompt, ids, pause=["="], reply=tool)
    assert asked == [" 27.27 - 16 ="]
    assert sample.final_text() == " 27.27 - 16 =11.27. So"


def test_end_tokens_and_special_tokens_are_not_shown(tokenizer):
    end = tokenizer.convert_tokens_to_ids(SPECIAL[2])
    reader = ContinuationTokenizer(tokenizer, ids_of(tokenizer, "Ann has"))
    sample = drawn(tokenizer, "Ann has", [*reader.encode(" 16"), end, 5], end_ids=frozenset([end]))
    assert (sample.finish, sample.final_text()) == ("end", " 16")


def test_words_joined_by_their_tokenizer_are_left_alone():
    """Word tokenizers without a decoder put a space between any two tokens, the prompt's last and the first too."""
    core = Tokenizer(models.WordLevel({"a": 0, "b": 1, "c": 2}, unk_token="a"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    reader = ContinuationTokenizer(PreTrainedTokenizerFast(tokenizer_object=core), [0, 1])
    assert reader.decode([2, 0]) == " c a"
