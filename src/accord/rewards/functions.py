"""Python functions as rewards: what they ask for by their signature, and how they are called.

``def reward(prompts, responses, **columns)`` gets conversations, texts, and the prompts' other data as columns. A function of two
arguments alone gets texts: the last user turn and the response. docs/rewards.md lists what a function may ask for by name.
"""

from __future__ import annotations

import asyncio
import inspect
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, cast

from accord.errors import RunError, UsageError
from accord.rewards.rows import AGAIN, Said, Scores, joined_parts, named, parts_of
from accord.runtime.own_code import imported

Function = Callable[..., Any]
GIVEN = ("tokens", "ids", "completions", "completion_ids")
"""Arguments that are no columns: the response's token ids, the prompt's id, and TRL's two names for responses."""


def load_function(address: str, folder: Path) -> Function:
    """Import ``module:function``, looking in ``folder`` (the project) and the current folder before installed packages.

    Raises:
        UsageError: there is no such module or function, or importing it fails.
    """
    module, _, name = address.partition(":")
    hint = f"a file {module}.py in the project's folder, with a function {name}(prompts, responses)"
    found = imported(address, folder, where=f"rewards, {address}", hint=hint)
    if not callable(found):
        raise UsageError("is no function", where=f"rewards, {address}")
    return cast(Function, found)


@dataclass(frozen=True)
class Asks:
    """What a function asks for by its signature."""

    needed: tuple[str, ...] = ()
    """Columns without which it cannot be called."""
    wanted: tuple[str, ...] = ()
    """Columns that have a default value."""
    everything: bool = False
    """Whether it takes every column there is (``**columns``)."""
    given: tuple[str, ...] = ()
    """Which of ``GIVEN`` it names."""

    @property
    def texts(self) -> bool:
        """Whether it is a function of two lists of texts."""
        return not (self.needed or self.wanted or self.everything or self.given)


def asks(function: Function, where: str) -> Asks:
    """Read what a function asks for.

    Raises:
        UsageError: it does not take prompts and responses.
    """
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return Asks()
    kinds = inspect.Parameter
    places = [each for each in parameters if each.kind in (kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD)]
    everything = any(each.kind is kinds.VAR_KEYWORD for each in parameters)
    by_name = "completions" in {each.name for each in parameters}
    if not by_name and len(places) < 2 and not any(each.kind is kinds.VAR_POSITIONAL for each in parameters):
        hint = "def reward(prompts, responses, **columns)"
        raise UsageError(f"takes ({', '.join(each.name for each in parameters)}), not prompts and responses", where=where, hint=hint)
    own = {"prompts", "responses"} if by_name else {each.name for each in places[:2]}
    rest = [each for each in parameters if each.name not in own and each.kind not in (kinds.VAR_POSITIONAL, kinds.VAR_KEYWORD)]
    columns = [each for each in rest if each.name not in GIVEN]
    return Asks(
        tuple(each.name for each in columns if each.default is kinds.empty),
        tuple(each.name for each in columns if each.default is not kinds.empty),
        everything,
        tuple(each.name for each in rest if each.name in GIVEN),
    )


def called(function: Function, wanted: Asks, rows: Sequence[Said]) -> Any:
    """Call a function for some rows, and return what it returns, which may have to be awaited."""
    responses = [row.response for row in rows]
    if wanted.texts:
        return function([row.messages[-1].content for row in rows], responses)
    names = [*wanted.needed, *wanted.wanted]
    if wanted.everything:
        names += sorted({name for row in rows for name in row.extra} - {*names, *GIVEN, "prompts", "responses"})
    columns: dict[str, list[Any]] = {}
    for name in names:
        column = [row.extra.get(name) for row in rows]
        if name not in wanted.wanted or any(value is not None for value in column):
            columns[name] = column
    prompts = [row.conversation for row in rows]
    given: dict[str, Any] = {"tokens": [list(row.tokens) for row in rows], "ids": [row.id for row in rows]}
    given |= {"completion_ids": given["tokens"], "completions": [[{"role": "assistant", "content": text}] for text in responses]}
    told = columns | {name: given[name] for name in wanted.given}
    if "completions" not in wanted.given:
        return function(prompts, responses, **told)
    if wanted.everything or "prompts" in inspect.signature(function).parameters:
        told["prompts"] = prompts
    return function(**told)


