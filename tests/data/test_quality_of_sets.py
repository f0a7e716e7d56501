"""What looks wrong in a set is pointed out, and what only looks short is not."""

from __future__ import annotations

import pytest

from accord.data.quality import answer_nothing, contradictions, near_identical, profile, words
from accord.records import Demonstration, Message, Prompt, RankedPrompt, Response

LONG = "The bridge was built by the people of the harbour, who carried every single stone from the hill themselves."


def demonstration(
    text: str, *, asked: str = "Tell me about the old bridge over the river.", case: str = "generation", by: str = "ann", id: str = "d"
) -> Demonstration:
    return Demonstration(id, Prompt(f"p-{id}", (Message("user", asked),), case), text, by)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("  \n", "empty"),
        ("...", "empty"),
        ("N/A", "a placeholder"),
        ("lorem ipsum dolor sit amet", "a placeholder"),
        ("tell me about the OLD bridge over the river", "repeats the prompt"),
        ("Which bridge? Over which river?", "only asks back"),
        ("It stands.", "few words"),
        (LONG, ""),
        ("What a bridge! It stands since 1802.", ""),
    ],
)
def test_demonstrations_that_answer_nothing(text: str, why: str) -> None:
    assert [suspect.why for suspect in answer_nothing([demonstration(text)], short=3)] == ([why] if why else [])


def test_one_word_may_be_the_answer() -> None:
    assert answer_nothing([demonstration("Paris.", asked="What is the capital of France?", case="open_qa")], short=3) == []
    assert words("北京是首都。It is") == 7


def test_texts_that_were_pasted_are_told_from_those_that_were_copied() -> None:
    asked = ["Write about the bridge.", "Write about the harbour.", "Write about the hill."]
    texts = [LONG, LONG.replace("single", "heavy"), LONG, "Yes."]
    people = ["ann", "ann", "bob", "cid"]
    found = near_identical(
        [demonstration(t, asked=asked[n % 3], by=who, id=str(n)) for n, (t, who) in enumerate(zip(texts, people, strict=True))],
        threshold=0.8,
    )
    assert [(suspect.id, suspect.like, suspect.why) for suspect in found] == [
        ("1", "0", "like the labeler's own"),
        ("2", "0", "like another's"),
    ]
    same_prompt = [demonstration(LONG, id="x"), demonstration(LONG, by="bob", id="x")]
    assert near_identical(same_prompt, threshold=0.8) == [], "two answers to one prompt may agree"
    assert near_identical([], threshold=0.8) == []


def ranked(labeler: str, texts: str, ranks: tuple[int, ...], prompt: str = "p") -> RankedPrompt:
    responses = tuple(Response(f"{prompt}{n}{text}", prompt, text, "m") for n, text in enumerate(texts))
    return RankedPrompt(Prompt(prompt, (Message("user", "?"),)), responses, ranks, labeler)


def test_contradictions_and_circles() -> None:
    found = contradictions([ranked("ann", "ab", (1, 2)), ranked("bob", "ab", (2, 1)), ranked("cid", "ab", (1, 1))])
    assert (found["pairs"], found["disputed"], found["by_one"], found["cycles"]) == (1, 1, 0, 0)
    assert contradictions([ranked("ann", "ab", (1, 2)), ranked("ann", "ba", (1, 2))])["by_one"] == 1
    assert contradictions([ranked("ann", "ab", (1, 2)), ranked("ann", "ab", (2, 1), "q")])["disputed"] == 0, "another prompt"
    circle = [ranked("ann", "ab", (1, 2)), ranked("ann", "bc", (1, 2)), ranked("ann", "ca", (1, 2))]
    assert contradictions(circle)["cycles"] == 1
    assert contradictions(circle[:2])["cycles"] == 0
    assert contradictions([ranked("ann", "aa", (1, 2))])["self_ties"] == 1


def test_a_profile() -> None:
    texts = [
        LONG,
        LONG.upper(),
        LONG.replace("hill", "hills"),
        "I'm sorry, but I can't help with that.",
        "You idiot!",
        "",
        "写信给jo@example.org",
    ]
    figures = profile(texts, threshold=0.8)
    assert figures["texts"] == 7
    assert figures["exact_duplicates"] == pytest.approx(1 / 7, abs=1e-3)
    assert figures["near_duplicates"] == pytest.approx(1 / 7, abs=1e-3)
    assert [figures[name] for name in ("toxic", "refusals", "personal", "empty")] == pytest.approx([1 / 7] * 4, abs=1e-3)
    assert figures["words"]["p0"] == 0
    assert figures["languages"]["en"] == pytest.approx(5 / 7, abs=1e-3)
    assert profile([], threshold=0.8) == {"texts": 0}
