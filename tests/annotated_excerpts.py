"""Records of Argilla, lines of FastChat's log and instances of Potato, made by hand in the form that the tools write them."""

from __future__ import annotations

from typing import Any

ANN, BOB = "1f0c6f7e-0a7a-4d3c-9b59-5d7a0c0f1a01", "1f0c6f7e-0a7a-4d3c-9b59-5d7a0c0f1a02"
ANSWERS = {"response_1": "At the market.", "response_2": "No idea."}


def record(responses: Any, suggestions: Any = None, **fields: Any) -> dict[str, Any]:
    """A record as Argilla 2's library writes it (``to_json``)."""
    about = {"id": "r-1", "_server_id": "s-1", "metadata": {}, "vectors": {}, "suggestions": suggestions or {}}
    return {"fields": {"prompt": "Where is bread sold?", **(fields or ANSWERS)}, "responses": responses, **about}


def says(user: str, value: Any, **rest: Any) -> dict[str, Any]:
    return {"user_id": user, "value": value, **rest}


ARGILLA = record(
    {
        "preference": [says(ANN, ["response_1", "response_2"]), says(BOB, ["response_2", "response_1"], status="discarded")],
        "clear": [says(ANN, "very")],
    },
    {"preference": {"value": ["response_2", "response_1"], "score": [0.7, 0.3], "agent": "big-model"}},
)
ARGILLA_SERVER = {
    "id": "s-2",
    "external_id": None,
    "fields": {"prompt": "Where is bread sold?", **ANSWERS},
    "metadata": {"page": 3},
    "responses": [
        {
            "id": "x",
            "user_id": BOB,
            "status": "submitted",
            "values": {"order": {"value": [{"value": "response_2", "rank": 1}, {"value": "response_1", "rank": 1}]}},
            "inserted_at": "2024-05-01T10:00:00",
            "updated_at": "2024-05-01T10:00:00",
        },
        {"id": "y", "user_id": ANN, "status": "draft", "values": None},
    ],
    "suggestions": [],
    "inserted_at": "2024-05-01T09:00:00",
    "updated_at": "2024-05-01T09:00:00",
}
HUB = {
    "prompt": "Where is bread sold?",
    **ANSWERS,
    "preference": [says(ANN, {"rank": [2, 1], "value": ["response_1", "response_2"]}, status="submitted")],
    "preference-suggestion": {"rank": [1, 2], "value": ["response_1", "response_2"]},
    "preference-suggestion-metadata": {"type": None, "score": None, "agent": "big-model"},
    "external_id": "7",
    "metadata": "{}",
}
FLAT = {
    "id": "r-3",
    "status": "completed",
    "_server_id": "s-3",
    "prompt": "Where is bread sold?",
    "response": "At the market.",
    "quality.responses": ["good", "bad"],
    "quality.responses.users": [ANN, BOB],
    "quality.responses.status": ["submitted", "submitted"],
    "quality.suggestion": "good",
    "quality.suggestion.score": 0.9,
    "quality.suggestion.agent": "big-model",
}


def state(answer: str | None, model: str, *, system: str = "", asked: str = "Where is bread sold?", **rest: Any) -> dict[str, Any]:
    """A conversation of FastChat."""
    turns = [["USER", asked], ["ASSISTANT", answer]]
    fields = {"template_name": "one_shot", "system_message": system, "roles": ["USER", "ASSISTANT"], "offset": 0, "messages": turns}
    return {**fields, "conv_id": f"c-{model}", "model_name": model, **rest}


def vote(kind: str, **rest: Any) -> dict[str, Any]:
    states = [state("At the market.", "m1"), state("No idea.", "m2")]
    return {"tstamp": 1682351591.1322, "type": kind, "models": ["", ""], "states": states, "ip": "192.0.2.7", **rest}


def thumbed(kind: str) -> dict[str, Any]:
    return {"tstamp": 1682351591.1, "type": kind, "model": "m1", "state": state("Here.", "m1"), "ip": "192.0.2.7"}


POTATO: dict[str, Any] = {
    "user_id": "annotator-7",
    "instance_id": "i-1",
    "displayed_text": "A. At the market.<br>B. No idea.",
    "label_annotations": {"preference": {"selection": "B"}, "topic": {"food": "1"}},
    "span_annotations": [],
    "prompt": "Where is bread sold?",
}
POTATO_TABLE: dict[str, Any] = {
    "user": "bob@x",
    "instance_id": "i-2",
    "prompt": "Where is bread sold?",
    "responses": '["At the market.", "No idea."]',
    "strength:::scale_value": "-2",
    "topic:::food": None,
}


ANNOTATED: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {
    "argilla": (
        [ARGILLA, ARGILLA_SERVER],
        {
            "ranks": [(1, 2), (1, 1)],
            "said": ["At the market.", "No idea.", "No idea.", "At the market."],
            "left_out": {"discarded by the annotator": 1, "draft by the annotator": 1},
        },
    ),
    "argilla-columns": ([HUB, FLAT], {"ranks": [(1, 2)], "said": ["No idea.", "At the market."], "thumbs": [True, False]}),
    "fastchat": (
        [
            vote("leftvote"),
            vote("rightvote", tstamp=1682351599.0),
            vote("tievote", tstamp=1682351600.0),
            vote("bothbad_vote", tstamp=1682351601.0),
            thumbed("upvote"),
            thumbed("chat") | {"gen_params": {"temperature": 0.7}},
        ],
        {
            "ranks": [(1, 2), (2, 1), (1, 1), (1, 1)],
            "said": ["At the market.", "No idea."] * 4,
            "thumbs": [False, False, True],
            "dropped": {"event of the log without a vote: chat": 1},
        },
    ),
    "potato": ([POTATO, POTATO_TABLE], {"ranks": [(2, 1), (1, 2)], "said": ["At the market.", "No idea."] * 2}),
}
