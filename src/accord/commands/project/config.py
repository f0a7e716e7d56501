"""`accord config`: print the settings in force, section by section: accord.toml over the defaults.

Needs a project, and changes nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from accord.commands.app import ProjectPath, shows
from accord.runtime.progress import table
from accord.runtime.project import Project, sections


class Settings(dict[str, dict[str, Any]]):
    """The settings in force by section. ``written`` holds those of accord.toml, without the defaults."""

    def __init__(self, written: Mapping[str, Mapping[str, Any]]) -> None:
        inner = {name: dict(values) for name, values in written.items() if name not in sections()}
        super().__init__({name: dataclasses.asdict(kind()) | dict(written.get(name, {})) for name, kind in sections().items()} | inner)
        self.written = written


def _show(settings: Settings) -> None:
    rows: list[tuple[str, str, str]] = []
    for section, values in settings.items():
        for key, value in values.items():
            source = "accord.toml" if key in settings.written.get(section, {}) else ""
            rows.append((f"{section}.{key}", str(value), source))
    table("settings", ["setting", "value", "from"], rows)


@shows(_show)
def config(project: ProjectPath) -> Settings:
    """Print the settings in force: accord.toml over the defaults, section by section.

    Example: accord config my-town

    Raises:
        UsageError: accord.toml cannot be read, or holds a section, a key or a value that no command knows.
    """
    return Settings(Project.open(project).settings)
