"""Requests made out of the API's own description, right and wrong, and valid ones broken at random: is there a 500, or a leak?

    python benchmarks/serving_fuzz.py PROJECT --requests 10000      against `accord serve` on a finished project; writes nothing

Two thirds come from schemathesis (what the description allows, and what it forbids), one third are valid bodies with a value, a key or
some bytes changed. Between them another caller's prompt is asked for again and again: its words must never stand in anybody else's answer.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import one_of

from accord import Project
from accord.commands.serve.keys import add, revoke

SECRET = "the canary sings at Zanzibar 7319"
NASTY: list[Any] = [
    None,
    True,
    -1,
    0,
    1e308,
    -1e-308,
    2**63,
    -0.0,
    "NaN",
    "",
    "\x00",
    "\u202e",
    "🙂" * 500,
    [],
    {},
    [[]],
    [None],
    {"a": {}},
]


def valid(model: str) -> dict[str, Any]:
    """A body that is answered."""
    said = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who keeps the mill?"}]
    how = {"temperature": 0.7, "top_p": 0.9, "n": 1, "seed": 1, "stop": ["x"], "stream": False}
    return {"model": model, "messages": said, "max_tokens": 4, **how}


def broken(chance: random.Random, model: str) -> bytes:
    """A valid body with something changed."""
    body = valid(model)
    key = chance.choice(list(body))
    match chance.randrange(5):
        case 0:
            body[key] = chance.choice(NASTY)
        case 1:
            body[key + chance.choice(["s", "\u0000", ""])] = body.pop(key)
        case 2:
            body["messages"][chance.randrange(2)][chance.choice(["role", "content", "name"])] = chance.choice(NASTY)
        case 3:
            del body[key]
        case _:
            raw = bytearray(json.dumps(body).encode())
            for _ in range(chance.randrange(1, 6)):
                raw[chance.randrange(len(raw))] = chance.randrange(256)
            return bytes(raw)
    return json.dumps(body).encode()


class Attacker:
    """Sends requests and counts what came back."""

    def __init__(self, url: str, key: str, model: str) -> None:
        self.model, self.statuses = model, Counter[int]()
        self.failures: list[str] = []
        self.client = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=60)

    def note(self, status: int, text: str, sent: Any) -> None:
        self.statuses[status] += 1
        leaked = "canary" in text and "canary" not in str(sent)  # hypothesis tries words that it finds in this file
        if status >= 500 or leaked or "Traceback" in text:
            self.failures.append(f"{status}: {text[:200]} <- {str(sent)[:500]}")

    def mutations(self, count: int, seed: int) -> None:
        chance = random.Random(seed)
        for number in range(count):
            if number % 50 == 0:
                self.canary()
            sent = broken(chance, self.model)
            answer = self.client.post("/v1/chat/completions", content=sent, headers={"Content-Type": "application/json"})
            self.note(answer.status_code, answer.text, sent)

    def canary(self) -> None:
        """A prompt with a secret, whose answer is nobody's business."""
        body = {**valid(self.model), "messages": [{"role": "user", "content": SECRET}]}
        self.client.post("/v1/chat/completions", json=body)

    def described(self, count: int) -> None:
        """Requests out of the description, allowed and forbidden ones in turn."""
        schema: Any = schemathesis.openapi.from_dict(self.client.get("/openapi.json").json())
        found = [result.ok() for result in schema.get_all_operations()]
        operations = [operation for operation in found if operation.path.startswith("/v1") and "{" not in operation.path]
        modes = (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE)
        cases = one_of([operation.as_strategy(generation_mode=mode) for operation in operations for mode in modes])

        quiet: dict[str, Any] = {"database": None, "deadline": None, "suppress_health_check": list(HealthCheck)}

        @settings(max_examples=count, phases=[Phase.generate], **quiet)
        @given(case=cases)
        def send(case: Any) -> None:
            headers = dict(self.client.headers)
            if isinstance(case.body, dict) and isinstance(case.body.get("model"), str) and sum(self.statuses.values()) % 4:
                case.body["model"] = self.model  # a made-up name is a 404, whatever else the request says
            try:
                answer = case.call(base_url=str(self.client.base_url), headers=headers, timeout=60)
            except (ValueError, OSError) as error:  # a client's library refuses to send it
                self.statuses[0] += 1
                del error
                return
            self.note(answer.status_code, answer.text, case.body)

        send()


def attack(url: str, key: str, model: str, requests: int, seed: int = 0) -> dict[str, Any]:
    """So many requests; returns how many of each status there were, and what failed."""
    attacker, began = Attacker(url, key, model), time.monotonic()
    with attacker.client:
        attacker.mutations(requests // 3, seed)
        attacker.described(requests - requests // 3)
    statuses = dict(sorted(attacker.statuses.items()))
    seconds = round(time.monotonic() - began, 1)
    return {"requests": sum(statuses.values()), "statuses": statuses, "failures": attacker.failures, "seconds": seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("project", type=Path)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    project = Project.open(options.project)
    key = add(project.path, "fuzz")
    command = [str(Path(sys.executable).parent / "accord"), "serve", str(project.path), "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout
        url = server.stdout.readline().split(" at ")[1].split("/v1")[0]
        models = httpx.get(f"{url}/v1/models", headers={"Authorization": f"Bearer {key['key']}"}).json()["data"]
        found = attack(url, key["key"], models[0]["id"], options.requests, options.seed)
        found["alive"] = httpx.get(f"{url}/health").status_code == 200
    finally:
        server.terminate()
        server.wait(30)
        revoke(project.path, key["id"])
    print(json.dumps(found, indent=1))
    sys.exit(bool(found["failures"]) or not found["alive"])


if __name__ == "__main__":
    main()
