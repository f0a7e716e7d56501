"""Delivery of events to webhooks: signed, to public addresses alone, without redirects, again after a while when it fails."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx
from anyio import to_thread

from accord.errors import AccordError
from accord.feedback import outbox
from accord.feedback.outbox import Delivery
from accord.serving.apps.desk import Desk, now
from accord.serving.keys import Keys

EVERY_SECONDS = 2.0
SECONDS = 10.0
"""Longest time for one attempt."""
Resolve = Callable[[str, int], list[str]]
"""From a host and a port to its addresses."""
log = logging.getLogger("accord.serve")


class Refusal(Exception):
    """An address that nothing is sent to."""


def resolved(host: str, port: int) -> list[str]:
    """Return the addresses of a host. Raises OSError when it has none."""
    return list(dict.fromkeys(str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)))


def address_of(url: str, *, private: bool, resolve: Resolve = resolved) -> tuple[str, str, int]:
    """Return host, address and port that a webhook is reached at. The connection goes to this address, so that the name cannot change.

    Args:
        private: whether addresses that the internet cannot reach are allowed, and http without TLS.

    Raises:
        Refusal: the URL is none of http or https, holds a password, or one of its addresses is private.
    """
    parts = urlsplit(url)
    allowed = ("https", "http") if private else ("https",)
    if parts.scheme not in allowed or not parts.hostname or parts.username or parts.password:
        raise Refusal(f"a webhook is an address of {' or '.join(allowed)} without a password")
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        found = resolve(parts.hostname, port)
    except (OSError, ValueError, UnicodeError) as error:
        raise Refusal(f"the host cannot be found: {error}") from error
    for address in found:
        ip = ipaddress.ip_address(address.partition("%")[0])
        ip = getattr(ip, "ipv4_mapped", None) or ip
        if not private and (not ip.is_global or ip.is_multicast):
            raise Refusal("the address is private; [serve] webhook_private allows it")
    if not found:
        raise Refusal("the host has no address")
    return parts.hostname, found[0], port


def signature(secret: str, body: str, at: int) -> str:
    """Return the header that proves who sent a body, and when."""
    return f"t={at},v1={hmac.new(secret.encode(), f'{at}.{body}'.encode(), hashlib.sha256).hexdigest()}"


@dataclass
class Deliverer:
    """Sends what waits."""

    desk: Desk
    private: bool = False
    resolve: Resolve = resolved

    async def run(self, keys: Keys) -> None:
        """Send what is due, again and again."""
        async with httpx.AsyncClient(timeout=SECONDS, follow_redirects=False, trust_env=False) as client:
            while True:
                try:
                    if any(key.can("tasks") for key in keys.all()):
                        await self.send_due(client)
                except AccordError as error:
                    log.warning("webhooks could not be read: %s", error)
                await asyncio.sleep(EVERY_SECONDS)

    async def send_due(self, client: httpx.AsyncClient) -> int:
        """Send what is due now, once; return how many arrived."""
        waiting = await to_thread.run_sync(self._due)
        done = await asyncio.gather(*(self._attempt(client, delivery) for delivery in waiting))
        await to_thread.run_sync(self._finish, [(delivery, *each) for delivery, each in zip(waiting, done, strict=True)])
        return sum(sent for sent, _ in done)

    async def _attempt(self, client: httpx.AsyncClient, delivery: Delivery) -> tuple[bool, str]:
        try:
            host, address, port = await to_thread.run_sync(lambda: address_of(delivery.url, private=self.private, resolve=self.resolve))
            url = httpx.URL(delivery.url).copy_with(host=address, port=port)
            headers = {
                "Host": host if httpx.URL(delivery.url).port is None else f"{host}:{port}",
                "Content-Type": "application/json",
                "X-Accord-Signature": signature(delivery.secret, delivery.body, int(now().timestamp())),
            }
            extensions = {"sni_hostname": host}
            async with client.stream("POST", url, content=delivery.body.encode(), headers=headers, extensions=extensions) as reply:
                return reply.is_success, str(reply.status_code)  # the reply's body is not read: it may be endless
        except (Refusal, httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            return False, str(error) or type(error).__name__

    def _due(self) -> list[Delivery]:
        with self.desk.store().read() as connection:
            return outbox.due(connection, now=now())

    def _finish(self, done: list[tuple[Delivery, bool, str]]) -> None:
        if not done:
            return
        with self.desk.store().write() as connection:
            for delivery, sent, said in done:
                outbox.finish(connection, delivery, said, sent=sent, now=now())
