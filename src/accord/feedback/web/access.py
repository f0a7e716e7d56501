"""Authorisation of requests: the visitor, their language, and their permissions. The pages do the rest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache, partial
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from jinja2 import ChoiceLoader, Environment, PackageLoader, PrefixLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from accord.feedback import accounts
from accord.feedback.accounts import Account, Role
from accord.feedback.guideline_pictures import Reader
from accord.feedback.refusals import Refused
from accord.feedback.store import Store
from accord.feedback.web import translations
from accord.feedback.web.forms import Form
from accord.feedback.web.languages import HERE, NAMES, Language, choose, html_language, translate
from accord.feedback.web.markdown import render
from accord.feedback.web.security import form_token, link_token, same_origin, token_fits
from accord.feedback.web.sub_path import Rooted, root_of, route_of
from accord.records import MEDIUM, Media, Message, Prompt, pieces
from accord.settings import LabelConfig, ScreeningConfig
from accord.settings.questions import Questions, usual

if TYPE_CHECKING:
    from accord.feedback.sso import Provider

LANGUAGE_COOKIE = "accord_language"
SceneOf = Callable[[Prompt, str], tuple[str, str]]
"""Function from a prompt and a language, ``en`` or ``zh``, to the name of its scene and the scene's note; both empty for none."""


class LoggedOut(Exception):
    """The page needs a session and there is none."""


class ForeignForm(Exception):
    """A form that was not made by our page for this session."""


@dataclass(frozen=True, slots=True)
class Area:
    """A part of the site in the bar: its own link, and below it those of its pages while one of them is shown."""

    text: str
    address: str
    here: bool = False
    pages: tuple[Area, ...] = ()


@dataclass(frozen=True)
class Site:
    """The shared state of every page."""

    store: Store
    config: LabelConfig
    name: str
    """The project's display name."""
    secret: str = ""
    """Part of the forms' tokens."""
    folder: Path | None = None
    """The project's folder, whose guidelines take precedence over the built-in ones."""
    screening: ScreeningConfig = field(default_factory=ScreeningConfig)
    """Thresholds of the qualification run and of rushed answers."""
    questions: Questions = field(default_factory=usual)
    """The questions to labelers in force."""
    packages: tuple[str, ...] = (HERE,)
    """Packages with templates, static files and translations, in order of lookup."""
    sso: Provider | None = None
    """The identity provider of single sign-on, if the project has one."""
    scene: SceneOf | None = None
    """Tells the scene of a prompt, if the project has scenes."""
    pictures: Reader | None = None
    """Reads the pictures of a guideline."""

    def session_cookie(self, root: str = "") -> str:
        """Return the name of the session cookie of a site at a path.

        Browsers accept a __Host- cookie only over https, only from this host and only for all of its paths. A site below a path has a
        name of its own, for browsers send it the cookies of the site above as well.
        """
        if not root:
            return "__Host-accord" if self.config.https else "accord_session"
        return f"{'__Secure-accord' if self.config.https else 'accord_session'}_{hashlib.sha256(root.encode()).hexdigest()[:8]}"

    def links(self, account: Account, path: str) -> Sequence[Area]:
        """Return what the bar of every page leads to, for this account. The labeling site and the chat write theirs in page.html."""
        return ()


@dataclass(frozen=True)
class Visit:
    """A request, possibly of a visitor who is not signed in."""

    site: Site
    request: Request
    account: Account | None
    session: str
    language: Language
    now: datetime

    @property
    def root(self) -> str:
        """Return the path under which this site is served, without a slash at its end; empty at the top of its host."""
        return root_of(self.request.scope)

    @property
    def path(self) -> str:
        """Return the address of the page within the site."""
        return route_of(self.request.scope)

    @property
    def wants_json(self) -> bool:
        return "application/json" in self.request.headers.get("accept", "")

    @property
    def csrf(self) -> str:
        return form_token(self.session, self.site.secret) if self.session else ""

    def say(self, text: str, **values: object) -> str:
        """Return a text in the visitor's language."""
        return translate(self.language, text, self.site.packages, **values)

    def page(self, template: str, status: int = 200, **values: Any) -> Response:
        """Return an HTML page in the visitor's language."""
        return HTMLResponse(_templates(self.site.packages).get_template(template).render(self._frame() | values), status)

    def static(self, name: str) -> str:
        """Return the address of a script or style of this site."""
        return self.root + static_address(name, self.site.packages)

    def go(self, to: str, **said: Any) -> Response:
        """Return the next location: a redirect for a browser, an address for a program.

        Args:
            to: an address within the site, such as ``/next``.
        """
        there = self.root + to
        return JSONResponse({"next": there, **said}) if self.wants_json else RedirectResponse(there, 303)

    def _frame(self) -> dict[str, Any]:
        path = self.path
        return {
            "_": self.say,
            "root": self.root,
            "static": self.static,
            "areas": self.site.links(self.account, path) if self.account else (),
            "account": self.account,
            "csrf": self.csrf,
            "sso": self.site.sso.config.title if self.site.sso else "",
            "sso_link": link_token(self.session, self.site.secret) if self.site.sso and self.session else "",
            "project": self.site.name,
            "language": self.language,
            "html_language": html_language(self.language),
            "languages": NAMES,
            "path": path,
            "here": partial(_here, path),
            "notice": "",
            "roles": {role: self.say(text) for role, text in translations.ROLES.items()},
            "kinds": {kind: self.say(text) for kind, text in translations.KINDS.items()},
            "script_words": json.dumps({key: self.say(text) for key, text in translations.SCRIPT.items()}, ensure_ascii=False),
        }


