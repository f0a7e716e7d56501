"""`accord transcribe`: by an address and by a local folder, what is left out, and that no word of a person's is replaced."""

from __future__ import annotations

import io
import math
import struct
import wave
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving.test_transcriptions import transcribing

from accord.commands.app import main
from accord.commands.train.transcribe import transcribe, transcribe_by
from accord.engine.transcribers import KEY, LocalTranscriber, RemoteTranscriber
from accord.engine.waveform import Waveform, decoded, resampled
from accord.errors import InputError, ModelError, RunError, UsageError
from accord.feedback import transcripts
from accord.feedback.store import Store
from accord.records import MediaFile, Prompt, composed
from accord.runtime.project import Project
from accord.settings import TranscribeConfig

RATE = 8_000


def tone(seconds: float = 0.5, pitch: int = 440, *, width: int = 2, channels: int = 1, rate: int = RATE) -> MediaFile:
    """A recording of a tone."""
    full = {1: 127, 2: 32_767, 3: 8_388_607, 4: 2_147_483_647}[width]
    written = io.BytesIO()
    with wave.open(written, "wb") as sound:
        sound.setnchannels(channels)
        sound.setsampwidth(width)
        sound.setframerate(rate)
        values = [round(full / 2 * math.sin(2 * math.pi * pitch * place / rate)) for place in range(int(seconds * rate))]
        coded = [struct.pack("B", value + 128) if width == 1 else value.to_bytes(width, "little", signed=True) for value in values]
        sound.writeframes(b"".join(each * channels for each in coded))
    return MediaFile("audio", "audio/wav", written.getvalue())


FILES = [tone(pitch=pitch) for pitch in (300, 400, 500)]
MP3 = MediaFile("audio", "audio/mpeg", b"ID3\x04 not decoded")


@pytest.fixture
def voices(tmp_path: Path) -> Project:
    """Three recordings without a transcript, and one with."""
    return told(tmp_path / "voices", *(file.named() for file in FILES), MP3.named("By hand"))


def told(folder: Path, *recordings: Any) -> Project:
    project = Project.create(folder)
    with Store.open(project.store_url) as store:
        store.add(media=[*FILES, MP3], prompts=[Prompt(f"p{n}", (composed("user", [each]),)) for n, each in enumerate(recordings)])
    return project


def said(project: Project) -> list[str]:
    with Store.open(project.store_url) as store:
        return [prompt.messages[0].media[0].alt for prompt in store.prompts()]


class Scripted:
    """A transcriber that says what it is told to say, and fails where it is told an error."""

    name = "scripted"

    def __init__(self, answer: Callable[[MediaFile], str]) -> None:
        self.answer = answer

    def transcribe(self, file: MediaFile) -> str:
        return self.answer(file)


def by(project: Project, answer: Callable[[MediaFile], str], **settings: Any) -> dict[str, Any]:
    return transcribe_by(project, TranscribeConfig(**settings), Scripted(answer))


def test_what_is_missing_is_written_under_the_models_name(voices: Project) -> None:
    figures = by(voices, lambda file: f" tone {FILES.index(file)}\r\n")
    assert figures == {"recordings": 3, "transcribed": 3, "nothing_said": 0, "left_out": 0, "model": "scripted"}
    assert said(voices) == ["tone 0", "tone 1", "tone 2", "By hand"]
    with Store.open(voices.store_url) as store:
        assert {(version.kind, version.by, version.before) for version in transcripts.versions(store)} == {("model", "scripted", "")}
    with pytest.raises(InputError, match="no recording waits for a transcript"):
        by(voices, lambda _: "again")


def test_silence_and_what_cannot_be_read_are_counted_and_tried_again(voices: Project, capsys: pytest.CaptureFixture[str]) -> None:
    def odd(file: MediaFile) -> str:
        if file == FILES[1]:
            raise InputError("is broken", where="recording x", hint="convert it")
        return "  \n" if file == FILES[0] else "heard"

    figures = by(voices, odd)
    assert (figures["transcribed"], figures["nothing_said"], figures["left_out"]) == (1, 1, 1)
    assert "left out recording x: is broken (convert it)" in capsys.readouterr().err
    assert said(voices) == ["", "", "heard", "By hand"]
    assert by(voices, lambda _: "later", recordings=1)["transcribed"] == 1
    with pytest.raises(InputError, match="broken"):
        by(voices, lambda _: odd(FILES[1]))


def test_what_a_person_writes_meanwhile_stays(voices: Project) -> None:
    def slow(file: MediaFile) -> str:
        with Store.open(voices.store_url) as store, store.write() as connection:
            transcripts.fill(connection, file.digest, "by ann", kind="person", by="ann", at="")
        return "by the model"

    assert by(voices, slow)["transcribed"] == 0
    assert said(voices)[:3] == ["by ann"] * 3


def test_an_address_is_asked_with_its_key_and_language(voices: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, "a-secret")
    with transcribing(body='{"text": "早上好"}'.encode()) as (address, came):
        figures = transcribe(voices, model="whisper", at=address, config=TranscribeConfig(language="zh"))
    assert (figures["transcribed"], figures["model"]) == (3, "whisper")
    assert said(voices)[0] == "早上好"
    assert len(came) == 3
    head, body = came[0]
    assert head["Authorization"] == "Bearer a-secret"
    assert b'name="model"\r\n\r\nwhisper' in body
    assert b'name="language"\r\n\r\nzh' in body
    assert any(file.content in body for file in FILES)


