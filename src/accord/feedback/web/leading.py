"""The leads' page: how people answer, and what a lead does about it. Viewers look and change nothing."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from accord.feedback import accounts
from accord.feedback.refusals import Refused
from accord.feedback.web.visiting import act, enter

router = APIRouter()


@router.get("/lead")
def lead_page(request: Request) -> Response:
    found, _ = enter(request, "lead", "viewer")
    return found.page("lead.html", people=accounts.people(found.site.store))


@router.post("/lead/people/{id}/{what}")
def change_person(request: Request, id: str, what: str) -> Response:
    """Pauses, resumes, excludes or includes a labeler; each leaves an audit row with its reason."""
    found, account, form = act(request, "lead")
    store, why = found.site.store, form.get("why")[:400]
    if accounts.account(store, id) is None:
        raise Refused("unknown_labeler", 404, id)
    match what:
        case "pause":
            accounts.pause(store, id, by=account.id, why=why, now=found.now)
        case "resume":
            accounts.resume(store, id, by=account.id, why=why, now=found.now)
        case "exclude":
            accounts.exclude(store, id, by=account.id, why=why, now=found.now)
        case "include":
            accounts.include(store, id, by=account.id, why=why, now=found.now)
        case _:
            raise Refused("malformed", 404, what)
    return found.go("/lead")
