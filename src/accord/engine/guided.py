"""A Q network that guides sampling: tokens are drawn from pi(a|s) exp(beta (Q(s, a) - V(s))), normalised (Snell
et al. 2023, section 4.3).

V(s) is the same for every token and cancels in the normalisation, so it is not computed. The network reads
along with a KV cache of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from accord.engine.cache import Cache, Decode, Prefill, held_dtype
from accord.models.attention import Attend
from accord.models.decoder import Weights, fuse, hidden, is_llama_shaped, llama_hidden, rotary
from accord.models.paths import is_plain
from accord.models.plain import Reading, reading
from accord.models.qvalues import QNetwork


class QGuide:
    """Guidance for one batch: returns the term to add to each row's logits, beta times the smaller Q value."""

    def __init__(self, network: QNetwork, *, beta: float) -> None:
        self.network, self.beta = network, beta
        self._dtype, self._weights = torch.float32, None
        self._cache = Cache(torch.ones(1, dtype=torch.long), 1, 1, network.device)
        self._rotations = torch.empty(0)
        self._reading: Reading | None = None
        """What reads along on the plain path; then no cache is used."""

    def start(self, prompts: Sequence[Sequence[int]], n: int, steps: int, dtype: torch.dtype) -> Tensor:
        """Read the prompts and return [rows, vocabulary] for the first token of each of their n responses."""
        if is_plain(self.network.body):
            self._reading = reading(self.network.body, prompts, dtype)
            self._reading.keep(torch.arange(len(prompts)).repeat_interleave(n))
            return self._push(self._reading.states.float())
        lengths, device = torch.tensor([len(prompt) for prompt in prompts]), self.network.device
        self._dtype, self._cache = dtype, Cache(lengths, n, steps, device, held_dtype(device, dtype))
        self._weights: Weights | None = fuse(self.network.body, dtype) if is_llama_shaped(self.network.body) else None
        if self._weights is not None:
            self._rotations = rotary(self.network.body, torch.arange(self._cache.positions, device=device))
        flat, lengths = torch.tensor([token for prompt in prompts for token in prompt], device=device), self._cache.lengths
        starts = (lengths.cumsum(0) - lengths).repeat_interleave(lengths, output_size=len(flat))
        positions = torch.arange(len(flat), device=device) - starts
        states = self._states(flat, positions, Prefill(self._cache))
        return self._push(states.index_select(0, lengths.cumsum(0) - 1)).repeat_interleave(n, 0)

    def step(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """Read the token drawn by each row and return [rows, vocabulary] for the next one."""
        if self._reading is not None:
            return self._push(self._reading.step(tokens).float())
        states = self._states(tokens, positions, Decode(self._cache))
        self._cache.clock += 1
        return self._push(states)

    def keep(self, rows: Tensor) -> None:
        """Keep these rows and drop all others. They are named on the CPU."""
        (self._reading or self._cache).keep(rows)

    def _states(self, tokens: Tensor, positions: Tensor, attend: Attend) -> Tensor:
        if self._weights is None:
            return hidden(self.network.body, tokens, positions, attend, self._dtype).float()
        return llama_hidden(self._weights, tokens, self._rotations.index_select(0, positions), attend).float()

    def _push(self, states: Tensor) -> Tensor:
        return self.beta * self.network.least(states)