@pytest.mark.parametrize(
    ("status", "body", "kind", "told"),
    [
        (401, b"who is a-secret?", RunError, "401 who is ..."),
        (413, b"too long", InputError, "refuses the recording: 413 too long"),
        (200, b"<html>", RunError, "no transcript"),
        (200, b'{"text": 7}', RunError, "no transcript"),
        (503, b"busy", RunError, "503 busy"),
    ],
)
def test_what_a_server_refuses_is_told(status: int, body: bytes, kind: type[Exception], told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, "a-secret")
    with transcribing(status, body) as (address, came):
        with pytest.raises(kind, match=told) as refused:
            RemoteTranscriber(address, "whisper", pause=0.01).transcribe(FILES[0])
        assert len(came) == (4 if status == 503 else 1)
    assert "a-secret" not in str(refused.value)


def test_addresses_and_folders_without_a_model_are_refused(voices: Project, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not an address"):
        transcribe(voices, model="whisper", at="127.0.0.1:1")
    with pytest.raises(RunError, match="gave no transcript"):
        RemoteTranscriber("http://127.0.0.1:1/v1", "whisper", pause=0.01).transcribe(FILES[0])
    with pytest.raises(ModelError, match="holds no model"):
        transcribe(voices, model=str(tmp_path))
    assert said(voices)[:3] == [""] * 3


@pytest.mark.parametrize(("width", "channels"), [(1, 1), (2, 1), (2, 2), (3, 1), (4, 2)])
def test_wav_of_any_width_is_the_same_sound(width: int, channels: int) -> None:
    found = decoded(tone(width=width, channels=channels), minutes=1)
    right = 0.5 * np.sin(2 * np.pi * 440 * np.arange(found.samples.size) / RATE)
    assert found.rate == RATE
    assert found.samples.size == RATE // 2
    assert np.abs(found.samples - right).max() < (0.02 if width == 1 else 1e-4)


def test_another_rate_keeps_the_pitch() -> None:
    found = resampled(decoded(tone(seconds=1.0), minutes=1), 16_000)
    assert (found.rate, found.samples.size, found.samples.dtype) == (16_000, 16_000, np.float32)
    assert int(np.abs(np.fft.rfft(found.samples)).argmax()) == 440
    assert resampled(Waveform(found.samples, 16_000), 16_000).samples is found.samples


@pytest.mark.parametrize(
    ("file", "told"),
    [
        (tone(seconds=61), "lasts 1 minutes, more than 1"),
        (tone(seconds=0), "is empty"),
        (MediaFile("audio", "audio/wav", b"RIFF\x10\0\0\0WAVEfmt "), "cannot be read"),
        (MediaFile("audio", "audio/wav", tone().content[:20] + b"\x03\0" + tone().content[22:]), "cannot be read"),
        (MediaFile("audio", "audio/wav", tone().content[:24] + b"\0\0\0\0" + tone().content[28:]), "at 0 Hz"),
    ],
)
def test_a_recording_that_cannot_be_used_is_refused(file: MediaFile, told: str) -> None:
    with pytest.raises(InputError, match=told):
        decoded(file, minutes=1)


def test_another_kind_that_nothing_here_reads_is_refused_with_the_way_out() -> None:
    with pytest.raises(InputError, match=r"is mpeg, and only WAV is read|soundfile cannot read the recording") as refused:
        decoded(MP3, minutes=1)
    assert "--at" in str(refused.value.hint)


def whisper(folder: Path) -> Path:
    """A Whisper with random weights: one layer, a vocabulary of letters."""
    import torch
    from transformers import GenerationConfig, WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration, WhisperTokenizer

    marks = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|transcribe|>", "<|notimestamps|>"]
    letters: Sequence[str] = [*"abcdefghijklmnopqrstuvwxyz", *marks]
    end, start = letters.index(marks[0]), letters.index(marks[1])
    open_tokenizer: Any = WhisperTokenizer
    tokenizer = open_tokenizer(vocab={letter: place for place, letter in enumerate(letters)}, merges=[], unk_token=marks[0])
    tokenizer.add_special_tokens({"additional_special_tokens": marks[1:]})
    size: dict[str, Any] = {
        "d_model": 16,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
    }
    size |= {
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "num_mel_bins": 80,
        "vocab_size": len(letters),
        "max_target_positions": 16,
    }
    ends: dict[str, Any] = {"bos_token_id": end, "eos_token_id": end, "pad_token_id": end, "decoder_start_token_id": start}
    torch.manual_seed(0)
    model = WhisperForConditionalGeneration(WhisperConfig(**size, **ends, suppress_tokens=[], begin_suppress_tokens=[]))
    model.generation_config = GenerationConfig(**ends, max_new_tokens=6)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    WhisperFeatureExtractor().save_pretrained(folder)
    return folder


def test_a_local_folder_transcribes(voices: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = whisper(tmp_path / "whisper")
    main(["transcribe", str(voices.path), "--model", str(folder), "--device", "cpu", "--json"])
    assert '"transcribed": 3' in capsys.readouterr().out
    texts = said(voices)[:3]
    assert all(text and set(text) <= set("abcdefghijklmnopqrstuvwxyz ") for text in texts)
    again = LocalTranscriber(folder, minutes=1)
    assert again.transcribe(FILES[0]).strip() == texts[0]
    with pytest.raises(InputError, match="more than"):
        LocalTranscriber(folder, minutes=0.001).transcribe(FILES[0])
