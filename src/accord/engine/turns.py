"""The turns of episodes: each is drawn when its environment has answered, and all that are being drawn share a batch.

What a turn says depends on the tokens before it, its sampling settings and its seed, not on which others run beside it (batching.py), so
an environment that answers late changes no result. The keys and values of a conversation's earlier turns are found in the prefix cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from accord.engine.batching import BatchEngine, Request
from accord.engine.cache import held_dtype, kv_bytes
from accord.records import Sampling, Turn

LIMITLESS = 1 << 40


class TurnEngine:
    """Draws turns of many conversations at once, from one state of the weights.

    Args:
        rows: how many conversations there are at most. longest: their longest, in tokens.
        cache_bytes: the most that keys and values may take, half of it for those of earlier turns.
    """

    def __init__(
        self, model: Any, *, stop: Sequence[int], dtype: torch.dtype, context: int, rows: int, longest: int, cache_bytes: int
    ) -> None:
        a_token = kv_bytes(model.config, held_dtype(model.device, dtype))
        at_once = max(1, min(rows, cache_bytes // 2 // (a_token * max(longest, 1))))
        remembered = min(rows * longest, cache_bytes // 2 // a_token)
        self.engine = BatchEngine(model, stop=stop, dtype=dtype, context=context or LIMITLESS, slots=at_once, remembered=remembered)
        self._drawn: dict[int, Turn] = {}

    @property
    def busy(self) -> bool:
        """Whether there is a turn to draw."""
        return self.engine.busy

    @property
    def reused(self) -> int:
        """Tokens of earlier turns whose keys and values were found in the cache."""
        return self.engine.reused

    def submit(self, tokens: Sequence[int], sampling: Sampling, seed: int) -> int:
        """Ask for the turn that follows these tokens; return its ticket."""
        ticket = self.engine.submit(Request(tuple(tokens), sampling, seed, as_drawn=True))
        self._drawn[ticket] = Turn(ticket, [], [], finished=False)
        return ticket

    def step(self) -> list[Turn]:
        """Draw a token of every turn that runs; return the turns that are whole now."""
        whole = list[Turn]()
        for drawn in self.engine.step():
            turn = self._drawn[drawn.ticket]
            turn.tokens.append(drawn.token)
            turn.logprobs.append(drawn.logprob)
            if drawn.finish:
                del self._drawn[drawn.ticket]
                whole.append(Turn(turn.ticket, turn.tokens, turn.logprobs, finished=drawn.finish == "stop"))
        return whole
