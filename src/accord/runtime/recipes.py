"""Recipes: a domain's guideline, questions, prompts, users, rewards and measures, as a folder of plain files to begin a project with.

Accord brings five (``accord/recipes``). A folder of your own is one too, and an installed package may offer one by an entry point of the
group ``accord.recipes``: a path, or the package whose folder it is.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from accord.errors import InputError, UsageError
from accord.runtime import plugins

FILES: Mapping[str, str] = {
    "guideline.md": "the guideline for labelers, in English",
    "guideline.zh-CN.md": "the same in Simplified Chinese",
    "prompts.en.jsonl": "prompts in English, a JSON object per line",
    "prompts.zh.jsonl": "prompts in Chinese",
    "questions.toml": "questions and flags to labelers",
    "accord.toml": "the settings of the project",
    "rewards.py": "rewards as Python functions",
    "measures.py": "measures for accord probe",
    "users.py": "simulated users, as environments",
    "README.md": "the commands from the first to the last",
    "README.zh-CN.md": "the same in Simplified Chinese",
}
"""What a recipe holds, by name."""
GUIDELINES = {"guideline.md": "en", "guideline.zh-CN.md": "zh"}
"""The guidelines' languages. In a project they lie where its own guidelines do."""
OWN_PLACES = (
    *("models", "runs", "jobs", "cache", "guidelines", "advice", "rejects", "undone", "uploads", "watch", "exports"),
    *("feedback.db", "feedback.db-wal", "feedback.db-shm", "feedback.db-journal", "keys.json"),
)
"""Names in a project that belong to Accord; a recipe's files of these names are not copied. A recipe with API keys or sessions of its
own would let its author into the project."""
LARGEST = 64 << 20
"""Bytes of all files of a recipe."""


def built_in() -> list[str]:
    """Return the names of the recipes that come with Accord."""
    folder = Path(str(resources.files("accord").joinpath("recipes")))
    return sorted(path.name for path in folder.iterdir() if (path / "accord.toml").is_file())


def find(name: str) -> Path:
    """Return the folder of a recipe: one of ours, a plugin's, or a folder that is named with a slash or a dot.

    Raises:
        UsageError: there is no such recipe.
        InputError: there is no such folder.
    """
    if name in built_in() and not plugins.has("recipes", name, built_in()):
        return Path(str(resources.files("accord").joinpath("recipes", name)))
    if "/" in name or os.sep in name or name.startswith("."):
        folder = Path(name).expanduser().absolute()
        if not folder.is_dir():
            hint = f"a recipe is a folder, or one of {', '.join(built_in())}"
            raise InputError("there is no such folder", where=f"--recipe {name}", hint=hint)
        return folder
    if plugins.has("recipes", name, built_in()):
        return _offered(name)
    hint = plugins.known(built_in(), "recipes") + (f"; a folder is written ./{name}" if Path(name).is_dir() else "")
    raise UsageError(f"there is no recipe {name!r}", where="--recipe", hint=hint)


def contents(folder: Path) -> dict[str, bytes]:
    """Return a recipe's files, checked, by the path that each has in a project.

    Raises:
        InputError: a file is missing, leads out of the folder, or cannot be read as what it is; names the file and the line.
    """
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        what = f"the recipe has no {', '.join(missing)}"
        hint = "; ".join(f"{name} is {FILES[name]}" for name in missing)
        raise InputError(what, where=str(folder), hint=hint)
    found: dict[str, bytes] = {}
    size = 0
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if not path.is_file() or inside.parts[0].casefold() in OWN_PLACES or any(_left_out(part) for part in inside.parts):
            continue
        if not path.resolve().is_relative_to(folder.resolve()):
            raise InputError("is a link that leads out of the recipe", where=str(path), hint="put the file itself there")
        size += path.stat().st_size
        if size > LARGEST:
            raise InputError(f"the recipe holds more than {LARGEST >> 20} MB", where=str(path), hint="leave large files out")
        found[inside.as_posix()] = path.read_bytes()
    for name in FILES:
        _check(name, found[name], folder / name)
    for name, language in GUIDELINES.items():
        text = found.pop(name)
        for set in ("training", "evaluation"):
            found[f"guidelines/{set}.{language}.md"] = text
    return found


def settings_text(written: bytes, name: str) -> str:
    """Return a recipe's accord.toml with the name of a new project, and all comments kept."""
    text = written.decode()
    named = "name" in tomllib.loads(text).get("project", {})
    return text if named or "[project]" in text else f"[project]\nname = {json.dumps(name, ensure_ascii=False)}\n\n{text}"


def _left_out(part: str) -> bool:
    return part.startswith(".") or part == "__pycache__"


def _check(name: str, content: bytes, path: Path) -> None:
    """Read a file as what it is.

    Raises:
        InputError: it is empty, no UTF-8, or no TOML, JSON lines or Python.
    """
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise InputError("is not UTF-8", where=str(path), hint="save it as UTF-8") from error
    if not text.strip():
        raise InputError("is empty", where=str(path), hint=f"it is {FILES[name]}")
    ending = name.rpartition(".")[2]
    if ending == "toml":
        try:
            tomllib.loads(text)
        except ValueError as error:
            raise InputError(f"is no TOML: {error}", where=str(path), hint="fix it there") from error
    elif ending == "py":
        try:
            compile(text, str(path), "exec")
        except SyntaxError as error:
            raise InputError(f"is no Python: {error.msg}", where=f"{path}:{error.lineno}", hint="fix it there") from error
    elif ending == "jsonl":
        _check_prompts(text, path)


def _check_prompts(text: str, path: Path) -> None:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row: Any = json.loads(line)
        except ValueError as error:
            raise InputError(f"is no JSON: {error}", where=f"{path}:{number}", hint="write one JSON object per line") from error
        if not isinstance(row, dict) or not {"prompt", "messages"} & cast("dict[str, Any]", row).keys():
            hint = 'for example {"prompt": "What do bees make?"}'
            raise InputError("is no prompt", where=f"{path}:{number}", hint=hint)


def _offered(name: str) -> Path:
    """Return the folder that a plugin names.

    Raises:
        UsageError: it cannot be imported, or names no folder.
    """
    found = plugins.load("recipes", name, built_in())
    place = getattr(found, "__file__", None) if isinstance(found, ModuleType) else found
    if isinstance(place, str | Path):
        folder = Path(place).parent if isinstance(found, ModuleType) else Path(place)
        if folder.is_dir():
            return folder.absolute()
    what = f"{name} is of type {type(found).__name__} and names no folder"
    raise UsageError(what, where=plugins.origin("recipes", name), hint="its entry point names a path, or the package whose folder it is")
