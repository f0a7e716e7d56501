"""The town's arithmetic: small word problems in GSM8K's form, a rationale followed by ``#### `` and the number.

It is a task set of its own, apart from the town's prompts. The number that a response must end in is known,
so nothing has to be judged.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from accord.records import Message, Prompt, Split
from accord.world.language import PEOPLE

THINGS = ("apples", "eggs", "loaves", "candles", "buttons", "pots", "nails", "cakes")
HELD_OUT = 5
"""One in this many problems is for validation, and one for test."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem with a rationale that leads to its answer."""

    prompt: Prompt
    rationale: str
    answer: int

    @property
    def solution(self) -> str:
        """The demonstration's text."""
        return f"{self.rationale}\n{self.key}"

    @property
    def key(self) -> str:
        """The answer alone."""
        return f"#### {self.answer}"


Told = tuple[str, str, int]
"""A problem's text, its rationale, its answer."""


def _more(rng: random.Random, most: int) -> Told:
    (one, other), thing = rng.sample(PEOPLE, 2), rng.choice(THINGS)
    x = rng.randint(1, most - 1)
    y = rng.randint(1, most - x)
    return f"{one} has {x} {thing}. {other} brings {y} more. How many {thing} are there?", f"{x} + {y} = {x + y}.", x + y


def _fewer(rng: random.Random, most: int) -> Told:
    one, thing = rng.choice(PEOPLE), rng.choice(THINGS)
    x = rng.randint(2, most)
    y = rng.randint(1, x - 1)
    return f"{one} has {x} {thing} and sells {y}. How many {thing} are left?", f"{x} - {y} = {x - y}.", x - y


def _both(rng: random.Random, most: int) -> Told:
    one, thing = rng.choice(PEOPLE), rng.choice(THINGS)
    x = rng.randint(1, most - 1)
    y = rng.randint(1, most - x)
    z = rng.randint(1, x + y - 1)
    text = f"{one} has {x} {thing}, buys {y} more and gives away {z}. How many {thing} has {one} then?"
    return text, f"{x} + {y} = {x + y}. {x + y} - {z} = {x + y - z}.", x + y - z


KINDS: tuple[Callable[[random.Random, int], Told], ...] = (_more, _fewer, _both)


def problems(seed: int, count: int, *, most: int = 12, steps: int = 2) -> Iterator[Problem]:
    """Return ``count`` different problems, the same ones for the same seed.

    Args:
        most: the largest number in a problem. steps: 1 leaves out the problems of two steps.

    Raises:
        ValueError: numbers up to ``most`` make fewer different problems than ``count``.
    """
    rng, seen = random.Random(f"arithmetic {seed}"), set[str]()
    for number in range(count):
        text, rationale, answer = _new(rng, most, steps, seen)
        user = f"pupil-{number % 40:02d}"
        prompt = Prompt(f"sum-{seed}-{number:05d}", (Message("user", text),), "arithmetic", user, _split(number % 40), "world")
        yield Problem(prompt, rationale, answer)


def _new(rng: random.Random, most: int, steps: int, seen: set[str]) -> Told:
    for _ in range(1000):
        told = rng.choice(KINDS[: 1 + steps])(rng, most)
        if told[0] not in seen:
            seen.add(told[0])
            return told
    raise ValueError(f"there are only {len(seen)} different problems with numbers up to {most}")


def _split(user: int) -> Split:
    """Return the user's split: of five pupils one is for test and one for validation."""
    return "test" if user % HELD_OUT == 0 else "validation" if user % HELD_OUT == 1 else "train"
