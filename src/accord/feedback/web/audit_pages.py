"""The audit log as a page: who did what, to whom, when and why; with filters, and as a table to download."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlencode

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from accord.feedback import accounts, audit
from accord.feedback.web import translations
from accord.feedback.web.access import Visit, enter
from accord.feedback.web.downloads import csv_file

router = APIRouter()
ROWS = 100
"""Rows of a page."""
MOST = 100_000
"""Rows of a download; older ones come by `accord backup` or SQL."""
LONGEST = 320
"""Maximum length of a filter in characters."""


@router.get("/lead/audit")
def audit_page(request: Request, who: str = "", what: str = "", on: str = "", before: int = 0) -> Response:
    """Show the audit log, newest first.

    Args:
        who: an account's id, or `operator` for the command line.
        on: the account or record that something was done to.
        before: the number of the last row already seen.
    """
    found, _ = enter(request, "lead", "viewer")
    wanted = _wanted(who, what, on)
    rows = _newest(found, wanted, before=max(before, 0), limit=ROWS + 1)
    named = {name: value for name, value in wanted.items() if value}
    more = urlencode({**named, "before": rows[ROWS - 1].number}) if len(rows) > ROWS else ""
    return found.page(
        "audit.html",
        rows=rows[:ROWS],
        names=_names(found),
        acts={act: found.say(text) for act, text in translations.ACTS.items()},
        role_names={role: found.say(name) for role, name in translations.ROLE_NAMES.items()},
        kinds=audit.kinds(found.site.store),
        wanted=wanted,
        more=more,
        first=before > 0,
        download=urlencode(named),
    )


@router.get("/lead/audit.csv")
def audit_csv(request: Request, who: str = "", what: str = "", on: str = "") -> Response:
    """Download the rows that pass the filters, newest first."""
    found, _ = enter(request, "lead", "viewer")
    names, rows = _names(found), _newest(found, _wanted(who, what, on), limit=MOST)
    table = ((row.number, row.at, row.who, names.get(row.who, ""), row.what, row.on, names.get(row.on, ""), row.why) for row in rows)
    return csv_file("audit.csv", ("number", "at", "who", "who_name", "what", "on", "on_name", "why"), table)


def _wanted(who: str, what: str, on: str) -> dict[str, str]:
    given = {"who": who, "what": what, "on": on}
    return {name: value.strip()[:LONGEST] if value.isprintable() else "" for name, value in given.items()}


def _newest(found: Visit, wanted: Mapping[str, str], *, before: int = 0, limit: int) -> list[audit.Entry]:
    return audit.newest(found.site.store, who=wanted["who"], what=wanted["what"], on=wanted["on"], before=before, limit=limit)


def _names(found: Visit) -> Mapping[str, str]:
    return {person.id: person.name for person in accounts.people(found.site.store) if person.name}
