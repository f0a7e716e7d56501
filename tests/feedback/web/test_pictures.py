"""Pictures on the pages: where the text has them, from the site's own address, and to those alone who may see the record."""

from __future__ import annotations

import re
from dataclasses import replace

from feedback.web.conftest import Come, task
from starlette.testclient import TestClient

from accord.feedback import tasks
from accord.feedback.store import Store
from accord.records import Media, MediaFile, Message, composed

PNG = MediaFile("image", "image/png", b"\x89PNG\r\n\x1a\n and pixels", 2, 1)
SOUND = MediaFile("audio", "audio/wav", b"RIFF a sound")


def queued(store: Store, message: Message) -> None:
    store.add(media=[PNG, SOUND])
    given = task(1)
    tasks.add(store, [replace(given, prompt=replace(given.prompt, messages=(message,)))])


def of(page: str) -> list[str]:
    return re.findall(r'<img src="(/media/\w+)" alt="([^"]*)"', page)


def test_a_labeler_sees_and_hears_what_is_asked_about(store: Store, come: Come) -> None:
    queued(store, composed("user", ["**Is** ", PNG.named('a "cat"'), " like ", Media("image", PNG.digest), SOUND.named("a song"), "?"]))
    ann = come(json=False)
    page = ann.client.get("/next").text
    address = f"/media/{PNG.digest}"
    assert of(page) == [(address, "a &#34;cat&#34;"), (address, "Picture")]
    assert f'<a href="{address}" target="_blank" rel="noopener"' in page
    assert f'<audio controls preload="metadata" src="/media/{SOUND.digest}" aria-label="Recording">' in page
    assert '<q class="transcript">a song</q>' in page, "what was said is read beside the recording"
    assert page.index("<strong>Is</strong>") < page.index("<img") < page.index("like")
    told = ann.client.get("/next", headers={"Accept": "application/json"}).json()["task"]["messages"]
    assert told[0]["media"][0] == {"kind": "image", "digest": PNG.digest, "alt": 'a "cat"'}
    assert "🖼" in ann.client.get("/answers").text or "🖼" in in_a_list(ann.client)


def in_a_list(client: TestClient) -> str:
    """The lead's list of records is not of this site; the labeler's own answers are."""
    page = client.get("/next").text
    fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page))
    ranks = {f"rank-{n}": "1" for n in (1, 2, 3)} | {f"quality-{n}": "4" for n in (1, 2, 3)}
    client.post("/tasks/t1/answer", data=fields | ranks | {"action": "save"})
    return client.get("/answers").text


def test_a_picture_comes_as_what_it_is_and_can_do_nothing(store: Store, come: Come) -> None:
    queued(store, composed("user", [PNG.named(), "?"]))
    ann = come()
    ann.client.get("/next")
    reply = ann.client.get(f"/media/{PNG.digest}")
    assert (reply.status_code, reply.content) == (200, PNG.content)
    assert reply.headers["content-type"] == "image/png"
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in reply.headers["content-security-policy"]
    assert "script-src" not in reply.headers["content-security-policy"]
    assert reply.headers["content-disposition"] == f'inline; filename="{PNG.digest[:12]}.png"'
    assert reply.headers["cache-control"].startswith("private")


def test_only_those_see_it_who_may_see_a_record_with_it(store: Store, come: Come) -> None:
    queued(store, composed("user", [PNG.named(), "?"]))
    ann, bob, lead, stranger = come(name="ann"), come(name="bob"), come("lead", "lea"), come(None)
    address = f"/media/{PNG.digest}"
    assert ann.client.get(address).status_code == 404, "no task was given to her yet"
    ann.client.get("/next")
    statuses = {who: person.client.get(address).status_code for who, person in (("ann", ann), ("bob", bob), ("lead", lead))}
    assert statuses == {"ann": 200, "bob": 404, "lead": 200}
    assert stranger.client.get(address, follow_redirects=False).status_code in (303, 401)
    for wrong in (f"/media/{'0' * 64}", "/media/x", f"/media/{PNG.digest.upper()}", "/media/%00"):
        assert lead.client.get(wrong).status_code == 404
