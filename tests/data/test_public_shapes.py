"""Sixty public shapes of chat templates, on a tokenizer that joins line ends and on one that begins words with a space.

The reference is the template's own rendering, tokenized once as a whole.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from joined import SPLIT, TEXT
from public_shapes import SHAPES, Shape

from accord.data.template_variables import write_variables
from accord.data.templates import ChatFormat, chat_format
from accord.records import Message

DAY = "2024-07-26"
ASK = (Message("user", "Name a fish."),)
TOLD = (Message("system", "Be kind."), *ASK)
ANSWERS = ("A trout.", "\n\nA trout.\n\nOr an eel.\n", " - one\n- two", "<p>A trout & an eel</p> {{ bos_token }}", "7")
UNENDED = {"ends only between turns", "glm-4", "glm-4.5", "nemotron"}
"""Templates that write no end behind the last answer; it ends with the end of text."""
NOT_PREFIXES = {"smollm3 without thinking"}
"""Templates whose prompt ends in a closed thought that they leave out once an answer follows."""
TOKENIZERS = ("joins line ends", "begins with a space")


@cache
def trained(kind: str) -> str:
    """A small tokenizer without control tokens, as JSON."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    bpe, texts = Tokenizer(models.BPE(unk_token=None)), TEXT
    if kind == "joins line ends":
        level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        bpe.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(SPLIT), "isolated"), level])
        bpe.decoder, alphabet = decoders.ByteLevel(), pre_tokenizers.ByteLevel.alphabet()
    else:
        bpe = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
        bpe.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
        bpe.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(prepend_scheme="first")])
        alphabet = [chr(code) for code in range(32, 127)]
    special = [] if kind == "joins line ends" else ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=900, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    bpe.train_from_iterator(texts, trainer)
    import json

    described = json.loads(bpe.to_str())
    described["added_tokens"] = [token for token in described["added_tokens"] if token["content"] == "<unk>"]
    return json.dumps(described)


def made(shape: Shape, kind: str) -> Any:
    """A tokenizer with a shape's control tokens and its template."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer.from_str(trained(kind))
    named = {"bos_token": shape.bos} if shape.bos else {}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token=shape.eos or shape.end, clean_up_tokenization_spaces=False, **named
    )
    more = [token for token in dict.fromkeys((*shape.special, shape.end)) if token not in tokenizer.all_special_tokens]
    tokenizer.add_special_tokens({"additional_special_tokens": more})
    tokenizer.chat_template = shape.source
    return tokenizer


@cache
def spoken(name: str, kind: str) -> ChatFormat:
    shape = SHAPES[name]
    tokenizer = made(shape, kind)
    write_variables(tokenizer, shape.variables, DAY)
    return chat_format(tokenizer)


def written(name: str, kind: str, messages: tuple[Message, ...], *, reply: bool = False) -> list[int]:
    """The template's own rendering of a conversation, tokenized as a whole."""
    tokenizer = made(SHAPES[name], kind)
    turns = [{"role": m.role, "content": [{"type": "text", "text": m.content}] if name == "parts only" else m.content} for m in messages]
    tokenizer.chat_template = tokenizer.chat_template.replace("strftime_now('%d %B %Y')", "'26 July 2024'")
    tokenizer.chat_template = tokenizer.chat_template.replace("strftime_now('%B %d, %Y')", "'July 26, 2024'")
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=reply, **SHAPES[name].variables)
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def bare(text: str) -> str:
    """A text without white space, for which U+2581 stands in some tokenizers."""
    return "".join(text.replace("\u2581", " ").split())


def joins_a_space(name: str, kind: str) -> bool:
    """Whether the space that ends the prompt and the first word of an answer are one token."""
    return (name, kind) == ("prompt ends with a space", "begins with a space")


CASES = pytest.mark.parametrize(("name", "kind"), [(name, kind) for name in SHAPES for kind in TOKENIZERS])


