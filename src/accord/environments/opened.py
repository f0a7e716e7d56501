"""Open an environment by its name: a class of the user's, one that is built in, one of another package, or one behind an address."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from accord.environments.address import HttpEnvironment, check_address
from accord.environments.gymnasium_text import GymnasiumText
from accord.environments.hosted import Environments
from accord.environments.openenv_client import OpenEnvEpisode, generic_client
from accord.environments.played import AtAddress, AtOnce, PlayedUser, Speak
from accord.environments.tools import Calculator, PythonTool, Search, Tool, ToolUse
from accord.environments.verifiers_env import VerifiersEpisode, load_verifiers
from accord.errors import UsageError
from accord.runtime.own_code import imported

BUILT_IN: dict[str, str] = {
    "errands": "accord.world.errands:ErrandUser",
}
"""Built-in environments by name: where each class is."""
FORMS = "module:Class, errands, tools:calculator+search, user:MODEL, user:MODEL@ADDRESS, gymnasium:ID, verifiers:ID, openenv:ADDRESS, http://..."
ADDRESS = re.compile(r"\b(?:https?|wss?)://.*")
TOOLS = ("calculator", "search", "python")


Open = Callable[[str], Speak]
"""Opens a model of the project, which plays a user."""


def open_environment(name: str, folder: Path, *, seconds: float, at_once: int, player: Open | None = None) -> Environments:
    """Return the environments that a name stands for.

    Args:
        name: one of ``FORMS``. A module is looked for in ``folder`` (the project) and the current folder before installed packages.
        seconds: longest time of one answer. at_once: how many answer at once.
        player: opens a model of the project by its name; without it, a user can be played by a model behind an address alone.

    Raises:
        UsageError: there is no such environment, or importing it fails.
        InputError: the project has no documents to search.
    """
    make, deterministic = _maker(name, folder, seconds, player)
    return Environments(make, name=name, seconds=seconds, at_once=at_once, deterministic=deterministic)


def _maker(name: str, folder: Path, seconds: float, player: Open | None) -> tuple[Callable[[], Any], bool | None]:
    """Return what makes an environment, and whether it answers the same again; None leaves that to the class."""
    kind, _, rest = name.partition(":")
    if at := ADDRESS.search(name):
        check_address(at.group(), f"--environment {kind}")
    if kind in ("http", "https"):
        return partial(HttpEnvironment, name, seconds), False
    if kind == "tools":
        names = [each.strip() for each in rest.split("+")]
        # A program may draw random numbers or read the clock.
        return partial(ToolUse, [_tool(each, folder, seconds) for each in names]), "python" not in names
    if kind == "user":
        model, found, address = rest.partition("@")
        if model and not found and player is not None:
            return partial(PlayedUser, AtOnce(player(model))), False
        if not model or not address.startswith(("http://", "https://")):
            hint = "user:MODEL for a model of the project, or user:MODEL@http://host:8000/v1"
            raise UsageError(f"{rest!r} is no model that could play a user", where="--environment user", hint=hint)
        return partial(PlayedUser, AtAddress(address, model, seconds)), False
    if kind == "gymnasium" and rest:
        GymnasiumText(rest).close()  # an unknown id is said here, and not by every episode
        return partial(GymnasiumText, rest), False
    if kind == "verifiers" and rest:
        return partial(VerifiersEpisode, load_verifiers(rest)), False
    if kind == "openenv":
        field, found, address = rest.rpartition("@")
        if not address.startswith(("http://", "https://", "ws://", "wss://")) or (found and not field):
            raise UsageError(f"{rest!r} is no address", where="--environment openenv", hint="openenv:FIELD@http://host:8000")
        generic_client()
        return partial(OpenEnvEpisode, address, field or "message", seconds), False
    return _class(BUILT_IN.get(name, name), folder), None


def _tool(name: str, folder: Path, seconds: float) -> Tool:
    if name == "calculator":
        return Calculator()
    if name == "search":
        return Search(folder / "corpus")
    if name == "python":
        return PythonTool(min(seconds, 5.0))
    raise UsageError(f"there is no tool {name!r}", where="--environment tools", hint=f"one or more of {', '.join(TOOLS)}, joined by +")


def _class(address: str, folder: Path) -> Callable[[], Any]:
    module, found, name = address.partition(":")
    if not found or not module or not name:
        hint = f"{FORMS}; docs/episodes.md shows what an environment is"
        raise UsageError(f"there is no environment {address!r}", where="--environment", hint=hint)
    hint = f"a file {module}.py in the project's folder, with a class {name} that has reset(row) and step(messages)"
    made = imported(address, folder, where=f"--environment {address}", hint=hint)
    missing = [method for method in ("reset", "step") if not callable(getattr(made, method, None))]
    if not callable(made) or missing:
        what = f"has no {' and no '.join(missing)}" if missing else "is no class"
        raise UsageError(what, where=f"--environment {address}", hint="docs/episodes.md shows what an environment is")
    return made
