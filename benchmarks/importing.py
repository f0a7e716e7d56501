"""Reading and mapping a million JSON lines: accord import beside `datasets` doing the same, side by side in one run.

    python benchmarks/importing.py --rows 1000000

Each program runs in a process of its own, by turns; peak memory and CPU seconds are the process's (on a busy machine the latter are the
steadier figure). accord is timed twice: reading and mapping alone
(what `datasets` does: load the file, map each row to prompt, response and a hash, write the result), and the whole command, which
also checks every row, tells repetitions, and stores records in SQLite with their foreign keys, flushed to disk.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

WORDS = ["the", "mill", "river", "bread", "market", "tower", "clock", "baker", "bridge", "town", "who", "where", "keeps", "sells", "cheese"]


def make(path: Path, rows: int) -> None:
    rng = random.Random(0)
    with path.open("w") as file:
        for n in range(rows):
            prompt, response = (" ".join(rng.choices(WORDS, k=k)) for k in (25, 40))
            file.write(json.dumps({"id": n, "prompt": f"{prompt} {n}?", "response": response, "user": f"u{n % 5000}"}) + "\n")


def ours_reading(path: Path, folder: Path) -> int:
    """Rows read, made into records, and written as lines: what an import does before it stores."""
    from accord.data.importers import Intake
    from accord.data.sources import Source
    from accord.feedback.spool import Spool

    intake = Intake([Source(path)])
    with Spool(folder) as spool:
        for _, taken in intake.rows():
            spool.add(taken.records)  # pyright: ignore[reportArgumentType]
    return intake.tally.kept


def ours_storing(path: Path, folder: Path) -> int:
    from accord import Project, import_

    return int(import_(Project.create(folder / "project"), path, quiet=True)["demonstrations"])


def peer(path: Path, folder: Path) -> int:
    import datasets

    datasets.disable_progress_bars()
    rows: Any = datasets.load_dataset("json", data_files=str(path), split="train", cache_dir=str(folder))

    def mapped(row: dict[str, Any]) -> dict[str, Any]:
        messages = [{"role": "user", "content": row["prompt"]}]
        key = hashlib.sha256(f"{row['user']}\0{row['prompt']}\0{row['response']}".encode()).hexdigest()[:20]
        return {"key": key, "messages": messages, "text": row["response"]}

    return len(rows.map(mapped, remove_columns=rows.column_names))


PROGRAMS = {"accord: read and map": ours_reading, "accord: the whole import": ours_storing, "datasets: load and map": peer}


def once(name: str, path: str) -> None:
    with tempfile.TemporaryDirectory(dir=Path(path).parent) as folder:
        began = time.perf_counter()
        count = PROGRAMS[name](Path(path), Path(folder))
        seconds = time.perf_counter() - began
    used = resource.getrusage(resource.RUSAGE_SELF)
    spent = {"seconds": seconds, "cpu_seconds": used.ru_utime + used.ru_stime}
    print(json.dumps({"rows": count, **spent, "peak_mb": used.ru_maxrss / 1024}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peer", default=sys.executable, help="a Python that has the package datasets")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "importing.json")
    parser.add_argument("--once", nargs=2)
    given = parser.parse_args()
    if given.once:
        once(*given.once)
        return
    measured: dict[str, list[dict[str, float]]] = {name: [] for name in PROGRAMS}
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "rows.jsonl"
        make(path, given.rows)
        for _ in range(given.repeats):
            for name in PROGRAMS:
                python = given.peer if name.startswith("datasets") else sys.executable
                command = [python, __file__, "--once", name, str(path)]
                done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"HF_HUB_OFFLINE": "1"})
                if done.returncode:
                    print(f"{name}: {done.stderr.strip().splitlines()[-1]}")
                    continue
                measured[name].append(json.loads(done.stdout.strip().splitlines()[-1]))
        size = path.stat().st_size
    table = {name: summary(runs, given.rows) for name, runs in measured.items() if runs}
    result = {"rows": given.rows, "bytes": size, "repeats": given.repeats, "programs": table}
    given.out.parent.mkdir(exist_ok=True)
    given.out.write_text(json.dumps(result, indent=1) + "\n")
    for name, figures in table.items():
        pace = f"{figures['rows_per_second']:>10,.0f} rows/s {figures['seconds']:8.1f} s"
        print(f"{name:28}{pace} ({figures['cpu_seconds']:.1f} s of CPU) {figures['peak_mb']:8.0f} MB")


def summary(runs: list[dict[str, float]], rows: int) -> dict[str, float]:
    seconds, cpu = (statistics.median(run[key] for run in runs) for key in ("seconds", "cpu_seconds"))
    pace = {"seconds": round(seconds, 2), "rows_per_second": round(rows / seconds), "cpu_seconds": round(cpu, 2)}
    return pace | {"peak_mb": round(max(run["peak_mb"] for run in runs))}


if __name__ == "__main__":
    main()
