"""The leads' page of quality: labeler metrics, and pairs to judge. Viewers see it and change nothing."""

from __future__ import annotations

import math
from weakref import WeakKeyDictionary

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from accord.feedback import tasks
from accord.feedback.intervals import UNDEFINED, Interval
from accord.feedback.question_agreement import QuestionAgreement
from accord.feedback.questions import kept
from accord.feedback.store import Store
from accord.feedback.web import translations
from accord.feedback.web.access import Visit, act, enter
from accord.feedback.web.languages import guideline_language
from accord.feedback.web.lead_metrics import Cache, Picture
from accord.settings.questions import said

router = APIRouter()
_CACHES: WeakKeyDictionary[Store, Cache] = WeakKeyDictionary()


@router.get("/lead")
def lead_page(request: Request) -> Response:
    """Show every labeler's metrics with plots, agreement by guideline and group, and contested pairs."""
    found, account = enter(request, "lead", "viewer")
    picture = picture_of(found)
    return found.page(
        "lead.html",
        picture=picture,
        figures={key: found.say(translations.FIGURES.get(key, key)) for key in picture.agreement},
        asked=_asked(found, picture),
        sides={side: found.say(name) for side, name in translations.SIDES.items()},
        may_change=account.role == "lead",
        percent=percent,
        plain=plain,
    )


@router.post("/lead/doubts")
def settle(request: Request) -> Response:
    """Queue the doubtful pairs on the page for the lead who asks for them."""
    found, account, _ = act(request, "lead")
    store, me = found.site.store, account.id
    made = list[tasks.Task]()
    for pair in picture_of(found).doubts:
        id = tasks.task_id("compare", "training", pair.prompt.id, (response.id for response in pair.responses), me)
        made.append(tasks.Task(id, "compare", pair.prompt, pair.responses, priority=1.0, reserved_for=me))
    tasks.add(store, made)
    renew(store)
    return found.go("/next")


def _asked(found: Visit, picture: Picture) -> list[tuple[str, QuestionAgreement, str, Interval]]:
    """Return a line for each question and flag: its text, the agreement, and the first coefficient with its name."""
    wordings, language = {**kept(found.site.store)}, guideline_language(found.language)
    lines = list[tuple[str, QuestionAgreement, str, Interval]]()
    for each in picture.questions:
        question = wordings.get((each.name, each.version)) or found.site.questions.by_name.get(each.name)
        metric, value = next(iter(each.metrics.items()), ("", UNDEFINED))
        lines.append((said(question.text, language) if question else each.name, each, metric.replace("_", " "), value))
    return lines


def percent(value: Interval) -> str:
    """Format a share with its interval; a dash when there is none."""
    return "–" if math.isnan(value.mean) else f"{value.mean:.0%} ({value.low:.0%}–{value.high:.0%})"


def plain(value: Interval) -> str:
    """Format a coefficient with its interval; a dash when there is none."""
    return "–" if math.isnan(value.mean) else f"{value.mean:.2f} ({value.low:.2f}, {value.high:.2f})"


def picture_of(found: Visit) -> Picture:
    """Return the metrics of the store as the last computation left them; see ``lead_metrics.Cache``."""
    return _cache(found.site.store).get(found.site.store, found.now, found.site.screening)


def renew(store: Store) -> None:
    """Have the metrics computed again, since a lead has changed whose answers count."""
    _cache(store).renew()


def _cache(store: Store) -> Cache:
    return _CACHES.setdefault(store, Cache())
