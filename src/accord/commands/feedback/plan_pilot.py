"""A pilot that the world's labelers rank, for `accord plan --by world`: responses as a small SFT model would write them."""

from __future__ import annotations

import random

from accord.feedback.guidelines import reference
from accord.records import Prompt, RankedPrompt, Ranking, Response
from accord.settings import PlanConfig
from accord.world import World, labelers
from accord.world.demonstrations import MANNERS, write

SLIPS = 0.12
"""Share of a pilot's responses that answer another prompt, as a small SFT model's do."""


def simulated_pilot(world: World, config: PlanConfig) -> tuple[list[RankedPrompt], list[Ranking]]:
    """Let labelers of all groups rank ``config.pilot`` prompts, a share ``config.overlap`` of them twice.

    Returns:
        The rankings as reward models learn from them, and as they were given.
    """
    rng, simulated, guideline = random.Random(f"plan {config.seed}"), labelers(world), reference("training")
    ranked, rankings = list[RankedPrompt](), list[Ranking]()
    for prompt in rng.sample(world.prompts, min(config.pilot, len(world.prompts))):
        responses = _responses(world, prompt, config.k, rng)
        by_id = {response.id: response for response in responses}
        for labeler in rng.sample(simulated, 2 if rng.random() < config.overlap else 1):
            record = labeler.record
            ranking = labeler.rank(prompt, responses, guideline=guideline, at="", id=f"{prompt.id}-{record.id}")
            shown = tuple(by_id[id] for id in ranking.response_ids)
            rankings.append(ranking)
            ranked.append(RankedPrompt(prompt, shown, ranking.ranks, record.id, record.group))
    return ranked, rankings


def _responses(world: World, prompt: Prompt, k: int, rng: random.Random) -> list[Response]:
    spec = world.specs[prompt.id]
    same_kind = [other for other in world.specs.values() if other.kind == spec.kind]
    responses = list[Response]()
    for number in range(k):
        answered = rng.choice(same_kind) if rng.random() < SLIPS else spec
        text = write(answered, world.town, rng, rng.choice(tuple(MANNERS)))
        responses.append(Response(f"{prompt.id}/{number}", prompt.id, text, "pilot"))
    return responses
