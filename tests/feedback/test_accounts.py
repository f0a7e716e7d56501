"""Who gets in, as what, for how long, and what is kept of the secrets."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from accord.errors import StoreError
from accord.feedback import accounts, audit, schema, tasks
from accord.feedback.refusals import Refused
from accord.feedback.store import Store
from accord.records import Labeler, Message, Prompt

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def invite(store: Store, name: str = "Ann", role: accounts.Role = "labeler", **given: Any) -> str:
    return accounts.invite(store, role, name, by="operator", **{"now": NOW, **given})


def member(store: Store, name: str = "Ann", **given: Any) -> tuple[accounts.Account, str]:
    session = accounts.redeem(store, invite(store, name, **given), now=NOW)
    account = accounts.session(store, session, now=NOW)
    assert account
    return account, session


def test_an_invitation_opens_a_session_once(store: Store) -> None:
    token = invite(store, group="nurses")
    session = accounts.redeem(store, token, now=NOW)
    account = accounts.session(store, session, now=NOW)
    assert account
    assert (account.role, account.name, account.group, account.qualified) == ("labeler", "Ann", "nurses", True)
    assert list(store.labelers()) == [Labeler(account.id, "person", "nurses")]
    assert session != token
    for late in (NOW, NOW + DAY):
        with pytest.raises(Refused, match="not valid"):
            accounts.redeem(store, token, now=late)


def test_an_invitation_and_a_session_run_out(store: Store) -> None:
    token = invite(store, days=1)
    with pytest.raises(Refused, match="is over"):
        accounts.redeem(store, token, now=NOW + DAY)
    session = accounts.redeem(store, token, now=NOW + DAY / 2, days=2)
    assert accounts.session(store, session, now=NOW + 2 * DAY)
    assert accounts.session(store, session, now=NOW + 3 * DAY) is None


@pytest.mark.parametrize("token", ["", "x", "' OR 1=1 --", "\0", "\ud83e"])
def test_what_is_no_secret_opens_nothing(store: Store, token: str) -> None:
    member(store)
    assert accounts.session(store, token, now=NOW) is None
    with pytest.raises(Refused, match="not valid"):
        accounts.redeem(store, token, now=NOW)


def test_no_secret_stands_in_the_store(store: Store) -> None:
    token = invite(store)
    session = accounts.redeem(store, token, now=NOW)
    with store.read() as connection:
        kept = str([connection.execute(select(table)).all() for table in schema.metadata.tables.values()])
    assert "Ann" in kept
    assert token not in kept
    assert session not in kept


def test_sessions_end_by_themselves_or_all_at_once(store: Store) -> None:
    account, session = member(store)
    other = accounts.redeem(store, invite(store, labeler=account.id), now=NOW)
    accounts.end_session(store, session)
    assert accounts.session(store, session, now=NOW) is None
    assert accounts.session(store, other, now=NOW)
    waiting = invite(store, labeler=account.id)
    accounts.revoke(store, account.id, by="lead", why="left", now=NOW)
    assert accounts.session(store, other, now=NOW) is None
    with pytest.raises(Refused, match="not valid"):
        accounts.redeem(store, waiting, now=NOW)
    with pytest.raises(Refused, match="not valid"):
        accounts.redeem(store, invite(store, labeler=account.id), now=NOW)
    assert len(accounts.people(store)) == 1


def test_a_revoked_labelers_task_goes_to_the_next(store: Store) -> None:
    (ann, _), (bob, _) = member(store, "Ann"), member(store, "Bob")
    tasks.add(store, [tasks.Task("t", "demonstrate", Prompt("p", (Message("user", "?"),)))])
    assert tasks.next_task(store, ann.id, now=NOW, lease_seconds=9999)
    assert tasks.next_task(store, bob.id, now=NOW, lease_seconds=9999) is None
    accounts.revoke(store, ann.id, by="lead", why="left", now=NOW)
    assert tasks.next_task(store, bob.id, now=NOW, lease_seconds=9999)


def test_every_change_of_standing_leaves_a_row(store: Store) -> None:
    account, session = member(store, screened=True)
    assert not account.qualified
    accounts.qualify(store, account.id, True, by="lead", why="7 of 7", now=NOW)
    accounts.pause(store, account.id, by="lead", why="slow", now=NOW)
    accounts.change_profile(store, account.id, lambda profile: {**profile, "language": "zh"})
    now = accounts.session(store, session, now=NOW)
    assert now
    assert (now.qualified, now.paused, now.profile) == (True, True, {"language": "zh"})
    accounts.resume(store, account.id, by="lead", now=NOW)
    assert not accounts.people(store)[0].paused
    assert accounts.account(store, "nobody") is None
    assert [e.what for e in audit.entries(store)] == ["invite", "redeem", "qualify", "pause", "resume"]
    assert {e.on for e in audit.entries(store)} == {account.id}


def test_simulated_labelers_get_a_way_in_under_their_own_id(store: Store) -> None:
    store.add_labelers([Labeler("labeler-01", "simulated", "plain")])
    account, _ = member(store, labeler="labeler-01")
    assert (account.id, account.group) == ("labeler-01", "plain")
    with pytest.raises(Refused, match="no such labeler"):
        invite(store, labeler="nobody")


def test_what_is_not_there_cannot_be_changed(store: Store) -> None:
    with pytest.raises(StoreError, match="no account nobody"):
        accounts.pause(store, "nobody", by="lead", why="", now=NOW)
    with pytest.raises(Refused, match="role"):
        invite(store, role="god")
    with pytest.raises(Refused, match="no such labeler"):
        accounts.exclude(store, "nobody", by="lead", why="", now=NOW)


def test_attempts_are_limited_by_address_within_a_window(store: Store) -> None:
    for second in range(3):
        accounts.attempt(store, "203.0.113.9", now=NOW + timedelta(seconds=second), limit=3)
    with pytest.raises(Refused) as caught:
        accounts.attempt(store, "203.0.113.9", now=NOW + timedelta(minutes=14), limit=3)
    assert (caught.value.key, caught.value.status) == ("too_many_attempts", 429)
    accounts.attempt(store, "203.0.113.10", now=NOW, limit=3)
    accounts.attempt(store, "203.0.113.9", now=NOW + timedelta(minutes=16), limit=3)


def test_attempts_under_made_up_addresses_are_swept_and_those_of_a_clock_that_was_ahead(store: Store) -> None:
    for number in range(20):
        accounts.attempt(store, f"198.51.100.{number}", now=NOW)
    accounts.attempt(store, "203.0.113.9", now=NOW + timedelta(hours=9), limit=1)
    accounts.attempt(store, "203.0.113.9", now=NOW + timedelta(hours=1), limit=1)
    with store.read() as connection:
        assert connection.scalar(select(func.count()).select_from(schema.attempts)) == 1
