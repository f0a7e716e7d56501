"""What a user does with a whole conversation: rename it, pin it, take it along as a file."""

from __future__ import annotations

import json

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from accord.feedback import chats, ownership
from accord.feedback.chats import Conversation, Turn
from accord.feedback.refusals import Refused
from accord.feedback.web.access import act, enter, in_line
from accord.serving.web import shown, translations

router = APIRouter()


@router.post("/c/{id}/rename")
def rename(request: Request, id: str) -> Response:
    """Give a conversation another title."""
    found, account, form = act(request)
    title = " ".join(form.get("title").split())
    if not title or len(title) > chats.LONGEST_TITLE:
        raise Refused("nothing_said" if not title else "too_long")
    chats.change(found.site.store, account.id, id, title=title)
    return found.go(f"/c/{id}")


@router.post("/c/{id}/pin")
def pin(request: Request, id: str) -> Response:
    """Keep a conversation on top of the list, or let it go."""
    found, account, form = act(request)
    if form.get("pinned") not in ("yes", "no"):
        raise Refused("choice_missing")
    chats.change(found.site.store, account.id, id, pinned=form.get("pinned") == "yes")
    return found.go(f"/c/{id}")


@router.get("/c/{id}/export")
def export(request: Request, id: str, form: str = "markdown", at: str = "") -> Response:
    """Return a conversation as a file: the branch that is shown as Markdown, or every turn of it as JSON."""
    found, account = enter(request)
    conversation, turns = chats.opened(found.site.store, account.id, id)
    if form == "json":
        whole = ownership.whole(found.site.store, conversation, turns)
        return as_file(json.dumps(whole, ensure_ascii=False, indent=2, sort_keys=True) + "\n", "application/json", f"{id}.json")
    turns = [ownership.taken_along(found.site.store, turn) for turn in turns]
    said = [step.turn for step in shown.thread(turns, [], at=at)]
    names = {"user": found.say(translations.YOU), "assistant": ""}
    return as_file(as_markdown(conversation, said, names), "text/markdown; charset=utf-8", f"{id}.md")


def as_markdown(conversation: Conversation, said: list[Turn], names: dict[str, str]) -> str:
    """Return a branch of a conversation as a Markdown document; an answer has the version of its model as its heading."""
    system = [f"> {line}" for line in conversation.system.split("\n")] if conversation.system else []
    parts = [f"# {conversation.title}", *(["\n".join(system)] if system else [])]
    for turn in said:
        parts += [f"## {names.get(turn.role) or turn.signature or '?'}", in_line(turn.text) if turn.media else turn.text]
    return "\n\n".join(parts) + "\n"


def as_file(text: str, kind: str, name: str) -> Response:
    """Return a text as a file to save."""
    return Response(text, media_type=kind, headers={"Content-Disposition": f'attachment; filename="{name}"'})
