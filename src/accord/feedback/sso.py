"""Single sign-on by OpenID Connect: the authorization code flow with PKCE, and the account that belongs to an identity.

An identity is an issuer and a subject, never a mail address: addresses change hands. Only a hash of the two is stored. The signature
algorithms are fixed here, whatever a token or a provider says of itself.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast, get_args
from urllib.parse import urlsplit

import httpx
from authlib.oauth2.auth import ClientAuth
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri, prepare_token_request
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from sqlalchemy import insert, select, update

from accord.errors import UsageError
from accord.feedback import accounts, schema
from accord.feedback.accounts import Account, Role
from accord.feedback.audit import note
from accord.feedback.refusals import Refused
from accord.feedback.site_address import is_loopback
from accord.feedback.store import Store
from accord.runtime.bounded import Bounded, TooLarge
from accord.settings import SsoConfig

SECRET = "ACCORD_SSO_SECRET"
"""The environment variable with the client secret. There is no setting for it."""
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")
"""Signatures with a provider's private key. Neither ``none`` nor a secret that both sides know."""
SECONDS = 10.0
"""Longest wait for the provider."""
PATIENCE = 2.0
"""Longest wait for another thread that asks the provider the same."""
FAILED = 10.0
"""Seconds for which a provider that did not answer is not asked again for its addresses and keys."""
AT_ONCE = 4
"""Sign-ins that wait for the provider at once; the site's other threads go on with its pages."""
LARGEST = 1_000_000
"""Largest answer of the provider in bytes."""
LEEWAY = 60
"""Seconds that the provider's clock and ours may differ."""
FRESH = 3600.0
"""Seconds for which the provider's addresses and keys are kept."""
NEW_KEYS = 60.0
"""Seconds between two looks for a key that is not known yet."""


class Failed(Refused):
    """The provider, or what came back from it, cannot be trusted; ``detail`` says why, for the log."""

    def __init__(self, detail: str) -> None:
        super().__init__("sso_failed", 403, detail)


@dataclass(frozen=True, slots=True)
class Begun:
    """A sign-in that was begun: what the browser keeps until it comes back, and where it goes."""

    address: str
    state: str
    nonce: str
    verifier: str


@dataclass(frozen=True, slots=True)
class Identity:
    """Who somebody is at the provider, as it vouches for them."""

    issuer: str
    subject: str
    name: str
    email: str
    """Only if the provider verified it."""
    groups: tuple[str, ...]

    @property
    def key(self) -> str:
        return hashlib.sha256(f"{self.issuer}\0{self.subject}".encode()).hexdigest()


