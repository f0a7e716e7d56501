"""The world is the same for the same seed, says what it claims to say, and keeps its secrets."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections import Counter

import pytest

from accord.records import Prompt
from accord.settings import WorldConfig
from accord.world import Fact, World, parse
from accord.world.demonstrations import MANNERS
from accord.world.prompts import USE_CASES

PROGRAM = """
import hashlib
from accord.settings import WorldConfig
from accord.world import World
world = World.generate(3, WorldConfig(documents=300, prompts=150, demonstrations=60, users=20))
print(hashlib.sha256(repr((world.documents, world.prompts, world.demonstrations, world.specs)).encode()).hexdigest())
"""


def plain_claims(documents: tuple[str, ...]) -> Counter[Fact]:
    return Counter(c.fact for text in documents for line in text.split("\n") for c in parse(line).claims if not c.negated)


def key(prompt: Prompt) -> tuple[str, ...]:
    return tuple(message.content for message in prompt.messages)


def test_same_bytes_in_every_process() -> None:
    """Hash randomisation differs between the two; the world does not."""
    digests = [
        subprocess.run(
            [sys.executable, "-c", PROGRAM], env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    ]
    here = World.generate(3, WorldConfig(documents=300, prompts=150, demonstrations=60, users=20))
    mine = hashlib.sha256(repr((here.documents, here.prompts, here.demonstrations, here.specs)).encode()).hexdigest()
    assert {d.strip() for d in digests} == {mine}


def test_another_seed_is_another_town(world: World) -> None:
    other = World.generate(8, WorldConfig(documents=10, prompts=10, demonstrations=5, users=10))
    same = sum(world.town.truth[k] == o for k, o in other.town.truth.items())
    assert same < 0.25 * len(other.town.truth)


def test_default_world_is_quick_and_counts_hold() -> None:
    """Common facts stand in the raw text 60 times or more, rare ones one to three times, absent ones never."""
    start = time.process_time()
    world = World.generate(0)
    assert time.process_time() - start < 12
    assert len(world.documents) == 72_000
    assert 1_500_000 < sum(len(d.split()) for d in world.documents) < 3_000_000
    counts = plain_claims(world.documents)
    by_class = world.town.by_class
    assert min(counts[f] for f in by_class["common"]) >= 60
    assert {counts[f] for f in by_class["rare"]} == {1, 2, 3}
    assert {counts[f] for f in by_class["absent"]} == {0}


def test_shares_of_the_classes(world: World) -> None:
    total = len(world.town.facts)
    shares = [len(world.town.by_class[name]) / total for name in ("common", "rare", "absent")]
    assert shares == pytest.approx([0.55, 0.15, 0.30], abs=0.01)


def test_wrong_claims_stand_in_the_text(world: World) -> None:
    """The corpus is not a catechism: false claims, about half of them unmarked."""
    false = [
        c
        for d in world.documents
        for c in parse(d).claims
        if world.town.truth.get((c.fact.subject, c.fact.relation)) not in (None, c.fact.object)
    ]
    marked = sum(c.marker == "gossip" for c in false) / len(false)
    assert len(false) > 100
    assert 0.1 < marked < 0.7


def test_dialogues_have_six_alternating_turns(world: World) -> None:
    found = 0
    for document in world.documents:
        speakers = [line.split(":")[0] for line in document.split("\n") if ":" in line]
        if len(speakers) >= 6 and len(set(speakers[::2])) == len(set(speakers[1::2])) == 1 and speakers[0] != speakers[1]:
            found += speakers[0] not in ("Q", "A")
    assert found > 20


def test_users_stay_in_one_split(world: World) -> None:
    splits = {(p.user, p.split) for p in world.prompts}
    assert len(splits) == len({user for user, _ in splits}) == 40
    assert Counter(split for _, split in splits) == {"train": 32, "validation": 4, "test": 4}


def test_no_prompt_is_asked_twice(world: World) -> None:
    assert len({key(p) for p in world.prompts}) == len(world.prompts) == len(world.specs)


def test_every_use_case_is_asked_in_train_and_test(world: World) -> None:
    for split in ("train", "test"):
        assert {p.use_case for p in world.prompts if p.split == split} >= set(USE_CASES) - (
            {"unanswerable", "generation"} if split == "test" else set()
        )


def test_some_facts_are_asked_in_test_alone(world: World) -> None:
    asked = {
        split: {world.specs[p.id].fact for p in world.prompts if p.split == split and p.use_case == "open_qa"}
        for split in ("train", "test")
    }
    assert asked["test"] - asked["train"]
    assert asked["test"] & asked["train"]


def test_prompts_are_short_lines(world: World) -> None:
    for prompt in world.prompts:
        assert all("\n" not in m.content for m in prompt.messages)
        assert sum(len(m.content.split()) for m in prompt.messages) <= 70
        assert prompt.messages[-1].role == "user"


def test_demonstrations_leave_test_users_alone(world: World) -> None:
    assert {d.prompt.split for d in world.demonstrations} == {"train", "validation"}
    assert len(world.demonstrations) == 250
    assert len({d.labeler for d in world.demonstrations}) == 12


def test_writers_know_absent_facts_and_sometimes_do_not() -> None:
    """Both must be there: telling what the text never told, and saying "I do not know"."""
    world = World.generate(1, WorldConfig(documents=10))
    texts = [(d.text, world.specs[d.prompt.id]) for d in world.demonstrations if world.fact_class(d.prompt.id) == "absent"]
    told = sum(any(c.fact == s.fact for c in parse(t, s.subject).claims) for t, s in texts)
    modest = sum(bool(parse(t).of("ignorance")) for t, s in texts)
    assert told > 20
    assert modest > 10


def test_manners_sum_to_one() -> None:
    assert sum(MANNERS.values()) == pytest.approx(1.0)
