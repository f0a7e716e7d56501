"""Every format becomes the records that it means, is told by looking, and loses nothing without a word."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from excerpts import ASK, BENCH, FINE, FLAT, FORMATS, TREE, message

from accord.data.export_formats import SHAPES
from accord.data.importers import Imported, read
from accord.data.registry import FORMATS as KNOWN
from accord.data.spans import Span
from accord.errors import InputError
from accord.records import Thumb

DOCS = Path(__file__).parents[2] / "docs"


def wrote(folder: Path, rows: list[Any], name: str = "rows.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def facts(found: Imported, wanted: dict[str, Any]) -> dict[str, Any]:
    """What is wanted to be known of an import."""
    texts = {response.id: response.text for response in found.responses}
    facts = {
        "ranks": [ranking.ranks for ranking in found.rankings],
        "said": [texts[id] for ranking in found.rankings for id in ranking.response_ids],
        "quality": [rating.quality for ranking in found.rankings for rating in ranking.ratings],
        "written": [(d.prompt.messages[-1].content, d.text) for d in found.demonstrations],
        "use_cases": [prompt.use_case for prompt in found.prompts],
        "splits": [prompt.split for prompt in found.prompts],
        "thumbs": [other.up for other in found.others if isinstance(other, Thumb)],
        "spans": [(other.start, other.end, other.kind) for other in found.others if isinstance(other, Span)],
        "prompts": len(found.prompts) - len({d.prompt.id for d in found.demonstrations}),
        "responses": len(found.responses),
    }
    return {key: facts.get(key, found.metrics.get(key)) for key in wanted}


@pytest.mark.parametrize("format", FORMATS)
def test_rows_become_what_they_mean_and_the_format_is_told_from_them(tmp_path: Path, format: str) -> None:
    rows, wanted = FORMATS[format]
    path = wrote(tmp_path, rows)
    found = read(path)
    assert facts(found, wanted) == wanted
    figures = found.metrics
    assert figures["format"] == format
    assert figures["read"] == figures["kept"] + sum(figures["dropped"].values())
    assert read(path, format) == found
    for kind in ("demonstrations", "rankings"):
        if kind[:4] not in "".join({"written": "demo", "ranks": "rank"}.get(key, "") for key in wanted):
            assert not getattr(found, kind)


def test_every_format_has_an_example() -> None:
    elsewhere = {
        "accord",
        "grounded",
        "self-instruct-written",
        "pku-safer",
        "rankings",
        "responses",
        "mt-bench-answers",
        "demonstrations",
        "prompts",
        "text",
    }
    assert set(KNOWN) == set(FORMATS) | elsewhere


def test_the_page_has_the_formats_in_the_order_in_which_they_are_tried() -> None:
    assert re.findall(r"^\| `([\w-]+)` \|", (DOCS / "formats.md").read_text("utf-8"), re.MULTILINE) == [*KNOWN]


def test_the_page_of_export_has_every_shape() -> None:
    listed = dict[str, list[str]]()
    for line in re.findall(r"^\| `.*", (DOCS / "export.md").read_text("utf-8"), re.MULTILINE):
        what, formats = line.split("|")[1:3]
        listed.update({kind: re.findall("`(.+?)`", formats)[1:] for kind in re.findall("`(.+?)`", what)})
    assert {(kind, format) for kind, formats in listed.items() for format in formats} == {*SHAPES}


def test_a_conversation_goes_along_with_what_answers_it(tmp_path: Path) -> None:
    found = read(wrote(tmp_path, [{"prompt": TREE, "message_tree_id": "1"}]))
    (written,) = found.demonstrations
    assert [m.content for m in written.prompt.messages] == ["Where is bread sold?", "At the market.", "When?"]
    assert [m.role for m in written.prompt.messages] == ["user", "assistant", "user"]


def test_the_two_forms_of_a_tree_say_the_same(tmp_path: Path) -> None:
    one = read(wrote(tmp_path, [{"prompt": TREE, "message_tree_id": "1"}], "a.jsonl"))
    two = read(wrote(tmp_path, [TREE], "a.jsonl"))
    assert (one.prompts, one.rankings, one.demonstrations) == (two.prompts, two.rankings, two.demonstrations)


def test_ranked_replies_beyond_nine_and_a_missing_parent(tmp_path: Path) -> None:
    replies = [message(str(n), "assistant", f"Answer {n}", rank=n) for n in range(11)]
    found = read(wrote(tmp_path, [message("r", "prompter", "Why?", *replies)]))
    assert found.rankings[0].ranks == tuple(range(1, 10))
    assert found.metrics["left_out"] == {"ranked reply beyond the ninth": 2}
    with pytest.raises(InputError, match=r'rows.jsonl:4, field "parent_id": no message before it'):
        read(wrote(tmp_path, [*FLAT[:3], FLAT[4]]))


def test_pairs_that_agree_with_no_order_stay_pairs(tmp_path: Path) -> None:
    circle = FINE | {"preference": [1, 2, 0, 1, 0, 0]}
    found = read(wrote(tmp_path, [circle]))
    assert [ranking.ranks for ranking in found.rankings] == [(1, 2), (2, 1), (1, 1), (1, 2), (1, 1), (1, 1)]
    with pytest.raises(InputError, match='field "preference": not six numbers 0, 1 or 2'):
        read(wrote(tmp_path, [FINE | {"preference": [1, 2]}]))


def test_a_response_that_was_read_and_not_marked_says_so(tmp_path: Path) -> None:
    clean = FINE | {"feedback": {"errors": [], "corrected-prediction": ""}}
    (span,) = (other for other in read(wrote(tmp_path, [clean])).others if isinstance(other, Span))
    assert (span.kind, span.start, span.end) == ("", 0, len(FINE["prediction 1"]))
    with pytest.raises(InputError, match=r'field "feedback\.errors\[0\]\.end": 3 to 99 is not within'):
        read(wrote(tmp_path, [FINE | {"feedback": {"errors": [{"error type": "x", "start": 3, "end": 99}]}}]))


def test_solutions_that_are_right_and_wrong_are_ranked(tmp_path: Path) -> None:
    solved = {"question": "2+2?", "ground_truth": "4", "small": {"is_correct": False, "solution": "5"}}
    found = read(wrote(tmp_path, [solved | {"large": {"is_correct": True, "solution": "4"}}]))
    assert (found.rankings[0].ranks, {r.model for r in found.responses}) == ((2, 1), {"small", "large"})
    same = read(wrote(tmp_path, [solved | {"large": {"is_correct": False, "solution": "6"}}]))
    assert (len(same.responses), same.rankings) == (2, [])


def test_answers_of_a_bench_find_their_questions_in_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "bench"
    folder.mkdir()
    wrote(folder, [BENCH], "question.jsonl")
    answer = {"question_id": 81, "answer_id": "a", "model_id": "m", "choices": [{"index": 0, "turns": ["Dear Ann", "Ann"]}]}
    alone = wrote(tmp_path, [answer], "m.jsonl")
    wrote(folder, [answer], "m.jsonl")
    found = read(folder)
    assert [(r.model, r.text, r.prompt_id) for r in found.responses] == [("m", "Dear Ann", found.prompts[0].id)]
    with pytest.raises(InputError, match='field "question_id": no question 81 was read beside it'):
        read(alone)


def test_written_tasks_and_lists_of_questions(tmp_path: Path) -> None:
    task = {"instruction": "Add.", "instances": [{"input": "1, 1", "output": "2"}, {"input": "2, 2", "output": "4"}]}
    assert [d.text for d in read(wrote(tmp_path, [task]), "self-instruct-written").demonstrations] == ["2", "4"]
    assert [p.messages[0].content for p in read(wrote(tmp_path, ["Why?", "Who?"])).prompts] == ["Why?", "Who?"]


OTHER = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "y"}]
ODD: dict[str, tuple[Any, str]] = {
    "roles out of order": ({"messages": [*ASK, *ASK]}, r'messages\[1\]\.role": roles out of order: \'user\' after \'user\''),
    "an answer first": ({"conversations": [{"from": "gpt", "value": "x"}]}, r'conversations\[0\]\.from": roles out of order'),
    "a parent that is no id": (FLAT[1] | {"parent_id": {"a": 1}}, 'field "parent_id": not a string'),
    "a late system turn": ({"messages": [*ASK, {"role": "system", "content": "x"}]}, "a system turn must be the first"),
    "a picture": ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "a part is a picture, but names none"),
    "a NUL": ({"prompt": "a\0b"}, 'field "prompt": contains a NUL'),
    "a system turn alone": ({"messages": [{"role": "system", "content": "x"}]}, "without a user turn"),
    "a label that is none": ({"prompt": "x", "completion": "y", "label": "maybe"}, 'field "label": neither true nor false'),
    "a rating that is none": ({"prompt": "x", "response": "y", "helpfulness": "good"}, "helpfulness"),
    "an unknown line of ours": ({"accord": "song"}, "'song' cannot be imported"),
    "history without a question": ({"history": ["x", {"a": 1}], "responses": "y"}, "history"),
    "another prompt": ({"prompt": ASK, "chosen": OTHER, "rejected": "z"}, 'field "chosen": answers another prompt'),
    "a label out of range": (FORMATS["bbq"][0][0] | {"label": 3}, 'field "label": 3 is none of 0, 1, 2'),
}


@pytest.mark.parametrize(("row", "message"), ODD.values(), ids=ODD)
def test_a_row_that_breaks_its_format_is_named(tmp_path: Path, row: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(wrote(tmp_path, [row]))


def test_columns_by_other_names(tmp_path: Path) -> None:
    path = wrote(tmp_path, [{"q": "Why?", "best": {"text": "So."}}])
    found = read(path, columns={"prompt": "q", "response": "best.text"})
    assert [(d.prompt.messages[0].content, d.text) for d in found.demonstrations] == [("Why?", "So.")]
    with pytest.raises(InputError, match=r'rows.jsonl:1, field "answer": there is no such column \(the row has q, best\)'):
        read(path, columns={"prompt": "q", "response": "answer"})
