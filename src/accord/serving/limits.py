"""Rate limits per key: requests and tokens per minute, as token buckets that refill evenly. In memory, per process."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from accord.serving.host import Busy

MINUTE = 60.0


@dataclass
class Bucket:
    """A bucket that holds a minute's worth and refills evenly. It may go below zero, because an answer's cost is
    known only afterwards."""

    per_minute: int
    level: float = field(init=False)
    at: float = field(init=False)

    def __post_init__(self) -> None:
        self.level, self.at = float(self.per_minute), -math.inf

    def fill(self, now: float) -> float:
        """Return the present content."""
        if self.at > -math.inf:
            self.level = min(self.per_minute, self.level + (now - self.at) * self.per_minute / MINUTE)
        self.at = now
        return self.level

    def wait(self, amount: float) -> float:
        """Return the seconds until it holds this much."""
        return max(0.0, (amount - self.level) * MINUTE / self.per_minute)


class Limits:
    """The buckets of every key.

    Args:
        requests: per minute, for keys without a limit of their own; 0 is no limit.
        tokens: likewise, prompt and answer together.
    """

    def __init__(self, requests: int = 0, tokens: int = 0, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.requests, self.tokens, self.clock = requests, tokens, clock
        self._buckets: dict[tuple[str, str], Bucket] = {}

    def enter(self, who: str, requests: int = 0, tokens: int = 0) -> None:
        """Count a request of a key. The key's own limits take precedence over the server's.

        Raises:
            Busy: the key must wait (429); the error has the seconds.
        """
        asked, used = self._bucket(who, "requests", requests or self.requests), self._bucket(who, "tokens", tokens or self.tokens)
        for bucket, what, needed in ((asked, "requests", 1.0), (used, "tokens", 1.0)):
            if bucket and bucket.fill(self.clock()) < needed:
                seconds = math.ceil(bucket.wait(needed))
                raise Busy(
                    f"this key may use {bucket.per_minute} {what} per minute",
                    where=what,
                    hint="wait and try again",
                    seconds=max(seconds, 1),
                )
        if asked:
            asked.level -= 1

    def spend(self, who: str, tokens: int) -> None:
        """Count the tokens of a finished request."""
        if bucket := self._buckets.get((who, "tokens")):
            bucket.fill(self.clock())
            bucket.level -= tokens

    def left(self, who: str) -> dict[str, int]:
        """Return the remainder of each limit that a key has."""
        return {what: max(0, int(bucket.level)) for (key, what), bucket in self._buckets.items() if key == who}

    def headers(self, who: str) -> dict[str, str]:
        """Return the remainders as headers of an answer."""
        return {f"x-ratelimit-remaining-{what}": str(left) for what, left in self.left(who).items()}

    def _bucket(self, who: str, what: str, per_minute: int) -> Bucket | None:
        if not per_minute:
            return None
        known = self._buckets.get((who, what))
        if known is None or known.per_minute != per_minute:
            known = self._buckets[who, what] = Bucket(per_minute)
        return known
