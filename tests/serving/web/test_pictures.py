"""Pictures in the chat: added to the next message, looked at by models that see, the user's alone, and gone with their conversation."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from data.test_pictures import drawn, saved
from serving.web.conftest import Come, Person, Scripted
from sqlalchemy import func, select

from accord.data import pictures
from accord.feedback import chat_pictures, review, schema
from accord.feedback.privacy import erase_conversations
from accord.feedback.store import Store
from accord.records import MEDIUM
from accord.runtime.media_files import data_url
from accord.serving.screens import EVERYTHING

PNG = saved(drawn(), "PNG")


@pytest.fixture
def models() -> Scripted:
    return Scripted(seeing=frozenset({"ppo"}))


def send(person: Person, *files: tuple[str, bytes], to: str = "", json: bool = False) -> Any:
    """Post the form as a browser does."""
    action = re.search(r'action="(/pictures\?[^"]+)"', person.get(to or "/chat").text)
    assert action, "there is no form for pictures"
    accept = {"Accept": "application/json" if json else "text/html"}
    return person.client.post(action[1].replace("&amp;", "&"), files=[("files", file) for file in files], headers=accept)


def waiting(page: str) -> list[str]:
    return re.findall(r'name="picture" value="(\w+)"', page)


def held(store: Store) -> tuple[int, int]:
    """Pictures in the database, and uses of them."""
    with store.read() as connection:
        return tuple(connection.scalar(select(func.count()).select_from(t)) or 0 for t in (schema.media, schema.media_uses))  # type: ignore


def test_a_picture_goes_to_the_model_with_the_next_message_and_stays_in_the_conversation(
    come: Come, models: Scripted, store: Store
) -> None:
    uma, mallory = come("uma"), come("mallory")
    page = send(uma, ("squares.gif", PNG))
    assert page.status_code == 200
    (digest,) = waiting(page.text)
    assert digest == pictures.read(PNG).digest
    assert [uma.get(f"/media/{digest}").status_code, mallory.get(f"/media/{digest}").status_code] == [200, 404]
    to = uma.say("Which colours?", picture=digest)
    assert models.shown == [(digest,)]
    (said, _) = uma.turns(to)
    assert (said.text, [each.digest for each in said.media]) == (f"{MEDIUM}Which colours?", [digest])
    page = uma.get(to).text
    assert f'<img src="/media/{digest}" alt="Picture">' in page
    assert "<title>Which colours?" in page
    assert waiting(page) == []
    uma.say("And how many?", to, parent=uma.turns(to)[-1].id)
    assert models.shown[1:] == [(digest,)], "it stays before the model"
    assert [uma.get(f"/media/{digest}").status_code, mallory.get(f"/media/{digest}").status_code] == [200, 404]
    exported = uma.get(f"{to}/export?form=json").json()
    assert exported["turns"][0]["media"][0]["data"] == data_url(pictures.read(PNG))
    assert uma.get("/mine/export").json()["conversations"][0]["turns"][0]["media"][0]["data"] == data_url(pictures.read(PNG))
    assert "🖼" in uma.get(f"{to}/export?form=markdown").text
    assert held(store) == (1, 1)
    uma.post(f"{to}/delete")
    assert held(store) == (0, 0)


def test_an_edited_message_keeps_its_pictures(come: Come, models: Scripted) -> None:
    uma = come()
    (digest,) = waiting(send(uma, ("a.png", PNG)).text)
    to = uma.say("Which colours?", picture=digest)
    first = uma.turns(to)[0]
    form = re.search(rf'name="edited" value="{first.id}".*?<textarea[^>]*>(.*?)</textarea>', uma.get(to).text, re.DOTALL)
    assert form
    assert form[1] == "Which colours?"
    uma.say("Which shapes?", to, parent="", edited=first.id)
    assert models.shown == [(digest,), (digest,)]
    assert [turn.text for turn in uma.turns(to) if turn.role == "user"] == [f"{MEDIUM}Which colours?", f"{MEDIUM}Which shapes?"]


def test_a_model_of_text_alone_is_never_asked_about_a_picture(come: Come, models: Scripted, store: Store) -> None:
    uma = come(model="sft")
    page = send(uma, ("a.png", PNG)).text
    (digest,) = waiting(page)
    assert "sft reads text alone and sees none of them" in page
    for fields in ({}, {"model": "sft"}, {"model": "ppo", "against": "sft"}):
        reply = uma.post("/say", json=True, text="Which colours?", key="k1", picture=digest, **fields)
        assert (reply.status_code, reply.json()["key"]) == (422, "text_alone"), fields
    assert models.asked == []
    to = uma.say("Which colours?", model="ppo", picture=digest)
    reply = uma.post(f"{to}/say", text="And now?", key="k2", model="sft", parent=uma.turns(to)[-1].id)
    assert reply.status_code == 422
    assert "Choose one that reads pictures: ppo" in reply.text
    asked = uma.turns(to)[0].id
    assert "Choose one that reads pictures: ppo" in uma.post(f"/t/{asked}/again", model="sft").text
    assert [model for model, *_ in models.asked] == ["ppo"]


def test_where_no_model_sees_there_is_no_form(come: Come, models: Scripted) -> None:
    del models.digests["ppo"]
    page = come().get("/chat").text
    assert "No model here reads pictures" in page
    assert 'action="/pictures' not in page


def test_what_is_no_picture_is_named_and_others_are_kept(come: Come, store: Store) -> None:
    uma = come(pictures=2)
    reply = send(uma, ("a.png", PNG), ("notes.png", b"not a picture"))
    assert (reply.status_code, waiting(reply.text)) == (422, [pictures.read(PNG).digest])
    assert "notes.png: It is no PNG, JPEG, WebP or GIF picture." in reply.text
    reply = send(uma, ("b.png", saved(drawn(30, 20), "PNG")), ("c.png", saved(drawn(40, 20), "PNG")), json=True)
    assert reply.status_code == 422
    assert "too many pictures" in reply.json()["error"]
    assert held(store) == (1, 1)
    uma.post(f"/pictures/{pictures.read(PNG).digest}/remove")
    assert held(store) == (0, 0)


def test_nobody_sends_anybody_elses_picture(come: Come, models: Scripted, store: Store) -> None:
    uma, mallory = come("uma"), come("mallory")
    (digest,) = waiting(send(uma, ("a.png", PNG)).text)
    assert mallory.post("/say", text="Show me", key="k", picture=digest).status_code == 404
    assert mallory.post(f"/pictures/{digest}/remove").status_code == 200
    assert chat_pictures.waiting(store, uma.id) != []
    assert mallory.get(f"/media/{digest}").status_code == 404
    token = re.search(r'action="(/pictures\?[^"]+)"', uma.get("/chat").text)
    assert token
    stolen = mallory.client.post(token[1].replace("&amp;", "&"), files=[("files", ("a.png", PNG))])
    assert stolen.status_code == 403
    assert models.asked == []


def test_a_message_that_arrives_twice_is_one_turn(come: Come, models: Scripted) -> None:
    uma = come()
    (digest,) = waiting(send(uma, ("a.png", PNG)).text)
    to = uma.say("Which colours?", key="same", picture=digest)
    assert uma.say("Which colours?", key="same", picture=digest) == to
    assert len(uma.turns(to)) == 2
    assert len(models.shown) == 1


def test_documents_and_pictures_do_not_go_together(come: Come) -> None:
    uma = come()
    action = re.search(r'action="(/documents\?[^"]+)"', uma.get("/chat").text)
    assert action
    to = uma.client.post(action[1].replace("&amp;", "&"), files=[("files", ("a.md", b"Rye costs three coins."))]).url.path
    assert 'action="/pictures' not in uma.get(to).text
    (digest,) = waiting(send(uma, ("a.png", PNG)).text)
    reply = uma.post(f"{to}/say", json=True, text="What is it?", key="k", picture=digest)
    assert (reply.status_code, reply.json()["key"]) == (422, "pictures_beside_documents")


def test_what_a_user_agreed_to_is_learned_from_with_its_picture_and_forgotten_with_it(come: Come, store: Store) -> None:
    uma, lead = come("uma"), come("lead", "lead")
    uma.agree()
    (digest,) = waiting(send(uma, ("a.png", PNG)).text)
    to = uma.say("Which colours?", picture=digest)
    uma.post(f"/t/{uma.turns(to)[-1].id}/correction", text="Red, green, blue and white.")
    page = lead.get("/review").text
    assert f'<img src="/media/{digest}"' in page
    assert lead.get(f"/media/{digest}").status_code == 200
    (item,) = review.waiting(store, EVERYTHING, limit=5)
    lead.post(f"/review/{item.reaction.id}", verdict="accept")
    (written,) = store.demonstrations()
    (message,) = written.prompt.messages
    assert (message.content, [each.digest for each in message.media]) == (f"{MEDIUM}Which colours?", [digest])
    send(uma, ("b.png", saved(drawn(30, 20), "PNG")))
    assert held(store) == (2, 3)
    erase_conversations(store, uma.id, by="lead", why="asked", now=datetime.now(UTC))
    assert held(store) == (0, 0)
