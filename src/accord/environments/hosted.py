"""Run many episodes' environments at once: calls in threads or in one event loop, each limited in time, each answer checked.

An environment is somebody else's program. One that raises, answers what is no answer, or hangs ends its own episode and nothing else.
"""

from __future__ import annotations

import asyncio
import inspect
import math
import queue
import threading
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from accord.errors import RunError
from accord.records import EpisodeEnd, Message, Role

SPEAKERS = ("user", "tool", "system")
"""Roles of an environment's messages. The assistant's words are the model's own."""
MOST_HANGING = 64
"""Calls that never came back, after which a run ends: each holds a thread."""
LONGEST = 1_000_000
"""Characters of one message; a longer one is no message."""
NOTHING = "nothing"
"""What a model reads of a tool that returned nothing: an empty turn is none in most templates."""
What = Literal["reset", "step", "close"]


@dataclass(frozen=True)
class Reply:
    """What an environment answered to one call. ``failed`` tells how it failed, and ``error`` in words."""

    messages: tuple[Message, ...] = ()
    reward: float = 0.0
    done: bool = False
    info: Mapping[str, Any] = field(default_factory=dict[str, Any])
    failed: EpisodeEnd | None = None
    error: str = ""


@dataclass(eq=False)
class _Call:
    key: int
    what: What
    given: Any
    """What the environment is told; of a ``close`` the environment itself."""
    began: float = 0.0
    """When it began to run; 0 while it waits."""
    over: bool = False
    """Whether its answer is no longer waited for."""
    answered: bool = False
    coroutine: Future[Any] | None = None
    """What runs in the event loop, where the environment is asynchronous."""


class Environments:
    """The environments of many episodes, one object each, named by keys of the caller's.

    Args:
        make: returns a new environment.
        seconds: longest time of one reset or step. at_once: how many of them run at once.
        deterministic: whether an environment answers the same to the same row and messages.
    """

    def __init__(
        self, make: Callable[[], Any], *, name: str = "", seconds: float = 60.0, at_once: int = 32, deterministic: bool | None = None
    ) -> None:
        self.make, self.name, self.seconds, self.at_once = make, name, seconds, at_once
        self.deterministic = bool(getattr(make, "deterministic", False)) if deterministic is None else deterministic
        self._made: dict[int, Any] = {}
        self._calls: queue.SimpleQueue[_Call] = queue.SimpleQueue()
        self._replies: queue.SimpleQueue[tuple[_Call, Reply]] = queue.SimpleQueue()
        self._open: dict[int, _Call] = {}
        self._closing = set[_Call]()
        self._workers = self._hanging = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()

    @property
    def waiting(self) -> int:
        """How many calls have not been answered yet."""
        return len(self._open)

    def reset(self, key: int, row: Mapping[str, Any]) -> None:
        """Begin an episode."""
        self._ask(_Call(key, "reset", row))

    def step(self, key: int, messages: Sequence[Message]) -> None:
        """Hand an episode's conversation to its environment; the last message is the model's."""
        self._ask(_Call(key, "step", [{"role": message.role, "content": message.content} for message in messages]))

    def arrived(self, *, wait: bool) -> list[tuple[int, Reply]]:
        """Return the answers that are there, with the episodes' keys; with ``wait`` one at least, where any is missing.

        Raises:
            RunError: too many calls never came back.
        """
        came = list[tuple[int, Reply]]()
        while self._open:
            try:
                call, reply = self._replies.get(timeout=self._patience() if wait and not came else 0.0)
            except queue.Empty:
                came += self._overdue()
                if came or not wait:
                    break
                continue
            if self._taken(call) and call.what != "close":
                came.append((call.key, reply))
        return came

    def end(self, key: int) -> None:
        """Let an episode's environment be closed, within the time of any other call; ``settle`` waits for it."""
        with self._lock:
            made = self._made.pop(key, None)
        if callable(getattr(made, "close", None)):
            self._ask(_Call(key, "close", made))

    def settle(self) -> None:
        """Wait until the environments of ended episodes are closed, or have taken too long.

        Raises:
            RunError: too many calls never came back.
        """
        while self._closing:
            try:
                call, _ = self._replies.get(timeout=self._patience())
            except queue.Empty:
                self._overdue()
            else:
                self._taken(call)

    def _taken(self, call: _Call) -> bool:
        """Return whether a call that was answered was still waited for, and wait for it no more."""
        if call.over:
            return False
        call.over = True
        if call.what == "close":
            self._closing.remove(call)
        else:
            del self._open[call.key]
        return True

    def _ask(self, call: _Call) -> None:
        if call.what == "close":
            self._closing.add(call)
        else:
            self._open[call.key] = call
        self._calls.put(call)
        if self._workers < min(self.at_once, len(self._open) + len(self._closing)):
            self._workers += 1
            threading.Thread(target=self._work, daemon=True, name="accord-environment").start()

    def _work(self) -> None:
        while True:
            call = self._calls.get()
            call.began = time.monotonic()
            environment, reply = self._answered(call)
            with self._lock:
                call.answered, late = True, call.over
            if late:  # another thread has taken this one's place
                if call.what != "close":
                    self._close(environment)
                return
            self._replies.put((call, reply))

    def _answered(self, call: _Call) -> tuple[Any, Reply]:
        """Return the environment that was asked, None where there is none, and its answer."""
        environment: Any = None
        try:
            if call.what == "close":
                self._close(call.given, call)
                return None, Reply()
            environment = self.make() if call.what == "reset" else self._made[call.key]
            with self._lock:
                if call.over:  # the key may be another episode's by now
                    return environment, Reply()
                self._made[call.key] = environment
            answer: object = (environment.reset if call.what == "reset" else environment.step)(call.given)
            if inspect.iscoroutine(answer):
                answer = self._coroutine(answer, call)
        except Exception as error:
            return environment, Reply(failed="crashed", error=f"{call.what} raised {type(error).__name__}: {error}"[:500])
        try:
            return environment, _opening(answer) if call.what == "reset" else _step(answer)
        except ValueError as error:
            return environment, Reply(failed="invalid", error=f"{call.what} {error}"[:500])

    def _close(self, environment: Any, call: _Call | None = None) -> None:
        """Close an environment. What it raises is of no use: the episode is over, and its result known."""
        close = getattr(environment, "close", None)
        if callable(close):
            with suppress(Exception):
                closed = close()
                if inspect.iscoroutine(closed):
                    self._coroutine(closed, call)

    def _coroutine(self, asked: Coroutine[Any, Any, Any], call: _Call | None) -> Any:
        """Return the result of a coroutine, run in the one event loop that all environments share; an overdue ``call`` cancels it."""
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, daemon=True, name="accord-environments").start()
            future = asyncio.run_coroutine_threadsafe(asked, self._loop)
            if call is not None:
                call.coroutine = future
                if call.over:
                    future.cancel()
        return future.result()

    def _patience(self) -> float:
        """Seconds until the first call that runs is overdue; a tenth where none runs yet."""
        begun = [call.began for call in self._waited_for() if call.began]
        return max(min(begun) + self.seconds - time.monotonic(), 0.01) if begun else 0.1

    def _overdue(self) -> list[tuple[int, Reply]]:
        """Give up calls that took too long, and let other threads take the place of theirs."""
        now = time.monotonic()
        with self._lock:
            late = [call for call in self._waited_for() if call.began and now - call.began >= self.seconds and not call.answered]
            for call in late:
                self._taken(call)
                if call.what != "close":
                    self._made.pop(call.key, None)  # its own thread closes it, if it ever comes back
                if call.coroutine is not None:
                    call.coroutine.cancel()
                self._workers -= 1
                self._hanging += 1
        if self._hanging > MOST_HANGING:
            hint = "fix the environment, and continue with --resume"
            raise RunError(
                f"{self._hanging} calls did not come back within {self.seconds:g} s", where=f"environment {self.name}", hint=hint
            )
        for _ in range(min(len(late), self._calls.qsize())):
            self._workers += 1
            threading.Thread(target=self._work, daemon=True, name="accord-environment").start()
        told = [call for call in late if call.what != "close"]
        return [(call.key, Reply(failed="seconds", error=f"{call.what} took longer than {self.seconds:g} s")) for call in told]

    def _waited_for(self) -> list[_Call]:
        return [*self._open.values(), *self._closing]


