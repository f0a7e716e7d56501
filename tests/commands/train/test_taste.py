"""`accord reward --personal` and `accord taste`: opposite people, a new one, the shared score as it was, erasure, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_project import FLAGS, PROMPTS, labeled, rankings
from tiny import SENTENCES

from accord.commands.data.forget import forget
from accord.commands.serve.rules import rules_of
from accord.commands.tastes import PersonalScorer
from accord.commands.train.reward import reward
from accord.commands.train.reward_tastes import aside
from accord.commands.train.taste import taste
from accord.errors import InputError, ModelError, UsageError
from accord.feedback import accounts, choices, tastes
from accord.feedback.store import Store
from accord.models.tastes import within_lines
from accord.records import Labeler, Message, Ranking
from accord.runtime.project import Project
from accord.settings import RewardConfig, ServeConfig, TasteConfig

CONFIG = RewardConfig(epochs=1, lr=1e-3, warmup_steps=1, personal=True, personal_group="group", personal_dims=2)


@pytest.fixture(scope="module")
def divided(unlabeled: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Ann and Amy like the first response best, Bob and Ben the last; a reward model with tastes has learned from all four."""
    project = labeled(unlabeled, tmp_path_factory.mktemp("divided") / "p", [])
    with Store.open(project.store_url) as store:
        people = [("amy", "near"), ("ben", "far"), ("new", "far"), ("mixed", "")]
        store.add_labelers([Labeler(name, "person", group) for name, group in people])
        store.add_rankings(rankings([1, 2, 3], labelers="ann amy") + rankings([3, 2, 1], labelers="bob ben"))
        store.add_rankings(rankings([3, 2, 1], prompts=PROMPTS[7:], labelers="new"))
        there = rankings([1, 2, 3], prompts=PROMPTS[7:], labelers="mixed")
        back = [replace(each, id=f"{each.id}-2", ranks=(3, 2, 1)) for each in there]
        store.add_rankings(there + back)
    reward(project, config=CONFIG, flags=FLAGS)
    return project


def summary(project: Project) -> dict[str, Any]:
    return json.loads((project.run("reward") / "summary.json").read_text())["tastes"]


def test_people_who_want_the_opposite_are_told_apart_and_the_shared_model_is_as_without_them(divided: Project, tmp_path: Path) -> None:
    found = summary(divided)
    assert found["people"] == 4
    assert found["basis_rewards"] >= 1
    assert found["choice_loss_personal"] < found["choice_loss_shared"] - 0.1
    assert found["accuracy_personal"][0] > found["accuracy_shared"][0] + 0.1
    assert found["groups"]["near"]["accuracy_personal"][0] > 0.8
    assert found["groups"]["far"]["accuracy_personal"][0] > 0.8
    assert found["lines"] == "none: too few flags"
    assert found["disagreement_between"][0] > 0.5
    rows = [json.loads(line) for line in (divided.run("reward") / "people.jsonl").read_text().splitlines()]
    assert [row["labeler"] for row in rows] == ["amy", "ann", "ben", "bob"]
    again = labeled(divided, tmp_path / "again", [])
    reward(again, name="shared", config=replace(CONFIG, personal=False, personal_group=""), flags=FLAGS)
    files = [again.model(name) / "model.safetensors" for name in ("reward", "shared")]
    assert files[0].read_bytes() == files[1].read_bytes(), "who differs changes nothing of the shared score"


def test_a_new_person_is_learned_from_few_choices_and_a_contradictory_one_stays_near_the_shared_score(divided: Project) -> None:
    options: dict[str, Any] = {"config": TasteConfig(next=2, pool=5)}
    found = taste(divided.path, user="new", **options)
    assert found["choices"] == 6
    assert found["contradictions"] == 0
    assert found["choices_in_chat"].startswith("left out")
    assert found["ordered_by_own"] > 0.8
    assert [len(each["texts"]) for each in found["next"]] == [2, 2]
    assert {each["prompt"] for each in found["next"]} <= {prompt.id for prompt in PROMPTS[:7]}, "of prompts that this person has not seen"
    assert found["next"][0]["information"] >= found["next"][1]["information"] > 0
    torn = taste(divided.path, user="mixed", **options)
    assert torn["contradictions"] == 6
    assert max(abs(mean) for mean, _ in torn["weights"]) < 0.3 * max(abs(mean) for mean, _ in found["weights"])
    silent = taste(divided.path, user="new", reward="reward", config=TasteConfig(next=0))
    assert silent["next"] == []


