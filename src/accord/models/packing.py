"""Padding-free batches: the tokens of all sequences end to end, with their lengths beside them.

Random batches of text are about half padding, so nothing here pads until attention itself needs a rectangle.
The next-token shift is done in one place, ``PackedBatch.targets``: everything with index t belongs to token t, which
is predicted at t - 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from accord.errors import InputError
from accord.runtime import ranks

SHARED = 1.15
"""A beginning that rows have in common is computed once where that makes a batch so many times as short."""


READ_IN_PLACE = 2**12
"""A common beginning is read in place, and not laid out in each row, where that spares so many pairs of a query and a key (twice over)."""


@dataclass(frozen=True)
class Group:
    """Rows whose first ``common`` tokens are the same."""

    rows: tuple[int, ...]
    common: int


@dataclass(frozen=True)
class Shared:
    """The distinct tokens of a batch: a beginning that several rows have in common stands here once.

    Under causal attention the state after a token follows from the tokens up to it alone. So rows with the same beginning have the same
    states there, and one computation serves them all; gradients add up in it.
    """

    tokens: Int[Tensor, " distinct"]
    positions: Int[Tensor, " distinct"]
    index: Int[Tensor, " tokens"]
    """Where the state after each token of the batch stands among the distinct ones."""
    laid: Int[Tensor, " tokens"]
    """``index`` on the CPU."""
    groups: tuple[Group, ...] = ()
    """Rows whose common beginning is long enough to be read in place; no row is in two of them."""

    def to(self, device: torch.device) -> Shared:
        """Return the same on another device."""
        return Shared(self.tokens.to(device), self.positions.to(device), self.index.to(device), self.laid, self.groups)


@dataclass(frozen=True)
class PackedBatch:
    """Packed sequences, end to end. ``keep`` is True on the tokens that a loss counts. A sequence's first token
    cannot be kept."""

    tokens: Int[Tensor, " tokens"]
    lengths: Int[Tensor, " rows"]
    keep: Bool[Tensor, " tokens"]

    @cached_property
    def starts(self) -> Int[Tensor, " rows"]:
        """Index of each sequence's first token."""
        return self.lengths.cumsum(0) - self.lengths

    @cached_property
    def last(self) -> Int[Tensor, " rows"]:
        """Index of each sequence's last token."""
        return self.lengths.cumsum(0) - 1

    @cached_property
    def positions(self) -> Int[Tensor, " tokens"]:
        """Position of each token within its own sequence."""
        return torch.arange(len(self.tokens), device=self.tokens.device) - self.starts.repeat_interleave(self.lengths)

    @cached_property
    def targets(self) -> Int[Tensor, " kept"]:
        """Indices of the kept tokens. Token ``targets[i]`` is predicted by the state at ``targets[i] - 1``."""
        targets = self.keep.nonzero().squeeze(1)
        if len(targets) and bool((self.positions[targets] == 0).any()):
            raise ValueError("a sequence's first token is kept, but nothing precedes it to predict it")
        return targets

    @cached_property
    def kept(self) -> Int[Tensor, " rows"]:
        """Kept tokens of each sequence."""
        rows = torch.arange(len(self.lengths), device=self.tokens.device).repeat_interleave(self.lengths)
        return torch.zeros_like(self.lengths).index_add_(0, rows[self.keep], torch.ones_like(rows[self.keep]))

    @cached_property
    def kept_counts(self) -> list[int]:
        """``kept`` as numbers, which the host knows."""
        return self.kept.tolist()

    @cached_property
    def row_lengths(self) -> Int[Tensor, " rows"]:
        """``lengths`` on the CPU."""
        return self.lengths.cpu()

    @cached_property
    def shared(self) -> Shared | None:
        """The batch with the common beginnings of its rows once; None where that saves too little."""
        return shared(self.tokens.cpu().numpy(), self.row_lengths.numpy())

    def to(self, device: torch.device) -> PackedBatch:
        """Return the same batch on another device."""
        moved = PackedBatch(self.tokens.to(device), self.lengths.to(device), self.keep.to(device))
        for name in ("starts", "last", "positions", "targets", "kept"):  # counted here, so that the device need not be asked
            vars(moved)[name] = getattr(self, name).to(device)
        once = self.shared.to(device) if self.shared else None
        vars(moved).update(kept_counts=self.kept_counts, row_lengths=self.row_lengths, shared=once)
        return moved


