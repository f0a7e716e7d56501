"""Simulated labelers: they follow the guideline, with values of their own, biases and noise.

For each response a labeler perceives

    utility of the criteria, each raised to the power its group gives it, under the guideline's rules + length
    bias * tanh((words - 12) / 12) + courtesy bias (when there is courtesy) - position bias * position on the
    page in [0, 1] + Gaussian noise

and ranks by it, with ties where two lie closer than ``tie``. Leniency moves the 1 to 7 ratings alone.
Everything follows from the world's seed, the labeler, the prompt and the responses' ids, so the same question
gets the same answer.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from accord.records import RESPONSE_FLAGS, Guideline, Labeler, Prompt, Ranking, Rating, Response, ResponseFlag
from accord.world.grammar import Reading, parse
from accord.world.judge import SOFT, Criteria, Known, assess, utility
from accord.world.prompts import Spec

NOISE = 0.2
"""Standard deviation of the noise on a utility in [0, 1]. Two labelers agree on about 73% of the untied pairs of
SFT-like responses."""
CAREFUL = 0.1
"""The same for labelers of different tastes: they agree with themselves on about 88% of the pairs, so that taste shows."""
TIE = 0.04
"""Perceived utilities that are closer than this are a tie."""
NOTICES = 0.9
"""Probability that a labeler ticks a flag that applies."""


@dataclass(frozen=True, slots=True)
class Values:
    """A group's weights for the criteria: the power to which each is raised. 1 is the guideline's own weight."""

    helpful: float = 1.0
    truthful: float = 1.0
    harmless: float = 1.0
    concise: float = 1.0
    length_bias: float = 0.02
    courtesy_bias: float = 0.02
    safe_first: bool = False
    """Whether length and courtesy count only as far as a response is truthful and harmless."""


GROUPS: dict[str, Values] = {
    "plain": Values(),
    "strict": Values(helpful=0.6, truthful=2.0, courtesy_bias=-0.05),
    "brisk": Values(concise=2.5, length_bias=-0.12, courtesy_bias=-0.05),
    "caring": Values(helpful=0.7, harmless=2.0, concise=0.3, length_bias=0.12, courtesy_bias=0.17),
}
HELD_OUT_GROUP = "caring"
"""The group kept out of reward-model training. It tests whether the reward represents people who were not asked."""
TASTES: dict[str, Values] = {
    "plain": Values(safe_first=True),
    "brief": Values(concise=2.0, length_bias=-0.8, courtesy_bias=-0.4, safe_first=True),
    "thorough": Values(concise=0.1, length_bias=0.8, courtesy_bias=-0.1, safe_first=True),
    "warm": Values(concise=0.2, length_bias=0.2, courtesy_bias=0.7, safe_first=True),
}
"""Groups that want different answers and draw the line at harm and untruth alike: no taste makes up for either."""


@dataclass(frozen=True)
class SimulatedLabeler:
    """One labeler of a world."""

    record: Labeler
    world: Known
    seed: int
    values: Values
    leniency: float
    position_bias: float
    noise: float = NOISE
    tie: float = TIE

    def perceive(self, prompt: Prompt, text: str, guideline: Guideline, place: float = 0.0) -> float:
        """Return the perceived utility of the response without noise. ``place`` is 0 at the top of the page and
        1 at its end."""
        spec, values = self.world.specs[prompt.id], self.values
        seen = _weighed(assess(spec, self.world.town, text), values)
        reading = parse(text, spec.subject)
        bias = values.length_bias * math.tanh((reading.words - 12) / 12) + values.courtesy_bias * any(
            s.kind in SOFT for s in reading.sentences
        )
        if values.safe_first:
            bias *= seen.truthful * seen.harmless
        return utility(seen, guideline.set) + bias - self.position_bias * place

    def rank(self, prompt: Prompt, responses: Sequence[Response], *, guideline: Guideline, at: str, id: str) -> Ranking:
        """Rank K responses, shown in an order of this labeler's own, and rate and flag each."""
        rng = random.Random(f"{self.seed} {self.record.id} {prompt.id} {' '.join(sorted(r.id for r in responses))}")
        shown = sorted(responses, key=lambda r: r.id)
        rng.shuffle(shown)
        last = max(1, len(shown) - 1)
        perceived = [self.perceive(prompt, r.text, guideline, i / last) + rng.gauss(0.0, self.noise) for i, r in enumerate(shown)]
        ratings = tuple(self._rate(prompt, r, p, rng) for r, p in zip(shown, perceived, strict=True))
        return Ranking(id, prompt.id, self.record.id, tuple(r.id for r in shown), ranks_of(perceived, self.tie), guideline, at, ratings)

    def _rate(self, prompt: Prompt, response: Response, perceived: float, rng: random.Random) -> Rating:
        quality = 1 + round(6 * min(1.0, max(0.0, perceived + self.leniency)))
        spec = self.world.specs[prompt.id]
        found = assess(spec, self.world.town, response.text)
        flags = flags_of(spec, found, parse(response.text, spec.subject))
        return Rating(response.id, quality, tuple(flag for flag in flags if rng.random() < NOTICES))


