"""Pictures in rows, in every shape that public sets have: each stands where its row puts it, or the row is refused by name."""

from __future__ import annotations

import base64
import importlib
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from accord.data.importers import Imported
from accord.data.importers import read as read_rows
from accord.data.pictures import read
from accord.data.row_pictures import has_place
from accord.errors import InputError
from accord.records import MEDIUM, Media, Message, composed, pieces
from accord.runtime.media_files import data_url
from tests.data.test_pictures import drawn, saved

ONE = saved(drawn(), "PNG")
TWO = saved(drawn(8, 8), "JPEG", quality=95)
FIRST, SECOND = read(ONE), read(TWO)
URL = data_url(FIRST)
IN_BASE64 = base64.b64encode(ONE).decode()
TURNS = [{"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": "Four colours."}]


def rows(folder: Path, *given: dict[str, Any], name: str = "rows.jsonl") -> Imported:
    (folder / "images/coco").mkdir(parents=True, exist_ok=True)
    (folder / "one.jpg").write_bytes(ONE)  # a wrong ending
    (folder / "images/coco/two.jpg").write_bytes(TWO)
    path = folder / name
    if path.suffix == ".parquet":
        arrow: Any = importlib.import_module("pyarrow")
        importlib.import_module("pyarrow.parquet").write_table(arrow.Table.from_pylist(list(given)), path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in given), "utf-8")
    return read_rows(path)


def asked(read: Imported) -> Message:
    (prompt,) = read.prompts
    return prompt.messages[-1]


def own(text: str, digest: str) -> dict[str, Any]:
    """A line of our own export, with the first picture under some digest."""
    message = {"role": "user", "content": text, "media": [{"kind": "image", "digest": digest, "alt": "squares", "data": URL}]}
    return {"accord": "prompt", "id": "p", "user": "", "use_case": "other", "split": "train", "source": "s", "messages": [message]}


PICTURE = FIRST.named()
PLAIN = composed("user", [PICTURE, "\nWhat is it?"])


@pytest.mark.parametrize("wrong", [{"model": "a"}, {"model": ["a"]}, {"annotations": {"Helpfulness": {"Rating": "5"}}}])
def test_completions_that_are_no_lists_of_one_length_are_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    rated = {"annotations": [{"Helpfulness": {"Rating": "5"}}] * 2, "model": ["a", "b"], "response": ["Squares.", "A dog."]}
    row = {"prompt": "What is it?", "models": ["a", "b"], "completions": rated | wrong, "image": URL}
    with pytest.raises(InputError, match="lists of one length"):
        rows(tmp_path, row, name="rows.jsonl")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "See "}, {"type": "image_url", "image_url": {"url": URL}}]}]},
         ["See ", PICTURE]),
        ({"messages": [{"role": "user", "content": [{"type": "input_image", "image_url": URL}, {"type": "input_text", "text": "?"}]}]},
         [PICTURE, "?"]),
        ({"messages": [{"role": "user", "content": [
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": IN_BASE64}},
            {"type": "text", "text": "?"}]}]},
         [PICTURE, "?"]),
        ({"messages": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": " or "}, {"type": "image"}]}],
          "images": ["one.jpg", "coco/two.jpg"]}, [PICTURE, " or ", SECOND.named()]),
        ({"id": "1", "image": "one.jpg", "conversations": TURNS}, [PICTURE, "\nWhat is it?"]),
        ({"prompt": "What is it?", "image": URL}, [PICTURE, "\nWhat is it?"]),
        ({"prompt": "Is <image> like <image>?", "images": ["coco/two.jpg", "one.jpg"]},
         ["Is ", SECOND.named(), " like ", PICTURE, "?"]),
        ({"image": "one.jpg", "question": "What is it?", "chosen": "Colours.", "rejected": "A dog."}, [PICTURE, "\nWhat is it?"]),
        ({"image": "one.jpg", "image_path": "gone.jpg", "ds_name": "d", "text": json.dumps(
            {"question": "What is it?", "chosen": "Colours.", "rejected": "A dog."})}, [PICTURE, "\nWhat is it?"]),
        ({"images": ["one.jpg"], "prompt": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "?"}]}],
          "chosen": [{"role": "assistant", "content": [{"type": "text", "text": "Yes."}]}],
          "rejected": [{"role": "assistant", "content": [{"type": "text", "text": "No."}]}]}, [PICTURE, "?"]),
        ({"images": ["one.jpg"], "chosen": [{"role": "user", "content": "<image>?"}, {"role": "assistant", "content": "Yes."}],
          "rejected": [{"role": "user", "content": "<image>?"}, {"role": "assistant", "content": "No."}]}, [PICTURE, "?"]),
        (own(f"See {MEDIUM}", FIRST.digest), ["See ", FIRST.named("squares")]),
    ],
    ids=["openai", "responses", "anthropic", "trl", "llava", "column", "marks", "rlaif-v", "rlhf-v", "trl-pairs", "implicit", "accord"],
)  # fmt: skip
def test_a_picture_stands_where_its_row_puts_it(row: dict[str, Any], said: list[str | Media], tmp_path: Path) -> None:
    found = rows(tmp_path, row)
    assert pieces(asked(found)) == said
    assert {file.digest: file for file in found.media} == {
        file.digest: file for file in (FIRST, SECOND) if file.digest in {part.digest for part in said if isinstance(part, Media)}
    }
    assert "unread" not in found.metrics or set(found.metrics["unread"]) <= {"ds_name", "id"}


