"""The page of what was learned about a user's taste: in words, to be edited, taken along, and forgotten. It is off by default."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Literal

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from accord.data.traits import TRAITS, in_words
from accord.feedback import tastes
from accord.feedback.web.access import Visit, act, enter
from accord.serving.web import site
from accord.serving.web.conversation_tools import as_file

router = APIRouter()
SAID = {"more": 1, "less": -1, "either": 0}


@router.get("/taste")
def page(request: Request) -> Response:
    """Show what was learned, and what the user said of it."""
    found, account = enter(request)
    kept, language = tastes.of(found.site.store, account.id), _language(found)
    rows = [(name, trait.more[language], trait.less[language], kept.said.get(name)) for name, trait in TRAITS.items()]
    offered = site.of(found).chat.tastes
    return found.page("taste.html", offered=offered, kept=kept, words=in_words(kept.leans, language), rows=rows)


@router.post("/taste")
def keep(request: Request) -> Response:
    """Switch it on or off, and keep what the user says of their taste."""
    found, account, form = act(request)
    said = {name: SAID[form.get(name)] for name in TRAITS if form.get(name) in SAID}
    tastes.say(found.site.store, account.id, said, on=form.get("on") == "yes")
    return found.go("/taste")


@router.get("/taste/export")
def export(request: Request) -> Response:
    """Return all that is kept of the user's taste as a file."""
    found, account = enter(request)
    kept = tastes.of(found.site.store, account.id)
    told = {**asdict(kept), "words": in_words(kept.leans, _language(found))}
    return as_file(json.dumps(told, ensure_ascii=False, indent=2) + "\n", "application/json", f"taste-{account.id}.json")


@router.post("/taste/forget")
def forget(request: Request) -> Response:
    """Switch it off and remove what is kept."""
    found, account, _ = act(request)
    tastes.forget(found.site.store, account.id)
    return found.go("/taste")


def _language(found: Visit) -> Literal["en", "zh"]:
    return "zh" if found.language.startswith("zh") else "en"
