"""`accord keys`: create, list and revoke the API keys by which programs use `accord serve`, and see to their apps' webhooks.

Needs nothing. Leaves keys.json in the project, readable by its owner alone, with each key's hash; a running server reads it again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

from cyclopts import App, Parameter

from accord.commands.app import ProjectPath, shows, table_of
from accord.errors import InputError, UsageError
from accord.feedback import outbox
from accord.feedback.store import Store
from accord.runtime.progress import table
from accord.runtime.project import Project
from accord.serving.keys import Keys, Scope, Storing

keys = App(name="keys", help="Create, list and revoke API keys; list and remove the webhooks of their apps.", result_action="return_value")
COLUMNS = ("id", "name", "created", "requests/min", "tokens/min", "models", "scenes", "may", "stores", "state")
LONGEST_NAME = 80


def show_added(key: Mapping[str, Any]) -> None:
    """Print a new key, this once."""
    table_of(f"key for {key['name']}", key)


def show_keys(metrics: Mapping[str, Any]) -> None:
    """Print the keys, one per line."""
    rows: list[tuple[str, ...]] = []
    for key in metrics["keys"]:
        limits = (str(key[limit] or "") for limit in ("requests_per_minute", "tokens_per_minute"))
        may, stores = ", ".join(key["scopes"] or ("chat",)), key["store"] or "nothing"
        state = "revoked" if key["revoked"] else ""
        rows.append(
            (key["id"], key["name"], key["created"], *limits, ", ".join(key["models"]), ", ".join(key["scenes"]), may, stores, state)
        )
    table("keys", COLUMNS, rows)


def show_revoked(key: Mapping[str, Any]) -> None:
    """Print which key was revoked."""
    table_of(f"revoked {key['name']}", key)


def show_webhooks(metrics: Mapping[str, Any]) -> None:
    """Print the webhooks, one per line."""
    rows: list[tuple[str, ...]] = []
    for hook in metrics["webhooks"]:
        state = f" ({hook['state']})" if hook["state"] else ""
        rows.append((hook["id"], f"{hook['app']}: {', '.join(hook['events'])} to {hook['url']}{state}"))
    table("webhooks", ("id", "tells"), rows)


@keys.command
@shows(show_added)
def add(
    project: ProjectPath,
    name: Annotated[str, Parameter(help="Who or what the key is for, so that you recognise it.")],
    *,
    requests_per_minute: Annotated[int, Parameter(help="Requests per minute; 0 takes the server's limit.")] = 0,
    tokens_per_minute: Annotated[int, Parameter(help="Prompt and answer tokens per minute; 0 takes the server's limit.")] = 0,
    model: Annotated[tuple[str, ...], Parameter(help="A model that it may use; all by default.", negative="")] = (),
    scene: Annotated[tuple[str, ...], Parameter(help="A scene that it may name with the scene's own filters.", negative="")] = (),
    scope: Annotated[tuple[Scope, ...], Parameter(help="What it may do; chat by default.", negative="")] = (),
    store: Annotated[Storing, Parameter(help="Store its answers: for feedback alone, or also as prompts.")] = "",
    terms: Annotated[str, Parameter(help="The text by which all of the app's end users agreed to be learned from, e.g. its address.")] = "",
) -> dict[str, str]:
    """Create an API key and show it this once; the project keeps its hash alone.

    Example: accord keys add my-town "the newsletter" --requests-per-minute 60

    Raises:
        UsageError: a limit is below 0, there is no such scene, or storage or terms are asked for in a way that has no effect.
        InputError: the project's keys cannot be read.
    """
    if min(requests_per_minute, tokens_per_minute) < 0:
        raise UsageError("a limit is below 0", where="--requests-per-minute, --tokens-per-minute", hint="0 takes the server's")
    _check(name, scope, store, terms)
    opened = Project.open(project)
    known, scenes = Keys(opened.path), opened.scenes
    if missing := [one for one in scene if one not in scenes]:
        hint = f"there are: {', '.join(scenes)}" if scenes else "write [scenes.NAME] into accord.toml first"
        raise UsageError(f"there is no scene {missing[0]!r}", where="--scene", hint=hint)
    limits = {"requests_per_minute": requests_per_minute, "tokens_per_minute": tokens_per_minute}
    token, key = known.add(name, **limits, models=model, scopes=scope, store=store, terms=terms, scenes=scene)
    return {"key": token, "id": key.id, "name": name}


def _check(name: str, scope: tuple[Scope, ...], store: Storing, terms: str) -> None:
    """Make sure that an app's key has a name that records can carry, and that its options have an effect."""
    named = bool(scope or store or terms)
    if named and not (1 <= len(name) <= LONGEST_NAME and name.isprintable() and name == name.strip()):
        what = f"records carry the name of this key, so that it has 1 to {LONGEST_NAME} printable characters"
        raise UsageError(what, where="NAME", hint="give a shorter name on one line")
    if store and scope and "chat" not in scope:
        raise UsageError("a key that may not chat has no answers to store", where="--store", hint="give --scope chat too")
    if terms and not store and "feedback" not in scope:
        hint = "give --scope feedback, or --store"
        raise UsageError("terms of a key that neither stores answers nor sends feedback", where="--terms", hint=hint)


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


@keys.command
@shows(show_webhooks)
def webhooks(
    project: ProjectPath,
    *,
    remove: Annotated[str, Parameter(help="The id of a webhook to remove, with what waits for it.")] = "",
) -> dict[str, list[dict[str, Any]]]:
    """List the webhooks of all apps, or remove one first. Those of an app without a working key of the scope `tasks` are sent nothing.

    Example: accord keys webhooks my-town --remove w-0123456789abcdef

    Raises:
        InputError: there is no such webhook, or the project's keys cannot be read.
    """
    opened = Project.open(project)
    telling = {key.name for key in Keys(opened.path).all() if key.can("tasks") and not key.revoked}
    listed: list[dict[str, Any]] = []
    with Store.open(opened.store_url) as store, store.write() as connection:
        if remove:
            app = next((hook.app for hook in outbox.hooks(connection) if hook.id == remove), "")
            if not outbox.unsubscribe(connection, app, remove, now=datetime.now(UTC)):
                hint = "`accord keys webhooks` shows their ids"
                raise InputError("there is no such webhook", where=remove, hint=hint)
        for hook in outbox.hooks(connection):
            fields = dataclasses.asdict(hook)
            fields.pop("secret")
            state = "" if hook.app in telling else "sent nothing: no working key"
            listed.append(fields | {"events": list(hook.events), "state": state})
    return {"webhooks": listed}
