"""`accord chat`: open the chat page on the project's models, or talk to one in the terminal.

Needs a language model in the project (`accord sft` makes one), or the address of an OpenAI-compatible server. The page leaves
conversations and users' reactions in feedback.db, for a lead to review; the terminal leaves nothing.
"""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from accord.commands.app import Compute, ComputeFlags, Flat, Insecure, ProjectPath
from accord.commands.models import compute_dtype, load_model
from accord.commands.pictures import picture_files
from accord.commands.serve.rules import rules_of, stages_of
from accord.errors import ModelError, UsageError
from accord.feedback.database import ANSWER_SECONDS
from accord.feedback.store import Store
from accord.feedback.web.server import sso_of
from accord.runtime.device import choose_device
from accord.runtime.language_models import Shelf
from accord.runtime.project import Project
from accord.serving.model_host import ModelHost
from accord.serving.scenes import guarded
from accord.serving.terminal import talk
from accord.serving.upstream import Upstream, UpstreamLibrary
from accord.serving.web.one_process import open_chat
from accord.serving.web.site import ChatSite, labels
from accord.settings import ChatConfig, ServeConfig


def chat(
    project: ProjectPath,
    *,
    terminal: Annotated[bool, Parameter(help="Talk in the terminal; nothing is stored.", negative="")] = False,
    upstream: Annotated[str, Parameter(help="Address of an OpenAI-compatible server (up to /v1) whose models answer instead.")] = "",
    insecure: Insecure = False,
    flags: ComputeFlags = Compute(),
    config: Annotated[ChatConfig, Flat] = ChatConfig(),
) -> None:
    """Open the chat page on the project's models, or talk in the terminal, until you stop it.

    Example: accord chat demo --model sft

    Raises:
        ModelError: the project has no such model.
        UsageError: the page's address needs a secret and https; ``upstream`` is no address, or was given with ``terminal``.
    """
    opened = Project.open(project)
    if not upstream:
        choose_device(flags.device)
    if not terminal:
        _open_page(opened, config, upstream, flags.dtype, insecure=insecure)
        return
    if upstream:
        raise UsageError("the terminal talks to the project's own models", where="--upstream", hint="leave out --terminal")
    names = _language_models(Shelf(opened), config)
    talk(
        lambda name: load_model(opened, name),
        config.model or next(iter(names), "base"),
        temperature=config.temperature,
        max_tokens=config.max_tokens,
        seed=config.seed,
        dtype=compute_dtype(flags.dtype),
    )


def _open_page(project: Project, config: ChatConfig, upstream: str, dtype: str, *, insecure: bool) -> None:
    serving = ServeConfig(**project.settings.get("serve", {}))
    rules = rules_of(project, serving, dtype)
    scenes = stages_of(project, serving, rules, dtype, upstream=bool(upstream))
    host: Upstream | ModelHost
    library: UpstreamLibrary | Shelf
    if upstream:
        host = Upstream(upstream, show=picture_files(project), sees=serving.upstream_sees)
        library = UpstreamLibrary(host, config.model)
    else:
        library = Shelf(project)
        names = _language_models(library, config)
        host = ModelHost(lambda name: load_model(project, name), names, dtype=compute_dtype(dtype), banned=serving.banned_words)
    with Store.open(project.store_url, seconds=ANSWER_SECONDS) as store:
        models, sso = guarded(host, rules, scenes), sso_of(project.settings)
        site = ChatSite(store, labels(config), project.path.name, folder=project.path, chat=config, models=models, library=library, sso=sso)
        open_chat(site, insecure=insecure, folder=project.path)


def _language_models(shelf: Shelf, config: ChatConfig) -> list[str]:
    """Return the names of the models that can answer. Raises ModelError when the one that should answer is not among them."""
    names = list(shelf.names())
    if config.model and config.model not in names:
        raise ModelError("the project has no such model to talk to", where=config.model, hint=f"it has: {', '.join(names) or 'none yet'}")
    return names
