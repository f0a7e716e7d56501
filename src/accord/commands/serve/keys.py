"""`accord keys`: create, list and revoke the API keys by which programs use `accord serve`.

Needs nothing. Leaves keys.json in the project, readable by its owner alone, with each key's hash; a running server reads it again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any

from cyclopts import App, Parameter

from accord.commands.app import ProjectPath, shows, table_of
from accord.errors import UsageError
from accord.runtime.progress import table
from accord.runtime.project import Project
from accord.serving.keys import Keys

keys = App(name="keys", help="Create, list and revoke API keys.", result_action="return_value")
COLUMNS = ("id", "name", "created", "requests/min", "tokens/min", "models", "state")


def show_added(key: Mapping[str, Any]) -> None:
    """Print a new key, this once."""
    table_of(f"key for {key['name']}", key)


def show_keys(metrics: Mapping[str, Any]) -> None:
    """Print the keys, one per line."""
    rows: list[tuple[str, ...]] = []
    for key in metrics["keys"]:
        limits = (str(key[limit] or "") for limit in ("requests_per_minute", "tokens_per_minute"))
        rows.append((key["id"], key["name"], key["created"], *limits, ", ".join(key["models"]), "revoked" if key["revoked"] else ""))
    table("keys", COLUMNS, rows)


def show_revoked(key: Mapping[str, Any]) -> None:
    """Print which key was revoked."""
    table_of(f"revoked {key['name']}", key)


@keys.command
@shows(show_added)
def add(
    project: ProjectPath,
    name: Annotated[str, Parameter(help="Who or what the key is for, so that you recognise it.")],
    *,
    requests_per_minute: Annotated[int, Parameter(help="Requests per minute; 0 takes the server's limit.")] = 0,
    tokens_per_minute: Annotated[int, Parameter(help="Prompt and answer tokens per minute; 0 takes the server's limit.")] = 0,
    model: Annotated[tuple[str, ...], Parameter(help="A model that it may use; all by default.", negative="")] = (),
) -> dict[str, str]:
    """Create an API key and show it this once; the project keeps its hash alone.

    Example: accord keys add my-town "the newsletter" --requests-per-minute 60

    Raises:
        UsageError: a limit is below 0.
        InputError: the project's keys cannot be read.
    """
    if min(requests_per_minute, tokens_per_minute) < 0:
        raise UsageError("a limit is below 0", where="--requests-per-minute, --tokens-per-minute", hint="0 takes the server's")
    known = Keys(Project.open(project).path)
    token, key = known.add(name, requests_per_minute=requests_per_minute, tokens_per_minute=tokens_per_minute, models=model)
    return {"key": token, "id": key.id, "name": name}


@keys.command(name="list")
@shows(show_keys)
def list_(project: ProjectPath) -> dict[str, list[dict[str, Any]]]:
    """List the keys, without their hashes.

    Example: accord keys list my-town

    Raises:
        InputError: the project's keys cannot be read.
    """
    listed: list[dict[str, Any]] = []
    for key in Keys(Project.open(project).path).all():
        fields = dataclasses.asdict(key)
        fields.pop("digest")
        listed.append(fields)
    return {"keys": listed}


@keys.command
@shows(show_revoked)
def revoke(project: ProjectPath, which: Annotated[str, Parameter(help="A key's id, or its name.")]) -> dict[str, str]:
    """Revoke a key at once, in a running server as well.

    Example: accord keys revoke my-town "the newsletter"

    Raises:
        InputError: no working key has this id or name, or several have this name.
    """
    key = Keys(Project.open(project).path).revoke(which)
    return {"id": key.id, "name": key.name, "revoked": key.revoked}