def shared(tokens: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]) -> Shared | None:
    """Return the distinct tokens of rows laid end to end, or None where they are nearly all distinct.

    In alphabetical order each row has its longest common beginning with the row before it, so one comparison a row finds them all.
    """
    ends = lengths.cumsum()
    starts = ends - lengths
    rows = [tokens[start:end] for start, end in zip(starts, ends, strict=True)]
    order = sorted(range(len(rows)), key=lambda row: rows[row].astype(">i8").tobytes())
    common = [0, *(_common(rows[one], rows[other]) for one, other in pairwise(order))][: len(order)]
    distinct = len(tokens) - sum(common)
    if not len(tokens) or len(tokens) < SHARED * distinct:
        return None
    index, sources, before, known = np.empty(len(tokens), np.int64), list[npt.NDArray[np.int64]](), 0, 0
    for row, count in zip(order, common, strict=True):
        start, new = starts[row], lengths[row] - count
        index[start : start + count] = index[before : before + count]
        index[start + count : ends[row]] = np.arange(known, known + new)
        sources.append(cast("npt.NDArray[np.int64]", np.arange(start + count, ends[row])))
        before, known = start, known + new
    source = np.concatenate(sources)
    positions = source - starts.repeat(lengths)[source]
    laid = torch.from_numpy(index)
    groups = tuple(group for group in _groups(order, common) if _spared(group) >= READ_IN_PLACE)
    return Shared(torch.from_numpy(tokens[source]), torch.from_numpy(positions), laid, laid, groups)


def _groups(order: list[int], common: list[int]) -> list[Group]:
    """Return the groups of rows in alphabetical order that spare most: all of them by what all have in common, or those of the parts that
    have more in common.

    Args:
        common: of each row with the row before it; of the first any number.
    """
    if len(order) < 2:
        return []
    least = min(common[1:])
    cuts = [0, *(place for place in range(1, len(order)) if common[place] == least), len(order)]
    parts = [group for cut, end in pairwise(cuts) for group in _groups(order[cut:end], common[cut:end])]
    whole = Group(tuple(order), least)
    return [whole] if _spared(whole) > sum(map(_spared, parts)) else parts


def _spared(group: Group) -> int:
    """Return how many pairs of a query and a key (twice over) a group's rows need not compute again."""
    return (len(group.rows) - 1) * group.common**2


def _common(one: npt.NDArray[np.int64], other: npt.NDArray[np.int64]) -> int:
    """Return the length of the common beginning of two rows."""
    least = min(len(one), len(other))
    differs = one[:least] != other[:least]
    return int(differs.argmax()) if differs.any() else least


def pack(
    sequences: Sequence[Sequence[int]],
    kept: Sequence[int] | None = None,
    own: Sequence[Sequence[bool]] | None = None,
    *,
    related: bool = True,
) -> PackedBatch:
    """Pack sequences end to end. The last ``kept[i]`` tokens of sequence i count (by default all but its first).

    Args:
        own: of the last ``kept[i]`` tokens of each sequence, those that count; by default all.
        related: whether the sequences may have beginnings in common, as responses have and documents have not.

    Raises:
        InputError: a sequence is empty, or has nothing before its first kept token.
    """
    lengths = [len(sequence) for sequence in sequences]
    kept = [length - 1 for length in lengths] if kept is None else kept
    for row, (length, count) in enumerate(zip(lengths, kept, strict=True)):
        if not 0 <= count < max(length, 1):
            raise InputError(
                f"{count} of {length} tokens are to be learned, but at least one token must precede them", where=f"sequence {row}"
            )
    flat = torch.tensor([token for sequence in sequences for token in sequence], dtype=torch.long)
    lengths_t, kept_t = torch.tensor(lengths, dtype=torch.long), torch.tensor(kept, dtype=torch.long)
    from_end = lengths_t.cumsum(0).repeat_interleave(lengths_t) - torch.arange(len(flat))
    keep = from_end <= kept_t.repeat_interleave(lengths_t)
    if own is not None:
        keep = keep.masked_scatter(keep, torch.tensor([each for mask in own for each in mask], dtype=torch.bool))
    batch = PackedBatch(flat, lengths_t, keep)
    if not related:
        vars(batch)["shared"] = None
    return batch


