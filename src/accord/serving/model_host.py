"""The models of a project in this process: many requests at once, and a model swapped for another while requests run.

The function that opens a model is passed in (by ``commands/serve/``), so that this room needs no project on disk.
"""

from __future__ import annotations

import asyncio
import json
import math
import secrets
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import torch

from accord.data.banned import banned_tokens
from accord.data.literal_text import THOUGHTS
from accord.data.picture_format import PictureFormat
from accord.data.templates import ChatFormat
from accord.data.tool_formats import MARKS, Kind, forced, kind_of, parse, schema_rule
from accord.data.tool_turns import ToolTurn
from accord.engine.batching import BatchEngine, Drawn, Request
from accord.engine.grammar import Grammars, Guide
from accord.engine.prompt_states import embedding, likelihoods
from accord.errors import InputError
from accord.records import Message, Sampling
from accord.serving.detokenizer import Opening, Words
from accord.serving.host import (
    Ask,
    Busy,
    Embedded,
    Finish,
    NotUnderstood,
    Piece,
    RefusedRequest,
    Token,
    TooLong,
    Tools,
    TooSlow,
    Unavailable,
    UnknownModel,
    in_one_piece,
)
from accord.serving.worker import Seat, Worker

__all__ = ["Beside", "Capacity", "ModelHost", "Opened", "Piece"]

SHORT_TEXT, TURN = 2_000, 50
"""Characters of the longest prompt that is tokenised in the event loop, and for how many the marks of a turn count."""
MOST_CALLS = 128
"""Calls of one answer; further ones are dropped."""
BANNED = -1e9
"""The bias of a banned token: finite, so that a grammar that allows nothing else still has a distribution."""
DIGEST = 12
"""Characters of a digest in a version."""


class Opened(Protocol):
    """An open model, as ``commands.models.load_model`` returns it."""

    @property
    def lm(self) -> Any: ...

    @property
    def format(self) -> ChatFormat: ...

    @property
    def digest(self) -> str: ...


class Adapted(Protocol):
    """An adapter over an open model, as ``commands.models.load_adapter`` returns it."""

    @property
    def adapter(self) -> Any: ...

    @property
    def format(self) -> ChatFormat: ...

    @property
    def digest(self) -> str: ...


@dataclass(frozen=True)
class Beside:
    """An adapter that answers under a name of its own, over the body of another served model and in one batch with it."""

    base: str
    """The served model under it."""
    open: Callable[[Any], Adapted]
    """Takes the open base model; called in a thread."""


@dataclass(frozen=True)
class Capacity:
    """The limits of one model."""

    slots: int = 256
    """Requests that run together."""
    waiting: int = 256
    """Requests that wait for a slot; further ones are refused (Busy)."""
    seconds: float = 300.0
    """Longest time for a request, waiting included."""
    remembered: int = 32_768
    """Prompt tokens whose keys and values are kept for the next turn of a conversation."""
    context: int = 4096
    """Context of a model that does not state its own."""


class _Served:
    """A model under a name: its engine, its format, and its requests. An adapter shares the engine of its base.

    Args:
        name: what its version begins with.
        adapter: the engine's name for the adapter that answers; empty for the model as it is.
        banned: words that it never draws.
    """

    def __init__(self, name: str, model: Opened | Adapted, seat: Seat, context: int, adapter: str = "", *, banned: str = "") -> None:
        self.format, self.context = replace(model.format, context=0), context
        self.version = f"{name}@{model.digest[:DIGEST]}"
        self.banned = banned_tokens(banned, model.format.tokenizer, model.format.stop, "[serve] banned_words") if banned else ()
        self.seat, self.adapter, self.stop = seat, adapter, frozenset(model.format.stop)
        self.grammars = Grammars(model.format.tokenizer, seat.engine.network.vocabulary, model.format.stop)
        self.gallery = self.format.shown if isinstance(self.format, PictureFormat) and self.format.sees else None
        """The pictures that it is shown; None for a model of text alone."""
        self.active = 0
        self.left = asyncio.Event()
        """Set when the last request has left a model that is being replaced."""
        self.replaced = False
        self.took: deque[float] = deque([1.0], maxlen=64)
        """Durations of the last requests, in seconds."""

    def hide(self, digests: Sequence[str]) -> None:
        """Forget the pictures of a request, in the thread in which the model reads: it has left no row that holds them."""
        if self.gallery:
            for digest in digests:
                self.gallery.hide(digest)

    def leave(self, seconds: float) -> None:
        self.active -= 1
        self.took.append(seconds)
        if self.replaced and not self.active:
            self.left.set()


