"""The joined site of a project in this process, over scripted models."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from serving.web.conftest import Scripted
from starlette.testclient import TestClient
from visitors import HOST, Come, Person

from accord.feedback import accounts
from accord.feedback.accounts import Role
from accord.feedback.store import Store
from accord.feedback.web.sub_path import SubPath
from accord.runtime.project import Project
from accord.settings import OpenConfig
from accord.site.app import create
from accord.site.project_site import ProjectSite, site_of


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project.create(tmp_path / "bakery")


@pytest.fixture
def store(project: Project) -> Iterator[Store]:
    with Store.open(project.store_url) as opened:
        yield opened


@pytest.fixture
def models() -> Scripted:
    return Scripted()


@pytest.fixture
def site(project: Project, store: Store, models: Scripted) -> ProjectSite:
    return site_of(project, store, OpenConfig(), models=models, library=models, secret="x" * 40)


@pytest.fixture
def come(site: ProjectSite) -> Iterator[Come]:
    """Let somebody in by invitation; everybody comes to the same running site, at the top of its host or at a path."""
    running: dict[str, TestClient] = {}

    def enter(role: Role = "lead", name: str = "", root: str = "") -> Person:
        if root not in running:
            running[root] = TestClient(SubPath(create(site), root), base_url=HOST, raise_server_exceptions=False)
            running[root].__enter__()
        client = TestClient(running[root].app, base_url=HOST, raise_server_exceptions=False)
        client.portal = running[root].portal
        token = accounts.invite(site.store, role, name or role, by="tests", now=datetime.now(UTC))
        assert client.post(f"{root}/join", data={"token": token}, follow_redirects=False).status_code == 303
        return Person(client, next(person.id for person in accounts.people(site.store) if person.name == (name or role)), root)

    yield enter
    for client in running.values():
        client.__exit__(None, None, None)
