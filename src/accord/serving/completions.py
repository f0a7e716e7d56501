"""``POST /v1/chat/completions`` and ``POST /v1/completions``: n answers to each prompt, whole or as a stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace

from fastapi import Request
from fastapi.responses import JSONResponse, Response

from accord.serving import answers
from accord.serving.answers import Choice, Completion, Form, Writer
from accord.serving.fields import header, ignored
from accord.serving.host import Ask, NotUnderstood, Piece, RefusedRequest, UnknownModel
from accord.serving.picture_parts import Pictures
from accord.serving.response_fields import ResponseRequest
from accord.serving.scenes import HEADER, Scened
from accord.serving.schemas import Asked, ChatRequest, CompletionRequest, Drawing
from accord.serving.service import Answered, Caller, Kept, Service, Who, With, asks_for_strict
from accord.serving.streams import Stream, while_there
from accord.settings.scenes import NONE

WHOLE_CONTEXT = 10_000_000
"""Length limit when a request names none: the model's context ends the answer."""


async def chat(asked: ChatRequest, request: Request, service: With, who: Who) -> Response:
    ask, beside = await understood(asked, request, service, who)
    return await _completed(answers.CHAT, asked, [ask], request, service, who, beside)


async def completions(asked: CompletionRequest, request: Request, service: With, who: Who) -> Response:
    asks = asked.asks()
    return await _completed(answers.TEXT, asked, asks, request, service, who, entered(asked, request, service, who))


async def understood(asked: ChatRequest | ResponseRequest, request: Request, service: Service, who: Caller) -> tuple[Ask, dict[str, str]]:
    """Return what a request asks, without its seed, and the header that names its ignored fields.

    Pictures are read last: only for a caller who may ask the model, within the caller's limits, and for a model that sees.

    Raises:
        RefusedRequest: the request cannot be served.
    """
    picture = asked.picture()
    if not picture:
        ask = asked.ask(WHOLE_CONTEXT, Pictures())
        return ask, entered(asked, request, service, who)
    beside = entered(asked, request, service, who)
    if not service.host.sees(asked.model):
        hint = "leave the picture out, or ask a model that sees (docs/images.md)"
        raise NotUnderstood(f"{picture} is a picture, and the model {asked.model} reads text alone", hint=hint, param=f"{picture}.type")
    ask = await service.pictures.read(lambda shown: asked.ask(WHOLE_CONTEXT, shown))
    return ask, beside


async def _completed(
    form: Form, asked: Drawing, asks: Sequence[Ask], request: Request, service: Service, who: Caller, beside: dict[str, str]
) -> Response:
    counted = bool(asked.stream_options and asked.stream_options.include_usage)
    writer = Completion(form, asked.model, asked.n, logprobs=asks[0].logprobs is not None, counted=counted)
    return await answered(writer, asked, asks, request, service, who, beside)


async def answered(
    writer: Writer, asked: Drawing, asks: Sequence[Ask], request: Request, service: Service, who: Caller, beside: dict[str, str]
) -> Response:
    """Draw n answers for each ask, and send them whole or as a stream.

    Args:
        beside: the header of a request that was let in (``entered``).
    """
    kept = Kept()
    if service.keeper and asks[0].conversation:
        kept = service.keeper.opened(who.key, asks[0], asked.user or "", (asked.model_extra or {}).get("store"))
    beside = {**beside, **kept.headers}
    asks = [replace(ask, named=frozenset(asked.model_fields_set), key=who.key.id if who.key else "") for ask in asks]
    asks, told = await in_scene(asked.model, asks, request.headers.get(HEADER, ""), service, who)
    beside |= told
    seeded = [replace(ask, seed=seed) for ask in asks for seed in asked.seeds()]
    drawn = [service.meter.watch(asked.model, service.host.ask(asked.model, ask)) for ask in seeded]
    choices = [Choice() for _ in drawn]
    pieces = _merged(drawn)
    if asked.stream:
        first = await while_there(request.receive, anext(pieces))
        events = _kept(_events(writer, first, pieces, choices), kept, writer.id, choices)
        return Stream(events, beside | service.limits.headers(who.id), lambda: _spend(service, who, choices, asked.n))

    async def gathered() -> None:
        async with aclosing(pieces):
            async for index, piece in pieces:
                choices[index].add(piece)

    try:
        await while_there(request.receive, gathered())
    finally:
        _spend(service, who, choices, asked.n)
    await kept.keep(writer.id, _answers(choices))
    return JSONResponse(writer.whole(choices), headers=beside | service.limits.headers(who.id))


