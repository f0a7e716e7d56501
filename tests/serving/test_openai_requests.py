"""Requests as clients of OpenAI's API send them: their own messages again, fields that ask for nothing, and foreign fields."""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import Any

import httpx
import openai
import pytest
from joined import foreign
from opened import FORMAT, Opened
from running import Server, serving
from tiny import llama

from accord.data.templates import chat_format
from accord.serving.api import create
from accord.serving.model_host import ModelHost

ALTERNATE = (
    "{{ bos_token }}{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]{% else %} {{ m.content }}{{ eos_token }}{% endif %}{% endfor %}"
)


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


@pytest.fixture(scope="module")
def strict_url() -> Generator[str]:
    """A server of a model whose template takes turns in turn alone; it refuses what nobody reads."""
    tokenizer = foreign(ALTERNATE, "</s>", ("[INST]", "[/INST]"))
    opened = Opened(llama(vocab=len(tokenizer)), chat_format(tokenizer, 120), "alternate-0123456789")
    hosting = ModelHost(lambda name: opened, ["alternate"])
    with serving(hosting, create(hosting, keys=None, strict=True)) as url:
        yield url


@pytest.fixture
def client(server: Server) -> Generator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=server.key, max_retries=0) as client:
        yield client


def post(server: Server, change: dict[str, Any], path: str = "/v1/chat/completions", **headers: str) -> httpx.Response:
    body = {"model": "tiny-1", "messages": [user("Who keeps the mill?")], "max_tokens": 3, "seed": 1, **change}
    told = {"Authorization": f"Bearer {server.key}", "Content-Type": "application/json", **headers}
    return httpx.post(server.url + path, content=json.dumps(body), headers=told, timeout=60)


def test_a_templates_refusal_is_a_400_with_its_words_and_nobody_is_told_to_try_again(strict_url: str) -> None:
    with openai.OpenAI(base_url=f"{strict_url}/v1", api_key="none", max_retries=0) as client:
        with pytest.raises(openai.BadRequestError, match="Conversation roles must alternate") as refused:
            client.chat.completions.create(model="alternate", messages=[user("Hi."), user("Name a fish.")], max_tokens=3)  # type: ignore[list-item]
        assert "Retry-After" not in refused.value.response.headers
        assert client.chat.completions.create(model="alternate", messages=[user("Hi.")], max_tokens=3).choices  # type: ignore[list-item]
        with pytest.raises(openai.BadRequestError, match="U\\+FDD0"):
            client.chat.completions.create(model="alternate", messages=[user("\ufdd0")], max_tokens=3)  # type: ignore[list-item]


def test_an_answer_comes_back_as_it_was_and_the_next_turn_is_answered(client: openai.OpenAI) -> None:
    said: Any = [user("Name a fish.")]
    first = client.chat.completions.create(model="tiny-1", messages=said, max_tokens=5, seed=1).choices[0].message
    said += [first, user("Name a bird.")]
    again = client.chat.completions.create(model="tiny-1", messages=said, max_tokens=5, seed=1)
    bare: Any = [said[0], {"role": "assistant", "content": first.content}, said[2]]
    assert again.usage == client.chat.completions.create(model="tiny-1", messages=bare, max_tokens=5, seed=1).usage
    whole: Any = {**first.model_dump(), "annotations": [], "audio": None, "function_call": None, "tool_calls": None, "refusal": None}
    assert (
        client.chat.completions.with_raw_response.create(model="tiny-1", messages=[said[0], whole, said[2]], max_tokens=5).headers.get(
            "x-accord-ignored"
        )
        is None
    )


@pytest.mark.parametrize(
    "neutral",
    [
        {"frequency_penalty": 0, "presence_penalty": 0},
        {"logit_bias": {}, "n": 1, "store": False, "metadata": {"a": "b"}, "user": "ann"},
        {"service_tier": "auto", "parallel_tool_calls": True, "modalities": ["text"], "verbosity": "medium"},
        {"tools": [], "functions": [], "function_call": "none"},
        {"tools": None, "tool_choice": None, "stop": None, "seed": None, "temperature": None, "top_p": None, "stream": None},
        {"response_format": {"type": "text"}, "stream_options": None, "logprobs": None, "top_logprobs": None, "max_tokens": None},
        {"max_completion_tokens": 3, "safety_identifier": "x", "prompt_cache_key": "y", "reasoning_effort": None},
    ],
)
def test_what_asks_for_nothing_is_taken_without_a_word(server: Server, neutral: dict[str, Any]) -> None:
    plain, answer = post(server, {}), post(server, neutral, **{"X-Accord-Strict": "1"})
    assert answer.status_code == 200, answer.text
    if "seed" not in neutral and "max_tokens" not in neutral:
        assert answer.json()["choices"] == plain.json()["choices"]
    assert "x-accord-ignored" not in answer.headers


