"""Two guideline sets in two languages that say the same, each in its own order."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accord.errors import InputError, UsageError
from accord.feedback.guidelines import (
    Change,
    Language,
    changes_since_read,
    differences,
    keep,
    last_read,
    load,
    mark_read,
    path_of,
    reference,
    text_of,
    write_out,
)
from accord.feedback.store import Store
from accord.records import Guideline, GuidelineSet, Labeler

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
    assert len(re.findall(r'^- \*["“]', text, re.MULTILINE)) == 3, "three examples"


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


NOW = datetime(2026, 1, 2, tzinfo=UTC)


def edit(project: Path, text: str, language: Language = "en") -> None:
    path_of(project, "training", language).parent.mkdir(exist_ok=True)
    path_of(project, "training", language).write_text(text, "utf-8")


def test_a_project_edits_its_own_copy(tmp_path: Path) -> None:
    assert reference("training", tmp_path) == reference("training")
    assert len(write_out(tmp_path)) == 4
    assert load("training", "zh", tmp_path) == load("training", "zh")
    edit(tmp_path, "# Ours")
    assert write_out(tmp_path) == []
    assert load("training", "en", tmp_path) == "# Ours"
    first = reference("training", tmp_path)
    edit(tmp_path, "# 我们的", "zh")
    assert len({first.version, reference("training", tmp_path).version, reference("training").version}) == 3
    assert reference("evaluation", tmp_path).set == "evaluation"


def test_one_language_of_a_project_speaks_for_both(tmp_path: Path) -> None:
    edit(tmp_path, "# Ours")
    assert load("training", "zh", tmp_path) == "# Ours"


@pytest.mark.parametrize("content", [b"", b" \n", b"\xff", b"x" * 200_001])
def test_a_text_that_cannot_be_used_is_named(tmp_path: Path, content: bytes) -> None:
    edit(tmp_path, "")
    path_of(tmp_path, "training", "en").write_bytes(content)
    with pytest.raises(InputError, match=r"training\.en\.md"):
        reference("training", tmp_path)


def test_a_labeler_sees_what_changed_since_the_version_read_last(store: Store, tmp_path: Path) -> None:
    store.add_labelers([Labeler("ann", "person")])
    edit(tmp_path, "# Ours\nBe kind.\nBe brief.\n")
    old = keep(store, "training", now=NOW, project=tmp_path)
    assert changes_since_read(store, "ann", old) == []
    mark_read(store, "ann", old, now=NOW)
    mark_read(store, "ann", old, now=NOW + timedelta(days=1))
    edit(tmp_path, "# Ours\nBe true.\nBe brief.\n")
    new = keep(store, "training", now=NOW, project=tmp_path)
    assert keep(store, "training", now=NOW, project=tmp_path) == new != old
    assert last_read(store, "ann", "training") == old
    assert changes_since_read(store, "ann", new) == [
        Change("same", "# Ours"),
        Change("removed", "Be kind."),
        Change("added", "Be true."),
        Change("same", "Be brief."),
    ]
    mark_read(store, "ann", new, now=NOW + timedelta(days=2))
    assert changes_since_read(store, "ann", new) == []
    assert text_of(store, old) == "# Ours\nBe kind.\nBe brief.\n"


@given(old=st.lists(st.sampled_from("abc")), new=st.lists(st.sampled_from("abc")))
def test_the_differences_hold_both_texts(old: list[str], new: list[str]) -> None:
    changes = differences("\n".join(old), "\n".join(new))
    if old != new:
        assert [change.line for change in changes if change.kind != "added"] == old
        assert [change.line for change in changes if change.kind != "removed"] == new
