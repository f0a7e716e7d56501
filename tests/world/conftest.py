"""One small world for all tests of this folder."""

from __future__ import annotations

import pytest

from accord.settings import WorldConfig
from accord.world import GoldJudge, World

SMALL = WorldConfig(documents=2500, prompts=700, demonstrations=250, users=40)


@pytest.fixture(scope="session")
def world() -> World:
    return World.generate(7, SMALL)


@pytest.fixture(scope="session")
def gold(world: World) -> GoldJudge:
    return GoldJudge(world)
