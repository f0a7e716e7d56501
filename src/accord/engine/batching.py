"""Continuous batching: requests join and leave a running batch, which draws one token at a time for every request in it.

A request's text depends only on its prompt, sampling settings and seed, not on the other requests. It draws from random
numbers of its own, every product has the same shape for one row as for many (``FLOOR``), and attention is summed over the
same positions. Prompts are read in chunks of ``CHUNK`` tokens beside the running batch, so that a long prompt delays nobody,
and chunks that were read before are reused.

Tokens stay on the device until the host looks at them: after every one on a CPU, else after ``LOOK_EVERY``, so that the host never
waits in between. What a request draws after its own end, until the host has seen that end, is dropped.
"""

from __future__ import annotations

import itertools
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from accord.engine.adjustments import Adjustment
from accord.engine.cache import held_dtype
from accord.engine.cache_slots import Slots, Window, rounded
from accord.engine.grammar import Guide
from accord.engine.prefixes import Prefixes
from accord.engine.sampling import draw, look_every, shape_logits
from accord.models.decoder import Product, as_it_is, fuse, hidden, is_llama_shaped, llama_hidden, rotary, rotary_order
from accord.models.heads import action_logits, restricted
from accord.models.paths import is_plain
from accord.models.plain import Reading, reading
from accord.models.plain_head import PlainHead
from accord.models.row_adapters import NONE, AdapterBank, RankedProduct, RowAdapter
from accord.records import Sampling
from accord.runtime.device import on_device
from accord.runtime.pictures import words_of

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
    as_drawn: bool = False
    """Report each token's log-probability under the distribution that it was drawn from instead: after temperature and filters."""
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    """Token ids with what is added to their logits."""
    guide: Guide | None = None
    """Follows this request's answer through a grammar that it must fit."""
    adapter: str = ""
    """Name of the adapter that answers, of those that the engine has (``BatchEngine.adapt``); empty asks the model as it is."""
    stop: frozenset[int] | None = None
    """Token ids that end the response; None takes the engine's."""

    @property
    def adjusted(self) -> bool:
        """Whether its logits are changed before temperature and filters."""
        return bool(self.frequency_penalty or self.presence_penalty or self.logit_bias)


@dataclass(frozen=True, slots=True)
class Drawn:
    """One drawn token of a request. Log-probabilities are the model's own, before any temperature or filter, in nats, unless the request
    asks for them as drawn."""

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
    end: int
    """Tokens of prompt and response together at which the length limit or the context ends it."""
    tokens: list[int] = field(default_factory=list[int])
    """Those that the host has seen."""
    length: int = 0
    """Tokens with those that the host has not seen yet, up to the end."""
    filled: int = 0
    """Tokens whose keys and values are in the slot."""
    latest: tuple[Tensor, int] | None = None
    """The tokens of the last draw on the device, and the place of this request's among them."""
    finish: Finish = ""
    seen: Tensor | None = None
    adjustment: Adjustment | None = None
    reading: Reading | None = None
    """What has been read of it on the plain path; then it has no slot."""
    adapter: int = NONE
    """The number of its adapter."""

    @property
    def full(self) -> bool:
        """Whether it ends here whatever its tokens are."""
        return self.length >= self.end


