"""Speech as text: by an OpenAI-compatible address, or by a model folder through transformers' own pipeline."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, Protocol, cast

import httpx

from accord.engine.waveform import decoded, resampled
from accord.errors import InputError, ModelError, RunError, UsageError
from accord.records import MediaFile
from accord.runtime.bounded import Bounded, TooLarge
from accord.runtime.device import pick_device
from accord.runtime.media_files import file_name

KEY = "ACCORD_TRANSCRIBE_KEY"
"""Environment variable with the key of the server that transcribes; it is only ever sent in the request's header."""
LONGEST_ANSWER = 4_000_000
"""Most bytes of a server's answer."""
SECONDS = 600.0
TRIES = 4
TRY_AGAIN = {408, 409, 425, 429, 500, 502, 503, 504}
REFUSED = {400, 413, 415, 422}
"""Statuses by which a server says that it cannot use this recording; others may still do."""
CHUNK = 30.0
"""Seconds of sound that a model reads at once: Whisper's window."""


class Transcriber(Protocol):
    """Turns recordings into text."""

    name: str

    def transcribe(self, file: MediaFile) -> str:
        """Return what is said in a recording; empty where nothing is. Raises InputError for a recording that it cannot read."""
        ...


class RemoteTranscriber:
    """A model behind ``{address}/audio/transcriptions``.

    Args:
        address: up to and including ``/v1``.
        model: the model's name there.
        language: of the recordings, as two letters; empty leaves it to the model.
        pause: seconds before the second try; doubled with every further one.
    """

    def __init__(self, address: str, model: str, *, language: str = "", pause: float = 1.0) -> None:
        if not address.startswith(("http://", "https://")):
            raise UsageError("is not an address", where=f"--at {address}", hint="give one like http://127.0.0.1:8001/v1")
        self.address, self.name, self.language, self.pause = address.rstrip("/"), model, language, pause

    def transcribe(self, file: MediaFile) -> str:
        """Return what is said in a recording.

        Raises:
            InputError: the server cannot use this recording.
            RunError: it does not answer after every try, refuses the key or the model, or sends what is no transcript.
        """
        fields = {"model": self.name, "response_format": "json"} | ({"language": self.language} if self.language else {})
        sent = {"file": (file_name(file.digest[:12], file.mime), file.content, file.mime)}
        said = self._sent(fields, sent, f"recording {file.digest[:12]}")
        try:
            text: object = said.json()["text"]
        except (ValueError, KeyError, TypeError):
            text = None
        if not isinstance(text, str):
            raise RunError("the server sent what is no transcript", where=self.address, hint="does the address end in /v1?")
        return text

    def _sent(self, fields: dict[str, str], files: dict[str, Any], where: str) -> httpx.Response:
        key = os.environ.get(KEY, "")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        problem = ""
        with httpx.Client(headers=headers, transport=Bounded(SECONDS, LONGEST_ANSWER)) as client:
            for attempt in range(TRIES):
                if attempt:
                    time.sleep(self.pause * 2 ** (attempt - 1))
                try:
                    response = client.post(f"{self.address}/audio/transcriptions", data=fields, files=files)
                except TooLarge as error:
                    raise RunError("the server sent an answer without end", where=self.address) from error
                except httpx.HTTPError as error:
                    problem = str(error) or type(error).__name__
                    continue
                if response.is_success:
                    return response
                problem = f"{response.status_code} {response.text[:200].replace(key, '***') if key else response.text[:200]}"
                if response.status_code in REFUSED:
                    raise InputError(f"the server refuses the recording: {problem}", where=where, hint="convert or split it")
                if response.status_code not in TRY_AGAIN:
                    break
        hint = f"is the server there, does it have the model, and is its key in {KEY}?"
        raise RunError(f"the server that transcribes gave no transcript: {problem}", where=self.address, hint=hint)


class LocalTranscriber:
    """A speech recognition model in a folder, by transformers' pipeline.

    Args:
        language: as of ``RemoteTranscriber``.
        minutes: the longest recording that is read.

    Raises:
        ModelError: the folder holds no such model.
    """

    def __init__(self, folder: Path, *, language: str = "", minutes: float = 60.0) -> None:
        self.name, self.language, self.minutes = folder.resolve().name, language, minutes
        if not (folder / "config.json").is_file():
            hint = "give a folder with a speech recognition model, such as Whisper, or --at with an address"
            raise ModelError("holds no model", where=str(folder), hint=hint)
        import transformers

        library: Any = transformers
        try:
            options = {"use_safetensors": True}
            self._pipe: Any = library.pipeline(
                "automatic-speech-recognition", model=str(folder), device=pick_device(), model_kwargs=options, trust_remote_code=False
            )
        except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ModelError(f"cannot be opened for speech recognition: {reason}", where=str(folder)) from error

    def transcribe(self, file: MediaFile) -> str:
        """Return what is said in a recording. Raises InputError for one that cannot be read, or is too long."""
        rate = int(self._pipe.feature_extractor.sampling_rate)
        sound = resampled(decoded(file, minutes=self.minutes), rate)
        options: dict[str, Any] = {"chunk_length_s": CHUNK} if sound.samples.size > CHUNK * rate else {}
        if self.language:
            options["generate_kwargs"] = {"language": self.language}
        try:
            said = cast("dict[str, Any]", self._pipe({"raw": sound.samples, "sampling_rate": rate}, **options))
        except ValueError as error:
            where = f"recording {file.digest[:12]}"
            raise InputError(f"the model cannot transcribe it: {str(error).splitlines()[0]}", where=where) from error
        return str(said["text"])
