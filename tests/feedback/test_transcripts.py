"""Transcripts of recordings: what stands is in every record that holds the recording, and every version is kept."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier, Thread

import pytest

from accord.feedback import erasure, media, transcripts, withdrawals
from accord.feedback.audit import entries
from accord.feedback.export import values
from accord.feedback.refusals import Refused
from accord.feedback.store import Store
from accord.feedback.store_move import move
from accord.records import Labeler, Media, MediaFile, Prompt, composed

NOW = datetime(2026, 1, 2, tzinfo=UTC)
SOUND = MediaFile("audio", "audio/wav", b"RIFF a sound")
OTHER = MediaFile("audio", "audio/wav", b"RIFF another")
FIRST = "Turn of the lamp"


def spoken(id: str, *parts: str | Media) -> Prompt:
    return Prompt(id, (composed("user", parts),), user="ann")


@pytest.fixture
def voices(store: Store) -> Store:
    """Two prompts hold one recording; a third holds another, of which nobody has written what is said."""
    store.add(media=[SOUND, OTHER], labelers=[Labeler("ann", "person"), Labeler("bob", "person")])
    store.add_prompts([spoken("p1", SOUND.named(FIRST)), spoken("p2", "Do: ", SOUND.named(FIRST), "!"), spoken("p3", OTHER.named())])
    return store


def said(store: Store) -> dict[str, str]:
    return {prompt.id: prompt.messages[0].media[0].alt for prompt in store.prompts()}


def corrected(store: Store, text: str, *, seen: str = FIRST, by: str = "ann", after: int = 0) -> transcripts.Corrected:
    return transcripts.correct(store, SOUND.digest, text, seen=seen, by=by, now=NOW + timedelta(minutes=after))


def test_a_correction_stands_in_every_record_and_keeps_what_was_before(voices: Store) -> None:
    key = {prompt.id: prompt for prompt in voices.prompts()}["p2"].messages[0].content
    assert corrected(voices, " Turn off the <b>lamp</b>\r\nnow ") == transcripts.Corrected("Turn off the <b>lamp</b>\nnow", changed=True)
    assert said(voices) == {"p1": "Turn off the <b>lamp</b>\nnow", "p2": "Turn off the <b>lamp</b>\nnow", "p3": ""}
    assert {prompt.id: prompt for prompt in voices.prompts()}["p2"].messages[0].content == key, "the places stay"
    (kept,) = transcripts.versions(voices, SOUND.digest)
    assert (kept.before, kept.text, kept.by, kept.kind, kept.at) == (
        FIRST,
        "Turn off the <b>lamp</b>\nnow",
        "ann",
        "person",
        NOW.isoformat(),
    )
    assert [(entry.who, entry.what, entry.on) for entry in entries(voices)] == [("ann", "correct transcript", SOUND.digest)]
    assert not corrected(voices, "Turn off the <b>lamp</b>\nnow", seen=kept.text).changed
    assert len(transcripts.versions(voices)) == 1, "the same text is no new version"


def test_of_two_the_last_wins_both_are_kept_and_the_second_is_told(voices: Store) -> None:
    assert corrected(voices, "Turn off the lamp").meanwhile is None
    second = corrected(voices, "Turn off that lamp", by="bob", after=1)
    assert second == transcripts.Corrected("Turn off that lamp", changed=True, meanwhile="Turn off the lamp")
    assert said(voices)["p1"] == "Turn off that lamp"
    assert [(each.before, each.text, each.by) for each in transcripts.versions(voices)] == [
        (FIRST, "Turn off the lamp", "ann"),
        ("Turn off the lamp", "Turn off that lamp", "bob"),
    ]
    agreeing = corrected(voices, "Turn off that lamp", after=2)
    assert (agreeing.changed, agreeing.meanwhile) == (False, None), "who wrote the same words has nothing to be told"


def test_two_at_the_very_same_time_are_both_kept(voices: Store) -> None:
    begin, told = Barrier(2), list[transcripts.Corrected]()

    def one(text: str, by: str) -> None:
        begin.wait(timeout=20)
        told.append(corrected(voices, text, by=by))

    threads = [Thread(target=one, args=(f"Turn off lamp {by}", by)) for by in ("ann", "bob")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    first, second = transcripts.versions(voices)
    assert (first.before, second.before) == (FIRST, first.text)
    assert said(voices)["p1"] == said(voices)["p2"] == second.text
    assert sorted(each.meanwhile or "" for each in told) == ["", first.text]


def test_what_the_lead_takes_back_no_longer_stands(voices: Store) -> None:
    corrected(voices, "Turn off the lamp")
    corrected(voices, "Turn off the lump", by="bob", seen="Turn off the lamp", after=1)
    first, second = transcripts.versions(voices)
    assert transcripts.undo(voices, first.number, by="lea", now=NOW) == "Turn off the lump", "a later one stands"
    assert transcripts.undo(voices, second.number, by="lea", why="a typo", now=NOW) == FIRST
    assert said(voices)["p2"] == FIRST
    with pytest.raises(Refused, match="no such record"):
        transcripts.undo(voices, second.number, by="lea", now=NOW)
    assert [entry.what for entry in entries(voices)] == ["correct transcript"] * 2 + ["undo transcript"] * 2


@pytest.mark.parametrize(("text", "key"), [("", "transcript_missing"), (" \n\ufffc", "transcript_missing"), ("a" * 100_001, "too_long")])
def test_a_text_without_use_is_refused(voices: Store, text: str, key: str) -> None:
    with pytest.raises(Refused) as refused:
        corrected(voices, text)
    assert refused.value.key == key
    assert said(voices)["p1"] == FIRST


def test_a_recording_whose_prompts_were_withdrawn_is_not_corrected(voices: Store) -> None:
    with voices.write() as connection:
        withdrawals.withdraw(connection, "prompt", [("p1", "")], by="lea", now=NOW)
    corrected(voices, "Turn off the lamp")
    with voices.write() as connection:
        withdrawals.withdraw(connection, "prompt", [("p2", "")], by="lea", now=NOW)
    with pytest.raises(Refused) as refused:
        corrected(voices, "Turn on the lamp")
    assert refused.value.key == "retracted"
    assert list(transcripts.corrections(voices)) == []


def test_a_model_fills_what_is_missing_and_never_what_a_person_wrote(voices: Store) -> None:
    assert transcripts.missing(voices) == [OTHER.digest]
    with voices.write() as connection:
        assert transcripts.fill(connection, OTHER.digest, "Good morning", kind="model", by="whisper", at=NOW.isoformat())
        assert not transcripts.fill(connection, OTHER.digest, "Good evening", kind="model", by="whisper", at=NOW.isoformat())
        assert not transcripts.fill(connection, SOUND.digest, "Good evening", kind="model", by="whisper", at=NOW.isoformat())
    assert said(voices) == {"p1": FIRST, "p2": FIRST, "p3": "Good morning"}
    assert transcripts.missing(voices) == []
    assert list(transcripts.corrections(voices)) == [], "a model's words are no correction"


def test_an_import_does_not_bring_back_what_was_corrected(voices: Store) -> None:
    corrected(voices, "Turn off the lamp")
    with voices.write() as connection:
        transcripts.fill(connection, OTHER.digest, "Good morning", kind="model", by="whisper", at=NOW.isoformat())
    again = [spoken("p1", SOUND.named(FIRST)), spoken("p3", OTHER.named())]
    assert voices.add_prompts([*again, spoken("p4", SOUND.named("")), spoken("p5", OTHER.named("By hand"))]) == 2
    assert said(voices) == {
        "p1": "Turn off the lamp",
        "p2": "Turn off the lamp",
        "p3": "Good morning",
        "p4": "Turn off the lamp",
        "p5": "By hand",
    }, "what a row brings is kept over what a model wrote"


def test_corrections_leave_as_pairs_with_their_differences(voices: Store, tmp_path: Path) -> None:
    corrected(voices, "Turn off the lamp, please!")
    corrected(voices, "Turn off the lamp.", by="bob", seen="Turn off the lamp, please!", after=1)
    first, second = values(voices, "transcripts", folder=tmp_path / "media")
    assert (first["before"], first["after"], first["labeler"], first["stands"]) == (FIRST, "Turn off the lamp, please!", "ann", False)
    assert first["word_error_rate"] == pytest.approx(2 / 5)
    assert first["changes"] == [
        {"kind": "replace", "before": ("of",), "after": ("off",), "place": 1},
        {"kind": "insert", "before": (), "after": (",", "please", "!"), "place": 4},
    ]
    assert second["stands"]
    assert second["word_error_rate"] == pytest.approx(1 / 4)
    assert (tmp_path / first["media"][0]["file"]).read_bytes() == SOUND.content
    assert first["recording"] == SOUND.digest
    json.dumps(first)


def test_corrections_move_with_the_store_and_go_with_their_recording(voices: Store, tmp_path: Path) -> None:
    corrected(voices, "Turn off the lamp")
    before, texts = transcripts.versions(voices), said(voices)
    with Store.open(f"sqlite:///{tmp_path / 'moved.db'}") as moved:
        move(voices.database, moved.database, "moved.db", sessions=False)
        assert (transcripts.versions(moved), said(moved)) == (before, texts)
        erasure.rewrite(moved, lambda text: text.replace("lamp", "[thing]"), by="lea", why="", now=NOW)
        (kept,) = transcripts.versions(moved)
        assert (kept.before, kept.text, said(moved)["p1"]) == ("Turn of the [thing]", "Turn off the [thing]", "Turn off the [thing]")
        with moved.write() as connection:
            media.release(connection, "prompt", ["p1"])
        assert len(transcripts.versions(moved)) == 1, "another prompt holds the recording"
        with moved.write() as connection:
            media.release(connection, "prompt", ["p2"])
        assert transcripts.versions(moved) == []