@dataclass(frozen=True)
class FunctionReward:
    """A Python function as a reward.

    Args:
        seconds: the time limit of one scoring.
        batch: responses per call; 0 gives it all in one.
        workers: calls at once.
    """

    name: str
    function: Function
    seconds: float = 600
    batch: int = 0
    workers: int = 8
    asks: Asks = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "asks", asks(self.function, f"rewards, {self.name}"))

    def score(self, rows: Sequence[Said]) -> Scores:
        """Call the function within the time limit.

        Raises:
            RunError: it raises, takes too long, or returns what is no reward; names the row where one can be found.
        """
        where, end = f"the reward {self.name}", time.monotonic() + self.seconds
        size = self.batch or max(len(rows), 1)
        chunks = [rows[start : start + size] for start in range(0, len(rows), size)]
        try:
            returned = _side_by_side([lambda chunk=chunk: self._call(chunk) for chunk in chunks], self.workers, end)
        except TimeoutError:
            raise RunError(f"did not come back within {self.seconds:g} s", where=where, hint=AGAIN) from None
        except _Raised as raised:
            place = raised.place * size + self._culprit(chunks[raised.place], end)
            what = f"raised {type(raised.error).__name__}: {raised.error}, for {named(rows, place)}"
            raise RunError(what, where=where, hint=AGAIN) from raised.error
        return joined_parts([(parts_of(value, chunk, where), len(chunk)) for chunk, value in zip(chunks, returned, strict=True)], where)

    def _call(self, rows: Sequence[Said]) -> Any:
        returned = called(self.function, self.asks, rows)
        return asyncio.run_coroutine_threadsafe(_awaited(returned), _loop()).result() if inspect.isawaitable(returned) else returned

    def _culprit(self, rows: Sequence[Said], end: float) -> int:
        """Return the first row of a failed call that fails by itself, by halves; the first of all where none does."""

        def fails(some: Sequence[Said]) -> bool:
            try:
                _side_by_side([lambda: self._call(some)], 1, end)
            except (TimeoutError, _Raised):
                return True
            return False

        return culprit(rows, fails)


def culprit(rows: Sequence[Said], fails: Callable[[Sequence[Said]], bool]) -> int:
    """Return the place of a row that makes a call fail, found by halves; 0 where no half of a failing whole fails."""
    low, high = 0, len(rows)
    while high - low > 1:
        middle = (low + high) // 2
        if fails(rows[low:middle]):
            high = middle
        elif fails(rows[middle:high]):
            low = middle
        else:
            return 0
    return low


class _Raised(Exception):
    """A call raised."""

    def __init__(self, place: int, error: BaseException) -> None:
        super().__init__(str(error))
        self.place, self.error = place, error


async def _awaited(value: Any) -> Any:
    return await value


@cache
def _loop() -> asyncio.AbstractEventLoop:
    """Return the event loop of all ``async`` rewards: one for good, so that a function may keep a client between calls."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    return loop


def _side_by_side(calls: Sequence[Callable[[], Any]], workers: int, end: float) -> list[Any]:
    """Return the results of calls in order. They run in threads, which are abandoned when the time is up: Python cannot stop them.

    Raises:
        TimeoutError: the time is up.
        _Raised: a call raised; the first one in order that did by then.
    """
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[int, Any, BaseException | None]] = queue.SimpleQueue()
    for place in range(len(calls)):
        waiting.put(place)
    stopped = threading.Event()

    def work() -> None:
        while not stopped.is_set():
            try:
                place = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                done.put((place, calls[place](), None))
            except BaseException as error:
                done.put((place, None, error))

    for _ in range(min(workers, len(calls))):
        threading.Thread(target=work, daemon=True).start()
    results: dict[int, Any] = {}
    try:
        while len(results) < len(calls):
            try:
                place, value, error = done.get(timeout=max(end - time.monotonic(), 0.001))
            except queue.Empty:
                raise TimeoutError from None
            if error is not None:
                raise _Raised(place, error)
            results[place] = value
    finally:
        stopped.set()
    return [results[place] for place in range(len(calls))]
