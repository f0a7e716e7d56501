"""Answers of one meaning, and the entropy over meanings, held against enumeration."""

from __future__ import annotations

import itertools
import math
import random

import pytest

from accord.data.semantics import (
    UNKNOWN,
    ShortAnswers,
    clusters,
    discrete_entropy,
    holds_answer,
    semantic_entropy,
    short_answer,
)

ADA = "Where does Ada live?"


@pytest.mark.parametrize(
    ("question", "alike"),
    [
        (ADA, ["Ada lives on Hill Street.", "Hill Street", "Good morning! She lives on Hill Street. Do you need anything else?"]),
        ("When was it built?", ["It was built in 1887.", "1887", "I think 1887!"]),
        ("Why does Ned enjoy juggling?", ["Ned does not enjoy juggling. Ned enjoys climbing.", "Ned enjoys climbing."]),
        ("艾达住在哪里？", ["艾达住在山街。", "山街"]),
        ("How cold is it?", ["It is -5 degrees.", "\N{MINUS SIGN}5 degrees"]),
    ],
)
def test_an_answer_is_what_it_adds_to_its_question(question: str, alike: list[str]) -> None:
    assert len({short_answer(question, text) for text in alike}) == 1


@pytest.mark.parametrize(
    ("question", "one", "other"),
    [
        (ADA, "Ada lives on Hill Street.", "Ada lives on Mill Lane."),
        ("When was it built?", "It was built in 1887.", "It was built in 1888."),
        ("Is it open?", "Yes, it is.", "No, it is not."),
        ("艾达住在哪里？", "艾达住在山街。", "艾达住在水街。"),
        ("How much is pi?", "Pi is 3.14.", "Pi is 3.99."),
        ("How cold is it?", "-5 degrees", "5 degrees"),
        ("Which country is it?", "The U.S.A.", "The U.K."),
        ("Which language is it?", "C++", "C"),
    ],
)
def test_other_answers_stay_apart(question: str, one: str, other: str) -> None:
    assert short_answer(question, one) != short_answer(question, other)


def test_a_number_among_chinese_characters_is_found() -> None:
    assert holds_answer("他有3个儿子。", "3")
    assert not holds_answer("他有13个儿子。", "3")
    assert not holds_answer("It is -5 degrees.", "5 degrees")


def test_admissions_are_one_cluster_whatever_their_words() -> None:
    given = ["I do not know where Ada lives.", "Nobody knows.", "Ada lives on Hill Street."]
    assert ShortAnswers().groups([(ADA, given), (ADA, given[:1])]) == [[UNKNOWN, UNKNOWN, "hill street"], [UNKNOWN]]


def test_a_text_joins_the_first_cluster_whose_first_text_means_the_same() -> None:
    near = {frozenset(("a", "b")), frozenset(("b", "c"))}  # b is like a, c is like b and not like a
    assert clusters(["a", "b", "c", "a", "d"], lambda one, other: frozenset((one, other)) in near) == [0, 0, 1, 0, 2]


def test_the_entropies_are_those_of_a_sum_written_out() -> None:
    groups = ["x", "x", "y", "z"]
    assert discrete_entropy(groups) == pytest.approx(-(0.5 * math.log(0.5) + 2 * 0.25 * math.log(0.25)))
    probabilities = [0.4, 0.2, 0.3, 0.1]
    by_hand = -(0.6 * math.log(0.6) + 0.3 * math.log(0.3) + 0.1 * math.log(0.1))
    assert semantic_entropy(groups, [math.log(each) for each in probabilities]) == pytest.approx(by_hand)
    # Log-probabilities that are not normalised, far below what exp can hold, change nothing.
    assert semantic_entropy(groups, [math.log(each) - 2000 for each in probabilities]) == pytest.approx(by_hand)
    assert semantic_entropy(groups, [-3.0] * 4) == pytest.approx(discrete_entropy(groups))
    assert semantic_entropy(["x"] * 3, [-1.0, -2.0, -3.0]) == pytest.approx(0, abs=1e-9)
    assert discrete_entropy(["x"] * 3) == 0


def test_the_mean_over_all_samples_of_two_is_the_expected_discrete_entropy() -> None:
    """Every sample of two answers, enumerated with its probability: log 2 where they differ, 0 where they agree."""
    answers = {"a": 0.5, "b": 0.3, "c": 0.2}
    expected = sum(answers[one] * answers[other] * discrete_entropy([one, other]) for one, other in itertools.product(answers, repeat=2))
    assert expected == pytest.approx(math.log(2) * (1 - sum(p * p for p in answers.values())))
    drawn = random.Random(0).choices(list(answers), list(answers.values()), k=20_000)
    exact = -sum(p * math.log(p) for p in answers.values())
    assert discrete_entropy(drawn) == pytest.approx(exact, abs=0.02)


def test_a_reference_answer_stands_in_a_text_word_for_word() -> None:
    assert holds_answer("It is in Paris, France.", "paris")
    assert holds_answer("She was born in New York.", "New York")
    assert not holds_answer("She was born in York, not in New England.", "New York")
    assert not holds_answer("He is 42.", "4")
    assert not holds_answer("anything", "")