async def in_scene(model: str, asks: Sequence[Ask], name: str, service: Service, who: Caller) -> tuple[list[Ask], dict[str, str]]:
    """Return requests with their scene, and the header that tells it; as they were on a server without scenes.

    Args:
        name: the scene that the request names itself.

    Raises:
        NotUnderstood: there is no such scene.
        UnknownModel: the caller names a scene whose model they may not use.
    """
    if not isinstance(service.host, Scened):
        if name:
            raise NotUnderstood("this server has no scenes", where=HEADER, hint="leave the header out, or add [scenes.NAME] to accord.toml")
        return list(asks), {}
    choice = await service.host.choose(model, asks[0], name, who.may, who.is_trusted)
    if choice is None:
        return list(asks), {}
    service.meter.scenes.labels(choice.scene or NONE, choice.by, "yes" if choice.also else "no").inc()
    return [replace(ask, scene=choice) for ask in asks], {HEADER: choice.told}


def entered(asked: Asked, request: Request, service: Service, who: Caller) -> dict[str, str]:
    """Let a request in, and return the header that names its ignored fields. Raises RefusedRequest."""
    beside = header(ignored(asked, strict=asks_for_strict(request, service)))
    if not who.may(asked.model):
        raise UnknownModel("no such model is served", where=asked.model)
    if who.key:
        service.limits.enter(who.id, who.key.requests_per_minute, who.key.tokens_per_minute)
    return beside


def _answers(choices: Sequence[Choice]) -> list[Answered]:
    return [Answered(answers.spoken(choice), choice.finish, choice.version) for choice in choices]


async def _kept(events: AsyncGenerator[bytes], kept: Kept, id: str, choices: Sequence[Choice]) -> AsyncGenerator[bytes]:
    """Yield the events of a stream; its answers are stored before the last ones, or when the client has left."""
    stored = False
    try:
        async with aclosing(events):
            async for event in events:
                if all(choice.finish for choice in choices) and not stored:
                    stored = True
                    await kept.keep(id, _answers(choices))
                yield event
    finally:
        if not stored and any(choice.text for choice in choices):
            await kept.keep(id, _answers(choices))


def _spend(service: Service, who: Caller, choices: Sequence[Choice], n: int) -> None:
    service.limits.spend(who.id, answers.usage(choices, n)["total_tokens"])


async def _merged(drawn: Sequence[AsyncGenerator[Piece]]) -> AsyncGenerator[tuple[int, Piece]]:
    """Yield the pieces of several answers as they arrive, each with its answer's number. When one fails, all end."""
    if len(drawn) == 1:
        async with aclosing(drawn[0]) as pieces:
            async for piece in pieces:
                yield 0, piece
        return
    came: asyncio.Queue[tuple[int, Piece | BaseException]] = asyncio.Queue()

    async def follow(index: int, pieces: AsyncGenerator[Piece]) -> None:
        try:
            async with aclosing(pieces):
                async for piece in pieces:
                    came.put_nowait((index, piece))
        except Exception as error:  # told to whoever reads the merged stream
            came.put_nowait((index, error))

    tasks = [asyncio.create_task(follow(index, pieces)) for index, pieces in enumerate(drawn)]
    try:
        left = len(tasks)
        while left:
            index, piece = await came.get()
            if isinstance(piece, BaseException):
                raise piece
            left -= bool(piece.finish)
            yield index, piece
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _events(
    writer: Writer, first: tuple[int, Piece], rest: AsyncGenerator[tuple[int, Piece]], choices: list[Choice]
) -> AsyncGenerator[bytes]:
    """Yield the events of a stream whose first piece has arrived."""
    async with aclosing(rest):
        choices[first[0]].add(first[1])
        yield writer.part(*first)
        try:
            async for index, piece in rest:
                choices[index].add(piece)
                yield writer.part(index, piece)
        except RefusedRequest as error:
            yield writer.failed(error)
            return
    yield writer.last(choices)
