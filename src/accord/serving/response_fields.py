"""The request fields of ``POST /v1/responses``, and the conversation that its items make.

What they share with chat completions is in ``schemas`` and ``tool_fields``. Nothing is kept between requests, so that every
request brings the whole conversation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, cast

from pydantic import Field, StringConstraints

from accord.data.tool_turns import ToolCall, ToolTurn
from accord.records import Media, Message, Role, composed
from accord.serving.fields import Open
from accord.serving.host import Ask, NotUnderstood
from accord.serving.picture_parts import SEND, Pictures, Url
from accord.serving.schemas import USERS, Drawing, Text
from accord.serving.tool_fields import ANY_OBJECT, MOST_TOOLS, Called, Function, Id, Name, answerable, bounded, named, one_form, tools_of

MOST_ITEMS = 2048
LOGPROBS = "message.output_text.logprobs"
"""What ``include`` names to get log-probabilities."""
WORDS = ("input_text", "output_text", "text", "refusal")
"""The types of parts that are text."""
PICTURE = "input_image"
NEEDED = {"message": ("role", "content"), "function_call": ("call_id", "name"), "function_call_output": ("call_id", "output")}
"""The fields that an item must have, by its type."""


class ContentPart(Open):
    """A part of an item's content: text, or a picture."""

    type: Annotated[str, StringConstraints(max_length=100)]
    text: Text | None = None
    refusal: Text | None = None
    image_url: Url | None = Field(None, description="A data URL; addresses are not fetched.")
    file_id: Annotated[str, StringConstraints(max_length=300)] | None = Field(None, description="Refused: no files are kept.")
    detail: Annotated[str, StringConstraints(max_length=100)] | None = Field(
        None, description="Taken, and used for nothing: the model's own processor decides."
    )
    annotations: list[Any] = Field([], description="As an answer had them; not read again.")
    logprobs: list[Any] = Field([], description="As an answer had them; not read again.")

    def piece(self, where: str, shown: Pictures) -> str | Media:
        """Return its text or its picture. Raises NotUnderstood for a part that is neither."""
        if self.type == PICTURE:
            if self.image_url is None:
                raise NotUnderstood(f"{where}.image_url is missing", hint=SEND, param=f"{where}.image_url")
            return shown.take(self.image_url, f"{where}.image_url")
        said = self.refusal if self.type == "refusal" else self.text
        if said is None or self.type not in WORDS:
            raise NotUnderstood(f"{where} has the type {self.type!r}: this server reads text and pictures", param=f"{where}.type")
        return said


Content = Text | Annotated[list[ContentPart], Field(max_length=256)]


class Item(Open):
    """A turn, a call, a call's result, or a thought. What an answer's ``output`` holds may come back."""

    type: Annotated[str, StringConstraints(max_length=100)] = "message"
    id: Id | None = Field(None, description="Taken, and used for nothing.")
    status: Annotated[str, StringConstraints(max_length=100)] | None = Field(None, description="Taken, and used for nothing.")
    role: Literal["system", "developer", "user", "assistant"] | None = None
    content: Content | None = None
    call_id: Id | None = None
    name: Name | None = None
    arguments: Annotated[str, StringConstraints(max_length=1_000_000)] | None = Field(None, description="A JSON object, as text.")
    output: Content | None = Field(None, description="The result of a call.")
    summary: list[Any] = Field([], description="Of a thought; a model does not see it again.")
    encrypted_content: Text | None = Field(None, description="Of a thought; not read.")
    phase: Annotated[str, StringConstraints(max_length=100)] | None = Field(None, description="Taken, and used for nothing.")

    def pictures(self) -> list[str]:
        """Return the paths of its parts that are pictures."""
        found = list[str]()
        for field, content in (("content", self.content), ("output", self.output)):
            parts = content if isinstance(content, list) else []
            found += [f"{field}.{place}" for place, part in enumerate(parts) if part.type == PICTURE]
        return found

    def record(self, where: str, shown: Pictures) -> Message | None:
        """Return the item as a turn; None for a thought. Raises NotUnderstood for one that lacks what its type needs.

        Args:
            shown: takes its pictures.
        """
        if self.type == "reasoning":
            return None
        if self.type not in NEEDED:
            what = f"{where} has the type {self.type!r}, which is not supported"
            raise NotUnderstood(what, hint=f"the types are {', '.join(NEEDED)} and reasoning", param=f"{where}.type")
        for field in NEEDED[self.type]:
            if getattr(self, field) is None:
                raise NotUnderstood(f"{where}.{field} is missing: an item of the type {self.type!r} needs it", param=f"{where}.{field}")
        if self.type == "function_call":
            call = Called(name=self.name or "", arguments=self.arguments or "").call(self.call_id or "", where)
            return ToolTurn("assistant", "", (call,))
        if (places := self.pictures()) and (self.type != "message" or self.role != "user"):
            path = f"{where}.{places[0]}"
            raise NotUnderstood(f"{path} is a picture in a turn that is not the user's", hint=USERS, param=path)
        if self.type == "function_call_output":
            said = composed("user", _parts(self.output, f"{where}.output", shown)).content
            return ToolTurn(cast("Role", "tool"), said, call_id=self.call_id or "")
        role = cast("Role", "system" if self.role == "developer" else self.role)
        return composed(role, _parts(self.content, f"{where}.content", shown))


