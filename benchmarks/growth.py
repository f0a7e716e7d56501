"""How cost grows: processor seconds and peak memory as each size doubles five times, with the slope that the work has beside it.

    python benchmarks/growth.py                 writes benchmarks/results/growth.json and docs/growth.svg; minutes of one core
    python benchmarks/growth.py --quick         three doublings, one repeat; nothing is written or judged
    python benchmarks/growth.py --only people   some axes alone; their rows of the file are renewed

Each size is measured in a process that is forked for it: seconds are the processor's, children included, the smallest of some repeats;
memory is the peak beyond what the process held before. A slope is that of a line through the logarithms, 1 for what doubles with the
size. What grows faster than its work is named, and the exit code is 1. benchmarks/growth_axes.py holds the axes.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from datetime import UTC, datetime
from io import StringIO
from math import log2
from pathlib import Path
from typing import Any

import numpy as np
import torch
from growth_axes import AXES, Axis, decoder
from measure import peak_rss_mb

from accord.runtime.device import environment, keep_few_kernels, keep_freed_memory

RESULTS = Path(__file__).parent / "results" / "growth.json"
PLOT = Path(__file__).parents[1] / "docs" / "growth.svg"
DOUBLINGS, REPEATS = 5, 3
ABOVE = 0.15
"""A slope this far above the expected one is a fault: time on a machine with other work varies by some percent of a doubling."""
ABOVE_AT_THE_END = 0.3
"""The same for the last two doublings, whose slope fewer points decide."""
SMALL = 8.0
"""MB below which memory is the allocator's noise."""


def cpu_seconds() -> float:
    """Return the processor seconds of this process and of its children that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def measured(axis: Axis, size: int, folder: Path, repeats: int) -> dict[str, float]:
    """Return the smallest processor seconds of some repeats, and the peak of the first beyond what was held before."""
    timed = axis.prepare(size, folder)
    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
    held, seconds, peak = peak_rss_mb(), list[float](), 0.0
    for _ in range(repeats):
        began = cpu_seconds()
        with redirect_stderr(StringIO()):
            timed()
        seconds.append(cpu_seconds() - began)
        peak = peak or peak_rss_mb() - held
    return {"size": size, "seconds": round(min(seconds), 4), "peak_mb": round(max(peak, 0.0), 2)}


def forked(axis: Axis, size: int, folder: Path, repeats: int) -> dict[str, float]:
    """Measure in a process of its own, which has loaded everything already."""
    context = multiprocessing.get_context("fork")
    ours, its = context.Pipe(duplex=False)

    def measure() -> None:
        its.send(measured(axis, size, folder, repeats))

    child = context.Process(target=measure)
    child.start()
    its.close()
    try:
        return ours.recv()
    except EOFError:
        raise SystemExit(f"{axis.name}, {axis.what}: the measurement at {size} failed") from None
    finally:
        child.join()


def slope(sizes: Sequence[float], values: Sequence[float]) -> float:
    """Return the slope of a line through the logarithms: by which power of the size the values grow."""
    return float(np.polyfit(np.log2(sizes), np.log2(values), 1)[0])


def judged(axis: Axis, points: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Return the row of an axis: its points, the slopes found and expected, and whether time or memory grow faster than their work."""
    sizes, seconds, peaks = ([point[key] for point in points] for key in ("size", "seconds", "peak_mb"))
    row: dict[str, Any] = {"axis": axis.name, "what": axis.what, "work": axis.why, "points": list(points)}
    row |= compared("seconds", sizes, seconds, axis.work)
    row |= compared("memory", sizes, peaks, axis.held) if max(peaks) >= SMALL else {"memory": None, "memory_too_fast": False}
    return row


