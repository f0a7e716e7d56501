"""The address of a project's labeling site while it runs, for the links of invitations."""

from __future__ import annotations

import ipaddress
import json
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from accord.runtime.files import write_atomic
from accord.settings import LabelConfig

FILE = "site.json"


def is_loopback(host: str) -> bool:
    """Return whether an address can only be reached from this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def public_address(config: LabelConfig, port: int = 0) -> str:
    """Return the address by which people reach a site: the first of its names, over https at the usual port of the proxy.

    Args:
        port: that the site listens on; 0 takes the setting's.
    """
    host = config.names.split(",")[0].strip() or config.host
    if config.https:
        return f"https://{host}"
    return f"http://{f'[{host}]' if ':' in host else host}:{port or config.port}"


@contextmanager
def written_down(folder: Path, address: str) -> Generator[None]:
    """Keep the address of a running site in the project's folder."""
    file = folder / FILE
    write_atomic(file, json.dumps({"address": address, "process": os.getpid()}))
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


def running_site(folder: Path) -> str:
    """Return the address of the site that serves a project on this machine now; empty when none does."""
    try:
        noted: dict[str, Any] = json.loads((folder / FILE).read_text("utf-8"))
        os.kill(int(noted["process"]), 0)
    except (OSError, ValueError, KeyError, TypeError):
        return ""  # none was opened, or it was killed before it could take the note away
    return str(noted["address"])
