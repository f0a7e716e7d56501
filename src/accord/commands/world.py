"""The built-in world of a project. Loads no torch."""

from __future__ import annotations

from accord.errors import UsageError
from accord.runtime.project import Project
from accord.settings import WorldConfig
from accord.world import World
from accord.world.picture_town import PictureTown


def world_of(project: Project) -> World:
    """Return the built-in world that the project was created with.

    Raises:
        UsageError: it was created without one.
    """
    settings = project.settings.get("world")
    if settings is None:
        hint = "`accord init PROJECT --world` creates one; people's rankings come in with `accord import`"
        raise UsageError("the project has no built-in world, so nobody simulated can label it", where=str(project.path), hint=hint)
    config = WorldConfig(**settings)
    if config.pictures:
        hint = "`accord label --by world` ranks its responses; for all else give `accord init --world` without --pictures"
        raise UsageError("the project's world is picture town, which has no texts of the town", where=str(project.path), hint=hint)
    return World.generate(config.seed, config)


def picture_town_of(project: Project) -> PictureTown | None:
    """Return the picture town that the project was created with; None where it has another world, or none."""
    config = WorldConfig(**project.settings.get("world", {}))
    return PictureTown.generate(config.seed, config) if config.pictures else None


def has_world(project: Project) -> bool:
    """Whether the project was created with the built-in world of texts."""
    return "world" in project.settings and not project.settings["world"].get("pictures", False)