def test_best_of_n_is_by_the_persons_own_weights(divided: Project) -> None:
    personal = PersonalScorer.open(divided, "reward", torch.float32)
    asked, texts = (Message("user", "Where is bread number 3?"),), SENTENCES[:3]
    chosen = {name: max(zip(personal.scores(asked, texts, each), texts, strict=True))[1] for name, each in personal.tastes.people.items()}
    assert chosen == {"ann": texts[0], "amy": texts[0], "bob": texts[2], "ben": texts[2]}
    readings, risks = personal.read([asked] * 3, texts)
    nobody = within_lines(readings[:, 0], personal.tastes.nobody.scores(readings), risks)
    assert nobody.tolist() == readings[:, 0].tolist()
    answered = taste(divided.path, user="ann", prompt="Where is bread?", config=TasteConfig(next=0, best_of=2, max_tokens=4))
    assert answered["answer"].keys() == {"personal", "shared"}


def test_a_forgotten_persons_weights_go(divided: Project, tmp_path: Path) -> None:
    project = labeled(divided, tmp_path / "p", [])
    assert "bob" in (project.model("reward") / "tastes" / "people.jsonl").read_text()
    copies = forget(project.path, user="bob")["copies"]
    assert "models/reward/tastes/people.jsonl" in copies
    for path in (project.model("reward") / "tastes" / "people.jsonl", project.run("reward") / "people.jsonl"):
        assert '"bob"' not in path.read_text()
        assert '"ann"' in path.read_text()
    assert PersonalScorer.open(project, "reward", torch.float32).tastes.people.keys() == {"amy", "ann", "ben"}


def flagged(labelers: str) -> list[Ranking]:
    """Rankings whose first response everybody flags as harmful, though some like it best."""
    made = rankings([1, 2, 3], qualities=[5, 4, 3], labelers=labelers)
    harmful = {0: ("encourages_harm",)}
    return [replace(each, ratings=tuple(replace(r, flags=harmful.get(i, ())) for i, r in enumerate(each.ratings))) for each in made]


def test_no_taste_crosses_the_line_that_all_flags_drew(unlabeled: Project, tmp_path: Path) -> None:
    """Ann and Bob always chose what everybody flagged; neither gets it where the shared score would not give it."""
    project = labeled(unlabeled, tmp_path / "p", [])
    with Store.open(project.store_url) as store:
        store.add_rankings(flagged("ann") + [replace(each, ranks=(3, 1, 2)) for each in flagged("bob")])
    reward(project, config=replace(CONFIG, epochs=4, lr=1e-2, kinds="person"), flags=FLAGS)
    assert summary(project)["lines"] == "harmless"
    personal = PersonalScorer.open(project, "reward", torch.float32)
    asked = (Message("user", "Where is bread number 2?"),)
    readings, risks = personal.read([asked] * 3, SENTENCES[:3])
    assert risks[0, 0] > risks[1:, 0].max() + 0.2, "the flagged response is the risky one"
    shared = readings[:, 0].copy()
    shared[0] = shared.min() - 1  # as if the shared score chose another
    for taste_of in (*personal.tastes.people.values(), personal.tastes.told(personal.tastes.nobody, {"length": -1})):
        personal_scores = taste_of.scores(readings)
        personal_scores[0] = 100.0
        assert within_lines(shared, personal_scores, risks)[0] == -float("inf")


def test_lines_are_drawn_by_the_flags_of_those_who_are_learned_from(unlabeled: Project, tmp_path: Path) -> None:
    """Ann is a person; the others' flags are of another kind, of the group that is held out, or on held-out prompts."""
    project = labeled(unlabeled, tmp_path / "p", [])
    with Store.open(project.store_url) as store:
        store.add_labelers([Labeler("machine", "simulated", ""), Labeler("apart", "person", "kept out")])
        store.add_rankings(flagged("ann") + flagged("machine") + flagged("apart"))
        split = {prompt.id: prompt.split for prompt in store.prompts()}
        found = aside(store, replace(CONFIG, kinds="person", held_out_group="kept out"))
    assert "validation" in {split[prompt.id] for prompt in PROMPTS}
    expected = {f"{prompt.id}-{i}" for prompt in PROMPTS if split[prompt.id] == "train" for i in range(3)}
    assert {id: len(each) for id, each in found.flags.items()} == dict.fromkeys(expected, 1)


