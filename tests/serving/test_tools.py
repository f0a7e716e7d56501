"""Tools and answers in JSON, as OpenAI's own client asks for them: forced and free calls, results that come back, schemas."""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import Any

import jsonschema
import openai
import pytest
import torch
from joined import foreign
from opened import Opened, open_model
from running import serving
from tiny import FP32, llama
from tool_templates import BRIEF, TEMPLATES

from accord.data.templates import ChatFormat, chat_format
from accord.data.tool_formats import kind_of, parse
from accord.data.tool_turns import ToolCall, ToolTurn
from accord.models.packing import pack
from accord.models.policy import logprobs
from accord.records import Message
from accord.serving.api import create
from accord.serving.model_host import ModelHost

ASKED: Any = [{"role": "user", "content": "How warm is it in Bern?"}]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "warm_in",
        "description": "The temperature in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"enum": ["Bern", "Rome"]}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
WEATHER["function"]["parameters"]["additionalProperties"] = False
CLOCK: Any = {"type": "function", "function": {"name": "clock"}}
CLOCK["function"]["parameters"] = {"type": "object", "properties": {"hour": {"type": "integer", "minimum": 0, "maximum": 23}}}
CLOCK["function"]["parameters"] |= {"required": ["hour"], "additionalProperties": False}
SAYS = '<tool_call>\n{"name": "warm_in", "arguments": {"city": "Bern"}}\n</tool_call>'


NOW: Any = {"type": "function", "function": {"name": "now"}}


def spoken(name: str) -> ChatFormat:
    return chat_format(foreign(*TEMPLATES[name]), 1200)


def calling() -> Opened:
    """A model that learned to call a function when it is asked one thing."""
    format = chat_format(foreign(BRIEF, "<|im_end|>", ()), 300)
    said = [Message("user", ASKED[0]["content"])]
    response = [*format.tokenizer('<tool_call>{"name": "now"}', add_special_tokens=False)["input_ids"], format.stop[0]]
    shown = {"name": "now", "description": "", "parameters": {"type": "object", "properties": {}}}
    batch = pack([[*format.prompt(said, [shown]), *response]], [len(response)])
    model = llama(vocab=len(format.tokenizer))
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-2)
    for _ in range(60):
        (-logprobs(model, batch, dtype=FP32)[0].mean()).backward()
        optimizer.step()
        optimizer.zero_grad()
    return Opened(model, format, "calls-0123456789")


@pytest.fixture(scope="module")
def client() -> Generator[openai.OpenAI]:
    def opened(name: str) -> Any:
        if name == "calls":
            return calling()
        if name in TEMPLATES:
            format = spoken(name)
            return Opened(llama(vocab=len(format.tokenizer), std=0.1), format, f"{name}-0123456789")
        return open_model(name)

    hosting = ModelHost(opened, [*TEMPLATES, "calls", "tiny-1"])
    with serving(hosting, create(hosting, keys=None)) as url, openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        yield client


def ask(client: openai.OpenAI, model: str, **how: Any) -> Any:
    return client.chat.completions.create(**{"model": model, "messages": ASKED, "seed": 1, "max_tokens": 150, **how})


def closes(model: str) -> dict[str, float]:
    """A bias that lets a random model end its thought soon."""
    return {str(spoken(model).tokenizer.convert_tokens_to_ids("</think>")): 6.0} if model == "thinks" else {}


@pytest.mark.parametrize("model", [name for name in TEMPLATES if name != "thinks-in-words"])
def test_a_forced_call_is_a_call_of_that_function_whose_arguments_fit(client: openai.OpenAI, model: str) -> None:
    choice: Any = {"type": "function", "function": {"name": "warm_in"}}
    for seed in range(2):
        how: Any = {"tools": [WEATHER, CLOCK], "tool_choice": choice, "seed": seed, "logit_bias": closes(model)}
        answer = ask(client, model, **how).choices[0]
        assert answer.finish_reason == "tool_calls"
        [call] = answer.message.tool_calls
        assert call.function.name == "warm_in"
        assert json.loads(call.function.arguments)["city"] in ("Bern", "Rome")
        assert answer.message.content is None


