"""The load of a team on one site in miniature: each part is killed under it, and nothing is lost; and talk that is lost is counted."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
import site_load
from witness import Witness, verdict_on_talk

from accord.feedback import accounts, chats
from accord.feedback.store import Store

PARTS = {
    "sqlite": {"training", "site"},
    "postgresql": {"worker", "process_that_answers", "training", "postgresql", "site"},
}


@pytest.mark.slow
@pytest.mark.parametrize("store", PARTS)
def test_nothing_is_lost_when_each_part_is_killed_under_a_team(store: str, tmp_path: Path) -> None:
    assert site_load.main(["--small", "--stores", store, "--out", str(tmp_path / "load.json")]) == 0
    figures = json.loads((tmp_path / "load.json").read_text())[store]
    assert set(figures["back_after_s"]) == PARTS[store]
    assert figures["acknowledged"] > 5
    assert figures["questions"] > 2
    assert figures["training_ended"] == "stopped"
    assert not any(figures[name] for name in site_load.WRONG)


def test_talk_that_was_acknowledged_or_shown_and_is_gone_is_counted(tmp_path: Path) -> None:
    url, now = f"sqlite:///{tmp_path / 'feedback.db'}", datetime.now(UTC)
    with Store.open(url) as store:
        accounts.invite(store, "user", "uma", by="tests", now=now)
        user = accounts.people(store)[0].id
        witness = Witness(tmp_path / "talk.jsonl")
        for number in range(3):
            witness.said(chats.begin(store, user, f"What is {number}?", system="", key=f"k{number}", now=now).text)
        assert verdict_on_talk(url, witness) == {"questions": 3, "answers_shown": 0, "lost_turns": 0, "doubled_turns": 0}
        chats.begin(store, user, "What is 0?", system="", key="again", now=now)
    witness.said("What was never kept?")
    witness.heard("no-such-answer")
    assert verdict_on_talk(url, witness) == {"questions": 4, "answers_shown": 1, "lost_turns": 2, "doubled_turns": 1}
