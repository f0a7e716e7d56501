"""Labeling tasks over REST: create and list them, lease one to a labeler of your own, store an answer, export."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path, Query
from fastapi.responses import JSONResponse, Response, StreamingResponse
from sqlalchemy import Connection

from accord.feedback import answers, app_tasks, export, guidelines, tasks
from accord.feedback.apps import App
from accord.records import Guideline
from accord.serving.apps.desk import At, OnceKey, Raw, allowed, carry_out, now, refusals
from accord.serving.apps.task_schemas import (
    AnswerRequest,
    AnswerStored,
    LeasedTask,
    NextRequest,
    NextTask,
    TaskPage,
    TaskRequest,
    TaskStored,
)

router = APIRouter(tags=["tasks"])
Client = Annotated[App, Depends(allowed("tasks"))]
TaskId = Annotated[str, Path(max_length=160)]
Exported = Literal["tasks", "answers", "facts", "rankings", "comparisons", "demonstrations", "thumbs"]


@router.post("/v1/tasks", status_code=201, response_model=TaskStored, responses=refusals(404, 422))
def create_task(wanted: TaskRequest, app: Client, desk: At, raw: Raw, key: OnceKey = None) -> Response:
    """Queue a task. The same one again is the one that is there."""

    def work(connection: Connection, at: datetime) -> TaskStored:
        return TaskStored.of(app_tasks.create(connection, app, wanted.wanted(), now=at))

    def again(connection: Connection, id: str) -> TaskStored:
        return TaskStored.of(app_tasks.one(connection, id))

    return carry_out(desk, app, raw, key, work, again=again)


@router.post("/v1/tasks/next", response_model=NextTask, responses=refusals())
def next_task(asked: NextRequest, app: Client, desk: At) -> Response:
    """Lease the next task to a labeler; asking again gives the same one until it is answered or its lease is over."""
    store, config = desk.store(), desk.label
    with store.write() as connection:
        labeler = app_tasks.labeler_of(connection, app, asked.labeler)
    leased = tasks.next_task(
        store,
        labeler,
        now=now(),
        lease_seconds=config.lease_minutes * 60,
        kinds=asked.kinds or None,
        seed=config.seed,
        gold_rate=config.gold_rate,
        repeat_rate=config.repeat_rate,
    )
    task = None
    if leased:
        version = guidelines.keep(store, leased.task.guideline, now=now(), project=desk.folder, reader=desk.pictures).version
        task = LeasedTask.of(leased, version, desk.questions.version(leased.task.kind))
    return JSONResponse(NextTask(labeler=labeler, task=task).model_dump())


@router.get("/v1/tasks", response_model=TaskPage, responses=refusals())
def list_tasks(
    app: Client,
    desk: At,
    after: Annotated[str, Query(max_length=160)] = "",
    limit: Annotated[int, Query(ge=1, le=app_tasks.MOST)] = 50,
    open: bool | None = None,
) -> Response:
    """List tasks in the order of their ids."""
    with desk.store().read() as connection:
        found = app_tasks.page(connection, after=after if after.isprintable() else "", limit=limit, open=open)
    last = found[-1].task.id if len(found) == limit else None
    return JSONResponse(TaskPage(data=[TaskStored.of(each) for each in found], after=last).model_dump())


@router.post("/v1/tasks/{id:path}/answers", status_code=201, response_model=AnswerStored, responses=refusals(404, 409, 410, 422))
def answer_task(id: TaskId, said: AnswerRequest, app: Client, desk: At, key: OnceKey = None) -> Response:
    """Store a labeler's answer, checked as one from the site's form is. With the same idempotency key it is stored once."""
    store = desk.store()
    with store.write() as connection:
        labeler = app_tasks.labeler_of(connection, app, said.labeler)
    with store.read() as connection:
        task = app_tasks.any_purpose(connection, id)
    saved = answers.submit(
        store,
        labeler,
        id,
        said.payload,
        # A key may be longer than the table's column, and is one labeler's own.
        key=hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest() if key else secrets.token_hex(16),
        revision=said.revision,
        seconds=said.seconds,
        guideline=Guideline(task.guideline, said.guideline_version),
        now=now(),
        questions=desk.questions,
        asked=said.questions,
    )
    return JSONResponse(AnswerStored(id=saved.id, revision=saved.revision, labeler=labeler).model_dump(), 201)


@router.get("/v1/tasks/{id:path}", response_model=TaskStored, responses=refusals(404))
def one_task(id: TaskId, app: Client, desk: At) -> Response:
    """Return one task."""
    with desk.store().read() as connection:
        return JSONResponse(TaskStored.of(app_tasks.one(connection, id)).model_dump())


@router.delete("/v1/tasks/{id:path}", response_model=TaskStored, responses=refusals(404, 409))
def close_task(id: TaskId, app: Client, desk: At) -> Response:
    """Take a task that nobody has received from the queue."""
    with desk.store().write() as connection:
        return JSONResponse(TaskStored.of(app_tasks.close(connection, id)).model_dump())


@router.get("/v1/export/{what}", response_class=StreamingResponse, responses=refusals(404))
def export_lines(what: Exported, app: Client, desk: At) -> Response:
    """Send records as JSON lines, as `accord export` writes them."""
    return StreamingResponse(export.lines(desk.store(), what), media_type="application/x-ndjson")
