"""Tokens a second of 64 responses by `vllm serve` on this machine's CPU and by our engine, in turns, from the same random weights.

    ACCORD_VLLM=.vllm/bin/vllm python benchmarks/vllm_speed.py --sizes 15M 135M

Both compute in float32 with all processors; prompts and responses have 64 tokens each. The server is started as
`--sampler vllm` starts it. Writes results/vllm_speed.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer
from work import SIZES, prompts, sized, write_models

from accord import LocalSampler, Sampling
from accord.engine.vllm import VllmSampler
from accord.engine.vllm_api import VllmServer
from accord.engine.vllm_server import OwnServer
from accord.engine.vllm_weights import FolderWay
from accord.models.folders import load_causal_lm

HERE = Path(__file__).parent
RESPONSES, PROMPT, TOKENS = 64, 64, 64


def measured(size: str, turns: int, folder: Path) -> dict[str, Any]:
    """Return the medians of both sides and their ratio, after a turn of warm-up."""
    models = HERE.parent / ".bench" / "models" / f"{size}-0"
    if not (models / "reward" / "tokenizer_config.json").exists():
        write_models(SIZES[size], models, 0)
    policy, tokenizer = load_causal_lm(models / "policy"), AutoTokenizer.from_pretrained(models / "policy")
    way = FolderWay(policy, folder / "weights", tokenizer, torch.float32)
    way.prepare()
    own = OwnServer(way.served, ["--dtype", "float32", "--max-model-len", "256", "--no-enable-chunked-prefill"], folder / "vllm.log")
    began = time.monotonic()
    try:
        server = VllmServer(own.start(1200), 900.0)
        started = time.monotonic() - began
        theirs = VllmSampler([server], way, policy=policy, stop=[], dtype=torch.float32, folder=folder)
        sides = {"vllm": theirs, "ours": LocalSampler(policy, stop=[], dtype=torch.float32)}
        ids = prompts(sized(size, "short"), RESPONSES, PROMPT, 0)
        rates: dict[str, list[float]] = {name: [] for name in sides}
        for turn in range(turns + 1):
            for name, sampler in sides.items():
                start = time.perf_counter()
                how = {"n": 1, "sampling": Sampling(max_tokens=TOKENS), "generator": torch.Generator().manual_seed(turn)}
                drawn = sampler.sample(ids, **how)
                assert int(drawn.keep.sum()) == RESPONSES * TOKENS
                if turn:
                    rates[name].append(RESPONSES * TOKENS / (time.perf_counter() - start))
                print(f"{size} {name}: {RESPONSES * TOKENS / (time.perf_counter() - start):,.0f} tokens/s", flush=True)
    finally:
        own.end()
    medians = {name: round(statistics.median(values), 1) for name, values in rates.items()}
    return {
        "size": size,
        **medians,
        "ratio": round(medians["ours"] / medians["vllm"], 2),
        "turns": turns,
        "start_seconds": round(started, 1),
    }


def main() -> None:
    os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
    parser = argparse.ArgumentParser(description="Compare vLLM's sampling with ours on a CPU.")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["15M"])
    parser.add_argument("--turns", type=int, default=3)
    asked = parser.parse_args()
    rows = list[dict[str, Any]]()
    for size in asked.sizes:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(measured(size, asked.turns, Path(folder)))
        found = {"date": f"{datetime.now(UTC):%Y-%m-%d}", "processor": platform.machine(), "rows": rows}
        (HERE / "results" / "vllm_speed.json").write_text(json.dumps(found, indent=1) + "\n")
        print(json.dumps(rows[-1]), flush=True)


if __name__ == "__main__":
    main()
