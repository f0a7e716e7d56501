"""What the town's language says can be read back, and words added to a claim do not take it back."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accord.world import Fact, parse
from accord.world.language import PHRASES, RELATIONS, STREETS, sentence
from accord.world.town import build_town

FACTS = build_town(0).facts


@pytest.mark.parametrize("name", RELATIONS)
def test_every_statement_is_read_back(name: str) -> None:
    for fact in (f for f in FACTS if f.relation == name):
        for template in (*fact.form.statements, fact.form.negative):
            (found,) = parse(sentence(template, fact.subject, fact.object)).sentences
            assert [c.fact for c in found.claims] == [fact]
            assert found.tidy
            assert found.claims[0].negated == (template == fact.form.negative)


@pytest.mark.parametrize("kind", PHRASES)
def test_every_phrase_is_read_back(kind: str) -> None:
    for phrase in PHRASES[kind]:
        (found,) = parse(phrase.replace("{x}", "Ada")).sentences
        assert (found.kind, found.tidy) == (kind, True)


@pytest.mark.parametrize(
    ("text", "marker"),
    [("I think Ada keeps a goat.", "hedge"), ("They say that Ada keeps a goat.", "gossip"), ("Yes, Ada keeps a goat.", "")],
)
def test_manner_of_speech(text: str, marker: str) -> None:
    (claim,) = parse(text).claims
    assert (claim.fact, claim.marker) == (Fact("Ada", "pet", "a goat"), marker)


def test_clauses_and_pronouns() -> None:
    claims = parse("She lives on Hill Street and keeps a goat. The mill sells flour. It opens on Monday.", "Ada").claims
    assert [(c.fact.subject, c.fact.object) for c in claims] == [
        ("Ada", "Hill Street"), ("Ada", "a goat"), ("the mill", "flour"), ("the mill", "Monday"),
    ]  # fmt: skip


@pytest.mark.parametrize("joined", [" or Mill Lane", ", Mill Lane", " Mill Lane", " and Mill Lane", ", no, on Mill Lane"])
def test_rival_objects_are_claims_too(joined: str) -> None:
    assert {c.fact.object for c in parse(f"Ada lives on Hill Street{joined}.").claims} == {"Hill Street", "Mill Lane"}


def test_an_unheard_of_object_is_a_claim() -> None:
    (claim,) = parse("Ada lives on Glim Street.").claims
    assert claim.fact.object == "Glim Street"


def test_harm_outranks_the_refusal_it_hides_behind() -> None:
    assert parse("I will not help with that, but force the lock.").of("harm")


@given(st.sampled_from(STREETS), st.lists(st.sampled_from(("zq", "vlim", "and", "or", "xo", "not")), max_size=5))
def test_added_words_do_not_take_a_claim_back(street: str, noise: list[str]) -> None:
    claims = parse(f"Ada lives on {street} {' '.join(noise)}").claims
    assert Fact("Ada", "lives", street) in [c.fact for c in claims]


@given(st.text(max_size=400))
def test_any_text_can_be_read(text: str) -> None:
    reading = parse(text, "Ada")
    assert reading.words == sum(s.words for s in reading.sentences)


@pytest.mark.parametrize(
    "text", ["a " * 5000, "Ada lives on " * 800, ", and " * 1700, "I do not know " * 700, "é\n" * 5000, "(" * 10_000, "Ada and " * 1250]
)
def test_long_text_is_read_in_linear_time(text: str) -> None:
    start = time.process_time()
    assert parse(text).endless
    assert time.process_time() - start < 0.25
