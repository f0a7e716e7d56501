"""A backup's file: a zip archive with a manifest that names every member with its size and SHA-256, and beside it the digest of the whole.

It is written in pieces, appears under its name when it is complete and on disk, and is read in pieces, each held against the manifest.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zipfile
import zlib
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from accord.errors import InputError
from accord.runtime.files import OWNER_ONLY, clean, disk_errors, replacing, write_atomic

FORMAT = 1
"""Increases when an older Accord could no longer read a backup."""
MANIFEST = "manifest.json"
LARGEST_MANIFEST = 256 * 1024 * 1024
LONGEST_LINE = 256 * 1024 * 1024
"""Bytes of a row of the database."""
PIECE = 1 << 20
PACKED_ALREADY = (".safetensors", ".gguf", ".npz", ".gz", ".zst", ".xz", ".zip", ".png", ".parquet")
"""Endings of files that are stored as they are, since compression would only take time."""
_BEGIN = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Member:
    """A file in a backup."""

    size: int
    sha256: str
    modified: int = 0
    """When a file was written, in seconds since 1970: a run is as old as its files. 0 where nobody asks."""


class Packing:
    """A backup that is being written."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self.members: dict[str, Member] = {}

    def add(self, name: str, pieces: Iterable[bytes], modified: int = 0) -> Member:
        """Add a member, piece by piece."""
        kind = zipfile.ZIP_STORED if name.endswith(PACKED_ALREADY) else zipfile.ZIP_DEFLATED
        info = zipfile.ZipInfo(name, _BEGIN)
        info.compress_type, info.external_attr = kind, OWNER_ONLY << 16
        size, digest = 0, hashlib.sha256()
        with self._archive.open(info, "w", force_zip64=True) as file:
            for piece in pieces:
                file.write(piece)
                digest.update(piece)
                size += len(piece)
        self.members[name] = Member(size, digest.hexdigest(), modified)
        return self.members[name]

    def add_file(self, name: str, path: Path) -> Member:
        """Add a file as it is now. Raises OSError when it cannot be read."""
        with path.open("rb") as file:
            return self.add(name, _pieces(file), int(os.fstat(file.fileno()).st_mtime))


@dataclass(frozen=True)
class Backup:
    """A backup that is being read."""

    path: Path
    archive: zipfile.ZipFile
    about: dict[str, Any]
    """The manifest, without its members."""
    members: dict[str, Member]

    def pieces(self, name: str) -> Iterator[bytes]:
        """Yield a member's content. Raises InputError, at the latest after its last piece, when it is not what the manifest says."""
        said, size, digest = self.members[name], 0, hashlib.sha256()
        try:
            with self.archive.open(name) as file:
                for piece in _pieces(file):
                    size += len(piece)
                    if size > said.size:
                        break
                    digest.update(piece)
                    yield piece
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError) as error:
            raise self._damaged(name) from error
        if (size, digest.hexdigest()) != (said.size, said.sha256):
            raise self._damaged(name)

    def lines(self, name: str) -> Iterator[bytes]:
        """Yield a member's lines without their ends. Raises InputError as ``pieces`` does, and for a line without an end."""
        held, size = list[bytes](), 0
        for piece in self.pieces(name):
            first, *others = piece.split(b"\n")
            held.append(first)
            size += len(first)
            if size > LONGEST_LINE:
                raise self._damaged(name)
            if others:
                yield b"".join(held)
                yield from others[:-1]
                held, size = [others[-1]], len(others[-1])
        if rest := b"".join(held):
            yield rest

    def extract(self, name: str, to: Path) -> None:
        """Write a member into a new file that only its owner may read, as old as it was, and onto the disk."""
        to.parent.mkdir(parents=True, exist_ok=True)
        with disk_errors(to), open(os.open(to, os.O_CREAT | os.O_EXCL | os.O_WRONLY, OWNER_ONLY), "wb") as file:
            for piece in self.pieces(name):
                file.write(piece)
            file.flush()
            if written := self.members[name].modified:
                os.utime(file.fileno(), (written, written))
            os.fsync(file.fileno())

    def _damaged(self, name: str) -> InputError:
        return InputError(f"{name} is not what the backup's manifest says", where=str(self.path), hint="the file is damaged: take another")


