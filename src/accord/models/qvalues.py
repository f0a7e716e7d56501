"""The value of a next token: a decoder body with two Q values per token of the vocabulary and one V per state.

On disk ``q.safetensors`` lies in the folder of the language model that it guides, whose tokens and shape it shares.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from accord.errors import ModelError
from accord.models.attention import PackedAttention
from accord.models.decoder import hidden
from accord.models.heads import Head
from accord.models.packing import PackedBatch, divided, pack
from accord.models.policy import token_logprobs
from accord.models.sharding import whole
from accord.runtime import ranks

WEIGHTS, SETTINGS = "q.safetensors", "q.json"
ROWS = 512
"""Tokens whose Q values over the whole vocabulary are computed at once."""


class QNetwork(nn.Module):
    """A copy of a causal LM's body with linear heads. They start near 0: at first hardly any token is worth more
    than another.

    The two Q heads start from different draws of ``generator``, so that their minimum is a cautious estimate.
    Without a generator both start at 0.
    """

    def __init__(self, lm: Any, generator: torch.Generator | None = None) -> None:
        super().__init__()
        vocabulary, width = lm.get_output_embeddings().weight.shape
        self.body = copy.deepcopy(lm.base_model)
        start = torch.zeros(2, vocabulary, width) if generator is None else torch.randn(2, vocabulary, width, generator=generator) * 0.02
        self.q = nn.Parameter(start.to(lm.device))
        self.v = nn.Parameter(torch.zeros(1, width, device=lm.device))

    @property
    def base_model(self) -> Any:
        """The decoder body, as optimisers look for it."""
        return self.body

    @property
    def device(self) -> torch.device:
        return self.q.device

    def states(self, batch: PackedBatch, dtype: torch.dtype) -> Float[Tensor, "tokens width"]:
        """Return the state after each token, float32."""
        attend = PackedAttention(batch.row_lengths, batch.tokens.device)
        return whole(self, lambda: hidden(self.body, batch.tokens, batch.positions, attend, dtype).float())

    def taken(self, states: Float[Tensor, "n width"], tokens: Int[Tensor, " n"]) -> Float[Tensor, "2 n"]:
        """Return both Q values of one token in each state."""
        return whole(self, lambda: torch.stack([(states * head.index_select(0, tokens)).sum(1) for head in self.q]))

    def unlikely(self, states: Float[Tensor, "n width"], tokens: Int[Tensor, " n"], dtype: torch.dtype) -> Float[Tensor, " n"]:
        """Return log sum_a exp Q(s, a) - Q(s, token), summed over both heads; computed in tiles, as
        log-probabilities are."""
        return whole(self, lambda: -torch.stack([token_logprobs(states.to(dtype), Head(head), tokens)[0] for head in self.q]).sum(0))

    def least(self, states: Float[Tensor, "n width"]) -> Float[Tensor, "n vocabulary"]:
        """Return the smaller Q value of every token."""
        one, other = self.q
        return torch.minimum(states @ one.T, states @ other.T)

    @torch.no_grad()
    def best(self, states: Float[Tensor, "n width"]) -> Float[Tensor, " n"]:
        """Return max_a of the smaller Q value."""
        return whole(self, lambda: torch.cat([self.least(part).amax(1) for part in torch.split(states, ROWS)]))

    def value(self, states: Float[Tensor, "n width"]) -> Float[Tensor, " n"]:
        """Return V of each state."""
        return whole(self, lambda: (states @ self.v.T).squeeze(1))


class QScorer:
    """A network as a ``Scorer`` of whole responses: the smaller Q value of the last token, after which nothing follows.

    Several processes, which all score the same pairs, divide them.
    """

    def __init__(self, network: QNetwork, *, dtype: torch.dtype, batch_tokens: int = 16_384) -> None:
        self.network, self.dtype, self.batch_tokens = network, dtype, batch_tokens

    @torch.no_grad()
    def score(self, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]) -> Float[Tensor, " rows"]:
        rows = [[*prompt, *response] for prompt, response in zip(prompts, responses, strict=True)]
        out = torch.zeros(len(rows))
        for group in divided([len(row) for row in rows], self.batch_tokens):
            batch = pack([rows[i] for i in group]).to(self.network.device)
            states = self.network.states(batch, self.dtype).index_select(0, batch.last - 1)
            out[group] = self.network.taken(states, batch.tokens[batch.last]).amin(0).cpu()
        return ranks.summed(out)


def save_q(folder: Path, network: QNetwork, *, beta: float) -> None:
    """Write the network and its guidance strength into the language model's folder."""
    from safetensors.torch import save_file

    save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, folder / WEIGHTS)
    (folder / SETTINGS).write_text(json.dumps({"beta": beta}) + "\n", "utf-8")


def has_q(folder: Path) -> bool:
    """Return whether a language model's folder holds a Q network that guides it."""
    return (folder / WEIGHTS).exists()


def load_q(folder: Path, lm: Any) -> tuple[QNetwork, float] | None:
    """Return the network in a language model's folder with its beta, or None if there is none.

    Raises:
        ModelError: its files are damaged, or not of this language model's shape.
    """
    if not has_q(folder):
        return None
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    network = QNetwork(lm)
    try:
        network.load_state_dict(load_file(folder / WEIGHTS))
        beta = float(json.loads((folder / SETTINGS).read_text("utf-8"))["beta"])
    except (SafetensorError, RuntimeError, OSError, ValueError, KeyError, TypeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(f"the Q network cannot be read: {reason}", where=str(folder), hint="train or copy the model again") from error
    return network.eval(), beta
