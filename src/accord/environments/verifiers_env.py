"""Environments of the package `verifiers`: its own loop of a rollout runs, and the model that it asks is ours.

The environment keeps its protocol: it decides what comes next, calls its tools, stops, and scores by its rubric. What it asks its client
for is the next turn of the episode, and what it puts into the next prompt behind that turn is its answer.
"""

from __future__ import annotations

import asyncio
import importlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from accord.environments.tools import calls_in
from accord.errors import UsageError
from accord.runtime import packages


class VerifiersEpisode:
    """An episode of a loaded environment. The row's ``answer`` and ``info`` are those of the environment's own data set."""

    def __init__(self, environment: Any) -> None:
        self.environment = environment
        self.types: Any = importlib.import_module("verifiers.types")
        self.asked: asyncio.Queue[list[dict[str, str]]] = asyncio.Queue()
        self.said: asyncio.Queue[str] = asyncio.Queue()
        self.rollout: asyncio.Task[Any] | None = None
        self.begun = False

    async def reset(self, row: Mapping[str, Any]) -> list[dict[str, str]]:
        """Begin the environment's own rollout; return the prompt of its first request."""
        extra = row["extra"]
        given = {"prompt": list(row["messages"]), "example_id": 0, "answer": str(extra.get("answer", "")), "info": extra.get("info") or {}}
        client = _client(self)
        self.rollout = asyncio.ensure_future(self.environment.rollout(given, client, "accord", {}))
        opening = await self._next()
        if opening is None:
            raise RuntimeError(f"the environment ended before the model's first turn: {self._state().get('error')}")
        return opening

    async def step(self, messages: Sequence[Mapping[str, str]]) -> tuple[list[dict[str, str]], float, bool, dict[str, float]]:
        """Hand over the model's turn; return what the environment puts behind it, or its score."""
        self.said.put_nowait(messages[-1]["content"])
        more = await self._next()
        if more is not None:
            return more, 0.0, False, {}
        state = self._state()
        if state.get("error") is not None:
            raise RuntimeError(f"the environment failed: {state['error']!r}")
        await self.environment.rubric.score_rollout(state)
        counts = {name: float(value) for name, value in (state.get("metrics") or {}).items() if isinstance(value, int | float)}
        return [], float(state["reward"]), True, counts

    async def close(self) -> None:
        """End a rollout that is still going on."""
        if self.rollout is not None and not self.rollout.done():
            self.rollout.cancel()

    async def respond(self, prompt: Sequence[Any]) -> Any:
        """Answer the environment's request for a turn, once the episode has it."""
        messages = [_plain(message) for message in prompt]
        last = max((i for i, message in enumerate(messages) if message["role"] == "assistant"), default=-1)
        self.asked.put_nowait(messages[last + 1 :] if self.begun else messages)  # the opening may hold turns of an assistant
        self.begun = True
        text = await self.said.get()
        calls = [call for call in calls_in(text) if not call.fault]
        tools = [
            self.types.ToolCall(id=f"call-{number}", name=call.name, arguments=json.dumps(dict(call.arguments)))
            for number, call in enumerate(calls)
        ]
        turn = self.types.ResponseMessage(
            content=text, finish_reason="tool_calls" if tools else "stop", is_truncated=False, tool_calls=tools or None
        )
        return self.types.Response(id="accord", created=0, model="accord", message=turn)

    async def _next(self) -> list[dict[str, str]] | None:
        """Return the messages of the next request, or None once the rollout has ended."""
        assert self.rollout is not None
        request = asyncio.ensure_future(self.asked.get())
        await asyncio.wait({request, self.rollout}, return_when=asyncio.FIRST_COMPLETED)
        if request.done():
            return request.result()
        request.cancel()
        return None

    def _state(self) -> Any:
        assert self.rollout is not None
        return self.rollout.result()


def load_verifiers(id: str) -> Any:
    """Load an installed environment by its id, as ``verifiers`` does.

    Raises:
        UsageError: the package or the environment is not installed.
    """
    try:
        package: Any = importlib.import_module("verifiers")
    except ImportError:
        raise UsageError("verifiers is not installed", where="--environment verifiers", hint=packages.install("verifiers")) from None
    try:
        return package.load_environment(id)
    except Exception as error:
        hint = "install it: `prime env install`, or pip install its package"
        raise UsageError(f"{id}: {type(error).__name__}: {error}", where="--environment verifiers", hint=hint) from error


def _plain(message: Any) -> dict[str, str]:
    """Return a message of theirs with its text alone."""
    told: Mapping[str, Any] = message if isinstance(message, Mapping) else message.model_dump()
    content = told.get("content")
    if not isinstance(content, str):
        content = "".join(str(part.get("text", "")) for part in content or ())
    return {"role": str(told["role"]), "content": content}


def _client(episode: VerifiersEpisode) -> Any:
    """Return a client of theirs whose answers are the episode's turns."""
    base: Any = importlib.import_module("verifiers.clients.client").Client

    async def same(self: Any, given: Any) -> Any:
        return given

    async def prompt(self: Any, messages: Any) -> tuple[Any, dict[str, Any]]:
        return messages, {}

    async def respond(self: Any, prompt: Any, *_: Any, **__: Any) -> Any:
        return await self.client.respond(prompt)

    async def nothing(self: Any, *_: Any) -> None: ...

    def unset(self: Any, config: Any) -> None: ...

    methods: dict[str, Any] = {
        "setup_client": unset,
        "to_native_tool": same,
        "to_native_prompt": prompt,
        "get_native_response": respond,
        "raise_from_native_response": nothing,
        "from_native_response": same,
        "close": nothing,
    }
    made: Any = type("EpisodeClient", (base,), methods)
    return made(episode)