def _biased(asked: Sequence[tuple[int, float]], banned: Sequence[int]) -> tuple[tuple[int, float], ...]:
    """Return a request's biases with those that ban tokens, which no request can lift."""
    return tuple((dict(asked) | dict.fromkeys(banned, BANNED)).items()) if banned else tuple(asked)


def _alone(name: str, model: Opened, capacity: Capacity, dtype: torch.dtype, banned: str) -> _Served:
    """Return a model with an engine of its own."""
    context, how = model.format.context or capacity.context, {"slots": capacity.slots, "remembered": capacity.remembered}
    engine = BatchEngine(model.lm, stop=model.format.stop, dtype=dtype, context=context, **how)
    return _Served(name, model, Seat(engine), context, banned=banned)


class ModelHost:
    """Serves models by name. Use it between ``start`` and ``close``, in one event loop.

    Args:
        open_model: function from a name to the model; called in a thread.
        names: names of the served models.
        dtype: of the matrix products.
        banned: words that no model draws, see ``data.banned``.
        adapters: adapters that answer under their own names over one of these models' bodies, in one batch with it.
    """

    def __init__(
        self,
        open_model: Callable[[str], Opened],
        names: Sequence[str],
        *,
        capacity: Capacity | None = None,
        dtype: torch.dtype = torch.float32,
        banned: str = "",
        adapters: Mapping[str, Beside] | None = None,
    ) -> None:
        self._open, self._names, self._dtype, self._banned = open_model, list(names), dtype, banned
        self.adapters = dict(adapters or {})
        self.capacity = capacity or Capacity()
        self._served: dict[str, _Served] = {}
        self._worker: Worker | None = None
        self._looking = asyncio.Lock()
        """Held while a request's pictures are processed, which takes memory: one request at a time."""

    def models(self) -> list[str]:
        """Return the names of the served models."""
        return list(self._served) or [*self._names, *self.adapters]

    def version(self, model: str) -> str:
        """Return name and digest of the weights that now answer under a name. Raises UnknownModel."""
        return self._find(model).version

    def sees(self, model: str) -> bool:
        """Return whether a model reads pictures. Raises UnknownModel."""
        return self._find(model).format.sees

    def state(self) -> dict[str, dict[str, float]]:
        """Return each model's state: requests ``running`` and ``waiting``, prompt tokens ``reused``."""
        found: dict[str, dict[str, float]] = {}
        for name, served in self._served.items():
            engine, own = served.seat.engine, served.adapter
            running = sum(row.request.adapter == own for row in [*engine.running, *engine.reading])
            waiting = sum(row.request.adapter == own for row in engine.waiting.copy())  # the worker's thread changes it
            found[name] = {"running": running, "waiting": waiting, "reused": 0 if own else engine.reused}
        return found

    async def start(self) -> None:
        """Open the models, then the adapters over them. Raises ModelError when one cannot be opened."""
        self._worker = Worker(asyncio.get_running_loop())
        self._worker.start()
        for name in self._names:
            await self.swap(name, name)
        for name, beside in self.adapters.items():
            await self._adapt(name, beside)

    async def _adapt(self, name: str, beside: Beside) -> None:
        """Let an adapter answer under a name, over the model that now answers under its base's."""
        base, worker = self._find(beside.base), self._running()
        opened = await asyncio.to_thread(beside.open, base.seat.engine.network.bank.model)
        key = f"{name}@{opened.digest}"  # requests under way keep the adapter that they began with

        def add() -> Generator[None]:
            base.seat.engine.adapt(key, opened.adapter)
            yield

        async with aclosing(worker.parts(add())) as parts:
            async for _ in parts:
                pass
        made = partial(_Served, name, opened, base.seat, base.context, key, banned=self._banned)
        self._served[name] = await asyncio.to_thread(made)

    async def close(self) -> None:
        """End the worker. Requests still running are told that the server is closing."""
        worker, self._worker = self._worker, None
        self._served = {}
        if worker:
            worker.post(None)
            # Ctrl-C cancels who waits here; without the shield the loop could end before the worker has told its last requests.
            await asyncio.shield(asyncio.get_running_loop().run_in_executor(None, worker.join))

    async def swap(self, name: str, model: str) -> None:
        """Let another model answer under a name from now on. Requests under way finish with the model they began with.

        Returns when the old one has left. Adapters over the old one were trained on its weights, and go on over them.

        Raises:
            ModelError: the model cannot be opened; the old one goes on.
        """
        worker = self._running()
        opened = await asyncio.to_thread(self._open, model)
        new = await asyncio.to_thread(_alone, model, opened, self.capacity, self._dtype, self._banned)
        old = self._served.get(name)
        worker.post(lambda: worker.seats.append(new.seat))
        self._served[name] = new
        if old is None:
            return
        old.replaced = True
        if old.active:
            await old.left.wait()
        if all(served.seat is not old.seat for served in self._served.values()):
            worker.post(lambda: worker.seats.remove(old.seat))

    async def stream(
        self, model: str, conversation: Sequence[Message], *, sampling: Sampling, seed: int | None = None, stop: Sequence[str] = ()
    ) -> AsyncGenerator[Piece]:
        """Return pieces of an answer to a conversation. Closing the iterator cancels the request and frees its slot.

        Raises:
            RefusedRequest: there is no such model, the prompt is too long, every slot is taken, or the time is over.
        """
        pieces = self.ask(model, Ask(sampling, tuple(conversation), seed=seed, stop=tuple(stop)))
        try:
            async for piece in pieces:
                yield piece
        finally:
            await pieces.aclose()

    async def ask(self, model: str, ask: Ask) -> AsyncGenerator[Piece]:
        """Return pieces of one answer; see ``host.Host``."""
        worker, served, began = self._running(), self._find(model), time.monotonic()
        self._refuse_when_full(model, served)
        served.active += 1
        answer = None
        shown = list[str]()
        try:
            if served.gallery:
                for file in ask.media:
                    shown.append(served.gallery.show(file.content, file.digest))
            prompt = await self._read(served, ask)
            worker = self._running()  # it may have closed meanwhile
            before = Piece("")
            if ask.echo:
                async with self._in_time():
                    before = await _echo(worker, served, ask, prompt)
            if ask.echo and not ask.sampling.max_tokens:
                yield replace(before, finish="length", prompt_tokens=len(prompt), version=served.version)
                return
            guide = await _guide(served, ask)
            answer = _Answer(served, ask, prompt, guide, asyncio.get_running_loop().time() + self.capacity.seconds)
            worker.submit(served.seat, answer.request, answer.deliver, answer.accepted)
            pieces = _echoed(before, answer.pieces()) if ask.echo else answer.pieces()
            async for piece in _with_calls(served, ask.tools, pieces) if ask.tools else pieces:
                yield piece
        finally:
            served.leave(time.monotonic() - began)
            if answer and not answer.ended:
                worker.post(lambda: worker.cancel(served.seat, answer.ticket))
            if shown:
                worker.post(lambda: worker.post(lambda: served.hide(shown)))  # behind `cancel`, which posts as well

    async def embed(self, model: str, text: str | tuple[int, ...]) -> Embedded:
        """Return the embedding of a text; see ``host.Host``."""
        served, began = self._find(model), time.monotonic()
        self._refuse_when_full(model, served)
        served.active += 1
        try:
            tokens = await _tokens(served, Ask(Sampling(max_tokens=1), prompt=text))
            vector: list[float] = []
            async with self._in_time(), aclosing(self._running().parts(embedding(served.seat.engine, tokens, served.adapter))) as parts:
                async for so_far in parts:
                    vector = so_far
            return Embedded(tuple(vector), len(tokens))
        finally:
            served.leave(time.monotonic() - began)

    async def _read(self, served: _Served, ask: Ask) -> tuple[int, ...]:
        """Return a request's prompt in tokens, its pictures processed. Raises TooLong and TooSlow."""
        if not ask.media:
            return await _tokens(served, ask)
        async with self._in_time(), self._looking:
            return await _tokens(served, ask)

    @asynccontextmanager
    async def _in_time(self) -> AsyncGenerator[None]:
        """Limit the time of reading. Raises TooSlow."""
        try:
            async with asyncio.timeout(self.capacity.seconds):
                yield
        except TimeoutError as error:
            raise TooSlow("reading the prompt took longer than the time limit", hint="send less, or try again later", seconds=5) from error

    def _find(self, model: str) -> _Served:
        if model not in self._served:
            raise UnknownModel("no such model is served", where=model, hint=f"there are: {', '.join(self.models()) or 'none'}")
        return self._served[model]

    def _running(self) -> Worker:
        if self._worker is None:
            raise Unavailable("the models are not open", hint="start the host first", seconds=5)
        return self._worker

    def _refuse_when_full(self, model: str, served: _Served) -> None:
        most = self.capacity.slots + self.capacity.waiting
        if served.active >= most:
            mean = sum(served.took) / len(served.took)
            seconds = min(max(math.ceil(mean * self.capacity.waiting / self.capacity.slots), 1), 60)
            raise Busy(f"{served.active} requests are in progress, the limit is {most}", where=model, seconds=seconds)


