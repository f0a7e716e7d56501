"""Continuous batching: the same text alone and in company, whoever joins or leaves, with and without what was read before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import END, FP32, VOCAB, llama, sequences

from accord.engine.batching import CHUNK, BatchEngine, Drawn, Request
from accord.engine.local import LocalSampler
from accord.models.folders import prepared
from accord.models.paths import take
from accord.records import Sampling

CONTEXT = 128
LENGTHS = (4, 40, 2, 63, 64, 65, 31, 32, 33, 1, 90, 17)
PROMPTS = [tuple(prompt) for prompt in sequences(LENGTHS)]
STOPS = (END, *range(2, 6))


def engine(model: Any = None, **how: Any) -> BatchEngine:
    return BatchEngine(model or llama(), **{"stop": STOPS, "dtype": FP32, "context": CONTEXT, **how})


def request(prompt: Sequence[int], seed: int = 0, **how: Any) -> Request:
    return Request(tuple(prompt), Sampling(**{"max_tokens": 24, **how}), seed)


def drain(running: BatchEngine) -> list[Drawn]:
    drawn = list[Drawn]()
    while running.busy:
        drawn += running.step()
    return drawn


def alone(asked: Request, model: Any = None, **how: Any) -> list[int]:
    running = engine(model, **how)
    running.submit(asked)
    return [token.token for token in drain(running)]


MIXED = [
    request(
        prompt, seed=i, temperature=(0.0, 0.7, 1.0, 1.3)[i % 4], top_k=(0, 9)[i % 2], top_p=(1.0, 0.9)[i % 3 == 1], max_tokens=3 + 3 * i
    )
    for i, prompt in enumerate(PROMPTS)
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("slots", [2, 5, 64])
def test_a_request_gets_the_same_text_alone_and_in_company(slots: int, dtype: torch.dtype) -> None:
    model = llama()
    lonely = [alone(asked, model, dtype=dtype) for asked in MIXED]
    running = engine(model, dtype=dtype, slots=slots)
    came = dict[int, list[int]]()
    for asked in MIXED:  # each joins two steps after the one before
        running.submit(asked)
        for token in [*running.step(), *running.step()]:
            came.setdefault(token.ticket, []).append(token.token)
    for token in drain(running):
        came.setdefault(token.ticket, []).append(token.token)
    assert [came[ticket] for ticket in sorted(came)] == lonely


@settings(max_examples=25)
@given(st.data())
def test_whoever_joins_or_leaves_nobody_else_notices(data: st.DataObject) -> None:
    model = llama()
    running, came, gone = engine(model, slots=data.draw(st.integers(1, 6))), dict[int, list[int]](), set[int]()
    asked = [replace(MIXED[i], seed=i) for i in data.draw(st.lists(st.integers(0, len(MIXED) - 1), min_size=2, max_size=8))]
    for one in asked:
        came[running.submit(one)] = []
        for _ in range(data.draw(st.integers(0, 4))):
            for token in running.step():
                came[token.ticket].append(token.token)
        if data.draw(st.booleans()):
            gone.add(ticket := data.draw(st.sampled_from(sorted(came))))
            running.cancel(ticket)
    for token in drain(running):
        assert token.ticket not in gone
        came[token.ticket].append(token.token)
    for ticket, tokens in came.items():
        whole = alone(asked[ticket], model)
        assert tokens == (whole[: len(tokens)] if ticket in gone else whole)


def test_it_draws_what_the_rollout_engine_draws() -> None:
    model, sampling = llama(), Sampling(temperature=0.0, max_tokens=12)
    rollout = LocalSampler(model, stop=STOPS, dtype=FP32).sample(PROMPTS, n=1, sampling=sampling, generator=torch.Generator())
    assert [alone(request(prompt, temperature=0.0, max_tokens=12), model) for prompt in PROMPTS] == rollout.rows()


@pytest.mark.parametrize("grouped", [False, True])
def test_other_architectures_and_grouped_heads_are_served_too(grouped: bool) -> None:
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    torch.manual_seed(0)
    config = GPTNeoXConfig(
        vocab_size=VOCAB, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, initializer_range=0.3
    )
    model = llama(heads=4, kv_heads=2) if grouped else prepared(GPTNeoXForCausalLM(config))
    sampling = Sampling(temperature=0.0, max_tokens=10)
    rollout = LocalSampler(model, stop=STOPS, dtype=FP32).sample(PROMPTS[:3], n=1, sampling=sampling, generator=torch.Generator())
    running = engine(model)
    for prompt in PROMPTS[:3]:
        running.submit(Request(prompt, sampling, 0))
    came = dict[int, list[int]]()
    for token in drain(running):
        came.setdefault(token.ticket, []).append(token.token)
    assert [came[ticket] for ticket in sorted(came)] == rollout.rows()


def test_a_conversations_next_turn_reads_only_what_is_new_and_answers_the_same() -> None:
    model, first = llama(), request(PROMPTS[3], seed=1, max_tokens=30)
    running = engine(model, stop=())
    running.submit(first)
    answer = tuple(token.token for token in drain(running))
    second = request((*first.prompt, *answer, 7, 8, 9), seed=2)
    running.submit(second)
    again = [token.token for token in drain(running)]
    assert running.reused == (len(first.prompt) + len(answer) - 1) // CHUNK * CHUNK
    assert again == alone(second, model, stop=(), remembered=0)


def test_what_is_remembered_is_bounded_and_the_oldest_goes_first() -> None:
    running = engine(remembered=3 * CHUNK)
    for i in range(6):
        running.submit(request([10 + i] * 2 * CHUNK, max_tokens=1))
        drain(running)
    assert len(running.prefixes) == 3
    running.submit(request([15] * 2 * CHUNK + [3], max_tokens=1))
    drain(running)
    assert running.reused == 2 * CHUNK


def test_a_cancelled_request_frees_its_place_at_once() -> None:
    running = engine(slots=1, stop=())
    first, second = running.submit(request(PROMPTS[0])), running.submit(request(PROMPTS[2]))
    running.step()
    running.cancel(first)
    running.cancel(first)
    assert {token.ticket for token in drain(running)} == {second}


def test_it_ends_at_a_stop_token_the_limit_or_the_context() -> None:
    running = engine(stop=())
    running.submit(request(PROMPTS[10], max_tokens=500))
    drawn = drain(running)
    assert len(PROMPTS[10]) + len(drawn) == CONTEXT
    assert [token.finish for token in drawn if token.finish] == ["length"]
    ends = [alone(asked)[-1] in STOPS for asked in MIXED]
    assert any(ends)
    assert not all(ends)


def test_a_prompt_that_leaves_no_room_is_refused() -> None:
    for prompt in ([], [5] * CONTEXT):
        with pytest.raises(ValueError, match="the context holds 128"):
            engine().submit(request(prompt))


def test_logprobs_are_the_models_own_before_temperature_and_filters() -> None:
    model = llama()
    running = engine(model)
    running.submit(Request(PROMPTS[1], Sampling(temperature=2.0, top_k=3, max_tokens=6), 5, logprobs=4))
    row = list(PROMPTS[1])
    for token in drain(running):
        with torch.no_grad():
            logprobs = _logits(model, row).log_softmax(-1)
        assert token.logprob == pytest.approx(float(logprobs[token.token]), abs=1e-4)
        assert [id for id, _ in token.likeliest] == logprobs.topk(4).indices.tolist()
        row.append(token.token)


def _logits(model: Any, row: list[int]) -> torch.Tensor:
    from accord.models.attention import PackedAttention
    from accord.models.decoder import hidden
    from accord.models.heads import head_of
    from accord.models.packing import pack

    batch = pack([row])
    return (hidden(model.base_model, batch.tokens, batch.positions, PackedAttention(batch.lengths), FP32) @ head_of(model).weight.T)[-1]


def by_hand(model: Any, prompt: Sequence[int], steps: int, frequency: float, presence: float, bias: dict[int, float]) -> list[int]:
    """Greedy tokens of transformers' own forward pass, with OpenAI's formula in plain Python."""
    answer = list[int]()
    while len(answer) < steps:
        with torch.no_grad():
            logits: list[float] = model(input_ids=torch.tensor([[*prompt, *answer]])).logits[0, -1].tolist()
        for token, count in Counter(answer).items():
            logits[token] -= count * frequency + (count > 0) * presence
        for token, amount in bias.items():
            logits[token] += amount
        answer.append(max(range(len(logits)), key=logits.__getitem__))
    return answer


@pytest.mark.parametrize("plain", [False, True], ids=["fast path", "plain path"])
def test_penalties_and_biases_are_openais_formula_and_change_their_own_row_alone(plain: bool) -> None:
    model, reference, steps = llama(), take(llama(), "padded"), 12
    if plain:
        take(model, "padded")
    changes = list[tuple[float, float, dict[int, float]]]()
    changes += [(0.0, 0.0, {}), (1.5, 0.0, {}), (0.0, 0.6, {}), (-2.0, 0.7, {9: 4.0, 11: -100.0})]
    asked = list[Request]()
    for frequency, presence, bias in changes:
        one = request(PROMPTS[0], temperature=0.0, max_tokens=steps)
        asked.append(replace(one, frequency_penalty=frequency, presence_penalty=presence, logit_bias=tuple(bias.items())))
    running = engine(model, stop=())
    tickets = [running.submit(one) for one in asked]
    came = drain(running)
    rows = [[token.token for token in came if token.ticket == ticket] for ticket in tickets]
    assert rows == [by_hand(reference, PROMPTS[0], steps, *change) for change in changes]
    assert len(set(map(tuple, rows))) == len(rows), "each change should change something"
    forced = replace(request(PROMPTS[3], max_tokens=5), logit_bias=((17, 100.0),))
    assert alone(forced, model, stop=()) == [17] * 5
