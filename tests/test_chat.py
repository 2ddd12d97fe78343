"""How models are spoken to: templates, system texts, thinking, ends of a turn, as real models' tokenizers have them."""

from __future__ import annotations

import json

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GenerationConfig, PreTrainedTokenizerFast

from srm_utils.models.chat import CHAT_FILE, Chat, find_chat, wanted_chat
from srm_utils.tasks import get_task
from srm_utils.tasks.problem import Prompt

SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<start_of_turn>", "<end_of_turn>", "<think>", "</think>"]
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
#: As SmolLM2's: a system text of its own where none is given.
WITH_SYSTEM = (
    "{% if messages[0].role != 'system' %}{{ '<|im_start|>system\nYou are S.<|im_end|>\n' }}{% endif %}" + CHATML
)
#: As Qwen3's: an empty thought closes at once where thinking is switched off.
SWITCHED = CHATML.replace(
    "assistant\n' }}{% endif %}",
    "assistant\n' }}{% if enable_thinking is defined and not enable_thinking %}{{ '<think>\n\n</think>\n\n' }}"
    "{% endif %}{% endif %}",
)
#: As R1's: always inside a thought.
THINKER = CHATML.replace("assistant\n' }}", "assistant\n<think>\n' }}")
NO_PROMPT = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
GEMMA = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}{{ '<start_of_turn>' + ('model' if m.role == 'assistant' else 'user') + '\n' + m.content"
    " + '<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
PROMPT = Prompt("What is 2 + 3?\nA. 4\nB. 5", "Answer directly.", plain="Give the letter.")


def tokenizer(template: str | None, eos: str = "<|im_end|>") -> PreTrainedTokenizerFast:
    vocabulary = {t: i for i, t in enumerate([*SPECIALS, *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    fast = PreTrainedTokenizerFast(tokenizer_object=core, eos_token=eos)
    fast.add_special_tokens({"additional_special_tokens": [t for t in SPECIALS if t != eos]})
    fast.chat_template = template
    return fast


def test_a_turn_ends_with_the_templates_own_token_even_where_it_is_not_eos():
    base = tokenizer(CHATML, eos="<|endoftext|>")
    chat = find_chat(base, GenerationConfig(eos_token_id=base.eos_token_id))
    ends = {base.convert_ids_to_tokens(i) for i in chat.end_ids}
    assert ends == {"<|endoftext|>", "<|im_end|>"} and chat.stop == () and chat.template
    gemma = tokenizer(GEMMA, eos="<|endoftext|>")
    assert "<end_of_turn>" in {gemma.convert_ids_to_tokens(i) for i in find_chat(gemma).end_ids}


def test_a_generation_config_may_name_several_ends():
    fast = tokenizer(CHATML)
    assert find_chat(fast, GenerationConfig(eos_token_id=[0, 4])).end_ids == (0, 4, 2)


def test_a_model_without_a_template_stops_before_the_next_question():
    chat = find_chat(tokenizer(None))
    assert not chat.template and chat.stop == ("\nQuestion:",)
    assert chat.render(PROMPT, tokenizer(None)) == ("Question: What is 2 + 3?\nA. 4\nB. 5\nGive the letter.\nAnswer:")


def test_the_instruction_stands_on_its_own_line_behind_options():
    text = find_chat(fast := tokenizer(CHATML)).render(PROMPT, fast)
    assert "B. 5\nGive the letter.<|im_end|>" in text and "Answer directly" not in text


def test_plain_examples_show_the_form_and_are_not_asked_for_it():
    shown = Prompt("q2", "Answer directly.", (("q1", "The answer is 1."),), plain="End with: The answer is X.")
    text = Chat(template=False).render(shown, tokenizer(None))
    assert text == "Question: q1\nAnswer: The answer is 1.\n\nQuestion: q2\nAnswer:"


def test_system_text_own_none_or_given():
    fast = tokenizer(WITH_SYSTEM)
    assert Chat(template=True).render(PROMPT, fast).startswith("<|im_start|>system\nYou are S.")
    assert Chat(template=True, system="").render(PROMPT, fast).startswith("<|im_start|>system\n<|im_end|>")
    assert Chat(template=True, system="Be brief.").render(PROMPT, fast).startswith("<|im_start|>system\nBe brief.<")


def test_thinking_is_switched_where_the_template_can_be_told():
    fast = tokenizer(SWITCHED)
    chat = find_chat(fast)
    assert chat.tags == ("<think>", "</think>")
    off = Chat(template=True, tags=chat.tags, thinking=False).render(PROMPT, fast)
    assert off.endswith("<think>\n\n</think>\n\n") and not chat.thinks(off)
    on = Chat(template=True, tags=chat.tags, thinking=True).render(PROMPT, fast)
    assert on.endswith("assistant\n") and not chat.thinks(on)


def test_a_template_that_always_thinks_is_closed_where_no_thinking_is_asked():
    fast = tokenizer(THINKER)
    chat = find_chat(fast)
    assert chat.thinks(chat.render(PROMPT, fast))
    off = Chat(template=True, tags=chat.tags, thinking=False).render(PROMPT, fast)
    assert off.endswith("<think>\n\n</think>\n\n") and not chat.thinks(off)


def test_a_beginning_opens_its_thought_once():
    fast = tokenizer(THINKER)
    chat = find_chat(fast)
    rendered = chat.render(PROMPT, fast)
    assert chat.begun(rendered, "<think>\n2 + 3 is 5.").count("<think>") == 1
    assert chat.begun(rendered, "<think>\n2 + 3 is 5.").endswith("<think>\n2 + 3 is 5.")
    assert chat.begun("Q: A:", " 5") == "Q: A: 5"


def test_a_template_without_a_generation_prompt_is_opened_all_the_same():
    fast = tokenizer(NO_PROMPT)
    assert find_chat(fast).opening == "<|im_start|>assistant\n"
    assert find_chat(fast).render(PROMPT, fast).endswith("<|im_end|>\n<|im_start|>assistant\n")
    assert find_chat(tokenizer(CHATML)).opening == ""


def test_a_prefill_opens_the_answer():
    fast = tokenizer(CHATML)
    text = find_chat(fast).render(Prompt("Q?", prefill="The answer is"), fast)
    assert text.endswith("<|im_start|>assistant\nThe answer is")


def test_a_broken_template_is_one_sentence():
    with pytest.raises(ValueError, match="chat template cannot be applied .*chat=Chat\\(template=False\\)"):
        find_chat(tokenizer("{{ raise_exception('no roles here') }}"))


def test_it_is_kept_beside_weights_and_token_ids_are_not(tmp_path):
    fast = tokenizer(CHATML)
    Chat(template=False, end_ids=(7,), step_mark=".").save(tmp_path)
    assert "end_ids" not in json.loads((tmp_path / CHAT_FILE).read_text())
    kept = find_chat(fast, folder=tmp_path)
    assert not kept.template and kept.step_mark == "." and kept.end_ids == (2,) and kept.stop == ("\nQuestion:",)
    for damaged in ("{", '{"temple": true}', "[]", '{"dialect": "latin"}'):
        (tmp_path / CHAT_FILE).write_text(damaged)
        with pytest.raises(ValueError, match="chat.json in .* is damaged .*; repair or delete it"):
            find_chat(fast, folder=tmp_path)


def test_the_bundled_family_is_spoken_to_in_its_own_words():
    from srm_utils.models import load_model

    task = get_task("chain")
    problem = task.problems(1, difficulty=2)[0]
    for name, opened in (("base", "Question: "), ("instruct", "<|user|> ")):
        model = load_model(name, device="cpu")
        assert model.chat.dialect == "family" and model.chat.step_mark == "."
        text = model.render(task.prompt(problem, "cot"))
        assert text.startswith(opened) and "Let us think step by step." in text and "X" not in text


def test_single_fields_are_changed_and_the_rest_is_as_found():
    fast = tokenizer(THINKER)
    chat = wanted_chat({"system": "Be brief.", "thinking": False}, fast)
    assert chat.tags == ("<think>", "</think>") and chat.end_ids == find_chat(fast).end_ids
    text = chat.render(PROMPT, fast)
    assert text.startswith("<|im_start|>system\nBe brief.<") and text.endswith("</think>\n\n")
    plain = wanted_chat({"template": False}, fast)
    assert plain.stop == ("\nQuestion:",) and plain.render(PROMPT, fast).endswith("\nAnswer:")
    with pytest.raises(ValueError, match="no field 'sistem'; choose among template, system"):
        wanted_chat({"sistem": "x"}, fast)


def test_a_whole_chat_takes_from_the_model_what_it_does_not_say():
    fast = tokenizer(NO_PROMPT)
    chat = wanted_chat(Chat(template=True, system="Be brief."), fast)
    assert chat.opening == "<|im_start|>assistant\n" and chat.end_ids == (2,)
    assert wanted_chat(Chat(template=False), fast).end_ids == (2,)


def test_turns_without_a_template_and_a_system_text_that_is_refused_are_sentences():
    with pytest.raises(ValueError, match="has no chat template; ask it in plain text, with template=False"):
        wanted_chat({"template": True}, tokenizer(None))
    gemma = tokenizer(GEMMA, eos="<|endoftext|>")
    with pytest.raises(ValueError, match="System role not supported.*leave the system text out"):
        wanted_chat({"system": "Be brief."}, gemma).render(PROMPT, gemma)


def test_the_remedy_for_a_broken_template_works():
    broken = tokenizer("{{ raise_exception('no roles here') }}")
    assert wanted_chat(Chat(template=False), broken).render(PROMPT, broken).endswith("\nAnswer:")
    with pytest.raises(ValueError, match="cannot be applied"):
        wanted_chat({"system": "Be brief."}, broken)
