"""Bodies of the routes for labeling tasks, as OpenAPI describes them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, StringConstraints, model_validator

from accord.feedback.app_tasks import Queued, Wanted
from accord.feedback.queue import LONGEST_DOCUMENT, Fact, Kind
from accord.feedback.tasks import Leased
from accord.records import GuidelineSet, Message, in_words
from accord.serving.apps.schemas import SentMessage, SentResponse, Strict

PromptId = Annotated[str, StringConstraints(min_length=1, max_length=120)]
ResponseId = Annotated[str, StringConstraints(min_length=1, max_length=160)]
LabelerName = Annotated[str, StringConstraints(min_length=1, max_length=200)]
MOST_OVERLAP = 1000


class SentFact(Strict):
    """A claim of the response, and the document that it is checked against."""

    claim: Annotated[str, StringConstraints(min_length=1, max_length=20_000)] = Field(description="As it stands in the response.")
    document: Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_DOCUMENT)]
    title: Annotated[str, StringConstraints(max_length=400)] = ""


class TaskRequest(Strict):
    """``POST /v1/tasks``: a prompt of the project or a conversation, and responses of the project or texts, or none."""

    kind: Kind
    prompt_id: PromptId | None = None
    messages: list[SentMessage] = Field([], max_length=512)
    response_ids: list[ResponseId] = Field([], max_length=9)
    responses: list[SentResponse] = Field([], max_length=9)
    fact: SentFact | None = Field(None, description="Of a task of the kind fact.")
    guideline: GuidelineSet = "training"
    overlap: int = Field(1, ge=1, le=MOST_OVERLAP, description="How many labelers answer it.")
    priority: float = Field(0.0, ge=-1e9, le=1e9, description="Higher comes first.")

    @model_validator(mode="after")
    def _one_prompt(self) -> TaskRequest:
        if (self.prompt_id is None) == (not self.messages):
            raise ValueError("give prompt_id or messages")
        if self.response_ids and self.responses:
            raise ValueError("give response_ids or responses")
        if (self.kind == "fact") != (self.fact is not None):
            raise ValueError("fact belongs to the kind fact, which needs it")
        return self

    def wanted(self) -> Wanted:
        return Wanted(
            self.kind,
            self.prompt_id or "",
            tuple(Message(message.role, message.content) for message in self.messages),
            tuple(self.response_ids),
            tuple((response.content, response.model) for response in self.responses),
            self.guideline,
            self.overlap,
            self.priority,
            (self.fact.claim, self.fact.document, self.fact.title) if self.fact else None,
        )


class NextRequest(Strict):
    """``POST /v1/tasks/next``: which labeler of yours wants a task, and of which kinds."""

    labeler: LabelerName = Field(description="Your name for the labeler. A pseudonym of it is stored.")
    kinds: list[Kind] = Field([], max_length=20)


class AnswerRequest(Strict):
    """``POST /v1/tasks/ID/answers``: an answer as the site's form gives it."""

    labeler: LabelerName
    payload: dict[str, Any] = Field(description='By kind; docs/feedback-api.md has each. {"skip": "reason"} fits any.')
    guideline_version: Annotated[str, StringConstraints(max_length=40)] = Field(description="Of the task, as it was leased.")
    questions: Annotated[str, StringConstraints(max_length=40)] = Field("", description="Of the task's questions; empty is not checked.")
    revision: int = Field(0, ge=0, le=1_000_000, description="Of the answer that this one corrects; 0 for the first.")
    seconds: float = Field(0.0, ge=0, le=86_400)


class TaskResponse(BaseModel):
    """A response of a task."""

    id: str
    text: str
    model: str | None = Field(None, description="Not given to labelers.")


class TaskFact(BaseModel):
    """What a task of the kind fact checks."""

    claim: str
    document: str
    title: str

    @classmethod
    def of(cls, fact: Fact | None) -> TaskFact | None:
        return cls(claim=fact.claim, document=fact.document, title=fact.title) if fact else None


class TaskMessage(BaseModel):
    """A turn of a task's conversation."""

    role: str
    content: str


class TaskStored(BaseModel):
    """A task in the queue."""

    object: Literal["task"] = "task"
    id: str
    kind: Kind
    prompt_id: str
    messages: list[TaskMessage]
    responses: list[TaskResponse]
    fact: TaskFact | None = None
    guideline: GuidelineSet
    overlap: int
    priority: float
    taken: int = Field(description="Labelers who have it or answered it.")
    open: bool

    @classmethod
    def of(cls, queued: Queued) -> TaskStored:
        task = queued.task
        return cls(
            id=task.id,
            kind=task.kind,
            prompt_id=task.prompt.id,
            messages=_turns(task.prompt.messages),
            responses=[TaskResponse(id=r.id, text=r.text, model=r.model) for r in task.responses],
            fact=TaskFact.of(task.fact),
            guideline=task.guideline,
            overlap=task.overlap,
            priority=task.priority,
            taken=queued.taken,
            open=queued.open,
        )


class TaskPage(BaseModel):
    """Tasks in the order of their ids."""

    object: Literal["list"] = "list"
    data: list[TaskStored]
    after: str | None = Field(description="Where the next page begins; null on the last.")


class LeasedTask(BaseModel):
    """A task as a labeler sees it: the responses in this labeler's order, without their models."""

    id: str
    kind: Kind
    messages: list[TaskMessage]
    responses: list[TaskResponse]
    draft: str | None = Field(None, description="What a model wrote for the labeler to begin with.")
    fact: TaskFact | None = None
    guideline: GuidelineSet
    guideline_version: str
    questions: str
    revision: int
    expires: str

    @classmethod
    def of(cls, leased: Leased, version: str, questions: str) -> LeasedTask:
        task, texts = leased.task, {response.id: response.text for response in leased.task.responses}
        return cls(
            id=task.id,
            kind=task.kind,
            messages=_turns(task.prompt.messages),
            responses=[TaskResponse(id=id, text=texts[id], model=None) for id in leased.order],
            draft=task.draft.text if task.draft else None,
            fact=TaskFact.of(task.fact),
            guideline=task.guideline,
            guideline_version=version,
            questions=questions,
            revision=leased.revision,
            expires=leased.expires.isoformat(),
        )


class NextTask(BaseModel):
    """The labeler's task; null when nothing is left for this labeler."""

    object: Literal["next_task"] = "next_task"
    labeler: str = Field(description="The labeler's pseudonym.")
    task: LeasedTask | None


class AnswerStored(BaseModel):
    """An answer that is on disk."""

    object: Literal["answer"] = "answer"
    id: str
    revision: int
    labeler: str


def _turns(messages: tuple[Message, ...]) -> list[TaskMessage]:
    """A conversation for an app, which gets the words alone: a picture is named in them, and people see it on the site."""
    return [TaskMessage(role=message.role, content=in_words(message)) for message in messages]


FIELDS = frozenset(name for kind in (TaskRequest, SentFact, NextRequest, AnswerRequest) for name in kind.model_fields)
