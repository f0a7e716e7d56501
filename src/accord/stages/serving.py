"""Opening the API server on a project's models, or in front of another server."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from accord.data import personal
from accord.errors import AccordError, ModelError, UsageError
from accord.feedback import moderation
from accord.feedback.store import Store
from accord.feedback.web.server import is_loopback, listen
from accord.records import Demonstration, Message
from accord.runtime.project import Project
from accord.serving.guards import Rules, Score
from accord.serving.host import Host
from accord.serving.keys import Keys
from accord.serving.limits import Limits
from accord.serving.prompt_styles import system_prompt
from accord.settings import ServeConfig
from accord.stages.chatting import Shelf

LOOKED_AT = 5.0
"""Seconds between two looks at the models on disk."""
log = logging.getLogger("accord.serve")
CONNECTIONS = 4096
"""Open connections of the server; whoever comes next is told 503."""


def serve_stage(project: Project, config: ServeConfig, *, models: Sequence[str], upstream: str, without_keys: bool, insecure: bool) -> None:
    """Serves until it is stopped.

    Args:
        models: which of the project's models; all that can be talked to when empty.
        upstream: address of an OpenAI-compatible server that answers instead of the project's models.

    Raises:
        UsageError: the address needs keys or https, or no key works yet.
        ModelError: there is no model to serve, or one cannot be opened.
        RunError: the address is taken.
    """
    keys = None if without_keys else Keys(project.path)
    check_address(config, keys, insecure=insecure)
    around = rules(project, config)
    host = _upstream(upstream, config) if upstream else _local(project, config, models)
    with suppress(KeyboardInterrupt):
        asyncio.run(_serve(host, config, keys, around, Shelf(project)))


def check_address(config: ServeConfig, keys: Keys | None, *, insecure: bool) -> None:
    """Holds that nobody can use the server who should not.

    Raises:
        UsageError: others reach the address and there are no keys, or keys would go over it in the clear; or no key works yet.
    """
    mine, where = is_loopback(config.host), f"--host {config.host}"
    if keys is None and not mine:
        raise UsageError("others can reach this address; it needs API keys", where=where, hint="leave out --no-keys")
    if keys is not None and not any(not key.revoked for key in keys.all()):
        hint = "make one: accord keys add PROJECT NAME; or give --no-keys for programs of this machine alone"
        raise UsageError("no API key works yet, so nobody could ask anything", where="keys", hint=hint)
    if not (mine or config.https or insecure):
        hint = "put a proxy with https before it and give --https, or give --insecure for a network that you trust"
        raise UsageError("others can reach this address, and keys would go over it in the clear", where=where, hint=hint)


def rules(project: Project, config: ServeConfig) -> Rules:
    """What the settings put around every model. Raises UsageError or ModelError where a system prompt or reward model is missing."""
    shown: tuple[Demonstration, ...] = ()
    if config.shots:
        with Store.open(project.store_url) as store:
            shown = tuple(store.demonstrations("train"))
    return Rules(
        input_filter=config.input_filter,
        output_filter=config.output_filter,
        screen=screen,
        unsure_below=config.unsure_below,
        best_of=config.best_of,
        seconds=config.best_of_seconds,
        score=_score(project, config.reward) if config.best_of > 1 else None,
        system=system_prompt(config.system),
        demonstrations=shown,
        shots=config.shots,
        reasoning=config.reasoning,
    )


def screen(text: str) -> list[str]:
    """Kinds of what is found in a text by its form: ``harm``, ``injection``, ``personal``. Noise is no harm."""
    found = [finding.what for finding in moderation.screen(text) if finding.what != "noise"]
    return [*found, *(["personal"] if personal.find(text) else [])]


def _score(project: Project, name: str) -> Score:
    """A reward model of the project as a function on words."""
    from accord.data.templates import chat_format
    from accord.data.tokenizers import load_tokenizer
    from accord.models.scalar import RewardModel
    from accord.stages.opening import compute_dtype, locate

    folder = Path(locate(project, name))
    model, spoken = RewardModel.load(folder, dtype=compute_dtype()), chat_format(load_tokenizer(folder))

    def score(conversation: Sequence[Message], answers: Sequence[str]) -> list[float]:
        prompts = [spoken.prompt(conversation)] * len(answers)
        return model.score(prompts, [spoken.response(conversation, answer) for answer in answers]).tolist()

    return score


def _local(project: Project, config: ServeConfig, models: Sequence[str]) -> Host:
    import torch

    from accord.serving.model_host import Capacity, ModelHost
    from accord.stages.opening import compute_dtype, load_model

    names = list(models) or list(Shelf(project).names())
    if not names:
        raise ModelError("the project has no model to serve", where=project.path.name, hint="accord pretrain, accord sft, accord ppo")
    torch.set_num_threads(config.threads)
    capacity = Capacity(config.places, config.waiting, config.seconds, config.remembered)
    return ModelHost(lambda name: load_model(project, name), names, capacity=capacity, dtype=compute_dtype())


def _upstream(address: str, config: ServeConfig) -> Host:
    from accord.serving.upstream import Upstream

    return Upstream(address, seconds=config.seconds)


class Exchanging(Protocol):
    """A host whose models can be exchanged while they answer."""

    def models(self) -> list[str]: ...

    def version(self, model: str) -> str: ...

    async def swap(self, name: str, model: str) -> None: ...


class Library(Protocol):
    """The models on disk."""

    def digest(self, name: str) -> str:
        """The first digits of a model's digest; empty when there is no such model."""
        ...


async def follow(library: Library, host: Exchanging, *, seconds: float = LOOKED_AT) -> None:
    """Exchanges every model whose folder was written anew, until it is cancelled; answers under way end with the old weights.

    A folder that cannot be opened is left alone, and looked at again when it has changed.
    """
    failed = dict[str, str]()
    while True:
        await asyncio.sleep(seconds)
        for name in host.models():
            wanted = await asyncio.to_thread(library.digest, name)
            if not wanted or wanted in (host.version(name).rpartition("@")[2], failed.get(name)):
                continue
            try:
                await host.swap(name, name)
                log.warning("%s answers from now on", host.version(name))
            except (AccordError, OSError, ValueError) as error:
                failed[name] = wanted
                log.warning("%s was written anew and cannot be opened; the old one goes on: %s", name, error)


async def _serve(host: Host, config: ServeConfig, keys: Keys | None, around: Rules, shelf: Shelf) -> None:
    import uvicorn

    from accord.serving.api import create
    from accord.serving.model_host import ModelHost

    made = listen(config.host, config.port)
    names = [part.strip() for part in config.names.split(",") if part.strip()]
    limits = Limits(config.requests_per_minute, config.tokens_per_minute)
    app = create(host, keys=keys, limits=limits, names=[*names, config.host], rules=around)
    quiet: dict[str, Any] = {"log_level": "warning", "access_log": False, "server_header": False, "lifespan": "off"}
    settings = uvicorn.Config(app, **quiet, timeout_graceful_shutdown=5, limit_concurrency=CONNECTIONS)
    await host.start()
    looking = asyncio.create_task(follow(shelf, host)) if isinstance(host, ModelHost) else None
    try:
        address = f"http://{f'[{config.host}]' if ':' in config.host else config.host}:{made.getsockname()[1]}/v1"
        print(f"Serving {', '.join(host.models()) or 'nothing yet'} at {address}  (Ctrl-C ends it)", flush=True)
        await uvicorn.Server(settings).serve(sockets=[made])
    finally:
        if looking:
            looking.cancel()
        await host.close()
