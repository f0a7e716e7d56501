"""Many projects under one address: listed, opened when they are asked for, each with its own people, and one log-in for the operator."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from serving.web.conftest import Scripted
from starlette.testclient import TestClient
from visitors import HOST

from accord.errors import StoreError
from accord.feedback import accounts
from accord.feedback.audit import OPERATOR
from accord.feedback.store import Store
from accord.feedback.web.sub_path import SubPath
from accord.runtime.project import Project
from accord.settings import LabelConfig, OpenConfig
from accord.site.folder import DATABASE, Projects, front_of, names
from accord.site.project_site import ProjectSite, site_of

opened = list[str]()


def open_project(path: Path) -> ProjectSite:
    opened.append(path.name)
    project, models = Project.open(path), Scripted()
    return site_of(project, Store.open(project.store_url), OpenConfig(), models=models, library=models, secret="x" * 40)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    opened.clear()
    for name in ("bakery", "mill", "with blank"):
        Project.create(tmp_path / name)
    (tmp_path / "no-project").mkdir()
    return tmp_path


@pytest.fixture(params=["", "/rlhf"])
def operator(request: pytest.FixtureRequest, folder: Path) -> Iterator[tuple[TestClient, str]]:
    root: str = request.param
    with Store.open(f"sqlite:///{folder / DATABASE}") as store:
        front = front_of(folder, store, LabelConfig(), "x" * 40)
        with TestClient(SubPath(Projects(front, open_project, f"{HOST}{root}"), root), base_url=HOST) as client:
            client.headers["Accept"] = "text/html"
            token = accounts.invite(store, "lead", OPERATOR, by="tests", now=datetime.now(UTC))
            assert client.post(f"{root}/join", data={"token": token}, follow_redirects=False).status_code == 303
            yield client, root


def test_the_operator_signs_in_once_and_is_lead_everywhere(operator: tuple[TestClient, str], folder: Path) -> None:
    client, root = operator
    page = client.get(f"{root}/").text
    assert f'href="{root}/p/bakery/"' in page
    assert f'href="{root}/p/mill/"' in page
    assert "no-project" not in page
    assert "with blank" in page
    assert not opened, "listing opens nothing"
    for name in ("bakery", "mill", "bakery"):
        home = client.get(f"{root}/p/{name}/")
        assert home.status_code == 200
        assert 'class="loop"' in home.text
        assert f'href="{root}/p/{name}/chat"' in home.text
        assert client.get(f"{root}/p/{name}/lead?x=1").url.query == b"x=1"
    assert client.get(f"{root}/").status_code == 200, "still signed in at the list"
    assert opened == ["bakery", "mill"], "each once"
    with Store.open(Project.open(folder / "bakery").store_url) as store:
        assert [(person.name, person.role) for person in accounts.people(store)] == [(OPERATOR, "lead")], "one account, however often"


def test_a_stranger_gets_into_no_project_and_people_of_one_into_no_other(operator: tuple[TestClient, str], folder: Path) -> None:
    client, root = operator
    client.cookies.clear()
    assert client.get(f"{root}/").status_code == 401
    assert client.get(f"{root}/p/bakery/").status_code == 401
    with Store.open(Project.open(folder / "bakery").store_url) as store:
        token = accounts.invite(store, "lead", "lea", by="tests", now=datetime.now(UTC))
    assert client.post(f"{root}/p/bakery/join", data={"token": token}, follow_redirects=False).status_code == 303
    assert client.get(f"{root}/p/bakery/lead").status_code == 200
    assert client.get(f"{root}/p/mill/lead").status_code == 401
    assert client.get(f"{root}/").status_code == 401, "a lead of one project is not the operator"


def test_only_projects_of_the_folder_are_served(operator: tuple[TestClient, str]) -> None:
    client, root = operator
    for address in ("/p/none/", "/p/../bakery/", "/p/%2e%2e/", "/p/no-project/", "/p/with blank/", "/p/", "/p"):
        assert client.get(f"{root}{address}").status_code == 404, address
    assert client.get(f"{root}/p/bakery", follow_redirects=False).headers["location"] == f"{root}/p/bakery/"


def test_names_that_are_no_part_of_an_address_are_left_out(folder: Path) -> None:
    assert names(folder) == ["bakery", "mill"]


def test_whoever_signs_out_at_the_list_is_signed_out_of_every_project(operator: tuple[TestClient, str]) -> None:
    client, root = operator
    page = client.get(f"{root}/p/bakery/lead").text
    found = re.search(r'name="csrf" value="(\w+)"', client.get(f"{root}/").text)
    assert found
    assert "operator" in page
    assert client.post(f"{root}/leave", data={"csrf": found[1]}, follow_redirects=False).status_code == 303
    assert client.get(f"{root}/p/bakery/lead").status_code == 401


def test_a_project_whose_lead_ended_the_operators_access_asks_the_operator_to_sign_in(
    operator: tuple[TestClient, str], folder: Path
) -> None:
    client, root = operator
    assert client.get(f"{root}/p/bakery/lead").status_code == 200
    with Store.open(Project.open(folder / "bakery").store_url) as store:
        accounts.revoke(store, accounts.people(store)[0].id, by="tests", why="", now=datetime.now(UTC))
    assert client.get(f"{root}/p/bakery/lead").status_code == 401
    assert client.get(f"{root}/p/mill/lead").status_code == 200


def test_a_project_that_cannot_be_opened_or_is_slow_holds_up_no_other(folder: Path) -> None:
    tried, began, going_on = list[str](), threading.Event(), threading.Event()

    def some(path: Path) -> ProjectSite:
        tried.append(path.name)
        if path.name == "mill":
            began.set()
            going_on.wait(20)
            raise StoreError("the database does not answer", where="db.example")
        return open_project(path)

    with ExitStack() as stack:
        store = stack.enter_context(Store.open(f"sqlite:///{folder / DATABASE}"))
        threads = stack.enter_context(ThreadPoolExecutor(2))
        app = Projects(front_of(folder, store, LabelConfig(), "x" * 40), some, HOST)
        client = stack.enter_context(TestClient(app, base_url=HOST))
        waits = [threads.submit(client.get, "/p/mill/") for _ in range(2)]
        assert began.wait(20)
        assert client.get("/p/bakery/").status_code == 401
        going_on.set()
        for answer in (wait.result(20) for wait in waits):
            assert answer.status_code == 503
            assert "db.example" not in answer.text
            assert answer.headers["x-content-type-options"] == "nosniff"
    assert tried.count("mill") == 1, "a failure is kept for a moment"


def test_the_command_serves_the_folder_and_takes_a_file_of_forty_megabytes(folder: Path) -> None:
    words = [sys.executable, "-m", "accord", "open", "--all", str(folder), "--port", "0", "--root-path", "/rlhf"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            assert process.stdout
            said = process.stdout.readline() + process.stdout.readline()
            found = re.search(r"(http://\S+)/rlhf/join\?token=(\S+)", said)
            assert found
            with httpx.Client(base_url=f"{found[1]}/rlhf", follow_redirects=True, timeout=60) as browser:
                assert browser.post("/join", data={"token": found[2]}).status_code == 200
                address = re.search(r'action="/rlhf(/p/bakery/data/upload\?token=\w+)"', browser.get("/p/bakery/data").text)
                assert address
                rows = b'{"prompt": "Why?", "response": "' + b"So. " * 10_000_000 + b'"}\n'
                answer = browser.post(address[1] + "&name=rows.jsonl", content=rows, follow_redirects=False)
                assert answer.status_code == 303
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(20)
    assert [path.stat().st_size for path in (folder / "bakery/uploads").glob("*/rows.jsonl")] == [len(rows)]
    assert (folder / "bakery/jobs").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("trusted", ["", "127.0.0.1"], ids=["nobody", "the proxy"])
def test_the_limit_on_sign_ins_goes_by_the_address_that_a_trusted_proxy_names_and_by_no_other(folder: Path, trusted: str) -> None:
    words = [sys.executable, "-m", "accord", "open", "--all", str(folder), "--port", "0", f"--trusted-proxies={trusted}"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            assert process.stdout
            found = re.search(r"(http://\S+)/join\?token=", process.stdout.readline() + process.stdout.readline())
            assert found
            with httpx.Client(base_url=found[1], timeout=60) as client:

                def fails(address: str, place: str = "") -> int:
                    return client.post(f"{place}/join", data={"token": "x"}, headers={"X-Forwarded-For": address}).status_code

                for place in ("", "/p/bakery"):
                    assert {fails("203.0.113.7", place) for _ in range(accounts.ATTEMPTS)} == {403}
                    assert fails("203.0.113.7", place) == 429
                    assert fails("198.51.100.4", place) == (403 if trusted else 429), "a made-up address lets nobody try again"
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(20)
