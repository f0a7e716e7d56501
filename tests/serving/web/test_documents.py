"""Documents in the chat: added by a form, quoted in answers, seen by their user alone, and gone with their conversation."""

from __future__ import annotations

import json
import re
import threading
from dataclasses import replace
from typing import Any

import pytest
from data.pdfs import MILL, drawn, printed, slow
from serving.web.conftest import HOME, Come, Person, Scripted
from sqlalchemy import func, select

from accord.data import attached
from accord.feedback import chats, documents, reactions, review, schema
from accord.feedback.audit import entries
from accord.feedback.store import Store
from accord.runtime import sandbox
from accord.serving.guards import Rules
from accord.serving.screens import EVERYTHING

BREAD = ("bread.md", b"# Bread\n\nThe mill sells rye bread. Oats cost three coins.\n")


def send(person: Person, *files: tuple[str, bytes], to: str = "", json: bool = False, **how: Any) -> Any:
    """Posts the form as a browser does."""
    action = re.search(r'action="(/documents\?[^"]+)"', person.get(to or "/chat").text)
    assert action
    address = how.pop("address", action[1].replace("&amp;", "&"))
    headers = {"Accept": "application/json" if json else "text/html"} | how.pop("headers", {})
    return person.client.post(address, files=[("files", file) for file in files], headers=headers, **how)


def chips(page: str) -> list[str]:
    found = re.findall(r'<li class="chip">(.*?)</li>', page, re.DOTALL)
    return [" ".join(re.sub("<[^>]+>", " ", chip).split()) for chip in found]


def rows(store: Store) -> int:
    with store.read() as connection:
        return connection.scalar(select(func.count()).select_from(schema.documents)) or 0


def test_answers_quote_the_documents_of_their_conversation_alone(come: Come, models: Scripted) -> None:
    models.says = lambda model, said: "It was built in 1782 by Ada Baker, who had come from the north with her brothers. Or so I think."
    uma = come(rules=Rules(), two=1.0)
    page = send(uma, ("mill.pdf", printed([*MILL, ""])), BREAD)
    assert page.status_code == 200
    to = page.url.path
    assert chips(page.text) == ["mill.pdf pages: 3 · characters: 220 · pages without text: 1 ×", "bread.md characters: 57 ×"]
    assert "<title>mill.pdf" in page.text
    uma.say("Who built the mill, and when?", to)
    models.says = lambda model, said: "I would guess seven coins."
    uma.say("What do oats cost?", to)
    uma.say("Is the moon made of cheese?", to)
    said = [turn for turn in uma.turns(to) if turn.role == "assistant"]
    assert [turn.text for turn in said] == [
        "“It was built in 1782 by Ada Baker, who had come from the north with her brothers.” (mill.pdf, p. 1)",
        "“Oats cost three coins.” (bread.md)",
        "The documents do not say.",
    ]
    assert {turn.finish for turn in said} == {"quoted"}
    assert "out of your documents alone" in uma.get(to).text
    elsewhere = uma.say("What do oats cost?", against="ppo", model="sft")
    assert {turn.finish for turn in uma.turns(elsewhere) if turn.role == "assistant"} == {"stop"}


