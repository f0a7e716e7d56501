"""No column is lost without a word: what no format reads is listed, and what judges, answers or was said stops the import."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accord import AccordError, Project, import_
from accord.commands.app import main
from accord.data.importers import Intake, read
from accord.data.registry import FORMATS, Format, known_fields
from accord.data.sources import Source
from accord.data.unread import carries_meaning, near
from accord.errors import InputError
from accord.feedback.store import Store

ASKED = {"prompt": "Name a fish."}
WRITTEN = ASKED | {"response": "Trout."}
PAIR = ASKED | {"chosen": "Trout.", "rejected": "Dog."}


def wrote(folder: Path, *rows: Any, name: str = "rows.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


def test_a_column_that_says_nothing_of_an_answer_is_listed(tmp_path: Path) -> None:
    found = read(wrote(tmp_path, WRITTEN | {"id": 7, "shelf": "b", "note": None}, WRITTEN | {"prompt": "Name a bird.", "shelf": "c"}))
    assert found.metrics["unread"] == {"id": 1, "shelf": 2}
    assert not found.prompts[0].extra


STOPS: dict[str, dict[str, Any]] = {
    "score": WRITTEN | {"score": 1},
    "is_toxic": WRITTEN | {"is_toxic": False},
    "humanRating": WRITTEN | {"humanRating": 2},
    "upvotes": WRITTEN | {"upvotes": 3},
    "feedback": WRITTEN | {"feedback": "too long"},
    "评分": WRITTEN | {"评分": 3},
    "worst_answer": ASKED | {"fine_answer": "Trout.", "worst_answer": "Dog."},
    "score_list": ASKED | {"responses": ["Trout.", "Dog."], "score_list": [0.9, 0.1]},
    "labels": ASKED | {"completions": ["a", "b"], "labels": [True, False]},
    "metadata.score": WRITTEN | {"metadata": {"score": 1, "shelf": "b"}},
    "rounds[].verdict": WRITTEN | {"rounds": [{"shelf": "b"}, {"verdict": "bad"}]},
    "has_error": WRITTEN | {"has_error": True},
    "hallucination": WRITTEN | {"hallucination": True},
    "质量": WRITTEN | {"质量": "差"},
    "prediction": ASKED | {"prediction": "Trout."},
    "preamble": WRITTEN | {"preamble": "Be kind."},
    "rationale": WRITTEN | {"rationale": "It swims."},
    "messages[].mask": {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Go.", "mask": True}]},
    "audio": {"audio": "barn.mp3", "conversations": [{"from": "human", "value": "What?"}, {"from": "gpt", "value": "A barn."}]},
    "messages[].annotations": {
        "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Go.", "annotations": ["bad"]}]
    },
}


@pytest.mark.parametrize(("column", "row"), STOPS.items(), ids=STOPS)
def test_a_judgement_that_nobody_reads_stops_the_import(tmp_path: Path, column: str, row: dict[str, Any]) -> None:
    path = wrote(tmp_path, row)
    with pytest.raises(InputError) as found:
        read(path)
    assert column in found.value.what
    assert f"--drop {column}" in found.value.hint
    assert "--keep-extra" in found.value.hint


def test_it_stops_whatever_is_done_with_bad_rows_and_stores_nothing(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "project")
    with pytest.raises(InputError, match=r'rows\.jsonl:2, field "score"'):
        import_(project, wrote(tmp_path, WRITTEN, WRITTEN | {"score": 1}), skip_bad=True, quiet=True)
    with Store.open(project.store_url) as store:
        assert not any(store.counts().values())


def test_a_judgement_far_down_in_a_file_stops_it_too(tmp_path: Path) -> None:
    rows = [{"prompt": f"Question {n}?"} for n in range(500)]
    with pytest.raises(InputError, match=r"rows\.jsonl:501, field \"thumb\""):
        read(wrote(tmp_path, *rows, ASKED | {"thumb": "down"}))


def test_what_is_kept_stays_with_the_prompt_and_what_is_dropped_is_gone(tmp_path: Path) -> None:
    path = wrote(tmp_path, WRITTEN | {"score": 0, "meta": {"shelf": "b"}, "id": 3})
    kept = read(path, keep_extra=True)
    assert kept.prompts[0].extra == {"score": 0, "meta": {"shelf": "b"}, "id": 3}
    assert kept.demonstrations[0].prompt == kept.prompts[0]
    assert kept.metrics["extra"] == {"id": 1, "meta": 1, "score": 1}
    left = read(path, drop=("score",))
    assert (left.prompts[0].extra, left.metrics["unread"]) == ({}, {"id": 1, "meta": 1})
    with pytest.raises(InputError, match="there is no column 'scroe' to drop"):
        read(path, drop=("score", "scroe"))


def test_a_dropped_label_is_as_if_it_had_never_been_there(tmp_path: Path) -> None:
    path = wrote(tmp_path, {"prompt": "Hi", "completion": "Go", "label": False})
    assert (read(path).metrics["format"], read(path, drop=("label",)).metrics["format"]) == ("trl-kto", "trl-completion")
    talk = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Go", "mark": 1}]}
    assert read(wrote(tmp_path, talk), drop=("messages[].mark",)).demonstrations[0].text == "Go"


def test_a_misspelt_field_is_asked_about_and_the_answer_imports_it(tmp_path: Path) -> None:
    path = wrote(tmp_path, ASKED | {"respnse": "Trout."})
    with pytest.raises(InputError, match="'respnse' is not read: is it meant as 'response'") as found:
        read(path)
    assert "--map response=respnse" in found.value.hint
    assert read(path, columns={"response": "respnse"}).demonstrations[0].text == "Trout."
    with pytest.raises(InputError, match="no known format") as found:
        read(wrote(tmp_path, {"promt": "Hi", "Response": "Go"}))
    assert "--map prompt=promt --map response=Response" in found.value.hint


@pytest.mark.parametrize(
    ("name", "meant"),
    {
        "respnse": "response", "reponce": "response", "chosn": "chosen", "choosen": "chosen", "rejectd": "rejected", "lable": "label",
        "Prompt": "prompt", "use case": "use_case", "labeller": "labeler", "mesages": "messages", "instrution": "instruction",
        "response_0": "", "answer2": "", "prompt": "", "date": "", "topic": "", "store": "", "difficulty": "", "domain": "",
    }.items(),
)  # fmt: skip
def test_which_names_seem_misspelt(name: str, meant: str) -> None:
    assert near(name, known_fields()) == meant


@pytest.mark.parametrize(
    "name", ["id", "prompt_id", "generated_at", "difficulty", "topic", "domain", "lang", "created_at", "answer_id", "num_tokens", "split"]
)
def test_names_that_judge_nothing(name: str) -> None:
    assert not carries_meaning(name)


@given(st.sampled_from(sorted(FORMATS)), st.sampled_from(["verdict", "my_score", "is_preferred", "badAnswer", "偏好"]), st.integers(0, 9))
def test_no_format_forgets_a_judgement(format: str, column: str, value: int) -> None:
    """The example of every format, with a column that it does not know, stops; dropped, it comes in as before."""
    from tempfile import TemporaryDirectory

    from excerpts import FORMATS as EXAMPLES

    if format not in EXAMPLES:
        return
    rows = EXAMPLES[format][0]
    with TemporaryDirectory() as folder:
        whole = read(wrote(Path(folder), *rows, name="a.jsonl"))
        path = wrote(Path(folder), *(row | {column: value} for row in rows), name="a.jsonl")
        with pytest.raises(InputError, match=column):
            read(path)
        assert read(path, drop=(column,)) == whole


def test_a_mapped_column_is_read_and_what_it_replaces_is_named(tmp_path: Path) -> None:
    row = {"q": "Name a fish.", "best": {"text": "Trout.", "by": "ann"}, "response": "Dog."}
    with pytest.raises(InputError, match="does not read response") as found:
        read(wrote(tmp_path, row), columns={"prompt": "q", "response": "best.text"})
    assert "--drop response" in found.value.hint
    found = read(wrote(tmp_path, row), columns={"prompt": "q", "response": "best.text"}, drop=("response",))
    assert (found.demonstrations[0].text, found.metrics["unread"]) == ("Trout.", {"best.by": 1})


def test_rows_of_other_fields_than_the_first_are_read_by_their_own_or_refused(tmp_path: Path) -> None:
    both = read(wrote(tmp_path, ASKED, PAIR | {"prompt": "Name a bird."}))
    assert (len(both.prompts), len(both.rankings), both.metrics["format"]) == (2, 1, "prompts, trl-preference")
    with pytest.raises(InputError, match=r'rows\.jsonl:1, field "response": missing'):
        read(wrote(tmp_path, ASKED, WRITTEN))
    mixed = read(wrote(tmp_path, {"instruction": "Add.", "input": "1 and 2", "output": "3"}, PAIR, WRITTEN))
    assert mixed.metrics["format"] == "alpaca, trl-preference, demonstrations"
    assert (len(mixed.demonstrations), len(mixed.rankings)) == (2, 1)
    late = [{"prompt": f"Question {n}?"} for n in range(300)]
    assert len(read(wrote(tmp_path, *late, PAIR)).rankings) == 1


def test_an_answer_beside_a_prompt_stays_with_it(tmp_path: Path) -> None:
    rows = [{"prompt": "2 + 3?", "answer": "5"}, {"prompt": "Sort 2, 1.", "tests": ["f([2, 1]) == [1, 2]"], "ground_truth": None}]
    found = read(wrote(tmp_path, *rows))
    assert [prompt.extra for prompt in found.prompts] == [{"answer": "5"}, {"tests": ["f([2, 1]) == [1, 2]"]}]
    assert found.metrics["extra"] == {"answer": 1, "tests": 1}
    assert not found.demonstrations


def test_a_question_with_a_letter_for_an_answer_is_not_gsm8k(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no known format has the fields question, A, B, answer"):
        read(wrote(tmp_path, {"question": "What is 2+2?", "A": "3", "B": "4", "answer": "B"}))


def quiz(row: dict[str, Any]) -> dict[str, Any]:
    return {"prompt": row["question"], "response": row["reply"], "note": "x"}


def test_a_plugins_format_is_held_to_the_same_rule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"question": "Name a fish.", "reply": "Trout.", "stars": 1, "shelf": "b"}
    monkeypatch.setitem(FORMATS, "quiz", Format.rewriting(quiz, "question+reply"))
    with pytest.raises(InputError, match="the format quiz does not read stars"):
        read(wrote(tmp_path, row), format="quiz")
    monkeypatch.setitem(FORMATS, "quiz", Format.rewriting(quiz, "question+reply", aside=["stars"]))
    assert read(wrote(tmp_path, row), format="quiz").metrics["unread"] == {"note": 1, "shelf": 1, "stars": 1}
    monkeypatch.setitem(
        FORMATS, "quiz", Format.rewriting(lambda row: {**row, "prompt": row["question"], "response": row["reply"]}, "question+reply")
    )
    with pytest.raises(InputError, match="stars"):
        read(wrote(tmp_path, row), format="quiz")


def test_a_dry_run_says_what_became_of_each_column_and_what_would_stop(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = Project.create(tmp_path / "project")
    path = wrote(tmp_path, WRITTEN | {"score": 1, "labeler": "ann", "shelf": "b"})
    main(["import", str(project.path), str(path), "--dry-run", "--json"])
    said = json.loads(capsys.readouterr().out)
    assert said["columns"] == {
        "prompt": ["user turn"], "response": ["demonstration"], "score": ["not read"], "labeler": ["labeler"], "shelf": ["not read"],
    }  # fmt: skip
    assert len(said["stops"]) == 1
    assert "does not read score" in said["stops"][0]
    main(["import", str(project.path), str(path), "--dry-run", "--keep-extra"])
    said = capsys.readouterr().out
    assert "score → Prompt.extra" in said
    assert "would stop" not in said
    main(["import", str(project.path), str(path), "--drop", "score", "--drop", "shelf", "--json"])
    assert "unread" not in json.loads(capsys.readouterr().out)


def test_a_mixture_says_it_for_each_source(tmp_path: Path) -> None:
    wrote(tmp_path, WRITTEN | {"score": 1}, name="a.jsonl")
    wrote(tmp_path, {"prompt": "Name a bird.", "response": "Owl.", "rating": 5}, name="b.jsonl")
    mixture = tmp_path / "mix.toml"
    mixture.write_text('[[source]]\nfile = "a.jsonl"\ndrop = ["score"]\n[[source]]\nfile = "b.jsonl"\nkeep_extra = true\n')
    project = Project.create(tmp_path / "project")
    figures = import_(project, mixture, quiet=True)
    assert (figures["kept"], figures["extra"]) == (2, {"rating": 1})


def test_the_sample_of_a_file_is_bounded(tmp_path: Path) -> None:
    """Long rows do not wait in memory for a hundred of them."""
    path = wrote(tmp_path, *({"text": "word " * 1_000_000} for _ in range(4)))
    read_lines = 0

    def tell(count: int) -> None:
        nonlocal read_lines
        read_lines += count

    next(Intake([Source(path)], tell=tell).rows())
    assert read_lines < 3 * 5_000_000
    with pytest.raises(AccordError):
        read(wrote(tmp_path, {"prompt": 3}))