class _Answer:
    """A request in progress, seen from the event loop."""

    def __init__(self, served: _Served, ask: Ask, prompt: tuple[int, ...], guide: Guide | None, deadline: float) -> None:
        sampling = replace(ask.sampling, max_tokens=min(ask.sampling.limit(served.context), served.context - len(prompt)))
        seed = secrets.randbits(63) if ask.seed is None else ask.seed
        self.request = Request(
            prompt,
            sampling,
            seed,
            ask.logprobs,
            frequency_penalty=ask.frequency_penalty,
            presence_penalty=ask.presence_penalty,
            logit_bias=_biased(ask.logit_bias, served.banned),
            guide=guide,
            adapter=served.adapter,
            stop=served.stop,
        )
        self.served, self.deadline = served, deadline
        self.ended, self.ticket = False, -1
        self._opening = Opening(opened=bool(ask.conversation) and served.format.opens_thought)
        tail = served.format.tail_words if ask.conversation else ""
        self._words = Words(self._decode, ask.stop, strip=bool(ask.conversation), tail=tail)
        self._unsaid: list[int] | None = [] if ask.conversation else None
        """First tokens that may be the template's own; None once the answer has begun."""
        self._came = asyncio.Event()
        self._drawn: list[Drawn] = []
        self._error: Exception | None = None

    def _decode(self, ids: Sequence[int]) -> str:
        return self.served.format.decode(ids)

    def accepted(self, ticket: int) -> None:
        self.ticket = ticket

    def deliver(self, drawn: list[Drawn] | Exception) -> None:
        """Take tokens, in the event loop."""
        if isinstance(drawn, Exception):
            self._error = drawn
        else:
            self._drawn += drawn
        self._came.set()

    async def pieces(self) -> AsyncGenerator[Piece]:
        """Return the answer's pieces. Tokens without text yet (half a character, a possible stop string) count
        in the next piece."""
        count, prompt_tokens = 0, len(self.request.prompt)
        while not self.ended:
            drawn = await self._next()
            finish: Finish = drawn[-1].finish
            self.ended = bool(finish)
            if self.ended and self.request.guide is not None and self.request.guide.problem:
                raise Unavailable(f"the answer could not be kept to its grammar: {self.request.guide.problem}")
            said = self._said([token.token for token in drawn if token.finish != "stop"])
            text = self._opening.push(self._words.push(said, last=self.ended), last=self.ended or self._words.stopped)
            finish = "stop" if self._words.stopped else finish
            told = () if self.request.logprobs is None else tuple(self._told(token) for token in drawn)
            count += len(drawn)
            if text or finish or told:
                yield Piece(text, finish, told, count, prompt_tokens, self.served.version)
                count = 0
            if finish:
                return

    def _said(self, ids: list[int]) -> list[int]:
        """The tokens without the template's words before an answer, such as a channel's name; held back while these are incomplete."""
        if self._unsaid is None:
            return ids
        self._unsaid += ids
        begin = self.served.format.begin(self._unsaid, last=self.ended)
        if begin is None:
            return []
        if begin:
            self._opening.opened = False  # the thought was closed by what stands before the answer
        self._opening.thought = self.served.format.thought_before(
            self._unsaid[:begin], answered=not self.ended or begin < len(self._unsaid)
        )
        said, self._unsaid = self._unsaid[begin:], None
        return said

    async def _next(self) -> list[Drawn]:
        while not self._drawn:
            if self._error is not None:
                self.ended = True
                known = isinstance(self._error, RefusedRequest)
                raise self._error if known else Unavailable("the model failed while it was answering", seconds=5) from self._error
            self._came.clear()
            try:
                async with asyncio.timeout_at(self.deadline):
                    await self._came.wait()
            except TimeoutError as error:
                raise TooSlow(
                    "the answer took longer than the time limit", hint="ask for fewer tokens, or try again later", seconds=5
                ) from error
        drawn, self._drawn = self._drawn, []
        return drawn

    def _told(self, token: Drawn) -> Token:
        likeliest = tuple((self._decode([id]), logprob) for id, logprob in token.likeliest)
        return Token(token.token, self._decode([token.token]), token.logprob, likeliest)