def pad(flat: Float[Tensor, " kept"], lengths: Int[Tensor, " rows"]) -> Float[Tensor, "rows steps"]:
    """Unpack a flat run of values into right-padded rows, zeros elsewhere. Give ``lengths`` on the CPU: the host needs them."""
    keep = keep_mask(lengths).to(flat.device)
    return torch.zeros(keep.shape, dtype=flat.dtype, device=flat.device).masked_scatter(keep, flat)


def keep_mask(lengths: Int[Tensor, " rows"], steps: int | None = None) -> Bool[Tensor, "rows steps"]:
    """Return a mask that is True on the first ``lengths[r]`` steps of row r."""
    width = int(lengths.max() if len(lengths) else 0) if steps is None else steps
    return torch.arange(width, device=lengths.device) < lengths[:, None]


def by_tokens(lengths: Sequence[int], limit: int, prompts: Sequence[Sequence[int]] | None = None) -> Iterator[list[int]]:
    """Group row indices by length, such that no group holds more than ``limit`` tokens (or one row).

    Args:
        prompts: of the rows. Those of one prompt stay together, as far as they fit, so that it is computed once.
    """
    group: list[int] = []
    total = 0
    for rows in _units(lengths, prompts):
        size = sum(lengths[row] for row in rows)
        if group and total + size > limit:
            yield group
            group, total = [], 0
        for row in rows:
            if group and total + lengths[row] > limit:
                yield group
                group, total = [], 0
            group.append(row)
            total += lengths[row]
    if group:
        yield group


def _units(lengths: Sequence[int], prompts: Sequence[Sequence[int]] | None) -> list[list[int]]:
    """Return the rows of each prompt, the shortest first; without prompts each row by itself."""
    rows = sorted(range(len(lengths)), key=lambda row: lengths[row])
    if prompts is None:
        return [[row] for row in rows]
    units = dict[tuple[int, ...], list[int]]()
    for row in rows:
        units.setdefault(tuple(prompts[row]), []).append(row)
    return sorted(units.values(), key=lambda unit: lengths[unit[-1]])


def in_parts(compute: Callable[[list[int]], Float[Tensor, " part"]], lengths: Sequence[int], limit: int) -> Float[Tensor, " rows"]:
    """Return one value for each row, of rows that one loss compares and that may be too long to be computed together.

    Rows of more than ``limit`` tokens in all are computed part by part. The backward pass computes each part again, so that the
    activations of one part are there at a time, and gradients are those of all rows at once, up to the order of sums.

    Args:
        compute: gives the values of the rows of these numbers, in that order.
    """
    groups = list(by_tokens(lengths, limit))
    if len(groups) <= 1:
        return compute(list(range(len(lengths))))
    again = torch.is_grad_enabled()
    parts = list[Tensor]()
    for group in groups:
        parts.append(cast("Tensor", checkpoint(compute, group, use_reentrant=False, preserve_rng_state=False)) if again else compute(group))
    place = torch.tensor([row for group in groups for row in group]).argsort()
    return torch.cat(parts)[place.to(parts[0].device)]


def divided(lengths: Sequence[int], limit: int, prompts: Sequence[Sequence[int]] | None = None) -> Iterator[list[int]]:
    """Group this process's share of the rows as ``by_tokens`` does; one process alone has all of them.

    Every process gets equally many groups. Where there are too few rows some groups are empty: such a pass runs the model on nothing.
    """
    if ranks.world() == 1:
        yield from by_tokens(lengths, limit, prompts)
        return
    planned: list[list[list[int]]] = []
    for share in ranks.shares(lengths):
        asked = None if prompts is None else [prompts[row] for row in share]
        groups = by_tokens([lengths[row] for row in share], limit, asked)
        planned.append([[share[place] for place in group] for group in groups])
    yield from _cut(planned[ranks.rank()], max(map(len, planned)))


def _cut(groups: list[list[int]], passes: int) -> list[list[int]]:
    """Cut the groups of most rows in two until there are so many; empty groups are added where nothing can be cut."""
    while len(groups) < passes:
        largest = max(range(len(groups)), key=lambda i: len(groups[i]), default=-1)
        rows = groups[largest] if largest >= 0 else []
        if len(rows) < 2:
            return groups + [list[int]() for _ in range(passes - len(groups))]
        groups = [*groups[:largest], rows[: len(rows) // 2], rows[len(rows) // 2 :], *groups[largest + 1 :]]
    return groups
