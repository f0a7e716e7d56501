"""One Chinese term for each thing, and neither language goes back to wordings that were corrected (terms: docs/glossary.md)."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CHINESE = (
    ROOT / "README.zh-CN.md",
    *sorted(ROOT.glob("docs/**/*.zh-CN.md")),
    *sorted(ROOT.glob("src/accord/**/locales/*.po")),
    *sorted(ROOT.glob("src/accord/feedback/guideline_texts/*.zh.md")),
    *sorted(ROOT.glob("src/accord/report/*.py")),
    *sorted(ROOT.glob("src/accord/report/page.*")),
    *sorted(ROOT.glob("src/accord/settings/question_sets/*.toml")),
    *sorted(ROOT.glob("src/accord/recipes/*/*.zh-CN.md")),
    *sorted(ROOT.glob("src/accord/recipes/*/questions.toml")),
)
ENGLISH = (
    ROOT / "README.md",
    *(page for page in sorted(ROOT.glob("docs/**/*.md")) if ".zh-CN" not in page.name and page.name != "notebook.md"),
    *sorted(ROOT.glob("src/accord/**/templates/*.html")),
)
WRONG_CHINESE = {
    "你": "您",
    "标注者": "标注员",
    "标注人员": "标注员",
    "准则": "指南",
    "标注指引": "指南",
    r"提示(?!词|符|后解出)": "提示词",
    r"(?:一|两|每|各|该|这|那|K|k)(?:个|条)回答": "回复",
    r"模型的回答|候选回答|两个回答": "回复",
    "（次序）": "（定序）",
    "性内容(?!医学)": "色情内容",
    "并列也是一种答案": "难分高下就并列，不要随手排",
    "不会吃亏": "不会因此受到伤害",
    "判断相同的对": "成对一致率（不计平局）",
    "奖励模型值多少": "奖励模型是否可靠",
    "怎样合上": "如何形成闭环",
    "盲比": "盲测",
    "以四位保存": "4 比特量化",
    "论文结论的重跑": "复现论文结论",
    "n 选优": "best-of-n",
    "真实效用|真值": "金标（gold）效用",
    "留出用户的提示": "来自未参与训练的用户的提示词",
    "还没有的": "尚未支持",
    "给人来用": "上线使用",
    "清点": "统计",
    "不纳入|重新纳入": "排除，恢复",
    "优于 基座": "优于基座",
    r"[\u4e00-\u9fff] ·[\u4e00-\u9fff]": "两边都空格",
}
"""What is not written any more, as a regular expression, and what is written instead."""
ALLOWED = {"性内容(?!医学)": "医学或教育性内容"}
"""Where a forbidden text stands within another word."""
CODE = re.compile(r"`[^`]*`|\{%.*?%\}|\{\{(?! _\().*?\}\}")
WRONG_ENGLISH = {
    "is paid by": "name what is optimised against what",
    "word counts\\b": "say which labelers to train on",
    "is not heard": "answers are ignored",
    "what users say of": "user feedback",
    "how far they agree": "inter-annotator agreement",
    "\\bhas papers\\b": "a provenance record",
    "\\bmend(ed|s)?\\b": "fix",
    "responses a prompt\\b": "responses per prompt",
    "so many labelers as": "--overlap different labelers",
    "(?<!there )is no project\\b": "not an Accord project",
    "ties left out": "ties excluded",
    "with oneself": "self-consistency",
    "\\bhurried\\b": "rushed",
    "stands higher on the page": "position bias",
    "\\buntamed\\b": "raw",
    "whose house this is": "say where it runs",
    "servers of their own": "one server per tenant",
}


@cache
def prose_of(page: Path) -> list[str]:
    """The lines of a file without what is no prose: code, metric names, expressions of templates."""
    return [CODE.sub("", line) for line in page.read_text("utf-8").splitlines()]


def found(pages: tuple[Path, ...], pattern: str, within: str = "") -> list[str]:
    """Where a pattern stands, as file:line and the text around it."""
    places = list[str]()
    for page in pages:
        for number, line in enumerate(prose_of(page), 1):
            prose = line.replace(within, "") if within else line
            if hit := re.search(pattern, prose, re.IGNORECASE):
                places.append(f"{page.relative_to(ROOT)}:{number}: ...{prose[max(0, hit.start() - 15) : hit.end() + 15]}...")
    return places


@pytest.mark.parametrize("pattern", WRONG_CHINESE)
def test_chinese_has_one_term_each(pattern: str) -> None:
    assert len(CHINESE) > 20
    assert not (places := found(CHINESE, pattern, ALLOWED.get(pattern, ""))), f"write {WRONG_CHINESE[pattern]}: {places}"


@pytest.mark.parametrize("pattern", WRONG_ENGLISH)
def test_corrected_english_does_not_come_back(pattern: str) -> None:
    assert len(ENGLISH) > 60
    assert not (places := found(ENGLISH, pattern)), f"{WRONG_ENGLISH[pattern]}: {places}"
