"""`accord transcribe`: write what is said in recordings that have no transcript.

Needs prompts with recordings, and a speech recognition model in a folder or behind an address. Leaves the transcripts in the database,
under the model's name, for people to correct on the labeling site. A transcript that is there is never replaced.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from accord.commands.app import Compute, ComputeFlags, Flat, ProjectPath
from accord.engine.transcribers import LocalTranscriber, RemoteTranscriber, Transcriber
from accord.errors import InputError
from accord.feedback import transcripts
from accord.feedback.media import media_file
from accord.feedback.refusals import Refused
from accord.feedback.store import Store
from accord.runtime.device import choose_device
from accord.runtime.progress import say, track
from accord.runtime.project import Project
from accord.settings import TranscribeConfig

SHOWN = 3
"""Recordings that could not be transcribed of which the reason is told."""


def transcribe(
    project: ProjectPath,
    *,
    model: Annotated[str, Parameter(help="Folder of a speech recognition model, or with --at the model's name there.")],
    at: Annotated[str, Parameter(help="An OpenAI-compatible address, up to and with /v1; the key stands in ACCORD_TRANSCRIBE_KEY.")] = "",
    flags: ComputeFlags = Compute(),
    config: Annotated[TranscribeConfig, Flat] = TranscribeConfig(),
) -> dict[str, Any]:
    """Write what is said in recordings that have no transcript.

    A local model does it, or one behind an address.

    What is written stays written: a stopped command continues.

    Example: accord transcribe my-project --model whisper --at http://127.0.0.1:8001/v1 --language en

    Raises:
        ModelError: the folder holds no speech recognition model.
        InputError: no recording waits, or none could be transcribed.
        RunError: the server does not answer.
    """
    opened = Project.open(project)
    choose_device(flags.device)
    if at:
        return transcribe_by(opened, config, RemoteTranscriber(at, model, language=config.language))
    named = opened.path / "models" / model
    folder = named if named.is_dir() and not Path(model).is_dir() else Path(model)
    return transcribe_by(opened, config, LocalTranscriber(folder, language=config.language, minutes=config.minutes))


def transcribe_by(project: Project, config: TranscribeConfig, transcriber: Transcriber) -> dict[str, Any]:
    """The same by any transcriber."""
    written = silent = 0
    failed = list[InputError]()
    with Store.open(project.store_url) as store:
        waiting = transcripts.missing(store)[: config.recordings or None]
        if not waiting:
            hint = "`accord import` some; recordings that have a transcript are left as they are"
            raise InputError("no recording waits for a transcript", where=project.store_name, hint=hint)
        with track(len(waiting), "transcribe") as bar:
            for recording in waiting:
                try:
                    text = transcripts.cleaned(transcriber.transcribe(media_file(store, recording)))
                    written += _kept(store, recording, text, transcriber.name)
                except Refused as refused:
                    silent += refused.key == "transcript_missing"
                    if refused.key != "transcript_missing":
                        failed.append(InputError(str(refused), where=f"recording {recording[:12]}"))
                except InputError as error:
                    failed.append(error)
                bar.advance(1)
    if failed and not written and not silent:
        raise failed[0]
    for error in failed[:SHOWN]:
        say(f"transcribe: left out {error.where}: {error.what} ({error.hint})")
    return {"recordings": len(waiting), "transcribed": written, "nothing_said": silent, "left_out": len(failed), "model": transcriber.name}


def _kept(store: Store, recording: str, text: str, model: str) -> bool:
    with store.write() as connection:
        return transcripts.fill(connection, recording, text, kind="model", by=model[:120], at=datetime.now(UTC).isoformat())
