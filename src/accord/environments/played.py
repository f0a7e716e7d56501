"""A user whom a chat model plays: one behind an OpenAI-compatible address, or a model of the project."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from accord.environments.address import ask
from accord.records import Message

ENDED = "DONE"
"""What a playing model writes when the user has what it wanted."""
PLAY = (
    "You play a user who talks with an assistant. What you want: {goal}\n"
    "Say it in your own words, a little at a time, and answer what the assistant asks. Write the user's next message and nothing else. "
    f"When the assistant has given you what you want, write {ENDED} alone."
)
LONGEST = 200
"""Tokens of a user's message."""
Say = Callable[[Sequence[Message]], str]
"""From a conversation, in which the playing model is the assistant, to its next message."""
Speak = Callable[[Sequence[Sequence[Message]]], list[str]]
"""From several conversations, each of which ends with a user's turn, to an answer for each."""


class PlayedUser:
    """A user that a chat model plays. Its wish is the row's ``goal``, in ``extra``.

    The reward is 1 when the playing model says that the user has what it wanted, less a twentieth for each turn before.
    """

    def __init__(self, say: Say) -> None:
        self.say = say

    def reset(self, row: Mapping[str, Any]) -> list[dict[str, str]]:
        """Return the prompt. Raises KeyError where the row has no goal."""
        self.goal, self.turns = str(row["extra"]["goal"]), 0
        return list(row["messages"])

    def step(self, messages: Sequence[Mapping[str, str]]) -> tuple[list[dict[str, str]], float, bool, dict[str, float]]:
        """Ask the model what the user says next."""
        played = [Message("system", PLAY.format(goal=self.goal))]
        for message in messages:
            if message["role"] == "user":  # the playing model is the assistant of its own conversation
                played.append(Message("assistant", message["content"]))
            elif message["role"] == "assistant":
                played.append(Message("user", message["content"]))
        words = self.say(played).strip()
        self.turns += 1
        if words.strip(" .!\"'") == ENDED:
            return [], max(1.0 - 0.05 * (self.turns - 1), 0.0), True, {"content": 1}
        return [{"role": "user", "content": words}], 0.0, False, {}


@dataclass(frozen=True)
class AtAddress:
    """A chat model behind an OpenAI-compatible address."""

    address: str
    model: str
    seconds: float

    def __call__(self, conversation: Sequence[Message]) -> str:
        messages = [{"role": message.role, "content": message.content} for message in conversation]
        body = {"model": self.model, "messages": messages, "max_tokens": LONGEST, "temperature": 0}
        told = ask(f"{self.address.rstrip('/')}/chat/completions", body, self.seconds)
        return str(told["choices"][0]["message"]["content"])


@dataclass(eq=False)
class _Asked:
    conversation: Sequence[Message]
    said: str = ""
    failed: Exception | None = None
    over: bool = False


@dataclass(eq=False)
class AtOnce:
    """A model of the project. Conversations that come while it speaks are answered together, in one batch, as soon as it is free."""

    speak: Speak
    _waiting: queue.SimpleQueue[_Asked] = field(default_factory=queue.SimpleQueue[_Asked])
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, conversation: Sequence[Message]) -> str:
        mine = _Asked(conversation)
        self._waiting.put(mine)
        with self._turn:  # whoever has the turn speaks for all that wait
            if not mine.over:
                self._answer([self._waiting.get() for _ in range(self._waiting.qsize())])
        if mine.failed is not None:
            raise mine.failed
        return mine.said

    def _answer(self, asked: Sequence[_Asked]) -> None:
        try:
            said = self.speak([one.conversation for one in asked])
        except Exception as error:
            if len(asked) > 1:  # one that is too long, say, fails alone
                for one in asked:
                    self._answer([one])
            else:
                asked[0].failed, asked[0].over = error, True
            return
        for one, words in zip(asked, said, strict=True):
            one.said, one.over = words, True