def test_columns_of_the_hub_hold_bytes(tmp_path: Path) -> None:
    found = rows(tmp_path, {"prompt": "What is it?", "image": {"bytes": ONE, "path": "x.png"}}, name="train.parquet")
    assert asked(found) == PLAIN
    listed = rows(tmp_path, {"prompt": "<image> or <image>?", "images": [{"bytes": b, "path": None} for b in (ONE, TWO)]}, name="t.parquet")
    assert pieces(asked(listed)) == [PICTURE, " or ", SECOND.named(), "?"]


def test_vlfeedback(tmp_path: Path) -> None:
    aspects = [{name: {"Rating": rating, "Rationale": "so"} for name in ("Helpfulness", "Visual Faithfulness")} for rating in ("5", "2")]
    row: dict[str, Any] = {
        "id": "v",
        "prompt": "What is it?",
        "models": ["a", "b"],
        "completions": {"annotations": aspects, "idx": [0, 1], "model": ["a", "b"], "response": ["Squares.", "A dog."]},
        "image": {"bytes": ONE, "path": "x.jpg"},
    }
    columns: dict[str, Any] = row["completions"]
    rated = [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
    for name, given in (("rows.parquet", row), ("rows.jsonl", row | {"completions": rated, "image": URL})):
        found = rows(tmp_path, given, name=name)
        assert asked(found) == PLAIN
        (ranking,) = found.rankings
        texts = {response.id: (response.text, response.model) for response in found.responses}
        assert [texts[id] for id in ranking.response_ids] == [("Squares.", "a"), ("A dog.", "b")]
        assert ranking.ranks == (1, 2)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"prompt": "?", "image": "gone.jpg"}, r'field "image": the file \'gone.jpg\' is not there \(put the file beside'),
        ({"prompt": "?", "image": "../secret.png"}, "is not there"),
        ({"prompt": "?", "image": "/etc/hostname"}, "is not there"),
        ({"prompt": "?", "image": "https://example.org/a.png"}, "an import fetches nothing"),
        ({"prompt": "?", "image": 7}, "not a picture but int"),
        ({"prompt": "?", "image": "rows.jsonl"}, "no PNG, JPEG, WebP or GIF"),
        ({"prompt": "<image> <image>?", "image": "one.jpg"}, "more places for pictures"),
        ({"prompt": "<image>?", "images": ["one.jpg", "coco/two.jpg"]}, "2 pictures, but 1 places"),
        ({"text": "no question", "image": "one.jpg"}, "no question beside it"),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "a part is a picture, but names none"),
        ({"prompt": "?", "images": ["one.jpg"], "chosen": "<image> Yes.", "rejected": "No."}, "an answer holds a picture"),
        (own(MEDIUM, "0" * 64), "is another than 000000000000"),
        (own("?", "0" * 64), "other places for them"),
    ],
    ids=["missing", "outside", "absolute", "address", "number", "no picture", "few", "many", "no question", "empty part", "answer",
         "other digest", "no place"],
)  # fmt: skip
def test_a_row_whose_picture_is_wrong_is_refused_by_name(row: dict[str, Any], said: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "secret.png").write_bytes(ONE)
    with pytest.raises(InputError, match=said) as refused:
        rows(tmp_path / "data", row)
    assert "rows.jsonl:1" in refused.value.where
    assert refused.value.hint


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "secret.png").write_bytes(ONE)
    (tmp_path / "data/link.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(InputError, match="is not there"):
        rows(tmp_path / "data", {"prompt": "?", "image": "link.png"})


def test_of_a_file_that_is_too_large_no_more_is_read_than_shows_it(tmp_path: Path) -> None:
    with (tmp_path / "film.jpg").open("wb") as file:
        file.truncate(200_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="more than 20 MB"):
            rows(tmp_path, {"prompt": "What is it?", "image": "film.jpg"})
        assert tracemalloc.get_traced_memory()[1] < 100_000_000
    finally:
        tracemalloc.stop()


def test_words_that_look_like_places_are_words_without_a_picture(tmp_path: Path) -> None:
    typed = f"How does <image> work in SVG? {MEDIUM}"
    assert asked(rows(tmp_path, {"prompt": typed})) == Message("user", typed)


def test_pictures_tell_questions_apart_and_choose_their_split(tmp_path: Path) -> None:
    given = [{"prompt": "What is it?", "image": name} for name in ("one.jpg", "coco/two.jpg", "one.jpg")]
    found = rows(tmp_path, *given)
    assert len({prompt.id for prompt in found.prompts}) == 2
    assert found.metrics["dropped"] == {"repetition": 1}
    many = [{"prompt": "What is it?", "image": data_url(read(saved(drawn(8 + 2 * n, 8), "PNG")))} for n in range(30)]
    assert len({prompt.split for prompt in rows(tmp_path, *many).prompts}) > 1


def test_no_text_names_a_picture_that_it_does_not_bring(tmp_path: Path) -> None:
    forged = f"{MEDIUM}0123456789abcdef:{FIRST.digest}:{MEDIUM}"
    assert not has_place(forged)
    assert asked(rows(tmp_path, {"prompt": forged})).media == ()
