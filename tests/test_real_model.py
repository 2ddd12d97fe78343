"""The fetched model and its adapters: they load by name, compute as the library does, and the taught one was taught.

Left out, by name, where the model has not been fetched (`srm models fetch smollm2`).
"""

from __future__ import annotations

import hashlib

import pytest
import torch

from srm_utils.models import Chat, LanguageModel, is_here, load_model
from srm_utils.models.resolve import bundled_adapters, card_of, locate
from srm_utils.tasks.worlds.stories import StoriesTask

pytestmark = [
    pytest.mark.skipif(not is_here("smollm2"), reason="smollm2 has not been fetched; `srm models fetch smollm2`"),
    pytest.mark.xdist_group("real model"),
]
TASK = StoriesTask()
PROBLEMS = TASK.problems(12, split="test", difficulty=(1, 2), templates="held-out")


@pytest.fixture(scope="module")
def real() -> LanguageModel:
    return load_model("smollm2", device="cpu")


@pytest.fixture(scope="module")
def taught() -> LanguageModel:
    return load_model("smollm2-cot", device="cpu")


def test_digits_stand_alone_as_in_training(real):
    assert real.tokenizer("a\n\n1.")["input_ids"] == [81, 1116, 33, 30]
    assert real.tokenizer.decode(real.tokenizer("12 + 345 = 357\n")["input_ids"]) == "12 + 345 = 357\n"


def test_it_is_spoken_to_through_its_template_and_stops_at_its_turns_end(real):
    assert real.chat.template and real.chat.dialect == "instruct"
    assert [real.tokenizer.convert_ids_to_tokens(i) for i in real.chat.end_ids] == ["<|im_end|>"]
    text = real.render(TASK.prompt(PROBLEMS[0], "cot"))
    assert text.endswith("The answer is X.<|im_end|>\n<|im_start|>assistant\n")


def test_greedy_tokens_are_the_librarys(real):
    prompts = [real.render(TASK.prompt(p, "cot")) for p in PROBLEMS[:3]]
    drawn = real.sample(prompts, 1, 10, temperature=0)
    for prompt, (completion,) in zip(prompts, drawn, strict=True):
        ids = torch.tensor([real.encode(prompt)])
        whole = real.model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=10, do_sample=False)
        assert list(completion.token_ids) == whole[0, ids.shape[1] :].tolist()


def test_adapters_ship_with_a_card_that_names_their_weights():
    assert "smollm2-cot" in bundled_adapters()
    for name in bundled_adapters():
        folder = locate(name).adapter
        assert folder is not None
        digest = hashlib.sha256((folder / "adapter_model.safetensors").read_bytes()).hexdigest()
        assert digest in (folder / "README.md").read_text() and card_of(name)[1]
        assert sum(f.stat().st_size for f in folder.iterdir()) < 11e6


def test_the_taught_model_solves_more_stories_in_sentences_it_never_read(real, taught):
    def solved(model: LanguageModel) -> int:
        drawn = model.sample([TASK.prompt(p, "cot") for p in PROBLEMS], 1, 64, temperature=0)
        return sum(TASK.grade(c.text, p) == "correct" for p, (c,) in zip(PROBLEMS, drawn, strict=True))

    assert solved(taught) >= solved(real) + 3


def test_an_adapter_answers_alike_merged_and_not(taught):
    merged = load_model("smollm2-cot", device="cpu", merge=True)
    assert not hasattr(merged.model, "peft_config") and merged.chat == taught.chat
    prompt = TASK.prompt(PROBLEMS[0], "cot")
    a, b = (m.sample([prompt], 1, 24, temperature=0)[0][0].text for m in (merged, taught))
    assert a == b and "=" in a


def test_another_chat_is_taken_at_its_word(real):
    plain = load_model("smollm2", device="cpu", chat=Chat(template=False))
    assert plain.render(TASK.prompt(PROBLEMS[0], "cot")).endswith("\nAnswer:") and plain.end_ids == real.end_ids
