"""The chat in the terminal: a conversation with one model of the project at a time."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch
from rich.console import Console

from accord.engine.local import LocalSampler
from accord.errors import AccordError
from accord.records import Message, Sampling
from accord.runtime.seeds import generator
from accord.serving.detokenizer import Apart

HELP = "/model NAME changes the model, /new forgets what was said, /quit ends"


def talk(open_model: Callable[[str], Any], name: str, *, temperature: float, max_tokens: int, seed: int, dtype: torch.dtype) -> None:
    """Answer one line after another until /quit or the end of input. Answers go to standard output, all else to
    standard error.

    Args:
        open_model: function from a name to the model, with ``lm`` and ``format``.
    """
    console = Console(stderr=True, highlight=False)
    model, said, turn = open_model(name), list[Message](), 0
    console.print(f"Talking to {name}. {HELP}.", markup=False)
    sampling = Sampling(temperature=temperature, max_tokens=max_tokens)
    sampler = LocalSampler(model.lm, stop=model.format.stop, dtype=dtype)
    while (line := _read(console)) is not None:
        command, _, rest = line.strip().partition(" ")
        if command == "/quit":
            return
        if command == "/new":
            said = []
        elif command == "/model":
            try:
                model = open_model(rest.strip())
            except AccordError as error:
                console.print(str(error), markup=False)
                continue
            sampler, said = LocalSampler(model.lm, stop=model.format.stop, dtype=dtype), []
            console.print(f"Talking to {rest.strip()}.", markup=False)
        elif command.startswith("/"):
            console.print(HELP, markup=False)
        elif line.strip():
            said.append(Message("user", line.strip()))
            try:
                prompt = model.format.prompt(said)
            except AccordError as error:
                console.print(f"{error}; /new starts over", markup=False)
                said.pop()
                continue
            turn += 1
            drawn = sampler.sample([prompt], n=1, sampling=sampling, generator=generator(seed, "chat", turn))
            answer = model.format.text(drawn.rows()[0])
            said.append(Message("assistant", answer))
            thought, words = Apart().push(answer, last=True)
            if thought:
                console.print(_printable(thought), style="dim", markup=False)
            print(_printable(words), flush=True)


def _read(console: Console) -> str | None:
    if sys.stdin.isatty():
        console.print("> ", end="")
    line = sys.stdin.readline()
    return line if line else None


def _printable(text: str) -> str:
    """Return a model's text without control characters, which could drive the terminal."""
    return "".join(character for character in text if character.isprintable() or character in "\n\t")
