"""One row of token ids out of a prompt and a response: what every method that learns from written responses is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from accord.errors import InputError


@dataclass(frozen=True, slots=True)
class JoinedTokens:
    """Token ids of a prompt and a response, of which the last ``kept`` are the response."""

    tokens: list[int]
    kept: int
    cut: int
    """Tokens of the prompt that were cut from the left because both together exceeded the window."""


def joined(prompt: Sequence[int], response: Sequence[int], max_tokens: int, where: str, *, shortest: int = 1) -> JoinedTokens:
    """Join a prompt and a response within a window of ``max_tokens``; where both together are too long, the prompt's left is cut.

    Args:
        where: names the row in an error, such as ``prompt 7``.
        shortest: tokens below which a response teaches nothing.
    Raises:
        InputError: nothing of the prompt would remain, or the response is shorter than ``shortest``. A row without its prompt would
            teach what is well made under any prompt at all, so it is never made silently.
    """
    tokens = [*prompt, *response]
    window = tokens[-max_tokens:]
    if not shortest <= len(response) < len(window):
        message = f"{len(response)} response tokens in a window of {max_tokens}: nothing to learn from"
        raise InputError(message, where=where, hint="raise max_tokens, or take it out")
    return JoinedTokens(window, len(response), len(tokens) - len(window))
