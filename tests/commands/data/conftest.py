"""The project that the commands on data work on."""

from __future__ import annotations

from pathlib import Path

import pytest
from asked import filled

from accord.runtime.project import Project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return filled(tmp_path / "p")