def test_models_learn_nothing_from_what_documents_said(come: Come, store: Store) -> None:
    uma = come(rules=Rules())
    uma.agree()
    to = send(uma, BREAD).url.path
    uma.say("What do oats cost?", to)
    quoted = uma.turns(to)[-1].id
    uma.post(f"/t/{quoted}/thumb", up="yes")
    uma.post(f"/t/{quoted}/correction", text="Four coins.")
    assert "kept for you alone" in uma.get(to).text
    document = documents.listed(store, uma.id)[0].id
    uma.post(f"{to}/documents/{document}/remove")
    last = [*entries(store)][-1]
    assert (last.who, last.what) == (uma.id, "erase")
    uma.say("And rye?", to, parent=quoted)
    after = uma.turns(to)[-1].id
    uma.post(f"/t/{after}/thumb", up="yes")
    assert uma.get(to).text.count("kept for you alone") == 2, "its prompt would have the quotation in it"
    assert uma.get("/mine").text.count("kept for you alone") == 3
    elsewhere = uma.say("And in another conversation?")
    free = uma.turns(elsewhere)[-1].id
    uma.post(f"/t/{free}/thumb", up="yes")
    waiting = review.waiting(store, EVERYTHING)
    assert [item.reaction.turn for item in waiting] == [free]
    lead = come("lea", "lead", rules=Rules())
    for reaction in reactions.own(store, uma.id):
        kept = lead.post(f"/review/{reaction.id}", verdict="accept").status_code
        assert kept == (200 if reaction.turn == free else 409)
    assert "Oats cost" not in "".join(message.content for one in store.prompts() for message in one.messages)


def test_bad_files_are_named_and_good_ones_kept(come: Come, store: Store) -> None:
    uma = come(rules=Rules())
    page = send(uma, ("scan.pdf", printed([""])), BREAD, ("../run\x1b.exe", b"MZ"), ("large.txt", b"x" * (attached.MOST_BYTES + 1)))
    assert page.status_code == 422
    assert len(chips(page.text)) == 1
    problems = re.search(r'id="problems" role="alert">(.*?)</p>', page.text, re.DOTALL)
    assert problems
    assert problems[1].split("\n") == [
        "scan.pdf: It has no text: its pages are pictures. Recognise its text (OCR) first.",
        "run_.exe: It is not plain text, Markdown or PDF.",
        "large.txt: It is larger than 10 MB.",
    ]
    before = rows(store)
    alone = send(uma, ("bomb.pdf", drawn(b"\0" * 100_000_000)), json=True)
    assert (alone.status_code, alone.json()) == (422, {"error": "bomb.pdf: It is damaged, or no PDF that can be read here."})
    assert rows(store) == before
    assert "没有文字" in send(uma, ("scan.pdf", printed([""])), headers={"Accept-Language": "zh"}).text


def test_the_same_file_again_is_one_document_and_their_number_is_bounded(come: Come, store: Store) -> None:
    uma = come(documents=2)
    to = send(uma, BREAD).url.path
    assert chips(send(uma, BREAD, to=to).text) == ["bread.md characters: 57 ×"]
    many = [(f"{n}.txt", b"Rye.") for n in range(2)]
    assert "too many documents" in send(uma, *many, to=to).text
    assert "too many documents" in send(uma, *many, BREAD, to=to).text
    assert rows(store) == 1
    full = send(uma, many[0], to=to).text
    assert len(chips(full)) == 2
    assert 'action="/documents' not in full, "no form for what would be refused"
    assert not chats.listed(store, uma.id)[1:], "what is refused begins no conversation"


def test_their_text_is_bounded(come: Come, store: Store) -> None:
    uma = come()
    to = send(uma, ("a.txt", b"bread " * 50_000)).url.path
    assert "400,000 characters together" in send(uma, ("b.txt", b"rye " * 50_000), to=to).text
    assert rows(store) == 1


def test_nobody_else_reads_adds_or_removes(come: Come, store: Store) -> None:
    uma, eve = come(), come("eve", "lead")
    to = send(uma, BREAD).url.path
    document = documents.listed(store, uma.id)[0].id
    text = uma.get(f"{to}/documents/{document}/export")
    assert (text.text, text.headers["content-type"]) == (BREAD[1].decode().strip(), "text/plain; charset=utf-8")
    assert "attachment" in text.headers["content-disposition"]
    assert eve.get(f"{to}/documents/{document}/export").status_code == 404
    assert eve.post(f"{to}/documents/{document}/remove").status_code == 404
    form = re.search(r'action="(/documents\?[^"]+)"', eve.get("/chat").text)
    assert form
    address = form[1].replace("&amp;", "&")
    assert send(eve, BREAD, address=address.replace("to=", f"to={to.removeprefix('/c/')}")).status_code == 404
    assert send(eve, BREAD, address="/documents?token=" + "0" * 64).status_code == 403
    assert send(eve, BREAD, address=address, headers={"Origin": "https://elsewhere.example"}).status_code == 403
    assert rows(store) == 1
    assert uma.post(f"{to}/documents/%00/remove").status_code == 404
    other = uma.say("Another conversation")
    assert uma.post(f"{other}/documents/{document}/remove").status_code == 404


