"""Browse, search, export and remove the project's records, and read a record's whole story. Viewers remove nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlencode

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from accord.data import written_hints
from accord.data.classifiers.interface import words_of
from accord.data.classifiers.project_set import of_folder
from accord.data.export_formats import SHAPES, shape
from accord.data.row_writer import json_lines
from accord.errors import StoreError
from accord.feedback import browse, imports, story
from accord.feedback.browse import BROWSED, Filter, Kind
from accord.feedback.export import What, lines, values
from accord.feedback.refusals import Refused
from accord.feedback.removals import NOT_LEARNED, models_of
from accord.feedback.web.access import Visit, act, enter
from accord.feedback.web.translations import ACTS
from accord.records import Split
from accord.runtime import jobs
from accord.site import project_site

router = APIRouter()


def _(text: str) -> str:
    """Mark a text for translation where it is shown."""
    return text


KINDS: dict[Kind, str] = {
    "prompts": _("prompts"),
    "responses": _("responses"),
    "rankings": _("rankings"),
    "comparisons": _("comparisons"),
    "demonstrations": _("demonstrations"),
    "thumbs": _("thumbs"),
}
SPLITS: dict[Split, str] = {"train": _("training"), "validation": _("validation"), "test": _("test")}
ONE_KIND = {"prompts": "prompt", "responses": "response", "rankings": "ranking", "comparisons": "ranking"} | {
    "demonstrations": "demonstration",
    "thumbs": "thumb",
}
HABITS = (
    *(_("opens like an assistant"), _("closes like an assistant"), _("says what is important to note"), _("sums up")),
    *(_("linking words"), _("weighs many factors"), _("roles and key parts"), _("words that models favour"), _("purposes and benefits")),
    *(_("advises to consult somebody"), _("headings in a list"), _("bold text or headings"), _("both sides"), _("first, then, last")),
    _("lists options"),
)
"""Habits by which the shipped rules tell, as hints name them."""
MEGABYTES = 50
"""Size of all snapshots together up to which a record's page looks into them without being asked."""
EXPORTS: Mapping[Kind, tuple[What, ...]] = {
    "prompts": ("prompts",),
    "responses": ("responses",),
    "demonstrations": ("demonstrations",),
    "thumbs": ("thumbs",),
    "rankings": ("rankings", "comparisons"),
    "comparisons": ("rankings", "comparisons"),
}
"""What the records of a list can be written as."""


@router.get("/records")
def records_page(request: Request) -> Response:
    """Show the records that pass the filters in the address, a page at a time."""
    found, _ = enter(request, "lead", "viewer")
    given, after = _filter(request), _plain(request.query_params.get("after", ""))
    page = browse.page(found.site.store, given, after=after)
    named = _named(given)
    return found.page(
        "records.html",
        given=given,
        page=page,
        names=KINDS,
        one=ONE_KIND[given.kind],
        splits=SPLITS,
        suggested=browse.suggestions(found.site.store),
        next=f"/records?{urlencode({**named, 'after': page.after})}" if page.after else "",
        first=f"/records?{urlencode(named)}" if after else "",
        filtered=len(named) > 1,
        named=named,
        formats=_formats(given.kind),
    )


@router.get("/records/story")
def story_page(request: Request, id: str = "", kind: str = "", models: str = "") -> Response:
    """Show where a record came from, and everything that was done and said about it."""
    found, account = enter(request, "lead", "viewer")
    project = project_site.of(found).project
    try:
        told = story.told(found.site.store, _plain(id), kind=kind if kind in ONE_KIND.values() else "")
    except StoreError as error:
        raise Refused("no_such_record", 404, str(error)[:200]) from error
    small = _snapshots(project.path) < MEGABYTES * 1_000_000
    learned = models_of(project, found.site.store, told.ids) if small or models else None
    return found.page(
        "story.html",
        told=told,
        source=Path(told.imported.source).name if told.imported else "",
        learned=learned,
        splits=SPLITS,
        acts=ACTS,
        may_change=account.role == "lead",
        gone=_gone(told),
        line=jobs.command_line(project.path, ["remove", told.id]),
        hints=_hints(found, told),
    )


@router.post("/records/remove")
def remove(request: Request) -> Response:
    """Take a record out of what is learned from, with a reason in the audit log."""
    found, account, form = act(request, "lead")
    id, kind = _plain(form.get("id")), form.get("kind")
    try:
        imports.remove(found.site.store, id, by=account.id, why=form.get("why").strip()[:400], now=found.now, kind=kind)
    except Refused:
        raise
    except StoreError as error:
        raise Refused("no_such_record", 404, str(error)[:200]) from error
    return found.go(f"/records/story?{urlencode({'id': id, 'kind': kind})}")


