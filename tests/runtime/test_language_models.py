"""Which models of a project can be talked to, and when their digests are read again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from accord.runtime.language_models import Shelf, sees, speaks
from accord.runtime.project import Project


def write(folder: Path, config: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(config)


@pytest.mark.parametrize(
    ("config", "is_one"),
    [
        (json.dumps({"architectures": ["LlamaForCausalLM"]}), True),
        (json.dumps({"architectures": ["LlamaForSequenceClassification"]}), False),
        (json.dumps({"architectures": ["LlamaForSequenceClassification"], "made_from": "LlamaForCausalLM"}), False),
        (json.dumps({"architectures": ["LlavaForConditionalGeneration"], "vision_config": {}}), True),
        (json.dumps({"architectures": ["T5ForConditionalGeneration"]}), False),
        (json.dumps({"architectures": None}), False),
        ("{half of a file, ForCausalLM", False),
    ],
)
def test_the_architecture_tells_a_language_model(tmp_path: Path, config: str, is_one: bool) -> None:
    write(tmp_path / "m", config)
    assert speaks(tmp_path / "m") == is_one


def test_a_model_sees_whose_folder_has_a_processor_or_whose_adapter_is_on_one(tmp_path: Path) -> None:
    write(tmp_path / "m", json.dumps({"architectures": ["LlavaForConditionalGeneration"], "vision_config": {}}))
    assert not sees(tmp_path / "m")
    (tmp_path / "m" / "preprocessor_config.json").write_text("{}")
    assert sees(tmp_path / "m")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(tmp_path / "m")}))
    assert sees(tmp_path / "a")
    write(tmp_path / "t", json.dumps({"architectures": ["LlamaForCausalLM"]}))
    (tmp_path / "t" / "preprocessor_config.json").write_text("{}")
    assert not sees(tmp_path / "t")


def test_a_folder_without_a_config_holds_no_language_model(tmp_path: Path) -> None:
    assert not speaks(tmp_path)


def test_the_shelf_lists_the_best_guess_first_and_notices_new_weights(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "p")
    for name in ("a", "base", "ppo"):
        write(project.model(name), json.dumps({"architectures": ["LlamaForCausalLM"], "name": name}))
    write(project.model("reward"), json.dumps({"architectures": ["LlamaForSequenceClassification"]}))
    shelf = Shelf(project)
    assert shelf.names() == ["ppo", "base", "a"]
    first = shelf.digest("ppo")
    assert len(first) == 12
    assert shelf.digest("ppo") == first != shelf.digest("a")
    assert shelf.digest("reward") == shelf.digest("none") == ""
    write(project.model("ppo"), json.dumps({"architectures": ["LlamaForCausalLM"], "made": "anew"}))
    assert shelf.digest("ppo") != first


def test_the_newest_policy_of_the_lineage_answers(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "p")

    def made(name: str, at: str, *parents: str) -> None:
        kind = "LlamaForSequenceClassification" if name == "reward" else "LlamaForCausalLM"
        write(project.model(name), json.dumps({"architectures": [kind]}))
        record = {"name": name, "stage": name, "parents": dict.fromkeys(parents, "0" * 64), "at": at}
        (project.model(name) / "lineage.json").write_text(json.dumps(record))

    made("base", "2026-01-01T00:00:00Z")
    made("sft", "2026-01-02T00:00:00Z", "base")
    made("reward", "2026-01-05T00:00:00Z", "sft")
    shelf = Shelf(project)
    assert shelf.names() == ["sft", "base"], "a reward model is no policy that came after"
    made("ppo", "2026-01-03T00:00:00Z", "sft", "reward")
    made("dpo", "2026-01-04T00:00:00Z", "sft")
    assert shelf.names()[:2] == ["dpo", "ppo"]
    assert shelf.origin("dpo") == "dpo from sft, 2026-01-04T00:00: the newest policy by lineage"
    assert shelf.origin("ppo") == "ppo from sft, reward, 2026-01-03T00:00"
    assert shelf.origin("base") == "base, 2026-01-01T00:00"
    made("sft", "2026-01-06T00:00:00Z", "base")
    made("another-base", "2026-01-07T00:00:00Z")
    assert shelf.names() == ["dpo", "ppo", "sft", "another-base", "base"]
    for broken in ("[1]", '{"parents": [1]}', "[" * 5000, "{"):
        (project.model("another-base") / "lineage.json").write_text(broken)
        assert shelf.names()[0] == "dpo", broken[:20]
        assert shelf.origin("another-base") == "without lineage"