def compared(what: str, sizes: Sequence[float], values: Sequence[float], work: Callable[[int], float]) -> dict[str, Any]:
    """Return the slope of some values beside that of the work, over all sizes and over the last two doublings."""
    floor = [max(value, 1e-4) for value in values]
    expected = [work(int(size)) for size in sizes]
    ways = {"": slice(None), "_at_the_end": slice(-3, None)}
    found = {f"{what}{way}": round(slope(sizes[part], floor[part]), 2) for way, part in ways.items()}
    found |= {f"{what}_expected{way}": round(slope(sizes[part], expected[part]), 2) for way, part in ways.items()}
    beyond = {way: found[f"{what}{way}"] - found[f"{what}_expected{way}"] for way in ways}
    return found | {f"{what}_too_fast": beyond[""] > ABOVE or beyond["_at_the_end"] > ABOVE_AT_THE_END}


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows as the Markdown table of docs/benchmarks.md."""
    lines = [
        "| doubles | what is measured | sizes | seconds | slope | expected | MB | slope | expected |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        first, last = row["points"][0], row["points"][-1]
        held = row["memory"] is not None
        memory = [f"{row['memory']:.2f}{'!' * row['memory_too_fast']}", f"{row['memory_expected']:.2f}"] if held else ["–", "–"]
        cells = [row["axis"], row["what"], f"{first['size']:,} to {last['size']:,}", f"{first['seconds']:.3g} to {last['seconds']:.3g}"]
        cells += [f"{row['seconds']:.2f}{'!' * row['seconds_too_fast']}", f"{row['seconds_expected']:.2f}"]
        cells += [f"{first['peak_mb']:.0f} to {last['peak_mb']:.0f}", *memory]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def draw(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw each axis as doublings of time and memory over doublings of its size, the work dashed."""
    from matplotlib import rc_context  # pyright: ignore[reportUnknownVariableType]
    from matplotlib.figure import Figure

    across, works = 4, {(axis.name, axis.what): axis for axis in AXES}
    down = -(-len(rows) // across)
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "accord", "font.size": 8.0}):
        figure: Any = Figure(figsize=(11, 2.3 * down), layout="constrained")
        for place, row in enumerate(rows):
            axes = figure.add_subplot(down, across, place + 1)
            sizes = [point["size"] for point in row["points"]]
            steps = [log2(size / sizes[0]) for size in sizes]
            axis = works[row["axis"], row["what"]]
            lines = {"work": [axis.work(size) for size in sizes], "seconds": [point["seconds"] for point in row["points"]]}
            if row["memory"] is not None:
                lines["memory"] = [point["peak_mb"] for point in row["points"]]
            for name, values in lines.items():
                style = {"work": "k--", "seconds": "C0o-", "memory": "C1s-"}[name]
                grown = [log2(max(value, 1e-4) / max(values[0], 1e-4)) for value in values]
                axes.plot(steps, grown, style, markersize=3, linewidth=1, label=name)
            axes.set_title(f"{row['axis']}: {row['what']}", fontsize=8)
            axes.grid(linewidth=0.4)
            if not place:
                axes.legend(fontsize=7)
                axes.set_xlabel("doublings of the size")
                axes.set_ylabel("doublings of the cost")
        figure.savefig(path, format="svg", metadata={"Creator": None, "Date": None, "Format": None, "Type": None})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="three doublings, one repeat; nothing is written or judged")
    parser.add_argument("--only", nargs="+", default=[], help="axes whose name or measure contains one of these words")
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--plot", type=Path, default=PLOT)
    given = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    keep_few_kernels()
    chosen = [axis for axis in AXES if not given.only or any(word in f"{axis.name} {axis.what}" for word in given.only)]
    if not chosen:
        parser.error(f"no axis is called so: {', '.join(sorted({axis.name for axis in AXES}))}")
    decoder()  # transformers loads a model's modules when one is made: once here, not in every forked process
    rows = list[dict[str, Any]]()
    with tempfile.TemporaryDirectory() as folder:
        for axis in chosen:
            sizes = axis.sizes(3 if given.quick else DOUBLINGS)
            points = [forked(axis, size, Path(folder), 1 if given.quick else given.repeats) for size in sizes]
            rows.append(judged(axis, points))
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    print(table(rows))
    for row in rows:
        for what in ("seconds", "memory"):
            if row[f"{what}_too_fast"]:
                print(f"{row['axis']}, {row['what']}: {what} grow by {row[what]}, work by {row[f'{what}_expected']}")
    if not given.quick:
        write(rows, given.out, given.plot)
    return int(not given.quick and any(row["seconds_too_fast"] or row["memory_too_fast"] for row in rows))


def write(rows: Sequence[dict[str, Any]], out: Path, plot: Path) -> None:
    """Renew these rows of the results, and draw all."""
    known = {(row["axis"], row["what"]): row for row in json.loads(out.read_text())["rows"]} if out.exists() else {}
    known |= {(row["axis"], row["what"]): row for row in rows}
    kept = [known[key] for axis in AXES if (key := (axis.name, axis.what)) in known]
    said = {"day": f"{datetime.now(UTC):%Y-%m-%d}", "machine": environment(), "rows": kept}
    out.write_text(json.dumps(said, indent=1) + "\n")
    draw(kept, plot)


if __name__ == "__main__":
    sys.exit(main())
