"""Demonstrations as token ids: what SFT learns from, and what the reward model is centred on."""

from __future__ import annotations

from collections.abc import Iterator

from accord.algorithms import sft as algorithm
from accord.algorithms.rewards import is_answer_key
from accord.data.templates import ChatFormat
from accord.data.token_rows import RowWindow
from accord.feedback.store import Store
from accord.records import Demonstration


def written_demonstrations(store: Store) -> Iterator[Demonstration]:
    """Demonstrations that somebody wrote out; a problem's answer alone does not show how to answer."""
    return (row for row in store.demonstrations() if not is_answer_key(row.text))


def example(chat: ChatFormat, row: Demonstration, window: RowWindow) -> algorithm.Example:
    """A demonstration as token ids."""
    prompt, response = chat.prompt(row.prompt.messages), chat.response(row.prompt.messages, row.text)
    return algorithm.example(prompt, response, window, f"demonstration {row.id}")
