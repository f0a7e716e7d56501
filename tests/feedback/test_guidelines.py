"""Two guideline sets in two languages that say the same, each in its own order."""

from __future__ import annotations

import hashlib
import re
from typing import get_args

import pytest

from accord.errors import UsageError
from accord.feedback.guidelines import Language, load, reference
from accord.records import Guideline, GuidelineSet

SETS: tuple[GuidelineSet, ...] = get_args(GuidelineSet)
LANGUAGES: tuple[Language, ...] = get_args(Language)
CRITERIA = {"en": ("Helpful", "Truthful", "Harmless"), "zh": ("有用", "真实", "无害")}
HIGH_STAKES = {"en": ("health", "therapy", "law", "loans", "children"), "zh": ("健康", "心理治疗", "法律", "贷款", "儿童")}
BORDERLINE = {"en": "customer assistant who is trying to help me", "zh": "真心想帮我的客服助手"}


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("set", SETS)
def test_each_text_has_criteria_high_stakes_and_the_borderline_rule(set: GuidelineSet, language: Language) -> None:
    text = load(set, language)
    criteria = re.findall(r"^\*\*(\w+)[.。]\*?\*?", text, re.MULTILINE)
    helpful, truthful, harmless = CRITERIA[language]
    assert criteria == ([helpful, truthful, harmless] if set == "training" else [truthful, harmless, helpful])
    assert all(domain in text.lower() for domain in HIGH_STAKES[language])
    assert BORDERLINE[language] in text


@pytest.mark.parametrize("set", SETS)
def test_a_translation_has_the_shape_of_the_english_text(set: GuidelineSet) -> None:
    shapes = [re.findall(r"^(#+|\d+\.|-|\*\*)", load(set, language), re.MULTILINE) for language in LANGUAGES]
    assert shapes[0] == shapes[1]
    flags = [load(set, language).count("·") for language in LANGUAGES]
    assert flags[0] == flags[1]


def test_the_sets_differ_in_their_conflict_rules() -> None:
    assert "helpfulness comes first" in load("training")
    assert "Truthful and harmless outrank helpful" in load("evaluation")
    assert "有用排在第一位" in load("training", "zh")
    assert "真实与无害高于有用" in load("evaluation", "zh")


@pytest.mark.parametrize("set", SETS)
def test_the_version_is_the_digest_of_the_english_text(set: GuidelineSet) -> None:
    assert reference(set) == Guideline(set, hashlib.sha256(load(set, "en").encode()).hexdigest()[:12])


def test_a_changed_text_is_another_version() -> None:
    assert reference("training").version != reference("evaluation").version


@pytest.mark.parametrize(("set", "language"), [("training", "fr"), ("both", "en"), ("../store", "en")])
def test_what_is_not_there_is_refused_by_name(set: GuidelineSet, language: Language) -> None:
    with pytest.raises(UsageError, match=f"{language if set == 'training' else set}"):
        load(set, language)
