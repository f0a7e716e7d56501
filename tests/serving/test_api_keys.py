"""API keys and what they may ask: hashes alone are kept, a revoked one stops at once, buckets fill evenly."""

from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest

from accord.errors import InputError
from accord.serving.host import Busy
from accord.serving.keys import Keys
from accord.serving.limits import Limits


def test_a_key_is_found_until_it_is_revoked_and_is_kept_nowhere(tmp_path: Path) -> None:
    keys, elsewhere = Keys(tmp_path), Keys(tmp_path)
    token, key = keys.add("ann", requests_per_minute=5, models=("sft",))
    assert elsewhere.find(token) == key
    assert elsewhere.find(token[:-1]) is elsewhere.find("") is None
    assert token.removeprefix("accord-") not in keys.path.read_text()
    assert stat.S_IMODE(keys.path.stat().st_mode) == 0o600
    keys.revoke("ann")
    assert elsewhere.find(token) is None
    assert elsewhere.all()[0].revoked


def test_a_name_of_two_keys_revokes_neither(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    (one, first), (two, _) = keys.add("ann"), keys.add("ann")
    with pytest.raises(InputError, match="2 working keys"):
        keys.revoke("ann")
    keys.revoke(first.id)
    assert keys.find(one) is None
    assert keys.find(two)
    with pytest.raises(InputError, match="no such working key"):
        keys.revoke(first.id)


def test_many_at_once_lose_no_key_and_a_damaged_file_is_said(tmp_path: Path) -> None:
    threads = [threading.Thread(target=lambda i=i: Keys(tmp_path).add(f"k{i}")) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {key.name for key in Keys(tmp_path).all()} == {f"k{i}" for i in range(8)}
    (tmp_path / "keys.json").write_text("[{]")
    with pytest.raises(InputError, match="cannot be read"):
        Keys(tmp_path).find("x")


def test_a_bucket_lets_a_minutes_worth_in_and_fills_evenly() -> None:
    now = [0.0]
    limits = Limits(requests=6, clock=lambda: now[0])
    for _ in range(6):
        limits.enter("ann")
    with pytest.raises(Busy) as refused:
        limits.enter("ann")
    assert refused.value.seconds == 10
    limits.enter("ben")
    now[0] = 10.0
    limits.enter("ann")
    with pytest.raises(Busy):
        limits.enter("ann")
    now[0] = 1000.0
    assert limits.left("ann") == {"requests": 0}
    for _ in range(6):
        limits.enter("ann")


def test_tokens_are_counted_when_they_are_known_and_keys_have_limits_of_their_own() -> None:
    now = [0.0]
    limits = Limits(tokens=100, clock=lambda: now[0])
    limits.enter("ann")
    limits.spend("ann", 150)
    with pytest.raises(Busy, match="100 tokens") as refused:
        limits.enter("ann")
    now[0] = refused.value.seconds
    limits.enter("ann")
    limits.enter("rich", tokens=1000)
    limits.spend("rich", 150)
    limits.enter("rich", tokens=1000)
    Limits().enter("anybody")