class ResponseTool(Open):
    """A tool. Only functions are supported."""

    type: Annotated[str, StringConstraints(max_length=100)] = "function"
    name: Name | None = None
    description: Annotated[str, StringConstraints(max_length=20_000)] = ""
    parameters: dict[str, Any] | None = Field(None, description="A JSON schema of an object.")
    strict: bool = Field(False, description="Arguments always fit where a call is forced; where the model decides, no promise is made.")

    def function(self, where: str) -> Function:
        """Return the function. Raises NotUnderstood for another tool, such as a search of the web."""
        if self.type != "function":
            raise NotUnderstood(f"{where} has the type {self.type!r}: this server takes functions alone", param=f"{where}.type")
        if self.name is None:
            raise NotUnderstood(f"{where}.name is missing", param=f"{where}.name")
        return Function(name=self.name, description=self.description, parameters=self.parameters, strict=self.strict)


class ChosenFunction(Open):
    """The choice of one function."""

    type: Literal["function"] = "function"
    name: Name


class TextFormat(Open):
    """The form of an answer."""

    type: Literal["text", "json_object", "json_schema"] = "text"
    name: Annotated[str, StringConstraints(max_length=64)] | None = None
    description: Annotated[str, StringConstraints(max_length=20_000)] | None = None
    strict: bool | None = Field(None, description="Taken; answers always fit.")
    schema_: dict[str, Any] | None = Field(None, alias="schema")

    def schema_of_answer(self) -> Mapping[str, Any] | None:
        """Return the schema that the answer must fit; None for text. Raises NotUnderstood without a schema where one is needed."""
        if self.type != "json_schema":
            return ANY_OBJECT if self.type == "json_object" else None
        if self.schema_ is None:
            raise NotUnderstood("text.format needs a schema", param="text.format.schema")
        return bounded(self.schema_, "text.format.schema")


class TextSettings(Open):
    """How the text of an answer is to be."""

    format: TextFormat = Field(default_factory=lambda: TextFormat.model_validate({}))


