"""All K-choose-2 pairs of a prompt as one batch element, against the same pairs shuffled: these overfit in one epoch."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from itertools import combinations

from frame import OUYANG, Row, above, row, run

from accord.algorithms import reward
from accord.feedback.store import Store
from accord.models.loading import scalar_from
from accord.models.scalar import new_head
from accord.records import RankedPrompt
from accord.runtime.device import pick_device
from accord.runtime.project import Project
from accord.runtime.runs import Run
from accord.runtime.seeds import generator
from accord.settings import RewardConfig
from accord.stages.opening import compute_dtype, load_model
from accord.world import HELD_OUT_GROUP

PROMPTS = 1500
"""Rankings that both learn from."""


def as_rows(project: Project, ranked: Sequence[RankedPrompt]) -> list[reward.RankedRows]:
    spoken = load_model(project, "sft").format
    return [
        reward.ranked_rows(spoken.prompt(each.prompt.messages), [list(r.tokens) for r in each.responses], each.ranks, 256)
        for each in ranked
        if all(response.tokens for response in each.responses)
    ]


def shuffled(rankings: Sequence[reward.RankedRows]) -> list[reward.RankedRows]:
    """Each untied pair an element of its own; training draws them in any order."""
    return [
        reward.RankedRows([each.rows[i], each.rows[j]], [each.ranks[i], each.ranks[j]])
        for each in rankings
        for i, j in combinations(range(len(each.rows)), 2)
        if each.ranks[i] != each.ranks[j]
    ]


def accuracy(project: Project, training: list[reward.RankedRows], validation: list[reward.RankedRows], name: str, batch: int) -> float:
    """Of a fresh reward model after one epoch, on held-out prompts."""
    model, dtype = load_model(project, "sft"), compute_dtype("auto")
    scalar = scalar_from(model.lm, new_head(model.lm.config.hidden_size, generator(0, "reward", "head"))).to(pick_device())
    config = dataclasses.replace(RewardConfig(**project.settings.get("reward", {})), epochs=1, batch_size=batch, save_every=100_000)
    folder = project.run(f"claims-{name}")
    shutil.rmtree(folder, ignore_errors=True)
    kept = Run.start(folder, stage="reward", config=config, inputs={}, resume=False, seed=config.seed)
    reward.train(config, model=scalar, rankings=training, validation=[], demonstrations=[], run=kept, dtype=dtype)
    found = reward.accuracy(scalar, validation, dtype=dtype)
    kept.finish(accuracy_labelers=found)
    return found


def difference(project: Project) -> float:
    """Grouped minus shuffled; as many pairs an optimiser step in both."""
    with Store.open(project.store_url) as store:
        ranked = [each for each in store.ranked_prompts() if each.group != HELD_OUT_GROUP]
    training = as_rows(project, [each for each in ranked if each.prompt.split == "train"][:PROMPTS])
    validation = as_rows(project, [each for each in ranked if each.prompt.split != "train"])
    pairs = shuffled(training)
    size = RewardConfig(**project.settings.get("reward", {})).batch_size
    grouped = accuracy(project, training, validation, "grouped", size)
    return grouped - accuracy(project, pairs, validation, "shuffled", max(1, round(size * len(pairs) / len(training))))


def measure(given: Sequence[Project]) -> list[Row]:
    note = "held-out accuracy after one epoch, grouped minus shuffled"
    values = [difference(project) for project in given]
    return [row("One batch element a prompt beats shuffled pairs", values, above(0.0), source=f"{OUYANG}, section 3.5", note=note)]


if __name__ == "__main__":
    run(measure)
