"""`/v1/responses` as OpenAI's own client asks for it: the same answers as chat completions, in items and events."""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import Any, Literal

import httpx
import openai
import pytest
from joined import foreign
from opened import Opened, open_model
from pydantic import BaseModel
from running import Server, serving
from tiny import llama
from tool_templates import TEMPLATES

from accord.data.templates import chat_format
from accord.data.tool_turns import ToolCall, ToolTurn
from accord.records import Message
from accord.serving.api import create
from accord.serving.host import Piece, Unavailable
from accord.serving.model_host import ModelHost
from accord.serving.picture_parts import Pictures
from accord.serving.response_fields import ResponseRequest
from accord.serving.responses import Written

PARAMETERS: Any = {"type": "object", "properties": {"hour": {"type": "integer", "minimum": 0, "maximum": 23}}, "required": ["hour"]}
CLOCK: Any = {"type": "function", "name": "clock", "parameters": {**PARAMETERS, "additionalProperties": False}, "strict": True}
CALL = {"type": "function_call", "call_id": "call_1", "name": "clock", "arguments": '{"hour": 9}'}
RESULT = {"type": "function_call_output", "call_id": "call_1", "output": "nine"}


class Time(BaseModel):
    hour: Literal["nine", "ten"]


@pytest.fixture(scope="module")
def client() -> Generator[openai.OpenAI]:
    def opened(name: str) -> Any:
        if name == "tiny-1":
            return open_model(name)
        format = chat_format(foreign(*TEMPLATES["hermes"]), 1200)
        return Opened(llama(vocab=len(format.tokenizer), std=0.1), format, f"{name}-0123456789")

    hosting = ModelHost(opened, ["tiny-1", "tools"])
    with serving(hosting, create(hosting, keys=None)) as url, openai.OpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0) as client:
        yield client


def ask(client: openai.OpenAI, **how: Any) -> Any:
    return client.responses.create(**{"model": "tools", "input": "What is the hour?", "max_output_tokens": 100, **how})


def test_a_response_is_the_answer_of_chat_completions(client: openai.OpenAI) -> None:
    said: Any = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who keeps the mill?"}]
    same: Any = {"model": "tiny-1", "temperature": 0, "top_p": 0.9}
    chat = client.chat.completions.create(messages=said, max_tokens=12, **same)
    for items in ("Who keeps the mill?", [said[1]], [{"role": "user", "content": [{"type": "input_text", "text": "Who keeps the mill?"}]}]):
        whole = ask(client, instructions="Be brief.", input=items, max_output_tokens=12, metadata={"a": "b"}, **same)
        assert whole.output_text == chat.choices[0].message.content
        assert (whole.usage.input_tokens, whole.usage.output_tokens) == (chat.usage.prompt_tokens, chat.usage.completion_tokens)  # type: ignore[union-attr]
        assert whole.status == ("incomplete" if chat.choices[0].finish_reason == "length" else "completed")
        assert (whole.metadata, whole.temperature, whole.top_p, whole.store) == ({"a": "b"}, 0, 0.9, False)
    inside = ask(client, input=said, max_output_tokens=12, **same)
    assert inside.output_text == chat.choices[0].message.content


def test_a_stream_has_the_documented_events_in_order_and_the_client_puts_them_together(client: openai.OpenAI) -> None:
    how: Any = {"model": "tiny-1", "temperature": 0, "max_output_tokens": 12, "include": ["message.output_text.logprobs"]}
    whole, events = ask(client, **how), list(ask(client, stream=True, **how))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    kinds = [event.type for event in events]
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert kinds == [
        *("response.created", "response.in_progress", "response.output_item.added", "response.content_part.added"),
        *["response.output_text.delta"] * len(deltas),
        *("response.output_text.done", "response.content_part.done", "response.output_item.done", f"response.{whole.status}"),
    ]
    assert "".join(deltas) == events[-4].text == events[-1].response.output_text == whole.output_text
    told = [token.logprob for token in whole.output[0].content[0].logprobs]
    assert told == [token.logprob for token in events[-1].response.output[0].content[0].logprobs]
    assert told == [token.logprob for event in events if event.type == "response.output_text.delta" for token in event.logprobs]
    assert len(told) == whole.usage.output_tokens == events[-1].response.usage.output_tokens
    how["input"] = "Who keeps the mill?"
    with client.responses.stream(**how) as stream:
        *_, last = stream
    assert last.type in ("response.completed", "response.incomplete")


