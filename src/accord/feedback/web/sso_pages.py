"""Single sign-on: to the provider, back from it, and out of it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from accord.feedback import accounts
from accord.feedback.refusals import Refused
from accord.feedback.sso import Begun, Failed, Provider, sign_in
from accord.feedback.web.access import ForeignForm, Visit, visit
from accord.feedback.web.security import link_fits

router = APIRouter(prefix="/sso")
MINUTES = 10
"""Minutes that somebody may take at the provider."""


@router.get("/start")
def start(request: Request, link: str = "") -> Response:
    """Send the browser to the provider. Somebody who is signed in links their account only if they asked for it on our page.

    Else another site could link the account with an identity of its own, by signing the browser in at the provider first.
    """
    found = visit(request)
    provider = _provider(found)
    if link and found.account and not link_fits(found.session, found.site.secret, link):
        raise ForeignForm
    begun = provider.begin(_back(found))
    linking = found.account.id if found.account and link else ""
    response = RedirectResponse(begun.address, 303)
    content = {"state": begun.state, "nonce": begun.nonce, "verifier": begun.verifier, "link": linking, "at": found.now.timestamp()}
    _set(response, found, _sealed(found, content), MINUTES * 60)
    return response


@router.get("/back")
def back(request: Request) -> Response:
    """Take the browser back from the provider, and begin a session."""
    found = visit(request)
    provider, site = _provider(found), found.site
    who = request.client.host if request.client else ""
    kept = _opened(found, request.cookies.get(_cookie(found), ""))
    try:
        if kept is None:
            raise Failed("this browser has begun nothing, or long ago")
        begun = Begun("", kept["state"], kept["nonce"], kept["verifier"])
        identity = provider.finish(begun, _back(found), dict(request.query_params))
        linked = found.account if found.account and kept["link"] == found.account.id else None
        if kept["link"] and linked is None:
            raise Failed("somebody else is signed in now than when it began")
        session = sign_in(site.store, identity, provider.config, linked=linked, now=found.now, days=site.config.session_days)
    except Refused:
        accounts.attempt(site.store, who, now=found.now)
        raise
    if found.session:
        accounts.end_session(site.store, found.session)
    response = found.go("/")
    name, path = site.session_cookie(found.root), found.root or "/"
    seconds = int(site.config.session_days * 86_400)
    response.set_cookie(name, session, max_age=seconds, httponly=True, secure=site.config.https, samesite="lax", path=path)
    _set(response, found, "", 0)
    return response


@router.get("/out")
def out(request: Request) -> Response:
    """Send the browser to the provider's own sign-out; the session here ends by the page's button."""
    found = visit(request)
    to = _provider(found).leaving(_address(found, "/join"))
    return RedirectResponse(to, 303) if to else found.go("/join")


def _provider(found: Visit) -> Provider:
    if found.site.sso is None:
        raise HTTPException(404)
    return found.site.sso


def _back(found: Visit) -> str:
    return _address(found, "/sso/back")


def _address(found: Visit, path: str) -> str:
    """Return an address of this site as browsers reach it; the host's name was checked before."""
    scheme = "https" if found.site.config.https else "http"
    return f"{scheme}://{found.request.headers.get('host', '')}{found.root}{path}"


def _cookie(found: Visit) -> str:
    return f"{found.site.session_cookie(found.root)}_sso"


def _set(response: Response, found: Visit, content: str, seconds: int) -> None:
    """Keep what was begun in the browser. Lax, since the way back from the provider comes from another site."""
    https, path = found.site.config.https, found.root or "/"
    response.set_cookie(_cookie(found), content, max_age=seconds, httponly=True, secure=https, samesite="lax", path=path)


def _sealed(found: Visit, content: dict[str, Any]) -> str:
    packed = base64.urlsafe_b64encode(json.dumps(content).encode()).decode()
    return f"{packed}.{_mark(found, packed)}"


def _opened(found: Visit, cookie: str) -> dict[str, Any] | None:
    """Return what this browser began, unless it was changed or is too long ago."""
    packed, _, mark = cookie.partition(".")
    if not hmac.compare_digest(mark.encode(), _mark(found, packed).encode()):
        return None
    content: dict[str, Any] = json.loads(base64.urlsafe_b64decode(packed))
    return content if 0 <= found.now.timestamp() - content["at"] <= MINUTES * 60 else None


def _mark(found: Visit, packed: str) -> str:
    return hmac.new(b"sso:" + found.site.secret.encode(), packed.encode(), hashlib.sha256).hexdigest()
