"""Signing in and out: invitations, sessions, the language, and the files that every page needs."""

from __future__ import annotations

from contextlib import suppress

import anyio
import anyio.to_thread
from fastapi import APIRouter
from sqlalchemy import literal, select
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from accord.errors import StoreError
from accord.feedback import accounts
from accord.feedback.refusals import Refused
from accord.feedback.web.access import LANGUAGE_COOKIE, act, inside, posted, static_address, static_files, static_version, visit
from accord.feedback.web.languages import LANGUAGES

router = APIRouter()
TYPES = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml", "png": "image/png"}
READY_SECONDS = 1.0
_ASKING = anyio.CapacityLimiter(2)
FOR_EVER = {"Cache-Control": "public, max-age=31536000, immutable"}


@router.get("/join")
def join_page(request: Request, token: str = "") -> Response:
    """Show an invitation without using it up, since mail programs open links too."""
    return visit(request).page("join.html", token=token[:200])


@router.post("/join")
def join(request: Request) -> Response:
    """Exchange an invitation for a new session. Only failures count against an address, so a team behind one gets in at once."""
    form, found = posted(request), visit(request)
    site, who = found.site, request.client.host if request.client else ""
    try:
        session = accounts.redeem(site.store, form.get("token").strip(), now=found.now, days=site.config.session_days)
    except Refused:
        accounts.attempt(site.store, who, now=found.now)
        raise
    if found.session:
        accounts.end_session(site.store, found.session)
    response = found.go("/")
    seconds = int(site.config.session_days * 86_400)
    name, path = site.session_cookie(found.root), found.root or "/"
    response.set_cookie(name, session, max_age=seconds, httponly=True, secure=site.config.https, samesite="lax", path=path)
    return response


@router.post("/leave")
def leave(request: Request) -> Response:
    """End the session in the store, not only in the browser."""
    found, _, _ = act(request)
    accounts.end_session(found.site.store, found.session)
    response = found.go("/join")
    name, path = found.site.session_cookie(found.root), found.root or "/"
    response.delete_cookie(name, path=path, secure=found.site.config.https, httponly=True, samesite="lax")
    return response


@router.post("/language")
def language(request: Request) -> Response:
    """Store the chosen language in the browser."""
    form, found = posted(request), visit(request)
    response = RedirectResponse(found.root + inside(form.get("to")), 303)
    if form.get("language") in LANGUAGES:
        secure, path = found.site.config.https, found.root or "/"
        response.set_cookie(
            LANGUAGE_COOKIE, form.get("language"), max_age=31_536_000, httponly=True, secure=secure, samesite="lax", path=path
        )
    return response


@router.get("/manifest.webmanifest")
def manifest(request: Request) -> Response:
    """Describe the site to a phone that installs it. Browsers ask for it without a session, so it names nothing but the project."""
    found = visit(request)
    site, icons = found.site, list[dict[str, str]]()
    for size in (192, 512):
        address = found.root + static_address(f"icon-{size}.png", site.packages)
        icons.append({"src": address, "sizes": f"{size}x{size}", "type": "image/png", "purpose": "any maskable"})
    described = {"name": f"Accord {site.name}", "short_name": site.name[:12], "id": f"{found.root}/", "start_url": f"{found.root}/"}
    shown = {"scope": f"{found.root}/", "display": "standalone", "background_color": "#fdfdfb", "theme_color": "#1c57a5", "icons": icons}
    return JSONResponse(described | shown, media_type="application/manifest+json")


@router.get("/static/{version}/{name}")
async def static(request: Request, version: str, name: str) -> Response:
    """Return one of our scripts or styles by its name in a list, so that no path leads out of it."""
    packages = request.app.state.site.packages
    content = static_files(packages).get(name)
    if content is None:
        raise HTTPException(404)
    headers = FOR_EVER if version == static_version(packages) else {}
    return Response(content, media_type=TYPES[name.rpartition(".")[2]], headers=headers)


@router.get("/health")
async def health() -> Response:
    """Report that this process is alive, whatever the database does."""
    return JSONResponse({"status": "ok"})


@router.get("/ready")
async def ready(request: Request) -> Response:
    """Report whether the database answers within a second: 200 or 503."""
    store = request.app.state.site.store

    def asked() -> bool:
        with store.read() as connection:
            return bool(connection.scalar(select(literal(1))))

    answered = False
    with anyio.move_on_after(READY_SECONDS), suppress(StoreError):
        # A thread beside those of the pages, which may all wait for the same database.
        answered = await anyio.to_thread.run_sync(asked, abandon_on_cancel=True, limiter=_ASKING)
    return JSONResponse({"status": "ok" if answered else "the database does not answer"}, 200 if answered else 503)
