"""What programs do with OpenAI's Python client, one function for each idiom; ``idioms.mjs`` does the same in JavaScript.

A function returns when the answer is what the idiom expects, and fails otherwise.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import openai

MODEL = "tiny"
ASKED: Any = [{"role": "user", "content": "Who keeps the mill?"}]
PARAMETERS: Any = {"type": "object", "properties": {"hour": {"type": "integer", "minimum": 0, "maximum": 23}}, "required": ["hour"]}
TOOL: Any = {"type": "function", "function": {"name": "clock", "parameters": {**PARAMETERS, "additionalProperties": False}}}
SCHEMA: Any = {"type": "json_schema", "json_schema": {"name": "time", "schema": TOOL["function"]["parameters"], "strict": True}}
TEXT_FORMAT: Any = {"type": "json_schema", **SCHEMA["json_schema"]}
IMPOSSIBLE: Any = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"enum": []}}}
PNG = "data:image/png;base64,iVBORw0KGgo="


def chat(client: openai.OpenAI, **how: Any) -> Any:
    return client.chat.completions.create(**{"model": MODEL, "messages": ASKED, "max_tokens": 8, "seed": 1, **how})


def text(client: openai.OpenAI, **how: Any) -> Any:
    return client.completions.create(**{"model": MODEL, "prompt": "The mill", "max_tokens": 5, "seed": 1, **how})


def own_answer(client: openai.OpenAI) -> bool:
    said = [*ASKED, chat(client).choices[0].message, *ASKED]
    return bool(chat(client, messages=said).choices)


def dumped_answer(client: openai.OpenAI) -> bool:
    said = [*ASKED, chat(client).choices[0].message.model_dump(), *ASKED]
    return bool(chat(client, messages=said).choices)


def stream(client: openai.OpenAI, **how: Any) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chat(client, stream=True, **how) if chunk.choices)


def forced(client: openai.OpenAI, **how: Any) -> Any:
    choice = {"type": "function", "function": {"name": "clock"}}
    return chat(client, **{"tools": [TOOL], "tool_choice": choice, "max_tokens": 100, **how}).choices[0]


def result(client: openai.OpenAI) -> bool:
    said = forced(client).message
    back = {"role": "tool", "tool_call_id": said.tool_calls[0].id, "content": "9"}
    return bool(chat(client, messages=[*ASKED, said, back], tools=[TOOL]).choices)


def streamed_call(client: openai.OpenAI) -> bool:
    chunks = chat(client, tools=[TOOL], tool_choice="required", parallel_tool_calls=False, max_tokens=100, stream=True)
    parts = [call.function.arguments for chunk in chunks for call in chunk.choices[0].delta.tool_calls or []]
    return "hour" in json.loads("".join(parts))


def counted(client: openai.OpenAI) -> bool:
    *chunks, last = chat(client, stream=True, stream_options={"include_usage": True})
    return last.usage.total_tokens > 0 and not any(chunk.usage for chunk in chunks)


def parts(client: openai.OpenAI) -> bool:
    said = [{"type": "text", "text": "Who keeps "}, {"type": "text", "text": "the mill?"}]
    return chat(client, messages=[{"role": "user", "content": said}]).choices == chat(client).choices


def likeliest(client: openai.OpenAI) -> int:
    return len(chat(client, logprobs=True, top_logprobs=2).choices[0].logprobs.content[0].top_logprobs)


def biased(client: openai.OpenAI) -> bool:
    return len(set(text(client, logit_bias={"40": 100}, logprobs=0).choices[0].logprobs.tokens)) == 1


def fits(client: openai.OpenAI) -> bool:
    return "hour" in json.loads(chat(client, response_format=SCHEMA, max_tokens=100).choices[0].message.content)


def respond(client: openai.OpenAI, **how: Any) -> Any:
    return client.responses.create(**{"model": MODEL, "input": "Who keeps the mill?", "max_output_tokens": 8, "temperature": 0, **how})


def responded_in_parts(client: openai.OpenAI) -> bool:
    events = [*respond(client, stream=True)]
    said = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    return said == events[-1].response.output_text == respond(client).output_text


def responded_with_call(client: openai.OpenAI) -> bool:
    how: Any = {"tools": [{**TOOL["function"], "type": "function"}], "parallel_tool_calls": False, "max_output_tokens": 100}
    [call] = respond(client, tool_choice="required", **how).output
    back = {"type": "function_call_output", "call_id": call.call_id, "output": "9"}
    return "hour" in json.loads(call.arguments) and bool(respond(client, input=[*ASKED, call, back], **how).output)


def embedded(client: openai.OpenAI, **how: Any) -> list[float]:
    return client.embeddings.create(model=MODEL, input=[20, 21], **how).data[0].embedding


def refused(kind: type[openai.APIError], ask: Callable[[], Any]) -> bool:
    try:
        ask()
    except kind:
        return True
    return False


IDIOMS: dict[str, Callable[[openai.OpenAI], Any]] = {
    "`chat.completions.create`": lambda c: chat(c).choices[0].message.role == "assistant",
    "`messages.append(response.choices[0].message)`": own_answer,
    "the same message as a dictionary, nulls included": dumped_answer,
    "`stream: true`": lambda c: stream(c) == chat(c).choices[0].message.content,
    "`stream_options: {include_usage: true}`": lambda c: (
        [*chat(c, stream=True, stream_options={"include_usage": True})][-1].usage.total_tokens
    ),
    "a stream that is closed early": lambda c: chat(c, stream=True).close() is None,
    "`system` and `developer` messages": lambda c: chat(c, messages=[{"role": "developer", "content": "Be brief."}, *ASKED]).choices,
    "`content` as a list of text parts": lambda c: (
        chat(c, messages=[{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]).choices
    ),
    "`name` in a message": lambda c: chat(c, messages=[{**ASKED[0], "name": "ann"}]).choices,
    "`temperature: 0`": lambda c: chat(c, temperature=0).choices == chat(c, temperature=0, seed=2).choices,
    "`seed`": lambda c: chat(c, seed=7).choices == chat(c, seed=7).choices,
    "`n: 3`": lambda c: len(chat(c, n=3).choices) == 3,
    "`stop`": lambda c: chat(c, stop=["\n", "e"]).choices[0].finish_reason,
    "`max_completion_tokens`": lambda c: chat(c, max_tokens=None, max_completion_tokens=3).usage.completion_tokens <= 3,
    "`frequency_penalty` and `presence_penalty`": lambda c: chat(c, frequency_penalty=0.5, presence_penalty=-0.5).choices,
    "`logit_bias`": biased,
    "`logprobs` with `top_logprobs`": lambda c: (
        len(chat(c, logprobs=True, top_logprobs=2).choices[0].logprobs.content[0].top_logprobs) == 2
    ),
    "neutral fields: `store: false`, `metadata`, `user`, `service_tier`": lambda c: (
        chat(c, store=False, metadata={"a": "b"}, user="ann", service_tier="auto").choices
    ),
    "an unknown field, named in `X-Accord-Ignored`": lambda c: (
        c.chat.completions.with_raw_response.create(model=MODEL, messages=ASKED, max_tokens=2, extra_body={"wombat": 1}).headers[
            "x-accord-ignored"
        ]
        == "wombat"
    ),
    "`x-request-id`": lambda c: chat(c)._request_id.startswith("req_"),
    "`tools` with `tool_choice: auto`": lambda c: chat(c, tools=[TOOL]).choices[0].finish_reason,
    "`tool_choice: none`": lambda c: not chat(c, tools=[TOOL], tool_choice="none").choices[0].message.tool_calls,
    "`tool_choice: required`": lambda c: forced(c, tool_choice="required", parallel_tool_calls=False).finish_reason == "tool_calls",
    "`tool_choice` of one function": lambda c: forced(c).message.tool_calls[0].function.name == "clock",
    "a result in a message of the role `tool`": result,
    "`tool_calls` in a stream": streamed_call,
    "`response_format: json_object`": lambda c: chat(c, response_format={"type": "json_object"}).choices[0].message.content.startswith("{"),
    "`response_format: json_schema`": lambda c: (
        "hour" in json.loads(chat(c, response_format=SCHEMA, max_tokens=100).choices[0].message.content)
    ),
    "`completions.create`": lambda c: text(c).choices[0].text is not None,
    "`completions.create` with several prompts": lambda c: len(text(c, prompt=["The mill", "A river"]).choices) == 2,
    "`completions.create` with token ids": lambda c: text(c, prompt=[20, 21, 22]).usage.prompt_tokens == 3,
    "`completions.create` as a stream": lambda c: [*text(c, stream=True)],
    "`completions.create` with `echo`": lambda c: text(c, echo=True).choices[0].text.startswith("The mill"),
    "`completions.create` with `echo`, `logprobs` and `max_tokens: 0`": lambda c: (
        text(c, prompt=[[20, 21, 22]], echo=True, logprobs=1, max_tokens=0).choices[0].logprobs.token_logprobs[0] is None
    ),
    "`models.list`": lambda c: MODEL in [model.id for model in c.models.list()],
    "`models.retrieve`": lambda c: c.models.retrieve(MODEL).id == MODEL,
    "an unknown model is a `NotFoundError`": lambda c: refused(openai.NotFoundError, lambda: chat(c, model="none")),
    "a prompt that is too long is a `BadRequestError`": lambda c: refused(openai.BadRequestError, lambda: chat(c, max_tokens=9999)),
    "an impossible schema is a `BadRequestError`": lambda c: refused(
        openai.BadRequestError,
        lambda: chat(c, response_format=IMPOSSIBLE),
    ),
    "an image": lambda c: chat(c, messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": PNG}}]}]).choices,
    "`reasoning_effort`": lambda c: chat(c, reasoning_effort="high").choices,
    "`responses.create`": lambda c: respond(c).output_text is not None,
    "`responses.create` with `instructions`": lambda c: (
        respond(c, instructions="Be brief.").usage.input_tokens > respond(c).usage.input_tokens
    ),
    "`responses.create` as a stream": responded_in_parts,
    "`response.output` in the next `input`": lambda c: respond(c, input=[*ASKED, *respond(c).output, *ASKED]).output,
    "`responses.create` with a function, and its result": responded_with_call,
    "`responses.create` with `text.format: json_schema`": lambda c: (
        "hour" in json.loads(respond(c, text={"format": TEXT_FORMAT}, max_output_tokens=100).output_text)
    ),
    "`previous_response_id`": lambda c: respond(c, previous_response_id="resp_1").output,
    "`embeddings.create`": lambda c: len(c.embeddings.create(model=MODEL, input="Hi").data[0].embedding) > 8,
    "`embeddings.create` with several texts": lambda c: len(c.embeddings.create(model=MODEL, input=["Hi", "A mill"]).data) == 2,
    "`encoding_format: float` is the default `base64`, unpacked": lambda c: (
        max(abs(a - b) for a, b in zip(embedded(c, encoding_format="float"), embedded(c), strict=True)) < 1e-6
    ),
    "`dimensions`": lambda c: c.embeddings.create(model=MODEL, input="Hi", dimensions=4).data,
}
"""By the words of the table."""


def outcomes(url: str) -> dict[str, str]:
    """What came of each idiom: ``works``, or the status with which it is refused."""
    found = dict[str, str]()
    with openai.OpenAI(base_url=url, api_key="none", max_retries=0, timeout=60) as client:
        for name, idiom in IDIOMS.items():
            try:
                found[name] = "works" if idiom(client) else "fails"
            except openai.APIStatusError as error:
                found[name] = f"refused ({error.status_code})"
            except Exception as error:
                found[name] = f"fails: {type(error).__name__}"
    return found


if __name__ == "__main__":
    print(json.dumps(outcomes(sys.argv[1])))
