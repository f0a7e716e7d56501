"""A project that an older version left opens as it is: settings, runs, models, the database, a run that was stopped half way.

``project-of-0.1.0.tar.xz`` was made by the last version before the commands had rooms: init with the world, pretrain, sft, sample,
label, reward, and dpo stopped by force after its second checkpoint.
"""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from accord.commands.app import main
from accord.commands.evaluate.compare import compare
from accord.commands.evaluate.evaluate_metrics import trained_accuracy
from accord.commands.project.config import config
from accord.commands.project.lineage import lineage
from accord.commands.train.kto import kto
from accord.feedback.snapshot import read_snapshot
from accord.feedback.store import Store
from accord.records import RESPONSE_FLAGS, RankedPrompt
from accord.report.cards import cards
from accord.report.project_files import read_project
from accord.runtime.lineage import metrics_of
from accord.runtime.project import Project
from accord.settings import CompareConfig, KtoConfig


@pytest.fixture
def town(tmp_path: Path) -> Project:
    with tarfile.open(Path(__file__).with_name("project-of-0.1.0.tar.xz")) as archive:
        archive.extractall(tmp_path, filter="data")
    return Project.open(tmp_path / "town")


def test_settings_models_and_lineage_are_read(town: Project) -> None:
    assert config(town)["dpo"]["lr"] == 1e-3
    assert town.models() == ["base", "reward", "sft"]
    found = lineage(town, "reward")
    states = {ancestor["name"]: ancestor["state"] for ancestor in found["lineage"]}
    assert states.keys() == {"reward", "sft", "base"}
    assert len(set(states.values())) == 1, "no model's weights count as changed"


def test_the_database_migrates_and_flags_become_identifiers(town: Project) -> None:
    with Store.open(town.store_url) as store:
        rankings = list(store.rankings())
    flags = {flag for ranking in rankings for rating in ranking.ratings for flag in rating.flags}
    assert len(rankings) == 25
    assert flags
    assert flags <= set(RESPONSE_FLAGS)


def test_a_snapshot_keeps_its_digest_and_can_be_read(town: Project) -> None:
    rankings = town.run("reward") / "rankings.jsonl"
    record = json.loads((town.model("reward") / "lineage.json").read_text("utf-8"))
    assert len(read_snapshot(rankings, RankedPrompt, record["data"]["rankings"])) > 0


def test_a_stopped_run_is_resumed_to_its_end(town: Project, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--batch-size", "4", "--save-every", "1", "--lr", "1e-3", "--max-tokens", "128"]
    main(["dpo", str(town.path), *flags, "--resume", "--json"])
    steps = [json.loads(line)["step"] for line in (town.run("dpo") / "metrics.jsonl").read_text("utf-8").splitlines()]
    assert steps == [1, 2, 3, 4], "the first two are those of the old version"
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["rankings"] > 0
    assert "resumed after step 2" in (town.run("dpo") / "log.txt").read_text("utf-8")


def test_old_models_train_and_answer(town: Project) -> None:
    kto(town, config=KtoConfig(thumbs="ranks", epochs=1, batch_size=4))
    found = compare(town, "sft", "kto", by="reward", config=CompareConfig(prompts=4, max_tokens=4, bootstrap=10))
    assert found["prompts"] == 4


def test_metrics_of_an_old_model_are_read(town: Project) -> None:
    record = json.loads((town.model("reward") / "lineage.json").read_text("utf-8"))
    assert "figures" in record, "the older name"
    assert metrics_of(record)["accuracy_labelers"] == record["figures"]["accuracy_labelers"]
    assert trained_accuracy(town, "reward").keys() == {"accuracy_labelers"}
    assert "37.9%" in str(cards(read_project(town.path)))
