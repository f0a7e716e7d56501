"""What a correction changed, word by word, and the word error rate."""

from __future__ import annotations

from random import Random

import pytest

from accord.feedback.word_changes import Change, changes, word_error_rate, words


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Don't turn-off it!", ["Don't", "turn-off", "it", "!"]),
        ("请关灯，OK？", ["请", "关", "灯", "，", "OK", "？"]),
        ("<b>1</b>", ["<", "b", ">", "1", "<", "/", "b", ">"]),
        (" \n", []),
    ],
)
def test_words_are_those_of_their_language(text: str, found: list[str]) -> None:
    assert words(text) == found


def test_what_changed_is_told_with_its_place() -> None:
    assert changes("Turn of lamp now", "Turn off the lamp") == [
        Change("replace", ("of",), ("off", "the"), 1),
        Change("delete", ("now",), (), 3),
    ]
    assert changes("same words", "same  words") == []


@pytest.mark.parametrize(
    ("said", "right", "rate"),
    [
        ("turn of the lamp", "Turn off the lamp.", 1 / 4),
        ("", "three words here", 1.0),
        ("a b c d", "d", 3.0),
        ("请开灯", "请关灯", 1 / 3),
        ("the same", "The same!", 0.0),
        ("words", "?!", None),
    ],
)
def test_the_error_rate_by_hand(said: str, right: str, rate: float | None) -> None:
    assert word_error_rate(said, right) == (None if rate is None else pytest.approx(rate))


def test_the_error_rate_is_the_fewest_edits() -> None:
    """Against the definition, by recursion, on random short texts."""

    def fewest(a: str, b: str) -> int:
        if not a or not b:
            return len(a) + len(b)
        return min(fewest(a[1:], b) + 1, fewest(a, b[1:]) + 1, fewest(a[1:], b[1:]) + (a[0] != b[0]))

    rng = Random(0)
    for _ in range(60):
        a, b = ("".join(rng.choices("abc", k=rng.randint(1, 6))) for _ in range(2))
        assert word_error_rate(" ".join(a), " ".join(b)) == pytest.approx(fewest(a, b) / len(b))