async def _guide(served: _Served, ask: Ask) -> Guide | None:
    """Return the guide through the grammar that an answer must fit; None where there is none. Raises NotUnderstood."""
    lark = _grammar(served, ask)
    if not lark:
        return None
    try:
        return await asyncio.to_thread(served.grammars.guide, lark)
    except InputError as error:
        field = "response_format.json_schema.schema" if ask.schema is not None else "tools"
        raise NotUnderstood(f"{field}: {error.what}", hint=error.hint, param=field) from error


def _grammar(served: _Served, ask: Ask) -> str:
    """Return the grammar of an answer, in Lark's notation, with a thought before it where the model thinks; empty for any answer."""
    if ask.schema is not None:
        rules, first = f"json: {schema_rule(ask.schema)}", "json"
    elif ask.tools and ask.tools.choice == "required":
        kind = _tool_format(served)
        functions = [function for function in ask.tools.functions if ask.tools.only in ("", function["name"])]
        marks = {mark: served.grammars.mark(mark) for mark in MARKS[kind]}
        rules, first = forced(kind, functions, marks, many=ask.tools.parallel and not ask.tools.only)
    else:
        return ""
    template = str(served.format.tokenizer.chat_template)
    if served.format.in_channels:
        what = "answers of a model that thinks in channels cannot be constrained"
        raise NotUnderstood(what, hint="leave out response_format and a forced tool_choice")
    begin, end = (served.grammars.mark(mark) for mark in THOUGHTS)
    rules += f"\nthought: /(?s:.*)/ {end} /[ \\n]*/" if begin != json.dumps(THOUGHTS[0]) else ""
    if "thought:" not in rules:
        rules += f"\nthought: words /[ \\n]*/\nwords[suffix={end}]: /(?s:.*)/"
    if served.format.opens_thought:
        return f"start: thought {first}\n{rules}"
    return f"start: ({begin} thought)? {first}\n{rules}" if THOUGHTS[0] in template else f"start: {first}\n{rules}"


