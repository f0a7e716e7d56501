"""A served model whose template writes more than the answer: the chat shows the answer alone."""

from __future__ import annotations

from typing import Any

import torch
from joined import foreign
from opened import Opened, hello, sampling, served, whole
from tiny import FP32, llama

from accord.data.templates import ChatFormat, chat_format
from accord.models.packing import pack
from accord.models.policy import logprobs
from accord.serving.model_host import Capacity, ModelHost

CHANNELS = (
    "{% for m in messages %}<|start|>{{ m.role }}{% if m.role == 'assistant' %}<|channel|>final{% endif %}<|message|>{{ m.content }}"
    "{% if m.role == 'assistant' and loop.last %}<|return|>{% else %}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant{% endif %}"
)


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
