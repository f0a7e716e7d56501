"""A served model whose template writes more than the answer: the chat shows the answer alone."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from joined import foreign
from opened import Opened, hello, sampling, served, whole
from tiny import FP32, llama

from accord.data.templates import ChatFormat, chat_format
from accord.models.packing import pack
from accord.models.policy import logprobs
from accord.serving.answers import CHAT, TEXT, Choice, Completion, Form
from accord.serving.host import Ask, Piece
from accord.serving.model_host import Capacity, ModelHost

CHANNELS = (
    "{% for m in messages %}<|start|>{{ m.role }}{% if m.role == 'assistant' %}<|channel|>final{% endif %}<|message|>{{ m.content }}"
    "{% if m.role == 'assistant' and loop.last %}<|return|>{% else %}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant{% endif %}"
)


def written(form: Form) -> Completion:
    return Completion(form, "m", 1, logprobs=False, counted=False)


def taught(spoken: ChatFormat, text: str) -> Any:
    """A model that learned to say one thing to ``hello()``."""
    response = spoken.response(hello(), text)
    batch = pack([[*spoken.prompt(hello()), *response]], [len(response)])
    model = llama(vocab=len(spoken.tokenizer))
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-2)
    for _ in range(80):
        (-logprobs(model, batch, dtype=FP32)[0].mean()).backward()
        optimizer.step()
        optimizer.zero_grad()
    return model


def test_the_name_of_a_channel_is_not_part_of_the_answer() -> None:
    spoken = chat_format(foreign(CHANNELS, "<|return|>", ("<|start|>", "<|channel|>", "<|message|>", "<|end|>")), 120)
    opened = Opened(taught(spoken, "The miller keeps it."), spoken, "channels-0123456789")
    hosting = ModelHost(lambda name: opened, ("channels",), capacity=Capacity())

    async def work() -> None:
        text, pieces = await whole(hosting.stream("channels", hello(), sampling=sampling(30, temperature=0.0), seed=1))
        assert (text, pieces[-1].finish) == ("The miller keeps it.", "stop")

    served(hosting, work)


THINKS = (
    "{% for m in messages %}<|start|>{{ m.role }}\n{% if m.role == 'assistant' and not loop.last %}{{ m.content.split('</think>')[-1] }}"
    "{% else %}{{ m.content }}{% endif %}<|return|>{% endfor %}{% if add_generation_prompt %}<|start|>assistant\n<think>\n{% endif %}"
)
FORMATS = {
    "channels": (CHANNELS, "<|return|>", ("<|start|>", "<|channel|>", "<|message|>", "<|end|>")),
    "opens a thought": (THINKS, "<|return|>", ("<|start|>", "<think>", "</think>")),
    "opens a thought, in words": (THINKS, "<|return|>", ("<|start|>",)),
}
THOUGHT = "<think>\nWho keeps it?\n</think>\n\nThe miller keeps it."


@pytest.mark.parametrize("says", [THOUGHT, "The miller keeps it."])
@pytest.mark.parametrize("name", FORMATS)
def test_a_stream_says_what_a_stored_response_says(name: str, says: str) -> None:
    spoken = chat_format(foreign(*FORMATS[name]), 120)
    opened = Opened(taught(spoken, says), spoken, "thinks-0123456789")
    hosting = ModelHost(lambda name: opened, ("thinks",), capacity=Capacity())

    async def work() -> None:
        text, pieces = await whole(hosting.stream("thinks", hello(), sampling=sampling(60, temperature=0.0), seed=1))
        assert (text, pieces[-1].finish) == (says, "stop")

    served(hosting, work)
    assert spoken.text(spoken.response(hello(), says)) == says


@pytest.mark.parametrize(
    ("says", "reasoning", "answer"),
    [
        (THOUGHT, "Who keeps it?", "The miller keeps it."),
        ("The miller keeps it.", "", "The miller keeps it."),
        ("<think>\nWho keeps it", "Who keeps it", ""),
        ("<think>\n\n</think>\n\nA </think> b", "", "A </think> b"),
        ("<thin", "", "<thin"),
        ("", "", ""),
    ],
)
def test_the_api_gives_the_thought_beside_the_answer_whole_and_in_any_pieces(says: str, reasoning: str, answer: str) -> None:
    message = written(CHAT).whole([Choice(says)])["choices"][0]["message"]
    assert (message.get("reasoning_content", ""), message["content"]) == (reasoning, answer)
    assert written(TEXT).whole([Choice(says)])["choices"][0]["text"] == says, "raw text is given as it is"
    for size in (1, 2, 3, 5, 8, 13, 99):
        parts = [says[start : start + size] for start in range(0, len(says), size)] or [""]
        events, thought, said = written(CHAT), "", ""
        for number, part in enumerate(parts, 1):
            event = events.part(0, Piece(part, "stop" if number == len(parts) else ""))
            delta = json.loads(event.decode().removeprefix("data: "))["choices"][0]["delta"]
            thought, said = thought + delta.get("reasoning_content", ""), said + delta["content"]
        assert (thought, said) == (reasoning, answer), size


def test_raw_text_begins_as_the_tokenizer_begins_a_text() -> None:
    from tokenizers import processors

    tokenizer = foreign(CHANNELS, "<|return|>", ("<|start|>", "<|channel|>", "<|message|>", "<|end|>", "<s>"))
    begin = ("<s>", tokenizer.convert_tokens_to_ids("<s>"))
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing("<s> $A", "<s> $A $B", [begin])
    plain = tokenizer("Name a fish.", add_special_tokens=False)["input_ids"]
    opened = Opened(llama(vocab=len(tokenizer)), chat_format(tokenizer, 120), "raw-0123456789")
    hosting = ModelHost(lambda name: opened, ("raw",), capacity=Capacity())

    async def work() -> None:
        _, pieces = await whole(hosting.ask("raw", Ask(sampling(1), prompt="Name a fish.", seed=1)))
        assert pieces[-1].prompt_tokens == len(plain) + 1

    served(hosting, work)
