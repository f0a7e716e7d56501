"""`accord open`: open a project's site: home, labeling, chat, review and report under one address and one log-in.

Needs a project, empty or not: each page says what is missing and how to get it. Leaves what people do on its pages in the database.
Loads no torch before somebody asks a model in the chat.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from accord.commands.app import Compute, ComputeFlags, Flat, Insecure, ProjectPath
from accord.commands.pictures import picture_files
from accord.commands.scenes import notes_of
from accord.commands.serve.open_models import LateHost
from accord.commands.serve.rules import rules_of, stages_of
from accord.data import pictures
from accord.errors import UsageError
from accord.feedback.database import ANSWER_SECONDS
from accord.feedback.store import Store
from accord.feedback.web.server import secret_for, sso_of
from accord.runtime.device import choose_device
from accord.runtime.language_models import Shelf
from accord.runtime.project import FILE, Project
from accord.serving.scenes import guarded
from accord.serving.upstream import Upstream, UpstreamLibrary
from accord.serving.web.site import Models
from accord.settings import LabelConfig, OpenConfig, ServeConfig
from accord.site.app import open_site
from accord.site.folder import open_folder
from accord.site.project_site import ProjectSite, shared, site_of


def open_(
    project: ProjectPath,
    *,
    all: Annotated[bool, Parameter(help="PROJECT is a folder of projects: list them, and open each at /p/NAME/.", negative="")] = False,
    upstream: Annotated[str, Parameter(help="Address of an OpenAI-compatible server (up to /v1) whose models chat instead.")] = "",
    insecure: Insecure = False,
    flags: ComputeFlags = Compute(),
    config: Annotated[OpenConfig, Flat] = OpenConfig(),
) -> None:
    """Open the project's site, until you stop it.

    Example: accord open my-project

    Example: accord open --all my-projects

    Raises:
        UsageError: the address needs a secret and https, ``upstream`` or ``root_path`` cannot be used, or ``workers`` not with ``all``.
        RunError: the address is taken.
    """
    address = shared(config)
    labels = LabelConfig(**address)
    if all:
        folder = Path(project.path if isinstance(project, Project) else project).expanduser().absolute()
        if not folder.is_dir() or (folder / FILE).is_file():
            what = "is a project itself" if folder.is_dir() else "there is no such folder"
            raise UsageError(what, where=str(folder), hint="--all takes the folder that holds the projects")
        if config.workers > 1:
            hint = "leave out --workers, or open each project by a command of its own"
            raise UsageError("a folder of projects is served by one process", where="--workers", hint=hint)
        secret = secret_for(labels, insecure=insecure)
        how: dict[str, Any] = {"root_path": config.root_path, "secret": secret, "upload_mb": config.upload_mb}
        open_folder(folder, labels, lambda path: _site(path, config, upstream, flags, secret), **how)
        return
    site = _site(project, config, upstream, flags, secret_for(labels, insecure=insecure))
    with site.store:
        open_site(site, root_path=config.root_path, folder=site.project.path)


def _site(project: ProjectPath, config: OpenConfig, upstream: str, flags: Compute, secret: str) -> ProjectSite:
    """Return the site of a project. Whoever asked for it closes its store."""
    opened = Project.open(project)
    serving = ServeConfig(**opened.settings.get("serve", {}))
    rules = rules_of(opened, serving, flags.dtype)
    scenes = stages_of(opened, serving, rules, flags.dtype, upstream=bool(upstream))
    sso = sso_of(opened.settings)
    host: Models
    if upstream:
        host = guarded(server := Upstream(upstream, show=picture_files(opened), sees=serving.upstream_sees), rules, scenes)
        library = UpstreamLibrary(server, str(opened.settings.get("chat", {}).get("model", "")))
    else:
        host, library = guarded(LateHost(lambda: _host(opened, flags)), rules, scenes), Shelf(opened)
    with ExitStack() as until_made:
        store = until_made.enter_context(Store.open(opened.store_url, seconds=ANSWER_SECONDS))
        how: dict[str, Any] = {"secret": secret, "sso": sso, "scene": notes_of(opened), "pictures": pictures.read}
        site = site_of(opened, store, config, models=host, library=library, **how)
        until_made.pop_all()
        return site


def _host(project: Project, flags: Compute) -> Models:
    """Return a host that opens the project's models by name. Loads torch, which takes seconds that most pages need not wait for."""
    from accord.commands.models import compute_dtype, load_model
    from accord.serving.model_host import ModelHost

    choose_device(flags.device)
    banned = ServeConfig(**project.settings.get("serve", {})).banned_words
    return ModelHost(lambda name: load_model(project, name), (), dtype=compute_dtype(flags.dtype), banned=banned)