@router.get("/records/export")
def export(request: Request) -> Response:
    """Send the records that pass the filters as JSON lines, in our own form or another's, while they are read."""
    found, _ = enter(request, "lead", "viewer")
    given = replace(_filter(request), removed=False)
    asked = request.query_params.get("as", "")
    chosen = next((each for each in _formats(given.kind) if asked in (" ".join(each), "")), None)
    if chosen is None:
        raise Refused("malformed", detail="as")
    rows = _rows(found, given, *chosen)
    headers = {"Content-Disposition": f'attachment; filename="{"-".join(chosen)}.jsonl"', "X-Accel-Buffering": "no"}
    return StreamingResponse(rows, media_type="application/x-ndjson", headers=headers)


def _rows(found: Visit, given: Filter, what: What, format: str) -> Iterator[str]:
    store = found.site.store
    ids = browse.every_id(store, given)
    if format == "jsonl":
        return lines(store, what, ids=ids)
    to_row = shape(what, format)
    return json_lines(row for line in values(store, what, ids=ids) if (row := to_row(line)) is not None)


def _formats(kind: Kind) -> list[tuple[What, str]]:
    """Return what records of a kind can be written as: kind of row, and format."""
    return [(what, format) for what in EXPORTS[kind] for format in ("jsonl", *sorted(name for of, name in SHAPES if of == what))]


def _filter(request: Request) -> Filter:
    """Return the filter in an address; what no form of ours sends filters nothing."""
    given = {name: _plain(value) for name, value in request.query_params.items()}

    def choice(name: str) -> Literal["", "yes", "no"]:
        return "yes" if given.get(name) == "yes" else "no" if given.get(name) == "no" else ""

    number = given.get("imported", "")
    kinds: dict[str, Kind] = {kind: kind for kind in BROWSED}
    texts: dict[str, Any] = {name: given.get(name, "").strip() for name in ("source", "language", "use_case", "labeler", "model")}
    return Filter(
        kind=kinds.get(given.get("kind", ""), "prompts"),
        text=given.get("text", "").replace("\r\n", "\n"),
        split=given.get("split", "") if given.get("split") in SPLITS else "",
        ranked=choice("ranked"),
        flagged=choice("flagged"),
        imported=int(number) if number.isascii() and number.isdecimal() and len(number) < 10 else None,
        removed=given.get("removed") == "yes",
        **texts,
    )


def _named(given: Filter) -> dict[str, Any]:
    """Return the fields of a filter that are set, as an address has them."""
    fields = {name: "yes" if value is True else value for name, value in asdict(given).items() if value not in ("", None, False)}
    return {"kind": given.kind} | fields


def _plain(text: str) -> str:
    """Return a text of an address. Raises Refused (400) for one that no database could look for."""
    if len(text) > browse.LONGEST or "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise Refused("malformed", 400, "a filter")
    return text


def _hints(found: Visit, told: story.Story) -> dict[str, Any]:
    """Return why a model may have written what people are said to have, by record, and what such a hint is worth.

    The classifier is the project's, as far as it needs no model to be opened.
    """
    classifiers = of_folder(project_site.of(found).project.path)
    models = {person.id for person in found.site.store.labelers() if person.kind in ("model", "simulated")}
    texts = {told.prompt.id: words_of(told.prompt.messages)}
    texts |= {part.id: part.text for part in told.demonstrations if part.by not in models}
    why = dict(zip(texts, written_hints.reasons(classifiers, list(texts.values())), strict=True))
    card = classifiers.card("written")
    recall = card.recall.get(written_hints.LABEL) if card else None
    percent = round(100 * recall.value) if recall else None
    return {"why": why, "people": written_hints.in_ten(classifiers), "percent": percent}


def _gone(told: story.Story) -> story.Withdrawal | None:
    """Return who took back the record that is asked for."""
    if told.kind == "prompt":
        return told.withdrawn
    parts = [*told.responses, *told.demonstrations, *told.rankings, *told.thumbs]
    return next((part.withdrawn for part in parts if part.id == told.id and part.withdrawn), None)


def _snapshots(project: Path) -> int:
    paths = (path for path in (project / "runs").glob("*/*.jsonl") if path.name not in NOT_LEARNED)
    return sum(path.stat().st_size for path in paths)
