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
    given: Any = WEB_FEEDBACK["data"]
    worse = read(wrote(tmp_path, WEB_FEEDBACK | {"data": given | {"rating": -1}}))
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


def ups(path: Path, **options: Any) -> list[bool]:
    return [record.up for record in read(path, **options).others if isinstance(record, Thumb)]


def test_two_criteria_of_stars_make_no_order_and_none_is_lost(tmp_path: Path) -> None:
    def stars(tag: str, to: str, number: int) -> dict[str, Any]:
        return result("rating", to, rating=number) | {"from_name": tag}

    row = task(
        stars("helpful", "answer1", 5),
        stars("honest", "answer1", 1),
        stars("helpful", "answer2", 2),
        stars("honest", "answer2", 4),
        result("textarea", "prompt", text=["Good day."]) | {"from_name": "better answer"},
    )
    found = read(wrote(tmp_path, row), keep_extra=True)
    assert found.rankings == []
    kept = {"helpful of answer1": 5, "honest of answer1": 1, "helpful of answer2": 2, "honest of answer2": 4}
    assert [value for prompt in found.prompts for value in prompt.extra.values() if isinstance(value, dict)] == [{"labeler": "1"} | kept]
    toxic = task(stars("toxicity", "answer1", 5), stars("toxicity", "answer2", 1))
    assert read(wrote(tmp_path, toxic), keep_extra=True).rankings == []


@pytest.mark.parametrize(
    ("choices", "thumbs", "ranks"),
    [
        ([("harmful", "answer1", "yes")], [], 0),
        ([("helpful", "answer1", "yes")], [True], 0),
        ([("unhelpful", "answer1", "no")], [], 0),
        ([("question", "answer1", "good")], [True], 0),
        ([("correct", "answer1", "yes"), ("polite and good", "answer1", "no")], [], 0),
        ([("more_harmful", "prompt", "answer2")], [], 0),
        ([("better", "prompt", "answer2")], [], 1),
        ([("better", "prompt", "answer2"), ("best_style", "prompt", "answer1")], [], 0),
    ],
)
def test_a_choice_is_a_judgement_only_if_its_tag_asks_for_one(
    tmp_path: Path, choices: list[tuple[str, str, str]], thumbs: list[bool], ranks: int
) -> None:
    path = wrote(tmp_path, task(*(result("choices", to, choices=[said]) | {"from_name": tag} for tag, to, said in choices)))
    found = read(path, keep_extra=True)
    assert (ups(path, keep_extra=True), len(found.rankings)) == (thumbs, ranks)
    if not thumbs and not ranks:
        noted = {tag for prompt in found.prompts for value in prompt.extra.values() if isinstance(value, dict) for tag in value}
        assert noted >= {tag for tag, _, _ in choices}


def test_names_of_models_are_no_answers(tmp_path: Path) -> None:
    row = {"id": 7, "prompt": "Hi", "model_a": "big", "model_b": "small", "answer1": "Hello", "answer2": "Go", "pw": "left"}
    found = read(wrote(tmp_path, row | {"annotator": 1, "annotation_id": 1}), drop=("model_a", "model_b"))
    assert sorted(response.text for response in found.responses) == ["Go", "Hello"]
    found = read(wrote(tmp_path, row | {"annotator": 1, "annotation_id": 1}), keep_extra=True)
    assert sorted(response.text for response in found.responses) == ["Go", "Hello"]
    bare = {name: value for name, value in row.items() if not name.startswith("answer")}
    with pytest.raises(InputError, match="not known which columns are the two answers: model_a and model_b"):
        read(wrote(tmp_path, bare | {"annotator": 1, "annotation_id": 1}))


@pytest.mark.parametrize(
    ("score", "thumbs"),
    [
        ({"name": "accuracy", "value": 1}, []),
        ({"name": "toxic", "value": 1, "dataType": "BOOLEAN", "stringValue": "True"}, []),
        ({"name": "user-feedback", "value": 1, "dataType": "BOOLEAN", "stringValue": "True"}, [True]),
        ({"name": "helpful", "dataType": "CATEGORICAL", "stringValue": "no", "value": 0}, [False]),
    ],
)
def test_a_score_is_a_thumb_only_if_its_name_asks_for_approval(tmp_path: Path, score: dict[str, Any], thumbs: list[bool]) -> None:
    path = wrote(tmp_path, TRACE_OF | {"scores": [{"source": "API", **score}]})
    assert ups(path) == thumbs
    assert read(path).prompts[0].extra["trace-t"]["scores"][0]["name"] == score["name"]  # type: ignore[index]


