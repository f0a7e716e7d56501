"""`accord plan-memory`, the line that training says, and what happens when memory runs out."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from small_project import FLAGS, RESUME
from tiny import weights

from accord.commands.app import main
from accord.commands.train.plan_memory import plan_memory, size_of
from accord.commands.train.sft import sft
from accord.errors import ModelError, RunError, UsageError
from accord.models.folders import load_causal_lm
from accord.runtime.project import Project
from accord.runtime.runs import Run
from accord.settings import SftConfig

CONFIG = SftConfig(epochs=2, batch_size=4, ptx_tokens=0, lr=1e-2, warmup_steps=1, save_every=1, select="last")
LLAMA_8B: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "tie_word_embeddings": False,
}


def test_a_teacher_is_planned_by_its_own_size(town: Project, llama: str) -> None:
    found = plan_memory("distill", model="sft", teacher=llama, project=str(town.path))
    assert found["parts"]["teacher"] == 4 * 8_030_261_248
    assert found["parts"]["policy"] == 4 * found["shape"]["weights"] < 1e6


@pytest.fixture
def llama(tmp_path: Path) -> str:
    """A folder that holds a configuration and no weights."""
    (tmp_path / "config.json").write_text(json.dumps(LLAMA_8B))
    return str(tmp_path)


def test_a_model_of_eight_billion_weights_is_planned_without_its_weights(llama: str, typed: Any) -> None:
    found = plan_memory("dpo", model=llama, dtype="bfloat16", recompute=True, micro_tokens=4096)
    assert found["shape"]["weights"] == 8_030_261_248  # Llama 3 8B's
    assert found["parts"]["policy"] == 4 * 8_030_261_248
    assert found["parts"]["optimizer"] == 2 * found["parts"]["gradients"] == 2 * found["parts"]["policy"]
    words = ["plan-memory", "dpo", "--model", llama, "--dtype", "bfloat16", "--recompute", "--micro-tokens", 4096]
    assert typed(*words) == found
    smaller = plan_memory("dpo", model=llama, dtype="bfloat16", recompute=True, micro_tokens=4096, lora_rank=16, lora_bits=4)
    saved = next(row["saves"] for row in found["advice"] if "--lora-bits 4" in row["change"])
    assert found["total"] - smaller["total"] == pytest.approx(saved, abs=2)


def test_processes_divide_the_rows_and_where_they_shard_the_weights_too(llama: str) -> None:
    asked: dict[str, Any] = {"model": llama, "dtype": "bfloat16", "recompute": True, "micro_tokens": 4096, "device": "cpu"}
    alone, copies, parts = (
        plan_memory("dpo", **asked, **more) for more in ({}, {"processes": 2, "shard": "replicate"}, {"processes": 2, "shard": "full"})
    )
    assert copies["parts"]["policy"] == alone["parts"]["policy"]
    for name in ("policy", "gradients", "optimizer"):
        assert parts["parts"][name] == pytest.approx(alone["parts"][name] / 2, abs=1)
    # llama 3 8B: embedding and head, and two blocks and one gradient of a block, in float32
    embedding, block = 128256 * 4096, 4096 * (4096 + 1024) * 2 + 3 * 4096 * 14336
    assert parts["parts"]["gathered weights"] == 4 * (2 * embedding + 3 * block)
    assert "gathered weights" not in copies["parts"]
    roomy, tight = (plan_memory("dpo", **asked, processes=2, shard="auto", device_memory=size) for size in ("400GB", "40GB"))
    assert roomy["parts"] == copies["parts"], "a copy with its moments is a third of the device"
    assert tight["parts"] == parts["parts"]
    drawn = [plan_memory("grpo", **asked, processes=number, shard="replicate", batch_size=64)["moments"] for number in (1, 2)]
    assert drawn[1]["drawing responses"] < drawn[0]["drawing responses"]
    with pytest.raises(UsageError, match="0 processes"):
        plan_memory("dpo", **asked, processes=0)


def test_a_device_that_is_too_small_is_told_with_exit_code_1(llama: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="1"):
        main(["plan-memory", "ppo", "--model", llama, "--device-memory", "80GB"])
    assert "it does not fit" in capsys.readouterr().out
    main(["plan-memory", "ppo", "--model", llama, "--device-memory", "2TB"])
    assert "it fits" in capsys.readouterr().out


@pytest.mark.parametrize(("text", "size"), [("24GB", 24e9), ("16GiB", 16 * 2.0**30), ("1.5 tb", 1.5e12), ("512m", 512e6)])
def test_sizes_are_read(text: str, size: float) -> None:
    assert size_of(text) == size


def test_what_cannot_be_planned_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'much' is not a size"):
        plan_memory("sft", model=str(tmp_path), device_memory="much")
    with pytest.raises(ModelError):
        plan_memory("sft", model=str(tmp_path / "none"))


def test_a_run_says_the_figure_when_it_starts_and_keeps_it(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    (project.path / "accord.toml").write_text((project.path / "accord.toml").read_text() + "\n[sft]\nmicro_tokens = 512\nptx_tokens = 0\n")
    config = SftConfig(epochs=1, ptx_tokens=0, micro_tokens=512)
    run = sft(project, name="c", config=config, flags=FLAGS)
    planned = plan_memory("sft", model="base", project=str(project.path), dtype="float32")
    assert run.summary["memory_plan_mb"] == round(planned["total"] / 2**20)
    line = next(line for line in capsys.readouterr().err.splitlines() if "memory: about" in line)
    assert line.removeprefix("sft: ") in (run.folder / "log.txt").read_text()


def exhaust(*_: Any, **__: Any) -> None:
    """Ask the allocator for a petabyte."""
    torch.empty(1 << 50)


def test_when_memory_runs_out_the_run_goes_on_with_smaller_passes(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = sft(project, name="whole", config=CONFIG, flags=FLAGS)
    with monkeypatch.context() as patched:
        log = Run.log
        patched.setattr(Run, "log", lambda run, step, **metrics: exhaust() if step == 3 else log(run, step, **metrics))
        with pytest.raises(RunError, match="out of memory") as told:
            sft(project, name="cut", config=CONFIG, flags=FLAGS)
    assert "memory: about" in str(told.value)
    assert "process" in str(told.value)
    assert "--resume and a smaller --micro-tokens" in str(told.value)
    smaller = SftConfig(**{**vars(CONFIG), "micro_tokens": 32, "recompute": True})
    cut = sft(project, name="cut", config=smaller, flags=RESUME)
    assert "resumed with config.micro_tokens was 16384, is 32" in (cut.folder / "log.txt").read_text()
    one, other = (weights(load_causal_lm(project.model(name))) for name in ("whole", "cut"))
    start = weights(load_causal_lm(project.model("base")))
    assert any((one[key] - start[key]).abs().max() > 1e-2 for key in one)
    for key, weight in one.items():
        assert torch.allclose(weight, other[key], atol=1e-3), key
    assert whole.summary.keys() == cut.summary.keys()


def test_other_settings_still_may_not_change_on_a_resume(project: Project) -> None:
    sft(project, name="c", config=CONFIG, flags=FLAGS)
    with pytest.raises(RunError, match=r"config\.lr was 0\.01"):
        sft(project, name="c", config=SftConfig(**{**vars(CONFIG), "lr": 2e-2, "micro_tokens": 32}), flags=RESUME)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"), MemoryError()])
def test_a_device_and_python_run_out_in_the_same_words(error: Exception, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def train(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(import_module("accord.algorithms.sft"), "train", train)
    with pytest.raises(RunError, match="out of memory"):
        sft(project, name="c", config=CONFIG, flags=FLAGS)


def test_a_fault_of_ours_is_not_called_a_lack_of_memory(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def train(*_: Any, **__: Any) -> None:
        torch.zeros(2) @ torch.zeros(3)

    monkeypatch.setattr(import_module("accord.algorithms.sft"), "train", train)
    with pytest.raises(RuntimeError, match="size"):
        sft(project, name="c", config=CONFIG, flags=FLAGS)


def test_a_command_without_a_run_ends_with_one_line(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(import_module("accord.commands.train.sample"), "load_model", exhaust)
    with pytest.raises(SystemExit, match="1"):
        main(["sample", str(project.path), "--model", "sft"])
    assert "out of memory (close other programs" in capsys.readouterr().err
