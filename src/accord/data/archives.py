"""Files as bytes and lines, read in pieces and decompressed on the fly.

No file is read whole, and no input is trusted: lines have a maximum length, archives a maximum ratio.
"""

from __future__ import annotations

import codecs
import gzip
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Literal, cast

from accord.errors import InputError

LONGEST = 32 << 20
"""Maximum length in bytes of a line, or of one object in a JSON file."""
RATIO, FREE = 300, 64 << 20
"""An archive may unpack to ``FREE`` bytes, and beyond that to ``RATIO`` times its own size."""
PIECE = 1 << 20
Encoding = Literal["utf-8", "gb18030", "big5", "utf-16"]
"""Encodings of text files. GB18030 includes GBK and GB2312."""
Tell = Callable[[int], object]
"""A callback that receives the number of bytes read from a file."""
KINDS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".arrow", ".txt", ".md")
_GZIP, _ZSTANDARD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"


def bare_name(path: Path) -> str:
    """Return a file's name without the suffix of its compression."""
    return path.name.removesuffix(".gz").removesuffix(".zst")


def kind_of(path: Path) -> str:
    """Return the suffix that decides how a file is read.

    Raises:
        InputError: the suffix is unknown.
    """
    kind = Path(bare_name(path)).suffix.lower()
    if kind not in KINDS:
        hint = f"known are {', '.join(KINDS)}, each with .gz or .zst"
        raise InputError(f"a file of an unknown kind {kind!r}", where=str(path), hint=hint)
    return ".jsonl" if kind == ".ndjson" else ".txt" if kind == ".md" else kind


def chunks(path: Path, tell: Tell = id, encoding: Encoding = "utf-8") -> Iterator[bytes]:
    """Yield the unpacked content of a file in pieces; text in another encoding comes in UTF-8.

    Raises:
        InputError: the file cannot be read, is truncated, is not in this encoding, or unpacks to far more than an honest archive does.
    """
    pieces = _pieces(path, tell)
    yield from pieces if encoding == "utf-8" else _in_utf8(pieces, path, encoding)


def _in_utf8(pieces: Iterator[bytes], path: Path, encoding: Encoding) -> Iterator[bytes]:
    decoder, line = codecs.getincrementaldecoder(encoding)(), 1
    try:
        for piece in pieces:
            text = decoder.decode(piece)
            line += text.count("\n")
            yield text.encode()
        decoder.decode(b"", True)
    except UnicodeError as error:
        what, hint = f"not {encoding.upper()}: {error}", "give its encoding by --encoding, or convert it to UTF-8"
        raise InputError(what[:200], where=f"{path}:{line}", hint=hint) from error


def _pieces(path: Path, tell: Tell) -> Iterator[bytes]:
    with reading(path), open(path, "rb") as file:
        source, size, total, told = _unpacked(file, path), path.stat().st_size, 0, 0
        while chunk := source.read(PIECE):
            total += len(chunk)
            if total > FREE + RATIO * size:
                what = f"it unpacks to more than {RATIO} times its size, as no honest data set does"
                raise InputError(what, where=str(path), hint="unpack it yourself, check it, and import the file")
            tell(file.tell() - told)
            told = file.tell()
            yield chunk


def lines(path: Path, tell: Tell = id, encoding: Encoding = "utf-8") -> Iterator[tuple[int, bytes | None]]:
    """Yield the lines of a file with their numbers, without line ends; None stands for a line longer than ``LONGEST``.

    Raises:
        InputError: the file cannot be read, or begins like UTF-16 or UTF-32.
    """
    rest, number, skipping, first = b"", 1, False, True
    for chunk in chunks(path, tell, encoding):
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
    """Return a line as text. Raises InputError when it is too long, not UTF-8, or binary."""
    where = f"{path}:{number}"
    if line is None:
        hint = "is there one object per line? shorten or split it"
        raise InputError(f"the line is longer than {LONGEST >> 20} MiB", where=where, hint=hint)
    if b"\0" in line:
        raise InputError("holds NUL bytes", where=where, hint="is it UTF-16, or a binary file? convert text to UTF-8")
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        hint = "if it is Chinese in GBK or GB18030, give --encoding gb18030; else convert it to UTF-8" if _may_be_chinese(line) else ""
        what = f"not UTF-8 (byte {line[error.start]:#04x})"
        raise InputError(what, where=where, hint=hint or "convert it to UTF-8") from error


def _may_be_chinese(line: bytes) -> bool:
    """Return whether most bytes above ASCII can be read as common Chinese characters; so can some of other languages."""
    try:
        wide = [char for char in line.decode("gb18030") if ord(char) > 127]
    except UnicodeDecodeError:
        return False
    return sum("\u4e00" <= char <= "\u9fff" for char in wide) * 2 > len(wide)


def text_lines(path: Path, tell: Tell = id, encoding: Encoding = "utf-8") -> Iterator[str]:
    """Yield the lines of a text file. Raises InputError, which names the line, for one that is not text."""
    for number, line in lines(path, tell, encoding):
        yield decoded(line, path, number).removesuffix("\r")


def without_mark(start: bytes, path: Path) -> bytes:
    """Return the first bytes of a file without UTF-8's byte order mark. Raises InputError for the marks of other encodings."""
    for mark, name in ((b"\xff\xfe\0\0", "UTF-32"), (b"\0\0\xfe\xff", "UTF-32"), (b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16")):
        if start.startswith(mark):
            raise InputError(f"not UTF-8 but {name}", where=f"{path}:1", hint=f"iconv -f {name} -t UTF-8 < {path.name}")
    return start.removeprefix(b"\xef\xbb\xbf")


@contextmanager
def reading(path: Path) -> Generator[None]:
    """Turn an error of a file or an archive into an InputError."""
    try:
        yield
    except (OSError, EOFError, zlib.error) as error:
        hint = "is it truncated? copy or download it again" if bare_name(path) != path.name else ""
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
