"""`accord serve`: serve the project's models by an OpenAI-compatible API, or stand as a gate in front of another server.

Needs a language model in the project, or an upstream server, and an API key (`accord keys add`) unless only this machine comes in.
Leaves nothing: prompts and answers are stored for keys alone that opted in (`accord keys add --store`), and feedback for those that
may send it. A model that is trained again under its name is swapped while requests run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Annotated, Any

import torch
from cyclopts import Parameter

from accord.commands.app import Compute, ComputeFlags, Flat, Insecure, ProjectPath
from accord.commands.models import compute_dtype, load_adapter, load_model
from accord.commands.pictures import picture_files
from accord.commands.serve.rules import rules_of, stages_of
from accord.commands.serve.serve_adapters import named_adapters
from accord.data import pictures
from accord.errors import ModelError, UsageError
from accord.feedback import questions
from accord.feedback.app_prompts import Draw
from accord.feedback.database import ANSWER_SECONDS
from accord.feedback.store import Store
from accord.feedback.web.connections import server
from accord.feedback.web.server import is_loopback, listen
from accord.runtime.device import choose_device
from accord.runtime.language_models import Shelf
from accord.runtime.project import Project
from accord.serving.api import create
from accord.serving.apps import hook_routes, routes, task_routes
from accord.serving.apps.desk import Desk, mount
from accord.serving.apps.keeper import Keeper
from accord.serving.apps.upkeep import upkeep
from accord.serving.apps.webhooks import Deliverer
from accord.serving.guards import Rules
from accord.serving.host import Host
from accord.serving.keys import Keys
from accord.serving.limits import Limits
from accord.serving.model_host import Beside, Capacity, ModelHost
from accord.serving.reload import reload_rewritten
from accord.serving.scenes import Stages
from accord.serving.screens import EVERYTHING
from accord.serving.transcriptions import Transcriber
from accord.serving.upstream import Upstream
from accord.settings import ChatConfig, LabelConfig, ServeConfig


def serve(
    project: ProjectPath,
    *,
    model: Annotated[tuple[str, ...], Parameter(help="A model to serve; all of the project's by default.", negative="")] = (),
    upstream: Annotated[str, Parameter(help="Address of an OpenAI-compatible server (up to /v1) that answers instead.")] = "",
    no_keys: Annotated[bool, Parameter(help="Let every program of this machine in without a key.", negative="")] = False,
    insecure: Insecure = False,
    flags: ComputeFlags = Compute(),
    config: Annotated[ServeConfig, Flat] = ServeConfig(),
) -> None:
    """Serve the project's models by OpenAI's API, many requests at once, until you stop it.

    Example: accord serve my-town --model ppo --model sft --port 8000

    Raises:
        UsageError: the address needs keys or https, or no key works yet.
        ModelError: there is no model to serve, or one cannot be opened.
        RunError: the address is taken.
    """
    opened = Project.open(project)
    if not upstream:
        choose_device(flags.device)
    keys = None if no_keys else Keys(opened.path)
    check_address(config, keys, insecure=insecure)
    rules = rules_of(opened, config, flags.dtype)
    if upstream and config.banned_words:
        hint = "leave it out, and give --banned-words to the server that has the models"
        raise UsageError("the models are another server's, and so are their tokens", where="[serve] banned_words", hint=hint)
    scenes = stages_of(opened, config, rules, flags.dtype, upstream=bool(upstream))
    host: Host
    host = (
        Upstream(upstream, seconds=config.seconds, show=picture_files(opened), sees=config.upstream_sees)
        if upstream
        else _model_host(opened, config, model, flags.dtype)
    )
    with suppress(KeyboardInterrupt):
        asyncio.run(_run(host, config, keys, rules, opened, scenes))


def check_address(config: ServeConfig, keys: Keys | None, *, insecure: bool) -> None:
    """Make sure that nobody can use the server who should not.

    Raises:
        UsageError: other machines reach the address and there are no keys, or keys would go over it in the clear; or no key works yet.
    """
    local, where = is_loopback(config.host), f"--host {config.host}"
    if keys is None and not local:
        raise UsageError("others can reach this address; it needs API keys", where=where, hint="leave out --no-keys")
    if keys is not None and all(key.revoked for key in keys.all()):
        hint = "create one: accord keys add PROJECT NAME; or give --no-keys for programs of this machine alone"
        raise UsageError("no API key works yet, so nobody could ask anything", where="keys", hint=hint)
    if not (local or config.https or insecure):
        hint = "put a proxy with https before it and give --https, or give --insecure for a network that you trust"
        raise UsageError("others can reach this address, and keys would go over it in the clear", where=where, hint=hint)


def _model_host(project: Project, config: ServeConfig, models: Sequence[str], dtype: str) -> ModelHost:
    adapters = named_adapters(project, config.adapters)
    names = [*models] or [name for name in Shelf(project).names() if name not in adapters]
    names += dict.fromkeys(each.base for each in adapters.values() if each.base not in names)
    if taken := sorted(set(models) & adapters.keys()):
        what = f"{taken[0]} is named as a model and as an adapter"
        raise UsageError(what, where="--adapters", hint="give the adapter another name: NAME=FOLDER")
    if not names:
        raise ModelError("the project has no model to serve", where=project.path.name, hint="accord pretrain, accord sft, accord ppo")
    torch.set_num_threads(config.threads)
    capacity = Capacity(config.slots, config.waiting, config.seconds, config.remembered)
    beside = {name: Beside(each.base, partial(load_adapter, project, name, each.source)) for name, each in adapters.items()}
    how: dict[str, Any] = {"capacity": capacity, "dtype": compute_dtype(dtype), "banned": config.banned_words, "adapters": beside}
    return ModelHost(lambda name: load_model(project, name), names, **how)


def desk_of(project: Project, config: ServeConfig) -> Desk:
    """Return what the routes for apps work with; the database is opened when it is first needed."""
    asked = questions.load(project.settings.get("label.questions"), project.path)
    label = LabelConfig(**project.settings.get("label", {}))
    store = partial(Store.open, project.store_url, seconds=ANSWER_SECONDS)
    return Desk(store, asked, label, project.path, pictures.read, config.webhook_private)


def _say_who_answers(host: Host, project: Project) -> None:
    """Print for each name that a request may ask for: the exact weights, their folder, and where they come from."""
    shelf = Shelf(project) if isinstance(host, ModelHost) else None
    adapters = host.adapters if isinstance(host, ModelHost) else {}
    for name in host.models():
        where = "its folder or hub name" if shelf else "another server's"
        if name in adapters:
            where = f"an adapter over {adapters[name].base}, in one batch with it"
        elif shelf and name in project.models():
            where = f"{project.model(name)}  {shelf.origin(name)}"
        print(f"  model={name}: {host.version(name)}  {where}", flush=True)


async def _run(host: Host, config: ServeConfig, keys: Keys | None, rules: Rules, project: Project, scenes: Stages | None) -> None:
    socket = listen(config.host, config.port)
    names = [part.strip() for part in config.names.split(",") if part.strip()]
    limits = Limits(config.requests_per_minute, config.tokens_per_minute)
    desk = desk_of(project, config)
    held_out = ChatConfig(**project.settings.get("chat", {})).held_out
    keeper = Keeper(desk, Draw(EVERYTHING, config.prompt_share, config.prompts_per_user, held_out), config.keep_days)
    how: dict[str, Any] = {
        "limits": limits,
        "names": [*names, config.host],
        "rules": rules,
        "scenes": scenes,
        "strict": config.strict,
        "keeper": keeper,
        "transcriber": Transcriber(config.transcribe, seconds=config.seconds) if config.transcribe else None,
    }
    app = create(host, keys=keys, **how, extend=lambda app: mount(app, desk, routes.router, task_routes.router, hook_routes.router))
    await host.start()
    beside: list[asyncio.Task[None]] = []
    if isinstance(host, ModelHost):
        beside = [asyncio.create_task(reload_rewritten(Shelf(project), host, fixed=host.adapters))]
    if keys:
        lasting = (upkeep(desk, keys), Deliverer(desk, keys, config.webhook_private).run())
        beside += [asyncio.create_task(work) for work in lasting]
    try:
        hostname = f"[{config.host}]" if ":" in config.host else config.host
        address = f"http://{hostname}:{socket.getsockname()[1]}/v1"
        print(f"Serving {', '.join(host.models()) or 'nothing yet'} at {address}  (Ctrl-C ends it)", flush=True)
        _say_who_answers(host, project)
        await server(app, lifespan="off").serve(sockets=[socket])
    finally:
        for task in beside:
            task.cancel()
        await host.close()
        desk.close()
