"""The stage before any other: a new project with the built-in world in it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from accord.data.corpus import write_documents
from accord.feedback.store import Store
from accord.records import Labeler
from accord.runtime.files import new_folder
from accord.runtime.project import Project, vacant
from accord.settings import WorldConfig
from accord.world import World, labelers

SETTINGS: dict[str, dict[str, object]] = {
    "sft": {"lr": 1.5e-2, "muon_lr": 0.015},
    "reward": {"lr": 2e-3, "muon_lr": 0.003},
    "ppo": {"lr": 3e-3, "muon_lr": 0.003, "value_lr": 3e-3, "value_muon_lr": 0.003, "ptx_coef": 4.0, "ema": 0.95},
    "dpo": {"lr": 1e-3, "muon_lr": 0.001},
    "kto": {"lr": 2.5e-4, "muon_lr": 0.00025, "beta": 0.3},
    "ilql": {"lr": 3e-3, "muon_lr": 0.003},
    "grpo": {"lr": 1e-3, "muon_lr": 0.002, "kl_coef": 0.3},
    "rloo": {"lr": 1e-3, "muon_lr": 0.002},
    "reinforce": {"lr": 1e-3, "muon_lr": 0.002},
    "raft": {"lr": 3e-3, "muon_lr": 0.003, "rounds": 4},
}
"""What the world's small model learns best with: a thousand times the rates of a large pretrained one, which are the defaults."""


def new_world(path: Path, config: WorldConfig) -> tuple[Project, dict[str, int]]:
    """A project with the built-in world in it, whole or not at all: raw text in corpus/; prompts, labelers, demonstrations in the store."""
    folder = vacant(path)
    world = World.generate(config.seed, config)
    with new_folder(folder) as unfinished:
        project = Project.create(unfinished, settings={"project": {"name": folder.name}, "world": dataclasses.asdict(config), **SETTINGS})
        documents = write_documents(project.path / "corpus" / "world.jsonl", world.documents)
        with Store.open(project.store_url) as store:
            store.add_prompts(world.prompts)
            store.add_labelers(person.record for person in labelers(world))
            store.add_labelers(Labeler(writer, "simulated", "writers") for writer in sorted({d.labeler for d in world.demonstrations}))
            store.add_demonstrations(world.demonstrations)
            counts = {"documents": documents, **store.counts()}
    return Project.open(folder), counts
