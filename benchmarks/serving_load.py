"""Two hundred conversations at once with one model: time to the first token and tokens a second, ours beside llama.cpp's server.

    python benchmarks/serving_load.py demo                    200 streams, 30 seconds each server; `make serve-load`
    python benchmarks/serving_load.py demo --streams 16 --seconds 5 --out ""      a look; writes nothing

Both serve the same weights (nothing quantised: ours makes bfloat16 products where the processor has them, llama.cpp float32 or float16)
by the same requests: each stream asks one of the project's prompts, reads the answer as it comes, and asks the next one. The client is one
process on the same cores. Then some of the answers are asked for again, alone: with the same seed they must be the same. Last, people
talk on the chat page while it is killed (chat_kills.py): ``lost_turns`` counts what the page had kept or shown and the store has not.

llama.cpp is installed once into an environment of its own, .bench/llama/env (the wheel of xllamacpp has its server, with continuous
batching, built for any x86-64: no AVX-512).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import chat_kills

from accord import Project, Store
from accord.runtime.files import write_atomic

ROOT = Path(__file__).parent.parent
LLAMA = ROOT / ".bench" / "llama" / "env" / "bin" / "python"
PEER = "xllamacpp==2026.10.11549"
RESULTS = ROOT / "benchmarks" / "results" / "serving_load.json"
TEXT = re.compile(rb'"content": ?"((?:[^"\\]|\\.)+)"')
COUNT = re.compile(rb'"completion_tokens": ?(\d+)')
CHECKED = 100
"""Answers that are asked for again, alone."""


@dataclass
class Log:
    """What the streams saw."""

    first: list[float] = field(default_factory=list[float])
    """Seconds to the first text of each answer."""
    rates: list[float] = field(default_factory=list[float])
    """Tokens a second of each answer, after its first text."""
    tokens: int = 0
    answers: int = 0
    errors: int = 0
    broken: int = 0
    """Answers that broke off."""
    texts: dict[int, str] = field(default_factory=dict[int, str])
    """What was answered to the request of each number."""


def request(number: int, model: str, prompts: Sequence[Any]) -> bytes:
    """The request of this number, the same for every server."""
    how = {"temperature": 0.7, "seed": number, "max_tokens": 64, "stream": True, "stream_options": {"include_usage": True}}
    body = json.dumps({"model": model, "messages": prompts[number % len(prompts)], **how}).encode()
    fields = ("Host: 127.0.0.1", "Content-Type: application/json", "Connection: close", f"Content-Length: {len(body)}")
    return "\r\n".join(["POST /v1/chat/completions HTTP/1.1", *fields, "", ""]).encode() + body


async def answer(port: int, sent: bytes, number: int, log: Log, *, counted: bool) -> None:
    """Asks once and reads the stream to its end. ``counted`` is False after the bell: the answer is read, and left out of the figures."""
    began, first, came = time.perf_counter(), 0.0, b""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        while part := await reader.read(65536):
            came += part
            if not first and TEXT.search(part):
                first = time.perf_counter()
        writer.close()
    except OSError:
        log.errors += 1
        return
    if b" 200 " not in came[:20]:
        log.errors += 1
        return
    if b"[DONE]" not in came:
        log.broken += 1
        return
    spoken = b"".join(TEXT.findall(came)).decode("utf-8", "replace")
    log.texts[number] = spoken
    if counted and (found := COUNT.findall(came)):
        tokens, now = int(found[-1]), time.perf_counter()
        log.answers, log.tokens = log.answers + 1, log.tokens + tokens
        if first:
            log.first.append(first - began)
            if tokens > 1:
                log.rates.append((tokens - 1) / max(now - first, 1e-6))


async def load(port: int, model: str, prompts: Sequence[Any], streams: int, seconds: float) -> tuple[Log, float]:
    """The streams, all at once, until the time is over; returns what they saw and the seconds that it took."""
    log, numbers = Log(), iter(range(10**9))
    began = time.perf_counter()

    async def stream() -> None:
        while time.perf_counter() - began < seconds:
            number = next(numbers)
            await answer(port, request(number, model, prompts), number, log, counted=True)

    await asyncio.gather(*(stream() for _ in range(streams)))
    return log, time.perf_counter() - began


async def differing(port: int, model: str, prompts: Sequence[Any], log: Log, checked: int = CHECKED) -> int:
    """How many of the answers are others when they are asked for again, one at a time."""
    again = Log()
    for number in sorted(log.texts)[:checked]:
        await answer(port, request(number, model, prompts), number, again, counted=False)
    return sum(again.texts[number] != log.texts[number] for number in again.texts)


def figures(log: Log, seconds: float) -> dict[str, float]:
    """Milliseconds and tokens a second."""
    first, rates = sorted(log.first) or [0.0], sorted(log.rates) or [0.0]
    return {
        "ttft_p50_ms": round(statistics.median(first) * 1e3, 1),
        "ttft_p99_ms": round(first[int(0.99 * (len(first) - 1))] * 1e3, 1),
        "tokens_per_s": round(log.tokens / seconds, 1),
        "stream_tokens_per_s_p50": round(statistics.median(rates), 1),
        "stream_tokens_per_s_p1": round(rates[int(0.01 * (len(rates) - 1))], 1),
        "answers": log.answers,
        "tokens": log.tokens,
        "errors": log.errors + log.broken,
    }


@contextmanager
def ours(project: Path, model: str, streams: int, threads: int) -> Generator[int]:
    """`accord serve`, and the port that it is on."""
    command = [str(Path(sys.executable).parent / "accord"), "serve", str(project), "--model", model, "--no-keys", "--port", "0"]
    command += ["--slots", str(streams), "--threads", str(threads)]
    with _running(command, {"OMP_NUM_THREADS": str(threads)}) as line:
        yield int(line.split("127.0.0.1:")[1].split("/")[0])


def installed() -> bool:
    """Whether llama.cpp's server is there; installs it the first time."""
    if not LLAMA.exists():
        print(f"installing {PEER} into {LLAMA.parents[1]}", file=sys.stderr)
        try:
            subprocess.run([sys.executable, "-m", "venv", str(LLAMA.parents[1])], check=True)
            subprocess.run([str(LLAMA), "-m", "pip", "install", "--quiet", PEER], check=True)
        except subprocess.CalledProcessError as error:
            print(f"no peer beside us: {error}", file=sys.stderr)
    return subprocess.run([str(LLAMA), "-c", "import xllamacpp"], capture_output=True).returncode == 0 if LLAMA.exists() else False


