"""One server for all tests that only ask: two tiny models, three keys."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest
from opened import host
from running import Server, serving

from accord.serving.api import create
from accord.serving.keys import Keys
from accord.serving.limits import Limits


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    folder: Path = tmp_path_factory.mktemp("keys")
    keys, hosting = Keys(folder), host("tiny-1", "tiny-2")
    made = [keys.add("tests")[0], keys.add("hurried", requests_per_minute=2)[0], keys.add("narrow", models=("tiny-2",))[0]]
    with serving(hosting, create(hosting, keys=keys, limits=Limits())) as url:
        yield Server(url, *made, keys)
