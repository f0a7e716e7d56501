"""Continuous batching: requests join and leave a running batch, which draws one token per step for every request in it.

A request's text depends only on its prompt, sampling settings and seed, not on the other requests. It draws from random
numbers of its own, every product has the same shape for one row as for many (``FLOOR``), and attention is summed over the
same positions. Prompts are read in chunks of ``CHUNK`` tokens beside the running batch, so that a long prompt delays nobody,
and chunks that were read before are reused.
"""

from __future__ import annotations

import itertools
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from accord.engine.cache_slots import Slots, Window, rounded
from accord.engine.prefixes import Prefixes
from accord.engine.sampling import draw, shape_logits
from accord.models.decoder import fuse, hidden, is_llama_shaped, llama_hidden, rotary
from accord.models.heads import head_of
from accord.models.paths import is_plain
from accord.models.plain import Reading, reading
from accord.models.plain_head import PlainHead
from accord.records import Sampling

Finish = Literal["", "stop", "length"]
CHUNK = 32
"""Prompt tokens of one request that are read in a step."""
READERS = 16
"""Requests whose prompts are read in parallel."""
FLOOR = 16
"""The number of rows in a product is rounded up to a multiple of this."""


@dataclass(frozen=True, slots=True)
class Request:
    """One generation request. ``sampling.max_tokens`` or the model's context ends it."""

    prompt: tuple[int, ...]
    sampling: Sampling
    seed: int
    logprobs: int | None = None
    """How many of the likeliest tokens to report with each drawn one; None reports no log-probabilities at all."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """One drawn token of a request. Log-probabilities are the model's own, before any temperature or filter, in nats."""

    ticket: int
    token: int
    finish: Finish
    logprob: float = 0.0
    likeliest: tuple[tuple[int, float], ...] = ()


@dataclass(slots=True)
class _Row:
    """The state of one request inside the engine."""

    ticket: int
    request: Request
    chance: random.Random
    tokens: list[int] = field(default_factory=list[int])
    filled: int = 0
    """Tokens whose keys and values are in the slot."""
    seen: Tensor | None = None
    reading: Reading | None = None
    """What has been read of it on the plain path; then it has no slot."""


