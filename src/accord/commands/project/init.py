"""`accord init`: create a project: empty, from a recipe, or with the built-in world in it.

Needs a new or empty folder. Leaves accord.toml, models/ and runs/; with `--recipe` also the recipe's files (docs/recipes.md); with
`--world` also raw text in corpus/, and prompts, labelers and demonstrations in the feedback database, together with the settings that the
world's small model learns best with.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from accord.commands import language
from accord.commands.app import Flat, shows, table_of
from accord.data.corpus import write_documents
from accord.errors import UsageError
from accord.feedback import questions
from accord.feedback.store import Store
from accord.records import Labeler
from accord.runtime import recipes
from accord.runtime.files import OWNER_ONLY, new_folder, write_atomic
from accord.runtime.project import FILE, Project, vacant
from accord.settings import WorldConfig
from accord.settings.methods import LABELED, SAMPLING
from accord.settings.rates import WORLD
from accord.world import World, labelers
from accord.world.picture_town import QUESTION, SIDE, WRITER, PictureTown, picture_labelers

LENGTHS: Mapping[str, int] = {
    **dict.fromkeys(("sft", "reward", "process", *LABELED), 256),
    **dict.fromkeys(("sample", *SAMPLING, "distill", "evaluate", "compare", "frontier", "probe", "taste", "algorithms"), 48),
    **dict.fromkeys(("star", "solve"), 96),
    "critique": 512,
    "chat": 64,
}
"""The longest row to learn from, or the longest response, in tokens: the town's people answer in a sentence or two."""
SETTINGS: dict[str, Mapping[str, object]] = dict(WORLD)
"""What a world's accord.toml begins with: rates and lengths that suit its small model."""
for _name, _length in LENGTHS.items():
    SETTINGS[_name] = {**SETTINGS.get(_name, {}), "max_tokens": _length}
RECIPE_HELP = f"Begin with a recipe: {', '.join(recipes.built_in())}, a folder such as ./my-recipe, or a plugin (docs/recipes.md)."


PICTURES: dict[str, Mapping[str, object]] = {
    "sft": {"train_vision": True, "lr": 3e-3, "epochs": 6, "batch_size": 32, "ptx_tokens": 0, "select": "last", "max_tokens": 128},
    "sample": {"k": 4, "prompts": 600, "held_out": 60, "max_tokens": 48},
    "reward": {"train_vision": True, "lr": 1e-3, "max_tokens": 128},
    "dpo": {"train_vision": True, "lr": 5e-4, "epochs": 2, "batch_size": 16, "max_tokens": 128},
}
"""What picture town's accord.toml begins with: its model learns to see together with the captions, and its answers are short."""


def _show(metrics: Mapping[str, Any]) -> None:
    table_of(f"project {Path(metrics['folder']).name}", {name: value for name, value in metrics.items() if name != "files"})
    if "files" in metrics:
        folder = metrics["folder"]
        chinese = language.chosen() == "zh"
        print(f"接下来的命令见 {folder}/README.zh-CN.md" if chinese else f"What to do next stands in {folder}/README.md")


@shows(_show)
def init(
    path: Annotated[Path, Parameter(help="Folder of the new project.")],
    *,
    world: Annotated[
        bool, Parameter(help="Put the built-in world into it: raw text, prompts, demonstrations, labelers.", negative="")
    ] = False,
    recipe: Annotated[str, Parameter(help=RECIPE_HELP)] = "",
    config: Annotated[WorldConfig, Flat] = WorldConfig(),
) -> dict[str, Any]:
    """Create a project: empty, from a recipe, or with the built-in world in it.

    Example: accord init my-town --world --seed 1

    Returns:
        The project's folder; with a recipe also its files; with the world also how many documents, prompts, labelers and demonstrations
        it holds.

    Raises:
        InputError: a project, or anything else, stands there already, or a file of the recipe is missing or cannot be used.
        UsageError: there is no such recipe, or a recipe and the world are both asked for.
    """
    if world and recipe:
        raise UsageError("a project has a recipe or the built-in world", where="accord init", hint="leave one of the two out")
    if recipe:
        return {"folder": str(path), "recipe": recipe, **_with_recipe(path, recipe)}
    if world:
        return {"folder": str(path), **_with_world(path, config)}
    Project.create(path)
    return {"folder": str(path)}


def _with_recipe(path: Path, recipe: str) -> dict[str, Any]:
    """Create a project that holds a recipe's files, whole or not at all."""
    folder = vacant(path)
    files = recipes.contents(recipes.find(recipe))
    files[FILE] = recipes.settings_text(files[FILE], folder.name).encode()
    with new_folder(folder) as unfinished:
        Project.create(unfinished)
        for name, content in files.items():
            target = unfinished / name
            target.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(target, content, mode=OWNER_ONLY if name == FILE else None)
        project = Project.open(unfinished)
        questions.load(project.settings.get("label.questions"), project.path)
    return {"files": sorted(files)}


def _with_world(path: Path, config: WorldConfig) -> dict[str, int]:
    """Create a project that holds the world, whole or not at all."""
    folder = vacant(path)
    if config.pictures:
        return _with_pictures(folder, config)
    world = World.generate(config.seed, config)
    with new_folder(folder) as unfinished:
        project = Project.create(unfinished, settings={"project": {"name": folder.name}, "world": dataclasses.asdict(config), **SETTINGS})
        documents = write_documents(project.path / "corpus" / "world.jsonl", world.documents)
        writers = sorted({demonstration.labeler for demonstration in world.demonstrations})
        with Store.open(project.store_url) as store:
            store.add_prompts(world.prompts)
            store.add_labelers(person.record for person in labelers(world))
            store.add_labelers(Labeler(writer, "simulated", "writers") for writer in writers)
            store.add_demonstrations(world.demonstrations)
            return {"documents": documents, **store.counts()}


def _with_pictures(folder: Path, config: WorldConfig) -> dict[str, int]:
    """Create a project that holds picture town and an untrained model that can be shown it, whole or not at all."""
    from accord.commands.picture_base import write_base  # loads torch

    town = PictureTown.generate(config.seed, config)
    with new_folder(folder) as unfinished:
        settings = {"project": {"name": folder.name}, "world": dataclasses.asdict(config), **PICTURES}
        project = Project.create(unfinished, settings=settings)
        with Store.open(project.store_url) as store:
            store.add(
                labelers=[Labeler(WRITER, "simulated", "writers"), *(viewer.record for viewer in picture_labelers(town))],
                prompts=town.prompts,
                media=town.files,
                demonstrations=town.demonstrations,
            )
            counts = store.counts()
        write_base(project, [QUESTION, *(row.text for row in town.demonstrations)], side=SIDE, seed=config.seed)
    return counts