class ResponseRequest(Drawing):
    """``POST /v1/responses``."""

    input: Text | Annotated[list[Item], Field(min_length=1, max_length=MOST_ITEMS)]
    instructions: Text | None = Field(None, description="A system prompt before the input.")
    n: int = Field(1, ge=1, le=1, description="A response is one answer.")
    max_output_tokens: int | None = Field(None, ge=1, le=10_000_000, description="Without it an answer may fill the context.")
    text: TextSettings = TextSettings()
    tools: Annotated[list[ResponseTool], Field(max_length=MOST_TOOLS)] = Field([])
    tool_choice: Literal["none", "auto", "required"] | ChosenFunction = "auto"
    parallel_tool_calls: bool = True
    top_logprobs: int | None = Field(None, ge=0, le=20, description=f"Needs include: [{LOGPROBS!r}].")
    include: Annotated[list[Literal["message.output_text.logprobs", "reasoning.encrypted_content"]], Field(max_length=16)] = Field(
        [], description="reasoning.encrypted_content is taken, and there is none."
    )
    truncation: Literal["disabled", "auto"] = Field("disabled", description="auto leaves out the oldest turns that do not fit.")
    metadata: Annotated[dict[str, Annotated[str, StringConstraints(max_length=512)]], Field(max_length=16)] = Field(
        {}, description="Comes back in the answer."
    )
    previous_response_id: Annotated[str, StringConstraints(max_length=200)] | None = Field(
        None, description="Refused: no response is kept. Send the earlier items in input."
    )

    def picture(self) -> str:
        """Return the path of its first picture; empty when it has none."""
        for number, item in enumerate(self.input if isinstance(self.input, list) else []):
            if places := item.pictures():
                return f"input.{number}.{places[0]}"
        return ""

    def ask(self, default: int, shown: Pictures) -> Ask:
        """Return the request without its seed. Raises NotUnderstood for what cannot be served.

        Args:
            shown: takes the request's pictures.
        """
        if self.previous_response_id is not None:
            what = "previous_response_id is not supported: this server keeps no responses"
            raise NotUnderstood(
                what, hint="send the earlier items, the response's output among them, in input", param="previous_response_id"
            )
        if self.top_logprobs is not None and LOGPROBS not in self.include:
            raise NotUnderstood("top_logprobs needs logprobs", hint=f"give include: [{LOGPROBS!r}]", param="top_logprobs")
        turns = self._turns(shown)
        schema = self.text.format.schema_of_answer()
        choice, only = (self.tool_choice, "") if isinstance(self.tool_choice, str) else ("required", self.tool_choice.name)
        functions = [tool.function(f"tools.{place}") for place, tool in enumerate(self.tools)]
        tools = tools_of(functions, choice, only, parallel=self.parallel_tool_calls)
        one_form(tools, schema, "text.format")
        return Ask(
            self.sampling(self.max_output_tokens or default),
            conversation=named(turns),
            tools=tools,
            schema=schema,
            stop=self.stops(),
            logprobs=(self.top_logprobs or 0) if LOGPROBS in self.include else None,
            exact=self.max_output_tokens is not None,
            shorten=self.truncation == "auto",
            media=shown.files,
            frequency_penalty=self.frequency_penalty,
            presence_penalty=self.presence_penalty,
            logit_bias=self.biased(),
        )

    def _turns(self, shown: Pictures) -> list[Message]:
        """Return the conversation. A turn of the assistant and the calls behind it are one turn."""
        turns, places = list[Message](), list[str]()
        if self.instructions is not None:
            turns, places = [Message("system", self.instructions)], ["instructions"]
        if isinstance(self.input, str):
            return [*turns, Message("user", self.input)]
        for place, item in enumerate(self.input):
            turn = item.record(f"input.{place}", shown)
            if turn is None:
                continue
            if isinstance(turn, ToolTurn) and turn.calls and turns and turns[-1].role == "assistant":
                turn = _joined(turns.pop(), turn.calls)
                places.pop()
            turns.append(turn)
            places.append(f"input.{place}.{{}}")
        if len(turns) == (self.instructions is not None):
            raise NotUnderstood("input holds no turn", hint="add the user's message", param="input")
        answerable(turns, places, result="call_id")
        return turns


def _joined(said: Message, calls: tuple[ToolCall, ...]) -> ToolTurn:
    """Return a turn of the assistant with further calls."""
    return ToolTurn("assistant", said.content, (*(said.calls if isinstance(said, ToolTurn) else ()), *calls))


def _parts(content: Content | None, where: str, shown: Pictures) -> list[str | Media]:
    if isinstance(content, str):
        return [content]
    return [part.piece(f"{where}.{place}", shown) for place, part in enumerate(content or [])]


KINDS = (ResponseRequest, TextSettings, TextFormat, ChosenFunction, ResponseTool, Item, ContentPart)
RESPONSE_FIELDS = {name for kind in KINDS for name in kind.model_fields}
"""Every field's name."""