def visit(request: Request) -> Visit:
    """Return the request with its session. Raises StoreError when the store does not answer."""
    site = cast("Site", request.app.state.site)
    now = datetime.now(UTC)
    session = request.cookies.get(site.session_cookie(root_of(request.scope)), "")
    account = accounts.session(site.store, session, now=now) if session else None
    asked = request.cookies.get(LANGUAGE_COOKIE) or (account.profile.get("language") if account else None)
    language = choose(asked, request.headers.get("accept-language"), site.config.language)
    return Visit(site, request, account, session if account else "", language, now)


def enter(request: Request, *roles: Role) -> tuple[Visit, Account]:
    """Return the request of a signed-in visitor with one of the roles (any role when none is named).

    Raises:
        LoggedOut: there is no session.
        Refused: the role lacks the permission (403).
    """
    found = visit(request)
    if found.account is None:
        raise LoggedOut
    if roles and found.account.role not in roles:
        raise Refused("role", 403, found.account.role)
    return found, found.account


def act(request: Request, *roles: Role) -> tuple[Visit, Account, Form]:
    """Return the same as ``enter``, for a form that changes something.

    Raises:
        ForeignForm: it comes from another site, or without this session's token.
    """
    form = posted(request)
    found, account = enter(request, *roles)
    if not token_fits(found.session, found.site.secret, form.get("csrf")):
        raise ForeignForm
    return found, account, form


def posted(request: Request) -> Form:
    """Return the form of a request from our own pages, or from a program. Raises ForeignForm for another site's."""
    if not same_origin(request.headers, request.headers.get("host", "")):
        raise ForeignForm
    return Form.parse(request.scope["accord.body"], request.headers.get("content-type", ""))


def inside(address: str) -> str:
    """Return an address if it is on this site, otherwise the first page: never another site."""
    plain = address.startswith("/") and not address.startswith(("//", "/\\")) and address.isprintable() and "\\" not in address
    return address if plain else "/"


@cache
def _templates(packages: tuple[str, ...]) -> Environment:
    house = PrefixLoader({"house": PackageLoader(HERE)})  # so that another site's page.html can extend this one's
    loader = ChoiceLoader([*(PackageLoader(package) for package in packages), house])
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, extensions=[Rooted]
    )
    cast("dict[str, Any]", environment.globals).update(markdown=render, pieces=_pieces, in_line=in_line)
    return environment


def _pieces(text: str, media: Sequence[Media]) -> list[str | Media]:
    return pieces(Message("user", text, media=tuple(media)))


def in_line(text: str) -> str:
    """Return a text for a list, with a sign in place of each picture."""
    return text.replace(MEDIUM, "\U0001f5bc ")


def _here(path: str, start: str) -> Markup:
    return Markup(' aria-current="page"') if path.startswith(start) else Markup("")


@cache
def static_files(packages: tuple[str, ...] = (HERE,)) -> Mapping[str, bytes]:
    """Return a site's scripts and styles by name; no other file can be requested."""
    found: dict[str, bytes] = {}
    for package in reversed(packages):  # so that a name in the first package wins
        folder = resources.files(package).joinpath("static")
        found |= {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}
    return found


@cache
def static_version(packages: tuple[str, ...] = (HERE,)) -> str:
    """Return 12 hex digits of a hash of all static files."""
    return hashlib.sha256(b"".join(content for _, content in sorted(static_files(packages).items()))).hexdigest()[:12]


def static_address(name: str, packages: tuple[str, ...] = (HERE,)) -> str:
    """Return the address of a script or style, with its content's version, so that browsers may cache it forever."""
    return f"/static/{static_version(packages)}/{name}"
