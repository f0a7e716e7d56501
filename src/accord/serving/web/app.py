"""The chat as an ASGI application. Its server is in one_process.py."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.types import ASGIApp

from accord.feedback.web.app import Lifespan, build, few_threads
from accord.serving.web import answers, conversation_tools, conversations, documents, pictures, reactions, review_pages, tastes
from accord.serving.web.site import ChatSite

PAGES = (
    conversations.router,
    conversation_tools.router,
    documents.router,
    pictures.router,
    reactions.router,
    review_pages.router,
    tastes.router,
)
"""The chat's own pages."""
STREAMED = documents.STREAMED | pictures.STREAMED
"""Addresses of the chat whose body is not read before the page decides (``Guard``), with the most bytes of it."""


def create(site: ChatSite, lifespan: Lifespan | None = None, around: Sequence[Middleware] = ()) -> ASGIApp:
    """Return the chat over a site; its models are opened when the server starts and closed when it ends.

    Args:
        lifespan: runs as long as the server does, in place of this.
        around: further layers around the pages.
    """
    return build(site, *PAGES, lifespan=lifespan or models_open(site), streamed=STREAMED, around=around)


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
