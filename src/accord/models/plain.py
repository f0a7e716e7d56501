"""The plain path: transformers' own forward pass, with its attention, its masks and its cache, over padded rows.

It is for every model that the faster paths do not know to be right (``models.paths``): rows of a batch do not touch each other here,
so windows, sinks, soft caps, ALiBi, recurrent states and whatever comes next are transformers' own affair. It costs padding (rows of
like length share a rectangle), attention without our packing, and in decoding a cache that grows by copying. Three levels:

- ``padded``: rows are padded, right in training, where a causal model cannot see the pads, and left in decoding, under a mask.
- ``grouped``: only rows of equal length run together, so that there is no pad. For recurrent states, which pads would move.
- ``whole``: as before, and each token that is drawn reads its whole row again. For models whose cache does not hold what a full
  pass computes, such as those with dynamic RoPE, which turns all positions otherwise as soon as a row grows too long.

Logits come from the model's own head (``models.plain_head``).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from accord.models.paths import path_of
from accord.models.pictures import Gallery
from accord.runtime.device import on_device

WASTE = 1.25
"""The longest row of a rectangle is at most this many times as long as its shortest (and a few tokens)."""
CACHES = ("past_key_values", "cache_params", "state")
"""The names under which architectures return what they keep of the tokens read."""


def hidden(
    body: Any, tokens: Int[Tensor, " tokens"], lengths: Int[Tensor, " rows"], dtype: torch.dtype, *, padded: bool
) -> Float[Tensor, "tokens width"]:
    """Return the final states of rows that are laid end to end, each as transformers computes it alone.

    Args:
        padded: rows of different lengths may share a rectangle.
    """
    sizes: list[int] = lengths.tolist()
    rows = torch.split(tokens, sizes)
    states: list[Tensor] = [tokens] * len(rows)
    for group in _groups([len(row) for row in rows], padded, original_length(body)):
        block = nn.utils.rnn.pad_sequence([rows[row] for row in group], batch_first=True)
        out = _states(_forward(body, dtype, **shown(body, block), use_cache=False))
        for place, row in enumerate(group):
            states[row] = out[place, : len(rows[row])]
    return torch.cat(states)


def shown(body: Any, tokens: Int[Tensor, "rows steps"]) -> dict[str, Any]:
    """Return rows of token ids as a body takes them: with the pictures that stand in them, where it reads any."""
    gallery: Gallery | None = getattr(body, "gallery", None)
    return {"input_ids": tokens} if gallery is None else gallery.inputs(tokens, inspect.signature(body.forward).parameters)


def _groups(lengths: Sequence[int], padded: bool, original: int) -> Iterator[list[int]]:
    """Group rows that may share a rectangle.

    With RoPE that depends on the length (``original`` is not 0), rows longer than the original length stay with their equals, and
    shorter ones may be padded: none of them changes the frequencies.
    """
    group: list[int] = []
    for row in sorted(range(len(lengths)), key=lambda r: lengths[r]):
        first = lengths[group[0]] if group else lengths[row]
        alike = lengths[row] <= (WASTE * first + 4 if padded or lengths[row] <= original else first)
        if not alike:
            yield group
            group = []
        group.append(row)
    if group:
        yield group


def original_length(body: Any) -> int:
    """Return the length up to which RoPE stays as it is, where it depends on the length of the row; otherwise 0."""
    for module in body.modules():
        told: Any = getattr(module, "rope_type", None)
        kinds: dict[str, str] = told if isinstance(told, dict) else {"": str(told)}
        if any(kind == "longrope" or "dynamic" in kind for kind in kinds.values()):
            config: Any = module.config
            parameters: dict[str, Any] = getattr(config, "rope_parameters", None) or {}
            original = parameters.get("original_max_position_embeddings") or getattr(config, "original_max_position_embeddings", None)
            return int(original or module.original_max_seq_len)
    return 0


def _forward(body: Any, dtype: torch.dtype, **given: Any) -> Any:
    for module in body.modules():
        if getattr(module, "max_seq_len_cached", 0) != getattr(module, "original_max_seq_len", 0):
            _forget_lengths(module)
    with torch.autocast(given["input_ids"].device.type, dtype, enabled=dtype != torch.float32, cache_enabled=torch.is_grad_enabled()):
        return body(**given)


def _forget_lengths(rotary: Any) -> None:
    """Make dynamic RoPE forget the longest row that it has seen, so that a row is computed as if it were the first."""
    names: list[str] = [*vars(rotary)]
    for name in names:
        if not name.endswith("max_seq_len_cached"):
            continue
        prefix = name.removesuffix("max_seq_len_cached")
        frequencies = getattr(rotary, f"{prefix}original_inv_freq").to(getattr(rotary, f"{prefix}inv_freq").device)
        rotary.register_buffer(f"{prefix}inv_freq", frequencies, persistent=False)
        setattr(rotary, name, rotary.original_max_seq_len)


def _states(out: Any) -> Tensor:
    return out.last_hidden_state if hasattr(out, "last_hidden_state") else out[0]


class Reading:
    """Rows that a body reads, and goes on reading token by token.

    ``states`` [rows, width] are those after each row's last token, in the rows' order.

    Args:
        rows: token ids of each row.
        padded: rows of different lengths run together, left-padded.
        cached: keep what was read; otherwise each token makes the row be read again from its start.
    """

    def __init__(self, body: Any, rows: Sequence[Sequence[int]], dtype: torch.dtype, *, padded: bool, cached: bool) -> None:
        self.body, self.dtype, self.cached = body, dtype, cached
        self.original = original_length(body)
        self.positioned = "position_ids" in inspect.signature(body.forward).parameters
        self.turns: Callable[..., tuple[Tensor, Tensor]] | None = getattr(body, "get_rope_index", None)
        device = next(body.parameters()).device
        lengths = [len(row) for row in rows]
        groups = [list(range(len(rows)))] if padded else list(_groups(lengths, False, 0))
        self.blocks = [_Block(group, [rows[row] for row in group], device) for group in groups]
        for block in self.blocks:
            self._read(block)

    @property
    def states(self) -> Float[Tensor, "rows width"]:
        """The state after each row's last token."""
        return torch.cat([block.states for block in self.blocks])[self._order()]

    def step(self, tokens: Int[Tensor, " rows"]) -> Float[Tensor, "rows width"]:
        """Read one more token in every row and return the new states."""
        for block in self.blocks:
            block.append(tokens[block.rows])
            if block.kept is None or (self.original and block.tokens.shape[1] > self.original):
                self._read(block)
            else:
                self._go_on(block)
        return self.states

    def keep(self, rows: Int[Tensor, " kept"]) -> None:
        """Keep these rows, in this order; a row that is named several times is continued several times. They are named on the CPU."""
        chosen: list[int] = rows.tolist()
        kept: list[_Block] = []
        for block in self.blocks:
            wanted = [(new, old) for new, old in enumerate(chosen) if old in block.places]
            if wanted:
                if not block.pick([new for new, _ in wanted], [block.places[old] for _, old in wanted]):
                    self._read(block)
                kept.append(block)
        self.blocks = kept

    def _order(self) -> Tensor:
        return torch.cat([block.rows for block in self.blocks]).argsort()

    def _read(self, block: _Block) -> None:
        """Read the rows of a block from their start."""
        given = shown(self.body, block.tokens)
        where = self._where(block, block.tokens.shape[1]) if self.turns is None else self._turned(block, given)
        out = _forward(self.body, self.dtype, **given, **where, use_cache=self.cached)
        block.states, block.kept = _states(out)[:, -1], self._cache(out) if self.cached else None

    def _go_on(self, block: _Block) -> None:
        assert block.kept
        name, cache = block.kept
        given: dict[str, Any] = {**shown(self.body, block.tokens[:, -1:]), "use_cache": True, name: cache}
        where = self._where(block, 1) if self.turns is None else self._turned(block)
        out = _forward(self.body, self.dtype, **given, **where)
        block.states, block.kept = _states(out)[:, -1], self._cache(out)

    def _where(self, block: _Block, steps: int) -> dict[str, Tensor]:
        """Return what tells the model which tokens are pads; nothing where there are none."""
        if not block.padded:
            return {}
        positions = {"position_ids": (block.mask.cumsum(1) - 1).clamp(min=0)[:, -steps:]} if self.positioned else {}
        return {"attention_mask": block.mask, **positions}

    def _turned(self, block: _Block, given: dict[str, Any] | None = None) -> dict[str, Tensor]:
        """Return where tokens stand in a model whose pictures have positions in three dimensions (Qwen2-VL).

        A picture counts for fewer positions than it has tokens, and the text behind it stands so much nearer. transformers keeps that
        distance on the model itself; here it belongs to the rows, which come and go.

        Args:
            given: the rows from their start; without it their last tokens alone.
        """
        assert self.turns is not None
        there = {"attention_mask": block.mask} if block.padded else {}
        if given is not None and "image_grid_thw" in given:
            told = {name: given[name] for name in ("input_ids", "mm_token_type_ids", "image_grid_thw")}
            positions, block.nearer = self.turns(**told, attention_mask=block.mask)
            return there | {"position_ids": positions}
        if given is not None:
            block.nearer = torch.zeros_like(block.mask[:, :1])
        steps = slice(None) if given is not None else slice(-1, None)
        flat = (block.mask.cumsum(1) - 1).clamp(min=0)[:, steps] + block.nearer
        return there | {"position_ids": flat[None].expand(3, -1, -1)}

    def _cache(self, out: Any) -> tuple[str, Any] | None:
        takes = inspect.signature(self.body.forward).parameters
        for name in CACHES:
            cache = getattr(out, name, None)
            if cache is not None and name in takes:
                return name, cache
        return None


