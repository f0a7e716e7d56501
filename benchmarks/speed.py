"""`make bench`: ours against TRL and Hugging Face generate, side by side, on the same work and seed.

Every measurement is a process of its own; the sides take turns, so that a machine that drifts drifts for all of them. The
first round tries each candidate for the peer's best settings and the fastest one stays for the later rounds. Writes
results/speed.json (one row a measure and size) and results/measurements.jsonl (every process's line).
docs/benchmarks.md says what is measured and how.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import three_turns
from measure import STARTED
from peers import ENVIRONMENTS, HERE, JOBS, QUIET, STARTUP, Job, Variant, make_environment, make_models, python_of
from rich.console import Console
from rich.table import Table
from work import LENGTHS, SIZES, Size, grpo_flops, pairs, ppo_flops, rankings, sized

OURS = Variant("ours")
FAST_BF16 = 1.5
"""bf16 products count as fast when they are this many times float32's."""
LIMIT = 900
"""Seconds a worker may take; a peer that needs more is reported so, and its row stays without a figure."""
WIDTH = 132
"""Columns the table needs; a narrower terminal wraps it."""
console = Console(stderr=True, soft_wrap=True)

Line = dict[str, Any]
"""A worker's JSON line, with the side and the variant it belongs to."""


class UnfinishedError(Exception):
    """A worker that failed, or was stopped at its limit."""


@dataclass
class Sides:
    """The lines of one job and size, by variant name."""

    log: Path
    """File to which every line is appended as it comes."""
    lines: dict[str, list[Line]] = field(default_factory=dict[str, list[Line]])
    unfinished: dict[str, str] = field(default_factory=dict[str, str])
    """Why a variant has no line."""

    def add(self, line: Line) -> None:
        """Keeps, writes and shows a line."""
        self.lines.setdefault(line["variant"], []).append(line)
        with self.log.open("a") as file:
            file.write(json.dumps(line) + "\n")
        console.print(f"{line['name']:12} {line['size']:>4}  {line['side']:12} {line['variant']:36} {line['value']:>10.4g} {line['unit']}")

    def of(self, variant: str) -> list[Line]:
        return self.lines.get(variant, [])

    def value(self, variant: str) -> float | None:
        """Median over the repeats."""
        return statistics.median(line["value"] for line in self.of(variant)) if self.of(variant) else None


def run_worker(job: Job, variant: Variant, size: Size, models: Path, seed: int) -> Line:
    """Runs one measurement in a process of its own and returns its line.

    Raises:
        UnfinishedError: it failed, with the end of its error output, or took longer than LIMIT.
    """
    ours = variant is OURS
    python, script = (sys.executable, "ours.py") if ours else (str(python_of(job.environment)), job.script)
    how = {
        "steps": job.steps[size.name],
        "warmup": job.warmup,
        "seed": seed,
        "lengths": size.lengths,
        "options": json.dumps(variant.options),
    }
    options = [word for key, value in how.items() for word in (f"--{key}", str(value))]
    env = {**os.environ, **QUIET, **variant.env, STARTED: repr(time.monotonic())}
    command = [python, str(HERE / script), job.name, size.name, str(models), *options]
    try:
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=LIMIT)
    except subprocess.TimeoutExpired as error:
        raise UnfinishedError(f"not finished after {LIMIT} s") from error
    if done.returncode:
        raise UnfinishedError(f"failed:\n{done.stderr[-3000:]}")
    line: Line = json.loads(done.stdout.strip().splitlines()[-1])
    if variant.dtype and line["dtype"] != variant.dtype:
        raise UnfinishedError(f"ran in {line['dtype']}, not {variant.dtype}: the setting did nothing")
    return {**line, "side": "ours" if ours else job.peer_name, "variant": variant.name, "env": variant.env}


def candidates(job: Job, first: Line) -> tuple[Variant, ...]:
    """The candidates for the best settings on this machine, by how fast it multiplies bf16."""
    bf16, fp32 = max(first["matmul"]["bf16"]), max(first["matmul"]["fp32"])
    return job.best if bf16 >= FAST_BF16 * fp32 else job.best_fp32