@dataclass(frozen=True, slots=True)
class _Draw:
    """Tokens of one draw that the host has not seen yet."""

    rows: list[_Row]
    tokens: Int[Tensor, " rows"]
    told: dict[int, Int[Tensor, " numbers"]]
    """By place, for the rows that ask: the ids of the likeliest tokens, their log-probabilities and the drawn token's, as integers."""


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
        held = held_dtype(self.network.device, dtype)
        self._read, self._run = Slots(held), Slots(held)
        self.prefixes = Prefixes(CHUNK, remembered)
        self.reused = 0
        """Prompt tokens that were found in the prefix cache and not computed again."""
        self._tickets = itertools.count()
        self._look_every = look_every(self.network.device)
        self._drawn: list[_Draw] = []

    def submit(self, request: Request) -> int:
        """Queue a request and return its ticket, under which ``step`` returns its tokens.

        Raises:
            ValueError: the prompt is empty or leaves no room in the context, or there is no such adapter.
        """
        if not 0 < len(request.prompt) < self.context:
            raise ValueError(f"the prompt has {len(request.prompt)} tokens, but the context holds {self.context}")
        end = min(len(request.prompt) + max(request.sampling.max_tokens, 1), self.context)
        row = _Row(next(self._tickets), request, random.Random(request.seed), end, list(request.prompt), len(request.prompt))
        row.adapter = self.network.bank.number(request.adapter)
        self.waiting.append(row)
        return row.ticket

    def adapt(self, name: str, adapter: RowAdapter) -> None:
        """Let requests ask for an adapter over the model by this name, beside those that ask for another or for none."""
        self.network.adapt(name, adapter)

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
        """Read a chunk of the waiting prompts, draw a token for every running request, and return the drawn tokens.

        Where the host would wait for the device it does so ``LOOK_EVERY`` times before it returns.
        """
        if self.network.plain:
            with torch.inference_mode(False), torch.no_grad():  # other architectures may keep what they compute
                return self._go(self._turn_plain)
        return self._go(self._turn)

    def _go(self, turn: Callable[[], None]) -> list[Drawn]:
        for _ in range(self._look_every):
            turn()
            if not (self.waiting or self.reading) and all(row.full for row in self.running):
                break
        return self._look()

    def _turn(self) -> None:
        self._admit()
        if self.reading:
            self._read_chunk()
        if self.running:
            self._decode()

    def _turn_plain(self) -> None:
        """Read one waiting prompt as a whole, and one token of every running request, each by itself."""
        states = [self.network.next_state(row) for row in self.running]
        if self.waiting and len(self.running) < self.most:
            row = self.waiting.popleft()
            self._note_seen(row)
            states.append(self.network.next_state(row))
            self.running.append(row)
        if not states:
            return
        self._draw(self.running, torch.cat([self.network.logits(state) for state in states]))
        self.running = [row for row in self.running if not row.full]

    def _note_seen(self, row: _Row) -> None:
        if row.request.sampling.repetition_penalty != 1.0:
            seen = torch.zeros(self.network.vocabulary, dtype=torch.bool).index_fill_(0, torch.tensor(words_of(row.tokens)), True)
            row.seen = seen.to(self.network.device)
        asked = row.request
        if asked.adjusted:
            how = {"frequency": asked.frequency_penalty, "presence": asked.presence_penalty}
            row.adjustment = Adjustment(self.network.vocabulary, self.network.device, **how, bias=asked.logit_bias)

    def _admit(self) -> None:
        while self.waiting and len(self.reading) < READERS and len(self.reading) + len(self.running) < self.most:
            row = self.waiting.popleft()
            slot = len(self.reading)
            self._read.reserve(rounded(slot + 1, FLOOR), rounded(len(row.tokens), CHUNK))
            self.reading.append(row)
            self._read.count += 1
            row.filled = self.prefixes.restore(row.tokens, self._read, slot, row.request.adapter)
            self.reused += row.filled
            self._note_seen(row)

    def _read_chunk(self) -> None:
        """Read the next chunk of every prompt in progress. Prompts that end in it join the running batch with
        their first token."""
        chunks = [row.tokens[row.filled : row.filled + CHUNK] for row in self.reading]
        padded: list[int] = []
        for chunk in chunks:
            padded += chunk + [0] * (CHUNK - len(chunk))
        starts = [row.filled for row in self.reading]
        self._read.reserve(0, max(starts) + CHUNK)
        self.network.bank.choose([row.adapter for row in self.reading], CHUNK)
        states = self.network.states(on_device(padded, self.network.device), starts, self._read)
        for row, chunk in zip(self.reading, chunks, strict=True):
            row.filled += len(chunk)
        done = [slot for slot, row in enumerate(self.reading) if row.filled == len(row.tokens)]
        if not done:
            return
        last = on_device([slot * CHUNK + len(chunks[slot]) - 1 for slot in done], self.network.device)
        self._draw([self.reading[slot] for slot in done], self.network.logits(states.index_select(0, last)))
        for slot in reversed(done):
            row = self.reading[slot]
            self.prefixes.keep(row.request.prompt, self._read, slot, row.request.adapter)
            if not row.full:
                self._join(row, slot)
            _leave(self.reading, self._read, slot)

    def _join(self, row: _Row, slot: int) -> None:
        rows = len(self.running) + 1
        if rows > self._run.rows:
            rows = min(2 * rows, self.most)
        self._run.reserve(rounded(rows, FLOOR), row.end)
        self._run.take(self._read, slot, row.filled)
        self.running.append(row)

    def _decode(self) -> None:
        idle = rounded(len(self.running), FLOOR) - len(self.running)
        starts = [row.filled for row in self.running] + [0] * idle
        self.network.bank.choose([row.adapter for row in self.running] + [NONE] * idle)
        states = self.network.states(F.pad(_latest(self.running), (0, idle)), starts, self._run)
        for row in self.running:
            row.filled += not row.full  # a row that has no room left writes to its last position again
        self._draw(self.running, self.network.logits(states)[: len(self.running)])

    def _draw(self, rows: Sequence[_Row], logits: Tensor) -> None:
        """Draw the next token of each row, for the host to look at later. Rows with the same sampling settings are drawn together."""
        said, logits = logits, _guided(rows, _adjusted(rows, logits))
        groups: dict[tuple[float, ...], list[int]] = {}
        for index, row in enumerate(rows):
            s = row.request.sampling
            groups.setdefault((s.temperature, s.top_k, s.top_p, s.repetition_penalty, s.min_p), []).append(index)
        if len(groups) == 1:
            chosen, logprobs = _pick(rows, logits)
        else:
            chosen = torch.zeros(len(rows), dtype=torch.long, device=logits.device)
            logprobs = torch.zeros(len(rows), device=logits.device)
            for indices in groups.values():
                at = on_device(indices, logits.device)
                some, theirs = _pick([rows[index] for index in indices], logits.index_select(0, at))
                chosen.index_copy_(0, at, some)
                logprobs.index_copy_(0, at, theirs)
        for index, row in enumerate(rows):
            row.latest, row.length = (chosen, index), min(row.length + 1, row.end)
            if row.seen is not None:
                row.seen.index_fill_(0, chosen[index : index + 1], True)
            if row.adjustment is not None:
                row.adjustment.note(chosen[index : index + 1])
            if row.request.guide is not None and not row.request.guide.ended:
                row.request.guide.take(int(chosen[index]))  # here the host waits: the next mask follows from this token
        asking = [index for index, row in enumerate(rows) if row.request.logprobs is not None]
        packed = {index: told(said[index], chosen[index : index + 1], rows[index].request.logprobs or 0) for index in asking}
        as_drawn = logprobs.float().view(torch.int32)  # by their bits, as `told` packs them
        packed |= {index: as_drawn[index : index + 1] for index, row in enumerate(rows) if row.request.as_drawn}
        self._drawn.append(_Draw(list(rows), chosen, packed))

    def _look(self) -> list[Drawn]:
        """Bring what was drawn to the host, all at once, and let the requests that have ended leave."""
        if not self._drawn:
            return []
        numbers: list[Tensor] = []
        for each in self._drawn:
            numbers += [each.tokens.int(), *each.told.values()]
        parts = iter(torch.split(torch.cat(numbers).cpu(), [len(part) for part in numbers]))
        came: list[Drawn] = []
        for each in self._drawn:
            tokens: list[int] = next(parts).tolist()
            told = {index: heard(next(parts)) for index in each.told}
            for index, (row, token) in enumerate(zip(each.rows, tokens, strict=True)):
                if not row.finish:
                    came.append(self._noted(row, token, told.get(index)))
        self._drawn = []
        for slot in reversed([slot for slot, row in enumerate(self.running) if row.finish]):
            row = self.running[slot]
            if self.network.plain:
                self.running.pop(slot)
                continue
            self.prefixes.keep(row.tokens[:-1], self._run, slot, row.request.adapter)
            _leave(self.running, self._run, slot)
        return came

    def _noted(self, row: _Row, token: int, told: tuple[float, tuple[tuple[int, float], ...]] | None) -> Drawn:
        row.tokens.append(token)
        stop = self.stop if row.request.stop is None else row.request.stop
        row.finish = "stop" if token in stop else "length" if len(row.tokens) >= row.end else ""
        return Drawn(row.ticket, token, row.finish, *(told or (0.0, ())))


