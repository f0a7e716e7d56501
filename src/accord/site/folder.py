"""Many projects under one address: /p/NAME/ is the site of the project NAME of a folder, and the first page lists them.

Each project keeps its own accounts, database and pages, and is opened when somebody first asks for it. The operator signs in once, at the
list: whoever has a session there gets one as lead in each project that is opened from it. Everybody else signs in to their project.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from anyio import to_thread
from fastapi import APIRouter, FastAPI
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from accord.errors import AccordError
from accord.feedback import accounts, tasks
from accord.feedback.accounts import Account
from accord.feedback.audit import OPERATOR
from accord.feedback.refusals import Refused
from accord.feedback.site_address import public_address, written_down
from accord.feedback.store import Store
from accord.feedback.unranked import waiting_tasks
from accord.feedback.web.access import Site, enter
from accord.feedback.web.app import build, few_threads
from accord.feedback.web.languages import HERE
from accord.feedback.web.security import Guard
from accord.feedback.web.server import bound, is_loopback, lead_link, serve
from accord.feedback.web.sub_path import SubPath, checked, root_of, route_of
from accord.runtime.project import FILE
from accord.serving.web.app import models_open
from accord.settings import LabelConfig
from accord.site.app import create
from accord.site.data_pages import streamed
from accord.site.project_site import PACKAGE, ProjectSite

NAME = re.compile(r"[A-Za-z0-9_~-][A-Za-z0-9._~-]*")
"""Names of folders that can stand in an address."""
ADDRESS = re.compile(rf"/p/({NAME.pattern})(/.*)?")
DATABASE = "operator.db"
"""The operator's account and sessions, in the folder of the projects."""
AGAIN = 5.0
"""Seconds for which a project that could not be opened is not tried again."""
log = logging.getLogger("accord.site")
OpenProject = Callable[[Path], ProjectSite]
router = APIRouter()


@router.get("/")
def list_page(request: Request) -> Response:
    """List the folder's projects."""
    found, _ = enter(request, "lead")
    folder = found.site.folder or Path()
    unnamed = [path.name for path in _projects(folder) if not NAME.fullmatch(path.name)]
    return found.page("projects.html", names=names(folder), unnamed=unnamed, folder=str(folder))


def names(folder: Path) -> list[str]:
    """Return the names of the projects in a folder that can stand in an address."""
    return [path.name for path in _projects(folder) if NAME.fullmatch(path.name)]


def _projects(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if (path / FILE).is_file())


