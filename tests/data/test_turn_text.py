"""Calls of tools, their results, reasoning and content lists become text that a template reads again; nothing else is taken for text."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from accord.data.importers import read
from accord.errors import InputError
from accord.records import Demonstration

ASK = {"role": "user", "content": "What is 2+2, and 3+3?"}
CALLS = [
    {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 2, "b": 2}'}},
    {"id": "c2", "type": "function", "function": {"name": "add", "arguments": {"a": 3, "b": 3}}},
]
RECORDING = base64.b64encode(b"RIFF\x26\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x40\x1f\0\0\x80\x3e\0\0\2\0\x10\0data\2\0\0\0\0\1").decode()
CALLED = (
    '<tool_call>\n{"name": "add", "arguments": {"a": 2, "b": 2}}\n</tool_call>\n'
    '<tool_call>\n{"name": "add", "arguments": {"a": 3, "b": 3}}\n</tool_call>'
)
RETURNED = "<tool_response>\n4\n</tool_response>\n<tool_response>\n6\n</tool_response>"
TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]


def written(folder: Path, row: dict[str, Any]) -> Demonstration:
    path = folder / "rows.jsonl"
    path.write_text(json.dumps(row) + "\n", "utf-8")
    (one,) = read(path).demonstrations
    return one


def turns(one: Demonstration) -> list[tuple[str, str]]:
    return [*((message.role, message.content) for message in one.prompt.messages), ("assistant", one.text)]


def test_calls_of_tools_and_their_results_in_openais_messages(tmp_path: Path) -> None:
    results = [{"role": "tool", "tool_call_id": f"c{n}", "content": text} for n, text in ((1, "4"), (2, "6"))]
    messages = [ASK, {"role": "assistant", "content": None, "tool_calls": CALLS}, *results, {"role": "assistant", "content": "4 and 6."}]
    one = written(tmp_path, {"messages": messages, "tools": TOOLS})
    assert turns(one) == [("user", ASK["content"]), ("assistant", CALLED), ("user", RETURNED), ("assistant", "4 and 6.")]
    assert one.prompt.extra["tools"] == TOOLS


def test_a_call_may_be_the_answer_itself_and_stand_behind_words(tmp_path: Path) -> None:
    call = {"role": "assistant", "content": "Let me see.", "function_call": {"name": "add", "arguments": "{}"}}
    one = written(tmp_path, {"messages": [ASK, call]})
    assert one.text == 'Let me see.\n<tool_call>\n{"name": "add", "arguments": {}}\n</tool_call>'


def test_calls_in_sharegpt(tmp_path: Path) -> None:
    said = [
        {"from": "human", "value": "What is 2+2?"},
        {"from": "function_call", "value": '{"name": "add", "arguments": {"a": 2, "b": 2}}'},
        {"from": "observation", "value": "4"},
        {"from": "gpt", "value": "4."},
    ]
    one = written(tmp_path, {"conversations": said, "tools": json.dumps(TOOLS)})
    called = '<tool_call>\n{"name": "add", "arguments": {"a": 2, "b": 2}}\n</tool_call>'
    assert turns(one)[1:] == [("assistant", called), ("user", "<tool_response>\n4\n</tool_response>"), ("assistant", "4.")]
    assert one.prompt.extra["tools"] == json.dumps(TOOLS)


def test_anthropics_parts(tmp_path: Path) -> None:
    call = [
        {"type": "thinking", "thinking": "two sums", "signature": "s"},
        {"type": "text", "text": "Adding."},
        {"type": "tool_use", "id": "t1", "name": "add", "input": {"a": 2, "b": 2}},
    ]
    result = [{"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "4"}]}]
    messages = [ASK, {"role": "assistant", "content": call}, {"role": "user", "content": result}, {"role": "assistant", "content": "4."}]
    assert turns(written(tmp_path, {"messages": messages}))[1:3] == [
        ("assistant", '<think>\ntwo sums\n</think>\n\nAdding.\n<tool_call>\n{"name": "add", "arguments": {"a": 2, "b": 2}}\n</tool_call>'),
        ("user", "<tool_response>\n4\n</tool_response>"),
    ]


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning", "thinking"])
def test_reasoning_stands_before_the_answer(tmp_path: Path, name: str) -> None:
    one = written(tmp_path, {"messages": [ASK, {"role": "assistant", "content": "4 and 6.", name: "two sums"}]})
    assert one.text == "<think>\ntwo sums\n</think>\n\n4 and 6."
    both = {"role": "assistant", "content": "<think>\ntwo sums\n</think>\n\n4 and 6.", name: "two sums"}
    assert written(tmp_path, {"messages": [ASK, both]}).text == both["content"]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"content": [{"type": "input_audio", "input_audio": {"data": "a"}}]}, "the recording is no base 64"),
        ({"content": [{"type": "input_audio", "input_audio": {"data": RECORDING}}]}, "an answer holds a picture or a recording"),
        ({"content": [{"type": "video", "video": "a"}]}, "only text can be read, not 'video'"),
        ({"content": None}, r'field "messages\[1\]\.content": missing'),
        ({"tool_calls": [{"function": {"name": "add", "arguments": "{2"}}]}, "the arguments of add are broken JSON"),
        ({"tool_calls": [{"function": {"name": "add", "arguments": "[2]"}}]}, r"the arguments of add are not an object: \[2\]"),
        ({"tool_calls": [{"function": {"arguments": "{}"}}]}, r'tool_calls\[0\]\.function\.name": missing'),
        ({"tool_calls": {"name": "add"}}, 'tool_calls": not a list'),
        ({"content": "<think>one</think> 4", "reasoning_content": "two"}, "another reasoning than the one in the content"),
    ],
)
def test_what_is_no_text_is_refused(tmp_path: Path, answer: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        written(tmp_path, {"messages": [ASK, {"role": "assistant"} | answer]})


def test_a_tools_result_needs_a_call_before_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="roles out of order: 'user' after 'user'"):
        written(tmp_path, {"messages": [ASK, {"role": "tool", "content": "4"}, {"role": "assistant", "content": "4."}]})
