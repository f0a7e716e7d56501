"""Recordings in rows: parts of a message, with their transcripts, and lines of our own export."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from accord.data.export_formats import shape
from accord.data.importers import Imported, read
from accord.data.sound import MOST_BYTES, decoded
from accord.errors import InputError
from accord.records import MEDIUM, Media, MediaFile, composed
from accord.runtime.media_files import data_url

CLICK = b"RIFF\x26\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x40\x1f\0\0\x80\x3e\0\0\2\0\x10\0data\2\0\0\0\0\1"
SOUND = MediaFile("audio", "audio/wav", CLICK)
CODED = base64.b64encode(CLICK).decode()
SAID = "Turn it off."


def imported(folder: Path, *parts: Any) -> Imported:
    """A row whose question has these parts."""
    (folder / "click.mp3").write_bytes(CLICK)  # a wrong ending
    row = {"messages": [{"role": "user", "content": list(parts)}, {"role": "assistant", "content": "Done."}]}
    (folder / "rows.jsonl").write_text(json.dumps(row) + "\n", "utf-8")
    return read(folder / "rows.jsonl")


@pytest.mark.parametrize(
    "part",
    [
        {"type": "input_audio", "input_audio": {"data": CODED, "format": "mp3"}, "transcript": SAID},
        {"type": "input_audio", "input_audio": {"data": CODED, "format": "wav", "transcript": SAID}},
        {"type": "audio_url", "audio_url": {"url": data_url(SOUND)}, "transcript": SAID},
        {"type": "audio", "audio": "click.mp3", "transcript": SAID},
        {"type": "audio", "audio": {"bytes": None, "path": "click.mp3"}, "transcript": SAID},
    ],
)
def test_a_recording_stands_where_its_part_does_with_what_was_said(tmp_path: Path, part: dict[str, Any]) -> None:
    found = imported(tmp_path, {"type": "text", "text": "Do this: "}, part, {"type": "text", "text": " please"})
    (demonstration,) = found.demonstrations
    assert demonstration.prompt.messages[-1] == composed("user", ["Do this: ", SOUND.named(SAID), " please"])
    assert list(found.media) == [SOUND]


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ({"type": "audio"}, "names none"),
        ({"type": "audio", "audio": 7}, "not a recording but int"),
        ({"type": "audio", "audio": "gone.wav"}, "'gone.wav' is not there"),
        ({"type": "audio", "audio": "../click.mp3"}, "is not there"),
        ({"type": "audio_url", "audio_url": {"url": "https://a.example/x.wav"}}, "an import fetches nothing"),
        ({"type": "input_audio", "input_audio": {"data": "@@@", "format": "wav"}}, "no base 64"),
        ({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}, "no WAV, MP3"),
        ({"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}, "names none"),
    ],
)
def test_a_recording_that_cannot_be_taken_refuses_its_row(tmp_path: Path, part: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        imported(tmp_path, part)


def test_a_recording_has_a_bound_before_it_is_decoded() -> None:
    with pytest.raises(InputError, match="more than 25 MB"):
        decoded("data:audio/wav;base64," + "A" * (MOST_BYTES // 3 * 4 + 8))
    assert decoded(f"data:audio/wav;base64,{CODED}") == decoded(CODED) == CLICK


def test_our_own_export_with_a_recording_reads_back(tmp_path: Path) -> None:
    media = {"kind": "audio", "digest": SOUND.digest, "alt": SAID, "data": data_url(SOUND)}
    message = {"role": "user", "content": f"Do {MEDIUM}", "media": [media]}
    line = {"accord": "prompt", "id": "p", "user": "", "use_case": "other", "split": "train", "source": "s", "messages": [message]}
    (tmp_path / "out.jsonl").write_text(json.dumps(line) + "\n", "utf-8")
    (prompt,) = read(tmp_path / "out.jsonl").prompts
    assert prompt.messages[-1] == composed("user", ["Do ", Media("audio", SOUND.digest, SAID)])
    media["digest"] = "0" * 64
    (tmp_path / "out.jsonl").write_text(json.dumps(line) + "\n", "utf-8")
    with pytest.raises(InputError, match="another than 000000000000"):
        read(tmp_path / "out.jsonl")


def test_an_export_as_messages_reads_back_and_a_format_of_text_has_the_transcript(tmp_path: Path) -> None:
    media = {"kind": "audio", "digest": SOUND.digest, "alt": SAID, "data": data_url(SOUND)}
    line = {"id": "d", "messages": [{"role": "user", "content": f"Do {MEDIUM}", "media": [media]}], "response": "Done."}
    row = shape("demonstrations", "messages")(line)
    (tmp_path / "out.jsonl").write_text(json.dumps(row) + "\n", "utf-8")
    (demonstration,) = read(tmp_path / "out.jsonl").demonstrations
    assert demonstration.prompt.messages[-1] == composed("user", ["Do ", SOUND.named(SAID)])
    row = shape("demonstrations", "sharegpt")(line)
    assert row is not None
    assert row["conversations"][0] == {"from": "human", "value": f"Do {SAID}"}
    assert shape("demonstrations", "trl-completion")(line) == {
        "prompt": [{"role": "user", "content": f"Do {SAID}"}],
        "completion": [{"role": "assistant", "content": "Done."}],
    }
    del media["alt"]
    with pytest.raises(InputError, match="without a transcript, and alpaca reads no sound"):
        shape("demonstrations", "alpaca")(line)
