"""The town: its people, its facts, and the share of them that the raw text tells."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from accord.world.language import PEOPLE, PERSON_RELATIONS, PLACE_RELATIONS, PLACES, RELATIONS, Relation

FactClass = Literal["common", "rare", "absent"]
SHARES: tuple[tuple[FactClass, float], ...] = (("common", 0.55), ("rare", 0.15), ("absent", 0.30))


@dataclass(frozen=True, slots=True)
class Fact:
    """Subject, relation, object, e.g. ``Ada``, ``lives``, ``Hill Street``."""

    subject: str
    relation: str
    object: str

    @property
    def form(self) -> Relation:
        return RELATIONS[self.relation]


@dataclass(frozen=True)
class Town:
    """All facts in a fixed order, each with its class. Every (subject, relation) has exactly one object."""

    facts: tuple[Fact, ...]
    classes: tuple[FactClass, ...]

    @cached_property
    def truth(self) -> dict[tuple[str, str], str]:
        return {(fact.subject, fact.relation): fact.object for fact in self.facts}

    @cached_property
    def class_of(self) -> dict[Fact, FactClass]:
        return dict(zip(self.facts, self.classes, strict=True))

    @cached_property
    def by_subject(self) -> dict[str, tuple[Fact, ...]]:
        groups: dict[str, list[Fact]] = {}
        for fact in self.facts:
            groups.setdefault(fact.subject, []).append(fact)
        return {subject: tuple(facts) for subject, facts in groups.items()}

    @cached_property
    def by_class(self) -> dict[FactClass, tuple[Fact, ...]]:
        groups: dict[FactClass, list[Fact]] = {name: [] for name, _ in SHARES}
        for fact, name in zip(self.facts, self.classes, strict=True):
            groups[name].append(fact)
        return {name: tuple(facts) for name, facts in groups.items()}

    @cached_property
    def told(self) -> dict[str, tuple[Fact, ...]]:
        """The common facts of each subject that has one."""
        found: dict[str, tuple[Fact, ...]] = {}
        for subject, facts in self.by_subject.items():
            common = tuple(fact for fact in facts if self.class_of[fact] == "common")
            if common:
                found[subject] = common
        return found


def build_town(seed: int) -> Town:
    """Return a town whose facts and their classes (55% common, 15% rare, 30% absent) follow from the seed."""
    rng = random.Random(f"town {seed}")
    facts = [Fact(name, r.name, rng.choice(r.objects)) for name in PEOPLE for r in PERSON_RELATIONS]
    facts += [Fact(place, r.name, rng.choice(r.objects)) for place in PLACES for r in PLACE_RELATIONS]
    common, rare = (round(share * len(facts)) for _, share in SHARES[:2])
    counts: tuple[tuple[FactClass, int], ...] = (("common", common), ("rare", rare), ("absent", len(facts) - common - rare))
    classes: list[FactClass] = [name for name, count in counts for _ in range(count)]
    rng.shuffle(classes)
    return Town(tuple(facts), tuple(classes))


def wrong_object(fact: Fact, rng: random.Random) -> str:
    """Return another object of the same relation, which makes the sentence false."""
    others = [o for o in fact.form.objects if o != fact.object]
    return rng.choice(others)
