"""The models of a project that can be talked to, as the chat finds them on disk."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from accord.runtime.lineage import digest_folder
from accord.runtime.project import Project

FIRST = ("ppo", "sft", "base")
"""Who answers where nothing else is said: the first of these that there is."""
SHOWN = 12
"""Characters of a digest."""


@dataclass(frozen=True)
class Shelf:
    """The project's models that can be talked to, as they are on disk now."""

    project: Project
    _digests: dict[str, tuple[float, str]] = field(default_factory=dict[str, "tuple[float, str]"])

    def names(self) -> Sequence[str]:
        """Their names, best guess first."""
        there = [name for name in self.project.models() if speaks(self.project.model(name))]
        return [*(name for name in FIRST if name in there), *(name for name in there if name not in FIRST)]

    def digest(self, name: str) -> str:
        """The first digits of a model's digest; counted again only when its folder was written anew."""
        if name not in self.names():
            return ""
        folder = self.project.model(name)
        at = max(path.stat().st_mtime for path in folder.iterdir())
        if self._digests.get(name, (0.0, ""))[0] != at:
            self._digests[name] = (at, digest_folder(folder)[:SHOWN])
        return self._digests[name][1]


def speaks(folder: Path) -> bool:
    """Whether a model folder holds a language model, and not a reward or value model."""
    try:
        kinds = json.loads((folder / "config.json").read_text("utf-8")).get("architectures") or [""]
    except (OSError, ValueError):
        return False
    return str(kinds[0]).endswith("ForCausalLM")
