"""Checkpoints as single files, replaced atomically: after a kill, either the old or the new one is intact.
Pickle is never trusted."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from accord.errors import RunError
from accord.runtime.files import clean, disk_errors, replacing

STATE = "state.pt"


def save(folder: Path, state: Mapping[str, object]) -> None:
    """Replace the folder's checkpoint by nested dicts, lists and tuples of tensors, numbers, strings and None.

    Raises:
        RunError: the disk is full; the last checkpoint is whole.
        TypeError: something else stands in the state; the message names where.
    """
    import torch

    _require_plain(state, "state")
    folder.mkdir(parents=True, exist_ok=True)
    clean(folder)
    with disk_errors(folder), replacing(folder / STATE) as unfinished, unfinished.open("wb") as file:
        torch.save(dict(state), file)
        file.flush()
        os.fsync(file.fileno())


def load(folder: Path) -> dict[str, object]:
    """Return the folder's checkpoint, its tensors on the CPU, bit for bit as they were saved.

    Raises:
        RunError: there is none, or it is damaged.
    """
    import torch

    path = folder / STATE
    if not path.is_file():
        raise RunError("there is no checkpoint", where=str(folder), hint="start a new run under another --name, without --resume")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        reason = (str(error).splitlines() or ["it ends too early"])[0]
        raise RunError(f"the checkpoint is damaged ({reason})", where=str(path), hint="start the run again under another --name") from error


def exists(folder: Path) -> bool:
    """Return whether the folder holds a checkpoint."""
    return (folder / STATE).is_file()


def _require_plain(value: object, where: str) -> None:
    """Refuse everything that ``weights_only`` could not read back: an error now costs less than one at the resume."""
    import torch

    if value is None or isinstance(value, bool | int | float | str | torch.Tensor):
        return
    if isinstance(value, Mapping):
        for key, item in cast("Mapping[object, object]", value).items():
            _require_plain(key, f"key of {where}")
            _require_plain(item, f"{where}[{key!r}]")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(cast("Sequence[object]", value)):
            _require_plain(item, f"{where}[{index}]")
    else:
        raise TypeError(f"{where} is a {type(value).__name__}; a checkpoint holds tensors, numbers, strings, lists and dicts")
