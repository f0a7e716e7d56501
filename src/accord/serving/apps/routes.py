"""The feedback API: feedback about answers of this server, an app's own comparisons, demonstrations, prompts, and its users' rights."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query
from fastapi.responses import JSONResponse, Response
from sqlalchemy import Connection

from accord.feedback import app_feedback, ownership
from accord.feedback.apps import App
from accord.feedback.privacy import erase_labeler
from accord.serving.apps.desk import At, OnceKey, Raw, allowed, carry_out, now, refusals
from accord.serving.apps.schemas import (
    ComparisonRequest,
    ConsentRequest,
    ConsentStored,
    DemonstrationRequest,
    Erased,
    FeedbackRequest,
    PromptRequest,
    Stored,
)

router = APIRouter(tags=["feedback"])
Client = Annotated[App, Depends(allowed("feedback"))]
ItemId = Annotated[str, Path(max_length=80)]
Named = Annotated[str, Query(max_length=300, description="Your name for the end user.")]


@router.post("/v1/feedback", status_code=201, response_model=Stored, responses=refusals(404, 410, 422))
def feedback(said: FeedbackRequest, app: Client, desk: At, raw: Raw, key: OnceKey = None) -> Response:
    """Store what an end user said of an answer."""
    return carry_out(desk, app, raw, key, lambda c, at: Stored.of(app_feedback.take(c, app, said.record(), now=at)))


@router.get("/v1/feedback/{id}", response_model=Stored, responses=refusals(404))
def feedback_state(id: ItemId, app: Client, desk: At) -> Response:
    """Tell what became of one reaction."""
    with desk.store().read() as connection:
        return JSONResponse(Stored.of(app_feedback.one(connection, app, id)).model_dump())


@router.delete("/v1/feedback/{id}", response_model=Stored, responses=refusals(404))
def withdraw_feedback(id: ItemId, app: Client, desk: At) -> Response:
    """Withdraw one reaction; nothing learns from it any more."""
    with desk.store().write() as connection:
        return JSONResponse(Stored.of(app_feedback.take_back(connection, app, id, now=now())).model_dump())


@router.post("/v1/comparisons", status_code=201, response_model=Stored, responses=refusals(422))
def comparisons(sent: ComparisonRequest, app: Client, desk: At, raw: Raw, key: OnceKey = None) -> Response:
    """Store which of two answers is better."""

    def work(connection: Connection, at: datetime) -> Stored:
        return Stored.of(app_feedback.compare(connection, app, sent.sent(), sent.answers(), sent.choice, now=at))

    return carry_out(desk, app, raw, key, work)


@router.post("/v1/demonstrations", status_code=201, response_model=Stored, responses=refusals(422))
def demonstrations(sent: DemonstrationRequest, app: Client, desk: At, raw: Raw, key: OnceKey = None) -> Response:
    """Store an answer that a person wrote."""

    def work(connection: Connection, at: datetime) -> Stored:
        return Stored.of(app_feedback.demonstrate(connection, app, sent.sent(), sent.response, now=at))

    return carry_out(desk, app, raw, key, work)


@router.post("/v1/prompts", status_code=201, response_model=Stored, responses=refusals(422))
def prompts(sent: PromptRequest, app: Client, desk: At, raw: Raw, key: OnceKey = None) -> Response:
    """Store a prompt."""
    return carry_out(desk, app, raw, key, lambda c, at: Stored.of(app_feedback.ask(c, app, sent.sent(), now=at)))


@router.post("/v1/consents", response_model=ConsentStored, responses=refusals(422))
def consents(said: ConsentRequest, app: Client, desk: At, raw: Raw, key: OnceKey = None) -> Response:
    """Store whether an end user agrees; after a no, nothing of theirs is learned from."""

    def work(connection: Connection, at: datetime) -> ConsentStored:
        return ConsentStored(user=app_feedback.agree(connection, app, said.user, said.given, now=at), given=said.given)

    return carry_out(desk, app, raw, key, work, status=200)


@router.get("/v1/users", responses=refusals(404))
def user_data(user: Named, app: Client, desk: At) -> dict[str, Any]:
    """Return everything that is stored about an end user."""
    with desk.store().read() as connection:
        id = app_feedback.known(connection, app, user)
    return ownership.exported(desk.store(), id)


@router.delete("/v1/users", response_model=Erased, responses=refusals(404))
def erase_user(user: Named, app: Client, desk: At) -> Response:
    """Erase an end user: conversations, feedback, and every record made of them. `accord forget` names the models that learned from it."""
    app_feedback.named(user)
    with desk.store().read() as connection:
        id = app_feedback.known(connection, app, user)
    rows = erase_labeler(desk.store(), id, by=id, why="erased by the app", now=now(), answers=True)
    return JSONResponse(Erased(user=id, rows=rows).model_dump())
