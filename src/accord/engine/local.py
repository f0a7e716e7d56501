"""The local rollout engine: prompts are prefilled once for their n responses, finished rows leave the batch.

Rows draw from random numbers laid out for (row, step) beforehand, so a row's response does not depend on which other rows are
still running. Log-probabilities are taken while sampling, from the very logits that were drawn from.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from accord.engine.cache import Cache, Decode, Prefill
from accord.engine.sampling import draw, shape_logits
from accord.models.attention import Attend
from accord.models.decoder import Weights, fuse, hidden, is_llama_shaped, llama_hidden, rotary
from accord.models.policy import head_weight
from accord.records import Generation, Sampling

COMPACT_AT = 0.75
"""The batch is compacted when fewer than this share of its rows still run: copying the cache costs about two steps."""


class LocalSampler:
    """Samples from a causal LM in this process. ``stop`` are the token ids that end a response."""

    def __init__(self, model: Any, *, stop: Sequence[int], dtype: torch.dtype) -> None:
        self.model, self.stop, self.dtype = model, torch.tensor(list(stop)), dtype
        self._fused: Weights | None = None
        self._head: Tensor | None = None

    def refresh(self) -> None:
        """Drops the cast and fused copies of the weights. Call it after every update of them."""
        self._fused, self._head = None, None

    @torch.no_grad()
    def sample(self, prompts: Sequence[Sequence[int]], *, n: int, sampling: Sampling, generator: torch.Generator) -> Generation:
        """Draws n responses for each prompt; see ``protocols.Sampler``."""
        began = time.perf_counter()
        rows, steps = len(prompts) * n, sampling.max_tokens
        uniform = torch.rand(steps, rows, generator=generator) if sampling.temperature > 0 else None
        tokens = torch.zeros(rows, steps, dtype=torch.long)
        logprobs = torch.zeros(rows, steps)
        length = torch.full((rows,), steps)
        finished = torch.zeros(rows, dtype=torch.bool)

        lengths = torch.tensor([len(prompt) for prompt in prompts])
        cache = Cache(lengths, n, steps)
        logits = self._prefill(prompts, lengths, cache).repeat_interleave(n, 0)
        position = lengths.repeat_interleave(n)
        seen = self._seen(prompts, n, logits.shape[-1]) if sampling.repetition_penalty != 1.0 else None
        prefilled = time.perf_counter()

        alive = torch.arange(rows)
        for step in range(steps):
            shaped = shape_logits(logits, sampling, seen)
            chosen, logprob = draw(shaped, None if uniform is None else uniform[step, alive])
            tokens[alive, step], logprobs[alive, step] = chosen, logprob
            if seen is not None:
                seen[torch.arange(len(alive)), chosen] = True
            done = torch.isin(chosen, self.stop) & ~finished[alive]
            finished[alive[done]] = True
            length[alive[done]] = step + 1
            running = (~finished[alive]).nonzero().squeeze(1)
            if len(running) == 0 or step == steps - 1:
                break
            if len(running) < COMPACT_AT * len(alive):
                alive, chosen, position = alive[running], chosen[running], position[running]
                seen = None if seen is None else seen[running]
                cache.keep(running)
            logits = self._decode(chosen, position, cache)
            position = position + 1
        keep = torch.arange(steps) < length[:, None]
        width = int(length.max())
        seconds = {"prefill": prefilled - began, "decode": time.perf_counter() - prefilled}
        keep = keep[:, :width]
        return Generation(tokens[:, :width] * keep, logprobs[:, :width] * keep, keep, finished, seconds)

    def _prefill(
        self, prompts: Sequence[Sequence[int]], lengths: Int[Tensor, " prompts"], cache: Cache
    ) -> Float[Tensor, "prompts vocabulary"]:
        flat = torch.tensor([token for prompt in prompts for token in prompt])
        positions = torch.arange(len(flat)) - (lengths.cumsum(0) - lengths).repeat_interleave(lengths)
        states = self._hidden(flat, positions, Prefill(cache))
        return self._logits(states.index_select(0, lengths.cumsum(0) - 1))

    def _decode(self, tokens: Int[Tensor, " rows"], positions: Int[Tensor, " rows"], cache: Cache) -> Float[Tensor, "rows vocabulary"]:
        states = self._hidden(tokens, positions, Decode(cache))
        cache.clock += 1
        return self._logits(states)

    def _hidden(self, tokens: Tensor, positions: Tensor, attend: Attend) -> Tensor:
        body = self.model.base_model
        if not is_llama_shaped(body):
            return hidden(body, tokens, positions, attend, self.dtype)
        if self._fused is None:
            self._fused = fuse(body, self.dtype)
        return llama_hidden(self._fused, tokens, rotary(body, positions), attend)

    def _logits(self, states: Tensor) -> Tensor:
        if self._head is None:
            self._head = head_weight(self.model).to(self.dtype)
        return F.linear(states.to(self.dtype), self._head).float()

    def _seen(self, prompts: Sequence[Sequence[int]], n: int, vocabulary: int) -> Tensor:
        seen = torch.zeros(len(prompts), vocabulary, dtype=torch.bool)
        for row, prompt in enumerate(prompts):
            seen[row, list(prompt)] = True
        return seen.repeat_interleave(n, 0)