def kind_of(line: Line) -> str:
    """The kind of processor, by what our side multiplies in there: rows of both kinds stand side by side."""
    return "bfloat16" if line["dtype"] == "bf16" else "float32"


def best_of(job: Job, sides: Sides, tried: tuple[Variant, ...]) -> Variant:
    """The fastest variant of the peer, which may be the installed one."""
    measured = [(value, variant) for variant in (*tried, job.installed) if (value := sides.value(variant.name)) is not None]
    return (min if job.lower_is_better else max)(measured, key=lambda pair: pair[0])[1]


def measure_job(job: Job, size: Size, models: Path, log: Path, args: argparse.Namespace) -> tuple[Sides, Variant | None]:
    """All rounds of one job: ours and the peer in turns; the installed peer once, or never with --skip-installed.

    Returns None for the peer's best settings where it finished with none of them.
    """
    sides, best, seed = Sides(log), job.installed, args.seed
    for round_ in range(1 if args.quick else 3):
        mine = run_worker(job, OURS, size, models, seed)
        sides.add(mine)
        tried = (best,) if round_ else candidates(job, mine)
        if not round_ and not (args.skip_installed and tried):
            tried = (job.installed, *tried)
        for variant in tried:
            _try(job, variant, size, models, sides, seed)
        if not any(sides.of(variant.name) for variant in tried):
            return sides, None
        best = best if round_ else best_of(job, sides, tried)
    return sides, best


def _try(job: Job, variant: Variant, size: Size, models: Path, sides: Sides, seed: int) -> None:
    """Measure the peer with these settings. If it does not finish, say so and go on."""
    try:
        sides.add(run_worker(job, variant, size, models, seed))
    except UnfinishedError as error:
        sides.unfinished[variant.name] = str(error)
        console.print(f"[yellow]{job.name:12} {size.name:>4}  {job.peer_name:12} {variant.name:36} {error}")


EPISODE_FLOPS = {"ppo": ppo_flops, "grpo": grpo_flops, "episodes": three_turns.flops}
"""What counts the FLOPs of an episode, by measure."""


def flops_per_unit(name: str, size: Size, seed: int) -> float | None:
    """Matrix-product FLOPs of one token, pair or episode: 6 a weight and token in training (4 with adapters), 2 in generation,
    attention excluded."""
    if name == "sft":
        return float(size.training * size.params)
    if name == "reward":
        sample = pairs(size, 256, seed)
        tokens = statistics.mean(2 * len(pair.prompt) + len(pair.chosen) + len(pair.rejected) for pair in sample)
        return float(size.training * size.body) * tokens
    if name == "reward_k9":
        return float(size.training * size.body) * statistics.mean(ranking.tokens for ranking in rankings(size, 64, seed))
    if name == "dpo":
        sample = pairs(size, 256, seed)
        tokens = statistics.mean(2 * len(pair.prompt) + len(pair.chosen) + len(pair.rejected) for pair in sample)
        return float((2 + size.training) * size.params) * tokens
    if name in EPISODE_FLOPS:
        return EPISODE_FLOPS[name](size)
    return 2.0 * size.params if name.startswith("generate") else None


def limit_share(lines: list[Line], size: Size, seed: int) -> float | None:
    """Achieved FLOP/s over the fastest matrix product measured around these lines, in their dtype."""
    flops = flops_per_unit(lines[0]["name"], size, seed) if lines else None
    if flops is None:
        return None
    peak = max(product for line in lines for product in line["matmul"][lines[0]["dtype"]]) * 1e9
    return statistics.median(line["value"] for line in lines) * flops / peak


def drift(sides: Sides) -> float:
    """How far apart the float32 products around this job's measurements were: fastest over slowest, minus 1."""
    products = [product for lines in sides.lines.values() for line in lines for product in line["matmul"]["fp32"]]
    return max(products) / min(products) - 1


