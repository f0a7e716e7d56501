"""Delivery of events to webhooks: signed, to public addresses alone, without redirects, again after a while when it fails."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import logging
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, IPv6Network

import httpx
from anyio import to_thread

from accord.errors import AccordError
from accord.feedback import outbox
from accord.feedback.outbox import Delivery
from accord.serving.apps.desk import Desk, now
from accord.serving.keys import Keys

EVERY_SECONDS = 2.0
SECONDS = 10.0
"""Longest time for one attempt, the look-up of its host included."""
LOOKUPS = 16
"""Hosts that are looked up at once, in threads of their own: a slow name server holds up no other part of the server."""
NAT64, COMPATIBLE, GLOBAL = IPv6Network("64:ff9b::/96"), IPv6Network("::/96"), IPv6Network("2000::/3")
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
    allowed = ("https", "http") if private else ("https",)
    try:
        parts = httpx.URL(url)
    except (httpx.InvalidURL, ValueError) as error:
        raise Refusal(f"this is no address: {error}") from error
    host = parts.raw_host.decode("ascii")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    if parts.scheme not in allowed or not host or parts.userinfo or not 0 < port < 1 << 16:
        raise Refusal(f"a webhook is an address of {' or '.join(allowed)} without a password")
    try:
        found = resolve(host, port)
    except (OSError, ValueError) as error:
        raise Refusal(f"the host cannot be found: {error}") from error
    if not private and not all(map(_public, found)):
        raise Refusal("the address is private; [serve] webhook_private allows it")
    if not found:
        raise Refusal("the host has no address")
    return host, found[0], port


def _public(address: str) -> bool:
    """Return whether the internet reaches an address, and every address that a gateway would forward it to."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    inside = _inside(ip) if isinstance(ip, IPv6Address) else ()
    if inside:
        return all(each.is_global and not each.is_multicast for each in inside)
    return ip.is_global and not ip.is_multicast and (isinstance(ip, IPv4Address) or ip in GLOBAL)


def _inside(ip: IPv6Address) -> tuple[IPv4Address, ...]:
    """Return the IPv4 addresses that an IPv6 address carries: mapped, by NAT64, 6to4 or Teredo."""
    if ip in NAT64 or ip in COMPATIBLE:
        return (IPv4Address(int(ip) & 0xFFFFFFFF),)
    return ip.teredo or tuple(each for each in (ip.ipv4_mapped, ip.sixtofour) if each)


def signature(secret: str, body: str, at: int) -> str:
    """Return the header that proves who sent a body, and when."""
    return f"t={at},v1={hmac.new(secret.encode(), f'{at}.{body}'.encode(), hashlib.sha256).hexdigest()}"


@dataclass
class Deliverer:
    """Sends what waits to the webhooks of the apps that have a working key of the scope ``tasks``."""

    desk: Desk
    keys: Keys
    private: bool = False
    resolve: Resolve = resolved
    seconds: float = SECONDS
    _lookups: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(LOOKUPS, "webhook-lookup"))

    async def run(self) -> None:
        """Send what is due, again and again."""
        try:
            async with httpx.AsyncClient(timeout=self.seconds, follow_redirects=False, trust_env=False) as client:
                while True:
                    try:
                        await self.send_due(client)
                    except AccordError as error:
                        log.warning("webhooks could not be read: %s", error)
                    await asyncio.sleep(EVERY_SECONDS)
        finally:
            self._lookups.shutdown(wait=False, cancel_futures=True)

    async def send_due(self, client: httpx.AsyncClient) -> int:
        """Send what is due now, once; return how many arrived. A database that no app needs stays closed."""
        apps = {key.name for key in self.keys.all() if key.can("tasks") and not key.revoked}
        if not apps:
            return 0
        waiting = await to_thread.run_sync(self._due, apps)
        done = await asyncio.gather(*(self._attempt(client, delivery) for delivery in waiting))
        await to_thread.run_sync(self._finish, [(delivery, *each) for delivery, each in zip(waiting, done, strict=True)])
        return sum(sent for sent, _ in done)

    async def _attempt(self, client: httpx.AsyncClient, delivery: Delivery) -> tuple[bool, str]:
        """Send one event; return whether it arrived, and the status or what went wrong."""
        try:
            async with asyncio.timeout(self.seconds):  # httpx limits each read alone, and a server may send a byte at a time
                return await self._post(client, delivery)
        except TimeoutError:
            return False, f"no reply within {self.seconds:g} s"
        except (Refusal, httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            return False, str(error) or type(error).__name__

    async def _post(self, client: httpx.AsyncClient, delivery: Delivery) -> tuple[bool, str]:
        host, address, port = await asyncio.get_running_loop().run_in_executor(self._lookups, self._address, delivery.url)
        named, given = f"[{host}]" if ":" in host else host, httpx.URL(delivery.url)
        headers = {
            "Host": named if given.port is None else f"{named}:{port}",
            "Content-Type": "application/json",
            "X-Accord-Signature": signature(delivery.secret, delivery.body, int(now().timestamp())),
        }
        url, content = given.copy_with(host=address, port=port), delivery.body.encode()
        async with client.stream("POST", url, content=content, headers=headers, extensions={"sni_hostname": host}) as reply:
            return reply.is_success, str(reply.status_code)  # the reply's body is not read: it may be endless

    def _address(self, url: str) -> tuple[str, str, int]:
        return address_of(url, private=self.private, resolve=self.resolve)

    def _due(self, apps: set[str]) -> list[Delivery]:
        with self.desk.store().read() as connection:
            return outbox.due(connection, apps, now=now())

    def _finish(self, done: list[tuple[Delivery, bool, str]]) -> None:
        if not done:
            return
        with self.desk.store().write() as connection:
            for delivery, sent, said in done:
                outbox.finish(connection, delivery, said, sent=sent, now=now())
