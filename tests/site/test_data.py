"""The data page: a lead's file is streamed to the project, looked at, imported by the command, and taken back; nobody else's is read."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
from collections import namedtuple
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from visitors import HOST, Come, Person

from accord.feedback import audit
from accord.feedback.imports import every
from accord.feedback.refusals import Refused
from accord.feedback.store import Store
from accord.feedback.web.security import LARGEST_BODY, form_token, upload_token
from accord.runtime import jobs
from accord.runtime.project import Project
from accord.site import uploads
from accord.site.app import create
from accord.site.import_options import Options
from accord.site.project_site import ProjectSite
from accord.site.uploads import FormFile, safe_name

ROWS = [{"prompt": f"Which **bread** {n}?", "chosen": f"Rye {n}.\n\n- baked", "rejected": "No.", "promt": "x"} for n in range(12)]
PAIRS = "".join(json.dumps(row) + "\n" for row in ROWS).encode()


def address(person: Person) -> str:
    found = re.search(r'action="([^"]*/data/upload\?token=\w+)"', person.get("/data").text)
    assert found
    return found[1]


def send(person: Person, content: bytes = PAIRS, name: str = "pairs.jsonl", to: str = "", **headers: str) -> Any:
    """As a browser without scripts does: a form with a file in it."""
    return person.client.post(to or address(person), files={"file": (name, content)}, headers={"Accept": "text/html"} | headers)


def text(page: Any) -> str:
    return re.sub(r"<[^>]+>", " ", page.text.partition("<main")[2])


def ready(person: Person, page: Any) -> Any:
    """The page, when what runs on it has ended."""
    for _ in range(20):
        if "data-running" not in page.text:
            return page
        page = person.get(f"{page.url.path}?{page.url.query.decode()}")
    raise AssertionError(text(page))


def left(project: Project) -> list[str]:
    return sorted(path.name for path in (project.path / uploads.FOLDER).glob("*/*"))


def test_a_file_is_looked_at_imported_and_taken_back(come: Come, project: Project, store: Store) -> None:
    lead = come("lead")
    page = ready(lead, send(lead))
    assert page.url.path.startswith("/data/uploads/")
    said = text(page)
    assert list(store.prompts()) == [], "nothing is stored before it is asked for"
    assert "trl-preference" in said
    assert re.search(r"promt\s+not read", said)
    assert "<strong>" not in page.text.partition("read, not learned")[2].partition("</pre>")[0], "the context is shown as it is"
    assert "<li>baked" in page.text, "and what is learned as Markdown, on the server"
    assert page.text.count('<article class="row">') == 10
    once = re.search(r'name="once" value="(\w+)"', page.text)
    assert once
    again = ready(lead, lead.post(page.url.path, action="look", once=f"{once[1]}a", format="trl-preference", drop="promt", split="test"))
    assert not re.search(r"promt\s+not read", text(again))
    fields = {"action": "import", "once": once[1], "format": "trl-preference", "drop": "promt", "split": "test"}
    done = ready(lead, lead.post(page.url.path, **fields))
    assert "This is import 1." in text(done)
    assert "accord import" in text(done)
    assert "--split=test" in text(done)
    assert {prompt.split for prompt in store.prompts()} == {"test"}
    assert len(list(store.rankings())) == 12
    assert left(project) == [], "the file is not kept twice"
    twice = lead.post(page.url.path, **fields)
    assert twice.status_code == 404, "the file is gone"
    listed = lead.get("/data")
    assert re.search(r"pairs\.jsonl.*?12\s+prompts.*?12\s+rankings", text(listed), re.DOTALL)
    undone = ready(lead, lead.post("/data/imports/1/undo", once="u1", why="wrong file"))
    assert "Import 1 was taken back." in text(undone)
    assert list(store.prompts()) == []
    assert [one.why for one in every(store)] == ["wrong file"]
    assert re.search(r"undone on .*wrong file", text(lead.get("/data")))
    me = lead.id
    assert [(entry.what, entry.who) for entry in audit.entries(store) if "job" in entry.on] == [("import", me), ("undo import", me)]
    assert [job.by for job in jobs.newest(project)] == [me] * 4


def test_a_file_that_no_format_fits_says_what_is_near(come: Come) -> None:
    lead = come("lead")
    page = ready(lead, send(lead, b'{"promt": "a", "respons": "b"}\n'))
    assert "no known format has the fields promt, respons" in text(page)
    assert "--map prompt=promt" in text(page)
    assert 'value="import"' not in page.text, "what cannot be imported has no button for it"
    mended = ready(lead, lead.post(page.url.path, action="look", once="1", map="prompt=promt\nresponse=respons"))
    assert 'value="import"' in mended.text
    assert "prompt=promt" in mended.text, "the form keeps what was chosen"


def test_only_a_lead_with_the_pages_token_sends_a_file(come: Come, project: Project, site: ProjectSite) -> None:
    lead, viewer, labeler = come("lead"), come("viewer"), come("labeler")
    good = address(lead)
    assert "/data/upload" not in viewer.get("/data").text
    session = lead.client.cookies["accord_session"]
    assert good.endswith(upload_token(session, site.secret))
    for person in (viewer, labeler):
        assert send(person, to=good).status_code == 403
    stranger = TestClient(lead.client.app, base_url=HOST, raise_server_exceptions=False)
    assert stranger.post(good, files={"file": ("x.jsonl", PAIRS)}, headers={"Accept": "application/json"}).status_code == 401
    for token in ("", "0" * 64, form_token(session, site.secret)):
        assert send(lead, to=f"/data/upload?token={token}").status_code == 403, "the token of forms fits no upload"
    assert send(lead, to=good, Origin="https://evil.example").status_code == 403
    csrf = good.partition("token=")[2]
    assert lead.client.post("/data/imports/1/undo", data={"csrf": csrf}).status_code == 403, "nor the upload's a form"
    assert left(project) == []


def test_who_may_not_send_is_answered_before_a_byte_is_read(come: Come, project: Project) -> None:
    lead = come("lead")
    read = list[int]()

    def body() -> Any:
        for n in range(10):
            read.append(n)
            yield b"x" * 1000

    refused = lead.client.post("/data/upload?token=wrong", content=body(), headers={"Content-Type": "application/octet-stream"})
    assert refused.status_code == 403
    assert read == []
    assert lead.client.post(f"{address(lead)}&name=a.txt", content=body()).status_code == 200
    assert read == list(range(10))


def test_a_file_beyond_the_limit_is_refused_and_other_pages_keep_theirs(come: Come, site: ProjectSite, project: Project) -> None:
    lead = come("lead")
    small = TestClient(create(replace(site, upload_mb=1)), base_url=HOST, raise_server_exceptions=False, cookies=lead.client.cookies)
    to, big = address(lead), b'{"text": "' + b"a" * 1_200_000 + b'"}\n'
    assert small.post(to, files={"file": ("a.jsonl", big)}).status_code == 413, "announced"

    def parts() -> Any:
        for start in range(0, len(big), 50_000):
            yield big[start : start + 50_000]

    cut = small.post(f"{to}&name=a.jsonl", content=parts(), headers={"Accept": "application/json"})
    assert (cut.status_code, cut.json()["key"]) == (400, "upload_broken")
    assert left(project) == []
    assert len(big) > LARGEST_BODY
    assert send(lead, big, "a.jsonl").status_code == 200, "the default takes it"
    assert lead.client.post("/data/uploads/x", content=big).status_code == 413
    assert lead.client.post("/data/upload/", content=big).status_code == 413
    off = TestClient(create(replace(site, upload_mb=0)), base_url=HOST, raise_server_exceptions=False, cookies=lead.client.cookies)
    assert "multipart" not in off.get("/data").text
    assert off.post(to, files={"file": ("a.jsonl", PAIRS)}).status_code == 403


def test_a_nearly_full_disk_takes_no_file(come: Come, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    lead = come("lead")
    to, usage = address(lead), namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**12, 10**12, uploads.RESERVE + 1000))  # pyright: ignore
    refused = send(lead, to=to)
    assert refused.status_code == 400
    assert "of the disk free" in text(refused)
    assert left(project) == []


def test_files_that_nobody_imports_are_few_and_go_after_a_day(come: Come, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    lead = come("lead")
    monkeypatch.setattr(uploads, "MOST", 2)
    for name in ("a.txt", "b.txt"):
        assert send(lead, b"Some bread.\n", name).status_code == 200
    assert send(lead, b"Some bread.\n", "c.txt").status_code == 429
    assert left(project) == ["a.txt", "b.txt"]
    page = lead.get("/data")
    ids = re.findall(r"/data/uploads/(\w+)", page.text)
    old = project.path / uploads.FOLDER / ids[0]
    os.utime(old, (0, 0))
    assert len(re.findall(r"/data/uploads/(\w+)", lead.get("/data").text)) == 1
    assert not old.exists()
    assert lead.post(f"/data/uploads/{ids[1]}", action="discard").status_code == 200
    assert left(project) == []
    for id in (ids[0], "%2e%2e", "x" * 16):
        assert lead.get(f"/data/uploads/{id}").status_code == 404


def test_options_that_no_form_of_ours_sends_start_nothing(come: Come, project: Project) -> None:
    lead = come("lead")
    page = send(lead)
    before = len(jobs.newest(project))
    for bad in ({"format": "--by"}, {"split": "all"}, {"encoding": "x"}, {"map": "prompt"}, {"map": "=x"}, {"drop": "a\x00b"}):
        assert lead.post(page.url.path, action="import", **bad).status_code in (400, 422), bad
    assert len(jobs.newest(project)) == before
    assert lead.get("/data/jobs/99").status_code == 404
    assert lead.get("/data/jobs/x").status_code == 404


def test_a_form_sent_twice_imports_once(come: Come, project: Project) -> None:
    lead = come("lead")
    page = send(lead)
    first = lead.post(page.url.path, action="import", once="same", follow=False)
    second = lead.post(page.url.path, action="import", once="same", follow=False)
    assert first.headers["location"] == second.headers["location"]
    assert [job.command for job in jobs.newest(project) if "--dry-run" not in job.arguments] == ["import"]


def test_options_are_the_words_of_the_command() -> None:
    options = Options("alpaca", ("prompt=a b", "response=--c"), ("-d", "e"), "validation", "gb18030", keep_extra=True, skip_bad=True)
    assert Options.of_words(options.words()) == options
    assert Options.of_words(Options().words()) == Options()
    assert Options().words() == []


def form(content: bytes, name: str = "a.txt", boundary: bytes = b"----x") -> bytes:
    head = f'Content-Disposition: form-data; name="file"; filename="{name}"\r\nContent-Type: text/plain\r\n\r\n'.encode()
    field = b'Content-Disposition: form-data; name="csrf"\r\n\r\nabc\r\n'
    return b"--" + boundary + b"\r\n" + field + b"--" + boundary + b"\r\n" + head + content + b"\r\n--" + boundary + b"--\r\n"


@pytest.mark.parametrize("seed", range(30))
def test_the_file_of_a_form_is_found_however_it_is_cut(seed: int) -> None:
    rng = random.Random(seed)
    pieces = [b"\r\n", b"--", b"----x", b"\r\n----", b"\r\n--", b"\r\n------", bytes([rng.randrange(256)]), b"bread"]
    content = b"".join(rng.choices(pieces, k=60))
    while b"\r\n------x" in content:
        content = content.replace(b"\r\n------x", b"")
    body, parser, found, at = form(content), FormFile(b"----x"), b"", 0
    while at < len(body):
        step = rng.choice([1, 2, 3, 7, 50])
        found, at = found + b"".join(parser.feed(body[at : at + step])), at + step
    parser.end()
    assert found == content
    assert parser.name == "a.txt"


@pytest.mark.parametrize(
    ("body", "key"),
    [
        (form(b"abc")[:-20], "malformed"),
        (form(b"abc").replace(b'; filename="a.txt"', b""), "no_file"),
        (form(b"abc", name=""), "no_file"),
        (form(b"a") + form(b"b"), "malformed"),
        (b"x" * 20_000, "malformed"),
        (b"------x\r\n" + b"y" * 20_000, "malformed"),
    ],
)
def test_what_is_no_form_with_one_file_is_refused(body: bytes, key: str) -> None:
    parser = FormFile(b"----x")

    def read() -> None:
        b"".join(parser.feed(body))
        parser.end()

    with pytest.raises(Refused) as refused:
        read()
    assert refused.value.key == key


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("pairs.jsonl.gz", "pairs.jsonl.gz"),
        ("C:\\Users\\ann\\my pairs (1).csv", "my pairs (1).csv"),
        ("../../etc/passwd", "passwd"),
        ("..", "upload"),
        ("", "upload"),
        ("-rf.txt", "rf.txt"),
        ("数据\x00\n.jsonl", "数据__.jsonl"),
        ("a" * 200 + ".jsonl", "a" * 94 + ".jsonl"),
    ],
)
def test_a_files_name_is_a_name_and_nothing_else(name: str, safe: str) -> None:
    assert safe_name(name) == safe
    assert Path(safe).name == safe
