"""The first page: the loop with this project's numbers for leads and viewers; labelers come to their tasks, users to the chat."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from accord.feedback.web.access import enter
from accord.site import navigation

router = APIRouter()


@router.get("/")
def first_page(request: Request) -> Response:
    """Show the loop, or send a labeler or user to where they work."""
    found, account = enter(request)
    landing = navigation.LANDING[account.role]
    return found.page("loop.html") if landing == "/" else found.go(landing)
