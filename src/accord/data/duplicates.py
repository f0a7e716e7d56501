"""Detection of duplicates among many texts in little memory: exact, by common prefix, and near duplicates by MinHash.

Near duplicates share most of their 6-byte pieces (six Latin letters, two Chinese characters). A file keeps 120 numbers per text: its
MinHash signature, computed by the library rensa. Texts that agree on all six numbers of one of 20 bands are compared. They are
duplicates when the Jaccard similarity of their pieces, estimated from the signatures, reaches the threshold. At a similarity of 0.8 the
20 x 6 bands find 99.8% of the pairs; the estimate has a standard deviation of 0.04.

A text is dropped when it is near an earlier one that stays. If A is near B and B near C, but A not near C, then A and C stay.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from accord.errors import UsageError
from accord.runtime import packages

PIECE, BANDS, IN_BAND = 6, 20, 6
NUMBERS = BANDS * IN_BAND
_SEED = 20_220_304
_MIX, _MIX2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_CHUNK = 20_000
"""Pairs whose signatures are compared at a time, which takes 20 MB."""
_BETWEEN = re.compile(r"[\W_]+")

Numbers = npt.NDArray[np.uint32]
Rows = npt.NDArray[np.int64]


def normal(text: str) -> str:
    """Return a text in lower case and half width, without punctuation and with single spaces, so that near copies compare equal."""
    text = text if text.isascii() else unicodedata.normalize("NFKC", text)
    return _BETWEEN.sub(" ", text.casefold()).strip()


def key(text: str) -> int:
    """Return a 64-bit hash of a text, the same on every machine. A collision among a million texts has a probability below 1e-7."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def sketch(texts: Sequence[str]) -> Numbers:
    """Return the MinHash signatures of normalised texts, [texts, 120]. Equal sets of pieces have equal signatures.

    Raises:
        UsageError: the package rensa is not installed.
    """
    try:
        hashes: Any = import_module("rensa").RMinHash
    except ModuleNotFoundError as error:
        hint = f"{packages.install('rensa')}, or leave near duplicates in with --near 0"
        raise UsageError("near duplicates need the package rensa", where="near", hint=hint) from error
    pieces, offsets = _pieces([text.encode("utf-8", "surrogatepass") for text in texts])
    matrix = hashes.digest_matrix_from_flat_token_hashes(pieces, offsets.tolist(), NUMBERS, _SEED)
    return np.asarray(matrix.to_rows(), dtype=np.uint32).reshape(len(texts), NUMBERS)


def _pieces(texts: Sequence[bytes]) -> tuple[npt.NDArray[np.uint64], Rows]:
    """Return all texts' 6-byte pieces as mixed 64-bit numbers, end to end, and each text's offset; a shorter text is a single piece."""
    padded = [text.ljust(PIECE, b"\0") for text in texts]
    flat = np.frombuffer(b"".join(padded) + bytes(PIECE), dtype=np.uint8).astype(np.uint64)
    ends = np.cumsum([len(text) for text in padded])
    windows = np.zeros(len(flat) - PIECE, dtype=np.uint64)
    for place in range(PIECE):
        windows |= flat[place : place + len(windows)] << np.uint64(8 * place)
    inside = np.ones(len(windows), dtype=bool)
    for back in range(1, PIECE):
        inside[ends - back] = False
    counts = np.array([len(text) - PIECE + 1 for text in padded])
    mixed = (windows[inside] ^ (windows[inside] >> np.uint64(30))) * _MIX
    mixed = (mixed ^ (mixed >> np.uint64(27))) * _MIX2
    return mixed ^ (mixed >> np.uint64(31)), np.concatenate([[0], np.cumsum(counts)])