def _tool_format(served: _Served) -> Kind:
    """Return how the model writes calls. Raises NotUnderstood for a template of no known format."""
    kind = None if served.format.raw else kind_of(str(served.format.tokenizer.chat_template))
    if kind is None:
        hint = "leave tools out, or serve a model whose chat template has them in the form of Hermes, Qwen, Llama 3 or Mistral"
        raise NotUnderstood("the model's chat template has no tools, or none in a known form", hint=hint, param="tools")
    return kind


async def _echo(worker: Worker, served: _Served, ask: Ask, prompt: tuple[int, ...]) -> Piece:
    """Return the prompt as a piece, with its tokens' log-probabilities if these are requested."""
    text = ask.prompt if isinstance(ask.prompt, str) else served.format.decode(ask.prompt)
    if ask.logprobs is None:
        return Piece(text)
    tokens = [Token(prompt[0], served.format.decode(prompt[:1]), None)]
    async with aclosing(worker.parts(likelihoods(served.seat.engine, prompt, ask.logprobs, served.adapter))) as parts:
        async for part in parts:
            for each in part:
                likeliest = tuple((served.format.decode([id]), logprob) for id, logprob in each.likeliest)
                tokens.append(Token(each.token, served.format.decode([each.token]), each.logprob, likeliest))
    return Piece(text, tokens=tuple(tokens))


