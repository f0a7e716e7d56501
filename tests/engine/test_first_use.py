"""The check at a model's first use: a path that differs from plain transformers is left, and what was found is kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import llama, scalar

from accord.engine.first_use import key_of, verify, verify_scalar
from accord.errors import ModelError
from accord.models.folders import prepared
from accord.models.paths import path_of, take

COMMON: dict[str, Any] = {
    **{"vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 128},
    **{"bos_token_id": 1, "eos_token_id": 1, "pad_token_id": 0, "initializer_range": 0.3},
}
GATED = {"num_key_value_heads": 2, "intermediate_size": 48, "head_dim": 8}


def made(kind: str, **settings: Any) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    return prepared(AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **{**COMMON, **settings})))


@pytest.mark.parametrize(
    ("kind", "settings", "wrong", "right"),
    [
        ("mistral", {**GATED, "sliding_window": 8}, "own", "padded"),
        ("gemma2", {**GATED, "sliding_window": 8, "attn_logit_softcapping": 2.0}, "own", "padded"),
        ("stablelm", GATED, "own", "padded"),
        ("falcon", {}, "own", "padded"),
        ("mamba", {"state_size": 8, "expand": 2}, "padded", "grouped"),
        ("rwkv", {"attention_hidden_size": 32, "intermediate_size": 48, "rescale_every": 0}, "padded", "whole"),
    ],
)
def test_a_path_that_is_not_right_is_left_for_the_next_one(
    kind: str, settings: dict[str, Any], wrong: Any, right: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = take(made(kind, **settings), wrong)
    assert verify(model, tmp_path / "paths.json", "k", "base") == right == path_of(model.base_model)
    said = capsys.readouterr().err
    assert "base" in said
    assert wrong in said
    assert f"({right})" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("kind", "settings", "wrong", "right"),
    [
        ("mistral", {**GATED, "sliding_window": 8}, "own", "padded"),
        ("gemma2", {**GATED, "sliding_window": 8, "attn_logit_softcapping": 2.0}, "own", "padded"),
    ],
)
def test_a_reward_model_whose_scores_are_not_right_takes_the_next_path(
    kind: str, settings: dict[str, Any], wrong: Any, right: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = take(scalar(made(kind, **settings)), wrong)
    model.config.reward_bias = 2.5
    assert verify_scalar(model, tmp_path / "paths.json", "k", "reward") == right == path_of(model.base_model)
    assert "scores differ" in capsys.readouterr().err
    again = take(scalar(made(kind, **settings)), wrong)
    assert verify_scalar(again, tmp_path / "paths.json", "k", "reward") == right
    assert not capsys.readouterr().err, "what was found is kept"


def test_a_reward_model_whose_scores_are_right_keeps_its_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = scalar(llama())
    model.config.reward_bias = -3.0
    assert verify_scalar(model, tmp_path / "paths.json", "k", "reward") == "fused"
    assert not capsys.readouterr().err


def test_a_path_that_is_right_stays_and_is_not_tried_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    memory = tmp_path / "cache" / "paths.json"
    assert verify(llama(), memory, "k", "sft") == "fused"
    assert not capsys.readouterr().err
    memory.write_text(json.dumps({"k": "grouped"}))
    again = llama()
    assert verify(again, memory, "k", "sft") == "grouped" == path_of(again.base_model)
    memory.write_text('{"k": "faster"}')
    assert verify(llama(), memory, "k", "sft") == "fused", "what is no path counts as nothing"
    memory.write_text("{")
    assert verify(llama(), memory, "k", "sft") == "fused"


def test_checking_leaves_no_trace_in_weights_or_random_numbers(tmp_path: Path) -> None:
    model = llama()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    verify(model, tmp_path / "paths.json", "k", "sft")
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_model_that_sees_what_it_should_predict_is_refused(tmp_path: Path) -> None:
    from transformers import BertConfig, BertLMHeadModel

    torch.manual_seed(0)
    settings = {**COMMON, "intermediate_size": 48, "is_decoder": False}
    model = prepared(BertLMHeadModel(BertConfig(**settings)))
    with pytest.raises(ModelError, match="not causal"):
        verify(model, tmp_path / "paths.json", "k", "bert")
    assert not (tmp_path / "paths.json").exists()


def test_what_accord_trained_is_known_by_its_configuration_and_what_it_did_not_by_its_folder(tmp_path: Path) -> None:
    for name, digest in (("one", "a"), ("two", "b")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
        assert key_of(tmp_path / name, digest) != key_of(tmp_path / name, digest + "x")
    for name in ("one", "two"):
        (tmp_path / name / "lineage.json").write_text("{}")
    assert key_of(tmp_path / "one", "a") == key_of(tmp_path / "two", "b")
    (tmp_path / "two" / "config.json").write_text('{"reward_bias": 0.25}')
    assert key_of(tmp_path / "one", "a") == key_of(tmp_path / "two", "b"), "each reward model has a bias of its own"
    (tmp_path / "two" / "config.json").write_text('{"sliding_window": 4}')
    assert key_of(tmp_path / "one", "a") != key_of(tmp_path / "two", "b")