def ratio(job: Job, ours: float | None, peer: float | None) -> float | None:
    """How many times better ours is."""
    if ours is None or peer is None:
        return None
    return peer / ours if job.lower_is_better else ours / peer


def _peak(lines: list[Line]) -> float | None:
    return max(line["peak_rss_mb"] for line in lines) if lines else None


def _phases(lines: list[Line]) -> dict[str, float]:
    return {phase: statistics.median(line["phases"][phase] for line in lines) for phase in (lines[0]["phases"] if lines else ())}


def summarise(job: Job, size: Size, seed: int, sides: Sides, best: Variant | None) -> Line:
    """The row of results/speed.json. What was not measured is null."""
    chosen = best.name if best else ""
    ours, peer, installed = (sides.value(name) for name in (OURS.name, chosen, job.installed.name))
    mine, theirs = sides.of(OURS.name), sides.of(chosen)
    return {
        "processor": kind_of(mine[0]), "at": f"{date.today()}", "name": job.name, "size": size.name, "lengths": size.lengths,
        "dtype": mine[0]["dtype"], "unit": mine[0]["unit"],
        "ours": ours, "peer": peer, "peer_name": job.peer_name, "peer_settings": chosen,
        "peer_dtype": theirs[0]["dtype"] if theirs else None,
        "peer_installed": installed, "ratio": ratio(job, ours, peer), "ratio_installed": ratio(job, ours, installed),
        "limit_share": limit_share(mine, size, seed), "peer_limit_share": limit_share(theirs, size, seed),
        "peak_rss_mb": _peak(mine), "peer_peak_rss_mb": _peak(theirs), "peer_installed_peak_rss_mb": _peak(sides.of(job.installed.name)),
        "phases": _phases(mine), "peer_phases": _phases(theirs), "repeats": len(mine), "drift": drift(sides),
        "unfinished": sides.unfinished,
    }  # fmt: skip


def table_of(rows: list[Line]) -> Table:
    """The rows as a person reads them."""
    table = Table(title="Ours against the peer at its best settings and as installed")
    for heading in (
        "processor",
        "lengths",
        "size",
        "measure",
        "unit",
        "ours",
        "peer, best",
        "installed",
        "ratio",
        "to installed",
        "of limit",
        "MB",
        "peer MB",
        "drift",
    ):
        table.add_column(heading, justify="left" if heading in ("processor", "lengths", "measure", "unit") else "right")
    for row in rows:
        table.add_row(row["processor"], row["lengths"], row["size"], row["name"], row["unit"], *_cells(row))
    return table


def _cells(row: Line) -> Iterator[str]:
    styles = {"ratio": "{:.2f}x", "ratio_installed": "{:.2f}x", "limit_share": "{:.1%}", "drift": "{:.0%}"}
    keys = ("ours", "peer", "peer_installed", "ratio", "ratio_installed", "limit_share", "peak_rss_mb", "peer_peak_rss_mb", "drift")
    for key in keys:
        yield "-" if row[key] is None else styles.get(key, "{:,.4g}" if row[key] < 1000 else "{:,.0f}").format(row[key])


KEYS = ("processor", "lengths", "size", "name")


PAGE = HERE.parent / "docs" / "benchmarks.md"
BEGIN, END = "<!-- rows: written by benchmarks/speed.py --write -->", "<!-- end of the rows -->"
NAMES = {
    "sft": "SFT", "reward": "reward model, K = 2", "reward_k9": "reward model, K = 9", "dpo": "DPO", "ppo": "PPO", "grpo": "GRPO, G = 8",
    "episodes": "GRPO, three turns",
    "generate_b1": "generation, batch 1", "generate_b8": "generation, batch 8", "generate_b64": "generation, batch 64",
    "startup": "start-up",
}  # fmt: skip
HEADS = "| measure | size | unit | ours | peer, best | peer's settings | ratio | of the limit | peer's | MB | peer MB | repeats | drift |"


