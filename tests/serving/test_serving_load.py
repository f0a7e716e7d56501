"""The load measurement in little: many streams at once with no error, the same text as alone, and lost turns that are counted as lost."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import chat_kills
import serving_load
from opened import host
from running import serving

from accord.feedback import accounts, chats
from accord.feedback.store import Store
from accord.serving.api import create


def test_many_streams_get_what_they_would_get_alone() -> None:
    hosting = host(slots=4, waiting=64)
    prompts: list[Any] = [[{"role": "user", "content": f"Who keeps mill {n}?"}] for n in range(7)]
    with serving(hosting, create(hosting, keys=None)) as url:
        port = urlsplit(url).port or 0
        log, seconds = asyncio.run(serving_load.load(port, "tiny-1", prompts, 8, 0.1))
        assert asyncio.run(serving_load.differing(port, "tiny-1", prompts, log, checked=4)) == 0
        asyncio.run(serving_load.load(port, "no-such-model", prompts, 1, 0.0))
    figures = serving_load.figures(log, seconds)
    assert figures["errors"] == 0
    assert figures["answers"] == len(log.texts) >= 8
    assert 0 < figures["ttft_p50_ms"] <= figures["ttft_p99_ms"]


def test_turns_that_were_kept_and_are_gone_count_as_lost(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    with Store.open(f"sqlite:///{tmp_path / 'feedback.db'}") as store:
        accounts.invite(store, "user", "uma", by="tests", now=now)
        user = accounts.people(store)[0].id
        said = [chats.begin(store, user, f"What is {n}?", system="", key=f"k{n}", now=now).text for n in range(3)]
        assert chat_kills.lost(store, [chat_kills.Kept(user, said)])["lost_turns"] == 0
        told = chat_kills.lost(store, [chat_kills.Kept(user, [*said, "What is lost?"], ["no-such-answer"])])
        assert (told["turns"], told["lost_turns"], told["doubled_turns"]) == (4, 2, 0)
