"""`accord serve`: who may come in, and a real server over a real model."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest
import torch
from shelved import real_model, running
from tiny import chat

from accord.commands.serve.keys import add, revoke
from accord.commands.serve.rules import rules_of
from accord.commands.serve.serve import check_address, serve
from accord.commands.serve.serve_adapters import named_adapters
from accord.errors import InputError, ModelError, UsageError
from accord.models.adapters import add_lora, merge_lora, save_adapter
from accord.models.folders import load_causal_lm, save_model
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


def adapted(project: Project, name: str, seed: int) -> Path:
    """Keep an adapter over the project's base by itself, and merged as a model of this name."""
    model = load_causal_lm(project.model("base"))
    model = add_lora(model, 2, torch.Generator().manual_seed(seed))
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            if "lora_B" in parameter_name:
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed)))
    folder = project.model(name) / "adapter"
    save_adapter(folder, model, str(project.model("base")), chat().tokenizer)
    save_model(project.model(name) / "merged", merge_lora(model), chat().tokenizer)
    for path in (project.model(name) / "merged").iterdir():
        path.rename(project.model(name) / path.name)
    return folder


def test_adapters_answer_under_their_names_beside_their_base_as_their_merged_models_do(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "p")
    real_model(project, "base")
    brief = adapted(project, "brief", 1)
    adapted(project, "formal", 2)
    told = f"shop/terse={brief}, formal"
    with running("serve", project.path, "--port", 0, "--no-keys", "--model", "brief", "--adapters", told, "--dtype", "float32") as output:
        said = output.readline()
        assert said.startswith("Serving brief, base, shop/terse, formal at http://127.0.0.1:"), said
        address = said.split(" at ")[1].split()[0]
        who = [output.readline() for _ in range(4)]
        assert "an adapter over base, in one batch with it" in who[2], who
        names = [row["id"] for row in httpx.get(f"{address}/models", timeout=60).json()["data"]]
        assert names == ["brief", "base", "shop/terse", "formal"]
        answers = dict[str, tuple[str, list[float]]]()
        for name in names:
            turns = [{"role": "user", "content": "Who keeps the mill?"}]
            asked = {"model": name, "messages": turns, "max_tokens": 8, "temperature": 0, "logprobs": True}
            body = httpx.post(f"{address}/chat/completions", json=asked, timeout=60).json()
            choice = body["choices"][0]
            assert body["system_fingerprint"].startswith(f"{name}@")
            answers[name] = choice["message"]["content"], [token["logprob"] for token in choice["logprobs"]["content"]]
        assert answers["shop/terse"][0] == answers["brief"][0]
        assert answers["shop/terse"][1] == pytest.approx(answers["brief"][1], abs=1e-4)
        assert answers["base"][1] != pytest.approx(answers["shop/terse"][1], abs=1e-2)
        assert answers["formal"][1] != pytest.approx(answers["shop/terse"][1], abs=1e-2)


def test_adapters_that_cannot_be_served_are_refused_by_name(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "p")
    real_model(project, "base")
    folder = adapted(project, "brief", 1)
    found = named_adapters(project, f"one={folder}, brief, two={folder} on base")
    assert {name: each.base for name, each in found.items()} == {"one": "base", "brief": "base", "two": "base"}
    for told, why in {
        "one=": "no NAME=FOLDER",
        "a b=c": "no NAME=FOLDER",
        "brief, brief": "two adapters are called brief",
        "base": "base is a whole model, not an adapter",
        f"one={tmp_path}/none": "no such file or folder",
    }.items():
        with pytest.raises((UsageError, ModelError), match=why):
            named_adapters(project, told)
    with pytest.raises(UsageError, match="named as a model and as an adapter"):
        serve(project, no_keys=True, model=("brief",), config=ServeConfig(adapters="brief"))
