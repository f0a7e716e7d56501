"""The one refusal of pictures and recordings by what reads text alone: they are never left out in silence."""

from __future__ import annotations

from collections.abc import Iterable

from accord.errors import InputError
from accord.records import Message


def refuse_media(messages: Iterable[Message], reader: str, *, where: str = "") -> None:
    """Refuse messages with pictures or recordings.

    Args:
        reader: who reads text alone, as the subject of the error: ``this model``.

    Raises:
        InputError: a message has one.
    """
    kinds = [each.kind for message in messages for each in message.media]
    if kinds:
        what = "a recording" if kinds[0] == "audio" else "a picture"
        hint = "use a model with a processor for it (docs/images.md), or take such messages out"
        raise InputError(f"a message has {what}, and {reader} reads text alone", where=where, hint=hint)
