"""Talking to the models: the page, and the terminal."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from accord.cli.app import Flat, ProjectPath, app
from accord.settings import ChatConfig


@app.command
def chat(
    project: ProjectPath,
    *,
    terminal: Annotated[bool, Parameter(help="Talk in the terminal; nothing is stored.", negative="")] = False,
    insecure: Annotated[bool, Parameter(help="Serve others without https.", negative="")] = False,
    config: Annotated[ChatConfig, Flat] = ChatConfig(),
) -> None:
    """Opens the chat page on the project's models, or talks in the terminal.

    Example: accord chat demo --model sft
    """
    from accord.errors import ModelError
    from accord.runtime.project import Project
    from accord.stages.chatting import Shelf
    from accord.stages.opening import compute_dtype, load_model

    opened = Project.open(project)
    shelf = Shelf(opened)
    names = list(shelf.names())
    if config.model and config.model not in names:
        raise ModelError("the project has no such model to talk to", where=config.model, hint=f"it has: {', '.join(names) or 'none yet'}")
    if terminal:
        from accord.serving.terminal import talk

        talk(
            lambda name: load_model(opened, name),
            config.model or next(iter(names), "base"),
            temperature=config.temperature,
            max_tokens=config.max_tokens,
            seed=config.seed,
            dtype=compute_dtype(),
        )
        return
    from accord.feedback.store import Store
    from accord.serving.hosting import ModelHost
    from accord.serving.web.app import open_chat
    from accord.serving.web.site import ChatSite, labels

    host = ModelHost(lambda name: load_model(opened, name), names, dtype=compute_dtype())
    with Store.open(opened.store_url) as store:
        site = ChatSite(store, labels(config), opened.path.name, folder=opened.path, chat=config, models=host, library=shelf)
        open_chat(site, insecure=insecure, folder=opened.path)
