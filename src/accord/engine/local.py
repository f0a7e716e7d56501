"""The local rollout engine: prompts are prefilled once for their n responses, finished rows leave the batch.

The random numbers for every (row, step) are drawn beforehand, so a row's response does not depend on which
other rows are still running. Log-probabilities are recorded while sampling, from the same logits that the
tokens are drawn from.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any, Protocol, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

from accord.engine.cache import Cache, Decode, Prefill, held_dtype, kv_bytes
from accord.engine.sampling import draw, look_every, shape_logits
from accord.engine.turns import TurnEngine
from accord.errors import InputError
from accord.models.attention import Attend
from accord.models.decoder import Weights, context_of, fuse, hidden, is_llama_shaped, llama_hidden, rotary
from accord.models.heads import Head, action_logits, restricted
from accord.models.memory import CACHE_BYTES
from accord.models.paths import is_plain
from accord.models.plain import Reading, reading
from accord.models.plain_head import PlainHead
from accord.models.sharding import gathered
from accord.records import Generation, Sampling
from accord.runtime import ranks
from accord.runtime.pictures import words_of

COMPACT_AT = 0.75
"""Compact the batch when fewer than this share of its rows still run. Copying the cache costs about two steps."""

SMALL_PRODUCT = 2**22
"""Below this size (see ``_dtype``) a CPU computes a product faster in float32 than in bfloat16."""


class Guide(Protocol):
    """A hook on the logits: it reads the rows of one batch along and returns a term to add before a token is drawn."""

    def start(self, prompts: Sequence[Sequence[int]], n: int, steps: int, dtype: torch.dtype) -> Tensor:
        """Return the term to add to the first logits [rows, vocabulary] of the n responses to each prompt."""
        ...

    def step(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """Return the term to add next, after the rows drew these tokens."""
        ...

    def keep(self, rows: Tensor) -> None:
        """Keep these rows, named on the CPU; all others are finished."""
        ...


class LocalSampler:
    """Sampler that draws from a causal LM in this process. ``stop`` holds the token ids that end a response.

    A model that was opened with a ``guide`` (see ``engine.guided``) is sampled under it.

    Args:
        keep: whether the cast copy of the weights stays for the next call. A training loop has no use for it and needs the memory.
        cache_bytes: the most that keys and values may take; rows that would need more are drawn in waves, one after the other.
        divides: whether several processes, all of which ask for the same rows, divide them. Otherwise each draws what it is asked for.
    """

    def __init__(
        self,
        model: Any,
        *,
        stop: Sequence[int],
        dtype: torch.dtype,
        keep: bool = True,
        cache_bytes: int = CACHE_BYTES,
        divides: bool = False,
    ) -> None:
        self.keep, self.cache_bytes, self.divides = keep, cache_bytes, divides
        self.trained, self.stop, self.dtype = model, torch.tensor(list(stop), dtype=torch.long, device=model.device), dtype
        self.guide: Guide | None = getattr(model, "guide", None)
        self.context = context_of(model)
        self._rotations = torch.empty(0)
        self.refresh()

    def refresh(self) -> None:
        """Drop the gathered, cast and fused copies of the weights. Call it after every weight update."""
        self.model = self.trained
        self._fused: dict[torch.dtype, Weights] = {}
        self._heads: dict[torch.dtype, Head] = {}
        self._weights: Weights | None = None
        self._head = Head(torch.empty(0, 0))

    @torch.no_grad()
    def sample(self, prompts: Sequence[Sequence[int]], *, n: int, sampling: Sampling, generator: torch.Generator) -> Generation:
        """Draw n responses for each prompt; see ``protocols.Sampler``. The model's context bounds a response as its length limit does.

        Processes that divide the prompts take their columns of one table of random numbers, so that a row's do not depend on how many
        processes there are, and all return all rows.

        Raises:
            InputError: a prompt leaves no room for a response in the context.
        """
        room = self._room(prompts, sampling.limit(self.context))
        self.model = gathered(self.model)
        rows, steps, device = len(prompts) * n, max(room, default=0), self.stop.device
        uniform = torch.rand(steps, rows, generator=generator).to(device) if sampling.temperature > 0 else None
        own = self._own(prompts, n, steps)
        asked = [prompts[i] for i in own]
        columns = torch.tensor([i * n + k for i in own for k in range(n)], dtype=torch.long, device=device)
        tokens = torch.zeros(steps, len(columns), dtype=torch.long, device=device)
        logprobs = torch.zeros(steps, len(columns), device=device)
        # Other architectures may keep what they compute. To leave inference mode out turns gradients on, so they are turned off again.
        with torch.inference_mode(is_llama_shaped(self.model.base_model)), torch.no_grad():
            seconds = {"prefill": 0.0, "decode": 0.0}
            for first, end in self._waves(asked, n, steps):
                part = slice(first * n, end * n)
                numbers = None if uniform is None else uniform[:, columns[part]]
                spent = self._fill(tokens[:, part], logprobs[:, part], asked[first:end], n, sampling, numbers)
                seconds = {name: seconds[name] + spent[name] for name in seconds}
        if not self.keep:
            self.refresh()
        drawn = time.perf_counter()
        tokens, logprobs = (self._whole(table, columns, rows).cpu() for table in (tokens, logprobs))
        seconds["decode"] += time.perf_counter() - drawn  # the host waits for a device only here
        limit = torch.tensor(room).repeat_interleave(n)
        stops = torch.isin(tokens.T, self.stop.cpu()) & (torch.arange(steps) < limit[:, None])
        finished = stops.any(1)
        length = torch.where(finished, stops.int().argmax(1) + 1, limit)
        keep = torch.arange(int(length.max())) < length[:, None]
        width = keep.shape[1]
        return Generation(tokens.T[:, :width] * keep, logprobs.T[:, :width] * keep, keep, finished, seconds)

    @torch.no_grad()
    def turns(self, rows: int, longest: int) -> TurnEngine:
        """Return an engine that draws turns of so many conversations, of the longest length in tokens, from the weights as they are."""
        self.model = gathered(self.model)
        config = self.model.config.get_text_config()
        products = 2 * config.hidden_size * int(getattr(config, "intermediate_size", 0) or config.hidden_size)
        dtype, stop = self._dtype(rows, products), cast("list[int]", self.stop.tolist())
        bounds = {"context": self.context, "rows": rows, "longest": longest, "cache_bytes": self.cache_bytes}
        engine = TurnEngine(self.model, stop=stop, dtype=dtype, **bounds)
        if not self.keep:
            self.refresh()
        return engine

    def _own(self, prompts: Sequence[Sequence[int]], n: int, steps: int) -> list[int]:
        """Return the prompts that this process draws for, by length where they need several waves: a wave is as wide as its longest."""
        own = ranks.share([len(prompt) for prompt in prompts]) if self.divides else list(range(len(prompts)))
        several = len(list(self._waves([prompts[i] for i in own], n, steps))) > 1
        return sorted(own, key=lambda i: len(prompts[i])) if several else own

    def _waves(self, prompts: Sequence[Sequence[int]], n: int, steps: int) -> Iterator[tuple[int, int]]:
        """Yield the first and the last but one prompt of each wave, whose keys and values fit into the bound; one prompt at least."""
        a_token, first = n * kv_bytes(self.model.config, held_dtype(self.stop.device, self.dtype)), 0
        for end in range(1, len(prompts) + 1):
            if end == len(prompts) or (end + 1 - first) * (max(map(len, prompts[first : end + 1])) + steps) * a_token > self.cache_bytes:
                yield first, end
                first = end

    def _whole(self, drawn: Tensor, columns: Int[Tensor, " own"], rows: int) -> Tensor:
        """Return [steps, rows] in the order in which they were asked for, those of other processes too; this one drew ``columns``."""
        whole = drawn.new_zeros(len(drawn), rows).index_copy_(1, columns, drawn)
        return ranks.summed(whole) if self.divides else whole

    def _room(self, prompts: Sequence[Sequence[int]], max_tokens: int) -> list[int]:
        """Return the longest response that each prompt leaves room for."""
        if not self.context:
            return [max_tokens] * len(prompts)
        for number, prompt in enumerate(prompts):
            if len(prompt) >= self.context:
                what = f"the prompt has {len(prompt)} tokens, the model's context {self.context}"
                raise InputError(what, where=f"prompt {number}", hint="shorten it, take it out, or use a model with a longer context")
        return [min(max_tokens, self.context - len(prompt)) for prompt in prompts]

    def _fill(
        self, tokens: Tensor, logprobs: Tensor, prompts: Sequence[Sequence[int]], n: int, sampling: Sampling, uniform: Tensor | None
    ) -> dict[str, float]:
        """Write drawn tokens and their log-probabilities into [steps, rows], some past a row's stop, and return
        the seconds spent."""
        began, (steps, rows) = time.perf_counter(), tokens.shape
        lengths = torch.tensor([len(prompt) for prompt in prompts])
        cache: Cache | Reading
        if is_plain(self.model.base_model):
            cache, logits = self._read(prompts, n)
        else:
            cache = Cache(lengths, n, steps, tokens.device, held_dtype(tokens.device, self.dtype))
            self._prepare(rows, cache.positions)
            logits = self._prefill(prompts, lengths.to(tokens.device), cache).repeat_interleave(n, 0)
        if self.guide:
            logits = logits + self.guide.start(prompts, n, steps, self.dtype)
        position = lengths.repeat_interleave(n).to(tokens.device)
        seen = self._seen(prompts, n, logits.shape[-1]) if sampling.repetition_penalty != 1.0 else None
        prefilled = time.perf_counter()

        alive, running = torch.arange(rows, device=tokens.device), torch.ones(rows, dtype=torch.bool, device=tokens.device)
        look = look_every(tokens.device)
        # Steps after which a row has no position left; it leaves the batch there, since many models cannot compute one more.
        full = {self.context - length for length in lengths.tolist()} if self.context else set[int]()
        for step in range(steps):
            shaped = shape_logits(logits, sampling, seen)
            chosen, logprob = draw(shaped, None if uniform is None else uniform[step].index_select(0, alive))
            tokens[step].index_copy_(0, alive, chosen)
            logprobs[step].index_copy_(0, alive, logprob)
            if seen is not None:
                seen.scatter_(1, chosen[:, None], True)
            running = running & (chosen[:, None] != self.stop).all(1)
            if self.context:
                running = running & (position + 1 < self.context)
            if step == steps - 1:
                break
            crowded = step + 1 in full
            looked = running.cpu() if crowded or (step + 1) % look == 0 else None
            left = len(alive) if looked is None else int(looked.sum())
            if left == 0:
                break
            if looked is not None and (crowded or left < COMPACT_AT * len(alive)):
                kept = looked.nonzero().squeeze(1)
                at = kept.to(alive.device, non_blocking=True)
                alive, running, chosen, position = alive[at], running[at], chosen[at], position[at]
                seen = None if seen is None else seen[at]
                cache.keep(kept)
                if self.guide:
                    self.guide.keep(kept)
            logits = self._decode(chosen, position, cache)
            if self.guide:
                logits = logits + self.guide.step(chosen, position)
            position = position + 1
        return {"prefill": prefilled - began, "decode": time.perf_counter() - prefilled}

    def _prepare(self, rows: int, positions: int) -> None:
        """Cast and fuse the weights in the dtype that suits a step of this many rows, unless that is done already."""
        body, head = self.model.base_model, restricted(self.model)
        dtype = self._dtype(rows, head.weight.numel())
        if dtype not in self._heads:
            self._heads[dtype] = head.to(dtype)
        self._head = self._heads[dtype]
        self._weights = None
        if is_llama_shaped(body):
            dtype = self._dtype(rows, 2 * body.config.hidden_size * body.config.intermediate_size)
            if dtype not in self._fused:
                self._fused[dtype] = fuse(body, dtype)
            self._weights = self._fused[dtype]
            self._rotations = rotary(body, torch.arange(positions, device=self.stop.device))

    def _dtype(self, rows: int, weights: int) -> torch.dtype:
        """Return the faster dtype. bfloat16 reads half the bytes and multiplies twice as fast, but setting up a
        product takes about 20 us."""
        small = (rows + 20) * weights < SMALL_PRODUCT and self.dtype is torch.bfloat16 and self.model.device.type == "cpu"
        return torch.float32 if small else self.dtype

    def _prefill(
        self, prompts: Sequence[Sequence[int]], lengths: Int[Tensor, " prompts"], cache: Cache
    ) -> Float[Tensor, "prompts vocabulary"]:
        flat = torch.tensor([token for prompt in prompts for token in prompt], device=lengths.device)
        starts = (lengths.cumsum(0) - lengths).repeat_interleave(lengths, output_size=len(flat))
        positions = torch.arange(len(flat), device=lengths.device) - starts
        return self._logits(self._hidden(flat, positions, Prefill(cache), lengths.cumsum(0) - 1))

    def _read(self, prompts: Sequence[Sequence[int]], n: int) -> tuple[Reading, Float[Tensor, "rows vocabulary"]]:
        """Read the prompts on the plain path, and prepare for n responses to each."""
        began = reading(self.model.base_model, prompts, self.dtype)
        began.keep(torch.arange(len(prompts)).repeat_interleave(n))
        return began, action_logits(self.model, PlainHead(self.model)(began.states, self.dtype))

    def _decode(
        self, tokens: Int[Tensor, " rows"], positions: Int[Tensor, " rows"], cache: Cache | Reading
    ) -> Float[Tensor, "rows vocabulary"]:
        if isinstance(cache, Reading):
            return action_logits(self.model, PlainHead(self.model)(cache.step(tokens), self.dtype))
        states = self._hidden(tokens, positions, Decode(cache))
        cache.clock += 1
        return self._logits(states)

    def _hidden(self, tokens: Tensor, positions: Tensor, attend: Attend, at: Tensor | None = None) -> Tensor:
        if self._weights is None:
            return hidden(self.model.base_model, tokens, positions, attend, self.dtype, at)
        return llama_hidden(self._weights, tokens, self._rotations.index_select(0, positions), attend, at=at)

    def _logits(self, states: Tensor) -> Tensor:
        return self._head.logits(states)

    def _seen(self, prompts: Sequence[Sequence[int]], n: int, vocabulary: int) -> Tensor:
        seen = torch.zeros(len(prompts), vocabulary, dtype=torch.bool)
        for row, prompt in enumerate(prompts):
            seen[row, words_of(prompt)] = True
        return seen.repeat_interleave(n, 0).to(self.stop.device)
