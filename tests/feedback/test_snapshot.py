"""A snapshot's bytes follow from its rows alone, and nobody changes them unseen."""

from __future__ import annotations

import hashlib
import random
import tracemalloc
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.errors import InputError
from accord.feedback import snapshot
from accord.feedback.snapshot import read_snapshot, write_snapshot
from accord.records import Demonstration, Guideline, Labeler, Message, Prompt, RankedPrompt, Ranking, Rating, Response

texts = st.text(max_size=20) | st.text(alphabet='a\n\r\t"\\\u2028\u2029\x85\x1c\x0b\x0c\x00é\u0301你🦆', max_size=20)
messages = st.builds(Message, st.sampled_from(["system", "user", "assistant"]), texts)
splits = st.sampled_from(["train", "validation", "test"])
prompts = st.builds(Prompt, texts, st.lists(messages, max_size=3).map(tuple), texts, texts, splits, texts)
responses = st.builds(Response, texts, texts, texts, texts, st.lists(st.integers(0, 2**31), max_size=4).map(tuple), st.booleans())
ratings = st.builds(Rating, texts, st.integers(1, 7), st.lists(texts, max_size=2).map(tuple))
guidelines = st.builds(Guideline, st.sampled_from(["training", "evaluation"]), texts)


@st.composite
def rankings(draw: st.DrawFn) -> Ranking:
    ids = tuple(draw(st.lists(texts, min_size=2, max_size=4, unique=True)))
    ranks = tuple(draw(st.integers(1, 4)) for _ in ids)
    given = tuple(draw(st.lists(ratings, max_size=2)))
    return Ranking(draw(texts), draw(texts), draw(texts), ids, ranks, draw(guidelines), draw(texts), given)


@st.composite
def ranked_prompts(draw: st.DrawFn) -> RankedPrompt:
    shown = tuple(draw(st.lists(responses, min_size=2, max_size=3)))
    return RankedPrompt(draw(prompts), shown, tuple(range(1, len(shown) + 1)), draw(texts), draw(texts))


KINDS: dict[type[Any], st.SearchStrategy[Any]] = {
    Prompt: prompts,
    Response: responses,
    Demonstration: st.builds(Demonstration, texts, prompts, texts, texts),
    Labeler: st.builds(Labeler, texts, st.sampled_from(["person", "simulated", "model", "user"]), texts),
    Ranking: rankings(),
    RankedPrompt: ranked_prompts(),
}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_the_same_rows_in_any_order_give_the_same_bytes_and_come_back(kind: type[Any], data: st.DataObject) -> None:
    rows = data.draw(st.lists(KINDS[kind], max_size=4))
    shuffled = random.Random(0).sample(rows, len(rows))
    with TemporaryDirectory() as folder:
        one, other = Path(folder, "one.jsonl"), Path(folder, "other.jsonl")
        digest = write_snapshot(rows, one)
        assert write_snapshot(iter(shuffled), other) == digest == hashlib.sha256(one.read_bytes()).hexdigest()
        assert one.read_bytes() == other.read_bytes()
        thawed = read_snapshot(one, kind, digest)
        assert sorted(map(repr, thawed)) == sorted(map(repr, rows))
        assert all(row in rows for row in thawed)
        assert write_snapshot(thawed, other) == digest


def prompt(text: str) -> Prompt:
    return Prompt("p", (Message("user", text),))


def test_the_bytes_do_not_depend_on_the_version_of_this_package(tmp_path: Path) -> None:
    write_snapshot([Labeler("b", "person", "é\u2028"), Labeler("a", "user")], tmp_path / "s.jsonl")
    expected = '{"group":"","id":"a","kind":"user"}\n{"group":"é\u2028","id":"b","kind":"person"}\n'
    assert (tmp_path / "s.jsonl").read_bytes() == expected.encode()


def test_parts_that_are_sorted_on_the_disk_give_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten million rankings are not held in memory."""
    rows = [Labeler(text, "person") for text in ("b", "a", "aé", "a😀", "a\uffff", "a b", 'a"', "", "z", "b")]
    whole = write_snapshot(rows, tmp_path / "whole.jsonl")
    for size in (1, 3, 5, 10):
        monkeypatch.setattr(snapshot, "IN_MEMORY", size)
        assert write_snapshot(iter(rows), tmp_path / "parts.jsonl") == whole
    assert (tmp_path / "parts.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["parts.jsonl", "whole.jsonl"]


def test_rows_are_sorted_without_holding_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "IN_MEMORY", 500)
    tracemalloc.start()
    write_snapshot((Labeler(f"{n * 7919 % 20_000:06}" + "x" * 400, "person") for n in range(20_000)), tmp_path / "s.jsonl")
    assert tracemalloc.get_traced_memory()[1] < 5_000_000 < (tmp_path / "s.jsonl").stat().st_size
    tracemalloc.stop()


@pytest.mark.parametrize("change", [b" ", b"", b"\n"], ids=["a letter", "cut off", "a blank line"])
def test_a_changed_file_is_refused(tmp_path: Path, change: bytes) -> None:
    path = tmp_path / "s.jsonl"
    digest = write_snapshot([prompt("one"), prompt("two")], path)
    content = path.read_bytes()
    path.write_bytes(content[:-3] + change if change != b"\n" else content + change)
    with pytest.raises(InputError, match="has changed"):
        read_snapshot(path, Prompt, digest)


DAMAGED = {
    "cut off": (b'{"id":"a"', "s.jsonl:1: the last line is truncated"),
    "no JSON": (b'{"group":"","id":"a","kind":"user"}\nnonsense\n', "s.jsonl:2: not JSON"),
    "no object": (b"[1]\n", "s.jsonl:1: not a Labeler"),
    "a field missing": (b'{"id":"a"}\n', "s.jsonl:1: not a Labeler.*kind"),
    "a field too many": (b'{"group":"","id":"a","kind":"user","x":1}\n', "s.jsonl:1: not a Labeler.*'x'"),
    "not UTF-8": (b'{"group":"","id":"\xff","kind":"user"}\n', "s.jsonl:1: not UTF-8"),
}


@pytest.mark.parametrize(("content", "message"), DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_file_is_named_by_its_line(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "s.jsonl").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_snapshot(tmp_path / "s.jsonl", Labeler)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"s\.jsonl: the snapshot is missing"):
        read_snapshot(tmp_path / "s.jsonl", Labeler)


def test_a_snapshot_of_before_flags_were_identifiers_keeps_its_digest_and_reads_as_today(tmp_path: Path) -> None:
    path = tmp_path / "rankings.jsonl"
    given = Ranking("k", "p", "ann", ("r0", "r1"), (1, 2), Guideline("training", "v"), "now", (Rating("r0", 3, ("gives_harmful_advice",)),))
    write_snapshot([given], path)
    path.write_bytes(path.read_bytes().replace(b"gives_harmful_advice", b"gives harmful advice"))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert read_snapshot(path, Ranking, digest) == [given]
