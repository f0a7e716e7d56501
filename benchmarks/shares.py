"""Where the time of a training step goes: torch's profiler over one step of our side of the bench, on one thread.

    python benchmarks/shares.py --sizes 1M 15M --write      # real lengths, every method; writes the table of docs/benchmarks.md

Each cell is a process of its own, profiled after a step of warm-up. Time inside an operation counts for its kind; a matrix product counts
for the head where one of its sides is the vocabulary. What no operation took is Python's, the profiler's own share included.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "benchmarks.md"
RESULTS = HERE / "results" / "shares.json"
BEGIN, END = "<!-- shares: written by benchmarks/shares.py -->", "<!-- end of the shares -->"
METHODS = ("sft", "reward", "reward_k9", "dpo", "ppo", "grpo")
KINDS = ("products", "attention", "head and softmax", "gates, norms, rotations", "gather and copy", "optimizer", "rest", "Python")
PRODUCTS = ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm", "aten::mv", "aten::dot")
SOFTMAX = ("softmax", "logsumexp", "aten::exp", "TokenLogprobs")
MOVES = (
    "cat",
    "index",
    "copy",
    "fill",
    "zero",
    "gather",
    "scatter",
    "nonzero",
    "clone",
    "embedding",
    "split",
    "pad",
    "repeat",
    "isin",
    "sort",
)
SMALL = ("mul", "silu", "sigmoid", "add", "pow", "sum", "div", "mean", "sqrt", "sub", "neg", "polar", "complex", "rms_norm", "sin", "cos")


def kind_of(name: str, shapes: Sequence[Any], vocabulary: int) -> str:
    """Return the kind of an operation, by its name and the shapes of its inputs."""
    sides = {side for shape in shapes if isinstance(shape, (list, tuple)) for side in shape}
    if name in PRODUCTS:
        return KINDS[2] if vocabulary in sides else KINDS[0]
    if "attention" in name.lower():
        return KINDS[1]
    if "adam" in name.lower() or "foreach" in name or name.startswith("Optimizer"):
        return KINDS[5]
    for words, kind in ((SOFTMAX, KINDS[2]), (MOVES, KINDS[4]), (SMALL, KINDS[3])):
        if any(word in name for word in words):
            return kind
    return KINDS[6]


def profiled(name: str, size_name: str, models: Path) -> dict[str, float]:
    """Return the seconds of one step by kind."""
    import measure
    import ours
    import torch
    from torch.profiler import ProfilerActivity, profile
    from work import sized

    torch.set_num_threads(1)
    size = sized(size_name, "real")
    profiler, clock = profile(activities=[ProfilerActivity.CPU], record_shapes=True), list[float]()

    class Watched(measure.Lap):
        """A lap whose second step is profiled."""

        def mark(self) -> None:
            super().mark()
            if len(self.marks) == 1:
                profiler.start()
                clock.append(time.perf_counter())
            elif len(self.marks) == 2:
                clock.append(time.perf_counter())
                profiler.stop()

    ours.Lap = Watched  # type: ignore[misc]
    ours.MEASURES[name](measure.Task(name, size, models, 1, 1, 0, {}))
    seconds = dict.fromkeys(KINDS, 0.0)
    for event in profiler.key_averages(group_by_input_shape=True):
        seconds[kind_of(event.key, event.input_shapes, size.vocab)] += event.self_cpu_time_total / 1e6
    seconds[KINDS[-1]] = max(clock[1] - clock[0] - sum(seconds.values()), 0.0)
    return seconds | {"products_per_second": max(measure.matmul_gflops().values())}


def cell(name: str, size: str, models: Path) -> dict[str, Any]:
    """Profile one method at one size in a process of its own."""
    command = [sys.executable, __file__, "--cell", name, size, str(models)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, timeout=1800)
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    return {"method": name, "size": size, "date": f"{date.today()}", **json.loads(done.stdout.splitlines()[-1])}


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the shares as a Markdown table."""
    lines = [f"| size | method | s a step | {' | '.join(KINDS)} |", "|---" * (3 + len(KINDS)) + "|"]
    for row in rows:
        whole = sum(row[kind] for kind in KINDS)
        shares = " | ".join(f"{row[kind] / whole:.0%}" for kind in KINDS)
        lines.append(f"| {row['size']} | {row['method']} | {whole:.2f} | {shares} |")
    return "\n".join(lines)


def main() -> None:
    from work import SIZES, write_models

    parser = argparse.ArgumentParser(description="Say where the time of a training step goes.")
    parser.add_argument("--cell", nargs=3)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["1M"])
    parser.add_argument("--only", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument(
        "--write", action="store_true", help="add the rows to results/shares.json and write the table of docs/benchmarks.md"
    )
    asked = parser.parse_args()
    if asked.cell:
        print(json.dumps(profiled(asked.cell[0], asked.cell[1], Path(asked.cell[2]))))
        return
    rows = list[dict[str, Any]]()
    for size in asked.sizes:
        models = HERE.parent / ".bench" / "models" / f"{size}-0"
        if not (models / "reward" / "tokenizer_config.json").exists():
            write_models(SIZES[size], models, 0)
        for name in asked.only:
            rows.append(cell(name, size, models))
            print(table(rows[-1:]).splitlines()[-1], file=sys.stderr, flush=True)
    if asked.write:
        known = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else []
        every = {(row["size"], row["method"]): row for row in [*known, *rows]}
        order = {name: place for place, name in enumerate([*SIZES, *METHODS])}
        rows = sorted(every.values(), key=lambda row: (order[row["size"]], order[row["method"]]))
        RESULTS.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n", "utf-8")
        before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}\n\n{table(rows)}\n\n{END}{rest.partition(END)[2]}", "utf-8")
    print(table(rows))


if __name__ == "__main__":
    main()