def reading(body: Any, rows: Sequence[Sequence[int]], dtype: torch.dtype) -> Reading:
    """Return a reading of rows on the path of the body."""
    path = path_of(body)
    return Reading(body, rows, dtype, padded=path == "padded", cached=path != "whole")


class _Block:
    """Rows in step with each other: left-padded tokens, and what the model keeps of them."""

    def __init__(self, rows: Sequence[int], tokens: Sequence[Sequence[int]], device: torch.device) -> None:
        width = max(len(row) for row in tokens)
        self.pads = [width - len(row) for row in tokens]
        """Of each row; what the mask says, on the host."""
        self.tokens = torch.tensor([[0] * (width - len(row)) + list(row) for row in tokens], device=device)
        self.mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in tokens], device=device)
        self.states = torch.empty(0)
        self.nearer = torch.zeros_like(self.mask[:, :1])
        """By how many positions each row's pictures bring the text behind them nearer, as a negative number; see ``Reading``."""
        self.kept: tuple[str, Any] | None = None
        self._name(rows)

    def _name(self, rows: Sequence[int]) -> None:
        self.rows = on_device(list(rows), self.tokens.device)
        """The rows' numbers in the reading."""
        self.places = {row: place for place, row in enumerate(rows)}

    @property
    def padded(self) -> bool:
        return any(self.pads)

    def append(self, tokens: Tensor) -> None:
        self.tokens = torch.cat([self.tokens, tokens[:, None]], 1)
        self.mask = torch.cat([self.mask, torch.ones_like(self.mask[:, :1])], 1)

    def pick(self, rows: Sequence[int], places: Sequence[int]) -> bool:
        """Keep the rows at these places under new numbers; return whether the cache could follow."""
        at = on_device(places, self.tokens.device)
        self.pads = [self.pads[place] for place in places]
        self.tokens, self.mask, self.states, self.nearer = self.tokens[at], self.mask[at], self.states[at], self.nearer[at]
        self._name(rows)
        if self.kept is None:
            return True
        reorder = getattr(self.kept[1], "reorder_cache", None)
        if reorder is None:
            self.kept = None
            return False
        reorder(at)
        return True
