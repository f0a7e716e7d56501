"""PPO by vLLM beside PPO by our engine, on projects as `accord demo` leaves them: is what is learned preferred as often?

    for seed in 0 1 2; do accord demo --seed $seed --out town-$seed; done
    ACCORD_VLLM=.vllm/bin/vllm python benchmarks/vllm_demo.py town-0 town-1 town-2

Trains `ppo-vllm` as the demo trained `ppo`, from the same models with the same settings and seed, and lets the gold judge compare both with
each other and with the SFT model on the same held-out prompts. Writes results/vllm_demo.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "vllm_demo.json"
POLICY = "ppo-vllm"


def accord(*words: object) -> dict[str, Any]:
    """Run a command and return what it prints as JSON."""
    command = [sys.executable, "-m", "accord", *map(str, words), "--json"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def compared(project: Path, prompts: int) -> dict[str, Any]:
    """Train by vLLM, unless that was done, and return the win rates with their intervals."""
    config = json.loads((project / "runs" / "ppo" / "config.json").read_text("utf-8"))
    seed = config["config"]["seed"]
    if not (project / "models" / POLICY).exists():
        resume = ["--resume"] if (project / "runs" / POLICY).exists() else []
        accord("ppo", project, "--name", POLICY, "--sampler", "vllm", "--seed", seed, *resume)
    words = ("--prompts", prompts, "--name", "compare-vllm", "--again")
    found = accord("compare", project, "ppo", POLICY, "sft", *words)
    learned = json.loads((project / "runs" / POLICY / "summary.json").read_text("utf-8"))
    kept = {key: learned[key] for key in ("syncs", "sync_seconds", "sync_gap", "sampler_faults", "seconds") if key in learned}
    return {"seed": seed, "prompts": prompts, "win_rate": found["win_rate"], "sampler": kept}


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare PPO by vLLM with PPO by our engine on demos.")
    parser.add_argument("projects", nargs="+", type=Path)
    parser.add_argument("--prompts", type=int, default=300)
    asked = parser.parse_args()
    known = json.loads(RESULTS.read_text("utf-8"))["rows"] if RESULTS.exists() else []
    rows = {row["seed"]: row for row in known}
    for project in asked.projects:
        row = compared(project, asked.prompts)
        rows[row["seed"]] = row
        print(json.dumps(row), file=sys.stderr, flush=True)
        found = {"date": f"{datetime.now(UTC):%Y-%m-%d}", "rows": [rows[seed] for seed in sorted(rows)]}
        RESULTS.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
