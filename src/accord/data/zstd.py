"""Zstandard streams, by the package zstandard."""

from __future__ import annotations

import importlib
from typing import IO, Any, cast

from accord.errors import UsageError
from accord.runtime import packages

WINDOW = 128 << 20
"""Memory in bytes that an archive may request for decompression."""
FED = 2048
"""Compressed bytes to decompress at once. A block of four bytes may stand for 128 KiB, so these stand for 64 MiB at worst."""


def unpacked(file: IO[bytes]) -> IO[bytes]:
    """Return the content of a Zstandard file of any number of frames; reading a truncated one raises EOFError.

    Raises:
        UsageError: zstandard is not installed.
    """
    return cast(IO[bytes], _Frames(file, _package()))


class _Frames:
    """A reader of successive frames. The package's own stream reader takes a truncated frame for a complete one."""

    def __init__(self, file: IO[bytes], package: Any) -> None:
        self.file, self.package = file, package
        self.frame, self.waiting, self.fed = self._new(), b"", False

    def read(self, size: int) -> bytes:
        found, total = list[bytes](), 0
        while total < size and (content := self._some()):
            found.append(content)
            total += len(content)
        return b"".join(found)

    def _some(self) -> bytes:
        while packed := self.waiting or self.file.read(FED):
            try:
                content = self.frame.decompress(packed)
            except self.package.ZstdError as error:
                raise OSError(f"not a Zstandard archive, or a broken one: {error}") from error
            self.waiting, self.fed = b"", True
            if self.frame.eof:
                self.waiting, self.frame, self.fed = self.frame.unused_data, self._new(), False
            if content:
                return content
        if self.fed:
            raise EOFError("the archive ends in the middle of a frame")
        return b""

    def _new(self) -> Any:
        return self.package.ZstdDecompressor(max_window_size=WINDOW).decompressobj()


def packing(file: IO[bytes]) -> Any:
    """Return a context manager that compresses into a file and leaves it open.

    Raises:
        UsageError: zstandard is not installed.
    """
    return _package().ZstdCompressor(level=6).stream_writer(file, closefd=False)


def _package() -> Any:
    try:
        return importlib.import_module("zstandard")
    except ModuleNotFoundError as error:
        raise UsageError(".zst files need the package zstandard", where="a .zst file", hint=packages.install("zstandard")) from error
