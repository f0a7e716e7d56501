"""Reactions of a user to an answer, in the conversation, and the page of all the user's own data."""

from __future__ import annotations

import json
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from accord.feedback import chats, consents, documents, ownership, reactions
from accord.feedback.reactions import Kind
from accord.feedback.refusals import Refused
from accord.feedback.web.access import Visit, act, enter
from accord.serving.web import shown, translations

router = APIRouter()


@router.post("/t/{id}/thumb")
def thumb(request: Request, id: str) -> Response:
    """Store a thumb up or down. Sending it again with reasons replaces the first."""
    found, account, form = act(request)
    if form.get("up") not in ("yes", "no"):
        raise Refused("choice_missing")
    payload = {"up": form.get("up") == "yes", "reasons": form.all("reasons"), "note": form.get("note").strip()}
    return _kept(found, account.id, "thumb", id, payload)


@router.post("/t/{id}/choice")
def choice(request: Request, id: str) -> Response:
    """Store which of two answers is better."""
    found, account, form = act(request)
    return _kept(found, account.id, "choice", id, {"choice": form.get("choice")}, other=form.get("other"))


@router.post("/t/{id}/correction")
def correction(request: Request, id: str) -> Response:
    """Store the answer that the user would have wanted."""
    found, account, form = act(request)
    return _kept(found, account.id, "correction", id, {"text": form.get("text")})


@router.post("/t/{id}/report")
def report(request: Request, id: str) -> Response:
    """Store the report that an answer is harmful."""
    found, account, form = act(request)
    return _kept(found, account.id, "report", id, {"note": form.get("note").strip()})


@router.post("/t/{id}/survey")
def survey(request: Request, id: str) -> Response:
    """Store how satisfied the user is with the conversation whose last answer this is."""
    found, account, form = act(request)
    return _kept(found, account.id, "survey", id, {"mark": form.whole("mark")})


@router.get("/mine")
def mine(request: Request) -> Response:
    """Show all data kept about a user: consent, conversations, and reactions with their status."""
    found, account = enter(request)
    store = found.site.store
    said, given = reactions.own(store, account.id), consents.current(store, account.id)
    return found.page(
        "mine.html",
        consent=given,
        consent_text=found.say(consents.TEXT),
        talks=chats.listed(store, account.id),
        documents=documents.listed(store, account.id),
        reactions=[(reaction, chats.one(store, account.id, reaction.turn)) for reaction in said],
        alone=chats.kept_alone(store, account.id),
        states=shown.states(given),
        what=translations.WHAT,
        reasons=translations.REASONS,
        choices=translations.CHOICES,
    )


@router.get("/mine/export")
def export(request: Request) -> Response:
    """Return all the user's data as a file."""
    found, account = enter(request)
    text = json.dumps(ownership.exported(found.site.store, account.id), ensure_ascii=False, indent=2, sort_keys=True)
    headers = {"Content-Disposition": f'attachment; filename="accord-{account.id}.json"'}
    return Response(text + "\n", media_type="application/json", headers=headers)


@router.post("/mine/reactions/{id}/withdraw")
def withdraw(request: Request, id: str) -> Response:
    """Withdraw a reaction, and remove its records from training."""
    found, account, form = act(request)
    reactions.withdraw(found.site.store, account.id, id, now=found.now)
    return found.go("/mine" if form.get("to") == "/mine" else "/chat")


@router.post("/mine/delete")
def delete_all(request: Request) -> Response:
    """Empty all the user's conversations and delete everything derived from them."""
    found, account, form = act(request)
    if form.get("sure") != "yes":
        raise Refused("choice_missing")
    ownership.delete(found.site.store, account.id, now=found.now)
    return found.go("/mine")


def _kept(found: Visit, user: str, kind: Kind, turn: str, payload: dict[str, Any], *, other: str = "") -> Response:
    made = reactions.react(found.site.store, user, kind, turn, payload, other=other, now=found.now)
    conversation = chats.one(found.site.store, user, turn).conversation
    to = f"/c/{conversation}?at={turn}#{turn}"
    return found.go(to, reaction=made.id)
