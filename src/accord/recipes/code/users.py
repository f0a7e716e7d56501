"""A colleague who runs the program and sends it back with the test that fails.

    accord grpo my-project --environment users:Reviewer --rewards environment --max-turns 3

A row's ``tests`` stand beside its prompt. The sandbox needs Linux.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rewards import is_python, passed

SAYS = {
    "en": ("I see no Python function. Please write it in a ``` block.", "This does not hold yet: {test}", "It works, thanks."),
    "zh": ("没有看到 Python 函数，请写在 ``` 代码块里。", "这一条还不成立：{test}", "可以用了，谢谢。"),
}


class Reviewer:
    """A colleague with tests. The reward is the share that the last program passes, less a tenth for each one that was sent back."""

    deterministic = True

    def reset(self, row: Mapping[str, Any]) -> list[dict[str, str]]:
        """Return the conversation so far. Raises KeyError where the row has no tests."""
        self.tests = [str(each) for each in row["extra"]["tests"]]
        self.turns = 0
        messages = [dict(message) for message in row["messages"]]
        self.words = SAYS["zh" if any("\u4e00" <= letter <= "\u9fff" for letter in messages[-1]["content"]) else "en"]
        return messages

    def step(self, messages: Sequence[Mapping[str, str]]) -> tuple[list[dict[str, str]], float, bool, dict[str, float]]:
        """Run the last program."""
        self.turns += 1
        program = messages[-1]["content"]
        right = [bool(passed(None, [program], [[test]])[0]) for test in self.tests] if is_python(program) else [False] * len(self.tests)
        share = sum(right) / len(right)
        if share == 1 or self.turns >= 3:
            return self._said(2), max(share - 0.1 * (self.turns - 1), 0.0), True, {"solved": float(share == 1)}
        if not is_python(program):
            return self._said(0), 0.0, False, {}
        return self._said(1, test=self.tests[right.index(False)]), 0.0, False, {}

    def _said(self, place: int, **values: str) -> list[dict[str, str]]:
        return [{"role": "user", "content": self.words[place].format(**values)}]
