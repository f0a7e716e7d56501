"""API keys: created once and shown once. The project's ``keys.json`` holds only their SHA-256.

A key is 256 random bits, so that no salt or slow hash is needed, and nobody guesses one. The file is read again
when it changes: a revoked key stops working at once, even in a running server.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import secrets
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

from accord.errors import InputError
from accord.runtime.files import OWNER_ONLY, write_atomic

Scope = Literal["chat", "feedback", "tasks"]
Storing = Literal["", "feedback", "prompts"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
FILE = "keys.json"
PREFIX = "accord-"


@dataclass(frozen=True, slots=True)
class Key:
    """One API key's owner and limits."""

    id: str
    name: str
    digest: str
    created: str
    revoked: str = ""
    """Time of revocation; empty while the key works."""
    requests_per_minute: int = 0
    """Requests per minute; 0 takes the server's own limit."""
    tokens_per_minute: int = 0
    """Prompt and answer tokens per minute; 0 takes the server's own limit."""
    models: tuple[str, ...] = ()
    """The models that the key may use; empty means all."""
    scopes: tuple[Scope, ...] = ()
    """What the key may do; empty, as for keys from before there were scopes, means ``chat``."""
    store: Storing = ""
    """Whether its answers are stored: for ``feedback`` alone, or also as ``prompts``; empty stores nothing."""
    terms: str = ""
    """The text by which all of the app's end users agreed that they are learned from; empty when each is asked."""
    scenes: tuple[str, ...] = ()
    """The scenes whose own filters hold when the key names them, also where these are weaker."""

    def can(self, scope: Scope) -> bool:
        """Return whether the key may do something."""
        return scope in (self.scopes or ("chat",))


class Keys:
    """The keys of a project's file."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        self._stamp: tuple[int, int] | None = None
        self._known: dict[str, Key] = {}

    def all(self) -> list[Key]:
        """Return every key, revoked ones too, the oldest first. Raises InputError when the file is damaged."""
        self._refresh()
        return list(self._known.values())

    def find(self, token: str) -> Key | None:
        """Return the record of a key; None when it is unknown or revoked."""
        self._refresh()
        key = self._known.get(hashed(token))
        return key if key and not key.revoked else None

    def add(
        self,
        name: str,
        *,
        requests_per_minute: int = 0,
        tokens_per_minute: int = 0,
        models: tuple[str, ...] = (),
        scopes: tuple[Scope, ...] = (),
        store: Storing = "",
        terms: str = "",
        scenes: tuple[str, ...] = (),
    ) -> tuple[str, Key]:
        """Create a key and return it with its record. The key itself is not stored anywhere."""
        token = PREFIX + secrets.token_urlsafe(32)
        made = datetime.now(UTC).isoformat(timespec="seconds")
        key = Key(
            secrets.token_hex(4),
            name,
            hashed(token),
            made,
            "",
            requests_per_minute,
            tokens_per_minute,
            models,
            scopes,
            store,
            terms,
            scenes,
        )
        with self._changing() as known:
            known.append(key)
        return token, key

    def revoke(self, which: str) -> Key:
        """Revoke a key, given its id or a name that exactly one working key has.

        Raises:
            InputError: there is none, or several.
        """
        with self._changing() as known:
            working = [place for place, key in enumerate(known) if not key.revoked]
            found = [place for place in working if known[place].id == which] or [place for place in working if known[place].name == which]
            if len(found) != 1:
                what = f"{len(found)} working keys have this name" if found else "there is no such working key"
                raise InputError(what, where=which, hint="`accord keys list` shows their ids")
            known[found[0]] = replace(known[found[0]], revoked=datetime.now(UTC).isoformat(timespec="seconds"))
        return known[found[0]]

    @contextmanager
    def _changing(self) -> Generator[list[Key]]:
        """Yield the keys to change and write them back when the block succeeds; one process at a time."""
        with self.path.with_suffix(".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._stamp = None
            known = self.all()
            yield known
            write_atomic(self.path, json.dumps([asdict(key) for key in known], indent=1) + "\n", mode=OWNER_ONLY)

    def _refresh(self) -> None:
        try:
            found = self.path.stat()
        except FileNotFoundError:
            self._known, self._stamp = {}, None
            return
        stamp = (found.st_mtime_ns, found.st_ino)
        if stamp != self._stamp:
            self._known = {key.digest: key for key in _read(self.path)}
            self._stamp = stamp


def hashed(token: str) -> str:
    """Return the stored form of a key."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _read(path: Path) -> list[Key]:
    try:
        rows: Any = json.loads(path.read_text("utf-8"))
        return [Key(**row | {name: tuple(row.get(name, ())) for name in ("models", "scopes", "scenes")}) for row in rows]
    except (ValueError, TypeError, AttributeError) as error:
        hint = "move the file away and create new keys with `accord keys add`"
        raise InputError(f"the keys cannot be read: {error}", where=str(path), hint=hint) from error
