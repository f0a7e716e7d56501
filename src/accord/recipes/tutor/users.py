"""Whom a tutor works for: a pupil who should find the solution, or a teacher who sends back questions that the text does not answer.

    accord grpo my-project --environment users:Classroom --rewards environment --max-turns 4

A row of help has ``solution`` and ``keys`` beside its prompt, a row of a quiz ``text`` and ``questions``. For a pupil played by a chat
model, who knows the goal, take ``--environment user:MODEL@http://host:8000/v1``.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from rewards import answered_by, gives_away, pairs, quiz_share

WORDS = {
    "en": {
        "found": "Oh! Then it is {solution}.",
        "told": "Okay, I'll copy that.",
        "lost": ["I still don't get it.", "Hm. And now?", "What do you mean by that?"],
        "unfit": "Question {number} cannot be answered from the text. Please write the quiz again with another one.",
        "few": "I need {count} questions, each with Q: before it and its answer with A: on the next line.",
        "thanks": "Thank you, I can use these.",
    },
    "zh": {
        "found": "哦！那就是{solution}。",
        "told": "好吧，我抄下来。",
        "lost": ["还是不懂。", "嗯，然后呢？", "这是什么意思？"],
        "unfit": "第{number}题从短文里找不到答案，请换一道，重新出一份。",
        "few": "我要{count}道题，题目前写“问：”，下一行写“答：”和答案。",
        "thanks": "谢谢，可以用了。",
    },
}


class Classroom:
    """A pupil, or a teacher, by what stands beside the prompt.

    A pupil's episode is worth 1 when a hint or a question led to the solution, 0.2 when it was told, less a tenth for each further turn.
    A teacher's is worth the share of the questions that can be used, less a tenth for each further turn.
    """

    deterministic = True

    def reset(self, row: Mapping[str, Any]) -> list[dict[str, str]]:
        """Return the conversation so far. Raises KeyError where the row has neither a solution nor a text."""
        extra = row["extra"]
        self.solution, self.keys = str(extra.get("solution") or ""), [str(each) for each in extra.get("keys") or ()]
        self.text, self.count = ("", 0) if self.solution else (str(extra["text"]), int(extra.get("questions") or 0))
        self.turns, self.random = 0, random.Random(row["seed"])
        messages = [dict(message) for message in row["messages"]]
        self.words = WORDS["zh" if any("\u4e00" <= letter <= "\u9fff" for letter in messages[-1]["content"]) else "en"]
        return messages

    def step(self, messages: Sequence[Mapping[str, str]]) -> tuple[list[dict[str, str]], float, bool, dict[str, float]]:
        """Answer the last reply."""
        self.turns += 1
        reply = messages[-1]["content"]
        return self._pupil(reply) if self.solution else self._teacher(reply)

    def _pupil(self, reply: str) -> tuple[list[dict[str, str]], float, bool, dict[str, float]]:
        late = 0.1 * (self.turns - 1)
        if gives_away(reply, self.solution):
            return self._said("told"), max(0.2 - late, 0.0), True, {"found": 0, "told": 1}
        if any(key.lower() in reply.lower() for key in self.keys):
            return self._said("found", solution=self.solution), max(1.0 - late, 0.0), True, {"found": 1, "told": 0}
        return [{"role": "user", "content": self.random.choice(list(self.words["lost"]))}], 0.0, False, {}

    def _teacher(self, reply: str) -> tuple[list[dict[str, str]], float, bool, dict[str, float]]:
        late = 0.1 * (self.turns - 1)
        if not self.count:  # an explanation: one turn
            return self._said("thanks"), float(bool(reply.strip())), True, {}
        usable = quiz_share(reply, self.text, self.count)
        if usable == 1 or self.turns >= 3:
            return self._said("thanks"), max(usable - late, 0.0), True, {"usable": usable}
        found = pairs(reply)
        unfit = [n for n, (question, answer) in enumerate(found, 1) if not answered_by(question, answer, self.text)]
        said = self._said("unfit", number=unfit[0]) if len(found) >= self.count and unfit else self._said("few", count=self.count)
        return said, 0.0, False, {}

    def _said(self, what: str, **values: object) -> list[dict[str, str]]:
        return [{"role": "user", "content": str(self.words[what]).format(**values)}]
