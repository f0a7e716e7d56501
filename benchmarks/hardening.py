"""What others feel while a server is attacked: p99 of their requests and requests lost, per attack, over real servers on loopback.

    python benchmarks/hardening.py [--quick] [--out benchmarks/results/hardening.json]

Starts `accord label` with 1,024 open files, and `accord serve` as a gate with an input filter in front of a server of this script.
Each attack runs for 20 seconds (5 with --quick), while one client sends a request every 50 ms on a connection of its own.
Not attacked here: `truncation: auto` and the review page, which tests hold (tests/serving/test_hosting.py, tests/test_linear.py).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import re
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Protocol

import httpx

ACCORD = [sys.executable, "-m", "accord"]
ANSWER = b'data: {"choices": [{"delta": {"content": "Hello."}}]}\n\ndata: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\n'
BODY = b"POST /join HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\nx"
HEAD = b"GET /health HTTP/1.1\r\nHost: local"
Attack = Callable[[str, "Over"], None]


class Over(Protocol):
    """Set when an attack is over."""

    def is_set(self) -> bool: ...

    def wait(self) -> bool: ...


class Model(BaseHTTPRequestHandler):
    """A server of one model, which drips an answer without an end when it is asked to."""

    def do_GET(self) -> None:
        self._say(b'{"data": [{"id": "far"}]}')

    def do_POST(self) -> None:
        asked = self.rfile.read(int(self.headers["Content-Length"]))
        if b"DRIP" not in asked:
            self._say(ANSWER)
            return
        self.send_response(200)
        self.end_headers()
        with suppress(OSError):
            for _ in range(400):
                self.wfile.write(b": wait\n\n")
                time.sleep(0.05)

    def _say(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def model() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Model)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def running(log: Path, *words: str) -> Iterator[str]:
    """Start a command of ours with 1,024 open files, and yield its address once it tells it; it is killed in the end."""

    def few_files() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))

    with log.open("wb") as said:
        process = subprocess.Popen([*ACCORD, *words], stdout=said, stderr=said, start_new_session=True, preexec_fn=few_files)
    try:
        end = time.monotonic() + 180
        while not (found := re.search(r"http://127\.0\.0\.1:\d+", log.read_text())):
            if process.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"{' '.join(words)} did not start: {log.read_text()[-500:]}")
            time.sleep(0.2)
        yield found[0]
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def ask(address: str, content: str, **more: object) -> int:
    body = {"model": "far", "messages": [{"role": "user", "content": content}], "max_tokens": 16, **more}
    with suppress(httpx.HTTPError):
        return httpx.post(f"{address}/v1/chat/completions", json=body, timeout=120).status_code
    return 0


def again(send: Callable[[str], object], side_by_side: int = 4) -> Attack:
    """Return an attack that sends the same, again and again, by several clients."""

    def attack(address: str, over: Over) -> None:
        def work() -> None:
            while not over.is_set():
                send(address)

        threads = [threading.Thread(target=work, daemon=True) for _ in range(side_by_side)]
        for thread in threads:
            thread.start()
        over.wait()

    return attack


def halves(*parts: bytes, count: int = 1200) -> Attack:
    """Return an attack that holds half requests open, and opens new ones where they are closed."""

    def attack(address: str, over: Over) -> None:
        at = httpx.URL(address)
        with ExitStack() as held:
            while not over.is_set():
                for number in range(count):
                    if over.is_set():
                        break
                    with suppress(OSError):
                        line = held.enter_context(socket.create_connection((at.host, at.port or 80), timeout=5))
                        line.sendall(parts[number % len(parts)])
                held.close()

    return attack


def endless_head(address: str) -> None:
    at = httpx.URL(address)
    with suppress(OSError), socket.create_connection((at.host, at.port or 80), timeout=5) as line:
        line.sendall(b"GET / HTTP/1.1\r\nX-Endless: ")
        for _ in range(300):
            line.sendall(b"x" * 1_000_000)


DOCUMENT = " ".join(f"d{i}" for i in range(20_000))
QUESTION = " ".join(f"q{i}" for i in range(20_000))
GATE: dict[str, Attack] = {
    "none": lambda address, over: None,
    "1 documents of 258 KB": again(lambda address: ask(address, QUESTION, documents=[{"text": DOCUMENT}])),
    "2 45 KB of Aa- for the filter": again(lambda address: ask(address, "Aa-" * 15_000)),
    "2 60 KB of addresses for the filter": again(lambda address: ask(address, "a@b.co " * 8_600)),
    "3 1,200 half requests": halves(HEAD, BODY.replace(b"/join", b"/v1/chat/completions")),
    "3 endless heads": again(endless_head),
    "5 an upstream that drips comments": again(lambda address: ask(address, "DRIP"), 16),
}
SITE: dict[str, Attack] = {
    "none": lambda address, over: None,
    "3 1,200 half bodies": halves(BODY),
    "3 1,200 half heads and bodies": halves(HEAD, BODY),
    "3 endless heads": again(endless_head),
}


def felt(address: str, request: Callable[[str], int], attack: Attack, seconds: float) -> dict[str, float]:
    """Attack a server, and return what another client felt: percentiles of its times in seconds, and how many requests were lost."""
    several = multiprocessing.get_context("fork")
    over, times, lost = several.Event(), list[float](), 0
    attacker = several.Process(target=attack, args=(address, over), daemon=True)  # a process, so that it slows this client little
    attacker.start()
    time.sleep(min(2.0, seconds / 4))
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        start = time.monotonic()
        lost += request(address) != 200
        times.append(time.monotonic() - start)
        time.sleep(0.05)
    over.set()
    attacker.join(5)
    attacker.kill()
    times.sort()
    at = {name: round(times[min(len(times) - 1, int(share * len(times)))], 3) for name, share in (("p50", 0.5), ("p99", 0.99))}
    return {**at, "worst": round(times[-1], 3), "requests": len(times), "lost": lost}


def health(address: str) -> int:
    with suppress(httpx.HTTPError):
        return httpx.get(f"{address}/health", timeout=30).status_code
    return 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "hardening.json")
    given = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192) if hard != resource.RLIM_INFINITY else 8192, hard))
    seconds = 5.0 if given.quick else 20.0
    found: dict[str, dict[str, dict[str, float]]] = {"serve": {}, "label": {}}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        project = Path(folder) / "p"
        subprocess.run([*ACCORD, "init", str(project)], check=True, capture_output=True)
        upstream = stack.enter_context(model())
        words = ("--upstream", upstream, "--no-keys", "--port", "0", "--input-filter", "refuse", "--seconds", "5")
        gate = stack.enter_context(running(Path(folder) / "serve.log", "serve", str(project), *words))
        site = stack.enter_context(running(Path(folder) / "label.log", "label", str(project), "--port", "0"))
        for name, attack in GATE.items():
            found["serve"][name] = felt(gate, lambda address: ask(address, "Hi"), attack, seconds)
            print("serve", name, found["serve"][name], flush=True)
        for name, attack in SITE.items():
            found["label"][name] = felt(site, health, attack, seconds)
            print("label", name, found["label"][name], flush=True)
        logs = {log.stem: log.stat().st_size for log in Path(folder).glob("*.log")}
    processor = next(
        (line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), ""
    )
    record = {
        "at": f"{datetime.now(UTC):%Y-%m-%d}",
        "processor": processor or platform.processor(),
        "cores": os.cpu_count(),
        "shared_with_other_programs": True,
        "load_before": round(os.getloadavg()[2], 1),
        "seconds_per_attack": seconds,
        "log_bytes": logs,
        "felt_by_others": found,
    }
    given.out.write_text(json.dumps(record, indent=2) + "\n")
    print(given.out)


if __name__ == "__main__":
    main()