@contextmanager
def theirs(model: Path, streams: int, threads: int, context: int, *, half: bool) -> Generator[int]:
    """llama.cpp's server on the same weights."""
    from peer_gguf import convert

    with socket.socket() as free, tempfile.TemporaryDirectory() as folder:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        convert(model, Path(folder) / "model.gguf", half=half)
        numbers = (str(number) for number in (streams, context, threads, port))
        with _running([str(LLAMA), str(ROOT / "benchmarks" / "peer_llama_cpp.py"), f"{folder}/model.gguf", *numbers], {}):
            yield port


@contextmanager
def _running(command: Sequence[str], environment: dict[str, str]) -> Generator[str]:
    """A server from its first line to the end of the block; yields that line."""
    kept: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    server = subprocess.Popen(command, env={**os.environ, **environment}, **kept)
    try:
        assert server.stdout
        line = server.stdout.readline()
        if not line:
            sys.exit(f"the server did not start: {' '.join(command)}")
        yield line
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()


def prompts_of(project: Project) -> list[Any]:
    """The project's prompts as OpenAI's messages, those of held-out users first."""
    with Store.open(project.store_url) as store:
        found = sorted(store.prompts(), key=lambda prompt: (prompt.split != "test", prompt.id))
    return [[{"role": message.role, "content": message.content} for message in prompt.messages] for prompt in found[:1000]]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("project", type=Path)
    parser.add_argument("--model", default="ppo")
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--threads", type=int, default=1, help="of our server's products")
    parser.add_argument("--peer-threads", type=int, nargs="+", default=sorted({1, os.cpu_count() or 1}), help="the best of these counts")
    parser.add_argument("--half", action="store_true", help="llama.cpp with float16 weights instead of float32")
    parser.add_argument("--no-peer", action="store_true")
    parser.add_argument("--kills", type=int, default=5, help="kill -9 of the chat while people talk")
    parser.add_argument("--out", default=str(RESULTS))
    options = parser.parse_args()
    project = Project.open(options.project)
    prompts = prompts_of(project)
    with ours(project.path, options.model, options.streams, options.threads) as port:
        asyncio.run(load(port, options.model, prompts, 4, 2.0))
        log, seconds = asyncio.run(load(port, options.model, prompts, options.streams, options.seconds))
        different = asyncio.run(differing(port, options.model, prompts, log))
    found: dict[str, Any] = {"streams": options.streams, **figures(log, seconds), "checked": CHECKED, "different_alone": different}
    print(json.dumps(found), file=sys.stderr)
    found |= {"peer_name": "", "peer_tokens_per_s": 0.0, "ratio": 0.0}
    if not options.no_peer and installed():
        context = json.loads((project.model(options.model) / "config.json").read_text())["max_position_embeddings"]
        tried = dict[int, dict[str, float]]()
        for threads in options.peer_threads:
            with theirs(project.model(options.model), options.streams, threads, context, half=options.half) as port:
                asyncio.run(load(port, options.model, prompts, 4, 2.0))
                tried[threads] = figures(*asyncio.run(load(port, options.model, prompts, options.streams, options.seconds)))
        best = max(tried, key=lambda threads: tried[threads]["tokens_per_s"])
        peer = {**tried[best], "threads": best}
        found["peer_name"] = f"llama.cpp server ({PEER}, {'float16' if options.half else 'float32'})"
        found |= {f"peer_{name}": value for name, value in peer.items()}
        found["ratio"] = round(found["tokens_per_s"] / max(peer["tokens_per_s"], 1e-9), 2)
    killed = chat_kills.measure(project.model(options.model), kills=options.kills)
    found |= {"lost_turns": killed.pop("lost_turns"), "killed": killed}
    print(json.dumps(found, indent=1))
    if options.out:
        write_atomic(Path(options.out), json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
