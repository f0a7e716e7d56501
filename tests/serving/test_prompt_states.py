"""Embeddings, and the log-probabilities of a prompt, against plain transformers' forward pass."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator
from typing import Any

import httpx
import openai
import pytest
import torch
from opened import FORMAT, host, open_model
from running import Server
from tiny import FP32, llama, prepared

from accord.engine import prompt_states
from accord.engine.batching import BatchEngine
from accord.serving import model_host
from accord.serving.host import Unavailable

LONG = "Who keeps the mill by the river, and who keeps the river?"
MODEL = open_model("tiny-1").lm
MODEL.set_attn_implementation("eager")


@pytest.fixture
def client(server: Server) -> Any:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=server.key, max_retries=0) as client:
        yield client


def tokens(text: str) -> list[int]:
    return FORMAT.tokenizer(text)["input_ids"]


def plain(ids: list[int]) -> Any:
    with torch.no_grad():
        return MODEL(torch.tensor([ids]), output_hidden_states=True)


def test_an_embedding_is_the_mean_of_the_final_states_with_length_1(client: openai.OpenAI) -> None:
    texts = ["The mill", LONG]
    by_text = client.embeddings.create(model="tiny-1", input=texts)
    by_ids = client.embeddings.create(model="tiny-1", input=[tokens(text) for text in texts], encoding_format="float")
    one = client.embeddings.create(model="tiny-1", input=tokens(texts[1]), encoding_format="float")
    for text, packed, bare in zip(texts, by_text.data, by_ids.data, strict=True):
        mean = plain(tokens(text)).hidden_states[-1][0].mean(0)
        torch.testing.assert_close(torch.tensor(bare.embedding), mean / mean.norm(), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(torch.tensor(packed.embedding), torch.tensor(bare.embedding))
    torch.testing.assert_close(torch.tensor(one.data[0].embedding), torch.tensor(by_ids.data[1].embedding))
    assert by_text.usage.prompt_tokens == sum(len(tokens(text)) for text in texts)
    assert [row.index for row in by_text.data] == [0, 1]


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": ["x"] * 257}, "input"),
        ({"input": [10**6]}, None),
        ({"input": "x " * 500}, None),
        ({"dimensions": 8}, "dimensions"),
        ({"encoding_format": "int8"}, "encoding_format"),
    ],
)
def test_what_has_no_embedding_is_refused(server: Server, change: dict[str, Any], param: str | None) -> None:
    body = {"model": "tiny-1", "input": "x", **change}
    answer = httpx.post(f"{server.url}/v1/embeddings", json=body, headers={"Authorization": f"Bearer {server.key}"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), answer.text


def test_echo_with_logprobs_gives_the_prompts_own_log_probabilities(client: openai.OpenAI) -> None:
    prompts = [tokens("The mill"), tokens(LONG)]
    for new in (0, 1):
        how: Any = {"model": "tiny-1", "max_tokens": new, "temperature": 0, "logprobs": 2, "echo": True}
        answer = client.completions.create(prompt=prompts, **how)
        for ids, choice in zip(prompts, answer.choices, strict=True):
            told: Any = choice.logprobs
            logits = plain(ids).logits[0]
            logprobs = logits.log_softmax(-1)
            want = [float(logprobs[place, id]) for place, id in enumerate(ids[1:])]
            assert told.token_logprobs[0] is None
            assert told.top_logprobs[0] is None
            assert told.token_logprobs[1 : len(ids)] == pytest.approx(want, abs=1e-4)
            assert len(told.token_logprobs) == len(ids) + new
            best = logprobs.max(-1).values.tolist()
            assert [max(top.values()) for top in told.top_logprobs[1 : len(ids)]] == pytest.approx(best[: len(ids) - 1], abs=1e-4)
            assert choice.text.startswith(FORMAT.decode(ids))
            assert choice.finish_reason == "length" or new
        assert answer.usage.completion_tokens == 2 * new  # type: ignore[union-attr]
    text = client.completions.create(prompt=LONG, **how | {"max_tokens": 0})
    assert (text.choices[0].text, text.choices[0].logprobs.token_logprobs[1:]) == (LONG, pytest.approx(want, abs=1e-4))  # type: ignore[union-attr]
    with pytest.raises(openai.BadRequestError, match="nothing to answer"):
        client.completions.create(model="tiny-1", prompt="x", max_tokens=0)


def test_a_long_prompt_is_read_in_parts_with_the_same_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [(7 * place) % 50 + 3 for place in range(40)]
    model = llama(vocab=64, std=0.1)
    engine = BatchEngine(model, stop=[1], dtype=FP32, context=64)
    monkeypatch.setattr(prompt_states, "PART", 16)
    parts = list(prompt_states.likelihoods(engine, ids, 1))
    assert [len(part) for part in parts] == [16, 16, 7]
    model.set_attn_implementation("eager")
    with torch.no_grad():
        out: Any = model(torch.tensor([ids]), output_hidden_states=True)
    want = out.logits[0].log_softmax(-1)[:-1].gather(1, torch.tensor(ids[1:])[:, None])[:, 0]
    torch.testing.assert_close(torch.tensor([each.logprob for part in parts for each in part]), want, atol=1e-4, rtol=1e-4)
    *_, vector = prompt_states.embedding(engine, ids)
    mean = out.hidden_states[-1][0].mean(0)
    torch.testing.assert_close(torch.tensor(vector), mean / mean.norm(), atol=1e-5, rtol=1e-4)


def test_a_model_on_the_plain_path_is_read_whole_with_the_same_outcome() -> None:
    from transformers import BloomConfig, BloomForCausalLM

    torch.manual_seed(0)
    model, ids = BloomForCausalLM(BloomConfig(vocab_size=64, hidden_size=16, n_layer=2, n_head=2)).eval(), [5, 9, 9, 30, 7]
    with torch.no_grad():
        out: Any = model(torch.tensor([ids]), output_hidden_states=True)
    engine = BatchEngine(prepared(model), stop=[1], dtype=FP32, context=64)
    assert engine.network.plain
    want = out.logits[0].log_softmax(-1)[:-1].gather(1, torch.tensor(ids[1:])[:, None])[:, 0]
    [part] = prompt_states.likelihoods(engine, ids, 1)
    torch.testing.assert_close(torch.tensor([each.logprob for each in part]), want, atol=1e-4, rtol=1e-4)
    [vector] = prompt_states.embedding(engine, ids)
    mean = out.hidden_states[-1][0].mean(0)
    torch.testing.assert_close(torch.tensor(vector), mean / mean.norm(), atol=1e-5, rtol=1e-4)


def test_a_model_that_fails_and_a_server_that_closes_are_told_to_who_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, closing = threading.Event(), threading.Event()

    def broken(*_: Any) -> Generator[list[float]]:
        raise KeyError("a layer")
        yield []

    def slow(*_: Any) -> Generator[list[float]]:
        begun.set()
        assert closing.wait(30)
        yield [0.0]
        yield [1.0]

    async def work() -> None:
        hosting = host("tiny-1")
        await hosting.start()
        monkeypatch.setattr(model_host, "embedding", broken)
        with pytest.raises(Unavailable, match="failed while it was reading"):
            await hosting.embed("tiny-1", "x")
        monkeypatch.setattr(model_host, "embedding", slow)
        waiting = asyncio.create_task(hosting.embed("tiny-1", "x"))
        assert await asyncio.to_thread(begun.wait, 30)
        closed = asyncio.create_task(hosting.close())
        await asyncio.sleep(0)
        closing.set()
        with pytest.raises(Unavailable, match="is closing"):
            await asyncio.wait_for(waiting, 30)
        await closed

    asyncio.run(work())