def _latest(rows: Sequence[_Row]) -> Int[Tensor, " rows"]:
    """Return the last token of each row, from where it was drawn."""
    drawn = [row.latest for row in rows if row.latest]
    whole = drawn[0][0]
    if len(whole) == len(drawn) and all(tokens is whole and place == index for index, (tokens, place) in enumerate(drawn)):
        return whole
    return torch.stack([tokens[place] for tokens, place in drawn])


def _leave(rows: list[_Row], slots: Slots, slot: int) -> None:
    slots.remove(slot)
    rows[slot] = rows[-1]
    rows.pop()


def _adjusted(rows: Sequence[_Row], logits: Tensor) -> Tensor:
    """Return the logits with the changes of the rows that ask for some; the other rows keep theirs, bit for bit."""
    changes = [(index, row.adjustment(logits[index])) for index, row in enumerate(rows) if row.adjustment is not None]
    if not changes:
        return logits
    at = on_device([index for index, _ in changes], logits.device)
    return logits.index_copy(0, at, torch.stack([changed for _, changed in changes]))


def _guided(rows: Sequence[_Row], logits: Tensor) -> Tensor:
    """Return the logits without the tokens that do not fit a row's grammar; the other rows keep theirs, bit for bit."""
    guides = {index: row.request.guide for index, row in enumerate(rows) if row.request.guide is not None}
    masks = {index: guide.allowed() for index, guide in guides.items() if not guide.ended}
    if not masks:
        return logits
    at = on_device(list(masks), logits.device)
    allowed = torch.stack(list(masks.values())).to(logits.device, non_blocking=True)
    return logits.index_copy(0, at, logits.index_select(0, at).masked_fill(~allowed, -torch.inf))


