"""Which simulated labelers rank which prompts: the same choice for `accord label --by world` and `accord queue --as-world`."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar

from accord.feedback.store import Store
from accord.feedback.unranked import unranked
from accord.records import Guideline, Labeler, Prompt, Ranking, Response
from accord.runtime.seeds import derive
from accord.settings import LabelConfig
from accord.world import HELD_OUT_GROUP, World
from accord.world.picture_town import PictureTown


class Ranker(Protocol):
    """A simulated labeler, of the town or of picture town."""

    @property
    def record(self) -> Labeler: ...

    def rank(self, prompt: Prompt, responses: Sequence[Response], *, guideline: Guideline, at: str, id: str) -> Ranking: ...


Simulated = TypeVar("Simulated", bound=Ranker)


class Assignment(NamedTuple, Generic[Simulated]):
    """A prompt's responses and the simulated labelers who rank them."""

    prompt: Prompt
    responses: list[Response]
    labelers: list[Simulated]


def rankable(store: Store, world: World | PictureTown) -> list[tuple[Prompt, list[Response]]]:
    """Return the prompts of the world with two or more responses that nobody has ranked.

    Simulated labelers know what the world's own prompts ask for; arithmetic, and prompts that were imported, are left to people.
    """
    return [(prompt, responses) for prompt, responses in unranked(store) if prompt.id in world.specs]


def assignments(
    config: LabelConfig, waiting: Iterable[tuple[Prompt, list[Response]]], labelers: Sequence[Simulated]
) -> Iterator[Assignment[Simulated]]:
    """Assign one labeler to each prompt, and a second to a share ``config.overlap`` of them, by the seed.

    Prompts of held-out users also go to a labeler of the held-out group, so that the reward model can be measured on people whom
    it did not learn from.
    """
    rng = random.Random(derive(config.seed, "label"))
    training_groups = [labeler for labeler in labelers if labeler.record.group != HELD_OUT_GROUP]
    held_out_group = [labeler for labeler in labelers if labeler.record.group == HELD_OUT_GROUP]
    for prompt, responses in waiting:
        chosen = rng.sample(training_groups, 2 if rng.random() < config.overlap else 1)
        if prompt.split != "train" and held_out_group:
            chosen.append(rng.choice(held_out_group))
        yield Assignment(prompt, responses, chosen)
