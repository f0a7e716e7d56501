"""What is new since a model, where it came from in the chat, trials, the switch and the way back; no model is loaded here."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from accord.errors import InputError, ModelError, StoreError, UsageError
from accord.feedback import deployments
from accord.feedback.snapshot import write_snapshot
from accord.feedback.store import Store
from accord.records import Demonstration, Guideline, Labeler, Message, Prompt, Ranking, Response
from accord.runtime.project import Project
from accord.settings import ChatConfig, RoundConfig
from accord.stages import rounds, trials
from accord.stages.chatting import Shelf
from accord.stages.tracing import chat_turns

CONFIG = RoundConfig(least=3, alpha=0.2)
OLD = [
    Prompt(f"p{i}", (Message("user", f"Which {word} bread is baked today?"),), use_case="qa")
    for i, word in enumerate(("rye", "dark", "wheat"))
]
CHAT = Prompt("chat-t1", (Message("user", "Sort a list in Python"),), "chat", "uma", "train", "chat c1 t1")


def folder(project: Project, name: str, kind: str = "LlamaForCausalLM", **record: object) -> None:
    """A model's folder, as far as the chat looks into it."""
    path = project.model(name)
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps({"architectures": [kind], "name": name}))
    (path / "lineage.json").write_text(json.dumps({"name": name, "parents": {}, "data": {}, "at": "2026-01-01T00:00:00Z"} | record))


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Two language models and a reward model; ppo learned from the old prompts."""
    made = Project.create(tmp_path / "p")
    run = made.run("ppo")
    run.mkdir(parents=True)
    digest = write_snapshot(OLD, run / "prompts.jsonl")
    folder(made, "sft")
    folder(made, "ppo", data={"prompts": digest})
    folder(made, "reward", "LlamaForSequenceClassification")
    with Store.open(made.store_url) as store:
        store.add(prompts=OLD)
    return made


def from_chat(project: Project) -> None:
    """What a review leaves in the store."""
    with Store.open(project.store_url) as store:
        said = [Response(f"chat-a-{n}", CHAT.id, f"Answer {n}", "ppo@1") for n in (1, 2)]
        ranking = Ranking("chat-f-1", CHAT.id, "uma", ("chat-a-1", "chat-a-2"), (1, 2), Guideline("training", "chat"), "")
        written = [Demonstration("chat-f-2", CHAT, "sorted(list)", "uma")]
        store.add(labelers=[Labeler("uma", "user", "users")], demonstrations=written, responses=said, rankings=[ranking])


def test_what_is_new_is_what_the_model_has_not_seen(project: Project) -> None:
    before = rounds.whats_new(project, CONFIG)
    assert before["answering"] == "ppo"
    assert before["new"] == {"rankings": {}, "demonstrations": {}, "thumbs": {}, "prompts": {}}
    assert "drift" not in before
    from_chat(project)
    after = rounds.whats_new(project, CONFIG)
    assert after["new"] == {"rankings": {"user": 1}, "demonstrations": {"user": 1}, "thumbs": {}, "prompts": {"chat": 1}}
    assert after["agreement"] is None
    assert after["drift"] > after["drift_expected"]
    assert after["unlike"] == 1
    assert sum(topic["prompts"] for topic in after["topics"].values()) == 1


def test_lineage_names_the_turns_and_trusts_no_changed_snapshot(project: Project) -> None:
    from_chat(project)
    run = project.run("reward-2")
    run.mkdir()
    with Store.open(project.store_url) as store:
        digest = write_snapshot(store.ranked_prompts(), run / "rankings.jsonl")
    folder(project, "reward-2", "LlamaForSequenceClassification", data={"rankings": digest})
    folder(project, "ppo-2", parents={"reward-2": "x"})
    found = chat_turns(project, "ppo-2")
    assert {(one.turn, one.conversation, one.model, one.what) for one in found} == {
        ("t1", "c1", "reward-2", "rankings"),
        ("a-1", "c1", "reward-2", "rankings"),
        ("a-2", "c1", "reward-2", "rankings"),
    }
    assert chat_turns(project, "ppo") == []
    (run / "rankings.jsonl").write_text((run / "rankings.jsonl").read_text().replace("t1", "t2"))
    assert hashlib.sha256((run / "rankings.jsonl").read_bytes()).hexdigest() != digest
    assert chat_turns(project, "ppo-2") == []


def test_names_count_up(project: Project) -> None:
    assert rounds.next_name(project, "reward") == "reward-2"
    assert rounds.next_name(project, "dpo") == "dpo"
    assert rounds.newest(project, "reward") == "reward"
    for name in ("reward-2", "reward-10", "reward-old"):
        folder(project, name, "LlamaForSequenceClassification")
    assert rounds.newest(project, "reward") == "reward-10"
    assert rounds.next_name(project, "reward") == "reward-3"


def test_only_what_speaks_can_answer(project: Project) -> None:
    shelf = Shelf(project)
    assert shelf.names() == ["ppo", "sft"]
    first = shelf.digest("ppo")
    assert shelf.digest("reward") == shelf.digest("none") == ""
    (project.model("ppo") / "config.json").write_text('{"architectures": ["LlamaForCausalLM"], "made": "anew"}')
    assert shelf.digest("ppo") != first
    for name in ("reward", "none"):
        with pytest.raises(ModelError):
            trials.switch(project, name, anyway=True, why="", config=CONFIG)


def test_a_switch_and_the_way_back_are_rows(project: Project) -> None:
    assert trials.history(project) == {"answering": "ppo", "switches": []}
    with pytest.raises(InputError, match="nothing to go back to"):
        trials.back(project, why="")
    assert trials.switch(project, "sft", anyway=False, why="shorter", config=CONFIG)["answering"] == "sft"
    assert trials.back(project, why="")["answering"] == "ppo"
    assert trials.back(project, why="")["answering"] == "sft"
    assert [(row["model"], row["why"]) for row in trials.history(project)["switches"]] == [
        ("ppo", "answered first"),
        ("sft", "shorter"),
        ("ppo", "back"),
        ("sft", "back"),
    ]


def test_a_trial_stands_before_the_switch(project: Project) -> None:
    with pytest.raises(UsageError, match="answers already"):
        trials.begin(project, "ppo", CONFIG)
    with pytest.raises(ModelError):
        trials.begin(project, "reward", CONFIG)
    begun = trials.begin(project, "sft", CONFIG)
    assert (begun["old"], begun["new"], begun["votes"], begun["verdict"]) == ("ppo", "sft", 0, "undecided")
    with pytest.raises(StoreError, match="is running"):
        trials.begin(project, "sft", CONFIG)
    with pytest.raises(UsageError, match="undecided after 0 votes"):
        trials.switch(project, "sft", anyway=False, why="", config=CONFIG)
    assert trials.switch(project, "sft", anyway=True, why="", config=CONFIG)["answering"] == "sft"
    with Store.open(project.store_url) as store:
        assert deployments.trial(store) is None
        assert len(deployments.trials(store)) == 1
    with pytest.raises(InputError, match="no trial"):
        trials.end(project, CONFIG)


def test_the_queue_needs_prompts_that_were_accepted(project: Project) -> None:
    with pytest.raises(InputError, match="no prompt of the chat was accepted"):
        rounds.queue_round(project, CONFIG, ChatConfig())
    from_chat(project)
    queued = rounds.queue_round(project, RoundConfig(k=2), ChatConfig())
    assert queued == {"prompts": 1, "queued": 1, "responses_all_alike": 0}
    assert rounds.queue_round(project, RoundConfig(k=2), ChatConfig())["queued"] == 0, "again adds nothing"


def test_settings_that_do_not_fit_are_refused() -> None:
    for wrong in ({"k": 1}, {"share": 0}, {"alpha": 1}, {"overlap": 0}, {"stages": "sft magic"}):
        with pytest.raises(UsageError):
            RoundConfig(**wrong)
