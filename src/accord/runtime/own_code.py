"""Code of the user's own, named as ``module:name``: a reward function, an environment."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from accord.errors import UsageError


def imported(address: str, folder: Path, *, where: str, hint: str) -> Any:
    """Import ``module:name``, looking in ``folder`` (the project) and the current folder before installed packages.

    Args:
        where: names the setting in an error. hint: says what the module should hold.

    Raises:
        UsageError: there is no such module or name, or importing it fails.
    """
    module, _, name = address.partition(":")
    _forget_others(folder.absolute())
    before = list(sys.path)
    sys.path[:0] = [str(folder), str(Path.cwd())]
    try:
        return getattr(importlib.import_module(module), name)
    except Exception as error:
        raise UsageError(f"cannot be imported: {type(error).__name__}: {error}", where=where, hint=hint) from error
    finally:
        sys.path[:] = before


_FOLDERS = set[Path]()
"""Folders whose code this process has imported."""


def _forget_others(folder: Path) -> None:
    """Forget what other projects' folders gave under the names of this one's files: two projects may each have a rewards.py."""
    for file in folder.glob("*.py"):
        known = getattr(sys.modules.get(file.stem), "__file__", None)
        if known and (place := Path(known).parent) != folder and place in _FOLDERS:
            del sys.modules[file.stem]
    _FOLDERS.add(folder)
    importlib.invalidate_caches()
