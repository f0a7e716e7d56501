"""Recordings as numbers: WAV by the standard library, and other kinds where soundfile is installed."""

from __future__ import annotations

import io
import math
import wave
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np

from accord.errors import InputError
from accord.records import MediaFile

MOST_CHANNELS, LOWEST_RATE, HIGHEST_RATE = 32, 1_000, 384_000
ZEROS, AT_ONCE = 16, 16_384
"""Zero crossings of the sinc on either side, and samples that are computed at once."""
_FULL = {1: 128.0, 2: 32_768.0, 3: 8_388_608.0, 4: 2_147_483_648.0}
"""The largest value of a sample of so many bytes."""


class Waveform(NamedTuple):
    """A recording's samples from -1 to 1, of one channel, and how many there are per second."""

    samples: np.ndarray[Any, np.dtype[np.float32]]
    rate: int


def decoded(file: MediaFile, *, minutes: float) -> Waveform:
    """Return a recording's samples, its channels averaged.

    Args:
        minutes: the longest recording that is read.

    Raises:
        InputError: it is longer, damaged or empty, or of a kind that nothing here reads.
    """
    where = f"recording {file.digest[:12]}"
    found = _of_wav(file.content, where, minutes) if file.mime == "audio/wav" else _by_soundfile(file, where, minutes)
    if not found.samples.size:
        raise InputError("the recording is empty", where=where)
    return found


def resampled(sound: Waveform, rate: int) -> Waveform:
    """Return a recording at another rate, by a sinc under Hann's window: what the lower rate cannot hold is filtered out."""
    if sound.rate == rate:
        return sound
    cut = min(1.0, rate / sound.rate)
    reach, count = math.ceil(ZEROS / cut), sound.samples.size * rate // sound.rate
    padded = np.pad(sound.samples, (reach, reach + 1))
    found = np.empty(count, np.float32)
    for start in range(0, count, AT_ONCE):
        at = np.arange(start, min(start + AT_ONCE, count)) * (sound.rate / rate)
        taps = at.astype(np.int64)[:, None] + np.arange(1 - reach, reach + 1)
        away = at[:, None] - taps
        weights = cut * np.sinc(cut * away) * np.cos(np.pi / 2 * np.clip(away / reach, -1, 1)) ** 2
        found[start : start + AT_ONCE] = (padded[taps + reach] * weights).sum(1)
    return Waveform(found, rate)


def _of_wav(content: bytes, where: str, minutes: float) -> Waveform:
    try:
        with wave.open(io.BytesIO(content)) as file:
            channels, width, rate, frames = file.getnchannels(), file.getsampwidth(), file.getframerate(), file.getnframes()
            _check(channels, rate, frames, where, minutes)
            raw = file.readframes(frames)
    except (wave.Error, EOFError, ValueError, ZeroDivisionError) as error:
        raise InputError(f"the recording cannot be read: {error}", where=where, hint="convert it to WAV with 16-bit samples") from error
    if width not in _FULL:
        raise InputError(f"the recording has samples of {width} bytes", where=where, hint="convert it to WAV with 16-bit samples")
    raw = raw[: len(raw) - len(raw) % (width * channels)]
    if width == 3:
        bytes_ = np.frombuffer(raw, np.uint8).reshape(-1, 3).astype(np.int32)
        whole = (bytes_[:, 0] | bytes_[:, 1] << 8 | bytes_[:, 2] << 16) << 8 >> 8
    else:
        whole = np.frombuffer(raw, {1: np.uint8, 2: "<i2", 4: "<i4"}[width])
    samples = (whole.astype(np.float32) - (128.0 if width == 1 else 0.0)) / _FULL[width]
    return Waveform(samples.reshape(-1, channels).mean(1, dtype=np.float32), rate)


def _by_soundfile(file: MediaFile, where: str, minutes: float) -> Waveform:
    kind = file.mime.rpartition("/")[2]
    if find_spec("soundfile") is None:
        hint = "convert it to WAV, install soundfile, or give --at the address of a server that reads it"
        raise InputError(f"the recording is {kind}, and only WAV is read without the package soundfile", where=where, hint=hint)
    read: Any = import_module("soundfile")
    try:
        with read.SoundFile(io.BytesIO(file.content)) as sound:
            _check(sound.channels, sound.samplerate, sound.frames, where, minutes)
            samples = sound.read(dtype="float32", always_2d=True)
            return Waveform(samples.mean(1, dtype=np.float32), int(sound.samplerate))
    except (RuntimeError, ValueError) as error:
        hint = "convert it to WAV, or give --at the address of a server that reads it"
        raise InputError(f"soundfile cannot read the recording ({kind}): {error}", where=where, hint=hint) from error


def _check(channels: int, rate: int, frames: int, where: str, minutes: float) -> None:
    if not (0 < channels <= MOST_CHANNELS and LOWEST_RATE <= rate <= HIGHEST_RATE):
        raise InputError(f"the recording has {channels} channels at {rate} Hz", where=where, hint="convert it to WAV at 16 kHz")
    if frames > minutes * 60 * rate:
        what = f"the recording lasts {frames / rate / 60:,.0f} minutes, more than {minutes:g}"
        raise InputError(what, where=where, hint="split it, or raise --minutes")