def page(rows: list[Line]) -> str:
    """The tables of docs/benchmarks.md: one a kind of processor and of lengths."""
    found: list[str] = []
    for (processor, lengths), group in itertools.groupby(rows, lambda row: (row["processor"], row["lengths"])):
        own = list(group)
        days = " to ".join(sorted({row["at"] for row in own}))
        found += [f"**{lengths.capitalize()} lengths, {processor} products** ({days})", "", HEADS, "|---" * HEADS.count(" | ") + "|---|"]
        found += [_line(row) for row in own] + [""]
    return "\n".join(found)


def _line(row: Line) -> str:
    shares = [row["limit_share"], row["peer_limit_share"]]
    cells = [
        NAMES[row["name"]], row["size"], row["unit"], _number(row["ours"]), _number(row["peer"]), row["peer_settings"] or "none finished",
        "–" if row["ratio"] is None else f"{row['ratio']:.2f}", *("–" if share is None else f"{share:.0%}" for share in shares),
        _number(row["peak_rss_mb"]), _number(row["peer_peak_rss_mb"]), str(row["repeats"]), f"{row['drift']:.0%}",
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def write_page(rows: list[Line]) -> None:
    """Put the tables into docs/benchmarks.md."""
    text = PAGE.read_text("utf-8")
    before, after = text[: text.index(BEGIN)], text[text.index(END) + len(END) :]
    PAGE.write_text(f"{before}{BEGIN}\n\n{page(rows)}\n{END}{after}", "utf-8")


def standing(path: Path) -> dict[tuple[str, ...], Line]:
    """The rows that were measured before: what --only, --sizes and --lengths leave out stays, and the other kind of processor."""
    rows: list[Line] = json.loads(path.read_text()) if path.exists() else []
    return {tuple(row[key] for key in KEYS): row for row in rows}


def in_order(rows: dict[tuple[str, ...], Line]) -> list[Line]:
    """Size by size, in the order of the jobs."""
    names = [job.name for job in JOBS]
    found = itertools.product(("bfloat16", "float32"), LENGTHS, SIZES, names)
    return [rows[key] for key in found if key in rows]


def write_rows(rows: list[Line], path: Path) -> None:
    """Writes the rows by rename, so that a stopped run leaves the old or the new file whole."""
    temporary = path.with_suffix(".partial")
    with temporary.open("w") as file:
        file.write(json.dumps(rows, indent=1) + "\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure ours against TRL and Hugging Face generate.")
    parser.add_argument("--quick", action="store_true", help="one repeat instead of three")
    parser.add_argument("--skip-installed", action="store_true", help="leave out the peer as installed where it has better settings")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--only", nargs="+", choices=[job.name for job in JOBS], default=[job.name for job in JOBS])
    parser.add_argument("--lengths", nargs="+", choices=LENGTHS, default=list(LENGTHS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help="write all rows that stand into docs/benchmarks.md, and measure nothing")
    parser.add_argument("--out", type=Path, default=HERE / "results", help="folder for speed.json and measurements.jsonl")
    return parser.parse_args()


def main() -> None:
    args = _arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    log, table = args.out / "measurements.jsonl", args.out / "speed.json"
    rows = standing(table)
    if args.write:
        write_page(in_order(rows))
        return
    for name in ENVIRONMENTS:
        make_environment(name)
    if os.getloadavg()[0] > 0.5:
        console.print("[yellow]Something else is running here. Two threads that wait for each other suffer most: figures may be far off.")
    for name, lengths in itertools.product(args.sizes, args.lengths):
        size, models = sized(name, lengths), make_models(name, args.seed)
        for job in (job for job in JOBS if job.name in args.only and not (lengths == "real" and job is STARTUP)):
            try:
                sides, best = measure_job(job, size, models, log, args)
            except UnfinishedError as error:
                raise SystemExit(f"{job.name} {name} (ours) {error}") from error
            row = summarise(job, size, args.seed, sides, best)
            rows[tuple(row[key] for key in KEYS)] = row
            write_rows(in_order(rows), table)
    Console(width=max(WIDTH, console.width)).print(table_of(in_order(rows)))


if __name__ == "__main__":
    main()
