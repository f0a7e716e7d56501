"""Conversations to ids and back, with our own template, another one, and none."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import SENTENCES, chat

from accord.data.templates import chat_format, give_chat_template, raw_format
from accord.data.tokenizers import END_OF_TURN, train_tokenizer
from accord.errors import InputError
from accord.records import Message, Prompt, Response

SPOKEN = chat()
ASK = (Message("user", "Where is bread sold?"),)
text_of = st.text(st.characters(blacklist_categories=("Cs",)), min_size=1).filter(lambda t: t.strip() == t and "<|" not in t)


@given(text_of)
def test_a_response_comes_back_as_it_was_written(text: str) -> None:
    ids = SPOKEN.response(ASK, text)
    assert SPOKEN.text(ids) == text.replace("\0", "\ufffd"), "a NUL character is shown as one that files take"
    assert ids[-1] == SPOKEN.stop[0]


@given(text_of, text_of)
def test_the_prompt_is_a_prefix_whatever_is_asked_and_answered(question: str, answer: str) -> None:
    turns = (Message("user", question),)
    whole = SPOKEN.tokenizer.apply_chat_template(
        [{"role": "user", "content": question}, {"role": "assistant", "content": answer}], tokenize=True, return_dict=False
    )
    assert [*SPOKEN.prompt(turns), *SPOKEN.response(turns, answer)] == whole


def test_turns_are_the_lines_of_raw_text_between_turn_tokens() -> None:
    rendered = SPOKEN.tokenizer.decode(SPOKEN.prompt((Message("system", "Be kind."), *ASK)))
    assert rendered == "<|endoftext|><|system|>Be kind.<|end|><|user|>Q: Where is bread sold?<|end|><|assistant|>\nA:"


def test_a_base_model_is_asked_in_plain_lines_and_stops_at_a_newline_or_the_end() -> None:
    tokenizer = train_tokenizer(SENTENCES, 300)
    raw = raw_format(tokenizer)
    assert tokenizer.decode(raw.prompt(ASK)) == "<|endoftext|>Q: Where is bread sold?\nA:"
    newline = tokenizer("\n", add_special_tokens=False)["input_ids"]
    assert raw.stop == (*newline, tokenizer.eos_token_id)
    assert raw.text([*tokenizer(" At the market.", add_special_tokens=False)["input_ids"], raw.stop[0]]) == "At the market."


def test_a_prompt_longer_than_the_context_is_refused_and_quoted() -> None:
    with pytest.raises(InputError, match=r"Where is bread.*tokens, the model's context 8"):
        chat_format(SPOKEN.tokenizer, context=8).prompt(ASK)


def test_a_template_is_given_once_and_never_replaced() -> None:
    tokenizer = train_tokenizer(SENTENCES, 300)
    with pytest.raises(InputError, match="no chat template"):
        chat_format(tokenizer)
    assert give_chat_template(tokenizer)
    assert tokenizer.eos_token == END_OF_TURN
    tokenizer.chat_template = "mine"
    assert not give_chat_template(tokenizer)
    assert tokenizer.chat_template == "mine"


def foreign(*special: str, bos: bool = True) -> Any:
    """A tokenizer like those of other base models: no turn tokens, no template, pad is the end of text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer, bpe.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=320, special_tokens=["</s>", *special], initial_alphabet=alphabet, show_progress=False)
    bpe.train_from_iterator(SENTENCES, trainer)
    begin = {"bos_token": "</s>"} if bos else {}
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, eos_token="</s>", pad_token="</s>", additional_special_tokens=list(special), **begin
    )


@pytest.mark.parametrize("bos", [True, False])
def test_a_base_model_without_template_gets_one_of_its_own_tokens(bos: bool) -> None:
    tokenizer = foreign(bos=bos)
    assert tokenizer.decode(raw_format(tokenizer).prompt(ASK)) == f"{'</s>' * bos}Q: Where is bread sold?\nA:"
    size = len(tokenizer)
    assert give_chat_template(tokenizer)
    assert len(tokenizer) == size
    spoken = chat_format(tokenizer)
    assert spoken.stop == (tokenizer.eos_token_id,)
    talk = (Message("system", "Be kind."), *ASK, Message("assistant", "At the market."), Message("user", "When?"))
    prompt, response = spoken.prompt(talk), spoken.response(talk, "At seven.")
    said = "Be kind.\nQ: Where is bread sold?\nA: At the market.</s>\nQ: When?\nA:"
    assert tokenizer.decode([*prompt, *response]) == f"{'</s>' * bos}{said} At seven.</s>"
    assert response[-1] == tokenizer.eos_token_id == tokenizer.pad_token_id
    assert spoken.text(response) == "At seven."


def test_a_tokenizer_without_any_end_is_refused() -> None:
    tokenizer = foreign()
    tokenizer.eos_token = None
    with pytest.raises(InputError, match="neither a chat template nor an end of text"):
        give_chat_template(tokenizer)


def test_an_end_of_turn_is_found_where_the_template_writes_it_whatever_its_name() -> None:
    tokenizer = foreign("<fin>")
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}<fin>\n{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
    )
    spoken = chat_format(tokenizer)
    end = tokenizer.convert_tokens_to_ids("<fin>")
    assert spoken.stop == (tokenizer.eos_token_id, end)
    response = spoken.response(ASK, "At the market.")
    assert (response[-1], response.count(end), spoken.text(response)) == (end, 1, "At the market.")


STRICT = (
    "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no system role here') }}{% endif %}"
    "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}"
    "{{ m['role'] + ': ' + m['content'] + '</s>' }}{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
)


def test_a_system_turn_that_a_template_refuses_goes_before_the_users_words() -> None:
    tokenizer = foreign()
    tokenizer.chat_template = STRICT
    spoken = chat_format(tokenizer)
    told = (Message("system", "Be kind."), *ASK)
    assert tokenizer.decode(spoken.prompt(told)) == "user: Be kind.\n\nWhere is bread sold?</s>assistant:"
    assert [*spoken.prompt(told), *spoken.response(told, "There.")][-1] == tokenizer.eos_token_id
    with pytest.raises(InputError, match="refuses the conversation: roles must alternate"):
        spoken.prompt((*ASK, *ASK))


def test_a_template_with_a_turn_token_of_its_own_stops_there() -> None:
    tokenizer = train_tokenizer(SENTENCES, 300)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    spoken = chat_format(tokenizer)
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert end in spoken.stop
    ids = spoken.response(ASK, "At the market.")
    assert ids[-1] == end
    assert ids.count(end) == 1
    assert spoken.text(ids) == "At the market."


def test_a_nul_that_a_model_writes_is_shown_and_its_tokens_stay() -> None:
    spoken = chat()
    raw = raw_format(spoken.tokenizer)
    ids = spoken.tokenizer("Bread\0 and cheese.", add_special_tokens=False)["input_ids"]
    assert "\0" in spoken.tokenizer.decode(ids)
    for each in (spoken, raw):
        assert each.text(ids) == "Bread\ufffd and cheese."
        assert "\0" not in each.decode(ids)
    prompt = Prompt("p", (Message("user", "What is sold?"),))
    assert spoken.tokens_of(prompt, Response("r", "p", spoken.text(ids), "sft", tuple(ids), finished=False)) == ids
