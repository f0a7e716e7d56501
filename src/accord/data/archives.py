"""Files as bytes and lines, a piece at a time, unpacked as they are read.

Nothing is read whole, and nothing is believed: a line has a longest length, an archive a largest ratio.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from accord.errors import InputError

LONGEST = 32 << 20
"""Bytes of the longest line, or of the largest object of a JSON file."""
RATIO, FREE = 300, 64 << 20
"""An archive may unpack to ``FREE`` bytes, and beyond that to ``RATIO`` times its own size."""
PIECE = 1 << 20
Tell = Callable[[int], object]
"""Is told how many bytes of a file were read."""
KINDS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".arrow", ".txt", ".md")
_GZIP, _ZSTANDARD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"


def bare_name(path: Path) -> str:
    """A file's name without the ending of its compression."""
    return path.name.removesuffix(".gz").removesuffix(".zst")


def kind_of(path: Path) -> str:
    """The ending that says how a file is read.

    Raises:
        InputError: it is none that is known.
    """
    kind = Path(bare_name(path)).suffix.lower()
    if kind not in KINDS:
        raise InputError(
            f"a file of an unknown kind {kind!r}", where=str(path), hint=f"known are {', '.join(KINDS)}, each with .gz or .zst"
        )
    return ".jsonl" if kind == ".ndjson" else ".txt" if kind == ".md" else kind


def chunks(path: Path, tell: Tell = id) -> Iterator[bytes]:
    """The unpacked content of a file in pieces.

    Raises:
        InputError: it cannot be read, is cut off, or unpacks to far more than an honest archive does.
    """
    with reading(path), open(path, "rb") as file:
        source, size, total, told = _unpacked(file, path), path.stat().st_size, 0, 0
        while chunk := source.read(PIECE):
            total += len(chunk)
            if total > FREE + RATIO * size:
                what = f"it unpacks to more than {RATIO} times its size, as no honest data set does"
                raise InputError(what, where=str(path), hint="unpack it yourself, look, and import the file")
            tell(file.tell() - told)
            told = file.tell()
            yield chunk


def lines(path: Path, tell: Tell = id) -> Iterator[tuple[int, bytes | None]]:
    """The lines of a file by number, without their ends; None stands for one that is longer than ``LONGEST``.

    Raises:
        InputError: it cannot be read, or begins like UTF-16 or UTF-32.
    """
    rest, number, skipping, first = b"", 1, False, True
    for chunk in chunks(path, tell):
        if first:
            chunk, first = without_mark(chunk, path), False
        *whole, last = chunk.split(b"\n")
        for line in whole:
            yield number, None if skipping or len(rest) + len(line) > LONGEST else rest + line
            rest, number, skipping = b"", number + 1, False
        if skipping or len(rest) + len(last) > LONGEST:
            rest, skipping = b"", True
        else:
            rest += last
    if rest or skipping:
        yield number, None if skipping else rest


def decoded(line: bytes | None, path: Path, number: int) -> str:
    """A line as text. Raises InputError when it is too long, or not UTF-8, or binary."""
    where = f"{path}:{number}"
    if line is None:
        raise InputError(f"the line is longer than {LONGEST >> 20} MiB", where=where, hint="is it one object a line? shorten or split it")
    if b"\0" in line:
        raise InputError("holds NUL bytes", where=where, hint="is it UTF-16, or no text at all? convert it to UTF-8")
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 (byte {line[error.start]:#04x})", where=where, hint="convert it to UTF-8") from error


def text_lines(path: Path, tell: Tell = id) -> Iterator[str]:
    """The lines of a text file. Raises InputError for one that is none; names it."""
    for number, line in lines(path, tell):
        yield decoded(line, path, number).removesuffix("\r")


def without_mark(start: bytes, path: Path) -> bytes:
    """The first bytes of a file without UTF-8's mark. Raises InputError for the marks of other encodings."""
    for mark, name in ((b"\xff\xfe\0\0", "UTF-32"), (b"\0\0\xfe\xff", "UTF-32"), (b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16")):
        if start.startswith(mark):
            raise InputError(f"not UTF-8 but {name}", where=f"{path}:1", hint=f"iconv -f {name} -t UTF-8 < {path.name}")
    return start.removeprefix(b"\xef\xbb\xbf")


@contextmanager
def reading(path: Path) -> Generator[None]:
    """Turns what goes wrong in a file or an archive into an InputError."""
    try:
        yield
    except (OSError, EOFError, zlib.error) as error:
        hint = "is it cut off? copy or download it again" if bare_name(path) != path.name else ""
        raise InputError(f"it cannot be read: {error}", where=str(path), hint=hint) from error


def _unpacked(file: IO[bytes], path: Path) -> IO[bytes]:
    start = file.read(4)
    file.seek(0)
    if path.name.endswith(".gz") or start.startswith(_GZIP):
        return cast(IO[bytes], gzip.GzipFile(fileobj=file))
    if path.name.endswith(".zst") or start == _ZSTANDARD:
        from accord.data.zstd import unpacked

        return unpacked(file)
    return file