def test_what_cannot_be_learned_or_found_is_refused(unlabeled: Project, divided: Project, tmp_path: Path) -> None:
    alone = labeled(unlabeled, tmp_path / "alone", rankings(labelers="ann"))
    with pytest.raises(InputError, match="one labeler alone"):
        reward(alone, config=CONFIG, flags=FLAGS)
    assert not alone.model("reward").exists()
    reward(alone, config=replace(CONFIG, personal=False, personal_group=""), flags=FLAGS)
    with pytest.raises(ModelError, match="knows no tastes"):
        taste(alone.path, user="ann")
    with pytest.raises(InputError, match="no person 'nobody'"):
        taste(divided.path, user="nobody")
    with pytest.raises(UsageError, match="personal_group needs personal"):
        RewardConfig(personal_group="group")
    with pytest.raises(UsageError, match="group, groups, language or a field"):
        RewardConfig(personal=True, personal_group="No field")
    with pytest.raises(UsageError, match="no labeler's profile has 'town'"):
        reward(divided, name="by-town", config=replace(CONFIG, personal_group="town"), flags=FLAGS)
    with pytest.raises(UsageError, match="personal learns from rankings"):
        RewardConfig(personal=True, learn_from="ratings")


def test_the_chat_chooses_by_the_taste_of_those_who_switched_it_on(divided: Project, tmp_path: Path) -> None:
    project = labeled(divided, tmp_path / "p", [])
    asked, texts = (Message("user", "Where is bread number 3?"),), SENTENCES[:3]
    with (project.path / "accord.toml").open("a") as file:
        file.write("\n[chat]\ntastes = true\n")
    project = Project.open(project.path)
    with pytest.raises(UsageError, match="one answer"):
        rules_of(project, ServeConfig())
    rules = rules_of(project, ServeConfig(best_of=3, reward="reward"), "float32")
    assert rules.score_for is not None
    with Store.open(project.store_url) as store:
        accounts.invite(store, "user", "Bob", by="lead", labeler="bob", now=datetime.now(UTC))
        assert rules.score_for("bob") is None
        tastes.say(store, "bob", {}, on=True)
        score = rules.score_for("bob")
        assert score is not None
        worth = list(score(asked, texts))
        assert worth.index(max(worth)) == 2
        kept = tastes.of(store, "bob")
        assert (kept.choices, kept.contradictions) == (27, 0)
        assert kept.leans


def test_a_choice_is_read_by_the_model_once_and_only_as_many_as_are_needed(divided: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    personal = PersonalScorer.open(divided, "reward", torch.float32)
    read = list[int]()
    before = personal.scorer.model.read

    def counted(prompts: Any, responses: Any) -> Any:
        read.append(len(responses))
        return before(prompts, responses)

    monkeypatch.setattr(personal.scorer.model, "read", counted)
    with Store.open(divided.store_url) as store:
        chosen = choices.of_person(store, "bob")
        assert chosen == [row for row in store.ranked_prompts() if row.labeler == "bob"]
        assert choices.of_person(store, "bob", most=4) == chosen[:4]
    first = personal.fit(chosen[:4])
    assert sum(read) == 3 * 4
    personal.fit(chosen[:5])
    assert sum(read) == 3 * 5, "the new one alone"
    again = personal.fit(chosen[:4])
    assert sum(read) == 3 * 5
    assert again.choices == first.choices
    assert np.array_equal(again.mean, first.mean)
    turned = [replace(row, ranks=tuple(reversed(row.ranks))) for row in chosen[:4]]
    assert not np.allclose(personal.fit(turned).mean, first.mean), "ranks are part of what is kept"
    monkeypatch.setattr("accord.commands.tastes.MOST_KEPT", 3)
    personal.fit(chosen[5:7])
    assert len(personal.kept) == 3
