"""Recordings in what a command reads: how many are read as their transcripts, and how many have none and are left out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from accord.records import Media, Prompt
from accord.runtime.text_only import WAY_OUT


def recordings_of(prompts: Iterable[Prompt]) -> Iterator[Media]:
    """Yield the recordings in prompts."""
    return (each for prompt in prompts for message in prompt.messages for each in message.media if each.kind == "audio")


def counted_recordings(recordings: Iterable[Media]) -> dict[str, int]:
    """Return how many different recordings were read as their transcripts, and how many have none; nothing where there are none."""
    by_digest = {each.digest: bool(each.alt.strip()) for each in recordings}
    read = sum(by_digest.values())
    metrics = {"transcripts_read": read, "transcripts_missing": len(by_digest) - read}
    return metrics if by_digest else {}


def told(metrics: Mapping[str, int]) -> Iterator[str]:
    """Yield what a command says of these figures."""
    if read := metrics.get("transcripts_read", 0):
        yield "1 recording is read as its transcript" if read == 1 else f"{read:,} recordings are read as their transcripts"
    if missing := metrics.get("transcripts_missing", 0):
        what = (
            "1 recording has no transcript: what asks it is"
            if missing == 1
            else f"{missing:,} recordings have no transcript: what asks them is"
        )
        yield f"{what} left out. {WAY_OUT}"
