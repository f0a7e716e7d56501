"""How much one key may ask in a minute: requests and tokens, as buckets that fill evenly. In memory, a process its own."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from accord.serving.host import Busy

MINUTE = 60.0


@dataclass
class Bucket:
    """Holds a minute's worth and fills evenly. May go below zero: what an answer took is known only afterwards."""

    per_minute: int
    level: float = field(init=False)
    at: float = field(init=False)

    def __post_init__(self) -> None:
        self.level, self.at = float(self.per_minute), -math.inf

    def fill(self, now: float) -> float:
        """What is in it now."""
        if self.at > -math.inf:
            self.level = min(self.per_minute, self.level + (now - self.at) * self.per_minute / MINUTE)
        self.at = now
        return self.level

    def wait(self, amount: float) -> float:
        """Seconds until it holds so much."""
        return max(0.0, (amount - self.level) * MINUTE / self.per_minute)


class Limits:
    """The buckets of every key.

    Args:
        requests: a minute, for keys that name no limit of their own; 0 is no limit.
        tokens: likewise, prompt and answer together.
    """

    def __init__(self, requests: int = 0, tokens: int = 0, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.requests, self.tokens, self.clock = requests, tokens, clock
        self._buckets: dict[tuple[str, str], Bucket] = {}

    def enter(self, who: str, requests: int = 0, tokens: int = 0) -> None:
        """Counts a request of a key, whose own limits come before the server's.

        Raises:
            Busy: it has to wait (429), with the seconds.
        """
        asked, used = self._bucket(who, "requests", requests or self.requests), self._bucket(who, "tokens", tokens or self.tokens)
        for bucket, what, needed in ((asked, "requests", 1.0), (used, "tokens", 1.0)):
            if bucket and bucket.fill(self.clock()) < needed:
                seconds = math.ceil(bucket.wait(needed))
                raise Busy(
                    f"this key may use {bucket.per_minute} {what} a minute", where=what, hint="wait a little", seconds=max(seconds, 1)
                )
        if asked:
            asked.level -= 1

    def spend(self, who: str, tokens: int) -> None:
        """Counts the tokens of a request that ended."""
        if bucket := self._buckets.get((who, "tokens")):
            bucket.fill(self.clock())
            bucket.level -= tokens

    def left(self, who: str) -> dict[str, int]:
        """What a key has left of each limit that it has."""
        return {what: max(0, int(bucket.level)) for (key, what), bucket in self._buckets.items() if key == who}

    def _bucket(self, who: str, what: str, per_minute: int) -> Bucket | None:
        if not per_minute:
            return None
        known = self._buckets.get((who, what))
        if known is None or known.per_minute != per_minute:
            known = self._buckets[who, what] = Bucket(per_minute)
        return known
