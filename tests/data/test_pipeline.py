"""Prompts stay or go for the right reason, added data moves nobody, planted duplicates are found, and what is tagged is tagged right."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accord.data.duplicates import NUMBERS, first_of_key, near, normal, sketch
from accord.data.languages import language
from accord.data.pipeline import REASONS, Asked, Curated, Evaluation, curate, strings
from accord.data.tags import is_few_shot, use_case
from accord.errors import UsageError
from accord.records import Message, Prompt, split_of
from accord.settings import PromptsConfig

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def made_up(rng: random.Random, words: int) -> str:
    return " ".join("".join(rng.choices(LETTERS, k=rng.randint(3, 9))) for _ in range(words))


def prompt(text: str, number: int = 0, user: str = "") -> Prompt:
    return Prompt(f"p{number}", (Message("user", text),), user=user, split=split_of(user or text))


def run(folder: Path, texts: Sequence[str | Prompt | Asked], config: PromptsConfig | None = None, against: Iterable[str] = ()) -> Curated:
    asked = [t if isinstance(t, Asked) else Asked(t if isinstance(t, Prompt) else prompt(t, n)) for n, t in enumerate(texts)]
    config = config or PromptsConfig()
    return curate(asked, config, folder, evaluation=Evaluation.of(against, config.ngram))


def said(curated: Curated) -> list[str]:
    return [REASONS[number] for number in curated.reasons.tolist()]


LONG = "Please write a long and friendly letter to the people of the harbour about the new bridge and the old boats, the tides and the fish"
OTHER = "Which of the seven rivers in the northern valley runs dry first in a hot summer, and what do the farmers there do about it?"


def test_each_reason(tmp_path: Path) -> None:
    texts = [
        LONG,
        LONG.upper() + " !!",
        LONG + " that we caught near Whitby yesterday before anybody else in the village had got up to see it",
        OTHER,
        OTHER.replace("seven", "eight"),
        "x",
        "y" * 9000,
        Asked(prompt("May I?"), consent="refused"),
        "How many apples does the tall man with the red hat carry home on Monday from the shop",
    ]
    against = ["In the test: how many apples does the tall man with the red hat carry home?"]
    curated = run(tmp_path, texts, against=against)
    expected = [
        "",
        "exact duplicate",
        "long common prefix",
        "",
        "near duplicate",
        "too short",
        "too long",
        "no consent",
        "in an evaluation set",
    ]
    assert said(curated) == expected
    assert curated.original[[1, 2, 4]].tolist() == [0, 0, 3]
    figures = curated.metrics()
    assert (figures["read"], figures["kept"], sum(figures["dropped"].values())) == (9, 2, 7)
    assert figures["languages"] == {"en": 2}


def test_what_is_off_drops_nothing(tmp_path: Path) -> None:
    off = PromptsConfig(per_user=0, near=0, prefix=0, min_chars=0, max_chars=0, ngram=0, consent="any")
    texts = [OTHER, OTHER.replace("seven", "eight"), "y" * 9000, "", Asked(prompt("No"), consent="refused")]
    assert said(run(tmp_path, texts, off, against=[OTHER])) == [""] * 5


def test_consent_language_and_personal_data_can_be_asked_for(tmp_path: Path) -> None:
    texts = [
        "Where is the harbour of this town?",
        "港口在哪里？请告诉我怎么走。",
        "Write to jo@example.org about the boats",
        Asked(prompt("May I go home?"), "public"),
    ]
    assert said(run(tmp_path, texts, PromptsConfig(languages="en", personal="drop"))) == ["", "other language", "personal data", ""]
    assert said(run(tmp_path, texts, PromptsConfig(consent="given"))) == ["no consent"] * 3 + [""]


def test_at_most_n_of_a_user_and_nobody_is_no_user(tmp_path: Path) -> None:
    rng = random.Random(0)
    texts = [prompt(made_up(rng, 12), n, user) for n, user in enumerate(["ann"] * 5 + ["bob"] * 2 + [""] * 6)]
    assert said(run(tmp_path, texts, PromptsConfig(per_user=3))) == [""] * 3 + ["over the user's limit"] * 2 + [""] * 8


def test_a_user_stands_in_one_split(tmp_path: Path) -> None:
    rng = random.Random(0)
    one, two = (prompt(made_up(rng, 12), n, "ann") for n in range(2))
    cut = [replace(one, split="train"), replace(two, split="test")]
    assert said(run(tmp_path, cut)) == ["", "user in another split"]


def test_what_was_kept_or_answered_stays_whatever_is_added_before_it(tmp_path: Path) -> None:
    assert said(run(tmp_path, [OTHER, Asked(prompt(OTHER, 9), first=True)])) == ["exact duplicate", ""]


@given(st.lists(st.text("ab ", min_size=1, max_size=8), max_size=12), st.lists(st.text("ab ", min_size=1, max_size=8), max_size=6))
def test_added_data_drops_nothing_that_was_kept(tmp_path_factory: pytest.TempPathFactory, before: list[str], added: list[str]) -> None:
    folder = tmp_path_factory.mktemp("added")
    first = run(folder, before)
    kept = (first.reasons == 0).tolist()
    again = run(folder, [*added, *(Asked(prompt(text, n), first=stays) for n, (text, stays) in enumerate(zip(before, kept, strict=True)))])
    assert all(now == 0 for now, stays in zip(again.reasons[len(added) :].tolist(), kept, strict=True) if stays)


def planted(rng: random.Random, texts: int) -> tuple[list[str], list[int]]:
    """Texts of 12 to 60 words; every tenth is an earlier one with one word in twenty changed, named by its number."""
    rows, of = list[str](), list[int]()
    for number in range(texts):
        if number % 10 == 9:
            source = rng.randrange(len(rows))
            words = rows[source].split()
            for _ in range(max(1, len(words) // 20)):
                words[rng.randrange(len(words))] = made_up(rng, 1)
            rows.append(" ".join(words))
            of.append(source)
        else:
            rows.append(made_up(rng, rng.randint(20, 60)))
            of.append(-1)
    return rows, of


def test_planted_near_duplicates_are_found_and_nothing_else(tmp_path: Path) -> None:
    rows, of = planted(random.Random(1), 1000)
    curated = run(tmp_path, rows, PromptsConfig(prefix=0, near=0.7))
    dropped = {row for row, reason in enumerate(said(curated)) if reason}
    real = {row for row, source in enumerate(of) if source >= 0}
    assert dropped <= real
    assert len(dropped) / len(real) >= 0.95


@given(st.text(max_size=60), st.text(max_size=60))
def test_the_estimate_is_the_jaccard_similarity_of_the_pieces(one: str, other: str) -> None:
    pieces: list[set[bytes]] = [
        {t[i : i + 6] for i in range(max(1, len(t) - 5))} for t in (x.encode().ljust(6, b"\0") for x in (one, other))
    ]
    true = len(pieces[0] & pieces[1]) / len(pieces[0] | pieces[1])
    a, b = sketch([one, other])
    assert abs(float((a == b).mean()) - true) < 0.25
    assert (one == other) <= bool((a == b).all())


def test_of_a_chain_the_ends_stay() -> None:
    signatures = np.arange(3 * NUMBERS, dtype=np.uint32).reshape(3, NUMBERS)
    signatures[1, :110] = signatures[0, :110]
    signatures[2, 20:] = signatures[1, 20:]
    assert near(signatures, np.arange(3), 0.8).tolist() == [-1, 0, -1]
    assert near(signatures, np.array([1, 0, 2]), 0.8).tolist() == [1, -1, 1]


def test_first_of_key() -> None:
    keys = np.array([7, 8, 7, 0, 0, 8], dtype=np.uint64)
    assert first_of_key(keys, np.array([5, 4, 3, 2, 1])).tolist() == [-1, 5, 2, 3, 4, 5]


def test_short_items_of_an_evaluation_set_are_met_whole() -> None:
    evaluation = Evaluation.of(["What is the capital of France?", "Hi"], 13)
    assert evaluation.holds(normal("what is the capital of france"))
    assert not evaluation.holds(normal("what is the capital of france and of spain"))
    assert not evaluation.holds("hi")
    chinese = Evaluation.of(["小明有五个苹果，他吃了两个，请问小明现在还剩几个苹果？"], 13)
    assert chinese.holds(normal("题目：小明有五个苹果，他吃了两个，请问小明还有吗"))
    assert list(strings({"a": ["b", {"c": "d"}], "e": 1})) == ["b", "d"]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("What is the capital of France?", "en"),
        ("¿Cuál es la capital de Francia?", "es"),
        ("Quelle est la capitale de la France ?", "fr"),
        ("Was ist die Hauptstadt von Frankreich?", "de"),
        ("Qual é a capital da França?", "pt"),
        ("法国的首都是哪里？", "zh"),
        ("用Python写一个排序程序", "zh"),
        ("フランスの首都はどこですか", "ja"),
        ("프랑스의 수도는 어디입니까", "ko"),
        ("Какая столица Франции?", "ru"),
        ("12345 !!!", "und"),
        ("", "und"),
    ],
)
def test_languages(text: str, code: str) -> None:
    assert language(text) == code


@pytest.mark.parametrize(
    ("text", "case"),
    [
        ("Summarize this for a second-grade student: the moon ...", "summarization"),
        ("Write a short story about a bear who makes friends with a seal.", "generation"),
        ("List five ideas for how to regain enthusiasm for my career", "brainstorming"),
        ("Rewrite this sentence to be more polite: go away", "rewrite"),
        ("Classify the sentiment of this tweet: I hate it", "classification"),
        ("Extract all place names from the article below", "extraction"),
        ("Based on the passage, who built the tower?", "closed_qa"),
        ("Who built the statue of liberty?", "open_qa"),
        ("Hello, how are you", "chat"),
        ("把下面的句子翻译成英文", "rewrite"),
        ("lorem", "other"),
    ],
)
def test_use_cases(text: str, case: str) -> None:
    assert use_case((Message("user", text),)) == case


def test_a_conversation_is_a_chat_and_pairs_are_few_shot() -> None:
    assert use_case((Message("user", "Who?"), Message("assistant", "Me."), Message("user", "Why?"))) == "chat"
    assert is_few_shot((Message("user", "Tweet: I like it\nSentiment: good\n\nTweet: Bad\nSentiment: bad\n\nTweet: so so\nSentiment:"),))
    assert not is_few_shot((Message("user", "Question: Who?\nAnswer:"),))


def test_settings_that_cannot_be_are_refused() -> None:
    with pytest.raises(UsageError, match="near"):
        PromptsConfig(near=1.5)
    with pytest.raises(UsageError, match="min_chars"):
        PromptsConfig(min_chars=10, max_chars=5)
