"""Customers who want something, in a mood, and stay or leave by how they are treated.

    accord grpo my-project --environment users:Customer --max-turns 4

A row's ``goal``, ``mood``, ``tells`` and ``resolved_by`` stand beside its prompt. For a customer played by a chat model, who knows the
goal, take ``--environment user:MODEL@http://host:8000/v1``.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from rewards import CARING, UPSET, resolves, tone_of

PATIENCE = {"angry": 2, "annoyed": 3, "worried": 3, "happy": 2, "calm": 4}
"""Unhelpful replies that a customer puts up with, by mood."""
A_TURN = 0.1
"""What each turn after the first costs."""
AGAIN: dict[str, dict[str, Any]] = {
    "en": {
        "upset": ["That does not answer me.", "And what happens now?", "I have told you what is wrong. What will you do?"],
        "else": ["I'm not sure I follow.", "Could you be more precise?", "So what do I do?"],
        "leaves": "Forget it. I'll buy elsewhere.",
        "thanks": "Good, that's all I wanted.",
        "tells": "My {what}: {value}",
        "treated": "I don't have to be talked to like that.",
    },
    "zh": {
        "upset": ["这等于没回答。", "那现在到底怎么办？", "问题我说清楚了，你们打算怎么处理？"],
        "else": ["没太明白。", "能说具体点吗？", "那我该怎么做？"],
        "leaves": "算了，以后不来了。",
        "thanks": "行，这样就可以了。",
        "tells": "{what}：{value}",
        "treated": "你这是什么态度？",
    },
}


class Customer:
    """A customer: tells what it is asked for, is content when the matter is resolved, and leaves when its patience is over.

    The reward is 1 for a resolved matter, less a tenth for each further turn, and a fifth of the mean tone.
    """

    deterministic = True

    def reset(self, row: Mapping[str, Any]) -> list[dict[str, str]]:
        """Return the conversation so far. Raises KeyError where the row says nothing of what resolves the matter."""
        extra = row["extra"]
        self.resolved_by: list[str] = list(extra["resolved_by"])
        self.mood = str(extra.get("mood", "calm"))
        self.tells: dict[str, str] = dict(extra.get("tells") or {})
        self.patience = PATIENCE.get(self.mood, 3)
        self.turns, self.tones, self.random = 0, list[float](), random.Random(row["seed"])
        messages = [dict(message) for message in row["messages"]]
        self.words = AGAIN["zh" if any("\u4e00" <= letter <= "\u9fff" for letter in messages[-1]["content"]) else "en"]
        return messages

    def step(self, messages: Sequence[Mapping[str, str]]) -> tuple[list[dict[str, str]], float, bool, dict[str, float]]:
        """Answer the last reply."""
        reply = messages[-1]["content"]
        self.turns += 1
        self.tones.append(tone_of(reply, self.mood))
        asked = next((what for what in self.tells if what.lower() in reply.lower()), "")
        if resolves(reply, self.resolved_by):
            return self._ends(self.words["thanks"], resolved=True)
        if asked and self.tones[-1] > -0.5:
            said = self.words["tells"].format(what=asked, value=self.tells.pop(asked))
            return [{"role": "user", "content": said}], 0.0, False, {}
        self.patience -= 2 if self.tones[-1] <= -0.5 else 1
        if self.mood in UPSET and self.turns == 1 and any(word in reply.lower() for word in CARING):
            self.patience += 1  # who is taken seriously waits a little longer
        if self.patience <= 0:
            return self._ends(self.words["leaves"], resolved=False)
        if self.tones[-1] <= -0.5:
            return [{"role": "user", "content": str(self.words["treated"])}], 0.0, False, {}
        lines = self.words["upset" if self.mood in UPSET else "else"]
        return [{"role": "user", "content": self.random.choice(lines)}], 0.0, False, {}

    def _ends(self, said: object, *, resolved: bool) -> tuple[list[dict[str, str]], float, bool, dict[str, float]]:
        tone = sum(self.tones) / len(self.tones)
        reward = (1.0 - A_TURN * (self.turns - 1) if resolved else 0.0) + 0.2 * tone
        return [{"role": "user", "content": str(said)}], reward, True, {"resolved": float(resolved), "tone": tone}