class Signatures:
    """A file of signatures, written in order and then memory-mapped. Use it as a context manager."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("wb")

    def __enter__(self) -> Signatures:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None:
        self._file.close()

    def add(self, texts: Sequence[str]) -> None:
        """Write the signatures of the next normalised texts."""
        if texts:
            self._file.write(sketch(texts).tobytes())

    def read(self) -> Numbers:
        """Return all signatures, [texts, 120], as a memory map of the file."""
        self._file.flush()
        if not self.path.stat().st_size:
            return np.zeros((0, NUMBERS), dtype=np.uint32)
        return np.memmap(self.path, dtype=np.uint32, mode="r").reshape(-1, NUMBERS)


def first_of_key(keys: npt.NDArray[np.uint64], order: Rows) -> Rows:
    """Return for each row the earliest row with the same key: the row itself if it is the earliest, -1 if it is not in ``order``.

    Args:
        keys: [rows]; 0 stands for no key.
        order: the rows to consider, earliest first.
    """
    found = np.full(len(keys), -1, dtype=np.int64)
    _, first, inverse = np.unique(keys[order], return_index=True, return_inverse=True)
    found[order] = np.where(keys[order] == 0, order, order[first][inverse])
    return found


def near(signatures: Numbers, order: Rows, threshold: float) -> Rows:
    """Return for each row the earlier row that it nearly duplicates, -1 if no such row stays.

    Args:
        signatures: [rows, 120].
        order: the rows to consider, earliest first.
        threshold: lowest similarity of a duplicate, above 0 and at most 1.
    """
    rank = np.full(len(signatures), len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    original = np.full(len(signatures), -1, dtype=np.int64)
    pairs = _alike(signatures, rank, order, threshold)
    for earlier, later in pairs[np.argsort(rank[pairs[:, 1]], kind="stable")].tolist():
        if original[later] < 0 and original[earlier] < 0:
            original[later] = earlier
    return original


def _alike(signatures: Numbers, rank: Rows, order: Rows, threshold: float) -> Rows:
    """Return pairs of an earlier and a later row that share a band and are similar enough, [pairs, 2]."""
    found = [np.zeros((0, 2), dtype=np.int64)]
    seen = np.zeros(0, dtype=np.int64)
    for candidates in _candidates(signatures, order):
        codes = np.setdiff1d(np.unique(rank[candidates[:, 0]] * len(order) + rank[candidates[:, 1]]), seen, assume_unique=True)
        pairs = np.stack([order[codes // len(order)], order[codes % len(order)]], axis=1)
        for start in range(0, len(pairs), _CHUNK):
            part = pairs[start : start + _CHUNK]
            found.append(part[(signatures[part[:, 0]] == signatures[part[:, 1]]).mean(1) >= threshold])
        seen = np.union1d(seen, codes)
    return np.concatenate(found)


def _candidates(signatures: Numbers, order: Rows) -> Iterator[Rows]:
    """Yield for each band the pairs that agree on it: every row with the first and the previous row of its group, earlier row first."""
    for band in range(BANDS):
        keys = np.empty(len(order), dtype=np.uint64)
        for start in range(0, len(order), _CHUNK * 5):
            part = signatures[order[start : start + _CHUNK * 5], band * IN_BAND : (band + 1) * IN_BAND]
            keys[start : start + len(part)] = _folded(part)
        by_key = np.argsort(keys, kind="stable")
        grouped = keys[by_key]
        same = np.flatnonzero(grouped[1:] == grouped[:-1]) + 1
        starts = np.maximum.accumulate(np.where(np.concatenate([[True], grouped[1:] != grouped[:-1]]), np.arange(len(grouped)), 0))
        firsts = np.stack([order[by_key[starts[same]]], order[by_key[same]]], axis=1)
        befores = np.stack([order[by_key[same - 1]], order[by_key[same]]], axis=1)
        yield np.concatenate([firsts, befores])


def _folded(numbers: Numbers) -> npt.NDArray[np.uint64]:
    total = np.zeros(len(numbers), dtype=np.uint64)
    for column in range(numbers.shape[1]):
        total = (total ^ numbers[:, column]) * _MIX
        total ^= total >> np.uint64(29)
    return total
