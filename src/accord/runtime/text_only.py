"""What models read of a message's media: the transcript of a recording, wherever there is one; nothing is ever left out in silence.

A model that reads text alone refuses pictures. No model here reads sound, so a recording without a transcript is refused by all.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from accord.errors import InputError
from accord.records import MEDIUM, Media, Message, composed, pieces

WAY_OUT = "`accord transcribe` writes what is said (docs/transcribe.md)"


def heard(messages: Iterable[Message], reader: str, *, where: str = "") -> tuple[Message, ...]:
    """Return messages with the transcript in place of each recording. Pictures stay.

    Args:
        reader: who reads no sound, as the subject of the error: ``this model``.

    Raises:
        InputError: a recording has no transcript.
    """
    return tuple(_heard(message, reader, where) if is_spoken(message) else message for message in messages)


def as_text(messages: Iterable[Message], reader: str, *, where: str = "") -> tuple[Message, ...]:
    """Return messages as what reads text alone reads them: the transcript in place of each recording.

    Args:
        reader: who reads text alone, as the subject of the error.

    Raises:
        InputError: a message has a picture, or a recording without a transcript.
    """
    read = heard(messages, reader, where=where)
    if any(message.media for message in read):
        hint = "use a model with a processor for it (docs/images.md), or take such messages out"
        raise InputError(f"a message has a picture, and {reader} reads text alone", where=where, hint=hint)
    return read


def refuse_media(messages: Iterable[Message], reader: str, *, where: str = "") -> None:
    """Refuse messages with pictures or recordings, with or without a transcript, where nothing keeps them.

    Args:
        reader: who reads text alone, as the subject of the error.

    Raises:
        InputError: a message has one.
    """
    kinds = [each.kind for message in messages for each in message.media]
    if kinds:
        what = "a recording" if kinds[0] == "audio" else "a picture"
        raise InputError(f"a message has {what}, and {reader} reads text alone", where=where, hint="take such messages out")


def is_spoken(message: Message) -> bool:
    """Return whether a message holds a recording."""
    return any(each.kind == "audio" for each in message.media)


def is_silent(message: Message) -> bool:
    """Return whether a message holds a recording without a transcript."""
    return any(each.kind == "audio" and not each.alt.strip() for each in message.media)


def characters(message: Message) -> int:
    """Return the length of what a model reads of a message, without pictures."""
    return len(message.content) + sum(len(each.alt) for each in message.media if each.kind == "audio")


def _heard(message: Message, reader: str, where: str) -> Message:
    """The message in words. A transcript that would touch the words beside it stands in lines of its own."""
    if is_silent(message):
        raise InputError(f"a message has a recording without a transcript, and {reader} reads no sound", where=where, hint=WAY_OUT)
    given, parts = pieces(message), list[str | Media]()
    shown = any(each.kind != "audio" for each in message.media)
    for number, part in enumerate(given):
        said = isinstance(part, Media) and part.kind == "audio"
        words = part if not isinstance(part, Media) else part.alt.strip() if said else ""
        before = parts[-1] if parts else ""
        after_sound = number > 0 and isinstance(found := given[number - 1], Media) and found.kind == "audio"
        touching = isinstance(before, str) and bool(before) and not before[-1].isspace() and not words[:1].isspace()
        if words and touching and (said or after_sound):
            parts.append("\n")
        if said:
            parts.append(words.replace(MEDIUM, "") if shown else words)
        else:
            parts.append(part)
    written = composed(message.role, parts)
    return replace(message, content=written.content, media=written.media)
