"""The world as one object: town, raw text, prompts with their hidden specs, demonstrations."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from accord.records import Demonstration, Prompt, Split
from accord.settings import WorldConfig
from accord.world.corpus import write_corpus
from accord.world.demonstrations import WRITERS, leanings, write
from accord.world.prompts import Ask, Spec, ask
from accord.world.town import Fact, FactClass, Town, build_town

TEST_ONLY = 0.15
"""Share of the facts that only users of the test split ask about."""


@dataclass(frozen=True)
class World:
    """Everything the town contains. Only the judge and the labelers see ``specs`` and ``town``."""

    seed: int
    town: Town
    documents: tuple[str, ...]
    prompts: tuple[Prompt, ...]
    demonstrations: tuple[Demonstration, ...]
    specs: dict[str, Spec]

    @classmethod
    def generate(cls, seed: int, config: WorldConfig | None = None) -> World:
        """Build the world. The same seed and config give the same bytes."""
        config = config or WorldConfig()
        town = build_town(seed)
        asked = tuple(_prompts(town, seed, config))
        specs = {prompt.id: made.spec for prompt, made in asked}
        prompts = tuple(prompt for prompt, _ in asked)
        demonstrations = tuple(_demonstrations(town, seed, config, prompts, specs))
        return cls(seed, town, tuple(write_corpus(town, seed, config.documents)), prompts, demonstrations, specs)

    def fact_class(self, prompt_id: str) -> FactClass | None:
        """Return how often the raw text tells the fact asked for; None when no town fact is asked for."""
        return self.specs[prompt_id].fact_class


def split_of(user: int, users: int) -> Split:
    """Return the user's split: the first tenth of the users are test, the next validation (at least one each),
    the others train."""
    tenth = max(1, users // 10)
    return "test" if user < tenth else "validation" if user < 2 * tenth else "train"


def _prompts(town: Town, seed: int, config: WorldConfig) -> Iterator[tuple[Prompt, Ask]]:
    """Return the prompts. Users ask in turn; a text that was asked before is asked again in other words."""
    rng = random.Random(f"prompts {seed}")
    shared = _shared(town, rng)
    seen: set[tuple[str, ...]] = set()
    for number in range(config.prompts):
        user = number % config.users
        split = split_of(user, config.users)
        facts = town.facts if split == "test" else shared
        use_case, made = ask(town, rng, facts)
        while (key := tuple(m.content for m in made.messages)) in seen:
            use_case, made = ask(town, rng, facts)
        seen.add(key)
        yield Prompt(f"world-{seed}-{number:05d}", made.messages, use_case, f"user-{user:03d}", split, "world"), made


def _shared(town: Town, rng: random.Random) -> tuple[Fact, ...]:
    return tuple(fact for fact in town.facts if rng.random() >= TEST_ONLY)


def _demonstrations(
    town: Town, seed: int, config: WorldConfig, prompts: tuple[Prompt, ...], specs: dict[str, Spec]
) -> Iterator[Demonstration]:
    """Return the demonstrations: nine in ten for training users, the rest for validation users, none for test users."""
    rng = random.Random(f"demonstrations {seed}")
    manners = {writer: leanings(writer, seed) for writer in WRITERS}
    training = [prompt for prompt in prompts if prompt.split == "train"]
    validation = [prompt for prompt in prompts if prompt.split == "validation"]
    held = min(len(validation), config.demonstrations // 10)
    chosen = rng.sample(training, min(len(training), config.demonstrations - held)) + validation[:held]
    for number, prompt in enumerate(chosen):
        writer = rng.choice(WRITERS)
        manner = rng.choices(tuple(manners[writer]), tuple(manners[writer].values()))[0]
        yield Demonstration(f"demo-{seed}-{number:05d}", prompt, write(specs[prompt.id], town, rng, manner), writer)
