"""The stages before any model: a new project, with the built-in world in it or with what is imported."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from accord.data.corpus import write_documents
from accord.data.importers import read
from accord.feedback.store import Store
from accord.runtime.files import clean_name
from accord.runtime.project import Project
from accord.settings import WorldConfig
from accord.world import World, labelers


def new_world(path: Path, config: WorldConfig) -> tuple[Project, dict[str, int]]:
    """A project with the built-in world in it: raw text in corpus/, prompts, labelers and demonstrations in the store."""
    world = World.generate(config.seed, config)
    project = Project.create(path, settings={"world": dataclasses.asdict(config)})
    documents = write_documents(project.path / "corpus" / "world.jsonl", world.documents)
    with Store.open(project.store_url) as store:
        store.add_prompts(world.prompts)
        store.add_labelers(person.record for person in labelers(world))
        store.add_demonstrations(world.demonstrations)
        return project, {"documents": documents, **store.counts()}


def import_file(project: Project, path: Path, *, format: str, limit: int | None) -> dict[str, int]:
    """Stores what a file holds, all of it or nothing; the same file again adds nothing.

    Raises:
        InputError: the file or a row of it cannot be used; names file, line and field.
    """
    found = read(path, format=format, limit=limit)
    if found.documents:
        write_documents(project.path / "corpus" / f"{clean_name(path.stem)}.jsonl", found.documents)
    with Store.open(project.store_url) as store:
        added = {
            "prompts": store.add_prompts(found.prompts),
            "labelers": store.add_labelers(found.labelers),
            "demonstrations": store.add_demonstrations(found.demonstrations),
            "responses": store.add_responses(found.responses),
            "rankings": store.add_rankings(found.rankings),
        }
    return {"documents": len(found.documents), **added}
