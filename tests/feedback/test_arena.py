"""A vote of the arena counts once, for the versions that were shown, and not after its author, an erasure or a lead took it out."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from accord.feedback import accounts, arena, chats, consents, ownership, reactions, review
from accord.feedback.arena import Contestant, Outcome
from accord.feedback.chats import ARENA, Turn
from accord.feedback.refusals import Refused
from accord.feedback.store import Store
from accord.records import Labeler, Message, Prompt, Sampling

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
OLD, NEW, SFT = Contestant("ppo", "a" * 12), Contestant("ppo", "b" * 12), Contestant("sft", "c" * 12)


@pytest.fixture
def people(store: Store) -> Store:
    store.add_labelers([Labeler("uma", "user", "users"), Labeler("vic", "user", "users")])
    return store


def battle(store: Store, user: str, first: Contestant, second: Contestant, key: str = "k1", trial: str = ARENA) -> tuple[Turn, Turn]:
    asked = chats.begin(store, user, "Which bread?", system="", key=key, now=NOW)

    def said(one: Contestant, n: int) -> Turn:
        rest = {"finish": "stop", "pair": f"p-{user}{key}", "trial": trial, "now": NOW}
        return chats.answer(
            store,
            asked,
            f"bread {n}",
            model=one.name,
            digest=one.digest + "0" * 8,
            sampling=Sampling(),
            seed=n,
            id=f"a-{user}{key}{n}",
            **rest,
        )

    return said(first, 1), said(second, 2)


def vote(store: Store, user: str, pair: tuple[Turn, Turn], choice: str) -> reactions.Reaction:
    return reactions.react(store, user, "choice", pair[0].id, {"choice": choice}, other=pair[1].id, now=NOW)


def test_votes_are_counted_by_the_versions_that_were_shown(people: Store) -> None:
    vote(people, "uma", battle(people, "uma", SFT, OLD, "1"), "first")
    vote(people, "uma", battle(people, "uma", OLD, SFT, "2"), "second")
    vote(people, "vic", battle(people, "vic", NEW, SFT, "1"), "both_bad")
    vote(people, "vic", battle(people, "vic", NEW, SFT, "2", trial=""), "first")
    battle(people, "vic", NEW, SFT, "3")
    assert arena.outcomes(people) == Counter({Outcome(OLD, SFT, "second"): 2, Outcome(NEW, SFT, "both_bad"): 1})


def test_votes_of_somebody_excluded_do_not_count_until_they_are_included(people: Store) -> None:
    vote(people, "uma", battle(people, "uma", SFT, OLD), "first")
    vote(people, "vic", battle(people, "vic", SFT, OLD), "first")
    accounts.exclude(people, "vic", by="tests", why="always the first", now=NOW)
    assert arena.outcomes(people) == Counter({Outcome(OLD, SFT, "second"): 1})
    accounts.include(people, "vic", by="tests", now=NOW)
    assert arena.outcomes(people) == Counter({Outcome(OLD, SFT, "second"): 2})


def test_a_pair_gets_one_vote_ever(people: Store) -> None:
    pair = battle(people, "uma", SFT, OLD)
    first = vote(people, "uma", pair, "first")
    for again in (pair, pair[::-1]):
        with pytest.raises(Refused, match="has voted"):
            vote(people, "uma", again, "second")
    assert arena.outcomes(people).total() == 1
    reactions.withdraw(people, "uma", first.id, now=NOW)
    assert arena.outcomes(people).total() == 0
    with pytest.raises(Refused, match="has voted"):
        vote(people, "uma", pair, "second")
    chosen = battle(people, "uma", SFT, OLD, "2", trial="")
    vote(people, "uma", chosen, "first")
    vote(people, "uma", chosen, "second")
    with pytest.raises(Refused):
        vote(people, "vic", battle(people, "uma", SFT, OLD, "3"), "first")


def test_of_votes_at_one_moment_one_counts(people: Store) -> None:
    pair, outcomes = battle(people, "uma", SFT, OLD), list[str]()
    gate = threading.Barrier(6)

    def cast() -> None:
        gate.wait()
        try:
            vote(people, "uma", pair, "first")
            outcomes.append("kept")
        except Refused as refused:
            outcomes.append(refused.key)

    voters = [threading.Thread(target=cast) for _ in range(6)]
    for voter in voters:
        voter.start()
    for voter in voters:
        voter.join()
    assert sorted(outcomes) == ["kept", *["voted"] * 5]
    assert arena.outcomes(people).total() == 1


def test_a_vote_becomes_a_ranking_after_review_and_leaves_with_its_authors_data(people: Store) -> None:
    for user in ("uma", "vic"):
        consents.answer(people, user, True, now=NOW)
    mine = vote(people, "uma", battle(people, "uma", SFT, OLD), "second")
    theirs = vote(people, "vic", battle(people, "vic", OLD, SFT), "first")
    refused = vote(people, "vic", battle(people, "vic", OLD, SFT, "2"), "first")
    review.accept(people, mine.id, by="lead", screen=lambda _: [], now=NOW)
    review.accept(people, theirs.id, by="lead", screen=lambda _: [], now=NOW)
    review.refuse(people, refused.id, by="lead", why="noise", now=NOW)
    assert arena.outcomes(people) == Counter({Outcome(OLD, SFT, "first"): 2}), "what a lead refused does not count"
    assert sorted((ranking.labeler, ranking.ranks) for ranking in people.rankings()) == [("uma", (2, 1)), ("vic", (1, 2))]
    ownership.delete(people, "uma", now=NOW)
    assert arena.outcomes(people) == Counter({Outcome(OLD, SFT, "first"): 1})
    assert [ranking.labeler for ranking in people.rankings()] == ["vic"]


def test_an_authors_own_export_names_the_models_after_the_vote(people: Store) -> None:
    pair = battle(people, "uma", SFT, OLD)

    def models() -> list[str]:
        return [turn["model"] + turn["digest"] for talk in ownership.exported(people, "uma")["conversations"] for turn in talk["turns"]]

    assert models() == ["", "", ""]
    vote(people, "uma", pair, "tie")
    assert models() == ["", "sft" + "c" * 12 + "0" * 8, "ppo" + "a" * 12 + "0" * 8]


def test_pairs_of_the_last_hour_are_counted_for_their_user(people: Store) -> None:
    battle(people, "uma", SFT, OLD, "1")
    battle(people, "uma", SFT, OLD, "2")
    battle(people, "uma", SFT, OLD, "3", trial="")
    assert arena.asked_lately(people, "uma", now=NOW + timedelta(minutes=59)) == 2
    assert arena.asked_lately(people, "uma", now=NOW + timedelta(minutes=61)) == 0
    assert arena.asked_lately(people, "uma", now=NOW - timedelta(minutes=61)) == 0, "of a clock that was ahead"
    assert arena.asked_lately(people, "vic", now=NOW) == 0


def test_a_prompt_is_drawn_from_what_may_be_learned_from(people: Store) -> None:
    assert arena.drawn_prompt(people, longest=100) == ""
    user, told = Message("user", "Held out?"), Message("assistant", "Yes.")
    people.add_prompts(
        [
            Prompt("v", (user,), split="validation"),
            Prompt("two", (Message("user", "One."), told, Message("user", "Two."))),
            Prompt("long", (Message("user", "x" * 101),)),
        ]
    )
    assert arena.drawn_prompt(people, longest=100) == ""
    people.add_prompts([Prompt(f"p{n}", (Message("user", f"Bread {n}?"),)) for n in range(6)])
    drawn = {arena.drawn_prompt(people, longest=100) for _ in range(60)}
    assert drawn <= {f"Bread {n}?" for n in range(6)}
    assert len(drawn) > 1
