"""Text out of tokens that come one by one: never half a character, never past a stop string, however they are cut."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opened import FORMAT

from accord.serving.detokenizer import Words

TEXTS = st.text(alphabet=st.sampled_from("ab \nThe mill水車🙂é"), max_size=40)


def decode(ids: Sequence[int]) -> str:
    return FORMAT.tokenizer.decode(list(ids), skip_special_tokens=True)


def cut(ids: list[int], sizes: list[int]) -> list[list[int]]:
    parts = list[list[int]]()
    for size in sizes:
        parts, ids = [*parts, ids[:size]], ids[size:]
    return [*parts, ids]


@given(TEXTS, st.lists(st.integers(1, 4), max_size=12))
def test_the_pieces_are_the_whole_text_and_each_is_whole_characters(text: str, sizes: list[int]) -> None:
    ids = FORMAT.tokenizer(text, add_special_tokens=False)["input_ids"]
    words, parts = Words(decode, strip=False), cut(ids, sizes)
    pieces = [words.push(part, last=i == len(parts) - 1) for i, part in enumerate(parts)]
    assert "".join(pieces) == text
    assert not any("\ufffd" in piece for piece in pieces)


@given(TEXTS, st.lists(st.integers(1, 3), max_size=20), st.lists(st.text("abTh e\n", min_size=1, max_size=3), max_size=2))
def test_nothing_comes_from_a_stop_string_on_and_answers_are_trimmed(text: str, sizes: list[int], stops: list[str]) -> None:
    ids = FORMAT.tokenizer(text, add_special_tokens=False)["input_ids"]
    words, parts = Words(decode, stops), cut(ids, sizes)
    given = "".join(words.push(part, last=i == len(parts) - 1) for i, part in enumerate(parts))
    kept = text.lstrip()
    found = [(kept.find(stop) + len(stop), kept.find(stop)) for stop in stops if stop in kept]
    assert given == (kept[: min(found)[1]] if found else kept).rstrip(), "up to the stop string that is complete first"
    assert words.stopped == bool(found)


@pytest.mark.parametrize("pieces", [["aTT"], ["a", "T", "T"], ["aT", "T"]])
def test_where_an_answer_is_cut_does_not_hang_on_its_pieces(pieces: list[str]) -> None:
    words = Words(lambda ids: "".join(chr(id) for id in ids), ["T", "aTT"])
    assert "".join(words.push([*map(ord, piece)]) for piece in pieces) == "a"
    assert words.stopped


def test_what_may_begin_a_stop_string_waits_until_it_is_known() -> None:
    words = Words(lambda ids: "".join(chr(id) for id in ids), ["END"])
    assert words.push([*map(ord, "a EN")]) == "a "
    assert words.push([*map(ord, "TRY E")]) == "ENTRY "
    assert words.push([*map(ord, "ND and more")]) == ""
    assert words.stopped