def _opening(answer: object) -> Reply:
    messages = _messages(answer, (*SPEAKERS, "assistant"))
    if not messages or messages[-1].role == "assistant":
        raise ValueError("returned no message for the model to answer")
    return Reply(messages)


def _step(answer: object) -> Reply:
    if not isinstance(answer, tuple | list) or len(cast("Sequence[Any]", answer)) != 4:
        raise ValueError(f"returned {answer!r:.80}, which is not (messages, reward, done, info)")
    said, reward, done, info = cast("Sequence[Any]", answer)
    messages = _messages(said, SPEAKERS)
    if isinstance(reward, str) or not _finite(reward):
        raise ValueError(f"returned the reward {reward!r:.40}, which is no finite number")
    if not messages and not done:
        raise ValueError("returned no message, and is not done")
    counts = dict(cast("Mapping[str, Any]", info)) if isinstance(info, Mapping) else {}
    return Reply(messages, float(reward), bool(done), counts)


def _finite(reward: Any) -> bool:
    try:
        return math.isfinite(float(reward))
    except (TypeError, ValueError):
        return False


def _messages(said: object, roles: Sequence[str]) -> tuple[Message, ...]:
    if isinstance(said, str | Mapping) or not isinstance(said, Sequence):
        raise ValueError(f"returned {said!r:.80}, which is no list of messages")
    messages = list[Message]()
    for each in cast("Sequence[Any]", said):
        one = cast("Mapping[str, Any]", each) if isinstance(each, Mapping) else {}
        role, content = one.get("role"), one.get("content")
        if role not in roles:
            raise ValueError(f"returned a message of the role {role!r:.40}; known are {', '.join(roles)}")
        if role == "tool" and isinstance(content, str) and not content.strip():
            content = NOTHING
        if not isinstance(content, str) or not content.strip():
            raise ValueError(f"returned an empty message of the role {role}")
        if len(content) > LONGEST:
            raise ValueError(f"returned a message of {len(content):,} characters")
        messages.append(Message(cast("Role", role), content))
    return tuple(messages)
