"""Files of others become records, or the row that does not is named; importing twice adds nothing."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accord.commands.data.import_ import import_
from accord.data.documents import DOCUMENT, documents_of
from accord.data.importers import read
from accord.errors import InputError, StoreError, UsageError
from accord.feedback.store import Store
from accord.records import Guideline, Labeler, Message, split_of
from accord.runtime.project import Project

ASKED = "\n\nHuman: Hello?\n\nAssistant: Hi.\n\nHuman: How do I bake bread?\n\nAssistant:"
TURNS = (Message("user", "Hello?"), Message("assistant", "Hi."), Message("user", "How do I bake bread?"))
HH = {"chosen": f"{ASKED} With flour.\n\nAnd water.", "rejected": f"{ASKED} No."}
TASK = {"id": "t", "motivation_app": "Mail", "instruction": "Shorten this.", "instances": [{"input": "A long text.", "output": "Text."}]}
RANKED = {"prompt": "Name a colour.", "responses": ["Red.", "Blue.", "Red."], "ranks": [1, 1, 2], "labeler": "ann", "group": "g"}
DEMONSTRATION = {"prompt": "Name a colour.", "response": "Green.", "labeler": "bob"}
ADDED = ("documents", "labelers", "prompts", "demonstrations", "responses", "rankings", "thumbs")
EXAMPLES: dict[str, dict[str, Any]] = {
    "hh-rlhf": HH,
    "self-instruct": TASK,
    "rankings": RANKED,
    "demonstrations": DEMONSTRATION,
    "prompts": {"prompt": "Name a colour."},
    "text": {"text": "Once upon a time."},
}


def write(folder: Path, *rows: object, name: str = "rows.jsonl") -> Path:
    path = folder / name
    text = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz"])
def test_comparisons_share_their_prompt(tmp_path: Path, name: str) -> None:
    found = read(write(tmp_path, HH, name=name))
    (prompt,), (better, worse), (ranking,) = found.prompts, found.responses, found.rankings
    assert prompt.messages == TURNS
    assert (better.text, worse.text) == ("With flour.\n\nAnd water.", "No.")
    assert better.prompt_id == worse.prompt_id == ranking.prompt_id == prompt.id
    assert (ranking.response_ids, ranking.ranks) == ((better.id, worse.id), (1, 2))
    assert ranking.guideline == Guideline("training", "imported")
    assert found.labelers == [Labeler(ranking.labeler, "person", "imported")]


def test_what_one_side_says_twice_in_a_row_is_one_turn(tmp_path: Path) -> None:
    twice = "\n\nHuman: Hi.\n\nAssistant: Wait.\n\nAssistant: Yes?\n\nHuman: Well?\n\nHuman: How?"
    found = read(write(tmp_path, {side: f"{twice}\n\nAssistant: {side}." for side in ("chosen", "rejected")}))
    (prompt,) = found.prompts
    assert [(m.role, m.content) for m in prompt.messages] == [("user", "Hi."), ("assistant", "Wait.\n\nYes?"), ("user", "Well?\n\nHow?")]
    assert [response.text for response in found.responses] == ["chosen.", "rejected."]


def test_comparisons_that_teach_nothing_are_counted(tmp_path: Path) -> None:
    elsewhere = "\n\nHuman: Hello?\n\nAssistant: Go away."
    rows = [
        HH,
        HH,
        {"chosen": HH["chosen"], "rejected": HH["chosen"]},
        {"chosen": HH["chosen"], "rejected": f"{ASKED}  "},
        {"chosen": HH["chosen"], "rejected": elsewhere},
        {"chosen": f"{ASKED} Yes?\n\nHuman: Well.", "rejected": f"{ASKED} Yes?\n\nHuman: So."},
    ]
    found = read(write(tmp_path, *rows))
    assert found.metrics == {
        "format": "hh-rlhf",
        "read": 6,
        "kept": 1,
        "dropped": {
            "dialogue that does not end with a question and its answer": 1,
            "dialogues that part before the last answer": 1,
            "empty response": 1,
            "identical responses": 1,
            "repetition": 1,
        },
    }
    assert len(found.rankings) == 1


def test_tasks_become_prompts_of_their_application(tmp_path: Path) -> None:
    bare = TASK | {"instances": [{"input": "", "output": "x"}]}
    found = read(write(tmp_path, TASK, bare))
    assert [prompt.messages for prompt in found.prompts] == [
        (Message("user", "Shorten this.\n\nA long text."),),
        (Message("user", "Shorten this."),),
    ]
    assert {prompt.user for prompt in found.prompts} == {"Mail"}
    assert not found.demonstrations


def test_prompts_in_both_forms(tmp_path: Path) -> None:
    conversation = {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello?"}], "use_case": "chat"}
    found = read(write(tmp_path, {"prompt": "Hello?", "user": "u"}, conversation))
    assert [prompt.messages for prompt in found.prompts] == [
        (Message("user", "Hello?"),),
        (Message("system", "Be brief."), Message("user", "Hello?")),
    ]
    assert [(prompt.user, prompt.use_case, prompt.source) for prompt in found.prompts] == [
        ("u", "other", "rows.jsonl"),
        ("", "chat", "rows.jsonl"),
    ]


def test_demonstrations_and_their_labelers(tmp_path: Path) -> None:
    found = read(write(tmp_path, DEMONSTRATION, DEMONSTRATION | {"response": " "}, DEMONSTRATION | {"prompt": ""}))
    (demonstration,) = found.demonstrations
    assert (demonstration.prompt, demonstration.text, demonstration.labeler) == (found.prompts[0], "Green.", "bob")
    assert found.metrics == {"format": "demonstrations", "read": 3, "kept": 1, "dropped": {"empty prompt": 1, "empty response": 1}}


def test_rankings_keep_ties_and_equal_texts(tmp_path: Path) -> None:
    found = read(write(tmp_path, RANKED))
    (ranking,) = found.rankings
    texts = {response.id: response.text for response in found.responses}
    assert [texts[id] for id in ranking.response_ids] == RANKED["responses"]
    assert ranking.ranks == (1, 1, 2)
    assert found.labelers == [Labeler("ann", "person", "g")]


def test_two_labelers_of_one_prompt_share_its_responses(tmp_path: Path) -> None:
    found = read(write(tmp_path, RANKED, RANKED | {"labeler": "bob", "ranks": [3, 2, 1]}))
    assert (len(found.prompts), len(found.responses), len(found.rankings), len(found.labelers)) == (1, 3, 2, 2)


def test_raw_text_in_three_forms(tmp_path: Path) -> None:
    (tmp_path / "books").mkdir()
    (tmp_path / "books" / "b.txt").write_bytes(b"Second.\r\nLine.\r\n")
    (tmp_path / "books" / "a.txt.gz").write_bytes(gzip.compress("\ufeffFirst. 你好\u2028!".encode()))
    assert read(tmp_path / "books").documents == ["First. 你好\u2028!", "Second.\nLine."]
    assert read(tmp_path / "books" / "b.txt").documents == ["Second.\nLine."]
    rows = write(tmp_path, {"text": "One."}, {"text": ""}, {"text": "Two."})
    assert read(rows).documents == ["One.", "Two."]
    assert read(rows).metrics == {"format": "text", "read": 3, "kept": 2, "dropped": {"empty text": 1}}


@given(st.lists(st.text(alphabet="ab \n", max_size=3 * DOCUMENT), max_size=3).map("\n\n".join))
def test_a_long_text_is_cut_between_lines_and_nothing_is_lost(text: str) -> None:
    documents = list(documents_of(text.split("\n")))
    assert "".join("".join(documents).split()) == "".join(text.split())
    longest = max(map(len, text.split("\n")))
    assert all(len(document) <= 4 * DOCUMENT + longest for document in documents)


def test_a_book_becomes_many_documents_of_whole_paragraphs() -> None:
    paragraph = "word " * 100 + "end."
    documents = list(documents_of("\n\n".join([paragraph] * 40).split("\n")))
    assert len(documents) == 10
    assert all(document.startswith("word") and document.endswith("end.") for document in documents)
    assert len(list(documents_of(["a line"] * 5000))) > 2


@pytest.mark.parametrize("format", EXAMPLES)
def test_the_format_is_told_from_the_fields(tmp_path: Path, format: str) -> None:
    path = write(tmp_path, "", EXAMPLES[format])
    assert read(path) == read(path, format=format)
    assert read(path).metrics["kept"] == 1


def test_the_limit_counts_rows(tmp_path: Path) -> None:
    path = write(tmp_path, *({"prompt": f"Question {i}?"} for i in range(10)))
    assert [prompt.id for prompt in read(path, limit=4).prompts] == [prompt.id for prompt in read(path).prompts][:4]


BAD: dict[str, tuple[str, object, str]] = {
    "broken JSON": ("prompts", '{"prompt": ', "rows.jsonl:2: broken JSON"),
    "deep JSON": ("prompts", "[" * 100_000, "rows.jsonl:2: broken JSON"),
    "no object": ("prompts", [1], "rows.jsonl:2: not a JSON object"),
    "no prompt": ("prompts", {"text": "x"}, 'rows.jsonl:2, field "prompt": missing'),
    "a number": ("prompts", {"prompt": 3}, 'rows.jsonl:2, field "prompt": not a string: 3'),
    "half a pair": ("prompts", '{"prompt": "\\ud83e"}', 'rows.jsonl:2, field "prompt".*surrogate'),
    "a use case that is none": ("prompts", {"prompt": "x", "use_case": []}, 'rows.jsonl:2, field "use_case"'),
    "messages of nothing": ("prompts", {"messages": []}, 'rows.jsonl:2, field "messages": a prompt must end'),
    "no list": ("prompts", {"messages": "x"}, 'rows.jsonl:2, field "messages": not a list'),
    "the assistant's turn last": (
        "prompts",
        {"messages": [{"role": "assistant", "content": "x"}]},
        r'field "messages\[0\]\.role": roles out of order',
    ),
    "an unknown role": ("prompts", {"messages": [{"role": "robot", "content": "x"}]}, r'field "messages\[0\]\.role": \'robot\''),
    "no content": ("prompts", {"messages": [{"role": "user"}]}, r'rows.jsonl:2, field "messages\[0\]\.content": missing'),
    "no response": ("demonstrations", {"prompt": "x"}, 'rows.jsonl:2, field "response": missing'),
    "no dialogue": ("hh-rlhf", {"chosen": "Hello", "rejected": "Bye"}, 'rows.jsonl:2, field "chosen": not a dialogue'),
    "no rejected": ("hh-rlhf", {"chosen": HH["chosen"]}, 'rows.jsonl:2, field "rejected": missing'),
    "no input": ("self-instruct", TASK | {"instances": []}, 'rows.jsonl:2, field "instances": an empty list'),
    "one response": ("rankings", RANKED | {"responses": ["x"], "ranks": [1]}, 'rows.jsonl:2, field "responses".*2 to 9'),
    "ten responses": ("rankings", RANKED | {"responses": list("abcdefghij"), "ranks": [1] * 10}, 'field "responses".*2 to 9'),
    "ranks too few": ("rankings", RANKED | {"ranks": [1, 2]}, 'rows.jsonl:2, field "ranks": 3 responses but 2 ranks'),
    "rank 0": ("rankings", RANKED | {"ranks": [0, 1, 2]}, 'rows.jsonl:2, field "ranks"'),
    "rank true": ("rankings", RANKED | {"ranks": [True, 1, 2]}, 'rows.jsonl:2, field "ranks"'),
    "a response that is none": ("rankings", RANKED | {"responses": ["x", None, "y"]}, r'field "responses\[1\]": missing'),
    "two groups of a labeler": ("rankings", RANKED | {"group": "h"}, 'rows.jsonl:2, field "group": labeler ann'),
    "no text": ("text", {"text": None}, 'rows.jsonl:2, field "text": missing'),
}


@pytest.mark.parametrize(("format", "row", "message"), BAD.values(), ids=BAD)
def test_a_bad_row_is_named_by_file_line_and_field(tmp_path: Path, format: str, row: object, message: str) -> None:
    with pytest.raises(InputError, match=message) as found:
        read(write(tmp_path, EXAMPLES[format], row), format=format)
    assert found.value.hint, "and what to do"


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    latin = tmp_path / "latin.jsonl"
    latin.write_bytes(b'{"prompt": "fine"}\n{"prompt": "caf\xe9"}\n')
    cut = write(tmp_path, *[{"prompt": str(i)} for i in range(1000)], name="cut.jsonl.gz")
    cut.write_bytes(cut.read_bytes()[:-40])
    plain = tmp_path / "plain.jsonl.gz"
    plain.write_bytes(b'{"prompt": "x"}\n')
    (tmp_path / "folder").mkdir()
    expected = {
        latin: r"latin\.jsonl:2: not UTF-8 \(byte 0xe9\)",
        cut: r"cut\.jsonl\.gz: it cannot be read",
        plain: r"plain\.jsonl\.gz: it cannot be read",
        tmp_path / "missing.jsonl": "no such file",
        tmp_path / "folder": r"a folder without data",
        write(tmp_path, name="empty.jsonl"): r"empty\.jsonl: the source is empty",
        write(tmp_path, "", " ", name="blank.txt"): r"blank\.txt: the source is empty",
        write(tmp_path, {"question": "x"}, name="other.jsonl"): r"other\.jsonl:1: no known format has the fields question",
    }
    for path, message in expected.items():
        with pytest.raises(InputError, match=message):
            read(path)


def test_flags_that_make_no_sense(tmp_path: Path) -> None:
    path = write(tmp_path, {"prompt": "x"})
    with pytest.raises(UsageError, match=r"unknown format 'csv'.*hh-rlhf"):
        read(path, format="csv")
    with pytest.raises(UsageError, match="limit is 0"):
        read(path, limit=0)
    with pytest.raises(InputError, match="raw text, not prompts"):
        read(write(tmp_path, "x", name="x.txt"), format="prompts")


@pytest.mark.parametrize("format", EXAMPLES)
def test_importing_twice_adds_nothing(tmp_path: Path, format: str) -> None:
    project, path = Project.create(tmp_path / "project"), write(tmp_path, EXAMPLES[format])
    first = import_(project, path, quiet=True)
    assert (first["read"], first["kept"]) == (1, 1)
    assert first["documents"] + first["prompts"] == 1
    again = import_(project, path, quiet=True)
    told = ("format", "read", "kept", "dropped", "unread", "seconds", "rows_per_second", "import", "already_there")
    assert {key: count for key, count in again.items() if key not in told} == dict.fromkeys(ADDED, 0)


def test_a_bad_row_leaves_the_project_as_it_was(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "project")
    with pytest.raises(InputError, match=r"rows\.jsonl:2"):
        import_(project, write(tmp_path, RANKED, {"prompt": "x"}), format="rankings", quiet=True)
    with Store.open(project.store_url) as store:
        assert not any(store.counts().values())
        store.add_labelers([Labeler("ann", "person", "another group")])
    with pytest.raises(StoreError, match="ann is in the store with another content"):
        import_(project, write(tmp_path, RANKED), format="rankings", quiet=True)
    with Store.open(project.store_url) as store:
        assert sum(store.counts().values()) == 1


def test_texts_of_one_name_stand_side_by_side(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "project")
    for text in ("one", "two"):
        path = write(tmp_path, text, name=".. odd näme.txt")
        assert import_(project, path, quiet=True)["documents"] == 1
    assert len(list((project.path / "corpus").glob("odd-näme-*.jsonl"))) == 2


def test_splits_follow_the_user_and_keep_80_10_10() -> None:
    shares = Counter(split_of(f"user {i}") for i in range(20_000))
    assert shares["train"] == pytest.approx(16_000, rel=0.02)
    assert shares["validation"] == pytest.approx(2_000, rel=0.08)
    assert shares["test"] == pytest.approx(2_000, rel=0.08)
    assert [i for i in range(25) if split_of(f"user {i}") != "train"] == [16, 20, 24]


def test_a_split_that_is_kept_was_read(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "p")
    path = write(tmp_path, {"prompt": "Why?", "split": "test", "shade": "red"})
    told = import_(project, path, split="keep", dry_run=True, quiet=True)
    assert set(told["unread"]) == {"shade"}
    assert set(import_(project, path, split="train", dry_run=True, quiet=True)["unread"]) == {"shade", "split"}


def test_a_user_and_a_conversation_stand_on_one_side(tmp_path: Path) -> None:
    mine = [{"prompt": f"Question {i}?", "user": f"u{i % 20}"} for i in range(200)]
    found = read(write(tmp_path, *mine))
    assert len({(prompt.user, prompt.split) for prompt in found.prompts}) == 20
    opening = [{"role": "user", "content": "Hello?"}, {"role": "assistant", "content": "Hi."}]
    talks = [{"messages": [*opening, {"role": "user", "content": f"Question {i}?"}]} for i in range(50)]
    assert len({prompt.split for prompt in read(write(tmp_path, *talks)).prompts}) == 1


def test_ids_do_not_change_with_the_version_of_this_package(tmp_path: Path) -> None:
    found = read(write(tmp_path, HH))
    assert [found.prompts[0].id, found.responses[0].id, found.rankings[0].id] == [
        "p-1634fd8f24136299e6cf",
        "r-a43beba1cf9c3599451e",
        "k-f45c4aae6bfcf7b93fc1",
    ]
