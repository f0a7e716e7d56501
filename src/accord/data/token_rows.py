"""Rows of token ids from a prompt and a response, the input of every method that learns from written responses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from accord.errors import InputError


@dataclass(frozen=True, slots=True)
class JoinedTokens:
    """Token ids of a prompt and a response; the last ``kept`` are the response."""

    tokens: list[int]
    kept: int
    cut: int
    """Tokens of the prompt that were cut from the left because both together exceeded the window."""


def joined(prompt: Sequence[int], response: Sequence[int], max_tokens: int, where: str, *, shortest: int = 1) -> JoinedTokens:
    """Join a prompt and a response within a window of ``max_tokens``; if both together are too long, cut the prompt's left.

    Args:
        where: names the row in an error, such as ``prompt 7``.
        shortest: shortest response that teaches anything, in tokens.
    Raises:
        InputError: nothing of the prompt would remain, or the response is shorter than ``shortest``. A row without its prompt would
            teach the response under any prompt at all, so none is ever made silently.
    """
    tokens = [*prompt, *response]
    window = tokens[-max_tokens:]
    if not shortest <= len(response) < len(window):
        message = f"{len(response)} response tokens in a window of {max_tokens}: nothing to learn from"
        raise InputError(message, where=where, hint="raise max_tokens, or remove the row")
    return JoinedTokens(window, len(response), len(tokens) - len(window))
