"""Exports of labeling tools and of chat applications come in with annotators, criteria, sessions and times."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from excerpts import CHATGPT, LABELED, TRACE_OF, WEB_FEEDBACK, WEB_MESSAGES

from accord.data.importers import read
from accord.errors import InputError
from accord.records import Thumb


def wrote(folder: Path, *rows: Any) -> Path:
    path = folder / "rows.json"
    path.write_text(json.dumps(list(rows)), "utf-8")
    return path


def task(*results: dict[str, Any], **data: Any) -> dict[str, Any]:
    return {
        "data": {"prompt": "Hi", "answer1": "Hello", "answer2": "Go"} | data,
        "annotations": [{"id": 5, "completed_by": 1, "result": list(results)}],
    }


def result(kind: str, to: str, **value: Any) -> dict[str, Any]:
    return {"type": kind, "from_name": "tag", "to_name": to, "value": value}


def test_annotators_of_label_studio_stay_apart(tmp_path: Path) -> None:
    found = read(wrote(tmp_path, LABELED))
    assert [(ranking.labeler, ranking.ranks) for ranking in found.rankings] == [("1", (1, 2)), ("bob@x", (2, 1))]
    assert not set(found.metrics["unread"]) - {"id"}


def test_an_order_a_thumb_a_rewrite_and_a_criterion_of_label_studio(tmp_path: Path) -> None:
    items = [{"id": "x", "title": "Hello"}, {"id": "y", "title": "Go"}, {"id": "z", "title": "Hm"}]
    row = task(
        result("ranker", "items", ranker={"rank": ["y", "x", "z"]}),
        result("choices", "answer2", choices=["bad"]),
        result("choices", "prompt", choices=["chit-chat"]) | {"from_name": "topic"},
        result("textarea", "prompt", text=["Good day."]) | {"from_name": "better answer"},
        items=items,
    )
    found = read(wrote(tmp_path, row), keep_extra=True)
    texts = {response.id: response.text for response in found.responses}
    assert [texts[id] for id in found.rankings[0].response_ids] == ["Go", "Hello", "Hm"]
    assert [(thumb.response.text, thumb.up) for thumb in found.others if isinstance(thumb, Thumb)] == [("Go", False)]
    assert [d.text for d in found.demonstrations] == ["Good day."]
    assert {"labeler": "1", "topic": ["chit-chat"]} in [value for prompt in found.prompts for value in prompt.extra.values()]


FOREIGN: dict[str, tuple[dict[str, Any], str]] = {
    "a tag of another name": (
        task(result("pairwise", "left_text,right_text", selected="left")),
        "the tag 'left_text' is not known",
    ),
    "marks in a picture": (
        task(result("rectanglelabels", "img", x=1)),
        "type 'rectanglelabels' of the tag 'tag' cannot be read",
    ),
    "buckets": (task(result("ranker", "items", ranker={"good": ["a"], "bad": ["b"]})), "buckets .good, bad. have no order"),
    "ids of nothing": (task(result("ranker", "items", ranker={"rank": ["a", "b"]})), "no list of the task's data has these ids"),
    "no prompt": ({"data": {"image": "x.png"}, "annotations": []}, "no column holds the prompt"),
    "an answer nobody reads": (task(result("pairwise", "answer1,answer2", selected="left"), answer3="Hm"), "does not read data.answer3"),
    "a message that is not there": (WEB_FEEDBACK | {"meta": {"message_id": "q"}}, "the snapshot has no message 'q'"),
}


@pytest.mark.parametrize(("row", "message"), FOREIGN.values(), ids=FOREIGN)
def test_what_is_not_understood_is_refused_by_name(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(wrote(tmp_path, row))


def test_half_annotated_tasks_are_counted(tmp_path: Path) -> None:
    bare = {"data": LABELED["data"], "annotations": []}
    skipped = {"data": LABELED["data"], "annotations": [{"id": 9, "completed_by": 1, "was_cancelled": True, "result": []}]}
    found = read(wrote(tmp_path, bare, skipped, LABELED))
    assert (found.metrics["kept"], found.metrics["dropped"]) == (1, {"task without a finished annotation": 2})


def test_feedback_keeps_the_user_the_reason_and_the_whole_chat(tmp_path: Path) -> None:
    found = read(wrote(tmp_path, WEB_FEEDBACK))
    (thumb,) = (record for record in found.others if isinstance(record, Thumb))
    assert (thumb.labeler, thumb.up, thumb.response.model, thumb.prompt.user) == ("ann", True, "big", "ann")
    assert thumb.prompt.extra["feedback-f"] == {
        "reason": "accurate", "tags": ["t"], "details": {"rating": 8}, "chat_id": "c", "message_id": "a",
    }  # fmt: skip
    assert found.rankings[0].at == "2025-10-09T08:53:20+00:00"
    assert [labeler.kind for labeler in found.labelers] == ["user"]
    worse = read(wrote(tmp_path, WEB_FEEDBACK | {"data": WEB_FEEDBACK["data"] | {"rating": -1}}))
    assert worse.rankings[0].ranks == (2, 1)


def test_a_picture_in_a_chat_is_not_left_out_of_its_question(tmp_path: Path) -> None:
    messages = WEB_MESSAGES | {"u": WEB_MESSAGES["u"] | {"files": [{"type": "image"}]}}
    found = read(wrote(tmp_path, {"id": "c", "user_id": "ann", "chat": {"history": {"messages": messages}}}))
    assert (found.metrics["kept"], found.responses) == (0, [])


def test_every_branch_of_a_chatgpt_conversation(tmp_path: Path) -> None:
    found = read(wrote(tmp_path, CHATGPT))
    assert [(response.text, response.model) for response in found.responses] == [("Hello", "m"), ("Good day", "m")]
    assert [[message.role for message in prompt.messages] for prompt in found.prompts] == [["user"]]
    assert found.prompts[0].source == "ChatGPT"


def test_all_scores_of_a_trace_stay(tmp_path: Path) -> None:
    found = read(wrote(tmp_path, TRACE_OF))
    assert found.prompts[0].extra["trace-t"] == {
        "id": "t", "sessionId": "s", "name": "chat",
        "scores": [{"name": "user-feedback", "value": "False", "by": "API"}, {"name": "quality", "value": 0.7, "by": "EVAL"}],
    }  # fmt: skip
    assert found.prompts[0].user == "ann"


def test_reinforcement_rows_of_openai_keep_their_answer(tmp_path: Path) -> None:
    found = read(wrote(tmp_path, {"messages": [{"role": "user", "content": "2 + 2?"}], "reference_answer": "4"}))
    assert found.prompts[0].extra == {"reference_answer": "4"}