def _pick(rows: Sequence[_Row], logits: Tensor) -> tuple[Int[Tensor, " rows"], Float[Tensor, " rows"]]:
    sampling = rows[0].request.sampling
    seen = torch.stack([row.seen for row in rows if row.seen is not None]) if sampling.repetition_penalty != 1.0 else None
    uniform = on_device([row.chance.random() for row in rows], logits.device) if sampling.temperature > 0 else None
    return draw(shape_logits(logits, sampling, seen), uniform)


def told(logits: Tensor, chosen: Int[Tensor, " 1"], most: int) -> Int[Tensor, " numbers"]:
    """Return the ids of the likeliest tokens, their log-probabilities and the chosen one's, the latter by their bits."""
    logprobs = logits.log_softmax(-1)
    top = logprobs.topk(min(most, len(logprobs)))
    return torch.cat([top.indices.int(), torch.cat([top.values, logprobs.index_select(0, chosen)]).view(torch.int32)])


def heard(numbers: Int[Tensor, " numbers"]) -> tuple[float, tuple[tuple[int, float], ...]]:
    """Return what ``told`` packed: the chosen token's log-probability, and the likeliest tokens with theirs."""
    count = len(numbers) // 2
    ids: list[int] = numbers[:count].tolist()
    values: list[float] = numbers[count:].view(torch.float32).tolist()
    return values[-1], tuple(zip(ids, values[:-1], strict=True))


