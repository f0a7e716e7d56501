"""The API as its users see it: OpenAI's own client, and curl."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Generator
from typing import Any

import httpx
import openai
import pytest
from opened import CONTEXT, FORMAT, hello
from running import Server

ASKED: Any = [{"role": "user", "content": "Who keeps the mill?"}]


@pytest.fixture
def client(server: Server) -> Generator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=server.key, max_retries=0) as client:
        yield client


def chat(client: openai.OpenAI, **how: Any) -> Any:
    return client.chat.completions.create(**{"model": "tiny-1", "messages": ASKED, "seed": 3, "max_tokens": 12, **how})


def curl(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["curl", "-sS", "-m", "30", *arguments], capture_output=True, text=True, check=True)


def test_a_chat_is_answered_whole_and_as_a_stream_with_the_same_text(client: openai.OpenAI) -> None:
    answer = chat(client)
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].finish_reason in ("stop", "length")
    assert answer.usage.prompt_tokens == len(FORMAT.prompt(hello()))
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.system_fingerprint.startswith("tiny-1@")
    chunks = list(chat(client, stream=True, stream_options={"include_usage": True}))
    assert "".join(chunk.choices[0].delta.content for chunk in chunks[:-1]) == answer.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]][-1] == answer.choices[0].finish_reason
    assert chunks[-1].usage == answer.usage


def test_several_answers_come_side_by_side_and_a_seed_fixes_them(client: openai.OpenAI) -> None:
    texts = [choice.message.content for choice in chat(client, n=3, temperature=1.0).choices]
    assert len(set(texts)) > 1
    assert [choice.message.content for choice in chat(client, n=3, temperature=1.0).choices] == texts
    came = ["", "", ""]
    for chunk in chat(client, n=3, temperature=1.0, stream=True):
        came[chunk.choices[0].index] += chunk.choices[0].delta.content
    assert came == texts


def test_every_way_of_sampling_does_something(client: openai.OpenAI) -> None:
    def said(**how: Any) -> str:
        return chat(client, **{"max_tokens": 30, "temperature": 1.5, **how}).choices[0].message.content

    plain = said()
    greedy = said(temperature=0)
    assert plain != greedy
    for narrow in ({"top_p": 1e-6}, {"extra_body": {"top_k": 1}}, {"extra_body": {"min_p": 1.0}}):
        assert said(**narrow) == greedy
    assert said(temperature=0, extra_body={"repetition_penalty": 3.0}) != greedy
    cut = said(stop=[plain[5:8]])
    assert cut == plain[: plain.index(plain[5:8])].rstrip()


def test_logprobs_have_openais_form(client: openai.OpenAI) -> None:
    told = chat(client, logprobs=True, top_logprobs=3, temperature=0).choices[0].logprobs.content
    assert told
    assert all(token.logprob <= 0 and len(token.top_logprobs) == 3 for token in told)
    assert all(token.logprob == token.top_logprobs[0].logprob for token in told)
    text = client.completions.create(model="tiny-1", prompt="The baker", logprobs=2, max_tokens=5, seed=1).choices[0]
    assert len(text.logprobs.tokens) == len(text.logprobs.token_logprobs) == len(text.logprobs.top_logprobs) <= 5
    assert text.logprobs.text_offset[0] == 0


def test_raw_text_and_tokens_are_continued(client: openai.OpenAI) -> None:
    ids = FORMAT.tokenizer("The baker opens", add_special_tokens=False)["input_ids"]
    one = client.completions.create(model="tiny-1", prompt="The baker opens", seed=1, max_tokens=9)
    again = client.completions.create(model="tiny-1", prompt=ids, seed=1, max_tokens=9)
    assert one.choices[0].text == again.choices[0].text
    both = client.completions.create(model="tiny-1", prompt=["The baker opens", "A river"], n=2, seed=1, max_tokens=9)
    assert [choice.index for choice in both.choices] == [0, 1, 2, 3]
    assert both.choices[0].text == one.choices[0].text
    assert both.usage.prompt_tokens == len(ids) + len(FORMAT.tokenizer("A river", add_special_tokens=False)["input_ids"])
    streamed = client.completions.create(model="tiny-1", prompt="The baker opens", seed=1, max_tokens=9, stream=True)
    assert "".join(chunk.choices[0].text for chunk in streamed) == one.choices[0].text


def test_models_are_listed_with_the_weights_they_are(client: openai.OpenAI, server: Server) -> None:
    assert [model.id for model in client.models.list()] == ["tiny-1", "tiny-2"]
    assert client.models.retrieve("tiny-2").model_dump()["version"] == "tiny-2@tiny-2-01234"
    with pytest.raises(openai.NotFoundError, match="no such model"):
        chat(client, model="tiny-3")
    narrow = openai.OpenAI(base_url=f"{server.url}/v1", api_key=server.narrow, max_retries=0)
    assert [model.id for model in narrow.models.list()] == ["tiny-2"]
    with pytest.raises(openai.NotFoundError):
        chat(narrow)
    assert chat(narrow, model="tiny-2").choices[0].message.content


def test_nobody_comes_in_without_a_key_that_works(server: Server) -> None:
    revoked, key = server.keys.add("gone")
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=revoked, max_retries=0) as client:
        assert chat(client).choices
        server.keys.revoke(key.id)
        with pytest.raises(openai.AuthenticationError):
            chat(client)
    for path in ("/v1/models", "/metrics", "/v1/models/tiny-1"):
        assert httpx.get(server.url + path).status_code == 401
        assert httpx.get(server.url + path, headers={"Authorization": f"Basic {server.key}"}).status_code == 401
    assert httpx.get(server.url + "/health").json()["status"] == "ok"
    assert httpx.get(server.url + "/health", headers={"Host": "evil.example"}).status_code == 400


def test_a_key_with_a_limit_is_told_when_to_come_back(server: Server) -> None:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=server.hurried, max_retries=0) as client:
        for _ in range(2):
            chat(client)
        with pytest.raises(openai.RateLimitError) as refused:
            chat(client)
    assert 1 <= int(refused.value.response.headers["Retry-After"]) <= 30
    assert refused.value.response.json()["error"]["type"] == "rate_limit_error"


@pytest.mark.parametrize(
    ("change", "param", "words"),
    [
        ({"frequency_penalty": 2.5}, "frequency_penalty", "less than or equal to 2"),
        ({"temperature": -1}, "temperature", "greater than or equal to 0"),
        ({"temperature": "hot"}, "temperature", "valid number"),
        ({"n": 99}, "n", "less than or equal to 16"),
        ({"messages": []}, "messages", "at least 1"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages.0.role", "'system'"),
        ({"messages": [{"role": "user", "content": "\ud800"}]}, "messages.0.content", "unicode"),
        ({"max_tokens": 5, "max_completion_tokens": 6}, None, "differ"),
        ({"top_logprobs": 2, "logprobs": False}, None, "needs logprobs"),
        ({"max_tokens": 500}, None, f"the answer may have 500, but the model's context holds {CONTEXT}"),
        ({"messages": [{"role": "user", "content": "Ask the baker. " * 100}]}, None, f"the model's context holds {CONTEXT}"),
    ],
)
def test_what_is_not_understood_is_refused_in_openais_form(server: Server, change: dict[str, Any], param: str | None, words: str) -> None:
    body = json.dumps({"model": "tiny-1", "messages": ASKED, "max_tokens": 5, **change})
    headers = {"Authorization": f"Bearer {server.key}", "Content-Type": "application/json"}
    answer = httpx.post(f"{server.url}/v1/chat/completions", content=body, headers=headers)
    error = answer.json()["error"]
    assert answer.status_code == 400
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert words in error["message"]


def test_a_prompt_is_shortened_only_when_that_is_asked_for(client: openai.OpenAI) -> None:
    turn = [{"role": "user", "content": "Ask the baker. " * 10}, {"role": "assistant", "content": "No."}]
    said: Any = [{"role": "system", "content": "Be brief."}, *turn * 5, *ASKED]
    with pytest.raises(openai.BadRequestError, match="context"):
        chat(client, messages=said)
    assert chat(client, messages=said, extra_body={"truncation": "auto"}).usage.prompt_tokens <= CONTEXT - 12


def test_curl_gets_a_stream_of_events(server: Server) -> None:
    body = json.dumps({"model": "tiny-1", "messages": ASKED, "stream": True, "seed": 3, "max_tokens": 12})
    url, key = f"{server.url}/v1/chat/completions", f"Authorization: Bearer {server.key}"
    done = curl("-N", "-i", url, "-H", key, "-H", "Content-Type: application/json", "-d", body).stdout
    assert "content-type: text/event-stream" in done
    events = [line.removeprefix("data: ") for line in done.splitlines() if line.startswith("data: ")]
    assert events[-1] == "[DONE]"
    assert all(json.loads(event)["object"] == "chat.completion.chunk" for event in events[:-1])


def test_a_client_that_goes_away_frees_its_place(server: Server, client: openai.OpenAI) -> None:
    def running() -> float:
        figures = httpx.get(f"{server.url}/metrics", headers={"Authorization": f"Bearer {server.key}"}).text
        return sum(float(line.split()[-1]) for line in figures.splitlines() if line.startswith(("accord_running{", "accord_waiting{")))

    streams = [chat(client, stream=True, max_tokens=90, n=8) for _ in range(6)]
    for stream in streams:
        next(iter(stream))
        stream.close()
    deadline = time.monotonic() + 10
    while running() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert running() == 0


def test_prometheus_is_told_what_was_done(server: Server, client: openai.OpenAI) -> None:
    chat(client)
    figures = httpx.get(f"{server.url}/metrics", headers={"Authorization": f"Bearer {server.key}"}).text
    for name in ("accord_requests_total", "accord_tokens_total", "accord_first_token_seconds_bucket", "accord_answer_seconds_sum"):
        assert f"{name}{{" in figures
    assert server.key not in figures


def test_thirty_clients_at_once_get_what_each_would_get_alone(client: openai.OpenAI) -> None:
    lonely = {seed: chat(client, seed=seed, temperature=1.0, max_tokens=20).choices[0].message.content for seed in range(30)}
    came = dict[int, str]()

    def ask(seed: int) -> None:
        stream = chat(client, seed=seed, temperature=1.0, max_tokens=20, stream=True)
        came[seed] = "".join(chunk.choices[0].delta.content for chunk in stream)

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in lonely]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert came == lonely
