"""The project's language models as they are on disk now. Loads no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from accord.errors import AccordError
from accord.runtime.lineage import digest_folder, read
from accord.runtime.model_files import ADAPTER, CONFIG
from accord.runtime.project import Project

FIRST = ("ppo", "sft", "base")
"""The default speaker of models without lineage: the first of these that exists."""
VISION = "vision_config"
PROCESSORS = ("preprocessor_config.json", "processor_config.json")
SHOWN = 12
"""Characters shown of a digest."""


def speaks(folder: Path) -> bool:
    """Return whether a model folder holds a language model, or an adapter on one, rather than a reward or value model."""
    try:
        if (folder / ADAPTER).is_file():
            return json.loads((folder / ADAPTER).read_text("utf-8")).get("task_type") != "SEQ_CLS"
        if not (folder / CONFIG).is_file():
            return any(folder.glob("*.gguf"))
        config: Any = json.loads((folder / CONFIG).read_text("utf-8"))
        kind = str((config.get("architectures") or [""])[0])
    except (OSError, ValueError):
        return False
    return kind.endswith("ForCausalLM") or (VISION in config and kind.endswith("ForConditionalGeneration"))


def sees(folder: Path) -> bool:
    """Return whether a model folder, or the base of its adapter, says that it reads pictures and holds the processor for them."""
    try:
        if (folder / ADAPTER).is_file():
            base = str(json.loads((folder / ADAPTER).read_text("utf-8")).get("base_model_name_or_path") or "")
            folder = folder / base if base and (folder / base).is_dir() else Path(base)
        config: Any = json.loads((folder / CONFIG).read_text("utf-8"))
        return VISION in config and any((folder / name).is_file() for name in PROCESSORS)
    except (OSError, ValueError):
        return False


@dataclass(frozen=True)
class Shelf:
    """The language models of a project, read from disk at every call."""

    project: Project
    _digests: dict[str, tuple[float, str]] = field(default_factory=dict[str, "tuple[float, str]"])

    def names(self) -> Sequence[str]:
        """Return the models' names, the default speaker first: the newest policy that no other was trained from.

        The rest follows in the same order: models trained from another of the project before those that were not, newest first.
        """
        found = [name for name in self.project.models() if speaks(self.project.model(name))]
        records = {name: _record(self.project.model(name)) for name in found}
        parents = {name: set(records[name].get("parents", {})) & set(found) - {name} for name in found}
        behind = set[str]().union(*parents.values())

        def order(name: str) -> tuple[object, ...]:
            trained, last = bool(parents[name]), name not in behind
            known = FIRST.index(name) if name in FIRST else len(FIRST)
            return not (trained and last), not trained, _newest_first(str(records[name].get("at", ""))), known

        return sorted(found, key=order)

    def digest(self, name: str) -> str:
        """Return the first digits of a model's digest, or "" if there is no such model. A rewritten folder is read again."""
        if name not in self.names():
            return ""
        folder = self.project.model(name)
        changed = max(path.stat().st_mtime for path in folder.iterdir())
        if self._digests.get(name, (0.0, ""))[0] != changed:
            self._digests[name] = (changed, digest_folder(folder)[:SHOWN])
        return self._digests[name][1]

    def sees(self, name: str) -> bool:
        """Return whether a model reads pictures, as its folder says."""
        return name in self.project.models() and sees(self.project.model(name))

    def origin(self, name: str) -> str:
        """Return in a line what trained a model, from which others, when, and whether it is the newest policy."""
        record = _record(self.project.model(name))
        if not record:
            return "without lineage"
        parents = ", ".join(record.get("parents", {}))
        made = f"{record.get('stage') or 'made'}{f' from {parents}' if parents else ''}, {str(record.get('at', ''))[:16]}"
        return f"{made}: the newest policy by lineage" if parents and name == next(iter(self.names()), "") else made


def reward_models(project: Project) -> list[str]:
    """Return the names of the project's reward models, newest first. Value models, which are stored alike, are none."""
    found: dict[str, str] = {}
    for name in project.models():
        record = _record(project.model(name))
        if record.get("stage", "") == "reward" or (not record and _scores(project.model(name))):
            found[name] = str(record.get("at", ""))
    return sorted(found, key=lambda name: (_newest_first(found[name]), name))


def _scores(folder: Path) -> bool:
    try:
        architectures = json.loads((folder / CONFIG).read_text("utf-8")).get("architectures") or [""]
    except (OSError, ValueError, AttributeError):
        return False
    return str(architectures[0]).endswith("ForSequenceClassification")


def _record(folder: Path) -> Mapping[str, Any]:
    """Return a model's lineage, empty when it has none or it cannot be read: the order of a list is no reason to stop."""
    try:
        record: Any = read(folder)
    except (AccordError, OSError, ValueError, RecursionError):
        return {}
    sound = isinstance(record, dict) and isinstance(record.get("parents", {}), dict)
    return record if sound else {}


def _newest_first(at: str) -> tuple[int, ...]:
    """Return what sorts times of lineage with the newest first, and no time after all others."""
    return tuple(-ord(character) for character in at) or (0,)