def test_a_forced_call_its_result_and_the_next_answer(client: openai.OpenAI) -> None:
    for choice in ("required", {"type": "function", "name": "clock"}):
        first = ask(client, tools=[CLOCK], tool_choice=choice, parallel_tool_calls=False)
        [call] = first.output
        assert (first.status, call.type, call.name) == ("completed", "function_call", "clock")
        assert 0 <= json.loads(call.arguments)["hour"] <= 23
    back = [{"role": "user", "content": "What is the hour?"}, *first.output]
    back.append({"type": "function_call_output", "call_id": call.call_id, "output": "nine"})
    second = ask(client, input=back, tools=[CLOCK], tool_choice="none", max_output_tokens=5)
    assert second.output[0].type == "message"
    again = ask(client, input=[*back, *second.output, {"role": "user", "content": "And now?"}], tools=[CLOCK], max_output_tokens=5)
    assert again.usage.input_tokens > second.usage.input_tokens
    events = list(ask(client, tools=[CLOCK], tool_choice="required", parallel_tool_calls=False, stream=True))
    assert [event.type for event in events][2:-1] == [
        *("response.output_item.added", "response.function_call_arguments.delta"),
        *("response.function_call_arguments.done", "response.output_item.done"),
    ]
    assert json.loads(events[3].delta) == json.loads(events[-1].response.output[0].arguments) == json.loads(events[-2].item.arguments)


def test_a_schema_makes_the_answer_fit(client: openai.OpenAI) -> None:
    parsed = client.responses.parse(model="tools", input="What is the hour?", text_format=Time, max_output_tokens=50)
    assert parsed.output_parsed in (Time(hour="nine"), Time(hour="ten"))
    format = {"type": "json_schema", "name": "time", "schema": CLOCK["parameters"], "strict": True}
    assert 0 <= json.loads(ask(client, text={"format": format}).output_text)["hour"] <= 23


def test_items_become_the_turns_that_chat_completions_would_have() -> None:
    thought = {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]}
    spoken = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I look.", "annotations": []}]}
    other = {**CALL, "call_id": "call_2"}
    items = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "Hi."}, thought, spoken, CALL, other, RESULT]
    asked = ResponseRequest.model_validate({"model": "m", "input": items}).ask(5, Pictures())
    calls = (ToolCall("call_1", "clock", {"hour": 9}), ToolCall("call_2", "clock", {"hour": 9}))
    assert asked.conversation == (
        Message("system", "Be brief."),
        Message("user", "Hi."),
        ToolTurn("assistant", "I look.", calls),
        ToolTurn("tool", "nine", call_id="call_1", name="clock"),  # type: ignore[arg-type]
    )


def test_a_thought_is_an_item_of_its_own_and_a_failure_an_event() -> None:
    asked = ResponseRequest.model_validate({"model": "m", "input": "Hi."})
    written, text, events = Written(asked, logprobs=False), "<think>\nHm, so.\n</think>\n\nYes.", list[dict[str, Any]]()
    for place, mark in enumerate(text):
        sent = written.part(0, Piece(mark, "stop" if place == len(text) - 1 else "", version="m@1"))
        events += [json.loads(line.partition("data: ")[2]) for line in sent.decode().split("\n\n") if line]
    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert [(item["type"], item["content"][0]["text"]) for item in done] == [("reasoning", "Hm, so."), ("message", "Yes.")]
    assert [event["output_index"] for event in events if event["type"] == "response.output_item.added"] == [0, 1]
    failed = json.loads(written.failed(Unavailable("it broke")).decode().partition("data: ")[2])
    assert (failed["type"], failed["response"]["status"], failed["response"]["error"]["message"]) == (
        "response.failed",
        "failed",
        "it broke",
    )


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"background": True}, "background"),
        ({"reasoning": {"effort": "high"}}, "reasoning"),
        ({"max_tokens": 5}, "max_tokens"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"n": 2}, "n"),
        ({"tools": [{"type": "web_search"}]}, "tools.0.type"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format.schema"),
        ({"text": {"format": {"type": "json_object"}}, "tools": [CLOCK]}, "text.format"),
        ({"input": [CALL]}, "input.0.role"),
        ({"input": [RESULT]}, "input.0.call_id"),
        ({"input": [{"role": "user", "content": "x"}, {**CALL, "arguments": "[]"}, RESULT]}, "input.1.arguments"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]}, "input.0.content.0.type"),
        ({"input": [{"role": "user"}]}, "input.0.content"),
        ({"input": [{"type": "reasoning", "summary": []}]}, "input"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input.0.type"),
    ],
)
def test_what_a_response_cannot_have_is_refused_by_name(server: Server, change: dict[str, Any], param: str) -> None:
    body = {"model": "tiny-1", "input": "Hi.", "max_output_tokens": 3, **change}
    answer = httpx.post(f"{server.url}/v1/responses", json=body, headers={"Authorization": f"Bearer {server.key}"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), answer.text


def test_nothing_is_kept_and_the_answer_says_so(server: Server) -> None:
    body = {"model": "tiny-1", "input": "Hi.", "max_output_tokens": 3, "store": True, "wombat": 1}
    answer = httpx.post(f"{server.url}/v1/responses", json=body, headers={"Authorization": f"Bearer {server.key}"})
    assert answer.headers["x-accord-ignored"] == "store, wombat"
    assert answer.json()["store"] is False
    assert httpx.post(f"{server.url}/v1/responses", json=body).status_code == 401
