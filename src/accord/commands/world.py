"""The built-in world of a project. Loads no torch."""

from __future__ import annotations

from accord.errors import UsageError
from accord.runtime.project import Project
from accord.settings import WorldConfig
from accord.world import World


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
    return World.generate(config.seed, config)


def has_world(project: Project) -> bool:
    """Whether the project was created with the built-in world."""
    return "world" in project.settings
