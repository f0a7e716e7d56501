"""Reward servers behind an HTTP address: Accord's own protocol, and the shapes that OpenRLHF and verl speak.

http://host/score                    ours: rows in, rewards out (docs/rewards.md)
openrlhf+http://host/get_reward      OpenRLHF's remote_rm_url: query, prompts, labels in, rewards out
verl+http://host/classify            what verl asks of vLLM: one text in, the last of its probs out
verl+http://host/v1/embeddings       what verl asks of SGLang: one text in, the last of its embedding out

What follows ``#`` stays here: for OpenRLHF's shape the column that is sent as labels, for verl's the model's folder or name.
"""

from __future__ import annotations

import json
import os
import random
import re
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, cast
from urllib.parse import parse_qsl, urlsplit

from accord.errors import RunError, UsageError
from accord.rewards.rows import Said, Scores, joined_parts, parts_of

if TYPE_CHECKING:
    import httpx

KEY = "ACCORD_REWARD_KEY"
"""Environment variable with the key; that of one host alone has the host's name behind it (``ACCORD_REWARD_KEY_RM_EXAMPLE_COM``)."""
TRY_AGAIN = {408, 409, 425, 429, 500, 502, 503, 504, 529}
LONGEST_ANSWER = 16 << 20
"""Bytes of an answer that are read; a longer one is refused."""
LONGEST_WAIT = 30.0
Shape = Literal["accord", "openrlhf", "verl"]
_ADDRESS = re.compile(r"(?:(openrlhf|verl)\+)?(https?://[^#]+)(?:#(.*))?")


def is_address(term: str) -> bool:
    """Return whether a term of the reward is a server's address."""
    return re.match(r"(\w+\+)?https?://", term) is not None


@dataclass(frozen=True)
class Address:
    """Where a reward server is, and how it is spoken to."""

    url: str
    shape: Shape = "accord"
    told: str = ""
    """What stands behind ``#``."""

    @classmethod
    def read(cls, term: str) -> Address:
        """Read a term of the reward.

        Raises:
            UsageError: the shape is unknown, there is no host, or a password or key stands in it.
        """
        found = _ADDRESS.fullmatch(term)
        if found is None:
            hint = "http://host/path, openrlhf+http://host/get_reward or verl+http://host/classify"
            raise UsageError("is no address of a reward server", where=f"rewards, {term}", hint=hint)
        parts = urlsplit(found.group(2))
        secret = [name for name, _ in parse_qsl(parts.query) if re.search(r"key|token|secret|password|auth", name, re.IGNORECASE)]
        if parts.username or parts.password or secret:
            where = f"rewards, {parts.scheme}://{parts.hostname}"
            raise UsageError("a key in an address would be written into the run", where=where, hint=f"set {KEY} in the environment")
        if not parts.hostname:
            raise UsageError("the address has no host", where=f"rewards, {term}")
        return cls(found.group(2), cast("Shape", found.group(1) or "accord"), found.group(3) or "")

    @property
    def key(self) -> str:
        """The key from the environment; empty where none is set."""
        host = re.sub(r"\W", "_", urlsplit(self.url).hostname or "").upper()
        return os.environ.get(f"{KEY}_{host}", "") or os.environ.get(KEY, "")


