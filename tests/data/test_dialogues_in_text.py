"""Gopher's rule at its edges, whatever the pieces are that a text comes in."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accord.data.dialogues import LONGEST_PARAGRAPH, Dialogue, dialogues, paragraphs
from accord.records import Message

SIX = ["Ann: Hello.", "Bob: Hi.", "Ann: How are you?", "Bob: Well.", "Ann: Good.", "Bob: Bye."]


def found(*lines: str, least: int = 6) -> list[Dialogue]:
    return list(dialogues(["\n\n".join(lines)], least))


def test_six_paragraphs_are_a_dialogue_and_five_are_none() -> None:
    (one,) = found("A story.", *SIX, "They left.")
    assert one == Dialogue(("Ann", "Bob"), ("Hello.", "Hi.", "How are you?", "Well.", "Good.", "Bye."), 2)
    assert one.messages()[:2] == (Message("user", "Hello."), Message("assistant", "Hi."))
    assert found(*SIX[:5]) == []
    assert len(found(*SIX[:5], least=5)) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Gopher: ", "User: "),
        ("Dr Smith - ", "Patient - "),
        ("Q. ", "A. "),
        ("Dr. Smith: ", "Dr. Jones: "),
        ("张三：", "李四："),
        ("A – ", "B – "),
    ],
)
def test_prefixes_of_the_paper_and_their_like(one: str, other: str) -> None:
    (dialogue,) = found(*[f"{one if n % 2 == 0 else other}turn {n}" for n in range(7)])
    assert dialogue.turns == tuple(f"turn {n}" for n in range(7))
    assert len(dialogue.messages()) == 6, "the last word is the assistant's"


def test_a_paragraph_without_a_prefix_breaks_it() -> None:
    assert found(*SIX[:3], "Then it rained.", *SIX[3:]) == []
    assert found(*SIX[:5], "Bob:") == [], "a prefix with nothing behind it is no turn"


def test_both_speakers_the_same_or_three_of_them_are_no_dialogue() -> None:
    assert found(*["Ann: again"] * 8) == []
    assert found(*[f"{name}: word" for name in ("Ann", "Bob", "Cid") * 3]) == []
    assert found(*SIX[:3], "Ann: Twice.", *SIX[3:]) == [], "two turns of one speaker in a row part it in two that are too short"


def test_separators_differ_by_speaker_only_when_the_prefixes_do() -> None:
    assert found(*[f"{'Ann: ' if n % 2 else 'Bob - '}turn" for n in range(8)]) == []
    assert found(*[f"{'x' * (41 if n % 2 else 3)}: turn" for n in range(8)]) == [], "a name is not 41 characters long"
    assert found(*[f"{'*' if n % 2 else '-'}: turn" for n in range(8)]) == [], "a name has a letter or a digit"


def test_a_run_goes_on_as_long_as_it_goes_and_the_next_may_follow_at_once() -> None:
    other = [f"{name}: word {n}" for n, name in enumerate(("Cid", "Dan") * 4)]
    both = [(d.speakers, len(d.turns), d.paragraph) for d in found(*SIX, *SIX, *other)]
    assert both == [(("Ann", "Bob"), 12, 1), (("Cid", "Dan"), 8, 13)]
    shared = [f"{name}: word" for name in ("Ann", "Bob") * 3 + ("Cid", "Bob") * 4]
    assert sorted(len(d.turns) for d in found(*shared)) == [6, 8], "a paragraph is in one of them"


def test_of_two_readings_the_longer_wins() -> None:
    lines = [f"{'Q' if n % 2 == 0 else 'A'}. {'Time: noon' if n in (2, 4) else 'word'}" for n in range(8)]
    (dialogue,) = found(*lines)
    assert dialogue.speakers == ("Q", "A")
    assert dialogue.turns[2] == "Time: noon"


def test_a_turn_may_have_lines_and_blank_lines_may_have_spaces() -> None:
    text = "\ufeff" + " \r\n \t\r\n".join(line + "\r\nand more" for line in SIX)
    (dialogue,) = dialogues([text.encode()])
    assert dialogue.turns[0] == "Hello.\nand more"


@given(st.lists(st.sampled_from(["A: x", "B: y", "C - z", "plain", "", " ", "\r", "Q. v", "长：短"]), max_size=40), st.integers(1, 7))
def test_the_pieces_do_not_matter(lines: list[str], size: int) -> None:
    text = "\n\n".join(lines).encode()
    pieces = [text[i : i + size] for i in range(0, len(text), size)]
    assert list(dialogues(pieces, 2)) == list(dialogues([text], 2))
    for dialogue in dialogues([text], 2):
        assert len(set(dialogue.speakers)) == 2
        assert len(dialogue.turns) >= 2


def test_a_text_without_a_blank_line_is_read_in_little_memory() -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(2000):
            yield b"word " * 10_000
        yield ("\n\n" + "\n\n".join(SIX)).encode()

    tracemalloc.start()
    (dialogue,) = dialogues(endless())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert dialogue.paragraph == 2
    assert peak < 5e6


def test_a_paragraph_that_is_too_long_is_no_turn() -> None:
    long = "Ann: " + "x" * LONGEST_PARAGRAPH
    assert found(*SIX[:2], long, *SIX[3:]) == []
    assert [len(p) for p in paragraphs(["a\n\n", "y" * LONGEST_PARAGRAPH, "\n", " \n b"])] == [1, LONGEST_PARAGRAPH, 1]
