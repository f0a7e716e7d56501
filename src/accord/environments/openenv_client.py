"""Environments behind an OpenEnv server (`openenv-core`), spoken to by the package's own generic client.

A turn is an action: a JSON object as it is, or else its text in one field. An observation is shown as text: the one text in it, or all of
it as JSON.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from accord.errors import UsageError
from accord.runtime import packages

OUTSIDE = ("reward", "done", "metadata")
"""Fields of an observation that are not shown."""


class OpenEnvEpisode:
    """An episode on an OpenEnv server: a session of its own.

    Args:
        address: of the server. field: the field of an action that takes the text of a turn.
    """

    def __init__(self, address: str, field: str, seconds: float = 60.0) -> None:
        self.field = field
        self.client: Any = generic_client()(base_url=address, message_timeout_s=seconds)

    async def reset(self, row: Mapping[str, Any]) -> list[dict[str, str]]:
        """Return the prompt and the first observation."""
        found = await self.client.reset(seed=int(row["seed"]))
        *before, last = row["messages"]
        return [*before, {"role": "user", "content": f"{last['content']}\n\n{_words(found.observation)}".strip()}]

    async def step(self, messages: Sequence[Mapping[str, str]]) -> tuple[list[dict[str, str]], float, bool, dict[str, float]]:
        """Take the last turn as an action."""
        found = await self.client.step(self._action(messages[-1]["content"]))
        reward = float(found.reward or 0.0)
        done = bool(found.done)
        return [] if done else [{"role": "user", "content": _words(found.observation)}], reward, done, {}

    async def close(self) -> None:
        """End the session."""
        await self.client.close()

    def _action(self, text: str) -> dict[str, Any]:
        try:
            found: Any = json.loads(text)
        except ValueError:
            found = None
        return cast("dict[str, Any]", found) if isinstance(found, dict) else {self.field: text}


def generic_client() -> Any:
    """Return the package's client. Raises UsageError where it is not installed."""
    try:
        return importlib.import_module("openenv.core.generic_client").GenericEnvClient
    except ImportError:
        raise UsageError("openenv-core is not installed", where="--environment openenv", hint=packages.install("openenv")) from None


def _words(observation: Mapping[str, Any]) -> str:
    shown = {name: value for name, value in observation.items() if name not in OUTSIDE}
    texts = [value for value in shown.values() if isinstance(value, str) and value.strip()]
    return texts[0] if len(texts) == 1 and len(shown) == 1 else json.dumps(shown, ensure_ascii=False)