@contextmanager
def packing(path: Path, about: dict[str, Any]) -> Generator[Packing]:
    """Yield a backup to fill. It stands at ``path``, with its digest beside it, when the block succeeds; else nothing does.

    Args:
        about: what the manifest says beside its members; the block may still add to it.

    Raises:
        InputError: a file stands there already.
        RunError: the disk is full.
    """
    if path.exists():
        raise InputError("is there already", where=str(path), hint="name another file; a backup is never overwritten")
    path.parent.mkdir(parents=True, exist_ok=True)
    for name in (path.name, beside(path).name):
        clean(path.parent, name)
    with disk_errors(path), replacing(path) as unfinished:
        descriptor = os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_RDWR, OWNER_ONLY)
        with open(descriptor, "w+b") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, allowZip64=True, compresslevel=4) as archive:
                packed = Packing(archive)
                yield packed
                members = {name: asdict(member) for name, member in packed.members.items()}
                manifest = json.dumps({"format": FORMAT, **about, "members": members}, ensure_ascii=False, indent=1)
                packed.add(MANIFEST, [manifest.encode()])
            file.flush()
            os.fsync(file.fileno())
        # The digest comes first: a backup that stands under its name has its own beside it.
        write_atomic(beside(path), f"{digest_of(unfinished)}  {path.name}\n", mode=OWNER_ONLY)


@contextmanager
def unpacking(path: Path) -> Generator[Backup]:
    """Open a backup.

    Raises:
        InputError: it is no backup, was made by a newer Accord, or differs from the digest beside it.
    """
    if not path.is_file():
        raise InputError("is no file", where=str(path), hint="`accord backup PROJECT FILE` makes one")
    if beside(path).exists() and beside(path).read_text("utf-8").split()[:1] != [digest_of(path)]:
        raise InputError(f"differs from its digest in {beside(path).name}", where=str(path), hint="the file is damaged: take another")
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise InputError("is no backup of a project", where=str(path), hint="`accord backup PROJECT FILE` makes one") from error
    with archive:
        about = _manifest(path, archive)
        members = _members(path, about.pop("members"), set(archive.namelist()) - {MANIFEST})
        yield Backup(path, archive, about, members)


def beside(path: Path) -> Path:
    """Return the file with a backup's digest, as ``sha256sum -c`` reads it."""
    return path.with_name(f"{path.name}.sha256")


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for piece in _pieces(file):
            digest.update(piece)
    return digest.hexdigest()


def check_space(backup: Backup, folder: Path) -> None:
    """Make sure that what a backup holds has room beside ``folder``. Raises InputError when it has not."""
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    needed, free = sum(member.size for member in backup.members.values()), shutil.disk_usage(there).free
    if needed > free:
        raise InputError(f"holds {needed:,} bytes, and {free:,} are free", where=str(backup.path), hint=f"make room in {there}")


def _manifest(path: Path, archive: zipfile.ZipFile) -> dict[str, Any]:
    no_backup = InputError("is no backup of a project", where=str(path), hint="`accord backup PROJECT FILE` makes one")
    try:
        info = archive.getinfo(MANIFEST)
        if info.file_size > LARGEST_MANIFEST:
            raise no_backup
        found: Any = json.loads(archive.read(info))
    except (KeyError, ValueError, zipfile.BadZipFile, zlib.error, OSError, EOFError, RecursionError, NotImplementedError) as error:
        raise no_backup from error
    if not isinstance(found, dict) or not isinstance(cast("dict[str, Any]", found).get("members"), dict):
        raise no_backup
    manifest = cast("dict[str, Any]", found)
    if manifest.get("format") != FORMAT:
        hint = "restore it with the Accord that made it, or a newer one: pip install -U accord-rlhf"
        raise InputError(f"is a backup of format {manifest.get('format')!r}, and this Accord reads {FORMAT}", where=str(path), hint=hint)
    return manifest


def _members(path: Path, said: dict[str, Any], there: set[str]) -> dict[str, Member]:
    """Return the members that the manifest names, all of which are there and lead nowhere else."""
    try:
        members = {name: Member(int(one["size"]), str(one["sha256"]), int(one.get("modified", 0))) for name, one in said.items()}
        if any(not 0 <= member.modified < 1 << 34 for member in members.values()):
            raise ValueError("a time that no file system knows")
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise InputError("its manifest is malformed", where=str(path), hint="the file is damaged: take another") from error
    if set(members) != there:
        some = ", ".join(sorted(set(members) ^ there)[:3])
        raise InputError(f"its manifest and its members differ: {some}", where=str(path), hint="the file is damaged: take another")
    for name in members:
        parts = PurePosixPath(name).parts
        if not parts or name.startswith("/") or "\\" in name or "\0" in name or {"..", "."} & set(name.split("/")) or "" in name.split("/"):
            raise InputError(f"the member {name!r} leads out of the backup", where=str(path), hint="do not restore it")
    return members


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    while piece := file.read(PIECE):
        yield piece
