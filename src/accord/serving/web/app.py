"""The chat as an ASGI application, and its server."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from fastapi import FastAPI
from starlette.types import ASGIApp

from accord.feedback.web.app import Lifespan, build, few_threads
from accord.feedback.web.server import bound, is_loopback, lead_link, secret_for, serve
from accord.serving.web import answers, conversation_tools, conversations, reactions, review_pages
from accord.serving.web.site import ChatSite

PAGES = (conversations.router, conversation_tools.router, reactions.router, review_pages.router)
"""The chat's own pages."""


def create(site: ChatSite) -> ASGIApp:
    """Return the chat over a site; its models are opened when the server starts and closed when it ends."""
    return build(site, *PAGES, lifespan=models_open(site))


def models_open(site: ChatSite) -> Lifespan:
    """Return what runs around a server that answers with models: they are opened first and closed last."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        async with few_threads(app):
            await site.models.start()
            try:
                yield
            finally:
                for conversation in list(site.live):
                    await answers.stop(site, conversation)  # what was said so far is stored
                await site.models.close()

    return lifespan


def open_chat(site: ChatSite, *, insecure: bool, folder: Path) -> None:
    """Serve the chat until it is stopped. On an address of this machine's own it prints a link for the lead.

    Raises:
        UsageError: the address needs a secret and https.
        RunError: the address is taken.
    """
    site = replace(site, secret=secret_for(site.config, insecure=insecure))
    made, address = bound(site.config)
    print(f"The chat is at {address}  (Ctrl-C ends it)", flush=True)
    if is_loopback(site.config.host):
        print(f"Come in as lead, once: {lead_link(site.store, address, datetime.now(UTC))}", flush=True)
    print(f"Invite users: accord labelers invite {folder} NAME --role user --url {address}", flush=True)
    serve(create(site), made, site.config)
