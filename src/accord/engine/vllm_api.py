"""One vLLM server over HTTP: every request has a deadline, and every answer is checked before anything learns from it.

Token ids go in and come out; no text is tokenised again. Routes and fields are those of vLLM 0.32.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import httpx

from accord.engine.remote import TRY_AGAIN, parsed, told
from accord.errors import RunError, UsageError
from accord.records import Sampling
from accord.runtime.bounded import Bounded, TooLarge

KEYS = ("VLLM_API_KEY", "OPENAI_API_KEY")
"""Environment variables that may hold the server's key."""
COMPLETIONS = "/v1/completions"
SECONDS = 600.0
"""Deadline of one request."""
LONGEST_ANSWER = 512_000_000
"""Most bytes of an answer."""


class ServerFault(Exception):
    """An answer that did not come, or that cannot be used. The same request may succeed later, or elsewhere.

    Args:
        gone: whether the server itself did not answer, so that every further request to it would have to wait as well.
    """

    def __init__(self, what: str, *, gone: bool = False) -> None:
        super().__init__(what)
        self.gone = gone


@dataclass(frozen=True)
class Choice:
    """One response: its tokens with the stop token, their log-probabilities, and whether a stop token ended it."""

    tokens: list[int]
    logprobs: list[float]
    finished: bool


@dataclass(frozen=True)
class VllmServer:
    """A vLLM server.

    Args:
        address: such as http://127.0.0.1:8000, without /v1.
        seconds: deadline of one request, from sending it to the last byte of its answer.
    """

    address: str
    seconds: float = SECONDS
    client: httpx.Client = field(
        default_factory=lambda: httpx.Client(transport=Bounded(SECONDS, LONGEST_ANSWER)), repr=False, compare=False
    )

    def __post_init__(self) -> None:
        if not self.address.startswith(("http://", "https://")):
            raise UsageError("is not the address of a server", where=self.address, hint="give one like http://127.0.0.1:8000")

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None, *, seconds: float = 0.0) -> dict[str, Any]:
        """Send one request and return the answer, an empty one as {}.

        Raises:
            ServerFault: no answer within the deadline, or one that may be better next time.
            RunError: the server refuses the request.
        """
        try:
            status, raw = self._answered(seconds or self.seconds, method, path, body)
        except TooLarge as error:
            raise RunError(f"an answer of {path} is too long", where=self.address, hint=f"{LONGEST_ANSWER // 10**6} MB at most") from error
        except httpx.TransportError as error:
            raise ServerFault(f"{type(error).__name__} at {path}: {error}".rstrip(": "), gone=True) from error
        if status in TRY_AGAIN:
            raise ServerFault(f"{path} answers {status}: {_told(raw)}")
        if status == 404 and path == COMPLETIONS:
            raise ServerFault(_told(raw), gone=True)  # restarted, and without the adapter that it was brought
        if not 200 <= status < 300:
            raise RunError(f"the vLLM server refuses {path} with {status}: {_told(raw)}", where=self.address, hint=_hint(status, path))
        return _object(raw, path)

    def _answered(self, seconds: float, method: str, path: str, body: Mapping[str, Any] | None) -> tuple[int, bytes]:
        """Return status and content."""
        key = next((os.environ[name] for name in KEYS if os.environ.get(name)), "")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        url = self.address.rstrip("/") + path
        response = self.client.request(method, url, json=body, headers=headers, extensions={"seconds": seconds})
        return response.status_code, response.content

    def optional(self, path: str) -> dict[str, Any] | None:
        """Return the answer of a route that not every server has; None where it has none."""
        try:
            return self.ask("GET", path, seconds=min(self.seconds, 60.0))
        except RunError:
            return None

    def version(self) -> str:
        """Return vLLM's version as the server tells it; empty when it tells none."""
        return str((self.optional("/version") or {}).get("version", ""))

    def models(self) -> dict[str, dict[str, Any]]:
        """Return what the server serves, by name: the model itself and its adapters."""
        rows = self.ask("GET", "/v1/models", seconds=min(self.seconds, 60.0)).get("data", [])
        return {str(row.get("id", "")): row for row in rows}

    def draw(
        self, prompt: Sequence[int], *, n: int, sampling: Sampling, seed: int, max_tokens: int, stop: Sequence[int], model: str, salt: str
    ) -> list[Choice]:
        """Return n responses to a prompt.

        Args:
            salt: what the server's prefix cache is keyed by beside the tokens. Another one for other weights, so that keys and values
                of earlier weights are never used again.

        Raises:
            ServerFault: see ``ask``; an answer that is short, or without token ids or log-probabilities.
        """
        body = {
            "model": model,
            "prompt": list(prompt),
            "n": n,
            "seed": seed,
            "max_tokens": max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
            "min_p": sampling.min_p,
            "repetition_penalty": sampling.repetition_penalty,
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
            "stop_token_ids": list(stop),
            "ignore_eos": True,  # the stop tokens are ours, whatever the server's generation config says
            "skip_special_tokens": False,
            "return_token_ids": True,
            "logprobs": 0,
            "cache_salt": salt,
        }
        answer = self.ask("POST", COMPLETIONS, body)
        choices = sorted(_choices(answer), key=lambda choice: int(choice.get("index", 0)))
        if len(choices) != n:
            raise ServerFault(f"{len(choices)} responses where {n} were asked for")
        if answer.get("model", model) != model:
            raise ServerFault(f"the model {answer['model']} answered where {model} was asked")
        return [_checked(choice, prompt, max_tokens, set(stop)) for choice in choices]

    def scores(self, ids: Sequence[int], *, model: str, salt: str) -> list[float]:
        """Return the log-probability of every token of a sequence but the first, at temperature 1.

        Raises:
            ServerFault: see ``ask``; an answer without log-probabilities of the prompt.
        """
        body = {"model": model, "prompt": list(ids), "max_tokens": 1, "temperature": 1.0, "prompt_logprobs": 0, "cache_salt": salt}
        choice = _choices(self.ask("POST", COMPLETIONS, body))[:1]
        rows: list[dict[str, Any]] = (choice[0].get("prompt_logprobs") or []) if choice else []
        if len(rows) != len(ids):
            raise ServerFault(f"log-probabilities of {len(rows)} prompt tokens where {len(ids)} were asked for")
        try:
            return [_number(row[str(id)]["logprob"]) for row, id in zip(rows[1:], ids[1:], strict=True)]
        except (KeyError, TypeError) as error:
            raise ServerFault(f"the log-probability of prompt token {error} is missing") from error


