"""Render a chat template: its errors named, its time limited, and every message looked for in what it wrote."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from accord.data.tokenizers import Tokenizer
from accord.errors import InputError
from accord.records import Message
from accord.runtime.time_limit import TookTooLong, time_limit

SECONDS = 10.0
"""How long one rendering may take."""
THOUGHT_END = "</think>"
MEND = "fix the template (chat_template.jinja in the model's folder), or give a model with another one"


class EndlessTemplate(InputError):
    """A template that was stopped at the time limit."""


def template_name(tokenizer: Tokenizer) -> str:
    """Return how errors call a tokenizer's template."""
    return f"the chat template of {getattr(tokenizer, 'name_or_path', '') or 'the tokenizer'}"


def render(tokenizer: Tokenizer, messages: Sequence[Message], *, reply: bool, where: str = "") -> str:
    """Return the template's text. A system turn that it refuses or leaves out goes before the user's first words.

    A template that goes over the parts of a content instead of its text gets one text part for each message.

    Args:
        reply: end where the assistant is to speak.
        where: the row, for the message of an error.

    Raises:
        InputError: the template refuses the conversation, fails, takes too long, or leaves out what somebody said.
    """
    problem: InputError | None = None
    for given in dict.fromkeys((tuple(messages), merged(messages))):
        try:
            text = _rendered(tokenizer, given, as_parts=False, reply=reply, where=where)
        except EndlessTemplate:
            raise
        except InputError as error:
            problem = error
            continue
        if _holds(text, given):
            return text
        try:
            text = _rendered(tokenizer, given, as_parts=True, reply=reply, where=where)
        except EndlessTemplate:
            raise
        except InputError:
            text = ""  # most templates take no parts; that the text was lost is the fault to tell
        if _holds(text, given):
            return text
        hint = f"take such turns out of the rows, or {MEND}"
        problem = problem or InputError(f"{template_name(tokenizer)} leaves out what a message says", where=where, hint=hint)
    assert problem is not None
    raise problem


def merged(messages: Sequence[Message]) -> tuple[Message, ...]:
    """Return a conversation whose system turn stands before the first words of the user's."""
    if len(messages) < 2 or messages[0].role != "system":
        return tuple(messages)
    return (Message(messages[1].role, f"{messages[0].content}\n\n{messages[1].content}"), *messages[2:])


def stands_in(text: str, rendered: str) -> bool:
    """Say whether a text stands in another one; white space, which templates trim, does not count."""
    return "".join(text.split()) in "".join(rendered.split())


def _rendered(tokenizer: Tokenizer, messages: Sequence[Message], *, as_parts: bool, reply: bool, where: str) -> str:
    from jinja2 import TemplateError

    turns: list[dict[str, Any]] = []
    for message in messages:
        content = [{"type": "text", "text": message.content}] if as_parts else message.content
        turns.append({"role": message.role, "content": content})
    try:
        with time_limit(SECONDS):
            return tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=reply)
    except TookTooLong:
        what = f"{template_name(tokenizer)} did not end in {SECONDS:g} seconds"
        raise EndlessTemplate(what, where=where, hint=MEND) from None
    except TemplateError as error:
        what, hint = (
            f"{template_name(tokenizer)} refuses the conversation: {error}",
            "roles alternate in most templates; fix the conversation",
        )
        raise InputError(what, where=where, hint=f"{hint}, or {MEND}") from error
    except Exception as error:  # a template is a program of somebody else's, and may raise whatever Python does
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise InputError(f"{template_name(tokenizer)} fails: {reason}", where=where, hint=MEND) from error


def _holds(rendered: str, messages: Sequence[Message]) -> bool:
    """Say whether all messages stand in a rendering, those of user and assistant in their order.

    Templates put the system's words where they like, and leave the thoughts of earlier answers out.
    """
    text, at = "".join(rendered.split()), 0
    for role, said in _said(messages):
        if role == "system" and said in text:
            continue
        found = text.find(said, at)
        if found < 0:
            return False
        at = found + len(said)
    return True


def _said(messages: Sequence[Message]) -> Iterator[tuple[str, str]]:
    for message in messages:
        words = message.content.rpartition(THOUGHT_END)[2] if message.role == "assistant" else message.content
        yield message.role, "".join(words.split())
