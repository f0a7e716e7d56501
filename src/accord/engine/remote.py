"""A model behind an OpenAI-compatible address as a ``Speaker``: vLLM, llama.cpp, another accord, or a provider.

Temporary failures are retried (no connection, 408, 409, 425, 429, 5xx). The wait is the server's Retry-After, or else
grows with each try. Answers can be cached in a folder, so that a repeated evaluation sends no request twice.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import httpx

from accord.errors import RunError, UsageError
from accord.records import MediaFile, Message, Sampling, pieces
from accord.runtime.bounded import Bounded, TooLarge
from accord.runtime.files import write_atomic
from accord.runtime.text_only import as_text, heard

Show = Callable[[str], MediaFile]
"""Gives a picture by its digest."""
KEY = "OPENAI_API_KEY"
"""Environment variable that holds the key."""
TRY_AGAIN = {408, 409, 425, 429, 500, 502, 503, 504, 529}
LONGEST_WAIT = 60.0
"""Longest wait between two tries, in seconds, whatever the server asks for."""
LONGEST_ANSWER = 32_000_000
"""Most bytes of an answer."""


@dataclass
class Spent:
    """Usage so far: tokens as the server counts them, and the number of requests."""

    requests: int = 0
    retries: int = 0
    cached: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True)
class RemoteSpeaker:
    """Speaker that answers through ``{address}/chat/completions``, with several requests in parallel.

    Args:
        address: up to and including ``/v1``.
        model: the model's name on that server.
        key: the API key; by default the environment's ``OPENAI_API_KEY``. It is only ever sent in the request's header.
        seconds: deadline of one request, from sending it to the last byte of its answer.
        tries: how often a request is sent before giving up.
        side_by_side: number of parallel requests.
        keep: folder in which answers are cached, keyed by everything they depend on; no two seeds share an answer.
        length_field: the server's name for the length limit; newer models of some providers want
            ``max_completion_tokens``.
        extra: further fields of the request, sent as they are.
    """

    address: str
    model: str
    key: str = field(default="", repr=False)
    seconds: float = 120.0
    tries: int = 5
    side_by_side: int = 8
    keep: Path | None = None
    length_field: str = "max_tokens"
    extra: Mapping[str, Any] = field(default_factory=dict[str, Any])
    show: Show | None = None
    """Gives a picture by its digest; without it messages with pictures are refused."""
    spent: Spent = field(default_factory=Spent, compare=False)
    pause: float = 0.5
    """Seconds before the second try; doubled with every further one."""
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.address.startswith(("http://", "https://")):
            raise UsageError("is not an address", where=self.address, hint="give one like http://127.0.0.1:8000/v1")

    @property
    def name(self) -> str:
        return self.model

    def answer(self, conversations: Sequence[Sequence[Message]], *, n: int, sampling: Sampling, seed: int) -> list[list[str]]:
        """Return n answers to each conversation, in order. How well a seed fixes them depends on the server.

        Raises:
            RunError: the server refused a request, or did not answer after every try.
        """
        numbered = list(enumerate(conversations))
        with self._client() as client, ThreadPoolExecutor(max(1, min(self.side_by_side, len(numbered)))) as pool:
            asked = [pool.submit(self._answers, client, said, n, sampling, seed + 1000 * place) for place, said in numbered]
            try:
                return [answers.result() for answers in asked]
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def models(self) -> list[str]:
        """Return the names of the server's models. Raises RunError when it does not answer."""
        with self._client() as client:
            listed = self._exchange(client, "GET", "/models", None)
        try:
            return [str(row["id"]) for row in listed["data"]]
        except (KeyError, TypeError) as error:
            raise RunError("the server lists no models", where=self.address, hint="does the address end in /v1?") from error

    def _client(self) -> httpx.Client:
        key = self.key or os.environ.get(KEY, "")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return httpx.Client(base_url=self.address.rstrip("/"), headers=headers, transport=Bounded(self.seconds, LONGEST_ANSWER))

    def _answers(self, client: httpx.Client, conversation: Sequence[Message], n: int, sampling: Sampling, seed: int) -> list[str]:
        """Return n answers. Servers that ignore ``n`` give one per request, so missing ones are requested again
        under another seed."""
        answers = list[str]()
        while len(answers) < n:
            body = self._body(conversation, n - len(answers), sampling, seed + len(answers))
            answers += [text or "" for text in self._choices(self._kept(client, body))]
        return answers[:n]

    def _body(self, conversation: Sequence[Message], n: int, sampling: Sampling, seed: int) -> dict[str, Any]:
        return {
            "model": self.model,
            "messages": [{"role": message.role, "content": content_of(message, self.show)} for message in conversation],
            "n": n,
            "seed": seed,
            self.length_field: sampling.limit(0),
            **sampling_fields(sampling),
            **self.extra,
        }

    def _kept(self, client: httpx.Client, body: dict[str, Any]) -> dict[str, Any]:
        if self.keep is None:
            return self._counted(client, body)
        words = json.dumps([self.address, body], sort_keys=True, ensure_ascii=False)
        file = self.keep / f"{hashlib.sha256(words.encode('utf-8', 'surrogatepass')).hexdigest()}.json"
        if (known := self._known(file)) is not None:
            with self._lock:
                self.spent.cached += 1
            return known
        answer = self._counted(client, body)
        if None not in self._choices(answer):  # a model that says nothing may say something the next time
            write_atomic(file, json.dumps(answer))
        return answer

    def _known(self, file: Path) -> dict[str, Any] | None:
        """Return a cached answer; None where there is none, or one that holds no answer and is asked for again."""
        try:
            answer = dict[str, Any](parsed(file.read_bytes()))
            return None if None in self._choices(answer) else answer
        except (OSError, ValueError, TypeError, RunError):
            return None

    def _counted(self, client: httpx.Client, body: dict[str, Any]) -> dict[str, Any]:
        answer = self._exchange(client, "POST", "/chat/completions", body)
        usage: Any = answer.get("usage")
        with self._lock:
            self.spent.prompt_tokens += _number(usage, "prompt_tokens")
            self.spent.completion_tokens += _number(usage, "completion_tokens")
        return answer

    def _choices(self, answer: Mapping[str, Any]) -> list[str | None]:
        """Return the texts of an answer, None for one without text. Raises RunError for what is no answer."""
        if error := answer.get("error"):
            said = self._hidden(" ".join(str(error).split())[:300])
            raise RunError(f"the server answered with an error: {said}", where=self.address, hint="look at the server's log")
        try:
            texts: list[Any] = [choice["message"]["content"] for choice in answer["choices"]]
            if not all(text is None or isinstance(text, str) for text in texts):
                raise TypeError("a text is none")
        except (KeyError, TypeError) as error:
            raise RunError(
                "the server's answer has no choices with messages", where=self.address, hint="is the server OpenAI-compatible?"
            ) from error
        if not texts:
            raise RunError("the server returned no answer at all", where=self.address, hint="look at the server's log")
        return texts

    def _exchange(self, client: httpx.Client, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        """Send one request, with retries, and return the parsed answer. Raises RunError."""
        problem = ""
        for number in range(self.tries):
            with self._lock:
                self.spent.requests += 1
                self.spent.retries += number > 0
            wait = self.pause * 2**number * random.uniform(0.5, 1.5)
            try:
                response = client.request(method, path, json=body)
                if response.is_success:
                    return self._parsed(response)
                problem = f"{response.status_code}: {self._hidden(told(response))}"
                if response.status_code not in TRY_AGAIN:
                    raise RunError(f"the server refused with {problem}", where=self.address, hint=_hint(response.status_code))
                wait = asked_wait(response.headers) or wait
            except TooLarge as error:
                raise RunError(str(error), where=self.address, hint="is this the address of a language model?") from error
            except httpx.TransportError as error:
                problem = f"{type(error).__name__}: {error}"
            if number + 1 < self.tries:
                time.sleep(min(wait, LONGEST_WAIT))
        raise RunError(
            f"no answer in {self.tries} tries; the last one failed with {problem}", where=self.address, hint="is the server running?"
        )

    def _hidden(self, text: str) -> str:
        """Take the key out of a server's words, which may repeat it."""
        return hidden(text, self.key or os.environ.get(KEY, ""))

    def _parsed(self, response: httpx.Response) -> dict[str, Any]:
        try:
            return dict(parsed(response.content))
        except (ValueError, TypeError) as error:
            raise RunError("the server's answer is not a JSON object", where=self.address, hint="does the address end in /v1?") from error


def content_of(message: Message, show: Show | None) -> str | list[dict[str, Any]]:
    """Return what a message says in OpenAI's form: its text, or parts with the pictures as data URLs; recordings as their transcripts.

    Raises:
        InputError: it holds a recording without a transcript, or a picture that nobody shows.
    """
    (read,) = (as_text if show is None else heard)([message], "what asks this server")
    if not read.media:
        return read.content
    parts: list[dict[str, Any]] = []
    for part in pieces(read):
        if isinstance(part, str):
            parts.append({"type": "text", "text": part})
        elif show is not None:
            file = show(part.digest)
            encoded = base64.b64encode(file.content).decode("ascii")
            parts.append({"type": "image_url", "image_url": {"url": f"data:{file.mime};base64,{encoded}"}})
    return parts


def sampling_fields(sampling: Sampling) -> dict[str, Any]:
    """Return OpenAI's sampling fields, and those that only local servers know when they are set."""
    plain = {"temperature": sampling.temperature, "top_p": sampling.top_p}
    more = {"top_k": sampling.top_k, "min_p": sampling.min_p}
    penalty = {"repetition_penalty": sampling.repetition_penalty} if sampling.repetition_penalty != 1.0 else {}
    return plain | {name: value for name, value in more.items() if value} | penalty


def asked_wait(headers: Mapping[str, str]) -> float:
    """Return the wait in seconds that a server asks for, of a minute at most; 0 when it names none (a date counts as none)."""
    try:
        wait = float(headers.get("retry-after", "0"))
    except ValueError:
        return 0.0
    return min(max(0.0, wait), LONGEST_WAIT) if wait == wait else 0.0


def told(response: httpx.Response) -> str:
    """Return the message of a refusal on one line, from OpenAI's error form or as plain text."""
    try:
        text = str(parsed(response.content)["error"]["message"])
    except (ValueError, TypeError, KeyError):
        text = response.text
    return " ".join(text.split())[:300]


def parsed(content: bytes) -> Any:
    """Return the value of a JSON text. Raises ValueError, also for one that is nested too deeply."""
    try:
        return json.loads(content)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def hidden(text: str, key: str) -> str:
    """Take our key out of a server's words, which may repeat it."""
    return text.replace(key, "***") if key else text


def _number(usage: Any, name: str) -> int:
    """Return a number of tokens; 0 for anything else that a server may say."""
    value: Any = cast("Mapping[str, Any]", usage).get(name) if isinstance(usage, Mapping) else 0
    return value if isinstance(value, int) else 0


def _hint(status: int) -> str:
    return {401: f"set {KEY}", 403: "does the key have access to this model?", 404: "is the model's name right?"}.get(status, "")
