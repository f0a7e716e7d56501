"""A site under a path of its host, such as https://example.org/accord: links, redirects and cookies know it.

Routes, templates and code name addresses within the site (``/next``). What goes out to a browser has the path before it: templates
by ``Rooted``, redirects by ``Visit.go``. ASGI has a name for the path, ``root_path``, and the router takes it off again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from jinja2.ext import Extension
from starlette.types import ASGIApp, Receive, Scope, Send

from accord.errors import UsageError

ADDRESSES = re.compile(r'\b(href|action|formaction|src|data-(?:live|stop|at|to))="/(?!/)')
"""Attributes of our templates with an address within the site."""


def checked(path: str) -> str:
    """Return a path without a slash at its end, empty for the top of the host.

    Raises:
        UsageError: it is no path of an address.
    """
    plain = path.rstrip("/")
    if plain and not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", plain):
        raise UsageError(
            f"{path!r} is no path", where="--root-path", hint="for example /accord: letters, digits and . _ ~ - between slashes"
        )
    return plain


def root_of(scope: Mapping[str, Any]) -> str:
    """Return the path under which the application of a request is served."""
    return str(scope.get("root_path", "")).rstrip("/")


def route_of(scope: Mapping[str, Any]) -> str:
    """Return the address of a request within its application."""
    return str(scope["path"]).removeprefix(root_of(scope)) or "/"


class Rooted(Extension):
    """Put the site's path before every address in a template: ``href="/next"`` is written, ``href="{{ root }}/next"`` compiled."""

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:
        return ADDRESSES.sub(r'\1="{{ root }}/', source)


class SubPath:
    """ASGI middleware: serve an application under a path, whether or not the proxy before it takes the path off.

    Args:
        path: as ``checked`` returns it.
    """

    def __init__(self, app: ASGIApp, path: str) -> None:
        self.app, self.path = app, path
        self.streamed: Mapping[str, int] = getattr(app, "streamed", {})  # the server reads it of what it serves

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not self.path:
            await self.app(scope, receive, send)
            return
        root, path = root_of(scope) + self.path, str(scope["path"])
        whole = path if f"{path}/".startswith(f"{root}/") else self.path + path
        await self.app({**scope, "root_path": root, "path": whole}, receive, send)