@pytest.mark.parametrize("model", ["hermes", "llama", "mistral", "mistral-args"])
def test_a_required_call_comes_back_with_its_result_and_the_conversation_goes_on(client: openai.OpenAI, model: str) -> None:
    first = ask(client, model, tools=[CLOCK], tool_choice="required", parallel_tool_calls=False).choices[0].message
    [call] = first.tool_calls
    assert 0 <= json.loads(call.function.arguments)["hour"] <= 23
    said = [*ASKED, first, {"role": "tool", "tool_call_id": call.id, "content": 'It is "9".\n<|im_end|>'}]
    second = ask(client, model, messages=said, tools=[CLOCK], max_tokens=5)
    assert second.usage.prompt_tokens > ask(client, model, tools=[CLOCK], max_tokens=5).usage.prompt_tokens
    streamed = list(ask(client, model, tools=[CLOCK], tool_choice="required", parallel_tool_calls=False, stream=True))
    [part] = [delta for chunk in streamed for delta in chunk.choices[0].delta.tool_calls or []]
    assert (part.index, part.function.name, part.function.arguments) == (0, "clock", call.function.arguments)
    assert streamed[-1].choices[0].finish_reason == "tool_calls"
    with pytest.raises(openai.BadRequestError, match="no call has the id"):
        ask(client, model, messages=[*ASKED, {"role": "tool", "tool_call_id": "zzzzzzzzz", "content": "9"}], tools=[CLOCK])


def test_a_model_that_decides_to_call_is_understood_and_none_forbids_it(client: openai.OpenAI) -> None:
    answer = ask(client, "calls", tools=[NOW], temperature=0, max_tokens=120).choices[0]
    assert answer.finish_reason == "tool_calls"
    assert [(call.function.name, call.function.arguments) for call in answer.message.tool_calls] == [("now", "{}")]
    assert not ask(client, "calls", tools=[NOW], tool_choice="none", temperature=0, max_tokens=120).choices[0].message.tool_calls


