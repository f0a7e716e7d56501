"""Argilla's records, FastChat's votes and Potato's instances come in with all that they say; what is not understood is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from annotated_excerpts import ANN, ANSWERS, ARGILLA, ARGILLA_SERVER, BOB, FLAT, HUB, POTATO, POTATO_TABLE, record, says, state, vote

from accord.data.formats_argilla import user_id
from accord.data.importers import Imported, read
from accord.data.spans import Span
from accord.errors import InputError
from accord.records import Thumb


def of(folder: Path, *rows: dict[str, Any]) -> Imported:
    path = folder / "rows.json"
    path.write_text(json.dumps(rows), "utf-8")
    return read(path)


def test_annotators_times_ties_suggestions_and_other_answers_of_argilla(tmp_path: Path) -> None:
    found = of(tmp_path, ARGILLA, ARGILLA_SERVER)
    assert [(one.labeler, one.ranks, one.at) for one in found.rankings] == [(ANN, (1, 2), ""), (BOB, (1, 1), "2024-05-01T10:00:00")]
    assert "unread" not in found.metrics or set(found.metrics["unread"]) <= {"metadata"}
    extra = found.prompts[0].extra
    assert ARGILLA["suggestions"] in extra.values()
    assert {"labeler": ANN, "clear": "very"} in extra.values()


def test_columns_of_the_hub_and_of_the_library_say_the_same(tmp_path: Path) -> None:
    found = of(tmp_path, HUB, FLAT)
    texts = {response.id: response.text for response in found.responses}
    assert [[texts[id] for id in one.response_ids] for one in found.rankings] == [["No idea.", "At the market."]]
    assert [(one.labeler, one.up) for one in found.others if isinstance(one, Thumb)] == [(ANN, True), (BOB, False)]
    assert str(found.prompts[0].extra).count("big-model") == 2


def test_stars_a_choice_a_rewrite_and_spans_of_argilla(tmp_path: Path) -> None:
    stars = record({"rating_1": [says(ANN, 2)], "rating_2": [says(ANN, 5)]})
    chosen = record({"best": [says(ANN, "response_2"), says(BOB, "tie")]}, prompt="Who sells it?", **ANSWERS)
    marked = record(
        {"errors": [says(ANN, [{"start": 0, "end": 2, "label": "wrong"}])], "corrected": [says(ANN, "In the shop.")]},
        prompt="Where?",
        response="At the market.",
    )
    found = of(tmp_path, stars, chosen, marked)
    assert [(one.labeler, one.ranks) for one in found.rankings] == [(ANN, (2, 1)), (ANN, (2, 1)), (BOB, (1, 1))]
    assert [(one.kind, one.start, one.end, one.labeler) for one in found.others if isinstance(one, Span)] == [("wrong", 0, 2, ANN)]
    assert [(one.text, one.labeler) for one in found.demonstrations] == [("In the shop.", ANN)]


def test_a_record_without_a_submitted_answer_is_counted(tmp_path: Path) -> None:
    found = of(tmp_path, ARGILLA, record({}), record({"best": [says(ANN, "response_1", status="draft")]}))
    assert found.metrics["dropped"] == {"record without a submitted answer": 2}


def test_a_chat_is_a_prompt(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}, {"role": "user", "content": "Bread?"}]
    found = of(tmp_path, record({"best": [says(ANN, "response_1")]}, prompt=turns, **ANSWERS))
    assert [message.content for message in found.prompts[0].messages] == ["Hi", "Hello", "Bread?"]


def test_the_name_beside_the_id_that_we_wrote_is_the_labelers(tmp_path: Path) -> None:
    ours = {"metadata": {"labeler": "ann"}}
    found = of(
        tmp_path,
        record({"best": [says(user_id("ann"), "response_1")]}) | ours,
        record({"best": [says(BOB, "response_2")]}, prompt="Who?", **ANSWERS) | {"metadata": {"labeler": BOB}},
    )
    assert [one.labeler for one in found.rankings] == ["ann", BOB]


def test_models_system_turns_and_failed_answers_of_a_vote(tmp_path: Path) -> None:
    same = [state("Here.", "m1", system="Be brief."), state("There.", "m2", system="Be brief.")]
    other = [state("Here.", "m1", system="Be brief.", asked="Where?"), state("There.", "m2", asked="Where?")]
    failed = [state("Here.", "m1"), state("**API REQUEST ERROR** Reason: unknown", "m2")]
    unanswered = [state("Here.", "m1"), state(None, "m2")]
    few = [["USER", "1?"], ["ASSISTANT", "1"], ["USER", "2?"], ["ASSISTANT", "2"]]
    shot = [state("", "m1", messages=few, offset=2), state("", "m2", messages=[*few[:3], ["ASSISTANT", "two"]], offset=2)]
    found = of(tmp_path, *(vote("leftvote", states=states) for states in (same, other, failed, unanswered, shot)))
    assert [[message.content for message in prompt.messages] for prompt in found.prompts] == [
        ["Be brief.", "Where is bread sold?"],
        ["Where?"],
        ["2?"],
    ]
    assert {response.model for response in found.responses} == {"m1", "m2"}
    assert found.metrics["dropped"] == {"vote on an answer that failed or is missing": 2}
    assert found.metrics["left_out"] == {"system turns, which differ between the two models": 1}
    assert found.rankings[0].at == "2023-04-24T15:53:11+00:00"


def test_no_address_of_a_voter_is_stored(tmp_path: Path) -> None:
    found = of(tmp_path, vote("leftvote"), vote("bothbad_vote"))
    assert "192.0.2.7" not in repr(found)
    assert found.metrics["unread"] == {"ip": 2}


def mangled(**fields: Any) -> dict[str, Any]:
    return vote("leftvote", states=[state("Here.", "m1"), state("There.", "m2", **fields)])


def test_annotators_and_labels_of_potato(tmp_path: Path) -> None:
    found = of(tmp_path, POTATO, POTATO_TABLE, POTATO | {"label_annotations": {"preference": {}}})
    assert [one.labeler for one in found.rankings] == ["annotator-7", "bob@x"]
    said = found.prompts[0].extra.values()
    assert {"labeler": "annotator-7", "topic": {"food": "1"}} in said
    assert {prompt.user for prompt in found.prompts} == {""}
    assert {"labeler": "bob@x", "strength": {"scale_value": "-2"}} in said
    assert found.metrics["dropped"] == {"instance without an annotation": 1}


def test_the_folder_names_the_annotator_of_potato(tmp_path: Path) -> None:
    (tmp_path / "carl").mkdir()
    path = tmp_path / "carl" / "annotated_instances.jsonl"
    path.write_text(json.dumps({name: value for name, value in POTATO.items() if name != "user_id"}), "utf-8")
    assert [one.labeler for one in read(path).rankings] == ["carl"]


TWO = {"fluent": {"selection": "A"}, "true": {"selection": "B"}}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "an order of what is not there": (
        record({"order": [says(ANN, [{"value": "answer_9", "rank": 1}, {"value": "response_1", "rank": 2}])]}),
        r'responses.order\[0\].value": the ranked .answer_9. is no answer',
    ),
    "a rank of 0": (
        record({"order": [says(ANN, [{"value": "response_1", "rank": 0}, {"value": "response_2", "rank": 1}])]}),
        r'responses.order\[0\].value": ranks are whole numbers',
    ),
    "a status that is none": (
        record({"best": [says(ANN, "response_1", status="sent")]}),
        r'responses.best\[0\].status": .sent. is none of',
    ),
    "an answer without a value": (record({"best": [{"user_id": ANN}]}), r'responses.best\[0\].value": missing'),
    "a span past the end": (
        record({"errors": [says(ANN, [{"start": 3, "end": 99, "label": "x"}])]}, prompt="Hi", response="Short."),
        r'responses.errors\[0\].value": the span .* is not within the 6 characters',
    ),
    "no prompt": (record({"best": [says(ANN, "a")]}) | {"fields": ANSWERS}, 'fields.prompt": no field holds the prompt'),
    "a field that nobody reads": (
        record({"best": [says(ANN, "response_1")]}, prompt="Hi", context="Ann.", **ANSWERS),
        "does not read fields.context",
    ),
    "more answers than annotators": (FLAT | {"quality.responses.users": [ANN]}, 'quality.responses": 2 answers of 1 annotators'),
    "a suggestion of a question nobody answered": (HUB | {"rank-suggestion": 1, "best_answer": "x"}, "does not read .*best_answer"),
    "an instance without its prompt": (POTATO | {"prompt": None}, 'prompt": Potato.s output does not hold the prompt'),
    "a choice of neither": (
        POTATO | {"label_annotations": {"preference": {"selection": "Left"}}},
        'label_annotations.preference.selection": .Left. is none of A, B, tie',
    ),
    "two comparisons": (POTATO | {"label_annotations": TWO}, 'label_annotations.fluent.selection": 2 comparisons .fluent, true.'),
    "a scale in words": (POTATO_TABLE | {"strength:::scale_value": "much"}, 'strength:::scale_value": not a number'),
    "three answers": (POTATO | {"displayed_text": "A. x<br>B. y<br>C. z"}, 'displayed_text": the two answers are not known'),
    "a vote on one conversation": (vote("leftvote", states=[state("Here.", "m1")]), 'states": a vote is between two'),
    "a turn that is no pair": (mangled(messages=["Hi"]), r'states\[1\].messages\[0\]": not a role and a text'),
    "a picture": (mangled(messages=[["USER", ["Hi", ["x.png"]]], ["ASSISTANT", "Hm"]]), r'states\[1\].messages\[0\]": not a text'),
    "two questions in a row": (
        mangled(messages=[["USER", "Hi"], ["USER", "Well"], ["ASSISTANT", "Hm"]]),
        r'states\[1\].messages\[1\]": roles out of order',
    ),
}


@pytest.mark.parametrize(("row", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_understood_is_refused_by_the_name_of_its_field(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        of(tmp_path, row)
