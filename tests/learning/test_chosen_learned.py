"""Does choosing among own responses teach? RAFT climbs over rounds, and one round puts a good part of best-of-n into the weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from groups import improve
from tiny import ByFunction

pytestmark = pytest.mark.learning


def upper(row: list[int]) -> float:
    """A response is worth the share of tokens from the upper half of the vocabulary before its last: one half by chance, 0 for none."""
    return sum(token >= 30 for token in row[:-1]) / max(len(row) - 1, 1)


ASKED: dict[str, Any] = {
    "batch_size": 128,
    "group_size": 8,
    "minibatch_size": 16,
    "epochs": 4,
    "lr": 6e-3,
    "max_tokens": 12,
    "save_every": 100,
}


@pytest.mark.parametrize("seed", [0, 1])
def test_raft_climbs_over_its_rounds(seed: int, tmp_path: Path) -> None:
    rows = improve(tmp_path, "raft", scorer=ByFunction(upper), seed=seed, rounds=6, **ASKED).metrics
    assert rows[-1]["reward"] > rows[0]["reward"] + 0.12
    assert rows[-1]["kl_k3"] > 0.05


@pytest.mark.parametrize("seed", [0, 1])
def test_one_round_distils_best_of_8(seed: int, tmp_path: Path) -> None:
    """What the second round draws first is the distilled policy: one response of it is worth much of the best of eight before."""
    first, distilled = improve(
        tmp_path, "raft", scorer=ByFunction(upper), seed=seed, rounds=2, **{**ASKED, "epochs": 8, "lr": 1e-2}
    ).metrics
    gained, possible = distilled["reward"] - first["reward"], first["reward_chosen"] - first["reward"]
    assert possible > 0.1
    assert gained > 0.2 * possible
    assert distilled["kl_k3"] > 0.05
