"""Nothing on the project's site is said in one language only."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from babel.messages.extract import extract_from_dir

from accord.feedback.web.languages import catalogue, translate
from accord.site import navigation
from accord.site.project_site import PACKAGE, ProjectSite

ROOM = Path(navigation.__file__).parent
FOUND = extract_from_dir(ROOM, [("**.py", "python"), ("**/templates/**.html", "jinja2")], keywords={"_": None})
SAID = sorted({str(found[2]) for found in FOUND})
OWN = catalogue("zh_CN", PACKAGE)
ELSEWHERE = [known for package in ProjectSite.packages[1:] for known in catalogue("zh_CN", package)]


def test_every_text_is_translated_here_or_in_the_parts_and_none_is_left_over() -> None:
    assert len(SAID) > 10
    assert not [text for text in SAID if text not in OWN and text not in ELSEWHERE]
    assert not set(OWN) - set(SAID)


@pytest.mark.parametrize("text", SAID)
def test_a_translation_is_chinese_and_keeps_the_placeholders(text: str) -> None:
    chinese = translate("zh_CN", text, ProjectSite.packages)
    assert sorted(re.findall(r"\{\w+\}", chinese)) == sorted(re.findall(r"\{\w+\}", text))
    assert re.search(r"[\u4e00-\u9fff]", chinese)


def test_no_part_changes_the_words_of_another() -> None:
    """The site's catalogue is looked up first, then the chat's, then the labeling site's: a text that two have means one thing."""
    catalogues = [catalogue("zh_CN", package) for package in ProjectSite.packages]
    for place, first in enumerate(catalogues):
        for second in catalogues[place + 1 :]:
            assert not [text for text in set(first) & set(second) if first[text] != second[text]]
