"""The lead's review page: reactions that users gave and consented to, to accept or refuse, and the running
trial. Viewers can read it."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from accord.feedback import deployments, review
from accord.feedback.refusals import Refused
from accord.feedback.web.access import act, enter
from accord.serving.web import site, translations

router = APIRouter()
ON_A_PAGE = 30


@router.get("/review")
def review_page(request: Request) -> Response:
    """Show the reactions that wait for a review, oldest first, in the form used for training."""
    found, account = enter(request, "lead", "viewer")
    house = site.of(found)
    running = deployments.trial(house.store)
    return found.page(
        "review.html",
        items=review.waiting(house.store, house.screen, limit=ON_A_PAGE),
        waiting=review.count_waiting(house.store),
        may_change=account.role == "lead",
        running=running,
        votes=len(deployments.votes(house.store, running)) if running else 0,
        answering=house.answering(),
        why=house.why,
        what=translations.WHAT,
        reasons=translations.REASONS,
        choices=translations.CHOICES,
        findings=translations.FINDINGS,
    )


@router.post("/review/{id}")
def decide(request: Request, id: str) -> Response:
    """Accept or refuse one reaction."""
    found, account, form = act(request, "lead")
    house = site.of(found)
    match form.get("verdict"):
        case "accept":
            review.accept(house.store, id, by=account.id, screen=house.screen, now=found.now, held_out=house.chat.held_out)
        case "refuse":
            review.refuse(house.store, id, by=account.id, why=form.get("why")[:400], now=found.now)
        case _:
            raise Refused("choice_missing")
    return found.go("/review")


@router.post("/review")
def accept_clean(request: Request) -> Response:
    """Accept at once all reactions on the page that have no finding for a person to look at."""
    found, account, form = act(request, "lead")
    house = site.of(found)
    asked = set(form.all("id"))
    for item in review.waiting(house.store, house.screen, limit=ON_A_PAGE):
        if item.clean and item.reaction.id in asked:
            review.accept(house.store, item.reaction.id, by=account.id, screen=house.screen, now=found.now, held_out=house.chat.held_out)
    return found.go("/review")