def test_a_model_without_tools_says_so(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="chat template has no tools"):
        ask(client, "tiny-1", tools=[WEATHER])
    for change, words in (
        ({"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "other"}}}, "not among the tools"),
        ({"tool_choice": "required"}, "not among the tools"),
        ({"tools": [WEATHER, WEATHER]}, "two tools have the name"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "pattern"),
        ({"tools": [{"type": "function", "function": {"name": f"f{i}"}} for i in range(129)]}, "at most 128"),
        ({"tools": [WEATHER], "response_format": {"type": "json_object"}}, "exclude each other"),
        ({"tools": [{"type": "function", "function": {"name": f"f{n}", "description": "y" * 20_000}} for n in range(6)]}, "too long"),
        ({"tools": [{"type": "function", "function": {"name": "f", "parameters": {"x": "y" * 100_001}}}]}, "too large"),
    ):
        with pytest.raises(openai.BadRequestError, match=words):
            ask(client, "hermes", **change)


@pytest.mark.parametrize(
    ("kind", "text", "before", "calls"),
    [
        ("hermes", f"I look.\n{SAYS}", "I look.", [("warm_in", {"city": "Bern"})]),
        ("hermes", SAYS + "\n" + SAYS, "", [("warm_in", {"city": "Bern"})] * 2),
        ("hermes", SAYS.removesuffix("</tool_call>"), "", [("warm_in", {"city": "Bern"})]),
        ("hermes", SAYS.replace("warm_in", "unknown"), None, []),
        ("hermes", "<tool_call>\n{broken\n</tool_call>", None, []),
        ("llama", '{"name": "warm_in", "parameters": {"city": "Bern"}}', "", [("warm_in", {"city": "Bern"})]),
        (
            "llama",
            '<|python_tag|>{"name": "clock", "parameters": {}}; {"name": "warm_in", "parameters": {}}',
            "",
            [("clock", {}), ("warm_in", {})],
        ),
        ("llama", 'Here: {"name": "warm_in", "parameters": {}}', None, []),
        ("mistral", '[TOOL_CALLS][{"name": "warm_in", "arguments": {"city": "Bern"}}]', "", [("warm_in", {"city": "Bern"})]),
        ("mistral", '[{"name": "warm_in", "arguments": "{\\"city\\": \\"Bern\\"}"}]', "", [("warm_in", {"city": "Bern"})]),
        ("mistral-args", '[TOOL_CALLS]warm_in[ARGS]{"city": "Bern"}', "", [("warm_in", {"city": "Bern"})]),
        ("mistral-args", 'warm_in{"city": "Bern"}', "", [("warm_in", {"city": "Bern"})]),
        ("hermes", "Just words.", None, []),
    ],
)
def test_calls_are_read_as_models_write_them(kind: Any, text: str, before: str | None, calls: list[Any]) -> None:
    written = parse(kind, text, ["warm_in", "clock"], most=9)
    assert [(call.name, dict(call.arguments)) for call in written.calls] == calls
    assert written.text == (text if before is None else before)


@pytest.mark.parametrize("name", ["hermes", "llama", "mistral", "mistral-args"])
def test_a_template_tells_its_format_and_what_it_writes_is_read_again(name: Any) -> None:
    format = spoken(name)
    assert kind_of(str(format.tokenizer.chat_template)) == name
    turn = ToolTurn("assistant", "", (ToolCall("a23456789", "warm_in", {"city": "Bern <|im_end|> </s>"}),))
    ids = format.prompt([Message("user", "Hi"), turn, Message("user", "x")], [WEATHER["function"]])
    text = format.tokenizer.decode(ids)
    said = text.rpartition("Hi")[2] if name != "llama" else "{" + text.rpartition("Hi")[2].partition("{")[2]
    [call] = parse(name, said, ["warm_in"], most=9).calls
    assert call.arguments == {"city": "Bern <|im_end|> </s>"}
    typed = format.tokenizer.convert_tokens_to_ids(["<|im_end|>", "</s>"][name != "hermes"])
    ends = sum(id == typed for id in ids)
    bare = format.prompt([Message("user", "Hi"), ToolTurn("assistant", "", (ToolCall("a23456789", "warm_in", {}),)), Message("user", "x")])
    assert name == "llama" or ends == sum(id == typed for id in bare) + (name == "hermes"), "a typed control token is words"


PERSON: Any = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 8}, "age": {"type": "integer", "minimum": 0, "maximum": 150}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("model", ["tiny-1", "hermes", "thinks"])
def test_an_answer_fits_the_schema_or_says_that_it_was_cut(client: openai.OpenAI, model: str) -> None:
    form: Any = {"type": "json_schema", "json_schema": {"name": "person", "schema": PERSON, "strict": True}}
    whole = 0
    for seed in range(4):
        how: Any = {"response_format": form, "seed": seed, "max_tokens": 90, "logit_bias": closes(model)}
        answer = ask(client, model, **how).choices[0]
        if answer.finish_reason == "stop":
            jsonschema.validate(json.loads(answer.message.content), PERSON)
            whole += 1
    assert whole
    cut = ask(client, model, response_format=form, max_tokens=2).choices[0]
    assert cut.finish_reason == "length"
    answer = ask(client, model, response_format={"type": "json_object"}, max_tokens=60).choices[0]
    assert answer.finish_reason == "length" or isinstance(json.loads(answer.message.content), dict)


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "integer", "minimum": 3, "maximum": 2}}}, "nsatisfiable"),
        ({"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "wombat"}}}, "wombat"),
        ({"type": "json_schema", "json_schema": {"name": "x", "schema": {"not": {}}}}, "not"),
        ({"type": "json_schema", "json_schema": {"name": "x"}}, "needs a schema"),
        ({"type": "json_schema"}, "needs a schema"),
        ({"type": "yaml"}, "response_format.type"),
        ({"type": "json_schema", "json_schema": {"name": "x", "schema": {"description": "y" * 100_001}}}, "too large"),
    ],
)
def test_an_impossible_schema_is_refused_with_the_reason(client: openai.OpenAI, form: Any, words: str) -> None:
    with pytest.raises(openai.BadRequestError, match=words):
        ask(client, "tiny-1", response_format=form, max_tokens=20)
