"""Check of SQLite's write-ahead log before SQLite opens it: a damaged one would be read up to the damage, and then overwritten.

SQLite takes the first frame with a wrong checksum for the end of the log. That is right after a power cut, which can only tear the last
commit, since every commit of ours is on disk before the next begins. Where whole commits follow the wrong frame, one upon another, the
log was damaged later, and they were acknowledged.

A commit alone says nothing: whoever is killed while its last commit is written to disk, beside a process that lives on, leaves a whole one
that nobody knows of. The next commit is written over its beginning, and its end stays, even that of several such. But none of them was
written upon another, which the checksums tell, since each goes on from the frame before. Format:
https://www.sqlite.org/walformat.html.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from accord.errors import StoreError

MOST = 64 << 20
"""Bytes of a log that are looked at."""
HEADER, FRAME = 32, 24
MAGIC = 0x377F0682
"""With its last bit set, checksums read words as big-endian."""


@dataclass(frozen=True)
class Log:
    """What a write-ahead log holds."""

    header: bytes
    sound: int
    """Bytes up to the last commit that can be read."""
    lost: int
    """Commits that followed another, after the first frame that cannot be read."""


def refuse_damage(database: Path) -> None:
    """Make sure that no acknowledged commit stands behind a damaged frame of a database's log.

    Raises:
        StoreError: one does; nothing was changed.
    """
    path = database.with_name(f"{database.name}-wal")
    found = _read(path)
    for _ in range(3):
        if found is None or not found.lost:
            return
        again = _read(path)
        if again == found:
            what = f"the log of the last answers is damaged after byte {found.sound:,}, with {found.lost + 1} commits behind it"
            hint = (
                f"end what uses this store, and copy {database.name} and {path.name} away; then restore the last backup "
                f"(`accord restore`), or go on without those commits: truncate --size={found.sound} {path}"
            )
            raise StoreError(what, where=str(path), hint=hint)
        found = again  # another process began the log anew meanwhile


def _read(path: Path) -> Log | None:
    """Return what a log holds; None where there is none, or one of another form."""
    try:
        with path.open("rb") as file:
            data = file.read(MOST)
    except OSError:
        return None
    if len(data) < HEADER:
        return None
    magic, _, page, _, *salts = struct.unpack(">6I", data[:24])
    if magic & ~1 != MAGIC or page < 512 or page & (page - 1):
        return None
    order = ">" if magic & 1 else "<"
    sums = _Sums(order, page)
    check = sums.of(data[:24], (0, 0))
    if check != struct.unpack(">2I", data[24:HEADER]):
        return None  # the header itself was torn: SQLite reads nothing of it, and neither do we
    sound, lost, torn, upon = HEADER, 0, False, False
    before = check, check
    for start in range(HEADER, len(data) - FRAME - page + 1, FRAME + page):
        frame = data[start : start + FRAME + page]
        commits, *given = struct.unpack(">4x5I", frame[:FRAME])
        if given[:2] != salts and not _any_after(data, start + FRAME + page, page, salts):
            break  # from here on it is an older log
        # A frame goes on from what the one before says of itself, or, where that was damaged, from what it should say.
        sums_of = [sums.of(frame[FRAME:], sums.of(frame[:8], each)) for each in dict.fromkeys(before)]
        follows = given[:2] == salts and tuple(given[2:]) in sums_of
        if commits and not follows and sums.of(frame[FRAME:], sums.of(frame[:4] + bytes(4), before[0])) == tuple(given[2:]):
            commits = 0  # its mark of a commit is what was damaged
        torn = torn or not follows
        if not torn:
            sound = start + FRAME + page if commits else sound
        elif follows and commits and upon:
            lost += 1
        upon = torn and (bool(commits) or (upon and follows))
        before = (given[2], given[3]), sums_of[0]
    return Log(data[:HEADER], sound, lost)


def _any_after(data: bytes, start: int, page: int, salts: list[int]) -> bool:
    wanted = struct.pack(">2I", *salts)
    return any(data[at + 8 : at + 16] == wanted for at in range(start, len(data) - FRAME - page + 1, FRAME + page))


class _Sums:
    """SQLite's checksum of pairs of words: ``a += x + b; b += y + a`` for each pair, which is linear, so that a page is two sums."""

    def __init__(self, order: str, page: int) -> None:
        self._order = order
        pairs = page // 8
        fibonacci = np.zeros(2 * pairs + 3, dtype=np.uint32)
        fibonacci[1] = 1
        with np.errstate(over="ignore"):
            for n in range(2, len(fibonacci)):
                fibonacci[n] = fibonacci[n - 1] + fibonacci[n - 2]
        self._fibonacci: npt.NDArray[np.uint32] = fibonacci

    def of(self, content: bytes, before: tuple[int, int]) -> tuple[int, int]:
        """Return the checksum of some bytes after others."""
        words = np.frombuffer(content, dtype=f"{self._order}u4").astype(np.uint32)
        count, f = len(words) // 2, self._fibonacci
        a, b = np.uint32(before[0]), np.uint32(before[1])
        # A word x of the pair that is k pairs before the end has come into a with F(2k+1) and into b with F(2k+2); a word y with
        # F(2k) and F(2k+1).
        back = 2 * np.arange(count - 1, -1, -1)
        x, y = words[0::2], words[1::2]
        with np.errstate(over="ignore"):
            first = (x * f[back + 1] + y * f[back]).sum(dtype=np.uint32)
            second = (x * f[back + 2] + y * f[back + 1]).sum(dtype=np.uint32)
            first = first + a * f[2 * count - 1] + b * f[2 * count]
            second = second + a * f[2 * count] + b * f[2 * count + 1]
        return int(first), int(second)
