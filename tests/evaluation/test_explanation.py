"""Sentences, the tokens in them, and what a text lacks, on texts where the answer is plain."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accord.evaluation.explanation import by_sentence, form_differences, lacking, spans, without


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("Rye keeps. Oats do not!", ["Rye keeps.", "Oats do not!"]),
        ("It costs 3.14 a loaf. Really?", ["It costs 3.14 a loaf.", "Really?"]),
        ("Ask Dr. Miller, e.g. today. Go.", ["Ask Dr. Miller, e.g. today.", "Go."]),
        ("It opened in 1999. Then it burned.", ["It opened in 1999.", "Then it burned."]),
        ("1. Knead.\n2. Bake", ["1. Knead.", "2. Bake"]),
        ("黑麦能放。燕麦不能！", ["黑麦能放。", "燕麦不能！"]),
        ('He said "no." Then he left', ['He said "no."', "Then he left"]),
        ("no end", ["no end"]),
        ("", []),
    ],
)
def test_a_text_is_divided_into_sentences(text: str, sentences: list[str]) -> None:
    assert [each.text for each in spans(text)] == sentences


@given(st.text(alphabet="ab .!?\n1。", max_size=40))
def test_sentences_end_to_end_are_the_text(text: str) -> None:
    found = spans(text)
    assert "".join(text[each.start : each.end] for each in found) == text


def test_tokens_with_a_blank_before_them_belong_to_the_next_sentence_and_nothing_is_lost() -> None:
    text = "Rye keeps. Oats rot."
    tokens = ["Rye", " keeps", ".", " Oats", " rot", ".", "<end>"]
    starts = [0, 3, 9, 10, 15, 19, 20]
    gains = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0]
    assert by_sentence(tokens, starts, gains, spans(text)) == [7.0, 120.0]


def test_what_a_text_lacks_and_how_it_differs() -> None:
    sentences = spans("Rye bread keeps for a week. Freeze the oats. It is.")
    assert lacking(sentences, "Rye bread keeps a week, they say.") == [1]
    assert without("Rye keeps. Oats rot. Bake.", spans("Rye keeps. Oats rot. Bake.")[1]) == "Rye keeps. Bake."
    assert form_differences("One, two!", "One two") == {"commas": (1.0, 0.0), "exclamations": (1.0, 0.0)}