def test_who_may_not_send_is_refused_before_the_file_is_read(come: Come) -> None:
    class Unread:
        def __iter__(self) -> Any:
            raise AssertionError("the body was read")

    uma = come()
    uma.site.sending.add(uma.id)
    assert send(uma, BREAD).status_code == 429
    uma.site.sending.clear()
    uma.site.sending.update("abcd")
    assert send(uma, BREAD).status_code == 429
    uma.site.sending.clear()
    assert send(uma, BREAD, headers={"Content-Length": "30000000"}).status_code == 413
    nobody = come("eve", documents=0)
    assert 'class="documents"' not in nobody.get("/chat").text
    form = re.search(r'action="(/documents\?[^"]+)"', uma.get("/chat").text)
    assert form
    assert nobody.client.post(form[1].replace("&amp;", "&"), files=[("files", BREAD)]).status_code == 403
    assert not uma.site.sending


def test_forms_that_are_none_are_refused(come: Come, store: Store) -> None:
    uma = come()
    form = re.search(r'action="(/documents\?[^"]+)"', uma.get("/chat").text)
    assert form
    address = form[1].replace("&amp;", "&")
    kind = {"Content-Type": "multipart/form-data; boundary=xx"}
    part = b'--xx\r\nContent-Disposition: form-data; name="files"; filename="a.txt"\r\n\r\nRye'
    for body, status in ((part, 400), (b"", 400), (b"--xx--", 422), (part + b"\r\n--xx" * 200 + b"--", 400), (b"\0" * 99, 400)):
        assert uma.client.post(address, content=body, headers=kind).status_code == status, body[:40]
    assert uma.client.post(address, content=b"files=1", headers={"Content-Type": "text/plain"}).status_code == 400
    assert uma.client.post(address, content=part + b"\r\n--xx--", headers=kind).status_code == 200
    assert rows(store) == 1


def test_documents_are_taken_along_and_go_with_their_conversation(come: Come, store: Store) -> None:
    uma = come(rules=Rules())
    first, second = send(uma, BREAD).url.path, send(uma, ("oats.txt", b"Oats.")).url.path
    mine = uma.get("/mine").text
    assert "bread.md" in mine
    assert "oats.txt" in mine
    for exported in (uma.get("/mine/export").json()["conversations"][1], uma.get(f"{first}/export?form=json").json()):
        assert [(one["name"], one["text"]) for one in exported["documents"]] == [("bread.md", BREAD[1].decode().strip())]
    uma.post(f"{first}/delete")
    assert rows(store) == 1
    assert "bread.md" not in json.dumps(uma.get("/mine/export").json())
    uma.post("/mine/delete", sure="yes")
    assert rows(store) == 0
    assert uma.get(second).status_code == 404


@pytest.mark.slow
def test_a_pdf_that_takes_for_ever_holds_nobody_up(come: Come, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attached, "LIMITS", replace(sandbox.Limits(), seconds=15.0))
    uma, eve = come(), come("eve")
    answers = list[Any]()
    sending = threading.Thread(target=lambda: answers.append(send(uma, ("slow.pdf", slow()))))
    sending.start()
    pages = 0
    while sending.is_alive() and pages < 20:
        assert eve.get("/chat").status_code == 200
        pages += 1
    assert pages == 20, "others are answered meanwhile"
    sending.join(60)
    assert "Reading it takes too long" in answers[0].text
    assert HOME in str(answers[0].url)
