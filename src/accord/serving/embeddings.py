"""``POST /v1/embeddings``: texts as vectors, each the mean of a language model's final states over the text's tokens, of length 1."""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence
from typing import Annotated, Literal

from fastapi import Request
from fastapi.responses import JSONResponse, Response
from pydantic import Field, StringConstraints

from accord.serving.completions import entered
from accord.serving.host import Embedded
from accord.serving.schemas import LONGEST, Asked, TokenIds, texts_of
from accord.serving.service import Service, Who, With
from accord.serving.streams import while_there

MOST_INPUTS = 256

Words = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST)]


class EmbeddingRequest(Asked):
    """``POST /v1/embeddings``."""

    input: Words | TokenIds | Annotated[list[Words] | list[TokenIds], Field(min_length=1, max_length=MOST_INPUTS)]
    encoding_format: Literal["float", "base64"] = Field("float", description="base64 holds little-endian 32-bit floats.")


async def embeddings(asked: EmbeddingRequest, request: Request, service: With, who: Who) -> Response:
    beside = entered(asked, request, service, who)
    came = list[Embedded]()
    try:
        await while_there(request.receive, _embedded(service, asked, came))
    finally:
        used = sum(each.tokens for each in came)
        service.limits.spend(who.id, used)
        service.meter.tokens.labels(asked.model, "prompt").inc(used)
    rows = [{"object": "embedding", "index": place, "embedding": _written(asked, each.vector)} for place, each in enumerate(came)]
    usage = {"prompt_tokens": used, "total_tokens": used}
    body = {"object": "list", "data": rows, "model": asked.model, "system_fingerprint": service.host.version(asked.model), "usage": usage}
    return JSONResponse(body, headers=beside | service.limits.headers(who.id))


async def _embedded(service: Service, asked: EmbeddingRequest, came: list[Embedded]) -> None:
    """Embed one text after another, so that other requests have their turns."""
    for text in texts_of(asked.input):
        came.append(await service.host.embed(asked.model, text))


def _written(asked: EmbeddingRequest, vector: Sequence[float]) -> list[float] | str:
    if asked.encoding_format == "float":
        return list(vector)
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
