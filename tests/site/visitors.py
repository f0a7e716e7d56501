"""People with a browser on a project's site, without scripts."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from starlette.testclient import TestClient

from accord.runtime.project import Project

HOST = "http://127.0.0.1:8400"
HACK = "<img src=x onerror=alert(1)>"
EXPLANATION: dict[str, Any] = {
    "response": "r2",
    "model": "m",
    "prompt": "Which bread keeps?",
    "prompt_id": "p1",
    "text": "Rye keeps.",
    "reward": {
        "model": "reward",
        "score": 1.5,
        "start": 0.25,
        "tokens": [{"text": "Rye", "gain": 1.0}, {"text": " keeps", "gain": -0.4}, {"text": ".", "gain": 0.0}],
        "sentences": [{"text": "Rye keeps.", "gain": 1.25, "left_out": None}],
    },
    "parts": {"rewards": "model", "from": "x", "parts": [{"part": "model", "weight": 1.0, "score": 1.5, "gives": 1.5}], "total": 1.5},
    "others": [],
    "sources": {
        "by": "states",
        "models": ["sft"],
        "searched": {"rankings": 3},
        "records": [
            {"kind": "rankings", "id": "p9", "learned_by": "reward", "labeler": "ann", "prompt": "q", "text": HACK, "states": 0.9}
            | {"response": "r9", "rank": 2, "of": 3, "best": "b"}
        ],
        "remarks": [],
    },
    "remarks": [],
}
"""What `accord explain` prints of an answer, with something in each part."""


@dataclass
class Person:
    """A browser of somebody's, without scripts, on a site at a path."""

    client: TestClient
    id: str
    root: str = ""

    def get(self, path: str, *, follow: bool = True, **headers: str) -> Any:
        return self.client.get(self.root + path, headers={"Accept": "text/html"} | headers, follow_redirects=follow)

    def post(self, path: str, *, follow: bool = True, headers: dict[str, str] | None = None, **fields: Any) -> Any:
        found = re.search(r'name="csrf" value="(\w+)"', self.get("/profile").text)
        assert found
        return self.client.post(self.root + path, data={"csrf": found[1], **fields}, headers=headers, follow_redirects=follow)


Come = Callable[..., Person]


def explained(project: Project, id: str, **told: Any) -> None:
    """Write down a job that explained an answer, the first of the project; what it printed may be given in part."""
    folder = project.path / "jobs" / "001"
    folder.mkdir(parents=True)
    started = {"arguments": ["explain", f"--answer={id}"], "queue": "training", "at": "2026-01-01T00:00:00+00:00", "by": "x"}
    (folder / "job.json").write_text(json.dumps(started))
    (folder / "output.txt").write_text(json.dumps(EXPLANATION | {"response": id} | told) + "\n")
    (folder / "end.json").write_text(json.dumps({"exit": 0}))
