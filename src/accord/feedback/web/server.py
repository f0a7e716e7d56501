"""Start of the site: the address to listen on, the lead's link, and the server itself."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.types import ASGIApp

from accord.errors import RunError, UsageError
from accord.feedback import accounts, tasks
from accord.feedback.audit import OPERATOR
from accord.feedback.site_address import is_loopback, public_address, written_down
from accord.feedback.store import Store
from accord.feedback.web import workers
from accord.feedback.web.access_log import AccessLog
from accord.settings import LabelConfig, ScreeningConfig
from accord.settings.questions import Questions

if TYPE_CHECKING:
    from accord.feedback.guideline_pictures import Reader
    from accord.feedback.sso import Provider
    from accord.feedback.web.access import SceneOf

SECRET = "ACCORD_SECRET"
"""The environment variable with the secret."""
SHORTEST_SECRET = 32
ANYBODY = ""
"""A labeler who has seen no task yet."""


def secret_for(config: LabelConfig, *, insecure: bool) -> str:
    """Return the secret for the site; empty on this machine's own address when none is set.

    Raises:
        UsageError: the address is not this machine's own and there is no secret, a short one, or neither https nor ``insecure``.
    """
    secret = os.environ.get(SECRET, "")
    if secret and len(secret) < SHORTEST_SECRET:
        raise UsageError(f"the secret has {len(secret)} characters", where=SECRET, hint=f"give it {SHORTEST_SECRET} or more, at random")
    if is_loopback(config.host):
        return secret
    if not secret:
        hint = f"set {SECRET} to {SHORTEST_SECRET} or more random characters; there is no default"
        raise UsageError("others can reach this address, and no secret is set", where=f"--host {config.host}", hint=hint)
    if not config.https and not insecure:
        hint = "put a proxy with https before it and give --https, or give --insecure for a network that you trust"
        raise UsageError(
            "others can reach this address, and passwords would go over it in the clear", where=f"--host {config.host}", hint=hint
        )
    return secret


def sso_of(settings: Mapping[str, Any]) -> Provider | None:
    """Return the identity provider of a project's settings; None where it has none. Its packages are loaded only where it has one."""
    if not settings.get("sso", {}).get("issuer"):
        return None
    from accord.feedback.sso import provider

    return provider(settings)


def lead_link(store: Store, address: str, now: datetime) -> str:
    """Return a one-time link that signs the operator in as lead; the account is the same each time."""
    known = next((person.id for person in accounts.people(store) if person.role == "lead" and person.name == OPERATOR), "")
    token = accounts.invite(store, "lead", OPERATOR, by=OPERATOR, now=now, days=1, labeler=known)
    return f"{address}/join?token={token}"


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens at an address.

    Raises:
        RunError: the address is taken, or not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
        made.listen(2048)  # from here on nobody is turned away, though the answer may take a second
    except OSError as error:
        made.close()
        raise RunError(
            error.strerror or str(error), where=f"{host}:{port}", hint="is the site open already? give another --port"
        ) from error
    made.set_inheritable(True)
    return made


def open_site(
    store: Store,
    config: LabelConfig,
    screening: ScreeningConfig,
    asked: Questions,
    *,
    name: str,
    folder: Path,
    insecure: bool,
    sso: Provider | None = None,
    scene: SceneOf | None = None,
    pictures: Reader | None = None,
) -> None:
    """Serve the site until it is stopped. On this machine's own address, print a lead's link.

    Args:
        sso: the identity provider of single sign-on.
        scene: tells the scene of a prompt.
        pictures: reads the pictures of a guideline.

    Raises:
        UsageError: the address needs a secret and https.
        RunError: the address is taken.
    """
    from accord.feedback.web.app import create

    secret = secret_for(config, insecure=insecure)
    how: dict[str, Any] = {"name": name, "secret": secret, "folder": folder, "screening": screening, "asked": asked, "sso": sso}
    how |= {"scene": scene, "pictures": pictures}
    if (handed := workers.handed_over()) is not None:
        workers.end_with_parent()
        serve(create(store, config, **how), handed, config)
        return
    made, address = bound(config)
    print(f"The labeling site is at {address}  (Ctrl-C ends it)", flush=True)
    if is_loopback(config.host):
        print(f"Come in as lead, once: {lead_link(store, address, datetime.now(UTC))}", flush=True)
    print(f"Invite labelers: accord labelers invite {folder} NAME", flush=True)
    if not tasks.left(store, ANYBODY, most=1):
        print(f"No task waits. To have responses ranked that have been ranked before: accord queue {folder} --again", flush=True)
    with written_down(folder, public_address(config, made.getsockname()[1])):
        if config.workers > 1:
            workers.look_after(made, config.workers)
        else:
            serve(create(store, config, **how), made, config)


def bound(config: LabelConfig) -> tuple[socket.socket, str]:
    """Return a socket at the configured address, and its URL for a browser. Raises RunError when it is taken."""
    made = listen(config.host, config.port)
    return made, f"http://{f'[{config.host}]' if ':' in config.host else config.host}:{made.getsockname()[1]}"


def serve(app: ASGIApp, made: socket.socket, config: LabelConfig) -> None:
    """Serve a site until it is stopped; requests in flight get five seconds to end.

    Without ``trusted_proxies`` the client is whoever connects, also from this machine.
    """
    from accord.feedback.web.connections import server

    trusted = [part.strip() for part in config.trusted_proxies.split(",") if part.strip()]
    logged = AccessLog(app) if config.access_log else app
    server(logged, proxy_headers=bool(trusted), forwarded_allow_ips=trusted).run(sockets=[made])