class _Network:
    """A model's forward pass over new tokens of several slots, with its weights cast and fused once."""

    def __init__(self, model: Any, dtype: torch.dtype) -> None:
        self.body, self.dtype, self.plain = model.base_model, dtype, is_plain(model.base_model)
        self.bank = AdapterBank(model, dtype)
        self.vocabulary, self.device = model.get_output_embeddings().weight.shape[0], model.device
        self.own_head, self.model = PlainHead(model) if self.plain else None, model
        if not self.plain:
            with torch.inference_mode():
                self.head = restricted(model).to(dtype)
                self.weights = fuse(self.body, dtype) if is_llama_shaped(self.body) else None
        self.limit = int(getattr(model.config, "max_position_embeddings", 0) or 0)
        self._rotations = torch.empty(0)
        self._adapted: dict[tuple[int, Product], RankedProduct] = {}

    def adapt(self, name: str, adapter: RowAdapter) -> None:
        """Take an adapter. Where the layers are called it is added by them, else to the fused products."""
        self.bank.add(name, adapter)
        if self.plain or self.weights is None:
            self.bank.hook()
            return
        names: dict[int, str] = {id(module): name for name, module in self.bank.model.named_modules()}
        order = rotary_order(self.weights, self.device)
        with torch.inference_mode():
            for index, block in enumerate(self.body.layers):
                attention, mlp = block.self_attn, block.mlp
                parts: dict[Product, tuple[Any, ...]] = {
                    "qkv": (attention.q_proj, attention.k_proj, attention.v_proj),
                    "out": (attention.o_proj,),
                    "gate_up": (mlp.gate_proj, mlp.up_proj),
                    "down": (mlp.down_proj,),
                }
                for which, modules in parts.items():
                    fused = self.bank.fused([names[id(module)] for module in modules], order if which == "qkv" else None)
                    if fused is not None:
                        self._adapted[index, which] = fused

    def _adapt(self, index: int, which: Product, states: Tensor, out: Tensor) -> Tensor:
        """Return a product with what the rows' adapters add to it."""
        ranked = self._adapted.get((index, which))
        return out if ranked is None else out + self.bank.through(ranked, states)

    def states(self, flat: Int[Tensor, " tokens"], starts: list[int], slots: Slots) -> Tensor:
        """Return the final states [tokens, width] of equally many tokens of each row, which follow the ``starts``
        tokens of the first slots."""
        steps, filled = len(flat) // len(starts), on_device(starts, self.device)
        positions = (filled[:, None] + torch.arange(steps, device=self.device)).flatten()
        attend = Window(slots, filled, max(starts), steps)
        if self.weights is None:
            capped = positions.clamp(max=self.limit - 1) if self.limit else positions
            return hidden(self.body, flat, capped, attend, self.dtype)
        if len(self._rotations) < slots.positions:
            self._rotations = rotary(self.body, torch.arange(slots.positions, device=self.device))
        adapt = as_it_is if self.bank.idle else self._adapt
        return llama_hidden(self.weights, flat, self._rotations.index_select(0, positions), attend, adapt)

    def next_state(self, row: _Row) -> Tensor:
        """Return the state [1, width] after a row's last token, on the plain path. The row is read alone."""
        self.bank.choose([row.adapter])
        if row.reading is None:
            row.reading = reading(self.body, [row.tokens], self.dtype)
            return row.reading.states
        return row.reading.step(_latest([row]))

    def logits(self, states: Tensor) -> Tensor:
        """Return logits [rows, vocabulary] in float32. The products have the same shape for few rows as for many."""
        if self.own_head:
            return action_logits(self.model, self.own_head(states, self.dtype))
        rows = len(states)
        states = F.pad(states, (0, 0, 0, rounded(rows, FLOOR) - rows))
        return self.head.logits(states)[:rows]
