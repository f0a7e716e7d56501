"""Answers that must fit a schema: whatever a random model would rather say, and however it is drawn."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from tiny import FP32, chat, llama

from accord.data.tool_formats import schema_rule
from accord.engine.batching import BatchEngine, Request
from accord.engine.grammar import Grammars
from accord.errors import InputError
from accord.models.paths import take
from accord.records import Sampling

FORMAT = chat()
VOCABULARY = len(FORMAT.tokenizer)
MODEL = llama(vocab=VOCABULARY, std=0.1)
PLAIN = take(llama(vocab=VOCABULARY, std=0.1), "padded")
GRAMMARS = Grammars(FORMAT.tokenizer, VOCABULARY, FORMAT.stop)
PROMPT = tuple(FORMAT.tokenizer("Who keeps the mill?")["input_ids"])


def lark(schema: Any) -> str:
    return f"start: json\njson: {schema_rule(schema)}"


def request(schema: Any, seed: int, *, max_tokens: int = 90, **how: Any) -> Request:
    return Request(PROMPT, Sampling(max_tokens=max_tokens, **how), seed, guide=GRAMMARS.guide(lark(schema)) if schema is not None else None)


def answers(asked: list[Request], model: Any = MODEL) -> list[tuple[str, str]]:
    """The text and the end of each answer."""
    engine = BatchEngine(model, stop=FORMAT.stop, dtype=FP32, context=128)
    tickets = [engine.submit(one) for one in asked]
    ids: dict[int, list[int]] = {ticket: [] for ticket in tickets}
    ends = dict[int, str]()
    while engine.busy:
        for token in engine.step():
            ids[token.ticket].append(token.token)
            ends[token.ticket] = token.finish
    return [(FORMAT.decode(ids[ticket]), ends[ticket]) for ticket in tickets]


SMALL: st.SearchStrategy[Any] = st.one_of(
    st.just({"type": "boolean"}),
    st.just({"type": "null"}),
    st.builds(lambda low, more: {"type": "integer", "minimum": low, "maximum": low + more}, st.integers(-99, 99), st.integers(0, 99)),
    st.builds(lambda words: {"enum": words}, st.lists(st.one_of(st.text(max_size=6), st.integers(-9, 9)), min_size=1, max_size=3)),
    st.builds(lambda most: {"type": "string", "maxLength": most}, st.integers(0, 5)),
    st.sampled_from([{"type": "string", "pattern": "^[a-c]{2,4}$"}, {"type": "string", "format": "date"}, {"const": 'é"\\'}]),
)


def grown(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    names = st.lists(st.text(max_size=5), max_size=3, unique=True)

    def closed(names: list[str], parts: list[Any], most: int) -> Any:
        properties = dict(zip(names, parts, strict=False))
        return {"type": "object", "properties": properties, "required": list(properties)[:most], "additionalProperties": False}

    objects = st.builds(closed, names, st.lists(inner, min_size=3, max_size=3), st.integers(0, 3))
    lists = st.builds(lambda item, most: {"type": "array", "items": item, "maxItems": most}, inner, st.integers(0, 2))
    return st.one_of(objects, lists, st.builds(lambda one, two: {"anyOf": [one, two]}, inner, inner))


@settings(max_examples=12, phases=[Phase.generate])
@given(st.lists(st.recursive(SMALL, grown, max_leaves=5), min_size=6, max_size=6), st.integers(0, 999))
def test_every_whole_answer_of_a_random_model_fits_its_schema(schemas: list[Any], seed: int) -> None:
    ways: list[dict[str, Any]] = [{}, {"temperature": 0.0}, {"temperature": 2.0, "top_k": 3}]
    asked = [request(schema, seed + place, **ways[place % 3]) for place, schema in enumerate(schemas)]
    for (text, end), schema in zip(answers(asked), schemas, strict=True):
        if end == "stop":
            jsonschema.validate(json.loads(text), schema)
        else:
            assert end == "length", text
    assert not [one.guide.problem for one in asked if one.guide is not None and one.guide.problem]


@pytest.mark.parametrize("model", [MODEL, PLAIN], ids=["fast path", "plain path"])
def test_rows_that_ask_for_nothing_say_what_they_say_alone(model: Any) -> None:
    schema = {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 3}
    free = [request(None, seed, max_tokens=30) for seed in range(4)]
    lonely = [answers([one], model)[0] for one in free]
    bound = [request(schema, seed) for seed in range(3)]
    mixed = answers([free[0], bound[0], free[1], bound[1], free[2], bound[2], free[3]], model)
    assert mixed[::2] == lonely
    assert mixed[1::2] == [answers([request(schema, seed)], model)[0] for seed in range(3)]
    assert all(2 <= len(json.loads(text)) <= 3 for text, end in mixed[1::2] if end == "stop")
    assert any(end == "stop" for _, end in mixed[1::2])


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "integer", "minimum": 5, "maximum": 3},
        {"allOf": [{"type": "string"}, {"type": "integer"}]},
        {"type": "nonsense"},
        {"type": "object", "properties": 3},
        {"$ref": "#/nowhere"},
        {"$ref": "http://127.0.0.1:9/schema"},
        {"type": "string", "pattern": "("},
        {"type": "object", "required": ["a"], "additionalProperties": False},
        {"enum": []},
        {"type": "array", "uniqueItems": True},
        {"not": {"type": "string"}},
    ],
)
def test_a_schema_that_nothing_fits_or_that_is_not_understood_is_refused(schema: Any) -> None:
    with pytest.raises(InputError):
        GRAMMARS.guide(lark(schema))


def test_an_answer_that_has_no_room_is_cut_and_says_so() -> None:
    [(text, end)] = answers([request({"type": "string", "minLength": 50}, 1, max_tokens=5)])
    assert end == "length"
    assert text.startswith('"')