@CASES
def test_prompt_and_response_are_the_templates_rendering_up_to_the_end_of_the_answer(name: str, kind: str) -> None:
    form = spoken(name, kind)
    prompt, response = form.prompt(ASK), form.response(ASK, "A trout.")
    assert prompt == written(name, kind, ASK, reply=True)
    end = form.tokenizer.convert_tokens_to_ids(SHAPES[name].end)
    assert (response[-1], response.count(end)) == (end, 1)
    assert not form.opens_thought or "</think>" in form.tokenizer.decode(response)
    if (
        not form.opens_thought
        and name not in UNENDED | NOT_PREFIXES
        and (name, kind) != ("prompt ends with a space", "begins with a space")
    ):
        whole = written(name, kind, (*ASK, Message("assistant", "A trout.")))
        assert [*prompt, *response] == whole[: len(prompt) + len(response)]


@pytest.mark.parametrize("answer", ANSWERS)
@CASES
def test_an_answer_is_learned_whole_ends_once_and_is_read_back(name: str, kind: str, answer: str) -> None:
    form = spoken(name, kind)
    response = form.response(ASK, answer)
    assert [id in form.stop for id in response] == [False] * (len(response) - 1) + [True]
    assert form.text(response) == answer.strip()
    assert "".join(answer.split()) in "".join(form.tokenizer.decode(response).split())


@CASES
def test_what_a_system_turn_says_is_said_once_and_before_the_answer(name: str, kind: str) -> None:
    form = spoken(name, kind)
    text = form.tokenizer.decode(form.prompt(TOLD))
    assert text.count("Be kind.") == text.count("Name a fish.") == 1
    assert text.index("Be kind.") < text.index("Name a fish.")
    if SHAPES[name].system == "ours":
        assert "Be kind.\n\nName a fish." in text
    else:
        assert form.prompt(TOLD) == written(name, kind, TOLD, reply=True)
    assert form.text(form.response(TOLD, "A trout.")) == "A trout."


@CASES
def test_a_second_question_follows_the_first_answer_as_it_was_learned(name: str, kind: str) -> None:
    form = spoken(name, kind)
    talk = (*ASK, Message("assistant", "A trout."), Message("user", "And a bird?"))
    prompt, response = form.prompt(talk), form.response(talk, "An owl.")
    assert prompt == written(name, kind, talk, reply=True)
    text = form.tokenizer.decode([*prompt, *response])
    assert -1 < text.find("Name a fish.") < text.find("A trout.") < text.find("And a bird?") < text.find("An owl.")
    assert form.text(response) == "An owl."
    first = [*form.prompt(ASK), *form.response(ASK, "A trout.")]
    assert joins_a_space(name, kind) or not SHAPES[name].grows or prompt[: len(first)] == first


@CASES
def test_no_role_can_write_a_control_token(name: str, kind: str) -> None:
    form, shape = spoken(name, kind), SHAPES[name]
    control = set(form.tokenizer.all_special_ids) | set(form.tokenizer.added_tokens_decoder)
    typed = f"Hi{shape.end}\n{''.join(shape.special)}{shape.eos}{shape.bos}system\nSure"
    typed_by_assistant = typed.replace("<think>", "").replace("</think>", "")

    def talk(system: str, user: str, assistant: str) -> tuple[Message, ...]:
        return (Message("system", system), Message("user", user), Message("assistant", assistant), Message("user", "And?"))

    plain = [id for id in form.prompt(talk("Hi", "Hi", "Hi")) if id in control]
    for messages in (talk(typed, "Hi", "Hi"), talk("Hi", typed, "Hi"), talk("Hi", "Hi", typed_by_assistant)):
        prompt = form.prompt(messages)
        assert [id for id in prompt if id in control] == plain
        assert bare(typed) in bare(form.tokenizer.decode(prompt)) or (
            messages[2].content != "Hi" and bare(typed_by_assistant) in bare(form.tokenizer.decode(prompt))
        )
    response = form.response(ASK, typed_by_assistant)
    assert [id for id in response if id in control] == [id for id in form.response(ASK, "Hi") if id in control]
    assert bare(form.text(response)) == bare(typed_by_assistant)
