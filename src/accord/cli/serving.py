"""The API: serving models to programs, and the keys by which they come in."""

from __future__ import annotations

import dataclasses
from typing import Annotated

from cyclopts import App, Parameter

from accord.cli.app import AsJson, Flat, ProjectPath, app, say
from accord.settings import ServeConfig

keys = App(name="keys", help="Makes, shows and revokes API keys of the server.")
app.command(keys)


@app.command
def serve(
    project: ProjectPath,
    *,
    model: Annotated[tuple[str, ...], Parameter(help="A model to serve; all of the project's by default.", negative="")] = (),
    upstream: Annotated[str, Parameter(help="Address of an OpenAI-compatible server (up to /v1) that answers instead.")] = "",
    no_keys: Annotated[bool, Parameter(help="Let every program of this machine in without a key.", negative="")] = False,
    insecure: Annotated[bool, Parameter(help="Serve others without https.", negative="")] = False,
    config: Annotated[ServeConfig, Flat] = ServeConfig(),
) -> None:
    """Serves the project's models by OpenAI's API: chat and text completions, streaming, many at once.

    Example: accord serve my-town --model ppo --model sft --port 8000
    """
    from accord.runtime.project import Project
    from accord.stages.serving import serve_stage

    serve_stage(Project.open(project), config, models=model, upstream=upstream, without_keys=no_keys, insecure=insecure)


@keys.command
def add(
    project: ProjectPath,
    name: Annotated[str, Parameter(help="Whose or what for, so that you know it again.")],
    *,
    requests_per_minute: Annotated[int, Parameter(help="0 takes the server's limit.")] = 0,
    tokens_per_minute: Annotated[int, Parameter(help="Prompt and answer tokens; 0 takes the server's limit.")] = 0,
    model: Annotated[tuple[str, ...], Parameter(help="A model that it may use; all by default.", negative="")] = (),
    json: AsJson = False,
) -> None:
    """Makes an API key and shows it this once; the project keeps its hash alone.

    Example: accord keys add my-town "the newsletter" --requests-per-minute 60
    """
    from accord.errors import UsageError
    from accord.runtime.project import Project
    from accord.serving.keys import Keys

    if min(requests_per_minute, tokens_per_minute) < 0:
        raise UsageError("a limit is below 0", where="--requests-per-minute, --tokens-per-minute", hint="0 takes the server's")
    known = Keys(Project.open(project).path)
    token, key = known.add(name, requests_per_minute=requests_per_minute, tokens_per_minute=tokens_per_minute, models=model)
    say(f"key for {name}", {"key": token, "id": key.id, "name": name}, json)


@keys.command(name="list")
def list_(project: ProjectPath, *, json: AsJson = False) -> None:
    """Shows the keys, without what they are made of.

    Example: accord keys list my-town
    """
    from accord.runtime.progress import table
    from accord.runtime.project import Project
    from accord.serving.keys import Keys

    known = Keys(Project.open(project).path).all()
    if json:
        say("keys", {"keys": [{k: v for k, v in dataclasses.asdict(key).items() if k != "digest"} for key in known]}, True)
        return
    rows = [
        (k.id, k.name, k.created, k.requests_per_minute or "", k.tokens_per_minute or "", ", ".join(k.models), k.revoked and "revoked")
        for k in known
    ]
    table("keys", ["id", "name", "made", "requests/min", "tokens/min", "models", "state"], rows)


@keys.command
def revoke(project: ProjectPath, which: Annotated[str, Parameter(help="A key's id, or its name.")], *, json: AsJson = False) -> None:
    """Ends a key at once, in a server that runs as well.

    Example: accord keys revoke my-town "the newsletter"
    """
    from accord.runtime.project import Project
    from accord.serving.keys import Keys

    key = Keys(Project.open(project).path).revoke(which)
    say(f"revoked {key.name}", {"id": key.id, "name": key.name, "revoked": key.revoked}, json)
