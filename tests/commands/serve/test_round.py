"""`accord round`: what is new since a model, where it came from in the chat, trials, the queue, and training again."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from shelved import pretend_model, real_model

from accord.commands.app import Compute, main
from accord.commands.serve.round_ import round_
from accord.commands.serve.round_doubts import certainty_by_topic, doubts_by_prompt
from accord.commands.serve.round_run import STAGES, newest, next_name
from accord.commands.serve.switch import switch
from accord.errors import InputError, ModelError, StoreError, UsageError
from accord.feedback import deployments
from accord.feedback.snapshot import write_snapshot
from accord.feedback.store import Store
from accord.feedback.traces import chat_turns
from accord.records import Demonstration, Guideline, Labeler, Message, Prompt, RankedPrompt, Ranking, Response
from accord.runtime.project import Project
from accord.settings import RoundConfig

CONFIG = RoundConfig(least=3, alpha=0.2)
CHAT = Prompt("chat-t1", (Message("user", "Sort a list in Python"),), "chat", "uma", "train", "chat c1 t1")
ANSWERS = [Response(f"chat-a-{n}", CHAT.id, f"Answer {n}", "ppo@1") for n in (1, 2)]


def review(project: Project) -> None:
    """What a review of a chat leaves in the store."""
    with Store.open(project.store_url) as store:
        ranking = Ranking("chat-f-1", CHAT.id, "uma", ("chat-a-1", "chat-a-2"), (1, 2), Guideline("training", "chat"), "")
        written = [Demonstration("chat-f-2", CHAT, "sorted(list)", "uma")]
        store.add(labelers=[Labeler("uma", "user", "users")], demonstrations=written, responses=ANSWERS, rankings=[ranking])


def test_what_is_new_is_what_the_model_has_not_seen(project: Project) -> None:
    before = round_(project, config=CONFIG)
    assert before["answering"] == "ppo"
    assert before["new"] == {"rankings": {}, "demonstrations": {}, "thumbs": {}, "prompts": {}}
    assert "drift" not in before
    review(project)
    after = round_(project, reward="none", config=CONFIG)
    assert after["new"] == {"rankings": {"user": 1}, "demonstrations": {"user": 1}, "thumbs": {}, "prompts": {"chat": 1}}
    assert after["agreement"] is None
    assert after["drift"] > after["drift_expected"]
    assert after["unlike"] == 1
    assert sum(topic["prompts"] for topic in after["topics"].values()) == 1
    assert not any("reward_sure" in topic for topic in after["topics"].values())


def test_lineage_names_the_turns_and_trusts_no_changed_snapshot(project: Project) -> None:
    review(project)
    run = project.run("reward-2")
    run.mkdir()
    with Store.open(project.store_url) as store:
        digest = write_snapshot(store.ranked_prompts(), run / "rankings.jsonl")
    pretend_model(project, "reward-2", "LlamaForSequenceClassification", data={"rankings": digest})
    pretend_model(project, "ppo-2", parents={"reward-2": "x"})
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


def test_the_reward_model_says_how_sure_it_is(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "p")
    real_model(project, "reward", reward=True)
    other = replace(CHAT, id="chat-t2")
    pair, alone = tuple(ANSWERS), (replace(ANSWERS[0], prompt_id="chat-t2"),)
    doubts = doubts_by_prompt(project, "reward", [CHAT, other], {CHAT.id: pair, other.id: alone}, "float32")
    assert list(doubts) == [CHAT.id], "one response leaves no doubt which is best"
    assert 0 < doubts[CHAT.id] < 0.5
    likes_first, likes_second = (RankedPrompt(CHAT, pair, ranks, "uma", "users") for ranks in ((1, 2), (2, 1)))
    tie = RankedPrompt(CHAT, pair, (1, 1), "uma", "users")
    found = certainty_by_topic(project, "reward", [likes_first, likes_second, tie], ["a", "b", "c"], "float32")
    assert found["a"]["reward_sure"] == found["b"]["reward_sure"] == pytest.approx(1 - doubts[CHAT.id], abs=1e-4)
    assert found["a"]["reward_right"] + found["b"]["reward_right"] == 1
    assert "reward_right" not in found["c"], "a tie cannot be got right"


def test_names_count_up(project: Project) -> None:
    assert next_name(project, "reward") == "reward-2"
    assert next_name(project, "dpo") == "dpo"
    assert newest(project, "reward") == "reward"
    for name in ("reward-2", "reward-10", "reward-old", "rewarded-11"):
        pretend_model(project, name, "LlamaForSequenceClassification")
    assert newest(project, "reward") == "reward-10"
    assert next_name(project, "reward") == "reward-3"


def test_a_trial_stands_before_the_switch(project: Project) -> None:
    with pytest.raises(UsageError, match="answers already"):
        round_(project, trial="ppo", config=CONFIG)
    with pytest.raises(ModelError):
        round_(project, trial="reward", config=CONFIG)
    begun = round_(project, trial="sft", config=CONFIG)
    assert (begun["old"], begun["new"], begun["votes"], begun["verdict"]) == ("ppo", "sft", 0, "undecided")
    assert round_(project, config=CONFIG)["trial"] == begun
    with pytest.raises(StoreError, match="is running"):
        round_(project, trial="sft", config=CONFIG)
    with pytest.raises(UsageError, match="undecided after 0 votes"):
        switch(project, to="sft")
    assert switch(project, to="sft", anyway=True)["answering"] == "sft"
    with Store.open(project.store_url) as store:
        assert deployments.trial(store) is None
        assert len(deployments.trials(store)) == 1
    with pytest.raises(InputError, match="no trial"):
        round_(project, end_trial=True, config=CONFIG)


def test_a_trial_can_be_ended_by_hand(project: Project) -> None:
    round_(project, trial="sft", config=CONFIG)
    assert round_(project, end_trial=True, config=CONFIG)["verdict"] == "undecided"
    assert "trial" not in round_(project, config=CONFIG)


def test_the_queue_needs_prompts_that_were_accepted(project: Project) -> None:
    with pytest.raises(InputError, match="no prompt of the chat was accepted"):
        round_(project, queue=True, reward="none", config=CONFIG)
    review(project)
    queued = round_(project, queue=True, reward="none", config=RoundConfig(k=2))
    assert queued == {"prompts": 1, "queued": 1, "responses_all_alike": 0}
    assert round_(project, queue=True, reward="none", config=RoundConfig(k=2))["queued"] == 0, "again adds nothing"


def test_the_queue_draws_the_responses_that_are_missing(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "p", settings={"chat": {"max_tokens": 8}})
    real_model(project, "sft")
    review(project)
    how = {"queue": True, "flags": Compute(dtype="float32"), "config": RoundConfig(k=4)}
    assert round_(project, **how) == {"prompts": 1, "queued": 1, "responses_all_alike": 0}
    with Store.open(project.store_url) as store:
        added = [response for response in store.responses() if response.id not in {answer.id for answer in ANSWERS}]
    assert len(added) == len({response.text for response in added}) == 2
    assert all(response.model.startswith("sft@") for response in added)


def test_it_trains_again_under_the_next_name(tmp_path: Path) -> None:
    settings = {"sft": {"epochs": 1, "ptx_tokens": 0, "batch_size": 2}, "project": {"seed": 3}}
    project = Project.create(tmp_path / "p", settings=settings)
    for name in ("base", "sft"):
        real_model(project, name)
    review(project)
    made = round_(project, run=True, flags=Compute(dtype="float32"), config=RoundConfig(stages="sft", kinds="user"))
    assert made == {"sft": "sft-2", "chat_turns_learned_from": 1}
    config = json.loads((project.run("sft-2") / "config.json").read_text())
    assert (config["seed"], config["config"]["kinds"], config["config"]["epochs"]) == (3, "user", 1)
    assert round_(project, run=True, config=RoundConfig(stages="sft", kinds="user"))["sft"] == "sft-3"


def test_what_a_round_can_run_are_commands_of_training() -> None:
    from accord.commands import COMMANDS

    assert set(STAGES) <= {command.name for command in COMMANDS if command.room == "train"}
    RoundConfig(stages="sft reward ppo dpo kto")


def test_one_thing_at_a_time_and_settings_that_fit(project: Project) -> None:
    with pytest.raises(UsageError, match="at a time"):
        round_(project, queue=True, run=True)
    for wrong in ({"k": 1}, {"share": 0}, {"alpha": 1}, {"overlap": 0}, {"stages": "sft magic"}):
        with pytest.raises(UsageError):
            RoundConfig(**wrong)


def test_the_command_line_prints_a_table_or_json(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    review(project)
    main(["round", str(project.path), "--reward", "none", "--json"])
    assert json.loads(capsys.readouterr().out) == round_(project, reward="none", config=CONFIG)
    main(["round", str(project.path), "--reward", "none"])
    table = capsys.readouterr().out
    assert "new: rankings" in table
    assert "user 1" in table


LOOK = """
import sys
from accord.commands.app import main
main(["round", sys.argv[1], "--json"])
main(["switch", sys.argv[1], "--json"])
print(sorted({"torch", "transformers"} & set(sys.modules)))
"""


def test_looking_loads_no_torch(project: Project) -> None:
    done = subprocess.run([sys.executable, "-c", LOOK, str(project.path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
