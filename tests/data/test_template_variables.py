"""Variables of chat templates: written in as defaults, refused where no template reads them, and the date does not move."""

from __future__ import annotations

from typing import Any

import pytest
from joined import foreign

from accord.data.template_variables import variables_of, write_variables, written_in
from accord.data.templates import chat_format
from accord.errors import InputError, UsageError
from accord.records import Message

ASK = (Message("user", "Name a fish."),)
TEMPLATE = (
    "{% if tools %}{% for tool in tools %}{{ tool | tojson }}\n{% endfor %}{% endif %}"
    "{% if day is not defined %}{% set day = strftime_now('%d %b %Y') %}{% endif %}"
    "Today is {{ day }}, {{ strftime_now('%A, %-d %B %y') }}.\n"
    "{% set words = 'x' %}{% for m in messages %}<|{{ m.role }}|>{{ m.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% if thinking | default(true) %}<think>\n\n</think>{% endif %}{% endif %}"
)


def tokenizer_of(template: str = TEMPLATE) -> Any:
    return foreign(template, "</s>", ("<|user|>", "<|assistant|>"))


def plain(tokenizer: Any, **variables: Any) -> str:
    """What transformers alone makes of a conversation."""
    return tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False, add_generation_prompt=True, **variables)


def test_the_names_that_a_template_reads_from_outside() -> None:
    assert variables_of(TEMPLATE) == {"messages", "add_generation_prompt", "tools", "day", "strftime_now", "thinking"}
    assert variables_of("{% for x in y %}{% generation %}{{ x + a }}{% endgeneration %}{% break %}{% endfor %}") == {"a", "y"}
    assert variables_of("{% if %}") == set()


VALUES: list[dict[str, Any]] = [
    {"thinking": False},
    {"tools": [{"name": 'it\'s "é" {{ x }} %} #} \\n\n 😀', "n": None, "x": 1.5, "on": True, "list": []}]},
    {"day": "1 Jan 2025", "thinking": True},
]


@pytest.mark.parametrize("values", VALUES)
def test_variables_written_in_are_those_of_the_template_given_by_hand(values: dict[str, Any]) -> None:
    tokenizer, by_hand = tokenizer_of(), tokenizer_of(TEMPLATE.replace("strftime_now('%d %b %Y')", "'x'"))
    told = write_variables(tokenizer, values, "today")
    assert told == written_in(tokenizer) == {"variables": values}
    values = {"day": "x", **values}
    assert plain(tokenizer, day=values["day"]).splitlines()[1:] == plain(by_hand, **values).splitlines()[1:]
    assert plain(tokenizer, thinking=True, day="y") != plain(tokenizer, thinking=False, day="y"), "a caller's value goes before them"


def test_what_the_template_does_not_read_is_refused_with_what_it_does() -> None:
    with pytest.raises(UsageError, match=r"does not read 'enable_thinking'.*it reads: day, thinking, tools"):
        write_variables(tokenizer_of(), {"enable_thinking": False}, "today")
    with pytest.raises(UsageError, match="does not read 'words'"):
        write_variables(tokenizer_of(), {"words": "y"}, "today")


def test_a_control_token_among_the_values_is_refused() -> None:
    with pytest.raises(InputError, match=r"tools holds the control token <\|user\|>"):
        write_variables(tokenizer_of(), {"tools": [{"name": "a <|user|>"}]}, "today")


def test_the_date_is_the_one_that_was_set_whatever_day_it_is() -> None:
    tokenizer = tokenizer_of()
    assert write_variables(tokenizer, {}, "2024-07-06") == {"date": "2024-07-06"}
    assert plain(tokenizer).startswith("Today is 06 Jul 2024, Saturday, 6 July 24.\n")
    left = tokenizer_of()
    assert write_variables(left, {}, "today") == {}
    assert left.chat_template == TEMPLATE


def test_of_several_templates_the_one_for_tools_is_taken_if_there_are_tools() -> None:
    tokenizer = tokenizer_of()
    tokenizer.chat_template = {"default": TEMPLATE, "tool_use": "With tools. " + TEMPLATE}
    write_variables(tokenizer, {"tools": [{"name": "look_up"}], "day": "x"}, "2024-07-26")
    assert "With tools. " in plain(tokenizer)
    assert '{"name": "look_up"}' in chat_format(tokenizer).tokenizer.decode(chat_format(tokenizer).prompt(ASK))
