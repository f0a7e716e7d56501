"""The site of a project as an ASGI application."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from starlette.middleware import Middleware
from starlette.types import ASGIApp

from accord.feedback import tasks
from accord.feedback.site_address import public_address, written_down
from accord.feedback.unranked import waiting_tasks
from accord.feedback.web import app as labeling
from accord.feedback.web import workers
from accord.feedback.web.app import Lifespan
from accord.feedback.web.server import bound, is_loopback, lead_link
from accord.feedback.web.sub_path import SubPath, checked
from accord.serving.web import app as chat
from accord.serving.web.one_process import serve_processes, serve_worker
from accord.site import arena_pages, data_pages, home, new_run, queue_pages, record_pages, report_pages, run_pages, why_pages
from accord.site.project_site import ProjectSite

PAGES = (
    home.router,
    run_pages.router,
    new_run.router,
    data_pages.router,
    queue_pages.router,
    record_pages.router,
    why_pages.router,
    arena_pages.router,
    report_pages.router,
    *labeling.PAGES,
    *chat.PAGES,
)
"""The site's pages; the first router with an address answers it. A page of yours: its router here, its link in navigation.py."""


def create(site: ProjectSite, lifespan: Lifespan | None = None, around: Sequence[Middleware] = ()) -> ASGIApp:
    """Return the application over a project's site.

    Args:
        lifespan: runs as long as the server does; None keeps the site's models open.
        around: further layers around the pages.
    """
    labeling.keep(site)
    lifespan = lifespan or chat.models_open(site)
    streamed = data_pages.streamed(site.upload_mb) | chat.STREAMED
    return labeling.build(site, *PAGES, lifespan=lifespan, streamed=streamed, around=around)


def open_site(site: ProjectSite, *, root_path: str, folder: Path) -> None:
    """Serve the site until it is stopped. On this machine's own address, print a lead's link.

    Args:
        root_path: the path under which a proxy serves it.

    Raises:
        UsageError: ``root_path`` is no path.
        RunError: the address is taken.
    """
    path = checked(root_path)

    def make(lifespan: Lifespan, around: Sequence[Middleware]) -> ASGIApp:
        return SubPath(create(site, lifespan, around), path)

    if (handed := workers.handed_over()) is not None:
        serve_worker(site, make, handed, site.config)
        return
    made, address = bound(site.config)
    tasks.add(site.store, list(waiting_tasks(site.store, seed=site.config.seed, overlap=site.config.overlap)))
    print(f"{site.name} is at {address}{path}/  (Ctrl-C ends it)", flush=True)
    if is_loopback(site.config.host):
        print(f"Come in as lead, once: {lead_link(site.store, address + path, datetime.now(UTC))}", flush=True)
    print(f"Invite people: accord labelers invite {folder} NAME", flush=True)
    with written_down(folder, public_address(site.config, made.getsockname()[1]) + path):
        serve_processes(site, make, made, site.config)
