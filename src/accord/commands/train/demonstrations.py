"""Demonstrations as token ids: what SFT learns from, and what the reward model is centred on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from accord.algorithms import sft as algorithm
from accord.algorithms.rewards import is_answer_key
from accord.data.templates import ChatFormat
from accord.data.token_rows import RowWindow
from accord.feedback.store import Store
from accord.records import Demonstration


def written_demonstrations(store: Store) -> Iterator[Demonstration]:
    """Demonstrations that somebody wrote out; a problem's answer alone does not show how to answer."""
    return (row for row in store.demonstrations() if not is_answer_key(row.text))


def every_turn(rows: Iterable[Demonstration]) -> list[Demonstration]:
    """Return a demonstration for each of the assistant's turns, behind what came before it; the last turn is the row itself.

    So the loss is on every turn of the assistant and on nothing else. What earlier turns share is computed once in a batch.
    """
    turns = list[Demonstration]()
    for row in rows:
        messages = row.prompt.messages
        for place, message in enumerate(messages):
            if message.role == "assistant" and place:
                prompt = replace(row.prompt, messages=messages[:place])
                turns.append(replace(row, id=f"{row.id}, turn {place + 1}", prompt=prompt, text=message.content))
        turns.append(row)
    return turns


def example(chat: ChatFormat, row: Demonstration, window: RowWindow) -> algorithm.Example:
    """A demonstration as token ids."""
    prompt, response = chat.asked(row.prompt), chat.answered(row.prompt, row.text)
    return algorithm.example(prompt, response, window, f"demonstration {row.id}")
