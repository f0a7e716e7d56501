"""The origin of a model: its parents and its exact training feedback, by digest, from the weights back to the clicks."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, cast

from accord.errors import InputError
from accord.runtime.files import write_atomic
from accord.runtime.jsonable import defined
from accord.runtime.model_card import CARD, About, card
from accord.runtime.project import Project
from accord.runtime.version import __version__

LINEAGE = "lineage.json"
_MODEL_SUFFIXES = {".safetensors", ".json", ".jinja", ".txt", ".model", ".bin", ".gguf"}


@dataclass(frozen=True)
class Ancestor:
    """One ancestor of a model, with the content of its lineage.json. ``record`` is empty for a model without one
    (a downloaded base)."""

    name: str
    depth: int
    """0 for the model itself, 1 for its parents."""
    digest: str
    """The folder's digest now; empty when it is missing."""
    state: Literal["same", "changed", "missing"]
    """Whether the folder is unchanged since its child was trained on it (for the model itself: since it was written)."""
    record: dict[str, Any]


def digest_folder(folder: Path) -> str:
    """Return the sha256 over names and contents of the files that make a model: configuration, weights,
    tokenizer, chat template. A .gguf file holds all of them; its own sha256 is returned.

    Raises:
        InputError: there is no such folder, or nothing of a model in it.
    """
    if folder.is_file():
        with folder.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if _makes_model(path, folder)}
    if not paths:
        raise InputError("holds no model", where=str(folder), hint="a model folder has config.json, *.safetensors and tokenizer files")
    total = hashlib.sha256()
    for name in sorted(paths):
        with paths[name].open("rb") as file:
            total.update(f"{name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()


def digest_weights(folder: Path) -> str:
    """Return the sha256 over the names and contents of a model folder's weights alone; empty where it has none of its own."""
    total, files = hashlib.sha256(), sorted([*folder.glob("*.safetensors"), *folder.glob("*.gguf")])
    for path in files:
        with path.open("rb") as file:
            total.update(f"{path.name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest() if files else ""


def _makes_model(path: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return path.is_file() and not hidden and path.name != LINEAGE and path.suffix in _MODEL_SUFFIXES


def digest_rows(rows: Iterable[object]) -> str:
    """Return the sha256 over rows in order, each as JSON with sorted keys. Dataclasses count as their fields."""
    total = hashlib.sha256()
    for row in rows:
        line = json.dumps(row, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=_as_dict)
        total.update(line.encode() + b"\n")
    return total.hexdigest()


def _as_dict(value: object) -> dict[str, Any]:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    raise TypeError(f"a {type(value).__name__} has no digest; rows hold numbers, strings, lists, dicts and dataclasses")


def write(
    folder: Path,
    *,
    stage: str,
    parents: Mapping[str, str],
    data: Mapping[str, str],
    settings: Mapping[str, object],
    metrics: Mapping[str, object],
    name: str = "",
    about: About | None = None,
) -> None:
    """Write lineage.json and the model card into a model folder that already has its weights and tokenizer.

    Args:
        parents: digest by model name.
        data: digest by what it is, e.g. ``rankings``.
        metrics: the run's summary.
        name: the model's name where the folder still has a temporary one.
        about: what the card says besides.
    """
    record = {
        "name": name or folder.name,
        "stage": stage,
        "digest": digest_folder(folder),
        "parents": dict(parents),
        "data": dict(data),
        "settings": dict(settings),
        "metrics": defined(metrics),
        "accord": __version__,
        "at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
    }
    write_atomic(folder / LINEAGE, json.dumps(record, indent=2, ensure_ascii=False, default=_as_dict) + "\n")
    write_atomic(folder / CARD, card(record, about or About()))


def read(folder: Path) -> dict[str, Any]:
    """Return the content of lineage.json, empty if there is none. Raises InputError if it is no record of a model."""
    path = folder / LINEAGE
    if not path.is_file():
        return {}
    hint = "train the model again with the command in its README.md"
    try:
        record: Any = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError("is not JSON", where=str(path), hint=hint) from error
    tables = ("parents", "data", "settings", "metrics")
    if not isinstance(record, dict) or any(not isinstance(cast("dict[str, Any]", record).get(part, {}), dict) for part in tables):
        raise InputError("is no record of a model", where=str(path), hint=hint)
    parents = cast("dict[str, Any]", record).get("parents", {})
    if odd := next((name for name, digest in parents.items() if not isinstance(digest, str)), None):
        raise InputError(f"the digest of the parent {odd!r} is no text", where=str(path), hint=hint)
    return cast("dict[str, Any]", record)


def metrics_of(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the metrics of a lineage.json; older versions wrote them as ``figures``."""
    return record.get("metrics", record.get("figures", {}))


def walk(project: Project, name: str) -> list[Ancestor]:
    """Return the model and all its ancestors, children first. Raises InputError if the project has no such model."""
    if not project.model(name).is_dir():
        raise InputError(
            f"there is no model {name!r}", where=str(project.path / "models"), hint=f"there are: {', '.join(project.models())}"
        )
    found: list[Ancestor] = []
    waiting: list[tuple[str, int, str]] = [(name, 0, "")]
    seen: set[tuple[str, str]] = set()
    while waiting:
        current, depth, expected = waiting.pop(0)
        if (current, expected) in seen:
            continue
        seen.add((current, expected))
        ancestor = _ancestor(project, current, depth, expected)
        found.append(ancestor)
        waiting += [(parent, depth + 1, digest) for parent, digest in ancestor.record.get("parents", {}).items()]
    return found


def _ancestor(project: Project, name: str, depth: int, expected: str) -> Ancestor:
    folder = project.path / "models" / name
    inside = not name.startswith(".") and not any(mark in name for mark in "/\\\0")  # a record may have been written by anybody
    if not inside or not folder.is_dir():
        return Ancestor(name, depth, "", "missing", {})
    record, digest = read(folder), digest_folder(folder)
    expected = expected.partition(" on ")[0]  # an adapter's digest, with that of its base model behind it
    return Ancestor(name, depth, digest, "same" if digest == (expected or record.get("digest", digest)) else "changed", record)


def models_that_learned(project: Project, digests: Collection[str], runs: Collection[str]) -> dict[str, str]:
    """Return the models that were trained on certain snapshots, and their descendants, each with how it was trained.

    Args:
        digests: sha256 of the snapshots.
        runs: names of the runs that hold them; a model bears the name of its run.
    """
    records = {name: read(project.model(name)) for name in project.models()}
    learned: dict[str, str] = {}
    for name, record in records.items():
        if name in runs or not set(digests).isdisjoint(record.get("data", {}).values()):
            learned[name] = "learned from it"
    while True:
        descendants: dict[str, str] = {}
        for name, record in records.items():
            parents = sorted(learned.keys() & record.get("parents", {}).keys())
            if name not in learned and parents:
                descendants[name] = f"descends from {', '.join(parents)}"
        if not descendants:
            return learned
        learned |= dict(sorted(descendants.items()))
