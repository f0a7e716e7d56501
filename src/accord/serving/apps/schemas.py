"""Bodies of the feedback API, as OpenAPI describes them. An unknown field is refused by name."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from accord.feedback.app_feedback import Better, Feedback, Over, Sent, Taken
from accord.feedback.app_requests import Said
from accord.feedback.reactions import LONGEST_NOTE, LONGEST_TAG, LONGEST_TEXT, MOST_TAGS
from accord.records import Message

Text = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_TEXT)]
Turn = Annotated[str, StringConstraints(max_length=100_000)]
Comment = Annotated[str, StringConstraints(max_length=LONGEST_NOTE)]
Tags = Annotated[list[Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_TAG)]], Field(max_length=MOST_TAGS)]
Id = Annotated[str, StringConstraints(min_length=1, max_length=120)]
User = Annotated[str, StringConstraints(max_length=300)]
INDEX = 127


class Strict(BaseModel):
    """A model that refuses unknown fields and numbers that are not finite."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True, protected_namespaces=())


class Beside(Strict):
    """The fields that every kind of feedback shares."""

    user: User = Field("", description="Your name for the end user. A pseudonym of it is stored; empty names nobody.")
    consent: bool | None = Field(None, description="Whether this user agrees to be learned from; an earlier answer holds.")
    comment: Comment = ""
    tags: Tags = []


class ChoiceOver(Strict):
    """A choice between the response and another one to the same conversation."""

    response_id: Id
    index: int = Field(0, ge=0, le=INDEX)
    better: Better = Field(description="this: the response of the request itself; other: the one named here.")


class SentMessage(Strict):
    """A turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: Turn


class SentResponse(Strict):
    """An answer that does not come from this server."""

    content: Turn
    model: Annotated[str, StringConstraints(max_length=200)] = ""


class FeedbackRequest(Beside):
    """``POST /v1/feedback``: what an end user said of an answer, of this server (``response_id``) or of another (``response``).

    At least one of its parts is needed.
    """

    response_id: Id | None = Field(None, description="The id of the chat completion.")
    index: int = Field(0, ge=0, le=INDEX, description="The answer's index, when there were several.")
    thumb: Literal["up", "down"] | None = None
    score: float | None = Field(None, ge=0, le=1, description="1 is best. Above 0.6 it counts as a thumb up, below 0.4 as one down.")
    correction: Text | None = Field(None, description="The answer as it should have been.")
    choice: ChoiceOver | None = None
    messages: Annotated[list[SentMessage], Field(max_length=512)] = Field([], description="The conversation before ``response``.")
    response: SentResponse | None = Field(None, description="An answer that does not come from this server.")
    at: AwareDatetime | None = Field(None, description="When it was said, with a time zone; now, if it is left out.")

    @model_validator(mode="after")
    def _one_answer(self) -> FeedbackRequest:
        if (self.response_id is None) == (self.response is None) or bool(self.messages) != (self.response is not None):
            raise ValueError("give response_id, or messages and response")
        if self.response and self.choice:
            raise ValueError("a choice needs the ids of two answers of this server; POST /v1/comparisons takes others")
        return self

    def record(self) -> Feedback:
        choice = self.choice
        return Feedback(
            self.response_id or "",
            self.index,
            self.user,
            self.consent,
            None if self.thumb is None else self.thumb == "up",
            self.score,
            self.correction,
            Over(choice.response_id, choice.better, choice.index) if choice else None,
            self.comment,
            tuple(self.tags),
            _in_range(self.at),
            tuple(Message(message.role, message.content) for message in self.messages),
            Said(self.response.content, self.response.model) if self.response else None,
        )


class PromptRequest(Beside):
    """``POST /v1/prompts``: a conversation that ends with a user's message, without an answer."""

    messages: Annotated[list[SentMessage], Field(min_length=1, max_length=512)]

    def sent(self) -> Sent:
        messages = tuple(Message(message.role, message.content) for message in self.messages)
        return Sent(messages, self.user, self.consent, self.comment, tuple(self.tags))


class DemonstrationRequest(PromptRequest):
    """``POST /v1/demonstrations``: a conversation and the answer that a person wrote."""

    response: Text


class ComparisonRequest(PromptRequest):
    """``POST /v1/comparisons``: a conversation, two answers, and which is better."""

    responses: Annotated[list[SentResponse], Field(min_length=2, max_length=2)]
    choice: Literal["first", "second", "tie", "both_bad"]

    def answers(self) -> list[Said]:
        return [Said(response.content, response.model) for response in self.responses]


class ConsentRequest(Strict):
    """``POST /v1/consents``: whether an end user agrees that their feedback and prompts are learned from."""

    user: User
    given: bool


class StoredItem(BaseModel):
    """One reaction that was stored."""

    id: str
    kind: Literal["thumb", "score", "correction", "choice", "comment", "demonstration", "prompt", "report"]
    state: Literal["waiting_for_consent", "waiting_for_review", "accepted", "refused", "lapsed", "withdrawn"]
    replaced: list[str] = Field([], description="Earlier feedback of the same user on the same response, which no longer counts.")


class Stored(BaseModel):
    """What was stored."""

    object: Literal["feedback"] = "feedback"
    response_id: str
    user: str = Field(description="The end user's pseudonym, as records and `accord forget` name them.")
    items: list[StoredItem]

    @classmethod
    def of(cls, taken: Taken) -> Stored:
        items = [StoredItem.model_validate(_fields(item)) for item in taken.items]
        return cls(response_id=taken.response, user=taken.user, items=items)


class ConsentStored(BaseModel):
    """An end user's consent as it is in force now."""

    object: Literal["consent"] = "consent"
    user: str
    given: bool


class Erased(BaseModel):
    """How many rows of each kind were emptied."""

    object: Literal["erased"] = "erased"
    user: str
    rows: dict[str, int]


class Problem(BaseModel):
    """What went wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class Refusal(BaseModel):
    """An error in OpenAI's form."""

    error: Problem


def _fields(item: Any) -> dict[str, Any]:
    return {"id": item.id, "kind": item.kind, "state": item.state, "replaced": list(item.replaced)}


def _in_range(at: datetime | None) -> datetime | None:
    """Return a time in UTC; one that has no such form is left for the caller to refuse as it is."""
    try:
        return at.astimezone(UTC) if at else None
    except OverflowError:
        return at


REQUESTS = (FeedbackRequest, ChoiceOver, PromptRequest, SentMessage, DemonstrationRequest, ComparisonRequest, SentResponse, ConsentRequest)
FIELDS = frozenset(name for kind in REQUESTS for name in kind.model_fields)