@dataclass
class Provider:
    """An identity provider, asked over HTTP. Its addresses and keys are kept for an hour."""

    config: SsoConfig
    secret: str = field(repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _about: dict[str, Any] = field(default_factory=dict[str, Any], repr=False)
    _keys: KeySet | None = field(default=None, repr=False)
    _asked: float = field(default=-FRESH, repr=False)
    _keys_asked: float = field(default=-FRESH, repr=False)
    _silent: float = field(default=-FRESH, repr=False)
    _finishing: threading.BoundedSemaphore = field(default_factory=lambda: threading.BoundedSemaphore(AT_ONCE), repr=False)

    def begin(self, back: str) -> Begun:
        """Return where to send a browser that wants to sign in.

        Args:
            back: the address at which it comes back.
        """
        state, nonce, verifier = (secrets.token_urlsafe(n) for n in (24, 24, 48))
        asked = {"state": state, "nonce": nonce, "code_challenge": create_s256_code_challenge(verifier), "code_challenge_method": "S256"}
        address = self._address("authorization_endpoint")
        to: Any = cast("Any", prepare_grant_uri)(
            address, self.config.client_id, "code", redirect_uri=back, scope=self.config.scopes, **asked
        )
        return Begun(str(to), state, nonce, verifier)

    def finish(self, begun: Begun, back: str, given: Mapping[str, str]) -> Identity:
        """Return who came back from the provider.

        Args:
            given: the query of the address at which the browser came back.

        Raises:
            Failed: the state is not the one of this browser, the provider refused, or its token is not to be trusted.
        """
        if not secrets.compare_digest(given.get("state", "").encode(), begun.state.encode()):
            raise Failed("another browser began this")
        if given.get("error"):
            raise Failed(f"the provider says {given['error'][:100]!r}")
        if given.get("iss", self.config.issuer) != self.config.issuer:
            raise Failed("another provider answers")
        if not self._finishing.acquire(timeout=PATIENCE):
            raise Failed("too many wait for the provider")
        try:
            token = self._token(begun, back, given.get("code", ""))
            claims = self._claims(str(token.get("id_token", "")), begun.nonce)
            return self._identity(self._with_userinfo(claims, str(token.get("access_token", ""))))
        finally:
            self._finishing.release()

    def leaving(self, back: str) -> str:
        """Return the provider's address for signing out there too; empty if it has none."""
        to = str(self._described().get("end_session_endpoint", ""))
        return str(httpx.URL(to, params={"client_id": self.config.client_id, "post_logout_redirect_uri": back})) if to else ""

    def _token(self, begun: Begun, back: str, code: str) -> dict[str, Any]:
        """Exchange the code that the browser brought for a token.

        authlib writes the request (RFC 6749, 4.1.3 and 2.3.1) and our client sends it: authlib's own limits each read alone.
        """
        address = self._address("token_endpoint")
        headers = {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded"}
        client: Any = ClientAuth(self.config.client_id, self.secret)  # authlib tells nothing of its types
        body: str = prepare_token_request("authorization_code", "", back, code=code, code_verifier=begun.verifier)
        _, headers, body = client.prepare("POST", address, headers, body)
        return self._sent("POST", address, headers, body)

    def _claims(self, token: str, nonce: str) -> dict[str, Any]:
        """Verify an ID token (OpenID Connect Core, 3.1.3.7) and return its claims."""
        try:
            claims: dict[str, Any] = self._decoded(token)
            audience = claims.get("aud")
            aud = cast("list[Any]", audience) if isinstance(audience, list) else [audience]
            exact = {"iss": {"essential": True, "value": self.config.issuer}, "nonce": {"essential": True, "value": nonce}}
            needed = {name: {"essential": True} for name in ("sub", "exp", "iat")}
            jwt.JWTClaimsRegistry(leeway=LEEWAY, **cast("Any", exact | needed)).validate(claims)
        except (JoseError, ValueError, TypeError, KeyError) as error:
            raise Failed(f"the token is not valid: {type(error).__name__} {error}") from error
        if self.config.client_id not in aud or claims.get("azp", self.config.client_id) != self.config.client_id:
            raise Failed("the token is for another program")
        if len(aud) > 1 and "azp" not in claims:
            raise Failed("the token is for several programs, and for none of them in particular")
        if not isinstance(claims["sub"], str) or not 0 < len(claims["sub"]) <= 255:
            raise Failed("the token names nobody")
        return claims

    def _decoded(self, token: str) -> dict[str, Any]:
        try:
            return dict(jwt.decode(token, self._known_keys(), algorithms=list(ALGORITHMS)).claims)
        except (JoseError, ValueError):
            return dict(jwt.decode(token, self._known_keys(again=True), algorithms=list(ALGORITHMS)).claims)  # it may have new keys

    def _with_userinfo(self, claims: dict[str, Any], access: str) -> dict[str, Any]:
        """Add what the provider says of the same person beside the token, if the token alone lacks what the settings ask for."""
        wanted = {"email"} if self.config.domains else set[str]()
        wanted |= {self.config.groups_claim} if self.config.roles else set()
        address = str(self._described().get("userinfo_endpoint", ""))
        if wanted <= set(claims) or not address or not access:
            return claims
        said = self._fetched(address, {"Authorization": f"Bearer {access}"})
        if said.get("sub") != claims["sub"]:
            raise Failed("the provider speaks of two people")
        if "email" in claims:  # an address and the word that it is verified come from one place
            said.pop("email_verified", None)
        return {**said, **claims}

    def _identity(self, claims: Mapping[str, Any]) -> Identity:
        groups = claims.get(self.config.groups_claim, ())
        listed = [groups] if isinstance(groups, str) else list(cast("list[Any]", groups)) if isinstance(groups, list) else []
        email = str(claims.get("email", "")) if claims.get("email_verified") is True else ""
        name = str(claims.get("name") or claims.get("preferred_username") or claims.get("email") or "")[:200]
        return Identity(self.config.issuer, str(claims["sub"]), name, email, tuple(str(group) for group in listed))

    def _described(self) -> dict[str, Any]:
        with self._alone():
            if time.monotonic() - self._asked > FRESH:
                found = self._fetched_now(f"{self.config.issuer.rstrip('/')}/.well-known/openid-configuration")
                if found.get("issuer") != self.config.issuer:
                    raise Failed("the provider calls itself by another name than [sso] issuer")
                self._about, self._asked = found, time.monotonic()
            return self._about

    def _known_keys(self, *, again: bool = False) -> KeySet:
        address = self._address("jwks_uri")
        with self._alone():
            age = time.monotonic() - self._keys_asked
            if self._keys is None or age > (NEW_KEYS if again else FRESH):
                found = self._fetched_now(address)
                try:
                    self._keys = KeySet.import_key_set(cast("Any", found))
                except (JoseError, ValueError, TypeError, KeyError) as error:
                    raise Failed("the provider's keys cannot be read") from error
                self._keys_asked = time.monotonic()
            return self._keys

    @contextmanager
    def _alone(self) -> Generator[None]:
        """Hold what is known of the provider. Raises Failed when another thread holds it for long: it waits for the provider."""
        if not self._lock.acquire(timeout=PATIENCE):
            raise Failed("the provider has not answered another sign-in yet")
        try:
            yield
        finally:
            self._lock.release()

    def _fetched_now(self, address: str) -> dict[str, Any]:
        """Fetch what is known of the provider, unless it did not answer a moment ago."""
        if time.monotonic() - self._silent < FAILED:
            raise Failed("the provider did not answer a moment ago")
        try:
            return self._fetched(address)
        except Failed:
            self._silent = time.monotonic()
            raise

    def _address(self, name: str) -> str:
        found = str(self._described().get(name, ""))
        if not _is_private(found):
            raise Failed(f"the provider's {name} is {found[:100]!r}, without https")
        return found

    def _fetched(self, address: str, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        if not _is_private(address):
            raise Failed(f"{address[:100]!r} is no address with https")
        return self._sent("GET", address, headers or {})

    def _sent(self, method: str, address: str, headers: Mapping[str, str], body: str | None = None) -> dict[str, Any]:
        """Return an answer of the provider, which is a JSON object that came whole, in time."""
        try:
            with httpx.Client(transport=Bounded(SECONDS, LARGEST)) as client:
                found: Any = client.request(method, address, headers=headers, content=body).raise_for_status().json()
        except (TooLarge, httpx.ReadTimeout) as error:
            raise Failed("the provider says too much, or too slowly") from error
        except (httpx.HTTPError, ValueError, RecursionError) as error:
            raise Failed(f"the provider does not answer: {type(error).__name__}") from error
        if not isinstance(found, dict):
            raise Failed("the provider's answer is no object")
        return cast("dict[str, Any]", found)


def provider(settings: Mapping[str, Any]) -> Provider | None:
    """Return the provider of a project's settings; None if single sign-on is off.

    Raises:
        UsageError: the client secret is not set, or the issuer is reached without https.
    """
    config = SsoConfig(**settings.get("sso", {}))
    if not config.issuer:
        return None
    if not _is_private(config.issuer):
        raise UsageError(f"issuer is {config.issuer!r}", where="[sso]", hint="it begins with https://")
    secret = os.environ.get(SECRET, "")
    if not secret:
        raise UsageError("the client secret is not set", where=SECRET, hint=f"set {SECRET} to the secret that the provider gave you")
    return Provider(config, secret)


def sign_in(store: Store, who: Identity, config: SsoConfig, *, linked: Account | None, now: datetime, days: float) -> str:
    """Begin a session of the account that belongs to an identity, and return its token.

    Args:
        linked: the account that somebody who is signed in links with it.

    Raises:
        Refused: the identity belongs to nobody or to another account, its account was revoked, or the settings keep it out (403, 409).
    """
    role = _role(who, config)
    i, a = schema.identities, schema.accounts
    with store.write() as connection:
        id = connection.scalar(select(i.c.account).where(i.c.key == who.key))
        if linked is not None and id not in (None, linked.id):
            raise Refused("sso_taken", 409)
        if id is None:
            if linked is None and not config.create:
                raise Refused("sso_unknown", 403)
            id = linked.id if linked else accounts.create(connection, role or config.role, who.name, group="", now=now)
            connection.execute(insert(i).values(key=who.key, account=id, at=now.isoformat()))
            note(connection, who=id, what="link", on=id, why="single sign-on", at=now)
        known = connection.execute(select(a.c.role, a.c.revoked).where(a.c.id == id).with_for_update()).one()
        if known.revoked:
            raise Refused("bad_link", 403)
        if role and role != known.role:
            connection.execute(update(a).where(a.c.id == id).values(role=role))
            note(connection, who=id, what="role", on=id, why=f"single sign-on: {known.role} to {role}", at=now)
        return accounts.begin_session(connection, id, now, days)


def _role(who: Identity, config: SsoConfig) -> Role | None:
    """Return the role that the person's groups give; None where the settings leave roles to the leads."""
    domains = [domain.strip().lower() for domain in config.domains.split(",") if domain.strip()]
    if domains and who.email.rpartition("@")[2].lower() not in domains:
        raise Refused("sso_domain", 403)
    if not config.roles:
        return None
    given = {str(config.roles[group]) for group in who.groups if group in config.roles}
    for role in get_args(Role):
        if role in given:
            return role
    raise Refused("sso_group", 403)


def _is_private(address: str) -> bool:
    """Return whether nobody on the way reads what goes to an address: https, or this machine."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    return bool(parts.hostname) and (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or "")))
