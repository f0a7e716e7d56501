"""Reads a prompt without drawing: each token's log-probability after those before it, and a text's embedding.

A prompt is read in parts of ``PART`` tokens, so that whoever steps a ``BatchEngine`` can read one between two steps.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from accord.engine.batching import BatchEngine, heard, told
from accord.engine.cache import held_dtype
from accord.engine.cache_slots import Slots
from accord.models import plain
from accord.runtime.device import on_device

PART = 256
"""Tokens that are read at once. On the plain path a prompt is read whole."""


@dataclass(frozen=True, slots=True)
class Likelihood:
    """The log-probability of a prompt's token after those before it, in nats, and the likeliest tokens at its place."""

    token: int
    logprob: float
    likeliest: tuple[tuple[int, float], ...] = ()


def likelihoods(engine: BatchEngine, tokens: Sequence[int], most: int, adapter: str = "") -> Generator[list[Likelihood]]:
    """Yield the likelihoods of a prompt's tokens from the second one on, part by part.

    Args:
        most: how many of the likeliest tokens to report at each place.
        adapter: name of the engine's adapter that reads; empty asks the model as it is.
    """
    place = 0
    for states in _states(engine, tokens[:-1], adapter):
        part, following = list[Likelihood](), tokens[place + 1 : place + 1 + len(states)]
        with torch.inference_mode(not engine.network.plain), torch.no_grad():
            rows = engine.network.logits(states)
            numbers = torch.stack([told(row, on_device([token], row.device), most) for row, token in zip(rows, following, strict=True)])
        for token, row in zip(following, numbers.cpu(), strict=True):
            part.append(Likelihood(token, *heard(row)))
        place += len(states)
        yield part


def embedding(engine: BatchEngine, tokens: Sequence[int], adapter: str = "") -> Generator[list[float]]:
    """Yield the embedding of what is read so far, part by part: the mean of its tokens' final states, of length 1. The last is the
    text's."""
    total: Tensor | None = None
    read = 0
    for states in _states(engine, tokens, adapter):
        summed = states.float().sum(0)
        total, read = summed if total is None else total + summed, read + len(states)
        unit: list[float] = torch.nn.functional.normalize(total / read, dim=0).tolist()
        yield unit


def _states(engine: BatchEngine, tokens: Sequence[int], adapter: str) -> Generator[Float[Tensor, "tokens width"]]:
    """Yield the final states of a prompt's tokens, part by part."""
    network = engine.network
    if not tokens:
        return
    if network.plain:
        network.bank.choose([network.bank.number(adapter)])
        with torch.inference_mode(False), torch.no_grad():
            flat = on_device(list(tokens), network.device)
            states = plain.hidden(network.body, flat, torch.tensor([len(tokens)]), network.dtype, padded=False)
        yield states
        return
    slots = Slots(held_dtype(network.device, network.dtype))
    slots.count = 1
    for start in range(0, len(tokens), PART):
        part = tokens[start : start + PART]
        with torch.inference_mode():
            slots.reserve(1, start + len(part))
            network.bank.choose([network.bank.number(adapter)])  # the engine steps between two parts
            states = network.states(on_device(list(part), network.device), [start], slots)
        yield states
