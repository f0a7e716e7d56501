"""Pictures in messages: counted, compared and stored by their digests, once, and gone with the last record that holds them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import func, select

from accord.errors import InputError, StoreError
from accord.feedback import schema, store_copy
from accord.feedback.codec import decode, encode
from accord.feedback.media import keep_beside, media_file, read_media, release
from accord.feedback.snapshot import snapshot_line, write_snapshot
from accord.feedback.store import Store
from accord.records import MEDIUM, Demonstration, Labeler, MediaFile, Message, Prompt, composed, conversation_key, pieces
from accord.runtime.media_files import FOLDER, read_kept

RED, BLUE = MediaFile("image", "image/png", b"\x00red\xff", 3, 2), MediaFile("image", "image/jpeg", b"blue", 1, 1)
ASKED = composed("user", ["What is ", RED.named("a red field"), "?"])
PROMPT = Prompt("p0", (ASKED,))


def held(store: Store) -> int:
    with store.read() as connection:
        return connection.scalar(select(func.count()).select_from(schema.media)) or 0


def test_places_and_media_are_equally_many_and_texts_bring_no_places() -> None:
    assert ASKED.content == f"What is {MEDIUM}?"
    assert pieces(ASKED) == ["What is ", RED.named("a red field"), "?"]
    with pytest.raises(ValueError, match="1 pictures or recordings, but 0 places"):
        replace(ASKED, content="What is it?")
    assert composed("user", [f"a{MEDIUM}b", BLUE.named()]).content == f"ab{MEDIUM}"
    assert composed("user", [f"a{MEDIUM}b"]).content == f"a{MEDIUM}b"  # in a text alone it is a character like others


def test_two_questions_about_two_pictures_are_two_and_a_text_keeps_its_key() -> None:
    keys = {conversation_key([composed("user", [each.named(), "?"])]) for each in (RED, BLUE)}
    assert len(keys) == 2
    assert conversation_key([composed("user", [RED.named("seen"), "?"])]) == conversation_key([composed("user", [RED.named(), "?"])])
    assert conversation_key([Message("user", "Hi?")]) == "b994b431dbf24418964e78efcdb56b9e"


def test_json_names_media_only_where_there_are_some() -> None:
    plain = Demonstration("d", Prompt("p", (Message("user", "Hi?"),)), "Ho.", "ann")
    assert '"media"' not in snapshot_line(plain)
    assert '"alt"' not in snapshot_line(replace(PROMPT, messages=(composed("user", [RED.named()]),)))
    for record in (PROMPT, replace(plain, prompt=PROMPT)):
        assert decode(type(record), encode(record)) == record


def test_the_store_keeps_a_picture_once_and_refuses_a_prompt_without_its_picture(store: Store) -> None:
    with pytest.raises(StoreError, match=f"p0: the store has no picture or recording {RED.digest[:12]}"):
        store.add(prompts=[PROMPT])
    store.add(prompts=[PROMPT], media=[RED, RED])
    store.add(prompts=[replace(PROMPT, id="p1")], media=[RED, BLUE])
    assert list(store.prompts()) == [PROMPT, replace(PROMPT, id="p1")]
    assert media_file(store, RED.digest) == RED
    assert held(store) == 2
    with store.write() as connection:
        assert release(connection, "prompt", ["p0"]) == 0, "p1 holds it still"
        assert release(connection, "prompt", ["p1"]) == 1
    with pytest.raises(StoreError, match="no picture or recording"):
        read_media(store, RED.digest)


def test_a_copy_of_a_store_has_the_same_bytes(store: Store, tmp_path: Path) -> None:
    store.add(prompts=[PROMPT], media=[RED])
    with Store.open(f"sqlite:///{tmp_path / 'copy.db'}") as other:
        with store_copy.one_moment(store.database) as here, other.write() as there:
            for name in store_copy.names(sessions=False):
                store_copy.fill(there, name, list(store_copy.lines(here, schema.metadata.tables[name])))
        assert media_file(other, RED.digest) == RED
        assert list(other.prompts()) == [PROMPT]


def test_a_snapshot_has_its_pictures_beside_it(store: Store, tmp_path: Path) -> None:
    store.add(labelers=[Labeler("ann", "person")], demonstrations=[Demonstration("d", PROMPT, "Red.", "ann")], media=[RED, BLUE])
    path = tmp_path / "demonstrations.jsonl"
    write_snapshot(store.demonstrations(), path)
    assert [file.name for file in keep_beside(store, path)] == [f"{RED.digest}.png"]
    assert read_kept(tmp_path / FOLDER, RED.digest) == RED.content
    (tmp_path / FOLDER / f"{RED.digest}.png").write_bytes(b"other")
    with pytest.raises(InputError, match="has changed"):
        read_kept(tmp_path / FOLDER, RED.digest)
    with pytest.raises(InputError, match="missing"):
        read_kept(tmp_path / FOLDER, BLUE.digest)
