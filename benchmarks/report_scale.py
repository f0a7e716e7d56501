"""How long, how much memory and how large: a report over a million metric rows and a hundred thousand samples.

python benchmarks/report_scale.py            writes benchmarks/results/report_scale.json
python benchmarks/report_scale.py --rows 10000 --samples 1000
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RESULTS = Path(__file__).parent / "results" / "report_scale.json"
LIMITS = {"seconds": 60.0, "peak_mb": 1024.0, "html_mb": 5.0}
FIGURES = (
    *("policy_loss", "value_loss", "ratio", "clip_fraction", "approx_kl", "ptx_loss", "grad_norm", "reward", "kl_k1", "kl_k3", "entropy"),
    *("response_length", "finished", "logprob_gap", "reward_total", "value_explained_variance", "advantage", "kl_coef", "lr"),
    *("seconds_rollout", "seconds_score", "seconds_measure", "seconds_train", "episodes_per_second", "tokens_per_second"),
)
"""What PPO logs at each step."""
TEXT = "the baker opens a shop by river mill and who keeps bread cheese clock tower bridge market hall says nothing of it"
WORDS = tuple(TEXT.split(" "))
MODELS = ("base", "sft", "ppo", "ppo-no-ptx", "best-of-n")


def metric_lines(rows: int, rng: random.Random) -> list[str]:
    """Whole rows of PPO; a few thousand different ones, each with its own step."""
    some = [", ".join(f'"{name}": {rng.gauss(1, 0.2)}' for name in FIGURES) for _ in range(2000)]
    return [f'{{"step": {step}, {some[step % 2000]}}}\n' for step in range(1, rows + 1)]


def sample(number: int, rng: random.Random) -> str:
    def text(words: int) -> str:
        return " ".join(rng.choices(WORDS, k=words))

    row = {"step": 0, "prompt": f"Question {number}: {text(12)}?", "use_case": rng.choice(["open_qa", "rewrite", "chat"])}
    said = {name: text(16) for name in MODELS}
    return json.dumps(row | {"responses": said, "utilities": {name: rng.random() for name in MODELS}}) + "\n"


def write_runs(folder: Path, runs: int, rows: int, rng: random.Random) -> None:
    """PPO runs with so many rows each, every one from the model of the one before."""
    before: dict[str, str] = {}
    for number in range(runs):
        name = "ppo" if number == 0 else f"ppo-{number}"
        run, model = folder / "runs" / name, folder / "models" / name
        run.mkdir(parents=True)
        model.mkdir(parents=True)
        (run / "config.json").write_text(json.dumps({"stage": "ppo", "config": {"seed": number}, "seed": number}))
        (model / "lineage.json").write_text(json.dumps({"stage": "ppo", "parents": before, "digest": f"{number:064x}"}))
        before = {name: f"{number:064x}"}
        with (run / "metrics.jsonl").open("w") as file:
            file.writelines(metric_lines(rows, rng))


def write_project(folder: Path, rows: int, samples: int) -> int:
    """Four PPO runs with the rows between them and an evaluation with the samples; returns bytes written."""
    rng = random.Random(0)
    write_runs(folder, 4, rows // 4, rng)
    run = folder / "runs" / "evaluate"
    run.mkdir()
    (run / "config.json").write_text(json.dumps({"stage": "evaluate", "config": {}, "seed": 0}))
    with (run / "samples.jsonl").open("w") as file:
        file.writelines(sample(number, rng) for number in range(samples))
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def measured(folder: Path) -> dict[str, float]:
    """A report in a process of its own: seconds by a monotonic clock and of the processor, its peak memory, the page's size."""
    program = "import sys; from pathlib import Path; from accord.report.page import write_report; write_report(Path(sys.argv[1]))"
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", program, str(folder)], check=True)
    seconds = time.perf_counter() - began
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu, peak = spent.ru_utime + spent.ru_stime, spent.ru_maxrss / 1024
    return {
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu, 1),
        "peak_mb": round(peak),
        "html_mb": round((folder / "report.html").stat().st_size / 1e6, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--samples", type=int, default=100_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "large"
        written = write_project(folder, asked.rows, asked.samples)
        found = {"rows": asked.rows, "samples": asked.samples, "read_mb": round(written / 1e6), **measured(folder)}
    found["within_limits"] = all(found[name] <= limit for name, limit in LIMITS.items())
    print(json.dumps(found, indent=2))
    if (asked.rows, asked.samples) == (1_000_000, 100_000):
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(found, indent=2) + "\n")
    sys.exit(0 if found["within_limits"] else 1)


if __name__ == "__main__":
    main()
