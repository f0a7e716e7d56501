"""The prompt pipeline on a million rows: rows a second, memory, planted duplicates found; near-duplicate removal beside datatrove.

    python benchmarks/pipeline.py make --rows 1000000 --out rows.jsonl
    python benchmarks/pipeline.py ours rows.jsonl             # curate() alone, then the same with the store around it
    python benchmarks/pipeline.py peer rows.jsonl             # in the environment of datatrove: MinHash of the same texts
    python benchmarks/pipeline.py all --rows 1000000 --out benchmarks/results/pipeline.json

Rows are prompts of 6 to 60 made-up words, 50 a user. Of every hundred, one repeats an earlier row with other case and punctuation, four are
an earlier row with one word in twenty changed. Precision and recall are against what was planted. Both sides run as processes of their own,
with one thread. datatrove lives in .bench/datatrove: pip install 'datatrove[processing]' spacy orjson.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PEER = HERE.parent / ".bench" / "datatrove"
ACCORD = str(Path(sys.executable).parent / "accord")
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def make(rows: int, out: Path, seed: int = 0) -> None:
    """Writes the rows with what each is a duplicate of."""
    rng = random.Random(seed)
    vocabulary = ["".join(rng.choices(LETTERS, k=rng.randint(2, 10))) for _ in range(30_000)]
    remembered: list[tuple[int, str]] = []
    with out.open("w", encoding="utf-8") as file:
        for number in range(rows):
            kind, text, source, of = rng.random(), "", "", -1
            if kind < 0.05 and remembered:
                of, source = rng.choice(remembered)
                text = source.upper() + "!" if kind < 0.01 else changed(source, vocabulary, rng)
            if of < 0:
                text = " ".join(rng.choices(vocabulary, k=rng.randint(6, 60)))
                if len(remembered) < 100_000:
                    remembered.append((number, text))
            user = f"user-{rng.randrange(max(rows // 50, 1))}"
            row = {"prompt": text, "user": user, "of": of, "alike": round(alike(source, text), 3) if of >= 0 else 0.0}
            file.write(json.dumps(row) + "\n")


def alike(one: str, other: str) -> float:
    """The true Jaccard similarity of two texts' 6-byte pieces, case and punctuation aside."""
    bare = (text.lower().rstrip("!") for text in (one, other))
    first, second = ({text[i : i + 6] for i in range(len(text) - 5)} for text in bare)
    return len(first & second) / len(first | second)


