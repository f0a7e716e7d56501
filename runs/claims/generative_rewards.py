"""A reward model that writes its reason and then its verdict, against a scalar one that learned from the same rankings.

Both start from the demo's SFT model. Labelers' ratings and flags beside their rankings are the reasons that the first one imitates.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import small
from frame import Row, above, row, run

from accord import GenerativeRewardConfig, Project, RewardConfig, config, generative_reward, reward
from accord.commands.world import world_of

TRAINING, HELD_OUT = 250, 80
SOURCE = "Mahan et al. 2024"
RATES: dict[str, Any] = {"lr": 1e-3, "muon_lr": 0.002, "adam_epsilon": 1e-5, "warmup_share": 0.0}
SIZES: dict[str, Any] = {"steps": 8, "batch_size": 64, "group_size": 4, "minibatch_size": 32, "evaluate_every": 0, "max_tokens": 40}


def measure(given: Sequence[Project]) -> list[Row]:
    found = list[dict[str, float]]()
    for project in given:
        began = time.process_time()
        found.append(of_one(project))
        print(f"{project.path.name} ({time.process_time() - began:.0f} CPU s)  {found[-1]}", flush=True)

    def ahead(one: str, other: str) -> list[float]:
        return [each[one] - each[other] for each in found]

    pairs = "accuracy on held-out pairs, difference"
    return [
        row(
            "Verdicts with reasons order held-out pairs as labelers do, above chance",
            [each["verdicts"] for each in found],
            above(0.5),
            source=SOURCE,
        ),
        row(
            "Verdicts with reasons order held-out pairs better than a scalar reward",
            ahead("verdicts", "scalar"),
            above(0.0),
            source=SOURCE,
            note=pairs,
        ),
        row(
            "GRPO on people's order adds to imitation of written verdicts",
            ahead("verdicts", "words"),
            above(0.0),
            source=SOURCE,
            note=pairs,
        ),
    ]


def of_one(parent: Project) -> dict[str, float]:
    """What both reward models are worth, of one seed."""
    world, seed = world_of(parent), int(parent.settings["world"]["seed"])
    project = small.child(parent, "generative", small.demonstrations(parent), models=("base", "sft"))
    asked = [*small.prompts_of(project, "train")[:TRAINING], *small.prompts_of(project, "validation")[:HELD_OUT]]
    said = small.responses(project, "sft", asked, 3, seed)
    small.ranked(project, list(zip(asked, said, strict=True)), small.people(world))
    scalar = reward(project, config=config(project, RewardConfig, seed=seed), flags=small.FLAGS).summary
    settings = GenerativeRewardConfig(**SIZES, **RATES, seed=seed, words_epochs=2, held_out_pairs=1000)
    written = generative_reward(project, config=settings, flags=small.FLAGS).summary
    return {
        "scalar": float(scalar["accuracy_labelers"]),
        "words": float(written["accuracy_words"][0]),
        "verdicts": float(written["accuracy_labelers"][0]),
        "unreadable": float(written["unreadable"]),
        "consistent": float(written["consistent"]),
    }


if __name__ == "__main__":
    run(measure)
