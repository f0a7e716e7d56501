"""Somebody who looks for something, knows it when it comes, and says a little more when it does not.

    accord grpo my-project --environment users:Shopper --rewards environment --max-turns 3

A row's ``options`` and ``goal`` stand beside its prompt. For a person played by a chat model, who knows the goal, take
``--environment user:MODEL@http://host:8000/v1``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rewards import recommended

ENOUGH = 0.75
"""Share of the best option's worth with which the person is content."""
SAYS = {
    "en": ("Not {what}. {goal}", "{goal}", "That sounds right, thanks.", "Never mind, I'll look myself."),
    "zh": ("{what}不合适。{goal}", "{goal}", "听起来不错，谢谢。", "算了，我自己找吧。"),
}


class Shopper:
    """A person who says what matters when the first recommendation misses it, once, and leaves after the second miss.

    The reward is the worth of what was taken, less a tenth for each further turn; 0 for leaving.
    """

    deterministic = True

    def reset(self, row: Mapping[str, Any]) -> list[dict[str, str]]:
        """Return the conversation so far. Raises KeyError where the row has no options."""
        self.options: dict[str, float] = dict(row["extra"]["options"])
        self.goal = str(row["extra"].get("goal", ""))
        self.turns = 0
        messages = [dict(message) for message in row["messages"]]
        self.words = SAYS["zh" if any("\u4e00" <= letter <= "\u9fff" for letter in messages[-1]["content"]) else "en"]
        return messages

    def step(self, messages: Sequence[Mapping[str, str]]) -> tuple[list[dict[str, str]], float, bool, dict[str, float]]:
        """Take what is recommended, or say more."""
        self.turns += 1
        what = recommended(messages[-1]["content"], list(self.options))
        value = self.options.get(what, 0.0)
        if value >= ENOUGH * max(self.options.values()):
            return self._said(2), max(value - 0.1 * (self.turns - 1), 0.0), True, {"taken": 1}
        if self.turns >= 2:
            return self._said(3), 0.0, True, {"taken": 0}
        return self._said(0 if what else 1, what=what, goal=self.goal), 0.0, False, {}

    def _said(self, place: int, **values: str) -> list[dict[str, str]]:
        return [{"role": "user", "content": self.words[place].format(**values)}]
