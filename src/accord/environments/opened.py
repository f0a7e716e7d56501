"""Open an environment by its name: a class of the user's, or one that is built in."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from accord.environments.hosted import Environments
from accord.errors import UsageError

BUILT_IN: dict[str, str] = {}
"""Built-in environments by name: where each class is."""


def open_environment(name: str, folder: Path, *, seconds: float, at_once: int) -> Environments:
    """Return the environments that a name stands for.

    Args:
        name: ``module:Class``, looked for in ``folder`` (the project) and the current folder before installed packages; or a built-in one.
        seconds: longest time of one answer. at_once: how many answer at once.

    Raises:
        UsageError: there is no such environment, or importing it fails.
    """
    return Environments(_class(BUILT_IN.get(name, name), folder), name=name, seconds=seconds, at_once=at_once)


def _class(address: str, folder: Path) -> Callable[[], Any]:
    module, found, name = address.partition(":")
    if not found or not module or not name:
        hint = "module:Class; docs/episodes.md shows what an environment is"
        raise UsageError(f"there is no environment {address!r}", where="--environment", hint=hint)
    before = list(sys.path)
    sys.path[:0] = [str(folder), str(Path.cwd())]
    try:
        made = getattr(importlib.import_module(module), name)
    except Exception as error:
        hint = f"a file {module}.py in the project's folder, with a class {name} that has reset(row) and step(messages)"
        raise UsageError(f"cannot be imported: {type(error).__name__}: {error}", where=f"--environment {address}", hint=hint) from error
    finally:
        sys.path[:] = before
    missing = [method for method in ("reset", "step") if not callable(getattr(made, method, None))]
    if not callable(made) or missing:
        what = f"has no {' and no '.join(missing)}" if missing else "is no class"
        raise UsageError(what, where=f"--environment {address}", hint="docs/episodes.md shows what an environment is")
    return made
