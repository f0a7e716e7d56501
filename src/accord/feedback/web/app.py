"""The site as an ASGI application: the layers around every page, the pages, and error responses."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio.to_thread
from fastapi import APIRouter, FastAPI
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp

from accord.errors import StoreError
from accord.feedback import guidelines, questions
from accord.feedback.guideline_pictures import Reader
from accord.feedback.refusals import Refused
from accord.feedback.store import Store
from accord.feedback.web import (
    audit_pages,
    doubt_pages,
    label_pages,
    lead_pages,
    media_pages,
    people_pages,
    profiles,
    screenings,
    sign_in,
    transcript_pages,
    translations,
)
from accord.feedback.web.access import LANGUAGE_COOKIE, ForeignForm, LoggedOut, SceneOf, Site, Visit, visit
from accord.feedback.web.languages import choose
from accord.feedback.web.security import Guard
from accord.settings import LabelConfig, ScreeningConfig
from accord.settings.questions import Questions, usual

if TYPE_CHECKING:
    from accord.feedback.sso import Provider

PAGES = (
    profiles.router,
    label_pages.router,
    doubt_pages.router,
    lead_pages.router,
    screenings.router,
    people_pages.router,
    audit_pages.router,
    transcript_pages.router,
)
"""The labeling site's own pages. Each of them needs a session; pages for strangers are in sign_in.py."""
THREADS = 12
"""Concurrent requests: fewer than the store has connections."""
OWN = ("127.0.0.1", "localhost", "::1")
"""Names of this machine that nobody else can reach."""
log = logging.getLogger("accord.site")
Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def create(
    store: Store,
    config: LabelConfig,
    *,
    name: str,
    secret: str = "",
    folder: Path | None = None,
    screening: ScreeningConfig | None = None,
    asked: Questions | None = None,
    sso: Provider | None = None,
    scene: SceneOf | None = None,
    pictures: Reader | None = None,
) -> ASGIApp:
    """Build the labeling site over a store.

    Args:
        name: the project's display name.
        secret: part of the forms' tokens; all processes of one site share it.
        folder: the project's folder, whose ``guidelines/`` take precedence over the built-in ones.
        screening: thresholds of the qualification run and of rushed answers.
        asked: the questions to labelers; None asks those of a project that has none of its own.
        sso: the identity provider of single sign-on.
        scene: tells the scene of a prompt.
        pictures: reads the pictures of a guideline.

    Raises:
        InputError: a guideline, or a picture that it shows, cannot be used.
    """
    known = asked or usual()
    site = Site(store, config, name, secret, folder, screening or ScreeningConfig(), known, sso=sso, scene=scene, pictures=pictures)
    keep(site)
    return build(site, *PAGES)


def keep(site: Site) -> None:
    """Store the versions of the guidelines and questions in force, which answers name. Raises InputError for a guideline without use."""
    for set in guidelines.SETS:
        guidelines.keep(site.store, set, now=datetime.now(UTC), project=site.folder, reader=site.pictures)
    questions.keep(site.store, site.questions, now=datetime.now(UTC))


def build(
    site: Site,
    *routers: APIRouter,
    lifespan: Lifespan | None = None,
    streamed: Mapping[str, int] | None = None,
    around: Sequence[Middleware] = (),
) -> ASGIApp:
    """Build a site with sign-in, errors in the visitor's language, and the protection of every page.

    Args:
        routers: the site's own pages.
        lifespan: runs as long as the server does.
        streamed: addresses of pages that read a large body themselves, with the most bytes of it (``Guard``).
        around: further layers around the pages, the outermost first. They find a request's body in its scope, as the pages do.
    """
    config = site.config
    hosts = [*OWN, "[::1]", config.host, *(part.strip() for part in config.names.split(",") if part.strip())]
    app = FastAPI(
        title="Accord",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        lifespan=lifespan or few_threads,
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False), *around],
    )
    app.state.site = site
    for router in (sign_in.router, media_pages.router, *routers):
        app.include_router(router)
    if site.sso is not None:
        from accord.feedback.web import sso_pages

        app.include_router(sso_pages.router)
    for kind, handler in _HANDLERS.items():
        app.add_exception_handler(kind, handler)
    return Guard(app, https=config.https, streamed=streamed)  # outermost, so that an error's page has the headers too


@asynccontextmanager
async def few_threads(_: FastAPI) -> AsyncGenerator[None]:
    """Limit concurrent requests so that each has a connection to the store."""
    anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
    yield


def tell(request: Request, status: int, text: str, *, key: str = "", next: tuple[str, str] | None = None) -> Response:
    """Return an error in the visitor's language, as a page or as JSON."""
    try:
        found = visit(request)
    except StoreError:
        language = choose(request.cookies.get(LANGUAGE_COOKIE), request.headers.get("accept-language"))
        found = Visit(request.app.state.site, request, None, "", language, datetime.now(UTC))
    said = found.say(text)
    if found.wants_json:
        return JSONResponse({"error": said, "key": key, "status": status}, status)
    to = next or ("/", translations.HOME)
    title = found.say(translations.TITLES.get(status, translations.TITLES[500]))
    return found.page("error.html", status, title=title, text=said, next=(found.root + to[0], found.say(to[1])))


def _refused(request: Request, error: Any) -> Response:
    if error.detail:
        log.info("%s %s: %s", error.status, error.key, error.detail[:200])
    return tell(request, error.status, translations.REFUSALS[error.key], key=error.key)


def _logged_out(request: Request, _: Exception) -> Response:
    return tell(request, 401, translations.LOGIN, key="login", next=("/join", translations.HAVE_LINK))


def _foreign(request: Request, _: Exception) -> Response:
    return tell(request, 403, translations.CSRF, key="csrf")


def _no_page(request: Request, error: Any) -> Response:
    return tell(request, error.status_code, translations.NO_PAGE)


def _store_down(request: Request, error: Exception) -> Response:
    log.error("%s", error)
    return tell(request, 503, translations.STORE_DOWN)


def _broken(request: Request, error: Exception) -> Response:
    log.error("a page failed", exc_info=error)
    return tell(request, 500, translations.BROKEN)


_HANDLERS: dict[type[Exception], Callable[[Request, Any], Response]] = {
    Refused: _refused,
    LoggedOut: _logged_out,
    ForeignForm: _foreign,
    HTTPException: _no_page,
    StoreError: _store_down,
    Exception: _broken,
}
