"""Prometheus metrics: requests, tokens, times, and the engines' state. Each app has a registry of its own."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import aclosing

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from accord.serving.host import Piece, RefusedRequest

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
State = Callable[[], Mapping[str, Mapping[str, float]]]
"""Function that returns each model's state, by name."""


class Meter:
    """The metrics of one server.

    Args:
        state: called at every scrape.
    """

    def __init__(self, state: State | None = None) -> None:
        self.registry = CollectorRegistry()
        self.requests = self._counter("accord_requests", "Answers asked for, by how they ended.", "model", "ended")
        self.tokens = self._counter("accord_tokens", "Tokens read and drawn.", "model", "kind")
        self.filtered = self._counter("accord_filtered", "What the filters found.", "side", "kind")
        self.scenes = self._counter(
            "accord_scenes", "Requests by scene, by what chose it, and whether others were found.", "scene", "by", "also"
        )
        self.first = self._histogram("accord_first_token_seconds", "From the request to its first token.", "model")
        self.whole = self._histogram("accord_answer_seconds", "From the request to the end of its answer.", "model")
        if state:
            self.registry.register(_Engines(state))

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, *labels: str) -> Histogram:
        return Histogram(name, text, labels, registry=self.registry, buckets=SECONDS)

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self.registry)

    async def watch(self, model: str, pieces: AsyncGenerator[Piece]) -> AsyncGenerator[Piece]:
        """Pass pieces through and count them."""
        began, ended, first = time.monotonic(), "cancelled", True
        try:
            async with aclosing(pieces):
                async for piece in pieces:
                    if first:
                        self.first.labels(model).observe(time.monotonic() - began)
                        self.tokens.labels(model, "prompt").inc(piece.prompt_tokens)
                        first = False
                    self.tokens.labels(model, "answer").inc(piece.count)
                    ended = piece.finish or ended
                    yield piece
        except RefusedRequest as error:
            ended = error.code
            raise
        finally:
            known = model if ended != "model_not_found" else "unknown"
            self.requests.labels(known, ended).inc()
            self.whole.labels(known).observe(time.monotonic() - began)


class _Engines(Collector):
    def __init__(self, state: State) -> None:
        self.state = state

    def collect(self) -> Iterable[Metric]:
        words = {
            "running": "Requests that are being answered.",
            "waiting": "Requests that wait for a place.",
            "reused": "Prompt tokens that did not have to be read again.",
        }
        families = {kind: GaugeMetricFamily(f"accord_{kind}", text, labels=["model"]) for kind, text in words.items()}
        for model, counts in self.state().items():
            for kind, value in counts.items():
                families[kind].add_metric([model], value)
        return families.values()
