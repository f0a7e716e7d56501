"""Conversations that a chat template has rendered to one text: ChatML, Llama's headers, [INST], Gemma, Zephyr, Alpaca, "Human:" lines.

Such a text is a list of turns only if it is one from end to end: it begins with the mark of a system turn or a user, every turn has its
mark, and users and assistant take turns. Any other text that mentions a mark is words.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from accord.data.rows import Row
from accord.records import Message, Role

_ROLES: dict[str, Role] = {
    "system": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "instruction": "user",
    "[inst]": "user",
    "assistant": "assistant",
    "model": "assistant",
    "response": "assistant",
    "[/inst]": "assistant",
}
_SYSTEM = re.compile(r"\s*<<SYS>>\n?(.*?)\n?<</SYS>>\s*", re.DOTALL)
_LONGEST = 1_000_000
"""Longer texts are no prompts, and are not searched."""


@dataclass(frozen=True)
class _Marks:
    hint: str
    """A text without it has none of these marks."""
    turn: re.Pattern[str]
    """What begins a turn; its only group is the speaker."""
    ends: tuple[str, ...] = ("</s>",)
    """What may end a turn."""
    words: bool = False
    """Whether the marks are words that people write too."""


_FAMILIES = (
    _Marks("<|im_start|>", re.compile(r"<\|im_start\|>(system|user|assistant)\n?"), ("<|im_end|>",)),
    _Marks(
        "<|start_header_id|>",
        re.compile(r"(?:<\|begin_of_text\|>)?<\|start_header_id\|>(system|user|assistant)<\|end_header_id\|>\s*"),
        ("<|eot_id|>",),
    ),
    _Marks("<start_of_turn>", re.compile(r"(?:<bos>)?<start_of_turn>(user|model)\n?"), ("<end_of_turn>",)),
    _Marks(
        "<|assistant|>",
        re.compile(r"<\|(system|user|prompter|assistant)\|>\s*"),
        ("</s>", "<|end|>", "<|endoftext|>", "<|end_of_text|>"),
    ),
    _Marks("[/INST]", re.compile(r"(?:<s>)? ?(\[/?INST\])")),
    _Marks("### ", re.compile(r"### (Instruction|Human|User|Response|Assistant): ?\n?")),
    _Marks("Assistant:", re.compile(r"(?:^|\n)(Human|User|Assistant):[ \t]*"), words=True),
    _Marks("ASSISTANT:", re.compile(r"(?:^|\s|(?<=</s>))(USER|ASSISTANT):[ \t]*"), words=True),
)


def asked_in(text: str) -> tuple[Message, ...]:
    """Return the turns of a rendered text that ends where the assistant is to speak; none if it is no such text."""
    turns = _turns(text)[0]
    return turns[:-1] if turns and turns[-1].role == "assistant" and not turns[-1].content else ()


def told_in(text: str) -> tuple[Message, ...]:
    """Return the turns of a rendered text that ends with an answer; none if it is no such text, or if its marks are words."""
    turns = _turns(text, words=False)[0]
    return turns if turns and turns[-1].role == "assistant" and turns[-1].content else ()


def without_ends(row: Row, names: tuple[str, ...]) -> Row:
    """Return a row whose answers are rid of the mark that ends a turn, where its question is rendered with such marks.

    Args:
        names: columns that may hold the question.
    """
    ends = {end for name in names if isinstance(text := row.peek(name), str) for end in _turns(text)[1]}
    if not ends:
        return row
    value = dict[str, Any](row.value)
    for name, text in value.items():
        if name not in names and isinstance(text, str) and text.rstrip().endswith(tuple(ends)):
            value[name] = _without(text, tuple(ends))
    return row.like(value)


def _without(text: str, ends: tuple[str, ...]) -> str:
    """Return a text without the marks at its end and the space around them. No pattern: its time could grow with the square of spaces."""
    stop = len(text.rstrip())
    while mark := next((end for end in ends if text.endswith(end, 0, stop)), ""):
        stop -= len(mark)
        while stop and text[stop - 1].isspace():
            stop -= 1
    return text[:stop]


def _turns(text: str, *, words: bool = True) -> tuple[tuple[Message, ...], tuple[str, ...]]:
    """Return the turns of a rendered text, the last one perhaps empty, and what may end each."""
    if len(text) <= _LONGEST:
        for family in _FAMILIES:
            if family.hint in text and (words or not family.words) and (turns := _read(text.strip(), family)):
                return turns, family.ends
    return (), ()


def _read(text: str, family: _Marks) -> tuple[Message, ...]:
    head, *parts = family.turn.split(text)
    if head.strip() or len(parts) < 4:
        return ()
    turns = list[Message]()
    for name, said in zip(parts[::2], parts[1::2], strict=True):
        said = _without(said, family.ends).strip()
        if not turns and (found := _SYSTEM.match(said)):
            turns.append(Message("system", found[1].strip()))
            said = said[found.end() :]
        turns.append(Message(_ROLES[name.lower()], said))
    spoken = turns[1:] if turns[0].role == "system" else turns
    in_turn = all(turn.role == ("user", "assistant")[i % 2] for i, turn in enumerate(spoken))
    return tuple(turns) if in_turn and len(spoken) > 1 and all(turn.content for turn in turns[:-1]) else ()
