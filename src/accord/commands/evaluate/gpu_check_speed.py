"""The second half of `accord gpu-check`: tokens a second, memory and share of the device's products, for models of random weights.

Prompts have 100 to 300 words of one token each, responses 40 to 120: the lengths of real chats. A size that does not fit into the
device's memory says so, and the next one is tried.
"""

from __future__ import annotations

import json
import random
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from accord.data.tokenizers import load_tokenizer
from accord.models.folders import new_decoder, save_model, scalar_from
from accord.models.scalar import new_head
from accord.runtime.logs import read_metrics


@dataclass(frozen=True)
class Body:
    """A Llama-shaped model's measures."""

    hidden_size: int
    layers: int
    heads: int
    intermediate_size: int
    vocab_size: int


SIZES: Mapping[str, Body] = {
    "1M": Body(128, 4, 4, 384, 4096),
    "0.1B": Body(768, 12, 12, 2048, 32_768),
    "0.5B": Body(1280, 20, 20, 3584, 49_152),
    "1.5B": Body(2048, 26, 16, 5632, 65_536),
}
ROWS, STEPS, EPISODES, NEW = 48, 4, 16, 64
METHODS: Mapping[str, Sequence[str]] = {
    "sft": ("--base", "{lm}", "--epochs", "1", "--batch-size", "12", "--ptx-tokens", "0", "--select", "last"),
    "dpo": ("--sft", "{lm}", "--epochs", "1", "--batch-size", "12"),
    "reward": ("--sft", "{lm}", "--epochs", "1", "--batch-size", "12"),
    "grpo": ("--sft", "{lm}", "--steps", f"{STEPS}", "--batch-size", f"{EPISODES}", "--minibatch-size", f"{EPISODES}",
             "--group-size", "8", "--epochs", "1", "--max-tokens", f"{NEW}", "--rewards", "length"),
    "ppo": ("--sft", "{lm}", "--reward", "{reward}", "--steps", f"{STEPS}", "--batch-size", f"{EPISODES}", "--minibatch-size",
            f"{EPISODES}", "--epochs", "1", "--max-tokens", f"{NEW}", "--ptx-coef", "0"),
}  # fmt: skip
"""Each method with its flags; {lm} and {reward} stand for folders of random weights."""
PASSES: Mapping[str, int] = {"sft": 6, "dpo": 8, "reward": 6, "grpo": 12, "ppo": 22}
"""Products per weight and token: 2 a forward pass, 6 with its backward pass. DPO adds its reference's pass; GRPO sampling, policy and
reference; PPO also reward and value model, and trains two models."""


@dataclass(frozen=True)
class Speed:
    """One method at one size."""

    size: str
    method: str
    weights: int
    tokens_per_second: float = 0.0
    """Prompt and response, over the median step after the first."""
    share: float = 0.0
    """Of the matrix products that the device does in a second, attention not counted."""
    peak_gb: float = 0.0
    """Largest memory on the device; of the process on a CPU."""
    note: str = ""


def peak_tflops(device: torch.device, dtype: torch.dtype) -> float:
    """Return the TFLOP/s of a square matrix product, the best of five."""
    side = 4096 if device.type != "cpu" else 1024
    one, other = (torch.ones(side, side, device=device, dtype=dtype) for _ in range(2))
    best = float("inf")
    for _ in range(6):
        began = time.perf_counter()
        (one @ other)[0, 0].item()
        best = min(best, time.perf_counter() - began)
    return 2 * side**3 / best / 1e12


def speed_of(ground: Path, size: str, device: str, tflops: float, until: float, run: Callable[..., None]) -> list[Speed]:
    """Train a model of this size by each method for a few steps, and return what was measured.

    Args:
        ground: a project whose tokenizer the models take.
        until: ``time.monotonic()`` after which nothing more is begun.
        run: runs a command line.
    """
    if time.monotonic() > until:
        return [Speed(size, method, 0, note="no time was left") for method in METHODS]
    folder = ground.with_name(f"speed-{size}")
    project, models = folder / "project", {"lm": folder / "lm", "reward": folder / "reward"}
    weights = _write_models(SIZES[size], ground, models)
    _write_project(project, run)
    found = [_measured(size, method, weights, project, models, device, tflops, until, run) for method in METHODS]
    shutil.rmtree(folder)
    return found


def _measured(
    size: str, method: str, weights: int, project: Path, models: Mapping[str, Path], device: str, tflops: float, until: float,
    run: Callable[..., None],
) -> Speed:  # fmt: skip
    if time.monotonic() > until:
        return Speed(size, method, weights, note="no time was left")
    flags = [word.format(**models) for word in METHODS[method]]
    try:
        run(method, project, *flags, "--name", method, "--save-every", "100000", "--device", device)
    except subprocess.CalledProcessError as error:
        lines = str(error.stderr).strip().splitlines() or ["failed without a word"]
        return Speed(size, method, weights, note=lines[-1][:200])
    folder = project / "runs" / method
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text("utf-8"))
    rate = _tokens_per_second(read_metrics(folder / "metrics.jsonl").columns)
    shutil.rmtree(project / "models" / method, ignore_errors=True)
    memory = summary.get("peak_device_mb", summary["peak_rss_mb"]) / 1024
    share = PASSES[method] * weights * rate / (tflops * 1e12)
    return Speed(size, method, weights, round(rate, 1), round(share, 4), round(memory, 2))


def _tokens_per_second(columns: Mapping[str, Any]) -> float:
    """Return the median over the steps after the first, which compiles and warms up. Prompts have 200 tokens on average."""
    per_item = {"tokens_per_second": 1.0, "pairs_per_second": 2 * 280.0, "episodes_per_second": 200.0 + NEW}
    name = next(name for name in per_item if name in columns)
    values = [float(value) for value in columns[name]]
    return per_item[name] * statistics.median(values[1:] or values)


def _write_models(body: Body, ground: Path, folders: Mapping[str, Path]) -> int:
    """Write a language model and a reward model of random weights with the ground's tokenizer; return the language model's weights."""
    tokenizer = load_tokenizer(ground / "models" / "sft")
    torch.manual_seed(0)
    with torch.device("cpu"):
        lm = new_decoder(**vars(body), context=1024, end=tokenizer.eos_token_id, pad=tokenizer.pad_token_id)
    for folder in folders.values():
        folder.mkdir(parents=True)
    save_model(folders["lm"], lm, tokenizer)
    save_model(folders["reward"], scalar_from(lm, new_head(body.hidden_size, torch.Generator())), tokenizer)
    return sum(weight.numel() for weight in lm.parameters())


def _write_project(project: Path, run: Callable[..., None]) -> None:
    """Create a project with demonstrations and comparisons of random words."""
    run("init", project)
    draw = random.Random(0)

    def words(least: int, most: int) -> str:
        return " ".join(draw.choice(("the", "is", "in", "of", "a")) for _ in range(draw.randint(least, most)))

    for name, fields in (("demonstrations", ("response",)), ("comparisons", ("chosen", "rejected"))):
        file = project.with_name(f"{name}.jsonl")
        with file.open("w", encoding="utf-8") as written:
            for number in range(ROWS):
                row = {"prompt": f"{number} {words(100, 300)}?", "user": f"u{number}", **{field: words(40, 120) for field in fields}}
                written.write(json.dumps(row) + "\n")
        run("import", project, file, "--split", "train")
