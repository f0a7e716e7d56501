"""What Accord computes on each architecture of the bench of models is what plain transformers computes, and the bench can fail."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import models
import pytest
from architectures import ARCHITECTURES, build
from models import CHECKS, LIMIT, PAGE, Case, examined, verdict

from accord.models import adapters, attention, decoder

REPRESENTATIVE = [
    "Llama",
    "Llama, RoPE yarn",
    "Llama, RoPE dynamic",
    "Mistral, window",
    "Qwen3",
    "Gemma 2, windows, soft caps",
    "Granite",
    "Phi",
    "GPT-2, scaled by layer",
    "OPT, layer drop",
    "Bloom, ALiBi",
    "Mixtral",
    "Phi-3.5-MoE",
    "gpt-oss, windows, sinks",
    "Jamba",
]
"""One of each kind: the fused path, our attention, padded rows, rows by length; heads, routers, experts, sinks, states."""


@pytest.mark.parametrize("name", REPRESENTATIVE)
def test_an_architecture_is_computed_as_plain_transformers_does(name: str) -> None:
    _, found = examined(ARCHITECTURES[name])
    assert verdict(found) == "right"


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name not in REPRESENTATIVE])
def test_no_architecture_is_silently_wrong(name: str) -> None:
    _, found = examined(ARCHITECTURES[name])
    assert verdict(found).split(":")[0] in ("right", "refused")


def case(folder: Path, name: str) -> Case:
    made = Case(folder)
    build(ARCHITECTURES[name]).save_pretrained(made.original)
    return made


def test_a_window_that_is_ignored_shows(tmp_path: Path) -> None:
    class Blind(Case):
        """Opens the folder as if its configuration named no window."""

        def ours(self) -> Any:
            file = self.original / "config.json"
            whole = file.read_text("utf-8")
            file.write_text(json.dumps({**json.loads(whole), "sliding_window": None}), "utf-8")
            try:
                return super().ours()
            finally:
                file.write_text(whole, "utf-8")

    made = case(tmp_path, "Mistral, window")
    assert models.check_logprobs(Blind(made.folder)) > 0.1
    with pytest.raises(models.Wrong, match="rows differ"):
        models.check_sampler(Blind(made.folder))


def test_an_attention_scaling_of_yarn_that_is_ignored_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rotary = decoder.rotary
    monkeypatch.setattr(decoder, "rotary", lambda *args: rotary(*args) / rotary(*args).abs())
    assert models.check_logprobs(case(tmp_path, "Llama, RoPE yarn")) > 100 * LIMIT


def test_a_scaling_of_attention_that_is_ignored_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    attend = attention._attend_for_transformers
    monkeypatch.setattr(attention, "_attend_for_transformers", lambda *args, **how: attend(*args, **{**how, "scaling": None}))
    assert models.check_logprobs(case(tmp_path, "GPT-2, scaled by layer")) > 100 * LIMIT


def test_adapters_that_are_scaled_by_1_instead_of_2_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add = adapters.add_lora

    def halved(*args: Any) -> Any:
        model = add(*args)
        for module in model.modules():
            if hasattr(module, "scaling") and hasattr(module, "lora_A"):
                module.scaling = dict.fromkeys(module.scaling, 1.0)
        return model

    monkeypatch.setattr(adapters, "add_lora", halved)
    made = case(tmp_path, "Llama")
    assert models.check_lora(made) > 100 * LIMIT
    assert models.check_merged(made) > 100 * LIMIT


def test_the_page_has_a_row_per_architecture() -> None:
    assert len(ARCHITECTURES) >= 60
    rows = re.findall(r"^\| ([^|]+) \| `(\w+)` \|", PAGE.read_text("utf-8"), re.MULTILINE)
    assert rows == [(each.name, each.model_type) for each in ARCHITECTURES.values()]
    assert f"| {' | '.join(CHECKS)} |" in PAGE.read_text("utf-8"), "run `make models`"
