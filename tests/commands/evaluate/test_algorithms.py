"""`accord algorithms`: every method of the table can be run, with the flags that it knows, and one table comes out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from evaluated import Answered, Typed

from accord.commands.app import app
from accord.commands.evaluate.algorithms_runs import training_flags
from accord.commands.evaluate.algorithms_table import PAGE_END, PAGE_START, as_markdown, read_page, write_page
from accord.errors import InputError, UsageError
from accord.methods import BEST_OF, METHODS, TRAINED, Method
from accord.runtime.project import Project
from accord.settings import AlgorithmsConfig

FEW = ("--prompts", "12", "--max-tokens", "8", "--bootstrap", "50", "--best-of", "4", "--dtype", "float32")
ROW: dict[str, Any] = {"method": "ppo", "win_rate": 0.664, "low": 0.63, "high": 0.7, "utility": 0.79, "kl": 1.28, "tax": 0.015}
ROW |= {"seconds": 136.6, "peak_rss_mb": 1615, "seeds": [{"win_rate": 0.67}, {"win_rate": 0.65}]}


@pytest.mark.parametrize("method", TRAINED, ids=lambda method: method.name)
def test_every_method_knows_the_flags_that_it_is_run_with(method: Method, trained: Path) -> None:
    flags = [*training_flags(method, 3, sft="sft", reward="reward"), *([f"--{method.iterations}", "2"] if method.iterations else [])]
    words = [method.name, str(trained), "--name", "x", "--resume", *flags]
    _, bound, _ = app.parse_args(words, print_error=False, exit_on_error=False)
    assert bound.arguments["sft"] == "sft"
    assert bound.arguments["config"].seed == 3
    assert ("reward" in bound.arguments) is method.samples
    if method.iterations:
        assert getattr(bound.arguments["config"], method.iterations) == 2


def test_a_new_method_that_learns_offline_gets_no_reward_model() -> None:
    assert training_flags(Method("orpo", "rankings"), 1, sft="a", reward="b") == ["--sft", "a", "--seed", "1"]
    assert training_flags(Method("remax", "samples", "steps"), 1, sft="a", reward="b")[-2:] == ["--reward", "b"]


def test_a_method_of_the_table_may_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="known are ppo, dpo"):
        AlgorithmsConfig(methods="orpo")
    monkeypatch.setitem(METHODS, "orpo", Method("orpo", "rankings"))
    assert AlgorithmsConfig(methods="orpo, best-of-n").chosen == ("orpo", "best-of-n")
    assert set(AlgorithmsConfig().chosen) <= {*METHODS, *BEST_OF}


def test_methods_are_trained_within_a_budget_and_measured_on_the_same_prompts(answered: Answered, typed: Typed, town: Path) -> None:
    settings = town / "accord.toml"
    rates = "[grpo]\nsteps = 9\nbatch_size = 8\ngroup_size = 4\nminibatch_size = 8\nmax_tokens = 6\n\n[dpo]\nepochs = 1\n"
    settings.write_text(settings.read_text("utf-8").partition("[dpo]")[0] + rates, "utf-8")
    words = ("algorithms", town, "--methods", "dpo grpo best-of-n", "--seeds", "1", "--budget", "0.01", *FEW)
    found: Any = answered(*words)
    assert [row["method"] for row in found] == ["dpo", "grpo", "best-of-n"]
    assert found == json.loads((town / "algorithms.json").read_text("utf-8"))
    assert all(0 <= row["low"] <= row["win_rate"] <= row["high"] <= 1 for row in found)
    assert found[0]["seconds"] > 0
    assert found[2]["seconds"] == 0
    project = Project.open(town)
    assert json.loads((project.run("grpo-s1") / "config.json").read_text("utf-8"))["config"]["steps"] == 1, "what 0.01 seconds pay for"
    assert project.run("grpo-s1-probe").is_dir()
    assert not project.run("dpo-s1-probe").exists()
    code, out, err = typed(*words)
    assert code == 0, err
    assert "preferred to the SFT model, over 1 seeds" in out


def test_a_method_that_fails_is_named_with_what_it_said(typed: Typed, town: Path) -> None:
    code, _, complaint = typed("algorithms", town, "--methods", "kto", "--seeds", "0", *FEW)
    assert code == 1
    assert "kto ended with exit code 1" in complaint
    assert complaint.count("\n") == 1


def test_the_table_is_written_between_the_marks_of_a_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"Before.\n{PAGE_START}\nold\n{PAGE_END}\nAfter.\n", "utf-8")
    write_page(page, [ROW])
    text = page.read_text("utf-8")
    assert "| ppo | 66 (63 to 70%) | 67% 65% | 0.79 | 1.28 | 1.5% | 137 | 1,615 |" in text
    assert text.startswith("Before.\n")
    assert text.endswith("After.\n")
    assert "\nold\n" not in text
    assert "none | none" in as_markdown([ROW | {"seconds": 0.0}])
    page.write_text("No marks.\n", "utf-8")
    with pytest.raises(InputError, match="no place for the table"):
        read_page(page)
