"""`accord open`: open a project's site: home, labeling, chat, review and report under one address and one log-in.

Needs a project, empty or not: each page says what is missing and how to get it. Leaves what people do on its pages in the database.
Loads no torch before somebody asks a model in the chat.
"""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from accord.commands.app import Compute, ComputeFlags, Flat, Insecure, ProjectPath
from accord.commands.serve.open_models import LateHost
from accord.commands.serve.rules import rules_of
from accord.feedback.database import ANSWER_SECONDS
from accord.feedback.store import Store
from accord.feedback.web.server import secret_for, sso_of
from accord.runtime.device import choose_device
from accord.runtime.language_models import Shelf
from accord.runtime.project import Project
from accord.serving.guards import Guarded
from accord.serving.upstream import Upstream, UpstreamLibrary
from accord.serving.web.site import Models
from accord.settings import LabelConfig, OpenConfig, ServeConfig
from accord.site.app import open_site
from accord.site.project_site import site_of


def open_(
    project: ProjectPath,
    *,
    upstream: Annotated[str, Parameter(help="Address of an OpenAI-compatible server (up to /v1) whose models chat instead.")] = "",
    insecure: Insecure = False,
    flags: ComputeFlags = Compute(),
    config: Annotated[OpenConfig, Flat] = OpenConfig(),
) -> None:
    """Open the project's site, until you stop it.

    Example: accord open my-project

    Raises:
        UsageError: the address needs a secret and https, or ``upstream`` or ``root_path`` cannot be used.
        RunError: the address is taken.
    """
    opened = Project.open(project)
    rules = rules_of(opened, ServeConfig(**opened.settings.get("serve", {})), flags.dtype)
    address = LabelConfig(host=config.host, https=config.https)
    with Store.open(opened.store_url, seconds=ANSWER_SECONDS) as store:
        secret = secret_for(address, insecure=insecure)
        sso = sso_of(opened.settings)
        if upstream:
            host = Upstream(upstream)
            library = UpstreamLibrary(host, str(opened.settings.get("chat", {}).get("model", "")))
            site = site_of(opened, store, config, models=Guarded(host, rules), library=library, secret=secret, sso=sso)
        else:
            models = Guarded(LateHost(lambda: _host(opened, flags)), rules)
            site = site_of(opened, store, config, models=models, library=Shelf(opened), secret=secret, sso=sso)
        open_site(site, root_path=config.root_path, folder=opened.path)


def _host(project: Project, flags: Compute) -> Models:
    """Return a host that opens the project's models by name. Loads torch, which takes seconds that most pages need not wait for."""
    from accord.commands.models import compute_dtype, load_model
    from accord.serving.model_host import ModelHost

    choose_device(flags.device)
    return ModelHost(lambda name: load_model(project, name), (), dtype=compute_dtype(flags.dtype))
