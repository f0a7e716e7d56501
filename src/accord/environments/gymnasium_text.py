"""Gymnasium environments whose actions and observations are text, numbers or choices: a turn is an action.

A model writes an action as text. A number for a ``Discrete`` space is looked for in it; a turn without a usable one is no action, and the
episode ends without reward.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from accord.errors import UsageError
from accord.runtime import packages

_WHOLE = re.compile(r"-?\d+")


class GymnasiumText:
    """An episode of a registered Gymnasium environment.

    Args:
        id: the environment's id, such as ``MyGame-v0`` or ``my_package:MyGame-v0``.
    """

    def __init__(self, id: str) -> None:
        gymnasium = _gymnasium()
        try:
            self.made = gymnasium.make(id)
        except gymnasium.error.Error as error:
            raise UsageError(f"{id}: {error}", where="--environment gymnasium", hint="register it: gymnasium:package:ID-v0") from error
        self.discrete = type(self.made.action_space).__name__ == "Discrete"

    def reset(self, row: Mapping[str, Any]) -> list[dict[str, str]]:
        """Return the prompt and the first observation."""
        seen, _ = self.made.reset(seed=int(row["seed"]), options=dict(row["extra"]) or None)
        *before, last = row["messages"]
        return [*before, {"role": "user", "content": f"{last['content']}\n\n{_words(seen)}"}]

    def step(self, messages: Sequence[Mapping[str, str]]) -> tuple[list[dict[str, str]], float, bool, dict[str, Any]]:
        """Take the last turn as an action."""
        action: Any = messages[-1]["content"].strip()
        if self.discrete:
            numbers = _WHOLE.findall(action)
            action = int(numbers[-1]) if numbers else -1
        if not self.made.action_space.contains(action):
            return [], 0.0, True, {"no_action": 1}
        seen, reward, terminated, truncated, _ = self.made.step(action)
        done = bool(terminated or truncated)
        said = [] if done else [{"role": "user", "content": _words(seen)}]
        return said, float(reward), done, {"no_action": 0}

    def close(self) -> None:
        """Close the environment."""
        self.made.close()


def _words(seen: Any) -> str:
    return seen if isinstance(seen, str) else repr(seen.tolist() if hasattr(seen, "tolist") else seen)


def _gymnasium() -> Any:
    try:
        return importlib.import_module("gymnasium")
    except ImportError:
        raise UsageError("gymnasium is not installed", where="--environment gymnasium", hint=packages.install("gymnasium")) from None
