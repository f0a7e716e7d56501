"""People's profiles, all optional: the groups that they can speak for, and their language."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from accord.feedback import accounts
from accord.feedback.web.access import LANGUAGE_COOKIE, act, enter
from accord.feedback.web.languages import LANGUAGES

router = APIRouter()
MOST_GROUPS = 20
LONGEST_GROUP = 80


@router.get("/profile")
def profile_page(request: Request) -> Response:
    """Show a person's own page. No field is required."""
    found, account = enter(request)
    return found.page("profile.html", groups=account.profile.get("groups", ()), chosen=account.profile.get("language", ""))


@router.post("/profile")
def keep_profile(request: Request) -> Response:
    """Replace the stored profile by the form's; an empty form clears it."""
    found, account, form = act(request)
    lines = [" ".join(line.split())[:LONGEST_GROUP] for line in form.get("groups").split("\n")]
    groups = list(dict.fromkeys(line for line in lines if line.isprintable() and line))[:MOST_GROUPS]
    told = {"groups": groups, "language": form.get("language") if form.get("language") in LANGUAGES else ""}

    def replaced(profile: dict[str, Any]) -> dict[str, Any]:
        kept = {key: value for key, value in profile.items() if key not in told}
        return kept | {key: value for key, value in told.items() if value}

    accounts.change_profile(found.site.store, account.id, replaced)
    response = found.go("/")
    response.delete_cookie(LANGUAGE_COOKIE, path=found.root or "/", secure=found.site.config.https, httponly=True, samesite="lax")
    return response
