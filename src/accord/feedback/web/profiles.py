"""People's profiles, all optional: the groups that they can speak for, their language, and the lead's own fields."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from accord.feedback import accounts
from accord.feedback.profile import LONGEST, fields_of
from accord.feedback.web.access import LANGUAGE_COOKIE, Visit, act, enter
from accord.feedback.web.languages import LANGUAGES, guideline_language
from accord.settings.questions import Question, said

router = APIRouter()
MOST_GROUPS = 20
LONGEST_GROUP = 80


@router.get("/profile")
def profile_page(request: Request) -> Response:
    """Show a person's own page. No field is required."""
    found, account = enter(request)
    own = [(field, account.profile.get(field.name, "")) for field in fields_of(found.site.folder).values()]
    asked = [(field.name, *_in_words(found, field), value) for field, value in own]
    return found.page("profile.html", asked=asked, groups=account.profile.get("groups", ()), chosen=account.profile.get("language", ""))


def _in_words(found: Visit, field: Question) -> tuple[str, str, list[tuple[str, str]]]:
    """Return a field's text, its definition and its options with their texts, in the reader's language."""
    language = guideline_language(found.language)
    options = [(option.value, said(option.text, language)) for option in field.options]
    return said(field.text, language), said(field.definition, language), options


@router.post("/profile")
def keep_profile(request: Request) -> Response:
    """Replace the stored profile by the form's; an empty form clears it."""
    found, account, form = act(request)
    lines = [" ".join(line.split())[:LONGEST_GROUP] for line in form.get("groups").split("\n")]
    groups = list(dict.fromkeys(line for line in lines if line.isprintable() and line))[:MOST_GROUPS]
    told: dict[str, Any] = {"groups": groups, "language": form.get("language") if form.get("language") in LANGUAGES else ""}
    for name, field in fields_of(found.site.folder).items():
        value = " ".join(form.get(f"profile.{name}").split())[:LONGEST]
        told[name] = value if value.isprintable() and (not field.options or value in field.values) else ""

    def replaced(profile: dict[str, Any]) -> dict[str, Any]:
        kept = {key: value for key, value in profile.items() if key not in told}
        return kept | {key: value for key, value in told.items() if value}

    accounts.change_profile(found.site.store, account.id, replaced)
    response = found.go("/")
    response.delete_cookie(LANGUAGE_COOKIE, path=found.root or "/", secure=found.site.config.https, httponly=True, samesite="lax")
    return response