class Projects:
    """The sites of a folder's projects, behind the list of them.

    Args:
        open_project: returns the site of a project's folder; called in a thread, once per project.
        address: of the whole site, for the invitations of each project.
        upload_mb: largest file in megabytes that a project's lead may upload.
    """

    def __init__(self, front: Site, open_project: OpenProject, address: str, *, upload_mb: int = 0) -> None:
        self.front, self._open, self._address = front, open_project, address
        self.streamed = streamed(upload_mb)
        self._sites: dict[str, tuple[ProjectSite, ASGIApp]] = {}
        self._opening: dict[str, asyncio.Lock] = {}
        self._failed: dict[str, tuple[float, AccordError]] = {}
        self._opened = AsyncExitStack()
        self._list = build(front, router, lifespan=self._lifespan)

    @asynccontextmanager
    async def _lifespan(self, app: FastAPI) -> AsyncGenerator[None]:
        async with few_threads(app), self._opened:
            yield

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = ADDRESS.fullmatch(route_of(scope)) if scope["type"] == "http" else None
        if found is None or found[1] not in names(self.front.folder or Path()):
            await self._list(scope, receive, send)
            return
        root = f"{root_of(scope)}/p/{found[1]}"
        if found[2] is None:
            await RedirectResponse(f"{root}/", 307)(scope, receive, send)
            return
        inside = {**scope, "root_path": root}
        try:
            site, app = await self._site(found[1])
            answer = await to_thread.run_sync(self._signed_in, site, Request(inside), root_of(scope))
        except AccordError as error:
            log.error("%s: %s", found[1], error)
            answer = PlainTextResponse("503: this project cannot be opened now; its operator finds the reason in the server's log", 503)
            await Guard(answer, https=self.front.config.https)(inside, receive, send)
            return
        await (answer or app)(inside, receive, send)

    async def _site(self, name: str) -> tuple[ProjectSite, ASGIApp]:
        """Return a project's site, opened once. One that is slow to open, or cannot be, keeps nobody from the others.

        Raises:
            AccordError: it cannot be opened; within ``AGAIN`` seconds it is not tried again.
        """
        if name in self._sites:
            return self._sites[name]
        async with self._opening.setdefault(name, asyncio.Lock()):
            if name not in self._sites:
                at, before = self._failed.get(name, (0.0, None))
                if before and time.monotonic() - at < AGAIN:
                    raise before
                try:
                    site = await to_thread.run_sync(self._prepared, name)
                except AccordError as error:
                    self._failed[name] = time.monotonic(), error
                    raise
                self._opened.enter_context(site.store)
                app = create(site)
                await self._opened.enter_async_context(models_open(site)(FastAPI()))
                self._opened.enter_context(written_down(site.project.path, f"{self._address}/p/{name}"))
                self._sites[name] = site, app
            return self._sites[name]

    def _prepared(self, name: str) -> ProjectSite:
        site = self._open((self.front.folder or Path()) / name)
        tasks.add(site.store, list(waiting_tasks(site.store, seed=site.config.seed, overlap=site.config.overlap)))
        return site

    def _signed_in(self, site: ProjectSite, request: Request, outside: str) -> Response | None:
        """Return the same page again with a session as lead, for the operator who has none in this project yet.

        The operator's session in a project ends with the one at the list: who signs out there is signed out everywhere.
        """
        now, cookie = datetime.now(UTC), site.session_cookie(root_of(request.scope))
        there = request.cookies.get(cookie, "")
        known = accounts.session(site.store, there, now=now) if there else None
        if known and not _is_operator(known):
            return None
        mine = request.cookies.get(self.front.session_cookie(outside), "")
        account = accounts.session(self.front.store, mine, now=now) if mine else None
        if account is None or account.role != "lead":
            if known:
                accounts.end_session(site.store, there)
            return None
        if known or request.method != "GET":
            return None
        try:
            session = operator_session(site.store, now, site.config.session_days)
        except Refused:  # a lead of the project has ended the operator's access
            return None
        query = f"?{request.url.query}" if request.url.query else ""
        answer = RedirectResponse(request.scope["path"] + query, 303)
        answer.set_cookie(
            cookie,
            session,
            max_age=int(site.config.session_days * 86_400),
            httponly=True,
            secure=site.config.https,
            samesite="lax",
            path=root_of(request.scope),
        )
        return answer


def operator_session(store: Store, now: datetime, days: float) -> str:
    """Return a new session of the operator's account in a project."""
    known = next((person.id for person in accounts.people(store) if _is_operator(person)), "")
    token = accounts.invite(store, "lead", OPERATOR, by=OPERATOR, now=now, days=1, labeler=known)
    return accounts.redeem(store, token, now=now, days=days)


def _is_operator(account: Account) -> bool:
    return account.role == "lead" and account.name == OPERATOR


def front_of(folder: Path, store: Store, config: LabelConfig, secret: str) -> Site:
    """Return the site that lists the projects of a folder."""
    return Site(store, config, folder.name, secret, folder, packages=(PACKAGE, HERE))


def open_folder(folder: Path, config: LabelConfig, open_project: OpenProject, *, root_path: str, secret: str, upload_mb: int = 0) -> None:
    """Serve the projects of a folder until it is stopped. On this machine's own address, print the operator's link.

    Args:
        config: the address to listen on, and the proxies whose ``X-Forwarded-For`` is believed.
        root_path: the path under which a proxy serves it.
        upload_mb: as in ``Projects``.

    Raises:
        UsageError: ``root_path`` is not a path.
        RunError: the address is taken.
    """
    path = checked(root_path)
    with Store.open(f"sqlite:///{folder / DATABASE}") as store:
        made, address = bound(config)
        print(f"{len(names(folder))} projects of {folder} are at {address}{path}/  (Ctrl-C ends it)", flush=True)
        if is_loopback(config.host):
            print(f"Come in as operator, once: {lead_link(store, address + path, datetime.now(UTC))}", flush=True)
        public = public_address(config, made.getsockname()[1]) + path
        projects = Projects(front_of(folder, store, config, secret), open_project, public, upload_mb=upload_mb)
        serve(SubPath(projects, path), made, config)
