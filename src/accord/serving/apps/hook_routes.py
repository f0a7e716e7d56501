"""Webhooks over REST: add, list and remove the addresses that are told of events."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field, StringConstraints
from sqlalchemy import Connection

from accord.feedback import outbox
from accord.feedback.apps import App, NotTaken
from accord.feedback.outbox import EVENTS, MOST_HOOKS, Event, Hook
from accord.serving.apps.desk import At, OnceKey, Raw, allowed, carry_out, now, refusals
from accord.serving.apps.schemas import Strict
from accord.serving.apps.webhooks import Refusal, address_of

router = APIRouter(tags=["webhooks"])
Client = Annotated[App, Depends(allowed("tasks"))]


class HookRequest(Strict):
    """``POST /v1/webhooks``: an address, and the events that it is told of."""

    url: Annotated[str, StringConstraints(min_length=1, max_length=2000)]
    events: list[Event] = Field(list(EVENTS), min_length=1, max_length=len(EVENTS))


class HookStored(BaseModel):
    """A webhook."""

    object: Literal["webhook"] = "webhook"
    id: str
    url: str
    events: list[Event]
    secret: str | None = Field(description="Signs every event; told this once.")

    @classmethod
    def of(cls, hook: Hook, *, told: bool = False) -> HookStored:
        return cls(id=hook.id, url=hook.url, events=list(hook.events), secret=hook.secret if told else None)


class HookPage(BaseModel):
    """The app's webhooks."""

    object: Literal["list"] = "list"
    data: list[HookStored]


@router.post("/v1/webhooks", status_code=201, response_model=HookStored, responses=refusals(409, 410, 422))
def add_webhook(asked: HookRequest, app: Client, desk: At, raw: Raw, key: OnceKey = None) -> Response:
    """Add a webhook. An address that the internet cannot reach is refused, now and whenever something is sent."""
    try:
        address_of(asked.url, private=desk.private)
    except Refusal as error:
        raise NotTaken(str(error), code="address_refused", status=400, param="url") from error

    def work(connection: Connection, at: datetime) -> HookStored:
        if len(outbox.hooks(connection, app.name)) >= MOST_HOOKS:
            raise NotTaken(f"an app has {MOST_HOOKS} webhooks at most", code="too_many", status=409)
        return HookStored.of(outbox.subscribe(connection, app.name, asked.url, asked.events, now=at), told=True)

    def again(connection: Connection, id: str) -> HookStored:
        for hook in outbox.hooks(connection, app.name):
            if hook.id == id:
                return HookStored.of(hook, told=True)
        raise NotTaken("the webhook was removed", code="no_such_webhook", status=410)

    return carry_out(desk, app, raw, key, work, again=again)


@router.get("/v1/webhooks", response_model=HookPage, responses=refusals())
def list_webhooks(app: Client, desk: At) -> Response:
    """List the app's webhooks, without their secrets."""
    with desk.store().read() as connection:
        return JSONResponse(HookPage(data=[HookStored.of(hook) for hook in outbox.hooks(connection, app.name)]).model_dump())


@router.delete("/v1/webhooks/{id}", status_code=204, response_class=Response, responses=refusals(404))
def remove_webhook(id: Annotated[str, Path(max_length=40)], app: Client, desk: At) -> Response:
    """Remove a webhook, with what waits for it."""
    with desk.store().write() as connection:
        if not id.isprintable() or not outbox.unsubscribe(connection, app.name, id, now=now()):
            raise NotTaken("there is no such webhook", code="no_such_webhook", status=404)
    return Response(status_code=204)
