"""Prompt styles: system prompts, examples, a chain of thought, without any training. Pure functions on messages;
no torch.

InstructGPT's few-shot baseline puts examples before the prompt (Ouyang et al. 2022, section 3.5); a chain of
thought is requested in words (Kojima et al. 2022). The texts here are our own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from accord.data.retrieval import rank
from accord.errors import UsageError
from accord.records import Demonstration, Message

SYSTEMS = {
    "helpful": "You are a helpful assistant. Do what is asked, say it in few words, and ask back when something is unclear.",
    "honest": "Answer truthfully. Say that you do not know when you are not sure, and point out a wrong assumption in the question.",
    "careful": "Help where help does no harm. Decline politely what could hurt somebody, and offer something safe instead.",
    "brief": "Answer in one sentence.",
    "teacher": "Explain so that a beginner understands: one step at a time, with an example.",
}
"""The library of system prompts."""
THINK = 'Think step by step, then write the answer in a last line that begins with "Answer:".'
THINK_ZH = "请一步一步地想，最后另起一行，以“答案：”开头写出答案。"
_ANSWER = re.compile(r"(?:^|\n)[^\S\n]{0,40}(?:answer|答案)\s{0,20}[:：]\s*", re.IGNORECASE)
_CHINESE = re.compile(r"[\u4e00-\u9fff]")


def system_prompt(name: str) -> str:
    """Return a system prompt from the library; empty for an empty name. Raises UsageError for an unknown one."""
    if name and name not in SYSTEMS:
        raise UsageError("no such system prompt in the library", where=name, hint=f"choose one of {', '.join(SYSTEMS)}")
    return SYSTEMS.get(name, "")


def with_system(conversation: Sequence[Message], text: str) -> tuple[Message, ...]:
    """Return the conversation with a system prompt, unless it has one of its own."""
    if not text or any(message.role == "system" for message in conversation):
        return tuple(conversation)
    return (Message("system", text), *conversation)


def examples(conversation: Sequence[Message], known: Sequence[Demonstration], most: int) -> list[Demonstration]:
    """Return the demonstrations whose prompts are most similar to the request, the most similar last, where a
    model recalls it best."""
    prompts = [demonstration.prompt.messages[-1].content for demonstration in known]
    return [known[place] for place in reversed(rank(asked(conversation), prompts, most))]


def few_shot(conversation: Sequence[Message], shots: Sequence[Demonstration]) -> tuple[Message, ...]:
    """Return the conversation with examples as turns before it, after its system prompt."""
    turns = [turn for shot in shots for turn in (*shot.prompt.messages, Message("assistant", shot.text)) if turn.role != "system"]
    first = [message for message in conversation[:1] if message.role == "system"]
    return (*first, *turns, *conversation[len(first) :])


def chain_of_thought(conversation: Sequence[Message]) -> tuple[Message, ...]:
    """Return the conversation with the request to reason first, in the language of its last turn."""
    if not conversation:
        return ()
    last = conversation[-1]
    words = THINK_ZH if chinese(last.content) else THINK
    return (*conversation[:-1], replace(last, content=f"{last.content}\n\n{words}"))


def folded(text: str) -> tuple[str, str]:
    """Return reasoning and final answer of a chain of thought. Without an "Answer:" line all of it is the answer."""
    parts = _ANSWER.split(text)
    return ("\n".join(part.strip() for part in parts[:-1]).strip(), parts[-1].strip()) if len(parts) > 1 else ("", text)


def asked(conversation: Sequence[Message]) -> str:
    """Return the user's last message."""
    return next((message.content for message in reversed(conversation) if message.role == "user"), "")


def chinese(text: str) -> bool:
    """Return whether a text is Chinese."""
    return bool(_CHINESE.search(text))