def _choices(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    choices = answer.get("choices")
    if not isinstance(choices, list):
        raise ServerFault("an answer without choices")
    return cast("list[dict[str, Any]]", choices)


def _checked(choice: Mapping[str, Any], prompt: Sequence[int], max_tokens: int, stop: set[int]) -> Choice:
    """Return one response, once it is what was asked for."""
    tokens, told = choice.get("token_ids"), (choice.get("logprobs") or {}).get("token_logprobs")
    if not isinstance(tokens, list) or not tokens:
        raise ServerFault("a response without token ids; vLLM gives them for return_token_ids since 0.10.2")
    if not isinstance(told, list):
        raise ServerFault("a response without log-probabilities of its tokens")
    ids, logprobs = cast("list[int]", tokens), [_number(value) for value in cast("list[Any]", told)]
    if len(ids) != len(logprobs):
        raise ServerFault(f"{len(ids)} token ids with {len(logprobs)} log-probabilities")
    asked = choice.get("prompt_token_ids")
    if asked is not None and list(asked) != list(prompt):
        raise ServerFault("the response is to another prompt")
    finished = ids[-1] in stop
    if any(id in stop for id in ids[:-1]):
        raise ServerFault("a response goes on behind a stop token")
    if len(ids) > max_tokens or (not finished and len(ids) < max_tokens):
        raise ServerFault(f"a response of {len(ids)} tokens without a stop token where {max_tokens} were asked for")
    return Choice(ids, logprobs, finished)


def _number(value: Any) -> float:
    number = float(value) if isinstance(value, int | float) else math.nan
    if not math.isfinite(number):
        raise ServerFault(f"a log-probability is {value}, which is no number")
    return number


def _object(raw: bytes, path: str) -> dict[str, Any]:
    if not raw.strip():
        return {}
    try:
        found: Any = parsed(raw)
    except ValueError as error:
        if path.startswith("/v1/") and path.endswith("_lora_adapter"):
            return {}  # it answers by a sentence
        raise ServerFault(f"the answer of {path} is not JSON") from error
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {"answer": found}


def _told(raw: bytes) -> str:
    return told(httpx.Response(500, content=raw))


def _hint(status: int, path: str) -> str:
    if status == 401:
        return f"set {KEYS[0]} to the key that the server was started with"
    if status == 404:
        return "start the server with VLLM_SERVER_DEV_MODE=1 and VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 in its environment (docs/vllm.md)"
    return "the server's log tells more"
