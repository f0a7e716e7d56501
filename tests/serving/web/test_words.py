"""Nothing in the chat is said in one language only."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from babel.messages.extract import extract_from_dir

from accord.feedback import consents
from accord.feedback.reactions import KINDS, REASONS
from accord.feedback.web.languages import catalogue, translate
from accord.serving.web import translations
from accord.serving.web.site import PACKAGE, ChatSite

WEB = Path(translations.__file__).parent
FOUND = extract_from_dir(WEB, [("**.py", "python"), ("**/templates/**.html", "jinja2")], keywords={"_": None})
SAID = sorted({str(found[2]) for found in FOUND} | {consents.TEXT})
OWN, HOUSE = catalogue("zh_CN", PACKAGE), catalogue("zh_CN")


def test_every_text_is_translated_here_or_in_the_house_and_none_is_left_over() -> None:
    assert len(SAID) > 80
    assert not [text for text in SAID if text not in OWN and text not in HOUSE]
    assert not set(OWN) - set(SAID)


@pytest.mark.parametrize("text", SAID)
def test_a_translation_is_chinese_and_keeps_the_placeholders(text: str) -> None:
    chinese = translate("zh_CN", text, ChatSite.packages)
    assert sorted(re.findall(r"\{\w+\}", chinese)) == sorted(re.findall(r"\{\w+\}", text))
    assert re.search(r"[\u4e00-\u9fff]", chinese)


def test_words_that_are_chosen_by_name_are_all_there() -> None:
    assert set(translations.REASONS) == set(REASONS)
    assert set(translations.WHAT) == set(KINDS)
    assert set(translations.CHOICES) == set(translations.BETTER)
