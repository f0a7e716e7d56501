"""A labeler's qualification run for a lead: agreement with the researchers, demonstrations to score, and the decision."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from accord.feedback import accounts, qualification
from accord.feedback.accounts import Account
from accord.feedback.refusals import Refused
from accord.feedback.web import translations
from accord.feedback.web.access import Visit, act, enter
from accord.feedback.web.lead_pages import percent

router = APIRouter()


@router.get("/lead/screening/{id}")
def screening_page(request: Request, id: str) -> Response:
    """Show a labeler's results in the qualification run, with every demonstration beside the researchers' own."""
    found, account = enter(request, "lead", "viewer")
    person = _person(found, id)
    run = qualification.screening(found.site.store, person.id, found.site.screening)
    return found.page(
        "screening.html",
        person=person,
        run=run,
        cutoffs=found.site.screening,
        parts_said={part: found.say(name) for part, name in translations.SCREENED.items()},
        may_change=account.role == "lead",
        percent=percent,
    )


@router.post("/lead/screening/{id}")
def judge(request: Request, id: str) -> Response:
    """Store a lead's scores; admit or reject the labeler if the lead decides. Each leaves an audit row."""
    found, account, form = act(request, "lead")
    person, store = _person(found, id), found.site.store
    written = qualification.screening(store, person.id, found.site.screening).written
    given = {each.answer_id: form.whole(f"score-{n}") for n, each in enumerate(written, 1)}
    for each in written:
        value = given[each.answer_id]
        if value is not None and value != each.score:
            qualification.score(store, each.answer_id, value, by=account.id, now=found.now)
    if form.get("action") in ("pass", "fail"):
        passed = form.get("action") == "pass"
        accounts.qualify(store, person.id, passed, by=account.id, why=form.get("why")[:400], now=found.now)
        return found.go("/lead")
    return found.go(found.path)


def _person(found: Visit, id: str) -> Account:
    person = accounts.account(found.site.store, id) if id.isprintable() else None
    if person is None:
        raise Refused("unknown_labeler", 404, id)
    return person
