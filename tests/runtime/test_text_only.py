"""What models read of a message with a recording: its transcript, in its place, and never nothing."""

from __future__ import annotations

import pytest

from accord.errors import InputError
from accord.records import MEDIUM, Media, Message, composed
from accord.runtime.text_only import as_text, heard

SAID = Media("audio", "a" * 64, " Turn it off. ")
SILENT = Media("audio", "b" * 64, " \n")
PICTURE = Media("image", "c" * 64, "a lamp")


@pytest.mark.parametrize(
    ("parts", "read"),
    [
        ([SAID], "Turn it off."),
        (["Do this: ", SAID, " please"], "Do this: Turn it off. please"),
        ([SAID, "What is meant?"], "Turn it off.\nWhat is meant?"),
        (["What is meant?", SAID], "What is meant?\nTurn it off."),
        ([SAID, SAID], "Turn it off.\nTurn it off."),
        ([Media("audio", "d" * 64, "<b>1</b> < 2 & 3")], "<b>1</b> < 2 & 3"),
    ],
)
def test_a_recording_is_read_as_its_transcript_where_it_stands(parts: list[str | Media], read: str) -> None:
    before = Message("system", "Be kind.")
    assert as_text([before, composed("user", parts)], "this model") == (before, Message("user", read))


def test_pictures_keep_their_places_beside_a_transcript() -> None:
    odd = Media("audio", "d" * 64, f"one {MEDIUM} two")
    (read,) = heard([composed("user", [PICTURE, "and", odd, PICTURE])], "this model")
    assert read == composed("user", [PICTURE, "and\none  two", PICTURE])
    with pytest.raises(InputError, match="a message has a picture, and this model reads text alone"):
        as_text([composed("user", [PICTURE, SAID])], "this model")


def test_a_recording_without_a_transcript_is_refused_with_the_way_out() -> None:
    with pytest.raises(InputError, match="without a transcript, and the judge reads no sound") as refused:
        heard([composed("user", [SAID, SILENT])], "the judge", where="prompt p")
    assert "accord transcribe" in str(refused.value.hint)
    heard([composed("user", [SAID])], "the judge")
