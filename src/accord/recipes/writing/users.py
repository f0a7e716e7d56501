"""An editor who sends a text back: first what breaks the form, then a change of mind.

    accord grpo my-project --environment users:Editor --rewards environment --max-turns 3

A row's ``form`` stands beside its prompt, and perhaps ``then``: what the editor asks for next, with the form that holds from there. For an
editor played by a chat model, who knows the goal, take ``--environment user:MODEL@http://host:8000/v1``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rewards import checks, kept_share

NAMES = {
    "en": {
        "language": "the language",
        "lines": "the number of lines",
        "paragraphs": "the number of paragraphs",
        "sentences": "the number of sentences",
        "words": "the length",
        "characters": "the length",
        "each_line": "the length of the lines",
        "words_a_line": "the length of the lines",
        "syllables": "the syllables",
        "first_letters": "the first letters of the lines",
        "starts": "the beginning",
        "ends": "the end",
        "must": "a word that should be in it",
        "avoid": "a word that should not be in it",
        "dialogue": "a name and a colon before each line",
    },
    "zh": {
        "language": "语言",
        "lines": "行数",
        "paragraphs": "段数",
        "sentences": "句数",
        "words": "长度",
        "characters": "字数",
        "each_line": "每行的字数",
        "words_a_line": "每行的长度",
        "syllables": "音节数",
        "first_letters": "每行的首字",
        "starts": "开头",
        "ends": "结尾",
        "must": "必须出现的词",
        "avoid": "不能出现的词",
        "dialogue": "每行前面的名字和冒号",
    },
}
SAYS = {"en": ("Not yet: please look at {what}.", "Good, I'll take it."), "zh": ("还差一点：请看看{what}。", "好，就用这个。")}


class Editor:
    """An editor. The reward is the share of the form that the last text keeps, less a tenth for each text that was sent back."""

    deterministic = True

    def reset(self, row: Mapping[str, Any]) -> list[dict[str, str]]:
        """Return the conversation so far. Raises KeyError where the row has no form."""
        self.form: dict[str, Any] = dict(row["extra"]["form"])
        self.then: dict[str, Any] = dict(row["extra"].get("then") or {})
        self.sent_back = 0
        messages = [dict(message) for message in row["messages"]]
        self.language = "zh" if any("\u4e00" <= letter <= "\u9fff" for letter in messages[-1]["content"]) else "en"
        return messages

    def step(self, messages: Sequence[Mapping[str, str]]) -> tuple[list[dict[str, str]], float, bool, dict[str, float]]:
        """Read the last text."""
        text = messages[-1]["content"]
        broken = [name for name, kept in checks(text, self.form).items() if not kept]
        if self.then and not broken:
            said, self.form, self.then = str(self.then["ask"]), dict(self.then["form"]), {}
            return [{"role": "user", "content": said}], 0.0, False, {}
        if broken and not self.sent_back:
            self.sent_back += 1
            return [{"role": "user", "content": SAYS[self.language][0].format(what=NAMES[self.language][broken[0]])}], 0.0, False, {}
        reward = max(kept_share(text, self.form) - 0.1 * self.sent_back, 0.0)
        return [{"role": "user", "content": SAYS[self.language][1]}], reward, True, {"kept": float(not broken)}