class BatchEngine:
    """An engine that draws for many requests at once. Not thread-safe: one thread submits, cancels and steps.

    Args:
        model: a causal language model as ``models.folders`` opens it.
        stop: token ids that end a response.
        context: longest prompt and response together, in tokens.
        slots: largest number of requests that run at once; others wait.
        remembered: tokens of prompts whose keys and values are kept for later requests; 0 keeps none.
    """

    def __init__(
        self, model: Any, *, stop: Sequence[int], dtype: torch.dtype, context: int, slots: int = 64, remembered: int = 16_384
    ) -> None:
        self.network, self.stop, self.context, self.most = _Network(model, dtype), frozenset(stop), context, slots
        self.waiting: deque[_Row] = deque()
        self.reading: list[_Row] = []
        self.running: list[_Row] = []
        self._read, self._run = Slots(), Slots()
        self.prefixes = Prefixes(CHUNK, remembered)
        self.reused = 0
        """Prompt tokens that were found in the prefix cache and not computed again."""
        self._tickets = itertools.count()

    def submit(self, request: Request) -> int:
        """Queue a request and return its ticket, under which ``step`` returns its tokens.

        Raises:
            ValueError: the prompt is empty or leaves no room in the context.
        """
        if not 0 < len(request.prompt) < self.context:
            raise ValueError(f"the prompt has {len(request.prompt)} tokens, but the context holds {self.context}")
        row = _Row(next(self._tickets), request, random.Random(request.seed), list(request.prompt))
        self.waiting.append(row)
        return row.ticket

    @torch.inference_mode()
    def cancel(self, ticket: int) -> None:
        """Drop a request in any state. Its slot is free for the next step. An unknown ticket has no effect."""
        self.waiting = deque(row for row in self.waiting if row.ticket != ticket)
        for rows, slots in ((self.reading, self._read), (self.running, self._run)):
            for slot, row in enumerate(rows):
                if row.ticket == ticket:
                    if self.network.plain:
                        rows.pop(slot)
                    else:
                        _leave(rows, slots, slot)
                    return

    @property
    def busy(self) -> bool:
        """Whether there is a request to work on."""
        return bool(self.waiting or self.reading or self.running)

    @property
    def count(self) -> int:
        """Number of requests in the engine, waiting ones included."""
        return len(self.waiting) + len(self.reading) + len(self.running)

    @torch.inference_mode()
    def step(self) -> list[Drawn]:
        """Read a chunk of the waiting prompts, draw one token for every running request, and return the drawn tokens."""
        if self.network.plain:
            with torch.inference_mode(False), torch.no_grad():  # other architectures may keep what they compute
                return self._step_plain()
        self._admit()
        drawn = self._read_chunk() if self.reading else []
        return drawn + self._decode() if self.running else drawn

    def _step_plain(self) -> list[Drawn]:
        """Read one waiting prompt as a whole, and one token of every running request, each by itself."""
        states = [self.network.next_state(row) for row in self.running]
        if self.waiting and len(self.running) < self.most:
            row = self.waiting.popleft()
            self._note_seen(row)
            states.append(self.network.next_state(row))
            self.running.append(row)
        if not states:
            return []
        drawn = self._draw(self.running, torch.cat([self.network.logits(state) for state in states]))
        self.running = [row for row, token in zip(self.running, drawn, strict=True) if not token.finish]
        return drawn

    def _note_seen(self, row: _Row) -> None:
        if row.request.sampling.repetition_penalty != 1.0:
            seen = torch.zeros(self.network.vocabulary, dtype=torch.bool).index_fill_(0, torch.tensor(row.tokens), True)
            row.seen = seen.to(self.network.device)

    def _admit(self) -> None:
        while self.waiting and len(self.reading) < READERS and len(self.reading) + len(self.running) < self.most:
            row = self.waiting.popleft()
            slot = len(self.reading)
            self._read.reserve(rounded(slot + 1, FLOOR), rounded(len(row.tokens), CHUNK))
            self.reading.append(row)
            self._read.count += 1
            row.filled = self.prefixes.restore(row.tokens, self._read, slot)
            self.reused += row.filled
            self._note_seen(row)

    def _read_chunk(self) -> list[Drawn]:
        """Read the next chunk of every prompt in progress. Prompts that end in it join the running batch with
        their first token."""
        chunks = [row.tokens[row.filled : row.filled + CHUNK] for row in self.reading]
        padded = [chunk + [0] * (CHUNK - len(chunk)) for chunk in chunks]
        starts = [row.filled for row in self.reading]
        self._read.reserve(0, max(starts) + CHUNK)
        states = self.network.states(padded, starts, self._read)
        for row, chunk in zip(self.reading, chunks, strict=True):
            row.filled += len(chunk)
        done = [slot for slot, row in enumerate(self.reading) if row.filled == len(row.tokens)]
        if not done:
            return []
        last = torch.tensor([slot * CHUNK + len(chunks[slot]) - 1 for slot in done], device=states.device)
        logits = self.network.logits(states.index_select(0, last))
        rows = [self.reading[slot] for slot in done]
        drawn = self._draw(rows, logits)
        ended = {token.ticket for token in drawn if token.finish}
        for slot in reversed(done):
            row = self.reading[slot]
            self.prefixes.keep(row.request.prompt, self._read, slot)
            if row.ticket not in ended:
                self._join(row, slot)
            _leave(self.reading, self._read, slot)
        return drawn

    def _join(self, row: _Row, slot: int) -> None:
        longest = min(len(row.request.prompt) + row.request.sampling.max_tokens, self.context)
        rows = len(self.running) + 1
        if rows > self._run.rows:
            rows = min(2 * rows, self.most)
        self._run.reserve(rounded(rows, FLOOR), longest)
        self._run.take(self._read, slot, row.filled)
        self.running.append(row)

    def _decode(self) -> list[Drawn]:
        idle = rounded(len(self.running), FLOOR) - len(self.running)
        tokens = [[row.tokens[-1]] for row in self.running] + [[0]] * idle
        starts = [row.filled for row in self.running] + [0] * idle
        states = self.network.states(tokens, starts, self._run)
        logits = self.network.logits(states)[: len(self.running)]
        for row in self.running:
            row.filled += 1
        drawn = self._draw(self.running, logits)
        for slot in reversed([slot for slot, token in enumerate(drawn) if token.finish]):
            self.prefixes.keep(self.running[slot].tokens[: self.running[slot].filled], self._run, slot)
            _leave(self.running, self._run, slot)
        return drawn

    def _draw(self, rows: list[_Row], logits: Tensor) -> list[Drawn]:
        """Return the next token of each row. Rows with the same sampling settings are drawn together."""
        groups: dict[tuple[float, ...], list[int]] = {}
        for index, row in enumerate(rows):
            s = row.request.sampling
            groups.setdefault((s.temperature, s.top_k, s.top_p, s.repetition_penalty, s.min_p), []).append(index)
        chosen = [0] * len(rows)
        for indices in groups.values():
            picked = _pick([rows[index] for index in indices], logits if len(groups) == 1 else logits[indices])
            for index, token in zip(indices, picked, strict=True):
                chosen[index] = token
        told = _told(rows, logits, chosen)
        return [self._noted(row, token, told.get(index)) for index, (row, token) in enumerate(zip(rows, chosen, strict=True))]

    def _noted(self, row: _Row, token: int, told: tuple[float, tuple[tuple[int, float], ...]] | None) -> Drawn:
        row.tokens.append(token)
        if row.seen is not None:
            row.seen[token] = True
        made = len(row.tokens) - len(row.request.prompt)
        full = made >= row.request.sampling.max_tokens or len(row.tokens) >= self.context
        finish: Finish = "stop" if token in self.stop else "length" if full else ""
        return Drawn(row.ticket, token, finish, *(told or (0.0, ())))


