"""People with a browser on a project's site, without scripts."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from starlette.testclient import TestClient

HOST = "http://127.0.0.1:8400"


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
