"""An environment of verifiers in a module of its own, as a package has it: the package pickles what its rows go through."""

from __future__ import annotations

from typing import Any

import verifiers as vf
from datasets import Dataset
from played import brief


class Chat(vf.MultiTurnEnv):
    async def env_response(self, messages: Any, state: Any, **others: Any) -> Any:
        return [vf.UserMessage(content=f"Turn {len(state['trajectory'])}.")]


def said(completion: Any) -> float:
    return sum(brief(message.content) for message in completion if message.role == "assistant")


def conversation() -> Any:
    rows = Dataset.from_list([{"prompt": [{"role": "user", "content": "Speak."}], "answer": ""}])
    return Chat(dataset=rows, rubric=vf.Rubric(funcs=[said]), max_turns=3)


def double(number: int) -> int:
    """Double a number."""
    return 2 * number


def right(completion: Any) -> float:
    return float("8" in completion[-1].content)
