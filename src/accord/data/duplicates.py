"""Duplicates among many texts in little memory: exact ones, those with a long common prefix, and near ones by MinHash.

Near duplicates share most of their 6-byte pieces (six Latin letters, two Chinese characters). Each text leaves 120 numbers (a MinHash
signature, computed by the library rensa) in a file; texts that agree on all six numbers of one of 20 bands are looked at, and are
duplicates when their signatures say that the Jaccard similarity of their pieces is at least the threshold. At 0.8 a band scheme of 20 x 6
looks at 99.8% of such pairs; the estimate has a standard deviation of 0.04.

A text is dropped when it is near an earlier one that stays: A near B near C, A not near C, leaves A and C.
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

PIECE, BANDS, IN_BAND = 6, 20, 6
NUMBERS = BANDS * IN_BAND
_SEED = 20_220_304
_MIX, _MIX2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_CHUNK = 20_000
"""Pairs whose signatures are compared at a time: 20 MB."""
_BETWEEN = re.compile(r"[\W_]+")

Numbers = npt.NDArray[np.uint32]
Rows = npt.NDArray[np.int64]


def normal(text: str) -> str:
    """A text without what does not tell two apart: letter case, width, punctuation, white space."""
    text = text if text.isascii() else unicodedata.normalize("NFKC", text)
    return _BETWEEN.sub(" ", text.casefold()).strip()


def key(text: str) -> int:
    """64 bits of a text, the same everywhere. Two of a million texts share one with probability below 1e-7."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def sketch(texts: Sequence[str]) -> Numbers:
    """MinHash signatures of normalised texts, [texts, 120]. Equal sets of pieces have equal signatures.

    Raises:
        UsageError: the package rensa is not installed.
    """
    try:
        hashes: Any = import_module("rensa").RMinHash
    except ModuleNotFoundError as error:
        hint = "pip install 'accord-rlhf[data]', or leave near duplicates in with --near 0"
        raise UsageError("near duplicates need the package rensa", where="near", hint=hint) from error
    pieces, offsets = _pieces([text.encode("utf-8", "surrogatepass") for text in texts])
    matrix = hashes.digest_matrix_from_flat_token_hashes(pieces, offsets.tolist(), NUMBERS, _SEED)
    return np.asarray(matrix.to_rows(), dtype=np.uint32).reshape(len(texts), NUMBERS)


def _pieces(texts: Sequence[bytes]) -> tuple[npt.NDArray[np.uint64], Rows]:
    """Every text's 6-byte pieces as mixed 64-bit numbers end to end, and where each text's begin; one that is shorter is one piece."""
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
    """Signatures in a file, written in order, then read without being held in memory. Use it as a context manager."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("wb")

    def __enter__(self) -> Signatures:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None:
        self._file.close()

    def add(self, texts: Sequence[str]) -> None:
        """Writes the signatures of the next normalised texts."""
        if texts:
            self._file.write(sketch(texts).tobytes())

    def read(self) -> Numbers:
        """All of them, [texts, 120], as a map of the file."""
        self._file.flush()
        if not self.path.stat().st_size:
            return np.zeros((0, NUMBERS), dtype=np.uint32)
        return np.memmap(self.path, dtype=np.uint32, mode="r").reshape(-1, NUMBERS)


def first_of_key(keys: npt.NDArray[np.uint64], order: Rows) -> Rows:
    """For each row the earliest row of the same key, itself where it is that one, -1 where it is not in ``order``.

    Args:
        keys: [rows]; 0 stands for no key.
        order: the rows that count, earliest first.
    """
    found = np.full(len(keys), -1, dtype=np.int64)
    _, first, inverse = np.unique(keys[order], return_index=True, return_inverse=True)
    found[order] = np.where(keys[order] == 0, order, order[first][inverse])
    return found


def near(signatures: Numbers, order: Rows, threshold: float) -> Rows:
    """For each row the earlier row that it is a near duplicate of, -1 where there is none that stays.

    Args:
        signatures: [rows, 120].
        order: the rows that count, earliest first.
        threshold: least similarity, above 0 and at most 1.
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
    """Pairs of an earlier and a later row that share a band and are similar enough, [pairs, 2]."""
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
    """For each band the pairs that agree on it: every row with the first of its group and with the one before it, earlier one first."""
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
