"""Correcting what is said in a recording: beside the task by a plain form, and on the recording's own page for the lead."""

from __future__ import annotations

import html
import re
from dataclasses import replace

import pytest
from feedback.web.conftest import SOUND, Come, Person, task

from accord.feedback import tasks, transcripts
from accord.feedback.store import Store
from accord.records import composed

FIRST = 'Turn of the "lamp" & <i>go</i>'
PAGE = f"/recordings/{SOUND.digest}"


@pytest.fixture
def spoken(store: Store) -> Store:
    """A task about a recording, for two labelers."""
    store.add(media=[SOUND])
    given = task(1)
    tasks.add(store, [replace(given, prompt=replace(given.prompt, messages=(composed("user", [SOUND.named(FIRST)]),)))])
    return store


def fields(page: str, text: str) -> dict[str, str]:
    """What a browser without scripts sends by the form for a transcript."""
    form = re.search(rf'<form class="transcribe" method="post" action="{PAGE}/transcript">(.*?)</form>', page, re.DOTALL)
    assert form
    hidden = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', form[1])
    return {name: html.unescape(value) for name, value in hidden} | {"text": text}


def stands(store: Store) -> str:
    return next(store.prompts()).messages[0].media[0].alt


def by_hand(person: Person, text: str, at: str = "/next") -> str:
    """Correct on the task's page, and return the page that comes."""
    return person.client.post(f"{PAGE}/transcript", data=fields(person.client.get(at).text, text)).text


def test_a_labeler_corrects_beside_the_task_and_comes_back_to_it(spoken: Store, come: Come) -> None:
    ann = come(json=False)
    page = ann.client.get("/next").text
    assert "<i>go</i>" not in page, "a transcript is text, never markup"
    assert (
        re.sub(r"<form |</form>|.", lambda found: found[0][:6] if len(found[0]) > 1 else "", page, flags=re.DOTALL).count("<form <form")
        == 0
    )
    assert page.index('class="transcribe"') < page.index('<form class="work"'), "it stands beside what is asked"
    back = by_hand(ann, "Turn off the lamp")
    assert 'id="task"' in back
    assert '<q class="transcript">Turn off the lamp</q>' in back
    assert stands(spoken) == "Turn off the lamp"
    (kept,) = transcripts.versions(spoken)
    assert (kept.before, kept.by) == (FIRST, ann.id)


def test_the_second_of_two_is_told_what_the_first_wrote(spoken: Store, come: Come) -> None:
    ann, bob = come(json=False), come(name="bob", json=False)
    waiting = fields(bob.client.get("/next").text, "Turn off that lamp")
    by_hand(ann, "Turn off the lamp")
    told = bob.client.post(f"{PAGE}/transcript", data=waiting).text
    assert "Somebody else had changed the transcript while you wrote" in told
    assert '<q class="transcript">Turn off the lamp</q>' in told
    assert ">Back to the task</a>" in told
    assert ">ann<" not in told, "a labeler does not see who"
    assert stands(spoken) == "Turn off that lamp"
    assert [each.text for each in transcripts.versions(spoken)] == ["Turn off the lamp", "Turn off that lamp"]


def test_an_empty_transcript_is_refused_with_what_was_typed(spoken: Store, come: Come) -> None:
    ann = come(json=False)
    reply = ann.client.post(f"{PAGE}/transcript", data=fields(ann.client.get("/next").text, "  "))
    assert reply.status_code == 422
    assert "Write what is said in the recording." in reply.text
    assert stands(spoken) == FIRST


def test_only_those_correct_who_were_given_the_recording(spoken: Store, come: Come) -> None:
    ann, bob, viewer = come(json=False), come(name="bob"), come("viewer", "vic")
    given = fields(ann.client.get("/next").text, "x")
    for person, status in ((bob, 404), (viewer, 403)):
        assert person.post(f"{PAGE}/transcript", given | {"csrf": person.token()}).status_code == status  # pyright: ignore[reportAttributeAccessIssue]
    assert ann.client.post(f"{PAGE}/transcript", data=given | {"csrf": "0" * 64}).status_code == 403
    for wrong in ("/recordings/x", f"/recordings/{'0' * 64}", f"/recordings/{SOUND.digest.upper()}"):
        assert ann.client.get(wrong).status_code == 404
    assert stands(spoken) == FIRST


def test_a_form_leads_back_to_the_sites_own_pages_alone(spoken: Store, come: Come) -> None:
    ann = come(json=False)
    given = fields(ann.client.get("/next").text, "Turn off the lamp") | {"back": "https://evil.example/"}
    reply = ann.client.post(f"{PAGE}/transcript", data=given, follow_redirects=False)
    assert (reply.status_code, "evil" in reply.text) == (200, False)


def test_the_lead_sees_every_version_and_takes_one_back(spoken: Store, come: Come) -> None:
    ann, lead = come(json=False), come("lead", "lea", json=False)
    by_hand(ann, "Turn off the <b>lamp</b>")
    page = lead.client.get(PAGE, headers={"Accept-Language": "zh-CN"}).text
    assert "版本" in page
    page = lead.client.get(PAGE).text
    assert "<b>ann</b>" in page
    assert "<del>of</del> → <ins>off</ins>" in page
    assert "<b>lamp</b>" not in page
    assert 'name="number"' not in ann.client.get(PAGE).text
    number = transcripts.versions(spoken)[0].number
    assert ann.client.post(f"{PAGE}/undo", data={"csrf": ann.token(), "number": str(number)}).status_code == 403
    after = lead.client.post(f"{PAGE}/undo", data={"csrf": lead.token(), "number": str(number)}).text
    assert "taken back" in after
    assert stands(spoken) == FIRST
    assert lead.client.post(f"{PAGE}/undo", data={"csrf": lead.token(), "number": str(number)}).status_code == 404
    acts = lead.client.get("/lead/audit").text
    assert "transcript corrected" in acts
    assert "transcript taken back" in acts
