"""Who is measured against whom: the jobs, the peers' settings, and the environments the peers live in."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
BENCH = HERE.parent / ".bench"

ENVIRONMENTS = {"trl-1.16": "trl[peft]==1.16.0", "trl-1.12": "trl[peft]==1.12.0"}
"""1.12.0 is the last TRL with PPO."""

ALLOCATOR = {
    "GLIBC_TUNABLES": ":".join(
        f"glibc.malloc.{name}={value}"
        for name, value in {"hugetlb": 1, "mmap_max": 0, "trim_threshold": 1 << 36, "top_pad": 64 << 20, "arena_max": 1}.items()
    )
}
"""Freed memory is kept: no mmap for large blocks, no trimming, transparent huge pages (glibc 2.35 or newer)."""

AUTOCAST = {"ACCELERATE_MIXED_PRECISION": "bf16"}
"""What PPO listens to; its own ``bf16`` flag does nothing."""

QUIET = {
    "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1", "TRANSFORMERS_VERBOSITY": "error", "TOKENIZERS_PARALLELISM": "false",
}  # fmt: skip


@dataclass(frozen=True)
class Variant:
    """One way to run a side: options the worker understands and environment variables."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    dtype: str = ""
    """What the matrix products must come out in; another dtype means that the setting did nothing."""


@dataclass(frozen=True)
class Job:
    """One thing to measure. ``steps`` and ``warmup`` hold for every side; steps by size name."""

    name: str
    peer_name: str
    environment: str
    script: str
    steps: dict[str, int]
    installed: Variant
    best: tuple[Variant, ...] = ()
    """Candidates for the peer's best settings where bf16 products are fast; the fastest one counts."""
    best_fp32: tuple[Variant, ...] = ()
    """The candidates where they are not."""
    warmup: int = 1
    lower_is_better: bool = False


def _tuned(name: str, dtype: str, env: dict[str, str] | None = None, **options: Any) -> Variant:
    return Variant(name, options, {**ALLOCATOR, **(env or {})}, dtype)


NO_RECOMPUTE = {"gradient_checkpointing": False}
SFT = Job(
    "sft", "TRL 1.16.0", "trl-1.16", "peer_trl.py", {"1M": 8, "15M": 3, "135M": 2}, Variant("as installed", dtype="bf16"),
    (
        _tuned("packed, sdpa", "bf16", packing=True, **NO_RECOMPUTE),
        _tuned("packed, eager attention", "bf16", packing=True, attention="eager", **NO_RECOMPUTE),
    ),
    (_tuned("packed, sdpa", "fp32", packing=True, bf16=False, **NO_RECOMPUTE),),
)  # fmt: skip
REWARD = Job(
    "reward", "TRL 1.16.0", "trl-1.16", "peer_trl.py", {"1M": 8, "15M": 4, "135M": 2}, Variant("as installed", dtype="bf16"),
    (
        _tuned("grouped by length, sdpa", "bf16", grouped=True, **NO_RECOMPUTE),
        _tuned("grouped by length, eager attention", "bf16", grouped=True, attention="eager", **NO_RECOMPUTE),
    ),
    (_tuned("grouped by length, sdpa", "fp32", grouped=True, bf16=False, **NO_RECOMPUTE),),
)  # fmt: skip
RANKINGS = replace(REWARD, name="reward_k9", steps={"1M": 4, "15M": 2, "135M": 1})
"""The same reward model from rankings of nine."""
PPO = Job(
    "ppo", "TRL 1.12.0", "trl-1.12", "peer_trl.py", {"1M": 4, "15M": 1, "135M": 1}, Variant("as installed", dtype="fp32"),
    (_tuned("sdpa", "bf16", AUTOCAST), _tuned("eager attention", "bf16", AUTOCAST, attention="eager")),
    (_tuned("sdpa", "fp32"),),
)  # fmt: skip
DPO = Job(
    "dpo", "TRL 1.16.0", "trl-1.16", "peer_trl.py", {"1M": 6, "15M": 3, "135M": 2}, Variant("as installed", dtype="bf16"),
    (
        _tuned("sdpa", "bf16", **NO_RECOMPUTE),
        _tuned("eager attention", "bf16", attention="eager", **NO_RECOMPUTE),
        _tuned("sdpa, reference beforehand", "bf16", precomputed=True, **NO_RECOMPUTE),
    ),
    (
        _tuned("sdpa", "fp32", bf16=False, **NO_RECOMPUTE),
        _tuned("sdpa, reference beforehand", "fp32", precomputed=True, bf16=False, **NO_RECOMPUTE),
    ),
)  # fmt: skip
GRPO = Job(
    "grpo", "TRL 1.16.0", "trl-1.16", "peer_trl.py", {"1M": 4, "15M": 1, "135M": 1}, Variant("as installed", dtype="bf16"),
    (
        _tuned("sdpa", "bf16", **NO_RECOMPUTE),
        _tuned("eager attention", "bf16", attention="eager", **NO_RECOMPUTE),
    ),
    (_tuned("sdpa", "fp32", bf16=False, **NO_RECOMPUTE),),
)  # fmt: skip
EPISODES = replace(GRPO, name="episodes")
"""Its group's episodes have three turns in place of one."""
GENERATE = tuple(
    Job(
        f"generate_b{batch}", "HF generate", "trl-1.16", "peer_generate.py", {"1M": 3, "15M": 2, "135M": 1},
        Variant("as installed", dtype="fp32"),
        (_tuned("float32 weights", "fp32"), _tuned("bfloat16 weights", "bf16", weights="bf16")),
        (_tuned("float32 weights", "fp32"),),
    )
    for batch in (1, 8, 64)
)  # fmt: skip
STARTUP = Job(
    "startup", "TRL 1.16.0", "trl-1.16", "peer_trl.py", {"1M": 1, "15M": 1, "135M": 1}, Variant("as installed"), lower_is_better=True
)  # fmt: skip
JOBS = (SFT, REWARD, RANKINGS, DPO, PPO, GRPO, EPISODES, *GENERATE, STARTUP)


def python_of(environment: str) -> Path:
    """The interpreter of a peer's environment."""
    return BENCH / environment / "bin" / "python"


def make_environment(name: str) -> None:
    """Makes .bench/NAME unless it is there: the peer, with torch and transformers exactly as in this environment.

    The pinned build of torch carries its local label (such as +cpu), so pip fails rather than fetch another build.
    """
    ready, wanted = BENCH / name / "ready", f"{ENVIRONMENTS[name]} torch=={version('torch')} transformers=={version('transformers')}"
    if ready.exists() and ready.read_text() == wanted:
        return
    print(f"Making .bench/{name} ({wanted}), some minutes the first time", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(BENCH / name)], check=True)
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as pins:
        pins.write("\n".join(wanted.split()[1:]))
        pins.flush()
        pip = [python_of(name), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-c", pins.name]
        subprocess.run([*pip, "-c", str(HERE.parent / "constraints.txt"), ENVIRONMENTS[name], "torch"], check=True)
    ready.write_text(wanted)


def make_models(size: str, seed: int) -> Path:
    """The folder with a size's models, written by the peer's transformers unless it is there."""
    folder = BENCH / "models" / f"{size}-{seed}"
    for last, script in (("reward", "work.py"), ("caller-real", "three_turns.py")):
        if not (folder / last / "tokenizer_config.json").exists():
            command = [python_of("trl-1.16"), str(HERE / script), size, str(folder), "--seed", str(seed)]
            subprocess.run(command, check=True, env={**os.environ, **QUIET})
    return folder


if __name__ == "__main__":
    for wanted in sys.argv[1:]:
        make_environment(wanted)
