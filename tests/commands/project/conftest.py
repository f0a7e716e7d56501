"""Both databases for commands that copy whole stores."""

from __future__ import annotations

from pathlib import Path

import pytest
from feedback.conftest import Postgres, postgres, url
from full_store import fill

from accord.feedback.store import Store
from accord.runtime.project import Project

__all__ = ["postgres", "url"]


@pytest.fixture
def full(url: str, tmp_path: Path) -> Project:
    """A project whose store has rows in every table, on each database in turn."""
    project = Project.create(tmp_path / "town", settings={"store": {"url": url}, "label": {"overlap": 0.5}})
    with Store.open(url) as store, store.write() as connection:
        fill(connection)
    return project


@pytest.fixture
def other(url: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a blank database of the other kind."""
    if url.startswith("postgresql"):
        return f"sqlite:///{tmp_path}/other.db"
    server: Postgres = request.getfixturevalue("postgres")
    return server.blank()
