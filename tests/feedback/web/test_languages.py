"""Nothing on the site is said in one language only, and placeholders survive translation."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from babel.messages.extract import extract_from_dir

from accord.feedback import refusals
from accord.feedback.queue import KINDS
from accord.feedback.web import translations
from accord.feedback.web.asked import FLAG_KEYS
from accord.feedback.web.languages import catalogue, choose, translate
from accord.records import PROMPT_FLAGS, RESPONSE_FLAGS
from accord.settings.questions import usual

WEB = Path(translations.__file__).parent
SAID = sorted(
    {str(found[2]) for found in extract_from_dir(WEB, [("**.py", "python"), ("**/templates/**.html", "jinja2")], keywords={"_": None})}
)


def test_every_text_is_in_the_chinese_catalogue_and_none_is_left_over() -> None:
    assert len(SAID) > 150
    assert set(catalogue("zh_CN")) == set(SAID)


@pytest.mark.parametrize("text", SAID)
def test_a_translation_is_chinese_and_keeps_the_placeholders(text: str) -> None:
    chinese = catalogue("zh_CN")[text]
    places = lambda said: sorted(re.findall(r"\{\w+\}", said))  # noqa: E731
    assert places(chinese) == places(text)
    assert re.search(r"[\u4e00-\u9fff]", chinese)


def test_words_that_are_chosen_by_name_are_all_there() -> None:
    assert usual().flags("response") == RESPONSE_FLAGS
    assert usual().flags("prompt") == PROMPT_FLAGS
    for question in usual().by_name.values():
        assert set(question.text) == set(question.definition) == {"en", "zh"}, "explained on the page, in both languages"
    assert set(translations.REFUSALS) == set(refusals.KEYS)
    assert set(translations.KINDS) == set(translations.HINTS) == set(KINDS)
    assert len(set(FLAG_KEYS)) == len(FLAG_KEYS) >= len(RESPONSE_FLAGS) == len(PROMPT_FLAGS)
    assert not set(FLAG_KEYS) & set("zxvrbin?"), "keys of other things"


@pytest.mark.parametrize(
    ("asked", "accepted", "found"),
    [
        (None, None, "en"),
        (None, "zh-CN,zh;q=0.9,en;q=0.8", "zh_CN"),
        (None, "zh", "zh_CN"),
        (None, "zh-Hans-CN", "zh_CN"),
        (None, "fr-FR,en-GB;q=0.5", "en"),
        (None, "ja", "en"),
        ("zh_CN", "en", "zh_CN"),
        ("xx", "zh-CN", "zh_CN"),
        (None, ";;,,=", "en"),
    ],
)
def test_the_language_is_the_persons_choice_then_the_browsers(asked: str | None, accepted: str | None, found: str) -> None:
    assert choose(asked, accepted) == found


def test_a_text_without_translation_is_said_in_english() -> None:
    assert translate("zh_CN", "not there {n}", n=3) == "not there 3"
    assert translate("en", "Hello, {name}", name="{x}<b>") == "Hello, {x}<b>"
