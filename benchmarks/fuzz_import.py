"""Throws damaged files at `accord import` and holds that it never crashes, and never leaves half an import behind.

    python benchmarks/fuzz_import.py --inputs 100000 --seed 0 [--seconds 900] [--out benchmarks/results/fuzz_import.json]

The record is the sum of all runs, each with its seed and commit: take a seed that none of them had.

Coverage guides it: an input that reaches a pair of lines that none reached before joins the pool that later inputs are changed
from (sys.settrace; no package needed). Inputs begin as small sound files of every format and kind; changes are of
bytes, of lines, and of JSON values. Every 200th input, and every one that is new, goes through the whole import into a store, in
strict mode and with --skip-bad in turn; the others through reading and record making alone. JSON lines that come in are read once more
with a judgement planted in each row, which must stop the import.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

import summed  # noqa: E402
from excerpts import FORMATS  # noqa: E402

from accord import (  # noqa: E402
    AccordError,
    Project,
    Store,
    import_,
)
from accord.data.importers import Intake  # noqa: E402
from accord.data.sources import Source  # noqa: E402

ODD: list[Any] = [None, "", 0, -1, 3.5, 1e400, True, [], {}, [[]], "\0", "\ud800", "x" * 3000, {"a": 1}, ["x"], "[1, 2", 10**30, "=A(1)"]
BITS = [
    b"\0",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\n",
    b'"',
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b"\\u",
    b"\\ud83e",
    b"\x1f\x8b",
    b"\xe2\x80\xa8",
    b"1e999",
]
KINDS = [".jsonl", ".json", ".csv", ".tsv", ".jsonl.gz", ".json.zst", ".txt", ".parquet"]
PLANTED = "my_verdict"
Input = tuple[str, bytes]


def seeds() -> list[Input]:
    made: list[Input] = []
    for rows, _ in FORMATS.values():
        text = "".join(json.dumps(row) + "\n" for row in rows).encode()
        made += [(".jsonl", text), (".json", json.dumps(rows).encode()), (".jsonl.gz", gzip.compress(text, mtime=0))]
    table = b'prompt,response\n"a, b",c\n"two\nlines",d\n'
    return [*made, (".csv", table), (".tsv", table.replace(b",", b"\t")), (".txt", b"A line.\n\nAnother.\n")]


def changed(rng: random.Random, pool: list[Input]) -> Input:
    kind, data = rng.choice(pool)
    if rng.random() < 0.1:
        kind = rng.choice(KINDS)
    for _ in range(rng.choice((1, 1, 2, 4))):
        data = rng.choice((_bits, _bits, _lines, _values, _values, _values, _spliced))(rng, data, pool)
    return kind, data[:20_000]


def _bits(rng: random.Random, data: bytes, _: list[Input]) -> bytes:
    at = rng.randrange(len(data) + 1)
    end = min(len(data), at + rng.choice((0, 1, 1, 8, 100)))
    return data[:at] + rng.choice([b"", bytes([rng.randrange(256)]), rng.choice(BITS)]) + data[end:]


def _lines(rng: random.Random, data: bytes, _: list[Input]) -> bytes:
    lines = data.split(b"\n")
    one, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    lines[one:one] = [lines[other]]
    return b"\n".join(lines)


def _spliced(rng: random.Random, data: bytes, pool: list[Input]) -> bytes:
    other = rng.choice(pool)[1]
    return data[: rng.randrange(len(data) + 1)] + other[rng.randrange(len(other) + 1) :]


def _values(rng: random.Random, data: bytes, _: list[Input]) -> bytes:
    """One value of a JSON line, or its key, becomes another, so that what is behind the parser is reached."""
    lines = data.split(b"\n")
    at = rng.randrange(len(lines))
    try:
        value = json.loads(lines[at])
    except (ValueError, RecursionError):
        return data
    places = list[tuple[Any, Any]]()
    _places(value, places)
    if places:
        holder, key = rng.choice(places)
        if isinstance(holder, dict) and rng.random() < 0.2:
            holder.pop(key)
        else:
            holder[key] = rng.choice([rng.choice(ODD), rng.choice(rng.choice(places)[:1])])
    try:
        lines[at] = json.dumps(value).encode()
    except (ValueError, RecursionError):
        return data
    return b"\n".join(lines)


def _places(value: Any, found: list[tuple[Any, Any]]) -> None:
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        found.append((value, key))
        _places(inner, found)


class Coverage:
    """Pairs of lines of accord.data that followed one another, as they are first reached."""

    def __init__(self) -> None:
        self.pairs, self.fresh, self.last = set[tuple[str, int, int]](), False, 0

    def __call__(self, frame: FrameType, event: str, _: object) -> Any:
        name = frame.f_code.co_filename
        if "/accord/data/" not in name:
            return None
        if event == "line":
            pair = (name, self.last, frame.f_lineno)
            self.last = frame.f_lineno
            if pair not in self.pairs:
                self.pairs.add(pair)
                self.fresh = True
        return self


def read_only(path: Path) -> None:
    faults = list[object]()
    for _ in Intake([Source(path)], reject=faults.append).rows():
        pass


def planted(data: bytes) -> bytes:
    """The same rows, each with a judgement in a column that no format knows."""
    lines = list[bytes]()
    for line in data.split(b"\n"):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            lines.append(line)
            continue
        lines.append(json.dumps(value | {PLANTED: 1}).encode() if isinstance(value, dict) else line)
    return b"\n".join(lines)


def nothing_lost(path: Path) -> None:
    """Read rows with a planted judgement: none may be kept as if it were not there.

    Raises:
        AssertionError: a row was kept, and its judgement lost without a word.
    """
    for row, _ in Intake([Source(path)], reject=id).rows():
        assert PLANTED not in row.value, f"a judgement was lost silently: {row.value}"[:500]


def stored(path: Path, project: Project, *, skip_bad: bool) -> None:
    """The whole import; when it ends in an error the store and the folder must be as before."""
    before = _state(project)
    try:
        import_(project, path, skip_bad=skip_bad, quiet=True)
    except AccordError:
        assert _state(project) == before, "half an import was left"
        raise


def _state(project: Project) -> tuple[Any, ...]:
    with Store.open(project.store_url) as store:
        counts = tuple(store.counts().values())
    names = sorted(p.relative_to(project.path).as_posix() for p in project.path.rglob("*") if not p.name.startswith("feedback.db"))
    return counts, tuple(names)


def run(action: Callable[[], None]) -> str:
    """What came of an input: ok, refused, or the trace of a crash."""
    try:
        action()
    except AccordError:
        return "refused"
    except Exception:
        return traceback.format_exc()
    return "ok"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=0.0, help="stop after so long; 0 goes on to the last input")
    parser.add_argument("--guided", type=int, default=0, help="follow coverage for so many inputs, then for one in 20; 0 always does")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "fuzz_import.json")
    given = parser.parse_args()
    rng, pool, coverage = random.Random(given.seed), seeds(), Coverage()
    counts, crashes, whole, began = {"ok": 0, "refused": 0}, dict[str, Input](), 0, time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        project = Project.create(Path(scratch) / "project")
        for number in range(given.inputs):
            if given.seconds and time.monotonic() - began > given.seconds:
                given.inputs = number
                break
            kind, data = pool[number] if number < len(pool) and number < 70 else changed(rng, pool)
            path = Path(scratch) / f"input{kind}"
            path.write_bytes(data)
            coverage.fresh = False
            if not given.guided or number < given.guided or number % 20 == 0:  # it takes most of the time
                sys.settrace(coverage)
            outcome = run(lambda path=path: read_only(path))
            sys.settrace(None)
            if outcome in counts and (coverage.fresh or number % 200 == 0):
                whole += 1
                outcome = run(lambda path=path, skip=bool(whole % 2): stored(path, project, skip_bad=skip))
            if coverage.fresh:
                pool.append((kind, data))
            if outcome == "ok" and kind == ".jsonl":
                path.write_bytes(planted(data))
                lost = run(lambda path=path: nothing_lost(path))
                outcome = outcome if lost in counts else lost
            if outcome in counts:
                counts[outcome] += 1
            else:
                name = outcome.strip().splitlines()[-1][:120] + outcome.strip().splitlines()[-3].strip()
                if name not in crashes:
                    print(f"CRASH {outcome}  {kind} {data[:2000]!r}", flush=True)
                crashes.setdefault(name, (kind, data))
            path.unlink()
            if number % 10_000 == 9_999:
                print(
                    f"{number + 1:,}: {counts}, {whole:,} stored, {len(coverage.pairs):,} pairs of lines, {len(crashes)} crashes",
                    flush=True,
                )
    seconds = time.monotonic() - began
    print(
        f"{given.inputs:,} inputs in {seconds:.0f} s, {counts}, {whole:,} whole imports, pool {len(pool):,}, pairs {len(coverage.pairs):,}"
    )
    for what, (kind, data) in crashes.items():
        print(f"CRASH {what}\n  {kind} {data[:300]!r}")
    told = {"seed": given.seed, "inputs": given.inputs, "statuses": counts, "whole_imports": whole, "failures": list(crashes)}
    summed.add(given.out, "inputs", told | {"seconds": round(seconds, 1)})
    return min(len(crashes), 1)


if __name__ == "__main__":
    sys.exit(main())
