"""The adapters that a server is asked for, by their names, each with its folder and the base that it lies over."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from accord.commands.models import locate
from accord.errors import UsageError
from accord.runtime.model_files import ADAPTER, ON, model_files
from accord.runtime.project import Project

NAME = re.compile(r"[\w.:-]+(/[\w.:-]+)*")
HINT = "--adapters 'brief=adapters/brief, formal=adapters/formal'"


@dataclass(frozen=True)
class NamedAdapter:
    """An adapter to be served."""

    source: str
    """Its folder, or ``ADAPTER on BASE``."""
    base: str
    """Its base: a model of the project, or a folder or hub name."""


def named_adapters(project: Project, told: str) -> dict[str, NamedAdapter]:
    """Return the adapters of a setting by their names: ``NAME=FOLDER``, separated by commas.

    A model of the project that kept its adapter may be named alone, and stand for its folder. FOLDER is looked for here, then in the
    project; ``FOLDER on BASE`` names a base that is not the one of its configuration.

    Raises:
        UsageError: an entry is no name with a folder, or a name stands there twice.
        ModelError: a folder is no adapter, or its base is not there.
    """
    found: dict[str, NamedAdapter] = {}
    for entry in (part.strip() for part in told.split(",")):
        if not entry:
            continue
        name, given, folder = (part.strip() for part in entry.partition("="))
        if not NAME.fullmatch(name) or (given and not folder):
            raise UsageError(f"{entry!r} is no NAME=FOLDER", where="--adapters", hint=HINT)
        if name in found:
            raise UsageError(f"two adapters are called {name}", where="--adapters", hint=HINT)
        source = _source(project, folder or name)
        files = model_files(source)
        if files.adapter is None:
            what = f"{folder or name} is a whole model, not an adapter"
            raise UsageError(what, where="--adapters", hint="serve it by --model, or train with --keep-adapter to have its adapter")
        found[name] = NamedAdapter(source, _base(project, files.source))
    return found


def _source(project: Project, told: str) -> str:
    """Return the folder that an entry means, with the base that it names."""
    adapter, on, base = told.partition(ON)
    if adapter in project.models():
        kept = project.model(adapter) / "adapter"
        adapter = str(kept if kept.is_dir() else project.model(adapter))
    elif not Path(adapter, ADAPTER).is_file() and (project.path / adapter / ADAPTER).is_file():
        adapter = str(project.path / adapter)
    return f"{adapter}{ON}{locate(project, base)}" if on else adapter


def _base(project: Project, source: str) -> str:
    """Return the project's name for a base, or the base as it is named."""
    folder = Path(source)
    if folder.is_dir():
        for name in project.models():
            if project.model(name).resolve() == folder.resolve():
                return name
    return source
