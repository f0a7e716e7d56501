"""What the seams of many processes cost: one process with all threads against several with their share of them, on the same work in turns.

    python benchmarks/scaling.py                     # SFT and DPO at 15M, two processes, three rounds
    python benchmarks/scaling.py --processes 4 --sizes 1M --only sft

Each measurement is started as a user starts it, by torchrun, on the same examples. Writes results/scaling.json: tokens or pairs a second
of both, and their ratio. docs/scaling.md reads them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
LIMIT = 600
"""Seconds a measurement may take."""
WORKER = """
import json, sys
from dataclasses import asdict, replace
from pathlib import Path
import ours
from measure import Task
from work import SIZES
from accord.runtime import ranks
from accord.runtime.device import choose_device
ranks.start(choose_device("cpu"))
name, size, models, steps = sys.argv[1], SIZES[sys.argv[2]], Path(sys.argv[3]), int(sys.argv[4])
outcome = asdict(ours.MEASURES[name](Task(name, size, models, steps, 1, 0, {})))
if ranks.first():
    print(json.dumps(outcome), flush=True)
ranks.end()
"""


def measured(name: str, size: str, models: Path, processes: int, threads: int, steps: int) -> float:
    """Return work a second of so many processes with so many threads each."""
    script = models / "worker.py"
    script.write_text(WORKER)
    path = f"{HERE}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    env = os.environ | {"OMP_NUM_THREADS": str(threads), "BENCH_STARTED": "0", "PYTHONPATH": path}
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)] if processes > 1 else []
    command = [sys.executable, *torchrun, str(script), name, size, str(models), str(steps)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=LIMIT)
    if done.returncode:
        raise SystemExit(f"{name} {size} with {processes} processes failed:\n{done.stderr[-3000:]}")
    line = next(line for line in done.stdout.splitlines() if line.startswith("{"))
    return float(json.loads(line)["value"])


def row(name: str, size: str, models: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Return both sides of one measure, in turns."""
    cores = args.threads or len(os.sched_getaffinity(0))
    alone, together = list[float](), list[float]()
    for _ in range(args.rounds):
        alone.append(measured(name, size, models, 1, cores, args.steps))
        together.append(measured(name, size, models, args.processes, max(cores // args.processes, 1), args.steps))
        print(f"{name} {size}: {alone[-1]:,.1f} with one process, {together[-1]:,.1f} with {args.processes}", file=sys.stderr, flush=True)
    ratios = [many / one for many, one in zip(together, alone, strict=True)]
    return {
        "name": name, "size": size, "processes": args.processes, "threads": cores, "rounds": args.rounds,
        "one": statistics.median(alone), "many": statistics.median(together), "ratio": statistics.median(ratios), "ratios": ratios,
    }  # fmt: skip


def main() -> None:
    from work import SIZES, write_models

    parser = argparse.ArgumentParser(description="Measure one process against several on the same work.")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--threads", type=int, default=0, help="threads of the one process; 0: as many as there are processors")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["15M"])
    parser.add_argument("--only", nargs="+", default=["sft", "dpo"])
    parser.add_argument("--out", type=Path, default=HERE / "results" / "scaling.json")
    args = parser.parse_args()
    rows = list[dict[str, Any]]()
    for size in args.sizes:
        models = HERE.parent / ".bench" / "models" / f"{size}-0"
        if not (models / "reward" / "tokenizer_config.json").exists():
            write_models(SIZES[size], models, 0)
        rows += [row(name, size, models, args) for name in args.only]
    found = {"date": f"{datetime.now(UTC):%Y-%m-%d}", "processor": platform.processor() or platform.machine(), "rows": rows}
    args.out.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
