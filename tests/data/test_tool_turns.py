"""Conversations with tools are rendered as the template writes tools: held against transformers' own rendering and its own mask of the
assistant's tokens."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from joined import foreign
from tool_templates import HERMES, TEMPLATES

from accord.algorithms.sft import Example
from accord.commands.train.demonstrations import every_turn, example
from accord.data.importers import read
from accord.data.templates import ChatFormat, chat_format
from accord.data.token_rows import RowWindow
from accord.data.turn_text import called, functions_of, returned, with_calls
from accord.errors import InputError
from accord.records import Demonstration, Message, Prompt, Response

ADD = {"name": "add", "description": "Add.", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}}
TOOLS = [{"type": "function", "function": ADD}]


def call(id: str, a: int) -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": "add", "arguments": {"a": a}}}


def conversation(*, words: str = "", first: str = "call00000", second: str = "call00001") -> list[dict[str, Any]]:
    """Two calls at once, their results, an answer, and another round whose last turn calls."""
    return [
        {"role": "user", "content": "What is 1+1, and 2+2?"},
        {"role": "assistant", "content": words, "tool_calls": [call(first, 1), call(second, 2)]},
        {"role": "tool", "content": "2", "tool_call_id": first, "name": "add"},
        {"role": "tool", "content": "4", "tool_call_id": second, "name": "add"},
        {"role": "assistant", "content": "They are 2 and 4."},
        {"role": "user", "content": "And 3+3?"},
        {"role": "assistant", "content": "", "tool_calls": [call("call00002", 3)]},
    ]


def imported(folder: Path, messages: list[dict[str, Any]], **beside: Any) -> Demonstration:
    path = folder / "rows.jsonl"
    path.write_text(json.dumps({"messages": messages, "tools": TOOLS} | beside) + "\n", "utf-8")
    (one,) = read(path).demonstrations
    return one


def theirs(spoken: ChatFormat, messages: list[dict[str, Any]], *, reply: bool) -> list[int]:
    return list(spoken.tokenizer.apply_chat_template(messages, tools=TOOLS, add_generation_prompt=reply, return_dict=False))


def spoken_by(name: str) -> ChatFormat:
    return chat_format(foreign(*TEMPLATES[name]), 1200)


@pytest.mark.parametrize("name", ["hermes", "llama", "mistral", "mistral-args"])
@pytest.mark.parametrize("turns", [2, 5, 7])
def test_an_imported_conversation_is_what_transformers_renders(name: str, turns: int, tmp_path: Path) -> None:
    messages, spoken = conversation()[:turns], spoken_by(name)
    one = imported(tmp_path, messages)
    prompt, response = spoken.asked(one.prompt), spoken.answered(one.prompt, one.text)
    assert prompt == theirs(spoken, messages[:-1], reply=True)
    whole = theirs(spoken, messages, reply=False)
    end = next(i for i in range(len(prompt), len(whole)) if whole[i] in spoken.stop)
    assert [*prompt, *response] == whole[: end + 1]
    said = spoken.tokenizer.decode(response)
    assert ('"a": 3' in said) == (turns == 7)
    assert ("[TOOL_CALLS]" in said) == (name.startswith("mistral") and turns != 5)


CALLS = HERMES[HERMES.index("{% for call in") : HERMES.index("{% endfor %}<|im_end|>") + len("{% endfor %}")]
GENERATION = HERMES.replace(
    "{% else %}<|im_start|>",
    "{% elif m.role == 'assistant' %}<|im_start|>assistant\n"
    f"{{% generation %}}{{{{ m.content }}}}{CALLS}<|im_end|>{{% endgeneration %}}\n{{% else %}}<|im_start|>",
    1,
)
"""The same template with a block around what the assistant generates, as transformers asks for."""


def test_every_turn_of_the_assistant_is_learned_and_nothing_else_as_transformers_masks_it(tmp_path: Path) -> None:
    spoken = chat_format(foreign(GENERATION, "<|im_end|>", ("<|im_start|>",)), 1200)
    messages = conversation(words="Let me see.")
    told = spoken.tokenizer.apply_chat_template(messages, tools=TOOLS, return_dict=True, return_assistant_tokens_mask=True)
    ids, mask = list(told["input_ids"]), list(told["assistant_masks"])
    assert 20 < sum(mask) < len(mask) - 20
    learned = [0] * len(ids)
    rows = every_turn([imported(tmp_path, messages)])
    for row in rows:
        made: Example = example(spoken, row, RowWindow(1200))
        assert ids[: len(made.tokens)] == made.tokens
        for place in range(len(made.tokens) - made.kept, len(made.tokens)):
            assert not learned[place], "no token is learned twice"
            learned[place] = 1
    assert len(rows) == 3
    assert learned == mask
    last: Example = example(spoken, rows[-1], RowWindow(1200))
    assert "<tool_call>" in spoken.tokenizer.decode(last.tokens[-last.kept :])


def test_a_thinking_template_closes_the_thought_before_a_call(tmp_path: Path) -> None:
    spoken, one = spoken_by("thinks"), imported(tmp_path, conversation()[:2])
    assert spoken.written(spoken.asked(one.prompt)).endswith("<think>\n")
    assert spoken.written(spoken.answered(one.prompt, one.text)).startswith('\n</think>\n\n<tool_call>\n{"name": "add"')
    thought = imported(tmp_path, [conversation()[0], {**conversation()[1], "reasoning_content": "so"}])
    said = spoken.written(spoken.answered(thought.prompt, thought.text))
    assert said.startswith("so\n</think>")
    assert said.count("<think>") == 0


def test_words_that_a_template_drops_beside_a_call_are_refused(tmp_path: Path) -> None:
    one = imported(tmp_path, conversation(words="Let me see.")[:2])
    with pytest.raises(InputError, match="leaves out or changes what a message says"):
        spoken_by("llama").answered(one.prompt, one.text)


def test_a_template_without_tools_and_a_row_without_tools_keep_calls_as_text(tmp_path: Path) -> None:
    spoken = spoken_by("hermes")
    bare = imported(tmp_path, conversation()[:5], tools=None)
    assert spoken.asked(bare.prompt) == spoken.prompt(bare.prompt.messages)
    assert "<tools>" not in spoken.written(spoken.asked(bare.prompt))
    none = "{% for m in messages %}{{ m.role }}: {{ m.content }}<|im_end|>{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
    plain, one = chat_format(foreign(none, "<|im_end|>", ()), 1200), imported(tmp_path, conversation()[:2])
    assert plain.asked(one.prompt) == plain.prompt(one.prompt.messages)
    assert plain.answered(one.prompt, one.text) == plain.response(one.prompt.messages, one.text)


def test_rankings_and_thumbs_are_rendered_as_demonstrations_are(tmp_path: Path) -> None:
    spoken = spoken_by("mistral")
    one = imported(tmp_path, conversation()[:2])
    better = Response("r", one.prompt.id, one.text, "imported")
    assert spoken.tokens_of(one.prompt, better) == spoken.answered(one.prompt, one.text)
    assert "[TOOL_CALLS]" in spoken.written(spoken.tokens_of(one.prompt, better))


def test_what_is_written_is_read_again_and_nothing_else_is_taken_for_a_call() -> None:
    first = '<tool_call>\n{"name": "add", "arguments": {"a": "</tool_call>"}}\n</tool_call>'
    text = f'Words.\n{first}\n<tool_call>\n{{"name": "b", "arguments": {{}}}}\n</tool_call>'
    assert called(text) == ("Words.", (("add", {"a": "</tool_call>"}), ("b", {})))
    for other in ("Words.", f"{text} and more", "<tool_call>add</tool_call>", '<tool_call>{"name": 1}</tool_call>', "<tool_call>" * 9000):
        assert called(other) == (other, ())
    assert returned("<tool_response>\n4\n</tool_response>\n<tool_response>\n\n</tool_response>") == ("4", "")
    for other in ("4", "<tool_response>\n4\n</tool_response> so", "so <tool_response>\n4\n</tool_response>"):
        assert returned(other) == ()
    asked = (Message("user", "<tool_response>\n4\n</tool_response>"),)
    assert with_calls(asked) == asked, "a result needs a call before it"


@pytest.mark.parametrize(
    "column", [TOOLS, [ADD], json.dumps(TOOLS), [{"name": "add", "description": "Add.", "input_schema": ADD["parameters"]}]]
)
def test_tools_are_read_as_files_have_them(column: Any) -> None:
    assert functions_of({"tools": column}) == (ADD,)


@pytest.mark.parametrize("column", [None, [], "a hammer", ["hammer"], {"hammer": 1}, "[no json"])
def test_a_column_of_something_else_declares_no_tools(column: Any) -> None:
    assert functions_of({"tools": column}) == ()


def test_a_tool_without_a_name_is_refused() -> None:
    extra: Mapping[str, object] = {"tools": [{"type": "function", "function": {"description": "?"}}]}
    spoken, prompt = spoken_by("hermes"), Prompt("p", (Message("user", "Hi"),), extra=extra)
    with pytest.raises(InputError, match="prompt p: a tool of the row has no name"):
        spoken.asked(prompt)