async def _echoed(before: Piece, pieces: AsyncGenerator[Piece]) -> AsyncGenerator[Piece]:
    """Yield pieces with the prompt before the first."""
    async with aclosing(pieces):
        async for piece in pieces:
            yield replace(piece, text=before.text + piece.text, tokens=before.tokens + piece.tokens)
            before = Piece("")


async def _with_calls(served: _Served, tools: Tools, pieces: AsyncGenerator[Piece]) -> AsyncGenerator[Piece]:
    """Yield an answer in one piece, with its calls beside its words: whether it calls is known at its end."""
    kind = _tool_format(served)
    async with aclosing(pieces):
        answer = await in_one_piece(pieces)
    thought, end, said = answer.text.rpartition(THOUGHTS[1]) if answer.text.startswith(THOUGHTS[0]) else ("", "", answer.text)
    written = parse(kind, said, tools.names, most=MOST_CALLS if tools.parallel else 1)
    yield replace(answer, text=f"{thought}{end}{written.text}", calls=written.calls)


async def _tokens(served: _Served, ask: Ask) -> tuple[int, ...]:
    """Return a request's prompt in tokens. Any but a short one is templated and tokenised outside the event loop. Raises TooLong."""
    gone = threading.Event()
    try:
        ids = _prompt(served, ask, gone) if _short(ask) else await asyncio.to_thread(_prompt, served, ask, gone)
    finally:
        gone.set()
    vocabulary = served.seat.engine.network.vocabulary
    if odd := [token for token, _ in ask.logit_bias if token >= vocabulary]:
        hint = f"tokens go from 0 to {vocabulary - 1}"
        raise NotUnderstood(f"logit_bias names the token {odd[0]}", hint=hint, param=f"logit_bias.{odd[0]}")
    wanted = len(ids) + (ask.sampling.max_tokens if ask.exact else 1)
    if wanted > served.context:
        asked = f" and the answer may have {ask.sampling.max_tokens}" if ask.exact else ""
        hint = "shorten the prompt, ask for fewer tokens, or send truncation: auto"
        what = f"the prompt has {len(ids)} tokens{asked}, but the model's context holds {served.context}"
        raise TooLong(what, where=served.version, hint=hint)
    return tuple(ids)


def _short(ask: Ask) -> bool:
    """Return whether a prompt is templated and tokenised in a moment: a short one without tools, calls and pictures, and never cut."""
    if ask.tools or ask.shorten or ask.media or any(isinstance(message, ToolTurn) for message in ask.conversation):
        return False
    return len(ask.prompt) + sum(len(message.content) + TURN for message in ask.conversation) <= SHORT_TEXT