@dataclass(frozen=True)
class ServerReward:
    """A reward server as a reward.

    Args:
        written: writes a conversation, with or without its response, as the text that OpenRLHF's and verl's servers read.
        seconds: the limit of one scoring, all tries together.
        batch: responses per request; 0 divides them over the workers. verl's shape always sends one.
        workers: requests at once.
    """

    name: str
    address: Address
    written: Callable[[Said, bool], str] = lambda row, whole: row.messages[-1].content + (row.response if whole else "")
    seconds: float = 600
    batch: int = 0
    workers: int = 8
    tries: int = 5
    pause: float = 0.25
    """Seconds before the second try; doubled with every further one."""
    _client: list[Any] = field(default_factory=list[Any], repr=False, compare=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def score(self, rows: Sequence[Said]) -> Scores:
        """Ask the server for all rows, several requests at a time.

        Raises:
            RunError: it refused, did not answer in time after every try, or answered what is no reward.
        """
        size = 1 if self.address.shape == "verl" else self.batch or max(1, -(-len(rows) // self.workers))
        chunks = [rows[start : start + size] for start in range(0, len(rows), size)]
        end = time.monotonic() + self.seconds
        pool = ThreadPoolExecutor(max(1, min(self.workers, len(chunks))))
        try:
            asked = [pool.submit(self._asked, chunk, end) for chunk in chunks]
            answers = [one.result() for one in asked]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        return joined_parts([(parts, len(chunk)) for parts, chunk in zip(answers, chunks, strict=True)], self._where)

    @property
    def _where(self) -> str:
        return f"the reward server {self.address.url}"

    def _asked(self, rows: Sequence[Said], end: float) -> Scores:
        answer = self._exchange(self._body(rows), end)
        return parts_of(self._rewards(answer, len(rows)), rows, self._where)

    def _body(self, rows: Sequence[Said]) -> dict[str, Any]:
        told = self.address.told
        if self.address.shape == "openrlhf":
            return {
                "query": [self.written(row, True) for row in rows],
                "prompts": [self.written(row, False) for row in rows],
                "labels": [row.extra.get(told) if told else None for row in rows],
            }
        if self.address.shape == "verl":
            body: dict[str, Any] = {"model": told, "input": self.written(rows[0], True)}
            return body if self._embeds else body | {"use_activation": False}
        return {
            "version": 1,
            "rows": [{"id": row.id, "messages": row.conversation, "response": row.response, "extra": dict(row.extra)} for row in rows],
        }

    @property
    def _embeds(self) -> bool:
        return urlsplit(self.address.url).path.rstrip("/").endswith("embeddings")

    def _rewards(self, answer: Any, rows: int) -> Any:
        hint = "docs/rewards.md shows the shapes; is the address whole, and its shape the server's?"
        try:
            if self.address.shape == "verl":
                return [answer["data"][-1]["embedding" if self._embeds else "probs"][-1]]
            rewards = answer["rewards"]
        except (KeyError, TypeError, IndexError):
            raise RunError(f"its answer holds no rewards: {json.dumps(answer)[:120]}", where=self._where, hint=hint) from None
        if self.address.shape == "openrlhf" and isinstance(rewards, list):
            # Servers of this shape give a number or a list of one for each row.
            return [
                cast("list[Any]", each)[0] if isinstance(each, list) and len(cast("list[Any]", each)) == 1 else each for each in rewards
            ]
        return rewards

    def _exchange(self, body: dict[str, Any], end: float) -> Any:
        """Send a request, again after temporary failures, and return the answer's JSON. Raises RunError."""
        import httpx

        from accord.runtime.bounded import TooLarge

        client, problem, content = self._opened(), "nothing was tried", json.dumps(body).encode()
        for number in range(self.tries):
            left = end - time.monotonic()
            if left <= 0:
                break
            wait = self.pause * 2**number * random.uniform(0.5, 1.5)
            try:
                status, headers, text = self._sent(client, content, end)
                if status == 200:
                    return self._parsed(text)
                problem = f"{status}: {self._hidden(' '.join(text[:300].decode('utf-8', 'replace').split()))}"
                if status not in TRY_AGAIN:
                    hint = f"set {KEY}" if status in (401, 403) else "is the address whole, and its shape the server's?"
                    raise RunError(f"refused with {problem}", where=self._where, hint=hint)
                wait = max(wait, _asked_wait(headers))
            except TooLarge as error:
                hint = "a reward is a number per response; send fewer by --reward-batch"
                raise RunError(f"its answer is longer than {LONGEST_ANSWER >> 20} MB", where=self._where, hint=hint) from error
            except httpx.TransportError as error:
                problem = f"{type(error).__name__}: {error}".rstrip(": ")
            if number + 1 < self.tries:
                time.sleep(max(0.0, min(wait, LONGEST_WAIT, end - time.monotonic())))
        what = f"gave no answer in {self.tries} tries or {self.seconds:g} s; the last one failed with {problem}"
        raise RunError(what, where=self._where, hint="is it running? start it and continue with --resume")

    def _sent(self, client: httpx.Client, content: bytes, end: float) -> tuple[int, httpx.Headers, bytes]:
        """Send the request once, with the time that is left for all tries."""
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if (key := self.address.key) else {})
        left = {"seconds": max(0.01, end - time.monotonic())}
        response = client.post(self.address.url, content=content, headers=headers, extensions=left)
        return response.status_code, response.headers, response.content

    def _parsed(self, text: bytes) -> Any:
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            shown = self._hidden(text[:80].decode("utf-8", "replace"))
            raise RunError(f"its answer is no JSON: {shown!r}", where=self._where, hint="is the address whole?") from None

    def _hidden(self, text: str) -> str:
        """Take the key out of a server's words, which may repeat it."""
        return text.replace(key, "***") if (key := self.address.key) else text

    def _opened(self) -> httpx.Client:
        """Return the client, which keeps its connections from step to step."""
        import httpx

        from accord.runtime.bounded import Bounded

        with self._lock:
            if not self._client:
                self._client.append(httpx.Client(transport=Bounded(self.seconds, LONGEST_ANSWER, connections=self.workers)))
            return self._client[0]


def _asked_wait(headers: Any) -> float:
    """Return the wait in seconds that a server asks for; 0 when it names none (a date counts as none)."""
    try:
        return max(0.0, float(headers.get("retry-after", "0")))
    except ValueError:
        return 0.0
