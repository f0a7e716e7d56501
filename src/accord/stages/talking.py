"""Opening the chat: the page or the terminal, on the project's models or on another server's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from accord.errors import ModelError
from accord.runtime.project import Project
from accord.serving.host import Host
from accord.settings import ChatConfig, ServeConfig
from accord.stages.chatting import Shelf


@dataclass(frozen=True)
class Beyond:
    """The models of another server as a library: their versions are its address, for it alone knows the weights."""

    host: Host
    named: str = ""
    """Who is asked for as long as the server has not said what it has."""

    def names(self) -> Sequence[str]:
        return self.host.models() or [self.named or "default"]

    def digest(self, name: str) -> str:
        return self.host.version(name).rpartition("@")[2]


def on_a_page(project: Project, config: ChatConfig, *, upstream: str, insecure: bool) -> None:
    """Serves the chat page until it is stopped.

    Args:
        upstream: address of an OpenAI-compatible server that answers; the project's own models do when empty.

    Raises:
        ModelError: the project has no such model.
        UsageError: the page's address needs a secret and https, or ``upstream`` is no address.
    """
    from accord.feedback.store import Store
    from accord.serving.guards import Guarded
    from accord.serving.model_host import ModelHost
    from accord.serving.upstream import Upstream
    from accord.serving.web.app import open_chat
    from accord.serving.web.site import ChatSite, labels
    from accord.stages.opening import compute_dtype, load_model
    from accord.stages.serving import rules

    around = rules(project, ServeConfig(**project.settings.get("serve", {})))
    if upstream:
        host: Host = Upstream(upstream)
        library: Shelf | Beyond = Beyond(host, config.model)
    else:
        library = Shelf(project)
        host = ModelHost(lambda name: load_model(project, name), _there(library, config), dtype=compute_dtype())
    with Store.open(project.store_url) as store:
        models = Guarded(host, around)
        site = ChatSite(store, labels(config), project.path.name, folder=project.path, chat=config, models=models, library=library)
        open_chat(site, insecure=insecure, folder=project.path)


def in_terminal(project: Project, config: ChatConfig) -> None:
    """Talks with one model at a time. Raises ModelError when the project has no such model."""
    from accord.serving.terminal import talk
    from accord.stages.opening import compute_dtype, load_model

    names = _there(Shelf(project), config)
    talk(
        lambda name: load_model(project, name),
        config.model or next(iter(names), "base"),
        temperature=config.temperature,
        max_tokens=config.max_tokens,
        seed=config.seed,
        dtype=compute_dtype(),
    )


def _there(shelf: Shelf, config: ChatConfig) -> list[str]:
    names = list(shelf.names())
    if config.model and config.model not in names:
        raise ModelError("the project has no such model to talk to", where=config.model, hint=f"it has: {', '.join(names) or 'none yet'}")
    return names