def _leave(rows: list[_Row], slots: Slots, slot: int) -> None:
    slots.remove(slot)
    rows[slot] = rows[-1]
    rows.pop()


def _pick(rows: list[_Row], logits: Tensor) -> list[int]:
    sampling = rows[0].request.sampling
    seen = torch.stack([row.seen for row in rows if row.seen is not None]) if sampling.repetition_penalty != 1.0 else None
    uniform = torch.tensor([row.chance.random() for row in rows], device=logits.device) if sampling.temperature > 0 else None
    return draw(shape_logits(logits, sampling, seen), uniform)[0].tolist()


def _told(rows: list[_Row], logits: Tensor, chosen: list[int]) -> dict[int, tuple[float, tuple[tuple[int, float], ...]]]:
    """Return the log-probabilities of the chosen token and of the likeliest ones, for the rows that ask for them."""
    asking = [index for index, row in enumerate(rows) if row.request.logprobs is not None]
    told = dict[int, tuple[float, tuple[tuple[int, float], ...]]]()
    for index in asking:
        logprobs = logits[index].log_softmax(-1)
        top = logprobs.topk(min(rows[index].request.logprobs or 0, len(logprobs)))
        ids: list[int] = top.indices.tolist()
        values: list[float] = top.values.tolist()
        told[index] = float(logprobs[chosen[index]]), tuple(zip(ids, values, strict=True))
    return told


class _Network:
    """A model's forward pass over new tokens of several slots, with its weights cast and fused once."""

    def __init__(self, model: Any, dtype: torch.dtype) -> None:
        self.body, self.dtype, self.plain = model.base_model, dtype, is_plain(model.base_model)
        self.vocabulary, self.device = model.get_output_embeddings().weight.shape[0], model.device
        self.own_head = PlainHead(model) if self.plain else None
        if not self.plain:
            with torch.inference_mode():
                self.head = head_of(model).to(dtype)
                self.weights = fuse(self.body, dtype) if is_llama_shaped(self.body) else None
        self.limit = int(getattr(model.config, "max_position_embeddings", 0) or 0)
        self._rotations = torch.empty(0)

    def states(self, tokens: list[list[int]], starts: list[int], slots: Slots) -> Tensor:
        """Return the final states [rows * steps, width] of tokens [rows, steps], which follow the ``starts``
        tokens of the first slots."""
        steps, flat = len(tokens[0]), torch.tensor(tokens, device=self.device).flatten()
        filled = torch.tensor(starts, device=self.device)
        positions = (filled[:, None] + torch.arange(steps, device=self.device)).flatten()
        attend = Window(slots, filled, max(starts), steps)
        if self.weights is None:
            capped = positions.clamp(max=self.limit - 1) if self.limit else positions
            return hidden(self.body, flat, capped, attend, self.dtype)
        if len(self._rotations) < slots.positions:
            self._rotations = rotary(self.body, torch.arange(slots.positions, device=self.device))
        return llama_hidden(self.weights, flat, self._rotations.index_select(0, positions), attend)

    def next_state(self, row: _Row) -> Tensor:
        """Return the state [1, width] after a row's last token, on the plain path. The row is read alone."""
        if row.reading is None:
            row.reading = reading(self.body, [row.tokens], self.dtype)
            return row.reading.states
        return row.reading.step(torch.tensor(row.tokens[-1:], device=self.device))

    def logits(self, states: Tensor) -> Tensor:
        """Return logits [rows, vocabulary] in float32. The products have the same shape for few rows as for many."""
        if self.own_head:
            return self.own_head(states, self.dtype)
        rows = len(states)
        states = F.pad(states, (0, 0, 0, rounded(rows, FLOOR) - rows))
        return self.head.logits(states)[:rows]
