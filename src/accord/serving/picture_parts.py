"""Pictures of requests: data URLs in the parts of messages, read and checked as pictures of an import are, one request at a time.

A picture is decoded in the sandbox (``data.pictures``) and by the model's processor, so that a request may hold so many pictures and
pixels and no more. Addresses are never fetched: whoever asks could make this server look into the network behind it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Annotated, TypeVar

from pydantic import Field, StringConstraints

from accord.data import pictures
from accord.errors import InputError
from accord.records import Media, MediaFile
from accord.serving.fields import Open
from accord.serving.host import Busy, NotUnderstood, TooSlow

MOST_PICTURES = pictures.MOST_AT_ONCE
"""Pictures of one request."""
MOST_PIXELS = pictures.MOST_PIXELS
"""Pixels of all pictures of one request: as many as a single one may have."""
MOST_WAITING = 16
"""Requests with pictures that wait for theirs to be read; a further one is refused, since each holds its memory meanwhile."""
SECONDS = 60.0
"""Longest time for reading a request's pictures, waiting included."""
LONGEST_URL = 30_000_000
"""Characters of a data URL. The body's limit is lower, so this bounds the schema alone."""
SEND = "send the picture itself as a data URL: data:image/png;base64,..."
Url = Annotated[str, StringConstraints(max_length=LONGEST_URL)]
Result = TypeVar("Result")


class ImageUrl(Open):
    """A picture, as chat completions have it."""

    url: Url = Field(description="A data URL; addresses are not fetched.")
    detail: Annotated[str, StringConstraints(max_length=100)] | None = Field(
        None, description="Taken, and used for nothing: the model's own processor decides."
    )


class Pictures:
    """The pictures of one request, in the order of their first use."""

    def __init__(self) -> None:
        self._files = dict[str, MediaFile]()
        self._count = self._pixels = 0
        self._gone = threading.Event()

    @property
    def files(self) -> tuple[MediaFile, ...]:
        """The pictures as they are shown to a model, each once."""
        return tuple(self._files.values())

    def leave(self) -> None:
        """Read no further picture: nobody waits for it."""
        self._gone.set()

    def take(self, url: str, where: str) -> Media:
        """Return how a message names the picture of a data URL.

        Raises:
            NotUnderstood: it is none, it cannot be taken, or there are too many.
        """
        self._count += 1
        if self._gone.is_set():
            raise TooSlow("reading the pictures took longer than the time limit", where=where, hint="send fewer", seconds=5)
        if self._count > MOST_PICTURES:
            raise NotUnderstood(f"the request has more than {MOST_PICTURES} pictures", hint="send fewer", param=where)
        if not url[:5].lower() == "data:":
            raise NotUnderstood(f"{where} is no data URL, and this server fetches no addresses", hint=SEND, param=where)
        try:
            file = pictures.read(pictures.in_data_url(url, where), where)
        except InputError as error:
            raise NotUnderstood(error.what, where=where, hint=error.hint, param=where) from error
        self._pixels += file.width * file.height
        if self._pixels > MOST_PIXELS:
            what = f"the request's pictures have more than {MOST_PIXELS // 1_000_000} million pixels in all"
            raise NotUnderstood(what, hint="scale them down, or send fewer", param=where)
        self._files.setdefault(file.digest, file)
        return file.named()


class PictureReader:
    """Reads the pictures of requests outside the event loop, one request after another."""

    def __init__(self) -> None:
        self._turn, self._waiting = asyncio.Lock(), 0

    async def read(self, work: Callable[[Pictures], Result]) -> Result:
        """Return what is understood of a request with pictures.

        Args:
            work: reads the request, and takes each of its pictures.

        Raises:
            RefusedRequest: a picture cannot be taken, or too many requests wait.
        """
        if self._waiting >= MOST_WAITING:
            raise Busy("too many requests with pictures wait to be read", hint="try again", seconds=2)
        self._waiting += 1
        shown = Pictures()
        try:
            async with asyncio.timeout(SECONDS), self._turn:
                return await asyncio.to_thread(work, shown)
        except TimeoutError as error:
            raise TooSlow("reading the pictures took longer than the time limit", hint="send fewer, or smaller ones", seconds=5) from error
        finally:
            shown.leave()
            self._waiting -= 1
