"""The host of models: pieces of answers, company, cancelling, a full house, time, exchanging a model under way."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from joined import foreign
from opened import CONTEXT, FORMAT, Opened, hello, host, open_model, sampling, served, whole
from tiny import llama
from tool_templates import TEMPLATES

from accord.data.templates import ChatFormat, chat_format
from accord.data.tool_turns import ToolCall, ToolTurn
from accord.records import Message
from accord.serving.host import Ask, Busy, NotUnderstood, TooLong, Tools, TooSlow, Unavailable, UnknownModel
from accord.serving.model_host import Capacity, ModelHost
from accord.serving.reload import reload_rewritten


def test_pieces_make_up_the_answer_and_the_last_alone_says_how_it_ended() -> None:
    hosting = host()

    async def work() -> None:
        text, pieces = await whole(hosting.stream("tiny-1", hello(), sampling=sampling(40), seed=3))
        assert text
        assert text == text.strip()
        assert [bool(piece.finish) for piece in pieces] == [False] * (len(pieces) - 1) + [True]
        assert pieces[-1].finish == ("length" if sum(p.count for p in pieces) == 40 else "stop")
        assert {piece.version for piece in pieces} == {"tiny-1@tiny-1-01234"} == {hosting.version("tiny-1")}
        assert pieces[0].prompt_tokens == len(FORMAT.prompt(hello()))

    served(hosting, work)


def test_the_same_seed_gives_the_same_text_alone_and_among_thirty() -> None:
    hosting = host(slots=8, waiting=64)

    async def work() -> None:
        def one(seed: int) -> Any:
            said = hello(f"Who keeps mill {seed}?" * (1 + seed % 3))
            return whole(hosting.stream("tiny-1", said, sampling=sampling(5 + seed, temperature=0.9), seed=seed))

        lonely = [(await one(seed))[0] for seed in range(30)]
        together = await asyncio.gather(*(one(seed) for seed in range(30)))
        assert [text for text, _ in together] == lonely
        assert len(set(lonely)) > 20

    served(hosting, work)


def test_a_host_whose_closing_is_cancelled_ends_its_worker_before_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    said = list[threading.ExceptHookArgs]()
    monkeypatch.setattr(threading, "excepthook", said.append)

    async def run() -> None:
        hosting = host()
        await hosting.start()
        busy = ThreadPoolExecutor(1)  # closing waits for a thread, so the cancelling comes before it
        busy.submit(time.sleep, 0.1)
        asyncio.get_running_loop().set_default_executor(busy)
        hosting._running().post(lambda: time.sleep(0.4))
        task = asyncio.current_task()
        assert task
        task.cancel()
        await hosting.close()

    before = set(threading.enumerate())
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(run())
    workers = [thread for thread in threading.enumerate() if thread not in before]
    for worker in workers:
        worker.join(10)
    assert not said, said[0].exc_value
    assert not workers


def test_a_closed_iterator_frees_its_place() -> None:
    hosting = host(slots=1, waiting=4)

    async def work() -> None:
        first = hosting.stream("tiny-1", hello(), sampling=sampling(100), seed=1)
        await anext(first)
        await first.aclose()
        async with asyncio.timeout(10):
            await whole(hosting.stream("tiny-1", hello(), sampling=sampling(3), seed=1))
        assert hosting.state()["tiny-1"]["running"] == 0

    served(hosting, work)


def test_a_full_house_refuses_and_says_when_to_come_back() -> None:
    hosting = host(slots=1, waiting=1)

    async def work() -> None:
        streams = [hosting.stream("tiny-1", hello(), sampling=sampling(100), seed=i) for i in range(2)]
        tasks = [asyncio.create_task(anext(stream)) for stream in streams]
        await asyncio.sleep(0)
        with pytest.raises(Busy) as refused:
            await whole(hosting.stream("tiny-1", hello(), sampling=sampling(), seed=1))
        assert refused.value.seconds >= 1
        for task in tasks:
            await task
        for stream in streams:
            await stream.aclose()
        await whole(hosting.stream("tiny-1", hello(), sampling=sampling(2), seed=1))

    served(hosting, work)


def test_a_request_that_takes_too_long_is_ended_with_a_word() -> None:
    hosting = host(slots=1, waiting=4, seconds=0.0)

    async def work() -> None:
        with pytest.raises(TooSlow):
            await whole(hosting.stream("tiny-1", hello(), sampling=sampling(100), seed=1))

    served(hosting, work)


def test_a_prompt_that_does_not_fit_is_refused_with_the_numbers() -> None:
    hosting = host()

    async def work() -> None:
        long = hello("Ask the baker. " * 80)
        count = len(FORMAT.prompt(long))
        with pytest.raises(TooLong, match=f"{count} tokens, but the model's context holds {CONTEXT}"):
            await whole(hosting.stream("tiny-1", long, sampling=sampling()))
        with pytest.raises(TooLong, match="the answer may have 119"):
            await whole(hosting.ask("tiny-1", Ask(sampling(119), tuple(hello()), exact=True)))
        said = (Message("system", "Be brief."), *(Message("user", "Ask the baker. " * 10), Message("assistant", "No.")) * 4, *hello())
        _, pieces = await whole(hosting.ask("tiny-1", Ask(sampling(10), said, exact=True, shorten=True)))
        assert pieces[0].prompt_tokens <= CONTEXT - 10

    served(hosting, work)


@pytest.fixture
def rendered(monkeypatch: pytest.MonkeyPatch) -> list[threading.Thread]:
    """The thread of every prompt that is templated and tokenised, in turn."""
    threads, plain = list[threading.Thread](), ChatFormat.prompt

    def noting(format: ChatFormat, *given: Any, **named: Any) -> list[int]:
        threads.append(threading.current_thread())
        return plain(format, *given, **named)

    monkeypatch.setattr(ChatFormat, "prompt", noting)
    return threads


def one_by_one(said: Sequence[Message], room: int) -> int:
    """The length of a conversation whose oldest turns are dropped until it fits, each tried."""
    left = list(said)
    while len(FORMAT.prompt(left)) > room:
        oldest = next((message for message in left[:-1] if message.role != "system"), None)
        if oldest is None:
            break
        left.remove(oldest)
    return len(FORMAT.prompt(left))


def test_as_few_of_the_oldest_turns_are_dropped_as_one_by_one_but_quickly(rendered: list[threading.Thread]) -> None:
    hosting, drawn = host(), random.Random(5)

    async def work() -> None:
        for turns in (1, 2, 5, 30, 400):
            said = [Message("user", f"{number} " + "Ask. " * drawn.randrange(4)) for number in range(turns)]
            said.insert(drawn.randrange(turns), Message("system", "Be brief."))
            said += hello()
            wanted = one_by_one(said, CONTEXT - 10)
            rendered.clear()
            _, pieces = await whole(hosting.ask("tiny-1", Ask(sampling(10), tuple(said), exact=True, shorten=True)))
            assert pieces[0].prompt_tokens == wanted
            assert len(rendered) <= 2 + turns.bit_length()

    served(hosting, work)


TOOL: Any = "tool"
CALL = ToolTurn("assistant", "", (ToolCall("1", "f", {"x": "y" * 5000}),))
FUNCTIONS: Any = ({"name": "f", "description": "z" * 5000, "parameters": {"type": "object", "properties": {}}},)


@pytest.mark.parametrize(
    ("ask", "inside"),
    [
        (Ask(sampling(1), tuple(hello())), True),
        (Ask(sampling(1), tuple(hello("x" * 3000))), False),
        (Ask(sampling(1), (*[Message("user", "x")] * 200, *hello())), False),
        (Ask(sampling(1), tuple(hello()), shorten=True), False),
        (Ask(sampling(1), tuple(hello()), tools=Tools(FUNCTIONS, "auto", "", parallel=True)), False),
        (Ask(sampling(1), (*hello(), CALL, ToolTurn(TOOL, "1", call_id="1", name="f"))), False),
    ],
)
def test_the_loop_renders_short_prompts_alone(ask: Ask, inside: bool, rendered: list[threading.Thread]) -> None:
    format = chat_format(foreign(*TEMPLATES["hermes"]), 300)
    hosting = ModelHost(lambda name: Opened(llama(vocab=len(format.tokenizer)), format, f"{name}-0123456789"), ("tiny-1",))

    async def work() -> None:
        rendered.clear()
        with contextlib.suppress(TooLong):
            await whole(hosting.ask("tiny-1", ask))
        assert [thread is threading.current_thread() for thread in rendered] == [inside]

    served(hosting, work)


def test_a_stop_string_ends_the_answer_before_it() -> None:
    hosting = host()

    async def work() -> None:
        text, _ = await whole(hosting.stream("tiny-1", hello(), sampling=sampling(60, temperature=1.0), seed=5))
        stop = text[len(text) // 2 :][:3]
        cut, pieces = await whole(hosting.stream("tiny-1", hello(), sampling=sampling(60, temperature=1.0), seed=5, stop=[stop]))
        assert cut == text[: text.index(stop)].rstrip()
        assert pieces[-1].finish == "stop"

    served(hosting, work)


def test_a_model_is_exchanged_without_dropping_a_request() -> None:
    hosting = host("tiny-1")

    async def work() -> None:
        before, _ = await whole(hosting.stream("tiny-1", hello(), sampling=sampling(100), seed=2))
        running = hosting.stream("tiny-1", hello(), sampling=sampling(100), seed=2)
        first = await anext(running)
        change = asyncio.create_task(hosting.swap("tiny-1", "tiny-2"))
        while hosting.version("tiny-1").startswith("tiny-1"):
            await asyncio.sleep(0.01)
        after, pieces = await whole(hosting.stream("tiny-1", hello(), sampling=sampling(100), seed=2))
        rest, _ = await whole(running)
        await change
        assert first.text + rest == before != after
        assert pieces[0].version.startswith("tiny-2@")

    served(hosting, work)


class Disk:
    """Models on disk whose weights change."""

    def __init__(self) -> None:
        self.written = "1" * 12

    def digest(self, name: str) -> str:
        return self.written

    def open(self, name: str) -> Opened:
        if self.written == "broken":
            raise OSError("half of a file")
        return replace(open_model(f"tiny-{self.written[0]}"), digest=self.written)


def test_a_model_that_is_written_anew_answers_from_then_on_and_a_broken_one_does_not() -> None:
    disk = Disk()
    hosting = ModelHost(disk.open, ["tiny"])

    async def work() -> None:
        looking = asyncio.create_task(reload_rewritten(disk, hosting, seconds=0.01))
        running = hosting.stream("tiny", hello(), sampling=sampling(60), seed=2)
        first = await anext(running)
        disk.written = "broken"
        await asyncio.sleep(0.1)
        assert hosting.version("tiny") == "tiny@111111111111"
        disk.written = "2" * 12
        while hosting.version("tiny") != "tiny@222222222222":
            await asyncio.sleep(0.01)
        _, pieces = await whole(running)
        assert {piece.version for piece in (first, *pieces)} == {"tiny@111111111111"}
        assert not looking.done()
        looking.cancel()

    served(hosting, work)


def test_what_is_unknown_is_refused_by_name_and_a_failed_exchange_changes_nothing() -> None:
    def opening(name: str) -> Any:
        if name == "broken":
            raise OSError("no such folder")
        return open_model(name)

    hosting = ModelHost(opening, ["tiny-1"], capacity=Capacity())

    async def work() -> None:
        with pytest.raises(UnknownModel, match="tiny-1"):
            await whole(hosting.stream("tiny-9", hello(), sampling=sampling()))
        with pytest.raises(NotUnderstood):
            await whole(hosting.ask("tiny-1", Ask(sampling(), prompt=(1, 100_000))))
        with pytest.raises(OSError, match="no such folder"):
            await hosting.swap("tiny-1", "broken")
        await whole(hosting.stream("tiny-1", hello(), sampling=sampling(2)))

    served(hosting, work)


def test_closing_tells_whoever_still_waits() -> None:
    """Those that the worker's thread has not seen yet as well: at once after asking, and while a long prompt is being read."""
    hosting = host(slots=1)

    async def work() -> None:
        asked = [whole(hosting.stream("tiny-1", hello(), sampling=sampling(100), seed=seed)) for seed in range(20)]
        asked += [whole(hosting.stream("tiny-1", hello("long " * 10_000), sampling=sampling(100), seed=1))]
        tasks = [asyncio.create_task(each) for each in asked]
        await asyncio.sleep(0)
        await hosting.close()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(ends[-2], Unavailable)
        assert all(isinstance(end, Unavailable | TooLong | tuple) for end in ends)
        with pytest.raises(Unavailable):
            await whole(hosting.stream("tiny-1", hello(), sampling=sampling()))

    served(hosting, work)