def test_half_a_pair_deep_in_a_chat_is_refused(tmp_path: Path) -> None:
    asked = {"id": "u", "parentId": None, "childrenIds": ["a"], "role": "user", "content": "Hi"}
    said = {"id": "a", "parentId": "u", "childrenIds": [], "role": "assistant", "content": "Hm\ud800", "model": "tiny"}
    chat = {"id": "c", "user_id": "ann", "chat": {"history": {"messages": {"u": asked, "a": said}, "currentId": "a"}}}
    with pytest.raises(InputError, match="half of a surrogate pair"):
        read(wrote(tmp_path, chat))


def test_answers_that_were_passed_over_are_not_equal(tmp_path: Path) -> None:
    """One pair for each: that the two others are equally good is said by nobody."""
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    found = read(wrote(tmp_path, {"messages": turns, "rejected_response": ["Go", "Hm"]}))
    assert [ranking.ranks for ranking in found.rankings] == [(1, 2), (1, 2)]
    third = {"id": "c", "parentId": "u", "childrenIds": [], "role": "assistant", "content": "Hm", "model": "tiny"}
    messages = {**WEB_MESSAGES, "c": third, "u": WEB_MESSAGES["u"] | {"childrenIds": ["a", "b", "c"]}}
    given: Any = WEB_FEEDBACK["data"]
    data = given | {"sibling_model_ids": ["small", "tiny"]}
    found = read(wrote(tmp_path, WEB_FEEDBACK | {"data": data, "snapshot": {"chat": {"chat": {"history": {"messages": messages}}}}}))
    texts = {response.id: response.text for response in found.responses}
    assert [[texts[id] for id in ranking.response_ids] for ranking in found.rankings] == [["Hello", "Go"], ["Hello", "Hm"]]


@pytest.mark.parametrize(
    ("column", "values", "thumbs"),
    [
        ("rating", [1, 5, 3, 1], None),
        ("rating", [1, 1], None),
        ("rating", [1, -1], [True, False]),
        ("rating", [1, 0], [True, False]),
        ("rating", [1, 0, -1], None),
        ("feedback", ["no", "It is too long.", "no"], None),
        ("feedback", ["good", "", "bad"], [True, False]),
        ("label", [1, 2, 1], None),
    ],
)
def test_a_column_is_of_thumbs_by_all_its_rows(tmp_path: Path, column: str, values: list[Any], thumbs: list[bool] | None) -> None:
    rows = [{"prompt": f"{n}?", "response": "Yes.", column: value} for n, value in enumerate(values)]
    if thumbs is not None:
        assert ups(wrote(tmp_path, *rows)) == thumbs
        return
    with pytest.raises(InputError, match=column):
        read(wrote(tmp_path, *rows))
    assert ups(wrote(tmp_path, *rows), keep_extra=True) == [], "not even some of them"


def test_a_later_row_that_breaks_the_rule_is_refused(tmp_path: Path) -> None:
    rows = [{"prompt": f"{n}?", "response": "Yes.", "rating": n % 2} for n in range(100)]
    with pytest.raises(InputError, match="'4' says neither up nor down"):
        read(wrote(tmp_path, *rows, {"prompt": "Last?", "response": "Yes.", "rating": 4}))


@pytest.mark.parametrize(("judge", "kind"), [("gpt-4", "model"), ("claude-v1", "model"), ("author_2", "person"), ("expert_0", "person")])
def test_a_model_that_judged_is_no_person(tmp_path: Path, judge: str, kind: str) -> None:
    sides = {f"conversation_{side}": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": side}] for side in "ab"}
    found = read(wrote(tmp_path, {**sides, "winner": "model_a", "model_a": "x", "model_b": "y", "judge": judge}))
    assert [(labeler.id, labeler.kind) for labeler in found.labelers] == [(judge, kind)]