def changed(text: str, vocabulary: list[str], rng: random.Random) -> str:
    words = text.split()
    for _ in range(max(1, len(words) // 20)):
        words[rng.randrange(len(words))] = rng.choice(vocabulary)
    return " ".join(words)


def read(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def peak_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def ours(path: Path, threshold: float) -> dict[str, Any]:
    """Our pipeline on the rows: everything, without the store."""
    from accord import Message, Prompt, PromptsConfig
    from accord.data.pipeline import Asked, curate
    from accord.data.row_records import split_of

    def asked() -> Iterator[Asked]:
        for number, row in enumerate(read(path)):
            yield Asked(Prompt(str(number), (Message("user", row["prompt"]),), user=row["user"], split=split_of(row["user"])))

    config = PromptsConfig(near=threshold, prefix=0, per_user=200)
    begun = clocks()
    with tempfile.TemporaryDirectory() as folder:
        curated = curate(asked(), config, Path(folder))
    took = since(begun)
    dropped = {row for row, of in enumerate(curated.original.tolist()) if of >= 0}
    return judged(path, dropped, *took) | {"counts": curated.metrics()["dropped"]}


def near_only(path: Path, threshold: float) -> dict[str, Any]:
    """Our near-duplicate removal alone: reading, normalising, signatures, pairs."""
    import itertools

    import numpy as np

    from accord.data.duplicates import Signatures, near, normal

    begun, rows = clocks(), 0
    with tempfile.TemporaryDirectory() as folder, Signatures(Path(folder) / "s") as signatures:
        texts = (normal(row["prompt"]) for row in read(path))
        while batch := list(itertools.islice(texts, 2000)):
            signatures.add(batch)
            rows += len(batch)
        looked = since(begun)
        of = near(signatures.read(), np.arange(rows), threshold)
    took = since(begun)
    return judged(path, set(np.flatnonzero(of >= 0).tolist()), *took) | {"cpu_seconds_signatures": round(looked[1], 1)}


def through_the_store(path: Path) -> dict[str, Any]:
    """`accord import` of the rows, and `accord prompts` on them, as a user runs them."""
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder) / "p"
        run([ACCORD, "init", str(project)])
        imported = run([ACCORD, "import", str(project), str(path), "--format", "prompts", "--json"])
        curated = run([ACCORD, "prompts", str(project), "--prefix", "0", "--json"])
    return {"import": imported, "prompts": curated}


def run(command: list[str]) -> dict[str, Any]:
    """Runs a command under /usr/bin/time's measure: seconds, peak memory, and what it printed as JSON."""
    script = (
        "import json,resource,subprocess,sys,time\n"
        "started=time.perf_counter(); done=subprocess.run(sys.argv[1:],capture_output=True,text=True)\n"
        "seconds,used=time.perf_counter()-started,resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "sys.stderr.write(done.stderr[-2000:]) if done.returncode else None\n"
        "print(json.dumps({'rc':done.returncode,'seconds':round(seconds,1),'cpu_seconds':round(used.ru_utime+used.ru_stime,1),"
        "'peak_mb':used.ru_maxrss//1024,'said':done.stdout[-4000:]}))"
    )
    done = subprocess.run([sys.executable, "-c", script, *command], capture_output=True, text=True, check=True)
    print(done.stderr, file=sys.stderr, end="")
    figures: dict[str, Any] = json.loads(done.stdout)
    said = figures.pop("said")
    return figures | ({"figures": json.loads(said)} if said.lstrip().startswith("{") else {})


def judged(path: Path, dropped: set[int], wall: float, cpu: float) -> dict[str, Any]:
    """Rows a second, peak memory, and planted duplicates found: of all, and of those that are 0.8 or more alike."""
    peak, rows, planted, found, close, close_found = peak_mb(), 0, 0, 0, 0, 0
    for number, row in enumerate(read(path)):
        rows += 1
        planted += row["of"] >= 0
        found += row["of"] >= 0 and number in dropped
        close += row["alike"] >= 0.8
        close_found += row["alike"] >= 0.8 and number in dropped
    figures = {
        "rows": rows,
        "seconds": round(wall, 1),
        "cpu_seconds": round(cpu, 1),
        "rows_per_cpu_second": round(rows / cpu),
        "peak_mb": peak,
    }
    shares = {"recall": found / max(planted, 1), "recall_of_alike": close_found / max(close, 1), "precision": found / max(len(dropped), 1)}
    return (
        figures | {"planted": planted, "alike": close, "dropped": len(dropped)} | {name: round(share, 4) for name, share in shares.items()}
    )


def clocks() -> tuple[float, float]:
    """Wall and processor time, its children's included. On a busy machine only the second compares."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter(), time.process_time() + used.ru_utime + used.ru_stime


def since(begun: tuple[float, float]) -> tuple[float, float]:
    now = clocks()
    return now[0] - begun[0], now[1] - begun[1]


def peer(path: Path, folder: Path) -> dict[str, Any]:
    """datatrove's MinHash deduplication on the same rows: four steps on one worker, its 14 buckets of 8 and 5-word pieces as they come."""
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup import MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
    from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupBuckets
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.writers.jsonl import JsonlWriter

    source = folder / "in"
    source.mkdir(parents=True)
    with (source / "rows.jsonl").open("w", encoding="utf-8") as file:
        for number, row in enumerate(read(path)):
            file.write(json.dumps({"text": row["prompt"], "id": str(number)}) + "\n")
    config = MinhashConfig(n_grams=int(os.environ.get("NGRAMS", "5")))
    steps = (
        [JsonlReader(str(source), compression=None), MinhashDedupSignature(str(folder / "sig"), config=config)],
        [MinhashDedupBuckets(str(folder / "sig"), str(folder / "buckets"), config=config)],
        [MinhashDedupCluster(str(folder / "buckets"), str(folder / "remove"), config=config)],
        [
            JsonlReader(str(source), compression=None),
            MinhashDedupFilter(str(folder / "remove")),
            JsonlWriter(str(folder / "out"), compression=None),
        ],
    )
    begun = clocks()
    for number, step in enumerate(steps):
        tasks = config.num_buckets if number == 1 else 1
        LocalPipelineExecutor(pipeline=step, tasks=tasks, workers=1, logging_dir=str(folder / f"log{number}")).run()
    took = since(begun)
    kept = {int(row["id"]) for out in (folder / "out").glob("*.jsonl") for row in read(out)}
    rows = sum(1 for _ in read(path))
    return judged(path, set(range(rows)) - kept, *took) | {"ngrams": config.n_grams}


def child(command: list[str], python: Path | str = sys.executable, **extra: str) -> dict[str, Any]:
    """One side as a process of its own, with one thread."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"} | extra
    done = subprocess.run([str(python), __file__, *command], capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        return {"failed": done.stderr[-600:]}
    return json.loads(done.stdout.strip().splitlines()[-1])


def beside_datatrove(rows: int, path: Path) -> dict[str, Any]:
    """Near-duplicate removal alone, by turns."""
    make(rows, path)
    beside: dict[str, Any] = {"rows": rows, "ours": [], "peer": []}
    for _ in range(2):
        beside["ours"].append(child(["near", str(path)]))
        beside["peer"].append(child(["peer", str(path)], PEER / "bin" / "python"))
    if all("cpu_seconds" in side for side in (*beside["ours"], *beside["peer"])):
        best = {side: min(one["cpu_seconds"] for one in beside[side]) for side in ("ours", "peer")}
        beside["times_faster_in_cpu_seconds"] = round(best["peer"] / best["ours"], 1)
    return beside


def everything(rows: int, peer_rows: int, out: Path) -> None:
    """Every measurement, one after another; without rows for the peer, its part of the file stays as it was."""
    known: dict[str, Any] = json.loads(out.read_text("utf-8")) if out.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        large = Path(folder) / "large.jsonl"
        make(rows, large)
        figures = known | {"rows": rows, "pipeline": child(["ours", str(large)]), "store": through_the_store(large)}
        if peer_rows:
            figures["near_duplicates_beside_datatrove"] = beside_datatrove(peer_rows, Path(folder) / "small.jsonl")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")
    print(json.dumps(figures, indent=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["make", "ours", "near", "peer", "store", "all"])
    parser.add_argument("path", type=Path, nargs="?")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--peer-rows", type=int, default=100_000, help="of the comparison with datatrove; 0 leaves it out")
    parser.add_argument("--threshold", type=float, default=0.8)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "pipeline.json")
    asked = parser.parse_args()
    if asked.what == "make":
        make(asked.rows, asked.out)
    elif asked.what == "all":
        everything(asked.rows, asked.peer_rows, asked.out)
    elif asked.what == "peer":
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(peer(asked.path, Path(folder))))
    else:
        sides = {"ours": lambda: ours(asked.path, asked.threshold), "near": lambda: near_only(asked.path, asked.threshold)}
        print(json.dumps(sides[asked.what]() if asked.what in sides else through_the_store(asked.path)))


if __name__ == "__main__":
    main()