def _prompt(served: _Served, ask: Ask, gone: threading.Event) -> list[int]:
    whole, functions = served.format, ask.tools.functions if ask.tools else ()
    if ask.tools:
        _tool_format(served)
    if not ask.conversation:
        if not isinstance(ask.prompt, str):
            return _known(ask.prompt, served.seat.engine.network.vocabulary)
        ids = whole.tokenizer(ask.prompt, add_special_tokens=ask.special)["input_ids"]  # by default with its BOS, as vLLM does
        return ids or [whole.tokenizer.bos_token_id or 0]
    if not ask.shorten:
        return _conversation(served, ask.conversation, functions)
    return _shortened(served, ask.conversation, functions, served.context - (ask.sampling.max_tokens if ask.exact else 1), gone)


def _shortened(
    served: _Served,
    said: Sequence[Message],
    functions: Sequence[Mapping[str, Any]],
    room: int,
    gone: threading.Event,
) -> list[int]:
    """Return the tokens of a conversation without as few of its oldest turns as let it fit, never without the system's or the last.

    Old turns of a conversation that is far too long are never looked at.

    Args:
        gone: set when nobody waits for the tokens any more.
    """
    old = [place for place, message in enumerate(said[:-1]) if message.role != "system"]

    def without(count: int) -> list[int]:
        dropped = set(old[:count])
        return _conversation(served, [message for place, message in enumerate(said) if place not in dropped], functions)

    def found_out(count: int) -> bool:
        """Return whether it fits without so many, or is refused: fewer may fit, and what counts is the first that fits or is refused."""
        try:
            return len(without(count)) <= room
        except NotUnderstood:
            return True

    # Without `low` it is too long; without `high` it fits, or is refused, or nothing more can be dropped.
    low, high = _least_dropped(served, said, old, room, gone), len(old)
    if gone.is_set():
        return []  # nobody reads this
    if not low:
        ids = _conversation(served, said, functions)
        if len(ids) <= room or not old:
            return ids
    while low + 1 < high and not gone.is_set():
        middle = (low + high) // 2
        low, high = (low, middle) if found_out(middle) else (middle, high)
    return [] if gone.is_set() else without(high)


def _least_dropped(served: _Served, said: Sequence[Message], old: Sequence[int], room: int, gone: threading.Event) -> int:
    """Return how many of the oldest turns must go because the words of the others alone do not fit. Each turn is read once.

    A token spans at most the end of one turn and the beginning of the next, so that each turn counts one token less than it has.
    """
    dropped, kept = set(old), 0
    for place, message in enumerate(said):
        kept += 0 if place in dropped else _words_of(served, message)
    for count in range(len(old), 0, -1):
        kept += _words_of(served, said[old[count - 1]])
        if kept > room or gone.is_set():
            return count - 1
    return 0


def _words_of(served: _Served, message: Message) -> int:
    """Return the least number of tokens that a turn takes."""
    said = message.content.rpartition(THOUGHTS[1])[2].strip()  # templates may leave out thoughts and outer spaces
    return max(0, len(served.format.tokenizer(said, add_special_tokens=False)["input_ids"]) - 1)


def _conversation(served: _Served, said: Sequence[Message], functions: Sequence[Mapping[str, Any]]) -> list[int]:
    """Return a conversation's tokens. Raises NotUnderstood, which names the model and not its folder, where the template refuses it."""
    try:
        return served.format.prompt(said, functions)
    except InputError as error:
        folder = str(getattr(served.format.tokenizer, "name_or_path", "") or "")
        what = error.what.replace(folder, served.version) if folder else error.what
        raise NotUnderstood(what, hint="fix the conversation: asking again does not help", param="messages") from error


def _known(ids: Sequence[int], vocabulary: int) -> list[int]:
    odd = next((id for id in ids if not 0 <= id < vocabulary), None)
    if odd is not None or not ids:
        raise NotUnderstood(
            f"the prompt has the token {odd}" if ids else "the prompt is empty", hint=f"tokens go from 0 to {vocabulary - 1}"
        )
    return list(ids)
