"""`accord serve`: who may come in, and a real server over a real model."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest
from shelved import real_model, running

from accord.commands.serve.keys import add, revoke
from accord.commands.serve.rules import rules_of
from accord.commands.serve.serve import check_address, serve
from accord.errors import InputError, ModelError, UsageError
from accord.records import Message
from accord.runtime.project import Project
from accord.serving.keys import Keys
from accord.settings import ServeConfig


def test_nobody_comes_in_who_should_not(project: Project) -> None:
    here, everywhere = ServeConfig(), ServeConfig(host="0.0.0.0")
    check_address(here, None, insecure=False)
    with pytest.raises(UsageError, match="needs API keys"):
        check_address(everywhere, None, insecure=True)
    with pytest.raises(UsageError, match="no API key works"):
        check_address(here, Keys(project.path), insecure=False)
    add(project, "ann")
    check_address(here, Keys(project.path), insecure=False)
    with pytest.raises(UsageError, match="in the clear"):
        check_address(everywhere, Keys(project.path), insecure=False)
    check_address(everywhere, Keys(project.path), insecure=True)
    check_address(ServeConfig(host="0.0.0.0", https=True), Keys(project.path), insecure=False)
    revoke(project, "ann")
    with pytest.raises(UsageError, match="no API key works"):
        serve(project)


def test_a_project_without_models_has_nothing_to_serve(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model to serve"):
        serve(Project.create(tmp_path / "p"), no_keys=True)


def test_the_rules_are_those_of_the_settings(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "p")
    with pytest.raises(ModelError, match="no such model"):
        rules_of(project, ServeConfig(best_of=2))
    with pytest.raises(UsageError, match="system prompt"):
        rules_of(project, ServeConfig(system="none such"))
    real_model(project, "reward", reward=True)
    rules = rules_of(project, ServeConfig(best_of=2, unsure_below=0.1))
    assert (rules.best_of, rules.unsure_below) == (2, 0.1)
    assert rules.score
    one, other = rules.score([Message("user", "Who keeps the mill?")], ["The miller.", "Nobody at all."])
    assert one != other
    assert rules.score([Message("user", "Who keeps the mill?")], ["The miller."]) == [pytest.approx(one, rel=1e-4)]


def test_a_filter_names_a_classifier_that_cannot_be_had_before_anybody_is_served(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "p")
    with (project.path / "accord.toml").open("a", encoding="utf-8") as settings:
        settings.write('\n[classifiers]\nharm = "llm:judge"\n')
    project = Project.open(project.path)
    assert rules_of(project, ServeConfig()).input_filter == "off"
    with pytest.raises(UsageError, match="asks no language model"):
        rules_of(project, ServeConfig(input_filter="report"))


def test_thresholds_are_those_of_a_probe(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "p")
    with pytest.raises(UsageError, match="no run that measured what models know"):
        rules_of(project, ServeConfig(agree_run="known"))
    folder = project.run("known")
    folder.mkdir(parents=True)
    point = {"threshold": 0.4, "coverage": 0.7, "accuracy": 0.91}
    (folder / "knowledge.json").write_text(json.dumps({"systems": {"ppo": {"threshold": point}, "sft": {"threshold": None}}}))
    rules = rules_of(project, ServeConfig(agree_run="known"))
    assert rules.agree_models == {"ppo": 0.4}
    assert rules.whole
    (folder / "knowledge.json").write_text(json.dumps({"systems": {"sft": {"threshold": None}}}))
    with pytest.raises(InputError, match="no model of this run is right often enough"):
        rules_of(project, ServeConfig(agree_run="known"))


def test_a_server_answers_until_it_is_stopped(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "p")
    for name in ("base", "sft"):
        real_model(project, name)
    with running("serve", project.path, "--port", 0, "--no-keys", "--model", "sft") as output:
        said = output.readline()
        assert said.startswith("Serving sft at http://127.0.0.1:"), said
        address = said.split()[3]
        who = output.readline()
        assert who.startswith("  model=sft: sft@"), who
        assert str(project.model("sft")) in who
        asked = {"model": "sft", "messages": [{"role": "user", "content": "Who keeps the mill?"}], "max_tokens": 5}
        answer = httpx.post(f"{address}/chat/completions", json=asked, timeout=60).json()
        assert [row["id"] for row in httpx.get(f"{address}/models", timeout=60).json()["data"]] == ["sft"]
        assert 0 < answer["usage"]["completion_tokens"] <= 5
