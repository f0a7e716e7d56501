"""Overhead of rewards of texts: a Python function, here and in a process of its own, and a server behind HTTP.

    python benchmarks/rewards.py

Each line compares, in one run, the time of scoring with the time that the reward itself takes: sleeping is no work, so what is beyond it
is ours. Prints one JSON line per reward; docs/benchmarks.md has the figures.
"""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from accord import Message
from accord.rewards.functions import FunctionReward
from accord.rewards.isolated import IsolatedFunction
from accord.rewards.rows import Said, TextReward
from accord.rewards.servers import Address, ServerReward

ROWS, PAIRS, EACH, LATENCY = 512, 5, 0.001, 0.02
SOURCE = f"""
import time

def reward(prompts, responses, answer):
    time.sleep({EACH} * len(responses))
    return [float(one == other) for one, other in zip(responses, answer)]
"""


class Slow(BaseHTTPRequestHandler):
    """A reward server that takes 20 ms for a request, whatever is in it."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        rows = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["rows"]
        time.sleep(LATENCY)
        content = json.dumps({"rewards": [1.0] * len(rows)}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is logged."""


class Watched(ServerReward):
    """A server whose requests are timed."""

    def _exchange(self, body: dict[str, Any], end: float) -> Any:
        began = time.perf_counter()
        try:
            return super()._exchange(body, end)
        finally:
            TAKEN.append(time.perf_counter() - began)


TAKEN: list[float] = []


def serve(port: Any) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Slow) as server:
        port.put(server.server_address[1])
        server.serve_forever()


def timed(part: TextReward, rows: Sequence[Said]) -> float:
    part.score(rows[:1])
    spent: list[float] = []
    for _ in range(PAIRS):
        began = time.perf_counter()
        part.score(rows)
        spent.append(time.perf_counter() - began)
    return median(spent)


def main() -> None:
    text = "The baker opens the shop at seven, and the miller keeps the mill. " * 8
    rows = [Said((Message("user", "Who keeps the mill?"),), text, {"answer": text}, f"p{place}") for place in range(ROWS)]
    with TemporaryDirectory() as folder:
        Path(folder, "slow_reward.py").write_text(SOURCE, "utf-8")
        space: dict[str, Any] = {}
        exec(SOURCE, space)
        asked = {"function": FunctionReward("f", space["reward"])}
        asked |= {"function in a process of its own": IsolatedFunction("slow_reward:reward", "function", folder)}
        for name, part in asked.items():
            seconds, own = timed(part, rows), EACH * ROWS
            print(json.dumps({"reward": name, "rows": ROWS, "own_s": own, "seconds": round(seconds, 4), "ratio": round(seconds / own, 3)}))
    port = multiprocessing.Queue()
    server = multiprocessing.Process(target=serve, args=(port,), daemon=True)
    server.start()
    address = Address(f"http://127.0.0.1:{port.get(timeout=30)}/")
    part = Watched("server", address, workers=8)
    part.score(rows)
    spent: list[tuple[float, float]] = []
    for _ in range(PAIRS):
        TAKEN.clear()
        began = time.perf_counter()
        part.score(rows)
        spent.append((time.perf_counter() - began, max(TAKEN)))
    seconds, slowest = sorted(spent, key=lambda pair: pair[0] / pair[1])[PAIRS // 2]
    server.terminate()
    told = {"reward": "server, 20 ms a request", "rows": ROWS, "slowest_batch_s": round(slowest, 4), "seconds": round(seconds, 4)}
    print(json.dumps(told | {"ratio": round(seconds / slowest, 3)}))


if __name__ == "__main__":
    main()
