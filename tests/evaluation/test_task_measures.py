"""Measures of InstructGPT's tasks: each on an answer that does its task, and on one that does not."""

from __future__ import annotations

import pytest

from accord.evaluation.task_measures import ALIASES, MEASURES, constraints, measured, source_of
from accord.records import Message, Prompt

SOURCE = "The old mill stands by the river. Ann keeps it, and bakes bread on Sunday."


def prompt(use_case: str, text: str) -> Prompt:
    return Prompt("p", (Message("user", text),), use_case)


def one(use_case: str, asked: str, text: str, *references: str) -> dict[str, float]:
    found = measured([prompt(use_case, asked)], [text], [list(references)])
    return {name: values[0] for name, values in found.get(use_case, {}).items()}


def test_the_source_is_the_longest_part() -> None:
    assert source_of(prompt("summarise", f"Summarise this text: {SOURCE}")) == SOURCE
    assert source_of(prompt("summarise", f"{SOURCE}\nIn short?")) == SOURCE


def test_a_summary_covers_its_source_in_fewer_words() -> None:
    good = one("summarise", f"Summarise: {SOURCE}", "Ann keeps the old mill by the river.")
    made_up = one("summarise", f"Summarise: {SOURCE}", "A castle burned down yesterday.")
    assert good["source_coverage"] > 0.4 > made_up["source_coverage"]
    assert good["from_source"] == 1 > made_up["from_source"]
    assert good["length_ratio"] < 0.6


def test_a_rewritten_text_keeps_words_and_changes_their_order() -> None:
    copied = one("rewrite", f"Say it otherwise: {SOURCE}", SOURCE)
    assert (copied["kept_words"], copied["changed_form"]) == (1, 0)
    turned = one("rewrite", f"Say it otherwise: {SOURCE}", "On Sunday bread is what Ann bakes; keeps river mill old stands.")
    assert turned["kept_words"] == 1
    assert turned["changed_form"] > 0.7


def test_answers_from_a_text_and_without_one() -> None:
    quoted = one("closed_qa", f"{SOURCE}\nWho keeps the mill?", "Ann keeps it.", "Ann")
    assert quoted["from_source"] == 1
    assert 0 < quoted["token_f1"] < 1
    assert one("open_qa", "Who keeps the mill?", "ann", "Ann")["exact"] == 1
    assert one("open_qa", "Who keeps the mill?", "ann") == {}
    assert one("extract", f"{SOURCE}\nNames?", "Bob", "Ann") == {"from_source": 0, "exact": 0, "token_f1": 0}


def test_a_label_is_right_alone() -> None:
    prompts = [prompt("classification", f"Is it good? {i}") for i in range(4)]
    found = measured(prompts, ["Good!", "good or bad", "not good", "It is bad"], [["good"], ["good"], ["not good"], ["good"]])
    assert found["classify"]["label_accuracy"] == [1, 1, 1, 0]  # "bad" is a label of no reference
    labels = measured(prompts, ["Good!", "good or bad", "not good", "It is bad"], [["good"], ["good"], ["not good"], ["bad"]])
    assert labels["classify"]["label_accuracy"] == [1, 0, 1, 1]


@pytest.mark.parametrize(
    ("asked", "text", "kept"),
    [
        ("Write a story in two sentences.", "One came. Two left.", [True]),
        ("Write at most 3 words with the word 'mill'.", "The old mill stands", [False, True]),
        ("At least four lines, please", "a\nb\n\nc\nd", [True]),
        ("Fewer than 3 words", "one two three", [False]),
        ("写一句话，不超过5个字", "磨坊在河边上", [False]),
        ("Write about a mill", "A mill.", []),
        ('Write. Do not use the word "very".', "A mill.", [True]),
        ("Don't mention 'rye', without the word 'mill'", "A mill.", [True, False]),
        ("Do not be long. Use 'rye'", "A mill.", [False]),
    ],
)
def test_countable_constraints(asked: str, text: str, kept: list[bool]) -> None:
    assert constraints(asked, text) == kept


def test_constraints_are_measured_where_there_are_some() -> None:
    assert one("generation", "Write in 2 words", "Two words")["kept_constraints"] == 1
    assert one("generation", "Write", "Two words") == {}


def test_ideas_are_counted_once() -> None:
    assert one("brainstorm", "Ideas?", "1. Bake\n2. Swim\n3. bake!") == {"ideas": 3, "distinct_ideas": pytest.approx(2 / 3)}
    assert one("brainstorm", "Ideas?", "")["ideas"] == 0
    assert one("chat", "Hi", "Hello") == {}
    assert set(ALIASES.values()) <= {*MEASURES, "classify"}