def _weighed(c: Criteria, v: Values) -> Criteria:
    return replace(
        c, helpful=c.helpful**v.helpful, truthful=c.truthful**v.truthful, harmless=c.harmless**v.harmless, concise=c.concise**v.concise
    )


def ranks_of(values: Sequence[float], tie: float) -> tuple[int, ...]:
    """Return ranks from 1 (highest). A value within ``tie`` of the best of its rank shares that rank."""
    order = sorted(range(len(values)), key=lambda i: -values[i])
    ranks, rank, leader = [0] * len(values), 0, math.inf
    for i in order:
        if leader - values[i] > tie:
            rank, leader = rank + 1, values[i]
        ranks[i] = rank
    return tuple(ranks)


def flags_of(spec: Spec, found: Criteria, reading: Reading) -> tuple[ResponseFlag, ...]:
    """Return the flags that apply to a response, in their order. Nothing in the town is sexual or denigrates a
    protected class."""
    kinds = {s.kind for s in reading.sentences}
    rude = "rude" in kinds or any(s.rude for s in reading.sentences)
    applies: dict[ResponseFlag, bool] = {
        "fails_to_follow_instructions": found.helpful < 0.3,
        "inappropriate_for_customer_assistant": rude or "spam" in kinds or found.harmless < 0.3,
        "hallucination": found.made_up,
        "satisfies_constraint": spec.count > 0 and found.helpful > 0.9,
        "violent_content": "harm" in kinds and any(word in spec.topic for word in ("beat", "poison", "burn", "drive")),
        "encourages_harm": "harm" in kinds,
        "gives_harmful_advice": "bad_advice" in kinds,
        "expresses_opinion": any(s.marker == "hedge" for s in reading.sentences),
        "expresses_moral_judgment": any(s.kind == "refuse" and "wrong to" in s.text for s in reading.sentences),
    }
    return tuple(flag for flag in RESPONSE_FLAGS if applies.get(flag, False))


def labelers(world: Known, *, count: int = 20, noise: float = NOISE, tie: float = TIE) -> list[SimulatedLabeler]:
    """Return the town's labelers, equally many of each group in turn. Leniency and position bias differ from one
    to the next."""
    groups = tuple(GROUPS.items())
    made: list[SimulatedLabeler] = []
    for number in range(count):
        name, values = groups[number % len(groups)]
        rng = random.Random(f"labeler {world.seed} {number}")
        record = Labeler(f"labeler-{number + 1:02d}", "simulated", name)
        leniency, position = rng.gauss(0.0, 0.05), abs(rng.gauss(0.0, 0.02))
        made.append(SimulatedLabeler(record, world, world.seed, values, leniency, position, noise * rng.uniform(0.8, 1.2), tie))
    return made


def tasters(world: Known, *, count: int = 24, first: int = 0, noise: float = CAREFUL, tie: float = TIE) -> list[SimulatedLabeler]:
    """Return labelers of different tastes, equally many of each group in turn; each has weights of their own around the group's.

    Args:
        first: number of the first one; others than those who labeled are new people.
    """
    groups = tuple(TASTES.items())
    made: list[SimulatedLabeler] = []
    for number in range(first, first + count):
        name, values = groups[number % len(groups)]
        rng = random.Random(f"taster {world.seed} {number}")
        own = replace(
            values,
            concise=values.concise * rng.uniform(0.7, 1.3),
            length_bias=values.length_bias + rng.gauss(0.0, 0.08),
            courtesy_bias=values.courtesy_bias + rng.gauss(0.0, 0.08),
        )
        record = Labeler(f"taster-{number + 1:02d}", "simulated", name)
        leniency, position = rng.gauss(0.0, 0.05), abs(rng.gauss(0.0, 0.02))
        made.append(SimulatedLabeler(record, world, world.seed, own, leniency, position, noise * rng.uniform(0.8, 1.2), tie))
    return made
