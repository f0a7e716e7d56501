"""The lead's own fields of labelers' profiles: told by a labeler, seen by a lead, measured by, counted in the data card."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from feedback.web.conftest import HOME
from starlette.testclient import TestClient

from accord.commands.feedback.agreement import agreement
from accord.errors import UsageError
from accord.feedback import accounts
from accord.feedback.data_card import asked, markdown, rows_of
from accord.feedback.profile import FEW, NOT_SAID, told, without_few
from accord.feedback.snapshot import write_snapshot
from accord.feedback.store import Store
from accord.feedback.web.app import create
from accord.records import Guideline, Labeler, Message, Prompt, Ranking, Response
from accord.runtime.project import Project
from accord.settings import AgreementConfig, LabelConfig
from accord.settings.profile import fields

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECTION: dict[str, Any] = {
    "education": {
        "text": {"en": "Education", "zh": "学历"},
        "options": {"school": {"text": {"en": "at school", "zh": "中学"}}, "degree": "a degree"},
    },
    "country": {"text": "Country", "definition": "Where you live."},
}
PEOPLE = ("ann", "bob", "cas", "dan")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project.create(tmp_path / "p", settings={"label": {"profile": SECTION}})
    with Store.open(project.store_url) as store:
        prompt = Prompt("p", (Message("user", "?"),), split="train")
        store.add(prompts=[prompt], responses=[Response(f"r{n}", "p", f"{n}", "sft") for n in range(3)])
        store.add_labelers([Labeler(who, "person", "all") for who in PEOPLE])
        ranks = {"ann": (1, 2, 3), "bob": (1, 2, 3), "cas": (3, 2, 1), "dan": (1, 2, 3)}
        rule = Guideline("training", "v")
        store.add_rankings([Ranking(f"k-{who}", "p", who, ("r0", "r1", "r2"), ranks[who], rule, NOW.isoformat()) for who in PEOPLE])
    return project


def joined(store: Store, folder: Path, role: Any = "labeler", name: str = "ann") -> TestClient:
    client = TestClient(create(store, LabelConfig(), name="bakery", folder=folder), base_url=HOME)
    token = accounts.invite(store, role, name, by="operator", now=datetime.now(UTC), labeler=name if name in PEOPLE else "")
    assert client.post("/join", data={"token": token}, follow_redirects=False).status_code == 303
    return client


def profile_of(store: Store) -> Any:
    ann = accounts.account(store, "ann")
    return ann and ann.profile


def csrf(page: Any) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', page.text)
    return found[1] if found else ""


def test_a_labeler_tells_and_clears_and_a_lead_sees_it(project: Project) -> None:
    with Store.open(project.store_url) as store:
        ann, lead = joined(store, project.path), joined(store, project.path, "lead", "lea")
        page = ann.get("/profile")
        assert all(words in page.text for words in ("Education", "Where you live.", "at school"))
        form = {
            "csrf": csrf(page),
            "profile.education": "school",
            "profile.country": "  Peru\r\n<b> ",
            "profile.other": "x",
            "groups": "nurses",
        }
        assert ann.post("/profile", data=form).status_code in (200, 303)
        assert profile_of(store) == {"groups": ["nurses"], "education": "school", "country": "Peru <b>"}
        seen = lead.get("/lead/people/ann").text
        assert all(words in seen for words in ("at school", "Peru &lt;b&gt;"))
        assert "<b>" not in seen.split("<main")[1]
        ann.post("/profile", data={"csrf": csrf(page), "profile.education": "none of them"})
        assert profile_of(store) == {}


def tell(store: Store, **said: str) -> None:
    for who, value in said.items():
        accounts.invite(store, "labeler", who, by="operator", now=NOW, labeler=who)
        accounts.change_profile(store, who, lambda profile, value=value: {**profile, "education": value})


def test_agreement_is_measured_within_and_between_what_labelers_told(project: Project) -> None:
    with Store.open(project.store_url) as store:
        tell(store, ann="school", bob="school", cas="degree")
        assert told(store, "education") == {"ann": "school", "bob": "school", "cas": "degree"}
    found = agreement(project, by="education", config=AgreementConfig(resamples=20))
    assert {part: row["rankings"] for part, row in found["by"].items()} == {"(none)": 1, "degree": 1, "school": 2}
    assert found["by"]["school"]["metrics"]["pairwise_dropped"][0] == 1.0
    assert found["between"]["degree | school"][0] == 0.0
    with pytest.raises(UsageError, match=r"by is 'town'.*education, country"):
        agreement(project, by="town")


def test_the_data_card_counts_what_was_told_and_knows_nobody_by_it(project: Project) -> None:
    with Store.open(project.store_url) as store:
        tell(store, ann="school", bob="school", cas="degree", dan="school")
        file = project.path / "rankings.jsonl"
        write_snapshot(store.ranked_prompts(), file)
        card = markdown(asked(store, list(rows_of("rankings", file)), profile=fields(SECTION)))
    assert "| education | school | 3 | 3 |" in card
    assert f"| education | {FEW} | 1 | 1 |" in card
    assert f"| country | {NOT_SAID} | 4 | 4 |" in card
    assert "degree" not in card
    assert without_few(dict.fromkeys("abc", "x") | {"d": "y"}) == dict.fromkeys("abc", "x") | {"d": FEW}


@pytest.mark.parametrize(
    ("written", "line", "words"),
    [
        ('[label.profile.age]\ntext = "Age"\noption = ["a"]', 3, "no key 'option' (did you mean 'options'?)"),
        ('[label.profile.group]\ntext = "Group"', 1, "'group' already means something else"),
        ('[label.profile.age]\noptions = ["a"]', 1, "text is missing"),
        ('[label.profile]\nage = "Age"', 2, "age is a value, not a field"),
    ],
)
def test_a_typo_is_named_with_its_line(tmp_path: Path, written: str, line: int, words: str) -> None:
    project = Project.create(tmp_path / "p")
    file = project.path / "accord.toml"
    file.write_text(f"{written}\n", "utf-8")
    with pytest.raises(UsageError) as caught:
        Project.open(project.path)
    assert str(caught.value).startswith(f"{file}:{line}: label.profile"), str(caught.value)
    assert words in str(caught.value)