def test_a_field_that_nobody_reads_is_named_in_a_header_and_refused_where_strict_is_asked_for(server: Server, strict_url: str) -> None:
    odd = {"temprature": 1, "messages": [{**user("Hi."), "colour": "red"}], "store": True, "evil\r\nname, ü": 1}
    answer = post(server, odd)
    assert answer.status_code == 200
    assert answer.headers["x-accord-ignored"] == "temprature, store, evilname  \\xfc, messages.0.colour"
    refused = post(server, {"temprature": 1}, **{"X-Accord-Strict": "true"})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "temprature")
    assert "did you mean 'temperature'" in refused.json()["error"]["message"]
    refused = post(server, {"x" * 1_000_000: 1}, **{"X-Accord-Strict": "true"})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "x" * 60)
    body = {"model": "alternate", "messages": [user("Hi.")], "max_tokens": 1, "temprature": 1}
    assert httpx.post(f"{strict_url}/v1/chat/completions", json=body).status_code == 400
    stream = post(server, {**odd, "stream": True})
    assert stream.headers["x-accord-ignored"].startswith("temprature")
    assert len(post(server, {f"odd{number}": 1 for number in range(500)}).headers["x-accord-ignored"]) < 300


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"reasoning_effort": "high"}, "reasoning_effort"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"guided_json": {"type": "object"}}, "guided_json"),
        ({"continue_final_message": True}, "continue_final_message"),
        ({"web_search_options": {}}, "web_search_options"),
        ({"logit_bias": {"99999": 1}}, "logit_bias.99999"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, "messages.0.content.0.type"),
        ({"messages": [{"role": "user"}]}, "messages.0.content"),
        ({"messages": [user("Name a fish."), {"role": "assistant", "content": "A tr"}]}, "messages.1.role"),
        ({"messages": [user("Hi"), {"role": "assistant", "content": "x", "audio": {"id": "a"}}, user("x")]}, "messages.1.audio"),
    ],
)
def test_what_would_change_the_answer_and_is_not_there_is_refused_by_name(server: Server, change: dict[str, Any], param: str) -> None:
    answer = post(server, change)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), answer.text


def test_raw_text_is_read_with_or_without_what_the_tokenizer_adds(server: Server) -> None:
    for special in (True, False):
        answer = post(server, {"prompt": "The mill", "add_special_tokens": special}, "/v1/completions").json()
        assert answer["usage"]["prompt_tokens"] == len(FORMAT.tokenizer("The mill", add_special_tokens=special)["input_ids"])
    assert post(server, {"prompt": "x", "best_of": 2}, "/v1/completions").json()["error"]["param"] == "best_of"
    assert post(server, {"prompt": "x", "suffix": "y"}, "/v1/completions").json()["error"]["param"] == "suffix"


def test_every_answer_has_a_request_id_of_its_own(server: Server, client: openai.OpenAI) -> None:
    said: Any = [user("Hi.")]
    ids = {client.chat.completions.create(model="tiny-1", messages=said, max_tokens=1)._request_id for _ in range(2)}  # pyright: ignore[reportPrivateUsage]
    ids |= {post(server, change).headers["x-request-id"] for change in ({"n": 99}, {"model": "none"}, {"stream": True})}
    ids.add(httpx.get(server.url + "/v1/models").headers["x-request-id"])
    assert len(ids) == 6
    assert all(str(id).startswith("req_") for id in ids)


def test_echo_puts_the_prompt_before_each_continuation(server: Server, client: openai.OpenAI) -> None:
    how: Any = {"model": "tiny-1", "max_tokens": 6, "seed": 1, "n": 2}
    texts = ["The mill", "A river"]
    plain = client.completions.create(prompt=texts, **how).choices
    echoed = client.completions.create(prompt=texts, echo=True, **how).choices
    assert [choice.text for choice in echoed] == [texts[choice.index // 2] + choice.text for choice in plain]
    chunks = list(client.completions.create(prompt=texts[0], echo=True, stream=True, **how | {"n": 1}))
    assert "".join(chunk.choices[0].text for chunk in chunks) == echoed[0].text
